"""Watches what an agent sends and notes every breach of the protocol's rules in `violations`.

What the rules guard against: each report moves the server's cursor, so a report out of turn can make
a finished machine wipe itself.
"""

import re

from . import messages

MESSAGE_LIMIT_BYTES = 4096
ATTRIBUTES_LIMIT_BYTES = 64 * 1024
_DURATION = re.compile(r"^(0s|(\d+(d|h|m|s|ms|µs|us|ns)){1,2})$")
_CONTROL = re.compile(r"[^\n\t -\x7e\x80-\U0010ffff]|[\x80-\x9f]")


class _Turn:
    """What happened about one action since the server last handed it out."""

    def __init__(self):
        self.running_acknowledged = False
        self.running_time_s = None  # the last acknowledged one
        self.final = None  # the first final report received
        self.final_acknowledged = False
        self.suspicion = None  # a violation if the agent goes on with this run


class Rules:
    """served, report_begins, report_ends are called by the server in the order of events."""

    def __init__(self, progress_spacing_s=9.0):
        self.progress_spacing_s = progress_spacing_s
        self.violations = []
        self._turns = {}  # (agent, action id): _Turn

    def served(self, agent, action_id):
        """The server handed out the action: what was said of it before belongs to another turn."""
        self._turns[agent, action_id] = _Turn()

    def served_older(self, agent, action_id, state):
        """The same of the older generation, which shows an action as long as it is not over: one that is stored as
        RUNNING needs no further report of that."""
        turn = self._turns.get((agent, action_id))
        if turn is None or turn.final_acknowledged:
            turn = self._turns[agent, action_id] = _Turn()
        turn.running_acknowledged |= state == "RUNNING"

    def older_report_begins(self, call, action):
        """A report of the older generation."""
        report = call.report
        for problem in _older_problems(report):
            self._note(call, problem)
        if action is None:
            self._note(call, f"{report.state} for an action that there is not")
            return
        # The list of actions is known: one may follow the other without a further question.
        self._order(call, self._turns.setdefault((report.agent_id, report.action_id), _Turn()))

    def call_begins(self, call, others):
        """others: calls of the same agent that are not over yet.

        A machine that was reset leaves its calls behind on a connection that nobody has closed:
        of two connections only two reports are held against the agent.
        """
        for other in others:
            if call.peer == other.peer or (call.report and other.report):
                self._note(call, f"{_what(call)} came while {_what(other)} was not answered")

    def attributes(self, call, size_bytes):
        if size_bytes > ATTRIBUTES_LIMIT_BYTES:
            self._note(call, f"agent attributes of {size_bytes} bytes, the server takes {ATTRIBUTES_LIMIT_BYTES}")

    def unknown_fields(self, call, fields):
        self._note(call, f"fields that the protocol does not have: {', '.join(fields)}")

    def report_begins(self, call, action):
        """action: the server's own, or None if it knows none of this id."""
        report = call.report
        for problem in _problems(report, action):
            self._note(call, problem)
        turn = self._turns.get((report.agent_id, report.action_id))
        if turn is None:
            self._note(call, f"{report.state} for an action that was never handed out to this agent")
            turn = self._turns[report.agent_id, report.action_id] = _Turn()
        if turn.suspicion:
            self._note(call, turn.suspicion)
            turn.suspicion = None
        self._order(call, turn)
        if report.state == "RUNNING" and turn.running_time_s is not None and self.progress_spacing_s:
            gap_s = report.time_s - turn.running_time_s
            if gap_s < self.progress_spacing_s:
                # Not held against an agent that says that it is being stopped, and then is.
                turn.suspicion = f"RUNNING {gap_s:.1f} s after the one before"

    def _order(self, call, turn):
        """What may follow what. Returns whether the report is a final one."""
        report = call.report
        final = report.state in messages.FINAL_STATES
        if turn.final_acknowledged:
            self._note(call, f"{report.state} after {turn.final.state} had been acknowledged")
        elif turn.final and not final:
            self._note(call, f"{report.state} after {turn.final.state} had been sent")
        elif turn.final and report.state != turn.final.state:
            self._note(call, f"{report.state} after {turn.final.state} for the same run")
        if report.state in ("SUCCESS", "TIMEOUT") and not turn.running_acknowledged:
            self._note(call, f"{report.state} although no RUNNING had been acknowledged")
        if final and turn.final is None:
            turn.final = report
        return final

    def report_ends(self, call, acknowledged):
        """acknowledged: the agent has certainly received OK."""
        report = call.report
        turn = self._turns.get((report.agent_id, report.action_id))
        if turn is None or not acknowledged:
            return
        if report.state == "RUNNING":
            turn.running_acknowledged = True
            turn.running_time_s = report.time_s
        elif report.state in messages.FINAL_STATES:
            turn.final_acknowledged = True

    def acknowledgement_lost(self, call):
        """What report_ends took for certain is not: the connection was disturbed."""
        turn = self._turns.get((call.report.agent_id, call.report.action_id))
        if turn and call.report.state in messages.FINAL_STATES:
            turn.final_acknowledged = False

    def _note(self, call, text):
        action = f" action {call.report.action_name}" if call.report else ""
        self.violations.append(f"{call.time_s:.1f} s agent {call.agent_id}{action}: {text}")


def _what(call):
    return f"{call.report.state} of {call.report.action_name}" if call.report else call.method


def _older_problems(report):
    for field in ("workflow_id", "agent_id", "task_name", "action_name", "created_at_s"):
        if not getattr(report, field):
            yield f"{report.state} without {field.replace('agent_id', 'worker_id')}"
    if len(report.message.encode()) > MESSAGE_LIMIT_BYTES:
        yield f"a message of {len(report.message.encode())} bytes"
    if control := _CONTROL.search(report.message):
        yield f"a message with a control character {control[0]!r}"
    if report.state in ("FAILED", "TIMEOUT") and not report.message.strip():
        yield f"{report.state} without a reason"


def _problems(report, action):
    """What is wrong with a report taken by itself."""
    for field in ("workflow_id", "agent_id", "task_id", "action_id", "action_name"):
        if not getattr(report, field):
            yield f"{report.state} without {field}"
    if report.state not in messages.STATES or report.state in ("UNSPECIFIED", "PENDING"):
        yield f"state {report.state}"
    if action and report.action_name and action.name != report.action_name:
        yield f"named {report.action_name}, but {report.action_id} is {action.name}"
    if report.execution_start_s is None:
        yield f"{report.state} without execution_start"
    if len(report.message.encode()) > MESSAGE_LIMIT_BYTES:
        yield f"a message of {len(report.message.encode())} bytes"
    if control := _CONTROL.search(report.message):
        yield f"a message with a control character {control[0]!r}"
    if report.state not in messages.FINAL_STATES:
        return
    if report.execution_stop_s is None:
        yield f"{report.state} without execution_stop"
    elif report.execution_start_s is not None and report.execution_stop_s < report.execution_start_s:
        yield f"{report.state} with a stop before the start"
    if not _DURATION.match(report.execution_duration):
        yield f"{report.state} with execution_duration {report.execution_duration!r}"
    if report.state != "SUCCESS" and not report.message.strip():
        yield f"{report.state} without a reason"
