/*
 * gzip (RFC 1952) by ISA-L's inflate, the fastest there is (tests/bench/decode). Headers are read
 * here, for they may be cut anywhere; the trailer's CRC-32 and length are checked by the library.
 *
 * The members that bgzip writes (BGZF: SAM format specification, 4.1) tell their length in the
 * header, and are decoded by several threads.
 */
#include "platform/decompress_pool.h"

#include <isa-l/crc.h>
#include <isa-l/igzip_lib.h>
#include <stdlib.h>
#include <string.h>

/* RFC 1952, 2.3.1. */
enum {
	FLAG_HEADER_CRC = 2,
	FLAG_EXTRA = 4,
	FLAG_NAME = 8,
	FLAG_COMMENT = 16,
	FLAGS_RESERVED = 0xe0,
	FIXED_SIZE = 10
};

/* What of the header comes next. */
enum part {
	PART_FIXED,
	PART_EXTRA_SIZE,
	PART_EXTRA,
	PART_NAME,
	PART_COMMENT,
	PART_CRC,
	PART_BODY
};

struct gzip {
	enum part part;
	size_t have;  /* bytes of the part that were there */
	uint32_t crc; /* of the header so far */
	uint8_t flags;
	uint8_t fixed[FIXED_SIZE];
	uint8_t little[2]; /* a number of two bytes */
	size_t extra_size;
	struct inflate_state inflate;
};

static int gzip_open(struct decoder *self, struct error *err)
{
	/* The library wants no alignment of its own; zeroed, for it reads what it never set. */
	self->state = calloc(1, sizeof(struct gzip));
	return self->state ? 0 : decoder_no_memory(self, err);
}

static int gzip_start(struct decoder *self, struct error *err)
{
	(void)err;
	struct gzip *gzip = self->state;
	gzip->part = PART_FIXED;
	gzip->have = 0;
	gzip->crc = 0;
	isal_inflate_reset(&gzip->inflate);
	gzip->inflate.crc_flag = ISAL_GZIP_NO_HDR_VER;
	return 0;
}

/* Collects size bytes into data over calls; true when all are there. */
static bool collect(struct gzip *gzip, struct decoder *self, uint8_t *data, size_t size)
{
	size_t count = self->in_size - self->in_at;
	if (count > size - gzip->have)
		count = size - gzip->have;
	memcpy(data + gzip->have, self->in + self->in_at, count);
	self->in_at += count;
	gzip->have += count;
	return gzip->have == size;
}

/* Moves behind the zero that ends a text; true when it was there. */
static bool skip_text(struct decoder *self)
{
	size_t left = self->in_size - self->in_at;
	const uint8_t *zero = memchr(self->in + self->in_at, 0, left);
	self->in_at = zero ? (size_t)(zero + 1 - self->in) : self->in_size;
	return zero != NULL;
}

static const char *judge_fixed(struct gzip *gzip)
{
	static const uint8_t magic[] = {0x1f, 0x8b, 8};
	if (memcmp(gzip->fixed, magic, sizeof(magic)) != 0)
		return "no gzip header";
	gzip->flags = gzip->fixed[3];
	return gzip->flags & FLAGS_RESERVED ? "unknown flags in the header" : NULL;
}

