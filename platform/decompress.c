/*
 * One driver for all formats: it feeds a codec from the stage below, goes on with the next frame
 * (member, stream) where one ends and another begins, and insists on a proper end. Each format is a
 * file beside this one and a line in the table.
 */
#include "platform/decompress.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "platform/decompress_codec.h"
#include "platform/decompress_pool.h"

enum step decoder_corrupt(struct decoder *self, const char *what, struct error *err)
{
	error_set(err, ERROR_CORRUPT, "%s data is corrupt after %" PRIu64 " decoded bytes: %s",
		  self->codec->name, self->stream.read_bytes, what);
	return STEP_FAILED;
}

int decoder_no_memory(const struct decoder *self, struct error *err)
{
	return error_set(err, ERROR_MEMORY, "no memory for the %s decoder", self->codec->name);
}

static const struct codec *const codecs[COMPRESSION_COUNT] = {
	[COMPRESSION_GZIP] = &codec_gzip, [COMPRESSION_ZSTD] = &codec_zstd,
	[COMPRESSION_XZ] = &codec_xz,     [COMPRESSION_BZIP2] = &codec_bzip2,
	[COMPRESSION_LZ4] = &codec_lz4,
};

const char *compression_name(enum compression compression)
{
	return compression == COMPRESSION_NONE ? "raw" : codecs[compression]->name;
}

static bool begins(const uint8_t *data, size_t size, const void *magic, size_t magic_size)
{
	return size >= magic_size && memcmp(data, magic, magic_size) == 0;
}

/* "BZh" alone is text: the level and the magic of the first block (or of the end) must follow. */
static bool is_bzip2(const uint8_t *data, size_t size)
{
	return begins(data, size, "BZh", 3) && size >= 10 && data[3] >= '1' && data[3] <= '9' &&
	       (begins(data + 4, size - 4, "\x31\x41\x59\x26\x53\x59", 6) ||
		begins(data + 4, size - 4, "\x17\x72\x45\x38\x50\x90", 6));
}

/* Skippable frames (0x184D2A5?) belong to zstd and lz4 alike; pzstd and the seekable format begin
 * with them. */
static bool is_skippable(const uint8_t *data, size_t size)
{
	return size >= 4 && (data[0] & 0xf0) == 0x50 &&
	       begins(data + 1, size - 1, "\x2a\x4d\x18", 3);
}

enum compression compression_detect(const uint8_t *data, size_t size)
{
	bool skippable = false;
	while (is_skippable(data, size)) {
		skippable = true;
		if (size < 8)
			break;
		uint64_t frame =
			8 + (data[4] | data[5] << 8 | data[6] << 16 | (uint64_t)data[7] << 24);
		if (frame > size)
			break;
		data += frame;
		size -= (size_t)frame;
	}
	if (begins(data, size, "\x04\x22\x4d\x18", 4) || begins(data, size, "\x02\x21\x4c\x18", 4))
		return COMPRESSION_LZ4;
	if (skippable || begins(data, size, "\x28\xb5\x2f\xfd", 4))
		return COMPRESSION_ZSTD;
	if (begins(data, size, "\x1f\x8b\x08", 3))
		return COMPRESSION_GZIP;
	if (begins(data, size,
		   "\xfd"
		   "7zXZ\0",
		   6))
		return COMPRESSION_XZ;
	return is_bzip2(data, size) ? COMPRESSION_BZIP2 : COMPRESSION_NONE;
}

int decoder_wrap(const struct decoder *self, struct error *err)
{
	if (err->kind != ERROR_CORRUPT || __atomic_load_n(&self->below_failed, __ATOMIC_RELAXED))
		return -1;
	return error_wrap(err, "%s data is corrupt after %" PRIu64 " decoded bytes",
			  self->codec->name, self->stream.read_bytes);
}

static ssize_t read_below(struct decoder *self, void *data, size_t size, struct error *err)
{
	ssize_t got = stream_read(self->below, data, size, err);
	if (got < 0)
		__atomic_store_n(&self->below_failed, true, __ATOMIC_RELAXED);
	return got;
}

int decoder_fill(struct decoder *self, struct error *err)
{
	if (self->in_at < self->in_size)
		return 0;
	if (self->in != self->buffer) {
		self->in = self->buffer;
		self->in_at = self->buffer_at;
		self->in_size = self->buffer_size;
		if (self->in_at < self->in_size)
			return 0;
	}
	if (self->below_ended)
		return 0;
	if (__atomic_load_n(&self->stop, __ATOMIC_RELAXED))
		return error_set(err, ERROR_CANCELLED, "closed");
	ssize_t got = read_below(self, self->buffer, sizeof(self->buffer), err);
	if (got < 0)
		return -1;
	self->in_at = 0;
	self->in_size = (size_t)got;
	self->below_ended = got == 0;
	return 0;
}

