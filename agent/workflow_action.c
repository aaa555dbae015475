/* One action of a workflow file, read and judged: see workflow_inside.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "actions/param.h"
#include "actions/request.h"
#include "agent/workflow_inside.h"
#include "platform/text.h"

static const char *const action_keys[] = {"name",       "image",       "timeout", "command",
					  "volumes",    "environment", "pid",     "namespaces",
					  "on-timeout", "on-failure",  NULL};
static const char *const listed_keys[] = {"id",
					  "name",
					  "image",
					  "cmd",
					  "args",
					  "env",
					  "volumes",
					  "namespaces",
					  "retries",
					  "timeoutSeconds",
					  "workflow_id",
					  "task_id",
					  "agent_id",
					  "executionStart",
					  "executionStop",
					  "duration",
					  NULL};
static const char *const namespace_keys[] = {"network", "pid", NULL};

/* A new one at the end; the workflow's array may move. NULL when there are too many. */
static struct workflow_action *new_action(struct reader *reader, const struct yaml_node *node,
					  const char *task)
{
	struct workflow *workflow = reader->workflow;
	if (workflow->count == WORKFLOW_ACTIONS_MOST) {
		wrong(reader, node, "more than %d actions", WORKFLOW_ACTIONS_MOST);
		return NULL;
	}
	workflow->actions =
		reallocarray(workflow->actions, workflow->count + 1, sizeof(*workflow->actions));
	if (!workflow->actions)
		abort();
	struct workflow_action *action = &workflow->actions[workflow->count++];
	*action = (struct workflow_action){.task = text_dup(task),
					   .place = place_in_file(reader, node),
					   .request = {.workflow_id = text_dup(workflow->name),
						       .id = text_format("%zu", workflow->count)}};
	text_list_add(&action->request.command, NULL);
	text_list_add(&action->request.environment, NULL);
	text_list_add(&action->request.volumes, NULL);
	return action;
}

void drop_actions(struct reader *reader, size_t first)
{
	struct workflow *all = reader->workflow;
	struct workflow *dropped = calloc(1, sizeof(*dropped));
	if (!dropped)
		abort();
	dropped->count = all->count - first;
	dropped->actions = calloc(dropped->count + 1, sizeof(*dropped->actions));
	if (!dropped->actions)
		abort();
	if (dropped->count > 0)
		memcpy(dropped->actions, all->actions + first,
		       dropped->count * sizeof(*dropped->actions));
	all->count = first;
	workflow_free(dropped);
}

static void judge_name(struct reader *reader, const struct yaml_node *node, const char *name,
		       size_t first)
{
	const struct workflow *workflow = reader->workflow;
	for (size_t i = first; i + 1 < workflow->count && !is_unknown(reader, name); i++) {
		if (strcmp(workflow->actions[i].request.name, name) == 0) {
			wrong(reader, yaml_get(node, "name"),
			      "a second action is called %s (the first is in line %u)", name,
			      workflow->actions[i].place.line);
			return;
		}
	}
}

static void read_namespaces(struct reader *reader, const struct yaml_node *node,
			    struct action_request *request)
{
	const struct yaml_node *namespaces = yaml_get(node, "namespaces");
	const char *pid = read_text(reader, node, "pid"), *network = NULL;
	if (!yaml_is_null(namespaces) && namespaces->kind != YAML_MAP) {
		wrong(reader, namespaces, "namespaces must be a map, not %s",
		      yaml_kind_words(namespaces));
	} else if (!yaml_is_null(namespaces)) {
		check_keys(reader, namespaces, namespace_keys, "namespaces");
		network = read_text(reader, namespaces, "network");
		const char *inner = read_text(reader, namespaces, "pid");
		if (inner && inner[0])
			pid = inner;
	}
	request->pid = text_dup(pid ? pid : "");
	request->network = text_dup(network ? network : "");
}

