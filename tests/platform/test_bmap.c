/* Block maps: the XML, read strictly, and images by it, in order and by ranges. Maps made by
 * bmaptool are read in tests/e2e/test_forms.py. */
#include "tests/unit.h"

#include "platform/bmap.h"
#include "platform/image.h"
#include "tests/source_memory.h"

enum {
	BLOCK = 4096,
	SIZE = 100 * BLOCK + 512,
	TEXT_SIZE = 4096
};

/* Data in the blocks 0, 10 to 19, 50, and in the last one, which is not whole. */
static const uint64_t mapped[][2] = {{0, 0}, {10, 19}, {50, 50}, {100, 100}};

static uint8_t disk[SIZE];
static char text[TEXT_SIZE];

static void make_disk(void)
{
	memset(disk, 0, sizeof(disk));
	for (size_t i = 0; i < COUNT(mapped); i++) {
		size_t from = mapped[i][0] * BLOCK, to = (mapped[i][1] + 1) * BLOCK;
		to = to < SIZE ? to : SIZE;
		fill_random(disk + from, to - from, (uint32_t)i);
	}
}

static char *hex(const char *type, const void *data, size_t size, char *out)
{
	uint8_t bytes[DIGEST_MAX_BYTES];
	struct digester *digester = digester_new(type);
	digester_add(digester, data, size);
	digester_finish(digester, bytes);
	for (size_t i = 0; i < digester_bytes(digester); i++)
		sprintf(out + 2 * i, "%02x", bytes[i]);
	digester_free(digester);
	return out;
}

/* The map of the disk; type NULL: a version without checksums. */
static void make_map(const char *version, const char *type)
{
	char sum[2 * DIGEST_MAX_BYTES + 1];
	bool old = strcmp(version, "1.3") == 0;
	size_t used = (size_t)sprintf(
		text,
		"<?xml version=\"1.0\" ?>\n<!-- <bmap> & more -->\n<bmap version=\"%s\">\n"
		"  <ImageSize> %d </ImageSize>\n<BlockSize>%d</BlockSize>\n"
		"  <BlocksCount> 101 </BlocksCount>\n"
		"  <MappedBlocksCount> 13 </MappedBlocksCount> <!-- 13%% -->\n",
		version, SIZE, BLOCK);
	char *own = NULL;
	if (type && !old)
		used += (size_t)sprintf(text + used, "  <ChecksumType> %s </ChecksumType>\n", type);
	if (type) {
		hex(type, "", 0, sum);
		memset(sum, '0', strlen(sum));
		used += (size_t)sprintf(text + used, "  <%s> ",
					old ? "BmapFileSHA1" : "BmapFileChecksum");
		own = text + used;
		used += (size_t)sprintf(text + used, "%s </%s>\n", sum,
					old ? "BmapFileSHA1" : "BmapFileChecksum");
	}
	used += (size_t)sprintf(text + used, "  <BlockMap>\n");
	for (size_t i = 0; i < COUNT(mapped); i++) {
		size_t from = mapped[i][0] * BLOCK, to = (mapped[i][1] + 1) * BLOCK;
		to = to < SIZE ? to : SIZE;
		used += (size_t)sprintf(text + used, "    <Range");
		if (type)
			used += (size_t)sprintf(text + used, " %s=\"%s\"", old ? "sha1" : "chksum",
						hex(type, disk + from, to - from, sum));
		if (mapped[i][0] == mapped[i][1])
			used += (size_t)sprintf(text + used, "> %d </Range>\n", (int)mapped[i][0]);
		else
			used += (size_t)sprintf(text + used, "> %d-%d </Range>\n",
						(int)mapped[i][0], (int)mapped[i][1]);
	}
	used += (size_t)sprintf(text + used, "  </BlockMap>\n</bmap>\n");
	assert_true(used < TEXT_SIZE);
	if (own) {
		hex(type, text, used, sum);
		memcpy(own, sum, strlen(sum));
	}
}

static int set_up(void **state)
{
	(void)state;
	make_disk();
	make_map("2.0", "sha256");
	return 0;
}

/* Replaces the first occurrence; the map's checksum of itself is not made anew. */
static void edit(const char *from, const char *to)
{
	char *at = strstr(text, from);
	assert_non_null(at);
	memmove(at + strlen(to), at + strlen(from), strlen(at + strlen(from)) + 1);
	memcpy(at, to, strlen(to));
}

