/* Manifests and blobs over HTTP: see registry.h. What is in the documents is oci_manifest.c's, how
 * to log in registry_login.c's business. */
#include "platform/registry.h"

#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "platform/clock.h"
#include "platform/log.h"
#include "platform/registry_login.h"
#include "platform/text.h"

_Static_assert((int)DIGEST_TEXT_SIZE >= (int)OCI_TAG_SIZE, "a version is a tag or a digest");

enum {
	TRIES = 3,
	RETRY_BASE_MS = 500,
	RETRY_MAX_MS = 30000,
	EXCHANGE_TIMEOUT_MS = 60000,
	INDEXES_DEEP = 3,
	TLS_FAILED = 35, /* CURLE_SSL_CONNECT_ERROR */
};

/* What lets us in. Former ones are kept: whoever opens a blob may still have them in his hands. */
struct header {
	struct header *before;
	char *text;
	const char *list[2];
};

struct registry {
	struct oci_reference reference;
	char name[OCI_REFERENCE_SIZE];
	struct http_options http;
	struct http_client *client;
	struct registry_login login;
	int64_t retry_ms;
	enum registry_safety safety;
	char *root; /* "https://host/v2/"; NULL: not yet known whether http or https */
	char *blob_url;
	const char *blob_urls[2];
	/* Guards what is below, and the client: a blob's readers may be other threads. */
	pthread_mutex_t lock;
	struct challenge challenge;
	struct header *authorization;
};

/* A session */

static void set_root(struct registry *registry, const char *scheme)
{
	bool hub = strcmp(registry->reference.registry, "docker.io") == 0;
	registry->root = text_format("%s://%s/v2/", scheme,
				     hub ? "registry-1.docker.io" : registry->reference.registry);
}

struct registry *registry_open(const struct oci_reference *reference,
			       const struct registry_options *options)
{
	struct registry *registry = calloc(1, sizeof(*registry));
	char name[OCI_REGISTRY_SIZE];
	if (!registry)
		abort();
	pthread_mutex_init(&registry->lock, NULL);
	registry->reference = *reference;
	oci_reference_format(reference, registry->name);
	registry->http = options->http;
	registry->http.headers = NULL;
	registry->http.username = registry->http.password = registry->http.token = NULL;
	registry->retry_ms = options->retry_ms;
	registry->login.repository = registry->reference.repository;
	registry->login.timeout_ms = options->http.stall_timeout_ms ? options->http.stall_timeout_ms
								    : EXCHANGE_TIMEOUT_MS;
	const struct registry_site *site = &options->site;
	if (options->username && options->username[0]) {
		registry->login.username = options->username;
		registry->login.password = options->password;
	} else if (site->name && strcmp(oci_registry_name(site->name, name, sizeof(name)),
					reference->registry) == 0) {
		registry->login.username = site->username;
		registry->login.password = site->password;
	}
	registry->safety = registry_safety_of(site->insecure, reference->registry);
	if (registry->safety == REGISTRY_TLS && options->skip_verify)
		registry->safety = REGISTRY_TLS_UNCHECKED;
	if (registry->safety != REGISTRY_TLS)
		registry->http.insecure = true;
	if (registry->safety != REGISTRY_PLAIN_ALLOWED)
		set_root(registry, registry->safety == REGISTRY_PLAIN ? "http" : "https");
	registry->login.allow_plain = registry->safety == REGISTRY_PLAIN;
	registry->client = http_client_new(&registry->http);
	return registry;
}

void registry_free(struct registry *registry)
{
	if (!registry)
		return;
	http_client_free(registry->client);
	while (registry->authorization) {
		struct header *header = registry->authorization;
		registry->authorization = header->before;
		free(header->text);
		free(header);
	}
	pthread_mutex_destroy(&registry->lock);
	free(registry->root);
	free(registry->blob_url);
	free(registry);
}

enum registry_safety registry_safety(const struct registry *registry)
{
	return registry->safety;
}

void registry_image_free(struct registry_image *image)
{
	oci_manifest_free(&image->manifest);
}

