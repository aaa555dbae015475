/* sysfs of block devices: see disk_facts.h. */
#include "platform/disk_facts.h"

#include <ctype.h>
#include <dirent.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "platform/cleanup.h"
#include "platform/sysfs.h"
#include "platform/text.h"

enum {
	VPD_SIZE = 1024,
	SCSI_DISK = 0,
	SCSI_RBC = 14 /* reduced block commands: some USB sticks */
};

/* By the kernel's name. sd: ATA or SCSI, told apart later. */
static const struct kind {
	const char *prefix;
	const char *type;
	bool ordinary;
} kinds[] = {
	{"nvme", "nvme", true},      {"sd", "scsi", true},    {"vd", "virtio", true},
	{"mmcblk", "mmc", true},     {"xvd", "xen", true},    {"dasd", "dasd", true},
	{"pmem", "pmem", true},      {"loop", "loop", false}, {"md", "md", false},
	{"dm-", "dm", false},        {"nbd", "nbd", false},   {"zram", "zram", false},
	{"ram", "ram", false},       {"sr", "cdrom", false},  {"fd", "floppy", false},
	{"bcache", "bcache", false}, {"rbd", "rbd", false},   {"drbd", "drbd", false},
};

/* Printable, blanks collapsed to one, none around. */
static void tidy(char *text, size_t size)
{
	char clean[512];
	text_sanitize(text, strlen(text), clean, sizeof(clean));
	size_t used = 0;
	for (const char *at = clean; *at && used + 1 < size; at++) {
		bool blank = isspace((unsigned char)*at);
		if (blank && (used == 0 || text[used - 1] == ' '))
			continue;
		text[used++] = blank ? ' ' : *at;
	}
	while (used > 0 && text[used - 1] == ' ')
		used--;
	text[used] = '\0';
	text_cut_utf8(text);
}

/* A small file of the disk, tidy; "" when it is not there. */
static void read_tidy(char *out, size_t size, const char *disk, const char *file)
{
	if (!sysfs_read(out, size, "/sys/class/block/%s/%s", disk, file))
		out[0] = '\0';
	tidy(out, size);
}

static bool read_flag(const char *disk, const char *file)
{
	uint64_t value;
	return sysfs_read_uint(&value, "/sys/class/block/%s/%s", disk, file) && value != 0;
}

/* A page of vital product data (SPC-4, 7.8): its code in byte 1, its length in bytes 2 and 3.
 * Returns the size of what follows these, 0 when there is none. */
static size_t read_vpd(const char *disk, unsigned page, uint8_t out[VPD_SIZE])
{
	uint8_t raw[VPD_SIZE];
	size_t got = sysfs_read_bytes(raw, sizeof(raw), "/sys/class/block/%s/device/vpd_pg%02x",
				      disk, page);
	if (got < 4 || raw[1] != page)
		return 0;
	size_t size = (size_t)raw[2] << 8 | raw[3];
	if (size > got - 4)
		size = got - 4;
	memcpy(out, raw + 4, size);
	return size;
}

static void take_text(char *out, size_t out_size, const uint8_t *data, size_t size)
{
	if (size > out_size - 1)
		size = out_size - 1;
	memcpy(out, data, size);
	out[size] = '\0';
	tidy(out, out_size);
}

/* ATA strings have the bytes of each word swapped. */
static void take_ata_text(char *out, size_t out_size, const uint8_t *data, size_t size)
{
	uint8_t text[64];
	for (size_t i = 0; i + 1 < size && i + 1 < sizeof(text); i += 2) {
		text[i] = data[i + 1];
		text[i + 1] = data[i];
	}
	take_text(out, out_size, text, size < sizeof(text) ? size : sizeof(text));
}

