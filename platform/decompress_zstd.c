/*
 * zstd (RFC 8878) by libzstd. Frames that are not large (of pzstd, the seekable format, or files
 * put behind each other) are decoded by several threads; the blocks of one frame depend on each
 * other, so a large frame is decoded by one, straight into the caller's buffer.
 */
#include <stdlib.h>
#include <string.h>

#include "platform/decompress_pool.h"

#include <zstd.h>
#include <zstd_errors.h>

static int zstd_open(struct decoder *self, struct error *err)
{
	self->state = ZSTD_createDStream();
	if (!self->state)
		return decoder_no_memory(self, err);
	/* Windows up to what `zstd --long=27` makes: 128 MiB; more is refused by the library with a
	 * clear word. */
	ZSTD_DCtx_setParameter(self->state, ZSTD_d_windowLogMax, 27);
	return 0;
}

static int zstd_start(struct decoder *self, struct error *err)
{
	size_t result = ZSTD_DCtx_reset(self->state, ZSTD_reset_session_only);
	return ZSTD_isError(result)
		       ? error_set(err, ERROR_BUG, "zstd: %s", ZSTD_getErrorName(result))
		       : 0;
}

static int needs_dictionary(struct error *err)
{
	return error_set(err, ERROR_UNSUPPORTED,
			 "this zstd frame was made with a dictionary, which is not there: compress "
			 "it without (zstd without -D)");
}

static enum step zstd_step(struct decoder *self, uint8_t *out, size_t out_size, size_t *out_used,
			   struct error *err)
{
	ZSTD_inBuffer input = {self->in, self->in_size, self->in_at};
	ZSTD_outBuffer output = {out, out_size, 0};
	size_t result = ZSTD_decompressStream(self->state, &output, &input);
	self->in_at = input.pos;
	*out_used = output.pos;
	if (ZSTD_isError(result)) {
		ZSTD_ErrorCode code = ZSTD_getErrorCode(result);
		if (code == ZSTD_error_frameParameter_windowTooLarge)
			error_set(err, ERROR_UNSUPPORTED,
				  "this zstd frame needs a window of more than 128 MiB: compress "
				  "it with --long=27 or less");
		else if (code == ZSTD_error_memory_allocation)
			decoder_no_memory(self, err);
		else if (code == ZSTD_error_dictionary_wrong)
			needs_dictionary(err);
		else
			decoder_corrupt(self, ZSTD_getErrorName(result), err);
		return STEP_FAILED;
	}
	return result == 0 ? STEP_FRAME_END : STEP_MORE;
}

static void zstd_close(struct decoder *self)
{
	ZSTD_freeDStream(self->state);
}

/* What the header of the first frame tells of its content: more frames may follow. */
static uint64_t zstd_least_bytes(const uint8_t *data, size_t size)
{
	unsigned long long content = ZSTD_getFrameContentSize(data, size);
	return content == ZSTD_CONTENTSIZE_UNKNOWN || content == ZSTD_CONTENTSIZE_ERROR ? 0
											: content;
}

enum {
	BLOCK_MOST = 128 << 10,
	FRAME_HEADER_MOST = 18,
	SKIPPABLE_HEADER_SIZE = 8,
	/* Of a piece: one large frame, or small ones together. */
	CONTENT_MOST = (8 << 20) + BLOCK_MOST,
	CONTENT_TOGETHER = 1 << 20,
	INPUT_MOST = CONTENT_MOST + BLOCK_MOST,
	FRAME_LARGE = 2 /* returned by add_frame() */
};

static uint32_t little_32(const uint8_t *data)
{
	return data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 | (uint32_t)data[3] << 24;
}

static bool is_skippable(const uint8_t *data, size_t size)
{
	return size >= 4 && (little_32(data) & 0xfffffff0) == 0x184d2a50;
}

/* Whether the first frame is one of many, it seems. */
static bool zstd_parallel(const uint8_t *data, size_t size)
{
	return is_skippable(data, size) || ZSTD_getFrameContentSize(data, size) <= CONTENT_MOST;
}

static int ends(struct error *err)
{
	return error_set(err, ERROR_CORRUPT, "the data ends in the middle");
}

/* Moves size bytes more of the frame into the piece. */
static int add_bytes(struct decoder *self, struct piece *piece, size_t size, struct error *err)
{
	size_t need = piece->in_size + size, room = piece->in_room * 2;
	room = room > INPUT_MOST ? INPUT_MOST : room;
	if (need > piece->in_room && piece_in(piece, need > room ? need : room, err) < 0)
		return -1;
	ssize_t got = decoder_take(self, piece->in + piece->in_size, size, err);
	if (got < 0)
		return -1;
	piece->in_size += (size_t)got;
	return (size_t)got < size ? ends(err) : 0;
}

/* RFC 8878, 3.1.1.1: the frame header's length follows from its fifth byte. */
static size_t frame_header_size(uint8_t descriptor)
{
	static const uint8_t dictionary[] = {0, 1, 2, 4}, content[] = {0, 2, 4, 8};
	bool single = descriptor & 0x20;
	size_t size = 5 + !single + dictionary[descriptor & 3] + content[descriptor >> 6];
	return size + (single && descriptor >> 6 == 0);
}

/*
 * Adds the blocks of a frame (RFC 8878, 3.1.1.2) to the piece and to *content what they can hold at
 * most. 1; FRAME_LARGE when that becomes too much, and then the piece has the beginning; -1.
 */
