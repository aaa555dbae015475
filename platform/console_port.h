/*
 * The devices behind consoles: which there are, how they are set up, and a queue of bytes for each
 * that is written without ever blocking. What is said on them is console.h's.
 */
#ifndef PLATFORM_CONSOLE_PORT_H
#define PLATFORM_CONSOLE_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	CONSOLE_QUEUE_SIZE = 32768
};

struct console_port {
	char name[32];
	int fd;
	bool serial; /* there is a line behind, not the machine's own screen */
	char queue[CONSOLE_QUEUE_SIZE];
	size_t start, used;
	uint64_t dropped;
};

/* Whether a terminal of this name (as in /sys/class/tty) is a console: tty1, hvc0, ttyAMA*, and
 * ttyS* with hardware behind. */
bool console_port_exists(const char *name);

/* Opens /dev/NAME for reading and writing: serial ports at 115200 8N1, but for those that the
 * kernel writes to itself, which keep their speed; keys arrive singly and are not shown. False:
 * it cannot be opened. */
bool console_port_open(struct console_port *port, const char *name);
void console_port_close(struct console_port *port);

/* Sets how keys arrive, where somebody else has set it otherwise. */
void console_port_set_input(const struct console_port *port);

/* Whether the kernel writes its messages to it. */
bool console_port_is_kernels(const char *name);

/* Adds bytes to the queue: whole or not at all. What does not fit is counted, and told on the
 * console when there is room again. */
void console_port_add(struct console_port *port, const char *data, size_t size);

/* Writes what it takes now. False: the device is gone. */
bool console_port_write(struct console_port *port);

#endif
