/*
 * Every console that exists: /dev/console alone is not enough, as a machine's serial port is often
 * another one than the kernel command line names. Each shows a page that is redrawn in place, or
 * plain lines.
 *
 * tty1 has the page always. A serial port (ttyS* whose /sys/class/tty/<name>/type is not 0,
 * ttyAMA*, hvc0; set to 115200 8N1 unless the kernel writes to it) begins with plain lines and is
 * asked once, and again at a key, where its cursor is: a terminal answers, with its size, and has
 * the page from then on. It is asked again now and then: when it does not answer any more, plain
 * lines follow. With TERM=dumb in the environment everything is plain and nobody is asked.
 *
 * Enter hands a console over to a shell: a line is written into the pipe
 * /run/tink-worker/shell/<name>.key when somebody reads there (see the initramfs), and it is left
 * alone as long as /run/tink-worker/shell/<name> exists. That file holds "plain",
 * or "page ROWS COLUMNS".
 */
#ifndef PLATFORM_CONSOLE_H
#define PLATFORM_CONSOLE_H

#include <stdbool.h>

#include "platform/error.h"
#include "platform/screen.h"

/* What draws the page. */
struct console_page {
	void *context;
	/* A line that was said: clean text, without its end. */
	void (*line)(void *context, const char *line);
	/* Looks at what the page is about, about twice a second; whether it has changed (time
	 * alone does not count). */
	bool (*look)(void *context);
	/* Fills a cleared screen, of whatever size. */
	void (*draw)(void *context, struct screen *screen);
};

/*
 * Shows lines from fd on every console until fd ends. All text is made harmless (text_sanitize()).
 * A console that does not take its bytes holds nobody up: what it misses is dropped, and it is told
 * how much. Consoles that appear later join in. page NULL: plain lines everywhere.
 */
int console_copy(int fd, const struct console_page *page, struct error *err);

#endif
