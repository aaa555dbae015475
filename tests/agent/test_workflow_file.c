#include "tests/unit.h"

#include "agent/workflow_file.h"

static struct problems problems;

static int end(void **state)
{
	(void)state;
	problems_free(&problems);
	return 0;
}

/* values: NAME=VALUE, one a line. */
static struct workflow *parse_for(const char *text, const char *id, const char *lines)
{
	struct error err;
	struct value *values = value_new(VALUE_MAP);
	char *copy = strdup(lines);
	for (char *line = strtok(copy, "\n"); line; line = strtok(NULL, "\n"))
		assert_ok(values_set(values, line, &err));
	free(copy);
	const struct action_policy policy = {"all"};
	const struct workflow_options options = {
		.id = id, .values = values, .render_list = lines[0], .policy = &policy};
	problems_free(&problems);
	struct workflow *workflow = workflow_parse(text, strlen(text), &options, &problems);
	value_free(values);
	return workflow;
}

static struct workflow *parse(const char *text)
{
	return parse_for(text, "", "");
}

static void assert_clean(void)
{
	if (problems.count > 0)
		fail_msg("%u:%u: %s", problems.list[0].place.line, problems.list[0].place.column,
			 problems.list[0].text);
}

static const char *environment_of(const struct workflow *workflow, size_t i, const char *key)
{
	size_t size = strlen(key);
	for (char **entry = workflow->actions[i].request.environment; *entry; entry++)
		if (strncmp(*entry, key, size) == 0 && (*entry)[size] == '=')
			return *entry + size + 1;
	return "(none)";
}

static const char *const two_actions =
	"version: '0.1'\n"
	"name: two\n"
	"global_timeout: 600\n"
	"tasks:\n"
	"  - name: only\n"
	"    worker: '{{.device_1}}'\n"
	"    volumes: [/dev:/dev, /a:/work]\n"
	"    environment:\n"
	"      FS_TYPE: ext4\n"
	"      DEST_DISK: /dev/other\n"
	"    actions:\n"
	"      - name: write\n"
	"        image: quay.io/tinkerbell/actions/writefile:latest\n"
	"        timeout: 90\n"
	"        volumes: ['/b:/work:ro']\n"
	"        environment:\n"
	"          DEST_DISK: {{ formatPartition (index .Hardware.Disks 0) 1 }}\n"
	"          DEST_PATH: /etc/x\n"
	"          MODE: 0600\n"
	"          CONTENTS: |\n"
	"            a: b\n"
	"      - name: go\n"
	"        image: quay.io/tinkerbell/actions/cexec\n"
	"        pid: host\n"
	"        namespaces: {network: host}\n"
	"        command: [--cmd-line, 'true']\n"
	"        environment: {BLOCK_DEVICE: /dev/sda1}\n"
	"        on-failure: [reboot]\n";

static void test_template(void **state)
{
	(void)state;
	auto_workflow struct workflow *workflow =
		parse_for(two_actions, "52:54:00:00:00:01",
			  "device_1=52:54:00:00:00:01\nHardware.Disks[0]=/dev/nvme0n1");
	assert_clean();
	assert_string_equal(workflow->name, "two");
	assert_int_equal(workflow->timeout_s, 600);
	assert_int_equal(workflow->count, 2);
	const struct workflow_action *first = &workflow->actions[0], *second = first + 1;
	assert_string_equal(first->action->name, "writefile");
	assert_int_equal(first->request.timeout_s, 90);
	/* What the action says goes before what the task says. */
	assert_string_equal(environment_of(workflow, 0, "DEST_DISK"), "/dev/nvme0n1p1");
	assert_string_equal(environment_of(workflow, 0, "FS_TYPE"), "ext4");
	assert_string_equal(environment_of(workflow, 0, "MODE"), "0600");
	assert_string_equal(environment_of(workflow, 0, "CONTENTS"), "a: b\n");
	assert_string_equal(first->request.volumes[0], "/b:/work:ro");
	assert_string_equal(first->request.volumes[1], "/dev:/dev");
	assert_null(first->request.volumes[2]);
	assert_string_equal(second->request.pid, "host");
	assert_string_equal(second->request.network, "host");
	assert_string_equal(second->request.command[1], "true");
	assert_string_equal(second->on_failure[0], "reboot");
	assert_null(second->on_timeout);
	assert_int_equal(second->place.line, 22);
}

