/* Texts from the tables: see docs.h. */
#include "agent/docs.h"

#include <string.h>

#include "actions/actions.h"
#include "actions/param.h"
#include "agent/config.h"

void docs_usage(FILE *out)
{
	fputs("Usage: tink-worker [FLAGS]                          work for a Tink server\n"
	      "       tink-worker [FLAGS] run ACTION [KEY=VALUE…]  run one action by hand, without "
	      "a server\n"
	      "       tink-worker [FLAGS] --file FILE              run a workflow from a file, "
	      "without a server\n"
	      "       tink-worker check FILE [FLAGS]               everything that is wrong with a "
	      "workflow file\n"
	      "       tink-worker help ACTION                      what an action does and takes\n"
	      "       tink-worker [FLAGS] inventory                this machine's hardware as the "
	      "server is told, JSON\n"
	      "       tink-worker [FLAGS] config                   every setting with its origin\n"
	      "       tink-worker status [STATUS-FILE]             what the worker is doing\n"
	      "       tink-worker [FLAGS] bundle [-o FILE]         logs and facts of this machine "
	      "in one archive\n"
	      "       tink-worker docs actions|parameters|settings the documentation's tables\n"
	      "       tink-worker --version\n"
	      "\n"
	      "run takes -- COMMAND… at its end for actions that have a command, and --timeout "
	      "SECONDS before ACTION.\n"
	      "\n"
	      "Exit status: 0 done (or ended by a signal on request), 1 it failed, 2 the call or "
	      "the configuration is wrong;\n"
	      "of --file also 3 an action or the workflow ran out of time, 4 it was interrupted; "
	      "of check 1 there are errors.\n"
	      "\n"
	      "Actions: ",
	      out);
	char names[512];
	fprintf(out,
		"%s\n\nFlags (a flag wins over the environment, that over the kernel command "
		"line):\n",
		action_names(names, sizeof(names)));
	config_print_help(out);
}

/* "required", "default 0644", "not supported by this version" … */
static const char *remark(const struct param *param, char *out, size_t out_size)
{
	if (param->flags & PARAM_UNSUPPORTED)
		snprintf(out, out_size, "not supported by this version");
	else if (param->flags & PARAM_REQUIRED)
		snprintf(out, out_size, "required");
	else if (param->fallback)
		snprintf(out, out_size, "default %s", param->fallback);
	else
		out[0] = '\0';
	return out;
}

/* "number", "none or readback". */
static const char *type_words(const struct param *param, char *out, size_t out_size)
{
	size_t used = 0;
	out[0] = '\0';
	if (param->type != PARAM_CHOICE)
		return param_type_name(param->type);
	for (const char *word = param->choices; *word && used < out_size;) {
		size_t size = strcspn(word, "|");
		used += (size_t)snprintf(out + used, out_size - used, "%s%.*s", used ? " or " : "",
					 (int)size, word);
		word += size + (word[size] == '|');
	}
	return out;
}

void docs_action(const struct action *action, FILE *out)
{
	char text[128], type[128];
	fprintf(out, "%s: %s\n", action->name, action->summary);
	for (const char *const *alias = action->aliases; alias && *alias; alias++)
		fprintf(out, "Also known as %s.\n", *alias);
	fprintf(out,
		action->published
			? "Stands in for the published image of this name, under any registry.\n"
			: "Called by this name alone (or 127.0.0.1/embedded/%s).\n",
		action->name);
	if (action->params->name)
		fputs("\nParameters:\n", out);
	for (const struct param *param = action->params; param->name; param++) {
		remark(param, text, sizeof(text));
		fprintf(out, "  %s (%s%s%s)\n      %s\n", param->name,
			type_words(param, type, sizeof(type)), text[0] ? ", " : "", text,
			param->doc);
	}
}

void docs_actions_table(FILE *out)
{
	fputs("| action | what it does | stands in for published images |\n| --- | --- | --- |\n",
	      out);
	for (const struct action *const *action = actions; *action; action++)
		fprintf(out, "| `%s` | %s | %s |\n", (*action)->name, (*action)->summary,
			(*action)->published ? "yes" : "no");
}

void docs_parameters_tables(FILE *out)
{
	char text[128], type[128];
	for (const struct action *const *action = actions; *action; action++) {
		if (!(*action)->params->name)
			continue;
		fprintf(out,
			"**`%s`**\n\n| parameter | type | | what it is |\n| --- | --- | --- | --- "
			"|\n",
			(*action)->name);
		for (const struct param *param = (*action)->params; param->name; param++)
			fprintf(out, "| `%s` | %s | %s | %s |\n", param->name,
				type_words(param, type, sizeof(type)),
				remark(param, text, sizeof(text)), param->doc);
		fputs("\n", out);
	}
}

void docs_settings_table(FILE *out)
{
	fputs("| flag | environment | kernel command line | default | what it is |\n| --- | --- | "
	      "--- | --- | --- |\n",
	      out);
	for (size_t id = 0; id < SETTING_COUNT; id++) {
		const struct setting *setting = &config_settings[id];
		char name[64];
		fprintf(out, "| `--%s`", setting->name);
		for (size_t i = 0; i < SPELLINGS_MOST && setting->flags_too[i]; i++)
			fprintf(out, " `--%s`", setting->flags_too[i]);
		fprintf(out, " | `%s`", setting_variable(setting, name, sizeof(name)));
		for (size_t i = 0; i < SPELLINGS_MOST && setting->environment[i]; i++)
			fprintf(out, " `%s`", setting->environment[i]);
		fputs(" |", out);
		for (size_t i = 0; i < SPELLINGS_MOST && setting->kernel[i]; i++)
			fprintf(out, " `%s`", setting->kernel[i]);
		fprintf(out, " | %s | %s%s%s |\n", setting->fallback ? setting->fallback : "",
			setting->doc,
			setting->flags & SETTING_NO_EFFECT
				? " (taken for compatibility, without effect)"
				: "",
			setting->flags & SETTING_BY_INIT ? " (used by the initramfs)" : "");
	}
}
