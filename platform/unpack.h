/*
 * Writing a tree of files below a directory, entry by entry, with all that belongs to them: owners,
 * modes, times, extended attributes, access control lists, hard links, devices, holes.
 *
 * Nothing outside the directory is touched whatever the names and links say: every path is resolved
 * with the directory as its root (openat2(2), RESOLVE_IN_ROOT), and its last component is never
 * followed. What cannot be kept because the file system has no place for it is counted; every
 * other failure is one.
 */
#ifndef PLATFORM_UNPACK_H
#define PLATFORM_UNPACK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "platform/acl.h"
#include "platform/error.h"

struct unpack_attribute {
	char *name; /* "security.capability" */
	void *value;
	size_t size;
};

/* What is known of a file besides its content. Owns what it points to; see unpack_meta_free(). */
struct unpack_meta {
	mode_t mode; /* type and permissions */
	uid_t uid;
	gid_t gid;
	struct timespec times[2]; /* access, change of content; UTIME_OMIT: not known */
	struct unpack_attribute *attributes;
	size_t attribute_count;
	struct acl access;
	struct acl inherited; /* a directory's default list */
};
void unpack_meta_free(struct unpack_meta *meta);
void unpack_meta_add_attribute(struct unpack_meta *meta, const char *name, const void *value,
			       size_t size);

struct unpack_entry {
	const char *path;      /* relative to the directory; "/" in front and "." are ignored */
	const char *hard_link; /* NULL, or the path of the other name of the same file */
	const char *target;    /* of a symbolic link */
	uint64_t size_bytes;   /* of a file; of a hard link with content of its own, else 0 */
	dev_t device;          /* of a device node */
	struct unpack_meta meta;
};

struct unpack_counts {
	uint64_t entries;
	uint64_t files, directories, symlinks, hard_links, specials;
	uint64_t bytes; /* of content */
	/* What the file system (or, of names in access lists, the tree) has no place for, in
	 * entries. */
	uint64_t without_owner, without_attributes, without_acl;
	char first_without_attributes[256]; /* "usr/bin/ping: security.capability" */
	char first_without_acl[256];
};

struct unpack;

/* directory is borrowed. owners: the file system keeps owners and modes at all, see
 * filesystem_has_owners(). */
struct unpack *unpack_open(int directory, bool owners);
void unpack_free(struct unpack *unpack);
#define auto_unpack __attribute__((cleanup(cleanup_unpack)))

/*
 * Makes an entry; what has the same name gives way, unless it is a directory that is not empty.
 * The entry's meta is taken over (emptied). Missing directories are made (0755, of root). Errors
 * name the path: ERROR_CORRUPT when it has "..", or leads through what is no directory.
 */
int unpack_begin(struct unpack *unpack, struct unpack_entry *entry, struct error *err);

/* Content of the file that was begun, in any order; what is never written is a hole. */
int unpack_write(struct unpack *unpack, uint64_t offset, const void *data, size_t size,
		 struct error *err);

/* The entry is complete: sets size and meta, closes. Directories get theirs by unpack_settle(). */
int unpack_end(struct unpack *unpack, struct error *err);

/*
 * After the last entry: modes, times, attributes and lists of directories, and lists that name
 * users, found in etc/passwd and etc/group of the tree. May be called again with the directory that
 * the tree was moved to.
 */
int unpack_settle(struct unpack *unpack, int directory, struct error *err);

const struct unpack_counts *unpack_counts(const struct unpack *unpack);

/* Content written so far: may be asked from another thread, for progress. */
uint64_t unpack_bytes(const struct unpack *unpack);

static inline void cleanup_unpack(struct unpack **unpack)
{
	unpack_free(*unpack);
}

#endif
