/* How far an action is, in words: see action.h. */
#include "actions/action.h"

#include <stdio.h>
#include <string.h>

#include "platform/clock.h"
#include "platform/text.h"

char *action_progress_text(const struct action_progress *progress, char *out, size_t out_size)
{
	char in[32], done[32], rate[32], left[32], text[300];
	int used = snprintf(text, sizeof(text), "%s", progress->phase);
	if (progress->bytes_in || progress->bytes_out)
		used += snprintf(text + used, sizeof(text) - (size_t)used, ": %s received, %s done",
				 text_bytes(progress->bytes_in, in, sizeof(in)),
				 text_bytes(progress->bytes_out, done, sizeof(done)));
	if (progress->total > 0)
		used += snprintf(text + used, sizeof(text) - (size_t)used, " (%.0f%%)",
				 100.0 * (double)progress->done / (double)progress->total);
	if (progress->rate_bytes_s > 0)
		used += snprintf(text + used, sizeof(text) - (size_t)used, ", %s/s",
				 text_bytes(progress->rate_bytes_s, rate, sizeof(rate)));
	if (progress->left_ms > 0)
		snprintf(text + used, sizeof(text) - (size_t)used, ", left %s",
			 clock_format_duration(progress->left_ms, left, sizeof(left)));
	text_sanitize(text, strlen(text), out, out_size);
	return out;
}
