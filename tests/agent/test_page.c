/* What stands on the status page, at all sizes. */
#include "tests/unit.h"

#include <sys/stat.h>

#include "agent/page.h"
#include "platform/sysfs.h"

static struct page page;

static struct status_action *add(const char *name, enum status_state state, const char *text)
{
	struct status_action *action = &page.status.actions[page.status.action_count++];
	*action = (struct status_action){
		.state = state, .start_ms = 1000, .stop_ms = state > STATUS_RUNNING ? 9000 : 0};
	snprintf(action->name, sizeof(action->name), "%s", name);
	snprintf(action->image, sizeof(action->image), "quay.io/tinkerbell/actions/%s:v1", name);
	snprintf(action->text, sizeof(action->text), "%s", text);
	return action;
}

/* A machine in the middle of its work. */
static int prepare(void **state)
{
	(void)state;
	page = (struct page){.now_ms = 75000, .wall = {.tv_sec = 1795000000}, .interactive = true};
	strcpy(page.facts.machine, "Tinker Model 9, serial SN12345");
	strcpy(page.facts.system, "64.0 GiB of memory, 32 CPUs, UEFI");
	page.facts.interfaces[0] = (struct facts_interface){.name = "eth0",
							    .mac = "52:54:00:77:00:0a",
							    .link = true,
							    .speed = "10 Gbit/s",
							    .addresses = "192.0.2.15/24"};
	page.facts.interfaces[1] =
		(struct facts_interface){.name = "eth1", .mac = "52:54:00:77:00:0b"};
	page.facts.interface_count = 2;
	page.status.pid = 100;
	strcpy(page.status.id, "52:54:00:77:00:0a");
	strcpy(page.status.server, "192.0.2.1:42113");
	strcpy(page.status.workflow, "default/demo");
	page.status.server_state = STATUS_ANSWERS;
	page.status.server_since_ms = 1;
	add("wipe", STATUS_SUCCESS, "erased /dev/sda in 8 s");
	struct status_action *running = add("image2disk", STATUS_RUNNING, "");
	running->progress = (struct action_progress){.phase = "writing",
						     .bytes_out = 2147483648,
						     .done = 43,
						     .total = 100,
						     .rate_bytes_s = 104857600,
						     .left_ms = 65000};
	page_add_line(&page, "     6.5 network: eth0: link up");
	page_add_line(&page, "2026-11-18T11:06:39.134Z warning something is odd key=value");
	return 0;
}

static const char *drawn(unsigned rows, unsigned columns)
{
	static char text[1 << 17];
	struct screen screen;
	screen_open(&screen, rows, columns, false);
	page_draw(&page, &screen);
	screen_text(&screen, false, text, sizeof(text));
	screen_close(&screen);
	return text;
}

static void fail_with(const char *reason)
{
	struct status_action *action = &page.status.actions[page.status.action_count - 1];
	action->state = STATUS_FAILED;
	action->stop_ms = 70000;
	snprintf(page.status.reason, sizeof(page.status.reason), "%s", reason);
}

static void shows_everything_on_a_small_terminal(void **state)
{
	(void)state;
	static const char *const words[] = {
		("tink-worker " TINK_WORKER_VERSION),
		"52:54:00:77:00:0a",
		"2026-11-18 11:06:40 UTC",
		"Tinker Model 9, serial SN12345",
		"eth0     link up, 10 Gbit/s  192.0.2.15/24",
		"eth1     no link",
		"192.0.2.1:42113  answers",
		"default/demo",
		" SUCCESS  wipe          8.0 s  erased /dev/sda in 8 s",
		" RUNNING  image2disk    1m14s  image2disk:v1",
		"writing  ########-...........  43%  2.0 GiB  100.0 MiB/s  1m05s left",
		"     6.5 network: eth0: link up",
		"11:06:39 something is odd key=value",
		"Enter: root shell"};
	const char *text = drawn(24, 80);
	for (size_t i = 0; i < COUNT(words); i++)
		assert_contains(text, words[i]);
}

static void says_why_the_server_is_not_there(void **state)
{
	(void)state;
	page.status.server_state = STATUS_ERROR;
	page.status.server_since_ms = 15000;
	strcpy(page.status.server_text, "connect to 192.0.2.1 port 42113: Connection refused");
	assert_contains(drawn(24, 80), "192.0.2.1:42113  no answer, trying on  for 1m00s");
	assert_contains(drawn(24, 80), "connect to 192.0.2.1 port 42113: Connection refused");
	page.status.server_state = STATUS_CONNECTING;
	assert_contains(drawn(24, 80), "192.0.2.1:42113  asked for work, waiting");
	page.worker_gone = true;
	assert_contains(drawn(24, 80), "the worker has ended");
}

