/* The bytes of qcow2: header and table entries, all of them distrusted. See qcow2.h. */
#include <inttypes.h>
#include <string.h>

#include "platform/qcow2.h"

enum {
	V2_HEADER_BYTES = 72,
	V3_HEADER_BYTES = 104,
	CLUSTER_BITS_LEAST = 9,
	CLUSTER_BITS_MOST = 21,
	EXTENDED_L2_CLUSTER_BITS_LEAST = 14,
	L1_BYTES_MOST = 32 << 20, /* as QEMU */
	SUBCLUSTERS = 32
};

/* Incompatible features. */
#define FEATURE_DIRTY       (UINT64_C(1) << 0) /* reference counts are not up to date: not used here */
#define FEATURE_CORRUPT     (UINT64_C(1) << 1)
#define FEATURE_DATA_FILE   (UINT64_C(1) << 2)
#define FEATURE_COMPRESSION (UINT64_C(1) << 3)
#define FEATURE_EXTENDED_L2 (UINT64_C(1) << 4)

#define ENTRY_OFFSET     UINT64_C(0x00fffffffffffe00)
#define ENTRY_COPIED     (UINT64_C(1) << 63)
#define ENTRY_COMPRESSED (UINT64_C(1) << 62)
#define ENTRY_ZERO       UINT64_C(1)

static uint32_t get32(const uint8_t *data)
{
	return (uint32_t)data[0] << 24 | (uint32_t)data[1] << 16 | (uint32_t)data[2] << 8 | data[3];
}

static uint64_t get64(const uint8_t *data)
{
	return (uint64_t)get32(data) << 32 | get32(data + 4);
}

static int check_features(const uint8_t *head, struct qcow2_header *header, struct error *err)
{
	uint64_t features = get64(head + 72);
	uint32_t header_bytes = get32(head + 100);
	if (header_bytes < V3_HEADER_BYTES || header_bytes > header->cluster_bytes ||
	    header_bytes % 8 != 0)
		return error_set(err, ERROR_CORRUPT, "the qcow2 header cannot be %" PRIu32 " bytes",
				 header_bytes);
	if (features & FEATURE_CORRUPT)
		return error_set(err, ERROR_INPUT,
				 "the qcow2 image is marked as corrupt by the program that used it "
				 "last: repair it (qemu-img check -r all)");
	if (features & FEATURE_DATA_FILE)
		return error_set(err, ERROR_UNSUPPORTED,
				 "the qcow2 image has its data in another file: convert it "
				 "(qemu-img convert -O qcow2)");
	uint64_t unknown = features & ~(FEATURE_DIRTY | FEATURE_COMPRESSION | FEATURE_EXTENDED_L2);
	if (unknown)
		return error_set(err, ERROR_UNSUPPORTED,
				 "the qcow2 image uses features that are not known here (bits "
				 "0x%" PRIx64 "): convert it (qemu-img convert -O qcow2)",
				 unknown);
	if (features & FEATURE_EXTENDED_L2) {
		if (header->cluster_bits < EXTENDED_L2_CLUSTER_BITS_LEAST)
			return error_set(err, ERROR_CORRUPT,
					 "a qcow2 image with extended L2 entries cannot have "
					 "clusters of %" PRIu32 " bytes",
					 header->cluster_bytes);
		header->l2_entry_bytes = 16;
	}
	uint8_t compression = header_bytes > V3_HEADER_BYTES ? head[104] : 0;
	if ((compression != 0) != ((features & FEATURE_COMPRESSION) != 0))
		return error_set(err, ERROR_CORRUPT,
				 "the qcow2 header contradicts itself about the compression");
	if (compression > 1)
		return error_set(err, ERROR_UNSUPPORTED,
				 "the qcow2 image has clusters compressed by a method not known "
				 "here (%u): convert it (qemu-img convert -O qcow2)",
				 compression);
	header->compression = compression == 1 ? BLOCK_ZSTD : BLOCK_DEFLATE;
	return 0;
}

