/* The common ground of downloads, exchanges and uploads by libcurl. See http_curl.h. */
#include "platform/http_curl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "platform/clock.h"
#include "platform/text.h"

enum {
	CA_FILE_MAX = 4 << 20,
	CLOCK_SURELY_PAST = 1767225600 /* 2026-01-01: this program is younger */
};

int http_setup(struct error *err)
{
	/* libcurl reads http_proxy in lower case only (a CGI precaution that does not apply here);
	 * people set it in capitals. Here, as no other thread may look at the environment now. */
	const char *proxy = getenv("HTTP_PROXY");
	if (proxy && !getenv("http_proxy"))
		setenv("http_proxy", proxy, 0);
	CURLcode code = curl_global_init(CURL_GLOBAL_DEFAULT);
	return code == CURLE_OK
		       ? 0
		       : error_set(err, ERROR_BUG, "libcurl: %s", curl_easy_strerror(code));
}

static enum error_kind kind_of_curl(CURLcode code)
{
	switch ((int)code) {
	case CURLE_OPERATION_TIMEDOUT:
		return ERROR_TIMEOUT;
	case CURLE_URL_MALFORMAT:
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_TOO_MANY_REDIRECTS:
	case CURLE_SSL_CACERT_BADFILE:
		return ERROR_INPUT;
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_LOGIN_DENIED:
		return ERROR_DENIED;
	case CURLE_OUT_OF_MEMORY:
		return ERROR_MEMORY;
	default:
		return ERROR_NETWORK;
	}
}

/* Takes " after 12 ms" out of curl's words: the same failure is to read the same every time. */
static void drop_time(char *text)
{
	char *at = strstr(text, " after ");
	if (!at)
		return;
	const char *end = at + strlen(" after ");
	size_t digits = strspn(end, "0123456789");
	end += digits;
	if (digits == 0 || (strncmp(end, " ms", 3) != 0 && strncmp(end, " milliseconds", 13) != 0))
		return;
	end += end[2] == 's' ? 3 : 13;
	memmove(at, end, strlen(end) + 1);
}

/*
 * What helps against a refused certificate, from the words of the TLS library. Machines without a
 * battery wake up in 1970: the clock is named by its day, so that the text stays the same.
 */
static void explain_certificate(const char *words, struct error *err)
{
	char now[40];
	struct timespec wall = clock_wall();
	clock_format_utc(wall, now, sizeof(now));
	now[strcspn(now, "T")] = '\0';
	if (strstr(words, "not yet valid"))
		error_append(err,
			     " (the clock of this machine says %s%s: set it, by NTP or in the "
			     "firmware)",
			     now,
			     wall.tv_sec < CLOCK_SURELY_PAST ? ", which is wrong"
							     : ", is that right?");
	else if (strstr(words, "expired"))
		error_append(err,
			     " (the clock of this machine says %s: if that is right, the "
			     "server needs a new certificate)",
			     now);
	else if (strstr(words, "subject name"))
		error_append(err, " (is it the right server, under one of the names in its "
				  "certificate?)");
	else
		error_append(err, " (is its certificate from an authority that this machine knows? "
				  "see tls-ca)");
}

int http_curl_failed(CURLcode code, const char *detail, struct error *err)
{
	char words[CURL_ERROR_SIZE];
	snprintf(words, sizeof(words), "%s", detail[0] ? detail : curl_easy_strerror(code));
	drop_time(words);
	error_set(err, kind_of_curl(code), "%s", words);
	err->code = (int)code;
	if (code == CURLE_PEER_FAILED_VERIFICATION)
		explain_certificate(words, err);
	return -1;
}

bool http_curl_unreachable(CURL *easy, CURLcode code)
{
	long errnum = 0;
	curl_off_t connected_us = 0;
	curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &errnum);
	curl_easy_getinfo(easy, CURLINFO_CONNECT_TIME_T, &connected_us);
	switch ((int)code) {
	case CURLE_COULDNT_RESOLVE_PROXY:
	case CURLE_COULDNT_RESOLVE_HOST:
		return true;
	case CURLE_COULDNT_CONNECT:
		return errnum != ECONNREFUSED;
	case CURLE_OPERATION_TIMEDOUT:
		return connected_us == 0;
	default:
		return false;
	}
}

int http_curl_status(long status, struct error *err)
{
	error_set(err, http_status_kind(status, ERROR_INPUT), "the server answered HTTP status %ld",
		  status);
	err->code = (int)status;
	return -1;
}

