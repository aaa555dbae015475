/* The parser of selectors: see disk_terms.h. */
#include "platform/disk_terms.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "platform/text.h"

enum {
	PERCENT = 100
};

static const struct key {
	const char *name;
	enum disk_key key;
	bool number; /* decimal digits only */
} keys[] = {
	{"serial", DISK_KEY_SERIAL},
	{"wwn", DISK_KEY_WWN},
	{"model", DISK_KEY_MODEL},
	{"vendor", DISK_KEY_VENDOR},
	{"size", DISK_KEY_SIZE},
	{"type", DISK_KEY_TYPE},
	{"transport", DISK_KEY_TRANSPORT},
	{"rotational", DISK_KEY_ROTATIONAL, true},
	{"removable", DISK_KEY_REMOVABLE, true},
	{"name", DISK_KEY_NAME},
	{"hctl", DISK_KEY_HCTL},
	{"by-id", DISK_KEY_BY_ID},
	{"by-path", DISK_KEY_BY_PATH},
	{"partition", DISK_KEY_PARTITION, true},
	{"partlabel", DISK_KEY_PARTLABEL},
	{"partuuid", DISK_KEY_PARTUUID},
	{"label", DISK_KEY_LABEL},
	{"uuid", DISK_KEY_UUID},
	/* As the folders in /dev/disk are called. */
	{"by-partlabel", DISK_KEY_PARTLABEL},
	{"by-partuuid", DISK_KEY_PARTUUID},
	{"by-label", DISK_KEY_LABEL},
	{"by-uuid", DISK_KEY_UUID},
};

static const struct {
	const char *text;
	enum disk_operator operator;
} operators[] = {
	{"==", DISK_EQUAL}, {"!=", DISK_UNEQUAL}, {">=", DISK_AT_LEAST}, {"<=", DISK_AT_MOST},
	{"=", DISK_EQUAL},  {">", DISK_MORE},     {"<", DISK_LESS},
};

static const char blanks[] = " \t\r\n,";

static bool take_operator(const char **text, enum disk_operator *ret_operator)
{
	for (size_t i = 0; i < sizeof(operators) / sizeof(operators[0]); i++) {
		size_t size = strlen(operators[i].text);
		if (strncmp(*text, operators[i].text, size) == 0) {
			*text += size;
			*ret_operator = operators[i].operator;
			return true;
		}
	}
	return false;
}

/* "480G", "1.5TiB", "1000": the number in both meanings of its unit. */
static bool parse_amount(const char *text, struct disk_size *size)
{
	static const char units[] = "KMGTPE";
	char number[32];
	size_t digits = strspn(text, "0123456789.");
	if (digits == 0 || digits >= sizeof(number) || !isdigit((unsigned char)text[0]))
		return false;
	snprintf(number, sizeof(number), "%.*s", (int)digits, text);
	const char *unit = text + digits;
	unit += strspn(unit, " ");
	const char *known = *unit ? strchr(units, toupper((unsigned char)*unit)) : NULL;
	if (!known) {
		size->exact = true;
		bool ok = (*unit == '\0' || strcasecmp(unit, "B") == 0) &&
			  text_parse_uint(number, 10, UINT64_MAX, &size->decimal);
		size->binary = size->decimal;
		return ok;
	}
	long double whole = 0, place = 1, decimal = 1, binary = 1;
	bool point = false;
	for (const char *at = number; *at; at++) {
		if (*at == '.' && (point || !at[1]))
			return false;
		point = point || *at == '.';
		if (*at == '.')
			continue;
		whole = whole * 10 + (*at - '0');
		place = point ? place * 10 : place;
	}
	for (const char *at = units; at <= known; at++) {
		decimal *= 1000;
		binary *= 1024;
	}
	bool only_decimal = strcasecmp(unit + 1, "B") == 0,
	     only_binary = strcasecmp(unit + 1, "iB") == 0;
	if (unit[1] && !only_decimal && !only_binary)
		return false;
	decimal *= whole / place;
	binary *= whole / place;
	if (binary >= 9.2e18L)
		return false;
	size->decimal = (uint64_t)(only_binary ? binary : decimal);
	size->binary = (uint64_t)(only_decimal ? decimal : binary);
	return true;
}

int disk_size_parse(const char *text, struct disk_size *ret_size, struct error *err)
{
	struct disk_size size = {.operator= DISK_EQUAL };
	const char *at = text + strspn(text, " ");
	take_operator(&at, &size.operator);
	if (!parse_amount(at + strspn(at, " "), &size))
		return error_set(err, ERROR_INPUT,
				 "\"%.100s\" is no size like 480G, >=1.5T, <2TiB or 500107862016",
				 text);
	*ret_size = size;
	return 0;
}

static bool is_about(uint64_t bytes, uint64_t wanted)
{
	uint64_t apart = bytes > wanted ? bytes - wanted : wanted - bytes;
	return apart <= wanted / PERCENT;
}

bool disk_size_matches(const struct disk_size *size, uint64_t bytes)
{
	bool equal = size->exact ? bytes == size->decimal
				 : is_about(bytes, size->decimal) || is_about(bytes, size->binary);
	switch (size->operator) {
	case DISK_EQUAL:
		return equal;
	case DISK_UNEQUAL:
		return !equal;
	/* Of the two meanings the one that a disk sold or made with this size fits. */
	case DISK_AT_LEAST:
		return bytes >= size->decimal;
	case DISK_AT_MOST:
		return bytes <= size->binary;
	case DISK_MORE:
		return bytes > size->binary;
	case DISK_LESS:
		return bytes < size->decimal;
	}
	return false;
}

