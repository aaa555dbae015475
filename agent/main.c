/* The program: which of its commands is wanted, and the settings for it. */
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "actions/actions.h"
#include "actions/child.h"
#include "actions/param.h"
#include "actions/request.h"
#include "agent/bundle.h"
#include "agent/attributes.h"
#include "agent/config.h"
#include "agent/docs.h"
#include "agent/logs.h"
#include "agent/loop.h"
#include "agent/machine.h"
#include "agent/observer.h"
#include "agent/page.h"
#include "agent/signals.h"
#include "agent/status.h"
#include "agent/tls.h"
#include "agent/watch.h"
#include "agent/workflow_load.h"
#include "agent/workflow_run.h"
#include "platform/buffer.h"
#include "platform/clock.h"
#include "platform/log.h"
#include "platform/process.h"
#include "platform/secret.h"
#include "platform/sysfs.h"
#include "platform/text.h"

enum {
	EXIT_OK = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2
};

static int usage_error(const struct error *err)
{
	fprintf(stderr, "tink-worker: %s\n", err->text);
	return EXIT_USAGE;
}

static int fail(const struct error *err)
{
	fprintf(stderr, "tink-worker: %s: %s\n", error_kind_name(err->kind), err->text);
	return EXIT_FAILED;
}

/* run [--timeout SECONDS] ACTION KEY=VALUE… [-- COMMAND…] */
static int parse_run(int argc, char *const *argv, struct action_request *request, struct error *err)
{
	int at = 0;
	*request = (struct action_request){.timeout_s = 0};
	if (at + 1 < argc && strcmp(argv[at], "--timeout") == 0) {
		if (!text_parse_uint(argv[at + 1], 10, INT32_MAX, &request->timeout_s))
			return error_set(err, ERROR_INPUT,
					 "--timeout %s: must be a number of seconds", argv[at + 1]);
		at += 2;
	}
	if (at >= argc || argv[at][0] == '-')
		return error_set(err, ERROR_INPUT,
				 "which action is to be run? (tink-worker --help)");
	request->workflow_id = text_dup("by hand");
	request->id = text_dup("by hand");
	request->name = text_dup(argv[at]);
	request->image = text_dup(argv[at]);
	request->pid = text_dup("host");
	request->network = text_dup("host");
	text_list_add(&request->command, NULL);
	text_list_add(&request->environment, NULL);
	text_list_add(&request->volumes, NULL);
	for (at++; at < argc && strcmp(argv[at], "--") != 0; at++) {
		if (!strchr(argv[at], '=') || argv[at][0] == '=')
			return error_set(err, ERROR_INPUT, "\"%s\" is not KEY=VALUE", argv[at]);
		text_list_add(&request->environment, argv[at]);
	}
	for (at++; at < argc; at++)
		text_list_add(&request->command, argv[at]);
	return 0;
}

static int run_by_hand(struct config *config, int argc, char *const *argv)
{
	struct error err;
	auto_request struct action_request request;
	if (parse_run(argc, argv, &request, &err) < 0)
		return usage_error(&err);
	const struct action *action = action_find(&request, NULL, &err);
	void *params = NULL;
	if (!action || params_parse(action, &request, true, &params, &err) < 0)
		return usage_error(&err);
	free(params);
	secret_hide_arguments(argc, argv);
	if (signals_open(&err) < 0)
		return fail(&err);
	if (tls_fetch_ca(config, signals_fd(), &err) < 0)
		return usage_error(&err);
	char group[32], duration[32];
	snprintf(group, sizeof(group), "run-%d", (int)getpid());
	const struct run_options options = {.config = config,
					    .group_name = group,
					    .strict = true,
					    .stop_fd = signals_fd(),
					    .observer = observer_terminal()};
	struct run_result result;
	run_action(action, &request, &options, &result);
	observer_terminal_end();
	if (result.state != RUN_SUCCESS)
		return fail(&result.error);
	fprintf(stderr, "%s: %s (%s)\n", action->name, result.summary,
		clock_format_duration(result.duration_ms, duration, sizeof(duration)));
	if (machine_after(&result.after, &request, config, &err) < 0)
		return fail(&err);
	return EXIT_OK;
}

static int help(int argc, char *const *argv)
{
	if (argc == 0) {
		docs_usage(stdout);
		return EXIT_OK;
	}
	const struct action *action = action_by_name(argv[0]);
	if (!action) {
		char names[512];
		fprintf(stderr, "tink-worker: no action is called %s (there are: %s)\n", argv[0],
			action_names(names, sizeof(names)));
		return EXIT_USAGE;
	}
	docs_action(action, stdout);
	return EXIT_OK;
}

