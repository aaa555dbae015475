"""Every kind of Tink server, and every way to it: both generations and the change between them, addresses, sockets, proxies, TLS."""

import base64
import contextlib
import hashlib
import os
import re
import socket
import subprocess
import threading
import time
from concurrent import futures
from pathlib import Path

import grpc
import pytest
from google.protobuf.message import DecodeError

from server import older as messages
from server import tink
from server.proxy import Proxy
from server.tls import make_certificate
from server.web import WebServer
from worker import BINARY, MIB, eventually, images, make_station, station  # noqa: F401

REBOOT = "quay.io/tinkerbell/actions/reboot:latest"
IMAGE2DISK = "quay.io/tinkerbell/actions/image2disk:latest"
CEXEC = "quay.io/tinkerbell/actions/cexec:latest"


# --- a server of the older generation, as small as can be: its state can be set to anything, its answers to any bytes

OLDER_STATES = messages.STATES


class OlderWorkflow:
    def __init__(self, name, actions):
        self.id, self.actions, self.index, self.state = f"default/{name}", actions, 0, "PENDING"
        self.begun, self.deleted = False, False
        self.states = ["PENDING"] * len(actions)

    @property
    def over(self):
        return self.index >= len(self.actions) or self.state in ("FAILED", "TIMEOUT")


class OlderServer(grpc.GenericRpcHandler):
    """Stores states only, as the real one on Kubernetes: after a SUCCESS the next action is current at once."""

    def __init__(self):
        self.workflows, self.calls, self.reports = [], [], []
        self.faults = {}  # method: a list of what happens to the next calls: "lost" (done, not answered), "undone", a status
        self._server = grpc.server(futures.ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((self,))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def stop(self):
        self._server.stop(0)

    def add(self, agent, *actions, name="wf"):
        """Actions are dicts of the fields; task and worker need not be named."""
        actions = [{"task_name": "os", "worker_id": agent, "timeout": 60, **action} for action in actions]
        self.workflows.append(OlderWorkflow(f"{name}-{len(self.workflows)}", actions))
        return self.workflows[-1]

    def states(self, name=None):
        return [report.action_status and OLDER_STATES[report.action_status] for report in self.reports if name in (None, report.action_name)]

    def count(self, method):
        return self.calls.count(method)

    def service(self, handler_call_details):
        method = handler_call_details.method.rpartition("/")[2]
        self.calls.append(method)
        handler = {"GetWorkflowContexts": self._contexts, "GetWorkflowActions": self._actions, "ReportActionStatus": self._report}.get(method)
        if handler is None:
            return None
        fault = self.faults[method].pop(0) if self.faults.get(method) else None

        def serve(data, context):
            if fault == "undone":
                context.abort(grpc.StatusCode.UNAVAILABLE, "before")
            try:
                answers = list(handler(data, context))
            except DecodeError as error:
                context.abort(grpc.StatusCode.INTERNAL, f"grpc: error unmarshalling request: {error}")
            if fault == "lost":
                context.abort(grpc.StatusCode.UNAVAILABLE, "after")
            if isinstance(fault, bytes):
                answers = [fault]
            elif isinstance(fault, list):
                answers = fault
            yield from answers
        return grpc.unary_stream_rpc_method_handler(serve)

    def _contexts(self, data, context):
        agent = messages.WorkflowContextRequest.FromString(data).worker_id
        for workflow in self.workflows:
            if workflow.deleted or workflow.over or workflow.actions[workflow.index]["worker_id"] != agent:
                continue
            action = workflow.actions[workflow.index]
            named = {"current_task": action["task_name"], "current_action": action["name"]} if workflow.begun else {}
            yield messages.WorkflowContext(workflow_id=workflow.id, current_worker=agent, current_action_index=workflow.index,
                                            current_action_state=OLDER_STATES.index(workflow.state),
                                            total_number_of_actions=len(workflow.actions), **named).SerializeToString()

    def _find(self, workflow_id, context):
        for workflow in self.workflows:
            if workflow.id == workflow_id and not workflow.deleted:
                return workflow
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "invalid workflow id")

    def _actions(self, data, context):
        workflow = self._find(messages.WorkflowActionsRequest.FromString(data).workflow_id, context)
        yield messages.WorkflowActionList(action_list=[messages.WorkflowAction(**action) for action in workflow.actions]).SerializeToString()

    def _report(self, data, context):
        report = messages.WorkflowActionStatus.FromString(data)
        workflow = self._find(report.workflow_id, context)
        action = workflow.actions[workflow.index] if not workflow.over else {"task_name": "", "name": ""}
        if (report.task_name, report.action_name) != (action["task_name"], action["name"]):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "reported action name does not match the current action details")
        self.reports.append(report)
        workflow.begun, workflow.state = True, OLDER_STATES[report.action_status]
        workflow.states[workflow.index] = workflow.state
        if workflow.state == "SUCCESS":
            workflow.index, workflow.state = workflow.index + 1, "PENDING"
        yield messages.Empty().SerializeToString()


