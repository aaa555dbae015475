/*
 * The Tink server of the older generation: GetWorkflowContexts (where each workflow stands),
 * GetWorkflowActions (what it is made of) and ReportActionStatus with a message of its own. One
 * action at a time is made of them. The server stores states only: texts are thrown away there.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "actions/request.h"
#include "agent/transport_tink.h"
#include "platform/clock.h"
#include "platform/log.h"
#include "platform/text.h"
#include "workflow.pb-c.h"

enum {
	DEFAULT_TIMEOUT_S = 3600,
	CONTEXTS_MOST = 256
};

/* Where a workflow stands. */
struct context {
	char *workflow_id;
	char *task;
	char *action; /* "": none has begun */
	int64_t index;
	Proto__State state;
};

struct contexts {
	struct context list[CONTEXTS_MOST];
	size_t count;
};

static void contexts_free(struct contexts **contexts)
{
	for (size_t i = 0; *contexts && i < (*contexts)->count; i++) {
		free((*contexts)->list[i].workflow_id);
		free((*contexts)->list[i].task);
		free((*contexts)->list[i].action);
	}
	free(*contexts);
}
#define auto_contexts __attribute__((cleanup(contexts_free)))

static int on_context(void *argument, const uint8_t *data, size_t size, struct error *err)
{
	struct contexts *contexts = argument;
	ProtobufCMessage *message;
	if (protobuf_unpack(&proto__workflow_context__descriptor, data, size, &message, err) < 0)
		return -1;
	const Proto__WorkflowContext *context = (const Proto__WorkflowContext *)message;
	/* One worker has a handful at most; those beyond come when the first are done. */
	if (contexts->count < CONTEXTS_MOST)
		contexts->list[contexts->count++] = (struct context){
			.workflow_id = tink_copy_text(context->workflow_id),
			.task = tink_copy_text(context->current_task),
			.action = tink_copy_text(context->current_action),
			.index = context->has_current_action_index ? context->current_action_index
								   : 0,
			.state = context->has_current_action_state ? context->current_action_state
								   : PROTO__STATE__STATE_PENDING};
	protobuf_c_message_free_unpacked(message, NULL);
	return 0;
}

static enum grpc_status ask_contexts(struct tink *tink, struct contexts **ret_contexts,
				     struct error *err)
{
	Proto__WorkflowContextRequest message = PROTO__WORKFLOW_CONTEXT_REQUEST__INIT;
	auto_contexts struct contexts *contexts = calloc(1, sizeof(*contexts));
	if (!contexts)
		abort();
	message.worker_id = tink->agent_id;
	enum grpc_status status = tink_call_stream(tink, "GetWorkflowContexts", &message.base,
						   on_context, contexts, err);
	if (status == GRPC_OK)
		*ret_contexts = take_pointer(contexts);
	return status;
}

bool older_answers(struct tink *tink)
{
	struct error ignored;
	auto_contexts struct contexts *contexts = NULL;
	return ask_contexts(tink, &contexts, &ignored) == GRPC_OK;
}

static bool is_current(const struct context *context, const char *task, const char *name)
{
	return strcmp(context->task, task) == 0 && strcmp(context->action, name) == 0;
}

/*
 * Which action of the list is next; -1: none, or none of ours; -2: the context does not fit the
 * list. Some servers count an action's index within its task: task and name are what counts.
 */
static int64_t choose(const struct context *context, const Proto__WorkflowActionList *list,
		      const char *worker_id)
{
	int64_t count = (int64_t)list->n_action_list, index = context->index;
	if (context->state == PROTO__STATE__STATE_FAILED ||
	    context->state == PROTO__STATE__STATE_TIMEOUT)
		return -1;
	if (context->action[0] == '\0') {
		index = 0;
	} else {
		Proto__WorkflowAction *const *actions = list->action_list;
		bool fits = index >= 0 && index < count && actions[index]->name &&
			    is_current(context, tink_text(actions[index]->task_name),
				       actions[index]->name);
		for (int64_t i = 0; !fits && i < count; i++) {
			fits = is_current(context, tink_text(actions[i]->task_name),
					  tink_text(actions[i]->name));
			index = i;
		}
		if (!fits)
			return -2;
		if (context->state == PROTO__STATE__STATE_SUCCESS)
			index++;
	}
	if (index >= count ||
	    strcmp(tink_text(list->action_list[index]->worker_id), worker_id) != 0)
		return -1;
	return index;
}

