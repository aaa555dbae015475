/* The addresses of Tink servers, the pins of their certificates, and whom no proxy is for, as they
 * come from settings. */
#include "tests/fuzz/fuzz.h"

#include "agent/address.h"
#include "platform/no_proxy.h"
#include "platform/tls.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	struct address_list list;
	struct tls_pins pins;
	struct error err;
	require(text != NULL);
	memcpy(text, data, size);
	text[size] = '\0';
	if (address_list_parse(text, &list, &err) == 0) {
		require(list.count > 0 && list.count <= ADDRESSES_MOST);
		for (size_t i = 0; i < list.count; i++) {
			const struct address *address = &list.list[i];
			require(address->name[0] && address->host[0]);
			require(!address->socket == (address->port[0] != '\0'));
			/* They become parts of a URL. */
			require(!strpbrk(address->host, "/@?# \t\n"));
		}
		address_list_free(&list);
	} else {
		require(err.kind == ERROR_INPUT);
	}
	if (tls_pins_parse(text, &pins, &err) == 0)
		require(pins.count <= TLS_PINS_MOST);
	else
		require(err.kind == ERROR_INPUT);
	no_proxy_matches(text, "tink.example", "42113");
	no_proxy_matches(text, "[fe80::1%25eth0]", "42113");
	no_proxy_matches("10.0.0.0/8,.example,[::1]:1", text, "42113");
	free(text);
	return 0;
}
