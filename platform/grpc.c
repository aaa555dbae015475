/* gRPC over http.h: framing, trailers, and which status an exchange amounts to. See grpc.h.
 */
#include "platform/grpc.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "platform/no_proxy.h"
#include "platform/text.h"

enum {
	FRAME_HEADER = 5,
	LAST_STATUS = GRPC_UNAUTHENTICATED
};

struct grpc_channel {
	struct http_client *client;
	char *base_url;
	struct http_options http;
	char *connect_to;
	bool kept; /* there is a connection from an earlier call */
	bool repeated;
	bool answered;
};

static const char *const status_names[] = {
	"OK",
	"CANCELLED",
	"UNKNOWN",
	"INVALID_ARGUMENT",
	"DEADLINE_EXCEEDED",
	"NOT_FOUND",
	"ALREADY_EXISTS",
	"PERMISSION_DENIED",
	"RESOURCE_EXHAUSTED",
	"FAILED_PRECONDITION",
	"ABORTED",
	"OUT_OF_RANGE",
	"UNIMPLEMENTED",
	"INTERNAL",
	"UNAVAILABLE",
	"DATA_LOSS",
	"UNAUTHENTICATED",
};

const char *grpc_status_name(enum grpc_status status)
{
	return (unsigned)status <= LAST_STATUS ? status_names[status] : "UNKNOWN";
}

struct grpc_channel *grpc_channel_new(const struct grpc_options *options)
{
	struct grpc_channel *channel = calloc(1, sizeof(*channel));
	if (!channel)
		abort();
	const char *colon = options->port[0] ? ":" : "";
	channel->http = options->http;
	if (options->server_name && !options->http.unix_socket)
		channel->connect_to = text_format("%s:%s", options->host, options->port);
	channel->http.connect_to = channel->connect_to;
	const char *no_proxy = getenv("no_proxy");
	channel->http.no_proxy = no_proxy_matches(no_proxy ? no_proxy : getenv("NO_PROXY"),
						  options->host, options->port);
	channel->client = http_client_new(&channel->http);
	channel->base_url = text_format("%s://%s%s%s", options->tls ? "https" : "http",
					options->server_name ? options->server_name : options->host,
					colon, options->port);
	return channel;
}

void grpc_channel_free(struct grpc_channel *channel)
{
	if (!channel)
		return;
	http_client_free(channel->client);
	free(channel->base_url);
	free(channel->connect_to);
	free(channel);
}

bool grpc_channel_answered(const struct grpc_channel *channel)
{
	return channel->answered;
}

bool grpc_channel_repeated(const struct grpc_channel *channel)
{
	return channel->repeated;
}

int grpc_next_frame(const uint8_t **at, size_t *left, const uint8_t **ret_message, size_t *ret_size,
		    struct error *err)
{
	if (*left == 0)
		return 0;
	if (*left < FRAME_HEADER)
		return error_set(err, ERROR_PROTOCOL,
				 "a gRPC answer ends with %zu bytes that are no whole frame",
				 *left);
	const uint8_t *header = *at;
	if (header[0] != 0)
		return error_set(err, ERROR_PROTOCOL,
				 "a gRPC frame with flags 0x%02x, compression was not asked for",
				 header[0]);
	uint32_t length = (uint32_t)header[1] << 24 | (uint32_t)header[2] << 16 |
			  (uint32_t)header[3] << 8 | header[4];
	size_t room = *left - FRAME_HEADER;
	if (length > room)
		return error_set(err, ERROR_PROTOCOL,
				 "a gRPC frame of %" PRIu32 " bytes in a body with %zu", length,
				 room);
	*ret_message = header + FRAME_HEADER;
	*ret_size = length;
	*at += FRAME_HEADER + length;
	*left -= FRAME_HEADER + length;
	return 1;
}

