/* Records of /dev/kmsg: see kmsg.h. */
#include "platform/kmsg.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "platform/cleanup.h"
#include "platform/text.h"

/* Digits up to one of the characters in ends, which *at then stands behind. */
static bool take_number(const char **at, const char *end, const char *ends, uint64_t *ret_number)
{
	uint64_t number = 0;
	const char *start = *at;
	for (; *at < end && isdigit((unsigned char)**at); ++*at) {
		if (number > UINT64_MAX / 10 - 1)
			return false;
		number = number * 10 + (uint64_t)(**at - '0');
	}
	if (*at == start || *at == end || !strchr(ends, **at) || **at == '\0')
		return false;
	++*at;
	*ret_number = number;
	return true;
}

/* The kernel writes bytes outside printable ASCII, and '\\', as \xNN. */
static size_t unescape(const char *from, size_t size, char *out)
{
	char *to = out;
	for (const char *end = from + size; from < end;) {
		int high = -1, low = -1;
		if (end - from >= 4 && from[0] == '\\' && from[1] == 'x') {
			high = text_hex_value(from[2]);
			low = text_hex_value(from[3]);
		}
		if (high >= 0 && low >= 0) {
			*to++ = (char)(high * 16 + low);
			from += 4;
		} else {
			*to++ = *from++;
		}
	}
	return (size_t)(to - out);
}

/* "systemd-udevd[123]: text" and "init: text" of what is not the kernel's. */
static void take_program(struct kmsg_record *record)
{
	char *text = record->text;
	size_t size = strcspn(text, "[: ");
	size_t digits = text[size] == '[' ? strspn(text + size + 1, "0123456789") : 0;
	char *rest = text + size + (digits ? digits + 1 : 0);
	if (size == 0 || size >= sizeof(record->program) || digits >= sizeof(record->process) ||
	    (digits && *rest++ != ']') || strncmp(rest, ": ", 2) != 0)
		return;
	memcpy(record->program, text, size);
	record->program[size] = '\0';
	memcpy(record->process, text + size + 1, digits);
	record->process[digits] = '\0';
	memmove(text, rest + 2, strlen(rest + 2) + 1);
}

bool kmsg_parse(const char *data, size_t size, struct kmsg_record *ret_record)
{
	const char *at = data, *end = data + size;
	char text[KMSG_RECORD_MOST];
	uint64_t priority;
	if (size > sizeof(text) || !take_number(&at, end, ",", &priority) || priority > 1023 ||
	    !take_number(&at, end, ",", &ret_record->sequence) ||
	    !take_number(&at, end, ",;", &ret_record->time_us))
		return false;
	/* Flags, and fields that a later kernel may add. */
	if (at[-1] == ',') {
		at = memchr(at, ';', (size_t)(end - at));
		if (!at)
			return false;
		at++;
	}
	/* Behind the line stand " KEY=value" lines for machines. */
	const char *line_end = memchr(at, '\n', (size_t)(end - at));
	size_t used = unescape(at, (size_t)((line_end ? line_end : end) - at), text);
	ret_record->severity = (unsigned)priority % 8;
	ret_record->facility = (unsigned)priority / 8;
	text_sanitize(text, used, ret_record->text, sizeof(ret_record->text));
	for (char *p = ret_record->text; *p; p++)
		if (*p == '\n')
			*p = ' ';
	snprintf(ret_record->program, sizeof(ret_record->program), "kernel");
	ret_record->process[0] = '\0';
	if (ret_record->facility != 0)
		take_program(ret_record);
	return true;
}

struct kmsg {
	int fd, stop_fd;
	uint64_t next; /* the sequence number that is to come */
	void (*take)(void *context, struct kmsg_record *record, uint64_t lost);
	void *context;
	pthread_t thread;
};

/* Reads what is there. False: it cannot be read any more. */
static bool read_records(struct kmsg *kmsg)
{
	char data[KMSG_RECORD_MOST];
	struct kmsg_record record;
	for (;;) {
		ssize_t got = read(kmsg->fd, data, sizeof(data));
		if (got < 0 &&
		    (errno == EINTR || errno == EPIPE)) /* overwritten: the next is there */
			continue;
		if (got <= 0)
			return got < 0 && errno == EAGAIN;
		if (!kmsg_parse(data, (size_t)got, &record) || record.sequence < kmsg->next)
			continue;
		uint64_t lost = kmsg->next > 0 ? record.sequence - kmsg->next : 0;
		kmsg->next = record.sequence + 1;
		kmsg->take(kmsg->context, &record, lost);
	}
}

static void *run(void *argument)
{
	struct kmsg *kmsg = argument;
	struct pollfd fds[] = {{.fd = kmsg->fd, .events = POLLIN},
			       {.fd = kmsg->stop_fd, .events = POLLIN}};
	bool readable = true;
	do {
		poll(fds, 2, -1);
		readable = read_records(kmsg);
	} while (readable && !fds[1].revents);
	return NULL;
}

static void release(struct kmsg *kmsg)
{
	cleanup_close(&kmsg->fd);
	cleanup_close(&kmsg->stop_fd);
	free(kmsg);
}

int kmsg_start(uint64_t after,
	       void (*take)(void *context, struct kmsg_record *record, uint64_t lost),
	       void *context, struct kmsg **ret_kmsg, struct error *err)
{
	struct kmsg *kmsg = calloc(1, sizeof(*kmsg));
	if (!kmsg)
		abort();
	*kmsg = (struct kmsg){.fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC),
			      .stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
			      .next = after > 0 ? after + 1 : 0,
			      .take = take,
			      .context = context};
	int errnum = kmsg->fd < 0 || kmsg->stop_fd < 0 ? errno : 0;
	/* A record and what is made of it, on musl's small stacks. */
	pthread_attr_t attributes;
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 256 << 10);
	if (errnum == 0)
		errnum = pthread_create(&kmsg->thread, &attributes, run, kmsg);
	pthread_attr_destroy(&attributes);
	if (errnum != 0) {
		error_errno(err, errnum, "read /dev/kmsg");
		release(kmsg);
		return -1;
	}
	*ret_kmsg = kmsg;
	return 0;
}

void kmsg_stop(struct kmsg *kmsg)
{
	eventfd_write(kmsg->stop_fd, 1);
	pthread_join(kmsg->thread, NULL);
	release(kmsg);
}

struct dump {
	struct buffer *out;
	struct error *err;
	int result;
};

static void dump_record(void *context, struct kmsg_record *record, uint64_t lost)
{
	struct dump *dump = context;
	char head[128];
	(void)lost;
	bool named = record->facility != 0 && strcmp(record->program, "kernel") != 0;
	snprintf(head, sizeof(head), "[%5" PRIu64 ".%06" PRIu64 "] %s%s", record->time_us / 1000000,
		 record->time_us % 1000000, named ? record->program : "", named ? ": " : "");
	if (dump->result == 0 &&
	    (buffer_add(dump->out, head, strlen(head), dump->err) < 0 ||
	     buffer_add(dump->out, record->text, strlen(record->text), dump->err) < 0 ||
	     buffer_add(dump->out, "\n", 1, dump->err) < 0))
		dump->result = -1;
}

int kmsg_dump(struct buffer *out, struct error *err)
{
	struct dump dump = {.out = out, .err = err};
	struct kmsg kmsg = {.take = dump_record, .context = &dump};
	auto_close int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return error_sys(err, "open /dev/kmsg");
	kmsg.fd = fd;
	if (!read_records(&kmsg))
		return error_sys(err, "read /dev/kmsg");
	return dump.result;
}
