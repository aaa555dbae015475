/*
 * Writing an image to a disk so that it is either whole or visibly not there: the ends cleared
 * first, the beginning written last. Declared in disk.h. Here is the engine: buffers, threads and
 * the order of things; what one thread does with one piece of the disk stands in disk_io.c.
 */
#include "platform/disk.h"
#include "platform/memory.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "platform/digest.h"
#include "platform/disk_io.h"

enum {
	BUFFERS = 16,
	THREADS = 4,
	/* Zeros are queued in pieces: every thread has some when the device cannot clear, and
	 * progress shows. */
	ZERO_PIECE_BYTES = 64 << 20,
	VERIFY_PIECE_BYTES = 1 << 20,
};

struct record {
	uint64_t offset;
	uint64_t size_bytes;
	bool zero;
	uint8_t digest[16]; /* the beginning of its SHA-256 */
};

enum job_kind {
	JOB_WRITE,
	JOB_ZERO,
	JOB_VERIFY
};

struct job {
	enum job_kind kind;
	struct buffer_slot *slot; /* JOB_WRITE: given back when done */
	const uint8_t *data;
	uint64_t offset;
	uint64_t size_bytes;
	struct record expected; /* JOB_VERIFY */
};

struct buffer_slot {
	uint8_t *data;
	struct buffer_slot *next_free;
};

struct disk_writer {
	const struct disk *disk;
	struct disk_writer_options options;
	struct disk_io io;
	uint8_t *head; /* the first DISK_HEAD_BYTES of the image */
	struct buffer_slot slots[BUFFERS];
	struct buffer_slot *current;      /* out with the caller */
	uint64_t zero_offset, zero_bytes; /* a run of zeros that may go on, not queued yet */

	pthread_mutex_t lock;
	pthread_cond_t work;     /* a job came, or stop */
	pthread_cond_t progress; /* a job is done */
	struct buffer_slot *free_slots;
	struct job queue[BUFFERS];
	unsigned queue_first, queue_size;
	unsigned running;
	bool stop;
	bool failed;
	struct error failure;
	uint64_t taken_bytes;
	uint64_t verified_bytes;
	struct record *records;
	size_t record_count, record_room;

	pthread_t threads[THREADS];
	unsigned thread_count;
};

static void fail(struct disk_writer *writer, const struct error *err)
{
	pthread_mutex_lock(&writer->lock);
	if (!writer->failed) {
		writer->failure = *err;
		__atomic_store_n(&writer->failed, true, __ATOMIC_RELAXED);
	}
	pthread_mutex_unlock(&writer->lock);
}

static void digest_short(const uint8_t *data, size_t size, uint8_t out[16])
{
	struct digest digest;
	digest_memory(DIGEST_SHA256, data, size, &digest);
	memcpy(out, digest.bytes, 16);
}

/* Remembers what a range must read as. Neighbouring zeros become one record. */
static int remember(struct disk_writer *writer, const struct record *record, struct error *err)
{
	pthread_mutex_lock(&writer->lock);
	struct record *last =
		writer->record_count ? &writer->records[writer->record_count - 1] : NULL;
	int result = 0;
	if (last && last->zero && record->zero &&
	    last->offset + last->size_bytes == record->offset) {
		last->size_bytes += record->size_bytes;
	} else {
		if (writer->record_count == writer->record_room) {
			size_t room = writer->record_room ? writer->record_room * 2 : 256;
			struct record *more =
				reallocarray(writer->records, room, sizeof(writer->records[0]));
			if (more) {
				writer->records = more;
				writer->record_room = room;
			} else {
				result = error_set(err, ERROR_MEMORY,
						   "no memory for the digests of what was written");
			}
		}
		if (result == 0)
			writer->records[writer->record_count++] = *record;
	}
	pthread_mutex_unlock(&writer->lock);
	return result;
}

