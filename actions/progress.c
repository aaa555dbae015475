/* Telling how far an action is: see progress.h, and action.h for the words. */
#include "actions/progress.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "platform/cleanup.h"
#include "platform/clock.h"
#include "platform/log.h"
#include "platform/text.h"

enum {
	TICK_MS = 250
};

struct progress {
	struct action_context *action;
	progress_source *source;
	void *context;
	int64_t log_every_ms;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool stop;
	char phase[PHASE_SIZE];
	int64_t phase_ms; /* when it began */
	uint64_t phase_bytes_out, phase_done;
	int64_t logged_ms;
};

char *action_progress_text(const struct action_progress *progress, char *out, size_t out_size)
{
	char in[32], done[32], rate[32], left[32], text[300];
	int used = snprintf(text, sizeof(text), "%s", progress->phase);
	if (progress->bytes_in || progress->bytes_out)
		used += snprintf(text + used, sizeof(text) - (size_t)used, ": %s received, %s done",
				 text_bytes(progress->bytes_in, in, sizeof(in)),
				 text_bytes(progress->bytes_out, done, sizeof(done)));
	if (progress->total > 0)
		used += snprintf(text + used, sizeof(text) - (size_t)used, " (%.0f%%)",
				 100.0 * (double)progress->done / (double)progress->total);
	if (progress->rate_bytes_s > 0)
		used += snprintf(text + used, sizeof(text) - (size_t)used, ", %s/s",
				 text_bytes(progress->rate_bytes_s, rate, sizeof(rate)));
	if (progress->left_ms > 0)
		snprintf(text + used, sizeof(text) - (size_t)used, ", left %s",
			 clock_format_duration(progress->left_ms, left, sizeof(left)));
	text_sanitize(text, strlen(text), out, out_size);
	return out;
}

/* Rate and remaining time, from what was done in this phase. */
static void estimate(const struct progress *progress, int64_t now_ms,
		     struct action_progress *record)
{
	int64_t elapsed_ms = now_ms - progress->phase_ms;
	if (elapsed_ms <= 0)
		return;
	if (record->bytes_out > progress->phase_bytes_out)
		record->rate_bytes_s = (record->bytes_out - progress->phase_bytes_out) * 1000 /
				       (uint64_t)elapsed_ms;
	if (record->done > progress->phase_done && record->done < record->total)
		record->left_ms =
			(int64_t)((double)elapsed_ms * (double)(record->total - record->done) /
				  (double)(record->done - progress->phase_done));
}

/* With the lock held. */
static void tell(struct progress *progress)
{
	int64_t now_ms = clock_monotonic_ms();
	struct action_progress record = {.total = 0};
	char text[200];
	memcpy(record.phase, progress->phase, sizeof(record.phase));
	progress->source(progress->context, &record);
	estimate(progress, now_ms, &record);
	action_report(progress->action, &record);
	if (now_ms - progress->logged_ms < progress->log_every_ms)
		return;
	progress->logged_ms = now_ms;
	log_info(action_progress_text(&record, text, sizeof(text)));
}

static void *run(void *argument)
{
	struct progress *progress = argument;
	pthread_mutex_lock(&progress->lock);
	while (!progress->stop) {
		int64_t until_ms = clock_monotonic_ms() + TICK_MS;
		struct timespec until = {.tv_sec = until_ms / 1000,
					 .tv_nsec = until_ms % 1000 * 1000000};
		pthread_cond_timedwait(&progress->changed, &progress->lock, &until);
		if (!progress->stop)
			tell(progress);
	}
	pthread_mutex_unlock(&progress->lock);
	return NULL;
}

static void begin_phase(struct progress *progress, const char *phase)
{
	struct action_progress record = {.total = 0};
	progress->source(progress->context, &record);
	snprintf(progress->phase, sizeof(progress->phase), "%s", phase);
	progress->phase_ms = clock_monotonic_ms();
	progress->phase_bytes_out = record.bytes_out;
	progress->phase_done = record.done;
}

static void release(struct progress *progress)
{
	pthread_mutex_destroy(&progress->lock);
	pthread_cond_destroy(&progress->changed);
	free(progress);
}

int progress_start(struct action_context *action, uint64_t log_every_s, const char *phase,
		   progress_source *source, void *context, struct progress **ret_progress,
		   struct error *err)
{
	struct progress *progress = calloc(1, sizeof(*progress));
	if (!progress)
		abort();
	progress->action = action;
	progress->source = source;
	progress->context = context;
	progress->log_every_ms = (int64_t)log_every_s * 1000;
	progress->logged_ms = clock_monotonic_ms();
	begin_phase(progress, phase);
	pthread_condattr_t attributes;
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&progress->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	pthread_mutex_init(&progress->lock, NULL);
	int errnum = pthread_create(&progress->thread, NULL, run, progress);
	if (errnum != 0) {
		release(progress);
		return error_errno(err, errnum, "start a thread");
	}
	*ret_progress = progress;
	return 0;
}

void progress_phase(struct progress *progress, const char *phase)
{
	if (!progress)
		return;
	pthread_mutex_lock(&progress->lock);
	begin_phase(progress, phase);
	progress->logged_ms = progress->phase_ms - progress->log_every_ms;
	tell(progress);
	pthread_mutex_unlock(&progress->lock);
}

void progress_stop(struct progress *progress)
{
	if (!progress)
		return;
	pthread_mutex_lock(&progress->lock);
	progress->stop = true;
	pthread_cond_signal(&progress->changed);
	pthread_mutex_unlock(&progress->lock);
	pthread_join(progress->thread, NULL);
	release(progress);
}
