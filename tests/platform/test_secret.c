/* Secrets do not come out. The list of secrets lives as long as the process: tests use values of
 * their own. */
#include "tests/unit.h"

#include "platform/secret.h"

static void hides_every_occurrence(void **state)
{
	(void)state;
	char text[] = "one hunter22 two hunter22hunter22 three";
	secret_add("hunter22");
	secret_redact(text);
	assert_string_equal(text, "one *** two ****** three");
	char without[] = "nothing here";
	secret_redact(without);
	assert_string_equal(without, "nothing here");
}

static void leaves_short_values_alone(void **state)
{
	(void)state;
	char text[] = "abc is in abcdef";
	secret_add("abc");
	secret_add("");
	secret_add(NULL);
	secret_redact(text);
	assert_string_equal(text, "abc is in abcdef");
}

/* A secret that begins another: nothing of the longer one may stay. */
static void hides_the_longer_of_two_whole(void **state)
{
	(void)state;
	char text[] = "key=prefix-and-tail key=prefix";
	secret_add("prefix");
	secret_add("prefix-and-tail");
	secret_redact(text);
	assert_string_equal(text, "key=*** key=***");
}

static void finds_secrets_in_urls(void **state)
{
	(void)state;
	char text[] = "pass-word-1 and token-2-x and sig=3333 and user-name and plain-host";
	secret_add_url("http://user-name:pass-word-1@plain-host/path");
	secret_add_url("https://token-2-x@plain-host/");
	secret_add_url("https://plain-host/a?sig=3333");
	secret_add_url("no url: at all");
	secret_add_url(NULL);
	secret_redact(text);
	assert_string_equal(text, "*** and *** and *** and user-name and plain-host");
}

/* Whatever they are: a program's output, an error of a library, the kernel's command line. */
static void hides_parts_of_urls_that_nobody_has_told(void **state)
{
	(void)state;
	static const char *const texts[][2] = {
		{"git clone https://u:p@host:8080/a.git failed",
		 "git clone https://***@host:8080/a.git failed"},
		{"https://ghp_0123@host, ssh://git@host/x", "https://***@host, ssh://***@host/x"},
		{"see 'http://host/a?b=c&d=e#f' (or http://host/?x)",
		 "see 'http://host/a?***#f' (or http://host/?*)"},
		{"GET http://host/a?***: HTTP status 404",
		 "GET http://host/a?***: HTTP status 404"},
		{"GET http://***@host/a?token=abc: refused", "GET http://***@host/a?***: refused"},
		{"{\"url\":\"http://u:p@host/?a=b\\u0026c=d\",\"x\":1}",
		 "{\"url\":\"http://***@host/?***\",\"x\":1}"},
		{"what? http://host:80/a who@where? ://", "what? http://host:80/a who@where? ://"},
		{"http://a/http://u:pw@b?q=1", "http://a/http://***@b?***"},
	};
	for (size_t i = 0; i < COUNT(texts); i++) {
		char text[200];
		snprintf(text, sizeof(text), "%s", texts[i][0]);
		secret_redact(text);
		assert_string_equal(text, texts[i][1]);
	}
}

static void hides_authorization_headers(void **state)
{
	(void)state;
	static const char *const texts[][2] = {
		{"> Authorization: Basic dTpw", "> Authorization: Basic ***"},
		{"{'Proxy-Authorization': 'Bearer abc.def', 'x': 1}",
		 "{'Proxy-Authorization': 'Bearer ***', 'x': 1}"},
		{"{\\\"authorization\\\":\\\"token abc\\\"}",
		 "{\\\"authorization\\\":\\\"token ***\\\"}"},
		{"Authorization: Digest username=\"u\", response=\"r\"\nnext",
		 "Authorization: Digest ***\nnext"},
		{"authorization=0123456789abcdef!", "authorization=***"},
		{"authorization: the server refuses", "authorization: the server refuses"},
		{"no authorization", "no authorization"},
		{"Authorization: Bearer", "Authorization: Bearer"},
	};
	for (size_t i = 0; i < COUNT(texts); i++) {
		char text[200];
		snprintf(text, sizeof(text), "%s", texts[i][0]);
		secret_redact(text);
		assert_string_equal(text, texts[i][1]);
	}
}

