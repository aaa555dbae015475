/* The search among the machine's disks: see disk_select.h. */
#include "platform/disk_select.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "platform/clock.h"
#include "platform/disk_facts.h"
#include "platform/disk_terms.h"
#include "platform/disk_users.h"
#include "platform/log.h"
#include "platform/partition.h"
#include "platform/sysfs.h"
#include "platform/text.h"

enum {
	PATH_POLL_MS = 50,
	SELECT_POLL_MS = 250,
	MATCHES_MOST = 64,
	LIST_SIZE = 1100
};

/* What is known of one device while the terms are tried. */
struct candidate {
	const struct disk_facts *facts;
	const struct disk_facts *disk; /* the whole disk's */
	struct partition_names names;
	bool names_known;
};

static const struct partition_names *names_of(struct candidate *candidate)
{
	if (!candidate->names_known)
		partition_names_read(candidate->facts->name, candidate->disk->name,
				     candidate->facts->partition, &candidate->names);
	candidate->names_known = true;
	return &candidate->names;
}

/* Whether a link in /dev/disk/FOLDER whose name fits leads to the device of this name. */
static bool link_matches(const char *folder, const char *pattern, const char *name)
{
	char path[1024], target[PATH_MAX];
	snprintf(path, sizeof(path), "%s/dev/disk/%s", sysfs_root(), folder);
	DIR *dir = opendir(path);
	bool found = false;
	for (struct dirent *entry; dir && !found && (entry = readdir(dir)) != NULL;) {
		if (!disk_text_matches(pattern, entry->d_name))
			continue;
		ssize_t size = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1);
		if (size <= 0)
			continue;
		target[size] = '\0';
		const char *slash = strrchr(target, '/');
		found = strcmp(slash ? slash + 1 : target, name) == 0;
	}
	if (dir)
		closedir(dir);
	return found;
}

static bool id_matches(const char *pattern, const struct disk_facts *disk)
{
	char ids[DISK_IDS_MOST][DISK_ID_SIZE];
	unsigned count = disk_facts_ids(disk, ids);
	for (unsigned i = 0; i < count; i++)
		if (disk_text_matches(pattern, ids[i]))
			return true;
	return link_matches("by-id", pattern, disk->name);
}

static bool wwn_matches(const char *pattern, const struct disk_facts *disk)
{
	for (unsigned i = 0; i < DISK_WWNS_MOST && disk->wwns[i][0]; i++)
		if (disk_text_matches(disk_wwn_bare(pattern), disk->wwns[i]))
			return true;
	return false;
}

static bool is_equal(const struct disk_term *term, struct candidate *candidate)
{
	const struct disk_facts *disk = candidate->disk;
	switch (term->key) {
	case DISK_KEY_SERIAL:
		return disk_text_matches(term->value, disk->serial);
	case DISK_KEY_WWN:
		return wwn_matches(term->value, disk);
	case DISK_KEY_MODEL:
		return disk_text_matches(term->value, disk->model);
	case DISK_KEY_VENDOR:
		return disk_text_matches(term->value, disk->vendor);
	case DISK_KEY_SIZE:
		return disk_size_matches(&term->size, disk->size_bytes);
	case DISK_KEY_TYPE:
		return disk_text_matches(term->value, disk->type) ||
		       disk_text_matches(term->value, disk->transport);
	case DISK_KEY_TRANSPORT:
		return disk_text_matches(term->value, disk->transport);
	case DISK_KEY_ROTATIONAL:
		return disk->rotational == (term->number != 0);
	case DISK_KEY_REMOVABLE:
		return disk->removable == (term->number != 0);
	case DISK_KEY_NAME:
		return disk_text_matches(term->value, disk->name) ||
		       (strncmp(term->value, "/dev/", 5) == 0 &&
			disk_text_matches(term->value + 5, disk->name));
	case DISK_KEY_HCTL:
		return disk_text_matches(term->value, disk->hctl);
	case DISK_KEY_BY_ID:
		return id_matches(term->value, disk);
	case DISK_KEY_BY_PATH:
		return link_matches("by-path", term->value, disk->name);
	case DISK_KEY_PARTITION:
		return candidate->facts->partition == term->number;
	case DISK_KEY_PARTLABEL:
		return disk_text_matches(term->value, names_of(candidate)->partition_label);
	case DISK_KEY_PARTUUID:
		return disk_text_matches(term->value, names_of(candidate)->partition_uuid);
	case DISK_KEY_LABEL:
		return disk_text_matches(term->value, names_of(candidate)->label);
	case DISK_KEY_UUID:
		return disk_text_matches(term->value, names_of(candidate)->uuid);
	}
	return false;
}

