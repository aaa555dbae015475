/* The transport that looks on: see watch.h. */
#include "agent/watch.h"

#include <stdlib.h>

#include "agent/status.h"

struct watch {
	struct transport base;
	struct transport *inner;
};

static void tell(struct watch *watch, enum transport_answer answer, const struct error *err)
{
	/* It may have gone on to another of several addresses. */
	watch->base.server = watch->inner->server;
	if (answer == TRANSPORT_RETRY)
		status_server(watch->inner->server, STATUS_ERROR, err->text);
	else if (answer != TRANSPORT_CANCELLED)
		status_server(watch->inner->server, STATUS_ANSWERS, "");
}

static enum transport_answer get(struct transport *transport, struct action_request *ret_request,
				 struct transport_task *ret_task, struct error *err)
{
	struct watch *watch = (struct watch *)transport;
	status_asked();
	enum transport_answer answer =
		watch->inner->operations->get(watch->inner, ret_request, ret_task, err);
	tell(watch, answer, err);
	if (answer == TRANSPORT_OK)
		status_received(ret_request);
	return answer;
}

static enum transport_answer report(struct transport *transport,
				    const struct action_request *request,
				    const struct transport_task *task, const struct report *what,
				    struct error *err)
{
	struct watch *watch = (struct watch *)transport;
	/* Before it is answered: how it ended is seen even when the server is away. */
	if (what->state != REPORT_RUNNING)
		status_reported(what);
	enum transport_answer answer =
		watch->inner->operations->report(watch->inner, request, task, what, err);
	tell(watch, answer, err);
	if (answer == TRANSPORT_OK)
		status_reported(what);
	return answer;
}

static void close_both(struct transport *transport)
{
	struct watch *watch = (struct watch *)transport;
	transport_close(watch->inner);
	free(watch);
}

struct transport *watch_transport(struct transport *inner)
{
	static const struct transport_operations operations = {
		.get = get, .report = report, .close = close_both};
	struct watch *watch = calloc(1, sizeof(*watch));
	if (!watch)
		abort();
	*watch = (struct watch){.base = {.operations = &operations, .server = inner->server},
				.inner = inner};
	status_server(inner->server, STATUS_CONNECTING, "");
	return &watch->base;
}
