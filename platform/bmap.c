/*
 * A raw image read by its block map: what is mapped is data and its checksums are verified, the
 * rest is zeros. Where ranges can be had only what is mapped is fetched; in order everything
 * arrives, and what is not mapped must be zeros then: otherwise the map is not the image's.
 */
#include "platform/bmap.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "platform/image.h"
#include "platform/memory.h"
#include "platform/spans.h"

enum {
	SKIP_BYTES = 256 << 10,
	IN_FLIGHT = 4
};

struct mapped {
	struct image image;
	struct bmap bmap;
	struct stream *stream;
	struct span *spans; /* the stream has only these; NULL: everything */
	uint64_t offset;    /* what was given so far */
	size_t range;       /* the one that comes next, or is being read */
	uint8_t *skipped;
};

static uint64_t block_end(const struct mapped *self, uint64_t block)
{
	uint64_t end = block * self->bmap.block_bytes;
	return end < self->bmap.image_bytes ? end : self->bmap.image_bytes;
}

static int cut(const struct mapped *self, struct error *err)
{
	return error_set(err, ERROR_CORRUPT,
			 "the image is cut: it ends after %" PRIu64
			 " bytes, its block map is of one of %" PRIu64,
			 stream_position(self->stream), self->bmap.image_bytes);
}

/* Reads over what is not mapped. */
static int skip_unmapped(struct mapped *self, uint64_t until, struct error *err)
{
	for (uint64_t at = self->offset; at < until;) {
		size_t count = until - at < SKIP_BYTES ? (size_t)(until - at) : SKIP_BYTES;
		ssize_t got = stream_read(self->stream, self->skipped, count, err);
		if (got < 0)
			return -1;
		if (got == 0)
			return cut(self, err);
		if (!memory_is_zero(self->skipped, (size_t)got))
			return error_set(err, ERROR_CORRUPT,
					 "the block map does not belong to the image: there is "
					 "data between the bytes %" PRIu64 " and %" PRIu64
					 ", where it has none",
					 at, at + (uint64_t)got);
		at += (uint64_t)got;
	}
	return 0;
}

/* At the end of a range. */
static int check_range(struct mapped *self, const struct bmap_range *range, struct error *err)
{
	uint8_t is[DIGEST_MAX_BYTES];
	if (range->checksum == BMAP_NO_CHECKSUM)
		return 0;
	digester_finish(self->bmap.digester, is);
	const uint8_t *expected =
		self->bmap.checksums + (size_t)range->checksum * self->bmap.digest_bytes;
	if (memcmp(is, expected, self->bmap.digest_bytes) == 0)
		return 0;
	return error_set(err, ERROR_CORRUPT,
			 "wrong checksum: the image's blocks %" PRIu64 " to %" PRIu64 " (%" PRIu64
			 " bytes each) are not what its block map says",
			 range->first, range->first + range->count - 1, self->bmap.block_bytes);
}

static int finish(struct mapped *self, struct error *err)
{
	uint8_t more;
	ssize_t got = stream_read(self->stream, &more, 1, err);
	if (got > 0)
		return error_set(err, ERROR_CORRUPT,
				 "the image is longer than its block map says (%" PRIu64 " bytes)",
				 self->bmap.image_bytes);
	return got < 0 ? -1 : 0;
}

static int read_zeros(struct mapped *self, uint64_t until, struct extent *ret_extent,
		      struct error *err)
{
	if (!self->spans && skip_unmapped(self, until, err) < 0)
		return -1;
	*ret_extent = (struct extent){self->offset, until - self->offset, true};
	self->offset = until;
	return 1;
}

