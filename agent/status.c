/* The status file: see status.h. */
#include "agent/status.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "platform/cleanup.h"
#include "platform/clock.h"
#include "platform/log.h"
#include "platform/secret.h"
#include "platform/text.h"

enum {
	PROGRESS_EVERY_MS = 1000,
	LINE_MOST = 2 * REPORT_TEXT_SIZE
};

static const char *const state_names[] = {"STARTING", "RUNNING", "SUCCESS",
					  "FAILED",   "TIMEOUT", "STOPPED"};
static const char *const server_names[] = {"connecting", "answers", "error"};
static const char *const after_names[] = {"nothing", "reboot", "poweroff", "run"};

const char *status_state_name(enum status_state state)
{
	return state_names[state];
}

/* --- writing --- */

static void put(struct buffer *out, const char *text, size_t size)
{
	struct error ignored;
	/* The file is bounded; what does not fit is missing from the screen only. */
	(void)buffer_add(out, text, size, &ignored);
}

static void put_text(struct buffer *out, const char *key, const char *value)
{
	char line[LINE_MOST + 64];
	size_t used = (size_t)snprintf(line, 64, "%s=", key);
	if (value[0] == '\0')
		return;
	for (const char *p = value; *p && used + 3 < sizeof(line); p++) {
		if (*p == '\\' || *p == '\n') {
			line[used++] = '\\';
			line[used++] = *p == '\n' ? 'n' : '\\';
		} else {
			line[used++] = *p;
		}
	}
	line[used++] = '\n';
	put(out, line, used);
}

static void put_number(struct buffer *out, const char *key, int64_t value)
{
	char line[96];
	if (value != 0)
		put(out, line,
		    (size_t)snprintf(line, sizeof(line), "%s=%" PRId64 "\n", key, value));
}

static void put_action(struct buffer *out, const struct status_action *action)
{
	const struct action_progress *progress = &action->progress;
	put_text(out, "action", action->name[0] ? action->name : "-");
	put_text(out, "id", action->id);
	put_text(out, "image", action->image);
	put_text(out, "state", state_names[action->state]);
	put_number(out, "start-ms", action->start_ms);
	put_number(out, "stop-ms", action->stop_ms);
	put_text(out, "text", action->text);
	if (action->state != STATUS_RUNNING)
		return;
	put_text(out, "phase", progress->phase);
	put_number(out, "received", (int64_t)progress->bytes_in);
	put_number(out, "written", (int64_t)progress->bytes_out);
	put_number(out, "done", (int64_t)progress->done);
	put_number(out, "total", (int64_t)progress->total);
	put_number(out, "rate", (int64_t)progress->rate_bytes_s);
	put_number(out, "left-ms", progress->left_ms);
}

void status_write(const struct status *status, struct buffer *out)
{
	put_text(out, "version", status->version);
	put_number(out, "pid", status->pid);
	put_text(out, "id", status->id);
	put_text(out, "syslog", status->syslog);
	put_text(out, "log", status->log);
	put_text(out, "server", status->server);
	put_text(out, "server-state", server_names[status->server_state]);
	put_number(out, "server-since-ms", status->server_since_ms);
	put_text(out, "server-error", status->server_text);
	for (size_t i = 0; i < status->earlier_count; i++)
		put_text(out, "earlier", status->earlier[i]);
	if (status->after != AFTER_NOTHING) {
		put_text(out, "after", after_names[status->after]);
		put_number(out, "after-ms", status->after_ms);
	}
	put_text(out, "workflow", status->workflow);
	put_text(out, "reason", status->reason);
	put_number(out, "actions-before", (int64_t)status->actions_before);
	for (size_t i = 0; i < status->action_count; i++)
		put_action(out, &status->actions[i]);
}

/* --- reading --- */

/* A key whose value is text, and where it goes. */
struct text_key {
	const char *name;
	char *out;
	size_t size;
};

struct number_key {
	const char *name;
	int64_t *out;
};

