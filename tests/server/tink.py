"""The stand-in Tink server: proto.WorkflowService of both generations on grpcio.

Behaves as the real server does where a worker can tell the difference, keeps a record of every call,
notes breaches of the protocol (see rules.py) and misbehaves on request (see faults.py, proxy.py).
Nothing here speaks HTTP: see control.py.
"""

import base64
import contextlib
import dataclasses
import json
import threading
import time
from concurrent import futures
from pathlib import Path

import grpc

from . import messages, older, template
from .faults import Fault, FaultList
from .proxy import Proxy
from .rules import Rules
from .workflow import Answer, Workflow

SERVICE = "proto.WorkflowService"
_GRPC_OPTIONS = [
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", 4 << 20),
    ("grpc.max_send_message_length", 64 << 20),
    ("grpc.http2.min_ping_interval_without_data_ms", 300000),
    ("grpc.http2.max_ping_strikes", 2),
]


@dataclasses.dataclass
class Report:
    """One ReportActionStatus as it arrived. Times ending in _s: time_s since the server's start,
    execution_*_s since 1970."""

    time_s: float
    workflow_id: str
    agent_id: str
    task_id: str
    action_id: str
    action_name: str
    state: str
    execution_start_s: float
    execution_stop_s: float
    execution_duration: str
    message: str
    has_message: bool
    stored: bool = False
    code: str = None  # the status it was answered with; CANCELLED: the agent hung up; None: not yet
    acknowledged: bool = False  # answered OK, and nothing that we know of kept the answer from arriving


@dataclasses.dataclass
class Call:
    """One call of either method."""

    method: str
    time_s: float
    agent_id: str = ""
    peer: str = ""  # one per connection
    deadline_s: float = None  # what the caller allowed
    metadata: dict = dataclasses.field(default_factory=dict)
    report: Report = None
    served: str = None  # GetAction: the name of the action that was handed out
    served_id: str = None
    code: str = None
    answer: str = ""  # the status message
    end_s: float = None
    fault: str = None  # the kind of fault that struck it
    spoiled: bool = False  # that fault kept the right answer from the caller
    disruptions: int = 0

    @property
    def over(self):
        return self.code is not None


