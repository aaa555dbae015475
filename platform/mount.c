/* mount(2), umount(2), openat2(2): see mount.h. */
#include "platform/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>

#include "platform/disk_select.h"
#include "platform/loop.h"
#include "platform/partition.h"
#include "platform/text.h"

enum {
	DEVICE_WAIT_MS = 10000,
	LINKS_MOST = 40,
	OPEN_TRIES = 1000
};

static int mount_device(const char *device, const char *type, const char *path, struct error *err)
{
	if (mount(device, path, type, MS_NODEV, NULL) == 0)
		return 0;
	int errnum = errno;
	char found[32] = "";
	struct error ignored;
	filesystem_detect(device, found, sizeof(found), &ignored);
	if (errnum == ENODEV)
		return error_set(err, ERROR_UNSUPPORTED,
				 "mount %s: the kernel does not know the file system \"%s\"",
				 device, type);
	if (errnum == EROFS || errnum == EACCES)
		return error_set(err, ERROR_DENIED, "mount %s: the device is read-only", device);
	error_errno(err, errnum, "mount %s as %s", device, type);
	if (errnum == EINVAL && found[0] == '\0')
		error_append(err, " (no file system is on it)");
	else if (errnum == EINVAL && strcmp(found, type) != 0)
		error_append(err, " (it holds %s)", found);
	if (errnum == EINVAL)
		err->kind = ERROR_INPUT;
	return -1;
}

int mount_open(struct mount_point *mount_point, const char *device, const char *type,
	       const char *path, struct error *err)
{
	*mount_point = (struct mount_point){.path = ""};
	char found[32], node[sizeof(mount_point->device)];
	if (disk_find(device, DEVICE_WAIT_MS, node, sizeof(node), err) < 0)
		return -1;
	device = node;
	if (!type || !type[0]) {
		if (filesystem_detect(device, found, sizeof(found), err) < 0)
			return -1;
		type = found;
	}
	bool made = mkdir(path, 0755) == 0;
	if (!made && errno != EEXIST)
		return error_sys(err, "make the mount point %s", path);
	if (mount_device(device, type, path, err) < 0) {
		if (made)
			rmdir(path);
		return -1;
	}
	snprintf(mount_point->device, sizeof(mount_point->device), "%s", device);
	snprintf(mount_point->path, sizeof(mount_point->path), "%s", path);
	mount_point->made_directory = made;
	struct statvfs status;
	if (statvfs(path, &status) == 0 && (status.f_flag & ST_RDONLY)) {
		mount_abandon(mount_point);
		return error_set(err, ERROR_DENIED,
				 "%s was mounted read-only by the kernel: the file system needs a "
				 "check, see dmesg",
				 device);
	}
	return 0;
}

int mount_finish(struct mount_point *mount_point, struct error *err)
{
	auto_close int fd = open(mount_point->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || syncfs(fd) < 0)
		return error_sys(err, "flush %s", mount_point->device);
	close(take_fd(&fd));
	if (umount2(mount_point->path, 0) < 0)
		return error_sys(err, "unmount %s", mount_point->device);
	if (mount_point->made_directory)
		rmdir(mount_point->path);
	mount_point->path[0] = '\0';
	return 0;
}

/* mountinfo writes blanks, line ends and backslashes as octal numbers: \040. */
static void unescape(char *text)
{
	char *out = text;
	for (const char *in = text; *in; in++) {
		if (*in == '\\' && strspn(in + 1, "01234567") >= 3) {
			*out++ = (char)((in[1] - '0') << 6 | (in[2] - '0') << 3 | (in[3] - '0'));
			in += 3;
		} else {
			*out++ = *in;
		}
	}
	*out = '\0';
}

/* The mount that was made last among those below path; false when there is none. */
static bool last_mount_below(const char *path, char *out, size_t out_size)
{
	auto_fclose FILE *file = fopen("/proc/self/mountinfo", "re");
	auto_free char *line = NULL;
	size_t line_size = 0, path_size = strlen(path);
	bool found = false;
	while (file && getline(&line, &line_size, file) > 0) {
		char point[PATH_MAX];
		if (sscanf(line, "%*d %*d %*s %*s %4095s", point) != 1)
			continue;
		unescape(point);
		if (strncmp(point, path, path_size) == 0 && point[path_size] == '/') {
			snprintf(out, out_size, "%s", point);
			found = true;
		}
	}
	return found;
}

