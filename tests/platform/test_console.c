/*
 * Consoles made of pseudo-terminals below a root of the test's own: what each shows, who gets the
 * keys, and that nobody is held up. The copying runs in a process beside the test.
 */
#include "tests/unit.h"

#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <termios.h>

#include "platform/clock.h"
#include "platform/console.h"
#include "platform/sysfs.h"

enum {
	PATIENCE_MS = 20000
};

/* One end of everything. */
static struct bench {
	char *root;
	int masters[3]; /* tty1, ttyS0, ttyS1 */
	int slaves[3];
	int lines; /* what is said goes in here */
	pid_t pid;
	char seen[3][65536]; /* what each console was sent */
	size_t used[3];
} bench;

static const char *const names[] = {"tty1", "ttyS0", "ttyS1"};
enum {
	TTY1,
	TTYS0,
	TTYS1
};

static void make_folder(const char *path)
{
	char *whole = path_in(bench.root, path);
	assert_int_equal(mkdir(whole, 0755), 0);
	free(whole);
}

static void make_console(int index)
{
	char slave[64], name[64];
	struct winsize size = {.ws_row = 25, .ws_col = 80};
	assert_int_equal(openpty(&bench.masters[index], &bench.slaves[index], slave, NULL, &size),
			 0);
	fcntl(bench.masters[index], F_SETFD, FD_CLOEXEC);
	snprintf(name, sizeof(name), "dev/%s", names[index]);
	char *link = path_in(bench.root, name);
	assert_int_equal(symlink(slave, link), 0);
	free(link);
	snprintf(name, sizeof(name), "sys/class/tty/%s", names[index]);
	make_folder(name);
	snprintf(name, sizeof(name), "sys/class/tty/%s/type", names[index]);
	char *type = path_in(bench.root, name);
	file_write(type, "4\n", 2);
	free(type);
}

static unsigned lines_said;

static void on_line(void *context, const char *line)
{
	(void)context;
	(void)line;
	lines_said++;
}

static bool look(void *context)
{
	(void)context;
	return false;
}

static void draw(void *context, struct screen *screen)
{
	(void)context;
	screen_format(screen, 0, 0, 80, SCREEN_TITLE, "PAGE of %ux%u, %u lines, %s", screen->rows,
		      screen->columns, lines_said, screen->utf8 ? "\u2588" : "ascii");
}

static void start(const struct console_page *page)
{
	int ends[2];
	assert_int_equal(pipe(ends), 0);
	bench.pid = fork();
	if (bench.pid == 0) {
		struct error err;
		close(ends[1]);
		for (int i = 0; i < 3; i++)
			close(bench.masters[i]);
		_exit(console_copy(ends[0], page, &err) == 0 ? 0 : 1);
	}
	close(ends[0]);
	bench.lines = ends[1];
}

static const struct console_page page = {.line = on_line, .look = look, .draw = draw};

static int prepare(void **state)
{
	static const char *const folders[] = {"dev",
					      "sys",
					      "sys/class",
					      "sys/class/tty",
					      "run",
					      "run/tink-worker",
					      "run/tink-worker/shell"};
	(void)state;
	bench = (struct bench){.root = directory_make()};
	for (size_t i = 0; i < COUNT(folders); i++)
		make_folder(folders[i]);
	/* A place for a port that is not there. */
	make_folder("sys/class/tty/ttyS2");
	char *type = path_in(bench.root, "sys/class/tty/ttyS2/type");
	file_write(type, "0\n", 2);
	free(type);
	for (int i = 0; i < 3; i++)
		make_console(i);
	sysfs_set_root(bench.root);
	setenv("TERM", "linux", 1);
	return 0;
}

static int clean_up(void **state)
{
	(void)state;
	if (bench.pid > 0) {
		kill(bench.pid, SIGKILL);
		waitpid(bench.pid, NULL, 0);
		close(bench.lines);
	}
	for (int i = 0; i < 3; i++) {
		close(bench.masters[i]);
		close(bench.slaves[i]);
	}
	sysfs_set_root("");
	directory_remove(bench.root);
	return 0;
}

/* Takes what the consoles have sent within a moment. */
static void listen_a_moment(int timeout_ms)
{
	struct pollfd fds[3];
	for (int i = 0; i < 3; i++)
		fds[i] = (struct pollfd){.fd = bench.masters[i], .events = POLLIN};
	poll(fds, 3, timeout_ms);
	for (int i = 0; i < 3; i++) {
		size_t room = sizeof(bench.seen[i]) - 1 - bench.used[i];
		if (!(fds[i].revents & POLLIN))
			continue;
		ssize_t got = read(bench.masters[i], bench.seen[i] + bench.used[i], room);
		bench.used[i] += got > 0 ? (size_t)got : 0;
		bench.seen[i][bench.used[i]] = '\0';
	}
}

