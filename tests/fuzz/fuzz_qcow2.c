/*
 * qcow2 files, read in order and by ranges, the stream in pieces whose size the first byte says.
 * What can be read in both ways is the same.
 */
#include "tests/fuzz/fuzz_image.h"

#include "tests/source_memory.h"

static int read_qcow2(struct image_input *input, struct disk *disk)
{
	struct error err = {.kind = ERROR_NONE};
	struct image *image;
	int result = image_form_qcow2.open(input, &image, &err);
	if (result == 0)
		result = read_disk(image, disk, &err);
	if (result < 0)
		require_known(&err);
	return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 5 || !image_form_qcow2.detect(data + 1, size - 1))
		return 0;
	size_t piece = 1 + (size_t)(data[0] & 127) * 97;
	bool size_known = data[0] & 128;
	data++;
	size--;
	struct source source = {.data = data, .size = size};
	struct image_input input = {.head = data,
				    .head_size = size < IMAGE_HEAD_BYTES ? size : IMAGE_HEAD_BYTES,
				    .threads = 1};
	struct disk in_order = {.size = 0}, by_ranges = {.size = 0};
	input.stream = in_pieces(data, size, piece, size_known);
	int first = read_qcow2(&input, &in_order);
	input.stream = in_pieces(data, size, piece, true);
	input.source = &source;
	int second = read_qcow2(&input, &by_ranges);
	require_same(first, &in_order, second, &by_ranges);
	/* All tables are looked at in both ways: what one finds the other finds. */
	require(first != 0 || second != -1);
	disk_free(&in_order);
	disk_free(&by_ranges);
	return 0;
}
