/* One piece of a disk: see disk_io.h. */
#include "platform/disk_io.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "platform/memory.h"

enum {
	MEMORY_ALIGNMENT = 4096,
	/* Zeros are looked for in grains of this size: to have shorter ones cleared costs most
	 * devices more than to write them. Differences are worth a closer look. */
	ZERO_GRAIN_BYTES = 256 << 10,
	COMPARE_GRAIN_BYTES = 64 << 10,
	/* The page cache is flushed now and then: errors show early, and small machines keep
	 * their memory. */
	FLUSH_EVERY_BYTES = 64 << 20,
};

void disk_io_count(uint64_t *count, uint64_t bytes)
{
	__atomic_fetch_add(count, bytes, __ATOMIC_RELAXED);
}

void *disk_memory(size_t size)
{
	void *data;
	if (posix_memalign(&data, MEMORY_ALIGNMENT, size) != 0)
		return NULL;
	return memset(data, 0, size);
}

void disk_scratch_free(struct disk_scratch *scratch)
{
	free(scratch->data);
	scratch->data = NULL;
}

void disk_io_open(struct disk_io *io, const struct disk *disk, bool compare)
{
	char path[32];
	*io = (struct disk_io){.disk = disk, .compare = compare, .can_clear = true};
	pthread_rwlock_init(&io->pages, NULL);
	/* The same device again, without O_EXCL: the disk's own descriptor holds the claim. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", disk->fd);
	io->direct_fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
}

void disk_io_close(struct disk_io *io)
{
	if (!io->disk)
		return;
	cleanup_close(&io->direct_fd);
	pthread_rwlock_destroy(&io->pages);
}

/* Whether a transfer may bypass the page cache. */
static bool is_direct(const struct disk_io *io, const void *data, uint64_t size, uint64_t offset)
{
	unsigned sector = io->disk->sector_bytes;
	return io->direct_fd >= 0 && size % sector == 0 && offset % sector == 0 &&
	       (uintptr_t)data % sector == 0;
}

static int put_all(const struct disk_io *io, int fd, const uint8_t *data, uint64_t size,
		   uint64_t offset, struct error *err)
{
	while (size > 0) {
		ssize_t done = pwrite(fd, data, size, (off_t)offset);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return disk_error(io->disk, err, "write %s at byte %" PRIu64,
					  io->disk->path, offset);
		if (done == 0)
			return error_set(err, ERROR_IO,
					 "write %s at byte %" PRIu64 ": no byte was taken",
					 io->disk->path, offset);
		data += done;
		size -= (uint64_t)done;
		offset += (uint64_t)done;
	}
	return 0;
}

static int sync_cache(const struct disk_io *io, struct error *err)
{
	if (fsync(io->disk->fd) < 0)
		return disk_error(io->disk, err, "flush %s", io->disk->path);
	posix_fadvise(io->disk->fd, 0, 0, POSIX_FADV_DONTNEED);
	return 0;
}

/* Through the page cache. Where the rest goes past it, nothing else may be under way, and nothing
 * may stay in the cache. */
static int put_cached(struct disk_io *io, const uint8_t *data, uint64_t size, uint64_t offset,
		      struct error *err)
{
	bool alone = io->direct_fd >= 0;
	if (alone)
		pthread_rwlock_wrlock(&io->pages);
	int result = put_all(io, io->disk->fd, data, size, offset, err);
	bool due = alone;
	if (!alone &&
	    __atomic_add_fetch(&io->unflushed_bytes, size, __ATOMIC_RELAXED) >= FLUSH_EVERY_BYTES) {
		__atomic_store_n(&io->unflushed_bytes, 0, __ATOMIC_RELAXED);
		due = true;
	}
	if (result == 0 && due)
		result = sync_cache(io, err);
	if (alone)
		pthread_rwlock_unlock(&io->pages);
	return result;
}

int disk_io_put(struct disk_io *io, const uint8_t *data, uint64_t size_bytes, uint64_t offset,
		struct error *err)
{
	if (!is_direct(io, data, size_bytes, offset))
		return put_cached(io, data, size_bytes, offset, err);
	pthread_rwlock_rdlock(&io->pages);
	int result = put_all(io, io->direct_fd, data, size_bytes, offset, err);
	pthread_rwlock_unlock(&io->pages);
	return result;
}

/* Asks the device to clear; false when it cannot, and the zeros must be written: a device that
 * fails shows its error then. The descriptor must be the one that holds the claim: the kernel
 * refuses others. */
static bool clear(struct disk_io *io, uint64_t offset, uint64_t size_bytes)
{
	if (!__atomic_load_n(&io->can_clear, __ATOMIC_RELAXED))
		return false;
	int result;
	do {
		result = fallocate(io->disk->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				   (off_t)offset, (off_t)size_bytes);
	} while (result < 0 && errno == EINTR);
	if (result == 0)
		disk_io_count(&io->cleared_bytes, size_bytes);
	else if (errno == EOPNOTSUPP)
		__atomic_store_n(&io->can_clear, false, __ATOMIC_RELAXED);
	return result == 0;
}

enum grain {
	GRAIN_DATA,
	GRAIN_ZERO,
	GRAIN_SAME
};

static int put_run(struct disk_io *io, enum grain grain, const uint8_t *data, uint64_t size_bytes,
		   uint64_t offset, struct error *err)
{
	if (size_bytes == 0)
		return 0;
	if (grain == GRAIN_SAME) {
		disk_io_count(&io->same_bytes, size_bytes);
		return 0;
	}
	if (grain == GRAIN_ZERO && clear(io, offset, size_bytes))
		return 0;
	if (disk_io_put(io, data, size_bytes, offset, err) < 0)
		return -1;
	disk_io_count(&io->written_bytes, size_bytes);
	return 0;
}

int disk_io_write(struct disk_io *io, struct disk_scratch *scratch, const uint8_t *data,
		  uint64_t size_bytes, uint64_t offset, struct error *err)
{
	const uint8_t *old = NULL;
	if (io->compare && disk_io_read(io, scratch, offset, size_bytes, &old, err) < 0)
		return -1;
	enum grain last = GRAIN_DATA;
	const size_t grain_bytes = old ? COMPARE_GRAIN_BYTES : ZERO_GRAIN_BYTES;
	uint64_t begin = 0; /* of the run of equal grains */
	for (uint64_t at = 0; at < size_bytes; at += grain_bytes) {
		uint64_t left = size_bytes - at;
		size_t size = left < grain_bytes ? (size_t)left : grain_bytes;
		enum grain grain = GRAIN_DATA;
		if (old && memory_is_same(old + at, data + at, size))
			grain = GRAIN_SAME;
		else if (memory_is_zero(data + at, size))
			grain = GRAIN_ZERO;
		if (grain == last)
			continue;
		if (put_run(io, last, data + begin, at - begin, offset + begin, err) < 0)
			return -1;
		last = grain;
		begin = at;
	}
	return put_run(io, last, data + begin, size_bytes - begin, offset + begin, err);
}

int disk_io_zero(struct disk_io *io, struct disk_scratch *scratch, uint64_t offset,
		 uint64_t size_bytes, struct error *err)
{
	if (!io->compare && clear(io, offset, size_bytes))
		return 0;
	auto_free uint8_t *zeros = disk_memory(DISK_BUFFER_BYTES);
	if (!zeros)
		return error_set(err, ERROR_MEMORY, "no memory for a block of zeros");
	while (size_bytes > 0) {
		uint64_t piece = size_bytes < DISK_BUFFER_BYTES ? size_bytes : DISK_BUFFER_BYTES;
		if (disk_io_write(io, scratch, zeros, piece, offset, err) < 0)
			return -1;
		offset += piece;
		size_bytes -= piece;
	}
	return 0;
}

int disk_io_read(struct disk_io *io, struct disk_scratch *scratch, uint64_t offset,
		 uint64_t size_bytes, const uint8_t **ret_data, struct error *err)
{
	if (!scratch->data && !(scratch->data = disk_memory(DISK_BUFFER_BYTES)))
		return error_set(err, ERROR_MEMORY, "no memory for a block");
	bool direct = is_direct(io, scratch->data, size_bytes, offset);
	for (uint64_t done = 0; done < size_bytes;) {
		ssize_t got = pread(direct ? io->direct_fd : io->disk->fd, scratch->data + done,
				    size_bytes - done, (off_t)(offset + done));
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return disk_error(io->disk, err, "read %s at byte %" PRIu64, io->disk->path,
					  offset + done);
		if (got == 0)
			return error_set(err, ERROR_IO, "%s ends at byte %" PRIu64, io->disk->path,
					 offset + done);
		done += (uint64_t)got;
	}
	*ret_data = scratch->data;
	return 0;
}

int disk_io_flush(struct disk_io *io, struct error *err)
{
	return sync_cache(io, err);
}
