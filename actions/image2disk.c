/*
 * image2disk: streams a disk image from a web server onto a disk. The form and the compression are
 * told by the content. The run is that of imaging.c.
 */
#include "actions/imaging.h"

struct image2disk {
	const char *urls;
	struct imaging_params imaging;
	bool compressed;
	bool text_logging;
};

static const struct param params[] = {
	{"IMG_URL", PARAM_URLS, PARAM_AT(struct image2disk, urls), .flags = PARAM_REQUIRED,
	 .doc = "the image, told by its content: raw, qcow2, Android sparse, a tar of one image; "
		"plain or compressed by gzip, zstd, xz, bzip2 or lz4. Several URLs are mirrors"},
	IMAGING_PARAMS(struct image2disk, imaging),
	CREDENTIAL_PARAMS(struct image2disk, imaging.download),
	{"COMPRESSED", PARAM_BOOL, PARAM_AT(struct image2disk, compressed),
	 .flags = PARAM_NO_EFFECT, .fallback = "false",
	 .doc = "taken for compatibility: the content tells"},
	{"TEXT_LOGGING", PARAM_BOOL, PARAM_AT(struct image2disk, text_logging),
	 .flags = PARAM_NO_EFFECT, .fallback = "false",
	 .doc = "taken for compatibility: the worker's log format holds"},
	{.name = NULL},
};

static int run(struct action_context *context, struct error *err)
{
	const struct image2disk *image2disk = context->params;
	return imaging_run_urls(context, &image2disk->imaging, image2disk->urls, err);
}

const struct action action_image2disk;
const struct action action_image2disk = {
	.name = "image2disk",
	.published = true,
	.summary = "Stream a disk image from a web server onto a disk, verified to its last byte.",
	.params = params,
	.params_size = sizeof(struct image2disk),
	.run = run,
};