/* One part of the header. True when it is whole (or *ret_wrong is set). */
static bool header_part(struct decoder *self, const char **ret_wrong)
{
	struct gzip *gzip = self->state;
	switch (gzip->part) {
	case PART_FIXED:
		if (!collect(gzip, self, gzip->fixed, FIXED_SIZE))
			return false;
		*ret_wrong = judge_fixed(gzip);
		return true;
	case PART_EXTRA_SIZE:
		if ((gzip->flags & FLAG_EXTRA) && !collect(gzip, self, gzip->little, 2))
			return false;
		gzip->extra_size = gzip->flags & FLAG_EXTRA
					   ? gzip->little[0] | (size_t)gzip->little[1] << 8
					   : 0;
		return true;
	case PART_EXTRA: {
		size_t left = self->in_size - self->in_at, want = gzip->extra_size - gzip->have;
		gzip->have += left < want ? left : want;
		self->in_at += left < want ? left : want;
		return gzip->have == gzip->extra_size;
	}
	case PART_NAME:
		return !(gzip->flags & FLAG_NAME) || skip_text(self);
	case PART_COMMENT:
		return !(gzip->flags & FLAG_COMMENT) || skip_text(self);
	case PART_CRC:
		if (!(gzip->flags & FLAG_HEADER_CRC))
			return true;
		if (!collect(gzip, self, gzip->little, 2))
			return false;
		if ((gzip->little[0] | (uint32_t)gzip->little[1] << 8) != (gzip->crc & 0xffff))
			*ret_wrong = "the header's checksum is wrong";
		return true;
	case PART_BODY:
		break;
	}
	return false;
}

/* Reads on in the header. NULL, or what is wrong with it. */
static const char *read_header(struct decoder *self)
{
	struct gzip *gzip = self->state;
	const char *wrong = NULL;
	while (gzip->part != PART_BODY) {
		const uint8_t *from = self->in + self->in_at;
		bool whole = header_part(self, &wrong);
		if (gzip->part != PART_CRC)
			gzip->crc = crc32_gzip_refl(gzip->crc, from,
						    (uint64_t)(self->in + self->in_at - from));
		if (!whole || wrong)
			break;
		gzip->part++;
		gzip->have = 0;
	}
	return wrong;
}

static const char *why(int result)
{
	switch (result) {
	case ISAL_INVALID_BLOCK:
		return "invalid block";
	case ISAL_INVALID_SYMBOL:
		return "invalid symbol";
	case ISAL_INVALID_LOOKBACK:
		return "a reference to before the beginning";
	case ISAL_INCORRECT_CHECKSUM:
		return "checksum or length is wrong";
	default:
		return "invalid";
	}
}

static enum step gzip_step(struct decoder *self, uint8_t *out, size_t out_size, size_t *out_used,
			   struct error *err)
{
	struct gzip *gzip = self->state;
	if (gzip->part != PART_BODY) {
		const char *wrong = read_header(self);
		if (wrong)
			return decoder_corrupt(self, wrong, err);
		if (gzip->part != PART_BODY)
			return STEP_MORE;
	}
	struct inflate_state *inflate = &gzip->inflate;
	inflate->next_in = (uint8_t *)(uintptr_t)(self->in + self->in_at);
	inflate->avail_in = (uint32_t)(self->in_size - self->in_at);
	inflate->next_out = out;
	inflate->avail_out = (uint32_t)(out_size < (1u << 30) ? out_size : (1u << 30));
	uint32_t room = inflate->avail_out;
	int result = isal_inflate(inflate);
	self->in_at = self->in_size - inflate->avail_in;
	*out_used = room - inflate->avail_out;
	if (result < 0)
		return decoder_corrupt(self, why(result), err);
	return inflate->block_state == ISAL_BLOCK_FINISH ? STEP_FRAME_END : STEP_MORE;
}

static void gzip_close(struct decoder *self)
{
	free(self->state);
}

enum {
	BGZF_HEADER_SIZE = 18,
	BGZF_MEMBER_LEAST = BGZF_HEADER_SIZE + 2 + 8,
	BGZF_CONTENT_MOST = 64 << 10, /* of a member */
	BGZF_MEMBERS = 16             /* in a piece */
};

static bool is_bgzf(const uint8_t *data, size_t size)
{
	static const uint8_t extra[] = {6, 0, 'B', 'C', 2, 0};
	return size >= BGZF_HEADER_SIZE && data[0] == 0x1f && data[1] == 0x8b && data[2] == 8 &&
	       data[3] == FLAG_EXTRA && memcmp(data + 10, extra, sizeof(extra)) == 0;
}

static size_t member_size(const uint8_t *header)
{
	return (header[16] | (size_t)header[17] << 8) + 1;
}

