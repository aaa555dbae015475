/* What goes into the bundle, and where it goes: see bundle.h. The tables are bundle_tables.c. */
#include "agent/bundle.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "agent/attributes.h"
#include "agent/bundle_tables.h"
#include "agent/signals.h"
#include "platform/clock.h"
#include "platform/compress.h"
#include "platform/http.h"
#include "platform/kmsg.h"
#include "platform/log.h"
#include "platform/secret.h"
#include "platform/stream.h"
#include "platform/sysfs.h"
#include "platform/tar_write.h"
#include "platform/text.h"

/* A file of the machine is cut at FILE_MOST; what is more than TAR_MOST in all is left out, with
 * TAR_RESERVE for what says so. */
enum {
	TAR_MOST = 16 << 20,
	TAR_RESERVE = 128 << 10,
	BUNDLE_MOST = 32 << 20, /* what does not get smaller gets a little larger */
	FILE_MOST = 2 << 20,
	UPLOAD_MOST_MS = 60000,
	UPLOAD_STALL_MS = 15000,
	CONNECT_MS = 10000
};

struct bundle {
	const struct config *config;
	struct buffer tar;
	struct buffer missing; /* lines for about.txt */
	struct timespec now;
};

static void note_missing(struct bundle *bundle, const char *name, const char *why)
{
	struct error ignored;
	auto_free char *line = text_format("missing: %s: %s\n", name, why);
	buffer_add(&bundle->missing, line, strlen(line), &ignored);
}

/* Everything comes by here: no secret gets in. Changes text. */
static void add_text(struct bundle *bundle, const char *name, struct buffer *text, bool is_last)
{
	struct error err;
	for (size_t i = 0; i < text->size; i++)
		if (text->data[i] == '\0')
			text->data[i] = '\n';
	if (buffer_add(text, "", 1, &err) < 0) {
		note_missing(bundle, name, err.text);
		return;
	}
	secret_redact((char *)text->data);
	if (bundle->tar.size + text->size + TAR_RESERVE > TAR_MOST && !is_last)
		note_missing(bundle, name, "the bundle is full");
	else if (tar_write_file(&bundle->tar, name, text->data, strlen((char *)text->data),
				bundle->now.tv_sec, &err) < 0)
		note_missing(bundle, name, err.text);
}

/* The file's first FILE_MOST bytes: files in /proc have no size before they are read. */
static void add_file(struct bundle *bundle, const char *name, const char *path)
{
	auto_buffer struct buffer text = {.cap = FILE_MOST + 2};
	struct error err;
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0) {
		note_missing(bundle, name, strerror(errno));
		return;
	}
	while (text.size < FILE_MOST) {
		if (buffer_reserve(&text, FILE_MOST - text.size, &err) < 0)
			break;
		ssize_t got = read(fd, text.data + text.size, FILE_MOST - text.size);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			note_missing(bundle, name, strerror(errno));
		if (got <= 0)
			break;
		text.size += (size_t)got;
	}
	add_text(bundle, name, &text, false);
}

static void add_system_files(struct bundle *bundle)
{
	static const char *const paths[][2] = {
		{"system/cmdline.txt", "/proc/cmdline"},
		{"system/meminfo.txt", "/proc/meminfo"},
		{"system/cpuinfo.txt", "/proc/cpuinfo"},
		{"system/modules.txt", "/proc/modules"},
		{"system/interrupts.txt", "/proc/interrupts"},
		{"system/iomem.txt", "/proc/iomem"},
		{"system/version.txt", "/proc/version"},
		{"disks/mounts.txt", "/proc/self/mountinfo"},
		{"disks/partitions.txt", "/proc/partitions"},
		{"disks/mdstat.txt", "/proc/mdstat"},
		{"disks/diskstats.txt", "/proc/diskstats"},
		{"network/routes.txt", "/proc/net/route"},
		{"network/routes6.txt", "/proc/net/ipv6_route"},
		{"network/neighbours.txt", "/proc/net/arp"},
		{"network/counters.txt", "/proc/net/dev"},
	};
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		auto_free char *path = text_format("%s%s", sysfs_root(), paths[i][1]);
		add_file(bundle, paths[i][0], path);
	}
	add_file(bundle, "network/resolv.conf", "/etc/resolv.conf");
}

