/*
 * Decompression of every format: whole, in several parts, padded, cut at every byte, damaged, with
 * garbage behind. The compressed data is made here by the libraries.
 */
#include "tests/unit.h"

#include <bzlib.h>
#include <lz4frame.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include "platform/buffer.h"
#include "platform/decompress.h"

static const enum compression formats[] = {COMPRESSION_GZIP, COMPRESSION_ZSTD, COMPRESSION_XZ,
					   COMPRESSION_BZIP2, COMPRESSION_LZ4};

static void compress_gzip(const void *data, size_t size, struct buffer *out)
{
	z_stream z = {.next_in = (Bytef *)(uintptr_t)data, .avail_in = (uInt)size};
	assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
	struct error err;
	assert_ok(buffer_reserve(out, deflateBound(&z, size), &err));
	z.next_out = out->data + out->size;
	z.avail_out = (uInt)(out->capacity - out->size);
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	out->size += z.total_out;
	deflateEnd(&z);
}

static void compress_zstd(const void *data, size_t size, struct buffer *out)
{
	struct error err;
	ZSTD_CCtx *context = ZSTD_createCCtx();
	ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
	assert_ok(buffer_reserve(out, ZSTD_compressBound(size), &err));
	size_t used = ZSTD_compress2(context, out->data + out->size, out->capacity - out->size,
				     data, size);
	assert_false(ZSTD_isError(used));
	out->size += used;
	ZSTD_freeCCtx(context);
}

static void compress_xz(const void *data, size_t size, struct buffer *out)
{
	struct error err;
	assert_ok(buffer_reserve(out, lzma_stream_buffer_bound(size), &err));
	assert_int_equal(lzma_easy_buffer_encode(1, LZMA_CHECK_CRC64, NULL, data, size, out->data,
						 &out->size, out->capacity),
			 LZMA_OK);
}

static void compress_bzip2(const void *data, size_t size, struct buffer *out)
{
	struct error err;
	unsigned room = (unsigned)(size + size / 100 + 700);
	assert_ok(buffer_reserve(out, room, &err));
	assert_int_equal(BZ2_bzBuffToBuffCompress((char *)out->data + out->size, &room,
						  (char *)(uintptr_t)data, (unsigned)size, 1, 0, 0),
			 BZ_OK);
	out->size += room;
}

/* As the program does it: independent blocks, content checksum. */
static void compress_lz4(const void *data, size_t size, struct buffer *out)
{
	struct error err;
	LZ4F_preferences_t preferences = {
		.frameInfo = {.blockSizeID = LZ4F_max64KB,
			      .blockMode = LZ4F_blockIndependent,
			      .contentChecksumFlag = LZ4F_contentChecksumEnabled}};
	assert_ok(buffer_reserve(out, LZ4F_compressFrameBound(size, &preferences), &err));
	size_t used = LZ4F_compressFrame(out->data + out->size, out->capacity - out->size, data,
					 size, &preferences);
	assert_false(LZ4F_isError(used));
	out->size += used;
}

static void pack(enum compression format, const void *data, size_t size, struct buffer *out)
{
	switch (format) {
	case COMPRESSION_GZIP:
		compress_gzip(data, size, out);
		return;
	case COMPRESSION_ZSTD:
		compress_zstd(data, size, out);
		return;
	case COMPRESSION_XZ:
		compress_xz(data, size, out);
		return;
	case COMPRESSION_BZIP2:
		compress_bzip2(data, size, out);
		return;
	case COMPRESSION_LZ4:
		compress_lz4(data, size, out);
		return;
	case COMPRESSION_NONE:
	case COMPRESSION_COUNT:
		break;
	}
	fail();
}

/* Text that compresses, and bytes that do not. */
static void make_data(uint8_t *data, size_t size)
{
	fill_random(data, size, 5);
	for (size_t i = 0; i + 512 < size; i += 1024)
		memset(data + i, (int)(i >> 10), 512);
}

/* A source that gives its bytes in small pieces, so that every border falls between two reads. */
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
	memcpy(data, self->data + self->at, count);
	self->at += count;
	return (ssize_t)count;
}

static void pieces_close(struct stream *stream)
{
	free(stream);
}

static struct stream *in_pieces(const void *data, size_t size, size_t piece)
{
	static const struct stream_operations operations = {.read = pieces_read,
							    .close = pieces_close};
	struct pieces *self = calloc(1, sizeof(*self));
	assert_non_null(self);
	*self = (struct pieces){.stream = {.operations = &operations, .size_bytes = size},
				.data = data,
				.size = size,
				.piece = piece};
	return &self->stream;
}

/* Decodes to the end; -1 with err when it does not get there. out is emptied first. */
static int decode(struct stream *below, size_t read_size, struct buffer *out,
		  enum compression *ret_compression, struct error *err)
{
	/* What comes out does not depend on the threads: they take turns here. */
	static unsigned turn;
	struct decompress_options options = {.threads = 1 + turn++ % 3};
	auto_stream struct stream *stream = NULL;
	out->size = 0;
	if (decompress_stream_with(below, &options, &stream, ret_compression, err) < 0)
		return -1;
	for (;;) {
		if (buffer_reserve(out, read_size, err) < 0)
			return -1;
		ssize_t got = stream_read(stream, out->data + out->size, read_size, err);
		if (got <= 0)
			return (int)got;
		out->size += (size_t)got;
	}
}

