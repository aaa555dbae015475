/*
 * Android sparse images, as img2simg and fastboot's tools write them (system/core/libsparse of
 * Android, sparse_format.h): a header, then chunks of the disk in order: raw data, a pattern of
 * four bytes, nothing ("don't care", zeros here), and checksums of all that came before.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "platform/crc32.h"
#include "platform/image.h"

enum {
	HEADER_BYTES = 28,
	CHUNK_HEADER_BYTES = 12,
	SKIPPED_MOST = 4096 /* of a header longer than is known */
};

enum chunk_type {
	CHUNK_RAW = 0xcac1,
	CHUNK_FILL = 0xcac2,
	CHUNK_DONT_CARE = 0xcac3,
	CHUNK_CRC32 = 0xcac4
};

struct sparse {
	struct image image;
	struct stream *stream;
	uint32_t block_bytes;
	uint32_t chunk_header_bytes;
	uint32_t chunks_left;
	uint32_t checksum; /* of the whole disk; 0: not told */
	uint32_t crc;      /* of what was given */
	uint64_t offset;   /* likewise: how much */
	/* The chunk that is being read. */
	unsigned type;
	uint64_t left_bytes;
	uint8_t fill[4];
};

static uint16_t get16(const uint8_t *data)
{
	return (uint16_t)(data[0] | data[1] << 8);
}

static uint32_t get32(const uint8_t *data)
{
	return data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 | (uint32_t)data[3] << 24;
}

static bool sparse_detect(const uint8_t *head, size_t size)
{
	return size >= 4 && memcmp(head, "\x3a\xff\x26\xed", 4) == 0;
}

/* Exactly size bytes. */
static int read_whole(struct sparse *self, void *data, size_t size, struct error *err)
{
	ssize_t got = stream_read_full(self->stream, data, size, err);
	if (got < 0)
		return -1;
	if ((size_t)got < size)
		return error_set(err, ERROR_CORRUPT,
				 "the Android sparse image is cut: it ends after %" PRIu64
				 " bytes, %" PRIu64 " of %" PRIu64 " of the disk",
				 stream_position(self->stream), self->offset,
				 self->image.size_bytes);
	return 0;
}

/* A header, of which the first known bytes are looked at. */
static int read_header(struct sparse *self, uint8_t *header, size_t known, size_t size,
		       struct error *err)
{
	uint8_t skipped[SKIPPED_MOST];
	if (read_whole(self, header, known, err) < 0)
		return -1;
	return size > known ? read_whole(self, skipped, size - known, err) : 0;
}

static int bad_chunk(struct sparse *self, const char *what, struct error *err)
{
	return error_set(err, ERROR_CORRUPT,
			 "the Android sparse image is corrupt: %s at byte %" PRIu64
			 ", for the disk's byte %" PRIu64,
			 what, stream_position(self->stream), self->offset);
}

static int check_crc(struct sparse *self, uint32_t expected, struct error *err)
{
	if (expected == self->crc)
		return 0;
	return error_set(err, ERROR_CORRUPT,
			 "the Android sparse image is corrupt: the first %" PRIu64
			 " bytes of the disk have the CRC-32 %08" PRIx32 ", not %08" PRIx32,
			 self->offset, self->crc, expected);
}

/* Reads one chunk's header and what is not data behind it. */
static int read_chunk(struct sparse *self, struct error *err)
{
	uint8_t header[CHUNK_HEADER_BYTES], word[4];
	if (read_header(self, header, sizeof(header), self->chunk_header_bytes, err) < 0)
		return -1;
	self->chunks_left--;
	self->type = get16(header);
	uint64_t bytes = (uint64_t)get32(header + 4) * self->block_bytes;
	uint64_t in_file = (uint64_t)get32(header + 8);
	uint64_t expected = self->chunk_header_bytes;
	if (self->type == CHUNK_RAW)
		expected += bytes;
	else if (self->type == CHUNK_FILL || self->type == CHUNK_CRC32)
		expected += 4;
	else if (self->type != CHUNK_DONT_CARE)
		return bad_chunk(self, "a chunk of an unknown type", err);
	if (in_file != expected || (self->type == CHUNK_CRC32 && bytes != 0))
		return bad_chunk(self, "a chunk of the wrong length", err);
	if (bytes > self->image.size_bytes - self->offset)
		return bad_chunk(self, "a chunk beyond the end of the disk", err);
	if (self->type == CHUNK_FILL || self->type == CHUNK_CRC32) {
		if (read_whole(self, word, sizeof(word), err) < 0)
			return -1;
		memcpy(self->fill, word, sizeof(word));
		if (self->type == CHUNK_CRC32 && check_crc(self, get32(word), err) < 0)
			return -1;
	}
	self->left_bytes = bytes;
	return 0;
}

/* Goes on to the next chunk that is of the disk. 1, or 0 when there is none. */
static int next_chunk(struct sparse *self, struct error *err)
{
	while (self->left_bytes == 0) {
		if (self->chunks_left == 0)
			return 0;
		if (read_chunk(self, err) < 0)
			return -1;
	}
	return 1;
}

