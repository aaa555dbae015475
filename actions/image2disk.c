/*
 * image2disk: streams a disk image from a web server onto a disk. The compression is told by the
 * content. Nothing on the disk is touched before the image's beginning is there and looks like one;
 * the disk's own beginning is written last, see platform/disk.h.
 */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "actions/action.h"
#include "platform/clock.h"
#include "platform/decompress.h"
#include "platform/disk.h"
#include "platform/log.h"
#include "platform/text.h"

enum {
	CHUNK_BYTES = 1 << 20,
	DOWNLOAD_CHUNKS = 4,
	DECODED_CHUNKS = 4,
	NODE_WAIT_MS = 15000,
	RETRY_BASE_MS = 1000,
	RETRY_MAX_MS = 30000,
	URL_SHOWN = 512,
};

struct image2disk {
	const char *url;
	const char *device;
	bool compressed;
	bool retry;
	uint64_t retry_minutes;
	uint64_t progress_interval_s;
	bool text_logging;
	struct digest checksum;
	const char *checksum_url;
};

static const struct param params[] = {
	{"IMG_URL", PARAM_URL, PARAM_AT(struct image2disk, url), .flags = PARAM_REQUIRED,
	 .doc = "the image: raw, or compressed by gzip, zstd, xz or bzip2 (told by its content)"},
	{"DEST_DISK", PARAM_DEVICE, PARAM_AT(struct image2disk, device), .flags = PARAM_REQUIRED,
	 .doc = "the disk (or partition) to write; not in use, and large enough"},
	{"CHECKSUM", PARAM_CHECKSUM, PARAM_AT(struct image2disk, checksum),
	 .doc = "of what is downloaded: sha256:HEX or sha512:HEX"},
	{"CHECKSUM_URL", PARAM_URL, PARAM_AT(struct image2disk, checksum_url),
	 .doc = "a file as sha256sum or sha512sum writes it, with a line for the image's name"},
	{"RETRY_ENABLED", PARAM_BOOL, PARAM_AT(struct image2disk, retry), .fallback = "false",
	 .doc = "start over after a failure of the network"},
	{"RETRY_DURATION_MINUTES", PARAM_UINT, PARAM_AT(struct image2disk, retry_minutes),
	 .fallback = "10", .max = 10080, .doc = "for how long RETRY_ENABLED starts over"},
	{"COMPRESSED", PARAM_BOOL, PARAM_AT(struct image2disk, compressed),
	 .flags = PARAM_NO_EFFECT, .fallback = "false",
	 .doc = "taken for compatibility: the content tells"},
	{"PROGRESS_INTERVAL_SECONDS", PARAM_UINT, PARAM_AT(struct image2disk, progress_interval_s),
	 .fallback = "3", .min = 1, .max = 3600,
	 .doc = "pause between two lines of progress in the log"},
	{"TEXT_LOGGING", PARAM_BOOL, PARAM_AT(struct image2disk, text_logging),
	 .flags = PARAM_NO_EFFECT, .fallback = "false",
	 .doc = "taken for compatibility: the worker's log format holds"},
	{.name = NULL},
};

