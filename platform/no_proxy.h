/*
 * NO_PROXY as gRPC has it: a list apart by commas or blanks of "*" (every host), names (they and
 * what lies below them; with a dot before it only that), IP addresses, networks (10.0.0.0/8), each
 * name or address with ":port" if it is for that port only.
 * https://pkg.go.dev/golang.org/x/net/http/httpproxy
 */
#ifndef PLATFORM_NO_PROXY_H
#define PLATFORM_NO_PROXY_H

#include <stdbool.h>

/* Whether this host (as in a URL: IPv6 in brackets) is reached without a proxy. list may be NULL.
 * Unlike there, this machine's own addresses are no exception unless they are listed. */
bool no_proxy_matches(const char *list, const char *host, const char *port);

#endif
