/*
 * From a source to a verified disk: see imaging.h. Nothing on the disk is touched before the
 * image's beginning is there and looks like one; the disk's own beginning is written last, see
 * platform/disk.h.
 */
#include "actions/imaging.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "actions/param.h"
#include "actions/progress.h"
#include "platform/clock.h"
#include "platform/disk.h"
#include "platform/disk_select.h"
#include "platform/disk_table.h"
#include "platform/log.h"
#include "platform/text.h"

enum {
	NODE_WAIT_MS = 15000,
	CHECKSUM_FILE_MAX = 4 << 20,
	BMAP_FILE_MAX = 16 << 20,
	URL_SHOWN = 512,
	TABLE_BYTES_LEAST = 2 * 4096, /* enough of a beginning to see a GPT */
	EARLY_MOST = 16 << 10,
};

/* What one run works with. */
struct work {
	struct action_context *context;
	const struct imaging *imaging;
	struct disk disk;
	struct source *source;
	struct image *image;
	struct image_facts facts;
	struct image_options options;
	struct disk_writer *writer;
	struct progress *progress;
	uint64_t image_bytes; /* the end of the image, as far as is known */
	/* What holds of the disk if the next step fails. */
	enum {
		DISK_UNTOUCHED,
		DISK_BEGUN,   /* its old beginning may still be there */
		DISK_CLEARED, /* it has no beginning */
		DISK_FINISHING
	} state;
	/* Runs of zeros that came before any data: the disk is not touched for them. */
	struct extent *early;
	size_t early_count;
	/* Read by the thread that tells the progress. */
	bool writing; /* image and writer are there */
	bool verifying;
	uint64_t verified_bytes;
};

/* The last component of a URL's path, decoded, as checksum files name it. */
static char *file_of_url(const char *url)
{
	size_t size = strcspn(url, "?#");
	const char *slash = memrchr(url, '/', size);
	const char *at = slash ? slash + 1 : url;
	char *name = text_dup_size(at, size - (size_t)(at - url)), *out = name;
	for (const char *in = name; *in; in++) {
		int high = in[0] == '%' ? text_hex_value(in[1]) : -1;
		int low = high >= 0 ? text_hex_value(in[2]) : -1;
		if (low < 0 || high * 16 + low < ' ') {
			*out++ = *in;
			continue;
		}
		*out++ = (char)(high * 16 + low);
		in += 2;
	}
	*out = '\0';
	return name;
}

/* What CHECKSUM_URL says of the image. */
static int fetch_checksum(const struct work *work, struct digest *ret_digest, struct error *err)
{
	const struct imaging *imaging = work->imaging;
	auto_buffer struct buffer text = {.cap = CHECKSUM_FILE_MAX};
	if (download_companion(&imaging->source, imaging->params->checksum_url, &text, err) < 0)
		return -1;
	auto_free char *name = imaging->file_name ? text_dup(imaging->file_name)
						  : file_of_url(imaging->source.urls[0]);
	return digest_find_in_file((const char *)text.data, text.size, name, ret_digest, err);
}

/* The checksums that the download must have. */
static int learn_checksums(struct work *work, struct error *err)
{
	const struct imaging_params *params = work->imaging->params;
	struct digest *given = &work->options.expected[0], *fetched = &work->options.expected[1];
	*given = params->checksum;
	work->options.expected[2] = work->imaging->expected;
	if (!params->checksum_url[0])
		return 0;
	if (fetch_checksum(work, fetched, err) < 0)
		return error_wrap(err, "CHECKSUM_URL");
	if (given->type != fetched->type)
		return 0; /* both are compared */
	if (!digest_equal(given, fetched))
		return error_set(err, ERROR_INPUT, "CHECKSUM and CHECKSUM_URL do not say the same");
	*fetched = (struct digest){.type = DIGEST_NONE};
	return 0;
}

/* Of the image's size when it is known, else of the download's. In a thread of its own. */
static void measure(void *context, struct action_progress *progress)
{
	const struct work *work = context;
	uint64_t total_in = source_size(work->source);
	progress->bytes_in = source_received(work->source);
	if (!__atomic_load_n(&work->writing, __ATOMIC_ACQUIRE))
		return;
	if (__atomic_load_n(&work->verifying, __ATOMIC_ACQUIRE)) {
		progress->bytes_out = __atomic_load_n(&work->verified_bytes, __ATOMIC_RELAXED);
		progress->done = progress->bytes_out;
		progress->total = work->image_bytes;
		return;
	}
	progress->bytes_out = disk_writer_counts(work->writer).image_bytes;
	if (work->image->size_bytes != STREAM_SIZE_UNKNOWN) {
		progress->done = progress->bytes_out;
		progress->total = work->image->size_bytes;
	} else if (total_in != STREAM_SIZE_UNKNOWN) {
		progress->done = progress->bytes_in < total_in ? progress->bytes_in : total_in;
		progress->total = total_in;
	}
}

