/* Parameters by the descriptor's table: see param.h. */
#include "actions/param.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "platform/cleanup.h"
#include "platform/disk_select.h"
#include "platform/log.h"
#include "platform/secret.h"
#include "platform/text.h"

/* What is longer is a file's contents. */
enum {
	LEARNED_LONGEST = 64 << 10
};

static const char *const type_names[] = {
	[PARAM_TEXT] = "text",
	[PARAM_BOOL] = "bool",
	[PARAM_NONEMPTY] = "non-empty = yes",
	[PARAM_UINT] = "number",
	[PARAM_OCTAL] = "octal",
	[PARAM_DEVICE] = "block device",
	[PARAM_PATH] = "path",
	[PARAM_URL] = "URL",
	[PARAM_URLS] = "URLs",
	[PARAM_CHECKSUM] = "checksum",
	[PARAM_CHOICE] = "choice",
};

const char *param_type_name(enum param_type type)
{
	return type_names[type];
}

const char *environment_get(char *const *environment, const char *key)
{
	size_t size = strlen(key);
	const char *value = NULL;
	for (char *const *entry = environment; entry && *entry; entry++)
		if (strncmp(*entry, key, size) == 0 && (*entry)[size] == '=')
			value = *entry + size + 1;
	return value;
}

const struct param *param_find(const struct action *action, const char *name)
{
	for (const struct param *param = action->params; param->name; param++)
		if (strcmp(param->name, name) == 0)
			return param;
	return NULL;
}

/* Who is told what is wrong. */
struct sink {
	params_tell *tell;
	void *context;
};

static void complain(const struct sink *sink, const char *key, enum error_kind kind,
		     const char *text)
{
	sink->tell(sink->context, key, kind, text);
}

void params_collect(void *context, const char *key, enum error_kind kind, const char *text)
{
	struct error *problems = context;
	(void)key;
	if (problems->kind == ERROR_NONE)
		error_set(problems, kind, "%s", text);
	else
		error_append(problems, "; %s", text);
}

static bool known_url(const char *value)
{
	static const char *const schemes[] = {"http://", "https://", "file:///"};
	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++)
		if (strncasecmp(value, schemes[i], strlen(schemes[i])) == 0 &&
		    value[strlen(schemes[i])] != '\0')
			return true;
	return false;
}

/* "http://", "ftp://" …: whether another URL begins here. */
static bool is_scheme(const char *text)
{
	size_t letters = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
	return letters > 0 && strncmp(text + letters, "://", 3) == 0;
}

/* Where the URL at the beginning of text ends. */
static size_t url_length(const char *text)
{
	size_t size = 0;
	for (; text[size] && !strchr(" \t\r\n", text[size]); size++)
		if (text[size] == ',' && is_scheme(text + size + 1))
			break;
	while (size > 0 && text[size - 1] == ',')
		size--;
	return size;
}

bool param_urls(const char *text, char ***ret_urls)
{
	size_t count = 0;
	bool all_known = true;
	char **urls = calloc(1, sizeof(*urls));
	for (;;) {
		text += strspn(text, " ,\t\r\n");
		size_t size = url_length(text);
		if (size == 0)
			break;
		urls = reallocarray(urls, count + 2, sizeof(*urls));
		if (!urls)
			abort();
		urls[count] = text_dup_size(text, size);
		all_known = all_known && known_url(urls[count]);
		urls[++count] = NULL;
		text += size;
	}
	*ret_urls = urls;
	return all_known && count > 0;
}

void param_urls_free(char **urls)
{
	for (char **url = urls; url && *url; url++)
		free(*url);
	free(urls);
}

static bool are_urls(const char *text)
{
	char **urls;
	bool all_known = param_urls(text, &urls);
	param_urls_free(urls);
	return all_known;
}

/* The first that is no URL. */
static void show_bad_url(const char *text, char *out, size_t out_size)
{
	char **urls, **url;
	param_urls(text, &urls);
	for (url = urls; *url && known_url(*url); url++)
		continue;
	text_redact_url(*url ? *url : "", out, out_size);
	param_urls_free(urls);
}

static bool is_choice(const char *choices, const char *value)
{
	size_t size = strlen(value);
	for (const char *word = choices; word; word = strchr(word, '|')) {
		word += *word == '|';
		if (strcspn(word, "|") == size && strncmp(word, value, size) == 0)
			return true;
	}
	return false;
}

