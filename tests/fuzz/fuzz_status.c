/*
 * The bytes are a status file, the first two of them the size of a screen: whatever stands there,
 * it can be read, written again and drawn, and no byte that reaches a terminal is the file's.
 */
#include "tests/fuzz/fuzz.h"

#include "agent/page.h"
#include "platform/terminal.h"
#include "platform/text.h"

/* Sequences of the kinds that a screen uses, and visible characters. */
static void require_harmless(const char *out, size_t size)
{
	for (size_t i = 0; i < size;) {
		unsigned char c = (unsigned char)out[i];
		if (c == '\n') {
			i++;
		} else if (c == 0x1b) {
			require(i + 2 < size && out[i + 1] == '[');
			for (i += 2; i < size && (unsigned char)out[i] < 0x40; i++)
				require((out[i] >= '0' && out[i] <= '9') || out[i] == ';');
			require(i < size && strchr("HKmr", out[i]) != NULL);
			i++;
		} else {
			size_t length = text_utf8_sequence(out + i, size - i);
			require(length > 0 && c >= 0x20 && c != 0x7f);
			require(!(c == 0xc2 && (unsigned char)out[i + 1] < 0xa0));
			i += length;
		}
	}
}

static void draw(struct page *page, unsigned rows, unsigned columns, bool utf8)
{
	static char out[1 << 18];
	struct screen screen;
	screen_open(&screen, rows, columns, utf8);
	for (int round = 0; round < 3; round++) {
		screen_clear(&screen);
		page_draw(page, &screen);
		size_t size, pieces = 0;
		while ((size = screen_update(&screen, out, 512)) > 0) {
			require(size <= 512 && pieces++ < 10000);
			require_harmless(out, size);
		}
		page->now_ms += 1000;
		page_add_line(page, page->status.server_text);
	}
	require_harmless(out, screen_text(&screen, true, out, sizeof(out)));
	screen_close(&screen);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct page page;
	static struct status again;
	struct buffer text = {.cap = 4 * STATUS_FILE_MOST};
	struct terminal terminal = {.count = 0};
	if (size < 2)
		return 0;
	page = (struct page){.interactive = data[0] & 1, .now_ms = 100000};
	status_parse((const char *)data + 2, size - 2, &page.status);
	require(page.status.action_count <= STATUS_ACTIONS_MOST);
	require(page.status.earlier_count <= STATUS_EARLIER_MOST);
	require(text_is_utf8(page.status.reason, strlen(page.status.reason)));
	for (size_t i = 0; i < size; i++)
		page_add_line(&page, i % 64 == 0 ? (const char *)page.status.workflow : "");
	status_write(&page.status, &text);
	status_parse((const char *)text.data, text.size, &again);
	require(again.action_count == page.status.action_count);
	require(strcmp(again.reason, page.status.reason) == 0);
	require(strcmp(again.workflow, page.status.workflow) == 0);
	buffer_free(&text);
	draw(&page, data[0], data[1], data[0] & 2);
	for (size_t i = 0; i < size; i++)
		terminal_take(&terminal, data[i]);
	require(terminal.row < 10000 && terminal.column < 10000);
	return 0;
}