/* The destination of "source:destination[:options]". */
static const char *destination(const char *volume, size_t *ret_size)
{
	const char *colon = strchr(volume, ':');
	const char *start = colon ? colon + 1 : volume;
	*ret_size = strcspn(start, ":");
	return start;
}

static bool same_destination(const char *a, const char *b)
{
	size_t a_size, b_size;
	a = destination(a, &a_size);
	b = destination(b, &b_size);
	return a_size == b_size && strncmp(a, b, a_size) == 0;
}

/* The task's, but for those whose place the action gives to another. */
static void add_task_volumes(const struct task *task, struct action_request *request)
{
	const struct yaml_node *volumes = task->volumes;
	for (size_t i = 0; volumes && volumes->kind == YAML_LIST && i < volumes->count; i++) {
		const struct yaml_node *volume = volumes->items[i];
		bool replaced = volume->kind != YAML_SCALAR;
		for (char **own = request->volumes; !replaced && *own; own++)
			replaced = same_destination(*own, volume->text);
		if (!replaced)
			text_list_add(&request->volumes, volume->text);
	}
}

static void add_environment(struct action_request *request, const struct yaml_node *map,
			    const struct yaml_node *over)
{
	for (size_t i = 0; map && map->kind == YAML_MAP && i < map->count; i++) {
		const struct yaml_node *value = map->items[i];
		if (value->kind != YAML_SCALAR || yaml_get(over, map->keys[i]->text))
			continue;
		auto_free char *entry = text_format("%s=%s", map->keys[i]->text,
						    yaml_is_null(value) ? "" : value->text);
		text_list_add(&request->environment, entry);
	}
}

/* Where the value of a parameter stands: at the action, else at the task, else there is only the
 * action. */
struct judged {
	struct reader *reader;
	const struct yaml_node *node;
	const struct yaml_node *environment; /* a map, or env's list */
	const struct task *task;
	const struct workflow_action *action;
};

static const struct yaml_node *listed_value(const struct yaml_node *list, const char *key)
{
	for (size_t i = 0; list && list->kind == YAML_LIST && i < list->count; i++) {
		const struct yaml_node *name = yaml_get(list->items[i], "key");
		if (name && name->kind == YAML_SCALAR && strcmp(name->text, key) == 0)
			return yaml_get(list->items[i], "value");
	}
	return NULL;
}

/* The parameter that a text begins with: the place of what is wrong with several. */
static const struct param *first_named(const struct action *action, const char *text)
{
	char name[64];
	size_t size = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
	snprintf(name, sizeof(name), "%.*s", (int)(size < 60 ? size : 60), text);
	return param_find(action, name);
}

static bool has_unknown(const struct reader *reader, char *const *environment)
{
	for (; *environment; environment++)
		if (is_unknown(reader, *environment))
			return true;
	return false;
}

static void tell(void *context, const char *key, enum error_kind kind, const char *text)
{
	const struct judged *judged = context;
	const struct action_request *request = &judged->action->request;
	const struct action *action = judged->action->action;
	const struct param *param = key[0] ? param_find(action, key) : first_named(action, text);
	const char *given = param && key[0] ? param_given(param, request) : NULL;
	(void)kind;
	if ((given && is_unknown(judged->reader, given)) ||
	    (!key[0] && has_unknown(judged->reader, request->environment)))
		return;
	const struct yaml_node *at = NULL;
	if (param) {
		at = yaml_get(judged->environment, param->name);
		if (!at)
			at = listed_value(judged->environment, param->name);
		if (!at && judged->task)
			at = yaml_get(judged->task->environment, param->name);
	}
	wrong(judged->reader, at ? at : judged->node, "%s: %s", action->name, text);
}

/* Keys of the action itself that mean nothing to it. What a task says for all is judged apart. */
static void judge_key(struct reader *reader, const struct workflow_action *action,
		      const struct yaml_node *key)
{
	if (action->action->passes_environment || param_find(action->action, key->text) ||
	    is_unknown(reader, key->text))
		return;
	const char *meant = param_nearest(action->action, key->text);
	if (meant)
		wrong(reader, key, "%s has no parameter %.100s, did you mean %s?",
		      action->action->name, key->text, meant);
	else
		doubtful(reader, key, "%s has no parameter %.100s: it is not used",
			 action->action->name, key->text);
}

