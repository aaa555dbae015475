/*
 * Message digests (FIPS 180-4 SHA-256 and SHA-512, by libcrypto): the texts people write them in,
 * and the stream stage that checks what flows through it.
 */
#ifndef PLATFORM_DIGEST_H
#define PLATFORM_DIGEST_H

#include "platform/stream.h"

enum digest_type {
	DIGEST_NONE = 0,
	DIGEST_SHA256,
	DIGEST_SHA512
};

enum {
	DIGEST_MAX_BYTES = 64,
	DIGEST_TEXT_SIZE = 8 + 2 * DIGEST_MAX_BYTES
};

struct digest {
	enum digest_type type;
	uint8_t bytes[DIGEST_MAX_BYTES];
};

/* "sha256:<64 hex>" or "sha512:<128 hex>", hex in either case. ERROR_INPUT says what is wrong. */
int digest_parse(const char *text, struct digest *ret_digest, struct error *err);

/*
 * Finds the digest of a file in the text of a checksum file as sha256sum and sha512sum write it:
 * lines "<hex>  <name>" or
 * "<hex> *<name>", BSD lines "SHA256 (<name>) = <hex>", or one bare "<hex>". A line whose name ends
 * in file_name (its last path component) is taken; a single line without a name fits any.
 * ERROR_NOT_FOUND when none fits.
 */
int digest_find_in_file(const char *text, size_t size, const char *file_name,
			struct digest *ret_digest, struct error *err);

/* "sha256:<hex>". out has DIGEST_TEXT_SIZE bytes. Returns out. */
char *digest_format(const struct digest *digest, char *out);

/* The digest of bytes in memory. */
void digest_memory(enum digest_type type, const void *data, size_t size, struct digest *ret_digest);

bool digest_equal(const struct digest *a, const struct digest *b);

/*
 * A stage over below (taken) that computes the digest of all that flows. When expected is not NULL
 * (copied) and of a type, the end is ERROR_CORRUPT unless it matches. After the end *ret_digest
 * (may be NULL; must outlive the stream) holds what was computed; without expectation it is a
 * SHA-256.
 */
int digest_stream(struct stream *below, const struct digest *expected, struct digest *ret_digest,
		  struct stream **ret_stream, struct error *err);

/*
 * A digest piece by piece, for forms that carry checksums of their own. Beside those above it knows
 * SHA-1, which protects against accidents only.
 */
struct digester;

/* "sha1", "sha256" or "sha512"; NULL for another name. */
struct digester *digester_new(const char *name);
void digester_free(struct digester *digester);

/* How many bytes its digest has. */
size_t digester_bytes(const struct digester *digester);
void digester_add(struct digester *digester, const void *data, size_t size);
/* Gives the digest of what was added (DIGEST_MAX_BYTES at most) and begins anew. */
void digester_finish(struct digester *digester, uint8_t *ret_bytes);

#endif
