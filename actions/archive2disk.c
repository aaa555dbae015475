/*
 * archive2disk: unpacks a tar from a web server into a file system on a partition.
 *
 * It is unpacked into a directory of its own there, and moved to its place by renaming only when
 * all of it has arrived, was verified and is on the medium; whatever fails before leaves the file
 * system without it. What a killed run has left is removed by the next.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "actions/action.h"
#include "actions/download.h"
#include "actions/param.h"
#include "actions/progress.h"
#include "platform/archive.h"
#include "platform/clock.h"
#include "platform/decompress.h"
#include "platform/log.h"
#include "platform/mount.h"
#include "platform/text.h"
#include "platform/tree.h"

enum {
	CHUNK_BYTES = 1 << 20,
	CHUNKS = 4,
	URL_SHOWN = 512
};

/* Where the tree is until it is complete, in the directory that it goes to. */
static const char staging[] = ".tink-worker-archive2disk";

struct archive2disk {
	const char *urls;
	const char *type;
	struct digest archive_checksum;
	struct digest tar_checksum;
	bool unverified;
	const char *device;
	const char *fs_type;
	const char *path;
	uint64_t timeout_minutes;
	uint64_t progress_interval_s;
	struct download_params download;
};

static const struct param params[] = {
	{"ARCHIVE_URL", PARAM_URLS, PARAM_AT(struct archive2disk, urls), .flags = PARAM_REQUIRED,
	 .doc = "the tar, plain or compressed by gzip, zstd, xz, bzip2 or lz4, told by its "
		"content. Several URLs are mirrors"},
	{"DEST_DISK", PARAM_DEVICE, PARAM_AT(struct archive2disk, device), .flags = PARAM_REQUIRED,
	 .doc = "the partition that holds the file system"},
	{"FS_TYPE", PARAM_TEXT, PARAM_AT(struct archive2disk, fs_type),
	 .doc = "its file system (ext4, xfs, btrfs, vfat …); found by its signature when not "
		"given"},
	{"DEST_PATH", PARAM_PATH, PARAM_AT(struct archive2disk, path), .fallback = "/",
	 .doc = "the directory in that file system to unpack into; made when it is missing"},
	{"TARFILE_CHECKSUM", PARAM_CHECKSUM, PARAM_AT(struct archive2disk, tar_checksum),
	 .doc = "of the tar, decompressed: sha256:HEX or sha512:HEX"},
	{"ARCHIVE_CHECKSUM", PARAM_CHECKSUM, PARAM_AT(struct archive2disk, archive_checksum),
	 .doc = "of what is downloaded: sha256:HEX or sha512:HEX. One of the two is needed"},
	{"INSECURE_NO_TARFILE_CHECKSUM_VERIFICATION", PARAM_BOOL,
	 PARAM_AT(struct archive2disk, unverified), .fallback = "false",
	 .doc = "unpack without a checksum"},
	{"ARCHIVE_TYPE", PARAM_TEXT, PARAM_AT(struct archive2disk, type), .flags = PARAM_NO_EFFECT,
	 .doc = "taken for compatibility (tar, targz): the content tells"},
	{"HTTP_CLIENT_TIMEOUT_MINUTES", PARAM_UINT, PARAM_AT(struct archive2disk, timeout_minutes),
	 .fallback = "0", .max = 10080,
	 .doc = "the whole download must end within so many minutes; 0: as long as bytes come"},
	{"PROGRESS_INTERVAL_SECONDS", PARAM_UINT,
	 PARAM_AT(struct archive2disk, progress_interval_s), .fallback = "3", .min = 1, .max = 3600,
	 .doc = "pause between two lines of progress in the log"},
	DOWNLOAD_PARAMS(struct archive2disk, download),
	CREDENTIAL_PARAMS(struct archive2disk, download),
	{.name = NULL},
};

struct work {
	struct action_context *context;
	const struct archive2disk *params;
	struct source *source;
	struct unpack *unpack;
	int directory; /* that the tree goes to */
	int staging;
	bool owners;
	enum compression compression;
	struct archive_facts facts;
	struct progress *progress;
	int64_t started_ms;
};

/* A stage that fails when the time is over, with the next byte that comes. */
struct deadline_stage {
	struct stream stream;
	struct stream *below;
	uint64_t minutes;
	int64_t end_ms;
};

