/*
 * The lines of an answer's header: what is well-formed is kept, anything else is as if it had not
 * come. Declared in http.h; knows nothing of libcurl.
 */
#include <string.h>
#include <strings.h>
#include <time.h>

#include "platform/http.h"
#include "platform/text.h"

const char *http_header_value(const char *line, size_t size, const char *name, size_t *ret_size)
{
	size_t name_size = strlen(name);
	if (size <= name_size || strncasecmp(line, name, name_size) != 0 || line[name_size] != ':')
		return NULL;
	const char *value = line + name_size + 1;
	size_t value_size = size - name_size - 1;
	while (value_size > 0 && (*value == ' ' || *value == '\t')) {
		value++;
		value_size--;
	}
	while (value_size > 0 && (value[value_size - 1] == ' ' || value[value_size - 1] == '\t'))
		value_size--;
	*ret_size = value_size;
	return value;
}

enum error_kind http_status_kind(long status, enum error_kind other)
{
	if (status == 404 || status == 410)
		return ERROR_NOT_FOUND;
	if (status == 401 || status == 403 || status == 407)
		return ERROR_DENIED;
	if (status == 408 || status == 425 || status == 429 || status >= 500)
		return ERROR_NETWORK;
	return other;
}

/* Copies a value of visible ASCII and blanks that fits; "" otherwise. */
static bool keep(const char *value, size_t size, char *out, size_t out_size)
{
	out[0] = '\0';
	if (size >= out_size)
		return false;
	for (size_t i = 0; i < size; i++)
		if (value[i] < 0x20 || value[i] > 0x7e)
			return false;
	memcpy(out, value, size);
	out[size] = '\0';
	return true;
}

/* An IMF-fixdate (RFC 9110, 5.6.7): seconds since 1970, -1 when it is none. */
static int64_t parse_date(const char *text)
{
	struct tm when = {.tm_year = 0};
	const char *end = strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &when);
	return end && *end == '\0' && when.tm_year >= 70 ? (int64_t)timegm(&when) : -1;
}

static void take_etag(struct http_answer *answer, const char *value, size_t size)
{
	char *out = answer->etag;
	answer->etag_strong = false;
	if (!keep(value, size, out, sizeof(answer->etag)))
		return;
	size_t weak = strncmp(out, "W/", 2) == 0 ? 2 : 0;
	bool quoted = size >= weak + 2 && out[weak] == '"' && out[size - 1] == '"';
	if (!quoted || memchr(out + weak + 1, '"', size - weak - 2)) {
		out[0] = '\0';
		return;
	}
	answer->etag_strong = weak == 0;
}

/* Digits at *at, not more than fit into 63 bits; moves on behind them. */
static bool take_number(const char **at, uint64_t *ret_value)
{
	char digits[20];
	size_t count = strspn(*at, "0123456789");
	if (count == 0 || count >= sizeof(digits))
		return false;
	memcpy(digits, *at, count);
	digits[count] = '\0';
	*at += count;
	return text_parse_uint(digits, 10, INT64_MAX, ret_value);
}

/* "bytes FIRST-LAST/TOTAL", TOTAL may be "*"; or "bytes * / TOTAL" without the blanks (RFC 9110,
 * 14.4). */
static bool parse_range(struct http_header *header, const char *text)
{
	if (strncasecmp(text, "bytes ", 6) != 0)
		return false;
	const char *at = text + 6;
	header->range_unsatisfied = *at == '*';
	if (header->range_unsatisfied)
		at++;
	else if (!take_number(&at, &header->range_first) || *at++ != '-' ||
		 !take_number(&at, &header->range_last))
		return false;
	if (*at++ != '/')
		return false;
	if (*at == '*' && !header->range_unsatisfied) {
		at++;
		header->range_total = STREAM_SIZE_UNKNOWN;
	} else if (!take_number(&at, &header->range_total)) {
		return false;
	}
	return *at == '\0' &&
	       (header->range_unsatisfied || (header->range_first <= header->range_last &&
					      header->range_last < header->range_total));
}

static void take_range(struct http_header *header, const char *value, size_t size)
{
	char text[96];
	bool first = header->ranges++ == 0;
	header->range_valid =
		first && keep(value, size, text, sizeof(text)) && parse_range(header, text);
	if (!header->range_valid)
		header->range_unsatisfied = false;
}

