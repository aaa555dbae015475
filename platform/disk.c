/* Finding and opening block devices, who uses them, and their partitions. The writer stands in
 * disk_writer.c. See disk.h. */
#include "platform/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <linux/blkpg.h>
#include <linux/fs.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "platform/clock.h"
#include "platform/partition.h"
#include "platform/sysfs.h"
#include "platform/text.h"

enum {
	OPEN_WAIT_MS = 10000,
	POLL_MS = 50,
	BUSY_TRIES = 40
};

/* The kernel's name of a device: the last component of what /sys/dev/block/MAJOR:MINOR points to.
 */
static bool kernel_name(dev_t device, char *out, size_t out_size)
{
	char path[1024], target[PATH_MAX];
	snprintf(path, sizeof(path), "%s/sys/dev/block/%u:%u", sysfs_root(), major(device),
		 minor(device));
	ssize_t size = readlink(path, target, sizeof(target) - 1);
	if (size < 0)
		return false;
	target[size] = '\0';
	const char *slash = strrchr(target, '/');
	snprintf(out, out_size, "%s", slash ? slash + 1 : target);
	return true;
}

/* "sda (10.0 GiB), nvme0n1 (…)": the disks that exist, for an error about one that does not. */
static void list_disks(char *out, size_t out_size)
{
	char path[1024];
	snprintf(path, sizeof(path), "%s/sys/block", sysfs_root());
	DIR *dir = opendir(path);
	size_t used = 0;
	out[0] = '\0';
	for (struct dirent *entry; dir && (entry = readdir(dir)) != NULL;) {
		uint64_t sectors;
		if (entry->d_name[0] == '.' || strncmp(entry->d_name, "ram", 3) == 0 ||
		    !sysfs_read_uint(&sectors, "/sys/block/%s/size", entry->d_name) || sectors == 0)
			continue;
		char size[32];
		int more = snprintf(out + used, out_size - used, "%s/dev/%s (%s)", used ? ", " : "",
				    entry->d_name, text_bytes(sectors * 512, size, sizeof(size)));
		if (more < 0 || (size_t)more >= out_size - used)
			break;
		used += (size_t)more;
	}
	if (dir)
		closedir(dir);
}

int disk_wait(const char *path, int64_t timeout_ms, struct error *err)
{
	int64_t deadline = clock_monotonic_ms() + timeout_ms;
	if (path[0] != '/')
		return error_set(err, ERROR_INPUT, "\"%s\" is not the absolute path of a device",
				 path);
	for (;;) {
		struct stat status;
		if (stat(path, &status) == 0) {
			if (S_ISBLK(status.st_mode))
				return 0;
			return error_set(err, ERROR_INPUT, "%s is not a block device", path);
		}
		if (errno != ENOENT && errno != ENOTDIR)
			return error_sys(err, "%s", path);
		if (clock_monotonic_ms() >= deadline)
			break;
		poll(NULL, 0, POLL_MS);
	}
	char disks[600];
	list_disks(disks, sizeof(disks));
	return error_set(err, ERROR_NOT_FOUND,
			 "%s does not exist (waited %" PRId64 " s); this machine has: %s", path,
			 timeout_ms / 1000,
			 disks[0] ? disks : "no disk at all (is its driver there?)");
}

/* Who uses a device. Each looks for one kind of user and writes a phrase. */

static bool find_mount(dev_t device, char *out, size_t out_size)
{
	auto_fclose FILE *file = fopen("/proc/self/mountinfo", "re");
	auto_free char *line = NULL;
	size_t line_size = 0;
	while (file && getline(&line, &line_size, file) > 0) {
		unsigned maj, min;
		char point[256];
		if (sscanf(line, "%*d %*d %u:%u %*s %255s", &maj, &min, point) == 3 &&
		    makedev(maj, min) == device) {
			snprintf(out, out_size, "mounted at %s", point);
			return true;
		}
	}
	return false;
}

