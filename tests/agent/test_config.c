/* Settings: every spelling, who wins, the kernel command line, durations. */
#include "tests/unit.h"

#include "agent/config.h"
#include "platform/secret.h"

enum {
	WORDS_MOST = 16
};

/* Loads from lists ended by NULL; flags without the program's name. Free the config afterwards. */
static int load(struct config *config, const char *const *flags, const char *const *environment,
		const char *kernel, struct error *err)
{
	char *argv[WORDS_MOST] = {(char[]){"tink-worker"}};
	int argc = 1, rest;
	for (; flags && *flags; flags++)
		argv[argc++] = (char *)(uintptr_t)*flags;
	return config_load(config, argc, argv, (char *const *)(uintptr_t)environment, kernel, &rest,
			   err);
}

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})

/* A value of the setting's type, other than its default. */
static const char *sample_value(const struct setting *setting)
{
	switch (setting->type) {
	case SETTING_BOOL:
		return setting->fallback && strcmp(setting->fallback, "true") == 0 ? "false"
										   : "true";
	case SETTING_DURATION:
		return "17s";
	case SETTING_TEXT:
		break;
	}
	return "sample-value";
}

static void assert_setting(const struct config *config, size_t id, const char *value,
			   enum origin origin)
{
	if (strcmp(config_text(config, (enum setting_id)id), value) != 0 ||
	    config->values[id].origin != origin)
		fail_msg("%s is \"%s\" by %d, expected \"%s\" by %d", config_settings[id].name,
			 config_text(config, (enum setting_id)id), (int)config->values[id].origin,
			 value, (int)origin);
}

static void takes_every_flag(void **state)
{
	(void)state;
	struct error err;
	struct config config;
	for (size_t id = 0; id < SETTING_COUNT; id++) {
		const struct setting *setting = &config_settings[id];
		const char *value = sample_value(setting);
		for (int i = -1; i < SPELLINGS_MOST; i++) {
			const char *flag = i < 0 ? setting->name : setting->flags_too[i];
			if (!flag)
				break;
			for (int dashes = 1; dashes <= 2; dashes++) {
				char one[128];
				snprintf(one, sizeof(one), "%.*s%s=%s", dashes, "--", flag, value);
				assert_ok(load(&config, LIST(one), NULL, "", &err));
				assert_setting(&config, id, value, ORIGIN_FLAG);
				config_free(&config);
				char word[128];
				snprintf(word, sizeof(word), "%.*s%s", dashes, "--", flag);
				if (setting->type == SETTING_BOOL)
					continue;
				assert_ok(load(&config, LIST(word, value), NULL, "", &err));
				assert_setting(&config, id, value, ORIGIN_FLAG);
				config_free(&config);
			}
		}
	}
}

static void takes_every_variable(void **state)
{
	(void)state;
	struct error err;
	struct config config;
	for (size_t id = 0; id < SETTING_COUNT; id++) {
		const struct setting *setting = &config_settings[id];
		const char *value = sample_value(setting);
		char own[64], entry[128];
		snprintf(entry, sizeof(entry), "%s=%s", setting_variable(setting, own, sizeof(own)),
			 value);
		assert_int_equal(strncmp(own, "AGENT_", 6), 0);
		assert_ok(load(&config, NULL, LIST(entry), "", &err));
		assert_setting(&config, id, value, ORIGIN_ENVIRONMENT);
		config_free(&config);
		for (size_t i = 0; i < SPELLINGS_MOST && setting->environment[i]; i++) {
			snprintf(entry, sizeof(entry), "%s=%s", setting->environment[i], value);
			assert_ok(load(&config, NULL, LIST(entry), "", &err));
			assert_setting(&config, id, value, ORIGIN_ENVIRONMENT);
			config_free(&config);
			/* The present spelling wins over the old one, in either order. */
			char present[128], old[128];
			snprintf(present, sizeof(present), "%s=%s", own, value);
			snprintf(old, sizeof(old), "%s=%s", setting->environment[i],
				 setting->type == SETTING_TEXT ? "other" : value);
			assert_ok(load(&config, NULL, LIST(present, old), "", &err));
			assert_setting(&config, id, value, ORIGIN_ENVIRONMENT);
			config_free(&config);
		}
	}
}

