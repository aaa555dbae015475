/* The commands for workflow files. */
#ifndef AGENT_WORKFLOW_RUN_H
#define AGENT_WORKFLOW_RUN_H

#include "agent/config.h"
#include "agent/transport.h"

/* `tink-worker check FILE`: prints every problem of the file, and what it comes to. Returns the
 * exit status: 0 no errors, 1 errors, 2 the file or the values cannot be read. */
int workflow_check_main(const struct config *config, const char *where);

/* A transport over a file whose problems have been logged: -1 when there are errors. */
int workflow_open(const struct config *config, const char *where, int cancel_fd,
		  struct transport **ret_transport, struct error *err);

/*
 * After the loop: the summary and the exit status (enum workflow_outcome). Leaves
 * WORKFLOW_ENDED_FILE behind, if there is its folder, by which the initramfs knows that the worker
 * is not to be started again.
 */
int workflow_finish(struct transport *transport);

#define WORKFLOW_ENDED_FILE "/run/tink-worker/workflow-ended"

#endif
