"""Templates and the server's cursor, without gRPC."""

import pytest

from server import template
from server.tink import Report
from server.workflow import Answer, Workflow

AGENT = "52:54:00:00:00:01"


def make(text=None, **actions):
    text = text or """
name: w
tasks:
  - name: t
    worker: "52:54:00:00:00:01"
    actions:
      - {name: one, image: a}
      - {name: two, image: b}
"""
    return Workflow(template.parse(text))


def report(workflow, action, state, message=""):
    action = workflow.action(action)
    return workflow.report(
        Report(time_s=0, workflow_id=workflow.id, agent_id=AGENT, task_id="t", action_id=action.id,
               action_name=action.name, state=state, execution_start_s=1, execution_stop_s=2,
               execution_duration="1s", message=message, has_message=True), 0)


def next_name(workflow, agent=AGENT):
    return workflow.next_action(agent)[1].name


def refusal(workflow, agent=AGENT):
    with pytest.raises(Answer) as caught:
        workflow.next_action(agent)
    return caught.value.code


def test_values_stay_the_text_that_was_written():
    parsed = template.parse("""
name: w
global_timeout: 1800
tasks:
  - name: t
    worker: a
    environment: {SHARED: 010, OWN: task}
    volumes: [/dev:/dev]
    actions:
      - name: one
        image: i
        timeout: 90
        command: [echo, 1, yes]
        environment: {MODE: 0644, YES: true, FLOAT: 1.10, DATE: 2026-01-02, NULL_: null, EMPTY: , QUOTED: "null", OWN: action, BIG: 1_000, ON: on}
        volumes: ["/a:/b:ro"]
        pid: host
        namespaces: {network: host}
""")
    assert parsed.global_timeout_s == 1800
    workflow = Workflow(parsed)
    response = workflow.response(*workflow.next_action("a"))
    assert list(response.environment) == [
        "BIG=1_000", "DATE=2026-01-02", "EMPTY=", "FLOAT=1.10", "MODE=0644", "NULL_=", "ON=on", "OWN=action",
        "QUOTED=null", "SHARED=010", "YES=true"]
    assert list(response.command) == ["echo", "1", "yes"]
    assert list(response.volumes) == ["/dev:/dev", "/a:/b:ro"]
    assert (response.timeout, response.pid, response.namespaces.network, response.namespaces.pid) == (90, "host", "host", "")


def test_namespaces_pid_wins():
    parsed = template.from_data({"name": "w", "tasks": [{"name": "t", "worker": "a", "actions": [
        {"name": "one", "image": "i", "pid": "old", "namespaces": {"pid": "host"}}]}]})
    workflow = Workflow(parsed)
    response = workflow.response(*workflow.next_action("a"))
    assert (response.pid, response.namespaces.pid) == ("host", "host")


@pytest.mark.parametrize("disk, second", [
    ("/dev/sda", "/dev/sda2"), ("/dev/nvme0n1", "/dev/nvme0n1p2"),
    ("/dev/disk/by-id/x", "/dev/disk/by-id/x-part2")])
def test_substitution(disk, second):
    text = "DEST_DISK: DISK, B: DISK2, U: http://server:50061/server.img, of=DISK bs"
    assert template.substitute(text, {"DISK": disk, "server": "10.0.2.2"}) == (
        f"DEST_DISK: {disk}, B: {second}, U: http://10.0.2.2:50061/10.0.2.2.img, of={disk} bs".replace(
            "/10.0.2.2.img", "/10.0.2.2.img"))


@pytest.mark.parametrize("text, words", [
    ("- a", "not a mapping"),
    ("name: x", "no tasks"),
    ("name: x\ntasks: [{name: t, worker: a, actions: [{name: b}]}]", "no image"),
    ("name: x\ntasks: [{name: t, actions: []}]", "no worker"),
    ("name: x\ntasks: [{name: t, worker: '{{.device_1}}'}]", "Go template"),
    ("name: x\ntasks: [{name: t, worker: a, actions: [{name: b, image: i}, {name: b, image: i}]}]", "two actions"),
    ("name: x\ntasks: [{name: t, worker: a, actions: [{name: b, image: i, environment: {A: {B: c}}}]}]", "not a mapping"),
    ("name: [", "template"),
])
def test_bad_templates_are_refused(text, words):
    with pytest.raises(template.TemplateError, match=words):
        template.parse(text)


def test_pending_and_running_actions_are_served_again():
    workflow = make()
    assert [next_name(workflow), next_name(workflow)] == ["one", "one"]
    report(workflow, "one", "RUNNING")
    assert next_name(workflow) == "one"
    report(workflow, "one", "SUCCESS")
    assert [next_name(workflow), next_name(workflow)] == ["two", "two"]
    report(workflow, "two", "RUNNING")
    assert next_name(workflow) == "two"
    report(workflow, "two", "SUCCESS")
    assert workflow.state == "SUCCESS"
    assert refusal(workflow) == "FAILED_PRECONDITION"


@pytest.mark.parametrize("state", ["FAILED", "TIMEOUT"])
def test_failure_ends_the_workflow(state):
    workflow = make()
    next_name(workflow)
    report(workflow, "one", state, "why")
    assert (workflow.state, workflow.action("one").message) == (state, "why")
    assert refusal(workflow) == "FAILED_PRECONDITION"


def test_a_repeated_success_moves_the_cursor_back():
    workflow = make()
    report(workflow, "one", "SUCCESS")
    next_name(workflow)
    report(workflow, "two", "RUNNING")
    report(workflow, "one", "SUCCESS")
    assert next_name(workflow) == "two"


def test_a_late_running_brings_a_finished_workflow_back():
    workflow = make()
    report(workflow, "one", "SUCCESS")
    report(workflow, "two", "SUCCESS")
    report(workflow, "two", "RUNNING")
    assert workflow.state == "RUNNING"
    assert next_name(workflow) == "two"


def test_tasks_of_two_agents_follow_each_other():
    workflow = make("""
name: w
tasks:
  - {name: t1, worker: "52:54:00:00:00:01", actions: [{name: one, image: a}]}
  - {name: t2, worker: other, actions: [{name: two, image: b}]}
""")
    assert workflow.agent == AGENT
    assert refusal(workflow, "other") == "NOT_FOUND"
    report(workflow, "one", "SUCCESS")
    assert workflow.agent == "other"
    assert next_name(workflow, "other") == "two"


def test_unknown_action_is_not_found():
    workflow = make()
    workflow.tasks[0].actions[0].id, known = "x", workflow.tasks[0].actions[0].id
    other = make()
    with pytest.raises(Answer, match="NOT_FOUND"):
        report_of = Report(0, workflow.id, AGENT, "t", known, "one", "RUNNING", 1, None, "", "", False)
        other.report(report_of, 0)


def test_global_timeout():
    workflow = make("name: w\nglobal_timeout: 10\ntasks: [{name: t, worker: '52:54:00:00:00:01', actions: [{name: one, image: a}]}]")
    assert not workflow.expire(100)
    report(workflow, "one", "RUNNING")
    assert not workflow.expire(9)
    assert workflow.expire(11)
    assert workflow.state == "TIMEOUT"


def test_state_survives_through_a_dict():
    workflow = make()
    next_name(workflow)
    report(workflow, "one", "SUCCESS", "fine")
    next_name(workflow)
    other = make()
    other.restore(workflow.as_dict())
    assert other.as_dict() == workflow.as_dict()
    assert next_name(other) == "two"
