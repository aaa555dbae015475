/* Offsets and places through several texts: see text_map.h. */
#include "agent/text_map.h"

#include <stdlib.h>

static void add_line(struct text_map *map, size_t offset)
{
	/* Room in powers of two. */
	if ((map->line_count & (map->line_count - 1)) == 0) {
		size_t room = map->line_count ? map->line_count * 2 : 1;
		map->lines = reallocarray(map->lines, room, sizeof(*map->lines));
		if (!map->lines)
			abort();
	}
	map->lines[map->line_count++] = offset;
}

void text_map_init(struct text_map *map, const char *text, size_t size,
		   const struct text_map *below)
{
	*map = (struct text_map){.text = text, .size = size, .below = below};
	add_line(map, 0);
	for (size_t i = 0; i < size; i++) {
		if (text[i] == '\r' && i + 1 < size && text[i + 1] == '\n')
			continue;
		if (text[i] == '\n' || text[i] == '\r')
			add_line(map, i + 1);
	}
}

void text_map_free(struct text_map *map)
{
	free(map->spans);
	free(map->lines);
	map->spans = NULL;
	map->lines = NULL;
	map->span_count = map->line_count = 0;
}

void text_map_add(struct text_map *map, struct text_span span)
{
	if ((map->span_count & (map->span_count - 1)) == 0) {
		size_t room = map->span_count ? map->span_count * 2 : 1;
		map->spans = reallocarray(map->spans, room, sizeof(*map->spans));
		if (!map->spans)
			abort();
	}
	map->spans[map->span_count++] = span;
}

static bool continues(char c)
{
	return ((unsigned char)c & 0xc0) == 0x80;
}

size_t text_map_offset(const struct text_map *map, struct place place)
{
	if (place.line == 0 || place.line > map->line_count)
		return map->size;
	size_t offset = map->lines[place.line - 1];
	for (unsigned column = 1; column < place.column && offset < map->size; column++)
		do
			offset++;
		while (offset < map->size && continues(map->text[offset]));
	return offset;
}

static struct place place_here(const struct text_map *map, size_t offset)
{
	size_t low = 0, high = map->line_count;
	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;
		if (map->lines[middle] <= offset)
			low = middle;
		else
			high = middle;
	}
	struct place place = {.line = (unsigned)low + 1, .column = 1};
	for (size_t i = map->lines[low]; i < offset && i < map->size; i++)
		place.column += !continues(map->text[i]);
	return place;
}

static size_t offset_below(const struct text_map *map, size_t offset)
{
	size_t low = 0, high = map->span_count;
	if (high == 0 || map->spans[0].at > offset)
		return 0;
	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;
		if (map->spans[middle].at <= offset)
			low = middle;
		else
			high = middle;
	}
	const struct text_span *span = &map->spans[low];
	return span->from + (span->verbatim ? offset - span->at : 0);
}

struct place text_map_place(const struct text_map *map, size_t offset)
{
	while (map->below) {
		offset = offset_below(map, offset);
		map = map->below;
	}
	return place_here(map, offset);
}

struct place text_map_resolve(const struct text_map *map, struct place place)
{
	return place.line == 0 ? place : text_map_place(map, text_map_offset(map, place));
}
