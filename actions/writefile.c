/*
 * writefile: writes one file into a file system on a partition, whole or not at all.
 *
 * This file is the model of an action. From top to bottom: the struct of its parameters, the table
 * that names them, the work in small steps that each can fail with a reason, and the descriptor.
 * actions.c lists it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "actions/action.h"
#include "actions/param.h"
#include "platform/base64.h"
#include "platform/mount.h"
#include "platform/text.h"

enum {
	CONTENTS_MAX_BYTES = 16 << 20
};

struct writefile {
	const char *device;
	const char *fs_type;
	const char *path;
	const char *contents;
	const char *contents_base64;
	const char *contents_url;
	uint64_t uid;
	uint64_t gid;
	uint64_t mode;
	uint64_t dir_mode;
};

static const struct param params[] = {
	{"DEST_DISK", PARAM_DEVICE, PARAM_AT(struct writefile, device), .flags = PARAM_REQUIRED,
	 .doc = "the partition that holds the file system"},
	{"FS_TYPE", PARAM_TEXT, PARAM_AT(struct writefile, fs_type),
	 .doc = "its file system (ext4, xfs, btrfs, vfat …); found by its signature when not "
		"given"},
	{"DEST_PATH", PARAM_PATH, PARAM_AT(struct writefile, path), .flags = PARAM_REQUIRED,
	 .doc = "path of the file in that file system"},
	{"CONTENTS", PARAM_TEXT, PARAM_AT(struct writefile, contents),
	 .doc = "what the file holds, as text"},
	{"CONTENTS_BASE64", PARAM_TEXT, PARAM_AT(struct writefile, contents_base64),
	 .doc = "what the file holds, in base64 (RFC 4648; line ends are ignored)"},
	{"CONTENTS_URL", PARAM_URL, PARAM_AT(struct writefile, contents_url),
	 .doc = "where what the file holds is fetched from (up to 16 MiB)"},
	{"UID", PARAM_UINT, PARAM_AT(struct writefile, uid), .fallback = "0", .max = UINT32_MAX - 1,
	 .doc = "owner of the file and of directories that are made"},
	{"GID", PARAM_UINT, PARAM_AT(struct writefile, gid), .fallback = "0", .max = UINT32_MAX - 1,
	 .doc = "group of the file and of directories that are made"},
	{"MODE", PARAM_OCTAL, PARAM_AT(struct writefile, mode), .fallback = "0644", .max = 07777,
	 .doc = "mode of the file, exactly"},
	{"DIRMODE", PARAM_OCTAL, PARAM_AT(struct writefile, dir_mode), .fallback = "0755",
	 .max = 07777, .doc = "mode of directories that are made"},
	{"BOOTCONFIG_CONTENTS", PARAM_TEXT, .flags = PARAM_UNSUPPORTED,
	 .doc = "a Bottlerocket boot configuration (EKS Anywhere)"},
	{"HEGEL_URLS", PARAM_TEXT, .flags = PARAM_UNSUPPORTED,
	 .doc = "metadata servers to fetch user-data from (EKS Anywhere)"},
	{"STATIC_NETPLAN", PARAM_BOOL, .flags = PARAM_UNSUPPORTED,
	 .doc = "write the present network as netplan (EKS Anywhere)"},
	{"STATIC_BOTTLEROCKET", PARAM_BOOL, .flags = PARAM_UNSUPPORTED,
	 .doc = "write the present network as net.toml (EKS Anywhere)"},
	{"IFNAME", PARAM_TEXT, .flags = PARAM_UNSUPPORTED,
	 .doc = "interface for STATIC_BOTTLEROCKET (EKS Anywhere)"},
	{"DHCP_TIMEOUT", PARAM_TEXT, .flags = PARAM_UNSUPPORTED,
	 .doc = "for STATIC_NETPLAN (EKS Anywhere)"},
	{.name = NULL},
};

static int decode(const struct writefile *writefile, struct buffer *out, struct error *err)
{
	return base64_decode(writefile->contents_base64, out, err) < 0
		       ? error_wrap(err, "CONTENTS_BASE64")
		       : 0;
}

/* There is one source of contents. */
static int check(const struct action_context *context, struct error *err)
{
	const struct writefile *writefile = context->params;
	auto_buffer struct buffer decoded = {.cap = CONTENTS_MAX_BYTES};
	int sources = (writefile->contents[0] != '\0') + (writefile->contents_base64[0] != '\0') +
		      (writefile->contents_url[0] != '\0');
	/* Nothing at all is rather a mistyped key than the wish for an empty file, which is
	 * CONTENTS with nothing in it. */
	if (sources == 0 && !environment_get(context->request->environment, "CONTENTS"))
		return error_set(err, ERROR_INPUT,
				 "CONTENTS is missing (or CONTENTS_BASE64, or CONTENTS_URL)");
	if (sources > 1)
		return error_set(err, ERROR_INPUT,
				 "CONTENTS, CONTENTS_BASE64 and CONTENTS_URL: only one of them can "
				 "be given");
	return decode(writefile, &decoded, err);
}

