/*
 * Text from outside made safe: valid UTF-8, bounded, without control characters; numbers and
 * booleans read strictly; secrets in URLs hidden. Nothing here allocates unless it says so.
 */
#ifndef PLATFORM_TEXT_H
#define PLATFORM_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Length of the valid UTF-8 sequence at text (at most size bytes there), or 0 when the bytes there
 * are not one. RFC 3629. */
size_t text_utf8_sequence(const char *text, size_t size);

/* Length of the byte order mark that the text begins with: 3, or 0 without one. */
size_t text_byte_order_mark(const char *text, size_t size);

/* Whether size bytes are valid UTF-8 without NUL. */
bool text_is_utf8(const char *text, size_t size);

/* Ends a NUL-terminated text before an incomplete last UTF-8 sequence (as snprintf leaves one when
 * it cuts). */
void text_cut_utf8(char *text);

/*
 * Copies size bytes to out (capacity out_size > 0, always NUL-terminated) as valid UTF-8 on a line:
 * every byte that is not part of a valid sequence becomes U+FFFD, control characters other than
 * newline and tab become '?', and terminal escape sequences are dropped. Cut on a character when
 * out is too small. Returns the length written.
 */
size_t text_sanitize(const char *text, size_t size, char *out, size_t out_size);

/* As text_sanitize(), and every character outside printable ASCII becomes '?'. */
size_t text_to_ascii(const char *text, size_t size, char *out, size_t out_size);

/* The value of a hexadecimal digit of either case, -1 for another character. */
int text_hex_value(char c);

/* Booleans as Go's strconv.ParseBool takes them: 1 t T true TRUE True / 0 f F false FALSE False.
 * False when it is none. */
bool text_parse_bool(const char *text, bool *ret_value);

/* The whole text is one unsigned number in the base given (8, 10 or 16), without sign or blanks, at
 * most max. */
bool text_parse_uint(const char *text, int base, uint64_t max, uint64_t *ret_value);

/*
 * Copies a URL with what may be secret replaced by "***": the password (and name) before '@', and
 * the query. What has no
 * "://" is copied as it is up to a '?'. Always NUL-terminated. Returns out.
 */
char *text_redact_url(const char *url, char *out, size_t out_size);

/* 1536 -> "1.5 KiB". Returns out. */
char *text_bytes(uint64_t bytes, char *out, size_t out_size);

/* How far apart two words are (Damerau-Levenshtein without case, words of at most 63 bytes; longer
 * ones: 99). */
unsigned text_distance(const char *a, const char *b);

/* strdup() that ends the process when memory runs out: for small things (see style: small
 * allocations abort). */
char *text_dup(const char *text);
char *text_dup_size(const char *text, size_t size);

/* printf into new memory, owned by the caller. Ends the process when memory runs out. */
char *text_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
