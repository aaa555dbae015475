/*
 * Downloads by libcurl, driven by its multi interface in the thread that reads: whoever waits for
 * bytes does the work. Redirects are followed here and not by libcurl, which would send our headers
 * on to any host.
 */
#include "platform/http.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "platform/clock.h"
#include "platform/http_curl.h"
#include "platform/text.h"

enum {
	REDIRECTS_MAX = 10,
	REDIRECT_BODY_MAX = 64 << 10,
	LOCATION_MAX = 16 << 10,
	RECEIVE_BYTES = 512 << 10,
	SPILL_MAX = 1 << 20,
	POOL_MAX = 16
};

/* A libcurl multi handle holds the connections: what is kept is kept there. */
struct http_pool {
	pthread_mutex_t lock;
	CURLM *idle[POOL_MAX];
	unsigned count;
};

struct http_pool *http_pool_new(void)
{
	struct http_pool *pool = calloc(1, sizeof(*pool));
	if (!pool || pthread_mutex_init(&pool->lock, NULL) != 0)
		abort();
	return pool;
}

void http_pool_free(struct http_pool *pool)
{
	if (!pool)
		return;
	for (unsigned i = 0; i < pool->count; i++)
		curl_multi_cleanup(pool->idle[i]);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}

static CURLM *pool_take(struct http_pool *pool)
{
	CURLM *multi = NULL;
	if (pool) {
		pthread_mutex_lock(&pool->lock);
		if (pool->count > 0)
			multi = pool->idle[--pool->count];
		pthread_mutex_unlock(&pool->lock);
	}
	return multi ? multi : curl_multi_init();
}

static void pool_give(struct http_pool *pool, CURLM *multi)
{
	if (pool) {
		pthread_mutex_lock(&pool->lock);
		if (pool->count < POOL_MAX) {
			pool->idle[pool->count++] = multi;
			multi = NULL;
		}
		pthread_mutex_unlock(&pool->lock);
	}
	if (multi)
		curl_multi_cleanup(multi);
}