int grpc_unframe(const uint8_t *body, size_t size, const uint8_t **ret_message, size_t *ret_size,
		 struct error *err)
{
	size_t left = size;
	int result = grpc_next_frame(&body, &left, ret_message, ret_size, err);
	if (result < 0)
		return -1;
	if (result == 0)
		return error_set(err, ERROR_PROTOCOL,
				 "a gRPC answer of 0 bytes has no whole frame");
	if (left > 0)
		return error_set(err, ERROR_PROTOCOL,
				 "a gRPC frame of %zu bytes in a body with %zu", *ret_size,
				 size - FRAME_HEADER);
	return 0;
}

/* grpc-message is percent-encoded UTF-8; what is no valid escape stands for itself. */
static void decode_message(const char *value, size_t size, char *out, size_t out_size)
{
	char decoded[GRPC_TEXT_SIZE];
	size_t used = 0;
	for (size_t i = 0; i < size && used < sizeof(decoded); i++) {
		int high = value[i] == '%' && i + 2 < size ? text_hex_value(value[i + 1]) : -1;
		int low = high >= 0 ? text_hex_value(value[i + 2]) : -1;
		if (low >= 0) {
			decoded[used++] = (char)(high << 4 | low);
			i += 2;
		} else {
			decoded[used++] = value[i];
		}
	}
	text_sanitize(decoded, used, out, out_size);
}

void grpc_trailers_line(struct grpc_trailers *trailers, const char *line, size_t size)
{
	if (size >= 5 && strncasecmp(line, "HTTP/", 5) == 0) {
		*trailers = (struct grpc_trailers){.has_status = false};
		return;
	}
	const char *colon = memchr(line, ':', size);
	if (!colon)
		return;
	size_t name_size = (size_t)(colon - line);
	const char *value = colon + 1;
	size_t value_size = size - name_size - 1;
	while (value_size > 0 && *value == ' ') {
		value++;
		value_size--;
	}
	if (name_size == 11 && strncasecmp(line, "grpc-status", 11) == 0) {
		char number[8] = "";
		uint64_t status;
		if (value_size < sizeof(number)) {
			memcpy(number, value, value_size);
			number[value_size] = '\0';
		}
		trailers->has_status = text_parse_uint(number, 10, 999, &status);
		trailers->status = trailers->has_status ? (unsigned)status : 0;
	} else if (name_size == 12 && strncasecmp(line, "grpc-message", 12) == 0) {
		decode_message(value, value_size, trailers->message, sizeof(trailers->message));
	}
}

static void on_header(void *context, const char *line, size_t size)
{
	grpc_trailers_line(context, line, size);
}

static enum error_kind kind_of_status(enum grpc_status status)
{
	switch (status) {
	case GRPC_CANCELLED:
		return ERROR_CANCELLED;
	case GRPC_DEADLINE_EXCEEDED:
		return ERROR_TIMEOUT;
	case GRPC_UNAVAILABLE:
	case GRPC_RESOURCE_EXHAUSTED:
	case GRPC_ABORTED:
		return ERROR_NETWORK;
	case GRPC_NOT_FOUND:
		return ERROR_NOT_FOUND;
	case GRPC_PERMISSION_DENIED:
	case GRPC_UNAUTHENTICATED:
		return ERROR_DENIED;
	case GRPC_INVALID_ARGUMENT:
	case GRPC_FAILED_PRECONDITION:
	case GRPC_OUT_OF_RANGE:
	case GRPC_ALREADY_EXISTS:
		return ERROR_INPUT;
	case GRPC_UNIMPLEMENTED:
		return ERROR_UNSUPPORTED;
	case GRPC_OK:
	case GRPC_UNKNOWN:
	case GRPC_INTERNAL:
	case GRPC_DATA_LOSS:
	default:
		return ERROR_PROTOCOL;
	}
}

static enum grpc_status set_status(struct error *err, enum grpc_status status, const char *words)
{
	error_set(err, kind_of_status(status), "%s: %s", grpc_status_name(status), words);
	err->code = (int)status;
	return status;
}

/* The mapping of PROTOCOL-HTTP2's "HTTP to gRPC status code mapping". */
static enum grpc_status status_of_http(long status)
{
	switch (status) {
	case 400:
		return GRPC_INTERNAL;
	case 401:
		return GRPC_UNAUTHENTICATED;
	case 403:
		return GRPC_PERMISSION_DENIED;
	case 404:
		return GRPC_UNIMPLEMENTED;
	case 429:
	case 502:
	case 503:
	case 504:
		return GRPC_UNAVAILABLE;
	default:
		return GRPC_UNKNOWN;
	}
}

