/*
 * The qcow2 image form. Two ways to the data, told apart when the image is opened:
 *
 * With a source that has ranges the tables are read first, by ranges, and checked; then the data in
 * the file's order: from the stream that is open already where most of the file is data, else only
 * the spans that are used. Very large disks go by batches of L2 tables.
 *
 * Without, everything comes in order, tables and data. What cannot be judged yet because a table is
 * still to come is held, a few MiB of it: enough for files as qemu-img writes them, where each
 * table stands before what it describes. A file that is not like that is refused.
 *
 * Unallocated clusters are zeros, as there is no backing file; internal snapshots do not matter.
 */
#include "platform/qcow2.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "platform/image.h"
#include "platform/qcow2_file.h"

enum {
	ZEROS_MOST = 256 << 10,     /* runs of zeros remembered: 4 MiB; > half an L2 table */
	GAP_BYTES = 64 << 10,       /* smaller gaps between spans are fetched along */
	SMALL_FILE_BYTES = 4 << 20, /* is read as a whole */
	IN_FLIGHT = 4,
	TOGETHER_BYTES = 64 << 10, /* of a cluster that is used twice, at a time */
	L1_ENTRIES = 8192,         /* looked at in one go */
	RUN_SECTORS_MOST = 1 << 30,
	SPARE_RUNS = 64
};

struct zeros {
	uint64_t offset;
	uint64_t size_bytes;
};

struct qcow2 {
	struct image image;
	struct qcow2_header header;
	struct source *source; /* NULL: in order */
	uint64_t file_bytes;   /* UINT64_MAX: not known */
	unsigned threads;
	struct qcow2_file file;
	struct qcow2_runs tables; /* still to be read */
	struct qcow2_runs data;   /* likewise */
	uint32_t l1_at;           /* with a source: the next entry of L1 */
	uint8_t *l1;              /* with a source: some of its entries */
	uint32_t l1_begin, l1_end;
	struct zeros *zeros; /* still to be given */
	size_t zeros_first, zeros_count, zeros_capacity;
	struct qcow2_pool *pool; /* from the first compressed cluster on */
	uint64_t given_bytes;
};

static bool qcow2_detect(const uint8_t *head, size_t size)
{
	return size >= 4 && memcmp(head, "QFI\xfb", 4) == 0;
}

static void qcow2_close(struct image *image)
{
	struct qcow2 *self = (struct qcow2 *)image;
	qcow2_pool_free(self->pool);
	qcow2_file_close(&self->file);
	qcow2_runs_free(&self->tables);
	qcow2_runs_free(&self->data);
	free(self->zeros);
	free(self->l1);
	free(self);
}

static uint64_t l2_coverage(const struct qcow2 *self)
{
	return (uint64_t)self->header.l2_entries << self->header.cluster_bits;
}

/* Remembers zeros; what goes beyond the disk is cut off. */
static int add_zeros(struct qcow2 *self, uint64_t offset, uint64_t size_bytes, struct error *err)
{
	if (size_bytes > self->header.size_bytes - offset)
		size_bytes = self->header.size_bytes - offset;
	if (self->zeros_first == self->zeros_count)
		self->zeros_first = self->zeros_count = 0;
	if (self->zeros_count > self->zeros_first) {
		struct zeros *last = &self->zeros[self->zeros_count - 1];
		if (last->offset + last->size_bytes == offset) {
			last->size_bytes += size_bytes;
			return 0;
		}
	}
	if (self->zeros_count == self->zeros_capacity) {
		size_t capacity = self->zeros_capacity ? 2 * self->zeros_capacity : 64;
		if (capacity > 2 * (size_t)ZEROS_MOST)
			return error_set(err, ERROR_MEMORY,
					 "more than %d pieces have to be remembered", ZEROS_MOST);
		struct zeros *zeros = realloc(self->zeros, capacity * sizeof(*zeros));
		if (!zeros)
			return error_set(err, ERROR_MEMORY, "no memory for the image's tables");
		self->zeros = zeros;
		self->zeros_capacity = capacity;
	}
	self->zeros[self->zeros_count++] = (struct zeros){offset, size_bytes};
	return 0;
}

