/*
 * Wiping, on disks of the test's own: a file holds the data, a tree of sysfs says what kind of disk
 * it is, and a function in the place of ioctl(2) obeys the commands, as a disk does or as it must
 * not.
 */
#include "tests/sysfs_tree.h"
#include "tests/sfdisk.h"

#include <errno.h>
#include <linux/fs.h>
#include <linux/nvme_ioctl.h>
#include <scsi/sg.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "platform/wipe.h"

enum {
	MIB = 1 << 20,
	DISK_MIB = 80
};

/* What a disk does when it is told to erase. */
enum effect {
	REFUSES, /* not offered */
	FAILS,
	LIES, /* says yes, does nothing */
	ZEROES,
	SCRAMBLES, /* reads as noise afterwards */
	ZEROES_HALF
};

static struct {
	enum effect sanitize, format, secure_erase, discard, discard_secure;
	bool crypto;             /* the first two by the key, too */
	unsigned namespaces;     /* NVMe */
	bool format_hits_all;    /* NVMe */
	int sanitize_polls;      /* how often it is still under way */
	unsigned security;       /* ATA: word 128 */
	char password[33];       /* ATA: "" none */
	bool prepared;           /* ATA */
	char log[600];           /* commands, in their order */
	bool sanitize_under_way; /* by an earlier run */
} fake;

static char *directory;
static struct disk disk;
static struct erase_progress progress;
static char phases[600];

/* The disk */

static void fill_disk(uint32_t seed, unsigned from_mib, unsigned to_mib)
{
	uint8_t *data = malloc(MIB);
	for (unsigned i = from_mib; i < to_mib; i++) {
		fill_random(data, MIB, seed + i);
		assert_int_equal(pwrite(disk.fd, data, MIB, (off_t)i * MIB), MIB);
	}
	free(data);
}

static void zero_disk(unsigned from_mib, unsigned to_mib)
{
	uint8_t *zeros = calloc(1, MIB);
	for (unsigned i = from_mib; i < to_mib; i++)
		assert_int_equal(pwrite(disk.fd, zeros, MIB, (off_t)i * MIB), MIB);
	free(zeros);
}

static unsigned zero_mibs(void)
{
	unsigned count = 0;
	uint8_t *data = malloc(MIB);
	for (unsigned i = 0; i < DISK_MIB; i++) {
		assert_int_equal(pread(disk.fd, data, MIB, (off_t)i * MIB), MIB);
		count += data[0] == 0 && memcmp(data, data + 1, MIB - 1) == 0;
	}
	free(data);
	return count;
}

static bool take_effect(enum effect effect)
{
	if (effect == ZEROES)
		zero_disk(0, DISK_MIB);
	else if (effect == ZEROES_HALF)
		zero_disk(0, DISK_MIB / 2);
	else if (effect == SCRAMBLES)
		fill_disk(777, 0, DISK_MIB);
	return effect != FAILS;
}

static void note(const char *text)
{
	strncat(fake.log, text, sizeof(fake.log) - strlen(fake.log) - 1);
}

/* NVMe */

static int identify(const struct nvme_admin_cmd *cmd)
{
	uint8_t *data = (uint8_t *)(uintptr_t)cmd->addr;
	if (cmd->cdw10 == 1) {
		data[328] = fake.sanitize == REFUSES ? 0 : fake.crypto ? 1 : 2;
		data[256] = fake.format == REFUSES ? 0 : 2;
		data[524] = (uint8_t)((fake.crypto ? 4 : 0) | (fake.format_hits_all ? 2 : 0));
	} else if (cmd->cdw10 == 0) {
		data[26] = 0x13; /* format 3, metadata at the end of the data */
		data[29] = 0x0a; /* protection 2, in the first bytes */
	} else {
		for (unsigned i = 0; i < fake.namespaces; i++)
			data[4 * i] = (uint8_t)(i + 1);
	}
	return 0;
}

