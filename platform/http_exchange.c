/* Whole exchanges (request, answer) on a kept connection. See http.h. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "platform/clock.h"
#include "platform/http_curl.h"
#include "platform/text.h"

/*
 * A kept connection whose other end has vanished (cable, power, a firewall that forgot it) is given
 * up after DEAD_MS without an acknowledgement; when it is silent, that is asked for after IDLE_S,
 * and then every PROBE_S. Else it would be noticed only by a call's deadline, and what was sent in
 * between repeated by TCP with ever longer pauses.
 */
enum {
	DEAD_MS = 20000,
	IDLE_S = 10,
	PROBE_S = 5
};

struct http_client {
	struct http_options options;
	bool failed; /* an exchange has: what became of it is not known */
	CURLM *multi;
	CURL *easy;
	struct tls_check check;
	struct curl_slist *connect_to;
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
	client->check = (struct tls_check){.pins = options->pins, .chain = !options->insecure};
	if (options->connect_to) {
		auto_free char *all = text_format("::%s", options->connect_to);
		client->connect_to = curl_slist_append(NULL, all);
	}
	return client;
}

void http_client_free(struct http_client *client)
{
	if (!client)
		return;
	curl_easy_cleanup(client->easy);
	curl_multi_cleanup(client->multi);
	curl_slist_free_all(client->connect_to);
	free(client);
}

static int on_socket(void *context, curl_socket_t fd, curlsocktype purpose)
{
	(void)context;
	(void)purpose;
	static const unsigned dead = DEAD_MS, idle = IDLE_S, probe = PROBE_S;
	/* No harm if one is refused: a UNIX socket has none of them. */
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &dead, sizeof(dead));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &probe, sizeof(probe));
	return CURL_SOCKOPT_OK;
}

/* After a failure the connection is reset: the kernel would go on sending what is still in its
 * queue, and a call that was given up would reach the server after those that followed it. */
static int on_close(void *context, curl_socket_t fd)
{
	const struct http_client *client = context;
	static const struct linger at_once = {.l_onoff = 1};
	if (client->failed)
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	return close(fd);
}

/* A connection that many calls come over, one after another. */
static void set_up_calls(struct http_client *client)
{
	CURL *easy = client->easy;
	curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, on_socket);
	curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close);
	curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, client);
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE);
	curl_easy_setopt(easy, CURLOPT_HTTPPROXYTUNNEL, 1L);
	/* As gRPC everywhere: HTTPS_PROXY counts, for cleartext too, as it tunnels; HTTP_PROXY does
	 * not. */
	const char *proxy = getenv("https_proxy");
	if (!proxy)
		proxy = getenv("HTTPS_PROXY");
	curl_easy_setopt(easy, CURLOPT_PROXY, proxy ? proxy : "");
	curl_easy_setopt(easy, CURLOPT_NOPROXY, "");
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
}

static CURLcode on_ssl_ctx(CURL *easy, void *ssl_ctx, void *check)
{
	(void)easy;
	tls_check_install(ssl_ctx, check);
	return CURLE_OK;
}

/* Where the client connects, and whom it trusts and is. */
static void set_up_peer(struct http_client *client)
{
	CURL *easy = client->easy;
	const struct http_options *options = &client->options;
	curl_easy_setopt(easy, CURLOPT_SSLCERT, options->client_cert);
	curl_easy_setopt(easy, CURLOPT_SSLKEY, options->client_key);
	curl_easy_setopt(easy, CURLOPT_CONNECT_TO, client->connect_to);
	client->check.mismatch = false;
	if (options->pins) {
		curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, on_ssl_ctx);
		curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, &client->check);
		/* libcurl asks for the proxy's, too, and does not say so: a mark. */
		curl_easy_setopt(easy, CURLOPT_PROXY_SSLVERSION,
				 (long)(CURL_SSLVERSION_TLSv1_2 | CURL_SSLVERSION_MAX_TLSv1_3));
	}
	const char *socket = options->unix_socket;
	if (socket || options->no_proxy)
		curl_easy_setopt(easy, CURLOPT_PROXY, "");
	if (!socket)
		return;
	if (socket[0] == '@')
		curl_easy_setopt(easy, CURLOPT_ABSTRACT_UNIX_SOCKET, socket + 1);
	else
		curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, socket);
}

