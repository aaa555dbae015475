/*
 * What a server of the older generation may answer: a stream of frames, each tried as a context and
 * as a list of actions, and the action that is made of the two.
 *
 * The transport's own source is included, for the functions that take the messages apart.
 */
#include "tests/fuzz/fuzz.h"

#include "agent/transport_older.c"

static void use(const struct contexts *contexts, const Proto__WorkflowActionList *list)
{
	for (size_t i = 0; i < contexts->count; i++) {
		const struct context *context = &contexts->list[i];
		int64_t index = choose(context, list, "02:00:00:00:00:01");
		require(index >= -2 && index < (int64_t)list->n_action_list);
		if (index < 0)
			continue;
		auto_request struct action_request request = {.timeout_s = 0};
		struct transport_task task = {.task_id = NULL};
		take_action(list->action_list[index], context->workflow_id, index, &request, &task);
		require(request.workflow_id && request.id && request.name && request.image);
		require(request.command && request.environment && request.volumes && request.pid);
		require(task.task_id && task.agent_id && request.timeout_s > 0);
		transport_task_free(&task);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_contexts struct contexts *contexts = calloc(1, sizeof(*contexts));
	const uint8_t *message;
	size_t message_size;
	struct error err;
	require(contexts != NULL);
	int more;
	while ((more = grpc_next_frame(&data, &size, &message, &message_size, &err)) > 0) {
		ProtobufCMessage *list;
		if (on_context(contexts, message, message_size, &err) < 0)
			require(err.kind == ERROR_PROTOCOL);
		if (protobuf_unpack(&proto__workflow_action_list__descriptor, message, message_size,
				    &list, &err) == 0) {
			use(contexts, (const Proto__WorkflowActionList *)list);
			protobuf_c_message_free_unpacked(list, NULL);
		}
	}
	require(more == 0 || err.kind == ERROR_PROTOCOL);
	return 0;
}