static int sanitize_status(const struct nvme_admin_cmd *cmd)
{
	uint8_t *data = (uint8_t *)(uintptr_t)cmd->addr;
	if (!fake.sanitize_under_way) {
		data[2] = strstr(fake.log, "sanitize") ? fake.sanitize == FAILS ? 3 : 1 : 0;
		return 0;
	}
	data[1] = 0x40;
	data[2] = 2;
	if (fake.sanitize_polls-- <= 0) {
		fake.sanitize_under_way = false;
		note("sanitized ");
		take_effect(fake.sanitize);
	}
	return 0;
}

static int nvme_command(const struct nvme_admin_cmd *cmd)
{
	switch (cmd->opcode) {
	case 0x06:
		return identify(cmd);
	case 0x02:
		return sanitize_status(cmd);
	case 0x84:
		note(cmd->cdw10 == (4 | 8) ? "sanitize-crypto " : "sanitize-block ");
		fake.sanitize_under_way = true;
		return 0;
	case 0x80: {
		char text[64];
		snprintf(text, sizeof(text), "format-%x-%u ", cmd->cdw10, cmd->nsid);
		note(text);
		return take_effect(fake.format) ? 0 : 0x281; /* write fault */
	}
	default:
		return 1; /* invalid opcode */
	}
}

/* ATA */

static int ata_refuse(sg_io_hdr_t *header, uint8_t key)
{
	header->status = 2;
	header->sb_len_wr = 8;
	header->sbp[0] = 0x72;
	header->sbp[1] = key;
	return 0;
}

static void ata_identify(uint8_t *data)
{
	data[2 * 82] = fake.secure_erase == REFUSES ? 0 : 2;
	data[2 * 89] = 1;
	data[2 * 90] = 2;
	data[2 * 128] = (uint8_t)fake.security;
}

static int ata_command(sg_io_hdr_t *header)
{
	uint8_t *data = header->dxferp;
	const char *given = data ? (const char *)data + 2 : "";
	switch (header->cmdp[14]) {
	case 0xec:
		ata_identify(data);
		return 0;
	case 0xf1:
		note("set ");
		snprintf(fake.password, sizeof(fake.password), "%.32s", given);
		fake.security |= 2;
		return 0;
	case 0xf2:
		note("unlock ");
		if (strcmp(fake.password, given) != 0)
			return ata_refuse(header, 11);
		fake.security &= ~4u;
		return 0;
	case 0xf3:
		note("prepare ");
		fake.prepared = true;
		return 0;
	case 0xf4:
		note(data[0] & 2 ? "erase-enhanced " : "erase ");
		if (!fake.prepared || (fake.security & 4) || strcmp(fake.password, given) != 0 ||
		    !take_effect(fake.secure_erase))
			return ata_refuse(header, 11);
		assert_true(header->timeout >= 30 * 60 * 1000);
		fake.password[0] = '\0';
		return 0;
	case 0xf6:
		note("disable ");
		fake.password[0] = '\0';
		return 0;
	default:
		return ata_refuse(header, 5);
	}
}

static int discard_all(enum effect effect, const char *name, const uint64_t *range)
{
	if (range[0] == 0)
		note(name);
	if (effect == REFUSES) {
		errno = EOPNOTSUPP;
		return -1;
	}
	if (take_effect(effect))
		return 0;
	errno = EIO;
	return -1;
}

static int obey(int fd, unsigned long request, void *argument)
{
	assert_int_equal(fd, disk.fd);
	bool nvme = strncmp(disk.name, "nvme", 4) == 0;
	errno = ENOTTY;
	switch (request) {
	case NVME_IOCTL_ID:
		return nvme ? 7 : -1;
	case NVME_IOCTL_ADMIN_CMD:
		return nvme ? nvme_command(argument) : -1;
	case SG_IO:
		return nvme ? -1 : ata_command(argument);
	case BLKSECDISCARD:
		return discard_all(fake.discard_secure, "secdiscard ", argument);
	case BLKDISCARD:
		return discard_all(fake.discard, "discard ", argument);
	default:
		return -1;
	}
}

