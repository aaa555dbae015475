/*
 * The log in files: NAME.log and, when that is full, NAME.log.1 with what came before. Both
 * together hold at most twice the limit: the folder is memory on the machines this is made for.
 */
#ifndef PLATFORM_LOG_FILE_H
#define PLATFORM_LOG_FILE_H

#include <stdint.h>

#include "platform/error.h"
#include "platform/log.h"

struct log_file;

/*
 * Opens (and makes) the folder and the file, to be written on at its end. Only root reads it.
 * ERROR_BUSY: another process writes there.
 */
int log_file_open(const char *folder, const char *name, uint64_t limit_bytes,
		  struct log_file **ret_file, struct error *err);

/* For log_add_sink(); context is the file. Lines that cannot be written are dropped. */
void log_file_take(void *context, const struct log_event *event);

void log_file_close(struct log_file *file);

#endif