@pytest.fixture
def older():
    server = OlderServer()
    yield server
    server.stop()


def front(*flags, port):
    """Flags for a worker of that port."""
    return ("--grpc-server", f"127.0.0.1:{port}", *flags)


def note(name="reboot"):
    return {"name": name, "image": REBOOT}


# --- the older generation


def test_older_actions_in_order(station, older, images):
    """One after the other; every state is stored once; another worker's actions are not ours."""
    disk = station.disk(images.root())
    worker = station.worker(*front(port=older.port))
    mine = older.add(worker.agent, station_cexec(disk, "a", "echo $WHAT > /a", environment=["WHAT=first"]), station_cexec(disk, "b", "cp /a /b || cat /a > /b"),
                     note(), {**note("theirs"), "worker_id": "52:54:00:ff:ff:ff"})
    failed = older.add(worker.agent, note("never"))
    failed.begun, failed.state = True, "FAILED"
    worker.wait_note()
    eventually(lambda: mine.index == 3, what="three actions")
    assert [(report.action_name, OLDER_STATES[report.action_status]) for report in older.reports] == [
        (name, state) for name in ("a", "b", "reboot") for state in ("RUNNING", "SUCCESS")]
    for report in older.reports:
        assert report.workflow_id == mine.id and report.task_name == "os" and report.worker_id == worker.agent
        assert abs(report.created_at.seconds - time.time()) < 60 and report.message
    with disk.mounted() as root:
        assert (root / "a").read_text() == "first\n"
    assert older.count("GetAction") == 1 and worker.log.count("is of the older generation") == 1
    asked = older.count("GetWorkflowContexts")
    eventually(lambda: older.count("GetWorkflowContexts") > asked + 2, what="further questions")
    assert older.count("GetAction") == 1 and failed.states == ["PENDING"] and len(worker.notes) == 1


def station_cexec(disk, name, command, environment=(), **fields):
    return {"name": name, "image": CEXEC, "environment": [f"BLOCK_DEVICE={disk.path}", "FS_TYPE=ext4", "CHROOT=y", "DEFAULT_INTERPRETER=/bin/sh -c", *environment],
            "command": ["--cmd-line", command], **fields}


def test_older_takes_up_what_was_running(station, older):
    """RUNNING is not reported again; an index counted within the task does not mislead."""
    worker = station.worker(*front(port=older.port), start=False)
    workflow = older.add(worker.agent, {**note("first"), "task_name": "one"}, {**note("second"), "task_name": "two"})
    workflow.begun, workflow.state, workflow.index = True, "RUNNING", 1
    real = older._contexts

    def within_the_task(data, context):
        for answer in real(data, context):
            message = messages.WorkflowContext.FromString(answer)
            message.current_action_index = 0
            yield message.SerializeToString()
    older._contexts = within_the_task
    worker.start().wait_note()
    eventually(lambda: workflow.over, what="the end")
    assert [(report.action_name, OLDER_STATES[report.action_status]) for report in older.reports] == [("second", "SUCCESS")]


def test_older_failures_are_told_in_the_log(station, older, images):
    """The server keeps no message; on_failure and on_timeout are run before the report."""
    disk = station.disk(images.root())
    worker = station.worker(*front(port=older.port))
    workflow = older.add(worker.agent, station_cexec(disk, "bad", "echo once >> /runs; echo the reason; exit 7", on_failure=["--cmd-line", "echo after-failure >> /runs"],
                                                     on_timeout=["--cmd-line", "echo wrong >> /runs"]))
    eventually(lambda: workflow.state == "FAILED", what="FAILED")
    late = older.add(worker.agent, station_cexec(disk, "late", "echo slow >> /runs; sleep 60", timeout=1, on_timeout=["--cmd-line", "echo after-timeout >> /runs; exit 3"]))
    eventually(lambda: late.state == "TIMEOUT", what="TIMEOUT")
    with disk.mounted() as root:
        assert (root / "runs").read_text() == "once\nafter-failure\nslow\nafter-timeout\n"
    for words in ("the reason", "on_failure then ended well", "on_timeout then failed, too"):
        assert words in worker.log, words
    assert older.states() == ["RUNNING", "FAILED", "RUNNING", "TIMEOUT"]


