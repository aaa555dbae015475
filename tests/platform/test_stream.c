/* The common part of streams, their sources, and the thread stage. */
#include "tests/unit.h"

#include <pthread.h>
#include <semaphore.h>

#include "platform/stream.h"

/* A source that gives count pieces of piece bytes, then ends or fails; it tells how often it was
 * read and that it was closed. */
struct probe {
	struct stream stream;
	unsigned count;
	size_t piece;
	bool fails;
	sem_t *allowed; /* each read takes one; NULL: any number */
	unsigned *reads, *closed;
	unsigned given;
};

static ssize_t probe_read(struct stream *stream, void *data, size_t size, struct error *err)
{
	struct probe *self = (struct probe *)stream;
	__atomic_add_fetch(self->reads, 1, __ATOMIC_SEQ_CST);
	if (self->allowed)
		sem_wait(self->allowed);
	if (self->given == self->count)
		return self->fails ? error_set(err, ERROR_CORRUPT, "the probe fails") : 0;
	size_t piece = self->piece < size ? self->piece : size;
	memset(data, (int)self->given++, piece);
	return (ssize_t)piece;
}

static void probe_close(struct stream *stream)
{
	__atomic_add_fetch(((struct probe *)stream)->closed, 1, __ATOMIC_SEQ_CST);
	free(stream);
}

static struct stream *probe_new(unsigned count, size_t piece, bool fails, unsigned *reads,
				unsigned *closed)
{
	static const struct stream_operations operations = {.read = probe_read,
							    .close = probe_close};
	struct probe *self = calloc(1, sizeof(*self));
	assert_non_null(self);
	*reads = *closed = 0;
	*self = (struct probe){
		.stream = {.operations = &operations, .size_bytes = STREAM_SIZE_UNKNOWN},
		.count = count,
		.piece = piece,
		.fails = fails,
		.reads = reads,
		.closed = closed};
	return &self->stream;
}

static void keeps_its_end(void **state)
{
	(void)state;
	struct error err;
	unsigned reads, closed;
	uint8_t data[10];
	struct stream *stream = probe_new(1, 3, false, &reads, &closed);
	assert_int_equal(stream_read(stream, data, sizeof(data), &err), 3);
	assert_int_equal(stream_position(stream), 3);
	assert_int_equal(stream_read(stream, data, sizeof(data), &err), 0);
	assert_int_equal(stream_read(stream, data, sizeof(data), &err), 0);
	assert_int_equal(reads, 2); /* the stage is not asked again after its end */
	stream_close(stream);
	assert_int_equal(closed, 1);
	stream_close(NULL);
}

static void does_not_come_back_from_a_failure(void **state)
{
	(void)state;
	struct error err;
	unsigned reads, closed;
	uint8_t data[10];
	struct stream *stream = probe_new(1, 3, true, &reads, &closed);
	assert_fails(stream_read_full(stream, data, sizeof(data), &err), ERROR_CORRUPT,
		     "the probe fails");
	assert_fails(stream_read(stream, data, sizeof(data), &err), ERROR_BUG, "has failed");
	assert_int_equal(reads, 2);
	stream_close(stream);
}

static void reads_full_over_pieces(void **state)
{
	(void)state;
	struct error err;
	unsigned reads, closed;
	uint8_t data[100];
	struct stream *stream = probe_new(8, 7, false, &reads, &closed);
	assert_int_equal(stream_read_full(stream, data, 50, &err), 50);
	assert_int_equal(data[0], 0);
	assert_int_equal(data[49], 7);
	assert_int_equal(stream_read_full(stream, data, 50, &err), 0);
	stream_close(stream);
}

static void gives_bytes_of_memory(void **state)
{
	(void)state;
	struct error err;
	uint8_t data[1000], out[1000];
	fill_random(data, sizeof(data), 3);
	struct stream *stream = stream_from_memory(data, sizeof(data));
	assert_int_equal(stream->size_bytes, 1000);
	size_t have = 0;
	for (ssize_t got; (got = stream_read(stream, out + have, 7, &err)) > 0;)
		have += (size_t)got;
	assert_int_equal(have, 1000);
	assert_memory_equal(out, data, 1000);
	stream_close(stream);
	stream = stream_from_memory(NULL, 0);
	assert_int_equal(stream_read(stream, out, 1, &err), 0);
	stream_close(stream);
}

