/*
 * bzip2 with several threads. Nothing in the format tells where its blocks begin, and they begin at
 * any bit; but each begins with a magic of 48 bits. So the input is cut where such a magic is seen,
 * the threads decode each piece as if it were a block, and the reader goes through the format from
 * the front, strictly: where it finds a block it takes what a thread made of it. A magic that only
 * happened to be in a block's data is found by that: the piece was too short for its block, and the
 * reader decodes it anew together with the pieces behind it.
 */
#include <isa-l/crc.h>
#include <stdlib.h>
#include <string.h>

#include "platform/decompress_pool.h"

#define MAGIC_BLOCK UINT64_C(0x314159265359)
#define MAGIC_END   UINT64_C(0x177245385090)

enum {
	MAGIC_BITS = 48,
	MAGIC_BYTES = 7, /* that a magic lies in, at whichever bit it begins */
	/* No block is larger: BZIP2_BLOCK_MOST symbols of at most 20 bits, and the tables. */
	BLOCK_BYTES = 2560 << 10
};

/* What a piece begins with. */
enum mark {
	MARK_OTHER,
	MARK_BLOCK,
	MARK_END
};

enum state {
	STATE_HEADER, /* of a stream, or the end */
	STATE_BLOCK,  /* or the end of the stream */
	STATE_OUTPUT  /* of the block in source */
};

struct bzip2 {
	/* While cutting. */
	uint8_t carry[MAGIC_BYTES]; /* what the next piece begins with */
	size_t carry_size;
	enum mark carry_mark;
	unsigned carry_bit;
	bool cut_all;
	/* Bytes that can be the second and third of a magic: one bit for each of the two magics at
	 * each of 8 bits. */
	uint16_t second[256], third[256];

	/* While reading. */
	enum state state;
	uint64_t at; /* bit in the oldest piece */
	uint32_t stream_crc;
	unsigned level;
	unsigned streams;
	struct bzip2_decoder *decoder; /* for blocks that were cut too short */
	uint8_t *out;

	/* The block whose content is being given. */
	const uint8_t *source;
	size_t source_at, source_size, run;
	uint8_t run_byte;
	unsigned same; /* equal bytes before source_at: behind four of them stands a count */
	int last;      /* the byte before source_at, -1 when it counts for nothing */
	uint32_t block_crc, crc;
};

static int bzip2_open(struct decoder *self, struct error *err)
{
	struct bzip2 *bzip2 = self->state = calloc(1, sizeof(*bzip2));
	if (!bzip2)
		return decoder_no_memory(self, err);
	static const uint64_t magics[] = {MAGIC_BLOCK, MAGIC_END};
	for (unsigned i = 0; i < 16; i++) {
		uint64_t bits = magics[i / 8] << 16 >> i % 8;
		bzip2->second[bits >> 48 & 0xff] |= (uint16_t)(1u << i);
		bzip2->third[bits >> 40 & 0xff] |= (uint16_t)(1u << i);
	}
	return 0;
}

/* Which magic begins in the byte at data (7 are there), at a bit not below from. */
static enum mark magic_in(const uint8_t *data, unsigned from, unsigned candidates,
			  unsigned *ret_bit)
{
	uint64_t bits = 0;
	for (unsigned i = 0; i < MAGIC_BYTES; i++)
		bits |= (uint64_t)data[i] << (56 - 8 * i);
	for (unsigned bit = from; bit < 8; bit++) {
		if (!(candidates & 0x101u << bit))
			continue;
		uint64_t found = bits << bit >> (64 - MAGIC_BITS);
		*ret_bit = bit;
		if (found == MAGIC_BLOCK)
			return MARK_BLOCK;
		if (found == MAGIC_END)
			return MARK_END;
	}
	return MARK_OTHER;
}

/* Looks for a magic that begins at bit from_bit or later. Sets *ret_byte to where it begins, or to
 * the first byte not looked at. */
