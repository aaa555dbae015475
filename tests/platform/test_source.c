/*
 * Sources against servers in this process: connections that break at any place, versions that
 * change, mirrors, parts that are none. What counts is what the reader gets: all bytes of one
 * version, or a failure.
 */
#include "tests/unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "platform/cleanup.h"
#include "platform/clock.h"
#include "platform/source.h"

enum {
	SIZE = 3 << 20,
	LARGE = 40 << 20,
	STEPS = 8,
	SEEN = 64
};

/* How one request is answered; all 0 is how a good server does. Each bends the site's answer. */
struct step {
	int status;       /* instead of content */
	int refuses_part; /* likewise, to who asks for a part */
	const char *header;
	size_t cut;           /* the connection ends after so many bytes of the body; */
	bool cut_at_once;     /* or before the first one */
	bool silent;          /* after that the connection does not end, and nothing more comes */
	bool no_ranges;       /* 200, the whole */
	bool no_validators;   /* neither ETag nor Last-Modified */
	bool ignore_if_range; /* the part, whatever If-Range says */
	const char *etag;
	const uint8_t *content;
	size_t size;     /* of content */
	int64_t shifted; /* the part begins so much later, and says so */
	int64_t lied;    /* the part begins so much later, and denies it */
	int64_t total;   /* added to the total of Content-Range */
	bool chunked;
	bool shorter; /* half of the part, rightly announced */
};

/* One server. */
struct site {
	int listener;
	in_port_t port;
	pthread_t thread;
	pthread_mutex_t lock;
	struct step steps[STEPS]; /* of the first requests */
	struct step then;         /* of those after them */
	unsigned step_count;
	unsigned requests, connections, active;
	char seen[SEEN][600];
	const uint8_t *content;
	size_t size;
	const char *etag, *modified;
};

static struct site sites[3];
static uint8_t content[LARGE], other[SIZE];

static bool send_all(int fd, const void *data, size_t size)
{
	const char *at = data;
	while (size > 0) {
		ssize_t sent = send(fd, at, size, MSG_NOSIGNAL);
		if (sent <= 0)
			return false;
		at += sent;
		size -= (size_t)sent;
	}
	return true;
}

static bool read_request(int fd, char *out, size_t size)
{
	size_t used = 0;
	while (used + 1 < size) {
		if (recv(fd, out + used, 1, 0) <= 0)
			return false;
		out[++used] = '\0';
		if (used >= 4 && strcmp(out + used - 4, "\r\n\r\n") == 0)
			return true;
	}
	return false;
}

static bool send_body(int fd, const struct step *step, const uint8_t *data, size_t size)
{
	size_t stop = step->cut_at_once ? 0 : step->cut && step->cut < size ? step->cut : size;
	char line[16];
	if (step->chunked && stop > 0) {
		snprintf(line, sizeof(line), "%zx\r\n", stop);
		send_all(fd, line, strlen(line));
	}
	if (!send_all(fd, data, stop))
		return false;
	if (step->chunked)
		send_all(fd, "\r\n", 2);
	if (step->silent) {
		char byte;
		while (recv(fd, &byte, 1, 0) > 0)
			;
	}
	if (stop < size || step->cut_at_once)
		return false;
	if (step->chunked)
		send_all(fd, "0\r\n\r\n", 5);
	return true;
}

/* What If-Range asks for is this version. */
static bool is_version(const char *request, const char *etag, const char *modified)
{
	const char *line = strstr(request, "If-Range: ");
	if (!line)
		return true;
	line += strlen("If-Range: ");
	return (etag && strncmp(line, etag, strlen(etag)) == 0) ||
	       (modified && strncmp(line, modified, strlen(modified)) == 0);
}

static int describe(char *out, size_t out_size, const struct step *step, const char *etag,
		    const char *modified)
{
	if (step->no_validators)
		return snprintf(out, out_size, "%s", step->header ? step->header : "");
	return snprintf(out, out_size, "%s%s%s%s%s%s%s", etag ? "ETag: " : "", etag ? etag : "",
			etag ? "\r\n" : "", modified ? "Last-Modified: " : "",
			modified ? modified : "", modified ? "\r\n" : "",
			step->header ? step->header : "");
}