/* What people give for an image that is none. The first bytes tell. */
static int check_is_image(const uint8_t *data, size_t size, struct error *err)
{
	static const struct {
		const char *magic;
		size_t size, offset;
		const char *what;
		enum error_kind kind;
	} others[] = {
		{"QFI\xfb", 4, 0,
		 "a qcow2 image, which this version does not write: convert it (qemu-img convert "
		 "-O raw)",
		 ERROR_UNSUPPORTED},
		{"KDMV", 4, 0, "a VMDK image: convert it (qemu-img convert -O raw)",
		 ERROR_UNSUPPORTED},
		{"vhdxfile", 8, 0, "a VHDX image: convert it (qemu-img convert -O raw)",
		 ERROR_UNSUPPORTED},
		{"\x3a\xff\x26\xed", 4, 0, "an Android sparse image: convert it (simg2img)",
		 ERROR_UNSUPPORTED},
		{"ustar", 5, 257, "a tar archive, not a disk image", ERROR_UNSUPPORTED},
		{"PK\x03\x04", 4, 0, "a zip archive, not a disk image", ERROR_UNSUPPORTED},
		{"7z\xbc\xaf\x27\x1c", 6, 0, "a 7z archive, not a disk image", ERROR_UNSUPPORTED},
	};
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (size >= others[i].offset + others[i].size &&
		    memcmp(data + others[i].offset, others[i].magic, others[i].size) == 0)
			return error_set(err, others[i].kind, "the data is %s", others[i].what);
	size_t blank = 0;
	while (blank < size && strchr(" \t\r\n", data[blank]) && data[blank] != '\0')
		blank++;
	const char *text = (const char *)data + blank;
	size_t left = size - blank;
	if ((left >= 9 && strncasecmp(text, "<!doctype", 9) == 0) ||
	    (left >= 5 && strncasecmp(text, "<html", 5) == 0) ||
	    (left >= 5 && strncasecmp(text, "<?xml", 5) == 0))
		return error_set(err, ERROR_INPUT, "the data is a web page, not a disk image");
	return 0;
}

/* The checksum that the download must have; type DIGEST_NONE when none is asked for. */
static int expected_checksum(const struct action_context *context, struct digest *ret_digest,
			     struct error *err)
{
	const struct image2disk *image2disk = context->params;
	*ret_digest = image2disk->checksum;
	if (!image2disk->checksum_url[0])
		return 0;
	auto_buffer struct buffer text = {.cap = 4 << 20};
	if (http_get_buffer(image2disk->checksum_url, &context->http, &text, err) < 0)
		return error_wrap(err, "CHECKSUM_URL");
	char *name = text_dup_size(image2disk->url, strcspn(image2disk->url, "?#"));
	struct digest from_file;
	int result = digest_find_in_file((const char *)text.data, text.size, name, &from_file, err);
	free(name);
	if (result < 0)
		return error_wrap(err, "CHECKSUM_URL");
	if (ret_digest->type != DIGEST_NONE && ret_digest->type == from_file.type &&
	    !digest_equal(ret_digest, &from_file))
		return error_set(err, ERROR_INPUT, "CHECKSUM and CHECKSUM_URL do not say the same");
	if (ret_digest->type == DIGEST_NONE)
		*ret_digest = from_file;
	return 0;
}

/* The bytes on their way: download | digest | decoder, each side of the decoder in a thread of its
 * own. */
struct pipe {
	struct stream *image;          /* the decoded image: owns all below */
	const struct stream *download; /* somewhere below, for progress */
	enum compression compression;
	struct http_answer answer;
	struct digest digest; /* of the download, once the image has ended */
};

static int open_pipe(const struct action_context *context, const struct digest *expected,
		     struct pipe *pipe, struct error *err)
{
	const struct image2disk *image2disk = context->params;
	struct stream *stream;
	if (http_get(image2disk->url, &context->http, &stream, &pipe->answer, err) < 0 ||
	    stream_in_thread(stream, CHUNK_BYTES, DOWNLOAD_CHUNKS, &stream, err) < 0)
		return -1;
	pipe->download = stream;
	if (digest_stream(stream, expected, &pipe->digest, &stream, err) < 0 ||
	    decompress_stream(stream, &stream, &pipe->compression, err) < 0)
		return -1;
	/* A raw image over a connection that just closes, without a length: nothing would tell a
	 * cut from the end. */
	if (pipe->compression == COMPRESSION_NONE && !pipe->answer.has_end &&
	    expected->type == DIGEST_NONE) {
		stream_close(stream);
		return error_set(err, ERROR_INPUT,
				 "the server does not say how long the raw image is, so its end "
				 "cannot be verified: give CHECKSUM");
	}
	return stream_in_thread(stream, CHUNK_BYTES, DECODED_CHUNKS, &pipe->image, err);
}

