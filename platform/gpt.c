/* GPT and MBR as bytes: see gpt.h. */
#include "platform/gpt.h"

#include <inttypes.h>
#include <string.h>

enum {
	HEADER_BYTES_LEAST = 92,
	ENTRY_BYTES_LEAST = 128,
	ENTRY_BYTES_MOST = 4096,
	MBR_ENTRIES = 446,
	MBR_ENTRY_BYTES = 16,
	MBR_TYPE_PROTECTIVE = 0xee,
	HEADS = 255, /* of the geometry that everybody writes */
	TRACK_SECTORS = 63,
};

/* Where the fields are. */
enum {
	AT_HEADER_BYTES = 12,
	AT_HEADER_CRC = 16,
	AT_OWN = 24,
	AT_OTHER = 32,
	AT_FIRST = 40,
	AT_LAST = 48,
	AT_GUID = 56,
	AT_ENTRIES = 72,
	AT_COUNT = 80,
	AT_ENTRY_BYTES = 84,
	AT_ENTRIES_CRC = 88,
};

static uint32_t get32(const uint8_t *at)
{
	return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
	       (uint32_t)at[3] << 24;
}

static uint64_t get64(const uint8_t *at)
{
	return get32(at) | (uint64_t)get32(at + 4) << 32;
}

static void put32(uint8_t *at, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		at[i] = (uint8_t)(value >> (8 * i));
}

static void put64(uint8_t *at, uint64_t value)
{
	put32(at, (uint32_t)value);
	put32(at + 4, (uint32_t)(value >> 32));
}

/* CRC-32 of ISO 3309, as the specification demands. */
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

static uint32_t header_crc(const uint8_t *sector)
{
	uint8_t copy[4096];
	size_t size = get32(sector + AT_HEADER_BYTES);
	memcpy(copy, sector, size);
	memset(copy + AT_HEADER_CRC, 0, 4);
	return crc32_of(copy, size);
}

bool gpt_is_header(const uint8_t *sector, size_t sector_bytes)
{
	return sector_bytes >= HEADER_BYTES_LEAST && memcmp(sector, "EFI PART", 8) == 0;
}

static int check_numbers(const struct gpt_header *header, struct error *err)
{
	uint32_t bytes = header->entry_bytes;
	if (bytes < ENTRY_BYTES_LEAST || bytes > ENTRY_BYTES_MOST || (bytes & (bytes - 1)) != 0 ||
	    header->entry_count == 0 || header->entry_count > GPT_ENTRIES_BYTES_MOST / bytes)
		return error_set(err, ERROR_CORRUPT,
				 "the table has %" PRIu32 " entries of %" PRIu32 " bytes",
				 header->entry_count, bytes);
	if (header->last_usable_lba < header->first_usable_lba ||
	    header->last_usable_lba >= INT64_MAX / ENTRY_BYTES_MOST ||
	    header->entries_lba >= INT64_MAX / ENTRY_BYTES_MOST ||
	    header->own_lba >= INT64_MAX / ENTRY_BYTES_MOST ||
	    header->other_lba >= INT64_MAX / ENTRY_BYTES_MOST)
		return error_set(err, ERROR_CORRUPT, "its sector numbers make no sense");
	return 0;
}

int gpt_header_read(const uint8_t *sector, size_t sector_bytes, struct gpt_header *ret_header,
		    struct error *err)
{
	if (!gpt_is_header(sector, sector_bytes))
		return error_set(err, ERROR_CORRUPT, "there is no header");
	uint32_t size = get32(sector + AT_HEADER_BYTES);
	if (size < HEADER_BYTES_LEAST || size > sector_bytes || size > 4096)
		return error_set(err, ERROR_CORRUPT, "the header has %" PRIu32 " bytes", size);
	if (header_crc(sector) != get32(sector + AT_HEADER_CRC))
		return error_set(err, ERROR_CORRUPT, "the header's checksum is wrong");
	struct gpt_header header = {
		.own_lba = get64(sector + AT_OWN),
		.other_lba = get64(sector + AT_OTHER),
		.first_usable_lba = get64(sector + AT_FIRST),
		.last_usable_lba = get64(sector + AT_LAST),
		.entries_lba = get64(sector + AT_ENTRIES),
		.entry_count = get32(sector + AT_COUNT),
		.entry_bytes = get32(sector + AT_ENTRY_BYTES),
		.entries_crc = get32(sector + AT_ENTRIES_CRC),
	};
	memcpy(header.guid, sector + AT_GUID, sizeof(header.guid));
	if (check_numbers(&header, err) < 0)
		return -1;
	*ret_header = header;
	return 0;
}

void gpt_header_write(uint8_t *sector, const struct gpt_header *header)
{
	put64(sector + AT_OWN, header->own_lba);
	put64(sector + AT_OTHER, header->other_lba);
	put64(sector + AT_FIRST, header->first_usable_lba);
	put64(sector + AT_LAST, header->last_usable_lba);
	put64(sector + AT_ENTRIES, header->entries_lba);
	put32(sector + AT_HEADER_CRC, header_crc(sector));
}

size_t gpt_entries_bytes(const struct gpt_header *header)
{
	return (size_t)header->entry_count * header->entry_bytes;
}

static bool is_used(const uint8_t *entry)
{
	static const uint8_t none[16] = {0};
	return memcmp(entry, none, sizeof(none)) != 0;
}

