/*
 * The stream of a source: one connection after another, and the reader never notices. Going on is
 * allowed only where it is sure that the bytes are of one version:
 *
 *   the same validators (a strong ETag, or a date) at the same mirror, or an equal strong ETag at
 *   another: a part from where it was, of which the last bytes that are here already must come
 *   again; the whole, when the server gives no parts, of which what is here already is skipped.
 *   Otherwise the whole from the beginning, of which the part that is here already must be the
 *   same, by a running check of all that was given to the reader.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "platform/clock.h"
#include "platform/source_inside.h"

enum {
	TAIL_BYTES = 4096,
	SKIP_BYTES = 256 << 10,
	/* So much since the last failure is a connection that works: go on at once. */
	GOOD_PROGRESS_BYTES = 1 << 20
};

/*
 * A running check of a prefix: four lanes of multiply and fold with random keys. It tells apart
 * what differs by accident; nobody who has not seen the keys can make two that agree.
 */
struct prefix {
	uint64_t keys[4];
	uint64_t lanes[4];
	uint8_t pending[32];
	size_t pending_size;
};

static void prefix_start(struct prefix *prefix)
{
	*prefix = (struct prefix){.pending_size = 0};
	if (getrandom(prefix->keys, sizeof(prefix->keys), GRND_NONBLOCK) != sizeof(prefix->keys))
		for (int i = 0; i < 4; i++)
			prefix->keys[i] =
				((uint64_t)clock_wall().tv_nsec + (unsigned)i) * 0x9e3779b97f4a7c15;
	for (int i = 0; i < 4; i++)
		prefix->keys[i] |= 1;
}

/* A new one with the same keys. */
static struct prefix prefix_again(const struct prefix *prefix)
{
	struct prefix again = {.pending_size = 0};
	memcpy(again.keys, prefix->keys, sizeof(again.keys));
	return again;
}

static void prefix_block(struct prefix *prefix, const uint8_t *data)
{
	uint64_t words[4];
	memcpy(words, data, sizeof(words));
	for (int i = 0; i < 4; i++) {
		unsigned __int128 product =
			(unsigned __int128)(prefix->lanes[i] ^ words[i] ^ prefix->keys[3 - i]) *
			prefix->keys[i];
		prefix->lanes[i] =
			((uint64_t)product ^ (uint64_t)(product >> 64)) + prefix->keys[i];
	}
}

static void prefix_add(struct prefix *prefix, const uint8_t *data, size_t size)
{
	while (size > 0 && (prefix->pending_size > 0 || size < sizeof(prefix->pending))) {
		size_t room = sizeof(prefix->pending) - prefix->pending_size;
		size_t count = size < room ? size : room;
		memcpy(prefix->pending + prefix->pending_size, data, count);
		prefix->pending_size += count;
		data += count;
		size -= count;
		if (prefix->pending_size < sizeof(prefix->pending))
			return;
		prefix_block(prefix, prefix->pending);
		prefix->pending_size = 0;
	}
	for (; size >= sizeof(prefix->pending); size -= sizeof(prefix->pending)) {
		prefix_block(prefix, data);
		data += sizeof(prefix->pending);
	}
	memcpy(prefix->pending, data, size);
	prefix->pending_size = size;
}

static bool prefix_equal(const struct prefix *a, const struct prefix *b)
{
	return memcmp(a->lanes, b->lanes, sizeof(a->lanes)) == 0 &&
	       a->pending_size == b->pending_size &&
	       memcmp(a->pending, b->pending, a->pending_size) == 0;
}

struct source_stream {
	struct stream stream;
	struct source *source;
	struct stream *body; /* NULL: to be connected */
	/* What several connections fetch, and where it begins. */
	struct segments *segments;
	uint64_t segments_at;
	uint64_t offset; /* given to the reader */
	uint64_t size;
	unsigned mirror;
	struct version version;
	struct patience patience;
	uint64_t failed_at; /* offset of the last failure */
	bool keep_prefix;
	struct prefix prefix;
	uint8_t tail[TAIL_BYTES]; /* the last bytes given to the reader */
	size_t tail_size;
};

