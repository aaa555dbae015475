/* Live progress at the server: see teller.h. */
#include "agent/teller.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "agent/signals.h"
#include "platform/clock.h"
#include "platform/log.h"

/* Each report is a write to the server's database: a new phase is worth one, but not sooner than
 * this after the one before. */
enum {
	GAP_MS = 10000
};

struct teller {
	const struct config *config;
	const struct action_request *request;
	const struct transport_task *task;
	const struct report *first;
	int64_t interval_ms;
	int gone_fd;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool stop;
	bool fresh; /* progress has not been told yet */
	struct action_progress progress;
	/* The thread's own. */
	struct transport *transport;
	int64_t told_ms;
	char told_phase[PHASE_SIZE];
};

/* When the latest progress is due, by clock_monotonic_ms(). */
static int64_t due_ms(const struct teller *teller)
{
	bool new_phase = strcmp(teller->progress.phase, teller->told_phase) != 0;
	bool sooner = new_phase && teller->interval_ms > GAP_MS;
	return teller->told_ms + (sooner ? GAP_MS : teller->interval_ms);
}

/* Waits for the next thing to tell. False: it is over. */
static bool next(struct teller *teller, struct action_progress *ret_progress)
{
	pthread_mutex_lock(&teller->lock);
	while (!teller->stop) {
		int64_t due = teller->fresh ? due_ms(teller) : INT64_MAX;
		if (due <= clock_monotonic_ms())
			break;
		if (due == INT64_MAX) {
			pthread_cond_wait(&teller->changed, &teller->lock);
		} else {
			struct timespec until = {.tv_sec = due / 1000,
						 .tv_nsec = due % 1000 * 1000000};
			pthread_cond_timedwait(&teller->changed, &teller->lock, &until);
		}
	}
	bool more = !teller->stop;
	*ret_progress = teller->progress;
	teller->fresh = false;
	pthread_mutex_unlock(&teller->lock);
	return more;
}

static void tell(struct teller *teller, const struct action_progress *progress)
{
	struct error err = {.kind = ERROR_NONE};
	struct report report = *teller->first;
	memcpy(teller->told_phase, progress->phase, sizeof(teller->told_phase));
	report_progress(&report, progress);
	if (!teller->transport &&
	    transport_open(teller->config, signals_fd(), &teller->transport, &err) < 0) {
		log_debug("no connection to tell progress by", "error", err.text);
		return;
	}
	enum transport_answer answer = teller->transport->operations->report(
		teller->transport, teller->request, teller->task, &report, &err);
	/* What fails is not worth a word: the next one may come through, and the final report says
	 * how it stands with the server. */
	if (answer == TRANSPORT_GONE) {
		log_warning("the workflow is gone, its action is ended", "workflow",
			    teller->request->workflow_id, "action", teller->request->name, "error",
			    err.text);
		eventfd_write(teller->gone_fd, 1);
	} else if (answer != TRANSPORT_OK) {
		log_debug("progress could not be told", "error", err.text);
	}
}

static void *run(void *argument)
{
	struct teller *teller = argument;
	struct action_progress progress;
	while (next(teller, &progress)) {
		tell(teller, &progress);
		teller->told_ms = clock_monotonic_ms();
	}
	if (teller->transport)
		transport_close(teller->transport);
	return NULL;
}

static void release(struct teller *teller)
{
	cleanup_close(&teller->gone_fd);
	pthread_mutex_destroy(&teller->lock);
	pthread_cond_destroy(&teller->changed);
	free(teller);
}

struct teller *teller_start(const struct config *config, const struct action_request *request,
			    const struct transport_task *task, const struct report *first)
{
	int64_t interval_ms = config_duration_ms(config, SETTING_PROGRESS_INTERVAL);
	if (interval_ms <= 0)
		return NULL;
	struct teller *teller = calloc(1, sizeof(*teller));
	if (!teller)
		abort();
	*teller = (struct teller){.config = config,
				  .request = request,
				  .task = task,
				  .first = first,
				  .interval_ms = interval_ms,
				  .gone_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
				  .told_ms = clock_monotonic_ms()};
	pthread_condattr_t attributes;
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&teller->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	pthread_mutex_init(&teller->lock, NULL);
	int errnum =
		teller->gone_fd < 0 ? errno : pthread_create(&teller->thread, NULL, run, teller);
	if (errnum != 0) {
		log_warning("progress will not be told", "error", strerror(errnum));
		release(teller);
		return NULL;
	}
	return teller;
}

void teller_progress(void *context, const struct action_progress *progress)
{
	struct teller *teller = context;
	if (!teller)
		return;
	pthread_mutex_lock(&teller->lock);
	teller->progress = *progress;
	teller->fresh = true;
	pthread_cond_signal(&teller->changed);
	pthread_mutex_unlock(&teller->lock);
}

int teller_gone_fd(const struct teller *teller)
{
	return teller ? teller->gone_fd : -1;
}

void teller_stop(struct teller *teller)
{
	if (!teller)
		return;
	pthread_mutex_lock(&teller->lock);
	teller->stop = true;
	pthread_cond_signal(&teller->changed);
	pthread_mutex_unlock(&teller->lock);
	pthread_join(teller->thread, NULL);
	release(teller);
}
