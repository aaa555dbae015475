/* Places of secrets: see secret_places.h. What is found there is remembered: secret_learn(). */
#include "platform/secret_places.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "platform/cleanup.h"
#include "platform/secret.h"
#include "platform/text.h"

/*
 * URL_MOST: longer ones are not looked through to their end. TOKEN_SHORTEST: a shorter part of a
 * query is a word like any other, unless its name says what it is. USER_SHORTEST: a user's name
 * that is so long is a token. CREDENTIALS_SHORTEST: of a header without a scheme.
 */
enum {
	URL_MOST = 8192,
	TOKEN_SHORTEST = 8,
	NAMED_SHORTEST = 6,
	USER_SHORTEST = 20,
	CREDENTIALS_SHORTEST = 16
};

/* What ends a URL in a text. A backslash may belong to one that is escaped for JSON. */
static bool ends_url(const char *at, const char *end)
{
	unsigned char c = (unsigned char)*at;
	if (c == '\\')
		return at + 1 == end || (at[1] != 'u' && at[1] != '/');
	return c <= ' ' || c == 0x7f || strchr("\"'<>`", c);
}

void secret_places_in_url(const char *text, const char *end, struct secret_place *ret_login,
			  struct secret_place *ret_query)
{
	if (end - text < 4 || strncmp(text, "://", 3) != 0)
		return;
	const char *at = text + 3, *sign = NULL;
	if (end - at > URL_MOST) {
		end = at + URL_MOST;
		while (((unsigned char)*end & 0xc0) == 0x80)
			end--;
	}
	const char *start = at;
	for (; at < end && !strchr("/?#", *at) && !ends_url(at, end); at++)
		if (*at == '@')
			sign = at;
	if (sign)
		*ret_login = (struct secret_place){.from = start, .to = sign};
	while (at < end && *at != '?' && *at != '#' && !ends_url(at, end))
		at++;
	if (at == end || *at != '?')
		return;
	start = ++at;
	while (at < end && *at != '#' && !ends_url(at, end))
		at++;
	/* The sentence that it stands in goes on. */
	while (at > start && strchr(":;,.!?)]}", at[-1]))
		at--;
	if (at > start)
		*ret_query = (struct secret_place){.from = start, .to = at};
}

struct secret_place secret_place_in_header(const char *text, const char *end)
{
	static const char name[] = "authorization";
	static const char apart[] = " \t\r\n\"'\\,;<>", line_end[] = "\r\n";
	static const struct {
		const char *name;
		const char *stops; /* some have several parts */
	} schemes[] = {{"basic", apart},
		       {"bearer", apart},
		       {"token", apart},
		       {"apikey", apart},
		       {"negotiate", apart},
		       {"digest", line_end},
		       {"aws4-hmac-sha256", line_end}};
	const struct secret_place none = {.from = NULL};
	const size_t name_size = sizeof(name) - 1;
	if ((size_t)(end - text) <= name_size || strncasecmp(text, name, name_size) != 0)
		return none;
	const char *at = text + name_size;
	size_t between = strspn(at, " \t:=\"'\\[");
	if (!memchr(at, ':', between) && !memchr(at, '=', between))
		return none;
	at += between;
	const char *stops = apart;
	size_t least = CREDENTIALS_SHORTEST;
	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
		size_t size = strlen(schemes[i].name);
		if (strncasecmp(at, schemes[i].name, size) != 0 || !at[size] ||
		    !strchr(" \t+%", at[size]))
			continue;
		least = 1;
		at += size + strspn(at + size, " \t+");
		stops = schemes[i].stops;
		break;
	}
	size_t size = strcspn(at, stops);
	return size >= least ? (struct secret_place){.from = at, .to = at + size} : none;
}

