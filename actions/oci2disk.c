/*
 * oci2disk: a disk image that lies in a registry as a layer of an image, as `oras push` puts it
 * there. What it is compressed by is told by the content, whatever tag and media type say. The run
 * is that of imaging.c.
 */
#include <string.h>

#include "actions/imaging.h"
#include "platform/log.h"
#include "platform/registry.h"

struct oci2disk {
	const char *reference;
	struct imaging_params imaging;
	const char *username;
	const char *password;
	bool skip_verify;
	bool compressed;
};

static const struct param params[] = {
	{"IMG_URL", PARAM_TEXT, PARAM_AT(struct oci2disk, reference), .flags = PARAM_REQUIRED,
	 .doc = "registry/repository:tag or @digest: of an image, or an index of images by "
		"platform. The disk image, in any form that image2disk takes, is the one layer "
		"that has a title, or the only layer"},
	IMAGING_PARAMS(struct oci2disk, imaging),
	{"REGISTRY_USERNAME", PARAM_TEXT, PARAM_AT(struct oci2disk, username),
	 .doc = "user at the registry; without one, registry-user for registry-name, else anybody"},
	{"REGISTRY_PASSWORD", PARAM_TEXT, PARAM_AT(struct oci2disk, password),
	 .flags = PARAM_SECRET, .doc = "password of that user"},
	{"SKIP_VERIFY", PARAM_BOOL, PARAM_AT(struct oci2disk, skip_verify), .fallback = "false",
	 .doc = "do not check the registry's certificate; digests are checked all the same"},
	{"COMPRESSED", PARAM_BOOL, PARAM_AT(struct oci2disk, compressed), .flags = PARAM_NO_EFFECT,
	 .fallback = "false", .doc = "taken for compatibility: the content tells"},
	{.name = NULL},
};

static int check_login(const struct oci2disk *oci2disk, struct error *err)
{
	if (!oci2disk->username[0] == !oci2disk->password[0])
		return 0;
	return error_set(err, ERROR_INPUT, "REGISTRY_%s is given without REGISTRY_%s",
			 oci2disk->username[0] ? "USERNAME" : "PASSWORD",
			 oci2disk->username[0] ? "PASSWORD" : "USERNAME");
}

static void warn(const struct registry *registry, const struct oci_reference *reference)
{
	switch (registry_safety(registry)) {
	case REGISTRY_PLAIN:
		log_warning("the registry is asked by plain HTTP", "registry", reference->registry);
		break;
	case REGISTRY_TLS_UNCHECKED:
		log_warning("the registry's certificate is not checked", "registry",
			    reference->registry);
		break;
	case REGISTRY_TLS:
	case REGISTRY_PLAIN_ALLOWED:
		break;
	}
}

static int write_layer(struct action_context *context, struct registry *registry,
		       const struct registry_image *image, const char *name, struct error *err)
{
	const struct oci2disk *oci2disk = context->params;
	const struct oci_descriptor *layer;
	char manifest_digest[DIGEST_TEXT_SIZE], layer_digest[DIGEST_TEXT_SIZE];
	if (oci_manifest_file_layer(&image->manifest, &layer, err) < 0)
		return error_wrap(err, "%s", name);
	log_info("found the image", "manifest", digest_format(&image->digest, manifest_digest),
		 "layer", digest_format(&layer->digest, layer_digest), "title",
		 layer->title ? layer->title : "", "media_type", layer->media_type, "bytes",
		 LOG_NUMBER(layer->size_bytes));
	struct imaging imaging = {
		.params = &oci2disk->imaging,
		.name = name,
		.source = download_options(context, &oci2disk->imaging.download),
		.expected = layer->digest,
		.expected_bytes = layer->size_bytes,
		.file_name = layer->title,
	};
	registry_blob(registry, layer, &imaging.source);
	if (imaging_run(context, &imaging, err) < 0)
		return -1;
	char summary[RESULT_TEXT_SIZE];
	memcpy(summary, context->summary, sizeof(summary));
	action_summary(context, "%s, of %s, manifest %s", summary, name, manifest_digest);
	return 0;
}

static int check(const struct action_context *context, struct error *err)
{
	const struct oci2disk *oci2disk = context->params;
	struct oci_reference reference;
	if (check_login(oci2disk, err) < 0)
		return -1;
	if (strcmp(oci2disk->imaging.bmap, "auto") == 0)
		return error_set(err, ERROR_UNSUPPORTED,
				 "BMAP=auto: a layer has no file beside it, give BMAP_URL");
	return oci_reference_parse(oci2disk->reference, &reference, err) < 0
		       ? error_wrap(err, "IMG_URL")
		       : 0;
}

static int run(struct action_context *context, struct error *err)
{
	const struct oci2disk *oci2disk = context->params;
	const struct source_options download =
		download_options(context, &oci2disk->imaging.download);
	struct oci_reference reference;
	char name[OCI_REFERENCE_SIZE];
	if (oci_reference_parse(oci2disk->reference, &reference, err) < 0)
		return error_wrap(err, "IMG_URL");
	const struct registry_options options = {
		.http = download.http,
		.site = context->registries,
		.username = oci2disk->username,
		.password = oci2disk->password,
		.skip_verify = oci2disk->skip_verify,
		.retry_ms = download.retry_ms,
	};
	auto_registry struct registry *registry = registry_open(&reference, &options);
	auto_registry_image struct registry_image image = {.manifest = {.is_index = false}};
	if (registry_image(registry, NULL, &image, err) < 0) {
		/* Other codes are of TLS. */
		bool login = err->code == 0 || err->code == 401 || err->code == 403;
		return err->kind == ERROR_DENIED && login && !oci2disk->username[0]
			       ? error_append(err, " (see REGISTRY_USERNAME, REGISTRY_PASSWORD)")
			       : -1;
	}
	warn(registry, &reference);
	return write_layer(context, registry, &image, oci_reference_format(&reference, name), err);
}

const struct action action_oci2disk;
const struct action action_oci2disk = {
	.name = "oci2disk",
	.published = true,
	.summary = "Stream a disk image from an OCI registry onto a disk, verified by its digest.",
	.params = params,
	.params_size = sizeof(struct oci2disk),
	.check = check,
	.run = run,
};
