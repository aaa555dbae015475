/*
 * The log: one line an event, a message and key/value pairs, as text ("key=value") or JSON, to
 * standard error. Secrets are hidden and every line is valid UTF-8. Thread-safe.
 */
#ifndef PLATFORM_LOG_H
#define PLATFORM_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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
 * and the two as values.
 */
void log_output(const char *program, const char *line);

/* A number as a value, living until the end of the full expression's block: "bytes", LOG_NUMBER(n).
 */
#define LOG_NUMBER(n) log_number((int64_t)(n), (char[24]){0})
char *log_number(int64_t number, char *out);

#endif
