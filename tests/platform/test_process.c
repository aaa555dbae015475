/* Processes: starting, waiting, and ending them with all that they have left behind. */
#include "tests/unit.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#include "platform/buffer.h"
#include "platform/clock.h"
#include "platform/process.h"

/* Runs a shell script to its end; what it writes is in out (NUL-terminated). */
static void run_script(const char *script, struct process_options options, struct buffer *out,
		       struct process_end *ret_end)
{
	struct error err;
	int ends[2];
	pid_t pid;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	options.argv = (const char *const[]){"/bin/sh", "-c", script, NULL};
	options.stdin_fd = options.stderr_fd = -1;
	options.stdout_fd = ends[1];
	assert_ok(process_start(&options, &pid, &err));
	close(ends[1]);
	assert_ok(buffer_read_fd(out, ends[0], "the script's output", &err));
	close(ends[0]);
	assert_int_equal(process_wait(pid, -1, ret_end, &err), 1);
}

static void tells_how_a_program_ended(void **state)
{
	(void)state;
	struct error err;
	struct process_end end;
	auto_buffer struct buffer out = {.cap = 0};
	const struct process_options options = {.inherit = NULL};
	run_script("echo hello", options, &out, &end);
	assert_string_equal((char *)out.data, "hello\n");
	assert_ok(process_check(&end, &err));
	run_script("exit 3", options, &out, &end);
	assert_fails(process_check(&end, &err), ERROR_FAILED, "exit status 3");
	assert_int_equal(err.code, 3);
	run_script("kill -KILL $$", options, &out, &end);
	assert_fails(process_check(&end, &err), ERROR_CRASHED, "signal 9");
	assert_int_equal(err.code, 9);
	assert_contains(err.text, "out of memory?");
	run_script("kill -SEGV $$", options, &out, &end);
	assert_fails(process_check(&end, &err), ERROR_CRASHED, "signal 11");
	assert_lacks(err.text, "memory?");
}

static void names_what_cannot_be_started(void **state)
{
	(void)state;
	struct error err;
	char *directory = directory_make(), *file = path_in(directory, "not-executable");
	file_write(file, "#!/bin/sh\n", 10);
	chmod(file, 0600);
	assert_fails(process_run((const char *const[]){"/nonexistent/program", NULL}, &err),
		     ERROR_NOT_FOUND, "/nonexistent/program");
	assert_fails(process_run((const char *const[]){"no-such-program-anywhere", NULL}, &err),
		     ERROR_NOT_FOUND, "no-such-program-anywhere");
	assert_fails(process_run((const char *const[]){file, NULL}, &err), ERROR_DENIED, file);
	const struct process_options options = {.argv = (const char *const[]){"true", NULL},
						.stdin_fd = -1,
						.stdout_fd = -1,
						.stderr_fd = -1,
						.working_directory = "/nonexistent"};
	pid_t pid;
	assert_fails(process_start(&options, &pid, &err), ERROR_NOT_FOUND, "/nonexistent");
	assert_contains(err.text, "true");
	/* And no zombie is left of the tries. */
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	free(file);
	directory_remove(directory);
}

static void names_the_helper_that_failed(void **state)
{
	(void)state;
	struct error err;
	assert_ok(process_run((const char *const[]){"true", NULL}, &err));
	assert_fails(process_run((const char *const[]){"false", NULL}, &err), ERROR_FAILED,
		     "false: exit status 1");
}

static void gives_environment_and_directory(void **state)
{
	(void)state;
	struct process_end end;
	auto_buffer struct buffer out = {.cap = 0};
	const struct process_options options = {.environment =
							(const char *const[]){"ONLY=this", NULL},
						.working_directory = "/usr"};
	setenv("SECRET_OF_THE_WORKER", "x", 1);
	run_script("echo $ONLY$SECRET_OF_THE_WORKER; pwd; cat", options, &out, &end);
	assert_string_equal((char *)out.data, "this\n/usr\n"); /* and cat saw an empty input */
	unsetenv("SECRET_OF_THE_WORKER");
}

/* Programs get 0, 1, 2 and what is given to them; no descriptor slips through. */
static void gives_descriptors_in_their_order(void **state)
{
	(void)state;
	struct process_end end;
	auto_buffer struct buffer out = {.cap = 0};
	FILE *first = tmpfile(), *second = tmpfile();
	fputs("first", first);
	fputs("second", second);
	fflush(first);
	fflush(second);
	rewind(first);
	rewind(second);
	const struct process_options options = {
		.inherit = (const int[]){fileno(second), fileno(first), -1}};
	run_script("cat <&3; echo; cat <&4; echo; "
		   "for n in 5 6 7 8 9; do readlink /proc/$$/fd/$n | grep /dev/null; done; true",
		   options, &out, &end);
	assert_string_equal((char *)out.data, "second\nfirst\n");
	fclose(first);
	fclose(second);
}

