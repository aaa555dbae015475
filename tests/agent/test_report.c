/* What the server is told: at most 4 KiB, valid UTF-8, without secrets, with the reason. */
#include "tests/unit.h"

#include "agent/report.h"
#include "platform/secret.h"
#include "platform/text.h"

static struct run_result failed(enum error_kind kind, const char *text)
{
	struct run_result result = {.state = RUN_FAILED, .error = {.kind = kind}};
	snprintf(result.error.text, sizeof(result.error.text), "%s", text);
	text_cut_utf8(result.error.text);
	result.start.tv_sec = 100;
	result.stop.tv_sec = 163;
	result.duration_ms = 63000;
	return result;
}

static void tells_what_was_done(void **state)
{
	(void)state;
	struct report report;
	struct run_result result = {.state = RUN_SUCCESS, .duration_ms = 9000};
	strcpy(result.summary, "wrote 2.0 GiB to /dev/sda");
	output_tail_add(&result.tail, "chatter");
	report_result(&report, &result);
	assert_int_equal(report.state, REPORT_SUCCESS);
	assert_string_equal(report.text, "wrote 2.0 GiB to /dev/sda");
	assert_int_equal(report.duration_ms, 9000);
}

static void tells_why_and_the_last_lines(void **state)
{
	(void)state;
	struct report report;
	struct run_result result = failed(ERROR_FAILED, "on /dev/sda1: exit status 100");
	report_result(&report, &result);
	assert_int_equal(report.state, REPORT_FAILED);
	assert_string_equal(report.text, "failed: on /dev/sda1: exit status 100");
	output_tail_add(&result.tail, "reading lists");
	output_tail_add(&result.tail, "E: no such package");
	report_result(&report, &result);
	assert_string_equal(report.text, "failed: on /dev/sda1: exit status 100\nlast output:\n"
					 "reading lists\nE: no such package\n");
	assert_int_equal(report.start.tv_sec, 100);
	assert_int_equal(report.stop.tv_sec, 163);
	assert_int_equal(report.duration_ms, 63000);
}

static void tells_a_timeout_from_an_interruption(void **state)
{
	(void)state;
	struct report report;
	struct run_result result = failed(ERROR_TIMEOUT, "not done within 5 s");
	result.state = RUN_TIMEOUT;
	report_result(&report, &result);
	assert_int_equal(report.state, REPORT_TIMEOUT);
	assert_string_equal(report.text, "timeout: not done within 5 s");
	/* The server hands the action out again only as long as it is RUNNING. */
	result.state = RUN_INTERRUPTED;
	report_result(&report, &result);
	assert_int_equal(report.state, REPORT_RUNNING);
	assert_string_equal(report_state_name(report.state), "RUNNING");
	assert_string_equal(report_state_name(REPORT_TIMEOUT), "TIMEOUT");
}

/* From 1970 to 100 s, from the future, and before there was time. */
static void survives_the_clock_being_set(void **state)
{
	(void)state;
	static const struct {
		int64_t start, stop, expected;
	} cases[] = {{0, 163, 100}, {9999, 163, 100}, {9999, 20, 0}, {100, 163, 100}};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct report report;
		struct run_result result = failed(ERROR_FAILED, "x");
		result.start.tv_sec = cases[i].start;
		result.stop.tv_sec = cases[i].stop;
		report_result(&report, &result);
		assert_int_equal(report.start.tv_sec, cases[i].expected);
		assert_int_equal(report.stop.tv_sec, cases[i].stop);
		assert_int_equal(report.duration_ms, 63000);
	}
}

static void tells_an_interruption_as_such(void **state)
{
	(void)state;
	struct report report;
	struct run_result result = failed(ERROR_CANCELLED, "interrupted, while writing");
	result.state = RUN_INTERRUPTED;
	report_result(&report, &result);
	assert_string_equal(report.text, "interrupted, while writing");
	struct action_progress progress = {.phase = ""};
	report_alive(&report, &progress, 61999);
	assert_string_equal(report.text, "running, 1m1s after the start");
}

static void begins_with_running(void **state)
{
	(void)state;
	struct report report;
	report_start(&report, "stream the image");
	assert_int_equal(report.state, REPORT_RUNNING);
	assert_string_equal(report.text, "running stream the image");
	assert_true(report.start.tv_sec > 1600000000);
}

