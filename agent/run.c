/* The parent's side of one action: see run.h. The child's is actions/child.c. */
#include "agent/run.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "actions/child.h"
#include "actions/param.h"
#include "actions/request.h"
#include "platform/clock.h"
#include "platform/disk_select.h"
#include "platform/log.h"
#include "platform/loop.h"
#include "platform/process.h"
#include "platform/secret.h"
#include "platform/text.h"

enum {
	LINE_SIZE = 2048,
	READS_MOST = 256 /* of 8 KiB each, for what is left in the pipe of one that has ended */
};

struct run {
	const struct run_options *options;
	struct run_result *result;
	struct process_group group;
	pid_t pid;
	int output_fd; /* the child's stdout and stderr; -1 when it is closed */
	int record_fd;
	char line[LINE_SIZE];
	size_t line_used;
	bool line_is_cut;
	bool have_result;
};

void output_tail_add(struct output_tail *tail, const char *line)
{
	size_t size = strlen(line) + 1;
	if (size > sizeof(tail->text) / 2)
		size = sizeof(tail->text) / 2;
	while (tail->used + size >= sizeof(tail->text)) {
		const char *end = memchr(tail->text, '\n', tail->used);
		size_t oldest = end ? (size_t)(end + 1 - tail->text) : tail->used;
		memmove(tail->text, tail->text + oldest, tail->used - oldest);
		tail->used -= oldest;
	}
	memcpy(tail->text + tail->used, line, size - 1);
	tail->text[tail->used + size - 1] = '\0';
	text_cut_utf8(tail->text + tail->used);
	tail->used += strlen(tail->text + tail->used);
	tail->text[tail->used++] = '\n';
	tail->text[tail->used] = '\0';
}

static void end_line(struct run *run)
{
	char clean[LINE_SIZE * 3];
	if (run->line_used > 0 && run->line[run->line_used - 1] == '\r')
		run->line_used--;
	text_sanitize(run->line, run->line_used, clean, sizeof(clean));
	secret_redact(clean);
	run->line_used = 0;
	run->line_is_cut = false;
	output_tail_add(&run->result->tail, clean);
	if (run->options->observer.on_output)
		run->options->observer.on_output(run->options->observer.context, clean);
}

/* Falls into lines. One that is too long is cut, the rest of it dropped. A bare CR (a progress
 * bar's) ends a line too. */
static void take_output(struct run *run, const char *data, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (data[i] == '\n' || (data[i] == '\r' && run->line_used > 0 && i + 1 < size &&
					data[i + 1] != '\n')) {
			end_line(run);
		} else if (run->line_used < sizeof(run->line)) {
			run->line[run->line_used++] = data[i];
		} else {
			run->line_is_cut = true;
		}
	}
}

/* Reads some of what is there; closes the descriptor at its end. True: there may be more, but one
 * who writes without a pause must not keep us from looking at the clock. */
static bool read_output(struct run *run)
{
	char data[8192];
	ssize_t got = read(run->output_fd, data, sizeof(data));
	if (got > 0) {
		take_output(run, data, (size_t)got);
		return true;
	}
	if (got < 0 && (errno == EINTR || errno == EAGAIN))
		return false;
	if (run->line_used > 0)
		end_line(run);
	close(take_fd(&run->output_fd));
	return false;
}

static void take_record(struct run *run, struct record *record)
{
	struct error err;
	if (record_check(record, &err) < 0) {
		log_warning("a record from the action was not understood", "error", err.text);
		return;
	}
	if (record->type == RECORD_PROGRESS) {
		run->result->progress = record->as.progress;
		if (run->options->observer.on_progress)
			run->options->observer.on_progress(run->options->observer.progress_context,
							   &record->as.progress);
		return;
	}
	run->have_result = true;
	run->result->error = record->as.result.error;
	memcpy(run->result->summary, record->as.result.summary, sizeof(run->result->summary));
	run->result->after = record->as.result.after;
}

static void read_records(struct run *run)
{
	struct record record;
	for (;;) {
		ssize_t got = read(run->record_fd, &record, sizeof(record));
		if (got == (ssize_t)sizeof(record)) {
			take_record(run, &record);
			continue;
		}
		if (got < 0 && (errno == EINTR || errno == EAGAIN))
			return;
		close(take_fd(&run->record_fd));
		return;
	}
}

