/* Disks: kinds by the kernel's names, identity in udev's spelling. See inventory.h. */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "platform/buffer.h"
#include "platform/cleanup.h"
#include "platform/disk_facts.h"
#include "platform/inventory_inside.h"
#include "platform/sysfs.h"
#include "platform/text.h"

enum {
	VALUE_SIZE = 512
};

/* What is not here (arrays, mappings, loop devices, floppies, RAM disks) is left out. */
static const struct kind {
	const char *prefix, *controller, *drive;
} kinds[] = {
	{"sd", "SCSI", "HDD"},  {"hd", "IDE", "HDD"},    {"vd", "virtio", "HDD"},
	{"xvd", "SCSI", "HDD"}, {"nvme", "NVMe", "SSD"}, {"sr", "SCSI", "ODD"},
	{"mmc", "MMC", "SSD"},
};

static const struct kind *find_kind(const char *name)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strncmp(name, kinds[i].prefix, strlen(kinds[i].prefix)) == 0)
			return &kinds[i];
	return NULL;
}

/* A property in udev's record of a device: lines "E:KEY=VALUE". */
static bool record_get(const struct buffer *record, const char *key, char out[VALUE_SIZE])
{
	const char *at = (const char *)record->data;
	for (; at; at = strchr(at, '\n')) {
		at += *at == '\n';
		if (strncmp(at, "E:", 2) != 0 || strncmp(at + 2, key, strlen(key)) != 0 ||
		    at[2 + strlen(key)] != '=')
			continue;
		at += 3 + strlen(key);
		snprintf(out, VALUE_SIZE, "%.*s", (int)strcspn(at, "\n"), at);
		return true;
	}
	return false;
}

static bool record_first(const struct buffer *record, const char *const *keys, char out[VALUE_SIZE])
{
	for (; *keys; keys++)
		if (record_get(record, *keys, out))
			return true;
	return false;
}

/* udev's way with texts of disks: '_' for blanks. */
static void underscore(char *text)
{
	for (; *text; text++)
		if (isspace((unsigned char)*text))
			*text = '_';
}

/* What udev would say where it has no record: computed from the same facts. */
static void compute(const struct disk_facts *facts, char model[VALUE_SIZE], char serial[VALUE_SIZE],
		    char wwn[VALUE_SIZE])
{
	bool scsi = strcmp(facts->type, "ata") == 0 || strcmp(facts->type, "scsi") == 0;
	if (facts->model[0] && strcmp(facts->type, "mmc") != 0) {
		snprintf(model, VALUE_SIZE, "%s", facts->model);
		if (scsi)
			underscore(model);
	}
	if (facts->serial[0]) {
		snprintf(serial, VALUE_SIZE, "%s", facts->serial);
		if (scsi)
			underscore(serial);
	}
	if (facts->wwns[0][0] && scsi)
		snprintf(wwn, VALUE_SIZE, "0x%s", facts->wwns[0]);
	else if (strcmp(facts->type, "nvme") == 0)
		sysfs_read(wwn, VALUE_SIZE, "/sys/class/block/%s/wwid", facts->disk);
}

static void identify(struct inventory *inventory, struct inventory_disk *disk)
{
	static const char *const serials[] = {"SCSI_IDENT_SERIAL", "ID_SCSI_SERIAL",
					      "ID_SERIAL_SHORT", "ID_SERIAL", NULL};
	static const char *const wwns[] = {"ID_WWN_WITH_EXTENSION", "ID_WWN", "DM_WWN", NULL};
	char number[32], model[VALUE_SIZE] = INVENTORY_UNKNOWN, serial[VALUE_SIZE],
			 wwn[VALUE_SIZE] = INVENTORY_UNKNOWN;
	struct error err;
	struct disk_facts facts;
	snprintf(serial, sizeof(serial), "%s", INVENTORY_UNKNOWN);
	if (disk_facts_read(disk->name, &facts))
		compute(&facts, model, serial, wwn);
	if (sysfs_read(number, sizeof(number), "/sys/block/%s/dev", disk->name)) {
		auto_buffer struct buffer record = {.cap = 1 << 20};
		auto_free char *path = text_format("%s/run/udev/data/b%s", sysfs_root(), number);
		if (buffer_read_file(&record, path, &err) == 0 && record.size > 0) {
			record_get(&record, "ID_MODEL", model);
			record_first(&record, serials, serial);
			record_first(&record, wwns, wwn);
		}
	}
	disk->model = inventory_text(inventory, model);
	disk->serial = inventory_text(inventory, serial);
	disk->wwn = inventory_text(inventory, wwn);
}

static void add_disk(struct inventory *inventory, const char *name, const struct kind *kind)
{
	char size[32];
	uint64_t sectors = 0, block = 0, rotational = 0;
	inventory->disks =
		inventory_grow(inventory->disks, &inventory->disk_count, sizeof(*inventory->disks));
	struct inventory_disk *disk = &inventory->disks[inventory->disk_count - 1];
	sysfs_read_uint(&sectors, "/sys/block/%s/size", name);
	sysfs_read_uint(&block, "/sys/block/%s/queue/physical_block_size", name);
	sysfs_read_uint(&rotational, "/sys/block/%s/queue/rotational", name);
	disk->name = inventory_text(inventory, name);
	disk->controller = inventory_text(inventory, kind->controller);
	disk->drive = inventory_text(inventory, strcmp(kind->drive, "HDD") == 0 && rotational != 1
							? "SSD"
							: kind->drive);
	/* Units of 512 bytes whatever the sectors are. */
	disk->size = inventory_text(inventory,
				    inventory_size(sectors <= UINT64_MAX / 512 ? sectors * 512 : 0,
						   size, sizeof(size)));
	disk->physical_block = inventory_text(inventory, inventory_size(block, size, sizeof(size)));
	disk->vendor =
		inventory_file(inventory, INVENTORY_UNKNOWN, "/sys/block/%s/device/vendor", name);
	identify(inventory, disk);
}

void inventory_read_disks(struct inventory *inventory)
{
	char **names = sysfs_list("/sys/block");
	for (size_t i = 0; names[i]; i++) {
		uint64_t hidden = 0;
		const struct kind *kind = find_kind(names[i]);
		/* The paths of a multipath NVMe disk have no node. */
		sysfs_read_uint(&hidden, "/sys/block/%s/hidden", names[i]);
		if (kind && hidden == 0)
			add_disk(inventory, names[i], kind);
	}
	sysfs_list_free(names);
}
