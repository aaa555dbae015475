/* /proc and holders in /sys: see disk_users.h. */
#include "platform/disk_users.h"

#include <ctype.h>
#include <dirent.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "platform/cleanup.h"
#include "platform/sysfs.h"

enum {
	HOLDERS_DEEP = 4,     /* partition, RAID, encryption, volume */
	NAMESPACES_MOST = 128 /* looked at */
};

struct device {
	dev_t number;
	const char *name;
};

static bool device_number(const char *name, dev_t *ret_number)
{
	char text[32];
	unsigned maj, min;
	if (!sysfs_read(text, sizeof(text), "/sys/class/block/%s/dev", name) ||
	    sscanf(text, "%u:%u", &maj, &min) != 2)
		return false;
	*ret_number = makedev(maj, min);
	return true;
}

/* One line of mountinfo (proc(5)). A file system with device numbers of its own (btrfs) is told by
 * its source. */
static bool line_is_of(const char *line, const struct device *device, char *point, size_t size)
{
	unsigned maj, min;
	char where[256], source[256] = "";
	if (sscanf(line, "%*d %*d %u:%u %*s %255s", &maj, &min, where) != 3)
		return false;
	const char *rest = strstr(line, " - ");
	if (rest)
		sscanf(rest, " - %*s %255s", source);
	bool same = makedev(maj, min) == device->number ||
		    (strncmp(source, "/dev/", 5) == 0 && strcmp(source + 5, device->name) == 0);
	if (same)
		snprintf(point, size, "%s", where);
	return same;
}

static bool find_in_mountinfo(const char *process, const struct device *device, char *point,
			      size_t size)
{
	char path[1024];
	snprintf(path, sizeof(path), "%s/proc/%s/mountinfo", sysfs_root(), process);
	auto_fclose FILE *file = fopen(path, "re");
	auto_free char *line = NULL;
	size_t line_size = 0;
	while (file && getline(&line, &line_size, file) > 0)
		if (line_is_of(line, device, point, size))
			return true;
	return false;
}

/* Each namespace is looked at by the first process that is in it. */
struct namespaces {
	ino_t seen[NAMESPACES_MOST];
	unsigned count;
};

static bool is_new(struct namespaces *namespaces, const char *process)
{
	char path[1024];
	struct stat status;
	snprintf(path, sizeof(path), "%s/proc/%s/ns/mnt", sysfs_root(), process);
	if (namespaces->count == NAMESPACES_MOST || stat(path, &status) < 0)
		return false;
	for (unsigned i = 0; i < namespaces->count; i++)
		if (namespaces->seen[i] == status.st_ino)
			return false;
	namespaces->seen[namespaces->count++] = status.st_ino;
	return true;
}

static DIR *open_proc(void)
{
	char path[1024];
	snprintf(path, sizeof(path), "%s/proc", sysfs_root());
	return opendir(path);
}

static bool find_mount(const struct device *device, char *out, size_t out_size)
{
	char point[256], program[64] = "";
	if (find_in_mountinfo("self", device, point, sizeof(point))) {
		snprintf(out, out_size, "mounted at %s", point);
		return true;
	}
	struct namespaces namespaces = {.count = 0};
	is_new(&namespaces, "self");
	DIR *dir = open_proc();
	bool found = false;
	for (struct dirent *entry; dir && !found && (entry = readdir(dir)) != NULL;) {
		if (!isdigit((unsigned char)entry->d_name[0]) ||
		    !is_new(&namespaces, entry->d_name) ||
		    !find_in_mountinfo(entry->d_name, device, point, sizeof(point)))
			continue;
		sysfs_read(program, sizeof(program), "/proc/%s/comm", entry->d_name);
		snprintf(out, out_size, "mounted at %s in the mount namespace of %s (process %s)",
			 point, program, entry->d_name);
		found = true;
	}
	if (dir)
		closedir(dir);
	return found;
}

/* The paths in /proc/swaps are those of the machine's root, which need not be ours (a chroot): then
 * the last component tells. */
static bool find_swap(const struct device *device, char *out, size_t out_size)
{
	char path[1024];
	snprintf(path, sizeof(path), "%s/proc/swaps", sysfs_root());
	auto_fclose FILE *file = fopen(path, "re");
	auto_free char *line = NULL;
	size_t line_size = 0;
	while (file && getline(&line, &line_size, file) > 0) {
		char swap[256];
		struct stat status;
		if (sscanf(line, "%255s", swap) != 1 || swap[0] != '/')
			continue;
		bool seen = stat(swap, &status) == 0;
		if (seen ? S_ISBLK(status.st_mode) && status.st_rdev == device->number
			 : strcmp(strrchr(swap, '/') + 1, device->name) == 0) {
			snprintf(out, out_size, "used as swap (swapoff /dev/%s)", device->name);
			return true;
		}
	}
	return false;
}

/* What a holder is, and how one gets rid of it. */
static void describe_mapping(const char *holder, char *out, size_t out_size)
{
	static const struct {
		const char *uuid;
		const char *what;
	} kinds[] = {
		{"LVM-", "an LVM volume; vgchange -an"},
		{"CRYPT-", "encrypted; cryptsetup close"},
		{"mpath-", "multipath; multipath -f"},
		{"part", "a partition of a mapping; kpartx -d"},
		{"DMRAID-", "firmware RAID; dmraid -an"},
	};
	char name[128] = "", uuid[160] = "";
	const char *what = "device mapper; dmsetup remove";
	sysfs_read(name, sizeof(name), "/sys/class/block/%s/dm/name", holder);
	sysfs_read(uuid, sizeof(uuid), "/sys/class/block/%s/dm/uuid", holder);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strncmp(uuid, kinds[i].uuid, strlen(kinds[i].uuid)) == 0)
			what = kinds[i].what;
	snprintf(out, out_size, "/dev/%s (%s, %s)", holder, name, what);
}