static int mapped_read(struct image *image, void *data, size_t size, struct extent *ret_extent,
		       struct error *err)
{
	struct mapped *self = (struct mapped *)image;
	const struct bmap *bmap = &self->bmap;
	const struct bmap_range *range =
		self->range < bmap->range_count ? &bmap->ranges[self->range] : NULL;
	if (self->offset == bmap->image_bytes)
		return finish(self, err);
	uint64_t begin = range ? block_end(self, range->first) : bmap->image_bytes;
	if (!range || self->offset < begin)
		return read_zeros(self, begin, ret_extent, err);
	uint64_t end = block_end(self, range->first + range->count);
	size_t count = end - self->offset < size ? (size_t)(end - self->offset) : size;
	ssize_t got = stream_read_full(self->stream, data, count, err);
	if (got < 0)
		return -1;
	if ((size_t)got < count)
		return cut(self, err);
	if (range->checksum != BMAP_NO_CHECKSUM)
		digester_add(bmap->digester, data, count);
	*ret_extent = (struct extent){.offset = self->offset, .size_bytes = count};
	self->offset += count;
	if (self->offset == end) {
		self->range++;
		if (check_range(self, range, err) < 0)
			return -1;
	}
	return 1;
}

static void mapped_close(struct image *image)
{
	struct mapped *self = (struct mapped *)image;
	stream_close(self->stream);
	bmap_free(&self->bmap);
	free(self->spans);
	free(self->skipped);
	free(self);
}

/* Reads only what is mapped from now on. */
static int fetch_mapped(struct mapped *self, struct source *source, struct error *err)
{
	self->spans = calloc(self->bmap.range_count, sizeof(self->spans[0]));
	if (!self->spans)
		return error_set(err, ERROR_MEMORY, "no memory for the block map");
	size_t count = 0;
	for (size_t i = 0; i < self->bmap.range_count; i++) {
		const struct bmap_range *range = &self->bmap.ranges[i];
		uint64_t begin = block_end(self, range->first);
		uint64_t end = block_end(self, range->first + range->count);
		struct span *last = count ? &self->spans[count - 1] : NULL;
		if (last && last->offset + last->size_bytes == begin)
			last->size_bytes = end - last->offset;
		else
			self->spans[count++] = (struct span){begin, end - begin};
	}
	struct stream *stream;
	if (spans_stream(source, self->spans, count, IN_FLIGHT, &stream, err) < 0)
		return -1;
	stream_close(self->stream);
	self->stream = stream;
	return 0;
}

/* Whether so little is mapped that fetching it by ranges is the shorter way. */
static bool is_sparse(const struct bmap *bmap)
{
	uint64_t mapped = 0;
	for (size_t i = 0; i < bmap->range_count; i++)
		mapped += bmap->ranges[i].count;
	return mapped > 0 && mapped / 3 < bmap->blocks / 4;
}

static int check_size(const struct mapped *self, uint64_t size_bytes, struct error *err)
{
	if (size_bytes == STREAM_SIZE_UNKNOWN || size_bytes == self->bmap.image_bytes)
		return 0;
	return error_set(err, ERROR_CORRUPT,
			 "the block map is of an image of %" PRIu64 " bytes, this one has %" PRIu64,
			 self->bmap.image_bytes, size_bytes);
}

int image_bmap(struct stream *stream, struct source *source, const char *text, size_t size,
	       struct image **ret_image, struct error *err)
{
	static const struct image_operations operations = {.read = mapped_read,
							   .close = mapped_close};
	struct mapped *self = calloc(1, sizeof(*self));
	if (!self)
		abort();
	self->image = (struct image){.operations = &operations, .form = "raw with a block map"};
	self->stream = stream;
	self->skipped = malloc(SKIP_BYTES);
	if (!self->skipped)
		abort();
	if (bmap_parse(text, size, &self->bmap, err) < 0 ||
	    check_size(self, stream->size_bytes, err) < 0 ||
	    (source && check_size(self, source_size(source), err) < 0) ||
	    (source && is_sparse(&self->bmap) && fetch_mapped(self, source, err) < 0)) {
		mapped_close(&self->image);
		return -1;
	}
	self->image.size_bytes = self->image.least_bytes = self->bmap.image_bytes;
	*ret_image = &self->image;
	return 0;
}