static int decode_memory(const void *data, size_t size, struct buffer *out, struct error *err)
{
	return decode(stream_from_memory(data, size), 65536, out, NULL, err);
}

static void decodes_every_format(void **state)
{
	(void)state;
	struct error err;
	enum {
		SIZE = 1200000
	};
	uint8_t *data = malloc(SIZE);
	make_data(data, SIZE);
	auto_buffer struct buffer out = {.cap = 4 << 20};
	for (size_t i = 0; i < COUNT(formats); i++) {
		static const size_t pieces[] = {1000, 4096, SIZE};
		static const size_t reads[] = {999, 65536, 2 * SIZE};
		auto_buffer struct buffer packed = {.cap = 4 << 20};
		pack(formats[i], data, SIZE, &packed);
		for (size_t j = 0; j < COUNT(pieces); j++) {
			enum compression found;
			assert_ok(decode(in_pieces(packed.data, packed.size, pieces[j]), reads[j],
					 &out, &found, &err));
			assert_int_equal(found, formats[i]);
			assert_int_equal(out.size, SIZE);
			assert_memory_equal(out.data, data, SIZE);
		}
	}
	free(data);
}

static void passes_what_is_not_compressed(void **state)
{
	(void)state;
	struct error err;
	uint8_t data[10000];
	make_data(data, sizeof(data));
	auto_buffer struct buffer out = {.cap = 0};
	for (size_t size = 1; size <= sizeof(data); size = size < 20 ? size + 1 : size * 3) {
		enum compression found = COMPRESSION_COUNT;
		struct stream *stream = NULL;
		assert_ok(decompress_stream(in_pieces(data, size, 7), &stream, &found, &err));
		assert_int_equal(found, COMPRESSION_NONE);
		assert_int_equal(stream->size_bytes, size);
		stream_close(stream);
		assert_ok(decode(in_pieces(data, size, 7), 100, &out, NULL, &err));
		assert_int_equal(out.size, size);
		assert_memory_equal(out.data, data, size);
	}
}

static void refuses_nothing_at_all(void **state)
{
	(void)state;
	struct error err;
	struct stream *stream = NULL;
	assert_fails(decompress_stream(stream_from_memory("", 0), &stream, NULL, &err),
		     ERROR_CORRUPT, "empty");
	assert_null(stream);
}

/* Something that was empty before it was compressed. */
static void decodes_to_nothing(void **state)
{
	(void)state;
	struct error err;
	auto_buffer struct buffer out = {.cap = 0};
	for (size_t i = 0; i < COUNT(formats); i++) {
		auto_buffer struct buffer packed = {.cap = 0};
		pack(formats[i], "", 0, &packed);
		assert_ok(decode_memory(packed.data, packed.size, &out, &err));
		assert_int_equal(out.size, 0);
	}
}

static void tells_formats_by_their_first_bytes(void **state)
{
	(void)state;
	static const struct {
		const char *bytes;
		size_t size;
		enum compression expected;
	} cases[] = {
		{"\x1f\x8b\x08", 3, COMPRESSION_GZIP},
		{"\x1f\x8b", 2, COMPRESSION_NONE},
		{"\x1f\x8b\x07", 3, COMPRESSION_NONE},
		{"\x28\xb5\x2f\xfd", 4, COMPRESSION_ZSTD},
		{"\x50\x2a\x4d\x18", 4, COMPRESSION_ZSTD},
		{"\x5f\x2a\x4d\x18", 4, COMPRESSION_ZSTD},
		{"\x60\x2a\x4d\x18", 4, COMPRESSION_NONE},
		{"\xfd"
		 "7zXZ\0",
		 6, COMPRESSION_XZ},
		{"\xfd"
		 "7zXZ",
		 5, COMPRESSION_NONE},
		{"BZh91AY&SY", 10, COMPRESSION_BZIP2},
		{"BZh9\x17rE8P\x90", 10, COMPRESSION_BZIP2},
		{"BZh9", 4, COMPRESSION_NONE},
		{"BZh01AY&SY", 10, COMPRESSION_NONE},
		{"BZhello wo", 10, COMPRESSION_NONE},
		{"\x04\x22\x4d\x18", 4, COMPRESSION_LZ4},
		{"\x02\x21\x4c\x18", 4, COMPRESSION_LZ4},
		{"\x50\x2a\x4d\x18\1\0\0\0x\x04\x22\x4d\x18", 13, COMPRESSION_LZ4},
		{"\x50\x2a\x4d\x18\1\0\0\0x\x28\xb5\x2f\xfd", 13, COMPRESSION_ZSTD},
		{"\x50\x2a\x4d\x18\1\0\0\0xhello", 14, COMPRESSION_ZSTD},
		{"", 0, COMPRESSION_NONE},
		{"hello", 5, COMPRESSION_NONE},
	};
	for (size_t i = 0; i < COUNT(cases); i++)
		assert_int_equal(compression_detect((const uint8_t *)cases[i].bytes, cases[i].size),
				 cases[i].expected);
	assert_string_equal(compression_name(COMPRESSION_NONE), "raw");
	assert_string_equal(compression_name(COMPRESSION_ZSTD), "zstd");
}

