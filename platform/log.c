/* Log lines: see log.h. */
#include "platform/log.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "platform/clock.h"
#include "platform/secret.h"
#include "platform/text.h"

/*
 * STDERR_WAIT_MS: for who reads standard error (a service manager, the initramfs's consoles), once;
 * while he does not read, nothing is waited for. Plain lines are for somebody who is there: a
 * terminal, or the worker that has started this process.
 */
enum {
	STDERR_WAIT_MS = 1000,
	VALUE_SIZE = 4352,
	LINE_SIZE = 12 * VALUE_SIZE,
	NAME_SIZE = 256,
};

static enum log_level lowest = LOG_LEVEL_INFO;
static enum log_format format = LOG_FORMAT_TEXT;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct {
	void (*take)(void *context, const struct log_event *event);
	void *context;
} sinks[LOG_SINKS_MOST];

/* Lines that standard error has not taken, in a row. */
static uint64_t stderr_missed;

static const char *const level_names[] = {"debug", "info", "warning", "error"};

void log_setup(enum log_level level, enum log_format how)
{
	lowest = level;
	format = how;
}

void log_add_sink(void (*take)(void *context, const struct log_event *event), void *context)
{
	pthread_mutex_lock(&lock);
	size_t free_one = 0;
	while (free_one < LOG_SINKS_MOST - 1 && sinks[free_one].take)
		free_one++;
	sinks[free_one].take = take;
	sinks[free_one].context = context;
	pthread_mutex_unlock(&lock);
}

void log_remove_sink(void (*take)(void *context, const struct log_event *event), void *context)
{
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < LOG_SINKS_MOST; i++)
		if (sinks[i].take == take && sinks[i].context == context)
			sinks[i].take = NULL;
	pthread_mutex_unlock(&lock);
}

const char *log_level_name(enum log_level level)
{
	return level_names[level];
}

bool log_parse_level(const char *text, enum log_level *ret_level)
{
	for (size_t i = 0; i < sizeof(level_names) / sizeof(level_names[0]); i++) {
		if (strcasecmp(text, level_names[i]) == 0 ||
		    (i == LOG_LEVEL_WARNING && strcasecmp(text, "warn") == 0)) {
			*ret_level = (enum log_level)i;
			return true;
		}
	}
	return false;
}

char *log_number(int64_t number, char *out)
{
	snprintf(out, 24, "%" PRId64, number);
	return out;
}

struct line {
	char text[LINE_SIZE];
	size_t used;
	size_t body; /* where it begins */
	enum log_level level;
	struct timespec time;
	char workflow[NAME_SIZE], action[NAME_SIZE], state[NAME_SIZE];
};

static void put(struct line *line, const char *text, size_t size)
{
	/* Two bytes stay free for what closes the line. */
	size_t room = sizeof(line->text) - 3 - line->used;
	size_t fits = size < room ? size : room;
	while (fits < size && fits > 0 && ((unsigned char)text[fits] & 0xc0) == 0x80)
		fits--;
	memcpy(line->text + line->used, text, fits);
	line->used += fits;
}

static void put_text(struct line *line, const char *text)
{
	put(line, text, strlen(text));
}

static void put_quoted(struct line *line, const char *value)
{
	put_text(line, "\"");
	for (const char *p = value; *p; p++) {
		if (*p == '"' || *p == '\\') {
			put(line, (char[]){'\\', *p}, 2);
		} else if (*p == '\n') {
			put_text(line, "\\n");
		} else if (*p == '\t') {
			put_text(line, "\\t");
		} else {
			put(line, p, 1);
		}
	}
	put_text(line, "\"");
}

static void keep(char *out, const char *value)
{
	snprintf(out, NAME_SIZE, "%s", value);
	text_cut_utf8(out);
}

static void put_value(struct line *line, const char *key, const char *value)
{
	char clean[VALUE_SIZE];
	if (!value)
		value = "-";
	text_sanitize(value, strlen(value), clean, sizeof(clean));
	/* Before quoting: a quoted secret would not be found. */
	secret_redact(clean);
	if (strcmp(key, "workflow") == 0)
		keep(line->workflow, clean);
	else if (strcmp(key, "action") == 0)
		keep(line->action, clean);
	else if (strcmp(key, "state") == 0)
		keep(line->state, clean);
	if (format == LOG_FORMAT_JSON || clean[0] == '\0' || strpbrk(clean, " \t\n\"=\\"))
		put_quoted(line, clean);
	else
		put_text(line, clean);
}

static void put_pair(struct line *line, const char *key, const char *value)
{
	/* A pair is there whole or not at all: each byte of a value may take two. */
	if (line->used + strlen(key) + (size_t)2 * VALUE_SIZE + 16 > sizeof(line->text))
		return;
	if (format == LOG_FORMAT_JSON) {
		put_text(line, ",");
		put_quoted(line, key);
		put_text(line, ":");
	} else {
		put_text(line, " ");
		put_text(line, key);
		put_text(line, "=");
	}
	put_value(line, key, value);
}

