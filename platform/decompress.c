/*
 * One driver for all formats: it feeds a codec from the stage below, goes on with the next frame
 * (member, stream) where one ends and another begins, and insists on a proper end. A codec is one
 * const descriptor in the table at the bottom.
 */
#include "platform/decompress.h"

#include <bzlib.h>
#include <inttypes.h>
#include <lzma.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

enum {
	INPUT_SIZE = 256 << 10
};

struct decoder;

enum step {
	STEP_MORE,
	STEP_FRAME_END,
	STEP_FAILED
};

struct codec {
	const char *name;
	uint8_t magic[6];
	size_t magic_size;
	int (*open)(struct decoder *decoder, struct error *err);
	/* Decodes from decoder->in to out; moves in_at and *out_used on. */
	enum step (*step)(struct decoder *decoder, uint8_t *out, size_t out_size, size_t *out_used,
			  struct error *err);
	/* Makes ready for the next frame. */
	int (*reset)(struct decoder *decoder, struct error *err);
	void (*close)(struct decoder *decoder);
};

struct decoder {
	struct stream stream;
	struct stream *below;
	const struct codec *codec; /* NULL: raw */
	union {
		z_stream zlib;
		ZSTD_DStream *zstd;
		lzma_stream lzma;
		bz_stream bzip2;
	} state;
	bool opened;
	bool in_frame;    /* within a frame: the input must not end here */
	bool below_ended; /* the stage below has ended, verified */
	unsigned frames;
	size_t in_at, in_size;
	uint8_t in[INPUT_SIZE];
};

static int codec_failed(struct decoder *self, const char *what, struct error *err)
{
	return error_set(err, ERROR_CORRUPT,
			 "%s data is corrupt after %" PRIu64 " decoded bytes: %s",
			 self->codec->name, self->stream.read_bytes, what);
}

/* gzip by zlib. */

static int gzip_open(struct decoder *self, struct error *err)
{
	if (inflateInit2(&self->state.zlib, 15 + 16) != Z_OK)
		return error_set(err, ERROR_MEMORY, "no memory for the gzip decoder");
	return 0;
}

static enum step gzip_step(struct decoder *self, uint8_t *out, size_t out_size, size_t *out_used,
			   struct error *err)
{
	z_stream *z = &self->state.zlib;
	z->next_in = self->in + self->in_at;
	z->avail_in = (uInt)(self->in_size - self->in_at);
	z->next_out = out;
	z->avail_out = (uInt)(out_size < (1u << 30) ? out_size : (1u << 30));
	uInt room = z->avail_out;
	int result = inflate(z, Z_NO_FLUSH);
	self->in_at = self->in_size - z->avail_in;
	*out_used = room - z->avail_out;
	if (result == Z_STREAM_END)
		return STEP_FRAME_END;
	if (result == Z_OK || result == Z_BUF_ERROR)
		return STEP_MORE;
	codec_failed(self, z->msg ? z->msg : "invalid", err);
	return STEP_FAILED;
}

static int gzip_reset(struct decoder *self, struct error *err)
{
	return inflateReset(&self->state.zlib) == Z_OK
		       ? 0
		       : error_set(err, ERROR_BUG, "zlib: inflateReset failed");
}

static void gzip_close(struct decoder *self)
{
	inflateEnd(&self->state.zlib);
}

/* zstd. */

static int zstd_open(struct decoder *self, struct error *err)
{
	self->state.zstd = ZSTD_createDStream();
	if (!self->state.zstd)
		return error_set(err, ERROR_MEMORY, "no memory for the zstd decoder");
	/* Windows up to what `zstd --long=27` makes: 128 MiB; more is refused by the library with a
	 * clear word. */
	ZSTD_DCtx_setParameter(self->state.zstd, ZSTD_d_windowLogMax, 27);
	return 0;
}