static void take_action(const Proto__WorkflowAction *action, const char *workflow_id, int64_t index,
			struct action_request *request, struct transport_task *task)
{
	*request = (struct action_request){
		.workflow_id = tink_copy_text(workflow_id),
		/* It has none of its own. */
		.id = text_format("%s#%" PRId64, workflow_id, index),
		.name = tink_copy_text(action->name),
		.image = tink_copy_text(action->image),
		.pid = tink_copy_text(action->pid),
		.network = tink_copy_text(NULL),
		.timeout_s = action->has_timeout && action->timeout > 0 ? (uint64_t)action->timeout
									: DEFAULT_TIMEOUT_S,
	};
	tink_copy_list(&request->command, action->command, action->n_command);
	tink_copy_list(&request->environment, action->environment, action->n_environment);
	tink_copy_list(&request->volumes, action->volumes, action->n_volumes);
	*task = (struct transport_task){.generation = TRANSPORT_OLDER,
					.task_id = tink_copy_text(action->task_name),
					.agent_id = tink_copy_text(action->worker_id)};
	if (action->n_on_failure > 0)
		tink_copy_list(&task->on_failure, action->on_failure, action->n_on_failure);
	if (action->n_on_timeout > 0)
		tink_copy_list(&task->on_timeout, action->on_timeout, action->n_on_timeout);
}

/* The next action of this workflow, if it has one for us. */
static enum transport_answer get_next(struct tink *tink, const struct context *context,
				      struct action_request *ret_request,
				      struct transport_task *ret_task, struct error *err)
{
	Proto__WorkflowActionsRequest message = PROTO__WORKFLOW_ACTIONS_REQUEST__INIT;
	ProtobufCMessage *answer;
	message.workflow_id = context->workflow_id;
	enum grpc_status status = tink_call(tink, "GetWorkflowActions", &message.base,
					    &proto__workflow_action_list__descriptor, &answer, err);
	if (status != GRPC_OK)
		return tink_failed(status);
	const Proto__WorkflowActionList *list = (const Proto__WorkflowActionList *)answer;
	int64_t index = choose(context, list, tink->agent_id);
	enum transport_answer result = TRANSPORT_NOTHING;
	if (index == -2) {
		error_set(err, ERROR_PROTOCOL,
			  "GetWorkflowActions: workflow %s has no action %s of task %s, where it "
			  "is said to stand",
			  context->workflow_id, context->action, context->task);
		result = TRANSPORT_RETRY;
	} else if (index >= 0) {
		const Proto__WorkflowAction *action = list->action_list[index];
		take_action(action, context->workflow_id, index, ret_request, ret_task);
		free(tink->older.id);
		tink->older = (struct older_action){
			.id = text_dup(ret_request->id),
			.running = context->state == PROTO__STATE__STATE_RUNNING &&
				   is_current(context, ret_task->task_id, ret_request->name)};
		result = TRANSPORT_OK;
	}
	protobuf_c_message_free_unpacked(answer, NULL);
	return result;
}

enum transport_answer older_get(struct tink *tink, struct action_request *ret_request,
				struct transport_task *ret_task, struct error *err)
{
	auto_contexts struct contexts *contexts = NULL;
	enum grpc_status status = ask_contexts(tink, &contexts, err);
	if (status != GRPC_OK)
		return tink_failed(status);
	enum transport_answer result = TRANSPORT_NOTHING;
	error_set(err, ERROR_NOT_FOUND, "the server has no action for this worker");
	/* A workflow that is in disorder does not keep others from being done. */
	for (size_t i = 0; i < contexts->count; i++) {
		struct error trouble = {.kind = ERROR_NONE};
		enum transport_answer answer =
			get_next(tink, &contexts->list[i], ret_request, ret_task, &trouble);
		if (answer == TRANSPORT_OK || answer == TRANSPORT_CANCELLED) {
			*err = trouble;
			return answer;
		}
		if (answer == TRANSPORT_RETRY && result == TRANSPORT_NOTHING) {
			result = answer;
			*err = trouble;
		}
	}
	return result;
}

