/* The GPT of a disk: made by sfdisk in a file, judged by sfdisk again. */
#include "tests/unit.h"

#include <errno.h>

#include "platform/disk_table.h"
#include "platform/gpt.h"
#include "platform/partition.h"
#include "platform/process.h"

enum {
	MIB = 1 << 20,
	IMAGE_BYTES = 8 * MIB,
	SECTOR = 512
};

static char *directory, *image;
static struct disk disk;

static int set_up(void **state)
{
	(void)state;
	directory = directory_make();
	image = path_in(directory, "image");
	disk = (struct disk){.size_bytes = IMAGE_BYTES, .sector_bytes = SECTOR};
	snprintf(disk.path, sizeof(disk.path), "%s", image);
	disk.fd = open(image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	return disk.fd >= 0 && ftruncate(disk.fd, IMAGE_BYTES) == 0 ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	close(disk.fd);
	free(image);
	directory_remove(directory);
	return 0;
}

static void grow(uint64_t bytes)
{
	assert_int_equal(ftruncate(disk.fd, (off_t)bytes), 0);
	disk.size_bytes = bytes;
}

/* Runs a program with this on its input; its output goes to a file of the directory. Returns the
 * output, owned by the caller. */
static char *run(const char *const *argv, const char *input)
{
	struct error err;
	char *in_path = path_in(directory, "in"), *out_path = path_in(directory, "out");
	file_write(in_path, input, strlen(input));
	int in = open(in_path, O_RDONLY | O_CLOEXEC);
	int out = open(out_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	const struct process_options options = {
		.argv = argv, .stdin_fd = in, .stdout_fd = out, .stderr_fd = out};
	pid_t pid;
	struct process_end end;
	char *text = calloc(1, 65536);
	assert_ok(process_start(&options, &pid, &err));
	assert_ok(process_wait(pid, -1, &end, &err));
	assert_true(pread(out, text, 65535, 0) >= 0);
	if (process_check(&end, &err) < 0)
		fail_msg("%s: %s: %s", argv[0], err.text, text);
	close(in);
	close(out);
	free(in_path);
	free(out_path);
	return text;
}

static void partition(const char *script)
{
	free(run((const char *const[]){"sfdisk", "-q", image, NULL}, script));
}

static const char script[] = "label: gpt\nlabel-id: 11111111-2222-3333-4444-555555555555\n"
			     "1 : start=2048, size=2048, type=U, name=\"EFI\", "
			     "uuid=AAAAAAAA-0000-0000-0000-000000000001\n"
			     "5 : start=6144, size=8192, type=L, name=\"root äöü\", "
			     "uuid=AAAAAAAA-0000-0000-0000-000000000005, attrs=\"RequiredPartition "
			     "LegacyBIOSBootable GUID:50\"\n";

/* What sfdisk reads: everything but the last usable sector, which is to change. */
static char *dump(void)
{
	char *text = run((const char *const[]){"sfdisk", "--dump", image, NULL}, "");
	char *line = strstr(text, "last-lba:"), *end = line ? strchr(line, '\n') : NULL;
	if (!end)
		fail_msg("no last-lba in %s", text);
	memmove(line, end, strlen(end) + 1);
	return text;
}

static void moves_to_the_end(void **state)
{
	(void)state;
	static const uint64_t sizes[] = {IMAGE_BYTES + SECTOR, 9 * MIB, UINT64_C(64) * MIB,
					 UINT64_C(3) << 40};
	struct error err;
	bool moved;
	partition(script);
	char *before = dump();
	for (size_t i = 0; i < COUNT(sizes); i++) {
		grow(sizes[i]);
		assert_ok(disk_move_backup_gpt(&disk, &moved, &err));
		assert_true(moved);
		char *after = dump();
		assert_string_equal(before, after);
		free(after);
		char *verified = run((const char *const[]){"sfdisk", "--verify", "--no-tell-kernel",
							   image, NULL},
				     "");
		assert_contains(verified, "No errors detected");
		assert_lacks(verified, "PMBR");
		free(verified);
		assert_ok(disk_move_backup_gpt(&disk, &moved, &err));
		assert_false(moved);
	}
	free(before);
}

/* The image alone: nothing to do, nothing changed. */
static void leaves_a_table_that_fits(void **state)
{
	(void)state;
	struct error err;
	bool moved = true;
	partition(script);
	uint8_t *before = malloc(IMAGE_BYTES), *after = malloc(IMAGE_BYTES);
	assert_int_equal(pread(disk.fd, before, IMAGE_BYTES, 0), IMAGE_BYTES);
	assert_ok(disk_move_backup_gpt(&disk, &moved, &err));
	assert_false(moved);
	assert_int_equal(pread(disk.fd, after, IMAGE_BYTES, 0), IMAGE_BYTES);
	assert_memory_equal(before, after, IMAGE_BYTES);
	free(before);
	free(after);
}

static void leaves_what_has_no_gpt(void **state)
{
	(void)state;
	struct error err;
	bool moved = true;
	uint8_t noise[65536];
	assert_ok(disk_move_backup_gpt(&disk, &moved, &err));
	assert_false(moved);
	fill_random(noise, sizeof(noise), 3);
	assert_int_equal(pwrite(disk.fd, noise, sizeof(noise), 0), sizeof(noise));
	assert_ok(disk_move_backup_gpt(&disk, &moved, &err));
	assert_false(moved);
	partition("label: dos\n1 : start=2048, size=2048, type=83\n");
	assert_ok(disk_move_backup_gpt(&disk, &moved, &err));
	assert_false(moved);
	/* A GPT that an MBR without protection has overruled. */
	partition(script);
	uint8_t type = 0x83;
	assert_int_equal(pwrite(disk.fd, &type, 1, 450), 1);
	grow(9 * MIB);
	assert_ok(disk_move_backup_gpt(&disk, &moved, &err));
	assert_false(moved);
	disk.is_partition = true;
	type = 0xee;
	assert_int_equal(pwrite(disk.fd, &type, 1, 450), 1);
	assert_ok(disk_move_backup_gpt(&disk, &moved, &err));
	assert_false(moved);
}

static void flip(uint64_t offset)
{
	uint8_t byte;
	assert_int_equal(pread(disk.fd, &byte, 1, (off_t)offset), 1);
	byte ^= 1;
	assert_int_equal(pwrite(disk.fd, &byte, 1, (off_t)offset), 1);
}

/* A damaged table is told, and not a byte is written. */
static void repairs_nothing(void **state)
{
	(void)state;
	static const struct {
		uint64_t offset;
		const char *words;
	} damages[] = {
		{SECTOR, "no header"},
		{SECTOR + 8, "checksum is wrong"},
		{SECTOR + 12, "checksum is wrong"},
		{SECTOR + 14, "the header has 65628 bytes"},
		{SECTOR + 32, "checksum is wrong"},
		{2 * SECTOR + 32, "the checksum of its entries is wrong"},
		{2 * SECTOR + 128 * 127 + 127, "the checksum of its entries is wrong"},
		{IMAGE_BYTES - SECTOR, "the second copy of the GPT: there is no header"},
		{IMAGE_BYTES - SECTOR + 40, "the second copy of the GPT: the header's checksum"},
		{IMAGE_BYTES - 33 * SECTOR + 5, "the second copy of the GPT: the checksum of its"},
	};
	struct error err;
	bool moved;
	partition(script);
	grow(9 * MIB);
	uint8_t *before = malloc(9 * MIB), *after = malloc(9 * MIB);
	for (size_t i = 0; i < COUNT(damages); i++) {
		flip(damages[i].offset);
		assert_int_equal(pread(disk.fd, before, 9 * MIB, 0), 9 * MIB);
		assert_fails(disk_move_backup_gpt(&disk, &moved, &err), ERROR_CORRUPT,
			     damages[i].words);
		assert_contains(err.text, image);
		assert_int_equal(pread(disk.fd, after, 9 * MIB, 0), 9 * MIB);
		assert_memory_equal(before, after, 9 * MIB);
		flip(damages[i].offset);
	}
	/* The second copy is not there: an image cut short. */
	grow(IMAGE_BYTES - MIB);
	assert_fails(disk_move_backup_gpt(&disk, &moved, &err), ERROR_CORRUPT,
		     "behind the end of the disk");
	free(before);
	free(after);
}

/* Whatever moment the power fails at: one valid table, and the next run ends well. */
static void goes_on_after_a_cut(void **state)
{
	(void)state;
	struct error err;
	bool moved;
	uint8_t beginning[MIB];
	partition(script);
	char *expected = dump();
	assert_int_equal(pread(disk.fd, beginning, sizeof(beginning), 0), sizeof(beginning));
	grow(64 * MIB);
	assert_ok(disk_move_backup_gpt(&disk, &moved, &err));
	/* The new second copy is there, the first one is still the image's. */
	assert_int_equal(pwrite(disk.fd, beginning, sizeof(beginning), 0), sizeof(beginning));
	struct partition_table table;
	assert_ok(partition_table_read(disk.fd, &table, &err));
	assert_int_equal(table.count, 2);
	assert_ok(disk_move_backup_gpt(&disk, &moved, &err));
	assert_true(moved);
	char *after = dump();
	assert_string_equal(expected, after);
	free(after);
	free(expected);
}

/* As image builders make them for machines that want both. */
static void leaves_a_hybrid_mbr(void **state)
{
	(void)state;
	struct error err;
	bool moved;
	uint8_t before[MBR_BYTES], after[MBR_BYTES];
	static const uint8_t second[16] = {0x80, 0, 2, 0, 0x0c, 0xfe, 0xff, 0xff, 0, 8, 0, 0, 0, 8};
	partition(script);
	assert_int_equal(pwrite(disk.fd, second, sizeof(second), 462), sizeof(second));
	assert_int_equal(pread(disk.fd, before, sizeof(before), 0), sizeof(before));
	grow(9 * MIB);
	assert_ok(disk_move_backup_gpt(&disk, &moved, &err));
	assert_true(moved);
	assert_int_equal(pread(disk.fd, after, sizeof(after), 0), sizeof(after));
	assert_memory_equal(before, after, sizeof(before));
}

/* Sector sizes */

static uint8_t head[MIB];

/* The head of a GPT as it is for sectors of 4096: the second sector's header and entries. */
static void spread_to_4096(void)
{
	struct error err;
	uint8_t small[MIB];
	memcpy(small, head, sizeof(small));
	memset(head + 512, 0, sizeof(head) - 512);
	memcpy(head + 4096, small + 512, 512);
	struct gpt_header header;
	assert_ok(gpt_header_read(head + 4096, 4096, &header, &err));
}

static void read_head(void)
{
	assert_int_equal(pread(disk.fd, head, sizeof(head), 0), sizeof(head));
}

static void compares_sector_sizes(void **state)
{
	(void)state;
	struct error err;
	partition(script);
	read_head();
	assert_ok(disk_check_sector_size(&disk, head, sizeof(head), &err));
	disk.sector_bytes = 4096;
	assert_fails(disk_check_sector_size(&disk, head, sizeof(head), &err), ERROR_INPUT,
		     "(GPT) is made for sectors of 512 bytes");
	assert_contains(err.text, "have 4096");
	disk.is_partition = true;
	assert_ok(disk_check_sector_size(&disk, head, sizeof(head), &err));
	disk.is_partition = false;
	spread_to_4096();
	assert_ok(disk_check_sector_size(&disk, head, sizeof(head), &err));
	disk.sector_bytes = 512;
	assert_fails(disk_check_sector_size(&disk, head, sizeof(head), &err), ERROR_INPUT,
		     "made for sectors of 4096 bytes");
	/* For both, as some installers' images. */
	uint8_t large[8192];
	memcpy(large, head, sizeof(large));
	read_head();
	memcpy(head + 4096, large + 4096, 512);
	disk.sector_bytes = 4096;
	assert_ok(disk_check_sector_size(&disk, head, sizeof(head), &err));
	/* A damaged one, and too little of one, claim nothing. */
	read_head();
	head[512 + 40] ^= 1;
	assert_ok(disk_check_sector_size(&disk, head, sizeof(head), &err));
	read_head();
	for (size_t size = 0; size < 1024; size += 256)
		assert_ok(disk_check_sector_size(&disk, head, size, &err));
	/* An installer's CD, which is a disk image too: a GPT without protection does not count. */
	head[450] = 0xef;
	assert_ok(disk_check_sector_size(&disk, head, sizeof(head), &err));
}

/* An MBR tells by where the file system is. */
static void compares_sector_sizes_of_an_mbr(void **state)
{
	(void)state;
	struct error err;
	partition("label: dos\n1 : start=64, size=2048, type=83\n");
	read_head();
	disk.sector_bytes = 4096;
	assert_ok(disk_check_sector_size(&disk, head, sizeof(head), &err));
	head[64 * 512 + 1080] = 0x53;
	head[64 * 512 + 1081] = 0xef;
	assert_fails(disk_check_sector_size(&disk, head, sizeof(head), &err), ERROR_INPUT,
		     "(MBR) is made for sectors of 512 bytes");
	disk.sector_bytes = 512;
	assert_ok(disk_check_sector_size(&disk, head, sizeof(head), &err));
	memcpy(head + 64 * 4096, "XFSB", 4);
	disk.sector_bytes = 4096;
	assert_ok(disk_check_sector_size(&disk, head, sizeof(head), &err));
	head[64 * 512 + 1080] = 0;
	disk.sector_bytes = 512;
	assert_fails(disk_check_sector_size(&disk, head, sizeof(head), &err), ERROR_INPUT,
		     "made for sectors of 4096 bytes");
}

#define WITH_IMAGE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_IMAGE(moves_to_the_end),       WITH_IMAGE(leaves_a_table_that_fits),
		WITH_IMAGE(leaves_what_has_no_gpt), WITH_IMAGE(repairs_nothing),
		WITH_IMAGE(goes_on_after_a_cut),    WITH_IMAGE(leaves_a_hybrid_mbr),
		WITH_IMAGE(compares_sector_sizes),  WITH_IMAGE(compares_sector_sizes_of_an_mbr),
	};
	/* Debian's sfdisk is there for root only. */
	setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	return cmocka_run_group_tests_name("disk_table", tests, NULL, NULL);
}
