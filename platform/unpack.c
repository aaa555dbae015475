/* Writing a tree below a directory: see unpack.h. */
#include "platform/unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>

#include "platform/buffer.h"
#include "platform/cleanup.h"
#include "platform/mount.h"
#include "platform/text.h"

enum {
	SHOWN_SIZE = 512,
	NAMES_FILE_MAX = 8 << 20
};

/* What is set when all else is there. */
struct deferred {
	char *path;
	struct unpack_meta meta;
};

struct unpack {
	int root;
	bool owners;
	int parent; /* the directory of the last entry; -1: none */
	char parent_path[PATH_MAX];
	/* The entry that is being written. */
	int fd; /* of a file, else -1 */
	char path[PATH_MAX];
	char name[NAME_MAX + 1]; /* in parent; "" for the directory itself */
	uint64_t size_bytes;
	bool keeps_meta; /* false: a further name, whose meta came with the first one */
	struct unpack_meta meta;
	struct deferred *deferred;
	size_t deferred_count, deferred_capacity;
	struct unpack_counts counts;
};

void unpack_meta_free(struct unpack_meta *meta)
{
	for (size_t i = 0; i < meta->attribute_count; i++) {
		free(meta->attributes[i].name);
		free(meta->attributes[i].value);
	}
	free(meta->attributes);
	acl_free(&meta->access);
	acl_free(&meta->inherited);
	*meta = (struct unpack_meta){.mode = 0};
}

void unpack_meta_add_attribute(struct unpack_meta *meta, const char *name, const void *value,
			       size_t size)
{
	struct unpack_attribute *attributes = reallocarray(
		meta->attributes, meta->attribute_count + 1, sizeof(meta->attributes[0]));
	char *copy = malloc(size + 1);
	if (!attributes || !copy)
		abort();
	if (size > 0)
		memcpy(copy, value, size);
	meta->attributes = attributes;
	attributes[meta->attribute_count++] =
		(struct unpack_attribute){.name = text_dup(name), .value = copy, .size = size};
}

struct unpack *unpack_open(int directory, bool owners)
{
	struct unpack *unpack = calloc(1, sizeof(*unpack));
	if (!unpack)
		abort();
	unpack->root = directory;
	unpack->owners = owners;
	unpack->parent = unpack->fd = -1;
	return unpack;
}

void unpack_free(struct unpack *unpack)
{
	if (!unpack)
		return;
	cleanup_close(&unpack->parent);
	cleanup_close(&unpack->fd);
	unpack_meta_free(&unpack->meta);
	for (size_t i = 0; i < unpack->deferred_count; i++) {
		free(unpack->deferred[i].path);
		unpack_meta_free(&unpack->deferred[i].meta);
	}
	free(unpack->deferred);
	free(unpack);
}

const struct unpack_counts *unpack_counts(const struct unpack *unpack)
{
	return &unpack->counts;
}

uint64_t unpack_bytes(const struct unpack *unpack)
{
	return __atomic_load_n(&unpack->counts.bytes, __ATOMIC_RELAXED);
}

/* Puts the path, fit to be shown, before the error; a full file system is described. */
static int wrap(const struct unpack *unpack, const char *path, struct error *err)
{
	char shown[SHOWN_SIZE];
	struct statvfs status;
	text_sanitize(path, strlen(path), shown, sizeof(shown));
	if ((err->code == ENOSPC || err->code == EDQUOT) && err->kind == ERROR_IO &&
	    fstatvfs(unpack->root, &status) == 0) {
		char left[32];
		text_bytes((uint64_t)status.f_bavail * status.f_frsize, left, sizeof(left));
		if (status.f_files > 0 && status.f_favail == 0)
			error_append(err, " (the file system has no inode left, and %s)", left);
		else
			error_append(err, " (%s are left on the file system)", left);
	}
	return error_wrap(err, "%s", shown[0] ? shown : "/");
}

