/*
 * waitdaemon: reports success first and runs another action a while later, so that the server knows
 * before the machine is gone. The inner action is found and its parameters are checked now: a
 * success that cannot be followed by it would be a lie.
 */
#include <inttypes.h>
#include <string.h>

#include "actions/actions.h"
#include "actions/param.h"

struct waitdaemon {
	const char *image;
	uint64_t wait_s;
};

static const struct param params[] = {
	{"IMAGE", PARAM_TEXT, PARAM_AT(struct waitdaemon, image), .flags = PARAM_REQUIRED,
	 .doc = "image of the action to run afterwards; its command and parameters are those of "
		"this one"},
	{"WAIT_SECONDS", PARAM_UINT, PARAM_AT(struct waitdaemon, wait_s), .fallback = "10",
	 .max = 86400, .doc = "how long to wait after the success is reported"},
	{.name = NULL},
};

/* The action that is to run later; NULL when it could not. */
static const struct action *find_inner(const struct action_context *context, struct error *err)
{
	const struct waitdaemon *waitdaemon = context->params;
	struct action_request inner = *context->request;
	char image[AFTER_IMAGE_SIZE];
	if (strlen(waitdaemon->image) >= sizeof(image)) {
		error_set(err, ERROR_INPUT, "IMAGE is longer than %zu bytes", sizeof(image) - 1);
		return NULL;
	}
	strcpy(image, waitdaemon->image);
	inner.image = image;
	const struct action *action = action_find(&inner, context->policy, err);
	if (!action) {
		error_wrap(err, "IMAGE");
		return NULL;
	}
	if (strcmp(action->name, "waitdaemon") == 0) {
		error_set(err, ERROR_INPUT, "IMAGE=%s: waitdaemon cannot wait for itself", image);
		return NULL;
	}
	struct error problems = {.kind = ERROR_NONE};
	params_check(action, &inner, context->policy, params_collect, &problems);
	if (problems.kind != ERROR_NONE) {
		*err = problems;
		error_wrap(err, "%s", action->name);
		return NULL;
	}
	return action;
}

static int check(const struct action_context *context, struct error *err)
{
	return find_inner(context, err) ? 0 : -1;
}

static int run(struct action_context *context, struct error *err)
{
	const struct waitdaemon *waitdaemon = context->params;
	const struct action *action = find_inner(context, err);
	if (!action)
		return -1;
	context->after =
		(struct action_after){.kind = AFTER_RUN, .delay_s = (uint32_t)waitdaemon->wait_s};
	strcpy(context->after.image, waitdaemon->image);
	action_summary(context, "%s runs in %" PRIu64 " s", action->name, waitdaemon->wait_s);
	return 0;
}

const struct action action_waitdaemon;
const struct action action_waitdaemon = {
	.name = "waitdaemon",
	.published = true,
	.summary = "Report success, then run another action after a pause.",
	.params = params,
	.params_size = sizeof(struct waitdaemon),
	.passes_environment = true,
	.check = check,
	.run = run,
};