static bool continues(const struct qcow2_run *run, const struct qcow2_run *next)
{
	return run->kind == QCOW2_RAW && next->kind == QCOW2_RAW &&
	       run->host + (uint64_t)run->size * 512 == next->host &&
	       run->guest + (uint64_t)run->size * 512 == next->guest &&
	       run->size + next->size <= RUN_SECTORS_MOST;
}

/* Takes in an L2 table whose first entry is for guest. */
static int scan_l2(struct qcow2 *self, const uint8_t *table, uint64_t guest, struct error *err)
{
	const struct qcow2_header *header = &self->header;
	struct qcow2_run last = {.kind = QCOW2_ZERO};
	for (uint32_t i = 0; i < header->l2_entries && guest < header->size_bytes; i++) {
		struct qcow2_run run;
		if (qcow2_l2_entry(header, table + (size_t)i * header->l2_entry_bytes, guest,
				   self->file_bytes, &run, err) < 0)
			return -1;
		if (run.kind == QCOW2_ZERO) {
			if (add_zeros(self, guest, header->cluster_bytes, err) < 0)
				return -1;
		} else if (continues(&last, &run)) {
			last.size += run.size;
		} else {
			if (last.kind != QCOW2_ZERO && qcow2_runs_push(&self->data, &last, err) < 0)
				return -1;
			last = run;
		}
		guest += header->cluster_bytes;
	}
	return last.kind != QCOW2_ZERO ? qcow2_runs_push(&self->data, &last, err) : 0;
}

/* Takes in one entry of L1, the one for guest: its table is to be read, or all are zeros. */
static int scan_l1_entry(struct qcow2 *self, const uint8_t *entry, uint64_t guest,
			 struct error *err)
{
	uint64_t offset;
	if (qcow2_l1_entry(&self->header, entry, self->file_bytes, &offset, err) < 0)
		return -1;
	if (offset == 0)
		return add_zeros(self, guest, l2_coverage(self), err);
	struct qcow2_run table = {.host = offset, .guest = guest, .kind = QCOW2_L2};
	return qcow2_runs_push(&self->tables, &table, err);
}

/* In order. */

/* Adds to a failure why the image cannot be read in order, and what to do. */
static int explain_order(struct error *err)
{
	if (err->kind == ERROR_MEMORY)
		err->kind = ERROR_UNSUPPORTED;
	if (err->kind != ERROR_UNSUPPORTED)
		return -1;
	return error_append(err, ", and its bytes come in order only: it is compressed as a whole, "
				 "checked by a checksum of the whole, or the server has no ranges. "
				 "Serve it as it is by a server with ranges and without a "
				 "checksum, or put it into order (qemu-img convert -O qcow2)");
}

/* Reads the table that is next in the file. */
static int read_next_table(struct qcow2 *self, struct error *err)
{
	struct qcow2_run table = *qcow2_runs_first(&self->tables);
	const uint8_t *bytes;
	size_t size = table.kind == QCOW2_L2
			      ? self->header.cluster_bytes
			      : (table.size < L1_ENTRIES ? table.size : L1_ENTRIES) * 8;
	if (qcow2_file_look(&self->file, table.host, size, size, &bytes, &size, err) < 0)
		return -1;
	qcow2_runs_pop(&self->tables);
	if (table.host + size > self->file.used_until)
		self->file.used_until = table.host + size;
	if (table.kind == QCOW2_L2)
		return scan_l2(self, bytes, table.guest, err);
	for (size_t i = 0; i < size / 8; i++)
		if (scan_l1_entry(self, bytes + i * 8, table.guest + i * l2_coverage(self), err) <
		    0)
			return -1;
	table.host += size;
	table.guest += size / 8 * l2_coverage(self);
	table.size -= (uint32_t)(size / 8);
	return table.size > 0 ? qcow2_runs_push(&self->tables, &table, err) : 0;
}

/* Reads tables until the next thing in the file is data. */
static int advance_in_order(struct qcow2 *self, struct error *err)
{
	for (;;) {
		const struct qcow2_run *table = qcow2_runs_first(&self->tables);
		const struct qcow2_run *data = qcow2_runs_first(&self->data);
		self->file.hold = table != NULL;
		if (!table || (data && data->host < table->host))
			return 0;
		if (read_next_table(self, err) < 0)
			return explain_order(err);
	}
}

