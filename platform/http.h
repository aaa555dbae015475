/*
 * HTTP(S) by libcurl: a download as a stream, and whole exchanges (request, answer) on a kept
 * connection, which gRPC is built on. Nothing of libcurl is seen outside http.c.
 */
#ifndef PLATFORM_HTTP_H
#define PLATFORM_HTTP_H

#include "platform/buffer.h"
#include "platform/stream.h"
#include "platform/tls.h"

struct http_pool;

/* How servers are talked to. All texts are borrowed and must outlive what is opened with them;
 * NULL, 0 and an empty text are the default. */
struct http_options {
	/* PEM bundle. Downloads trust it besides the system's (/etc/ssl/certs/ca-certificates.crt),
	 * an http_client instead of the system's. */
	const char *ca_file;
	bool insecure; /* do not check server certificates */
	/* Of an http_client only, the six below. */
	const char *client_cert;     /* PEM file */
	const char *client_key;      /* PEM file; NULL: in that of client_cert */
	const struct tls_pins *pins; /* the server's certificate fits one, also when insecure */
	const char *connect_to; /* "host:port": connect there whatever the URL says, which keeps its
				   meaning for TLS and Host */
	bool no_proxy;          /* whatever the environment says */
	const char *unix_socket;    /* path, "@name" for an abstract one; no proxy is used */
	int64_t connect_timeout_ms; /* name, TCP and TLS together; default 30 s */
	int64_t stall_timeout_ms; /* no byte for this long while waiting: ERROR_TIMEOUT; default 60
				     s */
	int cancel_fd; /* > 0: when it becomes readable, the call ends with ERROR_CANCELLED */
	/* The four below are for the server of the URL: after a redirect to another scheme, host or
	 * port they are not sent. */
	const char *const *headers; /* "name: value", ended by NULL */
	const char *username;       /* basic authentication; goes before the URL's own */
	const char *password;
	const char *token; /* bearer token; goes before username */
	/* Keeps connections for the next download with the same pool; NULL: each has its own. */
	struct http_pool *pool;
};

/* Once at the start of the process, before any thread: it makes HTTP_PROXY known as http_proxy. */
int http_setup(struct error *err);

enum {
	HTTP_ETAG_SIZE = 256,
	HTTP_CHALLENGE_SIZE = 1024
};

/* What the answer to a download said. Texts that were too long to be kept whole are empty. */
struct http_answer {
	long status;      /* 0: none came */
	bool unreachable; /* no answer came for want of a network: no name, no route, nobody there
			     (a refusal is an answer) */
	bool has_end; /* the protocol marks the end of the body (length, chunks or HTTP/2): its loss
			 is noticed */
	uint64_t size_bytes; /* of the body; STREAM_SIZE_UNKNOWN when not told */
	/* Of the whole thing: size_bytes of a 200, the total of a Content-Range.
	 * STREAM_SIZE_UNKNOWN when not told. */
	uint64_t total_bytes;
	uint64_t start;            /* where in the whole the body begins */
	bool accepts_ranges;       /* Accept-Ranges: bytes, or it is a 206 */
	char etag[HTTP_ETAG_SIZE]; /* with its quotes (and W/), "" when none or not well-formed */
	bool etag_strong;
	char last_modified[32]; /* an HTTP date, "" when none or not well-formed */
	/* At least a second before the answer's Date: it tells versions apart (RFC 9110,
	 * 8.8.2.2). */
	bool last_modified_strong;
	int64_t retry_after_ms; /* -1: not told */
	char content_type[128];
	char challenge[HTTP_CHALLENGE_SIZE]; /* the first WWW-Authenticate */
};

/* The lines of an answer's header, as they come (RFC 9110, 9112). */
struct http_header {
	struct http_answer answer; /* what can be told from the lines alone */
	bool complete;             /* the empty line has come */
	bool chunked;
	bool http2;
	unsigned ranges; /* Content-Range lines */
	bool range_valid;
	bool range_unsatisfied;           /* "*" for the part: of a 416 */
	uint64_t range_first, range_last; /* both inclusive */
	uint64_t range_total;             /* STREAM_SIZE_UNKNOWN: "*" */
	int64_t date_s;                   /* Date, seconds since 1970; -1: none */
	char encoding[24];                /* the first Content-Encoding, "" without */
	uint64_t length;     /* STREAM_SIZE_UNKNOWN: no Content-Length that can be read */
	bool lengths_differ; /* two, that contradict each other */
};