/* pigz, bgzip, pzstd, `cat a.xz b.xz`, pbzip2: several parts are one content. */
static void decodes_several_parts(void **state)
{
	(void)state;
	struct error err;
	uint8_t data[30000];
	make_data(data, sizeof(data));
	auto_buffer struct buffer out = {.cap = 0};
	for (size_t i = 0; i < COUNT(formats); i++) {
		auto_buffer struct buffer packed = {.cap = 0};
		pack(formats[i], data, 10000, &packed);
		pack(formats[i], "", 0, &packed);
		pack(formats[i], data + 10000, 1, &packed);
		pack(formats[i], data + 10001, 19999, &packed);
		static const size_t pieces[] = {1, 13, 100000};
		for (size_t j = 0; j < COUNT(pieces); j++) {
			assert_ok(decode(in_pieces(packed.data, packed.size, pieces[j]), 3000, &out,
					 NULL, &err));
			assert_int_equal(out.size, sizeof(data));
			assert_memory_equal(out.data, data, sizeof(data));
		}
	}
}

/* Four at a time, xz says, and whoever has them may go on. */
static void takes_zeros_between_xz_streams(void **state)
{
	(void)state;
	struct error err;
	static const uint8_t zeros[300000];
	auto_buffer struct buffer out = {.cap = 0};
	static const size_t sizes[] = {4, 512, 300000, 1, 6, 299999};
	for (size_t i = 0; i < COUNT(sizes); i++) {
		auto_buffer struct buffer packed = {.cap = 0};
		pack(COMPRESSION_XZ, "con", 3, &packed);
		assert_ok(buffer_add(&packed, zeros, sizes[i], &err));
		pack(COMPRESSION_XZ, "tent", 4, &packed);
		struct stream *below = in_pieces(packed.data, packed.size, 1000);
		if (sizes[i] % 4 != 0) {
			assert_fails(decode(below, 4096, &out, NULL, &err), ERROR_CORRUPT,
				     "garbage");
			continue;
		}
		assert_ok(decode(below, 4096, &out, NULL, &err));
		assert_int_equal(out.size, 7);
		assert_memory_equal(out.data, "content", 7);
	}
}

/* One with a number of its own; what was made with other bytes fails by its checksum. */
static void says_when_a_zstd_dictionary_is_missing(void **state)
{
	(void)state;
	struct error err;
	auto_buffer struct buffer out = {.cap = 0};
	/* A frame with a dictionary number of one byte, and one empty block: of a known size, and
	 * not. */
	static const char *const frames[] = {"\x28\xb5\x2f\xfd\x21\x07\x00\x01\x00\x00",
					     "\x28\xb5\x2f\xfd\x01\x00\x07\x01\x00\x00"};
	for (size_t i = 0; i < COUNT(frames); i++)
		assert_fails(decode_memory(frames[i], 10, &out, &err), ERROR_UNSUPPORTED,
			     "dictionary");
}

/* When a cut cannot be told from the end, parts may be missing behind several; behind one that pads
 * itself, nothing is. */
static void refuses_several_parts_without_an_end(void **state)
{
	(void)state;
	struct error err;
	for (size_t i = 0; i < COUNT(formats); i++) {
		for (unsigned threads = 1; threads <= 2; threads++) {
			const struct decompress_options options = {.threads = threads,
								   .one_frame = true};
			auto_buffer struct buffer packed = {.cap = 0};
			uint8_t out[100], zeros[600] = {0};
			struct stream *stream;
			pack(formats[i], "content", 7, &packed);
			size_t one = packed.size;
			assert_ok(buffer_add(&packed, zeros, sizeof(zeros), &err));
			assert_ok(
				decompress_stream_with(stream_from_memory(packed.data, packed.size),
						       &options, &stream, NULL, &err));
			assert_int_equal(stream_read_full(stream, out, sizeof(out), &err), 7);
			assert_int_equal(stream_read(stream, out, 1, &err), 0);
			stream_close(stream);
			packed.size = one;
			pack(formats[i], "content", 7, &packed);
			assert_ok(
				decompress_stream_with(stream_from_memory(packed.data, packed.size),
						       &options, &stream, NULL, &err));
			assert_fails(stream_read_full(stream, out, sizeof(out), &err), ERROR_INPUT,
				     "several parts");
			assert_contains(err.text, "checksum");
			stream_close(stream);
		}
	}
}

static void passes_over_skippable_zstd_frames(void **state)
{
	(void)state;
	struct error err;
	static const char skippable[] = "\x53\x2a\x4d\x18\x05\0\0\0hello";
	auto_buffer struct buffer packed = {.cap = 0}, out = {.cap = 0};
	assert_ok(buffer_add(&packed, skippable, sizeof(skippable) - 1, &err));
	compress_zstd("content", 7, &packed);
	assert_ok(buffer_add(&packed, skippable, sizeof(skippable) - 1, &err));
	assert_ok(decode_memory(packed.data, packed.size, &out, &err));
	assert_int_equal(out.size, 7);
	assert_memory_equal(out.data, "content", 7);
}