/* By ranges. */

/* The entry of L1 that is next. */
static int next_l1_entry(struct qcow2 *self, const uint8_t **ret_entry, struct error *err)
{
	if (self->l1_at >= self->l1_end) {
		uint32_t left = self->header.l1_entries - self->l1_at;
		uint32_t count = left < L1_ENTRIES ? left : L1_ENTRIES;
		if (!self->l1)
			self->l1 = malloc((size_t)L1_ENTRIES * 8);
		if (!self->l1)
			return error_set(err, ERROR_MEMORY, "no memory for the image's tables");
		if (source_read_at(self->source, self->header.l1_offset + (uint64_t)self->l1_at * 8,
				   self->l1, (size_t)count * 8, err) < 0)
			return error_wrap(err, "the L1 table of the qcow2 image");
		self->l1_begin = self->l1_at;
		self->l1_end = self->l1_at + count;
	}
	*ret_entry = self->l1 + (size_t)(self->l1_at - self->l1_begin) * 8;
	return 0;
}

/* How far a run goes in the file. */
static uint64_t run_end(const struct qcow2 *self, const struct qcow2_run *run)
{
	uint64_t size = self->header.cluster_bytes;
	if (run->kind == QCOW2_RAW)
		size = (uint64_t)run->size * 512;
	else if (run->kind == QCOW2_COMPRESSED)
		size = run->size;
	uint64_t end = run->host + size;
	return end < self->file_bytes ? end : self->file_bytes;
}

/* The spans that sorted runs need; *ret_bytes is their sum. */
static int make_spans(const struct qcow2 *self, struct qcow2_runs *runs, struct span **ret_spans,
		      size_t *ret_count, uint64_t *ret_bytes, struct error *err)
{
	qcow2_runs_sort(runs);
	size_t count = 0, capacity = 0;
	struct span *spans = NULL;
	*ret_bytes = 0;
	for (size_t i = 0; i < runs->count; i++) {
		const struct qcow2_run *run = &runs->items[i];
		uint64_t end = run_end(self, run);
		struct span *last = count ? &spans[count - 1] : NULL;
		if (last && run->host <= last->offset + last->size_bytes + GAP_BYTES) {
			if (end > last->offset + last->size_bytes) {
				*ret_bytes += end - last->offset - last->size_bytes;
				last->size_bytes = end - last->offset;
			}
			continue;
		}
		if (count == capacity) {
			capacity = capacity ? 2 * capacity : 64;
			struct span *grown = realloc(spans, capacity * sizeof(*spans));
			if (!grown) {
				free(spans);
				return error_set(err, ERROR_MEMORY,
						 "no memory for the image's tables");
			}
			spans = grown;
		}
		spans[count++] = (struct span){run->host, end - run->host};
		*ret_bytes += end - run->host;
	}
	*ret_spans = spans;
	*ret_count = count;
	return 0;
}

/* Lets file read from the source what runs need. */
static int fetch_spans(struct qcow2 *self, struct qcow2_file *file, struct span *spans,
		       size_t count, struct error *err)
{
	struct stream *stream;
	if (spans_stream(self->source, spans, count, IN_FLIGHT, &stream, err) < 0) {
		free(spans);
		return -1;
	}
	qcow2_file_switch(file, stream, spans, count);
	return 0;
}

/* Reads all tables that are noted, by ranges. */
static int read_noted_tables(struct qcow2 *self, struct error *err)
{
	struct span *spans = NULL;
	size_t count = 0;
	uint64_t bytes = 0;
	struct qcow2_file file;
	if (self->tables.count == 0)
		return 0;
	if (make_spans(self, &self->tables, &spans, &count, &bytes, err) < 0)
		return -1;
	if (qcow2_file_open(&file, NULL, self->header.cluster_bytes, err) < 0) {
		free(spans);
		return -1;
	}
	int result = fetch_spans(self, &file, spans, count, err);
	while (result == 0 && self->tables.count > 0) {
		const struct qcow2_run table = *qcow2_runs_first(&self->tables);
		const uint8_t *data;
		size_t size = self->header.cluster_bytes;
		result = qcow2_file_look(&file, table.host, size, size, &data, &size, err);
		if (result == 0) {
			qcow2_runs_pop(&self->tables);
			result = scan_l2(self, data, table.guest, err);
		}
	}
	qcow2_file_close(&file);
	return result;
}

