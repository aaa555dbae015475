/* The log in files. */
#include "tests/unit.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "platform/cleanup.h"
#include "platform/log_file.h"

static char folder[] = "/tmp/test-log-XXXXXX";

static void say(struct log_file *file, const char *line)
{
	const struct log_event event = {.line = line, .line_size = strlen(line)};
	log_file_take(file, &event);
}

static struct log_file *opened(const char *name, uint64_t limit)
{
	char path[128];
	struct log_file *file;
	struct error err;
	snprintf(path, sizeof(path), "%s/%s/deep", folder, name);
	if (log_file_open(path, "worker", limit, &file, &err) < 0)
		fail_msg("%s", err.text);
	return file;
}

/* The whole file, which must be there and only root's. */
static const char *content(const char *name, const char *file)
{
	static char text[4096];
	char path[256];
	struct stat status;
	snprintf(path, sizeof(path), "%s/%s/deep/%s", folder, name, file);
	auto_fclose FILE *stream = fopen(path, "re");
	assert_non_null(stream);
	assert_int_equal(fstat(fileno(stream), &status), 0);
	assert_int_equal(status.st_mode & 0777, 0600);
	text[fread(text, 1, sizeof(text) - 1, stream)] = '\0';
	return text;
}

static void goes_on_where_it_ended(void **state)
{
	(void)state;
	struct log_file *file = opened("a", 1000);
	say(file, "one\n");
	log_file_close(file);
	file = opened("a", 1000);
	say(file, "two\n");
	assert_string_equal(content("a", "worker.log"), "one\ntwo\n");
	log_file_close(file);
}

static void is_bounded(void **state)
{
	(void)state;
	struct log_file *file = opened("b", 12);
	static const char *const lines[] = {"111\n", "222\n", "333\n", "444\n",
					    "555\n", "666\n", "777\n"};
	for (size_t i = 0; i < COUNT(lines); i++)
		say(file, lines[i]);
	assert_string_equal(content("b", "worker.log"), "777\n");
	assert_string_equal(content("b", "worker.log.1"), "444\n555\n666\n");
	/* A line longer than the limit has a file of its own. */
	say(file, "a line of more bytes than there may be\n");
	assert_string_equal(content("b", "worker.log"), "a line of more bytes than there may be\n");
	log_file_close(file);
}

/* A folder that is full: a line is there whole or not at all. */
static void has_no_half_lines(void **state)
{
	(void)state;
	struct rlimit before, little = {.rlim_cur = 10};
	struct log_file *file = opened("d", 1000);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	little.rlim_max = before.rlim_max;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
	say(file, "one\n");
	say(file, "of two\n");
	say(file, "three\n");
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	say(file, "four\n");
	assert_string_equal(content("d", "worker.log"), "one\nthree\nfour\n");
	log_file_close(file);
}

static void is_one_workers(void **state)
{
	(void)state;
	char path[128];
	struct log_file *file = opened("c", 100), *other;
	struct error err;
	snprintf(path, sizeof(path), "%s/c/deep", folder);
	assert_int_equal(log_file_open(path, "worker", 100, &other, &err), -1);
	assert_int_equal(err.kind, ERROR_BUSY);
	log_file_close(file);
	log_file_close(opened("c", 100));
	assert_int_equal(log_file_open("relative", "worker", 100, &other, &err), -1);
	assert_int_equal(err.kind, ERROR_INPUT);
	assert_int_equal(log_file_open("/proc/no", "worker", 100, &other, &err), -1);
}

static int make_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	(void)state;
	char command[64];
	snprintf(command, sizeof(command), "rm -r %s", folder);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(goes_on_where_it_ended),
		cmocka_unit_test(is_bounded),
		cmocka_unit_test(has_no_half_lines),
		cmocka_unit_test(is_one_workers),
	};
	return cmocka_run_group_tests_name("log_file", tests, make_folder, remove_folder);
}
