/* Requests on their way to the child, and records on their way back. */
#include "tests/unit.h"

#include "actions/request.h"
#include "platform/text.h"

static struct action_request sample(void)
{
	struct action_request request = {
		.workflow_id = text_dup("wf"),
		.id = text_dup("id-1"),
		.name = text_dup("stream \xc3\xa4 image"),
		.image = text_dup("quay.io/x/image2disk:1"),
		.pid = text_dup("host"),
		.network = text_dup(""),
		.timeout_s = 90,
	};
	text_list_add(&request.command, NULL);
	text_list_add(&request.command, "sh");
	text_list_add(&request.command, "");
	text_list_add(&request.command, "two words\nand a line");
	text_list_add(&request.environment, "A=1");
	text_list_add(&request.volumes, NULL);
	return request;
}

static void assert_same_list(char *const *a, char *const *b)
{
	size_t i;
	for (i = 0; a[i] && b[i]; i++)
		assert_string_equal(a[i], b[i]);
	assert_true(!a[i] && !b[i]);
}

static void assert_same(const struct action_request *a, const struct action_request *b)
{
	assert_string_equal(a->workflow_id, b->workflow_id);
	assert_string_equal(a->id, b->id);
	assert_string_equal(a->name, b->name);
	assert_string_equal(a->image, b->image);
	assert_string_equal(a->pid, b->pid);
	assert_string_equal(a->network, b->network);
	assert_int_equal(a->timeout_s, b->timeout_s);
	assert_same_list(a->command, b->command);
	assert_same_list(a->environment, b->environment);
	assert_same_list(a->volumes, b->volumes);
}

static const struct child_settings settings = {.action = "image2disk",
					       .tls_ca = "/etc/ca.pem",
					       .log_level = "debug",
					       .native_registries = "quay.io",
					       .registries = {"r.example", "user", "pass", "a,b"},
					       .strict = true};

static void arrives_as_it_was_packed(void **state)
{
	(void)state;
	struct error err;
	auto_request struct action_request request = sample(), arrived = {.timeout_s = 0};
	auto_buffer struct buffer packed = {.cap = 0};
	struct child_settings got;
	assert_ok(child_pack(&request, &settings, &packed, &err));
	assert_ok(child_unpack(packed.data, packed.size, &arrived, &got, &err));
	assert_same(&request, &arrived);
	assert_string_equal(got.action, "image2disk");
	assert_string_equal(got.tls_ca, "/etc/ca.pem");
	assert_string_equal(got.log_level, "debug");
	assert_string_equal(got.native_registries, "quay.io");
	assert_string_equal(got.registries.name, "r.example");
	assert_string_equal(got.registries.username, "user");
	assert_string_equal(got.registries.password, "pass");
	assert_string_equal(got.registries.insecure, "a,b");
	assert_true(got.strict);
}

static void takes_missing_texts_for_empty_ones(void **state)
{
	(void)state;
	struct error err;
	struct action_request request = {.timeout_s = UINT64_MAX};
	auto_request struct action_request arrived = {.timeout_s = 0};
	auto_buffer struct buffer packed = {.cap = 0};
	struct child_settings got;
	assert_ok(child_pack(&request, &settings, &packed, &err));
	assert_ok(child_unpack(packed.data, packed.size, &arrived, &got, &err));
	assert_string_equal(arrived.image, "");
	assert_null(arrived.command[0]);
	assert_true(arrived.timeout_s == UINT64_MAX);
}

/* Cut anywhere, or with more behind it. Memory is of the exact size, so that ASan sees a step too
 * far. */
static void refuses_what_is_damaged(void **state)
{
	(void)state;
	struct error err;
	auto_request struct action_request request = sample();
	auto_buffer struct buffer packed = {.cap = 0};
	assert_ok(child_pack(&request, &settings, &packed, &err));
	for (size_t size = 0; size < packed.size; size++) {
		struct action_request arrived = {.timeout_s = 0};
		struct child_settings got;
		uint8_t *cut = malloc(size ? size : 1);
		memcpy(cut, packed.data, size);
		assert_fails(child_unpack(cut, size, &arrived, &got, &err), ERROR_BUG, "damaged");
		assert_null(arrived.id);
		free(cut);
	}
	struct action_request arrived = {.timeout_s = 0};
	struct child_settings got;
	assert_ok(buffer_add(&packed, "", 1, &err));
	assert_fails(child_unpack(packed.data, packed.size, &arrived, &got, &err), ERROR_BUG,
		     "damaged");
}