static bool is_grpc_answer(const struct http_response *response)
{
	return strncasecmp(response->content_type, "application/grpc", 16) == 0;
}

/* What the exchange amounts to. result and transport are what http_exchange() said; the order of
 * the questions matters. */
static enum grpc_status judge(int result, const struct error *transport,
			      const struct http_response *response,
			      const struct grpc_trailers *trailers, struct error *err)
{
	if (result < 0 && (transport->kind == ERROR_CANCELLED || transport->kind == ERROR_INPUT)) {
		enum grpc_status status = transport->kind == ERROR_CANCELLED
						  ? GRPC_CANCELLED
						  : GRPC_RESOURCE_EXHAUSTED;
		set_status(err, status, transport->text);
		err->kind = transport->kind;
		return status;
	}
	bool is_grpc = is_grpc_answer(response);
	if (response->status == 200 && is_grpc && trailers->has_status) {
		if (trailers->status == GRPC_OK)
			return GRPC_OK;
		enum grpc_status status = trailers->status <= LAST_STATUS
						  ? (enum grpc_status)trailers->status
						  : GRPC_UNKNOWN;
		return set_status(err, status,
				  trailers->message[0] ? trailers->message
						       : "(the server gave no words)");
	}
	if (result < 0 && transport->kind == ERROR_TIMEOUT)
		return set_status(err, GRPC_DEADLINE_EXCEEDED, transport->text);
	if (result < 0) {
		set_status(err, GRPC_UNAVAILABLE, transport->text);
		/* A refused certificate stays readable as such. */
		if (transport->kind == ERROR_DENIED)
			err->kind = ERROR_DENIED;
		return GRPC_UNAVAILABLE;
	}
	char words[192];
	if (response->status != 200) {
		snprintf(words, sizeof(words),
			 "the server answered HTTP status %ld: is it a Tink server?",
			 response->status);
		return set_status(err, status_of_http(response->status), words);
	}
	if (!is_grpc) {
		snprintf(words, sizeof(words),
			 "the answer is \"%.60s\", not gRPC: is it a Tink server?",
			 response->content_type);
		return set_status(err, GRPC_UNKNOWN, words);
	}
	return set_status(err, GRPC_INTERNAL, "the answer ended without a gRPC status");
}

/* The request's frame. */
static enum grpc_status frame_message(const void *message, size_t message_size, struct buffer *body,
				      struct error *err)
{
	if (message_size > GRPC_MESSAGE_MAX)
		return set_status(err, GRPC_RESOURCE_EXHAUSTED,
				  "the request is larger than a gRPC message may be");
	const uint8_t header[FRAME_HEADER] = {0, (uint8_t)(message_size >> 24),
					      (uint8_t)(message_size >> 16),
					      (uint8_t)(message_size >> 8), (uint8_t)message_size};
	if (buffer_add(body, header, sizeof(header), err) < 0 ||
	    buffer_add(body, message, message_size, err) < 0)
		return set_status(err, GRPC_INTERNAL, "no memory for the request");
	return GRPC_OK;
}

static void connect_anew(struct grpc_channel *channel)
{
	http_client_free(channel->client);
	channel->client = http_client_new(&channel->http);
	channel->kept = false;
}

