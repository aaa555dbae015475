/*
 * The loop. Reports are strictly serial, no action starts before its RUNNING is acknowledged, and
 * nothing is said about an action after its final report was: every report moves the server's
 * cursor.
 */
#include "agent/loop.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "actions/actions.h"
#include "actions/request.h"
#include "agent/aftermath.h"
#include "agent/bundle.h"
#include "agent/machine.h"
#include "agent/news.h"
#include "agent/observer.h"
#include "agent/signals.h"
#include "agent/teller.h"
#include "platform/clock.h"
#include "platform/log.h"
#include "platform/text.h"

/*
 * SETTLE_MS: a call that comes within a few milliseconds of the one before meets the real server's
 * stale cache, and costs a second of its own retries; after 5 ms it does not (measured with v0.25).
 * STILL_MS: how often a server that goes on failing is mentioned. LAST_WORD_S: what a worker
 * that is to stop still spends on a report that would be lost with it.
 */
enum {
	SETTLE_MS = 6,
	STILL_MS = 600000,
	BACKOFF_BASE_MS = 500,
	PAUSE_LEAST_MS = 50,
	SHORT_ANSWER_MS = 1000,
	LAST_WORD_S = 5
};

/* The last action whose end the server has acknowledged. */
struct done {
	char *workflow_id;
	char *action_id;
	struct report report;
	bool doubtful;  /* a RUNNING about it may yet reach the server: it would be served again */
	unsigned again; /* how often it was served again since */
};

struct loop {
	struct transport *transport;
	const struct config *config;
	struct news news;         /* of the server, since its state changed */
	unsigned failures;        /* in a row */
	int64_t failing_since_ms; /* with failures */
	int64_t said_ms;
	int64_t worked_ms; /* when the server has last taken or handed out something */
	unsigned refusals; /* of reports, for good, in a row */
	struct done done;
};

/* Waits; a signal ends it early. */
static void wait_ms(int64_t ms)
{
	struct pollfd fd = {.fd = signals_fd(), .events = POLLIN};
	poll(&fd, 1, ms < INT32_MAX ? (int)ms : INT32_MAX);
}

/* A setting of 0 is no reason to ask a server without pause. */
static void back_off(const struct loop *loop, unsigned attempt)
{
	int64_t pause = clock_backoff_ms(attempt, BACKOFF_BASE_MS,
					 config_duration_ms(loop->config, SETTING_BACKOFF_MAX));
	wait_ms(pause > PAUSE_LEAST_MS ? pause : PAUSE_LEAST_MS);
}

static void server_fails(struct loop *loop, const char *message, const struct error *err)
{
	int64_t now_ms = clock_monotonic_ms();
	char since[32], tries[24];
	if (loop->failures == 0) {
		news_forget(&loop->news);
		loop->failing_since_ms = now_ms;
	}
	loop->failures++;
	if (news_is(&loop->news, err)) {
		log_warning(message, "server", loop->transport->server, "error", err->text);
		loop->said_ms = now_ms;
	} else if (now_ms - loop->said_ms >= STILL_MS) {
		log_warning("the server still does not answer as it should", "server",
			    loop->transport->server, "since",
			    clock_format_duration(now_ms - loop->failing_since_ms, since,
						  sizeof(since)),
			    "tries", log_number(loop->failures, tries), "error", err->text);
		loop->said_ms = now_ms;
	}
	back_off(loop, loop->failures - 1);
}

static void server_answers(struct loop *loop)
{
	char since[32], tries[24];
	if (loop->failures == 0)
		return;
	log_info("the server answers again", "server", loop->transport->server, "after",
		 clock_format_duration(clock_monotonic_ms() - loop->failing_since_ms, since,
				       sizeof(since)),
		 "tries", log_number(loop->failures, tries));
	loop->failures = 0;
	news_forget(&loop->news);
}

/* The server has taken something or handed something out: what it said before is over. */
static void server_works(struct loop *loop)
{
	server_answers(loop);
	news_forget(&loop->news);
	loop->worked_ms = clock_monotonic_ms();
}

