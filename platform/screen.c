/* Cells, and the difference between two pages of them: see screen.h. */
#include "platform/screen.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "platform/text.h"

enum {
	STEP_MOST = 40, /* bytes for moving the cursor, a style and a character */
	GAP_MOST = 6    /* equal cells that are sent again rather than jumped over */
};

const char screen_enter[] = "\033[r\033[?7l\033[?25l\033[0m\033[2J";
const char screen_leave[] = "\033[r\033[?7h\033[?25h\033[0m\033[2J\033[H";

static const char *const style_codes[SCREEN_STYLES] = {
	[SCREEN_NORMAL] = "\033[0m",       [SCREEN_BOLD] = "\033[0;1m",
	[SCREEN_DIM] = "\033[0;2m",        [SCREEN_LABEL] = "\033[0;36m",
	[SCREEN_GOOD] = "\033[0;32m",      [SCREEN_WARN] = "\033[0;33m",
	[SCREEN_BAD] = "\033[0;1;31m",     [SCREEN_TITLE] = "\033[0;37;44m",
	[SCREEN_ALARM] = "\033[0;1;37;41m"};

/* What is surely one column wide on every terminal and in every font that shows it. Others become
 * '?': wide ones, combining ones, those that change the direction. */
static bool is_narrow(uint32_t c)
{
	static const uint32_t ranges[][2] = {{0x00a1, 0x00ac}, {0x00ae, 0x02ff}, {0x0370, 0x0377},
					     {0x037a, 0x037f}, {0x0384, 0x0482}, {0x048a, 0x052f},
					     {0x1e00, 0x1eff}, {0x2010, 0x2027}, {0x2030, 0x205e},
					     {0x20a0, 0x20bf}, {0x2190, 0x22ff}, {0x2500, 0x25a1}};
	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
		if (c >= ranges[i][0] && c <= ranges[i][1])
			return true;
	return false;
}

/* What is drawn where there is no UTF-8. */
static uint32_t to_ascii(uint32_t c)
{
	static const struct {
		uint32_t from;
		char to;
	} pairs[] = {{0x2588, '#'}, {0x258c, '-'}, {0x2591, '.'},  {0x2500, '-'},
		     {0x00b7, '-'}, {0x2026, '~'}, {0x2018, '\''}, {0x2019, '\''},
		     {0x201c, '"'}, {0x201d, '"'}, {0x2013, '-'},  {0x2014, '-'}};
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
		if (pairs[i].from == c)
			return (uint32_t)pairs[i].to;
	return '?';
}

/* Takes the next character off *text, as it may stand in a cell. A tab is a blank. */
static uint32_t take(const struct screen *screen, const char **text)
{
	const unsigned char *s = (const unsigned char *)*text;
	size_t size = text_utf8_sequence(*text, strlen(*text));
	*text += size ? size : 1;
	if (size == 1)
		return s[0] == '\t' || s[0] == '\r' || s[0] == '\n' ? ' '
		       : s[0] >= 0x20 && s[0] < 0x7f                ? s[0]
								    : '?';
	uint32_t c = 0xfffd;
	if (size == 2)
		c = (uint32_t)(s[0] & 0x1f) << 6 | (s[1] & 0x3f);
	else if (size == 3)
		c = (uint32_t)(s[0] & 0x0f) << 12 | (uint32_t)(s[1] & 0x3f) << 6 | (s[2] & 0x3f);
	if (c == 0x00a0)
		return ' ';
	if (!is_narrow(c))
		return '?';
	return screen->utf8 ? c : to_ascii(c);
}

static unsigned clamp(unsigned value, unsigned least, unsigned most)
{
	return value < least ? least : value > most ? most : value;
}

void screen_open(struct screen *screen, unsigned rows, unsigned columns, bool utf8)
{
	*screen = (struct screen){.rows = clamp(rows, SCREEN_ROWS_LEAST, SCREEN_ROWS_MOST),
				  .columns =
					  clamp(columns, SCREEN_COLUMNS_LEAST, SCREEN_COLUMNS_MOST),
				  .utf8 = utf8};
	size_t cells = (size_t)screen->rows * screen->columns;
	screen->next = calloc(cells, sizeof(*screen->next));
	screen->shown = calloc(cells, sizeof(*screen->shown));
	if (!screen->next || !screen->shown)
		abort();
	screen_clear(screen);
}

void screen_close(struct screen *screen)
{
	free(screen->next);
	free(screen->shown);
	*screen = (struct screen){.rows = 0};
}

void screen_clear(struct screen *screen)
{
	for (size_t i = 0; i < (size_t)screen->rows * screen->columns; i++)
		screen->next[i] = (struct screen_cell){.character = ' '};
	screen->scroll_rows = 0;
}

void screen_forget(struct screen *screen)
{
	memset(screen->shown, 0, (size_t)screen->rows * screen->columns * sizeof(*screen->shown));
}

static struct screen_cell *row_of(struct screen *screen, unsigned row)
{
	return screen->next + (size_t)row * screen->columns;
}