static int set_up(void **state)
{
	(void)state;
	directory = directory_make();
	memset(&fake, 0, sizeof(fake));
	fake.namespaces = 1;
	phases[0] = '\0';
	disk = (struct disk){.size_bytes = (uint64_t)DISK_MIB * MIB, .sector_bytes = 512};
	/* In memory; a path that programs can open, too. */
	disk.fd = memfd_create("disk", MFD_CLOEXEC);
	snprintf(disk.path, sizeof(disk.path), "/proc/%d/fd/%d", (int)getpid(), disk.fd);
	if (disk.fd < 0)
		return -1;
	fill_disk(1, 0, DISK_MIB);
	sysfs_set_root(directory);
	erase_set_ioctl(obey);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	erase_set_ioctl(NULL);
	sysfs_set_root("");
	close(disk.fd);
	directory_remove(directory);
	return 0;
}

static void add_disk(const char *name, const char *place, const char *more)
{
	char text[1200];
	snprintf(disk.name, sizeof(disk.name), "%s", name);
	snprintf(text, sizeof(text),
		 "/sys/block/%s -> ../devices/%s/%s\n/sys/class/block/%s -> ../../devices/%s/%s\n"
		 "/sys/devices/%s/%s/size = %d\n%s",
		 name, place, name, name, place, name, place, name, DISK_MIB * 2048, more);
	tree_add(directory, text);
}

static void be_nvme(void)
{
	add_disk("nvme0n1", "pci0/nvme/nvme0",
		 "/sys/devices/pci0/nvme/nvme0/transport = pcie\n"
		 "/sys/class/block/nvme0n1/device -> ../../nvme0\n"
		 "/sys/devices/pci0/nvme/nvme0/nvme0n1/wwid = eui.0025385b11b0c0d1\n");
}

static void be_ata(void)
{
	add_disk("sda", "pci0/ata1/host0/block",
		 "/sys/devices/pci0/ata1/host0/block/sda/device/vendor = ATA\n");
}

static void be_virtual(void)
{
	add_disk("vda", "pci0/virtio0/block", "");
}

static void add_phase(void *context, const char *phase)
{
	(void)context;
	strncat(phases, phase, sizeof(phases) - strlen(phases) - 1);
	strncat(phases, ", ", sizeof(phases) - strlen(phases) - 1);
}

static struct wipe_result result;

static int wipe(const char *mode, bool full, struct error *err)
{
	const struct wipe_options options = {
		.mode = mode, .full = full, .phase = add_phase, .progress = &progress};
	return wipe_disk(&disk, &options, &result, err);
}

/* NVMe */

static void sanitizes(void **state)
{
	(void)state;
	struct error err;
	be_nvme();
	fake.sanitize = ZEROES;
	fake.crypto = true;
	fake.sanitize_polls = 3;
	assert_ok(wipe("auto", false, &err));
	assert_string_equal(result.used, "NVMe sanitize (crypto erase)");
	assert_string_equal(result.skipped, "");
	assert_string_equal(result.read, "64 samples of 1 MiB read as zeros");
	assert_string_equal(fake.log, "sanitize-crypto sanitized ");
	assert_int_equal(zero_mibs(), DISK_MIB);
	assert_contains(phases,
			"NVMe sanitize (crypto erase), verifying, clearing both ends, verifying");
}

static void sanitizes_by_blocks(void **state)
{
	(void)state;
	struct error err;
	be_nvme();
	fake.sanitize = ZEROES;
	assert_ok(wipe("sanitize", true, &err));
	assert_string_equal(result.used, "NVMe sanitize (block erase)");
	assert_string_equal(result.read, "everything read as zeros");
	assert_contains(result.skipped, "crypto erase): the disk does not offer it");
}

/* The machine was cut off in the middle: what is under way is waited for. */
static void joins_a_sanitize(void **state)
{
	(void)state;
	struct error err;
	be_nvme();
	fake.sanitize = ZEROES;
	fake.sanitize_under_way = true;
	fake.sanitize_polls = 2;
	assert_ok(wipe("sanitize", false, &err));
	assert_string_equal(fake.log, "sanitized ");
}