@pytest.mark.parametrize("fault", ["lost", "undone"])
@pytest.mark.parametrize("state", ["RUNNING", "SUCCESS"])
def test_older_report_without_an_answer(station, older, state, fault):
    """Stored or not: the worker finds out, stores it once, and the machine reboots once."""
    worker = station.worker(*front(port=older.port), start=False)
    workflow = older.add(worker.agent, note("first"), note("last"))
    older.faults["ReportActionStatus"] = ([None] if state == "SUCCESS" else []) + [fault] + [None, None] * (state == "SUCCESS") + ([fault] if state == "SUCCESS" else [])
    worker.start()
    eventually(lambda: workflow.over and len(worker.notes) == 2, what="both reboots")
    assert older.states() == ["RUNNING", "SUCCESS"] * 2
    assert "refuses the report" not in worker.log
    assert worker.log.count("action received") == 2


def test_older_by_the_rules(make_station, images):
    """Against the stand-in server, which knows what a worker may say; its reports lost, itself away and replaced meanwhile."""
    station = make_station(generation="older")
    disk = station.disk(images.root())
    for fault in ({}, {"kind": "status", "method": "ReportActionStatus", "stored": True}, {"kind": "reset", "stored": True}, {"kind": "reset"},
                  {"kind": "restart", "seconds": 0.2, "stored": True}, {"kind": "garbage"}, {"kind": "outage", "mode": "html", "seconds": 0.2}):
        if fault:
            station.server.fault(**{"state": "SUCCESS", "action": "one", **fault})
        workflow = station.run({"name": "one", "image": REBOOT}, {"name": "two", "image": REBOOT})
        assert workflow.state == "SUCCESS", fault
    eventually(lambda: len(station.first.notes) == 14, what="two reboots each")
    failed = station.run(station.cexec(disk, "exit 3"))
    assert failed.state == "FAILED" and "exit status 3" in station.first.log
    station.server.generation = "current"
    station.server.restart(0.1)
    assert station.run(note()).state == "SUCCESS"


def test_older_workflow_is_deleted(station, older, images):
    disk = station.disk(images.root())
    worker = station.worker(*front("--progress-interval", "100ms", port=older.port))
    workflow = older.add(worker.agent, station_cexec(disk, "long", "sleep 60"))
    worker.action_pid()
    eventually(lambda: older.count("GetWorkflowContexts") > 4, what="questions about the action")
    workflow.deleted = True
    worker.wait_log("the server does not know the workflow any more")
    worker.assert_nothing_left()
    assert "cannot be told" not in worker.log
    older.add(worker.agent, note())
    worker.wait_note()
    assert older.states("long") == ["RUNNING"]


def test_older_answers_that_are_none(station, older):
    """Each is told and tried again; none ends the worker."""
    worker = station.worker(*front("--grpc-call-timeout", "1s", port=older.port), start=False)
    older.faults["GetWorkflowContexts"] = [b"\xff" * 40, [b"", b"\x0a\x02"], b"\x0a" + bytes([0x80, 0x80, 0xc0, 2]) + b"x" * (5 << 20), "lost"]
    older.faults["GetWorkflowActions"] = [b"\xff" * 40, [], [b"", b""], "undone", b""]
    workflow = older.add(worker.agent, note())
    worker.start().wait_note(20)
    eventually(lambda: workflow.over, what="the end")
    assert not older.faults["GetWorkflowContexts"] and not older.faults["GetWorkflowActions"]
    assert "no valid" in worker.log


# --- which generation, and a change of it