static void takes_every_kernel_key(void **state)
{
	(void)state;
	struct error err;
	struct config config;
	for (size_t id = 0; id < SETTING_COUNT; id++) {
		const struct setting *setting = &config_settings[id];
		const char *value = sample_value(setting);
		for (size_t i = 0; i < SPELLINGS_MOST && setting->kernel[i]; i++) {
			char line[256];
			snprintf(line, sizeof(line), "console=tty0 %s=%s quiet", setting->kernel[i],
				 value);
			assert_ok(load(&config, NULL, NULL, line, &err));
			assert_setting(&config, id, value, ORIGIN_KERNEL);
			config_free(&config);
		}
	}
}

/* What the real server's iPXE script and the older charts write. */
static void knows_the_spellings_of_the_field(void **state)
{
	(void)state;
	struct error err;
	struct config config;
	assert_ok(load(&config, NULL, NULL,
		       "ip=dhcp modules=loop,squashfs,sd-mod,usb-storage facility=onprem "
		       "syslog_host=192.0.2.1 grpc_authority=192.0.2.1:42113 tinkerbell_tls=false "
		       "tinkerbell_insecure_tls=true worker_id=52:54:00:12:34:56 "
		       "hw_addr=52:54:00:12:34:57 docker_registry=r.example "
		       "registry_username=u registry_password=p4ssw0rd initrd=initramfs-x86_64",
		       &err));
	assert_setting(&config, SETTING_GRPC_SERVER, "192.0.2.1:42113", ORIGIN_KERNEL);
	assert_setting(&config, SETTING_ID, "52:54:00:12:34:56", ORIGIN_KERNEL);
	assert_setting(&config, SETTING_HW_ADDR, "52:54:00:12:34:57", ORIGIN_KERNEL);
	assert_false(config_bool(&config, SETTING_GRPC_TLS));
	assert_true(config_bool(&config, SETTING_GRPC_INSECURE_TLS));
	config_free(&config);
	assert_ok(load(&config, NULL,
		       LIST("TINKERBELL_GRPC_AUTHORITY=h:1", "WORKER_ID=a", "TINKERBELL_TLS=true",
			    "REGISTRY_PASSWORD=x"),
		       "", &err));
	assert_setting(&config, SETTING_GRPC_SERVER, "h:1", ORIGIN_ENVIRONMENT);
	assert_setting(&config, SETTING_ID, "a", ORIGIN_ENVIRONMENT);
	assert_true(config_bool(&config, SETTING_GRPC_TLS));
	config_free(&config);
	assert_ok(load(&config, LIST("--tinkerbell-tls", "-worker-id=a"), NULL, "", &err));
	assert_true(config_bool(&config, SETTING_GRPC_TLS));
	assert_setting(&config, SETTING_ID, "a", ORIGIN_FLAG);
	config_free(&config);
}

static void lets_the_nearest_win(void **state)
{
	(void)state;
	struct error err;
	struct config config;
	static const char kernel[] = "worker_id=kernel";
	assert_ok(load(&config, LIST("--id=flag"), LIST("AGENT_ID=env"), kernel, &err));
	assert_setting(&config, SETTING_ID, "flag", ORIGIN_FLAG);
	config_free(&config);
	assert_ok(load(&config, NULL, LIST("AGENT_ID=env"), kernel, &err));
	assert_setting(&config, SETTING_ID, "env", ORIGIN_ENVIRONMENT);
	config_free(&config);
	assert_ok(load(&config, NULL, NULL, kernel, &err));
	assert_setting(&config, SETTING_ID, "kernel", ORIGIN_KERNEL);
	config_free(&config);
	assert_ok(load(&config, NULL, NULL, "", &err));
	assert_setting(&config, SETTING_LOG_LEVEL, "info", ORIGIN_DEFAULT);
	config_free(&config);
	assert_ok(load(&config, LIST("--id=one", "--worker-id=two"), NULL, "", &err));
	assert_setting(&config, SETTING_ID, "two", ORIGIN_FLAG);
	config_free(&config);
}