/* What the header of an answer says, besides what the response holds. */
struct answer {
	bool redirected; /* what is said then, somebody else says */
	struct challenge challenge;
	char digest[DIGEST_TEXT_SIZE];
	int64_t retry_after_ms; /* -1: nothing */
};

static void on_header(void *context, const char *line, size_t size)
{
	struct answer *answer = context;
	size_t value_size;
	const char *value;
	char text[DIGEST_TEXT_SIZE] = "";
	uint64_t seconds;
	if (size >= 5 && strncasecmp(line, "HTTP/", 5) == 0) {
		const char *blank = memchr(line, ' ', size - 1);
		bool redirected = answer->redirected || (blank && blank[1] == '3');
		*answer = (struct answer){.redirected = redirected, .retry_after_ms = -1};
		return;
	}
	value = http_header_value(line, size, "www-authenticate", &value_size);
	if (value && !answer->redirected)
		challenge_read(value, value_size, &answer->challenge);
	value = http_header_value(line, size, "docker-content-digest", &value_size);
	if (value && value_size < sizeof(answer->digest)) {
		memcpy(answer->digest, value, value_size);
		answer->digest[value_size] = '\0';
	}
	value = http_header_value(line, size, "retry-after", &value_size);
	if (!value || value_size >= sizeof(text))
		return;
	memcpy(text, value, value_size);
	if (text_parse_uint(text, 10, RETRY_MAX_MS / 1000, &seconds))
		answer->retry_after_ms = (int64_t)seconds * 1000;
	else
		answer->retry_after_ms = RETRY_MAX_MS;
}

static int exchange(struct registry *registry, const char *url, struct http_response *response,
		    struct answer *ret_answer, struct error *err)
{
	const char *authorization = registry->authorization ? registry->authorization->text : NULL;
	const char *const headers[] = {"Accept: " OCI_ACCEPT, authorization, NULL};
	*ret_answer = (struct answer){.retry_after_ms = -1};
	const struct http_request request = {.method = "GET",
					     .url = url,
					     .headers = headers,
					     .as_download = true,
					     .timeout_ms = registry->login.timeout_ms,
					     .on_header = on_header,
					     .context = ret_answer};
	if (http_exchange(registry->client, &request, response, err) < 0) {
		if (err->code == TLS_FAILED && registry->safety == REGISTRY_TLS)
			error_append(err, " (a registry without TLS has to be named in "
					  "insecure-registries)");
		return -1;
	}
	return 0;
}

/* Finds out whether a registry that may be without TLS is. */
static int find_root(struct registry *registry, struct error *err)
{
	struct answer answer;
	if (registry->root)
		return 0;
	for (unsigned plain = 0; plain < 2; plain++) {
		struct http_response response = {.body = {.cap = OCI_MANIFEST_MAX_BYTES}};
		struct error failed;
		set_root(registry, plain ? "http" : "https");
		int result = exchange(registry, registry->root, &response, &answer, &failed);
		buffer_free(&response.body);
		if (result == 0) {
			registry->safety = plain ? REGISTRY_PLAIN : REGISTRY_TLS_UNCHECKED;
			registry->login.allow_plain = plain;
			return 0;
		}
		free(take_pointer(registry->root));
		if (plain)
			return error_append(err, "; without TLS: %s", failed.text);
		*err = failed;
		error_wrap(err, "with TLS");
	}
	return -1;
}

/* Makes the header for the challenge that the registry has sent, or for the last one. */
static int log_in(struct registry *registry, const struct challenge *challenge, struct error *err)
{
	char *text = NULL;
	if (challenge->scheme != CHALLENGE_NONE)
		registry->challenge = *challenge;
	if (registry->challenge.scheme == CHALLENGE_BASIC && registry->authorization)
		return error_set(err, ERROR_DENIED, "what is asked for is refused to this user");
	if (registry_login(registry->client, &registry->login, &registry->challenge, &text, err) <
	    0)
		return -1;
	struct header *header = calloc(1, sizeof(*header));
	if (!header)
		abort();
	header->before = registry->authorization;
	header->text = text;
	header->list[0] = header->text;
	registry->authorization = header;
	return 0;
}

