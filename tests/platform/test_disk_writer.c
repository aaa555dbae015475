/* Writing images to a disk, on loop devices, as root. */
#include "tests/loop.h"

#include "platform/disk.h"

enum {
	MIB = 1 << 20,
	DISK_BYTES = 16 * MIB
};

static char *directory, *image;
static struct loop loop;
static struct disk disk;

static int set_up(void **state)
{
	(void)state;
	directory = directory_make();
	image = path_in(directory, "image");
	loop.fd = -1;
	disk.fd = -1;
	/* A used disk: full of something. */
	char *old = malloc(DISK_BYTES);
	memset(old, 0xaa, DISK_BYTES);
	file_write(image, old, DISK_BYTES);
	free(old);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	disk_close(&disk);
	if (loop.fd >= 0)
		loop_detach(&loop);
	free(image);
	directory_remove(directory);
	return 0;
}

static void attach(unsigned sector_bytes)
{
	struct error err;
	if (loop_obstacle())
		skip_because(loop_obstacle());
	loop_attach_sectors(&loop, image, false, sector_bytes);
	assert_ok(disk_open(loop.path, &disk, &err));
}

static uint8_t *disk_content(void)
{
	uint8_t *data = malloc(DISK_BYTES);
	assert_int_equal(pread(loop.fd, data, DISK_BYTES, 0), DISK_BYTES);
	return data;
}

static bool all_are(const uint8_t *data, size_t size, uint8_t value)
{
	for (size_t i = 0; i < size; i++)
		if (data[i] != value)
			return false;
	return true;
}

/* An image of size bytes with runs of zeros in it, of whole and broken grains. */
static uint8_t *make_image(size_t size)
{
	uint8_t *data = malloc(size);
	fill_random(data, size, 7);
	for (size_t at = 0; at < size; at += 3 * (size_t)MIB)
		memset(data + at, 0, size - at < MIB + 4096 ? size - at : MIB + 4096);
	return data;
}

/* One piece of the image, from memory. */
static int put(struct disk_writer *writer, const uint8_t *data, size_t at, size_t size,
	       struct error *err)
{
	void *buffer;
	if (disk_writer_buffer(writer, &buffer, err) < 0)
		return -1;
	memcpy(buffer, data + at, size);
	return disk_writer_submit(writer, at, size, err);
}

static int put_all(struct disk_writer *writer, const uint8_t *data, size_t size, size_t piece,
		   struct error *err)
{
	for (size_t at = 0; at < size; at += piece)
		if (put(writer, data, at, size - at < piece ? size - at : piece, err) < 0)
			return -1;
	return 0;
}

static struct disk_writer *open_writer(bool compare, bool record)
{
	const struct disk_writer_options options = {.compare = compare, .record = record};
	struct disk_writer *writer;
	struct error err;
	assert_ok(disk_writer_open(&disk, &options, &writer, &err));
	assert_ok(disk_writer_begin(writer, &err));
	return writer;
}

static void assert_disk_holds(const uint8_t *data, size_t size)
{
	uint8_t *content = disk_content();
	assert_memory_equal(content, data, size);
	free(content);
}

static void write_whole(size_t size, size_t piece)
{
	struct error err;
	uint8_t *data = make_image(size);
	struct disk_writer *writer = open_writer(false, false);
	assert_ok(put_all(writer, data, size, piece, &err));
	assert_ok(disk_writer_flush(writer, size, &err));
	assert_ok(disk_writer_finish(writer, &err));
	struct disk_writer_counts counts = disk_writer_counts(writer);
	assert_int_equal(counts.image_bytes, size);
	assert_int_equal(counts.written_bytes + counts.cleared_bytes, size);
	disk_writer_free(writer);
	assert_disk_holds(data, size);
	free(data);
}

/* Smaller than the part held back, around its border, and the whole disk; in pieces of any size. */
static void writes_an_image_whole(void **state)
{
	static const size_t sizes[] = {512,           MIB - 512,        MIB,       MIB + 512,
				       5 * MIB + 512, 10 * (size_t)MIB, DISK_BYTES};
	static const size_t pieces[] = {4096, 777777, MIB};
	(void)state;
	attach(512);
	for (size_t i = 0; i < COUNT(sizes); i++)
		for (size_t j = 0; j < COUNT(pieces); j++)
			write_whole(sizes[i], pieces[j]);
}

/* An image made of 512-byte sectors that ends within a sector of the disk, and pieces that begin in
 * one. */