@pytest.mark.parametrize("when", ["idle", "running"])
def test_upgrade_and_back(station, older, images, when):
    """On the same address: found out by what the server does not know, in either direction, in the middle of an action too."""
    gate = Proxy()
    gate.start(("127.0.0.1", older.port))
    try:
        current = station.server.proxy.target
        disk = station.disk(images.root())
        worker = station.worker(*front(port=gate.port))
        long = station_cexec(disk, "long", "sleep 0.7")

        def to(target):
            gate.target = target
            gate.drop_all()
        workflow = older.add(worker.agent, long if when == "running" else note())
        if when == "idle":
            eventually(lambda: workflow.over, what="an action of the older server")
        else:
            worker.action_pid()
        to(current)
        assert station.run(note("of-the-new"), worker=worker).state == "SUCCESS"
        eventually(lambda: len(worker.notes) == (2 if when == "idle" else 1), what="the reboot")
        if when == "running":
            newer = station.submit({"name": "long", "image": CEXEC, "timeout": 60, "command": long["command"],
                                    "environment": dict(entry.split("=", 1) for entry in long["environment"])}, worker=worker)
            station.begun(newer)
            worker.action_pid()
            workflow.deleted = True
        asked = older.count("GetAction")
        to(("127.0.0.1", older.port))
        again = older.add(worker.agent, note("of-the-old"))
        eventually(lambda: again.over, what="an action of the older server again")
        eventually(lambda: len(worker.notes) == (3 if when == "idle" else 2), what="all reboots")
        assert older.count("GetAction") <= asked + 2, "asked once, not at every poll"
        assert "is of the current generation" in worker.log and worker.log.count("is of the older generation") == 2
        # What could not be reported to the other generation is not reported to it at all.
        assert not [report for report in older.reports if report.workflow_id not in [known.id for known in older.workflows]]
        if when == "running":
            station.server.delete(newer)
    finally:
        gate.stop()


def test_neither_generation(station):
    """A gRPC server of another kind."""
    server = grpc.server(futures.ThreadPoolExecutor(2))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        worker = station.worker(*front(port=port))
        worker.wait_log("neither GetAction nor GetWorkflowContexts: is it a Tink server?")
    finally:
        server.stop(0)


# --- addresses


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def test_several_addresses(station):
    """The first is dead: the one that answers is kept; when it goes away too, the others are tried again."""
    gates = [Proxy() for _ in range(2)]
    for gate in gates:
        gate.start(station.server.proxy.target)
    try:
        gates[0].set("refuse")
        dead = free_port()
        worker = station.worker("--grpc-server", f"127.0.0.1:{dead}, 127.0.0.1:{gates[0].port},127.0.0.1:{gates[1].port}")
        for _ in range(2):
            assert station.run(note(), worker=worker).state == "SUCCESS"
        station.asks_again(worker)
        assert gates[1].connections == 1 and "cannot be asked" not in worker.log
        assert f"another of its addresses server=127.0.0.1:{gates[1].port}" in worker.log
        gates[0].set("pass")
        gates[1].set("refuse")
        assert station.run(note(), worker=worker).state == "SUCCESS"
        station.asks_again(worker)
        gates[0].set("refuse")
        worker.wait_log("cannot be asked")
        for port in (dead, gates[0].port, gates[1].port):
            assert f"127.0.0.1:{port}: " in worker.log.split("cannot be asked")[1]
    finally:
        for gate in gates:
            gate.stop()


def test_first_address_stalls(station):
    """The call is cut, and goes to the next one, whichever call it is."""
    gate = Proxy()
    gate.start(station.server.proxy.target)
    try:
        gate.set("stall")
        worker = station.worker("--grpc-call-timeout", "1s", "--grpc-server", f"127.0.0.1:{gate.port},{station.server.authority}")
        assert station.run(note(), worker=worker).state == "SUCCESS"
        assert "cannot be asked" not in worker.log and "another of its addresses" in worker.log
    finally:
        gate.stop()


def test_name_with_several_addresses(station):
    """As a name server may have them: the first one is dead."""
    hosts = station.folder / "hosts"
    hosts.write_text("127.0.0.9 tink.test\n127.0.0.1 tink.test\n::1 localhost\n127.0.0.1 localhost\n")
    worker = station.worker("--grpc-server", f"tink.test:{station.server.port}", before=f"mount --bind {hosts} /etc/hosts")
    assert station.run(note(), worker=worker).state == "SUCCESS"


