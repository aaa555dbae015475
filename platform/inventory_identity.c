/* Who made the machine and its parts: what the kernel shows of SMBIOS, the tables themselves where
 * it shows nothing, else the device tree. See inventory.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "platform/cleanup.h"
#include "platform/inventory_inside.h"
#include "platform/smbios.h"
#include "platform/sysfs.h"
#include "platform/text.h"

enum {
	TABLES_MOST = 256 << 10
};

/* The kernel's name of each, and where in the tables it stands. */
static const struct item {
	size_t member;
	const char *file;
	uint8_t type, offset;
} items[] = {
	{offsetof(struct inventory, bios_vendor), "bios_vendor", SMBIOS_BIOS, 0x04},
	{offsetof(struct inventory, bios_version), "bios_version", SMBIOS_BIOS, 0x05},
	{offsetof(struct inventory, bios_date), "bios_date", SMBIOS_BIOS, 0x08},
	{offsetof(struct inventory, product_vendor), "sys_vendor", SMBIOS_SYSTEM, 0x04},
	{offsetof(struct inventory, product_name), "product_name", SMBIOS_SYSTEM, 0x05},
	{offsetof(struct inventory, product_serial), "product_serial", SMBIOS_SYSTEM, 0x07},
	{offsetof(struct inventory, board_vendor), "board_vendor", SMBIOS_BOARD, 0x04},
	{offsetof(struct inventory, board_product), "board_name", SMBIOS_BOARD, 0x05},
	{offsetof(struct inventory, board_version), "board_version", SMBIOS_BOARD, 0x06},
	{offsetof(struct inventory, board_serial), "board_serial", SMBIOS_BOARD, 0x07},
	{offsetof(struct inventory, chassis_vendor), "chassis_vendor", SMBIOS_CHASSIS, 0x04},
	{offsetof(struct inventory, chassis_serial), "chassis_serial", SMBIOS_CHASSIS, 0x07},
};

size_t inventory_device_tree(char *out, size_t out_size, const char *property)
{
	size_t size =
		sysfs_read_bytes(out, out_size - 1, "/sys/firmware/devicetree/base/%s", property);
	if (size == 0)
		size = sysfs_read_bytes(out, out_size - 1, "/proc/device-tree/%s", property);
	out[size] = '\0';
	return size;
}

static char *property(struct inventory *inventory, const char *name)
{
	char text[512];
	return inventory_text(inventory, inventory_device_tree(text, sizeof(text), name) > 0
						 ? text
						 : INVENTORY_UNKNOWN);
}

/* Firmware there is U-Boot, where it has left its name. */
static void read_device_tree(struct inventory *inventory)
{
	char text[512];
	char *serial = property(inventory, "serial-number"), *model = property(inventory, "model");
	/* "raspberrypi,4-model-b" */
	size_t size = inventory_device_tree(text, sizeof(text), "compatible");
	text[strcspn(text, ",")] = '\0';
	char *vendor = inventory_text(inventory, size > 0 && text[0] ? text : INVENTORY_UNKNOWN);
	char *unknown = inventory_text(inventory, INVENTORY_UNKNOWN);
	inventory->chassis_serial = inventory->board_serial = inventory->product_serial = serial;
	inventory->chassis_vendor = inventory->board_vendor = inventory->product_vendor = vendor;
	inventory->board_product = inventory->product_name = model;
	inventory->board_version = inventory->bios_date = unknown;
	inventory->bios_version = property(inventory, "chosen/u-boot,version");
	inventory->bios_vendor = strcmp(inventory->bios_version, INVENTORY_UNKNOWN) == 0
					 ? unknown
					 : inventory_text(inventory, "U-Boot");
}

static char **member(struct inventory *inventory, const struct item *item)
{
	return (char **)(void *)((char *)inventory + item->member);
}

void inventory_read_identity(struct inventory *inventory)
{
	auto_free uint8_t *tables = malloc(TABLES_MOST);
	char text[512];
	bool shown = sysfs_is_folder("/sys/class/dmi/id");
	if (!tables)
		abort();
	size_t size =
		shown ? 0 : sysfs_read_bytes(tables, TABLES_MOST, "/sys/firmware/dmi/tables/DMI");
	if (!shown && size == 0 &&
	    (sysfs_is_folder("/sys/firmware/devicetree/base") ||
	     sysfs_is_folder("/proc/device-tree"))) {
		read_device_tree(inventory);
		return;
	}
	for (size_t i = 0; i < sizeof(items) / sizeof(items[0]); i++) {
		const struct item *item = &items[i];
		if (size > 0 &&
		    smbios_text(tables, size, item->type, item->offset, text, sizeof(text)))
			*member(inventory, item) = inventory_text(inventory, text);
		else
			*member(inventory, item) = inventory_file(
				inventory, INVENTORY_UNKNOWN, "/sys/class/dmi/id/%s", item->file);
	}
}
