/*
 * qcow2 files, read in order and by ranges, the stream in pieces whose size the first byte says.
 * Each byte of the disk arrives once; what can be read in both ways is the same.
 */
#include "tests/fuzz/fuzz.h"

#include "platform/image.h"
#include "tests/source_memory.h"

enum {
	DISK_MOST = 4 << 20, /* a larger disk is read only in part, and not compared */
	BUFFER = 64 << 10
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
	count = count < self->piece ? count : self->piece;
	count = count < size ? count : size;
	if (count > 0)
		memcpy(data, self->data + self->at, count);
	self->at += count;
	return (ssize_t)count;
}

static void pieces_close(struct stream *stream)
{
	free(stream);
}

static struct stream *in_pieces(const uint8_t *data, size_t size, size_t piece, bool size_known)
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

static void put(struct disk *disk, const struct extent *extent, const uint8_t *data)
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

/* 0 when read to the end, 1 when there is too much of it, -1 on failure. */
static int read_disk(struct image_input *input, struct disk *disk, struct error *err)
{
	auto_image struct image *image = NULL;
	if (image_form_qcow2.open(input, &image, err) < 0)
		return -1;
	disk->size = image->size_bytes;
	if (disk->size <= DISK_MOST) {
		disk->data = malloc(disk->size + 1);
		disk->seen = calloc(1, disk->size + 1);
		require(disk->data && disk->seen);
	}
	static uint8_t data[BUFFER];
	struct extent extent;
	for (unsigned i = 0; i < 20000; i++) {
		int result = image->operations->read(image, data, sizeof(data), &extent, err);
		if (result == 0)
			require(disk->seen_bytes == disk->size);
		if (result <= 0)
			return result;
		put(disk, &extent, data);
	}
	return 1;
}

static void require_known(const struct error *err)
{
	require(err->kind == ERROR_CORRUPT || err->kind == ERROR_UNSUPPORTED ||
		err->kind == ERROR_INPUT || err->kind == ERROR_MEMORY);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 5 || !image_form_qcow2.detect(data + 1, size - 1))
		return 0;
	size_t piece = 1 + (size_t)(data[0] & 127) * 97;
	bool size_known = data[0] & 128;
	data++;
	size--;
	struct error err = {.kind = ERROR_NONE};
	struct source source = {.data = data, .size = size};
	struct image_input input = {.head = data,
				    .head_size = size < IMAGE_HEAD_BYTES ? size : IMAGE_HEAD_BYTES,
				    .threads = 1};
	struct disk in_order = {.size = 0}, by_ranges = {.size = 0};
	input.stream = in_pieces(data, size, piece, size_known);
	int first = read_disk(&input, &in_order, &err);
	if (first < 0)
		require_known(&err);
	input.stream = in_pieces(data, size, piece, true);
	input.source = &source;
	int second = read_disk(&input, &by_ranges, &err);
	if (second < 0)
		require_known(&err);
	if (first == 0 && second == 0) {
		require(in_order.size == by_ranges.size);
		require(in_order.size > DISK_MOST ||
			memcmp(in_order.data, by_ranges.data, in_order.size) == 0);
	}
	/* Tables by ranges are read before data, and all of them: nothing is found that way only.
	 */
	require(first != 0 || second != -1);
	free(in_order.data);
	free(in_order.seen);
	free(by_ranges.data);
	free(by_ranges.seen);
	return 0;
}