/* By which devices the key is answered. */
static bool is_of_partition(enum disk_key key)
{
	return key == DISK_KEY_PARTITION || key == DISK_KEY_PARTLABEL || key == DISK_KEY_PARTUUID;
}

static bool is_of_file_system(enum disk_key key)
{
	return key == DISK_KEY_LABEL || key == DISK_KEY_UUID;
}

static bool matches_all(const struct disk_terms *terms, struct candidate *candidate)
{
	/* Those that need the device opened come last. */
	for (int slow = 0; slow <= 1; slow++) {
		for (unsigned i = 0; i < terms->count; i++) {
			const struct disk_term *term = &terms->terms[i];
			if ((term->key >= DISK_KEY_PARTLABEL) != (slow == 1))
				continue;
			bool unequal = term->key != DISK_KEY_SIZE && term->operator== DISK_UNEQUAL;
			if (is_equal(term, candidate) == unequal)
				return false;
		}
	}
	return true;
}

/* Whether this term asks for the disk although it is none that holds data by itself. */
static bool asks_for(const struct disk_term *term, const struct disk_facts *disk)
{
	const char *value = term->value;
	if (term->operator!= DISK_EQUAL)
		return false;
	/* File systems are on arrays and mappings as well. */
	if (is_of_file_system(term->key))
		return strcmp(disk->type, "dm") == 0 || strcmp(disk->type, "md") == 0;
	if (strpbrk(value, "*?"))
		return false;
	if (term->key == DISK_KEY_NAME)
		return strcasecmp(strncmp(value, "/dev/", 5) == 0 ? value + 5 : value,
				  disk->name) == 0;
	if (term->key == DISK_KEY_BY_ID)
		return id_matches(value, disk);
	return term->key == DISK_KEY_TYPE && strcasecmp(value, disk->type) == 0 &&
	       strcmp(disk->type, "ram") != 0 && !disk->read_only;
}

static bool is_looked_at(const struct disk_terms *terms, const struct disk_facts *disk)
{
	bool asked_for = disk->ordinary && !disk->read_only;
	for (unsigned i = 0; i < terms->count; i++)
		asked_for = asked_for || asks_for(&terms->terms[i], disk);
	return asked_for && disk->size_bytes > 0;
}

struct search {
	const struct disk_terms *terms;
	const struct disk_facts *disk;
	bool on_disks, on_partitions, by_file_system;
	bool on_read_only; /* those that are not looked at otherwise */
	unsigned count;
	struct {
		char name[64], disk[64], wwn[128];
		uint64_t size_bytes;
	} matches[MATCHES_MOST];
};

static void try_device(struct search *search, const struct disk_facts *facts)
{
	struct candidate candidate = {.facts = facts, .disk = search->disk};
	/* A member of an array, or a path of a multipath disk, shows the file system of the whole.
	 */
	if (search->by_file_system && disk_users_has_holder(facts->name))
		return;
	if (search->count == MATCHES_MOST || !matches_all(search->terms, &candidate))
		return;
	snprintf(search->matches[search->count].name, 64, "%s", facts->name);
	snprintf(search->matches[search->count].disk, 64, "%s", search->disk->name);
	snprintf(search->matches[search->count].wwn, 128, "%s", search->disk->wwns[0]);
	search->matches[search->count++].size_bytes = facts->size_bytes;
}

static void visit_partition(void *context, const struct disk_facts *facts)
{
	try_device(context, facts);
}

