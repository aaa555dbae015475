"""Where the worker's log goes besides standard error: syslog to receivers that come late, go away or refuse, and files."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest

from server.syslog import SyslogServer
from server.tls import make_certificate
from worker import BINARY, MIB, eventually, images, make_station, station  # noqa: F401

WRITEFILE = "quay.io/tinkerbell/actions/writefile:latest"


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def logging(station, *targets, **options):
    """A worker that logs there. The kernel's messages, of the host, are left out."""
    return station.worker("--syslog-host", ",".join(targets), "--log-dir", str(station.folder / "logs"), **options)


def without_kernel(url, **options):
    return url + "?" + "&".join(["kernel=false", *(f"{key}={value}" for key, value in options.items())])


def run_something(station, images):
    """An action with output that succeeds, and one that fails."""
    disk = station.disk(images.root())
    station.run({**station.cexec(disk, "echo said by the action; echo grüße; false"), "name": "stream the image"})


def test_udp_as_tinkerbell_takes_it(station, images):
    """A plain host: RFC 3164 without a host name, which is what Tinkerbell's own receiver parses."""
    with SyslogServer("udp") as receiver:
        logging(station, without_kernel(f"127.0.0.1:{receiver.port}"))
        run_something(station, images)
        first = receiver.wait("tink-worker starts", app="tink-worker")
        assert (first.format, first.host, first.facility, first.severity) == ("rfc3164", "", 3, 6)
        assert first.process == str(station.first.pid)
        receiver.wait("said by the action", app="stream-the-image")
        receiver.wait("grüße", app="stream-the-image")
        assert receiver.wait("action ended", severity=3).text.startswith("action ended workflow=")
        station.first.stop()
        receiver.wait("stopped by a signal")
        assert not receiver.wrong


def test_tcp_with_structured_data(station, images):
    """RFC 5424 by TCP, counted: names, severities and what it is about."""
    with SyslogServer("tcp") as receiver, SyslogServer("tcp") as lines:
        worker = logging(station, without_kernel(receiver.url, facility="local5"),
                         without_kernel(lines.url, framing="newline", format="rfc3164"))
        run_something(station, images)
        ended = receiver.wait("action ended", app="tink-worker")
        workflow = station.server.workflows[-1].id
        assert (ended.format, ended.facility, ended.severity) == ("rfc5424", 21, 3)
        assert ended.data == {"id": worker.agent, "workflow": workflow, "action": "stream the image", "state": "FAILED"}
        said = receiver.wait("said by the action")
        assert (said.app, said.kind, said.severity) == ("stream-the-image", "output", 6)
        assert said.data == {"id": worker.agent, "workflow": workflow, "action": "stream the image"}
        assert re.fullmatch(rb"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", said.stamp)
        named = lines.wait("action ended")
        assert named.format == "rfc3164" and named.host == ended.host
        assert not receiver.wrong and not lines.wrong
        assert receiver.connections == lines.connections == 1


@pytest.mark.parametrize("trusted", [True, False])
def test_tls(station, trusted):
    """By TLS to a certificate of the site's authority; one of another is refused, and nothing is said to it."""
    certificate = make_certificate(station.folder / "tls")
    other = make_certificate(station.folder / "other")
    with SyslogServer("tls", tls=certificate) as receiver:
        worker = station.worker("--syslog-host", without_kernel(receiver.url), "--log-dir=none",
                                "--tls-ca", str((certificate if trusted else other).ca))
        if trusted:
            assert receiver.wait("asking for work").format == "rfc5424"
            assert not receiver.wrong
        else:
            worker.wait_log("the syslog target takes nothing")
            assert re.search(r"takes nothing.*tls://127.*certificate", worker.log)
            assert not receiver.messages


@pytest.mark.parametrize("kind", ["udp", "tcp"])
def test_receiver_that_comes_late(station, kind):
    """What was logged before anybody listens arrives when somebody does, in order; and the worker says once each how it stands."""
    receiver = SyslogServer(kind, port=free_port(socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM))
    worker = logging(station, without_kernel(receiver.url))
    worker.wait_log("the syslog target takes nothing")
    station.run({"name": "one", "image": "nobody/knows/this"})
    with receiver:
        receiver.wait("action ended")
        texts = [message.text for message in receiver.messages]
        order = [next(i for i, text in enumerate(texts) if word in text)
                 for word in ("tink-worker starts", "takes nothing", "action received", "action ended")]
        assert order == sorted(order), texts
        worker.wait_log("the syslog target takes lines again")
        assert worker.log.count("the syslog target takes nothing") == 1
        assert worker.stop() == 0