static void judge_keys(struct reader *reader, const struct workflow_action *action,
		       const struct yaml_node *environment)
{
	if (!environment || environment->kind == YAML_SCALAR)
		return;
	for (size_t i = 0; i < environment->count; i++) {
		const struct yaml_node *key = environment->kind == YAML_MAP
						      ? environment->keys[i]
						      : yaml_get(environment->items[i], "key");
		if (key && key->kind == YAML_SCALAR)
			judge_key(reader, action, key);
	}
}

static void judge_action(struct reader *reader, const struct yaml_node *node,
			 const struct yaml_node *environment, const struct task *task,
			 struct workflow_action *action)
{
	struct error err;
	const struct yaml_node *image = yaml_get(node, "image");
	if (is_unknown(reader, action->request.image))
		return;
	action->action = action_find(&action->request, reader->options->policy, &err);
	if (!action->action) {
		wrong(reader, image, "%s; containers are not run by this version", err.text);
		return;
	}
	struct judged judged = {.reader = reader,
				.node = node,
				.environment = environment,
				.task = task,
				.action = action};
	params_check(action->action, &action->request, reader->options->policy, tell, &judged);
	judge_keys(reader, action, environment);
}

static void read_image(struct reader *reader, const struct yaml_node *node,
		       struct action_request *request)
{
	const struct yaml_node *image = yaml_get(node, "image");
	const char *text = read_text(reader, node, "image");
	if (yaml_is_null(image) || (text && !text[0]))
		wrong(reader, image ? image : node, "the action %s has no image", request->name);
	request->image = text_dup(text ? text : "");
}

/* What runs after a failure: the same image with another command, as far as that means something
 * for an action of ours. */
static void read_handler(struct reader *reader, const struct yaml_node *node, const char *key,
			 const struct workflow_action *action, char ***list)
{
	const struct yaml_node *command = yaml_get(node, key);
	read_text_list(reader, command, key, list);
	if (!*list || !action->action)
		return;
	uint32_t delay_s;
	if (!action_takes_command(action->action) &&
	    command_meaning(*list, &delay_s) == AFTER_NOTHING)
		wrong(reader, command,
		      "%s: %s takes no command; without containers only a reboot or power-off "
		      "can be run",
		      key, action->action->name);
}

void read_action(struct reader *reader, const struct yaml_node *node, const struct task *task,
		 size_t first)
{
	if (node->kind != YAML_MAP) {
		wrong(reader, node, "an action must be a map, not %s", yaml_kind_words(node));
		return;
	}
	struct workflow_action *action = new_action(reader, node, task->name);
	if (!action)
		return;
	struct action_request *request = &action->request;
	const struct yaml_node *environment = yaml_get(node, "environment");
	check_keys(reader, node, action_keys, "an action");
	const char *name = read_name(reader, node, "an action");
	request->name = text_dup(name ? name : "");
	if (name)
		judge_name(reader, node, name, first);
	read_image(reader, node, request);
	request->timeout_s =
		read_number(reader, node, "timeout", WORKFLOW_TIMEOUT_MOST_S, " seconds");
	read_text_list(reader, yaml_get(node, "command"), "command", &request->command);
	read_text_list(reader, yaml_get(node, "volumes"), "volumes", &request->volumes);
	add_task_volumes(task, request);
	read_text_map(reader, environment, "environment");
	add_environment(request, task->environment, environment);
	add_environment(request, environment, NULL);
	read_namespaces(reader, node, request);
	if (request->image[0])
		judge_action(reader, node, environment, task, action);
	read_handler(reader, node, "on-failure", action, &action->on_failure);
	read_handler(reader, node, "on-timeout", action, &action->on_timeout);
}

