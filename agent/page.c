/* What stands where on the status page: see page.h. No file is read here. */
#include "agent/page.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "platform/clock.h"
#include "platform/text.h"

enum {
	LABEL = 1,
	CONTENT = 11,
	ROOMY_ROWS = 34, /* from here on there are blank lines between the parts */
	LETTERS_ROWS = 44,
	LETTERS_HEIGHT = 5,
	LOG_LINE_ROWS = 3,
	IDLE_MS = 3000
};

/* The page while it is drawn: rows from the top are used up. */
struct sheet {
	const struct page *page;
	const struct status *status;
	struct screen *screen;
	unsigned row;
	unsigned width; /* of the content */
	bool roomy;
};

void page_add_line(struct page *page, const char *line)
{
	size_t at = (page->line_start + page->line_count) % PAGE_LINES_MOST;
	if (page->line_count == PAGE_LINES_MOST)
		page->line_start = (page->line_start + 1) % PAGE_LINES_MOST;
	else
		page->line_count++;
	snprintf(page->lines[at], PAGE_LINE_SIZE, "%s", line);
	text_cut_utf8(page->lines[at]);
}

/* "8.0 s", "3m12s", "1h05m": of one width. */
static const char *duration_text(int64_t ms, char *out, size_t out_size)
{
	int64_t s = ms > 0 ? ms / 1000 : 0;
	if (s < 60)
		snprintf(out, out_size, "%" PRId64 ".%" PRId64 " s", s,
			 ms > 0 ? ms % 1000 / 100 : 0);
	else if (s < 3600)
		snprintf(out, out_size, "%" PRId64 "m%02" PRId64 "s", s / 60, s % 60);
	else
		snprintf(out, out_size, "%" PRId64 "h%02" PRId64 "m", s / 3600, s % 3600 / 60);
	return out;
}

static void label(struct sheet *sheet, const char *text)
{
	screen_put(sheet->screen, sheet->row, LABEL, CONTENT - LABEL, SCREEN_LABEL, text);
}

static void rule(struct sheet *sheet, const char *title)
{
	struct screen *screen = sheet->screen;
	screen_fill(screen, sheet->row, 0, screen->columns, SCREEN_DIM, "\u2500");
	screen_format(screen, sheet->row, LABEL, screen->columns, SCREEN_LABEL, " %s ", title);
	sheet->row++;
}

static void draw_title(struct sheet *sheet)
{
	const struct status *status = sheet->status;
	struct screen *screen = sheet->screen;
	struct tm utc;
	char clock[40];
	gmtime_r(&sheet->page->wall.tv_sec, &utc);
	strftime(clock, sizeof(clock), "%Y-%m-%d %H:%M:%S UTC", &utc);
	unsigned clock_at = screen->columns - (unsigned)strlen(clock) - LABEL;
	screen_fill(screen, 0, 0, screen->columns, SCREEN_TITLE, " ");
	screen_format(screen, 0, LABEL, clock_at - 2, SCREEN_TITLE, "tink-worker %s%s%s",
		      TINK_WORKER_VERSION, status->id[0] ? "  \u00b7  " : "", status->id);
	screen_put(screen, 0, clock_at, screen->columns, SCREEN_TITLE, clock);
	sheet->row = sheet->roomy ? 2 : 1;
}

static void draw_machine(struct sheet *sheet)
{
	const struct facts *facts = &sheet->page->facts;
	size_t used = strlen(facts->machine) + strlen(facts->system) + 2;
	label(sheet, "Machine");
	if (facts->system[0] && used <= sheet->width) {
		screen_format(sheet->screen, sheet->row++, CONTENT, sheet->width, SCREEN_NORMAL,
			      "%s, %s", facts->machine, facts->system);
		return;
	}
	screen_put(sheet->screen, sheet->row++, CONTENT, sheet->width, SCREEN_NORMAL,
		   facts->machine);
	if (sheet->screen->rows >= 30)
		screen_put(sheet->screen, sheet->row++, CONTENT, sheet->width, SCREEN_NORMAL,
			   facts->system);
}

