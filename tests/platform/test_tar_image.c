/* Tar archives of one disk image, built here header by header. Those that tar makes are read in
 * tests/e2e/test_forms.py. */
#include "tests/unit.h"

#include "platform/image.h"

enum {
	BLOCK = 512,
	FILE_MOST = 8 << 20,
	LARGE = (1 << 20) + 3 * 512 + 7
};

static uint8_t *file, *disk;
static size_t file_size, disk_size;

static int set_up(void **state)
{
	(void)state;
	file = calloc(1, FILE_MOST);
	disk = calloc(1, FILE_MOST);
	file_size = disk_size = 0;
	return file && disk ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	free(file);
	free(disk);
	return 0;
}

static void sign(uint8_t *header)
{
	unsigned sum = 0;
	memset(header + 148, ' ', 8);
	for (size_t i = 0; i < BLOCK; i++)
		sum += header[i];
	sprintf((char *)header + 148, "%06o", sum);
}

static uint8_t *add_header(const char *name, char type, size_t size)
{
	uint8_t *header = file + file_size;
	strcpy((char *)header, name);
	sprintf((char *)header + 100, "0000644");
	sprintf((char *)header + 124, "%011zo", size);
	header[156] = (uint8_t)type;
	memcpy(header + 257, "ustar\00000", 8);
	sign(header);
	file_size += BLOCK;
	return header;
}

static void add_content(const void *content, size_t size)
{
	memcpy(file + file_size, content, size);
	file_size += (size + BLOCK - 1) / BLOCK * BLOCK;
}

/* A file that is the disk. */
static void add_image(const char *name, size_t size)
{
	add_header(name, '0', size);
	fill_random(disk, size, 1);
	add_content(disk, size);
	disk_size = size;
}

static void add_pax(const char *records)
{
	add_header("pax", 'x', strlen(records));
	add_content(records, strlen(records));
}

static void end(void)
{
	file_size += 2 * BLOCK;
}

static int read_all(size_t size, struct error *err)
{
	auto_image struct image *image = NULL;
	struct image_input input = {.stream = stream_from_memory(file, size),
				    .head = file,
				    .head_size = size < 4096 ? size : 4096};
	if (image_form_tar.open(&input, &image, err) < 0)
		return -1;
	assert_int_equal(image->size_bytes, disk_size);
	uint8_t data[4096];
	struct extent extent;
	uint64_t at = 0;
	int result;
	while ((result = image_read(image, data, sizeof(data), &extent, err)) > 0) {
		assert_int_equal(extent.offset, at);
		assert_true(extent.size_bytes > 0 && extent.size_bytes <= disk_size - at);
		if (!extent.zero)
			assert_memory_equal(disk + at, data, extent.size_bytes);
		for (uint64_t i = 0; i < extent.size_bytes && extent.zero; i++)
			assert_int_equal(disk[at + i], 0);
		at += extent.size_bytes;
	}
	assert_true(result < 0 || at == disk_size);
	return result;
}

static void test_one_file(void **state)
{
	(void)state;
	struct error err;
	add_image("disk.raw", LARGE);
	end();
	assert_true(image_form_tar.detect(file, 4096));
	assert_ok(read_all(file_size, &err));
	/* Padded to a record; and not by anything else. */
	assert_ok(read_all(file_size + 10240, &err));
	file[file_size + 10239] = 1;
	assert_fails(read_all(file_size + 10240, &err), ERROR_CORRUPT, "behind its end");
}

/* The oldest format has no magic. */
static void test_v7(void **state)
{
	(void)state;
	struct error err;
	add_image("disk.raw", LARGE);
	memset(file + 257, 0, 255);
	sign(file);
	end();
	assert_true(image_form_tar.detect(file, 4096));
	assert_ok(read_all(file_size, &err));
	file[150] ^= 1;
	assert_false(image_form_tar.detect(file, 4096));
	memset(file, 0, 4096);
	assert_false(image_form_tar.detect(file, 4096));
}

static void test_what_has_no_content(void **state)
{
	(void)state;
	struct error err;
	add_header("folder/", '5', 0);
	add_header("latest", '2', 0);
	add_header("empty", '0', 0);
	add_image("disk.raw", 5000);
	add_header("again", '1', 5000); /* a link whose size is that of its file */
	add_header("fifo", '6', 0);
	end();
	assert_ok(read_all(file_size, &err));
}

