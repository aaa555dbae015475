/* Paths and URLs with a checksum: see fetch.h. */
#include "platform/fetch.h"

#include <stdlib.h>
#include <string.h>

#include "platform/digest.h"
#include "platform/source.h"
#include "platform/text.h"

/* Cuts "#sha256=HEX" from where, if that is its end. 1: there was one; 0: none. */
static int cut_digest(char *where, struct digest *ret_digest, struct error *err)
{
	char *mark = strrchr(where, '#');
	if (!mark || (strncmp(mark, "#sha256=", 8) != 0 && strncmp(mark, "#sha512=", 8) != 0))
		return 0;
	mark[7] = ':';
	if (digest_parse(mark + 1, ret_digest, err) < 0)
		return error_wrap(err, "the checksum behind #");
	*mark = '\0';
	return 1;
}

static int download(const char *url, const struct http_options *options, int64_t retry_ms,
		    struct buffer *out, struct error *err)
{
	auto_source struct source *source = NULL;
	auto_stream struct stream *stream = NULL;
	const struct source_options how = {
		.urls = (const char *const[]){url, NULL}, .http = *options, .retry_ms = retry_ms};
	if (source_open(&how, &source, err) < 0 || source_stream(source, &stream, err) < 0)
		return -1;
	for (;;) {
		uint8_t bytes[16384];
		ssize_t got = stream_read(stream, bytes, sizeof(bytes), err);
		if (got < 0)
			return -1;
		if (got == 0)
			return buffer_add(out, "", 0, err);
		if (buffer_add(out, bytes, (size_t)got, err) < 0)
			return error_wrap(err, "%s", source_shown(source));
	}
}

static int check(const struct digest *wanted, const struct buffer *out, struct error *err)
{
	struct digest found;
	char wanted_text[DIGEST_TEXT_SIZE], found_text[DIGEST_TEXT_SIZE];
	digest_memory(wanted->type, out->data, out->size, &found);
	if (digest_equal(wanted, &found))
		return 0;
	return error_set(err, ERROR_CORRUPT, "its checksum is %s, not %s",
			 digest_format(&found, found_text), digest_format(wanted, wanted_text));
}

int fetch(const char *where, const struct http_options *options, int64_t retry_ms,
	  struct buffer *out, struct error *err)
{
	struct digest digest;
	char shown[256];
	auto_free char *name = text_dup(where);
	int has_digest = cut_digest(name, &digest, err);
	text_redact_url(name, shown, sizeof(shown));
	if (has_digest < 0)
		return error_wrap(err, "%s", shown);
	bool is_url = strstr(name, "://") != NULL;
	if (is_url ? download(name, options, retry_ms, out, err) < 0
		   : buffer_read_file(out, name, err) < 0)
		return -1;
	if (has_digest && check(&digest, out, err) < 0)
		return error_wrap(err, "%s", shown);
	/* The text is ended for who reads it as one. */
	if (buffer_reserve(out, 1, err) < 0)
		return error_wrap(err, "%s", shown);
	out->data[out->size] = '\0';
	return 0;
}
