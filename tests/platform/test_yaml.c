#include "tests/unit.h"

#include "platform/yaml.h"

static struct problems problems;

static struct yaml *parse(const char *text)
{
	problems_free(&problems);
	return yaml_parse(text, strlen(text), &problems);
}

static int end(void **state)
{
	(void)state;
	problems_free(&problems);
	return 0;
}

static void assert_problem(const char *text, unsigned line, unsigned column, const char *words)
{
	struct yaml *yaml = parse(text);
	if (problems.errors != 1)
		fail_msg("%zu errors, not one, in: %s", problems.errors, text);
	assert_contains(problems.list[0].text, words);
	assert_int_equal(problems.list[0].place.line, line);
	assert_int_equal(problems.list[0].place.column, column);
	if (yaml)
		yaml_close(yaml);
}

static void test_scalars_stay_texts(void **state)
{
	(void)state;
	auto_yaml struct yaml *yaml =
		parse("mode: 0644\nyes: yes\nquoted: \"a\\tb\"\nempty:\nnull: ~\ntext: '~'\n"
		      "block: |\n  one\n  two\n");
	const struct yaml_node *root = yaml_document(yaml, 0);
	assert_int_equal(problems.errors, 0);
	assert_string_equal(yaml_get(root, "mode")->text, "0644");
	assert_true(yaml_get(root, "mode")->plain);
	assert_string_equal(yaml_get(root, "yes")->text, "yes");
	assert_string_equal(yaml_get(root, "quoted")->text, "a\tb");
	assert_false(yaml_get(root, "quoted")->plain);
	assert_true(yaml_is_null(yaml_get(root, "empty")));
	assert_true(yaml_is_null(yaml_get(root, "null")));
	assert_true(yaml_is_null(yaml_get(root, "missing")));
	assert_false(yaml_is_null(yaml_get(root, "text")));
	assert_string_equal(yaml_get(root, "block")->text, "one\ntwo\n");
	assert_true(yaml_get(root, "block")->literal);
	assert_null(yaml_get(yaml_get(root, "mode"), "x"));
	assert_null(yaml_document(yaml, 1));
}

static void test_nodes_know_their_place(void **state)
{
	(void)state;
	auto_yaml struct yaml *yaml = parse("a: 1\nlist:\n  - x\n  - {ä: ö, k: v}\n");
	const struct yaml_node *list = yaml_get(yaml_document(yaml, 0), "list");
	assert_int_equal(list->items[0]->place.line, 3);
	assert_int_equal(list->items[0]->place.column, 5);
	assert_int_equal(yaml_get(list->items[1], "k")->place.line, 4);
	/* Characters are counted, not bytes. */
	assert_int_equal(yaml_get(list->items[1], "k")->place.column, 15);
	assert_int_equal(yaml_key(list->items[1], "k")->place.column, 12);
}

static void test_documents(void **state)
{
	(void)state;
	auto_yaml struct yaml *yaml = parse("---\na: 1\n---\n[b]\n---\n");
	assert_int_equal(yaml_document(yaml, 0)->kind, YAML_MAP);
	assert_int_equal(yaml_document(yaml, 1)->kind, YAML_LIST);
	assert_true(yaml_is_null(yaml_document(yaml, 2)));
	assert_null(yaml_document(yaml, 3));
	struct yaml *empty = parse("# nothing\n");
	assert_null(yaml_document(empty, 0));
	yaml_close(empty);
}

static void test_merge_keys(void **state)
{
	(void)state;
	auto_yaml struct yaml *yaml = parse("base: &base {a: 1, b: 2}\nmore: &more {c: 3, a: 9}\n"
					    "one: {<<: *base, b: own}\n"
					    "two: {<<: [*base, *more], d: 4}\n"
					    "quoted: {\"<<\": text}\n");
	const struct yaml_node *root = yaml_document(yaml, 0);
	const struct yaml_node *one = yaml_get(root, "one"), *two = yaml_get(root, "two");
	assert_int_equal(problems.errors, 0);
	assert_string_equal(yaml_get(one, "a")->text, "1");
	assert_string_equal(yaml_get(one, "b")->text, "own");
	assert_int_equal(one->count, 2);
	assert_string_equal(yaml_get(two, "a")->text, "1");
	assert_string_equal(yaml_get(two, "c")->text, "3");
	assert_int_equal(two->count, 4);
	assert_string_equal(yaml_get(yaml_get(root, "quoted"), "<<")->text, "text");
}

