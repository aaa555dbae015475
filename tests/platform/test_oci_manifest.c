/* Manifests in the shapes that oras, docker push and docker buildx give them, and such as nobody
 * should make. */
#include "tests/unit.h"

#include "platform/oci_manifest.h"

#define HEX(c)                                                                                     \
	c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c  \
		c c c c c c c c c c c c c c c c c c c
#define SHA(c) "sha256:" HEX(c)
#define OCI    "application/vnd.oci.image."
#define DOCKER "application/vnd.docker."

/* `oras push registry/repo:tag disk.raw.gz` */
static const char oras[] =
	"{\"schemaVersion\":2,\"mediaType\":\"" OCI "manifest.v1+json\","
	"\"artifactType\":\"application/vnd.unknown.artifact.v1\","
	"\"config\":{\"mediaType\":\"application/vnd.oci.empty.v1+json\",\"digest\":\"" SHA(
		"4") "\","
		     "\"size\":2,\"data\":\"e30=\"},\"layers\":[{\"mediaType\":\"" OCI
		     "layer.v1.tar\","
		     "\"digest\":\"" SHA("a") "\",\"size\":1048576000,"
					      "\"annotations\":{\"org.opencontainers.image.title\":"
					      "\"disk.raw.gz\"}}],"
					      "\"annotations\":{\"org.opencontainers.image."
					      "created\":\"2024-05-05T00:00:00Z\"}}";

/* Docker's schema 2. */
static const char docker[] =
	"{\n   \"schemaVersion\": 2,\n   \"mediaType\": \"" DOCKER
	"distribution.manifest.v2+json\",\n"
	"   \"config\": {\n      \"mediaType\": \"" DOCKER "container.image.v1+json\",\n"
	"      \"size\": 1471,\n      \"digest\": \"" SHA(
		"c") "\"\n   },\n   \"layers\": [\n      {\n"
		     "         \"mediaType\": \"" DOCKER
		     "image.rootfs.diff.tar.gzip\",\n         \"size\": 3401613,\n"
		     "         \"digest\": \"" SHA(
			     "1") "\"\n      },\n      {\n         \"mediaType\": \"" DOCKER
				  "image.rootfs.diff.tar.gzip\",\n         \"size\": 17,\n         "
				  "\"digest\": \"" SHA("2") "\"\n"
							    "      }\n   ]\n}";

/* docker buildx with provenance. */
static const char buildx[] =
	"{\"schemaVersion\":2,\"mediaType\":\"" OCI "index.v1+json\",\"manifests\":["
	"{\"mediaType\":\"" OCI "manifest.v1+json\",\"digest\":\"" SHA(
		"1") "\",\"size\":1000,"
		     "\"platform\":{\"architecture\":\"amd64\",\"os\":\"linux\"}},"
		     "{\"mediaType\":\"" OCI "manifest.v1+json\",\"digest\":\"" SHA(
			     "2") "\",\"size\":1001,"
				  "\"platform\":{\"architecture\":\"arm64\",\"os\":\"linux\","
				  "\"variant\":\"v8\"}},"
				  "{\"mediaType\":\"" OCI "manifest.v1+json\",\"digest\":\"" SHA(
					  "3") "\",\"size\":1002,"
					       "\"platform\":{\"architecture\":\"arm\",\"os\":"
					       "\"linux\",\"variant\":\"v7\"}},"
					       "{\"mediaType\":\"" OCI
					       "manifest.v1+json\",\"digest\":\"" SHA(
						       "4") "\",\"size\":566,"
							    "\"annotations\":{\"vnd.docker."
							    "reference.digest\":\"" SHA(
								    "1") "\","
									 "\"vnd.docker.reference."
									 "type\":\"attestation-"
									 "manifest\"},"
									 "\"platform\":{"
									 "\"architecture\":"
									 "\"unknown\",\"os\":"
									 "\"unknown\"}}]}";

static const char *hex_of(const struct digest *digest, char *out)
{
	return digest_format(digest, out);
}

