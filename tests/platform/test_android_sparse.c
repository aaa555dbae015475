/* Android sparse images, built here chunk by chunk: every type, checksums, wrong and cut ones. What
 * img2simg makes is read in tests/e2e/test_forms.py. */
#include "tests/unit.h"

#include <zlib.h>

#include "platform/crc32.h"
#include "platform/image.h"

enum {
	BLOCK = 4096,
	BUFFER = 3 * BLOCK,
	FILE_MOST = 256 << 10,
	DISK_BLOCKS = 40,
	CHUNK_HEADER = 12,
	HEADER = 28,
	RAW = 0xcac1,
	FILL = 0xcac2,
	DONT_CARE = 0xcac3,
	CRC = 0xcac4
};

static uint8_t file[FILE_MOST], disk[DISK_BLOCKS * BLOCK];
static size_t file_size, disk_size;
static uint32_t chunks;

static void put16(uint8_t *to, unsigned value)
{
	to[0] = (uint8_t)value;
	to[1] = (uint8_t)(value >> 8);
}

static void put32(uint8_t *to, uint32_t value)
{
	put16(to, value & 0xffff);
	put16(to + 2, value >> 16);
}

static void begin(void)
{
	memset(file, 0, sizeof(file));
	memset(disk, 0, sizeof(disk));
	file_size = HEADER;
	disk_size = 0;
	chunks = 0;
}

static void end(void)
{
	put32(file, 0xed26ff3a);
	put16(file + 4, 1);
	put16(file + 8, HEADER);
	put16(file + 10, CHUNK_HEADER);
	put32(file + 12, BLOCK);
	put32(file + 16, (uint32_t)(disk_size / BLOCK));
	put32(file + 20, chunks);
}

static uint8_t *add_chunk(unsigned type, uint32_t blocks, uint32_t bytes)
{
	uint8_t *chunk = file + file_size;
	put16(chunk, type);
	put32(chunk + 4, blocks);
	put32(chunk + 8, CHUNK_HEADER + bytes);
	file_size += CHUNK_HEADER + bytes;
	assert_true(file_size <= FILE_MOST);
	chunks++;
	return chunk + CHUNK_HEADER;
}

static void add_raw(uint32_t blocks)
{
	uint8_t *data = add_chunk(RAW, blocks, blocks * BLOCK);
	fill_random(data, blocks * BLOCK, chunks);
	memcpy(disk + disk_size, data, blocks * BLOCK);
	disk_size += blocks * BLOCK;
}

static void add_fill(uint32_t blocks, uint32_t value)
{
	put32(add_chunk(FILL, blocks, 4), value);
	for (uint32_t i = 0; i < blocks * BLOCK; i += 4)
		put32(disk + disk_size + i, value);
	disk_size += blocks * BLOCK;
}

static void add_dont_care(uint32_t blocks)
{
	add_chunk(DONT_CARE, blocks, 0);
	disk_size += blocks * BLOCK;
}

static uint32_t disk_crc(void)
{
	return (uint32_t)crc32(0, disk, (uInt)disk_size);
}

/* Of every kind; two checksums on the way and one of it all. */
static void build(void)
{
	begin();
	add_dont_care(3);
	add_raw(2);
	add_raw(5);
	put32(add_chunk(CRC, 0, 4), disk_crc());
	add_fill(4, 0);
	add_fill(4, 0x12345678);
	add_raw(1);
	add_dont_care(7);
	add_raw(0);
	put32(add_chunk(CRC, 0, 4), disk_crc());
	end();
	put32(file + 24, disk_crc());
}

static int read_all(size_t size, bool with_thread, unsigned *ret_extents, struct error *err)
{
	static uint8_t got[sizeof(disk)];
	memset(got, 0xee, sizeof(got));
	struct stream *stream = stream_from_memory(file, size);
	if (with_thread)
		assert_int_equal(stream_in_thread(stream, 1000, 2, &stream, err), 0);
	struct image_input input = {
		.stream = stream, .head = file, .head_size = size < 4096 ? size : 4096};
	auto_image struct image *image = NULL;
	*ret_extents = 0;
	if (image_form_android_sparse.open(&input, &image, err) < 0)
		return -1;
	uint8_t data[BUFFER];
	struct extent extent;
	uint64_t at = 0;
	int result;
	while ((result = image->operations->read(image, data, sizeof(data), &extent, err)) > 0) {
		assert_true(extent.size_bytes > 0);
		assert_int_equal(extent.offset, at);
		at += extent.size_bytes;
		assert_true(at <= image->size_bytes);
		if (at > disk_size)
			continue;
		if (extent.zero)
			memset(got + extent.offset, 0, extent.size_bytes);
		else
			memcpy(got + extent.offset, data, extent.size_bytes);
		++*ret_extents;
	}
	if (result == 0) {
		assert_int_equal(at, disk_size);
		assert_memory_equal(got, disk, disk_size);
	}
	return result;
}

