/* A connection by libcurl's CONNECT_ONLY: see connection.h. */
#include "platform/connection.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "platform/http_curl.h"
#include "platform/text.h"

/* How long bytes may stay unacknowledged before the connection counts as dead. */
enum {
	USER_TIMEOUT_MS = 20000
};

struct connection {
	CURL *easy;
	curl_socket_t fd;
	char detail[CURL_ERROR_SIZE];
};

static int on_progress(void *context, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
	(void)a, (void)b, (void)c, (void)d;
	return atomic_load((atomic_bool *)context) ? 1 : 0;
}

static int prepare(struct connection *connection, const char *host, const char *port, bool tls,
		   const struct http_options *options, atomic_bool *cancel, struct error *err)
{
	CURL *easy = connection->easy = curl_easy_init();
	if (!easy)
		return error_set(err, ERROR_MEMORY, "no memory for a connection");
	http_curl_setup(easy, options, connection->detail);
	if (tls && http_curl_trust_also(easy, options->ca_file, err) < 0)
		return -1;
	bool v6 = strchr(host, ':') != NULL;
	auto_free char *url = text_format("%s://%s%s%s:%s/", tls ? "https" : "http", v6 ? "[" : "",
					  host, v6 ? "]" : "", port);
	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_CONNECT_ONLY, 1L);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_SSL_ENABLE_ALPN, 0L);
	curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(easy, CURLOPT_XFERINFODATA, cancel);
	curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
	return 0;
}

static int connect_now(struct connection *connection, struct error *err)
{
	CURLcode code = curl_easy_perform(connection->easy);
	if (code == CURLE_ABORTED_BY_CALLBACK)
		return error_set(err, ERROR_CANCELLED, "cancelled");
	if (code != CURLE_OK)
		return http_curl_failed(code, connection->detail, err);
	code = curl_easy_getinfo(connection->easy, CURLINFO_ACTIVESOCKET, &connection->fd);
	if (code != CURLE_OK || connection->fd == CURL_SOCKET_BAD)
		return error_set(err, ERROR_NETWORK, "the connection was closed at once");
	unsigned timeout_ms = USER_TIMEOUT_MS;
	setsockopt(connection->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof(timeout_ms));
	return 0;
}

int connection_open(const char *host, const char *port, bool tls,
		    const struct http_options *options, atomic_bool *cancel,
		    struct connection **ret_connection, struct error *err)
{
	struct connection *connection = calloc(1, sizeof(*connection));
	if (!connection)
		abort();
	if (prepare(connection, host, port, tls, options, cancel, err) < 0 ||
	    connect_now(connection, err) < 0) {
		connection_close(connection);
		return -1;
	}
	*ret_connection = connection;
	return 0;
}

void connection_close(struct connection *connection)
{
	curl_easy_cleanup(connection->easy);
	free(connection);
}

ssize_t connection_write(struct connection *connection, const void *data, size_t size,
			 struct error *err)
{
	size_t sent = 0;
	connection->detail[0] = '\0';
	CURLcode code = curl_easy_send(connection->easy, data, size, &sent);
	if (code == CURLE_AGAIN)
		return 0;
	if (code != CURLE_OK)
		return http_curl_failed(code, connection->detail, err);
	return (ssize_t)sent;
}

int connection_drain(struct connection *connection, struct error *err)
{
	for (;;) {
		char data[1024];
		size_t got = 0;
		connection->detail[0] = '\0';
		CURLcode code = curl_easy_recv(connection->easy, data, sizeof(data), &got);
		if (code == CURLE_AGAIN)
			return 0;
		if (code != CURLE_OK)
			return http_curl_failed(code, connection->detail, err);
		if (got == 0)
			return error_set(err, ERROR_NETWORK,
					 "the other side has closed the connection");
	}
}

bool connection_is_settled(const struct connection *connection)
{
	int unacknowledged = 0;
	return ioctl(connection->fd, SIOCOUTQ, &unacknowledged) == 0 && unacknowledged == 0;
}

int connection_fd(const struct connection *connection)
{
	return connection->fd;
}