/* The log of the worker (in its folder may be others' with others' secrets), and what everybody has
 * said on the consoles of the initramfs. */
static void add_logs(struct bundle *bundle)
{
	const char *folder = config_text(bundle->config, SETTING_LOG_DIR);
	auto_free char *worker = text_format("%s/worker.log", folder);
	auto_free char *worker_before = text_format("%s/worker.log.1", folder);
	const struct {
		const char *name, *path;
		bool optional;
	} files[] = {{"log/worker.log.1", worker_before, true},
		     {"log/worker.log", worker, false},
		     {"log/console.log.1", "/run/tink-worker/log.1", true},
		     {"log/console.log", "/run/tink-worker/log", true}};
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		if (!files[i].optional || access(files[i].path, R_OK) == 0)
			add_file(bundle, files[i].name, files[i].path);
	const char *status = config_text(bundle->config, SETTING_STATUS_FILE);
	if (strcmp(status, "none") != 0)
		add_file(bundle, "status.txt", status);
}

static void add_kernel_messages(struct bundle *bundle)
{
	auto_buffer struct buffer text = {.cap = FILE_MOST};
	struct error err;
	if (kmsg_dump(&text, &err) < 0)
		note_missing(bundle, "dmesg.txt", err.text);
	if (text.size > 0)
		add_text(bundle, "dmesg.txt", &text, false);
}

/* What a function prints. */
static void add_printed(struct bundle *bundle, const char *name,
			void (*print)(const struct config *config, FILE *out))
{
	char *data = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&data, &size);
	if (!out)
		abort();
	print(bundle->config, out);
	fclose(out);
	auto_buffer struct buffer text = {.cap = FILE_MOST};
	struct error err;
	if (buffer_add(&text, data, size, &err) < 0)
		note_missing(bundle, name, err.text);
	else
		add_text(bundle, name, &text, false);
	free(data);
}

static void print_inventory(const struct config *config, FILE *out)
{
	auto_inventory struct inventory inventory;
	char dropped[256];
	(void)config;
	inventory_read(&inventory);
	struct attributes *attributes =
		attributes_make(&inventory, FILE_MOST / 2, dropped, sizeof(dropped));
	auto_free char *text = attributes_json(attributes, true);
	attributes_free(attributes);
	fprintf(out, "%s\n", text);
}

/* Last: it says what is missing. */
static void add_about(struct bundle *bundle)
{
	auto_buffer struct buffer text = {.cap = FILE_MOST};
	struct error ignored;
	struct utsname system = {.release = ""};
	char now[40], up[64] = "";
	uname(&system);
	sysfs_read(up, sizeof(up), "/proc/uptime");
	auto_free char *head = text_format(
		"tink-worker %s\nid: %s\nserver: %s\ntime: %s\nkernel: %s %s\nhost: %s\n"
		"seconds since the start: %.*s\n",
		TINK_WORKER_VERSION, config_text(bundle->config, SETTING_ID),
		config_text(bundle->config, SETTING_GRPC_SERVER),
		clock_format_utc(bundle->now, now, sizeof(now)), system.release, system.machine,
		system.nodename, (int)strcspn(up, " "), up);
	buffer_add(&text, head, strlen(head), &ignored);
	buffer_add(&text, bundle->missing.data, bundle->missing.size, &ignored);
	add_text(bundle, "about.txt", &text, true);
}

static int pack(struct bundle *bundle, enum compression compression, struct buffer *out,
		struct error *err)
{
	struct stream *stream;
	uint8_t data[16384];
	ssize_t got;
	if (tar_write_end(&bundle->tar, err) < 0)
		return -1;
	/* One thread: it takes less memory, and is quick enough. */
	if (compress_stream(stream_from_memory(bundle->tar.data, bundle->tar.size), compression, 1,
			    &stream, err) < 0)
		return -1;
	while ((got = stream_read(stream, data, sizeof(data), err)) > 0) {
		if (buffer_add(out, data, (size_t)got, err) < 0) {
			got = -1;
			break;
		}
	}
	stream_close(stream);
	return got < 0 ? -1 : 0;
}