/* A cut anywhere, and be it one byte before the end, is seen. */
static void refuses_a_cut_at_every_byte(void **state)
{
	(void)state;
	struct error err;
	uint8_t data[2000];
	make_data(data, sizeof(data));
	auto_buffer struct buffer out = {.cap = 0};
	for (size_t i = 0; i < COUNT(formats); i++) {
		auto_buffer struct buffer packed = {.cap = 0};
		pack(formats[i], data, sizeof(data), &packed);
		/* Fewer bytes than the format's mark are not the format: a raw image so small has
		 * other troubles. */
		for (size_t size = DECOMPRESS_MAGIC_SIZE; size < packed.size; size++) {
			assert_fails(decode_memory(packed.data, size, &out, &err), ERROR_CORRUPT,
				     "the data ends in the middle");
			assert_contains(err.text, compression_name(formats[i]));
		}
		/* The same in the second part. */
		size_t first = packed.size;
		pack(formats[i], data, sizeof(data), &packed);
		for (size_t size = first + 1; size < packed.size; size++)
			assert_fails(decode_memory(packed.data, size, &out, &err), ERROR_CORRUPT,
				     compression_name(formats[i]));
		assert_ok(decode_memory(packed.data, packed.size, &out, &err));
	}
}

static void refuses_garbage_behind_the_end(void **state)
{
	(void)state;
	struct error err;
	auto_buffer struct buffer out = {.cap = 0};
	static const struct {
		const char *bytes;
		size_t size;
	} tails[] = {{"x", 1},
		     {"\n", 1},
		     {"\xff\xff\xff\xff\xff\xff\xff\xff", 8},
		     {"\0\0\0x", 4},
		     {"\0\n", 2}};
	for (size_t i = 0; i < COUNT(formats); i++) {
		for (size_t j = 0; j < COUNT(tails); j++) {
			auto_buffer struct buffer packed = {.cap = 0};
			pack(formats[i], "content", 7, &packed);
			assert_ok(buffer_add(&packed, tails[j].bytes, tails[j].size, &err));
			for (size_t piece = 1; piece < 100; piece *= 9)
				assert_fails(decode(in_pieces(packed.data, packed.size, piece),
						    4096, &out, NULL, &err),
					     ERROR_CORRUPT, "");
		}
	}
}

/* Zeros that fill a last block are no garbage: tapes and disks leave them. */
static void takes_zeros_behind_the_end(void **state)
{
	(void)state;
	struct error err;
	static const uint8_t zeros[300000];
	static const size_t sizes[] = {1, 3, 512, sizeof(zeros)};
	auto_buffer struct buffer out = {.cap = 0};
	for (size_t i = 0; i < COUNT(formats); i++) {
		for (size_t j = 0; j < COUNT(sizes); j++) {
			auto_buffer struct buffer packed = {.cap = 0};
			pack(formats[i], "content", 7, &packed);
			assert_ok(buffer_add(&packed, zeros, sizes[j], &err));
			assert_ok(decode(in_pieces(packed.data, packed.size, 1000), 4096, &out,
					 NULL, &err));
			assert_int_equal(out.size, 7);
			assert_memory_equal(out.data, "content", 7);
		}
	}
}

/*
 * No flipped bit goes through as other content. (Some bits mean nothing: gzip's time and name, bits
 * of zstd's skipped bytes. With those the content must be the same.)
 */