static int docs(int argc, char *const *argv)
{
	static const struct {
		const char *name;
		void (*print)(FILE *out);
	} tables[] = {{"actions", docs_actions_table},
		      {"parameters", docs_parameters_tables},
		      {"settings", docs_settings_table}};
	for (size_t i = 0; argc == 1 && i < sizeof(tables) / sizeof(tables[0]); i++) {
		if (strcmp(argv[0], tables[i].name) == 0) {
			tables[i].print(stdout);
			return EXIT_OK;
		}
	}
	fprintf(stderr, "tink-worker: docs takes one of actions, parameters, settings\n");
	return EXIT_USAGE;
}

static void log_settings_without_effect(const struct config *config)
{
	for (size_t id = 0; id < SETTING_COUNT; id++)
		if ((config_settings[id].flags & SETTING_NO_EFFECT) &&
		    config->values[id].origin != ORIGIN_DEFAULT)
			log_info("setting taken, without effect in this version", "setting",
				 config_settings[id].name);
}

/* In the log, as standard error may be read by nobody. */
static int cannot_start(const struct error *err)
{
	log_error("the worker cannot start", "error", err->text);
	return EXIT_USAGE;
}

static int work(struct config *config)
{
	struct error err;
	auto_transport struct transport *transport = NULL;
	if (signals_open(&err) < 0)
		return fail(&err);
	logs_start(config);
	status_open(config_text(config, SETTING_STATUS_FILE), config_text(config, SETTING_ID),
		    config_text(config, SETTING_SYSLOG_HOST));
	status_log(logs_path());
	if (tls_fetch_ca(config, signals_fd(), &err) < 0)
		return err.kind == ERROR_CANCELLED ? EXIT_OK : cannot_start(&err);
	logs_trust(config);
	if (tls_prepare(config, &err) < 0)
		return cannot_start(&err);
	const char *file = workflow_wanted(config);
	if (file && workflow_open(config, file, signals_fd(), &transport, &err) < 0) {
		cannot_start(&err);
		return EXIT_FAILED;
	}
	if (!file && transport_open(config, signals_fd(), &transport, &err) < 0)
		return cannot_start(&err);
	log_info("tink-worker starts", "version", TINK_WORKER_VERSION);
	struct transport *inner = transport;
	transport = watch_transport(transport);
	if (geteuid() != 0)
		log_warning("not running as root: actions on disks will be refused");
	log_settings_without_effect(config);
	auto_free char *owner =
		text_format("%s-%s", config_text(config, SETTING_ID), transport->server);
	process_groups_claim(owner);
	process_outlive_others();
	int status = loop_run(transport, config);
	if (file)
		status = workflow_finish(inner);
	return status;
}

/* check [FILE] */
static int check(const struct config *config, int argc, char *const *argv)
{
	const char *file = argc > 0 ? argv[0] : workflow_wanted(config);
	if (file && argc <= 1)
		return workflow_check_main(config, file);
	fprintf(stderr, "tink-worker: check takes a workflow file, flags before or behind it\n");
	return EXIT_USAGE;
}

/* libcurl finds proxies in the environment, so do programs that actions run. */
static void export_proxies(const struct config *config)
{
	static const struct {
		enum setting_id id;
		const char *names[2];
	} proxies[] = {{SETTING_HTTP_PROXY, {"HTTP_PROXY", "http_proxy"}},
		       {SETTING_HTTPS_PROXY, {"HTTPS_PROXY", "https_proxy"}},
		       {SETTING_NO_PROXY, {"NO_PROXY", "no_proxy"}}};
	for (size_t i = 0; i < sizeof(proxies) / sizeof(proxies[0]); i++) {
		const char *value = config_text(config, proxies[i].id);
		for (size_t j = 0; j < 2 && value[0]; j++)
			setenv(proxies[i].names[j], value, 1);
	}
}

static int setup_log(const struct config *config, bool by_hand, struct error *err)
{
	enum log_level level;
	const char *format = config_text(config, SETTING_LOG_FORMAT);
	if (!log_parse_level(config_text(config, SETTING_LOG_LEVEL), &level))
		return error_set(err, ERROR_INPUT,
				 "log-level=%s: must be debug, info, warning or error",
				 config_text(config, SETTING_LOG_LEVEL));
	if (strcmp(format, "text") != 0 && strcmp(format, "json") != 0)
		return error_set(err, ERROR_INPUT, "log-format=%s: must be text or json", format);
	log_setup(level, strcmp(format, "json") == 0 ? LOG_FORMAT_JSON
			 : by_hand                   ? LOG_FORMAT_PLAIN
						     : LOG_FORMAT_TEXT);
	return 0;
}

