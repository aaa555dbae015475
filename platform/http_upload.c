/* Sending a stream: PUT, and POST as a form with one file. See http.h. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "platform/clock.h"
#include "platform/http_curl.h"
#include "platform/text.h"

enum {
	SEND_BYTES = 512 << 10,
	EXCERPT_BYTES = 400
};

struct sending {
	struct stream *stream;
	const struct http_options *options;
	CURLM *multi;
	CURL *easy;
	char detail[CURL_ERROR_SIZE];
	struct curl_slist *headers;
	/* Around the stream when it is a form. */
	char *before, *after;
	size_t before_at, after_at;
	bool ended; /* the stream, verified */
	bool failed;
	struct error failure; /* its own */
	struct http_header header;
	struct buffer excerpt;
	int64_t last_ms;
};

/* Some of a text that is left; 0 when it has all been taken. */
static size_t take_text(const char *text, size_t *at, char *out, size_t size)
{
	size_t left = text ? strlen(text) - *at : 0;
	size_t count = left < size ? left : size;
	if (count > 0)
		memcpy(out, text + *at, count);
	*at += count;
	return count;
}

static size_t on_send(char *out, size_t one, size_t size, void *context)
{
	struct sending *self = context;
	size *= one;
	size_t count = take_text(self->before, &self->before_at, out, size);
	if (count == 0 && !self->ended) {
		ssize_t got = stream_read(self->stream, out, size, &self->failure);
		self->failed = got < 0;
		self->ended = got == 0;
		if (self->failed)
			return CURL_READFUNC_ABORT;
		count = (size_t)got;
	}
	if (count == 0)
		count = take_text(self->after, &self->after_at, out, size);
	self->last_ms = clock_monotonic_ms();
	return count;
}

static size_t on_answer(char *data, size_t one, size_t size, void *context)
{
	(void)one;
	struct sending *self = context;
	struct error ignored;
	size_t room = EXCERPT_BYTES - self->excerpt.size;
	self->last_ms = clock_monotonic_ms();
	if (buffer_add(&self->excerpt, data, size < room ? size : room, &ignored) < 0)
		return CURL_WRITEFUNC_ERROR;
	return size;
}

static size_t on_header(char *data, size_t one, size_t size, void *context)
{
	(void)one;
	struct sending *self = context;
	self->last_ms = clock_monotonic_ms();
	http_header_line(&self->header, data, size);
	return size;
}

/* A name in quotes, as browsers write it. */
static char *quoted(const char *name)
{
	char *out = malloc(strlen(name) * 3 + 3), *at = out;
	if (!out)
		abort();
	*at++ = '"';
	for (; *name; name++) {
		if (*name == '"' || (unsigned char)*name < 0x20)
			at += sprintf(at, "%%%02X", (unsigned char)*name);
		else
			*at++ = *name;
	}
	*at++ = '"';
	*at = '\0';
	return out;
}

/* Returns the header line for the whole, to be freed. */
static char *make_form(struct sending *self, const struct http_upload *upload,
		       const char *content_type)
{
	uint64_t random[2] = {0};
	if (getrandom(random, sizeof(random), GRND_NONBLOCK) < 0)
		random[0] = (uint64_t)clock_wall().tv_nsec;
	auto_free char *boundary =
		text_format("tink-worker-%016" PRIx64 "%016" PRIx64, random[0], random[1]);
	auto_free char *field = quoted(upload->field);
	auto_free char *file_name = quoted(upload->file_name ? upload->file_name : "file");
	self->before = text_format("--%s\r\nContent-Disposition: form-data; name=%s; "
				   "filename=%s\r\nContent-Type: %s\r\n\r\n",
				   boundary, field, file_name, content_type);
	self->after = text_format("\r\n--%s--\r\n", boundary);
	return text_format("Content-Type: multipart/form-data; boundary=%s", boundary);
}

static int prepare(struct sending *self, const struct http_upload *upload, struct error *err)
{
	self->multi = curl_multi_init();
	self->easy = curl_easy_init();
	if (!self->multi || !self->easy)
		return error_set(err, ERROR_MEMORY, "no memory for an upload");
	CURL *easy = self->easy;
	http_curl_setup(easy, self->options, self->detail);
	if (http_curl_trust_also(easy, self->options->ca_file, err) < 0)
		return -1;
	const char *content_type =
		upload->content_type ? upload->content_type : "application/octet-stream";
	auto_free char *line = upload->field ? make_form(self, upload, content_type)
					     : text_format("Content-Type: %s", content_type);
	const char *more[] = {line, NULL};
	if (http_curl_headers(self->options, true, more, &self->headers, err) < 0)
		return -1;
	uint64_t size = self->stream->size_bytes;
	if (size != STREAM_SIZE_UNKNOWN)
		size += self->before ? strlen(self->before) + strlen(self->after) : 0;
	curl_easy_setopt(easy, CURLOPT_URL, upload->url);
	curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
	curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST,
			 upload->method  ? upload->method
			 : upload->field ? "POST"
					 : "PUT");
	curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE,
			 size != STREAM_SIZE_UNKNOWN ? (curl_off_t)size : -1);
	curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, (long)SEND_BYTES);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, self->headers);
	if (self->options->username && self->options->username[0] &&
	    !(self->options->token && self->options->token[0])) {
		curl_easy_setopt(easy, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
		curl_easy_setopt(easy, CURLOPT_USERNAME, self->options->username);
		curl_easy_setopt(easy, CURLOPT_PASSWORD,
				 self->options->password ? self->options->password : "");
	}
	curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_send);
	curl_easy_setopt(easy, CURLOPT_READDATA, self);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_answer);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, self);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, self);
	curl_multi_add_handle(self->multi, easy);
	return 0;
}

