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
		cmocka_unit_test(keeps_the_newest_of_very_many),
	};
	return cmocka_run_group_tests_name("secret", tests, NULL, NULL);
}