/* Noise is what a disk shows whose key is gone. */
static void takes_noise_for_erased(void **state)
{
	(void)state;
	struct error err;
	be_nvme();
	fake.sanitize = SCRAMBLES;
	fake.crypto = true;
	assert_ok(wipe("auto", false, &err));
	assert_string_equal(result.used, "NVMe sanitize (crypto erase)");
	assert_contains(result.read, "none is what it was");
	/* But no table is left by chance: the ends are zeros. */
	assert_int_equal(zero_mibs(), 2);
}

/* Everything must read as zeros: then noise is not the end. */
static void goes_on_to_zeros(void **state)
{
	(void)state;
	struct error err;
	be_nvme();
	fake.sanitize = SCRAMBLES;
	fake.crypto = true;
	assert_ok(wipe("auto", true, &err));
	assert_string_equal(result.used, "zeros written");
	assert_contains(result.skipped,
			"NVMe sanitize (crypto erase): done, but: the MiB at 1048576 does not");
	assert_int_equal(zero_mibs(), DISK_MIB);
	assert_fails(wipe("sanitize", true, &err), ERROR_CORRUPT, "does not read as zeros");
}

static void formats(void **state)
{
	(void)state;
	struct error err;
	be_nvme();
	fake.format = ZEROES;
	assert_ok(wipe("auto", false, &err));
	assert_string_equal(result.used, "NVMe format with user data erase");
	assert_contains(result.skipped, "NVMe sanitize (crypto erase): the disk does not offer it; "
					"NVMe sanitize (block erase): the disk does not offer it");
	/* Format 3, metadata, protection 2 in the first bytes, erase of data, namespace 7. */
	assert_string_equal(fake.log, "format-353-7 ");
	fill_disk(1, 0, DISK_MIB);
	fake.crypto = true;
	fake.log[0] = '\0';
	assert_ok(wipe("format", false, &err));
	assert_string_equal(result.used, "NVMe format with crypto erase");
	assert_string_equal(fake.log, "format-553-7 ");
}

/* A sanitize erases all namespaces, some formats too: other people's data. */
static void spares_other_namespaces(void **state)
{
	(void)state;
	struct error err;
	be_nvme();
	fake.sanitize = ZEROES;
	fake.format = ZEROES;
	fake.namespaces = 3;
	fake.format_hits_all = true;
	assert_ok(wipe("auto", false, &err));
	assert_string_equal(result.used, "zeros written");
	assert_contains(result.skipped, "the disk has 3 namespaces, all would be erased");
	assert_string_equal(fake.log, "secdiscard discard ");
	fake.format_hits_all = false;
	fill_disk(1, 0, DISK_MIB);
	assert_ok(wipe("format", false, &err));
	assert_fails(wipe("sanitize", false, &err), ERROR_UNSUPPORTED, "has 3 namespaces");
}

/* It said yes, and nothing has happened: not with us. */
static void catches_a_disk_that_lies(void **state)
{
	(void)state;
	static const enum effect lies[] = {LIES, ZEROES_HALF};
	struct error err;
	be_nvme();
	for (size_t i = 0; i < COUNT(lies); i++) {
		fake.sanitize = fake.format = fake.discard = lies[i];
		fake.crypto = true;
		fill_disk(1, 0, DISK_MIB);
		assert_fails(wipe("sanitize", false, &err), ERROR_CORRUPT, "is what it was before");
		assert_fails(wipe("format", false, &err), ERROR_CORRUPT, "is what it was before");
		assert_fails(wipe("discard", false, &err), ERROR_CORRUPT, "is what it was before");
		assert_contains(err.text, disk.path);
		assert_ok(wipe("auto", false, &err));
		assert_string_equal(result.used, "zeros written");
		assert_int_equal(zero_mibs(), DISK_MIB);
	}
}

