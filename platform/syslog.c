/*
 * Queues and threads of syslog: see syslog.h. A queue keeps what was sent until the other side's
 * system has acknowledged it: after a lost connection it is sent again, rather twice than never.
 */
#include "platform/syslog.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "platform/cleanup.h"
#include "platform/clock.h"
#include "platform/log.h"
#include "platform/syslog_send.h"
#include "platform/text.h"

/*
 * BURST: so many datagrams and then a pause; receivers lose what their socket's buffer does not
 * hold. STACK_BYTES: a TLS handshake and a log line, on musl's small stacks.
 */
enum {
	BACKOFF_BASE_MS = 500,
	BACKOFF_MOST_MS = 30000,
	SETTLE_EVERY_MS = 100,
	BURST = 32,
	BURST_PAUSE_MS = 3,
	STACK_BYTES = 384 << 10,
	FORMED_MOST = 1 << 20
};

struct entry {
	struct entry *next;
	uint64_t number;
	size_t size;
	char text[];
};

struct outlet {
	struct syslog *syslog;
	struct syslog_target target;
	pthread_t thread;
	int wake_fd;
	/* Under the lock. */
	struct entry *oldest, *newest;
	struct entry *to_send; /* of the list; those before it were sent */
	size_t used;
	uint64_t numbered;
	uint64_t dropped;
	bool is_away; /* nothing can be sent now */
	bool ended;
	/* The thread's own. */
	struct syslog_sender sender;
	struct entry *current; /* a copy of what is being sent: the queue may drop it meanwhile */
	unsigned failures;     /* in a row */
	bool said_away;
	bool blocked;
	int64_t retry_ms;
	char said[256];
};

struct syslog {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct http_options http; /* once trusted is set */
	char *ca_file;
	atomic_bool trusted;
	atomic_bool stop;
	atomic_bool hurry; /* the time for the end is over */
	int64_t stop_ms;   /* when it will be */
	size_t count;
	struct outlet outlets[SYSLOG_TARGETS_MOST];
};

/* Under the lock. */
static void drop_oldest(struct outlet *outlet, bool count)
{
	struct entry *entry = outlet->oldest;
	if (outlet->to_send == entry)
		outlet->to_send = entry->next;
	outlet->oldest = entry->next;
	if (!outlet->oldest)
		outlet->newest = NULL;
	outlet->used -= entry->size + sizeof(*entry);
	outlet->dropped += count ? 1 : 0;
	free(entry);
}

static struct entry *new_entry(uint64_t number, const void *text, size_t size)
{
	struct entry *entry = calloc(1, sizeof(*entry) + size);
	if (!entry)
		abort();
	entry->number = number;
	entry->size = size;
	memcpy(entry->text, text, size);
	return entry;
}

/* Under the lock. */
static void append(struct outlet *outlet, const void *text, size_t size)
{
	struct entry *entry = new_entry(++outlet->numbered, text, size);
	if (outlet->newest)
		outlet->newest->next = entry;
	else
		outlet->oldest = entry;
	outlet->newest = entry;
	if (!outlet->to_send)
		outlet->to_send = entry;
	outlet->used += size + sizeof(*entry);
	while (outlet->used > SYSLOG_QUEUE_BYTES && outlet->oldest != entry)
		drop_oldest(outlet, outlet->to_send == outlet->oldest);
}

/* Under the lock. */
static void form_and_append(struct outlet *outlet, const struct syslog_message *message)
{
	auto_buffer struct buffer formed = {.cap = FORMED_MOST};
	size_t ends[SYSLOG_PARTS_MOST], count, start = 0;
	struct error err;
	if (syslog_form(&outlet->target, message, &formed, ends, &count, &err) < 0) {
		outlet->dropped++;
		return;
	}
	for (size_t i = 0; i < count; start = ends[i++])
		append(outlet, formed.data + start, ends[i] - start);
}

void syslog_put(struct syslog *syslog, const struct syslog_message *message, bool kernel)
{
	pthread_mutex_lock(&syslog->lock);
	for (size_t i = 0; i < syslog->count; i++) {
		struct outlet *outlet = &syslog->outlets[i];
		if (outlet->ended || (kernel && !outlet->target.kernel))
			continue;
		form_and_append(outlet, message);
		eventfd_write(outlet->wake_fd, 1);
	}
	pthread_mutex_unlock(&syslog->lock);
}

