/*
 * What the server is told about an action, and the words for it.
 */
#ifndef AGENT_REPORT_H
#define AGENT_REPORT_H

#include <time.h>

#include "agent/run.h"

enum {
	REPORT_TEXT_SIZE = 4097
}; /* 4 KiB and the NUL */

enum report_state {
	REPORT_RUNNING,
	REPORT_SUCCESS,
	REPORT_FAILED,
	REPORT_TIMEOUT
};

struct report {
	enum report_state state;
	struct timespec start;
	struct timespec stop; /* with a final state */
	int64_t duration_ms;
	char text[REPORT_TEXT_SIZE]; /* valid UTF-8, secrets hidden */
};

/* "RUNNING", "SUCCESS" … */
const char *report_state_name(enum report_state state);

/* RUNNING, about to start. */
void report_start(struct report *report, const char *action_name);

/* Of a RUNNING report: how far the action is. */
void report_progress(struct report *report, const struct action_progress *progress);

/* The same for an action that has not said anything new: how long it has been running, elapsed_ms.
 */
void report_alive(struct report *report, const struct action_progress *progress,
		  int64_t elapsed_ms);

/*
 * The final report: with success what was done; else "<kind>: <reason>" and the last lines of
 * output. A start that the clock's being set has parted from the end is put right. A result of
 * RUN_INTERRUPTED stays RUNNING, "interrupted …": FAILED would end the
 * workflow, and the server hands the action out again.
 */
void report_result(struct report *report, const struct run_result *result);

/* A failure before anything ran. */
void report_failure(struct report *report, const struct error *err);

#endif
