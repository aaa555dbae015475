/*
 * A workflow from a file instead of a server, checked whole before anything of it runs. Three
 * forms, told apart by what is in them: a Template (version, name, tasks with actions) as the
 * server takes it, Go template expressions included; the same inside its Kubernetes object (kind:
 * Template, spec.data), beside which Hardware and Workflow objects in the same file give it their
 * values; and the list of actions of the existing agent's file transport.
 */
#ifndef AGENT_WORKFLOW_FILE_H
#define AGENT_WORKFLOW_FILE_H

#include "actions/actions.h"
#include "agent/values.h"
#include "platform/problems.h"

struct workflow_action {
	struct action_request request;
	char *task;                  /* "" in a list */
	const struct action *action; /* what its image means */
	uint64_t retries;            /* further tries after the first */
	char **on_failure;           /* commands, ended by NULL; NULL: none */
	char **on_timeout;
	struct place place;
};

struct workflow {
	char *name;
	uint64_t timeout_s; /* of all of it; 0: none */
	struct workflow_action *actions;
	size_t count;
};

struct workflow_options {
	const char *id;             /* whose tasks are ours; "": not known */
	const struct value *values; /* for the template: a map. They go before the file's own */
	bool render_list;           /* a list is a template, too */
	const struct action_policy *policy;
};

enum {
	WORKFLOW_BYTES_MOST = 1 << 20,
	WORKFLOW_ACTIONS_MOST = 1000,
	WORKFLOW_RETRIES_MOST = 1000,
	WORKFLOW_TIMEOUT_MOST_S = 30 * 24 * 3600
};

/*
 * Reads a workflow of size bytes. Everything that is wrong goes to problems: it must not be run
 * when there are errors. NULL when it could not be understood so far. Its actions are those of the
 * tasks for options->id.
 */
struct workflow *workflow_parse(const char *text, size_t size,
				const struct workflow_options *options, struct problems *problems);
void workflow_free(struct workflow *workflow);
AUTO_DEFINE(workflow, struct workflow *, workflow_free)
#define auto_workflow __attribute__((cleanup(cleanup_workflow)))

#endif
