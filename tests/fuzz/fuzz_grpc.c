/* A gRPC answer: the bytes as a body of frames, and as lines of headers and trailers. */
#include "tests/fuzz/fuzz.h"

#include "platform/grpc.h"
#include "platform/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *message;
	size_t message_size;
	struct error err;
	if (grpc_unframe(data, size, &message, &message_size, &err) == 0)
		require(message >= data && message_size == size - (size_t)(message - data));
	else
		require(err.kind == ERROR_PROTOCOL);

	/* As a stream: the messages lie one behind the other, each behind its header. */
	const uint8_t *next = data;
	size_t left = size;
	int more;
	while ((more = grpc_next_frame(&next, &left, &message, &message_size, &err)) > 0) {
		require(message + message_size == next && next + left == data + size);
		require(message >= data + 5);
	}
	require(more == 0 ? left == 0 : err.kind == ERROR_PROTOCOL && left > 0);

	struct grpc_trailers trailers = {.has_status = false};
	for (size_t at = 0; at < size;) {
		const uint8_t *end = memchr(data + at, '\n', size - at);
		size_t length = end ? (size_t)(end - data) - at : size - at;
		/* In memory of its own: nothing behind the line may be looked at. */
		char *line = malloc(length ? length : 1);
		require(line != NULL);
		memcpy(line, data + at, length);
		grpc_trailers_line(&trailers, line, length);
		free(line);
		at += length + 1;
		size_t used = strnlen(trailers.message, sizeof(trailers.message));
		require(used < sizeof(trailers.message));
		require(text_is_utf8(trailers.message, used));
		require(trailers.status <= 999);
		require(grpc_status_name((enum grpc_status)trailers.status) != NULL);
	}
	return 0;
}