/* "a/b" from "/./a//b/"; ERROR_CORRUPT for "..", ERROR_UNSUPPORTED for what is too long. */
static int normalize(const char *path, char *out, struct error *err)
{
	size_t used = 0;
	for (const char *at = path; *at;) {
		size_t size = strcspn(at, "/");
		if (size == 2 && at[0] == '.' && at[1] == '.')
			return error_set(err, ERROR_CORRUPT,
					 "the path has \"..\" in it: it could lead outside");
		if (size > NAME_MAX || used + size + 2 > PATH_MAX)
			return error_set(err, ERROR_UNSUPPORTED, "the path is too long");
		if (size > 0 && !(size == 1 && at[0] == '.')) {
			if (used > 0)
				out[used++] = '/';
			memcpy(out + used, at, size);
			used += size;
		}
		at += size;
		at += strspn(at, "/");
	}
	out[used] = '\0';
	return 0;
}

/* Splits a normalized path in place of out; name gets its last component. */
static void split(const char *path, char *out_parent, char *out_name)
{
	const char *slash = strrchr(path, '/');
	snprintf(out_parent, PATH_MAX, "%.*s", slash ? (int)(slash - path) : 0, path);
	snprintf(out_name, NAME_MAX + 1, "%s", slash ? slash + 1 : path);
}

static int open_directory(int root, const char *path, struct error *err)
{
	return open_in_root(root, path[0] ? path : ".", O_PATH | O_DIRECTORY, 0, err);
}

/* Makes the directories of path that are missing, from the top. */
static int make_directories(const struct unpack *unpack, const char *path, struct error *err)
{
	char part[PATH_MAX], above[PATH_MAX], name[NAME_MAX + 1];
	for (const char *end = path; *end;) {
		end = strchrnul(end + 1, '/');
		snprintf(part, sizeof(part), "%.*s", (int)(end - path), path);
		auto_close int there = open_directory(unpack->root, part, err);
		if (there >= 0)
			continue;
		if (err->code != ENOENT)
			return -1;
		split(part, above, name);
		auto_close int parent = open_directory(unpack->root, above, err);
		if (parent < 0)
			return -1;
		if (mkdirat(parent, name, 0755) < 0)
			return errno == EEXIST
				       ? error_set(err, ERROR_CORRUPT,
						   "%s is a link that leads to nothing", part)
				       : error_sys(err, "make the directory %s", part);
		if (unpack->owners && fchmodat(parent, name, 0755, 0) < 0)
			return error_sys(err, "mode of the directory %s", part);
	}
	return 0;
}

/* Opens the directory of the entry, which is mostly that of the one before. */
static int enter(struct unpack *unpack, const char *path, struct error *err)
{
	if (unpack->parent >= 0 && strcmp(unpack->parent_path, path) == 0)
		return 0;
	if (unpack->parent >= 0)
		close(take_fd(&unpack->parent));
	int fd = open_directory(unpack->root, path, err);
	if (fd < 0 && err->code == ENOENT) {
		if (make_directories(unpack, path, err) < 0)
			return -1;
		fd = open_directory(unpack->root, path, err);
	}
	if (fd < 0) {
		if (err->code == ENOTDIR || err->code == ELOOP)
			err->kind = ERROR_CORRUPT;
		return -1;
	}
	unpack->parent = fd;
	snprintf(unpack->parent_path, sizeof(unpack->parent_path), "%s", path);
	return 0;
}

/* Removes what has the entry's name. The directories that were opened may be others now. */
static int give_way(struct unpack *unpack, struct error *err)
{
	if (unlinkat(unpack->parent, unpack->name, 0) < 0) {
		if (errno != EISDIR)
			return error_sys(err, "replace what is there");
		if (unlinkat(unpack->parent, unpack->name, AT_REMOVEDIR) < 0)
			return errno == ENOTEMPTY || errno == EEXIST
				       ? error_set(err, ERROR_INPUT,
						   "a directory that is not empty is in its place")
				       : error_sys(err, "replace what is there");
	}
	return 0;
}

