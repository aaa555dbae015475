"""The stand-in of the older generation: its answers, its refusals, and the change from one generation to the other."""

import grpc
import pytest

from server.client import Client
from server.tink import TinkServer

AGENT = "52:54:00:00:00:01"


@pytest.fixture
def server():
    with TinkServer(generation="older") as running:
        yield running


@pytest.fixture
def client(server):
    with Client(server.authority, AGENT) as running:
        yield running


@pytest.fixture
def workflow(server):
    return server.add({"name": "w", "tasks": [
        {"name": "first", "worker": AGENT, "environment": {"A": "task", "B": "task"}, "volumes": ["/dev:/dev"], "actions": [
            {"name": "one", "image": "a", "timeout": 9, "environment": {"B": "action"}, "on-timeout": ["late"], "on-failure": ["wrong"]}]},
        {"name": "second", "worker": AGENT, "actions": [{"name": "two", "image": "b", "command": ["x", "y"], "pid": "host"}]}]})


def refused(function, *arguments, **fields):
    with pytest.raises(grpc.RpcError) as caught:
        function(*arguments, **fields)
    return caught.value.code().name, caught.value.details()


def shown(context):
    return (context.workflow_id, context.current_task, context.current_action, context.current_action_index,
            context.current_action_state, context.total_number_of_actions)


def test_a_workflow_from_start_to_end(server, client, workflow):
    one, = client.contexts()
    assert shown(one) == ("default/w", "first", "one", 0, 0, 2) and one.current_worker == AGENT
    client.older_report(one, "RUNNING", "running")
    client.older_report(one, "RUNNING", "still")
    assert shown(client.contexts()[0]) == ("default/w", "first", "one", 0, 1, 2)
    client.older_report(one, "SUCCESS", "done")
    two, = client.contexts()
    assert shown(two) == ("default/w", "second", "two", 1, 0, 2)
    client.older_report(two, "RUNNING")
    client.older_report(two, "SUCCESS", "done")
    assert client.contexts() == [] and workflow.state == "SUCCESS"
    assert [action.message for action in workflow.actions] == ["", ""]
    assert [report.message for report in server.reports] == ["running", "still", "done", "", "done"]
    assert server.violations == []


def test_the_list_of_actions(client, workflow):
    one, two = client.action_list("default/w")
    assert (one.task_name, one.name, one.image, one.timeout, one.worker_id) == ("first", "one", "a", 9, AGENT)
    assert list(one.environment) == ["A=task", "B=action"] and list(one.volumes) == ["/dev:/dev"]
    assert (list(one.on_timeout), list(one.on_failure)) == (["late"], ["wrong"])
    assert (two.task_name, list(two.command), two.pid) == ("second", ["x", "y"], "host")


@pytest.mark.parametrize("state", ["FAILED", "TIMEOUT"])
def test_a_failure_ends_it(server, client, workflow, state):
    one, = client.contexts()
    client.older_report(one, "RUNNING")
    client.older_report(one, state, "the reason")
    assert workflow.state == state and client.contexts() == []


def test_refusals(server, client, workflow):
    one, = client.contexts()
    for fields, words in (({"action_name": "two"}, "reported action name does not match the current action details"),
                          ({"task_name": "second"}, "reported task name does not match the current action details"),
                          ({"task_name": ""}, "invalid task name"), ({"action_name": ""}, "invalid action name"),
                          ({"workflow_id": ""}, "invalid workflow id"), ({"workflow_id": "default/none"}, "invalid workflow id")):
        assert refused(client.older_report, one, "RUNNING", **fields) == ("INVALID_ARGUMENT", words)
    assert refused(client.get_action) == ("UNIMPLEMENTED", "unknown method GetAction for service proto.WorkflowService")
    assert refused(client.action_list, "default/none")[0] == "UNKNOWN"
    with Client(server.authority, "") as nobody:
        assert refused(nobody.contexts) == ("INVALID_ARGUMENT", "invalid workflow id")


def test_work_of_others_is_not_shown(server, client, workflow):
    with Client(server.authority, "52:54:00:ff:ff:ff") as other:
        assert other.contexts() == []


def test_violations(server, client, workflow):
    one, = client.contexts()
    client.older_report(one, "SUCCESS", "done")
    assert [text for text in server.violations if "no RUNNING" in text]
    assert refused(client.older_report, one, "SUCCESS", "done")[0] == "INVALID_ARGUMENT"
    assert [text for text in server.violations if "after SUCCESS had been acknowledged" in text]
    two, = client.contexts()
    client.older_report(two, "RUNNING", worker_id="")
    assert [text for text in server.violations if "without worker_id" in text]


def test_faults_strike_here_too(server, client, workflow):
    server.fault("status", method="GetWorkflowContexts", code="UNAVAILABLE")
    assert refused(client.contexts)[0] == "UNAVAILABLE"
    one, = client.contexts()
    server.fault("garbage", method="GetWorkflowActions")
    with pytest.raises(Exception, match="pars|decod|Truncated|wire"):
        client.action_list("default/w")
    server.fault("status", state="RUNNING", stored=True)
    assert refused(client.older_report, one, "RUNNING")[0] == "UNAVAILABLE" and workflow.actions[0].state == "RUNNING"


def test_an_upgrade_and_the_way_back(server, client, workflow):
    one, = client.contexts()
    client.older_report(one, "RUNNING")
    client.older_report(one, "SUCCESS", "done")
    server.generation = "current"
    server.long_poll_s = 0.2
    assert refused(client.contexts)[0] == "UNIMPLEMENTED"
    action = client.get_action()
    assert action.name == "two"
    client.run(action)
    assert workflow.state == "SUCCESS"
    server.generation = "older"
    assert refused(client.get_action)[0] == "UNIMPLEMENTED" and client.contexts() == []
