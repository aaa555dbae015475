/* The threads that decode compressed clusters: a ring of jobs, each some clusters that are
 * neighbours on the disk. See qcow2.h. */
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "platform/qcow2.h"

enum {
	JOB_BYTES = 128 << 10, /* of output, unless a cluster is larger */
	POOL_BYTES = 12 << 20, /* of all jobs' output */
	THREADS_MOST = 8
};

enum job_state {
	JOB_FREE,
	JOB_OPEN,  /* the feeder's: more may be added */
	JOB_READY, /* for a thread */
	JOB_BUSY,
	JOB_DONE
};

struct job {
	enum job_state state;
	uint64_t guest;
	unsigned clusters;
	uint8_t *in;
	size_t in_capacity;
	size_t *ends; /* of each cluster's input in in */
	uint8_t *out;
	bool failed;
	struct error failure;
};

struct qcow2_pool {
	struct qcow2_header header;
	unsigned clusters_most; /* in a job */
	unsigned threads;
	pthread_t thread[THREADS_MOST];
	pthread_mutex_t lock;
	pthread_cond_t work; /* a job is ready, or the end */
	pthread_cond_t done;
	bool stop;
	unsigned jobs;
	unsigned put;     /* the job that is filled */
	unsigned take;    /* the job that comes out next */
	unsigned begun;   /* the job a thread takes next */
	unsigned waiting; /* jobs ready */
	unsigned used;    /* jobs not free: the feeder's own */
	size_t taken;     /* bytes, of the job that comes out */
	struct job job[];
};

static void decode(struct qcow2_pool *pool, struct job *job, struct block_decoder *decoder)
{
	uint32_t size = pool->header.cluster_bytes;
	size_t begin = 0;
	for (unsigned i = 0; i < job->clusters && !job->failed; i++) {
		if (block_decode(decoder, job->in + begin, job->ends[i] - begin,
				 job->out + (size_t)i * size, size, &job->failure) < 0) {
			job->failed = true;
			error_wrap(&job->failure,
				   "the compressed qcow2 cluster for the disk's byte %" PRIu64,
				   job->guest + (uint64_t)i * size);
		}
		begin = job->ends[i];
	}
}

static void *run(void *argument)
{
	struct qcow2_pool *pool = argument;
	struct block_decoder *decoder = NULL;
	struct error failure;
	int opened = block_decoder_open(pool->header.compression, &decoder, &failure);
	pthread_mutex_lock(&pool->lock);
	for (;;) {
		while (pool->waiting == 0 && !pool->stop)
			pthread_cond_wait(&pool->work, &pool->lock);
		if (pool->stop)
			break;
		struct job *job = &pool->job[pool->begun];
		pool->begun = (pool->begun + 1) % pool->jobs;
		pool->waiting--;
		job->state = JOB_BUSY;
		pthread_mutex_unlock(&pool->lock);
		if (opened < 0) {
			job->failed = true;
			job->failure = failure;
		} else {
			decode(pool, job, decoder);
		}
		pthread_mutex_lock(&pool->lock);
		job->state = JOB_DONE;
		pthread_cond_signal(&pool->done);
	}
	pthread_mutex_unlock(&pool->lock);
	block_decoder_free(decoder);
	return NULL;
}

int qcow2_pool_open(const struct qcow2_header *header, unsigned threads,
		    struct qcow2_pool **ret_pool, struct error *err)
{
	unsigned clusters =
		header->cluster_bytes < JOB_BYTES ? JOB_BYTES / header->cluster_bytes : 1;
	size_t out_bytes = (size_t)clusters * header->cluster_bytes;
	threads = threads < THREADS_MOST ? threads : THREADS_MOST;
	unsigned jobs = 4 * threads + 2;
	if (jobs > POOL_BYTES / out_bytes)
		jobs = (unsigned)(POOL_BYTES / out_bytes);
	struct qcow2_pool *pool = calloc(1, sizeof(*pool) + jobs * sizeof(pool->job[0]));
	if (!pool)
		abort();
	pool->header = *header;
	pool->clusters_most = clusters;
	pool->jobs = jobs;
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->work, NULL);
	pthread_cond_init(&pool->done, NULL);
	for (unsigned i = 0; i < jobs; i++) {
		pool->job[i].out = malloc(out_bytes);
		pool->job[i].ends = malloc(clusters * sizeof(pool->job[i].ends[0]));
		if (!pool->job[i].out || !pool->job[i].ends) {
			qcow2_pool_free(pool);
			return error_set(err, ERROR_MEMORY, "no memory to decode clusters");
		}
	}
	for (; pool->threads < threads; pool->threads++) {
		int errnum = pthread_create(&pool->thread[pool->threads], NULL, run, pool);
		if (errnum != 0) {
			qcow2_pool_free(pool);
			return error_errno(err, errnum, "start a thread");
		}
	}
	*ret_pool = pool;
	return 0;
}

