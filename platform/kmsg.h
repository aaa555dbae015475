/*
 * The kernel's messages, from /dev/kmsg (Documentation/ABI/testing/dev-kmsg): what the kernel says,
 * and what programs say there before there is a syslog.
 */
#ifndef PLATFORM_KMSG_H
#define PLATFORM_KMSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "platform/buffer.h"
#include "platform/error.h"

enum {
	KMSG_RECORD_MOST = 8192, /* bytes that one read gives at most */
	KMSG_TEXT_SIZE = 4096,
	KMSG_NAME_SIZE = 49
};

struct kmsg_record {
	unsigned severity;
	unsigned facility; /* 0: the kernel */
	uint64_t sequence;
	uint64_t time_us;             /* since the start of the machine */
	char program[KMSG_NAME_SIZE]; /* "kernel", or who says it in front of the text */
	char process[16];             /* its number; "" for none */
	char text[KMSG_TEXT_SIZE];    /* on one line, valid UTF-8; without the program */
};

/* Reads one record as read(2) gives it. False when it is none. */
bool kmsg_parse(const char *data, size_t size, struct kmsg_record *ret_record);

/*
 * Starts a thread that gives every record behind sequence number `after` (0: all there are) to
 * take, and at last those that come. lost: how many were overwritten before they could be read.
 */
struct kmsg;
int kmsg_start(uint64_t after,
	       void (*take)(void *context, struct kmsg_record *record, uint64_t lost),
	       void *context, struct kmsg **ret_kmsg, struct error *err);

/* Ends the thread, after what was there has been read. */
void kmsg_stop(struct kmsg *kmsg);

/* All there is, as lines "[    1.234567] text", as dmesg shows them, added to out up to its cap. */
int kmsg_dump(struct buffer *out, struct error *err);

#endif