/* A disk that is empty but for its table: the samples by chance all read as zeros, as before. */
static void catches_a_lie_about_an_empty_disk(void **state)
{
	(void)state;
	struct error err;
	be_nvme();
	fake.sanitize = fake.format = fake.discard = LIES;
	fake.crypto = true;
	static const char *const modes[] = {"sanitize", "format", "discard"};
	for (size_t i = 0; i < COUNT(modes); i++) {
		for (unsigned end = 0; end < 2; end++) {
			unsigned at = end ? DISK_MIB - 1 : 0;
			zero_disk(0, DISK_MIB);
			fill_disk(5, at, at + 1);
			assert_fails(wipe(modes[i], false, &err), ERROR_CORRUPT,
				     "is what it was before");
			assert_int_equal(zero_mibs(), DISK_MIB - 1);
		}
	}
	assert_ok(wipe("auto", false, &err));
	assert_string_equal(result.used, "zeros written");
}

static void goes_on_after_failures(void **state)
{
	(void)state;
	struct error err;
	be_nvme();
	fake.sanitize = fake.format = fake.discard = FAILS;
	fake.crypto = true;
	assert_ok(wipe("auto", false, &err));
	assert_string_equal(result.used, "zeros written");
	assert_contains(result.skipped, "the disk says that its sanitize failed");
	assert_contains(result.skipped, "the disk answers with status 281");
	assert_fails(wipe("sanitize", false, &err), ERROR_IO, "its sanitize failed");
	assert_fails(wipe("format", false, &err), ERROR_IO, "status 281");
	assert_fails(wipe("secure-erase", false, &err), ERROR_UNSUPPORTED, "it is no ATA disk");
}

static void leaves_network_disks_alone(void **state)
{
	(void)state;
	struct error err;
	add_disk("nvme0n1", "virtual/nvme-fabrics/nvme0",
		 "/sys/class/block/nvme0n1/device/transport = tcp\n");
	fake.sanitize = fake.format = ZEROES;
	assert_fails(wipe("sanitize", false, &err), ERROR_UNSUPPORTED, "by a network (tcp)");
	assert_fails(wipe("format", false, &err), ERROR_UNSUPPORTED, "by a network (tcp)");
	assert_string_equal(fake.log, "");
}

/* ATA */

static void erases_ata(void **state)
{
	(void)state;
	struct error err;
	be_ata();
	fake.secure_erase = ZEROES;
	fake.security = 1 | 32;
	assert_ok(wipe("auto", false, &err));
	assert_string_equal(result.used, "ATA enhanced secure erase");
	assert_string_equal(fake.log, "set prepare erase-enhanced ");
	assert_string_equal(fake.password, "");
	fill_disk(1, 0, DISK_MIB);
	fake.security = 1;
	fake.log[0] = '\0';
	assert_ok(wipe("secure-erase", false, &err));
	assert_string_equal(result.used, "ATA secure erase");
	assert_contains(result.skipped, "ATA enhanced secure erase: the disk does not offer it");
	assert_string_equal(fake.log, "set prepare erase ");
}

/* The power failed during an erase: the disk is locked with our password. */
static void goes_on_with_a_locked_disk(void **state)
{
	(void)state;
	struct error err;
	be_ata();
	fake.secure_erase = ZEROES;
	fake.security = 1 | 2 | 4;
	strcpy(fake.password, "tink-worker");
	assert_ok(wipe("secure-erase", false, &err));
	assert_string_equal(fake.log, "unlock prepare erase ");
	fill_disk(1, 0, DISK_MIB);
	fake.security = 1 | 2 | 4;
	strcpy(fake.password, "somebody's");
	assert_fails(wipe("secure-erase", false, &err), ERROR_DENIED, "somebody else's password");
	assert_int_equal(zero_mibs(), 0);
}

