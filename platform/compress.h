/*
 * Compression as a stream stage: gzip (RFC 1952) and zstd (RFC 8878), in several threads. The
 * stream is cut into pieces of COMPRESS_PIECE_BYTES, each a member or frame of its own, which every
 * decoder takes one after the other (and ours several at a time).
 */
#ifndef PLATFORM_COMPRESS_H
#define PLATFORM_COMPRESS_H

#include "platform/decompress.h"
#include "platform/stream.h"

enum {
	COMPRESS_PIECE_BYTES = 2 << 20,
	COMPRESS_THREADS_MOST = 8
};

/*
 * Puts the encoder over below (taken, also on failure). threads 0: one per processor, at most
 * COMPRESS_THREADS_MOST; each holds about two pieces. ERROR_UNSUPPORTED for compressions other than
 * COMPRESSION_GZIP and COMPRESSION_ZSTD.
 */
int compress_stream(struct stream *below, enum compression compression, unsigned threads,
		    struct stream **ret_stream, struct error *err);

#endif
