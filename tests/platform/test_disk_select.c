/* Choosing a disk on captured machines (tests/fixtures/sysfs), and what is known of their disks. */
#include "tests/sysfs_tree.h"

#include <dirent.h>

#include "platform/disk.h"
#include "platform/disk_facts.h"
#include "platform/disk_select.h"
#include "platform/disk_users.h"

static char *root;

static int set_up(void **state)
{
	(void)state;
	root = directory_make();
	sysfs_set_root(root);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	sysfs_set_root("");
	directory_remove(root);
	return 0;
}

static void selects(const char *text, const char *expected)
{
	struct error err;
	char path[256];
	assert_ok(disk_select(text, path, sizeof(path), &err));
	if (strcmp(path, expected) != 0)
		fail_msg("\"%s\" means %s, expected %s", text, path, expected);
}

static void refuses(const char *text, enum error_kind kind, const char *words)
{
	struct error err;
	char path[256];
	err = (struct error){.kind = ERROR_NONE};
	if (disk_select(text, path, sizeof(path), &err) == 0)
		fail_msg("\"%s\" means %s", text, path);
	assert_error(kind, words);
}

static void selects_among_sata_and_usb(void **state)
{
	(void)state;
	tree_add_fixture(root, "sata-usb.txt");
	selects("serial=S45NNA0M901234", "/dev/sda");
	selects("serial=s45n*", "/dev/sda");
	selects("wwn=0x5000c500a1b2c3d4", "/dev/sdb");
	selects("wwn=naa.5000C500A1B2C3D4", "/dev/sdb");
	selects("size=480G", "/dev/sda");
	selects("size>=1T", "/dev/sdb");
	selects("size>=100G rotational=0", "/dev/sda");
	selects("type=ata,rotational=1", "/dev/sdb");
	selects("transport=usb", "/dev/sdc");
	selects("type=usb", "/dev/sdc");
	selects("removable=1", "/dev/sdc");
	selects("serial=4C530001", "/dev/sdc");
	selects("vendor=ATA size!=480G", "/dev/sdb");
	/* The whole model, of which SCSI shows 16 letters. */
	selects("model=\"SAMSUNG MZ7LH480HAHQ-00005\"", "/dev/sda");
	selects("model=samsung_mz7lh480hahq-00005", "/dev/sda");
	selects("model=*1V4107", "/dev/sdb");
	selects("by-id=ata-SAMSUNG_MZ7LH480HAHQ-00005_S45NNA0M901234", "/dev/sda");
	selects("by-path=pci-0000:00:1f.2-ata-2", "/dev/sdb");
	selects("hctl=0:0:0:0", "/dev/sda");
	selects("name=sda", "/dev/sda");
	selects("name=/dev/sda", "/dev/sda");
	selects("name=SD? name!=sdc name!=sda", "/dev/sdb");
	selects("type=ata rotational=0 partition=1", "/dev/sda1");
	/* Paths are left to whoever opens them. */
	selects("/dev/whatever", "/dev/whatever");
}

static void says_what_there_is(void **state)
{
	(void)state;
	tree_add_fixture(root, "sata-usb.txt");
	struct error err;
	char path[256];
	assert_fails(disk_select("serial=NONE", path, sizeof(path), &err), ERROR_NOT_FOUND,
		     "no disk fits \"serial=NONE\"; this machine has: ");
	assert_contains(err.text, "/dev/sda (447.1 GiB, ATA SAMSUNG MZ7LH480HAHQ-00005, serial "
				  "S45NNA0M901234, wwn 5002538e09a1b2c3, sata), /dev/sdb (3.6 TiB, "
				  "ATA ST4000NM0035-1V4107, serial ZGY0ABCD, wwn 5000c500a1b2c3d4, "
				  "sata), /dev/sdc (29.3 GiB, QEMU QEMU HARDDISK, serial 4C530001, "
				  "usb, removable)");
	assert_lacks(err.text, "sr0");
	assert_lacks(err.text, "loop");
	assert_fails(disk_select("vendor=ATA", path, sizeof(path), &err), ERROR_INPUT,
		     "\"vendor=ATA\" fits 2 devices, it must be exactly one: /dev/sda (");
	assert_contains(err.text, "/dev/sdb (");
	assert_lacks(err.text, "/dev/sdc");
	refuses("serial=S45NNA0M901234 size<100G", ERROR_NOT_FOUND, "this machine has");
	/* Whoever asks for it by its name gets it. */
	selects("name=sr0", "/dev/sr0");
	refuses("transport=usb partition=2", ERROR_NOT_FOUND, "no disk fits");
	refuses("name=*", ERROR_INPUT, "fits 3 devices");
}

