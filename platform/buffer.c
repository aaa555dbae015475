/* The bounded buffer: see buffer.h. */
#include "platform/buffer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "platform/cleanup.h"

int buffer_reserve(struct buffer *buffer, size_t size, struct error *err)
{
	size_t cap = buffer->cap ? buffer->cap : BUFFER_DEFAULT_CAP;
	if (size > cap || buffer->size > cap - size)
		return error_set(err, ERROR_INPUT, "more than the %zu bytes allowed", cap);
	size_t need = buffer->size + size;
	if (need <= buffer->capacity)
		return 0;
	size_t capacity = buffer->capacity ? buffer->capacity : 256;
	while (capacity < need)
		capacity *= 2;
	uint8_t *data = realloc(buffer->data, capacity);
	if (!data)
		return error_set(err, ERROR_MEMORY, "no memory for %zu bytes", capacity);
	buffer->data = data;
	buffer->capacity = capacity;
	return 0;
}

int buffer_add(struct buffer *buffer, const void *data, size_t size, struct error *err)
{
	if (size == 0)
		return 0;
	if (buffer_reserve(buffer, size, err) < 0)
		return -1;
	memcpy(buffer->data + buffer->size, data, size);
	buffer->size += size;
	return 0;
}

void buffer_consume(struct buffer *buffer, size_t size)
{
	if (size >= buffer->size) {
		buffer->size = 0;
		return;
	}
	buffer->size -= size;
	memmove(buffer->data, buffer->data + size, buffer->size);
}

void buffer_free(struct buffer *buffer)
{
	free(buffer->data);
	buffer->data = NULL;
	buffer->size = buffer->capacity = 0;
}

int buffer_read_fd(struct buffer *buffer, int fd, const char *name, struct error *err)
{
	for (;;) {
		char chunk[16384];
		ssize_t got = read(fd, chunk, sizeof(chunk));
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return error_sys(err, "read %s", name);
		if (got == 0)
			break;
		if (buffer_add(buffer, chunk, (size_t)got, err) < 0)
			return error_wrap(err, "read %s", name);
	}
	/* A NUL behind the data, not counted, so that texts can be used as such. */
	if (buffer->size == buffer->capacity) {
		uint8_t *data = realloc(buffer->data, buffer->size + 1);
		if (!data)
			return error_set(err, ERROR_MEMORY, "no memory to read %s", name);
		buffer->data = data;
		buffer->capacity = buffer->size + 1;
	}
	buffer->data[buffer->size] = '\0';
	return 0;
}

int buffer_write_fd(const struct buffer *buffer, int fd, const char *name, struct error *err)
{
	for (size_t at = 0; at < buffer->size;) {
		ssize_t written = write(fd, buffer->data + at, buffer->size - at);
		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return error_sys(err, "write %s", name);
		at += (size_t)written;
	}
	return 0;
}

int buffer_read_file(struct buffer *buffer, const char *path, struct error *err)
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return error_sys(err, "open %s", path);
	return buffer_read_fd(buffer, fd, path, err);
}
