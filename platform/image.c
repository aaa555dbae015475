/*
 * From a source to a disk image: which compression, which form, and which stages run in threads of
 * their own. See image.h. The forms stand in files of their own; raw, which is none, is here.
 */
#include "platform/image.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum {
	/* Between the download's thread and the decoder. */
	CHUNK_BYTES = 256 << 10,
	CHUNKS = 16,
	THREADS_MOST = 8
};

static const struct image_form *const forms[] = {
	&image_form_android_sparse,
	&image_form_qcow2,
	&image_form_tar,
	NULL,
};

int image_read(struct image *image, void *data, size_t size, struct extent *ret_extent,
	       struct error *err)
{
	return image->operations->read(image, data, size, ret_extent, err);
}

void image_close(struct image *image)
{
	if (image)
		image->operations->close(image);
}

/* Raw. */

struct raw_image {
	struct image image;
	struct stream *stream;
};

static int raw_read(struct image *image, void *data, size_t size, struct extent *ret_extent,
		    struct error *err)
{
	struct raw_image *self = (struct raw_image *)image;
	uint64_t offset = stream_position(self->stream);
	ssize_t got = stream_read_full(self->stream, data, size, err);
	if (got < 0)
		return -1;
	*ret_extent = (struct extent){.offset = offset, .size_bytes = (uint64_t)got};
	return got > 0;
}

static void raw_close(struct image *image)
{
	struct raw_image *self = (struct raw_image *)image;
	stream_close(self->stream);
	free(self);
}

struct image *image_raw(struct stream *stream)
{
	static const struct image_operations operations = {.read = raw_read, .close = raw_close};
	struct raw_image *self = calloc(1, sizeof(*self));
	if (!self)
		abort();
	self->image = (struct image){.operations = &operations,
				     .form = "raw",
				     .size_bytes = stream->size_bytes,
				     .least_bytes = stream->least_bytes};
	self->stream = stream;
	return &self->image;
}

/* What people give for an image that is none that is read here. */
static const struct foreign {
	const char *magic;
	size_t size, offset;
	const char *what;
} foreigners[] = {
	{"KDMV", 4, 0, "a VMDK image: convert it (qemu-img convert -O raw)"},
	{"# Disk DescriptorFile", 21, 0,
	 "the descriptor of a VMDK image: convert it (qemu-img convert -O raw)"},
	{"vhdxfile", 8, 0, "a VHDX image: convert it (qemu-img convert -O raw)"},
	{"conectix", 8, 0, "a VHD image: convert it (qemu-img convert -O raw)"},
	{"<<< ", 4, 0, "a VDI image: convert it (qemu-img convert -O raw)"},
	{"QED\0", 4, 0, "a QED image: convert it (qemu-img convert -O raw)"},
	{"WithoutFreeSpace", 16, 0, "a Parallels image: convert it (qemu-img convert -O raw)"},
	{"WithouFreSpacExt", 16, 0, "a Parallels image: convert it (qemu-img convert -O raw)"},
	{"MSWIM\0\0\0", 8, 0, "a WIM archive, not a disk image: apply it to a disk and take that"},
	{"partclone-image", 15, 0, "an image of partclone: restore it (partclone.restore)"},
	{"PK\x03\x04", 4, 0, "a zip archive, not a disk image: unpack it"},
	{"7z\xbc\xaf\x27\x1c", 6, 0, "a 7z archive, not a disk image: unpack it"},
	{"Rar!", 4, 0, "a rar archive, not a disk image: unpack it"},
	{"!<arch>\n", 8, 0, "an ar archive (a .deb?), not a disk image"},
	{"07070", 5, 0, "a cpio archive, not a disk image"},
	{"LZIP\x01", 5, 0, "compressed by lzip: compress it by zstd, xz, gzip, bzip2 or lz4"},
	{"\x89LZO\0\r\n\x1a\n", 9, 0,
	 "compressed by lzop: compress it by zstd, xz, gzip, bzip2 or lz4"},
	{"\x1f\x9d\x90", 3, 0,
	 "compressed by compress: compress it by zstd, xz, gzip, bzip2 or lz4"},
};

/* The header of a .lzma file: properties as everybody has them, a dictionary of whole 64 KiB, and a
 * length that is not told or below 1 TiB. It has no magic. */
static bool is_lzma(const uint8_t *head, size_t size)
{
	static const uint8_t untold[8] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	return size >= 14 && head[0] == 0x5d && head[1] == 0 && head[2] == 0 &&
	       (head[3] != 0 || head[4] != 0) && head[13] == 0 &&
	       (memcmp(head + 5, untold, sizeof(untold)) == 0 ||
		(head[10] == 0 && head[11] == 0 && head[12] == 0));
}

const char *image_foreign(const uint8_t *head, size_t size)
{
	for (size_t i = 0; i < sizeof(foreigners) / sizeof(foreigners[0]); i++) {
		const struct foreign *foreign = &foreigners[i];
		if (size >= foreign->offset + foreign->size &&
		    memcmp(head + foreign->offset, foreign->magic, foreign->size) == 0)
			return foreign->what;
	}
	return is_lzma(head, size)
		       ? "compressed in the old format of lzma: compress it by xz, zstd or gzip"
		       : NULL;
}

