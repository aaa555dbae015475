/* Digests by libcrypto: see digest.h. */
#include "platform/digest.h"

#include <ctype.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "platform/text.h"

static const struct {
	const char *name;
	size_t bytes;
} types[] = {
	[DIGEST_SHA256] = {"sha256", 32},
	[DIGEST_SHA512] = {"sha512", 64},
};

enum {
	TYPE_COUNT = sizeof(types) / sizeof(types[0])
};

static size_t hex_length(const char *text, size_t size)
{
	size_t length = 0;
	while (length < size && text_hex_value(text[length]) >= 0)
		length++;
	return length;
}

/* digits hex digits make a digest of the type with that length. */
static bool from_hex(const char *hex, size_t digits, struct digest *digest)
{
	for (size_t type = DIGEST_SHA256; type < TYPE_COUNT; type++) {
		if (digits != 2 * types[type].bytes)
			continue;
		*digest = (struct digest){.type = (enum digest_type)type};
		for (size_t i = 0; i < types[type].bytes; i++)
			digest->bytes[i] = (uint8_t)(text_hex_value(hex[2 * i]) << 4 |
						     text_hex_value(hex[2 * i + 1]));
		return true;
	}
	return false;
}

int digest_parse(const char *text, struct digest *ret_digest, struct error *err)
{
	const char *colon = strchr(text, ':');
	for (size_t type = DIGEST_SHA256; type < TYPE_COUNT && colon; type++) {
		size_t name_size = strlen(types[type].name);
		if ((size_t)(colon - text) != name_size ||
		    strncasecmp(text, types[type].name, name_size) != 0)
			continue;
		const char *hex = colon + 1;
		size_t digits = hex_length(hex, strlen(hex));
		if (hex[digits] != '\0' || digits != 2 * types[type].bytes)
			return error_set(err, ERROR_INPUT,
					 "%s needs %zu hexadecimal digits behind the colon",
					 types[type].name, 2 * types[type].bytes);
		from_hex(hex, digits, ret_digest);
		return 0;
	}
	return error_set(err, ERROR_INPUT, "\"%.80s\" is not sha256:<hex> or sha512:<hex>", text);
}

static const char *base_name(const char *path, size_t size)
{
	const char *slash = memrchr(path, '/', size);
	return slash ? slash + 1 : path;
}

struct checksum_line {
	struct digest digest;
	const char *name; /* NULL: none */
	size_t name_size;
};

/* A line "SHA256 (name) = hex", or openssl's "SHA2-256(name)= hex". */
static bool parse_bsd_line(const char *line, size_t size, struct checksum_line *ret)
{
	const char *open = memchr(line, '(', size);
	const char *close = NULL;
	/* The last one: names may have anything in them. */
	for (size_t at = open ? (size_t)(open - line) : size; at + 3 < size; at++)
		if (memcmp(line + at, ")= ", 3) == 0 ||
		    (at + 4 < size && memcmp(line + at, ") = ", 4) == 0))
			close = line + at;
	if (!close)
		return false;
	const char *hex = close + (close[1] == ' ' ? 4 : 3);
	size_t digits = hex_length(hex, size - (size_t)(hex - line));
	if (digits != size - (size_t)(hex - line) || !from_hex(hex, digits, &ret->digest))
		return false;
	size_t type_size = (size_t)(open - line);
	while (type_size > 0 && line[type_size - 1] == ' ')
		type_size--;
	char type[16] = "";
	if (type_size < sizeof(type))
		memcpy(type, line, type_size);
	bool is_sha512 = ret->digest.type == DIGEST_SHA512;
	if (strcasecmp(type, types[ret->digest.type].name) != 0 &&
	    strcasecmp(type, is_sha512 ? "sha2-512" : "sha2-256") != 0)
		return false;
	ret->name = open + 1;
	ret->name_size = (size_t)(close - ret->name);
	return true;
}

static bool parse_line(const char *line, size_t size, struct checksum_line *ret)
{
	if (size > 0 && line[0] == '\\') { /* something in the name is escaped */
		line++;
		size--;
	}
	if (parse_bsd_line(line, size, ret))
		return true;
	size_t digits = hex_length(line, size);
	if (!from_hex(line, digits, &ret->digest))
		return false;
	ret->name = NULL;
	if (digits == size)
		return true;
	size_t at = digits;
	while (at < size && (line[at] == ' ' || line[at] == '\t'))
		at++;
	if (at == digits)
		return false;
	if (at < size && line[at] == '*')
		at++;
	ret->name = line + at;
	ret->name_size = size - at;
	return at < size;
}

int digest_find_in_file(const char *text, size_t size, const char *file_name,
			struct digest *ret_digest, struct error *err)
{
	const char *wanted = base_name(file_name, strlen(file_name));
	struct checksum_line bare = {.name = NULL};
	unsigned lines = 0, bare_lines = 0; /* bare: of nothing, or of a pipe's content */
	for (size_t at = 0; at < size;) {
		const char *end = memchr(text + at, '\n', size - at);
		size_t length = end ? (size_t)(end - (text + at)) : size - at;
		const char *start = text + at;
		at += length + (end ? 1 : 0);
		while (length > 0 && isspace((unsigned char)start[length - 1]))
			length--;
		struct checksum_line line;
		if (length == 0 || !parse_line(start, length, &line))
			continue;
		lines++;
		if (!line.name || (line.name_size == 1 && line.name[0] == '-')) {
			bare = line;
			bare_lines++;
			continue;
		}
		const char *name = base_name(line.name, line.name_size);
		size_t name_size = line.name_size - (size_t)(name - line.name);
		if (name_size == strlen(wanted) && memcmp(name, wanted, name_size) == 0) {
			*ret_digest = line.digest;
			return 0;
		}
	}
	if (lines == 1 && bare_lines == 1) {
		*ret_digest = bare.digest;
		return 0;
	}
	return error_set(err, ERROR_NOT_FOUND,
			 "the checksum file has %u checksums, none for \"%.200s\"", lines, wanted);
}