/* As one bundle: libcurl takes one file, and a folder would need the names that c_rehash makes. */
int http_curl_trust_also(CURL *easy, const char *ca_file, struct error *err)
{
	if (!ca_file || !ca_file[0])
		return 0;
	auto_buffer struct buffer bundle = {.cap = CA_FILE_MAX};
	if (buffer_read_file(&bundle, ca_file, err) < 0) {
		err->kind = ERROR_INPUT;
		return error_wrap(err, "CA certificates");
	}
	if (!memmem(bundle.data, bundle.size, "-----BEGIN ", 11))
		return error_set(err, ERROR_INPUT, "CA certificates: %s holds none (PEM is needed)",
				 ca_file);
	const char *system = NULL;
	curl_easy_getinfo(easy, CURLINFO_CAINFO, &system);
	auto_buffer struct buffer roots = {.cap = CA_FILE_MAX};
	struct error ignored;
	/* A small machine may have none of its own. */
	if (system && access(system, R_OK) == 0 &&
	    buffer_read_file(&roots, system, &ignored) == 0 &&
	    (buffer_add(&bundle, "\n", 1, err) < 0 ||
	     buffer_add(&bundle, roots.data, roots.size, err) < 0))
		return error_wrap(err, "CA certificates");
	struct curl_blob blob = {.data = bundle.data, .len = bundle.size, .flags = CURL_BLOB_COPY};
	return curl_easy_setopt(easy, CURLOPT_CAINFO_BLOB, &blob) == CURLE_OK
		       ? 0
		       : error_set(err, ERROR_MEMORY, "no memory for CA certificates");
}

void http_curl_setup(CURL *easy, const struct http_options *options, char *detail)
{
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, detail);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "tink-worker");
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
			 (long)(options->connect_timeout_ms ? options->connect_timeout_ms
							    : HTTP_CONNECT_TIMEOUT_MS));
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 20L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 10L);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	if (options->insecure) {
		curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
		curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
	}
}

/* A line break in a value would be a header of its own. */
static int add_header(struct curl_slist **list, const char *line, struct error *err)
{
	for (const char *at = line; *at; at++)
		if ((unsigned char)*at < 0x20 && *at != '\t')
			return error_set(err, ERROR_INPUT,
					 "a request header (or a token in one) holds a line break "
					 "or another control character");
	struct curl_slist *longer = curl_slist_append(*list, line);
	if (!longer)
		abort();
	*list = longer;
	return 0;
}

static int add_headers(struct curl_slist **list, const char *const *lines, struct error *err)
{
	for (; lines && *lines; lines++)
		if (add_header(list, *lines, err) < 0)
			return -1;
	return 0;
}

int http_curl_headers(const struct http_options *options, bool trusted, const char *const *more,
		      struct curl_slist **ret_list, struct error *err)
{
	struct curl_slist *list = NULL;
	int result = add_headers(&list, more, err);
	if (result == 0 && trusted)
		result = add_headers(&list, options->headers, err);
	if (result == 0 && trusted && options->token && options->token[0]) {
		char *line = text_format("Authorization: Bearer %s", options->token);
		result = add_header(&list, line, err);
		free(line);
	}
	if (result < 0) {
		curl_slist_free_all(list);
		return -1;
	}
	*ret_list = list;
	return 0;
}

int http_curl_wait(CURLM *multi, int cancel_fd, int timeout_ms, struct error *err)
{
	struct curl_waitfd cancel = {.fd = cancel_fd, .events = CURL_WAIT_POLLIN};
	CURLMcode code = curl_multi_poll(multi, &cancel, cancel_fd > 0 ? 1 : 0, timeout_ms, NULL);
	if (code != CURLM_OK)
		return error_set(err, ERROR_BUG, "libcurl: %s", curl_multi_strerror(code));
	if (cancel_fd > 0 && (cancel.revents & CURL_WAIT_POLLIN))
		return error_set(err, ERROR_CANCELLED, "cancelled");
	return 0;
}

bool http_curl_done(CURLM *multi, CURLcode *ret_code)
{
	int left;
	for (CURLMsg *message; (message = curl_multi_info_read(multi, &left)) != NULL;) {
		if (message->msg == CURLMSG_DONE) {
			*ret_code = message->data.result;
			return true;
		}
	}
	return false;
}
