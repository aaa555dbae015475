/*
 * Image manifests and indexes as registries keep them: OCI image specification 1.1 and Docker's
 * image manifest version 2, schema 2. Text in, facts out; nothing is fetched here.
 */
#ifndef PLATFORM_OCI_MANIFEST_H
#define PLATFORM_OCI_MANIFEST_H

#include "platform/digest.h"

enum {
	/* The specification asks registries to take manifests up to this size. */
	OCI_MANIFEST_MAX_BYTES = 4 << 20,
	OCI_MEDIA_TYPE_SIZE = 128,
	OCI_PLATFORM_WORD_SIZE = 32
};

/* All manifests that are understood, for the Accept header. */
#define OCI_ACCEPT                                                                                 \
	"application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "    \
	"application/vnd.docker.distribution.manifest.list.v2+json, "                              \
	"application/vnd.docker.distribution.manifest.v2+json"

/* What a manifest says of one blob or of another manifest. */
struct oci_descriptor {
	struct digest digest;
	uint64_t size_bytes;
	char media_type[OCI_MEDIA_TYPE_SIZE]; /* fit to be shown; "" when it has none */
	char *title; /* annotation org.opencontainers.image.title, NULL without */
};

/* What an image is made for: as Go spells it ("linux", "amd64", "v8"); "" when it is not said. */
struct oci_platform {
	char os[OCI_PLATFORM_WORD_SIZE];
	char architecture[OCI_PLATFORM_WORD_SIZE];
	char variant[OCI_PLATFORM_WORD_SIZE];
};

struct oci_index_entry {
	struct oci_descriptor manifest;
	struct oci_platform platform;
	bool attestation; /* about another manifest, no image by itself */
};

struct oci_manifest {
	bool is_index;
	/* Of an index. */
	struct oci_index_entry *entries;
	size_t entry_count;
	/* Of an image. */
	struct oci_descriptor config;
	struct oci_descriptor *layers;
	size_t layer_count;
};

/*
 * Reads a manifest. content_type is what the server called it, "" or NULL when it did not; the
 * document's own mediaType goes before it. ERROR_UNSUPPORTED: schema 1, or a digest of an unknown
 * algorithm; ERROR_PROTOCOL: it is no manifest, or says two things at once. *ret_manifest is freed
 * by the caller.
 */
int oci_manifest_parse(const void *text, size_t size, const char *content_type,
		       struct oci_manifest *ret_manifest, struct error *err);
void oci_manifest_free(struct oci_manifest *manifest);
#define auto_oci_manifest __attribute__((cleanup(oci_manifest_free)))

/* The platform of the machine that this runs on: linux and its processor. */
void oci_platform_here(struct oci_platform *ret_platform);

/*
 * The entry of an index that is for a platform: the first that fits in every word, else the first
 * whose variant goes without saying (arm64 is v8), else the only one that names no platform.
 * ERROR_NOT_FOUND lists what there is. Borrowed.
 */
int oci_index_select(const struct oci_manifest *index, const struct oci_platform *platform,
		     const struct oci_descriptor **ret_descriptor, struct error *err);

/*
 * The layer that holds a file (as `oras push` makes it): the one with a title when exactly one has
 * one, else the only one. ERROR_INPUT lists the layers when that does not decide. Borrowed.
 */
int oci_manifest_file_layer(const struct oci_manifest *manifest,
			    const struct oci_descriptor **ret_layer, struct error *err);

#endif
