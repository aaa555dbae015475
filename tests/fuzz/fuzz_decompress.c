/*
 * Compressed data of every format. The first byte says in pieces of which size the rest comes and
 * is read, and by how many threads. What comes out does not depend on that; of gzip and bzip2 it is
 * what zlib and libbz2 make of it.
 */
#include "tests/fuzz/fuzz.h"

#include <bzlib.h>
#include <zlib.h>

#include "platform/buffer.h"
#include "platform/decompress.h"

enum {
	OUTPUT_MOST = 1 << 20 /* a small input can decode to very much */
};

struct pieces {
	struct stream stream;
	const uint8_t *data;
	size_t size, at, piece;
};

static ssize_t pieces_read(struct stream *stream, void *data, size_t size, struct error *err)
{
	(void)err;
	struct pieces *self = (struct pieces *)stream;
	size_t count = self->size - self->at;
	if (count > self->piece)
		count = self->piece;
	if (count > size)
		count = size;
	if (count > 0)
		memcpy(data, self->data + self->at, count);
	self->at += count;
	return (ssize_t)count;
}

static void pieces_close(struct stream *stream)
{
	free(stream);
}

/* 0 at the verified end, 1 when there is more than OUTPUT_MOST, -1 on failure. */
static int decode(const uint8_t *data, size_t size, size_t piece, size_t room, unsigned threads,
		  struct buffer *out, struct error *err)
{
	static const struct stream_operations operations = {.read = pieces_read,
							    .close = pieces_close};
	struct pieces *below = calloc(1, sizeof(*below));
	require(below != NULL);
	*below = (struct pieces){.stream = {.operations = &operations, .size_bytes = size},
				 .data = data,
				 .size = size,
				 .piece = piece};
	auto_stream struct stream *stream = NULL;
	struct decompress_options options = {.threads = threads};
	if (decompress_stream_with(&below->stream, &options, &stream, NULL, err) < 0)
		return -1;
	while (out->size < OUTPUT_MOST) {
		require(buffer_reserve(out, room, err) == 0);
		ssize_t got = stream_read(stream, out->data + out->size, room, err);
		require(got <= (ssize_t)room);
		if (got <= 0)
			return (int)got;
		out->size += (size_t)got;
	}
	return 1;
}

/* One part of gzip or bzip2 by the library of reference: 1 whole, 0 refused or cut, and how much of
 * the data it was. Nothing that has more than OUTPUT_MOST comes here. */
static int part_of_reference(enum compression format, const uint8_t *data, size_t size,
			     struct buffer *out, size_t *ret_used)
{
	struct error err;
	require(buffer_reserve(out, OUTPUT_MOST + 1, &err) == 0);
	char *to = (char *)out->data + out->size;
	int result;
	if (format == COMPRESSION_GZIP) {
		z_stream z = {.next_in = (Bytef *)(uintptr_t)data,
			      .avail_in = (uInt)size,
			      .next_out = (Bytef *)to,
			      .avail_out = OUTPUT_MOST + 1};
		require(inflateInit2(&z, 15 + 16) == Z_OK);
		result = inflate(&z, Z_FINISH) == Z_STREAM_END;
		*ret_used = size - z.avail_in;
		out->size += OUTPUT_MOST + 1 - z.avail_out;
		inflateEnd(&z);
	} else {
		bz_stream bz = {.next_in = (char *)(uintptr_t)data,
				.avail_in = (unsigned)size,
				.next_out = to,
				.avail_out = OUTPUT_MOST + 1};
		require(BZ2_bzDecompressInit(&bz, 0, 0) == BZ_OK);
		result = BZ2_bzDecompress(&bz) == BZ_STREAM_END;
		*ret_used = size - bz.avail_in;
		out->size += OUTPUT_MOST + 1 - bz.avail_out;
		BZ2_bzDecompressEnd(&bz);
	}
	return result;
}

/* What the library of reference makes of the whole: 0 as decode(), -1 refused. */
static int decode_by_reference(enum compression format, const uint8_t *data, size_t size,
			       struct buffer *out)
{
	for (size_t at = 0; at < size;) {
		if (at > 0 && data[at] == 0) {
			for (; at < size; at++)
				if (data[at] != 0)
					return -1;
			return 0;
		}
		size_t used;
		if (out->size > OUTPUT_MOST ||
		    !part_of_reference(format, data + at, size - at, out, &used))
			return -1;
		at += used;
	}
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	size_t piece = 1 + (size_t)(data[0] & 15) * 37, room = 1 + (size_t)(data[0] >> 4) * 731;
	struct error err = {.kind = ERROR_NONE};
	auto_buffer struct buffer whole = {.cap = 4 << 20}, pieced = {.cap = 4 << 20};
	int result = decode(data + 1, size - 1, SIZE_MAX, 65536, 1, &whole, &err);
	enum error_kind kind = err.kind;
	require(result >= 0 || kind == ERROR_CORRUPT || kind == ERROR_UNSUPPORTED ||
		kind == ERROR_MEMORY);
	int again = decode(data + 1, size - 1, piece, room, 1, &pieced, &err);
	require(again == result || result > 0);
	if (result == 0) {
		require(whole.size == pieced.size);
		require(whole.size == 0 || memcmp(whole.data, pieced.data, whole.size) == 0);
	}
	pieced.size = 0;
	again = decode(data + 1, size - 1, piece, room, 2 + data[0] % 3, &pieced, &err);
	if (result == 0 && again == 0) {
		require(whole.size == pieced.size);
		require(whole.size == 0 || memcmp(whole.data, pieced.data, whole.size) == 0);
	}
	enum compression format = compression_detect(data + 1, size - 1);
	if (result > 0 || kind == ERROR_UNSUPPORTED ||
	    (format != COMPRESSION_GZIP && format != COMPRESSION_BZIP2))
		return 0;
	auto_buffer struct buffer reference = {.cap = 16 << 20};
	int expected = decode_by_reference(format, data + 1, size - 1, &reference);
	require(expected == result);
	if (result == 0) {
		require(reference.size == whole.size);
		require(whole.size == 0 || memcmp(whole.data, reference.data, whole.size) == 0);
	}
	return 0;
}
