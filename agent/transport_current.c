/*
 * The Tink server of the current generation: GetAction and ReportActionStatus.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "actions/request.h"
#include "agent/attributes.h"
#include "agent/transport_tink.h"
#include "platform/clock.h"
#include "platform/text.h"
#include "workflow.pb-c.h"

static void take_response(const Proto__ActionResponse *response, struct action_request *request,
			  struct transport_task *task)
{
	const Proto__Namespaces *namespaces = response->namespaces;
	const char *pid = namespaces && namespaces->pid && namespaces->pid[0] ? namespaces->pid
									      : response->pid;
	*request = (struct action_request){
		.workflow_id = tink_copy_text(response->workflow_id),
		.id = tink_copy_text(response->action_id),
		.name = tink_copy_text(response->name),
		.image = tink_copy_text(response->image),
		.pid = tink_copy_text(pid),
		.network = tink_copy_text(namespaces ? namespaces->network : NULL),
		.timeout_s = response->has_timeout && response->timeout > 0
				     ? (uint64_t)response->timeout
				     : 0,
	};
	tink_copy_list(&request->command, response->command, response->n_command);
	tink_copy_list(&request->environment, response->environment, response->n_environment);
	tink_copy_list(&request->volumes, response->volumes, response->n_volumes);
	*task = (struct transport_task){.generation = TRANSPORT_CURRENT,
					.task_id = tink_copy_text(response->task_id),
					.agent_id = tink_copy_text(response->agent_id)};
}

enum transport_answer current_get(struct tink *tink, struct action_request *ret_request,
				  struct transport_task *ret_task, struct error *err)
{
	Proto__ActionRequest message = PROTO__ACTION_REQUEST__INIT;
	ProtobufCMessage *answer;
	message.agent_id = tink->agent_id;
	message.agent_attributes = attributes_now(tink->config, tink->cancel_fd);
	enum grpc_status status = tink_call(tink, "GetAction", &message.base,
					    &proto__action_response__descriptor, &answer, err);
	if (status == GRPC_NOT_FOUND || status == GRPC_FAILED_PRECONDITION)
		return TRANSPORT_NOTHING;
	if (status != GRPC_OK)
		return tink_failed(status);
	const Proto__ActionResponse *response = (const Proto__ActionResponse *)answer;
	enum transport_answer result = TRANSPORT_OK;
	if (!response->action_id || !response->action_id[0] || !response->workflow_id ||
	    !response->workflow_id[0]) {
		error_set(err, ERROR_PROTOCOL, "GetAction: the answer names no action");
		result = TRANSPORT_RETRY;
	} else {
		take_response(response, ret_request, ret_task);
	}
	protobuf_c_message_free_unpacked(answer, NULL);
	return result;
}

static void set_time(Proto__Timestamp *timestamp, struct timespec when)
{
	timestamp->has_seconds = timestamp->has_nanos = 1;
	timestamp->seconds = when.tv_sec;
	timestamp->nanos = (int32_t)when.tv_nsec;
}

static enum grpc_status send_report(struct tink *tink, const struct action_request *request,
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
	char duration[32];
	message.workflow_id = request->workflow_id;
	message.agent_id = task->agent_id[0] ? task->agent_id : tink->agent_id;
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
	/* An answer that is none acknowledges nothing. */
	ProtobufCMessage *answer;
	enum grpc_status status =
		tink_call(tink, "ReportActionStatus", &message.base,
			  &proto__action_status_response__descriptor, &answer, err);
	if (status == GRPC_OK)
		protobuf_c_message_free_unpacked(answer, NULL);
	return status;
}

enum transport_answer current_report(struct tink *tink, const struct action_request *request,
				     const struct transport_task *task, const struct report *report,
				     struct error *err)
{
	char text[REPORT_TEXT_SIZE];
	memcpy(text, report->text, sizeof(text));
	enum grpc_status status = send_report(tink, request, task, report, text, err);
	if (status == GRPC_INTERNAL && strstr(err->text, "error unmarshalling")) {
		/* The text was not to the server's taste after all: plain ASCII always is. */
		text_to_ascii(report->text, strlen(report->text), text, sizeof(text));
		status = send_report(tink, request, task, report, text, err);
	}
	if (status == GRPC_OK) {
		tink->gone_in_a_row = 0;
		return TRANSPORT_OK;
	}
	/* A server of the older generation cannot read the message, or reads another one in it. */
	bool strange = status == GRPC_UNKNOWN || status == GRPC_UNIMPLEMENTED ||
		       (status == GRPC_INTERNAL && strstr(err->text, "error unmarshalling"));
	bool replaced = strange && older_answers(tink);
	if (replaced)
		error_append(err, " (another generation of server is there now, which does not "
				  "know the action)");
	return replaced || tink_refused(tink, status, err) ? TRANSPORT_GONE : tink_failed(status);
}
