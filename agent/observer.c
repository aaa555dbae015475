/* The two observers: see observer.h. */
#include "agent/observer.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "platform/clock.h"
#include "platform/log.h"
#include "platform/text.h"

static void to_log(void *context, const char *line)
{
	const struct action_request *request = context;
	if (line[0])
		log_output(request->name, line);
}

struct run_observer observer_log(const struct action_request *request)
{
	return (struct run_observer){.on_output = to_log, .context = (void *)(uintptr_t)request};
}

static bool bar_shown;

static void clear_bar(void)
{
	if (bar_shown)
		fputs("\r\033[K", stderr);
	bar_shown = false;
}

static void print_output(void *context, const char *line)
{
	(void)context;
	clear_bar();
	fprintf(stderr, "%s\n", line);
}

static void print_progress(void *context, const struct action_progress *progress)
{
	enum {
		WIDTH = 30
	};
	(void)context;
	if (!isatty(STDERR_FILENO))
		return;
	char in[32], out[32], rate[32], left[32], bar[WIDTH + 1] = "";
	int percent = -1;
	if (progress->total > 0) {
		percent = (int)(100.0 * (double)progress->done / (double)progress->total);
		memset(bar, '.', WIDTH);
		memset(bar, '#', (size_t)(percent < 100 ? percent : 100) * WIDTH / 100);
		bar[WIDTH] = '\0';
	}
	clear_bar();
	fprintf(stderr, "%s", progress->phase);
	if (percent >= 0)
		fprintf(stderr, " [%s] %d%%", bar, percent);
	if (progress->bytes_in || progress->bytes_out)
		fprintf(stderr, " %s received, %s done",
			text_bytes(progress->bytes_in, in, sizeof(in)),
			text_bytes(progress->bytes_out, out, sizeof(out)));
	if (progress->rate_bytes_s > 0)
		fprintf(stderr, ", %s/s", text_bytes(progress->rate_bytes_s, rate, sizeof(rate)));
	if (progress->left_ms >= 1000)
		fprintf(stderr, ", %s left",
			clock_format_duration(progress->left_ms / 1000 * 1000, left, sizeof(left)));
	fflush(stderr);
	bar_shown = true;
}

struct run_observer observer_terminal(void)
{
	bar_shown = false;
	return (struct run_observer){.on_output = print_output, .on_progress = print_progress};
}

void observer_terminal_end(void)
{
	clear_bar();
}