static void add_wwn(struct disk_facts *facts, const char *text)
{
	static const char *const prefixes[] = {"0x", "naa.", "eui.", "uuid."};
	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
		if (strncmp(text, prefixes[i], strlen(prefixes[i])) == 0)
			text += strlen(prefixes[i]);
	/* Zeros alone mean that there is none. */
	if (text[strspn(text, "0-")] == '\0')
		return;
	for (unsigned i = 0; i < DISK_WWNS_MOST; i++) {
		if (strcmp(facts->wwns[i], text) == 0)
			return;
		if (facts->wwns[i][0])
			continue;
		snprintf(facts->wwns[i], sizeof(facts->wwns[i]), "%s", text);
		return;
	}
}

/* The nearest USB device above has the serial number of the stick or the case. */
static void read_usb_serial(struct disk_facts *facts)
{
	char path[sizeof(facts->device_path)], serial[128];
	snprintf(path, sizeof(path), "%s", facts->device_path);
	for (char *slash; (slash = strrchr(path, '/')) != NULL; *slash = '\0') {
		if (!strstr(path, "/usb"))
			return;
		if (sysfs_read(serial, sizeof(serial), "/sys/devices/%s/serial", path)) {
			snprintf(facts->serial, sizeof(facts->serial), "%s", serial);
			tidy(facts->serial, sizeof(facts->serial));
			return;
		}
	}
}

static const char *scsi_transport(const char *path)
{
	static const char *const marks[][2] = {
		{"/usb", "usb"},         {"/session", "iscsi"}, {"/rport-", "fc"},
		{"/end_device-", "sas"}, {"/ata", "sata"},      {"/virtio", "virtio"},
	};
	for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
		if (strstr(path, marks[i][0]))
			return marks[i][1];
	return "scsi";
}

static void read_scsi(struct disk_facts *facts)
{
	uint8_t data[VPD_SIZE];
	char text[128];
	const char *disk = facts->disk;
	snprintf(facts->transport, sizeof(facts->transport), "%s",
		 scsi_transport(facts->device_path));
	size_t size = read_vpd(disk, 0x80, data);
	take_text(facts->serial, sizeof(facts->serial), data, size);
	/* The whole IDENTIFY answer (SAT-3, 12.4.2): the SCSI model is cut to 16 letters. */
	size = read_vpd(disk, 0x89, data);
	if (size >= 568 && strcmp(facts->vendor, "ATA") == 0) {
		take_ata_text(facts->model, sizeof(facts->model), data + 56 + 54, 40);
		take_ata_text(facts->serial, sizeof(facts->serial), data + 56 + 20, 20);
	}
	if (strcmp(facts->vendor, "ATA") == 0 || strstr(facts->device_path, "/ata"))
		snprintf(facts->type, sizeof(facts->type), "ata");
	if (!facts->serial[0] && strcmp(facts->transport, "usb") == 0)
		read_usb_serial(facts);
	read_tidy(text, sizeof(text), disk, "device/wwid");
	if (strncmp(text, "t10.", 4) != 0)
		add_wwn(facts, text);
	for (const char *at = facts->device_path; (at = strchr(at, '/')) != NULL;) {
		unsigned h, c, t;
		unsigned long long l;
		if (sscanf(++at, "%u:%u:%u:%llu/", &h, &c, &t, &l) == 4)
			snprintf(facts->hctl, sizeof(facts->hctl), "%u:%u:%u:%llu", h, c, t, l);
	}
	uint64_t type = SCSI_DISK;
	if (sysfs_read_uint(&type, "/sys/class/block/%s/device/type", disk) && type != SCSI_DISK &&
	    type != SCSI_RBC)
		facts->ordinary = false;
}

static void read_nvme(struct disk_facts *facts)
{
	static const char *const files[] = {"wwid", "eui", "nguid", "uuid"};
	char text[128];
	snprintf(facts->transport, sizeof(facts->transport), "pcie");
	read_tidy(text, sizeof(text), facts->disk, "device/transport");
	if (text[0])
		snprintf(facts->transport, sizeof(facts->transport), "%.15s", text);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		read_tidy(text, sizeof(text), facts->disk, files[i]);
		/* Some are shown in groups: "6c 8a …". */
		char *out = text;
		for (const char *in = text; *in; in++)
			if (*in != ' ')
				*out++ = *in;
		*out = '\0';
		add_wwn(facts, text);
	}
}

