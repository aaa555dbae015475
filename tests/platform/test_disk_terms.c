/* The language of selectors. */
#include "tests/unit.h"

#include "platform/disk_terms.h"

static void reads_terms(void **state)
{
	(void)state;
	struct error err;
	struct disk_terms terms;
	assert_ok(disk_terms_parse(" serial=S45N,Size>=100G\trotational=0 ", &terms, &err));
	assert_int_equal(terms.count, 3);
	assert_int_equal(terms.terms[0].key, DISK_KEY_SERIAL);
	assert_int_equal(terms.terms[0].operator, DISK_EQUAL);
	assert_string_equal(terms.terms[0].value, "S45N");
	assert_int_equal(terms.terms[1].key, DISK_KEY_SIZE);
	assert_int_equal(terms.terms[1].size.operator, DISK_AT_LEAST);
	assert_int_equal(terms.terms[2].number, 0);
	assert_ok(disk_terms_parse("model=\"A, B=C\" vendor!='x y',partition=12", &terms, &err));
	assert_string_equal(terms.terms[0].value, "A, B=C");
	assert_string_equal(terms.terms[1].value, "x y");
	assert_int_equal(terms.terms[1].operator, DISK_UNEQUAL);
	assert_int_equal(terms.terms[2].number, 12);
	assert_ok(disk_terms_parse("by-uuid=1-2", &terms, &err));
	assert_int_equal(terms.terms[0].key, DISK_KEY_UUID);
}

static void says_what_is_wrong(void **state)
{
	(void)state;
	static const struct {
		const char *text, *words;
	} cases[] = {
		{"", "no disk is named"},
		{" , ", "no disk is named"},
		{"sda", "sda: neither an absolute path"},
		{"seriel=1", "seriel: is no selector; known are serial, wwn, model"},
		{"serial=", "serial: has no value"},
		{"serial=\"\"", "serial: has no value"},
		{"model=\"a b", "the quote is not closed"},
		{"model=\"a\"b", "a blank or comma must follow"},
		{"serial>=1", "serial: can be compared by = and != only"},
		{"size=big", "\"big\" is no size like 480G"},
		{"size=1.5", "is no size"},
		{"size=1..5G", "is no size"},
		{"size=5Gb/s", "is no size"},
		{"size=99999999999999P", "is no size"},
		{"rotational=yes", "rotational: must be 0 or 1"},
		{"partition=root", "partition: must be a number"},
		{"partition=0", "counted from 1"},
		{"=1", "neither"},
		{"name=a name=a name=a name=a name=a name=a name=a name=a name=a name=a name=a "
		 "name=a name=a name=a name=a name=a name=a",
		 "more than 16"},
	};
	struct error err;
	struct disk_terms terms;
	for (size_t i = 0; i < COUNT(cases); i++)
		assert_fails(disk_terms_parse(cases[i].text, &terms, &err), ERROR_INPUT,
			     cases[i].words);
	char text[400] = "serial=";
	memset(text + 7, 'x', DISK_VALUE_SIZE);
	assert_fails(disk_terms_parse(text, &terms, &err), ERROR_INPUT, "too long");
	text[7 + DISK_VALUE_SIZE - 1] = '\0';
	assert_ok(disk_terms_parse(text, &terms, &err));
}

/* What is printed on a disk, and what machines make of "100G". */
static void compares_sizes(void **state)
{
	(void)state;
	static const struct {
		const char *size;
		uint64_t bytes;
		bool matches;
	} cases[] = {
		{"480G", 480103981056, true},
		{"480GB", 480103981056, true},
		{"447GiB", 480103981056, true},
		{"480GiB", 480103981056, false},
		{"100G", 107374182400, true},
		{"100G", 100030242816, true},
		{"100G", 103000000000, false},
		{"1.92T", 1920383410176, true},
		{"2T", 1920383410176, false},
		{"500107862016", 500107862016, true},
		{"500107862016B", 500107862016, true},
		{"500107862016", 500107862528, false},
		{">=100G", 100030242816, true},
		{">= 100 G", 100030242816, true},
		{">=100G", 99999999999, false},
		{">=100GiB", 100030242816, false},
		{"<=100G", 107374182400, true},
		{"<=100G", 107374182401, false},
		{">100G", 107374182400, false},
		{">100G", 107374182401, true},
		{"<100G", 100000000000, false},
		{"<100G", 99999999999, true},
		{"!=100G", 107374182400, false},
		{"!=100G", 480103981056, true},
		{"==100G", 107374182400, true},
		{"0", 0, true},
		{"64K", 65536, true},
		{"18446744073709551615", UINT64_MAX, true},
	};
	struct error err;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct disk_size size;
		assert_ok(disk_size_parse(cases[i].size, &size, &err));
		if (disk_size_matches(&size, cases[i].bytes) != cases[i].matches)
			fail_msg("%s and %llu bytes", cases[i].size,
				 (unsigned long long)cases[i].bytes);
	}
}

static void matches_texts(void **state)
{
	(void)state;
	assert_true(disk_text_matches("S45n", "s45N"));
	assert_false(disk_text_matches("S45", "S45N"));
	assert_true(disk_text_matches("SAMSUNG*480*", "Samsung MZ7LH480HAHQ"));
	assert_true(disk_text_matches("samsung_mz?lh*", "Samsung MZ7LH480HAHQ"));
	assert_true(disk_text_matches("*", ""));
	assert_true(disk_text_matches("*a*b*", "xxaxxbxx"));
	assert_false(disk_text_matches("*a*b", "ba"));
	assert_false(disk_text_matches("?", ""));
	assert_false(disk_text_matches("", "x"));
	assert_string_equal(disk_wwn_bare("wwn-0x5000c5"), "5000c5");
	assert_string_equal(disk_wwn_bare("naa.5000c5"), "5000c5");
	assert_string_equal(disk_wwn_bare("EUI.0025"), "0025");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_terms),
		cmocka_unit_test(says_what_is_wrong),
		cmocka_unit_test(compares_sizes),
		cmocka_unit_test(matches_texts),
	};
	return cmocka_run_group_tests_name("disk_terms", tests, NULL, NULL);
}
