/*
 * JSON from outside (RFC 8259, by cJSON), to be read only: a document is parsed whole, and asking
 * for what is not there, or is of another type, gives nothing instead of failing.
 */
#ifndef PLATFORM_JSON_H
#define PLATFORM_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "platform/cleanup.h"
#include "platform/error.h"

enum {
	JSON_VALUES_MOST = 1 << 18
};

/* A value: a document, or a part of one, which lives as long as the document. */
struct json;

/*
 * Parses size bytes, the whole of which must be one value (blanks around it are fine): valid UTF-8,
 * nested at most 1000 deep, of at most JSON_VALUES_MOST values, as each takes some 70 bytes of
 * memory. ERROR_INPUT says at which byte it is none. Of equal names in an object the first one
 * counts.
 */
int json_parse(const void *text, size_t size, struct json **ret_json, struct error *err);
void json_free(struct json *json);
AUTO_DEFINE(json, struct json *, json_free)
#define auto_json __attribute__((cleanup(cleanup_json)))

/* All of these take NULL for a value that is not there. */

/* The value of that name (case matters), NULL when it is not there or object is none. */
const struct json *json_get(const struct json *object, const char *name);

/* The text of a string, NULL when it is none. Borrowed. It ends at a NUL that was escaped. */
const char *json_text(const struct json *value);

/* Whether it is a whole number from 0 to max; *ret_number is set then. What a double does not hold
 * exactly (above 2^53) is refused. */
bool json_uint(const struct json *value, uint64_t max, uint64_t *ret_number);

bool json_is_object(const struct json *value);
bool json_is_array(const struct json *value);

/* The first element of an array or member of an object, and the one behind it: NULL at the end. */
const struct json *json_first(const struct json *value);
const struct json *json_next(const struct json *value);

/* The name of a member; NULL for an element of an array. */
const char *json_name(const struct json *member);

#endif