static void copies_deeply(void **state)
{
	(void)state;
	struct action_request request = sample();
	auto_request struct action_request copy = {.timeout_s = 0};
	action_request_copy(&request, &copy);
	assert_same(&request, &copy);
	assert_true(copy.id != request.id && copy.command[0] != request.command[0]);
	action_request_free(&request);
	assert_null(request.id);
	assert_string_equal(copy.command[2], "two words\nand a line");
	auto_request struct action_request empty = {.timeout_s = 0};
	action_request_copy(&request, &empty);
	assert_string_equal(empty.image, "");
	assert_null(empty.volumes[0]);
}

static void refuses_records_that_are_none(void **state)
{
	(void)state;
	struct error err;
	struct record record = {.magic = RECORD_MAGIC, .type = RECORD_RESULT};
	assert_ok(record_check(&record, &err));
	record.magic++;
	assert_fails(record_check(&record, &err), ERROR_PROTOCOL, "mark");
	static const uint32_t types[] = {0, 3, UINT32_MAX};
	for (size_t i = 0; i < COUNT(types); i++) {
		record = (struct record){.magic = RECORD_MAGIC, .type = types[i]};
		assert_fails(record_check(&record, &err), ERROR_PROTOCOL, "unknown kind");
	}
	record = (struct record){.magic = RECORD_MAGIC, .type = RECORD_RESULT};
	record.as.result.error.kind = (enum error_kind)(ERROR_BUG + 1);
	assert_fails(record_check(&record, &err), ERROR_PROTOCOL, "unknown kind");
	record.as.result.error.kind = ERROR_NONE;
	record.as.result.after.kind = (enum after_kind)(AFTER_RUN + 1);
	assert_fails(record_check(&record, &err), ERROR_PROTOCOL, "unknown kind");
}

/* A child that went mad must not make the agent read beyond a text. */
static void makes_texts_of_records_safe(void **state)
{
	(void)state;
	struct error err;
	struct record record;
	static const unsigned char fills[] = {'x', 0xff, 0x1b, 0xe2};
	for (size_t i = 0; i < COUNT(fills); i++) {
		memset(&record, fills[i], sizeof(record));
		record.magic = RECORD_MAGIC;
		record.type = RECORD_RESULT;
		record.as.result.error.kind = ERROR_IO;
		record.as.result.after.kind = AFTER_RUN;
		assert_ok(record_check(&record, &err));
		assert_true(memchr(record.as.result.error.text, '\0', ERROR_TEXT_SIZE));
		assert_true(memchr(record.as.result.summary, '\0', RESULT_TEXT_SIZE));
		assert_true(memchr(record.as.result.after.image, '\0', AFTER_IMAGE_SIZE));
		assert_true(text_is_utf8(record.as.result.error.text,
					 strlen(record.as.result.error.text)));
		memset(&record, fills[i], sizeof(record));
		record.magic = RECORD_MAGIC;
		record.type = RECORD_PROGRESS;
		assert_ok(record_check(&record, &err));
		assert_true(memchr(record.as.progress.phase, '\0', PHASE_SIZE));
		assert_true(
			text_is_utf8(record.as.progress.phase, strlen(record.as.progress.phase)));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(arrives_as_it_was_packed),
		cmocka_unit_test(takes_missing_texts_for_empty_ones),
		cmocka_unit_test(refuses_what_is_damaged),
		cmocka_unit_test(copies_deeply),
		cmocka_unit_test(refuses_records_that_are_none),
		cmocka_unit_test(makes_texts_of_records_safe),
	};
	return cmocka_run_group_tests_name("request", tests, NULL, NULL);
}
