/* fork, namespaces, cgroups, waiting: see process.h. */
#include "platform/process.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "platform/buffer.h"
#include "platform/cleanup.h"
#include "platform/clock.h"
#include "platform/text.h"

enum {
	KILL_WAIT_MS = 10000,
	FIRST_INHERITED = 3,
	INHERITED_MOST = 8,
	/* oom_score_adj: the machine's own services have 0 */
	OOM_LAST = -900,
	OOM_FIRST = 500
};

/* Names an action's processes in their environment where there are no cgroups. */
#define MARK "TINK_WORKER_GROUP"

/*
 * The children that were started here. The worker is a subreaper, so waitpid(-1) also brings
 * orphans of actions: this table tells them apart, and keeps the end of a child of ours that such a
 * call has reaped.
 */
static struct {
	pid_t pid;       /* 0: free */
	bool unattended; /* nobody will ask for its end */
	bool ended;
	int status;
} children[64];

static void children_add(pid_t pid, bool unattended)
{
	for (size_t i = 0; i < sizeof(children) / sizeof(children[0]); i++) {
		if (children[i].pid == 0) {
			children[i].pid = pid;
			children[i].unattended = unattended;
			children[i].ended = false;
			return;
		}
	}
}

static bool children_has(pid_t pid)
{
	for (size_t i = 0; i < sizeof(children) / sizeof(children[0]); i++)
		if (children[i].pid == pid)
			return true;
	return false;
}

/* Reaps whatever has ended. */
static void reap_all(void)
{
	int status;
	for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
		for (size_t i = 0; i < sizeof(children) / sizeof(children[0]); i++) {
			if (children[i].pid != pid)
				continue;
			children[i].ended = true;
			children[i].status = status;
			if (children[i].unattended)
				children[i].pid = 0;
		}
	}
}

/* The status of a child that has ended; it is forgotten. 1 ended, 0 not yet, -1 not ours. */
static int take_status(pid_t pid, int *ret_status)
{
	reap_all();
	for (size_t i = 0; i < sizeof(children) / sizeof(children[0]); i++) {
		if (children[i].pid != pid)
			continue;
		if (!children[i].ended)
			return 0;
		*ret_status = children[i].status;
		children[i].pid = 0;
		return 1;
	}
	errno = ECHILD;
	return -1;
}

/* cgroups */

/* Where cgroup v2 is mounted: the mountinfo line whose file system type is cgroup2. */
static bool cgroup_mount(char *out, size_t out_size)
{
	auto_fclose FILE *file = fopen("/proc/self/mountinfo", "re");
	auto_free char *line = NULL;
	size_t line_size = 0;
	while (file && getline(&line, &line_size, file) > 0) {
		char point[256];
		const char *type = strstr(line, " - ");
		if (type && strncmp(type + 3, "cgroup2 ", 8) == 0 &&
		    sscanf(line, "%*d %*d %*s %*s %255s", point) == 1) {
			snprintf(out, out_size, "%s", point);
			return true;
		}
	}
	return false;
}

/* The directory below which the worker's groups stand: its own cgroup, or the root when that is
 * hidden. */
static bool cgroup_base(char *out, size_t out_size)
{
	char mount_point[256];
	if (!cgroup_mount(mount_point, sizeof(mount_point)))
		return false;
	char own[256] = "/";
	auto_fclose FILE *file = fopen("/proc/self/cgroup", "re");
	auto_free char *line = NULL;
	size_t line_size = 0;
	while (file && getline(&line, &line_size, file) > 0) {
		if (strncmp(line, "0::", 3) == 0) {
			line[strcspn(line, "\n")] = '\0';
			snprintf(own, sizeof(own), "%s", line + 3);
		}
	}
	snprintf(out, out_size, "%s%s", mount_point, strcmp(own, "/") == 0 ? "" : own);
	return access(out, W_OK) == 0;
}

/* What the names of our groups begin with. */
static char group_prefix[160] = "tink-worker-";