static void says_why_ata_cannot(void **state)
{
	(void)state;
	struct error err;
	be_ata();
	fake.secure_erase = ZEROES;
	fake.security = 1 | 8;
	assert_fails(wipe("secure-erase", false, &err), ERROR_DENIED,
		     "frozen the disk's security: suspend and resume");
	fake.security = 1 | 16;
	assert_fails(wipe("secure-erase", false, &err), ERROR_DENIED, "cut the disk's power");
	fake.security = 0;
	assert_fails(wipe("secure-erase", false, &err), ERROR_UNSUPPORTED, "does not offer it");
	assert_string_equal(fake.log, "");
	/* A failed erase leaves no password behind. */
	fake.security = 1;
	fake.secure_erase = FAILS;
	assert_fails(wipe("secure-erase", false, &err), ERROR_IO,
		     "ATA erase unit: the disk refuses");
	assert_string_equal(fake.log, "set prepare erase disable ");
	assert_string_equal(fake.password, "");
	/* With "auto" the next way is taken, and the reason kept. */
	fake.security = 1 | 8;
	fake.discard = ZEROES;
	assert_ok(wipe("auto", false, &err));
	assert_string_equal(result.used, "discard");
	assert_contains(result.skipped, "has frozen");
}

static void leaves_usb_bridges_alone(void **state)
{
	(void)state;
	struct error err;
	add_disk("sda", "pci0/usb1/1-1/1-1:1.0/host0/block",
		 "/sys/devices/pci0/usb1/1-1/1-1:1.0/host0/block/sda/device/vendor = ATA\n");
	fake.secure_erase = ZEROES;
	fake.security = 1;
	assert_fails(wipe("secure-erase", false, &err), ERROR_UNSUPPORTED, "USB bridge");
	assert_string_equal(fake.log, "");
}

/* What every disk has */

static void discards(void **state)
{
	(void)state;
	struct error err;
	be_virtual();
	fake.discard = ZEROES;
	assert_ok(wipe("auto", true, &err));
	assert_string_equal(result.used, "discard");
	assert_string_equal(result.read, "everything read as zeros");
	assert_contains(result.skipped, "it is no NVMe disk");
	assert_string_equal(fake.log, "secdiscard discard ");
	/* One that leaves what was there, as discard may. */
	fill_disk(1, 0, DISK_MIB);
	fake.discard = LIES;
	assert_ok(wipe("auto", false, &err));
	assert_string_equal(result.used, "zeros written");
	assert_contains(result.skipped, "discard: done, but: the MiB at 0 is what it was before");
	assert_int_equal(zero_mibs(), DISK_MIB);
	fake.discard_secure = ZEROES;
	assert_ok(wipe("discard", false, &err));
	assert_string_equal(result.used, "secure discard");
}

static void writes_zeros(void **state)
{
	(void)state;
	struct error err;
	be_virtual();
	/* The last piece is no whole MiB. */
	disk.size_bytes = (uint64_t)DISK_MIB * MIB - 3 * 4096;
	assert_ok(wipe("zero", true, &err));
	assert_string_equal(result.used, "zeros written");
	assert_string_equal(fake.log, "");
	assert_int_equal(zero_mibs(), DISK_MIB - 1);
	uint8_t rest[3 * 4096], expected[MIB];
	fill_random(expected, sizeof(expected), 1 + DISK_MIB - 1);
	assert_int_equal(pread(disk.fd, rest, sizeof(rest), (off_t)disk.size_bytes), sizeof(rest));
	assert_memory_equal(rest, expected + MIB - sizeof(rest), sizeof(rest));
}

static void wipes_a_partition(void **state)
{
	(void)state;
	struct error err;
	be_nvme();
	tree_add(directory, "/sys/class/block/nvme0n1p1 -> "
			    "../../devices/pci0/nvme/nvme0/nvme0n1/nvme0n1p1\n"
			    "/sys/devices/pci0/nvme/nvme0/nvme0n1/nvme0n1p1/partition = 1\n");
	snprintf(disk.name, sizeof(disk.name), "nvme0n1p1");
	disk.is_partition = true;
	fake.sanitize = fake.format = ZEROES;
	assert_ok(wipe("auto", false, &err));
	assert_string_equal(result.used, "zeros written");
	assert_contains(result.skipped, "NVMe format with user data erase: it is a partition");
	assert_fails(wipe("format", false, &err), ERROR_UNSUPPORTED, "it is a partition");
}