static int check_is_image(const uint8_t *data, size_t size, enum compression compression,
			  struct error *err)
{
	const char *foreign = image_foreign(data, size);
	enum compression inner = compression_detect(data, size);
	if (foreign)
		return error_set(err, ERROR_UNSUPPORTED, "the data is %s", foreign);
	/* The disk would get what is still compressed. */
	if (inner != COMPRESSION_NONE)
		return error_set(err, ERROR_UNSUPPORTED,
				 "the data is compressed twice, by %s and within that by %s: "
				 "compress it once (does the server compress what is compressed?)",
				 compression_name(compression), compression_name(inner));
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

static unsigned thread_count(const struct image_options *options)
{
	long processors = options->threads ? (long)options->threads : sysconf(_SC_NPROCESSORS_ONLN);
	return processors < 1 ? 1 : processors > THREADS_MOST ? THREADS_MOST : (unsigned)processors;
}

static bool is_expected(const struct image_options *options)
{
	for (int i = 0; i < IMAGE_DIGESTS_MOST; i++)
		if (options->expected[i].type != DIGEST_NONE)
			return true;
	return false;
}

/* The digests over the download (taken). Of what is compressed one is always computed: it costs
 * little there, and says afterwards what was written. */
static int put_digests(struct stream *stream, const struct image_options *options,
		       struct image_facts *facts, struct stream **ret_stream, struct error *err)
{
	struct digest *result = &facts->digest;
	for (int i = 0; i < IMAGE_DIGESTS_MOST; i++) {
		if (options->expected[i].type == DIGEST_NONE)
			continue;
		if (digest_stream(stream, &options->expected[i], result, &stream, err) < 0)
			return -1;
		result = NULL;
	}
	if (result && facts->compression != COMPRESSION_NONE &&
	    digest_stream(stream, NULL, result, &stream, err) < 0)
		return -1;
	*ret_stream = stream;
	return 0;
}

/*
 * The stages, each arrow a thread's border:
 *   compressed:          download, digest -> decoder
 *   raw with a checksum: download -> digest
 *   raw:                 download, straight into the disk's buffers
 * Behind them all are the threads of the disk writer.
 */
static int open_stream(struct source *source, const struct image_options *options,
		       struct image_facts *facts, struct stream **ret_stream, struct error *err)
{
	/* Then only a check of the whole could tell that frames are missing. */
	const struct decompress_options decompress = {.one_frame = !source_has_end(source) &&
								   !is_expected(options)};
	struct stream *stream;
	const uint8_t *head;
	size_t head_size;
	if (source_stream(source, &stream, err) < 0 ||
	    stream_peek(stream, DECOMPRESS_MAGIC_SIZE, &stream, &head, &head_size, err) < 0)
		return -1;
	facts->compression = compression_detect(head, head_size);
	if (facts->compression == COMPRESSION_NONE) {
		if (is_expected(options) &&
		    (stream_in_thread(stream, CHUNK_BYTES, CHUNKS, &stream, err) < 0 ||
		     put_digests(stream, options, facts, &stream, err) < 0))
			return -1;
	} else if (put_digests(stream, options, facts, &stream, err) < 0 ||
		   stream_in_thread(stream, CHUNK_BYTES, CHUNKS, &stream, err) < 0 ||
		   decompress_stream_with(stream, &decompress, &stream, &facts->compression, err) <
			   0) {
		return -1;
	}
	*ret_stream = stream;
	return 0;
}

static const struct image_form *find_form(const uint8_t *head, size_t size)
{
	for (const struct image_form *const *form = forms; *form; form++)
		if ((*form)->detect(head, size))
			return *form;
	return NULL;
}

int image_open(struct source *source, const struct image_options *options,
	       struct image_facts *ret_facts, struct image **ret_image, struct error *err)
{
	struct image_input input = {.threads = thread_count(options)};
	*ret_facts = (struct image_facts){.compression = COMPRESSION_NONE};
	if (open_stream(source, options, ret_facts, &input.stream, err) < 0 ||
	    stream_peek(input.stream, IMAGE_HEAD_BYTES, &input.stream, &input.head,
			&input.head_size, err) < 0)
		return -1;
	bool by_position = ret_facts->compression == COMPRESSION_NONE && !is_expected(options) &&
			   source_has_ranges(source);
	input.source = by_position ? source : NULL;
	const struct image_form *form = find_form(input.head, input.head_size);
	if (form && !options->bmap)
		return form->open(&input, ret_image, err);
	auto_stream struct stream *stream = input.stream;
	if (form)
		return error_set(err, ERROR_INPUT,
				 "the image is %s: a block map is for raw images only", form->name);
	if (check_is_image(input.head, input.head_size, ret_facts->compression, err) < 0)
		return -1;
	/* The map knows the length. Its checksums take about as long as the decoder. */
	if (options->bmap) {
		if (!input.source &&
		    stream_in_thread(take_pointer(stream), CHUNK_BYTES, CHUNKS, &stream, err) < 0)
			return -1;
		return image_bmap(take_pointer(stream), input.source, options->bmap,
				  options->bmap_size, ret_image, err);
	}
	/* A raw image over a connection that just closes, without a length: nothing would tell a
	 * cut from the end. */
	if (ret_facts->compression == COMPRESSION_NONE && !source_has_end(source) &&
	    !is_expected(options))
		return error_set(err, ERROR_INPUT,
				 "the server does not say how long the raw image is, so its end "
				 "cannot be verified: give CHECKSUM");
	*ret_image = image_raw(take_pointer(stream));
	return 0;
}
