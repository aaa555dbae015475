/* Workflow files read and checked: see workflow_file.h. What an action in them says is in
 * workflow_action.c. */
#include "agent/workflow_file.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "actions/request.h"
#include "agent/template.h"
#include "agent/workflow_inside.h"
#include "agent/workflow_objects.h"
#include "platform/text.h"
#include "platform/yaml.h"

static void list_free(char **list)
{
	for (char **entry = list; entry && *entry; entry++)
		free(*entry);
	free(list);
}

void workflow_free(struct workflow *workflow)
{
	for (size_t i = 0; i < workflow->count; i++) {
		struct workflow_action *action = &workflow->actions[i];
		action_request_free(&action->request);
		free(action->task);
		list_free(action->on_failure);
		list_free(action->on_timeout);
	}
	free(workflow->actions);
	free(workflow->name);
	free(workflow);
}

/* Tasks */

static const char *const task_keys[] = {"name",        "worker",  "volumes",
					"environment", "actions", NULL};

static void read_actions(struct reader *reader, const struct yaml_node *node,
			 const struct task *task, bool ours)
{
	const struct yaml_node *list = yaml_get(node, "actions");
	if (yaml_is_null(list)) {
		wrong(reader, node, "the task %s has no actions", task->name);
		return;
	}
	if (list->kind != YAML_LIST) {
		wrong(reader, list, "actions must be a list, not %s", yaml_kind_words(list));
		return;
	}
	size_t first = reader->workflow->count;
	for (size_t i = 0; i < list->count; i++)
		read_action(reader, list->items[i], task, first);
	judge_unused(reader, task, first);
	judge_order(reader, first);
	/* What is another machine's was judged, and is not for us. */
	if (!ours)
		drop_actions(reader, first);
}

/* Whether the task is for this machine. Without an id of ours it is, when there is only one
 * worker in the file. */
static bool is_ours(const struct reader *reader, const struct yaml_node *tasks, const char *worker)
{
	const char *id = reader->options->id;
	if (!worker || !worker[0] || strstr(worker, TEMPLATE_UNKNOWN))
		return true;
	if (id[0])
		return strcasecmp(worker, id) == 0;
	for (size_t i = 0; i < tasks->count; i++) {
		const struct yaml_node *other = yaml_get(tasks->items[i], "worker");
		if (other && other->kind == YAML_SCALAR && strcasecmp(other->text, worker) != 0)
			return false;
	}
	return true;
}

static void judge_task_name(struct reader *reader, const struct yaml_node *tasks, size_t number,
			    const char *name)
{
	for (size_t i = 0; name && i < number; i++) {
		const struct yaml_node *other = yaml_get(tasks->items[i], "name");
		if (other && other->kind == YAML_SCALAR && strcmp(other->text, name) == 0)
			wrong(reader, yaml_get(tasks->items[number], "name"),
			      "a second task is called %s (the first is in line %u)", name,
			      place_in_file(reader, other).line);
	}
}

static bool read_task(struct reader *reader, const struct yaml_node *tasks, size_t number)
{
	const struct yaml_node *node = tasks->items[number];
	if (node->kind != YAML_MAP) {
		wrong(reader, node, "a task must be a map, not %s", yaml_kind_words(node));
		return false;
	}
	check_keys(reader, node, task_keys, "a task");
	struct task task = {.node = node,
			    .name = read_name(reader, node, "a task"),
			    .environment = yaml_get(node, "environment"),
			    .volumes = yaml_get(node, "volumes")};
	judge_task_name(reader, tasks, number, task.name);
	if (!task.name)
		task.name = "";
	const char *worker = read_text(reader, node, "worker");
	if (!yaml_key(node, "worker"))
		doubtful(reader, node, "the task %s has no worker: a server refuses that",
			 task.name);
	read_text_map(reader, task.environment, "environment");
	read_text_list(reader, task.volumes, "volumes", NULL);
	bool ours = is_ours(reader, tasks, worker);
	read_actions(reader, node, &task, ours);
	return ours;
}