static void test_what_is_wrong_has_a_place(void **state)
{
	(void)state;
	assert_problem("a: 1\n b: 2\n", 2, 3, "not YAML");
	assert_problem("a: [1, 2\n", 2, 1, "not YAML");
	assert_problem("a: 1\nb: 2\na: 3\n", 3, 1, "the key a is there already, in line 1");
	assert_problem("x:\n  [a, b]: 1\n", 2, 3, "a key must be a text, not a list");
	assert_problem("a: *b\n", 1, 4, "there is no &b before it");
	assert_problem("a: &a [*a]\n", 1, 8, "a part of");
	assert_problem("a: !thing b\n", 1, 4, "the tag !thing is not understood");
	assert_problem("a: {<<: text}\n", 1, 4, "<< takes a map");
	assert_problem("a: \"\\0\"\n", 1, 4, "NUL");
	assert_problem("a: \xff\n", 1, 1, "not YAML");
}

static void test_known_tags_are_taken(void **state)
{
	(void)state;
	auto_yaml struct yaml *yaml = parse("a: !!str 1\nb: ! x\nc: !!map {}\n");
	assert_non_null(yaml);
	assert_int_equal(problems.errors, 0);
}

/* Each line doubles what the one before stands for. */
static void test_aliases_do_not_explode(void **state)
{
	(void)state;
	char text[4096] = "a0: &a0 [x, x]\n";
	for (unsigned i = 1; i < 40; i++) {
		size_t used = strlen(text);
		snprintf(text + used, sizeof(text) - used, "a%u: &a%u [*a%u, *a%u]\n", i, i, i - 1,
			 i - 1);
	}
	assert_null(parse(text));
	assert_contains(problems.list[0].text, "counting aliases");
}

static void test_bounds(void **state)
{
	(void)state;
	size_t size = YAML_BYTES_MOST + 1;
	char *text = malloc(size + 1);
	assert_non_null(text);
	memset(text, '[', size);
	text[size] = '\0';
	assert_null(parse(text));
	assert_contains(problems.list[0].text, "more than");
	text[1000] = '\0';
	assert_null(parse(text));
	assert_contains(problems.list[0].text, "nested more than");
	for (size_t i = 0; i + 1 < size; i += 2)
		memcpy(text + i, i ? ",x" : "[x", 2);
	text[size - 1] = ']';
	text[size] = '\0';
	text[YAML_BYTES_MOST] = '\0';
	text[YAML_BYTES_MOST - 1] = ']';
	assert_null(parse(text));
	assert_contains(problems.list[0].text, "values");
	free(text);
	/* Documents. */
	char many[4 * (YAML_DOCUMENTS_MOST + 2) + 1] = "";
	for (unsigned i = 0; i <= YAML_DOCUMENTS_MOST; i++)
		strcat(many, "---\n");
	assert_null(parse(many));
	assert_contains(problems.list[0].text, "documents");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_scalars_stay_texts, end),
		cmocka_unit_test_teardown(test_nodes_know_their_place, end),
		cmocka_unit_test_teardown(test_documents, end),
		cmocka_unit_test_teardown(test_merge_keys, end),
		cmocka_unit_test_teardown(test_what_is_wrong_has_a_place, end),
		cmocka_unit_test_teardown(test_known_tags_are_taken, end),
		cmocka_unit_test_teardown(test_aliases_do_not_explode, end),
		cmocka_unit_test_teardown(test_bounds, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