/* Reads it through; got is what arrived, 0xee elsewhere. */
static int read_mapped(size_t size, struct source *source, uint8_t *got, struct error *err)
{
	auto_image struct image *image = NULL;
	if (image_bmap(stream_from_memory(disk, size), source, text, strlen(text), &image, err) < 0)
		return -1;
	assert_int_equal(image->size_bytes, SIZE);
	memset(got, 0xee, SIZE);
	static uint8_t data[3 * BLOCK];
	struct extent extent;
	uint64_t at = 0;
	int result;
	while ((result = image_read(image, data, sizeof(data), &extent, err)) > 0) {
		assert_int_equal(extent.offset, at);
		at += extent.size_bytes;
		assert_true(extent.size_bytes > 0 && at <= SIZE);
		if (extent.zero)
			memset(got + extent.offset, 0, extent.size_bytes);
		else
			memcpy(got + extent.offset, data, extent.size_bytes);
	}
	assert_true(result < 0 || at == SIZE);
	return result;
}

static uint8_t got[SIZE];

static void test_every_version(void **state)
{
	(void)state;
	static const char *const versions[][2] = {{"1.2", NULL},     {"1.3", "sha1"},
						  {"1.4", "sha256"}, {"2.0", "sha256"},
						  {"2.0", "sha512"}, {"2.0", "sha1"}};
	for (size_t i = 0; i < COUNT(versions); i++) {
		struct error err;
		struct source source = {.data = disk, .size = SIZE};
		make_map(versions[i][0], versions[i][1]);
		assert_ok(read_mapped(SIZE, NULL, got, &err));
		assert_memory_equal(got, disk, SIZE);
		assert_ok(read_mapped(SIZE, &source, got, &err));
		assert_memory_equal(got, disk, SIZE);
		assert_int_equal(source.fetched, 12 * BLOCK + 512);
	}
}

static void test_what_is_mapped(void **state)
{
	(void)state;
	struct error err;
	struct bmap bmap;
	assert_ok(bmap_parse(text, strlen(text), &bmap, &err));
	assert_int_equal(bmap.range_count, COUNT(mapped));
	assert_int_equal(bmap.ranges[1].first, 10);
	assert_int_equal(bmap.ranges[1].count, 10);
	assert_int_equal(bmap.ranges[1].checksum, 1);
	assert_int_equal(bmap.image_bytes, SIZE);
	assert_int_equal(bmap.digest_bytes, 32);
	bmap_free(&bmap);
}

/* A byte changed within each range, and outside of them. */
static void test_wrong_data(void **state)
{
	(void)state;
	struct error err;
	struct source source = {.data = disk, .size = SIZE};
	for (size_t i = 0; i < COUNT(mapped); i++) {
		size_t at = mapped[i][0] * BLOCK + 100;
		disk[at] ^= 1;
		assert_fails(read_mapped(SIZE, NULL, got, &err), ERROR_CORRUPT, "wrong checksum");
		assert_fails(read_mapped(SIZE, &source, got, &err), ERROR_CORRUPT,
			     "wrong checksum");
		disk[at] ^= 1;
	}
	disk[30 * BLOCK] = 1;
	assert_fails(read_mapped(SIZE, NULL, got, &err), ERROR_CORRUPT, "does not belong");
	/* By ranges it is not seen; and does not get onto the disk. */
	assert_ok(read_mapped(SIZE, &source, got, &err));
	assert_int_equal(got[30 * BLOCK], 0);
}

static void test_wrong_lengths(void **state)
{
	(void)state;
	struct error err;
	struct source source = {.data = disk, .size = SIZE - 512};
	assert_fails(read_mapped(SIZE - 512, NULL, got, &err), ERROR_CORRUPT, "image of");
	assert_fails(read_mapped(SIZE, &source, got, &err), ERROR_CORRUPT, "image of");
	/* A stream of unknown length. */
	for (int longer = 0; longer < 2; longer++) {
		static uint8_t more[SIZE + 1];
		memcpy(more, disk, SIZE);
		struct stream *stream = stream_from_memory(more, longer ? SIZE + 1 : SIZE - 1);
		assert_ok(stream_in_thread(stream, BLOCK, 2, &stream, &err));
		stream->size_bytes = STREAM_SIZE_UNKNOWN;
		auto_image struct image *image = NULL;
		assert_ok(image_bmap(stream, NULL, text, strlen(text), &image, &err));
		static uint8_t data[BLOCK];
		struct extent extent;
		int result;
		while ((result = image_read(image, data, sizeof(data), &extent, &err)) > 0)
			continue;
		assert_int_equal(result, -1);
		assert_error(ERROR_CORRUPT, longer ? "is longer" : "is cut");
	}
	source = (struct source){.data = disk, .size = SIZE, .fail_above = 15 * BLOCK};
	assert_fails(read_mapped(SIZE, &source, got, &err), ERROR_NETWORK, "the network fails");
}

/* Any letter that is changed is noticed: that is what the checksum is for. */
static void test_every_changed_letter(void **state)
{
	(void)state;
	struct error err;
	struct bmap bmap;
	size_t size = strlen(text);
	for (size_t i = 0; i < size; i++) {
		text[i] ^= 1;
		if (bmap_parse(text, size, &bmap, &err) == 0)
			fail_msg("changed at %zu: %.20s", i, text + i);
		text[i] ^= 1;
	}
	for (size_t i = 0; i + 1 < size; i++)
		if (bmap_parse(text, i, &bmap, &err) == 0)
			fail_msg("cut at %zu", i);
}

