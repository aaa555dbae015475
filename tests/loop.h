/* Loop devices for the tests that need a real block device. They need root. */
#ifndef TESTS_LOOP_H
#define TESTS_LOOP_H

#include "tests/unit.h"

#include <linux/loop.h>
#include <sys/ioctl.h>

struct loop {
	int fd; /* -1: none */
	char path[32];
};

/* Why there can be no loop device here; NULL when there can. */
static inline const char *loop_obstacle(void)
{
	if (geteuid() != 0)
		return "loop devices need root";
	if (access("/dev/loop-control", R_OK | W_OK) < 0)
		return "this machine has no /dev/loop-control";
	return NULL;
}

/* Attaches a file, with sectors of that many bytes. Others may take a free device first: then the
 * next one. */
static inline void loop_attach_sectors(struct loop *loop, const char *file, bool read_only,
				       unsigned sector_bytes)
{
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	int image = open(file, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	if (control < 0 || image < 0)
		fail_msg("%s cannot be attached", file);
	for (int tries = 0; tries < 50; tries++) {
		int number = ioctl(control, LOOP_CTL_GET_FREE);
		snprintf(loop->path, sizeof(loop->path), "/dev/loop%d", number);
		loop->fd = open(loop->path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
		struct loop_config config = {
			.fd = (unsigned)image,
			.block_size = sector_bytes,
			.info = {.lo_flags = (unsigned)(read_only ? LO_FLAGS_READ_ONLY : 0)}};
		if (loop->fd >= 0 && ioctl(loop->fd, LOOP_CONFIGURE, &config) == 0) {
			close(control);
			close(image);
			return;
		}
		if (loop->fd >= 0)
			close(loop->fd);
	}
	fail_msg("no free loop device for %s", file);
}

static inline void loop_attach(struct loop *loop, const char *file, bool read_only)
{
	loop_attach_sectors(loop, file, read_only, 512);
}

static inline void loop_detach(struct loop *loop)
{
	ioctl(loop->fd, LOOP_CLR_FD);
	close(loop->fd);
	loop->fd = -1;
}

#endif
