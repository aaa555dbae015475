/*
 * Block devices: opening one for sure and for oneself, writing an image so that a half-written disk
 * never boots, and making its partitions known to the kernel.
 */
#ifndef PLATFORM_DISK_H
#define PLATFORM_DISK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "platform/cleanup.h"
#include "platform/error.h"

/* How much of a disk's beginning is held back until all else is written, and how much of both ends
 * is cleared first. */
#define DISK_HEAD_BYTES (UINT64_C(1) << 20)

struct disk {
	int fd;
	char path[256];
	char name[64]; /* the kernel's: "sda", "nvme0n1p2" */
	dev_t device;
	uint64_t size_bytes;
	unsigned sector_bytes; /* logical */
	bool is_partition;
};

/*
 * Waits until path is a block device, at most timeout_ms. ERROR_NOT_FOUND when there is nothing by
 * that name (the text lists the disks that exist), ERROR_INPUT when it is something else than a
 * block device.
 */
int disk_wait(const char *path, int64_t timeout_ms, struct error *err);

/*
 * Opens a block device for writing, exclusively. ERROR_BUSY names who uses it (mount, swap,
 * holder), ERROR_DENIED when it is read-only, else as disk_wait() with 10 s.
 */
int disk_open(const char *path, struct disk *ret_disk, struct error *err);

/* Closes without a word: for the way out on failure. */
void disk_close(struct disk *disk);
#define auto_disk __attribute__((cleanup(disk_close)))

/* A human line about the disk: "/dev/sda (10.0 GiB, QEMU HARDDISK, serial 1234)". Returns out. */
char *disk_describe(const struct disk *disk, char *out, size_t out_size);

/*
 * Writing an image. Open clears the first and (of a whole disk) the last DISK_HEAD_BYTES and
 * flushes; disk_writer_write() takes the image's bytes in order, keeps the first DISK_HEAD_BYTES in
 * memory and writes the rest, blocks of zeros by asking the device to clear them (fallocate
 * PUNCH_HOLE) where it can; disk_writer_finish() flushes, writes the beginning, flushes again. When
 * it is never called the disk has no beginning: no partition table, no boot code, no file system.
 */
struct disk_writer;
int disk_writer_open(const struct disk *disk, struct disk_writer **ret_writer, struct error *err);
/* Any size, any alignment. ERROR_INPUT when the image is larger than the disk. */
int disk_writer_write(struct disk_writer *writer, const void *data, size_t size, struct error *err);
/* ERROR_CORRUPT when the image is empty or not whole sectors. */
int disk_writer_finish(struct disk_writer *writer, struct error *err);
void disk_writer_free(struct disk_writer *writer);
AUTO_DEFINE(disk_writer, struct disk_writer *, disk_writer_free)
#define auto_disk_writer __attribute__((cleanup(cleanup_disk_writer)))

struct disk_writer_counts {
	uint64_t image_bytes;   /* taken */
	uint64_t written_bytes; /* of these, really written */
	uint64_t cleared_bytes; /* of these, cleared by the device */
};
struct disk_writer_counts disk_writer_counts(const struct disk_writer *writer);

/*
 * Makes the kernel read the partition table again (BLKRRPART; where that is refused or brings no
 * partitions, BLKPG one by one) and waits, at most timeout_ms, until each partition of the table
 * has its node in /dev. *ret_count is how many. A disk without a table has none. On a partition
 * nothing is done.
 */
int disk_reread_partitions(const struct disk *disk, int64_t timeout_ms, unsigned *ret_count,
			   struct error *err);

/* Closes after everything was written; ERROR_IO when the last flush fails. */
int disk_finish(struct disk *disk, struct error *err);

#endif
