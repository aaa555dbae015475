/* libyaml's events made into a tree: see yaml.h. */
#include "platform/yaml.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "platform/text.h"

/* Names that are anchored, and what they stand for. */
struct anchor {
	char *name;
	struct yaml_node *node;
};

/* What a node takes when it is written out: aliases count as what they stand for. */
struct weighted {
	struct yaml_node node;
	uint64_t weight;
	bool open; /* being read: an alias to it would be a circle */
};

struct yaml {
	struct weighted **nodes;
	size_t count;
	size_t capacity;
	struct yaml_node *documents[YAML_DOCUMENTS_MOST];
	size_t document_count;
};

struct reader {
	yaml_parser_t parser;
	struct yaml *yaml;
	struct problems *problems;
	struct anchor *anchors;
	size_t anchor_count;
	unsigned depth;
};

static void *grow(void *list, size_t count, size_t size)
{
	void *longer = reallocarray(list, count, size);
	if (!longer)
		abort();
	return longer;
}

static struct place place_of(yaml_mark_t mark)
{
	return (struct place){.line = (unsigned)mark.line + 1, .column = (unsigned)mark.column + 1};
}

static struct weighted *weighted_of(struct yaml_node *node)
{
	return (struct weighted *)node;
}

static struct yaml_node *new_node(struct reader *reader, enum yaml_kind kind, yaml_mark_t mark)
{
	struct yaml *yaml = reader->yaml;
	if (yaml->count == YAML_NODES_MOST) {
		problems_error(reader->problems, place_of(mark), "more than %d values",
			       YAML_NODES_MOST);
		return NULL;
	}
	if (yaml->count == yaml->capacity) {
		yaml->capacity = yaml->capacity ? yaml->capacity * 2 : 64;
		yaml->nodes = grow(yaml->nodes, yaml->capacity, sizeof(*yaml->nodes));
	}
	struct weighted *node = calloc(1, sizeof(*node));
	if (!node)
		abort();
	node->node.kind = kind;
	node->node.place = place_of(mark);
	node->weight = 1;
	yaml->nodes[yaml->count++] = node;
	return &node->node;
}

static void remember(struct reader *reader, const yaml_char_t *name, struct yaml_node *node)
{
	if (!name)
		return;
	const char *text = (const char *)name;
	for (size_t i = 0; i < reader->anchor_count; i++) {
		if (strcmp(reader->anchors[i].name, text) == 0) {
			reader->anchors[i].node = node;
			return;
		}
	}
	reader->anchors = grow(reader->anchors, reader->anchor_count + 1, sizeof(*reader->anchors));
	reader->anchors[reader->anchor_count++] =
		(struct anchor){.name = text_dup(text), .node = node};
}

static void forget_anchors(struct reader *reader)
{
	for (size_t i = 0; i < reader->anchor_count; i++)
		free(reader->anchors[i].name);
	reader->anchor_count = 0;
}

static struct yaml_node *alias(struct reader *reader, const yaml_event_t *event)
{
	const char *name = (const char *)event->data.alias.anchor;
	for (size_t i = 0; i < reader->anchor_count; i++) {
		struct yaml_node *node = reader->anchors[i].node;
		if (strcmp(reader->anchors[i].name, name) != 0)
			continue;
		if (!weighted_of(node)->open)
			return node;
		problems_error(reader->problems, place_of(event->start_mark),
			       "*%s stands for what it is a part of", name);
		return NULL;
	}
	problems_error(reader->problems, place_of(event->start_mark),
		       "*%s stands for nothing: there is no &%s before it", name, name);
	return NULL;
}

/* Only what says what a node is anyway; a tag of an application would ask for its doing. */
static void judge_tag(struct reader *reader, const yaml_char_t *tag, yaml_mark_t mark)
{
	static const char *const plain[] = {"str",  "int", "float", "bool",
					    "null", "seq", "map",   "timestamp"};
	const char *text = (const char *)tag;
	if (!text || strcmp(text, "!") == 0)
		return;
	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		if (strncmp(text, "tag:yaml.org,2002:", 18) == 0 &&
		    strcmp(text + 18, plain[i]) == 0)
			return;
	problems_error(reader->problems, place_of(mark), "the tag %s is not understood", text);
}

