/* Times and durations in words, backoff. */
#include "tests/unit.h"

#include "platform/clock.h"

static void writes_times_in_utc(void **state)
{
	(void)state;
	char out[40];
	/* The 3rd of February 2001, 04:05:06.789 UTC, wherever the tests run. */
	setenv("TZ", "America/New_York", 1);
	tzset();
	const struct timespec when = {.tv_sec = 981173106, .tv_nsec = 789999999};
	assert_string_equal(clock_format_utc(when, out, sizeof(out)), "2001-02-03T04:05:06.789Z");
	const struct timespec epoch = {.tv_sec = 0};
	assert_string_equal(clock_format_utc(epoch, out, sizeof(out)), "1970-01-01T00:00:00.000Z");
	const struct timespec never = {.tv_sec = INT64_MAX};
	assert_string_equal(clock_format_utc(never, out, sizeof(out)), "-");
}

static void writes_durations_in_two_units(void **state)
{
	(void)state;
	static const struct {
		int64_t ms;
		const char *expected;
	} cases[] = {
		{-5, "0s"},      {0, "0s"},          {7, "7ms"},         {999, "999ms"},
		{1000, "1s"},    {45012, "45s12ms"}, {63000, "1m3s"},    {63999, "1m3s"},
		{3600000, "1h"}, {3661000, "1h1m"},  {90000000, "1d1h"}, {86400000, "1d"},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		char out[32];
		assert_string_equal(clock_format_duration(cases[i].ms, out, sizeof(out)),
				    cases[i].expected);
	}
}

/* Each pause lies between half of its step and the whole, and all values are not the same. */
static void backs_off_with_jitter(void **state)
{
	(void)state;
	static const int64_t steps[] = {500, 1000, 2000, 4000, 5000, 5000};
	for (unsigned attempt = 0; attempt < COUNT(steps); attempt++) {
		int64_t least = INT64_MAX, most = 0;
		for (int i = 0; i < 200; i++) {
			int64_t pause = clock_backoff_ms(attempt, 500, 5000);
			assert_true(pause >= steps[attempt] / 2 && pause <= steps[attempt]);
			least = pause < least ? pause : least;
			most = pause > most ? pause : most;
		}
		assert_true(most - least > steps[attempt] / 8);
	}
	assert_true(clock_backoff_ms(UINT32_MAX, 500, 5000) <= 5000);
	assert_true(clock_backoff_ms(3, 0, 5000) >= 1);
	assert_true(clock_backoff_ms(0, 500, 100) <= 100);
}

static void never_goes_back(void **state)
{
	(void)state;
	int64_t last = clock_monotonic_ms();
	for (int i = 0; i < 10000; i++) {
		int64_t now = clock_monotonic_ms();
		assert_true(now >= last);
		last = now;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writes_times_in_utc),
		cmocka_unit_test(writes_durations_in_two_units),
		cmocka_unit_test(backs_off_with_jitter),
		cmocka_unit_test(never_goes_back),
	};
	return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