static void read_env(struct reader *reader, const struct yaml_node *env,
		     struct action_request *request)
{
	static const char *const keys[] = {"key", "value", NULL};
	if (yaml_is_null(env))
		return;
	if (env->kind != YAML_LIST) {
		wrong(reader, env, "env must be a list of maps with key and value, not %s",
		      yaml_kind_words(env));
		return;
	}
	for (size_t i = 0; i < env->count; i++) {
		const struct yaml_node *item = env->items[i];
		if (item->kind != YAML_MAP) {
			wrong(reader, item,
			      "env must be a list of maps with key and value, "
			      "this is %s",
			      yaml_kind_words(item));
			continue;
		}
		check_keys(reader, item, keys, "an item of env");
		const char *key = read_text(reader, item, "key");
		const char *value = read_text(reader, item, "value");
		if (!key || !key[0] || strchr(key, '=')) {
			wrong(reader, item, "an item of env has no key");
			continue;
		}
		auto_free char *entry = text_format("%s=%s", key, value ? value : "");
		text_list_add(&request->environment, entry);
	}
}

void read_listed_action(struct reader *reader, const struct yaml_node *node)
{
	if (node->kind != YAML_MAP) {
		wrong(reader, node, "an action must be a map, not %s", yaml_kind_words(node));
		return;
	}
	struct workflow_action *action = new_action(reader, node, "");
	if (!action)
		return;
	struct action_request *request = &action->request;
	check_keys(reader, node, listed_keys, "an action");
	const char *name = read_name(reader, node, "an action");
	request->name = text_dup(name ? name : "");
	if (name)
		judge_name(reader, node, name, 0);
	read_text(reader, node, "id");
	read_image(reader, node, request);
	request->timeout_s =
		read_number(reader, node, "timeoutSeconds", WORKFLOW_TIMEOUT_MOST_S, " seconds");
	action->retries = read_number(reader, node, "retries", WORKFLOW_RETRIES_MOST, "");
	const char *command = read_text(reader, node, "cmd");
	if (command && command[0])
		text_list_add(&request->command, command);
	read_text_list(reader, yaml_get(node, "args"), "args", &request->command);
	read_text_list(reader, yaml_get(node, "volumes"), "volumes", &request->volumes);
	read_env(reader, yaml_get(node, "env"), request);
	read_namespaces(reader, node, request);
	if (request->image[0])
		judge_action(reader, node, yaml_get(node, "env"), NULL, action);
}

/* A machine that goes down starts the file anew, if it comes back to it: what is behind would never
 * run. */
void judge_order(struct reader *reader, size_t first)
{
	const struct workflow *workflow = reader->workflow;
	for (size_t i = first; i + 1 < workflow->count; i++) {
		const struct workflow_action *action = &workflow->actions[i];
		const char *name = action->action ? action->action->name : "";
		if (strcmp(name, "reboot") == 0 || strcmp(name, "poweroff") == 0 ||
		    strcmp(name, "kexec") == 0 || strcmp(name, "waitdaemon") == 0)
			problems_error(reader->problems, action->place,
				       "%s (%s) must be the last action: what is behind it would "
				       "never run",
				       action->request.name[0] ? action->request.name : "this",
				       name);
	}
}

void judge_unused(struct reader *reader, const struct task *task, size_t first)
{
	const struct workflow *workflow = reader->workflow;
	const struct yaml_node *map = task->environment;
	for (size_t i = 0; map && map->kind == YAML_MAP && i < map->count; i++) {
		bool used = first == workflow->count;
		for (size_t j = first; j < workflow->count && !used; j++) {
			const struct action *action = workflow->actions[j].action;
			used = !action || action->passes_environment ||
			       param_find(action, map->keys[i]->text);
		}
		if (!used)
			doubtful(reader, map->keys[i], "no action of this task has a parameter %s",
				 map->keys[i]->text);
	}
}