static int check_size(const struct work *work, struct error *err)
{
	const struct image *image = work->image;
	const struct disk *disk = &work->disk;
	uint64_t least =
		image->size_bytes != STREAM_SIZE_UNKNOWN ? image->size_bytes : image->least_bytes;
	if (image->size_bytes != STREAM_SIZE_UNKNOWN && image->size_bytes % 512 != 0)
		return error_set(err, ERROR_CORRUPT,
				 "%" PRIu64 " bytes are no disk image: its size is not a multiple "
				 "of 512 (is it complete? is it an image?)",
				 image->size_bytes);
	if (least <= disk->size_bytes)
		return 0;
	char image_size[32], disk_size[32];
	return error_set(
		err, ERROR_INPUT, "the image has %" PRIu64 " bytes (%s), %s holds %" PRIu64 " (%s)",
		least, text_bytes(least, image_size, sizeof(image_size)), disk->path,
		disk->size_bytes, text_bytes(disk->size_bytes, disk_size, sizeof(disk_size)));
}

/* The beginning of the image is there in memory: does its partition table count in sectors of the
 * disk's size? */
static int check_sectors(const struct work *work, const uint8_t *head, size_t size,
			 struct error *err)
{
	return work->disk.is_partition ? 0 : disk_check_sector_size(&work->disk, head, size, err);
}

/* The disk is touched when there is data for it, or nothing but zeros. Most forms begin with the
 * beginning, which tells whether the disk is the right one. */
static int begin(struct work *work, const struct extent *first, const uint8_t *data,
		 struct error *err)
{
	if (work->state != DISK_UNTOUCHED)
		return 0;
	if (first && first->offset == 0 && first->size_bytes >= TABLE_BYTES_LEAST &&
	    check_sectors(work, data, (size_t)first->size_bytes, err) < 0)
		return -1;
	work->state = DISK_BEGUN;
	if (disk_writer_begin(work->writer, err) < 0)
		return -1;
	work->state = DISK_CLEARED;
	for (size_t i = 0; i < work->early_count; i++)
		if (disk_writer_zero(work->writer, work->early[i].offset, work->early[i].size_bytes,
				     err) < 0)
			return -1;
	work->early_count = 0;
	return 0;
}

/* Whether the extent can wait for the data. */
static bool wait_for_data(struct work *work, const struct extent *extent)
{
	if (work->state != DISK_UNTOUCHED || !extent->zero || work->early_count == EARLY_MOST)
		return false;
	if (!work->early)
		work->early = calloc(EARLY_MOST, sizeof(work->early[0]));
	if (!work->early)
		abort();
	work->early[work->early_count++] = *extent;
	return true;
}

static int put_extent(struct work *work, const struct extent *extent, const uint8_t *data,
		      struct error *err)
{
	if (wait_for_data(work, extent))
		return 0;
	if (begin(work, extent->zero ? NULL : extent, data, err) < 0)
		return -1;
	return extent->zero
		       ? disk_writer_zero(work->writer, extent->offset, extent->size_bytes, err)
		       : disk_writer_submit(work->writer, extent->offset,
					    (size_t)extent->size_bytes, err);
}

/* The extents, one after the other, from the image into the writer. */
static int copy_extents(struct work *work, struct error *err)
{
	for (;;) {
		struct extent extent;
		void *buffer;
		if (disk_writer_buffer(work->writer, &buffer, err) < 0)
			return -1;
		int more = image_read(work->image, buffer, DISK_BUFFER_BYTES, &extent, err);
		if (more < 0)
			return -1;
		if (more == 0)
			break;
		if (put_extent(work, &extent, buffer, err) < 0)
			return -1;
		if (extent.offset + extent.size_bytes > work->image_bytes)
			work->image_bytes = extent.offset + extent.size_bytes;
	}
	/* Nothing but zeros. */
	return work->image_bytes > 0 ? begin(work, NULL, NULL, err) : 0;
}

static void count_verified(void *context, uint64_t done_bytes)
{
	struct work *work = context;
	__atomic_store_n(&work->verified_bytes, done_bytes, __ATOMIC_RELAXED);
}