static enum mark find_magic(const struct bzip2 *bzip2, const uint8_t *data, size_t size,
			    uint64_t from_bit, size_t *ret_byte, unsigned *ret_bit)
{
	size_t i = (size_t)(from_bit / 8);
	unsigned from = from_bit % 8;
	for (; i + MAGIC_BYTES <= size; i++, from = 0) {
		unsigned candidates = bzip2->second[data[i + 1]] & bzip2->third[data[i + 2]];
		if (candidates == 0)
			continue;
		enum mark mark = magic_in(data + i, from, candidates, ret_bit);
		if (mark != MARK_OTHER) {
			*ret_byte = i;
			return mark;
		}
	}
	*ret_byte = i;
	return MARK_OTHER;
}

/* The piece ends before bit bit of byte byte, where the next begins. */
static void end_piece(struct bzip2 *bzip2, struct piece *piece, size_t byte, unsigned bit,
		      enum mark mark)
{
	size_t count = piece->in_size - byte;
	bzip2->carry_size = count < MAGIC_BYTES ? count : MAGIC_BYTES;
	memcpy(bzip2->carry, piece->in + byte, bzip2->carry_size);
	bzip2->carry_mark = mark;
	bzip2->carry_bit = bit;
	piece->end_bit = (uint64_t)byte * 8 + bit;
	piece->in_size = byte + (bit > 0);
}

/* Moves what there is of the input behind the piece. Returns how much, 0 at the end. */
static ssize_t add_input(struct decoder *self, struct piece *piece, struct error *err)
{
	if (decoder_fill(self, err) < 0)
		return -1;
	size_t count = self->in_size - self->in_at;
	if (piece->in_size + count > BLOCK_BYTES)
		count = BLOCK_BYTES - piece->in_size;
	size_t need = piece->in_size + count;
	size_t room = piece->in_room * 2 > BLOCK_BYTES ? BLOCK_BYTES : piece->in_room * 2;
	if (need > piece->in_room && piece_in(piece, need > room ? need : room, err) < 0)
		return -1;
	memcpy(piece->in + piece->in_size, self->in + self->in_at, count);
	piece->in_size += count;
	self->in_at += count;
	return (ssize_t)count;
}

static int bzip2_cut(struct decoder *self, struct piece *piece, struct error *err)
{
	struct bzip2 *bzip2 = self->state;
	if (bzip2->cut_all)
		return 0;
	if (piece_in(piece, MAGIC_BYTES, err) < 0 || piece_out(piece, BZIP2_BLOCK_MOST, err) < 0)
		return -1;
	memcpy(piece->in, bzip2->carry, bzip2->carry_size);
	piece->in_size = bzip2->carry_size;
	piece->mark = bzip2->carry_mark;
	piece->start_bit = bzip2->carry_bit;
	uint64_t from = piece->start_bit + (piece->mark != MARK_OTHER);
	while (piece->in_size < BLOCK_BYTES) {
		ssize_t added = add_input(self, piece, err);
		if (added < 0)
			return -1;
		if (added == 0) {
			bzip2->cut_all = true;
			piece->end_bit = (uint64_t)piece->in_size * 8;
			return 1;
		}
		size_t byte;
		unsigned bit = 0;
		enum mark mark = find_magic(bzip2, piece->in, piece->in_size, from, &byte, &bit);
		if (mark != MARK_OTHER) {
			/* What was read behind the magic goes back: it came just now. */
			self->in_at -= piece->in_size - (byte + MAGIC_BYTES);
			piece->in_size = byte + MAGIC_BYTES;
			end_piece(bzip2, piece, byte, bit, mark);
			return 1;
		}
		if ((uint64_t)byte * 8 > from)
			from = (uint64_t)byte * 8;
	}
	/* No block is so long: the reader will say so, or the zeros behind the end are many. */
	end_piece(bzip2, piece, piece->in_size - (MAGIC_BYTES - 1), 0, MARK_OTHER);
	return 1;
}

static void *bzip2_context(unsigned count)
{
	return bzip2_decoder_new(count);
}

