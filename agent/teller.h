/*
 * Tells the server how far an action is while it runs: RUNNING again, with a fresh message. Over a
 * connection and in a thread of its own, so that a slow server never holds up the action. An action
 * that says nothing new is told of as well, less often: that is how its end is noticed when the
 * workflow was deleted.
 */
#ifndef AGENT_TELLER_H
#define AGENT_TELLER_H

#include "agent/config.h"
#include "agent/report.h"
#include "agent/transport.h"

struct teller;

/*
 * Begins for an action whose RUNNING (first) was acknowledged. All is borrowed until teller_stop().
 * NULL when progress-interval is 0 or there is no thread to be had: the functions below take it.
 */
struct teller *teller_start(const struct config *config, const struct action_request *request,
			    const struct transport_task *task, const struct report *first);

/* What the action says of itself. context is the teller: fit for struct run_observer. */
void teller_progress(void *context, const struct action_progress *progress);

/* Becomes readable when the server has said that the workflow is gone: the action is to be ended.
 * -1 without a teller. */
int teller_gone_fd(const struct teller *teller);

/*
 * Ends it and frees. Nothing may be said of an action while or after its final report is, so this
 * waits until a report under way is answered: for a moment; then the call is cut, and with it its
 * connection, so that nothing of it can reach the server later. True: what became of a report is
 * not known, the server may yet store it.
 */
bool teller_stop(struct teller *teller);

#endif
