/*
 * The consoles: plain lines or a page on each, keys, and the shell's turns. The devices are
 * console_port.c's, the cells screen.c's. See console.h.
 */
#include "platform/console.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "platform/clock.h"
#include "platform/console_port.h"
#include "platform/sysfs.h"
#include "platform/terminal.h"
#include "platform/text.h"

enum {
	CONSOLES_MOST = 16,
	LINE_MOST = 16384,
	LOOK_EVERY_MS = 5000, /* for consoles that have appeared */
	TICK_MS = 500,
	CLOCK_MS = 1000,
	DRAIN_MS = 2000,
	ASK_EVERY_MS = 10000,
	ASK_PAUSE_MS = 1000,
	UNANSWERED_MOST = 2,
	SERIAL_PIECE = 2048, /* of a page at a time: 180 ms of a serial line */
	SCREEN_PIECE = 16384,
	KERNEL_PAUSE_MS = 1000 /* from the kernel's last word to the page's return */
};

#define SHELLS "%s/run/tink-worker/shell/%s"

enum asked {
	ASKED_NOTHING,
	ASKED_SIZE,
	ASKED_UTF8
};

struct console {
	struct console_port port;
	struct terminal terminal;
	bool page;    /* else plain lines */
	bool leaving; /* the shell gets it as soon as the queue is empty */
	int64_t leaving_ms;
	bool taken;        /* by the shell */
	bool more;         /* the last update did not send everything */
	int64_t drawn_ms;  /* 0: draw now */
	int64_t forget_ms; /* when it is to be drawn anew; 0: no need */
	struct screen screen;
	unsigned rows, columns;
	enum asked asked;
	int64_t asked_ms;
	unsigned unanswered; /* in a row */
};

static struct console consoles[CONSOLES_MOST];
static size_t console_count;
static const struct console_page *page;
static int kernel_fd = -1;

static void send(struct console *console, const char *text)
{
	console_port_add(&console->port, text, strlen(text));
}

/* --- page or plain --- */

static void ask(struct console *console, enum asked what)
{
	console->asked = what;
	console->asked_ms = clock_monotonic_ms();
	send(console, what == ASKED_SIZE ? terminal_ask_size : terminal_ask_utf8);
}

static void start_page(struct console *console, bool utf8)
{
	screen_close(&console->screen);
	screen_open(&console->screen, console->rows, console->columns, utf8);
	console->page = true;
	console->drawn_ms = 0;
	console->forget_ms = 0;
	if (!console->port.serial)
		send(console, "\033%G");
	send(console, screen_enter);
}

static void stop_page(struct console *console)
{
	console->page = false;
	console->unanswered = 0;
	console->asked = ASKED_NOTHING;
	send(console, screen_leave);
	send(console, "Nobody answers on this console: plain lines follow. A key asks again.\n");
}

/* Whether the machine's screen has another size than it had. */
static bool look_at_size(struct console *console)
{
	struct winsize size;
	if (ioctl(console->port.fd, TIOCGWINSZ, &size) < 0 || size.ws_row < SCREEN_ROWS_LEAST ||
	    size.ws_col < SCREEN_COLUMNS_LEAST)
		size = (struct winsize){.ws_row = 25, .ws_col = 80};
	bool other = console->rows != size.ws_row || console->columns != size.ws_col;
	console->rows = size.ws_row;
	console->columns = size.ws_col;
	return other;
}

/* The kernel's screen speaks UTF-8 unless it was told not to (vt.default_utf8=0). */
static bool screen_has_utf8(void)
{
	char value[8];
	return !sysfs_read(value, sizeof(value), "/sys/module/vt/parameters/default_utf8") ||
	       value[0] == '1';
}

/* A terminal has said where its cursor is. */
static void answered(struct console *console)
{
	unsigned row = console->terminal.row, column = console->terminal.column;
	enum asked what = console->asked;
	console->asked = ASKED_NOTHING;
	if (what == ASKED_UTF8) {
		start_page(console, row == 1 && column == 2);
		return;
	}
	if (what != ASKED_SIZE)
		return;
	if (row < SCREEN_ROWS_LEAST || column < SCREEN_COLUMNS_LEAST) {
		/* Whatever size it gets next, what it shows then is not the page. */
		console->rows = console->columns = 0;
		console->unanswered = 0;
		return;
	}
	bool other = row != console->rows || column != console->columns;
	console->rows = row;
	console->columns = column;
	/* After a silence it may be another terminal. */
	if (!console->page || console->unanswered > 0)
		ask(console, ASKED_UTF8);
	else if (other)
		start_page(console, console->screen.utf8);
	console->unanswered = 0;
}