static int write_image(struct work *work, struct error *err)
{
	if (copy_extents(work, err) < 0)
		return -1;
	progress_phase(work->progress, "flushing");
	if (disk_writer_flush(work->writer, work->image_bytes, err) < 0 ||
	    check_sectors(work, disk_writer_head(work->writer), DISK_HEAD_BYTES, err) < 0)
		return -1;
	if (strcmp(work->imaging->params->verify, "readback") == 0) {
		__atomic_store_n(&work->verifying, true, __ATOMIC_RELEASE);
		progress_phase(work->progress, "verifying");
		if (disk_writer_verify(work->writer, count_verified, work, err) < 0)
			return -1;
	}
	work->state = DISK_FINISHING;
	return disk_writer_finish(work->writer, err);
}

/* Before the disk is touched: what has another size has another digest. */
static int check_download(const struct work *work, struct error *err)
{
	uint64_t size = source_size(work->source), expected = work->imaging->expected_bytes;
	if (expected == 0 || size == STREAM_SIZE_UNKNOWN || size == expected)
		return 0;
	return error_set(err, ERROR_CORRUPT,
			 "the server has %" PRIu64 " bytes of it, it must be %" PRIu64, size,
			 expected);
}

/* The suffixes that a block map's name does without. */
static size_t without_suffix(const char *url, size_t size)
{
	const char *slash = memrchr(url, '/', size);
	const char *dot = memrchr(url, '.', size);
	return dot && slash && dot > slash + 1 ? (size_t)(dot - url) : size;
}

/* The block map beside the image: x.img.gz has x.img.gz.bmap, x.img.bmap or x.bmap. None is no
 * error. */
static int find_bmap(const struct work *work, struct buffer *text, struct error *err)
{
	const struct source_options *options = &work->imaging->source;
	const char *url = options->urls[0];
	size_t whole = strcspn(url, "?#"), size = whole;
	for (int tries = 0; tries < 3; tries++) {
		char name[4096];
		snprintf(name, sizeof(name), "%.*s.bmap%s", (int)size, url, url + whole);
		if (download_companion(options, name, text, err) == 0) {
			log_info("the image has a block map");
			return 0;
		}
		if (err->kind != ERROR_NOT_FOUND)
			return error_wrap(err, "BMAP=auto");
		size_t shorter = without_suffix(url, size);
		if (shorter == size)
			break;
		size = shorter;
	}
	log_info("the image has no block map");
	return 0;
}

static int learn_bmap(const struct work *work, struct buffer *text, struct error *err)
{
	const struct imaging_params *params = work->imaging->params;
	if (params->bmap_url[0])
		return download_companion(&work->imaging->source, params->bmap_url, text, err) < 0
			       ? error_wrap(err, "BMAP_URL")
			       : 0;
	return strcmp(params->bmap, "auto") == 0 ? find_bmap(work, text, err) : 0;
}

static int open_image(struct work *work, struct error *err)
{
	auto_buffer struct buffer bmap = {.cap = BMAP_FILE_MAX};
	if (learn_checksums(work, err) < 0 || learn_bmap(work, &bmap, err) < 0)
		return -1;
	work->options.bmap = (const char *)bmap.data;
	work->options.bmap_size = bmap.size;
	/* The beginning of an image may be some MiB: minutes, from a slow server. */
	if (source_open(&work->imaging->source, &work->source, err) < 0 ||
	    progress_start(work->context, work->imaging->params->progress_interval_s, "opening",
			   measure, work, &work->progress, err) < 0 ||
	    check_download(work, err) < 0 ||
	    image_open(work->source, &work->options, &work->facts, &work->image, err) < 0)
		return -1;
	return check_size(work, err);
}

static int open_and_write(struct work *work, struct error *err)
{
	const struct imaging_params *params = work->imaging->params;
	const struct disk_writer_options options = {
		.compare = strcmp(params->mode, "compare") == 0,
		.record = strcmp(params->verify, "readback") == 0,
	};
	int result = open_image(work, err);
	if (result == 0)
		result = disk_writer_open(&work->disk, &options, &work->writer, err);
	if (result == 0) {
		__atomic_store_n(&work->writing, true, __ATOMIC_RELEASE);
		progress_phase(work->progress, "writing");
		result = write_image(work, err);
	}
	progress_stop(work->progress);
	work->progress = NULL;
	if (result < 0 && work->state == DISK_BEGUN)
		error_append(err, "; what was on %s may still be there", work->disk.path);
	if (result < 0 && work->state == DISK_CLEARED)
		error_append(err, "; %s was left without its beginning and does not boot",
			     work->disk.path);
	return result;
}

static void close_work(struct work *work)
{
	image_close(work->image);
	work->image = NULL;
	free(work->early);
	work->early = NULL;
	source_free(work->source);
	work->source = NULL;
	disk_writer_free(work->writer);
	work->writer = NULL;
	disk_close(&work->disk);
}

