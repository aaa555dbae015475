/*
 * Making a tar archive (POSIX ustar, IEEE 1003.1) of texts in memory: for small things that people
 * unpack. What is read goes through archive.h.
 */
#ifndef PLATFORM_TAR_WRITE_H
#define PLATFORM_TAR_WRITE_H

#include <time.h>

#include "platform/buffer.h"

/* Adds a file (mode 0600) behind what is in out. name: at most 99 bytes. ERROR_INPUT when out's cap
 * is reached. */
int tar_write_file(struct buffer *out, const char *name, const void *data, size_t size, time_t when,
		   struct error *err);

/* The end mark. */
int tar_write_end(struct buffer *out, struct error *err);

#endif
