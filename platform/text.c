/* UTF-8, numbers, redaction: see text.h. */
#include "platform/text.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

size_t text_utf8_sequence(const char *text, size_t size)
{
	const unsigned char *s = (const unsigned char *)text;
	if (size == 0)
		return 0;
	if (s[0] < 0x80)
		return 1;
	size_t length;
	unsigned char low = 0x80, high = 0xbf; /* bounds of the second byte: no overlong form,
						  surrogate, or > U+10FFFF */
	if (s[0] >= 0xc2 && s[0] <= 0xdf) {
		length = 2;
	} else if (s[0] >= 0xe0 && s[0] <= 0xef) {
		length = 3;
		low = s[0] == 0xe0 ? 0xa0 : 0x80;
		high = s[0] == 0xed ? 0x9f : 0xbf;
	} else if (s[0] >= 0xf0 && s[0] <= 0xf4) {
		length = 4;
		low = s[0] == 0xf0 ? 0x90 : 0x80;
		high = s[0] == 0xf4 ? 0x8f : 0xbf;
	} else {
		return 0;
	}
	if (size < length || s[1] < low || s[1] > high)
		return 0;
	for (size_t i = 2; i < length; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	return length;
}

size_t text_byte_order_mark(const char *text, size_t size)
{
	return size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
}

bool text_is_utf8(const char *text, size_t size)
{
	for (size_t i = 0; i < size;) {
		size_t length = text_utf8_sequence(text + i, size - i);
		if (length == 0 || text[i] == '\0')
			return false;
		i += length;
	}
	return true;
}

void text_cut_utf8(char *text)
{
	size_t size = strlen(text);
	size_t back = 0;
	/* Walk back over at most three continuation bytes to the lead byte, and see if its sequence
	 * is whole. */
	while (back < 3 && back < size && ((unsigned char)text[size - 1 - back] & 0xc0) == 0x80)
		back++;
	if (back == size)
		return;
	size_t lead = size - 1 - back;
	if (((unsigned char)text[lead] & 0xc0) == 0xc0 &&
	    text_utf8_sequence(text + lead, size - lead) == 0)
		text[lead] = '\0';
}

/* Length of a terminal escape sequence at text (CSI, OSC, or two bytes), 0 when there is none. */
static size_t escape_length(const char *text, size_t size)
{
	if (size < 2 || text[0] != '\033')
		return 0;
	size_t i = 2;
	if (text[1] == '[') {
		/* Parameters and a final byte; anything else ends a sequence that was cut. */
		while (i < size && text[i] >= 0x20 && text[i] <= 0x3f)
			i++;
		return i < size && text[i] >= 0x40 && text[i] <= 0x7e ? i + 1 : i;
	}
	if (text[1] == ']') {
		while (i < size && text[i] != '\007' && text[i] != '\033' && text[i] != '\n')
			i++;
		if (i < size && text[i] == '\007')
			return i + 1;
		if (i + 1 < size && text[i] == '\033' && text[i + 1] == '\\')
			return i + 2;
		return i;
	}
	return text[1] >= 0x20 && text[1] <= 0x7e ? 2 : 1;
}

size_t text_sanitize(const char *text, size_t size, char *out, size_t out_size)
{
	static const char replacement[] = "\xef\xbf\xbd";
	size_t used = 0;
	for (size_t i = 0; i < size;) {
		size_t escape = escape_length(text + i, size - i);
		if (escape > 0) {
			i += escape;
			continue;
		}
		size_t length = text_utf8_sequence(text + i, size - i);
		const char *from = text + i;
		size_t from_size = length;
		if (length == 0) {
			from = replacement;
			from_size = 3;
			length = 1;
		} else if (length == 1 && (unsigned char)text[i] < 0x20 && text[i] != '\n' &&
			   text[i] != '\t') {
			from = "?";
		} else if (length == 1 && text[i] == 0x7f) {
			from = "?";
		} else if (length == 2 && text[i] == '\xc2' && (unsigned char)text[i + 1] < 0xa0) {
			/* U+0080 to U+009F are control characters too: terminals take U+009B for
			 * ESC [. */
			from = "?";
			from_size = 1;
		}
		if (used + from_size >= out_size)
			break;
		memcpy(out + used, from, from_size);
		used += from_size;
		i += length;
	}
	out[used] = '\0';
	return used;
}

size_t text_to_ascii(const char *text, size_t size, char *out, size_t out_size)
{
	size_t used = 0;
	for (size_t i = 0; i < size && used + 1 < out_size;) {
		size_t length = text_utf8_sequence(text + i, size - i);
		bool plain =
			length == 1 && ((text[i] >= 0x20 && text[i] < 0x7f) || text[i] == '\n');
		out[used++] = plain ? text[i] : '?';
		i += length ? length : 1;
	}
	out[used] = '\0';
	return used;
}

int text_hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool text_parse_bool(const char *text, bool *ret_value)
{
	static const char *const yes[] = {"1", "t", "T", "true", "TRUE", "True"};
	static const char *const no[] = {"0", "f", "F", "false", "FALSE", "False"};
	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
		if (strcmp(text, yes[i]) == 0 || strcmp(text, no[i]) == 0) {
			*ret_value = strcmp(text, yes[i]) == 0;
			return true;
		}
	}
	return false;
}