static void reads_images(void **state)
{
	(void)state;
	struct error err;
	char digest[DIGEST_TEXT_SIZE];
	auto_oci_manifest struct oci_manifest manifest = {.is_index = false};
	assert_ok(oci_manifest_parse(oras, strlen(oras), OCI "manifest.v1+json", &manifest, &err));
	assert_false(manifest.is_index);
	assert_int_equal(manifest.layer_count, 1);
	assert_string_equal(hex_of(&manifest.layers[0].digest, digest), SHA("a"));
	assert_int_equal(manifest.layers[0].size_bytes, 1048576000);
	assert_string_equal(manifest.layers[0].title, "disk.raw.gz");
	assert_string_equal(manifest.layers[0].media_type, OCI "layer.v1.tar");
	assert_int_equal(manifest.config.size_bytes, 2);
	oci_manifest_free(&manifest);
	/* Without a word from the server, or with another than the document's. */
	const char *const types[] = {NULL, "", "application/json; charset=utf-8",
				     DOCKER "distribution.manifest.v2+json; x=y"};
	for (size_t i = 0; i < COUNT(types); i++) {
		assert_ok(oci_manifest_parse(docker, strlen(docker), types[i], &manifest, &err));
		assert_false(manifest.is_index);
		assert_int_equal(manifest.layer_count, 2);
		assert_null(manifest.layers[1].title);
		assert_int_equal(manifest.layers[1].size_bytes, 17);
		assert_string_equal(hex_of(&manifest.config.digest, digest), SHA("c"));
		oci_manifest_free(&manifest);
	}
}

static void selects_the_machine(void **state)
{
	(void)state;
	struct error err;
	char digest[DIGEST_TEXT_SIZE];
	auto_oci_manifest struct oci_manifest index = {.is_index = false};
	const struct oci_descriptor *chosen;
	assert_ok(oci_manifest_parse(buildx, strlen(buildx), NULL, &index, &err));
	assert_true(index.is_index);
	assert_int_equal(index.entry_count, 4);
	static const struct {
		struct oci_platform platform;
		const char *digest;
	} cases[] = {
		{{"linux", "amd64", ""}, SHA("1")},
		{{"linux", "arm64", ""}, SHA("2")},
		{{"linux", "arm64", "v8"}, SHA("2")},
		{{"linux", "arm", "v7"}, SHA("3")},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		assert_ok(oci_index_select(&index, &cases[i].platform, &chosen, &err));
		assert_string_equal(hex_of(&chosen->digest, digest), cases[i].digest);
	}
	const struct oci_platform others[] = {
		{"linux", "riscv64", ""}, {"linux", "arm", "v5"}, {"unknown", "unknown", ""}};
	for (size_t i = 0; i < COUNT(others); i++) {
		assert_fails(oci_index_select(&index, &others[i], &chosen, &err), ERROR_NOT_FOUND,
			     "linux/amd64 linux/arm64/v8 linux/arm/v7)");
		assert_contains(err.text, others[i].architecture);
	}
	struct oci_platform here;
	oci_platform_here(&here);
	assert_string_equal(here.os, "linux");
	assert_true(here.architecture[0]);
}

/* An index whose entries have these platforms, as JSON; the digests are 0…, 1…, 2…. */
static void parse_platforms(const char *const *platforms, struct oci_manifest *ret_index)
{
	static const char *const digests[] = {SHA("0"), SHA("1"), SHA("2")};
	char text[2000] = "{\"schemaVersion\":2,\"manifests\":[";
	struct error err;
	for (size_t i = 0; platforms[i]; i++) {
		size_t used = strlen(text);
		snprintf(text + used, sizeof(text) - used, "%s{\"digest\":\"%s\",\"size\":1%s}",
			 i ? "," : "", digests[i], platforms[i]);
	}
	strcat(text, "]}");
	assert_ok(oci_manifest_parse(text, strlen(text), NULL, ret_index, &err));
}

static void selects_by_fitness(void **state)
{
	(void)state;
#define PLATFORM(text) ",\"platform\":{" text "}"
	static const struct {
		const char *const platforms[4];
		int chosen; /* -1: none */
	} cases[] = {
		{{"", NULL}, 0},
		{{"", "", NULL}, -1},
		{{"", PLATFORM("\"os\":\"linux\",\"architecture\":\"amd64\""), NULL}, 1},
		{{PLATFORM("\"os\":\"linux\",\"architecture\":\"arm64\""), "", NULL}, 1},
		{{PLATFORM("\"os\":\"linux\",\"architecture\":\"amd64\",\"variant\":\"v3\""),
		  PLATFORM("\"os\":\"linux\",\"architecture\":\"amd64\",\"variant\":\"v1\""),
		  PLATFORM("\"os\":\"linux\",\"architecture\":\"amd64\""), NULL},
		 2},
		{{PLATFORM("\"os\":\"linux\",\"architecture\":\"amd64\",\"variant\":\"v3\""),
		  PLATFORM("\"os\":\"linux\",\"architecture\":\"amd64\",\"variant\":\"v1\""), NULL},
		 1},
		{{PLATFORM("\"os\":\"linux\",\"architecture\":\"amd64\",\"variant\":\"v3\""), NULL},
		 -1},
		{{PLATFORM("\"os\":\"windows\",\"architecture\":\"amd64\""), NULL}, -1},
		{{PLATFORM("\"os\":\"linux\",\"architecture\":\"amd64\""),
		  PLATFORM("\"os\":\"linux\",\"architecture\":\"amd64\""), NULL},
		 0},
		{{NULL}, -1},
	};
	const struct oci_platform platform = {"linux", "amd64", ""};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct error err;
		auto_oci_manifest struct oci_manifest index = {.is_index = false};
		const struct oci_descriptor *chosen;
		parse_platforms(cases[i].platforms, &index);
		if (cases[i].chosen < 0) {
			assert_fails(oci_index_select(&index, &platform, &chosen, &err),
				     ERROR_NOT_FOUND, "linux/amd64");
			continue;
		}
		assert_ok(oci_index_select(&index, &platform, &chosen, &err));
		assert_ptr_equal(chosen, &index.entries[cases[i].chosen].manifest);
	}
}

