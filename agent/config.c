/* The table of settings and what is made from it: see config.h. */
#include "agent/config.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "platform/cleanup.h"
#include "platform/secret.h"
#include "platform/text.h"

/* clang-format would spread this table beyond recognition. */
/* clang-format off */
const struct setting config_settings[SETTING_COUNT] = {
	[SETTING_ID] = {.name = "id", .flags_too = {"worker-id"},
		.environment = {"WORKER_ID", "ID"}, .kernel = {"worker_id"},
		.doc = "how the server knows this machine: as a rule the MAC address; default: "
		       "hw-addr"},
	[SETTING_GRPC_SERVER] = {.name = "grpc-server",
		.flags_too = {"tinkerbell-grpc-authority"},
		.environment = {"TINKERBELL_GRPC_AUTHORITY"}, .kernel = {"grpc_authority"},
		.doc = "the Tink server: host:port (port 42113 if none is given), [IPv6]:port or "
		       "unix:/path; a comma list of several addresses is tried in turn"},
	[SETTING_GRPC_TLS] = {.name = "grpc-tls", .flags_too = {"tinkerbell-tls"},
		.environment = {"TINKERBELL_TLS"}, .kernel = {"tinkerbell_tls"},
		.type = SETTING_BOOL, .fallback = "false",
		.doc = "speak TLS with the Tink server"},
	[SETTING_GRPC_INSECURE_TLS] = {.name = "grpc-insecure-tls",
		.flags_too = {"tinkerbell-insecure-tls"},
		.environment = {"TINKERBELL_INSECURE_TLS"},
		.kernel = {"tinkerbell_insecure_tls"}, .type = SETTING_BOOL, .fallback = "false",
		.doc = "do not check the Tink server's certificate (TLS without safety)"},
	[SETTING_TLS_CA] = {.name = "tls-ca", .kernel = {"tls_ca"},
		.doc = "file of CA certificates (PEM) to trust: by the Tink server's connection instead of the system's, by downloads besides; "
		       "or a URL with the digest of that file: https://…/ca.pem#sha256=<hex>"},
	[SETTING_TLS_CERT] = {.name = "tls-cert", .kernel = {"tls_cert"},
		.doc = "file with the certificate (PEM) that the Tink server is shown, and those "
		       "between it and the CA"},
	[SETTING_TLS_KEY] = {.name = "tls-key", .kernel = {"tls_key"},
		.doc = "file with its private key (PEM, not encrypted); default: in the file of tls-cert"},
	[SETTING_TLS_SERVER_NAME] = {.name = "tls-server-name", .kernel = {"tls_server_name"},
		.doc = "the name that the Tink server's certificate must have, instead of that in "
		       "grpc-server"},
	[SETTING_TLS_PIN] = {.name = "tls-pin", .kernel = {"tls_pin"},
		.doc = "sha256:<hex> of the Tink server's certificate, key:sha256:<hex> or "
		       "sha256//<base64> of its public key: no other is taken; of a comma list one "
		       "must fit; besides the check of the certificate, or, with grpc-insecure-tls, instead of it"},
	[SETTING_GRPC_CALL_TIMEOUT] = {.name = "grpc-call-timeout", .type = SETTING_DURATION,
		.fallback = "95s",
		.doc = "how long a call may go unanswered before it is cut and tried again (the "
		       "server itself takes up to a minute)"},
	[SETTING_RETRY_INTERVAL] = {.name = "grpc-retry-interval", .type = SETTING_DURATION,
		.fallback = "5s",
		.doc = "pause before the server is asked again when it has nothing to do"},
	[SETTING_BACKOFF_MAX] = {.name = "backoff-max-interval", .type = SETTING_DURATION,
		.fallback = "5s",
		.doc = "the longest pause between two tries after a failure"},
	[SETTING_PROGRESS_INTERVAL] = {.name = "progress-interval",
		.kernel = {"progress_interval"}, .type = SETTING_DURATION, .fallback = "15s",
		.doc = "how often the server is told how far an action is, besides at every new "
		       "phase; 0: not at all"},
	[SETTING_TRANSPORT] = {.name = "transport", .fallback = "grpc",
		.doc = "how actions come: grpc (from a server) or file (see workflow-file)"},
	[SETTING_NATIVE_ACTIONS] = {.name = "native-actions", .kernel = {"native_actions"},
		.fallback = "all",
		.doc = "run published actions natively from these registries: all, none or a "
		       "comma list"},
	[SETTING_REBOOT_COMMAND] = {.name = "reboot-command",
		.doc = "program that is run with \"reboot\" or \"poweroff\" instead of doing it"},
	[SETTING_LOG_LEVEL] = {.name = "log-level", .environment = {"LOG_LEVEL"},
		.kernel = {"log_level"}, .fallback = "info",
		.doc = "debug, info, warning or error"},
	[SETTING_LOG_FORMAT] = {.name = "log-format", .kernel = {"log_format"},
		.fallback = "text",
		.doc = "text or json"},
	[SETTING_STATUS_FILE] = {.name = "status-file", .fallback = "/run/tink-worker/status",
		.doc = "where the worker says what it is doing, for the page on the consoles and "
		       "`tink-worker status`; none: nowhere"},
	[SETTING_LOG_DIR] = {.name = "log-dir", .kernel = {"log_dir"},
		.fallback = "/run/tink-worker/logs",
		.doc = "folder for the log in files, 1 MiB at most; none: no files"},
	[SETTING_BUNDLE_URL] = {.name = "bundle-url", .kernel = {"bundle_url"},
		.doc = "where a failed action uploads what tink-worker bundle collects, by HTTP "
		       "PUT; {id}, {workflow}, {action} and {time} are replaced"},
	[SETTING_ROOT] = {.name = "root",
		.doc = "prefix below which /sys and /proc are read (for tests on captured "
		       "machines)"},
	[SETTING_HTTP_PROXY] = {.name = "http-proxy",
		.environment = {"HTTP_PROXY", "http_proxy"}, .kernel = {"HTTP_PROXY"},
		.doc = "proxy for http:// URLs"},
	[SETTING_HTTPS_PROXY] = {.name = "https-proxy",
		.environment = {"HTTPS_PROXY", "https_proxy"}, .kernel = {"HTTPS_PROXY"},
		.doc = "proxy for https:// URLs"},
	[SETTING_NO_PROXY] = {.name = "no-proxy", .environment = {"NO_PROXY", "no_proxy"},
		.kernel = {"NO_PROXY"},
		.doc = "hosts that are reached without a proxy"},
	[SETTING_HW_ADDR] = {.name = "hw-addr", .kernel = {"hw_addr"},
		.doc = "MAC address of the interface the machine booted from"},
	[SETTING_SYSLOG_HOST] = {.name = "syslog-host", .environment = {"SYSLOG_HOST"},
		.kernel = {"syslog_host"},
		.doc = "where logs are sent, with the kernel's: a comma list of hosts (UDP 514, "
		       "RFC 3164) and of URLs (udp://, tcp://, tls:// with host[:port] and "
		       "?format=rfc5424, framing=newline, facility=local0, max=BYTES, "
		       "kernel=false)"},
	[SETTING_FACILITY] = {.name = "facility", .kernel = {"facility"},
		.flags = SETTING_NO_EFFECT,
		.doc = "free text of the site"},
	[SETTING_INTERFACE] = {.name = "interface", .kernel = {"interface"},
		.flags = SETTING_BY_INIT,
		.doc = "use DHCP on exactly this interface"},
	[SETTING_VLAN_ID] = {.name = "vlan-id", .kernel = {"vlan_id"}, .flags = SETTING_BY_INIT,
		.doc = "VLAN on the boot interface"},
	[SETTING_IPAM] = {.name = "ipam", .kernel = {"ipam"}, .flags = SETTING_BY_INIT,
		.doc = "static network: mac:vlan:ip:netmask:gateway:hostname:dns:search:ntp"},
	[SETTING_REGISTRY_NAME] = {.name = "registry-name", .flags_too = {"docker-registry"},
		.environment = {"DOCKER_REGISTRY"}, .kernel = {"docker_registry"},
		.doc = "registry to log in to: host[:port]"},
	[SETTING_REGISTRY_USER] = {.name = "registry-user", .flags_too = {"registry-username"},
		.environment = {"REGISTRY_USERNAME"}, .kernel = {"registry_username"},
		.doc = "user name at that registry"},
	[SETTING_REGISTRY_PASS] = {.name = "registry-pass", .flags_too = {"registry-password"},
		.environment = {"REGISTRY_PASSWORD"}, .kernel = {"registry_password"},
		.flags = SETTING_SECRET,
		.doc = "password at that registry"},
	[SETTING_INSECURE_REGISTRIES] = {.name = "insecure-registries",
		.kernel = {"insecure_registries"},
		.doc = "registries reached by unverified TLS or, where there is none, plain HTTP: "
		       "a comma list of host[:port], of networks (10.0.0.0/8), or of "
		       "http://host[:port] for plain HTTP only"},
	[SETTING_ATTRIBUTE_DETECTION] = {.name = "attribute-detection", .type = SETTING_BOOL,
		.fallback = "true",
		.doc = "send the hardware inventory to the server (see `tink-worker inventory`)"},
	[SETTING_INVENTORY_WAIT] = {.name = "inventory-wait", .kernel = {"inventory_wait"},
		.type = SETTING_DURATION, .fallback = "10s",
		.doc = "how long the first inventory of a machine that has just booted waits at most "
		       "for disks, until no new one came for 2 s"},
	[SETTING_TINK_WORKER_IMAGE] = {.name = "tink-worker-image",
		.kernel = {"tink_worker_image"}, .flags = SETTING_NO_EFFECT,
		.doc = "image of the agent: this program is the agent"},
	[SETTING_RUNTIME] = {.name = "runtime", .flags = SETTING_NO_EFFECT,
		.doc = "container runtime"},
	[SETTING_WORKFLOW_FILE] = {.name = "workflow-file", .flags_too = {"file", "workflow-path"},
		.environment = {"AGENT_WORKFLOW_PATH"}, .kernel = {"workflow_file"},
		.doc = "run the workflow in this file instead of asking a server: a path or URL, "
		       "with #sha256=HEX behind it if it is to be checked"},
	[SETTING_VALUES] = {.name = "values", .kernel = {"workflow_values"},
		.doc = "values for the workflow file's template: a YAML or JSON file, path or URL "
		       "as above"},
	[SETTING_SET] = {.name = "set", .flags = SETTING_SECRET | SETTING_LIST,
		.doc = "NAME=VALUE for the workflow file's template, several times if need be: "
		       "device_1=…, Hardware.Disks[0]=/dev/sda"},
	[SETTING_NATS_SERVER] = {.name = "nats-server", .flags = SETTING_NO_EFFECT,
		.doc = "for the NATS transport"},
	[SETTING_NATS_STREAM] = {.name = "nats-stream", .flags = SETTING_NO_EFFECT,
		.doc = "for the NATS transport"},
	[SETTING_NATS_EVENTS] = {.name = "nats-events", .flags = SETTING_NO_EFFECT,
		.doc = "for the NATS transport"},
	[SETTING_NATS_ACTIONS] = {.name = "nats-actions", .flags = SETTING_NO_EFFECT,
		.doc = "for the NATS transport"},
	[SETTING_DOCKER_SOCKET] = {.name = "docker-socket", .flags = SETTING_NO_EFFECT,
		.doc = "for the docker runtime"},
	[SETTING_CONTAINERD_NAMESPACE] = {.name = "containerd-namespace",
		.flags = SETTING_NO_EFFECT,
		.doc = "for the containerd runtime"},
	[SETTING_CONTAINERD_SOCKET] = {.name = "containerd-socket", .flags = SETTING_NO_EFFECT,
		.doc = "for the containerd runtime"},
	[SETTING_CONTAINERD_REGISTRY_CONFIG] = {.name = "containerd-registry-config-path",
		.flags = SETTING_NO_EFFECT,
		.doc = "for the containerd runtime"},
	[SETTING_OLD_RETRY_INTERVAL] = {.name = "retry-interval", .flags = SETTING_NO_EFFECT,
		.doc = "of the old tink-worker"},
	[SETTING_OLD_MAX_RETRY] = {.name = "max-retry", .flags = SETTING_NO_EFFECT,
		.doc = "of the old tink-worker"},
	[SETTING_OLD_CAPTURE_LOGS] = {.name = "capture-action-logs", .type = SETTING_BOOL,
		.flags = SETTING_NO_EFFECT,
		.doc = "of the old tink-worker"},
	[SETTING_OLD_TIMEOUT] = {.name = "timeout", .flags = SETTING_NO_EFFECT,
		.doc = "of the old tink-worker"},
	[SETTING_OLD_MAX_FILE_SIZE] = {.name = "max-file-size", .flags = SETTING_NO_EFFECT,
		.doc = "of the old tink-worker"},
};
/* clang-format on */