static int verify_piece(struct disk_writer *writer, struct disk_scratch *scratch,
			const struct record *expected, struct error *err)
{
	const uint8_t *found;
	if (disk_io_read(&writer->io, scratch, expected->offset, expected->size_bytes, &found,
			 err) < 0)
		return -1;
	bool same;
	if (expected->zero) {
		same = memory_is_zero(found, expected->size_bytes);
	} else {
		uint8_t digest[16];
		digest_short(found, expected->size_bytes, digest);
		same = memcmp(digest, expected->digest, sizeof(digest)) == 0;
	}
	return same ? 0
		    : error_set(err, ERROR_CORRUPT,
				"%s does not hold what was written to it: read back, bytes %" PRIu64
				" to %" PRIu64 " differ (is the disk failing?)",
				writer->disk->path, expected->offset,
				expected->offset + expected->size_bytes - 1);
}

static int do_job(struct disk_writer *writer, const struct job *job, struct disk_scratch *scratch,
		  struct error *err)
{
	switch (job->kind) {
	case JOB_VERIFY:
		return verify_piece(writer, scratch, &job->expected, err);
	case JOB_ZERO:
		return disk_io_zero(&writer->io, scratch, job->offset, job->size_bytes, err);
	case JOB_WRITE:
	default:
		if (writer->options.record) {
			struct record record = {.offset = job->offset,
						.size_bytes = job->size_bytes};
			digest_short(job->data, job->size_bytes, record.digest);
			if (remember(writer, &record, err) < 0)
				return -1;
		}
		return disk_io_write(&writer->io, scratch, job->data, job->size_bytes, job->offset,
				     err);
	}
}

static bool next_job(struct disk_writer *writer, struct job *ret_job)
{
	pthread_mutex_lock(&writer->lock);
	while (writer->queue_size == 0 && !writer->stop)
		pthread_cond_wait(&writer->work, &writer->lock);
	bool have = writer->queue_size > 0 && !writer->stop;
	if (have) {
		*ret_job = writer->queue[writer->queue_first];
		writer->queue_first = (writer->queue_first + 1) % BUFFERS;
		writer->queue_size--;
		writer->running++;
	}
	pthread_mutex_unlock(&writer->lock);
	return have;
}

static void job_done(struct disk_writer *writer, const struct job *job)
{
	pthread_mutex_lock(&writer->lock);
	writer->running--;
	if (job->kind == JOB_VERIFY)
		writer->verified_bytes += job->size_bytes;
	if (job->slot) {
		job->slot->next_free = writer->free_slots;
		writer->free_slots = job->slot;
	}
	pthread_cond_signal(&writer->progress);
	pthread_mutex_unlock(&writer->lock);
}

static void *run(void *argument)
{
	struct disk_writer *writer = argument;
	struct disk_scratch scratch = {.data = NULL};
	struct job job;
	while (next_job(writer, &job)) {
		struct error err = {.kind = ERROR_NONE};
		/* After a failure the rest is only taken out of the way. */
		if (!__atomic_load_n(&writer->failed, __ATOMIC_RELAXED) &&
		    do_job(writer, &job, &scratch, &err) < 0)
			fail(writer, &err);
		job_done(writer, &job);
	}
	disk_scratch_free(&scratch);
	return NULL;
}

/* With the lock held: what an earlier job left. */
static int take_failure(struct disk_writer *writer, struct error *err)
{
	if (!writer->failed)
		return 0;
	*err = writer->failure;
	return -1;
}

static int put_job(struct disk_writer *writer, const struct job *job, struct error *err)
{
	pthread_mutex_lock(&writer->lock);
	while (writer->queue_size == BUFFERS && !writer->failed)
		pthread_cond_wait(&writer->progress, &writer->lock);
	int result = take_failure(writer, err);
	if (result == 0) {
		writer->queue[(writer->queue_first + writer->queue_size) % BUFFERS] = *job;
		writer->queue_size++;
		pthread_cond_signal(&writer->work);
	}
	pthread_mutex_unlock(&writer->lock);
	return result;
}

/* Waits until nothing is queued or runs. */
static int drain(struct disk_writer *writer, struct error *err)
{
	pthread_mutex_lock(&writer->lock);
	while (writer->queue_size > 0 || writer->running > 0)
		pthread_cond_wait(&writer->progress, &writer->lock);
	int result = take_failure(writer, err);
	pthread_mutex_unlock(&writer->lock);
	return result;
}

static int start_threads(struct disk_writer *writer, struct error *err)
{
	for (; writer->thread_count < THREADS; writer->thread_count++) {
		int errnum =
			pthread_create(&writer->threads[writer->thread_count], NULL, run, writer);
		if (errnum != 0)
			return error_errno(err, errnum, "start a thread");
	}
	return 0;
}

