"""A minimal agent for the tests of the stand-in: speaks as a worker would, on grpcio."""

import time

import grpc

from . import messages, older
from .tink import SERVICE


class Client:
    """One agent on one channel. Nothing is retried here."""

    def __init__(self, authority, agent_id="52:54:00:00:00:01", credentials=None):
        self.agent_id = agent_id
        options = [("grpc.max_receive_message_length", 4 << 20), ("grpc.initial_reconnect_backoff_ms", 50),
                   ("grpc.min_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 100),
                   ("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
        if credentials:
            self.channel = grpc.secure_channel(authority, credentials, options)
        else:
            self.channel = grpc.insecure_channel(authority, options)
        self.raw = {
            method: self.channel.unary_unary(f"/{SERVICE}/{method}")
            for method in ("GetAction", "ReportActionStatus", "GetWorkflowActions")
        }

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()

    def get_action(self, timeout_s=5, **fields):
        request = messages.ActionRequest(agent_id=self.agent_id, **fields)
        data = self.raw["GetAction"](request.SerializeToString(), timeout=timeout_s)
        return messages.ActionResponse.FromString(data)

    def status(self, action, state, message="", **fields):
        """The request of a report, with every field a worker fills in."""
        request = messages.ActionStatusRequest(
            workflow_id=action.workflow_id, agent_id=action.agent_id, task_id=action.task_id,
            action_id=action.action_id, action_name=action.name, action_state=messages.STATES.index(state))
        request.execution_start.seconds = int(time.time())
        if state in messages.FINAL_STATES:
            request.execution_stop.seconds = int(time.time()) + 1
            request.execution_duration = "1s"
        request.message.message = message
        for name, value in fields.items():
            setattr(request, name, value)
        return request

    def report(self, action, state, message="", timeout_s=5, **fields):
        request = self.status(action, state, message, **fields)
        data = self.raw["ReportActionStatus"](request.SerializeToString(), timeout=timeout_s)
        return messages.ActionStatusResponse.FromString(data)

    # The older generation.

    def contexts(self, timeout_s=5):
        call = self.channel.unary_stream(f"/{SERVICE}/GetWorkflowContexts")
        request = older.WorkflowContextRequest(worker_id=self.agent_id)
        return [older.WorkflowContext.FromString(data) for data in call(request.SerializeToString(), timeout=timeout_s)]

    def action_list(self, workflow_id, timeout_s=5):
        request = older.WorkflowActionsRequest(workflow_id=workflow_id)
        data = self.raw["GetWorkflowActions"](request.SerializeToString(), timeout=timeout_s)
        return list(older.WorkflowActionList.FromString(data).action_list)

    def older_report(self, context, state, message="", timeout_s=5, **fields):
        request = older.WorkflowActionStatus(
            workflow_id=context.workflow_id, task_name=context.current_task, action_name=context.current_action,
            action_status=older.STATES.index(state), message=message, worker_id=self.agent_id)
        request.created_at.seconds = int(time.time())
        for name, value in fields.items():
            setattr(request, name, value)
        self.raw["ReportActionStatus"](request.SerializeToString(), timeout=timeout_s)

    def run(self, action, state="SUCCESS", message="done"):
        """RUNNING, then a final report."""
        self.report(action, "RUNNING")
        self.report(action, state, message)
