/*
 * A tar archive that holds one disk image: ustar, pax (POSIX.1-2001), GNU's format and the old one
 * of Unix (v7), also as sparse files of GNU's old format and of pax version 1.0, as clouds have
 * them. Exactly one regular file with content may be in it; what has no content (directories,
 * links, empty files) does not matter. The end of the archive is verified. Read as a stream: a
 * second file behind a large first one is noticed only there; a small first one is held until what
 * follows is known.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "platform/image.h"
#include "platform/memory.h"
#include "platform/text.h"

enum {
	BLOCK = 512,
	NAME_SHOWN = 200,
	EXTENDED_MOST = 1 << 20, /* of pax records and long names: a few hundred bytes in life */
	PIECES_MOST = 1 << 20,   /* of a sparse file: 16 MiB */
	HELD_MOST = 1 << 20,
	SKIP_BYTES = 64 << 10
};

/* Part of a file that is data. */
struct piece {
	uint64_t offset;
	uint64_t size;
};

struct tar {
	struct image image;
	struct stream *stream;
	char name[NAME_SHOWN]; /* of the image */
	/* The entry that is being read. */
	char entry_name[NAME_SHOWN];
	uint64_t stored_bytes; /* still to be read of what is stored of it */
	uint64_t padding_bytes;
	uint64_t file_bytes;
	struct piece *pieces; /* of the file that are stored, in order */
	size_t piece_count, piece_capacity;
	/* By records before it; NUL and false: not given. */
	char next_name[NAME_SHOWN];
	bool has_size, is_sparse, is_old_sparse;
	uint64_t next_size, sparse_bytes;
	/* The reading of the image. */
	size_t piece;
	uint64_t offset;
	uint8_t *held; /* its beginning; of a small one all, and the archive's end was seen */
	size_t held_bytes;
	bool ended;
	uint8_t skipped[SKIP_BYTES];
};

static int corrupt(const struct tar *self, const char *what, struct error *err)
{
	return error_set(err, ERROR_CORRUPT,
			 "the tar archive is corrupt before byte %" PRIu64 ": %s",
			 stream_position(self->stream), what);
}

static int read_whole(struct tar *self, void *data, size_t size, struct error *err)
{
	ssize_t got = stream_read_full(self->stream, data, size, err);
	if (got < 0)
		return -1;
	if ((size_t)got < size)
		return error_set(err, ERROR_CORRUPT,
				 "the tar archive is cut: it ends after %" PRIu64
				 " bytes, without its end mark",
				 stream_position(self->stream));
	return 0;
}

/* Numbers are octal text, or GNU's binary. */
static bool get_number(const uint8_t *field, size_t size, uint64_t *ret_value)
{
	uint64_t value = 0;
	if (field[0] & 0x80) {
		for (size_t i = 1; i < size; i++) {
			if (value >> 55)
				return false;
			value = value << 8 | field[i];
		}
		*ret_value = value;
		return field[0] == 0x80;
	}
	size_t i = 0;
	while (i < size && field[i] == ' ')
		i++;
	for (; i < size && field[i] >= '0' && field[i] <= '7'; i++)
		value = value << 3 | (uint64_t)(field[i] - '0');
	*ret_value = value;
	return i == size || field[i] == ' ' || field[i] == '\0';
}

static bool is_zero_block(const uint8_t *block)
{
	return memory_is_zero(block, BLOCK);
}

static bool checksum_is_right(const uint8_t *block)
{
	uint64_t expected;
	unsigned sum = 0;
	for (size_t i = 0; i < BLOCK; i++)
		sum += i >= 148 && i < 156 ? ' ' : block[i];
	return get_number(block + 148, 8, &expected) && expected == sum;
}

/* The format of the seventh Unix has no magic, and nothing behind the link's name; those after it
 * have. */
static bool is_header(const uint8_t *block)
{
	static const uint8_t none[8] = {0};
	return (memcmp(block + 257, "ustar", 5) == 0 ||
		(block[0] != '\0' && memcmp(block + 257, none, sizeof(none)) == 0)) &&
	       checksum_is_right(block);
}

/* By the magic also what is damaged, to say so. */
static bool tar_detect(const uint8_t *head, size_t size)
{
	return size >= BLOCK && (memcmp(head + 257, "ustar", 5) == 0 || is_header(head));
}