/* How many columns of `width` there are from column on. */
static unsigned room(const struct screen *screen, unsigned row, unsigned column, unsigned width)
{
	if (row >= screen->rows || column >= screen->columns)
		return 0;
	return width < screen->columns - column ? width : screen->columns - column;
}

unsigned screen_put(struct screen *screen, unsigned row, unsigned column, unsigned width,
		    enum screen_style style, const char *text)
{
	unsigned most = room(screen, row, column, width), used = 0;
	while (used < most && *text && *text != '\n')
		row_of(screen, row)[column + used++] = (struct screen_cell){
			.character = take(screen, &text), .style = (uint8_t)style};
	return used;
}

unsigned screen_format(struct screen *screen, unsigned row, unsigned column, unsigned width,
		       enum screen_style style, const char *format, ...)
{
	char text[512];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	text_cut_utf8(text);
	return screen_put(screen, row, column, width, style, text);
}

void screen_fill(struct screen *screen, unsigned row, unsigned column, unsigned width,
		 enum screen_style style, const char *character)
{
	unsigned most = room(screen, row, column, width);
	struct screen_cell cell = {.character = take(screen, &character), .style = (uint8_t)style};
	for (unsigned i = 0; i < most; i++)
		row_of(screen, row)[column + i] = cell;
}

size_t screen_break(const char *text, unsigned width, const char **ret_next)
{
	unsigned columns = 0;
	size_t at = 0, blank = 0;
	while (text[at] && text[at] != '\n' && columns < width) {
		if (text[at] == ' ' && at > 0)
			blank = at;
		size_t size = text_utf8_sequence(text + at, strlen(text + at));
		at += size ? size : 1;
		columns++;
	}
	if (text[at] == '\0' || text[at] == '\n' || text[at] == ' ') {
		*ret_next = text + at + (text[at] != '\0');
		return at;
	}
	/* A word is only cut when it begins so early that most of the line would stay empty. */
	if (blank > at / 2) {
		*ret_next = text + blank + 1;
		return blank;
	}
	*ret_next = text + at;
	return at;
}

unsigned screen_wrap(struct screen *screen, unsigned row, unsigned column, unsigned width,
		     unsigned rows_most, enum screen_style style, const char *text)
{
	unsigned count = 0;
	if (width < 4)
		return 0;
	while (*text) {
		const char *next;
		size_t size = screen_break(text, width, &next);
		if (rows_most > 0 && count == rows_most) {
			screen_put(screen, row + count - 1, column + width - 4, 4, style, " ...");
			return count;
		}
		if (rows_most > 0) {
			/* One character is at most four bytes. */
			char line[SCREEN_COLUMNS_MOST * 4 + 1];
			snprintf(line, sizeof(line), "%.*s", (int)size, text);
			screen_put(screen, row + count, column, width, style, line);
		}
		count++;
		text = next;
	}
	return count;
}

void screen_bar(struct screen *screen, unsigned row, unsigned column, unsigned width, uint64_t done,
		uint64_t total)
{
	double part = total == 0 ? 0 : done >= total ? 1 : (double)done / (double)total;
	unsigned halves = (unsigned)(part * width * 2);
	screen_fill(screen, row, column, width, SCREEN_DIM, "\u2591");
	screen_fill(screen, row, column, halves / 2, SCREEN_GOOD, "\u2588");
	if (halves % 2)
		screen_fill(screen, row, column + halves / 2, 1, SCREEN_GOOD, "\u258c");
}

void screen_scrolls(struct screen *screen, unsigned top, unsigned rows)
{
	screen->scroll_top = top;
	screen->scroll_rows = top < screen->rows && rows <= screen->rows - top ? rows : 0;
}

static bool same(struct screen_cell a, struct screen_cell b)
{
	return a.character == b.character &&
	       (a.style == b.style ||
		(a.character == ' ' && a.style < SCREEN_TITLE && b.style < SCREEN_TITLE));
}

static bool same_rows(const struct screen_cell *a, const struct screen_cell *b, unsigned columns)
{
	for (unsigned i = 0; i < columns; i++)
		if (!same(a[i], b[i]))
			return false;
	return true;
}

/* By how many rows the scrolling area has moved up: the least that makes what is left of it fit;
 * 0 when it did not move, or nothing fits. */
static unsigned moved_by(const struct screen *screen)
{
	unsigned rows = screen->scroll_rows, columns = screen->columns;
	const struct screen_cell *next = screen->next + (size_t)screen->scroll_top * columns;
	const struct screen_cell *shown = screen->shown + (size_t)screen->scroll_top * columns;
	for (unsigned by = 0; by + 1 < rows; by++) {
		unsigned row = 0;
		while (row < rows - by && same_rows(next + (size_t)row * columns,
						    shown + (size_t)(row + by) * columns, columns))
			row++;
		if (row == rows - by)
			return by;
	}
	return 0;
}

/* Where screen_update() is in its output. */
struct update {
	char *out;
	size_t used, size;
	unsigned row, column; /* of the cursor; row UINT32_MAX: not known */
	unsigned style;       /* SCREEN_STYLES: not known */
};

static void emit(struct update *update, const char *text)
{
	size_t size = strlen(text);
	memcpy(update->out + update->used, text, size);
	update->used += size;
}

