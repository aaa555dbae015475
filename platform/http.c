/*
 * libcurl, driven by its multi interface in the thread that reads: whoever waits for bytes does the
 * work. Two users: the body stream of a GET, and the exchange with a kept connection.
 */
#include "platform/http.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "platform/clock.h"
#include "platform/text.h"

enum {
	CONNECT_TIMEOUT_MS = 30000,
	STALL_TIMEOUT_MS = 60000,
	SPILL_MAX = 1 << 20,
	URL_SHOWN = 512
};

int http_setup(struct error *err)
{
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

/* curl's own words: the detail when it left one, else the meaning of the code; and what helps. */
static int curl_failed(CURLcode code, const char *detail, struct error *err)
{
	char words[CURL_ERROR_SIZE];
	snprintf(words, sizeof(words), "%s", detail[0] ? detail : curl_easy_strerror(code));
	drop_time(words);
	error_set(err, kind_of_curl(code), "%s", words);
	err->code = (int)code;
	if (code == CURLE_PEER_FAILED_VERIFICATION)
		error_append(err, " (is its certificate from an authority that this machine knows? "
				  "see tls-ca)");
	return -1;
}

/* What both users have set alike. */
static void set_common(CURL *easy, const struct http_options *options, char *detail)
{
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, detail);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "tink-worker");
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
			 (long)(options->connect_timeout_ms ? options->connect_timeout_ms
							    : CONNECT_TIMEOUT_MS));
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 20L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 10L);
	if (options->ca_file)
		curl_easy_setopt(easy, CURLOPT_CAINFO, options->ca_file);
	if (options->insecure) {
		curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
		curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
	}
	/* libcurl reads http_proxy in lower case only (a CGI precaution that does not apply here);
	 * people set it in capitals. */
	const char *proxy = getenv("HTTP_PROXY");
	if (proxy && !getenv("http_proxy"))
		setenv("http_proxy", proxy, 0);
}

/* Waits for something to do, at most timeout_ms. ERROR_CANCELLED when the cancel descriptor says
 * so. */
static int wait_for_work(CURLM *multi, int cancel_fd, int timeout_ms, struct error *err)
{
	struct curl_waitfd cancel = {.fd = cancel_fd, .events = CURL_WAIT_POLLIN};
	CURLMcode code = curl_multi_poll(multi, &cancel, cancel_fd > 0 ? 1 : 0, timeout_ms, NULL);
	if (code != CURLM_OK)
		return error_set(err, ERROR_BUG, "libcurl: %s", curl_multi_strerror(code));
	if (cancel_fd > 0 && (cancel.revents & CURL_WAIT_POLLIN))
		return error_set(err, ERROR_CANCELLED, "cancelled");
	return 0;
}

/* Whether the transfer is over, and how it ended. */
static bool transfer_done(CURLM *multi, CURLcode *ret_code)
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

/* The download stream. */

struct http_stream {
	struct stream stream;
	CURLM *multi;
	CURL *easy;
	struct http_options options;
	char *url;
	char shown[URL_SHOWN];
	char detail[CURL_ERROR_SIZE];
	struct http_answer answer;
	bool headers_done; /* of the final answer, redirects passed */
	bool chunked;
	bool http2;
	bool done; /* transfer over, with result code */
	CURLcode code;
	bool paused;
	/* Where bytes go: to the reader's memory while it waits, the rest here. */
	uint8_t *reader_data;
	size_t reader_room;
	size_t reader_got;
	struct buffer spill;
	size_t spill_at;
	int64_t last_byte_ms;
};

static size_t on_body(char *data, size_t one, size_t size, void *context)
{
	(void)one;
	struct http_stream *self = context;
	self->headers_done = true;
	self->last_byte_ms = clock_monotonic_ms();
	/* All of it or nothing: libcurl gives a refused piece again. */
	if (size > self->reader_room && self->spill.size + size > SPILL_MAX) {
		self->paused = true;
		return CURL_WRITEFUNC_PAUSE;
	}
	size_t direct = size < self->reader_room ? size : self->reader_room;
	if (direct > 0) {
		memcpy(self->reader_data, data, direct);
		self->reader_data += direct;
		self->reader_room -= direct;
		self->reader_got += direct;
	}
	struct error ignored;
	if (size > direct && buffer_add(&self->spill, data + direct, size - direct, &ignored) < 0)
		return CURL_WRITEFUNC_ERROR;
	return size;
}

