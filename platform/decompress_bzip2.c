/*
 * bzip2 by libbz2.
 */
#include "platform/decompress_codec.h"

#include <bzlib.h>
#include <stdlib.h>

static int bzip2_open(struct decoder *self, struct error *err)
{
	self->state = calloc(1, sizeof(bz_stream));
	return self->state ? 0 : decoder_no_memory(self, err);
}

static int bzip2_start(struct decoder *self, struct error *err)
{
	bz_stream *bz = self->state;
	BZ2_bzDecompressEnd(bz);
	*bz = (bz_stream){0};
	return BZ2_bzDecompressInit(bz, 0, 0) == BZ_OK ? 0 : decoder_no_memory(self, err);
}

static enum step bzip2_step(struct decoder *self, uint8_t *out, size_t out_size, size_t *out_used,
			    struct error *err)
{
	bz_stream *bz = self->state;
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
		decoder_no_memory(self, err);
	else
		decoder_corrupt(self, "invalid block or checksum", err);
	return STEP_FAILED;
}

static void bzip2_close(struct decoder *self)
{
	if (self->state)
		BZ2_bzDecompressEnd(self->state);
	free(self->state);
}

const struct codec codec_bzip2 = {"bzip2", bzip2_open, bzip2_start, bzip2_step, bzip2_close};
