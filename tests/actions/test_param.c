/* Parameters: from the server's texts to an action's struct. */
#include "tests/unit.h"

#include "actions/param.h"
#include "platform/log.h"
#include "platform/secret.h"

struct sample {
	const char *text, *device, *path, *url, *urls, *choice, *password;
	bool yes, given;
	uint64_t number, mode;
	struct digest checksum;
};

static const struct param params[] = {
	{"TEXT", PARAM_TEXT, PARAM_AT(struct sample, text), .option = "text", .doc = "a text"},
	{"DEVICE", PARAM_DEVICE, PARAM_AT(struct sample, device), .flags = PARAM_REQUIRED,
	 .doc = "a device"},
	{"DEST_PATH", PARAM_PATH, PARAM_AT(struct sample, path), .doc = "a path"},
	{"URL", PARAM_URL, PARAM_AT(struct sample, url), .doc = "a URL"},
	{"URLS", PARAM_URLS, PARAM_AT(struct sample, urls), .doc = "URLs"},
	{"CHOICE", PARAM_CHOICE, PARAM_AT(struct sample, choice), .fallback = "warm",
	 .choices = "warm|cold", .doc = "a choice"},
	{"PASSWORD", PARAM_TEXT, PARAM_AT(struct sample, password), .flags = PARAM_SECRET,
	 .doc = "a secret"},
	{"YES", PARAM_BOOL, PARAM_AT(struct sample, yes), .option = "yes", .doc = "a truth"},
	{"GIVEN", PARAM_NONEMPTY, PARAM_AT(struct sample, given), .doc = "anything"},
	{"NUMBER", PARAM_UINT, PARAM_AT(struct sample, number), .fallback = "10", .min = 2,
	 .max = 20, .doc = "a number"},
	{"MODE", PARAM_OCTAL, PARAM_AT(struct sample, mode), .fallback = "0644", .max = 07777,
	 .doc = "a mode"},
	{"CHECKSUM", PARAM_CHECKSUM, PARAM_AT(struct sample, checksum), .doc = "a checksum"},
	{"LATER_TEXT", PARAM_TEXT, .flags = PARAM_UNSUPPORTED, .doc = "not yet"},
	{"LATER_BOOL", PARAM_BOOL, .flags = PARAM_UNSUPPORTED, .doc = "not yet"},
	{.name = NULL},
};

static const struct action sample_action = {
	.name = "sample", .params = params, .params_size = sizeof(struct sample)};

static const char *const none[] = {NULL};

/* environment and command are lists ended by NULL. Texts are borrowed, as in the real thing. */
static int parse(const char *const *environment, const char *const *command, bool strict,
		 struct sample *ret, struct error *err)
{
	struct action_request request = {.environment = (char **)(uintptr_t)environment,
					 .command = (char **)(uintptr_t)command,
					 .volumes = (char **)(uintptr_t)none};
	void *parsed = NULL;
	if (params_parse(&sample_action, &request, strict, &parsed, err) < 0)
		return -1;
	*ret = *(struct sample *)parsed;
	free(parsed);
	return 0;
}

#define ENVIRONMENT(...) ((const char *const[]){__VA_ARGS__, NULL})

#define SHA256_ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

static void fills_in_every_type(void **state)
{
	(void)state;
	struct error err;
	struct sample sample;
	assert_ok(parse(ENVIRONMENT("TEXT= a=b ", "DEVICE=/dev/disk/by-id/x", "DEST_PATH=/etc/x",
				    "URL=https://host/x?y", "YES=T", "GIVEN=false", "NUMBER=20",
				    "MODE=600", "CHECKSUM=sha256:" SHA256_ABC),
			none, true, &sample, &err));
	assert_string_equal(sample.text, " a=b ");
	assert_string_equal(sample.device, "/dev/disk/by-id/x");
	assert_string_equal(sample.path, "/etc/x");
	assert_string_equal(sample.url, "https://host/x?y");
	assert_true(sample.yes);
	assert_true(sample.given); /* whatever it says */
	assert_int_equal(sample.number, 20);
	assert_int_equal(sample.mode, 0600);
	assert_int_equal(sample.checksum.type, DIGEST_SHA256);
}

