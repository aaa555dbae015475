/*
 * The signals that end the worker, as a descriptor.
 */
#include "tests/unit.h"

#include <poll.h>
#include <signal.h>

#include "agent/signals.h"

static bool readable(int timeout_ms)
{
	struct pollfd fd = {.fd = signals_fd(), .events = POLLIN};
	return poll(&fd, 1, timeout_ms) == 1;
}

/* One process, one life: what comes later builds on what was before. */
static void a_last_report_has_its_span(void **state)
{
	(void)state;
	struct error err;
	assert_ok(signals_open(&err));
	assert_false(readable(0));
	assert_false(signals_stop_requested());
	/* A report that nothing happened to. */
	signals_hold(1);
	assert_false(readable(0));
	signals_release();
	assert_false(signals_grace_over());
	/* Asked to stop while there is none under way: seen at once. */
	kill(getpid(), SIGTERM);
	assert_true(readable(0));
	assert_true(signals_stop_requested());
	assert_false(readable(0));
	/* The next one has its span from its own beginning, and no more. */
	signals_hold(1);
	assert_false(readable(0));
	assert_false(signals_grace_over());
	assert_true(readable(20000));
	assert_true(signals_grace_over());
	signals_release();
	assert_true(signals_stop_requested());
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(a_last_report_has_its_span)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
