/*
 * Archives, unpacked into a directory: whatever they hold, nothing beside the directory changes,
 * the tree can be settled, moved and removed, and errors are errors of the archive. Directories are
 * below TMPDIR or /tmp.
 */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "platform/archive.h"
#include "platform/cleanup.h"
#include "platform/tree.h"

static int base = -1;

static void open_base(void)
{
	const char *folder = getenv("TMPDIR");
	char path[256];
	snprintf(path, sizeof(path), "%s/tink-worker-fuzz-XXXXXX",
		 folder && folder[0] ? folder : "/tmp");
	require(mkdtemp(path) != NULL);
	base = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	require(base >= 0);
	/* Kept open, it needs no name: nothing is left behind by a crash but what is in it. */
	auto_close int victim = openat(base, "victim", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	require(victim >= 0 && write(victim, "untouched", 9) == 9);
}

/* The victim is as it was, and beside it there is only what we have made. */
static void look_outside(void)
{
	struct stat status;
	char text[16];
	auto_close int victim = openat(base, "victim", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	require(victim >= 0 && read(victim, text, sizeof(text)) == 9 &&
		memcmp(text, "untouched", 9) == 0);
	require(fstat(victim, &status) == 0 && status.st_nlink == 1 &&
		(status.st_mode & 07777) == 0600);
	int listed = dup(base);
	DIR *list = fdopendir(listed);
	require(list != NULL);
	rewinddir(list);
	for (const struct dirent *entry; (entry = readdir(list));)
		require(strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
			strcmp(entry->d_name, "victim") == 0 ||
			strcmp(entry->d_name, "target") == 0);
	closedir(list);
}

static void require_fault_of_archive(const struct error *err)
{
	require(err->kind != ERROR_NONE && err->kind != ERROR_BUG && err->text[0] != '\0');
}

static void unpack_twice(const uint8_t *data, size_t size, int target)
{
	struct error err = {.kind = ERROR_NONE};
	for (int round = 0; round < 2; round++) {
		require(tree_remove(target, "staging", &err) == 0);
		require(mkdirat(target, "staging", 0700) == 0);
		auto_close int staging =
			openat(target, "staging", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		require(staging >= 0);
		auto_stream struct stream *stream = stream_from_memory(data, size);
		auto_unpack struct unpack *unpack = unpack_open(staging, geteuid() == 0);
		struct archive_facts facts;
		bool begun;
		if (archive_unpack(stream, unpack, &facts, &err) < 0 ||
		    unpack_settle(unpack, staging, &err) < 0 ||
		    tree_merge(target, "staging", &begun, &err) < 0 ||
		    unpack_settle(unpack, target, &err) < 0) {
			require_fault_of_archive(&err);
			return;
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error err = {.kind = ERROR_NONE};
	if (base < 0)
		open_base();
	require(mkdirat(base, "target", 0700) == 0);
	auto_close int target = openat(base, "target", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	require(target >= 0);
	unpack_twice(data, size, target);
	look_outside();
	/* Of the root of the archive the target has its mode. */
	fchmod(target, 0700);
	require(tree_remove(base, "target", &err) == 0);
	return 0;
}
