/* Files, values and settings of workflows: see workflow_load.h. */
#include "agent/workflow_load.h"

#include <string.h>
#include <unistd.h>

#include "platform/fetch.h"
#include "platform/text.h"
#include "platform/yaml.h"

enum {
	RETRY_MS = 30000
};

const char *workflow_wanted(const struct config *config)
{
	const char *file = config_text(config, SETTING_WORKFLOW_FILE);
	const char *transport = config_text(config, SETTING_TRANSPORT);
	bool chosen = config->values[SETTING_TRANSPORT].origin != ORIGIN_DEFAULT;
	bool default_there = access(WORKFLOW_DEFAULT_FILE, R_OK) == 0;
	if (strcmp(transport, "file") == 0)
		return file[0] ? file : WORKFLOW_DEFAULT_FILE;
	if (chosen)
		return NULL;
	if (file[0])
		return file;
	return default_there && !config_text(config, SETTING_GRPC_SERVER)[0] ? WORKFLOW_DEFAULT_FILE
									     : NULL;
}

static int get_text(const char *where, const struct config *config, int cancel_fd,
		    struct buffer *out, struct error *err)
{
	const char *ca = config_text(config, SETTING_TLS_CA);
	const struct http_options options = {.ca_file = ca[0] ? ca : NULL, .cancel_fd = cancel_fd};
	bool is_url = strstr(where, "://") != NULL;
	return fetch(where, &options, is_url ? RETRY_MS : 0, out, err);
}

/* A file of values is a map in YAML (or JSON). */
static int add_file(struct value *values, const char *where, const struct config *config,
		    int cancel_fd, struct error *err)
{
	auto_buffer struct buffer text = {.cap = YAML_BYTES_MOST};
	auto_problems struct problems problems = {.count = 0};
	if (get_text(where, config, cancel_fd, &text, err) < 0)
		return -1;
	auto_yaml struct yaml *yaml = yaml_parse((const char *)text.data, text.size, &problems);
	const struct yaml_node *root = yaml ? yaml_document(yaml, 0) : NULL;
	char shown[256];
	text_redact_url(where, shown, sizeof(shown));
	if (problems.count > 0)
		return error_set(err, ERROR_INPUT, "%s:%u:%u: %s", shown,
				 problems.list[0].place.line, problems.list[0].place.column,
				 problems.list[0].text);
	if (yaml_is_null(root))
		return 0;
	if (root->kind != YAML_MAP)
		return error_set(err, ERROR_INPUT, "%s: the values must be a map, not %s", shown,
				 yaml_kind_words(root));
	auto_value struct value *read = value_from_yaml(root);
	value_merge(values, read);
	return 0;
}

static int add_assignments(struct value *values, const char *lines, struct error *err)
{
	while (*lines) {
		size_t size = strcspn(lines, "\n");
		auto_free char *assignment = text_dup_size(lines, size);
		if (size > 0 && values_set(values, assignment, err) < 0)
			return error_wrap(err, "--set");
		lines += size + (lines[size] == '\n');
	}
	return 0;
}

/* The names that servers and their documentation give to the machine a Template is for. */
static void add_id(struct value *values, const char *id)
{
	static const char *const names[] = {"worker_id", "device_id", "device_1"};
	for (size_t i = 0; id[0] && i < sizeof(names) / sizeof(names[0]); i++)
		value_put(values, names[i], value_text(id));
}

int workflow_load(const char *where, const struct config *config, int cancel_fd,
		  struct workflow **ret_workflow, struct problems *problems, struct error *err)
{
	auto_value struct value *values = value_new(VALUE_MAP);
	auto_buffer struct buffer text = {.cap = WORKFLOW_BYTES_MOST + 1};
	const char *file = config_text(config, SETTING_VALUES);
	const char *assignments = config_text(config, SETTING_SET);
	const struct action_policy policy = {config_text(config, SETTING_NATIVE_ACTIONS)};
	const struct workflow_options options = {.id = config_text(config, SETTING_ID),
						 .values = values,
						 .render_list = file[0] || assignments[0],
						 .policy = &policy};
	add_id(values, options.id);
	if ((file[0] && add_file(values, file, config, cancel_fd, err) < 0) ||
	    add_assignments(values, assignments, err) < 0 ||
	    get_text(where, config, cancel_fd, &text, err) < 0)
		return -1;
	*ret_workflow = workflow_parse((const char *)text.data, text.size, &options, problems);
	return 0;
}
