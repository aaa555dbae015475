/*
 * Syslog: RFC 5424 and RFC 3164 messages to several targets by UDP (RFC 5426), TCP (RFC 6587) and
 * TLS (RFC 5425). Each target has a thread and a queue of its own: nobody who logs ever waits, and
 * what a target does not take yet is kept (SYSLOG_QUEUE_BYTES, the oldest dropped and counted)
 * until there is a network and somebody answers.
 */
#ifndef PLATFORM_SYSLOG_H
#define PLATFORM_SYSLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "platform/buffer.h"
#include "platform/error.h"
#include "platform/http.h"

enum {
	SYSLOG_TARGETS_MOST = 4,
	SYSLOG_QUEUE_BYTES = 512 << 10,
	SYSLOG_PARTS_MOST = 16,
	SYSLOG_HOST_SIZE = 256
};

enum syslog_transport {
	SYSLOG_UDP,
	SYSLOG_TCP,
	SYSLOG_TLS
};

/* Severities and facilities: RFC 5424, 6.2.1. */
enum syslog_severity {
	SYSLOG_ERROR = 3,
	SYSLOG_WARNING = 4,
	SYSLOG_INFO = 6,
	SYSLOG_DEBUG = 7
};
enum syslog_facility {
	SYSLOG_KERNEL = 0,
	SYSLOG_DAEMON = 3,
	SYSLOG_FACILITY_MOST = 23
};

struct syslog_target {
	enum syslog_transport transport;
	char host[SYSLOG_HOST_SIZE]; /* name or address, without brackets */
	char port[6];
	bool rfc5424;      /* else RFC 3164 */
	bool newline;      /* TCP, TLS: messages end with a newline; else they are counted */
	bool names_host;   /* RFC 3164: the host's name is told */
	bool kernel;       /* wants the kernel's messages */
	unsigned facility; /* of what is not the kernel's */
	size_t most_bytes; /* of one message */
	char shown[SYSLOG_HOST_SIZE + 32]; /* "udp://192.0.2.1:514" */
};

/*
 * Reads a setting: targets apart by blanks or commas, each a plain host (name, IPv4, IPv6 with or
 * without brackets, with or without a port): UDP 514, RFC 3164 without a host name, which is what
 * Tinkerbell's receiver takes; or udp://, tcp:// or tls:// with host, port (514, 514, 6514) and
 * after "?" of these, joined by "&": format=rfc5424|rfc3164 (default: rfc5424, for udp rfc3164),
 * framing=octets|newline, facility=NAME|0…23 (daemon), max=BYTES, kernel=BOOL (true). ERROR_INPUT
 * names the target that is wrong; *ret_count of those before it are right.
 */
int syslog_parse(const char *text, struct syslog_target targets[SYSLOG_TARGETS_MOST],
		 size_t *ret_count, struct error *err);

/* What is to be said. NULL and "" are none. */
struct syslog_message {
	bool has_facility; /* false: the target's */
	unsigned facility;
	unsigned severity;
	struct timespec time;
	const char *host;
	const char *app; /* made to fit what a name may be there */
	const char *process;
	const char *kind; /* MSGID */
	/* Structured data, RFC 5424 only. */
	const char *id, *workflow, *action, *state;
	const char *text; /* not ended by NUL */
	size_t text_size;
};

/*
 * Forms the message for a target and adds it, framed, to out: several messages when the text is too
 * long for one, at most SYSLOG_PARTS_MOST; each is cut on a character. ret_ends gets the offset in
 * out behind each, *ret_count their number.
 */
int syslog_form(const struct syslog_target *target, const struct syslog_message *message,
		struct buffer *out, size_t ret_ends[SYSLOG_PARTS_MOST], size_t *ret_count,
		struct error *err);

struct syslog;

/* Starts the threads. targets are copied. Those with TLS wait for syslog_trust(). */
int syslog_start(const struct syslog_target *targets, size_t count, struct syslog **ret_syslog,
		 struct error *err);

/* What TLS is checked with: roots besides the system's, NULL or "" for none (copied). The first
 * call counts. */
void syslog_trust(struct syslog *syslog, const char *ca_file);

/* Takes a message for all targets; those of the kernel for the targets that want them. Never waits
 * for the network. */
void syslog_put(struct syslog *syslog, const struct syslog_message *message, bool kernel);

/* Waits at most so long until everything was sent to the targets that can be reached. */
void syslog_flush(struct syslog *syslog, int64_t most_ms);

/* Waits at most so long until everything was sent to the targets that can be reached, and ends. */
void syslog_stop(struct syslog *syslog, int64_t most_ms);

#endif
