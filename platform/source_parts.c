/*
 * A source by position: single reads, and segments that several connections fetch ahead. A part
 * counts only when its answer says that it is of the version that was opened.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "platform/source_inside.h"

enum {
	/* Besides each connection has 1 to 2 MiB of buffers: 64 MiB are enough for all. */
	MEMORY_MAX = 12 << 20, /* and the overlaps */
	SEGMENT_BYTES = 2 << 20,
	SMALL_SEGMENT_BYTES = 1 << 20,
	MANY_CONNECTIONS = 4,
	SLOTS_MAX = MEMORY_MAX / SMALL_SEGMENT_BYTES,
	THREADS_MAX = 8
};

static int judge(struct source *source, unsigned mirror, const struct http_answer *answer,
		 struct error *err)
{
	const char *shown = source->mirrors[mirror].shown;
	bool foreign = mirror != source->version.mirror;
	struct version version = version_of(answer, mirror);
	enum version_match match = version_compare(&source->version, &version);
	if (answer->total_bytes != STREAM_SIZE_UNKNOWN && answer->total_bytes != source->size)
		return error_set(err, foreign ? ERROR_INPUT : ERROR_CORRUPT,
				 "%s is %" PRIu64 " bytes long now, it was %" PRIu64
				 " when it was opened",
				 shown, answer->total_bytes, source->size);
	if (match == VERSION_OTHER)
		return error_set(err, ERROR_CORRUPT,
				 "%s has changed on the server while it was read", shown);
	if (answer->status == 206 && match == VERSION_SAME)
		return 0;
	return error_set(err, ERROR_UNSUPPORTED,
			 answer->status == 206 ? "%s does not say of which version its ranges are"
					       : "%s is not served by ranges",
			 shown);
}

static int open_part(struct source *source, unsigned mirror, const struct http_range *range,
		     int cancel_fd, struct stream **ret_stream, struct http_answer *answer,
		     struct error *err)
{
	auto_stream struct stream *stream = NULL;
	if (source_request(source, mirror, range, cancel_fd, &stream, answer, err) < 0) {
		if (answer->status == 416 && answer->total_bytes != STREAM_SIZE_UNKNOWN &&
		    answer->total_bytes != source->size)
			return judge(source, mirror, answer, err);
		return -1;
	}
	if (judge(source, mirror, answer, err) < 0)
		return -1;
	*ret_stream = take_pointer(stream);
	return 0;
}

/* One request: *done moves on by what came. */
static int fetch_once(struct source *source, unsigned mirror, uint64_t offset, uint8_t *data,
		      size_t size, int cancel_fd, size_t *done, struct http_answer *answer,
		      struct error *err)
{
	auto_stream struct stream *stream = NULL;
	const struct http_range range = {.start = offset + *done,
					 .end = offset + size,
					 .if_range = version_validator(&source->version)};
	int result = open_part(source, mirror, &range, cancel_fd, &stream, answer, err);
	while (result == 0) {
		uint8_t beyond;
		bool whole = *done == size;
		ssize_t got = stream_read(stream, whole ? &beyond : data + *done,
					  whole ? 1 : size - *done, err);
		if (got <= 0)
			return (int)got;
		source_count(source, (uint64_t)got);
		*done += (size_t)got;
	}
	return -1;
}

/* Parts that are never what was asked for: this mirror has none. */
static int give_up(struct source *source, unsigned mirror, struct error *err)
{
	if (err->kind == ERROR_PROTOCOL)
		err->kind = ERROR_UNSUPPORTED;
	if (err->kind == ERROR_UNSUPPORTED)
		source_mark_no_ranges(source, mirror);
	return -1;
}

/* Exactly size bytes, over as many connections as it takes. */
static int fetch(struct source *source, uint64_t offset, uint8_t *data, size_t size, int cancel_fd,
		 struct error *err)
{
	struct patience patience = {.ranges = true, .cancel_fd = cancel_fd};
	unsigned mirror;
	size_t done = 0;
	if (source_choose(source, &patience, &mirror, err) < 0)
		return -1;
	while (done < size) {
		struct http_answer answer = {.retry_after_ms = -1};
		size_t before = done;
		int result = fetch_once(source, mirror, offset, data, size, cancel_fd, &done,
					&answer, err);
		if (done > before)
			patience = (struct patience){.ranges = true, .cancel_fd = cancel_fd};
		if (result < 0 && done < size &&
		    source_try_again(source, &patience, &mirror, &answer, err) < 0)
			return give_up(source, mirror, err);
	}
	__atomic_store_n(&source->current, mirror, __ATOMIC_RELAXED);
	return 0;
}

