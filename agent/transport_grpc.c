/*
 * The Tink server of the current generation: proto.WorkflowService with GetAction and
 * ReportActionStatus.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "agent/transport.h"
#include "actions/request.h"
#include "platform/clock.h"
#include "platform/grpc.h"
#include "platform/log.h"
#include "platform/protobuf.h"
#include "platform/text.h"
#include "workflow.pb-c.h"

/* The server tries for up to a minute before it answers with any refusal, of a report too. */
enum {
	CALL_TIMEOUT_MS = 95000,
	DEFAULT_PORT = 42113
};

struct grpc_transport {
	struct transport transport;
	struct grpc_channel *channel;
	char *authority;
	char *agent_id;
	/* The server's own retries hide a deleted workflow behind INTERNAL; two in a row are
	 * believed. */
	unsigned gone_in_a_row;
};

static enum transport_answer failed(enum grpc_status status)
{
	return status == GRPC_CANCELLED ? TRANSPORT_CANCELLED : TRANSPORT_RETRY;
}

static void copy_list(char ***list, char *const *from, size_t count)
{
	text_list_add(list, NULL);
	for (size_t i = 0; i < count; i++)
		text_list_add(list, from[i]);
}

static char *copy_text(const char *text)
{
	return text_dup(text ? text : "");
}

static void take_response(const Proto__ActionResponse *response, struct action_request *request,
			  struct transport_task *task)
{
	const Proto__Namespaces *namespaces = response->namespaces;
	const char *pid = namespaces && namespaces->pid && namespaces->pid[0] ? namespaces->pid
									      : response->pid;
	*request = (struct action_request){
		.workflow_id = copy_text(response->workflow_id),
		.id = copy_text(response->action_id),
		.name = copy_text(response->name),
		.image = copy_text(response->image),
		.pid = copy_text(pid),
		.network = copy_text(namespaces ? namespaces->network : NULL),
		.timeout_s = response->has_timeout && response->timeout > 0
				     ? (uint64_t)response->timeout
				     : 0,
	};
	copy_list(&request->command, response->command, response->n_command);
	copy_list(&request->environment, response->environment, response->n_environment);
	copy_list(&request->volumes, response->volumes, response->n_volumes);
	task->task_id = copy_text(response->task_id);
	task->agent_id = copy_text(response->agent_id);
}

static enum transport_answer get(struct transport *transport, struct action_request *ret_request,
				 struct transport_task *ret_task, struct error *err)
{
	struct grpc_transport *self = (struct grpc_transport *)transport;
	Proto__ActionRequest message = PROTO__ACTION_REQUEST__INIT;
	auto_buffer struct buffer bytes = {.cap = GRPC_MESSAGE_MAX};
	auto_buffer struct buffer answer = {.cap = GRPC_MESSAGE_MAX};
	message.agent_id = self->agent_id;
	if (protobuf_pack(&message.base, &bytes, err) < 0)
		return TRANSPORT_RETRY;
	enum grpc_status status = grpc_call(self->channel, "/proto.WorkflowService/GetAction",
					    bytes.data, bytes.size, CALL_TIMEOUT_MS, &answer, err);
	if (status == GRPC_NOT_FOUND || status == GRPC_FAILED_PRECONDITION)
		return TRANSPORT_NOTHING;
	if (status != GRPC_OK) {
		error_wrap(err, "GetAction");
		return failed(status);
	}
	ProtobufCMessage *unpacked;
	if (protobuf_unpack(&proto__action_response__descriptor, answer.data, answer.size,
			    &unpacked, err) < 0) {
		error_wrap(err, "GetAction");
		return TRANSPORT_RETRY;
	}
	const Proto__ActionResponse *response = (const Proto__ActionResponse *)unpacked;
	enum transport_answer result = TRANSPORT_OK;
	if (!response->action_id || !response->action_id[0] || !response->workflow_id ||
	    !response->workflow_id[0]) {
		error_set(err, ERROR_PROTOCOL, "GetAction: the answer names no action");
		result = TRANSPORT_RETRY;
	} else {
		take_response(response, ret_request, ret_task);
	}
	protobuf_c_message_free_unpacked(unpacked, NULL);
	return result;
}

static void set_time(Proto__Timestamp *timestamp, struct timespec when)
{
	timestamp->has_seconds = timestamp->has_nanos = 1;
	timestamp->seconds = when.tv_sec;
	timestamp->nanos = (int32_t)when.tv_nsec;
}