int bundle_make(const struct config *config, enum compression compression, struct buffer *out,
		struct error *err)
{
	struct bundle bundle = {.config = config,
				.tar = {.cap = TAR_MOST},
				.missing = {.cap = 65536},
				.now = clock_wall()};
	auto_buffer struct buffer line = {.cap = 1 << 20};
	struct error ignored;
	auto_free char *path = text_format("%s/proc/cmdline", sysfs_root());
	/* Of whatever program these are. */
	if (buffer_read_file(&line, path, &ignored) == 0)
		secret_learn((const char *)line.data);
	add_logs(&bundle);
	add_kernel_messages(&bundle);
	add_printed(&bundle, "config.txt", config_print);
	add_printed(&bundle, "inventory.json", print_inventory);
	add_printed(&bundle, "disks/disks.txt", bundle_print_disks);
	add_printed(&bundle, "network/interfaces.txt", bundle_print_network);
	add_system_files(&bundle);
	add_about(&bundle);
	int result = pack(&bundle, compression, out, err);
	buffer_free(&bundle.tar);
	buffer_free(&bundle.missing);
	return result;
}

static int write_out(const char *path, const struct buffer *data, struct error *err)
{
	bool to_stdout = strcmp(path, "-") == 0;
	struct stat status;
	auto_close int fd = to_stdout ? dup(STDOUT_FILENO)
				      : open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || fstat(fd, &status) < 0)
		return error_sys(err, "open %s", path);
	bool is_file = !to_stdout && S_ISREG(status.st_mode);
	/* One that was there may be for everybody's eyes. */
	if (is_file && fchmod(fd, 0600) < 0)
		return error_sys(err, "open %s", path);
	if (buffer_write_fd(data, fd, path, err) == 0) {
		if (close(take_fd(&fd)) == 0)
			return 0;
		error_sys(err, "write %s", path);
	}
	/* Half a bundle helps nobody, and its place is needed. */
	if (is_file)
		unlink(path);
	return -1;
}

static bool ends_in(const char *text, const char *end)
{
	size_t size = strlen(text), end_size = strlen(end);
	return size >= end_size && strcmp(text + size - end_size, end) == 0;
}

/* tink-worker-<id>-<time>.tar.gz, of characters that are the same everywhere. */
static char *default_name(const struct config *config)
{
	char now[40];
	char *name = text_format("tink-worker-%s-%.19s.tar.gz", config_text(config, SETTING_ID),
				 clock_format_utc(clock_wall(), now, sizeof(now)));
	for (char *p = name; *p; p++)
		if (!isalnum((unsigned char)*p) && !strchr("-._", *p))
			*p = '-';
	return name;
}

int bundle_main(const struct config *config, int argc, char *const *argv)
{
	auto_buffer struct buffer out = {.cap = BUNDLE_MOST};
	struct error err;
	bool named = argc == 2 && (strcmp(argv[0], "-o") == 0 || strcmp(argv[0], "--output") == 0);
	if (argc != 0 && !named) {
		fprintf(stderr, "tink-worker: bundle takes -o FILE (*.tar.gz, *.tar.zst, or - for "
				"standard output)\n");
		return 2;
	}
	auto_free char *path = named ? text_dup(argv[1]) : default_name(config);
	if (bundle_make(config, ends_in(path, ".zst") ? COMPRESSION_ZSTD : COMPRESSION_GZIP, &out,
			&err) < 0 ||
	    write_out(path, &out, &err) < 0) {
		fprintf(stderr, "tink-worker: %s: %s\n", error_kind_name(err.kind), err.text);
		return 1;
	}
	if (strcmp(path, "-") != 0)
		printf("%s\n", path);
	return 0;
}

