/* Partition tables and file systems as the host's tools make them, in plain files. */
#include "tests/unit.h"
#include "tests/sfdisk.h"

#include "platform/partition.h"
#include "platform/process.h"

static char *directory, *image;
static int fd;

enum {
	IMAGE_BYTES = 64 << 20
};

static int set_up(void **state)
{
	(void)state;
	directory = directory_make();
	image = path_in(directory, "image");
	fd = open(image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	return fd >= 0 && ftruncate(fd, IMAGE_BYTES) == 0 ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	close(fd);
	free(image);
	directory_remove(directory);
	return 0;
}

/* Runs sfdisk over the image with this script. */
static void partition(const char *script)
{
	run_sfdisk(image, script, directory);
}

static void reads_gpt(void **state)
{
	(void)state;
	struct error err;
	struct partition_table table;
	/* Numbers with a gap, not in the order of the disk. */
	partition("label: gpt\n"
		  "1 : start=40960, size=20480\n"
		  "5 : start=2048, size=8192\n");
	assert_ok(partition_table_read(fd, &table, &err));
	assert_string_equal(table.type, "gpt");
	assert_int_equal(table.count, 2);
	for (unsigned i = 0; i < table.count; i++) {
		const struct partition *at = &table.partitions[i];
		assert_true(at->number == 1 || at->number == 5);
		assert_int_equal(at->start_bytes, (at->number == 1 ? 40960 : 2048) * 512);
		assert_int_equal(at->size_bytes, (at->number == 1 ? 20480 : 8192) * 512);
	}
}

static void reads_dos_with_logical_partitions(void **state)
{
	(void)state;
	struct error err;
	struct partition_table table;
	partition("label: dos\n"
		  "1 : start=2048, size=4096, type=83\n"
		  "2 : start=8192, size=65536, type=5\n"
		  "5 : start=10240, size=4096, type=83\n"
		  "6 : start=20480, size=4096, type=82\n");
	assert_ok(partition_table_read(fd, &table, &err));
	assert_string_equal(table.type, "dos");
	assert_int_equal(table.count, 4);
	assert_int_equal(table.partitions[0].number, 1);
	/* As the kernel has it: an extended partition is two sectors, enough for a boot loader. */
	assert_int_equal(table.partitions[1].number, 2);
	assert_int_equal(table.partitions[1].size_bytes, 1024);
	assert_int_equal(table.partitions[2].number, 5);
	assert_int_equal(table.partitions[2].start_bytes, 10240 * 512);
	assert_int_equal(table.partitions[3].number, 6);
}

static void sees_no_table_where_none_is(void **state)
{
	(void)state;
	struct error err;
	struct partition_table table = {.count = 99};
	assert_ok(partition_table_read(fd, &table, &err));
	assert_string_equal(table.type, "");
	assert_int_equal(table.count, 0);
	uint8_t noise[65536];
	fill_random(noise, sizeof(noise), 6);
	assert_int_equal(pwrite(fd, noise, sizeof(noise), 0), sizeof(noise));
	assert_ok(partition_table_read(fd, &table, &err));
	assert_int_equal(table.count, 0);
}

static void tells_file_systems(void **state)
{
	(void)state;
	struct error err;
	char type[32];
	assert_ok(process_run((const char *const[]){"mkfs.ext4", "-q", "-F", image, NULL}, &err));
	assert_ok(filesystem_detect(image, type, sizeof(type), &err));
	assert_string_equal(type, "ext4");
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(ftruncate(fd, IMAGE_BYTES), 0);
	assert_ok(process_run((const char *const[]){"mkfs.vfat", "-F", "32", image, NULL}, &err));
	assert_ok(filesystem_detect(image, type, sizeof(type), &err));
	assert_string_equal(type, "vfat");
}

static void names_the_device_without_file_system(void **state)
{
	(void)state;
	struct error err;
	char type[32];
	assert_fails(filesystem_detect(image, type, sizeof(type), &err), ERROR_NOT_FOUND, image);
	/* Swap is no file system. */
	assert_ok(process_run((const char *const[]){"mkswap", image, NULL}, &err));
	assert_fails(filesystem_detect(image, type, sizeof(type), &err), ERROR_NOT_FOUND, image);
	assert_fails(filesystem_detect("/nonexistent", type, sizeof(type), &err), ERROR_NOT_FOUND,
		     "/nonexistent");
}

#define WITH_IMAGE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_IMAGE(reads_gpt),
		WITH_IMAGE(reads_dos_with_logical_partitions),
		WITH_IMAGE(sees_no_table_where_none_is),
		WITH_IMAGE(tells_file_systems),
		WITH_IMAGE(names_the_device_without_file_system),
	};
	/* Debian's mkfs and sfdisk are there for root only. */
	setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	return cmocka_run_group_tests_name("partition", tests, NULL, NULL);
}