int disk_writer_open(const struct disk *disk, const struct disk_writer_options *options,
		     struct disk_writer **ret_writer, struct error *err)
{
	auto_disk_writer struct disk_writer *writer = calloc(1, sizeof(*writer));
	if (!writer)
		abort();
	writer->disk = disk;
	writer->options = *options;
	writer->io = (struct disk_io){.direct_fd = -1};
	pthread_mutex_init(&writer->lock, NULL);
	pthread_cond_init(&writer->work, NULL);
	pthread_cond_init(&writer->progress, NULL);
	writer->head = disk_memory(DISK_HEAD_BYTES);
	bool enough = writer->head != NULL;
	for (unsigned i = 0; i < BUFFERS && enough; i++) {
		struct buffer_slot *slot = &writer->slots[i];
		slot->data = disk_memory(DISK_BUFFER_BYTES);
		enough = slot->data != NULL;
		slot->next_free = writer->free_slots;
		writer->free_slots = slot;
	}
	if (!enough)
		return error_set(err, ERROR_MEMORY, "no memory for %d MiB of write buffers",
				 BUFFERS);
	disk_io_open(&writer->io, disk, options->compare);
	if (start_threads(writer, err) < 0)
		return -1;
	*ret_writer = take_pointer(writer);
	return 0;
}

int disk_writer_begin(struct disk_writer *writer, struct error *err)
{
	const struct disk *disk = writer->disk;
	uint64_t size = disk->size_bytes < DISK_HEAD_BYTES ? disk->size_bytes : DISK_HEAD_BYTES;
	auto_free uint8_t *zeros = disk_memory(DISK_HEAD_BYTES);
	if (!zeros)
		return error_set(err, ERROR_MEMORY, "no memory for a block");
	if (disk_io_put(&writer->io, zeros, size, 0, err) < 0)
		return -1;
	if (!disk->is_partition &&
	    disk_io_put(&writer->io, zeros, size, disk->size_bytes - size, err) < 0)
		return -1;
	return disk_io_flush(&writer->io, err);
}

int disk_writer_buffer(struct disk_writer *writer, void **ret_buffer, struct error *err)
{
	pthread_mutex_lock(&writer->lock);
	while (!writer->current && !writer->free_slots && !writer->failed)
		pthread_cond_wait(&writer->progress, &writer->lock);
	int result = take_failure(writer, err);
	if (result == 0 && !writer->current) {
		writer->current = writer->free_slots;
		writer->free_slots = writer->current->next_free;
	}
	pthread_mutex_unlock(&writer->lock);
	if (result == 0)
		*ret_buffer = writer->current->data;
	return result;
}

/* Queues the run of zeros that has ended. */
static int put_zeros(struct disk_writer *writer, struct error *err)
{
	uint64_t offset = writer->zero_offset, left = writer->zero_bytes;
	const struct record record = {.offset = offset, .size_bytes = left, .zero = true};
	writer->zero_bytes = 0;
	if (left > 0 && writer->options.record && remember(writer, &record, err) < 0)
		return -1;
	while (left > 0) {
		uint64_t piece = left < ZERO_PIECE_BYTES ? left : ZERO_PIECE_BYTES;
		const struct job job = {.kind = JOB_ZERO, .offset = offset, .size_bytes = piece};
		if (put_job(writer, &job, err) < 0)
			return -1;
		offset += piece;
		left -= piece;
	}
	return 0;
}

/* Zeros behind the head: one run with those before them, as long as that is no more than a piece.
 */
static int add_zeros(struct disk_writer *writer, uint64_t offset, uint64_t size_bytes,
		     struct error *err)
{
	bool goes_on = writer->zero_bytes > 0 && writer->zero_bytes < ZERO_PIECE_BYTES &&
		       writer->zero_offset + writer->zero_bytes == offset;
	if (!goes_on) {
		if (put_zeros(writer, err) < 0)
			return -1;
		writer->zero_offset = offset;
	}
	writer->zero_bytes += size_bytes;
	return 0;
}

