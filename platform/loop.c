/* loop(4): see loop.h. */
#include "platform/loop.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "platform/cleanup.h"
#include "platform/log.h"

static unsigned mounts_here(dev_t device)
{
	unsigned count = 0;
	auto_fclose FILE *file = fopen("/proc/self/mountinfo", "re");
	auto_free char *line = NULL;
	size_t line_size = 0;
	while (file && getline(&line, &line_size, file) > 0) {
		unsigned maj, min;
		if (sscanf(line, "%*d %*d %u:%u", &maj, &min) == 2 && makedev(maj, min) == device)
			count++;
	}
	return count;
}

static bool detach_if_on(const char *loop, dev_t device)
{
	char path[64];
	struct loop_info64 info;
	snprintf(path, sizeof(path), "/dev/%s", loop);
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	/* The kernel's encoding of device numbers in 64 bits is libc's for all numbers it gives. */
	if (fd < 0 || ioctl(fd, LOOP_GET_STATUS64, &info) < 0 ||
	    (info.lo_device != device && info.lo_rdevice != device))
		return false;
	if (ioctl(fd, LOOP_CLR_FD, 0) < 0)
		return false;
	log_debug("detached what was left", "device", path);
	return true;
}

static unsigned detach_all(dev_t device)
{
	unsigned count = 0;
	DIR *dir = opendir("/sys/block");
	for (struct dirent *entry; dir && (entry = readdir(dir)) != NULL;)
		if (strncmp(entry->d_name, "loop", 4) == 0 && strlen(entry->d_name) < 32)
			count += detach_if_on(entry->d_name, device);
	if (dir)
		closedir(dir);
	return count;
}

unsigned loop_detach_from(const char *device)
{
	struct stat status;
	if (stat(device, &status) < 0 || !S_ISBLK(status.st_mode) ||
	    mounts_here(status.st_rdev) > 0)
		return 0;
	return detach_all(status.st_rdev);
}

unsigned loop_detach_below(const char *path)
{
	struct stat status;
	return stat(path, &status) == 0 && mounts_here(status.st_dev) == 1
		       ? detach_all(status.st_dev)
		       : 0;
}