int gpt_entries_check(const struct gpt_header *header, const uint8_t *entries, struct error *err)
{
	if (crc32_of(entries, gpt_entries_bytes(header)) != header->entries_crc)
		return error_set(err, ERROR_CORRUPT, "the checksum of its entries is wrong");
	for (uint32_t i = 0; i < header->entry_count; i++) {
		const uint8_t *entry = entries + (size_t)i * header->entry_bytes;
		uint64_t first = get64(entry + 32), last = get64(entry + 40);
		if (is_used(entry) && (first > last || first < header->first_usable_lba ||
				       last > header->last_usable_lba))
			return error_set(err, ERROR_CORRUPT,
					 "partition %" PRIu32 " (sectors %" PRIu64 " to %" PRIu64
					 ") lies outside of what is usable (%" PRIu64 " to %" PRIu64
					 ")",
					 i + 1, first, last, header->first_usable_lba,
					 header->last_usable_lba);
	}
	return 0;
}

uint64_t gpt_entries_end(const struct gpt_header *header, const uint8_t *entries)
{
	uint64_t end = 0;
	for (uint32_t i = 0; i < header->entry_count; i++) {
		const uint8_t *entry = entries + (size_t)i * header->entry_bytes;
		if (is_used(entry) && get64(entry + 40) > end)
			end = get64(entry + 40);
	}
	return end;
}

static bool is_mbr(const uint8_t *mbr)
{
	return mbr[510] == 0x55 && mbr[511] == 0xaa;
}

bool mbr_is_protective(const uint8_t *mbr)
{
	for (int i = 0; is_mbr(mbr) && i < 4; i++)
		if (mbr[MBR_ENTRIES + i * MBR_ENTRY_BYTES + 4] == MBR_TYPE_PROTECTIVE)
			return true;
	return false;
}

void mbr_protect(uint8_t *mbr, uint64_t last_lba)
{
	uint8_t *protective = NULL;
	for (int i = 0; i < 4; i++) {
		uint8_t *entry = mbr + MBR_ENTRIES + (size_t)i * MBR_ENTRY_BYTES;
		if (entry[4] == MBR_TYPE_PROTECTIVE && !protective)
			protective = entry;
		else if (entry[4] != 0)
			return;
	}
	if (!protective || get32(protective + 8) != 1)
		return;
	put32(protective + 12, last_lba > UINT32_MAX ? UINT32_MAX : (uint32_t)last_lba);
	uint64_t cylinder = last_lba / HEADS / TRACK_SECTORS;
	if (cylinder > 1023) {
		memset(protective + 5, 0xff, 3);
		return;
	}
	protective[5] = (uint8_t)(last_lba / TRACK_SECTORS % HEADS);
	protective[6] = (uint8_t)((last_lba % TRACK_SECTORS + 1) | (cylinder >> 8) << 6);
	protective[7] = (uint8_t)cylinder;
}

/* Whether a file system begins here: its own marks, in the places of ext2 to ext4, xfs, and the FAT
 * family with its jump at the beginning. */
static bool is_file_system(const uint8_t *head, size_t head_size, uint64_t offset)
{
	if (offset >= head_size || head_size - offset < 2048)
		return false;
	const uint8_t *at = head + offset;
	bool fat = at[510] == 0x55 && at[511] == 0xaa && (at[0] == 0xeb || at[0] == 0xe9) &&
		   (memcmp(at + 54, "FAT", 3) == 0 || memcmp(at + 82, "FAT32", 5) == 0);
	return memcmp(at, "XFSB", 4) == 0 || (at[1080] == 0x53 && at[1081] == 0xef) || fat;
}

/* An MBR counts in sectors and does not say in which: but the file system of the first partition
 * is where it is. */
static unsigned mbr_sector_bytes(const uint8_t *head, size_t head_size)
{
	bool as_512 = false, as_4096 = false;
	for (int i = 0; i < 4; i++) {
		const uint8_t *entry = head + MBR_ENTRIES + (size_t)i * MBR_ENTRY_BYTES;
		uint64_t start = get32(entry + 8);
		if (entry[4] == 0 || start == 0)
			continue;
		as_512 = as_512 || is_file_system(head, head_size, start * 512);
		as_4096 = as_4096 || is_file_system(head, head_size, start * 4096);
	}
	return as_512 == as_4096 ? 0 : as_512 ? 512 : 4096;
}

static bool is_gpt_for(const uint8_t *head, size_t head_size, size_t sector_bytes)
{
	struct gpt_header header = {.own_lba = 0};
	struct error ignored;
	return head_size >= 2 * sector_bytes &&
	       gpt_header_read(head + sector_bytes, sector_bytes, &header, &ignored) == 0 &&
	       header.own_lba == 1;
}

unsigned table_sector_bytes(const uint8_t *head, size_t head_size, const char **ret_table)
{
	*ret_table = "MBR";
	if (head_size < MBR_BYTES || !is_mbr(head))
		return 0;
	if (!mbr_is_protective(head))
		return mbr_sector_bytes(head, head_size);
	*ret_table = "GPT";
	bool as_512 = is_gpt_for(head, head_size, 512), as_4096 = is_gpt_for(head, head_size, 4096);
	return as_512 == as_4096 ? 0 : as_512 ? 512 : 4096;
}
