/*
 * The status page: the machine, the server, the workflow with its actions, and the last lines of
 * the log, on a screen of whatever size. What it shows is the worker's status (see status.h), which
 * another process writes, and what the kernel says of the machine.
 */
#ifndef AGENT_PAGE_H
#define AGENT_PAGE_H

#include <stdio.h>

#include "agent/facts.h"
#include "agent/status.h"
#include "platform/screen.h"

enum {
	PAGE_LINES_MOST = 128,
	PAGE_LINE_SIZE = 512
};

struct page {
	struct status status;
	struct facts facts;
	char lines[PAGE_LINES_MOST][PAGE_LINE_SIZE]; /* a ring */
	size_t line_start, line_count;
	int64_t now_ms;       /* of the monotonic clock */
	struct timespec wall; /* the same moment by the wall clock */
	bool worker_gone;     /* it has written a status and does not run any more */
	bool interactive;     /* a console, where keys are to be named */
	const char *log_path; /* where all of the log is; NULL: not known */
};

/* Adds a line of the log: clean text. */
void page_add_line(struct page *page, const char *line);

/* Draws everything. */
void page_draw(const struct page *page, struct screen *screen);

/* `tink-worker console`: shows the page, or lines, on every console. Returns the exit status. */
int page_console_main(void);

/* `tink-worker status`: prints the page once, from the status file at path. Returns the exit
 * status: 1 when there is none. */
int page_status_main(const char *path, FILE *out);

#endif
