/*
 * Running actions in children of their own: this program is its own child, as the worker is. Needs
 * root for the child's mount namespace.
 */
#include "tests/unit.h"

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include "actions/actions.h"
#include "actions/child.h"
#include "agent/run.h"
#include "platform/clock.h"
#include "platform/log.h"

static char *no_words[] = {NULL};
static struct config config;

static int load(void **state)
{
	(void)state;
	struct error err;
	int rest;
	char *argv[] = {(char[]){"tink-worker"}, NULL};
	return config_load(&config, 1, argv, no_words, "", &rest, &err);
}

static int unload(void **state)
{
	(void)state;
	config_free(&config);
	return 0;
}

static struct action_request request_with(char **environment)
{
	static char id[] = "id", name[] = "name", none[] = "";
	return (struct action_request){.workflow_id = id,
				       .id = id,
				       .name = name,
				       .image = name,
				       .command = no_words,
				       .environment = environment,
				       .volumes = no_words,
				       .pid = none,
				       .network = none};
}

static struct run_options options_with(int stop_fd)
{
	return (struct run_options){.config = &config, .group_name = "unit", .stop_fd = stop_fd};
}

static const char *obstacle(void)
{
	return geteuid() == 0 ? NULL : "an action's mount namespace needs root";
}

/* An action that takes its time: it waits ten seconds for a device that does not come. */
static char *slow_environment[] = {(char[]){"IMG_URL=http://127.0.0.1:1/x"},
				   (char[]){"DEST_DISK=/dev/nonexistent"}, NULL};

static void reports_success_and_what_follows(void **state)
{
	(void)state;
	if (obstacle())
		skip_because(obstacle());
	struct run_result result;
	struct action_request request = request_with(no_words);
	char *command[] = {(char[]){"sh"}, (char[]){"-c"}, (char[]){"sleep 7; reboot"}, NULL};
	request.command = command;
	const struct run_options options = options_with(0);
	run_action(action_by_name("reboot"), &request, &options, &result);
	if (result.state != RUN_SUCCESS)
		fail_msg("%s", result.error.text);
	assert_int_equal(result.after.kind, AFTER_REBOOT);
	assert_int_equal(result.after.delay_s, 7);
	assert_contains(result.summary, "reboots");
	assert_true(result.stop.tv_sec >= result.start.tv_sec);
	assert_true(result.duration_ms >= 0);
}

static void reports_why_an_action_fails(void **state)
{
	(void)state;
	if (obstacle())
		skip_because(obstacle());
	struct error err;
	struct run_result result;
	struct action_request request = request_with(no_words);
	const struct run_options options = options_with(0);
	run_action(action_by_name("writefile"), &request, &options, &result);
	assert_int_equal(result.state, RUN_FAILED);
	err = result.error;
	assert_error(ERROR_INPUT, "DEST_DISK is missing");
	assert_contains(err.text, "DEST_PATH is missing");
	assert_int_equal(result.after.kind, AFTER_NOTHING);
}

static void keeps_what_the_action_says(void **state)
{
	(void)state;
	if (obstacle())
		skip_because(obstacle());
	struct run_result result;
	char *environment[] = {(char[]){"IMAGE_URL=http://127.0.0.1:1/x"},
			       (char[]){"DEST_DISK=relative"}, NULL};
	struct action_request request = request_with(environment);
	const struct run_options options = options_with(0);
	run_action(action_by_name("image2disk"), &request, &options, &result);
	assert_int_equal(result.state, RUN_FAILED);
	assert_contains(result.error.text, "IMG_URL is missing");
	assert_contains(result.error.text, "DEST_DISK=relative");
	/* The child has logged the key that may have been meant. */
	assert_contains(result.tail.text, "nearest=IMG_URL");
}