/* Accounts for an extent of the image. */
static int take_extent(struct disk_writer *writer, uint64_t offset, uint64_t size_bytes,
		       struct error *err)
{
	const struct disk *disk = writer->disk;
	if (offset > disk->size_bytes || size_bytes > disk->size_bytes - offset)
		return error_set(err, ERROR_INPUT,
				 "the image is larger than %s, which holds %" PRIu64 " bytes",
				 disk->path, disk->size_bytes);
	__atomic_store_n(&writer->taken_bytes, writer->taken_bytes + size_bytes, __ATOMIC_RELAXED);
	return 0;
}

int disk_writer_submit(struct disk_writer *writer, uint64_t offset, size_t size_bytes,
		       struct error *err)
{
	if (!writer->current || size_bytes > DISK_BUFFER_BYTES)
		return error_set(err, ERROR_BUG, "a block was submitted without a buffer");
	if (take_extent(writer, offset, size_bytes, err) < 0)
		return -1;
	const uint8_t *data = writer->current->data;
	size_t in_head = 0;
	if (offset < DISK_HEAD_BYTES) {
		uint64_t room = DISK_HEAD_BYTES - offset;
		in_head = size_bytes < room ? size_bytes : (size_t)room;
		memcpy(writer->head + offset, data, in_head);
	}
	if (in_head == size_bytes)
		return 0; /* the buffer stays with the caller */
	/* Zeros are found here, while they are in the processor's cache, and the buffer serves
	 * again: long runs of them never leave it. */
	if (!writer->options.compare && memory_is_zero(data + in_head, size_bytes - in_head))
		return add_zeros(writer, offset + in_head, size_bytes - in_head, err);
	const struct job job = {.kind = JOB_WRITE,
				.slot = writer->current,
				.data = data + in_head,
				.offset = offset + in_head,
				.size_bytes = size_bytes - in_head};
	writer->current = NULL;
	return put_job(writer, &job, err);
}

int disk_writer_zero(struct disk_writer *writer, uint64_t offset, uint64_t size_bytes,
		     struct error *err)
{
	if (take_extent(writer, offset, size_bytes, err) < 0)
		return -1;
	if (offset < DISK_HEAD_BYTES) { /* the head is zero where nothing was put */
		uint64_t in_head = DISK_HEAD_BYTES - offset;
		in_head = size_bytes < in_head ? size_bytes : in_head;
		offset += in_head;
		size_bytes -= in_head;
	}
	if (size_bytes == 0)
		return 0;
	return add_zeros(writer, offset, size_bytes, err);
}

static int check_size(const struct disk_writer *writer, uint64_t image_bytes, struct error *err)
{
	if (image_bytes == 0)
		return error_set(err, ERROR_CORRUPT, "the image is empty");
	if (image_bytes % 512 != 0)
		return error_set(err, ERROR_CORRUPT,
				 "%" PRIu64 " bytes are no disk image: its size is not a multiple "
				 "of 512 (is it complete? is it an image?)",
				 image_bytes);
	if (writer->taken_bytes != image_bytes)
		return error_set(err, ERROR_BUG,
				 "the image has %" PRIu64 " bytes, %" PRIu64 " came", image_bytes,
				 writer->taken_bytes);
	return 0;
}

int disk_writer_flush(struct disk_writer *writer, uint64_t image_bytes, struct error *err)
{
	if (put_zeros(writer, err) < 0 || drain(writer, err) < 0 ||
	    check_size(writer, image_bytes, err) < 0)
		return -1;
	return disk_io_flush(&writer->io, err);
}

const uint8_t *disk_writer_head(const struct disk_writer *writer)
{
	return writer->head;
}

static uint64_t verified_bytes(struct disk_writer *writer)
{
	pthread_mutex_lock(&writer->lock);
	uint64_t bytes = writer->verified_bytes;
	pthread_mutex_unlock(&writer->lock);
	return bytes;
}