static void keep_tail(struct source_stream *self, const uint8_t *data, size_t size)
{
	if (size >= TAIL_BYTES) {
		memcpy(self->tail, data + size - TAIL_BYTES, TAIL_BYTES);
		self->tail_size = TAIL_BYTES;
		return;
	}
	size_t keep = TAIL_BYTES - size < self->tail_size ? TAIL_BYTES - size : self->tail_size;
	memmove(self->tail, self->tail + self->tail_size - keep, keep);
	memcpy(self->tail + keep, data, size);
	self->tail_size = keep + size;
}

static int has_changed(const struct source_stream *self, struct error *err)
{
	return error_set(err, ERROR_CORRUPT,
			 "%s has changed on the server while it was read (%" PRIu64
			 " bytes of what it was had come)",
			 self->source->mirrors[self->mirror].shown, self->offset);
}

static int has_other_length(const struct source_stream *self, uint64_t total, struct error *err)
{
	return error_set(err, self->mirror == self->version.mirror ? ERROR_CORRUPT : ERROR_INPUT,
			 "%s is %" PRIu64 " bytes long now, it was %" PRIu64 " when it was opened",
			 self->source->mirrors[self->mirror].shown, total, self->size);
}

/* A connection while it is being judged. */
struct candidate {
	struct stream *body;
	struct http_answer answer;
	enum version_match match;
};

static void discard(struct candidate *candidate)
{
	stream_close(candidate->body);
	candidate->body = NULL;
}

static int request(struct source_stream *self, const struct http_range *range,
		   struct candidate *candidate, struct error *err)
{
	candidate->body = NULL;
	int result = source_request(self->source, self->mirror, range, self->source->http.cancel_fd,
				    &candidate->body, &candidate->answer, err);
	uint64_t total = candidate->answer.total_bytes;
	bool told = candidate->answer.status == 200 || candidate->answer.status == 206 ||
		    candidate->answer.status == 416;
	if (told && self->size != STREAM_SIZE_UNKNOWN && total != STREAM_SIZE_UNKNOWN &&
	    total != self->size) {
		discard(candidate);
		return has_other_length(self, total, err);
	}
	if (result < 0)
		return -1;
	struct version version = version_of(&candidate->answer, self->mirror);
	candidate->match = version_compare(&self->version, &version);
	if (candidate->match == VERSION_OTHER) {
		discard(candidate);
		return has_changed(self, err);
	}
	return 0;
}

/* Reads the bytes that are here already; they must be the same. */
static int skip(struct source_stream *self, struct candidate *candidate, uint64_t from,
		bool judge_prefix, struct error *err)
{
	auto_free uint8_t *data = malloc(SKIP_BYTES);
	if (!data)
		return error_set(err, ERROR_MEMORY, "no memory for a block");
	struct prefix prefix = prefix_again(&self->prefix);
	uint64_t tail_at = self->offset - self->tail_size;
	bool same = true;
	for (uint64_t at = from; at < self->offset;) {
		uint64_t left = self->offset - at;
		ssize_t got = stream_read(candidate->body, data,
					  left < SKIP_BYTES ? (size_t)left : SKIP_BYTES, err);
		if (got < 0)
			return -1;
		if (got == 0)
			return error_set(err, ERROR_NETWORK,
					 "the body ended after %" PRIu64 " of %" PRIu64 " bytes",
					 at, self->offset);
		source_count(self->source, (uint64_t)got);
		if (judge_prefix)
			prefix_add(&prefix, data, (size_t)got);
		uint64_t end = at + (uint64_t)got;
		if (end > tail_at) {
			uint64_t first = at > tail_at ? at : tail_at;
			same = same && memcmp(data + (first - at), self->tail + (first - tail_at),
					      (size_t)(end - first)) == 0;
		}
		at = end;
	}
	if (same && judge_prefix)
		same = prefix_equal(&prefix, &self->prefix);
	return same ? 0 : 1;
}

