/*
 * cexec: runs a command in a file system on a partition, as a rule in the freshly written system's
 * own root. Everything it mounts is in the mount namespace of this action only, so nothing can stay
 * behind.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "actions/action.h"
#include "actions/param.h"
#include "actions/request.h"
#include "platform/clock.h"
#include "platform/log.h"
#include "platform/mount.h"
#include "platform/process.h"
#include "platform/text.h"

struct cexec {
	const char *device;
	const char *fs_type;
	bool chroot;
	const char *interpreter;
	const char *command_line;
	bool update_resolv_conf;
	bool json_output;
};

static const struct param params[] = {
	{"BLOCK_DEVICE", PARAM_DEVICE, PARAM_AT(struct cexec, device), .flags = PARAM_REQUIRED,
	 .option = "block-device", .doc = "the partition that holds the file system"},
	{"FS_TYPE", PARAM_TEXT, PARAM_AT(struct cexec, fs_type), .option = "fs-type",
	 .doc = "its file system (ext4, xfs …); found by its signature when not given"},
	{"CHROOT", PARAM_NONEMPTY, PARAM_AT(struct cexec, chroot), .option = "chroot",
	 .doc = "run the command with the file system as its root; else it is mounted at "
		"/mountAction"},
	{"CMD_LINE", PARAM_TEXT, PARAM_AT(struct cexec, command_line), .flags = PARAM_REQUIRED,
	 .option = "cmd-line",
	 .doc = "what to run; several commands are separated by ; and each must succeed"},
	{"DEFAULT_INTERPRETER", PARAM_TEXT, PARAM_AT(struct cexec, interpreter),
	 .option = "default-interpreter",
	 .doc = "program that gets the whole CMD_LINE as its last argument (/bin/sh -c); without "
		"it no shell is used"},
	{"UPDATE_RESOLV_CONF", PARAM_BOOL, PARAM_AT(struct cexec, update_resolv_conf),
	 .option = "update-resolv-conf",
	 .doc = "let the command resolve names as this machine does"},
	{"JSON_OUTPUT", PARAM_BOOL, PARAM_AT(struct cexec, json_output), .flags = PARAM_NO_EFFECT,
	 .option = "json-outout", .doc = "taken for compatibility: the worker's log format holds"},
	{.name = NULL},
};

/* Mounts at a path inside the target, which may be full of links: the path is resolved with the
 * target as root. */
static int mount_inside(int root_fd, const char *path, const char *source, const char *type,
			unsigned long flags, const char *data, struct error *err)
{
	struct error missing;
	auto_close int fd = open_in_root(root_fd, path, O_PATH, 0, &missing);
	if (fd < 0) {
		log_info("not there in this file system, so not mounted", "path", path);
		return 0;
	}
	char target[64];
	snprintf(target, sizeof(target), "/proc/self/fd/%d", fd);
	return mount(source, target, type, flags, data) < 0 ? error_sys(err, "mount %s", path) : 0;
}

/*
 * /run is fresh: programs there take its content for a running system's. Of this machine's only
 * udev's database is seen, which lsblk and grub-probe read.
 */
static int mount_run(int root_fd, struct error *err)
{
	if (mount_inside(root_fd, "/run", "tmpfs", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755",
			 err) < 0)
		return -1;
	struct error ignored;
	auto_close int run = open_in_root(root_fd, "/run", O_RDONLY | O_DIRECTORY, 0, &ignored);
	if (run < 0)
		return 0;
	if (mkdirat(run, "lock", 01777) < 0 && errno != EEXIST)
		return error_sys(err, "make /run/lock");
	if (access("/run/udev", F_OK) < 0)
		return 0;
	if (mkdirat(run, "udev", 0755) < 0 && errno != EEXIST)
		return error_sys(err, "make /run/udev");
	return mount_inside(root_fd, "/run/udev", "/run/udev", NULL, MS_BIND, NULL, err);
}