@pytest.mark.parametrize("spelling", ["[::1]:{port}", "ipv6:[::1]:{port}", "dns:///localhost:{port}", "dns:127.0.0.1:{port}",
                                      "passthrough:///127.0.0.1:{port}"], ids=["ipv6", "scheme-ipv6", "dns", "dns-short", "passthrough"])
def test_spellings_of_an_address(make_station, spelling):
    try:
        station = make_station(host="::")
    except OSError as error:
        pytest.skip(f"no IPv6 on this machine: {error}")
    worker = station.worker("--grpc-server", spelling.format(port=station.server.port))
    assert station.run(note(), worker=worker).state == "SUCCESS"


@pytest.mark.parametrize("kind", ["unix:{path}", "unix://{path}", "unix-abstract:{name}"], ids=["path", "url", "abstract"])
def test_sockets(station, kind):
    """And no proxy is asked for them."""
    path, name = station.folder / "tink.sock", f"tink-{os.getpid()}"
    server = grpc.server(futures.ThreadPoolExecutor(16))
    server.add_generic_rpc_handlers((tink._Methods(station.server),))
    server.add_insecure_port(f"unix-abstract:{name}" if "abstract" in kind else f"unix:{path}")
    server.start()
    try:
        worker = station.worker("--grpc-server", kind.format(path=path, name=name), "--https-proxy", "http://127.0.0.1:1")
        assert station.run(note(), worker=worker).state == "SUCCESS"
        assert f"server={kind.format(path=path, name=name).replace('unix://', 'unix:')}" in worker.log
    finally:
        server.stop(0)


@pytest.mark.parametrize("value, words", [
    ("http://tink:42113", "is a URL: give HOST:PORT"),
    ("tink:0", "a port is a number from 1 to 65535"),
    ("a:1,b:x", "a port is a number"),
    ("user@tink:1", "is no server"),
    ("[::1", "is no server"),
    ("unix:", "the path of a socket"),
    ("dns://10.0.0.1/tink:1", "name server of its own is not supported"),
], ids=["url", "port-0", "port-x", "user", "bracket", "socket", "dns"])
def test_addresses_that_are_none(value, words):
    result = subprocess.run([BINARY, "--grpc-server", value, "--id", "x"], capture_output=True, text=True, timeout=10, check=False)
    assert result.returncode == 2 and "grpc-server" in result.stderr and words in result.stderr, result.stderr


# --- proxies