/* The worker blocks SIGTERM and ignores SIGPIPE; programs must not inherit that. */
static void gives_signals_their_defaults(void **state)
{
	(void)state;
	struct process_end end;
	auto_buffer struct buffer out = {.cap = 0};
	sigset_t set, before;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, &before);
	signal(SIGPIPE, SIG_IGN);
	const struct process_options options = {.inherit = NULL};
	run_script("kill -TERM $$; echo still here", options, &out, &end);
	assert_true(end.signalled);
	assert_int_equal(end.code, SIGTERM);
	run_script("kill -PIPE $$; echo still here", options, &out, &end);
	assert_true(end.signalled);
	assert_int_equal(end.code, SIGPIPE);
	signal(SIGPIPE, SIG_DFL);
	sigprocmask(SIG_SETMASK, &before, NULL);
}

static bool is_alive(pid_t pid)
{
	char path[64], text[512] = "";
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	FILE *file = fopen(path, "re");
	if (!file)
		return false;
	size_t got = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	const char *after = got ? strrchr(text, ')') : NULL;
	return after && after[2] != 'Z' && after[2] != 'X';
}

static void waits_no_longer_than_told(void **state)
{
	(void)state;
	struct error err;
	struct process_end end;
	pid_t pid;
	const struct process_options options = {
		.argv = (const char *const[]){"sleep", "1000", NULL},
		.stdin_fd = -1,
		.stdout_fd = -1,
		.stderr_fd = -1};
	assert_ok(process_start(&options, &pid, &err));
	int64_t start = clock_monotonic_ms();
	assert_int_equal(process_wait(pid, 30, &end, &err), 0);
	assert_true(clock_monotonic_ms() - start >= 30);
	assert_int_equal(process_wait(pid, 0, &end, &err), 0);
	kill(pid, SIGKILL);
	assert_int_equal(process_wait(pid, -1, &end, &err), 1);
	assert_fails(process_wait(pid, 0, &end, &err), ERROR_IO, "wait for process");
}

/* Groups */

/* Starts a script in the group and reads count pids that it writes. */
static void start_family(struct process_group *group, const char *script, pid_t *pids, size_t count)
{
	struct error err;
	int ends[2];
	pid_t pid;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	const struct process_options options = {
		.argv = (const char *const[]){"/bin/sh", "-c", script, "sh", group->cgroup, NULL},
		.stdin_fd = -1,
		.stdout_fd = ends[1],
		.stderr_fd = -1,
		.group = group};
	assert_ok(process_start(&options, &pid, &err));
	close(ends[1]);
	FILE *out = fdopen(ends[0], "r");
	for (size_t i = 0; i < count; i++)
		assert_int_equal(fscanf(out, "%d", &pids[i]), 1);
	fclose(out);
}

/* A child, a grandchild in a session of its own, an orphan of a session of its own, and one that
 * ignores signals. */
static const char family[] =
	"sleep 1000 >/dev/null & echo $!\n"
	"setsid sleep 1000 >/dev/null & echo $!\n"
	"(setsid sh -c 'echo $$; exec sleep 1000 >/dev/null' &)\n"
	"sh -c 'trap \"\" TERM HUP INT; echo $$; sleep 1000 >/dev/null; sleep 1000' &\n"
	"wait\n";

enum {
	FAMILY = 4
};

static void end_family(struct process_group *group)
{
	struct error err;
	pid_t pids[FAMILY];
	start_family(group, family, pids, FAMILY);
	for (size_t i = 0; i < FAMILY; i++)
		assert_true(is_alive(pids[i]));
	pid_t leader = group->leader;
	assert_true(is_alive(leader));
	assert_ok(process_group_kill(group, &err));
	for (size_t i = 0; i < FAMILY; i++)
		assert_false(is_alive(pids[i]));
	assert_false(is_alive(leader));
	process_group_close(group);
}

static void ends_every_process_of_a_group(void **state)
{
	(void)state;
	struct error err;
	struct process_group group;
	assert_ok(process_group_open(&group, "test", &err));
	if (!group.cgroup[0])
		print_message("there is no cgroup v2 to write here: the process group stands in\n");
	end_family(&group);
}