static void read_mmc(struct disk_facts *facts)
{
	snprintf(facts->transport, sizeof(facts->transport), "mmc");
	read_tidy(facts->model, sizeof(facts->model), facts->disk, "device/name");
	/* Hardware partitions of the card with names like mmcblk0boot0. */
	if (strstr(facts->disk, "boot") || strstr(facts->disk, "rpmb") || strstr(facts->disk, "gp"))
		facts->ordinary = false;
}

static void read_identity(struct disk_facts *facts)
{
	const char *disk = facts->disk;
	read_tidy(facts->vendor, sizeof(facts->vendor), disk, "device/vendor");
	/* Of virtio the vendor is a number that tells nobody anything. */
	if (strncmp(facts->vendor, "0x", 2) == 0)
		facts->vendor[0] = '\0';
	read_tidy(facts->model, sizeof(facts->model), disk, "device/model");
	read_tidy(facts->serial, sizeof(facts->serial), disk, "device/serial");
	if (!facts->serial[0])
		read_tidy(facts->serial, sizeof(facts->serial), disk, "serial");
	if (strcmp(facts->type, "scsi") == 0)
		read_scsi(facts);
	else if (strcmp(facts->type, "nvme") == 0)
		read_nvme(facts);
	else if (strcmp(facts->type, "mmc") == 0)
		read_mmc(facts);
	else if (strcmp(facts->type, "virtio") == 0)
		snprintf(facts->transport, sizeof(facts->transport), "virtio");
}

/* Where in /sys/devices the device is, and by it the disk that a partition belongs to. */
static bool read_place(struct disk_facts *facts)
{
	char path[1024], target[PATH_MAX];
	snprintf(path, sizeof(path), "%s/sys/class/block/%s", sysfs_root(), facts->name);
	ssize_t size = readlink(path, target, sizeof(target) - 1);
	if (size < 0)
		return false;
	target[size] = '\0';
	const char *devices = strstr(target, "devices/");
	if (!devices || strlen(devices + 8) >= sizeof(facts->device_path))
		return false;
	snprintf(facts->device_path, sizeof(facts->device_path), "%s", devices + 8);
	snprintf(facts->disk, sizeof(facts->disk), "%s", facts->name);
	uint64_t number;
	if (!sysfs_read_uint(&number, "/sys/class/block/%s/partition", facts->name))
		return true;
	facts->partition = (unsigned)number;
	char *last = strrchr(target, '/');
	if (!last)
		return false;
	*last = '\0';
	const char *parent = strrchr(target, '/');
	snprintf(facts->disk, sizeof(facts->disk), "%s", parent ? parent + 1 : target);
	return true;
}

static void read_kind(struct disk_facts *facts)
{
	snprintf(facts->type, sizeof(facts->type), "other");
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strncmp(facts->disk, kinds[i].prefix, strlen(kinds[i].prefix)) != 0)
			continue;
		snprintf(facts->type, sizeof(facts->type), "%s", kinds[i].type);
		facts->ordinary = kinds[i].ordinary;
		return;
	}
}

bool disk_facts_read(const char *name, struct disk_facts *ret_facts)
{
	struct disk_facts facts = {.sector_bytes = 512};
	uint64_t number;
	if (strlen(name) >= sizeof(facts.name) || strchr(name, '/'))
		return false;
	snprintf(facts.name, sizeof(facts.name), "%s", name);
	if (!read_place(&facts))
		return false;
	read_kind(&facts);
	/* Units of 512 bytes whatever the sectors are. */
	if (sysfs_read_uint(&number, "/sys/class/block/%s/size", name) &&
	    number <= UINT64_MAX / 512)
		facts.size_bytes = number * 512;
	if (sysfs_read_uint(&number, "/sys/class/block/%s/queue/logical_block_size", facts.disk))
		facts.sector_bytes = (unsigned)number;
	facts.rotational = read_flag(facts.disk, "queue/rotational");
	facts.removable = read_flag(facts.disk, "removable");
	facts.read_only = read_flag(name, "ro");
	read_identity(&facts);
	if (facts.size_bytes == 0)
		facts.ordinary = false;
	*ret_facts = facts;
	return true;
}

