/*
 * Archives made by hand, unpacked below a directory of the test's own; access lists; moving and
 * removing trees. What needs root, file systems and real programs' archives: tests/e2e.
 */
#include "tests/unit.h"

#include <errno.h>

#include "platform/archive.h"
#include "platform/cleanup.h"
#include "platform/tree.h"

enum {
	BLOCK = 512,
	ARCHIVE_MOST = 64 * BLOCK
};

struct made {
	uint8_t data[ARCHIVE_MOST];
	size_t size;
};

/* Adds a ustar header and content. */
static void add(struct made *made, char type, const char *name, const char *link,
		const char *content)
{
	uint8_t *header = made->data + made->size;
	size_t size = strlen(content), padded = (size + BLOCK - 1) / BLOCK * BLOCK;
	assert_true(made->size + BLOCK + padded + 2 * BLOCK <= sizeof(made->data));
	memset(header, 0, BLOCK + padded);
	memcpy(header, name, strlen(name));
	snprintf((char *)header + 100, 8, "%07o", type == '5' ? 0750 : 0640);
	snprintf((char *)header + 108, 8, "%07o", (unsigned)geteuid());
	snprintf((char *)header + 116, 8, "%07o", (unsigned)getegid());
	snprintf((char *)header + 124, 12, "%011zo", size);
	snprintf((char *)header + 136, 12, "%011o", 1000000000);
	memset(header + 148, ' ', 8);
	header[156] = (uint8_t)type;
	memcpy(header + 157, link, strlen(link));
	memcpy(header + 257,
	       "ustar\0"
	       "00",
	       8);
	unsigned sum = 0;
	for (size_t i = 0; i < BLOCK; i++)
		sum += header[i];
	snprintf((char *)header + 148, 8, "%06o", sum);
	memcpy(header + BLOCK, content, size);
	made->size += BLOCK + padded;
}

static void add_end(struct made *made)
{
	memset(made->data + made->size, 0, 2 * BLOCK);
	made->size += 2 * BLOCK;
}

struct place {
	char *path;
	int fd;
};

