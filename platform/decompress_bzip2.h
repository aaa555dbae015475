/*
 * The block decoder of decompress_bzip2.c: one block of bzip2, from its magic on, to the bytes that
 * its run-length coding stands for. (There is no specification; bzip2's own program is it.)
 */
#ifndef PLATFORM_DECOMPRESS_BZIP2_H
#define PLATFORM_DECOMPRESS_BZIP2_H

#include <stddef.h>
#include <stdint.h>

enum {
	BZIP2_BLOCK_MOST = 900000, /* bytes of a block, before its run-length coding is undone */
	BZIP2_BLOCKS_TOGETHER = 2
};

enum bzip2_result {
	BZIP2_GOOD,
	BZIP2_SHORT, /* the data ends within the block */
	BZIP2_CORRUPT,
	BZIP2_RANDOMISED /* a form that bzip2 before 0.9.5 wrote: not supported */
};

struct bzip2_block {
	/* In: size bytes of data; the block begins at bit start_bit, counted from the first byte's
	 * highest, with its magic. */
	const uint8_t *data;
	size_t size;
	uint64_t start_bit;
	/* Room for BZIP2_BLOCK_MOST bytes; out_size of them are made. Borrowed. */
	uint8_t *out;
	/* Out. */
	enum bzip2_result result;
	size_t out_size;
	uint64_t end_bit; /* behind the block */
	uint32_t crc;     /* that the content must have, as the block tells */
};

struct bzip2_decoder;

/* A decoder for up to blocks (1 to BZIP2_BLOCKS_TOGETHER) at a time, 3.6 MB each. NULL: no memory.
 */
struct bzip2_decoder *bzip2_decoder_new(unsigned blocks);
void bzip2_decoder_free(struct bzip2_decoder *decoder);

/* Decodes count blocks, which may have nothing to do with each other: together is faster, for each
 * waits for memory most of the time. */
void bzip2_decode(struct bzip2_decoder *decoder, struct bzip2_block *const *blocks, unsigned count);

#endif
