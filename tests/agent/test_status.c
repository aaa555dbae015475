/* What the worker says of itself in a file, and what is read from one that anybody may have
 * written. */
#include "tests/unit.h"

#include "agent/status.h"
#include "platform/buffer.h"
#include "platform/secret.h"
#include "platform/text.h"

static char *directory;
static char *path;

static int make_directory(void **state)
{
	(void)state;
	directory = directory_make();
	path = path_in(directory, "status");
	return 0;
}

static int remove_directory(void **state)
{
	(void)state;
	free(path);
	directory_remove(directory);
	return 0;
}

/* What stands in the file now. */
static const struct status *published(void)
{
	static struct status status;
	auto_buffer struct buffer text = {.cap = STATUS_FILE_MOST};
	struct error err;
	assert_ok(buffer_read_file(&text, path, &err));
	status_parse((const char *)text.data, text.size, &status);
	return &status;
}

static void receive_again(const char *workflow, const char *name, const char *action_id)
{
	char image[] = "quay.io/tinkerbell/actions/writefile:latest";
	auto_free char *id = text_dup(workflow);
	auto_free char *copy = text_dup(name);
	auto_free char *own = text_dup(action_id);
	const struct action_request request = {
		.workflow_id = id, .id = own, .name = copy, .image = image};
	status_received(&request);
}

static void receive(const char *workflow, const char *name)
{
	static unsigned number;
	char id[16];
	snprintf(id, sizeof(id), "id-%u", number++);
	receive_again(workflow, name, id);
}

static void report(enum report_state state, const char *text)
{
	static struct report report;
	report = (struct report){.state = state};
	snprintf(report.text, sizeof(report.text), "%s", text);
	status_reported(&report);
}

static void says_nothing_before_it_is_opened(void **state)
{
	(void)state;
	receive("default/one", "write");
	status_server("192.0.2.1:42113", STATUS_ANSWERS, "");
	status_open("none", "id", "");
	receive("default/one", "write");
	assert_int_equal(access(path, F_OK), -1);
}

static void follows_the_server(void **state)
{
	(void)state;
	status_open(path, "52:54:00:77:00:0a", "192.0.2.9");
	assert_int_equal(published()->pid, getpid());
	assert_string_equal(published()->id, "52:54:00:77:00:0a");
	assert_string_equal(published()->syslog, "192.0.2.9");
	assert_int_equal(published()->server_state, STATUS_CONNECTING);
	assert_string_equal(published()->log, "");
	status_log("/run/tink-worker/logs/worker.log");
	assert_string_equal(published()->log, "/run/tink-worker/logs/worker.log");
	status_server("192.0.2.1:42113", STATUS_ERROR, "connection refused\nsecond line");
	assert_int_equal(published()->server_state, STATUS_ERROR);
	assert_string_equal(published()->server_text, "connection refused\nsecond line");
	status_server("192.0.2.2:42113", STATUS_ANSWERS, "not shown");
	assert_int_equal(published()->server_state, STATUS_ANSWERS);
	assert_string_equal(published()->server_text, "");
	assert_string_equal(published()->server, "192.0.2.2:42113");
	/* Nothing new: the file stays as it is. */
	struct stat before, after;
	assert_int_equal(stat(path, &before), 0);
	status_server("192.0.2.2:42113", STATUS_ANSWERS, "");
	assert_int_equal(stat(path, &after), 0);
	assert_true(before.st_ino == after.st_ino);
	assert_int_equal(after.st_mode & 0777, 0600);
}

static void follows_an_action(void **state)
{
	(void)state;
	receive("default/one", "write");
	assert_int_equal(published()->actions[0].state, STATUS_STARTING);
	report(REPORT_RUNNING, "started");
	assert_int_equal(published()->actions[0].state, STATUS_RUNNING);
	struct action_progress progress = {.phase = "writing", .done = 1, .total = 10};
	status_progress(&progress);
	assert_int_equal(published()->actions[0].progress.done, 1);
	/* Within a second the file stays, unless the phase is another. */
	progress.done = 2;
	status_progress(&progress);
	assert_int_equal(published()->actions[0].progress.done, 1);
	strcpy(progress.phase, "flushing");
	progress.rate_bytes_s = 1000;
	progress.left_ms = 5000;
	status_progress(&progress);
	assert_int_equal(published()->actions[0].progress.done, 2);
	assert_string_equal(published()->actions[0].progress.phase, "flushing");
	assert_int_equal(published()->actions[0].progress.rate_bytes_s, 1000);
	assert_int_equal(published()->actions[0].progress.left_ms, 5000);
	report(REPORT_SUCCESS, "wrote /etc/motd");
	assert_int_equal(published()->actions[0].state, STATUS_SUCCESS);
	assert_string_equal(published()->actions[0].text, "wrote /etc/motd");
	assert_true(published()->actions[0].stop_ms >= published()->actions[0].start_ms);
	status_progress(&progress);
	assert_int_equal(published()->actions[0].state, STATUS_SUCCESS);
}

static void keeps_the_whole_reason(void **state)
{
	(void)state;
	char reason[REPORT_TEXT_SIZE];
	memset(reason, 'r', sizeof(reason) - 1);
	memcpy(reason, "failed: C:\\path\\n\n", 17);
	reason[sizeof(reason) - 1] = '\0';
	receive("default/one", "command");
	report(REPORT_FAILED, reason);
	assert_int_equal(published()->actions[1].state, STATUS_FAILED);
	assert_string_equal(published()->reason, reason);
	/* The next action begins without it. */
	receive("default/two", "write");
	assert_string_equal(published()->reason, "");
	assert_int_equal(published()->action_count, 1);
	assert_int_equal(published()->earlier_count, 1);
	assert_string_equal(published()->earlier[0], "default/one FAILED");
}

