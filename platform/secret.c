/* The list of secrets, and their removal from text: see secret.h. */
#include "platform/secret.h"

#include <ctype.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "platform/cleanup.h"
#include "platform/secret_places.h"
#include "platform/secret_spell.h"
#include "platform/text.h"

/*
 * LINE_SHORTEST: a shorter line is a word like any other. TAIL_SHORTEST: as much of a secret at the
 * end of a text is no chance.
 */
enum {
	FORGETTABLE_MOST = 8192,
	LINE_SHORTEST = 8,
	TAIL_SHORTEST = 8,
	BUCKETS = 4096,
	SHORT_MOST = 16
};

struct secret {
	size_t size;
	bool kept;
	struct secret *next_in_bucket;
	struct secret *older, *newer; /* of those that may be forgotten */
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

/* Too short to be looked for in texts; whole words of a command line they may be. */
static char short_ones[SHORT_MOST][SECRET_SHORTEST];
static size_t short_count;

static void unlink_from_age(struct secret *secret)
{
	*(secret->older ? &secret->older->newer : &oldest) = secret->newer;
	*(secret->newer ? &secret->newer->older : &newest) = secret->older;
	secret->older = secret->newer = NULL;
	forgettable_count--;
}

static void forget_oldest(void)
{
	struct secret *secret = oldest;
	struct secret **at = &buckets[bucket_of(secret->text)];
	while (*at != secret)
		at = &(*at)->next_in_bucket;
	*at = secret->next_in_bucket;
	unlink_from_age(secret);
	free(secret);
}

static void become_newest(struct secret *secret)
{
	secret->older = newest;
	if (newest)
		newest->newer = secret;
	else
		oldest = secret;
	newest = secret;
	if (++forgettable_count > FORGETTABLE_MOST)
		forget_oldest();
}

static struct secret *new_secret(const char *text, size_t size)
{
	struct secret *secret = calloc(1, sizeof(*secret) + size + 1);
	struct secret **bucket = &buckets[bucket_of(text)];
	if (!secret)
		abort();
	secret->size = size;
	memcpy(secret->text, text, size);
	secret->next_in_bucket = *bucket;
	*bucket = secret;
	return secret;
}

/* One spelling. */
static void add(const char *text, size_t size)
{
	if (size < SECRET_SHORTEST)
		return;
	pthread_mutex_lock(&lock);
	struct secret *secret = buckets[bucket_of(text)];
	while (secret && (secret->size != size || memcmp(secret->text, text, size) != 0))
		secret = secret->next_in_bucket;
	if (secret && !secret->kept)
		unlink_from_age(secret);
	if (!secret)
		secret = new_secret(text, size);
	/* One that comes again is in use again. */
	if (!secret->kept)
		become_newest(secret);
	pthread_mutex_unlock(&lock);
}

void secret_keep(void)
{
	pthread_mutex_lock(&lock);
	while (oldest) {
		struct secret *secret = oldest;
		unlink_from_age(secret);
		secret->kept = true;
	}
	pthread_mutex_unlock(&lock);
}

static void add_all(const char *value, size_t size)
{
	secret_spell(value, size, add);
	auto_free char *plain = secret_decoded(value, size);
	if (plain)
		secret_spell(plain, strlen(plain), add);
}

static void remember_short(const char *value)
{
	pthread_mutex_lock(&lock);
	if (short_count < SHORT_MOST)
		strcpy(short_ones[short_count++], value);
	pthread_mutex_unlock(&lock);
}

void secret_add(const char *value)
{
	if (!value || !value[0])
		return;
	if (strlen(value) < SECRET_SHORTEST) {
		remember_short(value);
		return;
	}
	add_all(value, strlen(value));
	if (!strchr(value, '\n'))
		return;
	for (const char *line = value; *line;) {
		size_t size = strcspn(line, "\r\n");
		if (size >= LINE_SHORTEST)
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
	secret_spell_base64(both, strlen(both), add);
}

/* A secret of any bytes must not make text invalid. */
static bool is_inside_character(const char *text)
{
	return ((unsigned char)*text & 0xc0) == 0x80;
}

/* How much of text (left bytes) belongs to the longest secret that begins there: one may begin
 * another, and nothing of it may stay. */
static size_t secret_at(const char *text, size_t left)
{
	size_t longest = 0;
	if (left < SECRET_SHORTEST || is_inside_character(text))
		return 0;
	for (const struct secret *secret = buckets[bucket_of(text)]; secret;
	     secret = secret->next_in_bucket) {
		size_t size = secret->size;
		if (size > left)
			size = left >= TAIL_SHORTEST ? left : 0;
		if (size > longest && memcmp(text, secret->text, size) == 0 &&
		    !is_inside_character(text + size))
			longest = size;
	}
	return longest;
}

/* How much at `at` is secret by where it stands: the rest of what *place says, if that has begun.
 * Forgets what lies behind. */
static size_t rest_of(struct secret_place *place, const char *at)
{
	if (!place->from || at < place->from)
		return 0;
	size_t size = at < place->to ? (size_t)(place->to - at) : 0;
	place->from = NULL;
	return size;
}

void secret_redact(char *text)
{
	char *to = text;
	const char *end = text + strlen(text);
	struct secret_place login = {.from = NULL}, query = {.from = NULL};
	pthread_mutex_lock(&lock);
	for (const char *from = text; from < end;) {
		if (*from == ':')
			secret_places_in_url(from, end, &login, &query);
		else if ((*from | 0x20) == 'a' && !login.from)
			login = secret_place_in_header(from, end);
		size_t known = secret_at(from, (size_t)(end - from));
		size_t of_login = rest_of(&login, from), of_query = rest_of(&query, from);
		size_t size = known > of_login ? known : of_login;
		size = size > of_query ? size : of_query;
		if (size == 0) {
			*to++ = *from++;
			continue;
		}
		size_t stars = size < 3 ? size : 3;
		memcpy(to, "***", stars);
		to += stars;
		from += size;
	}
	pthread_mutex_unlock(&lock);
	*to = '\0';
}

/* A word, or what stands behind its "=", that is one of the short ones. */
static void hide_short(char *word)
{
	char *equals = strchr(word, '=');
	for (size_t i = 0; i < short_count; i++) {
		if (strcmp(word, short_ones[i]) == 0)
			memset(word, '*', strlen(word));
		if (equals && strcmp(equals + 1, short_ones[i]) == 0)
			memset(equals + 1, '*', strlen(equals + 1));
	}
}

void secret_hide_arguments(int argc, char *const *argv)
{
	for (int i = 0; i < argc; i++) {
		size_t size = strlen(argv[i]);
		hide_short(argv[i]);
		secret_redact(argv[i]);
		size_t left = strlen(argv[i]);
		memset(argv[i] + left, 0, size - left);
	}
}
