/*
 * Several threads that decode pieces of one input: each takes its turn at cutting the next piece
 * off the input, decodes it beside the others, and the reader gets the pieces in their order. Of
 * use to the formats in decompress_*.c only.
 */
#ifndef PLATFORM_DECOMPRESS_POOL_H
#define PLATFORM_DECOMPRESS_POOL_H

#include "platform/decompress_bzip2.h"
#include "platform/decompress_codec.h"

enum {
	/* What all pieces may hold together; a format's piece may hold a third of it at most. */
	POOL_MEMORY_BYTES = 48 << 20,
	POOL_TOGETHER_MOST = 4
};

enum piece_kind {
	PIECE_DATA,   /* decoded: see result */
	PIECE_SERIAL, /* the reader decodes what follows by itself: in, then the decoder's input */
	PIECE_END     /* the verified end of the input */
};

struct piece {
	enum piece_kind kind;
	uint8_t *in, *out; /* piece_in(), piece_out() make room; freed by the pool */
	size_t in_size, in_room, out_size, out_room;
	int result; /* of cut or decode: 0, or -1 with err */
	struct error err;
	bool done;
	size_t held; /* rooms of in and out, as known to the pool */
	/* bzip2's own. */
	unsigned mark;      /* what it begins with */
	uint64_t start_bit; /* where that is in in */
	uint64_t end_bit;   /* where the next piece begins */
	struct bzip2_block block;
};

struct pool_work {
	/*
	 * Cuts the next piece off the input; called by one thread at a time. Returns 1 with
	 * piece->kind set (PIECE_SERIAL: no further call before pool_resume()), 0 at the end, -1
	 * with err.
	 */
	int (*cut)(struct decoder *decoder, struct piece *piece, struct error *err);
	/* What a thread needs to decode up to count pieces at once: NULL when memory ran out. */
	void *(*open)(unsigned count);
	/* Decodes count pieces, sets result and err of each. */
	void (*decode)(void *context, struct piece *const *pieces, unsigned count);
	void (*close)(void *context);
	size_t piece_bytes; /* the most a piece holds */
	unsigned together;  /* how many pieces a thread decodes best at once, if there are few
			       threads;  at most POOL_TOGETHER_MOST */
};

struct pool;

/* Starts decoder->threads threads. */
int pool_open(struct decoder *decoder, const struct pool_work *work, struct pool **ret_pool,
	      struct error *err);

/* Waits for the oldest piece that was not released. The end, a failure and PIECE_SERIAL stay. */
struct piece *pool_next(struct pool *pool);

/* Gives the oldest piece back, which must be PIECE_DATA. */
void pool_release(struct pool *pool);

/* Gives the oldest piece back, which must be PIECE_SERIAL, and goes on behind what the reader left
 * of the input. */
void pool_resume(struct pool *pool);

/* Joins the threads, after at most one read of the stage below, and frees everything. NULL: nothing
 * to do. */
void pool_close(struct pool *pool);

/* Makes room for size bytes; what is there stays. -1 with ERROR_MEMORY. Of use while cutting only.
 */
int piece_in(struct piece *piece, size_t size, struct error *err);
int piece_out(struct piece *piece, size_t size, struct error *err);

#endif