static void test_object(void **state)
{
	(void)state;
	const char *text = "apiVersion: tinkerbell.org/v1alpha1\n"
			   "kind: Hardware\n"
			   "metadata: {name: m}\n"
			   "spec:\n"
			   "  disks: [{device: /dev/vda}]\n"
			   "  interfaces: [{dhcp: {mac: '52:54:00:00:00:02', lease_time: 3}}]\n"
			   "---\n"
			   "apiVersion: tinkerbell.org/v1alpha1\n"
			   "kind: Workflow\n"
			   "spec: {templateRef: t, hardwareMap: {device_1: '52:54:00:00:00:02'}}\n"
			   "---\n"
			   "apiVersion: tinkerbell.org/v1alpha1\n"
			   "kind: Template\n"
			   "metadata:\n"
			   "  name: t\n"
			   "spec:\n"
			   "  data: |\n"
			   "    name: inside\n"
			   "    tasks:\n"
			   "      - name: a\n"
			   "        worker: \"{{.device_1}}\"\n"
			   "        actions:\n"
			   "          - name: w\n"
			   "            image: quay.io/tinkerbell/actions/writefile\n"
			   "            environment:\n"
			   "              DEST_DISK: {{ index .Hardware.Disks 0 }}\n"
			   "              DEST_PATH: x{{ .hardware.spec.disks | len }}\n"
			   "              CONTENTS: {{ (index .Hardware.Interfaces 0).DHCP.MAC }}"
			   "{{ (index .Hardware.Interfaces 0).DHCP.LeaseTime }}\n";
	auto_workflow struct workflow *workflow = parse(text);
	assert_int_equal(problems.errors, 1);
	assert_contains(problems.list[0].text, "DEST_PATH=x1: must be an absolute path");
	assert_int_equal(problems.list[0].place.line, 27);
	assert_int_equal(problems.list[0].place.column, 26);
	assert_string_equal(environment_of(workflow, 0, "DEST_DISK"), "/dev/vda");
	assert_string_equal(environment_of(workflow, 0, "CONTENTS"), "52:54:00:00:00:023");
	/* What is set by hand goes before the objects. */
	auto_workflow struct workflow *set = parse_for(text, "", "Hardware.Disks[0]=/dev/set");
	assert_string_equal(environment_of(set, 0, "DEST_DISK"), "/dev/set");
}

static const char *const listed = "---\n"
				  "# as the file transport takes it\n"
				  "- id: 12345\n"
				  "  name: one\n"
				  "  image: 127.0.0.1/embedded/writefile\n"
				  "  env:\n"
				  "    - {key: DEST_DISK, value: /dev/sda1}\n"
				  "    - key: DEST_PATH\n"
				  "      value: '{{ .path }}'\n"
				  "    - {key: MODE, value: 0644}\n"
				  "    - {key: CONTENTS, value: ''}\n"
				  "  retries: 2\n"
				  "  timeoutSeconds: 90\n"
				  "  namespaces: {pid: host, network: host}\n"
				  "- name: two\n"
				  "  image: quay.io/tinkerbell/actions/reboot\n"
				  "  cmd: /bin/true\n"
				  "  args: [a, b]\n";

