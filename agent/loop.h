/*
 * The agent's loop: get an action, report RUNNING, run it, report how it ended, go on.
 */
#ifndef AGENT_LOOP_H
#define AGENT_LOOP_H

#include "agent/transport.h"

/* Works until a signal asks to stop (see signals.h) or the transport says that there is nothing
 * more to come. Returns the exit status. */
int loop_run(struct transport *transport, const struct config *config);

#endif
