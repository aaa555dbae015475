/*
 * For the tests: a preloaded library that lets a program see the wall clock of a machine that has
 * lost it. While the file that CLOCK_LOST names is there, it is the 1st of January 1970 and counts
 * from there.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int is_lost(clockid_t id)
{
	const char *path = getenv("CLOCK_LOST");
	return (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) && path &&
	       syscall(SYS_faccessat, AT_FDCWD, path, F_OK) == 0;
}

int clock_gettime(clockid_t id, struct timespec *now)
{
	return (int)syscall(SYS_clock_gettime, is_lost(id) ? CLOCK_MONOTONIC : id, now);
}

time_t time(time_t *out)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	if (out)
		*out = now.tv_sec;
	return now.tv_sec;
}

int gettimeofday(struct timeval *out, void *zone)
{
	struct timespec now;
	(void)zone;
	clock_gettime(CLOCK_REALTIME, &now);
	out->tv_sec = now.tv_sec;
	out->tv_usec = now.tv_nsec / 1000;
	return 0;
}
