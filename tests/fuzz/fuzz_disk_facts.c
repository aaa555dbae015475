/*
 * What disks say of themselves: the bytes become vendor, model, wwid and the pages of vital product
 * data of a disk in a tree of sysfs. Pieces are preceded by their length, one byte, times 8 for the
 * last.
 */
#include "tests/fuzz/fuzz.h"

#include <ctype.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "platform/disk_facts.h"
#include "platform/sysfs.h"
#include "platform/text.h"

static const char *const files[] = {"model", "wwid", "vendor", "vpd_pg80", "vpd_pg89"};
static char root[] = "/tmp/tink-worker-fuzz-XXXXXX";
static char device[256];

static void make_folder(const char *path)
{
	char whole[512];
	snprintf(whole, sizeof(whole), "%s%s", root, path);
	require(mkdir(whole, 0755) == 0);
}

static void remove_root(void)
{
	char command[64];
	snprintf(command, sizeof(command), "rm -rf %s", root);
	require(system(command) == 0);
}

static void make_root(void)
{
	static const char *const folders[] = {
		"/sys",
		"/sys/class",
		"/sys/class/block",
		"/sys/devices",
		"/sys/devices/ata1",
		"/sys/devices/ata1/0:0:0:0",
		"/sys/devices/ata1/0:0:0:0/block",
		"/sys/devices/ata1/0:0:0:0/block/sda",
	};
	char link[256];
	require(mkdtemp(root) != NULL);
	atexit(remove_root);
	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
		make_folder(folders[i]);
	snprintf(device, sizeof(device), "%s/sys/devices/ata1/0:0:0:0/block/sda/device", root);
	require(symlink("../../../0:0:0:0", device) == 0);
	snprintf(link, sizeof(link), "%s/sys/class/block/sda", root);
	require(symlink("../../devices/ata1/0:0:0:0/block/sda", link) == 0);
	sysfs_set_root(root);
}

static void put(const char *name, const uint8_t *data, size_t size)
{
	char path[512];
	snprintf(path, sizeof(path), "%s/%s", device, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	require(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	close(fd);
}

/* What is shown to people and compared: nothing that a terminal would obey. */
static void check_text(const char *text)
{
	require(text_is_utf8(text, strlen(text)));
	for (; *text; text++)
		require(!iscntrl((unsigned char)*text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!device[0])
		make_root();
	const size_t count = sizeof(files) / sizeof(files[0]);
	for (size_t i = 0; i < count; i++) {
		size_t part = size > 0 ? data[0] * (i + 1 == count ? 8u : 1u) : 0;
		data += size > 0;
		size -= size > 0;
		if (part > size)
			part = size;
		put(files[i], data, part);
		data += part;
		size -= part;
	}
	struct disk_facts facts;
	char ids[DISK_IDS_MOST][DISK_ID_SIZE], text[300];
	require(disk_facts_read("sda", &facts));
	check_text(facts.vendor);
	check_text(facts.model);
	check_text(facts.serial);
	for (unsigned i = 0; i < DISK_WWNS_MOST; i++)
		check_text(facts.wwns[i]);
	unsigned found = disk_facts_ids(&facts, ids);
	require(found <= DISK_IDS_MOST);
	for (unsigned i = 0; i < found; i++)
		require(strlen(ids[i]) < DISK_ID_SIZE && !strchr(ids[i], '/'));
	check_text(disk_facts_describe(&facts, text, sizeof(text)));
	return 0;
}