/* How many L2 tables there is room for in memory. */
static size_t room_for_tables(const struct qcow2 *self)
{
	size_t zeros = self->zeros_count - self->zeros_first;
	if (self->data.count >= QCOW2_RUNS_MOST - SPARE_RUNS || zeros >= ZEROS_MOST)
		return 0;
	size_t by_runs =
		(QCOW2_RUNS_MOST - SPARE_RUNS - self->data.count) / self->header.l2_entries;
	size_t by_zeros = (ZEROS_MOST - zeros) / (self->header.l2_entries / 2 + 2);
	return by_runs < by_zeros ? by_runs : by_zeros;
}

/* Reads the tables of as much of the disk as there is room for, and makes ready to read its data.
 */
static int read_batch(struct qcow2 *self, struct error *err)
{
	bool first = self->l1_at == 0;
	size_t room;
	while (self->l1_at < self->header.l1_entries && (room = room_for_tables(self)) > 0) {
		while (self->l1_at < self->header.l1_entries && self->tables.count < room &&
		       self->zeros_count - self->zeros_first < ZEROS_MOST) {
			const uint8_t *entry = NULL;
			if (next_l1_entry(self, &entry, err) < 0 ||
			    scan_l1_entry(self, entry, self->l1_at * l2_coverage(self), err) < 0)
				return -1;
			self->l1_at++;
		}
		if (read_noted_tables(self, err) < 0)
			return -1;
	}
	if (self->data.count == 0)
		return 0;
	struct span *spans = NULL;
	size_t count = 0;
	uint64_t bytes = 0;
	if (make_spans(self, &self->data, &spans, &count, &bytes, err) < 0)
		return -1;
	/* The stream has all of the file, in the same order. */
	if (first && self->l1_at == self->header.l1_entries &&
	    (self->file_bytes <= SMALL_FILE_BYTES || bytes / 3 >= self->file_bytes / 4)) {
		free(spans);
		return 0;
	}
	return fetch_spans(self, &self->file, spans, count, err);
}

/* Data. */

/* Sees to it that data.first is the next thing to be read; there is none at the end. */
static int advance(struct qcow2 *self, struct error *err)
{
	if (!self->source)
		return advance_in_order(self, err);
	/* A batch of zeros alone is given before the next one is read. */
	while (self->data.count == 0 && self->zeros_first == self->zeros_count &&
	       self->l1_at < self->header.l1_entries)
		if (read_batch(self, err) < 0)
			return -1;
	return 0;
}

/* A cluster of parts: they become runs of their own, or zeros. */
static int split_subclusters(struct qcow2 *self, struct error *err)
{
	struct qcow2_run cluster = *qcow2_runs_first(&self->data);
	qcow2_runs_pop(&self->data);
	uint32_t part = self->header.cluster_bytes / 32;
	for (unsigned i = 0, count; i < 32; i += count) {
		bool is_data = cluster.size >> i & 1;
		count = 1;
		while (i + count < 32 && (cluster.size >> (i + count) & 1) == is_data)
			count++;
		uint64_t guest = cluster.guest + (uint64_t)i * part;
		if (guest >= self->header.size_bytes)
			break;
		struct qcow2_run run = {.host = cluster.host + (uint64_t)i * part,
					.guest = guest,
					.size = count * (part / 512),
					.kind = QCOW2_RAW};
		if ((is_data ? qcow2_runs_push(&self->data, &run, err)
			     : add_zeros(self, guest, (uint64_t)count * part, err)) < 0)
			return -1;
	}
	return 0;
}

/* Where the first thing stands that is still to be read. */
static uint64_t next_host(const struct qcow2 *self)
{
	const struct qcow2_run *data = qcow2_runs_first(&self->data);
	const struct qcow2_run *table = qcow2_runs_first(&self->tables);
	uint64_t host = data ? data->host : UINT64_MAX;
	return table && table->host < host ? table->host : host;
}

