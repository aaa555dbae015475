/*
 * The loop. Reports are strictly serial, no action starts before its RUNNING is acknowledged, and
 * nothing is said about an action after its final report was: every report moves the server's
 * cursor.
 */
#include "agent/loop.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "actions/actions.h"
#include "actions/request.h"
#include "agent/machine.h"
#include "agent/observer.h"
#include "agent/signals.h"
#include "agent/teller.h"
#include "platform/clock.h"
#include "platform/log.h"

/*
 * SETTLE_MS: a call that comes within a few milliseconds of the one before meets the real server's
 * stale cache, and costs a second of its own retries; after 5 ms it does not (measured with v0.25).
 */
enum {
	SETTLE_MS = 8,
	SAID_MOST = 4,
	BACKOFF_BASE_MS = 500,
	SHORT_ANSWER_MS = 1000
};

struct loop {
	struct transport *transport;
	const struct config *config;
	/* What was said about the server since its state changed: a server in trouble fails in
	 * turns in several ways, and none of them is news twice. */
	char said[SAID_MOST][ERROR_TEXT_SIZE];
	unsigned said_count;
	unsigned failures; /* in a row */
	unsigned refusals; /* of reports, for good, in a row */
};

/* Waits; a signal ends it early. */
static void wait_ms(int64_t ms)
{
	struct pollfd fd = {.fd = signals_fd(), .events = POLLIN};
	poll(&fd, 1, (int)ms);
}

static void say_once(struct loop *loop, enum log_level level, const char *message,
		     const struct error *err)
{
	unsigned known = loop->said_count < SAID_MOST ? loop->said_count : SAID_MOST;
	for (unsigned i = 0; i < known; i++)
		if (strcmp(loop->said[i], err->text) == 0)
			return;
	memcpy(loop->said[loop->said_count++ % SAID_MOST], err->text, sizeof(err->text));
	log_line(level, message, "server", loop->transport->server, "error", err->text, NULL);
}

static void pause_after_failure(struct loop *loop)
{
	wait_ms(clock_backoff_ms(loop->failures++, BACKOFF_BASE_MS,
				 config_duration_ms(loop->config, SETTING_BACKOFF_MAX)));
}

static void server_answers(struct loop *loop)
{
	if (loop->failures > 0) {
		log_info("the server answers again", "server", loop->transport->server);
		loop->said_count = 0;
	}
	loop->failures = 0;
}

/*
 * Sends a report until it is acknowledged (true) or never will be (false): the server has no such
 * action any more, or we are to stop. Giving up sooner would leave the workflow stuck.
 */
static bool deliver(struct loop *loop, const struct action_request *request,
		    const struct transport_task *task, const struct report *report)
{
	for (;;) {
		struct error err = {.kind = ERROR_NONE};
		switch (loop->transport->operations->report(loop->transport, request, task, report,
							    &err)) {
		case TRANSPORT_OK:
			server_answers(loop);
			loop->said_count = 0;
			loop->refusals = 0;
			wait_ms(SETTLE_MS);
			return true;
		case TRANSPORT_GONE:
			log_warning("the server refuses the report for good", "workflow",
				    request->workflow_id, "action", request->name, "state",
				    report_state_name(report->state), "error", err.text);
			loop->failures = 0;
			/* A server in such a state is not to be asked without pause. */
			wait_ms(clock_backoff_ms(
				loop->refusals++, BACKOFF_BASE_MS,
				config_duration_ms(loop->config, SETTING_BACKOFF_MAX)));
			return false;
		case TRANSPORT_NOTHING:
		case TRANSPORT_RETRY:
			say_once(loop, LOG_LEVEL_WARNING,
				 "the report could not be delivered, trying on", &err);
			pause_after_failure(loop);
			break;
		case TRANSPORT_CANCELLED:
			break;
		}
		if (signals_stop_requested())
			return false;
	}
}

/* One more RUNNING for an action that a signal has interrupted: the server hands it out again. One
 * try: we are leaving. */
static void tell_interrupted(struct loop *loop, const struct action_request *request,
			     const struct transport_task *task, const struct report *report)
{
	struct error err;
	signals_stop_requested();
	if (loop->transport->operations->report(loop->transport, request, task, report, &err) !=
	    TRANSPORT_OK)
		log_warning("the interruption could not be reported", "action", request->name,
			    "error", err.text);
}

