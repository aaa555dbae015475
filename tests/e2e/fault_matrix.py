"""What can go wrong with a server, and when: a row is a fault, a column a moment in a workflow's life, a cell a worker, a
server and a disk of its own. The cells run at the same time; test_faults.py looks at what each has seen.

A cell's workflow writes an image, then reboots. Its fault is there for a moment and then is over. Whatever it is: the workflow
ends with SUCCESS, the image was fetched once and is on the disk, the machine rebooted once, the protocol was kept, every change
of the server's state was told once, and nobody was asked in a tight loop.
"""

import concurrent.futures
import contextlib
import dataclasses
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

from worker import BINARY, HERE, MIB, Disk, Images, Worker, eventually

from server.tink import TinkServer
from server.tls import make_certificate
from server.web import WebServer

PHASES = {"start": "at the start", "polling": "while polling", "running": "at RUNNING", "action": "during the action",
          "end": "at the final report"}
# What the worker says of a server in trouble, by phase.
COMPLAINTS = {"start": "the server cannot be asked", "polling": "the server cannot be asked|the report could not be delivered",
              "running": "the report could not be delivered", "action": "progress cannot be told",
              "end": "the report could not be delivered"}
AGENT = "52:54:00:00:00:01"
IMAGE2DISK = "quay.io/tinkerbell/actions/image2disk:latest"
REBOOT = "quay.io/tinkerbell/actions/reboot:latest"
HOLD_S = 0.6  # how long a fault stays after the worker has noticed it
WORKERS_AT_ONCE = 24


@dataclasses.dataclass(frozen=True)
class Row:
    """One fault. strike(cell) is a context manager: inside it the fault is there. says: in the worker's log ("…": anything)."""

    name: str
    title: str
    strike: object
    says: str
    tls: bool = False
    answer: dict = None  # a fault of calls (server/faults.py) instead: of three in a row
    connections: int = 1  # of one try
    older: bool = False  # also with a server of the older generation

    @property
    def options(self):
        """Of the Cell."""
        return {"tls": self.tls, "clock": self.tls}

    @property
    def pattern(self):
        return ".*".join(map(re.escape, self.says.split("…")))


@contextlib.contextmanager
def _proxy(cell, mode):
    cell.server.proxy.set(mode)
    yield
    # What was stalled goes on: a call that was given up meanwhile must not arrive now.
    cell.server.proxy.set("pass", existing="keep")


@contextlib.contextmanager
def _restart(cell, grace_s=None):
    """Away for as long as the fault stays."""
    back = threading.Event()
    sleep = threading.Thread(target=cell.restart, args=(back, grace_s))
    sleep.start()
    yield
    back.set()
    sleep.join()


@contextlib.contextmanager
def _certificate(cell, name):
    """The server comes back with another certificate, and then with the right one."""
    good = cell.server.tls
    cell.server.tls = cell.certificates[name]
    cell.server.restart()
    yield
    cell.server.tls = good
    cell.server.restart()


@contextlib.contextmanager
def _clock(cell):
    """The worker's clock is in 1970, and its connections are gone."""
    cell.lost_clock.touch()
    cell.server.proxy.drop_all()
    yield
    cell.lost_clock.unlink()


def _by_proxy(name, title, mode, says, older=False):
    return Row(name, title, lambda cell: _proxy(cell, mode), says, older=older)


def _by_answer(name, title, says, older=False, **fault):
    return Row(name, title, None, says, answer=fault, older=older)


def _by_certificate(name, title, says, older=False):
    return Row(name, title, lambda cell: _certificate(cell, name), says, tls=True, older=older)


