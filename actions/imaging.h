/*
 * What the imaging actions (image2disk, oci2disk, qemuimg2disk) have in common: the parameters, and
 * the run from a source to a verified disk. An action fills in where the bytes come from.
 */
#ifndef ACTIONS_IMAGING_H
#define ACTIONS_IMAGING_H

#include "actions/action.h"
#include "platform/image.h"

struct imaging_params {
	const char *device; /* DEST_DISK */
	const char *expect_serial;
	const char *expect_size;
	struct digest checksum;
	const char *checksum_url;
	const char *verify; /* "", "none", "readback" */
	const char *mode;   /* "", "write", "compare" */
	bool retry;
	uint64_t retry_minutes;
	uint64_t connections;
	uint64_t progress_interval_s;
	const char *bmap_url;
	const char *username;
	const char *password;
	const char *token;
	const char *ca_file;
};

/* The rows of the parameter table for a struct type whose member is a struct imaging_params. */
#define IMAGING_PARAMS(type, member)                                                               \
	{"DEST_DISK", PARAM_DEVICE, PARAM_AT(type, member.device), .flags = PARAM_REQUIRED,        \
	 .doc = "the disk (or partition) to write; not in use, and large enough"},                 \
		{"CHECKSUM", PARAM_CHECKSUM, PARAM_AT(type, member.checksum),                      \
		 .doc = "of what is downloaded: sha256:HEX or sha512:HEX"},                        \
	{                                                                                          \
		"CHECKSUM_URL", PARAM_URL, PARAM_AT(type, member.checksum_url),                    \
			.doc = "a file as sha256sum or sha512sum writes it, with a line for the "  \
			       "image's name"                                                      \
	}

struct imaging {
	const struct imaging_params *params;
	const char *name; /* of the image in messages: the URL (redacted) or reference */
	struct source_options source; /* urls, http, authorize; the rest is filled in from params */
	struct digest expected; /* besides params->checksum: a registry's digest; DIGEST_NONE */
};

/* Writes the image to the disk, verifies, makes its partitions known, and sets the summary. */
int imaging_run(struct action_context *context, struct imaging *imaging, struct error *err);

#endif
