/*
 * Settings: one table with every spelling (flag, environment, kernel command line), from which come
 * parsing, --help and `tink-worker config`. A flag wins over the environment, that over the kernel
 * command line, that over the default. An empty value counts as none.
 */
#ifndef AGENT_CONFIG_H
#define AGENT_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "platform/error.h"

enum setting_id {
	SETTING_ID,
	SETTING_GRPC_SERVER,
	SETTING_GRPC_TLS,
	SETTING_GRPC_INSECURE_TLS,
	SETTING_TLS_CA,
	SETTING_TLS_CERT,
	SETTING_TLS_KEY,
	SETTING_TLS_SERVER_NAME,
	SETTING_TLS_PIN,
	SETTING_GRPC_CALL_TIMEOUT,
	SETTING_RETRY_INTERVAL,
	SETTING_BACKOFF_MAX,
	SETTING_PROGRESS_INTERVAL,
	SETTING_TRANSPORT,
	SETTING_NATIVE_ACTIONS,
	SETTING_REBOOT_COMMAND,
	SETTING_LOG_LEVEL,
	SETTING_LOG_FORMAT,
	SETTING_STATUS_FILE,
	SETTING_LOG_DIR,
	SETTING_BUNDLE_URL,
	SETTING_ROOT,
	SETTING_HTTP_PROXY,
	SETTING_HTTPS_PROXY,
	SETTING_NO_PROXY,
	SETTING_HW_ADDR,
	SETTING_SYSLOG_HOST,
	SETTING_FACILITY,
	SETTING_INTERFACE,
	SETTING_VLAN_ID,
	SETTING_IPAM,
	SETTING_REGISTRY_NAME,
	SETTING_REGISTRY_USER,
	SETTING_REGISTRY_PASS,
	SETTING_INSECURE_REGISTRIES,
	SETTING_ATTRIBUTE_DETECTION,
	SETTING_INVENTORY_WAIT,
	SETTING_TINK_WORKER_IMAGE,
	SETTING_RUNTIME,
	SETTING_WORKFLOW_FILE,
	SETTING_VALUES,
	SETTING_SET,
	SETTING_NATS_SERVER,
	SETTING_NATS_STREAM,
	SETTING_NATS_EVENTS,
	SETTING_NATS_ACTIONS,
	SETTING_DOCKER_SOCKET,
	SETTING_CONTAINERD_NAMESPACE,
	SETTING_CONTAINERD_SOCKET,
	SETTING_CONTAINERD_REGISTRY_CONFIG,
	SETTING_OLD_RETRY_INTERVAL,
	SETTING_OLD_MAX_RETRY,
	SETTING_OLD_CAPTURE_LOGS,
	SETTING_OLD_TIMEOUT,
	SETTING_OLD_MAX_FILE_SIZE,
	SETTING_COUNT,
};

enum setting_type {
	SETTING_TEXT,
	SETTING_BOOL,
	SETTING_DURATION
};

enum setting_flags {
	SETTING_SECRET = 1,    /* shown as *** */
	SETTING_NO_EFFECT = 2, /* taken for compatibility, not used */
	SETTING_BY_INIT = 4,   /* used by the initramfs, shown here */
	SETTING_LIST = 8,      /* may be given several times as a flag: its value has a line each */
};

enum {
	SPELLINGS_MOST = 3
};

struct setting {
	const char *name; /* as --help and the documentation call it; the first flag */
	const char *flags_too[SPELLINGS_MOST];   /* further flags, without -- */
	const char *environment[SPELLINGS_MOST]; /* besides AGENT_<NAME>, which every setting has */
	const char *kernel[SPELLINGS_MOST];      /* keys of the kernel command line */
	enum setting_type type;
	unsigned flags; /* enum setting_flags */
	const char *fallback;
	const char *doc;
};

/* The table, in the order of enum setting_id. */
extern const struct setting config_settings[SETTING_COUNT];

enum origin {
	ORIGIN_DEFAULT,
	ORIGIN_KERNEL,
	ORIGIN_ENVIRONMENT,
	ORIGIN_FLAG
};

struct config {
	struct {
		char *value; /* never NULL after config_load() */
		enum origin origin;
		const char
			*spelling; /* the flag, variable or key it came by; NULL for the default */
	} values[SETTING_COUNT];
};

/*
 * Takes the settings from argv (flags up to the first other word; *ret_rest is its index, argc when
 * there is none), the environment (ended by NULL) and the text of a kernel command line ("" for
 * none). ERROR_INPUT names what is wrong and where it came from.
 */
int config_load(struct config *config, int argc, char *const *argv, char *const *environment,
		const char *kernel_line, int *ret_rest, struct error *err);
void config_free(struct config *config);

const char *config_text(const struct config *config, enum setting_id id);
bool config_bool(const struct config *config, enum setting_id id);
int64_t config_duration_ms(const struct config *config, enum setting_id id);

/* Prints every setting with value and origin, secrets hidden. */
void config_print(const struct config *config, FILE *out);

/* The options part of --help. */
void config_print_help(FILE *out);

/* Name of the environment variable that every setting has: "AGENT_GRPC_SERVER". Returns out. */
char *setting_variable(const struct setting *setting, char *out, size_t out_size);

/*
 * The value of key in a kernel command line as the kernel splits it (blanks, double quotes around a
 * value or a whole word; the later of two equal keys wins). Allocated; NULL when it is not there.
 */
char *kernel_line_get(const char *line, const char *key);

/* A Go duration ("1m30s", "500ms") or a bare number of seconds, in milliseconds. */
bool parse_duration_ms(const char *text, int64_t *ret_ms);

#endif
