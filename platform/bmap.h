/*
 * The text of a block map (.bmap), as bmaptool writes it: which blocks of an image are data, and
 * their checksums. For bmap.c, which reads the image, and the tests.
 */
#ifndef PLATFORM_BMAP_H
#define PLATFORM_BMAP_H

#include "platform/digest.h"

enum {
	BMAP_NO_CHECKSUM = -1
};

/* A run of blocks that are data. */
struct bmap_range {
	uint64_t first;
	uint64_t count;
	int64_t checksum; /* index in checksums, or BMAP_NO_CHECKSUM */
};

struct bmap {
	unsigned major, minor;
	uint64_t image_bytes;
	uint64_t block_bytes;
	uint64_t blocks;
	uint64_t mapped_blocks;
	struct bmap_range *ranges; /* in ascending order, apart */
	size_t range_count;
	struct digester *digester; /* NULL: there are no checksums */
	size_t digest_bytes;
	uint8_t *checksums; /* digest_bytes each */
	size_t checksum_count;
};

/*
 * Reads a map of versions 1.2 to 2.0 strictly, and verifies its checksum of itself. ERROR_CORRUPT
 * for what cannot be, ERROR_UNSUPPORTED for other versions and checksums, ERROR_INPUT for what is
 * no block map at all.
 */
int bmap_parse(const char *text, size_t size, struct bmap *ret_bmap, struct error *err);
void bmap_free(struct bmap *bmap);

#endif
