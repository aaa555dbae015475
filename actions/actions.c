/* The list of actions and how they are found: see actions.h. A new action is one line in each of
 * the two lists. */
#include "actions/actions.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "platform/text.h"

extern const struct action action_image2disk;
extern const struct action action_oci2disk;
extern const struct action action_qemuimg2disk;
extern const struct action action_archive2disk;
extern const struct action action_slurp;
extern const struct action action_writefile;
extern const struct action action_cexec;
extern const struct action action_reboot;
extern const struct action action_poweroff;
extern const struct action action_waitdaemon;
extern const struct action action_wipe;

const struct action *const actions[] = {
	&action_image2disk, &action_oci2disk,  &action_qemuimg2disk, &action_archive2disk,
	&action_slurp,      &action_writefile, &action_cexec,        &action_wipe,
	&action_reboot,     &action_poweroff,  &action_waitdaemon,   NULL,
};

bool image_name_parse(const char *image, struct image_name *ret_name)
{
	char text[512];
	if (snprintf(text, sizeof(text), "%s", image) >= (int)sizeof(text) || text[0] == '\0' ||
	    strpbrk(text, " \t\r\n"))
		return false;
	*ret_name = (struct image_name){.embedded = false};
	char *digest = strchr(text, '@');
	if (digest)
		*digest = '\0';
	char *slash = strrchr(text, '/');
	char *last = slash ? slash + 1 : text;
	char *tag = strchr(last, ':');
	if (tag)
		*tag = '\0';
	if (last[0] == '\0' || snprintf(ret_name->name, sizeof(ret_name->name), "%s", last) >=
				       (int)sizeof(ret_name->name))
		return false;
	ret_name->embedded = slash == NULL ||
			     (strncmp(text, "127.0.0.1/embedded/", 19) == 0 && last == text + 19);
	/* The first component is a registry when it looks like a host: the rule of the reference
	 * grammar's users. */
	size_t first = strcspn(text, "/");
	bool host = slash && (memchr(text, '.', first) || memchr(text, ':', first) ||
			      (first == 9 && strncmp(text, "localhost", 9) == 0));
	if (host)
		snprintf(ret_name->registry, sizeof(ret_name->registry), "%.*s", (int)first, text);
	return true;
}

static bool has_name(const struct action *action, const char *name)
{
	if (strcmp(action->name, name) == 0)
		return true;
	for (const char *const *alias = action->aliases; alias && *alias; alias++)
		if (strcmp(*alias, name) == 0)
			return true;
	return false;
}

const struct action *action_by_name(const char *name)
{
	for (const struct action *const *action = actions; *action; action++)
		if (has_name(*action, name))
			return *action;
	return NULL;
}

bool action_takes_command(const struct action *action)
{
	const struct param *param = action->params;
	while (param->name && !param->option)
		param++;
	return param->name != NULL;
}

static bool policy_allows(const struct action_policy *policy, const char *registry)
{
	const char *list = policy ? policy->native_registries : NULL;
	if (!list || !list[0] || strcmp(list, "all") == 0)
		return true;
	if (strcmp(list, "none") == 0)
		return false;
	for (size_t size; *list; list += size + (list[size] == ',')) {
		size = strcspn(list, ",");
		if (size == strlen(registry) && strncasecmp(list, registry, size) == 0)
			return true;
	}
	return false;
}

char *action_names(char *out, size_t out_size)
{
	size_t used = 0;
	out[0] = '\0';
	for (const struct action *const *action = actions; *action && used < out_size; action++)
		used += (size_t)snprintf(out + used, out_size - used, "%s%s", used ? ", " : "",
					 (*action)->name);
	return out;
}

const struct action *action_find(const struct action_request *request,
				 const struct action_policy *policy, struct error *err)
{
	struct image_name image;
	if (!image_name_parse(request->image, &image)) {
		error_set(err, ERROR_INPUT, "\"%.200s\" is not the name of an image",
			  request->image);
		return NULL;
	}
	const struct action *action = action_by_name(image.name);
	/* Names of our own making are a site's own image under any registry. What is embedded is
	 * never anybody else's. */
	if (action &&
	    (image.embedded || (action->published && policy_allows(policy, image.registry))))
		return action;
	uint32_t delay_s;
	switch (command_meaning(request->command, &delay_s)) {
	case AFTER_REBOOT:
		return &action_reboot;
	case AFTER_POWEROFF:
		return &action_poweroff;
	case AFTER_NOTHING:
	case AFTER_RUN:
		break;
	}
	char names[512];
	error_set(err, ERROR_UNSUPPORTED, "no action is known by the image \"%.300s\" (known: %s)",
		  request->image, action_names(names, sizeof(names)));
	return NULL;
}

/* Commands that plainly mean reboot or power off */

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

/* One simple command, as words. AFTER_RUN here means: harmless beside a reboot (sync, sleep,
 * enabling sysrq). */
