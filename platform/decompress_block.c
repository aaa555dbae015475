/* Compressed blocks: see decompress_block.h. */
#include "platform/decompress_block.h"

#include <isa-l/igzip_lib.h>
#include <stdint.h>
#include <stdlib.h>
#include <zstd.h>

struct block_decoder {
	enum block_compression compression;
	ZSTD_DCtx *zstd;
	struct inflate_state inflate;
};

int block_decoder_open(enum block_compression compression, struct block_decoder **ret_decoder,
		       struct error *err)
{
	struct block_decoder *decoder = calloc(1, sizeof(*decoder));
	if (!decoder)
		abort();
	decoder->compression = compression;
	if (compression == BLOCK_ZSTD)
		decoder->zstd = ZSTD_createDCtx();
	if (compression == BLOCK_ZSTD && !decoder->zstd) {
		free(decoder);
		return error_set(err, ERROR_MEMORY, "no memory for a decoder");
	}
	*ret_decoder = decoder;
	return 0;
}

void block_decoder_free(struct block_decoder *decoder)
{
	if (!decoder)
		return;
	ZSTD_freeDCtx(decoder->zstd);
	free(decoder);
}

static int decode_deflate(struct block_decoder *decoder, const void *in, size_t in_size, void *out,
			  size_t out_size, struct error *err)
{
	struct inflate_state *state = &decoder->inflate;
	isal_inflate_init(state);
	state->next_in = (uint8_t *)(uintptr_t)in;
	state->avail_in = (uint32_t)in_size;
	state->next_out = out;
	state->avail_out = (uint32_t)out_size;
	int result = isal_inflate_stateless(state);
	if (result < 0)
		return error_set(err, ERROR_CORRUPT, "the deflate data is invalid");
	if (result != ISAL_DECOMP_OK || state->total_out != out_size)
		return error_set(err, ERROR_CORRUPT,
				 "the deflate data has not the length of a block");
	return 0;
}

static int decode_zstd(struct block_decoder *decoder, const void *in, size_t in_size, void *out,
		       size_t out_size, struct error *err)
{
	ZSTD_inBuffer input = {in, in_size, 0};
	ZSTD_outBuffer output = {out, out_size, 0};
	ZSTD_DCtx_reset(decoder->zstd, ZSTD_reset_session_only);
	/* Several frames may make one block. The last one's end must be seen, its checksum is
	 * behind the data. */
	size_t left = 1;
	while (left != 0 || output.pos < output.size) {
		size_t in_before = input.pos, out_before = output.pos;
		left = ZSTD_decompressStream(decoder->zstd, &output, &input);
		if (ZSTD_isError(left))
			return error_set(err, ERROR_CORRUPT, "the zstd data is invalid (%s)",
					 ZSTD_getErrorName(left));
		if (left != 0 && input.pos == in_before && output.pos == out_before)
			return error_set(err, ERROR_CORRUPT,
					 "the zstd data has not the length of a block");
	}
	return 0;
}

int block_decode(struct block_decoder *decoder, const void *in, size_t in_size, void *out,
		 size_t out_size, struct error *err)
{
	return decoder->compression == BLOCK_DEFLATE
		       ? decode_deflate(decoder, in, in_size, out, out_size, err)
		       : decode_zstd(decoder, in, in_size, out, out_size, err);
}
