"""The stand-in over gRPC: its answers, its faults and what it notices."""

import json
import threading
import time

import grpc
import pytest

from server import messages, tls
from server.client import Client
from server.tink import TinkServer

AGENT = "52:54:00:00:00:01"


@pytest.fixture
def server():
    with TinkServer(long_poll_s=0.3, progress_spacing_s=0) as running:
        yield running


@pytest.fixture
def client(server):
    with Client(server.authority, AGENT) as running:
        yield running


@pytest.fixture
def workflow(server):
    return server.add_actions(AGENT, [{"name": "one", "image": "a"}, {"name": "two", "image": "b"}], name="w")


def error_of(function, *arguments, **fields):
    with pytest.raises(grpc.RpcError) as caught:
        function(*arguments, **fields)
    return caught.value


def code_of(function, *arguments, **fields):
    return error_of(function, *arguments, **fields).code().name


# --- answers


def test_a_workflow_from_start_to_end(server, client, workflow):
    for name in ("one", "two"):
        action = client.get_action()
        assert (action.name, action.workflow_id, action.agent_id) == (name, "default/w", AGENT)
        client.run(action, message=f"{name} is done")
    assert server.wait_acknowledged(workflow) == "SUCCESS"
    assert [action.message for action in workflow.actions] == ["one is done", "two is done"]
    assert [(r.action_name, r.state, r.code, r.stored, r.acknowledged) for r in server.reports] == [
        (name, state, "OK", True, True) for name in ("one", "two") for state in ("RUNNING", "SUCCESS")]
    assert server.violations == []


def test_nothing_to_do_is_a_long_poll_with_details(server, client):
    server.details = True
    start_s = time.monotonic()
    error = error_of(client.get_action)
    assert time.monotonic() - start_s >= 0.3
    assert error.code().name == "NOT_FOUND"
    trailer = dict(error.trailing_metadata())["grpc-status-details-bin"]
    status = messages.Status.FromString(trailer)
    assert (status.code, status.message) == (5, error.details())
    failure = messages.PreconditionFailure.FromString(status.details[0].value)
    assert failure.violations[0].type == messages.NO_ACTION_AVAILABLE


def test_a_new_workflow_ends_the_long_poll(server, client):
    server.long_poll_s = 10
    threading.Timer(0.2, server.add_actions, [AGENT, [{"image": "a"}]]).start()
    assert client.get_action().name == "action-1"


def test_finished_workflow_is_a_failed_precondition(server, client, workflow):
    client.run(client.get_action(), "FAILED", "no disk")
    assert workflow.state == "FAILED"
    error = error_of(client.get_action)
    assert (error.code().name, error.details()) == ("FAILED_PRECONDITION", "Workflow not in pending or running state")


def test_the_next_workflow_of_an_agent_follows(server, client, workflow):
    client.run(client.get_action(), "FAILED", "no disk")
    server.add_actions(AGENT, [{"name": "other", "image": "a"}], name="w2")
    assert client.get_action().name == "other"


def test_two_agents_at_once(server, client, workflow):
    server.add_actions("b", [{"name": "mine", "image": "a"}], name="w2")
    with Client(server.authority, "b") as other:
        assert [client.get_action().name, other.get_action().name] == ["one", "mine"]


def test_bad_requests(server, client, workflow):
    client.agent_id = ""
    assert code_of(client.get_action) == "INVALID_ARGUMENT"
    client.agent_id = AGENT
    action = client.get_action()
    assert code_of(client.report, action, "RUNNING", workflow_id="") == "INVALID_ARGUMENT"
    assert code_of(client.report, action, "RUNNING", action_id="x") == "NOT_FOUND"
    assert code_of(client.raw["GetWorkflowActions"], b"") == "UNIMPLEMENTED"


