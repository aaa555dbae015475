/* How registries are found and logged in to; the exchanges themselves are tested end to end. */
#include "tests/unit.h"

#include "platform/registry.h"
#include "platform/registry_login.h"

static void knows_insecure_registries(void **state)
{
	(void)state;
	static const struct {
		const char *list, *registry;
		enum registry_safety expected;
	} cases[] = {
		{NULL, "a.example", REGISTRY_TLS},
		{"", "a.example", REGISTRY_TLS},
		{"a.example", "a.example", REGISTRY_PLAIN_ALLOWED},
		{"a.example", "a.example:5000", REGISTRY_TLS},
		{"a.example:5000", "a.example", REGISTRY_TLS},
		{"x,a.example:5000,y", "a.example:5000", REGISTRY_PLAIN_ALLOWED},
		{" x , A.example ", "a.example", REGISTRY_PLAIN_ALLOWED},
		{"x a.example", "a.example", REGISTRY_PLAIN_ALLOWED},
		{"https://a.example/", "a.example", REGISTRY_PLAIN_ALLOWED},
		{"http://a.example", "a.example", REGISTRY_PLAIN},
		{"a.example,http://a.example", "a.example", REGISTRY_PLAIN},
		{"http://a.example:1", "a.example", REGISTRY_TLS},
		{"aa.example", "a.example", REGISTRY_TLS},
		{"a.exampl", "a.example", REGISTRY_TLS},
		{"example", "a.example", REGISTRY_TLS},
		/* Networks. */
		{"10.0.0.0/8", "10.1.2.3:5000", REGISTRY_PLAIN_ALLOWED},
		{"10.0.0.0/8", "10.1.2.3", REGISTRY_PLAIN_ALLOWED},
		{"10.0.0.0/8", "11.1.2.3", REGISTRY_TLS},
		{"192.168.4.0/22", "192.168.7.1", REGISTRY_PLAIN_ALLOWED},
		{"192.168.4.0/22", "192.168.8.1", REGISTRY_TLS},
		{"192.168.4.1/32", "192.168.4.1:80", REGISTRY_PLAIN_ALLOWED},
		{"192.168.4.1/32", "192.168.4.2:80", REGISTRY_TLS},
		{"0.0.0.0/0", "192.168.4.2", REGISTRY_PLAIN_ALLOWED},
		{"0.0.0.0/0", "a.example", REGISTRY_TLS},
		{"0.0.0.0/0", "[::1]", REGISTRY_TLS},
		{"fd00::/7", "[fd12::1]:5000", REGISTRY_PLAIN_ALLOWED},
		{"fd00::/7", "[fa12::1]:5000", REGISTRY_TLS},
		{"fd00::/7", "10.0.0.1", REGISTRY_TLS},
		{"10.0.0.0/33", "10.0.0.1", REGISTRY_TLS},
		{"10.0.0.0/x", "10.0.0.1", REGISTRY_TLS},
	};
	for (size_t i = 0; i < COUNT(cases); i++)
		if (registry_safety_of(cases[i].list, cases[i].registry) != cases[i].expected)
			fail_msg("%s in \"%s\"", cases[i].registry, cases[i].list);
}

static void asks_token_servers_by_the_challenge(void **state)
{
	(void)state;
	struct error err;
	static const struct {
		struct challenge challenge;
		const char *url;
	} cases[] = {
		{{.realm = "https://a/token",
		  .service = "registry.example",
		  .scope = "repository:a/b:pull"},
		 "https://a/token?service=registry.example&scope=repository%3Aa%2Fb%3Apull"},
		{{.realm = "https://a/token?x=1", .service = "a b&c=\"d\""},
		 "https://a/"
		 "token?x=1&service=a%20b%26c%3D%22d%22&scope=repository%3Aown%2Frepo%3Apull"},
		{{.realm = "https://a/", .scope = "  "},
		 "https://a/?scope=repository%3Aown%2Frepo%3Apull"},
		{{.realm = "https://a/", .scope = " one  two "}, "https://a/?scope=one&scope=two"},
	};
	const struct registry_login login = {.username = "u", .repository = "own/repo"};
	for (size_t i = 0; i < COUNT(cases); i++) {
		char *url;
		assert_ok(registry_token_url(&login, &cases[i].challenge, &url, &err));
		assert_string_equal(url, cases[i].url);
		free(url);
	}
}