static void has_defaults(void **state)
{
	(void)state;
	struct error err;
	struct sample sample;
	/* Missing and empty are the same. */
	const char *const *const cases[] = {
		(const char *const[]){"DEVICE=/dev/x", NULL},
		(const char *const[]){"DEVICE=/dev/x",
				      "TEXT=", "DEST_PATH=", "URL=", "YES=", "GIVEN=", "NUMBER=",
				      "MODE=", "CHECKSUM=", "LATER_TEXT=", "LATER_BOOL=", NULL},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		assert_ok(parse(cases[i], none, true, &sample, &err));
		assert_string_equal(sample.text, "");
		assert_string_equal(sample.path, "");
		assert_string_equal(sample.url, "");
		assert_string_equal(sample.password, "");
		assert_false(sample.yes);
		assert_false(sample.given);
		assert_int_equal(sample.number, 10);
		assert_int_equal(sample.mode, 0644);
		assert_int_equal(sample.checksum.type, DIGEST_NONE);
	}
}

static void refuses_wrong_values_by_name(void **state)
{
	(void)state;
	struct error err;
	struct sample sample;
	static const struct {
		const char *entry, *words;
	} cases[] = {
		{"DEVICE=sda", "DEVICE=sda: sda: neither an absolute path"},
		{"DEST_PATH=etc/x", "DEST_PATH=etc/x: must be an absolute path"},
		{"URL=ftp://host/x", "URL=ftp://host/x: must be a URL"},
		{"URL=http://", "URL=http://: must be a URL"},
		{"URL=host/x", "http://, https:// or file:///"},
		{"YES=yes", "YES=yes: must be true or false"},
		{"YES= true", "YES= true: must be true or false"},
		{"NUMBER=1", "NUMBER=1: must be a number from 2 to 20"},
		{"NUMBER=21", "from 2 to 20"},
		{"NUMBER=3x", "NUMBER=3x"},
		{"NUMBER=-3", "NUMBER=-3"},
		{"MODE=0999", "MODE=0999: must be an octal number from 0 to 7777"},
		{"MODE=77777", "MODE=77777"},
		{"CHECKSUM=md5:00", "CHECKSUM=md5:00"},
		{"CHECKSUM=sha256:00", "CHECKSUM=sha256:00"},
	};
	for (size_t i = 0; i < COUNT(cases); i++)
		assert_fails(parse(ENVIRONMENT("DEVICE=/dev/x", cases[i].entry), none, false,
				   &sample, &err),
			     ERROR_INPUT, cases[i].words);
}

static void says_what_is_missing(void **state)
{
	(void)state;
	struct error err;
	struct sample sample;
	assert_fails(parse(none, none, false, &sample, &err), ERROR_INPUT,
		     "DEVICE is missing (a device)");
	assert_fails(parse(ENVIRONMENT("DEVICE="), none, false, &sample, &err), ERROR_INPUT,
		     "DEVICE is missing");
	/* The key must be that very one. */
	assert_fails(parse(ENVIRONMENT("DEVICE2=/x", "XDEVICE=/x", "device=/x"), none, false,
			   &sample, &err),
		     ERROR_INPUT, "DEVICE is missing");
}

static void says_all_that_is_wrong_at_once(void **state)
{
	(void)state;
	struct error err;
	struct sample sample;
	assert_fails(parse(ENVIRONMENT("NUMBER=x", "YES=maybe"), none, false, &sample, &err),
		     ERROR_INPUT, "DEVICE is missing");
	assert_contains(err.text, "NUMBER=x");
	assert_contains(err.text, "YES=maybe");
}

