/* Any bytes as a database of PCI numbers: what is found are names. */
#include "tests/fuzz/fuzz.h"

#include "platform/pci_ids.h"
#include "platform/text.h"

static void check(const char *name)
{
	require(strlen(name) < PCI_NAME_SIZE && text_is_utf8(name, strlen(name)));
	require(!strchr(name, '\n'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const unsigned numbers[] = {0, 1, 0x1000, 0x8086, 0xabcd, 0xffff, 0x10000};
	char name[PCI_NAME_SIZE];
	struct pci_ids *ids = pci_ids_parse(data, size);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		bool vendor = pci_ids_vendor(ids, numbers[i], name);
		if (vendor)
			check(name);
		for (size_t j = 0; j < sizeof(numbers) / sizeof(numbers[0]); j++) {
			if (!pci_ids_device(ids, numbers[i], numbers[j], name))
				continue;
			require(vendor);
			check(name);
		}
	}
	for (unsigned class = 0; class <= 0x100; class ++)
		if (pci_ids_class(ids, class, name))
			check(name);
	pci_ids_free(ids);
	return 0;
}
