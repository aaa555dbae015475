/*
 * A block of bzip2 in two steps. First Huffman codes, run lengths of zeros and move-to-front give
 * the last column of the sorted rotations; then the rotation is undone by following a chain of
 * links all over the block. The chain waits for the memory at each step, so several blocks' chains
 * are followed at the same time.
 */
#include "platform/decompress_bzip2.h"

#include <endian.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
	ALPHABET_MOST = 258,
	GROUPS_MOST = 6,
	GROUP_SYMBOLS = 50,
	SELECTORS_MOST = 18002, /* that a block can use; more may be there and are passed over */
	LENGTH_MOST = 20,
	FAST_BITS = 10
};

/* Bits from the highest down. Behind the end there are zeros; position() tells. */
struct bits {
	const uint8_t *data;
	size_t size, at;
	uint64_t value; /* the next count bits, at the top */
	unsigned count;
};

struct code {
	uint16_t fast[1 << FAST_BITS]; /* symbol << 5 | length, 0 when longer */
	uint64_t limit[LENGTH_MOST +
		       2]; /* behind the last code of each length, at the top of 32 bits */
	int32_t base[LENGTH_MOST + 2]; /* code minus this is the index into symbols */
	uint16_t symbols[ALPHABET_MOST];
	unsigned shortest, longest, count;
};

struct bzip2_decoder {
	struct bits bits;
	struct code codes[GROUPS_MOST];
	uint8_t lengths[GROUPS_MOST][ALPHABET_MOST];
	uint8_t selectors[SELECTORS_MOST];
	unsigned group_count, selector_count, alphabet;
	uint8_t front[256]; /* move-to-front list of bytes */
	uint32_t counts[256];
	uint32_t *links[BZIP2_BLOCKS_TOGETHER];
	uint32_t first[BZIP2_BLOCKS_TOGETHER];
};

static void refill(struct bits *bits)
{
	if (bits->size >= 8 && bits->at <= bits->size - 8) {
		uint64_t next;
		memcpy(&next, bits->data + bits->at, sizeof(next));
		bits->value |= be64toh(next) >> bits->count;
		bits->at += (63 - bits->count) / 8;
		bits->count |= 56;
		return;
	}
	while (bits->count <= 56) {
		uint64_t byte = bits->at < bits->size ? bits->data[bits->at] : 0;
		bits->value |= byte << (56 - bits->count);
		bits->at++;
		bits->count += 8;
	}
}

static uint64_t position(const struct bits *bits)
{
	return (uint64_t)bits->at * 8 - bits->count;
}

static void drop(struct bits *bits, unsigned count)
{
	bits->value <<= count;
	bits->count -= count;
}

/* 1 to 32 bits. */
static uint32_t take(struct bits *bits, unsigned count)
{
	if (bits->count < count)
		refill(bits);
	uint32_t value = (uint32_t)(bits->value >> (64 - count));
	drop(bits, count);
	return value;
}

static bool seek(struct bits *bits, uint64_t position_bit)
{
	bits->at = (size_t)(position_bit / 8);
	bits->value = 0;
	bits->count = 0;
	if (bits->at >= bits->size)
		return false;
	refill(bits);
	drop(bits, position_bit % 8);
	return true;
}

/* Which bytes occur, into front, in order. */
static bool read_alphabet(struct bzip2_decoder *self)
{
	uint32_t ranges = take(&self->bits, 16);
	unsigned count = 0;
	for (unsigned i = 0; i < 16; i++) {
		if (!(ranges & 0x8000u >> i))
			continue;
		uint32_t used = take(&self->bits, 16);
		for (unsigned j = 0; j < 16; j++)
			if (used & 0x8000u >> j)
				self->front[count++] = (uint8_t)(i * 16 + j);
	}
	self->alphabet = count + 2;
	return count > 0;
}

/* Which code each group of 50 symbols uses: themselves move-to-front coded, in unary. */
static bool read_selectors(struct bzip2_decoder *self)
{
	self->group_count = take(&self->bits, 3);
	self->selector_count = take(&self->bits, 15);
	if (self->group_count < 2 || self->group_count > GROUPS_MOST || self->selector_count == 0)
		return false;
	uint8_t order[GROUPS_MOST] = {0, 1, 2, 3, 4, 5};
	for (unsigned i = 0; i < self->selector_count; i++) {
		unsigned place = 0;
		while (take(&self->bits, 1))
			if (++place >= self->group_count)
				return false;
		uint8_t selector = order[place];
		memmove(order + 1, order, place);
		order[0] = selector;
		if (i < SELECTORS_MOST)
			self->selectors[i] = selector;
	}
	if (self->selector_count > SELECTORS_MOST)
		self->selector_count = SELECTORS_MOST;
	return true;
}

static bool read_lengths(struct bzip2_decoder *self, uint8_t *lengths)
{
	unsigned length = take(&self->bits, 5);
	for (unsigned i = 0; i < self->alphabet; i++) {
		for (;;) {
			if (length < 1 || length > LENGTH_MOST)
				return false;
			if (!take(&self->bits, 1))
				break;
			length += take(&self->bits, 1) ? -1u : 1u;
			if (position(&self->bits) > (uint64_t)self->bits.size * 8)
				return false;
		}
		lengths[i] = (uint8_t)length;
	}
	return true;
}

