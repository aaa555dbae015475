/*
 * A source's mirrors: which one is asked, what it says about the version it holds, how long
 * failures are borne. See source.h; the streams are in source_stream.c and source_parts.c.
 */
#include "platform/source.h"

#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "platform/clock.h"
#include "platform/log.h"
#include "platform/source_inside.h"
#include "platform/text.h"

enum {
	TRIES = 3,
	CONNECTIONS_MAX = 8,
	PAUSE_MS = 500,
	PAUSE_MAX_MS = 30000,
	RETRY_AFTER_MAX_MS = 60000,
	AWAY_MS = 180000,
	AWAY_PAUSE_MAX_MS = 5000,
	/* Two servers that count their versions would both say "1". */
	ETAG_SPEAKS_FOR_ITSELF = 8
};

struct version version_of(const struct http_answer *answer, unsigned mirror)
{
	struct version version = {.mirror = mirror,
				  .etag_strong = answer->etag_strong,
				  .last_modified_strong = answer->last_modified_strong};
	memcpy(version.etag, answer->etag, sizeof(version.etag));
	memcpy(version.last_modified, answer->last_modified, sizeof(version.last_modified));
	return version;
}

/* Of two mirrors: more is wanted than one server's word. */
static enum version_match compare_elsewhere(const struct version *a, const struct version *b)
{
	bool dates_differ = a->last_modified[0] && b->last_modified[0] &&
			    strcmp(a->last_modified, b->last_modified) != 0;
	bool same = a->etag_strong && b->etag_strong && strcmp(a->etag, b->etag) == 0 &&
		    strlen(a->etag) >= ETAG_SPEAKS_FOR_ITSELF + 2 && !dates_differ;
	return same ? VERSION_SAME : VERSION_UNKNOWN;
}

enum version_match version_compare(const struct version *known, const struct version *other)
{
	if (known->mirror != other->mirror)
		return compare_elsewhere(known, other);
	if (known->etag[0] && other->etag[0] && known->etag_strong == other->etag_strong) {
		if (strcmp(known->etag, other->etag) != 0)
			return VERSION_OTHER;
		if (known->etag_strong)
			return VERSION_SAME;
	}
	if (known->last_modified[0] && other->last_modified[0]) {
		if (strcmp(known->last_modified, other->last_modified) != 0)
			return VERSION_OTHER;
		if (known->last_modified_strong)
			return VERSION_SAME;
	}
	return VERSION_UNKNOWN;
}

const char *version_validator(const struct version *version)
{
	if (version->etag_strong)
		return version->etag;
	return version->last_modified_strong ? version->last_modified : NULL;
}

/* The request headers, copied. */

static void free_headers(char **headers)
{
	for (char **at = headers; at && *at; at++)
		free(*at);
	free(headers);
}

static char **copy_headers(const char *const *headers)
{
	size_t count = 0;
	while (headers && headers[count])
		count++;
	char **copy = calloc(count + 1, sizeof(*copy));
	if (!copy)
		abort();
	for (size_t i = 0; i < count; i++)
		copy[i] = text_dup(headers[i]);
	return copy;
}

static char **headers_now(struct source *source, unsigned *ret_authority)
{
	pthread_mutex_lock(&source->lock);
	char **copy = copy_headers((const char *const *)source->headers);
	*ret_authority = source->authority;
	pthread_mutex_unlock(&source->lock);
	return copy;
}

/* Asks for new headers, unless another thread has done so since authority. */
static int authorize(struct source *source, unsigned authority, struct error *err)
{
	int result = 0;
	pthread_mutex_lock(&source->lock);
	if (source->authority == authority) {
		const char *const *headers = NULL;
		result = source->authorize(source->context, &headers, err);
		if (result == 0) {
			free_headers(source->headers);
			source->headers = copy_headers(headers);
			source->authority++;
		}
	}
	pthread_mutex_unlock(&source->lock);
	return result;
}

