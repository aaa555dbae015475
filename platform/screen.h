/*
 * A page of character cells and the bytes that bring a terminal from what it shows to what it is to
 * show: only what differs is sent, in pieces as small as the caller wants. Knows no terminal: the
 * bytes are for one that understands the usual sequences (VT100 and Linux's console alike).
 *
 * Whatever text is put, a cell holds one visible character that takes one column: no text can send
 * a sequence of its own.
 */
#ifndef PLATFORM_SCREEN_H
#define PLATFORM_SCREEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum screen_style {
	SCREEN_NORMAL,
	SCREEN_BOLD,
	SCREEN_DIM,
	SCREEN_LABEL,
	SCREEN_GOOD,
	SCREEN_WARN,
	SCREEN_BAD,
	SCREEN_TITLE, /* the bars at the upper and lower edge */
	SCREEN_ALARM, /* a failure, as a bar */
	SCREEN_STYLES
};

enum {
	SCREEN_ROWS_LEAST = 10,
	SCREEN_COLUMNS_LEAST = 40,
	SCREEN_ROWS_MOST = 120,
	SCREEN_COLUMNS_MOST = 250
};

struct screen_cell {
	uint32_t character; /* 0 in `shown`: not known */
	uint8_t style;
};

/* Made by screen_open(); rows, columns and utf8 may be read. */
struct screen {
	unsigned rows, columns;
	bool utf8; /* else every cell is ASCII */
	struct screen_cell *next, *shown;
	unsigned scroll_top, scroll_rows; /* see screen_scrolls() */
};

/* Sizes outside of the limits above are taken as the nearest inside. Ends the process when memory
 * runs out. */
void screen_open(struct screen *screen, unsigned rows, unsigned columns, bool utf8);
void screen_close(struct screen *screen);

/* Begins a new page: all cells blank. What the terminal shows stays known. */
void screen_clear(struct screen *screen);

/* Puts text from a cell on, cut at `width` columns (and at the edge). Ends at a line end. Returns
 * how many columns it took. */
unsigned screen_put(struct screen *screen, unsigned row, unsigned column, unsigned width,
		    enum screen_style style, const char *text);

/* As screen_put() from a printf format; the text is cut at 512 bytes. */
unsigned screen_format(struct screen *screen, unsigned row, unsigned column, unsigned width,
		       enum screen_style style, const char *format, ...)
	__attribute__((format(printf, 6, 7)));

/* How many bytes of text go onto a line of `width` columns, broken at a blank where that is
 * possible and at a line end; *ret_next is where the line after it begins. */
size_t screen_break(const char *text, unsigned width, const char **ret_next);

/* Puts text over several lines of `width` columns, see screen_break(); of more than rows_most lines
 * the last one ends with "...". Returns how many there are. rows_most 0 counts only. */
unsigned screen_wrap(struct screen *screen, unsigned row, unsigned column, unsigned width,
		     unsigned rows_most, enum screen_style style, const char *text);

/* Puts a character `width` times. */
void screen_fill(struct screen *screen, unsigned row, unsigned column, unsigned width,
		 enum screen_style style, const char *character);

/* A bar of `width` columns, filled to done of total. */
void screen_bar(struct screen *screen, unsigned row, unsigned column, unsigned width, uint64_t done,
		uint64_t total);

/* These rows are one text that moves up as lines are added: where it did, the terminal is told to
 * scroll, not sent all of them again. rows 0: none. */
void screen_scrolls(struct screen *screen, unsigned top, unsigned rows);

/* What the terminal shows is not known any more: the next updates send everything. */
void screen_forget(struct screen *screen);

/*
 * Writes the bytes that bring the terminal nearer to the page, at most out_size (of 64 and more):
 * they always end between two sequences. Returns how many; 0: it shows the page.
 */
size_t screen_update(struct screen *screen, char *out, size_t out_size);

/* What brings a terminal into the state that screen_update() relies on (no wrapping at the edge, no
 * cursor), and back, with the cursor on an empty screen. */
extern const char screen_enter[], screen_leave[];

/* The page as lines of text, with colours or without, without the blank rows at its end, ended by
 * NUL. Cut at out_size (> 0). Returns the length. */
size_t screen_text(const struct screen *screen, bool colours, char *out, size_t out_size);

#endif