static uint32_t little_32(const uint8_t *data)
{
	return data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 | (uint32_t)data[3] << 24;
}

/* Adds the next member to the piece: 1, 0 when it is another kind of member, -1. */
static int add_member(struct decoder *self, struct piece *piece, struct error *err)
{
	ssize_t there = decoder_peek(self, BGZF_HEADER_SIZE, err);
	if (there < 0)
		return -1;
	const uint8_t *header = self->in + self->in_at;
	if (!is_bgzf(header, (size_t)there))
		return 0;
	size_t size = member_size(header);
	if (size < BGZF_MEMBER_LEAST)
		return error_set(err, ERROR_CORRUPT, "a member is too short");
	if (piece_in(piece, piece->in_size + size, err) < 0)
		return -1;
	ssize_t got = decoder_take(self, piece->in + piece->in_size, size, err);
	if (got < 0)
		return -1;
	if ((size_t)got < size)
		return error_set(err, ERROR_CORRUPT, "the data ends in the middle");
	piece->in_size += size;
	uint32_t content = little_32(piece->in + piece->in_size - 4);
	if (content > BGZF_CONTENT_MOST)
		return error_set(err, ERROR_CORRUPT, "a member tells a wrong length");
	piece->out_size += content;
	return 1;
}

static int gzip_cut(struct decoder *self, struct piece *piece, struct error *err)
{
	if (piece_in(piece, BGZF_MEMBERS * (32 << 10), err) < 0 ||
	    piece_out(piece, BGZF_MEMBERS * BGZF_CONTENT_MOST, err) < 0)
		return -1;
	for (unsigned i = 0; i < BGZF_MEMBERS; i++) {
		int more = decoder_next_frame(self, err);
		if (more < 0)
			return -1;
		if (more == 0)
			return i > 0;
		int added = add_member(self, piece, err);
		if (added < 0)
			return -1;
		if (added == 0 && i == 0) {
			piece->kind = PIECE_SERIAL;
			return 1;
		}
		if (added == 0) {
			self->frames--; /* it comes again */
			return 1;
		}
	}
	return 1;
}

static void *bgzf_open(unsigned count)
{
	(void)count;
	return calloc(1, sizeof(struct inflate_state));
}

static int bgzf_decode(struct inflate_state *inflate, struct piece *piece)
{
	size_t at = 0, out_at = 0;
	while (at < piece->in_size) {
		size_t size = member_size(piece->in + at);
		uint32_t content = little_32(piece->in + at + size - 4);
		isal_inflate_init(inflate);
		inflate->crc_flag = ISAL_GZIP_NO_HDR_VER;
		inflate->next_in = piece->in + at + BGZF_HEADER_SIZE;
		inflate->avail_in = (uint32_t)(size - BGZF_HEADER_SIZE);
		inflate->next_out = piece->out + out_at;
		inflate->avail_out = content;
		int result = isal_inflate_stateless(inflate);
		if (result != ISAL_DECOMP_OK)
			return error_set(&piece->err, ERROR_CORRUPT, "%s", why(result));
		if (inflate->avail_in > 0 || inflate->avail_out > 0)
			return error_set(&piece->err, ERROR_CORRUPT,
					 "a member tells a wrong length");
		at += size;
		out_at += content;
	}
	return 0;
}

static void bgzf_decode_pieces(void *context, struct piece *const *pieces, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		pieces[i]->result = bgzf_decode(context, pieces[i]);
}

static const struct pool_work gzip_work = {
	.cut = gzip_cut,
	.open = bgzf_open,
	.decode = bgzf_decode_pieces,
	.close = free,
	.piece_bytes = 2 * BGZF_MEMBERS * BGZF_CONTENT_MOST,
	.together = 1,
};

const struct codec codec_gzip = {
	.name = "gzip",
	.open = gzip_open,
	.start = gzip_start,
	.step = gzip_step,
	.close = gzip_close,
	.work = &gzip_work,
	.parallel = is_bgzf,
};
