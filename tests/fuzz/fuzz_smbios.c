/* Any bytes as SMBIOS tables: every field of the first structures is asked for. */
#include "tests/fuzz/fuzz.h"

#include "platform/smbios.h"
#include "platform/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* In memory of exactly that size. */
	uint8_t *tables = malloc(size + !size);
	char text[64];
	require(tables != NULL);
	if (size > 0)
		memcpy(tables, data, size);
	for (uint8_t type = SMBIOS_BIOS; type <= SMBIOS_CHASSIS + 1; type++)
		for (uint8_t offset = 0; offset < 16; offset++)
			if (smbios_text(tables, size, type, offset, text, sizeof(text)))
				require(text_is_utf8(text, strlen(text)));
	free(tables);
	return 0;
}