def test_invalid_utf8_is_refused_at_once(server, client, workflow):
    server.report_retry_s = 10
    action = client.get_action()
    data = client.status(action, "FAILED", "broken XX").SerializeToString().replace(b"XX", b"\xff\xc3")
    error = error_of(client.raw["ReportActionStatus"], data, timeout=5)
    assert error.code().name == "INTERNAL"
    assert "error unmarshalling" in error.details()
    assert server.reports == []


def test_a_deleted_workflow(server, client, workflow):
    action = client.get_action()
    client.report(action, "RUNNING")
    server.delete(workflow)
    start_s = time.monotonic()
    error = error_of(client.report, action, "SUCCESS")
    assert time.monotonic() - start_s >= 0.3
    assert error.code().name == "INTERNAL"
    assert error.details().endswith('Workflow.tinkerbell.org "w" not found')
    assert code_of(client.get_action) == "NOT_FOUND"


def test_attributes_are_kept(server, client, workflow):
    attributes = messages.ActionRequest().agent_attributes
    attributes.cpu.total_cores = 4
    attributes.block.add(name="sda", size="4GB")
    client.get_action(agent_attributes=attributes)
    assert server.attributes[AGENT] == {"cpu": {"total_cores": 4}, "block": [{"name": "sda", "size": "4GB"}]}


def test_global_timeout(server, client):
    workflow = server.add({"name": "w", "global_timeout": 1, "tasks": [
        {"name": "t", "worker": AGENT, "actions": [{"name": "one", "image": "a"}]}]})
    client.report(client.get_action(), "RUNNING")
    assert server.wait_state(workflow, timeout_s=5) == "TIMEOUT"
    assert code_of(client.get_action) == "FAILED_PRECONDITION"


def test_tls(tmp_path):
    certificate = tls.make_certificate(tmp_path)
    credentials = grpc.ssl_channel_credentials(certificate.ca.read_bytes())
    with TinkServer(long_poll_s=0.1, tls=certificate) as server, Client(server.authority, AGENT, credentials) as client:
        assert code_of(client.get_action) == "NOT_FOUND"


def test_client_certificates(tmp_path):
    certificate = tls.make_certificate(tmp_path)
    mine = tls.make_certificate(tmp_path, name="client")
    with_mine = grpc.ssl_channel_credentials(
        certificate.ca.read_bytes(), mine.key.read_bytes(), mine.certificate.read_bytes())
    without = grpc.ssl_channel_credentials(certificate.ca.read_bytes())
    with TinkServer(long_poll_s=0.1, tls=certificate, client_ca=certificate.ca) as server:
        with Client(server.authority, AGENT, with_mine) as client:
            assert code_of(client.get_action) == "NOT_FOUND"
        with Client(server.authority, AGENT, without) as client:
            assert code_of(client.get_action) == "UNAVAILABLE"


# --- faults


def test_status_a_number_of_times(server, client, workflow):
    fault = server.fault("status", code="RESOURCE_EXHAUSTED", times=2, skip=1, message="later")
    action = client.get_action()
    client.report(action, "RUNNING")
    assert [code_of(client.report, action, "SUCCESS") for _ in range(2)] == ["RESOURCE_EXHAUSTED"] * 2
    assert workflow.action("one").state == "RUNNING"
    client.report(action, "SUCCESS")
    assert fault.hits == 2
    assert server.violations == []


def test_stored_although_answered_with_an_error(server, client, workflow):
    server.fault("status", code="UNKNOWN", stored=True, state="SUCCESS")
    action = client.get_action()
    client.report(action, "RUNNING")
    assert code_of(client.report, action, "SUCCESS") == "UNKNOWN"
    assert workflow.action("one").state == "SUCCESS"
    client.report(action, "SUCCESS")
    assert [(r.code, r.stored, r.acknowledged) for r in server.reports[1:]] == [
        ("UNKNOWN", True, False), ("OK", True, True)]
    assert server.violations == []


