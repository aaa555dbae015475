/* Keys and answers: see terminal.h. The sequences are those of ECMA-48 and the VT100. */
#include "platform/terminal.h"

const char terminal_ask_size[] = "\0337\033[999;999H\033[6n\0338";
const char terminal_ask_utf8[] = "\033[r\033[0m\033[2J\033[1;1H\xc3\xa9\033[6n";

static enum terminal_event end_sequence(struct terminal *terminal, unsigned char byte)
{
	terminal->state = TERMINAL_PLAIN;
	if (byte != 'R' || terminal->count != 1)
		return TERMINAL_KEY;
	terminal->row = terminal->numbers[0];
	terminal->column = terminal->numbers[1];
	return TERMINAL_POSITION;
}

static enum terminal_event in_sequence(struct terminal *terminal, unsigned char byte)
{
	if (byte >= '0' && byte <= '9') {
		unsigned *number = &terminal->numbers[terminal->count > 0];
		if (*number < 1000)
			*number = *number * 10 + (byte - '0');
	} else if (byte == ';') {
		terminal->count++;
	} else if (byte >= 0x40 && byte <= 0x7e) {
		return end_sequence(terminal, byte);
	} else if (byte < 0x20 || byte > 0x7e) {
		/* What was cut short is nothing. */
		terminal->state = byte == 0x1b ? TERMINAL_ESCAPE : TERMINAL_PLAIN;
	}
	return TERMINAL_NOTHING;
}

enum terminal_event terminal_take(struct terminal *terminal, unsigned char byte)
{
	switch (terminal->state) {
	case TERMINAL_SEQUENCE:
		return in_sequence(terminal, byte);
	case TERMINAL_ESCAPE:
		if (byte == '[') {
			*terminal = (struct terminal){.state = TERMINAL_SEQUENCE};
			return TERMINAL_NOTHING;
		}
		if (byte == 'O') /* a function key: one more byte comes */
			return TERMINAL_NOTHING;
		if (byte == 0x1b)
			return TERMINAL_KEY;
		terminal->state = TERMINAL_PLAIN;
		return TERMINAL_KEY;
	case TERMINAL_PLAIN:
		break;
	}
	if (byte == 0x1b) {
		terminal->state = TERMINAL_ESCAPE;
		return TERMINAL_NOTHING;
	}
	return byte == '\r' || byte == '\n' ? TERMINAL_ENTER : TERMINAL_KEY;
}