static int finish(struct sparse *self, struct error *err)
{
	uint8_t more;
	if (self->offset != self->image.size_bytes)
		return bad_chunk(self, "the last chunk ends before the disk does", err);
	if (self->checksum != 0 && check_crc(self, self->checksum, err) < 0)
		return -1;
	ssize_t got = stream_read(self->stream, &more, 1, err);
	if (got > 0)
		return bad_chunk(self, "something stands behind the last chunk", err);
	return got < 0 ? -1 : 0;
}

static bool is_zero(const struct sparse *self)
{
	return self->type == CHUNK_DONT_CARE ||
	       (self->type == CHUNK_FILL && get32(self->fill) == 0);
}

/* The next part of a chunk of data, at most size bytes. */
static int read_data(struct sparse *self, uint8_t *data, size_t size, size_t *ret_count,
		     struct error *err)
{
	size_t count = self->left_bytes < size ? (size_t)self->left_bytes : size;
	if (self->type == CHUNK_RAW) {
		if (read_whole(self, data, count, err) < 0)
			return -1;
	} else {
		memcpy(data, self->fill, 4);
		for (size_t have = 4; have < count; have *= 2)
			memcpy(data + have, data, have < count - have ? have : count - have);
	}
	self->crc = crc32_add(self->crc, data, count);
	self->offset += count;
	self->left_bytes -= count;
	*ret_count = count;
	return 0;
}

static int sparse_read(struct image *image, void *data, size_t size, struct extent *ret_extent,
		       struct error *err)
{
	struct sparse *self = (struct sparse *)image;
	struct extent extent = {.offset = self->offset};
	int result = next_chunk(self, err);
	if (result < 0)
		return -1;
	if (result == 0)
		return finish(self, err);
	if (is_zero(self)) {
		extent.zero = true;
		extent.size_bytes = self->left_bytes;
		self->crc = crc32_add_zeros(self->crc, self->left_bytes);
		self->offset += self->left_bytes;
		self->left_bytes = 0;
		*ret_extent = extent;
		return 1;
	}
	while (extent.size_bytes < size && result > 0 && !is_zero(self)) {
		size_t count;
		if (read_data(self, (uint8_t *)data + extent.size_bytes,
			      size - (size_t)extent.size_bytes, &count, err) < 0)
			return -1;
		extent.size_bytes += count;
		result = next_chunk(self, err);
		if (result < 0)
			return -1;
	}
	*ret_extent = extent;
	return 1;
}

static void sparse_close(struct image *image)
{
	struct sparse *self = (struct sparse *)image;
	stream_close(self->stream);
	free(self);
}

static int check_header(struct sparse *self, const uint8_t *header, struct error *err)
{
	unsigned header_bytes = get16(header + 8);
	self->chunk_header_bytes = get16(header + 10);
	self->block_bytes = get32(header + 12);
	self->image.size_bytes = (uint64_t)self->block_bytes * get32(header + 16);
	self->image.least_bytes = self->image.size_bytes;
	self->chunks_left = get32(header + 20);
	self->checksum = get32(header + 24);
	if (get16(header + 4) != 1)
		return error_set(err, ERROR_UNSUPPORTED,
				 "an Android sparse image of version %u: 1 is read; convert it "
				 "(simg2img)",
				 get16(header + 4));
	if (header_bytes < HEADER_BYTES || header_bytes > HEADER_BYTES + SKIPPED_MOST ||
	    self->chunk_header_bytes < CHUNK_HEADER_BYTES ||
	    self->chunk_header_bytes > CHUNK_HEADER_BYTES + SKIPPED_MOST)
		return error_set(err, ERROR_CORRUPT,
				 "the Android sparse image is corrupt: headers of %u and %" PRIu32
				 " bytes",
				 header_bytes, self->chunk_header_bytes);
	if (self->block_bytes == 0 || self->block_bytes % 512 != 0)
		return error_set(err, ERROR_UNSUPPORTED,
				 "an Android sparse image with blocks of %" PRIu32
				 " bytes, which are no sectors: convert it (simg2img)",
				 self->block_bytes);
	return 0;
}

static int sparse_open(struct image_input *input, struct image **ret_image, struct error *err)
{
	static const struct image_operations operations = {.read = sparse_read,
							   .close = sparse_close};
	struct sparse *self = calloc(1, sizeof(*self));
	if (!self)
		abort();
	self->image = (struct image){.operations = &operations, .form = "Android sparse"};
	self->stream = input->stream;
	uint8_t header[HEADER_BYTES], skipped[SKIPPED_MOST];
	if (read_whole(self, header, sizeof(header), err) < 0 ||
	    check_header(self, header, err) < 0 ||
	    read_whole(self, skipped, (size_t)get16(header + 8) - sizeof(header), err) < 0) {
		sparse_close(&self->image);
		return -1;
	}
	*ret_image = &self->image;
	return 0;
}

const struct image_form image_form_android_sparse = {
	.name = "Android sparse", .detect = sparse_detect, .open = sparse_open};