static void test_several_files(void **state)
{
	(void)state;
	struct error err;
	add_header("README", '0', 5);
	add_content("hello", 5);
	add_image("disk.raw", LARGE);
	end();
	assert_fails(read_all(file_size, &err), ERROR_INPUT, "\"README\" and \"disk.raw\"");
	memset(file, 0, file_size);
	file_size = 0;
	add_image("disk.raw", LARGE);
	add_header("README", '0', 5);
	add_content("hello", 5);
	end();
	assert_fails(read_all(file_size, &err), ERROR_INPUT, "\"disk.raw\" and \"README\"");
	memset(file, 0, file_size);
	file_size = 0;
	add_header("folder/", '5', 0);
	end();
	assert_fails(read_all(file_size, &err), ERROR_INPUT, "no disk image");
}

static void test_pax(void **state)
{
	(void)state;
	struct error err;
	add_header("global", 'g', 20);
	add_content("20 comment=whatever\n", 20);
	add_pax("18 path=a/disk.raw\n12 size=5000\n");
	/* The length of the first record is wrong. */
	assert_fails(read_all(file_size, &err), ERROR_CORRUPT, "pax record");
	memset(file, 0, file_size);
	file_size = 0;
	add_pax("19 path=a/disk.raw\n13 size=5000\n");
	size_t header = file_size;
	add_image("x", 5000);
	/* The size that counts is that of the record. */
	memcpy(file + header + 124, "00000000001", 11);
	sign(file + header);
	end();
	assert_ok(read_all(file_size, &err));
}

static void test_old_sparse(void **state)
{
	(void)state;
	struct error err;
	/* Six pieces: four in the header, the rest in a block of their own. */
	uint8_t *header = add_header("disk.raw", 'S', 6 * 1024);
	for (int i = 0; i < 4; i++) {
		sprintf((char *)header + 386 + i * 24, "%011o", i * 4096);
		sprintf((char *)header + 386 + i * 24 + 12, "%011o", 1024);
	}
	header[482] = 1;
	sprintf((char *)header + 483, "%011o", 40960);
	sign(header);
	for (int i = 4; i < 6; i++) {
		sprintf((char *)file + file_size + (i - 4) * 24, "%011o", i * 4096);
		sprintf((char *)file + file_size + (i - 4) * 24 + 12, "%011o", 1024);
	}
	file_size += BLOCK;
	disk_size = 40960;
	for (size_t i = 0; i < 6; i++) {
		fill_random(disk + i * 4096, 1024, (uint32_t)i);
		add_content(disk + i * 4096, 1024);
	}
	end();
	assert_ok(read_all(file_size, &err));
	/* Out of order; more than there is; beyond the end. */
	sprintf((char *)header + 386 + 24, "%011o", 512);
	sign(header);
	assert_fails(read_all(file_size, &err), ERROR_CORRUPT, "not in order");
	sprintf((char *)header + 386 + 24, "%011o", 4096);
	sprintf((char *)header + 386 + 36, "%011o", 1023);
	sign(header);
	assert_fails(read_all(file_size, &err), ERROR_CORRUPT, "do not fit");
	sprintf((char *)header + 386 + 36, "%011o", 1024);
	sprintf((char *)header + 483, "%011o", 5 * 4096 + 1023);
	sign(header);
	assert_fails(read_all(file_size, &err), ERROR_CORRUPT, "do not fit");
}

static void test_pax_sparse(void **state)
{
	(void)state;
	struct error err;
	add_pax("22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n25 GNU.sparse.name=a.img\n"
		"29 GNU.sparse.realsize=40960\n");
	add_header("GNUSparseFile.0/a.img", '0', BLOCK + 2048);
	add_content("2\n4096\n1024\n8192\n1024\n", 22);
	disk_size = 40960;
	for (size_t at = 4096; at <= 8192; at += 4096) {
		fill_random(disk + at, 1024, 3);
		add_content(disk + at, 1024);
	}
	end();
	assert_ok(read_all(file_size, &err));
	memset(file, 0, file_size);
	file_size = 0;
	add_pax("22 GNU.sparse.major=0\n22 GNU.sparse.minor=1\n31 GNU.sparse.map=0,512,4096,1\n");
	add_header("a.img", '0', 1024);
	assert_fails(read_all(file_size, &err), ERROR_UNSUPPORTED, "pax version 0");
}