def test_late(server, client, workflow):
    server.fault("late", seconds=0.6, state="RUNNING")
    action = client.get_action()
    assert code_of(client.report, action, "RUNNING", timeout_s=0.3) == "DEADLINE_EXCEEDED"
    assert workflow.action("one").state == "RUNNING"
    client.report(action, "RUNNING")
    server.fault("late", seconds=0.2)
    client.report(action, "SUCCESS")
    assert server.reports[0].acknowledged is False
    assert server.reports[2].acknowledged is True
    assert server.violations == []


def test_hang_then_hung_up(server, client, workflow):
    server.fault("hang", method="GetAction")
    assert code_of(client.get_action, timeout_s=0.3) == "DEADLINE_EXCEEDED"
    server.wait(lambda: server.calls[0].code == "CANCELLED", 2, "the call to end")
    assert client.get_action().name == "one"
    assert server.violations == []


@pytest.mark.parametrize("kind", ["reset", "close"])
@pytest.mark.parametrize("stored", [False, True])
def test_dropped_connection(server, client, workflow, kind, stored):
    server.fault(kind, stored=stored, state="SUCCESS")
    action = client.get_action()
    client.report(action, "RUNNING")
    assert code_of(client.report, action, "SUCCESS") == "UNAVAILABLE"
    assert workflow.action("one").state == ("SUCCESS" if stored else "RUNNING")
    retry(client.report, action, "SUCCESS")
    assert client.get_action().name == "two"
    assert server.proxy.connections >= 2
    assert server.violations == []


@pytest.mark.parametrize("kind, answers", [("garbage", 1), ("empty", 0), ("twice", 2)])
def test_bad_answers(server, client, workflow, kind, answers):
    fault = server.fault(kind, method="GetAction")
    stream = client.channel.unary_stream("/proto.WorkflowService/GetAction")
    request = messages.ActionRequest(agent_id=AGENT).SerializeToString()
    received = list(stream(request, timeout=5))
    assert len(received) == answers
    assert fault.hits == 1
    if kind == "garbage":
        with pytest.raises(Exception, match="(?i)pars"):
            messages.ActionResponse.FromString(received[0])
    assert client.get_action().name == "one"


def test_large_answer(server, client, workflow):
    server.fault("large", method="GetAction")
    assert code_of(client.get_action) == "RESOURCE_EXHAUSTED"
    assert client.get_action().name == "one"


