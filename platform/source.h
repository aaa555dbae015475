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
	/* How often in a row all mirrors may fail, or break without a new byte, before the source
	 * gives up; 0: the default, 3. Between the rounds there is a pause, twice as long each
	 * time; at least what Retry-After asks for, but not above a minute (with retry_ms: what is
	 * left of it). A mirror whose failure will not pass (404, another length) is not tried
	 * again. Rounds in which nobody could be reached (no route, no name; not: refused) do not
	 * count for three minutes when bytes had come before: the network is away. */
	unsigned tries;
	int64_t pause_ms; /* the first pause, of which up to a half is left to chance; 0: 500 */
	/* How long failures are retried, from the first one without a new byte; then tries does
	 * not count. 0: tries counts. */
	int64_t retry_ms;
	/* Ranges fetched at the same time over as many connections (at most 8), when the server
	 * serves ranges; they take up to 24 MiB. 0 and 1: one connection. */
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

/* Whether source_read_at() works: ranges are served, the length is known, and so is which version
 * they are of (a strong ETag, or a Last-Modified at least a second old). */
bool source_has_ranges(const struct source *source);

/* Whether the end of a stream is marked (length, chunks, HTTP/2): a cut is noticed then. */
bool source_has_end(const struct source *source);

/* The URL that is used now, fit to be shown (no userinfo, no query). Borrowed. */
const char *source_shown(const struct source *source);

/*
 * The bytes from the beginning to the verified end. When a connection breaks it goes on where it
 * was, by a range with If-Range, at the same mirror or the next, or by the whole again; the bytes
 * are those of one version: the validators or a check of all that has been read tell, and what is
 * read twice must be the same. When the thing changed in between it fails with ERROR_CORRUPT.
 * Several streams may be open. The source must outlive them.
 */
int source_stream(struct source *source, struct stream **ret_stream, struct error *err);

/*
 * Exactly size bytes from offset, of the version that was opened. Retries as a stream does.
 * ERROR_UNSUPPORTED when ranges are not served. May be called from several threads at the same
 * time. The place that a server gives to a part is believed, its version is checked.
 */
int source_read_at(struct source *source, uint64_t offset, void *data, size_t size,
		   struct error *err);

/* Bytes received so far by all its streams and reads: may be asked from any thread. */
uint64_t source_received(const struct source *source);

#endif
