/*
 * A source for tests: bytes in memory. It takes the place of platform/source.c in a test program
 * (whose object is then not linked), counts what is fetched, and can fail.
 */
#ifndef TESTS_SOURCE_MEMORY_H
#define TESTS_SOURCE_MEMORY_H

#include <string.h>

#include "platform/source.h"

struct source {
	const uint8_t *data;
	uint64_t size;
	uint64_t fetched;    /* by source_read_at() */
	unsigned requests;   /* likewise */
	uint64_t fail_above; /* a read that touches a byte from here on fails; 0: none */
};

int source_open(const struct source_options *options, struct source **ret_source, struct error *err)
{
	(void)options;
	(void)ret_source;
	return error_set(err, ERROR_BUG, "not in this test");
}

void source_free(struct source *source)
{
	(void)source;
}

uint64_t source_size(const struct source *source)
{
	return source->size;
}

bool source_has_ranges(const struct source *source)
{
	(void)source;
	return true;
}

bool source_has_end(const struct source *source)
{
	(void)source;
	return true;
}

const char *source_shown(const struct source *source)
{
	(void)source;
	return "memory";
}

int source_stream(struct source *source, struct stream **ret_stream, struct error *err)
{
	(void)err;
	*ret_stream = stream_from_memory(source->data, (size_t)source->size);
	return 0;
}

int source_read_at(struct source *source, uint64_t offset, void *data, size_t size,
		   struct error *err)
{
	if (offset > source->size || size > source->size - offset)
		return error_set(err, ERROR_CORRUPT, "nothing there");
	if (source->fail_above && offset + size > source->fail_above)
		return error_set(err, ERROR_NETWORK, "the network fails");
	memcpy(data, source->data + offset, size);
	__atomic_add_fetch(&source->fetched, size, __ATOMIC_RELAXED);
	__atomic_add_fetch(&source->requests, 1, __ATOMIC_RELAXED);
	return 0;
}

uint64_t source_received(const struct source *source)
{
	return __atomic_load_n(&source->fetched, __ATOMIC_RELAXED);
}

#endif