/* Twice: where the kernel command line is to be read is a setting itself. */
static int load_settings(struct config *config, int argc, char *const *argv, int *ret_rest,
			 struct error *err)
{
	auto_buffer struct buffer line = {.cap = 1 << 20};
	struct error unreadable;
	if (config_load(config, argc, argv, environ, "", ret_rest, err) < 0)
		return -1;
	auto_free char *path = text_format("%s/proc/cmdline", config_text(config, SETTING_ROOT));
	/* A system without one (a container may have none) has no settings there. */
	if (buffer_read_file(&line, path, &unreadable) < 0)
		return 0;
	config_free(config);
	return config_load(config, argc, argv, environ, (const char *)line.data, ret_rest, err);
}

/* first: the command, where it stood in front of the flags; else "". */
static int with_settings(int argc, char *const *argv, const char *first)
{
	struct config config;
	struct error err;
	int rest;
	if (load_settings(&config, argc, argv, &rest, &err) < 0) {
		config_free(&config);
		return usage_error(&err);
	}
	secret_hide_arguments(rest, argv);
	sysfs_set_root(config_text(&config, SETTING_ROOT));
	const char *command = first[0] ? first : rest < argc ? argv[rest] : "";
	/* Of the words behind the flags the command is one, unless it stood in front. */
	argc -= rest + (!first[0] && rest < argc);
	argv += rest + !first[0];
	bool by_hand = strcmp(command, "run") == 0 || strcmp(command, "check") == 0 ||
		       strcmp(command, "inventory") == 0;
	int result;
	if (setup_log(&config, by_hand, &err) < 0) {
		result = usage_error(&err);
	} else if (export_proxies(&config), http_setup(&err) < 0) {
		result = fail(&err);
	} else if (command[0] == '\0') {
		result = work(&config);
		logs_stop();
	} else if (strcmp(command, "run") == 0) {
		result = run_by_hand(&config, argc, argv);
	} else if (strcmp(command, "config") == 0 && argc == 0) {
		config_print(&config, stdout);
		result = EXIT_OK;
	} else if (strcmp(command, "check") == 0) {
		result = check(&config, argc, argv);
	} else if (strcmp(command, "inventory") == 0 && argc == 0) {
		result = attributes_main();
	} else if (strcmp(command, "bundle") == 0) {
		result = bundle_main(&config, argc, argv);
	} else if (strcmp(command, "later") == 0) {
		result = machine_later_main(&config, argc, argv);
	} else {
		fprintf(stderr, "tink-worker: unknown command %s (tink-worker --help lists them)\n",
			command);
		result = EXIT_USAGE;
	}
	config_free(&config);
	return result;
}

/* --help anywhere, but for what stands behind "--". */
static bool wants_help(int argc, char *const *argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0 ||
		    strcmp(argv[i], "-help") == 0)
			return true;
	return false;
}

int main(int argc, char **argv)
{
	const char *first = argc > 1 ? argv[1] : "";
	/* Names of files are bytes to us; this is for the libraries that ask. Built into musl,
	 * there in every glibc of today. */
	setlocale(LC_CTYPE, "C.UTF-8");
	if (strcmp(first, "child") == 0 && argc == 2)
		return child_main();
	if (strcmp(first, "console") == 0 && argc == 2)
		return page_console_main();
	if (strcmp(first, "status") == 0 && argc <= 3)
		return page_status_main(argc == 3 ? argv[2] : STATUS_PATH, stdout);
	if (strcmp(first, "help") == 0)
		return help(argc - 2, argv + 2);
	if (wants_help(argc, argv))
		return help(0, NULL);
	if (strcmp(first, "docs") == 0)
		return docs(argc - 2, argv + 2);
	/* These and their flags may stand in either order. */
	if (strcmp(first, "config") == 0 || strcmp(first, "inventory") == 0) {
		argv[1] = argv[0];
		return with_settings(argc - 1, argv + 1, first);
	}
	/* `check FILE` too: the file goes to the end. */
	if (strcmp(first, "check") == 0) {
		argv[1] = argv[0];
		if (argc > 2 && argv[2][0] != '-') {
			char *file = argv[2];
			memmove(argv + 2, argv + 3, (size_t)(argc - 3) * sizeof(*argv));
			argv[argc - 1] = file;
		}
		return with_settings(argc - 1, argv + 1, "check");
	}
	if (strcmp(first, "--version") == 0 || strcmp(first, "-version") == 0 ||
	    strcmp(first, "version") == 0) {
		printf("tink-worker %s\n", TINK_WORKER_VERSION);
		return EXIT_OK;
	}
	return with_settings(argc, argv, "");
}