/* Reads over what is left of the entry. */
static int skip_entry(struct tar *self, struct error *err)
{
	self->stored_bytes += self->padding_bytes;
	self->padding_bytes = 0;
	while (self->stored_bytes > 0) {
		size_t count =
			self->stored_bytes < SKIP_BYTES ? (size_t)self->stored_bytes : SKIP_BYTES;
		if (read_whole(self, self->skipped, count, err) < 0)
			return -1;
		self->stored_bytes -= count;
	}
	return 0;
}

/* Behind the second block of zeros there is nothing but zeros, which pad to a record. */
static int check_end(struct tar *self, struct error *err)
{
	uint8_t block[BLOCK];
	if (read_whole(self, block, BLOCK, err) < 0)
		return -1;
	if (!is_zero_block(block))
		return corrupt(self, "half an end mark", err);
	for (;;) {
		ssize_t got = stream_read(self->stream, self->skipped, SKIP_BYTES, err);
		if (got <= 0)
			return (int)got;
		if (!memory_is_zero(self->skipped, (size_t)got))
			return corrupt(self, "something stands behind its end", err);
	}
}

static int add_piece(struct tar *self, uint64_t offset, uint64_t size, struct error *err)
{
	uint64_t least = 0;
	if (self->piece_count > 0) {
		const struct piece *last = &self->pieces[self->piece_count - 1];
		least = last->offset + last->size;
	}
	if (offset < least || offset > INT64_MAX || size > INT64_MAX - offset)
		return corrupt(self, "the pieces of a sparse file are not in order", err);
	if (size == 0)
		return 0;
	if (self->piece_count == self->piece_capacity) {
		size_t capacity = self->piece_capacity ? 2 * self->piece_capacity : 16;
		if (capacity > PIECES_MOST)
			return error_set(err, ERROR_UNSUPPORTED,
					 "the sparse file in the tar archive has more than %d "
					 "pieces: pack it without --sparse",
					 PIECES_MOST);
		struct piece *pieces = realloc(self->pieces, capacity * sizeof(*pieces));
		if (!pieces)
			return error_set(err, ERROR_MEMORY, "no memory for the tar archive");
		self->pieces = pieces;
		self->piece_capacity = capacity;
	}
	self->pieces[self->piece_count++] = (struct piece){offset, size};
	return 0;
}

/* The pieces of GNU's old format: count at most in this block. */
static int add_old_pieces(struct tar *self, const uint8_t *at, unsigned count, struct error *err)
{
	for (size_t i = 0; i < count && at[i * 24] != '\0'; i++) {
		uint64_t offset, size;
		if (!get_number(at + i * 24, 12, &offset) ||
		    !get_number(at + i * 24 + 12, 12, &size))
			return corrupt(self, "the map of a sparse file", err);
		if (add_piece(self, offset, size, err) < 0)
			return -1;
	}
	return 0;
}

static int read_old_sparse(struct tar *self, const uint8_t *header, struct error *err)
{
	uint8_t block[BLOCK];
	if (!get_number(header + 483, 12, &self->file_bytes))
		return corrupt(self, "the size of a sparse file", err);
	if (add_old_pieces(self, header + 386, 4, err) < 0)
		return -1;
	for (bool more = header[482] != 0; more; more = block[504] != 0)
		if (read_whole(self, block, BLOCK, err) < 0 ||
		    add_old_pieces(self, block, 21, err) < 0)
			return -1;
	return 0;
}

/* Lines of decimal numbers at the beginning of what is stored, padded to a block. */
struct map_reader {
	uint8_t block[BLOCK];
	size_t at;
};

static int map_number(struct tar *self, struct map_reader *map, uint64_t *ret_value,
		      struct error *err)
{
	uint64_t value = 0;
	for (unsigned digits = 0;; digits++) {
		if (map->at == BLOCK) {
			if (self->stored_bytes < BLOCK)
				return corrupt(self, "the map of a sparse file", err);
			if (read_whole(self, map->block, BLOCK, err) < 0)
				return -1;
			self->stored_bytes -= BLOCK;
			map->at = 0;
		}
		uint8_t c = map->block[map->at++];
		if (c == '\n' && digits > 0)
			break;
		if (c < '0' || c > '9' || digits == 18)
			return corrupt(self, "the map of a sparse file", err);
		value = value * 10 + (uint64_t)(c - '0');
	}
	*ret_value = value;
	return 0;
}