/* Puts value where it belongs. Otherwise says what it should have been. */
static bool convert(const struct param *param, const char *value, void *at, char *why,
		    size_t why_size)
{
	struct error err = {.text = ""};
	switch (param->type) {
	case PARAM_TEXT:
		*(const char **)at = value;
		return true;
	case PARAM_NONEMPTY:
		*(bool *)at = value[0] != '\0';
		return true;
	case PARAM_BOOL:
		snprintf(why, why_size, "must be true or false (1, t, 0, f)");
		return text_parse_bool(value, at);
	case PARAM_UINT:
	case PARAM_OCTAL: {
		uint64_t max = param->max ? param->max : UINT64_MAX;
		bool octal = param->type == PARAM_OCTAL;
		snprintf(why, why_size,
			 octal ? "must be an octal number from %" PRIo64 " to %" PRIo64
			       : "must be a number from %" PRIu64 " to %" PRIu64,
			 param->min, max);
		return text_parse_uint(value, octal ? 8 : 10, max, at) &&
		       *(uint64_t *)at >= param->min;
	}
	case PARAM_DEVICE: {
		bool ok = disk_select_check(value, &err) == 0;
		snprintf(why, why_size, "%s", err.text);
		*(const char **)at = value;
		return ok;
	}
	case PARAM_PATH:
		snprintf(why, why_size, "must be an absolute path");
		*(const char **)at = value;
		return value[0] == '/';
	case PARAM_URL:
		snprintf(why, why_size,
			 "must be a URL that begins with http://, https:// or file:///");
		*(const char **)at = value;
		return known_url(value);
	case PARAM_URLS:
		snprintf(why, why_size,
			 "must be URLs that begin with http://, https:// or file:///");
		*(const char **)at = value;
		return are_urls(value);
	case PARAM_CHOICE:
		snprintf(why, why_size, "must be one of %s", param->choices);
		*(const char **)at = value;
		return is_choice(param->choices, value);
	case PARAM_CHECKSUM: {
		bool ok = digest_parse(value, at, &err) == 0;
		snprintf(why, why_size, "%s", err.text);
		return ok;
	}
	}
	return false;
}

static void put_value(const struct param *param, const char *value, void *params,
		      const struct sink *sink)
{
	char why[400] = "", text[1024];
	if (convert(param, value, (char *)params + param->offset, why, sizeof(why)))
		return;
	char shown[256];
	if (param->type == PARAM_URL)
		text_redact_url(value, shown, sizeof(shown));
	else if (param->type == PARAM_URLS)
		show_bad_url(value, shown, sizeof(shown));
	else
		snprintf(shown, sizeof(shown), "%s", value);
	text_cut_utf8(shown);
	snprintf(text, sizeof(text), "%s=%s: %s", param->name,
		 param->flags & PARAM_SECRET ? "***" : shown, why);
	complain(sink, param->name, ERROR_INPUT, text);
}

static bool says_no(const struct param *param, const char *value)
{
	bool yes = true;
	return value[0] == '\0' ||
	       (param->type == PARAM_BOOL && text_parse_bool(value, &yes) && !yes);
}

static void take(const struct action *action, const struct param *param, const char *value,
		 void *params, const struct sink *sink)
{
	char text[512];
	/* One that is not supported has no place in the struct. */
	if (param->flags & PARAM_UNSUPPORTED) {
		if (value && !says_no(param, value)) {
			snprintf(text, sizeof(text), "%s is not supported by this version of %s",
				 param->name, action->name);
			complain(sink, param->name, ERROR_UNSUPPORTED, text);
		}
		return;
	}
	/* Texts are never NULL. */
	if (param->type == PARAM_TEXT || param->type == PARAM_DEVICE || param->type == PARAM_PATH ||
	    param->type == PARAM_URL || param->type == PARAM_URLS || param->type == PARAM_CHOICE)
		*(const char **)((char *)params + param->offset) = "";
	if (value && value[0]) {
		put_value(param, value, params, sink);
	} else if (param->flags & PARAM_REQUIRED) {
		snprintf(text, sizeof(text), "%s is missing (%s)", param->name, param->doc);
		complain(sink, param->name, ERROR_INPUT, text);
	} else if (param->fallback && param->fallback[0]) {
		put_value(param, param->fallback, params, sink);
	}
}

const char *param_nearest(const struct action *action, const char *key)
{
	const char *best = NULL;
	unsigned best_distance = 3;
	for (const struct param *param = action->params; param->name; param++) {
		unsigned distance = text_distance(key, param->name);
		if (distance < best_distance) {
			best_distance = distance;
			best = param->name;
		}
	}
	return best;
}

static void judge_unknown(const struct action *action, const struct action_request *request,
			  bool strict, const struct sink *sink)
{
	for (char *const *entry = request->environment; *entry; entry++) {
		size_t size = strcspn(*entry, "=");
		char key[128], text[512];
		snprintf(key, sizeof(key), "%.*s", (int)(size < 100 ? size : 100), *entry);
		if (param_find(action, key))
			continue;
		const char *meant = param_nearest(action, key);
		if (strict) {
			snprintf(text, sizeof(text), "%s has no parameter %s%s%s%s", action->name,
				 key, meant ? ", did you mean " : "", meant ? meant : "",
				 meant ? "?" : "");
			complain(sink, key, ERROR_INPUT, text);
		} else if (meant) {
			log_warning("unknown parameter", "action", action->name, "key", key,
				    "nearest", meant);
		} else {
			log_info("parameter not used by this action", "action", action->name, "key",
				 key);
		}
	}
}

