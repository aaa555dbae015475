/* Records of /dev/kmsg, as kernels write them. */
#include "tests/unit.h"

#include "platform/kmsg.h"

static struct kmsg_record parsed(const char *text)
{
	struct kmsg_record record;
	memset(&record, 0xa5, sizeof(record));
	assert_true(kmsg_parse(text, strlen(text), &record));
	return record;
}

static void reads_the_kernels(void **state)
{
	(void)state;
	/* Documentation/ABI/testing/dev-kmsg. */
	struct kmsg_record record =
		parsed("7,160,424069,-;pci_root PNP0A03:00: host bridge window [io  "
		       "0x0000-0x0cf7] (ignored)\n SUBSYSTEM=acpi\n "
		       "DEVICE=+acpi:PNP0A03:00\n");
	assert_int_equal(record.severity, 7);
	assert_int_equal(record.facility, 0);
	assert_int_equal(record.sequence, 160);
	assert_int_equal(record.time_us, 424069);
	assert_string_equal(record.program, "kernel");
	assert_string_equal(record.process, "");
	assert_string_equal(record.text, "pci_root PNP0A03:00: host bridge window [io  "
					 "0x0000-0x0cf7] (ignored)");
	record = parsed("6,339,5140900,-,caller=T1;NET: Registered\n");
	assert_string_equal(record.text, "NET: Registered");
	record = parsed("3,1,0,c;a\\x0ab \\xe2\\x82\\xac \\x5cx\\x1b[1m\\x\\x4");
	assert_string_equal(record.text, "a b \xe2\x82\xac \\x\\x\\x4");
}

static void reads_who_else_speaks_there(void **state)
{
	(void)state;
	struct kmsg_record record = parsed("30,7,99,-;systemd-udevd[123]: Using default rules\n");
	assert_int_equal(record.severity, 6);
	assert_int_equal(record.facility, 3);
	assert_string_equal(record.program, "systemd-udevd");
	assert_string_equal(record.process, "123");
	assert_string_equal(record.text, "Using default rules");
	record = parsed("30,7,99,-;init: hello: you\n");
	assert_string_equal(record.program, "init");
	assert_string_equal(record.text, "hello: you");
	record = parsed("12,7,99,-;[1]: no name");
	assert_string_equal(record.program, "kernel");
	assert_string_equal(record.text, "[1]: no name");
	record = parsed("12,7,99,-;init[12: x");
	assert_string_equal(record.text, "init[12: x");
}

static void refuses_what_is_none(void **state)
{
	(void)state;
	static const char *const wrong[] = {"",           "6",
					    "6,1,2",      "6,1,2,-",
					    "x,1,2,-;a",  "6,,2,-;a",
					    "6,1,,-;a",   "-6,1,2,-;a",
					    "9999,1,2;a", "6,99999999999999999999999,2;a"};
	struct kmsg_record record;
	for (size_t i = 0; i < COUNT(wrong); i++)
		assert_false(kmsg_parse(wrong[i], strlen(wrong[i]), &record));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_the_kernels),
		cmocka_unit_test(reads_who_else_speaks_there),
		cmocka_unit_test(refuses_what_is_none),
	};
	return cmocka_run_group_tests_name("kmsg", tests, NULL, NULL);
}
