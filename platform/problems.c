/* A list of what is wrong with a text: see problems.h. */
#include "platform/problems.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "platform/secret.h"
#include "platform/text.h"

enum {
	TEXT_SIZE = 2048
};

static bool known(const struct problems *problems, struct place place, const char *text)
{
	for (size_t i = 0; i < problems->count; i++)
		if (problems->list[i].place.line == place.line &&
		    problems->list[i].place.column == place.column &&
		    strcmp(problems->list[i].text, text) == 0)
			return true;
	return false;
}

static void __attribute__((format(printf, 4, 0)))
add(struct problems *problems, bool warning, struct place place, const char *format, va_list args)
{
	char raw[TEXT_SIZE], text[TEXT_SIZE];
	vsnprintf(raw, sizeof(raw), format, args);
	text_sanitize(raw, strlen(raw), text, sizeof(text));
	for (char *p = text; *p; p++)
		if (*p == '\n' || *p == '\t')
			*p = ' ';
	secret_redact(text);
	if (known(problems, place, text))
		return;
	if (warning)
		problems->warnings++;
	else
		problems->errors++;
	if (problems->count == PROBLEMS_MOST) {
		problems->left_out++;
		return;
	}
	problems->list[problems->count++] =
		(struct problem){.warning = warning, .place = place, .text = text_dup(text)};
}

void problems_error(struct problems *problems, struct place place, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	add(problems, false, place, format, args);
	va_end(args);
}

void problems_warning(struct problems *problems, struct place place, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	add(problems, true, place, format, args);
	va_end(args);
}

static bool is_behind(const struct place *a, const struct place *b)
{
	return a->line != b->line ? a->line > b->line : a->column > b->column;
}

/* By insertion: it keeps the order of equals, and there are few. */
void problems_sort(struct problems *problems)
{
	for (size_t i = 1; i < problems->count; i++) {
		struct problem moved = problems->list[i];
		size_t at = i;
		for (; at > 0 && is_behind(&problems->list[at - 1].place, &moved.place); at--)
			problems->list[at] = problems->list[at - 1];
		problems->list[at] = moved;
	}
}

void problems_print(const struct problems *problems, const char *name, FILE *out)
{
	for (size_t i = 0; i < problems->count; i++) {
		const struct problem *problem = &problems->list[i];
		const char *word = problem->warning ? "warning" : "error";
		if (problem->place.line == 0)
			fprintf(out, "%s: %s: %s\n", name, word, problem->text);
		else
			fprintf(out, "%s:%u:%u: %s: %s\n", name, problem->place.line,
				problem->place.column, word, problem->text);
	}
	if (problems->left_out > 0)
		fprintf(out, "%s: and %zu more\n", name, problems->left_out);
}

void problems_free(struct problems *problems)
{
	for (size_t i = 0; i < problems->count; i++)
		free(problems->list[i].text);
	problems->count = problems->left_out = problems->errors = problems->warnings = 0;
}