/* One call: answer gets the frames. */
static enum grpc_status call(struct grpc_channel *channel, const char *path, const void *message,
			     size_t message_size, int64_t timeout_ms, struct http_response *answer,
			     struct error *err)
{
	auto_buffer struct buffer body = {.cap = GRPC_MESSAGE_MAX + FRAME_HEADER};
	enum grpc_status status = frame_message(message, message_size, &body, err);
	channel->repeated = channel->answered = false;
	if (status != GRPC_OK)
		return status;
	auto_free char *url = text_format("%s%s", channel->base_url, path);
	auto_free char *timeout = text_format("grpc-timeout: %" PRId64 "m",
					      timeout_ms < 99999999 ? timeout_ms : 99999999);
	const char *const headers[] = {"content-type: application/grpc+proto",
				       "te: trailers",
				       timeout,
				       "grpc-accept-encoding: identity",
				       "Accept:",
				       "Expect:",
				       NULL};
	struct grpc_trailers trailers = {.has_status = false};
	const struct http_request request = {.method = "POST",
					     .url = url,
					     .headers = headers,
					     .body = body.data,
					     .body_size = body.size,
					     .http2_prior_knowledge = true,
					     .timeout_ms = timeout_ms,
					     .on_header = on_header,
					     .context = &trailers};
	struct error transport = {.kind = ERROR_NONE};
	int result = http_exchange(channel->client, &request, answer, &transport);
	/* libcurl repeats a request, too, whose kept connection ends without a byte. */
	channel->repeated = channel->kept && answer->fresh_connection;
	channel->kept = result == 0;
	/* A kept connection that the server had closed meanwhile: as a rule nothing was processed,
	 * so once more on a new one. */
	if (result < 0 && transport.kind == ERROR_NETWORK && !answer->fresh_connection &&
	    answer->status == 0) {
		connect_anew(channel);
		channel->repeated = true;
		trailers = (struct grpc_trailers){.has_status = false};
		result = http_exchange(channel->client, &request, answer, &transport);
		channel->kept = result == 0;
	}
	status = judge(result, &transport, answer, &trailers, err);
	channel->answered = answer->status == 200 && is_grpc_answer(answer) && trailers.has_status;
	/* After a failure of the transport the connection may be half dead: the next call opens its
	 * own. */
	if (result < 0 && transport.kind != ERROR_CANCELLED)
		connect_anew(channel);
	return status;
}

/* An answer that cannot be used, with the reason in err. */
static enum grpc_status bad_answer(struct error *err)
{
	char words[ERROR_TEXT_SIZE];
	snprintf(words, sizeof(words), "%s", err->text);
	return set_status(err, GRPC_INTERNAL, words);
}

enum grpc_status grpc_call(struct grpc_channel *channel, const char *path, const void *message,
			   size_t message_size, int64_t timeout_ms, struct buffer *response,
			   struct error *err)
{
	struct http_response answer = {.body = {.cap = GRPC_MESSAGE_MAX + FRAME_HEADER}};
	const uint8_t *payload = NULL;
	size_t payload_size = 0;
	enum grpc_status status =
		call(channel, path, message, message_size, timeout_ms, &answer, err);
	if (status == GRPC_OK &&
	    grpc_unframe(answer.body.data, answer.body.size, &payload, &payload_size, err) < 0)
		status = bad_answer(err);
	if (status == GRPC_OK) {
		response->size = 0;
		if (buffer_add(response, payload, payload_size, err) < 0)
			status =
				set_status(err, GRPC_RESOURCE_EXHAUSTED, "the answer does not fit");
	}
	buffer_free(&answer.body);
	return status;
}

enum grpc_status grpc_call_stream(struct grpc_channel *channel, const char *path,
				  const void *message, size_t message_size, int64_t timeout_ms,
				  int (*on_message)(void *context, const uint8_t *message,
						    size_t size, struct error *err),
				  void *context, struct error *err)
{
	struct http_response answer = {.body = {.cap = GRPC_STREAM_MAX}};
	enum grpc_status status =
		call(channel, path, message, message_size, timeout_ms, &answer, err);
	const uint8_t *at = answer.body.data, *payload = NULL;
	size_t left = answer.body.size, payload_size = 0;
	while (status == GRPC_OK) {
		int more = grpc_next_frame(&at, &left, &payload, &payload_size, err);
		if (more == 0)
			break;
		if (more > 0 && payload_size > GRPC_MESSAGE_MAX)
			more = error_set(err, ERROR_PROTOCOL,
					 "a message of %zu bytes is larger than one may be",
					 payload_size);
		if (more < 0 || on_message(context, payload, payload_size, err) < 0)
			status = bad_answer(err);
	}
	buffer_free(&answer.body);
	return status;
}