int source_read_at(struct source *source, uint64_t offset, void *data, size_t size,
		   struct error *err)
{
	if (!source->ranges)
		return error_set(err, ERROR_UNSUPPORTED, "%s cannot be read by ranges",
				 source_shown(source));
	if (offset > source->size || size > source->size - offset)
		return error_set(err, ERROR_CORRUPT,
				 "%s ends at %" PRIu64 ", bytes up to %" PRIu64 " are needed",
				 source_shown(source), source->size, offset + size);
	return size == 0 ? 0 : fetch(source, offset, data, size, source->http.cancel_fd, err);
}

/* Segments, in order, by several threads. */

struct slot {
	uint8_t *data; /* SEGMENTS_OVERLAP bytes of the segment before, then the segment */
	bool ready;
	int result;
	struct error failure;
};

struct segments {
	struct source *source;
	uint64_t base; /* where segment 0 begins */
	size_t segment_bytes;
	unsigned slot_count, thread_count;
	int stop_fd;  /* readable when the threads are to end */
	int watch_fd; /* readable when that or the source's own is */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint64_t next;    /* segment to be fetched */
	uint64_t reading; /* segment to be read */
	/* The reader's own: where it is in it, and the last bytes that it has been given. */
	size_t at;
	uint8_t last[SEGMENTS_OVERLAP];
	size_t last_size;
	bool stop;
	pthread_t threads[THREADS_MAX];
	struct slot slots[SLOTS_MAX];
};

static size_t size_of(const struct segments *self, uint64_t segment)
{
	uint64_t start = self->base + segment * self->segment_bytes;
	uint64_t left = start < self->source->size ? self->source->size - start : 0;
	return left < self->segment_bytes ? (size_t)left : self->segment_bytes;
}

/* The next segment that has a slot; false when there is nothing more to do. */
static bool take_segment(struct segments *self, uint64_t *ret_segment)
{
	pthread_mutex_lock(&self->lock);
	while (!self->stop && self->next >= self->reading + self->slot_count)
		pthread_cond_wait(&self->changed, &self->lock);
	*ret_segment = self->next;
	bool more = !self->stop && size_of(self, self->next) > 0;
	if (more)
		self->next++;
	pthread_mutex_unlock(&self->lock);
	return more;
}

/* The segment, and what stands before it. */
static int fetch_segment(struct segments *self, uint64_t segment, struct slot *slot)
{
	uint64_t start = self->base + segment * self->segment_bytes;
	size_t overlap = start < SEGMENTS_OVERLAP ? (size_t)start : SEGMENTS_OVERLAP;
	return fetch(self->source, start - overlap, slot->data + SEGMENTS_OVERLAP - overlap,
		     size_of(self, segment) + overlap, self->watch_fd, &slot->failure);
}

static void *run(void *argument)
{
	struct segments *self = argument;
	uint64_t segment;
	while (take_segment(self, &segment)) {
		struct slot *slot = &self->slots[segment % self->slot_count];
		int result = fetch_segment(self, segment, slot);
		pthread_mutex_lock(&self->lock);
		slot->result = result;
		slot->ready = true;
		pthread_cond_broadcast(&self->changed);
		pthread_mutex_unlock(&self->lock);
		if (result < 0)
			break;
	}
	return NULL;
}

void segments_expect(struct segments *self, const uint8_t *data, size_t size)
{
	size_t count = size < SEGMENTS_OVERLAP ? size : SEGMENTS_OVERLAP;
	memcpy(self->last, data + size - count, count);
	self->last_size = count;
}

/* At the beginning of a segment: what comes twice must be the same. */
static int check_overlap(const struct segments *self, const struct slot *slot, struct error *err)
{
	if (memcmp(slot->data + SEGMENTS_OVERLAP - self->last_size, self->last, self->last_size) ==
	    0)
		return 0;
	return error_set(err, ERROR_UNSUPPORTED, "%s gives other bytes than its ranges say",
			 source_shown(self->source));
}

