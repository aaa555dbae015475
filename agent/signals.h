/*
 * The signals that end the worker, as a descriptor that can be waited for.
 */
#ifndef AGENT_SIGNALS_H
#define AGENT_SIGNALS_H

#include <stdbool.h>

#include "platform/error.h"

/* Blocks SIGTERM and SIGINT and opens a descriptor that becomes readable when one comes. Also
 * ignores SIGPIPE. */
int signals_open(struct error *err);

/* The descriptor: to be polled, not read. 0 before signals_open(). */
int signals_fd(void);

/* Takes what has come: true from the first such signal on. Afterwards the descriptor is quiet, so
 * that a last report can be sent. */
bool signals_stop_requested(void);

#endif
