/* Base64, strictly: see base64.h. */
#include "platform/base64.h"

#include <stdlib.h>
#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int value_of(char c)
{
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

char *base64_encode(const void *data, size_t size)
{
	const uint8_t *bytes = data;
	char *text = malloc((size + 2) / 3 * 4 + 1), *out = text;
	if (!text)
		abort();
	for (size_t i = 0; i < size; i += 3) {
		size_t count = size - i < 3 ? size - i : 3;
		unsigned bits = (unsigned)bytes[i] << 16;
		bits |= count > 1 ? (unsigned)bytes[i + 1] << 8 : 0;
		bits |= count > 2 ? bytes[i + 2] : 0;
		*out++ = alphabet[bits >> 18];
		*out++ = alphabet[bits >> 12 & 63];
		*out++ = '=';
		*out++ = '=';
		if (count > 1)
			out[-2] = alphabet[bits >> 6 & 63];
		if (count > 2)
			out[-1] = alphabet[bits & 63];
	}
	*out = '\0';
	return text;
}
