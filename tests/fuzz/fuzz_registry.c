/*
 * What registries and people say: references, WWW-Authenticate, answers of token servers, lists of
 * insecure registries, manifests and indexes. The first byte tells which it is.
 */
#include "tests/fuzz/fuzz.h"

#include "platform/oci_manifest.h"
#include "platform/oci_reference.h"
#include "platform/registry.h"
#include "platform/registry_login.h"

static void try_reference(const char *text)
{
	struct oci_reference reference, again;
	struct error err;
	char whole[OCI_REFERENCE_SIZE], whole_again[OCI_REFERENCE_SIZE];
	if (oci_reference_parse(text, &reference, &err) < 0) {
		require(err.kind == ERROR_INPUT && err.text[0]);
		return;
	}
	/* What goes into URLs. */
	require(strspn(reference.registry, "abcdefghijklmnopqrstuvwxyz0123456789.-:[]") ==
		strlen(reference.registry));
	require(strspn(reference.repository, "abcdefghijklmnopqrstuvwxyz0123456789._-/") ==
		strlen(reference.repository));
	require(!strstr(reference.repository, "..") && !strstr(reference.repository, "//"));
	require(reference.tag[0] || reference.digest.type != DIGEST_NONE);
	oci_reference_format(&reference, whole);
	require(oci_reference_parse(whole, &again, &err) == 0);
	require(strcmp(oci_reference_format(&again, whole_again), whole) == 0);
	require(registry_safety_of(NULL, reference.registry) == REGISTRY_TLS);
	require(registry_safety_of(reference.registry, reference.registry) ==
		REGISTRY_PLAIN_ALLOWED);
}

static void try_challenge(const uint8_t *data, size_t size)
{
	struct challenge challenge = {.scheme = CHALLENGE_NONE};
	const struct registry_login login = {
		.username = "user", .password = "password", .repository = "a/b"};
	struct error err;
	char *url;
	challenge_read((const char *)data, size, &challenge);
	require(challenge.scheme <= CHALLENGE_BEARER);
	if (challenge.scheme != CHALLENGE_BEARER)
		return;
	require(challenge.realm[0]);
	if (registry_token_url(&login, &challenge, &url, &err) < 0) {
		require(err.kind == ERROR_PROTOCOL || err.kind == ERROR_DENIED);
		return;
	}
	/* The password goes nowhere without TLS, and the URL is one line. */
	require(strncasecmp(url, "https://", 8) == 0);
	require(!strpbrk(url, " \t\r\n#"));
	require(strstr(url, "scope=") != NULL);
	free(url);
}

static void try_token(const uint8_t *data, size_t size)
{
	struct error err;
	char *token;
	if (registry_token_read(data, size, &token, &err) < 0) {
		require(err.kind == ERROR_PROTOCOL);
		return;
	}
	require(token[0] && !strpbrk(token, " \t\r\n"));
	free(token);
}

static void try_manifest(const uint8_t *data, size_t size)
{
	struct oci_manifest manifest;
	struct error err;
	const struct oci_descriptor *descriptor;
	const struct oci_platform platform = {.os = "linux", .architecture = "amd64"};
	if (oci_manifest_parse(data, size, "", &manifest, &err) < 0) {
		require(err.kind == ERROR_PROTOCOL || err.kind == ERROR_UNSUPPORTED);
		return;
	}
	if (manifest.is_index) {
		require(manifest.layer_count == 0);
		if (oci_index_select(&manifest, &platform, &descriptor, &err) == 0)
			require(descriptor->digest.type != DIGEST_NONE);
		else
			require(err.kind == ERROR_NOT_FOUND);
	} else {
		require(manifest.entry_count == 0 && manifest.config.digest.type != DIGEST_NONE);
		if (oci_manifest_file_layer(&manifest, &descriptor, &err) == 0)
			require(descriptor->digest.type != DIGEST_NONE);
		else
			require(err.kind == ERROR_INPUT);
	}
	oci_manifest_free(&manifest);
}

/* "list\nregistry" */
static void try_insecure(char *text)
{
	char *lines[3];
	if (fuzz_lines(text, lines, 3) < 2)
		return;
	enum registry_safety safety = registry_safety_of(lines[0], lines[1]);
	require(safety == REGISTRY_TLS || safety == REGISTRY_PLAIN_ALLOWED ||
		safety == REGISTRY_PLAIN);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	char *text = fuzz_text(data + 1, size - 1);
	switch (data[0]) {
	case 'r':
		try_reference(text);
		break;
	case 'w':
		try_challenge(data + 1, size - 1);
		break;
	case 't':
		try_token(data + 1, size - 1);
		break;
	case 'i':
		try_insecure(text);
		break;
	default:
		try_manifest(data, size);
		break;
	}
	free(text);
	return 0;
}
