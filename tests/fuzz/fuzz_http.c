/* The header of an answer, line by line: versions, parts, pauses. */
#include "tests/fuzz/fuzz.h"

#include "platform/http.h"
#include "platform/text.h"

/* Nothing that could end a line of a request, or a terminal's sequence. */
static void require_visible(const char *text, size_t size)
{
	require(memchr(text, '\0', size) != NULL);
	for (; *text; text++)
		require(*text >= 0x20 && *text <= 0x7e);
}

static void judge(const struct http_header *header)
{
	const struct http_answer *answer = &header->answer;
	size_t length = strlen(answer->etag), weak = strncmp(answer->etag, "W/", 2) == 0 ? 2 : 0;
	require(answer->status >= 0 && answer->status <= 999);
	require_visible(answer->etag, sizeof(answer->etag));
	require_visible(answer->last_modified, sizeof(answer->last_modified));
	require_visible(answer->challenge, sizeof(answer->challenge));
	require(text_is_utf8(answer->content_type, strlen(answer->content_type)));
	if (length > 0) {
		require(length >= weak + 2 && answer->etag[weak] == '"');
		require(strchr(answer->etag + weak + 1, '"') == answer->etag + length - 1);
	}
	require(answer->etag_strong == (length > 0 && weak == 0));
	require(!answer->last_modified_strong || (answer->last_modified[0] && header->date_s >= 0));
	require(answer->retry_after_ms >= -1);
	require(!header->range_valid || header->ranges == 1);
	if (header->range_valid && header->range_unsatisfied)
		require(header->range_total <= INT64_MAX);
	else if (header->range_valid)
		require(header->range_first <= header->range_last &&
			header->range_last <= INT64_MAX &&
			(header->range_total == STREAM_SIZE_UNKNOWN ||
			 header->range_last < header->range_total));
	else
		require(!header->range_unsatisfied);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct http_header header = {.answer = {.retry_after_ms = -1}, .date_s = -1};
	while (size > 0) {
		const uint8_t *end = memchr(data, '\n', size);
		size_t line_size = end ? (size_t)(end - data) + 1 : size;
		/* In memory of its own, without a NUL. */
		char *line = malloc(line_size);
		require(line != NULL);
		memcpy(line, data, line_size);
		http_header_line(&header, line, line_size);
		judge(&header);
		free(line);
		data += line_size;
		size -= line_size;
	}
	return 0;
}
