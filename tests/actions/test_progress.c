/* Telling how far an action is: in words, and by the thread. */
#include "tests/unit.h"

#include <pthread.h>

#include "actions/progress.h"
#include "platform/clock.h"
#include "platform/log.h"

static void puts_it_in_words(void **state)
{
	(void)state;
	char text[200];
	struct action_progress progress = {.phase = "writing"};
	assert_string_equal(action_progress_text(&progress, text, sizeof(text)), "writing");
	progress.bytes_in = 3 << 20;
	progress.bytes_out = 10 << 20;
	assert_string_equal(action_progress_text(&progress, text, sizeof(text)),
			    "writing: 3.0 MiB received, 10.0 MiB done");
	progress.done = 10;
	progress.total = 40;
	progress.rate_bytes_s = 5 << 20;
	progress.left_ms = 6000;
	assert_string_equal(action_progress_text(&progress, text, sizeof(text)),
			    "writing: 3.0 MiB received, 10.0 MiB done (25%), 5.0 MiB/s, left 6s");
	/* What an action sends is not trusted to be short, or text. */
	memset(progress.phase, 'x', sizeof(progress.phase) - 1);
	progress.bytes_in = progress.bytes_out = progress.rate_bytes_s = UINT64_MAX;
	progress.done = UINT64_MAX;
	progress.total = 1;
	progress.left_ms = INT64_MAX;
	char small[20];
	assert_int_equal(strlen(action_progress_text(&progress, small, sizeof(small))), 19);
}

/* What was told, guarded by the lock. */
static struct {
	pthread_mutex_t lock;
	uint64_t done;
	unsigned told;
	struct action_progress last;
} world = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void measure(void *context, struct action_progress *progress)
{
	assert_ptr_equal(context, &world);
	pthread_mutex_lock(&world.lock);
	progress->bytes_in = progress->bytes_out = progress->done = world.done;
	progress->total = 1 << 30;
	pthread_mutex_unlock(&world.lock);
}

static void note(void *reporter, const struct action_progress *progress)
{
	assert_ptr_equal(reporter, &world);
	pthread_mutex_lock(&world.lock);
	world.told++;
	world.last = *progress;
	pthread_mutex_unlock(&world.lock);
}

static unsigned told(void)
{
	pthread_mutex_lock(&world.lock);
	unsigned count = world.told;
	pthread_mutex_unlock(&world.lock);
	return count;
}

static void tells_by_itself(void **state)
{
	(void)state;
	struct error err;
	struct progress *progress;
	struct action_context action = {.report = note, .reporter = &world};
	log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_PLAIN);
	world.done = 100 << 20;
	assert_ok(progress_start(&action, 3600, "first", measure, &world, &progress, &err));
	pthread_mutex_lock(&world.lock);
	world.done = 200 << 20;
	pthread_mutex_unlock(&world.lock);
	int64_t deadline_ms = clock_monotonic_ms() + 10000;
	while (told() < 2) {
		assert_true(clock_monotonic_ms() < deadline_ms);
		sched_yield();
	}
	pthread_mutex_lock(&world.lock);
	struct action_progress last = world.last;
	pthread_mutex_unlock(&world.lock);
	assert_string_equal(last.phase, "first");
	assert_int_equal(last.done, 200 << 20);
	/* 100 MiB since it began, and 824 to go. */
	assert_true(last.rate_bytes_s > 0 && last.left_ms > 0);
	assert_true((double)last.left_ms / 8.24 * (double)last.rate_bytes_s / 1000 >
		    0.5 * (100 << 20));
	/* Another phase is told at once, and its rate is its own. */
	unsigned before = told();
	progress_phase(progress, "second");
	assert_true(told() > before);
	pthread_mutex_lock(&world.lock);
	assert_string_equal(world.last.phase, "second");
	assert_int_equal(world.last.rate_bytes_s, 0);
	pthread_mutex_unlock(&world.lock);
	progress_stop(progress);
	progress_phase(NULL, "none");
	progress_stop(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(puts_it_in_words),
		cmocka_unit_test(tells_by_itself),
	};
	return cmocka_run_group_tests_name("progress", tests, NULL, NULL);
}
