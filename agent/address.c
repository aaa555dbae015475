/* Server addresses as people and gRPC write them: see address.h. */
#include "agent/address.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "platform/cleanup.h"
#include "platform/text.h"

void address_list_free(struct address_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		free(list->list[i].name);
		free(list->list[i].host);
		free(list->list[i].port);
		free(list->list[i].socket);
	}
	*list = (struct address_list){.count = 0};
}

static bool begins(const char **text, const char *prefix)
{
	size_t size = strlen(prefix);
	if (strncmp(*text, prefix, size) != 0)
		return false;
	*text += size;
	return true;
}

/* The rest after the prefix of a socket's name; NULL: it is none. A host may be called "unix". */
static const char *socket_name(const char *text, bool *ret_abstract)
{
	*ret_abstract = begins(&text, "unix-abstract:");
	if (*ret_abstract)
		return text;
	if (!begins(&text, "unix:") || (text[0] && strspn(text, "0123456789") == strlen(text)))
		return NULL;
	begins(&text, "//");
	return text;
}

static int take_socket(const char *path, bool abstract, struct address *address, struct error *err)
{
	if (path[0] == '\0' ||
	    strlen(path) + abstract >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return error_set(err, ERROR_INPUT,
				 "the path of a socket has 1 to %zu bytes: unix:/run/tink.sock",
				 sizeof(((struct sockaddr_un *)0)->sun_path) - 1);
	*address = (struct address){
		.name = text_format("unix%s:%s", abstract ? "-abstract" : "", path),
		.host = text_dup("localhost"),
		.port = text_dup(""),
		.socket = text_format("%s%s", abstract ? "@" : "", path)};
	return 0;
}

/* An IPv6 address with or without a zone, as it stands between the brackets of a URL (RFC 6874).
 * NULL: it is none. */
static char *ipv6_host(const char *text, size_t size)
{
	struct in6_addr binary;
	auto_free char *whole = text_dup_size(text, size);
	char *zone = strchr(whole, '%');
	if (zone) {
		*zone++ = '\0';
		if (strncmp(zone, "25", 2) == 0 && zone[2])
			zone += 2;
		if (!*zone || strspn(zone, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
					   "0123456789._-") != strlen(zone))
			return NULL;
	}
	if (inet_pton(AF_INET6, whole, &binary) != 1)
		return NULL;
	return zone ? text_format("[%s%%25%s]", whole, zone) : text_format("[%s]", whole);
}

/* A name or an IPv4 address. */
static char *plain_host(const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-",
			    text[i]))
			return NULL;
	return size > 0 && size <= 253 ? text_dup_size(text, size) : NULL;
}

/* Splits host and port; *ret_port is NULL when there is none. */
static char *split_host(const char *text, const char **ret_port)
{
	const char *colon = strchr(text, ':');
	*ret_port = NULL;
	if (text[0] == '[') {
		const char *end = strchr(text, ']');
		if (!end || (end[1] != '\0' && end[1] != ':'))
			return NULL;
		if (end[1] == ':')
			*ret_port = end + 2;
		return ipv6_host(text + 1, (size_t)(end - text - 1));
	}
	if (colon && strchr(colon + 1, ':'))
		return ipv6_host(text, strlen(text));
	if (colon)
		*ret_port = colon + 1;
	return plain_host(text, colon ? (size_t)(colon - text) : strlen(text));
}

static int take_host(const char *text, struct address *address, struct error *err)
{
	const char *port;
	uint64_t number = ADDRESS_DEFAULT_PORT;
	auto_free char *host = split_host(text, &port);
	if (!host)
		return error_set(err, ERROR_INPUT,
				 "\"%s\" is no server: give HOST, HOST:PORT, [IPv6]:PORT or "
				 "unix:/PATH",
				 text);
	if (port && (!text_parse_uint(port, 10, 65535, &number) || number == 0))
		return error_set(err, ERROR_INPUT, "\"%s\": a port is a number from 1 to 65535",
				 text);
	address->port = text_format("%u", (unsigned)number);
	address->name = text_format("%s:%s", host, address->port);
	address->host = take_pointer(host);
	address->socket = NULL;
	return 0;
}

static int take_entry(const char *text, struct address *address, struct error *err)
{
	bool abstract;
	const char *socket = socket_name(text, &abstract);
	if (socket)
		return take_socket(socket, abstract, address, err);
	const char *rest = text;
	if (begins(&rest, "dns:///") || begins(&rest, "passthrough:///"))
		return take_host(rest, address, err);
	if (begins(&rest, "dns://"))
		return error_set(err, ERROR_INPUT,
				 "\"%s\": a name server of its own is not supported: "
				 "dns:///HOST:PORT asks the system's",
				 text);
	if (strstr(text, "://"))
		return error_set(err, ERROR_INPUT,
				 "\"%s\" is a URL: give HOST:PORT, and grpc-tls to speak TLS",
				 text);
	/* "dns:42113" is a host called dns. */
	if ((begins(&rest, "dns:") || begins(&rest, "ipv4:") || begins(&rest, "ipv6:")) &&
	    strspn(rest, "0123456789") != strlen(rest))
		return take_host(rest, address, err);
	return take_host(text, address, err);
}

int address_list_parse(const char *text, struct address_list *ret_list, struct error *err)
{
	struct address_list list = {.count = 0};
	for (const char *at = text; *at;) {
		at += strspn(at, ", \t\n");
		size_t size = strcspn(at, ", \t\n");
		if (size == 0)
			break;
		auto_free char *entry = text_dup_size(at, size);
		at += size;
		int result = list.count < ADDRESSES_MOST
				     ? take_entry(entry, &list.list[list.count], err)
				     : error_set(err, ERROR_INPUT, "more than %d servers",
						 ADDRESSES_MOST);
		if (result < 0) {
			address_list_free(&list);
			return -1;
		}
		list.count++;
	}
	if (list.count == 0)
		return error_set(err, ERROR_INPUT, "no server is named");
	*ret_list = list;
	return 0;
}