static void describe_holder(const char *holder, char *out, size_t out_size)
{
	char level[32] = "", state[32] = "";
	if (strncmp(holder, "dm-", 3) == 0) {
		describe_mapping(holder, out, out_size);
	} else if (sysfs_read(state, sizeof(state), "/sys/class/block/%s/md/array_state", holder)) {
		sysfs_read(level, sizeof(level), "/sys/class/block/%s/md/level", holder);
		snprintf(out, out_size, "/dev/%s (%s%s%s; mdadm --stop /dev/%s)", holder, level,
			 level[0] ? ", " : "", state, holder);
	} else if (strncmp(holder, "bcache", 6) == 0) {
		snprintf(out, out_size, "/dev/%s (echo 1 > /sys/block/%s/bcache/stop)", holder,
			 holder);
	} else {
		snprintf(out, out_size, "/dev/%s", holder);
	}
}

static bool find_user(const char *name, unsigned deep, char *out, size_t out_size);

/* dm, md (also when it is not running) and bcache stand in holders/. */
static bool find_holder(const char *name, unsigned deep, char *out, size_t out_size)
{
	char path[1024], what[400], above[400];
	snprintf(path, sizeof(path), "%s/sys/class/block/%s/holders", sysfs_root(), name);
	DIR *dir = opendir(path);
	bool found = false;
	for (struct dirent *entry; dir && !found && (entry = readdir(dir)) != NULL;) {
		if (entry->d_name[0] == '.')
			continue;
		describe_holder(entry->d_name, what, sizeof(what));
		bool used = deep > 0 && find_user(entry->d_name, deep - 1, above, sizeof(above));
		snprintf(out, out_size, "part of %s%s%s", what, used ? ", which is " : "",
			 used ? above : "");
		found = true;
	}
	if (dir)
		closedir(dir);
	return found;
}

bool disk_users_has_holder(const char *name)
{
	char ignored[400];
	return find_holder(name, 0, ignored, sizeof(ignored));
}

static bool find_user(const char *name, unsigned deep, char *out, size_t out_size)
{
	struct device device = {.name = name};
	if (device_number(name, &device.number) &&
	    (find_mount(&device, out, out_size) || find_swap(&device, out, out_size)))
		return true;
	return find_holder(name, deep, out, out_size);
}

/* Calls for the device, then for each of its partitions, until one says true. */
static bool any_of(const char *name, bool (*look)(const char *name, char *out, size_t out_size),
		   char *out, size_t out_size)
{
	char path[1024], number[32];
	if (look(name, out, out_size))
		return true;
	snprintf(path, sizeof(path), "%s/sys/class/block/%s", sysfs_root(), name);
	DIR *dir = opendir(path);
	bool found = false;
	for (struct dirent *entry; dir && !found && (entry = readdir(dir)) != NULL;)
		found = strncmp(entry->d_name, name, strlen(name)) == 0 &&
			sysfs_read(number, sizeof(number), "/sys/class/block/%s/partition",
				   entry->d_name) &&
			look(entry->d_name, out, out_size);
	if (dir)
		closedir(dir);
	return found;
}

static bool look_for_user(const char *name, char *out, size_t out_size)
{
	char user[512];
	if (!find_user(name, HOLDERS_DEEP, user, sizeof(user)))
		return false;
	snprintf(out, out_size, "/dev/%s is %s", name, user);
	return true;
}

bool disk_users_find(const char *name, char *out, size_t out_size)
{
	return any_of(name, look_for_user, out, out_size);
}

static bool has_open(const char *process, dev_t number)
{
	char path[1024];
	snprintf(path, sizeof(path), "%s/proc/%s/fd", sysfs_root(), process);
	DIR *dir = opendir(path);
	bool found = false;
	for (struct dirent *entry; dir && !found && (entry = readdir(dir)) != NULL;) {
		struct stat status;
		found = fstatat(dirfd(dir), entry->d_name, &status, 0) == 0 &&
			S_ISBLK(status.st_mode) && status.st_rdev == number;
	}
	if (dir)
		closedir(dir);
	return found;
}

static bool look_for_program(const char *name, char *out, size_t out_size)
{
	dev_t number;
	if (!device_number(name, &number))
		return false;
	DIR *dir = open_proc();
	bool found = false;
	for (struct dirent *entry; dir && !found && (entry = readdir(dir)) != NULL;) {
		char program[64] = "";
		if (!isdigit((unsigned char)entry->d_name[0]) ||
		    atol(entry->d_name) == (long)getpid() || !has_open(entry->d_name, number))
			continue;
		sysfs_read(program, sizeof(program), "/proc/%s/comm", entry->d_name);
		snprintf(out, out_size, "/dev/%s is open in %s (process %s)", name, program,
			 entry->d_name);
		found = true;
	}
	if (dir)
		closedir(dir);
	return found;
}

bool disk_users_find_programs(const char *name, char *out, size_t out_size)
{
	return any_of(name, look_for_program, out, out_size);
}