/* The kernel's own rules: lib/cmdline.c, next_arg(). Quotes may stand around a word or a value;
 * nothing is escaped. */
static const char *next_word(const char *at, const char **ret_end)
{
	while (isspace((unsigned char)*at))
		at++;
	if (*at == '\0')
		return NULL;
	bool quoted = false;
	const char *end = at;
	for (; *end && (quoted || !isspace((unsigned char)*end)); end++)
		if (*end == '"')
			quoted = !quoted;
	*ret_end = end;
	return at;
}

char *kernel_line_get(const char *line, const char *key)
{
	char *found = NULL;
	size_t key_size = strlen(key);
	const char *end;
	for (const char *word = line; (word = next_word(word, &end)) != NULL; word = end) {
		const char *stop = end;
		if (*word == '"') {
			word++;
			if (stop > word && stop[-1] == '"')
				stop--;
		}
		if ((size_t)(stop - word) <= key_size || strncmp(word, key, key_size) != 0 ||
		    word[key_size] != '=')
			continue;
		const char *value = word + key_size + 1;
		if (value < stop && *value == '"') {
			value++;
			if (stop > value && stop[-1] == '"')
				stop--;
		}
		free(found);
		found = text_dup_size(value, (size_t)(stop - value));
	}
	return found;
}

