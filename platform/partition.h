/*
 * Partition tables and file-system signatures as libblkid reads them.
 */
#ifndef PLATFORM_PARTITION_H
#define PLATFORM_PARTITION_H

#include <stddef.h>
#include <stdint.h>

#include "platform/error.h"

enum {
	PARTITIONS_MOST = 256
};

struct partition {
	unsigned number; /* from 1 */
	uint64_t start_bytes;
	uint64_t size_bytes;
};

struct partition_table {
	char type[16]; /* "gpt", "dos" …; "" when there is none */
	unsigned count;
	struct partition partitions[PARTITIONS_MOST];
};

/* Reads the table of an open device. No table is no error: type is "". */
int partition_table_read(int fd, struct partition_table *ret_table, struct error *err);

/* What a partition or a file system is called; "" where it has no such name. */
struct partition_names {
	char partition_label[128]; /* in the table */
	char partition_uuid[48];
	char label[256]; /* of the file system */
	char uuid[48];
};

/* Reads the names of the device (a kernel's name) from the device, and of a partition (number not
 * 0) from the table of its disk. What cannot be read is "". */
void partition_names_read(const char *name, const char *disk, unsigned number,
			  struct partition_names *ret_names);

/* The file system on a device ("ext4", "vfat", …) by its signature. ERROR_NOT_FOUND when there is
 * none, or more than one. */
int filesystem_detect(const char *device, char *ret_type, size_t type_size, struct error *err);

#endif