static struct yaml_node *scalar(struct reader *reader, const yaml_event_t *event)
{
	struct yaml_node *node = new_node(reader, YAML_SCALAR, event->start_mark);
	if (!node)
		return NULL;
	const char *text = (const char *)event->data.scalar.value;
	size_t size = event->data.scalar.length;
	if (memchr(text, '\0', size)) {
		problems_error(reader->problems, node->place, "a text must not hold a NUL");
		size = strlen(text);
	}
	node->text = text_dup_size(text, size);
	node->size = size;
	node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	node->literal = event->data.scalar.style == YAML_LITERAL_SCALAR_STYLE;
	judge_tag(reader, event->data.scalar.tag, event->start_mark);
	remember(reader, event->data.scalar.anchor, node);
	return node;
}

static struct yaml_node *read_node(struct reader *reader, yaml_event_t *event);

/* The next event; false when the text is wrong there, which is said. */
static bool next(struct reader *reader, yaml_event_t *ret_event)
{
	yaml_parser_t *parser = &reader->parser;
	if (yaml_parser_parse(parser, ret_event))
		return true;
	/* Its reader knows a byte, not a line. */
	bool reads = parser->error == YAML_READER_ERROR;
	struct place place = reads ? (struct place){.line = (unsigned)parser->mark.line + 1,
						    .column = (unsigned)parser->mark.column + 1}
				   : place_of(parser->problem_mark);
	if (parser->error == YAML_MEMORY_ERROR)
		abort();
	if (parser->context && !reads)
		problems_error(reader->problems, place, "not YAML: %s (%s that began in line %zu)",
			       parser->problem, parser->context, parser->context_mark.line + 1);
	else
		problems_error(reader->problems, place, "not YAML: %s",
			       parser->problem ? parser->problem : "it cannot be read");
	return false;
}

static bool weigh(struct reader *reader, struct yaml_node *node, const struct yaml_node *part,
		  struct place place)
{
	struct weighted *whole = weighted_of(node);
	whole->weight += ((const struct weighted *)part)->weight;
	if (whole->weight <= YAML_NODES_MOST)
		return true;
	problems_error(reader->problems, place,
		       "more than %d values, counting aliases as often as they are used",
		       YAML_NODES_MOST);
	return false;
}

static void push(struct yaml_node *node, struct yaml_node *key, struct yaml_node *value)
{
	/* Room in powers of two. */
	if ((node->count & (node->count - 1)) == 0) {
		size_t room = node->count ? node->count * 2 : 1;
		node->items = grow((void *)(uintptr_t)node->items, room, sizeof(*node->items));
		if (node->kind == YAML_MAP)
			node->keys = grow((void *)(uintptr_t)node->keys, room, sizeof(*node->keys));
	}
	((struct yaml_node **)(uintptr_t)node->items)[node->count] = value;
	if (node->kind == YAML_MAP)
		((struct yaml_node **)(uintptr_t)node->keys)[node->count] = key;
	node->count++;
}

static bool read_list(struct reader *reader, struct yaml_node *node)
{
	for (;;) {
		yaml_event_t event;
		if (!next(reader, &event))
			return false;
		if (event.type == YAML_SEQUENCE_END_EVENT) {
			yaml_event_delete(&event);
			return true;
		}
		struct place place = place_of(event.start_mark);
		struct yaml_node *item = read_node(reader, &event);
		if (!item || !weigh(reader, node, item, place))
			return false;
		push(node, NULL, item);
	}
}

static bool has_key(const struct yaml_node *map, const char *name)
{
	return yaml_key(map, name) != NULL;
}

