/*
 * The one place where secrets are hidden. What is a secret is told once; everything that leaves the
 * process as text for people (log lines, reports, the output of actions) passes through
 * secret_redact(). With a value its usual other spellings are hidden (see secret_spell.h), and each
 * longer line of one with several. What is secret by its place, in URLs and Authorization headers,
 * is hidden without being told.
 */
#ifndef PLATFORM_SECRET_H
#define PLATFORM_SECRET_H

#include <stddef.h>

enum {
	SECRET_SHORTEST = 4
};

/*
 * Remembers a value to hide. Values shorter than SECRET_SHORTEST bytes are hidden only by
 * secret_hide_arguments(): hiding them would garble every text and protects nothing. The value is
 * copied. Of very many (8192 texts with all their spellings) the oldest are forgotten: they belong
 * to actions long past.
 */
void secret_add(const char *value);

/* Remembers a password, and what an Authorization header of "Basic" makes of both. NULLs are
 * passed over. */
void secret_add_login(const char *user, const char *password);

/* Remembers the value of a variable when its name says that it is a secret: one with PASSWORD,
 * TOKEN or the like in it, from 6 bytes on when it ends so, else from 8 bytes on. */
void secret_add_named(const char *name, const char *value);

/* Remembers what is secret in a URL: the password (of a user without one, and of one whose name is
 * as long as a token, the user) and the query. */
void secret_add_url(const char *url);

/* Remembers what is secret in a text (a kernel command line, a command): its URLs, Authorization
 * headers, and words NAME=VALUE as secret_add_named() does. */
void secret_learn(const char *text);

/* What was added so far is never forgotten: secrets of the settings. */
void secret_keep(void);

/*
 * Replaces every secret in text by "***" in place (the text never grows; two bytes and one become
 * "**" and "*"). So is the beginning of a secret at the text's end, it may have been cut there; and
 * in whatever looks like a URL what stands before "@" and behind "?", and what stands behind
 * "Authorization:".
 */
void secret_redact(char *text);

/* secret_redact() for words of the process's own command line, which everybody can read: nothing of
 * them stays behind. */
void secret_hide_arguments(int argc, char *const *argv);

#endif