static void put_encoded(struct buffer *out, const char *text)
{
	struct error ignored;
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		char code[4];
		bool plain = isascii(c) && (isalnum(c) || strchr("-._~", c));
		int size = snprintf(code, sizeof(code), plain ? "%c" : "%%%02X", c);
		buffer_add(out, code, (size_t)size, &ignored);
	}
}

char *bundle_url(const char *pattern, const char *id, const char *workflow, const char *action,
		 struct timespec when)
{
	char now[40];
	clock_format_utc(when, now, sizeof(now));
	const struct {
		const char *mark, *value;
	} places[] = {
		{"{id}", id}, {"{workflow}", workflow}, {"{action}", action}, {"{time}", now}};
	auto_buffer struct buffer out = {.cap = 65536};
	struct error ignored;
	while (*pattern) {
		size_t place = 0, count = sizeof(places) / sizeof(places[0]);
		while (place < count &&
		       strncmp(pattern, places[place].mark, strlen(places[place].mark)) != 0)
			place++;
		if (place < count) {
			put_encoded(&out, places[place].value);
			pattern += strlen(places[place].mark);
		} else {
			buffer_add(&out, pattern++, 1, &ignored);
		}
	}
	return text_dup_size((const char *)out.data, out.size);
}

/* Readable when the time is over or a signal asks to stop. */
static int deadline_fd(int timer, struct error *err)
{
	const struct itimerspec when = {.it_value = {.tv_sec = UPLOAD_MOST_MS / 1000}};
	auto_close int fd = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = {.events = EPOLLIN};
	if (fd < 0 || timerfd_settime(timer, 0, &when, NULL) < 0 ||
	    epoll_ctl(fd, EPOLL_CTL_ADD, timer, &event) < 0 ||
	    (signals_fd() > 0 && epoll_ctl(fd, EPOLL_CTL_ADD, signals_fd(), &event) < 0))
		return error_sys(err, "a deadline");
	return take_fd(&fd);
}

static int upload(const struct config *config, const char *url, const struct buffer *data,
		  struct error *err)
{
	auto_close int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (timer < 0)
		return error_sys(err, "a timer");
	auto_close int cancel = deadline_fd(timer, err);
	if (cancel < 0)
		return -1;
	const struct http_options http = {.ca_file = config_text(config, SETTING_TLS_CA),
					  .connect_timeout_ms = CONNECT_MS,
					  .stall_timeout_ms = UPLOAD_STALL_MS,
					  .cancel_fd = cancel};
	const struct http_upload target = {.url = url, .content_type = "application/gzip"};
	auto_stream struct stream *stream = stream_from_memory(data->data, data->size);
	if (http_upload(&target, &http, stream, NULL, err) == 0)
		return 0;
	uint64_t expired;
	if (err->kind == ERROR_CANCELLED && read(timer, &expired, sizeof(expired)) > 0)
		return error_set(err, ERROR_TIMEOUT, "not done within %d s", UPLOAD_MOST_MS / 1000);
	return -1;
}

void bundle_upload(const struct config *config, const struct action_request *request,
		   const struct report *report)
{
	const char *pattern = config_text(config, SETTING_BUNDLE_URL);
	if (!pattern[0] || (report->state != REPORT_FAILED && report->state != REPORT_TIMEOUT))
		return;
	char shown[512];
	auto_buffer struct buffer data = {.cap = BUNDLE_MOST};
	struct error err;
	auto_free char *url = bundle_url(pattern, config_text(config, SETTING_ID),
					 request->workflow_id, request->name, clock_wall());
	text_redact_url(url, shown, sizeof(shown));
	if (bundle_make(config, COMPRESSION_GZIP, &data, &err) < 0 ||
	    upload(config, url, &data, &err) < 0)
		log_warning("the bundle could not be uploaded", "workflow", request->workflow_id,
			    "action", request->name, "url", shown, "error", err.text);
	else
		log_info("bundle uploaded", "workflow", request->workflow_id, "action",
			 request->name, "url", shown, "bytes", LOG_NUMBER(data.size));
}
