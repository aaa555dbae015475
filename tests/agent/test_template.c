#include "tests/unit.h"

#include "agent/template.h"

static struct problems problems;

static int end(void **state)
{
	(void)state;
	problems_free(&problems);
	return 0;
}

static struct value *values_of(const char *lines)
{
	struct value *values = value_new(VALUE_MAP);
	struct error err;
	char *text = strdup(lines);
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		assert_ok(values_set(values, line, &err));
	free(text);
	return values;
}

/* The output; freed by the caller. NULL when the text is no template. */
static char *render(const char *text, const char *lines)
{
	struct text_map source, map;
	struct buffer out = {.cap = 0};
	struct error err;
	char *copy = NULL;
	problems_free(&problems);
	text_map_init(&source, text, strlen(text), NULL);
	struct value *values = values_of(lines);
	if (template_render(&source, values, &out, &map, &problems)) {
		assert_ok(buffer_add(&out, "", 1, &err));
		copy = strdup((const char *)out.data);
		text_map_free(&map);
	}
	value_free(values);
	text_map_free(&source);
	buffer_free(&out);
	return copy;
}

static const char *const machine = "device_1=52:54:00:00:00:01\nHardware.Disks[0]=/dev/sda\n"
				   "Hardware.Disks[1]=/dev/nvme0n1\nyes=true\nno=false\ncount=3\n"
				   "Hardware.Interfaces[0].DHCP.MAC=00:11:22:33:44:55\n"
				   "empty=\nname=Debian 12\nsecret=aGVsbG8=\nmap.b=2\nmap.a=1";