static void visit_disk(void *context, const struct disk_facts *facts)
{
	struct search *search = context;
	if (!is_looked_at(search->terms, facts) &&
	    !(search->on_read_only && facts->ordinary && facts->read_only))
		return;
	search->disk = facts;
	if (search->on_disks)
		try_device(search, facts);
	if (search->on_partitions)
		disk_facts_each_partition(facts->name, visit_partition, search);
}

/* The multipath device that the disk is a path of. */
static bool find_multipath(const char *disk, char *out, size_t out_size)
{
	char path[1024], uuid[160];
	snprintf(path, sizeof(path), "%s/sys/class/block/%s/holders", sysfs_root(), disk);
	DIR *dir = opendir(path);
	bool found = false;
	for (struct dirent *entry; dir && !found && (entry = readdir(dir)) != NULL;) {
		found = disk_facts_dm_uuid(entry->d_name, uuid, sizeof(uuid)) &&
			strncmp(uuid, "mpath-", 6) == 0;
		if (found)
			snprintf(out, out_size, "%s", entry->d_name);
	}
	if (dir)
		closedir(dir);
	return found;
}

/* Several paths to one disk are one. */
static void join_paths(struct search *search)
{
	char joined[64];
	for (unsigned i = 1; i < search->count; i++)
		if (!search->matches[0].wwn[0] ||
		    strcmp(search->matches[i].wwn, search->matches[0].wwn) != 0 ||
		    search->matches[i].size_bytes != search->matches[0].size_bytes ||
		    strcmp(search->matches[i].disk, search->matches[0].disk) == 0)
			return;
	if (search->count > 1)
		log_info("several paths lead to the disk", "first", search->matches[0].name, "wwn",
			 search->matches[0].wwn);
	if (search->count > 1)
		search->count = 1;
	bool whole = strcmp(search->matches[0].name, search->matches[0].disk) == 0;
	if (search->count == 1 && whole &&
	    find_multipath(search->matches[0].disk, joined, sizeof(joined)))
		snprintf(search->matches[0].name, sizeof(joined), "%s", joined);
}

static void describe_device(const char *name, char *out, size_t out_size)
{
	struct disk_facts facts;
	char what[300] = "", user[400] = "";
	if (disk_facts_read(name, &facts))
		disk_facts_describe(&facts, what, sizeof(what));
	bool used = disk_users_find(name, user, sizeof(user));
	snprintf(out, out_size, "/dev/%s (%s%s%s)", name, what, used ? "; " : "", user);
	text_cut_utf8(out);
}

struct list {
	const struct disk_terms *terms; /* NULL: ordinary disks */
	char *out;
	size_t size, used;
	unsigned left_out;
};

static void list_device(struct list *list, const char *name)
{
	char text[600];
	describe_device(name, text, sizeof(text));
	size_t size = strlen(text) + 2;
	if (list->left_out > 0 || list->used + size >= list->size) {
		list->left_out++;
		return;
	}
	list->used += (size_t)snprintf(list->out + list->used, list->size - list->used, "%s%s",
				       list->used ? ", " : "", text);
}

static void list_disk(void *context, const struct disk_facts *facts)
{
	struct list *list = context;
	if (facts->ordinary || (list->terms && is_looked_at(list->terms, facts)))
		list_device(list, facts->name);
}

static void append_list(struct error *err, const struct list *list)
{
	error_append(err, "%s", list->used ? list->out : "no disk at all (is its driver there?)");
	if (list->left_out > 0)
		error_append(err, ", and %u more", list->left_out);
}

static void append_disks(struct error *err, const struct disk_terms *terms)
{
	char text[LIST_SIZE] = "";
	struct list list = {.terms = terms, .out = text, .size = sizeof(text)};
	disk_facts_each(list_disk, &list);
	append_list(err, &list);
}

static int complain_about_many(struct error *err, const char *text, const struct search *search)
{
	char out[LIST_SIZE] = "";
	struct list list = {.out = out, .size = sizeof(out)};
	error_set(err, ERROR_INPUT, "\"%.200s\" fits %u devices, it must be exactly one: ", text,
		  search->count);
	for (unsigned i = 0; i < search->count; i++)
		list_device(&list, search->matches[i].name);
	append_list(err, &list);
	return -1;
}

