/* Between template.c (the language), template_parse.c (its text) and template_functions.c. Not for
 * others. */
#ifndef AGENT_TEMPLATE_INSIDE_H
#define AGENT_TEMPLATE_INSIDE_H

#include "agent/template.h"

enum expression_kind {
	EXPRESSION_LITERAL,
	EXPRESSION_DOT,
	EXPRESSION_VARIABLE, /* $name; "" is $ */
	EXPRESSION_FIELD,    /* of arguments[0] */
	EXPRESSION_CALL
};

struct template_function;

struct expression {
	enum expression_kind kind;
	size_t offset; /* in the source */
	struct value *literal;
	char *name; /* of a field or variable */
	const struct template_function *function;
	struct expression **arguments;
	size_t count;
	unsigned height; /* of the tree below it */
};

enum step_kind {
	STEP_TEXT,
	STEP_PRINT,
	STEP_IF,
	STEP_RANGE,
	STEP_WITH
};

/* A piece of a template, and those behind it. */
struct step {
	enum step_kind kind;
	size_t offset;
	size_t size;              /* STEP_TEXT: so much of the source from offset on */
	struct expression *value; /* the others */
	char *key, *variable;     /* $key, $variable := …; NULL without */
	bool declares;            /* ":=", not "=" */
	struct step *body, *otherwise;
	struct step *next;
};

/* Parses source; NULL with problems (an empty template has no steps either). */
struct step *template_parse(const struct text_map *source, struct problems *problems);
void step_free(struct step *step);

/* What a function is called with. Values that it makes are kept until the end of the rendering. */
struct template_call {
	const struct template_function *function;
	const struct value **arguments;
	size_t count;
	void *arena;
	char error[400]; /* set by the function when it fails */
};

struct template_function {
	const char *name;
	unsigned least, most;                                   /* arguments; most 0: any number */
	const struct value *(*run)(struct template_call *call); /* NULL: failed */
};

/* NULL when there is none of that name. */
const struct template_function *template_function_find(const char *name);

/* The nearest name to one that is none, or NULL. */
const char *template_function_near(const char *name);

/* Gives a value (taken) to the arena. */
const struct value *arena_keep(void *arena, struct value *value);

/* As the language sees it: not false, 0, empty or nothing. */
bool value_is_true(const struct value *value);

/* Bytes that a value takes, about. */
size_t value_weight(const struct value *value);

enum {
	TEMPLATE_TEXT_MOST = 256 << 10, /* of one value that a function makes */
	TEMPLATE_MEMORY_MOST = 32 << 20 /* of all of them */
};

#endif