static void fails_without_having_run(void **state)
{
	(void)state;
	struct report report;
	struct error err;
	error_set(&err, ERROR_UNSUPPORTED, "no action is known by the image \"x\"");
	report_failure(&report, &err);
	assert_int_equal(report.state, REPORT_FAILED);
	assert_string_equal(report.text, "unsupported: no action is known by the image \"x\"");
	assert_true(report.stop.tv_sec > 1600000000);
}

/* Whatever an action says, in whatever bytes. */
static void stays_within_4_kib_of_utf8(void **state)
{
	(void)state;
	static const char *const units[] = {
		"x", "\xff", "\xe2\x82\xac", "\xf0\x9f\x9a\x80", "\033[31m\x01", "\xc3"};
	for (size_t i = 0; i < COUNT(units); i++) {
		for (size_t lead = 0; lead < 4; lead++) {
			char text[4 * ERROR_TEXT_SIZE] = "";
			memset(text, 'a', lead);
			for (size_t at = lead; at + 9 < sizeof(text); at += strlen(units[i]))
				strcpy(text + at, units[i]);
			struct report report;
			struct run_result result = failed(ERROR_IO, text);
			for (int line = 0; line < 20; line++)
				output_tail_add(&result.tail, text + (size_t)line * 100);
			report_result(&report, &result);
			assert_true(strlen(report.text) <= 4096);
			assert_true(text_is_utf8(report.text, strlen(report.text)));
			assert_null(strchr(report.text, '\033'));
			assert_null(strchr(report.text, '\001'));
			assert_int_equal(strncmp(report.text, "i/o: ", 5), 0);
			/* Three bytes for each bad one leave no room for the output; from a child
			 * comes only valid text (record_check()). */
			if (text_is_utf8(result.error.text, strlen(result.error.text)))
				assert_contains(report.text, "last output:");
		}
	}
}

static void hides_secrets(void **state)
{
	(void)state;
	struct report report;
	secret_add("t0psecret");
	struct run_result result = failed(ERROR_DENIED, "login with t0psecret refused");
	output_tail_add(&result.tail, "password=t0psecret");
	report_result(&report, &result);
	assert_string_equal(report.text,
			    "denied: login with *** refused\nlast output:\npassword=***\n");
	result.state = RUN_SUCCESS;
	strcpy(result.summary, "used t0psecret");
	report_result(&report, &result);
	assert_string_equal(report.text, "used ***");
	report_start(&report, "t0psecret");
	assert_string_equal(report.text, "running ***");
}

/* The tail of the output */

static void keeps_the_newest_lines(void **state)
{
	(void)state;
	struct output_tail tail = {.used = 0};
	char line[64];
	for (int i = 0; i < 5000; i++) {
		snprintf(line, sizeof(line), "line number %d", i);
		output_tail_add(&tail, line);
		assert_true(tail.used < TAIL_SIZE);
		assert_int_equal(tail.text[tail.used], '\0');
	}
	assert_string_equal(tail.text + tail.used - 17, "line number 4999\n");
	/* It begins with a whole line, and it is well filled. */
	assert_int_equal(strncmp(tail.text, "line number ", 12), 0);
	assert_true(tail.used > TAIL_SIZE - 64);
}

static void cuts_a_line_that_is_too_long(void **state)
{
	(void)state;
	struct output_tail tail = {.used = 0};
	char line[3 * TAIL_SIZE] = "";
	for (size_t at = 0; at + 4 < sizeof(line); at += 3)
		strcpy(line + at, "\xe2\x82\xac");
	output_tail_add(&tail, "before");
	output_tail_add(&tail, line);
	output_tail_add(&tail, "after");
	assert_contains(tail.text, "after\n");
	assert_true(text_is_utf8(tail.text, tail.used));
	output_tail_add(&tail, "");
	assert_string_equal(tail.text + tail.used - 2, "\n\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tells_what_was_done),
		cmocka_unit_test(tells_why_and_the_last_lines),
		cmocka_unit_test(tells_a_timeout_from_an_interruption),
		cmocka_unit_test(survives_the_clock_being_set),
		cmocka_unit_test(tells_an_interruption_as_such),
		cmocka_unit_test(begins_with_running),
		cmocka_unit_test(fails_without_having_run),
		cmocka_unit_test(stays_within_4_kib_of_utf8),
		cmocka_unit_test(hides_secrets),
		cmocka_unit_test(keeps_the_newest_lines),
		cmocka_unit_test(cuts_a_line_that_is_too_long),
	};
	return cmocka_run_group_tests_name("report", tests, NULL, NULL);
}