static void take(struct source_stream *self, struct candidate *candidate)
{
	const struct http_answer *answer = &candidate->answer;
	self->body = candidate->body;
	if (answer->status == 200 && self->segments)
		segments_stop(take_pointer(self->segments));
	self->version = version_of(answer, self->mirror);
	if (self->size == STREAM_SIZE_UNKNOWN && answer->status == 206)
		self->size = answer->total_bytes;
	__atomic_store_n(&self->source->current, self->mirror, __ATOMIC_RELAXED);
}

/* The whole again, of which what is here already is skipped. */
static int go_on_in_whole(struct source_stream *self, struct candidate *candidate,
			  struct error *err)
{
	bool judge_prefix = candidate->match != VERSION_SAME;
	if (judge_prefix && !self->keep_prefix && self->offset > 0) {
		discard(candidate);
		return error_set(err, ERROR_PROTOCOL,
				 "%s cannot be gone on with: the server does not say any more "
				 "which version it holds",
				 self->source->mirrors[self->mirror].shown);
	}
	int result = skip(self, candidate, 0, judge_prefix, err);
	if (result == 0) {
		take(self, candidate);
		return 0;
	}
	discard(candidate);
	if (result < 0)
		return -1;
	if (self->mirror == self->version.mirror)
		return has_changed(self, err);
	return error_set(err, ERROR_INPUT, "%s holds other bytes than %s",
			 self->source->mirrors[self->mirror].shown,
			 self->source->mirrors[self->version.mirror].shown);
}

/* Whether a part is sure to be of the same version: 1 when it was taken, 0 when the whole must be
 * looked at (candidate then may have it already). */
static int go_on_in_part(struct source_stream *self, struct candidate *candidate, struct error *err)
{
	const struct http_range range = {.start = self->offset - self->tail_size,
					 .end = self->segments ? self->segments_at
							       : STREAM_SIZE_UNKNOWN,
					 .if_range = version_validator(&self->version)};
	if (request(self, &range, candidate, err) < 0) {
		/* Not what was asked for: no part from this mirror. */
		if (err->kind != ERROR_PROTOCOL && !source_refuses_part(err->code))
			return -1;
		source_mark_no_ranges(self->source, self->mirror);
		return 0;
	}
	if (candidate->answer.status == 200)
		return 0;
	bool end_known = candidate->answer.total_bytes != STREAM_SIZE_UNKNOWN ||
			 self->size != STREAM_SIZE_UNKNOWN;
	if (candidate->match != VERSION_SAME || !end_known) {
		discard(candidate);
		return 0;
	}
	int result = skip(self, candidate, range.start, false, err);
	if (result == 0) {
		take(self, candidate);
		return 1;
	}
	discard(candidate);
	if (result < 0)
		return -1;
	source_mark_no_ranges(self->source, self->mirror);
	return 0;
}

/* One try at self->mirror. */
static int connect_once(struct source_stream *self, struct http_answer *answer, struct error *err)
{
	struct candidate candidate = {.body = NULL};
	int result = 0;
	bool foreign = self->mirror != self->version.mirror;
	bool part = self->offset > 0 && version_validator(&self->version) &&
		    !(foreign && !self->version.etag_strong) &&
		    !source_lacks_ranges(self->source, self->mirror);
	if (part)
		result = go_on_in_part(self, &candidate, err);
	if (result == 0 && !candidate.body)
		result = request(self, NULL, &candidate, err);
	if (result == 0)
		result = go_on_in_whole(self, &candidate, err);
	*answer = candidate.answer;
	return result < 0 ? -1 : 0;
}

static int connect_body(struct source_stream *self, struct error *err)
{
	struct http_answer answer;
	while (connect_once(self, &answer, err) < 0)
		if (source_try_again(self->source, &self->patience, &self->mirror, &answer, err) <
		    0)
			return -1;
	return 0;
}

/* The connection broke: what is to be done about it. */
static int broke(struct source_stream *self, struct error *err)
{
	stream_close(take_pointer(self->body));
	uint64_t progress = self->offset - self->failed_at;
	self->failed_at = self->offset;
	if (progress > 0) {
		/* It has worked: that is no failure in a row. */
		self->patience = (struct patience){.cancel_fd = self->patience.cancel_fd};
		if (error_is_retryable(err))
			return progress >= GOOD_PROGRESS_BYTES
				       ? 0
				       : source_pause(self->source, &self->patience, err);
	}
	return source_try_again(self->source, &self->patience, &self->mirror, NULL, err);
}