static void take_text(char *out, size_t out_size, const char *value)
{
	char plain[LINE_MOST];
	size_t used = 0;
	for (const char *p = value; *p && used + 1 < sizeof(plain); p++) {
		if (*p == '\\' && (p[1] == 'n' || p[1] == '\\'))
			plain[used++] = *++p == 'n' ? '\n' : '\\';
		else
			plain[used++] = *p;
	}
	text_sanitize(plain, used, out, out_size);
}

static int64_t take_number(const char *value)
{
	uint64_t number;
	return text_parse_uint(value, 10, INT64_MAX, &number) ? (int64_t)number : 0;
}

/* The index of a word, or of the first one. */
static unsigned take_word(const char *value, const char *const *words, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(words[i], value) == 0)
			return (unsigned)i;
	return 0;
}

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static bool take_action_text(struct status_action *action, const char *key, const char *value)
{
	const struct text_key texts[] = {
		{"id", action->id, sizeof(action->id)},
		{"image", action->image, sizeof(action->image)},
		{"text", action->text, sizeof(action->text)},
		{"phase", action->progress.phase, sizeof(action->progress.phase)}};
	for (size_t i = 0; i < COUNT_OF(texts); i++)
		if (strcmp(key, texts[i].name) == 0) {
			take_text(texts[i].out, texts[i].size, value);
			return true;
		}
	return false;
}

static void take_action_value(struct status_action *action, const char *key, const char *value)
{
	int64_t number = take_number(value);
	if (take_action_text(action, key, value))
		return;
	if (strcmp(key, "state") == 0)
		action->state =
			(enum status_state)take_word(value, state_names, COUNT_OF(state_names));
	else if (strcmp(key, "start-ms") == 0)
		action->start_ms = number;
	else if (strcmp(key, "stop-ms") == 0)
		action->stop_ms = number;
	else if (strcmp(key, "received") == 0)
		action->progress.bytes_in = (uint64_t)number;
	else if (strcmp(key, "written") == 0)
		action->progress.bytes_out = (uint64_t)number;
	else if (strcmp(key, "done") == 0)
		action->progress.done = (uint64_t)number;
	else if (strcmp(key, "total") == 0)
		action->progress.total = (uint64_t)number;
	else if (strcmp(key, "rate") == 0)
		action->progress.rate_bytes_s = (uint64_t)number;
	else if (strcmp(key, "left-ms") == 0)
		action->progress.left_ms = number;
}

static void take_value(struct status *status, const char *key, const char *value)
{
	const struct text_key texts[] = {
		{"version", status->version, sizeof(status->version)},
		{"id", status->id, sizeof(status->id)},
		{"syslog", status->syslog, sizeof(status->syslog)},
		{"log", status->log, sizeof(status->log)},
		{"server", status->server, sizeof(status->server)},
		{"server-error", status->server_text, sizeof(status->server_text)},
		{"workflow", status->workflow, sizeof(status->workflow)},
		{"reason", status->reason, sizeof(status->reason)}};
	int64_t number = take_number(value);
	for (size_t i = 0; i < COUNT_OF(texts); i++)
		if (strcmp(key, texts[i].name) == 0)
			take_text(texts[i].out, texts[i].size, value);
	if (strcmp(key, "pid") == 0)
		status->pid = number <= INT32_MAX ? (pid_t)number : 0;
	else if (strcmp(key, "server-state") == 0)
		status->server_state =
			(enum status_server)take_word(value, server_names, COUNT_OF(server_names));
	else if (strcmp(key, "server-since-ms") == 0)
		status->server_since_ms = number;
	else if (strcmp(key, "after") == 0)
		status->after =
			(enum after_kind)take_word(value, after_names, COUNT_OF(after_names));
	else if (strcmp(key, "after-ms") == 0)
		status->after_ms = number;
	else if (strcmp(key, "actions-before") == 0)
		status->actions_before = (uint64_t)number;
	else if (strcmp(key, "earlier") == 0 && status->earlier_count < STATUS_EARLIER_MOST)
		take_text(status->earlier[status->earlier_count++], STATUS_TEXT_SIZE, value);
}

