/*
 * Pages and the bytes between them. The terminal here is a small one of the test's own: it takes
 * nothing but what it knows, so that a stray sequence is a failure.
 */
#include "tests/unit.h"

#include "platform/screen.h"
#include "platform/text.h"

enum {
	ROWS = 24,
	COLUMNS = 80
};

struct vt {
	unsigned rows, columns, row, column, top, bottom;
	char cells[SCREEN_ROWS_MOST][SCREEN_COLUMNS_MOST][4];
	size_t bytes;
};

static struct vt vt;

static void vt_clear(unsigned row, unsigned from)
{
	for (unsigned i = from; i < vt.columns; i++)
		strcpy(vt.cells[row][i], " ");
}

static void vt_start(unsigned rows, unsigned columns)
{
	vt = (struct vt){.rows = rows, .columns = columns, .bottom = rows};
	for (unsigned row = 0; row < rows; row++)
		for (unsigned i = 0; i < columns; i++)
			strcpy(vt.cells[row][i], "x");
}

static void vt_newline(void)
{
	if (vt.row + 1 != vt.bottom) {
		vt.row++;
		return;
	}
	memmove(vt.cells[vt.top], vt.cells[vt.top + 1],
		(vt.bottom - vt.top - 1) * sizeof(vt.cells[0]));
	vt_clear(vt.bottom - 1, 0);
}

static void vt_sequence(char final, const unsigned *numbers, const char *text)
{
	switch (final) {
	case 'H':
		vt.row = numbers[0] ? numbers[0] - 1 : 0;
		vt.column = numbers[1] ? numbers[1] - 1 : 0;
		assert_true(vt.row < vt.rows && vt.column < vt.columns);
		break;
	case 'K':
		vt_clear(vt.row, vt.column);
		break;
	case 'J':
		for (unsigned row = 0; row < vt.rows; row++)
			vt_clear(row, 0);
		break;
	case 'r':
		vt.top = numbers[0] ? numbers[0] - 1 : 0;
		vt.bottom = numbers[1] ? numbers[1] : vt.rows;
		assert_true(vt.top < vt.bottom && vt.bottom <= vt.rows);
		vt.row = vt.column = 0;
		break;
	case 'm':
	case 'h':
	case 'l':
		break;
	default:
		fail_msg("a sequence that is not known: %.20s", text);
	}
}

static void vt_take(const char *text, size_t size)
{
	vt.bytes += size;
	for (size_t i = 0; i < size;) {
		if (text[i] == '\033') {
			unsigned numbers[4] = {0}, count = 0;
			size_t start = i;
			assert_int_equal(text[i + 1], '[');
			for (i += 2; i < size && (unsigned char)text[i] < 0x40; i++) {
				if (text[i] == ';')
					assert_true(++count < 4);
				else if (text[i] != '?')
					numbers[count] =
						numbers[count] * 10 + (unsigned)(text[i] - '0');
			}
			assert_true(i < size);
			vt_sequence(text[i++], numbers, text + start + 1);
			continue;
		}
		if (text[i] == '\n') {
			vt_newline();
			i++;
			continue;
		}
		size_t length = text_utf8_sequence(text + i, size - i);
		assert_true(length >= 1 && length <= 3);
		assert_true((unsigned char)text[i] >= 0x20 && text[i] != 0x7f);
		memcpy(vt.cells[vt.row][vt.column], text + i, length);
		vt.cells[vt.row][vt.column][length] = '\0';
		if (vt.column + 1 < vt.columns)
			vt.column++;
		i += length;
	}
}

static const char *vt_row(unsigned row)
{
	static char text[SCREEN_COLUMNS_MOST * 3 + 1];
	size_t used = 0;
	for (unsigned i = 0; i < vt.columns; i++)
		used += (size_t)sprintf(text + used, "%s", vt.cells[row][i]);
	while (used > 0 && text[used - 1] == ' ')
		text[--used] = '\0';
	return text;
}

