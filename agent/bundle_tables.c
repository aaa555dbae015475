/* From sysfs and the kernel's list of addresses: see bundle_tables.h. */
#include "agent/bundle_tables.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <ifaddrs.h>
#include <inttypes.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "platform/cleanup.h"
#include "platform/disk_facts.h"
#include "platform/sysfs.h"
#include "platform/text.h"

/* "md0 dm-3": arrays and mappings that use it. */
static void print_holders(const struct disk_facts *facts, FILE *out)
{
	auto_free char *path =
		facts->partition
			? text_format("%s/sys/block/%s/%s/holders", sysfs_root(), facts->disk,
				      facts->name)
			: text_format("%s/sys/block/%s/holders", sysfs_root(), facts->name);
	DIR *dir = opendir(path);
	for (struct dirent *entry; dir && (entry = readdir(dir)) != NULL;)
		if (entry->d_name[0] != '.')
			fprintf(out, " held by %s", entry->d_name);
	if (dir)
		closedir(dir);
}

static void print_mounts(const char *name, FILE *out)
{
	auto_free char *path = text_format("%s/proc/self/mounts", sysfs_root());
	auto_free char *device = text_format("/dev/%s ", name);
	auto_fclose FILE *file = fopen(path, "re");
	auto_free char *line = NULL;
	size_t size = 0;
	while (file && getline(&line, &size, file) > 0) {
		if (strncmp(line, device, strlen(device)) != 0)
			continue;
		const char *point = line + strlen(device);
		fprintf(out, " mounted on %.*s", (int)strcspn(point, " \n"), point);
	}
}

static void print_device(void *context, const struct disk_facts *facts)
{
	FILE *out = context;
	char size[32];
	/* Loop devices that nobody uses. */
	if (facts->size_bytes == 0 && strcmp(facts->type, "loop") == 0)
		return;
	fprintf(out, "%s%-14s %10s", facts->partition ? "  " : "", facts->name,
		text_bytes(facts->size_bytes, size, sizeof(size)));
	if (!facts->partition)
		fprintf(out, " %" PRIu64 " B, sectors of %u, %s%s%s, %s%s%s, %s %s, serial %s",
			facts->size_bytes, facts->sector_bytes, facts->type,
			facts->transport[0] ? " by " : "", facts->transport,
			facts->rotational ? "rotating" : "solid",
			facts->removable ? ", removable" : "",
			facts->read_only ? ", read-only" : "", facts->vendor, facts->model,
			facts->serial[0] ? facts->serial : "-");
	print_holders(facts, out);
	print_mounts(facts->name, out);
	fputc('\n', out);
	if (!facts->partition)
		disk_facts_each_partition(facts->name, print_device, out);
}

void bundle_print_disks(const struct config *config, FILE *out)
{
	(void)config;
	disk_facts_each(print_device, out);
}

static unsigned prefix_of(const uint8_t *mask, size_t size)
{
	unsigned bits = 0;
	for (size_t i = 0; i < size * 8; i++)
		bits += mask[i / 8] >> (7 - i % 8) & 1u;
	return bits;
}

static void print_address(const struct ifaddrs *at, FILE *out)
{
	char text[INET6_ADDRSTRLEN] = "";
	unsigned prefix = 0;
	if (at->ifa_addr->sa_family == AF_INET) {
		struct sockaddr_in address, mask = {.sin_family = AF_INET};
		memcpy(&address, at->ifa_addr, sizeof(address));
		if (at->ifa_netmask)
			memcpy(&mask, at->ifa_netmask, sizeof(mask));
		inet_ntop(AF_INET, &address.sin_addr, text, sizeof(text));
		prefix = prefix_of((const uint8_t *)&mask.sin_addr, sizeof(mask.sin_addr));
	} else {
		struct sockaddr_in6 address, mask = {.sin6_family = AF_INET6};
		memcpy(&address, at->ifa_addr, sizeof(address));
		if (at->ifa_netmask)
			memcpy(&mask, at->ifa_netmask, sizeof(mask));
		inet_ntop(AF_INET6, &address.sin6_addr, text, sizeof(text));
		prefix = prefix_of((const uint8_t *)&mask.sin6_addr, sizeof(mask.sin6_addr));
	}
	fprintf(out, "  %s/%u\n", text, prefix);
}

static void print_interface(const char *name, FILE *out)
{
	char mac[64] = "-", state[32] = "?", speed[32] = "-", mtu[16] = "?", target[PATH_MAX];
	sysfs_read(mac, sizeof(mac), "/sys/class/net/%s/address", name);
	sysfs_read(state, sizeof(state), "/sys/class/net/%s/operstate", name);
	sysfs_read(speed, sizeof(speed), "/sys/class/net/%s/speed", name);
	sysfs_read(mtu, sizeof(mtu), "/sys/class/net/%s/mtu", name);
	auto_free char *path = text_format("%s/sys/class/net/%s/device/driver", sysfs_root(), name);
	ssize_t size = readlink(path, target, sizeof(target) - 1);
	target[size > 0 ? size : 0] = '\0';
	const char *driver = strrchr(target, '/');
	fprintf(out, "%s: %s, %s, mtu %s, speed %s, driver %s\n", name, mac, state, mtu, speed,
		driver ? driver + 1 : "-");
}

void bundle_print_network(const struct config *config, FILE *out)
{
	struct ifaddrs *all = NULL;
	struct if_nameindex *names = if_nameindex();
	(void)config;
	if (getifaddrs(&all) < 0)
		all = NULL;
	for (const struct if_nameindex *name = names; name && name->if_index; name++) {
		print_interface(name->if_name, out);
		for (const struct ifaddrs *at = all; at; at = at->ifa_next)
			if (at->ifa_addr && strcmp(at->ifa_name, name->if_name) == 0 &&
			    (at->ifa_addr->sa_family == AF_INET ||
			     at->ifa_addr->sa_family == AF_INET6))
				print_address(at, out);
	}
	if (names)
		if_freenameindex(names);
	if (all)
		freeifaddrs(all);
}
