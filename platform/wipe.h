/*
 * Erasing a disk by the best way that it has, and reading whether it is gone.
 */
#ifndef PLATFORM_WIPE_H
#define PLATFORM_WIPE_H

#include <stdbool.h>
#include <stdint.h>

#include "platform/disk.h"
#include "platform/erase.h"
#include "platform/error.h"

/*
 * The ways, the best first. mode picks one of the words; "auto" goes down the ladder until one has
 * worked:
 *
 *   sanitize      NVMe Sanitize: crypto erase, else block erase; of a disk with one namespace
 *   format        NVMe Format NVM with crypto erase, else user data erase
 *   secure-erase  ATA Security: enhanced, else plain; not behind USB bridges
 *   discard       BLKSECDISCARD, else BLKDISCARD, as far as the disk reads as zeros then
 *   zero          zeros written past all caches
 *   signatures    only the first and last MiB of the disk and of each of its partitions; never by
 *                 "auto"
 *
 * On a partition only the last three can be. After the disk's own ways its first and last MiB are
 * written with zeros, so that no table is left whatever the disk reads as.
 */
struct wipe_options {
	const char *mode;
	bool full; /* read everything for zeros; else 64 samples of 1 MiB */
	void (*phase)(void *context, const char *phase);
	void *context;
	struct erase_progress *progress; /* of the phase, in bytes or the disk's own unit */
};

struct wipe_result {
	char used[200];    /* "NVMe format with user data erase" */
	char skipped[600]; /* what was not used, and why; "" */
	char read[200];    /* what was read afterwards, and what it was */
};

/*
 * Wipes. Success means that what was read back was erased: zeros; after the disk's own ways also
 * other than what it was before. ERROR_BUSY when other paths lead to the disk, ERROR_UNSUPPORTED
 * when it has not the way that mode asks for, ERROR_IO and ERROR_CORRUPT name what went wrong or
 * where old data still are.
 */
int wipe_disk(const struct disk *disk, const struct wipe_options *options,
	      struct wipe_result *ret_result, struct error *err);

#endif