static ssize_t read_segments(struct source_stream *self, void *data, size_t size, struct error *err)
{
	if (self->offset == self->segments_at)
		segments_expect(self->segments, self->tail, self->tail_size);
	ssize_t got = segments_read(self->segments, data, size, err);
	if (got >= 0 || err->kind != ERROR_UNSUPPORTED)
		return got;
	/* One connection will do. */
	segments_stop(take_pointer(self->segments));
	return 0;
}

/* Some bytes, or 0: look again, unless *ret_end says that it is over. */
static ssize_t next_bytes(struct source_stream *self, void *data, size_t size, bool *ret_end,
			  struct error *err)
{
	if (!self->body && self->segments && self->offset >= self->segments_at)
		return read_segments(self, data, size, err);
	if (!self->body)
		return connect_body(self, err);
	ssize_t got = stream_read(self->body, data, size, err);
	if (got > 0) {
		source_count(self->source, (uint64_t)got);
		return got;
	}
	if (got < 0)
		return broke(self, err);
	/* A part may end, and the next one follows. */
	stream_close(take_pointer(self->body));
	*ret_end = self->size == STREAM_SIZE_UNKNOWN;
	return 0;
}

static ssize_t source_stream_read(struct stream *stream, void *data, size_t size, struct error *err)
{
	struct source_stream *self = (struct source_stream *)stream;
	bool end = false;
	ssize_t got = 0;
	while (got == 0 && !end && self->offset != self->size)
		got = next_bytes(self, data, size, &end, err);
	if (got <= 0)
		return got;
	if ((uint64_t)got > self->size - self->offset)
		return error_set(err, ERROR_PROTOCOL,
				 "%s: more came than the %" PRIu64 " bytes announced",
				 self->source->mirrors[self->mirror].shown, self->size);
	keep_tail(self, data, (size_t)got);
	if (self->keep_prefix)
		prefix_add(&self->prefix, data, (size_t)got);
	self->offset += (uint64_t)got;
	return got;
}

static void source_stream_close(struct stream *stream)
{
	struct source_stream *self = (struct source_stream *)stream;
	stream_close(self->body);
	segments_stop(self->segments);
	free(self);
}

/* The body that came when the source was opened; the first stream has it. */
static void take_first(struct source_stream *self)
{
	struct source *source = self->source;
	pthread_mutex_lock(&source->lock);
	self->body = take_pointer(source->first);
	pthread_mutex_unlock(&source->lock);
}

int source_stream(struct source *source, struct stream **ret_stream, struct error *err)
{
	static const struct stream_operations operations = {.read = source_stream_read,
							    .close = source_stream_close};
	struct source_stream *self = calloc(1, sizeof(*self));
	if (!self)
		abort();
	self->stream = (struct stream){
		.operations = &operations,
		.size_bytes = source->size,
		.least_bytes = source->size != STREAM_SIZE_UNKNOWN ? source->size : 0};
	auto_stream struct stream *stream = &self->stream;
	self->source = source;
	self->size = source->size;
	self->version = source->version;
	self->patience.cancel_fd = source->http.cancel_fd;
	self->keep_prefix = source->count > 1 || !version_validator(&source->version);
	prefix_start(&self->prefix);
	take_first(self);
	self->mirror = self->version.mirror;
	/* A body that is whole shows that ranges are not served after all. */
	if (source->connections > 1 && source->ranges && source->size > SOURCE_SEGMENT_BYTES &&
	    !(self->body && self->body->size_bytes == source->size)) {
		self->segments_at = self->body ? SOURCE_SEGMENT_BYTES : 0;
		if (segments_start(source, self->segments_at, &self->segments, err) < 0)
			return -1;
	} else if (!self->body && (source_choose(source, &self->patience, &self->mirror, err) < 0 ||
				   connect_body(self, err) < 0)) {
		return -1;
	}
	*ret_stream = take_pointer(stream);
	return 0;
}
