/* Selectors of disks; what is taken matches the same again. */
#include "tests/fuzz/fuzz.h"

#include "platform/disk_terms.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_text(data, size);
	struct disk_terms terms;
	struct disk_size wanted;
	struct error err;
	if (disk_terms_parse(text, &terms, &err) == 0) {
		require(terms.count > 0 && terms.count <= DISK_TERMS_MOST);
		for (unsigned i = 0; i < terms.count; i++) {
			const char *value = terms.terms[i].value;
			require(value[0] != '\0' && strlen(value) < DISK_VALUE_SIZE);
			require(disk_text_matches(value, value));
			require(disk_text_matches("*", value));
		}
	} else {
		require(err.kind == ERROR_INPUT && err.text[0] != '\0');
	}
	if (disk_size_parse(text, &wanted, &err) == 0) {
		require(wanted.decimal <= wanted.binary || wanted.exact);
		wanted.operator= DISK_EQUAL;
		require(disk_size_matches(&wanted, wanted.decimal));
		require(disk_size_matches(&wanted, wanted.binary));
		wanted.operator= DISK_UNEQUAL;
		require(!disk_size_matches(&wanted, wanted.binary));
	} else {
		require(err.kind == ERROR_INPUT);
	}
	/* The first half as a pattern for the second. */
	if (size > 1) {
		char *pattern = fuzz_text(data, size / 2);
		disk_text_matches(pattern, text + size / 2);
		free(pattern);
	}
	free(text);
	return 0;
}
