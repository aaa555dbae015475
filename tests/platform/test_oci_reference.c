/* The grammar of references: what each means, and what is none. */
#include "tests/unit.h"

#include "platform/oci_reference.h"

#define HEX_64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define DIGEST "sha256:" HEX_64

static void gives_the_parts(void **state)
{
	(void)state;
	struct error err;
	static const struct {
		const char *text, *registry, *repository, *tag, *whole;
		bool digest;
	} cases[] = {
		{"alpine", "docker.io", "library/alpine", "latest",
		 "docker.io/library/alpine:latest", false},
		{"alpine:3.18", "docker.io", "library/alpine", "3.18",
		 "docker.io/library/alpine:3.18", false},
		{"team/image", "docker.io", "team/image", "latest", "docker.io/team/image:latest",
		 false},
		{"docker.io/alpine", "docker.io", "library/alpine", "latest",
		 "docker.io/library/alpine:latest", false},
		{"index.docker.io/library/alpine:1", "docker.io", "library/alpine", "1",
		 "docker.io/library/alpine:1", false},
		{"quay.io/a/b/c:v1.0_x-y", "quay.io", "a/b/c", "v1.0_x-y", "quay.io/a/b/c:v1.0_x-y",
		 false},
		{"10.0.0.1:5000/img", "10.0.0.1:5000", "img", "latest", "10.0.0.1:5000/img:latest",
		 false},
		{"localhost/img", "localhost", "img", "latest", "localhost/img:latest", false},
		{"Registry.Example:443/img:A", "registry.example:443", "img", "A",
		 "registry.example:443/img:A", false},
		{"[fd00::1]:5000/img", "[fd00::1]:5000", "img", "latest",
		 "[fd00::1]:5000/img:latest", false},
		{"[::1]/img", "[::1]", "img", "latest", "[::1]/img:latest", false},
		{"quay.io/img@" DIGEST, "quay.io", "img", "", "quay.io/img@" DIGEST, true},
		{"quay.io/img:v1@" DIGEST, "quay.io", "img", "v1", "quay.io/img:v1@" DIGEST, true},
		{"oci://quay.io/img:v1", "quay.io", "img", "v1", "quay.io/img:v1", false},
		{"docker://quay.io/img:v1", "quay.io", "img", "v1", "quay.io/img:v1", false},
		{"a-host/img", "docker.io", "a-host/img", "latest", "docker.io/a-host/img:latest",
		 false},
		{"quay.io/a.b/c_d/e__f/g--h:raw.gz", "quay.io", "a.b/c_d/e__f/g--h", "raw.gz",
		 "quay.io/a.b/c_d/e__f/g--h:raw.gz", false},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct oci_reference reference, again;
		char whole[OCI_REFERENCE_SIZE];
		assert_ok(oci_reference_parse(cases[i].text, &reference, &err));
		assert_string_equal(reference.registry, cases[i].registry);
		assert_string_equal(reference.repository, cases[i].repository);
		assert_string_equal(reference.tag, cases[i].tag);
		assert_int_equal(reference.digest.type,
				 cases[i].digest ? DIGEST_SHA256 : DIGEST_NONE);
		assert_string_equal(oci_reference_format(&reference, whole), cases[i].whole);
		assert_ok(oci_reference_parse(whole, &again, &err));
		assert_string_equal(again.registry, reference.registry);
		assert_string_equal(again.repository, reference.repository);
		assert_string_equal(again.tag, reference.tag);
	}
}

static void refuses_what_is_none(void **state)
{
	(void)state;
	struct error err;
	struct oci_reference reference;
	static const struct {
		const char *text, *words;
	} cases[] = {
		{"", "repository"},
		{"/img", "repository"},
		{"quay.io/", "repository"},
		{"quay.io//img", "repository"},
		{"quay.io/Img", "lower-case"},
		{"quay.io/img/", "repository"},
		{"AHost/img", "lower-case"},
		{"quay.io/-img", "repository"},
		{"quay.io/img-", "repository"},
		{"quay.io/a..b", "repository"},
		{"quay.io/a___b", "repository"},
		{"quay.io/a b", "repository"},
		{"quay.io/../v2", "repository"},
		{"quay.io/a?b", "repository"},
		{"quay.io/a%2fb", "repository"},
		{"quay.io/img:", "tag"},
		{"quay.io/img:-x", "tag"},
		{"quay.io/img:a/b", "repository"},
		{"quay.io/img:x y", "tag"},
		{"quay.io/img@sha256:12", "64 hexadecimal"},
		{"quay.io/img@md5:d41d8cd98f00b204e9800998ecf8427e", "sha256"},
		{"quay.io/img@", "sha256"},
		{"quay.io:0/img", "host"},
		{"quay.io:65536/img", "host"},
		{"quay.io:x/img", "host"},
		{"user@quay.io/img", "sha256"},
		{"quay..io/img", "host"},
		{"-quay.io/img", "host"},
		{"[::1/img", "host"},
		{"https://quay.io/img", "scheme"},
		{"oci://https://quay.io/img", "scheme"},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {

		assert_fails(oci_reference_parse(cases[i].text, &reference, &err), ERROR_INPUT,
			     cases[i].words);
		assert_contains(err.text, cases[i].text);
	}
	char text[800];
	snprintf(text, sizeof(text), "quay.io/img:%0129d", 1);
	assert_fails(oci_reference_parse(text, &reference, &err), ERROR_INPUT, "128");
	snprintf(text, sizeof(text), "quay.io/%0256d", 1);
	assert_fails(oci_reference_parse(text, &reference, &err), ERROR_INPUT, "255");
	snprintf(text, sizeof(text), "quay.io/%0790d", 1);
	assert_fails(oci_reference_parse(text, &reference, &err), ERROR_INPUT, "too long");
	snprintf(text, sizeof(text), "h.%0300d/img", 1);
	assert_fails(oci_reference_parse(text, &reference, &err), ERROR_INPUT, "host");
}

static void knows_registries_by_every_spelling(void **state)
{
	(void)state;
	static const char *const cases[][2] = {
		{"docker.io", "docker.io"},
		{"https://index.docker.io/v1/", "docker.io"},
		{"registry-1.docker.io", "docker.io"},
		{"http://10.0.0.1:5000", "10.0.0.1:5000"},
		{"Quay.IO/some/path", "quay.io"},
		{"", ""},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		char name[64];
		assert_string_equal(oci_registry_name(cases[i][0], name, sizeof(name)),
				    cases[i][1]);
	}
	char small[6];
	assert_string_equal(oci_registry_name("https://registry", small, sizeof(small)), "regis");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gives_the_parts),
		cmocka_unit_test(refuses_what_is_none),
		cmocka_unit_test(knows_registries_by_every_spelling),
	};
	return cmocka_run_group_tests_name("oci_reference", tests, NULL, NULL);
}
