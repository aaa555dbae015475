/*
 * What a machine is made of, in the words that Tink agents have used so far (rules at servers match
 * on them): read from /sys, /proc, SMBIOS or the device tree, below the root prefix of sysfs.h.
 * What the machine does not tell is "unknown" or "" as there.
 */
#ifndef PLATFORM_INVENTORY_H
#define PLATFORM_INVENTORY_H

#include <stddef.h>
#include <stdint.h>

/* All texts are valid UTF-8 and belong to the inventory. */

struct inventory_processor { /* a socket */
	uint32_t id, cores, threads;
	char *vendor, *model;
	char **capabilities; /* flags of the kernel: "sse4_2" */
	size_t capability_count;
};

struct inventory_disk {
	char *name;       /* "sda" */
	char *controller; /* "NVMe", "SCSI" (SATA too), "virtio", "IDE", "MMC" */
	char *drive;      /* "SSD", "HDD", "ODD" */
	char *size;       /* "480GB": see inventory_size() */
	char *physical_block;
	char *vendor, *model, *wwn, *serial; /* as udev spells them */
};

struct inventory_interface {
	char *name;
	char *mac;           /* "" when it is not the hardware's own */
	char *speed;         /* Mbit/s, "-1" or "" when it is not known */
	char **capabilities; /* enabled ones, as `ethtool -k` calls them; none below a root prefix
			      */
	size_t capability_count;
};

struct inventory_device {               /* on PCI */
	char *vendor, *product, *class; /* names, "unknown" when the database has none */
	char *driver;                   /* NULL: none is bound */
};

struct inventory {
	uint32_t total_cores, total_threads;
	struct inventory_processor *processors; /* by id */
	size_t processor_count;
	char *memory_total, *memory_usable; /* NULL when the kernel does not tell */
	struct inventory_disk *disks;
	size_t disk_count;
	struct inventory_interface *interfaces;
	size_t interface_count;
	struct inventory_device *devices; /* by address */
	size_t device_count;
	struct inventory_device *gpus; /* those with a graphics driver: /sys/class/drm */
	size_t gpu_count;
	char *chassis_serial, *chassis_vendor;
	char *bios_vendor, *bios_version, *bios_date;
	char *board_vendor, *board_product, *board_version, *board_serial;
	char *product_name, *product_vendor, *product_serial;
	char **texts; /* what all of these point to */
	size_t text_count;
};

/* Reads everything. It cannot fail: what is not there is left out. */
void inventory_read(struct inventory *ret_inventory);
void inventory_free(struct inventory *inventory);

#define auto_inventory __attribute__((cleanup(inventory_free)))

/* A text that changes when a disk, an interface or a PCI device comes or goes. Allocated. */
char *inventory_signature(void);

/* Rounded up to a whole number of the largest unit (powers of 1024) below it: "16GB", "512B"; ""
 * for 0. Returns out. */
char *inventory_size(uint64_t bytes, char *out, size_t out_size);

#endif
