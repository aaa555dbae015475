/* A workflow file in a server's place: see transport_file.h. */
#include "agent/transport_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "actions/request.h"
#include "platform/clock.h"
#include "platform/log.h"
#include "platform/text.h"

/* How an action ended, or that it did not begin. */
enum state {
	STATE_NOT_RUN,
	STATE_RUNNING,
	STATE_SUCCESS,
	STATE_FAILED,
	STATE_TIMEOUT
};

struct outcome {
	enum state state;
	uint64_t tries;
	int64_t duration_ms; /* of all tries */
	char *words;         /* what was done, or why not; NULL: nothing to say */
	char *handler;       /* what became of its on-failure or on-timeout; NULL: none ran */
};

struct file_transport {
	struct transport transport;
	char *name;
	bool table;
	struct workflow *workflow;
	struct outcome *outcomes;
	size_t at;
	bool stopped;   /* an action has failed for good */
	char **handler; /* the command to run after that; borrowed, NULL: none, or done */
	bool in_handler;
	bool running_told; /* RUNNING was reported for this try: another means interrupted */
	bool interrupted;
	bool summed_up;
	int64_t began_ms;
	int64_t deadline_ms;        /* of the workflow; INT64_MAX: none */
	int64_t action_deadline_ms; /* of all tries of the present action */
};

static struct file_transport *self_of(struct transport *transport)
{
	return (struct file_transport *)transport;
}

static int64_t after_s(uint64_t seconds)
{
	return seconds > 0 ? clock_monotonic_ms() + (int64_t)seconds * 1000 : INT64_MAX;
}

static void set_words(struct outcome *outcome, const char *words)
{
	free(outcome->words);
	outcome->words = text_dup(words);
}

/* The time that is left for a try, in whole seconds; 0: no limit. False: it is over. */
static bool time_left(const struct file_transport *self, uint64_t *ret_timeout_s)
{
	int64_t deadline = self->deadline_ms < self->action_deadline_ms ? self->deadline_ms
									: self->action_deadline_ms;
	int64_t left = deadline == INT64_MAX ? 0 : deadline - clock_monotonic_ms();
	*ret_timeout_s = (uint64_t)(left + 999) / 1000;
	return deadline == INT64_MAX || left > 0;
}

static enum transport_answer give_handler(struct file_transport *self,
					  struct action_request *ret_request,
					  struct transport_task *ret_task)
{
	const struct workflow_action *action = &self->workflow->actions[self->at];
	bool failed = self->handler == action->on_failure;
	struct action_request request = action->request;
	request.command = self->handler;
	request.timeout_s = 0;
	auto_free char *name =
		text_format("%s (%s)", action->request.name, failed ? "on-failure" : "on-timeout");
	auto_free char *id = text_format("%s.2", action->request.id);
	/* A command that means a reboot does so under any image, but not under one of ours. */
	uint32_t delay_s;
	char image[] = "command";
	if (command_meaning(self->handler, &delay_s) != AFTER_NOTHING)
		request.image = image;
	request.name = name;
	request.id = id;
	action_request_copy(&request, ret_request);
	*ret_task = (struct transport_task){.task_id = text_dup(action->task),
					    .agent_id = text_dup("")};
	self->handler = NULL;
	self->in_handler = true;
	self->running_told = false;
	return TRANSPORT_OK;
}

static enum transport_answer get(struct transport *transport, struct action_request *ret_request,
				 struct transport_task *ret_task, struct error *err)
{
	struct file_transport *self = self_of(transport);
	(void)err;
	if (self->stopped)
		return self->handler ? give_handler(self, ret_request, ret_task) : TRANSPORT_END;
	if (self->at == self->workflow->count)
		return TRANSPORT_END;
	const struct workflow_action *action = &self->workflow->actions[self->at];
	struct outcome *outcome = &self->outcomes[self->at];
	uint64_t timeout_s;
	if (outcome->tries == 0)
		self->action_deadline_ms =
			after_s(action->request.timeout_s ? action->request.timeout_s
							  : action->action->default_timeout_s);
	if (!time_left(self, &timeout_s)) {
		outcome->state = STATE_TIMEOUT;
		set_words(outcome, "the time of the workflow (global_timeout) is over");
		self->stopped = true;
		return TRANSPORT_END;
	}
	action_request_copy(&action->request, ret_request);
	ret_request->timeout_s = timeout_s;
	*ret_task = (struct transport_task){.task_id = text_dup(action->task),
					    .agent_id = text_dup("")};
	self->running_told = false;
	return TRANSPORT_OK;
}

