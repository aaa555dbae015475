/*
 * qcow2: images built here, byte by byte, read in order and by ranges: every kind of cluster, wrong
 * headers and entries, cut and damaged files, tables before and behind the data. Images made by
 * qemu-img are read in tests/e2e/test_forms.py.
 */
#include "tests/unit.h"

#include <zlib.h>
#include <zstd.h>

#include "platform/image.h"
#include "platform/qcow2.h"
#include "tests/source_memory.h"

enum {
	BUFFER = 64 << 10
};

/* An image in the making. */
struct build {
	uint8_t *file;
	size_t size; /* used of it */
	size_t room;
	uint8_t *disk; /* what must come out */
	size_t disk_size;
	unsigned bits;
	size_t l1; /* offsets in the file */
	unsigned l1_count;
};

static void put32(uint8_t *to, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		to[i] = (uint8_t)(value >> (24 - 8 * i));
}

static void put64(uint8_t *to, uint64_t value)
{
	put32(to, (uint32_t)(value >> 32));
	put32(to + 4, (uint32_t)value);
}

static size_t cluster(const struct build *build)
{
	return (size_t)1 << build->bits;
}

static size_t add_clusters(struct build *build, size_t count)
{
	size_t at = (build->size + cluster(build) - 1) / cluster(build) * cluster(build);
	build->size = at + count * cluster(build);
	assert_true(build->size <= build->room);
	return at;
}

static void build_begin(struct build *build, unsigned bits, size_t disk_size, size_t room)
{
	*build = (struct build){.bits = bits, .disk_size = disk_size, .room = room};
	build->file = calloc(1, room);
	build->disk = calloc(1, disk_size + 1);
	assert_non_null(build->file);
	assert_non_null(build->disk);
	size_t coverage = cluster(build) / 8 * cluster(build);
	build->l1_count = (unsigned)((disk_size + coverage - 1) / coverage);
	add_clusters(build, 1);
	build->l1 =
		add_clusters(build, (build->l1_count * 8 + cluster(build) - 1) / cluster(build));
	memcpy(build->file, "QFI\xfb", 4);
	put32(build->file + 4, 3);
	put32(build->file + 20, bits);
	put64(build->file + 24, disk_size);
	put32(build->file + 36, build->l1_count);
	put64(build->file + 40, build->l1);
	put32(build->file + 100, 112);
}

static void build_end(struct build *build)
{
	free(build->file);
	free(build->disk);
}

/* Makes an L2 table, and the entry for it. */
static size_t add_l2(struct build *build, unsigned index)
{
	size_t at = add_clusters(build, 1);
	put64(build->file + build->l1 + index * 8, at | UINT64_C(1) << 63);
	return at;
}

static size_t add_raw(struct build *build, size_t l2, size_t index, size_t guest)
{
	size_t at = add_clusters(build, 1);
	fill_random(build->file + at, cluster(build), (uint32_t)guest);
	size_t size = cluster(build);
	if (guest + size > build->disk_size)
		size = build->disk_size - guest;
	memcpy(build->disk + guest, build->file + at, size);
	put64(build->file + l2 + index * 8, at | UINT64_C(1) << 63);
	return at;
}

/* Compresses a cluster to the end of the file, wherever that is. */
static size_t add_compressed(struct build *build, size_t l2, size_t index, size_t guest)
{
	uint8_t *plain = malloc(cluster(build));
	for (size_t i = 0; i < cluster(build); i++)
		plain[i] = (uint8_t)(i / 7 * (guest / cluster(build) + 3));
	size_t at = build->size, used;
	assert_true(build->room - at > cluster(build) + 1024);
	if (build->file[104] == 1) {
		used = ZSTD_compress(build->file + at, build->room - at, plain, cluster(build), 3);
		assert_false(ZSTD_isError(used));
	} else {
		z_stream z = {.next_in = plain,
			      .avail_in = (uInt)cluster(build),
			      .next_out = build->file + at,
			      .avail_out = (uInt)(build->room - at)};
		assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY), Z_OK);
		assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
		used = z.total_out;
		deflateEnd(&z);
	}
	size_t size = cluster(build);
	if (guest + size > build->disk_size)
		size = build->disk_size - guest;
	memcpy(build->disk + guest, plain, size);
	free(plain);
	build->size += used;
	uint64_t more = (at + used - 1) / 512 - at / 512;
	put64(build->file + l2 + index * 8,
	      UINT64_C(1) << 62 | more << (62 - (build->bits - 8)) | at);
	return at;
}