ssize_t decoder_peek(struct decoder *self, size_t size, struct error *err)
{
	if (decoder_fill(self, err) < 0)
		return -1;
	while (self->in_size - self->in_at < size && self->in == self->buffer &&
	       !self->below_ended) {
		/* The rest moves to the front; what follows comes behind it. */
		memmove(self->buffer, self->buffer + self->in_at, self->in_size - self->in_at);
		self->in_size -= self->in_at;
		self->in_at = 0;
		if (__atomic_load_n(&self->stop, __ATOMIC_RELAXED))
			return error_set(err, ERROR_CANCELLED, "closed");
		ssize_t got = read_below(self, self->buffer + self->in_size,
					 sizeof(self->buffer) - self->in_size, err);
		if (got < 0)
			return -1;
		self->in_size += (size_t)got;
		self->below_ended = got == 0;
	}
	return (ssize_t)(self->in_size - self->in_at);
}

ssize_t decoder_take(struct decoder *self, uint8_t *data, size_t size, struct error *err)
{
	size_t have = 0;
	while (have < size) {
		if (decoder_fill(self, err) < 0)
			return -1;
		size_t count = self->in_size - self->in_at;
		if (count == 0)
			break;
		if (count > size - have)
			count = size - have;
		memcpy(data + have, self->in + self->in_at, count);
		self->in_at += count;
		have += count;
	}
	return (ssize_t)have;
}

int decoder_may_go_on(const struct decoder *self, struct error *err)
{
	return self->one_frame
		       ? error_set(err, ERROR_INPUT,
				   "the %s data has several parts, and the server does not say how "
				   "long it is: whether the last ones are missing cannot be "
				   "verified; give a checksum",
				   self->codec->name)
		       : 0;
}

int decoder_next_frame(struct decoder *self, struct error *err)
{
	for (uint64_t zeros = 0;;) {
		if (decoder_fill(self, err) < 0)
			return -1;
		if (self->in_at == self->in_size)
			return 0;
		if (self->frames == 0)
			break;
		for (; self->in_at < self->in_size && self->in[self->in_at] == 0; zeros++)
			self->in_at++;
		if (self->in_at == self->in_size)
			continue;
		unsigned unit = self->codec->padding_unit;
		if (zeros == 0 || (unit > 0 && zeros % unit == 0))
			break;
		return error_set(err, ERROR_CORRUPT, "garbage behind the end of the %s data",
				 self->codec->name);
	}
	if (self->frames > 0 && decoder_may_go_on(self, err) < 0)
		return -1;
	self->frames++;
	return 1;
}

/* Gives the next bytes of a frame that this thread decodes: 0 at the frame's end. */
static ssize_t read_frame(struct decoder *self, void *data, size_t size, struct error *err)
{
	while (self->in_frame) {
		if (decoder_fill(self, err) < 0)
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
		if (step == STEP_MORE && self->below_ended && self->in_at == in_before) {
			decoder_corrupt(self, "the data ends in the middle", err);
			return -1;
		}
	}
	return 0;
}

static int start_frame(struct decoder *self, struct error *err)
{
	if (self->codec->start(self, err) < 0)
		return -1;
	self->in_frame = true;
	return 0;
}

static ssize_t serial_read(struct stream *stream, void *data, size_t size, struct error *err)
{
	struct decoder *self = (struct decoder *)stream;
	for (;;) {
		ssize_t got = read_frame(self, data, size, err);
		if (got != 0)
			return got;
		int more = decoder_next_frame(self, err);
		if (more <= 0)
			return more;
		if (start_frame(self, err) < 0)
			return -1;
	}
}

/* The frame that the pool does not want, from what it has read of it on. */
static int start_serial(struct decoder *self, const struct piece *piece, struct error *err)
{
	if (piece->in_size > 0) {
		self->buffer_at = self->in_at;
		self->buffer_size = self->in_size;
		self->in = piece->in;
		self->in_at = 0;
		self->in_size = piece->in_size;
	}
	return start_frame(self, err);
}