/* The number of lines that were dropped, as a line of its own in front of the next. Under the lock.
 */
static void say_dropped(struct outlet *outlet)
{
	char text[128], process[16];
	if (outlet->dropped == 0 || !outlet->to_send)
		return;
	snprintf(text, sizeof(text), "%" PRIu64 " older lines were dropped: there was no room",
		 outlet->dropped);
	snprintf(process, sizeof(process), "%d", (int)getpid());
	outlet->dropped = 0;
	const struct syslog_message message = {.severity = SYSLOG_WARNING,
					       .time = clock_wall(),
					       .app = "tink-worker",
					       .process = process,
					       .text = text,
					       .text_size = strlen(text)};
	auto_buffer struct buffer formed = {.cap = FORMED_MOST};
	size_t ends[SYSLOG_PARTS_MOST], count;
	struct error err;
	if (syslog_form(&outlet->target, &message, &formed, ends, &count, &err) < 0)
		return;
	struct entry *entry = new_entry(++outlet->numbered, formed.data, ends[0]);
	struct entry **at = &outlet->oldest;
	while (*at != outlet->to_send)
		at = &(*at)->next;
	entry->next = outlet->to_send;
	*at = outlet->to_send = entry;
	outlet->used += entry->size + sizeof(*entry);
}

/* Takes what is next. False: nothing. */
static bool take_next(struct outlet *outlet)
{
	pthread_mutex_lock(&outlet->syslog->lock);
	say_dropped(outlet);
	const struct entry *next = outlet->to_send;
	if (next)
		outlet->current = new_entry(next->number, next->text, next->size);
	pthread_mutex_unlock(&outlet->syslog->lock);
	return next;
}

static void drop_current(struct outlet *outlet)
{
	free(outlet->current);
	outlet->current = NULL;
}

static void mark_sent(struct outlet *outlet)
{
	pthread_mutex_lock(&outlet->syslog->lock);
	/* When it was dropped while it went out, the queue goes on without it. */
	if (outlet->to_send && outlet->to_send->number == outlet->current->number)
		outlet->to_send = outlet->to_send->next;
	pthread_mutex_unlock(&outlet->syslog->lock);
	drop_current(outlet);
}

/* What was sent: forgotten, or to be sent again. */
static void forget_sent(struct outlet *outlet)
{
	pthread_mutex_lock(&outlet->syslog->lock);
	while (outlet->oldest != outlet->to_send)
		drop_oldest(outlet, false);
	outlet->is_away = false;
	pthread_cond_broadcast(&outlet->syslog->changed);
	pthread_mutex_unlock(&outlet->syslog->lock);
}

static void send_again(struct outlet *outlet)
{
	pthread_mutex_lock(&outlet->syslog->lock);
	outlet->to_send = outlet->oldest;
	outlet->is_away = true;
	pthread_cond_broadcast(&outlet->syslog->changed);
	pthread_mutex_unlock(&outlet->syslog->lock);
}

static void went_away(struct outlet *outlet, const struct error *err)
{
	syslog_sender_close(&outlet->sender);
	drop_current(outlet);
	send_again(outlet);
	outlet->blocked = false;
	outlet->retry_ms = clock_monotonic_ms() +
			   clock_backoff_ms(outlet->failures++, BACKOFF_BASE_MS, BACKOFF_MOST_MS);
	if (err->kind == ERROR_CANCELLED || strcmp(outlet->said, err->text) == 0)
		return;
	outlet->said_away = true;
	snprintf(outlet->said, sizeof(outlet->said), "%.255s", err->text);
	log_warning("the syslog target takes nothing, lines are kept for it", "target",
		    outlet->target.shown, "error", err->text);
}

static void is_there(struct outlet *outlet)
{
	outlet->failures = 0;
	if (outlet->said_away)
		log_info("the syslog target takes lines again", "target", outlet->target.shown);
	outlet->said_away = false;
	outlet->said[0] = '\0';
}

