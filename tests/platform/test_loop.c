/* Loop devices that an action has left on its disk. As root, on a loop device that stands for it.
 */
#include "tests/loop.h"

#include <sys/mount.h>

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

static bool is_attached(const struct loop *loop)
{
	struct loop_info64 info;
	int fd = open(loop->path, O_RDONLY | O_CLOEXEC);
	bool attached = fd >= 0 && ioctl(fd, LOOP_GET_STATUS64, &info) == 0;
	close(fd);
	return attached;
}

/* Attaches, and closes: as a program that has ended leaves it. */
static void leave(const char *file)
{
	loop_attach(&left, file, false);
	close(left.fd);
	left.fd = -1;
	assert_true(is_attached(&left));
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
	assert_true(is_attached(&left));
	assert_int_equal(umount2(at, MNT_DETACH), 0);
	assert_int_equal(loop_detach_from(disk.path), 1);
	assert_false(is_attached(&left));
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
	assert_false(is_attached(&left));
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