enum way {
	IN_ORDER,
	BY_RANGES,
	WAYS
};

static int open_image(const struct build *build, enum way way, struct source *source,
		      struct image **ret_image, struct error *err)
{
	*source = (struct source){
		.data = build->file, .size = build->size, .fail_above = source->fail_above};
	struct image_input input = {.stream = stream_from_memory(build->file, build->size),
				    .head = build->file,
				    .head_size = build->size < IMAGE_HEAD_BYTES ? build->size
										: IMAGE_HEAD_BYTES,
				    .source = way == BY_RANGES ? source : NULL,
				    .threads = 2};
	return image_form_qcow2.open(&input, ret_image, err);
}

/* Reads to the end, into got, where each byte must arrive once. Extents are counted. */
static int read_image(struct image *image, const struct build *build, unsigned *ret_extents,
		      struct error *err)
{
	uint8_t *got = malloc(build->disk_size + 1), *seen = calloc(1, build->disk_size + 1);
	uint8_t *data = malloc(BUFFER);
	struct extent extent;
	uint64_t sum = 0;
	int result;
	*ret_extents = 0;
	while ((result = image->operations->read(image, data, BUFFER, &extent, err)) > 0) {
		assert_true(extent.size_bytes > 0 && extent.offset < build->disk_size);
		assert_true(extent.size_bytes <= build->disk_size - extent.offset);
		assert_true(extent.zero || extent.size_bytes <= BUFFER);
		for (uint64_t i = 0; i < extent.size_bytes; i++)
			assert_int_equal(seen[extent.offset + i]++, 0);
		if (extent.zero)
			memset(got + extent.offset, 0, extent.size_bytes);
		else
			memcpy(got + extent.offset, data, extent.size_bytes);
		sum += extent.size_bytes;
		++*ret_extents;
	}
	if (result == 0) {
		assert_int_equal(sum, build->disk_size);
		assert_memory_equal(got, build->disk, build->disk_size);
	}
	free(got);
	free(seen);
	free(data);
	return result;
}

static int read_build(const struct build *build, enum way way, struct source *source,
		      unsigned *ret_extents, struct error *err)
{
	auto_image struct image *image = NULL;
	if (open_image(build, way, source, &image, err) < 0)
		return -1;
	assert_int_equal(image->size_bytes, build->disk_size);
	return read_image(image, build, ret_extents, err);
}

static void assert_reads(const struct build *build)
{
	for (enum way way = IN_ORDER; way < WAYS; way++) {
		struct source source = {.fail_above = 0};
		struct error err;
		unsigned extents;
		assert_ok(read_build(build, way, &source, &extents, &err));
	}
}

static void assert_fails_both(const struct build *build, enum error_kind kind, const char *words)
{
	for (enum way way = IN_ORDER; way < WAYS; way++) {
		struct source source = {.fail_above = 0};
		struct error err;
		unsigned extents;
		assert_fails(read_build(build, way, &source, &extents, &err), kind, words);
	}
}

/* A disk of 4 MiB and a bit with every kind of cluster of 4096 bytes. */
static void build_mixed(struct build *build)
{
	build_begin(build, 12, (4 << 20) + 1536, 1 << 20);
	size_t l2 = add_l2(build, 0);
	for (size_t i = 0; i < 5; i++)
		add_raw(build, l2, i, i * 4096);
	/* The sixth is not neighbour of the fifth. */
	add_clusters(build, 1);
	add_raw(build, l2, 5, 5 * 4096);
	put64(build->file + l2 + 6 * 8, 1); /* zeros */
	add_raw(build, l2, 511, 511 * 4096);
	put64(build->file + l2 + 510 * 8, (build->size - 4096) | 1); /* zeros, with a cluster */
	for (size_t i = 20; i < 40; i++)
		add_compressed(build, l2, i, i * 4096);
	/* Nothing of the second table's; the last one is for a part of a cluster. */
	l2 = add_l2(build, 2);
	add_raw(build, l2, 0, 4 << 20);
}

static void test_every_kind_of_cluster(void **state)
{
	(void)state;
	struct build build;
	build_mixed(&build);
	assert_reads(&build);
	build_end(&build);
}

