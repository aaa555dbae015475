/*
 * One queue of bytes for each console, written without ever blocking: a serial line takes a second
 * for 11 kB, and one that nobody has connected may take nothing at all. See console.h.
 */
#include "platform/console.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "platform/cleanup.h"
#include "platform/clock.h"
#include "platform/sysfs.h"

enum {
	CONSOLES_MOST = 16,
	QUEUE_SIZE = 32768,
	LOOK_EVERY_MS = 5000,
	DRAIN_MS = 2000
};

struct console {
	char name[32];
	int fd;
	char queue[QUEUE_SIZE];
	size_t start, used;
	uint64_t dropped;
};

static struct console consoles[CONSOLES_MOST];
static size_t console_count;

static bool is_console(const char *name)
{
	uint64_t type;
	if (strcmp(name, "tty1") == 0 || strcmp(name, "hvc0") == 0 ||
	    strncmp(name, "ttyAMA", 6) == 0)
		return true;
	/* Type 0 (PORT_UNKNOWN) is a place for a port that is not there. */
	return strncmp(name, "ttyS", 4) == 0 &&
	       sysfs_read_uint(&type, "/sys/class/tty/%s/type", name) && type != 0;
}

/* Whether the kernel itself writes to it: then it runs at the speed that was wished. To be named on
 * the command line is not enough: of several serial ports there the kernel drives one. */
static bool is_kernel_console(const char *name)
{
	char active[256];
	if (!sysfs_read(active, sizeof(active), "/sys/class/tty/console/active"))
		return false;
	for (char *rest = active, *word; (word = strtok_r(rest, " ", &rest)) != NULL;)
		if (strcmp(word, name) == 0)
			return true;
	return false;
}

static void set_serial(const char *name, int fd)
{
	struct termios settings;
	if (is_kernel_console(name) || tcgetattr(fd, &settings) < 0)
		return;
	cfsetispeed(&settings, B115200);
	cfsetospeed(&settings, B115200);
	settings.c_cflag &= ~(tcflag_t)(CSIZE | PARENB | CSTOPB | CRTSCTS);
	settings.c_cflag |= CS8 | CREAD | CLOCAL;
	settings.c_oflag |= OPOST | ONLCR;
	tcsetattr(fd, TCSANOW, &settings);
}

static bool is_open(const char *name)
{
	for (size_t i = 0; i < console_count; i++)
		if (strcmp(consoles[i].name, name) == 0)
			return true;
	return false;
}

static void open_console(const char *name)
{
	char path[300];
	snprintf(path, sizeof(path), "/dev/%s", name);
	int fd = open(path, O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return;
	if (strncmp(name, "ttyS", 4) == 0 || strncmp(name, "ttyAMA", 6) == 0)
		set_serial(name, fd);
	struct console *console = &consoles[console_count++];
	*console = (struct console){.fd = fd};
	snprintf(console->name, sizeof(console->name), "%s", name);
}

static void look_for_consoles(void)
{
	char path[300];
	snprintf(path, sizeof(path), "%s/sys/class/tty", sysfs_root());
	DIR *dir = opendir(path);
	for (struct dirent *entry;
	     dir && console_count < CONSOLES_MOST && (entry = readdir(dir)) != NULL;)
		if (is_console(entry->d_name) && !is_open(entry->d_name))
			open_console(entry->d_name);
	if (dir)
		closedir(dir);
}

/* Somebody works in a shell on it (see the initramfs): lines would run into the typing. */
static bool is_taken(const struct console *console)
{
	char path[96];
	snprintf(path, sizeof(path), "/run/tink-worker/shell/%s", console->name);
	return access(path, F_OK) == 0;
}

static void queue_bytes(struct console *console, const char *data, size_t size)
{
	if (console->used + size > QUEUE_SIZE) {
		console->dropped += size;
		return;
	}
	for (size_t i = 0; i < size; i++)
		console->queue[(console->start + console->used++) % QUEUE_SIZE] = data[i];
}

static void add(struct console *console, const char *data, size_t size)
{
	char note[80];
	if (console->dropped > 0 && console->used + size + sizeof(note) <= QUEUE_SIZE) {
		int length = snprintf(note, sizeof(note),
				      "(%" PRIu64 " bytes were not shown: this console is slow)\n",
				      console->dropped);
		console->dropped = 0;
		queue_bytes(console, note, (size_t)length);
	}
	queue_bytes(console, data, size);
}

static void write_some(struct console *console)
{
	size_t until_wrap = QUEUE_SIZE - console->start;
	size_t size = console->used < until_wrap ? console->used : until_wrap;
	ssize_t written = write(console->fd, console->queue + console->start, size);
	if (written <= 0)
		return;
	console->start = (console->start + (size_t)written) % QUEUE_SIZE;
	console->used -= (size_t)written;
}

/* Waits for input (unless fd < 0) and for consoles that can take more; returns whether there is
 * input. */
static bool wait_and_write(int fd, int timeout_ms)
{
	struct pollfd fds[CONSOLES_MOST + 1];
	fds[0] = (struct pollfd){.fd = fd, .events = POLLIN};
	for (size_t i = 0; i < console_count; i++)
		fds[i + 1] = (struct pollfd){.fd = consoles[i].used ? consoles[i].fd : -1,
					     .events = POLLOUT};
	if (poll(fds, (nfds_t)(console_count + 1), timeout_ms) <= 0)
		return false;
	for (size_t i = 0; i < console_count; i++)
		if (fds[i + 1].revents & POLLOUT)
			write_some(&consoles[i]);
	return fds[0].revents != 0;
}

static bool anything_left(void)
{
	for (size_t i = 0; i < console_count; i++)
		if (consoles[i].used > 0)
			return true;
	return false;
}

int console_copy(int fd, struct error *err)
{
	char data[4096];
	int64_t next_look_ms = 0;
	for (;;) {
		int64_t now = clock_monotonic_ms();
		if (now >= next_look_ms) {
			look_for_consoles();
			next_look_ms = now + LOOK_EVERY_MS;
		}
		if (!wait_and_write(fd, LOOK_EVERY_MS))
			continue;
		ssize_t got = read(fd, data, sizeof(data));
		if (got < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (got < 0)
			return error_sys(err, "read the lines for the consoles");
		if (got == 0)
			break;
		for (size_t i = 0; i < console_count; i++)
			if (!is_taken(&consoles[i]))
				add(&consoles[i], data, (size_t)got);
	}
	for (int64_t end = clock_monotonic_ms() + DRAIN_MS;
	     anything_left() && clock_monotonic_ms() < end;)
		wait_and_write(-1, 100);
	return 0;
}