ssize_t segments_read(struct segments *self, void *data, size_t size, struct error *err)
{
	size_t all = size_of(self, self->reading);
	struct slot *slot = &self->slots[self->reading % self->slot_count];
	if (all == 0)
		return 0;
	if (self->at == 0) {
		pthread_mutex_lock(&self->lock);
		while (!slot->ready)
			pthread_cond_wait(&self->changed, &self->lock);
		pthread_mutex_unlock(&self->lock);
	}
	if (slot->result < 0) {
		*err = slot->failure;
		return -1;
	}
	if (self->at == 0 && check_overlap(self, slot, err) < 0)
		return -1;
	size_t count = all - self->at < size ? all - self->at : size;
	const uint8_t *segment = slot->data + SEGMENTS_OVERLAP;
	memcpy(data, segment + self->at, count);
	self->at += count;
	if (self->at == all) {
		segments_expect(self, segment, all);
		pthread_mutex_lock(&self->lock);
		self->at = 0;
		slot->ready = false;
		self->reading++;
		pthread_cond_broadcast(&self->changed);
		pthread_mutex_unlock(&self->lock);
	}
	return (ssize_t)count;
}

void segments_stop(struct segments *self)
{
	if (!self)
		return;
	pthread_mutex_lock(&self->lock);
	self->stop = true;
	pthread_cond_broadcast(&self->changed);
	pthread_mutex_unlock(&self->lock);
	if (self->stop_fd >= 0)
		eventfd_write(self->stop_fd, 1);
	for (unsigned i = 0; i < self->thread_count; i++)
		pthread_join(self->threads[i], NULL);
	for (unsigned i = 0; i < self->slot_count; i++)
		free(self->slots[i].data);
	cleanup_close(&self->stop_fd);
	cleanup_close(&self->watch_fd);
	pthread_mutex_destroy(&self->lock);
	pthread_cond_destroy(&self->changed);
	free(self);
}

static int watch(struct segments *self, struct error *err)
{
	int cancel_fd = self->source->http.cancel_fd;
	struct epoll_event event = {.events = EPOLLIN};
	self->stop_fd = eventfd(0, EFD_CLOEXEC);
	self->watch_fd = epoll_create1(EPOLL_CLOEXEC);
	if (self->stop_fd < 0 || self->watch_fd < 0 ||
	    epoll_ctl(self->watch_fd, EPOLL_CTL_ADD, self->stop_fd, &event) < 0 ||
	    (cancel_fd > 0 && epoll_ctl(self->watch_fd, EPOLL_CTL_ADD, cancel_fd, &event) < 0))
		return error_sys(err, "watch for a cancellation");
	return 0;
}

static int start_threads(struct segments *self, struct error *err)
{
	if (watch(self, err) < 0)
		return -1;
	for (unsigned i = 0; i < self->slot_count; i++) {
		self->slots[i].data = malloc(self->segment_bytes + SEGMENTS_OVERLAP);
		if (!self->slots[i].data)
			return error_set(err, ERROR_MEMORY,
					 "no memory for %u segments of %zu bytes", self->slot_count,
					 self->segment_bytes);
	}
	while (self->thread_count < self->source->connections && self->thread_count < THREADS_MAX) {
		int errnum = pthread_create(&self->threads[self->thread_count], NULL, run, self);
		if (errnum != 0)
			return error_errno(err, errnum, "start a thread");
		self->thread_count++;
	}
	return 0;
}

int segments_start(struct source *source, uint64_t offset, struct segments **ret_segments,
		   struct error *err)
{
	struct segments *self = calloc(1, sizeof(*self));
	if (!self || pthread_mutex_init(&self->lock, NULL) != 0 ||
	    pthread_cond_init(&self->changed, NULL) != 0)
		abort();
	self->source = source;
	self->base = offset;
	self->stop_fd = self->watch_fd = -1;
	self->segment_bytes =
		source->connections > MANY_CONNECTIONS ? SMALL_SEGMENT_BYTES : SEGMENT_BYTES;
	self->slot_count = MEMORY_MAX / (unsigned)self->segment_bytes;
	if (start_threads(self, err) < 0) {
		segments_stop(self);
		return -1;
	}
	*ret_segments = self;
	return 0;
}
