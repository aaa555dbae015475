/*
 * Where Tink servers are: what grpc-server may say, taken apart. A comma list of host, host:port,
 * IPv4 and IPv6 addresses (with a port in brackets), sockets (unix:/path, unix:///path,
 * unix-abstract:name), and the target names of gRPC that mean the same: dns:///host:port, dns:host,
 * ipv4:…, ipv6:…, passthrough:///….
 * https://github.com/grpc/grpc/blob/master/doc/naming.md
 */
#ifndef AGENT_ADDRESS_H
#define AGENT_ADDRESS_H

#include <stddef.h>

#include "platform/error.h"

enum {
	ADDRESS_DEFAULT_PORT = 42113,
	ADDRESSES_MOST = 16
};

struct address {
	char *name;   /* for messages: "host:42113", "unix:/run/tink.sock" */
	char *host;   /* as in a URL: "[::1]", "[fe80::1%25eth0]", "localhost" for a socket */
	char *port;   /* "42113"; "" for a socket */
	char *socket; /* path of a Unix socket, "@name" for an abstract one; NULL: TCP */
};

struct address_list {
	struct address list[ADDRESSES_MOST];
	size_t count; /* at least one after address_list_parse() */
};

/* ERROR_INPUT names the entry that is wrong. The list is freed with address_list_free(). */
int address_list_parse(const char *text, struct address_list *ret_list, struct error *err);
void address_list_free(struct address_list *list);

#endif