static void test_gnu_names_and_numbers(void **state)
{
	(void)state;
	struct error err;
	char name[300];
	memset(name, 'n', sizeof(name));
	add_header("././@LongLink", 'L', sizeof(name));
	add_content(name, sizeof(name));
	size_t header = file_size;
	add_image("short", 5000);
	/* 5000 in binary. */
	memcpy(file + header + 124, "\x80\0\0\0\0\0\0\0\0\0\x13\x88", 12);
	memcpy(file + header + 257, "ustar  ", 8);
	sign(file + header);
	end();
	assert_ok(read_all(file_size, &err));
	memcpy(file + header + 124, "\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", 12);
	sign(file + header);
	assert_fails(read_all(file_size, &err), ERROR_CORRUPT, "a header");
}

static void test_refused(void **state)
{
	(void)state;
	struct error err;
	add_header("part", 'M', 512);
	end();
	assert_fails(read_all(file_size, &err), ERROR_UNSUPPORTED, "\"part\"");
}

/* What is not raw is not taken for a disk. */
static void test_forms_within(void **state)
{
	(void)state;
	static const struct {
		const char *magic;
		size_t size;
		const char *words;
	} cases[] = {
		{"QFI\xfb", 4, "qcow2"},
		{"\x3a\xff\x26\xed", 4, "Android sparse"},
		{"\x1f\x8b\x08", 3, "compressed"},
	};
	static const struct {
		const char *magic;
		const char *words;
	} foreigners[] = {{"KDMV", "VMDK image: convert"}, {"vhdxfile", "VHDX image: convert"}};
	for (size_t i = 0; i < COUNT(cases); i++) {
		for (size_t size = 5000; size <= LARGE; size += LARGE - 5000) {
			struct error err;
			memset(file, 0, FILE_MOST);
			file_size = 0;
			add_image("inner", size);
			memcpy(file + BLOCK, cases[i].magic, cases[i].size);
			end();
			assert_fails(read_all(file_size, &err), ERROR_UNSUPPORTED, cases[i].words);
			assert_contains(err.text, "without the tar");
		}
	}
	for (size_t i = 0; i < COUNT(foreigners); i++) {
		struct error err;
		memset(file, 0, FILE_MOST);
		file_size = 0;
		add_image("inner", LARGE);
		memcpy(file + BLOCK, foreigners[i].magic, strlen(foreigners[i].magic));
		end();
		assert_fails(read_all(file_size, &err), ERROR_UNSUPPORTED, foreigners[i].words);
	}
}

static void test_cut_and_damaged(void **state)
{
	(void)state;
	struct error err;
	add_header("folder/", '5', 0);
	add_image("disk.raw", LARGE);
	end();
	for (size_t size = 0; size < file_size; size += size < 3000 ? 100 : 51111)
		assert_fails(read_all(size, &err), ERROR_CORRUPT, "is cut");
	/* Both blocks of its end are needed. */
	assert_fails(read_all(file_size - 1, &err), ERROR_CORRUPT, "is cut");
	assert_fails(read_all(file_size - BLOCK, &err), ERROR_CORRUPT, "is cut");
	file[file_size - 5] = 1;
	assert_fails(read_all(file_size, &err), ERROR_CORRUPT, "half an end mark");
	file[file_size - 5] = 0;
	for (size_t at = 0; at < 2 * BLOCK; at += 3) {
		file[at] ^= 0x20;
		if (read_all(file_size, &err) >= 0 && !(at % BLOCK >= 148 && at % BLOCK < 156))
			fail_msg("a damaged header at %zu", at);
		file[at] ^= 0x20;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_one_file, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_v7, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_has_no_content, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_several_files, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_pax, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_old_sparse, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_pax_sparse, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_gnu_names_and_numbers, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_forms_within, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_cut_and_damaged, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
