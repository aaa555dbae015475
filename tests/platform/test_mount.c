/* Paths inside a root that they never leave; mounting (as root, on loop devices). */
#include "tests/loop.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>

#include "platform/mount.h"
#include "platform/process.h"

static char *directory; /* of the test; in it root/ and outside/ */
static int root_fd;

static void make_link(const char *target, const char *name)
{
	char *path = path_in(directory, name);
	assert_int_equal(symlink(target, path), 0);
	free(path);
}

static void make_folder(const char *name)
{
	char *path = path_in(directory, name);
	assert_int_equal(mkdir(path, 0755), 0);
	free(path);
}

static int set_up(void **state)
{
	(void)state;
	directory = directory_make();
	make_folder("root");
	make_folder("root/etc");
	make_folder("root/usr");
	make_folder("root/usr/lib");
	make_folder("outside");
	char *path = path_in(directory, "root");
	root_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(path);
	assert_true(root_fd >= 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	close(root_fd);
	directory_remove(directory);
	return 0;
}

/* Writes a file where path leads to, and tells where below the test's directory it is. */
static void write_at(const char *path, const char *expected)
{
	static const struct directory_maker maker = {.mode = 0750};
	struct error err;
	char name[NAME_MAX + 1];
	int parent;
	struct directory_maker mine = maker;
	mine.uid = geteuid();
	mine.gid = getegid();
	assert_ok(parent = open_parent_in_root(root_fd, path, &mine, name, &err));
	int fd = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	close(fd);
	char *where = path_in(directory, expected);
	struct stat status, same;
	if (lstat(where, &status) < 0)
		fail_msg("%s was not written to %s", path, expected);
	assert_int_equal(fstatat(parent, name, &same, AT_SYMLINK_NOFOLLOW), 0);
	assert_true(status.st_ino == same.st_ino && status.st_dev == same.st_dev);
	unlink(where);
	close(parent);
	free(where);
}

static void finds_the_directory_of_a_file(void **state)
{
	(void)state;
	write_at("/etc/file", "root/etc/file");
	write_at("etc/file", "root/etc/file");
	write_at("//etc///file", "root/etc/file");
	write_at("/etc/../usr/./lib/file", "root/usr/lib/file");
	write_at("/file", "root/file");
	write_at("file", "root/file");
}

static void never_leads_outside(void **state)
{
	(void)state;
	make_link("/etc", "root/absolute");
	make_link("../../../../../../../../../etc", "root/usr/climbing");
	make_link("/../../usr/lib", "root/both");
	make_link("/nowhere/target", "root/etc/file-link");
	make_link("../../../../../../outside/target", "root/etc/climbing-file");
	make_link("chain-2", "root/etc/chain-1");
	make_link("/usr/lib/chain-3", "root/etc/chain-2");
	make_link("../../../outside/end", "root/usr/lib/chain-3");
	write_at("/../../../../../file", "root/file");
	write_at("/usr/../../outside/file", "root/outside/file");
	write_at("/absolute/file", "root/etc/file");
	write_at("/usr/climbing/file", "root/etc/file");
	write_at("/both/file", "root/usr/lib/file");
	/* A link in place of the file means its target, inside. */
	write_at("/etc/file-link", "root/nowhere/target");
	write_at("/etc/climbing-file", "root/outside/target");
	write_at("/etc/chain-1", "root/outside/end");
	char *outside = path_in(directory, "outside");
	assert_int_equal(rmdir(outside), 0); /* nothing came to be there */
	free(outside);
}

static void makes_missing_directories(void **state)
{
	(void)state;
	struct stat status;
	write_at("/var/lib/deep/file", "root/var/lib/deep/file");
	static const char *const made[] = {"root/var", "root/var/lib", "root/var/lib/deep"};
	for (size_t i = 0; i < COUNT(made); i++) {
		char *path = path_in(directory, made[i]);
		assert_int_equal(stat(path, &status), 0);
		assert_int_equal(status.st_mode, S_IFDIR | 0750);
		free(path);
	}
	/* What was there before is left as it is. */
	char *path = path_in(directory, "root/etc");
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_mode, S_IFDIR | 0755);
	free(path);
	/* A link to a directory that is missing. */
	make_link("/run/really", "root/var/run");
	write_at("/var/run/x/file", "root/run/really/x/file");
}

static void fails_where_nothing_is_unless_told_to_make_it(void **state)
{
	(void)state;
	struct error err;
	char name[NAME_MAX + 1];
	assert_fails(open_parent_in_root(root_fd, "/missing/file", NULL, name, &err),
		     ERROR_NOT_FOUND, "missing");
	assert_fails(open_in_root(root_fd, "/etc/nothing", O_RDONLY, 0, &err), ERROR_NOT_FOUND,
		     "/etc/nothing");
}