static void take_line(struct status *status, char *line)
{
	char *value = strchr(line, '=');
	if (!value)
		return;
	*value++ = '\0';
	if (strcmp(line, "action") == 0) {
		if (status->action_count == STATUS_ACTIONS_MOST)
			return;
		struct status_action *action = &status->actions[status->action_count++];
		take_text(action->name, sizeof(action->name), value);
	} else if (status->action_count > 0) {
		take_action_value(&status->actions[status->action_count - 1], line, value);
	} else {
		take_value(status, line, value);
	}
}

void status_parse(const char *text, size_t size, struct status *ret_status)
{
	char line[LINE_MOST];
	*ret_status = (struct status){.pid = 0};
	for (size_t at = 0; at < size;) {
		const char *end = memchr(text + at, '\n', size - at);
		size_t length = end ? (size_t)(end - text) - at : size - at;
		/* What is cut off is the end of a text. */
		size_t most = length < sizeof(line) - 1 ? length : sizeof(line) - 1;
		memcpy(line, text + at, most);
		line[most] = '\0';
		take_line(ret_status, line);
		at += length + 1;
	}
}

/* --- what the worker says of itself --- */

static struct status mine;
static const char *file;
static int64_t published_ms;

static void copy(char *out, size_t out_size, const char *text)
{
	/* Hidden before it is cut: half a secret would not be found. */
	auto_free char *clean = text_dup(text);
	secret_redact(clean);
	text_sanitize(clean, strlen(clean), out, out_size);
}

/* A status that cannot be written is nothing to fail for: there may be no /run. */
static void publish(void)
{
	auto_buffer struct buffer out = {.cap = STATUS_FILE_MOST};
	char path[512];
	if (!file)
		return;
	published_ms = clock_monotonic_ms();
	status_write(&mine, &out);
	snprintf(path, sizeof(path), "%s.%d", file, (int)getpid());
	auto_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	if (write(fd, out.data, out.size) != (ssize_t)out.size || rename(path, file) < 0)
		unlink(path);
}

static bool is_open(const struct status_action *action)
{
	return action->state == STATUS_STARTING || action->state == STATUS_RUNNING;
}

/* A worker that was started again goes on with the list of its former life. */
static void take_over(const char *path)
{
	auto_buffer struct buffer text = {.cap = STATUS_FILE_MOST};
	struct error ignored;
	if (buffer_read_file(&text, path, &ignored) < 0)
		return;
	status_parse((const char *)text.data, text.size, &mine);
	mine.server_since_ms = 0;
	for (size_t i = 0; i < mine.action_count; i++)
		if (is_open(&mine.actions[i]))
			mine.actions[i].state = STATUS_STOPPED;
}

void status_open(const char *path, const char *id, const char *syslog)
{
	if (strcmp(path, "none") == 0)
		return;
	file = path;
	take_over(path);
	mine.pid = getpid();
	mine.after = AFTER_NOTHING;
	snprintf(mine.version, sizeof(mine.version), "%s", TINK_WORKER_VERSION);
	copy(mine.id, sizeof(mine.id), id);
	copy(mine.syslog, sizeof(mine.syslog), syslog);
	mine.log[0] = '\0';
	mkdir("/run/tink-worker", 0755);
	publish();
}

void status_log(const char *path)
{
	copy(mine.log, sizeof(mine.log), path);
	publish();
}

void status_server(const char *server, enum status_server state, const char *error)
{
	char name[sizeof(mine.server)], text[sizeof(mine.server_text)];
	if (!file)
		return;
	copy(name, sizeof(name), server);
	copy(text, sizeof(text), state == STATUS_ERROR ? error : "");
	bool other_state = mine.server_state != state || mine.server_since_ms == 0;
	if (!other_state && strcmp(name, mine.server) == 0 && strcmp(text, mine.server_text) == 0)
		return;
	strcpy(mine.server, name);
	strcpy(mine.server_text, text);
	if (other_state)
		mine.server_since_ms = clock_monotonic_ms();
	mine.server_state = state;
	publish();
}