def test_receiver_that_is_restarted(station):
    """Connections that break, in the middle and while nothing is said: nothing is lost."""
    with SyslogServer("tcp") as receiver:
        worker = logging(station, without_kernel(receiver.url))
        for number in range(6):
            station.run({"name": f"number-{number}", "image": "nobody/knows/this"})
            receiver.wait(f"action ended workflow={station.server.workflows[-1].id}")
            if number % 2:
                receiver.drop_connections()
            else:
                receiver.stop()
                worker.process.send_signal(0)
                receiver.start()
        assert receiver.connections >= 6
        for number in range(6):
            assert receiver.find("action received") and receiver.find(f"action=number-{number} ")


def test_end_is_not_held_up(station):
    """Targets that refuse, that take the connection and read nothing, and that no name leads to: SIGTERM ends the worker within
    its two seconds."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        worker = logging(station, f"tcp://127.0.0.1:{free_port()}", f"tls://127.0.0.1:{deaf.getsockname()[1]}",
                         "udp://no-such-host.invalid?kernel=false", f"tcp://127.0.0.1:{deaf.getsockname()[1]}")
        worker.wait_log("asking for work")
        began_s = time.monotonic()
        assert worker.stop() == 0
        assert time.monotonic() - began_s < 3.5


def test_last_lines_arrive(station, images):
    """Killed by SIGTERM in the middle of an action, and told to reboot: the last lines are sent first."""
    with SyslogServer("tcp") as tcp, SyslogServer("udp") as udp:
        worker = logging(station, without_kernel(tcp.url), without_kernel(udp.url))
        station.run({"name": "restart", "image": "quay.io/tinkerbell/actions/reboot:latest"})
        worker.wait_note()
        for receiver in (tcp, udp):
            receiver.wait("rebooting", timeout_s=0.5)
        assert worker.stop() == 0
        for receiver in (tcp, udp):
            receiver.wait("stopped by a signal", timeout_s=0.5)


def to_kernel(line):
    try:
        with open("/dev/kmsg", "wb", buffering=0) as kmsg:
            kmsg.write(f"{line}\n".encode())
    except OSError as error:
        pytest.skip(f"/dev/kmsg cannot be written here: {error}")


def test_kernel_messages(station):
    """The kernel's messages with their own severity and names, once: a worker that is started again goes on behind them."""
    mark = f"mark-{os.getpid()}-{time.monotonic_ns()}"
    to_kernel(f"<28>{mark}[77]: before the start")
    with SyslogServer("tcp") as receiver, SyslogServer("tcp") as without:
        worker = logging(station, receiver.url, without_kernel(without.url))
        before = receiver.wait("before the start", app=mark)
        assert (before.facility, before.severity, before.process) == (3, 4, "77")
        assert before.data == {"id": worker.agent}
        to_kernel(f"<27>{mark}: while it works")
        assert receiver.wait("while it works", app=mark).severity == 3
        without.wait("asking for work")
        assert worker.stop() == 0
        worker.start()
        receiver.wait("tink-worker starts", process=str(worker.pid))
        to_kernel(f"<27>{mark}: started again")
        receiver.wait("started again", app=mark)
        assert len(receiver.find("before the start", app=mark)) == 1
        assert not without.find(app=mark) and not without.find(app="kernel")
        assert not receiver.wrong


def test_long_lines_and_many(station, images):
    """A long line goes on in further messages, cut on a character; ten thousand lines arrive, or their number is said."""
    disk = station.disk(images.root())
    with SyslogServer("udp") as receiver, SyslogServer("tcp") as tcp:
        logging(station, without_kernel(receiver.url), without_kernel(tcp.url))
        long = "ä" * 900 + "END"
        station.run(station.cexec(disk, f"echo {long}; seq 1 10000", timeout=60))
        tcp.wait("action ended")
        receiver.wait("END", app="it")
        for server in (receiver, tcp):
            assert not server.wrong
            assert all(len(message.raw) <= (1024 if server is receiver else 8192) for message in server.messages)
            assert long in "".join(message.text for message in server.find(app="it") if "ä" in message.text)
        numbers = [int(message.text) for message in tcp.find(app="it") if message.text.isdigit()]
        dropped = sum(int(message.text.split()[0]) for message in tcp.find("older lines were dropped"))
        assert sorted(set(numbers)) == sorted(numbers) and len(numbers) + dropped >= 10000
        assert dropped == 0 or tcp.find("older lines were dropped", severity=4)