/* One, or the same one several times (RFC 9110, 8.6). */
static void take_length(struct http_header *header, const char *value, size_t size)
{
	char text[96];
	if (!keep(value, size, text, sizeof(text)))
		return;
	for (const char *at = text; *at; at += strspn(at, ", \t")) {
		uint64_t length;
		if (!take_number(&at, &length) || (*at != '\0' && !strchr(", \t", *at)))
			return; /* libcurl judges what is no number */
		if (header->length != STREAM_SIZE_UNKNOWN && header->length != length)
			header->lengths_differ = true;
		header->length = length;
	}
}

static void take_retry_after(struct http_header *header, const char *value, size_t size)
{
	char text[40];
	uint64_t seconds;
	if (!keep(value, size, text, sizeof(text)))
		return;
	if (text_parse_uint(text, 10, INT32_MAX, &seconds)) {
		header->answer.retry_after_ms = (int64_t)seconds * 1000;
		return;
	}
	int64_t when = parse_date(text);
	if (when < 0)
		return;
	int64_t now = (int64_t)time(NULL);
	header->answer.retry_after_ms = when > now ? (when - now) * 1000 : 0;
}

static void start(struct http_header *header, const char *line, size_t size)
{
	*header = (struct http_header){
		.answer = {.size_bytes = STREAM_SIZE_UNKNOWN,
			   .total_bytes = STREAM_SIZE_UNKNOWN,
			   .retry_after_ms = -1},
		.http2 = size > 5 && line[5] >= '2' && line[5] <= '9',
		.range_total = STREAM_SIZE_UNKNOWN,
		.length = STREAM_SIZE_UNKNOWN,
		.date_s = -1,
	};
	const char *status = memchr(line, ' ', size);
	if (!status || size - (size_t)(status - line) < 4)
		return;
	long number = 0;
	for (int i = 1; i <= 3; i++) {
		if (status[i] < '0' || status[i] > '9')
			return;
		number = number * 10 + (status[i] - '0');
	}
	header->answer.status = number;
}

static bool contains_word(const char *value, size_t size, const char *word)
{
	char text[64];
	return keep(value, size, text, sizeof(text)) && strcasestr(text, word) != NULL;
}

/* A Last-Modified is only as good as the clock it is measured by: both lines are needed, in either
 * order. */
static void judge_modified(struct http_header *header)
{
	int64_t modified =
		header->answer.last_modified[0] ? parse_date(header->answer.last_modified) : -1;
	header->answer.last_modified_strong =
		modified >= 0 && header->date_s >= 0 && header->date_s - modified >= 1;
}

void http_header_line(struct http_header *header, const char *line, size_t size)
{
	struct http_answer *answer = &header->answer;
	while (size > 0 && (line[size - 1] == '\r' || line[size - 1] == '\n'))
		size--;
	size_t length;
	const char *value;
	if (size == 0) {
		header->complete = true;
	} else if (size >= 5 && strncasecmp(line, "HTTP/", 5) == 0) {
		start(header, line, size);
	} else if ((value = http_header_value(line, size, "transfer-encoding", &length)) != NULL) {
		header->chunked = contains_word(value, length, "chunked");
	} else if ((value = http_header_value(line, size, "content-length", &length)) != NULL) {
		take_length(header, value, length);
	} else if ((value = http_header_value(line, size, "content-encoding", &length)) != NULL) {
		if (header->encoding[0] == '\0')
			keep(value, length, header->encoding, sizeof(header->encoding));
	} else if ((value = http_header_value(line, size, "content-type", &length)) != NULL) {
		text_sanitize(value, length, answer->content_type, sizeof(answer->content_type));
	} else if ((value = http_header_value(line, size, "accept-ranges", &length)) != NULL) {
		answer->accepts_ranges = contains_word(value, length, "bytes");
	} else if ((value = http_header_value(line, size, "etag", &length)) != NULL) {
		take_etag(answer, value, length);
	} else if ((value = http_header_value(line, size, "last-modified", &length)) != NULL) {
		if (keep(value, length, answer->last_modified, sizeof(answer->last_modified)) &&
		    parse_date(answer->last_modified) < 0)
			answer->last_modified[0] = '\0';
		judge_modified(header);
	} else if ((value = http_header_value(line, size, "date", &length)) != NULL) {
		char text[40];
		header->date_s = keep(value, length, text, sizeof(text)) ? parse_date(text) : -1;
		judge_modified(header);
	} else if ((value = http_header_value(line, size, "content-range", &length)) != NULL) {
		take_range(header, value, length);
	} else if ((value = http_header_value(line, size, "retry-after", &length)) != NULL) {
		take_retry_after(header, value, length);
	} else if ((value = http_header_value(line, size, "www-authenticate", &length)) != NULL) {
		if (answer->challenge[0] == '\0')
			keep(value, length, answer->challenge, sizeof(answer->challenge));
	}
}
