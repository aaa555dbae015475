/* Base64, strictly: see base64.h. */
#include "platform/base64.h"

#include <string.h>

static int value_of(char c)
{
	static const char alphabet[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c ? strchr(alphabet, c) : NULL;
	return at ? (int)(at - alphabet) : -1;
}

int base64_decode(const char *text, struct buffer *out, struct error *err)
{
	unsigned bits = 0, count = 0, padding = 0;
	for (const char *p = text; *p; p++) {
		if (strchr(" \t\r\n", *p))
			continue;
		int value = value_of(*p);
		if (*p == '=' && (count + padding) % 4 >= 2) {
			padding++;
			continue;
		}
		if (value < 0 || padding > 0)
			return error_set(err, ERROR_INPUT, "no base64 at character %zu",
					 (size_t)(p - text) + 1);
		bits = bits << 6 | (unsigned)value;
		count++;
		if (count % 4 == 0) {
			const uint8_t bytes[] = {(uint8_t)(bits >> 16), (uint8_t)(bits >> 8),
						 (uint8_t)bits};
			if (buffer_add(out, bytes, sizeof(bytes), err) < 0)
				return -1;
			bits = 0;
		}
	}
	unsigned rest = count % 4;
	if (rest == 1 || (padding > 0 && (count + padding) % 4 != 0))
		return error_set(err, ERROR_INPUT, "the base64 ends in the middle");
	if (rest == 0)
		return 0;
	bits <<= 6 * (4 - rest);
	const uint8_t bytes[] = {(uint8_t)(bits >> 16), (uint8_t)(bits >> 8)};
	return buffer_add(out, bytes, rest - 1, err);
}