static bool has_to_send(struct outlet *outlet, bool *ret_has_sent)
{
	pthread_mutex_lock(&outlet->syslog->lock);
	bool unsent = outlet->to_send != NULL;
	*ret_has_sent = outlet->oldest != outlet->to_send;
	pthread_mutex_unlock(&outlet->syslog->lock);
	return unsent;
}

/* Sends what is there, a burst at a time. */
static int send_some(struct outlet *outlet, struct error *err)
{
	outlet->blocked = false;
	for (unsigned sent = 0; sent < BURST; sent++) {
		if (!outlet->current && !take_next(outlet))
			return 0;
		int taken = syslog_sender_write(&outlet->sender, outlet->current->text,
						outlet->current->size, err);
		if (taken < 0)
			return -1;
		if (taken == 0) {
			outlet->blocked = true;
			return 0;
		}
		mark_sent(outlet);
	}
	if (outlet->target.transport == SYSLOG_UDP)
		poll(NULL, 0, BURST_PAUSE_MS);
	return 0;
}

static void wait_for_news(struct outlet *outlet, int64_t timeout_ms)
{
	uint64_t ignored;
	bool open = syslog_sender_is_open(&outlet->sender);
	struct pollfd fds[] = {{.fd = outlet->wake_fd, .events = POLLIN},
			       {.fd = open ? syslog_sender_fd(&outlet->sender) : -1,
				.events = (short)(POLLIN | (outlet->blocked ? POLLOUT : 0))}};
	poll(fds, 2, timeout_ms > INT32_MAX ? -1 : (int)(timeout_ms > 0 ? timeout_ms : 0));
	eventfd_read(outlet->wake_fd, &ignored);
}

/* One round. Returns for how long nothing is to be done unless there is news; < 0: the end. */
static int64_t work(struct outlet *outlet)
{
	struct syslog *syslog = outlet->syslog;
	struct error err = {.kind = ERROR_NONE};
	bool sent, unsent = has_to_send(outlet, &sent);
	bool stop = atomic_load(&syslog->stop);
	bool is_udp = outlet->target.transport == SYSLOG_UDP;
	int64_t now_ms = clock_monotonic_ms();
	if (stop && (atomic_load(&syslog->hurry) || (!unsent && (is_udp || !sent))))
		return -1;
	if (!syslog_sender_is_open(&outlet->sender)) {
		if (!unsent)
			return INT64_MAX;
		/* At the end nobody waits for one that was away. */
		if (stop && outlet->failures > 0)
			return -1;
		bool may_open =
			outlet->target.transport != SYSLOG_TLS || atomic_load(&syslog->trusted);
		if (!may_open)
			return stop ? -1 : INT64_MAX;
		if (now_ms < outlet->retry_ms)
			return outlet->retry_ms - now_ms;
		if (syslog_sender_open(&outlet->sender, &outlet->target, &syslog->http,
				       &syslog->hurry, &err) < 0) {
			went_away(outlet, &err);
			return 0;
		}
	}
	if (syslog_sender_check(&outlet->sender, &err) < 0 || send_some(outlet, &err) < 0) {
		/* A server that hangs up while nothing is said is not away. */
		if (unsent || sent)
			went_away(outlet, &err);
		else
			syslog_sender_close(&outlet->sender);
		return 0;
	}
	unsent = has_to_send(outlet, &sent);
	if (sent && syslog_sender_is_settled(&outlet->sender)) {
		forget_sent(outlet);
		is_there(outlet);
		sent = false;
	}
	if ((unsent && !outlet->blocked) || (stop && !sent))
		return 0;
	return sent || outlet->blocked ? SETTLE_EVERY_MS : INT64_MAX;
}

static void *run(void *argument)
{
	struct outlet *outlet = argument;
	struct syslog *syslog = outlet->syslog;
	int64_t pause_ms;
	while ((pause_ms = work(outlet)) >= 0)
		if (pause_ms > 0)
			wait_for_news(outlet, pause_ms);
	syslog_sender_close(&outlet->sender);
	drop_current(outlet);
	pthread_mutex_lock(&syslog->lock);
	outlet->ended = true;
	pthread_cond_broadcast(&syslog->changed);
	pthread_mutex_unlock(&syslog->lock);
	return NULL;
}

