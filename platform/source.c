/* The sources of bytes: see source.h. */
#include "platform/source.h"

#include <stdlib.h>

#include "platform/text.h"

struct source {
	char *url;
	char shown[512];
	struct http_options http;
	struct http_answer answer;
};

int source_open(const struct source_options *options, struct source **ret_source, struct error *err)
{
	auto_source struct source *source = calloc(1, sizeof(*source));
	if (!source)
		abort();
	source->url = text_dup(options->urls[0]);
	source->http = options->http;
	text_redact_url(source->url, source->shown, sizeof(source->shown));
	auto_stream struct stream *stream = NULL;
	if (http_get(source->url, &source->http, &stream, &source->answer, err) < 0)
		return -1;
	*ret_source = take_pointer(source);
	return 0;
}

void source_free(struct source *source)
{
	if (!source)
		return;
	free(source->url);
	free(source);
}

uint64_t source_size(const struct source *source)
{
	return source->answer.size_bytes;
}

bool source_has_ranges(const struct source *source)
{
	(void)source;
	return false;
}

bool source_has_end(const struct source *source)
{
	return source->answer.has_end;
}

const char *source_shown(const struct source *source)
{
	return source->shown;
}

int source_stream(struct source *source, struct stream **ret_stream, struct error *err)
{
	return http_get(source->url, &source->http, ret_stream, NULL, err);
}

int source_read_at(struct source *source, uint64_t offset, void *data, size_t size,
		   struct error *err)
{
	(void)offset;
	(void)data;
	(void)size;
	return error_set(err, ERROR_UNSUPPORTED, "%s cannot be read by ranges", source->shown);
}

uint64_t source_received(const struct source *source)
{
	(void)source;
	return 0;
}