static void never_gives_other_content(void **state)
{
	(void)state;
	struct error err;
	uint8_t data[700];
	make_data(data, sizeof(data));
	auto_buffer struct buffer out = {.cap = 0};
	for (size_t i = 0; i < COUNT(formats); i++) {
		auto_buffer struct buffer packed = {.cap = 0};
		pack(formats[i], data, sizeof(data), &packed);
		size_t refused = 0;
		for (size_t bit = 0; bit < packed.size * 8; bit++) {
			packed.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
			/* What is not recognised as the format any more passes as it is. */
			if (compression_detect(packed.data, packed.size) == formats[i]) {
				int result = decode_memory(packed.data, packed.size, &out, &err);
				if (result == 0) {
					assert_int_equal(out.size, sizeof(data));
					assert_memory_equal(out.data, data, sizeof(data));
				} else {
					assert_true(err.kind == ERROR_CORRUPT ||
						    err.kind == ERROR_UNSUPPORTED);
					refused++;
				}
			}
			packed.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
		assert_true(refused > packed.size * 7);
	}
}

static void tells_the_size_that_a_zstd_frame_has(void **state)
{
	(void)state;
	struct error err;
	uint8_t data[5000];
	make_data(data, sizeof(data));
	for (size_t i = 0; i < COUNT(formats); i++) {
		auto_buffer struct buffer packed = {.cap = 0};
		pack(formats[i], data, sizeof(data), &packed);
		struct stream *stream = NULL;
		assert_ok(decompress_stream(stream_from_memory(packed.data, packed.size), &stream,
					    NULL, &err));
		assert_true(stream->size_bytes == STREAM_SIZE_UNKNOWN);
		assert_int_equal(stream->least_bytes,
				 formats[i] == COMPRESSION_ZSTD ? sizeof(data) : 0);
		stream_close(stream);
	}
}

static void says_when_a_zstd_window_is_too_large(void **state)
{
	(void)state;
	struct error err;
	/* A frame's header with a window of 256 MiB (RFC 8878, 3.1.1.1.2): descriptor 0, exponent
	 * 18, mantissa 0. */
	static const uint8_t frame[] = {0x28, 0xb5, 0x2f, 0xfd, 0x00, 18 << 3, 1, 0, 0, 0, 0, 0};
	auto_buffer struct buffer out = {.cap = 0};
	assert_fails(decode_memory(frame, sizeof(frame), &out, &err), ERROR_UNSUPPORTED,
		     "--long=27");
}

/* Legacy lz4 ends where the file ends, so that a cut could not be told from the end. */
static void refuses_legacy_lz4(void **state)
{
	(void)state;
	struct error err;
	static const uint8_t frame[] = {0x02, 0x21, 0x4c, 0x18, 2, 0, 0, 0, 0x10, 'a'};
	auto_buffer struct buffer out = {.cap = 0};
	assert_fails(decode_memory(frame, sizeof(frame), &out, &err), ERROR_UNSUPPORTED,
		     "without -l");
}

/* Every optional field of RFC 1952, 2.3.1, whole and in pieces, and a wrong header checksum. */
static void reads_every_field_of_a_gzip_header(void **state)
{
	(void)state;
	struct error err;
	auto_buffer struct buffer packed = {.cap = 0}, out = {.cap = 0};
	compress_gzip("content", 7, &packed);
	for (unsigned flags = 0; flags < 32; flags++) {
		uint8_t head[100] = {0x1f, 0x8b, 8, (uint8_t)flags, 1, 2, 3, 4, 0, 3};
		size_t size = 10;
		if (flags & 4) {
			memcpy(head + size, "\6\0XY\2\0ab", 8);
			size += 8;
		}
		if (flags & 8) {
			memcpy(head + size, "name", 5);
			size += 5;
		}
		if (flags & 16) {
			memcpy(head + size, "a comment", 10);
			size += 10;
		}
		size_t checked = size;
		if (flags & 2) {
			uLong crc = crc32(0, head, (uInt)size);
			head[size++] = (uint8_t)crc;
			head[size++] = (uint8_t)(crc >> 8);
		}
		auto_buffer struct buffer file = {.cap = 0};
		assert_ok(buffer_add(&file, head, size, &err));
		assert_ok(buffer_add(&file, packed.data + 10, packed.size - 10, &err));
		for (size_t piece = 1; piece < 100; piece += 3) {
			assert_ok(decode(in_pieces(file.data, file.size, piece), 4096, &out, NULL,
					 &err));
			assert_int_equal(out.size, 7);
			assert_memory_equal(out.data, "content", 7);
		}
		if (flags & 2) {
			file.data[checked] ^= 1;
			assert_fails(decode_memory(file.data, file.size, &out, &err), ERROR_CORRUPT,
				     "header's checksum");
		}
		file.data[3] |= 0x20;
		assert_fails(decode_memory(file.data, file.size, &out, &err), ERROR_CORRUPT,
			     "unknown flags");
	}
}

/* CRC-32 and length in the trailer are both judged. */
static void checks_both_fields_of_the_gzip_trailer(void **state)
{
	(void)state;
	struct error err;
	auto_buffer struct buffer packed = {.cap = 0}, out = {.cap = 0};
	compress_gzip("content", 7, &packed);
	for (size_t i = 1; i <= 8; i++) {
		packed.data[packed.size - i] ^= 0x40;
		assert_fails(decode_memory(packed.data, packed.size, &out, &err), ERROR_CORRUPT,
			     "checksum or length");
		packed.data[packed.size - i] ^= 0x40;
	}
	assert_ok(decode_memory(packed.data, packed.size, &out, &err));
}

/* Decodes with each number of threads and compares. */
static void expect_content(const struct buffer *packed, const void *data, size_t size)
{
	struct error err;
	auto_buffer struct buffer out = {.cap = 64 << 20};
	static const size_t pieces[] = {777, 70000, 64 << 20};
	for (unsigned i = 0; i < 9; i++) {
		assert_ok(decode(in_pieces(packed->data, packed->size, pieces[i / 3]), 100000, &out,
				 NULL, &err));
		assert_int_equal(out.size, size);
		assert_memory_equal(out.data, data, size);
	}
}

/* A member as bgzip writes it: its size less one in the extra field "BC". */
static void add_bgzf(const void *data, size_t size, struct buffer *out)
{
	struct error err;
	size_t start = out->size;
	static const uint8_t header[] = {0x1f, 0x8b, 8, 4,   0,   0, 0, 0, 0,
					 0xff, 6,    0, 'B', 'C', 2, 0, 0, 0};
	assert_ok(buffer_add(out, header, sizeof(header), &err));
	auto_buffer struct buffer plain = {.cap = 1 << 20};
	compress_gzip(data, size, &plain);
	assert_ok(buffer_add(out, plain.data + 10, plain.size - 10, &err));
	size_t member = out->size - start - 1;
	out->data[start + 16] = (uint8_t)member;
	out->data[start + 17] = (uint8_t)(member >> 8);
}

static void decodes_bgzip_by_several_threads(void **state)
{
	(void)state;
	struct error err;
	enum {
		SIZE = 3000000,
		MEMBER = 40000
	};
	uint8_t *data = malloc(SIZE);
	make_data(data, SIZE);
	auto_buffer struct buffer packed = {.cap = 8 << 20}, out = {.cap = 8 << 20};
	for (size_t at = 0; at < SIZE; at += MEMBER) {
		/* Now and then an ordinary member. */
		if (at / MEMBER % 20 == 13)
			compress_gzip(data + at, MEMBER, &packed);
		else
			add_bgzf(data + at, MEMBER, &packed);
	}
	add_bgzf("", 0, &packed);
	expect_content(&packed, data, SIZE);

	packed.size = 0;
	add_bgzf(data, 1000, &packed);
	size_t first = packed.size;
	add_bgzf(data + 1000, 500, &packed);
	expect_content(&packed, data, 1500);
	for (size_t size = DECOMPRESS_MAGIC_SIZE; size < packed.size; size++)
		if (size != first)
			assert_fails(decode_memory(packed.data, size, &out, &err), ERROR_CORRUPT,
				     "in the middle");
	for (size_t i = first - 8; i < first + 3; i++) {
		packed.data[i] ^= 0x10;
		assert_fails(decode_memory(packed.data, packed.size, &out, &err), ERROR_CORRUPT,
			     "");
		packed.data[i] ^= 0x10;
	}
	/* The size of the member in its header. */
	for (size_t i = 16; i < 18; i++) {
		packed.data[first + i] ^= 0x01;
		for (int turn = 0; turn < 3; turn++) {
			int result = decode_memory(packed.data, packed.size, &out, &err);
			/* One thread needs no sizes. */
			assert_true(result == 0 ? out.size == 1500 : err.kind == ERROR_CORRUPT);
		}
		packed.data[first + i] ^= 0x01;
	}
	free(data);
}

/* As a program writes it that does not know the size before. */
static void add_zstd_unknown(const void *data, size_t size, struct buffer *out)
{
	struct error err;
	ZSTD_CCtx *context = ZSTD_createCCtx();
	ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 0);
	ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
	assert_ok(buffer_reserve(out, ZSTD_compressBound(size), &err));
	size_t used = ZSTD_compress2(context, out->data + out->size, out->capacity - out->size,
				     data, size);
	assert_false(ZSTD_isError(used));
	out->size += used;
	ZSTD_freeCCtx(context);
}

