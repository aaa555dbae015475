/* TLS with the Tink server as the settings say: see tls.h. */
#include "agent/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "platform/clock.h"
#include "platform/log.h"
#include "platform/text.h"

enum {
	CA_MAX = 4 << 20,
	FETCH_BACKOFF_MS = 1000,
	FETCH_BACKOFF_MOST_MS = 15000,
	CONNECT_MS = 10000,
	STALL_MS = 15000
};

static const char run_folder[] = "/run/tink-worker";

static const char *setting(const struct config *config, enum setting_id id)
{
	const char *text = config_text(config, id);
	return text[0] ? text : NULL;
}

static bool is_url(const char *text)
{
	return strncmp(text, "https://", 8) == 0 || strncmp(text, "http://", 7) == 0;
}

/* Whether the file is there with this content, from an earlier start. */
static bool is_there(const char *path, const struct digest *digest)
{
	auto_buffer struct buffer bytes = {.cap = CA_MAX};
	struct error ignored;
	struct digest found;
	if (buffer_read_file(&bytes, path, &ignored) < 0)
		return false;
	digest_memory(DIGEST_SHA256, bytes.data, bytes.size, &found);
	return digest_equal(&found, digest);
}

static int keep(const char *path, const struct buffer *bytes, struct error *err)
{
	auto_free char *fresh = text_format("%s.%d", path, (int)getpid());
	if (mkdir(run_folder, 0755) < 0 && errno != EEXIST)
		return error_sys(err, "make %s", run_folder);
	auto_close int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		return error_sys(err, "open %s", fresh);
	ssize_t written = write(fd, bytes->data, bytes->size);
	if (written != (ssize_t)bytes->size || rename(fresh, path) < 0) {
		error_sys(err, "write %s", path);
		unlink(fresh);
		return -1;
	}
	return 0;
}

/* One try. The digest makes the bytes what they are to be, whoever sends them: the server may well
 * have a certificate of the very authority that is asked for. */
static int fetch(const char *url, const struct digest *digest, const char *path, int cancel_fd,
		 struct error *err)
{
	auto_buffer struct buffer bytes = {.cap = CA_MAX};
	const struct http_options options = {.insecure = true,
					     .connect_timeout_ms = CONNECT_MS,
					     .stall_timeout_ms = STALL_MS,
					     .cancel_fd = cancel_fd};
	struct digest found;
	char texts[2][DIGEST_TEXT_SIZE];
	if (http_get_buffer(url, &options, &bytes, err) < 0)
		return -1;
	digest_memory(DIGEST_SHA256, bytes.data, bytes.size, &found);
	if (!digest_equal(&found, digest))
		return error_set(err, ERROR_CORRUPT, "what is there has %s, expected is %s",
				 digest_format(&found, texts[0]), digest_format(digest, texts[1]));
	return keep(path, &bytes, err);
}

static int fetch_until_there(const char *url, const struct digest *digest, const char *path,
			     int cancel_fd, struct error *err)
{
	char said[ERROR_TEXT_SIZE] = "";
	for (unsigned attempt = 0; fetch(url, digest, path, cancel_fd, err) < 0; attempt++) {
		if (err->kind == ERROR_CANCELLED)
			return -1;
		if (strcmp(said, err->text) != 0)
			log_warning("CA certificates are not there yet, trying on", "setting",
				    "tls-ca", "error", err->text);
		memcpy(said, err->text, sizeof(said));
		struct pollfd cancel = {.fd = cancel_fd, .events = POLLIN};
		if (poll(&cancel, 1,
			 (int)clock_backoff_ms(attempt, FETCH_BACKOFF_MS, FETCH_BACKOFF_MOST_MS)) >
		    0)
			return error_set(err, ERROR_CANCELLED, "cancelled");
	}
	return 0;
}