static bool header_value(const char *line, size_t size, const char *name, char *out,
			 size_t out_size)
{
	size_t name_size = strlen(name);
	if (size <= name_size || strncasecmp(line, name, name_size) != 0 || line[name_size] != ':')
		return false;
	const char *value = line + name_size + 1;
	size_t value_size = size - name_size - 1;
	while (value_size > 0 && (*value == ' ' || *value == '\t')) {
		value++;
		value_size--;
	}
	while (value_size > 0 && strchr(" \t\r\n", value[value_size - 1]))
		value_size--;
	text_sanitize(value, value_size, out, out_size);
	return true;
}

static size_t on_header(char *data, size_t one, size_t size, void *context)
{
	(void)one;
	struct http_stream *self = context;
	char value[128];
	self->last_byte_ms = clock_monotonic_ms();
	if (self->headers_done)
		return size; /* trailers */
	if (size >= 5 && strncasecmp(data, "HTTP/", 5) == 0) {
		self->chunked = false;
		self->http2 = size > 5 && data[5] >= '2';
		self->answer.content_type[0] = '\0';
	} else if (header_value(data, size, "transfer-encoding", value, sizeof(value))) {
		self->chunked = strcasestr(value, "chunked") != NULL;
	} else if (header_value(data, size, "content-type", value, sizeof(value))) {
		memcpy(self->answer.content_type, value, sizeof(value));
	} else if (size <= 2 && (data[0] == '\r' || data[0] == '\n')) {
		/* The end of one set of headers: the final one unless it redirects or is an interim
		 * answer. */
		long status = 0;
		curl_easy_getinfo(self->easy, CURLINFO_RESPONSE_CODE, &status);
		if (status >= 200 && !(status >= 300 && status < 400))
			self->headers_done = true;
	}
	return size;
}

static int fail_url(struct http_stream *self, struct error *err)
{
	return error_wrap(err, "GET %s", self->shown);
}

/* One round of work; returns when there are bytes, the state changed, or -1. */
static int work(struct http_stream *self, struct error *err)
{
	int running;
	CURLMcode multi_code = curl_multi_perform(self->multi, &running);
	if (multi_code != CURLM_OK)
		return error_set(err, ERROR_BUG, "libcurl: %s", curl_multi_strerror(multi_code));
	if (transfer_done(self->multi, &self->code))
		self->done = true;
	return 0;
}

static int wait_more(struct http_stream *self, struct error *err)
{
	int64_t stall =
		self->options.stall_timeout_ms ? self->options.stall_timeout_ms : STALL_TIMEOUT_MS;
	int64_t left = self->last_byte_ms + stall - clock_monotonic_ms();
	if (left <= 0)
		return error_set(err, ERROR_TIMEOUT,
				 "no byte for %" PRId64 " s after %" PRIu64 " bytes", stall / 1000,
				 self->stream.read_bytes);
	return wait_for_work(self->multi, self->options.cancel_fd, (int)(left < 1000 ? left : 1000),
			     err);
}

static int verified_end(struct http_stream *self, struct error *err)
{
	if (self->code != CURLE_OK) {
		curl_failed(self->code, self->detail, err);
		if (self->code == CURLE_PARTIAL_FILE || self->code == CURLE_RECV_ERROR)
			error_append(err, " (the body was cut after %" PRIu64 " bytes)",
				     self->stream.read_bytes);
		return -1;
	}
	if (self->stream.size_bytes != STREAM_SIZE_UNKNOWN &&
	    self->stream.read_bytes != self->stream.size_bytes)
		return error_set(err, ERROR_NETWORK,
				 "the body was cut after %" PRIu64 " of %" PRIu64 " bytes",
				 self->stream.read_bytes, self->stream.size_bytes);
	return 0;
}