static int write_file_at(const char *directory, const char *name, const char *text)
{
	char path[768];
	snprintf(path, sizeof(path), "%s/%s", directory, name);
	auto_close int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	return write(fd, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : -1;
}

/* The first process in a cgroup, or 0. */
static pid_t cgroup_member(const char *directory)
{
	char path[768];
	snprintf(path, sizeof(path), "%s/cgroup.procs", directory);
	auto_fclose FILE *file = fopen(path, "re");
	int pid = 0;
	if (file && fscanf(file, "%d", &pid) != 1)
		pid = 0;
	return pid;
}

/* The same, also of those below it. */
static pid_t cgroup_member_below(const char *directory)
{
	pid_t pid = cgroup_member(directory);
	DIR *dir = opendir(directory);
	for (struct dirent *entry; dir && pid == 0 && (entry = readdir(dir)) != NULL;) {
		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		auto_free char *below = text_format("%s/%s", directory, entry->d_name);
		pid = cgroup_member_below(below);
	}
	if (dir)
		closedir(dir);
	return pid;
}

/* Whether any process is left in a cgroup or in one below it. */
static bool cgroup_populated(const char *directory)
{
	char path[768], line[64];
	bool populated = false;
	snprintf(path, sizeof(path), "%s/cgroup.events", directory);
	auto_fclose FILE *file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		populated = populated || strcmp(line, "populated 1\n") == 0;
	return populated;
}

static void pause_ms(int ms)
{
	poll(NULL, 0, ms);
}

/* What does not end although it was killed: its name, and where in the kernel it waits. */
static int still_there(pid_t pid, struct error *err)
{
	char path[64], name[64] = "?", where[64] = "?";
	char *const texts[] = {name, where};
	static const char *const files[] = {"comm", "wchan"};
	for (size_t i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, files[i]);
		auto_fclose FILE *file = fopen(path, "re");
		if (file && fgets(texts[i], sizeof(name), file))
			texts[i][strcspn(texts[i], "\n")] = '\0';
	}
	return error_set(
		err, ERROR_TIMEOUT,
		"process %d (%s) does not end: it was killed %d s ago and waits in the kernel "
		"(%s), as for a disk or server that does not answer",
		(int)pid, name, KILL_WAIT_MS / 1000, where);
}

/* Ends all in a cgroup. cgroup.kill came with Linux 5.14; older kernels get a signal for each until
 * none is left. */
static int cgroup_kill(const char *directory, int wait_ms, struct error *err)
{
	int64_t deadline = clock_monotonic_ms() + wait_ms;
	bool at_once = write_file_at(directory, "cgroup.kill", "1") == 0;
	/* cgroup.kill ends those in cgroups below, too, which have no name here. */
	for (;; pause_ms(5)) {
		pid_t pid = cgroup_member(directory);
		if (pid == 0 && !(at_once && cgroup_populated(directory)))
			break;
		if (!at_once)
			kill(pid, SIGKILL);
		reap_all();
		if (clock_monotonic_ms() > deadline)
			return still_there(cgroup_member_below(directory), err);
	}
	return 0;
}

/* Removes a cgroup and those below it (an action may have made some). */
static void cgroup_remove(const char *directory)
{
	DIR *dir = opendir(directory);
	for (struct dirent *entry; dir && (entry = readdir(dir)) != NULL;) {
		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		char *below = text_format("%s/%s", directory, entry->d_name);
		cgroup_remove(below);
		free(below);
	}
	if (dir)
		closedir(dir);
	/* A process that has just ended can hold it for a moment. */
	for (int tries = 0; rmdir(directory) < 0 && errno == EBUSY && tries < 100; tries++)
		pause_ms(5);
}

/* Without cgroups: what the processes of a former life have in their environment. */
static void kill_marked(const char *mark)
{
	DIR *dir = opendir("/proc");
	for (struct dirent *entry; dir && (entry = readdir(dir)) != NULL;) {
		uint64_t pid;
		if (!text_parse_uint(entry->d_name, 10, INT32_MAX, &pid) || (pid_t)pid == getpid())
			continue;
		char path[64];
		snprintf(path, sizeof(path), "/proc/%" PRIu64 "/environ", pid);
		auto_buffer struct buffer text = {.cap = 4 << 20};
		struct error ignored;
		if (buffer_read_file(&text, path, &ignored) < 0 || text.size == 0)
			continue;
		const char *end = (const char *)text.data + text.size;
		for (const char *word = (const char *)text.data; word < end;
		     word += strlen(word) + 1) {
			if (strncmp(word, mark, strlen(mark)) == 0) {
				kill((pid_t)pid, SIGKILL);
				break;
			}
		}
	}
	if (dir)
		closedir(dir);
}

static void claim_without_cgroups(void)
{
	auto_free char *mark = text_format(MARK "=%s", group_prefix);
	/* A second round for those that were just being started. */
	for (int round = 0; round < 2; round++) {
		kill_marked(mark);
		pause_ms(5);
	}
}