def retry(function, *arguments, timeout_s=5):
    """Calls until the server is there; gRPC notices a lost connection only by and by."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        try:
            return function(*arguments)
        except grpc.RpcError as error:
            assert error.code().name in ("UNAVAILABLE", "CANCELLED"), error
            assert time.monotonic() < deadline_s
            time.sleep(0.05)


def test_delete_in_the_middle(server, client, workflow):
    server.fault("delete", state="SUCCESS")
    action = client.get_action()
    client.report(action, "RUNNING")
    assert code_of(client.report, action, "SUCCESS") == "INTERNAL"
    assert server.workflows == []


def test_restart_keeps_state_and_port(server, client, workflow):
    port = server.port
    action = client.get_action()
    client.report(action, "RUNNING")
    saved = server.save()
    client.report(action, "SUCCESS")
    server.restart(down_s=0.1)
    assert server.port == port
    assert retry(client.get_action).name == "two"
    server.restart(state=saved)
    again = retry(client.get_action)
    assert (again.name, again.action_id) == ("one", action.action_id)
    assert server.violations == []


def test_restart_with_grace(server, client, workflow):
    action = client.get_action()
    client.report(action, "RUNNING")
    server.fault("late", seconds=0.3, state="SUCCESS")
    report = threading.Thread(target=client.report, args=(action, "SUCCESS"))
    report.start()
    server.wait_report("SUCCESS")
    server.restart(grace_s=2)
    report.join()
    assert server.reports[-1].code == "OK"
    assert retry(client.get_action).name == "two"


def test_restart_in_the_middle_of_a_report(server, client, workflow):
    server.fault("restart", seconds=0.2, state="SUCCESS")
    action = client.get_action()
    client.report(action, "RUNNING")
    assert code_of(client.report, action, "SUCCESS") == "UNAVAILABLE"
    retry(client.report, action, "SUCCESS")
    assert retry(client.get_action).name == "two"
    assert server.violations == []


def test_state_file(tmp_path, workflow):
    file = tmp_path / "state.json"
    actions = [{"name": "one", "image": "a"}, {"name": "two", "image": "b"}]
    with TinkServer(long_poll_s=0.3, state_file=file) as first:
        first.add_actions(AGENT, actions)
        with Client(first.authority, AGENT) as client:
            client.run(client.get_action())
    with TinkServer(long_poll_s=0.3, state_file=file) as second:
        second.add_actions(AGENT, actions)
        with Client(second.authority, AGENT) as client:
            assert client.get_action().name == "two"


@pytest.mark.parametrize("mode", ["refuse", "reset", "close", "html", "junk", "h2-502", "h2-cut", "h2-no-status"])
def test_proxy_modes(server, client, workflow, mode):
    server.proxy.set(mode)
    assert code_of(client.get_action, timeout_s=2) in (
        "UNAVAILABLE", "INTERNAL", "UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED")
    assert server.calls == []
    server.proxy.set("pass", existing="reset")
    assert retry(client.get_action).name == "one"


def test_proxy_stall(server, client, workflow):
    client.get_action()
    server.proxy.set("stall")
    assert code_of(client.get_action, timeout_s=0.3) == "DEADLINE_EXCEEDED"
    assert len(server.calls) == 1
    server.proxy.set("pass")
    assert client.get_action().name == "one"


def test_outage(server, client, workflow):
    server.outage("refuse", seconds=0.3)
    assert code_of(client.get_action) == "UNAVAILABLE"
    assert retry(client.get_action).name == "one"


def test_unknown_faults_are_refused(server):
    with pytest.raises(ValueError, match="no such fault"):
        server.fault("nonsense")
    with pytest.raises(ValueError, match="no such mode"):
        server.proxy.set("nonsense")


# --- violations


def violation(server):
    assert len(server.violations) == 1, server.violations
    return server.violations[0]


def test_running_after_the_final_report(server, client, workflow):
    action = client.get_action()
    client.run(action)
    client.report(action, "RUNNING", "late")
    assert "RUNNING after SUCCESS had been acknowledged" in violation(server)


def test_running_while_the_final_report_is_unanswered(server, client, workflow):
    server.fault("status", state="SUCCESS")
    action = client.get_action()
    client.report(action, "RUNNING")
    code_of(client.report, action, "SUCCESS")
    client.report(action, "RUNNING")
    assert "RUNNING after SUCCESS had been sent" in violation(server)


def test_success_twice(server, client, workflow):
    action = client.get_action()
    client.run(action)
    client.report(action, "SUCCESS")
    assert "SUCCESS after SUCCESS had been acknowledged" in violation(server)


def test_success_becomes_failure(server, client, workflow):
    server.fault("status", state="SUCCESS")
    action = client.get_action()
    client.report(action, "RUNNING")
    code_of(client.report, action, "SUCCESS")
    client.report(action, "FAILED", "why")
    assert "FAILED after SUCCESS" in violation(server)


def test_no_running_before_success(server, client, workflow):
    server.fault("status", state="RUNNING")
    action = client.get_action()
    code_of(client.report, action, "RUNNING")
    client.report(action, "SUCCESS")
    assert "no RUNNING had been acknowledged" in violation(server)


def test_a_second_run_of_a_served_action_is_fine(server, client, workflow):
    action = client.get_action()
    client.report(action, "RUNNING")
    client.report(client.get_action(), "RUNNING")
    client.report(action, "SUCCESS")
    assert server.violations == []
    assert len([line for line in server.lines if "handed out again" in line]) == 1


def test_two_reports_at_the_same_time(server, client, workflow):
    action = client.get_action()
    server.fault("late", seconds=1.0, state="RUNNING")
    thread = threading.Thread(target=client.report, args=(action, "RUNNING"))
    thread.start()
    server.wait(lambda: server.reports, 2, "the first report")
    client.report(action, "RUNNING", "another")
    thread.join()
    assert "RUNNING of one came while RUNNING of one was not answered" in violation(server)


def test_two_calls_on_one_connection(server, client):
    server.long_poll_s = 5
    first = client.raw["GetAction"].future(messages.ActionRequest(agent_id=AGENT).SerializeToString(), timeout=2)
    server.wait(lambda: server.calls, 2, "the first call")
    code_of(client.get_action, timeout_s=0.7)
    first.cancel()
    assert "GetAction came while GetAction was not answered" in violation(server)


def test_a_call_left_behind_by_a_reset_machine_is_fine(server, client):
    server.long_poll_s = 5
    first = client.raw["GetAction"].future(messages.ActionRequest(agent_id=AGENT).SerializeToString(), timeout=2)
    server.wait(lambda: server.calls, 2, "the first call")
    with Client(server.authority, AGENT) as after_reset:
        code_of(after_reset.get_action, timeout_s=0.7)
    first.cancel()
    assert server.violations == []


def test_progress_too_often(server, client, workflow):
    server.rules.progress_spacing_s = 5
    action = client.get_action()
    client.report(action, "RUNNING")
    client.report(action, "RUNNING", "1 %")
    client.report(action, "SUCCESS")
    assert "s after the one before" in violation(server)


def test_a_last_word_before_a_restart_of_the_agent_is_fine(server, client, workflow):
    server.rules.progress_spacing_s = 5
    client.report(client.get_action(), "RUNNING")
    client.report(client.get_action(), "RUNNING")
    action = client.get_action()
    client.report(action, "RUNNING")
    client.report(action, "RUNNING", "interrupted")
    client.run(client.get_action())
    assert server.violations == []


@pytest.mark.parametrize("fields, words", [
    ({"action_name": "two"}, "is one"),
    ({"task_id": "x"}, None),
    ({"execution_duration": "soon"}, "execution_duration"),
    ({"execution_duration": "1m3s"}, None),
    ({"execution_duration": ""}, "execution_duration"),
])
def test_fields_of_a_final_report(server, client, workflow, fields, words):
    action = client.get_action()
    client.report(action, "RUNNING")
    client.report(action, "SUCCESS", **fields)
    if words:
        assert words in violation(server)
    else:
        assert server.violations == []


@pytest.mark.parametrize("message, words", [("", "without a reason"), ("x" * 5000, "message of 5000 bytes"),
                                            ("red \x1b[31m", "control character '\\x1b'")])
def test_the_reason_of_a_failure(server, client, workflow, message, words):
    action = client.get_action()
    client.report(action, "RUNNING")
    client.report(action, "FAILED", message)
    assert words in violation(server)


def test_fields_that_do_not_exist(server, client, workflow):
    data = messages.ActionRequest(agent_id=AGENT).SerializeToString() + b"\x9a\x06\x00"
    client.raw["GetAction"](data, timeout=5)
    assert "ActionRequest field 99" in violation(server)


# --- seen from outside


def test_the_log_and_the_state(server, client, workflow):
    client.run(client.get_action(), "FAILED", "write /dev/sda: No space left\nlast line of output")
    text = "\n".join(line.split("  ", 1)[1] for line in server.lines)
    assert "workflow w  action 1/2 one  RUNNING" in text
    assert "workflow w  action 1/2 one  FAILED  1s write /dev/sda: No space left\n          last line of output" in text
    assert "workflow w  FAILED" in text
    state = json.loads(json.dumps(server.as_dict()))
    assert state["workflows"][0]["tasks"][0]["actions"][0]["state"] == "FAILED"
    assert [report["state"] for report in state["reports"]] == ["RUNNING", "FAILED"]


def test_waiting_tells_what_was_seen(server, workflow):
    with pytest.raises(TimeoutError, match="(?s)workflow w being SUCCESS.*workflow w  PENDING"):
        server.wait_state(workflow, "SUCCESS", timeout_s=0.2)
