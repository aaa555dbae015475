/* waitdaemon, reboot and poweroff: what is to follow, and that nothing follows a success that
 * cannot be kept. */
#include "tests/unit.h"

#include "actions/actions.h"
#include "actions/param.h"
#include "platform/log.h"

/* Runs the action in this process; the context holds what it leaves. */
static int run(const char *name, const char *const *environment, const char *const *command,
	       const char *registries, struct action_context *context, struct error *err)
{
	static char empty[] = "";
	const struct action *action = action_by_name(name);
	const struct action_policy policy = {registries};
	const struct action_request request = {.image = (char *)(uintptr_t)name,
					       .name = empty,
					       .environment = (char **)(uintptr_t)environment,
					       .command = (char **)(uintptr_t)command,
					       .volumes = (char *[]){NULL}};
	void *params = NULL;
	*context = (struct action_context){.request = &request, .policy = &policy};
	if (params_parse(action, &request, false, &params, err) < 0)
		return -1;
	context->params = params;
	int result = action->run(context, err);
	free(params);
	return result;
}

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})
static const char *const nothing[] = {NULL};

static void runs_the_inner_image_later(void **state)
{
	(void)state;
	struct error err;
	struct action_context context;
	assert_ok(run("waitdaemon",
		      LIST("IMAGE=quay.io/tinkerbell/actions/reboot:latest", "WAIT_SECONDS=3"),
		      nothing, "all", &context, &err));
	assert_int_equal(context.after.kind, AFTER_RUN);
	assert_int_equal(context.after.delay_s, 3);
	assert_string_equal(context.after.image, "quay.io/tinkerbell/actions/reboot:latest");
	assert_contains(context.summary, "reboot");
	/* Any image whose command plainly means it; ten seconds are the original's default. */
	assert_ok(run(
		"waitdaemon", LIST("IMAGE=alpine"),
		LIST("sh", "-c", "echo 1 > /proc/sys/kernel/sysrq && echo b > /proc/sysrq-trigger"),
		"all", &context, &err));
	assert_int_equal(context.after.delay_s, 10);
	assert_ok(run("waitdaemon", LIST("IMAGE=alpine"), LIST("poweroff"), "all", &context, &err));
	assert_contains(context.summary, "poweroff");
}

static void refuses_what_cannot_follow(void **state)
{
	(void)state;
	struct error err;
	struct action_context context;
	assert_fails(run("waitdaemon", LIST("IMAGE=registry.example/unknown:1"), nothing, "all",
			 &context, &err),
		     ERROR_UNSUPPORTED, "registry.example/unknown:1");
	assert_fails(run("waitdaemon", LIST("IMAGE=waitdaemon"), nothing, "all", &context, &err),
		     ERROR_INPUT, "waitdaemon");
	assert_fails(run("waitdaemon", nothing, nothing, "all", &context, &err), ERROR_INPUT,
		     "IMAGE is missing");
	/* The inner action's own parameters are checked now, not when nobody listens any more. */
	assert_fails(run("waitdaemon", LIST("IMAGE=quay.io/x/image2disk", "IMG_URL=http://h/x"),
			 nothing, "all", &context, &err),
		     ERROR_INPUT, "DEST_DISK is missing");
	assert_fails(run("waitdaemon", LIST("IMAGE=reboot", "WAIT_SECONDS=soon"), nothing, "all",
			 &context, &err),
		     ERROR_INPUT, "WAIT_SECONDS=soon");
	/* The policy holds for what is inside, too. */
	assert_fails(run("waitdaemon", LIST("IMAGE=quay.io/tinkerbell/actions/cexec"), nothing,
			 "none", &context, &err),
		     ERROR_UNSUPPORTED, "quay.io/tinkerbell/actions/cexec");
	char longest[700] = "IMAGE=registry.example/";
	memset(longest + strlen(longest), 'x', 600);
	assert_true(run("waitdaemon", LIST(longest), nothing, "all", &context, &err) < 0);
}

static void reboots_and_powers_off(void **state)
{
	(void)state;
	struct error err;
	struct action_context context;
	assert_ok(run("reboot", nothing, nothing, "all", &context, &err));
	assert_int_equal(context.after.kind, AFTER_REBOOT);
	assert_int_equal(context.after.delay_s, 0);
	assert_ok(run("poweroff", nothing, LIST("sh", "-c", "sleep 4; poweroff"), "all", &context,
		      &err));
	assert_int_equal(context.after.kind, AFTER_POWEROFF);
	assert_int_equal(context.after.delay_s, 4);
	/* EKS Anywhere's reboot has parameters of its own. */
	assert_ok(run("reboot", LIST("ANYTHING=1"), nothing, "all", &context, &err));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(runs_the_inner_image_later),
		cmocka_unit_test(refuses_what_cannot_follow),
		cmocka_unit_test(reboots_and_powers_off),
	};
	log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	return cmocka_run_group_tests_name("waitdaemon", tests, NULL, NULL);
}