int mount_finish_tree(struct mount_point *mount_point, struct error *err)
{
	char below[PATH_MAX];
	while (last_mount_below(mount_point->path, below, sizeof(below)))
		if (umount2(below, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
			break;
	/* Loop devices on its files would keep it busy. udev may look at one that is just going. */
	unsigned detached = loop_detach_below(mount_point->path);
	int result = mount_finish(mount_point, err);
	for (int tries = 0; result < 0 && detached && err->code == EBUSY && tries < 100; tries++) {
		poll(NULL, 0, 20);
		result = mount_finish(mount_point, err);
	}
	return result;
}

void mount_abandon(struct mount_point *mount_point)
{
	if (!mount_point->path[0])
		return;
	umount2(mount_point->path, MNT_DETACH);
	if (mount_point->made_directory)
		rmdir(mount_point->path);
	mount_point->path[0] = '\0';
}

int open_in_root(int root_fd, const char *path, int flags, mode_t mode, struct error *err)
{
	struct open_how how = {.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
			       .mode = mode,
			       .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
	int fd;
	int tries = 0;
	/* A ".." is refused with EAGAIN when anything was renamed or mounted meanwhile, anywhere on
	 * the machine: openat2(2) says to try again. */
	do {
		fd = (int)syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
	} while (fd < 0 && errno == EAGAIN && ++tries < OPEN_TRIES);
	return fd < 0 ? error_sys(err, "open %s", path) : fd;
}

bool filesystem_has_owners(int fd)
{
	enum {
		MSDOS = 0x4d44,
		EXFAT = 0x2011bab0
	};
	struct statfs status;
	return fstatfs(fd, &status) < 0 || (status.f_type != MSDOS && status.f_type != EXFAT);
}

int set_owner_and_mode(int fd, uid_t uid, gid_t gid, mode_t mode, bool *ret_kept, struct error *err)
{
	bool kept = filesystem_has_owners(fd);
	if (ret_kept)
		*ret_kept = kept;
	if (!kept)
		return 0;
	/* chmod after chown: the other order would lose set-id bits. The umask has no say this way.
	 */
	if (fchown(fd, uid, gid) < 0)
		return error_sys(err, "owner %u:%u", uid, gid);
	return fchmod(fd, mode) < 0 ? error_sys(err, "mode %04o", mode) : 0;
}

static int make_directory(int parent, const char *name, const struct directory_maker *make,
			  struct error *err)
{
	if (mkdirat(parent, name, 0700) < 0)
		return error_sys(err, "make");
	auto_close int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return error_sys(err, "open");
	if (set_owner_and_mode(fd, make->uid, make->gid, make->mode, NULL, err) < 0)
		return -1;
	return take_fd(&fd);
}

/* Opens a directory inside the root; what is missing on the way is made, also where a link leads to
 * nothing. links: how many of these are still followed. Texts are on the heap: the recursion is as
 * deep as the path. */
static int open_directory(int root_fd, const char *path, const struct directory_maker *make,
			  int links, struct error *err)
{
	int fd = open_in_root(root_fd, path[0] ? path : "/", O_RDONLY | O_DIRECTORY, 0, err);
	if (fd >= 0 || err->code != ENOENT || !make)
		return fd;
	auto_free char *copy = text_dup(path);
	for (size_t size = strlen(copy); size > 0 && copy[size - 1] == '/'; size--)
		copy[size - 1] = '\0';
	char *slash = strrchr(copy, '/');
	const char *name = slash ? slash + 1 : copy;
	const char *above = slash ? copy : "";
	if (slash)
		*slash = '\0';
	if (strlen(name) > NAME_MAX)
		return error_set(err, ERROR_INPUT, "%s: a name is longer than %d bytes", path,
				 NAME_MAX);
	auto_close int parent = open_directory(root_fd, above, make, links, err);
	if (parent < 0)
		return -1;
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return open_in_root(root_fd, path, O_RDONLY | O_DIRECTORY, 0, err);
	auto_free char *target = calloc(1, PATH_MAX);
	if (!target)
		abort();
	if (readlinkat(parent, name, target, PATH_MAX - 1) >= 0) {
		auto_free char *next = text_format("%s/%s", target[0] == '/' ? "" : above, target);
		return links > 0
			       ? open_directory(root_fd, next, make, links - 1, err)
			       : error_set(err, ERROR_INPUT, "%s: too many links on the way", path);
	}
	fd = make_directory(parent, name, make, err);
	return fd < 0 ? error_wrap(err, "the directory %s", path) : fd;
}

int open_parent_in_root(int root_fd, const char *path, const struct directory_maker *make,
			char *ret_name, struct error *err)
{
	char now[PATH_MAX];
	if (strlen(path) >= sizeof(now))
		return error_set(err, ERROR_INPUT, "the path is longer than %zu bytes",
				 sizeof(now) - 1);
	strcpy(now, path);
	for (int links = 0; links < LINKS_MOST; links++) {
		char *slash = strrchr(now, '/');
		const char *name = slash ? slash + 1 : now;
		if (!name[0] || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
			return error_set(err, ERROR_INPUT, "%s names a directory, not a file",
					 path);
		if (strlen(name) > NAME_MAX)
			return error_set(err, ERROR_INPUT, "%s: a name is longer than %d bytes",
					 path, NAME_MAX);
		strcpy(ret_name, name);
		if (slash)
			*slash = '\0';
		else
			now[0] = '\0';
		auto_close int parent = open_directory(root_fd, now, make, LINKS_MOST, err);
		if (parent < 0)
			return -1;
		char target[PATH_MAX];
		ssize_t size = readlinkat(parent, ret_name, target, sizeof(target) - 1);
		if (size < 0)
			return take_fd(&parent); /* no link, or nothing there */
		target[size] = '\0';
		char next[2 * PATH_MAX];
		snprintf(next, sizeof(next), "%s%s%s", target[0] == '/' ? "" : now,
			 target[0] == '/' ? "" : "/", target);
		if (strlen(next) >= sizeof(now))
			return error_set(err, ERROR_INPUT,
					 "%s: a link leads to a path that is too long", path);
		strcpy(now, next);
	}
	return error_set(err, ERROR_INPUT, "%s: more than %d links on the way", path, LINKS_MOST);
}
