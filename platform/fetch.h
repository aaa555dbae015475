/*
 * A small thing that is named by a path or a URL, with its checksum if need be: a configuration, a
 * certificate, a workflow.
 */
#ifndef PLATFORM_FETCH_H
#define PLATFORM_FETCH_H

#include "platform/buffer.h"
#include "platform/http.h"

/*
 * Reads what where names into out (below its cap; NUL-terminated behind its size): a path, or an
 * http, https or file URL. "#sha256=HEX" or "#sha512=HEX" at the end (of either) is what it must
 * be: ERROR_CORRUPT otherwise. Failures of the network are retried for retry_ms (0: three times).
 * Other errors as buffer_read_file() and http_get().
 */
int fetch(const char *where, const struct http_options *options, int64_t retry_ms,
	  struct buffer *out, struct error *err);

#endif
