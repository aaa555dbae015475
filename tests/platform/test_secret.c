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
	assert_string_equal(text, "Authorization: Basic ***dA==");
}

static void finds_urls_in_a_text(void **state)
{
	(void)state;
	char text[] = "proxy=http://a:line-secret-1@b:3128 x=\"https://c/d?sig=line-secret-2\" e";
	secret_add_urls_in(
		"proxy=http://a:line-secret-1@b:3128 x=\"https://c/d?sig=line-secret-2\" e");
	secret_redact(text);
	assert_string_equal(text, "proxy=http://a:***@b:3128 x=\"https://c/d?***\" e");
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
		cmocka_unit_test(hides_each_line_of_a_key),
		cmocka_unit_test(hides_the_beginning_at_the_end),
		cmocka_unit_test(hides_a_login),
		cmocka_unit_test(finds_urls_in_a_text),
		cmocka_unit_test(keeps_what_is_to_be_kept),
		cmocka_unit_test(keeps_the_newest_of_very_many),
	};
	return cmocka_run_group_tests_name("secret", tests, NULL, NULL);
}