ROWS = [
    _by_proxy("absent", "nobody listens", "refuse", "Could not connect to server", older=True),
    Row("restart", "restarts", _restart, "UNAVAILABLE: …", older=True),
    Row("polite-restart", "restarts after GOAWAY", lambda cell: _restart(cell, 0.2), "UNAVAILABLE: …"),
    _by_proxy("reset", "resets every connection", "reset", "Connection reset by peer", older=True),
    _by_proxy("close", "closes every connection", "close", "UNAVAILABLE: …"),
    # libcurl takes GOAWAY for an invitation to try a call that was not begun again at once, five times.
    Row("goaway", "answers GOAWAY", lambda cell: _proxy(cell, "h2-goaway"), "UNAVAILABLE: …", connections=6),
    _by_proxy("stall", "takes calls and never answers", "stall", "no answer within 2000 ms", older=True),
    _by_proxy("html", "is a web server", "html", "UNAVAILABLE: …", older=True),
    _by_proxy("junk", "answers random bytes", "junk", "UNAVAILABLE: …"),
    _by_proxy("bad-gateway", "is a reverse proxy without a server", "h2-502", "the server answered HTTP status 502: is it a Tink server?"),
    _by_proxy("cut-answer", "is cut off in its answer", "h2-cut", "UNAVAILABLE: …"),
    _by_proxy("no-status", "answers without a gRPC status", "h2-no-status", "INTERNAL: the answer ended without a gRPC status"),
    _by_answer("garbage", "answers what is no protobuf", "no valid … message", kind="garbage", older=True),
    _by_answer("large", "answers more than 4 MiB", "is larger than", kind="large", older=True),
    _by_answer("empty", "answers OK without a message", "INTERNAL: a gRPC answer of 0 bytes", kind="empty"),
    _by_answer("twice", "answers twice", "INTERNAL: …", kind="twice"),
    _by_answer("unauthenticated", "answers UNAUTHENTICATED", "UNAUTHENTICATED: who are you", kind="status", code="UNAUTHENTICATED",
               message="who are you", older=True),
    _by_answer("denied", "answers PERMISSION_DENIED", "PERMISSION_DENIED: not you", kind="status", code="PERMISSION_DENIED",
               message="not you"),
    _by_answer("exhausted", "answers RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED: too many", kind="status", code="RESOURCE_EXHAUSTED",
               message="too many"),
    _by_certificate("other-authority", "has another authority's certificate", "certificate … see tls-ca", older=True),
    _by_certificate("expired", "has an expired certificate",
                    "certificate has expired (the clock of this machine says 20…: if that is right, the server needs a new certificate)"),
    _by_certificate("wrong-name", "has a certificate for another name",
                    "is it the right server, under one of the names in its certificate?"),
    Row("clock-1970", "has a client whose clock is in 1970", _clock,
        "certificate is not yet valid (the clock of this machine says 1970-01-0…, which is wrong: set it, by NTP or in the firmware)", tls=True),
]


class Certificates(dict):
    """The right one ("good") and those that are not, made once."""

    def __init__(self, folder):
        good = make_certificate(folder / "good")
        other = make_certificate(folder / "other")
        super().__init__(good=good,
                         expired=make_certificate(folder / "good", name="expired", days=-1),
                         **{"wrong-name": make_certificate(folder / "good", names=("tink.example",), name="wrong-name"),
                            "other-authority": other})


class Bench:
    """What all cells share."""

    def __init__(self, folder):
        self.folder = folder
        self.images = Images(folder)
        self.images.noise()
        self.web = WebServer().start()
        self.certificates = Certificates(folder / "certificates")
        self.clock = folder / "clock.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", self.clock, HERE / "clock.c"], check=True)
        shown = subprocess.run([BINARY, "config"], stdout=subprocess.PIPE, text=True, check=True, env={"AGENT_ROOT": "/nonexistent"}).stdout
        # A call that is never answered is cut after so long; the default is a minute and a half.
        self.call_timeout = ["--grpc-call-timeout", "2s"] if "grpc-call-timeout" in shown else []

    def close(self):
        self.web.stop()


