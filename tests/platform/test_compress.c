/* Round trips through our own decoders, at sizes around the pieces; what fails below fails. */
#include "tests/unit.h"

#include "platform/compress.h"
#include "platform/decompress.h"

static const enum compression both[] = {COMPRESSION_GZIP, COMPRESSION_ZSTD};

/* Reads all, in pieces of odd sizes. */
static uint8_t *read_all(struct stream *stream, size_t *ret_size)
{
	struct error err;
	size_t capacity = 64 << 20, size = 0;
	uint8_t *data = malloc(capacity);
	assert_non_null(data);
	for (;;) {
		ssize_t got = stream_read(stream, data + size, 77777, &err);
		if (got < 0)
			fail_msg("%s", err.text);
		if (got == 0)
			break;
		size += (size_t)got;
		assert_true(size < capacity - 77777);
	}
	*ret_size = size;
	return data;
}

static size_t round_trip(const uint8_t *data, size_t size, enum compression compression,
			 unsigned threads)
{
	struct error err;
	struct stream *stream = NULL;
	assert_ok(compress_stream(stream_from_memory(data, size), compression, threads, &stream,
				  &err));
	size_t packed_size, unpacked_size;
	uint8_t *packed = read_all(stream, &packed_size);
	stream_close(stream);
	enum compression found;
	assert_int_equal(compression_detect(packed, packed_size), compression);
	assert_ok(
		decompress_stream(stream_from_memory(packed, packed_size), &stream, &found, &err));
	uint8_t *unpacked = read_all(stream, &unpacked_size);
	stream_close(stream);
	assert_int_equal(unpacked_size, size);
	assert_memory_equal(unpacked, data, size);
	free(packed);
	free(unpacked);
	return packed_size;
}

static void test_sizes(void **state)
{
	(void)state;
	const size_t piece = COMPRESS_PIECE_BYTES;
	const size_t sizes[] = {0, 1, 511, piece - 1, piece, piece + 1, 3 * piece + 5, 11 * piece};
	size_t most = 11 * piece;
	uint8_t *data = malloc(most);
	assert_non_null(data);
	fill_random(data, most, 1);
	memset(data + 2 * piece, 0, 3 * piece + 100);
	for (size_t i = 0; i < COUNT(both); i++)
		for (size_t j = 0; j < COUNT(sizes); j++)
			round_trip(data, sizes[j], both[i], 1 + (unsigned)j % 3);
	free(data);
}

static void test_zeros_become_small(void **state)
{
	(void)state;
	const size_t size = 16 * (size_t)COMPRESS_PIECE_BYTES;
	uint8_t *data = calloc(1, size);
	assert_non_null(data);
	for (size_t i = 0; i < COUNT(both); i++)
		assert_true(round_trip(data, size, both[i], 0) < size / 500);
	free(data);
}

/* A stream that breaks after some bytes. */
struct broken {
	struct stream stream;
	size_t left;
};

static ssize_t broken_read(struct stream *stream, void *data, size_t size, struct error *err)
{
	struct broken *self = (struct broken *)stream;
	if (self->left == 0)
		return error_set(err, ERROR_IO, "a bad sector");
	size_t count = self->left < size ? self->left : size;
	fill_random(data, count, 7);
	self->left -= count;
	return (ssize_t)count;
}

static void broken_close(struct stream *stream)
{
	free(stream);
}

static struct stream *broken_stream(size_t left)
{
	static const struct stream_operations operations = {.read = broken_read,
							    .close = broken_close};
	struct broken *self = calloc(1, sizeof(*self));
	assert_non_null(self);
	self->stream =
		(struct stream){.operations = &operations, .size_bytes = STREAM_SIZE_UNKNOWN};
	self->left = left;
	return &self->stream;
}

static void test_failure_below(void **state)
{
	(void)state;
	struct error err = {.kind = ERROR_NONE};
	static uint8_t data[1 << 20];
	for (size_t i = 0; i < COUNT(both); i++) {
		struct stream *stream = NULL;
		ssize_t got;
		assert_ok(compress_stream(broken_stream(5 * COMPRESS_PIECE_BYTES + 3), both[i], 2,
					  &stream, &err));
		while ((got = stream_read(stream, data, sizeof(data), &err)) > 0)
			;
		assert_int_equal(got, -1);
		assert_error(ERROR_IO, "a bad sector");
		stream_close(stream);
	}
}

/* The reader goes away in the middle: nothing hangs, nothing leaks. */
static void test_closed_early(void **state)
{
	(void)state;
	struct error err;
	uint8_t data[100];
	for (size_t i = 0; i < COUNT(both); i++) {
		struct stream *stream = NULL;
		assert_ok(compress_stream(broken_stream(64 << 20), both[i], 3, &stream, &err));
		assert_true(stream_read(stream, data, sizeof(data), &err) > 0);
		stream_close(stream);
		assert_ok(compress_stream(broken_stream(64 << 20), both[i], 3, &stream, &err));
		stream_close(stream);
	}
}

static void test_unsupported(void **state)
{
	(void)state;
	struct error err;
	struct stream *stream = NULL;
	assert_fails(compress_stream(stream_from_memory("", 0), COMPRESSION_XZ, 1, &stream, &err),
		     ERROR_UNSUPPORTED, "xz");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),         cmocka_unit_test(test_zeros_become_small),
		cmocka_unit_test(test_failure_below), cmocka_unit_test(test_closed_early),
		cmocka_unit_test(test_unsupported),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