/* An image whose layers have these titles; "-": none. */
static void parse_titles(const char *const *titles, struct oci_manifest *ret_manifest)
{
	char text[8000] =
		"{\"schemaVersion\":2,\"config\":{\"digest\":\"" SHA("0") "\",\"size\":2},"
									  "\"layers\":[";
	struct error err;
	for (size_t i = 0; titles[i]; i++) {
		size_t used = strlen(text);
		snprintf(text + used, sizeof(text) - used,
			 "%s{\"mediaType\":\"any/thing\",\"digest\":\"" SHA("1") "\",\"size\":%zu",
			 i ? "," : "", i + 100);
		used = strlen(text);
		if (titles[i][0] != '-')
			snprintf(text + used, sizeof(text) - used,
				 ",\"annotations\":{\"org.opencontainers.image.title\":\"%s\"}",
				 titles[i]);
		strcat(text, "}");
	}
	strcat(text, "]}");
	assert_ok(oci_manifest_parse(text, strlen(text), NULL, ret_manifest, &err));
}

static void finds_the_layer_with_the_file(void **state)
{
	(void)state;
	static const struct {
		const char *const titles[4];
		int chosen;
		const char *words;
	} cases[] = {
		{{"disk.raw", NULL}, 0, NULL},
		{{"-", NULL}, 0, NULL},
		{{"", NULL}, 0, NULL},
		{{"-", "disk.raw", "-", NULL}, 1, NULL},
		{{"", "disk.raw", NULL}, 1, NULL},
		{{"a.raw", "b.raw", NULL},
		 -1,
		 "more than one has a title (annotation org.opencontainers.image.title): "
		 "1. \"a.raw\", 100 bytes, any/thing; 2. \"b.raw\", 101 bytes, any/thing"},
		{{"-", "-", NULL}, -1, "2 layers"},
		{{NULL}, -1, "no layer"},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct error err;
		auto_oci_manifest struct oci_manifest manifest = {.is_index = false};
		const struct oci_descriptor *layer;
		parse_titles(cases[i].titles, &manifest);
		if (cases[i].chosen < 0) {
			assert_fails(oci_manifest_file_layer(&manifest, &layer, &err), ERROR_INPUT,
				     cases[i].words);
			continue;
		}
		assert_ok(oci_manifest_file_layer(&manifest, &layer, &err));
		assert_ptr_equal(layer, &manifest.layers[cases[i].chosen]);
	}
	/* Many: listed up to a point. */
	const char *many[21];
	for (size_t i = 0; i < 20; i++)
		many[i] = "-";
	many[20] = NULL;
	struct error err;
	auto_oci_manifest struct oci_manifest manifest = {.is_index = false};
	const struct oci_descriptor *layer;
	parse_titles(many, &manifest);
	assert_fails(oci_manifest_file_layer(&manifest, &layer, &err), ERROR_INPUT, "; …");
}

