/* The ways in which programs and servers write a value. For secret.c only. */
#ifndef PLATFORM_SECRET_SPELL_H
#define PLATFORM_SECRET_SPELL_H

#include <stddef.h>

/* Given one spelling: not ended by NUL. */
typedef void secret_take(const char *text, size_t size);

/*
 * Gives every spelling of a value to take, some more than once: as it is, made valid for the log
 * (text_sanitize()), percent-encoded, of a form, escaped for JSON, XML and HTML, and the shell, and
 * as base64.
 */
void secret_spell(const char *value, size_t size, secret_take *take);

/* The characters of its base64 that are there wherever the value stands in what was encoded, and
 * whatever stands around it. */
void secret_spell_base64(const char *value, size_t size, secret_take *take);

#endif