static void test_version_2(void **state)
{
	(void)state;
	struct build build;
	build_begin(&build, 9, 100 * 512, 1 << 20);
	put32(build.file + 4, 2);
	put32(build.file + 100, 0);
	size_t l2 = add_l2(&build, 0);
	add_raw(&build, l2, 3, 3 * 512);
	add_compressed(&build, l2, 4, 4 * 512);
	assert_reads(&build);
	/* It has no entry for zeros. */
	put64(build.file + l2, 1);
	assert_fails_both(&build, ERROR_CORRUPT, "L2 entry");
	build_end(&build);
}

static void test_zstd(void **state)
{
	(void)state;
	struct build build;
	build_begin(&build, 16, 3 << 20, 4 << 20);
	put64(build.file + 72, 8);
	build.file[104] = 1;
	size_t l2 = add_l2(&build, 0);
	for (size_t i = 0; i < 48; i += 1 + i % 3)
		add_compressed(&build, l2, i, i << 16);
	assert_reads(&build);
	build_end(&build);
}

/* 16 bytes an entry; of each cluster some 32nds are data. */
static void test_extended_l2(void **state)
{
	(void)state;
	struct build build;
	build_begin(&build, 14, (1 << 20) - 512, 4 << 20);
	put64(build.file + 72, 16);
	size_t l2 = add_l2(&build, 0);
	const uint32_t data[] = {0xffffffff, 0x1, 0x80000000, 0x0ff0a001, 0};
	for (size_t i = 0; i < COUNT(data); i++) {
		size_t at = add_raw(&build, l2, i * 2, i << 14);
		put32(build.file + l2 + i * 16 + 12, data[i]);
		put32(build.file + l2 + i * 16 + 8, ~data[i] & 0xffff);
		for (size_t part = 0; part < 32; part++)
			if (!(data[i] >> part & 1))
				memset(build.disk + (i << 14) + part * 512, 0, 512);
		assert_true(at > l2);
	}
	/* The last one is cut by the end of the disk. */
	add_raw(&build, l2, 63 * 2, 63 << 14);
	put32(build.file + l2 + 63 * 16 + 12, 0xff00ffff);
	memset(build.disk + (63 << 14) + 8192, 0, 4096);
	assert_reads(&build);
	put32(build.file + l2 + 8, 1);
	assert_fails_both(&build, ERROR_CORRUPT, "contradicts itself");
	build_end(&build);
}

static void test_empty_disks(void **state)
{
	(void)state;
	struct build build;
	build_begin(&build, 16, 0, 1 << 20);
	assert_reads(&build);
	build_end(&build);
	build_begin(&build, 16, 12345 * 512, 1 << 20);
	assert_reads(&build);
	build_end(&build);
}

static void test_neighbours_come_together(void **state)
{
	(void)state;
	struct build build;
	build_begin(&build, 12, 1 << 20, 4 << 20);
	size_t l2 = add_l2(&build, 0);
	for (size_t i = 0; i < 128; i++)
		add_raw(&build, l2, i, i * 4096);
	for (size_t i = 128; i < 256; i++)
		add_compressed(&build, l2, i, i * 4096);
	for (enum way way = IN_ORDER; way < WAYS; way++) {
		struct source source = {.fail_above = 0};
		struct error err;
		unsigned extents;
		assert_ok(read_build(&build, way, &source, &extents, &err));
		assert_int_equal(extents, (1 << 20) / BUFFER);
	}
	build_end(&build);
}

static void test_one_cluster_used_twice(void **state)
{
	(void)state;
	struct build build;
	build_begin(&build, 12, 2 << 20, 2 << 20);
	size_t l2 = add_l2(&build, 0);
	size_t at = 0;
	for (size_t i = 0; i < 100; i++) {
		size_t placed = add_raw(&build, l2, i, i * 4096);
		at = i == 50 ? placed : at;
	}
	for (size_t i = 200; i < 203; i++) {
		put64(build.file + l2 + i * 8, at);
		memcpy(build.disk + i * 4096, build.file + at, 4096);
	}
	assert_reads(&build);
	build_end(&build);
}

/* What qemu-img does with clusters that are nearly full: compressed data in the rest of a cluster
 * before the next table, which is the one that knows it. */
