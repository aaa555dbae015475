/*
 * What the files of http.h share of libcurl. For http.c, http_exchange.c and http_upload.c only: it
 * is the one place that includes libcurl's header.
 */
#ifndef PLATFORM_HTTP_CURL_H
#define PLATFORM_HTTP_CURL_H

#include <curl/curl.h>

#include "platform/http.h"

enum {
	HTTP_CONNECT_TIMEOUT_MS = 30000,
	HTTP_STALL_TIMEOUT_MS = 60000,
	HTTP_URL_SHOWN = 512
};

/* curl's own words: the detail when it left one, else the meaning of the code; and what helps.
 * Returns -1. */
int http_curl_failed(CURLcode code, const char *detail, struct error *err);

/* Whether a request that ended so (CURLE_OPERATION_TIMEDOUT: was given up) failed for want of a
 * network, before anybody was reached. A refused connection is an answer. */
bool http_curl_unreachable(CURL *easy, CURLcode code);

/* What all users have set alike; detail has CURL_ERROR_SIZE bytes. */
void http_curl_setup(CURL *easy, const struct http_options *options, char *detail);

/* Trusts the roots in this file (NULL and "": none) and the system's. ERROR_INPUT when the file
 * cannot be used. */
int http_curl_trust_also(CURL *easy, const char *ca_file, struct error *err);

/*
 * The request headers: more (may be NULL), and when trusted those of the options with the token.
 * Free with curl_slist_free_all(). ERROR_INPUT for a text that is no header line.
 */
int http_curl_headers(const struct http_options *options, bool trusted, const char *const *more,
		      struct curl_slist **ret_list, struct error *err);

/* Waits for something to do, at most timeout_ms. ERROR_CANCELLED when the cancel descriptor says
 * so. */
int http_curl_wait(CURLM *multi, int cancel_fd, int timeout_ms, struct error *err);

/* Whether the transfer is over, and how it ended. */
bool http_curl_done(CURLM *multi, CURLcode *ret_code);

/* An error for a status other than 2xx: see http_get(). Returns -1. */
int http_curl_status(long status, struct error *err);

#endif