static int drive(struct sending *self, CURLcode *ret_code, struct error *err)
{
	int64_t stall = self->options->stall_timeout_ms ? self->options->stall_timeout_ms
							: HTTP_STALL_TIMEOUT_MS;
	self->last_ms = clock_monotonic_ms();
	for (;;) {
		int running;
		CURLMcode code = curl_multi_perform(self->multi, &running);
		if (code != CURLM_OK)
			return error_set(err, ERROR_BUG, "libcurl: %s", curl_multi_strerror(code));
		if (http_curl_done(self->multi, ret_code))
			return 0;
		int64_t left = self->last_ms + stall - clock_monotonic_ms();
		if (left <= 0)
			return error_set(err, ERROR_TIMEOUT,
					 "the server takes no byte and says nothing for %" PRId64
					 " s",
					 stall / 1000);
		if (http_curl_wait(self->multi, self->options->cancel_fd,
				   (int)(left < 1000 ? left : 1000), err) < 0)
			return -1;
	}
}

static int status_failed(struct sending *self, long status, struct error *err)
{
	char excerpt[EXCERPT_BYTES + 1];
	if (status >= 300 && status < 400) {
		error_set(err, ERROR_INPUT,
			  "the server answered HTTP status %ld, a redirect: give the URL that it "
			  "leads to",
			  status);
		err->code = (int)status;
		return -1;
	}
	http_curl_status(status, err);
	text_sanitize((const char *)self->excerpt.data, self->excerpt.size, excerpt,
		      sizeof(excerpt));
	size_t length = strlen(excerpt);
	while (length > 0 && strchr(" \t\n", excerpt[length - 1]))
		excerpt[--length] = '\0';
	return length > 0 ? error_append(err, ": %s", excerpt) : -1;
}

static int judge(struct sending *self, CURLcode code, struct error *err)
{
	long status = self->header.answer.status;
	if (self->failed) {
		*err = self->failure;
		return -1;
	}
	/* A server that refuses may hang up before it has taken everything. */
	if (status >= 300)
		return status_failed(self, status, err);
	if (code != CURLE_OK)
		return http_curl_failed(code, self->detail, err);
	if (status < 200 || !self->header.complete)
		return error_set(err, ERROR_NETWORK,
				 "the connection was closed before the whole answer was there");
	/* With a length libcurl stops there; without, it has seen the end. */
	uint8_t beyond;
	ssize_t more = self->ended ? 0 : stream_read(self->stream, &beyond, 1, err);
	if (more < 0)
		return -1;
	if (more > 0 || (self->after && self->after[self->after_at]))
		return error_set(err, ERROR_PROTOCOL,
				 "the server answered HTTP status %ld before it had taken "
				 "everything",
				 status);
	return 0;
}

static void release(struct sending *self)
{
	if (self->easy) {
		curl_multi_remove_handle(self->multi, self->easy);
		curl_easy_cleanup(self->easy);
	}
	if (self->multi)
		curl_multi_cleanup(self->multi);
	curl_slist_free_all(self->headers);
	free(self->before);
	free(self->after);
	buffer_free(&self->excerpt);
}

int http_upload(const struct http_upload *upload, const struct http_options *options,
		struct stream *stream, struct http_answer *ret_answer, struct error *err)
{
	struct sending self = {
		.stream = stream, .options = options, .excerpt = {.cap = EXCERPT_BYTES}};
	char shown[HTTP_URL_SHOWN];
	CURLcode code = CURLE_OK;
	int result = prepare(&self, upload, err);
	if (result == 0)
		result = drive(&self, &code, err);
	if (result == 0)
		result = judge(&self, code, err);
	if (ret_answer)
		*ret_answer = self.header.answer;
	bool own = self.failed;
	release(&self);
	if (result < 0 && !own)
		error_wrap(err, "send to %s", text_redact_url(upload->url, shown, sizeof(shown)));
	return result;
}