void qcow2_pool_free(struct qcow2_pool *pool)
{
	if (!pool)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->stop = true;
	pthread_cond_broadcast(&pool->work);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned i = 0; i < pool->threads; i++)
		pthread_join(pool->thread[i], NULL);
	for (unsigned i = 0; i < pool->jobs; i++) {
		free(pool->job[i].in);
		free(pool->job[i].ends);
		free(pool->job[i].out);
	}
	pthread_mutex_destroy(&pool->lock);
	pthread_cond_destroy(&pool->work);
	pthread_cond_destroy(&pool->done);
	free(pool);
}

bool qcow2_pool_is_full(const struct qcow2_pool *pool)
{
	return pool->used == pool->jobs;
}

bool qcow2_pool_is_empty(const struct qcow2_pool *pool)
{
	return pool->used == 0;
}

/* Hands the job that was being filled to the threads. */
static void submit(struct qcow2_pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	pool->job[pool->put].state = JOB_READY;
	pool->waiting++;
	pthread_cond_signal(&pool->work);
	pthread_mutex_unlock(&pool->lock);
	pool->put = (pool->put + 1) % pool->jobs;
}

int qcow2_pool_add(struct qcow2_pool *pool, uint64_t guest, const uint8_t *data, size_t size,
		   struct error *err)
{
	struct job *job = &pool->job[pool->put];
	uint32_t cluster = pool->header.cluster_bytes;
	/* Only the feeder makes a job open and closes it again. */
	if (job->state == JOB_OPEN && job->guest + (uint64_t)job->clusters * cluster != guest) {
		submit(pool);
		job = &pool->job[pool->put];
	}
	if (job->state != JOB_OPEN) {
		*job = (struct job){.state = JOB_OPEN,
				    .guest = guest,
				    .in = job->in,
				    .in_capacity = job->in_capacity,
				    .ends = job->ends,
				    .out = job->out};
		pool->used++;
	}
	size_t have = job->clusters ? job->ends[job->clusters - 1] : 0;
	if (job->in_capacity - have < size) {
		size_t capacity = have + size + (have + size) / 2;
		uint8_t *in = realloc(job->in, capacity);
		if (!in)
			return error_set(err, ERROR_MEMORY, "no memory to decode clusters");
		job->in = in;
		job->in_capacity = capacity;
	}
	memcpy(job->in + have, data, size);
	job->ends[job->clusters++] = have + size;
	if (job->clusters == pool->clusters_most)
		submit(pool);
	return 0;
}

uint64_t qcow2_pool_next(const struct qcow2_pool *pool)
{
	return pool->job[pool->take].guest + pool->taken;
}

ssize_t qcow2_pool_take(struct qcow2_pool *pool, uint8_t *data, size_t size, struct error *err)
{
	struct job *job = &pool->job[pool->take];
	if (pool->take == pool->put && job->state == JOB_OPEN)
		submit(pool);
	pthread_mutex_lock(&pool->lock);
	while (job->state != JOB_DONE)
		pthread_cond_wait(&pool->done, &pool->lock);
	pthread_mutex_unlock(&pool->lock);
	if (job->failed) {
		*err = job->failure;
		return -1;
	}
	uint64_t bytes = (uint64_t)job->clusters * pool->header.cluster_bytes;
	if (bytes > pool->header.size_bytes - job->guest)
		bytes = pool->header.size_bytes - job->guest;
	size_t left = (size_t)bytes - pool->taken;
	size_t count = left < size ? left : size;
	memcpy(data, job->out + pool->taken, count);
	pool->taken += count;
	if (count == left) {
		job->state = JOB_FREE;
		pool->taken = 0;
		pool->take = (pool->take + 1) % pool->jobs;
		pool->used--;
	}
	return (ssize_t)count;
}