static void test_data_shortly_before_its_table(void **state)
{
	(void)state;
	struct build build;
	build_begin(&build, 12, 4 << 20, 1 << 20);
	size_t first = add_l2(&build, 0);
	add_compressed(&build, first, 511, 511 * 4096);
	size_t second = build.size / 4096 * 4096 + 4096;
	add_compressed(&build, second, 0, 512 * 4096);
	assert_true(build.size <= second);
	build.size = second;
	assert_int_equal(add_l2(&build, 1), second);
	add_raw(&build, second, 1, 513 * 4096);
	assert_reads(&build);
	build_end(&build);
}

/* All data, then the tables. */
static void build_tables_last(struct build *build, size_t data_size)
{
	build_begin(build, 16, data_size, data_size + (4 << 20));
	size_t data = add_clusters(build, data_size >> 16);
	fill_random(build->file + data, data_size, 3);
	memcpy(build->disk, build->file + data, data_size);
	size_t l2 = add_l2(build, 0);
	for (size_t i = 0; i < data_size >> 16; i++)
		put64(build->file + l2 + i * 8, data + (i << 16));
}

static void test_tables_behind_the_data(void **state)
{
	(void)state;
	struct build build;
	struct error err;
	unsigned extents;
	struct source source = {.fail_above = 0};
	build_tables_last(&build, 2 << 20);
	assert_reads(&build);
	build_end(&build);
	/* More than is held. */
	build_tables_last(&build, 16 << 20);
	assert_fails(read_build(&build, IN_ORDER, &source, &extents, &err), ERROR_UNSUPPORTED,
		     "qemu-img convert");
	assert_contains(err.text, "tables of the qcow2 image stand behind their data");
	assert_ok(read_build(&build, BY_RANGES, &source, &extents, &err));
	build_end(&build);
}

static void test_only_what_is_used_is_fetched(void **state)
{
	(void)state;
	struct build build;
	struct error err;
	unsigned extents;
	struct source source = {.fail_above = 0};
	build_begin(&build, 16, 64 << 20, 40 << 20);
	size_t l2 = add_l2(&build, 0);
	for (size_t i = 0; i < 32; i++) {
		add_raw(&build, l2, i * 3, i * 3 << 16);
		add_clusters(&build, 15);
	}
	assert_ok(read_build(&build, BY_RANGES, &source, &extents, &err));
	assert_in_range(source.fetched, 32 << 16, (32 << 16) + (1 << 20));
	/* Failures of the network come through. */
	source.fail_above = 20 << 20;
	assert_fails(read_build(&build, BY_RANGES, &source, &extents, &err), ERROR_NETWORK,
		     "the network fails");
	source.fail_above = build.l1;
	assert_fails(read_build(&build, BY_RANGES, &source, &extents, &err), ERROR_NETWORK,
		     "L1 table");
	build_end(&build);
}

/* More tables than are read at once: 8192 of 64 entries. */
static void test_many_tables(void **state)
{
	(void)state;
	struct build build;
	build_begin(&build, 9, 256 << 20, 2 << 20);
	size_t l2 = add_l2(&build, 0);
	for (size_t i = 0; i < 64; i += 2)
		add_raw(&build, l2, i, i * 512);
	for (unsigned i = 1; i < build.l1_count; i++) {
		put64(build.file + build.l1 + i * 8, l2);
		memcpy(build.disk + (size_t)i * 32768, build.disk, 32768);
	}
	struct error err;
	unsigned extents;
	struct source source = {.fail_above = 0};
	assert_ok(read_build(&build, BY_RANGES, &source, &extents, &err));
	build_end(&build);
}

static void test_cut_files(void **state)
{
	(void)state;
	struct build build;
	build_mixed(&build);
	size_t whole = build.size;
	/* Of the last cluster only 1536 bytes are on the disk. */
	build.size = whole - 4096 + 1536;
	assert_reads(&build);
	for (size_t size = 0; size < whole - 4096 + 1536; size += size % 1024 ? 401 : 623) {
		build.size = size;
		assert_fails_both(&build, ERROR_CORRUPT, "");
	}
	build_end(&build);
}

