/* Loop devices that an action has left on its disk. As root, on a loop device that stands for it.
 */
#include "tests/loop.h"

#include <sys/mount.h>

#include "platform/cleanup.h"
#include "platform/loop.h"
#include "platform/process.h"

static char *directory, *image, *at;
static struct loop disk, left;

static int set_up(void **state)
{
	(void)state;
	struct error err;
	disk.fd = left.fd = -1;
	directory = directory_make();
	image = path_in(directory, "image");
	at = path_in(directory, "at");
	if (loop_obstacle())
		return 0;
	int fd = open(image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, 16 << 20) < 0 || mkdir(at, 0755) < 0)
		return -1;
	close(fd);
	assert_ok(process_run((const char *const[]){"mkfs.ext4", "-q", "-F", image, NULL}, &err));
	loop_attach(&disk, image, false);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	if (left.fd >= 0)
		loop_detach(&left);
	umount2(at, MNT_DETACH);
	if (disk.fd >= 0)
		loop_detach(&disk);
	free(at);
	free(image);
	directory_remove(directory);
	return 0;
}

static bool backing(const struct loop *loop, struct loop_info64 *ret_info)
{
	auto_close int fd = open(loop->path, O_RDONLY | O_CLOEXEC);
	return fd >= 0 && ioctl(fd, LOOP_GET_STATUS64, ret_info) == 0;
}

static struct loop_info64 left_on;

/* Whether left is still attached to what it was: a number that is free again may be somebody
 * else's at once. */
static bool left_is_attached(void)
{
	struct loop_info64 info;
	return backing(&left, &info) && info.lo_device == left_on.lo_device &&
	       info.lo_inode == left_on.lo_inode && info.lo_rdevice == left_on.lo_rdevice;
}

/* The kernel detaches when the last who has it open lets go: that may be somebody who looks at all
 * disks of the machine. */
static bool left_is_detached(void)
{
	for (int tries = 0; tries < 500 && left_is_attached(); tries++)
		usleep(10000);
	return !left_is_attached();
}

static bool is_attached(const struct loop *loop)
{
	struct loop_info64 info;
	return backing(loop, &info);
}

/* Attaches, and closes: as a program that has ended leaves it. */
static void leave(const char *file)
{
	loop_attach(&left, file, false);
	close(left.fd);
	left.fd = -1;
	assert_true(backing(&left, &left_on));
}

static void detaches_from_files_of_the_disk(void **state)
{
	(void)state;
	if (loop_obstacle())
		skip_because(loop_obstacle());
	char *file = path_in(at, "file");
	assert_int_equal(mount(disk.path, at, "ext4", 0, NULL), 0);
	char zeros[4096] = "";
	file_write(file, zeros, sizeof(zeros));
	leave(file);
	/* A file system that is in use is somebody else's. */
	assert_int_equal(loop_detach_from(disk.path), 0);
	assert_true(left_is_attached());
	assert_int_equal(umount2(at, MNT_DETACH), 0);
	assert_int_equal(loop_detach_from(disk.path), 1);
	assert_true(left_is_detached());
	assert_true(is_attached(&disk));
	assert_int_equal(loop_detach_from(disk.path), 0);
	free(file);
}

static void detaches_from_the_disk_itself(void **state)
{
	(void)state;
	if (loop_obstacle())
		skip_because(loop_obstacle());
	leave(disk.path);
	assert_int_equal(loop_detach_from(disk.path), 1);
	assert_true(left_is_detached());
	assert_true(is_attached(&disk));
}

static void touches_no_other(void **state)
{
	(void)state;
	if (loop_obstacle())
		skip_because(loop_obstacle());
	/* On a file of the machine's own. */
	assert_int_equal(loop_detach_from(image), 0);
	assert_int_equal(loop_detach_from("/nonexistent"), 0);
	assert_true(is_attached(&disk));
}

#define WITH_DISK(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_DISK(detaches_from_files_of_the_disk),
		WITH_DISK(detaches_from_the_disk_itself),
		WITH_DISK(touches_no_other),
	};
	setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
