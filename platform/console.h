/*
 * Every console that exists: /dev/console alone is not enough, as a machine's serial port is often
 * another one than the kernel command line names.
 */
#ifndef PLATFORM_CONSOLE_H
#define PLATFORM_CONSOLE_H

#include "platform/error.h"

/*
 * Copies lines from fd to every console until fd ends: tty1, each ttyS* whose
 * /sys/class/tty/<name>/type is not 0, ttyAMA*, hvc0. Serial ports are set to 115200 8N1. A console
 * that does not take its bytes holds nobody up: what it misses is dropped, and it is told how much.
 * Consoles that appear later join in. One on which a shell is open (/run/tink-worker/shell/<name>
 * exists) is left alone, and so is the speed of a port that the kernel writes to itself.
 */
int console_copy(int fd, struct error *err);

#endif
