/* Live progress at the server: see teller.h. */
#include "agent/teller.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "agent/news.h"
#include "agent/status.h"
#include "platform/clock.h"
#include "platform/log.h"

/*
 * GAP_MS: each report is a write to the server's database: a new phase is worth one, but not sooner
 * than this after the one before. ALIVE: an action that says nothing new is told of after so many
 * intervals: people see that it lives, and a workflow that was deleted is noticed (a server of the
 * older generation is only asked, which costs it nothing: after each). GRACE_MS: how
 * long the final report waits for the answer to one under way; the real server takes 8 ms, and now
 * and then a second.
 */
enum {
	GAP_MS = 10000,
	ALIVE = 4,
	GRACE_MS = 1500
};

struct teller {
	const struct config *config;
	const struct action_request *request;
	const struct transport_task *task;
	const struct report *first;
	int64_t interval_ms;
	int64_t started_ms;
	int gone_fd;
	int cancel_fd; /* ends a call under way */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool stop;
	bool over;  /* the thread has nothing more to say */
	bool fresh; /* progress has not been told yet */
	struct action_progress progress;
	/* The thread's own. */
	struct transport *transport;
	int64_t told_ms;
	char told_phase[PHASE_SIZE];
	bool failing;
	struct news news;
	bool doubtful;
};

/* When there is something to tell, by clock_monotonic_ms(). */
static int64_t due_ms(const struct teller *teller)
{
	unsigned alive = teller->task->generation == TRANSPORT_OLDER ? 1 : ALIVE;
	if (!teller->fresh)
		return teller->told_ms + alive * teller->interval_ms;
	bool new_phase = strcmp(teller->progress.phase, teller->told_phase) != 0;
	bool sooner = new_phase && teller->interval_ms > GAP_MS;
	return teller->told_ms + (sooner ? GAP_MS : teller->interval_ms);
}

static void wait_until(struct teller *teller, int64_t ms)
{
	struct timespec until = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
	pthread_cond_timedwait(&teller->changed, &teller->lock, &until);
}

/* Waits for the next thing to tell and puts it into report. False: it is over. */
static bool next(struct teller *teller, struct report *report)
{
	*report = *teller->first;
	pthread_mutex_lock(&teller->lock);
	while (!teller->stop && due_ms(teller) > clock_monotonic_ms())
		wait_until(teller, due_ms(teller));
	bool more = !teller->stop;
	if (teller->fresh)
		report_progress(report, &teller->progress);
	else
		report_alive(report, &teller->progress, clock_monotonic_ms() - teller->started_ms);
	memcpy(teller->told_phase, teller->progress.phase, sizeof(teller->told_phase));
	teller->fresh = false;
	pthread_mutex_unlock(&teller->lock);
	return more;
}

/* Said until it works again, each reason once. What was not told is told at the next interval. */
static void could_not_tell(struct teller *teller, const struct error *err)
{
	if (news_is(&teller->news, err))
		log_warning("progress cannot be told, the action goes on", "action",
			    teller->request->name, "error", err->text);
	teller->failing = true;
	pthread_mutex_lock(&teller->lock);
	teller->fresh = true;
	pthread_mutex_unlock(&teller->lock);
}

static void tell(struct teller *teller, const struct report *report)
{
	struct error err = {.kind = ERROR_NONE};
	if (!teller->transport &&
	    transport_open(teller->config, teller->cancel_fd, &teller->transport, &err) < 0) {
		could_not_tell(teller, &err);
		return;
	}
	switch (teller->transport->operations->report(teller->transport, teller->request,
						      teller->task, report, &err)) {
	case TRANSPORT_OK:
		if (teller->failing)
			log_info("progress is told again", "action", teller->request->name);
		teller->failing = false;
		news_forget(&teller->news);
		break;
	case TRANSPORT_GONE:
		log_warning("the workflow is gone, its action is ended", "workflow",
			    teller->request->workflow_id, "action", teller->request->name, "error",
			    err.text);
		eventfd_write(teller->gone_fd, 1);
		break;
	case TRANSPORT_NOTHING:
	case TRANSPORT_RETRY:
		teller->doubtful = true;
		could_not_tell(teller, &err);
		break;
	case TRANSPORT_CANCELLED:
	case TRANSPORT_END:
		teller->doubtful = true;
		break;
	}
}

static void *run(void *argument)
{
	struct teller *teller = argument;
	struct report report;
	while (next(teller, &report)) {
		tell(teller, &report);
		pthread_mutex_lock(&teller->lock);
		teller->told_ms = clock_monotonic_ms();
		pthread_mutex_unlock(&teller->lock);
	}
	if (teller->transport)
		transport_close(teller->transport);
	pthread_mutex_lock(&teller->lock);
	teller->over = true;
	pthread_cond_broadcast(&teller->changed);
	pthread_mutex_unlock(&teller->lock);
	return NULL;
}

static void release(struct teller *teller)
{
	cleanup_close(&teller->gone_fd);
	cleanup_close(&teller->cancel_fd);
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
				  .started_ms = clock_monotonic_ms(),
				  .told_ms = clock_monotonic_ms(),
				  .gone_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
				  .cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
	pthread_condattr_t attributes;
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&teller->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	pthread_mutex_init(&teller->lock, NULL);
	int errnum = errno;
	if (teller->gone_fd >= 0 && teller->cancel_fd >= 0)
		errnum = pthread_create(&teller->thread, NULL, run, teller);
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
	status_progress(progress);
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

bool teller_stop(struct teller *teller)
{
	if (!teller)
		return false;
	int64_t deadline = clock_monotonic_ms() + GRACE_MS;
	pthread_mutex_lock(&teller->lock);
	teller->stop = true;
	pthread_cond_broadcast(&teller->changed);
	while (!teller->over && clock_monotonic_ms() < deadline)
		wait_until(teller, deadline);
	pthread_mutex_unlock(&teller->lock);
	eventfd_write(teller->cancel_fd, 1);
	pthread_join(teller->thread, NULL);
	bool doubtful = teller->doubtful;
	release(teller);
	return doubtful;
}