static void test_renders(void **state)
{
	static const struct {
		const char *text, *expected;
	} cases[] = {
		{"", ""},
		{"plain } text {", "plain } text {"},
		{"{{.device_1}}", "52:54:00:00:00:01"},
		{"a {{ .count }} b", "a 3 b"},
		{"a {{- .count -}} b", "a3b"},
		{"a \n {{- /* what */ -}} \n b", "ab"},
		{"{{/* a }} b */}}x", "x"},
		{"{{ index .Hardware.Disks 0 }}", "/dev/sda"},
		{"{{ index .map \"z\" | default \"x\" }}", "x"},
		{"{{ if index .map \"z\" }}a{{ else }}b{{ end }}", "b"},
		{"{{ formatPartition ( index .Hardware.Disks 0 ) 1 }}", "/dev/sda1"},
		{"{{ formatPartition (index .Hardware.Disks 1) 2 }}", "/dev/nvme0n1p2"},
		{"{{ formatPartition \"/dev/disk/by-id/x\" 3 }}", "/dev/disk/by-id/x-part3"},
		{"{{ (index .Hardware.Interfaces 0).DHCP.MAC | replace \":\" \"-\" }}",
		 "00-11-22-33-44-55"},
		{"{{ (index .Hardware.Interfaces 0).DHCP.MAC | replace \":\" \"\" | upper }}",
		 "001122334455"},
		{"{{ if .yes }}a{{ else }}b{{ end }}", "a"},
		{"{{ if .no }}a{{ else }}b{{ end }}", "b"},
		{"{{ if .no }}a{{ else if eq .count 3 }}c{{ else }}b{{ end }}", "c"},
		{"{{ if .no }}a{{ else if .empty }}c{{ else if .no }}d{{ end }}e", "e"},
		{"{{ if and .yes (not .no) }}a{{ end }}", "a"},
		{"{{ if or .empty .no }}a{{ end }}", ""},
		{"{{ if or .yes .nothing }}a{{ end }}", "a"},
		{"{{ range .Hardware.Disks }}[{{ . }}]{{ end }}", "[/dev/sda][/dev/nvme0n1]"},
		{"{{ range $i, $d := .Hardware.Disks }}{{ $i }}={{ $d }} {{ $.count }};{{ end }}",
		 "0=/dev/sda 3;1=/dev/nvme0n1 3;"},
		{"{{ range $k, $v := .map }}{{ $k }}{{ $v }}{{ end }}", "a1b2"},
		{"{{ range list }}a{{ else }}none{{ end }}", "none"},
		{"{{ range $i := 3 }}{{ $i }}{{ end }}", "012"},
		{"{{ with .map }}{{ .a }}{{ end }}{{ with .empty }}x{{ else }}y{{ end }}", "1y"},
		{"{{ with $x := .map }}{{ $x.b }}{{ end }}", "2"},
		{"{{ $x := 1 }}{{ if .yes }}{{ $x = 2 }}{{ end }}{{ $x }}", "2"},
		{"{{ $x := 1 }}{{ if .yes }}{{ $x := 2 }}{{ end }}{{ $x }}", "1"},
		{"{{ \"a\\tb\\\"\" }}{{ `raw\\n` }}{{ true }}{{ -5 }}", "a\tb\"raw\\ntrue-5"},
		{"{{ default \"x\" .empty }}{{ default \"x\" .count }}", "x3"},
		{"{{ .name | lower | quote }}", "\"debian 12\""},
		{"{{ squote .name }}", "'Debian 12'"},
		{"{{ .secret | b64dec }}{{ \"hello\" | b64enc }}", "helloaGVsbG8="},
		{"{{ contains \"nvme\" (index .Hardware.Disks 1) }}", "true"},
		{"{{ hasPrefix \"/dev\" \"/dev/sda\" }}{{ hasSuffix \"a\" \"/dev/sdb\" }}",
		 "truefalse"},
		{"{{ netmaskToPrefixLength \"255.255.240.0\" }}", "20"},
		{"{{ len .Hardware.Disks }}{{ len \"abc\" }}", "23"},
		{"{{ join \",\" .Hardware.Disks }}{{ last .Hardware.Disks }}",
		 "/dev/sda,/dev/nvme0n1/dev/nvme0n1"},
		{"{{ splitList \"-\" \"a-b\" | first }}", "a"},
		{"{{ printf \"%s/%02d/%v/%q%%\" .name .count .yes \"x\" }}",
		 "Debian 12/03/true/\"x\"%"},
		{"{{ add 1 2 3 }} {{ sub 5 7 }} {{ mul 2 .count }} {{ div 7 2 }} {{ mod 7 2 }}",
		 "6 -2 6 3 1"},
		{"{{ lt 1 2 }}{{ ge 1 2 }}{{ ne \"a\" \"b\" }}{{ eq .count 1 3 }}",
		 "truefalsetruetrue"},
		{"{{ dig \"map\" \"c\" \"none\" . }}{{ dig \"map\" \"a\" \"none\" . }}", "none1"},
		{"{{ ternary \"a\" \"b\" .yes }}{{ coalesce .empty .count }}", "a3"},
		{"{{ keys .map | sortAlpha | join \"+\" }}{{ hasKey .map \"a\" }}", "a+btrue"},
		{"{{ \"a\\nb\" | nindent 2 }}", "\n  a\n  b"},
		{"{{ trimPrefix \"/dev/\" \"/dev/sda\" }}{{ trimSuffix \".gz\" \"a.gz\" }}"
		 "{{ trim \" x \" }}",
		 "sdaax"},
		{"{{ .Hardware.Disks }}{{ .map }}", "[/dev/sda /dev/nvme0n1]map[a:1 b:2]"},
		{"{{ if\n .yes }}a{{\nend\n}}", "a"},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		char *output = render(cases[i].text, machine);
		if (problems.count > 0)
			fail_msg("%s: %s", cases[i].text, problems.list[0].text);
		if (!output || strcmp(output, cases[i].expected) != 0)
			fail_msg("%s: \"%s\", not \"%s\"", cases[i].text,
				 output ? output : "(none)", cases[i].expected);
		free(output);
	}
}