static enum grpc_status send_report(struct tink *tink, const struct action_request *request,
				    const struct transport_task *task, const struct report *report,
				    struct error *err)
{
	static const Proto__State states[] = {
		[REPORT_RUNNING] = PROTO__STATE__STATE_RUNNING,
		[REPORT_SUCCESS] = PROTO__STATE__STATE_SUCCESS,
		[REPORT_FAILED] = PROTO__STATE__STATE_FAILED,
		[REPORT_TIMEOUT] = PROTO__STATE__STATE_TIMEOUT,
	};
	Proto__WorkflowActionStatus message = PROTO__WORKFLOW_ACTION_STATUS__INIT;
	Proto__Timestamp created = PROTO__TIMESTAMP__INIT;
	struct timespec when = report->state == REPORT_RUNNING ? report->start : report->stop;
	char text[REPORT_TEXT_SIZE];
	/* Thrown away where it arrives: no letter of it is worth a refusal. */
	text_to_ascii(report->text, strlen(report->text), text, sizeof(text));
	message.workflow_id = request->workflow_id;
	message.task_name = task->task_id;
	message.action_name = request->name;
	message.has_action_status = 1;
	message.action_status = states[report->state];
	message.has_seconds = 1;
	message.seconds = report->duration_ms / 1000;
	message.message = text;
	created.has_seconds = created.has_nanos = 1;
	created.seconds = when.tv_sec;
	created.nanos = (int32_t)when.tv_nsec;
	message.created_at = &created;
	message.worker_id = task->agent_id;
	ProtobufCMessage *answer;
	enum grpc_status status = tink_call(tink, "ReportActionStatus", &message.base,
					    &proto__empty__descriptor, &answer, err);
	if (status == GRPC_OK)
		protobuf_c_message_free_unpacked(answer, NULL);
	return status;
}

/* Where the server stands with an action. */
enum standing {
	STANDS_AT_IT,    /* it is the current one, and not over */
	STANDS_RUNNING,  /* the same, stored as RUNNING */
	STANDS_ENDED,    /* the current one, stored with a final state */
	STANDS_BEYOND,   /* another action is the current one */
	STANDS_ABSENT,   /* the workflow is not among the unfinished ones */
	STANDS_REPLACED, /* the server is of another generation now */
	STANDS_UNKNOWN   /* no answer: err */
};

static enum standing look(struct tink *tink, const struct action_request *request,
			  const struct transport_task *task, struct error *err)
{
	auto_contexts struct contexts *contexts = NULL;
	enum grpc_status status = ask_contexts(tink, &contexts, err);
	if (tink->unimplemented)
		return STANDS_REPLACED;
	if (status != GRPC_OK)
		return STANDS_UNKNOWN;
	for (size_t i = 0; i < contexts->count; i++) {
		const struct context *context = &contexts->list[i];
		if (strcmp(context->workflow_id, request->workflow_id) != 0)
			continue;
		/* An action that has not begun may not be named yet. */
		if (!is_current(context, task->task_id, request->name))
			return context->action[0] ? STANDS_BEYOND : STANDS_AT_IT;
		if (context->state == PROTO__STATE__STATE_RUNNING)
			return STANDS_RUNNING;
		return context->state == PROTO__STATE__STATE_PENDING ? STANDS_AT_IT : STANDS_ENDED;
	}
	return STANDS_ABSENT;
}

static enum transport_answer replaced(struct tink *tink, struct error *err)
{
	tink->known = false;
	error_set(err, ERROR_NOT_FOUND,
		  "another generation of server is there now, which does not know the action");
	return TRANSPORT_GONE;
}

/* The server does not name the action any more: believed the second time. Until then nothing is
 * wrong with one that runs, but none is begun. */