static void wait_for(int console, const char *text)
{
	int64_t end = clock_monotonic_ms() + PATIENCE_MS;
	while (!strstr(bench.seen[console], text)) {
		if (clock_monotonic_ms() > end)
			fail_msg("%s never showed \"%s\", but: %s", names[console], text,
				 bench.seen[console]);
		listen_a_moment(100);
	}
}

static void forget(int console)
{
	bench.used[console] = 0;
	bench.seen[console][0] = '\0';
}

static void type(int console, const char *text)
{
	assert_int_equal(write(bench.masters[console], text, strlen(text)), strlen(text));
}

static void say(const char *text)
{
	assert_int_equal(write(bench.lines, text, strlen(text)), strlen(text));
}

static void everybody_gets_lines_until_somebody_answers(void **state)
{
	(void)state;
	start(&page);
	wait_for(TTY1, "PAGE of 25x80, 0 lines, \u2588");
	wait_for(TTYS1, "\033[6n");
	wait_for(TTYS0, "\033[6n");
	say("one line\nand an \033[31mother\xff\n");
	wait_for(TTYS0, "one line\r\nand an other\xef\xbf\xbd\r\n");
	wait_for(TTYS1, "one line\r\n");
	assert_lacks(bench.seen[TTYS1], "PAGE");
	/* A terminal: its size, then whether it knows UTF-8. */
	forget(TTYS1);
	type(TTYS1, "\033[50;132R");
	wait_for(TTYS1, "\xc3\xa9\033[6n");
	type(TTYS1, "\033[1;2R");
	wait_for(TTYS1, "PAGE of 50x132, 2 lines, \u2588");
	forget(TTYS1);
	forget(TTYS0);
	say("third\n");
	wait_for(TTYS0, "third\r\n");
	assert_lacks(bench.seen[TTYS0], "PAGE");
	/* Of the page only the number changes. */
	wait_for(TTYS1, "3");
	assert_lacks(bench.seen[TTYS1], "third");
	assert_lacks(bench.seen[TTYS1], "PAGE");
}

static void a_key_asks_again_and_draws_anew(void **state)
{
	(void)state;
	start(&page);
	wait_for(TTYS0, "\033[6n");
	forget(TTYS0);
	poll(NULL, 0, 1100);
	type(TTYS0, "x");
	wait_for(TTYS0, "\033[6n");
	type(TTYS0, "\033[24;80R");
	wait_for(TTYS0, "\xc3\xa9\033[6n");
	/* Two columns for two bytes: no UTF-8. */
	type(TTYS0, "\033[1;3R");
	wait_for(TTYS0, "PAGE of 24x80, 0 lines, ascii");
	forget(TTYS0);
	type(TTYS0, " ");
	wait_for(TTYS0, "PAGE of 24x80");
	/* Too small for a page. */
	type(TTYS1, "\033[5;20R");
	say("a line\n");
	wait_for(TTYS1, "a line\r\n");
	assert_lacks(bench.seen[TTYS1], "PAGE");
}

/* Whether the file with this mark is there; its text. */
static const char *mark_of(const char *name)
{
	static char text[64];
	char file[64];
	snprintf(file, sizeof(file), "run/tink-worker/shell/%s", name);
	char *path = path_in(bench.root, file);
	FILE *mark = fopen(path, "re");
	free(path);
	if (!mark)
		return NULL;
	size_t got = fread(text, 1, sizeof(text) - 1, mark);
	text[got] = '\0';
	fclose(mark);
	return text;
}

static int wait_for_key(const char *name)
{
	char file[64];
	snprintf(file, sizeof(file), "run/tink-worker/shell/%s.key", name);
	char *path = path_in(bench.root, file);
	assert_int_equal(mkfifo(path, 0600), 0);
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	assert_true(fd >= 0);
	free(path);
	return fd;
}

static void the_shell_has_its_turn(void **state)
{
	(void)state;
	char key[16] = "";
	start(&page);
	wait_for(TTY1, "PAGE");
	/* Nobody waits for the key: nothing happens. */
	forget(TTY1);
	type(TTY1, "\r");
	wait_for(TTY1, "PAGE");
	assert_null(mark_of("tty1"));
	int fd = wait_for_key("tty1");
	type(TTY1, "\r");
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	assert_int_equal(poll(&poll_fd, 1, PATIENCE_MS), 1);
	assert_int_equal(read(fd, key, sizeof(key)), 6);
	assert_string_equal(key, "shell\n");
	assert_string_equal(mark_of("tty1"), "page 25 80\n");
	wait_for(TTY1, screen_leave);
	/* What is said and typed now is not ours. */
	forget(TTY1);
	say("a line\n");
	type(TTY1, "ls\r");
	wait_for(TTYS0, "a line");
	listen_a_moment(1500);
	assert_lacks(bench.seen[TTY1], "PAGE");
	assert_lacks(bench.seen[TTY1], "a line");
	struct termios settings;
	assert_int_equal(tcgetattr(bench.slaves[TTY1], &settings), 0);
	settings.c_lflag |= ICANON | ECHO;
	assert_int_equal(tcsetattr(bench.slaves[TTY1], TCSAFLUSH, &settings), 0);
	forget(TTY1);
	char *mark = path_in(bench.root, "run/tink-worker/shell/tty1");
	assert_int_equal(unlink(mark), 0);
	free(mark);
	wait_for(TTY1, "PAGE of 25x80, 1 lines");
	/* Keys come singly again, and are not shown. */
	assert_int_equal(tcgetattr(bench.slaves[TTY1], &settings), 0);
	assert_int_equal(settings.c_lflag & (ICANON | ECHO), 0);
	close(fd);
}

