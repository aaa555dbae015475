/*
 * What happens to the machine after an action's success is acknowledged: reboot, power off, or
 * another action after a while.
 */
#ifndef AGENT_MACHINE_H
#define AGENT_MACHINE_H

#include "actions/action.h"
#include "agent/config.h"

/*
 * Does what after says. A reboot or power-off with a delay, and an action to be run later, go on in
 * a process of their own that outlives this call; without a delay a reboot does not return when it
 * works.
 */
int machine_after(const struct action_after *after, const struct action_request *request,
		  const struct config *config, struct error *err);

/* The process started by machine_after(): waits and acts. Returns the exit status. argc and argv
 * are those behind "later". */
int machine_later_main(const struct config *config, int argc, char *const *argv);

#endif
