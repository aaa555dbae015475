/* Log lines as they arrive on standard error. */
#include "tests/unit.h"

#include <fcntl.h>

#include "platform/log.h"
#include "platform/secret.h"
#include "platform/text.h"

static int saved_stderr = -1;
static FILE *captured;

/* Standard error goes to a file until captured_text(). */
static void capture(void)
{
	fflush(stderr);
	saved_stderr = dup(STDERR_FILENO);
	captured = tmpfile();
	assert_non_null(captured);
	dup2(fileno(captured), STDERR_FILENO);
}

/* What was written meanwhile; freed by the caller. */
static char *captured_text(void)
{
	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	off_t size = lseek(fileno(captured), 0, SEEK_END);
	char *text = calloc(1, (size_t)size + 1);
	assert_int_equal(pread(fileno(captured), text, (size_t)size, 0), size);
	fclose(captured);
	return text;
}

static const char *skip_json_string(const char *at)
{
	if (*at++ != '"')
		return NULL;
	for (; *at != '"'; at++) {
		if (*at == '\\' && strchr("\"\\nt", at[1]) && at[1])
			at++;
		else if (*at == '\\' || (unsigned char)*at < 0x20)
			return NULL;
	}
	return at + 1;
}

/* One flat object of strings, as RFC 8259 has it, and the end of the line. */
static bool is_json_line(const char *line)
{
	const char *at = line;
	if (*at++ != '{')
		return false;
	for (;;) {
		at = skip_json_string(at);
		if (!at || *at++ != ':')
			return false;
		at = skip_json_string(at);
		if (!at)
			return false;
		if (*at == '}')
			return strcmp(at, "}\n") == 0;
		if (*at++ != ',')
			return false;
	}
}

static void writes_one_line_an_event(void **state)
{
	(void)state;
	capture();
	log_setup(LOG_LEVEL_INFO, LOG_FORMAT_PLAIN);
	log_info("action started", "action", "image2disk", "disk", NULL, "empty", "", "note",
		 "two words", "quote", "a\"b\\c", "lines", "one\ntwo", "bytes", LOG_NUMBER(-42));
	char *text = captured_text();
	assert_string_equal(text, "action started action=image2disk disk=- empty=\"\" "
				  "note=\"two words\" quote=\"a\\\"b\\\\c\" lines=\"one\\ntwo\" "
				  "bytes=-42\n");
	free(text);
}

static void leaves_out_what_is_below_the_level(void **state)
{
	(void)state;
	capture();
	log_setup(LOG_LEVEL_WARNING, LOG_FORMAT_PLAIN);
	log_debug("no");
	log_info("no");
	log_output("program", NULL, "no");
	log_warning("yes");
	log_error("yes too");
	char *text = captured_text();
	assert_string_equal(text, "yes\nyes too\n");
	free(text);
}

static void has_time_and_level_as_text(void **state)
{
	(void)state;
	capture();
	log_setup(LOG_LEVEL_DEBUG, LOG_FORMAT_TEXT);
	log_debug("hello", "key", "value");
	char *text = captured_text();
	int year, month, day, at;
	assert_int_equal(
		sscanf(text, "%4d-%2d-%2dT%*d:%*d:%*d.%*dZ debug %n", &year, &month, &day, &at), 3);
	assert_string_equal(text + at, "hello key=value\n");
	free(text);
}