char *digest_format(const struct digest *digest, char *out)
{
	static const char digits[] = "0123456789abcdef";
	if (digest->type == DIGEST_NONE) {
		strcpy(out, "none");
		return out;
	}
	char *p = stpcpy(out, types[digest->type].name);
	*p++ = ':';
	for (size_t i = 0; i < types[digest->type].bytes; i++) {
		*p++ = digits[digest->bytes[i] >> 4];
		*p++ = digits[digest->bytes[i] & 15];
	}
	*p = '\0';
	return out;
}

void digest_memory(enum digest_type type, const void *data, size_t size, struct digest *ret_digest)
{
	*ret_digest = (struct digest){.type = type};
	if (EVP_Digest(data, size, ret_digest->bytes, NULL,
		       type == DIGEST_SHA512 ? EVP_sha512() : EVP_sha256(), NULL) != 1)
		abort(); /* memory for a context */
}

bool digest_equal(const struct digest *a, const struct digest *b)
{
	return a->type != DIGEST_NONE && a->type == b->type &&
	       memcmp(a->bytes, b->bytes, types[a->type].bytes) == 0;
}

struct digest_stage {
	struct stream stream;
	struct stream *below;
	EVP_MD_CTX *context;
	struct digest expected;
	enum digest_type type;
	struct digest *result;
};

static int finish(struct digest_stage *self, struct error *err)
{
	struct digest digest = {.type = self->type};
	if (EVP_DigestFinal_ex(self->context, digest.bytes, NULL) != 1)
		return error_set(err, ERROR_BUG, "libcrypto: EVP_DigestFinal_ex failed");
	if (self->result)
		*self->result = digest;
	if (self->expected.type != DIGEST_NONE && !digest_equal(&digest, &self->expected)) {
		char is[DIGEST_TEXT_SIZE], should_be[DIGEST_TEXT_SIZE];
		return error_set(err, ERROR_CORRUPT, "wrong checksum: expected %s, the data has %s",
				 digest_format(&self->expected, should_be),
				 digest_format(&digest, is));
	}
	return 0;
}

static ssize_t digest_read(struct stream *stream, void *data, size_t size, struct error *err)
{
	struct digest_stage *self = (struct digest_stage *)stream;
	ssize_t got = stream_read(self->below, data, size, err);
	if (got < 0)
		return -1;
	if (got == 0)
		return finish(self, err);
	if (EVP_DigestUpdate(self->context, data, (size_t)got) != 1)
		return error_set(err, ERROR_BUG, "libcrypto: EVP_DigestUpdate failed");
	return got;
}

static void digest_close(struct stream *stream)
{
	struct digest_stage *self = (struct digest_stage *)stream;
	EVP_MD_CTX_free(self->context);
	stream_close(self->below);
	free(self);
}

int digest_stream(struct stream *below, const struct digest *expected, struct digest *ret_digest,
		  struct stream **ret_stream, struct error *err)
{
	static const struct stream_operations operations = {.read = digest_read,
							    .close = digest_close};
	struct digest_stage *self = calloc(1, sizeof(*self));
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	if (!self || !context)
		abort();
	self->stream = (struct stream){.operations = &operations,
				       .size_bytes = below->size_bytes,
				       .least_bytes = below->least_bytes};
	self->below = below;
	self->context = context;
	self->result = ret_digest;
	if (expected)
		self->expected = *expected;
	self->type = self->expected.type != DIGEST_NONE ? self->expected.type : DIGEST_SHA256;
	const EVP_MD *method = self->type == DIGEST_SHA512 ? EVP_sha512() : EVP_sha256();
	if (EVP_DigestInit_ex(context, method, NULL) != 1) {
		digest_close(&self->stream);
		return error_set(err, ERROR_BUG, "libcrypto: EVP_DigestInit_ex failed");
	}
	*ret_stream = &self->stream;
	return 0;
}

struct digester {
	EVP_MD_CTX *context;
	const EVP_MD *method;
};

struct digester *digester_new(const char *name)
{
	const EVP_MD *method = strcmp(name, "sha1") == 0     ? EVP_sha1()
			       : strcmp(name, "sha256") == 0 ? EVP_sha256()
			       : strcmp(name, "sha512") == 0 ? EVP_sha512()
							     : NULL;
	if (!method)
		return NULL;
	struct digester *digester = calloc(1, sizeof(*digester));
	if (!digester)
		abort();
	digester->context = EVP_MD_CTX_new();
	digester->method = method;
	/* Memory is all they can fail for. */
	if (!digester->context || EVP_DigestInit_ex(digester->context, method, NULL) != 1)
		abort();
	return digester;
}

void digester_free(struct digester *digester)
{
	if (!digester)
		return;
	EVP_MD_CTX_free(digester->context);
	free(digester);
}

size_t digester_bytes(const struct digester *digester)
{
	return (size_t)EVP_MD_size(digester->method);
}

void digester_add(struct digester *digester, const void *data, size_t size)
{
	if (EVP_DigestUpdate(digester->context, data, size) != 1)
		abort();
}

void digester_finish(struct digester *digester, uint8_t *ret_bytes)
{
	if (EVP_DigestFinal_ex(digester->context, ret_bytes, NULL) != 1 ||
	    EVP_DigestInit_ex(digester->context, digester->method, NULL) != 1)
		abort();
}
