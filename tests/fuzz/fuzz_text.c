/* Whatever a program writes or a server says: what is shown and reported is harmless. */
#include "tests/fuzz/fuzz.h"

#include "agent/report.h"
#include "platform/error.h"
#include "platform/secret.h"
#include "platform/text.h"

/* Valid, on lines, without control characters and escape sequences. */
static bool is_harmless(const char *text)
{
	for (const char *p = text; *p; p++) {
		unsigned char c = (unsigned char)*p;
		if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f)
			return false;
		if (c == 0xc2 && (unsigned char)p[1] < 0xa0)
			return false;
	}
	return text_is_utf8(text, strlen(text));
}

static void into_any_room(const char *bytes, size_t size, size_t room)
{
	char *out = malloc(room);
	require(out != NULL);
	size_t used = text_sanitize(bytes, size, out, room);
	require(used < room && used == strlen(out));
	require(is_harmless(out));
	/* Once is enough. */
	char *again = malloc(room);
	require(again != NULL);
	text_sanitize(out, used, again, room);
	require(strcmp(out, again) == 0);
	used = text_to_ascii(bytes, size, out, room);
	require(used < room && used == strlen(out));
	for (const char *p = out; *p; p++)
		require((*p >= 0x20 && *p < 0x7f) || *p == '\n');
	free(again);
	free(out);
}

static void as_an_error(const char *text)
{
	struct error err;
	char clean[ERROR_TEXT_SIZE];
	text_sanitize(text, strlen(text), clean, sizeof(clean));
	error_set(&err, ERROR_INPUT, "%s", clean);
	error_wrap(&err, "%s", clean);
	error_append(&err, "%s", clean);
	require(text_is_utf8(err.text, strlen(err.text)));
}

static void as_a_report(const char *text)
{
	static struct run_result result;
	static struct report report;
	result = (struct run_result){.state = RUN_FAILED, .error = {.kind = ERROR_FAILED}};
	snprintf(result.error.text, sizeof(result.error.text), "%s", text);
	char *copy = text_dup(text);
	char *lines[64];
	size_t count = fuzz_lines(copy, lines, 64);
	for (int round = 0; round < 3; round++)
		for (size_t i = 0; i < count; i++)
			output_tail_add(&result.tail, lines[i]);
	require(result.tail.used < sizeof(result.tail.text));
	require(result.tail.text[result.tail.used] == '\0');
	report_result(&report, &result);
	require(strlen(report.text) <= 4096);
	require(is_harmless(report.text));
	free(copy);
}

/* Nothing grows or becomes invalid by what is hidden in it. */
static void without_secrets(const char *text)
{
	char *copy = malloc(3 * strlen(text) + 1);
	require(copy != NULL);
	size_t size = text_sanitize(text, strlen(text), copy, 3 * strlen(text) + 1);
	secret_learn(copy);
	secret_redact(copy);
	require(strlen(copy) <= size);
	require(is_harmless(copy));
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_text(data, size);
	size_t whole = strlen(text);
	into_any_room((const char *)data, size, 3 * size + 1);
	into_any_room((const char *)data, size, size ? 1 + data[0] % (size + 1) : 1);
	as_an_error(text);
	as_a_report(text);
	without_secrets(text);
	char shown[64];
	text_redact_url(text, shown, sizeof(shown));
	require(strlen(shown) < sizeof(shown));
	if (text_is_utf8(text, whole))
		require(text_is_utf8(shown, strlen(shown)));
	require(text_distance(text, text) == 0 || whole > 63);
	text_cut_utf8(text);
	require(whole - strlen(text) <= 4);
	free(text);
	return 0;
}
