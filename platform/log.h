/*
 * The log: one line an event, a message and key/value pairs, as text ("key=value") or JSON, to
 * standard error and to the sinks that were added. Secrets are hidden and every line is valid
 * UTF-8. Thread-safe.
 */
#ifndef PLATFORM_LOG_H
#define PLATFORM_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

enum log_level {
	LOG_LEVEL_DEBUG,
	LOG_LEVEL_INFO,
	LOG_LEVEL_WARNING,
	LOG_LEVEL_ERROR
};

enum log_format {
	LOG_FORMAT_TEXT,  /* time LEVEL message key=value … */
	LOG_FORMAT_JSON,  /* {"time":…,"level":…,"message":…,"key":"value"} */
	LOG_FORMAT_PLAIN, /* message key=value: for a terminal */
};

/* Lines below level are not written. */
void log_setup(enum log_level level, enum log_format format);

/* "debug", "info", "warn" or "warning", "error": false for another word. */
bool log_parse_level(const char *text, enum log_level *ret_level);
const char *log_level_name(enum log_level level);

/* A line on its way out. Texts live as long as the call. */
struct log_event {
	enum log_level level;
	struct timespec time;
	const char *line; /* as it goes to standard error, with its end */
	size_t line_size;
	/* The same without time, level, program and end; as JSON the whole object. */
	const char *body;
	size_t body_size;
	const char *program; /* who said it (see log_output()); NULL: the process itself */
	/* The values of the pairs with these keys; "" for none. */
	const char *workflow, *action, *state;
};

/*
 * Adds somebody who is given every line, or takes him away again: at most LOG_SINKS_MOST. take is
 * called with the log locked: it must be quick, and must not log.
 */
enum {
	LOG_SINKS_MOST = 4
};
void log_add_sink(void (*take)(void *context, const struct log_event *event), void *context);
void log_remove_sink(void (*take)(void *context, const struct log_event *event), void *context);

/*
 * Writes a line. message is a fixed text in the words of the project; behind it pairs of key and
 * value (both char *; a NULL value is written as "-"), ended by NULL: log_line(LOG_LEVEL_INFO,
 * "action started", "action", name, "image", image, NULL);
 */
void log_line(enum log_level level, const char *message, ...) __attribute__((sentinel));

#define log_debug(...)   log_line(LOG_LEVEL_DEBUG, __VA_ARGS__, NULL)
#define log_info(...)    log_line(LOG_LEVEL_INFO, __VA_ARGS__, NULL)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__, NULL)
#define log_error(...)   log_line(LOG_LEVEL_ERROR, __VA_ARGS__, NULL)

/*
 * A line that a program has said: as text "<program>: <line>", as JSON with the message "output"
 * and the two as values. workflow is what it runs for (NULL: none), told to sinks.
 */
void log_output(const char *program, const char *workflow, const char *line);

/* A number as a value, living until the end of the full expression's block: "bytes", LOG_NUMBER(n).
 */
#define LOG_NUMBER(n) log_number((int64_t)(n), (char[24]){0})
char *log_number(int64_t number, char *out);

#endif