/* The length is not known before, as behind a decompressor: the end tells. */
static void test_cut_file_of_unknown_length(void **state)
{
	(void)state;
	struct build build;
	build_mixed(&build);
	struct error err;
	unsigned extents;
	for (size_t size = 200; size < build.size; size += 1000) {
		struct stream *stream = stream_from_memory(build.file, size);
		assert_ok(stream_in_thread(stream, 4096, 2, &stream, &err));
		stream->size_bytes = STREAM_SIZE_UNKNOWN;
		struct image_input input = {
			.stream = stream, .head = build.file, .head_size = 200, .threads = 1};
		auto_image struct image *image = NULL;
		assert_ok(image_form_qcow2.open(&input, &image, &err));
		if (size < build.size - 4096 + 1536)
			assert_fails(read_image(image, &build, &extents, &err), ERROR_CORRUPT,
				     "is cut");
		else
			assert_ok(read_image(image, &build, &extents, &err));
	}
	build_end(&build);
}

static void test_damaged_compressed_clusters(void **state)
{
	(void)state;
	for (int zstd = 0; zstd < 2; zstd++) {
		struct build build;
		build_begin(&build, 16, 1 << 20, 4 << 20);
		if (zstd) {
			put64(build.file + 72, 8);
			build.file[104] = 1;
		}
		size_t l2 = add_l2(&build, 0);
		size_t at = add_compressed(&build, l2, 7, 7 << 16);
		assert_reads(&build);
		build.file[at] ^= 0x07;
		assert_fails_both(&build, ERROR_CORRUPT,
				  "the compressed qcow2 cluster for the disk's byte 458752");
		build.file[at] ^= 0x07;
		memset(build.file + at + 20, 0, build.size - at - 20);
		assert_fails_both(&build, ERROR_CORRUPT, "data");
		build_end(&build);
	}
}

static void test_wrong_headers(void **state)
{
	(void)state;
	static const struct {
		size_t offset;
		uint64_t value;
		unsigned bytes;
		enum error_kind kind;
		const char *words;
	} cases[] = {
		{4, 1, 4, ERROR_UNSUPPORTED, "version 1"},
		{4, 4, 4, ERROR_UNSUPPORTED, "version 4"},
		{8, 512, 8, ERROR_UNSUPPORTED, "backing file"},
		{20, 8, 4, ERROR_CORRUPT, "2^8"},
		{20, 22, 4, ERROR_CORRUPT, "2^22"},
		{20, UINT32_MAX, 4, ERROR_CORRUPT, "2^4294967295"},
		{24, UINT64_MAX, 8, ERROR_UNSUPPORTED, "too large"},
		{24, 7 << 20, 8, ERROR_CORRUPT, "L1 table of the qcow2 image has 3 entries"},
		{32, 1, 4, ERROR_UNSUPPORTED, "encrypted"},
		{32, 2, 4, ERROR_UNSUPPORTED, "encrypted"},
		{36, 2, 4, ERROR_CORRUPT, "needs 3"},
		{40, 0, 8, ERROR_CORRUPT, "cannot be at 0"},
		{40, 4097, 8, ERROR_CORRUPT, "cannot be at 4097"},
		{40, 1 << 20, 8, ERROR_CORRUPT, "is cut"},
		{40, UINT64_C(0xfffffffffffff000), 8, ERROR_CORRUPT, "L1 table"},
		{72, 2, 8, ERROR_INPUT, "marked as corrupt"},
		{72, 4, 8, ERROR_UNSUPPORTED, "another file"},
		{72, 8, 8, ERROR_CORRUPT, "contradicts itself"},
		{72, 16, 8, ERROR_CORRUPT, "extended L2"},
		{72, 32, 8, ERROR_UNSUPPORTED, "0x20"},
		{100, 96, 4, ERROR_CORRUPT, "96 bytes"},
		{100, 8192, 4, ERROR_CORRUPT, "8192 bytes"},
		{104, 1, 1, ERROR_CORRUPT, "contradicts itself"},
	};
	struct build build;
	build_mixed(&build);
	for (size_t i = 0; i < COUNT(cases); i++) {
		uint8_t kept[8];
		memcpy(kept, build.file + cases[i].offset, 8);
		if (cases[i].bytes == 8)
			put64(build.file + cases[i].offset, cases[i].value);
		else if (cases[i].bytes == 4)
			put32(build.file + cases[i].offset, (uint32_t)cases[i].value);
		else
			build.file[cases[i].offset] = (uint8_t)cases[i].value;
		assert_fails_both(&build, cases[i].kind, cases[i].words);
		memcpy(build.file + cases[i].offset, kept, 8);
	}
	/* A method nobody knows; a dirty one is read. */
	put64(build.file + 72, 8);
	build.file[104] = 2;
	assert_fails_both(&build, ERROR_UNSUPPORTED, "compressed by a method");
	build.file[104] = 0;
	put64(build.file + 72, 1);
	assert_reads(&build);
	build_end(&build);
}

