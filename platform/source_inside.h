/*
 * The inside of struct source: mirrors, versions, patience. For source.c, source_stream.c,
 * source_parts.c and source_file.c only.
 */
#ifndef PLATFORM_SOURCE_INSIDE_H
#define PLATFORM_SOURCE_INSIDE_H

#include <pthread.h>

#include "platform/source.h"

enum {
	SOURCE_SHOWN_SIZE = 512,
	SOURCE_REASON_SIZE = 400,
	SOURCE_SEGMENT_BYTES = 4 << 20,
	SEGMENTS_OVERLAP = 512
};

/* What tells one version of a thing from another (RFC 9110, 8.8). Texts are "" without. */
struct version {
	unsigned mirror; /* that said it: an ETag means nothing at another server */
	char etag[HTTP_ETAG_SIZE];
	bool etag_strong;
	char last_modified[32];
	bool last_modified_strong;
};

enum version_match {
	VERSION_UNKNOWN, /* they say nothing that can be compared */
	VERSION_SAME,
	VERSION_OTHER
};

struct mirror {
	char *url;
	bool is_file;
	char shown[SOURCE_SHOWN_SIZE];
	/* Under the source's lock. */
	bool dead;      /* another try cannot help */
	bool no_ranges; /* has shown that it does not serve them as it must */
	enum error_kind kind;
	char reason[SOURCE_REASON_SIZE]; /* why it failed last */
};

struct source {
	struct http_options http; /* headers: in request() only */
	struct http_pool *pool;
	unsigned tries;
	int64_t pause_ms, retry_ms;
	unsigned connections;
	int (*authorize)(void *context, const char *const **ret_headers, struct error *err);
	void *context;
	struct mirror *mirrors;
	unsigned count;
	uint64_t size;
	bool has_end;
	bool ranges;
	struct version version;
	uint64_t received; /* atomic */
	unsigned current;  /* atomic: index of the mirror in use */
	pthread_mutex_t lock;
	char **headers;     /* under lock: what authorize() or the options said, copied */
	unsigned authority; /* under lock: how often authorize() was asked */
	/* The body that came when it was opened, for the first stream. Under lock. */
	struct stream *first;
};

/* How far failures in a row have come, without a new byte between them. */
struct patience {
	bool ranges;      /* only mirrors that serve ranges will do */
	unsigned tried;   /* mirrors tried since the last pause */
	unsigned rounds;  /* all of them tried */
	unsigned waits;   /* rounds that are not counted there: the network was away */
	bool reached;     /* one of the mirrors tried since the last pause was reached */
	int64_t since_ms; /* the first failure; 0: none yet */
	int64_t after_ms; /* the least Retry-After of the round; -1: none yet */
	int cancel_fd;
};

/*
 * One GET at a mirror, of the whole (range NULL) or a part, with authorize() asked once when it
 * must be. As http_get_range().
 */
int source_request(struct source *source, unsigned mirror, const struct http_range *range,
		   int cancel_fd, struct stream **ret_stream, struct http_answer *ret_answer,
		   struct error *err);

/*
 * After a failure (err; answer: what came, NULL when a connection broke that had begun well): 0
 * when it is to be tried again, at *mirror, after the pause that was taken here. -1 when it is time
 * to give up: err tells all mirrors' reasons.
 */
int source_try_again(struct source *source, struct patience *patience, unsigned *mirror,
		     const struct http_answer *answer, struct error *err);

/* A pause as before the second round; ERROR_CANCELLED. */
int source_pause(const struct source *source, const struct patience *patience, struct error *err);

/* A usable mirror, the one in use if it is one. -1 when there is none: err tells why. */
int source_choose(struct source *source, const struct patience *patience, unsigned *ret_mirror,
		  struct error *err);

/* Whether this status, of a request for a part, may mean that only parts are refused: the whole is
 * worth a try. */
bool source_refuses_part(long status);
void source_mark_no_ranges(struct source *source, unsigned mirror);
bool source_lacks_ranges(struct source *source, unsigned mirror);
void source_count(struct source *source, uint64_t bytes);

struct version version_of(const struct http_answer *answer, unsigned mirror);
enum version_match version_compare(const struct version *known, const struct version *other);
/* What to put into If-Range for it; NULL when nothing is good enough. */
const char *version_validator(const struct version *version);

/* A file, or a part of it, as http_get_range() gives a URL. */
int source_file_open(const char *url, const struct http_range *range, struct stream **ret_stream,
		     struct http_answer *ret_answer, struct error *err);

/* Segments fetched ahead by several connections at the same time, given in order. */
struct segments;
int segments_start(struct source *source, uint64_t offset, struct segments **ret_segments,
		   struct error *err);
/* The bytes before the first segment, SEGMENTS_OVERLAP or fewer: they must come again with it. */
void segments_expect(struct segments *segments, const uint8_t *data, size_t size);
/* As a stream's read. ERROR_UNSUPPORTED: the ranges were refused, or cannot be right; nothing of
 * this read is lost. */
ssize_t segments_read(struct segments *segments, void *data, size_t size, struct error *err);
void segments_stop(struct segments *segments);

#endif
