/*
 * Disks that erase themselves: NVMe Sanitize and Format NVM (NVM Express base specification 2.0,
 * 5.17, 5.24), ATA Security (ACS-3, 7.38 to 7.43) through SCSI (SAT-3, 12.2). Thin: what a disk
 * offers, and doing it. Whether it worked is judged in wipe.c by reading the disk.
 */
#ifndef PLATFORM_ERASE_H
#define PLATFORM_ERASE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "platform/error.h"

/* How far something long is. Read by another thread. */
struct erase_progress {
	_Atomic uint64_t done;
	_Atomic uint64_t total; /* 0: not known */
};

struct nvme_erase {
	bool sanitize_crypto, sanitize_block; /* the key thrown away, the cells erased */
	bool format, format_crypto;
	unsigned namespaces;  /* that the controller has active */
	bool format_hits_all; /* a format that erases does so in all namespaces */
	uint32_t format_word; /* what keeps the present format of sectors */
};

/* ERROR_UNSUPPORTED when it is no NVMe namespace. */
int nvme_erase_read(int fd, struct nvme_erase *ret_erase, struct error *err);

/* Sanitizes the whole disk, all namespaces; waits for one that is under way already. */
int nvme_sanitize(int fd, bool crypto, struct erase_progress *progress, struct error *err);

/* Formats the namespace as it is formatted now, and erases it: the key or the data. */
int nvme_format(int fd, const struct nvme_erase *erase, bool crypto, struct error *err);

struct ata_security {
	bool supported, enhanced;
	bool enabled, locked; /* a password is set, and asked for */
	bool frozen;          /* until the next power-on */
	bool expired;         /* too many wrong passwords */
	/* As the disk estimates; 0: it does not say. */
	unsigned minutes, enhanced_minutes;
};

/* ERROR_UNSUPPORTED when it is no ATA disk, or its bridge does not let the question through. */
int ata_security_read(int fd, struct ata_security *ret_security, struct error *err);

/*
 * Erases by the disk's own command, with the password "tink-worker", which is gone again
 * afterwards. When the power fails in the middle the disk is locked by it; the next run goes on.
 * Blocks for hours, and cannot be killed meanwhile.
 */
int ata_secure_erase(int fd, const struct ata_security *security, bool enhanced, struct error *err);

/* Tests put a disk of their own in the place of ioctl(2). NULL: ioctl again. */
void erase_set_ioctl(int (*function)(int fd, unsigned long request, void *argument));
int erase_ioctl(int fd, unsigned long request, void *argument);

#endif
