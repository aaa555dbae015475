/* Partition tables for tests, by sfdisk. */
#ifndef TESTS_SFDISK_H
#define TESTS_SFDISK_H

#include "tests/unit.h"

#include "platform/process.h"

/* Writes what the script says to a device or file, and tells the kernel nothing. The script is put
 * into the folder. */
static inline void run_sfdisk(const char *device, const char *script, const char *folder)
{
	struct error err;
	char *path = path_in(folder, "sfdisk-script");
	file_write(path, script, strlen(script));
	int in = open(path, O_RDONLY | O_CLOEXEC);
	const struct process_options options = {
		.argv = (const char *const[]){"sfdisk", "-q", "--no-reread", "--no-tell-kernel",
					      device, NULL},
		.stdin_fd = in,
		.stdout_fd = -1,
		.stderr_fd = -1};
	pid_t pid;
	struct process_end end;
	assert_ok(process_start(&options, &pid, &err));
	assert_ok(process_wait(pid, -1, &end, &err));
	assert_ok(process_check(&end, &err));
	close(in);
	free(path);
}

#endif