static ssize_t deadline_read(struct stream *stream, void *data, size_t size, struct error *err)
{
	struct deadline_stage *self = (struct deadline_stage *)stream;
	ssize_t got = stream_read(self->below, data, size, err);
	if (got > 0 && clock_monotonic_ms() > self->end_ms)
		return error_set(err, ERROR_TIMEOUT,
				 "the download did not end within %" PRIu64
				 " min (HTTP_CLIENT_TIMEOUT_MINUTES)",
				 self->minutes);
	return got;
}

static void deadline_close(struct stream *stream)
{
	struct deadline_stage *self = (struct deadline_stage *)stream;
	stream_close(self->below);
	free(self);
}

static struct stream *deadline_stream(struct stream *below, uint64_t minutes)
{
	static const struct stream_operations operations = {.read = deadline_read,
							    .close = deadline_close};
	struct deadline_stage *self = calloc(1, sizeof(*self));
	if (!self)
		abort();
	self->stream = (struct stream){.operations = &operations,
				       .size_bytes = below->size_bytes,
				       .least_bytes = below->least_bytes};
	self->below = below;
	self->minutes = minutes;
	self->end_ms = clock_monotonic_ms() + (int64_t)minutes * 60000;
	return &self->stream;
}

static void measure(void *context, struct action_progress *progress)
{
	const struct work *work = context;
	uint64_t total = source_size(work->source);
	progress->bytes_in = source_received(work->source);
	progress->bytes_out = unpack_bytes(work->unpack);
	if (total != STREAM_SIZE_UNKNOWN) {
		progress->done = progress->bytes_in < total ? progress->bytes_in : total;
		progress->total = total;
	}
}

/* Puts a digest over *stream when there is one to compare with. */
static int add_digest(struct stream **stream, const struct digest *expected, const char *name,
		      struct error *err)
{
	if (expected->type == DIGEST_NONE)
		return 0;
	struct stream *below = take_pointer(*stream);
	return digest_stream(below, expected, NULL, stream, err) < 0 ? error_wrap(err, "%s", name)
								     : 0;
}

/* From the source to the tar: received, decoded and unpacked at the same time. */
static int open_tar(struct work *work, struct stream **ret_stream, struct error *err)
{
	auto_stream struct stream *stream = NULL;
	struct stream *below;
	if (source_stream(work->source, &stream, err) < 0)
		return -1;
	if (work->params->timeout_minutes > 0)
		stream = deadline_stream(stream, work->params->timeout_minutes);
	if (add_digest(&stream, &work->params->archive_checksum, "ARCHIVE_CHECKSUM", err) < 0)
		return -1;
	below = take_pointer(stream);
	if (stream_in_thread(below, CHUNK_BYTES, CHUNKS, &stream, err) < 0)
		return -1;
	below = take_pointer(stream);
	if (decompress_stream(below, &stream, &work->compression, err) < 0)
		return -1;
	if (add_digest(&stream, &work->params->tar_checksum, "TARFILE_CHECKSUM", err) < 0)
		return -1;
	below = take_pointer(stream);
	if (stream_in_thread(below, CHUNK_BYTES, CHUNKS, &stream, err) < 0)
		return -1;
	*ret_stream = take_pointer(stream);
	return 0;
}

/* Without a checksum, and without an end that the protocol marks, only the archive itself can tell
 * that it is whole: compressed data may have been cut between two of its parts. */
static int check_end(const struct work *work, struct error *err)
{
	bool known = work->params->archive_checksum.type != DIGEST_NONE ||
		     work->params->tar_checksum.type != DIGEST_NONE || source_has_end(work->source);
	return known || work->facts.has_end_mark
		       ? 0
		       : error_set(err, ERROR_CORRUPT,
				   "the archive has no end mark, and its length is not known: it "
				   "may have been cut off");
}

static int unpack(struct work *work, struct error *err)
{
	auto_stream struct stream *stream = NULL;
	if (open_tar(work, &stream, err) < 0 ||
	    archive_unpack(stream, work->unpack, &work->facts, err) < 0 || check_end(work, err) < 0)
		return -1;
	return unpack_settle(work->unpack, work->staging, err);
}

static int flush(const struct work *work, struct error *err)
{
	return syncfs(work->directory) < 0 ? error_sys(err, "flush %s", work->params->device) : 0;
}

/* The verified tree becomes visible; then the directories that were there before get what the
 * archive says of them. */