static void refuses_paths_that_name_no_file(void **state)
{
	(void)state;
	struct error err;
	char name[NAME_MAX + 1];
	static const struct directory_maker maker = {.mode = 0755};
	static const char *const paths[] = {"", "/", "/etc/", "/etc/.", "/etc/..", ".."};
	for (size_t i = 0; i < COUNT(paths); i++)
		assert_fails(open_parent_in_root(root_fd, paths[i], &maker, name, &err),
			     ERROR_INPUT, "names a directory");
	make_link("loop-2", "root/loop-1");
	make_link("loop-1", "root/loop-2");
	assert_fails(open_parent_in_root(root_fd, "/loop-1", &maker, name, &err), ERROR_INPUT,
		     "links");
	assert_true(open_parent_in_root(root_fd, "/loop-1/file", &maker, name, &err) < 0);
	char longest[2 * PATH_MAX];
	memset(longest, 'x', sizeof(longest));
	longest[0] = '/';
	longest[NAME_MAX + 2] = '\0';
	assert_fails(open_parent_in_root(root_fd, longest, &maker, name, &err), ERROR_INPUT,
		     "longer than");
	longest[NAME_MAX + 2] = '/';
	longest[NAME_MAX + 4] = '\0';
	assert_true(open_parent_in_root(root_fd, longest, &maker, name, &err) < 0);
	longest[NAME_MAX + 4] = 'x';
	longest[sizeof(longest) - 1] = '\0';
	assert_fails(open_parent_in_root(root_fd, longest, &maker, name, &err), ERROR_INPUT,
		     "longer than");
}

/* Two thousand missing directories: no stack may end before the path does. */
static void makes_very_deep_directories(void **state)
{
	(void)state;
	char path[PATH_MAX] = "", expected[PATH_MAX + 16];
	size_t used = 0;
	/* The test's own folder counts, too, when it is looked at by its whole path. */
	while (used + 100 < sizeof(path)) {
		memcpy(path + used, "/d", 3);
		used += 2;
	}
	strcpy(path + used, "/file");
	snprintf(expected, sizeof(expected), "root%s", path);
	write_at(path, expected);
}

static bool stop_renaming;

static void *rename_for_ever(void *unused)
{
	(void)unused;
	char *a = path_in(directory, "root/moving-a"), *b = path_in(directory, "root/moving-b");
	mkdir(a, 0755);
	while (!__atomic_load_n(&stop_renaming, __ATOMIC_RELAXED)) {
		rename(a, b);
		rename(b, a);
	}
	free(a);
	free(b);
	return NULL;
}

