/* The second run after a failure: see aftermath.h. */
#include "agent/aftermath.h"

#include <stdlib.h>

#include "actions/actions.h"
#include "actions/request.h"
#include "platform/log.h"

static void replace_command(struct action_request *request, char *const *command)
{
	for (char **word = request->command; *word; word++)
		free(*word);
	free(request->command);
	request->command = NULL;
	text_list_add(&request->command, NULL);
	for (; *command; command++)
		text_list_add(&request->command, *command);
}

void aftermath_run(const struct action *action, const struct action_request *request,
		   const struct transport_task *task, const struct run_options *options,
		   struct run_result *result)
{
	bool timeout = result->state == RUN_TIMEOUT;
	const char *name = timeout ? "on_timeout" : "on_failure";
	char *const *command = timeout                       ? task->on_timeout
			       : result->state == RUN_FAILED ? task->on_failure
							     : NULL;
	if (!command || !command[0])
		return;
	/* An action that does its work whatever its command is would do it once more: write the
	 * disk again. */
	if (!action_takes_command(action)) {
		log_error("the command for this case cannot be run without containers", "workflow",
			  request->workflow_id, "action", request->name, "command", name);
		error_append(&result->error, " (%s cannot be run without containers)", name);
		return;
	}
	auto_request struct action_request again;
	action_request_copy(request, &again);
	replace_command(&again, command);
	struct run_options second = *options;
	second.observer.on_progress = NULL;
	log_warning("the action is run once more with its command for this case", "workflow",
		    request->workflow_id, "action", request->name, "command", name, "reason",
		    result->error.text);
	struct run_result ended;
	run_action(action, &again, &second, &ended);
	if (ended.state == RUN_GONE)
		result->state = RUN_GONE;
	if (ended.state == RUN_SUCCESS) {
		log_info("the second run ended well", "command", name, "summary", ended.summary);
		error_append(&result->error, " (%s then ended well)", name);
	} else {
		log_error("the second run ended badly", "command", name, "kind",
			  error_kind_name(ended.error.kind), "error", ended.error.text);
		error_append(&result->error, " (%s then failed, too: %.300s)", name,
			     ended.error.text);
	}
}
