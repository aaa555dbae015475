/*
 * One compressed block, whole, from memory to memory: what disk images that are compressed piece by
 * piece (qcow2) consist of. Streams have decompress.h.
 */
#ifndef PLATFORM_DECOMPRESS_BLOCK_H
#define PLATFORM_DECOMPRESS_BLOCK_H

#include <stddef.h>

#include "platform/cleanup.h"
#include "platform/error.h"

enum block_compression {
	BLOCK_DEFLATE, /* raw, RFC 1951 */
	BLOCK_ZSTD     /* one or more frames, RFC 8878 */
};

struct block_decoder;

/* A decoder for one thread, to be used for any number of blocks. */
int block_decoder_open(enum block_compression compression, struct block_decoder **ret_decoder,
		       struct error *err);
void block_decoder_free(struct block_decoder *decoder);
AUTO_DEFINE(block_decoder, struct block_decoder *, block_decoder_free)
#define auto_block_decoder __attribute__((cleanup(cleanup_block_decoder)))

/*
 * Decodes a block that gives exactly out_size bytes and ends there; what stands behind its end in
 * the input is not looked at. Otherwise ERROR_CORRUPT.
 */
int block_decode(struct block_decoder *decoder, const void *in, size_t in_size, void *out,
		 size_t out_size, struct error *err);

#endif
