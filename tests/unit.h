/*
 * What the unit tests share: cmocka with its needed headers, assertions about struct error,
 * skipping with a reason, and a directory of one's own. It is no second test framework.
 */
#ifndef TESTS_UNIT_H
#define TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include "platform/error.h"

/* The three below use the caller's variable `struct error err`. */
#define assert_ok(call)                                                                            \
	do {                                                                                       \
		err = (struct error){.kind = ERROR_NONE};                                          \
		if ((call) < 0)                                                                    \
			fail_msg("%s: %s: %s", #call, error_kind_name(err.kind), err.text);        \
	} while (0)

/* It fails with this kind, and its text contains words. */
#define assert_fails(call, expected, words)                                                        \
	do {                                                                                       \
		err = (struct error){.kind = ERROR_NONE};                                          \
		if ((call) >= 0)                                                                   \
			fail_msg("%s did not fail", #call);                                        \
		assert_error(expected, words);                                                     \
	} while (0)

#define assert_error(expected, words)                                                              \
	do {                                                                                       \
		if (err.kind != (expected))                                                        \
			fail_msg("kind is \"%s\", expected \"%s\": %s", error_kind_name(err.kind), \
				 error_kind_name(expected), err.text);                             \
		assert_contains(err.text, words);                                                  \
	} while (0)

#define assert_contains(text, words)                                                               \
	do {                                                                                       \
		if (!strstr(text, words))                                                          \
			fail_msg("\"%s\" does not contain \"%s\"", text, words);                   \
	} while (0)

#define assert_lacks(text, words)                                                                  \
	do {                                                                                       \
		if (strstr(text, words))                                                           \
			fail_msg("\"%s\" contains \"%s\"", text, words);                           \
	} while (0)

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Ends the test as skipped. tests/tap shows the reason. */
#define skip_because(reason)                                                                       \
	do {                                                                                       \
		print_message("skipped: %s\n", reason);                                            \
		skip();                                                                            \
	} while (0)

/* A new directory below /tmp. Give the text back to directory_remove(). */
static inline char *directory_make(void)
{
	char *path = strdup("/tmp/tink-worker-test-XXXXXX");
	if (!path || !mkdtemp(path))
		fail_msg("no directory for the test below /tmp");
	return path;
}

static inline int directory_remove_entry(const char *path, const struct stat *status, int type,
					 struct FTW *walk)
{
	(void)status;
	(void)type;
	(void)walk;
	return remove(path);
}

static inline void directory_remove(char *path)
{
	nftw(path, directory_remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
	free(path);
}

/* "directory/name", owned by the caller. */
static inline char *path_in(const char *directory, const char *name)
{
	char *path;
	if (asprintf(&path, "%s/%s", directory, name) < 0)
		abort();
	return path;
}

static inline void file_write(const char *path, const void *data, size_t size)
{
	FILE *file = fopen(path, "we");
	if (!file || fwrite(data, 1, size, file) != size || fclose(file) != 0)
		fail_msg("cannot write %s", path);
}

/* Bytes that do not compress, always the same for the same seed. */
static inline void fill_random(uint8_t *data, size_t size, uint32_t seed)
{
	uint32_t state = seed * 2654435761u + 1;
	for (size_t i = 0; i < size; i++) {
		state ^= state << 13;
		state ^= state >> 17;
		state ^= state << 5;
		data[i] = (uint8_t)(state >> 11);
	}
}

#endif
