/* PCI devices, those among them that draw, and network interfaces. See inventory.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "platform/inventory_inside.h"
#include "platform/pci_ids.h"
#include "platform/sysfs.h"
#include "platform/text.h"

static bool read_device(struct inventory *inventory, const struct pci_ids *ids, const char *address,
			struct inventory_device *ret_device)
{
	char text[512], name[PCI_NAME_SIZE];
	unsigned vendor, product, class;
	/* The kernel's: pci:v00008086d0000A1EDsv…sd…bc0Csc03i30. */
	if (!sysfs_read(text, sizeof(text), "/sys/bus/pci/devices/%s/modalias", address) ||
	    sscanf(text, "pci:v%8xd%8xsv%*8xsd%*8xbc%2x", &vendor, &product, &class) != 3)
		return false;
	*ret_device = (struct inventory_device){
		.vendor = inventory_text(
			inventory, pci_ids_vendor(ids, vendor, name) ? name : INVENTORY_UNKNOWN),
		.product = inventory_text(inventory, pci_ids_device(ids, vendor, product, name)
							     ? name
							     : INVENTORY_UNKNOWN),
		.class = inventory_text(inventory,
					pci_ids_class(ids, class, name) ? name : INVENTORY_UNKNOWN),
	};
	if (sysfs_read_link(text, sizeof(text), "/sys/bus/pci/devices/%s/driver", address)) {
		const char *slash = strrchr(text, '/');
		ret_device->driver = inventory_text(inventory, slash ? slash + 1 : text);
	}
	return true;
}

static bool is_address(const char *text, size_t size)
{
	unsigned domain, bus, device, function;
	int end = 0;
	char copy[32];
	if (size >= sizeof(copy))
		return false;
	memcpy(copy, text, size);
	copy[size] = '\0';
	return sscanf(copy, "%x:%2x:%2x.%1x%n", &domain, &bus, &device, &function, &end) == 4 &&
	       (size_t)end == size;
}

/* The last PCI address on the way to a graphics card. */
static bool address_of_card(const char *card, char *out, size_t out_size)
{
	char target[512];
	if (!sysfs_read_link(target, sizeof(target), "/sys/class/drm/%s", card))
		return false;
	bool found = false;
	for (const char *part = target; *part;) {
		size_t size = strcspn(part, "/");
		if (is_address(part, size)) {
			snprintf(out, out_size, "%.*s", (int)size, part);
			found = true;
		}
		part += size + (part[size] == '/');
	}
	return found;
}

void inventory_read_pci(struct inventory *inventory)
{
	struct inventory_device device;
	char **names = sysfs_list("/sys/bus/pci/devices");
	auto_pci_ids struct pci_ids *ids = names[0] ? pci_ids_open() : NULL;
	for (size_t i = 0; names[i]; i++) {
		if (!read_device(inventory, ids, names[i], &device))
			continue;
		inventory->devices = inventory_grow(inventory->devices, &inventory->device_count,
						    sizeof(*inventory->devices));
		inventory->devices[inventory->device_count - 1] = device;
	}
	sysfs_list_free(names);
	names = sysfs_list("/sys/class/drm");
	for (size_t i = 0; names[i]; i++) {
		char address[32];
		if (strncmp(names[i], "card", 4) != 0 || strchr(names[i], '-') ||
		    !address_of_card(names[i], address, sizeof(address)) ||
		    !read_device(inventory, ids, address, &device))
			continue;
		inventory->gpus = inventory_grow(inventory->gpus, &inventory->gpu_count,
						 sizeof(*inventory->gpus));
		inventory->gpus[inventory->gpu_count - 1] = device;
	}
	sysfs_list_free(names);
}

void inventory_read_interfaces(struct inventory *inventory)
{
	char **names = sysfs_list("/sys/class/net");
	for (size_t i = 0; names[i]; i++) {
		char assigned[16] = "";
		/* The one is the machine itself, the other a file. */
		if (strcmp(names[i], "lo") == 0 || strcmp(names[i], "bonding_masters") == 0)
			continue;
		inventory->interfaces =
			inventory_grow(inventory->interfaces, &inventory->interface_count,
				       sizeof(*inventory->interfaces));
		struct inventory_interface *interface =
			&inventory->interfaces[inventory->interface_count - 1];
		sysfs_read(assigned, sizeof(assigned), "/sys/class/net/%s/addr_assign_type",
			   names[i]);
		interface->name = inventory_text(inventory, names[i]);
		interface->mac = strcmp(assigned, "0") == 0
					 ? inventory_file(inventory, "",
							  "/sys/class/net/%s/address", names[i])
					 : inventory_text(inventory, "");
		interface->speed =
			inventory_file(inventory, "", "/sys/class/net/%s/speed", names[i]);
	}
	sysfs_list_free(names);
}