static void no_task(struct reader *reader, const struct yaml_node *tasks)
{
	char workers[300] = "";
	size_t used = 0;
	for (size_t i = 0; i < tasks->count && used < sizeof(workers); i++) {
		const struct yaml_node *worker = yaml_get(tasks->items[i], "worker");
		if (worker && worker->kind == YAML_SCALAR)
			used += (size_t)snprintf(workers + used, sizeof(workers) - used, "%s%s",
						 used ? ", " : "", worker->text);
	}
	if (reader->options->id[0])
		wrong(reader, tasks, "no task is for this machine, %s (there are tasks for %s)",
		      reader->options->id, workers);
	else
		wrong(reader, tasks, "there are tasks for %s: say by --id whose are to be run",
		      workers);
}

static const char *const template_keys[] = {"version",        "name",  "id",
					    "global_timeout", "tasks", NULL};

static void read_template(struct reader *reader, const struct yaml_node *root)
{
	check_keys(reader, root, template_keys, "a Template");
	const char *name = read_name(reader, root, "the workflow");
	reader->workflow->name = text_dup(name ? name : "");
	const char *version = read_text(reader, root, "version");
	if (version && strcmp(version, "0.1") != 0)
		doubtful(reader, yaml_get(root, "version"), "version is %s; 0.1 is known", version);
	reader->workflow->timeout_s =
		read_number(reader, root, "global_timeout", WORKFLOW_TIMEOUT_MOST_S, " seconds");
	const struct yaml_node *tasks = yaml_get(root, "tasks");
	if (yaml_is_null(tasks) || tasks->kind != YAML_LIST || tasks->count == 0) {
		wrong(reader, tasks ? tasks : root, "tasks must be a list of tasks, not %s",
		      tasks && tasks->kind == YAML_LIST ? "an empty one" : yaml_kind_words(tasks));
		return;
	}
	bool ours = false;
	for (size_t i = 0; i < tasks->count; i++)
		ours |= read_task(reader, tasks, i);
	if (!ours)
		no_task(reader, tasks);
}

static void read_list(struct reader *reader, const struct yaml_node *root)
{
	reader->workflow->name = text_dup("workflow");
	for (size_t i = 0; i < root->count; i++)
		read_listed_action(reader, root->items[i]);
	if (root->count == 0)
		wrong(reader, root, "there are no actions");
	judge_order(reader, 0);
}

/* What the YAML of text says, by its places in the file. */
static struct yaml *parse_yaml(const struct text_map *map, struct problems *problems)
{
	auto_problems struct problems here = {.count = 0};
	struct yaml *yaml = yaml_parse(map->text, map->size, &here);
	for (size_t i = 0; i < here.count; i++)
		problems_error(problems, text_map_resolve(map, here.list[i].place), "%s",
			       here.list[i].text);
	return yaml;
}

static struct workflow *read_workflow(const struct text_map *map, struct yaml *yaml,
				      const struct workflow_options *options,
				      struct problems *problems)
{
	const struct yaml_node *root = yaml_document(yaml, 0);
	struct reader reader = {.map = map, .options = options, .problems = problems};
	if (yaml_is_null(root)) {
		problems_error(problems, text_map_place(map, 0), "the workflow is empty");
		return NULL;
	}
	if (yaml_document(yaml, 1)) {
		wrong(&reader, yaml_document(yaml, 1), "a second document: a workflow is one");
		return NULL;
	}
	if (root->kind == YAML_SCALAR) {
		wrong(&reader, root,
		      "a workflow is a Template (a map with tasks) or a list of "
		      "actions, not a text");
		return NULL;
	}
	reader.workflow = calloc(1, sizeof(*reader.workflow));
	if (!reader.workflow)
		abort();
	if (root->kind == YAML_LIST)
		read_list(&reader, root);
	else
		read_template(&reader, root);
	return reader.workflow;
}