/* Mounted as btrfs, whose device numbers are its own: by the name in mountinfo's source field. */
static bool find_mount_by_name(const char *name, char *out, size_t out_size)
{
	auto_fclose FILE *file = fopen("/proc/self/mountinfo", "re");
	auto_free char *line = NULL;
	size_t line_size = 0;
	char wanted[80];
	snprintf(wanted, sizeof(wanted), "/dev/%s", name);
	while (file && getline(&line, &line_size, file) > 0) {
		char point[256], source[256];
		const char *rest = strstr(line, " - ");
		if (rest && sscanf(rest, " - %*s %255s", source) == 1 &&
		    strcmp(source, wanted) == 0 &&
		    sscanf(line, "%*d %*d %*s %*s %255s", point) == 1) {
			snprintf(out, out_size, "mounted at %s", point);
			return true;
		}
	}
	return false;
}

/* The paths in /proc/swaps are those of the machine's root, which need not be ours (a chroot): then
 * the last component tells. */
static bool find_swap(dev_t device, const char *name, char *out, size_t out_size)
{
	auto_fclose FILE *file = fopen("/proc/swaps", "re");
	auto_free char *line = NULL;
	size_t line_size = 0;
	while (file && getline(&line, &line_size, file) > 0) {
		char path[256];
		struct stat status;
		if (sscanf(line, "%255s", path) != 1 || path[0] != '/')
			continue;
		bool seen = stat(path, &status) == 0;
		if (seen ? S_ISBLK(status.st_mode) && status.st_rdev == device
			 : strcmp(strrchr(path, '/') + 1, name) == 0) {
			snprintf(out, out_size, "used as swap");
			return true;
		}
	}
	return false;
}

/* dm, md and bcache stand in holders/. */
static bool find_holder(dev_t device, char *out, size_t out_size)
{
	char path[1024];
	snprintf(path, sizeof(path), "%s/sys/dev/block/%u:%u/holders", sysfs_root(), major(device),
		 minor(device));
	DIR *dir = opendir(path);
	bool found = false;
	for (struct dirent *entry; dir && !found && (entry = readdir(dir)) != NULL;) {
		if (entry->d_name[0] == '.')
			continue;
		char name[128] = "";
		sysfs_read(name, sizeof(name), "/sys/class/block/%s/dm/name", entry->d_name);
		snprintf(out, out_size, "part of /dev/%s%s%s%s", entry->d_name, name[0] ? " (" : "",
			 name, name[0] ? ")" : "");
		found = true;
	}
	if (dir)
		closedir(dir);
	return found;
}

static bool find_user(dev_t device, const char *name, char *out, size_t out_size)
{
	return find_mount(device, out, out_size) || find_mount_by_name(name, out, out_size) ||
	       find_swap(device, name, out, out_size) || find_holder(device, out, out_size);
}

/* The same for the disk and all its partitions: "/dev/sda2 is mounted at /". */
static bool describe_user(const struct disk *disk, char *out, size_t out_size)
{
	char user[300];
	if (find_user(disk->device, disk->name, user, sizeof(user))) {
		snprintf(out, out_size, "/dev/%s is %s", disk->name, user);
		return true;
	}
	char path[1024];
	snprintf(path, sizeof(path), "%s/sys/class/block/%s", sysfs_root(), disk->name);
	DIR *dir = opendir(path);
	bool found = false;
	for (struct dirent *entry; dir && !found && (entry = readdir(dir)) != NULL;) {
		char number[32];
		unsigned maj, min;
		if (strncmp(entry->d_name, disk->name, strlen(disk->name)) == 0 &&
		    sysfs_read(number, sizeof(number), "/sys/class/block/%s/dev", entry->d_name) &&
		    sscanf(number, "%u:%u", &maj, &min) == 2 &&
		    find_user(makedev(maj, min), entry->d_name, user, sizeof(user))) {
			snprintf(out, out_size, "/dev/%s is %s", entry->d_name, user);
			found = true;
		}
	}
	if (dir)
		closedir(dir);
	return found;
}

/* O_EXCL fails for a moment while udev looks at a new device, so a busy disk without a known user
 * gets a few tries. */