/* Adds what a merge key names, but for keys that are there already. */
static void merge(struct reader *reader, struct yaml_node *node, const struct yaml_node *from,
		  struct place place)
{
	if (from->kind == YAML_LIST) {
		for (size_t i = 0; i < from->count; i++) {
			if (from->items[i]->kind == YAML_LIST)
				problems_error(reader->problems, place,
					       "<< takes a map or a list of maps");
			else
				merge(reader, node, from->items[i], place);
		}
		return;
	}
	if (from->kind != YAML_MAP) {
		problems_error(reader->problems, place, "<< takes a map or a list of maps, not %s",
			       yaml_kind_words(from));
		return;
	}
	for (size_t i = 0; i < from->count; i++)
		if (node->count < YAML_KEYS_MOST && !has_key(node, from->keys[i]->text))
			push(node, from->keys[i], from->items[i]);
}

static void take_pair(struct reader *reader, struct yaml_node *node, struct yaml_node *key,
		      struct yaml_node *value, struct yaml_node *merges)
{
	if (key->kind != YAML_SCALAR) {
		problems_error(reader->problems, key->place, "a key must be a text, not %s",
			       yaml_kind_words(key));
	} else if (key->plain && strcmp(key->text, "<<") == 0) {
		push(merges, NULL, value);
	} else if (has_key(node, key->text)) {
		problems_error(reader->problems, key->place,
			       "the key %.100s is there already, in line %u", key->text,
			       yaml_key(node, key->text)->place.line);
	} else if (node->count == YAML_KEYS_MOST) {
		problems_error(reader->problems, node->place, "more than %d keys", YAML_KEYS_MOST);
	} else {
		push(node, key, value);
	}
}

static bool read_map(struct reader *reader, struct yaml_node *node)
{
	struct yaml_node merges = {.kind = YAML_LIST};
	bool ended = false, ok = true;
	while (ok && !ended) {
		yaml_event_t event;
		if (!next(reader, &event)) {
			ok = false;
			break;
		}
		if (event.type == YAML_MAPPING_END_EVENT) {
			yaml_event_delete(&event);
			ended = true;
			break;
		}
		struct place place = place_of(event.start_mark);
		struct yaml_node *key = read_node(reader, &event), *value = NULL;
		ok = key && weigh(reader, node, key, place) && next(reader, &event);
		if (ok)
			value = read_node(reader, &event);
		ok = value && weigh(reader, node, value, place);
		if (ok)
			take_pair(reader, node, key, value, &merges);
	}
	for (size_t i = 0; ok && i < merges.count; i++)
		merge(reader, node, merges.items[i], node->place);
	free((void *)(uintptr_t)merges.items);
	return ok;
}

static struct yaml_node *collection(struct reader *reader, const yaml_event_t *event)
{
	bool list = event->type == YAML_SEQUENCE_START_EVENT;
	struct yaml_node *node = new_node(reader, list ? YAML_LIST : YAML_MAP, event->start_mark);
	if (!node)
		return NULL;
	judge_tag(reader, list ? event->data.sequence_start.tag : event->data.mapping_start.tag,
		  event->start_mark);
	remember(reader,
		 list ? event->data.sequence_start.anchor : event->data.mapping_start.anchor, node);
	if (++reader->depth > YAML_DEPTH_MOST) {
		problems_error(reader->problems, node->place, "nested more than %d deep",
			       YAML_DEPTH_MOST);
		return NULL;
	}
	weighted_of(node)->open = true;
	bool ok = list ? read_list(reader, node) : read_map(reader, node);
	weighted_of(node)->open = false;
	reader->depth--;
	return ok ? node : NULL;
}

/* The node that event (taken) begins; NULL when it is wrong, which was said. */
static struct yaml_node *read_node(struct reader *reader, yaml_event_t *event)
{
	struct yaml_node *node = NULL;
	if (event->type == YAML_ALIAS_EVENT)
		node = alias(reader, event);
	else if (event->type == YAML_SCALAR_EVENT)
		node = scalar(reader, event);
	else if (event->type == YAML_SEQUENCE_START_EVENT ||
		 event->type == YAML_MAPPING_START_EVENT)
		node = collection(reader, event);
	yaml_event_delete(event);
	return node;
}