static void ends_them_without_cgroups(void **state)
{
	(void)state;
	struct error err;
	struct process_group group;
	assert_ok(process_group_open(&group, "test", &err));
	if (group.cgroup[0])
		assert_int_equal(rmdir(group.cgroup), 0);
	group.cgroup[0] = '\0';
	/* A child of somebody else in this process stays. */
	pid_t bystander;
	const struct process_options options = {
		.argv = (const char *const[]){"sleep", "1000", NULL},
		.stdin_fd = -1,
		.stdout_fd = -1,
		.stderr_fd = -1};
	assert_ok(process_start(&options, &bystander, &err));
	end_family(&group);
	assert_true(is_alive(bystander));
	struct process_end end;
	kill(bystander, SIGKILL);
	assert_int_equal(process_wait(bystander, -1, &end, &err), 1);
}

/* A container engine that an action starts makes cgroups of its own below the action's. */
static void ends_what_is_in_cgroups_below(void **state)
{
	(void)state;
	struct error err;
	struct process_group group;
	assert_ok(process_group_open(&group, "test", &err));
	if (!group.cgroup[0])
		skip_because("there is no cgroup v2 that can be written");
	/* Several, so that a kill that does not wait for them is seen. */
	static const char script[] =
		"mkdir $1/below $1/below/deeper\n"
		"for i in 1 2 3 4 5 6 7 8; do\n"
		"sleep 1000 >/dev/null & echo $! >$1/below/deeper/cgroup.procs\n"
		"echo $!; done; wait\n";
	char cgroup[sizeof(group.cgroup)];
	strcpy(cgroup, group.cgroup);
	pid_t pids[8];
	start_family(&group, script, pids, COUNT(pids));
	assert_ok(process_group_kill(&group, &err));
	for (size_t i = 0; i < COUNT(pids); i++)
		assert_false(is_alive(pids[i]));
	process_group_close(&group);
	assert_int_equal(access(cgroup, F_OK), -1);
}

static void ends_what_a_former_life_has_left(void **state)
{
	(void)state;
	struct error err;
	struct process_group group, again, foreign;
	char owner[64], other[64];
	snprintf(owner, sizeof(owner), "test:%d", (int)getpid());
	snprintf(other, sizeof(other), "test:%d-other", (int)getpid());
	process_groups_claim(other);
	assert_ok(process_group_open(&foreign, "action", &err));
	if (!foreign.cgroup[0])
		skip_because("there is no cgroup v2 that can be written");
	pid_t foreign_pid, pid;
	static const char script[] = "echo $$; exec sleep 1000 >/dev/null";
	start_family(&foreign, script, &foreign_pid, 1);
	process_groups_claim(owner);
	assert_ok(process_group_open(&group, "action", &err));
	start_family(&group, script, &pid, 1);
	/* The same name again: what is left of it goes first. */
	assert_ok(process_group_open(&again, "action", &err));
	assert_false(is_alive(pid));
	start_family(&again, script, &pid, 1);
	/* A new start of the same owner. */
	process_groups_claim(owner);
	assert_false(is_alive(pid));
	assert_int_equal(access(again.cgroup, F_OK), -1);
	/* Another worker on the same machine is left alone. */
	assert_true(is_alive(foreign_pid));
	process_group_close(&foreign);
	assert_false(is_alive(foreign_pid));
}

/* It moves to the top of the tree, as root may: it is still our child's child. */
static void ends_what_has_left_its_cgroup(void **state)
{
	(void)state;
	struct error err;
	struct process_group group;
	assert_ok(process_group_open(&group, "test", &err));
	if (!group.cgroup[0])
		skip_because("there is no cgroup v2 that can be written");
	static const char script[] = "setsid sh -c 'echo $$ >$0/../cgroup.procs; echo $$; "
				     "exec sleep 1000 >/dev/null' $1 & wait";
	pid_t pid;
	start_family(&group, script, &pid, 1);
	assert_ok(process_group_kill(&group, &err));
	assert_false(is_alive(pid));
	process_group_close(&group);
}

