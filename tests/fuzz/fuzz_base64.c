/* Base64 from a template. */
#include "tests/fuzz/fuzz.h"

#include "platform/base64.h"

/* Encodes, without padding: what was decoded must come out as the same characters. */
static char *encode(const uint8_t *data, size_t size)
{
	static const char alphabet[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char *out = malloc(size * 2 + 5), *p = out;
	require(out != NULL);
	unsigned bits = 0, count = 0;
	for (size_t i = 0; i < size; i++) {
		bits = bits << 8 | data[i];
		for (count += 8; count >= 6; count -= 6)
			*p++ = alphabet[bits >> (count - 6) & 63];
	}
	if (count > 0)
		*p++ = alphabet[bits << (6 - count) & 63];
	*p = '\0';
	return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_text(data, size);
	auto_buffer struct buffer out = {.cap = 4096};
	struct error err;
	if (base64_decode(text, &out, &err) < 0) {
		require(err.kind == ERROR_INPUT);
		require(out.size <= 4096);
	} else {
		char *encoded = encode(out.data, out.size);
		size_t at = 0, last = strlen(encoded);
		for (const char *p = text; *p; p++) {
			if (strchr(" \t\r\n=", *p))
				continue;
			/* The last character may have bits that mean nothing. */
			require(at < last);
			require(at + 1 == last || encoded[at] == *p);
			at++;
		}
		require(at == last);
		free(encoded);
	}
	free(text);
	return 0;
}