/* Time and level, and the message in JSON. */
static void start_line(struct line *line, enum log_level level, const char *message)
{
	char now[40], start[64];
	line->used = line->body = 0;
	line->level = level;
	line->time = clock_wall();
	line->workflow[0] = line->action[0] = line->state[0] = '\0';
	clock_format_utc(line->time, now, sizeof(now));
	if (format == LOG_FORMAT_JSON) {
		put_text(line, "{\"time\":\"");
		put_text(line, now);
		put_text(line, "\",\"level\":\"");
		put_text(line, level_names[level]);
		put_text(line, "\",\"message\":");
		put_quoted(line, message);
		return;
	}
	if (format == LOG_FORMAT_TEXT) {
		snprintf(start, sizeof(start), "%s %-7s ", now, level_names[level]);
		put_text(line, start);
	}
	line->body = line->used;
	put_text(line, message);
}

/*
 * A pipe that nobody reads must not hold up the work: what does not go there in time is left out,
 * and its number said when he reads again. The sinks have it. Under the lock.
 */
static bool stderr_takes(int timeout_ms)
{
	struct pollfd fd = {.fd = STDERR_FILENO, .events = POLLOUT};
	int ready;
	while ((ready = poll(&fd, 1, timeout_ms)) < 0 && errno == EINTR)
		;
	return ready > 0;
}

/* As much as a pipe that is ready takes without waiting, at a time. */
static void write_stderr(const char *text, size_t size)
{
	int wait_ms = format == LOG_FORMAT_PLAIN ? -1 : stderr_missed > 0 ? 0 : STDERR_WAIT_MS;
	while (size > 0 && stderr_takes(wait_ms)) {
		ssize_t written = write(STDERR_FILENO, text, size < PIPE_BUF ? size : PIPE_BUF);
		/* Nobody is left to tell when standard error does not take it. */
		if (written < 0 && errno != EINTR && errno != EAGAIN)
			return;
		text += written > 0 ? written : 0;
		size -= written > 0 ? (size_t)written : 0;
	}
	stderr_missed += size > 0;
}

static void to_stderr(const struct line *line)
{
	char note[64];
	if (stderr_missed > 0) {
		if (!stderr_takes(0)) {
			stderr_missed++;
			return;
		}
		int size = snprintf(note, sizeof(note), "(%" PRIu64 " lines are missing here)\n",
				    stderr_missed);
		stderr_missed = 0;
		write_stderr(note, (size_t)size);
	}
	write_stderr(line->text, line->used);
}

static void end_line(struct line *line, const char *program)
{
	if (format == LOG_FORMAT_JSON)
		line->text[line->used++] = '}';
	struct log_event event = {.level = line->level,
				  .time = line->time,
				  .line = line->text,
				  .line_size = line->used + 1,
				  .body = line->text + line->body,
				  .body_size = line->used - line->body,
				  .program = program,
				  .workflow = line->workflow,
				  .action = line->action,
				  .state = line->state};
	line->text[line->used++] = '\n';
	pthread_mutex_lock(&lock);
	to_stderr(line);
	for (size_t i = 0; i < LOG_SINKS_MOST; i++)
		if (sinks[i].take)
			sinks[i].take(sinks[i].context, &event);
	pthread_mutex_unlock(&lock);
}

void log_line(enum log_level level, const char *message, ...)
{
	struct line line;
	if (level < lowest)
		return;
	start_line(&line, level, message);
	va_list args;
	va_start(args, message);
	for (const char *key; (key = va_arg(args, const char *)) != NULL;)
		put_pair(&line, key, va_arg(args, const char *));
	va_end(args);
	end_line(&line, NULL);
}

/* Outside quotes a line end would begin a line that nobody has logged. Returns out. */
static const char *flat(const char *text, char *out, size_t out_size)
{
	text_sanitize(text, strlen(text), out, out_size);
	secret_redact(out);
	for (char *p = out; *p; p++)
		if (*p == '\n')
			*p = ' ';
	return out;
}

void log_output(const char *program, const char *workflow, const char *text)
{
	struct line line;
	char who[VALUE_SIZE / 8], what[VALUE_SIZE];
	if (LOG_LEVEL_INFO < lowest)
		return;
	flat(program, who, sizeof(who));
	if (format == LOG_FORMAT_JSON) {
		start_line(&line, LOG_LEVEL_INFO, "output");
		put_pair(&line, "program", program);
		put_pair(&line, "line", text);
	} else {
		start_line(&line, LOG_LEVEL_INFO, "");
		put_text(&line, who);
		put_text(&line, ": ");
		line.body = line.used;
		put_text(&line, flat(text, what, sizeof(what)));
	}
	keep(line.action, who);
	if (workflow)
		keep(line.workflow, flat(workflow, what, NAME_SIZE));
	end_line(&line, who);
}
