/*
 * Templates in the language that Tinkerbell renders its Templates with (Go's text/template): what
 * of it occurs in them. Supported are fields (.a.b), variables ($x), literals, calls, pipelines and
 * parentheses; if, else if, else, range, with, end; comments; trimming ({{- -}}); and the functions
 * that template_functions() lists. Everything else is an error that says so.
 */
#ifndef AGENT_TEMPLATE_H
#define AGENT_TEMPLATE_H

#include "agent/text_map.h"
#include "agent/values.h"
#include "platform/buffer.h"
#include "platform/problems.h"

enum {
	TEMPLATE_OUTPUT_MOST = 1 << 20,
	TEMPLATE_STEPS_MOST = 200000, /* of evaluation */
	TEMPLATE_DEPTH_MOST = 64
};

/* What stands in the output for a value that is not known (U+E000, for private use): so that the
 * rest can be judged all the same. */
#define TEMPLATE_UNKNOWN "\xee\x80\x80"

/*
 * Renders the text of source with values (a map). What is wrong goes to problems, by its place in
 * the file; a name without a value once for all its places. Appends to out, and sets *ret_map (to
 * be freed by text_map_free(); borrows out->data and source) unless the text is no template: false.
 */
bool template_render(const struct text_map *source, const struct value *values, struct buffer *out,
		     struct text_map *ret_map, struct problems *problems);

/* "and, contains, …": for messages. Returns out. */
char *template_functions(char *out, size_t out_size);

#endif