/* One of the system calls that make things: the result as theirs. */
static int make_directory(const struct unpack *unpack)
{
	if (mkdirat(unpack->parent, unpack->name, 0700) == 0)
		return 0;
	int errnum = errno;
	struct stat status;
	if (errnum == EEXIST &&
	    fstatat(unpack->parent, unpack->name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
	    S_ISDIR(status.st_mode))
		return 0;
	errno = errnum;
	return -1;
}

static int make_file(struct unpack *unpack)
{
	unpack->fd = openat(unpack->parent, unpack->name,
			    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	return unpack->fd < 0 ? -1 : 0;
}

static int make_node(const struct unpack *unpack, const struct unpack_entry *entry)
{
	return mknodat(unpack->parent, unpack->name, (entry->meta.mode & S_IFMT) | 0600,
		       S_ISCHR(entry->meta.mode) || S_ISBLK(entry->meta.mode) ? entry->device : 0);
}

static int make_object(struct unpack *unpack, const struct unpack_entry *entry)
{
	if (S_ISDIR(entry->meta.mode))
		return make_directory(unpack);
	if (S_ISREG(entry->meta.mode))
		return make_file(unpack);
	if (S_ISLNK(entry->meta.mode))
		return symlinkat(entry->target ? entry->target : "", unpack->parent, unpack->name);
	return make_node(unpack, entry);
}

static const char *type_name(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return "directory";
	case S_IFREG:
		return "file";
	case S_IFLNK:
		return "symbolic link";
	case S_IFIFO:
		return "named pipe";
	case S_IFSOCK:
		return "socket";
	default:
		return "device node";
	}
}

static int fail_to_make(const struct unpack *unpack, const char *what, struct error *err)
{
	int errnum = errno;
	if (!unpack->owners && (errnum == EPERM || errnum == EOPNOTSUPP || errnum == EINVAL))
		return error_set(err, ERROR_UNSUPPORTED, "this file system cannot hold a %s", what);
	return error_errno(err, errnum, "make a %s", what);
}

static int create(struct unpack *unpack, const struct unpack_entry *entry, struct error *err)
{
	int result = make_object(unpack, entry);
	if (result < 0 && (errno == EEXIST || errno == EISDIR)) {
		if (give_way(unpack, err) < 0)
			return -1;
		result = make_object(unpack, entry);
	}
	return result < 0 ? fail_to_make(unpack, type_name(entry->meta.mode), err) : 0;
}

static bool is_same_file(int a, const char *a_name, int b, const char *b_name)
{
	struct stat one, two;
	return fstatat(a, a_name, &one, AT_SYMLINK_NOFOLLOW) == 0 &&
	       fstatat(b, b_name, &two, AT_SYMLINK_NOFOLLOW) == 0 && one.st_ino == two.st_ino &&
	       one.st_dev == two.st_dev;
}

/* Some formats give a further name its content again. */
static int reopen_file(struct unpack *unpack, struct error *err)
{
	struct stat status;
	unpack->fd = openat(unpack->parent, unpack->name,
			    O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (unpack->fd < 0 || fstat(unpack->fd, &status) < 0)
		return error_sys(err, "open");
	if (!S_ISREG(status.st_mode))
		return error_set(err, ERROR_CORRUPT, "content for what is no file");
	return ftruncate(unpack->fd, 0) < 0 ? error_sys(err, "empty") : 0;
}

static int create_hard_link(struct unpack *unpack, const struct unpack_entry *entry,
			    struct error *err)
{
	char path[PATH_MAX], above[PATH_MAX], name[NAME_MAX + 1], shown[SHOWN_SIZE];
	text_sanitize(entry->hard_link, strlen(entry->hard_link), shown, sizeof(shown));
	if (normalize(entry->hard_link, path, err) < 0)
		return error_wrap(err, "hard link to %s", shown);
	split(path, above, name);
	auto_close int directory = open_directory(unpack->root, above, err);
	if (directory < 0) {
		err->kind = err->code == ENOENT || err->code == ENOTDIR || err->code == ELOOP
				    ? ERROR_CORRUPT
				    : err->kind;
		return error_wrap(err, "hard link to %s", shown);
	}
	int result = linkat(directory, name, unpack->parent, unpack->name, 0);
	if (result < 0 && errno == EEXIST) {
		if (is_same_file(directory, name, unpack->parent, unpack->name))
			return 0;
		if (give_way(unpack, err) < 0)
			return -1;
		result = linkat(directory, name, unpack->parent, unpack->name, 0);
	}
	if (result == 0)
		return 0;
	if (errno == ENOENT)
		return error_set(err, ERROR_CORRUPT, "hard link to %s, which is not there", shown);
	fail_to_make(unpack, "hard link", err);
	return error_wrap(err, "to %s", shown);
}

static void defer(struct unpack *unpack, struct unpack_meta *meta)
{
	if (unpack->deferred_count == unpack->deferred_capacity) {
		unpack->deferred_capacity = 2 * unpack->deferred_capacity + 64;
		unpack->deferred = reallocarray(unpack->deferred, unpack->deferred_capacity,
						sizeof(unpack->deferred[0]));
		if (!unpack->deferred)
			abort();
	}
	unpack->deferred[unpack->deferred_count++] =
		(struct deferred){.path = text_dup(unpack->path), .meta = *meta};
	*meta = (struct unpack_meta){.mode = 0};
}

static void count(struct unpack_counts *counts, const struct unpack_entry *entry)
{
	counts->entries++;
	if (entry->hard_link)
		counts->hard_links++;
	else if (S_ISDIR(entry->meta.mode))
		counts->directories++;
	else if (S_ISREG(entry->meta.mode))
		counts->files++;
	else if (S_ISLNK(entry->meta.mode))
		counts->symlinks++;
	else
		counts->specials++;
}

static int begin(struct unpack *unpack, struct unpack_entry *entry, struct error *err)
{
	char above[PATH_MAX];
	if (normalize(entry->path, unpack->path, err) < 0)
		return -1;
	split(unpack->path, above, unpack->name);
	if (!unpack->name[0])
		return S_ISDIR(entry->meta.mode) && !entry->hard_link
			       ? 0
			       : error_set(err, ERROR_CORRUPT,
					   "the root of the tree is not a directory");
	if (enter(unpack, above, err) < 0)
		return -1;
	if (!entry->hard_link)
		return create(unpack, entry, err);
	if (create_hard_link(unpack, entry, err) < 0)
		return -1;
	return entry->size_bytes > 0 ? reopen_file(unpack, err) : 0;
}

int unpack_begin(struct unpack *unpack, struct unpack_entry *entry, struct error *err)
{
	unpack->fd = -1;
	unpack_meta_free(&unpack->meta);
	if (begin(unpack, entry, err) < 0)
		return wrap(unpack, entry->path, err);
	count(&unpack->counts, entry);
	unpack->keeps_meta = !entry->hard_link || unpack->fd >= 0;
	unpack->size_bytes = entry->size_bytes;
	unpack->meta = entry->meta;
	entry->meta = (struct unpack_meta){.mode = 0};
	return 0;
}

int unpack_write(struct unpack *unpack, uint64_t offset, const void *data, size_t size,
		 struct error *err)
{
	if (unpack->fd < 0)
		return error_set(err, ERROR_CORRUPT, "%s: content for what is no file",
				 unpack->path);
	for (size_t at = 0; at < size;) {
		ssize_t written = pwrite(unpack->fd, (const char *)data + at, size - at,
					 (off_t)(offset + at));
		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0) {
			error_sys(err, "write");
			return wrap(unpack, unpack->path, err);
		}
		at += (size_t)written;
	}
	__atomic_store_n(&unpack->counts.bytes, unpack->counts.bytes + size, __ATOMIC_RELAXED);
	return 0;
}

/* Where the entry is, for the calls that know paths only: they follow no last component. */
static void proc_path(int parent, const char *name, char *out, size_t out_size)
{
	snprintf(out, out_size, "/proc/self/fd/%d%s%s", parent, name[0] ? "/" : "", name);
}

/* What metadata is set on: an open file, or a name in a directory. */
struct object {
	int fd; /* -1: by name */
	int parent;
	const char *name;
	const char *path; /* for messages */
};

static int set_attribute(const struct object *object, const char *name, const void *value,
			 size_t size)
{
	if (object->fd >= 0)
		return fsetxattr(object->fd, name, value, size, 0);
	char path[64 + NAME_MAX];
	proc_path(object->parent, object->name, path, sizeof(path));
	return lsetxattr(path, name, value, size, 0);
}

static bool is_acl(const char *name)
{
	return strncmp(name, "system.posix_acl_", 17) == 0;
}

static void note_without(struct unpack *unpack, const struct object *object, bool acl,
			 const char *what)
{
	uint64_t *counter = acl ? &unpack->counts.without_acl : &unpack->counts.without_attributes;
	char *first =
		acl ? unpack->counts.first_without_acl : unpack->counts.first_without_attributes;
	if ((*counter)++ > 0)
		return;
	char text[SHOWN_SIZE];
	snprintf(text, sizeof(text), "%s: %s", object->path, what);
	text_sanitize(text, strlen(text), first, sizeof(unpack->counts.first_without_acl));
}

/* Attributes for which the file system has no place are counted once per entry. */
static int set_attributes(struct unpack *unpack, const struct object *object,
			  const struct unpack_meta *meta, struct error *err)
{
	bool noted = false;
	for (size_t i = 0; i < meta->attribute_count; i++) {
		const struct unpack_attribute *attribute = &meta->attributes[i];
		if (unpack->owners &&
		    set_attribute(object, attribute->name, attribute->value, attribute->size) == 0)
			continue;
		if (unpack->owners && errno != EOPNOTSUPP)
			return error_sys(err, "attribute %s", attribute->name);
		if (!noted)
			note_without(unpack, object, is_acl(attribute->name), attribute->name);
		noted = true;
	}
	return 0;
}

static int set_acl(struct unpack *unpack, const struct object *object, const struct acl *acl,
		   const char *name, struct error *err)
{
	if (acl->count == 0)
		return 0;
	if (!unpack->owners) {
		note_without(unpack, object, true, "access control list");
		return 0;
	}
	uint8_t *data;
	size_t size = acl_encode(acl, &data);
	int result = set_attribute(object, name, data, size), errnum = errno;
	free(data);
	if (result < 0 && errnum == EOPNOTSUPP) {
		note_without(unpack, object, true, "access control list");
		return 0;
	}
	return result < 0 ? error_errno(err, errnum, "access control list") : 0;
}

/* The mode after the owner: a new owner takes the set-id bits away. */
static int set_owner(struct unpack *unpack, const struct object *object,
		     const struct unpack_meta *meta, struct error *err)
{
	if (!unpack->owners) {
		unpack->counts.without_owner++;
		return 0;
	}
	int result = object->fd >= 0 ? fchown(object->fd, meta->uid, meta->gid)
				     : fchownat(object->parent, object->name, meta->uid, meta->gid,
						AT_SYMLINK_NOFOLLOW);
	if (result < 0)
		return error_sys(err, "owner %u:%u", meta->uid, meta->gid);
	if (S_ISLNK(meta->mode))
		return 0;
	result = object->fd >= 0 ? fchmod(object->fd, meta->mode & 07777)
				 : fchmodat(object->parent, object->name, meta->mode & 07777, 0);
	return result < 0 ? error_sys(err, "mode %04o", meta->mode & 07777) : 0;
}

/* In this order: each of these changes something of those before it, none of those behind. */
static int set_meta(struct unpack *unpack, const struct object *object,
		    const struct unpack_meta *meta, struct error *err)
{
	if (set_owner(unpack, object, meta, err) < 0 ||
	    set_attributes(unpack, object, meta, err) < 0 ||
	    set_acl(unpack, object, &meta->access, "system.posix_acl_access", err) < 0 ||
	    set_acl(unpack, object, &meta->inherited, "system.posix_acl_default", err) < 0)
		return -1;
	int result = object->fd >= 0 ? futimens(object->fd, meta->times)
				     : utimensat(object->parent, object->name, meta->times,
						 AT_SYMLINK_NOFOLLOW);
	return result < 0 ? error_sys(err, "times") : 0;
}

static int end(struct unpack *unpack, struct error *err)
{
	/* A hole at the end, or all of it one. */
	if (unpack->fd >= 0 && ftruncate(unpack->fd, (off_t)unpack->size_bytes) < 0)
		return error_sys(err, "size of %" PRIu64 " bytes", unpack->size_bytes);
	if (!unpack->keeps_meta)
		return 0;
	const struct object object = {unpack->fd, unpack->parent, unpack->name, unpack->path};
	if (S_ISDIR(unpack->meta.mode)) {
		defer(unpack, &unpack->meta);
		return 0;
	}
	if (acl_has_names(&unpack->meta.access)) {
		if (set_owner(unpack, &object, &unpack->meta, err) < 0)
			return -1;
		defer(unpack, &unpack->meta);
		return 0;
	}
	return set_meta(unpack, &object, &unpack->meta, err);
}

int unpack_end(struct unpack *unpack, struct error *err)
{
	int result = end(unpack, err);
	if (unpack->fd >= 0 && close(take_fd(&unpack->fd)) < 0 && result == 0)
		result = error_sys(err, "close");
	return result < 0 ? wrap(unpack, unpack->path, err) : 0;
}

/* Reads a file of the tree; none is no error. */
static int read_names(int root, const char *path, struct buffer *text, struct error *err)
{
	auto_close int fd = open_in_root(root, path, O_RDONLY | O_NONBLOCK, 0, err);
	struct stat status;
	if (fd < 0 || fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
		return 0;
	return buffer_read_fd(text, fd, path, err) < 0 ? -1 : buffer_add(text, "", 1, err);
}

static int resolve_names(struct unpack *unpack, int root, struct error *err)
{
	bool needed = false;
	for (size_t i = 0; i < unpack->deferred_count && !needed; i++)
		needed = acl_has_names(&unpack->deferred[i].meta.access) ||
			 acl_has_names(&unpack->deferred[i].meta.inherited);
	if (!needed)
		return 0;
	auto_buffer struct buffer passwd = {.cap = NAMES_FILE_MAX}, group = {.cap = NAMES_FILE_MAX};
	if (read_names(root, "etc/passwd", &passwd, err) < 0 ||
	    read_names(root, "etc/group", &group, err) < 0)
		return -1;
	for (size_t i = 0; i < unpack->deferred_count; i++) {
		struct deferred *deferred = &unpack->deferred[i];
		const struct object object = {-1, -1, "", deferred->path};
		char unknown[64], what[128];
		const char *users = (const char *)passwd.data, *groups = (const char *)group.data;
		if (acl_resolve(&deferred->meta.access, users, groups, unknown, sizeof(unknown)) +
			    acl_resolve(&deferred->meta.inherited, users, groups, unknown,
					sizeof(unknown)) >
		    0) {
			snprintf(what, sizeof(what), "the access control list names %s, unknown",
				 unknown);
			note_without(unpack, &object, true, what);
		}
	}
	return 0;
}

/* What is no longer of the type it had was replaced by a later entry. */
static int settle(struct unpack *unpack, int root, const struct deferred *deferred,
		  struct error *err)
{
	char above[PATH_MAX], name[NAME_MAX + 1];
	split(deferred->path, above, name);
	auto_close int parent = open_directory(root, above, err);
	if (parent < 0)
		return err->code == ENOENT || err->code == ENOTDIR || err->code == ELOOP ? 0 : -1;
	struct stat status;
	if (fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) < 0)
		return errno == ENOENT ? 0 : error_sys(err, "look at it");
	if ((status.st_mode & S_IFMT) != (deferred->meta.mode & S_IFMT))
		return 0;
	auto_close int fd = -1;
	if (S_ISDIR(status.st_mode) || S_ISREG(status.st_mode)) {
		fd = openat(parent, name[0] ? name : ".",
			    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		if (fd < 0)
			return error_sys(err, "open");
	}
	const struct object object = {fd, parent, name, deferred->path};
	return set_meta(unpack, &object, &deferred->meta, err);
}

int unpack_settle(struct unpack *unpack, int directory, struct error *err)
{
	if (resolve_names(unpack, directory, err) < 0)
		return -1;
	const struct unpack_counts before = unpack->counts;
	for (size_t i = 0; i < unpack->deferred_count; i++)
		if (settle(unpack, directory, &unpack->deferred[i], err) < 0)
			return wrap(unpack, unpack->deferred[i].path, err);
	/* What is not kept was counted at the first time. */
	if (directory != unpack->root)
		unpack->counts = before;
	return 0;
}
