/*
 * What a registry wants to see before it gives: the Authorization header for its challenge. With
 * Bearer it is a token that a token server gives out, to a user or to anybody (the distribution
 * project's token authentication; for a token's answer also RFC 6749, section 5.1).
 */
#ifndef PLATFORM_REGISTRY_LOGIN_H
#define PLATFORM_REGISTRY_LOGIN_H

#include "platform/challenge.h"
#include "platform/http.h"

struct registry_login {
	const char *username; /* NULL or "": as anybody */
	const char *password;
	const char *repository; /* what is to be pulled */
	int64_t timeout_ms;     /* of the whole exchange with the token server */
	bool allow_plain; /* the registry itself is without TLS: its token server may be, too */
};

/*
 * Makes "Authorization: …" for a challenge, owned by the caller; asks the token server by client if
 * it has to. What is secret in it is made known to secret_add(). ERROR_DENIED: who asks is refused,
 * or would have to say a password where everybody can hear it. Otherwise errors as of
 * http_exchange(), ERROR_PROTOCOL for an answer without a token.
 */
int registry_login(struct http_client *client, const struct registry_login *login,
		   const struct challenge *challenge, char **ret_header, struct error *err);

/*
 * The URL that the token server is asked by, owned by the caller: realm?service=…&scope=….
 * ERROR_PROTOCOL when the realm is no http or https URL.
 */
int registry_token_url(const struct registry_login *login, const struct challenge *challenge,
		       char **ret_url, struct error *err);

/*
 * The token in a token server's answer, owned by the caller. ERROR_PROTOCOL when there is none, or
 * one that has no place in a header.
 */
int registry_token_read(const void *answer, size_t size, char **ret_token, struct error *err);

/*
 * Sets the error that a status other than 2xx is: kinds as of http_get(), err->code is the status.
 * The reason that registries give (the body, {"errors": [{"code": …, "message": …}]}) is told, too.
 * Returns -1.
 */
int registry_status_error(const char *who, const struct http_response *response, struct error *err);

#endif
