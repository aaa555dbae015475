/*
 * What actions that download have in common: the parameters for failures of the network and for
 * credentials.
 */
#ifndef ACTIONS_DOWNLOAD_H
#define ACTIONS_DOWNLOAD_H

#include "actions/action.h"
#include "platform/source.h"

struct download_params {
	bool retry;
	uint64_t retry_minutes;
	uint64_t stall_s;
	uint64_t connections;
	const char *username;
	const char *password;
	const char *token;
	const char *ca_file;
};

/* clang-format off */
/* The rows of an action's table for its member of type struct download_params. */
#define DOWNLOAD_PARAMS(type, member) \
	{"RETRY_ENABLED", PARAM_BOOL, PARAM_AT(type, member.retry), .fallback = "false", \
	 .doc = "go on after failures of the network for RETRY_DURATION_MINUTES; without it three " \
		"failures without a new byte in between end the action"}, \
	{"RETRY_DURATION_MINUTES", PARAM_UINT, PARAM_AT(type, member.retry_minutes), \
	 .fallback = "10", .max = 10080, .doc = "for how long no new byte may come"}, \
	{"STALL_SECONDS", PARAM_UINT, PARAM_AT(type, member.stall_s), .fallback = "60", .min = 1, \
	 .max = 86400, .doc = "a connection that brings no byte for so long is given up"}, \
	{"CONNECTIONS", PARAM_UINT, PARAM_AT(type, member.connections), .fallback = "1", .min = 1, \
	 .max = 8, .doc = "connections to download by, where the server serves ranges"}

#define CREDENTIAL_PARAMS(type, member) \
	{"HTTP_USERNAME", PARAM_TEXT, PARAM_AT(type, member.username), \
	 .doc = "for basic authentication at the servers of the download"}, \
	{"HTTP_PASSWORD", PARAM_TEXT, PARAM_AT(type, member.password), .flags = PARAM_SECRET, \
	 .doc = "its password"}, \
	{"HTTP_TOKEN", PARAM_TEXT, PARAM_AT(type, member.token), .flags = PARAM_SECRET, \
	 .doc = "bearer token for these servers"}, \
	{"HTTP_CA_FILE", PARAM_PATH, PARAM_AT(type, member.ca_file), \
	 .doc = "PEM file of authorities to trust besides the machine's"}
/* clang-format on */

/* The source's options from the parameters: http and retries; urls, authorize and context are the
 * caller's. */
struct source_options download_options(const struct action_context *context,
				       const struct download_params *params);

/*
 * GETs a small file that belongs to the download (checksums, a block map), whole into body.
 * Credentials are sent, and a certificate may go unchecked, when it comes from a server of the
 * download itself.
 */
int download_companion(const struct source_options *options, const char *url, struct buffer *body,
		       struct error *err);

#endif