static ssize_t http_stream_read(struct stream *stream, void *data, size_t size, struct error *err)
{
	struct http_stream *self = (struct http_stream *)stream;
	size_t waiting = self->spill.size - self->spill_at;
	if (waiting > 0) {
		size_t count = waiting < size ? waiting : size;
		memcpy(data, self->spill.data + self->spill_at, count);
		self->spill_at += count;
		if (self->spill_at == self->spill.size)
			self->spill.size = self->spill_at = 0;
		return (ssize_t)count;
	}
	self->reader_data = data;
	self->reader_room = size;
	self->reader_got = 0;
	/* The stall timer runs while somebody waits here, not while the reader is busy elsewhere.
	 */
	self->last_byte_ms = clock_monotonic_ms();
	int result = 0;
	while (self->reader_got == 0 && result == 0 && !self->done) {
		if (self->paused) {
			self->paused = false;
			curl_easy_pause(self->easy, CURLPAUSE_CONT);
			continue;
		}
		result = work(self, err);
		if (result == 0 && self->reader_got == 0 && !self->done && !self->paused)
			result = wait_more(self, err);
	}
	self->reader_room = 0;
	if (self->reader_got > 0)
		return (ssize_t)self->reader_got;
	if (result == 0)
		result = verified_end(self, err);
	return result < 0 ? fail_url(self, err) : 0;
}

static void http_stream_close(struct stream *stream)
{
	struct http_stream *self = (struct http_stream *)stream;
	if (self->easy) {
		curl_multi_remove_handle(self->multi, self->easy);
		curl_easy_cleanup(self->easy);
	}
	if (self->multi)
		curl_multi_cleanup(self->multi);
	buffer_free(&self->spill);
	free(self->url);
	free(self);
}

static int status_error(long status, struct error *err)
{
	enum error_kind kind = ERROR_INPUT;
	if (status == 404 || status == 410)
		kind = ERROR_NOT_FOUND;
	else if (status == 401 || status == 403 || status == 407)
		kind = ERROR_DENIED;
	else if (status == 408 || status == 425 || status == 429 || status >= 500)
		kind = ERROR_NETWORK;
	error_set(err, kind, "the server answered HTTP status %ld", status);
	err->code = (int)status;
	return -1;
}

