/* What actions that download have in common: see download.h. */
#include "actions/download.h"

#include <string.h>
#include <strings.h>

#include "platform/fetch.h"

struct source_options download_options(const struct action_context *context,
				       const struct download_params *params)
{
	struct source_options options = {
		.http = context->http,
		.retry_ms = params->retry ? (int64_t)params->retry_minutes * 60000 : 0,
		.connections = (unsigned)params->connections,
	};
	options.http.stall_timeout_ms = (int64_t)params->stall_s * 1000;
	options.http.username = params->username;
	options.http.password = params->password;
	options.http.token = params->token;
	if (params->ca_file && params->ca_file[0])
		options.http.ca_file = params->ca_file;
	return options;
}

/* "host:port" of a URL, without userinfo. */
static const char *authority(const char *url, size_t *ret_size)
{
	const char *scheme = strstr(url, "://");
	const char *begin = scheme ? scheme + 3 : url;
	size_t size = strcspn(begin, "/?#");
	const char *at = memrchr(begin, '@', size);
	if (at) {
		size -= (size_t)(at + 1 - begin);
		begin = at + 1;
	}
	*ret_size = size;
	return begin;
}

static bool same_server(const char *a, const char *b)
{
	size_t a_size, b_size;
	const char *a_host = authority(a, &a_size), *b_host = authority(b, &b_size);
	size_t scheme = strcspn(a, ":");
	return scheme == strcspn(b, ":") && strncasecmp(a, b, scheme) == 0 && a_size == b_size &&
	       strncasecmp(a_host, b_host, a_size) == 0;
}

int download_companion(const struct source_options *options, const char *url, struct buffer *body,
		       struct error *err)
{
	struct http_options http = options->http;
	bool ours = false;
	for (const char *const *known = options->urls; *known; known++)
		ours = ours || same_server(*known, url);
	if (!ours) {
		http.headers = NULL;
		http.username = http.password = http.token = NULL;
		http.insecure = false;
	}
	return fetch(url, &http, options->retry_ms, body, err);
}