static void test_list(void **state)
{
	(void)state;
	auto_workflow struct workflow *workflow = parse_for(listed, "any", "path=/x");
	assert_clean();
	assert_int_equal(workflow->count, 2);
	assert_int_equal(workflow->actions[0].retries, 2);
	assert_int_equal(workflow->actions[0].request.timeout_s, 90);
	assert_string_equal(workflow->actions[0].request.pid, "host");
	assert_string_equal(environment_of(workflow, 0, "DEST_PATH"), "/x");
	assert_string_equal(environment_of(workflow, 0, "MODE"), "0644");
	assert_string_equal(workflow->actions[1].request.command[0], "/bin/true");
	assert_string_equal(workflow->actions[1].request.command[2], "b");
	/* However it begins: a byte order mark, a directive, other line ends. */
	static const char *const others[] = {
		"\xef\xbb\xbf- name: one\n  image: reboot\n  cmd: '{{'\n",
		"%YAML 1.1\n---\n- name: one\n  image: reboot\n  cmd: '{{'\n",
		"-\r\n  name: one\r\n  image: reboot\r\n  cmd: '{{'\r\n",
	};
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		auto_workflow struct workflow *other = parse(others[i]);
		assert_int_equal(problems.errors, 0);
		assert_string_equal(other->actions[0].request.command[0], "{{");
	}
	/* Without values it is no template. */
	auto_workflow struct workflow *raw = parse(listed);
	assert_int_equal(problems.warnings, 1);
	assert_int_equal(problems.list[0].place.line, 9);
	assert_string_equal(environment_of(raw, 0, "DEST_PATH"), "{{ .path }}");
}

static const char *const two_workers = "name: n\ntasks:\n"
				       "- name: a\n  worker: AA:00:00:00:00:01\n"
				       "  actions: [{name: x, image: reboot}]\n"
				       "- name: b\n  worker: aa:00:00:00:00:02\n"
				       "  actions: [{name: y, image: poweroff}]\n";

static void test_whose_task_it_is(void **state)
{
	(void)state;
	workflow_free(parse("- name: a\n  image: write\xee\x80\x80\n"));
	assert_int_equal(problems.errors, 1);
	assert_contains(problems.list[0].text, "no action is known by the image");
	workflow_free(parse("- name: a\n  image: reboot\n  timeoutSeconds: \xee\x80\x80\n"));
	assert_int_equal(problems.errors, 1);
	assert_contains(problems.list[0].text, "is not a whole number");
	struct workflow *workflow = parse_for(two_workers, "aa:00:00:00:00:01", "");
	assert_clean();
	assert_int_equal(workflow->count, 1);
	assert_string_equal(workflow->actions[0].request.name, "x");
	workflow_free(workflow);
	workflow = parse_for(two_workers, "aa:00:00:00:00:03", "");
	assert_contains(problems.list[0].text, "no task is for this machine, aa:00:00:00:00:03");
	workflow_free(workflow);
	workflow = parse(two_workers);
	assert_int_equal(problems.errors, 1);
	assert_contains(problems.list[0].text, "say by --id");
	workflow_free(workflow);
	workflow = parse("name: n\ntasks:\n- name: a\n  worker: x\n"
			 "  actions: [{name: x, image: reboot}]\n");
	assert_clean();
	assert_int_equal(workflow->count, 1);
	workflow_free(workflow);
}

