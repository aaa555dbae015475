/* SMBIOS tables: see smbios.h. A structure is type, length, handle (two bytes), fields up to its
 * length, then texts, each ended by NUL, and one NUL more (two when there is none). */
#include "platform/smbios.h"

#include <string.h>

#include "platform/text.h"

enum {
	HEADER_SIZE = 4
};

/* Where the next structure begins; size when there is none. */
static size_t behind(const uint8_t *tables, size_t size, size_t at)
{
	at += tables[at + 1];
	while (at + 1 < size && (tables[at] != 0 || tables[at + 1] != 0))
		at++;
	return at + 1 < size ? at + 2 : size;
}

/* The text of that number, from 1, in the texts that begin at at. */
static bool take(const uint8_t *tables, size_t size, size_t at, unsigned number, char *out,
		 size_t out_size)
{
	for (; at < size && tables[at] != 0; number--) {
		const uint8_t *end = memchr(tables + at, 0, size - at);
		if (!end)
			return false;
		if (number == 1) {
			text_sanitize((const char *)tables + at, (size_t)(end - tables) - at, out,
				      out_size);
			return true;
		}
		at = (size_t)(end - tables) + 1;
	}
	return false;
}

bool smbios_text(const uint8_t *tables, size_t size, uint8_t type, uint8_t offset, char *out,
		 size_t out_size)
{
	for (size_t at = 0; at + HEADER_SIZE <= size; at = behind(tables, size, at)) {
		uint8_t length = tables[at + 1];
		if (length < HEADER_SIZE || length > size - at || tables[at] == SMBIOS_END)
			return false;
		if (tables[at] != type)
			continue;
		unsigned number = offset < length ? tables[at + offset] : 0;
		return number > 0 && take(tables, size, at + length, number, out, out_size);
	}
	return false;
}
