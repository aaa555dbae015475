/*
 * Running one action: a child of its own with a deadline, its output, its progress, its end. Knows
 * nothing of servers.
 */
#ifndef AGENT_RUN_H
#define AGENT_RUN_H

#include <time.h>

#include "actions/action.h"
#include "agent/config.h"

enum run_state {
	RUN_SUCCESS,
	RUN_FAILED,
	RUN_TIMEOUT,
	RUN_INTERRUPTED, /* by options.stop_fd */
	RUN_GONE         /* by options.gone_fd */
};

/* The last lines an action has written: what people need to see with a failure. */
enum {
	TAIL_SIZE = 2048
};
struct output_tail {
	char text[TAIL_SIZE]; /* whole lines as far as they fit, the newest kept */
	size_t used;
};

struct run_result {
	enum run_state state;
	struct error error; /* why, unless RUN_SUCCESS */
	char summary[RESULT_TEXT_SIZE];
	struct action_after after;       /* with RUN_SUCCESS */
	struct action_progress progress; /* the last that was reported */
	struct output_tail tail;
	struct timespec start, stop;
	int64_t duration_ms;
};

/* Who is told while the action runs. Any member may be NULL. */
struct run_observer {
	void (*on_progress)(void *progress_context, const struct action_progress *progress);
	void (*on_output)(void *context, const char *line); /* clean text, without its end */
	void *context;
	void *progress_context;
};

struct run_options {
	const struct config *config;
	const char *group_name; /* of its processes: the same name ends what a former life of this
				   action has left */
	bool strict;            /* unknown parameters are errors */
	int stop_fd;            /* > 0: readable means end the action (RUN_INTERRUPTED) */
	int gone_fd;            /* > 0: readable means nobody wants it any more (RUN_GONE) */
	struct run_observer observer;
};

/* Runs request as action and fills in the result, whatever happens. */
void run_action(const struct action *action, const struct action_request *request,
		const struct run_options *options, struct run_result *ret_result);

/* Adds a line to the tail, dropping the oldest ones. */
void output_tail_add(struct output_tail *tail, const char *line);

#endif