static enum transport_answer absent(struct tink *tink, bool begins, struct error *err)
{
	error_set(err, ERROR_NOT_FOUND, "the server does not name the action any more");
	if (++tink->older.absent < 2)
		return begins ? TRANSPORT_RETRY : TRANSPORT_OK;
	tink->older.absent = 0;
	return TRANSPORT_GONE;
}

static enum transport_answer send(struct tink *tink, const struct action_request *request,
				  const struct transport_task *task, const struct report *report,
				  struct error *err)
{
	enum grpc_status status = send_report(tink, request, task, report, err);
	if (status == GRPC_OK) {
		tink->gone_in_a_row = 0;
		tink->older.unsure = false;
		return TRANSPORT_OK;
	}
	if (tink_refused(tink, status, err))
		return TRANSPORT_GONE;
	tink->older.unsure = true;
	return tink_failed(status);
}

/*
 * RUNNING. It is stored once; what comes after it has a text only, which the server has no place
 * for: such a report is a look whether the server still wants the action.
 */
static enum transport_answer report_running(struct tink *tink, const struct action_request *request,
					    const struct transport_task *task,
					    const struct report *report, struct error *err)
{
	struct older_action *older = &tink->older;
	bool own = older->id && strcmp(older->id, request->id) == 0;
	if (own && older->running)
		return TRANSPORT_OK;
	enum standing standing =
		own && !older->unsure ? STANDS_AT_IT : look(tink, request, task, err);
	enum transport_answer answer = TRANSPORT_OK;
	switch (standing) {
	case STANDS_AT_IT:
		answer = send(tink, request, task, report, err);
		break;
	case STANDS_RUNNING:
		older->absent = 0;
		break;
	case STANDS_ENDED:
	case STANDS_BEYOND:
	case STANDS_ABSENT:
		return absent(tink, own, err);
	case STANDS_REPLACED:
		return replaced(tink, err);
	case STANDS_UNKNOWN:
		return err->kind == ERROR_CANCELLED ? TRANSPORT_CANCELLED : TRANSPORT_RETRY;
	}
	if (own && answer == TRANSPORT_OK) {
		older->running = true;
		older->unsure = false;
	}
	return answer;
}

/* Whether a final report that went out before, unanswered, was stored: the server has gone on. */
static bool was_stored(enum standing standing, const struct report *report)
{
	return standing == STANDS_ENDED || standing == STANDS_ABSENT ||
	       (standing == STANDS_BEYOND && report->state == REPORT_SUCCESS);
}

static enum transport_answer report_end(struct tink *tink, const struct action_request *request,
					const struct transport_task *task,
					const struct report *report, struct error *err)
{
	struct older_action *older = &tink->older;
	if (older->unsure) {
		struct error trouble;
		enum standing standing = look(tink, request, task, &trouble);
		if (standing == STANDS_REPLACED)
			return replaced(tink, err);
		if (standing == STANDS_UNKNOWN) {
			*err = trouble;
			return err->kind == ERROR_CANCELLED ? TRANSPORT_CANCELLED : TRANSPORT_RETRY;
		}
		/* A workflow that is over is not named: only a refusal tells that it is. */
		if (standing != STANDS_ABSENT && was_stored(standing, report))
			return TRANSPORT_OK;
	}
	bool before = older->unsure;
	enum transport_answer answer = send(tink, request, task, report, err);
	if (answer != TRANSPORT_GONE || !(before || tink->unsure))
		return answer;
	/* Refused, and one before may have been taken: then the server stands elsewhere now. */
	struct error ignored;
	if (!was_stored(look(tink, request, task, &ignored), report))
		return answer;
	log_debug("an earlier, unanswered report was stored", "action", request->name);
	return TRANSPORT_OK;
}

enum transport_answer older_report(struct tink *tink, const struct action_request *request,
				   const struct transport_task *task, const struct report *report,
				   struct error *err)
{
	/* Progress is told by a transport that has no actions of its own. */
	if (report->state == REPORT_RUNNING)
		return report_running(tink, request, task, report, err);
	enum transport_answer answer = report_end(tink, request, task, report, err);
	if (answer == TRANSPORT_OK || answer == TRANSPORT_GONE)
		tink->older.unsure = false;
	return answer;
}