static int complain_about_read_only(struct error *err, const char *text, const char *name)
{
	char what[600];
	describe_device(name, what, sizeof(what));
	return error_set(err, ERROR_DENIED, "\"%.200s\" fits %s, which is read-only", text, what);
}

static int select_by_terms(const char *text, const struct disk_terms *terms, char *ret_path,
			   size_t path_size, struct error *err)
{
	struct search search = {.terms = terms, .on_disks = true};
	for (unsigned i = 0; i < terms->count; i++) {
		if (is_of_partition(terms->terms[i].key))
			search.on_disks = false;
		if (is_of_partition(terms->terms[i].key) || is_of_file_system(terms->terms[i].key))
			search.on_partitions = true;
		if (is_of_file_system(terms->terms[i].key))
			search.by_file_system = true;
	}
	disk_facts_each(visit_disk, &search);
	join_paths(&search);
	if (search.count > 1)
		return complain_about_many(err, text, &search);
	if (search.count == 0) {
		search.on_read_only = true;
		disk_facts_each(visit_disk, &search);
		if (search.count > 0)
			return complain_about_read_only(err, text, search.matches[0].name);
		error_set(err, ERROR_NOT_FOUND,
			  "no disk fits \"%.200s\"; this machine has: ", text);
		append_disks(err, terms);
		return -1;
	}
	snprintf(ret_path, path_size, "/dev/%s", search.matches[0].name);
	return 0;
}

/* "/dev/disk/by-id/ata-X-part1" as selectors: by-id=ata-X partition=1. False when it is no such
 * path. */
static bool terms_of_link(const char *path, struct disk_terms *ret_terms)
{
	static const char folder[] = "/dev/disk/";
	static const struct {
		const char *name;
		enum disk_key key;
	} kinds[] = {
		{"by-id/", DISK_KEY_BY_ID},          {"by-uuid/", DISK_KEY_UUID},
		{"by-label/", DISK_KEY_LABEL},       {"by-partlabel/", DISK_KEY_PARTLABEL},
		{"by-partuuid/", DISK_KEY_PARTUUID},
	};
	*ret_terms = (struct disk_terms){.count = 0};
	if (strncmp(path, folder, strlen(folder)) != 0)
		return false;
	path += strlen(folder);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		size_t size = strlen(kinds[i].name);
		struct disk_term *term = &ret_terms->terms[0], *partition = &ret_terms->terms[1];
		if (strncmp(path, kinds[i].name, size) != 0 ||
		    strlen(path + size) >= sizeof(term->value) || strpbrk(path + size, "*?"))
			continue;
		*term = (struct disk_term){.key = kinds[i].key};
		snprintf(term->value, sizeof(term->value), "%s", path + size);
		ret_terms->count = 1;
		char *part = strrchr(term->value, '-');
		if (term->key == DISK_KEY_BY_ID && part && strncmp(part, "-part", 5) == 0 &&
		    text_parse_uint(part + 5, 10, UINT32_MAX, &partition->number)) {
			*part = '\0';
			partition->key = DISK_KEY_PARTITION;
			ret_terms->count = 2;
		}
		return true;
	}
	return false;
}

int disk_select_check(const char *text, struct error *err)
{
	struct disk_terms terms;
	return text[0] == '/' ? 0 : disk_terms_parse(text, &terms, err);
}

int disk_select(const char *text, char *ret_path, size_t path_size, struct error *err)
{
	struct disk_terms terms;
	if (text[0] == '/') {
		snprintf(ret_path, path_size, "%s", text);
		return 0;
	}
	if (disk_terms_parse(text, &terms, err) < 0)
		return -1;
	return select_by_terms(text, &terms, ret_path, path_size, err);
}

/* 1: it is there and a block device; 0: it is not there yet. */
static int look_at_node(const char *path, struct error *err)
{
	struct stat status;
	if (stat(path, &status) == 0)
		return S_ISBLK(status.st_mode)
			       ? 1
			       : error_set(err, ERROR_INPUT, "%s is not a block device", path);
	return errno == ENOENT || errno == ENOTDIR ? 0 : error_sys(err, "%s", path);
}

