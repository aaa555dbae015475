/* Where the status page comes from and goes to: see page.h. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/page.h"
#include "platform/clock.h"
#include "platform/console.h"
#include "platform/text.h"

enum {
	NETWORK_EVERY_MS = 5000,
	NETWORK_FIRST_MS = 1000, /* as long as there is no address */
	LOG_TAIL = 16384,
	STATUS_ROWS = 48,
	STATUS_COLUMNS = 100
};

#define LOG_PATH "/run/tink-worker/log"

/* Where a page is fed from. */
struct source {
	struct page page;
	const char *path;        /* of the status file */
	struct timespec changed; /* the status file, when it was last read */
	ino_t inode;
	int64_t network_ms; /* when it was last looked at */
};

/* Whether it was another one than before. */
static bool read_status(struct source *source)
{
	struct stat status;
	struct error ignored;
	auto_buffer struct buffer text = {.cap = STATUS_FILE_MOST};
	if (stat(source->path, &status) < 0)
		return false;
	if (status.st_ino == source->inode && status.st_mtim.tv_sec == source->changed.tv_sec &&
	    status.st_mtim.tv_nsec == source->changed.tv_nsec)
		return false;
	source->inode = status.st_ino;
	source->changed = status.st_mtim;
	if (buffer_read_file(&text, source->path, &ignored) < 0)
		return false;
	status_parse((const char *)text.data, text.size, &source->page.status);
	return true;
}

/* A worker that was killed does not say what became of its action; another would stop it. */
static void stop_actions(struct page *page)
{
	for (size_t i = 0; i < page->status.action_count; i++) {
		struct status_action *action = &page->status.actions[i];
		if (action->state != STATUS_RUNNING && action->state != STATUS_STARTING)
			continue;
		action->state = STATUS_STOPPED;
		action->stop_ms = page->now_ms;
	}
}

static bool look(void *context)
{
	struct source *source = context;
	struct page *page = &source->page;
	bool changed = read_status(source);
	page->now_ms = clock_monotonic_ms();
	page->wall = clock_wall();
	bool gone = page->status.pid > 0 && kill(page->status.pid, 0) < 0 && errno == ESRCH;
	changed |= gone != page->worker_gone;
	page->worker_gone = gone;
	if (gone)
		stop_actions(page);
	/* In the initramfs everybody's words are in one place. */
	page->log_path = access(LOG_PATH, R_OK) == 0 ? LOG_PATH
			 : page->status.log[0]       ? page->status.log
						     : NULL;
	bool up = page->facts.interface_count > 0 && page->facts.interfaces[0].addresses[0];
	if (page->now_ms >= source->network_ms + (up ? NETWORK_EVERY_MS : NETWORK_FIRST_MS)) {
		facts_network(&page->facts);
		source->network_ms = page->now_ms;
	}
	/* The machine's memory and modules are there from the start; what DMI says may not be. */
	if (page->facts.system[0] == '\0')
		facts_machine(&page->facts);
	return changed;
}

static void take_line(void *context, const char *line)
{
	struct source *source = context;
	if (line[0])
		page_add_line(&source->page, line);
}

static void draw(void *context, struct screen *screen)
{
	struct source *source = context;
	page_draw(&source->page, screen);
}

static void read_log(struct source *source)
{
	static char raw[LOG_TAIL + 1], clean[PAGE_LINE_SIZE];
	const char *path = source->page.log_path ? source->page.log_path : LOG_PATH;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	off_t size = lseek(fd, 0, SEEK_END);
	off_t from = size > LOG_TAIL ? size - LOG_TAIL : 0;
	ssize_t got = pread(fd, raw, LOG_TAIL, from);
	close(fd);
	raw[got > 0 ? got : 0] = '\0';
	/* The first line is cut when something stands before it. */
	char *at = from > 0 ? strchr(raw, '\n') : raw;
	while (at && *at) {
		at += *at == '\n';
		size_t length = strcspn(at, "\n");
		text_sanitize(at, length, clean, sizeof(clean));
		take_line(source, clean);
		at += length;
	}
}

int page_console_main(void)
{
	static struct source source = {.page = {.interactive = true}, .path = STATUS_PATH};
	const struct console_page page = {
		.context = &source, .line = take_line, .look = look, .draw = draw};
	struct error err;
	/* Started again in the middle of a machine's life: the lines before are there already. */
	if (access(STATUS_PATH, F_OK) == 0)
		read_log(&source);
	if (console_copy(STDIN_FILENO, &page, &err) == 0)
		return 0;
	fprintf(stderr, "tink-worker: %s\n", err.text);
	return 1;
}

int page_status_main(const char *path, FILE *out)
{
	static struct source source;
	static char text[1 << 18];
	struct screen screen;
	struct winsize size = {.ws_row = 0};
	const char *term = getenv("TERM");
	bool terminal = ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
	const char *words = getenv("LC_ALL");
	words = words && words[0] ? words : getenv("LC_CTYPE");
	words = words && words[0] ? words : getenv("LANG");
	bool utf8 = words && (strcasestr(words, "utf-8") || strcasestr(words, "utf8"));
	source.path = path;
	look(&source);
	read_log(&source);
	screen_open(&screen, terminal && size.ws_row > 2 ? size.ws_row - 1u : STATUS_ROWS,
		    terminal ? size.ws_col : STATUS_COLUMNS, utf8);
	page_draw(&source.page, &screen);
	screen_text(&screen, terminal && term && strcmp(term, "dumb") != 0, text, sizeof(text));
	screen_close(&screen);
	fputs(text, out);
	if (source.page.status.pid > 0)
		return 0;
	fprintf(out, "\nNo worker has left its status in %s.\n", path);
	return 1;
}
