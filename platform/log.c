/* Log lines: see log.h. */
#include "platform/log.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "platform/clock.h"
#include "platform/secret.h"
#include "platform/text.h"

enum {
	VALUE_SIZE = 4352,
	LINE_SIZE = 12 * VALUE_SIZE,
};

static enum log_level lowest = LOG_LEVEL_INFO;
static enum log_format format = LOG_FORMAT_TEXT;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static const char *const level_names[] = {"debug", "info", "warning", "error"};

void log_setup(enum log_level level, enum log_format how)
{
	lowest = level;
	format = how;
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

static void put_value(struct line *line, const char *value)
{
	char clean[VALUE_SIZE];
	if (!value)
		value = "-";
	text_sanitize(value, strlen(value), clean, sizeof(clean));
	/* Before quoting: a quoted secret would not be found. */
	secret_redact(clean);
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
	put_value(line, value);
}

/* Time and level, and the message in JSON. */
static void start_line(struct line *line, enum log_level level, const char *message)
{
	char now[40], start[64];
	line->used = 0;
	clock_format_utc(clock_wall(), now, sizeof(now));
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
	put_text(line, message);
}

static void end_line(struct line *line)
{
	if (format == LOG_FORMAT_JSON)
		line->text[line->used++] = '}';
	line->text[line->used++] = '\n';
	pthread_mutex_lock(&lock);
	/* Nobody is left to tell when standard error does not take it. */
	ssize_t written = write(STDERR_FILENO, line->text, line->used);
	(void)written;
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
	end_line(&line);
}

/* Outside quotes a line end would begin a line that nobody has logged. */
static void put_flat(struct line *line, const char *text, size_t most)
{
	char clean[VALUE_SIZE];
	text_sanitize(text, strlen(text), clean, most < sizeof(clean) ? most : sizeof(clean));
	secret_redact(clean);
	for (char *p = clean; *p; p++)
		if (*p == '\n')
			*p = ' ';
	put_text(line, clean);
}

void log_output(const char *program, const char *text)
{
	enum {
		PROGRAM_SIZE = VALUE_SIZE / 8
	};
	struct line line;
	if (LOG_LEVEL_INFO < lowest)
		return;
	if (format == LOG_FORMAT_JSON) {
		start_line(&line, LOG_LEVEL_INFO, "output");
		put_pair(&line, "program", program);
		put_pair(&line, "line", text);
	} else {
		start_line(&line, LOG_LEVEL_INFO, "");
		put_flat(&line, program, PROGRAM_SIZE);
		put_text(&line, ": ");
		put_flat(&line, text, VALUE_SIZE);
	}
	end_line(&line);
}