/* sda before sdb before sdaa, nvme2n1 before nvme10n1. */
static int compare_names(const void *a, const void *b)
{
	const char *left = a, *right = b;
	size_t left_letters = strspn(left, "abcdefghijklmnopqrstuvwxyz"),
	       right_letters = strspn(right, "abcdefghijklmnopqrstuvwxyz");
	if (strncmp(left, right, 2) == 0 && left_letters != right_letters && left_letters > 1 &&
	    right_letters > 1)
		return left_letters < right_letters ? -1 : 1;
	return strverscmp(left, right);
}

struct names {
	char (*list)[64];
	size_t count;
};

static void add_name(struct names *names, const char *name)
{
	if (strlen(name) >= sizeof(names->list[0]))
		return;
	names->list = reallocarray(names->list, names->count + 1, sizeof(names->list[0]));
	if (!names->list)
		abort();
	snprintf(names->list[names->count++], sizeof(names->list[0]), "%s", name);
}

/* Names in a folder of sysfs that begin so. */
static void list_names(struct names *names, const char *folder, const char *prefix)
{
	char path[1024];
	snprintf(path, sizeof(path), "%s%s", sysfs_root(), folder);
	DIR *dir = opendir(path);
	for (struct dirent *entry; dir && (entry = readdir(dir)) != NULL;)
		if (entry->d_name[0] != '.' && strncmp(entry->d_name, prefix, strlen(prefix)) == 0)
			add_name(names, entry->d_name);
	if (dir)
		closedir(dir);
	if (names->count > 0)
		qsort(names->list, names->count, sizeof(names->list[0]), compare_names);
}

void disk_facts_each(void (*visit)(void *context, const struct disk_facts *facts), void *context)
{
	struct names names = {.count = 0};
	list_names(&names, "/sys/block", "");
	for (size_t i = 0; i < names.count; i++) {
		struct disk_facts facts;
		/* The paths of a multipath NVMe disk have no node. */
		if (!read_flag(names.list[i], "hidden") && disk_facts_read(names.list[i], &facts))
			visit(context, &facts);
	}
	free(names.list);
}

void disk_facts_each_partition(const char *disk,
			       void (*visit)(void *context, const struct disk_facts *facts),
			       void *context)
{
	struct names names = {.count = 0};
	char folder[128];
	snprintf(folder, sizeof(folder), "/sys/class/block/%s", disk);
	list_names(&names, folder, disk);
	for (size_t i = 0; i < names.count; i++) {
		struct disk_facts facts;
		if (disk_facts_read(names.list[i], &facts) && facts.partition > 0)
			visit(context, &facts);
	}
	free(names.list);
}