/* Works until the final headers are there. */
static int await_answer(struct http_stream *self, struct error *err)
{
	self->last_byte_ms = clock_monotonic_ms();
	while (!self->headers_done && !self->done) {
		if (work(self, err) < 0)
			return -1;
		if (!self->headers_done && !self->done && wait_more(self, err) < 0)
			return -1;
	}
	long status = 0;
	curl_easy_getinfo(self->easy, CURLINFO_RESPONSE_CODE, &status);
	self->answer.status = status;
	/* A body that was cut already is told by whoever reads it, with how far it came. */
	if (self->done && self->code != CURLE_OK && !self->headers_done)
		return curl_failed(self->code, self->detail, err);
	if (status < 200 || status >= 300)
		return status_error(status, err);
	if (status != 200)
		return error_set(err, ERROR_PROTOCOL,
				 "the server answered HTTP status %ld to a plain GET", status);
	curl_off_t length = -1;
	curl_easy_getinfo(self->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
	/* Chunks override a length (RFC 9112, 6.3). */
	bool known = length >= 0 && !self->chunked;
	self->answer.size_bytes = known ? (uint64_t)length : STREAM_SIZE_UNKNOWN;
	self->answer.has_end = known || self->chunked || self->http2;
	self->stream.size_bytes = self->answer.size_bytes;
	self->stream.least_bytes = known ? (uint64_t)length : 0;
	return 0;
}

static int open_file_url(const char *url, struct stream **ret_stream,
			 struct http_answer *ret_answer, struct error *err)
{
	const char *path = url + strlen("file://");
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat status;
	if (fd < 0 || fstat(fd, &status) < 0)
		return error_sys(err, "open %s", path);
	if (!S_ISREG(status.st_mode))
		return error_set(err, ERROR_INPUT, "%s is not a file", path);
	uint64_t size = (uint64_t)status.st_size;
	if (ret_answer)
		*ret_answer =
			(struct http_answer){.status = 200, .has_end = true, .size_bytes = size};
	*ret_stream = stream_from_fd(take_fd(&fd), size, path);
	return 0;
}

int http_get(const char *url, const struct http_options *options, struct stream **ret_stream,
	     struct http_answer *ret_answer, struct error *err)
{
	static const struct stream_operations operations = {.read = http_stream_read,
							    .close = http_stream_close};
	if (strncasecmp(url, "file:///", 8) == 0)
		return open_file_url(url, ret_stream, ret_answer, err);
	struct http_stream *self = calloc(1, sizeof(*self));
	if (!self)
		abort();
	self->stream =
		(struct stream){.operations = &operations, .size_bytes = STREAM_SIZE_UNKNOWN};
	auto_stream struct stream *stream = &self->stream;
	self->options = *options;
	self->url = text_dup(url);
	text_redact_url(url, self->shown, sizeof(self->shown));
	self->spill.cap = (size_t)2 * SPILL_MAX;
	self->multi = curl_multi_init();
	self->easy = curl_easy_init();
	if (!self->multi || !self->easy)
		return error_set(err, ERROR_MEMORY, "no memory for a download");
	CURL *easy = self->easy;
	set_common(easy, options, self->detail);
	curl_easy_setopt(easy, CURLOPT_URL, self->url);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 1L);
	curl_easy_setopt(easy, CURLOPT_MAXREDIRS, 10L);
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 512L << 10);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, self);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, self);
	curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	curl_multi_add_handle(self->multi, easy);
	if (await_answer(self, err) < 0)
		return fail_url(self, err);
	if (ret_answer)
		*ret_answer = self->answer;
	*ret_stream = take_pointer(stream);
	return 0;
}

int http_get_buffer(const char *url, const struct http_options *options, struct buffer *body,
		    struct error *err)
{
	auto_stream struct stream *stream = NULL;
	if (http_get(url, options, &stream, NULL, err) < 0)
		return -1;
	char shown[URL_SHOWN];
	for (;;) {
		uint8_t chunk[16384];
		ssize_t got = stream_read(stream, chunk, sizeof(chunk), err);
		if (got < 0)
			return -1;
		if (got == 0)
			return 0;
		if (buffer_add(body, chunk, (size_t)got, err) < 0)
			return error_wrap(err, "GET %s",
					  text_redact_url(url, shown, sizeof(shown)));
	}
}

/* Exchanges on a kept connection. */

struct http_client {
	struct http_options options;
	CURLM *multi;
	CURL *easy;
	char detail[CURL_ERROR_SIZE];
};

struct http_client *http_client_new(const struct http_options *options)
{
	struct http_client *client = calloc(1, sizeof(*client));
	if (!client)
		abort();
	client->options = *options;
	client->multi = curl_multi_init();
	client->easy = curl_easy_init();
	if (!client->multi || !client->easy)
		abort();
	return client;
}

void http_client_free(struct http_client *client)
{
	if (!client)
		return;
	curl_easy_cleanup(client->easy);
	curl_multi_cleanup(client->multi);
	free(client);
}

struct exchange {
	const struct http_request *request;
	struct http_response *response;
	bool too_large;
};

static size_t on_exchange_body(char *data, size_t one, size_t size, void *context)
{
	(void)one;
	struct exchange *exchange = context;
	struct error ignored;
	if (buffer_add(&exchange->response->body, data, size, &ignored) < 0) {
		exchange->too_large = true;
		return CURL_WRITEFUNC_ERROR;
	}
	return size;
}

