/* From a source to extents: what is told by the content, and what is refused. The forms have tests
 * of their own. */
#include "tests/unit.h"

#include <zlib.h>

#include "platform/image.h"

enum {
	SIZE = 3 << 20
};

static char *directory, *path, *url;
static uint8_t *content;

static int set_up(void **state)
{
	(void)state;
	directory = directory_make();
	path = path_in(directory, "image");
	if (asprintf(&url, "file://%s", path) < 0)
		abort();
	content = malloc(SIZE);
	fill_random(content, SIZE, 3);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	free(content);
	free(url);
	free(path);
	directory_remove(directory);
	return 0;
}

static struct source *open_source(void)
{
	const char *const urls[] = {url, NULL};
	const struct source_options options = {.urls = urls};
	struct source *source;
	struct error err;
	assert_ok(source_open(&options, &source, &err));
	return source;
}

static void write_gzip(const char *to, const void *data, size_t size)
{
	gzFile file = gzopen(to, "wbe");
	assert_int_equal(gzwrite(file, data, (unsigned)size), size);
	assert_int_equal(gzclose(file), Z_OK);
}

/* Reads it whole, comparing. */
static void assert_image_is(struct image *image, const uint8_t *data, uint64_t size)
{
	struct error err;
	struct extent extent;
	uint64_t at = 0;
	enum {
		BUFFER = 1 << 20
	};
	void *buffer = aligned_alloc(4096, BUFFER);
	for (;;) {
		int more = image_read(image, buffer, BUFFER, &extent, &err);
		if (more < 0)
			fail_msg("%s", err.text);
		if (more == 0)
			break;
		assert_false(extent.zero);
		assert_int_equal(extent.offset, at);
		assert_true(extent.size_bytes > 0 && extent.size_bytes <= BUFFER);
		assert_memory_equal(buffer, data + at, extent.size_bytes);
		at += extent.size_bytes;
	}
	assert_int_equal(at, size);
	free(buffer);
}

static void check_whole(const struct image_options *options, enum compression compression,
			bool has_digest)
{
	struct error err;
	struct image_facts facts;
	struct image *image;
	struct source *source = open_source();
	assert_ok(image_open(source, options, &facts, &image, &err));
	assert_string_equal(image->form, "raw");
	assert_int_equal(facts.compression, compression);
	assert_int_equal(image->size_bytes,
			 compression == COMPRESSION_NONE ? SIZE : STREAM_SIZE_UNKNOWN);
	assert_image_is(image, content, SIZE);
	assert_int_equal(facts.digest.type != DIGEST_NONE, has_digest);
	image_close(image);
	source_free(source);
}

static void reads_raw_and_compressed(void **state)
{
	(void)state;
	struct image_options options = {.threads = 2};
	file_write(path, content, SIZE);
	check_whole(&options, COMPRESSION_NONE, false);
	digest_memory(DIGEST_SHA512, content, SIZE, &options.expected[1]);
	check_whole(&options, COMPRESSION_NONE, true);
	write_gzip(path, content, SIZE);
	options = (struct image_options){.threads = 2};
	check_whole(&options, COMPRESSION_GZIP, true);
}

/* Any of them, at the end: all bytes came, and the end did not. */
static void fails_by_any_checksum(void **state)
{
	(void)state;
	file_write(path, content, SIZE);
	for (int which = 0; which < IMAGE_DIGESTS_MOST; which++) {
		struct image_options options = {.threads = 2};
		struct error err;
		struct image_facts facts;
		struct image *image;
		struct extent extent;
		digest_memory(DIGEST_SHA256, content, SIZE, &options.expected[0]);
		digest_memory(DIGEST_SHA512, content, SIZE, &options.expected[1]);
		digest_memory(DIGEST_SHA256, content, SIZE, &options.expected[2]);
		options.expected[which].bytes[5] ^= 1;
		struct source *source = open_source();
		assert_ok(image_open(source, &options, &facts, &image, &err));
		void *buffer = aligned_alloc(4096, SIZE);
		assert_int_equal(image_read(image, buffer, SIZE, &extent, &err), 1);
		assert_int_equal(extent.size_bytes, SIZE);
		assert_fails(image_read(image, buffer, SIZE, &extent, &err), ERROR_CORRUPT,
			     "wrong checksum");
		free(buffer);
		image_close(image);
		source_free(source);
	}
}

static void refuse(const void *data, size_t size, bool compressed, enum error_kind kind,
		   const char *words)
{
	struct error err;
	struct image_facts facts;
	struct image *image;
	const struct image_options options = {.threads = 1};
	memset(content, 0, SIZE);
	memcpy(content, data, size);
	if (compressed)
		write_gzip(path, content, SIZE);
	else
		file_write(path, content, SIZE);
	struct source *source = open_source();
	assert_fails(image_open(source, &options, &facts, &image, &err), kind, words);
	source_free(source);
}