/* Answers; whether the connection goes on. */
static bool answer(int fd, const struct site *site, const struct step *step, const char *request)
{
	char head[1024], facts[512], length[64];
	const uint8_t *data = step->content ? step->content : site->content;
	size_t size = step->content ? step->size : site->size;
	const char *etag = step->etag ? step->etag : site->etag;
	describe(facts, sizeof(facts), step, etag, site->modified);
	unsigned long long first = 0, last = size - 1;
	const char *range = strstr(request, "Range: bytes=");
	bool part = range && !step->no_ranges &&
		    (step->ignore_if_range || is_version(request, etag, site->modified)) &&
		    sscanf(range, "Range: bytes=%llu-%llu", &first, &last) >= 1;
	int status = step->status                  ? step->status
		     : range && step->refuses_part ? step->refuses_part
		     : part                        ? 206
						   : 200;
	if (last >= size)
		last = size - 1;
	if (!step->status && part && first >= size)
		status = 416;
	if (status != 200 && status != 206) {
		snprintf(head, sizeof(head),
			 "HTTP/1.1 %d X\r\n%sContent-Range: bytes */%zu\r\nContent-Length: "
			 "0\r\n\r\n",
			 status, facts, size);
		send_all(fd, head, strlen(head));
		return true;
	}
	if (step->shorter)
		last = first + (last - first) / 2;
	size_t count = (size_t)(last - first) + 1;
	if (status == 200) {
		first = 0;
		count = size;
	}
	size_t shown = (size_t)first;
	if (status == 206) {
		shown += (size_t)step->shifted;
		first += (unsigned long long)(step->shifted + step->lied);
		if (first + count > size)
			count = size - (size_t)first;
		if (step->lied)
			first -= (size_t)first + count > size ? 1 : 0;
	}
	snprintf(length, sizeof(length), "Content-Length: %zu\r\n", count);
	int used =
		snprintf(head, sizeof(head),
			 "HTTP/1.1 %d X\r\nDate: Mon, 23 Nov 2026 02:00:00 GMT\r\n"
			 "%s%s%s",
			 status, facts, step->chunked ? "Transfer-Encoding: chunked\r\n" : length,
			 step->no_ranges ? "" : "Accept-Ranges: bytes\r\n");
	if (status == 206)
		used += snprintf(head + used, sizeof(head) - (size_t)used,
				 "Content-Range: bytes %zu-%zu/%lld\r\n", shown, shown + count - 1,
				 (long long)size + (long long)step->total);
	snprintf(head + used, sizeof(head) - (size_t)used, "\r\n");
	return send_all(fd, head, strlen(head)) && send_body(fd, step, data + first, count);
}

struct connection {
	struct site *site;
	int fd;
};

static void *serve_connection(void *argument)
{
	struct connection connection = *(struct connection *)argument;
	struct site *site = connection.site;
	free(argument);
	char request[2048];
	while (read_request(connection.fd, request, sizeof(request))) {
		pthread_mutex_lock(&site->lock);
		unsigned number = site->requests++;
		struct step step = number < site->step_count ? site->steps[number] : site->then;
		if (number < SEEN)
			snprintf(site->seen[number], sizeof(site->seen[number]), "%s", request);
		pthread_mutex_unlock(&site->lock);
		if (!answer(connection.fd, site, &step, request))
			break;
	}
	close(connection.fd);
	pthread_mutex_lock(&site->lock);
	site->active--;
	pthread_mutex_unlock(&site->lock);
	return NULL;
}

static void *serve(void *argument)
{
	struct site *site = argument;
	for (int fd; (fd = accept(site->listener, NULL, NULL)) >= 0;) {
		struct connection *connection = malloc(sizeof(*connection));
		pthread_t thread;
		if (!connection)
			abort();
		*connection = (struct connection){site, fd};
		pthread_mutex_lock(&site->lock);
		site->connections++;
		site->active++;
		pthread_mutex_unlock(&site->lock);
		if (pthread_create(&thread, NULL, serve_connection, connection) != 0)
			abort();
		pthread_detach(thread);
	}
	return NULL;
}

static int start_servers(void **state)
{
	(void)state;
	struct error err;
	fill_random(content, sizeof(content), 1);
	fill_random(other, sizeof(other), 2);
	for (size_t i = 0; i < COUNT(sites); i++) {
		struct sockaddr_in address = {.sin_family = AF_INET,
					      .sin_addr = {htonl(INADDR_LOOPBACK)}};
		socklen_t size = sizeof(address);
		struct site *site = &sites[i];
		pthread_mutex_init(&site->lock, NULL);
		site->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (bind(site->listener, (struct sockaddr *)&address, size) < 0 ||
		    listen(site->listener, 32) < 0 ||
		    getsockname(site->listener, (struct sockaddr *)&address, &size) < 0 ||
		    pthread_create(&site->thread, NULL, serve, site) != 0)
			return -1;
		site->port = ntohs(address.sin_port);
	}
	return http_setup(&err);
}

static int stop_servers(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(sites); i++) {
		shutdown(sites[i].listener, SHUT_RDWR);
		pthread_join(sites[i].thread, NULL);
		close(sites[i].listener);
	}
	return 0;
}

/* What a source that is closed has still asked for must not be taken for the next one's. */
static void wait_for_silence(struct site *site)
{
	for (int64_t until = clock_monotonic_ms() + 300; clock_monotonic_ms() < until;) {
		pthread_mutex_lock(&site->lock);
		bool silent = site->active == 0;
		pthread_mutex_unlock(&site->lock);
		if (silent)
			return;
		usleep(1000);
	}
}

/* Connections are accepted in their order: when the server has seen this one to its end, none of a
 * former client's still waits to be counted. */
static void pass_the_queue(const struct site *site)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr = {htonl(INADDR_LOOPBACK)},
				      .sin_port = htons(site->port)};
	char byte;
	auto_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    shutdown(fd, SHUT_WR) < 0)
		abort();
	while (recv(fd, &byte, 1, 0) > 0)
		;
}

