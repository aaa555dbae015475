/* Reboot, power off, and actions that run later: see machine.h. */
#include "agent/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <unistd.h>

#include "actions/actions.h"
#include "actions/request.h"
#include "agent/logs.h"
#include "agent/observer.h"
#include "agent/run.h"
#include "agent/status.h"
#include "platform/buffer.h"
#include "platform/cleanup.h"
#include "platform/log.h"
#include "platform/process.h"
#include "platform/text.h"

enum {
	LATER_REQUEST_FD = 3
};

static const char *word_of(enum after_kind kind)
{
	return kind == AFTER_POWEROFF ? "poweroff" : "reboot";
}

/* Unmounts what lies on block devices, the newest first; what is busy becomes read-only. */
static void unmount_disks(void)
{
	enum {
		MOUNTS_MOST = 512
	};
	char *points[MOUNTS_MOST];
	size_t count = 0;
	auto_fclose FILE *file = fopen("/proc/self/mountinfo", "re");
	auto_free char *line = NULL;
	size_t line_size = 0;
	while (file && count < MOUNTS_MOST && getline(&line, &line_size, file) > 0) {
		char point[512], source[512];
		const char *rest = strstr(line, " - ");
		if (rest && sscanf(line, "%*d %*d %*s %*s %511s", point) == 1 &&
		    sscanf(rest, " - %*s %511s", source) == 1 && strncmp(source, "/dev/", 5) == 0 &&
		    strncmp(source, "/dev/loop", 9) != 0)
			points[count++] = text_dup(point);
	}
	while (count-- > 0) {
		if (umount2(points[count], UMOUNT_NOFOLLOW) < 0 &&
		    mount(NULL, points[count], NULL, MS_REMOUNT | MS_RDONLY, NULL) < 0)
			log_warning("could not be unmounted", "path", points[count], "error",
				    strerror(errno));
		free(points[count]);
	}
}

/* sysrq is the last way: it works where reboot(2) hangs in a driver or is refused. */
static int machine_down(enum after_kind kind, const struct config *config, struct error *err)
{
	const char *command = config_text(config, SETTING_REBOOT_COMMAND);
	log_info(kind == AFTER_POWEROFF ? "powering off" : "rebooting");
	logs_flush();
	sync();
	if (command[0]) {
		const char *const argv[] = {command, word_of(kind), NULL};
		return process_run(argv, err);
	}
	unmount_disks();
	sync();
	reboot(kind == AFTER_POWEROFF ? RB_POWER_OFF : RB_AUTOBOOT);
	error_sys(err, "%s", word_of(kind));
	auto_close int fd = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, kind == AFTER_POWEROFF ? "o" : "b", 1) == 1)
		poll(NULL, 0, 30000);
	return -1;
}

/* Starts ourselves as `tink-worker later KIND SECONDS IMAGE`, with the request in a memory file. */
static int start_later(const struct action_after *after, const struct action_request *request,
		       const struct config *config, struct error *err)
{
	char kind[8], delay[16];
	snprintf(kind, sizeof(kind), "%d", (int)after->kind);
	snprintf(delay, sizeof(delay), "%" PRIu32, after->delay_s);
	struct action_request inner = *request;
	char image[AFTER_IMAGE_SIZE];
	memcpy(image, after->image, sizeof(image));
	if (after->kind == AFTER_RUN)
		inner.image = image;
	/* The workflow's timeout was for saying yes, not for what comes later. */
	inner.timeout_s = 0;
	const struct child_settings settings = {
		.action = "", .tls_ca = "", .log_level = "info", .native_registries = ""};
	auto_close int fd = child_request_fd(&inner, &settings, err);
	if (fd < 0)
		return -1;
	/* The settings that flags may have given travel as flags; the rest it reads itself, as we
	 * did. */
	const char *const argv[] = {"/proc/self/exe",
				    "--reboot-command",
				    config_text(config, SETTING_REBOOT_COMMAND),
				    "--tls-ca",
				    config_text(config, SETTING_TLS_CA),
				    "--log-level",
				    config_text(config, SETTING_LOG_LEVEL),
				    "--log-format",
				    config_text(config, SETTING_LOG_FORMAT),
				    "--syslog-host",
				    config_text(config, SETTING_SYSLOG_HOST),
				    "--native-actions",
				    config_text(config, SETTING_NATIVE_ACTIONS),
				    "later",
				    kind,
				    delay,
				    NULL};
	const struct process_options options = {.argv = argv,
						.stdin_fd = -1,
						.stdout_fd = -1,
						.stderr_fd = -1,
						.inherit = (const int[]){fd, -1},
						.unattended = true};
	pid_t pid;
	return process_start(&options, &pid, err);
}

int machine_after(const struct action_after *after, const struct action_request *request,
		  const struct config *config, struct error *err)
{
	if (after->kind == AFTER_NOTHING)
		return 0;
	status_after(after);
	if (after->kind != AFTER_RUN && after->delay_s == 0)
		return machine_down(after->kind, config, err);
	return start_later(after, request, config, err);
}

static int run_later(const struct action_request *request, const struct config *config,
		     struct error *err)
{
	const struct action_policy policy = {config_text(config, SETTING_NATIVE_ACTIONS)};
	const struct action *action = action_find(request, &policy, err);
	if (!action)
		return -1;
	char group[32];
	snprintf(group, sizeof(group), "later-%d", (int)getpid());
	const struct run_options options = {
		.config = config, .group_name = group, .observer = observer_log(request, NULL)};
	struct run_result result;
	log_info("action started", "action", request->name, "image", request->image);
	run_action(action, request, &options, &result);
	if (result.state != RUN_SUCCESS) {
		*err = result.error;
		return -1;
	}
	log_info("action ended", "action", request->name, "state", "SUCCESS", "summary",
		 result.summary);
	result.after.delay_s = 0;
	return machine_after(&result.after, request, config, err);
}

int machine_later_main(const struct config *config, int argc, char *const *argv)
{
	struct error err = {.kind = ERROR_NONE};
	auto_buffer struct buffer packed = {.cap = 64 << 20};
	auto_request struct action_request request = {.timeout_s = 0};
	struct child_settings ignored;
	uint64_t kind, delay_s;
	fcntl(LATER_REQUEST_FD, F_SETFD, FD_CLOEXEC);
	if (argc != 2 || !text_parse_uint(argv[0], 10, AFTER_RUN, &kind) ||
	    !text_parse_uint(argv[1], 10, 86400, &delay_s) ||
	    buffer_read_fd(&packed, LATER_REQUEST_FD, "the request", &err) < 0 ||
	    child_unpack(packed.data, packed.size, &request, &ignored, &err) < 0) {
		log_error("later is started by the worker itself", "error", err.text);
		return 2;
	}
	logs_start_beside(config);
	poll(NULL, 0, (int)delay_s * 1000);
	int result = (enum after_kind)kind == AFTER_RUN
			     ? run_later(&request, config, &err)
			     : machine_down((enum after_kind)kind, config, &err);
	if (result < 0) {
		log_error("what was to happen after the action has failed", "action", request.name,
			  "kind", error_kind_name(err.kind), "error", err.text);
	}
	logs_stop();
	return result < 0 ? 1 : 0;
}
