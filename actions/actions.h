/*
 * The list of actions, and which of them an image name means.
 */
#ifndef ACTIONS_ACTIONS_H
#define ACTIONS_ACTIONS_H

#include "actions/action.h"

/* All actions, ended by NULL, in the order of the documentation. */
extern const struct action *const actions[];

/* Whether native actions stand in for published images, and from which registries. */
struct action_policy {
	const char *native_registries; /* "all" (NULL too), "none", or a comma list of registries:
					  "quay.io,127.0.0.1" */
};

/*
 * The parts of an image reference. registry is "" when there is none ("alpine:3.18"); name is the
 * last path component without tag and digest. False when the reference is not one (empty, blanks,
 * too long).
 */
struct image_name {
	char registry[256];
	char name[128];
	bool embedded; /* bare, or below 127.0.0.1/embedded/ */
};
bool image_name_parse(const char *image, struct image_name *ret_name);

/*
 * The action that request->image means; when it is none of ours but request->command plainly means
 * to reboot or to power off, that action. NULL with ERROR_UNSUPPORTED otherwise: the text names the
 * image and lists what is known.
 */
const struct action *action_find(const struct action_request *request,
				 const struct action_policy *policy, struct error *err);

/* The action of that very name (or alias); NULL when there is none. */
const struct action *action_by_name(const char *name);

/* Whether the request's command tells the action what to do: then running it with another command
 * is something else, and not the same work once more. */
bool action_takes_command(const struct action *action);

/*
 * What a command plainly means: AFTER_REBOOT or AFTER_POWEROFF for reboot, poweroff, shutdown and
 * for shells that only do this, by these programs or by writing b or o to /proc/sysrq-trigger;
 * AFTER_NOTHING for everything else. *ret_delay_s is what it sleeps before.
 */
enum after_kind command_meaning(char *const *command, uint32_t *ret_delay_s);

/* "archive2disk, cexec, …": for messages. Returns out. */
char *action_names(char *out, size_t out_size);

#endif
