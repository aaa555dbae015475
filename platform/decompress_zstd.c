/*
 * zstd (RFC 8878) by libzstd.
 */
#include "platform/decompress_codec.h"

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

const struct codec codec_zstd = {"zstd",    zstd_open,  zstd_start,
				 zstd_step, zstd_close, zstd_least_bytes};