static int request_fd(const struct action *action, const struct action_request *request,
		      const struct run_options *options, struct error *err)
{
	const struct child_settings settings = {
		.action = action->name,
		.tls_ca = config_text(options->config, SETTING_TLS_CA),
		.log_level = config_text(options->config, SETTING_LOG_LEVEL),
		.native_registries = config_text(options->config, SETTING_NATIVE_ACTIONS),
		.registries = {.name = config_text(options->config, SETTING_REGISTRY_NAME),
			       .username = config_text(options->config, SETTING_REGISTRY_USER),
			       .password = config_text(options->config, SETTING_REGISTRY_PASS),
			       .insecure =
				       config_text(options->config, SETTING_INSECURE_REGISTRIES)},
		.strict = options->strict};
	return child_request_fd(request, &settings, err);
}

static int start(struct run *run, const struct action *action, const struct action_request *request,
		 struct error *err)
{
	static const char *const argv[] = {"/proc/self/exe", "child", NULL};
	int output[2], records[2];
	auto_close int request_end = request_fd(action, request, run->options, err);
	if (request_end < 0 || process_group_open(&run->group, run->options->group_name, err) < 0)
		return -1;
	if (pipe2(output, O_CLOEXEC) < 0)
		return error_sys(err, "pipe");
	run->output_fd = output[0];
	auto_close int output_write = output[1];
	if (pipe2(records, O_CLOEXEC) < 0)
		return error_sys(err, "pipe");
	run->record_fd = records[0];
	auto_close int record_write = records[1];
	fcntl(run->output_fd, F_SETFL, O_NONBLOCK);
	fcntl(run->record_fd, F_SETFL, O_NONBLOCK);
	const struct process_options options = {
		.argv = argv,
		.stdin_fd = -1,
		.stdout_fd = output_write,
		.stderr_fd = output_write,
		.inherit = (const int[]){request_end, record_write, -1},
		.new_mount_namespace = true,
		.group = &run->group,
		.die_with_parent = true};
	return process_start(&options, &run->pid, err);
}

static void ended_early(struct run *run, enum run_state state, enum error_kind kind,
			const char *what)
{
	struct run_result *result = run->result;
	char in[32], out[32];
	result->state = state;
	error_set(&result->error, kind, "%s", what);
	if (result->progress.phase[0])
		error_append(&result->error, ", while %s", result->progress.phase);
	if (result->progress.bytes_out || result->progress.bytes_in)
		error_append(&result->error, " (%s received, %s written)",
			     text_bytes(result->progress.bytes_in, in, sizeof(in)),
			     text_bytes(result->progress.bytes_out, out, sizeof(out)));
}

/* Output and records until the child has ended, the time is over, or somebody wants it to stop.
 * Returns false when it was ended early. */
static bool watch(struct run *run, int64_t deadline_ms, uint64_t timeout_s)
{
	for (;;) {
		struct process_end end;
		struct error err;
		int ended = process_wait(run->pid, 0, &end, &err);
		if (ended != 0) {
			if (run->record_fd >= 0)
				read_records(run);
			struct run_result *result = run->result;
			if (ended < 0)
				result->error = err;
			else if (run->have_result && !end.signalled)
				ended = 1;
			else if (process_check(&end, &result->error) < 0)
				error_wrap(&result->error,
					   "the action's process ended without a result");
			else
				error_set(&result->error, ERROR_BUG,
					  "the action's process ended without a result");
			result->state = ended > 0 && result->error.kind == ERROR_NONE ? RUN_SUCCESS
										      : RUN_FAILED;
			return true;
		}
		int64_t left = deadline_ms - clock_monotonic_ms();
		if (left <= 0) {
			char what[96];
			snprintf(what, sizeof(what),
				 "not done within the %" PRIu64 " s of its timeout", timeout_s);
			ended_early(run, RUN_TIMEOUT, ERROR_TIMEOUT, what);
			return false;
		}
		/* Descriptors below 0 are passed over. The child's end closes them; the short
		 * timeout is for one that closed them before. */
		struct pollfd fds[] = {
			{.fd = run->output_fd, .events = POLLIN},
			{.fd = run->record_fd, .events = POLLIN},
			{.fd = run->options->stop_fd > 0 ? run->options->stop_fd : -1,
			 .events = POLLIN},
			{.fd = run->options->gone_fd > 0 ? run->options->gone_fd : -1,
			 .events = POLLIN}};
		bool open = run->output_fd >= 0 && run->record_fd >= 0;
		int64_t longest = open ? 1000 : 20;
		poll(fds, 4, (int)(left < longest ? left : longest));
		if (fds[0].revents)
			read_output(run);
		if (fds[1].revents)
			read_records(run);
		if (fds[2].revents) {
			ended_early(run, RUN_INTERRUPTED, ERROR_CANCELLED, "interrupted");
			return false;
		}
		if (fds[3].revents) {
			ended_early(run, RUN_GONE, ERROR_CANCELLED,
				    "the server does not know the workflow any more");
			return false;
		}
	}
}

