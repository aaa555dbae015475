/*
 * slurp: sends the content of a disk to a web server, the way back of image2disk. Read past the
 * page cache, compressed in several threads, and done when the server has said that it has it.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "actions/action.h"
#include "actions/download.h"
#include "actions/progress.h"
#include "platform/clock.h"
#include "platform/compress.h"
#include "platform/digest.h"
#include "platform/disk_facts.h"
#include "platform/disk_select.h"
#include "platform/disk_users.h"
#include "platform/log.h"
#include "platform/text.h"

enum {
	DISK_WAIT_MS = 10000,
	CHUNK_BYTES = 1 << 20,
	CHUNKS = 4,
	RETRY_PAUSE_MS = 2000,
	SHOWN_SIZE = 512
};

struct slurp {
	const char *device;
	const char *url;
	const char *image_name;
	const char *method;
	bool compressed;
	const char *compression;
	uint64_t progress_interval_s;
	struct download_params upload;
};

static const struct param params[] = {
	{"SOURCE_DISK", PARAM_DEVICE, PARAM_AT(struct slurp, device), .flags = PARAM_REQUIRED,
	 .doc = "the disk (or partition) to read"},
	{"DEST_URL", PARAM_URL, PARAM_AT(struct slurp, url), .flags = PARAM_REQUIRED,
	 .doc = "where to send it"},
	{"IMG_NAME", PARAM_TEXT, PARAM_AT(struct slurp, image_name),
	 .doc = "how the image is called; .img and .gz or .zst are added. Needed for POST, and for "
		"PUT to a URL that ends in /"},
	{"METHOD", PARAM_CHOICE, PARAM_AT(struct slurp, method), .fallback = "POST",
	 .choices = "POST|PUT",
	 .doc = "POST: as a form with the file in the field BootyImage; PUT: to the URL itself"},
	{"COMPRESSED", PARAM_BOOL, PARAM_AT(struct slurp, compressed), .fallback = "false",
	 .doc = "compress by gzip"},
	{"COMPRESSION", PARAM_CHOICE, PARAM_AT(struct slurp, compression),
	 .choices = "none|gzip|zstd", .doc = "how to compress; goes before COMPRESSED"},
	{"PROGRESS_INTERVAL_SECONDS", PARAM_UINT, PARAM_AT(struct slurp, progress_interval_s),
	 .fallback = "3", .min = 1, .max = 3600,
	 .doc = "pause between two lines of progress in the log"},
	{"RETRY_ENABLED", PARAM_BOOL, PARAM_AT(struct slurp, upload.retry), .fallback = "false",
	 .doc = "after failures of the network start again, for RETRY_DURATION_MINUTES"},
	{"RETRY_DURATION_MINUTES", PARAM_UINT, PARAM_AT(struct slurp, upload.retry_minutes),
	 .fallback = "10", .max = 10080, .doc = "for how long, from the first failure on"},
	{"STALL_SECONDS", PARAM_UINT, PARAM_AT(struct slurp, upload.stall_s), .fallback = "60",
	 .min = 1, .max = 86400, .doc = "a server that takes no byte for so long is given up"},
	CREDENTIAL_PARAMS(struct slurp, upload),
	{.name = NULL},
};

struct work {
	struct action_context *context;
	const struct slurp *params;
	struct http_options http;
	char node[256];
	enum compression compression;
	char *url;       /* with the file's name where it is to be added */
	char *file_name; /* NULL: none */
	struct disk_facts facts;
	bool in_use;
	/* Stages of the attempt that runs, borrowed. */
	struct stream *disk, *sent;
	struct digest disk_digest, sent_digest;
	uint64_t sent_bytes;
};

static void measure(void *context, struct action_progress *progress)
{
	const struct work *work = context;
	progress->bytes_in = stream_position(work->disk);
	progress->bytes_out = stream_position(work->sent);
	progress->done = progress->bytes_in;
	progress->total = work->facts.size_bytes;
}

