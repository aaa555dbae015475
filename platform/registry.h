/*
 * A registry of images, by the OCI distribution specification 1.1 (and Docker's registry API v2
 * before it): the manifests of one repository, verified, and its blobs as sources.
 */
#ifndef PLATFORM_REGISTRY_H
#define PLATFORM_REGISTRY_H

#include "platform/oci_manifest.h"
#include "platform/oci_reference.h"
#include "platform/source.h"

/* What a site says of its registries. Texts are borrowed; NULL and "" are none. */
struct registry_site {
	const char *name; /* the one registry that the next two are for */
	const char *username;
	const char *password;
	/* Registries, by commas, that are reached by TLS without a check of the certificate and,
	 * where they do not speak TLS, by plain HTTP: host[:port], a network like 10.0.0.0/8 for
	 * those given by address, or http://host[:port] for one that is only asked by plain HTTP.
	 */
	const char *insecure;
};

/* Borrowed for the life of the registry. */
struct registry_options {
	struct http_options http; /* its stall timeout is that of each whole answer, too */
	struct registry_site site;
	const char *username; /* for this registry, instead of the site's; NULL or "": none */
	const char *password;
	bool skip_verify; /* do not check this registry's certificate */
	int64_t retry_ms; /* how long failures of the network are retried; 0: three tries */
};

enum registry_safety {
	REGISTRY_TLS,
	REGISTRY_TLS_UNCHECKED, /* the certificate is not looked at */
	REGISTRY_PLAIN_ALLOWED, /* the same, and plain HTTP when there is no TLS */
	REGISTRY_PLAIN
};

/* What a registry is by a site's list of insecure ones: REGISTRY_TLS, REGISTRY_PLAIN_ALLOWED or
 * REGISTRY_PLAIN. registry: as in struct oci_reference. */
enum registry_safety registry_safety_of(const char *insecure, const char *registry);

struct registry;

/* Makes ready to pull what a reference names. Nothing is sent yet. */
struct registry *registry_open(const struct oci_reference *reference,
			       const struct registry_options *options);
void registry_free(struct registry *registry);
AUTO_DEFINE(registry, struct registry *, registry_free)
#define auto_registry __attribute__((cleanup(cleanup_registry)))

/* How it is reached: REGISTRY_TLS, REGISTRY_TLS_UNCHECKED or, as found out by the first thing that
 * was fetched, REGISTRY_PLAIN. */
enum registry_safety registry_safety(const struct registry *registry);

struct registry_image {
	struct digest digest; /* of the manifest: what the image is known by everywhere */
	struct oci_manifest manifest;
};

/*
 * Fetches the manifest of the image that the reference names; of an index the one for platform
 * (NULL: this machine's). Each document is compared with the digest (and size) by which it was
 * asked for, or, by a tag, with what the registry calls it. Failures of the network are retried.
 * ERROR_NOT_FOUND: no such repository, tag or platform; ERROR_DENIED: a log-in is missing or
 * refused, or the certificate; ERROR_CORRUPT: another digest; ERROR_UNSUPPORTED and ERROR_PROTOCOL
 * as oci_manifest_parse(). *ret_image is freed by the caller.
 */
int registry_image(struct registry *registry, const struct oci_platform *platform,
		   struct registry_image *ret_image, struct error *err);
void registry_image_free(struct registry_image *image);
#define auto_registry_image __attribute__((cleanup(registry_image_free)))

/*
 * After registry_image(): fills in where a blob of the repository is read from: urls, http and
 * authorize of options (for source_open(); they hold until the next call and while the registry
 * lives). What is read is to be compared with the descriptor's size and digest by whoever reads it:
 * see digest_stream().
 */
void registry_blob(struct registry *registry, const struct oci_descriptor *blob,
		   struct source_options *options);

#endif