/* The size of the disk, the L1 table and what follows from them. */
static int check_geometry(const uint8_t *head, struct qcow2_header *header, struct error *err)
{
	header->l2_entries = header->cluster_bytes / header->l2_entry_bytes;
	uint64_t covered = (uint64_t)header->l2_entries << header->cluster_bits;
	uint32_t present = get32(head + 36);
	uint64_t needed = header->size_bytes / covered + (header->size_bytes % covered != 0);
	if (needed > L1_BYTES_MOST / 8)
		return error_set(err, ERROR_UNSUPPORTED,
				 "a qcow2 disk of %" PRIu64 " bytes with clusters of %" PRIu32
				 " is too large: convert it with larger clusters (qemu-img convert "
				 "-O qcow2 -o cluster_size=64k)",
				 header->size_bytes, header->cluster_bytes);
	if (needed > present)
		return error_set(err, ERROR_CORRUPT,
				 "the L1 table of the qcow2 image has %" PRIu32
				 " entries, the disk needs %" PRIu64,
				 present, needed);
	header->l1_entries = (uint32_t)needed;
	header->l1_offset = get64(head + 40);
	if (needed > 0 && (header->l1_offset % header->cluster_bytes != 0 ||
			   header->l1_offset == 0 || header->l1_offset > ENTRY_OFFSET))
		return error_set(err, ERROR_CORRUPT,
				 "the L1 table of the qcow2 image cannot be at %" PRIu64,
				 header->l1_offset);
	return 0;
}

int qcow2_header_parse(const uint8_t *head, size_t size, struct qcow2_header *ret_header,
		       struct error *err)
{
	if (size < QCOW2_HEADER_BYTES)
		return error_set(err, ERROR_CORRUPT, "the qcow2 image ends within its header");
	struct qcow2_header header = {.version = get32(head + 4),
				      .cluster_bits = get32(head + 20),
				      .size_bytes = get64(head + 24),
				      .l2_entry_bytes = 8,
				      .compression = BLOCK_DEFLATE};
	if (header.version != 2 && header.version != 3)
		return error_set(err, ERROR_UNSUPPORTED,
				 "a qcow2 image of version %u: 2 and 3 are read; convert it "
				 "(qemu-img convert -O qcow2)",
				 header.version);
	if (header.cluster_bits < CLUSTER_BITS_LEAST || header.cluster_bits > CLUSTER_BITS_MOST)
		return error_set(err, ERROR_CORRUPT, "qcow2 clusters cannot have 2^%u bytes",
				 header.cluster_bits);
	header.cluster_bytes = UINT32_C(1) << header.cluster_bits;
	if (get64(head + 8) != 0)
		return error_set(err, ERROR_UNSUPPORTED,
				 "the qcow2 image is only the difference to another one, its "
				 "backing file: join them (qemu-img convert -O qcow2)");
	if (get32(head + 32) != 0)
		return error_set(err, ERROR_UNSUPPORTED,
				 "the qcow2 image is encrypted: convert it to a plain one "
				 "(qemu-img convert)");
	if (header.version == 3 && check_features(head, &header, err) < 0)
		return -1;
	if (check_geometry(head, &header, err) < 0)
		return -1;
	*ret_header = header;
	return 0;
}

/* A cluster or table of cluster_bytes must stand at host. */
static int check_place(const struct qcow2_header *header, uint64_t host, uint64_t file_bytes,
		       const char *what, uint64_t guest, struct error *err)
{
	if (host % header->cluster_bytes != 0 || host == 0)
		return error_set(err, ERROR_CORRUPT,
				 "the qcow2 image is corrupt: %s for the disk's byte %" PRIu64
				 " cannot be at %" PRIu64,
				 what, guest, host);
	if (host >= file_bytes)
		return error_set(err, ERROR_CORRUPT,
				 "the qcow2 image is cut: %s for the disk's byte %" PRIu64
				 " is at %" PRIu64 ", the file has %" PRIu64 " bytes",
				 what, guest, host, file_bytes);
	return 0;
}

int qcow2_l1_entry(const struct qcow2_header *header, const uint8_t *entry, uint64_t file_bytes,
		   uint64_t *ret_l2_offset, struct error *err)
{
	uint64_t value = get64(entry);
	uint64_t offset = value & ENTRY_OFFSET;
	if (value & ~(ENTRY_OFFSET | ENTRY_COPIED))
		return error_set(err, ERROR_CORRUPT,
				 "the qcow2 image is corrupt: an L1 entry is 0x%016" PRIx64, value);
	if (offset != 0) {
		if (check_place(header, offset, file_bytes, "an L2 table", 0, err) < 0)
			return -1;
		if (file_bytes - offset < header->cluster_bytes)
			return error_set(err, ERROR_CORRUPT,
					 "the qcow2 image is cut within an L2 table at %" PRIu64,
					 offset);
	}
	*ret_l2_offset = offset;
	return 0;
}

