/* Large blocks of memory: see memory.h. */
#include "platform/memory.h"

#include <stdint.h>
#include <string.h>

typedef uint64_t wide __attribute__((vector_size(16), may_alias, aligned(1)));

bool memory_is_zero(const void *data, size_t size)
{
	const uint8_t *bytes = data;
	const size_t step = 4 * sizeof(wide);
	size_t at = 0;
	for (; at + step <= size; at += step) {
		const wide *words = (const wide *)(const void *)(bytes + at);
		wide any = words[0] | words[1] | words[2] | words[3];
		if (any[0] | any[1])
			return false;
	}
	for (; at < size; at++)
		if (bytes[at] != 0)
			return false;
	return true;
}

bool memory_is_same(const void *a, const void *b, size_t size)
{
	const uint8_t *x = a, *y = b;
	size_t at = 0;
	for (; at + sizeof(wide) <= size; at += sizeof(wide)) {
		wide difference = *(const wide *)(const void *)(x + at) ^
				  *(const wide *)(const void *)(y + at);
		if (difference[0] | difference[1])
			return false;
	}
	return memcmp(x + at, y + at, size - at) == 0;
}