static void takes_empty_for_none(void **state)
{
	(void)state;
	struct error err;
	struct config config;
	assert_ok(load(&config, LIST("--id="), LIST("AGENT_ID="), "worker_id=kernel", &err));
	assert_setting(&config, SETTING_ID, "kernel", ORIGIN_KERNEL);
	config_free(&config);
	assert_ok(load(&config, NULL, LIST("AGENT_GRPC_TLS="), "tinkerbell_tls= log_level=\"\"",
		       &err));
	assert_setting(&config, SETTING_GRPC_TLS, "false", ORIGIN_DEFAULT);
	assert_setting(&config, SETTING_LOG_LEVEL, "info", ORIGIN_DEFAULT);
	config_free(&config);
}

static void falls_back_to_the_hardware_address(void **state)
{
	(void)state;
	struct error err;
	struct config config;
	assert_ok(load(&config, NULL, NULL, "hw_addr=52:54:00:00:00:01", &err));
	assert_string_equal(config_text(&config, SETTING_ID), "52:54:00:00:00:01");
	config_free(&config);
}

static void names_wrong_values_and_their_origin(void **state)
{
	(void)state;
	struct error err;
	struct config config;
	assert_fails(load(&config, NULL, NULL, "tinkerbell_tls=perhaps", &err), ERROR_INPUT,
		     "grpc-tls=perhaps");
	assert_contains(err.text, "kernel command line tinkerbell_tls");
	config_free(&config);
	assert_fails(load(&config, NULL, LIST("TINKERBELL_TLS=yes"), "", &err), ERROR_INPUT,
		     "environment TINKERBELL_TLS");
	config_free(&config);
	assert_fails(load(&config, NULL, LIST("AGENT_GRPC_TLS=yes"), "", &err), ERROR_INPUT,
		     "environment AGENT_GRPC_TLS");
	config_free(&config);
	assert_fails(load(&config, LIST("--backoff-max-interval=soon"), NULL, "", &err),
		     ERROR_INPUT, "flag --backoff-max-interval");
	config_free(&config);
	assert_fails(load(&config, LIST("--nonsense"), NULL, "", &err), ERROR_INPUT, "--nonsense");
	config_free(&config);
	assert_fails(load(&config, LIST("--id"), NULL, "", &err), ERROR_INPUT, "--id");
	config_free(&config);
	assert_fails(load(&config, LIST("--set", "a=1\nb=2"), NULL, "", &err), ERROR_INPUT,
		     "--set: a has a value of several lines");
	config_free(&config);
}

static void stops_at_the_first_word(void **state)
{
	(void)state;
	struct error err;
	struct config config;
	int rest = -1;
	char *argv[] = {(char[]){"tink-worker"}, (char[]){"--grpc-tls"}, (char[]){"--id"},
			(char[]){"x"},           (char[]){"run"},        (char[]){"--id=y"}};
	assert_ok(config_load(&config, 6, argv, NULL, "", &rest, &err));
	assert_int_equal(rest, 4);
	assert_string_equal(config_text(&config, SETTING_ID), "x");
	config_free(&config);
	assert_ok(config_load(&config, 4, argv, NULL, "", &rest, &err));
	assert_int_equal(rest, 4);
	config_free(&config);
}

