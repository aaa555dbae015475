/*
 * Decompression as a stream stage: gzip (RFC 1952, also several members), zstd (RFC 8878, also
 * several frames and skippable ones), xz (also several streams), bzip2 (also several streams), lz4
 * (also several frames), told apart by their first bytes, never by a name.
 *
 * Memory stays below 64 MiB, whatever the data asks for, except for zstd, which takes its frame's
 * window (at most 128 MiB), and xz, which takes what its blocks demand (at most
 * DECOMPRESS_XZ_MEMORY_BYTES).
 */
#ifndef PLATFORM_DECOMPRESS_H
#define PLATFORM_DECOMPRESS_H

#include "platform/stream.h"

enum compression {
	COMPRESSION_NONE,
	COMPRESSION_GZIP,
	COMPRESSION_ZSTD,
	COMPRESSION_XZ,
	COMPRESSION_BZIP2,
	COMPRESSION_LZ4,
	COMPRESSION_COUNT
};

/* "raw", "gzip", "zstd", "xz", "bzip2", "lz4". */
const char *compression_name(enum compression compression);

/*
 * What the first bytes (DECOMPRESS_MAGIC_SIZE are enough, fewer are of a file that short) are the
 * beginning of. Skippable frames, which zstd and lz4 share, are looked past as far as the bytes go;
 * then they are taken for zstd's.
 */
enum {
	DECOMPRESS_MAGIC_SIZE = 10
};
enum compression compression_detect(const uint8_t *data, size_t size);

/*
 * Reads the first bytes of below (taken, also on failure) and puts the right decoder over it; what
 * is not compressed passes as it is. The stage ends only at an end of the format, with nothing
 * behind it but zeros that pad to a block: a missing end is ERROR_CORRUPT, trailing garbage too.
 * size_bytes of the result is that of below when it is raw, else unknown; least_bytes is what a
 * zstd frame's header tells. The bytes of below are read to its own verified end. *ret_compression
 * may be NULL.
 */
int decompress_stream(struct stream *below, struct stream **ret_stream,
		      enum compression *ret_compression, struct error *err);

struct decompress_options {
	unsigned threads; /* that decode at the same time where the data allows; 0: one a processor,
			     at most DECOMPRESS_THREADS_MOST */
	/* The stage below cannot tell a cut from its end. An end of the format is one all the same,
	 * unless there are several frames, of which the last ones could be missing: ERROR_INPUT. */
	bool one_frame;
};

/* As decompress_stream(), which is this without options (NULL). */
int decompress_stream_with(struct stream *below, const struct decompress_options *options,
			   struct stream **ret_stream, enum compression *ret_compression,
			   struct error *err);

enum {
	DECOMPRESS_THREADS_MOST = 8
};

/* The most memory an xz stream may ask for, in bytes; more is an error that names both. */
#define DECOMPRESS_XZ_MEMORY_BYTES (UINT64_C(512) << 20)

/* The most that several threads of xz may take together, and at most a quarter of the machine's; a
 * stream that needs more for two threads is decoded by one. */
#define DECOMPRESS_XZ_THREADS_MEMORY_BYTES (UINT64_C(256) << 20)

#endif
