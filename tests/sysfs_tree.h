/*
 * Machines for the tests: trees of sysfs from a text, one file a line. Lines are
 *
 *   path = content      a file; \n, \xHH and \\ in the content
 *   path -> target      a symbolic link
 *   # comment           also empty lines
 *
 * tests/fixtures/sysfs/capture writes such a text from a running machine.
 */
#ifndef TESTS_SYSFS_TREE_H
#define TESTS_SYSFS_TREE_H

#include "tests/unit.h"

#include "platform/sysfs.h"
#include "platform/text.h"

static inline void tree_make_folders(char *path, size_t from)
{
	for (char *slash = path + from; (slash = strchr(slash, '/')) != NULL; slash++) {
		*slash = '\0';
		mkdir(path, 0755);
		*slash = '/';
	}
}

/* In place; returns the size. */
static inline size_t tree_unescape(char *text)
{
	char *out = text;
	for (const char *in = text; *in; in++) {
		if (in[0] == '\\' && in[1] == 'x') {
			*out++ = (char)(text_hex_value(in[2]) << 4 | text_hex_value(in[3]));
			in += 3;
		} else if (in[0] == '\\') {
			in++;
			*out++ = *in == 'n' ? '\n' : *in;
		} else {
			*out++ = *in;
		}
	}
	return (size_t)(out - text);
}

static inline void tree_add_line(const char *root, char *line)
{
	char *link = strstr(line, " -> "), *file = strstr(line, " = ");
	char path[1024];
	line[strcspn(line, "\n")] = '\0';
	if (line[0] != '/')
		return;
	if (!link && !file)
		fail_msg("neither a file nor a link: %s", line);
	char *end = !file || (link && link < file) ? link : file;
	bool is_link = end == link;
	*end = '\0';
	char *value = end + (is_link ? 4 : 3);
	snprintf(path, sizeof(path), "%s%s", root, line);
	tree_make_folders(path, strlen(root) + 1);
	if (is_link && symlink(value, path) < 0)
		fail_msg("cannot link %s", path);
	if (!is_link) {
		size_t size = tree_unescape(value);
		file_write(path, value, size);
	}
}

/* Adds the lines of a text to the tree below root. */
static inline void tree_add(const char *root, const char *text)
{
	char *copy = strdup(text);
	for (char *line = copy, *next; line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		tree_add_line(root, line);
	}
	free(copy);
}

/* The lines of a file in tests/fixtures/sysfs. */
static inline void tree_add_fixture(const char *root, const char *name)
{
	char *path = path_in(TESTS_FOLDER "/fixtures/sysfs", name);
	FILE *file = fopen(path, "re");
	char *line = NULL;
	size_t line_size = 0;
	if (!file)
		fail_msg("%s is not there", path);
	while (file && getline(&line, &line_size, file) > 0)
		tree_add_line(root, line);
	free(line);
	free(path);
	if (file)
		fclose(file);
}

#endif