/* As the kernel splits it: lib/cmdline.c, next_arg(). */
static void splits_the_kernel_line_as_the_kernel_does(void **state)
{
	(void)state;
	static const struct {
		const char *line, *key, *expected; /* NULL: not there */
	} cases[] = {
		{"key=value", "key", "value"},
		{"  key=value\n", "key", "value"},
		{"a=b key=value c=d", "key", "value"},
		{"key=\"two words\" b", "key", "two words"},
		{"\"key=two words\" b", "key", "two words"},
		{"key=a\"b c\"d e", "key", "a\"b c\"d"},
		{"key=\"\"", "key", ""},
		{"key=", "key", ""},
		{"key= x", "key", ""},
		{"key=a key=b", "key", "b"},
		{"key=a other=x key=", "key", ""},
		{"key=\"never closed", "key", "never closed"},
		{"key=a=b", "key", "a=b"},
		{"key=a\r\n", "key", "a"},
		{"x\r\rkey=a", "key", "a"},
		{"key", "key", NULL},
		{"keys=a", "key", NULL},
		{"akey=a", "key", NULL},
		{"note=\"x key=a\"", "key", NULL},
		{"", "key", NULL},
		{"\"", "key", NULL},
		{"-- key=a", "key", "a"},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		char *value = kernel_line_get(cases[i].line, cases[i].key);
		if (!cases[i].expected)
			assert_null(value);
		else if (!value || strcmp(value, cases[i].expected) != 0)
			fail_msg("%s: \"%s\", expected \"%s\"", cases[i].line,
				 value ? value : "(none)", cases[i].expected);
		free(value);
	}
}

static void reads_durations_as_go_does(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int64_t ms; /* -1: none */
	} cases[] = {
		{"5s", 5000},    {"1m30s", 90000},   {"500ms", 500},   {"1.5s", 1500},
		{"1h", 3600000}, {"2h45m", 9900000}, {"1500us", 1},    {"0", 0},
		{"30", 30000},   {"0s", 0},          {"", -1},         {"s", -1},
		{"5 s", -1},     {"-5s", -1},        {"5x", -1},       {"5s3", -1},
		{"1.2.3s", -1},  {".", -1},          {"5m extra", -1}, {"99999999999999h", -1},
		{"1e3s", -1},    {"0x10", -1},       {"5d", -1},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		int64_t ms = -1;
		bool ok = parse_duration_ms(cases[i].text, &ms);
		if (ok != (cases[i].ms >= 0) || (ok && ms != cases[i].ms))
			fail_msg("\"%s\": %d %lld", cases[i].text, ok, (long long)ms);
	}
}

static void shows_origins_and_no_secrets(void **state)
{
	(void)state;
	struct error err;
	struct config config;
	char *text = NULL;
	size_t size = 0;
	assert_ok(load(&config, LIST("--id=flag-id"),
		       LIST("HTTPS_PROXY=http://user:proxypass@proxy:3128"),
		       "registry_password=registrypass grpc_authority=h:1", &err));
	FILE *out = open_memstream(&text, &size);
	config_print(&config, out);
	fclose(out);
	assert_lacks(text, "registrypass");
	assert_lacks(text, "proxypass");
	assert_contains(text, "flag-id");
	assert_contains(text, "flag --id");
	assert_contains(text, "kernel command line grpc_authority");
	assert_contains(text, "environment HTTPS_PROXY");
	free(text);
	char leaked[] = "registrypass proxypass";
	secret_redact(leaked);
	assert_string_equal(leaked, "*** ***");
	config_free(&config);
}

static void documents_every_setting(void **state)
{
	(void)state;
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	config_print_help(out);
	fclose(out);
	for (size_t id = 0; id < SETTING_COUNT; id++) {
		char variable[64], flag[64];
		snprintf(flag, sizeof(flag), "--%s", config_settings[id].name);
		assert_contains(text, flag);
		assert_contains(text,
				setting_variable(&config_settings[id], variable, sizeof(variable)));
		assert_true(config_settings[id].doc && config_settings[id].doc[0]);
	}
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_every_flag),
		cmocka_unit_test(takes_every_variable),
		cmocka_unit_test(takes_every_kernel_key),
		cmocka_unit_test(knows_the_spellings_of_the_field),
		cmocka_unit_test(lets_the_nearest_win),
		cmocka_unit_test(takes_empty_for_none),
		cmocka_unit_test(falls_back_to_the_hardware_address),
		cmocka_unit_test(names_wrong_values_and_their_origin),
		cmocka_unit_test(stops_at_the_first_word),
		cmocka_unit_test(splits_the_kernel_line_as_the_kernel_does),
		cmocka_unit_test(reads_durations_as_go_does),
		cmocka_unit_test(shows_origins_and_no_secrets),
		cmocka_unit_test(documents_every_setting),
	};
	return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