static struct status_action *last(void)
{
	return mine.action_count > 0 ? &mine.actions[mine.action_count - 1] : NULL;
}

static const char *outcome(void)
{
	const struct status_action *action = last();
	return action ? state_names[action->state] : "nothing";
}

/* The workflow before becomes a line of the history. */
static void begin_workflow(const char *name)
{
	if (mine.workflow[0]) {
		if (mine.earlier_count == STATUS_EARLIER_MOST)
			memmove(mine.earlier[0], mine.earlier[1],
				(--mine.earlier_count) * sizeof(mine.earlier[0]));
		snprintf(mine.earlier[mine.earlier_count++], STATUS_TEXT_SIZE, "%s %s",
			 mine.workflow, outcome());
	}
	copy(mine.workflow, sizeof(mine.workflow), name);
	mine.action_count = 0;
	mine.actions_before = 0;
}

/* Where an action goes: one that is handed out again takes its own place. */
static struct status_action *next_action(const char *id)
{
	struct status_action *before = last();
	if (before && id[0] && strcmp(before->id, id) == 0)
		return before;
	if (mine.action_count == STATUS_ACTIONS_MOST) {
		memmove(&mine.actions[0], &mine.actions[1],
			(--mine.action_count) * sizeof(mine.actions[0]));
		mine.actions_before++;
	}
	return &mine.actions[mine.action_count++];
}

void status_received(const struct action_request *request)
{
	char workflow[STATUS_NAME_SIZE];
	if (!file)
		return;
	copy(workflow, sizeof(workflow), request->workflow_id);
	if (strcmp(workflow, mine.workflow) != 0)
		begin_workflow(request->workflow_id);
	struct status_action *action = next_action(request->id);
	*action =
		(struct status_action){.state = STATUS_STARTING, .start_ms = clock_monotonic_ms()};
	copy(action->id, sizeof(action->id), request->id);
	copy(action->name, sizeof(action->name), request->name);
	copy(action->image, sizeof(action->image), request->image);
	mine.reason[0] = '\0';
	mine.after = AFTER_NOTHING;
	publish();
}

void status_reported(const struct report *report)
{
	static const enum status_state states[] = {[REPORT_RUNNING] = STATUS_RUNNING,
						   [REPORT_SUCCESS] = STATUS_SUCCESS,
						   [REPORT_FAILED] = STATUS_FAILED,
						   [REPORT_TIMEOUT] = STATUS_TIMEOUT};
	struct status_action *action = last();
	if (!file || !action)
		return;
	/* The same report again, as its acknowledgement was lost. */
	if (action->state == states[report->state])
		return;
	action->state = states[report->state];
	if (report->state != REPORT_RUNNING) {
		action->stop_ms = clock_monotonic_ms();
		copy(action->text, sizeof(action->text), report->text);
	}
	if (report->state == REPORT_FAILED || report->state == REPORT_TIMEOUT)
		copy(mine.reason, sizeof(mine.reason), report->text);
	publish();
}

void status_progress(const struct action_progress *progress)
{
	struct status_action *action = last();
	if (!file || !action || !is_open(action))
		return;
	bool new_phase = strcmp(action->progress.phase, progress->phase) != 0;
	action->progress = *progress;
	copy(action->progress.phase, sizeof(action->progress.phase), progress->phase);
	if (new_phase || clock_monotonic_ms() >= published_ms + PROGRESS_EVERY_MS)
		publish();
}

void status_asked(void)
{
	struct status_action *action = last();
	if (!file || !action || !is_open(action))
		return;
	action->state = STATUS_STOPPED;
	action->stop_ms = clock_monotonic_ms();
	publish();
}

void status_after(const struct action_after *after)
{
	if (!file || after->kind == AFTER_NOTHING)
		return;
	mine.after = after->kind;
	mine.after_ms = clock_monotonic_ms() + (int64_t)after->delay_s * 1000;
	publish();
}