static void ended_without_a_report(void **state)
{
	(void)state;
	receive_again("default/two", "write", "the same");
	size_t count = published()->action_count;
	report(REPORT_RUNNING, "");
	status_asked();
	assert_int_equal(published()->actions[count - 1].state, STATUS_STOPPED);
	/* Handed out again it is no other one. */
	receive_again("default/two", "write", "the same");
	assert_int_equal(published()->action_count, count);
	assert_int_equal(published()->actions[count - 1].state, STATUS_STARTING);
}

static void hides_secrets(void **state)
{
	(void)state;
	secret_add("sesame-open");
	receive("default/two", "sesame-open");
	report(REPORT_TIMEOUT, "password sesame-open was wrong");
	assert_string_equal(published()->actions[2].name, "***");
	assert_string_equal(published()->reason, "password *** was wrong");
	assert_int_equal(published()->actions[2].state, STATUS_TIMEOUT);
}

static void is_bounded(void **state)
{
	(void)state;
	char name[400], workflow[32];
	for (unsigned i = 0; i < 100; i++) {
		memset(name, '\\', sizeof(name) - 1);
		snprintf(name, sizeof(name) - 200, "action-%u", i);
		receive("default/long", name);
		report(REPORT_SUCCESS, "\\\\\\\\\n\n\n\n");
	}
	assert_int_equal(published()->action_count, STATUS_ACTIONS_MOST);
	assert_int_equal(published()->actions_before, 100 - STATUS_ACTIONS_MOST);
	assert_string_equal(published()->actions[STATUS_ACTIONS_MOST - 1].name, "action-99");
	for (unsigned i = 0; i < 10; i++) {
		snprintf(workflow, sizeof(workflow), "default/w%u", i);
		receive(workflow, "write");
	}
	assert_int_equal(published()->earlier_count, STATUS_EARLIER_MOST);
	assert_string_equal(published()->earlier[STATUS_EARLIER_MOST - 1], "default/w8 STARTING");
	struct stat status;
	assert_int_equal(stat(path, &status), 0);
	assert_true(status.st_size < STATUS_FILE_MOST);
}

static void says_what_the_machine_does_next(void **state)
{
	(void)state;
	status_after(&(struct action_after){.kind = AFTER_NOTHING});
	assert_int_equal(published()->after, AFTER_NOTHING);
	status_after(&(struct action_after){.kind = AFTER_REBOOT, .delay_s = 10});
	assert_int_equal(published()->after, AFTER_REBOOT);
	assert_true(published()->after_ms > 9000);
}

static void goes_on_after_a_restart(void **state)
{
	(void)state;
	status_open(path, "another", "");
	const struct status *now = published();
	assert_string_equal(now->workflow, "default/w9");
	assert_int_equal(now->actions[0].state, STATUS_STOPPED);
	assert_int_equal(now->after, AFTER_NOTHING);
	assert_string_equal(now->id, "another");
	/* What is no status is taken as none. */
	file_write(path, "\0\1\2action=\n=\nstate=\xff\n", 22);
	status_open(path, "another", "");
	assert_int_equal(published()->pid, getpid());
}

static void takes_whatever_stands_there(void **state)
{
	(void)state;
	static const char text[] =
		"garbage\n"
		"pid=99999999999\n"
		"server-state=unheard-of\n"
		"server-since-ms=-5\n"
		"workflow=a\033[31mb\xff\n"
		"action=one\nstate=FAILED\nstart-ms=x\nrate=18446744073709551615\n"
		"action=two\nstate=whatever\ntext=a\\nb\\\\c\\d\n"
		"server=belongs to an action, and none has it\n";
	static struct status status;
	status_parse(text, sizeof(text) - 1, &status);
	assert_int_equal(status.pid, 0);
	assert_int_equal(status.server_state, STATUS_CONNECTING);
	assert_int_equal(status.server_since_ms, 0);
	assert_string_equal(status.workflow, "ab\xef\xbf\xbd");
	assert_int_equal(status.action_count, 2);
	assert_int_equal(status.actions[0].state, STATUS_FAILED);
	assert_int_equal(status.actions[0].progress.rate_bytes_s, 0);
	assert_int_equal(status.actions[1].state, STATUS_STARTING);
	assert_string_equal(status.actions[1].text, "a\nb\\c\\d");
	assert_string_equal(status.server, "");
	status_parse("", 0, &status);
	assert_int_equal(status.action_count, 0);
}

static void fails_quietly(void **state)
{
	(void)state;
	status_open("/nowhere/at/all/status", "id", "");
	receive("default/one", "write");
	report(REPORT_SUCCESS, "done");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(says_nothing_before_it_is_opened),
		cmocka_unit_test(follows_the_server),
		cmocka_unit_test(follows_an_action),
		cmocka_unit_test(keeps_the_whole_reason),
		cmocka_unit_test(ended_without_a_report),
		cmocka_unit_test(hides_secrets),
		cmocka_unit_test(is_bounded),
		cmocka_unit_test(says_what_the_machine_does_next),
		cmocka_unit_test(goes_on_after_a_restart),
		cmocka_unit_test(takes_whatever_stands_there),
		cmocka_unit_test(fails_quietly),
	};
	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
