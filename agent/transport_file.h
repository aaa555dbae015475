/*
 * Actions from a workflow file, behind the interface of a server: in their order, with retries, up
 * to the first that fails; then its on-failure or on-timeout command.
 */
#ifndef AGENT_TRANSPORT_FILE_H
#define AGENT_TRANSPORT_FILE_H

#include "agent/transport.h"
#include "agent/workflow_file.h"

/* The exit status of a run. */
enum workflow_outcome {
	WORKFLOW_SUCCESS = 0,
	WORKFLOW_FAILED = 1,
	WORKFLOW_TIMEOUT = 3,
	WORKFLOW_INTERRUPTED = 4
};

/* Over a workflow (taken) without errors. name is for messages; with table the summary is printed
 * to standard output, too, not only logged. */
struct transport *transport_file_new(struct workflow *workflow, const char *name, bool table);

/* After the loop: says how the whole went, unless that was said when the last action's success was
 * reported, before the machine went down. */
enum workflow_outcome transport_file_finish(struct transport *transport);

/* One that takes every report and has nothing to do: for who tells progress beside the loop. */
struct transport *transport_file_mute(void);

#endif