static void draw_interface(struct sheet *sheet, const struct facts_interface *interface)
{
	struct screen *screen = sheet->screen;
	unsigned at = CONTENT;
	char link[40];
	screen_put(screen, sheet->row, at, 10, SCREEN_BOLD, interface->name);
	at += strlen(interface->name) < 8 ? 9 : (unsigned)strlen(interface->name) + 1;
	snprintf(link, sizeof(link), "%s%s%s", interface->link ? "link up" : "no link",
		 interface->speed[0] ? ", " : "", interface->speed);
	unsigned taken = screen_put(screen, sheet->row, at, 24,
				    interface->link ? SCREEN_GOOD : SCREEN_DIM, link);
	at += taken < 8 ? 9 : taken + 2;
	if (interface->addresses[0]) {
		at += screen_put(screen, sheet->row, at, sheet->width, SCREEN_NORMAL,
				 interface->addresses) +
		      2;
	} else if (interface->state[0] && interface->link) {
		at += screen_put(screen, sheet->row, at, sheet->width, SCREEN_WARN,
				 interface->state) +
		      2;
	}
	/* Half a MAC address is none. */
	if (at + strlen(interface->mac) < screen->columns)
		screen_put(screen, sheet->row, at, sheet->width, SCREEN_DIM, interface->mac);
	sheet->row++;
}

static void draw_network(struct sheet *sheet)
{
	const struct facts *facts = &sheet->page->facts;
	size_t most = sheet->screen->rows < 30 ? 2 : sheet->roomy ? 8 : 4;
	size_t shown = facts->interface_count <= most ? facts->interface_count : most - 1;
	label(sheet, "Network");
	if (facts->interface_count == 0)
		screen_put(sheet->screen, sheet->row++, CONTENT, sheet->width, SCREEN_WARN,
			   "no wired interface yet");
	for (size_t i = 0; i < shown; i++)
		draw_interface(sheet, &facts->interfaces[i]);
	size_t links = 0;
	for (size_t i = shown; i < facts->interface_count; i++)
		links += facts->interfaces[i].link;
	if (shown < facts->interface_count)
		screen_format(sheet->screen, sheet->row++, CONTENT, sheet->width, SCREEN_DIM,
			      "and %zu more, %zu of them with a link",
			      facts->interface_count - shown, links);
}

static bool has_address(const struct facts *facts)
{
	for (size_t i = 0; i < facts->interface_count; i++)
		if (facts->interfaces[i].addresses[0])
			return true;
	return false;
}

static void draw_server(struct sheet *sheet)
{
	static const char *const words[] = {"asked for work, waiting", "answers",
					    "no answer, trying on"};
	static const enum screen_style styles[] = {SCREEN_WARN, SCREEN_GOOD, SCREEN_BAD};
	const struct status *status = sheet->status;
	struct screen *screen = sheet->screen;
	char since[32];
	label(sheet, "Server");
	if (status->pid == 0 || !status->server[0] || sheet->page->worker_gone) {
		screen_put(screen, sheet->row++, CONTENT, sheet->width, SCREEN_WARN,
			   sheet->page->worker_gone ? "the worker has ended"
			   : status->pid > 0        ? "not asked yet: the worker prepares itself"
			   : has_address(&sheet->page->facts)
				   ? "not asked yet: the worker is about to start"
				   : "not asked yet: waiting for an address");
		return;
	}
	unsigned at =
		CONTENT + 2 +
		screen_put(screen, sheet->row, CONTENT, sheet->width, SCREEN_BOLD, status->server);
	at += 2 + screen_put(screen, sheet->row, at, sheet->width, styles[status->server_state],
			     words[status->server_state]);
	if (status->server_state != STATUS_ANSWERS && status->server_since_ms > 0)
		screen_format(screen, sheet->row, at, sheet->width, SCREEN_DIM, "for %s",
			      duration_text(sheet->page->now_ms - status->server_since_ms, since,
					    sizeof(since)));
	sheet->row++;
	if (status->server_state == STATUS_ERROR)
		sheet->row += screen_wrap(screen, sheet->row, CONTENT, sheet->width,
					  sheet->roomy ? 6 : 2, SCREEN_BAD, status->server_text);
}