static void tells_passwords_to_nobody_without_tls(void **state)
{
	(void)state;
	struct error err;
	char *url;
	struct challenge challenge = {.realm = "http://a/token", .scope = "s"};
	struct registry_login login = {
		.username = "user", .password = "password", .repository = "r"};
	assert_fails(registry_token_url(&login, &challenge, &url, &err), ERROR_DENIED,
		     "without TLS");
	login.allow_plain = true;
	assert_ok(registry_token_url(&login, &challenge, &url, &err));
	free(url);
	/* Nobody in particular has nothing to hide. */
	login = (struct registry_login){.username = "", .repository = "r"};
	assert_ok(registry_token_url(&login, &challenge, &url, &err));
	free(url);
	static const char *const realms[] = {"ftp://a/",     "/token",       "registry",
					     "https://a/ b", "https://a/#b", "file:///etc/passwd"};
	for (size_t i = 0; i < COUNT(realms); i++) {
		strcpy(challenge.realm, realms[i]);
		assert_fails(registry_token_url(&login, &challenge, &url, &err), ERROR_PROTOCOL,
			     realms[i]);
	}
}

static void reads_tokens(void **state)
{
	(void)state;
	struct error err;
	char *token;
	static const char *const good[][2] = {
		{"{\"token\": \"abc\"}", "abc"},
		{"{\"access_token\": \"abc\", \"expires_in\": 300}", "abc"},
		{"{\"token\": \"abc\", \"access_token\": \"def\"}", "abc"},
		{"{\"token\": \"\", \"access_token\": \"def\"}", "def"},
		{"{\"token\": null, \"access_token\": \"d.e-f_=\"}", "d.e-f_="},
	};
	for (size_t i = 0; i < COUNT(good); i++) {
		assert_ok(registry_token_read(good[i][0], strlen(good[i][0]), &token, &err));
		assert_string_equal(token, good[i][1]);
		free(token);
	}
	static const char *const bad[] = {
		"",
		"{}",
		"[\"token\"]",
		"{\"token\": 1}",
		"{\"token\": \"a b\"}",
		"{\"token\": \"a\\r\\nX-Evil: 1\"}",
		"{\"token\": \"\\u00e4\"}",
		"<html>",
	};
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_fails(registry_token_read(bad[i], strlen(bad[i]), &token, &err),
			     ERROR_PROTOCOL, "token");
	char *long_one = malloc(80000);
	memset(long_one, 'a', 80000);
	memcpy(long_one, "{\"token\": \"", 11);
	memcpy(long_one + 79998, "\"}", 2);
	assert_fails(registry_token_read(long_one, 80000, &token, &err), ERROR_PROTOCOL, "token");
	free(long_one);
}

static void tells_the_reason_of_a_status(void **state)
{
	(void)state;
	static const struct {
		long status;
		const char *body;
		enum error_kind kind;
		const char *text;
	} cases[] = {
		{404,
		 "{\"errors\":[{\"code\":\"MANIFEST_UNKNOWN\",\"message\":\"manifest unknown\","
		 "\"detail\":{\"Tag\":\"x\"}}]}",
		 ERROR_NOT_FOUND,
		 "the registry answered HTTP status 404 (MANIFEST_UNKNOWN: manifest unknown)"},
		{401, "{\"details\":\"incorrect username or password\"}", ERROR_DENIED,
		 "the registry answered HTTP status 401 (incorrect username or password)"},
		{429, "{\"errors\":[{\"code\":\"TOOMANYREQUESTS\"}]}", ERROR_NETWORK,
		 "the registry answered HTTP status 429 (TOOMANYREQUESTS)"},
		{503, "<html>", ERROR_NETWORK, "the registry answered HTTP status 503"},
		{403, "{\"errors\":[{\"message\":\"a\\nb\\u001b[31m\"}]}", ERROR_DENIED,
		 "the registry answered HTTP status 403 (a b?[31m)"},
		{302, "", ERROR_PROTOCOL, "the registry answered HTTP status 302"},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct error err = {.kind = ERROR_NONE};
		struct http_response response = {.status = cases[i].status};
		if (cases[i].body[0])
			assert_int_equal(buffer_add(&response.body, cases[i].body,
						    strlen(cases[i].body), &err),
					 0);
		assert_int_equal(registry_status_error("the registry", &response, &err), -1);
		assert_int_equal(err.kind, cases[i].kind);
		assert_int_equal(err.code, cases[i].status);
		assert_string_equal(err.text, cases[i].text);
		buffer_free(&response.body);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(knows_insecure_registries),
		cmocka_unit_test(asks_token_servers_by_the_challenge),
		cmocka_unit_test(tells_passwords_to_nobody_without_tls),
		cmocka_unit_test(reads_tokens),
		cmocka_unit_test(tells_the_reason_of_a_status),
	};
	return cmocka_run_group_tests_name("registry", tests, NULL, NULL);
}