/* Each test begins with good servers of the same content. */
static int good_servers(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(sites); i++) {
		struct site *site = &sites[i];
		pass_the_queue(site);
		wait_for_silence(site);
		pthread_mutex_lock(&site->lock);
		memset(site->steps, 0, sizeof(site->steps));
		site->then = (struct step){.status = 0};
		site->step_count = site->requests = site->connections = 0;
		site->content = content;
		site->size = SIZE;
		site->etag = "\"version-1\"";
		site->modified = NULL;
		pthread_mutex_unlock(&site->lock);
	}
	return 0;
}

#define set_steps(site, ...)                                                                       \
	do {                                                                                       \
		const struct step set[] = {__VA_ARGS__};                                           \
		good_servers(NULL);                                                                \
		memcpy((site)->steps, set, sizeof(set));                                           \
		(site)->step_count = COUNT(set);                                                   \
	} while (0)

static const char *urls[4];
static char url_texts[3][64];

/* Sources of the first count sites. */
static struct source_options options_for(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		snprintf(url_texts[i], sizeof(url_texts[i]), "http://127.0.0.1:%u/image-%u",
			 sites[i].port, i);
		urls[i] = url_texts[i];
	}
	urls[count] = NULL;
	return (struct source_options){
		.urls = urls, .http = {.stall_timeout_ms = 500}, .pause_ms = 40};
}

/* Reads the stream whole in pieces of odd size: -1, or how many bytes came; they must be those of
 * wanted as far as they came, success or not. */
static int64_t read_all(struct source *source, const uint8_t *wanted, size_t most,
			struct error *err)
{
	auto_stream struct stream *stream = NULL;
	if (source_stream(source, &stream, err) < 0)
		return -1;
	size_t have = 0;
	for (;;) {
		static uint8_t data[100001];
		ssize_t got = stream_read(stream, data, sizeof(data), err);
		if (got <= 0)
			return got < 0 ? -1 : (int64_t)have;
		if (have + (size_t)got > most || memcmp(data, wanted + have, (size_t)got) != 0)
			fail_msg("wrong bytes were given after %zu", have);
		have += (size_t)got;
	}
}

static int64_t get_with(const struct source_options *options, struct error *err)
{
	auto_source struct source *source = NULL;
	if (source_open(options, &source, err) < 0)
		return -1;
	return read_all(source, content, LARGE, err);
}

static int64_t get(unsigned count, struct error *err)
{
	const struct source_options options = options_for(count);
	return get_with(&options, err);
}

static void reads_what_is_there(void **state)
{
	(void)state;
	struct error err;
	auto_source struct source *source = NULL;
	const struct source_options options = options_for(1);
	assert_ok(source_open(&options, &source, &err));
	assert_int_equal(source_size(source), SIZE);
	assert_true(source_has_ranges(source));
	assert_true(source_has_end(source));
	assert_string_equal(source_shown(source), urls[0]);
	assert_int_equal(read_all(source, content, SIZE, &err), SIZE);
	assert_int_equal(sites[0].requests, 1);
	assert_int_equal(source_received(source), SIZE);
	/* And once more. */
	assert_int_equal(read_all(source, content, SIZE, &err), SIZE);
	assert_int_equal(sites[0].requests, 2);
}

/* At the first byte, at the borders, at the last byte; several times in a row. */
static void goes_on_where_it_was(void **state)
{
	(void)state;
	struct error err;
	static const size_t places[] = {1, 100, 4095, 4096, 4097, 65536, 1 << 20, SIZE - 1};
	for (size_t i = 0; i < COUNT(places); i++) {
		set_steps(&sites[0], {.cut = places[i]});
		assert_int_equal(get(1, &err), SIZE);
		assert_int_equal(sites[0].requests, 2);
		char range[64];
		size_t again = places[i] < 4096 ? places[i] : 4096;
		snprintf(range, sizeof(range), "Range: bytes=%zu-\r\n", places[i] - again);
		assert_contains(sites[0].seen[1], range);
		assert_contains(sites[0].seen[1], "If-Range: \"version-1\"\r\n");
	}
	set_steps(&sites[0], {.cut_at_once = true}, {.cut = 1000}, {.status = 503},
		  {.cut = 1 << 20}, {.cut = 1 << 20});
	assert_int_equal(get(1, &err), SIZE);
	assert_int_equal(sites[0].requests, 6);
	/* By the date alone. */
	set_steps(&sites[0], {.cut = 5000});
	sites[0].etag = NULL;
	sites[0].modified = "Sun, 22 Nov 2026 02:00:00 GMT";
	assert_int_equal(get(1, &err), SIZE);
	assert_contains(sites[0].seen[1], "If-Range: Sun, 22 Nov 2026 02:00:00 GMT\r\n");
	/* A silent connection. */
	set_steps(&sites[0], {.cut = 5000, .silent = true});
	assert_int_equal(get(1, &err), SIZE);
	/* Parts that are shorter than what was asked for. */
	set_steps(&sites[0], {.cut = 5000}, {.shorter = true}, {.shorter = true});
	assert_int_equal(get(1, &err), SIZE);
	assert_int_equal(sites[0].requests, 4);
	/* Chunks, the length not known before. */
	set_steps(&sites[0], {.cut = 5000, .chunked = true}, {.chunked = true});
	assert_int_equal(get(1, &err), SIZE);
	set_steps(&sites[0], {.cut = SIZE - 1, .chunked = true});
	assert_int_equal(get(1, &err), SIZE);
}

