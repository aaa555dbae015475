/* Syslog messages as they go out: see syslog.h. */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "platform/clock.h"
#include "platform/syslog.h"
#include "platform/text.h"

/*
 * The lengths of names: RFC 5424, 6; of a tag: RFC 3164, 4.1.3. CLOCK_KNOWN_S: 2020; before that
 * the clock has not been set, and RFC 5424, 6.2.3, wants none then.
 */
enum {
	HOST_MOST = 255,
	APP_MOST = 48,
	PROCESS_MOST = 128,
	KIND_MOST = 32,
	TAG_MOST = 32,
	VALUE_MOST = 128,
	HEADER_SIZE = 2048,
	CLOCK_KNOWN_S = 1577836800
};

/* Printable ASCII without blanks, cut to most; "-" for none. */
static const char *name_of(const char *text, size_t most, char *out)
{
	size_t used = 0;
	for (; text && *text && used < most; text++)
		out[used++] = isgraph((unsigned char)*text) && isascii((unsigned char)*text) ? *text
											     : '-';
	if (used == 0)
		out[used++] = '-';
	out[used] = '\0';
	return out;
}

/* What a tag is made of: receivers end it at anything else. */
static const char *tag_of(const char *text, char *out)
{
	name_of(text, TAG_MOST, out);
	for (char *p = out; *p; p++)
		if (!isalnum((unsigned char)*p) && !strchr("-_./", *p))
			*p = '-';
	return out;
}

struct header {
	char text[HEADER_SIZE];
	size_t used;
};

static void put(struct header *header, const char *text, size_t size)
{
	size_t room = sizeof(header->text) - header->used;
	if (size <= room) {
		memcpy(header->text + header->used, text, size);
		header->used += size;
	}
}

static void put_text(struct header *header, const char *text)
{
	put(header, text, strlen(text));
}

/* PARAM-NAME="PARAM-VALUE", RFC 5424, 6.3.3. */
static void put_param(struct header *header, const char *name, const char *value)
{
	if (!value || !value[0])
		return;
	char clean[VALUE_MOST + 1];
	text_sanitize(value, strlen(value), clean, sizeof(clean));
	put_text(header, " ");
	put_text(header, name);
	put_text(header, "=\"");
	for (const char *p = clean; *p; p++) {
		if (strchr("\"\\]", *p))
			put_text(header, "\\");
		put(header, *p == '\n' ? " " : p, 1);
	}
	put_text(header, "\"");
}

/* 32473 is the enterprise number for those who have none (RFC 5612). */
static void put_data(struct header *header, const struct syslog_message *message)
{
	const char *const all[] = {message->id, message->workflow, message->action, message->state};
	bool any = false;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		any = any || (all[i] && all[i][0]);
	if (!any) {
		put_text(header, "-");
		return;
	}
	put_text(header, "[tinkerbell@32473");
	put_param(header, "id", message->id);
	put_param(header, "workflow", message->workflow);
	put_param(header, "action", message->action);
	put_param(header, "state", message->state);
	put_text(header, "]");
}

static void form_5424(struct header *header, const struct syslog_message *message)
{
	char time[40], host[HOST_MOST + 1], app[APP_MOST + 1], process[PROCESS_MOST + 1],
		kind[KIND_MOST + 1], fields[HEADER_SIZE];
	clock_format_utc(message->time, time, sizeof(time));
	snprintf(fields, sizeof(fields), "1 %s %s %s %s %s ",
		 message->time.tv_sec < CLOCK_KNOWN_S ? "-" : time,
		 name_of(message->host, HOST_MOST, host), name_of(message->app, APP_MOST, app),
		 name_of(message->process, PROCESS_MOST, process),
		 name_of(message->kind, KIND_MOST, kind));
	put_text(header, fields);
	put_data(header, message);
	put_text(header, " ");
}

static void form_3164(struct header *header, const struct syslog_target *target,
		      const struct syslog_message *message)
{
	static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
					     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
	char host[HOST_MOST + 1], tag[APP_MOST + 1], process[PROCESS_MOST + 1], fields[HEADER_SIZE];
	struct tm when;
	if (!localtime_r(&message->time.tv_sec, &when))
		when = (struct tm){.tm_mday = 1};
	bool named = target->names_host && message->host && message->host[0];
	bool numbered = message->process && message->process[0];
	snprintf(fields, sizeof(fields),
		 "%s %2d %02d:%02d:%02d %s%s%s%s%s%s: ", months[when.tm_mon % 12], when.tm_mday,
		 when.tm_hour, when.tm_min, when.tm_sec,
		 named ? name_of(message->host, HOST_MOST, host) : "", named ? " " : "",
		 tag_of(message->app, tag), numbered ? "[" : "",
		 numbered ? name_of(message->process, PROCESS_MOST, process) : "",
		 numbered ? "]" : "");
	put_text(header, fields);
}

/* As much of text as fits into room, not ending within a character. */
static size_t part_size(const char *text, size_t size, size_t room)
{
	if (size <= room)
		return size;
	size_t fits = room;
	while (fits > 0 && ((unsigned char)text[fits] & 0xc0) == 0x80)
		fits--;
	return fits > 0 ? fits : room;
}

static int add_message(const struct syslog_target *target, const struct header *header,
		       const char *text, size_t size, struct buffer *out, struct error *err)
{
	char count[24];
	bool counted = target->transport != SYSLOG_UDP && !target->newline;
	snprintf(count, sizeof(count), "%zu ", header->used + size);
	if ((counted && buffer_add(out, count, strlen(count), err) < 0) ||
	    buffer_add(out, header->text, header->used, err) < 0)
		return -1;
	size_t from = out->size;
	if (buffer_add(out, text, size, err) < 0)
		return -1;
	/* A line end would end the message for receivers by newline, and be escaped by others. */
	for (uint8_t *p = out->data + from; p < out->data + out->size; p++)
		if (*p < 0x20 && *p != '\t')
			*p = ' ';
	if (target->transport != SYSLOG_UDP && target->newline)
		return buffer_add(out, "\n", 1, err);
	return 0;
}

int syslog_form(const struct syslog_target *target, const struct syslog_message *message,
		struct buffer *out, size_t ret_ends[SYSLOG_PARTS_MOST], size_t *ret_count,
		struct error *err)
{
	struct header header = {.used = 0};
	char priority[16];
	unsigned facility = message->has_facility ? message->facility : target->facility;
	snprintf(priority, sizeof(priority), "<%u>", facility % 24 * 8 + message->severity % 8);
	put_text(&header, priority);
	if (target->rfc5424)
		form_5424(&header, message);
	else
		form_3164(&header, target, message);
	/* A header takes all of a small limit only when somebody has names of hundreds of bytes. */
	size_t room =
		target->most_bytes > header.used + 100 ? target->most_bytes - header.used : 100;
	const char *text = message->text;
	size_t left = message->text_size;
	*ret_count = 0;
	do {
		size_t size = part_size(text, left, room);
		if (add_message(target, &header, text, size, out, err) < 0)
			return -1;
		ret_ends[(*ret_count)++] = out->size;
		text += size;
		left -= size;
	} while (left > 0 && *ret_count < SYSLOG_PARTS_MOST);
	return 0;
}