void process_groups_claim(const char *owner)
{
	char base[512];
	snprintf(group_prefix, sizeof(group_prefix), "tink-worker-%.100s-", owner);
	for (char *p = group_prefix; *p; p++)
		if (!isalnum((unsigned char)*p))
			*p = '-';
	/* No owner's name ends like this, so that none begins with another's. */
	group_prefix[strlen(group_prefix) - 1] = '.';
	if (!cgroup_base(base, sizeof(base))) {
		claim_without_cgroups();
		return;
	}
	DIR *dir = opendir(base);
	for (struct dirent *entry; dir && (entry = readdir(dir)) != NULL;) {
		if (strncmp(entry->d_name, group_prefix, strlen(group_prefix)) != 0)
			continue;
		char path[512 + sizeof(entry->d_name)];
		snprintf(path, sizeof(path), "%s/%s", base, entry->d_name);
		struct error ignored;
		if (cgroup_kill(path, KILL_WAIT_MS, &ignored) == 0)
			cgroup_remove(path);
	}
	if (dir)
		closedir(dir);
}

void process_outlive_others(void)
{
	char text[16];
	snprintf(text, sizeof(text), "%d", OOM_LAST);
	/* Without the right to (as a user, by hand) there is nothing to protect. */
	write_file_at("/proc/self", "oom_score_adj", text);
}

int process_group_open(struct process_group *group, const char *name, struct error *err)
{
	*group = (struct process_group){.leader = 0};
	char base[400];
	/* Whatever an action leaves behind comes to us, not to init, and can be ended. */
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		return error_sys(err, "prctl PR_SET_CHILD_SUBREAPER");
	snprintf(group->name, sizeof(group->name), "%s%s", group_prefix, name);
	if (!cgroup_base(base, sizeof(base)))
		return 0;
	snprintf(group->cgroup, sizeof(group->cgroup), "%s/%s", base, group->name);
	if (mkdir(group->cgroup, 0755) == 0)
		return 0;
	if (errno == EEXIST) {
		if (cgroup_kill(group->cgroup, KILL_WAIT_MS, err) < 0)
			return error_wrap(err, "end what is left in %s", group->cgroup);
		return 0;
	}
	/* A cgroup tree that cannot be written (read-only, delegated elsewhere): the process group
	 * will do. */
	group->cgroup[0] = '\0';
	return 0;
}

/* A child of ours that was not started here, so an orphan of the action; 0: none. */
static pid_t orphan_of(pid_t parent)
{
	siginfo_t info;
	/* Mostly there is no child at all, and nothing to look for. */
	if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 && errno == ECHILD)
		return 0;
	DIR *dir = opendir("/proc");
	pid_t found = 0;
	for (struct dirent *entry; dir && found == 0 && (entry = readdir(dir)) != NULL;) {
		uint64_t pid;
		if (!text_parse_uint(entry->d_name, 10, INT32_MAX, &pid))
			continue;
		char path[64];
		snprintf(path, sizeof(path), "/proc/%" PRIu64 "/stat", pid);
		auto_buffer struct buffer text = {.cap = 4096};
		struct error ignored;
		if (buffer_read_file(&text, path, &ignored) < 0)
			continue;
		const char *after = strrchr((char *)text.data, ')');
		char state;
		int ppid;
		if (after && sscanf(after + 1, " %c %d", &state, &ppid) == 2 && ppid == parent &&
		    state != 'Z' && !children_has((pid_t)pid))
			found = (pid_t)pid;
	}
	if (dir)
		closedir(dir);
	return found;
}

/* Ends the first process's own group (0: not asked for), and every orphan: all there is without
 * cgroups, and what has left its cgroup with them. */
static int kill_orphans(pid_t leader, int wait_ms, struct error *err)
{
	int64_t deadline = clock_monotonic_ms() + wait_ms;
	if (leader > 0)
		kill(-leader, SIGKILL);
	for (;;) {
		reap_all();
		bool group_alive = leader > 0 && kill(-leader, 0) == 0;
		pid_t orphan = orphan_of(getpid());
		if (orphan > 0)
			kill(orphan, SIGKILL);
		if (!group_alive && orphan == 0)
			return 0;
		if (clock_monotonic_ms() > deadline)
			return still_there(orphan > 0 ? orphan : leader, err);
		pause_ms(5);
	}
}

