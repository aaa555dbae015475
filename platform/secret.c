/* The list of secrets, and their removal from text: see secret.h. */
#include "platform/secret.h"

#include <ctype.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "platform/base64.h"
#include "platform/cleanup.h"
#include "platform/text.h"

/*
 * TOKEN_SHORTEST: a shorter part of a query, or a line, is a word like any other.
 * TAIL_SHORTEST: as much of a secret at the end of a text is no chance.
 */
enum {
	FORGETTABLE_MOST = 2048,
	TOKEN_SHORTEST = 8,
	TAIL_SHORTEST = 8,
	BUCKETS = 1024
};

struct secret {
	size_t size;
	struct secret *next_in_bucket;
	struct secret *newer;
	char text[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* By the first two bytes: nearly every place in a text is dismissed by one look. */
static struct secret *buckets[BUCKETS];
/* Those that may be forgotten, in the order they came. */
static struct secret *oldest, *newest;
static size_t forgettable_count;

static size_t bucket_of(const char *text)
{
	return ((unsigned char)text[0] * 31u + (unsigned char)text[1]) % BUCKETS;
}

static void forget_oldest(void)
{
	struct secret *secret = oldest;
	struct secret **at = &buckets[bucket_of(secret->text)];
	while (*at != secret)
		at = &(*at)->next_in_bucket;
	*at = secret->next_in_bucket;
	oldest = secret->newer;
	if (!oldest)
		newest = NULL;
	forgettable_count--;
	free(secret);
}

/* One spelling. */
static void add(const char *text, size_t size)
{
	if (size < SECRET_SHORTEST)
		return;
	pthread_mutex_lock(&lock);
	struct secret **bucket = &buckets[bucket_of(text)];
	const struct secret *known = *bucket;
	while (known && (known->size != size || memcmp(known->text, text, size) != 0))
		known = known->next_in_bucket;
	if (!known) {
		struct secret *secret = calloc(1, sizeof(*secret) + size + 1);
		if (!secret)
			abort();
		secret->size = size;
		memcpy(secret->text, text, size);
		secret->next_in_bucket = *bucket;
		*bucket = secret;
		if (newest)
			newest->newer = secret;
		else
			oldest = secret;
		newest = secret;
		if (++forgettable_count > FORGETTABLE_MOST)
			forget_oldest();
	}
	pthread_mutex_unlock(&lock);
}

void secret_keep(void)
{
	pthread_mutex_lock(&lock);
	oldest = newest = NULL;
	forgettable_count = 0;
	pthread_mutex_unlock(&lock);
}

/* RFC 3986, 2.1, all but the unreserved characters; digits above 9 from digits. */
static void add_encoded(const char *value, size_t size, const char *digits)
{
	auto_free char *out = malloc(size * 3 + 1);
	char *at = out;
	if (!out)
		abort();
	for (size_t i = 0; i < size; i++) {
		unsigned char c = (unsigned char)value[i];
		if (isascii(c) && (isalnum(c) || strchr("-._~", c))) {
			*at++ = (char)c;
		} else {
			*at++ = '%';
			*at++ = digits[c >> 4];
			*at++ = digits[c & 15];
		}
	}
	add(out, (size_t)(at - out));
}

/* What is percent-encoded in it, decoded; NULL when nothing is. Allocated. */
static char *decoded(const char *value, size_t size)
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

/* The characters that hold whatever follows: "value\n" in base64 begins with them too. */
static void add_base64(const char *value, size_t size)
{
	auto_free char *text = base64_encode(value, size);
	size_t stable = size / 3 * 4;
	if (stable >= TOKEN_SHORTEST)
		add(text, stable);
}

static void add_spellings(const char *value, size_t size)
{
	add(value, size);
	if (size < SECRET_SHORTEST)
		return;
	add_encoded(value, size, "0123456789ABCDEF");
	add_encoded(value, size, "0123456789abcdef");
	add_base64(value, size);
}

static void add_all(const char *value, size_t size)
{
	add_spellings(value, size);
	auto_free char *plain = decoded(value, size);
	if (plain)
		add_spellings(plain, strlen(plain));
}

void secret_add(const char *value)
{
	if (!value || strlen(value) < SECRET_SHORTEST)
		return;
	add_all(value, strlen(value));
	if (!strchr(value, '\n'))
		return;
	for (const char *line = value; *line;) {
		size_t size = strcspn(line, "\r\n");
		if (size >= TOKEN_SHORTEST)
			add_all(line, size);
		line += size + strspn(line + size, "\r\n");
	}
}

void secret_add_login(const char *user, const char *password)
{
	if (!password || !password[0])
		return;
	secret_add(password);
	auto_free char *both = text_format("%s:%s", user ? user : "", password);
	add_base64(both, strlen(both));
}

static void add_userinfo(const char *text, size_t size)
{
	auto_free char *whole = text_dup_size(text, size);
	char *colon = strchr(whole, ':');
	if (!colon) {
		secret_add(whole);
		return;
	}
	*colon = '\0';
	auto_free char *user = decoded(whole, strlen(whole));
	auto_free char *password = decoded(colon + 1, strlen(colon + 1));
	secret_add(colon + 1);
	secret_add_login(user ? user : whole, password ? password : colon + 1);
}

void secret_add_url(const char *url)
{
	const char *scheme = url ? strstr(url, "://") : NULL;
	if (!scheme)
		return;
	const char *authority = scheme + 3;
	const char *at = memrchr(authority, '@', strcspn(authority, "/?#"));
	if (at)
		add_userinfo(authority, (size_t)(at - authority));
	const char *mark = strchr(authority, '?');
	if (!mark)
		return;
	const char *query = mark + 1;
	size_t whole = strcspn(query, "#");
	add_all(query, whole);
	/* A token is secret without the rest of the query, too. */
	for (const char *part = query, *end = query + whole; part < end;) {
		size_t size = strcspn(part, "&;#");
		const char *equals = memchr(part, '=', size);
		size_t value_size = equals ? size - (size_t)(equals + 1 - part) : 0;
		if (value_size >= TOKEN_SHORTEST)
			add_all(equals + 1, value_size);
		part += size + 1;
	}
}

void secret_add_urls_in(const char *text)
{
	static const char *const apart = " \t\r\n\"',";
	while (*(text += strspn(text, apart))) {
		size_t size = strcspn(text, apart);
		auto_free char *word = text_dup_size(text, size);
		secret_add_url(word);
		text += size;
	}
}

/* How much of text (left bytes) belongs to the longest secret that begins there: one may begin
 * another, and nothing of it may stay. */
static size_t secret_at(const char *text, size_t left)
{
	size_t longest = 0;
	if (left < SECRET_SHORTEST)
		return 0;
	for (const struct secret *secret = buckets[bucket_of(text)]; secret;
	     secret = secret->next_in_bucket) {
		size_t size = secret->size;
		if (size > left)
			size = left >= TAIL_SHORTEST ? left : 0;
		if (size > longest && memcmp(text, secret->text, size) == 0)
			longest = size;
	}
	return longest;
}

void secret_redact(char *text)
{
	char *to = text;
	const char *end = text + strlen(text);
	pthread_mutex_lock(&lock);
	for (const char *from = text; from < end;) {
		size_t size = secret_at(from, (size_t)(end - from));
		if (size == 0) {
			*to++ = *from++;
			continue;
		}
		memcpy(to, "***", 3);
		to += 3;
		from += size;
	}
	pthread_mutex_unlock(&lock);
	*to = '\0';
}

void secret_hide_arguments(int argc, char *const *argv)
{
	for (int i = 0; i < argc; i++) {
		size_t size = strlen(argv[i]);
		secret_redact(argv[i]);
		size_t left = strlen(argv[i]);
		memset(argv[i] + left, 0, size - left);
	}
}