class ConnectProxy:
    """An HTTP proxy that knows CONNECT; answer: what it says to it."""

    def __init__(self, answer="200 Connection established", tls=None):
        self.answer, self.tls = answer, tls
        self.targets, self.credentials = [], []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with contextlib.suppress(OSError), client:
            if self.tls:
                import ssl
                context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
                context.load_cert_chain(self.tls.certificate, self.tls.key)
                client = context.wrap_socket(client, server_side=True)
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(4096) or b"\r\n\r\n"
            lines = head.decode().split("\r\n")
            self.targets.append(lines[0])
            self.credentials += [line.partition(": ")[2] for line in lines if line.lower().startswith("proxy-authorization")]
            client.sendall(f"HTTP/1.1 {self.answer}\r\n\r\n".encode())
            if not self.answer.startswith("200"):
                return
            host, _, port = lines[0].split()[1].rpartition(":")
            server = socket.create_connection(("127.0.0.1" if host == "tink.test" else host.strip("[]"), int(port)))
            threading.Thread(target=self._pump, args=(server, client), daemon=True).start()
            self._pump(client, server)

    @staticmethod
    def _pump(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def connect_proxy():
    made = []

    def make(**options):
        made.append(ConnectProxy(**options))
        return made[-1]
    yield make
    for proxy in made:
        proxy.close()


def test_proxy(station, connect_proxy):
    """By CONNECT, with a name that only the proxy can resolve, with credentials that appear nowhere; NO_PROXY keeps out of it."""
    proxy = connect_proxy()
    port = station.server.port
    worker = station.worker("--grpc-server", f"tink.test:{port}", environment={"HTTPS_PROXY": f"http://me:geheimnisvoll@127.0.0.1:{proxy.port}"})
    assert station.run(note(), worker=worker).state == "SUCCESS"
    assert proxy.targets == [f"CONNECT tink.test:{port} HTTP/1.1"]
    assert proxy.credentials == ["Basic " + base64.b64encode(b"me:geheimnisvoll").decode()]
    assert "geheimnisvoll" not in worker.log
    direct = station.worker("--https-proxy", f"http://127.0.0.1:{proxy.port}", "--no-proxy", "localhost,127.0.0.0/8")
    assert station.run(note(), worker=direct).state == "SUCCESS"
    assert len(proxy.targets) == 1


def test_no_proxy_is_about_where_to(make_station, connect_proxy, certificates):
    """The address that is connected to, not the name in the certificate; with its port, if one is given."""
    station, proxy = make_station(tls=certificates["named"]), connect_proxy()
    flags = ["--grpc-tls=true", f"--tls-ca={certificates['named'].ca}", "--tls-server-name=tink.internal", "--https-proxy", f"http://127.0.0.1:{proxy.port}"]
    for listed, through in (("tink.internal,127.0.0.1:1", 1), (f"127.0.0.1:{station.server.port}", 0)):
        proxy.targets.clear()
        worker = station.worker(*flags, "--no-proxy", listed)
        assert station.run(note(), worker=worker).state == "SUCCESS"
        assert proxy.targets == through * [f"CONNECT {station.server.authority} HTTP/1.1"], listed


def test_proxy_with_tls(make_station, connect_proxy, certificates):
    """The pin is about the server behind it."""
    good = certificates["good"]
    station, proxy = make_station(tls=good), connect_proxy(tls=make_certificate(certificates["folder"] / "c"))
    roots = {"of-the-proxy": proxy.tls.ca, "others": good.ca}
    for name, ca in roots.items():
        worker = station.worker("--grpc-tls=true", f"--tls-ca={good.ca}", f"--tls-pin={digest(good).hexdigest()}", "--https-proxy",
                                f"https://127.0.0.1:{proxy.port}", before=f"mount --bind {ca} /etc/ssl/certs/ca-certificates.crt")
        if name == "of-the-proxy":
            assert station.run(note(), worker=worker).state == "SUCCESS"
            assert len(proxy.targets) == 1
        else:
            worker.wait_log("cannot be asked")
            assert "certificate" in worker.log and len(proxy.targets) == 1
    # One that has the proxy's own certificate is not the one that is pinned.
    worker = station.worker("--grpc-tls=true", "--grpc-insecure-tls", f"--tls-pin={digest(proxy.tls).hexdigest()}", "--https-proxy",
                            f"https://127.0.0.1:{proxy.port}", before=f"mount --bind {proxy.tls.ca} /etc/ssl/certs/ca-certificates.crt")
    worker.wait_log("not the pinned one")


@pytest.mark.parametrize("answer, words", [("403 Forbidden", "403"), ("407 Proxy Authentication Required", "407"), ("garbage", "tunnel failed")])
def test_proxy_that_refuses(station, connect_proxy, answer, words):
    proxy = connect_proxy(answer=answer)
    worker = station.worker("--https-proxy", f"http://127.0.0.1:{proxy.port}")
    worker.wait_log("cannot be asked")
    assert words in worker.log.lower()
    proxy.answer = "200 OK"
    assert station.run(note(), worker=worker).state == "SUCCESS"


# --- calls that are not answered


def test_stalled_call_is_cut(station):
    worker = station.worker("--grpc-call-timeout", "1s", start=False)
    station.server.proxy.set("stall")
    worker.start()
    worker.wait_log("no answer within 1000 ms")
    assert "DEADLINE_EXCEEDED" in worker.log
    station.server.proxy.set("pass", existing="reset")
    assert station.run(note(), worker=worker).state == "SUCCESS"


# --- TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """name: Certificate, all of one authority, but "other" and what stands below it."""
    folder = tmp_path_factory.mktemp("certificates")
    made = {"good": make_certificate(folder / "a"), "expired": make_certificate(folder / "a", name="expired", days=-1),
            "named": make_certificate(folder / "a", name="named", names=("tink.internal",), common_name="tink.internal"),
            "client": make_certificate(folder / "a", name="client", names=("worker",), common_name="worker"),
            "other": make_certificate(folder / "b"), "client-of-other": make_certificate(folder / "b", name="client", names=("worker",))}
    openssl("pkey", "-in", made["client"].key, "-aes256", "-passout", "pass:geheim", "-out", folder / "encrypted.key")
    (folder / "both.pem").write_bytes(made["client"].certificate.read_bytes() + made["client"].key.read_bytes())
    (folder / "text").write_text("nothing of the kind\n")
    made["folder"] = folder
    return made


def openssl(*argv):
    return subprocess.run(["openssl", *map(str, argv)], check=True, capture_output=True).stdout


def digest(certificate, of_key=False):
    """As tools print it."""
    if of_key:
        public = openssl("x509", "-in", certificate.certificate, "-noout", "-pubkey")
        der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=public, capture_output=True, check=True).stdout
    else:
        der = openssl("x509", "-in", certificate.certificate, "-outform", "DER")
    return hashlib.sha256(der)


