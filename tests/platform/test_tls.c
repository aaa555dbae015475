/* The texts of pins, and files that are no certificates. Whole handshakes are tested in tests/e2e.
 */
#include "tests/unit.h"

#include "platform/tls.h"

#define HEX "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"
#define COLONS                                                                                     \
	"00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:"  \
	"DD:EE:FF"
#define BASE64 "ABEiM0RVZneImaq7zN3u/wARIjNEVWZ3iJmqu8zd7v8="

static void reads_pins(void **state)
{
	(void)state;
	struct error err;
	static const struct {
		const char *text;
		bool of_key;
	} cases[] = {{HEX, false},
		     {"sha256:" HEX, false},
		     {"SHA256:" HEX, false},
		     {COLONS, false},
		     {"sha256:" COLONS, false},
		     {"key:" HEX, true},
		     {"key:sha256:" HEX, true},
		     {"sha256//" BASE64, true},
		     {"key:sha256//" BASE64, true}};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct tls_pins pins;
		assert_ok(tls_pins_parse(cases[i].text, &pins, &err));
		assert_int_equal(pins.count, 1);
		assert_int_equal(pins.list[0].of_key, cases[i].of_key);
		assert_int_equal(pins.list[0].digest.type, DIGEST_SHA256);
		for (unsigned byte = 0; byte < 32; byte++)
			assert_int_equal(pins.list[0].digest.bytes[byte], byte % 16 * 0x11);
	}
	struct tls_pins pins;
	assert_ok(tls_pins_parse("", &pins, &err));
	assert_int_equal(pins.count, 0);
	assert_ok(tls_pins_parse(" " HEX ",key:" HEX " ", &pins, &err));
	assert_int_equal(pins.count, 2);
}

static void refuses_what_is_no_pin(void **state)
{
	(void)state;
	struct error err;
	struct tls_pins pins;
	static const char *const texts[] = {"x",          HEX "00",     "sha256:" HEX "0",
					    "sha1:" HEX,  "sha256//",   "sha256//" HEX,
					    "key:",       "sha256:",    ":" HEX,
					    HEX ":",      "0" HEX,      "cert:" HEX,
					    HEX ",wrong", COLONS ":00", "sha256//!" BASE64};
	for (size_t i = 0; i < COUNT(texts); i++)
		assert_fails(tls_pins_parse(texts[i], &pins, &err), ERROR_INPUT, "is no pin");
	assert_fails(tls_pins_parse(HEX "," HEX "," HEX "," HEX "," HEX "," HEX "," HEX "," HEX
					"," HEX,
				    &pins, &err),
		     ERROR_INPUT, "more than 8");
}

static void knows_files_that_hold_none(void **state)
{
	(void)state;
	struct error err;
	bool of_key;
	assert_fails(tls_check_roots("/proc/version", &err), ERROR_INPUT,
		     "/proc/version holds no certificate");
	assert_fails(tls_check_roots("/nowhere/ca.pem", &err), ERROR_NOT_FOUND, "/nowhere/ca.pem");
	assert_fails(tls_check_identity("/proc/version", "/nowhere", &of_key, &err), ERROR_INPUT,
		     "holds no certificate");
	assert_false(of_key);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_pins),
		cmocka_unit_test(refuses_what_is_no_pin),
		cmocka_unit_test(knows_files_that_hold_none),
	};
	return cmocka_run_group_tests_name("tls", tests, NULL, NULL);
}