static int mount_system(int root_fd, struct error *err)
{
	if (mount_inside(root_fd, "/dev", "/dev", NULL, MS_BIND | MS_REC, NULL, err) < 0 ||
	    mount_inside(root_fd, "/proc", "/proc", NULL, MS_BIND | MS_REC, NULL, err) < 0 ||
	    mount_inside(root_fd, "/sys", "/sys", NULL, MS_BIND | MS_REC, NULL, err) < 0 ||
	    mount_run(root_fd, err) < 0)
		return -1;
	/* Most machines have these below what was bound just now. */
	struct stat status;
	if (stat("/dev/pts/ptmx", &status) < 0 && stat("/dev/pts", &status) == 0 &&
	    mount_inside(root_fd, "/dev/pts", "devpts", "devpts", MS_NOSUID | MS_NOEXEC,
			 "newinstance,ptmxmode=0666,mode=0620", err) < 0)
		return -1;
	struct error no_efi;
	if (stat("/sys/firmware/efi/efivars", &status) == 0 &&
	    access("/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c",
		   F_OK) < 0)
		mount_inside(root_fd, "/sys/firmware/efi/efivars", "efivarfs", "efivarfs",
			     MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL, &no_efi);
	return 0;
}

/*
 * The target's own resolv.conf is never changed: this machine's is bound over what it leads to.
 * Where there is nothing, an empty file is made (on the fresh /run in most cases, as
 * systemd-resolved's link leads there).
 */
