/* Opening block devices, and their partitions. The writer stands in disk_writer.c. See disk.h. */
#include "platform/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/blkpg.h>
#include <linux/fs.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "platform/clock.h"
#include "platform/disk_facts.h"
#include "platform/disk_select.h"
#include "platform/disk_users.h"
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
		if (disk_users_find(disk->name, user, sizeof(user)))
			return error_set(err, ERROR_BUSY, "%s is in use: %s", disk->path, user);
		if (tries == BUSY_TRIES)
			return disk_users_find_programs(disk->name, user, sizeof(user))
				       ? error_set(err, ERROR_BUSY, "%s is in use: %s", disk->path,
						   user)
				       : error_set(err, ERROR_BUSY,
						   "%s is in use, by nobody that can be named",
						   disk->path);
		poll(NULL, 0, POLL_MS);
	}
}

int disk_open(const char *name, struct disk *ret_disk, struct error *err)
{
	auto_disk struct disk disk = {.fd = -1};
	if (disk_find(name, OPEN_WAIT_MS, disk.path, sizeof(disk.path), err) < 0)
		return -1;
	const char *path = disk.path;
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
	struct disk_facts facts;
	char text[512];
	if (!disk_facts_read(disk->name, &facts))
		facts = (struct disk_facts){.size_bytes = disk->size_bytes};
	disk_facts_describe(&facts, text, sizeof(text));
	snprintf(out, out_size, "%s (%s)", disk->path, text);
	text_cut_utf8(out);
	return out;
}

void disk_forget_cache(const struct disk *disk)
{
	/* BLKFLSBUF drops the buffers of the device itself, too; where it is refused the advice
	 * will do. */
	ioctl(disk->fd, BLKFLSBUF, 0);
	posix_fadvise(disk->fd, 0, 0, POSIX_FADV_DONTNEED);
}

/* A disk that was taken out has size 0, or is not there any more. */
static bool is_gone(const struct disk *disk, int errnum)
{
	uint64_t size_bytes = 0;
	return errnum == ENODEV || errnum == ENXIO ||
	       ioctl(disk->fd, BLKGETSIZE64, &size_bytes) < 0 || size_bytes < disk->size_bytes;
}

/* What the kernel's block layer means by an errno (blk_errors in block/blk-core.c). */
static const char *block_error(int errnum)
{
	switch (errnum) {
	case ENODATA:
		return "the disk has a medium error";
	case EILSEQ:
		return "the disk says that the data's protection information is wrong";
	case EREMOTEIO:
		return "the disk says that it failed (target error)";
	case ENOLINK:
		return "the transport to the disk failed";
	case ETIMEDOUT:
		return "the disk does not answer";
	case EBADE:
		return "the disk is reserved by another machine";
	default:
		return NULL;
	}
}

int disk_error(const struct disk *disk, struct error *err, const char *format, ...)
{
	int errnum = errno;
	char what[512];
	va_list args;
	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	const char *meaning = is_gone(disk, errnum) ? "the disk is gone (taken out, or it failed)"
						    : block_error(errnum);
	if (!meaning)
		return error_errno(err, errnum, "%s", what);
	error_errno(err, errnum, "%s: %s", what, meaning);
	err->kind = ERROR_IO;
	return -1;
}

int disk_finish(struct disk *disk, struct error *err)
{
	if (fsync(disk->fd) < 0)
		return disk_error(disk, err, "flush %s", disk->path);
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