int tls_fetch_ca(struct config *config, int cancel_fd, struct error *err)
{
	static const char mark[] = "#sha256=";
	const char *ca = config_text(config, SETTING_TLS_CA);
	char shown[512], hex[DIGEST_TEXT_SIZE];
	struct digest digest;
	if (!is_url(ca))
		return 0;
	const char *fragment = strstr(ca, mark);
	auto_free char *digest_text =
		text_format("sha256:%s", fragment ? fragment + strlen(mark) : "");
	text_redact_url(ca, shown, sizeof(shown));
	if (!fragment || digest_parse(digest_text, &digest, err) < 0)
		return error_set(err, ERROR_INPUT,
				 "tls-ca=%s: a URL needs the digest of what is there: "
				 "https://…/ca.pem#sha256=<64 hex digits>",
				 shown);
	auto_free char *url = text_dup_size(ca, (size_t)(fragment - ca));
	auto_free char *path = text_format("%s/ca-%.64s.pem", run_folder,
					   digest_format(&digest, hex) + strlen("sha256:"));
	if (!is_there(path, &digest)) {
		if (fetch_until_there(url, &digest, path, cancel_fd, err) < 0)
			return error_wrap(err, "tls-ca");
		log_info("CA certificates fetched", "url", shown, "file", path);
	}
	free(config->values[SETTING_TLS_CA].value);
	config->values[SETTING_TLS_CA].value = take_pointer(path);
	return 0;
}

int tls_pins(const struct config *config, struct tls_pins *ret_pins, struct error *err)
{
	return tls_pins_parse(config_text(config, SETTING_TLS_PIN), ret_pins, err) < 0
		       ? error_wrap(err, "tls-pin")
		       : 0;
}

static int check_identity(const struct config *config, struct error *err)
{
	const char *cert = setting(config, SETTING_TLS_CERT);
	const char *key = setting(config, SETTING_TLS_KEY);
	bool of_key;
	if (key && !cert)
		return error_set(err, ERROR_INPUT,
				 "tls-key=%s: its certificate is missing, give tls-cert", key);
	if (cert && tls_check_identity(cert, key ? key : cert, &of_key, err) < 0) {
		err->kind = ERROR_INPUT;
		if (of_key && !key)
			error_append(err, ": give tls-key");
		return error_wrap(err, of_key && key ? "tls-key" : "tls-cert");
	}
	return 0;
}

/* What only a connection with TLS can keep. */
static int check_needs_tls(const struct config *config, struct error *err)
{
	static const enum setting_id ids[] = {SETTING_TLS_CERT, SETTING_TLS_KEY, SETTING_TLS_PIN,
					      SETTING_TLS_SERVER_NAME};
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
		if (setting(config, ids[i]))
			return error_set(err, ERROR_INPUT,
					 "%s is given, but no TLS is spoken with the Tink server: "
					 "give grpc-tls too",
					 config_settings[ids[i]].name);
	return 0;
}

int tls_prepare(const struct config *config, struct error *err)
{
	const char *ca = setting(config, SETTING_TLS_CA);
	struct tls_pins pins;
	if (ca && tls_check_roots(ca, err) < 0) {
		err->kind = ERROR_INPUT;
		return error_wrap(err, "tls-ca");
	}
	if (!config_bool(config, SETTING_GRPC_TLS))
		return check_needs_tls(config, err);
	if (check_identity(config, err) < 0 || tls_pins(config, &pins, err) < 0)
		return -1;
	if (config_bool(config, SETTING_GRPC_INSECURE_TLS) && pins.count > 0)
		log_info("the Tink server's certificate is checked by its pin alone", "setting",
			 "grpc-insecure-tls");
	else if (config_bool(config, SETTING_GRPC_INSECURE_TLS))
		log_warning("the Tink server's certificate is not checked", "setting",
			    "grpc-insecure-tls");
	return 0;
}

void tls_options(const struct config *config, const struct tls_pins *pins,
		 struct grpc_options *options)
{
	options->tls = config_bool(config, SETTING_GRPC_TLS);
	if (!options->tls)
		return;
	options->server_name = setting(config, SETTING_TLS_SERVER_NAME);
	options->http.ca_file = setting(config, SETTING_TLS_CA);
	options->http.client_cert = setting(config, SETTING_TLS_CERT);
	options->http.client_key = setting(config, SETTING_TLS_KEY);
	options->http.insecure = config_bool(config, SETTING_GRPC_INSECURE_TLS);
	options->http.pins = pins->count > 0 ? pins : NULL;
}
