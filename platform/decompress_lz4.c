/*
 * lz4 frames by liblz4, which checks header, block and content checksums and the content's size.
 * The older "legacy" frames have neither an end nor a checksum: nothing could be verified, so they
 * are refused.
 */
#include "platform/decompress_codec.h"

#include <lz4frame.h>
#include <string.h>

static int lz4_open(struct decoder *self, struct error *err)
{
	LZ4F_dctx *context;
	if (LZ4F_isError(LZ4F_createDecompressionContext(&context, LZ4F_VERSION)))
		return decoder_no_memory(self, err);
	self->state = context;
	return 0;
}

static int lz4_start(struct decoder *self, struct error *err)
{
	(void)err;
	LZ4F_resetDecompressionContext(self->state);
	return 0;
}

static enum step lz4_step(struct decoder *self, uint8_t *out, size_t out_size, size_t *out_used,
			  struct error *err)
{
	static const uint8_t legacy[] = {0x02, 0x21, 0x4c, 0x18};
	if (self->stream.read_bytes == 0 && self->in_size - self->in_at >= sizeof(legacy) &&
	    self->in_at == 0 && memcmp(self->in, legacy, sizeof(legacy)) == 0) {
		error_set(err, ERROR_UNSUPPORTED,
			  "this is lz4's legacy format, which has no end mark and no checksum, so "
			  "that damage could not be seen: compress it with lz4 without -l");
		return STEP_FAILED;
	}
	size_t read = self->in_size - self->in_at, written = out_size;
	size_t result =
		LZ4F_decompress(self->state, out, &written, self->in + self->in_at, &read, NULL);
	if (LZ4F_isError(result)) {
		const char *name = LZ4F_getErrorName(result);
		if (strcmp(name, "ERROR_allocation_failed") == 0)
			decoder_no_memory(self, err);
		else
			decoder_corrupt(self, name, err);
		return STEP_FAILED;
	}
	self->in_at += read;
	*out_used = written;
	return result == 0 ? STEP_FRAME_END : STEP_MORE;
}

static void lz4_close(struct decoder *self)
{
	if (self->state)
		LZ4F_freeDecompressionContext(self->state);
}

const struct codec codec_lz4 = {"lz4", lz4_open, lz4_start, lz4_step, lz4_close};