static int read_pax_sparse(struct tar *self, struct error *err)
{
	struct map_reader map = {.at = BLOCK};
	uint64_t count, offset, size;
	self->file_bytes = self->sparse_bytes;
	if (map_number(self, &map, &count, err) < 0)
		return -1;
	for (uint64_t i = 0; i < count; i++)
		if (map_number(self, &map, &offset, err) < 0 ||
		    map_number(self, &map, &size, err) < 0 ||
		    add_piece(self, offset, size, err) < 0)
			return -1;
	return 0;
}

/* What is stored must be what the pieces say. */
static int check_pieces(struct tar *self, struct error *err)
{
	uint64_t sum = 0, end = 0;
	for (size_t i = 0; i < self->piece_count; i++) {
		sum += self->pieces[i].size;
		end = self->pieces[i].offset + self->pieces[i].size;
	}
	if (sum != self->stored_bytes || end > self->file_bytes || self->file_bytes > INT64_MAX)
		return corrupt(self, "the pieces of a sparse file do not fit its size", err);
	return 0;
}

static void show_name(char *out, const void *name, size_t size)
{
	text_sanitize(name, strnlen(name, size), out, NAME_SHOWN);
}

static bool key_is(const char *key, size_t size, const char *name)
{
	return size == strlen(name) && memcmp(key, name, size) == 0;
}

static int take_record(struct tar *self, const char *key, size_t key_size, const char *value,
		       size_t size, struct error *err)
{
	static const char sparse[] = "GNU.sparse.";
	char text[32] = "";
	uint64_t number = 0;
	if (size < sizeof(text))
		memcpy(text, value, size);
	bool is_number = text_parse_uint(text, 10, INT64_MAX, &number);
	if (key_is(key, key_size, "path") || key_is(key, key_size, "GNU.sparse.name")) {
		show_name(self->next_name, value, size);
	} else if (key_is(key, key_size, "size")) {
		if (!is_number)
			return corrupt(self, "a size in a pax record", err);
		self->has_size = true;
		self->next_size = number;
	} else if (key_is(key, key_size, "GNU.sparse.realsize")) {
		if (!is_number)
			return corrupt(self, "a size in a pax record", err);
		self->sparse_bytes = number;
	} else if (key_is(key, key_size, "GNU.sparse.major")) {
		self->is_sparse = number == 1;
		self->is_old_sparse = number != 1;
	} else if (key_is(key, key_size, "GNU.sparse.minor")) {
		self->is_old_sparse = self->is_old_sparse || number != 0;
	} else if (key_size >= sizeof(sparse) - 1 && memcmp(key, sparse, sizeof(sparse) - 1) == 0) {
		self->is_old_sparse = true;
	}
	return 0;
}

/* "27 path=name\n" and so on. */
static int take_records(struct tar *self, const char *records, size_t size, struct error *err)
{
	size_t at = 0;
	while (at < size) {
		size_t length = 0, i = at;
		while (i < size && records[i] >= '0' && records[i] <= '9' && length < size)
			length = length * 10 + (size_t)(records[i++] - '0');
		size_t key = i + 1;
		if (i == at || i >= size || records[i] != ' ' || length > size - at ||
		    at + length <= key || records[at + length - 1] != '\n')
			return corrupt(self, "a pax record", err);
		size_t end = at + length - 1;
		const char *equals = memchr(records + key, '=', end - key);
		if (!equals)
			return corrupt(self, "a pax record", err);
		size_t value = (size_t)(equals - records) + 1;
		if (take_record(self, records + key, value - 1 - key, records + value, end - value,
				err) < 0)
			return -1;
		at += length;
	}
	return 0;
}

/* An entry that says something about the next one. */
static int read_extension(struct tar *self, char type, struct error *err)
{
	if (self->stored_bytes > EXTENDED_MOST)
		return corrupt(self, "an extended header of more than 1 MiB", err);
	size_t size = (size_t)self->stored_bytes;
	auto_free char *text = malloc(size + 1);
	if (!text)
		return error_set(err, ERROR_MEMORY, "no memory for the tar archive");
	if (read_whole(self, text, size, err) < 0)
		return -1;
	self->stored_bytes = 0;
	if (type == 'x' && take_records(self, text, size, err) < 0)
		return -1;
	if (type == 'L')
		show_name(self->next_name, text, size);
	return skip_entry(self, err);
}

