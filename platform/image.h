/*
 * struct image: a disk's content as extents, whatever form it arrives in. A form (raw, qcow2,
 * Android sparse, tar, bmap) is a decoder that turns a stream, or a source read by ranges, into
 * extents of data and zeros. Every byte of the disk image is in exactly one extent; their order is
 * the form's own.
 */
#ifndef PLATFORM_IMAGE_H
#define PLATFORM_IMAGE_H

#include "platform/decompress.h"
#include "platform/digest.h"
#include "platform/source.h"

/* A piece of the disk. */
struct extent {
	uint64_t offset; /* on the disk, in bytes */
	uint64_t size_bytes;
	bool zero; /* all zeros, of any size; data was not touched */
};

struct image;

struct image_operations {
	/* Gives the next extent: its bytes in data (at most size of them, contiguous on the disk),
	 * or a run of zeros. Returns 1, 0 at the verified end, -1 on failure. The more a data
	 * extent fills, the better; data is aligned to 4096 and size a multiple of it. */
	int (*read)(struct image *image, void *data, size_t size, struct extent *ret_extent,
		    struct error *err);
	/* Frees it and what it owns. */
	void (*close)(struct image *image);
};

/* The first member of every form's state. */
struct image {
	const struct image_operations *operations;
	const char *form;     /* "raw", "qcow2", … */
	uint64_t size_bytes;  /* of the disk image; STREAM_SIZE_UNKNOWN when not known before */
	uint64_t least_bytes; /* known to come at least */
};

/* What a form's decoder gets. It takes the stream, also on failure. */
struct image_input {
	struct stream *stream; /* decompressed; from the first byte, head included */
	const uint8_t *head;   /* the first bytes of it, IMAGE_HEAD_BYTES unless it is shorter */
	size_t head_size;
	struct source *source; /* the same bytes by position; NULL when they were compressed, must
				  be read in order for a checksum, or have no ranges */
	unsigned threads;      /* that a decoder may use */
};

enum {
	IMAGE_HEAD_BYTES = 4096
};

/* One form: detect() looks at the first bytes, open() makes the decoder. The list stands in
 * image.c; raw is what nobody else claims. */
struct image_form {
	const char *name;
	bool (*detect)(const uint8_t *head, size_t size);
	int (*open)(struct image_input *input, struct image **ret_image, struct error *err);
};

/* What the first bytes of a file say that is no disk image, or of a form that is not read here: "a
 * VMDK image: convert it (…)", "a zip archive, …". NULL: nothing that is known. */
const char *image_foreign(const uint8_t *head, size_t size);

extern const struct image_form image_form_qcow2;
extern const struct image_form image_form_android_sparse;
extern const struct image_form image_form_tar;

enum {
	IMAGE_DIGESTS_MOST = 3
};

struct image_options {
	/* Of all downloaded bytes, in order; those of type DIGEST_NONE are not expected. With one,
	 * the bytes are read in order, once. */
	struct digest expected[IMAGE_DIGESTS_MOST];
	/* The text of a .bmap file (borrowed until image_open() returns), NULL without: only what
	 * it maps is data. */
	const char *bmap;
	size_t bmap_size;
	unsigned threads; /* for decoders; 0: as many as processors, at most 8 */
};

struct image_facts {
	enum compression compression;
	/* Of the download, once the image ended: the first one expected, else SHA-256 when the
	 * download is compressed, else not computed (DIGEST_NONE). */
	struct digest digest;
};

/*
 * Opens the image behind a source (borrowed; must outlive the image): the stream, its digest, the
 * decompressor and the form's decoder, each in a thread of its own where that is faster.
 * *ret_facts is borrowed and filled until the end. ERROR_UNSUPPORTED names a form that is not
 * read (VMDK, VHDX, zip …, what is compressed twice) and the remedy, ERROR_INPUT what is no image
 * at all (a web page).
 */
int image_open(struct source *source, const struct image_options *options,
	       struct image_facts *ret_facts, struct image **ret_image, struct error *err);

/* See struct image_operations. */
int image_read(struct image *image, void *data, size_t size, struct extent *ret_extent,
	       struct error *err);

void image_close(struct image *image);
AUTO_DEFINE(image, struct image *, image_close)
#define auto_image __attribute__((cleanup(cleanup_image)))

/* A raw image over a stream (taken): the bytes as they are. */
struct image *image_raw(struct stream *stream);

/*
 * Puts a bmap (the bmaptool XML format, versions 1.2 to 2.0; text borrowed during the call) over a
 * raw image's stream (taken, also on failure): mapped ranges are data whose checksums are verified,
 * the rest is zeros. With source (may be NULL) only what is mapped is fetched.
 */
int image_bmap(struct stream *stream, struct source *source, const char *text, size_t size,
	       struct image **ret_image, struct error *err);

#endif