struct rate {
	int64_t started_ms;
	int64_t logged_ms;
};

static void tell(struct action_context *context, const struct pipe *pipe, const char *phase,
		 uint64_t out, struct rate *rate)
{
	const struct image2disk *image2disk = context->params;
	struct action_progress progress = {.bytes_in = stream_position(pipe->download),
					   .bytes_out = out};
	snprintf(progress.phase, sizeof(progress.phase), "%s", phase);
	bool size_known = pipe->answer.size_bytes != STREAM_SIZE_UNKNOWN;
	progress.total = size_known ? pipe->answer.size_bytes : 0;
	progress.done = progress.bytes_in;
	action_report(context, &progress);
	int64_t now = clock_monotonic_ms();
	if (now - rate->logged_ms < (int64_t)image2disk->progress_interval_s * 1000)
		return;
	rate->logged_ms = now;
	char in_text[32], out_text[32], rate_text[32], eta[32] = "";
	int64_t elapsed = now - rate->started_ms > 0 ? now - rate->started_ms : 1;
	text_bytes(out * 1000 / (uint64_t)elapsed, rate_text, sizeof(rate_text));
	if (size_known && progress.done > 0)
		clock_format_duration(
			(int64_t)((double)elapsed * (double)(progress.total - progress.done) /
				  (double)progress.done),
			eta, sizeof(eta));
	char percent[16] = "";
	if (size_known && progress.total > 0)
		snprintf(percent, sizeof(percent), " (%.0f%%)",
			 100.0 * (double)progress.done / (double)progress.total);
	char text[256];
	snprintf(text, sizeof(text), "%s: %s received%s, %s written, %s/s%s%s", phase,
		 text_bytes(progress.bytes_in, in_text, sizeof(in_text)), percent,
		 text_bytes(out, out_text, sizeof(out_text)), rate_text, eta[0] ? ", left " : "",
		 eta);
	log_info(text);
}

static int check_size(const struct pipe *pipe, const struct disk *disk, struct error *err)
{
	uint64_t least = pipe->image->size_bytes != STREAM_SIZE_UNKNOWN ? pipe->image->size_bytes
									: pipe->image->least_bytes;
	if (least <= disk->size_bytes)
		return 0;
	char image_size[32], disk_size[32];
	return error_set(
		err, ERROR_INPUT, "the image has %" PRIu64 " bytes (%s), %s holds %" PRIu64 " (%s)",
		least, text_bytes(least, image_size, sizeof(image_size)), disk->path,
		disk->size_bytes, text_bytes(disk->size_bytes, disk_size, sizeof(disk_size)));
}

/* One try, from the first byte to the last flush. */
static int write_image(struct action_context *context, struct disk *disk,
		       const struct digest *expected, struct pipe *pipe,
		       struct disk_writer_counts *ret_counts, struct error *err)
{
	auto_disk_writer struct disk_writer *writer = NULL;
	auto_free uint8_t *chunk = malloc(CHUNK_BYTES);
	if (!chunk)
		return error_set(err, ERROR_MEMORY, "no memory for a block");
	if (open_pipe(context, expected, pipe, err) < 0)
		return -1;
	struct rate rate = {.started_ms = clock_monotonic_ms(), .logged_ms = clock_monotonic_ms()};
	ssize_t got = stream_read_full(pipe->image, chunk, CHUNK_BYTES, err);
	if (got < 0 || check_is_image(chunk, (size_t)got, err) < 0 ||
	    check_size(pipe, disk, err) < 0)
		return -1;
	if (disk_writer_open(disk, &writer, err) < 0)
		return -1;
	while (got > 0) {
		if (disk_writer_write(writer, chunk, (size_t)got, err) < 0)
			return -1;
		tell(context, pipe, "writing", disk_writer_counts(writer).image_bytes, &rate);
		got = stream_read(pipe->image, chunk, CHUNK_BYTES, err);
	}
	if (got < 0)
		return error_append(err, "; %s was left without its beginning and does not boot",
				    disk->path);
	rate.logged_ms = 0;
	tell(context, pipe, "flushing", disk_writer_counts(writer).image_bytes, &rate);
	if (disk_writer_finish(writer, err) < 0)
		return -1;
	*ret_counts = disk_writer_counts(writer);
	return 0;
}

