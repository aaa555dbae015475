/*
 * Who uses a block device: mounts (also those of other mount namespaces), swap, device mapper, md,
 * bcache, and programs that have it open.
 */
#ifndef PLATFORM_DISK_USERS_H
#define PLATFORM_DISK_USERS_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Writes who uses this device (a kernel's name) or one of its partitions, and how to end that:
 * "/dev/sda3 is part of /dev/dm-0 (vg-root, an LVM volume; vgchange -an), which is mounted at /".
 * False when nobody does.
 */
bool disk_users_find(const char *name, char *out, size_t out_size);

/* Whether the device itself is part of an array or a mapping. */
bool disk_users_has_holder(const char *name);

/* Programs other than this one that have the device or one of its partitions open: "open in qemu
 * (1234)". False when there is none. */
bool disk_users_find_programs(const char *name, char *out, size_t out_size);

#endif