static void log_end(const struct action_request *request, const struct report *report)
{
	char duration[32];
	log_line(report->state == REPORT_SUCCESS ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR, "action ended",
		 "workflow", request->workflow_id, "action", request->name, "state",
		 report_state_name(report->state), "duration",
		 clock_format_duration(report->duration_ms, duration, sizeof(duration)), "reason",
		 report->text, NULL);
}

/* Finds, runs, and fills in the final report. *ret_after says what is to follow a success. Returns
 * how it ended. */
static enum run_state execute(struct loop *loop, const struct action_request *request,
			      const struct transport_task *task, struct report *report,
			      struct action_after *ret_after)
{
	const struct action_policy policy = {config_text(loop->config, SETTING_NATIVE_ACTIONS)};
	struct error err;
	*ret_after = (struct action_after){.kind = AFTER_NOTHING};
	const struct action *action = action_find(request, &policy, &err);
	if (!action) {
		report_failure(report, &err);
		return RUN_FAILED;
	}
	const struct report first = *report;
	struct teller *teller = teller_start(loop->config, request, task, &first);
	const struct run_options options = {.config = loop->config,
					    .group_name = "action",
					    .stop_fd = signals_fd(),
					    .gone_fd = teller_gone_fd(teller),
					    .observer = observer_log(request, teller)};
	struct run_result result;
	run_action(action, request, &options, &result);
	teller_stop(teller);
	report_result(report, &result);
	*ret_after = result.after;
	return result.state;
}

static void do_action(struct loop *loop, const struct action_request *request,
		      const struct transport_task *task)
{
	struct report report;
	struct action_after after;
	report_start(&report, request->name);
	log_info("action received", "workflow", request->workflow_id, "action", request->name,
		 "image", request->image);
	if (!deliver(loop, request, task, &report))
		return;
	enum run_state state = execute(loop, request, task, &report, &after);
	log_end(request, &report);
	if (state == RUN_INTERRUPTED)
		tell_interrupted(loop, request, task, &report);
	if (state == RUN_INTERRUPTED || state == RUN_GONE)
		return;
	if (!deliver(loop, request, task, &report) || report.state != REPORT_SUCCESS)
		return;
	struct error err;
	if (machine_after(&after, request, loop->config, &err) < 0)
		log_error("what was to happen after the action has failed", "action", request->name,
			  "kind", error_kind_name(err.kind), "error", err.text);
}

int loop_run(struct transport *transport, const struct config *config)
{
	struct loop loop = {.transport = transport, .config = config};
	log_info("asking for work", "server", transport->server, "id",
		 config_text(config, SETTING_ID));
	while (!signals_stop_requested()) {
		auto_request struct action_request request = {.timeout_s = 0};
		struct transport_task task = {.task_id = NULL};
		struct error err = {.kind = ERROR_NONE};
		int64_t asked_ms = clock_monotonic_ms();
		switch (transport->operations->get(transport, &request, &task, &err)) {
		case TRANSPORT_OK:
			server_answers(&loop);
			loop.said_count = 0;
			wait_ms(SETTLE_MS);
			do_action(&loop, &request, &task);
			break;
		case TRANSPORT_NOTHING:
			server_answers(&loop);
			say_once(&loop, LOG_LEVEL_INFO, "nothing to do", &err);
			/* The real server holds the question for a minute; one that answers at once
			 * is not to be asked without pause. */
			if (clock_monotonic_ms() - asked_ms < SHORT_ANSWER_MS)
				wait_ms(clock_backoff_ms(
					0, config_duration_ms(config, SETTING_RETRY_INTERVAL),
					INT32_MAX));
			break;
		case TRANSPORT_GONE:
		case TRANSPORT_RETRY:
			say_once(&loop, LOG_LEVEL_WARNING, "the server cannot be asked, trying on",
				 &err);
			pause_after_failure(&loop);
			break;
		case TRANSPORT_CANCELLED:
			break;
		}
		transport_task_free(&task);
	}
	log_info("stopped by a signal");
	return 0;
}