static void test_says_what_is_wrong_and_where(void **state)
{
	static const struct {
		const char *text;
		unsigned line, column;
		const char *words;
	} cases[] = {
		{"a\n {{ .x", 2, 2, "this {{ has no }}"},
		{"{{ if .yes }}a", 1, 1, "this has no {{ end }}"},
		{"a {{ end }}", 1, 3, "not begun"},
		{"{{ if .yes }}a{{ else }}b{{ else }}c{{ end }}", 1, 1, "second else"},
		{"{{ formatPartitoin 1 }}", 1, 4, "did you mean formatPartition?"},
		{"{{ getHostByName \"x\" }}", 1, 4, "getHostByName is not supported"},
		{"{{ template \"x\" }}", 1, 4, "template is not supported"},
		{"{{ .a.my-key }}", 1, 9, "index .map \"my-key\""},
		{"{{ .yes .no }}", 1, 9, "behind a value"},
		{"{{ .yes | .no }}", 1, 11, "piped into a function"},
		{"{{ (.yes }}", 1, 4, "parenthesis"},
		{"{{ \"abc }}\n", 1, 4, "has no end"},
		{"{{ \"\\q\" }}", 1, 5, "escape"},
		{"{{ 1.5 }}", 1, 4, "1.5 is not a whole decimal number"},
		{"{{ ~ }}", 1, 4, "character"},
		{"{{ }}", 1, 4, "a value is missing"},
		{"{{ eq 1 }}", 1, 4, "eq does not take 1 argument"},
		{"{{ lower }}", 1, 4, "lower takes 1 arguments, not 0"},
		{"{{ $x }}", 1, 4, "there is no variable $x"},
		{"{{ $x = 1 }}", 1, 1, "there is no variable $x"},
		{"{{ .count.a }}", 1, 10, ".count has no fields"},
		{"{{ index .Hardware.Disks 2 }}", 1, 4, "there is no number 2: the list has 2"},
		{"{{ index .map \"z\" }}", 1, 4, "there is no \"z\""},
		{"{{ toString (index .map \"z\") }}", 1, 4, "there is no \"z\""},
		{"{{ printf \"%s\" (index .map \"z\") }}", 1, 4, "there is no \"z\""},
		{"{{ list (index .map \"z\") }}", 1, 4, "there is no \"z\""},
		{"{{ div 1 0 }}", 1, 4, "division by 0"},
		{"{{ mul 9223372036854775807 2 }}", 1, 4, "too large"},
		{"{{ eq .map 1 }}", 1, 4, "cannot be compared"},
		{"{{ fail \"no disk\" }}", 1, 4, "fail: no disk"},
		{"{{ contains (index .Hardware.Disks 1) \"nvme\" }}", 1, 4, "comes first"},
		{"{{ b64dec \"!\" }}", 1, 4, "b64dec"},
		{"{{ netmaskToPrefixLength \"255.0.255.0\" }}", 1, 4, "netmask"},
		{"{{ printf \"%d\" \"x\" }}", 1, 4, "not a number"},
		{"{{ printf \"%s\" }}", 1, 4, "no argument"},
		{"{{ repeat 300000 \"a\" }}", 1, 4, "repeat"},
		{"{{ range $i := 1000000 }}{{ $i }}{{ end }}", 1, 26, "steps"},
		{"{{ range .name }}{{ end }}", 1, 1, "range goes over a list or a map"},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		free(render(cases[i].text, machine));
		if (problems.errors != 1)
			fail_msg("%s: %zu errors (%s)", cases[i].text, problems.errors,
				 problems.count ? problems.list[0].text : "");
		assert_contains(problems.list[0].text, cases[i].words);
		if (problems.list[0].place.line != cases[i].line ||
		    problems.list[0].place.column != cases[i].column)
			fail_msg("%s: at %u:%u, not %u:%u", cases[i].text,
				 problems.list[0].place.line, problems.list[0].place.column,
				 cases[i].line, cases[i].column);
	}
}

/* Long chains make high trees too. */
static void test_bounds_chains(void **state)
{
	static const struct {
		const char *first, *link;
	} cases[] = {{"\"a\"", " | lower"}, {"", ".a"}, {"$", ".a"}, {"(.a)", ".a"}};
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		auto_buffer struct buffer text = {.cap = 4 << 20};
		struct error err;
		assert_ok(buffer_add(&text, "{{ ", 3, &err));
		assert_ok(buffer_add(&text, cases[i].first, strlen(cases[i].first), &err));
		for (size_t link = 0; link < 200000; link++)
			assert_ok(buffer_add(&text, cases[i].link, strlen(cases[i].link), &err));
		assert_ok(buffer_add(&text, " }}", 4, &err));
		free(render((const char *)text.data, machine));
		assert_int_equal(problems.errors, 1);
		assert_contains(problems.list[0].text, "nested too deep");
	}
}

