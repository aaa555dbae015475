/* Which hosts are reached without a proxy. */
#include "tests/unit.h"

#include "platform/no_proxy.h"

static void matches_what_is_listed(void **state)
{
	(void)state;
	static const struct {
		const char *list, *host, *port;
		bool expected;
	} cases[] = {
		{NULL, "tink", "1", false},
		{"", "tink", "1", false},
		{" , ", "tink", "1", false},
		{"*", "tink", "1", true},
		{"a,*", "[::1]", "1", true},
		{"tink", "tink", "1", true},
		{"TINK", "tink", "1", true},
		{"a, tink b", "tink", "1", true},
		{"tink.example", "a.tink.example", "1", true},
		{"tink.example", "atink.example", "1", false},
		{"example", "tink.example", "1", true},
		{"tink.example", "example", "1", false},
		{".example", "tink.example", "1", true},
		{".example", "example", "1", false},
		{"*.example", "tink.example", "1", true},
		{".", "tink", "1", false},
		{"tink:1", "tink", "1", true},
		{"tink:2", "tink", "1", false},
		{"10.0.0.1", "10.0.0.1", "1", true},
		{"10.0.0.1:1", "10.0.0.1", "1", true},
		{"10.0.0.1:2", "10.0.0.1", "1", false},
		{"10.0.0.1", "10.0.0.2", "1", false},
		{"0.0.1", "10.0.0.1", "1", false},
		{"10.0.0.0/8", "10.9.9.9", "1", true},
		{"10.0.0.0/8", "11.0.0.0", "1", false},
		{"10.0.0.0/9", "10.127.0.1", "1", true},
		{"10.0.0.0/9", "10.128.0.1", "1", false},
		{"0.0.0.0/0", "192.0.2.1", "1", true},
		{"0.0.0.0/0", "[::1]", "1", false},
		{"10.0.0.1/32", "10.0.0.1", "1", true},
		{"10.0.0.1/33", "10.0.0.1", "1", false},
		{"10.0.0.0/", "10.0.0.1", "1", false},
		{"10.0.0.0/8", "ten", "1", false},
		{"fd00::1", "[fd00::1]", "1", true},
		{"[fd00::1]", "[fd00:0::1]", "1", true},
		{"[fd00::1]:1", "[fd00::1]", "1", true},
		{"[fd00::1]:2", "[fd00::1]", "1", false},
		{"fd00::/8", "[fdff::1]", "1", true},
		{"fd00::/8", "[fe80::1%25eth0]", "1", false},
		{"fe80::/10", "[fe80::1%25eth0]", "1", true},
	};
	for (size_t i = 0; i < COUNT(cases); i++)
		if (no_proxy_matches(cases[i].list, cases[i].host, cases[i].port) !=
		    cases[i].expected)
			fail_msg("\"%s\" and %s", cases[i].list, cases[i].host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(matches_what_is_listed)};
	return cmocka_run_group_tests_name("no_proxy", tests, NULL, NULL);
}