static void draw_workflow(struct sheet *sheet)
{
	const struct status *status = sheet->status;
	unsigned at = CONTENT;
	label(sheet, "Workflow");
	if (status->workflow[0])
		at += 2 + screen_put(sheet->screen, sheet->row, at, sheet->width, SCREEN_BOLD,
				     status->workflow);
	else
		screen_put(sheet->screen, sheet->row, at, sheet->width, SCREEN_NORMAL,
			   status->pid ? "none yet" : "-");
	for (size_t i = status->earlier_count; i-- > 0 && at < sheet->screen->columns;)
		at += screen_format(sheet->screen, sheet->row, at, sheet->width, SCREEN_DIM, "%s%s",
				    i + 1 == status->earlier_count ? "before: " : ", ",
				    status->earlier[i]);
	sheet->row++;
}

static bool is_running(const struct status_action *action)
{
	return action->state == STATUS_RUNNING || action->state == STATUS_STARTING;
}

static const struct status_action *last_action(const struct status *status)
{
	return status->action_count > 0 ? &status->actions[status->action_count - 1] : NULL;
}

static void draw_progress(struct sheet *sheet, const struct status_action *action)
{
	const struct action_progress *progress = &action->progress;
	struct screen *screen = sheet->screen;
	char amount[40], rate[40], left[40];
	unsigned at = CONTENT - 1, bar = screen->columns / 4 < 50 ? screen->columns / 4 : 50;
	at += 2 + screen_put(screen, sheet->row, at, 24, SCREEN_LABEL,
			     progress->phase[0] ? progress->phase : "starting");
	if (progress->total > 0) {
		double part = progress->done >= progress->total
				      ? 1
				      : (double)progress->done / (double)progress->total;
		screen_bar(screen, sheet->row, at, bar, progress->done, progress->total);
		at += bar + 1;
		at += 2 +
		      screen_format(screen, sheet->row, at, 5, SCREEN_BOLD, "%3.0f%%", part * 100);
	}
	if (progress->bytes_out > 0)
		at += 2 + screen_put(screen, sheet->row, at, 20, SCREEN_NORMAL,
				     text_bytes(progress->bytes_out, amount, sizeof(amount)));
	if (progress->rate_bytes_s > 0)
		at += 2 + screen_format(screen, sheet->row, at, 20, SCREEN_NORMAL, "%s/s",
					text_bytes(progress->rate_bytes_s, rate, sizeof(rate)));
	if (progress->left_ms >= 1000) {
		duration_text(progress->left_ms / 1000 * 1000, left, sizeof(left));
		/* Tenths of seconds are more than an estimate knows. */
		char *tenths = strstr(left, ".0 s");
		if (tenths)
			snprintf(tenths, 5, " s");
		screen_format(screen, sheet->row, at, 24, SCREEN_NORMAL, "%s left", left);
	}
	sheet->row++;
}

static void draw_action(struct sheet *sheet, const struct status_action *action,
			unsigned name_width)
{
	static const enum screen_style styles[] = {
		[STATUS_STARTING] = SCREEN_WARN, [STATUS_RUNNING] = SCREEN_WARN,
		[STATUS_SUCCESS] = SCREEN_GOOD,  [STATUS_FAILED] = SCREEN_BAD,
		[STATUS_TIMEOUT] = SCREEN_BAD,   [STATUS_STOPPED] = SCREEN_WARN};
	struct screen *screen = sheet->screen;
	bool running = is_running(action);
	char time[32];
	int64_t end_ms = running ? sheet->page->now_ms : action->stop_ms;
	unsigned at = CONTENT - 1;
	screen_put(screen, sheet->row, LABEL, 8, styles[action->state],
		   status_state_name(action->state));
	screen_put(screen, sheet->row, at, name_width, running ? SCREEN_BOLD : SCREEN_NORMAL,
		   action->name);
	at += name_width + 1;
	duration_text(end_ms - action->start_ms, time, sizeof(time));
	screen_format(screen, sheet->row, at, 8, SCREEN_NORMAL, "%8s", time);
	at += 10;
	/* Of a failure the whole reason stands below. */
	const char *image = strrchr(action->image, '/');
	image = image ? image + 1 : action->image;
	if (action->state == STATUS_SUCCESS && action->text[0])
		screen_put(screen, sheet->row, at, screen->columns, SCREEN_NORMAL, action->text);
	else
		screen_put(screen, sheet->row, at, screen->columns, SCREEN_DIM, image);
	sheet->row++;
}