def test_too_much_for_memory(station, images):
    """A target that is away for long: the newest lines are kept, and the number of the others is said."""
    disk = station.disk(images.root())
    receiver = SyslogServer("tcp", port=free_port())
    worker = logging(station, without_kernel(receiver.url))
    station.run(station.cexec(disk, "seq 100000 120000", timeout=60))
    with receiver:
        receiver.wait("action ended", timeout_s=20)
        dropped = int(receiver.wait("older lines were dropped", severity=4).text.split()[0])
        numbers = [int(message.text) for message in receiver.find(app="it") if message.text.isdigit()]
        assert numbers == list(range(numbers[0], 120001))
        assert dropped > numbers[0] - 100000
        rss_kib = int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{worker.pid}/status").read()).group(1))
        assert rss_kib < 200 << 10


def test_json_and_ipv6(station):
    """Lines are JSON there too when they are here; IPv6 and names."""
    with SyslogServer("udp", host="::1") as receiver, SyslogServer("tcp", host="::1") as tcp:
        logging(station, without_kernel(f"[::1]:{receiver.port}"), without_kernel(f"tcp://localhost:{tcp.port}"),
                environment={"AGENT_LOG_FORMAT": "json"})
        for server in (receiver, tcp):
            line = json.loads(server.wait('"asking for work"').text)
            assert line["level"] == "info" and line["id"] == station.first.agent


def test_wrong_targets_do_not_stop_the_worker(station):
    """A setting that cannot be used is said, what is right of it is used."""
    with SyslogServer("udp") as receiver:
        worker = logging(station, without_kernel(receiver.url), "http://elsewhere")
        receiver.wait("asking for work")
        assert re.search(r"warning syslog-host: a target cannot be used.*http://elsewhere", worker.log)


def test_files(station, images):
    """The log in files: the same lines, bounded, only root's, written on after a restart; a second worker leaves them alone."""
    worker = station.worker("--log-dir", str(station.folder / "logs"))
    disk = station.disk(images.root())
    station.run(station.cexec(disk, "echo once in the file"))
    path = station.folder / "logs" / "worker.log"
    assert path.read_text() == worker.log
    assert path.stat().st_mode & 0o777 == 0o600
    second = station.worker("--log-dir", str(station.folder / "logs"))
    second.wait_log("another worker writes its log in")
    assert path.read_text().count("tink-worker starts") == 1
    worker.stop()
    worker.start()
    eventually(lambda: path.read_text().count("tink-worker starts") == 2, what="the second start in the file")
    station.run(station.cexec(disk, "i=0; while [ $i -lt 9000 ]; do echo $i ................................................"
                              "......................................................; i=$((i + 1)); done"))
    sizes = [file.stat().st_size for file in (path, path.with_suffix(".log.1"))]
    assert max(sizes) <= 512 << 10 and sum(sizes) > 512 << 10
    assert "8999 ....." in path.read_text()


def test_status_of_a_worker_that_was_killed(station):
    """`tink-worker status` says where the log is, and that nothing runs any more."""
    status = station.folder / "status"
    worker = station.worker("--log-dir", str(station.folder / "logs"), "--status-file", str(status))

    def shown():
        return subprocess.run([BINARY, "status", status], check=False, capture_output=True, text=True).stdout
    station.run({"name": "fails", "image": "nobody/knows/this"})
    page = eventually(lambda: (text := shown()) and "FAILED: fails" in text and text, what="the failed action")
    assert f"thelog:{station.folder}/logs/worker.log" in "".join(page.split())
    # What somebody does by hand meanwhile is not what the worker does.
    by_hand = [BINARY, "--status-file", status, "run", "image2disk", "IMG_URL=http://127.0.0.1:1/x", "DEST_DISK=/dev/null"]
    assert subprocess.run(by_hand, check=False, capture_output=True).returncode == 1
    assert "FAILED: fails" in shown() and "the worker has ended" not in shown()
    stall = station.web.fault("stall-header", path="/noise", times=1)
    workflow = station.submit(station.image2disk(f"{station.web.url}/noise", station.disk(size_bytes=8 * MIB)))
    station.web.wait(lambda: stall.hits, what="the request")
    assert re.search(r"^ RUNNING  it ", shown(), re.M)
    worker.kill()
    assert "the worker has ended" in shown() and re.search(r"^ STOPPED  it ", shown(), re.M)
    worker.start()
    station.finish(workflow)


