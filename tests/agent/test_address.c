/* Server addresses as people and gRPC write them. */
#include "tests/unit.h"

#include "agent/address.h"

static void reads_every_spelling(void **state)
{
	(void)state;
	struct error err;
	static const struct {
		const char *text, *name, *host, *port, *socket;
	} cases[] = {
		{"tink", "tink:42113", "tink", "42113", NULL},
		{"tink.example:80", "tink.example:80", "tink.example", "80", NULL},
		{"192.0.2.1", "192.0.2.1:42113", "192.0.2.1", "42113", NULL},
		{"fd00::1", "[fd00::1]:42113", "[fd00::1]", "42113", NULL},
		{"[fd00::1]", "[fd00::1]:42113", "[fd00::1]", "42113", NULL},
		{"[fd00::1]:9", "[fd00::1]:9", "[fd00::1]", "9", NULL},
		{"fe80::1%eth0", "[fe80::1%25eth0]:42113", "[fe80::1%25eth0]", "42113", NULL},
		{"[fe80::1%25eth0]:9", "[fe80::1%25eth0]:9", "[fe80::1%25eth0]", "9", NULL},
		{"dns:///tink:9", "tink:9", "tink", "9", NULL},
		{"dns:tink", "tink:42113", "tink", "42113", NULL},
		{"dns:///[::1]:9", "[::1]:9", "[::1]", "9", NULL},
		{"ipv4:192.0.2.1:9", "192.0.2.1:9", "192.0.2.1", "9", NULL},
		{"ipv6:[::1]:9", "[::1]:9", "[::1]", "9", NULL},
		{"passthrough:///tink:9", "tink:9", "tink", "9", NULL},
		{"dns:42113", "dns:42113", "dns", "42113", NULL},
		{"unix:9", "unix:9", "unix", "9", NULL},
		{"unix:/run/x", "unix:/run/x", "localhost", "", "/run/x"},
		{"unix:///run/x", "unix:/run/x", "localhost", "", "/run/x"},
		{"unix:x.sock", "unix:x.sock", "localhost", "", "x.sock"},
		{"unix-abstract:x", "unix-abstract:x", "localhost", "", "@x"},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct address_list list;
		assert_ok(address_list_parse(cases[i].text, &list, &err));
		assert_int_equal(list.count, 1);
		assert_string_equal(list.list[0].name, cases[i].name);
		assert_string_equal(list.list[0].host, cases[i].host);
		assert_string_equal(list.list[0].port, cases[i].port);
		if (cases[i].socket)
			assert_string_equal(list.list[0].socket, cases[i].socket);
		else
			assert_null(list.list[0].socket);
		address_list_free(&list);
	}
}

static void reads_lists(void **state)
{
	(void)state;
	struct error err;
	struct address_list list;
	assert_ok(address_list_parse(" a, b:1 ,,unix:/x c ", &list, &err));
	static const char *const names[] = {"a:42113", "b:1", "unix:/x", "c:42113"};
	assert_int_equal(list.count, COUNT(names));
	for (size_t i = 0; i < COUNT(names); i++)
		assert_string_equal(list.list[i].name, names[i]);
	address_list_free(&list);
	assert_int_equal(list.count, 0);
}

static void refuses_what_is_none(void **state)
{
	(void)state;
	struct error err;
	struct address_list list;
	char path[130] = "unix:/";
	memset(path + 6, 'x', 110);
	const struct {
		const char *text, *words;
	} cases[] = {
		{"", "no server is named"},
		{" , ", "no server is named"},
		{"http://tink", "\"http://tink\" is a URL"},
		{"https://tink:1/x", "is a URL"},
		{"a,b:c", "\"b:c\": a port"},
		{"tink:", "a port is a number"},
		{"tink:0", "a port is a number"},
		{"tink:65536", "a port is a number"},
		{"tink:-1", "a port is a number"},
		{":42113", "is no server"},
		{"me@tink", "is no server"},
		{"tink/x", "is no server"},
		{"[::1", "is no server"},
		{"[::1]9", "is no server"},
		{"[tink]:9", "is no server"},
		{"::1::2", "is no server"},
		{"fe80::1%", "is no server"},
		{"fe80::1%a/b", "is no server"},
		{"t\xc3\xbcnk", "is no server"},
		{"unix:", "the path of a socket"},
		{"unix://", "the path of a socket"},
		{path, "the path of a socket"},
		{"dns://192.0.2.53/tink", "name server of its own"},
		{"a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q", "more than 16"},
	};
	for (size_t i = 0; i < COUNT(cases); i++)
		assert_fails(address_list_parse(cases[i].text, &list, &err), ERROR_INPUT,
			     cases[i].words);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_every_spelling),
		cmocka_unit_test(reads_lists),
		cmocka_unit_test(refuses_what_is_none),
	};
	return cmocka_run_group_tests_name("address", tests, NULL, NULL);
}