/* Small, large and very large frames, with and without their size, and skippable ones between. */
static void decodes_zstd_frames_by_several_threads(void **state)
{
	(void)state;
	struct error err;
	static const char skippable[] = "\x53\x2a\x4d\x18\x05\0\0\0hello";
	static const size_t sizes[] = {100, 0,      50000,  1 << 20, 3 << 20, 9 << 20,
				       7,   200000, 200000, 200000,  5 << 20};
	size_t total = 0;
	for (size_t i = 0; i < COUNT(sizes); i++)
		total += sizes[i];
	uint8_t *data = malloc(2 * total);
	make_data(data, 2 * total);
	auto_buffer struct buffer packed = {.cap = 64 << 20};
	size_t at = 0;
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < COUNT(sizes); i++) {
			if (round == 0)
				compress_zstd(data + at, sizes[i], &packed);
			else
				add_zstd_unknown(data + at, sizes[i], &packed);
			at += sizes[i];
			if (i % 3 == 0)
				assert_ok(buffer_add(&packed, skippable, sizeof(skippable) - 1,
						     &err));
		}
	}
	expect_content(&packed, data, 2 * total);
	/* A flipped bit anywhere is seen. */
	auto_buffer struct buffer out = {.cap = 64 << 20};
	for (size_t i = 1; i < 8; i++) {
		size_t where = packed.size / 8 * i;
		packed.data[where] ^= 4;
		assert_fails(decode_memory(packed.data, packed.size, &out, &err), ERROR_CORRUPT,
			     "zstd data is corrupt");
		packed.data[where] ^= 4;
	}
	free(data);
}

/*
 * Bytes of which those occur whose map in a block's header has the magic of a block (or of the end)
 * in it: whoever looks for magics finds one too many in every block.
 */
static void make_false_magics(uint8_t *data, size_t size, const uint16_t *rows)
{
	uint8_t bytes[48];
	unsigned count = 0;
	for (unsigned i = 0; i < 48; i++)
		if (rows[i / 16] & 0x8000u >> i % 16)
			bytes[count++] = (uint8_t)(64 + i);
	fill_random(data, size, 7);
	for (size_t i = 0; i < size; i++)
		data[i] = bytes[data[i] % count];
}

