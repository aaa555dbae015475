/* From log lines and kernel messages to files and syslog: see logs.h. */
#include "agent/logs.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "platform/buffer.h"
#include "platform/cleanup.h"
#include "platform/clock.h"
#include "platform/kmsg.h"
#include "platform/log.h"
#include "platform/log_file.h"
#include "platform/secret.h"
#include "platform/sysfs.h"
#include "platform/syslog.h"
#include "platform/text.h"

enum {
	FILE_BYTES = 512 << 10,
	STOP_MS = 2000,
	HOST_SIZE = 256,
	BOOT_ID_SIZE = 64
};

static const char program_name[] = "tink-worker";

static struct {
	const struct config *config;
	struct log_file *file;
	struct syslog *syslog;
	struct kmsg *kmsg;
	int seen_fd; /* how far the kernel's messages were taken; -1: not kept */
	char boot_id[BOOT_ID_SIZE];
	bool debug; /* the kernel's debug messages too */
} logs = {.seen_fd = -1};

/* The name that the site gave this machine, else what the server knows it by. */
static const char *host_name(char *out)
{
	static const char *const nobody[] = {"", "(none)", "localhost", "tink-worker"};
	if (gethostname(out, HOST_SIZE) < 0)
		out[0] = '\0';
	out[HOST_SIZE - 1] = '\0';
	for (size_t i = 0; i < sizeof(nobody) / sizeof(nobody[0]); i++)
		if (strcmp(out, nobody[i]) == 0)
			return config_text(logs.config, SETTING_ID);
	return out;
}

static void to_syslog(void *context, const struct log_event *event)
{
	static const unsigned severities[] = {[LOG_LEVEL_DEBUG] = SYSLOG_DEBUG,
					      [LOG_LEVEL_INFO] = SYSLOG_INFO,
					      [LOG_LEVEL_WARNING] = SYSLOG_WARNING,
					      [LOG_LEVEL_ERROR] = SYSLOG_ERROR};
	char host[HOST_SIZE], process[16];
	snprintf(process, sizeof(process), "%d", (int)getpid());
	const struct syslog_message message = {.severity = severities[event->level],
					       .time = event->time,
					       .host = host_name(host),
					       .app = event->program ? event->program
								     : program_name,
					       .process = process,
					       .kind = event->program ? "output" : "",
					       .id = config_text(logs.config, SETTING_ID),
					       .workflow = event->workflow,
					       .action = event->action,
					       .state = event->state,
					       .text = event->body,
					       .text_size = event->body_size};
	syslog_put(context, &message, false);
}

