/* The machine and its interfaces: see facts.h. */
#include "agent/facts.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <ifaddrs.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "platform/sysfs.h"
#include "platform/text.h"

/* What firmware says when its maker has said nothing. */
static bool is_filler(const char *text)
{
	static const char *const fillers[] = {"To Be Filled By O.E.M.",
					      "To be filled by O.E.M.",
					      "Default string",
					      "System manufacturer",
					      "System Product Name",
					      "System Serial Number",
					      "Not Specified",
					      "Unknown",
					      "None"};
	for (size_t i = 0; i < sizeof(fillers) / sizeof(fillers[0]); i++)
		if (strcmp(text, fillers[i]) == 0)
			return true;
	return false;
}

/* A value of DMI, or "". */
static void dmi(char *out, size_t out_size, const char *name)
{
	char raw[128];
	out[0] = '\0';
	if (sysfs_read(raw, sizeof(raw), "/sys/class/dmi/id/%s", name) && !is_filler(raw))
		text_sanitize(raw, strlen(raw), out, out_size);
}

/* A text of the device tree, which ends with NUL. */
static void device_tree(char *out, size_t out_size, const char *name)
{
	char raw[128];
	size_t size = sysfs_read_bytes(raw, sizeof(raw), "/proc/device-tree/%s", name);
	text_sanitize(raw, strnlen(raw, size), out, out_size);
}

static void machine_text(char *out, size_t out_size)
{
	char vendor[96], model[96], serial[96];
	dmi(vendor, sizeof(vendor), "sys_vendor");
	dmi(model, sizeof(model), "product_name");
	dmi(serial, sizeof(serial), "product_serial");
	if (!model[0])
		device_tree(model, sizeof(model), "model");
	if (!serial[0])
		device_tree(serial, sizeof(serial), "serial-number");
	snprintf(out, out_size, "%s%s%s%s%s", vendor, vendor[0] && model[0] ? " " : "", model,
		 serial[0] ? ", serial " : "", serial);
	if (!out[0])
		snprintf(out, out_size, "unknown (neither DMI nor a device tree)");
	text_cut_utf8(out);
}

static uint64_t memory_kib(void)
{
	char text[256];
	if (!sysfs_read(text, sizeof(text), "/proc/meminfo"))
		return 0;
	return strncmp(text, "MemTotal:", 9) == 0 ? strtoull(text + 9, NULL, 10) : 0;
}

void facts_machine(struct facts *facts)
{
	char path[300], memory[32];
	machine_text(facts->machine, sizeof(facts->machine));
	snprintf(path, sizeof(path), "%s/sys/firmware/efi", sysfs_root());
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	snprintf(facts->system, sizeof(facts->system), "%s of memory, %ld CPU%s, %s",
		 text_bytes(memory_kib() * 1024, memory, sizeof(memory)), processors,
		 processors == 1 ? "" : "s", access(path, F_OK) == 0 ? "UEFI" : "BIOS");
	snprintf(path, sizeof(path), "%s/proc/device-tree", sysfs_root());
	if (access(path, F_OK) == 0)
		snprintf(facts->system, sizeof(facts->system), "%s of memory, %ld CPU%s", memory,
			 processors, processors == 1 ? "" : "s");
}

static struct facts_interface *find(struct facts *facts, const char *name)
{
	for (size_t i = 0; i < facts->interface_count; i++)
		if (strcmp(facts->interfaces[i].name, name) == 0)
			return &facts->interfaces[i];
	return NULL;
}

