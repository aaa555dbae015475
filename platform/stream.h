/*
 * struct stream: bytes that flow, read by whoever stands at the right end. HTTP bodies, files,
 * decompressors and digests are all streams, stacked on each other; the outermost owns the ones
 * below.
 *
 * The promise that carries everything: stream_read() returns 0 only when the stream has ended AND
 * every check that this stage and all below it can make has passed (length, end mark of the format,
 * checksum). A stream that cannot know fails instead.
 */
#ifndef PLATFORM_STREAM_H
#define PLATFORM_STREAM_H

#include <stdint.h>
#include <sys/types.h>

#include "platform/cleanup.h"
#include "platform/error.h"

struct stream;

struct stream_operations {
	/* Reads 1 to size bytes into data, 0 at the verified end, -1 on failure. After 0 or -1 it
	 * is not called again. */
	ssize_t (*read)(struct stream *stream, void *data, size_t size, struct error *err);
	/* Frees the stage and what it owns, the stage below included. Never fails: nothing is
	 * written here. */
	void (*close)(struct stream *stream);
};

/* The first member of every stage. */
struct stream {
	const struct stream_operations *operations;
	uint64_t
		size_bytes; /* total that will be read, STREAM_SIZE_UNKNOWN when not known before */
	uint64_t least_bytes; /* known to come at least (a header says so); 0 when nothing is known
			       */
	uint64_t read_bytes;  /* read so far: kept by stream_read() */
	bool ended;           /* 0 was returned */
	bool failed;
};

#define STREAM_SIZE_UNKNOWN UINT64_MAX

/* Reads at most size bytes. See struct stream_operations. May be called again after the end: 0
 * again. */
ssize_t stream_read(struct stream *stream, void *data, size_t size, struct error *err);

/* Reads until size bytes are there or the stream ended: returns how many. */
ssize_t stream_read_full(struct stream *stream, void *data, size_t size, struct error *err);

/* How many bytes were read from it so far: may be asked from another thread, for progress. */
uint64_t stream_position(const struct stream *stream);

void stream_close(struct stream *stream);
AUTO_DEFINE(stream, struct stream *, stream_close)
#define auto_stream __attribute__((cleanup(cleanup_stream)))

/* A stream over an open descriptor (taken). size_bytes is checked against what arrives unless
 * STREAM_SIZE_UNKNOWN. */
struct stream *stream_from_fd(int fd, uint64_t size_bytes, const char *name);

/* A stream over bytes in memory (borrowed), for tests and small things. */
struct stream *stream_from_memory(const void *data, size_t size);

/*
 * Looks at the first size bytes of below (taken, also on failure): *ret_head (fewer bytes when the
 * stream is that short: *ret_size) is valid as long as the stream, which gives them again.
 */
int stream_peek(struct stream *below, size_t size, struct stream **ret_stream,
		const uint8_t **ret_head, size_t *ret_size, struct error *err);

/*
 * Runs the stage below (taken) in a thread of its own, reading ahead into chunks buffers of
 * chunk_bytes each, page-aligned. Closing it stops the thread after at most one read of the stage
 * below.
 */
int stream_in_thread(struct stream *below, size_t chunk_bytes, unsigned chunks,
		     struct stream **ret_stream, struct error *err);

#endif