int source_request(struct source *source, unsigned mirror, const struct http_range *range,
		   int cancel_fd, struct stream **ret_stream, struct http_answer *ret_answer,
		   struct error *err)
{
	const struct mirror *at = &source->mirrors[mirror];
	if (at->is_file)
		return source_file_open(at->url, range, ret_stream, ret_answer, err);
	for (bool again = true;; again = false) {
		unsigned authority;
		struct http_options http = source->http;
		char **headers = headers_now(source, &authority);
		http.headers = (const char *const *)headers;
		http.cancel_fd = cancel_fd;
		http.pool = source->pool;
		int result =
			range ? http_get_range(at->url, &http, range, ret_stream, ret_answer, err)
			      : http_get(at->url, &http, ret_stream, ret_answer, err);
		free_headers(headers);
		if (result == 0 || ret_answer->status != 401 || !source->authorize || !again)
			return result;
		if (authorize(source, authority, err) < 0)
			return -1;
	}
}

/* Failures. */

static bool is_usable(const struct mirror *mirror, const struct patience *patience)
{
	return !mirror->dead && !(patience->ranges && mirror->no_ranges);
}

/* How many mirrors are left; *next becomes the first of them behind it. */
static unsigned usable_after(const struct source *source, const struct patience *patience,
			     unsigned *next)
{
	unsigned usable = 0, first = *next;
	for (unsigned i = 1; i <= source->count; i++) {
		unsigned index = (first + i) % source->count;
		if (is_usable(&source->mirrors[index], patience) && usable++ == 0)
			*next = index;
	}
	return usable;
}

/* Puts all mirrors' reasons into err. Under lock. The kind is one that another try can help with if
 * any is. */
static int tell_all(const struct source *source, struct error *err)
{
	struct error all = {.kind = err->kind, .code = err->code};
	unsigned told = 0;
	for (unsigned i = 0; i < source->count; i++) {
		const struct mirror *mirror = &source->mirrors[i];
		if (mirror->reason[0] == '\0')
			continue;
		if (told++ == 0)
			error_set(&all, all.kind, "%s", mirror->reason);
		else
			error_append(&all, "; %s", mirror->reason);
		if (mirror->kind == ERROR_NETWORK || mirror->kind == ERROR_TIMEOUT)
			all.kind = mirror->kind;
	}
	if (source->count > 1 && told > 0)
		error_wrap(&all, "no mirror is of use");
	if (told > 0)
		*err = all;
	return -1;
}

int source_choose(struct source *source, const struct patience *patience, unsigned *ret_mirror,
		  struct error *err)
{
	unsigned mirror = __atomic_load_n(&source->current, __ATOMIC_RELAXED);
	pthread_mutex_lock(&source->lock);
	int result = 0;
	if (!is_usable(&source->mirrors[mirror], patience) &&
	    usable_after(source, patience, &mirror) == 0) {
		error_set(err, ERROR_UNSUPPORTED, "%s is not served by ranges",
			  source->mirrors[mirror].shown);
		result = patience->ranges && !source->mirrors[mirror].dead ? -1
									   : tell_all(source, err);
	}
	pthread_mutex_unlock(&source->lock);
	if (result == 0)
		*ret_mirror = mirror;
	return result;
}

bool source_refuses_part(long status)
{
	/* As gateways do that do not let a Range or an If-Range through. */
	static const long statuses[] = {400, 403, 405, 406, 412, 416, 501};
	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
		if (status == statuses[i])
			return true;
	return false;
}

void source_mark_no_ranges(struct source *source, unsigned mirror)
{
	pthread_mutex_lock(&source->lock);
	source->mirrors[mirror].no_ranges = true;
	pthread_mutex_unlock(&source->lock);
}

bool source_lacks_ranges(struct source *source, unsigned mirror)
{
	pthread_mutex_lock(&source->lock);
	bool lacks = source->mirrors[mirror].no_ranges;
	pthread_mutex_unlock(&source->lock);
	return lacks;
}

void source_count(struct source *source, uint64_t bytes)
{
	__atomic_fetch_add(&source->received, bytes, __ATOMIC_RELAXED);
}

static int pause_for(const struct patience *patience, int64_t pause_ms, struct error *err)
{
	struct pollfd cancel = {.fd = patience->cancel_fd > 0 ? patience->cancel_fd : -1,
				.events = POLLIN};
	int64_t until = clock_monotonic_ms() + pause_ms;
	for (int64_t left = pause_ms; left > 0; left = until - clock_monotonic_ms())
		if (poll(&cancel, 1, (int)left) > 0)
			return error_set(err, ERROR_CANCELLED, "cancelled");
	return 0;
}

