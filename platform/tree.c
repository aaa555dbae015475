/* Removing and merging trees: see tree.h. */
#include "platform/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "platform/cleanup.h"
#include "platform/mount.h"
#include "platform/text.h"

enum {
	DEPTH_MAX = 200 /* of directories that are in both trees */
};

static inline void cleanup_closedir(DIR **directory)
{
	if (*directory)
		closedir(*directory);
}
#define auto_closedir __attribute__((cleanup(cleanup_closedir)))

static DIR *open_list(int directory, const char *name)
{
	int fd = openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	DIR *list = fdopendir(fd);
	if (!list)
		close(fd);
	return list;
}

/* The next name but "." and ".."; NULL at the end and on failure, errno tells. */
static const char *next_name(DIR *list)
{
	for (;;) {
		errno = 0;
		const struct dirent *entry = readdir(list);
		if (!entry)
			return NULL;
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			return entry->d_name;
	}
}

/* 0 when it is gone, 1 when it is a directory with content. */
static int remove_one(int directory, const char *name, struct error *err)
{
	if (unlinkat(directory, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR)
		return error_sys(err, "remove %s", name);
	if (unlinkat(directory, name, AT_REMOVEDIR) == 0)
		return 0;
	return errno == ENOTEMPTY || errno == EEXIST ? 1 : error_sys(err, "remove %s", name);
}

/* Empties a directory into top: files go, directories with content move up. So no depth needs
 * more descriptors, or a longer path, than another. */
static int flatten(int top, const char *name, unsigned long *number, struct error *err)
{
	auto_closedir DIR *list = open_list(top, name);
	if (!list)
		return error_sys(err, "open %s", name);
	const char *child;
	while ((child = next_name(list))) {
		int left = remove_one(dirfd(list), child, err);
		if (left < 0)
			return -1;
		if (left == 0)
			continue;
		char unique[64];
		do
			snprintf(unique, sizeof(unique), ".removing-%lu", (*number)++);
		while (faccessat(top, unique, F_OK, AT_SYMLINK_NOFOLLOW) == 0);
		if (renameat(dirfd(list), child, top, unique) < 0)
			return error_sys(err, "move %s", child);
	}
	return errno != 0 ? error_sys(err, "list %s", name) : 0;
}

static int empty(int top, struct error *err)
{
	unsigned long number = 0;
	for (bool again = true; again;) {
		again = false;
		auto_closedir DIR *list = open_list(top, ".");
		if (!list)
			return error_sys(err, "open the directory");
		const char *name;
		while ((name = next_name(list))) {
			int left = remove_one(top, name, err);
			if (left < 0 || (left > 0 && flatten(top, name, &number, err) < 0))
				return -1;
			again = again || left > 0;
		}
		if (errno != 0)
			return error_sys(err, "list the directory");
	}
	return 0;
}

int tree_remove(int directory, const char *name, struct error *err)
{
	int left = remove_one(directory, name, err);
	if (left <= 0)
		return left;
	auto_close int top =
		openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (top < 0)
		return error_sys(err, "open %s", name);
	if (empty(top, err) < 0)
		return error_wrap(err, "remove %s", name);
	return unlinkat(directory, name, AT_REMOVEDIR) < 0 ? error_sys(err, "remove %s", name) : 0;
}

struct merge {
	int root;
	bool apply; /* else only look whether it can be done */
	bool begun;
};

static int is_empty(int directory, const char *name, struct error *err)
{
	auto_closedir DIR *list = open_list(directory, name);
	if (!list)
		return error_sys(err, "open");
	return next_name(list) == NULL && errno == 0;
}

/* The directory that path (seen with root as the root) is or leads to; -1 when it is none. */
static int follow(const struct merge *merge, const char *path)
{
	struct error ignored;
	return open_in_root(merge->root, path, O_RDONLY | O_DIRECTORY, 0, &ignored);
}

/* Puts name of `from` in the place of what is there. */
static int replace(struct merge *merge, int from, int to, const char *name,
		   const struct stat *new_status, const struct stat *old_status, struct error *err)
{
	if (S_ISDIR(old_status->st_mode)) {
		int unoccupied = is_empty(to, name, err);
		if (unoccupied <= 0)
			return unoccupied < 0
				       ? -1
				       : error_set(err, ERROR_INPUT,
						   "a directory with content is there, the "
						   "archive has something else by that name");
	}
	if (!merge->apply)
		return 0;
	merge->begun = true;
	/* Only rename(2) between two of a kind replaces by itself. */
	if (S_ISDIR(old_status->st_mode) != S_ISDIR(new_status->st_mode) &&
	    unlinkat(to, name, S_ISDIR(old_status->st_mode) ? AT_REMOVEDIR : 0) < 0)
		return error_sys(err, "remove what is there");
	return renameat(from, name, to, name) < 0 ? error_sys(err, "rename") : 0;
}

static int merge_directory(struct merge *merge, int from, int to, const char *path, int depth,
			   struct error *err);

static int merge_one(struct merge *merge, int from, int to, const char *name, const char *path,
		     int depth, struct error *err)
{
	struct stat new_status, old_status;
	if (fstatat(from, name, &new_status, AT_SYMLINK_NOFOLLOW) < 0)
		return error_sys(err, "look at what was unpacked");
	if (fstatat(to, name, &old_status, AT_SYMLINK_NOFOLLOW) < 0) {
		if (errno != ENOENT)
			return error_sys(err, "look at what is there");
		if (!merge->apply)
			return 0;
		merge->begun = true;
		return renameat(from, name, to, name) < 0 ? error_sys(err, "rename") : 0;
	}
	auto_close int inside = -1;
	if (S_ISDIR(new_status.st_mode) &&
	    (S_ISDIR(old_status.st_mode) || S_ISLNK(old_status.st_mode)))
		inside = follow(merge, path);
	if (inside < 0)
		return replace(merge, from, to, name, &new_status, &old_status, err);
	auto_close int below = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (below < 0)
		return error_sys(err, "open");
	return merge_directory(merge, below, inside, path, depth + 1, err);
}

static int merge_directory(struct merge *merge, int from, int to, const char *path, int depth,
			   struct error *err)
{
	if (depth > DEPTH_MAX)
		return error_set(err, ERROR_UNSUPPORTED,
				 "more than %d directories, one in the other, are there already",
				 DEPTH_MAX);
	auto_closedir DIR *list = open_list(from, ".");
	if (!list)
		return error_sys(err, "list %s", path);
	const char *name;
	while ((name = next_name(list))) {
		auto_free char *inner = text_format("%s%s%s", path, path[0] ? "/" : "", name);
		if (merge_one(merge, from, to, name, inner, depth, err) < 0) {
			/* The innermost names its whole path. */
			if (err->text[0] != '/') {
				char shown[512];
				text_sanitize(inner, strlen(inner), shown, sizeof(shown));
				error_wrap(err, "/%s", shown);
			}
			return -1;
		}
	}
	return errno != 0 ? error_sys(err, "list %s", path) : 0;
}

int tree_merge(int root, const char *name, bool *ret_begun, struct error *err)
{
	*ret_begun = false;
	auto_close int from = openat(root, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (from < 0)
		return error_sys(err, "open %s", name);
	if (faccessat(from, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return error_set(err, ERROR_UNSUPPORTED, "/%s: this name is needed for moving",
				 name);
	struct merge merge = {.root = root};
	if (merge_directory(&merge, from, root, "", 0, err) < 0)
		return -1;
	merge.apply = true;
	int result = merge_directory(&merge, from, root, "", 0, err);
	*ret_begun = merge.begun;
	if (result < 0)
		return -1;
	/* What is left are the directories that were in both. */
	return tree_remove(root, name, err);
}