/* The length of the code that the 32 bits begin with; more than the longest when there is none. */
static unsigned length_of(const struct code *code, uint32_t bits)
{
	unsigned length = code->shortest;
	while (length <= code->longest && bits >= code->limit[length])
		length++;
	return length;
}

/* Canonical codes: by length, then by symbol. */
static bool make_code(struct code *code, const uint8_t *lengths, unsigned alphabet)
{
	unsigned counts[LENGTH_MOST + 1] = {0};
	code->shortest = LENGTH_MOST;
	code->longest = 0;
	for (unsigned i = 0; i < alphabet; i++) {
		counts[lengths[i]]++;
		code->shortest = lengths[i] < code->shortest ? lengths[i] : code->shortest;
		code->longest = lengths[i] > code->longest ? lengths[i] : code->longest;
	}
	uint64_t next = 0;
	code->count = 0;
	for (unsigned length = code->shortest; length <= code->longest; length++) {
		code->base[length] = (int32_t)next - (int32_t)code->count;
		for (unsigned i = 0; i < alphabet; i++)
			if (lengths[i] == length)
				code->symbols[code->count++] = (uint16_t)i;
		next += counts[length];
		if (next > UINT64_C(1) << length)
			return false; /* more codes than there can be */
		code->limit[length] = next << (32 - length);
		next <<= 1;
	}
	for (uint32_t i = 0; i < 1 << FAST_BITS; i++) {
		uint32_t bits = i << (32 - FAST_BITS);
		unsigned length = length_of(code, bits);
		code->fast[i] = 0;
		if (length <= FAST_BITS && length <= code->longest) {
			uint32_t index =
				(uint32_t)((int32_t)(bits >> (32 - length)) - code->base[length]);
			code->fast[i] = (uint16_t)(code->symbols[index] << 5 | length);
		}
	}
	return true;
}

/* A symbol whose code is longer than the table knows, or none: -1. */
static int slow_symbol(const struct code *code, struct bits *bits)
{
	uint32_t next = (uint32_t)(bits->value >> 32);
	unsigned length = length_of(code, next);
	if (length > code->longest)
		return -1;
	int32_t index = (int32_t)(next >> (32 - length)) - code->base[length];
	if (index < 0 || index >= (int32_t)code->count)
		return -1;
	drop(bits, length);
	return code->symbols[index];
}

static inline int next_symbol(const struct code *code, struct bits *bits)
{
	if (bits->count < LENGTH_MOST)
		refill(bits);
	unsigned entry = code->fast[bits->value >> (64 - FAST_BITS)];
	if (entry == 0)
		return slow_symbol(code, bits);
	drop(bits, entry & 31);
	return (int)(entry >> 5);
}

/* By words of our own: musl's memmove goes upwards by `rep movs` with the direction flag set, which
 * takes half of all the time that the decoder has. */
static inline uint8_t to_front(uint8_t *front, unsigned place)
{
	uint8_t byte = front[place];
	for (; place >= 8; place -= 8) {
		uint64_t word;
		memcpy(&word, front + place - 8, 8);
		memcpy(front + place - 7, &word, 8);
	}
	for (; place > 0; place--)
		front[place] = front[place - 1];
	front[0] = byte;
	return byte;
}

/* The last column, one byte in each link. Returns how many, 0 when it is not one. */
static size_t read_column(struct bzip2_decoder *self, uint32_t *links)
{
	enum {
		RUN_A,
		RUN_B
	};
	const int end = (int)self->alphabet - 1;
	struct bits bits = self->bits;
	size_t have = 0, run = 0;
	unsigned run_bit = 0;
	memset(self->counts, 0, sizeof(self->counts));
	for (unsigned group = 0; group < self->selector_count; group++) {
		const struct code *code = &self->codes[self->selectors[group]];
		for (unsigned i = 0; i < GROUP_SYMBOLS; i++) {
			int symbol = next_symbol(code, &bits);
			if (symbol == RUN_A || symbol == RUN_B) {
				/* A number in digits 1 and 2, the lowest first. */
				if (run_bit > 20)
					goto wrong;
				run += (size_t)(symbol + 1) << run_bit++;
				continue;
			}
			if (run > 0) {
				if (run > BZIP2_BLOCK_MOST - have)
					goto wrong;
				uint8_t byte = self->front[0];
				self->counts[byte] += (uint32_t)run;
				for (; run > 0; run--)
					links[have++] = byte;
				run_bit = 0;
			}
			if (symbol == end) {
				self->bits = bits;
				return have;
			}
			if (symbol < 0 || have == BZIP2_BLOCK_MOST)
				goto wrong;
			uint8_t byte = to_front(self->front, (unsigned)symbol - 1);
			self->counts[byte]++;
			links[have++] = byte;
		}
	}
wrong:
	self->bits = bits;
	return 0;
}

