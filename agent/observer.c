/* The two observers: see observer.h. */
#include "agent/observer.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/teller.h"
#include "platform/log.h"

static void to_log(void *context, const char *line)
{
	const struct action_request *request = context;
	if (line[0])
		log_output(request->name, request->workflow_id, line);
}

struct run_observer observer_log(const struct action_request *request, struct teller *teller)
{
	return (struct run_observer){.on_output = to_log,
				     .context = (void *)(uintptr_t)request,
				     .on_progress = teller_progress,
				     .progress_context = teller};
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
	char text[200];
	clear_bar();
	if (progress->total > 0) {
		char bar[WIDTH + 1];
		uint64_t done = progress->done < progress->total ? progress->done : progress->total;
		size_t marks = (size_t)((double)done * WIDTH / (double)progress->total);
		memset(bar, '.', WIDTH);
		memset(bar, '#', marks);
		bar[WIDTH] = '\0';
		fprintf(stderr, "[%s] ", bar);
	}
	fputs(action_progress_text(progress, text, sizeof(text)), stderr);
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
