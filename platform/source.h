/*
 * struct source: bytes with a position, behind one URL or several mirrors of it. It is opened once
 * (size, ranges and validators are known then) and gives streams that survive broken connections:
 * whoever reads never notices that a connection was made again.
 */
#ifndef PLATFORM_SOURCE_H
#define PLATFORM_SOURCE_H

#include "platform/http.h"

struct source;

struct source_options {
	/* Mirrors of the same bytes, in the order they are to be tried; ended by NULL. http, https
	 * or file:///. Copied. */
	const char *const *urls;
	struct http_options http; /* its texts are borrowed for the life of the source */
	/* How often in a row a connection may fail or break without a new byte before the source
	 * gives up; 0: the default, 3. */
	unsigned tries;
	/* How long failures are retried, from the first one without a new byte; then tries does
	 * not count. 0: tries counts. */
	int64_t retry_ms;
	/* Ranges fetched at the same time over as many connections, when the server serves ranges;
	 * 0 and 1: one connection. */
	unsigned connections;
	/* Asked for the request headers once more when the server answers 401 (a registry's token
	 * has ended); may be NULL. The headers it returns hold until the next call. */
	int (*authorize)(void *context, const char *const **ret_headers, struct error *err);
	void *context;
};

/*
 * Opens the first mirror that answers. Errors as http_get(); when all mirrors failed, the text
 * tells each one's reason.
 */
int source_open(const struct source_options *options, struct source **ret_source,
		struct error *err);
void source_free(struct source *source);
AUTO_DEFINE(source, struct source *, source_free)
#define auto_source __attribute__((cleanup(cleanup_source)))

/* STREAM_SIZE_UNKNOWN when the server does not tell. */
uint64_t source_size(const struct source *source);

/* Whether source_read_at() works. */
bool source_has_ranges(const struct source *source);

/* Whether the end of a stream is marked (length, chunks, HTTP/2): a cut is noticed then. */
bool source_has_end(const struct source *source);

/* The URL that is used now, fit to be shown (no userinfo, no query). Borrowed. */
const char *source_shown(const struct source *source);

/*
 * The bytes from the beginning to the verified end. When a connection breaks it goes on where it
 * was, by a range with If-Range, at the same mirror or the next; the bytes are those of one
 * version: when the thing changed in between (validators, length) it fails with ERROR_CORRUPT.
 * Several streams may be open. The source must outlive them.
 */
int source_stream(struct source *source, struct stream **ret_stream, struct error *err);

/* Exactly size bytes from offset. Retries as a stream does. ERROR_UNSUPPORTED without ranges.
 * May be called from several threads at the same time. */
int source_read_at(struct source *source, uint64_t offset, void *data, size_t size,
		   struct error *err);

/* Bytes received so far by all its streams and reads: may be asked from any thread. */
uint64_t source_received(const struct source *source);

#endif
