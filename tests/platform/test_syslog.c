/* Where syslog goes, and what a message looks like there. */
#include "tests/unit.h"

#include "platform/syslog.h"
#include "platform/text.h"

static struct syslog_target one(const char *setting)
{
	struct syslog_target targets[SYSLOG_TARGETS_MOST];
	struct error err;
	size_t count = 99;
	if (syslog_parse(setting, targets, &count, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(count, 1);
	return targets[0];
}

static void takes_hosts_as_tinkerbell_gives_them(void **state)
{
	(void)state;
	static const struct {
		const char *setting, *host, *port, *shown;
	} cases[] = {
		{"192.168.77.1", "192.168.77.1", "514", "udp://192.168.77.1:514"},
		{"logs.example.org", "logs.example.org", "514", "udp://logs.example.org:514"},
		{"192.168.77.1:1514", "192.168.77.1", "1514", "udp://192.168.77.1:1514"},
		{"fd00::1", "fd00::1", "514", "udp://[fd00::1]:514"},
		{"[fd00::1]:1514", "fd00::1", "1514", "udp://[fd00::1]:1514"},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct syslog_target target = one(cases[i].setting);
		assert_int_equal(target.transport, SYSLOG_UDP);
		assert_false(target.rfc5424);
		assert_false(target.names_host);
		assert_true(target.kernel);
		assert_int_equal(target.facility, SYSLOG_DAEMON);
		assert_int_equal(target.most_bytes, 1024);
		assert_string_equal(target.host, cases[i].host);
		assert_string_equal(target.port, cases[i].port);
		assert_string_equal(target.shown, cases[i].shown);
	}
}

static void takes_urls(void **state)
{
	(void)state;
	struct syslog_target target =
		one("udp://a?format=rfc5424&facility=local3&max=1400&kernel=0");
	assert_int_equal(target.transport, SYSLOG_UDP);
	assert_true(target.rfc5424);
	assert_int_equal(target.facility, 19);
	assert_int_equal(target.most_bytes, 1400);
	assert_false(target.kernel);
	assert_string_equal(target.port, "514");
	target = one("tls://[::1]/");
	assert_int_equal(target.transport, SYSLOG_TLS);
	assert_string_equal(target.port, "6514");
	assert_string_equal(target.host, "::1");
	assert_true(target.rfc5424);
	assert_false(target.newline);
	target = one("TCP://logs:601?framing=newline&format=rfc3164");
	assert_int_equal(target.transport, SYSLOG_TCP);
	assert_string_equal(target.port, "601");
	assert_true(target.newline);
	assert_false(target.rfc5424);
	assert_true(target.names_host);
}

static void takes_several(void **state)
{
	(void)state;
	struct syslog_target targets[SYSLOG_TARGETS_MOST];
	struct error err;
	size_t count;
	assert_int_equal(syslog_parse(" a, tcp://b  tls://c,", targets, &count, &err), 0);
	assert_int_equal(count, 3);
	assert_string_equal(targets[2].host, "c");
	assert_int_equal(syslog_parse("", targets, &count, &err), 0);
	assert_int_equal(count, 0);
}

static void names_what_is_wrong(void **state)
{
	(void)state;
	static const char *const wrong[] = {
		"http://a",
		"a:0",
		"a:70000",
		"a:x",
		"[::1",
		"[::1]x",
		"udp://",
		"udp://:514",
		"tcp://a?format=x",
		"tcp://a?max=9",
		"tcp://a?facility=24",
		"tcp://a?framing=lines",
		"tcp://a?kernel=x",
		"tcp://a?x=1",
		"tcp://a?format",
		"tcp://u:p@a",
	};
	for (size_t i = 0; i < COUNT(wrong); i++) {
		struct syslog_target targets[SYSLOG_TARGETS_MOST];
		struct error err;
		size_t count;
		auto_free char *setting = text_format("good,%s", wrong[i]);
		assert_int_equal(syslog_parse(setting, targets, &count, &err), -1);
		assert_int_equal(err.kind, ERROR_INPUT);
		assert_int_equal(count, 1);
		assert_contains(err.text, wrong[i]);
	}
	struct syslog_target targets[SYSLOG_TARGETS_MOST];
	struct error err;
	size_t count;
	assert_int_equal(syslog_parse("a b c d e", targets, &count, &err), -1);
	assert_int_equal(count, 4);
}

static struct syslog_message message(const char *text)
{
	return (struct syslog_message){.severity = SYSLOG_WARNING,
				       .time = {.tv_sec = 1795415645, .tv_nsec = 123000000},
				       .host = "node-7",
				       .app = "stream image",
				       .process = "42",
				       .kind = "output",
				       .id = "52:54:00:00:00:01",
				       .workflow = "default/w\"1]\\",
				       .text = text,
				       .text_size = strlen(text)};
}

/* The messages for a target, as one text; ends as syslog_form() gives them. */
static char *formed(const char *setting, const struct syslog_message *message, size_t *ends,
		    size_t *ret_count)
{
	struct syslog_target target = one(setting);
	auto_buffer struct buffer out = {.cap = 1 << 20};
	struct error err;
	assert_int_equal(syslog_form(&target, message, &out, ends, ret_count, &err), 0);
	return text_dup_size((const char *)out.data, out.size);
}

static void writes_rfc_5424(void **state)
{
	(void)state;
	size_t ends[SYSLOG_PARTS_MOST], count;
	struct syslog_message said = message("two\nlines \xe2\x82\xac");
	auto_free char *text = formed("udp://a?format=rfc5424", &said, ends, &count);
	assert_int_equal(count, 1);
	assert_string_equal(text, "<28>1 2026-11-23T06:34:05.123Z node-7 stream-image 42 output "
				  "[tinkerbell@32473 id=\"52:54:00:00:00:01\" "
				  "workflow=\"default/w\\\"1\\]\\\\\"] two lines \xe2\x82\xac");
	said = (struct syslog_message){.has_facility = true, .severity = 0, .text = ""};
	auto_free char *bare = formed("udp://a?format=rfc5424", &said, ends, &count);
	assert_string_equal(bare, "<0>1 - - - - - - ");
}

static void writes_rfc_3164(void **state)
{
	(void)state;
	size_t ends[SYSLOG_PARTS_MOST], count;
	struct syslog_message said = message("text");
	setenv("TZ", "UTC", 1);
	auto_free char *plain = formed("a", &said, ends, &count);
	assert_string_equal(plain, "<28>Nov 23 06:34:05 stream-image[42]: text");
	auto_free char *named = formed("udp://a?facility=local0", &said, ends, &count);
	assert_string_equal(named, "<132>Nov 23 06:34:05 node-7 stream-image[42]: text");
}

static void frames_for_connections(void **state)
{
	(void)state;
	size_t ends[SYSLOG_PARTS_MOST], count;
	struct syslog_message said = message("text");
	said.workflow = said.id = NULL;
	auto_free char *counted = formed("tcp://a", &said, ends, &count);
	assert_string_equal(counted, "67 <28>1 2026-11-23T06:34:05.123Z node-7 stream-image 42 "
				     "output - text");
	assert_int_equal(strlen(counted), 67 + 3);
	auto_free char *lines =
		formed("tcp://a?framing=newline&format=rfc3164", &said, ends, &count);
	assert_string_equal(lines, "<28>Nov 23 06:34:05 node-7 stream-image[42]: text\n");
}

/* A text too long for one message goes on in further ones, and no character is cut. */
static void goes_on_in_further_messages(void **state)
{
	(void)state;
	size_t ends[SYSLOG_PARTS_MOST], count;
	char long_text[3000];
	for (size_t shift = 0; shift < 4; shift++) {
		memset(long_text, 'x', shift);
		for (size_t i = shift; i + 3 < sizeof(long_text); i += 3)
			memcpy(long_text + i, "\xe2\x82\xac", 4);
		struct syslog_message said = message(long_text);
		auto_free char *text = formed("a", &said, ends, &count);
		assert_true(count >= 3);
		size_t start = 0, carried = 0;
		for (size_t i = 0; i < count; start = ends[i++]) {
			assert_true(ends[i] - start <= 1024);
			assert_true(text_is_utf8(text + start, ends[i] - start));
			const char *body = strstr(text + start, "]: ") + 3;
			carried += (size_t)(text + ends[i] - body);
		}
		assert_int_equal(carried, strlen(long_text));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_hosts_as_tinkerbell_gives_them),
		cmocka_unit_test(takes_urls),
		cmocka_unit_test(takes_several),
		cmocka_unit_test(names_what_is_wrong),
		cmocka_unit_test(writes_rfc_5424),
		cmocka_unit_test(writes_rfc_3164),
		cmocka_unit_test(frames_for_connections),
		cmocka_unit_test(goes_on_in_further_messages),
	};
	return cmocka_run_group_tests_name("syslog", tests, NULL, NULL);
}