int source_pause(const struct source *source, const struct patience *patience, struct error *err)
{
	return pause_for(patience, clock_backoff_ms(0, source->pause_ms, PAUSE_MAX_MS), err);
}

/* Whether the network has gone away under a download that went well: that is waited for, as a
 * cable that is put in again or a switch that starts anew takes minutes, and costs no try. */
static bool is_away(const struct source *source, const struct patience *patience)
{
	return !patience->reached && source->retry_ms == 0 && source_received(source) > 0 &&
	       clock_monotonic_ms() - patience->since_ms < AWAY_MS;
}

/* The pause before the next round; -1 when it is time to give up. */
static int64_t next_pause(const struct source *source, struct patience *patience)
{
	int64_t pause = clock_backoff_ms(patience->rounds - 1, source->pause_ms, PAUSE_MAX_MS);
	int64_t most = RETRY_AFTER_MAX_MS;
	if (source->retry_ms > 0) {
		most = patience->since_ms + source->retry_ms - clock_monotonic_ms();
		if (pause >= most)
			return -1;
	} else if (patience->rounds >= source->tries) {
		return -1;
	}
	int64_t asked = patience->after_ms < most ? patience->after_ms : most;
	return pause > asked ? pause : asked;
}

/* Another mirror, or the same one, or a pause before them. */
static int next_try(struct source *source, struct patience *patience, unsigned *mirror,
		    struct error *err)
{
	pthread_mutex_lock(&source->lock);
	unsigned usable = usable_after(source, patience, mirror);
	int64_t pause = 0;
	bool away = false;
	if (usable > 0 && patience->tried >= usable) {
		away = is_away(source, patience);
		if (away) {
			pause = clock_backoff_ms(patience->waits++, source->pause_ms,
						 AWAY_PAUSE_MAX_MS);
		} else {
			patience->rounds++;
			pause = next_pause(source, patience);
		}
		patience->tried = 0;
		patience->reached = false;
		patience->after_ms = -1;
	}
	if (usable == 0 || pause < 0) {
		tell_all(source, err);
		if (pause < 0 && patience->rounds > 1)
			error_append(err, " (given up after %u tries)",
				     patience->rounds + patience->waits);
	}
	pthread_mutex_unlock(&source->lock);
	if (usable == 0 || pause < 0)
		return -1;
	if (away && patience->waits == 1)
		log_warning("the network is away, the download waits for it", "url",
			    source->mirrors[*mirror].shown, "error", err->text);
	else if (pause > 0)
		log_debug("trying again", "url", source->mirrors[*mirror].shown, "pause_ms",
			  LOG_NUMBER(pause), "error", err->text);
	return pause_for(patience, pause, err);
}

int source_try_again(struct source *source, struct patience *patience, unsigned *mirror,
		     const struct http_answer *answer, struct error *err)
{
	/* The thing itself is another one, or we are to end, or are broken: no mirror helps. */
	if (err->kind == ERROR_CORRUPT || err->kind == ERROR_CANCELLED ||
	    err->kind == ERROR_MEMORY || err->kind == ERROR_BUG)
		return -1;
	struct mirror *failed = &source->mirrors[*mirror];
	pthread_mutex_lock(&source->lock);
	snprintf(failed->reason, sizeof(failed->reason), "%s", err->text);
	text_cut_utf8(failed->reason);
	failed->kind = err->kind;
	/* A part that is none may be a slip of one server of many behind the name. */
	bool wrong_part =
		patience->ranges && (err->kind == ERROR_UNSUPPORTED || err->kind == ERROR_PROTOCOL);
	bool counts = error_is_retryable(err) || wrong_part;
	if (!counts)
		failed->dead = true;
	pthread_mutex_unlock(&source->lock);
	if (patience->since_ms == 0) {
		patience->since_ms = clock_monotonic_ms();
		patience->after_ms = -1;
	}
	if (counts) {
		int64_t after = answer && answer->retry_after_ms > 0 ? answer->retry_after_ms : 0;
		if (patience->after_ms < 0 || after < patience->after_ms)
			patience->after_ms = after;
		patience->tried++;
		patience->reached = patience->reached || !answer || !answer->unreachable;
	}
	return next_try(source, patience, mirror, err);
}

