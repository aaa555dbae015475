/*
 * The values that a template is rendered with: texts, numbers, booleans, lists and maps, from a
 * YAML file and from NAME=VALUE.
 */
#ifndef AGENT_VALUES_H
#define AGENT_VALUES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "platform/cleanup.h"
#include "platform/error.h"
#include "platform/yaml.h"

enum value_kind {
	VALUE_NOTHING,
	VALUE_BOOL,
	VALUE_NUMBER,
	VALUE_TEXT,
	VALUE_LIST,
	VALUE_MAP
};

struct value {
	enum value_kind kind;
	bool truth;
	int64_t number;
	char *text;           /* VALUE_TEXT; VALUE_NOTHING: why it cannot be printed, or NULL */
	struct value **items; /* of a list, of a map; owned */
	char **keys;          /* of a map: sorted, beside items */
	size_t count;
};

enum {
	VALUES_INDEX_MOST = 1023, /* of a list in NAME[INDEX]=VALUE */
	VALUES_DEPTH_MOST = 32
};

struct value *value_new(enum value_kind kind);
struct value *value_text(const char *text);
void value_free(struct value *value);
AUTO_DEFINE(value, struct value *, value_free)
#define auto_value __attribute__((cleanup(cleanup_value)))

/* Put item (taken) at the end of a list, or under key into a map in place of what is there. */
void value_add(struct value *list, struct value *item);
void value_put(struct value *map, const char *key, struct value *item);

/* NULL when it is not there or map is no map. */
const struct value *value_get(const struct value *map, const char *key);

/*
 * As a plain word of YAML means it: true and false are booleans, decimal numbers as one writes them
 * (no sign but "-", no zero in front) numbers, all else texts. All of them print as they were
 * written.
 */
struct value *value_from_word(const char *word);

/* A whole tree. Its depth is bounded by the YAML's. */
struct value *value_from_yaml(const struct yaml_node *node);

/* A copy of all of it. */
struct value *value_copy(const struct value *value);

/* Copies what is in from (a map) into into (a map): maps are merged, all else is replaced. */
void value_merge(struct value *into, const struct value *from);

/*
 * Takes "NAME=VALUE" into root (a map). NAME is keys apart by dots, each may have indexes behind
 * it: Hardware.Disks[0]. Lists grow by one at a time. ERROR_INPUT says what is wrong with it.
 */
int values_set(struct value *root, const char *assignment, struct error *err);

/* What a template prints for it: as Go does. Appends to out. */
struct buffer;
int value_print(const struct value *value, struct buffer *out, struct error *err);

#endif
