/* The words of a report: see report.h. */
#include "agent/report.h"

#include <stdio.h>
#include <string.h>

#include "platform/clock.h"
#include "platform/secret.h"
#include "platform/text.h"

enum {
	CLOCK_SLACK_MS = 1000
};

static int64_t timespec_ms(const struct timespec *when)
{
	return (int64_t)when->tv_sec * 1000 + when->tv_nsec / 1000000;
}

const char *report_state_name(enum report_state state)
{
	static const char *const names[] = {"RUNNING", "SUCCESS", "FAILED", "TIMEOUT"};
	return names[state];
}

/* Hides secrets and makes the text valid; it can only get shorter. */
static void set_text(struct report *report, const char *text)
{
	char whole[2 * REPORT_TEXT_SIZE];
	text_sanitize(text, strlen(text), whole, sizeof(whole));
	secret_redact(whole);
	snprintf(report->text, sizeof(report->text), "%s", whole);
	text_cut_utf8(report->text);
}

void report_start(struct report *report, const char *action_name)
{
	char text[256];
	*report = (struct report){.state = REPORT_RUNNING, .start = clock_wall()};
	snprintf(text, sizeof(text), "running %.200s", action_name);
	set_text(report, text);
}

void report_progress(struct report *report, const struct action_progress *progress)
{
	char text[256];
	set_text(report, action_progress_text(progress, text, sizeof(text)));
}

void report_alive(struct report *report, const struct action_progress *progress, int64_t elapsed_ms)
{
	char text[256], line[320], elapsed[32];
	snprintf(line, sizeof(line), "%s, %s after the start",
		 progress->phase[0] ? action_progress_text(progress, text, sizeof(text))
				    : "running",
		 clock_format_duration(elapsed_ms / 1000 * 1000, elapsed, sizeof(elapsed)));
	set_text(report, line);
}

/* The clock may have been set while the action ran: then the end is right, and the duration. */
static struct timespec start_of(const struct run_result *result)
{
	int64_t start_ms = timespec_ms(&result->start);
	int64_t before_ms = timespec_ms(&result->stop) - result->duration_ms;
	int64_t apart_ms = start_ms - before_ms;
	if (apart_ms > -CLOCK_SLACK_MS && apart_ms < CLOCK_SLACK_MS)
		return result->start;
	if (before_ms < 0)
		before_ms = 0;
	return (struct timespec){.tv_sec = before_ms / 1000, .tv_nsec = before_ms % 1000 * 1000000};
}

void report_result(struct report *report, const struct run_result *result)
{
	static const enum report_state states[] = {
		[RUN_SUCCESS] = REPORT_SUCCESS, [RUN_FAILED] = REPORT_FAILED,
		[RUN_TIMEOUT] = REPORT_TIMEOUT, [RUN_INTERRUPTED] = REPORT_RUNNING,
		[RUN_GONE] = REPORT_FAILED,
	};
	char text[ERROR_TEXT_SIZE + TAIL_SIZE + 64];
	/* An interruption is no kind of failure: its report begins with the word itself. */
	bool kind = result->state != RUN_INTERRUPTED;
	*report = (struct report){.state = states[result->state],
				  .start = start_of(result),
				  .stop = result->stop,
				  .duration_ms = result->duration_ms};
	if (result->state == RUN_SUCCESS)
		snprintf(text, sizeof(text), "%s", result->summary);
	else if (result->tail.used > 0)
		snprintf(text, sizeof(text), "%s%s%s\nlast output:\n%s",
			 kind ? error_kind_name(result->error.kind) : "", kind ? ": " : "",
			 result->error.text, result->tail.text);
	else
		snprintf(text, sizeof(text), "%s%s%s",
			 kind ? error_kind_name(result->error.kind) : "", kind ? ": " : "",
			 result->error.text);
	set_text(report, text);
}

void report_failure(struct report *report, const struct error *err)
{
	struct timespec now = clock_wall();
	char text[ERROR_TEXT_SIZE + 32];
	*report = (struct report){.state = REPORT_FAILED, .start = now, .stop = now};
	snprintf(text, sizeof(text), "%s: %s", error_kind_name(err->kind), err->text);
	set_text(report, text);
}
