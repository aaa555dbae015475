/* libblkid: see partition.h. */
#include "platform/partition.h"

#include <blkid/blkid.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "platform/cleanup.h"

static void probe_free(blkid_probe *probe)
{
	if (*probe)
		blkid_free_probe(*probe);
}
#define auto_probe __attribute__((cleanup(probe_free)))

int partition_table_read(int fd, struct partition_table *ret_table, struct error *err)
{
	*ret_table = (struct partition_table){.count = 0};
	auto_probe blkid_probe probe = blkid_new_probe();
	if (!probe || blkid_probe_set_device(probe, fd, 0, 0) < 0)
		return error_sys(err, "probe the partition table");
	blkid_probe_enable_superblocks(probe, 0);
	blkid_probe_enable_partitions(probe, 1);
	blkid_probe_set_partitions_flags(probe, BLKID_PARTS_ENTRY_DETAILS);
	int result = blkid_do_safeprobe(probe);
	if (result == 1)
		return 0;
	if (result < 0)
		return error_set(err, ERROR_CORRUPT, "the partition table cannot be read (%s)",
				 result == -2 ? "more than one kind of table" : "libblkid failed");
	blkid_partlist list = blkid_probe_get_partitions(probe);
	blkid_parttable table = list ? blkid_partlist_get_table(list) : NULL;
	if (!table)
		return 0;
	snprintf(ret_table->type, sizeof(ret_table->type), "%s", blkid_parttable_get_type(table));
	int count = blkid_partlist_numof_partitions(list);
	for (int i = 0; i < count && ret_table->count < PARTITIONS_MOST; i++) {
		blkid_partition partition = blkid_partlist_get_partition(list, i);
		/* libblkid counts in 512-byte units whatever the sector size is. */
		struct partition entry = {
			.number = (unsigned)blkid_partition_get_partno(partition),
			.start_bytes = (uint64_t)blkid_partition_get_start(partition) * 512,
			.size_bytes = (uint64_t)blkid_partition_get_size(partition) * 512};
		/* An extended partition is shown with two sectors by the kernel: enough for a boot
		 * loader. */
		if (blkid_partition_is_extended(partition))
			entry.size_bytes = 1024;
		ret_table->partitions[ret_table->count++] = entry;
	}
	return 0;
}

int filesystem_detect(const char *device, char *ret_type, size_t type_size, struct error *err)
{
	auto_close int fd = open(device, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return error_sys(err, "open %s", device);
	auto_probe blkid_probe probe = blkid_new_probe();
	if (!probe || blkid_probe_set_device(probe, fd, 0, 0) < 0)
		return error_sys(err, "probe %s", device);
	blkid_probe_enable_superblocks(probe, 1);
	blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_USAGE);
	blkid_probe_filter_superblocks_usage(probe, BLKID_FLTR_ONLYIN, BLKID_USAGE_FILESYSTEM);
	int result = blkid_do_safeprobe(probe);
	const char *type = NULL;
	if (result == 0 && blkid_probe_lookup_value(probe, "TYPE", &type, NULL) == 0) {
		snprintf(ret_type, type_size, "%s", type);
		return 0;
	}
	if (result == -2)
		return error_set(
			err, ERROR_NOT_FOUND,
			"%s has signatures of more than one file system: name it with FS_TYPE",
			device);
	if (result < 0)
		return error_set(err, ERROR_IO, "%s cannot be probed", device);
	return error_set(err, ERROR_NOT_FOUND, "%s has no file system that is known", device);
}

static void take_value(blkid_probe probe, const char *key, char *out, size_t out_size)
{
	const char *value;
	if (blkid_probe_lookup_value(probe, key, &value, NULL) == 0)
		snprintf(out, out_size, "%s", value);
}

static void read_table_names(const char *disk, unsigned number, struct partition_names *names)
{
	char path[96];
	snprintf(path, sizeof(path), "/dev/%s", disk);
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	auto_probe blkid_probe probe = fd < 0 ? NULL : blkid_new_probe();
	if (!probe || blkid_probe_set_device(probe, fd, 0, 0) < 0)
		return;
	blkid_probe_enable_superblocks(probe, 0);
	blkid_probe_enable_partitions(probe, 1);
	if (blkid_do_safeprobe(probe) != 0)
		return;
	blkid_partlist list = blkid_probe_get_partitions(probe);
	blkid_partition partition =
		list ? blkid_partlist_get_partition_by_partno(list, (int)number) : NULL;
	const char *label = partition ? blkid_partition_get_name(partition) : NULL;
	const char *uuid = partition ? blkid_partition_get_uuid(partition) : NULL;
	snprintf(names->partition_label, sizeof(names->partition_label), "%s", label ? label : "");
	snprintf(names->partition_uuid, sizeof(names->partition_uuid), "%s", uuid ? uuid : "");
}

void partition_names_read(const char *name, const char *disk, unsigned number,
			  struct partition_names *ret_names)
{
	char path[96];
	*ret_names = (struct partition_names){.label = ""};
	if (number > 0)
		read_table_names(disk, number, ret_names);
	snprintf(path, sizeof(path), "/dev/%s", name);
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	auto_probe blkid_probe probe = fd < 0 ? NULL : blkid_new_probe();
	if (!probe || blkid_probe_set_device(probe, fd, 0, 0) < 0)
		return;
	blkid_probe_enable_superblocks(probe, 1);
	blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_LABEL | BLKID_SUBLKS_UUID);
	if (blkid_do_safeprobe(probe) != 0)
		return;
	take_value(probe, "LABEL", ret_names->label, sizeof(ret_names->label));
	take_value(probe, "UUID", ret_names->uuid, sizeof(ret_names->uuid));
}
