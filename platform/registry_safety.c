/* A site's list of insecure registries: see registry.h. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "platform/registry.h"
#include "platform/text.h"

static bool address_in_network(const char *network, size_t size, const char *registry)
{
	char text[64], host[OCI_REGISTRY_SIZE];
	uint8_t net[16], address[16];
	const char *slash = memchr(network, '/', size);
	uint64_t bits;
	if (!slash || size >= sizeof(text))
		return false;
	memcpy(text, network, size);
	text[size] = text[slash - network] = '\0';
	bool v6 = registry[0] == '[';
	snprintf(host, sizeof(host), "%s", registry + v6);
	host[strcspn(host, v6 ? "]" : ":")] = '\0';
	int family = v6 ? AF_INET6 : AF_INET;
	if (inet_pton(family, text, net) != 1 || inet_pton(family, host, address) != 1 ||
	    !text_parse_uint(text + (slash - network) + 1, 10, v6 ? 128 : 32, &bits))
		return false;
	if (memcmp(net, address, bits / 8) != 0)
		return false;
	unsigned rest = 0xff00u >> (bits % 8);
	return bits % 8 == 0 || ((net[bits / 8] ^ address[bits / 8]) & rest & 0xff) == 0;
}

enum registry_safety registry_safety_of(const char *insecure, const char *registry)
{
	enum registry_safety safety = REGISTRY_TLS;
	for (const char *at = insecure ? insecure : ""; *at;) {
		at += strspn(at, ", \t");
		size_t size = strcspn(at, ", \t");
		char entry[OCI_REGISTRY_SIZE + 16], name[OCI_REGISTRY_SIZE];
		snprintf(entry, sizeof(entry), "%.*s", (int)size, at);
		bool plain = strncasecmp(entry, "http://", 7) == 0;
		bool equal = size < sizeof(entry) &&
			     strcmp(oci_registry_name(entry, name, sizeof(name)), registry) == 0;
		if (equal && plain)
			return REGISTRY_PLAIN;
		/* "host/" would be a network without its bits: none. */
		if (equal || address_in_network(at, size, registry))
			safety = REGISTRY_PLAIN_ALLOWED;
		at += size;
	}
	return safety;
}
