/* Clocks, durations in words, backoff: see clock.h. */
#include "platform/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

int64_t clock_monotonic_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

struct timespec clock_wall(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return now;
}

char *clock_format_utc(struct timespec when, char *out, size_t out_size)
{
	struct tm parts;
	if (!gmtime_r(&when.tv_sec, &parts)) {
		snprintf(out, out_size, "-");
		return out;
	}
	size_t used = strftime(out, out_size, "%Y-%m-%dT%H:%M:%S", &parts);
	if (used < out_size)
		snprintf(out + used, out_size - used, ".%03ldZ", when.tv_nsec / 1000000);
	return out;
}

char *clock_format_duration(int64_t duration_ms, char *out, size_t out_size)
{
	static const struct {
		int64_t ms;
		const char *unit;
	} units[] = {{86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}};
	const size_t count = sizeof(units) / sizeof(units[0]);
	if (duration_ms <= 0) {
		snprintf(out, out_size, "0s");
		return out;
	}
	size_t first = 0;
	while (first + 1 < count && duration_ms < units[first].ms)
		first++;
	int64_t whole = duration_ms / units[first].ms;
	int used = snprintf(out, out_size, "%" PRId64 "%s", whole, units[first].unit);
	if (first + 1 < count && used > 0 && (size_t)used < out_size) {
		int64_t rest = duration_ms % units[first].ms / units[first + 1].ms;
		if (rest > 0)
			snprintf(out + used, out_size - (size_t)used, "%" PRId64 "%s", rest,
				 units[first + 1].unit);
	}
	return out;
}

int64_t clock_backoff_ms(unsigned attempt, int64_t base_ms, int64_t max_ms)
{
	int64_t pause = base_ms > 0 ? base_ms : 1;
	while (attempt-- > 0 && pause < max_ms)
		pause *= 2;
	if (pause > max_ms)
		pause = max_ms;
	uint32_t random = 0;
	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != (ssize_t)sizeof(random))
		random = (uint32_t)clock_wall()
				 .tv_nsec; /* early boot, no entropy yet: good enough for jitter */
	int64_t half = pause / 2;
	return pause - (half > 0 ? (int64_t)(random % (uint64_t)(half + 1)) : 0);
}