bool text_parse_uint(const char *text, int base, uint64_t max, uint64_t *ret_value)
{
	if (!isxdigit((unsigned char)text[0]))
		return false;
	for (const char *p = text; *p; p++)
		if (!isxdigit((unsigned char)*p))
			return false;
	char *end;
	errno = 0;
	unsigned long long value = strtoull(text, &end, base);
	if (errno != 0 || *end != '\0' || value > max)
		return false;
	*ret_value = value;
	return true;
}

char *text_redact_url(const char *url, char *out, size_t out_size)
{
	const char *scheme = strstr(url, "://");
	const char *authority = scheme ? scheme + 3 : url;
	size_t authority_size = strcspn(authority, "/?#");
	const char *at = scheme ? memrchr(authority, '@', authority_size) : NULL;
	const char *host = at ? at + 1 : authority;
	size_t shown = strcspn(host, "?#");
	snprintf(out, out_size, "%.*s%s%.*s%s", (int)(authority - url), url, at ? "***@" : "",
		 (int)shown, host, host[shown] == '?' ? "?***" : "");
	text_cut_utf8(out);
	return out;
}

char *text_bytes(uint64_t bytes, char *out, size_t out_size)
{
	static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double value = (double)bytes;
	size_t unit = 0;
	while (value >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0])) {
		value /= 1024;
		unit++;
	}
	snprintf(out, out_size, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
	return out;
}

unsigned text_distance(const char *a, const char *b)
{
	enum {
		MOST = 64
	};
	size_t a_size = strlen(a), b_size = strlen(b);
	if (a_size >= MOST || b_size >= MOST)
		return 99;
	unsigned rows[3][MOST + 1];
	unsigned *before = rows[0], *last = rows[1], *row = rows[2];
	for (size_t j = 0; j <= b_size; j++)
		last[j] = (unsigned)j;
	memset(rows[0], 0, sizeof(rows[0]));
	for (size_t i = 1; i <= a_size; i++) {
		row[0] = (unsigned)i;
		for (size_t j = 1; j <= b_size; j++) {
			int ca = tolower((unsigned char)a[i - 1]),
			    cb = tolower((unsigned char)b[j - 1]);
			unsigned best = last[j - 1] + (ca != cb);
			if (last[j] + 1 < best)
				best = last[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			if (i > 1 && j > 1 && ca == tolower((unsigned char)b[j - 2]) &&
			    cb == tolower((unsigned char)a[i - 2]) && before[j - 2] + 1 < best)
				best = before[j - 2] + 1;
			row[j] = best;
		}
		unsigned *free_row = before;
		before = last;
		last = row;
		row = free_row;
	}
	return last[b_size];
}

char *text_dup_size(const char *text, size_t size)
{
	char *copy = strndup(size > 0 ? text : "", size); /* an empty buffer has no data */
	if (!copy)
		abort();
	return copy;
}

char *text_dup(const char *text)
{
	return text_dup_size(text, strlen(text));
}

char *text_format(const char *format, ...)
{
	char *text;
	va_list args;
	va_start(args, format);
	int size = vasprintf(&text, format, args);
	va_end(args);
	if (size < 0)
		abort();
	return text;
}