/* Takes a line, with or without its end. A line "HTTP/…" starts a new set. Any bytes may come. */
void http_header_line(struct http_header *header, const char *line, size_t size);

/* The value of the header called name, without blanks around it (within line, *ret_size bytes);
 * NULL when the line is another one. */
const char *http_header_value(const char *line, size_t size, const char *name, size_t *ret_size);

/* The kind of error that a status is: see http_get(); other for those not named there. */
enum error_kind http_status_kind(long status, enum error_kind other);

/*
 * GETs an http, https or file URL, redirects followed (at most ten), and gives the body as a
 * stream. The stream's end is verified against the length, the chunks or the HTTP/2 end mark: an
 * early end is ERROR_NETWORK. Status errors: 404 and 410 NOT_FOUND, 401, 403 and 407 DENIED, 408,
 * 425, 429 and 5xx NETWORK (worth another try), others INPUT; the text names the URL (redacted) and
 * the status, err->code is the status. A Content-Encoding that was not asked for and that no reader
 * here can tell from the content (br, deflate) is ERROR_UNSUPPORTED. Proxies are taken from the
 * environment as curl does (http_proxy, HTTPS_PROXY, NO_PROXY …; also HTTP_PROXY). *ret_answer (may
 * be NULL) is set on failure too: status 0 when none came.
 */
int http_get(const char *url, const struct http_options *options, struct stream **ret_stream,
	     struct http_answer *ret_answer, struct error *err);

/* A part of the whole. */
struct http_range {
	uint64_t start;
	uint64_t end; /* the byte behind the last one; STREAM_SIZE_UNKNOWN: to the end */
	/* A strong ETag or an HTTP date (RFC 9110, 13.1.5): the part is wanted of this version
	 * only, the whole of another; NULL: of any. */
	const char *if_range;
};

/*
 * As http_get(), for a part of an http or https URL. The answer tells what it is: status 206, the
 * part from ret_answer->start, which is range->start, to at most range->end; or 200, the whole. A
 * 206 that is not what was asked for is ERROR_PROTOCOL; 416 is ERROR_INPUT, total_bytes then says
 * how long the whole is.
 */
int http_get_range(const char *url, const struct http_options *options,
		   const struct http_range *range, struct stream **ret_stream,
		   struct http_answer *ret_answer, struct error *err);

/* Connections that are kept between downloads. Thread-safe; must outlive the streams. */
struct http_pool *http_pool_new(void);
void http_pool_free(struct http_pool *pool);

/* GETs a small body whole into body (whose cap holds). Errors as http_get(). */
int http_get_buffer(const char *url, const struct http_options *options, struct buffer *body,
		    struct error *err);

/* What is sent, and how. Texts may be NULL. */
struct http_upload {
	const char *url;
	const char *method; /* default: PUT, POST with a field */
	/* The body is multipart/form-data (RFC 7578) with this one field, a file; NULL: the body is
	 * the stream itself. */
	const char *field;
	const char *file_name;    /* of the field */
	const char *content_type; /* of the stream; default: application/octet-stream */
};

/*
 * Sends a stream (borrowed) to an http or https URL: with its length when it is known, else in
 * chunks. Success is a 2xx status after the verified end of the stream was sent. Errors as
 * http_get(), with an excerpt of what the server said; those of the stream are given as they are. A
 * redirect is ERROR_INPUT: what was read of the stream cannot be sent again. The stall timer runs
 * while the server takes nothing and says nothing. *ret_answer (may be NULL) as with http_get().
 */
int http_upload(const struct http_upload *upload, const struct http_options *options,
		struct stream *stream, struct http_answer *ret_answer, struct error *err);

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
	/* As downloads do: redirects are followed (an Authorization header goes to no other scheme,
	 * host or port), and ca_file is trusted besides the system's roots, not instead. */
	bool as_download;
	int64_t timeout_ms; /* the whole exchange; 0: none */
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
