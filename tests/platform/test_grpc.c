/* gRPC's frames and trailers. Whole calls are tested against servers in tests/server and tests/e2e.
 */
#include "tests/unit.h"

#include "platform/grpc.h"
#include "platform/text.h"

static void takes_the_message_out_of_its_frame(void **state)
{
	(void)state;
	struct error err;
	const uint8_t *message;
	size_t size;
	static const uint8_t body[] = {0, 0, 0, 0, 3, 'a', 'b', 'c'};
	assert_ok(grpc_unframe(body, sizeof(body), &message, &size, &err));
	assert_int_equal(size, 3);
	assert_memory_equal(message, "abc", 3);
	static const uint8_t empty[] = {0, 0, 0, 0, 0};
	assert_ok(grpc_unframe(empty, sizeof(empty), &message, &size, &err));
	assert_int_equal(size, 0);
	uint8_t *large = calloc(1, 5 + 70000);
	large[2] = 70000 >> 16;
	large[3] = (70000 >> 8) & 0xff;
	large[4] = 70000 & 0xff;
	assert_ok(grpc_unframe(large, 5 + 70000, &message, &size, &err));
	assert_int_equal(size, 70000);
	free(large);
}

static void refuses_other_frames(void **state)
{
	(void)state;
	struct error err;
	const uint8_t *message;
	size_t size;
	static const struct {
		const char *body;
		size_t size;
		const char *words;
	} cases[] = {
		{"", 0, "no whole frame"},
		{"\0\0\0\0", 4, "no whole frame"},
		{"\1\0\0\0\3abc", 8, "compression"},
		{"\x80\0\0\0\3abc", 8, "flags 0x80"},
		{"\0\0\0\0\4abc", 8, "4 bytes in a body with 3"},
		{"\0\0\0\0\2abc", 8, "2 bytes in a body with 3"},
		{"\0\xff\xff\xff\xff"
		 "abc",
		 8, "4294967295"},
		{"\0\0\0\0\1a\0\0\0\0\1b", 12, "1 bytes"}, /* two messages */
	};
	for (size_t i = 0; i < COUNT(cases); i++)
		assert_fails(grpc_unframe((const uint8_t *)cases[i].body, cases[i].size, &message,
					  &size, &err),
			     ERROR_PROTOCOL, cases[i].words);
}

static void takes_messages_of_a_stream_one_by_one(void **state)
{
	(void)state;
	struct error err;
	static const uint8_t body[] = {0, 0, 0, 0, 1, 'a', 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 'b', 'c'};
	static const struct {
		size_t size;
		const char *text;
	} expected[] = {{1, "a"}, {0, ""}, {2, "bc"}};
	const uint8_t *at = body, *message;
	size_t left = sizeof(body), size;
	for (size_t i = 0; i < COUNT(expected); i++) {
		assert_int_equal(grpc_next_frame(&at, &left, &message, &size, &err), 1);
		assert_int_equal(size, expected[i].size);
		assert_memory_equal(message, expected[i].text, size);
	}
	assert_int_equal(grpc_next_frame(&at, &left, &message, &size, &err), 0);
	assert_ptr_equal(at, body + sizeof(body));
}

static void finds_where_a_stream_is_broken(void **state)
{
	(void)state;
	struct error err;
	const uint8_t *message;
	size_t size;
	static const struct {
		const char *body;
		size_t size;
		const char *words;
	} cases[] = {
		{"\0\0\0\0\1a\0\0", 8, "2 bytes that are no whole frame"},
		{"\0\0\0\0\1a\1\0\0\0\0", 11, "compression"},
		{"\0\0\0\0\1a\0\0\0\0\2b", 12, "2 bytes in a body with 1"},
		{"\0\0\0\0\1a\0\xff\xff\xff\xff", 11, "4294967295"},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		const uint8_t *at = (const uint8_t *)cases[i].body;
		size_t left = cases[i].size;
		assert_int_equal(grpc_next_frame(&at, &left, &message, &size, &err), 1);
		assert_fails(grpc_next_frame(&at, &left, &message, &size, &err), ERROR_PROTOCOL,
			     cases[i].words);
	}
}

static struct grpc_trailers read_lines(const char *const *lines)
{
	struct grpc_trailers trailers = {.has_status = false};
	for (; *lines; lines++)
		grpc_trailers_line(&trailers, *lines, strlen(*lines));
	return trailers;
}

