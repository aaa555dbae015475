/*
 * What a server may answer to GetAction: the message, and all that becomes of it before an action
 * runs: the request, its way to the child, the choice of the action, the parameters.
 *
 * The transport's own source is included, for the function that takes the message apart.
 */
#include "tests/fuzz/fuzz.h"

#include "agent/transport_current.c"

#include "actions/actions.h"
#include "actions/param.h"
#include "platform/log.h"

static void pack(const struct action_request *request, struct buffer *out)
{
	static const struct child_settings settings = {
		.action = "name", .tls_ca = "", .log_level = "info", .native_registries = "all"};
	struct error err;
	require(child_pack(request, &settings, out, &err) == 0);
}

static void go_to_the_child_and_back(const struct action_request *request)
{
	auto_buffer struct buffer first = {.cap = 0}, second = {.cap = 0};
	auto_request struct action_request unpacked = {.timeout_s = 0};
	struct child_settings settings;
	struct error err;
	pack(request, &first);
	require(child_unpack(first.data, first.size, &unpacked, &settings, &err) == 0);
	pack(&unpacked, &second);
	require(first.size == second.size && memcmp(first.data, second.data, first.size) == 0);
}

static void use(const Proto__ActionResponse *response)
{
	auto_request struct action_request request = {.timeout_s = 0};
	struct transport_task task = {.task_id = NULL};
	struct error err;
	take_response(response, &request, &task);
	require(request.workflow_id && request.id && request.name && request.image && request.pid);
	require(request.command && request.environment && request.volumes && task.task_id);
	go_to_the_child_and_back(&request);
	const struct action *action = action_find(&request, NULL, &err);
	void *params = NULL;
	if (action && params_parse(action, &request, false, &params, &err) == 0)
		free(params);
	transport_task_free(&task);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	ProtobufCMessage *message;
	struct error err;
	log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	if (protobuf_unpack(&proto__action_response__descriptor, data, size, &message, &err) < 0) {
		require(err.kind == ERROR_PROTOCOL);
		return 0;
	}
	use((const Proto__ActionResponse *)message);
	protobuf_c_message_free_unpacked(message, NULL);
	return 0;
}
