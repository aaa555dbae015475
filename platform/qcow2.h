/*
 * The parts of the qcow2 reader, for its own files and their tests; everybody else opens images
 * with platform/image.h. qcow2_layout.c knows the format's bytes, qcow2_runs.c keeps what is to be
 * read in the file's order, qcow2_pool.c decodes compressed clusters, qcow2.c is the image form.
 *
 * The format: docs/interop/qcow2.rst of QEMU. A disk is cut into clusters; a table of two levels
 * (L1, in it the places of L2 tables) tells for each where it stands in the file.
 */
#ifndef PLATFORM_QCOW2_H
#define PLATFORM_QCOW2_H

#include <stdint.h>

#include "platform/decompress_block.h"

struct qcow2_header {
	unsigned version; /* 2 or 3 */
	unsigned cluster_bits;
	uint32_t cluster_bytes;
	uint64_t size_bytes; /* of the disk */
	uint64_t l1_offset;
	uint32_t l1_entries; /* as many as the disk needs: there may be more in the file */
	uint32_t l2_entries;
	uint32_t l2_entry_bytes; /* 8, or 16 with extended L2 entries */
	enum block_compression compression;
};

enum {
	QCOW2_HEADER_BYTES = 112 /* as much as is looked at; a file has at least as many */
};

/*
 * Reads and checks the header. ERROR_CORRUPT for what cannot be, ERROR_UNSUPPORTED with the remedy
 * for what is not read (backing file, encryption, external data, unknown features), ERROR_INPUT for
 * an image that its own writer has marked as corrupt.
 */
int qcow2_header_parse(const uint8_t *head, size_t size, struct qcow2_header *ret_header,
		       struct error *err);

enum qcow2_kind {
	QCOW2_ZERO,        /* reads as zeros */
	QCOW2_RAW,         /* size: sectors of 512 bytes */
	QCOW2_SUBCLUSTERS, /* a cluster of which some 32nds are data, the rest zeros; size: which */
	QCOW2_COMPRESSED,  /* one cluster; size: bytes at most, in the file */
	QCOW2_L1,          /* a part of the L1 table; size: entries. guest: of the first one */
	QCOW2_L2           /* an L2 table. guest: of its first entry */
};

/* Something that stands in the file. */
struct qcow2_run {
	uint64_t host;  /* offset in the file */
	uint64_t guest; /* offset on the disk */
	uint32_t size;
	enum qcow2_kind kind;
};

/* Where the L2 table stands of which an L1 entry (8 bytes) tells, 0: there is none. file_bytes may
 * be UINT64_MAX. ERROR_CORRUPT for what cannot be. */
int qcow2_l1_entry(const struct qcow2_header *header, const uint8_t *entry, uint64_t file_bytes,
		   uint64_t *ret_l2_offset, struct error *err);

/* What an L2 entry (l2_entry_bytes) tells of the cluster at guest. As above. */
int qcow2_l2_entry(const struct qcow2_header *header, const uint8_t *entry, uint64_t guest,
		   uint64_t file_bytes, struct qcow2_run *ret_run, struct error *err);

/* Runs, lowest host offset first (a heap). */
struct qcow2_runs {
	struct qcow2_run *items;
	size_t count;
	size_t capacity;
};

enum {
	/* More are not held: 9 MiB of them. An L2 table has at most 262144 entries. */
	QCOW2_RUNS_MOST = 384 << 10
};

/* ERROR_MEMORY beyond QCOW2_RUNS_MOST. */
int qcow2_runs_push(struct qcow2_runs *runs, const struct qcow2_run *run, struct error *err);
/* The first one; NULL when there is none. Valid until the next push or pop. */
const struct qcow2_run *qcow2_runs_first(const struct qcow2_runs *runs);
/* Removes the first one. */
void qcow2_runs_pop(struct qcow2_runs *runs);
/* Puts the array itself into order; it stays a heap. */
void qcow2_runs_sort(struct qcow2_runs *runs);
void qcow2_runs_free(struct qcow2_runs *runs);

/* Compressed clusters, decoded by threads of their own, come out in the order they went in. */
struct qcow2_pool;

/* threads: at least 1. */
int qcow2_pool_open(const struct qcow2_header *header, unsigned threads,
		    struct qcow2_pool **ret_pool, struct error *err);
void qcow2_pool_free(struct qcow2_pool *pool);

/* Whether nothing can be added now: take first. */
bool qcow2_pool_is_full(const struct qcow2_pool *pool);
bool qcow2_pool_is_empty(const struct qcow2_pool *pool);

/* Adds the cluster at guest; data is copied. */
int qcow2_pool_add(struct qcow2_pool *pool, uint64_t guest, const uint8_t *data, size_t size,
		   struct error *err);

/* The disk offset of the next byte that comes out; the pool must not be empty. */
uint64_t qcow2_pool_next(const struct qcow2_pool *pool);

/* Takes 1 to size bytes, contiguous on the disk, out of a pool that is not empty; waits for them.
 * -1 when a cluster could not be decoded. */
ssize_t qcow2_pool_take(struct qcow2_pool *pool, uint8_t *data, size_t size, struct error *err);

#endif
