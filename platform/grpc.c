/* Unary gRPC over http.h: framing, trailers, and which status an exchange amounts to. See grpc.h.
 */
#include "platform/grpc.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "platform/text.h"

enum {
	FRAME_HEADER = 5,
	LAST_STATUS = GRPC_UNAUTHENTICATED
};

struct grpc_channel {
	struct http_client *client;
	char *base_url;
	struct http_options http;
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
	channel->http = options->http;
	channel->client = http_client_new(&options->http);
	channel->base_url =
		text_format("%s://%s", options->tls ? "https" : "http", options->authority);
	return channel;
}

void grpc_channel_free(struct grpc_channel *channel)
{
	if (!channel)
		return;
	http_client_free(channel->client);
	free(channel->base_url);
	free(channel);
}

int grpc_unframe(const uint8_t *body, size_t size, const uint8_t **ret_message, size_t *ret_size,
		 struct error *err)
{
	if (size < FRAME_HEADER)
		return error_set(err, ERROR_PROTOCOL,
				 "a gRPC answer of %zu bytes has no whole frame", size);
	if (body[0] != 0)
		return error_set(err, ERROR_PROTOCOL,
				 "a gRPC frame with flags 0x%02x, compression was not asked for",
				 body[0]);
	uint32_t length = (uint32_t)body[1] << 24 | (uint32_t)body[2] << 16 |
			  (uint32_t)body[3] << 8 | body[4];
	if (length != size - FRAME_HEADER)
		return error_set(err, ERROR_PROTOCOL,
				 "a gRPC frame of %" PRIu32 " bytes in a body with %zu", length,
				 size - FRAME_HEADER);
	*ret_message = body + FRAME_HEADER;
	*ret_size = length;
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
	bool is_grpc = strncasecmp(response->content_type, "application/grpc", 16) == 0;
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

enum grpc_status grpc_call(struct grpc_channel *channel, const char *path, const void *message,
			   size_t message_size, int64_t timeout_ms, struct buffer *response,
			   struct error *err)
{
	auto_buffer struct buffer body = {.cap = GRPC_MESSAGE_MAX + FRAME_HEADER};
	if (message_size > GRPC_MESSAGE_MAX)
		return set_status(err, GRPC_RESOURCE_EXHAUSTED,
				  "the request is larger than a gRPC message may be");
	const uint8_t header[FRAME_HEADER] = {0, (uint8_t)(message_size >> 24),
					      (uint8_t)(message_size >> 16),
					      (uint8_t)(message_size >> 8), (uint8_t)message_size};
	if (buffer_add(&body, header, sizeof(header), err) < 0 ||
	    buffer_add(&body, message, message_size, err) < 0)
		return set_status(err, GRPC_INTERNAL, "no memory for the request");
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
	struct http_response answer = {.body = {.cap = GRPC_MESSAGE_MAX + FRAME_HEADER}};
	struct error transport = {.kind = ERROR_NONE};
	int result = http_exchange(channel->client, &request, &answer, &transport);
	/* A kept connection that the server had closed meanwhile: nothing was processed, so once
	 * more on a new one. */
	if (result < 0 && transport.kind == ERROR_NETWORK && !answer.fresh_connection &&
	    answer.status == 0) {
		http_client_free(channel->client);
		channel->client = http_client_new(&channel->http);
		trailers = (struct grpc_trailers){.has_status = false};
		result = http_exchange(channel->client, &request, &answer, &transport);
	}
	enum grpc_status status = judge(result, &transport, &answer, &trailers, err);
	const uint8_t *payload = NULL;
	size_t payload_size = 0;
	if (status == GRPC_OK &&
	    grpc_unframe(answer.body.data, answer.body.size, &payload, &payload_size, err) < 0) {
		char words[ERROR_TEXT_SIZE];
		snprintf(words, sizeof(words), "%s", err->text);
		status = set_status(err, GRPC_INTERNAL, words);
	}
	if (status == GRPC_OK) {
		response->size = 0;
		if (buffer_add(response, payload, payload_size, err) < 0)
			status =
				set_status(err, GRPC_RESOURCE_EXHAUSTED, "the answer does not fit");
	}
	/* After a failure of the transport the connection may be half dead: the next call opens its
	 * own. */
	if (result < 0 && transport.kind != ERROR_CANCELLED) {
		http_client_free(channel->client);
		channel->client = http_client_new(&channel->http);
	}
	buffer_free(&answer.body);
	return status;
}
