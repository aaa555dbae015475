/*
 * Where a text that was made from another one comes from: a template's output from the template,
 * that from a block in a file. So that what is wrong with the last is said of a place in the first.
 */
#ifndef AGENT_TEXT_MAP_H
#define AGENT_TEXT_MAP_H

#include <stdbool.h>
#include <stddef.h>

#include "platform/problems.h"

/* From at on (to the next span) the text comes from below: character for character, or all of it
 * from the one place from. */
struct text_span {
	size_t at;
	size_t from;
	bool verbatim;
};

struct text_map {
	const char *text; /* borrowed */
	size_t size;
	const struct text_map *below; /* borrowed; NULL: this is the file */
	struct text_span *spans;      /* rising; none with below: all of it comes from offset 0 */
	size_t span_count;
	size_t *lines; /* offset of each line's beginning */
	size_t line_count;
};

/* Of a text (borrowed). Lines end with LF, CRLF or CR. */
void text_map_init(struct text_map *map, const char *text, size_t size,
		   const struct text_map *below);
void text_map_free(struct text_map *map);

/* Adds a span behind those that are there. */
void text_map_add(struct text_map *map, struct text_span span);

/* The offset in this text of a place in it; its end when there is no such place. */
size_t text_map_offset(const struct text_map *map, struct place place);

/* The place in the file that an offset of this text, or a place in it, comes from. */
struct place text_map_place(const struct text_map *map, size_t offset);
struct place text_map_resolve(const struct text_map *map, struct place place);

#endif