/* Everything at once: each has its place. */
static void test_tells_everything_that_is_wrong(void **state)
{
	static const struct {
		unsigned line, column;
		bool warning;
		const char *words;
	} expected[] = {
		{1, 1, false, "has no key verison, did you mean version?"},
		{2, 7, false, "the name of the workflow has more than 199 bytes"},
		{3, 17, false, "global_timeout: \"1h\" is not a whole number of seconds"},
		{5, 5, true, "the task t has no worker"},
		{6, 5, false, "a task has no key enviroment, did you mean environment?"},
		{9, 9, false, "an action has no name"},
		{10, 16, false, "no action is known by the image \"registry.example/own:1\""},
		{14, 29, false, "containers are not run by this version"},
		{11, 18, false, "timeout: \"-1\" is not a whole number"},
		{12, 18, false, "command must be a list of texts, not a text"},
		{13, 9, false, "the action no-image has no image"},
		{15, 15, false, "a second action is called same (the first is in line 14)"},
		{17, 32, false, "image2disk: IMG_URL=ftp://x/y: must be URLs"},
		{18, 25, false, "image2disk: DEST_DISK=sda"},
		{19, 11, false, "image2disk has no parameter CHEKSUM, did you mean CHECKSUM?"},
		{20, 11, true, "image2disk has no parameter SOMETHING_ELSE: it is not used"},
		{21, 11, false, "the key DEST_DISK is there already, in line 18"},
		{22, 21, false, "on-failure: image2disk takes no command"},
		{23, 18, false, "volumes must be a list of texts, not a map"},
		{24, 9, false, "writefile: DEST_DISK is missing"},
		{24, 9, false, "writefile: DEST_PATH is missing"},
		{25, 9, false, "down (reboot) must be the last action"},
		{27, 11, false, "a second task is called t"},
		{27, 5, false, "the task t has no actions"},
	};
	char text[4096];
	char name[201];
	(void)state;
	memset(name, 'n', 200);
	name[200] = '\0';
	snprintf(text, sizeof(text),
		 "verison: '0.1'\n"
		 "name: %s\n"
		 "global_timeout: 1h\n"
		 "tasks:\n"
		 "  - name: t\n"
		 "    enviroment: {}\n"
		 "    environment: {NOBODY: x}\n"
		 "    actions:\n"
		 "      - pid: host\n"
		 "        image: registry.example/own:1\n"
		 "        timeout: -1\n"
		 "        command: ls\n"
		 "      - name: no-image\n"
		 "      - {name: same, image: reboot-later}\n"
		 "      - name: same\n"
		 "        image: image2disk\n"
		 "        environment: {IMG_URL: 'ftp://x/y',\n"
		 "          DEST_DISK:    sda,\n"
		 "          CHEKSUM: x,\n"
		 "          SOMETHING_ELSE: x,\n"
		 "          DEST_DISK: sdb}\n"
		 "        on-failure: [echo]\n"
		 "        volumes: {a: b}\n"
		 "      - {name: w, image: writefile}\n"
		 "      - {name: down, image: reboot}\n"
		 "      - {name: after, image: poweroff}\n"
		 "  - name: t\n"
		 "    worker: x\n",
		 name);
	struct workflow *workflow = parse(text);
	for (size_t i = 0; i < COUNT(expected); i++) {
		bool found = false;
		for (size_t j = 0; j < problems.count && !found; j++)
			found = problems.list[j].place.line == expected[i].line &&
				problems.list[j].place.column == expected[i].column &&
				problems.list[j].warning == expected[i].warning &&
				strstr(problems.list[j].text, expected[i].words);
		if (!found) {
			problems_print(&problems, "file", stderr);
			fail_msg("no problem at %u:%u: %s", expected[i].line, expected[i].column,
				 expected[i].words);
		}
	}
	if (problems.count != COUNT(expected)) {
		problems_print(&problems, "file", stderr);
		fail_msg("%zu problems", problems.count);
	}
	workflow_free(workflow);
}

static void test_values_that_are_not_set_hide_nothing_else(void **state)
{
	(void)state;
	struct workflow *workflow = parse(two_actions);
	/* .device_1 and .Hardware.Disks, and nothing about what comes of them. */
	assert_int_equal(problems.count, 2);
	assert_int_equal(problems.list[0].place.line, 6);
	assert_int_equal(problems.list[1].place.line, 17);
	workflow_free(workflow);
}

static void test_refuses_what_is_none(void **state)
{
	static const char *const texts[] = {"",
					    "# nothing\n",
					    "just words\n",
					    "[]\n",
					    "- 1\n",
					    "a: b\n",
					    "name: x\ntasks: []\n",
					    "name: x\ntasks: [1]\n",
					    "name: x\ntasks: [{name: a, worker: b, actions: {}}]\n",
					    "name: x\n---\nname: y\n",
					    "kind: Template\nspec: {}\n",
					    "kind: Template\n bad\n: yaml",
					    "\xff\xfe",
					    "{{ if }}",
					    "name: a: b\n"};
	(void)state;
	for (size_t i = 0; i < COUNT(texts); i++) {
		struct workflow *workflow = parse(texts[i]);
		if (problems.errors == 0)
			fail_msg("nothing is wrong with %s", texts[i]);
		if (workflow)
			workflow_free(workflow);
	}
}

