/* One target's way out: a UDP socket or a connection. For syslog.c only. */
#ifndef PLATFORM_SYSLOG_SEND_H
#define PLATFORM_SYSLOG_SEND_H

#include "platform/connection.h"
#include "platform/syslog.h"

struct syslog_sender {
	int udp; /* -1: none */
	struct connection *connection;
	size_t written; /* of the message under way */
	int64_t sent_ms;
};

#define SYSLOG_SENDER_CLOSED ((struct syslog_sender){.udp = -1})

bool syslog_sender_is_open(const struct syslog_sender *sender);

/* Resolves the name anew each time. */
int syslog_sender_open(struct syslog_sender *sender, const struct syslog_target *target,
		       const struct http_options *http, atomic_bool *cancel, struct error *err);
void syslog_sender_close(struct syslog_sender *sender);

/* 1: the whole message was taken; 0: there is no room now, call again with the same. */
int syslog_sender_write(struct syslog_sender *sender, const char *text, size_t size,
			struct error *err);

/* What the other side, or the network, has to say of what was sent. */
int syslog_sender_check(struct syslog_sender *sender, struct error *err);

/* Whether what was sent need not be kept any more. Of UDP nobody says so: when the network has not
 * complained for a while. */
bool syslog_sender_is_settled(const struct syslog_sender *sender);

/* To be polled: for reading, and for writing when the last write had no room. */
int syslog_sender_fd(const struct syslog_sender *sender);

#endif
