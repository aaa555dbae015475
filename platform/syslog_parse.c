/* Where syslog goes, from a setting: see syslog.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "platform/cleanup.h"
#include "platform/syslog.h"
#include "platform/text.h"

/*
 * What receivers take at least: RFC 3164, 4.1 (1024), RFC 5424, 6.1 (2048); rsyslog and syslog-ng
 * take 8192 over a connection. MOST is what the receivers of today can be set to.
 */
enum {
	RFC3164_BYTES = 1024,
	RFC5424_BYTES = 2048,
	CONNECTION_BYTES = 8192,
	LEAST_BYTES = 480,
	MOST_BYTES = 65000
};

static bool parse_facility(const char *word, unsigned *ret_facility)
{
	static const char *const names[] = {
		"kern",   "user",   "mail",     "daemon", "auth",   "syslog", "lpr",    "news",
		"uucp",   "cron",   "authpriv", "ftp",    "ntp",    "audit",  "alert",  "clock",
		"local0", "local1", "local2",   "local3", "local4", "local5", "local6", "local7"};
	uint64_t number;
	if (text_parse_uint(word, 10, SYSLOG_FACILITY_MOST, &number)) {
		*ret_facility = (unsigned)number;
		return true;
	}
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcasecmp(word, names[i]) == 0) {
			*ret_facility = i;
			return true;
		}
	}
	return false;
}

static int parse_option(struct syslog_target *target, const char *key, const char *value,
			struct error *err)
{
	uint64_t number;
	if (strcmp(key, "format") == 0) {
		target->rfc5424 = strcasecmp(value, "rfc5424") == 0;
		if (target->rfc5424 || strcasecmp(value, "rfc3164") == 0)
			return 0;
		return error_set(err, ERROR_INPUT, "format=%s: must be rfc5424 or rfc3164", value);
	}
	if (strcmp(key, "framing") == 0) {
		target->newline = strcasecmp(value, "newline") == 0;
		if (target->newline || strcasecmp(value, "octets") == 0)
			return 0;
		return error_set(err, ERROR_INPUT, "framing=%s: must be octets or newline", value);
	}
	if (strcmp(key, "facility") == 0)
		return parse_facility(value, &target->facility)
			       ? 0
			       : error_set(err, ERROR_INPUT,
					   "facility=%s: must be a name (daemon, local0 …) or 0 to "
					   "23",
					   value);
	if (strcmp(key, "kernel") == 0)
		return text_parse_bool(value, &target->kernel)
			       ? 0
			       : error_set(err, ERROR_INPUT, "kernel=%s: must be true or false",
					   value);
	if (strcmp(key, "max") == 0) {
		if (!text_parse_uint(value, 10, MOST_BYTES, &number) || number < LEAST_BYTES)
			return error_set(err, ERROR_INPUT, "max=%s: must be %d to %d", value,
					 LEAST_BYTES, MOST_BYTES);
		target->most_bytes = (size_t)number;
		return 0;
	}
	return error_set(err, ERROR_INPUT,
			 "%s is unknown (there are: format, framing, facility, max, kernel)", key);
}

static int parse_options(struct syslog_target *target, char *text, struct error *err)
{
	for (char *rest = text, *word; (word = strtok_r(rest, "&", &rest)) != NULL;) {
		char *equals = strchr(word, '=');
		if (!equals)
			return error_set(err, ERROR_INPUT, "%s has no value", word);
		*equals = '\0';
		if (parse_option(target, word, equals + 1, err) < 0)
			return -1;
	}
	return 0;
}

