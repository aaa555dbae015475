/*
 * Between decompress.c and the formats beside it (decompress_*.c): the decoder that they share, and
 * what each of them gives. Nobody else includes this.
 */
#ifndef PLATFORM_DECOMPRESS_CODEC_H
#define PLATFORM_DECOMPRESS_CODEC_H

#include "platform/decompress.h"

enum {
	DECODER_INPUT_SIZE = 256 << 10
};

struct decoder;
struct piece;
struct pool;
struct pool_work;

enum step {
	STEP_MORE,
	STEP_FRAME_END,
	STEP_FAILED
};

/* One format. A frame is what it calls frame, member or stream: the least that stands alone. */
struct codec {
	const char *name;
	/* Makes decoder->state, once, before the first frame. */
	int (*open)(struct decoder *decoder, struct error *err);
	/* Makes ready for a frame, also for the first. */
	int (*start)(struct decoder *decoder, struct error *err);
	/* Decodes from decoder->in to out; moves in_at and *out_used on. Called with no input left
	 * it gives what it still holds. */
	enum step (*step)(struct decoder *decoder, uint8_t *out, size_t out_size, size_t *out_used,
			  struct error *err);
	/* Frees decoder->state, which may be NULL. */
	void (*close)(struct decoder *decoder);
	/* What the file's first bytes tell of the size of the content, 0 nothing. NULL: they never
	 * do. */
	uint64_t (*least_bytes)(const uint8_t *data, size_t size);
	/* How several threads decode it, when parallel() says of the file's first bytes that they
	 * should. Frames that the pool calls PIECE_SERIAL are decoded by step. NULL: never. */
	const struct pool_work *work;
	bool (*parallel)(const uint8_t *data, size_t size);
	/* Zeros by so many may stand between two frames; 0: behind the last one only. */
	unsigned padding_unit;
	/* Reads instead of all the above, for a format that is cut in another way. NULL: usual. */
	ssize_t (*read)(struct decoder *decoder, void *data, size_t size, struct error *err);
};

struct decoder {
	struct stream stream;
	struct stream *below;
	const struct codec *codec; /* NULL: raw */
	void *state;               /* the codec's own */
	unsigned threads;
	struct pool *pool; /* NULL: one thread, the reader's */
	size_t piece_at;   /* of the pool's oldest piece: read already */
	bool stop;         /* it is being closed: read no more */
	bool in_frame;     /* within a frame: the input must not end here */
	bool below_ended;  /* the stage below has ended, verified */
	bool below_failed; /* its error is not the format's */
	bool one_frame;    /* see struct decompress_options */
	unsigned frames;
	/* The input that was read: in buffer, or in a piece that the pool gave back. */
	const uint8_t *in;
	size_t in_at, in_size;
	size_t buffer_at, buffer_size; /* what is left in buffer while in is elsewhere */
	uint8_t buffer[DECODER_INPUT_SIZE];
};

/* ERROR_CORRUPT with the format's name, the position, and what. Returns STEP_FAILED. */
enum step decoder_corrupt(struct decoder *decoder, const char *what, struct error *err);

/* ERROR_MEMORY for the format. Returns -1. */
int decoder_no_memory(const struct decoder *decoder, struct error *err);

/* Reads from the stage below when all input is used. Sets below_ended at its verified end. */
int decoder_fill(struct decoder *decoder, struct error *err);

/* Before a second frame: 0, or -1 when there must be none. */
int decoder_may_go_on(const struct decoder *decoder, struct error *err);

/* Reads until size bytes (at most 64) are there or the end: returns how many are there. */
ssize_t decoder_peek(struct decoder *decoder, size_t size, struct error *err);

/* Moves size bytes of the input to data; fewer at its end: returns how many. */
ssize_t decoder_take(struct decoder *decoder, uint8_t *data, size_t size, struct error *err);

/* Between frames: 1 the next one begins, 0 the verified end; padding is passed over, garbage
 * ERROR_CORRUPT. */
int decoder_next_frame(struct decoder *decoder, struct error *err);

/* Puts before the text of an ERROR_CORRUPT of another thread what decoder_corrupt() says. An error
 * of the stage below (a wrong checksum of the download) stays as it is. */
int decoder_wrap(const struct decoder *decoder, struct error *err);

extern const struct codec codec_gzip, codec_zstd, codec_xz, codec_bzip2, codec_lz4;

#endif
