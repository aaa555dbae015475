/* UDP, TCP and TLS: see syslog_send.h. */
#include "platform/syslog_send.h"

#include <errno.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "platform/clock.h"

enum {
	QUIET_MS = 150,
	CONNECT_TIMEOUT_MS = 10000
};

bool syslog_sender_is_open(const struct syslog_sender *sender)
{
	return sender->udp >= 0 || sender->connection;
}

/* A connected socket is told when nobody listens there. connect() also says whether there is a
 * route. */
static int open_udp(const struct syslog_target *target, struct error *err)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICSERV};
	struct addrinfo *found = NULL;
	int code = getaddrinfo(target->host, target->port, &hints, &found);
	if (code != 0)
		return error_set(err, ERROR_NETWORK, "Could not resolve host: %s", target->host);
	int fd = -1, errnum = ENETUNREACH;
	for (const struct addrinfo *at = found; at && fd < 0; at = at->ai_next) {
		fd = socket(at->ai_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (fd >= 0 && connect(fd, at->ai_addr, at->ai_addrlen) == 0)
			break;
		errnum = errno;
		cleanup_close(&fd);
		fd = -1;
	}
	freeaddrinfo(found);
	if (fd < 0)
		error_errno(err, errnum, "no way to %s", target->host);
	return fd;
}

int syslog_sender_open(struct syslog_sender *sender, const struct syslog_target *target,
		       const struct http_options *http, atomic_bool *cancel, struct error *err)
{
	*sender = SYSLOG_SENDER_CLOSED;
	if (target->transport == SYSLOG_UDP) {
		sender->udp = open_udp(target, err);
		return sender->udp < 0 ? -1 : 0;
	}
	struct http_options options = *http;
	options.connect_timeout_ms = CONNECT_TIMEOUT_MS;
	return connection_open(target->host, target->port, target->transport == SYSLOG_TLS,
			       &options, cancel, &sender->connection, err);
}

void syslog_sender_close(struct syslog_sender *sender)
{
	cleanup_close(&sender->udp);
	if (sender->connection)
		connection_close(sender->connection);
	*sender = SYSLOG_SENDER_CLOSED;
}

static int write_udp(struct syslog_sender *sender, const char *text, size_t size, struct error *err)
{
	for (;;) {
		if (send(sender->udp, text, size, MSG_NOSIGNAL) >= 0)
			return 1;
		if (errno == EINTR)
			continue;
		if (errno == EAGAIN || errno == ENOBUFS)
			return 0;
		/* Too long for this network: what fits of it is better than nothing, for ever. */
		if (errno == EMSGSIZE && size > 480) {
			for (size = 480; ((unsigned char)text[size] & 0xc0) == 0x80;)
				size--;
			continue;
		}
		return error_sys(err, "send");
	}
}

int syslog_sender_write(struct syslog_sender *sender, const char *text, size_t size,
			struct error *err)
{
	sender->sent_ms = clock_monotonic_ms();
	if (sender->udp >= 0)
		return write_udp(sender, text, size, err);
	while (sender->written < size) {
		ssize_t taken = connection_write(sender->connection, text + sender->written,
						 size - sender->written, err);
		if (taken <= 0)
			return (int)taken;
		sender->written += (size_t)taken;
	}
	sender->written = 0;
	return 1;
}

int syslog_sender_check(struct syslog_sender *sender, struct error *err)
{
	int errnum = 0;
	socklen_t size = sizeof(errnum);
	if (sender->connection)
		return connection_drain(sender->connection, err);
	if (getsockopt(sender->udp, SOL_SOCKET, SO_ERROR, &errnum, &size) == 0 && errnum != 0)
		return error_errno(err, errnum, "send");
	char data[512];
	while (recv(sender->udp, data, sizeof(data), MSG_DONTWAIT) > 0)
		;
	return 0;
}

bool syslog_sender_is_settled(const struct syslog_sender *sender)
{
	if (sender->connection)
		return sender->written == 0 && connection_is_settled(sender->connection);
	return clock_monotonic_ms() - sender->sent_ms >= QUIET_MS;
}

int syslog_sender_fd(const struct syslog_sender *sender)
{
	return sender->connection ? connection_fd(sender->connection) : sender->udp;
}