static enum grpc_status send_report(struct grpc_transport *self,
				    const struct action_request *request,
				    const struct transport_task *task, const struct report *report,
				    char *text, struct error *err)
{
	static const Proto__ActionStatusRequest__State states[] = {
		[REPORT_RUNNING] = PROTO__ACTION_STATUS_REQUEST__STATE__RUNNING,
		[REPORT_SUCCESS] = PROTO__ACTION_STATUS_REQUEST__STATE__SUCCESS,
		[REPORT_FAILED] = PROTO__ACTION_STATUS_REQUEST__STATE__FAILED,
		[REPORT_TIMEOUT] = PROTO__ACTION_STATUS_REQUEST__STATE__TIMEOUT,
	};
	Proto__ActionStatusRequest message = PROTO__ACTION_STATUS_REQUEST__INIT;
	Proto__ActionMessage words = PROTO__ACTION_MESSAGE__INIT;
	Proto__Timestamp start = PROTO__TIMESTAMP__INIT, stop = PROTO__TIMESTAMP__INIT;
	auto_buffer struct buffer bytes = {.cap = GRPC_MESSAGE_MAX};
	auto_buffer struct buffer answer = {.cap = GRPC_MESSAGE_MAX};
	char duration[32];
	message.workflow_id = request->workflow_id;
	message.agent_id = task->agent_id[0] ? task->agent_id : self->agent_id;
	message.task_id = task->task_id;
	message.action_id = request->id;
	message.action_name = request->name;
	message.has_action_state = 1;
	message.action_state = states[report->state];
	set_time(&start, report->start);
	message.execution_start = &start;
	/* A report without an end is shown as one that ended in 1970. */
	set_time(&stop, report->state == REPORT_RUNNING ? report->start : report->stop);
	message.execution_stop = &stop;
	if (report->state != REPORT_RUNNING)
		message.execution_duration =
			clock_format_duration(report->duration_ms, duration, sizeof(duration));
	words.message = text;
	message.message = &words;
	if (protobuf_pack(&message.base, &bytes, err) < 0)
		return GRPC_INTERNAL;
	enum grpc_status status =
		grpc_call(self->channel, "/proto.WorkflowService/ReportActionStatus", bytes.data,
			  bytes.size, CALL_TIMEOUT_MS, &answer, err);
	/* An answer that is none acknowledges nothing. */
	ProtobufCMessage *unpacked;
	if (status != GRPC_OK)
		return status;
	if (protobuf_unpack(&proto__action_status_response__descriptor, answer.data, answer.size,
			    &unpacked, err) < 0)
		return GRPC_UNKNOWN;
	protobuf_c_message_free_unpacked(unpacked, NULL);
	return GRPC_OK;
}

static enum transport_answer report_status(struct transport *transport,
					   const struct action_request *request,
					   const struct transport_task *task,
					   const struct report *report, struct error *err)
{
	struct grpc_transport *self = (struct grpc_transport *)transport;
	char text[REPORT_TEXT_SIZE];
	memcpy(text, report->text, sizeof(text));
	enum grpc_status status = send_report(self, request, task, report, text, err);
	if (status == GRPC_INTERNAL && strstr(err->text, "error unmarshalling")) {
		/* The text was not to the server's taste after all: plain ASCII always is. */
		text_to_ascii(report->text, strlen(report->text), text, sizeof(text));
		status = send_report(self, request, task, report, text, err);
	}
	bool gone = status == GRPC_INTERNAL && strstr(err->text, "not found");
	self->gone_in_a_row = gone ? self->gone_in_a_row + 1 : 0;
	if (status == GRPC_OK)
		return TRANSPORT_OK;
	error_wrap(err, "ReportActionStatus");
	if (status == GRPC_NOT_FOUND || status == GRPC_INVALID_ARGUMENT ||
	    status == GRPC_FAILED_PRECONDITION || self->gone_in_a_row >= 2) {
		self->gone_in_a_row = 0;
		return TRANSPORT_GONE;
	}
	return failed(status);
}

static void close_grpc(struct transport *transport)
{
	struct grpc_transport *self = (struct grpc_transport *)transport;
	grpc_channel_free(self->channel);
	free(self->agent_id);
	free(self->authority);
	free(self);
}

/* host -> host:42113; what has a port keeps it. An IPv6 address with a port stands in brackets. */
static char *with_port(const char *server)
{
	const char *bracket = strrchr(server, ']');
	const char *colon = strrchr(bracket ? bracket : server, ':');
	return colon ? text_dup(server) : text_format("%s:%d", server, DEFAULT_PORT);
}

int transport_open(const struct config *config, int cancel_fd, struct transport **ret_transport,
		   struct error *err)
{
	static const struct transport_operations operations = {
		.get = get, .report = report_status, .close = close_grpc};
	const char *kind = config_text(config, SETTING_TRANSPORT);
	if (strcmp(kind, "grpc") != 0)
		return error_set(err, ERROR_UNSUPPORTED,
				 "transport=%s: this version speaks grpc only", kind);
	const char *server = config_text(config, SETTING_GRPC_SERVER);
	if (!server[0])
		return error_set(err, ERROR_INPUT,
				 "no Tink server is known: give --grpc-server HOST:PORT, "
				 "AGENT_GRPC_SERVER or grpc_authority= on the kernel command line");
	const char *id = config_text(config, SETTING_ID);
	if (!id[0])
		return error_set(err, ERROR_INPUT,
				 "no agent id is known: give --id MAC, AGENT_ID or worker_id= on "
				 "the kernel command line");
	bool insecure = config_bool(config, SETTING_GRPC_INSECURE_TLS);
	if (config_bool(config, SETTING_GRPC_TLS) && insecure)
		log_warning("the Tink server's certificate is not checked", "setting",
			    "grpc-insecure-tls");
	const char *ca = config_text(config, SETTING_TLS_CA);
	struct grpc_transport *self = calloc(1, sizeof(*self));
	if (!self)
		abort();
	self->authority = with_port(server);
	self->transport = (struct transport){.operations = &operations, .server = self->authority};
	self->agent_id = text_dup(id);
	const struct grpc_options options = {
		.authority = self->authority,
		.tls = config_bool(config, SETTING_GRPC_TLS),
		.http = {.ca_file = ca[0] ? ca : NULL,
			 .insecure = insecure,
			 .connect_timeout_ms = 10000,
			 .cancel_fd = cancel_fd},
	};
	self->channel = grpc_channel_new(&options);
	*ret_transport = &self->transport;
	return 0;
}
