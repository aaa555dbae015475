/*
 * Compressed data of every format. The first byte says in pieces of which size the rest comes and
 * is read. What comes out does not depend on that.
 */
#include "tests/fuzz/fuzz.h"

#include "platform/buffer.h"
#include "platform/decompress.h"

enum {
	OUTPUT_MOST = 1 << 20 /* a small input can decode to very much */
};

struct pieces {
	struct stream stream;
	const uint8_t *data;
	size_t size, at, piece;
};

static ssize_t pieces_read(struct stream *stream, void *data, size_t size, struct error *err)
{
	(void)err;
	struct pieces *self = (struct pieces *)stream;
	size_t count = self->size - self->at;
	if (count > self->piece)
		count = self->piece;
	if (count > size)
		count = size;
	if (count > 0)
		memcpy(data, self->data + self->at, count);
	self->at += count;
	return (ssize_t)count;
}

static void pieces_close(struct stream *stream)
{
	free(stream);
}

/* 0 at the verified end, 1 when there is more than OUTPUT_MOST, -1 on failure. */
static int decode(const uint8_t *data, size_t size, size_t piece, size_t room, struct buffer *out,
		  struct error *err)
{
	static const struct stream_operations operations = {.read = pieces_read,
							    .close = pieces_close};
	struct pieces *below = calloc(1, sizeof(*below));
	require(below != NULL);
	*below = (struct pieces){.stream = {.operations = &operations, .size_bytes = size},
				 .data = data,
				 .size = size,
				 .piece = piece};
	auto_stream struct stream *stream = NULL;
	if (decompress_stream(&below->stream, &stream, NULL, err) < 0)
		return -1;
	while (out->size < OUTPUT_MOST) {
		require(buffer_reserve(out, room, err) == 0);
		ssize_t got = stream_read(stream, out->data + out->size, room, err);
		require(got <= (ssize_t)room);
		if (got <= 0)
			return (int)got;
		out->size += (size_t)got;
	}
	return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	size_t piece = 1 + (size_t)(data[0] & 15) * 37, room = 1 + (size_t)(data[0] >> 4) * 731;
	struct error err = {.kind = ERROR_NONE};
	auto_buffer struct buffer whole = {.cap = 4 << 20}, pieced = {.cap = 4 << 20};
	int result = decode(data + 1, size - 1, SIZE_MAX, 65536, &whole, &err);
	enum error_kind kind = err.kind;
	require(result >= 0 || kind == ERROR_CORRUPT || kind == ERROR_UNSUPPORTED ||
		kind == ERROR_MEMORY);
	int again = decode(data + 1, size - 1, piece, room, &pieced, &err);
	require(again == result || result > 0);
	if (result == 0) {
		require(whole.size == pieced.size);
		require(whole.size == 0 || memcmp(whole.data, pieced.data, whole.size) == 0);
	}
	return 0;
}
