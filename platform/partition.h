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

/* The file system on a device ("ext4", "vfat", …) by its signature. ERROR_NOT_FOUND when there is
 * none, or more than one. */
int filesystem_detect(const char *device, char *ret_type, size_t type_size, struct error *err);

#endif
