/* The list of secrets, and their removal from text: see secret.h. */
#include "platform/secret.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "platform/text.h"

enum {
	SECRETS_MOST = 256,
	TOKEN_SHORTEST = 8
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *secrets[SECRETS_MOST];
static size_t secret_count;

void secret_add(const char *value)
{
	if (!value || strlen(value) < SECRET_SHORTEST)
		return;
	pthread_mutex_lock(&lock);
	bool known = false;
	for (size_t i = 0; i < secret_count && !known; i++)
		known = strcmp(secrets[i], value) == 0;
	if (!known) {
		/* When the list is full the oldest goes: it belongs to an action long past. */
		if (secret_count == SECRETS_MOST) {
			free(secrets[0]);
			memmove(&secrets[0], &secrets[1], sizeof(secrets) - sizeof(secrets[0]));
			secret_count--;
		}
		secrets[secret_count++] = text_dup(value);
	}
	pthread_mutex_unlock(&lock);
}

void secret_add_url(const char *url)
{
	const char *scheme = url ? strstr(url, "://") : NULL;
	if (!scheme)
		return;
	const char *authority = scheme + 3;
	const char *at = memrchr(authority, '@', strcspn(authority, "/?#"));
	if (at) {
		const char *colon = memchr(authority, ':', (size_t)(at - authority));
		const char *start = colon ? colon + 1 : authority;
		char *password = text_dup_size(start, (size_t)(at - start));
		secret_add(password);
		free(password);
	}
	const char *query = strchr(authority, '?');
	if (!query)
		return;
	secret_add(query + 1);
	/* A token is secret without the rest of the query, too; a short value ("true") is a word
	 * like any other. */
	for (const char *part = query + 1; *part;) {
		size_t size = strcspn(part, "&#");
		const char *equals = memchr(part, '=', size);
		size_t value_size = equals ? size - (size_t)(equals + 1 - part) : 0;
		if (value_size >= TOKEN_SHORTEST) {
			char *value = text_dup_size(equals + 1, value_size);
			secret_add(value);
			free(value);
		}
		part += size + (part[size] != '\0');
	}
}

/* The longest secret that begins at text: one may begin another, and nothing of it may stay. */
static size_t secret_at(const char *text)
{
	size_t longest = 0;
	for (size_t i = 0; i < secret_count; i++) {
		size_t size = strlen(secrets[i]);
		if (size > longest && strncmp(text, secrets[i], size) == 0)
			longest = size;
	}
	return longest;
}

void secret_redact(char *text)
{
	char *to = text;
	pthread_mutex_lock(&lock);
	for (const char *from = text; *from;) {
		size_t size = secret_at(from);
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