static size_t on_exchange_header(char *data, size_t one, size_t size, void *context)
{
	(void)one;
	struct exchange *exchange = context;
	size_t length = size;
	while (length > 0 && (data[length - 1] == '\r' || data[length - 1] == '\n'))
		length--;
	if (length >= 5 && strncasecmp(data, "HTTP/", 5) == 0)
		exchange->response->content_type[0] = '\0';
	header_value(data, length, "content-type", exchange->response->content_type,
		     sizeof(exchange->response->content_type));
	if (exchange->request->on_header)
		exchange->request->on_header(exchange->request->context, data, length);
	return size;
}

static struct curl_slist *header_list(const char *const *headers)
{
	struct curl_slist *list = NULL;
	for (; headers && *headers; headers++) {
		struct curl_slist *longer = curl_slist_append(list, *headers);
		if (!longer)
			abort();
		list = longer;
	}
	return list;
}

static int drive(struct http_client *client, const struct http_request *request, CURLcode *ret_code,
		 struct error *err)
{
	int64_t deadline =
		request->timeout_ms ? clock_monotonic_ms() + request->timeout_ms : INT64_MAX;
	for (;;) {
		int running;
		CURLMcode code = curl_multi_perform(client->multi, &running);
		if (code != CURLM_OK)
			return error_set(err, ERROR_BUG, "libcurl: %s", curl_multi_strerror(code));
		if (transfer_done(client->multi, ret_code))
			return 0;
		int64_t left = deadline - clock_monotonic_ms();
		if (left <= 0)
			return error_set(err, ERROR_TIMEOUT, "no answer within %" PRId64 " ms",
					 request->timeout_ms);
		if (wait_for_work(client->multi, client->options.cancel_fd,
				  (int)(left < 60000 ? left : 60000), err) < 0)
			return -1;
	}
}

int http_exchange(struct http_client *client, const struct http_request *request,
		  struct http_response *response, struct error *err)
{
	struct exchange exchange = {.request = request, .response = response};
	CURL *easy = client->easy;
	response->status = 0;
	response->content_type[0] = '\0';
	response->body.size = 0;
	curl_easy_reset(easy);
	client->detail[0] = '\0';
	set_common(easy, &client->options, client->detail);
	struct curl_slist *headers = header_list(request->headers);
	curl_easy_setopt(easy, CURLOPT_URL, request->url);
	curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	if (request->body) {
		curl_easy_setopt(easy, CURLOPT_POST, 1L);
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_size);
		curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->body);
	}
	if (request->http2_prior_knowledge) {
		curl_easy_setopt(easy, CURLOPT_HTTP_VERSION,
				 (long)CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE);
		curl_easy_setopt(easy, CURLOPT_HTTPPROXYTUNNEL, 1L);
		/* As gRPC everywhere: HTTPS_PROXY counts, for cleartext too, as it tunnels;
		 * HTTP_PROXY does not. */
		const char *proxy = getenv("https_proxy");
		if (!proxy)
			proxy = getenv("HTTPS_PROXY");
		curl_easy_setopt(easy, CURLOPT_PROXY, proxy ? proxy : "");
	}
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_exchange_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, &exchange);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_exchange_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, &exchange);
	curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	curl_multi_add_handle(client->multi, easy);
	CURLcode code = CURLE_OK;
	int result = drive(client, request, &code, err);
	if (result == 0 && exchange.too_large)
		result = error_set(
			err, ERROR_INPUT, "the answer is larger than the %zu bytes allowed",
			response->body.cap ? response->body.cap : (size_t)BUFFER_DEFAULT_CAP);
	else if (result == 0 && code != CURLE_OK)
		result = curl_failed(code, client->detail, err);
	long connections = 0;
	curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &response->status);
	curl_easy_getinfo(easy, CURLINFO_NUM_CONNECTS, &connections);
	response->fresh_connection = connections > 0;
	/* Removing a transfer that is under way resets its HTTP/2 stream and keeps the connection.
	 */
	curl_multi_remove_handle(client->multi, easy);
	curl_slist_free_all(headers);
	return result;
}