def test_trusted_servers(make_station, certificates):
    """By an authority, by another name, by a pin; with a certificate of the worker's own; over a socket and through a proxy the same."""
    good, named, client, other = (certificates[name] for name in ("good", "named", "client", "other"))
    fingerprint = openssl("x509", "-in", good.certificate, "-noout", "-fingerprint", "-sha256").decode().strip().partition("=")[2]
    key = digest(good, of_key=True)
    ca = f"--tls-ca={good.ca}"
    both = certificates["folder"] / "both.pem"
    for server, flags in [
            ({"tls": good}, [ca]),
            ({"tls": named}, [ca, "--tls-server-name=tink.internal"]),
            ({"tls": good}, [ca, f"--tls-pin=sha256:{digest(good).hexdigest()}"]),
            ({"tls": good}, [ca, f"--tls-pin={digest(other).hexdigest()},{fingerprint}"]),
            ({"tls": good}, ["--grpc-insecure-tls", f"--tls-pin=key:sha256:{key.hexdigest()}"]),
            ({"tls": certificates["expired"]}, ["--grpc-insecure-tls", "--tls-pin=sha256//" + base64.b64encode(digest(certificates["expired"], True).digest()).decode()]),
            ({"tls": good, "client_ca": good.ca}, [ca, f"--tls-cert={client.certificate}", f"--tls-key={client.key}"]),
            ({"tls": good, "client_ca": good.ca}, [ca, f"--tls-cert={both}"])]:
        station = make_station(**server)
        worker = station.worker("--grpc-tls=true", *flags)
        assert station.run(note(), worker=worker).state == "SUCCESS", flags
        assert "is not checked" not in worker.log, flags
        assert worker.stop() == 0


def test_trust_with_system_roots(make_station, certificates):
    """Without tls-ca: what the machine trusts."""
    roots = "/etc/ssl/certs/ca-certificates.crt"
    if not Path(roots).exists():
        pytest.skip(f"{roots} is not there")
    station = make_station(tls=certificates["good"])
    worker = station.worker("--grpc-tls=true", before=f"mount --bind {certificates['good'].ca} {roots}")
    assert station.run(note(), worker=worker).state == "SUCCESS"


@pytest.mark.parametrize("case", ["authority", "system", "expired", "name", "other-name", "pin", "key-pin", "pin-alone", "no-client", "wrong-client"])
def test_servers_that_are_not_trusted(make_station, certificates, case):
    """Nothing is asked of them, and the reason helps."""
    good, other, client = (certificates[name] for name in ("good", "other", "client-of-other"))
    ca = f"--tls-ca={good.ca}"
    server, flags, *words = {
        "authority": ({"tls": other}, [ca], "tls-ca"),
        "system": ({"tls": good}, [], "tls-ca"),
        "expired": ({"tls": certificates["expired"]}, [ca], "expired", "clock"),
        "name": ({"tls": certificates["named"]}, [ca], "name"),
        "other-name": ({"tls": good}, [ca, "--tls-server-name=tink.internal"], "tink.internal"),
        "pin": ({"tls": good}, [ca, f"--tls-pin={digest(other).hexdigest()}"], "not the pinned one", digest(good).hexdigest(), digest(good, True).hexdigest()),
        "key-pin": ({"tls": good}, [ca, f"--tls-pin=key:{digest(good).hexdigest()}"], "not the pinned one"),
        "pin-alone": ({"tls": good}, ["--grpc-insecure-tls", f"--tls-pin={digest(other).hexdigest()}"], "not the pinned one"),
        "no-client": ({"tls": good, "client_ca": good.ca}, [ca], "give tls-cert"),
        "wrong-client": ({"tls": good, "client_ca": good.ca}, [ca, f"--tls-cert={client.certificate}", f"--tls-key={client.key}"], "tls-cert"),
    }[case]
    station = make_station(**server)
    worker = station.worker("--grpc-tls=true", *flags)
    worker.wait_log("cannot be asked")
    for word in words:
        assert word.lower() in worker.log.lower(), f"no \"{word}\" in {worker.log}"
    assert not station.server.calls


