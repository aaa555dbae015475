/*
 * What the imaging actions (image2disk, oci2disk, qemuimg2disk) have in common: the parameters, and
 * the run from a source to a verified disk. An action says where the bytes come from.
 */
#ifndef ACTIONS_IMAGING_H
#define ACTIONS_IMAGING_H

#include "actions/download.h"
#include "platform/image.h"

struct imaging_params {
	const char *device;
	const char *expect_serial;
	const char *expect_size;
	struct digest checksum;
	const char *checksum_url;
	const char *bmap_url;
	const char *bmap;
	const char *verify;
	const char *mode;
	uint64_t progress_interval_s;
	struct download_params download;
};

/* clang-format off */
/* The rows of an action's table for its member of type struct imaging_params. */
#define IMAGING_PARAMS(type, member) \
	{"DEST_DISK", PARAM_DEVICE, PARAM_AT(type, member.device), .flags = PARAM_REQUIRED, \
	 .doc = "the disk (or partition) to write; not in use, and large enough"}, \
	{"EXPECT_SERIAL", PARAM_TEXT, PARAM_AT(type, member.expect_serial), \
	 .doc = "the serial number that the disk must have"}, \
	{"EXPECT_SIZE", PARAM_TEXT, PARAM_AT(type, member.expect_size), \
	 .doc = "the size that the disk must have: 480G, >=1T, <2TiB"}, \
	{"CHECKSUM", PARAM_CHECKSUM, PARAM_AT(type, member.checksum), \
	 .doc = "of what is downloaded: sha256:HEX or sha512:HEX"}, \
	{"CHECKSUM_URL", PARAM_URL, PARAM_AT(type, member.checksum_url), \
	 .doc = "a file as sha256sum or sha512sum writes it, with a line for the image's name"}, \
	{"BMAP_URL", PARAM_URL, PARAM_AT(type, member.bmap_url), \
	 .doc = "the image's block map (bmaptool): what it maps is verified by its checksums, " \
		"the rest is zeros"}, \
	{"BMAP", PARAM_CHOICE, PARAM_AT(type, member.bmap), .fallback = "none", \
	 .choices = "none|auto", \
	 .doc = "auto: look for a block map beside the image, named as it with .bmap at the end " \
		"or instead of its suffixes"}, \
	{"VERIFY", PARAM_CHOICE, PARAM_AT(type, member.verify), .fallback = "none", \
	 .choices = "none|readback", \
	 .doc = "readback: read the disk again past all caches and compare"}, \
	{"MODE", PARAM_CHOICE, PARAM_AT(type, member.mode), .fallback = "write", \
	 .choices = "write|compare", \
	 .doc = "compare: read the disk first and write only what differs"}, \
	{"PROGRESS_INTERVAL_SECONDS", PARAM_UINT, PARAM_AT(type, member.progress_interval_s), \
	 .fallback = "3", .min = 1, .max = 3600, \
	 .doc = "pause between two lines of progress in the log"}, \
	DOWNLOAD_PARAMS(type, member.download)
/* clang-format on */

struct imaging {
	const struct imaging_params *params;
	const char *name; /* of the image in messages: the URL (redacted) or reference */
	/* Where the bytes come from; begun by download_options() of params->download. */
	struct source_options source;
	struct digest expected;  /* besides params->checksum: a registry's; DIGEST_NONE: none */
	uint64_t expected_bytes; /* that the download must have; 0: not known */
	const char *file_name;   /* that CHECKSUM_URL has a line for; NULL: the first URL's */
};

/* Writes the image to the disk, verifies, makes its partitions known, and sets the summary. */
int imaging_run(struct action_context *context, struct imaging *imaging, struct error *err);

/* The same for an image at the URLs of a PARAM_URLS. */
int imaging_run_urls(struct action_context *context, const struct imaging_params *params,
		     const char *urls, struct error *err);

#endif