static int add_blocks(struct decoder *self, struct piece *piece, bool checksum, uint64_t *content,
		      struct error *err)
{
	for (;;) {
		if (add_bytes(self, piece, 3, err) < 0)
			return -1;
		const uint8_t *bytes = piece->in + piece->in_size - 3;
		uint32_t header = bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16;
		uint32_t type = header >> 1 & 3, size = header >> 3;
		if (type == 3 || size > BLOCK_MOST)
			return error_set(err, ERROR_CORRUPT, "invalid block");
		if (add_bytes(self, piece, type == 1 ? 1 : size, err) < 0)
			return -1;
		*content += type == 2 ? BLOCK_MOST : size;
		if (header & 1)
			return checksum && add_bytes(self, piece, 4, err) < 0 ? -1 : 1;
		if (*content > CONTENT_MOST || piece->in_size > INPUT_MOST - 2 * BLOCK_MOST)
			return FRAME_LARGE;
	}
}

/* Passes over a skippable frame. */
static int skip_frame(struct decoder *self, uint32_t size, struct error *err)
{
	uint64_t left = (uint64_t)size + SKIPPABLE_HEADER_SIZE;
	while (left > 0) {
		if (decoder_fill(self, err) < 0)
			return -1;
		size_t count = self->in_size - self->in_at;
		if (count == 0)
			return ends(err);
		count = count < left ? count : (size_t)left;
		self->in_at += count;
		left -= count;
	}
	return 1;
}

/*
 * Adds the next frame to the piece: 1. 0: it does not belong into this piece and is still there.
 * FRAME_LARGE: it is not for a piece at all; what was read of it is alone in the piece.
 */
static int add_frame(struct decoder *self, struct piece *piece, struct error *err)
{
	ssize_t there = decoder_peek(self, FRAME_HEADER_MOST, err);
	if (there < 0)
		return -1;
	const uint8_t *header = self->in + self->in_at;
	if (is_skippable(header, (size_t)there))
		return there < SKIPPABLE_HEADER_SIZE ? ends(err)
						     : skip_frame(self, little_32(header + 4), err);
	/* What is no frame, or not all of its header, is for the library to judge. */
	unsigned long long content = ZSTD_getFrameContentSize(header, (size_t)there);
	bool unknown = content == ZSTD_CONTENTSIZE_UNKNOWN;
	bool large = content == ZSTD_CONTENTSIZE_ERROR || (!unknown && content > CONTENT_MOST);
	if (piece->in_size > 0 &&
	    (unknown || large || piece->out_size + content > CONTENT_TOGETHER))
		return 0;
	if (large)
		return FRAME_LARGE;
	bool checksum = header[4] & 4, alone = piece->in_size == 0;
	uint64_t blocks = 0;
	if (add_bytes(self, piece, frame_header_size(header[4]), err) < 0)
		return -1;
	int added = add_blocks(self, piece, checksum, &blocks, err);
	if (added == FRAME_LARGE && !alone)
		return error_set(err, ERROR_CORRUPT, "a frame is larger than its header tells");
	piece->out_size += unknown ? (size_t)blocks : (size_t)content;
	return added;
}

static int zstd_cut(struct decoder *self, struct piece *piece, struct error *err)
{
	if (piece_in(piece, 64 << 10, err) < 0)
		return -1;
	while (piece->out_size < CONTENT_TOGETHER && piece->in_size < CONTENT_TOGETHER) {
		int more = decoder_next_frame(self, err);
		if (more < 0)
			return -1;
		if (more == 0 && piece->in_size == 0)
			return 0;
		if (more == 0)
			break;
		int added = add_frame(self, piece, err);
		if (added < 0)
			return -1;
		if (added == FRAME_LARGE) {
			piece->kind = PIECE_SERIAL;
			return 1;
		}
		if (added == 0) {
			self->frames--; /* it comes again */
			break;
		}
	}
	return piece_out(piece, piece->out_size, err) < 0 ? -1 : 1;
}

static void *frames_open(unsigned count)
{
	(void)count;
	return ZSTD_createDCtx();
}

static void frames_close(void *context)
{
	ZSTD_freeDCtx(context);
}

static void frames_decode(void *context, struct piece *const *pieces, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct piece *piece = pieces[i];
		size_t size = ZSTD_decompressDCtx(context, piece->out, piece->out_size, piece->in,
						  piece->in_size);
		piece->result = 0;
		if (ZSTD_getErrorCode(size) == ZSTD_error_dictionary_wrong)
			piece->result = needs_dictionary(&piece->err);
		else if (ZSTD_isError(size))
			piece->result = error_set(&piece->err, ERROR_CORRUPT, "%s",
						  ZSTD_getErrorName(size));
		else
			piece->out_size = size;
	}
}

static const struct pool_work zstd_work = {
	.cut = zstd_cut,
	.open = frames_open,
	.decode = frames_decode,
	.close = frames_close,
	.piece_bytes = INPUT_MOST + CONTENT_MOST,
	.together = 1,
};

const struct codec codec_zstd = {
	.name = "zstd",
	.open = zstd_open,
	.start = zstd_start,
	.step = zstd_step,
	.close = zstd_close,
	.least_bytes = zstd_least_bytes,
	.work = &zstd_work,
	.parallel = zstd_parallel,
};