static int open_exclusively(struct disk *disk, struct error *err)
{
	for (int tries = 0;; tries++) {
		disk->fd = open(disk->path, O_RDWR | O_EXCL | O_CLOEXEC);
		if (disk->fd >= 0)
			return 0;
		if (errno == EROFS || errno == EACCES)
			return error_set(err, ERROR_DENIED, "%s is read-only", disk->path);
		if (errno != EBUSY)
			return error_sys(err, "open %s", disk->path);
		char user[400];
		if (describe_user(disk, user, sizeof(user)))
			return error_set(err, ERROR_BUSY, "%s is in use: %s", disk->path, user);
		if (tries == BUSY_TRIES)
			return error_set(err, ERROR_BUSY,
					 "%s is in use, by nobody that can be named", disk->path);
		poll(NULL, 0, POLL_MS);
	}
}

int disk_open(const char *path, struct disk *ret_disk, struct error *err)
{
	auto_disk struct disk disk = {.fd = -1};
	if (disk_wait(path, OPEN_WAIT_MS, err) < 0)
		return -1;
	snprintf(disk.path, sizeof(disk.path), "%s", path);
	struct stat status;
	if (stat(path, &status) < 0)
		return error_sys(err, "%s", path);
	disk.device = status.st_rdev;
	if (!kernel_name(disk.device, disk.name, sizeof(disk.name)))
		return error_set(err, ERROR_NOT_FOUND,
				 "%s has no device behind it (%u:%u is not in /sys)", path,
				 major(disk.device), minor(disk.device));
	uint64_t number;
	disk.is_partition = sysfs_read_uint(&number, "/sys/class/block/%s/partition", disk.name);
	if (open_exclusively(&disk, err) < 0)
		return -1;
	int read_only = 0, sector = 0;
	if (ioctl(disk.fd, BLKROGET, &read_only) == 0 && read_only)
		return error_set(err, ERROR_DENIED, "%s is read-only", path);
	if (ioctl(disk.fd, BLKGETSIZE64, &disk.size_bytes) < 0)
		return error_sys(err, "size of %s", path);
	if (ioctl(disk.fd, BLKSSZGET, &sector) < 0)
		return error_sys(err, "sector size of %s", path);
	disk.sector_bytes = (unsigned)sector;
	if (disk.size_bytes == 0)
		return error_set(err, ERROR_INPUT, "%s has a size of 0 bytes (no medium?)", path);
	*ret_disk = disk;
	disk.fd = -1;
	return 0;
}

void disk_close(struct disk *disk)
{
	cleanup_close(&disk->fd);
	disk->fd = -1;
}

char *disk_describe(const struct disk *disk, char *out, size_t out_size)
{
	char size[32], vendor[64] = "", model[64] = "", serial[64] = "";
	sysfs_read(vendor, sizeof(vendor), "/sys/class/block/%s/device/vendor", disk->name);
	sysfs_read(model, sizeof(model), "/sys/class/block/%s/device/model", disk->name);
	if (!sysfs_read(serial, sizeof(serial), "/sys/class/block/%s/device/serial", disk->name))
		sysfs_read(serial, sizeof(serial), "/sys/class/block/%s/serial", disk->name);
	/* Of virtio the vendor is a number that tells nobody anything. */
	if (strncmp(vendor, "0x", 2) == 0)
		vendor[0] = '\0';
	char text[512];
	snprintf(text, sizeof(text), "%s (%s%s%s%s%s%s%s)", disk->path,
		 text_bytes(disk->size_bytes, size, sizeof(size)), vendor[0] ? ", " : "", vendor,
		 model[0] ? (vendor[0] ? " " : ", ") : "", model, serial[0] ? ", serial " : "",
		 serial);
	text_sanitize(text, strlen(text), out, out_size);
	return out;
}

int disk_finish(struct disk *disk, struct error *err)
{
	if (fsync(disk->fd) < 0)
		return error_sys(err, "flush %s", disk->path);
	int fd = take_fd(&disk->fd);
	return close(fd) < 0 ? error_sys(err, "close %s", disk->path) : 0;
}

/* Partitions */

/* "sda" + 1 = "sda1", "nvme0n1" + 1 = "nvme0n1p1". */
static void partition_name(const struct disk *disk, unsigned number, char *out, size_t out_size)
{
	char last = disk->name[strlen(disk->name) - 1];
	snprintf(out, out_size, "%s%s%u", disk->name, last >= '0' && last <= '9' ? "p" : "",
		 number);
}