static void scroll(struct screen *screen, struct update *update)
{
	unsigned by = moved_by(screen), rows = screen->scroll_rows, columns = screen->columns;
	char text[48];
	if (by == 0 || update->size < sizeof(text) + by + 8)
		return;
	/* What is new below gets the terminal's present background: that must be the plain one. */
	snprintf(text, sizeof(text), "\033[0m\033[%u;%ur\033[%u;1H", screen->scroll_top + 1,
		 screen->scroll_top + rows, screen->scroll_top + rows);
	emit(update, text);
	for (unsigned i = 0; i < by; i++)
		emit(update, "\n");
	emit(update, "\033[r");
	struct screen_cell *area = screen->shown + (size_t)screen->scroll_top * columns;
	memmove(area, area + (size_t)by * columns, (size_t)(rows - by) * columns * sizeof(*area));
	for (size_t i = (size_t)(rows - by) * columns; i < (size_t)rows * columns; i++)
		area[i] = (struct screen_cell){.character = ' '};
}

static void encode(uint32_t c, char *out)
{
	size_t used = 0;
	if (c < 0x80) {
		out[used++] = (char)c;
	} else if (c < 0x800) {
		out[used++] = (char)(0xc0 | c >> 6);
		out[used++] = (char)(0x80 | (c & 0x3f));
	} else {
		out[used++] = (char)(0xe0 | c >> 12);
		out[used++] = (char)(0x80 | (c >> 6 & 0x3f));
		out[used++] = (char)(0x80 | (c & 0x3f));
	}
	out[used] = '\0';
}

static void move(struct update *update, unsigned row, unsigned column)
{
	char text[24];
	if (update->row == row && update->column == column)
		return;
	snprintf(text, sizeof(text), "\033[%u;%uH", row + 1, column + 1);
	emit(update, text);
	update->row = row;
	update->column = column;
}

static void set_style(struct update *update, unsigned style)
{
	if (update->style == style)
		return;
	emit(update, style_codes[style]);
	update->style = style;
}

static bool full(const struct update *update)
{
	return update->size - update->used < STEP_MOST;
}

/* Whether the rest of a row is to be blank and is not: then one sequence does it. */
static bool ends_blank(const struct screen_cell *next, const struct screen_cell *shown,
		       unsigned from, unsigned columns)
{
	unsigned differ = 0;
	for (unsigned i = from; i < columns; i++) {
		if (next[i].character != ' ' || next[i].style >= SCREEN_TITLE)
			return false;
		differ += !same(next[i], shown[i]);
	}
	return differ > 3;
}

/* False: there is no more room. */
static bool update_row(struct screen *screen, struct update *update, unsigned row)
{
	unsigned columns = screen->columns;
	const struct screen_cell *next = screen->next + (size_t)row * columns;
	struct screen_cell *shown = screen->shown + (size_t)row * columns;
	for (unsigned at = 0; at < columns; at++) {
		if (same(next[at], shown[at]))
			continue;
		if (full(update))
			return false;
		if (ends_blank(next, shown, at, columns)) {
			move(update, row, at);
			set_style(update, SCREEN_NORMAL);
			emit(update, "\033[K");
			memcpy(shown + at, next + at, (columns - at) * sizeof(*shown));
			return true;
		}
		/* A few cells that are right already are shorter than a jump. */
		unsigned from = at;
		if (update->row == row && update->column < at && at - update->column <= GAP_MOST)
			from = update->column;
		for (; from <= at; from++) {
			char text[8];
			if (full(update))
				return false;
			move(update, row, from);
			set_style(update, next[from].style);
			encode(next[from].character, text);
			emit(update, text);
			shown[from] = next[from];
			update->column++;
		}
	}
	return true;
}

size_t screen_update(struct screen *screen, char *out, size_t out_size)
{
	struct update update = {
		.out = out, .size = out_size, .row = UINT32_MAX, .style = SCREEN_STYLES};
	scroll(screen, &update);
	for (unsigned row = 0; row < screen->rows; row++)
		if (!update_row(screen, &update, row))
			break;
	return update.used;
}

size_t screen_text(const struct screen *screen, bool colours, char *out, size_t out_size)
{
	struct update update = {.out = out, .size = out_size, .style = SCREEN_NORMAL};
	unsigned last = screen->rows;
	const struct screen_cell blank = {.character = ' '};
	for (unsigned row = 0; row < last && out_size > 2 * STEP_MOST; row++) {
		const struct screen_cell *cells = screen->next + (size_t)row * screen->columns;
		unsigned end = screen->columns;
		while (end > 0 && same(cells[end - 1], blank))
			end--;
		if (end > 0)
			while (update.row < row && !full(&update)) {
				emit(&update, "\n");
				update.row++;
			}
		for (unsigned column = 0; column < end && !full(&update); column++) {
			char text[8];
			if (colours)
				set_style(&update, cells[column].style);
			encode(cells[column].character, text);
			emit(&update, text);
		}
		if (colours && end > 0)
			set_style(&update, SCREEN_NORMAL);
	}
	if (update.used > 0)
		emit(&update, "\n");
	out[update.used] = '\0';
	return update.used;
}