static void test_wrong_maps(void **state)
{
	(void)state;
	static const struct {
		const char *from, *to;
		enum error_kind kind;
		const char *words;
	} cases[] = {
		{"version=\"1.2\"", "version=\"1.1\"", ERROR_UNSUPPORTED, "version 1.1"},
		{"version=\"1.2\"", "version=\"3.0\"", ERROR_UNSUPPORTED, "version 3.0"},
		{"version=\"1.2\"", "version=\"2.1\"", ERROR_UNSUPPORTED, "version 2.1"},
		{"version=\"1.2\"", "version=\"x\"", ERROR_CORRUPT, "no version"},
		{"version=\"1.2\"", "version=\"1.x\"", ERROR_CORRUPT, "is no number"},
		{"version=\"1.2\"", "version=\"2.0\"", ERROR_CORRUPT, "no checksum of itself"},
		{"<bmap v", "<bmop v", ERROR_INPUT, "no block map"},
		{"<!-- <", "<!DOCTYPE <", ERROR_INPUT, "no block map"},
		{"<BlockSize>4096", "<BlockSize>4095", ERROR_CORRUPT, "BlockSize"},
		{"<BlockSize>4096", "<BlockSize>0", ERROR_CORRUPT, "BlockSize"},
		{"<BlockSize>4096", "<BlockSize>40&96", ERROR_CORRUPT, "a text with &"},
		{"<BlockSize>4096", "<BlockSize>-1", ERROR_CORRUPT, "a number"},
		{"<BlockSize>4096", "<BlockSize>99999999999999999999", ERROR_CORRUPT, "a number"},
		{"<BlockSize>4096</BlockSize>", "", ERROR_CORRUPT, "is missing"},
		{"<BlockSize>4096</BlockSize>", "<BlockSize>4096", ERROR_CORRUPT, "does not end"},
		{"<BlockSize>", "<BlockSize>4096</BlockSize><BlockSize>", ERROR_CORRUPT, "twice"},
		{"<BlockSize>", "<Other>", ERROR_CORRUPT, "unknown element"},
		{"<BlockSize>", "text <BlockSize>", ERROR_CORRUPT, "between"},
		{" 101 ", " 102 ", ERROR_CORRUPT, "BlocksCount"},
		{" 13 ", " 12 ", ERROR_CORRUPT, "MappedBlocksCount"},
		{"10-19", "19-10", ERROR_CORRUPT, "FIRST-LAST"},
		{"10-19", "10-", ERROR_CORRUPT, "FIRST-LAST"},
		{"10-19", "10-50", ERROR_CORRUPT, "not in order"},
		{"10-19", "0-9", ERROR_CORRUPT, "not in order"},
		{"> 100 <", "> 101 <", ERROR_CORRUPT, "beyond the image"},
		{"> 100 <", "> 9223372036854775807 <", ERROR_CORRUPT, "beyond the image"},
		{"<Range>", "<Range other=\"1\">", ERROR_CORRUPT, "unknown attribute"},
		{"<Range>", "<Range chksum=1>", ERROR_CORRUPT, "without quotes"},
		{"<Range>", "<Range chksum>", ERROR_CORRUPT, "without a value"},
		{"<Range>", "<Range chksum=\"12\">", ERROR_CORRUPT, "wrong length"},
		{"</bmap>", "</bmap> x", ERROR_CORRUPT, "behind the map"},
		{"</bmap>", "", ERROR_CORRUPT, "between"},
		{"-->", "", ERROR_INPUT, ""},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct error err;
		struct bmap bmap;
		make_map("1.2", NULL);
		edit(cases[i].from, cases[i].to);
		/* What the comment that does not end says is of no matter. */
		if (strcmp(cases[i].from, "-->") == 0)
			assert_int_equal(bmap_parse(text, strlen(text), &bmap, &err), -1);
		else
			assert_fails(bmap_parse(text, strlen(text), &bmap, &err), cases[i].kind,
				     cases[i].words);
	}
	struct error err;
	struct bmap bmap;
	make_map("2.0", "sha256");
	edit(" sha256 ", " md5 ");
	assert_fails(bmap_parse(text, strlen(text), &bmap, &err), ERROR_UNSUPPORTED, "\"md5\"");
	assert_fails(bmap_parse("", 0, &bmap, &err), ERROR_INPUT, "no block map");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_every_version, set_up),
		cmocka_unit_test_setup(test_what_is_mapped, set_up),
		cmocka_unit_test_setup(test_wrong_data, set_up),
		cmocka_unit_test_setup(test_wrong_lengths, set_up),
		cmocka_unit_test_setup(test_every_changed_letter, set_up),
		cmocka_unit_test_setup(test_wrong_maps, set_up),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
