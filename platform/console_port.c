/*
 * One queue of bytes for each console, written without ever blocking: a serial line takes a second
 * for 11 kB, and one that nobody has connected may take nothing at all. See console_port.h.
 */
#include "platform/console_port.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "platform/sysfs.h"

static bool is_serial(const char *name)
{
	return strncmp(name, "ttyS", 4) == 0 || strncmp(name, "ttyAMA", 6) == 0;
}

bool console_port_exists(const char *name)
{
	uint64_t type;
	if (strcmp(name, "tty1") == 0 || strcmp(name, "hvc0") == 0 ||
	    strncmp(name, "ttyAMA", 6) == 0)
		return true;
	/* Type 0 (PORT_UNKNOWN) is a place for a port that is not there. */
	return strncmp(name, "ttyS", 4) == 0 &&
	       sysfs_read_uint(&type, "/sys/class/tty/%s/type", name) && type != 0;
}

/* To be named on the command line is not enough: of several serial ports there the kernel drives
 * one. */
bool console_port_is_kernels(const char *name)
{
	char active[256];
	if (!sysfs_read(active, sizeof(active), "/sys/class/tty/console/active"))
		return false;
	/* tty0 is the virtual console that is shown. */
	const char *wanted = strcmp(name, "tty1") == 0 ? "tty0" : name;
	for (char *rest = active, *word; (word = strtok_r(rest, " ", &rest)) != NULL;)
		if (strcmp(word, wanted) == 0)
			return true;
	return false;
}

static void set_speed(struct termios *settings)
{
	cfsetispeed(settings, B115200);
	cfsetospeed(settings, B115200);
	settings->c_cflag &= ~(tcflag_t)(CSIZE | PARENB | CSTOPB | CRTSCTS);
	settings->c_cflag |= CS8 | CREAD | CLOCAL;
}

void console_port_set_input(const struct console_port *port)
{
	struct termios settings;
	const tcflag_t off = ICANON | ECHO | ISIG | IEXTEN;
	if (tcgetattr(port->fd, &settings) < 0 ||
	    ((settings.c_lflag & off) == 0 && (settings.c_iflag & (ICRNL | IXON)) == 0))
		return;
	settings.c_lflag &= ~off;
	settings.c_iflag &= ~(tcflag_t)(ICRNL | IXON | ISTRIP | INLCR | IGNCR);
	settings.c_cc[VMIN] = 1;
	settings.c_cc[VTIME] = 0;
	tcsetattr(port->fd, TCSANOW, &settings);
}

bool console_port_open(struct console_port *port, const char *name)
{
	char path[300];
	struct termios settings;
	snprintf(path, sizeof(path), "%s/dev/%s", sysfs_root(), name);
	int fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return false;
	*port = (struct console_port){.fd = fd, .serial = strcmp(name, "tty1") != 0};
	snprintf(port->name, sizeof(port->name), "%s", name);
	if (tcgetattr(fd, &settings) == 0) {
		if (is_serial(name) && !console_port_is_kernels(name))
			set_speed(&settings);
		settings.c_oflag |= OPOST | ONLCR;
		tcsetattr(fd, TCSANOW, &settings);
	}
	console_port_set_input(port);
	return true;
}

void console_port_close(struct console_port *port)
{
	close(port->fd);
	port->fd = -1;
}

static void queue_bytes(struct console_port *port, const char *data, size_t size)
{
	if (port->used + size > CONSOLE_QUEUE_SIZE) {
		port->dropped += size;
		return;
	}
	for (size_t i = 0; i < size; i++)
		port->queue[(port->start + port->used++) % CONSOLE_QUEUE_SIZE] = data[i];
}

void console_port_add(struct console_port *port, const char *data, size_t size)
{
	char note[80];
	if (port->dropped > 0 && port->used + size + sizeof(note) <= CONSOLE_QUEUE_SIZE) {
		int length = snprintf(note, sizeof(note),
				      "(%" PRIu64 " bytes were not shown: this console is slow)\n",
				      port->dropped);
		port->dropped = 0;
		queue_bytes(port, note, (size_t)length);
	}
	queue_bytes(port, data, size);
}

bool console_port_write(struct console_port *port)
{
	size_t until_wrap = CONSOLE_QUEUE_SIZE - port->start;
	size_t size = port->used < until_wrap ? port->used : until_wrap;
	ssize_t written = write(port->fd, port->queue + port->start, size);
	if (written < 0)
		return errno == EAGAIN || errno == EINTR;
	port->start = (port->start + (size_t)written) % CONSOLE_QUEUE_SIZE;
	port->used -= (size_t)written;
	return true;
}
