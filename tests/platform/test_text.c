/* UTF-8, numbers, redaction, distances. */
#include "tests/unit.h"

#include "platform/text.h"

static void tells_utf8(void **state)
{
	(void)state;
	static const struct {
		const char *bytes;
		size_t length; /* of the first sequence, 0: none */
	} cases[] = {
		{"a", 1},
		{"\x7f", 1},
		{"\xc2\x80", 2},
		{"\xdf\xbf", 2},
		{"\xe0\xa0\x80", 3},
		{"\xef\xbf\xbf", 3},
		{"\xed\x9f\xbf", 3},
		{"\xf0\x90\x80\x80", 4},
		{"\xf4\x8f\xbf\xbf", 4},
		{"\x80", 0},             /* a continuation alone */
		{"\xc0\x80", 0},         /* overlong NUL */
		{"\xc1\xbf", 0},         /* overlong */
		{"\xe0\x9f\xbf", 0},     /* overlong */
		{"\xf0\x8f\xbf\xbf", 0}, /* overlong */
		{"\xed\xa0\x80", 0},     /* surrogate */
		{"\xf4\x90\x80\x80", 0}, /* above U+10FFFF */
		{"\xf5\x80\x80\x80", 0},
		{"\xff", 0},
		{"\xc3", 0}, /* cut */
		{"\xe2\x82", 0},
		{"\xe2\x82z", 0},
		{"\xf0\x9f\x9a", 0},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		const char *bytes = cases[i].bytes;
		assert_int_equal(text_utf8_sequence(bytes, strlen(bytes)), cases[i].length);
		assert_int_equal(text_is_utf8(bytes, strlen(bytes)), cases[i].length > 0);
	}
	assert_int_equal(text_utf8_sequence("a", 0), 0);
	assert_true(text_is_utf8("", 0));
	assert_false(text_is_utf8("a\0b", 3));
	/* The length given counts, not what stands behind it. */
	assert_int_equal(text_utf8_sequence("\xc3\xa4", 1), 0);
}

static void cuts_before_half_a_character(void **state)
{
	(void)state;
	static const struct {
		const char *text, *expected;
	} cases[] = {
		{"", ""},
		{"abc", "abc"},
		{"\xc3\xa4", "\xc3\xa4"},
		{"ab\xc3", "ab"},
		{"ab\xe2\x82", "ab"},
		{"ab\xe2\x82\xac", "ab\xe2\x82\xac"},
		{"\xf0\x9f\x9a", ""},
		{"x\xf0\x9f", "x"},
		{"x\xf0\x9f\x9a\x80", "x\xf0\x9f\x9a\x80"},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		char text[32];
		strcpy(text, cases[i].text);
		text_cut_utf8(text);
		assert_string_equal(text, cases[i].expected);
	}
}

static void makes_output_harmless(void **state)
{
	(void)state;
	static const struct {
		const char *text, *expected;
	} cases[] = {
		{"plain\ttext\n", "plain\ttext\n"},
		{"\xc3\xa4\xe2\x82\xac", "\xc3\xa4\xe2\x82\xac"},
		{"a\xff\xfe"
		 "b",
		 "a\xef\xbf\xbd\xef\xbf\xbd"
		 "b"},
		{"bell\a cr\r del\x7f", "bell? cr? del?"},
		{"\033[31mred\033[0m", "red"},
		{"\033[1;38;5;9mred\033[K", "red"},
		{"\033]0;title\atext", "text"},
		{"\033]0;title\033\\text", "text"},
		{"\033]0;never ended\nnext", "\nnext"},
		{"\033cafter", "after"},
		{"cut\033[31", "cut"},
		{"cut\033[31\nnext", "cut\nnext"},
		{"cut\033[3\xc3\xa4", "cut\xc3\xa4"},
		{"cut\033\nnext", "cut\nnext"},
		{"cut\033\xc3\xa4", "cut\xc3\xa4"},
		{"cut\033", "cut?"},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		char out[64];
		size_t used = text_sanitize(cases[i].text, strlen(cases[i].text), out, sizeof(out));
		assert_string_equal(out, cases[i].expected);
		assert_int_equal(used, strlen(out));
	}
	char out[8];
	text_sanitize("a\0b", 3, out, sizeof(out));
	assert_string_equal(out, "a?b");
}

/* Every size of the output, so that every place of a cut is seen. */
static void sanitizes_into_any_room(void **state)
{
	(void)state;
	static const char text[] = "a\xc3\xa4\xff\xf0\x9f\x9a\x80\033[1mz\xe2\x82\xac";
	for (size_t room = 1; room < 40; room++) {
		char out[64];
		memset(out, 'X', sizeof(out));
		size_t used = text_sanitize(text, sizeof(text) - 1, out, room);
		assert_true(used < room);
		assert_int_equal(out[used], '\0');
		assert_int_equal(out[room], 'X');
		assert_true(text_is_utf8(out, used));
	}
}

static void falls_back_to_ascii(void **state)
{
	(void)state;
	char out[32];
	text_to_ascii("\xc3\xa4 b\xff\n\033x", 8, out, sizeof(out));
	assert_string_equal(out, "? b?\n?x");
	assert_int_equal(text_to_ascii("abcdef", 6, out, 4), 3);
	assert_string_equal(out, "abc");
}

