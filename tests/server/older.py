"""The older generation of proto.WorkflowService, on the same workflows as the current one.

What it does follows the last public server of that generation, on Kubernetes: contexts come at once and the stream
ends, after a SUCCESS the next action is current, a report for any other is refused, and messages are thrown away.
"""

import dataclasses
import time

from . import messages
from .workflow import Answer

STATES = ["PENDING", "RUNNING", "FAILED", "TIMEOUT", "SUCCESS"]

_CLASSES = messages.classes("tests/older.proto", {
    "WorkflowContextRequest": [(1, "worker_id", "string")],
    "WorkflowContext": [
        (1, "workflow_id", "string"),
        (2, "current_worker", "string"),
        (3, "current_task", "string"),
        (4, "current_action", "string"),
        (5, "current_action_index", "int64"),
        (6, "current_action_state", "State"),
        (7, "total_number_of_actions", "int64"),
    ],
    "WorkflowActionsRequest": [(1, "workflow_id", "string")],
    "WorkflowActionList": [(1, "action_list", "*WorkflowAction")],
    "WorkflowAction": [
        (1, "task_name", "string"),
        (2, "name", "string"),
        (3, "image", "string"),
        (4, "timeout", "int64"),
        (5, "command", "*string"),
        (6, "on_timeout", "*string"),
        (7, "on_failure", "*string"),
        (8, "worker_id", "string"),
        (9, "volumes", "*string"),
        (10, "environment", "*string"),
        (11, "pid", "string"),
    ],
    "WorkflowActionStatus": [
        (1, "workflow_id", "string"),
        (2, "task_name", "string"),
        (3, "action_name", "string"),
        (4, "action_status", "State"),
        (5, "seconds", "int64"),
        (6, "message", "string"),
        (7, "created_at", "google.protobuf.Timestamp"),
        (8, "worker_id", "string"),
    ],
    "Empty": [],
}, {"State": STATES})

WorkflowContextRequest = _CLASSES["WorkflowContextRequest"]
WorkflowContext = _CLASSES["WorkflowContext"]
WorkflowActionsRequest = _CLASSES["WorkflowActionsRequest"]
WorkflowActionList = _CLASSES["WorkflowActionList"]
WorkflowAction = _CLASSES["WorkflowAction"]
WorkflowActionStatus = _CLASSES["WorkflowActionStatus"]
Empty = _CLASSES["Empty"]


@dataclasses.dataclass
class Report:
    """One ReportActionStatus of this generation as it arrived; the fields that both have are named alike."""

    time_s: float
    workflow_id: str
    agent_id: str
    task_name: str
    action_name: str
    state: str
    seconds: int
    message: str
    created_at_s: float
    action_id: str = ""  # ours: of the action that was meant
    stored: bool = False
    code: str = None
    acknowledged: bool = False


def current(workflow):
    """(task, action, index over all tasks) of the first action that has not succeeded; None behind the last."""
    index = 0
    for task in workflow.tasks:
        for action in task.actions:
            if action.state != "SUCCESS":
                return task, action, index
            index += 1
    return None


def contexts(workflows, worker_id):
    """The contexts for this worker, in the order of the workflows."""
    if not worker_id:
        raise Answer("INVALID_ARGUMENT", "invalid workflow id")
    for workflow in workflows:
        now = current(workflow)
        if now is None or workflow.state not in ("PENDING", "RUNNING"):
            continue
        task, action, index = now
        if task.agent != worker_id:
            continue
        yield action, WorkflowContext(
            workflow_id=workflow.id, current_worker=task.agent, current_task=task.spec.name, current_action=action.name,
            current_action_index=index, current_action_state=STATES.index(action.state),
            total_number_of_actions=len(workflow.actions))


def action_list(workflow):
    """Every action of every task, with the task's environment and volumes merged in."""
    answer = WorkflowActionList()
    for task in workflow.tasks:
        for action in task.actions:
            spec = action.spec
            environment = {**task.spec.environment, **spec.environment}
            answer.action_list.append(WorkflowAction(
                task_name=task.spec.name, name=spec.name, image=spec.image, timeout=spec.timeout_s, command=spec.command,
                on_timeout=spec.on_timeout, on_failure=spec.on_failure, worker_id=task.agent,
                volumes=task.spec.volumes + spec.volumes,
                environment=sorted(f"{key}={value}" for key, value in environment.items()), pid=spec.pid))
    return answer


def report_from(request, time_s):
    created = request.created_at
    state = request.action_status
    return Report(
        time_s=time_s, workflow_id=request.workflow_id, agent_id=request.worker_id, task_name=request.task_name,
        action_name=request.action_name, state=STATES[state] if 0 <= state < len(STATES) else str(state),
        seconds=request.seconds, message=request.message,
        created_at_s=created.seconds + created.nanos / 1e9 if request.HasField("created_at") else None)


def check(report):
    """What the server looks at before it looks for the workflow."""
    for field, what in (("workflow_id", "workflow id"), ("task_name", "task name"), ("action_name", "action name")):
        if not getattr(report, field):
            raise Answer("INVALID_ARGUMENT", f"invalid {what}")


def store(workflow, report):
    """Stores a report about the current action: its state and its times. Returns the action."""
    now = current(workflow)
    task, action = (now[0], now[1]) if now else (None, None)
    if task is None or report.task_name != task.spec.name:
        raise Answer("INVALID_ARGUMENT", "reported task name does not match the current action details")
    if report.action_name != action.name:
        raise Answer("INVALID_ARGUMENT", "reported action name does not match the current action details")
    if report.state not in ("RUNNING", "FAILED", "TIMEOUT", "SUCCESS"):
        raise Answer("INVALID_ARGUMENT", "invalid workflow id")
    action.state = report.state
    action.message_history.append((report.state, report.message))  # for tests: the server forgets it
    if report.state == "RUNNING":
        action.execution_start_s = time.time()
    if report.state != "SUCCESS":
        workflow.state = report.state
    elif current(workflow) is None:
        workflow.state = "SUCCESS"
    workflow.current = (action.id, action.state)
    return action
