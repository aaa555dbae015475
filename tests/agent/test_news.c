/* What is worth a line in the log. */
#include "tests/unit.h"

#include "agent/news.h"

static bool is_news(struct news *news, const char *text)
{
	struct error err;
	error_set(&err, ERROR_NETWORK, "%s", text);
	return news_is(news, &err);
}

static void says_nothing_twice(void **state)
{
	(void)state;
	struct news news = {.count = 0};
	assert_true(is_news(&news, "refused"));
	assert_true(is_news(&news, "reset"));
	assert_false(is_news(&news, "refused"));
	assert_false(is_news(&news, "reset"));
	news_forget(&news);
	assert_true(is_news(&news, "refused"));
}

static void numbers_make_no_difference(void **state)
{
	(void)state;
	struct news news = {.count = 0};
	assert_true(is_news(&news, "stream 3 was not closed"));
	assert_false(is_news(&news, "stream 17 was not closed"));
	assert_true(is_news(&news, "stream 3 was not opened"));
	assert_true(is_news(&news, ""));
	assert_false(is_news(&news, "42"));
}

static void ends_after_a_few(void **state)
{
	(void)state;
	struct news news = {.count = 0};
	char text[] = "reason a";
	unsigned said = 0;
	for (char c = 'a'; c <= 'z'; c++) {
		text[sizeof(text) - 2] = c;
		said += is_news(&news, text);
	}
	assert_int_equal(said, NEWS_MOST);
}

static void takes_the_longest_text(void **state)
{
	(void)state;
	struct news news = {.count = 0};
	struct error err;
	memset(&err, 0, sizeof(err));
	memset(err.text, 'x', sizeof(err.text) - 1);
	assert_true(news_is(&news, &err));
	assert_false(news_is(&news, &err));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(says_nothing_twice),
		cmocka_unit_test(numbers_make_no_difference),
		cmocka_unit_test(ends_after_a_few),
		cmocka_unit_test(takes_the_longest_text),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