/* By the first bytes, whether compressed or not. */
static void refuses_what_is_no_image(void **state)
{
	(void)state;
	for (int compressed = 0; compressed < 2; compressed++) {
		refuse("KDMV", 4, compressed, ERROR_UNSUPPORTED, "VMDK");
		refuse("# Disk DescriptorFile", 21, compressed, ERROR_UNSUPPORTED, "VMDK");
		refuse("vhdxfile", 8, compressed, ERROR_UNSUPPORTED, "VHDX");
		refuse("conectix", 8, compressed, ERROR_UNSUPPORTED, "VHD");
		refuse("<<< Oracle VM VirtualBox", 24, compressed, ERROR_UNSUPPORTED, "VDI");
		refuse("PK\x03\x04", 4, compressed, ERROR_UNSUPPORTED, "zip");
		refuse("7z\xbc\xaf\x27\x1c", 6, compressed, ERROR_UNSUPPORTED, "7z");
		refuse("QED\0", 4, compressed, ERROR_UNSUPPORTED, "QED");
		refuse("WithouFreSpacExt", 16, compressed, ERROR_UNSUPPORTED, "Parallels");
		refuse("MSWIM\0\0\0", 8, compressed, ERROR_UNSUPPORTED, "WIM");
		refuse("!<arch>\ndebian-binary", 21, compressed, ERROR_UNSUPPORTED, "ar archive");
		refuse("070701", 6, compressed, ERROR_UNSUPPORTED, "cpio");
		refuse("LZIP\1", 5, compressed, ERROR_UNSUPPORTED, "lzip");
		refuse("\x89LZO\0\r\n\x1a\n", 9, compressed, ERROR_UNSUPPORTED, "lzop");
		refuse("\x1f\x9d\x90", 3, compressed, ERROR_UNSUPPORTED, "by compress");
		refuse("\x5d\0\0\x80\0\xff\xff\xff\xff\xff\xff\xff\xff\0", 14, compressed,
		       ERROR_UNSUPPORTED, "lzma");
		refuse("\x5d\0\0\0\2\0\0\x30\0\0\0\0\0\0", 14, compressed, ERROR_UNSUPPORTED,
		       "lzma");
		refuse("\n\t <!DocType html>", 18, compressed, ERROR_INPUT, "web page");
		refuse("<HTML>", 6, compressed, ERROR_INPUT, "web page");
		refuse("<?xml version", 13, compressed, ERROR_INPUT, "web page");
	}
}

/* What is inside would get to the disk as it is. */
static void refuses_what_is_compressed_twice(void **state)
{
	(void)state;
	static const struct {
		const char *magic;
		size_t size;
		const char *name;
	} inner[] = {
		{"\x1f\x8b\x08", 3, "gzip"},
		{"\x28\xb5\x2f\xfd", 4, "zstd"},
		{"\x50\x2a\x4d\x18", 4, "zstd"},
		{"\xfd"
		 "7zXZ\0",
		 6, "xz"},
		{"BZh91AY&SY", 10, "bzip2"},
		{"\x04\x22\x4d\x18", 4, "lz4"},
	};
	char words[100];
	for (size_t i = 0; i < COUNT(inner); i++) {
		snprintf(words, sizeof(words), "compressed twice, by gzip and within that by %s",
			 inner[i].name);
		refuse(inner[i].magic, inner[i].size, true, ERROR_UNSUPPORTED, words);
	}
}

static void ends_at_once_when_empty(void **state)
{
	(void)state;
	struct error err;
	struct image_facts facts;
	struct image *image;
	struct extent extent;
	const struct image_options options = {.threads = 1};
	file_write(path, "", 0);
	struct source *source = open_source();
	assert_ok(image_open(source, &options, &facts, &image, &err));
	assert_int_equal(image_read(image, content, 4096, &extent, &err), 0);
	image_close(image);
	source_free(source);
	write_gzip(path, "", 0);
	source = open_source();
	assert_ok(image_open(source, &options, &facts, &image, &err));
	assert_int_equal(image_read(image, content, 4096, &extent, &err), 0);
	image_close(image);
	source_free(source);
}

#define WITH_FILE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_FILE(reads_raw_and_compressed), WITH_FILE(fails_by_any_checksum),
		WITH_FILE(refuses_what_is_no_image), WITH_FILE(refuses_what_is_compressed_twice),
		WITH_FILE(ends_at_once_when_empty),
	};
	return cmocka_run_group_tests_name("image", tests, NULL, NULL);
}
