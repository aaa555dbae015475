/*
 * What the kernel tells about block devices: identity, size, kind, how they are attached. Read from
 * sysfs without udev, below the root prefix of sysfs.h. Nothing here opens a device.
 */
#ifndef PLATFORM_DISK_FACTS_H
#define PLATFORM_DISK_FACTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	DISK_WWNS_MOST = 4,
	DISK_IDS_MOST = 12,
	DISK_ID_SIZE = 192
};

/* Texts are "" where the device has none; blanks around them are gone, and what is not printable.
 */
struct disk_facts {
	char name[64];         /* the kernel's: "sda", "nvme0n1p2" */
	char disk[64];         /* the whole disk's; name itself when it is one */
	unsigned partition;    /* its number; 0: a whole disk */
	uint64_t size_bytes;   /* of the device itself */
	unsigned sector_bytes; /* logical */
	char type[16];         /* nvme, ata, scsi, virtio, mmc, xen, dasd, pmem, loop, md, dm … */
	char transport[16];    /* pcie, tcp, rdma, fc, sata, sas, usb, iscsi, virtio, mmc */
	char vendor[64];
	char model[128];
	char serial[128];
	char wwns[DISK_WWNS_MOST][128]; /* bare: "5000c500a1b2c3d4"; the best one first */
	char hctl[32];                  /* SCSI host:channel:target:lun */
	char device_path[512];          /* below /sys/devices, with the name at its end */
	bool rotational, removable, read_only;
	bool ordinary; /* a disk that holds data by itself, with a medium, be it read-only: no
			  loop device, RAM disk, CD, boot area of an MMC, array or mapping */
};

/* Facts of the device of this name, a disk or a partition. False when there is none. */
bool disk_facts_read(const char *name, struct disk_facts *ret_facts);

/* Calls visit with each whole disk that has a node, in the order of their names as people count:
 * sda, sdb, sdaa. */
void disk_facts_each(void (*visit)(void *context, const struct disk_facts *facts), void *context);

/* The same for the partitions of a disk, in the order of their numbers. */
void disk_facts_each_partition(const char *disk,
			       void (*visit)(void *context, const struct disk_facts *facts),
			       void *context);

/*
 * The names below /dev/disk/by-id that udev's rules give a whole disk: "ata-MODEL_SERIAL",
 * "wwn-0x…", "nvme-eui.…" …, computed from the facts, for machines without udev. Returns how many.
 */
unsigned disk_facts_ids(const struct disk_facts *facts, char ids[DISK_IDS_MOST][DISK_ID_SIZE]);

/* The uuid of a mapping (dm), "mpath-…" of a multipath device. False when it is none. */
bool disk_facts_dm_uuid(const char *name, char *out, size_t out_size);

/* "447.1 GiB, ATA SAMSUNG MZ7LH480, serial S45N, wwn 5002…, sata": what people tell disks apart by.
 * Returns out. */
char *disk_facts_describe(const struct disk_facts *facts, char *out, size_t out_size);

#endif
