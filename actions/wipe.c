/*
 * wipe: erases a disk by the best way that it has, and reads whether it is gone. The ways and their
 * order are those of platform/wipe.h.
 */
#include "platform/wipe.h"

#include <stdio.h>
#include <string.h>

#include "actions/action.h"
#include "actions/progress.h"
#include "platform/clock.h"
#include "platform/disk_select.h"
#include "platform/log.h"
#include "platform/text.h"

struct wipe {
	const char *device;
	const char *mode;
	const char *verify;
	const char *expect_serial;
	const char *expect_size;
	uint64_t progress_interval_s;
};

static const struct param params[] = {
	{"DEST_DISK", PARAM_DEVICE, PARAM_AT(struct wipe, device), .flags = PARAM_REQUIRED,
	 .doc = "the disk (or partition) to erase; not in use, not shared"},
	{"MODE", PARAM_CHOICE, PARAM_AT(struct wipe, mode), .fallback = "auto",
	 .choices = "auto|sanitize|format|secure-erase|discard|zero|signatures",
	 .doc = "how: NVMe sanitize, NVMe format, ATA secure erase, discard, zeros written; auto: "
		"the first of these that works; signatures: only what says what is on it"},
	{"VERIFY", PARAM_CHOICE, PARAM_AT(struct wipe, verify), .fallback = "samples",
	 .choices = "samples|full",
	 .doc = "what is read afterwards: both ends and 62 places, or everything, which must read "
		"as zeros"},
	{"EXPECT_SERIAL", PARAM_TEXT, PARAM_AT(struct wipe, expect_serial),
	 .doc = "the serial number that the disk must have"},
	{"EXPECT_SIZE", PARAM_TEXT, PARAM_AT(struct wipe, expect_size),
	 .doc = "the size that the disk must have: 480G, >=1T, <2TiB"},
	{"PROGRESS_INTERVAL_SECONDS", PARAM_UINT, PARAM_AT(struct wipe, progress_interval_s),
	 .fallback = "10", .min = 1, .max = 3600,
	 .doc = "pause between two lines of progress in the log"},
	{.name = NULL},
};

enum {
	NODE_WAIT_MS = 15000
};

static void tell(void *context, struct action_progress *progress)
{
	struct erase_progress *erase = context;
	progress->total = atomic_load(&erase->total);
	progress->done = atomic_load(&erase->done);
	if (progress->done > progress->total)
		progress->done = progress->total;
}

static void enter(void *context, const char *phase)
{
	progress_phase(context, phase);
}

static int wipe_open_disk(struct action_context *context, const struct disk *disk,
			  struct wipe_result *result, struct error *err)
{
	const struct wipe *wipe = context->params;
	struct erase_progress erase = {0};
	auto_progress struct progress *progress = NULL;
	if (progress_start(context, wipe->progress_interval_s, "starting", tell, &erase, &progress,
			   err) < 0)
		return -1;
	const struct wipe_options options = {.mode = wipe->mode,
					     .full = strcmp(wipe->verify, "full") == 0,
					     .phase = enter,
					     .context = progress,
					     .progress = &erase};
	return wipe_disk(disk, &options, result, err);
}

static int run(struct action_context *context, struct error *err)
{
	const struct wipe *wipe = context->params;
	auto_disk struct disk disk = {.fd = -1};
	struct wipe_result result;
	char description[300], duration[32];
	unsigned partitions;
	int64_t start = clock_monotonic_ms();
	if (disk_open(wipe->device, &disk, err) < 0 ||
	    disk_expect(&disk, wipe->expect_serial, wipe->expect_size, err) < 0)
		return -1;
	disk_describe(&disk, description, sizeof(description));
	log_info("wiping", "disk", description, "mode", wipe->mode);
	if (wipe_open_disk(context, &disk, &result, err) < 0 ||
	    disk_reread_partitions(&disk, NODE_WAIT_MS, &partitions, err) < 0 ||
	    disk_finish(&disk, err) < 0)
		return -1;
	action_summary(
		context, "wiped %s by %s in %s; %s%s%s", description, result.used,
		clock_format_duration(clock_monotonic_ms() - start, duration, sizeof(duration)),
		result.read, result.skipped[0] ? "; not used: " : "", result.skipped);
	text_cut_utf8(context->summary);
	return 0;
}

const struct action action_wipe;
const struct action action_wipe = {
	.name = "wipe",
	.summary = "Erase a disk by the best way that it has, and read whether it is gone.",
	.params = params,
	.params_size = sizeof(struct wipe),
	.run = run,
};