static void takes_the_later_of_two(void **state)
{
	(void)state;
	struct error err;
	struct sample sample;
	assert_ok(parse(ENVIRONMENT("DEVICE=/dev/a", "DEVICE=/dev/b"), none, true, &sample, &err));
	assert_string_equal(sample.device, "/dev/b");
	assert_string_equal(environment_get((char *[]){(char[]){"A=1"}, (char[]){"AB=2"},
						       (char[]){"A=3"}, (char[]){"B"}, NULL},
					    "A"),
			    "3");
	assert_null(environment_get((char *[]){(char[]){"B"}, NULL}, "B"));
}

/* The server merges the task's environment into every action's: unknown keys are normal there. */
static void takes_unknown_keys_unless_strict(void **state)
{
	(void)state;
	struct error err;
	struct sample sample;
	assert_ok(parse(ENVIRONMENT("DEVICE=/dev/x", "OTHER=1", "NUMBRE=3", "=x", "novalue"), none,
			false, &sample, &err));
	assert_int_equal(sample.number, 10);
	assert_fails(parse(ENVIRONMENT("DEVICE=/dev/x", "OTHER=1"), none, true, &sample, &err),
		     ERROR_INPUT, "sample has no parameter OTHER");
	assert_lacks(err.text, "did you mean");
	assert_fails(parse(ENVIRONMENT("DEVICE=/dev/x", "NUMBRE=3"), none, true, &sample, &err),
		     ERROR_INPUT, "did you mean NUMBER?");
}

static void refuses_what_is_not_supported_yet(void **state)
{
	(void)state;
	struct error err;
	struct sample sample;
	assert_fails(
		parse(ENVIRONMENT("DEVICE=/dev/x", "LATER_TEXT=x"), none, false, &sample, &err),
		ERROR_UNSUPPORTED, "LATER_TEXT is not supported by this version of sample");
	assert_fails(
		parse(ENVIRONMENT("DEVICE=/dev/x", "LATER_BOOL=true"), none, false, &sample, &err),
		ERROR_UNSUPPORTED, "LATER_BOOL");
	assert_ok(parse(ENVIRONMENT("DEVICE=/dev/x", "LATER_BOOL=false"), none, false, &sample,
			&err));
}

static void hides_secrets(void **state)
{
	(void)state;
	struct error err;
	struct sample sample;
	char text[] = "s3cr3t-value and tok3n-value and us3r:pa55word";
	assert_ok(parse(ENVIRONMENT("DEVICE=/dev/x", "PASSWORD=s3cr3t-value",
				    "URL=http://us3r:pa55word@h/x?tok3n-value"),
			none, true, &sample, &err));
	secret_redact(text);
	assert_string_equal(text, "*** and *** and us3r:***");
	assert_fails(parse(ENVIRONMENT("DEVICE=/dev/x", "URL=ftp://u:hidden-pass@h/x?hidden-query"),
			   none, true, &sample, &err),
		     ERROR_INPUT, "URL=ftp://***@h/x?***");
	assert_lacks(err.text, "hidden");
}

/* The flags of the originals; there they win over the environment. */
static void takes_options_of_the_command(void **state)
{
	(void)state;
	struct error err;
	struct sample sample;
	const char *const *environment = ENVIRONMENT("DEVICE=/dev/x", "TEXT=environment");
	static const struct {
		const char *command[4];
		const char *text;
		bool yes;
	} cases[] = {
		{{NULL}, "environment", false},
		{{"--text", "command"}, "command", false},
		{{"--text=command"}, "command", false},
		{{"-text", "command"}, "command", false},
		{{"-text=a=b"}, "a=b", false},
		{{"--yes"}, "environment", true},
		{{"--yes", "--text", "command"}, "command", true},
		{{"--yes=false"}, "environment", false},
		{{"--texts", "command"}, "environment", false},
		{{"text", "command"}, "environment", false},
		{{"--text", "one", "--text=two"}, "two", false},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		assert_ok(parse(environment, cases[i].command, true, &sample, &err));
		assert_string_equal(sample.text, cases[i].text);
		assert_int_equal(sample.yes, cases[i].yes);
	}
}

