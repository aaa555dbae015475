/*
 * What comes from the other side of a console: keys, and the answers of a terminal that was asked
 * where its cursor is. No descriptor here: bytes in, events out.
 */
#ifndef PLATFORM_TERMINAL_H
#define PLATFORM_TERMINAL_H

enum terminal_event {
	TERMINAL_NOTHING,  /* more bytes are needed */
	TERMINAL_ENTER,    /* the key Enter */
	TERMINAL_KEY,      /* any other key */
	TERMINAL_POSITION, /* an answer: row and column are set */
};

/* Zero-initialise. */
struct terminal {
	enum {
		TERMINAL_PLAIN,
		TERMINAL_ESCAPE,
		TERMINAL_SEQUENCE,
	} state;
	unsigned numbers[2], count;
	unsigned row, column; /* of the last answer, from 1; at most 9999 */
};

/* Takes one byte. */
enum terminal_event terminal_take(struct terminal *terminal, unsigned char byte);

/* Asks for the size: cursor into the farthest corner, "where is it?", and back (DECSC, CUP, DSR 6,
 * DECRC). A line of text that stands on the terminal stays as it is. */
extern const char terminal_ask_size[];

/* Asks whether two bytes of UTF-8 are one column: the answer is row 1, column 2 then. Clears the
 * screen. */
extern const char terminal_ask_utf8[];

#endif