class Cell:
    """A worker, a server, a disk. wrap: see Worker. call_timeout: calls are cut after 2 s, not after a minute and a half.
    clock: the worker's can be lost, by lost_clock."""

    def __init__(self, bench, name, phase, tls=False, clock=False, wrap=(), call_timeout=True, **server_options):
        self.bench, self.name, self.phase, self.web = bench, name, phase, bench.web
        self.folder = bench.folder / f"{name}-{phase}"
        self.folder.mkdir()
        self.certificates = bench.certificates
        self.lost_clock = self.folder / "clock-is-lost"
        self.server = TinkServer(**{"long_poll_s": 20, "report_retry_s": 0.2, "progress_spacing_s": 0,
                                    "tls": self.certificates["good"] if tls else None, **server_options})
        self.disk = None
        self.path = f"/{name}-{phase}"
        all_flags = ["--backoff-max-interval", "200ms", "--progress-interval", "300ms", *(bench.call_timeout if call_timeout else [])]
        environment = {}
        if tls:
            all_flags += ["--grpc-tls=true", "--tls-ca", str(self.certificates["good"].ca)]
        if clock:
            environment = {"LD_PRELOAD": str(bench.clock), "CLOCK_LOST": str(self.lost_clock)}
        self.worker = Worker(self, AGENT, all_flags, environment=environment, wrap=wrap)
        self.is_older = self.server.generation == "older"
        self.question = "GetWorkflowContexts" if self.is_older else "GetAction"
        self.workflow = None
        self.outage_s = 0.0
        self.connections_of_a_try = 1

    def __enter__(self):
        self.server.start()
        self.disk = Disk(self.folder / "disk.raw", 4 * MIB)
        return self

    def __exit__(self, *_):
        with contextlib.ExitStack() as stack:
            stack.callback(self.disk.close)
            stack.callback(self.server.stop)
            stack.callback(self.worker.close)

    def submit(self, slow=False):
        """The workflow: an image of 4 MiB (slow: in some seconds), a reboot."""
        url = self.web.add(self.path, self.bench.images.noise())
        if slow:
            self.web.fault("slow", path=self.path, rate=MIB)
        self.workflow = self.server.add_actions(AGENT, [
            {"name": "image", "image": IMAGE2DISK, "timeout": 120, "environment": {"IMG_URL": url, "DEST_DISK": self.disk.path}},
            {"name": "reboot", "image": REBOOT, "timeout": 60}])

    def restart(self, back, grace_s):
        """As TinkServer.restart(), away until told."""
        server = self.server
        server.proxy.set("refuse", existing="keep" if grace_s else "reset")
        server._stop_grpc(grace_s)
        server.proxy.drop_all()
        back.wait(30)
        server.proxy.target = server._start_grpc()
        server.proxy.set("pass")

    # --- to the moment of the phase, and through the fault

    def reach(self, **hang):
        """Goes to where the fault is to strike: a call of the phase is under way and is not going to be answered.

        answered_after_s, stored: it is, later; and whether it has had an effect.
        """
        phase, server = self.phase, self.server
        if phase == "start":
            self.submit()
            return
        if phase == "polling":
            self.worker.start()
            server.wait(lambda: [call for call in server.calls if call.method == self.question and call.agent_id], what=self.question)
            return
        self.submit(slow=phase == "action")
        if self.is_older and phase == "action":
            fault = self.older_action("hang")
            server.wait(lambda: fault.hits, what="a question about the action")
            return
        fault = server.fault("hang", action="image", state="SUCCESS" if phase == "end" else "RUNNING", skip=phase == "action",
                             seconds=hang.get("answered_after_s"), stored=hang.get("stored", False))
        self.worker.start()
        server.wait(lambda: fault.hits, what="the call that is to suffer")

    def suffer(self, row):
        """The fault is there until the worker has said so, and a moment longer."""
        begin_s = time.monotonic()
        self.connections_of_a_try = row.connections
        with row.strike(self):
            if self.phase == "start":
                self.worker.start()
            if self.phase == "polling":
                self.submit()
            eventually(lambda: re.search(COMPLAINTS[self.phase], self.worker.log) and re.search(row.pattern, self.complaints()), 30,
                       f"the worker complaining: {row.says}")
            time.sleep(HOLD_S)
        self.outage_s = time.monotonic() - begin_s

    def answered_badly(self, row):
        """Three answers in a row of the calls of this phase."""
        if self.is_older and self.phase == "action":
            self.submit(slow=True)
            fault = self.older_action(times=3, fault=row.answer["kind"], **{key: row.answer[key] for key in row.answer if key != "kind"})
            self.server.wait(lambda: fault.hits == 3, what="three faults")
            return
        fields = {"start": {"method": self.question}, "polling": {"method": self.question}, "running": {"state": "RUNNING"},
                  "action": {"state": "RUNNING", "skip": 1}, "end": {"state": "SUCCESS"}}[self.phase]
        if self.phase == "polling":
            self.server.long_poll_s = 0.3
            self.worker.start()
            self.server.wait(lambda: len(self.server.calls) > 2, what="polling")
        elif self.phase != "start":
            fields["action"] = "image"
        # An older server is asked whether it has stored what it did not answer: it has.
        times = 1 if self.is_older and self.phase in ("running", "end") and row.answer["kind"] != "status" else 3
        fault = self.server.fault(times=times, **fields, **row.answer)
        self.submit(slow=self.phase == "action")
        if self.phase != "polling":
            self.worker.start()
        self.server.wait(lambda: fault.hits == times, what="the faults")

    def run(self, row):
        if row.answer:
            self.answered_badly(row)
        else:
            self.reach()
            self.suffer(row)
        self.finish()
        self.check()
        assert re.search(row.pattern, self.complaints()), f"the log does not say why ({row.says}):\n{self.worker.log}"

    # --- the end

    def older_action(self, fault, **fields):
        """Progress is not reported to servers of the older generation: they are asked whether they still want the action."""
        self.worker.start()
        self.server.wait(lambda: [report for report in self.server.reports if report.state == "RUNNING" and report.code == "OK"], what="RUNNING")
        return self.server.fault(fault, method="GetWorkflowContexts", **fields)

    def finish(self, timeout_s=60):
        self.server.wait_acknowledged(self.workflow, timeout_s=timeout_s)
        self.worker.wait_note()
        eventually(lambda: not self.worker.others(), 5, "the end of what was started")

    def complaints(self):
        return "\n".join(line for line in self.worker.log.splitlines() if " warning " in line)

    def processor_s(self):
        fields = Path(f"/proc/{self.worker.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def check(self, runs=1):
        """What holds whatever the fault was."""
        server, worker = self.server, self.worker
        states = [(action.name, action.state) for action in self.workflow.actions]
        assert self.workflow.state == "SUCCESS" and states == [("image", "SUCCESS"), ("reboot", "SUCCESS")], states
        fetched = [request for request in self.web.requests_for(self.path) if request.method == "GET"]
        assert len(fetched) == runs, f"the image was fetched {len(fetched)} times"
        assert self.disk.read() == self.bench.images.noise().read_bytes(), "the image is not on the disk"
        assert worker.process.poll() is None, f"the worker has ended with status {worker.process.returncode}"
        self.check_modesty()
        worker.assert_nothing_left()
        status = worker.stop(signal.SIGTERM)
        assert status == 0, f"left with status {status}"
        assert [word for _, word in worker.notes] == ["reboot"], worker.notes
        assert not server.violations, "\n".join(server.violations)
        assert not re.search(r"Sanitizer|runtime error:|kind=bug|\bbug: ", worker.log)

    def check_modesty(self):
        """Few words, few connections, few calls, little of the processor's time."""
        said = [re.sub(r"\d", "", line.split(None, 1)[1]) for line in self.complaints().splitlines()]
        assert len(said) == len(set(said)), "said more than once:\n" + "\n".join(said)
        assert len(said) <= 6, "\n".join(said)
        assert self.worker.log.count("answers again") <= 2
        # Pauses of 100 to 200 ms, and one more connection for the progress.
        tries = self.outage_s / 0.1 * self.connections_of_a_try
        assert self.server.proxy.connections <= 12 + 2 * tries, f"{self.server.proxy.connections} connections in {self.outage_s:.1f} s"
        # An older server is asked again and again.
        questions = self.server.now_s / 0.1 if self.is_older else 0
        assert len(self.server.calls) <= 60 + tries + questions, len(self.server.calls)
        assert self.processor_s() <= 1.5 + 0.06 * self.server.proxy.connections, f"{self.processor_s()} s of processor time"

    def story(self):
        """For a failure: what both sides have seen."""
        return "\n".join(["", *self.server.lines[-40:], f"--- {self.worker.log_path.name}",
                          self.worker.log[-6000:] if self.worker.log_path.exists() else "(never started)"])


def run_cells(jobs, at_once=WORKERS_AT_ONCE):
    """Runs functions at the same time; returns {name: None or the error's text}. jobs: {name: function}."""
    def one(function):
        try:
            function()
        except Exception as error:  # pylint: disable=broad-except
            return f"{type(error).__name__}: {error}"
        return None
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        futures = {name: pool.submit(one, function) for name, function in jobs.items()}
        return {name: future.result() for name, future in futures.items()}


def run_cell(bench, name, phase, function, kind=Cell, **options):
    """Runs function(cell) with a cell of its own; a failure tells what both sides have seen."""
    with kind(bench, name, phase, **options) as cell:
        try:
            function(cell)
        except Exception as error:
            raise AssertionError(f"{type(error).__name__}: {error}{cell.story()}") from None
    shutil.rmtree(cell.folder)


# --- the table in FAULTS.md


def table(first, rows):
    """Markdown lines. rows: (name, title, {phase: text}) in order; a phase without text is a dash."""
    yield f"| {first} | " + " | ".join(PHASES.values()) + " |"
    yield "| --- " * (len(PHASES) + 1) + "|"
    for name, title, cells in rows:
        texts = [f"`{name}-{phase}`: {cells[phase]}" if phase in cells else "–" for phase in PHASES]
        yield f"| {title} | " + " | ".join(texts) + " |"


def section(text, name):
    """The lines between the marks of a table in FAULTS.md."""
    return text.split(f"<!-- {name} -->\n", 1)[1].split(f"<!-- end of {name} -->", 1)[0]


def with_section(text, name, lines):
    return text.replace(f"<!-- {name} -->\n{section(text, name)}", f"<!-- {name} -->\n" + "".join(line + "\n" for line in lines))