/* A server without ranges: the same version again, what is here already skipped. */
static void skips_what_is_there(void **state)
{
	(void)state;
	struct error err;
	static const size_t places[] = {1, 4097, 1 << 20, SIZE - 1};
	for (size_t i = 0; i < COUNT(places); i++) {
		set_steps(&sites[0], {.cut = places[i], .no_ranges = true});
		sites[0].then.no_ranges = true;
		assert_int_equal(get(1, &err), SIZE);
		/* It says neither that it serves ranges nor which version it holds. */
		set_steps(&sites[0], {.cut = places[i], .no_ranges = true, .no_validators = true});
		sites[0].then = (struct step){.no_ranges = true, .no_validators = true};
		assert_int_equal(get(1, &err), SIZE);
		assert_lacks(sites[0].seen[1], "Range");
	}
	/* Something before the server lets no request for a part through. */
	static const int refusals[] = {400, 403, 412, 501};
	for (size_t i = 0; i < COUNT(refusals); i++) {
		set_steps(&sites[0], {.cut = 5000});
		sites[0].then = (struct step){.refuses_part = refusals[i]};
		assert_int_equal(get(1, &err), SIZE);
		assert_contains(sites[0].seen[1], "Range");
		assert_lacks(sites[0].seen[2], "Range");
		struct source_options options = options_for(1);
		options.connections = 4;
		set_steps(&sites[0], {.refuses_part = refusals[i]});
		assert_int_equal(get_with(&options, &err), SIZE);
		assert_int_equal(sites[0].requests, 2);
	}
	sites[0].then = (struct step){.status = 0};
	/* Weak validators are none, nor is a date of this very second. */
	set_steps(&sites[0], {.cut = 5000});
	sites[0].etag = "W/\"version-1\"";
	sites[0].modified = "Mon, 23 Nov 2026 02:00:00 GMT";
	assert_int_equal(get(1, &err), SIZE);
	assert_lacks(sites[0].seen[1], "Range");
	/* Ranges that say nothing of the version. */
	set_steps(&sites[0], {.cut = 5000}, {.ignore_if_range = true, .no_validators = true});
	assert_int_equal(get(1, &err), SIZE);
	assert_int_equal(sites[0].requests, 3);
}

/* Never a mix: whatever of it is the same. */
static void notices_that_it_has_changed(void **state)
{
	(void)state;
	struct error err;
	static uint8_t late[SIZE];
	memcpy(late, content, SIZE);
	late[SIZE - 10] ^= 1;
	/* Another ETag, with or without ranges. */
	set_steps(&sites[0], {.cut = 5000});
	sites[0].then = (struct step){.etag = "\"version-2\"", .content = other, .size = SIZE};
	assert_fails(get(1, &err), ERROR_CORRUPT, "has changed");
	assert_contains(err.text, urls[0]);
	sites[0].then.no_ranges = true;
	sites[0].requests = 0;
	assert_fails(get(1, &err), ERROR_CORRUPT, "has changed");
	/* A server that does not know If-Range. */
	set_steps(&sites[0], {.cut = 5000});
	sites[0].then = (struct step){
		.etag = "\"version-2\"", .content = late, .size = SIZE, .ignore_if_range = true};
	assert_fails(get(1, &err), ERROR_CORRUPT, "has changed");
	/* The same ETag, another length; in the part and in the whole. */
	set_steps(&sites[0], {.cut = 5000});
	sites[0].then = (struct step){.content = content, .size = SIZE + 1};
	assert_fails(get(1, &err), ERROR_CORRUPT, "long now");
	sites[0].then.no_ranges = true;
	sites[0].requests = 0;
	assert_fails(get(1, &err), ERROR_CORRUPT, "long now");
	/* Shorter than what has come. */
	set_steps(&sites[0], {.cut = 9000});
	sites[0].then = (struct step){.content = content, .size = 4000};
	assert_fails(get(1, &err), ERROR_CORRUPT, "4000 bytes long now");
	/* The same ETag and length, other bytes: what comes twice must be the same. */
	set_steps(&sites[0], {.cut = 5000});
	sites[0].then = (struct step){.content = other, .size = SIZE};
	assert_fails(get(1, &err), ERROR_CORRUPT, "has changed");
	/* No validators at all. */
	set_steps(&sites[0], {.cut = 5000, .no_validators = true});
	sites[0].then = (struct step){.no_validators = true, .content = other, .size = SIZE};
	assert_fails(get(1, &err), ERROR_CORRUPT, "has changed");
	/* One bit long before the place. */
	set_steps(&sites[0], {.cut = SIZE - 9, .no_validators = true});
	static uint8_t early[SIZE];
	memcpy(early, content, SIZE);
	early[17] ^= 0x80;
	sites[0].then = (struct step){.no_validators = true, .content = early, .size = SIZE};
	assert_fails(get(1, &err), ERROR_CORRUPT, "has changed");
	/* Between opening and a second reading. */
	good_servers(NULL);
	auto_source struct source *source = NULL;
	const struct source_options options = options_for(1);
	assert_ok(source_open(&options, &source, &err));
	assert_int_equal(read_all(source, content, SIZE, &err), SIZE);
	sites[0].then = (struct step){.etag = "\"version-2\"", .content = other, .size = SIZE};
	assert_fails(read_all(source, content, SIZE, &err), ERROR_CORRUPT, "has changed");
}

