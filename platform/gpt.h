/*
 * GUID partition tables as bytes (UEFI specification 2.10, 5.3): reading a header strictly, writing
 * its fields. No I/O; see disk_table.h for tables on disks.
 */
#ifndef PLATFORM_GPT_H
#define PLATFORM_GPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "platform/error.h"

enum {
	GPT_ENTRIES_BYTES_MOST = 1 << 20, /* of a table that we take: 8192 partitions */
	MBR_BYTES = 512
};

struct gpt_header {
	uint64_t own_lba;
	uint64_t other_lba; /* of the other copy */
	uint64_t first_usable_lba, last_usable_lba;
	uint64_t entries_lba;
	uint32_t entry_count, entry_bytes;
	uint32_t entries_crc;
	uint8_t guid[16];
};

/* Whether a sector begins with a header's signature, valid or not. */
bool gpt_is_header(const uint8_t *sector, size_t sector_bytes);

/* Reads a header. ERROR_CORRUPT says what is wrong: the signature, the checksum, a number. */
int gpt_header_read(const uint8_t *sector, size_t sector_bytes, struct gpt_header *ret_header,
		    struct error *err);

/* Puts the header's numbers into a sector that holds one, and its checksum. What else is in it
 * stays. */
void gpt_header_write(uint8_t *sector, const struct gpt_header *header);

/* How many bytes the table of entries has; at most GPT_ENTRIES_BYTES_MOST. */
size_t gpt_entries_bytes(const struct gpt_header *header);

/* ERROR_CORRUPT when the entries are not those of the header's checksum, or one lies outside of
 * what is usable. */
int gpt_entries_check(const struct gpt_header *header, const uint8_t *entries, struct error *err);

/* The last sector that a partition occupies; 0 when there is none. */
uint64_t gpt_entries_end(const struct gpt_header *header, const uint8_t *entries);

/* Whether an MBR has an entry of type EE: only then its disk has a GPT. */
bool mbr_is_protective(const uint8_t *mbr);

/* Gives the entry of type EE, when it is the only one, the size of a disk that ends with this
 * sector. A hybrid MBR stays as it is. */
void mbr_protect(uint8_t *mbr, uint64_t last_lba);

/*
 * For which sector size the partition table in an image's beginning was made: 512 or 4096. 0: it
 * does not tell, or fits both. *ret_table says what it is ("GPT", "MBR").
 */
unsigned table_sector_bytes(const uint8_t *head, size_t head_size, const char **ret_table);

#endif
