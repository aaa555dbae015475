/*
 * The thread stage of a stream: reads ahead from the stage below into a ring of buffers, so that
 * the stages on both sides run at the same time. Declared in stream.h.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "platform/stream.h"

struct chunk {
	uint8_t *data;
	size_t size;
};

struct thread_stream {
	struct stream stream;
	struct stream *below;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	size_t chunk_bytes;
	unsigned chunk_count;
	unsigned filled; /* chunks ready to be read, from first_filled on */
	unsigned first_filled;
	size_t offset;    /* read already from the first filled chunk; the reader's own */
	bool below_ended; /* the stage below has ended or failed: no further chunk comes */
	bool stop;        /* the reader is gone */
	int result;       /* 0 verified end, -1 failed with failure */
	struct error failure;
	struct chunk chunks[];
};

/* Fills a chunk from the stage below, as stream_read_full(); also ends, with less, when the reader
 * is gone. */
static ssize_t fill(struct thread_stream *self, struct chunk *chunk, struct error *err)
{
	size_t have = 0;
	while (have < self->chunk_bytes && !__atomic_load_n(&self->stop, __ATOMIC_RELAXED)) {
		ssize_t got =
			stream_read(self->below, chunk->data + have, self->chunk_bytes - have, err);
		if (got < 0)
			return -1;
		if (got == 0)
			break;
		have += (size_t)got;
	}
	return (ssize_t)have;
}

static void *run(void *argument)
{
	struct thread_stream *self = argument;
	struct error err = {.kind = ERROR_NONE};
	unsigned next = 0;
	for (;;) {
		pthread_mutex_lock(&self->lock);
		while (self->filled == self->chunk_count && !self->stop)
			pthread_cond_wait(&self->changed, &self->lock);
		bool stop = self->stop;
		pthread_mutex_unlock(&self->lock);
		if (stop)
			return NULL;
		struct chunk *chunk = &self->chunks[next];
		ssize_t got = fill(self, chunk, &err);
		pthread_mutex_lock(&self->lock);
		if (got > 0) {
			chunk->size = (size_t)got;
			self->filled++;
			next = (next + 1) % self->chunk_count;
		}
		/* Less than a whole chunk: the end, seen verified, or failed (or nobody is left to
		 * read). */
		bool over = got < (ssize_t)self->chunk_bytes;
		if (over) {
			self->below_ended = true;
			self->result = got < 0 ? -1 : 0;
			if (got < 0)
				self->failure = err;
		}
		pthread_cond_signal(&self->changed);
		pthread_mutex_unlock(&self->lock);
		if (over)
			return NULL;
	}
}

static ssize_t thread_read(struct stream *stream, void *data, size_t size, struct error *err)
{
	struct thread_stream *self = (struct thread_stream *)stream;
	pthread_mutex_lock(&self->lock);
	while (self->filled == 0 && !self->below_ended)
		pthread_cond_wait(&self->changed, &self->lock);
	bool have = self->filled > 0;
	pthread_mutex_unlock(&self->lock);
	if (!have) {
		if (self->result < 0)
			*err = self->failure;
		return self->result;
	}
	struct chunk *chunk = &self->chunks[self->first_filled];
	size_t count = chunk->size - self->offset < size ? chunk->size - self->offset : size;
	memcpy(data, chunk->data + self->offset, count);
	self->offset += count;
	if (self->offset == chunk->size) {
		self->offset = 0;
		pthread_mutex_lock(&self->lock);
		self->first_filled = (self->first_filled + 1) % self->chunk_count;
		self->filled--;
		pthread_cond_signal(&self->changed);
		pthread_mutex_unlock(&self->lock);
	}
	return (ssize_t)count;
}

static void release(struct thread_stream *self)
{
	for (unsigned i = 0; i < self->chunk_count; i++)
		free(self->chunks[i].data);
	pthread_mutex_destroy(&self->lock);
	pthread_cond_destroy(&self->changed);
	stream_close(self->below);
	free(self);
}

static void thread_close(struct stream *stream)
{
	struct thread_stream *self = (struct thread_stream *)stream;
	pthread_mutex_lock(&self->lock);
	__atomic_store_n(&self->stop, true, __ATOMIC_RELAXED);
	pthread_cond_signal(&self->changed);
	pthread_mutex_unlock(&self->lock);
	pthread_join(self->thread, NULL);
	release(self);
}

int stream_in_thread(struct stream *below, size_t chunk_bytes, unsigned chunks,
		     struct stream **ret_stream, struct error *err)
{
	static const struct stream_operations operations = {.read = thread_read,
							    .close = thread_close};
	struct thread_stream *self = calloc(1, sizeof(*self) + chunks * sizeof(self->chunks[0]));
	if (!self) {
		stream_close(below);
		return error_set(err, ERROR_MEMORY, "no memory for a stage");
	}
	self->stream = (struct stream){.operations = &operations,
				       .size_bytes = below->size_bytes,
				       .least_bytes = below->least_bytes};
	self->below = below;
	self->chunk_bytes = chunk_bytes;
	self->chunk_count = chunks;
	pthread_mutex_init(&self->lock, NULL);
	pthread_cond_init(&self->changed, NULL);
	for (unsigned i = 0; i < chunks; i++) {
		void *data;
		if (posix_memalign(&data, 4096, chunk_bytes) != 0) {
			release(self);
			return error_set(err, ERROR_MEMORY, "no memory for %u buffers of %zu bytes",
					 chunks, chunk_bytes);
		}
		self->chunks[i].data = data;
	}
	int errnum = pthread_create(&self->thread, NULL, run, self);
	if (errnum != 0) {
		release(self);
		return error_errno(err, errnum, "start a thread");
	}
	*ret_stream = &self->stream;
	return 0;
}
