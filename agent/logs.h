/*
 * Where the worker's log goes besides standard error: files in log-dir, and syslog with the
 * kernel's messages.
 */
#ifndef AGENT_LOGS_H
#define AGENT_LOGS_H

#include "agent/config.h"

/*
 * Begins (after signals_open(): there are threads). What cannot be had is said in the log and done
 * without: a worker without a syslog works. config is borrowed until logs_stop().
 */
void logs_start(const struct config *config);

/* The file that the log goes to, "" when there is none. Lives as long as the process. */
const char *logs_path(void);

/* tls-ca is a file now: syslog by TLS begins. */
void logs_trust(const struct config *config);

/* The same for a process beside the worker: no files, and the kernel's messages are the worker's.
 */
void logs_start_beside(const struct config *config);

/* Waits, for 2 s at most, until what was logged is sent: the machine is about to go down. */
void logs_flush(void);

/* Sends what is left, for 2 s at most, and ends. Lines then go to standard error only. */
void logs_stop(void);

#endif