bool secret_name(const char *name, size_t size, size_t *ret_least)
{
	static const char *const words[] = {"PASSWORD", "PASSWD",  "PASSPHRASE",    "SECRET",
					    "TOKEN",    "APIKEY",  "PRIVATE_KEY",   "PRIVATE-KEY",
					    "API_KEY",  "API-KEY", "CREDENTIAL",    "ACCESS_KEY",
					    "_PASS",    "_PWD",    "AUTHORIZATION", "SIGNATURE"};
	auto_free char *text = text_dup_size(name, size);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		const char *at = strcasestr(text, words[i]);
		if (!at)
			continue;
		*ret_least = at[strlen(words[i])] ? TOKEN_SHORTEST : NAMED_SHORTEST;
		return true;
	}
	return false;
}

char *secret_decoded(const char *value, size_t size)
{
	if (!memchr(value, '%', size))
		return NULL;
	char *out = text_dup_size(value, size), *to = out;
	for (const char *from = out; *from; to++) {
		int high = from[0] == '%' ? text_hex_value(from[1]) : -1;
		int low = high >= 0 ? text_hex_value(from[2]) : -1;
		if (low >= 0 && (high > 0 || low > 0)) {
			*to = (char)(high * 16 + low);
			from += 3;
		} else {
			*to = *from++;
		}
	}
	*to = '\0';
	return out;
}

void secret_add_named(const char *name, const char *value)
{
	size_t least;
	if (value && secret_name(name, strlen(name), &least) && strlen(value) >= least)
		secret_add(value);
}

static void add_login(const char *text, size_t size)
{
	auto_free char *whole = text_dup_size(text, size);
	char *colon = strchr(whole, ':');
	if (!colon) {
		secret_add(whole);
		return;
	}
	*colon = '\0';
	auto_free char *user = secret_decoded(whole, strlen(whole));
	auto_free char *password = secret_decoded(colon + 1, strlen(colon + 1));
	secret_add(colon + 1);
	secret_add_login(user ? user : whole, password ? password : colon + 1);
	/* A token may take the user's place. */
	if (strlen(whole) >= USER_SHORTEST || !colon[1] || strcmp(colon + 1, "x-oauth-basic") == 0)
		secret_add(whole);
}

static void add_query(const char *query, size_t size)
{
	auto_free char *whole = text_dup_size(query, size);
	secret_add(whole);
	/* A token is secret without the rest of the query, too. */
	for (char *rest = whole, *part; (part = strtok_r(rest, "&;", &rest)) != NULL;) {
		char *value = strchr(part, '=');
		size_t least = TOKEN_SHORTEST;
		if (!value)
			continue;
		secret_name(part, (size_t)(value - part), &least);
		if (strlen(++value) >= least)
			secret_add(value);
	}
}

void secret_add_url(const char *url)
{
	const char *scheme = url ? strstr(url, "://") : NULL;
	if (!scheme)
		return;
	const char *authority = scheme + 3;
	const char *at = memrchr(authority, '@', strcspn(authority, "/?#"));
	if (at)
		add_login(authority, (size_t)(at - authority));
	const char *mark = strchr(authority, '?');
	if (mark)
		add_query(mark + 1, strcspn(mark + 1, "#"));
}

static void learn_headers(const char *text)
{
	const char *end = text + strlen(text);
	for (const char *at = text; (at = strcasestr(at, "authorization")) != NULL; at++) {
		struct secret_place place = secret_place_in_header(at, end);
		if (!place.from)
			continue;
		auto_free char *credentials =
			text_dup_size(place.from, (size_t)(place.to - place.from));
		secret_add(credentials);
	}
}

void secret_learn(const char *text)
{
	static const char apart[] = " \t\r\n\"',";
	learn_headers(text);
	while (*(text += strspn(text, apart))) {
		size_t size = strcspn(text, apart);
		auto_free char *word = text_dup_size(text, size);
		char *equals = strchr(word, '=');
		secret_add_url(word);
		if (equals) {
			*equals = '\0';
			secret_add_named(word, equals + 1);
		}
		text += size;
	}
}
