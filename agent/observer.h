/* Who watches a running action: its output into the log, or its progress onto a terminal. */
#ifndef AGENT_OBSERVER_H
#define AGENT_OBSERVER_H

#include "agent/run.h"

struct teller;

/* Every line of output becomes a log line with the action's name; progress goes to the teller (may
 * be NULL). Both must outlive the run. */
struct run_observer observer_log(const struct action_request *request, struct teller *teller);

/* Output as it is on standard error; progress as one line that is drawn over when standard error is
 * a terminal. */
struct run_observer observer_terminal(void);

/* Leaves a clean line behind. */
void observer_terminal_end(void);

#endif