static struct stream *file_stream(const void *data, size_t size, uint64_t expected)
{
	FILE *file = tmpfile();
	assert_non_null(file);
	assert_int_equal(fwrite(data, 1, size, file), size);
	fflush(file);
	int fd = dup(fileno(file));
	fclose(file);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return stream_from_fd(fd, expected, "the file");
}

static void holds_a_file_to_its_size(void **state)
{
	(void)state;
	struct error err;
	uint8_t out[100];
	struct stream *stream = file_stream("abcdef", 6, 6);
	assert_int_equal(stream_read_full(stream, out, sizeof(out), &err), 6);
	stream_close(stream);
	stream = file_stream("abcdef", 6, STREAM_SIZE_UNKNOWN);
	assert_int_equal(stream_read_full(stream, out, sizeof(out), &err), 6);
	stream_close(stream);
	stream = file_stream("abcdef", 6, 7);
	assert_fails(stream_read_full(stream, out, sizeof(out), &err), ERROR_CORRUPT, "the file");
	stream_close(stream);
	stream = file_stream("abcdef", 6, 5);
	assert_fails(stream_read_full(stream, out, sizeof(out), &err), ERROR_CORRUPT, "the file");
	stream_close(stream);
	int directory = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	stream = stream_from_fd(directory, STREAM_SIZE_UNKNOWN, "a directory");
	assert_fails(stream_read(stream, out, sizeof(out), &err), ERROR_IO, "read a directory");
	stream_close(stream);
}

/* The thread stage */

static void thread_passes_all_bytes(void **state)
{
	(void)state;
	struct error err;
	enum {
		SIZE = 300000
	};
	uint8_t *data = malloc(SIZE), *out = malloc(SIZE);
	fill_random(data, SIZE, 4);
	/* Sizes that divide the data and sizes that do not; readers with less and with more room
	 * than a chunk. */
	static const size_t chunk_sizes[] = {1000, 4096, 99999, SIZE, SIZE + 1};
	static const size_t read_sizes[] = {777, 4096, SIZE};
	for (size_t i = 0; i < COUNT(chunk_sizes); i++) {
		for (size_t j = 0; j < COUNT(read_sizes); j++) {
			struct stream *stream = NULL;
			assert_ok(stream_in_thread(stream_from_memory(data, SIZE), chunk_sizes[i],
						   1 + (unsigned)j, &stream, &err));
			assert_int_equal(stream->size_bytes, SIZE);
			size_t have = 0;
			for (ssize_t got; have < SIZE; have += (size_t)got) {
				size_t room =
					read_sizes[j] < SIZE - have ? read_sizes[j] : SIZE - have;
				got = stream_read(stream, out + have, room, &err);
				assert_true(got > 0);
			}
			assert_memory_equal(out, data, SIZE);
			assert_int_equal(stream_read(stream, out, SIZE, &err), 0);
			assert_int_equal(stream_position(stream), SIZE);
			stream_close(stream);
		}
	}
	free(data);
	free(out);
}

static void thread_passes_the_failure(void **state)
{
	(void)state;
	struct error err;
	unsigned reads, closed;
	uint8_t data[64];
	/* At the border of a chunk and within one. */
	for (unsigned count = 0; count < 6; count++) {
		struct stream *stream = NULL;
		assert_ok(stream_in_thread(probe_new(count, 8, true, &reads, &closed), 16, 2,
					   &stream, &err));
		ssize_t got;
		size_t have = 0;
		while ((got = stream_read(stream, data, sizeof(data), &err)) > 0)
			have += (size_t)got;
		assert_int_equal(got, -1);
		assert_error(ERROR_CORRUPT, "the probe fails");
		assert_true(have <= count * 8);
		stream_close(stream);
		assert_int_equal(closed, 1);
	}
}