/* A machine without cgroups: a later life finds them by their environment. */
static void ends_marked_processes_of_a_former_life(void **state)
{
	(void)state;
	struct error err;
	struct process_group group;
	char owner[64], mark[128];
	snprintf(owner, sizeof(owner), "marked:%d", (int)getpid());
	process_groups_claim(owner);
	assert_ok(process_group_open(&group, "action", &err));
	if (group.cgroup[0])
		rmdir(group.cgroup);
	group.cgroup[0] = '\0';
	pid_t pids[2];
	static const char script[] =
		"setsid sh -c 'echo $$; exec sleep 1000 >/dev/null' & echo $$; "
		"tr '\\0' '\\n' </proc/$$/environ | grep -c ^TINK_WORKER_GROUP= >&2; wait";
	start_family(&group, script, pids, 2);
	snprintf(mark, sizeof(mark), "TINK_WORKER_GROUP=%s", group.name);
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/environ", (int)pids[0]);
	auto_buffer struct buffer environment = {.cap = 1 << 20};
	assert_ok(buffer_read_file(&environment, path, &err));
	assert_non_null(memmem(environment.data, environment.size, mark, strlen(mark)));
	process_group_close(&group);
	assert_false(is_alive(pids[0]));
	assert_false(is_alive(pids[1]));
}

/* More of them than there is room for children that are waited for. */
static void forgets_processes_that_nobody_waits_for(void **state)
{
	(void)state;
	struct error err;
	const struct process_options options = {.argv = (const char *const[]){"true", NULL},
						.stdin_fd = -1,
						.stdout_fd = -1,
						.stderr_fd = -1,
						.unattended = true};
	for (int i = 0; i < 80; i++) {
		pid_t pid;
		assert_ok(process_start(&options, &pid, &err));
		assert_ok(process_run((const char *const[]){"true", NULL}, &err));
	}
}

static void closes_what_was_never_opened(void **state)
{
	(void)state;
	struct error err;
	struct process_group group = {.leader = 0};
	assert_ok(process_group_kill(&group, &err));
	process_group_close(&group);
}

static void ends_with_its_parent(void **state)
{
	(void)state;
	int ends[2];
	pid_t child;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pid_t middle = fork();
	if (middle == 0) {
		struct error err;
		pid_t pid;
		const struct process_options options = {
			.argv = (const char *const[]){"sleep", "1000", NULL},
			.stdin_fd = -1,
			.stdout_fd = -1,
			.stderr_fd = -1,
			.die_with_parent = true};
		if (process_start(&options, &pid, &err) < 0)
			_exit(1);
		_exit(write(ends[1], &pid, sizeof(pid)) == (ssize_t)sizeof(pid) ? 0 : 1);
	}
	assert_int_equal(read(ends[0], &child, sizeof(child)), sizeof(child));
	int status;
	assert_int_equal(waitpid(middle, &status, 0), middle);
	int64_t deadline = clock_monotonic_ms() + 10000;
	while (is_alive(child) && clock_monotonic_ms() < deadline)
		poll(NULL, 0, 5);
	assert_false(is_alive(child));
	close(ends[0]);
	close(ends[1]);
}

static void keeps_mounts_to_itself(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip_because("a mount namespace needs root");
	struct error err;
	struct process_end end;
	auto_buffer struct buffer out = {.cap = 0}, mounts = {.cap = 0};
	char *directory = directory_make(), *script;
	assert_true(asprintf(&script, "mount -t tmpfs tmpfs %s && grep -c %s /proc/self/mountinfo",
			     directory, directory) > 0);
	const struct process_options options = {.new_mount_namespace = true};
	run_script(script, options, &out, &end);
	assert_string_equal((char *)out.data, "1\n");
	assert_ok(buffer_read_file(&mounts, "/proc/self/mountinfo", &err));
	assert_lacks((char *)mounts.data, directory);
	free(script);
	directory_remove(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tells_how_a_program_ended),
		cmocka_unit_test(names_what_cannot_be_started),
		cmocka_unit_test(names_the_helper_that_failed),
		cmocka_unit_test(gives_environment_and_directory),
		cmocka_unit_test(gives_descriptors_in_their_order),
		cmocka_unit_test(gives_signals_their_defaults),
		cmocka_unit_test(waits_no_longer_than_told),
		cmocka_unit_test(ends_every_process_of_a_group),
		cmocka_unit_test(ends_them_without_cgroups),
		cmocka_unit_test(ends_what_is_in_cgroups_below),
		cmocka_unit_test(ends_what_a_former_life_has_left),
		cmocka_unit_test(ends_what_has_left_its_cgroup),
		cmocka_unit_test(ends_marked_processes_of_a_former_life),
		cmocka_unit_test(forgets_processes_that_nobody_waits_for),
		cmocka_unit_test(closes_what_was_never_opened),
		cmocka_unit_test(ends_with_its_parent),
		cmocka_unit_test(keeps_mounts_to_itself),
	};
	/* A folder that may not be searched turns "not found" into "denied". */
	setenv("PATH", "/usr/local/bin:/usr/bin:/bin", 1);
	return cmocka_run_group_tests_name("process", tests, NULL, NULL);
}
