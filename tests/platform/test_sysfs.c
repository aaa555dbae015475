/* Small files of the kernel, below a root of the test's own. */
#include "tests/unit.h"

#include "platform/sysfs.h"

static char *root;

static int make_root(void **state)
{
	(void)state;
	root = directory_make();
	char *path = path_in(root, "sys");
	mkdir(path, 0755);
	free(path);
	sysfs_set_root(root);
	return 0;
}

static int remove_root(void **state)
{
	(void)state;
	sysfs_set_root("");
	directory_remove(root);
	return 0;
}

static void put(const char *name, const char *text)
{
	char *path = path_in(root, name);
	file_write(path, text, strlen(text));
	free(path);
}

static void reads_below_the_root(void **state)
{
	(void)state;
	char out[32];
	assert_string_equal(sysfs_root(), root);
	put("sys/model", "QEMU HARDDISK   \n");
	assert_true(sysfs_read(out, sizeof(out), "/sys/%s", "model"));
	assert_string_equal(out, "QEMU HARDDISK");
	put("sys/empty", "\n");
	assert_true(sysfs_read(out, sizeof(out), "/sys/empty"));
	assert_string_equal(out, "");
	assert_false(sysfs_read(out, sizeof(out), "/sys/nothing"));
	assert_false(sysfs_read(out, sizeof(out), "/sys"));
}

static void cuts_what_does_not_fit(void **state)
{
	(void)state;
	char out[5];
	put("sys/long", "0123456789\n");
	assert_true(sysfs_read(out, sizeof(out), "/sys/long"));
	assert_string_equal(out, "0123");
}

static void reads_numbers(void **state)
{
	(void)state;
	uint64_t value = 7;
	put("sys/size", "20971520\n");
	assert_true(sysfs_read_uint(&value, "/sys/%s", "size"));
	assert_int_equal(value, 20971520);
	put("sys/most", "18446744073709551615\n");
	assert_true(sysfs_read_uint(&value, "/sys/most"));
	assert_true(value == UINT64_MAX);
	static const char *const others[] = {"", "\n", "-1\n", "1 2\n", "0x10\n", "abc\n"};
	for (size_t i = 0; i < COUNT(others); i++) {
		put("sys/other", others[i]);
		assert_false(sysfs_read_uint(&value, "/sys/other"));
	}
	assert_false(sysfs_read_uint(&value, "/sys/nothing"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_below_the_root),
		cmocka_unit_test(cuts_what_does_not_fit),
		cmocka_unit_test(reads_numbers),
	};
	return cmocka_run_group_tests_name("sysfs", tests, make_root, remove_root);
}