static void is_not_fooled_by_magics_in_bzip2_blocks(void **state)
{
	(void)state;
	struct error err;
	static const uint16_t block[] = {0x3141, 0x5926, 0x5359}, end[] = {0x1772, 0x4538, 0x5090};
	enum {
		SIZE = 1000000
	};
	uint8_t *data = malloc(SIZE);
	auto_buffer struct buffer out = {.cap = 4 << 20};
	for (int i = 0; i < 2; i++) {
		make_false_magics(data, SIZE, i == 0 ? block : end);
		auto_buffer struct buffer packed = {.cap = 4 << 20};
		compress_bzip2(data, SIZE / 2, &packed);
		compress_bzip2(data + SIZE / 2, SIZE / 2, &packed);
		expect_content(&packed, data, SIZE);
		for (size_t size = 100; size < packed.size; size += packed.size / 100)
			assert_fails(decode_memory(packed.data, size, &out, &err), ERROR_CORRUPT,
				     "bzip2");
	}
	free(data);
}

static void checks_every_sum_of_bzip2(void **state)
{
	(void)state;
	struct error err;
	uint8_t data[250000];
	make_data(data, sizeof(data));
	auto_buffer struct buffer packed = {.cap = 1 << 20}, out = {.cap = 1 << 20};
	compress_bzip2(data, sizeof(data), &packed);
	expect_content(&packed, data, sizeof(data));
	/* Of the first block. */
	packed.data[11] ^= 1;
	assert_fails(decode_memory(packed.data, packed.size, &out, &err), ERROR_CORRUPT,
		     "checksum of a block");
	packed.data[11] ^= 1;
	/* Of all: its last bits are in the last byte but one. */
	packed.data[packed.size - 2] ^= 0x80;
	assert_fails(decode_memory(packed.data, packed.size, &out, &err), ERROR_CORRUPT,
		     "checksum of all blocks");
	packed.data[packed.size - 2] ^= 0x80;
	/* A level that is too low for the blocks. */
	auto_buffer struct buffer large = {.cap = 1 << 20};
	unsigned room = 400000;
	assert_ok(buffer_reserve(&large, room, &err));
	assert_int_equal(BZ2_bzBuffToBuffCompress((char *)large.data, &room, (char *)data,
						  sizeof(data), 9, 0, 0),
			 BZ_OK);
	large.size = room;
	expect_content(&large, data, sizeof(data));
	large.data[3] = '1';
	assert_fails(decode_memory(large.data, large.size, &out, &err), ERROR_CORRUPT,
		     "invalid block");
}

/* Runs of every length around those that bzip2 writes in another way. */
static void decodes_runs_of_bzip2(void **state)
{
	(void)state;
	enum {
		SIZE = 400000
	};
	uint8_t *data = malloc(SIZE);
	size_t have = 0;
	for (unsigned run = 1; have + run <= SIZE; run = run % 600 + 1) {
		memset(data + have, (int)(run * 7), run);
		have += run;
	}
	auto_buffer struct buffer packed = {.cap = 1 << 20};
	compress_bzip2(data, have, &packed);
	expect_content(&packed, data, have);
	/* All of one byte. */
	memset(data, 0, SIZE);
	packed.size = 0;
	compress_bzip2(data, SIZE, &packed);
	expect_content(&packed, data, SIZE);
	free(data);
}

/* Whoever stops reading gets all threads joined and all memory back, whenever that is. */
static void can_be_closed_at_any_moment(void **state)
{
	(void)state;
	struct error err;
	enum {
		SIZE = 4000000
	};
	uint8_t *data = malloc(SIZE), *out = malloc(SIZE);
	make_data(data, SIZE);
	for (size_t i = 0; i < COUNT(formats); i++) {
		auto_buffer struct buffer packed = {.cap = 16 << 20};
		for (size_t at = 0; at < SIZE; at += 40000)
			if (formats[i] == COMPRESSION_GZIP)
				add_bgzf(data + at, 40000, &packed);
			else
				pack(formats[i], data + at, 40000, &packed);
		for (size_t most = 0; most < SIZE; most += 199999) {
			struct decompress_options options = {.threads = 4};
			struct stream *stream = NULL;
			assert_ok(decompress_stream_with(in_pieces(packed.data, packed.size, 5000),
							 &options, &stream, NULL, &err));
			if (most > 0)
				assert_int_equal(stream_read_full(stream, out, most, &err), most);
			stream_close(stream);
			assert_true(most == 0 || memcmp(out, data, most) == 0);
		}
	}
	free(data);
	free(out);
}