static void selects_among_nvme(void **state)
{
	(void)state;
	tree_add_fixture(root, "nvme.txt");
	selects("serial=S64GNE0R500123", "/dev/nvme0n1");
	selects("type=nvme size=3.84T", "/dev/nvme1n1");
	selects("transport=pcie serial!=S64GNE0R500777", "/dev/nvme0n1");
	selects("wwn=nvme.1b36-533634474e453052353030373737-*", "/dev/nvme1n1");
	selects("by-id=nvme-QEMU_NVMe_Ctrl_S64GNE0R500777", "/dev/nvme1n1");
	selects("model=\"QEMU NVMe Ctrl\" name=nvme0n1", "/dev/nvme0n1");
	refuses("type=nvme", ERROR_INPUT, "fits 2 devices");
	/* The modules' squashfs: named explicitly, and read-only all the same. */
	refuses("type=loop", ERROR_NOT_FOUND, "no disk fits");
	struct disk_facts facts;
	assert_true(disk_facts_read("nvme1n1", &facts));
	assert_int_equal(facts.sector_bytes, 4096);
	assert_int_equal(facts.size_bytes, 3840755982336);
	assert_false(facts.rotational);
}

/* Two paths to one disk are one; another disk of the same model is another. */
static void joins_paths(void **state)
{
	(void)state;
	tree_add_fixture(root, "sas.txt");
	selects("serial=WFK0ABCD", "/dev/sda");
	selects("wwn=5000c500b1c2d3e4", "/dev/sda");
	selects("serial=WFK0EFGH", "/dev/sdb");
	selects("transport=sas hctl=7:0:0:0", "/dev/sdc");
	selects("by-id=wwn-0x5000c500b1c2d3e4", "/dev/sda");
	selects("by-id=scsi-35000c500b1c2d500", "/dev/sdb");
	refuses("model=ST1200MM0009", ERROR_INPUT, "fits 3 devices");
	refuses("transport=sas", ERROR_INPUT, "SEAGATE ST1200MM0009");
	/* With the multipath daemon at work. */
	tree_add(root, "/sys/class/block/dm-0 -> ../../devices/virtual/block/dm-0\n"
		       "/sys/devices/virtual/block/dm-0/dm/uuid = mpath-35000c500b1c2d3e4\\n\n"
		       "/sys/devices/virtual/block/dm-0/dm/name = mpatha\\n\n"
		       "/sys/devices/virtual/block/dm-0/size = 2344225968\\n\n"
		       "/sys/class/block/sda/holders/dm-0 -> ../../dm-0\n"
		       "/sys/class/block/sdc/holders/dm-0 -> ../../dm-0\n");
	selects("serial=WFK0ABCD", "/dev/dm-0");
	selects("serial=WFK0EFGH", "/dev/sdb");
	char user[400];
	assert_true(disk_users_find("sda", user, sizeof(user)));
	assert_string_equal(user,
			    "/dev/sda is part of /dev/dm-0 (mpatha, multipath; multipath -f)");
	assert_false(disk_users_find("sdb", user, sizeof(user)));
}