static struct facts_interface *add(struct facts *facts, const char *name)
{
	char speed[24];
	uint64_t mbit, carrier = 0;
	if (facts->interface_count == FACTS_INTERFACES_MOST || strlen(name) >= 32)
		return NULL;
	struct facts_interface *interface = &facts->interfaces[facts->interface_count++];
	*interface = (struct facts_interface){.link = false};
	snprintf(interface->name, sizeof(interface->name), "%s", name);
	sysfs_read(interface->mac, sizeof(interface->mac), "/sys/class/net/%s/address", name);
	interface->link =
		sysfs_read_uint(&carrier, "/sys/class/net/%s/carrier", name) && carrier == 1;
	/* -1 where it is not known. */
	if (interface->link && sysfs_read(speed, sizeof(speed), "/sys/class/net/%s/speed", name) &&
	    text_parse_uint(speed, 10, 10000000, &mbit) && mbit > 0)
		snprintf(interface->speed, sizeof(interface->speed),
			 mbit % 1000 ? "%" PRIu64 " Mbit/s" : "%" PRIu64 " Gbit/s",
			 mbit % 1000 ? mbit : mbit / 1000);
	char path[96];
	snprintf(path, sizeof(path), "/run/tink-worker/net/%s/state", name);
	FILE *file = fopen(path, "re");
	if (file && fgets(interface->state, sizeof(interface->state), file))
		interface->state[strcspn(interface->state, "\n")] = '\0';
	if (file)
		fclose(file);
	return interface;
}

static void add_wired(struct facts *facts)
{
	char path[600];
	snprintf(path, sizeof(path), "%s/sys/class/net", sysfs_root());
	DIR *dir = opendir(path);
	for (struct dirent *entry; dir && (entry = readdir(dir)) != NULL;) {
		snprintf(path, sizeof(path), "%s/sys/class/net/%s/device", sysfs_root(),
			 entry->d_name);
		if (entry->d_name[0] != '.' && access(path, F_OK) == 0)
			add(facts, entry->d_name);
	}
	if (dir)
		closedir(dir);
}

static unsigned prefix_of(const uint8_t *mask, size_t size)
{
	unsigned bits = 0;
	for (size_t i = 0; i < size; i++)
		bits += (unsigned)__builtin_popcount(mask[i]);
	return bits;
}

static void add_address(struct facts *facts, const struct ifaddrs *at)
{
	char text[INET6_ADDRSTRLEN];
	int family = at->ifa_addr->sa_family;
	const void *address = &((const struct sockaddr_in *)(const void *)at->ifa_addr)->sin_addr;
	const void *mask = at->ifa_netmask;
	size_t mask_size = 4;
	if (mask)
		mask = &((const struct sockaddr_in *)mask)->sin_addr;
	if (family == AF_INET6) {
		const struct sockaddr_in6 *six = (const void *)at->ifa_addr;
		/* Every interface has a link-local one: it says nothing. */
		if (IN6_IS_ADDR_LINKLOCAL(&six->sin6_addr))
			return;
		address = &six->sin6_addr;
		mask = at->ifa_netmask
			       ? &((const struct sockaddr_in6 *)(const void *)at->ifa_netmask)
					  ->sin6_addr
			       : NULL;
		mask_size = 16;
	}
	struct facts_interface *interface = find(facts, at->ifa_name);
	if (!interface)
		interface = add(facts, at->ifa_name);
	if (!interface || !inet_ntop(family, address, text, sizeof(text)))
		return;
	size_t used = strlen(interface->addresses);
	if (used + sizeof(text) + 8 > sizeof(interface->addresses))
		return;
	snprintf(interface->addresses + used, sizeof(interface->addresses) - used, "%s%s/%u",
		 used ? " " : "", text, mask ? prefix_of(mask, mask_size) : 0);
}

static int by_use(const void *a, const void *b)
{
	const struct facts_interface *one = a, *other = b;
	if (!one->addresses[0] != !other->addresses[0])
		return one->addresses[0] ? -1 : 1;
	if (one->link != other->link)
		return one->link ? -1 : 1;
	return strcmp(one->name, other->name);
}

void facts_network(struct facts *facts)
{
	struct ifaddrs *all = NULL;
	facts->interface_count = 0;
	add_wired(facts);
	if (getifaddrs(&all) == 0) {
		for (const struct ifaddrs *at = all; at; at = at->ifa_next)
			if (at->ifa_addr && strcmp(at->ifa_name, "lo") != 0 &&
			    (at->ifa_addr->sa_family == AF_INET ||
			     at->ifa_addr->sa_family == AF_INET6))
				add_address(facts, at);
		freeifaddrs(all);
	}
	qsort(facts->interfaces, facts->interface_count, sizeof(facts->interfaces[0]), by_use);
}