static enum step zstd_step(struct decoder *self, uint8_t *out, size_t out_size, size_t *out_used,
			   struct error *err)
{
	ZSTD_inBuffer input = {self->in, self->in_size, self->in_at};
	ZSTD_outBuffer output = {out, out_size, 0};
	size_t result = ZSTD_decompressStream(self->state.zstd, &output, &input);
	self->in_at = input.pos;
	*out_used = output.pos;
	if (ZSTD_isError(result)) {
		ZSTD_ErrorCode code = ZSTD_getErrorCode(result);
		if (code == ZSTD_error_frameParameter_windowTooLarge)
			error_set(err, ERROR_UNSUPPORTED,
				  "this zstd frame needs a window of more than 128 MiB: compress "
				  "it with --long=27 or less");
		else if (code == ZSTD_error_memory_allocation)
			error_set(err, ERROR_MEMORY, "no memory for the zstd decoder");
		else
			codec_failed(self, ZSTD_getErrorName(result), err);
		return STEP_FAILED;
	}
	return result == 0 ? STEP_FRAME_END : STEP_MORE;
}

static int zstd_reset(struct decoder *self, struct error *err)
{
	size_t result = ZSTD_DCtx_reset(self->state.zstd, ZSTD_reset_session_only);
	return ZSTD_isError(result)
		       ? error_set(err, ERROR_BUG, "zstd: %s", ZSTD_getErrorName(result))
		       : 0;
}

static void zstd_close(struct decoder *self)
{
	ZSTD_freeDStream(self->state.zstd);
}

/* xz by liblzma; one stream at a time, so that what stands between streams is judged here as for
 * the others. */

static int xz_start(struct decoder *self, struct error *err)
{
	lzma_ret result = lzma_stream_decoder(&self->state.lzma, DECOMPRESS_XZ_MEMORY_BYTES,
					      LZMA_TELL_UNSUPPORTED_CHECK);
	return result == LZMA_OK ? 0 : error_set(err, ERROR_MEMORY, "no memory for the xz decoder");
}

static int xz_open(struct decoder *self, struct error *err)
{
	self->state.lzma = (lzma_stream)LZMA_STREAM_INIT;
	return xz_start(self, err);
}

static enum step xz_step(struct decoder *self, uint8_t *out, size_t out_size, size_t *out_used,
			 struct error *err)
{
	lzma_stream *lzma = &self->state.lzma;
	lzma->next_in = self->in + self->in_at;
	lzma->avail_in = self->in_size - self->in_at;
	lzma->next_out = out;
	lzma->avail_out = out_size;
	lzma_ret result = lzma_code(lzma, LZMA_RUN);
	self->in_at = self->in_size - lzma->avail_in;
	*out_used = out_size - lzma->avail_out;
	switch ((int)result) {
	case LZMA_OK:
	case LZMA_BUF_ERROR:
		return STEP_MORE;
	case LZMA_STREAM_END:
		return STEP_FRAME_END;
	case LZMA_MEMLIMIT_ERROR:
		error_set(err, ERROR_UNSUPPORTED,
			  "this xz stream needs %" PRIu64 " MiB of memory to decode, %" PRIu64
			  " are allowed: compress it with a smaller dictionary (xz -9 or less)",
			  lzma_memusage(lzma) >> 20, DECOMPRESS_XZ_MEMORY_BYTES >> 20);
		return STEP_FAILED;
	case LZMA_MEM_ERROR:
		error_set(err, ERROR_MEMORY, "no memory for the xz decoder");
		return STEP_FAILED;
	case LZMA_OPTIONS_ERROR:
	case LZMA_UNSUPPORTED_CHECK:
		error_set(err, ERROR_UNSUPPORTED,
			  "this xz stream uses a filter or check that liblzma does not know");
		return STEP_FAILED;
	default:
		codec_failed(self, "invalid xz stream", err);
		return STEP_FAILED;
	}
}

static void xz_close(struct decoder *self)
{
	lzma_end(&self->state.lzma);
}

/* bzip2. */

static int bzip2_open(struct decoder *self, struct error *err)
{
	if (BZ2_bzDecompressInit(&self->state.bzip2, 0, 0) != BZ_OK)
		return error_set(err, ERROR_MEMORY, "no memory for the bzip2 decoder");
	return 0;
}

