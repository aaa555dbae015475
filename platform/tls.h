/*
 * TLS beyond what libcurl has settings for: pinned certificates, and files of certificates and keys
 * looked at before a connection fails on them. By OpenSSL.
 */
#ifndef PLATFORM_TLS_H
#define PLATFORM_TLS_H

#include <stdbool.h>
#include <stddef.h>

#include "platform/digest.h"

enum {
	TLS_PINS_MOST = 8,
	TLS_SEEN_SIZE = 256
};

/* A SHA-256 of the server's certificate (DER), or of its public key (SubjectPublicKeyInfo, as
 * RFC 7469 has it). */
struct tls_pin {
	bool of_key;
	struct digest digest;
};

/* One that fits is enough. */
struct tls_pins {
	size_t count;
	struct tls_pin list[TLS_PINS_MOST];
};

/*
 * Reads a list apart by blanks or commas of: 64 hex digits, with or without colons between the
 * bytes, "sha256:<hex>" for the certificate; "key:<any of them>" or "sha256//<base64>" for the
 * public key. ERROR_INPUT says what is wrong.
 */
int tls_pins_parse(const char *text, struct tls_pins *ret_pins, struct error *err);

/* How the server's certificate is judged in the handshakes of one client. */
struct tls_check {
	const struct tls_pins *pins;
	bool chain;    /* its chain and dates are checked, too */
	bool mismatch; /* the last one fitted no pin: seen says what it was */
	char seen[TLS_SEEN_SIZE];
};

/* Makes the connections of an SSL_CTX use this check, which must live as long; but for one whose
 * newest version is set, to TLS 1.3: that is how a proxy's is marked. */
void tls_check_install(void *ssl_ctx, struct tls_check *check);

/* Whether the file holds certificates (PEM): ERROR_INPUT or what opening it gives. */
int tls_check_roots(const char *path, struct error *err);

/* Whether these are a certificate and its key (PEM, not encrypted). ERROR_INPUT says what is wrong;
 * *ret_of_key: with the key's file. */
int tls_check_identity(const char *cert_path, const char *key_path, bool *ret_of_key,
		       struct error *err);

#endif
