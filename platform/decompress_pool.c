/*
 * The threads of decompress_pool.h. The pieces stand in a ring, numbered as they were cut: numbers
 * from head to next are the reader's, being decoded, or being cut (the last one at most).
 */
#include "platform/decompress_pool.h"

#include <pthread.h>
#include <stdlib.h>

struct pool {
	struct decoder *decoder;
	const struct pool_work *work;
	pthread_mutex_t lock;
	pthread_cond_t changed; /* for the threads */
	pthread_cond_t done;    /* for the reader */
	uint64_t head, next;
	bool cutting; /* somebody is at the input */
	bool halted;  /* nothing more is cut: the end, a failure, or until pool_resume() */
	bool stop;
	unsigned thread_count, piece_count;
	unsigned together; /* pieces that a thread takes at once */
	pthread_t threads[DECOMPRESS_THREADS_MOST];
	struct piece pieces[];
};

static int make_room(uint8_t **data, size_t *room, size_t size, struct error *err)
{
	if (size <= *room)
		return 0;
	uint8_t *bigger = realloc(*data, size);
	if (!bigger)
		return error_set(err, ERROR_MEMORY, "no memory for %zu bytes to decode", size);
	*data = bigger;
	*room = size;
	return 0;
}

int piece_in(struct piece *piece, size_t size, struct error *err)
{
	return make_room(&piece->in, &piece->in_room, size, err);
}

int piece_out(struct piece *piece, size_t size, struct error *err)
{
	return make_room(&piece->out, &piece->out_room, size, err);
}

static void empty(struct piece *piece)
{
	free(piece->in);
	free(piece->out);
	*piece = (struct piece){0};
}

static size_t held_bytes(const struct pool *pool)
{
	size_t held = 0;
	for (unsigned i = 0; i < pool->piece_count; i++)
		held += pool->pieces[i].held;
	return held;
}

/* Whether a thread may cut the next piece now. The lock is held. */
static bool may_cut(const struct pool *pool)
{
	if (pool->cutting || pool->halted || pool->next - pool->head >= pool->piece_count)
		return false;
	return pool->next == pool->head ||
	       held_bytes(pool) + pool->work->piece_bytes <= POOL_MEMORY_BYTES;
}

/* Cuts the next piece: NULL when it is none to decode. The lock is held. */
static struct piece *cut(struct pool *pool)
{
	struct piece *piece = &pool->pieces[pool->next++ % pool->piece_count];
	pool->cutting = true;
	pthread_mutex_unlock(&pool->lock);
	piece->kind = PIECE_DATA;
	piece->in_size = piece->out_size = 0;
	int result = pool->work->cut(pool->decoder, piece, &piece->err);
	pthread_mutex_lock(&pool->lock);
	pool->cutting = false;
	piece->held = piece->in_room + piece->out_room;
	if (result == 0)
		piece->kind = PIECE_END;
	piece->result = result < 0 ? -1 : 0;
	bool decode = result > 0 && piece->kind == PIECE_DATA;
	if (!decode) {
		pool->halted = true;
		piece->done = true;
		pthread_cond_signal(&pool->done);
	}
	pthread_cond_broadcast(&pool->changed);
	return decode ? piece : NULL;
}

static void decode(struct pool *pool, void *context, struct piece *const *pieces, unsigned count)
{
	if (context) {
		pool->work->decode(context, pieces, count);
		return;
	}
	for (unsigned i = 0; i < count; i++)
		pieces[i]->result = error_set(&pieces[i]->err, ERROR_MEMORY,
					      "no memory for a thread that decodes");
}

static void *run(void *argument)
{
	struct pool *pool = argument;
	void *context = pool->work->open(pool->together);
	pthread_mutex_lock(&pool->lock);
	while (!pool->stop) {
		if (!may_cut(pool)) {
			pthread_cond_wait(&pool->changed, &pool->lock);
			continue;
		}
		struct piece *pieces[POOL_TOGETHER_MOST];
		unsigned count = 0;
		while (count < pool->together && !pool->stop && may_cut(pool)) {
			struct piece *piece = cut(pool);
			if (!piece)
				break;
			pieces[count++] = piece;
		}
		if (count == 0)
			continue;
		pthread_mutex_unlock(&pool->lock);
		decode(pool, context, pieces, count);
		pthread_mutex_lock(&pool->lock);
		for (unsigned i = 0; i < count; i++)
			pieces[i]->done = true;
		pthread_cond_signal(&pool->done);
	}
	pthread_mutex_unlock(&pool->lock);
	if (context)
		pool->work->close(context);
	return NULL;
}

int pool_open(struct decoder *decoder, const struct pool_work *work, struct pool **ret_pool,
	      struct error *err)
{
	unsigned together = DECOMPRESS_THREADS_MOST / decoder->threads;
	if (together > work->together)
		together = work->together;
	/* One piece for the reader, one that waits for it. */
	unsigned pieces = decoder->threads * together + 2;
	struct pool *pool = calloc(1, sizeof(*pool) + pieces * sizeof(pool->pieces[0]));
	if (!pool)
		return decoder_no_memory(decoder, err);
	pool->decoder = decoder;
	pool->work = work;
	pool->piece_count = pieces;
	pool->together = together;
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->changed, NULL);
	pthread_cond_init(&pool->done, NULL);
	for (; pool->thread_count < decoder->threads; pool->thread_count++) {
		int errnum = pthread_create(&pool->threads[pool->thread_count], NULL, run, pool);
		if (errnum != 0 && pool->thread_count == 0) {
			pool_close(pool);
			return error_errno(err, errnum, "start a thread");
		}
		if (errnum != 0)
			break; /* fewer will do */
	}
	*ret_pool = pool;
	return 0;
}

struct piece *pool_next(struct pool *pool)
{
	struct piece *piece = &pool->pieces[pool->head % pool->piece_count];
	pthread_mutex_lock(&pool->lock);
	while (pool->head == pool->next || !piece->done)
		pthread_cond_wait(&pool->done, &pool->lock);
	pthread_mutex_unlock(&pool->lock);
	return piece;
}

static void release(struct pool *pool, bool go_on)
{
	pthread_mutex_lock(&pool->lock);
	struct piece *piece = &pool->pieces[pool->head % pool->piece_count];
	/* Large pieces do not keep their memory from the others. */
	if (held_bytes(pool) > POOL_MEMORY_BYTES / 2)
		empty(piece);
	piece->done = false;
	pool->head++;
	if (go_on)
		pool->halted = false;
	pthread_cond_broadcast(&pool->changed);
	pthread_mutex_unlock(&pool->lock);
}

void pool_release(struct pool *pool)
{
	release(pool, false);
}

void pool_resume(struct pool *pool)
{
	release(pool, true);
}

void pool_close(struct pool *pool)
{
	if (!pool)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->stop = true;
	__atomic_store_n(&pool->decoder->stop, true, __ATOMIC_RELAXED);
	pthread_cond_broadcast(&pool->changed);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned i = 0; i < pool->thread_count; i++)
		pthread_join(pool->threads[i], NULL);
	for (unsigned i = 0; i < pool->piece_count; i++)
		empty(&pool->pieces[i]);
	pthread_mutex_destroy(&pool->lock);
	pthread_cond_destroy(&pool->changed);
	pthread_cond_destroy(&pool->done);
	free(pool);
}