static void test_every_chunk(void **state)
{
	(void)state;
	struct error err;
	unsigned extents;
	build();
	assert_true(image_form_android_sparse.detect(file, 4));
	assert_false(image_form_android_sparse.detect(file, 3));
	assert_ok(read_all(file_size, false, &extents, &err));
	assert_ok(read_all(file_size, true, &extents, &err));
	/* 3 blocks of zeros, 7 of data, 4 of zeros, 5 of data, 7 of zeros. */
	assert_int_equal(extents, 1 + 3 + 1 + 2 + 1);
}

static void test_longer_headers(void **state)
{
	(void)state;
	struct error err;
	unsigned extents;
	begin();
	file_size += 4;
	add_chunk(DONT_CARE, 2, 8);
	disk_size = 2 * BLOCK;
	end();
	put16(file + 8, HEADER + 4);
	put16(file + 10, CHUNK_HEADER + 8);
	assert_ok(read_all(file_size, false, &extents, &err));
}

static void test_cut(void **state)
{
	(void)state;
	struct error err;
	unsigned extents;
	build();
	for (size_t size = 0; size < file_size; size += size < 100 ? 1 : 397)
		assert_fails(read_all(size, false, &extents, &err), ERROR_CORRUPT, "is cut");
	assert_fails(read_all(file_size - 1, false, &extents, &err), ERROR_CORRUPT, "is cut");
	assert_fails(read_all(file_size + 1, false, &extents, &err), ERROR_CORRUPT,
		     "behind the last chunk");
}

/* With the checksums, any bit that is changed is noticed. */
static void test_flipped_bits(void **state)
{
	(void)state;
	struct error err;
	unsigned extents;
	build();
	for (size_t at = 0; at < file_size; at += at < 200 ? 1 : 131) {
		/* The minor version, and the rest of a chunk's type field. */
		if (at == 6 || at == 7 || at == HEADER + 2 || at == HEADER + 3 ||
		    at == HEADER + CHUNK_HEADER + 2 || at == HEADER + CHUNK_HEADER + 3)
			continue;
		file[at] ^= 0x10;
		if (at >= 4 || image_form_android_sparse.detect(file, file_size))
			if (read_all(file_size, false, &extents, &err) >= 0)
				fail_msg("a bit flipped at %zu was not noticed", at);
		file[at] ^= 0x10;
	}
}

static void test_wrong_headers(void **state)
{
	(void)state;
	static const struct {
		size_t offset;
		uint32_t value;
		unsigned bytes;
		enum error_kind kind;
		const char *words;
	} cases[] = {
		{4, 2, 2, ERROR_UNSUPPORTED, "version 2"},
		{8, 27, 2, ERROR_CORRUPT, "headers of 27"},
		{10, 11, 2, ERROR_CORRUPT, "11 bytes"},
		{8, 65535, 2, ERROR_CORRUPT, "headers of 65535"},
		{12, 0, 4, ERROR_UNSUPPORTED, "blocks of 0"},
		{12, 1028, 4, ERROR_UNSUPPORTED, "blocks of 1028"},
		{16, 27, 4, ERROR_CORRUPT, "before the disk does"},
		{16, 2, 4, ERROR_CORRUPT, "beyond the end"},
		{20, 3, 4, ERROR_CORRUPT, "before the disk does"},
		{20, 12, 4, ERROR_CORRUPT, "is cut"},
		{24, 1, 4, ERROR_CORRUPT, "CRC-32"},
		{HEADER, 0xcac5, 2, ERROR_CORRUPT, "unknown type"},
		{HEADER + 8, 13, 4, ERROR_CORRUPT, "wrong length"},
		{HEADER + 4, 0xffffffff, 4, ERROR_CORRUPT, "beyond the end"},
		{HEADER + CHUNK_HEADER + 4, 3, 4, ERROR_CORRUPT, "wrong length"},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct error err;
		unsigned extents;
		build();
		if (cases[i].bytes == 2)
			put16(file + cases[i].offset, cases[i].value);
		else
			put32(file + cases[i].offset, cases[i].value);
		assert_fails(read_all(file_size, false, &extents, &err), cases[i].kind,
			     cases[i].words);
	}
}

static void test_crc32(void **state)
{
	(void)state;
	static const uint8_t zeros[5000];
	assert_int_equal(crc32_add(0, "123456789", 9), 0xcbf43926);
	uint32_t crc = crc32_add(0, "1234", 4);
	assert_int_equal(crc32_add(crc, "56789", 5), 0xcbf43926);
	for (size_t count = 0; count <= sizeof(zeros); count += 1 + count)
		assert_int_equal(crc32_add_zeros(crc, count), crc32(crc, zeros, (uInt)count));
	/* 8 GiB, whose checksum grows out of that of 1 MiB many times. */
	uint32_t slow = crc;
	for (int i = 0; i < 8192; i++)
		slow = crc32_add_zeros(slow, 1 << 20);
	assert_int_equal(crc32_add_zeros(crc, UINT64_C(8) << 30), slow);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_chunk),   cmocka_unit_test(test_longer_headers),
		cmocka_unit_test(test_cut),           cmocka_unit_test(test_flipped_bits),
		cmocka_unit_test(test_wrong_headers), cmocka_unit_test(test_crc32),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
