/*
 * The Tink server: which of its addresses, which generation. What is said to it stands in
 * transport_current.c and transport_older.c.
 */
#include "agent/transport.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "actions/request.h"
#include "agent/tls.h"
#include "agent/transport_file.h"
#include "agent/transport_tink.h"
#include "agent/workflow_load.h"
#include "platform/log.h"
#include "platform/text.h"

enum {
	CONNECT_TIMEOUT_MS = 10000,
	CALL_TIMEOUT_LEAST_MS = 1000
};

/* Which address answered last, of whatever transport: one that is opened later begins there. */
static atomic_size_t last_answered;

void transport_task_free(struct transport_task *task)
{
	free(task->task_id);
	free(task->agent_id);
	for (char **word = task->on_failure; word && *word; word++)
		free(*word);
	for (char **word = task->on_timeout; word && *word; word++)
		free(*word);
	free(task->on_failure);
	free(task->on_timeout);
	*task = (struct transport_task){.task_id = NULL};
}

char *tink_copy_text(const char *text)
{
	return text_dup(tink_text(text));
}

void tink_copy_list(char ***list, char *const *from, size_t count)
{
	text_list_add(list, NULL);
	for (size_t i = 0; i < count; i++)
		text_list_add(list, from[i]);
}

enum transport_answer tink_failed(enum grpc_status status)
{
	return status == GRPC_CANCELLED ? TRANSPORT_CANCELLED : TRANSPORT_RETRY;
}

bool tink_refused(struct tink *tink, enum grpc_status status, const struct error *err)
{
	bool gone = status == GRPC_INTERNAL && strstr(err->text, "not found");
	tink->gone_in_a_row = gone ? tink->gone_in_a_row + 1 : 0;
	if (status != GRPC_NOT_FOUND && status != GRPC_INVALID_ARGUMENT &&
	    status != GRPC_FAILED_PRECONDITION && tink->gone_in_a_row < 2)
		return false;
	tink->gone_in_a_row = 0;
	return true;
}

static void connect_to(struct tink *tink, size_t at)
{
	const struct address *address = &tink->addresses.list[at];
	struct grpc_options options = {.host = address->host,
				       .port = address->port,
				       .http = {.connect_timeout_ms = CONNECT_TIMEOUT_MS,
						.unix_socket = address->socket,
						.cancel_fd = tink->cancel_fd}};
	tls_options(tink->config, &tink->pins, &options);
	grpc_channel_free(tink->channel);
	tink->channel = grpc_channel_new(&options);
	tink->at = at;
	tink->transport.server = address->name;
}

/* What is to be called. */
struct call {
	const char *method;
	const ProtobufCMessage *message;
	struct buffer *answer; /* NULL: a stream */
	int (*on_message)(void *context, const uint8_t *message, size_t size, struct error *err);
	void *context;
};

/* One try at the address in use. */
static enum grpc_status call_here(struct tink *tink, const struct call *call,
				  const struct buffer *bytes, struct error *err)
{
	auto_free char *path = text_format("/proto.WorkflowService/%s", call->method);
	return call->answer ? grpc_call(tink->channel, path, bytes->data, bytes->size,
					tink->call_timeout_ms, call->answer, err)
			    : grpc_call_stream(tink->channel, path, bytes->data, bytes->size,
					       tink->call_timeout_ms, call->on_message,
					       call->context, err);
}

static void keep_address(struct tink *tink)
{
	if (atomic_exchange(&last_answered, tink->at) != tink->at)
		log_info("the Tink server is reached by another of its addresses", "server",
			 tink->transport.server);
}

/* Tries the addresses in turn, from the one in use. A single address' failure is told as it is, of
 * several each. */
static enum grpc_status call_in_turn(struct tink *tink, const struct call *call, struct error *err)
{
	auto_buffer struct buffer bytes = {.cap = GRPC_MESSAGE_MAX};
	size_t count = tink->addresses.count;
	struct error all = {.kind = ERROR_NONE};
	tink->unimplemented = tink->unsure = false;
	if (protobuf_pack(call->message, &bytes, err) < 0)
		return GRPC_INTERNAL;
	for (size_t tried = 0;;) {
		enum grpc_status status = call_here(tink, call, &bytes, err);
		bool answered = grpc_channel_answered(tink->channel);
		tink->unsure |= tried > 0 || grpc_channel_repeated(tink->channel);
		if (answered && status != GRPC_UNAVAILABLE) {
			tink->unimplemented = status == GRPC_UNIMPLEMENTED;
			keep_address(tink);
			return status;
		}
		if (status == GRPC_CANCELLED || count == 1)
			return status;
		if (tried == 0)
			error_set(&all, err->kind, "%s: %s", tink->transport.server, err->text);
		else
			error_append(&all, "; %s: %s", tink->transport.server, err->text);
		connect_to(tink, (tink->at + 1) % count);
		if (++tried == count) {
			all.code = err->code;
			*err = all;
			return status;
		}
	}
}

enum grpc_status tink_call(struct tink *tink, const char *method, const ProtobufCMessage *message,
			   const ProtobufCMessageDescriptor *answer_type,
			   ProtobufCMessage **ret_answer, struct error *err)
{
	auto_buffer struct buffer answer = {.cap = GRPC_MESSAGE_MAX};
	const struct call call = {.method = method, .message = message, .answer = &answer};
	enum grpc_status status = call_in_turn(tink, &call, err);
	if (status == GRPC_OK &&
	    protobuf_unpack(answer_type, answer.data, answer.size, ret_answer, err) < 0)
		status = GRPC_UNKNOWN;
	if (status != GRPC_OK)
		error_wrap(err, "%s", method);
	return status;
}