bool parse_duration_ms(const char *text, int64_t *ret_ms)
{
	static const struct {
		const char *unit;
		double ms;
	} units[] = {{"ms", 1},   {"h", 3600000}, {"m", 60000},
		     {"s", 1000}, {"us", 0.001},  {"ns", 0.000001}};
	double total = 0;
	const char *at = text;
	if (*at == '\0')
		return false;
	while (*at) {
		char number[32];
		size_t digits = strspn(at, "0123456789.");
		if (digits == 0 || digits >= sizeof(number))
			return false;
		memcpy(number, at, digits);
		number[digits] = '\0';
		char *end;
		double value = strtod(number, &end);
		if (*end != '\0')
			return false;
		at += digits;
		if (*at == '\0' && at == text + digits) {
			total = value * 1000;
			break;
		}
		size_t unit = 0, count = sizeof(units) / sizeof(units[0]);
		while (unit < count && strncmp(at, units[unit].unit, strlen(units[unit].unit)) != 0)
			unit++;
		if (unit == count)
			return false;
		total += value * units[unit].ms;
		at += strlen(units[unit].unit);
	}
	if (total > 1e12)
		return false;
	*ret_ms = (int64_t)total;
	return true;
}

char *setting_variable(const struct setting *setting, char *out, size_t out_size)
{
	snprintf(out, out_size, "AGENT_%s", setting->name);
	for (char *p = out; *p; p++)
		*p = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
	return out;
}