static void reads_status_and_message(void **state)
{
	(void)state;
	static const char *const lines[] = {"HTTP/2 200", "content-type: application/grpc",
					    "Grpc-Status: 5", "grpc-message:  not found", NULL};
	struct grpc_trailers trailers = read_lines(lines);
	assert_true(trailers.has_status);
	assert_int_equal(trailers.status, GRPC_NOT_FOUND);
	assert_string_equal(trailers.message, "not found");
	static const char *const ok[] = {"grpc-status:0", NULL};
	trailers = read_lines(ok);
	assert_true(trailers.has_status);
	assert_int_equal(trailers.status, GRPC_OK);
	assert_string_equal(trailers.message, "");
}

static void takes_only_numbers_for_a_status(void **state)
{
	(void)state;
	static const char *const texts[] = {"grpc-status:",
					    "grpc-status: ",
					    "grpc-status: x",
					    "grpc-status: -1",
					    "grpc-status: 1000",
					    "grpc-status: 123456789012345678",
					    "grpc-status: 0x0",
					    "grpc-status",
					    "grpc-statusx: 0",
					    "xgrpc-status: 0",
					    ": 0",
					    ""};
	for (size_t i = 0; i < COUNT(texts); i++) {
		struct grpc_trailers trailers = {.has_status = false};
		grpc_trailers_line(&trailers, texts[i], strlen(texts[i]));
		assert_false(trailers.has_status);
	}
}

static void forgets_at_a_new_answer(void **state)
{
	(void)state;
	static const char *const lines[] = {"HTTP/2 200", "grpc-status: 5", "grpc-message: x",
					    "HTTP/2 200", NULL};
	struct grpc_trailers trailers = read_lines(lines);
	assert_false(trailers.has_status);
	assert_string_equal(trailers.message, "");
}

static void decodes_messages(void **state)
{
	(void)state;
	static const struct {
		const char *line, *expected;
	} cases[] = {
		{"grpc-message: a%20b", "a b"},
		{"grpc-message: caf%C3%A9", "caf\xc3\xa9"},
		{"grpc-message: 100%", "100%"},
		{"grpc-message: 100%2", "100%2"},
		{"grpc-message: %zz%4", "%zz%4"},
		{"grpc-message: %41", "A"},
		{"grpc-message: %FF%0a", "\xef\xbf\xbd\n"},
		{"grpc-message: a%00b%1b[31mc", "a?bc"},
		{"grpc-message: ", ""},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct grpc_trailers trailers = {.has_status = false};
		grpc_trailers_line(&trailers, cases[i].line, strlen(cases[i].line));
		assert_string_equal(trailers.message, cases[i].expected);
	}
}

static void bounds_long_messages(void **state)
{
	(void)state;
	char line[8192] = "grpc-message: ";
	size_t used = strlen(line);
	while (used + 9 < sizeof(line)) {
		memcpy(line + used, "%E2%82%AC", 9);
		used += 9;
	}
	for (size_t lead = 0; lead < 9; lead++) {
		struct grpc_trailers trailers = {.has_status = false};
		grpc_trailers_line(&trailers, line, used - lead);
		assert_true(strlen(trailers.message) < GRPC_TEXT_SIZE);
		assert_true(strlen(trailers.message) > GRPC_TEXT_SIZE - 8);
		assert_true(text_is_utf8(trailers.message, strlen(trailers.message)));
	}
}

static void names_statuses(void **state)
{
	(void)state;
	assert_string_equal(grpc_status_name(GRPC_OK), "OK");
	assert_string_equal(grpc_status_name(GRPC_UNAUTHENTICATED), "UNAUTHENTICATED");
	assert_string_equal(grpc_status_name((enum grpc_status)17), "UNKNOWN");
	assert_string_equal(grpc_status_name((enum grpc_status)999), "UNKNOWN");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_the_message_out_of_its_frame),
		cmocka_unit_test(refuses_other_frames),
		cmocka_unit_test(takes_messages_of_a_stream_one_by_one),
		cmocka_unit_test(finds_where_a_stream_is_broken),
		cmocka_unit_test(reads_status_and_message),
		cmocka_unit_test(takes_only_numbers_for_a_status),
		cmocka_unit_test(forgets_at_a_new_answer),
		cmocka_unit_test(decodes_messages),
		cmocka_unit_test(bounds_long_messages),
		cmocka_unit_test(names_statuses),
	};
	return cmocka_run_group_tests_name("grpc", tests, NULL, NULL);
}