/* udev's way with texts in names: blanks become one '_', what is not plain is replaced by one. */
static void add_id(char ids[DISK_IDS_MOST][DISK_ID_SIZE], unsigned *count, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void add_id(char ids[DISK_IDS_MOST][DISK_ID_SIZE], unsigned *count, const char *format, ...)
{
	if (*count == DISK_IDS_MOST)
		return;
	va_list args;
	va_start(args, format);
	vsnprintf(ids[*count], DISK_ID_SIZE, format, args);
	va_end(args);
	for (char *at = ids[*count]; *at; at++)
		if (!isalnum((unsigned char)*at) && !strchr("#+-.:=@_", *at) &&
		    (unsigned char)*at < 0x80)
			*at = '_';
	++*count;
}

static void add_scsi_ids(const struct disk_facts *facts, char ids[DISK_IDS_MOST][DISK_ID_SIZE],
			 unsigned *count)
{
	if (strcmp(facts->type, "ata") == 0 && facts->serial[0])
		add_id(ids, count, "ata-%s_%s", facts->model, facts->serial);
	if (strcmp(facts->transport, "usb") == 0 && facts->serial[0])
		add_id(ids, count, "usb-%s%s%s_%s-0:0", facts->vendor, facts->vendor[0] ? "_" : "",
		       facts->model, facts->serial);
	else if (strcmp(facts->type, "scsi") == 0 && facts->serial[0])
		add_id(ids, count, "scsi-0%s_%s_%s", facts->vendor, facts->model, facts->serial);
	if (!facts->wwns[0][0])
		return;
	add_id(ids, count, "wwn-0x%s", facts->wwns[0]);
	if (strcmp(facts->type, "scsi") == 0)
		add_id(ids, count, "scsi-3%s", facts->wwns[0]);
}

unsigned disk_facts_ids(const struct disk_facts *facts, char ids[DISK_IDS_MOST][DISK_ID_SIZE])
{
	unsigned count = 0;
	char text[128];
	if (strcmp(facts->type, "ata") == 0 || strcmp(facts->type, "scsi") == 0) {
		add_scsi_ids(facts, ids, &count);
	} else if (strcmp(facts->type, "nvme") == 0) {
		read_tidy(text, sizeof(text), facts->disk, "wwid");
		if (text[0])
			add_id(ids, &count, "nvme-%s", text);
		if (facts->serial[0])
			add_id(ids, &count, "nvme-%s_%s", facts->model, facts->serial);
		uint64_t namespace;
		if (facts->serial[0] &&
		    sysfs_read_uint(&namespace, "/sys/class/block/%s/nsid", facts->disk))
			add_id(ids, &count, "nvme-%s_%s_%u", facts->model, facts->serial,
			       (unsigned)namespace);
	} else if (strcmp(facts->type, "virtio") == 0 && facts->serial[0]) {
		add_id(ids, &count, "virtio-%s", facts->serial);
	} else if (strcmp(facts->type, "mmc") == 0 && facts->serial[0]) {
		add_id(ids, &count, "mmc-%s_%s", facts->model, facts->serial);
	} else if (strcmp(facts->type, "dm") == 0) {
		read_tidy(text, sizeof(text), facts->disk, "dm/name");
		if (text[0])
			add_id(ids, &count, "dm-name-%s", text);
		read_tidy(text, sizeof(text), facts->disk, "dm/uuid");
		if (text[0])
			add_id(ids, &count, "dm-uuid-%s", text);
	}
	return count;
}

bool disk_facts_dm_uuid(const char *name, char *out, size_t out_size)
{
	return sysfs_read(out, out_size, "/sys/class/block/%s/dm/uuid", name);
}

char *disk_facts_describe(const struct disk_facts *facts, char *out, size_t out_size)
{
	char size[32];
	bool named = facts->vendor[0] || facts->model[0];
	/* One that the kernel makes up of model and serial number tells nothing more. */
	bool with_wwn = facts->wwns[0][0] && strncmp(facts->wwns[0], "nvme.", 5) != 0;
	snprintf(out, out_size, "%s%s%s%s%s%s%s%s%s%s%s%s%s",
		 text_bytes(facts->size_bytes, size, sizeof(size)), named ? ", " : "",
		 facts->vendor, facts->vendor[0] && facts->model[0] ? " " : "", facts->model,
		 facts->serial[0] ? ", serial " : "", facts->serial, with_wwn ? ", wwn " : "",
		 with_wwn ? facts->wwns[0] : "", facts->transport[0] ? ", " : "", facts->transport,
		 facts->removable ? ", removable" : "", facts->read_only ? ", read-only" : "");
	text_cut_utf8(out);
	return out;
}
