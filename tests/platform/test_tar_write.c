/* Archives of texts, as tar(1) reads them. */
#include "tests/unit.h"

#include "platform/tar_write.h"

static char *listed(const struct buffer *tar, const char *flags)
{
	char path[] = "/tmp/test-tar-XXXXXX", command[128];
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, tar->data, tar->size), tar->size);
	close(fd);
	snprintf(command, sizeof(command), "TZ=UTC tar %s %s 2>&1", flags, path);
	FILE *pipe = popen(command, "r");
	char *text = calloc(1, 65536);
	size_t size = fread(text, 1, 65535, pipe);
	assert_true(size < 65535);
	assert_int_equal(pclose(pipe), 0);
	unlink(path);
	return text;
}

static void is_read_by_tar(void **state)
{
	(void)state;
	struct buffer tar = {.cap = 1 << 20};
	struct error err;
	char block[513];
	memset(block, 'b', sizeof(block));
	assert_int_equal(tar_write_file(&tar, "log/a.log", "one\n", 4, 1795415645, &err), 0);
	assert_int_equal(tar_write_file(&tar, "empty", NULL, 0, -5, &err), 0);
	assert_int_equal(tar_write_file(&tar, "block", block, 512, 0, &err), 0);
	assert_int_equal(tar_write_file(&tar, "more", block, 513, 0, &err), 0);
	assert_int_equal(tar_write_end(&tar, &err), 0);
	assert_int_equal(tar.size % 512, 0);
	char *list = listed(&tar, "--numeric-owner -tvf");
	assert_string_equal(list, "-rw------- 0/0               4 2026-11-23 06:34 log/a.log\n"
				  "-rw------- 0/0               0 1970-01-01 00:00 empty\n"
				  "-rw------- 0/0             512 1970-01-01 00:00 block\n"
				  "-rw------- 0/0             513 1970-01-01 00:00 more\n");
	char *content = listed(&tar, "-xOf");
	assert_int_equal(strlen(content), 4 + 512 + 513);
	assert_int_equal(strncmp(content, "one\nbbb", 7), 0);
	free(list);
	free(content);
	buffer_free(&tar);
}

static void keeps_to_its_bounds(void **state)
{
	(void)state;
	struct buffer tar = {.cap = 1000};
	struct error err;
	char name[101];
	memset(name, 'n', 100);
	name[100] = '\0';
	assert_int_equal(tar_write_file(&tar, name, "x", 1, 0, &err), -1);
	assert_int_equal(tar_write_file(&tar, "x", name, 100, 0, &err), -1);
	assert_int_equal(err.kind, ERROR_INPUT);
	buffer_free(&tar);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(is_read_by_tar),
		cmocka_unit_test(keeps_to_its_bounds),
	};
	return cmocka_run_group_tests_name("tar_write", tests, NULL, NULL);
}
