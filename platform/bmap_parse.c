/*
 * The XML of block maps (bmaptool's docs, the comments in the files themselves): the small part of
 * XML that they are written in, and nothing else. No entities, no DOCTYPE, no CDATA. See bmap.h.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "platform/bmap.h"
#include "platform/text.h"

enum {
	NUMBER_TEXT = 24,
	BLOCK_BYTES_MOST = 1 << 30
};

/* A piece of the text. */
struct piece {
	const char *at;
	size_t size;
};

struct reader {
	const char *text;
	size_t size;
	size_t at;
	struct bmap *bmap;
	size_t range_capacity, checksum_capacity;
	struct piece type;     /* of checksums */
	struct piece checksum; /* of the map itself */
	unsigned seen;         /* bits of the elements below */
};

static int wrong(const struct reader *reader, const char *what, struct error *err)
{
	unsigned line = 1;
	for (size_t i = 0; i < reader->at && i < reader->size; i++)
		line += reader->text[i] == '\n';
	return error_set(err, ERROR_CORRUPT, "the block map is corrupt in line %u: %s", line, what);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_name(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool starts(const struct reader *reader, const char *with)
{
	size_t size = strlen(with);
	return reader->size - reader->at >= size &&
	       memcmp(reader->text + reader->at, with, size) == 0;
}

static bool take(struct reader *reader, const char *what)
{
	if (!starts(reader, what))
		return false;
	reader->at += strlen(what);
	return true;
}

static void skip_blanks(struct reader *reader)
{
	while (reader->at < reader->size && is_blank(reader->text[reader->at]))
		reader->at++;
}

/* Goes on behind the next end. */
static bool skip_past(struct reader *reader, const char *end)
{
	const char *found =
		memmem(reader->text + reader->at, reader->size - reader->at, end, strlen(end));
	if (!found)
		return false;
	reader->at = (size_t)(found - reader->text) + strlen(end);
	return true;
}

/* Blanks and comments. */
static int skip_between(struct reader *reader, struct error *err)
{
	for (;;) {
		skip_blanks(reader);
		if (!take(reader, "<!--"))
			return 0;
		if (!skip_past(reader, "-->"))
			return wrong(reader, "a comment does not end", err);
	}
}

static struct piece take_name(struct reader *reader)
{
	struct piece name = {reader->text + reader->at, 0};
	while (reader->at < reader->size && is_name(reader->text[reader->at])) {
		reader->at++;
		name.size++;
	}
	return name;
}

static bool is(struct piece piece, const char *text)
{
	return piece.size == strlen(text) && memcmp(piece.at, text, piece.size) == 0;
}

/* name="value"; ret_name->size is 0 when the tag ends. */
static int take_attribute(struct reader *reader, struct piece *ret_name, struct piece *ret_value,
			  struct error *err)
{
	skip_blanks(reader);
	*ret_name = take_name(reader);
	if (ret_name->size == 0)
		return 0;
	skip_blanks(reader);
	if (!take(reader, "="))
		return wrong(reader, "an attribute without a value", err);
	skip_blanks(reader);
	const char *quote = starts(reader, "\"") ? "\"" : "'";
	if (!take(reader, quote))
		return wrong(reader, "an attribute's value without quotes", err);
	size_t start = reader->at;
	if (!skip_past(reader, quote))
		return wrong(reader, "an attribute's value does not end", err);
	*ret_value = (struct piece){reader->text + start, reader->at - start - 1};
	if (memchr(ret_value->at, '&', ret_value->size) ||
	    memchr(ret_value->at, '<', ret_value->size))
		return wrong(reader, "an attribute with & or <", err);
	return 0;
}

/* The text up to the closing tag of name, without blanks around it, and that tag. */
static int take_text(struct reader *reader, const char *name, struct piece *ret_text,
		     struct error *err)
{
	struct piece text = {reader->text + reader->at, 0};
	while (reader->at < reader->size && reader->text[reader->at] != '<') {
		if (reader->text[reader->at] == '&')
			return wrong(reader, "a text with &", err);
		reader->at++;
		text.size++;
	}
	while (text.size > 0 && is_blank(text.at[0])) {
		text.at++;
		text.size--;
	}
	while (text.size > 0 && is_blank(text.at[text.size - 1]))
		text.size--;
	if (!take(reader, "</") || !is(take_name(reader), name))
		return wrong(reader, "an element does not end", err);
	skip_blanks(reader);
	if (!take(reader, ">"))
		return wrong(reader, "an element does not end", err);
	*ret_text = text;
	return 0;
}

static bool to_number(struct piece piece, uint64_t *ret_value)
{
	char text[NUMBER_TEXT];
	if (piece.size == 0 || piece.size >= sizeof(text) ||
	    memchr(piece.at, '\0', piece.size) != NULL)
		return false;
	memcpy(text, piece.at, piece.size);
	text[piece.size] = '\0';
	return text_parse_uint(text, 10, INT64_MAX, ret_value);
}

/* "12" or "12-15". */
static int to_range(struct reader *reader, struct piece piece, struct bmap_range *ret_range,
		    struct error *err)
{
	const char *dash = memchr(piece.at, '-', piece.size);
	struct piece first = {piece.at, dash ? (size_t)(dash - piece.at) : piece.size};
	struct piece last = dash ? (struct piece){dash + 1, piece.size - first.size - 1} : first;
	uint64_t from, to;
	if (!to_number(first, &from) || !to_number(last, &to) || to < from)
		return wrong(reader, "a range is not FIRST-LAST", err);
	const struct bmap *bmap = reader->bmap;
	uint64_t least = 0;
	if (bmap->range_count > 0) {
		const struct bmap_range *before = &bmap->ranges[bmap->range_count - 1];
		least = before->first + before->count;
	}
	if (from < least)
		return wrong(reader, "the ranges are not in order", err);
	*ret_range = (struct bmap_range){from, to - from + 1, BMAP_NO_CHECKSUM};
	return 0;
}

static bool from_hex(struct piece hex, size_t bytes, uint8_t *out)
{
	if (hex.size != 2 * bytes)
		return false;
	for (size_t i = 0; i < bytes; i++) {
		int high = text_hex_value(hex.at[2 * i]), low = text_hex_value(hex.at[2 * i + 1]);
		if (high < 0 || low < 0)
			return false;
		out[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

static void *grow(void *array, size_t count, size_t *capacity, size_t item_bytes)
{
	if (count < *capacity)
		return array;
	*capacity = *capacity ? 2 * *capacity : 64;
	void *grown = realloc(array, *capacity * item_bytes);
	if (!grown)
		abort();
	return grown;
}

/* The digester, once the checksums' type is known. */
static int learn_type(struct reader *reader, struct error *err)
{
	struct bmap *bmap = reader->bmap;
	if (bmap->digester)
		return 0;
	char name[16] = "sha1";
	if (bmap->major > 1 || bmap->minor > 3) {
		if (reader->type.size == 0 || reader->type.size >= sizeof(name))
			return wrong(reader, "checksums without ChecksumType", err);
		memcpy(name, reader->type.at, reader->type.size);
		name[reader->type.size] = '\0';
	}
	bmap->digester = digester_new(name);
	if (!bmap->digester)
		return error_set(err, ERROR_UNSUPPORTED,
				 "the block map has checksums of the type \"%s\": sha1, sha256 and "
				 "sha512 are known",
				 name);
	bmap->digest_bytes = digester_bytes(bmap->digester);
	return 0;
}

static int add_checksum(struct reader *reader, struct piece hex, struct bmap_range *range,
			struct error *err)
{
	struct bmap *bmap = reader->bmap;
	if (learn_type(reader, err) < 0)
		return -1;
	bmap->checksums = grow(bmap->checksums, bmap->checksum_count, &reader->checksum_capacity,
			       bmap->digest_bytes);
	if (!from_hex(hex, bmap->digest_bytes,
		      bmap->checksums + bmap->checksum_count * bmap->digest_bytes))
		return wrong(reader, "a checksum has the wrong length, or is not hexadecimal", err);
	range->checksum = (int64_t)bmap->checksum_count++;
	return 0;
}

/* <Range chksum="…"> 0-5 </Range>, behind "<Range". */
static int take_range(struct reader *reader, struct error *err)
{
	struct piece name = {NULL, 0}, value = {NULL, 0}, checksum = {NULL, 0}, text = {NULL, 0};
	do {
		if (take_attribute(reader, &name, &value, err) < 0)
			return -1;
		if (is(name, "chksum") || is(name, "sha1"))
			checksum = value;
		else if (name.size > 0)
			return wrong(reader, "an unknown attribute of a range", err);
	} while (name.size > 0);
	struct bmap_range range = {.first = 0};
	if (!take(reader, ">"))
		return wrong(reader, "a range's tag does not end", err);
	if (take_text(reader, "Range", &text, err) < 0 || to_range(reader, text, &range, err) < 0)
		return -1;
	if (checksum.at && add_checksum(reader, checksum, &range, err) < 0)
		return -1;
	struct bmap *bmap = reader->bmap;
	bmap->ranges = grow(bmap->ranges, bmap->range_count, &reader->range_capacity,
			    sizeof(bmap->ranges[0]));
	bmap->ranges[bmap->range_count++] = range;
	return 0;
}

/* Behind "<BlockMap>". */
static int take_ranges(struct reader *reader, struct error *err)
{
	for (;;) {
		if (skip_between(reader, err) < 0)
			return -1;
		if (take(reader, "</BlockMap>"))
			return 0;
		if (!take(reader, "<Range"))
			return wrong(reader, "something else than a range in BlockMap", err);
		if (take_range(reader, err) < 0)
			return -1;
	}
}

static int take_number(struct reader *reader, const char *name, uint64_t *ret_value,
		       struct error *err)
{
	struct piece text = {NULL, 0};
	if (take_text(reader, name, &text, err) < 0)
		return -1;
	return to_number(text, ret_value) ? 0 : wrong(reader, "a number is none", err);
}

enum element {
	IMAGE_SIZE,
	BLOCK_SIZE,
	BLOCKS_COUNT,
	MAPPED_COUNT,
	CHECKSUM_TYPE,
	FILE_CHECKSUM,
	FILE_SHA1,
	BLOCK_MAP,
	ELEMENTS
};

static const char *const element_names[ELEMENTS] = {
	"ImageSize",    "BlockSize",        "BlocksCount",  "MappedBlocksCount",
	"ChecksumType", "BmapFileChecksum", "BmapFileSHA1", "BlockMap",
};

/* One element of the map, behind its opening tag. */
static int take_element(struct reader *reader, enum element element, struct error *err)
{
	struct bmap *bmap = reader->bmap;
	const char *name = element_names[element];
	if (reader->seen & 1u << element)
		return wrong(reader, "an element comes twice", err);
	reader->seen |= 1u << element;
	switch (element) {
	case IMAGE_SIZE:
		return take_number(reader, name, &bmap->image_bytes, err);
	case BLOCK_SIZE:
		return take_number(reader, name, &bmap->block_bytes, err);
	case BLOCKS_COUNT:
		return take_number(reader, name, &bmap->blocks, err);
	case MAPPED_COUNT:
		return take_number(reader, name, &bmap->mapped_blocks, err);
	case CHECKSUM_TYPE:
		return take_text(reader, name, &reader->type, err);
	case FILE_CHECKSUM:
	case FILE_SHA1:
		return take_text(reader, name, &reader->checksum, err);
	case BLOCK_MAP:
		return take_ranges(reader, err);
	case ELEMENTS:
		break;
	}
	return wrong(reader, "an unknown element", err);
}

/* version="2.0". */
static int take_version(struct reader *reader, struct error *err)
{
	struct piece name = {NULL, 0}, value = {NULL, 0};
	uint64_t major, minor;
	if (take_attribute(reader, &name, &value, err) < 0)
		return -1;
	skip_blanks(reader);
	const char *dot = value.at ? memchr(value.at, '.', value.size) : NULL;
	if (!is(name, "version") || !dot || !take(reader, ">"))
		return wrong(reader, "the map has no version", err);
	size_t size = (size_t)(dot - value.at);
	if (!to_number((struct piece){value.at, size}, &major) ||
	    !to_number((struct piece){dot + 1, value.size - size - 1}, &minor) || major > 1000 ||
	    minor > 1000)
		return wrong(reader, "the map's version is no number", err);
	if (major < 1 || major > 2 || (major == 1 && (minor < 2 || minor > 4)) ||
	    (major == 2 && minor > 0))
		return error_set(err, ERROR_UNSUPPORTED,
				 "a block map of version %" PRIu64 ".%" PRIu64
				 ": 1.2 to 2.0 are read",
				 major, minor);
	reader->bmap->major = (unsigned)major;
	reader->bmap->minor = (unsigned)minor;
	return 0;
}

static int take_map(struct reader *reader, struct error *err)
{
	take(reader, "\xef\xbb\xbf");
	skip_blanks(reader);
	if (take(reader, "<?xml") && !skip_past(reader, "?>"))
		return wrong(reader, "the XML declaration does not end", err);
	if (skip_between(reader, err) < 0)
		return -1;
	if (!take(reader, "<bmap"))
		return error_set(err, ERROR_INPUT,
				 "this is no block map: an XML file with the element bmap was "
				 "expected");
	if (take_version(reader, err) < 0)
		return -1;
	for (;;) {
		if (skip_between(reader, err) < 0)
			return -1;
		if (take(reader, "</bmap>"))
			break;
		if (!take(reader, "<"))
			return wrong(reader, "text between the elements", err);
		struct piece name = take_name(reader);
		unsigned element = 0;
		while (element < ELEMENTS && !is(name, element_names[element]))
			element++;
		if (!take(reader, ">") || element == ELEMENTS)
			return wrong(reader, "an unknown element", err);
		if (take_element(reader, (enum element)element, err) < 0)
			return -1;
	}
	if (skip_between(reader, err) < 0)
		return -1;
	return reader->at == reader->size ? 0 : wrong(reader, "something behind the map", err);
}

/* The numbers must fit each other. */
static int check_numbers(const struct reader *reader, struct error *err)
{
	const struct bmap *bmap = reader->bmap;
	unsigned needed =
		1u << IMAGE_SIZE | 1u << BLOCK_SIZE | 1u << BLOCKS_COUNT | 1u << BLOCK_MAP;
	if ((reader->seen & needed) != needed)
		return wrong(reader, "ImageSize, BlockSize, BlocksCount or BlockMap is missing",
			     err);
	if (bmap->block_bytes == 0 || bmap->block_bytes % 512 != 0 ||
	    bmap->block_bytes > BLOCK_BYTES_MOST)
		return wrong(reader, "BlockSize cannot be", err);
	uint64_t blocks = bmap->image_bytes / bmap->block_bytes +
			  (bmap->image_bytes % bmap->block_bytes != 0);
	if (blocks != bmap->blocks)
		return wrong(reader, "BlocksCount does not fit ImageSize", err);
	uint64_t mapped = 0;
	for (size_t i = 0; i < bmap->range_count; i++)
		mapped += bmap->ranges[i].count;
	if (bmap->range_count > 0) {
		const struct bmap_range *last = &bmap->ranges[bmap->range_count - 1];
		if (last->count > blocks || last->first > blocks - last->count)
			return wrong(reader, "a range goes beyond the image", err);
	}
	if (reader->seen & 1u << MAPPED_COUNT && mapped != bmap->mapped_blocks)
		return wrong(reader, "MappedBlocksCount is not the sum of the ranges", err);
	return 0;
}

/* The map's checksum of itself is of the text with '0' in the place of its digits. */
static int check_itself(struct reader *reader, struct error *err)
{
	static const char zeros[2 * DIGEST_MAX_BYTES + 1] =
		"0000000000000000000000000000000000000000000000000000000000000000"
		"0000000000000000000000000000000000000000000000000000000000000000";
	uint8_t expected[DIGEST_MAX_BYTES], is_now[DIGEST_MAX_BYTES];
	const struct bmap *bmap = reader->bmap;
	if (bmap->major == 1 && bmap->minor == 2)
		return 0;
	if (!reader->checksum.at)
		return wrong(reader, "it has no checksum of itself", err);
	if (learn_type(reader, err) < 0)
		return -1;
	if (!from_hex(reader->checksum, bmap->digest_bytes, expected))
		return wrong(reader, "the checksum of itself is not one", err);
	size_t before = (size_t)(reader->checksum.at - reader->text);
	digester_add(bmap->digester, reader->text, before);
	digester_add(bmap->digester, zeros, reader->checksum.size);
	digester_add(bmap->digester, reader->text + before + reader->checksum.size,
		     reader->size - before - reader->checksum.size);
	digester_finish(bmap->digester, is_now);
	if (memcmp(expected, is_now, bmap->digest_bytes) != 0)
		return error_set(err, ERROR_CORRUPT,
				 "the block map is corrupt: its checksum of itself is wrong");
	return 0;
}

int bmap_parse(const char *text, size_t size, struct bmap *ret_bmap, struct error *err)
{
	struct bmap bmap = {.ranges = NULL};
	struct reader reader = {.text = text, .size = size, .bmap = &bmap};
	if (take_map(&reader, err) < 0 || check_numbers(&reader, err) < 0 ||
	    check_itself(&reader, err) < 0) {
		bmap_free(&bmap);
		return -1;
	}
	*ret_bmap = bmap;
	return 0;
}

void bmap_free(struct bmap *bmap)
{
	digester_free(bmap->digester);
	free(bmap->ranges);
	free(bmap->checksums);
	*bmap = (struct bmap){.ranges = NULL};
}