int process_group_kill(struct process_group *group, struct error *err)
{
	/* Who was asked to end and did not is not waited for again. */
	int wait_ms = group->stuck ? 0 : KILL_WAIT_MS;
	group->stuck = true;
	if (group->cgroup[0] && cgroup_kill(group->cgroup, wait_ms, err) < 0)
		return -1;
	if (group->leader > 0 &&
	    kill_orphans(group->cgroup[0] ? 0 : group->leader, wait_ms, err) < 0)
		return -1;
	group->stuck = false;
	return 0;
}

void process_group_close(struct process_group *group)
{
	struct error ignored;
	if (process_group_kill(group, &ignored) == 0 && group->cgroup[0])
		cgroup_remove(group->cgroup);
	reap_all();
	*group = (struct process_group){.leader = 0};
}

/* Starting */

/* What the child could not do travels to the parent through a pipe that closes by itself at exec.
 */
struct start_failure {
	int errnum;
	char what[64];
};

static void __attribute__((noreturn)) give_up(int pipe_fd, const char *what)
{
	struct start_failure failure = {.errnum = errno};
	snprintf(failure.what, sizeof(failure.what), "%s", what);
	ssize_t written = write(pipe_fd, &failure, sizeof(failure));
	(void)written;
	_exit(127);
}

/* Moves the descriptors to where the program expects them: first all above the range in question,
 * then down. */
static int place_descriptors(const struct process_options *options, int *pipe_fd)
{
	enum {
		SAFE = FIRST_INHERITED + INHERITED_MOST
	};
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int wanted[SAFE] = {options->stdin_fd >= 0 ? options->stdin_fd : null,
			    options->stdout_fd >= 0 ? options->stdout_fd : STDOUT_FILENO,
			    options->stderr_fd >= 0 ? options->stderr_fd : STDERR_FILENO};
	int count = FIRST_INHERITED;
	for (const int *fd = options->inherit; fd && *fd >= 0 && count < SAFE; fd++)
		wanted[count++] = *fd;
	for (int i = 0; i < count; i++) {
		wanted[i] = fcntl(wanted[i], F_DUPFD_CLOEXEC, SAFE);
		if (wanted[i] < 0)
			return -1;
	}
	*pipe_fd = fcntl(*pipe_fd, F_DUPFD_CLOEXEC, SAFE);
	for (int i = 0; i < count; i++)
		if (dup2(wanted[i], i) < 0)
			return -1;
	return 0;
}

/*
 * Mounts stay in this namespace. In a chroot "/" is a folder of a mount whose top is out of sight,
 * and only a top can be made private: so out to the namespace's root, and back. With the working
 * directory left above a new root, ".." leads there.
 */
static int make_mounts_private(void)
{
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0)
		return 0;
	if (errno != EINVAL)
		return -1;
	auto_close int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0 || chdir("/") < 0 || chroot("/proc") < 0)
		return -1;
	struct stat here, above;
	while (stat(".", &here) == 0 && stat("..", &above) == 0 &&
	       (here.st_dev != above.st_dev || here.st_ino != above.st_ino))
		if (chdir("..") < 0)
			return -1;
	if (chroot(".") < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -1;
	return fchdir(root) < 0 || chroot(".") < 0 ? -1 : 0;
}

static void __attribute__((noreturn))
child(const struct process_options *options, char **environment, int pipe_fd, pid_t parent)
{
	if (options->group) {
		if (setsid() < 0)
			give_up(pipe_fd, "setsid");
		if (options->group->cgroup[0] &&
		    write_file_at(options->group->cgroup, "cgroup.procs", "0") < 0)
			give_up(pipe_fd, "join the action's cgroup");
		char text[16];
		snprintf(text, sizeof(text), "%d", OOM_FIRST);
		write_file_at("/proc/self", "oom_score_adj", text);
	}
	if (options->die_with_parent) {
		if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
			give_up(pipe_fd, "prctl PR_SET_PDEATHSIG");
		if (getppid() != parent)
			_exit(127);
	}
	if (options->new_mount_namespace) {
		if (unshare(CLONE_NEWNS) < 0)
			give_up(pipe_fd, "a mount namespace of its own");
		if (make_mounts_private() < 0)
			give_up(pipe_fd, "make mounts private");
	}
	if (place_descriptors(options, &pipe_fd) < 0)
		give_up(pipe_fd, "descriptors");
	if (options->chroot && (chroot(options->chroot) < 0 || chdir("/") < 0))
		give_up(pipe_fd, "chroot");
	if (options->working_directory && chdir(options->working_directory) < 0)
		give_up(pipe_fd, options->working_directory);
	/* The worker blocks and ignores signals; programs expect the defaults. */
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	if (environment)
		environ = environment;
	execvp(options->argv[0], (char *const *)(uintptr_t)options->argv);
	give_up(pipe_fd, "");
}