static void writes_parts_of_sectors(void **state)
{
	static const size_t sizes[] = {512, MIB + 512, 5 * MIB + 1536, DISK_BYTES};
	(void)state;
	attach(4096);
	assert_int_equal(disk.sector_bytes, 4096);
	for (size_t i = 0; i < COUNT(sizes); i++) {
		write_whole(sizes[i], MIB);
		write_whole(sizes[i], 777728);
	}
}

static void takes_extents_in_any_order(void **state)
{
	(void)state;
	struct error err;
	attach(512);
	uint8_t *data = make_image(DISK_BYTES);
	memset(data + 2 * MIB, 0, 5 * MIB);
	memset(data, 0, 512);
	struct disk_writer *writer = open_writer(false, true);
	for (size_t at = DISK_BYTES - MIB; at >= 7 * MIB; at -= MIB)
		assert_ok(put(writer, data, at, MIB, &err));
	assert_ok(disk_writer_zero(writer, 2 * MIB, 5 * MIB, &err));
	assert_ok(put(writer, data, 512, MIB, &err));
	assert_ok(put(writer, data, MIB + 512, MIB - 512, &err));
	assert_ok(disk_writer_zero(writer, 0, 512, &err));
	assert_memory_equal(disk_writer_head(writer), data, MIB);
	assert_ok(disk_writer_flush(writer, DISK_BYTES, &err));
	assert_ok(disk_writer_verify(writer, NULL, NULL, &err));
	assert_ok(disk_writer_finish(writer, &err));
	disk_writer_free(writer);
	assert_disk_holds(data, DISK_BYTES);
	free(data);
}

/* Cut at any time the disk has no beginning and no end: nothing boots, no backup table is found. */
static void leaves_no_half_truth(void **state)
{
	(void)state;
	struct error err;
	attach(512);
	uint8_t *data = malloc(6 * MIB);
	memset(data, 0xbb, 6 * MIB);
	struct disk_writer *writer = open_writer(false, false);
	assert_ok(put_all(writer, data, 6 * MIB, MIB, &err));
	assert_ok(disk_writer_flush(writer, 6 * MIB, &err));
	disk_writer_free(writer);
	uint8_t *content = disk_content();
	assert_true(all_are(content, MIB, 0));
	assert_true(all_are(content + DISK_BYTES - MIB, MIB, 0));
	/* What lies between was written as it came, and the rest left alone. */
	assert_true(all_are(content + MIB, 5 * MIB, 0xbb));
	assert_true(all_are(content + 6 * MIB, 9 * MIB, 0xaa));
	free(content);
	free(data);
}

static void touches_nothing_before_it_begins(void **state)
{
	(void)state;
	struct error err;
	attach(512);
	const struct disk_writer_options options = {.compare = false};
	struct disk_writer *writer;
	void *buffer;
	assert_ok(disk_writer_open(&disk, &options, &writer, &err));
	assert_ok(disk_writer_buffer(writer, &buffer, &err));
	disk_writer_free(writer);
	uint8_t *content = disk_content();
	assert_true(all_are(content, DISK_BYTES, 0xaa));
	free(content);
}

static void refuses_images_that_do_not_fit(void **state)
{
	(void)state;
	struct error err;
	attach(512);
	uint8_t *data = calloc(1, DISK_BYTES + MIB);
	struct disk_writer *writer = open_writer(false, false);
	assert_ok(put_all(writer, data, DISK_BYTES, MIB, &err));
	assert_fails(put(writer, data, DISK_BYTES, 512, &err), ERROR_INPUT, "larger than");
	assert_contains(err.text, loop.path);
	assert_fails(disk_writer_zero(writer, DISK_BYTES - 512, 1024, &err), ERROR_INPUT,
		     "larger than");
	assert_fails(disk_writer_zero(writer, UINT64_MAX - 511, 512, &err), ERROR_INPUT,
		     "larger than");
	disk_writer_free(writer);
	writer = open_writer(false, false);
	assert_fails(disk_writer_flush(writer, 0, &err), ERROR_CORRUPT, "empty");
	disk_writer_free(writer);
	writer = open_writer(false, false);
	assert_ok(put_all(writer, data, 2 * MIB + 100, MIB, &err));
	assert_fails(disk_writer_flush(writer, 2 * MIB + 100, &err), ERROR_CORRUPT,
		     "multiple of 512");
	/* A form that leaves something out is caught. */
	assert_fails(disk_writer_flush(writer, 3 * MIB, &err), ERROR_BUG, "came");
	disk_writer_free(writer);
	free(data);
}