/* Parts that are not what they must be: the whole is asked for, and is right. */
static void believes_no_wrong_part(void **state)
{
	(void)state;
	struct error err;
	set_steps(&sites[0], {.cut = 5000}, {.shifted = 1}, {.shifted = 0});
	assert_int_equal(get(1, &err), SIZE);
	assert_lacks(sites[0].seen[2], "Range");
	set_steps(&sites[0], {.cut = 5000}, {.lied = 1}, {.shifted = 0});
	assert_int_equal(get(1, &err), SIZE);
	assert_lacks(sites[0].seen[2], "Range");
	set_steps(&sites[0], {.cut = 5000}, {.total = 1}, {.shifted = 0});
	assert_fails(get(1, &err), ERROR_CORRUPT, "long now");
	/* It never gives anything else: no success. */
	set_steps(&sites[0], {.cut = 5000});
	sites[0].then = (struct step){.status = 416};
	assert_fails(get(1, &err), ERROR_INPUT, "416");
}

static void gives_up_in_time(void **state)
{
	(void)state;
	struct error err;
	sites[0].then = (struct step){.status = 503};
	assert_fails(get(1, &err), ERROR_NETWORK, "503");
	assert_int_equal(sites[0].requests, 3);
	assert_contains(err.text, "3 tries");
	good_servers(NULL);
	sites[0].then = (struct step){.status = 404};
	assert_fails(get(1, &err), ERROR_NOT_FOUND, "404");
	assert_int_equal(sites[0].requests, 1);
	struct source_options none = options_for(0);
	assert_fails(get_with(&none, &err), ERROR_INPUT, "no URL");
	/* Once it has begun. */
	set_steps(&sites[0], {.cut = 5000});
	sites[0].then = (struct step){.cut_at_once = true};
	assert_fails(get(1, &err), ERROR_NETWORK, "127.0.0.1");
	assert_in_range(sites[0].requests, 4, 4);
	/* A time instead of a number. */
	good_servers(NULL);
	sites[0].then = (struct step){.status = 500};
	struct source_options options = options_for(1);
	options.retry_ms = 2000;
	int64_t start = clock_monotonic_ms();
	assert_fails(get_with(&options, &err), ERROR_NETWORK, "500");
	assert_in_range(clock_monotonic_ms() - start, 500, 2500);
	assert_in_range(sites[0].requests, 4, 9);
	/* As long as the server says. */
	set_steps(&sites[0], {.status = 429, .header = "Retry-After: 1\r\n"});
	start = clock_monotonic_ms();
	assert_int_equal(get(1, &err), SIZE);
	assert_in_range(clock_monotonic_ms() - start, 1000, 3000);
	/* The pause ends when it is cancelled. */
	good_servers(NULL);
	sites[0].then = (struct step){.status = 429, .header = "Retry-After: 60\r\n"};
	int ends[2];
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(write(ends[1], "x", 1), 1);
	options = options_for(1);
	options.http.cancel_fd = ends[0];
	assert_fails(get_with(&options, &err), ERROR_CANCELLED, "cancelled");
	close(ends[0]);
	close(ends[1]);
}

/* Of the network namespace this thread is in. */
static bool set_loopback(bool up)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = up ? IFF_UP : 0};
	auto_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return ioctl(fd, SIOCSIFFLAGS, &request) == 0;
}

static void *put_in_the_cable(void *nothing)
{
	usleep(1500000);
	if (!set_loopback(true))
		abort();
	return nothing;
}

static int home = -1;

/* Good servers in a network of their own. */
static int isolated_servers(void **state)
{
	home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	stop_servers(state);
	if (home < 0 || unshare(CLONE_NEWNET) < 0) {
		print_message("no network namespace can be made: %s\n", strerror(errno));
		home = -1;
	} else if (!set_loopback(true)) {
		return -1;
	}
	return start_servers(state) < 0 ? -1 : good_servers(state);
}

static int common_servers(void **state)
{
	stop_servers(state);
	int result = home < 0 ? 0 : setns(home, CLONE_NEWNET);
	if (home >= 0)
		close(home);
	return result < 0 ? -1 : start_servers(state);
}

/* In the middle of a body, for much longer than three tries take. At the start that is too long. */
static void waits_for_the_network(void **state)
{
	(void)state;
	struct error err;
	static uint8_t data[1000];
	if (home < 0)
		skip();
	struct source_options options = options_for(1);
	options.pause_ms = 5;
	options.http.stall_timeout_ms = 250;
	set_steps(&sites[0], {.cut = sizeof(data)});
	auto_source struct source *source = NULL;
	auto_stream struct stream *stream = NULL;
	assert_ok(source_open(&options, &source, &err));
	assert_ok(source_stream(source, &stream, &err));
	for (size_t have = 0; have < sizeof(data);) {
		ssize_t got = stream_read(stream, data + have, sizeof(data) - have, &err);
		assert_true(got > 0);
		have += (size_t)got;
	}
	wait_for_silence(&sites[0]);
	assert_true(set_loopback(false));
	pthread_t hand;
	assert_int_equal(pthread_create(&hand, NULL, put_in_the_cable, NULL), 0);
	size_t have = sizeof(data);
	static uint8_t rest[SIZE];
	for (ssize_t got; have < SIZE; have += (size_t)got) {
		got = stream_read(stream, rest, SIZE - have, &err);
		if (got < 0)
			fail_msg("%s", err.text);
		assert_true(got > 0);
		assert_memory_equal(rest, content + have, (size_t)got);
	}
	pthread_join(hand, NULL);
	assert_int_equal(sites[0].requests, 2);
	good_servers(NULL);
	assert_true(set_loopback(false));
	options.http.stall_timeout_ms = 20;
	assert_fails(get_with(&options, &err), ERROR_TIMEOUT, "3 tries");
	assert_true(set_loopback(true));
	assert_int_equal(sites[0].requests, 0);
}