/* A secret in the words of servers and programs that say it again. */
static void hides_what_others_make_of_it(void **state)
{
	(void)state;
	static const char *const texts[] = {
		"a\\\"b&c<d'e \\\\f",             /* JSON */
		"a\\\"b\\u0026c\\u003cd'e \\\\f", /* Go's */
		"a&quot;b&amp;c&lt;d&apos;e \\f", /* XML */
		"a&#34;b&amp;c&lt;d&#39;e \\f",   /* Go's HTML */
		"a\"b&c<d'\\''e \\f",             /* the shell */
		"a%22b%26c%3Cd%27e+%5Cf",         /* a form */
	};
	secret_add("a\"b&c<d'e \\f");
	for (size_t i = 0; i < COUNT(texts); i++) {
		char text[100];
		snprintf(text, sizeof(text), "(%s)", texts[i]);
		secret_redact(text);
		assert_string_equal(text, "(***)");
	}
	/* Not UTF-8: as the log has made it. */
	secret_add("gr\xfc\xdf"
		   "e-1");
	char invalid[] = "gr\xef\xbf\xbd\xef\xbf\xbd"
			 "e-1";
	secret_redact(invalid);
	assert_string_equal(invalid, "***");
}

/* In the middle of something that is base64 as a whole. */
static void hides_base64_around_it(void **state)
{
	(void)state;
	static const char *const texts[][2] = {
		{"eyJhIjoibWlkZGxlLXNlY3JldC0xIn0=", "eyJhIjoi***In0="}, /* {"a":"…"} */
		{"eyJhYiI6Im1pZGRsZS1zZWNyZXQtMSJ9", "eyJhYiI6Im1***SJ9"},
		{"eyJhYmMiOiJtaWRkbGUtc2VjcmV0LTEifQ==", "eyJhYmMiOiJt***ifQ=="},
	};
	secret_add("middle-secret-1");
	for (size_t i = 0; i < COUNT(texts); i++) {
		char text[64];
		snprintf(text, sizeof(text), "%s", texts[i][0]);
		secret_redact(text);
		assert_null(strstr(text, "ZGRsZS1z"));
		assert_null(strstr(text, "pZGRsZS"));
		assert_non_null(strstr(text, "***"));
		assert_in_range(strlen(text), 3, strlen(texts[i][1]) + 3);
	}
}

static void learns_from_a_command(void **state)
{
	(void)state;
	secret_learn("curl -H 'Authorization: Bearer learned-bearer' --password=learned-7 "
		     "ADMIN_PASS=short7 PATH=/usr/bin-9 'https://me:learned-url@h/?token=learn8'");
	char text[] = "learned-bearer learned-7 short7 /usr/bin-9 learned-url learn8";
	secret_redact(text);
	assert_string_equal(text, "*** *** *** /usr/bin-9 *** ***");
}

static void hides_arguments(void **state)
{
	(void)state;
	char flag[] = "--registry-pass", value[] = "k9", both[] = "--registry-pass=k9",
	     other[] = "k9s", url[] = "--proxy=http://a:b@c:1";
	char *argv[] = {flag, value, both, other, url};
	secret_add("k9");
	secret_hide_arguments(COUNT(argv), argv);
	assert_string_equal(value, "**");
	assert_string_equal(both, "--registry-pass=**");
	assert_string_equal(other, "k9s");
	assert_string_equal(url, "--proxy=http://***@c:1");
}

/* One that is in use is not among the oldest. */
static void keeps_what_comes_again(void **state)
{
	(void)state;
	char value[32];
	for (int i = 0; i < 6000; i++) {
		snprintf(value, sizeof(value), "flood-number-%04d", i);
		secret_add(value);
		secret_add("comes-again-and-again");
	}
	char text[] = "comes-again-and-again flood-number-0000";
	secret_redact(text);
	assert_string_equal(text, "*** flood-number-0000");
}