static void draw_actions(struct sheet *sheet, unsigned rows)
{
	const struct status *status = sheet->status;
	const struct status_action *last = last_action(status);
	unsigned bar = last && is_running(last), name_width = 8;
	size_t count = status->action_count, first = 0;
	uint64_t hidden = status->actions_before;
	if (rows < 1 + bar)
		return;
	if (count > rows - bar) {
		/* One row says how many there were. */
		first = count - (rows - bar) + (rows - bar > 1);
		hidden += first;
	}
	if (hidden > 0 && count - first < rows - bar)
		screen_format(sheet->screen, sheet->row++, LABEL, sheet->width, SCREEN_DIM,
			      "%" PRIu64 " actions before these", hidden);
	for (size_t i = first; i < count; i++) {
		unsigned length = (unsigned)strlen(status->actions[i].name);
		if (length > name_width)
			name_width = length;
	}
	unsigned widest = sheet->screen->columns / 3;
	name_width = name_width < widest ? name_width : widest;
	for (size_t i = first; i < count; i++)
		draw_action(sheet, &status->actions[i], name_width);
	if (bar)
		draw_progress(sheet, last);
}

/* Read from the other end of the row of machines. */
static void draw_letters(struct sheet *sheet)
{
	static const char *const letters[LETTERS_HEIGHT] = {
		"#######    ###    ##  ##       ####### ######  ",
		"##        ## ##   ##  ##       ##      ##   ## ",
		"#####    ##   ##  ##  ##       #####   ##    ##",
		"##       #######  ##  ##       ##      ##   ## ",
		"##       ##   ##  ##  #######  ####### ######  "};
	for (unsigned i = 0; i < LETTERS_HEIGHT; i++) {
		for (unsigned at = 0; letters[i][at]; at++)
			if (letters[i][at] == '#')
				screen_fill(sheet->screen, sheet->row, CONTENT - 1 + at, 1,
					    SCREEN_BAD, "\u2588");
		sheet->row++;
	}
	sheet->row++;
}

/* What is to be done about a failure, in a line or two. */
static void help_text(const struct sheet *sheet, char *out, size_t out_size)
{
	const struct status *status = sheet->status;
	const char *log_path = sheet->page->log_path;
	snprintf(out, out_size,
		 "%s`tink-worker bundle` collects what helpers need%s%s%s%s. A new workflow starts "
		 "by itself.",
		 sheet->page->interactive ? "Enter opens a shell here: " : "",
		 log_path ? "; the log: " : "", log_path ? log_path : "",
		 status->syslog[0] ? ", syslog at " : "", status->syslog);
}

static bool has_failed(const struct status *status)
{
	const struct status_action *last = last_action(status);
	return last && (last->state == STATUS_FAILED || last->state == STATUS_TIMEOUT);
}

static unsigned help_rows(const struct sheet *sheet)
{
	char help[512];
	help_text(sheet, help, sizeof(help));
	return screen_wrap(sheet->screen, 0, CONTENT - 1, sheet->width, 0, SCREEN_NORMAL, help);
}

