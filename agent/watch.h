/*
 * A transport that goes between the loop and another one, and puts what passes into the status (see
 * status.h): whether the server answers, what it hands out, what is reported. The loop itself says
 * nothing of it.
 */
#ifndef AGENT_WATCH_H
#define AGENT_WATCH_H

#include "agent/transport.h"

/* Takes inner, which is closed with what is returned. */
struct transport *watch_transport(struct transport *inner);

#endif