static void hides_other_spellings(void **state)
{
	(void)state;
	char text[] = "p%40ss%2Fw%C3%B6rd p%40ss%2fw%c3%b6rd p@ss/wörd cEBzcy93w7Zy "
		      "bWU6cEBzcy93w7Zy me:";
	secret_add_url("https://me:p%40ss%2Fw%C3%B6rd@host/");
	secret_redact(text);
	assert_string_equal(text, "*** *** *** *** *** me:");
}

static void hides_each_line_of_a_key(void **state)
{
	(void)state;
	char text[] = "it said: MIIBVgIBADANBgkq and nothing";
	secret_add("-----BEGIN PRIVATE KEY-----\nMIIBVgIBADANBgkq\n-----END PRIVATE KEY-----\n");
	secret_redact(text);
	assert_string_equal(text, "it said: *** and nothing");
}

/* A text that was cut within a secret. */
static void hides_the_beginning_at_the_end(void **state)
{
	(void)state;
	secret_add("0123456789abcdefghij");
	char cut[] = "token 0123456789abc";
	secret_redact(cut);
	assert_string_equal(cut, "token ***");
	char chance[] = "token 012345";
	secret_redact(chance);
	assert_string_equal(chance, "token 012345");
	char inside[] = "0123456789abc, no";
	secret_redact(inside);
	assert_string_equal(inside, "0123456789abc, no");
}

static void hides_a_login(void **state)
{
	(void)state;
	char text[] = "Authorization: Basic cm9ib3Q6dHJpcGxlLXNlY3JldA==";
	secret_add_login("robot", "triple-secret");
	secret_add_login("robot", NULL);
	secret_add_login(NULL, "");
	secret_redact(text);
	assert_string_equal(text, "Authorization: Basic ***");
}

static void finds_urls_in_a_text(void **state)
{
	(void)state;
	char text[] = "proxy=http://a:line-secret-1@b:3128 x=\"https://c/d?sig=line-secret-2\" e";
	secret_learn("proxy=http://a:line-secret-1@b:3128 x=\"https://c/d?sig=line-secret-2\" e");
	secret_redact(text);
	assert_string_equal(text, "proxy=http://***@b:3128 x=\"https://c/d?***\" e");
}

static void keeps_what_is_to_be_kept(void **state)
{
	(void)state;
	char value[32];
	secret_add("kept-for-ever-1");
	secret_keep();
	for (int i = 0; i < 4000; i++) {
		snprintf(value, sizeof(value), "passing-by-%04d", i);
		secret_add(value);
	}
	char text[] = "kept-for-ever-1 passing-by-3999 passing-by-0001";
	secret_redact(text);
	assert_string_equal(text, "*** *** passing-by-0001");
}

/* The newest are the ones in use. */
static void keeps_the_newest_of_very_many(void **state)
{
	(void)state;
	char value[32];
	for (int i = 0; i < 1000; i++) {
		snprintf(value, sizeof(value), "secret-number-%04d", i);
		secret_add(value);
	}
	char text[] = "secret-number-0999 secret-number-0900";
	secret_redact(text);
	assert_string_equal(text, "*** ***");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hides_every_occurrence),
		cmocka_unit_test(leaves_short_values_alone),
		cmocka_unit_test(hides_the_longer_of_two_whole),
		cmocka_unit_test(finds_secrets_in_urls),
		cmocka_unit_test(hides_other_spellings),
		cmocka_unit_test(hides_parts_of_urls_that_nobody_has_told),
		cmocka_unit_test(hides_authorization_headers),
		cmocka_unit_test(hides_what_others_make_of_it),
		cmocka_unit_test(hides_base64_around_it),
		cmocka_unit_test(learns_from_a_command),
		cmocka_unit_test(hides_arguments),
		cmocka_unit_test(hides_each_line_of_a_key),
		cmocka_unit_test(hides_the_beginning_at_the_end),
		cmocka_unit_test(hides_a_login),
		cmocka_unit_test(finds_urls_in_a_text),
		cmocka_unit_test(keeps_what_is_to_be_kept),
		cmocka_unit_test(keeps_the_newest_of_very_many),
		cmocka_unit_test(keeps_what_comes_again),
	};
	return cmocka_run_group_tests_name("secret", tests, NULL, NULL);
}