static void put(struct config *config, size_t id, const char *value, enum origin origin,
		const char *spelling)
{
	if (value[0] == '\0')
		return;
	bool adds = (config_settings[id].flags & SETTING_LIST) && origin == ORIGIN_FLAG &&
		    config->values[id].origin == ORIGIN_FLAG;
	char *old = config->values[id].value;
	config->values[id].value = adds ? text_format("%s\n%s", old, value) : text_dup(value);
	free(old);
	config->values[id].origin = origin;
	config->values[id].spelling = spelling;
}

static void load_kernel(struct config *config, const char *line)
{
	for (size_t id = 0; id < SETTING_COUNT; id++) {
		for (size_t i = 0; i < SPELLINGS_MOST && config_settings[id].kernel[i]; i++) {
			char *value = kernel_line_get(line, config_settings[id].kernel[i]);
			if (value)
				put(config, id, value, ORIGIN_KERNEL,
				    config_settings[id].kernel[i]);
			free(value);
		}
	}
}

static const char *variable(char *const *environment, const char *name)
{
	size_t size = strlen(name);
	for (; environment && *environment; environment++)
		if (strncmp(*environment, name, size) == 0 && (*environment)[size] == '=')
			return *environment + size + 1;
	return NULL;
}

static void load_environment(struct config *config, char *const *environment)
{
	for (size_t id = 0; id < SETTING_COUNT; id++) {
		/* The present spelling wins over the old ones, the first of these over the next. */
		for (size_t i = SPELLINGS_MOST; i-- > 0;) {
			const char *name = config_settings[id].environment[i];
			const char *value = name ? variable(environment, name) : NULL;
			if (value)
				put(config, id, value, ORIGIN_ENVIRONMENT, name);
		}
		char name[64];
		const char *value = variable(
			environment, setting_variable(&config_settings[id], name, sizeof(name)));
		if (value)
			put(config, id, value, ORIGIN_ENVIRONMENT, "AGENT_…");
	}
}