static void uses_the_mirrors(void **state)
{
	(void)state;
	struct error err;
	/* One after the other. */
	sites[0].then = (struct step){.status = 404};
	sites[1].then = (struct step){.status = 503};
	assert_int_equal(get(3, &err), SIZE);
	assert_int_equal(sites[2].requests, 1);
	/* All of them. */
	sites[2].then = (struct step){.status = 403};
	sites[1].requests = 0;
	assert_fails(get(3, &err), ERROR_NETWORK, "404");
	assert_contains(err.text, "503");
	assert_contains(err.text, "403");
	assert_int_equal(sites[1].requests, 3);
	/* In the middle: a part when its ETag is the same, else the whole is compared. */
	for (int kind = 0; kind < 3; kind++) {
		set_steps(&sites[0], {.cut = 100000}, {.status = 500}, {.status = 500});
		if (kind == 1)
			sites[1].etag = "\"a-name-of-its-own\"";
		if (kind == 2)
			sites[1].etag = NULL;
		assert_int_equal(get(2, &err), SIZE);
		assert_int_equal(sites[1].requests, 1);
	}
	/* ETags that every server may give. */
	set_steps(&sites[0], {.cut = 100000}, {.status = 404});
	sites[0].etag = sites[1].etag = "\"1\"";
	sites[1].then = (struct step){.content = other, .size = SIZE};
	assert_fails(get(2, &err), ERROR_INPUT, "other bytes");
	/* It holds something else: another mirror does it. */
	set_steps(&sites[0], {.cut = 100000}, {.status = 404});
	sites[1].etag = "\"version-2\"";
	sites[1].content = other;
	assert_int_equal(get(3, &err), SIZE);
	set_steps(&sites[0], {.cut = 100000}, {.status = 404});
	sites[1].size = SIZE - 1;
	assert_int_equal(get(3, &err), SIZE);
	set_steps(&sites[0], {.cut = 100000}, {.status = 404});
	sites[1].size = SIZE - 1;
	assert_fails(get(2, &err), ERROR_INPUT, "bytes long");
	/* A file is a mirror as well. */
	char *directory = directory_make(), *file = path_in(directory, "image"), url[256];
	file_write(file, content, SIZE);
	snprintf(url, sizeof(url), "file://%s", file);
	set_steps(&sites[0], {.cut = 100000}, {.status = 404});
	struct source_options options = options_for(1);
	urls[1] = url;
	urls[2] = NULL;
	assert_int_equal(get_with(&options, &err), SIZE);
	free(file);
	directory_remove(directory);
}

static void reads_by_position(void **state)
{
	(void)state;
	struct error err;
	static uint8_t data[1 << 20];
	auto_source struct source *source = NULL;
	const struct source_options options = options_for(2);
	assert_ok(source_open(&options, &source, &err));
	for (unsigned i = 0; i < 20; i++) {
		uint64_t at = (uint64_t)i * 130001;
		assert_ok(source_read_at(source, at, data, 3000, &err));
		assert_memory_equal(data, content + at, 3000);
	}
	/* One connection for what was opened, one that is kept for the rest. */
	assert_int_equal(sites[0].connections, 2);
	assert_int_equal(sites[1].connections, 0);
	assert_ok(source_read_at(source, SIZE - 1, data, 1, &err));
	assert_int_equal(data[0], content[SIZE - 1]);
	assert_ok(source_read_at(source, SIZE, data, 0, &err));
	assert_fails(source_read_at(source, SIZE - 1, data, 2, &err), ERROR_CORRUPT, "ends at");
	/* Broken in the middle; then at another mirror of the same version. */
	sites[0].then = (struct step){.cut = 400000};
	assert_ok(source_read_at(source, 1000, data, sizeof(data), &err));
	assert_memory_equal(data, content + 1000, sizeof(data));
	sites[0].then = (struct step){.status = 500};
	assert_ok(source_read_at(source, 2000, data, sizeof(data), &err));
	assert_memory_equal(data, content + 2000, sizeof(data));
	assert_true(sites[1].requests > 0);
	/* Lies. */
	static const struct step lies[] = {
		{.no_ranges = true}, {.shifted = 1}, {.no_validators = true}};
	for (size_t i = 0; i < COUNT(lies); i++) {
		good_servers(NULL);
		auto_source struct source *again = NULL;
		const struct source_options one = options_for(1);
		assert_ok(source_open(&one, &again, &err));
		sites[0].then = lies[i];
		assert_fails(source_read_at(again, 0, data, 100, &err), ERROR_UNSUPPORTED,
			     "127.0.0.1");
	}
	good_servers(NULL);
	auto_source struct source *changed = NULL;
	assert_ok(source_open(&options, &changed, &err));
	sites[0].then = (struct step){.etag = "\"version-2\"", .content = other, .size = SIZE};
	assert_fails(source_read_at(changed, 0, data, 100, &err), ERROR_CORRUPT, "has changed");
	sites[0].then = (struct step){.total = 1};
	assert_fails(source_read_at(changed, 0, data, 100, &err), ERROR_CORRUPT, "long now");
	/* None without ranges, or without a version. */
	static const struct step without[] = {{.no_ranges = true}, {.no_validators = true}};
	for (size_t i = 0; i < COUNT(without); i++) {
		good_servers(NULL);
		sites[0].then = without[i];
		auto_source struct source *again = NULL;
		const struct source_options one = options_for(1);
		assert_ok(source_open(&one, &again, &err));
		assert_false(source_has_ranges(again));
		assert_fails(source_read_at(again, 0, data, 100, &err), ERROR_UNSUPPORTED,
			     "ranges");
	}
}

