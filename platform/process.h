/*
 * Processes: starting a program with its own cgroup, mount namespace and descriptors, waiting for
 * it with a deadline, and ending it with every process that it has left behind.
 */
#ifndef PLATFORM_PROCESS_H
#define PLATFORM_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "platform/error.h"

/*
 * A group of processes that can be ended as one: a cgroup v2 (cgroup.kill) where there is one, else
 * the process group; and whatever was re-parented to us (the caller is made a subreaper), which
 * with a cgroup is what has left it. Zero-initialise.
 */
struct process_group {
	char name[224];
	char cgroup[512]; /* directory, "" without cgroup v2 */
	pid_t leader;     /* pid and process group of the first process; 0 before it is started */
	bool stuck;       /* a process of it did not end when it was killed */
};

/*
 * Prepares a group. name (letters, digits, '-') becomes the cgroup's name below that of the worker.
 * What is left of a group of that name from a former life is ended first. Without cgroup v2 this
 * succeeds and the fallback is used.
 */
int process_group_open(struct process_group *group, const char *name, struct error *err);

/* Ends every process of the group with SIGKILL and waits (at most 10 s) until all are gone.
 * ERROR_TIMEOUT names one that stays, and where in the kernel it waits. */
int process_group_kill(struct process_group *group, struct error *err);

/* Kills what is left, and removes the cgroup when nothing is. What process_group_kill() has waited
 * for in vain is not waited for again. Safe to call on a zeroed group. */
void process_group_close(struct process_group *group);

/*
 * Ends and removes every group of a former life of the same owner; without cgroups, every process
 * that has a variable of its environment from them. Called once at start. owner tells two workers
 * on one machine apart (their groups' names begin with it); what is not a letter or digit in it
 * becomes '-'.
 */
void process_groups_claim(const char *owner);

/* Has the kernel take this process last when memory runs out. Those that are started with a group
 * are taken first, before the machine's other services. */
void process_outlive_others(void);

struct process_options {
	const char *const *argv;        /* argv[0] is the program, found in PATH */
	const char *const *environment; /* NULL: the caller's */
	int stdin_fd;                   /* < 0: /dev/null */
	int stdout_fd;                  /* < 0: the caller's */
	int stderr_fd;
	const int *inherit; /* descriptors that become 3, 4, … in the program; ended by -1; NULL:
			       none */
	bool new_mount_namespace;    /* private: no mount of the program is seen outside, all vanish
					with it */
	struct process_group *group; /* the program becomes its leader; NULL: none */
	const char *working_directory; /* NULL: the caller's */
	const char *chroot;            /* NULL: none */
	bool die_with_parent;
	bool unattended; /* process_wait() will not be called for it */
};

/* Starts a program; -1 also when the program cannot be executed (ERROR_NOT_FOUND, ERROR_DENIED …;
 * err names it). */
int process_start(const struct process_options *options, pid_t *ret_pid, struct error *err);

/* How a process ended. */
struct process_end {
	bool signalled;
	int code; /* exit status, or the signal's number */
};

/* Waits for the end of pid; timeout_ms < 0 waits for ever. Returns 1 when it ended, 0 when the time
 * is over. */
int process_wait(pid_t pid, int64_t timeout_ms, struct process_end *ret_end, struct error *err);

/* 0 for exit status 0, else ERROR_FAILED "exit status 3" or ERROR_CRASHED "killed by signal 11
 * (Segmentation fault)". */
int process_check(const struct process_end *end, struct error *err);

/* Starts, waits, checks: for helper programs whose output goes to ours. */
int process_run(const char *const *argv, struct error *err);

#endif
