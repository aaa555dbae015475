/*
 * A TCP connection, with TLS or without, to write to (by libcurl, which resolves names, tries IPv6
 * and IPv4 and checks certificates). What comes from the other side is dropped.
 */
#ifndef PLATFORM_CONNECTION_H
#define PLATFORM_CONNECTION_H

#include <stdatomic.h>
#include <stdbool.h>

#include "platform/http.h"

struct connection;

/*
 * Connects, without any proxy. options: ca_file (besides the system's roots), insecure,
 * connect_timeout_ms. Ends with ERROR_CANCELLED within about a second after *cancel became true.
 */
int connection_open(const char *host, const char *port, bool tls,
		    const struct http_options *options, atomic_bool *cancel,
		    struct connection **ret_connection, struct error *err);
void connection_close(struct connection *connection);

/* Writes some. Returns how much was taken, 0 when nothing can be taken now. */
ssize_t connection_write(struct connection *connection, const void *data, size_t size,
			 struct error *err);

/* Drops what the other side says. ERROR_NETWORK when it has closed. */
int connection_drain(struct connection *connection, struct error *err);

/* Whether the other side's system has acknowledged every byte that was taken. */
bool connection_is_settled(const struct connection *connection);

/* To be polled. */
int connection_fd(const struct connection *connection);

#endif
