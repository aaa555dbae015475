/*
 * The one place where secrets are hidden. What is a secret is told once; everything that leaves the
 * process as text for people (log lines, reports, the output of actions) passes through
 * secret_redact().
 */
#ifndef PLATFORM_SECRET_H
#define PLATFORM_SECRET_H

#include <stddef.h>

enum {
	SECRET_SHORTEST = 4
};

/* Remembers a value to hide for the life of the process. Values shorter than SECRET_SHORTEST bytes
 * are left out: hiding them would garble every text and protects nothing. The value is copied. */
void secret_add(const char *value);

/* Remembers what is secret in a URL: the password and the query. */
void secret_add_url(const char *url);

/* Replaces every secret in text by "***" in place (the text never grows: "***" is shorter than any
 * secret). */
void secret_redact(char *text);

#endif