static void says_when_xz_asks_for_too_much_memory(void **state)
{
	(void)state;
	struct error err;
	lzma_options_lzma options;
	lzma_lzma_preset(&options, 0);
	options.dict_size = 1u << 30;
	lzma_filter filters[] = {{LZMA_FILTER_LZMA2, &options}, {LZMA_VLI_UNKNOWN, NULL}};
	/* The encoder would need ten times as much: only the headers are made, by hand. */
	lzma_stream_flags flags = {.version = 0, .check = LZMA_CHECK_CRC32};
	lzma_block block = {.version = 1,
			    .check = LZMA_CHECK_CRC32,
			    .filters = filters,
			    .compressed_size = LZMA_VLI_UNKNOWN,
			    .uncompressed_size = LZMA_VLI_UNKNOWN};
	uint8_t data[LZMA_STREAM_HEADER_SIZE + LZMA_BLOCK_HEADER_SIZE_MAX] = {0};
	assert_int_equal(lzma_stream_header_encode(&flags, data), LZMA_OK);
	assert_int_equal(lzma_block_header_size(&block), LZMA_OK);
	assert_int_equal(lzma_block_header_encode(&block, data + LZMA_STREAM_HEADER_SIZE), LZMA_OK);
	auto_buffer struct buffer out = {.cap = 0};
	assert_fails(decode_memory(data, sizeof(data), &out, &err), ERROR_UNSUPPORTED,
		     "512 are allowed");
}

static ssize_t failing_read(struct stream *stream, void *data, size_t size, struct error *err)
{
	if (stream->read_bytes > 0)
		return error_set(err, ERROR_NETWORK, "the line is cut");
	assert_true(size >= 20);
	memcpy(data, "\x1f\x8b\x08\0\0\0\0\0\0\x03", 10);
	return 10;
}

/* A failure of the source stays what it is: the retry depends on it. */
static void passes_the_failure_of_the_source(void **state)
{
	(void)state;
	struct error err;
	static const struct stream_operations operations = {.read = failing_read,
							    .close = pieces_close};
	struct stream *below = calloc(1, sizeof(*below));
	assert_non_null(below);
	*below = (struct stream){.operations = &operations, .size_bytes = STREAM_SIZE_UNKNOWN};
	auto_buffer struct buffer out = {.cap = 0};
	assert_fails(decode(below, 4096, &out, NULL, &err), ERROR_NETWORK, "the line is cut");
}

static ssize_t wrong_at_its_end(struct stream *stream, void *data, size_t size, struct error *err)
{
	ssize_t got = pieces_read(stream, data, size, err);
	return got > 0 ? got : error_set(err, ERROR_CORRUPT, "the checksum is wrong");
}

/* The data is sound, what is below says that it is the wrong data: nobody is to look for an error
 * in the compression. */
static void leaves_the_words_of_a_wrong_checksum_alone(void **state)
{
	(void)state;
	static const struct stream_operations operations = {.read = wrong_at_its_end,
							    .close = pieces_close};
	static const uint8_t data[100000];
	for (enum compression format = COMPRESSION_NONE + 1; format < COMPRESSION_COUNT; format++) {
		for (unsigned threads = 1; threads <= 3; threads++) {
			struct error err;
			auto_buffer struct buffer packed = {.cap = 0}, out = {.cap = 0};
			pack(format, data, sizeof(data), &packed);
			struct stream *below = in_pieces(packed.data, packed.size, 4096);
			below->operations = &operations;
			assert_fails(decode(below, 4096, &out, NULL, &err), ERROR_CORRUPT,
				     "the checksum is wrong");
			assert_null(strstr(err.text, "data is corrupt"));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(decodes_every_format),
		cmocka_unit_test(passes_what_is_not_compressed),
		cmocka_unit_test(refuses_nothing_at_all),
		cmocka_unit_test(decodes_to_nothing),
		cmocka_unit_test(tells_formats_by_their_first_bytes),
		cmocka_unit_test(decodes_several_parts),
		cmocka_unit_test(takes_zeros_between_xz_streams),
		cmocka_unit_test(says_when_a_zstd_dictionary_is_missing),
		cmocka_unit_test(refuses_several_parts_without_an_end),
		cmocka_unit_test(passes_over_skippable_zstd_frames),
		cmocka_unit_test(refuses_a_cut_at_every_byte),
		cmocka_unit_test(refuses_garbage_behind_the_end),
		cmocka_unit_test(takes_zeros_behind_the_end),
		cmocka_unit_test(never_gives_other_content),
		cmocka_unit_test(tells_the_size_that_a_zstd_frame_has),
		cmocka_unit_test(says_when_a_zstd_window_is_too_large),
		cmocka_unit_test(says_when_xz_asks_for_too_much_memory),
		cmocka_unit_test(decodes_bgzip_by_several_threads),
		cmocka_unit_test(decodes_zstd_frames_by_several_threads),
		cmocka_unit_test(is_not_fooled_by_magics_in_bzip2_blocks),
		cmocka_unit_test(checks_every_sum_of_bzip2),
		cmocka_unit_test(decodes_runs_of_bzip2),
		cmocka_unit_test(can_be_closed_at_any_moment),
		cmocka_unit_test(refuses_legacy_lz4),
		cmocka_unit_test(reads_every_field_of_a_gzip_header),
		cmocka_unit_test(checks_both_fields_of_the_gzip_trailer),
		cmocka_unit_test(passes_the_failure_of_the_source),
		cmocka_unit_test(leaves_the_words_of_a_wrong_checksum_alone),
	};
	return cmocka_run_group_tests_name("decompress", tests, NULL, NULL);
}
