/* Which action an image means, and what a command plainly means. */
#include "tests/unit.h"

#include "actions/actions.h"

static char *no_words[] = {NULL};

static struct action_request request_for(const char *image)
{
	return (struct action_request){.image = (char *)(uintptr_t)image,
				       .command = no_words,
				       .environment = no_words,
				       .volumes = no_words};
}

static const char *found(const char *image, const char *registries)
{
	struct error err;
	struct action_request request = request_for(image);
	const struct action_policy policy = {registries};
	const struct action *action = action_find(&request, &policy, &err);
	return action ? action->name : "none";
}

static void takes_image_names_apart(void **state)
{
	(void)state;
	static const struct {
		const char *image, *registry, *name;
		bool embedded;
	} cases[] = {
		{"cexec", "", "cexec", true},
		{"cexec:v1", "", "cexec", true},
		{"cexec@sha256:0123", "", "cexec", true},
		{"cexec:v1@sha256:0123", "", "cexec", true},
		{"quay.io/tinkerbell/actions/cexec:latest", "quay.io", "cexec", false},
		{"localhost:5000/cexec", "localhost:5000", "cexec", false},
		{"localhost/cexec", "localhost", "cexec", false},
		{"host:5000/a/b/cexec:1@sha256:01", "host:5000", "cexec", false},
		{"library/alpine:3.18", "", "alpine", false},
		{"127.0.0.1/embedded/reboot", "127.0.0.1", "reboot", true},
		{"127.0.0.1/embedded/reboot:latest", "127.0.0.1", "reboot", true},
		{"127.0.0.1/embedded/x/reboot", "127.0.0.1", "reboot", false},
		{"127.0.0.1/reboot", "127.0.0.1", "reboot", false},
		{"[fd00::1]:5000/cexec", "[fd00::1]:5000", "cexec", false},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct image_name name;
		assert_true(image_name_parse(cases[i].image, &name));
		assert_string_equal(name.registry, cases[i].registry);
		assert_string_equal(name.name, cases[i].name);
		assert_int_equal(name.embedded, cases[i].embedded);
	}
}

