/*
 * The bundle: all that helps to find out why a machine could not be provisioned, in one archive.
 * Logs, the kernel's messages, the settings, disks, network, what the worker was doing; without
 * secrets.
 */
#ifndef AGENT_BUNDLE_H
#define AGENT_BUNDLE_H

#include "actions/action.h"
#include "agent/config.h"
#include "agent/report.h"
#include "platform/buffer.h"
#include "platform/decompress.h"

/* Makes one, compressed with COMPRESSION_GZIP or COMPRESSION_ZSTD, added to out. What a machine
 * does not have is left out and named in about.txt. */
int bundle_make(const struct config *config, enum compression compression, struct buffer *out,
		struct error *err);

/* `tink-worker bundle [-o FILE]`: "-" is standard output. Returns the exit status. */
int bundle_main(const struct config *config, int argc, char *const *argv);

/*
 * After an action that has failed (report says so; else it does nothing): makes one and uploads it
 * to the setting bundle-url, if there is one, within UPLOAD_MOST_MS; a signal to stop ends it. How
 * that went is logged.
 */
void bundle_upload(const struct config *config, const struct action_request *request,
		   const struct report *report);

/* bundle-url with its placeholders replaced, percent-encoded. Allocated. */
char *bundle_url(const char *pattern, const char *id, const char *workflow, const char *action,
		 struct timespec when);

#endif