static int refuse(const struct tar *self, const char *what, struct error *err)
{
	return error_set(err, ERROR_UNSUPPORTED,
			 "\"%s\" in the tar archive is %s: pack the disk image alone, as a plain "
			 "file (tar -cf image.tar disk.raw)",
			 self->entry_name, what);
}

/* The header of a regular file with content: how its pieces are stored. */
static int begin_file(struct tar *self, const uint8_t *header, struct error *err)
{
	self->piece_count = 0;
	if (self->is_old_sparse)
		return refuse(self, "a sparse file of pax version 0", err);
	if (header[156] == 'S') {
		if (read_old_sparse(self, header, err) < 0)
			return -1;
	} else if (self->is_sparse) {
		if (read_pax_sparse(self, err) < 0)
			return -1;
	} else {
		self->file_bytes = self->stored_bytes;
		if (add_piece(self, 0, self->stored_bytes, err) < 0)
			return -1;
	}
	return check_pieces(self, err);
}

static int read_header(struct tar *self, uint8_t *header, struct error *err)
{
	if (read_whole(self, header, BLOCK, err) < 0)
		return -1;
	if (is_zero_block(header))
		return 0;
	if (!is_header(header) || !get_number(header + 124, 12, &self->stored_bytes) ||
	    self->stored_bytes > INT64_MAX)
		return corrupt(self, "a header", err);
	if (self->has_size && !strchr("xgLK", header[156]))
		self->stored_bytes = self->next_size;
	self->padding_bytes = (BLOCK - self->stored_bytes % BLOCK) % BLOCK;
	show_name(self->entry_name, header, 100);
	if (self->next_name[0])
		memcpy(self->entry_name, self->next_name, NAME_SHOWN);
	return 1;
}

/* Goes to the next regular file with content. 1, or 0 at the verified end of the archive. */
static int next_file(struct tar *self, struct error *err)
{
	for (;;) {
		uint8_t header[BLOCK];
		int result = read_header(self, header, err);
		if (result < 0)
			return -1;
		if (result == 0)
			return check_end(self, err);
		char type = (char)header[156];
		bool is_file = type == '0' || type == '\0' || type == '7' || type == 'S';
		if (type == 'x' || type == 'g' || type == 'L' || type == 'K') {
			if (read_extension(self, type, err) < 0)
				return -1;
			continue;
		}
		if (is_file && (self->stored_bytes > 0 || type == 'S' || self->is_sparse ||
				self->is_old_sparse)) {
			if (begin_file(self, header, err) < 0)
				return -1;
			if (self->file_bytes > 0)
				return 1;
		} else if (!is_file && (type < '1' || type > '6') && type != 'V') {
			return refuse(self, "of a kind that is not known here", err);
		} else if (!is_file) {
			/* Links have no content, whatever their size says. */
			self->stored_bytes = type == '5' || type == 'V' ? self->stored_bytes : 0;
			self->padding_bytes = self->stored_bytes ? self->padding_bytes : 0;
		}
		if (skip_entry(self, err) < 0)
			return -1;
		self->next_name[0] = '\0';
		self->has_size = self->is_sparse = self->is_old_sparse = false;
	}
}

/* What is behind the image: nothing of content. */
static int finish(struct tar *self, struct error *err)
{
	if (skip_entry(self, err) < 0)
		return -1;
	self->next_name[0] = '\0';
	self->has_size = self->is_sparse = self->is_old_sparse = false;
	int result = next_file(self, err);
	if (result > 0)
		return error_set(
			err, ERROR_INPUT,
			"the tar archive holds several files, \"%s\" and \"%s\": which one "
			"is the disk image? Pack it alone",
			self->name, self->entry_name);
	return result;
}

static int read_data(struct tar *self, uint8_t *data, size_t size, struct error *err)
{
	size_t held = 0;
	if (self->offset < self->held_bytes) {
		held = self->held_bytes - (size_t)self->offset;
		held = held < size ? held : size;
		memcpy(data, self->held + self->offset, held);
	}
	if (held == size)
		return 0;
	if (read_whole(self, data + held, size - held, err) < 0)
		return -1;
	self->stored_bytes -= size - held;
	return 0;
}