static enum after_kind words_meaning(char *const *words, size_t count, uint32_t *delay_s)
{
	while (count > 0 && (strcmp(words[0], "exec") == 0 || strcmp(words[0], "nohup") == 0)) {
		words++;
		count--;
	}
	if (count == 0)
		return AFTER_RUN;
	const char *program = base_name(words[0]);
	uint64_t seconds;
	if (strcmp(program, "reboot") == 0 || strcmp(program, "poweroff") == 0 ||
	    strcmp(program, "halt") == 0) {
		bool off = program[0] != 'r';
		for (size_t i = 1; i < count; i++) {
			if (words[i][0] != '-')
				return AFTER_NOTHING;
			off = off || strcmp(words[i], "-p") == 0 ||
			      strcmp(words[i], "--poweroff") == 0;
		}
		return off ? AFTER_POWEROFF : AFTER_REBOOT;
	}
	if (strcmp(program, "shutdown") == 0) {
		enum after_kind kind = AFTER_POWEROFF;
		for (size_t i = 1; i < count; i++) {
			if (strcmp(words[i], "-r") == 0 || strcmp(words[i], "--reboot") == 0)
				kind = AFTER_REBOOT;
			else if (strcmp(words[i], "-c") == 0 || strcmp(words[i], "-k") == 0)
				return AFTER_NOTHING;
		}
		return kind;
	}
	if (strcmp(program, "sync") == 0 && count == 1)
		return AFTER_RUN;
	if (strcmp(program, "sleep") == 0 && count == 2 &&
	    text_parse_uint(words[1], 10, 3600, &seconds)) {
		*delay_s += (uint32_t)seconds;
		return AFTER_RUN;
	}
	if (strcmp(program, "echo") == 0) {
		size_t i = 1;
		if (i < count && strcmp(words[i], "-n") == 0)
			i++;
		if (i + 3 != count || strcmp(words[i + 1], ">") != 0)
			return AFTER_NOTHING;
		if (strcmp(words[i + 2], "/proc/sys/kernel/sysrq") == 0)
			return AFTER_RUN;
		if (strcmp(words[i + 2], "/proc/sysrq-trigger") != 0)
			return AFTER_NOTHING;
		if (strcmp(words[i], "b") == 0)
			return AFTER_REBOOT;
		if (strcmp(words[i], "o") == 0)
			return AFTER_POWEROFF;
		return strcmp(words[i], "s") == 0 || strcmp(words[i], "u") == 0 ? AFTER_RUN
										: AFTER_NOTHING;
	}
	return AFTER_NOTHING;
}

/* Copies a script with blanks around ">" and each separator as a word of its own, so that it falls
 * into words at blanks. */
static bool spread(const char *script, char *out, size_t out_size)
{
	size_t used = 0;
	for (const char *p = script; *p; p++) {
		if (used + 4 > out_size || strchr("'\"`$\\|<*?{}[]!#~", *p))
			return false;
		bool separator = strchr(";&\n()", *p) != NULL;
		if (separator || *p == '>')
			out[used++] = ' ';
		out[used++] = separator ? ';' : *p;
		if (separator || *p == '>')
			out[used++] = ' ';
	}
	out[used] = '\0';
	return true;
}

/* A script is plain when each of its commands is; anything of a shell's finer arts makes it a
 * script like any other. */
static enum after_kind script_meaning(const char *script, uint32_t *delay_s)
{
	enum {
		WORDS_MOST = 16
	};
	char text[1024];
	char *words[WORDS_MOST];
	size_t count = 0;
	enum after_kind meaning = AFTER_NOTHING;
	if (!spread(script, text, sizeof(text)))
		return AFTER_NOTHING;
	char *rest = text;
	for (bool more = true; more;) {
		char *word = strtok_r(rest, " \t", &rest);
		more = word != NULL;
		if (word && strcmp(word, ";") != 0) {
			if (count == WORDS_MOST)
				return AFTER_NOTHING;
			words[count++] = word;
			continue;
		}
		enum after_kind kind = words_meaning(words, count, delay_s);
		if (kind == AFTER_NOTHING)
			return AFTER_NOTHING;
		if (kind != AFTER_RUN && meaning == AFTER_NOTHING)
			meaning = kind;
		count = 0;
	}
	return meaning;
}

enum after_kind command_meaning(char *const *command, uint32_t *ret_delay_s)
{
	static const char *const shells[] = {"sh", "bash", "ash", "dash"};
	*ret_delay_s = 0;
	size_t count = 0;
	while (command && command[count])
		count++;
	if (count == 0)
		return AFTER_NOTHING;
	for (size_t i = 0; i < sizeof(shells) / sizeof(shells[0]); i++)
		if (strcmp(base_name(command[0]), shells[i]) == 0)
			return count == 3 && strcmp(command[1], "-c") == 0
				       ? script_meaning(command[2], ret_delay_s)
				       : AFTER_NOTHING;
	enum after_kind kind = words_meaning(command, count, ret_delay_s);
	return kind == AFTER_RUN ? AFTER_NOTHING : kind;
}
