/*
 * What the fuzz targets share. A target feeds the bytes to a parser and requires what must hold
 * whatever the bytes are; it has no expectations of particular inputs: those are unit tests.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Called by libFuzzer, or by main.c for each file of the seeds. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define require(condition)                                                                         \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__,          \
				#condition);                                                       \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* A copy that ends with NUL, in memory of exactly that size. */
static inline char *fuzz_text(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	require(text != NULL);
	if (size > 0)
		memcpy(text, data, size);
	text[size] = '\0';
	return text;
}

/* Cuts text at newlines, in place, into at most most - 1 lines and a NULL. Returns how many. */
static inline size_t fuzz_lines(char *text, char **lines, size_t most)
{
	size_t count = 0;
	while (text && count + 1 < most) {
		lines[count++] = text;
		text = strchr(text, '\n');
		if (text)
			*text++ = '\0';
	}
	lines[count] = NULL;
	return count;
}

#endif