static int put_in_place(struct work *work, bool *ret_begun, struct error *err)
{
	progress_phase(work->progress, "flushing");
	if (flush(work, err) < 0)
		return -1;
	progress_phase(work->progress, "moving into place");
	if (tree_merge(work->directory, staging, ret_begun, err) < 0)
		return -1;
	return unpack_settle(work->unpack, work->directory, err);
}

static int make_staging(struct work *work, struct error *err)
{
	if (tree_remove(work->directory, staging, err) < 0)
		return error_wrap(err, "what an earlier run has left");
	if (mkdirat(work->directory, staging, 0700) < 0)
		return error_sys(err, "make a directory");
	work->staging =
		openat(work->directory, staging, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (work->staging < 0)
		return error_sys(err, "open %s", staging);
	/* Files would get lists that are not theirs from it. */
	if (fremovexattr(work->staging, "system.posix_acl_default") < 0 && errno != ENODATA &&
	    errno != EOPNOTSUPP)
		return error_sys(err, "access control list of %s", staging);
	return 0;
}

static int unpack_into(struct work *work, struct error *err)
{
	bool begun = false;
	if (make_staging(work, err) < 0)
		return -1;
	work->unpack = unpack_open(work->staging, work->owners);
	int result = progress_start(work->context, work->params->progress_interval_s, "unpacking",
				    measure, work, &work->progress, err);
	if (result == 0)
		result = unpack(work, err);
	if (result == 0)
		result = put_in_place(work, &begun, err);
	progress_stop(work->progress);
	work->progress = NULL;
	if (result == 0)
		return 0;
	struct error removal;
	if (begun)
		error_append(err, "; a part of the archive is in its place on %s",
			     work->params->device);
	if (tree_remove(work->directory, staging, &removal) < 0)
		error_append(err, "; what was unpacked is left in %s (%s)", staging, removal.text);
	else if (!begun)
		error_append(err, "; %s was left as it was", work->params->device);
	return -1;
}

/* The directory of DEST_PATH, made when it is missing. */
static int open_destination(const char *root, const char *path, struct error *err)
{
	const struct directory_maker maker = {.mode = 0755};
	char inside[PATH_MAX], name[NAME_MAX + 1];
	if (snprintf(inside, sizeof(inside), "%s/%s", path, staging) >= (int)sizeof(inside))
		return error_set(err, ERROR_INPUT, "DEST_PATH is too long");
	auto_close int root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root_fd < 0)
		return error_sys(err, "open %s", root);
	return open_parent_in_root(root_fd, inside, &maker, name, err);
}

static void warn_of_losses(const struct work *work)
{
	const struct unpack_counts *counts = unpack_counts(work->unpack);
	if (counts->without_owner > 0)
		log_warning("this file system keeps no owners and modes", "entries",
			    LOG_NUMBER(counts->without_owner));
	if (counts->without_attributes > 0)
		log_warning("this file system keeps no such extended attributes", "entries",
			    LOG_NUMBER(counts->without_attributes), "first",
			    counts->first_without_attributes);
	if (counts->without_acl > 0)
		log_warning("access control lists could not be kept whole", "entries",
			    LOG_NUMBER(counts->without_acl), "first", counts->first_without_acl);
}

/* "; not kept: owners and modes, access lists of 2 entries". */
static void describe_losses(const struct unpack_counts *counts, char *out, size_t out_size)
{
	const struct {
		const char *what;
		uint64_t entries;
	} losses[] = {
		{"owners and modes", counts->without_owner},
		{"extended attributes", counts->without_attributes},
		{"access control lists", counts->without_acl},
	};
	int used = 0;
	out[0] = '\0';
	for (size_t i = 0; i < sizeof(losses) / sizeof(losses[0]); i++)
		if (losses[i].entries > 0)
			used += snprintf(out + used, out_size - (size_t)used,
					 "%s%s of %" PRIu64 " entries",
					 used ? ", " : "; not kept whole: ", losses[i].what,
					 losses[i].entries);
}

