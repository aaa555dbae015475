"""How a call can be treated badly: the descriptions of faults and the queue of those that wait.

    status   answered with `code` and `message` (details trailer: `details`, bytes as base64 text)
    late     answered after `seconds`
    hang     never answered (for `seconds`, if given, then UNAVAILABLE)
    reset    every connection is reset (RST) instead of an answer
    close    every connection is closed (FIN) instead of an answer
    garbage  answered OK with bytes that are no protobuf message
    large    answered OK with a message of 5 MiB, more than gRPC's default limit
    twice    answered OK with the message two times in one call
    empty    answered OK without a message
    delete   the workflow that the call is about is deleted; the call itself goes on
    restart  the server goes away for `seconds` and comes back; the call gets no answer
    outage   the proxy's mode is `mode` for `seconds`; the call gets no answer

`stored` says on which side of the server's work the fault strikes: False, the call has no effect;
True, the effect is there and only the answer suffers. Left out, it is True for late, garbage, large,
twice, empty and False for the rest.
"""

import dataclasses

KINDS = ("status", "late", "hang", "reset", "close", "garbage", "large", "twice", "empty", "delete",
         "restart", "outage")
_STORED_BY_DEFAULT = ("late", "garbage", "large", "twice", "empty")
METHODS = ("GetAction", "ReportActionStatus", "GetWorkflowContexts", "GetWorkflowActions")


@dataclasses.dataclass
class Fault:
    kind: str
    method: str = "ReportActionStatus"  # or another of METHODS, or *
    times: int = 1  # how many calls it strikes; -1: all
    skip: int = 0  # how many matching calls go by before
    state: str = None  # only reports with this state
    action: str = None  # only reports about the action of this name
    agent: str = None  # only calls of this agent
    stored: bool = None
    code: str = "UNAVAILABLE"
    message: str = "fault on request"
    details: str = ""
    seconds: float = None
    mode: str = "refuse"
    hits: int = 0  # how many calls it has struck

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"no such fault: {self.kind} (known: {', '.join(KINDS)})")
        if self.method not in METHODS + ("*",):
            raise ValueError(f"no such method: {self.method} (known: {', '.join(METHODS)}, *)")
        if self.stored is None:
            self.stored = self.kind in _STORED_BY_DEFAULT

    @property
    def spent(self):
        return self.times == 0

    def matches(self, method, agent, report=None):
        if self.spent or self.method not in ("*", method) or self.agent not in (None, agent):
            return False
        if report is None:
            return self.state is None and self.action is None
        return self.state in (None, report.state) and self.action in (None, report.action_name)


class FaultList:
    """Faults in the order in which they were added; the first that matches strikes."""

    def __init__(self):
        self.faults = []

    def add(self, fault):
        self.faults.append(fault)
        return fault

    def clear(self):
        self.faults = []

    def take(self, method, agent, report=None):
        """The fault for this call, or None."""
        for fault in self.faults:
            if not fault.matches(method, agent, report):
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            if fault.times > 0:
                fault.times -= 1
            fault.hits += 1
            return fault
        return None
