/*
 * Settings from everywhere: the first line is a kernel command line, the next two are flags, the
 * rest is the environment.
 */
#include "tests/fuzz/fuzz.h"

#include "agent/config.h"
#include "platform/cleanup.h"

enum {
	LINES_MOST = 64
};

static void look_up(const char *line)
{
	size_t whole = strlen(line);
	static const char *const keys[] = {"worker_id", "grpc_authority", "", "=", "\""};
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		char *value = kernel_line_get(line, keys[i]);
		require(!value || strlen(value) < whole);
		require(!value || strstr(line, value));
		free(value);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_text(data, size);
	char *lines[LINES_MOST];
	size_t count = fuzz_lines(text, lines, LINES_MOST);
	char program[] = "tink-worker";
	char *argv[] = {program, count > 1 ? lines[1] : NULL, count > 2 ? lines[2] : NULL, NULL};
	int argc = count > 2 ? 3 : count > 1 ? 2 : 1;
	char **environment = count > 3 ? lines + 3 : lines + count;
	struct config config;
	struct error err;
	int rest = -1;
	int64_t ms = -1;
	look_up(lines[0]);
	if (config_load(&config, argc, argv, environment, lines[0], &rest, &err) == 0) {
		require(rest >= 1 && rest <= argc);
		for (size_t id = 0; id < SETTING_COUNT; id++)
			require(config_text(&config, (enum setting_id)id) != NULL);
		require(config_duration_ms(&config, SETTING_RETRY_INTERVAL) >= 0);
		config_bool(&config, SETTING_GRPC_TLS);
		auto_fclose FILE *nowhere = fopen("/dev/null", "we");
		config_print(&config, nowhere);
	} else {
		require(err.kind == ERROR_INPUT);
	}
	config_free(&config);
	if (parse_duration_ms(lines[0], &ms))
		require(ms >= 0);
	free(text);
	return 0;
}