static void refuses_what_is_no_image_name(void **state)
{
	(void)state;
	struct image_name name;
	char longest[600];
	memset(longest, 'x', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	assert_false(image_name_parse("", &name));
	assert_false(image_name_parse("a b", &name));
	assert_false(image_name_parse("cexec\n", &name));
	assert_false(image_name_parse("registry/", &name));
	assert_false(image_name_parse(":tag", &name));
	assert_false(image_name_parse("@sha256:01", &name));
	assert_false(image_name_parse(longest, &name));
	longest[200] = '\0'; /* a name too long for any action */
	assert_false(image_name_parse(longest, &name));
}

/* All spellings that the field's templates use. */
static void finds_published_names_under_any_registry(void **state)
{
	(void)state;
	static const char *const forms[] = {"%s",
					    "%s:latest",
					    "quay.io/tinkerbell/actions/%s:latest",
					    "quay.io/tinkerbell/actions/%s",
					    "quay.io/tinkerbell-actions/%s:v1.0.0",
					    "public.ecr.aws/l0g8r8j6/tinkerbell/hub/%s:deadbeef",
					    "ghcr.io/tinkerbell/actions/%s",
					    "registry.example:5000/mirror/of/all/%s@sha256:0011",
					    "127.0.0.1/embedded/%s"};
	static const char *const names[] = {"image2disk", "writefile", "cexec", "reboot",
					    "waitdaemon"};
	for (size_t i = 0; i < COUNT(forms); i++) {
		for (size_t j = 0; j < COUNT(names); j++) {
			char image[256];
			char *before = strstr(forms[i], "%s");
			snprintf(image, sizeof(image), "%.*s%s%s", (int)(before - forms[i]),
				 forms[i], names[j], before + 2);
			assert_string_equal(found(image, NULL), names[j]);
			assert_string_equal(found(image, "all"), names[j]);
		}
	}
	assert_string_equal(found("ghcr.io/jacobweinstock/waitdaemon:latest", NULL), "waitdaemon");
	assert_string_equal(found("public.ecr.aws/x/tinkerbell/hub/reboot-action:1", NULL),
			    "reboot");
}

/* A site's registry/ours/poweroff is its image. */
static void finds_names_of_our_own_only_embedded(void **state)
{
	(void)state;
	assert_string_equal(found("poweroff", NULL), "poweroff");
	assert_string_equal(found("poweroff:latest", NULL), "poweroff");
	assert_string_equal(found("127.0.0.1/embedded/poweroff", NULL), "poweroff");
	assert_string_equal(found("quay.io/tinkerbell/actions/poweroff", NULL), "none");
	assert_string_equal(found("registry.example/ours/poweroff:3", NULL), "none");
	assert_string_equal(found("library/poweroff", NULL), "none");
}

static void obeys_the_policy(void **state)
{
	(void)state;
	static const char image[] = "quay.io/tinkerbell/actions/cexec";
	assert_string_equal(found(image, "none"), "none");
	assert_string_equal(found(image, "ghcr.io"), "none");
	assert_string_equal(found(image, "quay.io"), "cexec");
	assert_string_equal(found(image, "ghcr.io,QUAY.IO"), "cexec");
	assert_string_equal(found(image, "xquay.io,quay.iox"), "none");
	/* What is embedded is nobody else's. */
	assert_string_equal(found("cexec", "none"), "cexec");
	assert_string_equal(found("127.0.0.1/embedded/cexec", "none"), "cexec");
}

static void names_what_it_does_not_know(void **state)
{
	(void)state;
	struct error err;
	struct action_request request = request_for("registry.example/ours/thing:3");
	assert_null(action_find(&request, NULL, &err));
	assert_error(ERROR_UNSUPPORTED, "registry.example/ours/thing:3");
	for (const struct action *const *action = actions; *action; action++)
		assert_contains(err.text, (*action)->name);
	request = request_for("not an image");
	assert_null(action_find(&request, NULL, &err));
	assert_error(ERROR_INPUT, "not an image");
}

static void takes_a_plain_command_for_the_action(void **state)
{
	(void)state;
	struct error err;
	char *reboot[] = {(char[]){"reboot"}, NULL}, *off[] = {(char[]){"poweroff"}, NULL};
	struct action_request request = request_for("alpine");
	request.command = reboot;
	assert_string_equal(action_find(&request, NULL, &err)->name, "reboot");
	request.command = off;
	assert_string_equal(action_find(&request, NULL, &err)->name, "poweroff");
	/* An action of that name goes first, whatever its command. */
	request = request_for("cexec");
	request.command = reboot;
	assert_string_equal(action_find(&request, NULL, &err)->name, "cexec");
}

static enum after_kind meaning(const char *const *words, uint32_t *delay_s)
{
	return command_meaning((char *const *)(uintptr_t)words, delay_s);
}

#define SCRIPT(text)                                                                               \
	{                                                                                          \
		"sh", "-c", text, NULL                                                             \
	}

static void understands_plain_commands(void **state)
{
	(void)state;
	static const struct {
		const char *words[6];
		enum after_kind kind;
		uint32_t delay_s;
	} cases[] = {
		{{"reboot"}, AFTER_REBOOT, 0},
		{{"/sbin/reboot"}, AFTER_REBOOT, 0},
		{{"reboot", "-f"}, AFTER_REBOOT, 0},
		{{"reboot", "-p"}, AFTER_POWEROFF, 0},
		{{"poweroff"}, AFTER_POWEROFF, 0},
		{{"/usr/sbin/poweroff", "-f"}, AFTER_POWEROFF, 0},
		{{"halt"}, AFTER_POWEROFF, 0},
		{{"shutdown", "-r", "now"}, AFTER_REBOOT, 0},
		{{"shutdown", "--reboot"}, AFTER_REBOOT, 0},
		{{"shutdown", "-h", "now"}, AFTER_POWEROFF, 0},
		{{"exec", "reboot"}, AFTER_REBOOT, 0},
		{SCRIPT("reboot"), AFTER_REBOOT, 0},
		{{"/bin/bash", "-c", "reboot"}, AFTER_REBOOT, 0},
		{{"ash", "-c", " reboot ; "}, AFTER_REBOOT, 0},
		{SCRIPT("echo b > /proc/sysrq-trigger"), AFTER_REBOOT, 0},
		{SCRIPT("echo b >/proc/sysrq-trigger"), AFTER_REBOOT, 0},
		{SCRIPT("echo -n o>/proc/sysrq-trigger"), AFTER_POWEROFF, 0},
		/* The playground's own. */
		{SCRIPT("echo 1 > /proc/sys/kernel/sysrq && echo b > /proc/sysrq-trigger"),
		 AFTER_REBOOT, 0},
		{SCRIPT("echo 1 > /proc/sys/kernel/sysrq; echo s > /proc/sysrq-trigger; "
			"echo u > /proc/sysrq-trigger; echo b > /proc/sysrq-trigger"),
		 AFTER_REBOOT, 0},
		{SCRIPT("sync; sleep 5; reboot"), AFTER_REBOOT, 5},
		{SCRIPT("sleep 5 && sleep 2\nreboot -f"), AFTER_REBOOT, 7},
		{SCRIPT("(sleep 10; reboot) &"), AFTER_REBOOT, 10},
		{SCRIPT("nohup reboot"), AFTER_REBOOT, 0},
		{SCRIPT("sleep 3; poweroff"), AFTER_POWEROFF, 3},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		uint32_t delay_s = 99;
		if (meaning(cases[i].words, &delay_s) != cases[i].kind)
			fail_msg("%s %s %s: %u", cases[i].words[0],
				 cases[i].words[1] ? cases[i].words[1] : "",
				 cases[i].words[2] ? cases[i].words[2] : "",
				 (unsigned)meaning(cases[i].words, &delay_s));
		assert_int_equal(delay_s, cases[i].delay_s);
	}
}

/* When in doubt it is a command like any other: a machine that reboots unasked is worse than an
 * action that fails. */
static void takes_nothing_else_for_a_reboot(void **state)
{
	(void)state;
	static const char *const cases[][6] = {
		{"echo", "reboot"},
		{"touch", "/worker/reboot"},
		{"rebooter"},
		{"reboot", "later"},
		{"shutdown", "-c"},
		{"shutdown", "-k", "now"},
		{"sync"},
		{"sleep", "5"},
		{""},
		{"sh", "reboot"},
		{"sh", "-x", "reboot"},
		{"sh", "-c"},
		{"sh", "-c", "reboot", "extra"},
		{"python3", "-c", "reboot"},
		SCRIPT(""),
		SCRIPT("sync"),
		SCRIPT("sleep 5"),
		SCRIPT("echo reboot"),
		SCRIPT("apt-get install x && reboot"),
		SCRIPT("false || reboot"),
		SCRIPT("test -f /x && reboot"),
		SCRIPT("if true; then reboot; fi"),
		SCRIPT("reboot # now"),
		SCRIPT("echo 'reboot'"),
		SCRIPT("echo \"b\" > /proc/sysrq-trigger"),
		SCRIPT("$(reboot)"),
		SCRIPT("`reboot`"),
		SCRIPT("echo b >> /proc/sysrq-trigger"),
		SCRIPT("echo b > /proc/sysrq-trigger2"),
		SCRIPT("echo c > /proc/sysrq-trigger"),
		SCRIPT("echo bo > /proc/sysrq-trigger"),
		SCRIPT("echo b | tee /proc/sysrq-trigger"),
		SCRIPT("reboot > /dev/null"),
		SCRIPT("sleep forever; reboot"),
		SCRIPT("sleep 99999; reboot"),
		SCRIPT("rm -rf /mnt; reboot"),
		SCRIPT("! reboot"),
		SCRIPT("reboot*"),
		SCRIPT("cat < /dev/null; reboot"),
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		uint32_t delay_s;
		if (meaning(cases[i], &delay_s) != AFTER_NOTHING)
			fail_msg("\"%s %s %s\" was taken for a reboot", cases[i][0],
				 cases[i][1] ? cases[i][1] : "",
				 cases[i][1] && cases[i][2] ? cases[i][2] : "");
	}
	uint32_t delay_s;
	assert_int_equal(command_meaning(NULL, &delay_s), AFTER_NOTHING);
	assert_int_equal(command_meaning(no_words, &delay_s), AFTER_NOTHING);
}

/* Every descriptor is whole: what the documentation and the parser rely on. */
static void has_whole_descriptors(void **state)
{
	(void)state;
	char names[512];
	action_names(names, sizeof(names));
	for (const struct action *const *at = actions; *at; at++) {
		const struct action *action = *at;
		assert_true(action_by_name(action->name) == action);
		assert_contains(names, action->name);
		assert_non_null(action->run);
		assert_true(action->summary && action->summary[0]);
		for (const char *const *alias = action->aliases; alias && *alias; alias++)
			assert_true(action_by_name(*alias) == action);
		for (const struct param *param = action->params; param->name; param++) {
			assert_true(param->doc && param->doc[0]);
			assert_true((param->flags & PARAM_UNSUPPORTED) ||
				    param->offset < action->params_size);
			for (const struct param *other = action->params; other < param; other++)
				assert_string_not_equal(other->name, param->name);
		}
	}
	assert_null(action_by_name("nothing"));
	char small[8];
	action_names(small, sizeof(small));
	assert_true(strlen(small) < sizeof(small));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_image_names_apart),
		cmocka_unit_test(refuses_what_is_no_image_name),
		cmocka_unit_test(finds_published_names_under_any_registry),
		cmocka_unit_test(finds_names_of_our_own_only_embedded),
		cmocka_unit_test(obeys_the_policy),
		cmocka_unit_test(names_what_it_does_not_know),
		cmocka_unit_test(takes_a_plain_command_for_the_action),
		cmocka_unit_test(understands_plain_commands),
		cmocka_unit_test(takes_nothing_else_for_a_reboot),
		cmocka_unit_test(has_whole_descriptors),
	};
	return cmocka_run_group_tests_name("actions", tests, NULL, NULL);
}
