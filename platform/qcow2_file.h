/*
 * How the qcow2 reader gets at the file's bytes: forwards, from a stream that has all of it or only
 * some spans, with what may still be needed held back. For qcow2.c alone.
 */
#ifndef PLATFORM_QCOW2_FILE_H
#define PLATFORM_QCOW2_FILE_H

#include "platform/spans.h"

struct qcow2_file {
	struct stream *stream;
	struct span *spans; /* of which the stream consists; NULL: the whole file */
	size_t span_count;
	size_t span;       /* the one the stream is in */
	uint64_t position; /* in the file, of the next byte of the stream */
	uint8_t *window;   /* what was read and is looked at */
	size_t window_bytes;
	size_t begin, end; /* of what is valid in it */
	bool ended;

	struct held {
		uint64_t offset;
		size_t size;
		size_t capacity;
		uint8_t *data;
	} * held; /* in ascending order; valid from held_first on */
	size_t held_first, held_count, held_capacity;
	size_t held_bytes;
	uint8_t *joined;     /* a copy of what is held in several pieces */
	bool hold;           /* what is passed over is kept, the last QCOW2_HELD_MOST bytes of it */
	uint64_t used_until; /* what stands before was used and is not kept */
};

enum {
	QCOW2_HELD_MOST = 8 << 20
};

/* Takes the stream. most: the largest piece that will be asked for. */
int qcow2_file_open(struct qcow2_file *file, struct stream *stream, size_t most, struct error *err);
/* The same with another stream, of spans (both taken). Nothing is held any more. */
void qcow2_file_switch(struct qcow2_file *file, struct stream *stream, struct span *spans,
		       size_t count);
void qcow2_file_close(struct qcow2_file *file);

/*
 * Gives the bytes at offset, which must not be below that of the call before unless they were held.
 * ERROR_CORRUPT when the file ends before least of them, else *ret_size is at most size.
 * ERROR_UNSUPPORTED when they have gone by and are not held: the image cannot be read in order.
 * Valid until the next call.
 */
int qcow2_file_look(struct qcow2_file *file, uint64_t offset, size_t least, size_t size,
		    const uint8_t **ret_data, size_t *ret_size, struct error *err);

/* Copies size bytes at offset. last: nothing below offset + size will be asked for again. Errors as
 * above. */
int qcow2_file_copy(struct qcow2_file *file, uint64_t offset, void *data, size_t size, bool last,
		    struct error *err);

/* Reads to the verified end of the whole file. */
int qcow2_file_finish(struct qcow2_file *file, struct error *err);

#endif
