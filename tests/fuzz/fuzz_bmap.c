/*
 * Block maps. The first byte says in which pieces the image comes and whether its size is known,
 * the next two how long it is; it follows, and then the map. In order and by ranges the same comes
 * out, except that data where the map has none is noticed in order only.
 */
#include "tests/fuzz/fuzz_image.h"

#include "tests/source_memory.h"

static int read_mapped(struct stream *stream, struct source *source, const uint8_t *text,
		       size_t size, struct disk *disk)
{
	struct error err = {.kind = ERROR_NONE};
	struct image *image;
	int result = image_bmap(stream, source, (const char *)text, size, &image, &err);
	if (result == 0)
		result = read_disk(image, disk, &err);
	if (result < 0)
		require_known(&err);
	return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 3)
		return 0;
	size_t piece = 1 + (size_t)(data[0] & 127) * 97;
	bool size_known = data[0] & 128;
	size_t image_size = data[1] | (size_t)data[2] << 8;
	if (image_size > size - 3)
		return 0;
	const uint8_t *image = data + 3, *text = image + image_size;
	size_t text_size = size - 3 - image_size;
	struct source source = {.data = image, .size = image_size};
	struct disk in_order = {.size = 0}, by_ranges = {.size = 0};
	int first = read_mapped(in_pieces(image, image_size, piece, size_known), NULL, text,
				text_size, &in_order);
	int second = read_mapped(in_pieces(image, image_size, piece, true), &source, text,
				 text_size, &by_ranges);
	require_same(first, &in_order, second, &by_ranges);
	require(first != 0 || second != -1);
	disk_free(&in_order);
	disk_free(&by_ranges);
	return 0;
}