static void ends_an_action_whose_time_is_up(void **state)
{
	(void)state;
	if (obstacle())
		skip_because(obstacle());
	struct error err;
	struct run_result result;
	struct action_request request = request_with(slow_environment);
	request.timeout_s = 1;
	const struct run_options options = options_with(0);
	int64_t start = clock_monotonic_ms();
	run_action(action_by_name("image2disk"), &request, &options, &result);
	assert_int_equal(result.state, RUN_TIMEOUT);
	err = result.error;
	assert_error(ERROR_TIMEOUT, "1 s of its timeout");
	assert_true(result.duration_ms >= 1000);
	assert_true(clock_monotonic_ms() - start < 9000);
}

static void ends_an_action_on_request(void **state)
{
	(void)state;
	if (obstacle())
		skip_because(obstacle());
	int ends[2];
	struct run_result result;
	struct action_request request = request_with(slow_environment);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(write(ends[1], "x", 1), 1);
	const struct run_options options = options_with(ends[0]);
	run_action(action_by_name("image2disk"), &request, &options, &result);
	assert_int_equal(result.state, RUN_INTERRUPTED);
	assert_true(result.duration_ms < 9000);
	close(ends[0]);
	close(ends[1]);
}

/* The first child of this process that runs an action; 0 when there is none. */
static pid_t find_child(void)
{
	char path[64];
	int pid = 0;
	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	FILE *file = fopen(path, "re");
	if (file && fscanf(file, "%d", &pid) != 1)
		pid = 0;
	if (file)
		fclose(file);
	if (pid == 0)
		return 0;
	char line[64] = "";
	snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
	file = fopen(path, "re");
	size_t got = file ? fread(line, 1, sizeof(line) - 1, file) : 0;
	if (file)
		fclose(file);
	/* "/proc/self/exe", NUL, "child": not yet between fork and exec. */
	return got >= 20 && strcmp(line + strlen(line) + 1, "child") == 0 ? pid : 0;
}

static void *kill_child(void *unused)
{
	(void)unused;
	pid_t pid;
	while ((pid = find_child()) == 0)
		sched_yield();
	kill(pid, SIGKILL);
	return NULL;
}

static void survives_the_crash_of_an_action(void **state)
{
	(void)state;
	if (obstacle())
		skip_because(obstacle());
	struct error err;
	struct run_result result;
	pthread_t killer;
	struct action_request request = request_with(slow_environment);
	const struct run_options options = options_with(0);
	assert_int_equal(pthread_create(&killer, NULL, kill_child, NULL), 0);
	run_action(action_by_name("image2disk"), &request, &options, &result);
	pthread_join(killer, NULL);
	assert_int_equal(result.state, RUN_FAILED);
	err = result.error;
	assert_error(ERROR_CRASHED, "signal 9");
	/* And goes on. */
	request = request_with(no_words);
	run_action(action_by_name("poweroff"), &request, &options, &result);
	assert_int_equal(result.state, RUN_SUCCESS);
	assert_int_equal(result.after.kind, AFTER_POWEROFF);
}

static unsigned open_descriptors(void)
{
	unsigned count = 0;
	DIR *dir = opendir("/proc/self/fd");
	while (dir && readdir(dir))
		count++;
	closedir(dir);
	return count;
}

/* An agent that runs for months must not run out of them. */
static void leaves_nothing_open(void **state)
{
	(void)state;
	if (obstacle())
		skip_because(obstacle());
	struct run_result result;
	struct action_request request = request_with(no_words);
	const struct run_options options = options_with(0);
	run_action(action_by_name("reboot"), &request, &options, &result);
	unsigned before = open_descriptors();
	for (int i = 0; i < 5; i++)
		run_action(action_by_name(i % 2 ? "reboot" : "writefile"), &request, &options,
			   &result);
	assert_int_equal(open_descriptors(), before);
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "child") == 0)
		return child_main();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reports_success_and_what_follows),
		cmocka_unit_test(reports_why_an_action_fails),
		cmocka_unit_test(keeps_what_the_action_says),
		cmocka_unit_test(ends_an_action_whose_time_is_up),
		cmocka_unit_test(ends_an_action_on_request),
		cmocka_unit_test(survives_the_crash_of_an_action),
		cmocka_unit_test(leaves_nothing_open),
	};
	log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	return cmocka_run_group_tests_name("run", tests, load, unload);
}
