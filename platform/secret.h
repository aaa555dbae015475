/*
 * The one place where secrets are hidden. What is a secret is told once; everything that leaves the
 * process as text for people (log lines, reports, the output of actions) passes through
 * secret_redact(). With a value its usual other spellings are hidden: percent-encoded and decoded,
 * base64, and each longer line of one with several.
 */
#ifndef PLATFORM_SECRET_H
#define PLATFORM_SECRET_H

#include <stddef.h>

enum {
	SECRET_SHORTEST = 4
};

/*
 * Remembers a value to hide. Values shorter than SECRET_SHORTEST bytes are left out: hiding them
 * would garble every text and protects nothing. The value is copied. Of very many (2048 texts with
 * all their spellings) the oldest are forgotten: they belong to actions long past.
 */
void secret_add(const char *value);

/* Remembers a password, and what an Authorization header of "Basic" makes of both. NULLs are
 * passed over. */
void secret_add_login(const char *user, const char *password);

/* Remembers what is secret in a URL: the password and the query. */
void secret_add_url(const char *url);

/* secret_add_url() for everything in a text (a kernel command line) that looks like a URL. */
void secret_add_urls_in(const char *text);

/* What was added so far is never forgotten: secrets of the settings. */
void secret_keep(void);

/*
 * Replaces every secret in text by "***" in place (the text never grows: "***" is shorter than any
 * secret). So is the beginning of a secret at the text's end: it may have been cut there.
 */
void secret_redact(char *text);

/* secret_redact() for words of the process's own command line, which everybody can read: nothing of
 * them stays behind. */
void secret_hide_arguments(int argc, char *const *argv);

#endif