/* Manifests */

/* GETs once, with a log-in on the way if the registry wants one. */
static int get_once(struct registry *registry, const char *version, struct http_response *response,
		    struct answer *ret_answer, struct error *err)
{
	if (find_root(registry, err) < 0)
		return -1;
	auto_free char *url = text_format("%s%s/manifests/%s", registry->root,
					  registry->reference.repository, version);
	if (exchange(registry, url, response, ret_answer, err) < 0)
		return -1;
	if (response->status == 401 && !ret_answer->redirected) {
		if (log_in(registry, &ret_answer->challenge, err) < 0)
			return -1;
		if (exchange(registry, url, response, ret_answer, err) < 0)
			return -1;
	}
	if (response->status == 200)
		return 0;
	registry_status_error("the registry", response, err);
	if (response->status == 401)
		error_append(err, ret_answer->redirected
					  ? ": it was another server that it sends to"
					  : ": the repository does not exist, or is not for this "
					    "user");
	return -1;
}

static int get_manifest(struct registry *registry, const char *version,
			struct http_response *response, struct answer *ret_answer,
			struct error *err)
{
	int64_t deadline = clock_monotonic_ms() + registry->retry_ms;
	for (unsigned tries = 1;; tries++) {
		ret_answer->retry_after_ms = -1;
		if (get_once(registry, version, response, ret_answer, err) == 0)
			return 0;
		int64_t pause = clock_backoff_ms(tries - 1, RETRY_BASE_MS, RETRY_MAX_MS);
		if (ret_answer->retry_after_ms > pause)
			pause = ret_answer->retry_after_ms;
		bool again = registry->retry_ms > 0 ? clock_monotonic_ms() + pause < deadline
						    : tries < TRIES;
		if (!error_is_retryable(err))
			return -1;
		if (!again)
			return tries > 1 ? error_append(err, " (%u tries)", tries) : -1;
		log_debug("the registry is asked again", "try", LOG_NUMBER(tries), "pause_ms",
			  LOG_NUMBER(pause), "error", err->text);
		poll(NULL, 0, (int)pause);
	}
}

/* The digest of bytes in memory; ERROR_CORRUPT when another is expected. */
static int check_digest(const void *data, size_t size, const struct digest *expected,
			struct digest *ret_digest, struct error *err)
{
	auto_stream struct stream *stream = NULL;
	uint8_t chunk[16384];
	ssize_t got;
	if (digest_stream(stream_from_memory(data, size), expected, ret_digest, &stream, err) < 0)
		return -1;
	do {
		got = stream_read(stream, chunk, sizeof(chunk), err);
	} while (got > 0);
	return (int)got;
}

/* Whether it is the document that was asked for, by a tag (expected NULL) or by a digest, and what
 * it says. */
static int read_document(const struct http_response *response, const struct answer *answer,
			 const struct oci_descriptor *expected, struct registry_image *ret_image,
			 struct error *err)
{
	struct digest wanted = {.type = DIGEST_NONE};
	struct error ignored;
	/* Schema 1 is signed, and its digest is of what was signed: it is refused by its name. */
	if (expected)
		wanted = expected->digest;
	else if (!strstr(response->content_type, ".distribution.manifest.v1+"))
		digest_parse(answer->digest, &wanted, &ignored);
	if (expected && expected->size_bytes != STREAM_SIZE_UNKNOWN &&
	    expected->size_bytes != response->body.size)
		return error_set(err, ERROR_CORRUPT,
				 "the manifest has %zu bytes, the index says %" PRIu64,
				 response->body.size, expected->size_bytes);
	if (check_digest(response->body.data, response->body.size, &wanted, &ret_image->digest,
			 err) < 0)
		return -1;
	return oci_manifest_parse(response->body.data, response->body.size, response->content_type,
				  &ret_image->manifest, err);
}

