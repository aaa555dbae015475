/*
 * YAML from outside (1.1 as libyaml reads it), as a tree in which every node knows where it stands.
 * Scalars stay the texts that were written: whether 0644 or yes means a number or a boolean is for
 * who asks. Bounded in size, depth and number of nodes, aliases counted as often as they are used.
 */
#ifndef PLATFORM_YAML_H
#define PLATFORM_YAML_H

#include <stdbool.h>
#include <stddef.h>

#include "platform/cleanup.h"
#include "platform/problems.h"

enum yaml_kind {
	YAML_SCALAR,
	YAML_LIST,
	YAML_MAP
};

enum {
	YAML_BYTES_MOST = 1 << 20,
	YAML_NODES_MOST = 50000,
	YAML_KEYS_MOST = 4096, /* of one map */
	YAML_DEPTH_MOST = 64,
	YAML_DOCUMENTS_MOST = 64
};

/* Read only. An aliased node is one node with several parents. */
struct yaml_node {
	enum yaml_kind kind;
	struct place place;
	/* Of a scalar: UTF-8, NUL-terminated, without NUL inside. */
	const char *text;
	size_t size;
	bool plain;   /* written without quotes and not as a block */
	bool literal; /* written as a block behind "|" */
	/* Of a list its items; of a map its values, and beside each its key, a scalar. Merge keys
	 * (<<) are resolved: keys of the map itself go before merged ones. */
	struct yaml_node *const *keys;
	struct yaml_node *const *items;
	size_t count;
};

struct yaml; /* what the nodes live in */

/*
 * Parses a text of at most YAML_BYTES_MOST bytes. Adds an error to problems, and returns NULL, when
 * it is not YAML, is not UTF-8 or goes beyond a bound; duplicate keys, keys that are no scalars,
 * tags that are not of YAML's own kinds and wrong merges are errors too, but the tree is there (of
 * equal keys the first one counts).
 */
struct yaml *yaml_parse(const char *text, size_t size, struct problems *problems);
/* Not yaml_free(): libyaml has a function of that name. */
void yaml_close(struct yaml *yaml);
AUTO_DEFINE(yaml, struct yaml *, yaml_close)
#define auto_yaml __attribute__((cleanup(cleanup_yaml)))

/* The document with that number, from 0 on; NULL behind the last. An empty text has none. */
const struct yaml_node *yaml_document(const struct yaml *yaml, size_t number);

/* The value (or, second, the key) of that name; NULL when there is none or map is no map or NULL.
 */
const struct yaml_node *yaml_get(const struct yaml_node *map, const char *name);
const struct yaml_node *yaml_key(const struct yaml_node *map, const char *name);

/* Whether it is nothing: a plain scalar that is empty, ~, null, Null or NULL; NULL too. */
bool yaml_is_null(const struct yaml_node *node);

/* "a text", "a list", "a map", "nothing": for messages. */
const char *yaml_kind_words(const struct yaml_node *node);

#endif
