/*
 * Looking at large blocks of memory at the speed of memory: musl's memcmp() looks at one byte at a
 * time.
 */
#ifndef PLATFORM_MEMORY_H
#define PLATFORM_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

/* Whether all bytes are zero; also when there is none. */
bool memory_is_zero(const void *data, size_t size);

/* Whether two blocks are the same. */
bool memory_is_same(const void *a, const void *b, size_t size);

#endif