static enum compression choose_compression(const struct slurp *slurp)
{
	if (strcmp(slurp->compression, "zstd") == 0)
		return COMPRESSION_ZSTD;
	if (strcmp(slurp->compression, "none") == 0)
		return COMPRESSION_NONE;
	return slurp->compressed || strcmp(slurp->compression, "gzip") == 0 ? COMPRESSION_GZIP
									    : COMPRESSION_NONE;
}

/* Whether the URL names a folder for the file. */
static bool is_folder(const struct slurp *slurp)
{
	size_t size = strlen(slurp->url);
	return strcmp(slurp->method, "PUT") == 0 && slurp->url[size - 1] == '/';
}

static int check(const struct action_context *context, struct error *err)
{
	const struct slurp *slurp = context->params;
	bool put = strcmp(slurp->method, "PUT") == 0;
	for (const char *at = slurp->image_name; *at; at++)
		if (strchr("/\\\"?#%", *at) || (unsigned char)*at < ' ')
			return error_set(err, ERROR_INPUT,
					 "IMG_NAME=%s has a character that no file name at a "
					 "server should have",
					 slurp->image_name);
	if (!slurp->image_name[0] && (!put || is_folder(slurp)))
		return error_set(err, ERROR_INPUT, "IMG_NAME is missing");
	return 0;
}

static void choose_names(struct work *work)
{
	const struct slurp *slurp = work->params;
	const char *suffix = work->compression == COMPRESSION_GZIP   ? ".gz"
			     : work->compression == COMPRESSION_ZSTD ? ".zst"
								     : "";
	if (slurp->image_name[0])
		work->file_name = text_format("%s.img%s", slurp->image_name, suffix);
	work->url = is_folder(slurp) ? text_format("%s%s", slurp->url, work->file_name)
				     : text_dup(slurp->url);
}

static int find_disk(struct work *work, struct error *err)
{
	char users[512];
	if (disk_find(work->params->device, DISK_WAIT_MS, work->node, sizeof(work->node), err) < 0)
		return -1;
	char *resolved = realpath(work->node, NULL);
	const char *slash = strrchr(resolved ? resolved : work->node, '/');
	bool known = disk_facts_read(slash ? slash + 1 : work->node, &work->facts);
	if (known)
		work->in_use = disk_users_find(work->facts.name, users, sizeof(users));
	free(resolved);
	if (!known)
		return error_set(err, ERROR_NOT_FOUND, "%s is not known to the kernel", work->node);
	if (work->facts.size_bytes == 0)
		return error_set(err, ERROR_INPUT, "%s has no medium", work->node);
	if (work->in_use)
		log_warning("the disk is in use: what changes while it is read makes an image that "
			    "never was",
			    "disk", work->node, "users", users);
	return 0;
}

