/* Manifests and indexes: see oci_manifest.h. */
#include "platform/oci_manifest.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/utsname.h>

#include "platform/json.h"
#include "platform/text.h"

enum {
	LISTED_MOST = 8, /* of layers and platforms in the text of an error */
	TITLE_MAX = 256
};

static const char title_key[] = "org.opencontainers.image.title";

static void descriptor_free(struct oci_descriptor *descriptor)
{
	free(descriptor->title);
	descriptor->title = NULL;
}

void oci_manifest_free(struct oci_manifest *manifest)
{
	for (size_t i = 0; i < manifest->entry_count; i++)
		descriptor_free(&manifest->entries[i].manifest);
	for (size_t i = 0; i < manifest->layer_count; i++)
		descriptor_free(&manifest->layers[i]);
	descriptor_free(&manifest->config);
	free(manifest->entries);
	free(manifest->layers);
	*manifest = (struct oci_manifest){.is_index = false};
}

/* A text fit to be shown on one line, "" when there is none. */
static void copy_word(const struct json *value, char *out, size_t out_size)
{
	const char *text = json_text(value);
	text_to_ascii(text ? text : "", text ? strlen(text) : 0, out, out_size);
	for (char *p = out; *p; p++)
		if (*p == '\n')
			*p = '?';
}

static int parse_descriptor(const struct json *json, const char *what,
			    struct oci_descriptor *ret_descriptor, struct error *err)
{
	const char *digest = json_text(json_get(json, "digest"));
	struct oci_descriptor descriptor = {.title = NULL};
	if (!digest || !json_uint(json_get(json, "size"), UINT64_MAX, &descriptor.size_bytes))
		return error_set(err, ERROR_PROTOCOL,
				 "the manifest is malformed: %s without digest and size", what);
	struct error why;
	if (digest_parse(digest, &descriptor.digest, &why) < 0) {
		bool known =
			strncmp(digest, "sha256:", 7) == 0 || strncmp(digest, "sha512:", 7) == 0;
		char shown[100];
		text_to_ascii(digest, strlen(digest), shown, sizeof(shown));
		return error_set(err, known ? ERROR_PROTOCOL : ERROR_UNSUPPORTED,
				 "the manifest names %s by the digest \"%s\": %s", what, shown,
				 known ? "it is malformed" : "only sha256 and sha512 are known");
	}
	copy_word(json_get(json, "mediaType"), descriptor.media_type,
		  sizeof(descriptor.media_type));
	char title[TITLE_MAX];
	copy_word(json_get(json_get(json, "annotations"), title_key), title, sizeof(title));
	if (title[0])
		descriptor.title = text_dup(title);
	*ret_descriptor = descriptor;
	return 0;
}

static size_t count_of(const struct json *array)
{
	size_t count = 0;
	for (const struct json *item = json_first(array); item; item = json_next(item))
		count++;
	return count;
}

static void *allocate(size_t count, size_t size)
{
	void *memory = calloc(count ? count : 1, size);
	if (!memory)
		abort();
	return memory;
}

static int parse_index(const struct json *entries, struct oci_manifest *index, struct error *err)
{
	index->is_index = true;
	index->entries = allocate(count_of(entries), sizeof(*index->entries));
	for (const struct json *item = json_first(entries); item; item = json_next(item)) {
		struct oci_index_entry *entry = &index->entries[index->entry_count];
		const struct json *platform = json_get(item, "platform");
		if (parse_descriptor(item, "an image", &entry->manifest, err) < 0)
			return -1;
		index->entry_count++;
		copy_word(json_get(platform, "os"), entry->platform.os, sizeof(entry->platform.os));
		copy_word(json_get(platform, "architecture"), entry->platform.architecture,
			  sizeof(entry->platform.architecture));
		copy_word(json_get(platform, "variant"), entry->platform.variant,
			  sizeof(entry->platform.variant));
		/* BuildKit marks what it adds about an image in both ways. */
		entry->attestation =
			json_get(json_get(item, "annotations"), "vnd.docker.reference.type") ||
			strcmp(entry->platform.architecture, "unknown") == 0;
	}
	return 0;
}

