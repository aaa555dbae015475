/*
 * What the older generation of servers wants after an action that failed or timed out: a second run
 * of the same image, with on_failure or on_timeout as its command.
 */
#ifndef AGENT_AFTERMATH_H
#define AGENT_AFTERMATH_H

#include "agent/run.h"
#include "agent/transport.h"

/*
 * Runs it if the task has one for the state in result, with options, a deadline of its own as long
 * as the first, and no progress told. What became of it is logged and appended to the result's
 * error; the state stays, but for RUN_GONE.
 */
void aftermath_run(const struct action *action, const struct action_request *request,
		   const struct transport_task *task, const struct run_options *options,
		   struct run_result *result);

#endif
