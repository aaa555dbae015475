/* References to images: see oci_reference.h. */
#include "platform/oci_reference.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "platform/text.h"

static const char hub[] = "docker.io";

static bool is_lower_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_alnum(char c)
{
	return is_lower_alnum(c) || (c >= 'A' && c <= 'Z');
}

/* [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)* */
static bool is_path_component(const char *text, size_t size)
{
	size_t at = 0;
	for (;;) {
		size_t start = at;
		while (at < size && is_lower_alnum(text[at]))
			at++;
		if (at == start)
			return false;
		if (at == size)
			return true;
		size_t separator = at;
		char c = text[at];
		while (at < size && text[at] == c)
			at++;
		size_t run = at - separator;
		if (c != '-' && !(c == '.' && run == 1) && !(c == '_' && run <= 2))
			return false;
	}
}

static bool is_repository(const char *text)
{
	for (;;) {
		size_t size = strcspn(text, "/");
		if (!is_path_component(text, size))
			return false;
		if (text[size] == '\0')
			return true;
		text += size + 1;
	}
}

/* [\w][\w.-]{0,127} */
static bool is_tag(const char *text)
{
	size_t size = strlen(text);
	if (size == 0 || size >= OCI_TAG_SIZE || text[0] == '.' || text[0] == '-')
		return false;
	for (size_t i = 0; i < size; i++)
		if (!is_alnum(text[i]) && !strchr("_.-", text[i]))
			return false;
	return true;
}

/* Labels of letters, digits and inner hyphens. */
static bool is_host_name(const char *text, size_t size)
{
	for (size_t start = 0, i = 0; i <= size; i++) {
		if (i < size && (is_alnum(text[i]) || text[i] == '-'))
			continue;
		if (i == start || text[start] == '-' || text[i - 1] == '-' ||
		    (i < size && text[i] != '.'))
			return false;
		start = i + 1;
	}
	return size > 0;
}

/* "[" hex digits and colons (the resolver judges them further) "]". */
static bool is_bracketed_address(const char *text, size_t size)
{
	if (size < 4 || text[0] != '[' || text[size - 1] != ']')
		return false;
	for (size_t i = 1; i + 1 < size; i++)
		if (text_hex_value(text[i]) < 0 && text[i] != ':' && text[i] != '.')
			return false;
	return true;
}

static bool is_registry(const char *text, size_t size)
{
	const char *colon = memrchr(text, ':', size);
	size_t host_size = size;
	if (colon && !memchr(colon, ']', size - (size_t)(colon - text))) {
		char port[8] = "";
		uint64_t number;
		size_t port_size = size - (size_t)(colon + 1 - text);
		if (port_size >= sizeof(port))
			return false;
		memcpy(port, colon + 1, port_size);
		if (!text_parse_uint(port, 10, 65535, &number) || number == 0)
			return false;
		host_size = (size_t)(colon - text);
	}
	return is_host_name(text, host_size) || is_bracketed_address(text, host_size);
}

/* The first component is a registry when it cannot be a repository on Docker Hub: by the rule of
 * everybody who reads references. */
static bool looks_like_registry(const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (strchr(".:[", text[i]))
			return true;
	return size == 9 && memcmp(text, "localhost", 9) == 0;
}

char *oci_registry_name(const char *text, char *out, size_t out_size)
{
	const char *scheme = strstr(text, "://");
	const char *host = scheme ? scheme + 3 : text;
	size_t used = 0;
	for (size_t i = 0; host[i] && host[i] != '/' && used + 1 < out_size; i++)
		out[used++] = (char)tolower((unsigned char)host[i]);
	out[used] = '\0';
	if (strcmp(out, "index.docker.io") == 0 || strcmp(out, "registry-1.docker.io") == 0)
		snprintf(out, out_size, "%s", hub);
	return out;
}

static int refuse(const char *text, const char *why, struct error *err)
{
	return error_set(err, ERROR_INPUT,
			 "\"%.300s\" is no reference to an image (registry/repository:tag or "
			 "@digest): %s",
			 text, why);
}

/* Takes "@digest" and ":tag" off the end of name. */
static int split_version(const char *text, char *name, struct oci_reference *reference,
			 struct error *err)
{
	char *at = strchr(name, '@');
	if (at) {
		*at = '\0';
		struct error why;
		if (digest_parse(at + 1, &reference->digest, &why) < 0)
			return refuse(text, why.text, err);
	}
	char *slash = strrchr(name, '/');
	char *colon = strchr(slash ? slash : name, ':');
	if (!colon)
		return 0;
	*colon = '\0';
	if (!is_tag(colon + 1))
		return refuse(text,
			      "a tag has up to 128 letters, digits and _ . - and begins with none "
			      "of the last two",
			      err);
	memcpy(reference->tag, colon + 1, strlen(colon + 1) + 1);
	return 0;
}

static bool has_scheme(const char *text, const char **ret_rest)
{
	static const char *const schemes[] = {"oci://", "docker://"};
	*ret_rest = text;
	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++)
		if (strncasecmp(text, schemes[i], strlen(schemes[i])) == 0)
			*ret_rest = text + strlen(schemes[i]);
	return strstr(*ret_rest, "://") != NULL;
}

int oci_reference_parse(const char *text, struct oci_reference *ret_reference, struct error *err)
{
	char name[OCI_REFERENCE_SIZE];
	const char *rest;
	struct oci_reference reference = {.tag = ""};
	if (has_scheme(text, &rest))
		return refuse(text, "it is a URL: leave out the scheme", err);
	if (snprintf(name, sizeof(name), "%s", rest) >= (int)sizeof(name))
		return refuse(text, "it is too long", err);
	if (split_version(text, name, &reference, err) < 0)
		return -1;
	char *repository = name;
	size_t first = strcspn(name, "/");
	snprintf(reference.registry, sizeof(reference.registry), "%s", hub);
	if (name[first] == '/' && looks_like_registry(name, first)) {
		name[first] = '\0';
		if (first >= sizeof(reference.registry) || !is_registry(name, first))
			return refuse(text, "what stands before the first / is no host[:port]",
				      err);
		oci_registry_name(name, reference.registry, sizeof(reference.registry));
		repository = name + first + 1;
	}
	if (!is_repository(repository))
		return refuse(text,
			      "a repository has lower-case letters, digits and single . _ - "
			      "between them, in parts divided by /",
			      err);
	bool short_name = strcmp(reference.registry, hub) == 0 && !strchr(repository, '/');
	if (snprintf(reference.repository, sizeof(reference.repository), "%s%s",
		     short_name ? "library/" : "", repository) >= (int)sizeof(reference.repository))
		return refuse(text, "the repository's name has more than 255 characters", err);
	if (reference.tag[0] == '\0' && reference.digest.type == DIGEST_NONE)
		strcpy(reference.tag, "latest");
	*ret_reference = reference;
	return 0;
}

char *oci_reference_format(const struct oci_reference *reference, char *out)
{
	char digest[DIGEST_TEXT_SIZE] = "";
	bool has_digest = reference->digest.type != DIGEST_NONE;
	if (has_digest)
		digest_format(&reference->digest, digest);
	snprintf(out, OCI_REFERENCE_SIZE, "%s/%s%s%s%s%s", reference->registry,
		 reference->repository, reference->tag[0] ? ":" : "", reference->tag,
		 has_digest ? "@" : "", digest);
	return out;
}