static void refuses_what_is_none(void **state)
{
	(void)state;
	struct error err;
	struct oci_manifest manifest;
#define CONFIG "\"config\":{\"digest\":\"" SHA("0") "\",\"size\":2}"
	static const struct {
		const char *text, *type;
		enum error_kind kind;
		const char *words;
	} cases[] = {
		{"<html>", NULL, ERROR_PROTOCOL, "no JSON"},
		{"[]", NULL, ERROR_PROTOCOL, "no media type"},
		{"{}", "text/html", ERROR_PROTOCOL, "text/html"},
		{"{\"schemaVersion\":2}", OCI "manifest.v1+json", ERROR_PROTOCOL,
		 "manifest.v1+json"},
		{"{\"schemaVersion\":2,\"mediaType\":\"application/"
		 "vnd.oci.artifact.manifest.v1+json\","
		 "\"blobs\":[]}",
		 NULL, ERROR_PROTOCOL, "artifact"},
		{"{\"schemaVersion\":3," CONFIG ",\"layers\":[]}", NULL, ERROR_PROTOCOL, ""},
		/* Two things at once (CVE-2021-41190). */
		{"{\"schemaVersion\":2," CONFIG ",\"layers\":[],\"manifests\":[]}", NULL,
		 ERROR_PROTOCOL, "no image and no index"},
		{"{\"schemaVersion\":2," CONFIG ",\"layers\":[]}", OCI "index.v1+json",
		 ERROR_PROTOCOL, "index.v1+json"},
		{"{\"schemaVersion\":2,\"manifests\":[]}", OCI "manifest.v1+json", ERROR_PROTOCOL,
		 "manifest.v1+json"},
		{"{\"schemaVersion\":2,\"mediaType\":\"" OCI "index.v1+json\"," CONFIG
		 ",\"layers\":[]}",
		 OCI "manifest.v1+json", ERROR_PROTOCOL, "index.v1+json"},
		/* Schema 1. */
		{"{\"schemaVersion\":1,\"name\":\"x\",\"fsLayers\":[]}", NULL, ERROR_UNSUPPORTED,
		 "schema 1"},
		{"{\"schemaVersion\":1}", DOCKER "distribution.manifest.v1+prettyjws",
		 ERROR_UNSUPPORTED, "push it again"},
		/* Descriptors. */
		{"{\"schemaVersion\":2,\"layers\":[]}", NULL, ERROR_PROTOCOL, "a config"},
		{"{\"schemaVersion\":2," CONFIG ",\"layers\":[{\"size\":1}]}", NULL, ERROR_PROTOCOL,
		 "a layer without digest"},
		{"{\"schemaVersion\":2," CONFIG ",\"layers\":[{\"digest\":\"" SHA("1") "\"}]}",
		 NULL, ERROR_PROTOCOL, "size"},
		{"{\"schemaVersion\":2," CONFIG
		 ",\"layers\":[{\"digest\":\"" SHA("1") "\",\"size\":-1}]}",
		 NULL, ERROR_PROTOCOL, "size"},
		{"{\"schemaVersion\":2," CONFIG
		 ",\"layers\":[{\"digest\":\"sha256:12\",\"size\":1}]}",
		 NULL, ERROR_PROTOCOL, "malformed"},
		{"{\"schemaVersion\":2," CONFIG
		 ",\"layers\":[{\"digest\":\"blake3:1234\",\"size\":1}]}",
		 NULL, ERROR_UNSUPPORTED, "blake3"},
		{"{\"schemaVersion\":2," CONFIG ",\"layers\":[7]}", NULL, ERROR_PROTOCOL,
		 "a layer"},
		{"{\"schemaVersion\":2,\"manifests\":[{\"digest\":\"" SHA("1") "\"}]}", NULL,
		 ERROR_PROTOCOL, "an image"},
	};
	for (size_t i = 0; i < COUNT(cases); i++)
		assert_fails(oci_manifest_parse(cases[i].text, strlen(cases[i].text), cases[i].type,
						&manifest, &err),
			     cases[i].kind, cases[i].words);
}

static void makes_texts_safe(void **state)
{
	(void)state;
	struct error err;
	static const char text[] = "{\"schemaVersion\":2," CONFIG
				   ",\"layers\":[{\"mediaType\":\"a\\u001b[31mb\\nc\\u00e4\","
				   "\"digest\":\"" SHA("1") "\",\"size\":1,"
							    "\"annotations\":{\"org.opencontainers."
							    "image.title\":\"x\\ny\\u0007\"}}]}";
	auto_oci_manifest struct oci_manifest manifest = {.is_index = false};
	assert_ok(oci_manifest_parse(text, strlen(text), NULL, &manifest, &err));
	assert_string_equal(manifest.layers[0].media_type, "a?[31mb?c?");
	assert_string_equal(manifest.layers[0].title, "x?y?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_images),
		cmocka_unit_test(selects_the_machine),
		cmocka_unit_test(selects_by_fitness),
		cmocka_unit_test(finds_the_layer_with_the_file),
		cmocka_unit_test(refuses_what_is_none),
		cmocka_unit_test(makes_texts_safe),
	};
	return cmocka_run_group_tests_name("oci_manifest", tests, NULL, NULL);
}