/* Reading past the page cache, where that works. */
static int open_disk(struct work *work, struct stream **ret_stream, struct error *err)
{
	int fd = open(work->node, O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (fd < 0)
		fd = open(work->node, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return error_sys(err, "open %s", work->node);
	*ret_stream = stream_from_fd(fd, work->facts.size_bytes, work->node);
	return 0;
}

/* Puts a thread, then a digest over *stream: what is below it and the digest run at the same time.
 */
static int add_stages(struct stream **stream, struct digest *ret_digest, struct error *err)
{
	struct stream *below = take_pointer(*stream);
	if (stream_in_thread(below, CHUNK_BYTES, CHUNKS, stream, err) < 0)
		return -1;
	below = take_pointer(*stream);
	return digest_stream(below, NULL, ret_digest, stream, err);
}

/* From the disk to what is sent. */
static int open_stages(struct work *work, struct stream **ret_stream, struct error *err)
{
	auto_stream struct stream *stream = NULL;
	if (open_disk(work, &stream, err) < 0 || add_stages(&stream, &work->disk_digest, err) < 0)
		return -1;
	work->disk = stream;
	if (work->compression != COMPRESSION_NONE) {
		struct stream *below = take_pointer(stream);
		if (compress_stream(below, work->compression, 0, &stream, err) < 0 ||
		    add_stages(&stream, &work->sent_digest, err) < 0)
			return -1;
	}
	work->sent = stream;
	*ret_stream = take_pointer(stream);
	return 0;
}

static int send_once(struct work *work, struct error *err)
{
	const struct slurp *slurp = work->params;
	auto_stream struct stream *stream = NULL;
	auto_progress struct progress *progress = NULL; /* ends before the stream does */
	const struct http_upload upload = {
		.url = work->url,
		.method = slurp->method,
		.field = strcmp(slurp->method, "POST") == 0 ? "BootyImage" : NULL,
		.file_name = work->file_name,
	};
	if (open_stages(work, &stream, err) < 0 ||
	    progress_start(work->context, slurp->progress_interval_s, "sending", measure, work,
			   &progress, err) < 0 ||
	    http_upload(&upload, &work->http, stream, NULL, err) < 0)
		return -1;
	work->sent_bytes = stream_position(work->sent);
	if (work->compression == COMPRESSION_NONE)
		work->sent_digest = work->disk_digest;
	return stream_position(work->disk) == work->facts.size_bytes
		       ? 0
		       : error_set(err, ERROR_BUG, "not all of %s was sent", work->node);
}

/* From the beginning again after failures of the network: what was sent is of no use. */
static int send_disk(struct work *work, struct error *err)
{
	int64_t end_ms = 0;
	while (send_once(work, err) < 0) {
		if (!work->params->upload.retry || !error_is_retryable(err))
			return -1;
		int64_t now = clock_monotonic_ms();
		if (end_ms == 0)
			end_ms = now + (int64_t)work->params->upload.retry_minutes * 60000;
		if (now + RETRY_PAUSE_MS > end_ms)
			return -1;
		log_warning("sending has failed, it begins again", "reason", err->text);
		poll(NULL, 0, RETRY_PAUSE_MS);
	}
	return 0;
}

static void summarize(const struct work *work, int64_t duration_ms)
{
	char size[32], sent[32], duration[32], shown[SHOWN_SIZE];
	char disk_digest[DIGEST_TEXT_SIZE], sent_digest[DIGEST_TEXT_SIZE], packed[256] = "";
	if (work->compression != COMPRESSION_NONE)
		snprintf(packed, sizeof(packed), " as %s by %s (%s)",
			 text_bytes(work->sent_bytes, sent, sizeof(sent)),
			 compression_name(work->compression),
			 digest_format(&work->sent_digest, sent_digest));
	action_summary(work->context, "sent %s of %s (%s)%s to %s in %s%s",
		       text_bytes(work->facts.size_bytes, size, sizeof(size)), work->node,
		       digest_format(&work->disk_digest, disk_digest), packed,
		       text_redact_url(work->url, shown, sizeof(shown)),
		       clock_format_duration(duration_ms, duration, sizeof(duration)),
		       work->in_use ? "; the disk was in use meanwhile" : "");
}

static int run_work(struct work *work, struct error *err)
{
	char description[300], shown[SHOWN_SIZE];
	int64_t start_ms = clock_monotonic_ms();
	choose_names(work);
	if (find_disk(work, err) < 0)
		return -1;
	text_redact_url(work->url, shown, sizeof(shown));
	log_info("sending a disk", "disk", work->node, "size",
		 text_bytes(work->facts.size_bytes, description, sizeof(description)), "to", shown);
	if (send_disk(work, err) < 0)
		return error_wrap(err, "%s to %s", work->node, shown);
	summarize(work, clock_monotonic_ms() - start_ms);
	return 0;
}

static int run(struct action_context *context, struct error *err)
{
	const struct slurp *slurp = context->params;
	struct work work = {
		.context = context,
		.params = slurp,
		.http = download_options(context, &slurp->upload).http,
		.compression = choose_compression(slurp),
	};
	int result = run_work(&work, err);
	free(work.url);
	free(work.file_name);
	return result;
}

const struct action action_slurp;
const struct action action_slurp = {
	.name = "slurp",
	.published = true,
	.summary =
		"Send the content of a disk to a web server, and make sure that it has taken it.",
	.params = params,
	.params_size = sizeof(struct slurp),
	.check = check,
	.run = run,
};
