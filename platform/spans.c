/* Spans of a source: see spans.h. A ring of slots is filled by threads, each with a piece of a span
 * at a time, and emptied in order. */
#include "platform/spans.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
	PIECE_BYTES = 1 << 20,
	THREADS_MOST = 16
};

enum slot_state {
	SLOT_FREE,
	SLOT_BUSY,
	SLOT_FULL,
	SLOT_FAILED
};

struct slot {
	enum slot_state state;
	uint8_t *data;
	size_t size;
	struct error failure;
};

struct spans_stream {
	struct stream stream;
	struct source *source;
	const struct span *spans;
	size_t count;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool stop;
	size_t next_span; /* the next piece to be fetched: of this span, */
	uint64_t in_span; /* from here, */
	unsigned put;     /* into this slot */
	unsigned take;    /* the slot that is read next */
	size_t taken;     /* of it */
	unsigned slots;
	unsigned threads;
	pthread_t thread[THREADS_MOST];
	struct slot slot[];
};

/* Takes the next piece for a slot that is free; waits for one. NULL when there is nothing left to
 * do. Called with the lock held. */
static struct slot *claim(struct spans_stream *self, struct span *ret_piece)
{
	while (!self->stop && self->next_span < self->count &&
	       self->slot[self->put].state != SLOT_FREE)
		pthread_cond_wait(&self->changed, &self->lock);
	if (self->stop || self->next_span == self->count)
		return NULL;
	const struct span *span = &self->spans[self->next_span];
	uint64_t left = span->size_bytes - self->in_span;
	*ret_piece = (struct span){.offset = span->offset + self->in_span,
				   .size_bytes = left < PIECE_BYTES ? left : PIECE_BYTES};
	self->in_span += ret_piece->size_bytes;
	if (self->in_span == span->size_bytes) {
		self->next_span++;
		self->in_span = 0;
	}
	struct slot *slot = &self->slot[self->put];
	slot->state = SLOT_BUSY;
	slot->size = (size_t)ret_piece->size_bytes;
	self->put = (self->put + 1) % self->slots;
	return slot;
}

static void *run(void *argument)
{
	struct spans_stream *self = argument;
	pthread_mutex_lock(&self->lock);
	struct slot *slot;
	struct span piece;
	while ((slot = claim(self, &piece)) != NULL) {
		pthread_mutex_unlock(&self->lock);
		int result = source_read_at(self->source, piece.offset, slot->data,
					    (size_t)piece.size_bytes, &slot->failure);
		pthread_mutex_lock(&self->lock);
		slot->state = result < 0 ? SLOT_FAILED : SLOT_FULL;
		if (result < 0)
			self->stop = true;
		pthread_cond_broadcast(&self->changed);
	}
	pthread_mutex_unlock(&self->lock);
	return NULL;
}

static ssize_t spans_read(struct stream *stream, void *data, size_t size, struct error *err)
{
	struct spans_stream *self = (struct spans_stream *)stream;
	if (stream->read_bytes == stream->size_bytes)
		return 0;
	struct slot *slot = &self->slot[self->take];
	pthread_mutex_lock(&self->lock);
	/* When a later piece has failed, the ones before it may never be begun. */
	while (slot->state != SLOT_FULL && slot->state != SLOT_FAILED &&
	       !(self->stop && slot->state == SLOT_FREE))
		pthread_cond_wait(&self->changed, &self->lock);
	const struct slot *failed = slot->state == SLOT_FAILED ? slot : NULL;
	for (unsigned i = 0; slot->state == SLOT_FREE && i < self->slots; i++)
		if (self->slot[i].state == SLOT_FAILED)
			failed = &self->slot[i];
	pthread_mutex_unlock(&self->lock);
	if (failed) {
		*err = failed->failure;
		return -1;
	}
	size_t count = slot->size - self->taken < size ? slot->size - self->taken : size;
	memcpy(data, slot->data + self->taken, count);
	self->taken += count;
	if (self->taken == slot->size) {
		self->taken = 0;
		self->take = (self->take + 1) % self->slots;
		pthread_mutex_lock(&self->lock);
		slot->state = SLOT_FREE;
		pthread_cond_broadcast(&self->changed);
		pthread_mutex_unlock(&self->lock);
	}
	return (ssize_t)count;
}

static void spans_close(struct stream *stream)
{
	struct spans_stream *self = (struct spans_stream *)stream;
	pthread_mutex_lock(&self->lock);
	self->stop = true;
	pthread_cond_broadcast(&self->changed);
	pthread_mutex_unlock(&self->lock);
	for (unsigned i = 0; i < self->threads; i++)
		pthread_join(self->thread[i], NULL);
	for (unsigned i = 0; i < self->slots; i++)
		free(self->slot[i].data);
	pthread_mutex_destroy(&self->lock);
	pthread_cond_destroy(&self->changed);
	free(self);
}

/* In how many requests the spans are fetched, at most most. */
static unsigned pieces(const struct span *spans, size_t count, unsigned most)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < count && sum < most; i++)
		sum += spans[i].size_bytes / PIECE_BYTES + (spans[i].size_bytes % PIECE_BYTES != 0);
	return sum < most ? (unsigned)sum : most;
}

int spans_stream(struct source *source, const struct span *spans, size_t count, unsigned in_flight,
		 struct stream **ret_stream, struct error *err)
{
	static const struct stream_operations operations = {.read = spans_read,
							    .close = spans_close};
	unsigned threads = in_flight < 1 ? 1 : in_flight < THREADS_MOST ? in_flight : THREADS_MOST;
	threads = pieces(spans, count, threads);
	unsigned slots = pieces(spans, count, threads + 2);
	struct spans_stream *self = calloc(1, sizeof(*self) + slots * sizeof(self->slot[0]));
	if (!self)
		abort();
	self->stream = (struct stream){.operations = &operations, .size_bytes = 0};
	self->source = source;
	self->spans = spans;
	self->count = count;
	self->slots = slots;
	pthread_mutex_init(&self->lock, NULL);
	pthread_cond_init(&self->changed, NULL);
	uint64_t largest = 0;
	for (size_t i = 0; i < count; i++) {
		self->stream.size_bytes += spans[i].size_bytes;
		largest = spans[i].size_bytes > largest ? spans[i].size_bytes : largest;
	}
	size_t slot_bytes = largest < PIECE_BYTES ? (size_t)largest : PIECE_BYTES;
	for (unsigned i = 0; i < slots; i++) {
		self->slot[i].data = malloc(slot_bytes ? slot_bytes : 1);
		if (!self->slot[i].data) {
			spans_close(&self->stream);
			return error_set(err, ERROR_MEMORY, "no memory for %u buffers", slots);
		}
	}
	for (; self->threads < threads; self->threads++) {
		int errnum = pthread_create(&self->thread[self->threads], NULL, run, self);
		if (errnum != 0) {
			spans_close(&self->stream);
			return error_errno(err, errnum, "start a thread");
		}
	}
	*ret_stream = &self->stream;
	return 0;
}