/* Behind the device's back, as a failing disk would. */
static void spoil(uint64_t at)
{
	int fd = open(image, O_RDWR | O_CLOEXEC);
	uint8_t byte;
	assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
	byte ^= 0x10;
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
	close(fd);
}

/* Data, zeros in data, an extent of zeros, the first and the last byte behind the head. */
static void reads_back_what_it_wrote(void **state)
{
	static const uint64_t places[] = {MIB, 4 * MIB + 5, 6 * MIB + 77, 9 * MIB, DISK_BYTES - 1};
	(void)state;
	struct error err;
	attach(512);
	uint8_t *data = make_image(DISK_BYTES);
	memset(data + 8 * MIB, 0, 2 * MIB);
	for (size_t i = 0; i < COUNT(places); i++) {
		struct disk_writer *writer = open_writer(false, true);
		assert_ok(put_all(writer, data, 8 * MIB, MIB, &err));
		assert_ok(disk_writer_zero(writer, 8 * MIB, 2 * MIB, &err));
		for (size_t at = 10 * (size_t)MIB; at < DISK_BYTES; at += MIB)
			assert_ok(put(writer, data, at, MIB, &err));
		assert_ok(disk_writer_flush(writer, DISK_BYTES, &err));
		assert_ok(disk_writer_verify(writer, NULL, NULL, &err));
		spoil(places[i]);
		assert_fails(disk_writer_verify(writer, NULL, NULL, &err), ERROR_CORRUPT,
			     "does not hold what was written");
		disk_writer_free(writer);
		uint8_t *content = disk_content();
		assert_true(all_are(content, MIB, 0));
		free(content);
	}
	free(data);
}

static void writes_only_what_differs(void **state)
{
	(void)state;
	struct error err;
	attach(512);
	uint8_t *data = make_image(DISK_BYTES);
	write_whole(DISK_BYTES, MIB); /* the same image */
	spoil(5 * MIB + 1);
	spoil(9 * MIB);
	struct disk_writer *writer = open_writer(true, false);
	assert_ok(put_all(writer, data, DISK_BYTES, MIB, &err));
	assert_ok(disk_writer_flush(writer, DISK_BYTES, &err));
	assert_ok(disk_writer_finish(writer, &err));
	struct disk_writer_counts counts = disk_writer_counts(writer);
	/* The head and both places: one in data, one in zeros. */
	assert_true(counts.written_bytes > MIB && counts.written_bytes <= 2 * MIB);
	assert_true(counts.cleared_bytes > 0 && counts.cleared_bytes <= MIB);
	assert_int_equal(counts.same_bytes + counts.written_bytes + counts.cleared_bytes,
			 DISK_BYTES);
	disk_writer_free(writer);
	assert_disk_holds(data, DISK_BYTES);
	free(data);
}

/* A failure of the device comes out, whichever call sees it first. */
static void tells_of_a_device_that_fails(void **state)
{
	(void)state;
	struct error err;
	attach(512);
	uint8_t *data = make_image(DISK_BYTES);
	struct disk_writer *writer = open_writer(false, false);
	/* The device ends in the middle now: what lies behind cannot be written. */
	assert_int_equal(truncate(image, 8 * MIB), 0);
	assert_int_equal(ioctl(loop.fd, LOOP_SET_CAPACITY, 0), 0);
	int result = put_all(writer, data, DISK_BYTES, MIB, &err);
	if (result == 0)
		result = disk_writer_flush(writer, DISK_BYTES, &err);
	assert_int_equal(result, -1);
	assert_contains(err.text, loop.path);
	disk_writer_free(writer);
	free(data);
}

#define WITH_DISK(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_DISK(writes_an_image_whole),
		WITH_DISK(writes_parts_of_sectors),
		WITH_DISK(takes_extents_in_any_order),
		WITH_DISK(leaves_no_half_truth),
		WITH_DISK(touches_nothing_before_it_begins),
		WITH_DISK(refuses_images_that_do_not_fit),
		WITH_DISK(reads_back_what_it_wrote),
		WITH_DISK(writes_only_what_differs),
		WITH_DISK(tells_of_a_device_that_fails),
	};
	return cmocka_run_group_tests_name("disk_writer", tests, NULL, NULL);
}