static void reads_booleans_as_go_does(void **state)
{
	(void)state;
	static const char *const yes[] = {"1", "t", "T", "true", "TRUE", "True"};
	static const char *const no[] = {"0", "f", "F", "false", "FALSE", "False"};
	static const char *const neither[] = {"", "yes", "no", "tRUE", " true", "true ", "2", "on"};
	bool value;
	for (size_t i = 0; i < COUNT(yes); i++) {
		value = false;
		assert_true(text_parse_bool(yes[i], &value));
		assert_true(value);
	}
	for (size_t i = 0; i < COUNT(no); i++) {
		value = true;
		assert_true(text_parse_bool(no[i], &value));
		assert_false(value);
	}
	for (size_t i = 0; i < COUNT(neither); i++)
		assert_false(text_parse_bool(neither[i], &value));
}

static void reads_numbers_strictly(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int base;
		uint64_t max;
		bool ok;
		uint64_t value;
	} cases[] = {
		{"0", 10, UINT64_MAX, true, 0},
		{"42", 10, 42, true, 42},
		{"43", 10, 42, false, 0},
		{"0644", 8, 07777, true, 0644},
		{"644", 8, 07777, true, 0644},
		{"0648", 8, 07777, false, 0},
		{"ff", 16, 255, true, 255},
		{"0xff", 16, 255, false, 0},
		{"ff", 10, 255, false, 0},
		{"18446744073709551615", 10, UINT64_MAX, true, UINT64_MAX},
		{"18446744073709551616", 10, UINT64_MAX, false, 0},
		{"", 10, 9, false, 0},
		{"-1", 10, UINT64_MAX, false, 0},
		{"+1", 10, 9, false, 0},
		{" 1", 10, 9, false, 0},
		{"1 ", 10, 9, false, 0},
		{"1.5", 10, 9, false, 0},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		uint64_t value = 0;
		assert_int_equal(
			text_parse_uint(cases[i].text, cases[i].base, cases[i].max, &value),
			cases[i].ok);
		if (cases[i].ok)
			assert_int_equal(value, cases[i].value);
	}
}

static void hides_what_is_secret_in_urls(void **state)
{
	(void)state;
	static const struct {
		const char *url, *expected;
	} cases[] = {
		{"http://host/a/b.raw", "http://host/a/b.raw"},
		{"http://user:pass@host/a", "http://***@host/a"},
		{"https://token@host:8080/a", "https://***@host:8080/a"},
		{"http://user:p@ss@host/a", "http://***@host/a"},
		{"http://host/a?sig=secret", "http://host/a?***"},
		{"http://user:pass@host/a?sig=secret#x", "http://***@host/a?***"},
		{"http://host/@x/y", "http://host/@x/y"},
		{"http://host?x=1", "http://host?***"},
		{"/a/path", "/a/path"},
		{"/a/path?x", "/a/path?***"},
		{"user@host:port", "user@host:port"},
		{"", ""},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		char out[128];
		assert_string_equal(text_redact_url(cases[i].url, out, sizeof(out)),
				    cases[i].expected);
	}
	char small[12];
	text_redact_url("http://h/\xe2\x82\xac\xe2\x82\xac", small, sizeof(small));
	assert_string_equal(small, "http://h/");
}

static void writes_sizes_for_people(void **state)
{
	(void)state;
	static const struct {
		uint64_t bytes;
		const char *expected;
	} cases[] = {
		{0, "0 bytes"},
		{1023, "1023 bytes"},
		{1536, "1.5 KiB"},
		{UINT64_C(10) << 30, "10.0 GiB"},
		{UINT64_C(3) << 40, "3.0 TiB"},
		{UINT64_MAX, "16.0 EiB"},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		char out[32];
		assert_string_equal(text_bytes(cases[i].bytes, out, sizeof(out)),
				    cases[i].expected);
	}
}

static void measures_how_far_words_are_apart(void **state)
{
	(void)state;
	assert_int_equal(text_distance("", ""), 0);
	assert_int_equal(text_distance("abc", "ABC"), 0);
	assert_int_equal(text_distance("abc", ""), 3);
	assert_int_equal(text_distance("", "abc"), 3);
	assert_int_equal(text_distance("IMG_URL", "IMAGE_URL"), 2);
	assert_int_equal(text_distance("DEST_DISK", "DSET_DISK"), 1);
	assert_int_equal(text_distance("kitten", "sitting"), 3);
	char longest[64], too_long[65];
	memset(longest, 'x', 63);
	longest[63] = '\0';
	memset(too_long, 'x', 64);
	too_long[64] = '\0';
	assert_int_equal(text_distance(longest, longest), 0);
	assert_int_equal(text_distance(too_long, too_long), 99);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tells_utf8),
		cmocka_unit_test(cuts_before_half_a_character),
		cmocka_unit_test(makes_output_harmless),
		cmocka_unit_test(sanitizes_into_any_room),
		cmocka_unit_test(falls_back_to_ascii),
		cmocka_unit_test(reads_booleans_as_go_does),
		cmocka_unit_test(reads_numbers_strictly),
		cmocka_unit_test(hides_what_is_secret_in_urls),
		cmocka_unit_test(writes_sizes_for_people),
		cmocka_unit_test(measures_how_far_words_are_apart),
	};
	return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