static void thread_reads_ahead_and_stops(void **state)
{
	(void)state;
	struct error err;
	unsigned reads, closed;
	struct stream *stream = NULL;
	assert_ok(stream_in_thread(probe_new(1000000, 8, false, &reads, &closed), 8, 3, &stream,
				   &err));
	/* Without any reader the ring fills up, and then no more is read. */
	while (__atomic_load_n(&reads, __ATOMIC_SEQ_CST) < 3)
		sched_yield();
	uint8_t data[8];
	assert_int_equal(stream_read(stream, data, 8, &err), 8);
	while (__atomic_load_n(&reads, __ATOMIC_SEQ_CST) < 4)
		sched_yield();
	stream_close(stream);
	assert_int_equal(closed, 1);
	assert_int_equal(reads, 4);
}

static void *close_stream(void *stream)
{
	stream_close(stream);
	return NULL;
}

/* Whoever closes does not wait for a whole chunk from a slow source: one read, and it is over. */
static void thread_ends_after_one_read(void **state)
{
	(void)state;
	struct error err;
	enum {
		CHUNK = 1000000
	};
	unsigned reads, closed;
	sem_t allowed;
	pthread_t closer;
	sem_init(&allowed, 0, 0);
	struct stream *below = probe_new(UINT32_MAX, 1, false, &reads, &closed);
	((struct probe *)below)->allowed = &allowed;
	struct stream *stream = NULL;
	assert_ok(stream_in_thread(below, CHUNK, 2, &stream, &err));
	while (__atomic_load_n(&reads, __ATOMIC_SEQ_CST) == 0)
		sched_yield();
	assert_int_equal(pthread_create(&closer, NULL, close_stream, stream), 0);
	/* The source goes on byte by byte until the stream is closed. */
	while (__atomic_load_n(&closed, __ATOMIC_SEQ_CST) == 0) {
		unsigned before = __atomic_load_n(&reads, __ATOMIC_SEQ_CST);
		sem_post(&allowed);
		while (__atomic_load_n(&reads, __ATOMIC_SEQ_CST) == before &&
		       __atomic_load_n(&closed, __ATOMIC_SEQ_CST) == 0)
			sched_yield();
	}
	pthread_join(closer, NULL);
	assert_true(reads < CHUNK);
	sem_destroy(&allowed);
}

/* The bytes that were looked at come again, whether the stream is longer or not. */
static void peeks(void **state)
{
	(void)state;
	struct error err;
	uint8_t data[100], out[100];
	fill_random(data, sizeof(data), 1);
	static const size_t sizes[] = {0, 1, 40, 99, 100, 150};
	for (size_t i = 0; i < COUNT(sizes); i++) {
		struct stream *stream;
		const uint8_t *head;
		size_t head_size;
		assert_ok(stream_peek(stream_from_memory(data, sizeof(data)), sizes[i], &stream,
				      &head, &head_size, &err));
		assert_int_equal(head_size, sizes[i] < 100 ? sizes[i] : 100);
		assert_memory_equal(head, data, head_size);
		assert_int_equal(stream->size_bytes, 100);
		for (size_t at = 0; at < sizeof(out);) {
			ssize_t got = stream_read(stream, out + at, 7, &err);
			assert_true(got > 0);
			at += (size_t)got;
		}
		assert_int_equal(stream_read(stream, out, 1, &err), 0);
		assert_memory_equal(out, data, sizeof(data));
		stream_close(stream);
	}
	unsigned reads, closed;
	struct stream *stream;
	const uint8_t *head;
	size_t head_size;
	assert_fails(stream_peek(probe_new(1, 10, true, &reads, &closed), 20, &stream, &head,
				 &head_size, &err),
		     ERROR_CORRUPT, "the probe fails");
	assert_int_equal(closed, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keeps_its_end),
		cmocka_unit_test(does_not_come_back_from_a_failure),
		cmocka_unit_test(reads_full_over_pieces),
		cmocka_unit_test(gives_bytes_of_memory),
		cmocka_unit_test(holds_a_file_to_its_size),
		cmocka_unit_test(peeks),
		cmocka_unit_test(thread_passes_all_bytes),
		cmocka_unit_test(thread_passes_the_failure),
		cmocka_unit_test(thread_reads_ahead_and_stops),
		cmocka_unit_test(thread_ends_after_one_read),
	};
	return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
