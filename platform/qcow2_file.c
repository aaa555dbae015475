/* The bytes of a qcow2 file, forwards: see qcow2_file.h. */
#include "platform/qcow2_file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
	AHEAD_BYTES = 256 << 10,
	PIECE_BYTES = 1 << 20 /* of what is held, unless a single one is larger */
};

int qcow2_file_open(struct qcow2_file *file, struct stream *stream, size_t most, struct error *err)
{
	*file = (struct qcow2_file){.stream = stream, .window_bytes = most + AHEAD_BYTES};
	file->window = malloc(file->window_bytes);
	if (!file->window)
		return error_set(err, ERROR_MEMORY, "no memory to read the image");
	return 0;
}

static void forget_held(struct qcow2_file *file)
{
	for (size_t i = file->held_first; i < file->held_count; i++)
		free(file->held[i].data);
	free(file->held);
	file->held = NULL;
	file->held_first = file->held_count = file->held_capacity = 0;
	file->held_bytes = 0;
}

void qcow2_file_switch(struct qcow2_file *file, struct stream *stream, struct span *spans,
		       size_t count)
{
	stream_close(file->stream);
	free(file->spans);
	forget_held(file);
	file->stream = stream;
	file->spans = spans;
	file->span_count = count;
	file->span = 0;
	file->position = count ? spans[0].offset : 0;
	file->begin = file->end = 0;
	file->ended = false;
}

void qcow2_file_close(struct qcow2_file *file)
{
	stream_close(file->stream);
	free(file->spans);
	free(file->window);
	free(file->joined);
	forget_held(file);
}

/* One read of the stream, not beyond the span it is in. 0 at its end. */
static ssize_t read_some(struct qcow2_file *file, void *data, size_t size, struct error *err)
{
	if (file->ended)
		return 0;
	if (file->spans) {
		const struct span *span = &file->spans[file->span];
		uint64_t left = span->offset + span->size_bytes - file->position;
		if (left < size)
			size = (size_t)left;
		if (size == 0)
			return 0;
	}
	ssize_t got = stream_read(file->stream, data, size, err);
	if (got == 0)
		file->ended = true;
	if (got > 0)
		file->position += (uint64_t)got;
	return got;
}

/* A new piece at the end of what is held; NULL without memory. */
static struct held *hold_piece(struct qcow2_file *file, uint64_t offset)
{
	if (file->held_count == file->held_capacity && file->held_first > file->held_capacity / 2) {
		file->held_count -= file->held_first;
		memmove(file->held, file->held + file->held_first,
			file->held_count * sizeof(file->held[0]));
		file->held_first = 0;
	}
	if (file->held_count == file->held_capacity) {
		size_t capacity = file->held_capacity ? 2 * file->held_capacity : 64;
		struct held *held = realloc(file->held, capacity * sizeof(*held));
		if (!held)
			return NULL;
		file->held = held;
		file->held_capacity = capacity;
	}
	file->held[file->held_count] = (struct held){.offset = offset};
	return &file->held[file->held_count++];
}

/* Adds bytes that stand at offset to what is held, at the cost of the oldest. */
static int hold(struct qcow2_file *file, uint64_t offset, const uint8_t *data, size_t size,
		struct error *err)
{
	struct held *last =
		file->held_count > file->held_first ? &file->held[file->held_count - 1] : NULL;
	if (!last || last->offset + last->size != offset || last->size + size > PIECE_BYTES)
		last = hold_piece(file, offset);
	if (last && last->capacity - last->size < size) {
		size_t capacity = last->size + size + last->size / 2;
		uint8_t *grown = realloc(last->data, capacity);
		if (!grown)
			return error_set(err, ERROR_MEMORY, "no memory to read the image");
		last->data = grown;
		last->capacity = capacity;
	}
	if (!last)
		return error_set(err, ERROR_MEMORY, "no memory to read the image");
	memcpy(last->data + last->size, data, size);
	last->size += size;
	file->held_bytes += size;
	while (file->held_bytes > QCOW2_HELD_MOST) {
		struct held *oldest = &file->held[file->held_first++];
		file->held_bytes -= oldest->size;
		free(oldest->data);
	}
	return 0;
}

/* Drops what the window has below offset, or holds it. */
static int pass(struct qcow2_file *file, uint64_t offset, struct error *err)
{
	uint64_t window_offset = file->position - (file->end - file->begin);
	uint64_t until = offset < file->position ? offset : file->position;
	if (until <= window_offset)
		return 0;
	size_t count = (size_t)(until - window_offset);
	uint64_t from = file->used_until > window_offset ? file->used_until : window_offset;
	if (file->hold && from < until &&
	    hold(file, from, file->window + file->begin + (size_t)(from - window_offset),
		 (size_t)(until - from), err) < 0)
		return -1;
	file->begin += count;
	return 0;
}

