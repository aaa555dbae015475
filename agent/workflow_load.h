/* From the settings to a workflow that was read and checked: which file, which values. */
#ifndef AGENT_WORKFLOW_LOAD_H
#define AGENT_WORKFLOW_LOAD_H

#include "agent/config.h"
#include "agent/workflow_file.h"

/* What is run when neither a server nor a file is named: for an initramfs of one's own. */
#define WORKFLOW_DEFAULT_FILE "/etc/tink-worker/workflow.yaml"

/*
 * The workflow file that is to be run instead of asking a server; NULL when a server is to be
 * asked. That is so with --transport file, with a file named and no other transport, and with
 * WORKFLOW_DEFAULT_FILE there and no server named. Borrowed.
 */
const char *workflow_wanted(const struct config *config);

/*
 * Fetches where (a path or a URL, see fetch.h) and the file of --values, takes --set, and reads the
 * workflow; cancel_fd ends waiting for servers (0: nothing does). Returns -1 when one of them could
 * not be had or a value is wrong. What is wrong with the workflow goes to problems; *ret_workflow
 * is NULL when it could not be understood.
 */
int workflow_load(const char *where, const struct config *config, int cancel_fd,
		  struct workflow **ret_workflow, struct problems *problems, struct error *err);

#endif
