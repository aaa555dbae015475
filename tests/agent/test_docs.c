/* The texts made from the tables: nothing in them is missing, and Markdown holds. */
#include "tests/unit.h"

#include "actions/actions.h"
#include "agent/config.h"
#include "agent/docs.h"

static char *text_of(void (*print)(FILE *out))
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	assert_non_null(out);
	print(out);
	fclose(out);
	return text;
}

/* A bar in a cell would begin another cell. */
static void assert_columns(const char *table, size_t columns)
{
	for (const char *line = table; *line;) {
		size_t size = strcspn(line, "\n"), bars = 0;
		for (size_t i = 0; i < size; i++)
			bars += line[i] == '|';
		if (line[0] == '|' && bars != columns + 1)
			fail_msg("%zu columns instead of %zu: %.*s", bars - 1, columns, (int)size,
				 line);
		line += size + (line[size] == '\n');
	}
}

static void lists_every_action(void **state)
{
	(void)state;
	char *table = text_of(docs_actions_table), *usage = text_of(docs_usage);
	assert_columns(table, 3);
	for (const struct action *const *action = actions; *action; action++) {
		char cell[64];
		snprintf(cell, sizeof(cell), "| `%s` |", (*action)->name);
		assert_contains(table, cell);
		assert_contains(usage, (*action)->name);
	}
	free(table);
	free(usage);
}

static void lists_every_parameter(void **state)
{
	(void)state;
	char *tables = text_of(docs_parameters_tables);
	assert_columns(tables, 4);
	for (const struct action *const *action = actions; *action; action++) {
		char *text = NULL;
		size_t size = 0;
		FILE *out = open_memstream(&text, &size);
		docs_action(*action, out);
		fclose(out);
		for (const struct param *param = (*action)->params; param->name; param++) {
			char cell[64];
			snprintf(cell, sizeof(cell), "| `%s` |", param->name);
			assert_contains(tables, cell);
			assert_contains(text, param->name);
			assert_contains(text, param->doc);
		}
		free(text);
	}
	assert_contains(tables, "required");
	assert_contains(tables, "default 0644");
	free(tables);
}

static void lists_every_setting(void **state)
{
	(void)state;
	char *table = text_of(docs_settings_table);
	assert_columns(table, 5);
	for (size_t id = 0; id < SETTING_COUNT; id++) {
		char cell[64];
		snprintf(cell, sizeof(cell), "| `--%s`", config_settings[id].name);
		assert_contains(table, cell);
		for (size_t i = 0; i < SPELLINGS_MOST && config_settings[id].kernel[i]; i++)
			assert_contains(table, config_settings[id].kernel[i]);
	}
	free(table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lists_every_action),
		cmocka_unit_test(lists_every_parameter),
		cmocka_unit_test(lists_every_setting),
	};
	return cmocka_run_group_tests_name("docs", tests, NULL, NULL);
}
