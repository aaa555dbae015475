/*
 * What a template can say: the first line is an image, then come the environment, an empty line,
 * and the words of the command. Every action gets them.
 */
#include "tests/fuzz/fuzz.h"

#include "actions/actions.h"
#include "actions/param.h"
#include "platform/disk_select.h"
#include "platform/log.h"
#include "platform/text.h"

enum {
	LINES_MOST = 32
};

/* Texts are never NULL, numbers are within their range. */
static void check_params(const struct action *action, const char *params)
{
	for (const struct param *param = action->params; param->name; param++) {
		const void *at = params + param->offset;
		if (param->flags & PARAM_UNSUPPORTED)
			continue;
		switch (param->type) {
		case PARAM_TEXT:
		case PARAM_DEVICE:
		case PARAM_PATH:
		case PARAM_CHOICE:
		case PARAM_URL:
		case PARAM_URLS: {
			const char *text = *(const char *const *)at;
			require(text != NULL);
			require(!(param->flags & PARAM_REQUIRED) || text[0] != '\0');
			struct error err;
			require(param->type != PARAM_DEVICE || text[0] == '\0' ||
				disk_select_check(text, &err) == 0);
			break;
		}
		case PARAM_UINT:
		case PARAM_OCTAL:
			require(param->max == 0 || *(const uint64_t *)at <= param->max);
			break;
		case PARAM_CHECKSUM:
			require(((const struct digest *)at)->type <= DIGEST_SHA512);
			break;
		case PARAM_BOOL:
		case PARAM_NONEMPTY:
			break;
		}
	}
}

static void parse_for(const struct action *action, const struct action_request *request)
{
	for (int strict = 0; strict < 2; strict++) {
		void *params = NULL;
		struct error err;
		if (params_parse(action, request, strict, &params, &err) == 0) {
			check_params(action, params);
			free(params);
		} else {
			require(err.kind == ERROR_INPUT || err.kind == ERROR_UNSUPPORTED);
			require(err.text[0] != '\0' && params == NULL);
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_text(data, size);
	char *lines[LINES_MOST];
	size_t count = fuzz_lines(text, lines, LINES_MOST);
	char *none[] = {NULL};
	struct action_request request = {
		.image = lines[0], .environment = lines + 1, .command = none, .volumes = none};
	log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	for (size_t i = 1; i < count; i++) {
		if (lines[i][0] == '\0') {
			lines[i] = NULL;
			request.command = lines + i + 1;
			break;
		}
	}
	struct image_name name;
	if (image_name_parse(request.image, &name)) {
		require(name.name[0] != '\0' && !strpbrk(name.name, "/:@ \t\n"));
		require(strstr(request.image, name.name) && strstr(request.image, name.registry));
	}
	uint32_t delay_s;
	enum after_kind meaning = command_meaning(request.command, &delay_s);
	require(meaning != AFTER_RUN);
	struct error err = {.kind = ERROR_NONE};
	const struct action *found = action_find(&request, NULL, &err);
	require(found || err.kind == ERROR_UNSUPPORTED || err.kind == ERROR_INPUT);
	for (const struct action *const *action = actions; *action; action++)
		parse_for(*action, &request);
	free(text);
	return 0;
}
