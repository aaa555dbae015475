/*
 * xz by liblzma, with its threads: the blocks of one stream are decoded at the same time when their
 * headers tell their sizes (xz -T writes such) and memory allows. One stream at a time, so that
 * what stands between streams is judged as for the other formats.
 */
#include "platform/decompress_codec.h"

#include <inttypes.h>
#include <lzma.h>
#include <stdlib.h>
#include <unistd.h>

static int xz_open(struct decoder *self, struct error *err)
{
	lzma_stream *lzma = malloc(sizeof(*lzma));
	if (!lzma)
		return decoder_no_memory(self, err);
	*lzma = (lzma_stream)LZMA_STREAM_INIT;
	self->state = lzma;
	return 0;
}

/* What the threads together may take: a quarter of the machine at most. Above it the library goes
 * on with fewer threads, down to one. */
static uint64_t memory_for_threads(void)
{
	long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGE_SIZE);
	uint64_t quarter =
		pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page / 4 : UINT64_MAX;
	return quarter < DECOMPRESS_XZ_THREADS_MEMORY_BYTES ? quarter
							    : DECOMPRESS_XZ_THREADS_MEMORY_BYTES;
}

static int xz_start(struct decoder *self, struct error *err)
{
	lzma_mt options = {.flags = LZMA_TELL_UNSUPPORTED_CHECK | LZMA_FAIL_FAST,
			   .threads = self->threads,
			   .memlimit_threading = memory_for_threads(),
			   .memlimit_stop = DECOMPRESS_XZ_MEMORY_BYTES};
	return lzma_stream_decoder_mt(self->state, &options) == LZMA_OK
		       ? 0
		       : decoder_no_memory(self, err);
}

static enum step xz_step(struct decoder *self, uint8_t *out, size_t out_size, size_t *out_used,
			 struct error *err)
{
	lzma_stream *lzma = self->state;
	lzma->next_in = self->in + self->in_at;
	lzma->avail_in = self->in_size - self->in_at;
	lzma->next_out = out;
	lzma->avail_out = out_size;
	lzma_ret result = lzma_code(lzma, self->below_ended ? LZMA_FINISH : LZMA_RUN);
	self->in_at = self->in_size - lzma->avail_in;
	*out_used = out_size - lzma->avail_out;
	switch ((int)result) {
	case LZMA_OK:
	case LZMA_BUF_ERROR:
		return STEP_MORE;
	case LZMA_STREAM_END:
		return STEP_FRAME_END;
	case LZMA_MEMLIMIT_ERROR:
		error_set(err, ERROR_UNSUPPORTED,
			  "this xz stream needs %" PRIu64 " MiB of memory to decode, %" PRIu64
			  " are allowed: compress it with a smaller dictionary (xz -9 or less)",
			  lzma_memusage(lzma) >> 20, DECOMPRESS_XZ_MEMORY_BYTES >> 20);
		return STEP_FAILED;
	case LZMA_MEM_ERROR:
		decoder_no_memory(self, err);
		return STEP_FAILED;
	case LZMA_OPTIONS_ERROR:
	case LZMA_UNSUPPORTED_CHECK:
		error_set(err, ERROR_UNSUPPORTED,
			  "this xz stream uses a filter or check that liblzma does not know");
		return STEP_FAILED;
	default:
		/* The library with threads calls a missing end a damage. */
		return decoder_corrupt(self,
				       self->below_ended && lzma->avail_in == 0
					       ? "the data ends in the middle, or is damaged"
					       : "invalid xz stream",
				       err);
	}
}

static void xz_close(struct decoder *self)
{
	if (self->state)
		lzma_end(self->state);
	free(self->state);
}

/* Stream padding: the .xz file format, 2.2. */
const struct codec codec_xz = {.name = "xz",
			       .open = xz_open,
			       .start = xz_start,
			       .step = xz_step,
			       .close = xz_close,
			       .padding_unit = 4};