static bool flag_is(const struct setting *setting, const char *flag, size_t size)
{
	if (strlen(setting->name) == size && strncmp(setting->name, flag, size) == 0)
		return true;
	for (size_t i = 0; i < SPELLINGS_MOST && setting->flags_too[i]; i++)
		if (strlen(setting->flags_too[i]) == size &&
		    strncmp(setting->flags_too[i], flag, size) == 0)
			return true;
	return false;
}

static int load_flags(struct config *config, int argc, char *const *argv, int *ret_rest,
		      struct error *err)
{
	int at = 1;
	for (; at < argc && argv[at][0] == '-' && argv[at][1] != '\0'; at++) {
		const char *flag = argv[at] + (argv[at][1] == '-' ? 2 : 1);
		size_t size = strcspn(flag, "=");
		size_t id = 0;
		while (id < SETTING_COUNT && !flag_is(&config_settings[id], flag, size))
			id++;
		if (id == SETTING_COUNT)
			return error_set(err, ERROR_INPUT,
					 "unknown flag %.*s (tink-worker --help lists them)",
					 (int)(size + (size_t)(flag - argv[at])), argv[at]);
		const char *value = flag[size] == '=' ? flag + size + 1 : NULL;
		if (!value && config_settings[id].type == SETTING_BOOL)
			value = "true";
		if (!value && at + 1 >= argc)
			return error_set(err, ERROR_INPUT, "flag %s needs a value", argv[at]);
		if (!value)
			value = argv[++at];
		/* They are kept a line each. */
		if ((config_settings[id].flags & SETTING_LIST) && strchr(value, '\n'))
			return error_set(err, ERROR_INPUT,
					 "flag --%s: %.*s has a value of several lines: give it in "
					 "the file of --values",
					 config_settings[id].name, (int)strcspn(value, "=\n"),
					 value);
		put(config, id, value, ORIGIN_FLAG, config_settings[id].name);
	}
	*ret_rest = at;
	return 0;
}

static const char *origin_text(const struct config *config, size_t id, char *out, size_t out_size)
{
	char name[64];
	switch (config->values[id].origin) {
	case ORIGIN_FLAG:
		snprintf(out, out_size, "flag --%s", config->values[id].spelling);
		break;
	case ORIGIN_ENVIRONMENT:
		snprintf(out, out_size, "environment %s",
			 strcmp(config->values[id].spelling, "AGENT_…") == 0
				 ? setting_variable(&config_settings[id], name, sizeof(name))
				 : config->values[id].spelling);
		break;
	case ORIGIN_KERNEL:
		snprintf(out, out_size, "kernel command line %s", config->values[id].spelling);
		break;
	case ORIGIN_DEFAULT:
		snprintf(out, out_size, "default");
		break;
	}
	return out;
}

static int check(const struct config *config, struct error *err)
{
	for (size_t id = 0; id < SETTING_COUNT; id++) {
		const char *value = config->values[id].value;
		char origin[128];
		bool truth;
		int64_t ms;
		if (value[0] == '\0')
			continue;
		if (config_settings[id].type == SETTING_BOOL && !text_parse_bool(value, &truth))
			return error_set(err, ERROR_INPUT, "%s=%s: must be true or false (from %s)",
					 config_settings[id].name, value,
					 origin_text(config, id, origin, sizeof(origin)));
		if (config_settings[id].type == SETTING_DURATION && !parse_duration_ms(value, &ms))
			return error_set(err, ERROR_INPUT,
					 "%s=%s: must be a duration like 5s or 1m30s (from %s)",
					 config_settings[id].name, value,
					 origin_text(config, id, origin, sizeof(origin)));
	}
	return 0;
}

/* They need not have a scheme. */
static void learn_proxy(const char *value)
{
	auto_free char *url = text_format("http://%s", value);
	if (!strstr(value, "://"))
		secret_add_url(url);
}

/* One that is too short to be looked for in texts is hidden where the kernel tells it. */
static void learn_secret(const struct setting *setting, const char *value)
{
	secret_add(value);
	for (size_t i = 0; value[0] && strlen(value) < SECRET_SHORTEST && i < SPELLINGS_MOST &&
			   setting->kernel[i];
	     i++) {
		auto_free char *word = text_format("%s=%s", setting->kernel[i], value);
		secret_add(word);
	}
}