static void bzip2_context_free(void *context)
{
	bzip2_decoder_free(context);
}

static void bzip2_decode_pieces(void *context, struct piece *const *pieces, unsigned count)
{
	struct bzip2_block *blocks[POOL_TOGETHER_MOST];
	unsigned block_count = 0;
	for (unsigned i = 0; i < count; i++) {
		struct piece *piece = pieces[i];
		piece->result = 0;
		if (piece->mark != MARK_BLOCK)
			continue;
		piece->block = (struct bzip2_block){.data = piece->in,
						    .size = piece->in_size,
						    .start_bit = piece->start_bit,
						    .out = piece->out};
		blocks[block_count++] = &piece->block;
	}
	bzip2_decode(context, blocks, block_count);
}

static const struct pool_work bzip2_work = {
	.cut = bzip2_cut,
	.open = bzip2_context,
	.decode = bzip2_decode_pieces,
	.close = bzip2_context_free,
	.piece_bytes = BLOCK_BYTES + BZIP2_BLOCK_MOST,
	.together = BZIP2_BLOCKS_TOGETHER,
};

/* --- the reader ----------------------------------------------------------------------------- */

static ssize_t corrupt(struct decoder *self, const char *what, struct error *err)
{
	decoder_corrupt(self, what, err);
	return -1;
}

/* The oldest piece, with something of it left to read: 1; 0 at the end; -1. */
static int piece_with_rest(struct decoder *self, struct piece **ret_piece, struct error *err)
{
	struct bzip2 *bzip2 = self->state;
	for (;;) {
		struct piece *piece = pool_next(self->pool);
		if (piece->result < 0) {
			*err = piece->err;
			return decoder_wrap(self, err);
		}
		if (piece->kind == PIECE_END)
			return 0;
		if (bzip2->at < piece->start_bit)
			bzip2->at = piece->start_bit;
		if (bzip2->at < piece->end_bit) {
			*ret_piece = piece;
			return 1;
		}
		/* A block may end a few bits into the next piece, when that began with no block. */
		uint64_t beyond = bzip2->at - piece->end_bit;
		pool_release(self->pool);
		struct piece *next = pool_next(self->pool);
		bzip2->at = beyond == 0 || next->kind == PIECE_END ? 0 : next->start_bit + beyond;
	}
}

/* 1 to 48 bits: 1 when they were there, 0 at the end of the data. */
static int take_bits(struct decoder *self, unsigned count, uint64_t *ret_value, struct error *err)
{
	struct bzip2 *bzip2 = self->state;
	uint64_t value = 0;
	while (count > 0) {
		struct piece *piece;
		int more = piece_with_rest(self, &piece, err);
		if (more <= 0)
			return more;
		for (; count > 0 && bzip2->at < piece->end_bit; count--, bzip2->at++)
			value = value << 1 | (piece->in[bzip2->at / 8] >> (7 - bzip2->at % 8) & 1);
	}
	*ret_value = value;
	return 1;
}

/* The same where the data must not end. */
static int need_bits(struct decoder *self, unsigned count, uint64_t *ret_value, struct error *err)
{
	int there = take_bits(self, count, ret_value, err);
	return there == 0 ? (int)corrupt(self, "the data ends in the middle", err) : there;
}

/* Behind a stream: zeros to the end. Returns 0, or -1. */
static int skip_padding(struct decoder *self, struct error *err)
{
	struct bzip2 *bzip2 = self->state;
	for (;;) {
		struct piece *piece;
		int more = piece_with_rest(self, &piece, err);
		if (more <= 0)
			return more;
		for (uint64_t byte = bzip2->at / 8; byte < (piece->end_bit + 7) / 8; byte++)
			if (piece->in[byte] != 0)
				return error_set(err, ERROR_CORRUPT,
						 "garbage behind the end of the bzip2 data");
		bzip2->at = piece->end_bit;
	}
}