static bool node_exists(const struct disk *disk, const struct partition *partition)
{
	char name[80], path[96], number[32];
	unsigned maj, min;
	uint64_t start, size;
	struct stat status;
	partition_name(disk, partition->number, name, sizeof(name));
	snprintf(path, sizeof(path), "/dev/%s", name);
	return sysfs_read_uint(&start, "/sys/class/block/%s/start", name) &&
	       start * 512 == partition->start_bytes &&
	       sysfs_read_uint(&size, "/sys/class/block/%s/size", name) &&
	       size * 512 == partition->size_bytes &&
	       sysfs_read(number, sizeof(number), "/sys/class/block/%s/dev", name) &&
	       sscanf(number, "%u:%u", &maj, &min) == 2 && stat(path, &status) == 0 &&
	       S_ISBLK(status.st_mode) && status.st_rdev == makedev(maj, min);
}

static const struct partition *first_missing(const struct disk *disk,
					     const struct partition_table *table)
{
	for (unsigned i = 0; i < table->count; i++)
		if (!node_exists(disk, &table->partitions[i]))
			return &table->partitions[i];
	return NULL;
}

static int blkpg(const struct disk *disk, int operation, const struct partition *partition)
{
	struct blkpg_partition data = {.pno = (int)partition->number,
				       .start = (long long)partition->start_bytes,
				       .length = (long long)partition->size_bytes};
	struct blkpg_ioctl_arg argument = {
		.op = operation, .datalen = (int)sizeof(data), .data = &data};
	return ioctl(disk->fd, BLKPG, &argument);
}

/* Tells the kernel about each partition: stale ones go, those of the table come. */
static int add_one_by_one(const struct disk *disk, const struct partition_table *table,
			  struct error *err)
{
	for (unsigned number = 1; number <= PARTITIONS_MOST; number++) {
		char name[80];
		uint64_t start;
		partition_name(disk, number, name, sizeof(name));
		if (!sysfs_read_uint(&start, "/sys/class/block/%s/start", name))
			continue;
		const struct partition stale = {.number = number};
		if (blkpg(disk, BLKPG_DEL_PARTITION, &stale) < 0 && errno != ENXIO)
			return error_sys(err, "remove the stale partition /dev/%s", name);
	}
	for (unsigned i = 0; i < table->count; i++) {
		if (blkpg(disk, BLKPG_ADD_PARTITION, &table->partitions[i]) < 0)
			return error_sys(err, "add partition %u of %s", table->partitions[i].number,
					 disk->path);
	}
	return 0;
}

int disk_reread_partitions(const struct disk *disk, int64_t timeout_ms, unsigned *ret_count,
			   struct error *err)
{
	struct partition_table table;
	*ret_count = 0;
	if (disk->is_partition)
		return 0;
	if (partition_table_read(disk->fd, &table, err) < 0)
		return error_wrap(err, "%s", disk->path);
	bool reread = false;
	for (int tries = 0; tries < BUSY_TRIES && !reread; tries++) {
		reread = ioctl(disk->fd, BLKRRPART) == 0;
		if (!reread && errno != EBUSY)
			break;
		if (!reread)
			poll(NULL, 0, POLL_MS);
	}
	*ret_count = table.count;
	/* Some kernels answer 0 and know no tables at all: what counts is that the partitions are
	 * there. */
	char name[80];
	int64_t deadline = clock_monotonic_ms() + timeout_ms;
	bool known = true;
	for (unsigned i = 0; i < table.count; i++) {
		uint64_t start;
		partition_name(disk, table.partitions[i].number, name, sizeof(name));
		known = known && sysfs_read_uint(&start, "/sys/class/block/%s/start", name) &&
			start * 512 == table.partitions[i].start_bytes;
	}
	if ((!reread || !known) && add_one_by_one(disk, &table, err) < 0)
		return -1;
	for (const struct partition *missing; (missing = first_missing(disk, &table)) != NULL;) {
		if (clock_monotonic_ms() >= deadline) {
			partition_name(disk, missing->number, name, sizeof(name));
			return error_set(
				err, ERROR_TIMEOUT,
				"the node /dev/%s of partition %u did not appear within %" PRId64
				" s",
				name, missing->number, timeout_ms / 1000);
		}
		poll(NULL, 0, POLL_MS);
	}
	return 0;
}
