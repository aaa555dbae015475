/* Pins and files of certificates by OpenSSL: see tls.h. */
#include "platform/tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "platform/base64.h"
#include "platform/buffer.h"
#include "platform/cleanup.h"
#include "platform/text.h"

enum {
	SHA256_BYTES = 32,
	PEM_FILE_MAX = 4 << 20
};

/* "ab:cd:…" or "abcd…". */
static int parse_hex(const char *text, struct digest *digest)
{
	size_t used = 0;
	for (; *text; text += 2) {
		if (used > 0 && *text == ':')
			text++;
		int high = text_hex_value(text[0]);
		int low = high >= 0 ? text_hex_value(text[1]) : -1;
		if (low < 0 || used == SHA256_BYTES)
			return -1;
		digest->bytes[used++] = (uint8_t)(high << 4 | low);
	}
	return used == SHA256_BYTES ? 0 : -1;
}

static int parse_base64(const char *text, struct digest *digest)
{
	auto_buffer struct buffer bytes = {.cap = 4096};
	struct error ignored;
	if (base64_decode(text, &bytes, &ignored) < 0 || bytes.size != SHA256_BYTES)
		return -1;
	memcpy(digest->bytes, bytes.data, SHA256_BYTES);
	return 0;
}

static int parse_pin(const char *text, struct tls_pin *pin, struct error *err)
{
	const char *rest = text;
	*pin = (struct tls_pin){.digest = {.type = DIGEST_SHA256}};
	if (strncasecmp(rest, "key:", 4) == 0) {
		pin->of_key = true;
		rest += 4;
	}
	int result;
	if (strncmp(rest, "sha256//", 8) == 0) {
		pin->of_key = true;
		result = parse_base64(rest + 8, &pin->digest);
	} else {
		if (strncasecmp(rest, "sha256:", 7) == 0)
			rest += 7;
		result = parse_hex(rest, &pin->digest);
	}
	return result == 0 ? 0
			   : error_set(err, ERROR_INPUT,
				       "\"%s\" is no pin: give sha256:HEX of the certificate, "
				       "key:sha256:HEX or sha256//BASE64 of its public key",
				       text);
}

int tls_pins_parse(const char *text, struct tls_pins *ret_pins, struct error *err)
{
	struct tls_pins pins = {.count = 0};
	for (const char *at = text; *at;) {
		at += strspn(at, ", \t\n");
		size_t size = strcspn(at, ", \t\n");
		if (size == 0)
			break;
		if (pins.count == TLS_PINS_MOST)
			return error_set(err, ERROR_INPUT, "more than %d pins", TLS_PINS_MOST);
		auto_free char *entry = text_dup_size(at, size);
		at += size;
		if (parse_pin(entry, &pins.list[pins.count++], err) < 0)
			return -1;
	}
	*ret_pins = pins;
	return 0;
}

static void digest_der(unsigned char *der, int size, struct digest *ret_digest)
{
	*ret_digest = (struct digest){.type = DIGEST_SHA256};
	if (size > 0)
		digest_memory(DIGEST_SHA256, der, (size_t)size, ret_digest);
	OPENSSL_free(der);
}

static bool fits(struct tls_check *check, X509 *certificate)
{
	unsigned char *der = NULL, *key = NULL;
	struct digest whole, public;
	int size = i2d_X509(certificate, &der);
	digest_der(der, size, &whole);
	size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &key);
	digest_der(key, size, &public);
	for (size_t i = 0; i < check->pins->count; i++) {
		const struct tls_pin *pin = &check->pins->list[i];
		if (digest_equal(&pin->digest, pin->of_key ? &public : &whole))
			return true;
	}
	char text[2][DIGEST_TEXT_SIZE];
	snprintf(check->seen, sizeof(check->seen), "%s, key:%s", digest_format(&whole, text[0]),
		 digest_format(&public, text[1]));
	return false;
}

static int verify(X509_STORE_CTX *store, void *argument)
{
	struct tls_check *check = argument;
	X509 *certificate = X509_STORE_CTX_get0_cert(store);
	if (check->chain && X509_verify_cert(store) <= 0)
		return 0;
	check->mismatch = !certificate || !fits(check, certificate);
	if (check->mismatch)
		X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
	return !check->mismatch;
}

void tls_check_install(void *ssl_ctx, struct tls_check *check)
{
	if (SSL_CTX_get_max_proto_version(ssl_ctx) == TLS1_3_VERSION)
		return;
	check->mismatch = false;
	SSL_CTX_set_cert_verify_callback(ssl_ctx, verify, check);
	/* Also when libcurl was told not to look at the chain: the pin holds. */
	SSL_CTX_set_verify(ssl_ctx, SSL_VERIFY_PEER, NULL);
}

static BIO *open_pem(const char *path, struct buffer *bytes, struct error *err)
{
	if (buffer_read_file(bytes, path, err) < 0)
		return NULL;
	BIO *bio = BIO_new_mem_buf(bytes->data, (int)bytes->size);
	if (!bio)
		abort();
	return bio;
}

/* The first certificate in a file. */
static X509 *read_certificate(const char *path, struct error *err)
{
	auto_buffer struct buffer bytes = {.cap = PEM_FILE_MAX};
	BIO *bio = open_pem(path, &bytes, err);
	if (!bio)
		return NULL;
	X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	BIO_free(bio);
	ERR_clear_error();
	if (!certificate)
		error_set(err, ERROR_INPUT, "%s holds no certificate (PEM is needed)", path);
	return certificate;
}

int tls_check_roots(const char *path, struct error *err)
{
	X509 *certificate = read_certificate(path, err);
	X509_free(certificate);
	return certificate ? 0 : -1;
}

static int on_password(char *out, int size, int writing, void *asked)
{
	(void)out;
	(void)size;
	(void)writing;
	*(bool *)asked = true;
	return -1;
}

static EVP_PKEY *read_key(const char *path, struct error *err)
{
	auto_buffer struct buffer bytes = {.cap = PEM_FILE_MAX};
	BIO *bio = open_pem(path, &bytes, err);
	bool encrypted = false;
	if (!bio)
		return NULL;
	EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, on_password, &encrypted);
	BIO_free(bio);
	ERR_clear_error();
	OPENSSL_cleanse(bytes.data, bytes.size);
	if (!key && encrypted)
		error_set(err, ERROR_INPUT,
			  "%s is encrypted: nobody is there to type its password, give a key "
			  "without one (openssl pkey -in KEY -out PLAIN)",
			  path);
	else if (!key)
		error_set(err, ERROR_INPUT, "%s holds no private key (PEM is needed)", path);
	return key;
}

int tls_check_identity(const char *cert_path, const char *key_path, bool *ret_of_key,
		       struct error *err)
{
	*ret_of_key = false;
	X509 *certificate = read_certificate(cert_path, err);
	if (!certificate)
		return -1;
	*ret_of_key = true;
	EVP_PKEY *key = read_key(key_path, err);
	int result = key ? 0 : -1;
	if (key && X509_check_private_key(certificate, key) != 1)
		result = error_set(err, ERROR_INPUT, "%s is not the key of the certificate in %s",
				   key_path, cert_path);
	ERR_clear_error();
	EVP_PKEY_free(key);
	X509_free(certificate);
	return result;
}