int disk_writer_verify(struct disk_writer *writer,
		       void (*progress)(void *context, uint64_t done_bytes), void *context,
		       struct error *err)
{
	if (!writer->options.record)
		return error_set(err, ERROR_BUG, "nothing was recorded to be verified");
	disk_forget_cache(writer->disk);
	for (size_t i = 0; i < writer->record_count; i++) {
		struct job job = {.kind = JOB_VERIFY, .expected = writer->records[i]};
		uint64_t end = job.expected.offset + job.expected.size_bytes;
		while (job.expected.offset < end) {
			uint64_t left = end - job.expected.offset;
			job.size_bytes = left < VERIFY_PIECE_BYTES ? left : VERIFY_PIECE_BYTES;
			job.expected.size_bytes = job.size_bytes;
			if (put_job(writer, &job, err) < 0)
				return -1;
			job.expected.offset += job.size_bytes;
			if (progress)
				progress(context, verified_bytes(writer));
		}
	}
	return drain(writer, err);
}

static int verify_head(struct disk_writer *writer, uint64_t size, struct error *err)
{
	struct disk_scratch scratch = {.data = NULL};
	struct record expected = {.offset = 0, .size_bytes = size};
	digest_short(writer->head, size, expected.digest);
	disk_forget_cache(writer->disk);
	int result = verify_piece(writer, &scratch, &expected, err);
	disk_scratch_free(&scratch);
	return result;
}

/* A part of the head that is cut between its sectors must not boot either: the first sector, which
 * a device writes whole or not at all, comes when all behind it is there. */
static int put_head(struct disk_writer *writer, uint64_t size, struct error *err)
{
	unsigned sector = writer->disk->sector_bytes;
	if (size > sector &&
	    (disk_io_put(&writer->io, writer->head + sector, size - sector, sector, err) < 0 ||
	     disk_io_flush(&writer->io, err) < 0))
		return -1;
	if (disk_io_put(&writer->io, writer->head, size < sector ? size : sector, 0, err) < 0)
		return -1;
	return disk_io_flush(&writer->io, err);
}

int disk_writer_take_back(struct disk_writer *writer, struct error *err)
{
	struct error ignored;
	const struct disk *disk = writer->disk;
	uint64_t size = disk->size_bytes < DISK_HEAD_BYTES ? disk->size_bytes : DISK_HEAD_BYTES;
	memset(writer->head, 0, DISK_HEAD_BYTES);
	if (disk_io_put(&writer->io, writer->head, size, 0, &ignored) == 0 &&
	    disk_io_flush(&writer->io, &ignored) == 0)
		return error_append(err,
				    "; the beginning of %s was cleared again: it does not boot",
				    disk->path);
	return error_append(
		err,
		"; the beginning of %s could not be cleared again: it may boot although "
		"it is not known to be whole",
		disk->path);
}

int disk_writer_finish(struct disk_writer *writer, struct error *err)
{
	uint64_t size =
		writer->taken_bytes < DISK_HEAD_BYTES ? writer->taken_bytes : DISK_HEAD_BYTES;
	if (put_head(writer, size, err) < 0 ||
	    (writer->options.record && verify_head(writer, size, err) < 0))
		return disk_writer_take_back(writer, err);
	disk_io_count(&writer->io.written_bytes, size);
	return 0;
}

void disk_writer_free(struct disk_writer *writer)
{
	if (!writer)
		return;
	pthread_mutex_lock(&writer->lock);
	writer->stop = true;
	pthread_cond_broadcast(&writer->work);
	pthread_mutex_unlock(&writer->lock);
	for (unsigned i = 0; i < writer->thread_count; i++)
		pthread_join(writer->threads[i], NULL);
	disk_io_close(&writer->io);
	for (unsigned i = 0; i < BUFFERS; i++)
		free(writer->slots[i].data);
	pthread_mutex_destroy(&writer->lock);
	pthread_cond_destroy(&writer->work);
	pthread_cond_destroy(&writer->progress);
	free(writer->records);
	free(writer->head);
	free(writer);
}

struct disk_writer_counts disk_writer_counts(struct disk_writer *writer)
{
	const struct disk_io *io = &writer->io;
	return (struct disk_writer_counts){
		.image_bytes = __atomic_load_n(&writer->taken_bytes, __ATOMIC_RELAXED),
		.written_bytes = __atomic_load_n(&io->written_bytes, __ATOMIC_RELAXED),
		.cleared_bytes = __atomic_load_n(&io->cleared_bytes, __ATOMIC_RELAXED),
		.same_bytes = __atomic_load_n(&io->same_bytes, __ATOMIC_RELAXED)};
}