/* The kernel gives up a look at ".." with EAGAIN when something is renamed meanwhile. */
static void is_not_disturbed_by_renames_elsewhere(void **state)
{
	(void)state;
	struct error err;
	pthread_t thread;
	__atomic_store_n(&stop_renaming, false, __ATOMIC_RELAXED);
	assert_int_equal(pthread_create(&thread, NULL, rename_for_ever, NULL), 0);
	unsigned failures = 0;
	for (int i = 0; i < 20000; i++) {
		int fd = open_in_root(root_fd, "/etc/../usr/../usr/lib", O_RDONLY | O_DIRECTORY, 0,
				      &err);
		if (fd < 0)
			failures++;
		else
			close(fd);
	}
	__atomic_store_n(&stop_renaming, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	assert_int_equal(failures, 0);
}

static void sets_owner_and_exact_mode(void **state)
{
	(void)state;
	struct error err;
	struct stat status;
	bool kept = false;
	int fd = openat(root_fd, "file", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	mode_t before = umask(0077);
	assert_ok(set_owner_and_mode(fd, geteuid(), getegid(), 04755, &kept, &err));
	umask(before);
	assert_true(kept);
	assert_int_equal(fstat(fd, &status), 0);
	assert_int_equal(status.st_mode & 07777, 04755);
	if (geteuid() == 0) {
		assert_ok(set_owner_and_mode(fd, 1234, 4321, 06711, NULL, &err));
		assert_int_equal(fstat(fd, &status), 0);
		assert_int_equal(status.st_uid, 1234);
		assert_int_equal(status.st_gid, 4321);
		assert_int_equal(status.st_mode & 07777, 06711);
	}
	close(fd);
}

/* Mounts, as root */

static char *make_image(const char *name, uint64_t size)
{
	char *path = path_in(directory, name);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	close(fd);
	return path;
}

static bool is_mounted(const char *path)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	char line[4096];
	bool found = false;
	while (file && fgets(line, sizeof(line), file))
		found = found || strstr(line, path);
	fclose(file);
	return found;
}

static void mounts_and_unmounts(void **state)
{
	(void)state;
	struct error err;
	if (loop_obstacle())
		skip_because(loop_obstacle());
	char *image = make_image("ext4", 16 << 20), *at = path_in(directory, "at");
	assert_ok(process_run((const char *const[]){"mkfs.ext4", "-q", "-F", image, NULL}, &err));
	struct loop loop;
	loop_attach(&loop, image, false);
	struct mount_point point;
	static const char *const types[] = {NULL, "", "ext4"};
	for (size_t i = 0; i < COUNT(types); i++) {
		assert_ok(mount_open(&point, loop.path, types[i], at, &err));
		assert_true(is_mounted(at));
		char *file = path_in(at, "written");
		file_write(file, "x", 1);
		assert_ok(mount_finish(&point, &err));
		assert_false(is_mounted(at));
		assert_int_equal(access(at, F_OK), -1); /* the mount point it made is gone */
		free(file);
	}
	/* What was written is there. */
	assert_ok(mount_open(&point, loop.path, NULL, at, &err));
	char *file = path_in(at, "written");
	assert_int_equal(access(file, F_OK), 0);
	free(file);
	mount_abandon(&point);
	assert_false(is_mounted(at));
	/* A busy one is told. */
	assert_ok(mount_open(&point, loop.path, NULL, at, &err));
	int busy = open(at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_fails(mount_finish(&point, &err), ERROR_BUSY, loop.path);
	close(busy);
	assert_ok(mount_finish(&point, &err));
	loop_detach(&loop);
	free(image);
	free(at);
}

static void unmounts_what_is_below_first(void **state)
{
	(void)state;
	struct error err;
	if (loop_obstacle())
		skip_because(loop_obstacle());
	char *image = make_image("ext4", 16 << 20), *at = path_in(directory, "at");
	assert_ok(process_run((const char *const[]){"mkfs.ext4", "-q", "-F", image, NULL}, &err));
	struct loop loop;
	loop_attach(&loop, image, false);
	struct mount_point point;
	assert_ok(mount_open(&point, loop.path, NULL, at, &err));
	char *below = path_in(at, "a blank"), *deeper = path_in(at, "a blank/deeper");
	assert_int_equal(mkdir(below, 0755), 0);
	assert_ok(process_run((const char *const[]){"mount", "-t", "tmpfs", "tmpfs", below, NULL},
			      &err));
	assert_int_equal(mkdir(deeper, 0755), 0);
	assert_ok(process_run((const char *const[]){"mount", "-t", "tmpfs", "tmpfs", deeper, NULL},
			      &err));
	assert_ok(mount_finish_tree(&point, &err));
	assert_false(is_mounted(at));
	loop_detach(&loop);
	free(below);
	free(deeper);
	free(image);
	free(at);
}

static void refuses_to_mount_what_is_wrong(void **state)
{
	(void)state;
	struct error err;
	if (loop_obstacle())
		skip_because(loop_obstacle());
	char *image = make_image("image", 16 << 20), *at = path_in(directory, "at");
	struct mount_point point;
	struct loop loop;
	loop_attach(&loop, image, false);
	assert_fails(mount_open(&point, loop.path, NULL, at, &err), ERROR_NOT_FOUND,
		     "no file system");
	assert_fails(mount_open(&point, loop.path, "ext4", at, &err), ERROR_INPUT,
		     "no file system is on it");
	assert_fails(mount_open(&point, loop.path, "nonsensefs", at, &err), ERROR_UNSUPPORTED,
		     "nonsensefs");
	assert_fails(mount_open(&point, image, NULL, at, &err), ERROR_INPUT, "not a block device");
	assert_ok(process_run((const char *const[]){"mkfs.ext4", "-q", "-F", image, NULL}, &err));
	loop_detach(&loop);
	loop_attach(&loop, image, true);
	assert_fails(mount_open(&point, loop.path, "ext4", at, &err), ERROR_DENIED, "read-only");
	assert_false(is_mounted(at));
	assert_int_equal(access(at, F_OK), -1);
	loop_detach(&loop);
	free(image);
	free(at);
}

#define WITH_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_DIRECTORY(finds_the_directory_of_a_file),
		WITH_DIRECTORY(never_leads_outside),
		WITH_DIRECTORY(makes_missing_directories),
		WITH_DIRECTORY(fails_where_nothing_is_unless_told_to_make_it),
		WITH_DIRECTORY(refuses_paths_that_name_no_file),
		WITH_DIRECTORY(makes_very_deep_directories),
		WITH_DIRECTORY(is_not_disturbed_by_renames_elsewhere),
		WITH_DIRECTORY(sets_owner_and_exact_mode),
		WITH_DIRECTORY(mounts_and_unmounts),
		WITH_DIRECTORY(unmounts_what_is_below_first),
		WITH_DIRECTORY(refuses_to_mount_what_is_wrong),
	};
	return cmocka_run_group_tests_name("mount", tests, NULL, NULL);
}