/* host, host:port, [v6], [v6]:port, v6 (two colons or more). Cuts authority. */
static int parse_authority(struct syslog_target *target, char *authority, const char *default_port,
			   struct error *err)
{
	char *host = authority, *port = NULL;
	uint64_t number;
	if (*host == '[') {
		char *end = strchr(++host, ']');
		if (!end || (end[1] != '\0' && end[1] != ':'))
			return error_set(err, ERROR_INPUT, "the address is no [address]:port");
		port = end[1] == ':' ? end + 2 : NULL;
		*end = '\0';
	} else {
		char *colon = strchr(host, ':');
		if (colon && colon == strrchr(host, ':')) {
			*colon = '\0';
			port = colon + 1;
		}
	}
	if (host[0] == '\0' || strlen(host) >= sizeof(target->host))
		return error_set(err, ERROR_INPUT, "a host is missing or too long");
	for (const char *p = host; *p; p++)
		if ((unsigned char)*p <= 0x20 || (unsigned char)*p >= 0x7f || strchr("/@[]\"", *p))
			return error_set(err, ERROR_INPUT, "the host is no name or address");
	if (port && (!text_parse_uint(port, 10, 65535, &number) || number == 0))
		return error_set(err, ERROR_INPUT, "the port must be 1 to 65535");
	snprintf(target->host, sizeof(target->host), "%s", host);
	snprintf(target->port, sizeof(target->port), "%s", default_port);
	if (port)
		snprintf(target->port, sizeof(target->port), "%u", (unsigned)number);
	return 0;
}

static int parse_target(char *text, struct syslog_target *target, struct error *err)
{
	static const struct {
		const char *scheme;
		enum syslog_transport transport;
		const char *port;
	} schemes[] = {{"udp://", SYSLOG_UDP, "514"},
		       {"tcp://", SYSLOG_TCP, "514"},
		       {"tls://", SYSLOG_TLS, "6514"}};
	size_t scheme = 0, count = sizeof(schemes) / sizeof(schemes[0]);
	*target = (struct syslog_target){.facility = SYSLOG_DAEMON, .kernel = true};
	while (scheme < count &&
	       strncasecmp(text, schemes[scheme].scheme, strlen(schemes[scheme].scheme)) != 0)
		scheme++;
	if (scheme == count && strstr(text, "://"))
		return error_set(err, ERROR_INPUT,
				 "must be a host, or begin with udp://, tcp:// or tls://");
	bool plain = scheme == count;
	scheme = plain ? 0 : scheme;
	text += plain ? 0 : strlen(schemes[scheme].scheme);
	target->transport = schemes[scheme].transport;
	target->rfc5424 = target->transport != SYSLOG_UDP;
	target->names_host = !plain;
	char *options = strchr(text, '?');
	if (options)
		*options++ = '\0';
	size_t size = strlen(text);
	if (size > 0 && text[size - 1] == '/')
		text[size - 1] = '\0';
	if (parse_authority(target, text, schemes[scheme].port, err) < 0 ||
	    (options && parse_options(target, options, err) < 0))
		return -1;
	if (target->most_bytes == 0)
		target->most_bytes = target->transport != SYSLOG_UDP ? CONNECTION_BYTES
				     : target->rfc5424               ? RFC5424_BYTES
								     : RFC3164_BYTES;
	bool v6 = strchr(target->host, ':') != NULL;
	snprintf(target->shown, sizeof(target->shown), "%s%s%s%s:%s", schemes[scheme].scheme,
		 v6 ? "[" : "", target->host, v6 ? "]" : "", target->port);
	return 0;
}

int syslog_parse(const char *text, struct syslog_target targets[SYSLOG_TARGETS_MOST],
		 size_t *ret_count, struct error *err)
{
	static const char *const apart = " \t\r\n,";
	*ret_count = 0;
	while (*(text += strspn(text, apart))) {
		size_t size = strcspn(text, apart);
		auto_free char *word = text_dup_size(text, size);
		char shown[200];
		text_sanitize(text, size, shown, sizeof(shown));
		if (*ret_count == SYSLOG_TARGETS_MOST)
			return error_set(err, ERROR_INPUT, "%s: more than %d targets", shown,
					 SYSLOG_TARGETS_MOST);
		if (parse_target(word, &targets[*ret_count], err) < 0)
			return error_wrap(err, "%s", shown);
		++*ret_count;
		text += size;
	}
	return 0;
}