/* Where no file can be written any more a shell is needed most. */
static void the_shell_needs_no_room(void **state)
{
	(void)state;
	struct rlimit before, none = {.rlim_cur = 0};
	int fd = wait_for_key("tty1");
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	none.rlim_max = before.rlim_max;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
	start(&page);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	wait_for(TTY1, "PAGE");
	type(TTY1, "\r");
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	assert_int_equal(poll(&poll_fd, 1, PATIENCE_MS), 1);
	assert_string_equal(mark_of("tty1"), "");
	close(fd);
}

/* A window that was too small for a while has not kept the page. */
static void a_window_grows_again(void **state)
{
	(void)state;
	start(&page);
	wait_for(TTYS0, "\033[6n");
	type(TTYS0, "\033[24;80R");
	wait_for(TTYS0, "\xc3\xa9\033[6n");
	type(TTYS0, "\033[1;2R");
	wait_for(TTYS0, "PAGE of 24x80");
	static const char *const sizes[] = {"\033[5;20R", "\033[24;80R"};
	for (size_t i = 0; i < COUNT(sizes); i++) {
		poll(NULL, 0, 1100);
		forget(TTYS0);
		type(TTYS0, "x");
		wait_for(TTYS0, "\033[6n");
		/* What the key has drawn. */
		wait_for(TTYS0, "PAGE of 24x80");
		forget(TTYS0);
		type(TTYS0, sizes[i]);
	}
	wait_for(TTYS0, screen_enter);
	wait_for(TTYS0, "PAGE of 24x80");
}

static void plain_lines_only_for_a_dumb_terminal(void **state)
{
	(void)state;
	setenv("TERM", "dumb", 1);
	start(&page);
	say("line\n");
	for (int i = 0; i < 3; i++)
		wait_for(i, "line\r\n");
	int fd = wait_for_key("ttyS0");
	type(TTYS0, "\r");
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	assert_int_equal(poll(&poll_fd, 1, PATIENCE_MS), 1);
	assert_string_equal(mark_of("ttyS0"), "plain\n");
	for (int i = 0; i < 3; i++)
		assert_lacks(bench.seen[i], "\033");
	close(fd);
}

/* One console that takes nothing, and much to be said: the others get everything. */
static void nobody_is_held_up(void **state)
{
	(void)state;
	static char line[1002];
	memset(line, 'z', 1000);
	line[1000] = '\n';
	start(NULL);
	assert_int_equal(tcflow(bench.slaves[TTYS1], TCOOFF), 0);
	for (int i = 0; i < 100; i++) {
		say(line);
		listen_a_moment(20);
		bench.used[TTY1] = bench.used[TTYS0] = 0;
	}
	say("the last one\n");
	wait_for(TTY1, "the last one");
	wait_for(TTYS0, "the last one");
	assert_lacks(bench.seen[TTYS1], "z");
	assert_int_equal(tcflow(bench.slaves[TTYS1], TCOON), 0);
	for (int64_t end = clock_monotonic_ms() + PATIENCE_MS;
	     bench.used[TTYS1] < 32000 && clock_monotonic_ms() < end;)
		listen_a_moment(100);
	say("after all\n");
	wait_for(TTYS1, "bytes were not shown: this console is slow");
	wait_for(TTYS1, "after all");
}

static void ends_with_its_input(void **state)
{
	(void)state;
	int status;
	start(&page);
	wait_for(TTYS0, "\033[6n");
	say("no end of line");
	close(bench.lines);
	wait_for(TTYS0, "no end of line");
	assert_int_equal(waitpid(bench.pid, &status, 0), bench.pid);
	bench.pid = 0;
	assert_int_equal(status, 0);
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(everybody_gets_lines_until_somebody_answers,
						prepare, clean_up),
		cmocka_unit_test_setup_teardown(a_key_asks_again_and_draws_anew, prepare, clean_up),
		cmocka_unit_test_setup_teardown(the_shell_has_its_turn, prepare, clean_up),
		cmocka_unit_test_setup_teardown(the_shell_needs_no_room, prepare, clean_up),
		cmocka_unit_test_setup_teardown(a_window_grows_again, prepare, clean_up),
		cmocka_unit_test_setup_teardown(plain_lines_only_for_a_dumb_terminal, prepare,
						clean_up),
		cmocka_unit_test_setup_teardown(nobody_is_held_up, prepare, clean_up),
		cmocka_unit_test_setup_teardown(ends_with_its_input, prepare, clean_up),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