static void summarize(struct work *work)
{
	const struct archive2disk *archive2disk = work->params;
	const struct unpack_counts *counts = unpack_counts(work->unpack);
	char size[32], duration[32], digest[DIGEST_TEXT_SIZE], checksum[DIGEST_TEXT_SIZE + 64];
	char losses[200];
	bool tar = archive2disk->tar_checksum.type != DIGEST_NONE;
	const struct digest *expected =
		tar ? &archive2disk->tar_checksum : &archive2disk->archive_checksum;
	if (expected->type == DIGEST_NONE)
		snprintf(checksum, sizeof(checksum), "not verified by a checksum");
	else
		snprintf(checksum, sizeof(checksum), "%s%s (as expected)", tar ? "tar " : "",
			 digest_format(expected, digest));
	describe_losses(counts, losses, sizeof(losses));
	action_summary(work->context,
		       "unpacked %s (%" PRIu64 " files, %" PRIu64 " directories, %" PRIu64
		       " links, %" PRIu64 " special) to %s on %s in %s (%s%s%s), %s%s",
		       text_bytes(counts->bytes, size, sizeof(size)), counts->files,
		       counts->directories, counts->symlinks + counts->hard_links, counts->specials,
		       archive2disk->path, archive2disk->device,
		       clock_format_duration(clock_monotonic_ms() - work->started_ms, duration,
					     sizeof(duration)),
		       work->facts.form, work->compression != COMPRESSION_NONE ? ", " : "",
		       work->compression != COMPRESSION_NONE ? compression_name(work->compression)
							     : "",
		       checksum, losses);
}

static int unpack_mounted(struct work *work, const char *root, struct error *err)
{
	work->directory = open_destination(root, work->params->path, err);
	if (work->directory < 0)
		return error_wrap(err, "%s on %s", work->params->path, work->params->device);
	work->owners = filesystem_has_owners(work->directory);
	return unpack_into(work, err);
}

static void close_work(struct work *work)
{
	cleanup_close(&work->directory);
	cleanup_close(&work->staging);
	work->directory = work->staging = -1;
	unpack_free(work->unpack);
	work->unpack = NULL;
	source_free(work->source);
	work->source = NULL;
}

static int run_work(struct work *work, const struct source_options *options, struct error *err)
{
	auto_mount struct mount_point mounted = {.path = ""};
	char root[PATH_MAX], shown[URL_SHOWN];
	snprintf(root, sizeof(root), "%s/target", work->context->mount_root);
	text_redact_url(options->urls[0], shown, sizeof(shown));
	/* The server is asked first: what it does not have touches no disk. */
	if (source_open(options, &work->source, err) < 0)
		return -1;
	if (mount_open(&mounted, work->params->device, work->params->fs_type, root, err) < 0)
		return -1;
	log_info("unpacking an archive", "archive", shown, "disk", work->params->device, "path",
		 work->params->path);
	if (unpack_mounted(work, root, err) < 0) {
		error_wrap(err, "%s", shown);
		close_work(work);
		struct error ignored;
		if (mount_finish(&mounted, &ignored) < 0)
			error_append(err, "; and %s", ignored.text);
		return -1;
	}
	warn_of_losses(work);
	summarize(work);
	close_work(work);
	return mount_finish(&mounted, err);
}

static int check(const struct action_context *context, struct error *err)
{
	const struct archive2disk *archive2disk = context->params;
	if (archive2disk->tar_checksum.type == DIGEST_NONE &&
	    archive2disk->archive_checksum.type == DIGEST_NONE && !archive2disk->unverified)
		return error_set(err, ERROR_INPUT,
				 "TARFILE_CHECKSUM is missing (or ARCHIVE_CHECKSUM, or "
				 "INSECURE_NO_TARFILE_CHECKSUM_VERIFICATION=true)");
	return 0;
}

static int run(struct action_context *context, struct error *err)
{
	const struct archive2disk *archive2disk = context->params;
	struct work work = {.context = context,
			    .params = archive2disk,
			    .directory = -1,
			    .staging = -1,
			    .started_ms = clock_monotonic_ms()};
	struct source_options options = download_options(context, &archive2disk->download);
	char **urls;
	param_urls(archive2disk->urls, &urls);
	options.urls = (const char *const *)urls;
	int result = run_work(&work, &options, err);
	close_work(&work);
	param_urls_free(urls);
	return result;
}

const struct action action_archive2disk;
const struct action action_archive2disk = {
	.name = "archive2disk",
	.published = true,
	.summary = "Unpack a tar from a web server into a file system on a partition: verified, "
		   "whole or not at all.",
	.params = params,
	.params_size = sizeof(struct archive2disk),
	.check = check,
	.run = run,
};
