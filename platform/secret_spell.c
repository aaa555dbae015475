/* Spellings of a value: see secret_spell.h. */
#include "platform/secret_spell.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "platform/base64.h"
#include "platform/cleanup.h"
#include "platform/text.h"

/*
 * PERCENT: RFC 3986, 2.1, all but the unreserved characters; FORM: the same with "+" for a blank.
 * JSON_HTML is what Go makes, and with it most of what speaks JSON in this field; XML_NUMBERS its
 * HTML.
 */
enum escaping {
	PERCENT_UPPER,
	PERCENT_LOWER,
	FORM,
	JSON,
	JSON_HTML,
	XML,
	XML_NUMBERS,
	SHELL,
	ESCAPINGS
};

/* BASE64_SHORTEST: as much of it is no chance. ESCAPE_MOST: of one character, with the NUL. */
enum {
	BASE64_SHORTEST = 8,
	ESCAPE_MOST = 8
};

static void in_json(unsigned char c, bool html, char out[ESCAPE_MOST])
{
	static const char plain[] = "\"\\\n\t\r", letters[] = "\"\\ntr";
	const char *at = strchr(plain, c);
	if (at)
		snprintf(out, ESCAPE_MOST, "\\%c", letters[at - plain]);
	else if (c < 0x20 || (html && strchr("&<>", c)))
		snprintf(out, ESCAPE_MOST, "\\u%04x", c);
}

static void in_xml(unsigned char c, bool numbers, char out[ESCAPE_MOST])
{
	static const struct {
		char c;
		const char *names[2];
	} all[] = {{'&', {"&amp;", "&amp;"}},
		   {'<', {"&lt;", "&lt;"}},
		   {'>', {"&gt;", "&gt;"}},
		   {'"', {"&quot;", "&#34;"}},
		   {'\'', {"&apos;", "&#39;"}}};
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if ((unsigned char)all[i].c == c)
			snprintf(out, ESCAPE_MOST, "%s", all[i].names[numbers]);
}

static void escape(enum escaping how, unsigned char c, char out[ESCAPE_MOST])
{
	snprintf(out, ESCAPE_MOST, "%c", c);
	switch (how) {
	case PERCENT_UPPER:
	case PERCENT_LOWER:
	case FORM:
		if (how == FORM && c == ' ')
			snprintf(out, ESCAPE_MOST, "+");
		else if (!isascii(c) || (!isalnum(c) && !strchr("-._~", c)))
			snprintf(out, ESCAPE_MOST, how == PERCENT_LOWER ? "%%%02x" : "%%%02X", c);
		return;
	case JSON:
	case JSON_HTML:
		in_json(c, how == JSON_HTML, out);
		return;
	case XML:
	case XML_NUMBERS:
		in_xml(c, how == XML_NUMBERS, out);
		return;
	case SHELL:
		if (c == '\'')
			snprintf(out, ESCAPE_MOST, "'\\''");
		return;
	case ESCAPINGS:
		return;
	}
}

static void give_escaped(const char *value, size_t size, enum escaping how, secret_take *take)
{
	char one[ESCAPE_MOST];
	auto_free char *out = malloc(size * (ESCAPE_MOST - 1) + 1);
	char *at = out;
	if (!out)
		abort();
	for (size_t i = 0; i < size; i++) {
		escape(how, (unsigned char)value[i], one);
		at = stpcpy(at, one);
	}
	take(out, (size_t)(at - out));
}

/* As it comes after it was made harmless: bytes that are no UTF-8, for instance. */
static void give_sanitized(const char *value, size_t size, secret_take *take)
{
	/* An invalid byte becomes three. */
	auto_free char *out = malloc(3 * size + 1);
	if (!out)
		abort();
	take(out, text_sanitize(value, size, out, 3 * size + 1));
}

void secret_spell_base64(const char *value, size_t size, secret_take *take)
{
	/* How many characters depend on so many bytes before it. */
	static const size_t foreign[] = {0, 2, 3};
	auto_free char *bytes = calloc(1, size + 2);
	if (!bytes)
		abort();
	memcpy(bytes + 2, value, size);
	for (size_t before = 0; before < 3; before++) {
		auto_free char *text = base64_encode(bytes + 2 - before, before + size);
		char *start = text + foreign[before];
		size_t end = (before + size) / 3 * 4;
		if (end < foreign[before] + BASE64_SHORTEST)
			continue;
		take(start, end - foreign[before]);
		/* RFC 4648, section 5. */
		for (char *p = start; *p; p++)
			*p = *p == '+' ? '-' : *p == '/' ? '_' : *p;
		take(start, end - foreign[before]);
	}
}

void secret_spell(const char *value, size_t size, secret_take *take)
{
	take(value, size);
	give_sanitized(value, size, take);
	for (enum escaping how = 0; how < ESCAPINGS; how++)
		give_escaped(value, size, how, take);
	secret_spell_base64(value, size, take);
}