static void names_types_for_people(void **state)
{
	(void)state;
	for (int type = PARAM_TEXT; type <= PARAM_CHECKSUM; type++)
		assert_true(param_type_name((enum param_type)type)[0] != '\0');
	assert_non_null(param_find(&sample_action, "MODE"));
	assert_null(param_find(&sample_action, "MOD"));
}

static void assert_urls(const char *text, bool known, const char *const *expected)
{
	char **urls;
	assert_int_equal(param_urls(text, &urls), known);
	size_t count = 0;
	for (; expected[count]; count++) {
		assert_non_null(urls[count]);
		assert_string_equal(urls[count], expected[count]);
	}
	assert_null(urls[count]);
	param_urls_free(urls);
}

/* A comma may be part of a URL: it separates where another one begins behind it. */
static void takes_lists_of_urls(void **state)
{
	(void)state;
	assert_urls("http://a/x", true, ENVIRONMENT("http://a/x"));
	assert_urls("http://a/x,1,http://b/x", true, ENVIRONMENT("http://a/x,1", "http://b/x"));
	assert_urls(" http://a/x \n https://b/x, file:///c ,", true,
		    ENVIRONMENT("http://a/x", "https://b/x", "file:///c"));
	assert_urls("http://a/x,ftp://b/x", false, ENVIRONMENT("http://a/x", "ftp://b/x"));
	assert_urls("nonsense http://a/x", false, ENVIRONMENT("nonsense", "http://a/x"));
	assert_urls(" ", false, ENVIRONMENT(NULL));
	assert_urls("", false, ENVIRONMENT(NULL));
	struct sample sample;
	struct error err;
	assert_fails(parse(ENVIRONMENT("DEVICE=/dev/x", "URLS=http://a/x ftp://me:secret@b/x"),
			   none, true, &sample, &err),
		     ERROR_INPUT, "URLS=ftp://***@b/x: must be URLs");
}

static void takes_one_of_several_words(void **state)
{
	(void)state;
	struct sample sample;
	struct error err;
	assert_ok(parse(ENVIRONMENT("DEVICE=/dev/x"), none, true, &sample, &err));
	assert_string_equal(sample.choice, "warm");
	assert_ok(parse(ENVIRONMENT("DEVICE=/dev/x", "CHOICE=cold"), none, true, &sample, &err));
	assert_string_equal(sample.choice, "cold");
	static const char *const wrong[] = {"col", "colder", "warm|cold", "|", "Warm"};
	for (size_t i = 0; i < COUNT(wrong); i++) {
		char entry[64];
		snprintf(entry, sizeof(entry), "CHOICE=%s", wrong[i]);
		assert_fails(parse(ENVIRONMENT("DEVICE=/dev/x", entry), none, true, &sample, &err),
			     ERROR_INPUT, "warm|cold");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fills_in_every_type),
		cmocka_unit_test(has_defaults),
		cmocka_unit_test(refuses_wrong_values_by_name),
		cmocka_unit_test(says_what_is_missing),
		cmocka_unit_test(says_all_that_is_wrong_at_once),
		cmocka_unit_test(takes_lists_of_urls),
		cmocka_unit_test(takes_one_of_several_words),
		cmocka_unit_test(takes_the_later_of_two),
		cmocka_unit_test(takes_unknown_keys_unless_strict),
		cmocka_unit_test(refuses_what_is_not_supported_yet),
		cmocka_unit_test(hides_secrets),
		cmocka_unit_test(takes_options_of_the_command),
		cmocka_unit_test(names_types_for_people),
	};
	log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	return cmocka_run_group_tests_name("param", tests, NULL, NULL);
}