/* The reason in full, as far as `rows` allow; the help below it. */
static void draw_failure(struct sheet *sheet, unsigned rows)
{
	const struct status *status = sheet->status;
	const struct status_action *last = last_action(status);
	struct screen *screen = sheet->screen;
	char help[512];
	unsigned end = sheet->row + rows, below = help_rows(sheet);
	help_text(sheet, help, sizeof(help));
	if (rows < 2)
		return;
	if (screen->rows >= LETTERS_ROWS && rows > LETTERS_HEIGHT + 8 && sheet->page->interactive)
		draw_letters(sheet);
	screen_fill(screen, sheet->row, 0, screen->columns, SCREEN_ALARM, " ");
	screen_format(screen, sheet->row++, LABEL, screen->columns, SCREEN_ALARM, "%s: %s (%s)",
		      status_state_name(last->state), last->name, last->image);
	unsigned room = end - sheet->row;
	unsigned for_help = room > below + 1 ? below : 0;
	sheet->row += screen_wrap(screen, sheet->row, LABEL, screen->columns - 2, room - for_help,
				  SCREEN_BAD, status->reason);
	if (for_help > 0 && sheet->row + for_help < end)
		sheet->row++;
	if (for_help > 0)
		sheet->row += screen_wrap(screen, sheet->row, LABEL, screen->columns - 2, for_help,
					  SCREEN_NORMAL, help);
}

/* What comes next, when that is not an action. */
static void draw_outlook(struct sheet *sheet)
{
	static const char *const words[] = {[AFTER_NOTHING] = "",
					    [AFTER_REBOOT] = "The machine reboots",
					    [AFTER_POWEROFF] = "The machine powers off",
					    [AFTER_RUN] = "The last action runs"};
	const struct status *status = sheet->status;
	const struct status_action *last = last_action(status);
	char time[32];
	int64_t left_ms = status->after_ms - sheet->page->now_ms;
	if (status->after != AFTER_NOTHING && left_ms > 0)
		screen_format(sheet->screen, sheet->row++, CONTENT - 1, sheet->width, SCREEN_GOOD,
			      "%s in %s.", words[status->after],
			      duration_text((left_ms + 999) / 1000 * 1000, time, sizeof(time)));
	else if (status->after != AFTER_NOTHING)
		screen_format(sheet->screen, sheet->row++, CONTENT - 1, sheet->width, SCREEN_GOOD,
			      "%s now.", words[status->after]);
	else if (!last && status->pid > 0)
		screen_put(sheet->screen, sheet->row++, CONTENT - 1, sheet->width, SCREEN_NORMAL,
			   "None yet: waiting for a workflow for this machine.");
	else if (last && last->state == STATUS_SUCCESS &&
		 sheet->page->now_ms > last->stop_ms + IDLE_MS)
		screen_put(sheet->screen, sheet->row++, CONTENT - 1, sheet->width, SCREEN_GOOD,
			   "All actions so far are done; the server is asked for more.");
}

/* A line of the log as it is shown: "HH:MM:SS message" for those that carry a full time. */
static enum screen_style log_line_text(const char *line, char *out, size_t out_size)
{
	const char *end = strchr(line, 'Z');
	snprintf(out, out_size, "%s", line);
	if (strlen(line) < 32 || line[4] != '-' || line[10] != 'T' || !end || end > line + 26 ||
	    end[1] != ' ')
		return strncmp(line, "kernel: ", 8) == 0 ? SCREEN_WARN : SCREEN_NORMAL;
	const char *level = end + 2;
	size_t size = strcspn(level, " ");
	const char *message = level + size + strspn(level + size, " ");
	snprintf(out, out_size, "%.8s %s", line + 11, message);
	if (size == 7 && strncmp(level, "warning", 7) == 0)
		return SCREEN_WARN;
	return size == 5 && strncmp(level, "error", 5) == 0 ? SCREEN_BAD : SCREEN_NORMAL;
}

static unsigned log_line_rows(const struct screen *screen, const char *text)
{
	unsigned rows = 0;
	const char *next = text;
	while (*next && rows < LOG_LINE_ROWS) {
		screen_break(next, screen->columns - 1, &next);
		rows++;
	}
	return rows;
}

/* One line of the log, without its first `skip` rows. */
static void draw_log_line(struct sheet *sheet, const char *text, enum screen_style style,
			  unsigned skip)
{
	char row_text[PAGE_LINE_SIZE];
	const char *next = text;
	for (unsigned row = 0; *next && row < LOG_LINE_ROWS; row++) {
		const char *at = next;
		size_t size = screen_break(at, sheet->screen->columns - 1, &next);
		if (row < skip)
			continue;
		bool cut = *next && row + 1 == LOG_LINE_ROWS;
		snprintf(row_text, sizeof(row_text), "%.*s", (int)size, at);
		screen_put(sheet->screen, sheet->row, 0, sheet->screen->columns - 1, style,
			   row_text);
		if (cut)
			screen_put(sheet->screen, sheet->row, sheet->screen->columns - 5, 4, style,
				   " ...");
		sheet->row++;
	}
}