static bool same_character(char pattern, char c)
{
	pattern = pattern == '_' ? ' ' : pattern;
	c = c == '_' ? ' ' : c;
	return tolower((unsigned char)pattern) == tolower((unsigned char)c);
}

bool disk_text_matches(const char *pattern, const char *text)
{
	/* Where to go on when it does not fit: the last '*' takes one character more. */
	const char *star = NULL, *star_text = NULL;
	while (*text) {
		if (*pattern == '*') {
			star = pattern++;
			star_text = text;
		} else if (*pattern && (*pattern == '?' || same_character(*pattern, *text))) {
			pattern++;
			text++;
		} else if (star) {
			pattern = star + 1;
			text = ++star_text;
		} else {
			return false;
		}
	}
	return pattern[strspn(pattern, "*")] == '\0';
}

const char *disk_wwn_bare(const char *text)
{
	static const char *const prefixes[] = {"wwn-", "nvme-", "0x", "naa.", "eui.", "uuid."};
	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
		if (strncasecmp(text, prefixes[i], strlen(prefixes[i])) == 0)
			text += strlen(prefixes[i]);
	return text;
}

static const struct key *find_key(const char *name, size_t size)
{
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (strlen(keys[i].name) == size && strncasecmp(keys[i].name, name, size) == 0)
			return &keys[i];
	return NULL;
}

/* "what: why", with a piece of the text. */
static int complain(struct error *err, const char *what, size_t size, const char *why)
{
	char shown[64];
	snprintf(shown, sizeof(shown), "%.*s", (int)(size < 60 ? size : 60), what);
	text_cut_utf8(shown);
	return error_set(err, ERROR_INPUT, "%s: %s", shown, why);
}

static int complain_about_key(struct error *err, const char *name, size_t size)
{
	complain(err, name, size, "is no selector; known are");
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		error_append(err, "%s %s", i ? "," : "", keys[i].name);
	return -1;
}

/* The value: up to a blank or comma, or between quotes. Moves text behind it. */
static int take_value(const char **text, struct disk_term *term, struct error *err)
{
	const char *at = *text;
	char quote = *at == '"' || *at == '\'' ? *at++ : '\0';
	size_t size = strcspn(at, quote ? (char[]){quote, '\0'} : blanks);
	if (quote && at[size] != quote)
		return complain(err, *text, strlen(*text), "the quote is not closed");
	if (quote && at[size + 1] && !strchr(blanks, at[size + 1]))
		return complain(err, *text, strlen(*text),
				"after the quote a blank or comma must follow");
	if (size >= sizeof(term->value))
		return complain(err, at, size, "the value is too long");
	memcpy(term->value, at, size);
	term->value[size] = '\0';
	*text = at + size + (quote != '\0');
	return 0;
}

static int check_value(const struct key *key, struct disk_term *term, struct error *err)
{
	if (!term->value[0])
		return complain(err, key->name, strlen(key->name), "has no value");
	if (term->key == DISK_KEY_SIZE) {
		if (disk_size_parse(term->value, &term->size, err) < 0)
			return -1;
		term->size.operator= term->operator;
		return 0;
	}
	if (term->operator!= DISK_EQUAL && term->operator!= DISK_UNEQUAL)
		return complain(err, key->name, strlen(key->name),
				"can be compared by = and != only");
	bool flag = term->key == DISK_KEY_ROTATIONAL || term->key == DISK_KEY_REMOVABLE;
	if (key->number && !text_parse_uint(term->value, 10, flag ? 1 : UINT32_MAX, &term->number))
		return complain(err, key->name, strlen(key->name),
				flag ? "must be 0 or 1" : "must be a number");
	if (term->key == DISK_KEY_PARTITION && term->number == 0)
		return error_set(err, ERROR_INPUT, "partitions are counted from 1");
	return 0;
}

static int take_term(const char **text, struct disk_term *ret_term, struct error *err)
{
	const char *name = *text;
	size_t size = strcspn(name, "=!<> \t\r\n,");
	const char *at = name + size;
	if (size == 0 || !take_operator(&at, &ret_term->operator))
		return complain(err, name, strcspn(name, blanks),
				"neither an absolute path (/dev/sda, /dev/disk/by-id/…) nor a "
				"selector (serial=…, size>=100G)");
	const struct key *key = find_key(name, size);
	if (!key)
		return complain_about_key(err, name, size);
	ret_term->key = key->key;
	if (take_value(&at, ret_term, err) < 0 || check_value(key, ret_term, err) < 0)
		return -1;
	*text = at;
	return 0;
}

int disk_terms_parse(const char *text, struct disk_terms *ret_terms, struct error *err)
{
	struct disk_terms terms = {.count = 0};
	for (text += strspn(text, blanks); *text; text += strspn(text, blanks)) {
		if (terms.count == DISK_TERMS_MOST)
			return error_set(err, ERROR_INPUT, "more than %d selectors",
					 DISK_TERMS_MOST);
		if (take_term(&text, &terms.terms[terms.count], err) < 0)
			return -1;
		terms.count++;
	}
	if (terms.count == 0)
		return error_set(err, ERROR_INPUT, "no disk is named");
	*ret_terms = terms;
	return 0;
}
