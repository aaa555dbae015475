/* Access control lists for the kernel: see acl.h. */
#include "platform/acl.h"

#include <endian.h>
#include <linux/posix_acl_xattr.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "platform/cleanup.h"
#include "platform/text.h"

void acl_add(struct acl *acl, enum acl_tag tag, unsigned permissions, uint32_t id, const char *name)
{
	struct acl_entry *entries =
		reallocarray(acl->entries, acl->count + 1, sizeof(acl->entries[0]));
	if (!entries)
		abort();
	acl->entries = entries;
	entries[acl->count++] = (struct acl_entry){.tag = tag,
						   .permissions = permissions & 7,
						   .id = id,
						   .name = name ? text_dup(name) : NULL};
}

void acl_free(struct acl *acl)
{
	for (size_t i = 0; i < acl->count; i++)
		free(acl->entries[i].name);
	free(acl->entries);
	*acl = (struct acl){.count = 0};
}

static bool is_named(const struct acl_entry *entry)
{
	return entry->tag == ACL_NAMED_USER || entry->tag == ACL_NAMED_GROUP;
}

bool acl_has_names(const struct acl *acl)
{
	for (size_t i = 0; i < acl->count; i++)
		if (is_named(&acl->entries[i]) && acl->entries[i].id == ACL_NO_ID)
			return true;
	return false;
}

/* Finds "name:…:id:" among lines. */
static bool find_id(const char *lines, const char *name, uint32_t *ret_id)
{
	size_t name_size = strlen(name);
	for (const char *line = lines; line && *line;) {
		const char *end = strchrnul(line, '\n');
		if (strncmp(line, name, name_size) == 0 && line[name_size] == ':') {
			const char *password_end = memchr(line + name_size + 1, ':',
							  (size_t)(end - line) - name_size - 1);
			uint64_t id;
			if (password_end) {
				size_t size = strcspn(password_end + 1, ":\n");
				auto_free char *number = text_dup_size(password_end + 1, size);
				if (text_parse_uint(number, 10, UINT32_MAX - 1, &id)) {
					*ret_id = (uint32_t)id;
					return true;
				}
			}
		}
		line = *end ? end + 1 : end;
	}
	return false;
}

size_t acl_resolve(struct acl *acl, const char *passwd, const char *group, char *ret_unknown,
		   size_t size)
{
	size_t kept = 0, dropped = 0;
	for (size_t i = 0; i < acl->count; i++) {
		struct acl_entry *entry = &acl->entries[i];
		const char *lines = entry->tag == ACL_NAMED_USER ? passwd : group;
		bool known = !is_named(entry) || entry->id != ACL_NO_ID ||
			     (entry->name && lines && find_id(lines, entry->name, &entry->id));
		if (known) {
			acl->entries[kept++] = *entry;
			continue;
		}
		if (dropped++ == 0)
			snprintf(ret_unknown, size, "%s", entry->name ? entry->name : "?");
		free(entry->name);
	}
	acl->count = kept;
	return dropped;
}

static int compare(const void *a, const void *b)
{
	const struct acl_entry *one = a, *two = b;
	if (one->tag != two->tag)
		return one->tag < two->tag ? -1 : 1;
	return one->id < two->id ? -1 : one->id > two->id;
}

/* Named entries demand a mask: where there is none it is what all of the group class may do. */
static void add_mask(struct acl *acl)
{
	unsigned permissions = 0;
	bool named = false;
	for (size_t i = 0; i < acl->count; i++) {
		const struct acl_entry *entry = &acl->entries[i];
		if (entry->tag == ACL_MASK_ENTRY)
			return;
		named = named || is_named(entry);
		if (is_named(entry) || entry->tag == ACL_GROUP_OWNER)
			permissions |= entry->permissions;
	}
	if (named)
		acl_add(acl, ACL_MASK_ENTRY, permissions, ACL_NO_ID, NULL);
}

size_t acl_encode(const struct acl *acl, uint8_t **ret_data)
{
	struct acl sorted = {.count = 0};
	for (size_t i = 0; i < acl->count; i++)
		acl_add(&sorted, acl->entries[i].tag, acl->entries[i].permissions,
			is_named(&acl->entries[i]) ? acl->entries[i].id : ACL_NO_ID, NULL);
	add_mask(&sorted);
	if (sorted.count > 0)
		qsort(sorted.entries, sorted.count, sizeof(sorted.entries[0]), compare);
	struct posix_acl_xattr_header header = {.a_version = htole32(POSIX_ACL_XATTR_VERSION)};
	size_t size = sizeof(header) + sorted.count * sizeof(struct posix_acl_xattr_entry);
	uint8_t *data = malloc(size);
	if (!data)
		abort();
	memcpy(data, &header, sizeof(header));
	for (size_t i = 0; i < sorted.count; i++) {
		struct posix_acl_xattr_entry entry = {
			.e_tag = htole16((uint16_t)sorted.entries[i].tag),
			.e_perm = htole16((uint16_t)sorted.entries[i].permissions),
			.e_id = htole32(sorted.entries[i].id),
		};
		memcpy(data + sizeof(header) + i * sizeof(entry), &entry, sizeof(entry));
	}
	acl_free(&sorted);
	*ret_data = data;
	return size;
}