static struct place place_make(void)
{
	struct place place = {.path = directory_make()};
	place.fd = open(place.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(place.fd >= 0);
	return place;
}

static void place_remove(struct place *place)
{
	close(place->fd);
	directory_remove(place->path);
}

static int unpack_made(const struct made *made, int directory, struct archive_facts *facts,
		       struct unpack_counts *counts, struct error *err)
{
	struct stream *stream = stream_from_memory(made->data, made->size);
	struct unpack *unpack = unpack_open(directory, true);
	int result = archive_unpack(stream, unpack, facts, err);
	if (result == 0)
		result = unpack_settle(unpack, directory, err);
	if (counts)
		*counts = *unpack_counts(unpack);
	unpack_free(unpack);
	stream_close(stream);
	return result;
}

static void assert_content(int directory, const char *path, const char *content)
{
	char text[64] = "";
	int fd = openat(directory, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fail_msg("%s is not there", path);
	assert_true(read(fd, text, sizeof(text) - 1) >= 0);
	close(fd);
	assert_string_equal(text, content);
}

static void test_unpack(void **state)
{
	(void)state;
	struct error err;
	struct archive_facts facts;
	struct unpack_counts counts;
	struct stat status;
	struct made made = {.size = 0};
	struct place place = place_make();
	add(&made, '5', "./d/", "", "");
	add(&made, '0', "d/f", "", "content");
	add(&made, '1', "d/h", "d/f", "");
	add(&made, '2', "l", "d", "");
	add(&made, '0', "l/through", "", "a link");
	add(&made, '6', "pipe", "", "");
	add(&made, '0', "/absolute/made", "", "inside");
	add(&made, '0', "d/f2", "", "1");
	add(&made, '0', "d/f2", "", "the later one");
	add_end(&made);
	assert_ok(unpack_made(&made, place.fd, &facts, &counts, &err));
	assert_true(facts.has_end_mark);
	assert_int_equal(counts.entries, 9);
	assert_int_equal(counts.files, 5);
	assert_int_equal(counts.hard_links, 1);
	assert_content(place.fd, "d/h", "content");
	assert_content(place.fd, "d/through", "a link");
	assert_content(place.fd, "absolute/made", "inside");
	assert_content(place.fd, "d/f2", "the later one");
	assert_int_equal(fstatat(place.fd, "d", &status, 0), 0);
	assert_int_equal(status.st_mode, S_IFDIR | 0750);
	assert_int_equal(status.st_mtime, 1000000000);
	assert_int_equal(fstatat(place.fd, "d/f", &status, 0), 0);
	assert_int_equal(status.st_nlink, 2);
	assert_int_equal(status.st_mode, S_IFREG | 0640);
	assert_int_equal(fstatat(place.fd, "pipe", &status, 0), 0);
	assert_true(S_ISFIFO(status.st_mode));
	place_remove(&place);
}

static void test_refused(void **state)
{
	(void)state;
	static const struct {
		char type;
		const char *name, *link, *words;
	} cases[] = {
		{'0', "../x", "", "\"..\""},
		{'0', "a/../../x", "", "\"..\""},
		{'1', "x", "../victim", "\"..\""},
		{'1', "x", "/nothing", "not there"},
		{'1', "x", "a/b/c", "hard link to a/b/c"},
		{'0', "dangling/x", "", "link that leads to nothing"},
		{'0', "loop/x", "", "loop"},
		{'0', "file/x", "", "file/x"},
		{'0', ".", "", "."},
		{'0', "full", "", "not empty"},
	};
	struct error err;
	struct archive_facts facts;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct made made = {.size = 0};
		struct place place = place_make();
		add(&made, '2', "dangling", "/nowhere/at/all", "");
		add(&made, '2', "loop", "loop", "");
		add(&made, '0', "file", "", "");
		add(&made, '0', "full/of/it", "", "");
		add(&made, cases[i].type, cases[i].name, cases[i].link, "");
		add_end(&made);
		err = (struct error){.kind = ERROR_NONE};
		assert_int_equal(unpack_made(&made, place.fd, &facts, NULL, &err), -1);
		assert_contains(err.text, cases[i].words);
		assert_true(err.kind != ERROR_BUG && err.kind != ERROR_NONE);
		place_remove(&place);
	}
}

static void test_damaged(void **state)
{
	(void)state;
	struct error err;
	struct archive_facts facts;
	struct made whole = {.size = 0};
	add(&whole, '0', "a", "", "some content");
	add(&whole, '0', "b", "", "and more");
	add_end(&whole);
	for (size_t size = 0; size < whole.size; size += 128) {
		struct place place = place_make();
		struct made made = whole;
		made.size = size;
		err = (struct error){.kind = ERROR_NONE};
		int result = unpack_made(&made, place.fd, &facts, NULL, &err);
		/* At the ends of entries only the missing end mark tells. */
		if (result == 0)
			assert_true(size == 2 * BLOCK || size >= 4 * BLOCK);
		else
			assert_int_equal(err.kind, ERROR_CORRUPT);
		place_remove(&place);
	}
	struct place place = place_make();
	struct made garbage = whole;
	memset(garbage.data + garbage.size, 'x', BLOCK);
	garbage.size += BLOCK;
	assert_fails(unpack_made(&garbage, place.fd, &facts, NULL, &err), ERROR_CORRUPT,
		     "cannot be read");
	struct made nothing = {.size = 0};
	add_end(&nothing);
	assert_fails(unpack_made(&nothing, place.fd, &facts, NULL, &err), ERROR_CORRUPT, "nothing");
	place_remove(&place);
}

static void test_access_lists(void **state)
{
	(void)state;
	static const uint8_t wanted[] = {
		2,  0, 0, 0,                         /* version */
		1,  0, 6, 0, 0xff, 0xff, 0xff, 0xff, /* owner */
		2,  0, 4, 0, 5,    0,    0,    0,    /* user 5 */
		2,  0, 7, 0, 0xe8, 3,    0,    0,    /* user 1000 */
		4,  0, 1, 0, 0xff, 0xff, 0xff, 0xff, /* group */
		16, 0, 7, 0, 0xff, 0xff, 0xff, 0xff, /* mask, made */
		32, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, /* others */
	};
	struct acl acl = {.count = 0};
	acl_add(&acl, ACL_OTHERS, 0, ACL_NO_ID, NULL);
	acl_add(&acl, ACL_NAMED_USER, 7, ACL_NO_ID, "alice");
	acl_add(&acl, ACL_NAMED_USER, 4, 5, "ignored");
	acl_add(&acl, ACL_NAMED_GROUP, 7, ACL_NO_ID, "stranger");
	acl_add(&acl, ACL_GROUP_OWNER, 1, ACL_NO_ID, NULL);
	acl_add(&acl, ACL_USER_OWNER, 6, ACL_NO_ID, NULL);
	assert_true(acl_has_names(&acl));
	char unknown[32] = "";
	assert_int_equal(acl_resolve(&acl, "root:x:0:0::\nalice2:x:7:7\nalice:x:1000:7:::\n", NULL,
				     unknown, sizeof(unknown)),
			 1);
	assert_string_equal(unknown, "stranger");
	assert_false(acl_has_names(&acl));
	uint8_t *data;
	assert_int_equal(acl_encode(&acl, &data), sizeof(wanted));
	assert_memory_equal(data, wanted, sizeof(wanted));
	free(data);
	acl_free(&acl);
	/* Lines that are none. */
	static const char *const odd[] = {"",
					  "alice",
					  "alice:",
					  "alice:x",
					  "alice:x:",
					  "alice:x:-1:",
					  "alice:x:4294967295:",
					  "alice:x:y",
					  "\n\nalice\n:::"};
	for (size_t i = 0; i < COUNT(odd); i++) {
		acl_add(&acl, ACL_NAMED_USER, 7, ACL_NO_ID, "alice");
		assert_int_equal(acl_resolve(&acl, odd[i], NULL, unknown, sizeof(unknown)), 1);
		assert_int_equal(acl.count, 0);
		acl_free(&acl);
	}
}

static void make_file(int directory, const char *path, const char *content)
{
	int fd = openat(directory, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0 && write(fd, content, strlen(content)) == (ssize_t)strlen(content));
	close(fd);
}

static void test_merge(void **state)
{
	(void)state;
	struct error err;
	struct place place = place_make();
	bool begun;
	static const char *const folders[] = {"new",  "new/both", "new/fresh", "new/linked",
					      "both", "real",     "full",      "empty"};
	for (size_t i = 0; i < COUNT(folders); i++)
		assert_int_equal(mkdirat(place.fd, folders[i], 0700), 0);
	assert_int_equal(symlinkat("/../real", place.fd, "linked"), 0);
	make_file(place.fd, "both/old", "old");
	make_file(place.fd, "both/changed", "old");
	make_file(place.fd, "full/x", "");
	make_file(place.fd, "new/both/changed", "new");
	make_file(place.fd, "new/linked/in", "linked");
	make_file(place.fd, "new/empty", "a file now");
	make_file(place.fd, "new/full", "a file");
	/* Nothing is touched when something cannot be done. */
	assert_fails(tree_merge(place.fd, "new", &begun, &err), ERROR_INPUT, "/full");
	assert_false(begun);
	assert_content(place.fd, "both/changed", "old");
	assert_int_equal(unlinkat(place.fd, "new/full", 0), 0);
	assert_ok(tree_merge(place.fd, "new", &begun, &err));
	assert_content(place.fd, "both/changed", "new");
	assert_content(place.fd, "both/old", "old");
	assert_content(place.fd, "real/in", "linked");
	assert_content(place.fd, "empty", "a file now");
	assert_int_equal(faccessat(place.fd, "fresh", F_OK, 0), 0);
	assert_int_equal(faccessat(place.fd, "new", F_OK, 0), -1);
	place_remove(&place);
}

/* Deeper than there are descriptors, longer than a path can be. */
static void test_remove_deep(void **state)
{
	(void)state;
	struct error err;
	struct place place = place_make();
	auto_close int at = dup(place.fd);
	for (int i = 0; i < 3000; i++) {
		assert_int_equal(mkdirat(at, "d", 0700), 0);
		make_file(at, "f", "");
		int next = openat(at, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(next >= 0);
		close(at);
		at = next;
	}
	assert_ok(tree_remove(place.fd, "d", &err));
	assert_int_equal(faccessat(place.fd, "d", F_OK, 0), -1);
	assert_ok(tree_remove(place.fd, "f", &err));
	assert_ok(tree_remove(place.fd, "nothing", &err));
	place_remove(&place);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unpack),  cmocka_unit_test(test_refused),
		cmocka_unit_test(test_damaged), cmocka_unit_test(test_access_lists),
		cmocka_unit_test(test_merge),   cmocka_unit_test(test_remove_deep),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
