/* From libarchive's entries to unpack's: see archive.h. Only its reader of tar is used. */
#include "platform/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "platform/cleanup.h"
#include "platform/text.h"

enum {
	BUFFER_BYTES = 1 << 20,
	BLOCK_BYTES = 512
};

struct reading {
	struct stream *stream;
	struct unpack *unpack;
	struct archive *archive;
	struct archive_entry *entry;
	uint8_t *buffer;
	size_t zeros;         /* at the end of what was read, counted up to BLOCK_BYTES */
	struct error failure; /* of the stream */
};

static size_t zeros_at_end(const uint8_t *data, size_t size, size_t before)
{
	size_t zeros = 0;
	while (zeros < size && zeros < BLOCK_BYTES && data[size - 1 - zeros] == 0)
		zeros++;
	return zeros == size && zeros < BLOCK_BYTES ? zeros + before : zeros;
}

static la_ssize_t read_more(struct archive *archive, void *context, const void **ret_data)
{
	struct reading *reading = context;
	ssize_t got =
		stream_read(reading->stream, reading->buffer, BUFFER_BYTES, &reading->failure);
	if (got < 0) {
		archive_set_error(archive, EIO, "the stream has failed");
		return -1;
	}
	if (got > 0)
		reading->zeros = zeros_at_end(reading->buffer, (size_t)got, reading->zeros);
	*ret_data = reading->buffer;
	return got;
}

/* What libarchive, or below it the stream, says. */
static int fail(const struct reading *reading, struct error *err)
{
	if (reading->failure.kind != ERROR_NONE) {
		*err = reading->failure;
		return -1;
	}
	const char *reason = archive_error_string(reading->archive);
	char text[512];
	text_sanitize(reason ? reason : "?", strlen(reason ? reason : "?"), text, sizeof(text));
	return error_set(err, ERROR_CORRUPT, "the archive cannot be read: %s", text);
}

/* Names in other character sets come as they are; of all else that is odd something would be
 * lost. */
static bool is_harmless(struct archive *archive)
{
	const char *reason = archive_error_string(archive);
	return reason && strstr(reason, "can't be converted from");
}

static void take_list(struct archive_entry *entry, int type, struct acl *acl)
{
	static const struct {
		int from;
		enum acl_tag to;
	} tags[] = {
		{ARCHIVE_ENTRY_ACL_USER_OBJ, ACL_USER_OWNER},
		{ARCHIVE_ENTRY_ACL_USER, ACL_NAMED_USER},
		{ARCHIVE_ENTRY_ACL_GROUP_OBJ, ACL_GROUP_OWNER},
		{ARCHIVE_ENTRY_ACL_GROUP, ACL_NAMED_GROUP},
		{ARCHIVE_ENTRY_ACL_MASK, ACL_MASK_ENTRY},
		{ARCHIVE_ENTRY_ACL_OTHER, ACL_OTHERS},
	};
	int found_type, permissions, tag, id;
	const char *name;
	if (archive_entry_acl_reset(entry, type) == 0)
		return;
	while (archive_entry_acl_next(entry, type, &found_type, &permissions, &tag, &id, &name) ==
	       ARCHIVE_OK)
		for (size_t i = 0; i < sizeof(tags) / sizeof(tags[0]); i++)
			if (tags[i].from == tag)
				acl_add(acl, tags[i].to, (unsigned)permissions,
					id < 0 ? ACL_NO_ID : (uint32_t)id, name);
}

/* GNU tar writes SELinux's label without the NUL that ends it on disk. */
static void take_attribute(struct unpack_meta *meta, const char *name, const char *value,
			   size_t size)
{
	if (strcmp(name, "security.selinux") == 0 && size > 0 && value[size - 1] != '\0') {
		auto_free char *label = text_dup_size(value, size);
		unpack_meta_add_attribute(meta, name, label, size + 1);
	} else {
		unpack_meta_add_attribute(meta, name, value, size);
	}
}

static void take_attributes(struct archive_entry *entry, struct unpack_meta *meta)
{
	const char *name;
	const void *value;
	size_t size;
	archive_entry_xattr_reset(entry);
	while (archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK)
		if (name)
			take_attribute(meta, name, value, size);
}