/* A file that is not the disk itself but another form of it must not get there as it is. */
static int check_beginning(struct tar *self, const uint8_t *data, size_t size, struct error *err)
{
	const char *what = NULL, *foreign = image_foreign(data, size);
	if (foreign)
		return error_set(err, ERROR_UNSUPPORTED, "\"%s\" in the tar archive is %s",
				 self->name, foreign);
	if (image_form_qcow2.detect(data, size))
		what = "a qcow2 image";
	if (image_form_android_sparse.detect(data, size))
		what = "an Android sparse image";
	if (tar_detect(data, size))
		what = "a tar archive itself";
	if (compression_detect(data, size) != COMPRESSION_NONE)
		what = "compressed itself";
	if (!what)
		return 0;
	return error_set(err, ERROR_UNSUPPORTED,
			 "\"%s\" in the tar archive is %s: give it without the tar around it",
			 self->name, what);
}

static int tar_read(struct image *image, void *data, size_t size, struct extent *ret_extent,
		    struct error *err)
{
	struct tar *self = (struct tar *)image;
	if (self->offset == self->image.size_bytes)
		return self->ended ? 0 : finish(self, err);
	const struct piece *piece =
		self->piece < self->piece_count ? &self->pieces[self->piece] : NULL;
	uint64_t begin = piece ? piece->offset : self->image.size_bytes;
	if (!piece || self->offset < begin) {
		*ret_extent = (struct extent){self->offset, begin - self->offset, true};
		self->offset = begin;
		return 1;
	}
	uint64_t left = piece->offset + piece->size - self->offset;
	size_t count = left < size ? (size_t)left : size;
	if (read_data(self, data, count, err) < 0)
		return -1;
	*ret_extent = (struct extent){.offset = self->offset, .size_bytes = count};
	self->offset += count;
	self->piece += count == left;
	return 1;
}

static void tar_close(struct image *image)
{
	struct tar *self = (struct tar *)image;
	stream_close(self->stream);
	free(self->pieces);
	free(self->held);
	free(self);
}

/* Reads the beginning of the file, to see what it is; a small one whole, and what is behind it. The
 * pieces stay. */
static int hold_beginning(struct tar *self, struct error *err)
{
	struct piece first = self->pieces[0];
	if (first.offset > 0)
		return 0;
	bool whole = first.size == self->file_bytes && first.size <= HELD_MOST;
	size_t size =
		whole || first.size < IMAGE_HEAD_BYTES ? (size_t)first.size : IMAGE_HEAD_BYTES;
	auto_free uint8_t *held = malloc(size);
	if (!held)
		return error_set(err, ERROR_MEMORY, "no memory for the tar archive");
	if (read_data(self, held, size, err) < 0 || check_beginning(self, held, size, err) < 0)
		return -1;
	if (whole && finish(self, err) < 0)
		return -1;
	self->ended = whole;
	self->held = take_pointer(held);
	self->held_bytes = size;
	if (whole) {
		self->pieces[0] = first;
		self->piece_count = 1;
	}
	return 0;
}

static int open_file(struct tar *self, struct error *err)
{
	int result = next_file(self, err);
	if (result < 0)
		return -1;
	if (result == 0)
		return error_set(err, ERROR_INPUT,
				 "the tar archive holds no disk image: there is no "
				 "regular file with content in it");
	memcpy(self->name, self->entry_name, sizeof(self->name));
	self->image.size_bytes = self->image.least_bytes = self->file_bytes;
	return self->piece_count > 0 ? hold_beginning(self, err) : 0;
}

static int tar_open(struct image_input *input, struct image **ret_image, struct error *err)
{
	static const struct image_operations operations = {.read = tar_read, .close = tar_close};
	struct tar *self = calloc(1, sizeof(*self));
	if (!self)
		abort();
	self->image = (struct image){.operations = &operations, .form = "tar"};
	self->stream = input->stream;
	if (open_file(self, err) < 0) {
		tar_close(&self->image);
		return -1;
	}
	*ret_image = &self->image;
	return 0;
}

const struct image_form image_form_tar = {.name = "tar", .detect = tar_detect, .open = tar_open};