/* Copies the beginning of the raw run that is first into data, size bytes at most. */
static int read_run(struct qcow2 *self, uint8_t *data, size_t size, size_t *ret_count,
		    struct error *err)
{
	struct qcow2_run run = *qcow2_runs_first(&self->data);
	qcow2_runs_pop(&self->data);
	uint64_t bytes = (uint64_t)run.size * 512;
	if (bytes > self->header.size_bytes - run.guest)
		bytes = self->header.size_bytes - run.guest;
	size_t count = bytes < size ? (size_t)bytes : size;
	/* Not past anything else that stands within this run: it can only be read forwards. */
	uint64_t next = next_host(self) - run.host;
	if (next < count)
		count = next >= 512              ? (size_t)next
			: count < TOGETHER_BYTES ? count
						 : TOGETHER_BYTES;
	if (count < bytes) {
		count -= count % 512;
		struct qcow2_run rest = run;
		rest.host += count;
		rest.guest += count;
		rest.size -= (uint32_t)(count / 512);
		if (qcow2_runs_push(&self->data, &rest, err) < 0)
			return -1;
	}
	*ret_count = count;
	if (qcow2_file_copy(&self->file, run.host, data, count, next >= count, err) < 0)
		return self->source ? -1 : explain_order(err);
	return 0;
}

/* Fills data with raw clusters as long as they are neighbours on the disk. */
static int read_raw(struct qcow2 *self, uint8_t *data, size_t size, struct extent *ret_extent,
		    struct error *err)
{
	uint64_t offset = qcow2_runs_first(&self->data)->guest;
	size_t used = 0;
	const struct qcow2_run *run = qcow2_runs_first(&self->data);
	while (used < size && size - used >= 512 && run && run->kind == QCOW2_RAW &&
	       run->guest == offset + used) {
		size_t count;
		if (read_run(self, data + used, size - used, &count, err) < 0 ||
		    advance(self, err) < 0)
			return -1;
		used += count;
		run = qcow2_runs_first(&self->data);
	}
	*ret_extent = (struct extent){.offset = offset, .size_bytes = used};
	return 1;
}

/* Gives compressed clusters to the threads, until one comes that is none or all are busy. */
static int feed(struct qcow2 *self, struct error *err)
{
	const struct qcow2_run *first;
	while ((first = qcow2_runs_first(&self->data)) != NULL && first->kind == QCOW2_COMPRESSED) {
		if (!self->pool &&
		    qcow2_pool_open(&self->header, self->threads, &self->pool, err) < 0)
			return -1;
		if (qcow2_pool_is_full(self->pool))
			return 0;
		struct qcow2_run run = *first;
		const uint8_t *bytes;
		size_t size;
		if (qcow2_file_look(&self->file, run.host, 1, run.size, &bytes, &size, err) < 0)
			return self->source ? -1 : explain_order(err);
		/* The last sector is shared with what stands behind. */
		uint64_t used = (run.host + size - 1) / 512 * 512;
		if (used > self->file.used_until)
			self->file.used_until = used;
		if (qcow2_pool_add(self->pool, run.guest, bytes, size, err) < 0)
			return -1;
		qcow2_runs_pop(&self->data);
		if (advance(self, err) < 0)
			return -1;
	}
	return 0;
}

/* Fills data with decoded clusters as long as they are neighbours on the disk. */
static int take(struct qcow2 *self, uint8_t *data, size_t size, struct extent *ret_extent,
		struct error *err)
{
	uint64_t offset = qcow2_pool_next(self->pool);
	size_t used = 0;
	do {
		ssize_t got = qcow2_pool_take(self->pool, data + used, size - used, err);
		if (got < 0 || feed(self, err) < 0)
			return -1;
		used += (size_t)got;
	} while (used < size && !qcow2_pool_is_empty(self->pool) &&
		 qcow2_pool_next(self->pool) == offset + used);
	*ret_extent = (struct extent){.offset = offset, .size_bytes = used};
	return 1;
}

