/* Where secrets stand in texts, whatever they are: in URLs, in headers, behind a name. For the
 * other files of secret.h. */
#ifndef PLATFORM_SECRET_PLACES_H
#define PLATFORM_SECRET_PLACES_H

#include <stdbool.h>
#include <stddef.h>

/* Part of a text; from NULL: none. */
struct secret_place {
	const char *from, *to;
};

/* When a URL's "://" is at text: what stands before its host's "@", and its query. Else, and of
 * what it does not have, *ret_login and *ret_query are left as they are. end is the text's. */
void secret_places_in_url(const char *text, const char *end, struct secret_place *ret_login,
			  struct secret_place *ret_query);

/* When "Authorization: Basic …" or the like is at text, in whatever quotes: the credentials. */
struct secret_place secret_place_in_header(const char *text, const char *end);

/* Whether what is called so is a secret: PASSWORD, TOKEN and the like. *ret_least gets how short a
 * value of it may be. */
bool secret_name(const char *name, size_t size, size_t *ret_least);

/* What is percent-encoded in a text, decoded; NULL when nothing is. Allocated. */
char *secret_decoded(const char *value, size_t size);

#endif