static void test_parameters_are_judged_together(void **state)
{
	static const struct {
		const char *image, *environment, *words;
	} cases[] = {
		{"writefile", "DEST_DISK: /dev/a, DEST_PATH: /a", "writefile: CONTENTS is missing"},
		{"writefile", "DEST_DISK: /dev/a, DEST_PATH: /a, CONTENTS_BASE64: '!'",
		 "CONTENTS_BASE64"},
		{"archive2disk", "DEST_DISK: /dev/a, ARCHIVE_URL: 'http://a/b'",
		 "TARFILE_CHECKSUM is missing"},
		{"oci2disk", "DEST_DISK: /dev/a, IMG_URL: 'a/b:c', REGISTRY_USERNAME: u",
		 "REGISTRY_USERNAME is given without REGISTRY_PASSWORD"},
		{"qemuimg2disk", "DEST_DISK: /dev/a, IMG_URL: 'http://a/b', EXTRA_ARGS: --quiet",
		 "is an option of qemu-img that is not known"},
		{"slurp", "SOURCE_DISK: /dev/a, DEST_URL: 'http://a/b'", "IMG_NAME is missing"},
		{"waitdaemon", "IMAGE: alpine", "IMAGE: no action is known"},
		{"waitdaemon", "IMAGE: writefile, DEST_DISK: x",
		 "waitdaemon: writefile: DEST_DISK=x"},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		char text[400];
		snprintf(text, sizeof(text),
			 "name: n\ntasks:\n- name: a\n  worker: w\n  actions:\n"
			 "  - name: x\n    image: %s\n    environment: {%s}\n",
			 cases[i].image, cases[i].environment);
		struct workflow *workflow = parse(text);
		if (problems.errors != 1)
			problems_print(&problems, "file", stderr);
		assert_int_equal(problems.errors, 1);
		assert_contains(problems.list[0].text, cases[i].words);
		workflow_free(workflow);
	}
}

static void test_keys_of_a_task_that_nobody_takes(void **state)
{
	(void)state;
	auto_workflow struct workflow *workflow =
		parse("name: n\ntasks:\n- name: a\n  worker: w\n"
		      "  environment: {NOBODY: x, DEST_DISK: /dev/sda1}\n"
		      "  actions: [{name: x, image: writefile, environment: {DEST_PATH: /a, "
		      "CONTENTS: b}}]\n");
	assert_non_null(workflow);
	assert_int_equal(problems.count, 1);
	assert_true(problems.list[0].warning);
	assert_contains(problems.list[0].text, "no action of this task has a parameter NOBODY");
	assert_int_equal(problems.list[0].place.column, 17);
}

static void test_anchors_are_shared(void **state)
{
	(void)state;
	auto_workflow struct workflow *workflow =
		parse("x-common: &disk {DEST_DISK: /dev/sda1}\n"
		      "name: n\ntasks:\n- name: a\n  worker: w\n  actions:\n"
		      "  - name: one\n    image: writefile\n"
		      "    environment: {<<: *disk, DEST_PATH: /a, CONTENTS: b}\n");
	assert_clean();
	assert_string_equal(environment_of(workflow, 0, "DEST_DISK"), "/dev/sda1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_template, end),
		cmocka_unit_test_teardown(test_object, end),
		cmocka_unit_test_teardown(test_list, end),
		cmocka_unit_test_teardown(test_whose_task_it_is, end),
		cmocka_unit_test_teardown(test_tells_everything_that_is_wrong, end),
		cmocka_unit_test_teardown(test_values_that_are_not_set_hide_nothing_else, end),
		cmocka_unit_test_teardown(test_refuses_what_is_none, end),
		cmocka_unit_test_teardown(test_parameters_are_judged_together, end),
		cmocka_unit_test_teardown(test_keys_of_a_task_that_nobody_takes, end),
		cmocka_unit_test_teardown(test_anchors_are_shared, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