/* Opening. */

/* What the first answer says holds for the source. */
static void take_answer(struct source *source, unsigned mirror, const struct http_answer *answer)
{
	source->version = version_of(answer, mirror);
	source->size = answer->total_bytes;
	source->has_end = answer->has_end;
	source->ranges = answer->accepts_ranges && source->size != STREAM_SIZE_UNKNOWN &&
			 version_validator(&source->version) != NULL;
	__atomic_store_n(&source->current, mirror, __ATOMIC_RELAXED);
}

/* The first request. With several connections it asks for the first segment, which shows at once
 * whether ranges are served. */
static int open_at(struct source *source, unsigned mirror, struct http_answer *answer,
		   struct error *err)
{
	const struct http_range segment = {.end = SOURCE_SEGMENT_BYTES};
	if (source->connections > 1) {
		if (source_request(source, mirror, &segment, source->http.cancel_fd, &source->first,
				   answer, err) == 0) {
			if (answer->total_bytes != STREAM_SIZE_UNKNOWN || answer->status == 200)
				return 0;
			stream_close(take_pointer(source->first));
		} else if (answer->status < 200 ||
			   (answer->status >= 400 && !source_refuses_part(answer->status))) {
			return -1;
		}
		/* It cannot do that (or it is empty): ask plainly. */
	}
	return source_request(source, mirror, NULL, source->http.cancel_fd, &source->first, answer,
			      err);
}

static int take_options(struct source *source, const struct source_options *options,
			struct error *err)
{
	source->http = options->http;
	source->tries = options->tries ? options->tries : TRIES;
	source->pause_ms = options->pause_ms ? options->pause_ms : PAUSE_MS;
	source->retry_ms = options->retry_ms;
	source->connections =
		options->connections < CONNECTIONS_MAX ? options->connections : CONNECTIONS_MAX;
	source->authorize = options->authorize;
	source->context = options->context;
	source->headers = copy_headers(options->http.headers);
	source->pool = http_pool_new();
	if (!options->urls || !options->urls[0])
		return error_set(err, ERROR_INPUT, "no URL is given");
	while (options->urls[source->count])
		source->count++;
	source->mirrors = calloc(source->count, sizeof(*source->mirrors));
	if (!source->mirrors)
		abort();
	for (unsigned i = 0; i < source->count; i++) {
		struct mirror *mirror = &source->mirrors[i];
		mirror->url = text_dup(options->urls[i]);
		mirror->is_file = strncasecmp(mirror->url, "file:///", 8) == 0;
		text_redact_url(mirror->url, mirror->shown, sizeof(mirror->shown));
	}
	return 0;
}

int source_open(const struct source_options *options, struct source **ret_source, struct error *err)
{
	auto_source struct source *source = calloc(1, sizeof(*source));
	if (!source || pthread_mutex_init(&source->lock, NULL) != 0)
		abort();
	if (take_options(source, options, err) < 0)
		return -1;
	struct patience patience = {.cancel_fd = options->http.cancel_fd};
	struct http_answer answer;
	unsigned mirror = 0;
	while (open_at(source, mirror, &answer, err) < 0)
		if (source_try_again(source, &patience, &mirror, &answer, err) < 0)
			return -1;
	take_answer(source, mirror, &answer);
	*ret_source = take_pointer(source);
	return 0;
}

void source_free(struct source *source)
{
	if (!source)
		return;
	stream_close(source->first);
	http_pool_free(source->pool);
	free_headers(source->headers);
	for (unsigned i = 0; i < source->count && source->mirrors; i++)
		free(source->mirrors[i].url);
	free(source->mirrors);
	pthread_mutex_destroy(&source->lock);
	free(source);
}

uint64_t source_size(const struct source *source)
{
	return source->size;
}

bool source_has_ranges(const struct source *source)
{
	return source->ranges;
}

bool source_has_end(const struct source *source)
{
	return source->has_end;
}

const char *source_shown(const struct source *source)
{
	return source->mirrors[__atomic_load_n(&source->current, __ATOMIC_RELAXED)].shown;
}

uint64_t source_received(const struct source *source)
{
	return __atomic_load_n(&source->received, __ATOMIC_RELAXED);
}
