/* Keys and answers of terminals. */
#include "tests/unit.h"

#include "platform/terminal.h"

/* What the bytes are: one letter an event, as in the table below. */
static const char *events(const char *bytes)
{
	static char out[64];
	static const char letters[] = {[TERMINAL_NOTHING] = '.',
				       [TERMINAL_ENTER] = 'E',
				       [TERMINAL_KEY] = 'k',
				       [TERMINAL_POSITION] = 'P'};
	struct terminal terminal = {.count = 0};
	size_t used = 0;
	for (; *bytes; bytes++)
		out[used++] = letters[terminal_take(&terminal, (unsigned char)*bytes)];
	out[used] = '\0';
	return out;
}

static void tells_keys_apart(void **state)
{
	(void)state;
	assert_string_equal(events("\r"), "E");
	assert_string_equal(events("\n"), "E");
	assert_string_equal(events(" x\003\xff"), "kkkk");
	/* Arrow, function key, Delete: one key each. */
	assert_string_equal(events("\033[A"), "..k");
	assert_string_equal(events("\033OP\r"), "..kE");
	assert_string_equal(events("\033[3~\r"), "...kE");
	/* Escape alone, then something else. */
	assert_string_equal(events("\033\r"), ".k");
	assert_string_equal(events("\033\033[24;80R"), ".k......P");
}

static void takes_answers(void **state)
{
	(void)state;
	struct terminal terminal = {.count = 0};
	const char *answer = "\033[50;160R";
	for (; answer[1]; answer++)
		assert_int_equal(terminal_take(&terminal, (unsigned char)*answer),
				 TERMINAL_NOTHING);
	assert_int_equal(terminal_take(&terminal, 'R'), TERMINAL_POSITION);
	assert_int_equal(terminal.row, 50);
	assert_int_equal(terminal.column, 160);
	/* A key in between is one, and the answer after it is understood. */
	assert_string_equal(events("q\033[1;2R"), "k.....P");
}

static void wrong_answers_are_keys(void **state)
{
	(void)state;
	assert_string_equal(events("\033[24R"), "....k");
	assert_string_equal(events("\033[1;2;3R"), ".......k");
	assert_string_equal(events("\033[\r"), "...");
	assert_string_equal(events("\033[12\033[1;2R"), ".........P");
	/* Our own question, echoed. */
	assert_string_equal(events("\033[6n"), "...k");
	struct terminal terminal = {.count = 0};
	const char *large = "\033[99999999999999999999;1R";
	for (; *large; large++)
		terminal_take(&terminal, (unsigned char)*large);
	assert_in_range(terminal.row, 1000, 9999);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tells_keys_apart),
		cmocka_unit_test(takes_answers),
		cmocka_unit_test(wrong_answers_are_keys),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