static int bind_resolv_conf(int root_fd, struct error *err)
{
	static const struct directory_maker maker = {.mode = 0755};
	char name[NAME_MAX + 1];
	if (access("/etc/resolv.conf", R_OK) < 0) {
		log_warning("this machine has no /etc/resolv.conf to lend", "parameter",
			    "UPDATE_RESOLV_CONF");
		return 0;
	}
	auto_close int directory =
		open_parent_in_root(root_fd, "/etc/resolv.conf", &maker, name, err);
	if (directory < 0)
		return -1;
	auto_close int file =
		openat(directory, name, O_RDONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (file < 0)
		return error_sys(err, "open /etc/resolv.conf");
	char target[64];
	snprintf(target, sizeof(target), "/proc/self/fd/%d", file);
	return mount("/etc/resolv.conf", target, NULL, MS_BIND, NULL) < 0
		       ? error_sys(err, "bind /etc/resolv.conf")
		       : 0;
}

/* Splits at single blanks, as the original does. The words are copied. */
static char **split(const char *text)
{
	char **words = NULL;
	text_list_add(&words, NULL);
	while (*text) {
		text += strspn(text, " \t\n");
		size_t size = strcspn(text, " \t\n");
		if (size > 0) {
			char *word = text_dup_size(text, size);
			text_list_add(&words, word);
			free(word);
		}
		text += size;
	}
	return words;
}

static void free_words(char ***words)
{
	for (char **word = *words; word && *word; word++)
		free(*word);
	free(*words);
}
#define auto_words __attribute__((cleanup(free_words)))

/* All of the action's environment that is not cexec's own, and what every program expects. */
static char **command_environment(const struct action_request *request, const struct param *own)
{
	static const char *const always[] = {
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root",
		"TERM=linux", NULL};
	char **environment = NULL;
	text_list_add(&environment, NULL);
	for (const char *const *entry = always; *entry; entry++) {
		char *key = text_dup_size(*entry, strcspn(*entry, "="));
		if (!environment_get(request->environment, key))
			text_list_add(&environment, *entry);
		free(key);
	}
	for (char *const *entry = request->environment; *entry; entry++) {
		size_t size = strcspn(*entry, "=");
		bool mine = false;
		for (const struct param *param = own; param->name; param++)
			mine = mine || (strlen(param->name) == size &&
					strncmp(param->name, *entry, size) == 0);
		if (!mine)
			text_list_add(&environment, *entry);
	}
	return environment;
}

/* Runs one program to its end, and ends what it has left running: that would keep the file system
 * busy. */
static int run_program(const char *const *argv, const char *chroot_path, char *const *environment,
		       struct error *err)
{
	struct process_group group;
	if (process_group_open(&group, "command", err) < 0)
		return -1;
	struct process_options options = {.argv = argv,
					  .environment = (const char *const *)environment,
					  .stdin_fd = -1,
					  .stdout_fd = -1,
					  .stderr_fd = -1,
					  .group = &group,
					  .chroot = chroot_path};
	pid_t pid;
	struct process_end end;
	int result = process_start(&options, &pid, err);
	if (result == 0)
		result = process_wait(pid, -1, &end, err) < 0 ? -1 : 0;
	struct error kill_error;
	if (process_group_kill(&group, &kill_error) < 0 && result == 0) {
		*err = kill_error;
		result = -1;
	}
	process_group_close(&group);
	return result < 0 ? -1 : process_check(&end, err);
}

static int run_with_interpreter(const struct cexec *cexec, const char *chroot_path,
				char *const *environment, struct error *err)
{
	auto_words char **words = split(cexec->interpreter);
	text_list_add(&words, cexec->command_line);
	log_info("running", "interpreter", cexec->interpreter, "command", cexec->command_line);
	if (run_program((const char *const *)words, chroot_path, environment, err) < 0)
		return error_wrap(err, "%s \"%.200s\"", cexec->interpreter, cexec->command_line);
	return 0;
}

static int run_one_by_one(const struct cexec *cexec, const char *chroot_path,
			  char *const *environment, struct error *err)
{
	for (const char *at = cexec->command_line; *at;) {
		size_t size = strcspn(at, ";");
		auto_free char *line = text_dup_size(at, size);
		auto_words char **words = split(line);
		at += size + (at[size] == ';');
		if (!words[0])
			continue;
		log_info("running", "command", line);
		if (run_program((const char *const *)words, chroot_path, environment, err) < 0)
			return error_wrap(err, "%.200s", line);
	}
	return 0;
}

static int run(struct action_context *context, struct error *err)
{
	const struct cexec *cexec = context->params;
	auto_mount struct mount_point mounted = {.path = ""};
	char path[PATH_MAX], duration[32];
	int64_t start = clock_monotonic_ms();
	if (cexec->chroot)
		snprintf(path, sizeof(path), "%s/target", context->mount_root);
	else
		snprintf(path, sizeof(path), "/mountAction");
	if (mount_open(&mounted, cexec->device, cexec->fs_type, path, err) < 0)
		return -1;
	auto_close int root_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root_fd < 0)
		return error_sys(err, "open %s", path);
	if (cexec->chroot && (mount_system(root_fd, err) < 0 ||
			      (cexec->update_resolv_conf && bind_resolv_conf(root_fd, err) < 0)))
		return error_wrap(err, "prepare %s", cexec->device);
	struct action_progress progress = {.phase = "running"};
	action_report(context, &progress);
	auto_words char **environment = command_environment(context->request, params);
	const char *chroot_path = cexec->chroot ? path : NULL;
	int result = cexec->interpreter[0]
			     ? run_with_interpreter(cexec, chroot_path, environment, err)
			     : run_one_by_one(cexec, chroot_path, environment, err);
	/* What the command wrote is kept also when it failed. */
	struct error flush_error;
	close(take_fd(&root_fd));
	if (mount_finish_tree(&mounted, &flush_error) < 0 && result == 0) {
		*err = flush_error;
		result = -1;
	}
	if (result < 0)
		return error_wrap(err, "on %s", cexec->device);
	action_summary(
		context, "ran \"%.200s\" on %s in %s", cexec->command_line, cexec->device,
		clock_format_duration(clock_monotonic_ms() - start, duration, sizeof(duration)));
	text_cut_utf8(context->summary);
	return 0;
}

const struct action action_cexec;
const struct action action_cexec = {
	.name = "cexec",
	.published = true,
	.summary = "Run a command in the system on a partition.",
	.params = params,
	.params_size = sizeof(struct cexec),
	.passes_environment = true,
	.run = run,
};
