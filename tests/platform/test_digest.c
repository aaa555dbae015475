/* Digests: their texts, checksum files, and the stream stage. */
#include "tests/unit.h"

#include <ctype.h>

#include "platform/digest.h"

/* FIPS 180-4's example "abc". */
#define SHA256_ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define SHA512_ABC                                                                                 \
	"ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"                         \
	"2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
#define SHA256_EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static void reads_and_writes_texts(void **state)
{
	(void)state;
	struct error err;
	struct digest digest;
	char out[DIGEST_TEXT_SIZE];
	assert_ok(digest_parse("sha256:" SHA256_ABC, &digest, &err));
	assert_int_equal(digest.type, DIGEST_SHA256);
	assert_string_equal(digest_format(&digest, out), "sha256:" SHA256_ABC);
	assert_ok(digest_parse("sha512:" SHA512_ABC, &digest, &err));
	assert_int_equal(digest.type, DIGEST_SHA512);
	assert_string_equal(digest_format(&digest, out), "sha512:" SHA512_ABC);
	char capitals[] = "SHA256:" SHA256_ABC;
	for (char *p = capitals; *p; p++)
		*p = (char)toupper((unsigned char)*p);
	assert_ok(digest_parse(capitals, &digest, &err));
	assert_string_equal(digest_format(&digest, out), "sha256:" SHA256_ABC);
}

static void refuses_other_texts(void **state)
{
	(void)state;
	struct error err;
	struct digest digest;
	static const char *const texts[] = {"",
					    SHA256_ABC,
					    "sha256:",
					    "sha256:zz",
					    "sha256:" SHA256_ABC "0",
					    "sha256:" SHA256_ABC " ",
					    "sha256: " SHA256_ABC,
					    "sha512:" SHA256_ABC,
					    "sha256:" SHA512_ABC,
					    "md5:900150983cd24fb0d6963f7d28e17f72",
					    "sha2567:" SHA256_ABC,
					    ":" SHA256_ABC};
	for (size_t i = 0; i < COUNT(texts); i++)
		assert_fails(digest_parse(texts[i], &digest, &err), ERROR_INPUT, "sha");
}

static void compares(void **state)
{
	(void)state;
	struct error err;
	struct digest a, b, none = {.type = DIGEST_NONE};
	assert_ok(digest_parse("sha256:" SHA256_ABC, &a, &err));
	assert_ok(digest_parse("sha256:" SHA256_ABC, &b, &err));
	assert_true(digest_equal(&a, &b));
	b.bytes[31] ^= 1;
	assert_false(digest_equal(&a, &b));
	assert_ok(digest_parse("sha512:" SHA512_ABC, &b, &err));
	assert_false(digest_equal(&a, &b));
	/* Nothing is not equal to nothing: no check passes by its absence. */
	assert_false(digest_equal(&none, &none));
}

#define OTHER "0000000000000000000000000000000000000000000000000000000000000000"

static void finds_the_line_in_checksum_files(void **state)
{
	(void)state;
	struct error err;
	static const char *const files[] = {
		/* sha256sum, text and binary, with paths, CR LF, blank lines and comments around.
		 */
		OTHER "  other.raw\n" SHA256_ABC "  image.raw\n",
		SHA256_ABC " *image.raw",
		SHA256_ABC "  ./path/to/image.raw\n" OTHER "  x\n",
		SHA256_ABC "\timage.raw\r\n",
		"# Debian images\n\n" OTHER "  image.raw.sig\n" SHA256_ABC "  image.raw\n",
		/* BSD, as Fedora and FreeBSD write it; PGP around it does not matter. */
		"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n"
		"SHA256 (other) = " OTHER "\nSHA256 (image.raw) = " SHA256_ABC "\n",
		"sha256 (dir/image.raw) = " SHA256_ABC,
		/* A checksum alone. */
		SHA256_ABC,
		SHA256_ABC "\n",
		SHA256_ABC "  \r\n",
		/* As openssl writes it, with names that look like the end of the line. */
		"SHA256(image.raw)= " SHA256_ABC,
		"SHA2-256(dir/image.raw)= " SHA256_ABC "\n",
		"SHA256 (a) = b/image.raw) = " SHA256_ABC,
		/* Of standard input; and with an escaped name. */
		SHA256_ABC "  -\n",
		SHA256_ABC " *-\n",
		"\\" SHA256_ABC "  a\\\\b/image.raw\n",
		/* A name with blanks beside it. */
		OTHER "  an image.raw\n" SHA256_ABC "  image.raw\n",
	};
	for (size_t i = 0; i < COUNT(files); i++) {
		struct digest digest;
		char out[DIGEST_TEXT_SIZE];
		assert_ok(digest_find_in_file(files[i], strlen(files[i]), "a/b/image.raw", &digest,
					      &err));
		assert_string_equal(digest_format(&digest, out), "sha256:" SHA256_ABC);
	}
	struct digest digest;
	static const char long_one[] = "SHA512 (image.raw) = " SHA512_ABC "\n";
	assert_ok(digest_find_in_file(long_one, strlen(long_one), "image.raw", &digest, &err));
	assert_int_equal(digest.type, DIGEST_SHA512);
}