static enum step bzip2_step(struct decoder *self, uint8_t *out, size_t out_size, size_t *out_used,
			    struct error *err)
{
	bz_stream *bz = &self->state.bzip2;
	bz->next_in = (char *)(self->in + self->in_at);
	bz->avail_in = (unsigned)(self->in_size - self->in_at);
	bz->next_out = (char *)out;
	bz->avail_out = (unsigned)(out_size < (1u << 30) ? out_size : (1u << 30));
	unsigned room = bz->avail_out;
	int result = BZ2_bzDecompress(bz);
	self->in_at = self->in_size - bz->avail_in;
	*out_used = room - bz->avail_out;
	if (result == BZ_STREAM_END)
		return STEP_FRAME_END;
	if (result == BZ_OK)
		return STEP_MORE;
	if (result == BZ_MEM_ERROR)
		error_set(err, ERROR_MEMORY, "no memory for the bzip2 decoder");
	else
		codec_failed(self, "invalid block or checksum", err);
	return STEP_FAILED;
}

static void bzip2_close(struct decoder *self)
{
	BZ2_bzDecompressEnd(&self->state.bzip2);
}

static int bzip2_reset(struct decoder *self, struct error *err)
{
	bzip2_close(self);
	self->state.bzip2 = (bz_stream){0};
	return bzip2_open(self, err);
}

static const struct codec codecs[COMPRESSION_COUNT] = {
	[COMPRESSION_GZIP] =
		{"gzip", {0x1f, 0x8b, 0x08}, 3, gzip_open, gzip_step, gzip_reset, gzip_close},
	[COMPRESSION_ZSTD] =
		{"zstd", {0x28, 0xb5, 0x2f, 0xfd}, 4, zstd_open, zstd_step, zstd_reset, zstd_close},
	[COMPRESSION_XZ] =
		{"xz", {0xfd, '7', 'z', 'X', 'Z', 0}, 6, xz_open, xz_step, xz_start, xz_close},
	[COMPRESSION_BZIP2] =
		{"bzip2", {'B', 'Z', 'h'}, 3, bzip2_open, bzip2_step, bzip2_reset, bzip2_close},
};

const char *compression_name(enum compression compression)
{
	return compression == COMPRESSION_NONE ? "raw" : codecs[compression].name;
}

enum compression compression_detect(const uint8_t *data, size_t size)
{
	for (int i = COMPRESSION_NONE + 1; i < COMPRESSION_COUNT; i++) {
		if (size < codecs[i].magic_size ||
		    memcmp(data, codecs[i].magic, codecs[i].magic_size) != 0)
			continue;
		/* "BZh" alone is text: the level and the magic of the first block (or of the end)
		 * must follow. */
		static const uint8_t block[] = {0x31, 0x41, 0x59, 0x26, 0x53, 0x59};
		static const uint8_t end[] = {0x17, 0x72, 0x45, 0x38, 0x50, 0x90};
		if (i == COMPRESSION_BZIP2 && (size < 10 || data[3] < '1' || data[3] > '9' ||
					       (memcmp(data + 4, block, sizeof(block)) != 0 &&
						memcmp(data + 4, end, sizeof(end)) != 0)))
			continue;
		return (enum compression)i;
	}
	/* A zstd file may begin with skippable frames (0x184D2A5?); pzstd and the seekable format
	 * make them. */
	if (size >= 4 && (data[0] & 0xf0) == 0x50 && data[1] == 0x2a && data[2] == 0x4d &&
	    data[3] == 0x18)
		return COMPRESSION_ZSTD;
	return COMPRESSION_NONE;
}

/* Fills the input when it is empty. Sets below_ended at the verified end. */
static int fill(struct decoder *self, struct error *err)
{
	if (self->in_at < self->in_size || self->below_ended)
		return 0;
	ssize_t got = stream_read(self->below, self->in, sizeof(self->in), err);
	if (got < 0)
		return -1;
	self->in_at = 0;
	self->in_size = (size_t)got;
	self->below_ended = got == 0;
	return 0;
}

