/*
 * Pieces of a source as one stream: only the spans that are needed are fetched, in order, several
 * requests at the same time.
 */
#ifndef PLATFORM_SPANS_H
#define PLATFORM_SPANS_H

#include <stddef.h>

#include "platform/source.h"

/* A piece of a file. */
struct span {
	uint64_t offset;
	uint64_t size_bytes;
};

/*
 * A stream of the bytes of count spans (borrowed, must outlive the stream, as the source; none
 * empty), one behind the other. in_flight: requests at the same time, each at most 1 MiB. The
 * source must have ranges.
 */
int spans_stream(struct source *source, const struct span *spans, size_t count, unsigned in_flight,
		 struct stream **ret_stream, struct error *err);

#endif
