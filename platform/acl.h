/*
 * POSIX access control lists (POSIX.1e draft 17, acl(5)) in the kernel's form: the value of the
 * extended attributes system.posix_acl_access and system.posix_acl_default
 * (linux/posix_acl_xattr.h).
 */
#ifndef PLATFORM_ACL_H
#define PLATFORM_ACL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The values are the kernel's. */
enum acl_tag {
	ACL_USER_OWNER = 0x01,
	ACL_NAMED_USER = 0x02,
	ACL_GROUP_OWNER = 0x04,
	ACL_NAMED_GROUP = 0x08,
	ACL_MASK_ENTRY = 0x10,
	ACL_OTHERS = 0x20,
};

#define ACL_NO_ID UINT32_MAX

struct acl_entry {
	enum acl_tag tag;
	unsigned permissions; /* 4 read, 2 write, 1 execute */
	uint32_t id;          /* of a named user or group; ACL_NO_ID: not known, name says who */
	char *name;           /* owned; NULL when there is none */
};

/* A list; {.count = 0} has none. */
struct acl {
	struct acl_entry *entries;
	size_t count;
};

/* name (may be NULL) is copied. */
void acl_add(struct acl *acl, enum acl_tag tag, unsigned permissions, uint32_t id,
	     const char *name);
void acl_free(struct acl *acl);

/*
 * Finds the ids of those entries that have only a name, in the texts of a passwd(5) and a group(5)
 * file (may be NULL), and drops the entries that are not found there. Returns how many it dropped;
 * ret_unknown (size bytes) gets the name of the first.
 */
size_t acl_resolve(struct acl *acl, const char *passwd, const char *group, char *ret_unknown,
		   size_t size);

/* True when an entry has only a name. */
bool acl_has_names(const struct acl *acl);

/*
 * The attribute's value, entries in the order that the kernel demands, a mask added when it is
 * missing and needed. *ret_data is freed by the caller; returns its size.
 */
size_t acl_encode(const struct acl *acl, uint8_t **ret_data);

#endif