/* The frame has ended: the pool goes on behind it. */
static int resume(struct decoder *self, struct error *err)
{
	if (self->in != self->buffer) {
		if (self->in_at < self->in_size) {
			decoder_corrupt(self, "a frame ends before its end", err);
			return -1;
		}
		self->in = self->buffer;
		self->in_at = self->buffer_at;
		self->in_size = self->buffer_size;
	}
	pool_resume(self->pool);
	return 0;
}

static ssize_t pool_read(struct stream *stream, void *data, size_t size, struct error *err)
{
	struct decoder *self = (struct decoder *)stream;
	for (;;) {
		struct piece *piece = pool_next(self->pool);
		if (piece->result < 0) {
			*err = piece->err;
			return decoder_wrap(self, err);
		}
		if (piece->kind == PIECE_END)
			return 0;
		if (piece->kind == PIECE_SERIAL) {
			if (!self->in_frame && start_serial(self, piece, err) < 0)
				return -1;
			ssize_t got = read_frame(self, data, size, err);
			if (!self->in_frame && got >= 0 && resume(self, err) < 0)
				return -1;
			if (got != 0)
				return got;
			continue;
		}
		size_t left = piece->out_size - self->piece_at, count = left < size ? left : size;
		if (count > 0)
			memcpy(data, piece->out + self->piece_at, count);
		self->piece_at += count;
		if (count == left) {
			self->piece_at = 0;
			pool_release(self->pool);
		}
		if (count > 0)
			return (ssize_t)count;
	}
}

static ssize_t own_read(struct stream *stream, void *data, size_t size, struct error *err)
{
	struct decoder *self = (struct decoder *)stream;
	return self->codec->read(self, data, size, err);
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
	pool_close(self->pool);
	if (self->codec)
		self->codec->close(self);
	stream_close(self->below);
	free(self);
}

/* As many as there are processors: more would only wait for each other. */
static unsigned usual_threads(void)
{
	long count = sysconf(_SC_NPROCESSORS_ONLN);
	return count < 1                         ? 1
	       : count > DECOMPRESS_THREADS_MOST ? DECOMPRESS_THREADS_MOST
						 : (unsigned)count;
}

static int start_decoding(struct decoder *self, enum compression compression, struct error *err)
{
	static const struct stream_operations serial = {.read = serial_read,
							.close = decoder_close};
	static const struct stream_operations pooled = {.read = pool_read, .close = decoder_close};
	static const struct stream_operations own = {.read = own_read, .close = decoder_close};
	self->codec = codecs[compression];
	self->stream.operations = self->codec->read ? &own : &serial;
	self->stream.size_bytes = STREAM_SIZE_UNKNOWN;
	self->stream.least_bytes =
		self->codec->least_bytes ? self->codec->least_bytes(self->in, self->in_size) : 0;
	if (self->codec->open(self, err) < 0)
		return -1;
	if (!self->codec->work || self->threads < 2 ||
	    !self->codec->parallel(self->in, self->in_size))
		return 0;
	self->stream.operations = &pooled;
	return pool_open(self, self->codec->work, &self->pool, err);
}

int decompress_stream_with(struct stream *below, const struct decompress_options *options,
			   struct stream **ret_stream, enum compression *ret_compression,
			   struct error *err)
{
	static const struct stream_operations raw = {.read = raw_read, .close = decoder_close};
	struct decoder *self = calloc(1, sizeof(*self));
	if (!self)
		abort();
	self->below = below;
	self->in = self->buffer;
	self->threads = options && options->threads > 0 ? options->threads : usual_threads();
	if (self->threads > DECOMPRESS_THREADS_MOST)
		self->threads = DECOMPRESS_THREADS_MOST;
	self->one_frame = options && options->one_frame;
	auto_stream struct stream *stream = &self->stream;
	self->stream = (struct stream){.operations = &raw,
				       .size_bytes = below->size_bytes,
				       .least_bytes = below->least_bytes};
	ssize_t got = stream_read_full(below, self->buffer, 4096, err);
	if (got < 0)
		return -1;
	if (got == 0)
		return error_set(err, ERROR_CORRUPT, "the data is empty");
	self->in_size = (size_t)got;
	enum compression compression = compression_detect(self->in, self->in_size);
	if (compression != COMPRESSION_NONE && start_decoding(self, compression, err) < 0)
		return -1;
	if (ret_compression)
		*ret_compression = compression;
	*ret_stream = take_pointer(stream);
	return 0;
}

int decompress_stream(struct stream *below, struct stream **ret_stream,
		      enum compression *ret_compression, struct error *err)
{
	return decompress_stream_with(below, NULL, ret_stream, ret_compression, err);
}
