"""The state of workflows as the Tinkerbell server stores it, and how calls change it.

No gRPC here: an answer other than an action is an Answer exception with a status code's name.
"""

import dataclasses
import os
import time

from . import messages
from .template import TemplateError

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class Answer(Exception):
    """The call is answered with this status. no_action: it means "nothing to do now"."""

    def __init__(self, code, message, no_action=False):
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.no_action = code, message, no_action


def new_id():
    """An id of the shape the server gives to tasks and actions: a ULID."""
    number = (int(time.time() * 1000) << 80) | int.from_bytes(os.urandom(10), "big")
    return "".join(_CROCKFORD[(number >> shift) & 31] for shift in range(125, -1, -5))


@dataclasses.dataclass
class Action:
    spec: object
    id: str
    state: str = "PENDING"
    execution_start_s: float = None  # seconds since 1970, as reported
    execution_stop_s: float = None
    execution_duration: str = ""
    message: str = ""
    message_history: list = dataclasses.field(default_factory=list)  # (state, message), as they came

    @property
    def name(self):
        return self.spec.name


@dataclasses.dataclass
class Task:
    spec: object
    id: str
    actions: list

    @property
    def agent(self):
        return self.spec.agent

    @property
    def done(self):
        return not self.actions or self.actions[-1].state == "SUCCESS"


class Workflow:
    """One workflow: a template in the making. state and actions are what `kubectl` would show."""

    STATUS = ("execution_start_s", "execution_stop_s", "execution_duration", "message", "state")

    def __init__(self, template, name=None, namespace="default"):
        self.template = template
        self.name = name or template.name
        self.namespace = namespace
        self.state = "PENDING"
        self.current = None  # the server's cursor: (action id, state)
        self.deadline_s = None  # global_timeout, in time.monotonic()
        self.deleted = False
        self.tasks = [
            Task(spec=task, id=new_id(), actions=[Action(spec=action, id=new_id()) for action in task.actions])
            for task in template.tasks
        ]
        if not self.actions:
            raise TemplateError(f"workflow {self.name}: no actions")

    @property
    def id(self):
        return f"{self.namespace}/{self.name}"

    @property
    def actions(self):
        """All actions of all tasks, in order."""
        return [action for task in self.tasks for action in task.actions]

    @property
    def agent(self):
        """Whose turn it is: the agent of the first task that is not through."""
        return next((task.agent for task in self.tasks if not task.done), self.tasks[-1].agent)

    @property
    def finished(self):
        return self.state in messages.FINAL_STATES

    def action(self, name_or_id):
        """The action of this name or id; KeyError if there is none."""
        for action in self.actions:
            if name_or_id in (action.name, action.id):
                return action
        raise KeyError(f"workflow {self.name} has no action {name_or_id}")

    def expire(self, now_s):
        """Applies global_timeout. Returns whether it changed the state."""
        if self.state == "RUNNING" and self.deadline_s is not None and now_s > self.deadline_s:
            self.state = "TIMEOUT"
            return True
        return False

    def next_action(self, agent):
        """The action to serve now as (task, action), with the cursor set on it; else raises Answer."""
        if self.state not in ("PENDING", "RUNNING"):
            raise Answer("FAILED_PRECONDITION", "Workflow not in pending or running state", no_action=True)
        task = next((task for task in self.tasks if not task.done), None)
        if self.tasks[0].actions and self.tasks[0].actions[0].state == "PENDING":
            task = self.tasks[0]
        if task is None:
            raise Answer("NOT_FOUND", "no Tasks found", no_action=True)
        action = self._resolve(task)
        if task.agent != agent:
            raise Answer("NOT_FOUND", "Task not assigned to Agent", no_action=True)
        self.current = (action.id, action.state)
        return task, action

    def _resolve(self, task):
        if task.actions[0].state == "PENDING":
            return task.actions[0]
        if self.current is None:
            raise Answer("FAILED_PRECONDITION", "no current state available", no_action=True)
        current_id, current_state = self.current
        ids = [action.id for action in task.actions]
        if current_state in ("RUNNING", "PENDING"):
            if current_id not in ids:
                raise Answer("NOT_FOUND", "in-progress Action not found in task", no_action=True)
            return task.actions[ids.index(current_id)]
        if current_state != "SUCCESS":
            raise Answer("FAILED_PRECONDITION", "current Action not in success state", no_action=True)
        if current_id not in ids:
            raise Answer("NOT_FOUND", "no Action found", no_action=True)
        if current_id == ids[-1]:
            raise Answer("NOT_FOUND", "last Action in task", no_action=True)
        return task.actions[ids.index(current_id) + 1]

    def report(self, report, now_s):
        """Stores a report: whatever it says, it moves the cursor. Raises Answer if there is no such action."""
        for task in self.tasks:
            for action in task.actions:
                if action.id != report.action_id or task.agent != report.agent_id:
                    continue
                action.state = report.state
                action.execution_start_s = report.execution_start_s
                action.execution_stop_s = report.execution_stop_s
                action.execution_duration = report.execution_duration
                action.message = report.message
                action.message_history.append((report.state, report.message))
                if report.state != "SUCCESS":
                    self.state = report.state
                elif task is self.tasks[-1] and action is task.actions[-1]:
                    self.state = "SUCCESS"
                self.current = (action.id, action.state)
                if self.deadline_s is None and self.template.global_timeout_s and self.state == "RUNNING":
                    self.deadline_s = now_s + self.template.global_timeout_s
                return action
        raise Answer("NOT_FOUND", "action not found")

    def response(self, task, action):
        """The ActionResponse for an action, with the task's environment and volumes merged in."""
        spec = action.spec
        environment = {**task.spec.environment, **spec.environment}
        response = messages.ActionResponse(
            workflow_id=self.id,
            task_id=task.id,
            agent_id=task.agent,
            action_id=action.id,
            name=spec.name,
            image=spec.image,
            timeout=spec.timeout_s,
            command=spec.command,
            volumes=task.spec.volumes + spec.volumes,
            environment=sorted(f"{key}={value}" for key, value in environment.items()),
            pid=spec.pid_namespace or spec.pid,
        )
        if spec.has_namespaces:
            response.namespaces.network = spec.network_namespace
            response.namespaces.pid = spec.pid_namespace
        return response

    def as_dict(self):
        """Everything that is stored, for /state and for a restart from disk."""
        return {
            "id": self.id,
            "name": self.name,
            "namespace": self.namespace,
            "state": self.state,
            "agent": self.agent,
            "current": self.current,
            "tasks": [
                {
                    "id": task.id,
                    "name": task.spec.name,
                    "agent": task.agent,
                    "actions": [
                        {"id": action.id, "name": action.name, "image": action.spec.image,
                         **{key: getattr(action, key) for key in self.STATUS}}
                        for action in task.actions
                    ],
                }
                for task in self.tasks
            ],
        }

    def restore(self, data):
        """Takes the state (and the ids) from what as_dict returned for the same template."""
        self.state = data["state"]
        self.current = tuple(data["current"]) if data["current"] else None
        for task, task_data in zip(self.tasks, data["tasks"]):
            task.id = task_data["id"]
            for action, action_data in zip(task.actions, task_data["actions"]):
                action.id = action_data["id"]
                for key in self.STATUS:
                    setattr(action, key, action_data[key])
