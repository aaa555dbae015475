/* What comes through the pipes between the agent and a child: the packed request, and the records.
 */
#include "tests/fuzz/fuzz.h"

#include "actions/request.h"
#include "platform/text.h"

static void packed(const uint8_t *data, size_t size)
{
	auto_request struct action_request request = {.timeout_s = 0}, other = {.timeout_s = 0};
	struct child_settings settings, other_settings;
	struct error err;
	if (child_unpack(data, size, &request, &settings, &err) < 0) {
		require(err.kind == ERROR_BUG && request.id == NULL);
		return;
	}
	require(settings.action && settings.tls_ca && settings.log_level);
	auto_buffer struct buffer first = {.cap = 0}, second = {.cap = 0};
	require(child_pack(&request, &settings, &first, &err) == 0);
	require(child_unpack(first.data, first.size, &other, &other_settings, &err) == 0);
	require(child_pack(&other, &other_settings, &second, &err) == 0);
	require(first.size == second.size && memcmp(first.data, second.data, first.size) == 0);
}

static bool is_safe(const char *text, size_t size)
{
	return strnlen(text, size) < size && text_is_utf8(text, strlen(text));
}

static void record(const uint8_t *data, size_t size)
{
	static struct record record;
	struct error err;
	memset(&record, 0xff, sizeof(record));
	if (size > 0)
		memcpy(&record, data, size < sizeof(record) ? size : sizeof(record));
	/* Half of the inputs need not guess the mark. */
	if (size % 2 == 0) {
		record.magic = RECORD_MAGIC;
		record.type = size % 4 == 0 ? RECORD_PROGRESS : RECORD_RESULT;
	}
	if (record_check(&record, &err) < 0) {
		require(err.kind == ERROR_PROTOCOL);
		return;
	}
	if (record.type == RECORD_PROGRESS) {
		require(is_safe(record.as.progress.phase, sizeof(record.as.progress.phase)));
		return;
	}
	require(error_kind_name(record.as.result.error.kind) != NULL);
	require((unsigned)record.as.result.after.kind <= AFTER_RUN);
	require(is_safe(record.as.result.error.text, sizeof(record.as.result.error.text)));
	require(is_safe(record.as.result.summary, sizeof(record.as.result.summary)));
	require(is_safe(record.as.result.after.image, sizeof(record.as.result.after.image)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	packed(data, size);
	record(data, size);
	return 0;
}