static void writes_json(void **state)
{
	(void)state;
	capture();
	log_setup(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
	log_error("went \"wrong\"", "path", "a\\b\n\tc", "bytes", "\xff\033[1mx\001", "none", NULL);
	char *text = captured_text();
	assert_true(is_json_line(text));
	assert_contains(text, "\"level\":\"error\"");
	assert_contains(text, "\"message\":\"went \\\"wrong\\\"\"");
	assert_contains(text, "\"path\":\"a\\\\b\\n\\tc\"");
	assert_contains(text, "\"bytes\":\"\xef\xbf\xbdx?\"");
	assert_contains(text, "\"none\":\"-\"");
	free(text);
}

/* However long the values are, a line stays whole JSON and valid UTF-8. */
static void stays_json_when_it_is_cut(void **state)
{
	(void)state;
	static const char *const units[] = {"\"", "\\", "x", "\n", "\xff", "\xe2\x82\xac"};
	log_setup(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
	for (size_t unit = 0; unit < COUNT(units); unit++) {
		for (size_t count = 4000; count < 60000; count += 7777) {
			size_t size = strlen(units[unit]);
			char *value = calloc(count, size + 1);
			for (size_t i = 0; i < count; i++)
				memcpy(value + i * size, units[unit], size);
			capture();
			log_info("long", "a", value, "b", value, "c", value, "d", value, "e", value,
				 "f", value);
			char *text = captured_text();
			assert_true(is_json_line(text));
			assert_true(text_is_utf8(text, strlen(text)));
			free(text);
			free(value);
		}
	}
}

static void hides_secrets(void **state)
{
	(void)state;
	secret_add("pa\"ss\\word");
	secret_add("plainpassword");
	for (int format = LOG_FORMAT_TEXT; format <= LOG_FORMAT_PLAIN; format++) {
		capture();
		log_setup(LOG_LEVEL_INFO, (enum log_format)format);
		log_info("login", "with", "plainpassword", "or", "xpa\"ss\\wordx");
		log_output("program", NULL, "says plainpassword");
		char *text = captured_text();
		assert_lacks(text, "plainpassword");
		assert_lacks(text, "word");
		assert_contains(text, "x***x");
		assert_contains(text, "says ***");
		free(text);
	}
}

static void passes_on_what_a_program_says(void **state)
{
	(void)state;
	capture();
	log_setup(LOG_LEVEL_INFO, LOG_FORMAT_PLAIN);
	log_output("apt", NULL, "50% of a=b \"c\"");
	char *text = captured_text();
	assert_string_equal(text, "apt: 50% of a=b \"c\"\n");
	free(text);
	capture();
	log_setup(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
	log_output("apt", NULL, "50% of a=b \"c\"");
	text = captured_text();
	assert_true(is_json_line(text));
	assert_contains(text, "\"program\":\"apt\"");
	assert_contains(text, "\"line\":\"50% of a=b \\\"c\\\"\"");
	free(text);
}

static unsigned events;

static void count_event(void *context, const struct log_event *event)
{
	(void)context;
	(void)event;
	events++;
}

/* Who does not read what goes to him holds nobody up, and is told what he has missed. */
static void goes_on_when_nobody_reads(void **state)
{
	(void)state;
	static char text[1 << 17];
	int ends[2];
	log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	assert_int_equal(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
	memset(text, 'x', sizeof(text));
	while (write(ends[1], text, sizeof(text)) > 0)
		;
	assert_int_equal(fcntl(ends[1], F_SETFL, 0), 0);
	int before = dup(STDERR_FILENO);
	dup2(ends[1], STDERR_FILENO);
	events = 0;
	log_add_sink(count_event, NULL);
	for (int i = 0; i < 100; i++)
		log_info("not read");
	assert_int_equal(events, 100);
	while (read(ends[0], text, sizeof(text)) > 0)
		;
	log_info("read again");
	dup2(before, STDERR_FILENO);
	close(before);
	log_remove_sink(count_event, NULL);
	ssize_t got = read(ends[0], text, sizeof(text) - 1);
	assert_true(got > 0);
	text[got] = '\0';
	assert_int_equal(strncmp(text, "(100 lines are missing here)\n", 29), 0);
	assert_contains(text, "read again\n");
	assert_lacks(text, "not read");
	close(ends[0]);
	close(ends[1]);
}

static void reads_levels(void **state)
{
	(void)state;
	enum log_level level;
	assert_true(log_parse_level("debug", &level));
	assert_int_equal(level, LOG_LEVEL_DEBUG);
	assert_true(log_parse_level("WARN", &level));
	assert_int_equal(level, LOG_LEVEL_WARNING);
	assert_true(log_parse_level("warning", &level));
	assert_true(log_parse_level("Error", &level));
	assert_int_equal(level, LOG_LEVEL_ERROR);
	assert_string_equal(log_level_name(LOG_LEVEL_INFO), "info");
	assert_false(log_parse_level("", &level));
	assert_false(log_parse_level("loud", &level));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writes_one_line_an_event),
		cmocka_unit_test(leaves_out_what_is_below_the_level),
		cmocka_unit_test(has_time_and_level_as_text),
		cmocka_unit_test(writes_json),
		cmocka_unit_test(stays_json_when_it_is_cut),
		cmocka_unit_test(hides_secrets),
		cmocka_unit_test(passes_on_what_a_program_says),
		cmocka_unit_test(goes_on_when_nobody_reads),
		cmocka_unit_test(reads_levels),
	};
	return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