struct reader {
	struct source *source;
	unsigned number;
	int result;
};

static void *read_parts(void *argument)
{
	struct reader *reader = argument;
	struct error err;
	uint8_t *data = malloc(70000);
	for (unsigned i = 0; i < 30 && reader->result == 0 && data; i++) {
		uint64_t at = (uint64_t)(i * 977 + reader->number * 7919) * 97 % (SIZE - 70000);
		reader->result = source_read_at(reader->source, at, data, 70000, &err);
		if (reader->result == 0 && memcmp(data, content + at, 70000) != 0)
			reader->result = -2;
	}
	free(data);
	return NULL;
}

static void reads_by_position_in_threads(void **state)
{
	(void)state;
	struct error err;
	auto_source struct source *source = NULL;
	const struct source_options options = options_for(1);
	assert_ok(source_open(&options, &source, &err));
	pthread_t threads[4];
	struct reader readers[COUNT(threads)];
	for (unsigned i = 0; i < COUNT(threads); i++) {
		readers[i] = (struct reader){source, i, 0};
		assert_int_equal(pthread_create(&threads[i], NULL, read_parts, &readers[i]), 0);
	}
	for (unsigned i = 0; i < COUNT(threads); i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(readers[i].result, 0);
	}
	assert_in_range(sites[0].connections, 2, 1 + COUNT(threads));
}

static void reads_with_several_connections(void **state)
{
	(void)state;
	struct error err;
	struct source_options options = options_for(1);
	static const unsigned counts[] = {2, 4, 8, 100};
	for (size_t i = 0; i < COUNT(counts); i++) {
		good_servers(NULL);
		sites[0].size = LARGE - 12345;
		options.connections = counts[i];
		assert_int_equal(get_with(&options, &err), LARGE - 12345);
		assert_in_range(sites[0].connections, 2, 9);
		/* The first answer serves for the first segment; the others come by parts, each
		 * once, and with all of them nothing has to be asked for without an end. */
		size_t segment = counts[i] > 4 ? 1 << 20 : 2 << 20;
		size_t others = (LARGE - 12345 - (4 << 20) + segment - 1) / segment;
		assert_int_equal(sites[0].requests, 1 + others);
	}
	options.connections = 4;
	/* Each breaks. */
	good_servers(NULL);
	sites[0].size = LARGE;
	sites[0].then.cut = 3000000;
	assert_int_equal(get_with(&options, &err), LARGE);
	/* Small, and empty. */
	good_servers(NULL);
	sites[0].size = 100;
	assert_int_equal(get_with(&options, &err), 100);
	sites[0].size = 0;
	assert_int_equal(get_with(&options, &err), 0);
	/* Without ranges: with one. */
	good_servers(NULL);
	sites[0].size = LARGE;
	sites[0].then.no_ranges = true;
	assert_int_equal(get_with(&options, &err), LARGE);
	assert_int_equal(sites[0].requests, 1);
	/* Refused later. */
	set_steps(&sites[0], {.cut = 0});
	sites[0].size = LARGE;
	sites[0].then.no_ranges = true;
	assert_int_equal(get_with(&options, &err), LARGE);
	/* A lie about the place. */
	set_steps(&sites[0], {.cut = 0}, {.cut = 0}, {.lied = 1});
	sites[0].size = LARGE;
	assert_int_equal(get_with(&options, &err), LARGE);
	/* Changed on the way. */
	set_steps(&sites[0], {.cut = 0}, {.cut = 0}, {.cut = 0});
	sites[0].size = LARGE;
	sites[0].then.etag = "\"version-2\"";
	assert_fails(get_with(&options, &err), ERROR_CORRUPT, "has changed");
	/* Nobody answers any more; and nobody reads any more. */
	set_steps(&sites[0], {.cut = 0}, {.cut = 0}, {.cut = 0});
	sites[0].size = LARGE;
	sites[0].then.status = 503;
	assert_fails(get_with(&options, &err), ERROR_NETWORK, "503");
	set_steps(&sites[0], {.cut = 0});
	sites[0].size = LARGE;
	sites[0].then = (struct step){.cut = 1000, .silent = true};
	options.http.stall_timeout_ms = 60000;
	auto_source struct source *source = NULL;
	assert_ok(source_open(&options, &source, &err));
	struct stream *stream;
	assert_ok(source_stream(source, &stream, &err));
	int64_t start = clock_monotonic_ms();
	stream_close(stream);
	assert_in_range(clock_monotonic_ms() - start, 0, 5000);
}

