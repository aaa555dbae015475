/*
 * reboot and poweroff: they only say what is to happen. It happens when the server has acknowledged
 * the action's success, see agent/machine.c.
 */
#include "actions/actions.h"

static const struct param no_params[] = {{.name = NULL}};

/* Of a plain command that means reboot ("sleep 5; reboot") the pause is kept. */
static int after(struct action_context *context, enum after_kind kind)
{
	uint32_t delay_s = 0;
	command_meaning(context->request->command, &delay_s);
	context->after = (struct action_after){.kind = kind, .delay_s = delay_s};
	action_summary(context, "the machine %s now",
		       kind == AFTER_REBOOT ? "reboots" : "powers off");
	return 0;
}

static int reboot_run(struct action_context *context, struct error *err)
{
	(void)err;
	return after(context, AFTER_REBOOT);
}

static int poweroff_run(struct action_context *context, struct error *err)
{
	(void)err;
	return after(context, AFTER_POWEROFF);
}

static const char *const reboot_aliases[] = {"reboot-action", NULL};

const struct action action_reboot;
const struct action action_reboot = {
	.name = "reboot",
	.aliases = reboot_aliases,
	.published = true,
	.summary = "Reboot the machine, once the server has confirmed the success of this action.",
	.params = no_params,
	.passes_environment = true,
	.run = reboot_run,
};

const struct action action_poweroff;
const struct action action_poweroff = {
	.name = "poweroff",
	.summary =
		"Power the machine off, once the server has confirmed the success of this action.",
	.params = no_params,
	.passes_environment = true,
	.run = poweroff_run,
};