static int finish(struct qcow2 *self, struct error *err)
{
	if (self->given_bytes != self->header.size_bytes)
		return error_set(err, ERROR_BUG,
				 "%" PRIu64 " bytes were read of a qcow2 disk of %" PRIu64,
				 self->given_bytes, self->header.size_bytes);
	return qcow2_file_finish(&self->file, err);
}

/* One extent, whichever is at hand. */
static int read_extent(struct qcow2 *self, void *data, size_t size, struct extent *ret_extent,
		       struct error *err)
{
	for (;;) {
		if (advance(self, err) < 0)
			return -1;
		if (self->zeros_first < self->zeros_count) {
			const struct zeros *zeros = &self->zeros[self->zeros_first++];
			*ret_extent = (struct extent){zeros->offset, zeros->size_bytes, true};
			return 1;
		}
		const struct qcow2_run *run = qcow2_runs_first(&self->data);
		if (run && run->kind == QCOW2_SUBCLUSTERS) {
			if (split_subclusters(self, err) < 0)
				return -1;
			continue;
		}
		if (run && run->kind == QCOW2_RAW)
			return read_raw(self, data, size, ret_extent, err);
		if (run && feed(self, err) < 0)
			return -1;
		if (self->pool && !qcow2_pool_is_empty(self->pool) &&
		    (!qcow2_runs_first(&self->data) || qcow2_pool_is_full(self->pool)))
			return take(self, data, size, ret_extent, err);
		if (!qcow2_runs_first(&self->data) && self->zeros_first == self->zeros_count)
			return finish(self, err);
	}
}

static int qcow2_read(struct image *image, void *data, size_t size, struct extent *ret_extent,
		      struct error *err)
{
	struct qcow2 *self = (struct qcow2 *)image;
	int result = read_extent(self, data, size, ret_extent, err);
	if (result > 0)
		self->given_bytes += ret_extent->size_bytes;
	return result;
}

static const struct image_operations operations = {.read = qcow2_read, .close = qcow2_close};

/* Where the L1 table must be, checked, and noted when everything is read in order. */
static int start(struct qcow2 *self, struct error *err)
{
	uint64_t l1_bytes = (uint64_t)self->header.l1_entries * 8;
	if (l1_bytes == 0)
		return 0;
	if (self->file_bytes < l1_bytes || self->header.l1_offset > self->file_bytes - l1_bytes)
		return error_set(err, ERROR_CORRUPT,
				 "the qcow2 image is cut: its L1 table is at %" PRIu64
				 ", the file has %" PRIu64 " bytes",
				 self->header.l1_offset, self->file_bytes);
	self->file.used_until = QCOW2_HEADER_BYTES;
	if (self->source)
		return 0;
	struct qcow2_run l1 = {
		.host = self->header.l1_offset, .size = self->header.l1_entries, .kind = QCOW2_L1};
	return qcow2_runs_push(&self->tables, &l1, err);
}

static int qcow2_open(struct image_input *input, struct image **ret_image, struct error *err)
{
	struct qcow2 *self = calloc(1, sizeof(*self));
	if (!self)
		abort();
	self->image = (struct image){.operations = &operations, .form = "qcow2"};
	self->source = input->source;
	self->threads = input->threads ? input->threads : 1;
	self->file_bytes = input->source ? source_size(input->source) : input->stream->size_bytes;
	self->file.stream = input->stream;
	if (qcow2_header_parse(input->head, input->head_size, &self->header, err) < 0)
		goto failed;
	/* The largest piece: a compressed cluster, a table, entries of L1. */
	size_t most = self->header.cluster_bytes + self->header.cluster_bytes / 128 + 1024;
	if (most < (size_t)L1_ENTRIES * 8)
		most = (size_t)L1_ENTRIES * 8;
	if (qcow2_file_open(&self->file, input->stream, most, err) < 0 || start(self, err) < 0)
		goto failed;
	self->image.size_bytes = self->image.least_bytes = self->header.size_bytes;
	*ret_image = &self->image;
	return 0;
failed:
	qcow2_close(&self->image);
	return -1;
}

const struct image_form image_form_qcow2 = {
	.name = "qcow2", .detect = qcow2_detect, .open = qcow2_open};
