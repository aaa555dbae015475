/* Large blocks of memory: any size, any alignment, a difference at any place. */
#include "tests/unit.h"

#include "platform/memory.h"

static void finds_a_single_byte(void **state)
{
	(void)state;
	uint8_t data[300] = {0}, other[300] = {0};
	for (size_t size = 0; size < 200; size++) {
		for (size_t offset = 0; offset < 17; offset++) {
			assert_true(memory_is_zero(data + offset, size));
			assert_true(memory_is_same(data + offset, other + 3, size));
			/* What stands beside does not count. */
			data[offset + size] = 1;
			assert_true(memory_is_zero(data + offset, size));
			data[offset + size] = 0;
			for (size_t at = 0; at < size; at += 1 + size / 7) {
				data[offset + at] = 0x80;
				assert_false(memory_is_zero(data + offset, size));
				assert_false(memory_is_same(data + offset, other + 3, size));
				data[offset + at] = 0;
			}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_a_single_byte),
	};
	return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
