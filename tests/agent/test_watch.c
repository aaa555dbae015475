/* The transport that looks on: everything goes through unchanged, and is told. */
#include "tests/unit.h"

#include "agent/status.h"
#include "agent/watch.h"
#include "platform/text.h"

static enum transport_answer answer;
static unsigned closed, reports;
static struct transport inner;

static enum transport_answer get(struct transport *transport, struct action_request *ret_request,
				 struct transport_task *ret_task, struct error *err)
{
	assert_ptr_equal(transport, &inner);
	(void)ret_task;
	inner.server = "192.0.2.2:42113";
	if (answer == TRANSPORT_OK) {
		ret_request->workflow_id = text_dup("default/demo");
		ret_request->id = text_dup("one");
		ret_request->name = text_dup("write");
		ret_request->image = text_dup("writefile");
	} else {
		error_set(err, ERROR_NETWORK, "connection refused");
	}
	return answer;
}

static enum transport_answer report(struct transport *transport,
				    const struct action_request *request,
				    const struct transport_task *task, const struct report *what,
				    struct error *err)
{
	assert_ptr_equal(transport, &inner);
	assert_string_equal(request->name, "write");
	(void)task;
	reports++;
	if (answer != TRANSPORT_OK)
		error_set(err, ERROR_NETWORK, "no answer to %s", report_state_name(what->state));
	return answer;
}

static void close_it(struct transport *transport)
{
	assert_ptr_equal(transport, &inner);
	closed++;
}

static const struct transport_operations operations = {
	.get = get, .report = report, .close = close_it};

static const struct status *published(const char *path)
{
	static struct status status;
	auto_buffer struct buffer text = {.cap = STATUS_FILE_MOST};
	struct error err;
	assert_ok(buffer_read_file(&text, path, &err));
	status_parse((const char *)text.data, text.size, &status);
	return &status;
}

static void tells_what_passes(void **state)
{
	(void)state;
	char *directory = directory_make();
	char *path = path_in(directory, "status");
	struct action_request request = {.timeout_s = 0};
	struct transport_task task = {.task_id = NULL};
	struct error err;
	static struct report what;
	inner = (struct transport){.operations = &operations, .server = "192.0.2.1:42113"};
	status_open(path, "id", "");
	struct transport *watch = watch_transport(&inner);
	assert_string_equal(watch->server, "192.0.2.1:42113");
	assert_int_equal(published(path)->server_state, STATUS_CONNECTING);

	answer = TRANSPORT_RETRY;
	assert_int_equal(watch->operations->get(watch, &request, &task, &err), TRANSPORT_RETRY);
	assert_string_equal(err.text, "connection refused");
	assert_string_equal(watch->server, "192.0.2.2:42113");
	assert_int_equal(published(path)->server_state, STATUS_ERROR);
	assert_string_equal(published(path)->server_text, "connection refused");
	answer = TRANSPORT_CANCELLED;
	watch->operations->get(watch, &request, &task, &err);
	assert_int_equal(published(path)->server_state, STATUS_ERROR);
	answer = TRANSPORT_NOTHING;
	watch->operations->get(watch, &request, &task, &err);
	assert_int_equal(published(path)->server_state, STATUS_ANSWERS);

	answer = TRANSPORT_OK;
	assert_int_equal(watch->operations->get(watch, &request, &task, &err), TRANSPORT_OK);
	assert_int_equal(published(path)->actions[0].state, STATUS_STARTING);
	/* RUNNING is what the server has acknowledged; an end is seen at once. */
	what.state = REPORT_RUNNING;
	answer = TRANSPORT_RETRY;
	watch->operations->report(watch, &request, &task, &what, &err);
	assert_int_equal(published(path)->actions[0].state, STATUS_STARTING);
	answer = TRANSPORT_OK;
	watch->operations->report(watch, &request, &task, &what, &err);
	assert_int_equal(published(path)->actions[0].state, STATUS_RUNNING);
	what.state = REPORT_FAILED;
	answer = TRANSPORT_RETRY;
	watch->operations->report(watch, &request, &task, &what, &err);
	assert_int_equal(published(path)->actions[0].state, STATUS_FAILED);
	assert_string_equal(published(path)->server_text, "no answer to FAILED");
	assert_int_equal(reports, 3);

	transport_close(watch);
	assert_int_equal(closed, 1);
	free(request.workflow_id);
	free(request.id);
	free(request.name);
	free(request.image);
	free(path);
	directory_remove(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(tells_what_passes)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
