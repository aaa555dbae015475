/*
 * Partition tables: the bytes are the beginning of a disk (MBR, header, entries), and of its end.
 * Their checksums are put right, as no fuzzer finds them. What is moved once is in place then.
 */
#include "tests/fuzz/fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

#include "platform/disk_table.h"
#include "platform/gpt.h"

enum {
	DISK_BYTES = 128 << 10,
	SECTOR = 512
};

static void put32(uint8_t *at, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		at[i] = (uint8_t)(value >> (8 * i));
}

static uint32_t get32(const uint8_t *at)
{
	return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
	       (uint32_t)at[3] << 24;
}

static uint32_t crc32_of(const uint8_t *data, size_t size)
{
	uint32_t crc = UINT32_MAX;
	for (size_t i = 0; i < size; i++) {
		crc ^= data[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0xedb88320) : 0);
	}
	return ~crc;
}

static void put_checksums(uint8_t *disk, size_t lba)
{
	uint8_t *header = disk + lba * SECTOR;
	uint64_t entries = (uint64_t)get32(header + 72) * SECTOR;
	uint64_t size = (uint64_t)get32(header + 80) * get32(header + 84);
	uint32_t header_size = get32(header + 12);
	if (entries < DISK_BYTES && size <= DISK_BYTES - entries)
		put32(header + 88, crc32_of(disk + entries, size));
	put32(header + 16, 0);
	if (header_size <= SECTOR)
		put32(header + 16, crc32_of(header, header_size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t bytes[DISK_BYTES];
	memset(bytes, 0, sizeof(bytes));
	size_t half = size / 2 < 32768 ? size / 2 : 32768;
	if (half == 0)
		return 0;
	memcpy(bytes, data, half);
	memcpy(bytes + DISK_BYTES / 2, data + half, half);
	if (data[0] & 1)
		for (size_t lba = 1; lba < DISK_BYTES / SECTOR; lba++)
			if (gpt_is_header(bytes + lba * SECTOR, SECTOR))
				put_checksums(bytes, lba);
	struct disk disk = {.size_bytes = DISK_BYTES, .sector_bytes = SECTOR, .path = "disk"};
	struct error err;
	if (disk_check_sector_size(&disk, bytes, sizeof(bytes), &err) < 0)
		require(err.kind == ERROR_INPUT);
	disk.fd = memfd_create("disk", MFD_CLOEXEC);
	require(disk.fd >= 0 && write(disk.fd, bytes, sizeof(bytes)) == sizeof(bytes));
	bool moved, again;
	if (disk_move_backup_gpt(&disk, &moved, &err) == 0) {
		require(disk_move_backup_gpt(&disk, &again, &err) == 0 && !again);
	} else {
		require(err.kind == ERROR_CORRUPT);
		uint8_t now[DISK_BYTES];
		require(pread(disk.fd, now, sizeof(now), 0) == sizeof(now));
		require(memcmp(now, bytes, sizeof(now)) == 0);
	}
	close(disk.fd);
	return 0;
}