/* What is to be written, from the one source that is given. */
static int get_contents(const struct action_context *context, struct buffer *out, struct error *err)
{
	const struct writefile *writefile = context->params;
	if (writefile->contents_base64[0])
		return decode(writefile, out, err);
	if (writefile->contents_url[0])
		return http_get_buffer(writefile->contents_url, &context->http, out, err) < 0
			       ? error_wrap(err, "CONTENTS_URL")
			       : 0;
	return buffer_add(out, writefile->contents, strlen(writefile->contents), err);
}

/* Writes the new file beside the old one, with owner and mode, to the device. */
static int write_temporary(int directory, const char *name, const struct writefile *writefile,
			   const struct buffer *contents, bool *ret_kept, struct error *err)
{
	auto_close int fd =
		openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_sys(err, "create a file");
	if (buffer_write_fd(contents, fd, "a file", err) < 0)
		return -1;
	if (set_owner_and_mode(fd, (uid_t)writefile->uid, (gid_t)writefile->gid,
			       (mode_t)writefile->mode, ret_kept, err) < 0)
		return -1;
	if (fsync(fd) < 0)
		return error_sys(err, "flush");
	int closing = take_fd(&fd);
	return close(closing) < 0 ? error_sys(err, "close") : 0;
}

static int replace(int directory, const char *name, const struct writefile *writefile,
		   const struct buffer *contents, bool *ret_kept, struct error *err)
{
	/* One name for all runs: what a killed run has left is replaced by the next. */
	static const char temporary[] = ".tink-worker-writefile.tmp";
	struct stat status;
	if (fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(status.st_mode))
		return error_set(err, ERROR_INPUT, "is there already, and is not a file");
	if (unlinkat(directory, temporary, 0) < 0 && errno != ENOENT)
		return error_sys(err, "remove what an earlier run has left");
	if (write_temporary(directory, temporary, writefile, contents, ret_kept, err) < 0 ||
	    (renameat(directory, temporary, directory, name) < 0 && error_sys(err, "rename") < 0)) {
		unlinkat(directory, temporary, 0);
		return -1;
	}
	return fsync(directory) < 0 ? error_sys(err, "flush the directory") : 0;
}

static int write_below(const char *root, const struct writefile *writefile,
		       const struct buffer *contents, bool *ret_kept, struct error *err)
{
	const struct directory_maker maker = {(mode_t)writefile->dir_mode, (uid_t)writefile->uid,
					      (gid_t)writefile->gid};
	char name[NAME_MAX + 1];
	auto_close int root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root_fd < 0)
		return error_sys(err, "open %s", root);
	auto_close int directory = open_parent_in_root(root_fd, writefile->path, &maker, name, err);
	if (directory < 0)
		return -1;
	return replace(directory, name, writefile, contents, ret_kept, err);
}

static int run(struct action_context *context, struct error *err)
{
	const struct writefile *writefile = context->params;
	auto_buffer struct buffer contents = {.cap = CONTENTS_MAX_BYTES};
	auto_mount struct mount_point mounted = {.path = ""};
	char path[PATH_MAX], size[32];
	bool kept = true;
	snprintf(path, sizeof(path), "%s/target", context->mount_root);
	if (get_contents(context, &contents, err) < 0 ||
	    mount_open(&mounted, writefile->device, writefile->fs_type, path, err) < 0)
		return -1;
	if (write_below(path, writefile, &contents, &kept, err) < 0)
		return error_wrap(err, "%s on %s", writefile->path, writefile->device);
	if (mount_finish(&mounted, err) < 0)
		return -1;
	char owner[96] = "no owner and mode on this file system";
	if (kept)
		snprintf(owner, sizeof(owner), "mode %04" PRIo64 ", owner %" PRIu64 ":%" PRIu64,
			 writefile->mode, writefile->uid, writefile->gid);
	action_summary(context, "wrote %s (%s, %s) on %s", writefile->path,
		       text_bytes(contents.size, size, sizeof(size)), owner, writefile->device);
	return 0;
}

const struct action action_writefile;
const struct action action_writefile = {
	.name = "writefile",
	.published = true,
	.summary = "Write a file into a file system on a partition: whole or not at all, with "
		   "exact owner and mode.",
	.params = params,
	.params_size = sizeof(struct writefile),
	.check = check,
	.run = run,
};