/* Updates until nothing is left, in pieces of this size; returns the bytes sent. */
static size_t bring(struct screen *screen, size_t piece)
{
	char out[4096];
	size_t sent = 0, size;
	while ((size = screen_update(screen, out, piece)) > 0) {
		assert_true(size <= piece);
		vt_take(out, size);
		sent += size;
		assert_true(sent < 1 << 20);
	}
	return sent;
}

/* The terminal shows what the screen says. */
static void assert_shown(const struct screen *screen)
{
	static char page[SCREEN_ROWS_MOST * (SCREEN_COLUMNS_MOST * 3 + 1)];
	screen_text(screen, false, page, sizeof(page));
	const char *at = page;
	for (unsigned row = 0; row < screen->rows; row++) {
		size_t size = strcspn(at, "\n");
		char line[SCREEN_COLUMNS_MOST * 3 + 1];
		snprintf(line, sizeof(line), "%.*s", (int)size, at);
		/* Blanks in colour are not seen by this terminal. */
		for (size_t end = strlen(line); end > 0 && line[end - 1] == ' ';)
			line[--end] = '\0';
		assert_string_equal(vt_row(row), line);
		at += size + (at[size] == '\n');
	}
}

static void start(struct screen *screen, unsigned rows, unsigned columns, bool utf8)
{
	screen_open(screen, rows, columns, utf8);
	vt_start(screen->rows, screen->columns);
	vt_take(screen_enter, strlen(screen_enter));
	vt.bytes = 0;
}

static void sends_only_what_differs(void **state)
{
	(void)state;
	struct screen screen;
	start(&screen, ROWS, COLUMNS, true);
	screen_put(&screen, 0, 0, COLUMNS, SCREEN_TITLE, "tink-worker");
	screen_put(&screen, 5, 10, COLUMNS, SCREEN_NORMAL, "12:00:00");
	assert_true(bring(&screen, 4096) > 0);
	assert_shown(&screen);
	assert_string_equal(vt_row(0), "tink-worker");
	assert_string_equal(vt_row(5), "          12:00:00");
	assert_int_equal(bring(&screen, 4096), 0);
	screen_clear(&screen);
	screen_put(&screen, 0, 0, COLUMNS, SCREEN_TITLE, "tink-worker");
	screen_put(&screen, 5, 10, COLUMNS, SCREEN_NORMAL, "12:00:01");
	/* One digit: where, a style, the digit. */
	assert_true(bring(&screen, 4096) <= 12);
	assert_shown(&screen);
	screen_close(&screen);
}

static void blanks_are_one_sequence(void **state)
{
	(void)state;
	struct screen screen;
	start(&screen, ROWS, COLUMNS, true);
	screen_fill(&screen, 3, 0, COLUMNS, SCREEN_BAD, "x");
	bring(&screen, 4096);
	screen_clear(&screen);
	assert_true(bring(&screen, 4096) <= 16);
	assert_shown(&screen);
	screen_close(&screen);
}

static void comes_in_small_pieces(void **state)
{
	(void)state;
	struct screen screen;
	start(&screen, ROWS, COLUMNS, true);
	for (unsigned row = 0; row < ROWS; row++)
		screen_fill(&screen, row, 0, COLUMNS, (enum screen_style)(row % SCREEN_STYLES),
			    "\u2588");
	bring(&screen, 64);
	assert_shown(&screen);
	screen_close(&screen);
}

static void draw_log(struct screen *screen, unsigned first)
{
	screen_clear(screen);
	screen_put(screen, 0, 0, COLUMNS, SCREEN_TITLE, "head");
	screen_put(screen, ROWS - 1, 0, COLUMNS, SCREEN_TITLE, "foot");
	screen_scrolls(screen, 4, ROWS - 5);
	for (unsigned row = 4; row < ROWS - 1; row++)
		screen_format(screen, row, 0, COLUMNS, SCREEN_NORMAL,
			      "line %u of a log, with a number of words that do not matter",
			      first++);
}

