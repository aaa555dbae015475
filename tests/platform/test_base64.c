/* Base64 as people paste it. */
#include "tests/unit.h"

#include "platform/base64.h"

static void decodes(void **state)
{
	(void)state;
	struct error err;
	static const struct {
		const char *text, *expected;
	} cases[] = {
		/* The vectors of RFC 4648, section 10. */
		{"", ""},
		{"Zg==", "f"},
		{"Zm8=", "fo"},
		{"Zm9v", "foo"},
		{"Zm9vYg==", "foob"},
		{"Zm9vYmE=", "fooba"},
		{"Zm9vYmFy", "foobar"},
		/* As `base64` wraps it, as YAML indents it, and without padding. */
		{"Zm9v\nYmFy\n", "foobar"},
		{"  Zm9v\r\n\tYmFy ", "foobar"},
		{"Zg", "f"},
		{"Zm8", "fo"},
		{"Zg=\n=", "f"},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		auto_buffer struct buffer out = {.cap = 64};
		assert_ok(base64_decode(cases[i].text, &out, &err));
		assert_int_equal(out.size, strlen(cases[i].expected));
		if (out.size > 0)
			assert_memory_equal(out.data, cases[i].expected, out.size);
	}
	auto_buffer struct buffer binary = {.cap = 64};
	assert_ok(base64_decode("+/8AgA==", &binary, &err));
	assert_int_equal(binary.size, 4);
	assert_memory_equal(binary.data, "\xfb\xff\x00\x80", 4);
}

static void refuses_what_is_none(void **state)
{
	(void)state;
	struct error err;
	static const struct {
		const char *text, *words;
	} cases[] = {
		{"Zm9v!", "character 5"},      {"Zm9-", "character 4"},
		{"Zm9_", "character 4"},       {"=", "character 1"},
		{"Z===", "character 2"},       {"Zg==Zg==", "character 5"},
		{"Zm9v=", "character 5"},      {"Zg===", "character 5"},
		{"Z", "ends in the middle"},   {"Zm9vY", "ends in the middle"},
		{"Zg=", "ends in the middle"}, {"\xc3\xa4", "character 1"},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		auto_buffer struct buffer out = {.cap = 64};
		assert_fails(base64_decode(cases[i].text, &out, &err), ERROR_INPUT, cases[i].words);
	}
}

static void stays_below_the_cap(void **state)
{
	(void)state;
	struct error err;
	auto_buffer struct buffer out = {.cap = 5};
	assert_fails(base64_decode("Zm9vYmFy", &out, &err), ERROR_INPUT, "5 bytes");
}

static void encodes(void **state)
{
	(void)state;
	static const struct {
		const char *bytes, *expected;
	} cases[] = {
		/* RFC 4648, section 10. */
		{"", ""},
		{"f", "Zg=="},
		{"fo", "Zm8="},
		{"foo", "Zm9v"},
		{"foob", "Zm9vYg=="},
		{"fooba", "Zm9vYmE="},
		{"foobar", "Zm9vYmFy"},
		{"\xfb\xff\xfe", "+//+"},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		char *text = base64_encode(cases[i].bytes, strlen(cases[i].bytes));
		assert_string_equal(text, cases[i].expected);
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(decodes),
		cmocka_unit_test(refuses_what_is_none),
		cmocka_unit_test(stays_below_the_cap),
		cmocka_unit_test(encodes),
	};
	return cmocka_run_group_tests_name("base64", tests, NULL, NULL);
}