def test_bundle_of_a_failure_that_the_server_does_not_want(station):
    """The report is refused for good: the bundle is the only place for the reason."""
    bundles = []
    station.web.route("PUT", "/bundle", lambda request: bundles.append(request) or "")
    worker = station.worker("--log-dir", str(station.folder / "logs"), "--bundle-url", f"{station.web.url}/bundle")
    station.server.fault("status", code="NOT_FOUND", state="FAILED", message="no")
    station.server.fault("hang", method="GetAction", skip=1)  # else it would be handed out again
    station.submit({"image": "nobody/knows/this", "name": "fails"})
    worker.wait_log("bundle uploaded")
    assert "refuses the report for good" in worker.log and len(bundles) == 1


def test_bundle_that_cannot_be_written(station):
    """Half a bundle is no bundle: nothing stays of it; and one that is written over is for root alone."""
    there = station.folder / "there.tar.gz"
    there.write_bytes(b"")
    there.chmod(0o644)
    subprocess.run([BINARY, "--log-dir=none", "bundle", "-o", there], check=True, capture_output=True)
    assert there.stat().st_mode & 0o777 == 0o600
    full = station.folder / "full"
    full.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", full], check=True)
    try:
        failed = subprocess.run([BINARY, "--log-dir=none", "bundle", "-o", full / "x.tar.gz"], check=False, capture_output=True)
        assert failed.returncode == 1 and b"x.tar.gz: " in failed.stderr and not list(full.iterdir())
    finally:
        subprocess.run(["umount", full], check=True)


def test_rsyslogd(station, images):
    """A real receiver takes every way and format, and sees what they mean."""
    if not shutil.which("rsyslogd"):
        pytest.fail("rsyslogd is missing: run initramfs/install-packages test", pytrace=False)
    folder = station.folder / "rsyslog"
    folder.mkdir()
    ports = {name: free_port(socket.SOCK_DGRAM if name == "udp" else socket.SOCK_STREAM) for name in ("udp", "tcp")}
    (folder / "rsyslog.conf").write_text(f"""
        global(workDirectory="{folder}" maxMessageSize="64k")
        module(load="imudp") input(type="imudp" address="127.0.0.1" port="{ports['udp']}" ruleset="all")
        module(load="imtcp") input(type="imtcp" address="127.0.0.1" port="{ports['tcp']}" ruleset="all")
        template(name="fields" type="list") {{
            property(name="inputname") constant(value="|") property(name="pri-text") constant(value="|")
            property(name="app-name") constant(value="|") property(name="procid") constant(value="|")
            property(name="hostname") constant(value="|") property(name="structured-data") constant(value="|")
            property(name="msg") constant(value="\\n") }}
        ruleset(name="all") {{ action(type="omfile" file="{folder}/out" template="fields") }}
    """)
    log = open(folder / "log", "wb")
    daemon = subprocess.Popen(["rsyslogd", "-n", "-f", str(folder / "rsyslog.conf"), "-i", str(folder / "pid")], stdout=log,
                              stderr=log)
    try:
        out = folder / "out"
        worker = logging(station, without_kernel(f"127.0.0.1:{ports['udp']}"), without_kernel(f"tcp://127.0.0.1:{ports['tcp']}"),
                         without_kernel(f"tcp://127.0.0.1:{ports['tcp']}", framing="newline", format="rfc3164"),
                         without_kernel(f"udp://127.0.0.1:{ports['udp']}", format="rfc5424"))
        run_something(station, images)
        ended = station.server.workflows[-1].id

        def lines():
            return [line.split("|", 6) for line in out.read_text().splitlines()] if out.exists() else []
        eventually(lambda: sum("action ended" in line[6] for line in lines()) == 4, 20, "the last line by all ways")
        for kind in ("imudp", "imtcp"):
            said = [line for line in lines() if line[0] == kind and line[6].strip() == "grüße"]
            assert len(said) == 2 and {line[2] for line in said} == {"stream-the-image"}, said
            failed = [line for line in lines() if line[0] == kind and "action ended" in line[6]]
            assert {line[1] for line in failed} == {"daemon.err"} and {line[3] for line in failed} == {str(worker.pid)}
            structured = [line[5] for line in failed if line[5] != "-"]
            assert len(structured) == 1 and f'workflow="{ended}"' in structured[0] and 'state="FAILED"' in structured[0]
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(20)
        log.close()
