/* WWW-Authenticate as registries in the field send it, and as none should. */
#include "tests/unit.h"

#include "platform/challenge.h"

static struct challenge read_lines(const char *first, const char *second)
{
	struct challenge challenge = {.scheme = CHALLENGE_NONE};
	challenge_read(first, strlen(first), &challenge);
	if (second)
		challenge_read(second, strlen(second), &challenge);
	return challenge;
}

static void reads_challenges(void **state)
{
	(void)state;
	static const struct {
		const char *first, *second;
		enum challenge_scheme scheme;
		const char *realm, *service, *scope;
	} cases[] = {
		/* Docker Hub, ghcr.io, Harbor, docker-registry with htpasswd, Azure. */
		{"Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\","
		 "scope=\"repository:library/alpine:pull\"",
		 NULL, CHALLENGE_BEARER, "https://auth.docker.io/token", "registry.docker.io",
		 "repository:library/alpine:pull"},
		{"Bearer realm=\"https://ghcr.io/token\",service=\"ghcr.io\","
		 "scope=\"repository:user/image:pull\"",
		 NULL, CHALLENGE_BEARER, "https://ghcr.io/token", "ghcr.io",
		 "repository:user/image:pull"},
		{"Bearer "
		 "realm=\"https://harbor.example/service/token\",service=\"harbor-registry\"",
		 NULL, CHALLENGE_BEARER, "https://harbor.example/service/token", "harbor-registry",
		 ""},
		{"Basic realm=\"basic-realm\"", NULL, CHALLENGE_BASIC, "basic-realm", "", ""},
		{"Bearer realm=\"https://x.azurecr.io/oauth2/token\",service=\"x.azurecr.io\"",
		 "Basic realm=\"Azure Container Registry\"", CHALLENGE_BEARER,
		 "https://x.azurecr.io/oauth2/token", "x.azurecr.io", ""},
		{"Basic realm=\"a\"", "Bearer realm=\"https://b/\"", CHALLENGE_BEARER, "https://b/",
		 "", ""},
		/* Both in one line; blanks; letters of either case; quoting; unknown things. */
		{"Basic realm=\"a, b\", Bearer realm=\"https://b/\" , error=\"invalid_token\"",
		 NULL, CHALLENGE_BEARER, "https://b/", "", ""},
		{"  bEARER   REALM = \"https://b/\\\"x\\\\\" ,\tservice = plain", NULL,
		 CHALLENGE_BEARER, "https://b/\"x\\", "plain", ""},
		{"Negotiate, NTLM, Digest realm=\"x\", nonce=\"y\", Basic", NULL, CHALLENGE_BASIC,
		 "", "", ""},
		{"Negotiate YWJjZA==, Basic realm=\"r\"", NULL, CHALLENGE_BASIC, "r", "", ""},
		{"Bearer realm=\"https://b/\", other=1, scope=\"a b\"", NULL, CHALLENGE_BEARER,
		 "https://b/", "", "a b"},
		/* Nothing that helps. */
		{"Bearer", NULL, CHALLENGE_NONE, "", "", ""},
		{"Bearer service=\"x\"", NULL, CHALLENGE_NONE, "", "", ""},
		{"Bearer realm=\"https://b/", NULL, CHALLENGE_NONE, "", "", ""},
		{"Bearer realm=\"https://b/\nX: y\"", NULL, CHALLENGE_NONE, "", "", ""},
		{"Digest realm=\"x\"", NULL, CHALLENGE_NONE, "", "", ""},
		{"", NULL, CHALLENGE_NONE, "", "", ""},
		{"=\"\",,\"x", NULL, CHALLENGE_NONE, "", "", ""},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct challenge challenge = read_lines(cases[i].first, cases[i].second);
		assert_int_equal(challenge.scheme, cases[i].scheme);
		assert_string_equal(challenge.realm, cases[i].realm);
		assert_string_equal(challenge.service, cases[i].service);
		assert_string_equal(challenge.scope, cases[i].scope);
	}
}

static void leaves_out_what_does_not_fit(void **state)
{
	(void)state;
	char text[3000];
	snprintf(text, sizeof(text), "Bearer realm=\"https://x/%01500d\", Basic realm=\"y\"", 1);
	struct challenge challenge = read_lines(text, NULL);
	assert_int_equal(challenge.scheme, CHALLENGE_BASIC);
	assert_string_equal(challenge.realm, "y");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_challenges),
		cmocka_unit_test(leaves_out_what_does_not_fit),
	};
	return cmocka_run_group_tests_name("challenge", tests, NULL, NULL);
}