/* Before every call: the time that an action begins or takes needs no waiting. */
static void settle(const struct loop *loop)
{
	int64_t left = loop->worked_ms + SETTLE_MS - clock_monotonic_ms();
	if (loop->worked_ms > 0 && left > 0)
		wait_ms(left);
}

/* One try. True: it is answered for good, see *ret_taken. */
static bool try_report(struct loop *loop, const struct action_request *request,
		       const struct transport_task *task, const struct report *report,
		       bool *ret_taken)
{
	struct error err = {.kind = ERROR_NONE};
	*ret_taken = false;
	settle(loop);
	switch (loop->transport->operations->report(loop->transport, request, task, report, &err)) {
	case TRANSPORT_OK:
		server_works(loop);
		loop->refusals = 0;
		*ret_taken = true;
		return true;
	case TRANSPORT_GONE:
		server_answers(loop);
		log_warning("the server refuses the report for good", "workflow",
			    request->workflow_id, "action", request->name, "state",
			    report_state_name(report->state), "error", err.text);
		/* A server in such a state is not to be asked without pause. */
		back_off(loop, loop->refusals++);
		return true;
	case TRANSPORT_NOTHING:
	case TRANSPORT_RETRY:
		server_fails(loop, "the report could not be delivered, trying on", &err);
		break;
	case TRANSPORT_CANCELLED:
	case TRANSPORT_END:
		break;
	}
	return false;
}

/*
 * Sends RUNNING for an action to be begun until it is acknowledged (true) or never will be (false):
 * the server has no such action any more, or we are to stop. *ret_doubtful becomes true when what
 * became of a try is not known.
 */
static bool deliver_start(struct loop *loop, const struct action_request *request,
			  const struct transport_task *task, const struct report *report,
			  bool *ret_doubtful)
{
	bool taken;
	while (!try_report(loop, request, task, report, &taken)) {
		*ret_doubtful = true;
		if (signals_stop_requested())
			return false;
	}
	return taken;
}

/* The same for a report that would be lost with us: giving up leaves the workflow stuck, or has
 * work done again. One that is under way when we are to stop is given a moment more. */
static bool deliver_end(struct loop *loop, const struct action_request *request,
			const struct transport_task *task, const struct report *report)
{
	bool taken = false;
	signals_hold(LAST_WORD_S);
	while (!try_report(loop, request, task, report, &taken)) {
		if (signals_grace_over()) {
			log_warning("stopped before the report was delivered: the server will hand "
				    "the action out again",
				    "workflow", request->workflow_id, "action", request->name,
				    "state", report_state_name(report->state));
			break;
		}
	}
	signals_release();
	return taken;
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

/* Finds, runs, and fills in the final report. *ret_after says what is to follow a success,
 * *ret_doubtful becomes true when what became of a report is not known. Returns how it ended. */
static enum run_state execute(struct loop *loop, const struct action_request *request,
			      const struct transport_task *task, struct report *report,
			      struct action_after *ret_after, bool *ret_doubtful)
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
	aftermath_run(action, request, task, &options, &result);
	if (teller_stop(teller))
		*ret_doubtful = true;
	report_result(report, &result);
	*ret_after = result.after;
	return result.state;
}

static void forget_done(struct loop *loop)
{
	free(loop->done.workflow_id);
	free(loop->done.action_id);
	loop->done = (struct done){.again = 0};
}

static void remember_done(struct loop *loop, const struct action_request *request,
			  const struct report *report, bool doubtful)
{
	unsigned again = loop->done.again;
	forget_done(loop);
	loop->done = (struct done){.workflow_id = text_dup(request->workflow_id),
				   .action_id = text_dup(request->id),
				   .report = *report,
				   .doubtful = doubtful,
				   .again = again};
}

static bool is_done(const struct loop *loop, const struct action_request *request)
{
	const struct done *done = &loop->done;
	return done->action_id && strcmp(done->action_id, request->id) == 0 &&
	       strcmp(done->workflow_id, request->workflow_id) == 0;
}

/*
 * The server hands out an action whose end it has just acknowledged. If a RUNNING of ours may have
 * reached it late, that is why: it is told again how the action ended (true). Else it has its
 * reasons (an older state, restored), and the action is run again; not in a tight loop.
 */