static const char *state_word(enum state state)
{
	static const char *const words[] = {"not run", "RUNNING", "SUCCESS", "FAILED", "TIMEOUT"};
	return words[state];
}

static enum workflow_outcome outcome_of(const struct file_transport *self)
{
	if (self->interrupted)
		return WORKFLOW_INTERRUPTED;
	for (size_t i = 0; i < self->workflow->count; i++) {
		if (self->outcomes[i].state == STATE_TIMEOUT)
			return WORKFLOW_TIMEOUT;
		if (self->outcomes[i].state != STATE_SUCCESS)
			return WORKFLOW_FAILED;
	}
	return WORKFLOW_SUCCESS;
}

static const char *outcome_word(enum workflow_outcome outcome)
{
	switch (outcome) {
	case WORKFLOW_SUCCESS:
		return "SUCCESS";
	case WORKFLOW_FAILED:
		return "FAILED";
	case WORKFLOW_TIMEOUT:
		return "TIMEOUT";
	case WORKFLOW_INTERRUPTED:
		return "interrupted";
	}
	return "";
}

/* One line an action; of a reason that has several lines the first. */
static void print_table(const struct file_transport *self, FILE *out)
{
	int widest = 6;
	for (size_t i = 0; i < self->workflow->count; i++) {
		int width = (int)strlen(self->workflow->actions[i].request.name);
		if (width > widest && width <= 40)
			widest = width;
	}
	for (size_t i = 0; i < self->workflow->count; i++) {
		const struct outcome *outcome = &self->outcomes[i];
		const char *words = outcome->words ? outcome->words : "";
		char duration[32] = "";
		if (outcome->state != STATE_NOT_RUN)
			clock_format_duration(outcome->duration_ms, duration, sizeof(duration));
		fprintf(out, "%3zu  %-*s  %-11s  %9s  %.*s", i + 1, widest,
			self->workflow->actions[i].request.name,
			outcome->state == STATE_RUNNING ? "interrupted"
							: state_word(outcome->state),
			duration, (int)strcspn(words, "\n"), words);
		if (outcome->tries > 1)
			fprintf(out, " (try %zu)", (size_t)outcome->tries);
		fputs("\n", out);
		if (outcome->handler)
			fprintf(out, "     then  %.*s\n", (int)strcspn(outcome->handler, "\n"),
				outcome->handler);
	}
}

static void sum_up(struct file_transport *self)
{
	char duration[32], done[48];
	size_t successes = 0;
	enum workflow_outcome outcome = outcome_of(self);
	if (self->summed_up)
		return;
	self->summed_up = true;
	for (size_t i = 0; i < self->workflow->count; i++)
		successes += self->outcomes[i].state == STATE_SUCCESS;
	snprintf(done, sizeof(done), "%zu of %zu", successes, self->workflow->count);
	clock_format_duration(clock_monotonic_ms() - self->began_ms, duration, sizeof(duration));
	log_line(outcome == WORKFLOW_SUCCESS ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR, "workflow ended",
		 "workflow", self->workflow->name, "state", outcome_word(outcome), "duration",
		 duration, "actions", done, NULL);
	if (!self->table)
		return;
	printf("\nworkflow %s: %s, %s actions in %s\n", self->workflow->name, outcome_word(outcome),
	       done, duration);
	print_table(self, stdout);
	fflush(stdout);
}

