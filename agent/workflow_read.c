/* Texts, numbers, lists out of YAML, with complaints: see workflow_inside.h. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "actions/request.h"
#include "agent/template.h"
#include "agent/workflow_inside.h"
#include "platform/text.h"

enum {
	NAME_LONGEST = 199 /* bytes; as the server has it */
};

/* Beyond what is kept nobody reads the place. */
struct place place_in_file(const struct reader *reader, const struct yaml_node *node)
{
	if (reader->problems->left_out > 0)
		return (struct place){.line = 0};
	return text_map_resolve(reader->map, node->place);
}

void wrong(struct reader *reader, const struct yaml_node *node, const char *format, ...)
{
	char text[1800];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	text_cut_utf8(text);
	problems_error(reader->problems, place_in_file(reader, node), "%s", text);
}

void doubtful(struct reader *reader, const struct yaml_node *node, const char *format, ...)
{
	char text[1800];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	text_cut_utf8(text);
	problems_warning(reader->problems, place_in_file(reader, node), "%s", text);
}

bool is_unknown(const struct reader *reader, const char *text)
{
	return reader->problems->errors > 0 && strstr(text, TEMPLATE_UNKNOWN) != NULL;
}

static const char *nearest(const char *const *known, const char *key)
{
	const char *best = NULL;
	unsigned best_distance = 4;
	for (; *known; known++) {
		unsigned distance = text_distance(key, *known);
		if (distance < best_distance && distance * 2 < strlen(*known)) {
			best_distance = distance;
			best = *known;
		}
	}
	return best;
}

void check_keys(struct reader *reader, const struct yaml_node *map, const char *const *known,
		const char *what)
{
	for (size_t i = 0; i < map->count; i++) {
		const char *key = map->keys[i]->text;
		const char *const *name = known;
		while (*name && strcmp(*name, key) != 0)
			name++;
		if (*name || key[0] == '.' || strncmp(key, "x-", 2) == 0 || is_unknown(reader, key))
			continue;
		const char *near = nearest(known, key);
		if (near)
			wrong(reader, map->keys[i], "%s has no key %.100s, did you mean %s?", what,
			      key, near);
		else
			wrong(reader, map->keys[i], "%s has no key %.100s", what, key);
	}
}

const char *read_text(struct reader *reader, const struct yaml_node *map, const char *key)
{
	const struct yaml_node *node = yaml_get(map, key);
	if (yaml_is_null(node))
		return NULL;
	if (node->kind == YAML_SCALAR)
		return node->text;
	wrong(reader, node, "%s must be a text, not %s", key, yaml_kind_words(node));
	return NULL;
}

const char *read_name(struct reader *reader, const struct yaml_node *map, const char *what)
{
	const struct yaml_node *node = yaml_get(map, "name");
	const char *name = read_text(reader, map, "name");
	if (!name || !name[0]) {
		if (yaml_is_null(node) || node->kind == YAML_SCALAR)
			wrong(reader, node ? node : map, "%s has no name", what);
		return NULL;
	}
	if (strlen(name) > NAME_LONGEST)
		wrong(reader, node, "the name of %s has more than %d bytes", what, NAME_LONGEST);
	return name;
}

uint64_t read_number(struct reader *reader, const struct yaml_node *map, const char *key,
		     uint64_t max, const char *unit)
{
	const char *text = read_text(reader, map, key);
	uint64_t number = 0;
	if (!text || is_unknown(reader, text) || text_parse_uint(text, 10, max, &number))
		return number;
	wrong(reader, yaml_get(map, key),
	      "%s: \"%.60s\" is not a whole number of%s from 0 to %" PRIu64, key, text, unit, max);
	return 0;
}

void read_text_list(struct reader *reader, const struct yaml_node *node, const char *key,
		    char ***list)
{
	if (yaml_is_null(node))
		return;
	if (node->kind != YAML_LIST) {
		wrong(reader, node, "%s must be a list of texts, not %s", key,
		      yaml_kind_words(node));
		return;
	}
	for (size_t i = 0; i < node->count; i++) {
		const struct yaml_node *item = node->items[i];
		if (item->kind != YAML_SCALAR)
			wrong(reader, item, "%s must be a list of texts, this is %s", key,
			      yaml_kind_words(item));
		else if (list)
			text_list_add(list, yaml_is_null(item) ? "" : item->text);
	}
}

void read_text_map(struct reader *reader, const struct yaml_node *node, const char *key)
{
	if (yaml_is_null(node))
		return;
	if (node->kind != YAML_MAP) {
		wrong(reader, node, "%s must be a map of texts, not %s", key,
		      yaml_kind_words(node));
		return;
	}
	for (size_t i = 0; i < node->count; i++) {
		const char *name = node->keys[i]->text;
		if (node->items[i]->kind != YAML_SCALAR)
			wrong(reader, node->items[i], "%s must be a text, not %s (quote it?)", name,
			      yaml_kind_words(node->items[i]));
		else if (name[0] == '\0' || strchr(name, '='))
			wrong(reader, node->keys[i], "\"%.100s\" is no name for the environment",
			      name);
	}
}