/* Goes on until the window begins at offset, or the file has ended. */
static int seek(struct qcow2_file *file, uint64_t offset, struct error *err)
{
	for (;;) {
		if (pass(file, offset, err) < 0)
			return -1;
		if (file->position - (file->end - file->begin) == offset || file->ended)
			return 0;
		file->begin = file->end = 0;
		if (file->spans) {
			const struct span *span = &file->spans[file->span];
			if (file->position == span->offset + span->size_bytes) {
				if (++file->span == file->span_count)
					return error_set(err, ERROR_BUG, "no span has %" PRIu64,
							 offset);
				file->position = file->spans[file->span].offset;
				continue;
			}
		}
		uint64_t left = offset - file->position;
		ssize_t got = read_some(
			file, file->window,
			left < file->window_bytes ? (size_t)left : file->window_bytes, err);
		if (got < 0)
			return -1;
		file->end = (size_t)got;
	}
}

static const struct held *find_held(const struct qcow2_file *file, uint64_t offset)
{
	size_t low = file->held_first, high = file->held_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct held *held = &file->held[middle];
		if (offset < held->offset)
			high = middle;
		else if (offset >= held->offset + held->size)
			low = middle + 1;
		else
			return held;
	}
	return NULL;
}

static int ended_early(const struct qcow2_file *file, struct error *err)
{
	return error_set(err, ERROR_CORRUPT,
			 "the qcow2 image is cut: the file ends after %" PRIu64
			 " bytes, its tables name data behind that",
			 file->position);
}

/* What has gone by: copied together from the pieces that are held, and the window behind them. */
static int look_back(struct qcow2_file *file, uint64_t offset, size_t least, size_t size,
		     const uint8_t **ret_data, size_t *ret_size, struct error *err)
{
	if (!file->joined)
		file->joined = malloc(file->window_bytes);
	if (!file->joined)
		return error_set(err, ERROR_MEMORY, "no memory to read the image");
	uint64_t window_offset = file->position - (file->end - file->begin);
	size_t have = 0;
	while (have < size) {
		uint64_t at = offset + have;
		const uint8_t *from;
		size_t count;
		const struct held *held = find_held(file, at);
		if (held) {
			from = held->data + (size_t)(at - held->offset);
			count = held->size - (size_t)(at - held->offset);
		} else if (at >= window_offset && at < file->position) {
			from = file->window + file->begin + (size_t)(at - window_offset);
			count = (size_t)(file->position - at);
		} else {
			break;
		}
		count = count < size - have ? count : size - have;
		memcpy(file->joined + have, from, count);
		have += count;
	}
	if (have < least)
		return error_set(err, ERROR_UNSUPPORTED,
				 "the tables of the qcow2 image stand behind their data");
	*ret_data = file->joined;
	*ret_size = have;
	return 0;
}

int qcow2_file_look(struct qcow2_file *file, uint64_t offset, size_t least, size_t size,
		    const uint8_t **ret_data, size_t *ret_size, struct error *err)
{
	if (offset < file->position - (file->end - file->begin))
		return look_back(file, offset, least, size, ret_data, ret_size, err);
	if (seek(file, offset, err) < 0)
		return -1;
	if (file->window_bytes - file->begin < size) {
		memmove(file->window, file->window + file->begin, file->end - file->begin);
		file->end -= file->begin;
		file->begin = 0;
	}
	while (file->end - file->begin < size) {
		ssize_t got = read_some(file, file->window + file->end,
					file->window_bytes - file->end, err);
		if (got < 0)
			return -1;
		if (got == 0)
			break;
		file->end += (size_t)got;
	}
	size_t have = file->end - file->begin;
	if (have < least || file->position - have != offset)
		return ended_early(file, err);
	*ret_data = file->window + file->begin;
	*ret_size = have < size ? have : size;
	return 0;
}

/* Copies what stands in the window from offset on, then reads the rest past it. */
static int copy_directly(struct qcow2_file *file, uint64_t offset, uint8_t *data, size_t size,
			 struct error *err)
{
	if (seek(file, offset, err) < 0)
		return -1;
	size_t have = file->end - file->begin;
	if (file->position - have != offset)
		return ended_early(file, err);
	have = have < size ? have : size;
	memcpy(data, file->window + file->begin, have);
	file->begin += have;
	while (have < size) {
		ssize_t got = read_some(file, data + have, size - have, err);
		if (got < 0)
			return -1;
		if (got == 0)
			return ended_early(file, err);
		have += (size_t)got;
	}
	return 0;
}

int qcow2_file_copy(struct qcow2_file *file, uint64_t offset, void *data, size_t size, bool last,
		    struct error *err)
{
	uint8_t *out = data;
	while (size > 0) {
		if (last && offset >= file->position - (file->end - file->begin)) {
			if (copy_directly(file, offset, out, size, err) < 0)
				return -1;
			file->used_until = offset + size;
			return 0;
		}
		const uint8_t *from = file->window;
		size_t count = size < AHEAD_BYTES ? size : AHEAD_BYTES;
		if (qcow2_file_look(file, offset, 1, count, &from, &count, err) < 0)
			return -1;
		memcpy(out, from, count);
		offset += count;
		out += count;
		size -= count;
	}
	if (offset > file->used_until)
		file->used_until = offset;
	return 0;
}

int qcow2_file_finish(struct qcow2_file *file, struct error *err)
{
	if (file->spans)
		return 0;
	for (;;) {
		ssize_t got = read_some(file, file->window, file->window_bytes, err);
		if (got <= 0)
			return (int)got;
	}
}
