/* Challenges answered: see registry_login.h. */
#include "platform/registry_login.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "platform/base64.h"
#include "platform/json.h"
#include "platform/secret.h"
#include "platform/text.h"

enum {
	TOKEN_ANSWER_MAX = 256 << 10,
	TOKEN_MAX = 64 << 10,
	URL_SHOWN = 300
};

static bool has_user(const struct registry_login *login)
{
	return login->username && login->username[0];
}

/* The first of the registry's reasons: "MANIFEST_UNKNOWN: manifest unknown". */
static void append_reason(const struct http_response *response, struct error *err)
{
	struct error ignored;
	auto_json struct json *json = NULL;
	if (response->body.size == 0 ||
	    json_parse(response->body.data, response->body.size, &json, &ignored) < 0)
		return;
	const struct json *first = json_first(json_get(json, "errors"));
	const char *code = json_text(json_get(first, "code"));
	const char *message = json_text(json_get(first, "message"));
	if (!message)
		message = json_text(json_get(json, "details")); /* token servers */
	char text[300], shown[300];
	if (!code && !message)
		return;
	snprintf(text, sizeof(text), "%s%s%s", code ? code : "", code && message ? ": " : "",
		 message ? message : "");
	text_to_ascii(text, strlen(text), shown, sizeof(shown));
	for (char *p = shown; *p; p++)
		*p = *p == '\n' ? ' ' : *p;
	error_append(err, " (%s)", shown);
}

int registry_status_error(const char *who, const struct http_response *response, struct error *err)
{
	long status = response->status;
	error_set(err, http_status_kind(status, ERROR_PROTOCOL), "%s answered HTTP status %ld", who,
		  status);
	append_reason(response, err);
	err->code = (int)status;
	return -1;
}

static void add_text(struct buffer *url, const char *text)
{
	struct error err;
	if (buffer_add(url, text, strlen(text), &err) < 0)
		abort();
}

/* RFC 3986, 2.3: all else is percent-encoded. */
static void add_escaped(struct buffer *url, const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		char escaped[4] = {text[i], '\0'};
		if (!isalnum((unsigned char)text[i]) && !strchr("-._~", text[i]))
			snprintf(escaped, sizeof(escaped), "%%%02X", (unsigned char)text[i]);
		add_text(url, escaped);
	}
}

int registry_token_url(const struct registry_login *login, const struct challenge *challenge,
		       char **ret_url, struct error *err)
{
	auto_buffer struct buffer url = {.cap = 64 << 10};
	bool plain = strncasecmp(challenge->realm, "http://", 7) == 0;
	if ((!plain && strncasecmp(challenge->realm, "https://", 8) != 0) ||
	    strpbrk(challenge->realm, " \t#"))
		return error_set(err, ERROR_PROTOCOL,
				 "the registry names no URL of its token server (\"%.100s\")",
				 challenge->realm);
	if (plain && !login->allow_plain && has_user(login))
		return error_set(err, ERROR_DENIED,
				 "the registry sends to a token server without TLS (%.100s): the "
				 "password would be heard by everybody",
				 challenge->realm);
	add_text(&url, challenge->realm);
	const char *between = strchr(challenge->realm, '?') ? "&" : "?";
	if (challenge->service[0]) {
		add_text(&url, between);
		add_text(&url, "service=");
		add_escaped(&url, challenge->service, strlen(challenge->service));
		between = "&";
	}
	auto_free char *own = text_format("repository:%s:pull", login->repository);
	bool named = challenge->scope[strspn(challenge->scope, " ")] != '\0';
	const char *scope = named ? challenge->scope : own;
	for (size_t size; *scope; scope += size) {
		scope += strspn(scope, " ");
		size = strcspn(scope, " ");
		if (size == 0)
			break;
		add_text(&url, between);
		add_text(&url, "scope=");
		add_escaped(&url, scope, size);
		between = "&";
	}
	*ret_url = text_dup_size((const char *)url.data, url.size);
	return 0;
}

int registry_token_read(const void *answer, size_t size, char **ret_token, struct error *err)
{
	auto_json struct json *json = NULL;
	if (json_parse(answer, size, &json, err) < 0) {
		err->kind = ERROR_PROTOCOL;
		return error_wrap(err, "the token server's answer");
	}
	const char *token = json_text(json_get(json, "token"));
	if (!token || !token[0])
		token = json_text(json_get(json, "access_token"));
	if (!token || !token[0])
		return error_set(err, ERROR_PROTOCOL, "the token server's answer has no token");
	size_t length = strlen(token);
	for (size_t i = 0; i < length && length <= TOKEN_MAX; i++)
		if (token[i] <= ' ' || token[i] >= 0x7f)
			length = SIZE_MAX;
	if (length > TOKEN_MAX)
		return error_set(err, ERROR_PROTOCOL,
				 "the token server gave something that is no token");
	*ret_token = text_dup(token);
	return 0;
}

static char *basic_header(const struct registry_login *login)
{
	auto_free char *pair =
		text_format("%s:%s", login->username, login->password ? login->password : "");
	auto_free char *encoded = base64_encode(pair, strlen(pair));
	secret_add(login->password);
	secret_add(encoded);
	return text_format("Authorization: Basic %s", encoded);
}

static int refused(const struct registry_login *login, const char *shown, struct error *err)
{
	if (has_user(login))
		return error_append(err, ": %s does not take this user and password", shown);
	return error_append(err, ": %s gives nothing to anybody without a user and password",
			    shown);
}

static int ask_token_server(struct http_client *client, const struct registry_login *login,
			    const char *url, char **ret_token, struct error *err)
{
	auto_free char *basic = has_user(login) ? basic_header(login) : NULL;
	const char *const headers[] = {"Accept: application/json", basic, NULL};
	const struct http_request request = {.method = "GET",
					     .url = url,
					     .headers = headers,
					     .as_download = true,
					     .timeout_ms = login->timeout_ms};
	struct http_response response = {.body = {.cap = TOKEN_ANSWER_MAX}};
	char shown[URL_SHOWN];
	text_redact_url(url, shown, sizeof(shown));
	int result = http_exchange(client, &request, &response, err);
	if (result < 0)
		error_wrap(err, "token server %s", shown);
	else if (response.status != 200)
		result = registry_status_error("the token server", &response, err);
	else
		result =
			registry_token_read(response.body.data, response.body.size, ret_token, err);
	if (result < 0 && response.status >= 400 && err->kind == ERROR_DENIED)
		refused(login, shown, err);
	buffer_free(&response.body);
	return result;
}

int registry_login(struct http_client *client, const struct registry_login *login,
		   const struct challenge *challenge, char **ret_header, struct error *err)
{
	switch (challenge->scheme) {
	case CHALLENGE_BASIC:
		if (!has_user(login))
			return error_set(err, ERROR_DENIED,
					 "the registry asks for a user and password");
		*ret_header = basic_header(login);
		return 0;
	case CHALLENGE_BEARER: {
		auto_free char *url = NULL;
		auto_free char *token = NULL;
		if (registry_token_url(login, challenge, &url, err) < 0 ||
		    ask_token_server(client, login, url, &token, err) < 0)
			return -1;
		secret_add(token);
		*ret_header = text_format("Authorization: Bearer %s", token);
		return 0;
	}
	case CHALLENGE_NONE:
		break;
	}
	return error_set(err, ERROR_PROTOCOL,
			 "the registry asks for a log-in of a kind that is not known (neither "
			 "Basic nor Bearer)");
}