/* x bits of offset, the rest below bit 62 is how many sectors more than the one it begins in. */
static int compressed_entry(const struct qcow2_header *header, uint64_t value, uint64_t guest,
			    uint64_t file_bytes, struct qcow2_run *ret_run, struct error *err)
{
	unsigned bits = 62 - (header->cluster_bits - 8);
	uint64_t offset = value & ((UINT64_C(1) << bits) - 1);
	uint64_t more_sectors = (value & (ENTRY_COMPRESSED - 1)) >> bits;
	if (value & ENTRY_COPIED || offset < header->cluster_bytes)
		return error_set(err, ERROR_CORRUPT,
				 "the qcow2 image is corrupt: the L2 entry for the disk's byte "
				 "%" PRIu64 " is 0x%016" PRIx64,
				 guest, value);
	if (offset >= file_bytes)
		return error_set(err, ERROR_CORRUPT,
				 "the qcow2 image is cut: the cluster for the disk's byte %" PRIu64
				 " is at %" PRIu64 ", the file has %" PRIu64 " bytes",
				 guest, offset, file_bytes);
	/* Compressed data is no longer than a cluster and the little that deflate and zstd add
	 * where nothing can be saved; a writer that says more has rounded. */
	uint64_t size = (more_sectors + 1) * 512 - offset % 512;
	uint64_t most = header->cluster_bytes + header->cluster_bytes / 128 + 1024;
	*ret_run = (struct qcow2_run){.host = offset,
				      .guest = guest,
				      .size = (uint32_t)(size < most ? size : most),
				      .kind = QCOW2_COMPRESSED};
	return 0;
}

/* How many bytes of a cluster at guest belong to the disk. */
static uint64_t used_of_cluster(const struct qcow2_header *header, uint64_t guest)
{
	uint64_t left = header->size_bytes - guest;
	return left < header->cluster_bytes ? left : header->cluster_bytes;
}

int qcow2_l2_entry(const struct qcow2_header *header, const uint8_t *entry, uint64_t guest,
		   uint64_t file_bytes, struct qcow2_run *ret_run, struct error *err)
{
	uint64_t value = get64(entry);
	uint64_t offset = value & ENTRY_OFFSET;
	bool extended = header->l2_entry_bytes == 16;
	if (value & ENTRY_COMPRESSED)
		return compressed_entry(header, value, guest, file_bytes, ret_run, err);
	uint64_t known =
		ENTRY_OFFSET | ENTRY_COPIED | (header->version >= 3 && !extended ? ENTRY_ZERO : 0);
	if (value & ~known)
		return error_set(err, ERROR_CORRUPT,
				 "the qcow2 image is corrupt: the L2 entry for the disk's byte "
				 "%" PRIu64 " is 0x%016" PRIx64,
				 guest, value);
	struct qcow2_run run = {.host = offset,
				.guest = guest,
				.size = header->cluster_bytes / 512,
				.kind = QCOW2_RAW};
	uint64_t used = used_of_cluster(header, guest);
	if (extended) {
		uint32_t zeros = get32(entry + 8), data = get32(entry + 12);
		if (zeros & data || (data && offset == 0))
			return error_set(err, ERROR_CORRUPT,
					 "the qcow2 image is corrupt: the L2 entry for the disk's "
					 "byte %" PRIu64 " contradicts itself",
					 guest);
		/* Up to the last part that is data and on the disk. */
		uint32_t part = header->cluster_bytes / SUBCLUSTERS;
		unsigned parts = (unsigned)((used + part - 1) / part);
		if (parts < SUBCLUSTERS)
			data &= (UINT32_C(1) << parts) - 1;
		if (data == 0) {
			run.kind = QCOW2_ZERO;
		} else if (data != UINT32_MAX) {
			run.kind = QCOW2_SUBCLUSTERS;
			run.size = data;
			uint64_t last = (uint64_t)(32 - __builtin_clz(data)) * part;
			used = last < used ? last : used;
		}
	} else if (value & ENTRY_ZERO || offset == 0) {
		run.kind = QCOW2_ZERO;
	}
	if (run.kind != QCOW2_ZERO) {
		if (check_place(header, offset, file_bytes, "the cluster", guest, err) < 0)
			return -1;
		if (file_bytes - offset < used)
			return error_set(err, ERROR_CORRUPT,
					 "the qcow2 image is cut within the cluster for the disk's "
					 "byte %" PRIu64,
					 guest);
	}
	*ret_run = run;
	return 0;
}