static void says_what_it_waits_for_before_the_worker_runs(void **state)
{
	(void)state;
	page.status = (struct status){.pid = 5, .server = "192.0.2.1:42113"};
	assert_contains(drawn(24, 80), "None yet: waiting for a workflow");
	page.status.server[0] = '\0';
	assert_contains(drawn(24, 80), "not asked yet: the worker prepares itself");
	page.status = (struct status){.pid = 0};
	assert_contains(drawn(24, 80), "not asked yet: the worker is about to start");
	page.facts.interfaces[0].addresses[0] = '\0';
	strcpy(page.facts.interfaces[0].state, "eth0 asks for an address by DHCP");
	assert_contains(drawn(24, 80), "not asked yet: waiting for an address");
	assert_contains(drawn(24, 80), "eth0 asks for an address by DHCP");
	page.facts.interface_count = 0;
	assert_contains(drawn(24, 80), "no wired interface yet");
}

static void many_interfaces_are_counted(void **state)
{
	(void)state;
	for (size_t i = 1; i < 9; i++) {
		page.facts.interfaces[i] = (struct facts_interface){.link = i < 4};
		snprintf(page.facts.interfaces[i].name, 32, "eth%zu", i);
	}
	page.facts.interface_count = 9;
	assert_contains(drawn(24, 80), "and 8 more, 3 of them with a link");
	assert_contains(drawn(50, 160), "and 2 more, 0 of them with a link");
}

static void shows_a_failure_with_its_whole_reason(void **state)
{
	(void)state;
	fail_with("not found: /dev/sdb does not exist (waited 10 s); this machine has: /dev/sda "
		  "(64.0 GiB, sas)\nlast words of the program");
	strcpy(page.status.syslog, "192.0.2.9");
	const char *text = drawn(24, 80);
	assert_contains(text, "FAILED: image2disk (quay.io/tinkerbell/actions/image2disk:v1)");
	assert_contains(text, " not found: /dev/sdb does not exist (waited 10 s);");
	assert_contains(text, "(64.0 GiB, sas)\n last words of the program");
	assert_contains(text, "tink-worker bundle");
	assert_contains(text, "syslog at 192.0.2.9");
	assert_contains(text, "Enter opens a shell here");
	assert_lacks(text, "the log:");
	page.log_path = "/var/log/worker.log";
	assert_contains(drawn(24, 160), "the log: /var/log/worker.log, syslog at 192.0.2.9");
	page.interactive = false;
	assert_lacks(drawn(24, 80), "Enter");
	page.status.actions[1].state = STATUS_TIMEOUT;
	assert_contains(drawn(24, 80), "TIMEOUT: image2disk");
}

static void a_reason_that_is_too_long_is_cut_visibly(void **state)
{
	(void)state;
	char reason[4000];
	memset(reason, 'r', sizeof(reason) - 1);
	reason[sizeof(reason) - 1] = '\0';
	fail_with(reason);
	const char *text = drawn(24, 80);
	assert_contains(text, " ...");
	assert_contains(text, "tink-worker bundle");
	assert_contains(text, "Enter: root shell");
}

static void says_what_comes_next(void **state)
{
	(void)state;
	page.status.actions[1].state = STATUS_SUCCESS;
	page.status.actions[1].stop_ms = 74900;
	assert_lacks(drawn(24, 80), "All actions so far are done");
	page.now_ms += 10000;
	assert_contains(drawn(24, 80), "All actions so far are done");
	page.status.after = AFTER_REBOOT;
	page.status.after_ms = page.now_ms + 4200;
	assert_contains(drawn(24, 80), "The machine reboots in 5.0 s.");
	page.now_ms += 5000;
	assert_contains(drawn(24, 80), "The machine reboots now.");
}

static void tells_of_actions_and_workflows_before(void **state)
{
	(void)state;
	page.status.actions_before = 5;
	strcpy(page.status.earlier[page.status.earlier_count++], "default/old FAILED");
	assert_contains(drawn(24, 80), "default/demo  before: default/old FAILED");
	assert_contains(drawn(24, 80), "5 actions before these");
	while (page.status.action_count < STATUS_ACTIONS_MOST)
		add("more", STATUS_SUCCESS, "done");
	assert_contains(drawn(24, 80), "actions before these");
	assert_contains(drawn(24, 80), "more");
}

