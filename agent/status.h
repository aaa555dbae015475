/*
 * What the worker is doing, for whoever shows it on this machine: a small file, replaced as a whole
 * at each change, and during progress at most once a second. `tink-worker console` and `tink-worker
 * status` read it; so may people and scripts. It is no record of what happened: that is the log.
 *
 * The file has lines `key=value`, the values with \\ and \n for what would break a line. Those from
 * an `action=` on belong to that action. Times are milliseconds of the monotonic clock. Whoever
 * reads takes it as what anybody may have written: what is not understood is passed over.
 *
 * The functions that change it are for the main thread, and do nothing before status_open().
 */
#ifndef AGENT_STATUS_H
#define AGENT_STATUS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "actions/action.h"
#include "agent/report.h"
#include "platform/buffer.h"

#define STATUS_PATH "/run/tink-worker/status"

enum {
	STATUS_NAME_SIZE = 160,
	STATUS_TEXT_SIZE = 320,
	STATUS_ACTIONS_MOST = 24,
	STATUS_EARLIER_MOST = 4,
	STATUS_FILE_MOST = 65536
};

enum status_server {
	STATUS_CONNECTING,
	STATUS_ANSWERS,
	STATUS_ERROR
};

enum status_state {
	STATUS_STARTING, /* its RUNNING is not acknowledged yet */
	STATUS_RUNNING,
	STATUS_SUCCESS,
	STATUS_FAILED,
	STATUS_TIMEOUT,
	STATUS_STOPPED /* without a final report: interrupted, or its workflow is gone */
};

struct status_action {
	char id[STATUS_NAME_SIZE];
	char name[STATUS_NAME_SIZE];
	char image[STATUS_NAME_SIZE];
	char text[STATUS_TEXT_SIZE]; /* what was done, or the beginning of why not */
	enum status_state state;
	int64_t start_ms, stop_ms;
	struct action_progress progress;
};

struct status {
	char version[32];
	pid_t pid; /* of the worker; 0: none has written anything */
	char id[STATUS_NAME_SIZE];
	char syslog[STATUS_NAME_SIZE]; /* where logs are sent; "" nowhere */
	char log[STATUS_NAME_SIZE];    /* the file with the log; "" none */
	char server[STATUS_NAME_SIZE];
	enum status_server server_state;
	int64_t server_since_ms;
	char server_text[ERROR_TEXT_SIZE]; /* why not, with STATUS_ERROR */
	char earlier[STATUS_EARLIER_MOST]
		    [STATUS_TEXT_SIZE]; /* workflows before this, oldest first */
	size_t earlier_count;
	char workflow[STATUS_NAME_SIZE];                   /* "": none yet */
	struct status_action actions[STATUS_ACTIONS_MOST]; /* of this workflow, oldest first */
	size_t action_count;
	uint64_t actions_before;       /* of this workflow, not in the list any more */
	char reason[REPORT_TEXT_SIZE]; /* of the last action, when it failed: all of it */
	enum after_kind after;         /* what the machine is about to do */
	int64_t after_ms;              /* when */
};

/* "SUCCESS", "FAILED" … */
const char *status_state_name(enum status_state state);

/* Reads the text of a status file: all members are set, and hold what was understood, as clean
 * UTF-8. */
void status_parse(const char *text, size_t size, struct status *ret_status);

/* The text of a status file. */
void status_write(const struct status *status, struct buffer *out);

/* Begins: the file at path ("none": there is none; borrowed) is written at each of the following.
 * What it says of a worker before this one, started on the same machine, is taken over. */
void status_open(const char *path, const char *id, const char *syslog);

/* The file that the log goes to; "": none. */
void status_log(const char *path);

/* How it stands with the server. error is for STATUS_ERROR. */
void status_server(const char *server, enum status_server state, const char *error);

/* An action was received, and its reports. */
void status_received(const struct action_request *request);
void status_reported(const struct report *report);
void status_progress(const struct action_progress *progress);
/* The server asks for another, or for none: what is still called running was ended without a
 * report. */
void status_asked(void);

/* The machine is about to do this. */
void status_after(const struct action_after *after);

#endif
