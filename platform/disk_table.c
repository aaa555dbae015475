/* The GPT of a disk: see disk_table.h. */
#include "platform/disk_table.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "platform/gpt.h"

enum {
	SECTOR_BYTES_MOST = 4096
};

/* One of the two copies, as it is on the disk. */
struct copy {
	struct gpt_header header;
	uint8_t sector[SECTOR_BYTES_MOST];
	uint8_t *entries;
};

static void copy_free(struct copy *copy)
{
	free(copy->entries);
}
#define auto_copy __attribute__((cleanup(copy_free)))

int disk_check_sector_size(const struct disk *disk, const uint8_t *head, size_t head_size,
			   struct error *err)
{
	const char *table;
	unsigned made_for = table_sector_bytes(head, head_size, &table);
	if (disk->is_partition || made_for == 0 || made_for == disk->sector_bytes)
		return 0;
	return error_set(
		err, ERROR_INPUT,
		"the image's partition table (%s) is made for sectors of %u bytes, those of "
		"%s have %u: its partitions would not be found; use an image made for %u "
		"(an NVMe disk may be formatted for %u)",
		table, made_for, disk->path, disk->sector_bytes, disk->sector_bytes, made_for);
}

static int read_at(const struct disk *disk, void *data, size_t size, uint64_t lba,
		   struct error *err)
{
	uint64_t offset = lba * disk->sector_bytes;
	if (offset > disk->size_bytes || disk->size_bytes - offset < size)
		return error_set(
			err, ERROR_CORRUPT,
			"it is said to be in sector %" PRIu64 ", behind the end of the disk", lba);
	for (size_t done = 0; done < size;) {
		ssize_t got = pread(disk->fd, (uint8_t *)data + done, size - done,
				    (off_t)(offset + done));
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? error_sys(err, "read sector %" PRIu64, lba)
				       : error_set(err, ERROR_IO, "sector %" PRIu64 " is not there",
						   lba);
		done += (size_t)got;
	}
	return 0;
}

static int write_at(const struct disk *disk, const void *data, size_t size, uint64_t lba,
		    struct error *err)
{
	for (size_t done = 0; done < size;) {
		ssize_t put = pwrite(disk->fd, (const uint8_t *)data + done, size - done,
				     (off_t)(lba * disk->sector_bytes + done));
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return error_sys(err, "write sector %" PRIu64, lba);
		done += (size_t)put;
	}
	return 0;
}

static int flush(const struct disk *disk, struct error *err)
{
	return fsync(disk->fd) < 0 ? error_sys(err, "flush") : 0;
}

static int copy_read(const struct disk *disk, uint64_t lba, struct copy *copy, struct error *err)
{
	if (read_at(disk, copy->sector, disk->sector_bytes, lba, err) < 0 ||
	    gpt_header_read(copy->sector, disk->sector_bytes, &copy->header, err) < 0)
		return -1;
	if (copy->header.own_lba != lba)
		return error_set(err, ERROR_CORRUPT,
				 "the header in sector %" PRIu64 " says that it is in %" PRIu64,
				 lba, copy->header.own_lba);
	size_t size = gpt_entries_bytes(&copy->header);
	copy->entries = malloc(size);
	if (!copy->entries)
		return error_set(err, ERROR_MEMORY, "no memory for its entries");
	if (read_at(disk, copy->entries, size, copy->header.entries_lba, err) < 0)
		return -1;
	return gpt_entries_check(&copy->header, copy->entries, err);
}

/* Reads both copies; they must say the same of the same disk. */
static int read_both(const struct disk *disk, struct copy *primary, struct copy *backup,
		     struct error *err)
{
	if (copy_read(disk, 1, primary, err) < 0)
		return error_wrap(err, "the GPT at the beginning");
	if (copy_read(disk, primary->header.other_lba, backup, err) < 0)
		return error_wrap(err, "the second copy of the GPT");
	const struct gpt_header *one = &primary->header, *two = &backup->header;
	if (two->other_lba != 1 || memcmp(one->guid, two->guid, sizeof(one->guid)) != 0 ||
	    one->first_usable_lba != two->first_usable_lba ||
	    one->last_usable_lba != two->last_usable_lba || one->entry_count != two->entry_count ||
	    one->entry_bytes != two->entry_bytes || one->entries_crc != two->entries_crc)
		return error_set(err, ERROR_CORRUPT, "the two copies of the GPT differ");
	return 0;
}

