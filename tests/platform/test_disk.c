/* Disks: finding them, opening them, partitions. On loop devices, as root. */
#include "tests/loop.h"
#include "tests/sfdisk.h"

#include <pthread.h>
#include <sys/mount.h>

#include "platform/disk.h"
#include "platform/disk_select.h"
#include "platform/disk_table.h"
#include "platform/partition.h"
#include "platform/process.h"
#include "platform/sysfs.h"
#include "platform/text.h"

enum {
	MIB = 1 << 20,
	DISK_BYTES = 16 * MIB
};

static char *directory, *image;
static struct loop loop;

static int set_up(void **state)
{
	(void)state;
	directory = directory_make();
	image = path_in(directory, "image");
	loop.fd = -1;
	int fd = open(image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	/* A used disk: full of something. */
	char *old = malloc(DISK_BYTES);
	memset(old, 0xaa, DISK_BYTES);
	int result = fd >= 0 && write(fd, old, DISK_BYTES) == DISK_BYTES ? 0 : -1;
	free(old);
	close(fd);
	return result;
}

static int tear_down(void **state)
{
	(void)state;
	sysfs_set_root("");
	/* Of a test that failed on the way. */
	char *at = path_in(directory, "at");
	umount2(at, MNT_DETACH);
	free(at);
	if (loop.fd >= 0)
		loop_detach(&loop);
	free(image);
	directory_remove(directory);
	return 0;
}

static int find(const char *name, int64_t timeout_ms, struct error *err)
{
	char path[256];
	return disk_find(name, timeout_ms, path, sizeof(path), err);
}

static void says_what_is_no_block_device(void **state)
{
	(void)state;
	struct error err;
	assert_fails(find(image, 0, &err), ERROR_INPUT, "is not a block device");
	assert_fails(find("/dev/null", 0, &err), ERROR_INPUT, "/dev/null");
	assert_fails(find(directory, 0, &err), ERROR_INPUT, directory);
	assert_fails(find("sda", 0, &err), ERROR_INPUT, "absolute path");
}

static void *appear(void *link)
{
	assert_int_equal(symlink(loop.path, link), 0);
	return NULL;
}

static void waits_for_a_device(void **state)
{
	(void)state;
	struct error err;
	if (loop_obstacle())
		skip_because(loop_obstacle());
	loop_attach(&loop, image, false);
	char *link = path_in(directory, "by-id");
	pthread_t thread;
	assert_int_equal(pthread_create(&thread, NULL, appear, link), 0);
	assert_ok(find(link, 10000, &err));
	pthread_join(thread, NULL);
	free(link);
}

static void opens_a_free_disk(void **state)
{
	(void)state;
	struct error err;
	if (loop_obstacle())
		skip_because(loop_obstacle());
	loop_attach(&loop, image, false);
	struct disk disk, second;
	assert_ok(disk_open(loop.path, &disk, &err));
	assert_int_equal(disk.size_bytes, DISK_BYTES);
	assert_int_equal(disk.sector_bytes, 512);
	assert_string_equal(disk.name, loop.path + 5);
	assert_false(disk.is_partition);
	assert_fails(disk_open(loop.path, &second, &err), ERROR_BUSY, loop.path);
	assert_ok(disk_finish(&disk, &err));
	assert_ok(disk_open(loop.path, &disk, &err));
	disk_close(&disk);
	disk_close(&disk); /* safe again */
}

static void refuses_disks_that_are_in_use(void **state)
{
	(void)state;
	struct error err;
	if (loop_obstacle())
		skip_because(loop_obstacle());
	assert_ok(process_run((const char *const[]){"mkfs.ext4", "-q", "-F", image, NULL}, &err));
	loop_attach(&loop, image, false);
	char *at = path_in(directory, "at");
	assert_int_equal(mkdir(at, 0755), 0);
	assert_int_equal(mount(loop.path, at, "ext4", 0, NULL), 0);
	struct disk disk;
	assert_fails(disk_open(loop.path, &disk, &err), ERROR_BUSY, "mounted at");
	assert_contains(err.text, at);
	assert_int_equal(umount(at), 0);
	assert_ok(disk_open(loop.path, &disk, &err));
	disk_close(&disk);
	loop_detach(&loop);
	loop_attach(&loop, image, true);
	assert_fails(disk_open(loop.path, &disk, &err), ERROR_DENIED, "is read-only");
	free(at);
}

/* Partitions */

/* Writes a table, and tells the kernel nothing. */
static void partition(const char *script)
{
	run_sfdisk(loop.path, script, directory);
}

static uint64_t node_sectors(unsigned number)
{
	char path[64];
	snprintf(path, sizeof(path), "%sp%u", loop.path, number);
	uint64_t sectors = 0;
	struct stat status;
	if (stat(path, &status) < 0 || !S_ISBLK(status.st_mode))
		return 0;
	sysfs_read_uint(&sectors, "/sys/class/block/%s/size", path + 5);
	return sectors;
}

static void reread(unsigned expected)
{
	struct error err;
	struct disk disk;
	unsigned count = 99;
	assert_ok(disk_open(loop.path, &disk, &err));
	assert_ok(disk_reread_partitions(&disk, 10000, &count, &err));
	assert_int_equal(count, expected);
	assert_ok(disk_finish(&disk, &err));
}

static void make_partitions_known(unsigned sector_bytes)
{
	loop_attach_sectors(&loop, image, false, sector_bytes);
	unsigned units = sector_bytes / 512; /* of 512 bytes in a sector */
	char script[200];
	snprintf(script, sizeof(script),
		 "label: gpt\n1 : start=%u, size=%u\n2 : start=%u, size=%u\n", 2048 / units,
		 4096 / units, 8192 / units, 8192 / units);
	partition(script);
	reread(2);
	assert_int_equal(node_sectors(1), 4096);
	assert_int_equal(node_sectors(2), 8192);
	/* Another table: what is stale goes. */
	snprintf(script, sizeof(script), "label: dos\n1 : start=%u, size=%u, type=83\n",
		 4096 / units, 2048 / units);
	partition(script);
	reread(1);
	assert_int_equal(node_sectors(1), 2048);
	assert_int_equal(node_sectors(2), 0);
	/* None at all. */
	char *zeros = calloc(1, MIB);
	assert_int_equal(pwrite(loop.fd, zeros, MIB, 0), MIB);
	free(zeros);
	reread(0);
	assert_int_equal(node_sectors(1), 0);
	loop_detach(&loop);
}

static void makes_partitions_known(void **state)
{
	(void)state;
	if (loop_obstacle())
		skip_because(loop_obstacle());
	make_partitions_known(512);
	make_partitions_known(4096);
}

/* A partition that is gone from the table, and still in use: it cannot be taken away. */
static void names_a_stale_partition_in_use(void **state)
{
	(void)state;
	struct error err;
	if (loop_obstacle())
		skip_because(loop_obstacle());
	loop_attach(&loop, image, false);
	partition("label: gpt\n1 : start=2048, size=16384\n");
	reread(1);
	char node[64], *at = path_in(directory, "at");
	snprintf(node, sizeof(node), "%sp1", loop.path);
	assert_ok(process_run((const char *const[]){"mkfs.ext4", "-q", "-F", node, NULL}, &err));
	assert_int_equal(mkdir(at, 0755), 0);
	assert_int_equal(mount(node, at, "ext4", 0, NULL), 0);
	struct disk disk;
	assert_fails(disk_open(loop.path, &disk, &err), ERROR_BUSY, node);
	assert_contains(err.text, "mounted at");
	assert_int_equal(umount(at), 0);
	free(at);
}

/* The sector size, the second copy of the GPT, and the nodes, on disks of both kinds. */
static void ends_with_a_whole_table(void **state)
{
	(void)state;
	static const unsigned sectors[] = {512, 4096};
	struct error err;
	if (loop_obstacle())
		skip_because(loop_obstacle());
	for (size_t i = 0; i < COUNT(sectors); i++) {
		unsigned units = sectors[i] / 512, count;
		char script[100];
		struct disk disk;
		bool moved;
		assert_int_equal(truncate(image, 0), 0);
		assert_int_equal(truncate(image, DISK_BYTES), 0);
		loop_attach_sectors(&loop, image, false, sectors[i]);
		snprintf(script, sizeof(script), "label: gpt\n1 : start=%u, size=%u\n",
			 2048 / units, 4096 / units);
		partition(script);
		loop_detach(&loop);
		assert_int_equal(truncate(image, 3 * DISK_BYTES), 0);
		loop_attach_sectors(&loop, image, false, sectors[i]);
		assert_ok(disk_open(loop.path, &disk, &err));
		uint8_t *head = malloc(MIB);
		assert_int_equal(pread(disk.fd, head, MIB, 0), MIB);
		assert_ok(disk_check_sector_size(&disk, head, MIB, &err));
		struct disk other = disk;
		other.sector_bytes = sectors[1 - i];
		assert_fails(disk_check_sector_size(&other, head, MIB, &err), ERROR_INPUT,
			     "is made for sectors of");
		free(head);
		assert_ok(disk_move_backup_gpt(&disk, &moved, &err));
		assert_true(moved);
		assert_ok(disk_reread_partitions(&disk, 10000, &count, &err));
		assert_int_equal(count, 1);
		assert_int_equal(node_sectors(1), 4096);
		assert_ok(disk_finish(&disk, &err));
		const char *const verify[] = {"sfdisk", "--verify", "-q", loop.path, NULL};
		assert_ok(process_run(verify, &err));
		loop_detach(&loop);
	}
}

#define WITH_IMAGE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_IMAGE(says_what_is_no_block_device),
		WITH_IMAGE(waits_for_a_device),
		WITH_IMAGE(opens_a_free_disk),
		WITH_IMAGE(refuses_disks_that_are_in_use),
		WITH_IMAGE(makes_partitions_known),
		WITH_IMAGE(names_a_stale_partition_in_use),
		WITH_IMAGE(ends_with_a_whole_table),
	};
	setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	return cmocka_run_group_tests_name("disk", tests, NULL, NULL);
}
