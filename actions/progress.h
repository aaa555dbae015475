/*
 * Telling how far an action is: a thread asks it now and then, also while it waits for a slow
 * server or disk. What it says goes to the agent and, less often, as a line into the log.
 */
#ifndef ACTIONS_PROGRESS_H
#define ACTIONS_PROGRESS_H

#include "actions/action.h"

struct progress;

/* Fills in bytes_in, bytes_out, done and total. Called from another thread, at any time between
 * progress_start() and progress_stop(). */
typedef void progress_source(void *context, struct action_progress *progress);

/* Begins with a phase. log_every_s: the pause between two lines in the log, in seconds. */
int progress_start(struct action_context *action, uint64_t log_every_s, const char *phase,
		   progress_source *source, void *context, struct progress **ret_progress,
		   struct error *err);

/* Enters another phase: rate and remaining time begin anew, and all are told at once. NULL is
 * taken.
 */
void progress_phase(struct progress *progress, const char *phase);

/* Ends the thread and frees. NULL is taken. */
void progress_stop(struct progress *progress);
AUTO_DEFINE(progress, struct progress *, progress_stop)
#define auto_progress __attribute__((cleanup(cleanup_progress)))

#endif
