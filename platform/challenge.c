/* WWW-Authenticate: see challenge.h. */
#include "platform/challenge.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

struct cursor {
	const char *at, *end;
};

static void skip(struct cursor *cursor, const char *these)
{
	while (cursor->at < cursor->end && *cursor->at != '\0' && strchr(these, *cursor->at))
		cursor->at++;
}

/* tchar of RFC 9110, 5.6.2; a token68 (base64 credentials) has / as well and is not of interest. */
static bool is_token_char(char c)
{
	return isalnum((unsigned char)c) || (c != '\0' && strchr("!#$%&'*+-.^_`|~/", c) != NULL);
}

static size_t token_size(const struct cursor *cursor)
{
	size_t size = 0;
	while (cursor->at + size < cursor->end && is_token_char(cursor->at[size]))
		size++;
	return size;
}

static bool token_is(const char *token, size_t size, const char *word)
{
	return strlen(word) == size && strncasecmp(token, word, size) == 0;
}

/* A token or quoted text into out (may be NULL: passed over). False when it is cut, too long, or
 * has what no URL and no name has: control characters. */
static bool read_value(struct cursor *cursor, char *out, size_t out_size)
{
	size_t used = 0;
	bool quoted = cursor->at < cursor->end && *cursor->at == '"', fits = true;
	cursor->at += quoted;
	for (; cursor->at < cursor->end; cursor->at++) {
		if (quoted ? *cursor->at == '"' : !is_token_char(*cursor->at))
			break;
		if (quoted && *cursor->at == '\\' && cursor->at + 1 < cursor->end)
			cursor->at++;
		if ((unsigned char)*cursor->at < 0x20 || *cursor->at == 0x7f)
			fits = false;
		if (out && used + 1 < out_size)
			out[used++] = *cursor->at;
		else if (out)
			fits = false;
	}
	if (out)
		out[used] = '\0';
	if (!quoted)
		return fits;
	if (cursor->at == cursor->end)
		return false;
	cursor->at++;
	return fits;
}

/* name = value, into its place. Returns false when what stands here is no parameter (the next
 * challenge, or nonsense). */
static bool read_parameter(struct cursor *cursor, struct challenge *challenge, bool *ret_sound)
{
	const struct {
		const char *name;
		char *value;
		size_t size;
	} known[] = {
		{"realm", challenge->realm, sizeof(challenge->realm)},
		{"service", challenge->service, sizeof(challenge->service)},
		{"scope", challenge->scope, sizeof(challenge->scope)},
		{"error", challenge->error, sizeof(challenge->error)},
	};
	struct cursor ahead = *cursor;
	const char *name = ahead.at;
	size_t size = token_size(&ahead);
	ahead.at += size;
	skip(&ahead, " \t");
	if (size == 0 || ahead.at == ahead.end || *ahead.at != '=')
		return false;
	ahead.at++;
	skip(&ahead, " \t");
	char *out = NULL;
	size_t out_size = 0;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (token_is(name, size, known[i].name)) {
			out = known[i].value;
			out_size = known[i].size;
		}
	}
	if (!read_value(&ahead, out, out_size))
		*ret_sound = false;
	*cursor = ahead;
	return true;
}

/* One scheme with its parameters. False when there is none here. */
static bool read_challenge(struct cursor *cursor, struct challenge *ret_challenge)
{
	*ret_challenge = (struct challenge){.scheme = CHALLENGE_NONE};
	skip(cursor, " \t,");
	const char *scheme = cursor->at;
	size_t size = token_size(cursor);
	if (size == 0)
		return false;
	cursor->at += size;
	bool sound = true;
	do {
		skip(cursor, " \t,");
	} while (read_parameter(cursor, ret_challenge, &sound));
	skip(cursor, "="); /* the end of a token68 */
	if (sound && token_is(scheme, size, "Bearer") && ret_challenge->realm[0])
		ret_challenge->scheme = CHALLENGE_BEARER;
	else if (sound && token_is(scheme, size, "Basic"))
		ret_challenge->scheme = CHALLENGE_BASIC;
	return true;
}

void challenge_read(const char *header, size_t size, struct challenge *challenge)
{
	struct cursor cursor = {header, header + size};
	struct challenge next;
	while (read_challenge(&cursor, &next))
		if (next.scheme > challenge->scheme)
			*challenge = next;
}