def test_insecure_is_warned_of_at_every_start(make_station, certificates):
    station = make_station(tls=certificates["other"])
    worker = station.worker("--grpc-tls=true", "--grpc-insecure-tls", "--progress-interval", "100ms")
    for start in (1, 2):
        assert station.run(note(), worker=worker).state == "SUCCESS"
        assert len(re.findall(r"warning.*certificate is not checked", worker.log)) == start
        assert worker.stop() == 0
        if start == 1:
            worker.start()


@pytest.mark.parametrize("flags, words", [
    (["--tls-ca=/nowhere/ca.pem"], ["tls-ca", "/nowhere/ca.pem"]),
    (["--tls-ca={folder}/text"], ["tls-ca", "no certificate (PEM is needed)"]),
    (["--tls-cert=/nowhere/cert.pem", "--tls-key={client.key}"], ["tls-cert", "/nowhere/cert.pem"]),
    (["--tls-cert={client.certificate}", "--tls-key=/nowhere/key.pem"], ["tls-key", "/nowhere/key.pem"]),
    (["--tls-cert={client.certificate}", "--tls-key={folder}/encrypted.key"], ["tls-key", "is encrypted"]),
    (["--tls-cert={client.certificate}", "--tls-key={other.key}"], ["tls-key", "is not the key of the certificate in"]),
    (["--tls-cert={client.certificate}"], ["tls-cert", "no private key", "give tls-key"]),
    (["--tls-key={client.key}"], ["tls-key", "give tls-cert"]),
    (["--tls-pin=abcd"], ["tls-pin", "no pin"]),
    (["--grpc-tls=false", "--tls-pin=" + 64 * "a"], ["tls-pin", "give grpc-tls too"]),
    (["--tls-ca=https://web/ca.pem"], ["tls-ca", "needs the digest"]),
    (["--tls-ca=https://web/ca.pem#sha256=12"], ["tls-ca", "needs the digest"]),
])
def test_settings_of_tls_that_are_wrong(certificates, flags, words):
    """Said at the start, with the setting's name."""
    flags = [flag.format(folder=certificates["folder"], **{name: certificates[name] for name in ("client", "other")}) for flag in flags]
    result = subprocess.run([BINARY, "--grpc-server", "127.0.0.1:1", "--id", "x", "--grpc-tls=true", *flags], capture_output=True, text=True, timeout=10,
                            check=False)
    assert result.returncode == 2, result.stderr
    for word in words:
        assert word in result.stderr, result.stderr


def test_authority_by_url(make_station, certificates):
    """From the kernel command line: fetched when it is there, only if it is what was said, kept for the next start."""
    good = certificates["good"]
    station = make_station(tls=good)
    data = good.ca.read_bytes() + f"\n# {time.time()}\n".encode()  # not what an earlier test has left in /run
    expected = hashlib.sha256(data).hexdigest()
    kept = Path(f"/run/tink-worker/ca-{expected}.pem")
    root = station.folder / "captured"
    (root / "proc").mkdir(parents=True)
    (root / "proc/cmdline").write_text(f"tls_ca={station.web.url}/ca.pem#sha256={expected.upper()} tinkerbell_tls=true\n")
    worker = station.worker("--root", str(root), "--grpc-tls=true", "--backoff-max-interval", "100ms")
    try:
        worker.wait_log("HTTP status 404")
        (station.images.folder / "ca.pem").write_bytes(b"x" + data)
        worker.wait_log(f"expected is sha256:{expected}")
        (station.images.folder / "ca.pem").write_bytes(data)
        assert station.run(note(), worker=worker).state == "SUCCESS"
        assert kept.read_bytes() == data
        assert worker.stop() == 0
        (station.images.folder / "ca.pem").unlink()
        worker.start()
        assert station.run(note(), worker=worker).state == "SUCCESS"
    finally:
        kept.unlink(missing_ok=True)
        (station.images.folder / "ca.pem").unlink(missing_ok=True)
