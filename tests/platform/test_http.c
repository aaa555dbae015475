/*
 * Downloads and exchanges against a server in this process that answers with given bytes, right
 * ones and wrong ones.
 */
#include "tests/unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>

#include "platform/http.h"

/* What the server says to a request for a path. Then it closes, unless told otherwise. */
struct page {
	const char *path;
	const char *bytes; /* NULL: nothing at all */
	enum {
		CLOSE,
		KEEP, /* takes the next request */
		HANG  /* says nothing more until the client goes */
	} then;
};

enum {
	LARGE_BYTES = 5 << 20
};

static const struct page pages[] = {
	{"/whole",
	 "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=x\r\n"
	 "Content-Length: 5\r\n\r\nhello",
	 CLOSE},
	{"/kept", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", KEEP},
	{"/empty", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", CLOSE},
	{"/cut", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", CLOSE},
	{"/cut-in-header", "HTTP/1.1 200 OK\r\nContent-Le", CLOSE},
	{"/cut-after-status", "HTTP/1.1 200 OK\r\n", CLOSE},
	{"/cut-at-once", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", CLOSE},
	{"/long", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and more", CLOSE},
	{"/chunks",
	 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	 "3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
	 CLOSE},
	{"/chunks-trailer",
	 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	 "5\r\nhello\r\n0\r\nX-After: 1\r\n\r\n",
	 CLOSE},
	{"/chunks-cut",
	 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	 "5\r\nhello\r\n",
	 CLOSE},
	{"/chunks-cut-inside",
	 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	 "a\r\nhello",
	 CLOSE},
	{"/chunks-wrong",
	 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	 "5\r\nhello\r\nzz\r\n",
	 CLOSE},
	{"/chunks-and-length",
	 "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n"
	 "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	 CLOSE},
	{"/no-length", "HTTP/1.0 200 OK\r\n\r\nhello", CLOSE},
	{"/two-lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 4\r\n\r\nhello",
	 CLOSE},
	{"/length-list", "HTTP/1.1 200 OK\r\nContent-Length: 4, 5\r\n\r\nhello", CLOSE},
	{"/same-lengths",
	 "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\nContent-Length: 5\r\n\r\nhello", CLOSE},
	{"/gzipped", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",
	 CLOSE},
	{"/brotli", "HTTP/1.1 200 OK\r\nContent-Encoding: Br \r\nContent-Length: 5\r\n\r\nhello",
	 CLOSE},
	{"/deflated",
	 "HTTP/1.1 200 OK\r\ncontent-encoding:deflate\r\nContent-Length: 5\r\n\r\nhello", CLOSE},
	{"/interim",
	 "HTTP/1.1 103 Early Hints\r\nContent-Length: 3\r\n\r\n"
	 "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
	 CLOSE},
	{"/moved", "HTTP/1.1 302 Found\r\nLocation: /whole\r\nContent-Length: 7\r\n\r\nmoved!!",
	 CLOSE},
	{"/moved-for-ever",
	 "HTTP/1.1 301 Moved\r\nLocation: /moved-for-ever\r\n"
	 "Content-Length: 0\r\n\r\n",
	 KEEP},
	{"/moved-to-file",
	 "HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n"
	 "Content-Length: 0\r\n\r\n",
	 CLOSE},
	{"/moved-nowhere", "HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", CLOSE},
	{"/partial", "HTTP/1.1 206 Partial\r\nContent-Length: 5\r\n\r\nhello", CLOSE},
	{"/part",
	 "HTTP/1.1 206 Partial\r\nContent-Range: bytes 2-6/100\r\nETag: \"v\"\r\n"
	 "Content-Length: 5\r\n\r\nhello",
	 KEEP},
	{"/part-chunks",
	 "HTTP/1.1 206 Partial\r\nContent-Range: bytes 2-4/100\r\n"
	 "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	 CLOSE},
	{"/part-length",
	 "HTTP/1.1 206 Partial\r\nContent-Range: bytes 2-7/100\r\nContent-Length: 5\r\n\r\nhello",
	 CLOSE},
	{"/part-cut",
	 "HTTP/1.1 206 Partial\r\nContent-Range: bytes 2-6/100\r\nContent-Length: 5\r\n\r\nhel",
	 CLOSE},
	{"/part-beyond",
	 "HTTP/1.1 416 No\r\nContent-Range: bytes */47\r\nContent-Length: 0\r\n\r\n", CLOSE},
	{"http://far.example/whole", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nfar", CLOSE},
	{"http://far.example/moved",
	 "HTTP/1.1 302 X\r\nLocation: http://far.example/whole\r\nContent-Length: 0\r\n\r\n",
	 CLOSE},
	{"/nothing", "HTTP/1.1 204 No Content\r\n\r\n", CLOSE},
	{"/silent", NULL, CLOSE},
	{"/not-http", "220 ftp.example ready\r\n", CLOSE},
	{"/hangs", NULL, HANG},
	{"/upload", "HTTP/1.1 201 Created\r\nETag: \"stored\"\r\nContent-Length: 0\r\n\r\n", CLOSE},
	{"/upload-refused",
	 "HTTP/1.1 413 Too Large\r\nContent-Length: 24\r\n\r\nat most \x1b[31m5 MiB\nhere\n",
	 CLOSE},
	{"/upload-moved", "HTTP/1.1 307 Moved\r\nLocation: /upload\r\nContent-Length: 0\r\n\r\n",
	 CLOSE},
	{"/upload-early", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", CLOSE},
	{"/hangs-inside", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", HANG},
};

static int listener = -1;
static in_port_t port;
static pthread_t server;
static uint8_t large[LARGE_BYTES];
static char last_request[4096]; /* written before it is answered */
static uint8_t uploaded[LARGE_BYTES + 4096];
static size_t uploaded_size;
static unsigned connections;

static void send_all(int fd, const void *data, size_t size)
{
	const char *at = data;
	while (size > 0) {
		ssize_t sent = send(fd, at, size, MSG_NOSIGNAL);
		if (sent <= 0)
			return;
		at += sent;
		size -= (size_t)sent;
	}
}

/* Reads up to the empty line; false when the client has gone. */
static bool read_request(int fd, char *out, size_t size)
{
	size_t used = 0;
	while (used + 1 < size) {
		ssize_t got = recv(fd, out + used, 1, 0);
		if (got <= 0)
			return false;
		out[++used] = '\0';
		if (used >= 4 && strcmp(out + used - 4, "\r\n\r\n") == 0)
			return true;
	}
	return false;
}

static void until_gone(int fd)
{
	char byte;
	while (recv(fd, &byte, 1, 0) > 0)
		;
}

static bool receive_all(int fd, size_t size)
{
	if (size > sizeof(uploaded) - uploaded_size)
		return false;
	for (; size > 0;) {
		ssize_t got = recv(fd, uploaded + uploaded_size, size, 0);
		if (got <= 0)
			return false;
		uploaded_size += (size_t)got;
		size -= (size_t)got;
	}
	return true;
}

/* One chunk (RFC 9112, 7.1); its size in *ret_size. */
static bool receive_chunk(int fd, size_t *ret_size)
{
	char line[32], end[2];
	size_t used = 0;
	while (used + 1 < sizeof(line) && recv(fd, line + used, 1, 0) == 1 && line[used] != '\n')
		used++;
	line[used] = '\0';
	*ret_size = strtoul(line, NULL, 16);
	return receive_all(fd, *ret_size) && recv(fd, end, 2, MSG_WAITALL) == 2;
}

/* Takes the body; false when it does not come whole. */
static bool receive_body(int fd, const char *request)
{
	const char *length = strstr(request, "Content-Length: ");
	size_t chunk = 1;
	uploaded_size = 0;
	if (strstr(request, "Expect: 100-continue"))
		send_all(fd, "HTTP/1.1 100 Continue\r\n\r\n", 25);
	if (length)
		return receive_all(fd, strtoul(length + strlen("Content-Length: "), NULL, 10));
	while (chunk > 0)
		if (!receive_chunk(fd, &chunk))
			return false;
	return true;
}

/* Answers one request; whether another may follow. */
static bool answer(int fd, const char *path)
{
	if (strcmp(path, "/upload") == 0 && !receive_body(fd, last_request))
		return false;
	char text[128];
	unsigned status;
	if (strcmp(path, "/large") == 0) {
		int size = snprintf(text, sizeof(text),
				    "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", LARGE_BYTES);
		send_all(fd, text, (size_t)size);
		send_all(fd, large, LARGE_BYTES);
		return false;
	}
	if (strcmp(path, "/moved-away") == 0) {
		int size = snprintf(text, sizeof(text),
				    "HTTP/1.1 302 Found\r\nLocation: http://localhost:%u/whole\r\n"
				    "Content-Length: 0\r\n\r\n",
				    port);
		send_all(fd, text, (size_t)size);
		return false;
	}
	if (sscanf(path, "/status/%u", &status) == 1) {
		int size = snprintf(text, sizeof(text),
				    "HTTP/1.1 %u X\r\nContent-Length: 3\r\n\r\nbad", status);
		send_all(fd, text, (size_t)size);
		return false;
	}
	for (size_t i = 0; i < COUNT(pages); i++) {
		if (strcmp(path, pages[i].path) != 0)
			continue;
		if (pages[i].bytes)
			send_all(fd, pages[i].bytes, strlen(pages[i].bytes));
		if (pages[i].then == HANG)
			until_gone(fd);
		return pages[i].then == KEEP;
	}
	return false;
}

static void *serve(void *unused)
{
	(void)unused;
	for (int fd; (fd = accept(listener, NULL, NULL)) >= 0; close(fd)) {
		char request[4096], path[256];
		connections++;
		while (read_request(fd, request, sizeof(request)) &&
		       sscanf(request, "%*s %255[^ ?]", path) == 1) {
			memcpy(last_request, request, sizeof(request));
			if (!answer(fd, path))
				break;
		}
	}
	return NULL;
}

static int start_server(void **state)
{
	(void)state;
	struct error err;
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t size = sizeof(address);
	fill_random(large, sizeof(large), 8);
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) < 0 ||
	    listen(listener, 8) < 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &size) < 0)
		return -1;
	port = ntohs(address.sin_port);
	return http_setup(&err) < 0 ? -1 : pthread_create(&server, NULL, serve, NULL);
}

static int stop_server(void **state)
{
	(void)state;
	shutdown(listener, SHUT_RDWR);
	pthread_join(server, NULL);
	close(listener);
	return 0;
}

static char *url_of(const char *path)
{
	char *url;
	if (asprintf(&url, "http://127.0.0.1:%u%s", port, path) < 0)
		abort();
	return url;
}

static const struct http_options quick = {.connect_timeout_ms = 10000, .stall_timeout_ms = 10000};

/* Downloads whole into body (emptied first); -1 with err when it does not get there. */
static int get_with(const struct http_options *options, const char *path, struct buffer *body,
		    struct http_answer *ret_answer, struct error *err)
{
	char *url = url_of(path);
	auto_stream struct stream *stream = NULL;
	body->size = 0;
	int result = http_get(url, options, &stream, ret_answer, err);
	free(url);
	while (result == 0) {
		uint8_t data[1000];
		ssize_t got = stream_read(stream, data, sizeof(data), err);
		if (got <= 0)
			return (int)got;
		result = buffer_add(body, data, (size_t)got, err);
	}
	return result;
}

static int get(const char *path, struct buffer *body, struct error *err)
{
	return get_with(&quick, path, body, NULL, err);
}

static void downloads_what_is_whole(void **state)
{
	(void)state;
	struct error err;
	static const struct {
		const char *path;
		uint64_t size;
		bool has_end;
	} cases[] = {
		{"/whole", 5, true},
		{"/interim", 5, true},
		{"/moved", 5, true},
		{"/chunks", STREAM_SIZE_UNKNOWN, true},
		{"/chunks-trailer", STREAM_SIZE_UNKNOWN, true},
		{"/no-length", STREAM_SIZE_UNKNOWN, false},
		{"/same-lengths", 5, true},
		/* Readers look at the content. */
		{"/gzipped", 5, true},
		/* What is behind the length is no part of the body. */
		{"/long", 5, true},
	};
	auto_buffer struct buffer body = {.cap = 100};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct http_answer answered;
		assert_ok(get_with(&quick, cases[i].path, &body, &answered, &err));
		assert_int_equal(body.size, 5);
		assert_memory_equal(body.data, "hello", 5);
		assert_int_equal(answered.status, 200);
		assert_true(answered.size_bytes == cases[i].size);
		assert_int_equal(answered.has_end, cases[i].has_end);
	}
	struct http_answer answered;
	assert_ok(get_with(&quick, "/whole", &body, &answered, &err));
	assert_string_equal(answered.content_type, "text/plain; charset=x");
	assert_ok(get("/empty", &body, &err));
	assert_int_equal(body.size, 0);
}

static void downloads_much_in_small_reads(void **state)
{
	(void)state;
	struct error err;
	auto_buffer struct buffer body = {.cap = LARGE_BYTES};
	assert_ok(get("/large", &body, &err));
	assert_int_equal(body.size, LARGE_BYTES);
	assert_memory_equal(body.data, large, LARGE_BYTES);
}

/* Never success for a part. The kind says that another try may help. */
static void notices_every_cut(void **state)
{
	(void)state;
	struct error err;
	static const char *const paths[] = {"/cut",
					    "/cut-at-once",
					    "/silent",
					    "/cut-in-header",
					    "/cut-after-status",
					    "/chunks-cut",
					    "/chunks-cut-inside",
					    "/chunks-wrong"};
	auto_buffer struct buffer body = {.cap = 100};
	for (size_t i = 0; i < COUNT(paths); i++) {
		assert_fails(get(paths[i], &body, &err), ERROR_NETWORK, paths[i]);
		assert_true(error_is_retryable(&err));
	}
	assert_fails(get("/cut", &body, &err), ERROR_NETWORK, "cut after 5 bytes");
	/* A length beside chunks counts nothing, or makes the answer invalid: never 99 bytes. */
	if (get("/chunks-and-length", &body, &err) == 0)
		assert_int_equal(body.size, 5);
	else
		assert_error(ERROR_NETWORK, "/chunks-and-length");
}

static void tells_statuses_apart(void **state)
{
	(void)state;
	struct error err;
	static const struct {
		const char *path;
		enum error_kind kind;
		int code;
	} cases[] = {
		{"/status/404", ERROR_NOT_FOUND, 404}, {"/status/410", ERROR_NOT_FOUND, 410},
		{"/status/401", ERROR_DENIED, 401},    {"/status/403", ERROR_DENIED, 403},
		{"/status/407", ERROR_DENIED, 407},    {"/status/408", ERROR_NETWORK, 408},
		{"/status/429", ERROR_NETWORK, 429},   {"/status/500", ERROR_NETWORK, 500},
		{"/status/502", ERROR_NETWORK, 502},   {"/status/503", ERROR_NETWORK, 503},
		{"/status/400", ERROR_INPUT, 400},     {"/status/416", ERROR_INPUT, 416},
		{"/moved-nowhere", ERROR_INPUT, 302},
	};
	auto_buffer struct buffer body = {.cap = 100};
	for (size_t i = 0; i < COUNT(cases); i++) {
		assert_fails(get(cases[i].path, &body, &err), cases[i].kind, cases[i].path);
		assert_int_equal(err.code, cases[i].code);
		char words[32];
		snprintf(words, sizeof(words), "HTTP status %d", cases[i].code);
		assert_contains(err.text, words);
	}
	/* Success of a kind that was not asked for is none. */
	assert_fails(get("/partial", &body, &err), ERROR_PROTOCOL, "206");
	assert_fails(get("/nothing", &body, &err), ERROR_PROTOCOL, "204");
	assert_fails(get("/two-lengths", &body, &err), ERROR_PROTOCOL, "two lengths");
	assert_fails(get("/length-list", &body, &err), ERROR_PROTOCOL, "two lengths");
	/* Nor what nobody here can unpack. */
	assert_fails(get("/brotli", &body, &err), ERROR_UNSUPPORTED, "Content-Encoding: Br");
	assert_fails(get("/deflated", &body, &err), ERROR_UNSUPPORTED, "Content-Encoding: deflate");
}

static void follows_redirects_within_reason(void **state)
{
	(void)state;
	struct error err;
	auto_buffer struct buffer body = {.cap = 100};
	assert_fails(get("/moved-for-ever", &body, &err), ERROR_INPUT, "redirects");
	assert_fails(get("/moved-to-file", &body, &err), ERROR_INPUT, "/moved-to-file");
}

/* To the server that was named, and to no other: that one may be anybody's. */
static void sends_headers_and_credentials(void **state)
{
	(void)state;
	struct error err;
	auto_buffer struct buffer body = {.cap = 100};
	static const char *const lines[] = {"X-First: 1", "Accept: application/json", NULL};
	struct http_options options = quick;
	options.headers = lines;
	options.token = "abc";
	assert_ok(get_with(&options, "/whole", &body, NULL, &err));
	assert_contains(last_request, "X-First: 1\r\n");
	assert_contains(last_request, "Accept: application/json\r\n");
	assert_lacks(last_request, "*/*");
	assert_contains(last_request, "Authorization: Bearer abc\r\n");
	assert_ok(get_with(&options, "/moved", &body, NULL, &err));
	assert_contains(last_request, "GET /whole");
	assert_contains(last_request, "Authorization: Bearer abc\r\n");
	assert_ok(get_with(&options, "/moved-away", &body, NULL, &err));
	assert_contains(last_request, "Host: localhost");
	assert_lacks(last_request, "X-First");
	assert_lacks(last_request, "Bearer");
	options = (struct http_options){.username = "user", .password = "pass", .headers = lines};
	assert_ok(get_with(&options, "/whole", &body, NULL, &err));
	assert_contains(last_request, "Authorization: Basic dXNlcjpwYXNz\r\n");
	assert_ok(get_with(&options, "/moved", &body, NULL, &err));
	assert_contains(last_request, "Authorization: Basic dXNlcjpwYXNz\r\n");
	assert_ok(get_with(&options, "/moved-away", &body, NULL, &err));
	assert_lacks(last_request, "Authorization");
	/* What is in the URL is taken, too, and goes no further. */
	char url[128];
	static const char *const names[] = {"whole", "moved", "moved-away"};
	for (size_t i = 0; i < COUNT(names); i++) {
		snprintf(url, sizeof(url), "http://user:pa%%73s@127.0.0.1:%u/%s", port, names[i]);
		body.size = 0;
		assert_ok(http_get_buffer(url, &quick, &body, &err));
		if (i < 2)
			assert_contains(last_request, "Authorization: Basic dXNlcjpwYXNz\r\n");
		else
			assert_lacks(last_request, "Authorization");
	}
	/* No header can be smuggled in. */
	options = (struct http_options){.token = "abc\r\nX-Evil: 1"};
	assert_fails(get_with(&options, "/whole", &body, NULL, &err), ERROR_INPUT, "line break");
	assert_lacks(err.text, "abc");
}

static void says_what_is_no_web_server(void **state)
{
	(void)state;
	struct error err;
	auto_buffer struct buffer body = {.cap = 100};
	assert_fails(get("/not-http", &body, &err), ERROR_INPUT, "/not-http");
	/* A port that nobody listens on: it was ours until now. */
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t size = sizeof(address);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
	char url[64];
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/x", ntohs(address.sin_port));
	struct stream *stream = NULL;
	assert_fails(http_get(url, &quick, &stream, NULL, &err), ERROR_NETWORK, url);
	close(fd);
	assert_fails(http_get("ftp://127.0.0.1/x", &quick, &stream, NULL, &err), ERROR_INPUT,
		     "ftp://127.0.0.1/x");
	assert_null(stream);
}

static void hides_what_is_secret_in_the_url(void **state)
{
	(void)state;
	struct error err;
	char url[128];
	struct stream *stream = NULL;
	snprintf(url, sizeof(url), "http://user:password@127.0.0.1:%u/status/404?token=abc", port);
	assert_fails(http_get(url, &quick, &stream, NULL, &err), ERROR_NOT_FOUND, "/status/404");
	assert_lacks(err.text, "password");
	assert_lacks(err.text, "abc");
}

static void gives_up_on_silence(void **state)
{
	(void)state;
	struct error err;
	const struct http_options options = {.stall_timeout_ms = 100};
	auto_buffer struct buffer body = {.cap = 100};
	assert_fails(get_with(&options, "/hangs", &body, NULL, &err), ERROR_TIMEOUT, "/hangs");
	assert_fails(get_with(&options, "/hangs-inside", &body, NULL, &err), ERROR_TIMEOUT,
		     "after 5 bytes");
	assert_int_equal(body.size, 5);
}

static void ends_when_cancelled(void **state)
{
	(void)state;
	struct error err;
	int ends[2];
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(write(ends[1], "x", 1), 1);
	const struct http_options options = {.cancel_fd = ends[0]};
	auto_buffer struct buffer body = {.cap = 100};
	assert_fails(get_with(&options, "/hangs", &body, NULL, &err), ERROR_CANCELLED, "/hangs");
	close(ends[0]);
	close(ends[1]);
}

static void keeps_small_bodies_below_their_cap(void **state)
{
	(void)state;
	struct error err;
	char *url = url_of("/whole");
	auto_buffer struct buffer body = {.cap = 5}, small = {.cap = 4};
	assert_ok(http_get_buffer(url, &quick, &body, &err));
	assert_int_equal(body.size, 5);
	assert_fails(http_get_buffer(url, &quick, &small, &err), ERROR_INPUT, "4 bytes");
	assert_contains(err.text, url);
	free(url);
}

static void reads_file_urls(void **state)
{
	(void)state;
	struct error err;
	char *directory = directory_make(), *file = path_in(directory, "file"), url[256];
	file_write(file, "hello", 5);
	struct stream *stream = NULL;
	struct http_answer answered;
	uint8_t data[10];
	snprintf(url, sizeof(url), "file://%s", file);
	assert_ok(http_get(url, &quick, &stream, &answered, &err));
	assert_int_equal(answered.size_bytes, 5);
	assert_true(answered.has_end);
	assert_int_equal(stream_read_full(stream, data, sizeof(data), &err), 5);
	stream_close(stream);
	snprintf(url, sizeof(url), "file://%s", directory);
	assert_fails(http_get(url, &quick, &stream, NULL, &err), ERROR_INPUT, directory);
	snprintf(url, sizeof(url), "file://%s/missing", directory);
	assert_fails(http_get(url, &quick, &stream, NULL, &err), ERROR_NOT_FOUND, "missing");
	free(file);
	directory_remove(directory);
}

static void count_header(void *context, const char *line, size_t size)
{
	(void)line;
	*(unsigned *)context += size > 0;
}

static void exchanges_on_a_kept_connection(void **state)
{
	(void)state;
	struct error err;
	struct http_client *client = http_client_new(&quick);
	char *kept = url_of("/kept"), *missing = url_of("/status/404"), *hangs = url_of("/hangs");
	unsigned headers = 0;
	struct http_response response = {.body = {.cap = 100}};
	struct http_request request = {
		.method = "GET", .url = kept, .on_header = count_header, .context = &headers};
	for (int i = 0; i < 3; i++) {
		assert_ok(http_exchange(client, &request, &response, &err));
		assert_int_equal(response.status, 200);
		assert_int_equal(response.body.size, 5);
		assert_int_equal(response.fresh_connection, i == 0);
	}
	assert_int_equal(headers, 6);
	/* A status is an answer, too. */
	request.url = missing;
	assert_ok(http_exchange(client, &request, &response, &err));
	assert_int_equal(response.status, 404);
	request.url = hangs;
	request.timeout_ms = 100;
	assert_fails(http_exchange(client, &request, &response, &err), ERROR_TIMEOUT, "100 ms");
	assert_int_equal(response.status, 0);
	request.url = kept;
	request.timeout_ms = 10000;
	response.body.cap = 4;
	buffer_free(&response.body);
	assert_fails(http_exchange(client, &request, &response, &err), ERROR_INPUT, "4 bytes");
	buffer_free(&response.body);
	http_client_free(client);
	free(kept);
	free(missing);
	free(hangs);
}

/* A call that was given up is not to arrive later: its connection is reset, so that what is not
 * sent yet never is. */
static void resets_the_connection_of_a_failed_call(void **state)
{
	(void)state;
	struct error err;
	char url[64], data[4096];
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t size = sizeof(address);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
	assert_int_equal(listen(fd, 1), 0);
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/x", ntohs(address.sin_port));
	struct http_client *client = http_client_new(&quick);
	struct http_response response = {.body = {.cap = 100}};
	const struct http_request request = {.method = "POST",
					     .url = url,
					     .body = "abc",
					     .body_size = 3,
					     .http2_prior_knowledge = true,
					     .timeout_ms = 100};
	assert_fails(http_exchange(client, &request, &response, &err), ERROR_TIMEOUT, "100 ms");
	http_client_free(client);
	buffer_free(&response.body);
	int peer = accept(fd, NULL, NULL);
	ssize_t got;
	while ((got = read(peer, data, sizeof(data))) > 0) {
	}
	assert_int_equal(got, -1);
	assert_int_equal(errno, ECONNRESET);
	close(peer);
	close(fd);
}

static int upload(const char *path, const char *field, struct stream *stream,
		  struct http_answer *ret_answer, struct error *err)
{
	char *url = url_of(path);
	const struct http_options options = {.stall_timeout_ms = 500, .token = "abc"};
	const struct http_upload what = {
		.url = url, .field = field, .file_name = "a \"name\"\n.raw"};
	int result = http_upload(&what, &options, stream, ret_answer, err);
	stream_close(stream);
	free(url);
	return result;
}

static void reads_headers_strictly(void **state)
{
	(void)state;
	static const struct {
		const char *line;
		const char *etag;
		bool strong, range_valid;
		uint64_t first, last, total;
		int64_t retry_after_ms;
	} cases[] = {
		{"ETag: \"a b\"", "\"a b\"", true, .retry_after_ms = -1},
		{"etag:\"\"\r\n", "\"\"", true, .retry_after_ms = -1},
		{"ETag: W/\"a\"", "W/\"a\"", false, .retry_after_ms = -1},
		{"ETag: a", "", false, .retry_after_ms = -1},
		{"ETag: \"a", "", false, .retry_after_ms = -1},
		{"ETag: \"a\"b\"", "", false, .retry_after_ms = -1},
		{"ETag: \"a\x01\"", "", false, .retry_after_ms = -1},
		{"Content-Range: bytes 0-0/1", "", false, true, 0, 0, 1, -1},
		{"content-range:  BYTES 5-9/10 \r\n", "", false, true, 5, 9, 10, -1},
		{"Content-Range: bytes 5-9/*", "", false, true, 5, 9, STREAM_SIZE_UNKNOWN, -1},
		{"Content-Range: bytes 5-9/9", .etag = "", .retry_after_ms = -1},
		{"Content-Range: bytes 9-5/10", .etag = "", .retry_after_ms = -1},
		{"Content-Range: bytes 5-9", .etag = "", .retry_after_ms = -1},
		{"Content-Range: bytes=5-9/10", .etag = "", .retry_after_ms = -1},
		{"Content-Range: bytes -5-9/10", .etag = "", .retry_after_ms = -1},
		{"Content-Range: bytes +5-9/10", .etag = "", .retry_after_ms = -1},
		{"Content-Range: bytes 5-9/10x", .etag = "", .retry_after_ms = -1},
		{"Content-Range: bytes */*", .etag = "", .retry_after_ms = -1},
		{"Content-Range: items 5-9/10", .etag = "", .retry_after_ms = -1},
		{"Content-Range: bytes 18446744073709551616-1/2", .etag = "", .retry_after_ms = -1},
		{"Retry-After: 7", .etag = "", .retry_after_ms = 7000},
		{"Retry-After: Sat, 01 Jan 2000 00:00:00 GMT", .etag = "", .retry_after_ms = 0},
		{"Retry-After: -7", .etag = "", .retry_after_ms = -1},
		{"Retry-After: soon", .etag = "", .retry_after_ms = -1},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct http_header header;
		http_header_line(&header, "HTTP/1.1 206 X", 14);
		http_header_line(&header, cases[i].line, strlen(cases[i].line));
		assert_int_equal(header.answer.status, 206);
		assert_string_equal(header.answer.etag, cases[i].etag);
		assert_int_equal(header.answer.etag_strong, cases[i].strong);
		assert_int_equal(header.range_valid, cases[i].range_valid);
		if (header.range_valid) {
			assert_true(header.range_first == cases[i].first);
			assert_true(header.range_last == cases[i].last);
			assert_true(header.range_total == cases[i].total);
		}
		assert_true(header.answer.retry_after_ms == cases[i].retry_after_ms);
		/* A second one makes both doubtful. */
		http_header_line(&header, "Content-Range: bytes 5-9/10", 27);
		if (header.ranges == 2)
			assert_false(header.range_valid);
	}
	/* A date tells versions apart when it is older than the answer. */
	static const char modified[] = "Last-Modified: Mon, 23 Nov 2026 02:00:00 GMT";
	static const struct {
		const char *date;
		bool strong;
	} dates[] = {{"Date: Mon, 23 Nov 2026 02:00:01 GMT", true},
		     {"Date: Mon, 23 Nov 2026 02:00:00 GMT", false},
		     {"Date: today", false},
		     {"X: y", false}};
	for (size_t i = 0; i < COUNT(dates); i++) {
		for (int order = 0; order < 2; order++) {
			struct http_header header;
			const char *lines[] = {modified, dates[i].date};
			http_header_line(&header, "HTTP/1.1 200 X", 14);
			http_header_line(&header, lines[order], strlen(lines[order]));
			http_header_line(&header, lines[1 - order], strlen(lines[1 - order]));
			assert_int_equal(header.answer.last_modified_strong, dates[i].strong);
		}
	}
}

static int get_part(const char *path, uint64_t start, uint64_t end, struct http_pool *pool,
		    struct http_answer *ret_answer, struct error *err)
{
	char *url = url_of(path);
	struct http_options options = quick;
	options.pool = pool;
	const struct http_range range = {.start = start, .end = end, .if_range = "\"v\""};
	auto_stream struct stream *stream = NULL;
	uint8_t data[100];
	int result = http_get_range(url, &options, &range, &stream, ret_answer, err);
	ssize_t got = result < 0 ? -1 : stream_read_full(stream, data, sizeof(data), err);
	free(url);
	return (int)got;
}

static void asks_for_parts(void **state)
{
	(void)state;
	struct error err;
	struct http_answer answered;
	assert_ok(get_part("/part", 2, 7, NULL, &answered, &err));
	assert_contains(last_request, "Range: bytes=2-6\r\n");
	assert_contains(last_request, "If-Range: \"v\"\r\n");
	assert_int_equal(answered.status, 206);
	assert_int_equal(answered.start, 2);
	assert_int_equal(answered.size_bytes, 5);
	assert_int_equal(answered.total_bytes, 100);
	assert_true(answered.accepts_ranges && answered.etag_strong && answered.has_end);
	assert_ok(get_part("/part", 2, STREAM_SIZE_UNKNOWN, NULL, &answered, &err));
	assert_contains(last_request, "Range: bytes=2-\r\n");
	/* The whole is an answer as well. */
	assert_int_equal(get_part("/whole", 2, 3, NULL, &answered, &err), 5);
	assert_int_equal(answered.status, 200);
	assert_int_equal(answered.start, 0);
	/* Another part; more than the part; a part with another length; a part that is cut. */
	assert_fails(get_part("/part", 3, 8, NULL, &answered, &err), ERROR_PROTOCOL, "from 3");
	assert_fails(get_part("/part", 2, 6, NULL, &answered, &err), ERROR_PROTOCOL, "2 to 6");
	assert_fails(get_part("/partial", 0, 5, NULL, &answered, &err), ERROR_PROTOCOL,
		     "Content-Range");
	assert_fails(get_part("/part-chunks", 2, 5, NULL, &answered, &err), ERROR_PROTOCOL,
		     "more than");
	assert_fails(get_part("/part-length", 2, 8, NULL, &answered, &err), ERROR_PROTOCOL,
		     "length of 5");
	assert_fails(get_part("/part-cut", 2, 7, NULL, &answered, &err), ERROR_NETWORK, "cut");
	assert_fails(get_part("/part-beyond", 50, 60, NULL, &answered, &err), ERROR_INPUT, "416");
	assert_int_equal(answered.status, 416);
	assert_int_equal(answered.total_bytes, 47);
}

static void keeps_connections_in_a_pool(void **state)
{
	(void)state;
	struct error err;
	struct http_answer answered;
	struct http_pool *pool = http_pool_new();
	unsigned before = connections;
	for (int i = 0; i < 5; i++)
		assert_ok(get_part("/part", 2, 7, pool, &answered, &err));
	assert_int_equal(connections - before, 1);
	http_pool_free(pool);
}

static void asks_the_proxy(void **state)
{
	(void)state;
	struct error err;
	char proxy[64];
	snprintf(proxy, sizeof(proxy), "http://127.0.0.1:%u", port);
	for (int capitals = 0; capitals < 2; capitals++) {
		setenv(capitals ? "HTTP_PROXY" : "http_proxy", proxy, 1);
		assert_ok(http_setup(&err));
		auto_buffer struct buffer body = {.cap = 100};
		assert_ok(http_get_buffer("http://far.example/moved", &quick, &body, &err));
		assert_int_equal(body.size, 3);
		assert_contains(last_request, "GET http://far.example/whole HTTP/1.1\r\n");
		setenv("no_proxy", "127.0.0.1", 1);
		body.size = 0;
		char *url = url_of("/whole");
		assert_ok(http_get_buffer(url, &quick, &body, &err));
		assert_contains(last_request, "GET /whole HTTP/1.1\r\n");
		free(url);
		unsetenv("no_proxy");
		unsetenv("http_proxy");
		unsetenv("HTTP_PROXY");
	}
}

static void says_what_is_wrong_with_a_ca_file(void **state)
{
	(void)state;
	struct error err;
	char *directory = directory_make(), *file = path_in(directory, "ca.pem");
	auto_buffer struct buffer body = {.cap = 100};
	struct http_options options = quick;
	options.ca_file = file;
	assert_fails(get_with(&options, "/whole", &body, NULL, &err), ERROR_INPUT, file);
	file_write(file, "nothing", 7);
	assert_fails(get_with(&options, "/whole", &body, NULL, &err), ERROR_INPUT, "PEM");
	options.ca_file = "";
	assert_ok(get_with(&options, "/whole", &body, NULL, &err));
	free(file);
	directory_remove(directory);
}

/* A stage that says another length than what is below has. */
struct announced {
	struct stream stream;
	struct stream *below;
};

static ssize_t announced_read(struct stream *stream, void *data, size_t size, struct error *err)
{
	return stream_read(((struct announced *)stream)->below, data, size, err);
}

static void announced_close(struct stream *stream)
{
	stream_close(((struct announced *)stream)->below);
	free(stream);
}

static struct stream *announce(struct stream *below, uint64_t size)
{
	static const struct stream_operations operations = {.read = announced_read,
							    .close = announced_close};
	struct announced *self = calloc(1, sizeof(*self));
	if (!self)
		abort();
	self->stream = (struct stream){.operations = &operations, .size_bytes = size};
	self->below = below;
	return &self->stream;
}

static void sends_streams(void **state)
{
	(void)state;
	struct error err;
	struct http_answer answered;
	for (int chunked = 0; chunked < 2; chunked++) {
		struct stream *stream = stream_from_memory(large, LARGE_BYTES);
		assert_ok(upload("/upload", NULL,
				 chunked ? announce(stream, STREAM_SIZE_UNKNOWN) : stream,
				 &answered, &err));
		assert_int_equal(answered.status, 201);
		assert_string_equal(answered.etag, "\"stored\"");
		assert_int_equal(uploaded_size, LARGE_BYTES);
		assert_memory_equal(uploaded, large, LARGE_BYTES);
		assert_contains(last_request, "PUT /upload");
		assert_contains(last_request, "Authorization: Bearer abc\r\n");
		assert_contains(last_request, "Content-Type: application/octet-stream\r\n");
		assert_contains(last_request,
				chunked ? "Transfer-Encoding: chunked" : "Content-Length: 5242880");
	}
	assert_ok(upload("/upload", NULL, stream_from_memory("", 0), &answered, &err));
	assert_int_equal(uploaded_size, 0);
	for (int chunked = 0; chunked < 2; chunked++) {
		struct stream *stream = stream_from_memory("hello", 5);
		assert_ok(upload("/upload", "disk",
				 chunked ? announce(stream, STREAM_SIZE_UNKNOWN) : stream, NULL,
				 &err));
		assert_contains(last_request, "POST /upload");
		const char *boundary = strstr(last_request, "multipart/form-data; boundary=");
		assert_non_null(boundary);
		char name[64], form[512];
		assert_int_equal(sscanf(boundary, "multipart/form-data; boundary=%63[^\r]", name),
				 1);
		int size = snprintf(form, sizeof(form),
				    "--%s\r\nContent-Disposition: form-data; name=\"disk\"; "
				    "filename=\"a %%22name%%22%%0A.raw\"\r\n"
				    "Content-Type: application/octet-stream\r\n\r\n"
				    "hello\r\n--%s--\r\n",
				    name, name);
		assert_int_equal(uploaded_size, size);
		assert_memory_equal(uploaded, form, uploaded_size);
	}
}

static ssize_t fail_read(struct stream *stream, void *data, size_t size, struct error *err)
{
	(void)data;
	(void)size;
	if (stream->read_bytes == 0)
		return 1;
	return error_set(err, ERROR_IO, "the disk is broken");
}

static void keep(struct stream *stream)
{
	(void)stream;
}

static void says_why_nothing_was_stored(void **state)
{
	(void)state;
	struct error err;
	assert_fails(
		upload("/upload-refused", NULL, stream_from_memory(large, LARGE_BYTES), NULL, &err),
		ERROR_INPUT, "413");
	assert_contains(err.text, "at most 5 MiB\nhere");
	assert_contains(err.text, "/upload-refused");
	assert_int_equal(err.code, 413);
	assert_fails(upload("/upload-moved", NULL, stream_from_memory("hello", 5), NULL, &err),
		     ERROR_INPUT, "redirect");
	assert_fails(
		upload("/upload-early", NULL, stream_from_memory(large, LARGE_BYTES), NULL, &err),
		err.kind, "/upload-early");
	assert_fails(upload("/status/500", NULL, stream_from_memory("hello", 5), NULL, &err),
		     ERROR_NETWORK, "500: bad");
	assert_fails(upload("/cut-in-header", NULL, stream_from_memory("hello", 5), NULL, &err),
		     ERROR_NETWORK, "/cut-in-header");
	assert_fails(upload("/silent", NULL, stream_from_memory("hello", 5), NULL, &err),
		     ERROR_NETWORK, "/silent");
	assert_fails(upload("/hangs", NULL, stream_from_memory(large, LARGE_BYTES), NULL, &err),
		     ERROR_TIMEOUT, "/hangs");
	/* What the stream says is what counts. */
	static const struct stream_operations operations = {.read = fail_read, .close = keep};
	for (int chunked = 0; chunked < 2; chunked++) {
		struct stream broken = {.operations = &operations,
					.size_bytes = chunked ? STREAM_SIZE_UNKNOWN : 100};
		assert_fails(upload("/upload", NULL, &broken, NULL, &err), ERROR_IO, "broken");
	}
	/* Longer than it said. */
	assert_fails(
		upload("/upload", NULL, announce(stream_from_memory("hello", 5), 3), NULL, &err),
		ERROR_PROTOCOL, "/upload");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(downloads_what_is_whole),
		cmocka_unit_test(downloads_much_in_small_reads),
		cmocka_unit_test(notices_every_cut),
		cmocka_unit_test(tells_statuses_apart),
		cmocka_unit_test(follows_redirects_within_reason),
		cmocka_unit_test(sends_headers_and_credentials),
		cmocka_unit_test(says_what_is_no_web_server),
		cmocka_unit_test(hides_what_is_secret_in_the_url),
		cmocka_unit_test(gives_up_on_silence),
		cmocka_unit_test(ends_when_cancelled),
		cmocka_unit_test(keeps_small_bodies_below_their_cap),
		cmocka_unit_test(reads_file_urls),
		cmocka_unit_test(reads_headers_strictly),
		cmocka_unit_test(asks_for_parts),
		cmocka_unit_test(keeps_connections_in_a_pool),
		cmocka_unit_test(asks_the_proxy),
		cmocka_unit_test(says_what_is_wrong_with_a_ca_file),
		cmocka_unit_test(sends_streams),
		cmocka_unit_test(says_why_nothing_was_stored),
		cmocka_unit_test(exchanges_on_a_kept_connection),
		cmocka_unit_test(resets_the_connection_of_a_failed_call),
	};
	static const char *const proxies[] = {"http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"};
	for (size_t i = 0; i < COUNT(proxies); i++)
		unsetenv(proxies[i]);
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests_name("http", tests, start_server, stop_server);
}
