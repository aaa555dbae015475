/* struct error: kinds from errno, wrapping, and texts that stay valid UTF-8 when they are cut. */
#include "tests/unit.h"

#include <errno.h>

#include "platform/text.h"

static void sets_kind_and_text(void **state)
{
	(void)state;
	struct error err;
	assert_int_equal(error_set(&err, ERROR_BUSY, "%s is %d", "/dev/sda", 7), -1);
	assert_int_equal(err.kind, ERROR_BUSY);
	assert_int_equal(err.code, 0);
	assert_string_equal(err.text, "/dev/sda is 7");
}

static void takes_kind_from_errno(void **state)
{
	(void)state;
	static const struct {
		int errnum;
		enum error_kind kind;
	} cases[] = {
		{ENOENT, ERROR_NOT_FOUND},
		{ENODEV, ERROR_NOT_FOUND},
		{ENXIO, ERROR_NOT_FOUND},
		{EBUSY, ERROR_BUSY},
		{EACCES, ERROR_DENIED},
		{EPERM, ERROR_DENIED},
		{EROFS, ERROR_DENIED},
		{ENOMEM, ERROR_MEMORY},
		{EINTR, ERROR_CANCELLED},
		{ECANCELED, ERROR_CANCELLED},
		{ETIMEDOUT, ERROR_TIMEOUT},
		{ECONNREFUSED, ERROR_NETWORK},
		{ECONNRESET, ERROR_NETWORK},
		{ENETUNREACH, ERROR_NETWORK},
		{EHOSTUNREACH, ERROR_NETWORK},
		{EIO, ERROR_IO},
		{ENOSPC, ERROR_IO},
		{ENOSYS, ERROR_UNSUPPORTED},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct error err;
		errno = cases[i].errnum;
		assert_int_equal(error_sys(&err, "open %s", "/x"), -1);
		assert_int_equal(err.kind, cases[i].kind);
		assert_int_equal(err.code, cases[i].errnum);
		assert_int_equal(strncmp(err.text, "open /x: ", 9), 0);
		struct error same;
		errno = 0;
		error_errno(&same, cases[i].errnum, "open %s", "/x");
		assert_int_equal(same.kind, err.kind);
		assert_string_equal(same.text, err.text);
	}
}

static void wraps_and_appends(void **state)
{
	(void)state;
	struct error err;
	errno = ENODEV;
	error_sys(&err, "BLKGETSIZE64");
	assert_int_equal(error_wrap(&err, "size of %s", "/dev/sda"), -1);
	assert_int_equal(error_wrap(&err, "write"), -1);
	assert_int_equal(error_append(&err, " (%d tries)", 3), -1);
	assert_int_equal(strncmp(err.text, "write: size of /dev/sda: BLKGETSIZE64: ", 39), 0);
	assert_string_equal(err.text + strlen(err.text) - 10, " (3 tries)");
	assert_int_equal(err.kind, ERROR_NOT_FOUND);
	assert_int_equal(err.code, ENODEV);
}

static void an_argument_may_be_its_own_text(void **state)
{
	(void)state;
	struct error err;
	error_set(&err, ERROR_IO, "inner");
	error_set(&err, ERROR_INPUT, "outer(%s)", err.text);
	assert_string_equal(err.text, "outer(inner)");
	error_wrap(&err, "again %s", err.text);
	assert_string_equal(err.text, "again outer(inner): outer(inner)");
}

/* Whatever the length, a cut never leaves half a character. */
static void cuts_on_a_character(void **state)
{
	(void)state;
	for (size_t lead = 0; lead < 8; lead++) {
		char text[2 * ERROR_TEXT_SIZE] = "";
		memset(text, 'a', lead);
		for (size_t i = lead; i + 4 < sizeof(text); i += 4)
			memcpy(text + i, "\xf0\x9f\x9a\x80", 4);
		text[sizeof(text) - 1] = '\0';
		struct error err;
		error_set(&err, ERROR_INPUT, "%s", text);
		assert_true(strlen(err.text) < ERROR_TEXT_SIZE);
		assert_true(strlen(err.text) >= ERROR_TEXT_SIZE - 4);
		assert_true(text_is_utf8(err.text, strlen(err.text)));
		error_wrap(&err, "%.*s", (int)lead, "abcdefgh");
		assert_true(text_is_utf8(err.text, strlen(err.text)));
		error_append(&err, "\xc3\xa4\xc3\xa4\xc3\xa4");
		assert_true(text_is_utf8(err.text, strlen(err.text)));
	}
}

static void names_every_kind(void **state)
{
	(void)state;
	for (int kind = ERROR_NONE; kind <= ERROR_BUG; kind++) {
		assert_true(error_kind_is_valid(kind));
		assert_string_not_equal(error_kind_name((enum error_kind)kind), "unknown");
		for (int other = ERROR_NONE; other < kind; other++)
			assert_string_not_equal(error_kind_name((enum error_kind)kind),
						error_kind_name((enum error_kind)other));
	}
	assert_false(error_kind_is_valid(-1));
	assert_false(error_kind_is_valid(ERROR_BUG + 1));
	assert_string_equal(error_kind_name((enum error_kind)(ERROR_BUG + 1)), "unknown");
}

static void only_what_time_can_mend_is_tried_again(void **state)
{
	(void)state;
	for (int kind = ERROR_NONE; kind <= ERROR_BUG; kind++) {
		struct error err = {.kind = (enum error_kind)kind};
		assert_int_equal(error_is_retryable(&err),
				 kind == ERROR_NETWORK || kind == ERROR_TIMEOUT);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sets_kind_and_text),
		cmocka_unit_test(takes_kind_from_errno),
		cmocka_unit_test(wraps_and_appends),
		cmocka_unit_test(an_argument_may_be_its_own_text),
		cmocka_unit_test(cuts_on_a_character),
		cmocka_unit_test(names_every_kind),
		cmocka_unit_test(only_what_time_can_mend_is_tried_again),
	};
	return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