static int parse_image(const struct json *json, const struct json *layers,
		       struct oci_manifest *manifest, struct error *err)
{
	if (parse_descriptor(json_get(json, "config"), "a config", &manifest->config, err) < 0)
		return -1;
	manifest->layers = allocate(count_of(layers), sizeof(*manifest->layers));
	for (const struct json *item = json_first(layers); item; item = json_next(item)) {
		if (parse_descriptor(item, "a layer", &manifest->layers[manifest->layer_count],
				     err) < 0)
			return -1;
		manifest->layer_count++;
	}
	return 0;
}

enum kind {
	KIND_UNKNOWN,
	KIND_INDEX,
	KIND_IMAGE,
	KIND_SCHEMA1
};

static enum kind kind_of_media_type(const char *type)
{
	static const struct {
		const char *type;
		enum kind kind;
	} known[] = {
		{"application/vnd.oci.image.index.v1+json", KIND_INDEX},
		{"application/vnd.docker.distribution.manifest.list.v2+json", KIND_INDEX},
		{"application/vnd.oci.image.manifest.v1+json", KIND_IMAGE},
		{"application/vnd.docker.distribution.manifest.v2+json", KIND_IMAGE},
		{"application/vnd.docker.distribution.manifest.v1+json", KIND_SCHEMA1},
		{"application/vnd.docker.distribution.manifest.v1+prettyjws", KIND_SCHEMA1},
	};
	size_t size = type ? strcspn(type, "; \t") : 0;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strlen(known[i].type) == size && strncasecmp(type, known[i].type, size) == 0)
			return known[i].kind;
	return KIND_UNKNOWN;
}

/* What a document is, by what it calls itself, what the server calls it, and what it holds: one
 * that would be an image for one reader and an index for another is refused. */
static int find_kind(const struct json *json, const char *content_type, enum kind *ret_kind,
		     struct error *err)
{
	const char *own = json_text(json_get(json, "mediaType"));
	enum kind kind = kind_of_media_type(own ? own : content_type);
	uint64_t version = 0;
	json_uint(json_get(json, "schemaVersion"), 1000, &version);
	if (kind == KIND_SCHEMA1 || version == 1)
		return error_set(err, ERROR_UNSUPPORTED,
				 "the image is kept in Docker's schema 1, which names no sizes and "
				 "was given up in 2017: push it again with a present tool");
	bool index = json_is_array(json_get(json, "manifests"));
	bool image = json_is_array(json_get(json, "layers"));
	if (version != 2 || index == image || (kind == KIND_INDEX && image) ||
	    (kind == KIND_IMAGE && index)) {
		char shown[OCI_MEDIA_TYPE_SIZE];
		const char *type = own ? own : content_type ? content_type : "";
		text_to_ascii(type, strlen(type), shown, sizeof(shown));
		return error_set(err, ERROR_PROTOCOL,
				 "what the registry has there (%s) is no image and no index of "
				 "images that is known",
				 shown[0] ? shown : "no media type");
	}
	*ret_kind = index ? KIND_INDEX : KIND_IMAGE;
	return 0;
}

int oci_manifest_parse(const void *text, size_t size, const char *content_type,
		       struct oci_manifest *ret_manifest, struct error *err)
{
	auto_json struct json *json = NULL;
	auto_oci_manifest struct oci_manifest manifest = {.is_index = false};
	enum kind kind = KIND_UNKNOWN;
	if (json_parse(text, size, &json, err) < 0) {
		err->kind = ERROR_PROTOCOL;
		return error_wrap(err, "the manifest");
	}
	if (find_kind(json, content_type, &kind, err) < 0)
		return -1;
	if (kind == KIND_INDEX ? parse_index(json_get(json, "manifests"), &manifest, err) < 0
			       : parse_image(json, json_get(json, "layers"), &manifest, err) < 0)
		return -1;
	*ret_manifest = manifest;
	manifest = (struct oci_manifest){.is_index = false};
	return 0;
}

void oci_platform_here(struct oci_platform *ret_platform)
{
	static const struct {
		const char *machine, *architecture;
	} names[] = {
		{"x86_64", "amd64"},
		{"aarch64", "arm64"},
	};
	struct utsname uts = {.machine = ""};
	uname(&uts);
	const char *architecture = uts.machine;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(uts.machine, names[i].machine) == 0)
			architecture = names[i].architecture;
	*ret_platform = (struct oci_platform){.os = "linux"};
	snprintf(ret_platform->architecture, sizeof(ret_platform->architecture), "%s",
		 architecture);
}