/* Loop devices that a command has attached on the action's file system outlive it, and would keep
 * its disk busy for the next. */
static void detach_loops(const struct action *action, const struct action_request *request)
{
	for (const struct param *param = action->params; param->name; param++) {
		const char *device = param_given(param, request);
		char path[256];
		struct error ignored;
		if (param->type == PARAM_DEVICE && device && device[0] &&
		    disk_select(device, path, sizeof(path), &ignored) == 0 &&
		    loop_detach_from(path) > 0)
			log_info("detached the loop devices that the action has left", "device",
				 device);
	}
}

/* How many processes the kernel has ended since it started because there was no memory left. */
static uint64_t killed_for_memory(void)
{
	auto_fclose FILE *file = fopen("/proc/vmstat", "re");
	char line[128];
	uint64_t count = 0;
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "oom_kill %" SCNu64, &count) == 1)
			break;
	return count;
}

/* A process that is killed for lack of memory is not told why, so its end does not say either. */
static void tell_lack_of_memory(struct run_result *result, uint64_t killed_before)
{
	struct sysinfo machine;
	char size[32];
	uint64_t killed = killed_for_memory() - killed_before;
	if (result->state == RUN_SUCCESS || killed == 0 || sysinfo(&machine) < 0)
		return;
	error_append(&result->error,
		     " (out of memory: the kernel has ended %" PRIu64
		     " process%s meanwhile; the machine has %s)",
		     killed, killed == 1 ? "" : "es",
		     text_bytes((uint64_t)machine.totalram * machine.mem_unit, size, sizeof(size)));
}

/* Ends whatever the action has left running; its mounts go with its last process. */
static void end_group(struct run *run)
{
	struct run_result *result = run->result;
	struct error err;
	if (process_group_kill(&run->group, &err) == 0)
		return;
	log_error("a process of the action does not end", "error", err.text);
	if (result->state != RUN_SUCCESS) {
		error_append(&result->error, "; and %s", err.text);
		return;
	}
	result->state = RUN_FAILED;
	result->error = err;
	error_wrap(&result->error, "the action has done its work, but left something running");
}

void run_action(const struct action *action, const struct action_request *request,
		const struct run_options *options, struct run_result *ret_result)
{
	*ret_result = (struct run_result){.state = RUN_FAILED, .start = clock_wall()};
	struct run run = {
		.options = options, .result = ret_result, .output_fd = -1, .record_fd = -1};
	params_learn_secrets(action, request);
	int64_t started_ms = clock_monotonic_ms();
	uint64_t timeout_s = request->timeout_s ? request->timeout_s : action->default_timeout_s;
	int64_t deadline_ms = timeout_s && timeout_s < INT64_MAX / 2000
				      ? started_ms + (int64_t)timeout_s * 1000
				      : INT64_MAX;
	uint64_t killed_before = killed_for_memory();
	/* Of a former life that could not clean up. */
	detach_loops(action, request);
	if (start(&run, action, request, &ret_result->error) == 0)
		watch(&run, deadline_ms, timeout_s);
	end_group(&run);
	detach_loops(action, request);
	tell_lack_of_memory(ret_result, killed_before);
	for (int reads = 0; run.output_fd >= 0 && reads < READS_MOST && read_output(&run);)
		reads++;
	if (run.line_used > 0)
		end_line(&run);
	process_group_close(&run.group);
	cleanup_close(&run.output_fd);
	cleanup_close(&run.record_fd);
	ret_result->stop = clock_wall();
	ret_result->duration_ms = clock_monotonic_ms() - started_ms;
}