int config_load(struct config *config, int argc, char *const *argv, char *const *environment,
		const char *kernel_line, int *ret_rest, struct error *err)
{
	*config = (struct config){.values = {{.value = NULL}}};
	for (size_t id = 0; id < SETTING_COUNT; id++)
		config->values[id].value =
			text_dup(config_settings[id].fallback ? config_settings[id].fallback : "");
	load_kernel(config, kernel_line);
	load_environment(config, environment);
	if (load_flags(config, argc, argv, ret_rest, err) < 0 || check(config, err) < 0)
		return -1;
	/* The MAC address is what a machine is known by unless something else is said. */
	if (!config_text(config, SETTING_ID)[0])
		put(config, SETTING_ID, config_text(config, SETTING_HW_ADDR),
		    config->values[SETTING_HW_ADDR].origin, "hw-addr");
	for (size_t id = 0; id < SETTING_COUNT; id++)
		if (config_settings[id].flags & SETTING_SECRET)
			learn_secret(&config_settings[id], config->values[id].value);
	secret_add_login(config_text(config, SETTING_REGISTRY_USER),
			 config_text(config, SETTING_REGISTRY_PASS));
	/* Proxies and others; what is no URL is left alone. */
	for (size_t id = 0; id < SETTING_COUNT; id++) {
		secret_add_url(config->values[id].value);
		secret_learn(config->values[id].value);
	}
	learn_proxy(config_text(config, SETTING_HTTP_PROXY));
	learn_proxy(config_text(config, SETTING_HTTPS_PROXY));
	/* What else stands there (the kernel tells all of it) may be of other programs. */
	secret_learn(kernel_line);
	secret_keep();
	return 0;
}

void config_free(struct config *config)
{
	for (size_t id = 0; id < SETTING_COUNT; id++)
		free(config->values[id].value);
	*config = (struct config){.values = {{.value = NULL}}};
}

const char *config_text(const struct config *config, enum setting_id id)
{
	return config->values[id].value;
}

bool config_bool(const struct config *config, enum setting_id id)
{
	bool value = false;
	text_parse_bool(config->values[id].value, &value);
	return value;
}

int64_t config_duration_ms(const struct config *config, enum setting_id id)
{
	int64_t ms = 0;
	parse_duration_ms(config->values[id].value, &ms);
	return ms;
}

void config_print(const struct config *config, FILE *out)
{
	for (size_t id = 0; id < SETTING_COUNT; id++) {
		char origin[128], shown[512];
		const char *value = config->values[id].value;
		if ((config_settings[id].flags & SETTING_SECRET) && value[0])
			value = "***";
		text_redact_url(value, shown, sizeof(shown));
		secret_redact(shown);
		fprintf(out, "%-32s %-40s %s%s\n", config_settings[id].name, shown,
			origin_text(config, id, origin, sizeof(origin)),
			config_settings[id].flags & SETTING_NO_EFFECT ? " (taken, without effect)"
								      : "");
	}
}

void config_print_help(FILE *out)
{
	for (size_t id = 0; id < SETTING_COUNT; id++) {
		const struct setting *setting = &config_settings[id];
		char name[64];
		fprintf(out, "  --%s%s\n      %s%s", setting->name,
			setting->type == SETTING_BOOL ? "" : " VALUE", setting->doc,
			setting->flags & SETTING_NO_EFFECT
				? " (taken for compatibility, without effect)"
				: "");
		if (setting->flags & SETTING_BY_INIT)
			fprintf(out, " (used by the initramfs)");
		if (setting->fallback)
			fprintf(out, "; default %s", setting->fallback);
		fprintf(out, "\n      also:");
		for (size_t i = 0; i < SPELLINGS_MOST && setting->flags_too[i]; i++)
			fprintf(out, " --%s", setting->flags_too[i]);
		fprintf(out, " %s", setting_variable(setting, name, sizeof(name)));
		for (size_t i = 0; i < SPELLINGS_MOST && setting->environment[i]; i++)
			fprintf(out, " %s", setting->environment[i]);
		for (size_t i = 0; i < SPELLINGS_MOST && setting->kernel[i]; i++)
			fprintf(out, " %s=(kernel)", setting->kernel[i]);
		fprintf(out, "\n");
	}
}