static int write_with_retries(struct action_context *context, struct disk *disk,
			      const struct digest *expected, struct disk_writer_counts *ret_counts,
			      struct pipe *ret_pipe, struct error *err)
{
	const struct image2disk *image2disk = context->params;
	int64_t deadline = clock_monotonic_ms() + (int64_t)image2disk->retry_minutes * 60000;
	for (unsigned tries = 1;; tries++) {
		struct pipe pipe = {.image = NULL};
		int result = write_image(context, disk, expected, &pipe, ret_counts, err);
		stream_close(pipe.image);
		pipe.image = NULL;
		*ret_pipe = pipe;
		if (result == 0 || !image2disk->retry || !error_is_retryable(err))
			return result;
		int64_t pause = clock_backoff_ms(tries - 1, RETRY_BASE_MS, RETRY_MAX_MS);
		if (clock_monotonic_ms() + pause >= deadline)
			return error_append(err,
					    " (given up after %u tries in %" PRIu64 " minutes)",
					    tries, image2disk->retry_minutes);
		log_warning("the image could not be written, starting over", "try",
			    LOG_NUMBER(tries), "pause_ms", LOG_NUMBER(pause), "error", err->text);
		poll(NULL, 0, (int)pause);
	}
}

static int run(struct action_context *context, struct error *err)
{
	const struct image2disk *image2disk = context->params;
	auto_disk struct disk disk = {.fd = -1};
	struct digest expected;
	struct disk_writer_counts counts = {.image_bytes = 0};
	struct pipe pipe = {.image = NULL};
	unsigned partitions = 0;
	char url[URL_SHOWN], description[300];
	int64_t start = clock_monotonic_ms();
	text_redact_url(image2disk->url, url, sizeof(url));
	if (strpbrk(image2disk->url, " \t\n") || strstr(image2disk->url, ",http"))
		return error_set(err, ERROR_UNSUPPORTED,
				 "IMG_URL is a list: mirrors are not supported by this version");
	if (disk_open(image2disk->device, &disk, err) < 0 ||
	    expected_checksum(context, &expected, err) < 0)
		return -1;
	log_info("writing an image", "url", url, "disk",
		 disk_describe(&disk, description, sizeof(description)));
	if (write_with_retries(context, &disk, &expected, &counts, &pipe, err) < 0)
		return error_wrap(err, "%s to %s", url, image2disk->device);
	if (disk_reread_partitions(&disk, NODE_WAIT_MS, &partitions, err) < 0 ||
	    disk_finish(&disk, err) < 0)
		return error_wrap(err, "after writing %s", image2disk->device);
	char written[32], size[32], duration[32], digest[DIGEST_TEXT_SIZE];
	action_summary(
		context, "wrote %s of %s%s (%s) to %s in %s, %u partition%s, %s %s",
		text_bytes(counts.written_bytes, written, sizeof(written)),
		text_bytes(counts.image_bytes, size, sizeof(size)),
		counts.cleared_bytes ? ", the rest cleared as it is zeros" : "",
		compression_name(pipe.compression), image2disk->device,
		clock_format_duration(clock_monotonic_ms() - start, duration, sizeof(duration)),
		partitions, partitions == 1 ? "" : "s", digest_format(&pipe.digest, digest),
		expected.type != DIGEST_NONE ? "(as expected)" : "(not compared)");
	return 0;
}

const struct action action_image2disk;
const struct action action_image2disk = {
	.name = "image2disk",
	.published = true,
	.summary = "Stream a disk image from a web server onto a disk, verified to its last byte.",
	.params = params,
	.params_size = sizeof(struct image2disk),
	.run = run,
};
