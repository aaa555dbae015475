/*
 * All that is wrong with a text somebody has written, each with its place, so that a user sees
 * everything at once: what a compiler's messages are. For a single failure there is struct error.
 */
#ifndef PLATFORM_PROBLEMS_H
#define PLATFORM_PROBLEMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Where in a text: both from 1 on, columns in characters. Line 0: the text as a whole. */
struct place {
	unsigned line;
	unsigned column;
};

struct problem {
	bool warning;
	struct place place;
	char *text;
};

enum {
	PROBLEMS_MOST = 200
};

struct problems {
	struct problem list[PROBLEMS_MOST];
	size_t count;
	size_t left_out; /* beyond PROBLEMS_MOST: they count, their texts are gone */
	size_t errors;   /* of all */
	size_t warnings;
};

/* Add one; one that says the same of the same place is left out. The texts pass through the
 * redaction of secrets and are one line each. */
void problems_error(struct problems *problems, struct place place, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void problems_warning(struct problems *problems, struct place place, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Sorts by place; what was added first comes first at equal places. */
void problems_sort(struct problems *problems);

/* "NAME:LINE:COLUMN: error: TEXT", one a line. */
void problems_print(const struct problems *problems, const char *name, FILE *out);

void problems_free(struct problems *problems);
#define auto_problems __attribute__((cleanup(problems_free)))

#endif