static void test_wrong_entries(void **state)
{
	(void)state;
	struct build build;
	build_mixed(&build);
	size_t l1 = build.l1, l2 = 2 * 4096;
	const struct {
		size_t offset;
		uint64_t value;
		const char *words;
	} cases[] = {
		{l1, 1 << 20, "an L2 table"},
		{l1, 8192 + 512, "an L2 table"},
		{l1, 8192 | 1, "an L1 entry"},
		{l1, UINT64_C(1) << 62 | 8192, "an L1 entry"},
		{l2, 1 << 20, "the cluster for the disk's byte 0"},
		{l2, 4096 + 512, "the cluster for the disk's byte 0"},
		{l2 + 8, 4096 | 2, "the L2 entry for the disk's byte 4096"},
		{l2 + 8, UINT64_C(1) << 58 | 4096, "the L2 entry for the disk's byte 4096"},
		{l2 + 8, UINT64_C(3) << 62 | 8192, "the L2 entry for the disk's byte 4096"},
		{l2 + 8, UINT64_C(1) << 62 | 8, "the L2 entry for the disk's byte 4096"},
		{l2 + 8, UINT64_C(1) << 62 | 1 << 20, "the cluster for the disk's byte 4096"},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		uint8_t kept[8];
		memcpy(kept, build.file + cases[i].offset, 8);
		put64(build.file + cases[i].offset, cases[i].value);
		assert_fails_both(&build, ERROR_CORRUPT, cases[i].words);
		memcpy(build.file + cases[i].offset, kept, 8);
	}
	build_end(&build);
}

/* The heap, in an order that is none. */
static void test_runs(void **state)
{
	(void)state;
	struct qcow2_runs runs = {.items = NULL};
	struct error err;
	for (uint64_t i = 0; i < 1000; i++) {
		struct qcow2_run run = {.host = i * 7919 % 1000};
		assert_ok(qcow2_runs_push(&runs, &run, &err));
	}
	qcow2_runs_sort(&runs);
	for (size_t i = 0; i < 1000; i++)
		assert_int_equal(runs.items[i].host, i);
	for (uint64_t i = 0; i < 1000; i++) {
		assert_int_equal(qcow2_runs_first(&runs)->host, i);
		qcow2_runs_pop(&runs);
	}
	assert_null(qcow2_runs_first(&runs));
	qcow2_runs_free(&runs);
}

/* Closing in the middle, with everything under way. */
static void test_closing_early(void **state)
{
	(void)state;
	struct build build;
	build_mixed(&build);
	for (enum way way = IN_ORDER; way < WAYS; way++) {
		struct source source = {.fail_above = 0};
		struct image *image;
		struct error err;
		struct extent extent;
		uint8_t data[4096];
		assert_ok(open_image(&build, way, &source, &image, &err));
		assert_int_equal(image->operations->read(image, data, sizeof(data), &extent, &err),
				 1);
		image->operations->close(image);
	}
	build_end(&build);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_kind_of_cluster),
		cmocka_unit_test(test_version_2),
		cmocka_unit_test(test_zstd),
		cmocka_unit_test(test_extended_l2),
		cmocka_unit_test(test_empty_disks),
		cmocka_unit_test(test_neighbours_come_together),
		cmocka_unit_test(test_one_cluster_used_twice),
		cmocka_unit_test(test_data_shortly_before_its_table),
		cmocka_unit_test(test_tables_behind_the_data),
		cmocka_unit_test(test_only_what_is_used_is_fetched),
		cmocka_unit_test(test_many_tables),
		cmocka_unit_test(test_cut_files),
		cmocka_unit_test(test_cut_file_of_unknown_length),
		cmocka_unit_test(test_damaged_compressed_clusters),
		cmocka_unit_test(test_wrong_headers),
		cmocka_unit_test(test_wrong_entries),
		cmocka_unit_test(test_runs),
		cmocka_unit_test(test_closing_early),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