/* What became of the image's partition table. */
struct table {
	unsigned partitions;
	bool moved; /* its second copy, to the end of the disk */
};

static int settle_table(struct work *work, struct table *ret_table, struct error *err)
{
	if (disk_move_backup_gpt(&work->disk, &ret_table->moved, err) < 0) {
		/* The disk holds what the image holds: that it has no second copy is the image's
		 * own matter. */
		if (err->kind != ERROR_CORRUPT)
			return disk_writer_take_back(work->writer, err);
		log_warning("the image's partition table has no sound second copy to be moved",
			    "disk", work->disk.path, "reason", err->text);
	}
	return disk_reread_partitions(&work->disk, NODE_WAIT_MS, &ret_table->partitions, err);
}

/* "wrote 4.0 GiB to /dev/sda (0.9 GiB of data, 3.1 GiB of zeros cleared) in 9.8 s, …" */
static void summarize(struct work *work, int64_t duration_ms, const struct table *table)
{
	const struct disk_writer_counts counts = disk_writer_counts(work->writer);
	const struct imaging_params *params = work->imaging->params;
	char size[32], written[32], cleared[32], same[32], duration[32], digest[DIGEST_TEXT_SIZE];
	char parts[160], form[64], checksum[DIGEST_TEXT_SIZE + 64] = "";
	snprintf(parts, sizeof(parts), "%s written%s%s%s%s",
		 text_bytes(counts.written_bytes, written, sizeof(written)),
		 counts.cleared_bytes ? ", zeros cleared: " : "",
		 counts.cleared_bytes ? text_bytes(counts.cleared_bytes, cleared, sizeof(cleared))
				      : "",
		 counts.same_bytes ? ", right already: " : "",
		 counts.same_bytes ? text_bytes(counts.same_bytes, same, sizeof(same)) : "");
	bool compressed = work->facts.compression != COMPRESSION_NONE;
	snprintf(form, sizeof(form), "%s%s%s", work->image->form, compressed ? ", " : "",
		 compressed ? compression_name(work->facts.compression) : "");
	bool expected = params->checksum.type != DIGEST_NONE || params->checksum_url[0] ||
			work->imaging->expected.type != DIGEST_NONE;
	if (work->facts.digest.type != DIGEST_NONE)
		snprintf(checksum, sizeof(checksum), ", %s %s",
			 digest_format(&work->facts.digest, digest),
			 expected ? "(as expected)" : "(not compared)");
	action_summary(work->context, "wrote %s (%s) to %s in %s (%s), %u partition%s%s%s%s",
		       text_bytes(counts.image_bytes, size, sizeof(size)), form, work->disk.path,
		       clock_format_duration(duration_ms, duration, sizeof(duration)), parts,
		       table->partitions, table->partitions == 1 ? "" : "s",
		       table->moved ? ", backup GPT moved to the end" : "", checksum,
		       strcmp(params->verify, "readback") == 0 ? ", read back and compared" : "");
}

static int run(struct work *work, struct error *err)
{
	const struct imaging *imaging = work->imaging;
	char description[300];
	int64_t start = clock_monotonic_ms();
	if (disk_open(imaging->params->device, &work->disk, err) < 0 ||
	    disk_expect(&work->disk, imaging->params->expect_serial, imaging->params->expect_size,
			err) < 0)
		return -1;
	log_info("writing an image", "image", imaging->name, "disk",
		 disk_describe(&work->disk, description, sizeof(description)));
	if (open_and_write(work, err) < 0)
		return error_wrap(err, "%s to %s", imaging->name, work->disk.path);
	struct table table = {.partitions = 0};
	if (settle_table(work, &table, err) < 0)
		return error_wrap(err, "after writing %s", work->disk.path);
	summarize(work, clock_monotonic_ms() - start, &table);
	disk_writer_free(work->writer);
	work->writer = NULL;
	if (disk_finish(&work->disk, err) < 0)
		return error_wrap(err, "after writing %s", imaging->params->device);
	return 0;
}

int imaging_run(struct action_context *context, struct imaging *imaging, struct error *err)
{
	struct work work = {.context = context, .imaging = imaging, .disk = {.fd = -1}};
	int result = run(&work, err);
	close_work(&work);
	return result;
}

int imaging_run_urls(struct action_context *context, const struct imaging_params *params,
		     const char *urls, struct error *err)
{
	char **list, shown[URL_SHOWN];
	param_urls(urls, &list);
	struct imaging imaging = {
		.params = params,
		.name = text_redact_url(list[0], shown, sizeof(shown)),
		.source = download_options(context, &params->download),
	};
	imaging.source.urls = (const char *const *)list;
	int result = imaging_run(context, &imaging, err);
	param_urls_free(list);
	return result;
}