/* 1 when a stream begins, 0 at the verified end, -1. */
static int read_header(struct decoder *self, struct error *err)
{
	struct bzip2 *bzip2 = self->state;
	uint64_t byte, rest;
	bzip2->at = (bzip2->at + 7) / 8 * 8;
	int there = take_bits(self, 8, &byte, err);
	if (there <= 0)
		return there;
	if (bzip2->streams > 0 && byte == 0)
		return skip_padding(self, err);
	if (byte != 'B')
		return error_set(err, ERROR_CORRUPT, "garbage behind the end of the bzip2 data");
	if (bzip2->streams > 0 && decoder_may_go_on(self, err) < 0)
		return -1;
	if (need_bits(self, 24, &rest, err) < 0)
		return -1;
	if (rest >> 8 != ('Z' << 8 | 'h') || (rest & 0xff) < '1' || (rest & 0xff) > '9')
		return error_set(err, ERROR_CORRUPT, "garbage behind the end of the bzip2 data");
	bzip2->level = (unsigned)(rest & 0xff) - '0';
	bzip2->stream_crc = 0;
	bzip2->streams++;
	bzip2->state = STATE_BLOCK;
	return 1;
}

static int start_block(struct decoder *self, const struct bzip2_block *block, struct error *err)
{
	struct bzip2 *bzip2 = self->state;
	if (block->result == BZIP2_RANDOMISED)
		return error_set(err, ERROR_UNSUPPORTED,
				 "this bzip2 data has randomised blocks, which bzip2 before 0.9.5 "
				 "wrote: compress it with a newer one");
	if (block->result != BZIP2_GOOD || block->out_size > bzip2->level * 100000)
		return (int)corrupt(self, "invalid block", err);
	bzip2->source = block->out;
	bzip2->source_size = block->out_size;
	bzip2->source_at = bzip2->run = 0;
	bzip2->same = 0;
	bzip2->last = -1;
	bzip2->crc = 0;
	bzip2->block_crc = block->crc;
	bzip2->stream_crc = (bzip2->stream_crc << 1 | bzip2->stream_crc >> 31) ^ block->crc;
	bzip2->state = STATE_OUTPUT;
	return 1;
}

/* A block that is longer than its piece, which was cut at what only looked like a magic: decodes it
 * together with the pieces behind it. */
static int join_pieces(struct decoder *self, struct error *err)
{
	struct bzip2 *bzip2 = self->state;
	struct piece *piece = pool_next(self->pool);
	uint8_t *joined = malloc(2 * BLOCK_BYTES);
	if (!bzip2->decoder)
		bzip2->decoder = bzip2_decoder_new(1);
	if (!bzip2->out)
		bzip2->out = malloc(BZIP2_BLOCK_MOST);
	if (!joined || !bzip2->decoder || !bzip2->out) {
		free(joined);
		return decoder_no_memory(self, err);
	}
	struct bzip2_block block = {.data = joined,
				    .start_bit = piece->start_bit,
				    .out = bzip2->out,
				    .result = BZIP2_SHORT};
	int result = -1;
	size_t base = 0;
	for (;;) {
		memcpy(joined + base, piece->in, piece->in_size);
		block.size = base + piece->in_size;
		struct bzip2_block *blocks[] = {&block};
		bzip2_decode(bzip2->decoder, blocks, 1);
		if (block.result != BZIP2_SHORT) {
			bzip2->at = block.end_bit - (uint64_t)base * 8;
			result = start_block(self, &block, err);
			break;
		}
		base += (size_t)(piece->end_bit / 8);
		if (base > BLOCK_BYTES) {
			corrupt(self, "invalid block", err);
			break;
		}
		pool_release(self->pool);
		piece = pool_next(self->pool);
		if (piece->result < 0) {
			*err = piece->err;
			decoder_wrap(self, err);
			break;
		}
		if (piece->kind == PIECE_END) {
			corrupt(self, "the data ends in the middle", err);
			break;
		}
	}
	free(joined);
	return result;
}