/* 3: every word; 2: the variant goes without saying; 1: it is for whoever takes it; 0: not this
 * one. */
static unsigned fitness(const struct oci_index_entry *entry, const struct oci_platform *platform)
{
	const struct oci_platform *of = &entry->platform;
	if (entry->attestation)
		return 0;
	if (!of->os[0] && !of->architecture[0])
		return 1;
	if (strcmp(of->os, platform->os) != 0 ||
	    strcmp(of->architecture, platform->architecture) != 0)
		return 0;
	if (strcmp(of->variant, platform->variant) == 0)
		return 3;
	bool plain = !of->variant[0] ||
		     (strcmp(of->architecture, "arm64") == 0 && strcmp(of->variant, "v8") == 0) ||
		     (strcmp(of->architecture, "amd64") == 0 && strcmp(of->variant, "v1") == 0);
	return plain ? 2 : 0;
}

static int no_fit(const struct oci_manifest *index, const struct oci_platform *platform,
		  unsigned unnamed, struct error *err)
{
	if (unnamed > 1)
		return error_set(err, ERROR_NOT_FOUND,
				 "the index has %u images without a platform, none for %s/%s: name "
				 "one by its digest",
				 unnamed, platform->os, platform->architecture);
	error_set(err, ERROR_NOT_FOUND, "the index has no image for %s/%s (it has:", platform->os,
		  platform->architecture);
	size_t listed = 0;
	for (size_t i = 0; i < index->entry_count; i++) {
		const struct oci_platform *of = &index->entries[i].platform;
		if (index->entries[i].attestation)
			continue;
		if (listed++ < LISTED_MOST)
			error_append(err, " %s/%s%s%s", of->os, of->architecture,
				     of->variant[0] ? "/" : "", of->variant);
	}
	return error_append(err, "%s)", listed == 0 ? " none" : listed > LISTED_MOST ? " …" : "");
}

int oci_index_select(const struct oci_manifest *index, const struct oci_platform *platform,
		     const struct oci_descriptor **ret_descriptor, struct error *err)
{
	const struct oci_index_entry *best = NULL;
	unsigned best_fitness = 0, unnamed = 0;
	for (size_t i = 0; i < index->entry_count; i++) {
		unsigned fits = fitness(&index->entries[i], platform);
		unnamed += fits == 1;
		if (fits > best_fitness) {
			best = &index->entries[i];
			best_fitness = fits;
		}
	}
	if (!best || (best_fitness == 1 && unnamed > 1))
		return no_fit(index, platform, unnamed, err);
	*ret_descriptor = &best->manifest;
	return 0;
}

int oci_manifest_file_layer(const struct oci_manifest *manifest,
			    const struct oci_descriptor **ret_layer, struct error *err)
{
	const struct oci_descriptor *titled = NULL;
	size_t titles = 0;
	for (size_t i = 0; i < manifest->layer_count; i++) {
		if (!manifest->layers[i].title)
			continue;
		titled = &manifest->layers[i];
		titles++;
	}
	if (titles == 1 || manifest->layer_count == 1) {
		*ret_layer = titles == 1 ? titled : &manifest->layers[0];
		return 0;
	}
	if (manifest->layer_count == 0)
		return error_set(err, ERROR_INPUT, "the image has no layer");
	error_set(err, ERROR_INPUT,
		  "which of the image's %zu layers holds the disk image cannot be told, as %s a "
		  "title (annotation %s):",
		  manifest->layer_count, titles ? "more than one has" : "none has", title_key);
	for (size_t i = 0; i < manifest->layer_count && i < LISTED_MOST; i++) {
		const struct oci_descriptor *layer = &manifest->layers[i];
		error_append(err, "%s %zu. %s%s%s%" PRIu64 " bytes, %s", i ? ";" : "", i + 1,
			     layer->title ? "\"" : "", layer->title ? layer->title : "",
			     layer->title ? "\", " : "", layer->size_bytes,
			     layer->media_type[0] ? layer->media_type : "no media type");
	}
	return manifest->layer_count > LISTED_MOST ? error_append(err, "; …") : -1;
}