class TinkServer:
    """A Tink server on a TCP port. Use as a context manager, or start() and stop().

    long_poll_s      how long GetAction waits for an action (the real server: 60)
    report_retry_s   how long a report that cannot be stored is tried (the real server: 60); None: as long_poll_s
    tls              a tls.Certificate, or None for cleartext; client_ca: require client certificates
    details          send the grpc-status-details-bin trailer with "no action" answers; some servers do, v0.25 does not
    progress_spacing_s  RUNNING reports closer than this are a violation; 0: never
    generation       "current" or "older"; may be set while the server runs, as an upgrade does (with restart())
    state_file       keep the workflows' state here, and take it up again at the start
    on_line          called with every line of the log
    """

    def __init__(self, host="127.0.0.1", port=0, long_poll_s=60.0, report_retry_s=None, tls=None, client_ca=None,
                 details=False, progress_spacing_s=9.0, state_file=None, on_line=None, generation="current"):
        self.long_poll_s = long_poll_s
        self.report_retry_s = long_poll_s if report_retry_s is None else report_retry_s
        self.tls, self.client_ca, self.details, self.generation = tls, client_ca, details, generation
        self.state_file = Path(state_file) if state_file else None
        self.on_line = on_line
        self.proxy = Proxy(host, port)
        self.workflows = []
        self.calls = []
        self.reports = []
        self.attributes = {}  # agent: what it last sent, as a dict
        self.lines = []
        self.rules = Rules(progress_spacing_s)
        self.faults = FaultList()
        self.changed = threading.Condition(threading.RLock())
        self._start_s = time.monotonic()
        self._grpc = None
        self._announced_violations = 0

    # --- life

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        target = self._start_grpc()
        self.proxy.start(target)
        self._say(f"listening on {self.authority}" + (" with TLS" if self.tls else ""))
        return self

    def stop(self):
        self.proxy.stop()
        self._stop_grpc()

    @property
    def host(self):
        return self.proxy.host

    @property
    def port(self):
        return self.proxy.port

    @property
    def authority(self):
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def now_s(self):
        """Seconds since the server was made."""
        return time.monotonic() - self._start_s

    def restart(self, down_s=0.0, state=None, grace_s=None):
        """Goes away for down_s: connections reset, port closed. Comes back on the same port.

        state: what save() returned, to come back with that state instead of the present one.
        grace_s: say GOAWAY first and let calls go on for so long, as a server does that is told to stop.
        """
        self._say(f"restarts, away for {down_s:g} s")
        self.proxy.set("refuse", existing="keep" if grace_s else "reset")
        self._stop_grpc(grace_s)
        self.proxy.drop_all()
        if state is not None:
            self.restore(state)
        time.sleep(down_s)
        self.proxy.target = self._start_grpc()
        self.proxy.set("pass")
        self._say("is back")

    def outage(self, mode="refuse", seconds=5.0, existing=None):
        """The proxy is in this mode for a while; returns at once."""
        self._say(f"outage: {mode} for {seconds:g} s")
        self.proxy.set(mode, existing=existing)

        def end():
            self.proxy.set("pass", existing="reset" if mode == "stall" else "keep")
            self._say("outage is over")

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()

    def _start_grpc(self):
        # A waiting worker holds a thread: more of them than any test has workers.
        server = grpc.server(futures.ThreadPoolExecutor(max_workers=512, thread_name_prefix="grpc"),
                             options=_GRPC_OPTIONS)
        server.add_generic_rpc_handlers((_Methods(self),))
        if self.tls:
            credentials = grpc.ssl_server_credentials(
                [(Path(self.tls.key).read_bytes(), Path(self.tls.certificate).read_bytes())],
                root_certificates=Path(self.client_ca).read_bytes() if self.client_ca else None,
                require_client_auth=bool(self.client_ca))
            port = server.add_secure_port("127.0.0.1:0", credentials)
        else:
            port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        self._grpc = server
        return ("127.0.0.1", port)

    def _stop_grpc(self, grace_s=None):
        server, self._grpc = self._grpc, None
        if server:
            stopped = server.stop(grace_s)
            with self.changed:
                self.changed.notify_all()
            stopped.wait(10 + (grace_s or 0))

    # --- workflows

    def add(self, what, agent=None, values=None, name=None):
        """Adds a workflow from a template: a path, a dict with its keys, or a template.Template.

        agent replaces every `worker`; values see template.substitute; name: else the template's,
        with a number behind it if there is one of that name.
        """
        if isinstance(what, dict):
            what = template.from_data(what, agent=agent)
        elif not isinstance(what, template.Template):
            what = template.load(what, agent=agent, values=values)
        with self.changed:
            names = [workflow.name for workflow in self.workflows]
            base, number = name or what.name, 2
            name = base
            while name in names:
                name, number = f"{base}-{number}", number + 1
            workflow = Workflow(what, name=name)
            if self.state_file and self.state_file.exists():
                for stored in json.loads(self.state_file.read_text())["workflows"]:
                    if stored["id"] == workflow.id:
                        workflow.restore(stored)
            self.workflows.append(workflow)
            self._save_file()
            self.changed.notify_all()
        self._say(f"workflow {workflow.name}  {workflow.state}  {len(workflow.actions)} actions for {workflow.agent}")
        return workflow

    def add_actions(self, agent, actions, name="workflow", **task):
        """Adds a workflow of one task from a list of dicts as a template's `actions`; a missing name is numbered."""
        actions = [{"name": f"action-{number}", **action} for number, action in enumerate(actions, 1)]
        return self.add({"name": name, "tasks": [{"name": "task", "worker": agent, "actions": actions, **task}]})

    def delete(self, workflow):
        """Deletes a workflow (or its name): reports about it are answered as the real server does."""
        if isinstance(workflow, str):
            workflow = self.workflow(workflow)
        with self.changed:
            workflow.deleted = True
            if workflow in self.workflows:
                self.workflows.remove(workflow)
            self._save_file()
            self.changed.notify_all()
        self._say(f"workflow {workflow.name}  deleted")

    def workflow(self, name):
        """The workflow of this name or id."""
        for workflow in self.workflows:
            if name in (workflow.name, workflow.id):
                return workflow
        raise KeyError(f"no workflow {name}")

    def save(self):
        """The workflows' state as plain data, for restart(state=...)."""
        with self.changed:
            return json.loads(json.dumps([workflow.as_dict() for workflow in self.workflows]))

    def restore(self, state):
        with self.changed:
            for stored in state:
                for workflow in self.workflows:
                    if workflow.id == stored["id"]:
                        workflow.restore(stored)
            self.changed.notify_all()

    def _save_file(self):
        if self.state_file:
            temporary = self.state_file.with_name(self.state_file.name + ".new")
            temporary.write_text(json.dumps({"workflows": self.save()}, indent=1))
            temporary.replace(self.state_file)

    # --- what tests ask for

    @property
    def violations(self):
        return self.rules.violations

    def fault(self, kind, **fields):
        """Adds a fault: see faults.Fault for the fields. Returns it; .hits counts."""
        with self.changed:
            return self.faults.add(Fault(kind, **fields))

    def wait(self, condition, timeout_s=30.0, what="a condition"):
        """Waits until condition() is true; returns its value. TimeoutError tells what the server saw."""
        deadline_s = time.monotonic() + timeout_s
        with self.changed:
            while not (value := condition()):
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    raise TimeoutError(f"{timeout_s:g} s without {what}\n" + "\n".join(self.lines[-40:]))
                self.changed.wait(min(left_s, 0.2))
            return value

    def wait_state(self, workflow, *states, timeout_s=30.0):
        """Waits until the workflow is in one of these states (default: any final one)."""
        states = states or messages.FINAL_STATES
        self.wait(lambda: self.expire() or workflow.state in states, timeout_s,
                  f"workflow {workflow.name} being {' or '.join(states)}")
        return workflow.state

    def wait_acknowledged(self, workflow, timeout_s=30.0):
        """Waits until the workflow is in a final state and its last report has been answered with OK."""
        self.wait_state(workflow, timeout_s=timeout_s)
        self.wait(lambda: [report for report in self.reports if report.workflow_id == workflow.id][-1].code == "OK",
                  timeout_s, f"an answer to the last report of workflow {workflow.name}")
        return workflow.state

    def wait_report(self, state=None, action=None, count=1, timeout_s=30.0):
        """Waits until `count` such reports have come; returns the last of them."""
        def matching():
            found = [report for report in self.reports
                     if state in (None, report.state) and action in (None, report.action_name)]
            return found[count - 1] if len(found) >= count else None
        return self.wait(matching, timeout_s, f"{count} report(s) {state or ''} {action or ''}")

    def as_dict(self):
        """Everything, for /state."""
        with self.changed:
            return {
                "time_s": round(self.now_s, 3),
                "workflows": [workflow.as_dict() for workflow in self.workflows],
                "reports": [dataclasses.asdict(report) for report in self.reports],
                "calls": [
                    {key: value for key, value in dataclasses.asdict(call).items() if key != "report"}
                    for call in self.calls
                ],
                "agents": {agent: attributes for agent, attributes in self.attributes.items()},
                "violations": list(self.violations),
                "faults": [dataclasses.asdict(fault) for fault in self.faults.faults],
                "proxy": {"mode": self.proxy.mode, "connections": self.proxy.connections,
                          "open": self.proxy.open_connections},
            }

    def _say(self, text):
        line = f"{self.now_s:.1f} s  {text}"
        with self.changed:
            self.lines.append(line)
            self.changed.notify_all()
            if self.on_line:
                self.on_line(line)

    # --- the calls

    def expire(self):
        """Applies every workflow's global_timeout."""
        with self.changed:
            for workflow in self.workflows:
                if workflow.expire(time.monotonic()):
                    self._say(f"workflow {workflow.name}  TIMEOUT  global_timeout is over")

    def handle(self, method, data, context):
        """Serves one call: a generator of encoded answers (normally one). Never called directly."""
        call = Call(method, round(self.now_s, 3), peer=context.peer(), deadline_s=context.time_remaining(),
                    metadata={key: value for key, value in context.invocation_metadata() if isinstance(value, str)})
        call.disruptions = self.proxy.disruptions
        with self.changed:
            self.calls.append(call)
        if not context.add_callback(lambda: self._end(call, "CANCELLED")):
            self._end(call, "CANCELLED")
            return
        try:
            serve = self._served_methods().get(method)
            if serve is None:
                raise Answer("UNIMPLEMENTED", f"unknown method {method} for service {SERVICE}")
            yield from serve(call, data, context)
            self._end(call, "OK")
        except _HungUp:
            self._end(call, "CANCELLED")
        except _Answered:
            self._end(call, "OK")
        except Answer as answer:
            if answer.no_action and self.details:
                code = getattr(grpc.StatusCode, answer.code).value[0]
                context.set_trailing_metadata((
                    ("grpc-status-details-bin", messages.no_action_details(code, answer.message, call.agent_id)),))
            self._end(call, answer.code, answer.message)
            context.abort(getattr(grpc.StatusCode, answer.code), answer.message)

    def _served_methods(self):
        if self.generation == "older":
            return {"GetWorkflowContexts": self._get_contexts, "GetWorkflowActions": self._get_actions,
                    "ReportActionStatus": self._older_report}
        return {"GetAction": self._get_action, "ReportActionStatus": self._report}

    def _end(self, call, code, message=""):
        with self.changed:
            if call.over:
                return
            call.code, call.answer, call.end_s = code, message, round(self.now_s, 3)
            if call.report:
                report = call.report
                report.code = code
                report.acknowledged = code == "OK" and not call.spoiled and self._undisturbed(call)
                self.rules.report_ends(call, report.acknowledged)
            self.changed.notify_all()

    def _undisturbed(self, call):
        return self.proxy.undisturbed and self.proxy.disruptions == call.disruptions

    def _begin(self, call):
        """The call is understood. Waits a moment for calls of this agent that are just ending."""
        with self.changed:
            def others():
                return [other for other in self.calls[-50:]
                        if other is not call and other.agent_id == call.agent_id and not other.over]
            deadline_s = time.monotonic() + 0.5
            while others() and time.monotonic() < deadline_s:
                self.changed.wait(0.05)
            self.rules.call_begins(call, others())
            self._announce_violations()

    def _parse(self, message_class, data, call):
        try:
            message = message_class.FromString(data)
        except Exception as error:  # DecodeError or, for bad UTF-8 in some versions, UnicodeDecodeError
            reason = "string field contains invalid UTF-8" if "utf" in str(error).lower() else "cannot parse invalid wire-format data"
            raise Answer("INTERNAL", f"grpc: error unmarshalling request: {reason}") from None
        if fields := messages.unknown_fields(message):
            self.rules.unknown_fields(call, fields)
        return message

    def _get_action(self, call, data, context):
        request = self._parse(messages.ActionRequest, data, call)
        call.agent_id = request.agent_id
        self._begin(call)
        if request.HasField("agent_attributes"):
            attributes = _as_dict(request.agent_attributes)
            self.rules.attributes(call, len(json.dumps(attributes)))
            self.attributes[call.agent_id] = attributes
        fault = self._take_fault(call)
        if fault and not fault.stored:
            yield from self._strike(fault, call, context, None)
        response = self._retry(lambda: self._choose(call), self.long_poll_s, call, context)
        encoded = response.SerializeToString()
        if fault and fault.stored:
            yield from self._strike(fault, call, context, encoded)
        yield encoded

    def _choose(self, call):
        """The action for this agent now."""
        if not call.agent_id:
            raise Answer("INVALID_ARGUMENT", "invalid Agent ID")
        self.expire()
        mine = [workflow for workflow in self.workflows if workflow.agent == call.agent_id]
        if not mine:
            raise Answer("NOT_FOUND", "no Workflows found", no_action=True)
        workflow = next((workflow for workflow in mine if not workflow.finished), mine[0])
        task, action = workflow.next_action(call.agent_id)
        again = any(other.served_id == action.id for other in self.calls)
        call.served, call.served_id = action.name, action.id
        self.rules.served(call.agent_id, action.id)
        self._save_file()
        self._say(f"{self._about(workflow, action)}  handed out{' again' if again else ''}")
        return workflow.response(task, action)

    def _report(self, call, data, context):
        request = self._parse(messages.ActionStatusRequest, data, call)
        call.agent_id = request.agent_id
        report = call.report = _report_from(request, call.time_s)
        self._begin(call)
        with self.changed:
            self._forget_doubtful_acknowledgement(call)
            self.reports.append(report)
            self.rules.report_begins(call, self._find_action(report))
            self._announce_violations()
        fault = self._take_fault(call)
        if fault and not fault.stored:
            yield from self._strike(fault, call, context, None)
        self._retry(lambda: self._store(report), self.report_retry_s, call, context)
        encoded = messages.ActionStatusResponse().SerializeToString()
        if fault and fault.stored:
            yield from self._strike(fault, call, context, encoded)
        yield encoded

    # --- the calls of the older generation: nothing is tried again, every answer comes at once

    def _get_contexts(self, call, data, context):
        request = self._parse(older.WorkflowContextRequest, data, call)
        call.agent_id = request.worker_id
        self._begin(call)
        fault = self._take_fault(call)
        if fault and not fault.stored:
            yield from self._strike(fault, call, context, None)
        self.expire()
        with self.changed:
            found = list(older.contexts(self.workflows, call.agent_id))
            for action, _ in found[:1]:
                call.served, call.served_id = action.name, action.id
                self.rules.served_older(call.agent_id, action.id, action.state)
        if fault and fault.stored:
            yield from self._strike(fault, call, context, found[0][1].SerializeToString() if found else None)
        for _, answer in found:
            yield answer.SerializeToString()

    def _get_actions(self, call, data, context):
        request = self._parse(older.WorkflowActionsRequest, data, call)
        fault = self._take_fault(call)
        if fault and not fault.stored:
            yield from self._strike(fault, call, context, None)
        if not request.workflow_id:
            raise Answer("INVALID_ARGUMENT", "invalid workflow id")
        try:
            workflow = self.workflow(request.workflow_id)
        except KeyError:
            name = request.workflow_id.partition("/")[2]
            raise Answer("UNKNOWN", f'Workflow.tinkerbell.org "{name}" not found') from None
        encoded = older.action_list(workflow).SerializeToString()
        if fault and fault.stored:
            yield from self._strike(fault, call, context, encoded)
        yield encoded

    def _older_report(self, call, data, context):
        request = self._parse(older.WorkflowActionStatus, data, call)
        call.agent_id = request.worker_id
        report = call.report = older.report_from(request, call.time_s)
        self._begin(call)
        with self.changed:
            self.reports.append(report)
            self.rules.older_report_begins(call, self._find_older_action(report))
            self._announce_violations()
        fault = self._take_fault(call)
        if fault and not fault.stored:
            yield from self._strike(fault, call, context, None)
        with self.changed:
            self._store_older(report)
        encoded = older.Empty().SerializeToString()
        if fault and fault.stored:
            yield from self._strike(fault, call, context, encoded)
        yield encoded

    def _find_older_action(self, report):
        """The action that the report means: the current one of its name, else the first of that name."""
        for workflow in self.workflows:
            if workflow.id != report.workflow_id:
                continue
            now = older.current(workflow)
            if now and now[1].name == report.action_name:
                report.action_id = now[1].id
                return now[1]
            for action in workflow.actions:
                if action.name == report.action_name:
                    report.action_id = action.id
                    return action
        return None

    def _store_older(self, report):
        older.check(report)
        try:
            workflow = self.workflow(report.workflow_id)
        except KeyError:
            raise Answer("INVALID_ARGUMENT", "invalid workflow id") from None
        before = workflow.state
        action = older.store(workflow, report)
        report.stored = True
        self._save_file()
        self._say(f"{self._about(workflow, action)}  {report.state}  (the message is thrown away)")
        if workflow.state != before:
            self._say(f"workflow {workflow.name}  {workflow.state}")

    def _find_action(self, report):
        for workflow in self.workflows:
            for action in workflow.actions:
                if action.id == report.action_id:
                    return action
        return None

    def _forget_doubtful_acknowledgement(self, call):
        """An acknowledgement may have been lost on the way if the connection was disturbed since."""
        for other in reversed(self.calls):
            if (other is not call and other.report and other.report.acknowledged
                    and other.report.action_id == call.report.action_id):
                if other.disruptions != self.proxy.disruptions:
                    other.report.acknowledged = False
                    self.rules.acknowledgement_lost(other)
                return

    def _announce_violations(self):
        for text in self.violations[self._announced_violations:]:
            self._say(f"violation: {text}")
        self._announced_violations = len(self.violations)

    def _store(self, report):
        for field, what in (("workflow_id", "workflow id"), ("task_id", "task name"), ("action_id", "action name")):
            if not getattr(report, field):
                raise Answer("INVALID_ARGUMENT", f"invalid {what}")
        try:
            workflow = self.workflow(report.workflow_id)
        except KeyError:
            name = report.workflow_id.partition("/")[2]
            raise Answer("INTERNAL", "error reading from backend\nrpc error: code = Internal desc = error getting "
                         f"workflow: failed to get workflow {report.workflow_id}: "
                         f'Workflow.tinkerbell.org "{name}" not found') from None
        before = workflow.state
        action = workflow.report(report, time.monotonic())
        report.stored = True
        self._save_file()
        self._say(f"{self._about(workflow, action)}  {report.state}  {_shown(report)}")
        if workflow.state != before:
            self._say(f"workflow {workflow.name}  {workflow.state}")

    def _about(self, workflow, action):
        return (f"workflow {workflow.name}  action {workflow.actions.index(action) + 1}/{len(workflow.actions)} "
                f"{action.name}")

    def _retry(self, operation, seconds, call, context):
        """As the real server: tries again inside the call before it answers with an error."""
        deadline_s = time.monotonic() + seconds
        with self.changed:
            while True:
                if not context.is_active() or call.over:
                    raise _HungUp
                try:
                    return operation()
                except Answer:
                    left_s = deadline_s - time.monotonic()
                    if left_s <= 0:
                        raise
                self.changed.wait(min(left_s, 1.0))

    # --- faults

    def _take_fault(self, call):
        with self.changed:
            fault = self.faults.take(call.method, call.agent_id, call.report)
            if fault:
                call.fault, call.spoiled = fault.kind, True
                what = f"{call.report.state} of {call.report.action_name}" if call.report else call.method
                self._say(f"fault: {fault.kind}, {what}{' (stored)' if fault.stored else ''}")
            return fault

    def _strike(self, fault, call, context, encoded):
        """Carries out a fault. Returns if the call is to go on; yields what is to be sent instead."""
        if fault.kind == "status":
            if fault.details:
                context.set_trailing_metadata((("grpc-status-details-bin", base64.b64decode(fault.details)),))
            raise Answer(fault.code, fault.message)
        if fault.kind == "late":
            self._sleep(fault.seconds or 0, call, context)
            call.spoiled = False
        elif fault.kind == "hang":
            self._sleep(fault.seconds, call, context)
            raise Answer("UNAVAILABLE", fault.message)
        elif fault.kind in ("reset", "close"):
            self.proxy.drop_all(reset=fault.kind == "reset")
            raise _HungUp
        elif fault.kind in ("garbage", "large"):
            yield b"\xff" * 40 if fault.kind == "garbage" else b"\x0a" + _varint(5 << 20) + b"x" * (5 << 20)
            raise _Answered
        elif fault.kind == "twice":
            yield encoded or b""
        elif fault.kind == "empty":
            raise _Answered
        elif fault.kind == "delete":
            with contextlib.suppress(KeyError):
                self.delete(call.report.workflow_id if call.report else self._workflow_of(call.agent_id))
            call.spoiled = False
        elif fault.kind == "restart":
            threading.Thread(target=self.restart, args=(fault.seconds or 0,), daemon=True).start()
            self._sleep(30, call, context)
        elif fault.kind == "outage":
            self.outage(fault.mode, fault.seconds or 5)
            self._sleep(None, call, context)

    def _workflow_of(self, agent_id):
        return next((workflow.name for workflow in self.workflows if workflow.agent == agent_id), "")

    def _sleep(self, seconds, call, context):
        """Waits (for ever, if None) as long as the caller does."""
        deadline_s = None if seconds is None else time.monotonic() + seconds
        with self.changed:
            while deadline_s is None or time.monotonic() < deadline_s:
                if call.over or not context.is_active():
                    raise _HungUp
                left_s = 0.5 if deadline_s is None else deadline_s - time.monotonic()
                self.changed.wait(max(0.0, min(left_s, 0.5)))