static void take_meta(struct archive_entry *entry, struct unpack_meta *meta)
{
	const struct timespec omitted = {.tv_nsec = UTIME_OMIT};
	mode_t type = archive_entry_filetype(entry);
	*meta = (struct unpack_meta){
		.mode = (type ? type : S_IFREG) | archive_entry_perm(entry),
		.uid = (uid_t)archive_entry_uid(entry),
		.gid = (gid_t)archive_entry_gid(entry),
		.times = {omitted, omitted},
	};
	if (archive_entry_atime_is_set(entry))
		meta->times[0] = (struct timespec){archive_entry_atime(entry),
						   archive_entry_atime_nsec(entry)};
	if (archive_entry_mtime_is_set(entry))
		meta->times[1] = (struct timespec){archive_entry_mtime(entry),
						   archive_entry_mtime_nsec(entry)};
	take_attributes(entry, meta);
	take_list(entry, ARCHIVE_ENTRY_ACL_TYPE_ACCESS, &meta->access);
	take_list(entry, ARCHIVE_ENTRY_ACL_TYPE_DEFAULT, &meta->inherited);
}

static int copy_content(struct reading *reading, struct error *err)
{
	const void *data;
	size_t size;
	la_int64_t offset;
	for (;;) {
		int result = archive_read_data_block(reading->archive, &data, &size, &offset);
		if (result == ARCHIVE_EOF)
			return 0;
		if (result != ARCHIVE_OK)
			return fail(reading, err);
		if (offset < 0)
			return error_set(err, ERROR_CORRUPT, "content at a negative position");
		if (size > 0 &&
		    unpack_write(reading->unpack, (uint64_t)offset, data, size, err) < 0)
			return -1;
	}
}

static int unpack_one(struct reading *reading, struct error *err)
{
	struct archive_entry *entry = reading->entry;
	struct unpack_entry wanted = {
		.path = archive_entry_pathname(entry),
		.hard_link = archive_entry_hardlink(entry),
		.target = archive_entry_symlink(entry),
		.size_bytes = (uint64_t)archive_entry_size(entry),
		.device = makedev((unsigned)archive_entry_rdevmajor(entry),
				  (unsigned)archive_entry_rdevminor(entry)),
	};
	if (!wanted.path || !wanted.path[0])
		return error_set(err, ERROR_CORRUPT, "an entry of the archive has no name");
	take_meta(entry, &wanted.meta);
	bool has_content =
		S_ISREG(wanted.meta.mode) && (!wanted.hard_link || wanted.size_bytes > 0);
	int result = unpack_begin(reading->unpack, &wanted, err);
	unpack_meta_free(&wanted.meta);
	if (result < 0 || (has_content && copy_content(reading, err) < 0))
		return -1;
	return unpack_end(reading->unpack, err);
}

static int unpack_all(struct reading *reading, struct error *err)
{
	uint64_t entries = 0;
	for (;; entries++) {
		int result = archive_read_next_header(reading->archive, &reading->entry);
		if (result == ARCHIVE_EOF)
			break;
		if (result != ARCHIVE_OK &&
		    !(result == ARCHIVE_WARN && is_harmless(reading->archive)))
			return fail(reading, err);
		if (unpack_one(reading, err) < 0)
			return -1;
	}
	if (entries == 0)
		return error_set(err, ERROR_CORRUPT, "the archive holds nothing");
	/* The reader may have stopped before the stream's end was seen and verified. */
	ssize_t got = stream_read(reading->stream, reading->buffer, BUFFER_BYTES, err);
	if (got < 0)
		return -1;
	return got > 0 ? error_set(err, ERROR_CORRUPT,
				   "there is something behind the archive's end")
		       : 0;
}

static int open_archive(struct reading *reading, struct error *err)
{
	struct archive *archive = reading->archive;
	if (archive_read_support_format_tar(archive) != ARCHIVE_OK ||
	    archive_read_set_option(archive, "tar", "read_concatenated_archives", "1") !=
		    ARCHIVE_OK)
		return error_set(err, ERROR_BUG, "libarchive: %s", archive_error_string(archive));
	if (archive_read_open(archive, reading, NULL, read_more, NULL) != ARCHIVE_OK)
		return fail(reading, err);
	return 0;
}

int archive_unpack(struct stream *stream, struct unpack *unpack, struct archive_facts *ret_facts,
		   struct error *err)
{
	struct reading reading = {.stream = stream,
				  .unpack = unpack,
				  .archive = archive_read_new(),
				  .buffer = malloc(BUFFER_BYTES)};
	if (!reading.archive || !reading.buffer)
		abort();
	/* Names are bytes; for pax, which has them in UTF-8, libarchive converts to the locale's.
	 */
	locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
	locale_t before = utf8 ? uselocale(utf8) : (locale_t)0;
	int result = open_archive(&reading, err);
	if (result == 0)
		result = unpack_all(&reading, err);
	const char *form = archive_format_name(reading.archive);
	*ret_facts = (struct archive_facts){.form = form ? form : "tar",
					    .has_end_mark = reading.zeros >= BLOCK_BYTES};
	archive_read_free(reading.archive);
	free(reading.buffer);
	if (utf8) {
		uselocale(before);
		freelocale(utf8);
	}
	return result;
}