/* Servers that want a certificate of the client say so by an alert after the handshake, or just
 * hang up. */
static void explain_alert(const struct http_client *client, struct error *err)
{
	static const char *const words[] = {"alert certificate required", "alert bad certificate",
					    "alert unknown ca", "alert handshake failure",
					    "unexpected eof"};
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (!strstr(err->text, words[i]))
			continue;
		error_append(err,
			     client->options.client_cert
				     ? " (does the server take certificates of the authority that "
				       "signed tls-cert?)"
				     : " (if the server wants a certificate of this machine, give "
				       "tls-cert)");
		return;
	}
}

struct exchange {
	const struct http_request *request;
	struct http_response *response;
	struct http_header header;
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
	http_header_line(&exchange->header, data, length);
	memcpy(exchange->response->content_type, exchange->header.answer.content_type,
	       sizeof(exchange->response->content_type));
	if (exchange->request->on_header)
		exchange->request->on_header(exchange->request->context, data, length);
	return size;
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
		if (http_curl_done(client->multi, ret_code))
			return 0;
		int64_t left = deadline - clock_monotonic_ms();
		if (left <= 0)
			return error_set(err, ERROR_TIMEOUT, "no answer within %" PRId64 " ms",
					 request->timeout_ms);
		if (http_curl_wait(client->multi, client->options.cancel_fd,
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
	struct curl_slist *headers;
	http_curl_setup(easy, &client->options, client->detail);
	if (request->as_download && http_curl_trust_also(easy, client->options.ca_file, err) < 0)
		return -1;
	if (!request->as_download && client->options.ca_file && client->options.ca_file[0])
		curl_easy_setopt(easy, CURLOPT_CAINFO, client->options.ca_file);
	if (http_curl_headers(&client->options, true, request->headers, &headers, err) < 0)
		return -1;
	if (client->options.username && client->options.username[0]) {
		curl_easy_setopt(easy, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
		curl_easy_setopt(easy, CURLOPT_USERNAME, client->options.username);
		curl_easy_setopt(easy, CURLOPT_PASSWORD,
				 client->options.password ? client->options.password : "");
	}
	curl_easy_setopt(easy, CURLOPT_URL, request->url);
	curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
	if (request->as_download) {
		curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 1L);
		curl_easy_setopt(easy, CURLOPT_MAXREDIRS, 10L);
	}
	if (request->body) {
		curl_easy_setopt(easy, CURLOPT_POST, 1L);
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_size);
		curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->body);
	}
	if (request->http2_prior_knowledge)
		set_up_calls(client);
	set_up_peer(client);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_exchange_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, &exchange);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_exchange_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, &exchange);
	curl_multi_add_handle(client->multi, easy);
	CURLcode code = CURLE_OK;
	int result = drive(client, request, &code, err);
	if (result == 0 && exchange.too_large)
		result = error_set(
			err, ERROR_INPUT, "the answer is larger than the %zu bytes allowed",
			response->body.cap ? response->body.cap : (size_t)BUFFER_DEFAULT_CAP);
	else if (result == 0 && client->check.mismatch)
		result = error_set(err, ERROR_DENIED,
				   "the server's certificate is not the pinned one: it has %s",
				   client->check.seen);
	else if (result == 0 && code != CURLE_OK)
		result = http_curl_failed(code, client->detail, err);
	long connections = 0;
	curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &response->status);
	curl_easy_getinfo(easy, CURLINFO_NUM_CONNECTS, &connections);
	response->fresh_connection = connections > 0;
	if (result < 0 && response->fresh_connection && response->status == 0)
		explain_alert(client, err);
	client->failed = client->failed || result < 0;
	/* Removing a transfer that is under way resets its HTTP/2 stream and keeps the connection.
	 */
	curl_multi_remove_handle(client->multi, easy);
	curl_slist_free_all(headers);
	return result;
}