struct http_stream {
	struct stream stream;
	CURLM *multi;
	CURL *easy;
	struct http_options options;
	char shown[HTTP_URL_SHOWN];
	char detail[CURL_ERROR_SIZE];
	/* Where it goes now; who may be told what. */
	CURLU *url;
	char *origin; /* of the first URL: scheme, host and port */
	char *username, *password;
	struct curl_slist *headers;
	bool ranged;
	struct http_range range;
	/* The answer. */
	struct http_header header;
	struct http_answer answer;
	bool headers_done; /* of the final answer, redirects passed */
	char *location;    /* a redirect's; its body is thrown away */
	size_t thrown_away;
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
	self->last_byte_ms = clock_monotonic_ms();
	if (self->location) {
		self->thrown_away += size;
		return self->thrown_away <= REDIRECT_BODY_MAX ? size : CURL_WRITEFUNC_ERROR;
	}
	self->headers_done = true;
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

static bool is_redirect(long status)
{
	return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/* "Location: …" as it came: it is parsed as a URL, and redacted before it is shown. */
static void take_location(struct http_stream *self, const char *line, size_t size)
{
	static const char name[] = "location:";
	size_t name_size = sizeof(name) - 1;
	if (size <= name_size || strncasecmp(line, name, name_size) != 0 ||
	    size - name_size > LOCATION_MAX || self->location ||
	    !is_redirect(self->header.answer.status))
		return;
	const char *value = line + name_size;
	size_t value_size = size - name_size;
	while (value_size > 0 && strchr(" \t", *value)) {
		value++;
		value_size--;
	}
	while (value_size > 0 && strchr(" \t\r\n", value[value_size - 1]))
		value_size--;
	if (value_size > 0 && !memchr(value, '\0', value_size))
		self->location = text_dup_size(value, value_size);
}

static size_t on_header(char *data, size_t one, size_t size, void *context)
{
	(void)one;
	struct http_stream *self = context;
	self->last_byte_ms = clock_monotonic_ms();
	if (self->headers_done)
		return size; /* trailers */
	http_header_line(&self->header, data, size);
	take_location(self, data, size);
	/* The end of one set of headers: the final one unless it redirects or is an interim
	 * answer. */
	if (self->header.complete && self->header.answer.status >= 200 && !self->location)
		self->headers_done = true;
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
	if (http_curl_done(self->multi, &self->code))
		self->done = true;
	return 0;
}

static int wait_more(struct http_stream *self, struct error *err)
{
	int64_t stall = self->options.stall_timeout_ms ? self->options.stall_timeout_ms
						       : HTTP_STALL_TIMEOUT_MS;
	int64_t left = self->last_byte_ms + stall - clock_monotonic_ms();
	if (left <= 0)
		return error_set(err, ERROR_TIMEOUT,
				 "no byte for %" PRId64 " s after %" PRIu64 " bytes", stall / 1000,
				 self->stream.read_bytes);
	return http_curl_wait(self->multi, self->options.cancel_fd,
			      (int)(left < 1000 ? left : 1000), err);
}

static int verified_end(struct http_stream *self, struct error *err)
{
	if (self->code != CURLE_OK) {
		http_curl_failed(self->code, self->detail, err);
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

static ssize_t take_spilled(struct http_stream *self, void *data, size_t size)
{
	size_t waiting = self->spill.size - self->spill_at;
	size_t count = waiting < size ? waiting : size;
	memcpy(data, self->spill.data + self->spill_at, count);
	self->spill_at += count;
	if (self->spill_at == self->spill.size)
		self->spill.size = self->spill_at = 0;
	return (ssize_t)count;
}

static ssize_t receive(struct http_stream *self, void *data, size_t size, struct error *err)
{
	if (self->spill.size > self->spill_at)
		return take_spilled(self, data, size);
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
	return result < 0 ? -1 : verified_end(self, err);
}

static ssize_t http_stream_read(struct stream *stream, void *data, size_t size, struct error *err)
{
	struct http_stream *self = (struct http_stream *)stream;
	ssize_t got = receive(self, data, size, err);
	/* Chunks may go on behind the part that was announced. */
	if (got > 0 && (uint64_t)got > stream->size_bytes - stream->read_bytes)
		got = error_set(err, ERROR_PROTOCOL,
				"the server sent more than the %" PRIu64 " bytes announced",
				stream->size_bytes);
	return got < 0 ? fail_url(self, err) : got;
}

static void http_stream_close(struct stream *stream)
{
	struct http_stream *self = (struct http_stream *)stream;
	if (self->easy) {
		curl_multi_remove_handle(self->multi, self->easy);
		curl_easy_cleanup(self->easy);
	}
	if (self->multi)
		pool_give(self->options.pool, self->multi);
	curl_slist_free_all(self->headers);
	curl_url_cleanup(self->url);
	curl_free(self->origin);
	free(self->username);
	free(self->password);
	free(self->location);
	buffer_free(&self->spill);
	free(self);
}

/* Scheme, host and port, to be freed with curl_free(). */
static char *origin_of(const CURLU *url)
{
	CURLU *bare = curl_url_dup(url);
	char *text = NULL;
	static const CURLUPart others[] = {CURLUPART_USER,  CURLUPART_PASSWORD, CURLUPART_OPTIONS,
					   CURLUPART_QUERY, CURLUPART_FRAGMENT, CURLUPART_PATH};
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		curl_url_set(bare, others[i], NULL, 0);
	curl_url_get(bare, CURLUPART_URL, &text, CURLU_DEFAULT_PORT);
	curl_url_cleanup(bare);
	return text;
}

static char *text_of(const char *first, CURLU *url, CURLUPart part)
{
	if (first && first[0])
		return text_dup(first);
	char *text = NULL;
	if (curl_url_get(url, part, &text, CURLU_URLDECODE) != CURLUE_OK)
		return NULL;
	char *copy = text_dup(text);
	curl_free(text);
	return copy;
}

static int url_failed(CURLUcode code, struct error *err)
{
	error_set(err, ERROR_INPUT, "%s", curl_url_strerror(code));
	err->code = (int)code;
	return -1;
}

static int take_url(struct http_stream *self, const char *url, struct error *err)
{
	self->url = curl_url();
	if (!self->url)
		abort();
	CURLUcode code = curl_url_set(self->url, CURLUPART_URL, url, 0);
	if (code != CURLUE_OK)
		return url_failed(code, err);
	bool own = self->options.username && self->options.username[0];
	self->username = text_of(self->options.username, self->url, CURLUPART_USER);
	self->password = own ? text_dup(self->options.password ? self->options.password : "")
			     : text_of(NULL, self->url, CURLUPART_PASSWORD);
	curl_url_set(self->url, CURLUPART_USER, NULL, 0);
	curl_url_set(self->url, CURLUPART_PASSWORD, NULL, 0);
	self->origin = origin_of(self->url);
	return self->origin ? 0 : error_set(err, ERROR_INPUT, "the URL cannot be read");
}

/* The header lines and the credentials for where it goes now. */
static int set_request(struct http_stream *self, struct error *err)
{
	char *url = NULL, *origin = origin_of(self->url);
	bool trusted = origin && strcmp(origin, self->origin) == 0;
	curl_free(origin);
	CURLUcode code = curl_url_get(self->url, CURLUPART_URL, &url, 0);
	if (code != CURLUE_OK)
		return url_failed(code, err);
	curl_easy_setopt(self->easy, CURLOPT_URL, url);
	curl_free(url);
	curl_slist_free_all(self->headers);
	self->headers = NULL;
	auto_free char *if_range = self->ranged && self->range.if_range
					   ? text_format("If-Range: %s", self->range.if_range)
					   : NULL;
	const char *more[] = {if_range, NULL};
	if (http_curl_headers(&self->options, trusted, more, &self->headers, err) < 0)
		return -1;
	curl_easy_setopt(self->easy, CURLOPT_HTTPHEADER, self->headers);
	bool token = self->options.token && self->options.token[0];
	bool login = trusted && !token && self->username;
	curl_easy_setopt(self->easy, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
	curl_easy_setopt(self->easy, CURLOPT_USERNAME, login ? self->username : NULL);
	curl_easy_setopt(self->easy, CURLOPT_PASSWORD,
			 !login           ? NULL
			 : self->password ? self->password
					  : "");
	return 0;
}

/* Goes on at the Location that came. */
static int follow(struct http_stream *self, struct error *err)
{
	curl_multi_remove_handle(self->multi, self->easy);
	CURLUcode code = curl_url_set(self->url, CURLUPART_URL, self->location, CURLU_URLENCODE);
	char shown[HTTP_URL_SHOWN];
	text_redact_url(self->location, shown, sizeof(shown));
	free(take_pointer(self->location));
	if (code != CURLUE_OK) {
		url_failed(code, err);
		return error_wrap(err, "redirected to %s", shown);
	}
	char *scheme = NULL;
	curl_url_get(self->url, CURLUPART_SCHEME, &scheme, 0);
	bool web = scheme && (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0);
	curl_free(scheme);
	if (!web)
		return error_set(err, ERROR_INPUT,
				 "redirected to %s: only http and https are followed", shown);
	self->done = false;
	self->code = CURLE_OK;
	self->detail[0] = '\0';
	self->thrown_away = 0;
	self->header = (struct http_header){.date_s = -1};
	if (set_request(self, err) < 0)
		return error_wrap(err, "redirected to %s", shown);
	curl_multi_add_handle(self->multi, self->easy);
	return 0;
}

/* Works until the final headers are there. */
static int await_headers(struct http_stream *self, struct error *err)
{
	unsigned redirects = 0;
	self->last_byte_ms = clock_monotonic_ms();
	for (;;) {
		while (!self->headers_done && !self->done) {
			if (work(self, err) < 0)
				return -1;
			if (!self->headers_done && !self->done && wait_more(self, err) < 0)
				return -1;
		}
		if (self->headers_done || !self->location)
			break;
		if (redirects++ == REDIRECTS_MAX)
			return error_set(err, ERROR_INPUT, "more than %d redirects", REDIRECTS_MAX);
		if (follow(self, err) < 0)
			return -1;
	}
	/* A body that was cut already is told by whoever reads it, with how far it came. */
	if (self->done && self->code != CURLE_OK && !self->headers_done)
		return http_curl_failed(self->code, self->detail, err);
	/* libcurl takes the end of the connection for the end of the header. */
	return self->header.complete ? 0
				     : error_set(err, ERROR_NETWORK,
						 "the connection was closed within the header");
}

static int wrong_part(struct http_stream *self, struct error *err)
{
	const struct http_header *header = &self->header;
	if (!header->range_valid || header->range_unsatisfied)
		return error_set(err, ERROR_PROTOCOL,
				 "the server answered HTTP status 206 without a valid "
				 "Content-Range");
	return error_set(err, ERROR_PROTOCOL,
			 "the server answered a request for bytes from %" PRIu64
			 " with bytes %" PRIu64 " to %" PRIu64,
			 self->range.start, header->range_first, header->range_last);
}

/* gzip and zstd are told by the content; of these two nothing could. */
static int check_encoding(const struct http_stream *self, struct error *err)
{
	const char *encoding = self->header.encoding;
	if (strcasecmp(encoding, "br") != 0 && strcasecmp(encoding, "deflate") != 0)
		return 0;
	return error_set(err, ERROR_UNSUPPORTED,
			 "the server sends it compressed (Content-Encoding: %s), which was not "
			 "asked for and is not read: let it send the file as it is",
			 encoding);
}

/* Fills in the sizes; judges the status and the part. */
static int judge_answer(struct http_stream *self, struct error *err)
{
	const struct http_header *header = &self->header;
	struct http_answer *answer = &self->answer;
	*answer = header->answer;
	long status = answer->status;
	if (status == 416 && header->range_valid && header->range_unsatisfied)
		answer->total_bytes = header->range_total;
	if (status < 200 || status >= 300)
		return http_curl_status(status, err);
	if (status != 200 && !(self->ranged && status == 206))
		return error_set(err, ERROR_PROTOCOL,
				 "the server answered HTTP status %ld to a %s GET", status,
				 self->ranged ? "partial" : "plain");
	if (check_encoding(self, err) < 0)
		return -1;
	if (header->lengths_differ && !header->chunked)
		return error_set(err, ERROR_PROTOCOL,
				 "the server gives two lengths (Content-Length) that differ");
	curl_off_t length = -1;
	curl_easy_getinfo(self->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
	/* Chunks override a length (RFC 9112, 6.3). */
	bool known = length >= 0 && !header->chunked;
	answer->size_bytes = known ? (uint64_t)length : STREAM_SIZE_UNKNOWN;
	answer->total_bytes = answer->size_bytes;
	answer->has_end = known || header->chunked || header->http2;
	if (status == 206) {
		answer->total_bytes = header->range_total;
		if (!header->range_valid || header->range_unsatisfied ||
		    header->range_first != self->range.start ||
		    header->range_last >= self->range.end)
			return wrong_part(self, err);
		uint64_t part = header->range_last - header->range_first + 1;
		if (known && (uint64_t)length != part)
			return error_set(err, ERROR_PROTOCOL,
					 "the server announces a part of %" PRIu64
					 " bytes with a length of %" PRIu64,
					 part, (uint64_t)length);
		answer->accepts_ranges = true;
		answer->start = header->range_first;
		answer->size_bytes = part;
		answer->has_end = true;
	}
	self->stream.size_bytes = answer->size_bytes;
	self->stream.least_bytes =
		answer->size_bytes != STREAM_SIZE_UNKNOWN ? answer->size_bytes : 0;
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
		*ret_answer = (struct http_answer){.status = 200,
						   .has_end = true,
						   .size_bytes = size,
						   .total_bytes = size,
						   .retry_after_ms = -1};
	*ret_stream = stream_from_fd(take_fd(&fd), size, path);
	return 0;
}

static int prepare(struct http_stream *self, const char *url, struct error *err)
{
	self->multi = pool_take(self->options.pool);
	self->easy = curl_easy_init();
	if (!self->multi || !self->easy)
		return error_set(err, ERROR_MEMORY, "no memory for a download");
	CURL *easy = self->easy;
	http_curl_setup(easy, &self->options, self->detail);
	if (http_curl_trust_also(easy, self->options.ca_file, err) < 0 ||
	    take_url(self, url, err) < 0 || set_request(self, err) < 0)
		return -1;
	char part[48];
	if (self->ranged) {
		if (self->range.end == STREAM_SIZE_UNKNOWN)
			snprintf(part, sizeof(part), "%" PRIu64 "-", self->range.start);
		else
			snprintf(part, sizeof(part), "%" PRIu64 "-%" PRIu64, self->range.start,
				 self->range.end - 1);
		curl_easy_setopt(easy, CURLOPT_RANGE, part);
	}
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)RECEIVE_BYTES);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, self);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, self);
	curl_multi_add_handle(self->multi, easy);
	return 0;
}

static int get(const char *url, const struct http_options *options, const struct http_range *range,
	       struct stream **ret_stream, struct http_answer *ret_answer, struct error *err)
{
	static const struct stream_operations operations = {.read = http_stream_read,
							    .close = http_stream_close};
	struct http_stream *self = calloc(1, sizeof(*self));
	if (!self)
		abort();
	self->stream =
		(struct stream){.operations = &operations, .size_bytes = STREAM_SIZE_UNKNOWN};
	auto_stream struct stream *stream = &self->stream;
	self->options = *options;
	self->ranged = range != NULL;
	if (range)
		self->range = *range;
	text_redact_url(url, self->shown, sizeof(self->shown));
	self->spill.cap = (size_t)2 * SPILL_MAX;
	int result = prepare(self, url, err);
	if (result == 0) {
		result = await_headers(self, err);
		if (result < 0 && !self->headers_done)
			self->answer.unreachable = http_curl_unreachable(
				self->easy, self->done ? self->code : CURLE_OPERATION_TIMEDOUT);
	}
	if (result == 0)
		result = judge_answer(self, err);
	if (ret_answer)
		*ret_answer = self->answer;
	if (result < 0)
		return fail_url(self, err);
	self->range.if_range = NULL; /* the caller's */
	*ret_stream = take_pointer(stream);
	return 0;
}

int http_get(const char *url, const struct http_options *options, struct stream **ret_stream,
	     struct http_answer *ret_answer, struct error *err)
{
	if (ret_answer)
		*ret_answer = (struct http_answer){.retry_after_ms = -1};
	if (strncasecmp(url, "file:///", 8) == 0)
		return open_file_url(url, ret_stream, ret_answer, err);
	return get(url, options, NULL, ret_stream, ret_answer, err);
}

int http_get_range(const char *url, const struct http_options *options,
		   const struct http_range *range, struct stream **ret_stream,
		   struct http_answer *ret_answer, struct error *err)
{
	return get(url, options, range, ret_stream, ret_answer, err);
}

int http_get_buffer(const char *url, const struct http_options *options, struct buffer *body,
		    struct error *err)
{
	auto_stream struct stream *stream = NULL;
	if (http_get(url, options, &stream, NULL, err) < 0)
		return -1;
	char shown[HTTP_URL_SHOWN];
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
