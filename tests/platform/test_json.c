/* Documents that are none, and the questions that have no answer. */
#include "tests/unit.h"

#include "platform/json.h"

static void reads_values(void **state)
{
	(void)state;
	struct error err;
	static const char text[] =
		" {\"text\": \"a\\u00e4\\n\", \"number\": 12, \"list\": [1, \"x\", {}], "
		"\"Text\": \"other\", \"null\": null, \"text\": \"again\"}\r\n";
	auto_json struct json *json = NULL;
	assert_ok(json_parse(text, strlen(text), &json, &err));
	assert_true(json_is_object(json));
	assert_string_equal(json_text(json_get(json, "text")), "a\xc3\xa4\n");
	assert_string_equal(json_text(json_get(json, "Text")), "other");
	assert_null(json_get(json, "TEXT"));
	uint64_t number;
	assert_true(json_uint(json_get(json, "number"), 12, &number));
	assert_int_equal(number, 12);
	assert_false(json_uint(json_get(json, "number"), 11, &number));
	const struct json *list = json_get(json, "list");
	assert_true(json_is_array(list));
	const struct json *item = json_first(list);
	assert_true(json_uint(item, 9, &number));
	item = json_next(item);
	assert_string_equal(json_text(item), "x");
	assert_null(json_name(item));
	item = json_next(item);
	assert_true(json_is_object(item));
	assert_null(json_first(item));
	assert_null(json_next(item));
	assert_string_equal(json_name(json_first(json)), "text");
}

static void has_no_answer_for_what_is_not_there(void **state)
{
	(void)state;
	struct error err;
	auto_json struct json *json = NULL;
	assert_ok(json_parse("[\"x\", null]", 11, &json, &err));
	uint64_t number;
	assert_null(json_get(json, "x"));
	assert_null(json_get(NULL, "x"));
	assert_null(json_get(json_first(json), "x"));
	assert_null(json_text(json));
	assert_null(json_text(NULL));
	assert_null(json_text(json_next(json_first(json))));
	assert_false(json_uint(json_first(json), 9, &number));
	assert_false(json_uint(NULL, 9, &number));
	assert_false(json_is_array(NULL));
	assert_false(json_is_object(NULL));
	assert_null(json_first(json_first(json)));
	assert_null(json_first(NULL));
	assert_null(json_next(NULL));
	assert_null(json_name(NULL));
}

static void takes_whole_numbers_only(void **state)
{
	(void)state;
	struct error err;
	static const struct {
		const char *text;
		bool whole;
		uint64_t value;
	} cases[] = {
		{"0", true, 0},
		{"-0", true, 0},
		{"1e3", true, 1000},
		{"2.0", true, 2},
		{"9007199254740992", true, UINT64_C(1) << 53},
		{"9007199254740994", false, 0},
		{"18446744073709551616", false, 0},
		{"1e400", false, 0},
		{"-1", false, 0},
		{"0.5", false, 0},
		{"\"1\"", false, 0},
		{"true", false, 0},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		auto_json struct json *json = NULL;
		uint64_t value = 77;
		assert_ok(json_parse(cases[i].text, strlen(cases[i].text), &json, &err));
		assert_int_equal(json_uint(json, UINT64_MAX, &value), cases[i].whole);
		assert_int_equal(value, cases[i].whole ? cases[i].value : 77);
	}
}

static void refuses_what_is_none(void **state)
{
	(void)state;
	struct error err;
	struct json *json;
	static const struct {
		const char *text;
		size_t size;
		const char *words;
	} cases[] = {
		{"", 0, "byte 1 of 0"},
		{"   ", 3, "of 3"},
		{"{\"a\": }", 7, "of 7"},
		{"{\"a\": 1", 7, "of 7"},
		{"{} {}", 5, "more than one value"},
		{"{},", 3, "more than one value"},
		{"\"\xff\"", 3, "UTF-8"},
		{"\"a\0b\"", 5, "UTF-8"},
		{"<html>", 6, "byte 1 of 6"},
	};
	for (size_t i = 0; i < COUNT(cases); i++)
		assert_fails(json_parse(cases[i].text, cases[i].size, &json, &err), ERROR_INPUT,
			     cases[i].words);
	/* Deeper than anything that is meant. */
	char deep[3000];
	memset(deep, '[', sizeof(deep));
	assert_fails(json_parse(deep, sizeof(deep), &json, &err), ERROR_INPUT, "byte 1001");
}

static void takes_no_more_memory_than_is_sensible(void **state)
{
	(void)state;
	struct error err;
	struct json *json = NULL;
	size_t size = 2 * JSON_VALUES_MOST + 3;
	char *text = malloc(size);
	for (size_t i = 0; i < size; i++)
		text[i] = i % 2 == 0 ? ',' : '1';
	text[0] = '[';
	text[size - 1] = ']';
	assert_fails(json_parse(text, size, &json, &err), ERROR_INPUT, "262144");
	text[size - 5] = ']';
	assert_ok(json_parse(text, size - 4, &json, &err));
	json_free(json);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_values),
		cmocka_unit_test(has_no_answer_for_what_is_not_there),
		cmocka_unit_test(takes_whole_numbers_only),
		cmocka_unit_test(refuses_what_is_none),
		cmocka_unit_test(takes_no_more_memory_than_is_sensible),
	};
	return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