/* "--option value" and "--option=value" of the original's command line, for parameters that have an
 * option. */
static const char *option_value(char *const *command, const char *option)
{
	size_t size = strlen(option);
	const char *value = NULL;
	for (char *const *word = command; *word; word++) {
		const char *name = *word;
		if (name[0] != '-')
			continue;
		name += name[1] == '-' ? 2 : 1;
		if (strncmp(name, option, size) != 0)
			continue;
		if (name[size] == '=')
			value = name + size + 1;
		else if (name[size] == '\0')
			value = word[1] && word[1][0] != '-' ? *++word : "true";
	}
	return value;
}

/* As in the originals the command line overrides the environment. */
const char *param_given(const struct param *param, const struct action_request *request)
{
	const char *option = param->option ? option_value(request->command, param->option) : NULL;
	return option ? option : environment_get(request->environment, param->name);
}

static void learn_urls(const char *text)
{
	char **urls;
	param_urls(text, &urls);
	for (char **url = urls; *url; url++)
		secret_add_url(*url);
	param_urls_free(urls);
}

/* The user's name that goes with a password: HTTP_USERNAME with HTTP_PASSWORD. NULL: none. */
static const char *user_beside(const struct param *password, const struct action_request *request)
{
	static const char end[] = "PASSWORD";
	char name[64];
	size_t size = strlen(password->name);
	if (size < strlen(end) || size >= sizeof(name) ||
	    strcmp(password->name + size - strlen(end), end) != 0)
		return NULL;
	snprintf(name, sizeof(name), "%.*sUSERNAME", (int)(size - strlen(end)), password->name);
	const struct param user = {.name = name};
	return param_given(&user, request);
}

/* What goes to the user's program has no table: its names tell, and the URLs in it. */
static void learn_others(const struct action_request *request)
{
	for (char *const *entry = request->environment; *entry; entry++) {
		const char *value = strchr(*entry, '=');
		if (!value)
			continue;
		auto_free char *name = text_dup_size(*entry, (size_t)(value++ - *entry));
		secret_add_named(name, value);
		if (strlen(value) <= LEARNED_LONGEST)
			secret_learn(value);
	}
	for (char *const *word = request->command; word && *word; word++)
		if (strlen(*word) <= LEARNED_LONGEST)
			secret_learn(*word);
}

void params_learn_secrets(const struct action *action, const struct action_request *request)
{
	learn_others(request);
	for (const struct param *param = action->params; param->name; param++) {
		const char *value = param_given(param, request);
		if (value && (param->flags & PARAM_SECRET))
			secret_add_login(user_beside(param, request), value);
		else if (value && (param->type == PARAM_URL || param->type == PARAM_URLS))
			learn_urls(value);
	}
}

/* Passes on, and counts. */
struct counting {
	const struct sink *sink;
	unsigned count;
};

static void count(void *context, const char *key, enum error_kind kind, const char *text)
{
	struct counting *counting = context;
	counting->count++;
	complain(counting->sink, key, kind, text);
}

void params_check(const struct action *action, const struct action_request *request,
		  const struct action_policy *policy, params_tell *tell, void *context)
{
	struct error err;
	const struct sink last = {.tell = tell, .context = context};
	struct counting counting = {.sink = &last};
	const struct sink sink = {.tell = count, .context = &counting};
	auto_free void *params = calloc(1, action->params_size ? action->params_size : 1);
	if (!params)
		abort();
	params_learn_secrets(action, request);
	for (const struct param *param = action->params; param->name; param++)
		take(action, param, param_given(param, request), params, &sink);
	const struct action_context together = {
		.request = request, .params = params, .policy = policy};
	if (counting.count == 0 && action->check && action->check(&together, &err) < 0)
		tell(context, "", err.kind, err.text);
}

int params_parse(const struct action *action, const struct action_request *request, bool strict,
		 void **ret_params, struct error *err)
{
	struct error problems = {.kind = ERROR_NONE};
	const struct sink sink = {.tell = params_collect, .context = &problems};
	auto_free void *params = calloc(1, action->params_size ? action->params_size : 1);
	if (!params)
		abort();
	params_learn_secrets(action, request);
	for (const struct param *param = action->params; param->name; param++)
		take(action, param, param_given(param, request), params, &sink);
	if (!action->passes_environment)
		judge_unknown(action, request, strict, &sink);
	if (problems.kind != ERROR_NONE) {
		*err = problems;
		return -1;
	}
	*ret_params = take_pointer(params);
	return 0;
}
