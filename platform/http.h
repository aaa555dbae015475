/*
 * HTTP(S) by libcurl: a download as a stream, and whole exchanges (request, answer) on a kept
 * connection, which gRPC is built on. Nothing of libcurl is seen outside http.c.
 */
#ifndef PLATFORM_HTTP_H
#define PLATFORM_HTTP_H

#include "platform/buffer.h"
#include "platform/stream.h"

/* How servers are talked to. All texts are borrowed and must outlive what is opened with them; NULL
 * or 0 is the default. */
struct http_options {
	const char *ca_file;        /* PEM bundle; default: the system's
				       (/etc/ssl/certs/ca-certificates.crt) */
	bool insecure;              /* do not check server certificates */
	int64_t connect_timeout_ms; /* name, TCP and TLS together; default 30 s */
	int64_t stall_timeout_ms; /* no byte for this long while waiting: ERROR_TIMEOUT; default 60
				     s */
	int cancel_fd; /* > 0: when it becomes readable, the call ends with ERROR_CANCELLED */
};

/* Once at the start of the process, before any thread. */
int http_setup(struct error *err);

/* What the answer to a download said. */
struct http_answer {
	long status;
	bool has_end; /* the protocol marks the end of the body (length, chunks or HTTP/2): its loss
			 is noticed */
	uint64_t size_bytes; /* Content-Length, STREAM_SIZE_UNKNOWN without */
	char content_type[128];
};

/*
 * GETs an http, https or file URL, redirects followed (at most ten), and gives the body as a
 * stream. The stream's end is verified against the length, the chunks or the HTTP/2 end mark: an
 * early end is ERROR_NETWORK. Status errors: 404 and 410 NOT_FOUND, 401, 403 and 407 DENIED, 408,
 * 429 and 5xx NETWORK (worth another try), others INPUT; the text names the URL (redacted) and the
 * status, err->code is the status. Proxies are taken from the environment as curl does (http_proxy,
 * HTTPS_PROXY, NO_PROXY …; also HTTP_PROXY). *ret_answer may be NULL.
 */
int http_get(const char *url, const struct http_options *options, struct stream **ret_stream,
	     struct http_answer *ret_answer, struct error *err);

/* GETs a small body whole into body (whose cap holds). Errors as http_get(). */
int http_get_buffer(const char *url, const struct http_options *options, struct buffer *body,
		    struct error *err);

/* A client keeps its connection between exchanges. */
struct http_client;
struct http_client *http_client_new(const struct http_options *options);
void http_client_free(struct http_client *client);

struct http_request {
	const char *method;
	const char *url;
	const char *const
		*headers; /* "name: value", ended by NULL; "name:" removes a default one */
	const void *body;
	size_t body_size;
	bool http2_prior_knowledge; /* HTTP/2 only: with http:// without upgrade, with https:// by
				       ALPN h2 */
	int64_t timeout_ms;         /* the whole exchange; 0: none */
	/* Each header and trailer line without its end, as it comes; a line "HTTP/…" starts a new
	 * set. */
	void (*on_header)(void *context, const char *line, size_t size);
	void *context;
};

struct http_response {
	long status; /* 0: none came */
	char content_type[128];
	struct buffer body; /* cap set by the caller; freed by the caller */
	bool fresh_connection;
};

/*
 * One exchange. 0 when libcurl saw it through, whatever the status. On failure the response holds
 * what had come by then (ERROR_TIMEOUT: timeout_ms is over; ERROR_CANCELLED; ERROR_INPUT: the body
 * is above the cap; ERROR_NETWORK for the rest; ERROR_DENIED: the server's certificate was
 * refused).
 */
int http_exchange(struct http_client *client, const struct http_request *request,
		  struct http_response *response, struct error *err);

#endif