static void selects_among_virtio_and_mmc(void **state)
{
	(void)state;
	tree_add_fixture(root, "virtio-mmc.txt");
	selects("serial=root-disk", "/dev/vda");
	selects("type=virtio size=20G", "/dev/vdb");
	selects("type=mmc", "/dev/mmcblk0");
	selects("model=QEMU!", "/dev/mmcblk0");
	selects("serial=0xdeadbeef", "/dev/mmcblk0");
	selects("vendor=AMAZON", "/dev/sda");
	selects("serial=vol-0a1b type=scsi", "/dev/sda");
	/* Read-only: no target, but by its name. */
	refuses("serial=config", ERROR_DENIED,
		"fits /dev/vdc (64.0 MiB, serial config, virtio, read-only), which is read-only");
	refuses("serial=none", ERROR_NOT_FOUND,
		"/dev/vdc (64.0 MiB, serial config, virtio, read-only)");
	selects("name=vdc", "/dev/vdc");
	selects("by-id=virtio-config", "/dev/vdc");
	refuses("by-id=virtio-conf*", ERROR_DENIED, "which is read-only");
	tree_add(root, "/sys/block/mmcblk0boot0 -> ../devices/x/block/mmcblk0boot0\n"
		       "/sys/class/block/mmcblk0boot0 -> ../../devices/x/block/mmcblk0boot0\n"
		       "/sys/devices/x/block/mmcblk0boot0/size = 8192\\n\n");
	selects("type=mmc size=8G", "/dev/mmcblk0");
	selects("name=mmcblk0boot0", "/dev/mmcblk0boot0");
}

/* What is computed is what udev has linked, on each machine. */
static void computes_the_links_of_udev(void **state)
{
	(void)state;
	static const char *const machines[] = {"nvme.txt", "sata-usb.txt", "sas.txt",
					       "virtio-mmc.txt"};
	unsigned compared = 0;
	for (size_t i = 0; i < COUNT(machines); i++) {
		char *machine = path_in(root, machines[i]), path[1024], target[256];
		mkdir(machine, 0755);
		sysfs_set_root(machine);
		tree_add_fixture(machine, machines[i]);
		snprintf(path, sizeof(path), "%s/dev/disk/by-id", machine);
		DIR *dir = opendir(path);
		assert_non_null(dir);
		for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
			ssize_t size = readlinkat(dirfd(dir), entry->d_name, target, 255);
			target[size > 0 ? size : 0] = '\0';
			if (size <= 0 || strstr(target, "sr0") || strstr(entry->d_name, "-part"))
				continue;
			char ids[DISK_IDS_MOST][DISK_ID_SIZE];
			struct disk_facts facts;
			assert_true(disk_facts_read(strrchr(target, '/') + 1, &facts));
			unsigned count = disk_facts_ids(&facts, ids);
			bool found = false;
			for (unsigned k = 0; k < count; k++)
				found = found || strcmp(ids[k], entry->d_name) == 0;
			if (!found)
				fail_msg("%s: %s is not computed", machines[i], entry->d_name);
			compared++;
		}
		closedir(dir);
		free(machine);
	}
	assert_true(compared >= 18);
}

/* Without udev the names are found all the same. */
static void finds_links_that_are_not_there(void **state)
{
	(void)state;
	struct error err;
	char path[256];
	tree_add_fixture(root, "sata-usb.txt");
	selects("by-id=ata-SAMSUNG_MZ7LH480HAHQ-00005_S45NNA0M901234 partition=1", "/dev/sda1");
	/* The disk is known, its node is not: this machine has no such thing. */
	assert_fails(
		disk_find("/dev/disk/by-id/ata-NO_SUCH_DISK-part1", 0, path, sizeof(path), &err),
		ERROR_NOT_FOUND, "/dev/disk/by-id/ata-NO_SUCH_DISK-part1 does not exist");
	assert_contains(err.text, "/dev/sda (447.1 GiB");
}