class _HungUp(Exception):
    """The caller is gone: no answer."""


class _Answered(Exception):
    """Whatever was to be sent has been sent."""


class _Methods(grpc.GenericRpcHandler):
    """Finds the handler of a call. Every method is served as a stream of answers: on the wire a call
    with one answer looks the same, and faults can send none or two."""

    def __init__(self, server):
        self._server = server

    def service(self, handler_call_details):
        service, _, method = handler_call_details.method.lstrip("/").partition("/")
        if service != SERVICE:
            return None
        return grpc.unary_stream_rpc_method_handler(
            lambda data, context: self._server.handle(method, data, context))


def _report_from(request, time_s):
    def seconds(field):
        if not request.HasField(field):
            return None
        value = getattr(request, field)
        return value.seconds + value.nanos / 1e9
    state = request.action_state
    return Report(
        time_s=time_s,
        workflow_id=request.workflow_id,
        agent_id=request.agent_id,
        task_id=request.task_id,
        action_id=request.action_id,
        action_name=request.action_name,
        state=messages.STATES[state] if 0 <= state < len(messages.STATES) else str(state),
        execution_start_s=seconds("execution_start"),
        execution_stop_s=seconds("execution_stop"),
        execution_duration=request.execution_duration,
        message=request.message.message,
        has_message=request.HasField("message"),
    )


def _shown(report):
    """A report's message for people: one line; a failure's further lines indented below it."""
    lines = report.message.replace("\r", "").rstrip("\n").split("\n")
    first = " ".join(filter(None, [report.execution_duration, lines[0][:300]]))
    if report.state in ("FAILED", "TIMEOUT"):
        return "\n          ".join([first, *lines[1:]])
    return first + (" ..." if len(lines) > 1 else "")


def _as_dict(message):
    from google.protobuf import json_format
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def _varint(number):
    data = b""
    while number > 127:
        data, number = data + bytes([number & 127 | 128]), number >> 7
    return data + bytes([number])