/* Sees to a serial console's terminal still being there. */
static void ask_again(struct console *console, int64_t now_ms)
{
	if (!console->page || !console->port.serial || now_ms < console->asked_ms + ASK_EVERY_MS)
		return;
	if (console->asked != ASKED_NOTHING && ++console->unanswered >= UNANSWERED_MOST)
		stop_page(console);
	else
		ask(console, ASKED_SIZE);
}

/* The first words on a console, and those after the shell. */
static void begin(struct console *console)
{
	if (!console->port.serial) {
		look_at_size(console);
		start_page(console, screen_has_utf8());
		return;
	}
	if (console->page)
		start_page(console, console->screen.utf8);
	else
		send(console, "(Enter: a root shell here; any other key: the status page)\n");
	ask(console, ASKED_SIZE);
}

/* --- the shell's turns --- */

static bool is_taken(const struct console *console)
{
	char path[300];
	snprintf(path, sizeof(path), SHELLS, sysfs_root(), console->port.name);
	return access(path, F_OK) == 0;
}

static void leave(struct console *console)
{
	if (console->page)
		send(console, screen_leave);
	console->leaving = true;
	console->leaving_ms = clock_monotonic_ms();
}

/* Gives the console to the shell that waits for it; without one nothing happens. */
static void hand_over(struct console *console)
{
	char mark[300], key[304];
	snprintf(mark, sizeof(mark), SHELLS, sysfs_root(), console->port.name);
	snprintf(key, sizeof(key), "%s.key", mark);
	console->leaving = false;
	console->drawn_ms = 0;
	int mark_fd = open(mark, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	/* Fails when nobody reads. */
	int key_fd = open(key, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	char mode[48] = "plain\n";
	if (console->page)
		snprintf(mode, sizeof(mode), "page %u %u\n", console->rows, console->columns);
	/* Without the mode the shell does well, and it is needed most where there is no room left.
	 */
	ssize_t kept = mark_fd >= 0 ? write(mark_fd, mode, strlen(mode)) : 0;
	(void)kept;
	if (mark_fd >= 0 && key_fd >= 0 && write(key_fd, "shell\n", 6) == 6)
		console->taken = true;
	else
		unlink(mark);
	if (mark_fd >= 0)
		close(mark_fd);
	if (key_fd >= 0)
		close(key_fd);
	if (!console->taken && console->page) {
		send(console, screen_enter);
		screen_forget(&console->screen);
	}
}

static void come_back(struct console *console)
{
	console->taken = false;
	console->unanswered = 0;
	console_port_set_input(&console->port);
	if (page)
		begin(console);
}

/* --- what comes in --- */

static void key_pressed(struct console *console, int64_t now_ms)
{
	if (!page)
		return;
	if (console->page)
		console->forget_ms = now_ms;
	if (console->port.serial && now_ms >= console->asked_ms + ASK_PAUSE_MS)
		ask(console, ASKED_SIZE);
}

/* False: the device is gone. */
static bool read_keys(struct console *console)
{
	unsigned char data[256];
	ssize_t got = read(console->port.fd, data, sizeof(data));
	if (got <= 0)
		return got < 0 && (errno == EAGAIN || errno == EINTR);
	int64_t now_ms = clock_monotonic_ms();
	for (ssize_t i = 0; i < got && !console->leaving; i++) {
		switch (terminal_take(&console->terminal, data[i])) {
		case TERMINAL_ENTER:
			leave(console);
			break;
		case TERMINAL_KEY:
			key_pressed(console, now_ms);
			break;
		case TERMINAL_POSITION:
			answered(console);
			break;
		case TERMINAL_NOTHING:
			break;
		}
	}
	return true;
}

static void say(const char *line)
{
	if (page)
		page->line(page->context, line);
	for (size_t i = 0; i < console_count; i++) {
		struct console *console = &consoles[i];
		if (console->page || console->taken || console->leaving)
			continue;
		console_port_add(&console->port, line, strlen(line));
		console_port_add(&console->port, "\n", 1);
	}
}

/* The bytes of a line that is not complete yet. */
struct lines {
	char text[LINE_MOST];
	size_t used;
};

static void end_line(struct lines *lines)
{
	/* An invalid byte becomes three. */
	static char clean[3 * LINE_MOST + 1];
	text_sanitize(lines->text, lines->used, clean, sizeof(clean));
	lines->used = 0;
	say(clean);
}

static void take_lines(struct lines *lines, const char *data, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (data[i] == '\n' || lines->used == sizeof(lines->text))
			end_line(lines);
		if (data[i] != '\n')
			lines->text[lines->used++] = data[i];
	}
}

/* What the kernel writes to a console by itself destroys its page. */
static void kernel_has_written(int64_t now_ms)
{
	for (size_t i = 0; i < console_count; i++)
		if (consoles[i].page && consoles[i].forget_ms == 0 &&
		    console_port_is_kernels(consoles[i].port.name))
			consoles[i].forget_ms = now_ms + KERNEL_PAUSE_MS;
}

/* Records of /dev/kmsg: "priority,number,time,flags;text". The kernel shows those whose level is
 * below the first number of /proc/sys/kernel/printk. */
static void read_kernel(void)
{
	char record[8192], clean[1024], line[1100], level_text[32];
	uint64_t shown = 0;
	if (sysfs_read(level_text, sizeof(level_text), "/proc/sys/kernel/printk"))
		shown = strtoull(level_text, NULL, 10);
	for (;;) {
		ssize_t got = read(kernel_fd, record, sizeof(record) - 1);
		if (got < 0 && errno == EPIPE) /* some were lost */
			continue;
		if (got <= 0)
			return;
		record[got] = '\0';
		if ((strtoull(record, NULL, 10) & 7) >= shown)
			continue;
		kernel_has_written(clock_monotonic_ms());
		const char *text = strchr(record, ';');
		size_t size = text ? strcspn(text + 1, "\n") : 0;
		if (size == 0)
			continue;
		text_sanitize(text + 1, size, clean, sizeof(clean));
		snprintf(line, sizeof(line), "kernel: %s", clean);
		page->line(page->context, line);
	}
}

/* --- drawing --- */

static void update(struct console *console, int64_t now_ms)
{
	static char out[SCREEN_PIECE];
	size_t most = console->port.serial ? SERIAL_PIECE : SCREEN_PIECE;
	size_t size = screen_update(&console->screen, out, most);
	console_port_add(&console->port, out, size);
	console->more = size > most / 2;
	console->drawn_ms = now_ms;
}

static void draw(struct console *console, int64_t now_ms)
{
	if (console->forget_ms > 0 && now_ms >= console->forget_ms) {
		screen_forget(&console->screen);
		console->forget_ms = 0;
	}
	screen_clear(&console->screen);
	page->draw(page->context, &console->screen);
	update(console, now_ms);
}

static void tend(struct console *console, bool changed, int64_t now_ms)
{
	if (console->taken) {
		if (is_taken(console))
			return;
		come_back(console);
	}
	if (console->leaving && now_ms > console->leaving_ms + DRAIN_MS)
		console->port.used = 0;
	if (console->leaving || !page)
		return;
	console_port_set_input(&console->port);
	if (!console->port.serial && console->page && look_at_size(console))
		start_page(console, console->screen.utf8);
	ask_again(console, now_ms);
	bool due = changed || now_ms >= console->drawn_ms + CLOCK_MS ||
		   (console->forget_ms > 0 && now_ms >= console->forget_ms);
	/* A line that is still busy with the last piece gets no other. */
	if (console->page && due && console->port.used == 0)
		draw(console, now_ms);
}

/* --- the loop --- */

static bool is_open(const char *name)
{
	for (size_t i = 0; i < console_count; i++)
		if (strcmp(consoles[i].port.name, name) == 0)
			return true;
	return false;
}

static void add_console(const char *name)
{
	struct console *console = &consoles[console_count];
	*console = (struct console){.page = false};
	if (!console_port_open(&console->port, name))
		return;
	console_count++;
	console->taken = is_taken(console);
	if (page && !console->taken)
		begin(console);
}

static void drop_console(size_t index)
{
	console_port_close(&consoles[index].port);
	screen_close(&consoles[index].screen);
	memmove(&consoles[index], &consoles[index + 1],
		(--console_count - index) * sizeof(consoles[0]));
}

static void look_for_consoles(void)
{
	char path[300];
	snprintf(path, sizeof(path), "%s/sys/class/tty", sysfs_root());
	DIR *dir = opendir(path);
	for (struct dirent *entry;
	     dir && console_count < CONSOLES_MOST && (entry = readdir(dir)) != NULL;)
		if (!is_open(entry->d_name) && console_port_exists(entry->d_name))
			add_console(entry->d_name);
	if (dir)
		closedir(dir);
}

/* A console whose device can be written to. False: it is gone. */
static bool write_some(struct console *console)
{
	if (!console_port_write(&console->port))
		return false;
	if (console->port.used > 0)
		return true;
	if (console->page && console->more && !console->leaving)
		update(console, clock_monotonic_ms());
	return true;
}

/* Waits for input (unless fd < 0), keys, and consoles that can take more; returns whether there is
 * input. */
static bool wait_and_write(int fd, int timeout_ms)
{
	struct pollfd fds[CONSOLES_MOST + 2];
	size_t count = console_count;
	fds[0] = (struct pollfd){.fd = fd, .events = POLLIN};
	fds[1] = (struct pollfd){.fd = kernel_fd, .events = POLLIN};
	for (size_t i = 0; i < count; i++) {
		short wanted = consoles[i].taken || consoles[i].leaving ? 0 : POLLIN;
		if (consoles[i].port.used > 0)
			wanted |= POLLOUT;
		fds[i + 2] =
			(struct pollfd){.fd = wanted ? consoles[i].port.fd : -1, .events = wanted};
	}
	if (poll(fds, (nfds_t)(count + 2), timeout_ms) <= 0)
		return false;
	if (fds[1].revents & POLLIN)
		read_kernel();
	/* From the end: a console that is gone moves those behind it. */
	for (size_t i = count; i-- > 0;) {
		short events = fds[i + 2].revents;
		bool there = !(events & (POLLERR | POLLNVAL)) &&
			     (!(events & POLLIN) || read_keys(&consoles[i])) &&
			     (!(events & POLLOUT) || write_some(&consoles[i]));
		if (events & POLLHUP && !(events & POLLIN))
			there = false;
		if (!there)
			drop_console(i);
	}
	return fds[0].revents != 0;
}

static void hand_over_those_ready(void)
{
	for (size_t i = 0; i < console_count; i++)
		if (consoles[i].leaving && consoles[i].port.used == 0)
			hand_over(&consoles[i]);
}

static bool anything_left(void)
{
	for (size_t i = 0; i < console_count; i++)
		if (consoles[i].port.used > 0)
			return true;
	return false;
}

/* How long nothing is to be done by itself: in a machine of plain lines only, a while. */
static int pause_ms(void)
{
	for (size_t i = 0; i < console_count; i++)
		if (consoles[i].page || consoles[i].taken || consoles[i].leaving)
			return TICK_MS;
	return LOOK_EVERY_MS;
}

static void tick(bool fresh_lines, int64_t now_ms)
{
	static int64_t looked_ms;
	bool changed = fresh_lines;
	if (now_ms >= looked_ms + LOOK_EVERY_MS || looked_ms == 0) {
		look_for_consoles();
		looked_ms = now_ms;
	}
	if (page)
		changed |= page->look(page->context);
	for (size_t i = 0; i < console_count; i++)
		tend(&consoles[i], changed, now_ms);
}

int console_copy(int fd, const struct console_page *wanted, struct error *err)
{
	static struct lines lines;
	char data[4096];
	int64_t next_tick_ms = 0;
	bool fresh = false;
	const char *term = getenv("TERM");
	page = term && strcmp(term, "dumb") == 0 ? NULL : wanted;
	if (page)
		kernel_fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (kernel_fd >= 0)
		lseek(kernel_fd, 0, SEEK_END);
	for (;;) {
		int64_t now_ms = clock_monotonic_ms();
		if (now_ms >= next_tick_ms) {
			tick(fresh, now_ms);
			fresh = false;
			next_tick_ms = now_ms + pause_ms();
		}
		bool input = wait_and_write(fd, (int)(next_tick_ms - now_ms));
		hand_over_those_ready();
		/* One that has become a page need not wait. */
		if (next_tick_ms > now_ms + pause_ms())
			next_tick_ms = now_ms;
		if (!input)
			continue;
		ssize_t got = read(fd, data, sizeof(data));
		if (got < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (got < 0)
			return error_sys(err, "read the lines for the consoles");
		if (got == 0)
			break;
		take_lines(&lines, data, (size_t)got);
		fresh = true;
	}
	if (lines.used > 0)
		end_line(&lines);
	for (int64_t end = clock_monotonic_ms() + DRAIN_MS;
	     anything_left() && clock_monotonic_ms() < end;)
		wait_and_write(-1, 100);
	return 0;
}
