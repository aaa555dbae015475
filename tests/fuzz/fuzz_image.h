/*
 * What the targets of image forms share: a stream in small pieces, and a disk that is read out of
 * an image: each byte of it must arrive once.
 */
#ifndef TESTS_FUZZ_FUZZ_IMAGE_H
#define TESTS_FUZZ_FUZZ_IMAGE_H

#include "tests/fuzz/fuzz.h"

#include "platform/image.h"

enum {
	DISK_MOST = 4 << 20, /* a larger disk is read only in part, and not compared */
	BUFFER = 64 << 10
};

struct pieces {
	struct stream stream;
	const uint8_t *data;
	size_t size, at, piece;
};

static inline ssize_t pieces_read(struct stream *stream, void *data, size_t size, struct error *err)
{
	(void)err;
	struct pieces *self = (struct pieces *)stream;
	size_t count = self->size - self->at;
	count = count < self->piece ? count : self->piece;
	count = count < size ? count : size;
	if (count > 0)
		memcpy(data, self->data + self->at, count);
	self->at += count;
	return (ssize_t)count;
}

static inline void pieces_close(struct stream *stream)
{
	free(stream);
}

static inline struct stream *in_pieces(const uint8_t *data, size_t size, size_t piece,
				       bool size_known)
{
	static const struct stream_operations operations = {.read = pieces_read,
							    .close = pieces_close};
	struct pieces *self = calloc(1, sizeof(*self));
	require(self != NULL);
	*self = (struct pieces){.stream = {.operations = &operations,
					   .size_bytes = size_known ? size : STREAM_SIZE_UNKNOWN},
				.data = data,
				.size = size,
				.piece = piece};
	return &self->stream;
}

/* What was read of a disk: 0xff where nothing was. */
struct disk {
	uint64_t size;
	uint64_t seen_bytes;
	uint8_t *data;
	uint8_t *seen;
};

static inline void put(struct disk *disk, const struct extent *extent, const uint8_t *data)
{
	require(extent->size_bytes > 0 && extent->offset < disk->size &&
		extent->size_bytes <= disk->size - extent->offset);
	require(extent->zero || extent->size_bytes <= BUFFER);
	disk->seen_bytes += extent->size_bytes;
	if (disk->size > DISK_MOST)
		return;
	for (uint64_t i = extent->offset; i < extent->offset + extent->size_bytes; i++)
		require(!disk->seen[i]++);
	if (extent->zero)
		memset(disk->data + extent->offset, 0, extent->size_bytes);
	else
		memcpy(disk->data + extent->offset, data, extent->size_bytes);
}

/* Reads an image to its end and closes it. 0 when read to the end, 1 when there is too much of it,
 * -1 on failure. */
static inline int read_disk(struct image *image, struct disk *disk, struct error *err)
{
	disk->size = image->size_bytes;
	if (disk->size <= DISK_MOST) {
		disk->data = malloc(disk->size + 1);
		disk->seen = calloc(1, disk->size + 1);
		require(disk->data && disk->seen);
	}
	static uint8_t data[BUFFER];
	struct extent extent;
	int result = 1;
	unsigned most = disk->size > DISK_MOST ? 200 : UINT32_MAX;
	for (unsigned i = 0; i < most && result > 0; i++) {
		result = image->operations->read(image, data, sizeof(data), &extent, err);
		if (result == 0)
			require(disk->seen_bytes == disk->size);
		if (result > 0)
			put(disk, &extent, data);
	}
	image->operations->close(image);
	return result;
}

static inline void require_known(const struct error *err)
{
	require(err->kind == ERROR_CORRUPT || err->kind == ERROR_UNSUPPORTED ||
		err->kind == ERROR_INPUT || err->kind == ERROR_MEMORY);
}

/* Whether both were read and are the same, or one was not. */
static inline void require_same(int first, const struct disk *one, int second,
				const struct disk *other)
{
	if (first != 0 || second != 0)
		return;
	require(one->size == other->size);
	require(one->size > DISK_MOST || memcmp(one->data, other->data, one->size) == 0);
}

static inline void disk_free(struct disk *disk)
{
	free(disk->data);
	free(disk->seen);
}

/* A form that is read in order: the same whatever pieces it comes in. */
static inline void try_form(const struct image_form *form, const uint8_t *data, size_t size)
{
	if (size < 5 || !form->detect(data + 1, size - 1))
		return;
	size_t piece = 1 + (size_t)(data[0] & 127) * 97;
	bool size_known = data[0] & 128;
	struct error err = {.kind = ERROR_NONE};
	struct disk disks[2] = {{.size = 0}, {.size = 0}};
	int results[2];
	for (int i = 0; i < 2; i++) {
		struct image_input input = {
			.stream = in_pieces(data + 1, size - 1, i ? SIZE_MAX : piece, size_known),
			.head = data + 1,
			.head_size = size - 1 < IMAGE_HEAD_BYTES ? size - 1 : IMAGE_HEAD_BYTES,
			.threads = 1};
		struct image *image;
		results[i] = form->open(&input, &image, &err);
		if (results[i] == 0)
			results[i] = read_disk(image, &disks[i], &err);
		if (results[i] < 0)
			require_known(&err);
	}
	require(results[0] == results[1]);
	require_same(results[0], &disks[0], results[1], &disks[1]);
	disk_free(&disks[0]);
	disk_free(&disks[1]);
}

#endif
