/* Any bytes as a workflow file, with a few values: what is without errors can be run. */
#include "tests/fuzz/fuzz.h"

#include "agent/workflow_file.h"

static void judge(const struct workflow *workflow)
{
	require(workflow->name && workflow->count <= WORKFLOW_ACTIONS_MOST && workflow->count > 0);
	for (size_t i = 0; i < workflow->count; i++) {
		const struct workflow_action *action = &workflow->actions[i];
		require(action->action && action->task && action->place.line > 0);
		require(action->request.name[0] && action->request.image[0]);
		require(action->request.command && action->request.environment);
		require(action->retries <= WORKFLOW_RETRIES_MOST);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const assignments[] = {"device_1=a", "Hardware.Disks[0]=/dev/sda",
						  "url=http://a/b", "n=1"};
	struct problems problems = {.count = 0};
	struct error err;
	if (size > 64 << 10)
		return 0;
	struct value *values = value_new(VALUE_MAP);
	for (size_t i = 0; i < sizeof(assignments) / sizeof(assignments[0]); i++)
		require(values_set(values, assignments[i], &err) == 0);
	const struct workflow_options options = {
		.id = size % 2 ? "a" : "", .values = values, .render_list = size % 4 > 1};
	char *text = fuzz_text(data, size);
	struct workflow *workflow = workflow_parse(text, size, &options, &problems);
	require(workflow || problems.errors > 0);
	if (workflow && problems.errors == 0)
		judge(workflow);
	if (workflow)
		workflow_free(workflow);
	problems_free(&problems);
	value_free(values);
	free(text);
	return 0;
}