static void lets_the_terminal_scroll(void **state)
{
	(void)state;
	struct screen screen;
	start(&screen, ROWS, COLUMNS, true);
	draw_log(&screen, 0);
	size_t whole = bring(&screen, 4096);
	for (unsigned first = 2; first < 20; first += 2) {
		draw_log(&screen, first);
		size_t sent = bring(&screen, 4096);
		assert_shown(&screen);
		/* Two lines, not nineteen. */
		assert_true(sent < whole / 5);
	}
	draw_log(&screen, 500);
	bring(&screen, 4096);
	assert_shown(&screen);
	screen_close(&screen);
}

static void draws_again_what_was_overwritten(void **state)
{
	(void)state;
	struct screen screen;
	start(&screen, ROWS, COLUMNS, true);
	draw_log(&screen, 0);
	bring(&screen, 4096);
	vt_take("\033[7;1H", 6);
	vt_take("[ 12.3] a word of the kernel", 28);
	assert_int_equal(bring(&screen, 4096), 0);
	screen_forget(&screen);
	bring(&screen, 2048);
	assert_shown(&screen);
	screen_close(&screen);
}

static void no_text_sends_sequences(void **state)
{
	(void)state;
	static const char *const texts[] = {"\033[2J\033]0;title\007",
					    "\xc2\x9b"
					    "31m",
					    "\x7f\x01\x02",
					    "\xff\xfe\xc0",
					    "\xe2\x80\xae"
					    "right to left",
					    "\xe4\xb8\xad\xe6\x96\x87",
					    "e\xcc\x81",
					    "\xf0\x9f\x98\x80",
					    "\xc2\xad",
					    "a\tb\rc"};
	struct screen screen;
	for (int utf8 = 0; utf8 < 2; utf8++) {
		start(&screen, ROWS, COLUMNS, utf8);
		for (unsigned i = 0; i < COUNT(texts); i++)
			screen_put(&screen, i, 0, COLUMNS, SCREEN_NORMAL, texts[i]);
		bring(&screen, 4096);
		assert_shown(&screen);
		assert_string_equal(vt_row(0), "?[2J?]0;title?");
		assert_string_equal(vt_row(1), "?31m");
		assert_string_equal(vt_row(4), "?right to left");
		assert_string_equal(vt_row(5), "??");
		assert_string_equal(vt_row(9), "a b c");
		screen_close(&screen);
	}
}

static void speaks_ascii_where_there_is_no_utf8(void **state)
{
	(void)state;
	struct screen screen;
	start(&screen, ROWS, COLUMNS, false);
	screen_put(&screen, 0, 0, COLUMNS, SCREEN_NORMAL, "gr\u00fc\u00dfe \u2014 \u2500");
	screen_bar(&screen, 1, 0, 10, 33, 60);
	bring(&screen, 4096);
	assert_string_equal(vt_row(0), "gr??e - -");
	assert_string_equal(vt_row(1), "#####-....");
	screen_close(&screen);
	start(&screen, ROWS, COLUMNS, true);
	screen_put(&screen, 0, 0, COLUMNS, SCREEN_NORMAL, "gr\u00fc\u00dfe");
	bring(&screen, 4096);
	assert_string_equal(vt_row(0), "gr\u00fc\u00dfe");
	screen_close(&screen);
}

static void wraps_at_words(void **state)
{
	(void)state;
	struct screen screen;
	start(&screen, ROWS, COLUMNS, true);
	const char *text = "one two three four\nfive averyverylongwordindeedthatfitsnowhere six";
	assert_int_equal(screen_wrap(&screen, 0, 0, 10, 0, SCREEN_NORMAL, text), 7);
	assert_int_equal(screen_wrap(&screen, 0, 2, 10, 10, SCREEN_NORMAL, text), 7);
	assert_int_equal(screen_wrap(&screen, 10, 0, 10, 2, SCREEN_NORMAL, text), 2);
	bring(&screen, 4096);
	assert_string_equal(vt_row(0), "  one two");
	assert_string_equal(vt_row(1), "  three four");
	assert_string_equal(vt_row(2), "  five avery");
	assert_string_equal(vt_row(6), "  ere six");
	assert_string_equal(vt_row(11), "three  ...");
	screen_close(&screen);
}

