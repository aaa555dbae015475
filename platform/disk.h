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
 * Opens a block device for writing, exclusively; name as disk_find() takes it, see disk_select.h:
 * it is waited for, 10 s. ERROR_BUSY names who uses it (mount, swap, holder, program),
 * ERROR_DENIED when it is read-only, else as disk_find().
 */
int disk_open(const char *name, struct disk *ret_disk, struct error *err);

/* Closes without a word: for the way out on failure. */
void disk_close(struct disk *disk);
#define auto_disk __attribute__((cleanup(disk_close)))

/* A human line about the disk: "/dev/sda (10.0 GiB, QEMU HARDDISK, serial 1234)". Returns out. */
char *disk_describe(const struct disk *disk, char *out, size_t out_size);

/*
 * Writing an image. The order of the calls is that of the declarations:
 *
 * open touches nothing. begin clears the first and (of a whole disk) the last DISK_HEAD_BYTES and
 * flushes. Then extents come in any order, each byte of the image once: data in buffers of the
 * writer's own, which several threads write past the page cache (O_DIRECT; through it where that
 * is not possible) while the next ones are filled, and zeros. Runs of zeros, also within data, are
 * cleared by the device (fallocate PUNCH_HOLE, which never falls back to writing) where it can, and
 * written where it cannot. What belongs into the first DISK_HEAD_BYTES is kept in memory. flush
 * waits until all else is on the medium, verify reads it back, and finish writes the beginning.
 * Until then the disk has none: no partition table, no boot code, no file system.
 */
struct disk_writer;

struct disk_writer_options {
	bool compare; /* read first, write only what differs */
	bool record;  /* remember digests of what was written, for disk_writer_verify() */
};

enum {
	DISK_BUFFER_BYTES = 1 << 20
};

int disk_writer_open(const struct disk *disk, const struct disk_writer_options *options,
		     struct disk_writer **ret_writer, struct error *err);

/* Gives a buffer of DISK_BUFFER_BYTES, aligned to 4096; waits until one is free. The same one again
 * until it was submitted. A failure of an earlier write is reported here. */
int disk_writer_buffer(struct disk_writer *writer, void **ret_buffer, struct error *err);

int disk_writer_begin(struct disk_writer *writer, struct error *err);

/* Takes the buffer back and writes its first size_bytes at offset. ERROR_INPUT when they do not
 * fit on the disk. Failures of the device may come with a later call. */
int disk_writer_submit(struct disk_writer *writer, uint64_t offset, size_t size_bytes,
		       struct error *err);

/* Makes a range of any size zero. Errors as disk_writer_submit(). */
int disk_writer_zero(struct disk_writer *writer, uint64_t offset, uint64_t size_bytes,
		     struct error *err);

/* Waits for all writes and flushes. image_bytes is the size of the image. ERROR_CORRUPT when it is
 * empty or not whole sectors of 512 bytes, ERROR_BUG when the extents do not add up to it. */
int disk_writer_flush(struct disk_writer *writer, uint64_t image_bytes, struct error *err);

/* What will be written to the beginning of the disk; DISK_HEAD_BYTES, zeros behind a smaller
 * image. */
const uint8_t *disk_writer_head(const struct disk_writer *writer);

/*
 * With options.record: reads back past the page cache what was written and compares. ERROR_CORRUPT
 * names the first place that differs. progress (may be NULL) gets the bytes read so far.
 */
int disk_writer_verify(struct disk_writer *writer,
		       void (*progress)(void *context, uint64_t done_bytes), void *context,
		       struct error *err);

/* Writes the beginning, its first sector last, and flushes; with options.record it is read back,
 * too. When any of this fails the beginning is taken back. */
int disk_writer_finish(struct disk_writer *writer, struct error *err);

/* For a failure (err) after the beginning was written: one that nobody can be sure of is worse than
 * none. Clears it again, and adds to err whether that worked. Returns -1. */
int disk_writer_take_back(struct disk_writer *writer, struct error *err);

/* Ends the threads and frees. What was not finished stays without a beginning. */
void disk_writer_free(struct disk_writer *writer);
AUTO_DEFINE(disk_writer, struct disk_writer *, disk_writer_free)
#define auto_disk_writer __attribute__((cleanup(cleanup_disk_writer)))

struct disk_writer_counts {
	uint64_t image_bytes;   /* taken */
	uint64_t written_bytes; /* of these, really written */
	uint64_t cleared_bytes; /* of these, cleared by the device */
	uint64_t same_bytes;    /* of these, found right on the disk (options.compare) */
};
/* May be asked at any time, from any thread. */
struct disk_writer_counts disk_writer_counts(struct disk_writer *writer);

/*
 * Makes the kernel read the partition table again (BLKRRPART; where that is refused or brings no
 * partitions, BLKPG one by one) and waits, at most timeout_ms, until each partition of the table
 * has its node in /dev. *ret_count is how many. A disk without a table has none. On a partition
 * nothing is done.
 */
int disk_reread_partitions(const struct disk *disk, int64_t timeout_ms, unsigned *ret_count,
			   struct error *err);

/* Drops what the kernel's page cache knows of the disk and is flushed: the next reading asks the
 * disk. */
void disk_forget_cache(const struct disk *disk);

/*
 * Sets an error from errno, as error_sys(), for a system call on the disk that has just failed; in
 * the words of somebody who stands in front of it: the disk is gone, has a medium error … Returns
 * -1.
 */
int disk_error(const struct disk *disk, struct error *err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Closes after everything was written; ERROR_IO when the last flush fails. */
int disk_finish(struct disk *disk, struct error *err);

#endif