static int read_block(struct decoder *self, struct error *err)
{
	struct bzip2 *bzip2 = self->state;
	struct piece *piece;
	int there = piece_with_rest(self, &piece, err);
	if (there < 0)
		return -1;
	if (there > 0 && piece->mark == MARK_BLOCK && bzip2->at == piece->start_bit) {
		if (piece->block.result == BZIP2_SHORT)
			return join_pieces(self, err);
		bzip2->at = piece->block.end_bit;
		return start_block(self, &piece->block, err);
	}
	uint64_t magic, crc;
	if (need_bits(self, MAGIC_BITS, &magic, err) < 0)
		return -1;
	if (magic == MAGIC_BLOCK) /* seen by nobody: there were not 7 bytes */
		return (int)corrupt(self, "the data ends in the middle", err);
	if (magic != MAGIC_END)
		return (int)corrupt(self, "no block where one must be", err);
	if (need_bits(self, 32, &crc, err) < 0)
		return -1;
	if (crc != bzip2->stream_crc)
		return (int)corrupt(self, "the checksum of all blocks is wrong", err);
	bzip2->state = STATE_HEADER;
	return 1;
}

/* Undoes the run-length coding of the block: four equal bytes are followed by how many more there
 * are. */
static size_t give(struct bzip2 *bzip2, uint8_t *data, size_t size)
{
	const uint8_t *source = bzip2->source;
	size_t have = 0, at = bzip2->source_at;
	while (have < size) {
		if (bzip2->run > 0) {
			size_t count = bzip2->run < size - have ? bzip2->run : size - have;
			memset(data + have, bzip2->run_byte, count);
			bzip2->run -= count;
			have += count;
			continue;
		}
		size_t left = bzip2->source_size - at, room = size - have;
		size_t end = at + (left < room ? left : room);
		unsigned same = bzip2->same;
		int last = bzip2->last;
		while (at < end && same < 4) {
			int byte = source[at++];
			data[have++] = (uint8_t)byte;
			same = byte == last ? same + 1 : 1;
			last = byte;
		}
		if (same == 4 && at < bzip2->source_size) {
			bzip2->run = source[at++];
			bzip2->run_byte = (uint8_t)last;
			same = 0;
			last = -1;
		}
		bzip2->same = same;
		bzip2->last = last;
		if (at == bzip2->source_size && bzip2->run == 0)
			break;
	}
	bzip2->source_at = at;
	bzip2->crc = crc32_ieee(bzip2->crc, data, have);
	return have;
}

static ssize_t read_output(struct decoder *self, void *data, size_t size, struct error *err)
{
	struct bzip2 *bzip2 = self->state;
	size_t have = give(bzip2, data, size);
	if (have > 0)
		return (ssize_t)have;
	if (bzip2->same == 4)
		return corrupt(self, "a block ends within a run", err);
	if (bzip2->crc != bzip2->block_crc)
		return corrupt(self, "the checksum of a block is wrong", err);
	bzip2->state = STATE_BLOCK;
	return 0;
}

static ssize_t bzip2_read(struct decoder *self, void *data, size_t size, struct error *err)
{
	struct bzip2 *bzip2 = self->state;
	if (!self->pool && pool_open(self, &bzip2_work, &self->pool, err) < 0)
		return -1;
	for (;;) {
		if (bzip2->state == STATE_OUTPUT) {
			ssize_t got = read_output(self, data, size, err);
			if (got != 0)
				return got;
			continue;
		}
		int more = bzip2->state == STATE_HEADER ? read_header(self, err)
							: read_block(self, err);
		if (more <= 0)
			return more;
	}
}

static void bzip2_close(struct decoder *self)
{
	struct bzip2 *bzip2 = self->state;
	if (bzip2) {
		bzip2_decoder_free(bzip2->decoder);
		free(bzip2->out);
	}
	free(bzip2);
}

const struct codec codec_bzip2 = {
	.name = "bzip2", .open = bzip2_open, .close = bzip2_close, .read = bzip2_read};