static void test_names_all_that_is_not_set(void **state)
{
	(void)state;
	char *output = render("a: {{ .one }}\nb: {{ .two.three }} {{ .one }}\n"
			      "c: {{ index .list 0 | upper }}\n{{ if .four }}x{{ .five }}{{ end }}",
			      "two=1\ntwo.x=1");
	assert_int_equal(problems.errors, 5);
	assert_contains(problems.list[0].text, ".one has no value: give it by --set one=VALUE");
	assert_contains(problems.list[1].text, ".two.three has no value");
	assert_int_equal(problems.list[1].place.line, 2);
	assert_contains(problems.list[2].text, "--set list[0]=VALUE");
	assert_contains(problems.list[3].text, ".four");
	assert_contains(problems.list[4].text, ".five");
	assert_contains(output, "a: " TEMPLATE_UNKNOWN "\n");
	free(output);
}

static void test_output_leads_back_to_the_source(void **state)
{
	struct text_map source, map;
	struct buffer out = {.cap = 0};
	const char *text = "one {{ .a }}\ntwo {{ .a }} three\nfour";
	(void)state;
	text_map_init(&source, text, strlen(text), NULL);
	struct value *values = values_of("a=long long long");
	assert_true(template_render(&source, values, &out, &map, &problems));
	/* Line 2 of the output: "two long long long three". */
	struct place place = text_map_resolve(&map, (struct place){.line = 2, .column = 20});
	assert_int_equal(place.line, 2);
	assert_int_equal(place.column, 14);
	place = text_map_resolve(&map, (struct place){.line = 2, .column = 9});
	assert_int_equal(place.line, 2);
	assert_int_equal(place.column, 5);
	place = text_map_resolve(&map, (struct place){.line = 3, .column = 2});
	assert_int_equal(place.line, 3);
	assert_int_equal(place.column, 2);
	text_map_free(&map);
	text_map_free(&source);
	value_free(values);
	buffer_free(&out);
}

static void test_values_are_set_by_name(void **state)
{
	struct error err;
	(void)state;
	struct value *values = value_new(VALUE_MAP);
	assert_ok(values_set(values, ".a.b[0].c=x=y", &err));
	assert_ok(values_set(values, "a.b[1]=2", &err));
	assert_ok(values_set(values, "mode=0644", &err));
	assert_ok(values_set(values, "none=", &err));
	const struct value *list = value_get(value_get(values, "a"), "b");
	assert_string_equal(value_get(list->items[0], "c")->text, "x=y");
	assert_int_equal(list->items[1]->number, 2);
	assert_string_equal(value_get(values, "mode")->text, "0644");
	assert_string_equal(value_get(values, "none")->text, "");
	assert_fails(values_set(values, "a", &err), ERROR_INPUT, "not NAME=VALUE");
	assert_fails(values_set(values, "=a", &err), ERROR_INPUT, "not NAME=VALUE");
	assert_fails(values_set(values, "a..b=1", &err), ERROR_INPUT, "not NAME=VALUE");
	assert_fails(values_set(values, "l[1]=1", &err), ERROR_INPUT, "set [0] before [1]");
	assert_fails(values_set(values, "l[x]=1", &err), ERROR_INPUT, "index");
	assert_fails(values_set(values, "l[9999]=1", &err), ERROR_INPUT, "from 0 to");
	assert_fails(values_set(values, "l[0]x=1", &err), ERROR_INPUT, "behind ]");
	value_free(values);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_renders, end),
		cmocka_unit_test_teardown(test_says_what_is_wrong_and_where, end),
		cmocka_unit_test_teardown(test_bounds_chains, end),
		cmocka_unit_test_teardown(test_names_all_that_is_not_set, end),
		cmocka_unit_test_teardown(test_output_leads_back_to_the_source, end),
		cmocka_unit_test_teardown(test_values_are_set_by_name, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