/* From the text of a Template or list: rendered, then read. */
static struct workflow *from_source(const struct text_map *source, const struct value *values,
				    const struct workflow_options *options, bool render,
				    struct problems *problems)
{
	auto_buffer struct buffer out = {.cap = TEMPLATE_OUTPUT_MOST + 1};
	struct text_map rendered = {.text = NULL};
	struct workflow *workflow = NULL;
	if (render && !template_render(source, values, &out, &rendered, problems))
		return NULL;
	const struct text_map *map = render ? &rendered : source;
	auto_yaml struct yaml *yaml = parse_yaml(map, problems);
	if (yaml)
		workflow = read_workflow(map, yaml, options, problems);
	text_map_free(&rendered);
	return workflow;
}

static bool begins_line(const char *text, size_t at)
{
	return at == 0 || text[at - 1] == '\n';
}

/* Whether the first line that says something begins an item of a list. */
static bool looks_like_list(const char *text)
{
	for (;;) {
		text += strspn(text, " \t\r\n");
		if (text[0] != '#' && text[0] != '%' && strncmp(text, "---", 3) != 0)
			return text[0] == '[' || (text[0] == '-' && strchr(" \t\r\n", text[1]));
		text += strcspn(text, "\n");
	}
}

/* Whether it means to be an object, even if it is no YAML. */
static bool looks_like_object(const char *text)
{
	const char *kind = text;
	while ((kind = strstr(kind, "kind:")) != NULL) {
		const char *value = kind + 5 + strspn(kind + 5, " \t\"'");
		if (begins_line(text, (size_t)(kind - text)) && strncmp(value, "Template", 8) == 0)
			return true;
		kind += 5;
	}
	return false;
}

static struct workflow *from_objects(const struct yaml *yaml, const struct text_map *file,
				     const struct workflow_options *options,
				     struct problems *problems)
{
	struct text_map map;
	auto_value struct value *values = value_new(VALUE_MAP);
	const char *text = objects_template(yaml, file, &map, problems);
	if (!text)
		return NULL;
	objects_values(yaml, values);
	value_merge(values, options->values);
	struct workflow *workflow = from_source(&map, values, options, true, problems);
	text_map_free(&map);
	return workflow;
}

static struct workflow *parse(const struct text_map *file, const struct workflow_options *options,
			      struct problems *problems)
{
	auto_problems struct problems unseen = {.count = 0};
	bool list = looks_like_list(file->text);
	const char *open = strstr(file->text, "{{");
	if (list) {
		if (open && !options->render_list)
			problems_warning(problems,
					 text_map_place(file, (size_t)(open - file->text)),
					 "a list is taken as it is, {{ too, unless values are "
					 "given by --set or --values");
		return from_source(file, options->values, options, options->render_list, problems);
	}
	bool object = looks_like_object(file->text);
	auto_yaml struct yaml *yaml =
		object ? parse_yaml(file, problems) : yaml_parse(file->text, file->size, &unseen);
	if (object && !yaml)
		return NULL;
	if (yaml && objects_have_template(yaml))
		return from_objects(yaml, file, options, problems);
	return from_source(file, options->values, options, true, problems);
}

struct workflow *workflow_parse(const char *text, size_t size,
				const struct workflow_options *options, struct problems *problems)
{
	static const struct place whole = {.line = 0};
	struct text_map file;
	if (size > WORKFLOW_BYTES_MOST) {
		problems_error(problems, whole, "it has more than %d KiB",
			       WORKFLOW_BYTES_MOST >> 10);
		return NULL;
	}
	if (!text_is_utf8(text, size)) {
		problems_error(problems, whole, "it is not a text in UTF-8");
		return NULL;
	}
	size_t mark = text_byte_order_mark(text, size);
	text += mark;
	size -= mark;
	auto_free char *ended = text_dup_size(text, size);
	text_map_init(&file, ended, size, NULL);
	struct workflow *workflow = parse(&file, options, problems);
	text_map_free(&file);
	problems_sort(problems);
	return workflow;
}
