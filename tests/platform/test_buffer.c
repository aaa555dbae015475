/* The bounded buffer. */
#include "tests/unit.h"

#include "platform/buffer.h"

static void grows_up_to_its_cap(void **state)
{
	(void)state;
	struct error err;
	auto_buffer struct buffer buffer = {.cap = 1000};
	uint8_t data[700];
	fill_random(data, sizeof(data), 1);
	assert_ok(buffer_add(&buffer, data, 700, &err));
	assert_ok(buffer_add(&buffer, data, 300, &err));
	assert_int_equal(buffer.size, 1000);
	assert_fails(buffer_add(&buffer, data, 1, &err), ERROR_INPUT, "1000 bytes");
	assert_fails(buffer_add(&buffer, data, SIZE_MAX, &err), ERROR_INPUT, "1000 bytes");
	assert_int_equal(buffer.size, 1000);
	assert_memory_equal(buffer.data, data, 700);
	assert_memory_equal(buffer.data + 700, data, 300);
	assert_ok(buffer_add(&buffer, NULL, 0, &err));
}

static void has_a_cap_without_being_told(void **state)
{
	(void)state;
	struct error err;
	auto_buffer struct buffer buffer = {.cap = 0};
	assert_fails(buffer_reserve(&buffer, BUFFER_DEFAULT_CAP + 1, &err), ERROR_INPUT, "bytes");
	assert_null(buffer.data);
}

static void consumes_from_the_front(void **state)
{
	(void)state;
	struct error err;
	auto_buffer struct buffer buffer = {.cap = 16};
	assert_ok(buffer_add(&buffer, "abcdef", 6, &err));
	buffer_consume(&buffer, 2);
	assert_int_equal(buffer.size, 4);
	assert_memory_equal(buffer.data, "cdef", 4);
	buffer_consume(&buffer, 99);
	assert_int_equal(buffer.size, 0);
	assert_ok(buffer_add(&buffer, "0123456789abcdef", 16, &err));
}

static void can_be_used_again_after_free(void **state)
{
	(void)state;
	struct error err;
	auto_buffer struct buffer buffer = {.cap = 4};
	assert_ok(buffer_add(&buffer, "abcd", 4, &err));
	buffer_free(&buffer);
	assert_int_equal(buffer.size, 0);
	assert_ok(buffer_add(&buffer, "efgh", 4, &err));
	assert_fails(buffer_add(&buffer, "i", 1, &err), ERROR_INPUT, "4 bytes");
}

static void reads_files_as_text(void **state)
{
	(void)state;
	struct error err;
	char *directory = directory_make(), *path = path_in(directory, "file");
	uint8_t data[40000];
	fill_random(data, sizeof(data), 2);
	/* Around powers of two, where the NUL needs room of its own. */
	static const size_t sizes[] = {0, 1, 255, 256, 257, 16383, 16384, 16385, 32768, 40000};
	for (size_t i = 0; i < COUNT(sizes); i++) {
		auto_buffer struct buffer buffer = {.cap = 0};
		file_write(path, data, sizes[i]);
		assert_ok(buffer_read_file(&buffer, path, &err));
		assert_int_equal(buffer.size, sizes[i]);
		if (sizes[i] > 0)
			assert_memory_equal(buffer.data, data, sizes[i]);
		assert_int_equal(buffer.data[buffer.size], '\0');
	}
	auto_buffer struct buffer small = {.cap = 100};
	file_write(path, data, 101);
	assert_fails(buffer_read_file(&small, path, &err), ERROR_INPUT, path);
	unlink(path);
	assert_fails(buffer_read_file(&small, path, &err), ERROR_NOT_FOUND, path);
	free(path);
	directory_remove(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(grows_up_to_its_cap),
		cmocka_unit_test(has_a_cap_without_being_told),
		cmocka_unit_test(consumes_from_the_front),
		cmocka_unit_test(can_be_used_again_after_free),
		cmocka_unit_test(reads_files_as_text),
	};
	return cmocka_run_group_tests_name("buffer", tests, NULL, NULL);
}