/* Where everything goes on a disk that ends with this sector. */
static int plan(const struct disk *disk, struct copy *primary, struct copy *backup,
		uint64_t last_lba, struct error *err)
{
	uint64_t sectors =
		(gpt_entries_bytes(&primary->header) + disk->sector_bytes - 1) / disk->sector_bytes;
	uint64_t entries_lba = last_lba - sectors;
	if (last_lba <= sectors || entries_lba <= primary->header.first_usable_lba ||
	    gpt_entries_end(&primary->header, primary->entries) >= entries_lba)
		return error_set(err, ERROR_CORRUPT,
				 "a partition reaches into the end of the disk, where the second "
				 "copy of the GPT belongs");
	primary->header.other_lba = last_lba;
	primary->header.last_usable_lba = entries_lba - 1;
	backup->header.own_lba = last_lba;
	backup->header.entries_lba = entries_lba;
	backup->header.last_usable_lba = entries_lba - 1;
	gpt_header_write(primary->sector, &primary->header);
	gpt_header_write(backup->sector, &backup->header);
	return 0;
}

static int write_both(const struct disk *disk, const struct copy *primary,
		      const struct copy *backup, uint8_t *mbr, struct error *err)
{
	size_t sector = disk->sector_bytes;
	if (write_at(disk, backup->entries, gpt_entries_bytes(&backup->header),
		     backup->header.entries_lba, err) < 0 ||
	    write_at(disk, backup->sector, sector, backup->header.own_lba, err) < 0 ||
	    flush(disk, err) < 0)
		return -1;
	mbr_protect(mbr, backup->header.own_lba);
	if (write_at(disk, primary->sector, sector, 1, err) < 0 ||
	    write_at(disk, mbr, sector, 0, err) < 0)
		return -1;
	return flush(disk, err);
}

/* Reads from the medium what was just written. What differs is the disk's failure, not the image's.
 */
static int check_written(const struct disk *disk, const struct copy *primary,
			 const struct copy *backup, const uint8_t *mbr, struct error *err)
{
	auto_copy struct copy new_primary = {.entries = NULL}, new_backup = {.entries = NULL};
	uint8_t new_mbr[SECTOR_BYTES_MOST];
	size_t sector = disk->sector_bytes;
	disk_forget_cache(disk);
	int result = read_both(disk, &new_primary, &new_backup, err);
	if (result == 0)
		result = read_at(disk, new_mbr, sector, 0, err);
	if (result == 0 && (memcmp(new_primary.sector, primary->sector, sector) != 0 ||
			    memcmp(new_backup.sector, backup->sector, sector) != 0 ||
			    memcmp(new_mbr, mbr, sector) != 0))
		result = error_set(err, ERROR_IO, "other bytes are there");
	if (result == 0)
		return 0;
	err->kind = ERROR_IO;
	return error_wrap(err, "the partition table was written and does not read as written (is "
			       "the disk failing?)");
}

static int move(const struct disk *disk, uint8_t *mbr, bool *ret_moved, struct error *err)
{
	auto_copy struct copy primary = {.entries = NULL}, backup = {.entries = NULL};
	uint64_t last_lba = disk->size_bytes / disk->sector_bytes - 1;
	if (read_both(disk, &primary, &backup, err) < 0)
		return -1;
	*ret_moved = primary.header.other_lba != last_lba;
	if (!*ret_moved)
		return 0;
	if (plan(disk, &primary, &backup, last_lba, err) < 0 ||
	    write_both(disk, &primary, &backup, mbr, err) < 0)
		return -1;
	return check_written(disk, &primary, &backup, mbr, err);
}

int disk_move_backup_gpt(const struct disk *disk, bool *ret_moved, struct error *err)
{
	uint8_t mbr[SECTOR_BYTES_MOST];
	*ret_moved = false;
	if (disk->is_partition || disk->sector_bytes < MBR_BYTES ||
	    disk->sector_bytes > SECTOR_BYTES_MOST ||
	    disk->size_bytes < UINT64_C(4) * disk->sector_bytes)
		return 0;
	if (read_at(disk, mbr, disk->sector_bytes, 0, err) < 0)
		return error_wrap(err, "%s", disk->path);
	if (!mbr_is_protective(mbr))
		return 0;
	return move(disk, mbr, ret_moved, err) < 0 ? error_wrap(err, "%s", disk->path) : 0;
}