static bool read_document(struct reader *reader, yaml_mark_t mark)
{
	struct yaml *yaml = reader->yaml;
	yaml_event_t event;
	if (yaml->document_count == YAML_DOCUMENTS_MOST) {
		problems_error(reader->problems, place_of(mark), "more than %d documents",
			       YAML_DOCUMENTS_MOST);
		return false;
	}
	if (!next(reader, &event))
		return false;
	struct yaml_node *root = read_node(reader, &event);
	forget_anchors(reader);
	if (root)
		yaml->documents[yaml->document_count++] = root;
	return root != NULL;
}

static bool read_stream(struct reader *reader)
{
	for (;;) {
		yaml_event_t event;
		if (!next(reader, &event))
			return false;
		yaml_event_type_t type = event.type;
		yaml_mark_t mark = event.start_mark;
		yaml_event_delete(&event);
		if (type == YAML_STREAM_END_EVENT)
			return true;
		if (type == YAML_DOCUMENT_START_EVENT && !read_document(reader, mark))
			return false;
	}
}

struct yaml *yaml_parse(const char *text, size_t size, struct problems *problems)
{
	static const struct place whole = {.line = 0};
	if (size > YAML_BYTES_MOST) {
		problems_error(problems, whole, "it has more than %d KiB", YAML_BYTES_MOST >> 10);
		return NULL;
	}
	size_t mark = text_byte_order_mark(text, size);
	text += mark;
	size -= mark;
	struct reader reader = {.problems = problems};
	reader.yaml = calloc(1, sizeof(*reader.yaml));
	if (!reader.yaml || !yaml_parser_initialize(&reader.parser))
		abort();
	yaml_parser_set_encoding(&reader.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&reader.parser, (const unsigned char *)text, size);
	if (!read_stream(&reader)) {
		yaml_close(reader.yaml);
		reader.yaml = NULL;
	}
	yaml_parser_delete(&reader.parser);
	forget_anchors(&reader);
	free(reader.anchors);
	return reader.yaml;
}

void yaml_close(struct yaml *yaml)
{
	for (size_t i = 0; i < yaml->count; i++) {
		struct yaml_node *node = &yaml->nodes[i]->node;
		free((void *)(uintptr_t)node->text);
		free((void *)(uintptr_t)node->keys);
		free((void *)(uintptr_t)node->items);
		free(yaml->nodes[i]);
	}
	free(yaml->nodes);
	free(yaml);
}

const struct yaml_node *yaml_document(const struct yaml *yaml, size_t number)
{
	return number < yaml->document_count ? yaml->documents[number] : NULL;
}

static size_t index_of(const struct yaml_node *map, const char *name)
{
	size_t i = 0;
	while (i < map->count && strcmp(map->keys[i]->text, name) != 0)
		i++;
	return i;
}

const struct yaml_node *yaml_get(const struct yaml_node *map, const char *name)
{
	size_t i = map && map->kind == YAML_MAP ? index_of(map, name) : SIZE_MAX;
	return i != SIZE_MAX && i < map->count ? map->items[i] : NULL;
}

const struct yaml_node *yaml_key(const struct yaml_node *map, const char *name)
{
	size_t i = map && map->kind == YAML_MAP ? index_of(map, name) : SIZE_MAX;
	return i != SIZE_MAX && i < map->count ? map->keys[i] : NULL;
}

bool yaml_is_null(const struct yaml_node *node)
{
	static const char *const words[] = {"", "~", "null", "Null", "NULL"};
	if (!node)
		return true;
	for (size_t i = 0;
	     node->kind == YAML_SCALAR && node->plain && i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(node->text, words[i]) == 0)
			return true;
	return false;
}

const char *yaml_kind_words(const struct yaml_node *node)
{
	if (yaml_is_null(node))
		return "nothing";
	return node->kind == YAML_LIST ? "a list" : node->kind == YAML_MAP ? "a map" : "a text";
}
