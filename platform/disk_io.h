/*
 * One piece of a disk: written past the page cache, cleared, read back. The hands of the disk
 * writer (disk_writer.c), which has the head; may be used by several threads at the same time.
 */
#ifndef PLATFORM_DISK_IO_H
#define PLATFORM_DISK_IO_H

#include <pthread.h>

#include "platform/disk.h"

struct disk_io {
	const struct disk *disk;
	int direct_fd;  /* O_DIRECT; -1: all goes through the page cache */
	bool compare;   /* read first, write only what differs */
	bool can_clear; /* as far as is known */
	/* Held for writing by a piece that is not whole sectors: it goes through the page cache,
	 * which reads and writes the sectors around. */
	pthread_rwlock_t pages;
	uint64_t unflushed_bytes; /* in the page cache */
	uint64_t written_bytes, cleared_bytes, same_bytes;
};

/* A thread's own memory for reading. */
struct disk_scratch {
	uint8_t *data;
};
void disk_scratch_free(struct disk_scratch *scratch);

/* Zeroed memory, aligned for direct I/O; to be freed. NULL when there is none. */
void *disk_memory(size_t size);

void disk_io_open(struct disk_io *io, const struct disk *disk, bool compare);
void disk_io_close(struct disk_io *io);

/* Writes as it is, nothing looked at. */
int disk_io_put(struct disk_io *io, const uint8_t *data, uint64_t size_bytes, uint64_t offset,
		struct error *err);

/* Writes; runs of zeros are cleared; with compare only what differs. At most DISK_BUFFER_BYTES. */
int disk_io_write(struct disk_io *io, struct disk_scratch *scratch, const uint8_t *data,
		  uint64_t size_bytes, uint64_t offset, struct error *err);

/* Makes a range zero. */
int disk_io_zero(struct disk_io *io, struct disk_scratch *scratch, uint64_t offset,
		 uint64_t size_bytes, struct error *err);

/* Reads at most DISK_BUFFER_BYTES past the page cache into scratch. */
int disk_io_read(struct disk_io *io, struct disk_scratch *scratch, uint64_t offset,
		 uint64_t size_bytes, const uint8_t **ret_data, struct error *err);

/* All that was written is on the medium. */
int disk_io_flush(struct disk_io *io, struct error *err);

/* Adds to one of the counts. */
void disk_io_count(uint64_t *count, uint64_t bytes);

#endif
