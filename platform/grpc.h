/*
 * gRPC calls over HTTP/2 ("gRPC over HTTP2", grpc/doc/PROTOCOL-HTTP2.md) with one answer or a
 * stream of them: framing, status, deadline. Knows nothing of what the messages mean.
 */
#ifndef PLATFORM_GRPC_H
#define PLATFORM_GRPC_H

#include "platform/buffer.h"
#include "platform/http.h"

/* https://grpc.github.io/grpc/core/md_doc_statuscodes.html */
enum grpc_status {
	GRPC_OK = 0,
	GRPC_CANCELLED = 1,
	GRPC_UNKNOWN = 2,
	GRPC_INVALID_ARGUMENT = 3,
	GRPC_DEADLINE_EXCEEDED = 4,
	GRPC_NOT_FOUND = 5,
	GRPC_ALREADY_EXISTS = 6,
	GRPC_PERMISSION_DENIED = 7,
	GRPC_RESOURCE_EXHAUSTED = 8,
	GRPC_FAILED_PRECONDITION = 9,
	GRPC_ABORTED = 10,
	GRPC_OUT_OF_RANGE = 11,
	GRPC_UNIMPLEMENTED = 12,
	GRPC_INTERNAL = 13,
	GRPC_UNAVAILABLE = 14,
	GRPC_DATA_LOSS = 15,
	GRPC_UNAUTHENTICATED = 16,
};

/* "NOT_FOUND" and so on; "STATUS_<n>" does not exist: unknown numbers read "UNKNOWN". */
const char *grpc_status_name(enum grpc_status status);

/* A message may be at most this large, as grpc's own default: 4 MiB. */
enum {
	GRPC_MESSAGE_MAX = 4 << 20,
	GRPC_STREAM_MAX = 16 << 20, /* a stream's messages together */
	GRPC_TEXT_SIZE = 1024
};

struct grpc_channel;

struct grpc_options {
	const char *host; /* as in a URL: IPv6 in brackets */
	const char *port; /* "" for a Unix socket */
	bool tls;
	/* What the server is called in its certificate (and in the calls' authority), instead of
	 * host; NULL: the same. */
	const char *server_name;
	struct http_options http; /* texts and pins are borrowed for the life of the channel */
};

/* HTTPS_PROXY and NO_PROXY (see no_proxy.h) of the environment hold, also without TLS, as the proxy
 * makes a tunnel. */
struct grpc_channel *grpc_channel_new(const struct grpc_options *options);
void grpc_channel_free(struct grpc_channel *channel);
AUTO_DEFINE(grpc_channel, struct grpc_channel *, grpc_channel_free)
#define auto_grpc_channel __attribute__((cleanup(cleanup_grpc_channel)))

/*
 * Calls path ("/package.Service/Method") with one message and waits at most timeout_ms for the
 * answer. Returns GRPC_OK with the message in response (emptied first), or another status with err
 * filled in: its text has the status's name and the server's words, its code is the status, its
 * kind ERROR_CANCELLED, ERROR_TIMEOUT, ERROR_NETWORK (UNAVAILABLE), ERROR_DENIED, ERROR_NOT_FOUND,
 * ERROR_INPUT or ERROR_PROTOCOL. A connection that turns out dead before anything came back is
 * opened anew once.
 */
enum grpc_status grpc_call(struct grpc_channel *channel, const char *path, const void *message,
			   size_t message_size, int64_t timeout_ms, struct buffer *response,
			   struct error *err);

/*
 * Calls a method that answers with a stream, waits for its end, and gives each message to
 * on_message (which returns 0, or -1 with err). Only a stream that ended with OK is given.
 * Otherwise as grpc_call(); a failure of on_message is INTERNAL.
 */
enum grpc_status grpc_call_stream(struct grpc_channel *channel, const char *path,
				  const void *message, size_t message_size, int64_t timeout_ms,
				  int (*on_message)(void *context, const uint8_t *message,
						    size_t size, struct error *err),
				  void *context, struct error *err);

/* Whether the last call has a status that the server itself gave, OK or not. */
bool grpc_channel_answered(const struct grpc_channel *channel);

/* Whether the last call may have gone out twice, as the kept connection it went out on first was
 * dead: the server may have seen both. */
bool grpc_channel_repeated(const struct grpc_channel *channel);

/* Takes the next message out of the *left bytes of frames at *at. 1: there is one; 0: the end; -1:
 * ERROR_PROTOCOL says what is wrong. */
int grpc_next_frame(const uint8_t **at, size_t *left, const uint8_t **ret_message, size_t *ret_size,
		    struct error *err);

/* For the tests and the fuzzer: takes the one message out of a body of frames. ERROR_PROTOCOL says
 * what is wrong. */
int grpc_unframe(const uint8_t *body, size_t size, const uint8_t **ret_message, size_t *ret_size,
		 struct error *err);

/* For the tests and the fuzzer: what a header or trailer line says. */
struct grpc_trailers {
	bool has_status;
	unsigned status;
	char message[GRPC_TEXT_SIZE]; /* decoded, valid UTF-8 */
};
void grpc_trailers_line(struct grpc_trailers *trailers, const char *line, size_t size);

#endif
