/* Where syslog goes, from a setting (the first line), and messages with whatever is to be said. */
#include "tests/fuzz/fuzz.h"

#include "platform/cleanup.h"
#include "platform/syslog.h"
#include "platform/text.h"

static void form(const struct syslog_target *target, const char *text)
{
	const struct syslog_message message = {.severity = (unsigned char)text[0] % 8,
					       .time = {.tv_sec = 1795415645},
					       .host = text,
					       .app = text,
					       .process = text,
					       .kind = text,
					       .id = text,
					       .workflow = text,
					       .text = text,
					       .text_size = strlen(text)};
	auto_buffer struct buffer out = {.cap = 4 << 20};
	struct error err;
	size_t ends[SYSLOG_PARTS_MOST], count, start = 0;
	bool valid = text_is_utf8(text, strlen(text));
	require(syslog_form(target, &message, &out, ends, &count, &err) == 0);
	require(count >= 1 && count <= SYSLOG_PARTS_MOST && ends[count - 1] == out.size);
	for (size_t i = 0; i < count; start = ends[i++]) {
		const char *part = (const char *)out.data + start;
		size_t size = ends[i] - start;
		require(size > 0 && size < target->most_bytes + 4096);
		require(!valid || text_is_utf8(part, size));
		const char *end = memchr(part, '\n', size);
		require(!end || (target->newline && end == part + size - 1));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_text(data, size);
	char *rest = strchr(text, '\n');
	struct syslog_target targets[SYSLOG_TARGETS_MOST];
	struct error err;
	size_t count = 0;
	if (rest)
		*rest++ = '\0';
	if (syslog_parse(text, targets, &count, &err) < 0)
		require(err.kind == ERROR_INPUT);
	require(count <= SYSLOG_TARGETS_MOST);
	for (size_t i = 0; i < count; i++) {
		uint64_t port;
		require(targets[i].host[0] != '\0' && targets[i].most_bytes >= 480);
		require(text_parse_uint(targets[i].port, 10, 65535, &port) && port > 0);
		require(targets[i].facility <= SYSLOG_FACILITY_MOST);
		form(&targets[i], rest ? rest : "");
	}
	free(text);
	return 0;
}
