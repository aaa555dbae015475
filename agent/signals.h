/*
 * The signals that end the worker, as a descriptor that can be waited for.
 */
#ifndef AGENT_SIGNALS_H
#define AGENT_SIGNALS_H

#include <stdbool.h>
#include <stdint.h>

#include "platform/error.h"

/* Blocks SIGTERM, SIGINT and (unless it is ignored) SIGHUP and opens a descriptor that becomes
 * readable when one comes. Also ignores SIGPIPE, and takes SIGALRM for itself. To be called before
 * there are threads. */
int signals_open(struct error *err);

/* The descriptor: to be polled, not read. 0 before signals_open(). */
int signals_fd(void);

/* Takes what has come: true from the first such signal on. Afterwards the descriptor is quiet until
 * the next signal, so that a last report can be sent. */
bool signals_stop_requested(void);

/*
 * Between these two a report is under way that would be lost: the first signal does not make the
 * descriptor readable at once, but after so many seconds, or when a second one comes. That, and
 * only that, ends a waiting call, and makes signals_grace_over() true.
 */
void signals_hold(unsigned seconds);
void signals_release(void);
bool signals_grace_over(void);

#endif