static void names_chains_of_users(void **state)
{
	(void)state;
	char user[600];
	tree_add(root, "/sys/class/block/sda -> ../../devices/x/block/sda\n"
		       "/sys/class/block/sda2 -> ../../devices/x/block/sda/sda2\n"
		       "/sys/devices/x/block/sda/dev = 8:0\\n\n"
		       "/sys/devices/x/block/sda/sda2/dev = 8:2\\n\n"
		       "/sys/devices/x/block/sda/sda2/partition = 2\\n\n"
		       "/sys/devices/x/block/sda/sda2/holders/md127 -> ../../../md127\n"
		       "/sys/class/block/md127 -> ../../devices/virtual/block/md127\n"
		       "/sys/devices/virtual/block/md127/dev = 9:127\\n\n"
		       "/sys/devices/virtual/block/md127/md/array_state = inactive\\n\n"
		       "/sys/devices/virtual/block/md127/md/level = raid1\\n\n"
		       "/proc/self/mountinfo = 29 1 254:1 / / rw - ext4 /dev/vda1 rw\\n\n");
	assert_true(disk_users_find("sda", user, sizeof(user)));
	assert_string_equal(user, "/dev/sda2 is part of /dev/md127 (raid1, inactive; mdadm --stop "
				  "/dev/md127)");
	tree_add(root,
		 "/sys/devices/virtual/block/md127/holders/dm-3 -> ../../dm-3\n"
		 "/sys/class/block/dm-3 -> ../../devices/virtual/block/dm-3\n"
		 "/sys/devices/virtual/block/dm-3/dev = 253:3\\n\n"
		 "/sys/devices/virtual/block/dm-3/dm/uuid = LVM-abc\\n\n"
		 "/sys/devices/virtual/block/dm-3/dm/name = vg-root\\n\n"
		 "/proc/77/mountinfo = 29 1 253:3 / /srv rw - ext4 /dev/mapper/vg-root rw\\n\n"
		 "/proc/77/comm = container\\n\n"
		 "/proc/77/ns/mnt = \n");
	assert_true(disk_users_find("sda2", user, sizeof(user)));
	assert_string_equal(
		user, "/dev/sda2 is part of /dev/md127 (raid1, inactive; mdadm --stop /dev/md127), "
		      "which is part of /dev/dm-3 (vg-root, an LVM volume; vgchange -an), which is "
		      "mounted at /srv in the mount namespace of container (process 77)");
	/* btrfs: a number of its own, told by its source. */
	tree_add(root, "/sys/class/block/sdb -> ../../devices/x/block/sdb\n"
		       "/sys/devices/x/block/sdb/dev = 8:16\\n\n"
		       "/proc/self/mountinfo = 29 1 0:31 / /data rw - btrfs /dev/sdb rw\\n\n");
	assert_true(disk_users_find("sdb", user, sizeof(user)));
	assert_string_equal(user, "/dev/sdb is mounted at /data");
	tree_add(root, "/proc/swaps = Filename Type\\n/dev/sdzz7 partition 1 0 -2\\n\n"
		       "/sys/class/block/sdzz7 -> ../../devices/x/block/sdzz/sdzz7\n"
		       "/sys/devices/x/block/sdzz/sdzz7/dev = 8:77\\n\n");
	assert_true(disk_users_find("sdzz7", user, sizeof(user)));
	assert_string_equal(user, "/dev/sdzz7 is used as swap (swapoff /dev/sdzz7)");
}

static void expects_a_disk(void **state)
{
	(void)state;
	struct error err;
	tree_add_fixture(root, "sata-usb.txt");
	struct disk disk = {.path = "/dev/sda", .name = "sda", .size_bytes = 480103981056};
	assert_ok(disk_expect(&disk, NULL, NULL, &err));
	assert_ok(disk_expect(&disk, "", "", &err));
	assert_ok(disk_expect(&disk, "s45nna0m901234", "480G", &err));
	assert_ok(disk_expect(&disk, "S45*", ">=400GB", &err));
	assert_fails(disk_expect(&disk, "S45", NULL, &err), ERROR_INPUT,
		     "EXPECT_SERIAL is S45, its serial number is S45NNA0M901234");
	assert_fails(disk_expect(&disk, NULL, "<=256G", &err), ERROR_INPUT,
		     "EXPECT_SIZE is <=256G, it has 480103981056 bytes (447.1 GiB)");
	assert_fails(disk_expect(&disk, NULL, "large", &err), ERROR_INPUT,
		     "EXPECT_SIZE: \"large\"");
	/* A partition has its disk's serial number, and its own size. */
	struct disk partition = {.path = "/dev/sda1", .name = "sda1", .size_bytes = 1 << 30};
	assert_ok(disk_expect(&partition, "S45NNA0M901234", "1GiB", &err));
	struct disk none = {.path = "/dev/loop0", .name = "loop0", .size_bytes = 1 << 20};
	assert_fails(disk_expect(&none, "*", NULL, &err), ERROR_INPUT, "it has none");
}