static int start_outlet(struct outlet *outlet, struct error *err)
{
	pthread_attr_t attributes;
	outlet->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (outlet->wake_fd < 0)
		return error_sys(err, "eventfd");
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	int errnum = pthread_create(&outlet->thread, &attributes, run, outlet);
	pthread_attr_destroy(&attributes);
	if (errnum != 0) {
		cleanup_close(&outlet->wake_fd);
		return error_errno(err, errnum, "a thread for syslog");
	}
	return 0;
}

int syslog_start(const struct syslog_target *targets, size_t count, struct syslog **ret_syslog,
		 struct error *err)
{
	struct syslog *syslog = calloc(1, sizeof(*syslog));
	pthread_condattr_t attributes;
	if (!syslog)
		abort();
	pthread_mutex_init(&syslog->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&syslog->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	for (size_t i = 0; i < count && i < SYSLOG_TARGETS_MOST; i++) {
		struct outlet *outlet = &syslog->outlets[i];
		*outlet = (struct outlet){
			.syslog = syslog, .target = targets[i], .sender = SYSLOG_SENDER_CLOSED};
		if (start_outlet(outlet, err) < 0) {
			syslog_stop(syslog, 0);
			return -1;
		}
		syslog->count++;
	}
	*ret_syslog = syslog;
	return 0;
}

static bool has_ended(const struct outlet *outlet)
{
	return outlet->ended;
}

/* Of UDP nobody acknowledges anything. */
static bool is_flushed(const struct outlet *outlet)
{
	bool is_udp = outlet->target.transport == SYSLOG_UDP;
	return outlet->ended || outlet->is_away || !(is_udp ? outlet->to_send : outlet->oldest);
}

/* Waits until all are so. False: the time is over. */
static bool all_by(struct syslog *syslog, bool (*is_so)(const struct outlet *outlet),
		   int64_t end_ms)
{
	const struct timespec end = {.tv_sec = end_ms / 1000, .tv_nsec = end_ms % 1000 * 1000000};
	bool all = false, late = false;
	pthread_mutex_lock(&syslog->lock);
	while (!all && !late) {
		all = true;
		for (size_t i = 0; i < syslog->count; i++)
			all = all && is_so(&syslog->outlets[i]);
		if (!all)
			late = pthread_cond_timedwait(&syslog->changed, &syslog->lock, &end) != 0;
	}
	pthread_mutex_unlock(&syslog->lock);
	return all;
}

void syslog_flush(struct syslog *syslog, int64_t most_ms)
{
	all_by(syslog, is_flushed, clock_monotonic_ms() + most_ms);
}

static void wake_all(struct syslog *syslog)
{
	for (size_t i = 0; i < syslog->count; i++)
		eventfd_write(syslog->outlets[i].wake_fd, 1);
}

void syslog_trust(struct syslog *syslog, const char *ca_file)
{
	if (atomic_load(&syslog->trusted))
		return;
	syslog->ca_file = text_dup(ca_file ? ca_file : "");
	syslog->http.ca_file = syslog->ca_file;
	atomic_store(&syslog->trusted, true);
	wake_all(syslog);
}

void syslog_stop(struct syslog *syslog, int64_t most_ms)
{
	enum {
		HURRY_MS = 200
	};
	int64_t end_ms = clock_monotonic_ms() + most_ms;
	atomic_store(&syslog->stop, true);
	wake_all(syslog);
	bool all = all_by(syslog, has_ended, end_ms - HURRY_MS);
	if (!all) {
		atomic_store(&syslog->hurry, true);
		wake_all(syslog);
		all = all_by(syslog, has_ended, end_ms);
	}
	/* One is held up, in the resolver as a rule. The process is about to end, and it
	 * with it: it keeps its things.
	 */
	if (!all)
		return;
	for (size_t i = 0; i < syslog->count; i++) {
		struct outlet *outlet = &syslog->outlets[i];
		pthread_join(outlet->thread, NULL);
		while (outlet->oldest)
			drop_oldest(outlet, false);
		cleanup_close(&outlet->wake_fd);
	}
	free(syslog->ca_file);
	pthread_mutex_destroy(&syslog->lock);
	pthread_cond_destroy(&syslog->changed);
	free(syslog);
}
