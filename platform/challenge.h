/*
 * The challenges by which a server says how it wants to be asked: the WWW-Authenticate header
 * (RFC 9110, section 11.6.1; Bearer: RFC 6750).
 */
#ifndef PLATFORM_CHALLENGE_H
#define PLATFORM_CHALLENGE_H

#include <stdbool.h>
#include <stddef.h>

enum challenge_scheme {
	CHALLENGE_NONE, /* nothing that is known */
	CHALLENGE_BASIC,
	CHALLENGE_BEARER
};

enum {
	CHALLENGE_VALUE_SIZE = 1024
};

/* The strongest challenge seen so far; texts are "" when they were not given. */
struct challenge {
	enum challenge_scheme scheme;
	char realm[CHALLENGE_VALUE_SIZE]; /* Bearer: the token server's URL */
	char service[CHALLENGE_VALUE_SIZE];
	char scope[CHALLENGE_VALUE_SIZE];
	char error[64]; /* "insufficient_scope", "invalid_token" */
};

/*
 * Reads the value of one WWW-Authenticate header, which may hold several challenges, and puts the
 * best into *challenge unless what is there is as good: Bearer before Basic before none. Unknown
 * schemes are passed over; a header that is malformed counts up to where it is. A value that does
 * not fit makes its challenge unknown.
 */
void challenge_read(const char *header, size_t size, struct challenge *challenge);

#endif