static void nothing_leaves_the_page(void **state)
{
	(void)state;
	struct screen screen;
	start(&screen, 1, 1, true);
	assert_int_equal(screen.rows, SCREEN_ROWS_LEAST);
	assert_int_equal(screen.columns, SCREEN_COLUMNS_LEAST);
	for (unsigned row = 0; row < 40; row++)
		for (unsigned column = 0; column < 200; column += 7) {
			screen_put(&screen, row, column, 1000, SCREEN_BAD,
				   "a long text at the edge");
			screen_fill(&screen, row, column, 1000, SCREEN_BAD, "y");
			screen_bar(&screen, row, column, 50, 1, 2);
			screen_wrap(&screen, row, column, 20, 9, SCREEN_BAD, "several words here");
		}
	screen_scrolls(&screen, 5, 100);
	bring(&screen, 64);
	screen_close(&screen);
}

/* Pages of all kinds one after the other: what the terminal shows is always the last one. */
static void any_page_after_any_other(void **state)
{
	(void)state;
	struct screen screen;
	uint8_t noise[4096];
	start(&screen, 20, 60, true);
	for (uint32_t round = 0; round < 400; round++) {
		fill_random(noise, sizeof(noise), round);
		if (noise[0] % 4)
			screen_clear(&screen);
		screen_scrolls(&screen, noise[1] % 20, noise[2] % 20);
		for (size_t i = 8; i + 8 < noise[3] * 4u; i += 8)
			screen_format(&screen, noise[i] % 20, noise[i + 1] % 60, noise[i + 2] % 60,
				      (enum screen_style)(noise[i + 3] % SCREEN_STYLES), "%*s%d",
				      noise[i + 4] % 30, "", noise[i + 5]);
		if (noise[4] % 8 == 0)
			screen_forget(&screen);
		/* Some are never finished. */
		if (noise[5] % 3 == 0) {
			char out[200];
			vt_take(out, screen_update(&screen, out, sizeof(out)));
			continue;
		}
		bring(&screen, 64 + noise[6] * 8u);
		assert_shown(&screen);
	}
	screen_close(&screen);
}

static void becomes_text(void **state)
{
	(void)state;
	struct screen screen;
	char text[4096], small[100];
	screen_open(&screen, ROWS, COLUMNS, true);
	screen_put(&screen, 0, 0, COLUMNS, SCREEN_BOLD, "one");
	screen_put(&screen, 2, 2, COLUMNS, SCREEN_NORMAL, "two");
	size_t size = screen_text(&screen, false, text, sizeof(text));
	assert_int_equal(size, strlen(text));
	assert_string_equal(text, "one\n\n  two\n");
	screen_text(&screen, true, text, sizeof(text));
	assert_string_equal(text, "\033[0;1mone\033[0m\n\n  two\n");
	screen_fill(&screen, 5, 0, COLUMNS, SCREEN_BOLD, "z");
	assert_true(screen_text(&screen, true, small, sizeof(small)) < sizeof(small));
	screen_close(&screen);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sends_only_what_differs),
		cmocka_unit_test(blanks_are_one_sequence),
		cmocka_unit_test(comes_in_small_pieces),
		cmocka_unit_test(lets_the_terminal_scroll),
		cmocka_unit_test(draws_again_what_was_overwritten),
		cmocka_unit_test(no_text_sends_sequences),
		cmocka_unit_test(speaks_ascii_where_there_is_no_utf8),
		cmocka_unit_test(wraps_at_words),
		cmocka_unit_test(nothing_leaves_the_page),
		cmocka_unit_test(any_page_after_any_other),
		cmocka_unit_test(becomes_text),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
