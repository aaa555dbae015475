/* Workflow files as commands: see workflow_run.h. */
#include "agent/workflow_run.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/transport_file.h"
#include "agent/workflow_load.h"
#include "platform/log.h"
#include "platform/text.h"

static const char *plural(size_t count)
{
	return count == 1 ? "" : "s";
}

int workflow_check_main(const struct config *config, const char *where)
{
	struct error err;
	char name[256];
	auto_problems struct problems problems = {.count = 0};
	auto_workflow struct workflow *workflow = NULL;
	text_redact_url(where, name, sizeof(name));
	if (workflow_load(where, config, 0, &workflow, &problems, &err) < 0) {
		fprintf(stderr, "tink-worker: %s: %s\n", error_kind_name(err.kind), err.text);
		return 2;
	}
	problems_print(&problems, name, stdout);
	if (problems.errors > 0)
		printf("%s: %zu error%s, %zu warning%s: it cannot be run\n", name, problems.errors,
		       plural(problems.errors), problems.warnings, plural(problems.warnings));
	else
		printf("%s: %zu action%s can be run, %zu warning%s\n", name,
		       workflow ? workflow->count : 0, plural(workflow ? workflow->count : 0),
		       problems.warnings, plural(problems.warnings));
	fflush(stdout);
	return problems.errors > 0;
}

static void log_problems(const struct problems *problems, const char *name)
{
	for (size_t i = 0; i < problems->count; i++) {
		const struct problem *problem = &problems->list[i];
		auto_free char *place = problem->place.line == 0
						? text_dup(name)
						: text_format("%s:%u:%u", name, problem->place.line,
							      problem->place.column);
		log_line(problem->warning ? LOG_LEVEL_WARNING : LOG_LEVEL_ERROR,
			 problem->warning ? "the workflow file is doubtful"
					  : "the workflow file is wrong",
			 "place", place, "problem", problem->text, NULL);
	}
}

int workflow_open(const struct config *config, const char *where, int cancel_fd,
		  struct transport **ret_transport, struct error *err)
{
	char name[256];
	auto_problems struct problems problems = {.count = 0};
	auto_workflow struct workflow *workflow = NULL;
	text_redact_url(where, name, sizeof(name));
	if (workflow_load(where, config, cancel_fd, &workflow, &problems, err) < 0)
		return -1;
	log_problems(&problems, name);
	if (problems.errors > 0 || !workflow)
		return error_set(err, ERROR_INPUT, "%s has %zu error%s, nothing of it was run",
				 name, problems.errors, plural(problems.errors));
	bool table = strcmp(config_text(config, SETTING_LOG_FORMAT), "json") != 0;
	*ret_transport = transport_file_new(take_pointer(workflow), name, table);
	return 0;
}

int workflow_finish(struct transport *transport)
{
	int status = (int)transport_file_finish(transport);
	auto_close int fd = open(WORKFLOW_ENDED_FILE,
				 O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0 && errno != ENOENT && errno != EACCES)
		log_warning("could not be written", "path", WORKFLOW_ENDED_FILE, "error",
			    strerror(errno));
	return status;
}