enum grpc_status tink_call_stream(struct tink *tink, const char *method,
				  const ProtobufCMessage *message,
				  int (*on_message)(void *context, const uint8_t *message,
						    size_t size, struct error *err),
				  void *context, struct error *err)
{
	const struct call call = {
		.method = method, .message = message, .on_message = on_message, .context = context};
	enum grpc_status status = call_in_turn(tink, &call, err);
	if (status != GRPC_OK)
		error_wrap(err, "%s", method);
	return status;
}

static enum transport_answer ask(struct tink *tink, enum transport_generation generation,
				 struct action_request *ret_request,
				 struct transport_task *ret_task, struct error *err)
{
	return generation == TRANSPORT_CURRENT ? current_get(tink, ret_request, ret_task, err)
					       : older_get(tink, ret_request, ret_task, err);
}

static void remember(struct tink *tink, enum transport_generation generation)
{
	if (tink->known && tink->generation == generation)
		return;
	tink->known = true;
	tink->generation = generation;
	if (generation == TRANSPORT_OLDER)
		log_info("the Tink server is of the older generation: it keeps no messages, why an "
			 "action failed is told here only",
			 "server", tink->transport.server);
	else
		log_info("the Tink server is of the current generation", "server",
			 tink->transport.server);
}

/* The generation that is known is asked, and the other one when the server knows no such method:
 * then it was replaced. */
static enum transport_answer get(struct transport *transport, struct action_request *ret_request,
				 struct transport_task *ret_task, struct error *err)
{
	struct tink *tink = (struct tink *)transport;
	enum transport_generation first = tink->generation;
	enum transport_generation other =
		first == TRANSPORT_CURRENT ? TRANSPORT_OLDER : TRANSPORT_CURRENT;
	enum transport_answer answer = ask(tink, first, ret_request, ret_task, err);
	if (answer == TRANSPORT_OK || answer == TRANSPORT_NOTHING)
		remember(tink, first);
	if (!tink->unimplemented)
		return answer;
	answer = ask(tink, other, ret_request, ret_task, err);
	if (answer == TRANSPORT_OK || answer == TRANSPORT_NOTHING)
		remember(tink, other);
	else if (tink->unimplemented)
		error_set(err, ERROR_UNSUPPORTED,
			  "the server has neither GetAction nor GetWorkflowContexts: is it a Tink "
			  "server?");
	return answer;
}

static enum transport_answer report_status(struct transport *transport,
					   const struct action_request *request,
					   const struct transport_task *task,
					   const struct report *report, struct error *err)
{
	struct tink *tink = (struct tink *)transport;
	return task->generation == TRANSPORT_CURRENT
		       ? current_report(tink, request, task, report, err)
		       : older_report(tink, request, task, report, err);
}

static void close_tink(struct transport *transport)
{
	struct tink *tink = (struct tink *)transport;
	grpc_channel_free(tink->channel);
	address_list_free(&tink->addresses);
	free(tink->agent_id);
	free(tink->older.id);
	free(tink);
}

static int read_settings(struct tink *tink, struct error *err)
{
	const struct config *config = tink->config;
	const char *kind = config_text(config, SETTING_TRANSPORT);
	if (strcmp(kind, "grpc") != 0)
		return error_set(err, ERROR_UNSUPPORTED, "transport=%s: must be grpc or file",
				 kind);
	const char *server = config_text(config, SETTING_GRPC_SERVER);
	if (!server[0])
		return error_set(err, ERROR_INPUT,
				 "no Tink server is known: give --grpc-server HOST:PORT, "
				 "AGENT_GRPC_SERVER or grpc_authority= on the kernel command line");
	if (address_list_parse(server, &tink->addresses, err) < 0)
		return error_wrap(err, "grpc-server");
	const char *id = config_text(config, SETTING_ID);
	if (!id[0])
		return error_set(err, ERROR_INPUT,
				 "no agent id is known: give --id MAC, AGENT_ID or worker_id= on "
				 "the kernel command line");
	tink->agent_id = text_dup(id);
	tink->call_timeout_ms = config_duration_ms(config, SETTING_GRPC_CALL_TIMEOUT);
	if (tink->call_timeout_ms < CALL_TIMEOUT_LEAST_MS)
		tink->call_timeout_ms = CALL_TIMEOUT_LEAST_MS;
	return tls_pins(config, &tink->pins, err);
}

int transport_open(const struct config *config, int cancel_fd, struct transport **ret_transport,
		   struct error *err)
{
	static const struct transport_operations operations = {
		.get = get, .report = report_status, .close = close_tink};
	/* A file's transport is made by main; this is for those beside it. */
	if (workflow_wanted(config)) {
		*ret_transport = transport_file_mute();
		return 0;
	}
	struct tink *tink = calloc(1, sizeof(*tink));
	if (!tink)
		abort();
	tink->transport.operations = &operations;
	tink->config = config;
	tink->cancel_fd = cancel_fd;
	auto_transport struct transport *transport = &tink->transport;
	if (read_settings(tink, err) < 0)
		return -1;
	size_t at = atomic_load(&last_answered);
	connect_to(tink, at < tink->addresses.count ? at : 0);
	*ret_transport = take_pointer(transport);
	return 0;
}
