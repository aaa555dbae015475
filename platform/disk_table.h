/*
 * The partition table of a disk that an image was written to: whether it suits the disk, and its
 * second copy.
 */
#ifndef PLATFORM_DISK_TABLE_H
#define PLATFORM_DISK_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "platform/disk.h"
#include "platform/error.h"

/*
 * Before an image is written: whether its partition table was made for sectors of the disk's size.
 * head is the image's beginning, of which up to 1 MiB tells: a GPT stands in the second sector; an
 * MBR tells when its first partition's file system is in sight. What does not tell passes.
 * ERROR_INPUT names both sizes. On a partition there is no table and nothing is claimed.
 */
int disk_check_sector_size(const struct disk *disk, const uint8_t *head, size_t head_size,
			   struct error *err);

/*
 * After an image was written: moves the second copy of its GPT to the disk's end (UEFI 2.10, 5.3.2)
 * and makes the whole disk usable; the protective MBR follows (a hybrid one stays). The new copy is
 * written and flushed before the first one refers to it, so that there is a valid table at any
 * moment. Both are read again. *ret_moved: false when it was there already, and where there is no
 * GPT. ERROR_CORRUPT when either copy is damaged or they differ: nothing is repaired, nothing
 * written.
 */
int disk_move_backup_gpt(const struct disk *disk, bool *ret_moved, struct error *err);

#endif