static void finds_nothing_where_nothing_is(void **state)
{
	(void)state;
	struct error err;
	struct digest digest;
	static const char *const files[] = {
		"",
		"\n\n",
		"<html>not found</html>",
		OTHER "  other.raw\n",
		OTHER "  xximage.raw\n",
		OTHER "  image.raw.gz\n",
		/* Two without names: which one? */
		SHA256_ABC "\n" OTHER "\n",
		/* One without a name among named ones is not for us. */
		SHA256_ABC "\n" OTHER "  other\n",
		/* A digit too few, too many; the type does not fit the length. */
		"a7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  image.raw",
		"0" SHA256_ABC "  image.raw",
		"SHA512 (image.raw) = " SHA256_ABC,
		"MD5 (image.raw) = 900150983cd24fb0d6963f7d28e17f72",
		"SHA3-256(image.raw)= " SHA256_ABC,
		"SHA2-512(image.raw)= " SHA256_ABC,
		"(image.raw)= " SHA256_ABC,
		"SHA256 (image.raw) = ",
		SHA256_ABC "  -\n" OTHER "  -\n",
		SHA256_ABC "image.raw",
	};
	for (size_t i = 0; i < COUNT(files); i++)
		assert_fails(
			digest_find_in_file(files[i], strlen(files[i]), "image.raw", &digest, &err),
			ERROR_NOT_FOUND, "image.raw");
}

static void passes_data_and_checks_it(void **state)
{
	(void)state;
	struct error err;
	struct digest expected, computed = {.type = DIGEST_NONE};
	static const char *const texts[] = {"sha256:" SHA256_ABC, "sha512:" SHA512_ABC};
	for (size_t i = 0; i < COUNT(texts); i++) {
		char out[8];
		struct stream *stream = NULL;
		assert_ok(digest_parse(texts[i], &expected, &err));
		assert_ok(digest_stream(stream_from_memory("abc", 3), &expected, &computed, &stream,
					&err));
		assert_int_equal(stream->size_bytes, 3);
		assert_int_equal(stream_read_full(stream, out, sizeof(out), &err), 3);
		assert_memory_equal(out, "abc", 3);
		assert_true(digest_equal(&expected, &computed));
		stream_close(stream);
	}
}

static void fails_at_the_end_of_other_data(void **state)
{
	(void)state;
	struct error err;
	struct digest expected, computed;
	char out[8];
	struct stream *stream = NULL;
	assert_ok(digest_parse("sha256:" SHA256_ABC, &expected, &err));
	assert_ok(digest_stream(stream_from_memory("abd", 3), &expected, &computed, &stream, &err));
	assert_fails(stream_read_full(stream, out, sizeof(out), &err), ERROR_CORRUPT, SHA256_ABC);
	assert_false(digest_equal(&expected, &computed));
	stream_close(stream);
}

static void computes_sha256_without_expectation(void **state)
{
	(void)state;
	struct error err;
	struct digest computed;
	char out[DIGEST_TEXT_SIZE];
	struct stream *stream = NULL;
	assert_ok(digest_stream(stream_from_memory("", 0), NULL, &computed, &stream, &err));
	assert_int_equal(stream_read(stream, out, 1, &err), 0);
	stream_close(stream);
	assert_string_equal(digest_format(&computed, out), "sha256:" SHA256_EMPTY);
}

static void digests_memory(void **state)
{
	(void)state;
	struct digest digest, expected;
	struct error err;
	digest_memory(DIGEST_SHA256, "", 0, &digest);
	assert_ok(digest_parse("sha256:" SHA256_EMPTY, &expected, &err));
	assert_true(digest_equal(&digest, &expected));
	digest_memory(DIGEST_SHA512, "", 0, &digest);
	assert_int_equal(digest.type, DIGEST_SHA512);
	assert_false(digest_equal(&digest, &expected));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_and_writes_texts),
		cmocka_unit_test(refuses_other_texts),
		cmocka_unit_test(compares),
		cmocka_unit_test(finds_the_line_in_checksum_files),
		cmocka_unit_test(finds_nothing_where_nothing_is),
		cmocka_unit_test(passes_data_and_checks_it),
		cmocka_unit_test(fails_at_the_end_of_other_data),
		cmocka_unit_test(digests_memory),
		cmocka_unit_test(computes_sha256_without_expectation),
	};
	return cmocka_run_group_tests_name("digest", tests, NULL, NULL);
}