/* The wall clock's time of something that long after the machine's start. */
static struct timespec wall_time(uint64_t since_start_us)
{
	struct timespec now = clock_wall(), up = {.tv_sec = 0};
	clock_gettime(CLOCK_MONOTONIC, &up);
	int64_t ns = ((int64_t)now.tv_sec - up.tv_sec) * 1000000000 + now.tv_nsec - up.tv_nsec +
		     (int64_t)since_start_us * 1000;
	return (struct timespec){.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
}

static void put_kernel(const struct kmsg_record *record, const char *text, unsigned severity)
{
	char host[HOST_SIZE];
	const struct syslog_message message = {.has_facility = true,
					       .facility = record->facility,
					       .severity = severity,
					       .time = wall_time(record->time_us),
					       .host = host_name(host),
					       .app = record->program,
					       .process = record->process,
					       .id = config_text(logs.config, SETTING_ID),
					       .text = text,
					       .text_size = strlen(text)};
	syslog_put(logs.syslog, &message, true);
}

static void on_kernel_message(void *context, struct kmsg_record *record, uint64_t lost)
{
	char text[128];
	(void)context;
	if (lost > 0) {
		struct kmsg_record note = {.time_us = record->time_us, .program = "kernel"};
		snprintf(text, sizeof(text),
			 "%" PRIu64
			 " messages of the kernel were overwritten before they were read",
			 lost);
		put_kernel(&note, text, SYSLOG_WARNING);
	}
	/* The kernel tells its command line. */
	secret_redact(record->text);
	if (record->severity < SYSLOG_DEBUG || logs.debug)
		put_kernel(record, record->text, record->severity);
	/* Fixed width: the next one covers it. */
	int size =
		snprintf(text, sizeof(text), "%s %20" PRIu64 "\n", logs.boot_id, record->sequence);
	if (logs.seen_fd >= 0 && pwrite(logs.seen_fd, text, (size_t)size, 0) != size)
		close(take_fd(&logs.seen_fd));
}

/* A worker that is started again does not tell all of it again: how far the one before came, in the
 * same life of the machine. */
static uint64_t open_seen(const char *folder)
{
	char text[128] = "", boot_id[BOOT_ID_SIZE] = "";
	uint64_t sequence = 0;
	if (!sysfs_read(logs.boot_id, sizeof(logs.boot_id), "/proc/sys/kernel/random/boot_id"))
		return 0;
	auto_free char *path = text_format("%s/kernel-seen", folder);
	logs.seen_fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (logs.seen_fd < 0 || pread(logs.seen_fd, text, sizeof(text) - 1, 0) <= 0 ||
	    sscanf(text, "%63s %" SCNu64, boot_id, &sequence) != 2 ||
	    strcmp(boot_id, logs.boot_id) != 0)
		return 0;
	return sequence;
}

static void start_file(const char *folder)
{
	struct error err;
	if (strcmp(folder, "none") == 0)
		return;
	if (log_file_open(folder, "worker", FILE_BYTES, &logs.file, &err) == 0) {
		log_add_sink(log_file_take, logs.file);
		return;
	}
	/* Who has not asked for them need not be told that there are none. */
	bool asked = logs.config->values[SETTING_LOG_DIR].origin != ORIGIN_DEFAULT;
	log_line(asked ? LOG_LEVEL_WARNING : LOG_LEVEL_DEBUG, "the log goes to no file", "error",
		 err.text, NULL);
}

const char *logs_path(void)
{
	static char path[512];
	if (logs.file)
		snprintf(path, sizeof(path), "%s/worker.log",
			 config_text(logs.config, SETTING_LOG_DIR));
	return path;
}

static bool wants_kernel(const struct syslog_target *targets, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (targets[i].kernel)
			return true;
	return false;
}

void logs_trust(const struct config *config)
{
	if (logs.syslog)
		syslog_trust(logs.syslog, config_text(config, SETTING_TLS_CA));
}

static void start_syslog(const char *setting, bool beside)
{
	struct syslog_target targets[SYSLOG_TARGETS_MOST];
	struct error err;
	size_t count;
	if (syslog_parse(setting, targets, &count, &err) < 0)
		log_warning("syslog-host: a target cannot be used", "error", err.text);
	if (count == 0)
		return;
	if (syslog_start(targets, count, &logs.syslog, &err) < 0) {
		log_warning("nothing goes to syslog", "error", err.text);
		return;
	}
	log_add_sink(to_syslog, logs.syslog);
	/* A URL is fetched first. */
	if (!strstr(config_text(logs.config, SETTING_TLS_CA), "://"))
		logs_trust(logs.config);
	if (beside || !wants_kernel(targets, count))
		return;
	uint64_t seen = logs.file ? open_seen(config_text(logs.config, SETTING_LOG_DIR)) : 0;
	if (kmsg_start(seen, on_kernel_message, NULL, &logs.kmsg, &err) < 0)
		log_warning("the kernel's messages do not go to syslog", "error", err.text);
}

static void start(const struct config *config, bool beside)
{
	enum log_level level = LOG_LEVEL_INFO;
	logs.config = config;
	log_parse_level(config_text(config, SETTING_LOG_LEVEL), &level);
	logs.debug = level == LOG_LEVEL_DEBUG;
	if (!beside)
		start_file(config_text(config, SETTING_LOG_DIR));
	start_syslog(config_text(config, SETTING_SYSLOG_HOST), beside);
}

void logs_start(const struct config *config)
{
	start(config, false);
}

void logs_start_beside(const struct config *config)
{
	start(config, true);
}

void logs_flush(void)
{
	if (logs.syslog)
		syslog_flush(logs.syslog, STOP_MS);
}

void logs_stop(void)
{
	if (logs.kmsg)
		kmsg_stop(logs.kmsg);
	if (logs.syslog) {
		log_remove_sink(to_syslog, logs.syslog);
		syslog_stop(logs.syslog, STOP_MS);
	}
	if (logs.file) {
		log_remove_sink(log_file_take, logs.file);
		log_file_close(logs.file);
	}
	cleanup_close(&logs.seen_fd);
	logs.kmsg = NULL;
	logs.syslog = NULL;
	logs.file = NULL;
	logs.seen_fd = -1;
}