/* Between frames: the next one begins, or the end is near. Returns 1 for a frame, 0 at the end. */
static int next_frame(struct decoder *self, struct error *err)
{
	for (bool padding = false;; padding = true) {
		if (fill(self, err) < 0)
			return -1;
		if (self->below_ended)
			return 0;
		if (self->frames == 0 || (!padding && self->in[self->in_at] != 0))
			break;
		while (self->in_at < self->in_size)
			if (self->in[self->in_at++] != 0)
				return error_set(err, ERROR_CORRUPT,
						 "garbage behind the end of the %s data",
						 self->codec->name);
	}
	if (self->frames > 0 && self->codec->reset(self, err) < 0)
		return -1;
	self->in_frame = true;
	self->frames++;
	return 1;
}

static ssize_t decoder_read(struct stream *stream, void *data, size_t size, struct error *err)
{
	struct decoder *self = (struct decoder *)stream;
	for (;;) {
		if (!self->in_frame) {
			int more = next_frame(self, err);
			if (more <= 0)
				return more;
		}
		if (fill(self, err) < 0)
			return -1;
		size_t used = 0, in_before = self->in_at;
		enum step step = self->codec->step(self, data, size, &used, err);
		if (step == STEP_FAILED) {
			/* A bad header of a second frame is garbage behind the first. */
			if (self->frames > 1 && err->kind == ERROR_CORRUPT)
				error_append(err, " (frame %u; garbage behind the data?)",
					     self->frames);
			return -1;
		}
		if (step == STEP_FRAME_END)
			self->in_frame = false;
		if (used > 0)
			return (ssize_t)used;
		if (step == STEP_MORE && self->below_ended && self->in_at == in_before)
			return codec_failed(self, "the data ends in the middle", err);
	}
}

static ssize_t raw_read(struct stream *stream, void *data, size_t size, struct error *err)
{
	struct decoder *self = (struct decoder *)stream;
	size_t left = self->in_size - self->in_at;
	if (left == 0)
		return stream_read(self->below, data, size, err);
	size_t count = left < size ? left : size;
	memcpy(data, self->in + self->in_at, count);
	self->in_at += count;
	return (ssize_t)count;
}

static void decoder_close(struct stream *stream)
{
	struct decoder *self = (struct decoder *)stream;
	if (self->opened)
		self->codec->close(self);
	stream_close(self->below);
	free(self);
}

/* What the header of the first zstd frame tells of its content: more frames may follow. */
static uint64_t least_bytes(const struct decoder *self, enum compression compression)
{
	if (compression != COMPRESSION_ZSTD)
		return 0;
	unsigned long long size = ZSTD_getFrameContentSize(self->in, self->in_size);
	return size == ZSTD_CONTENTSIZE_UNKNOWN || size == ZSTD_CONTENTSIZE_ERROR ? 0 : size;
}

int decompress_stream(struct stream *below, struct stream **ret_stream,
		      enum compression *ret_compression, struct error *err)
{
	static const struct stream_operations raw = {.read = raw_read, .close = decoder_close};
	static const struct stream_operations decoding = {.read = decoder_read,
							  .close = decoder_close};
	struct decoder *self = calloc(1, sizeof(*self));
	if (!self)
		abort();
	self->below = below;
	auto_stream struct stream *stream = &self->stream;
	self->stream = (struct stream){.operations = &raw,
				       .size_bytes = below->size_bytes,
				       .least_bytes = below->least_bytes};
	ssize_t got = stream_read_full(below, self->in, 4096, err);
	if (got < 0)
		return -1;
	if (got == 0)
		return error_set(err, ERROR_CORRUPT, "the data is empty");
	self->in_size = (size_t)got;
	enum compression compression = compression_detect(self->in, self->in_size);
	if (compression != COMPRESSION_NONE) {
		self->codec = &codecs[compression];
		self->stream.operations = &decoding;
		self->stream.size_bytes = STREAM_SIZE_UNKNOWN;
		self->stream.least_bytes = least_bytes(self, compression);
		if (self->codec->open(self, err) < 0)
			return -1;
		self->opened = true;
	}
	if (ret_compression)
		*ret_compression = compression;
	*ret_stream = take_pointer(stream);
	return 0;
}