/*
 * The environment of a program, NULL for the caller's as it is. Without cgroups it names the
 * outermost group, so that a later life finds the program again. The list is the caller's to free,
 * its words are not.
 */
static char **marked_environment(const struct process_options *options, const char *mark)
{
	char **from = options->environment ? (char **)(uintptr_t)options->environment : environ;
	size_t count = 0;
	while (from && from[count])
		count++;
	char **list = calloc(count + 2, sizeof(*list));
	if (!list)
		abort();
	size_t used = 0;
	for (size_t i = 0; i < count; i++)
		if (strncmp(from[i], MARK "=", strlen(MARK "=")) != 0)
			list[used++] = from[i];
	if (mark)
		list[used++] = (char *)(uintptr_t)mark;
	return list;
}

static char *mark_of(const struct process_group *group)
{
	const char *outer = getenv(MARK);
	if (outer)
		return text_format(MARK "=%s", outer);
	return group && !group->cgroup[0] ? text_format(MARK "=%s", group->name) : NULL;
}

int process_start(const struct process_options *options, pid_t *ret_pid, struct error *err)
{
	int ends[2];
	auto_free char *mark = mark_of(options->group);
	auto_free char **environment = marked_environment(options, mark);
	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_sys(err, "pipe");
	auto_close int read_end = ends[0];
	pid_t parent = getpid();
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0)
		child(options, environment, ends[1], parent);
	int fork_errno = errno;
	close(ends[1]);
	if (pid < 0)
		return error_errno(err, fork_errno, "fork for %s", options->argv[0]);
	struct start_failure failure;
	ssize_t got;
	do {
		got = read(read_end, &failure, sizeof(failure));
	} while (got < 0 && errno == EINTR);
	if (got == (ssize_t)sizeof(failure)) {
		waitpid(pid, NULL, 0);
		return error_errno(err, failure.errnum, "start %s%s%s", options->argv[0],
				   failure.what[0] ? ": " : "", failure.what);
	}
	children_add(pid, options->unattended);
	if (options->group)
		options->group->leader = pid;
	*ret_pid = pid;
	return 0;
}

/* Waiting */

int process_wait(pid_t pid, int64_t timeout_ms, struct process_end *ret_end, struct error *err)
{
	auto_close int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0 && errno != ESRCH && errno != EINVAL)
		return error_sys(err, "pidfd_open");
	int64_t deadline = timeout_ms < 0 ? INT64_MAX : clock_monotonic_ms() + timeout_ms;
	for (;;) {
		int status;
		int ended = take_status(pid, &status);
		if (ended < 0)
			return error_sys(err, "wait for process %d", (int)pid);
		if (ended > 0) {
			ret_end->signalled = WIFSIGNALED(status);
			ret_end->code = ret_end->signalled ? WTERMSIG(status) : WEXITSTATUS(status);
			return 1;
		}
		int64_t left = deadline - clock_monotonic_ms();
		if (left <= 0)
			return 0;
		struct pollfd poll_fd = {.fd = pidfd, .events = POLLIN};
		poll(&poll_fd, 1, (int)(left < 60000 ? left : 60000));
	}
}

int process_check(const struct process_end *end, struct error *err)
{
	if (end->signalled) {
		error_set(err, ERROR_CRASHED, "killed by signal %d (%s)%s", end->code,
			  strsignal(end->code), end->code == SIGKILL ? ": out of memory?" : "");
		err->code = end->code;
		return -1;
	}
	if (end->code != 0) {
		error_set(err, ERROR_FAILED, "exit status %d", end->code);
		err->code = end->code;
		return -1;
	}
	return 0;
}

int process_run(const char *const *argv, struct error *err)
{
	const struct process_options options = {
		.argv = argv, .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1};
	pid_t pid = 0;
	struct process_end end = {.code = 0};
	if (process_start(&options, &pid, err) < 0 || process_wait(pid, -1, &end, err) < 0)
		return -1;
	return process_check(&end, err) < 0 ? error_wrap(err, "%s", argv[0]) : 0;
}