/* Puts into the upper bits of each link where the chain goes on. */
static void make_links(struct bzip2_decoder *self, uint32_t *links, size_t size)
{
	uint32_t sum = 0;
	for (unsigned i = 0; i < 256; i++) {
		uint32_t count = self->counts[i];
		self->counts[i] = sum;
		sum += count;
	}
	for (uint32_t i = 0; i < size; i++)
		links[self->counts[links[i] & 0xff]++] |= i << 8;
}

static enum bzip2_result read_block(struct bzip2_decoder *self, struct bzip2_block *block,
				    unsigned slot)
{
	uint32_t *links = self->links[slot];
	struct bits *bits = &self->bits;
	*bits = (struct bits){.data = block->data, .size = block->size};
	if (!seek(bits, block->start_bit))
		return BZIP2_CORRUPT;
	take(bits, 24);
	take(bits, 24); /* the magic: the caller has seen it */
	block->crc = take(bits, 32);
	if (take(bits, 1))
		return BZIP2_RANDOMISED;
	uint32_t origin = take(bits, 24);
	if (!read_alphabet(self) || !read_selectors(self))
		return BZIP2_CORRUPT;
	for (unsigned i = 0; i < self->group_count; i++)
		if (!read_lengths(self, self->lengths[i]) ||
		    !make_code(&self->codes[i], self->lengths[i], self->alphabet))
			return BZIP2_CORRUPT;
	block->out_size = read_column(self, links);
	if (origin >= block->out_size)
		return BZIP2_CORRUPT;
	make_links(self, links, block->out_size);
	self->first[slot] = links[origin] >> 8;
	return BZIP2_GOOD;
}

/* One chain of links. */
struct chain {
	const uint32_t *links;
	uint8_t *out;
	uint32_t at;
};

/* Follows count chains for size bytes; inlined for a constant count, so that they are steps of one
 * loop without a loop within. */
static inline __attribute__((always_inline)) void follow_together(struct chain *chains,
								  const unsigned count, size_t size)
{
	struct chain local[BZIP2_BLOCKS_TOGETHER];
	for (unsigned i = 0; i < count; i++)
		local[i] = chains[i];
	for (size_t n = 0; n < size; n++) {
		uint32_t links[BZIP2_BLOCKS_TOGETHER];
#pragma GCC unroll 4
		for (unsigned i = 0; i < count; i++)
			links[i] = local[i].links[local[i].at];
#pragma GCC unroll 4
		for (unsigned i = 0; i < count; i++) {
			local[i].out[n] = (uint8_t)links[i];
			local[i].at = links[i] >> 8;
		}
	}
	for (unsigned i = 0; i < count; i++)
		chains[i].at = local[i].at;
}

/* Follows the chains of count blocks as long as all of them go on, then each alone; fewer than
 * belong together, which is the end of the input, each alone. */
static void follow(const struct bzip2_decoder *self, struct bzip2_block *const *blocks,
		   const unsigned *slots, unsigned count)
{
	size_t least = SIZE_MAX;
	struct chain chains[BZIP2_BLOCKS_TOGETHER] = {{.at = 0}};
	for (unsigned i = 0; i < count; i++) {
		chains[i] = (struct chain){.links = self->links[slots[i]],
					   .out = blocks[i]->out,
					   .at = self->first[slots[i]]};
		least = blocks[i]->out_size < least ? blocks[i]->out_size : least;
	}
	if (count == BZIP2_BLOCKS_TOGETHER)
		follow_together(chains, BZIP2_BLOCKS_TOGETHER, least);
	else
		least = 0;
	for (unsigned i = 0; i < count; i++) {
		chains[i].out += least;
		follow_together(&chains[i], 1, blocks[i]->out_size - least);
	}
}

void bzip2_decode(struct bzip2_decoder *self, struct bzip2_block *const *blocks, unsigned count)
{
	struct bzip2_block *good[BZIP2_BLOCKS_TOGETHER];
	unsigned slots[BZIP2_BLOCKS_TOGETHER], good_count = 0;
	for (unsigned i = 0; i < count; i++) {
		struct bzip2_block *block = blocks[i];
		block->result = read_block(self, block, i);
		block->end_bit = position(&self->bits);
		if (block->end_bit > (uint64_t)block->size * 8)
			block->result = BZIP2_SHORT;
		if (block->result == BZIP2_GOOD) {
			slots[good_count] = i;
			good[good_count++] = block;
		}
	}
	if (good_count > 0)
		follow(self, good, slots, good_count);
}

struct bzip2_decoder *bzip2_decoder_new(unsigned blocks)
{
	struct bzip2_decoder *self = calloc(1, sizeof(*self));
	if (!self)
		return NULL;
	for (unsigned i = 0; i < blocks; i++) {
		self->links[i] = malloc(BZIP2_BLOCK_MOST * sizeof(uint32_t));
		if (!self->links[i]) {
			bzip2_decoder_free(self);
			return NULL;
		}
	}
	return self;
}

void bzip2_decoder_free(struct bzip2_decoder *self)
{
	if (!self)
		return;
	for (unsigned i = 0; i < BZIP2_BLOCKS_TOGETHER; i++)
		free(self->links[i]);
	free(self);
}
