/* Checksum files, and the texts of digests: the first line is the name that is looked for. */
#include "tests/fuzz/fuzz.h"

#include "platform/digest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = memchr(data, '\n', size);
	size_t name_size = end ? (size_t)(end - data) : size;
	char *name = fuzz_text(data, name_size);
	size_t left = end ? size - name_size - 1 : 0;
	/* In memory of its own, without a NUL. */
	char *text = malloc(left ? left : 1);
	require(text != NULL);
	if (left > 0)
		memcpy(text, end + 1, left);
	struct digest digest, again;
	struct error err;
	char written[DIGEST_TEXT_SIZE];
	if (digest_find_in_file(text, left, name, &digest, &err) == 0) {
		require(digest.type == DIGEST_SHA256 || digest.type == DIGEST_SHA512);
		require(digest_parse(digest_format(&digest, written), &again, &err) == 0);
		require(digest_equal(&digest, &again));
	} else {
		require(err.kind == ERROR_NOT_FOUND);
	}
	if (digest_parse(name, &digest, &err) == 0) {
		require(digest_parse(digest_format(&digest, written), &again, &err) == 0);
		require(digest_equal(&digest, &again));
	} else {
		require(err.kind == ERROR_INPUT);
	}
	free(text);
	free(name);
	return 0;
}