/* Nothing breaks at any size, and the edges stay where they are. */
static void fits_every_size(void **state)
{
	(void)state;
	fail_with("a reason");
	for (int failed = 1; failed >= 0; failed--) {
		for (unsigned rows = SCREEN_ROWS_LEAST; rows < 70; rows++)
			for (unsigned columns = SCREEN_COLUMNS_LEAST; columns < 200;
			     columns += 13) {
				const char *text = drawn(rows, columns);
				assert_contains(text, "tink-worker");
				assert_contains(text, "Enter: root shell");
				size_t lines = 0;
				for (const char *p = text; *p; p++)
					lines += *p == '\n';
				assert_int_equal(lines, rows);
			}
		page.status.actions[1].state = STATUS_RUNNING;
	}
}

static void keeps_the_last_lines(void **state)
{
	(void)state;
	char line[PAGE_LINE_SIZE * 2];
	for (int i = 0; i < 500; i++) {
		snprintf(line, sizeof(line), "line number %d", i);
		page_add_line(&page, line);
	}
	assert_contains(drawn(24, 80), "line number 499");
	assert_lacks(drawn(24, 80), "line number 470");
	memset(line, 'w', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\0';
	page_add_line(&page, line);
	assert_contains(drawn(24, 80), "www ...");
}

static void put(const char *root, const char *name, const char *text)
{
	char *path = path_in(root, name);
	file_write(path, text, strlen(text));
	free(path);
}

static void knows_the_machine(void **state)
{
	(void)state;
	static const char *const folders[] = {
		"sys",          "sys/class",        "sys/class/dmi", "sys/class/dmi/id",
		"sys/firmware", "sys/firmware/efi", "proc",          "proc/device-tree"};
	char *root = directory_make();
	struct facts facts = {.interface_count = 0};
	sysfs_set_root(root);
	for (size_t i = 0; i < COUNT(folders) - 1; i++) {
		char *path = path_in(root, folders[i]);
		mkdir(path, 0755);
		free(path);
	}
	facts_machine(&facts);
	assert_contains(facts.machine, "unknown");
	put(root, "proc/meminfo", "MemTotal:       65536000 kB\nMemFree: 1 kB\n");
	put(root, "sys/class/dmi/id/sys_vendor", "Dell Inc.\n");
	put(root, "sys/class/dmi/id/product_name", "PowerEdge R650\n");
	put(root, "sys/class/dmi/id/product_serial", "To Be Filled By O.E.M.\n");
	facts_machine(&facts);
	assert_string_equal(facts.machine, "Dell Inc. PowerEdge R650");
	assert_contains(facts.system, "62.5 GiB of memory, ");
	assert_contains(facts.system, ", UEFI");
	put(root, "sys/class/dmi/id/product_serial", "7XQ\033[2JQ4\n");
	facts_machine(&facts);
	assert_string_equal(facts.machine, "Dell Inc. PowerEdge R650, serial 7XQQ4");
	directory_remove(root);

	root = directory_make();
	sysfs_set_root(root);
	char *path = path_in(root, "proc");
	mkdir(path, 0755);
	free(path);
	path = path_in(root, "proc/device-tree");
	mkdir(path, 0755);
	free(path);
	path = path_in(root, "proc/device-tree/model");
	file_write(path, "Raspberry Pi 4 Model B\0", 23);
	free(path);
	path = path_in(root, "proc/device-tree/serial-number");
	file_write(path, "10000000abcdef01\0", 17);
	free(path);
	facts_machine(&facts);
	assert_string_equal(facts.machine, "Raspberry Pi 4 Model B, serial 10000000abcdef01");
	assert_lacks(facts.system, "BIOS");
	sysfs_set_root("");
	directory_remove(root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(shows_everything_on_a_small_terminal, prepare),
		cmocka_unit_test_setup(says_why_the_server_is_not_there, prepare),
		cmocka_unit_test_setup(says_what_it_waits_for_before_the_worker_runs, prepare),
		cmocka_unit_test_setup(many_interfaces_are_counted, prepare),
		cmocka_unit_test_setup(shows_a_failure_with_its_whole_reason, prepare),
		cmocka_unit_test_setup(a_reason_that_is_too_long_is_cut_visibly, prepare),
		cmocka_unit_test_setup(says_what_comes_next, prepare),
		cmocka_unit_test_setup(tells_of_actions_and_workflows_before, prepare),
		cmocka_unit_test_setup(fits_every_size, prepare),
		cmocka_unit_test_setup(keeps_the_last_lines, prepare),
		cmocka_unit_test(knows_the_machine),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
