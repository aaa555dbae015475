/* Which hosts are reached without a proxy: see no_proxy.h. */
#include "platform/no_proxy.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "platform/text.h"

enum {
	ENTRY_SIZE = 272
};

struct ip {
	int family; /* 0: it is none */
	uint8_t bytes[16];
};

static struct ip read_ip(const char *text)
{
	struct ip ip = {.family = AF_INET};
	char bare[ENTRY_SIZE];
	snprintf(bare, sizeof(bare), "%s", text[0] == '[' ? text + 1 : text);
	bare[strcspn(bare, "]%")] = '\0';
	if (inet_pton(AF_INET, bare, ip.bytes) == 1)
		return ip;
	ip.family = inet_pton(AF_INET6, bare, ip.bytes) == 1 ? AF_INET6 : 0;
	return ip;
}

static bool in_network(char *entry, char *slash, const struct ip *host)
{
	uint64_t bits;
	*slash = '\0';
	struct ip network = read_ip(entry);
	if (!network.family || network.family != host->family ||
	    !text_parse_uint(slash + 1, 10, network.family == AF_INET ? 32 : 128, &bits) ||
	    memcmp(network.bytes, host->bytes, bits / 8) != 0)
		return false;
	unsigned mask = 0xff00u >> (bits % 8) & 0xff;
	return bits % 8 == 0 || ((network.bytes[bits / 8] ^ host->bytes[bits / 8]) & mask) == 0;
}

/* Cuts the port off an entry; it stands behind a bracket, or behind the only colon. */
static const char *cut_port(char *entry)
{
	char *colon = strrchr(entry, ':');
	if (!colon || (entry[0] == '[' ? colon[-1] != ']' : strchr(entry, ':') != colon))
		return NULL;
	*colon = '\0';
	return colon + 1;
}

static bool entry_matches(char *entry, const char *host, const char *port)
{
	struct ip ip = read_ip(host);
	if (strcmp(entry, "*") == 0)
		return true;
	char *slash = strchr(entry, '/');
	if (slash)
		return in_network(entry, slash, &ip);
	const char *only = cut_port(entry);
	if (only && strcmp(only, port) != 0)
		return false;
	struct ip listed = read_ip(entry);
	if (listed.family || ip.family)
		return listed.family == ip.family &&
		       memcmp(listed.bytes, ip.bytes, sizeof(ip.bytes)) == 0;
	const char *name = entry[0] == '*' && entry[1] == '.' ? entry + 1 : entry;
	size_t host_size = strlen(host), size = strlen(name);
	if (name[0] == '.')
		return size > 1 && host_size > size &&
		       strcasecmp(host + host_size - size, name) == 0;
	if (size == 0 || host_size < size || strcasecmp(host + host_size - size, name) != 0)
		return false;
	return host_size == size || host[host_size - size - 1] == '.';
}

bool no_proxy_matches(const char *list, const char *host, const char *port)
{
	for (const char *at = list ? list : ""; *at;) {
		at += strspn(at, ", \t");
		size_t size = strcspn(at, ", \t");
		char entry[ENTRY_SIZE];
		if (size > 0 && size < sizeof(entry)) {
			memcpy(entry, at, size);
			entry[size] = '\0';
			if (entry_matches(entry, host, port))
				return true;
		}
		at += size;
	}
	return false;
}