static int find_path(const char *path, int64_t timeout_ms, char *ret_path, size_t path_size,
		     struct error *err)
{
	int64_t deadline = clock_monotonic_ms() + timeout_ms;
	struct disk_terms terms;
	struct error computed = {.kind = ERROR_NONE};
	bool with_udev = access("/run/udev/control", F_OK) == 0;
	for (;;) {
		int there = look_at_node(path, err);
		bool last = clock_monotonic_ms() >= deadline;
		if (there != 0) {
			snprintf(ret_path, path_size, "%s", path);
			return there < 0 ? -1 : 0;
		}
		/* With udev the link is worth waiting for; without it there will never be one. */
		if ((last || !with_udev) && terms_of_link(path, &terms) &&
		    select_by_terms(path, &terms, ret_path, path_size, &computed) == 0 &&
		    look_at_node(ret_path, &computed) == 1) {
			log_info("no link, found by what it says", "link", path, "disk", ret_path);
			return 0;
		}
		if (last)
			break;
		poll(NULL, 0, PATH_POLL_MS);
	}
	if (computed.kind == ERROR_INPUT) {
		*err = computed;
		return error_wrap(err, "there is no such link, and");
	}
	error_set(err, ERROR_NOT_FOUND,
		  "%s does not exist (waited %" PRId64 " s); this machine has: ", path,
		  timeout_ms / 1000);
	append_disks(err, NULL);
	return -1;
}

static bool udev_is_busy(void)
{
	return access("/run/udev/queue", F_OK) == 0;
}

int disk_find(const char *text, int64_t timeout_ms, char *ret_path, size_t path_size,
	      struct error *err)
{
	if (text[0] == '/')
		return find_path(text, timeout_ms, ret_path, path_size, err);
	struct disk_terms terms;
	if (disk_terms_parse(text, &terms, err) < 0)
		return -1;
	int64_t deadline = clock_monotonic_ms() + timeout_ms;
	for (;;) {
		/* Another disk may be on its way that fits as well. */
		bool last = clock_monotonic_ms() >= deadline;
		bool busy = udev_is_busy();
		int result = select_by_terms(text, &terms, ret_path, path_size, err);
		if (result < 0 && err->kind != ERROR_NOT_FOUND)
			return -1;
		int there = result < 0 ? 0 : look_at_node(ret_path, err);
		if (there < 0 || (there == 1 && (!busy || last)))
			return there < 0 ? -1 : 0;
		if (last)
			break;
		poll(NULL, 0, SELECT_POLL_MS);
	}
	if (err->kind == ERROR_NOT_FOUND)
		return error_append(err, " (waited %" PRId64 " s)", timeout_ms / 1000);
	return error_set(err, ERROR_NOT_FOUND,
			 "\"%.200s\" means %s, which has no node in /dev (waited %" PRId64 " s)",
			 text, ret_path, timeout_ms / 1000);
}

int disk_expect(const struct disk *disk, const char *serial, const char *size, struct error *err)
{
	struct disk_facts facts, whole;
	struct disk_size wanted;
	char has[32];
	if (size && size[0]) {
		if (disk_size_parse(size, &wanted, err) < 0)
			return error_wrap(err, "EXPECT_SIZE");
		if (!disk_size_matches(&wanted, disk->size_bytes))
			return error_set(
				err, ERROR_INPUT,
				"%s is not the disk that is expected: EXPECT_SIZE is %s, it "
				"has %" PRIu64 " bytes (%s)",
				disk->path, size, disk->size_bytes,
				text_bytes(disk->size_bytes, has, sizeof(has)));
	}
	if (!serial || !serial[0])
		return 0;
	bool known = disk_facts_read(disk->name, &facts) && disk_facts_read(facts.disk, &whole);
	if (known && whole.serial[0] && disk_text_matches(serial, whole.serial))
		return 0;
	return error_set(err, ERROR_INPUT,
			 "%s is not the disk that is expected: EXPECT_SERIAL is %s, %s%s",
			 disk->path, serial,
			 known && whole.serial[0] ? "its serial number is " : "it has none",
			 known ? whole.serial : "");
}