static bool told_again(struct loop *loop, const struct action_request *request,
		       const struct transport_task *task)
{
	struct done *done = &loop->done;
	if (!is_done(loop, request)) {
		forget_done(loop);
		return false;
	}
	/* The older generation has no ids of actions: it may be another workflow's, of the same
	 * name. */
	bool late = done->doubtful && task->generation == TRANSPORT_CURRENT;
	if (done->again == 0 || late)
		log_warning("the server hands out an action whose end it has acknowledged",
			    "workflow", request->workflow_id, "action", request->name, "state",
			    report_state_name(done->report.state), "then",
			    late ? "it is told again" : "it is run again");
	if (!late) {
		back_off(loop, done->again++);
		return false;
	}
	struct report running;
	report_start(&running, request->name);
	done->doubtful = false;
	if (deliver_start(loop, request, task, &running, &done->doubtful))
		deliver_end(loop, request, task, &done->report);
	return true;
}

static void do_action(struct loop *loop, const struct action_request *request,
		      const struct transport_task *task)
{
	struct report report;
	struct action_after after;
	bool doubtful = false;
	report_start(&report, request->name);
	log_info("action received", "workflow", request->workflow_id, "action", request->name,
		 "image", request->image);
	if (!deliver_start(loop, request, task, &report, &doubtful))
		return;
	enum run_state state = execute(loop, request, task, &report, &after, &doubtful);
	log_end(request, &report);
	/* An interruption is told by one more RUNNING: the server hands the action out again. */
	if (state == RUN_GONE)
		return;
	bool taken = deliver_end(loop, request, task, &report);
	/* All the more when the server does not want to know. */
	if (taken || !signals_stop_requested())
		bundle_upload(loop->config, request, &report);
	if (taken && report.state != REPORT_RUNNING)
		remember_done(loop, request, &report, doubtful);
	if (!taken || report.state != REPORT_SUCCESS)
		return;
	struct error err;
	if (machine_after(&after, request, loop->config, &err) < 0)
		log_error("what was to happen after the action has failed", "action", request->name,
			  "kind", error_kind_name(err.kind), "error", err.text);
}

/* The server has nothing to do for us. The real one holds the question for a minute; one that
 * answers at once is not to be asked without pause. */
static void rest(struct loop *loop, int64_t asked_ms, const struct error *answer)
{
	server_answers(loop);
	if (news_is(&loop->news, answer))
		log_info("nothing to do", "server", loop->transport->server, "error", answer->text);
	if (clock_monotonic_ms() - asked_ms >= SHORT_ANSWER_MS)
		return;
	int64_t pause = clock_backoff_ms(
		0, config_duration_ms(loop->config, SETTING_RETRY_INTERVAL), INT32_MAX);
	wait_ms(pause > PAUSE_LEAST_MS ? pause : PAUSE_LEAST_MS);
}

int loop_run(struct transport *transport, const struct config *config)
{
	struct loop loop = {.transport = transport, .config = config};
	log_info("asking for work", "server", transport->server, "id",
		 config_text(config, SETTING_ID));
	bool more = true;
	while (more && !signals_stop_requested()) {
		auto_request struct action_request request = {.timeout_s = 0};
		struct transport_task task = {.task_id = NULL};
		struct error err = {.kind = ERROR_NONE};
		settle(&loop);
		int64_t asked_ms = clock_monotonic_ms();
		switch (transport->operations->get(transport, &request, &task, &err)) {
		case TRANSPORT_OK:
			server_works(&loop);
			if (!told_again(&loop, &request, &task))
				do_action(&loop, &request, &task);
			break;
		case TRANSPORT_NOTHING:
			rest(&loop, asked_ms, &err);
			break;
		case TRANSPORT_GONE:
		case TRANSPORT_RETRY:
			server_fails(&loop, "the server cannot be asked, trying on", &err);
			break;
		case TRANSPORT_CANCELLED:
			break;
		case TRANSPORT_END:
			more = false;
			break;
		}
		transport_task_free(&task);
	}
	forget_done(&loop);
	if (more)
		log_info("stopped by a signal");
	return 0;
}
