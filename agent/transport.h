/*
 * Where actions come from and reports go to. The loop sees only this; transport_grpc.c is the Tink
 * server of the current generation.
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

/* What a report is about: as the action came. */
struct transport_task {
	char *task_id;
	char *agent_id;
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
	const char *server; /* for messages; owned by the transport */
};

static inline void transport_close(struct transport *transport)
{
	transport->operations->close(transport);
}
AUTO_DEFINE(transport, struct transport *, transport_close)
#define auto_transport __attribute__((cleanup(cleanup_transport)))

static inline void transport_task_free(struct transport_task *task)
{
	free(task->task_id);
	free(task->agent_id);
	*task = (struct transport_task){.task_id = NULL};
}

/* Opens the transport that the configuration asks for. cancel_fd ends waiting calls when it becomes
 * readable. */
int transport_open(const struct config *config, int cancel_fd, struct transport **ret_transport,
		   struct error *err);

#endif