static void clears_signatures(void **state)
{
	(void)state;
	struct error err;
	be_virtual();
	zero_disk(0, 1);
	zero_disk(DISK_MIB - 1, DISK_MIB);
	static const char script[] =
		"label: gpt\n1 : start=4096, size=40960\n2 : start=61440, size=2048\n";
	run_sfdisk(disk.path, script, directory);
	assert_int_equal(zero_mibs(), 0);
	assert_ok(wipe("signatures", false, &err));
	assert_string_equal(result.used,
			    "zeros over the first and last MiB of the disk and of its partitions");
	/* The disk's ends, those of the first partition, and the second, which is one MiB. */
	assert_int_equal(zero_mibs(), 5);
	uint8_t data[16];
	static const uint8_t zeros[16];
	static const unsigned cleared[] = {0, 2, 21, 30, DISK_MIB - 1};
	for (size_t i = 0; i < COUNT(cleared); i++) {
		assert_int_equal(pread(disk.fd, data, 16, (off_t)cleared[i] * MIB), 16);
		assert_memory_equal(data, zeros, 16);
	}
	/* Again, when nothing is there any more. */
	assert_ok(wipe("signatures", false, &err));
	assert_string_equal(result.used, "zeros over the first and last MiB of the disk");
	/* "auto" never ends with signatures only. */
	assert_lacks(result.skipped, "zeros over");
}

static void refuses_shared_disks(void **state)
{
	(void)state;
	struct error err;
	tree_add_fixture(directory, "sas.txt");
	snprintf(disk.name, sizeof(disk.name), "sda");
	assert_fails(wipe("auto", false, &err), ERROR_BUSY, "it is also /dev/sdc (the same wwn");
	assert_fails(wipe("signatures", false, &err), ERROR_BUSY, "/dev/sdc");
	tree_add(directory, "/sys/class/block/dm-0 -> ../../devices/virtual/block/dm-0\n"
			    "/sys/devices/virtual/block/dm-0/dm/uuid = mpath-35000c5\n"
			    "/sys/devices/virtual/block/dm-0/size = 163840\n");
	snprintf(disk.name, sizeof(disk.name), "dm-0");
	assert_fails(wipe("zero", false, &err), ERROR_BUSY, "it is a multipath device");
	assert_int_equal(zero_mibs(), 0);
	snprintf(disk.name, sizeof(disk.name), "sdb");
	assert_ok(wipe("zero", false, &err));
	snprintf(disk.name, sizeof(disk.name), "sdx");
	assert_fails(wipe("zero", false, &err), ERROR_NOT_FOUND, "it is not in /sys");
}

#define WITH_DISK(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_DISK(sanitizes),
		WITH_DISK(sanitizes_by_blocks),
		WITH_DISK(joins_a_sanitize),
		WITH_DISK(takes_noise_for_erased),
		WITH_DISK(goes_on_to_zeros),
		WITH_DISK(formats),
		WITH_DISK(spares_other_namespaces),
		WITH_DISK(catches_a_disk_that_lies),
		WITH_DISK(catches_a_lie_about_an_empty_disk),
		WITH_DISK(goes_on_after_failures),
		WITH_DISK(leaves_network_disks_alone),
		WITH_DISK(erases_ata),
		WITH_DISK(goes_on_with_a_locked_disk),
		WITH_DISK(says_why_ata_cannot),
		WITH_DISK(leaves_usb_bridges_alone),
		WITH_DISK(discards),
		WITH_DISK(writes_zeros),
		WITH_DISK(wipes_a_partition),
		WITH_DISK(clears_signatures),
		WITH_DISK(refuses_shared_disks),
	};
	/* Debian's sfdisk is there for root only. */
	setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	return cmocka_run_group_tests_name("wipe", tests, NULL, NULL);
}