/* A try has ended. */
static void take_end(struct file_transport *self, const struct report *report)
{
	const struct workflow_action *action = &self->workflow->actions[self->at];
	struct outcome *outcome = &self->outcomes[self->at];
	uint64_t left_s;
	outcome->tries++;
	outcome->duration_ms += report->duration_ms;
	set_words(outcome, report->text);
	outcome->state = report->state == REPORT_SUCCESS  ? STATE_SUCCESS
			 : report->state == REPORT_FAILED ? STATE_FAILED
							  : STATE_TIMEOUT;
	if (report->state == REPORT_SUCCESS) {
		if (++self->at == self->workflow->count)
			sum_up(self);
		return;
	}
	if (report->state == REPORT_FAILED && outcome->tries <= action->retries &&
	    time_left(self, &left_s)) {
		log_warning("the action is tried again", "action", action->request.name, "try",
			    LOG_NUMBER(outcome->tries + 1), "of", LOG_NUMBER(action->retries + 1));
		return;
	}
	self->stopped = true;
	self->handler = report->state == REPORT_FAILED ? action->on_failure : action->on_timeout;
}

static enum transport_answer take_report(struct transport *transport,
					 const struct action_request *request,
					 const struct transport_task *task,
					 const struct report *report, struct error *err)
{
	struct file_transport *self = self_of(transport);
	(void)task;
	(void)err;
	if (self->in_handler && report->state != REPORT_RUNNING) {
		self->outcomes[self->at].handler =
			text_format("%s: %s, %s", request->name, report_state_name(report->state),
				    report->text);
		/* It may be a reboot that comes next. */
		sum_up(self);
	} else if (report->state == REPORT_RUNNING) {
		self->interrupted = self->running_told;
		if (!self->in_handler && self->at < self->workflow->count)
			self->outcomes[self->at].state = STATE_RUNNING;
		if (self->interrupted && !self->in_handler)
			set_words(&self->outcomes[self->at], report->text);
		self->running_told = true;
	} else {
		take_end(self, report);
	}
	return TRANSPORT_OK;
}

static void close_file(struct transport *transport)
{
	struct file_transport *self = self_of(transport);
	for (size_t i = 0; i < self->workflow->count; i++) {
		free(self->outcomes[i].words);
		free(self->outcomes[i].handler);
	}
	free(self->outcomes);
	workflow_free(self->workflow);
	free(self->name);
	free(self);
}

struct transport *transport_file_new(struct workflow *workflow, const char *name, bool table)
{
	static const struct transport_operations operations = {
		.get = get, .report = take_report, .close = close_file};
	struct file_transport *self = calloc(1, sizeof(*self));
	if (!self)
		abort();
	self->outcomes = calloc(workflow->count + 1, sizeof(*self->outcomes));
	if (!self->outcomes)
		abort();
	self->name = text_dup(name);
	self->transport = (struct transport){.operations = &operations, .server = self->name};
	self->workflow = workflow;
	self->table = table;
	self->began_ms = clock_monotonic_ms();
	self->deadline_ms = after_s(workflow->timeout_s);
	return &self->transport;
}

enum workflow_outcome transport_file_finish(struct transport *transport)
{
	struct file_transport *self = self_of(transport);
	/* Between two actions there is nothing that could have been reported. */
	if (!self->stopped && self->at < self->workflow->count)
		self->interrupted = true;
	sum_up(self);
	return outcome_of(self);
}

static enum transport_answer get_nothing(struct transport *transport,
					 struct action_request *ret_request,
					 struct transport_task *ret_task, struct error *err)
{
	(void)transport;
	(void)ret_request;
	(void)ret_task;
	(void)err;
	return TRANSPORT_END;
}

static enum transport_answer take_silently(struct transport *transport,
					   const struct action_request *request,
					   const struct transport_task *task,
					   const struct report *report, struct error *err)
{
	(void)transport;
	(void)request;
	(void)task;
	(void)report;
	(void)err;
	return TRANSPORT_OK;
}

static void close_nothing(struct transport *transport)
{
	(void)transport;
}

struct transport *transport_file_mute(void)
{
	static const struct transport_operations operations = {
		.get = get_nothing, .report = take_silently, .close = close_nothing};
	static struct transport mute = {.operations = &operations, .server = "a file"};
	return &mute;
}
