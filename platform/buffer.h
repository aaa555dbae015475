/*
 * A growing run of bytes with a cap: what is fed from outside can never take more memory than its
 * owner allowed.
 */
#ifndef PLATFORM_BUFFER_H
#define PLATFORM_BUFFER_H

#include <stddef.h>
#include <stdint.h>

#include "platform/error.h"

struct buffer {
	uint8_t *data; /* NULL when size is 0 and nothing was ever added */
	size_t size;
	size_t capacity;
	size_t cap; /* bytes at most; 0 means BUFFER_DEFAULT_CAP */
};

enum {
	BUFFER_DEFAULT_CAP = 16 << 20
};

/* Adds bytes. ERROR_INPUT when they do not fit below the cap, ERROR_MEMORY when there is none. */
int buffer_add(struct buffer *buffer, const void *data, size_t size, struct error *err);

/* Makes room for size more bytes without adding them: buffer->data + buffer->size may then be
 * written. Errors as buffer_add(). */
int buffer_reserve(struct buffer *buffer, size_t size, struct error *err);

/* Removes the first size bytes (at most all). */
void buffer_consume(struct buffer *buffer, size_t size);

/* Frees the bytes; cap stays. The buffer can be used again. */
void buffer_free(struct buffer *buffer);

#define auto_buffer __attribute__((cleanup(buffer_free)))

/* Reads a file up to cap bytes; the text is NUL-terminated behind buffer->size. ERROR_INPUT when it
 * is larger. */
int buffer_read_file(struct buffer *buffer, const char *path, struct error *err);

/* The same from a descriptor, to its end. name is for the error. */
int buffer_read_fd(struct buffer *buffer, int fd, const char *name, struct error *err);

/* Writes all of it to a descriptor, from where that stands. name is for the error. */
int buffer_write_fd(const struct buffer *buffer, int fd, const char *name, struct error *err);

#endif
