/*
 * Selectors taken apart: "serial=S45N size>=100G" as terms, and whether a value is what a term
 * asks for. The language is described in disk_select.h; which device has which value is not known
 * here.
 */
#ifndef PLATFORM_DISK_TERMS_H
#define PLATFORM_DISK_TERMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "platform/error.h"

enum disk_key {
	DISK_KEY_SERIAL,
	DISK_KEY_WWN,
	DISK_KEY_MODEL,
	DISK_KEY_VENDOR,
	DISK_KEY_SIZE,
	DISK_KEY_TYPE,
	DISK_KEY_TRANSPORT,
	DISK_KEY_ROTATIONAL,
	DISK_KEY_REMOVABLE,
	DISK_KEY_NAME,
	DISK_KEY_HCTL,
	DISK_KEY_BY_ID,
	DISK_KEY_BY_PATH,
	DISK_KEY_PARTITION,
	DISK_KEY_PARTLABEL,
	DISK_KEY_PARTUUID,
	DISK_KEY_LABEL,
	DISK_KEY_UUID,
};

enum disk_operator {
	DISK_EQUAL,
	DISK_UNEQUAL,
	DISK_AT_LEAST,
	DISK_AT_MOST,
	DISK_MORE,
	DISK_LESS,
};

/* A size as people write it: a bare K, M, G, T or P stands for both units. */
struct disk_size {
	enum disk_operator operator;
	uint64_t decimal, binary; /* the same when the unit is told exactly */
	bool exact;               /* bytes: = means equal, not about */
};

enum {
	DISK_TERMS_MOST = 16,
	DISK_VALUE_SIZE = 192
};

struct disk_term {
	enum disk_key key;
	enum disk_operator operator;
	char value[DISK_VALUE_SIZE];
	struct disk_size size; /* of DISK_KEY_SIZE */
	uint64_t number;       /* of numbers and flags */
};

struct disk_terms {
	unsigned count;
	struct disk_term terms[DISK_TERMS_MOST];
};

/* ERROR_INPUT names what is wrong and lists the keys. */
int disk_terms_parse(const char *text, struct disk_terms *ret_terms, struct error *err);

/* "480G", ">=1.5TiB", "=1000": ERROR_INPUT says what a size is. */
int disk_size_parse(const char *text, struct disk_size *ret_size, struct error *err);

bool disk_size_matches(const struct disk_size *size, uint64_t bytes);

/* Whether the whole text is what the pattern says: '*', '?', no case, '_' equals a blank. */
bool disk_text_matches(const char *pattern, const char *text);

/* Without what a WWN is written with: "wwn-0x", "0x", "naa.", "eui.", "uuid.". */
const char *disk_wwn_bare(const char *text);

#endif
