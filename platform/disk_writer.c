/*
 * Writing an image to a disk so that it is either whole or visibly not there: the ends cleared
 * first, the beginning written last. Declared in disk.h. Bytes are collected to aligned blocks;
 * blocks of zeros are cleared by the device where it can.
 */
#include "platform/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>

enum {
	BLOCK_BYTES = 1 << 20,
	FLUSH_EVERY_BYTES = 64 << 20
};

struct disk_writer {
	const struct disk *disk;
	uint8_t *head;  /* the first DISK_HEAD_BYTES of the image */
	uint8_t *block; /* the block being collected, from DISK_HEAD_BYTES on */
	size_t block_used;
	uint64_t position; /* of the block on the disk */
	uint64_t unflushed_bytes;
	bool can_clear;
	struct disk_writer_counts counts;
};

static int write_all(const struct disk *disk, const uint8_t *data, size_t size, uint64_t offset,
		     struct error *err)
{
	while (size > 0) {
		ssize_t done = pwrite(disk->fd, data, size, (off_t)offset);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return error_sys(err, "write %s at byte %" PRIu64, disk->path, offset);
		data += done;
		size -= (size_t)done;
		offset += (uint64_t)done;
	}
	return 0;
}

static int flush(const struct disk *disk, struct error *err)
{
	return fsync(disk->fd) < 0 ? error_sys(err, "flush %s", disk->path) : 0;
}

static bool all_zero(const uint8_t *data, size_t size)
{
	return data[0] == 0 && memcmp(data, data + 1, size - 1) == 0;
}

static int clear_ends(struct disk_writer *writer, struct error *err)
{
	const struct disk *disk = writer->disk;
	uint64_t size = disk->size_bytes < DISK_HEAD_BYTES ? disk->size_bytes : DISK_HEAD_BYTES;
	memset(writer->head, 0, DISK_HEAD_BYTES);
	if (write_all(disk, writer->head, size, 0, err) < 0)
		return -1;
	if (!disk->is_partition &&
	    write_all(disk, writer->head, size, disk->size_bytes - size, err) < 0)
		return -1;
	return flush(disk, err);
}

int disk_writer_open(const struct disk *disk, struct disk_writer **ret_writer, struct error *err)
{
	auto_disk_writer struct disk_writer *writer = calloc(1, sizeof(*writer));
	if (!writer)
		abort();
	writer->disk = disk;
	writer->can_clear = true;
	writer->position = DISK_HEAD_BYTES;
	void *head = NULL, *block = NULL;
	if (posix_memalign(&head, 4096, DISK_HEAD_BYTES) != 0)
		return error_set(err, ERROR_MEMORY, "no memory for the beginning of the image");
	writer->head = head;
	if (posix_memalign(&block, 4096, BLOCK_BYTES) != 0)
		return error_set(err, ERROR_MEMORY, "no memory for a block");
	writer->block = block;
	if (clear_ends(writer, err) < 0)
		return -1;
	*ret_writer = take_pointer(writer);
	return 0;
}

static int put_block(struct disk_writer *writer, struct error *err)
{
	size_t size = writer->block_used;
	if (size == 0)
		return 0;
	bool cleared = false;
	if (writer->can_clear && all_zero(writer->block, size)) {
		cleared = fallocate(writer->disk->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				    (off_t)writer->position, (off_t)size) == 0;
		/* A device that cannot clear will not learn it; one that fails to is written to,
		 * and shows its error then. */
		writer->can_clear = cleared;
	}
	if (!cleared) {
		if (write_all(writer->disk, writer->block, size, writer->position, err) < 0)
			return -1;
		writer->counts.written_bytes += size;
		writer->unflushed_bytes += size;
	} else {
		writer->counts.cleared_bytes += size;
	}
	writer->position += size;
	writer->block_used = 0;
	/* Errors show early, and the page cache stays small on small machines. */
	if (writer->unflushed_bytes >= FLUSH_EVERY_BYTES) {
		if (flush(writer->disk, err) < 0)
			return -1;
		posix_fadvise(writer->disk->fd, 0, 0, POSIX_FADV_DONTNEED);
		writer->unflushed_bytes = 0;
	}
	return 0;
}

int disk_writer_write(struct disk_writer *writer, const void *data, size_t size, struct error *err)
{
	const uint8_t *from = data;
	if (size > writer->disk->size_bytes - writer->counts.image_bytes)
		return error_set(err, ERROR_INPUT,
				 "the image is larger than %s, which holds %" PRIu64 " bytes",
				 writer->disk->path, writer->disk->size_bytes);
	while (size > 0) {
		uint64_t at = writer->counts.image_bytes;
		bool in_head = at < DISK_HEAD_BYTES;
		size_t room =
			in_head ? (size_t)(DISK_HEAD_BYTES - at) : BLOCK_BYTES - writer->block_used;
		size_t count = size < room ? size : room;
		memcpy(in_head ? writer->head + at : writer->block + writer->block_used, from,
		       count);
		writer->counts.image_bytes += count;
		from += count;
		size -= count;
		if (in_head)
			continue;
		writer->block_used += count;
		if (writer->block_used == BLOCK_BYTES && put_block(writer, err) < 0)
			return -1;
	}
	return 0;
}

int disk_writer_finish(struct disk_writer *writer, struct error *err)
{
	uint64_t size = writer->counts.image_bytes;
	if (size == 0)
		return error_set(err, ERROR_CORRUPT, "the image is empty");
	if (size % 512 != 0)
		return error_set(err, ERROR_CORRUPT,
				 "%" PRIu64 " bytes are no disk image: its size is not a multiple "
				 "of 512 (is it complete? is it an image?)",
				 size);
	if (put_block(writer, err) < 0 || flush(writer->disk, err) < 0)
		return -1;
	uint64_t head = size < DISK_HEAD_BYTES ? size : DISK_HEAD_BYTES;
	if (write_all(writer->disk, writer->head, head, 0, err) < 0)
		return -1;
	writer->counts.written_bytes += head;
	return flush(writer->disk, err);
}

void disk_writer_free(struct disk_writer *writer)
{
	if (!writer)
		return;
	free(writer->head);
	free(writer->block);
	free(writer);
}

struct disk_writer_counts disk_writer_counts(const struct disk_writer *writer)
{
	return writer->counts;
}