struct tokens {
	unsigned asked;
	char line[64];
	const char *lines[2];
};

static int give_token(void *context, const char *const **ret_headers, struct error *err)
{
	(void)err;
	struct tokens *tokens = context;
	tokens->asked++;
	snprintf(tokens->line, sizeof(tokens->line), "Authorization: Bearer %u", tokens->asked);
	tokens->lines[0] = tokens->line;
	tokens->lines[1] = NULL;
	*ret_headers = tokens->lines;
	return 0;
}

static void asks_for_a_token(void **state)
{
	(void)state;
	struct error err;
	struct tokens tokens = {.asked = 0};
	struct source_options options = options_for(1);
	options.authorize = give_token;
	options.context = &tokens;
	set_steps(&sites[0], {.status = 401}, {.cut = 5000}, {.status = 401});
	assert_int_equal(get_with(&options, &err), SIZE);
	assert_int_equal(tokens.asked, 2);
	assert_lacks(sites[0].seen[0], "Authorization");
	assert_contains(sites[0].seen[1], "Authorization: Bearer 1\r\n");
	assert_contains(sites[0].seen[2], "Authorization: Bearer 1\r\n");
	assert_contains(sites[0].seen[3], "Authorization: Bearer 2\r\n");
	/* It does not help. */
	good_servers(NULL);
	sites[0].then.status = 401;
	assert_fails(get_with(&options, &err), ERROR_DENIED, "401");
	assert_int_equal(sites[0].requests, 2);
}

static void reads_files(void **state)
{
	(void)state;
	struct error err;
	char *directory = directory_make(), *file = path_in(directory, "image"), url[256];
	file_write(file, content, SIZE);
	snprintf(url, sizeof(url), "file://%s", file);
	struct source_options options = options_for(0);
	urls[0] = url;
	urls[1] = NULL;
	auto_source struct source *source = NULL;
	uint8_t data[100];
	assert_ok(source_open(&options, &source, &err));
	assert_int_equal(source_size(source), SIZE);
	assert_true(source_has_ranges(source));
	assert_int_equal(read_all(source, content, SIZE, &err), SIZE);
	assert_ok(source_read_at(source, 12345, data, sizeof(data), &err));
	assert_memory_equal(data, content + 12345, sizeof(data));
	/* Written to while it is read: nothing of it is believed. */
	auto_stream struct stream *stream = NULL;
	assert_ok(source_stream(source, &stream, &err));
	assert_int_equal(stream_read_full(stream, data, sizeof(data), &err), sizeof(data));
	int fd = open(file, O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "x", 1, SIZE - 1), 1);
	const struct timespec times[] = {{.tv_sec = 1}, {.tv_sec = 1}};
	assert_int_equal(futimens(fd, times), 0);
	close(fd);
	assert_fails(stream_read(stream, data, sizeof(data), &err), ERROR_CORRUPT, file);
	assert_fails(source_read_at(source, 0, data, sizeof(data), &err), ERROR_CORRUPT, file);
	assert_int_equal(truncate(file, 5), 0);
	assert_fails(source_read_at(source, 0, data, sizeof(data), &err), ERROR_CORRUPT, file);
	/* By several connections; empty; no file at all. */
	file_write(file, content, LARGE);
	options.connections = 4;
	assert_int_equal(get_with(&options, &err), LARGE);
	file_write(file, content, 0);
	assert_int_equal(get_with(&options, &err), 0);
	snprintf(url, sizeof(url), "file://%s", directory);
	assert_fails(get_with(&options, &err), ERROR_INPUT, directory);
	snprintf(url, sizeof(url), "file://%s/missing", directory);
	assert_fails(get_with(&options, &err), ERROR_NOT_FOUND, "missing");
	free(file);
	directory_remove(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(reads_what_is_there, good_servers),
		cmocka_unit_test_setup(goes_on_where_it_was, good_servers),
		cmocka_unit_test_setup(skips_what_is_there, good_servers),
		cmocka_unit_test_setup(notices_that_it_has_changed, good_servers),
		cmocka_unit_test_setup(believes_no_wrong_part, good_servers),
		cmocka_unit_test_setup(gives_up_in_time, good_servers),
		cmocka_unit_test_setup_teardown(waits_for_the_network, isolated_servers,
						common_servers),
		cmocka_unit_test_setup(uses_the_mirrors, good_servers),
		cmocka_unit_test_setup(reads_by_position, good_servers),
		cmocka_unit_test_setup(reads_by_position_in_threads, good_servers),
		cmocka_unit_test_setup(reads_with_several_connections, good_servers),
		cmocka_unit_test_setup(asks_for_a_token, good_servers),
		cmocka_unit_test_setup(reads_files, good_servers),
	};
	static const char *const proxies[] = {"http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"};
	for (size_t i = 0; i < COUNT(proxies); i++)
		unsetenv(proxies[i]);
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests_name("source", tests, start_servers, stop_servers);
}
