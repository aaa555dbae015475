/*
 * References to images as people write them: "alpine", "quay.io/team/image:v1",
 * "10.0.0.1:5000/a/b@sha256:…", with the defaults that go without saying (docker.io, library/,
 * latest). The grammar is that of the distribution project's package reference.
 */
#ifndef PLATFORM_OCI_REFERENCE_H
#define PLATFORM_OCI_REFERENCE_H

#include "platform/digest.h"

enum {
	OCI_REGISTRY_SIZE = 256 + 8, /* a host name, brackets, a port */
	OCI_REPOSITORY_SIZE = 256,
	OCI_TAG_SIZE = 128 + 1,
	OCI_REFERENCE_SIZE =
		OCI_REGISTRY_SIZE + OCI_REPOSITORY_SIZE + OCI_TAG_SIZE + DIGEST_TEXT_SIZE + 4
};

struct oci_reference {
	char registry[OCI_REGISTRY_SIZE];     /* host[:port]; "docker.io" when none was given */
	char repository[OCI_REPOSITORY_SIZE]; /* "library/alpine" */
	char tag[OCI_TAG_SIZE];               /* "" when only a digest was given */
	struct digest digest;                 /* DIGEST_NONE when none was given */
};

/* ERROR_INPUT says what is wrong with the text. */
int oci_reference_parse(const char *text, struct oci_reference *ret_reference, struct error *err);

/* "registry/repository[:tag][@digest]", which parses to the same. out has OCI_REFERENCE_SIZE bytes.
 * Returns out. */
char *oci_reference_format(const struct oci_reference *reference, char *out);

/*
 * The name by which registries are compared: lower case, Docker Hub's three names as "docker.io".
 * text may be a reference's registry, or what people write for one: with a scheme before it and a
 * path behind it. Cut to out_size. Returns out.
 */
char *oci_registry_name(const char *text, char *out, size_t out_size);

#endif