static void describes_disks(void **state)
{
	(void)state;
	char out[300], small[16];
	tree_add(root, "/sys/class/block/sda -> ../../devices/x/block/sda\n"
		       "/sys/devices/x/block/sda/size = 20971520\\n\n");
	const struct disk disk = {
		.path = "/dev/sda", .name = "sda", .size_bytes = UINT64_C(10) << 30};
	assert_string_equal(disk_describe(&disk, out, sizeof(out)), "/dev/sda (10.0 GiB, scsi)");
	/* Firmware writes what it likes. */
	tree_add(root, "/sys/class/block/sda/device/model = "
		       "\\xff\\xfe\\xfd\\xfc\\x1b[31m1234567890   abcdefghij\\n\n"
		       "/sys/class/block/sda/device/vpd_pg80 = \\x00\\x80\\xff\\xff12\\x0034\n");
	disk_describe(&disk, out, sizeof(out));
	assert_true(text_is_utf8(out, strlen(out)));
	assert_contains(out, "1234567890 abcdefghij, serial 12, ");
	assert_null(strchr(out, 0x1b));
	disk_describe(&disk, small, sizeof(small));
	assert_true(strlen(small) < sizeof(small));
	const struct disk gone = {.path = "/dev/sdx", .name = "sdx", .size_bytes = 1 << 30};
	assert_string_equal(disk_describe(&gone, out, sizeof(out)), "/dev/sdx (1.0 GiB)");
}

static void add_visited(void *context, const struct disk_facts *facts)
{
	strcat(context, facts->name);
	strcat(context, " ");
}

/* As people count; what has no node of its own is left out. */
static void visits_in_order(void **state)
{
	(void)state;
	static const char *const names[] = {"sdb", "sdaa", "nvme10n1", "nvme2n1",
					    "sda", "vdc",  "nvme0c0n1"};
	char line[400], seen[200] = "";
	for (size_t i = 0; i < COUNT(names); i++) {
		snprintf(line, sizeof(line),
			 "/sys/block/%s -> ../devices/x/block/%s\n"
			 "/sys/class/block/%s -> ../../devices/x/block/%s\n"
			 "/sys/devices/x/block/%s/size = 8\n"
			 "/sys/devices/x/block/%s/hidden = %d\n",
			 names[i], names[i], names[i], names[i], names[i], names[i],
			 strstr(names[i], "c0") != NULL);
		tree_add(root, line);
	}
	disk_facts_each(add_visited, seen);
	assert_string_equal(seen, "nvme2n1 nvme10n1 sda sdb sdaa vdc ");
	struct disk_facts facts;
	assert_false(disk_facts_read("sdq", &facts));
	assert_false(disk_facts_read("../block/sda", &facts));
}

#define WITH_ROOT(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_ROOT(selects_among_sata_and_usb),
		WITH_ROOT(says_what_there_is),
		WITH_ROOT(selects_among_nvme),
		WITH_ROOT(joins_paths),
		WITH_ROOT(selects_among_virtio_and_mmc),
		WITH_ROOT(computes_the_links_of_udev),
		WITH_ROOT(finds_links_that_are_not_there),
		WITH_ROOT(names_chains_of_users),
		WITH_ROOT(expects_a_disk),
		WITH_ROOT(describes_disks),
		WITH_ROOT(visits_in_order),
	};
	return cmocka_run_group_tests_name("disk_select", tests, NULL, NULL);
}