static void draw_log(struct sheet *sheet, unsigned end)
{
	const struct page *page = sheet->page;
	char text[PAGE_LINE_SIZE + 16];
	unsigned rows = end - sheet->row, needed = 0;
	size_t first = page->line_count;
	screen_scrolls(sheet->screen, sheet->row, rows);
	while (first > 0 && needed < rows) {
		first--;
		log_line_text(page->lines[(page->line_start + first) % PAGE_LINES_MOST], text,
			      sizeof(text));
		needed += log_line_rows(sheet->screen, text);
	}
	unsigned skip = needed > rows ? needed - rows : 0;
	for (size_t i = first; i < page->line_count; i++) {
		enum screen_style style = log_line_text(
			page->lines[(page->line_start + i) % PAGE_LINES_MOST], text, sizeof(text));
		draw_log_line(sheet, text, style, skip);
		skip = 0;
	}
}

static void draw_keys(struct sheet *sheet)
{
	struct screen *screen = sheet->screen;
	unsigned row = screen->rows - 1;
	screen_fill(screen, row, 0, screen->columns, SCREEN_TITLE, " ");
	screen_put(screen, row, LABEL, screen->columns - 2, SCREEN_TITLE,
		   "Enter: root shell   any other key: draw anew");
}

/* The parts whose height varies: actions, and the reason of a failure. The log gets what is left,
 * and at least a few rows. */
static void draw_middle(struct sheet *sheet, unsigned end)
{
	const struct status *status = sheet->status;
	const struct status_action *last = last_action(status);
	unsigned rows = end > sheet->row ? end - sheet->row : 0;
	unsigned wanted = (unsigned)status->action_count + (status->actions_before > 0) +
			  (last && is_running(last));
	if (!has_failed(status)) {
		/* One for the outlook. */
		draw_actions(sheet, wanted < rows - 1 ? wanted : rows - 1);
		draw_outlook(sheet);
		return;
	}
	bool letters = sheet->screen->rows >= LETTERS_ROWS && sheet->page->interactive;
	unsigned failure = 2 + help_rows(sheet) + (letters ? LETTERS_HEIGHT + 3 : 0) +
			   screen_wrap(sheet->screen, 0, LABEL, sheet->screen->columns - 2, 0,
				       SCREEN_NORMAL, status->reason);
	unsigned most = rows > 2 ? rows - 2 : rows;
	failure = failure < most ? failure : most;
	draw_actions(sheet, wanted < rows - failure ? wanted : rows - failure);
	if (sheet->roomy && sheet->row + failure < end)
		sheet->row++;
	draw_failure(sheet, failure);
}

void page_draw(const struct page *page, struct screen *screen)
{
	struct sheet sheet = {.page = page,
			      .status = &page->status,
			      .screen = screen,
			      .width = screen->columns - CONTENT - 1,
			      .roomy = screen->rows >= ROOMY_ROWS};
	unsigned end = screen->rows - (page->interactive ? 1 : 0);
	/* A reason is worth more than the lines around it. */
	unsigned log_rows = sheet.roomy                                      ? screen->rows / 4
			    : screen->rows < 16 || has_failed(&page->status) ? 2
									     : 4;
	draw_title(&sheet);
	draw_machine(&sheet);
	draw_network(&sheet);
	draw_server(&sheet);
	draw_workflow(&sheet);
	sheet.row += sheet.roomy;
	unsigned needed = sheet.row + log_rows + 4;
	if (needed <= end) {
		rule(&sheet, "Actions");
		draw_middle(&sheet, end - log_rows - 1 - sheet.roomy);
	}
	sheet.row += sheet.roomy;
	if (sheet.row + 1 < end) {
		rule(&sheet, "Log");
		draw_log(&sheet, end);
	}
	if (page->interactive)
		draw_keys(&sheet);
}
