/*
 * Where actions come from and reports go to. The loop sees only this; transport.c is the Tink
 * server of either generation.
 */
#ifndef AGENT_TRANSPORT_H
#define AGENT_TRANSPORT_H

#include "actions/action.h"
#include "agent/report.h"
#include "platform/cleanup.h"

enum transport_answer {
	TRANSPORT_OK,      /* an action is there; the report was taken */
	TRANSPORT_NOTHING, /* nothing to do now: ask again; err says the server's words */
	TRANSPORT_RETRY,   /* no answer, or one that another try may change; err says why */
	TRANSPORT_GONE,    /* of a report: the server will never take it (workflow deleted, action
			      unknown) */
	TRANSPORT_CANCELLED,
	TRANSPORT_END, /* of get(): there is nothing more to come, ever */
};

/* Tink servers speak one of two: each knows its own methods only. */
enum transport_generation {
	TRANSPORT_CURRENT, /* v0.17 and later */
	TRANSPORT_OLDER    /* up to v0.12: it throws the text of a report away */
};

/* What a report is about: as the action came. */
struct transport_task {
	enum transport_generation generation;
	char *task_id; /* of the older generation: the task's name */
	char *agent_id;
	/* Commands for a second run of the same image after a failure, after a timeout: lists ended
	 * by NULL, or NULL. Of the older generation only. */
	char **on_failure;
	char **on_timeout;
};

struct transport;

struct transport_operations {
	/* Asks for the next action; may wait for more than a minute. The request and task are the
	 * caller's to free. */
	enum transport_answer (*get)(struct transport *transport,
				     struct action_request *ret_request,
				     struct transport_task *ret_task, struct error *err);
	/* Sends one report and waits for its acknowledgement. */
	enum transport_answer (*report)(struct transport *transport,
					const struct action_request *request,
					const struct transport_task *task,
					const struct report *report, struct error *err);
	void (*close)(struct transport *transport);
};

struct transport {
	const struct transport_operations *operations;
	const char *server; /* for messages: the address in use; owned by the transport, changes in
			       its calls */
};

static inline void transport_close(struct transport *transport)
{
	transport->operations->close(transport);
}
AUTO_DEFINE(transport, struct transport *, transport_close)
#define auto_transport __attribute__((cleanup(cleanup_transport)))

void transport_task_free(struct transport_task *task);

/* Opens the transport that the configuration (borrowed, made ready by tls_prepare()) asks for.
 * cancel_fd ends waiting calls when it becomes readable. Several may be open, each in a thread of
 * its own. */
int transport_open(const struct config *config, int cancel_fd, struct transport **ret_transport,
		   struct error *err);

#endif
