/* The common part of all streams, and the plain sources: see stream.h. The thread stage stands in
 * pipeline.c. */
#include "platform/stream.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "platform/text.h"

ssize_t stream_read(struct stream *stream, void *data, size_t size, struct error *err)
{
	if (stream->ended)
		return 0;
	if (stream->failed)
		return error_set(err, ERROR_BUG, "read from a stream that has failed");
	ssize_t got = stream->operations->read(stream, data, size, err);
	if (got < 0) {
		stream->failed = true;
	} else if (got == 0) {
		stream->ended = true;
	} else {
		__atomic_store_n(&stream->read_bytes, stream->read_bytes + (uint64_t)got,
				 __ATOMIC_RELAXED);
	}
	return got;
}

uint64_t stream_position(const struct stream *stream)
{
	return __atomic_load_n(&stream->read_bytes, __ATOMIC_RELAXED);
}

ssize_t stream_read_full(struct stream *stream, void *data, size_t size, struct error *err)
{
	size_t have = 0;
	while (have < size) {
		ssize_t got = stream_read(stream, (char *)data + have, size - have, err);
		if (got < 0)
			return -1;
		if (got == 0)
			break;
		have += (size_t)got;
	}
	return (ssize_t)have;
}

void stream_close(struct stream *stream)
{
	if (stream)
		stream->operations->close(stream);
}

struct fd_stream {
	struct stream stream;
	int fd;
	char *name;
};

static ssize_t fd_read(struct stream *stream, void *data, size_t size, struct error *err)
{
	struct fd_stream *source = (struct fd_stream *)stream;
	for (;;) {
		ssize_t got = read(source->fd, data, size);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return error_sys(err, "read %s", source->name);
		uint64_t now = stream->read_bytes + (uint64_t)got;
		if (stream->size_bytes != STREAM_SIZE_UNKNOWN &&
		    (now > stream->size_bytes || (got == 0 && now != stream->size_bytes)))
			return error_set(err, ERROR_CORRUPT,
					 "%s changed while it was read: %" PRIu64
					 " bytes expected, %" PRIu64 " seen",
					 source->name, stream->size_bytes, now);
		return got;
	}
}

static void fd_close(struct stream *stream)
{
	struct fd_stream *source = (struct fd_stream *)stream;
	close(source->fd);
	free(source->name);
	free(source);
}

struct stream *stream_from_fd(int fd, uint64_t size_bytes, const char *name)
{
	static const struct stream_operations operations = {.read = fd_read, .close = fd_close};
	struct fd_stream *source = calloc(1, sizeof(*source));
	if (!source)
		abort();
	source->stream = (struct stream){.operations = &operations, .size_bytes = size_bytes};
	source->fd = fd;
	source->name = text_dup(name);
	return &source->stream;
}

struct memory_stream {
	struct stream stream;
	const uint8_t *data;
};

static ssize_t memory_read(struct stream *stream, void *data, size_t size, struct error *err)
{
	(void)err;
	struct memory_stream *source = (struct memory_stream *)stream;
	uint64_t left = stream->size_bytes - stream->read_bytes;
	size_t count = left < size ? (size_t)left : size;
	if (count > 0)
		memcpy(data, source->data + stream->read_bytes, count);
	return (ssize_t)count;
}

static void memory_close(struct stream *stream)
{
	free(stream);
}

struct stream *stream_from_memory(const void *data, size_t size)
{
	static const struct stream_operations operations = {.read = memory_read,
							    .close = memory_close};
	struct memory_stream *source = calloc(1, sizeof(*source));
	if (!source)
		abort();
	source->stream = (struct stream){.operations = &operations, .size_bytes = size};
	source->data = data;
	return &source->stream;
}

struct peek_stage {
	struct stream stream;
	struct stream *below;
	size_t head_size;
	uint8_t head[];
};

static ssize_t peek_read(struct stream *stream, void *data, size_t size, struct error *err)
{
	struct peek_stage *self = (struct peek_stage *)stream;
	if (stream->read_bytes >= self->head_size)
		return stream_read(self->below, data, size, err);
	size_t at = (size_t)stream->read_bytes;
	size_t count = self->head_size - at < size ? self->head_size - at : size;
	memcpy(data, self->head + at, count);
	return (ssize_t)count;
}

static void peek_close(struct stream *stream)
{
	struct peek_stage *self = (struct peek_stage *)stream;
	stream_close(self->below);
	free(self);
}

int stream_peek(struct stream *below, size_t size, struct stream **ret_stream,
		const uint8_t **ret_head, size_t *ret_size, struct error *err)
{
	static const struct stream_operations operations = {.read = peek_read, .close = peek_close};
	struct peek_stage *self = calloc(1, sizeof(*self) + size);
	if (!self)
		abort();
	self->stream = (struct stream){.operations = &operations,
				       .size_bytes = below->size_bytes,
				       .least_bytes = below->least_bytes};
	self->below = below;
	auto_stream struct stream *stream = &self->stream;
	ssize_t got = stream_read_full(below, self->head, size, err);
	if (got < 0)
		return -1;
	self->head_size = (size_t)got;
	*ret_head = self->head;
	*ret_size = self->head_size;
	*ret_stream = take_pointer(stream);
	return 0;
}
