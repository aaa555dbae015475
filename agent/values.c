/* Trees of values: see values.h. */
#include "agent/values.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "platform/buffer.h"
#include "platform/text.h"

struct value *value_new(enum value_kind kind)
{
	struct value *value = calloc(1, sizeof(*value));
	if (!value)
		abort();
	value->kind = kind;
	return value;
}

struct value *value_text(const char *text)
{
	struct value *value = value_new(VALUE_TEXT);
	value->text = text_dup(text);
	return value;
}

void value_free(struct value *value)
{
	if (!value)
		return;
	for (size_t i = 0; i < value->count; i++) {
		value_free(value->items[i]);
		if (value->keys)
			free(value->keys[i]);
	}
	free(value->items);
	free(value->keys);
	free(value->text);
	free(value);
}

static void make_room(struct value *value)
{
	value->items = reallocarray(value->items, value->count + 1, sizeof(*value->items));
	if (value->kind == VALUE_MAP)
		value->keys = reallocarray(value->keys, value->count + 1, sizeof(*value->keys));
	if (!value->items || (value->kind == VALUE_MAP && !value->keys))
		abort();
}

void value_add(struct value *list, struct value *item)
{
	make_room(list);
	list->items[list->count++] = item;
}

/* Where key is, or belongs. */
static size_t position(const struct value *map, const char *key, bool *ret_found)
{
	size_t low = 0, high = map->count;
	*ret_found = false;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = strcmp(map->keys[middle], key);
		if (order == 0) {
			*ret_found = true;
			return middle;
		}
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

void value_put(struct value *map, const char *key, struct value *item)
{
	bool found;
	size_t at = position(map, key, &found);
	if (found) {
		value_free(map->items[at]);
		map->items[at] = item;
		return;
	}
	make_room(map);
	memmove(map->items + at + 1, map->items + at, (map->count - at) * sizeof(*map->items));
	memmove(map->keys + at + 1, map->keys + at, (map->count - at) * sizeof(*map->keys));
	map->items[at] = item;
	map->keys[at] = text_dup(key);
	map->count++;
}

static struct value *get(const struct value *map, const char *key)
{
	bool found = false;
	size_t at = map && map->kind == VALUE_MAP ? position(map, key, &found) : 0;
	return found ? map->items[at] : NULL;
}

const struct value *value_get(const struct value *map, const char *key)
{
	return get(map, key);
}

static bool is_number(const char *word, int64_t *ret_number)
{
	bool minus = word[0] == '-';
	uint64_t number;
	word += minus;
	if ((word[0] == '0' && (word[1] != '\0' || minus)) ||
	    !text_parse_uint(word, 10, INT64_MAX, &number))
		return false;
	*ret_number = minus ? -(int64_t)number : (int64_t)number;
	return true;
}

struct value *value_from_word(const char *word)
{
	int64_t number;
	if (strcmp(word, "true") == 0 || strcmp(word, "false") == 0) {
		struct value *value = value_new(VALUE_BOOL);
		value->truth = word[0] == 't';
		return value;
	}
	if (is_number(word, &number)) {
		struct value *value = value_new(VALUE_NUMBER);
		value->number = number;
		return value;
	}
	return value_text(word);
}

struct value *value_from_yaml(const struct yaml_node *node)
{
	if (yaml_is_null(node))
		return value_new(VALUE_NOTHING);
	if (node->kind == YAML_SCALAR)
		return node->plain ? value_from_word(node->text) : value_text(node->text);
	struct value *value = value_new(node->kind == YAML_LIST ? VALUE_LIST : VALUE_MAP);
	for (size_t i = 0; i < node->count; i++) {
		struct value *item = value_from_yaml(node->items[i]);
		if (node->kind == YAML_LIST)
			value_add(value, item);
		else
			value_put(value, node->keys[i]->text, item);
	}
	return value;
}

struct value *value_copy(const struct value *value)
{
	struct value *new = value_new(value->kind);
	new->truth = value->truth;
	new->number = value->number;
	if (value->text)
		new->text = text_dup(value->text);
	for (size_t i = 0; i < value->count; i++) {
		if (value->kind == VALUE_MAP)
			value_put(new, value->keys[i], value_copy(value->items[i]));
		else
			value_add(new, value_copy(value->items[i]));
	}
	return new;
}

void value_merge(struct value *into, const struct value *from)
{
	for (size_t i = 0; from->kind == VALUE_MAP && i < from->count; i++) {
		struct value *there = get(into, from->keys[i]);
		if (there && there->kind == VALUE_MAP && from->items[i]->kind == VALUE_MAP)
			value_merge(there, from->items[i]);
		else
			value_put(into, from->keys[i], value_copy(from->items[i]));
	}
}

/* Makes a value, whatever it is, one of that kind. */
static void become(struct value *value, enum value_kind kind)
{
	if (value->kind == kind)
		return;
	struct value *fresh = value_new(kind);
	struct value old = *value;
	*value = *fresh;
	*fresh = old;
	value_free(fresh);
}

/* "[INDEX]" at *at: steps into the list there. NULL with an error. */
static struct value *step_into_list(struct value *here, const char **at, const char *assignment,
				    struct error *err)
{
	size_t digits = strcspn(*at + 1, "]=");
	char number[8];
	uint64_t index;
	if (digits == 0 || digits >= sizeof(number) || (*at)[1 + digits] != ']') {
		error_set(err, ERROR_INPUT, "\"%.100s\": an index is a number in brackets",
			  assignment);
		return NULL;
	}
	memcpy(number, *at + 1, digits);
	number[digits] = '\0';
	if (!text_parse_uint(number, 10, VALUES_INDEX_MOST, &index)) {
		error_set(err, ERROR_INPUT, "\"%.100s\": an index is a number from 0 to %d",
			  assignment, VALUES_INDEX_MOST);
		return NULL;
	}
	become(here, VALUE_LIST);
	if (index > here->count) {
		error_set(err, ERROR_INPUT, "\"%.100s\": set [%zu] before [%" PRIu64 "]",
			  assignment, here->count, index);
		return NULL;
	}
	if (index == here->count)
		value_add(here, value_new(VALUE_NOTHING));
	*at += digits + 2;
	return here->items[index];
}

/* "KEY" at *at: steps into the map there. NULL with an error. */
static struct value *step_into_map(struct value *here, const char **at, const char *assignment,
				   struct error *err)
{
	size_t size = strcspn(*at, ".[=");
	if (size == 0) {
		error_set(err, ERROR_INPUT, "\"%.100s\" is not NAME=VALUE", assignment);
		return NULL;
	}
	auto_free char *key = text_dup_size(*at, size);
	become(here, VALUE_MAP);
	if (!get(here, key))
		value_put(here, key, value_new(VALUE_NOTHING));
	*at += size;
	return get(here, key);
}

int values_set(struct value *root, const char *assignment, struct error *err)
{
	const char *at = assignment;
	const char *equals = strchr(assignment, '=');
	unsigned depth = 0;
	if (!equals || equals == assignment)
		return error_set(err, ERROR_INPUT, "\"%.100s\" is not NAME=VALUE", assignment);
	/* As it stands in the template, with its dot, is fine too. */
	at += *at == '.';
	struct value *here = step_into_map(root, &at, assignment, err);
	while (here && at < equals) {
		if (++depth > VALUES_DEPTH_MOST)
			return error_set(err, ERROR_INPUT, "\"%.100s\": more than %d names deep",
					 assignment, VALUES_DEPTH_MOST);
		if (*at == '[') {
			here = step_into_list(here, &at, assignment, err);
		} else if (*at == '.') {
			at++;
			here = step_into_map(here, &at, assignment, err);
		} else {
			return error_set(err, ERROR_INPUT,
					 "\"%.100s\": behind ] comes . or [ or =", assignment);
		}
	}
	if (!here)
		return -1;
	struct value *word = value_from_word(equals + 1);
	struct value old = *here;
	*here = *word;
	*word = old;
	value_free(word);
	return 0;
}

static int print(struct buffer *out, const char *text, struct error *err)
{
	return buffer_add(out, text, strlen(text), err);
}

static int print_items(const struct value *value, struct buffer *out, struct error *err)
{
	if (print(out, value->kind == VALUE_MAP ? "map[" : "[", err) < 0)
		return -1;
	for (size_t i = 0; i < value->count; i++)
		if ((i > 0 && print(out, " ", err) < 0) ||
		    (value->keys &&
		     (print(out, value->keys[i], err) < 0 || print(out, ":", err) < 0)) ||
		    value_print(value->items[i], out, err) < 0)
			return -1;
	return print(out, "]", err);
}

int value_print(const struct value *value, struct buffer *out, struct error *err)
{
	char number[24];
	switch (value->kind) {
	case VALUE_NOTHING:
		return value->text ? error_set(err, ERROR_INPUT, "%s", value->text)
				   : print(out, "<no value>", err);
	case VALUE_BOOL:
		return print(out, value->truth ? "true" : "false", err);
	case VALUE_NUMBER:
		snprintf(number, sizeof(number), "%" PRId64, value->number);
		return print(out, number, err);
	case VALUE_TEXT:
		return print(out, value->text, err);
	case VALUE_LIST:
	case VALUE_MAP:
		return print_items(value, out, err);
	}
	return 0;
}