static int fetch(struct registry *registry, const char *version,
		 const struct oci_descriptor *expected, struct registry_image *ret_image,
		 struct error *err)
{
	struct http_response response = {.body = {.cap = OCI_MANIFEST_MAX_BYTES}};
	struct answer answer = {.digest = ""};
	int result = get_manifest(registry, version, &response, &answer, err);
	if (result == 0)
		result = read_document(&response, &answer, expected, ret_image, err);
	buffer_free(&response.body);
	return result;
}

static int fetch_image(struct registry *registry, const struct oci_platform *platform,
		       struct registry_image *ret_image, struct error *err)
{
	const struct oci_reference *reference = &registry->reference;
	struct oci_descriptor next = {.digest = reference->digest,
				      .size_bytes = STREAM_SIZE_UNKNOWN};
	bool by_digest = next.digest.type != DIGEST_NONE;
	char version[DIGEST_TEXT_SIZE];
	for (unsigned depth = 0;; depth++) {
		if (by_digest)
			digest_format(&next.digest, version);
		else
			memcpy(version, reference->tag, sizeof(reference->tag));
		if (fetch(registry, version, by_digest ? &next : NULL, ret_image, err) < 0)
			return -1;
		if (!ret_image->manifest.is_index)
			return 0;
		if (depth == INDEXES_DEEP)
			return error_set(err, ERROR_PROTOCOL,
					 "there are indexes in indexes more than %d deep",
					 INDEXES_DEEP);
		const struct oci_descriptor *chosen;
		if (oci_index_select(&ret_image->manifest, platform, &chosen, err) < 0)
			return -1;
		next.digest = chosen->digest;
		next.size_bytes = chosen->size_bytes;
		by_digest = true;
		registry_image_free(ret_image);
	}
}

int registry_image(struct registry *registry, const struct oci_platform *platform,
		   struct registry_image *ret_image, struct error *err)
{
	auto_registry_image struct registry_image image = {.manifest = {.is_index = false}};
	struct oci_platform here;
	oci_platform_here(&here);
	pthread_mutex_lock(&registry->lock);
	int result = fetch_image(registry, platform ? platform : &here, &image, err);
	pthread_mutex_unlock(&registry->lock);
	if (result < 0)
		return error_wrap(err, "%s", registry->name);
	*ret_image = image;
	image = (struct registry_image){.manifest = {.is_index = false}};
	return 0;
}

/* Blobs */

/* A registry that gave the manifest to everybody and wants a log-in for the blob has not said yet
 * which kind. */
static int ask_for_challenge(struct registry *registry, struct challenge *ret_challenge,
			     struct error *err)
{
	struct http_response response = {.body = {.cap = OCI_MANIFEST_MAX_BYTES}};
	struct answer answer;
	int result = exchange(registry, registry->root, &response, &answer, err);
	buffer_free(&response.body);
	*ret_challenge = answer.challenge;
	if (result == 0 && answer.challenge.scheme == CHALLENGE_NONE)
		return error_set(err, ERROR_DENIED,
				 "where the blob lies a log-in is asked for, which the registry "
				 "itself does not know of");
	return result;
}

static int authorize(void *context, const char *const **ret_headers, struct error *err)
{
	struct registry *registry = context;
	pthread_mutex_lock(&registry->lock);
	struct challenge challenge = registry->challenge;
	int result = 0;
	if (challenge.scheme == CHALLENGE_NONE)
		result = ask_for_challenge(registry, &challenge, err);
	if (result == 0)
		result = log_in(registry, &challenge, err);
	if (result == 0)
		*ret_headers = registry->authorization->list;
	pthread_mutex_unlock(&registry->lock);
	return result;
}

void registry_blob(struct registry *registry, const struct oci_descriptor *blob,
		   struct source_options *options)
{
	char digest[DIGEST_TEXT_SIZE];
	free(registry->blob_url);
	registry->blob_url =
		text_format("%s%s/blobs/%s", registry->root, registry->reference.repository,
			    digest_format(&blob->digest, digest));
	registry->blob_urls[0] = registry->blob_url;
	options->urls = registry->blob_urls;
	options->http = registry->http;
	options->http.headers = registry->authorization ? registry->authorization->list : NULL;
	options->authorize = authorize;
	options->context = registry;
}
