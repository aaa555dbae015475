"""The agent against a server that is slow, away, wrong or confused: reports, order, retries, settings, exit statuses."""

import json
import os
import re
import signal
import socket
import subprocess
import time

import pytest

from server.tls import make_certificate
from worker import BINARY, MIB, eventually, images, make_station, processes_with, run, station, uptime_s  # noqa: F401

WRITEFILE = "quay.io/tinkerbell/actions/writefile:latest"
REBOOT = "quay.io/tinkerbell/actions/reboot:latest"
IMAGE2DISK = "quay.io/tinkerbell/actions/image2disk:latest"

# What can happen to a call: a name, the fields of a fault.
FAULTS = [
    ("unavailable", {"kind": "status", "code": "UNAVAILABLE", "times": 3}),
    ("deadline", {"kind": "status", "code": "DEADLINE_EXCEEDED"}),
    ("unknown", {"kind": "status", "code": "UNKNOWN"}),
    ("exhausted", {"kind": "status", "code": "RESOURCE_EXHAUSTED"}),
    ("unauthenticated", {"kind": "status", "code": "UNAUTHENTICATED"}),
    ("error-though-stored", {"kind": "status", "code": "INTERNAL", "stored": True}),
    ("not-found-once", {"kind": "status", "code": "INTERNAL", "message": "workflow not found"}),
    ("reset", {"kind": "reset"}),
    ("reset-though-stored", {"kind": "reset", "stored": True}),
    ("close", {"kind": "close"}),
    ("close-though-stored", {"kind": "close", "stored": True}),
    ("garbage", {"kind": "garbage"}),
    ("large", {"kind": "large"}),
    ("twice", {"kind": "twice"}),
    ("empty", {"kind": "empty"}),
    ("late", {"kind": "late", "seconds": 0.4}),
    ("hang", {"kind": "hang", "seconds": 0.25}),
    ("restart", {"kind": "restart", "seconds": 0.2}),
    ("restart-though-stored", {"kind": "restart", "seconds": 0.2, "stored": True}),
    ("refused", {"kind": "outage", "mode": "refuse", "seconds": 0.25}),
    ("web-page", {"kind": "outage", "mode": "html", "seconds": 0.25}),
    ("junk", {"kind": "outage", "mode": "junk", "seconds": 0.25}),
    ("bad-gateway", {"kind": "outage", "mode": "h2-502", "seconds": 0.25}),
    ("cut-answer", {"kind": "outage", "mode": "h2-cut", "seconds": 0.25}),
    ("no-status", {"kind": "outage", "mode": "h2-no-status", "seconds": 0.25}),
]
GROUPS = [FAULTS[:7], FAULTS[7:11], FAULTS[11:17], FAULTS[17:21], FAULTS[21:]]
GROUP_NAMES = ["status", "connection", "answer", "away", "stranger"]


def times(station, action, state=None):
    """When each report about an action was answered with OK, in seconds of uptime."""
    server = station.server
    shift_s = uptime_s() - time.monotonic() + server._start_s
    return [call.end_s + shift_s for call in server.calls
            if call.report and call.report.action_name == action and state in (None, call.report.state) and call.code == "OK"]


# --- inventory


def test_inventory_goes_with_every_request(make_station):
    station = make_station()
    worker = station.worker()
    eventually(lambda: station.server.attributes.get(worker.agent), 10, "an inventory at the server")
    printed = json.loads(run(BINARY, "inventory"))
    sent = station.server.attributes[worker.agent]
    assert sent["cpu"]["total_threads"] == printed["cpu"]["totalThreads"] > 0
    assert sent["memory"] == printed["memory"]
    assert [disk["name"] for disk in sent.get("block", [])] == [disk["name"] for disk in printed.get("blockDevices", [])]
    assert sent["product"]["name"] == printed["product"]["name"]
    assert " inventory " in worker.log


def test_no_inventory_when_told_so(make_station):
    station = make_station()
    worker = station.worker("--attribute-detection=false")
    eventually(lambda: station.server.calls, 10, "a call")
    assert station.run({"name": "unknown", "image": "quay.io/acme/nonsense"}).state == "FAILED"
    assert not station.server.attributes.get(worker.agent)


# --- reports


@pytest.mark.parametrize("faults", GROUPS, ids=GROUP_NAMES)
def test_reboot_comes_after_the_acknowledgement(station, faults):
    """Whatever happens to SUCCESS: it is repeated until it is answered, then the machine reboots, once."""
    for name, fields in faults:
        already = len(station.first.notes)
        station.server.fault(state="SUCCESS", **fields)
        workflow = station.run({"name": name, "image": REBOOT})
        assert workflow.state == "SUCCESS"
        eventually(lambda: len(station.first.notes) > already, 5, f"a reboot after {name}")
        assert [word for _, word in station.first.notes[already:]] == ["reboot"], name
        assert station.first.notes[-1][0] >= times(station, name, "SUCCESS")[-1] - 0.03, name
        states = [report.state for report in station.server.reports if report.action_name == name]
        assert states[0] == "RUNNING" and set(states[1:]) == {"SUCCESS"}, (name, states)
    assert len(station.first.notes) == len(faults)
    assert station.first.log.count("action received") == len(faults)


@pytest.mark.parametrize("faults", GROUPS, ids=GROUP_NAMES)
def test_no_action_starts_before_running_is_acknowledged(station, images, faults):
    disk = station.disk(images.root())
    for name, fields in faults:
        url = station.web.add(f"/{name}", name)
        station.server.fault(state="RUNNING", **fields)
        workflow = station.run({"name": name, "image": WRITEFILE, "timeout": 60,
                                "environment": {"DEST_DISK": disk.path, "DEST_PATH": f"/{name}", "CONTENTS_URL": url}})
        assert workflow.state == "SUCCESS", workflow.action(name).message
        request, = station.web.requests_for(f"/{name}")
        begin_s = request.time_s + station.web._start_s + uptime_s() - time.monotonic()
        assert begin_s >= times(station, name, "RUNNING")[-1] - 0.03, name
    with disk.mounted() as root:
        for name, _ in faults:
            assert (root / name).read_text() == name


@pytest.mark.parametrize("faults", GROUPS, ids=GROUP_NAMES)
def test_failure_arrives(station, faults):
    for name, fields in faults:
        station.server.fault(state="FAILED", **fields)
        workflow = station.run({"name": name, "image": "quay.io/acme/nonsense"})
        assert workflow.state == "FAILED"
        assert "quay.io/acme/nonsense" in workflow.action(name).message


@pytest.mark.parametrize("faults", GROUPS, ids=GROUP_NAMES)
def test_get_action_is_asked_again(station, faults):
    """What was handed out and got lost is handed out again, and run once."""
    for name, fields in faults:
        station.server.fault(method="GetAction", **fields)
        workflow = station.run({"name": name, "image": REBOOT})
        assert workflow.state == "SUCCESS"
    eventually(lambda: len(station.first.notes) == len(faults), 5, "all reboots")


def test_late_and_repeated_answers(station):
    """An answer that comes late, or twice, is one answer: the next action is not mistaken for its."""
    for fields in ({"kind": "late", "seconds": 1.5}, {"kind": "twice"}, {"kind": "late", "seconds": 0.25}):
        station.server.fault(state="SUCCESS", action="first", **fields)
        workflow = station.run({"name": "first", "image": REBOOT}, {"name": "second", "image": REBOOT}, {"name": "third", "image": "127.0.0.1/embedded/poweroff"})
        assert workflow.state == "SUCCESS"
        order = [(report.action_name, report.state) for report in station.server.reports if report.workflow_id == workflow.id]
        assert sorted(set(order), key=order.index) == [(name, state) for name in ("first", "second", "third") for state in ("RUNNING", "SUCCESS")]
    eventually(lambda: len(station.first.notes) == 9, 5, "three times three")
    assert [word for _, word in station.first.notes] == 3 * ["reboot", "reboot", "poweroff"]


def test_text_that_the_server_does_not_like(station):
    """INTERNAL "error unmarshalling": once more, in plain ASCII."""
    station.server.fault("status", state="FAILED", code="INTERNAL",
                         message="grpc: error unmarshalling request: string field contains invalid UTF-8")
    workflow = station.run({"name": "it", "image": "quay.io/acmé/nonsense"})
    first, second = [report.message for report in station.server.reports if report.state == "FAILED"]
    assert "acmé" in first and "acm?" in second and second.isascii()
    assert workflow.state == "FAILED"


def test_deadlines_and_fields(station):
    """The real server takes a minute before it refuses: a call that gave up earlier would never know."""
    workflow = station.run({"name": "it", "image": REBOOT})
    for call in station.server.calls:
        assert call.deadline_s is None or call.deadline_s > 65
    for report in station.server.reports:
        assert report.workflow_id == workflow.id and report.agent_id == station.first.agent
        assert report.task_id == workflow.tasks[0].id and report.action_name == "it"
        assert abs(report.execution_start_s - time.time()) < 60
        assert report.execution_stop_s >= report.execution_start_s
        assert report.message.strip()


# --- the server is away


@pytest.mark.parametrize("mode", ["refuse", "reset", "close", "html", "junk", "h2-502", "h2-cut", "h2-no-status", "stall"])
def test_server_away_at_the_start(station, mode):
    station.server.proxy.set(mode)
    worker = station.worker()
    if mode != "stall":
        worker.wait_log("cannot be asked, trying on")
        assert station.server.authority in worker.log
    time.sleep(0.7)
    assert worker.log.count("cannot be asked") <= 3, worker.log  # said once, not at every try
    station.server.proxy.set("pass", existing="reset")
    station.succeeds(REBOOT)


def test_server_away_in_the_middle(station, images):
    """The action goes on, its end is reported when the server is back; it kept its state."""
    disk = station.disk(images.root())
    for down_s, sleep_s in ((0.3, 0.8), (1.2, 0.4)):
        workflow = station.submit(station.cexec(disk, f"sleep {sleep_s}; echo run >> /runs"), {"name": "reboot", "image": REBOOT})
        station.begun(workflow)
        station.server.restart(down_s)
        assert station.finish(workflow) == "SUCCESS"
    with disk.mounted() as root:
        assert (root / "runs").read_text() == "run\nrun\n"


def test_server_comes_back_with_an_older_state(station, images):
    """It does not know yet that the action has begun, or ended: it is run again, and that is safe."""
    disk = station.disk(images.root())
    workflow = station.submit(station.cexec(disk, "sleep 0.5; echo run >> /runs"), {"name": "reboot", "image": REBOOT})
    before = station.server.save()
    station.begun(workflow)
    station.server.restart(0.1, state=before)
    assert station.finish(workflow) == "SUCCESS"
    workflow = station.submit(station.cexec(disk, "echo run >> /runs"), {"name": "hold", "image": "quay.io/acme/nonsense"})
    before = station.server.save()
    station.server.wait(lambda: [report for report in station.server.reports if report.workflow_id == workflow.id and report.state == "SUCCESS"
                                 and report.acknowledged], what="SUCCESS")
    station.server.restart(0.1, state=before)
    assert station.finish(workflow) == "FAILED"
    with disk.mounted() as root:
        assert (root / "runs").read_text().count("run\n") in (2, 3)


def test_server_stops_politely(station):
    """GOAWAY, then a new server: the worker is back without a word of failure about its reports."""
    station.succeeds(REBOOT)
    station.server.restart(0.2, grace_s=0.3)
    station.succeeds(REBOOT)


def test_progress_is_told_while_an_action_runs(make_station, images):
    """RUNNING again, with the phase and how far it is, over a connection of its own; none after the final report."""
    station = make_station(progress_spacing_s=0.9)
    worker = station.worker("--progress-interval", "1s")
    disk = station.disk(size_bytes=8 * MIB)
    url = station.web.add("/x.raw", images.noise())
    station.web.fault("slow", path="/x.raw", rate=MIB)
    workflow = station.run({"name": "it", "image": IMAGE2DISK, "timeout": 60, "environment": {"IMG_URL": url, "DEST_DISK": disk.path}}, worker=worker)
    action = workflow.action("it")
    told = [message for _, message in action.message_history if re.match(r"writing: .* received, .* done \(\d+%\), .*/s, left ", message)]
    assert action.state == "SUCCESS" and 2 <= len(told) <= 5, action.message_history
    # Progress that cannot be told holds nothing up, and is no failure.
    station.server.fault("hang", state="RUNNING", skip=1, times=-1)
    station.web.clear_faults()
    station.web.fault("slow", path="/x.raw", rate=3 * MIB)
    workflow = station.submit({"name": "it", "image": IMAGE2DISK, "timeout": 60, "environment": {"IMG_URL": url, "DEST_DISK": disk.path}})
    station.server.wait(lambda: "wrote 4.0 MiB" in worker.log.split("action received")[-1], timeout_s=10, what="the end of the action")
    station.server.faults.clear()
    assert worker.stop() == 0


def test_progress_can_be_turned_off(make_station, images):
    station = make_station()
    worker = station.worker("--progress-interval", "0")
    disk = station.disk(size_bytes=8 * MIB)
    url = station.web.add("/x.raw", images.noise())
    station.web.fault("slow", path="/x.raw", rate=2 * MIB)
    workflow = station.run({"name": "it", "image": IMAGE2DISK, "timeout": 60, "environment": {"IMG_URL": url, "DEST_DISK": disk.path}}, worker=worker)
    assert len(workflow.action("it").message_history) == 2, workflow.action("it").message_history


def test_action_of_a_deleted_workflow_is_ended(make_station, images):
    """The server says so when it is told of the action's progress; the worker goes on with the next workflow."""
    station = make_station(report_retry_s=0.2, progress_spacing_s=0)
    worker = station.worker("--progress-interval", "1s")
    disk = station.disk(size_bytes=8 * MIB)
    url = station.web.add("/x.raw", images.noise())
    station.web.fault("slow", path="/x.raw", rate=100000)
    workflow = station.submit({"name": "it", "image": IMAGE2DISK, "timeout": 60, "environment": {"IMG_URL": url, "DEST_DISK": disk.path}})
    station.begun(workflow)
    station.server.delete(workflow)
    worker.wait_log("does not know the workflow any more", timeout_s=10)
    worker.assert_nothing_left()
    station.succeeds(REBOOT)


def test_stopped_while_the_report_cannot_be_delivered(station):
    """It tries for some seconds more; the action is run again by the next worker."""
    station.server.fault("status", state="SUCCESS", times=-1, code="UNAVAILABLE")
    workflow = station.submit({"name": "it", "image": REBOOT})
    station.first.wait_log("could not be delivered")
    begin_s = time.monotonic()
    assert station.first.stop() == 0
    assert 4 < time.monotonic() - begin_s < 8
    assert station.first.notes == [] and workflow.state == "RUNNING"
    station.server.faults.clear()
    station.first.start()
    assert station.finish(workflow) == "SUCCESS"
    station.first.wait_note()


def test_failed_action_is_handed_out_again(station):
    """By a server that was told of its end: it is done again, with pauses, and said once."""
    workflow, left = station.submit({"name": "it", "image": "quay.io/acme/nonsense"}), [4]
    usual, asked_s = workflow.next_action, []

    def next_action(agent):
        action = workflow.action("it")
        if action.state == "FAILED" and left[0] > 0:
            left[0] -= 1
            asked_s.append(time.monotonic())
            action.state = workflow.state = "RUNNING"
            workflow.current = (action.id, "RUNNING")
        return usual(agent)
    workflow.next_action = next_action
    station.server.wait(lambda: not left[0] and [report for report in station.server.reports if report.state == "FAILED"][4:], what="the fifth failure")
    assert station.first.log.count("whose end it has acknowledged") == 1
    assert asked_s[-1] - asked_s[0] > 0.15


def test_output_without_a_pause(station, images):
    """Whoever writes faster than the worker reads has a deadline all the same."""
    disk = station.disk(images.root())
    action = station.run(station.cexec(disk, "yes", timeout=1)).action("it")
    assert action.state == "TIMEOUT" and "not done within the 1 s" in action.message


def test_server_without_work_is_not_hammered(make_station):
    """One that answers at once is asked again after the interval; it is told of once."""
    station = make_station(long_poll_s=0)
    worker = station.first
    worker.wait_log("nothing to do")
    count = len(station.server.calls)
    time.sleep(1.0)
    assert 2 <= len(station.server.calls) - count <= 9
    assert worker.log.count("nothing to do") == 1
    station.succeeds(REBOOT)


def test_one_connection_is_kept(station):
    for _ in range(5):
        station.succeeds(REBOOT)
    assert station.server.proxy.connections == 1


def test_workflows_in_a_row(station, images):
    """A failed workflow ends with its failed action; the next one is taken up at once."""
    disk = station.disk(images.root())
    failed = station.run(station.cexec(disk, "exit 5"), {"name": "never", "image": REBOOT})
    assert failed.state == "FAILED" and failed.action("never").state == "PENDING"
    good = station.run(station.cexec(disk, "echo $GREETING > /a", name="a"), station.cexec(disk, "echo $GREETING > /b", name="b",
                       environment={"GREETING": "own"}), environment={"GREETING": "of the task"})
    assert good.state == "SUCCESS"
    assert station.first.notes == []
    with disk.mounted() as root:
        assert (root / "a").read_text() == "of the task\n" and (root / "b").read_text() == "own\n"


@pytest.mark.parametrize("host", ["::1", "localhost"])
def test_addresses_of_the_server(make_station, host):
    try:
        socket.getaddrinfo(host, 0)
    except OSError as error:
        pytest.skip(f"{host} is no address on this machine: {error}")
    station = make_station(host=host)
    assert station.server.authority.startswith(("[::1]:", "localhost:"))
    station.succeeds(REBOOT)


# --- TLS


def test_tls(make_station):
    tls_folder = None
    for options, environment, word in [
            (["--grpc-tls=true", "--tls-ca={ca}"], {}, None),
            (["--grpc-tls", "--grpc-insecure-tls"], {}, None),
            (["--tinkerbell-tls=true", "--tinkerbell-insecure-tls=true"], {}, None),
            (["--grpc-tls=true"], {}, "certificate"),
            (["--grpc-tls=true", "--tls-ca={other}"], {}, "certificate"),
            ([], {}, "trying on")]:
        if tls_folder is None:
            import tempfile
            from pathlib import Path
            tls_folder = Path(tempfile.mkdtemp())
            certificate = make_certificate(tls_folder / "a")
            other = make_certificate(tls_folder / "b")
        station = make_station(tls=certificate)
        worker = station.worker(*[option.format(ca=certificate.ca, other=other.ca) for option in options], environment=environment)
        if word:
            worker.wait_log("cannot be asked")
            assert word in worker.log
            assert not station.server.calls
        else:
            station.succeeds(REBOOT)


# --- settings


def test_settings_from_the_kernel_command_line(station):
    """The line that the real server's iPXE script sends is all that is needed."""
    root = station.folder / "captured"
    (root / "proc").mkdir(parents=True)
    agent = "52:54:00:aa:bb:cc"
    (root / "proc/cmdline").write_text(
        f"vmlinuz-x86_64 facility= syslog_host=192.0.2.1 grpc_authority=192.0.2.9:1 grpc_authority={station.server.authority} "
        f"tinkerbell_tls=false tinkerbell_insecure_tls=false worker_id={agent} hw_addr={agent} "
        "modules=loop,squashfs,sd-mod,usb-storage intel_iommu=on iommu=pt initrd=initramfs-x86_64 console=tty0 "
        "console=ttyS1,115200 registry_password=geheimnisvoll\n")
    worker = station.worker(agent=agent, connect=False, start=False)
    worker.environment = {"AGENT_ROOT": str(root), "AGENT_REBOOT_COMMAND": str(worker._reboot_script()), "AGENT_LOG_LEVEL": "debug"}
    worker.start()
    station.succeeds(REBOOT)
    worker.wait_note()
    assert "geheimnisvoll" not in worker.log
    shown = run(BINARY, "config", env={"AGENT_ROOT": str(root), "AGENT_ID": "of-the-environment"})
    assert re.search(rf"grpc-server +{station.server.authority} +kernel command line grpc_authority", shown)
    assert re.search(r"^id +of-the-environment +environment AGENT_ID", shown, re.M)
    assert re.search(r"grpc-tls +false +kernel command line tinkerbell_tls", shown)
    assert "geheimnisvoll" not in shown
    shown = run(BINARY, "--id=of-the-flag", "config", env={"AGENT_ROOT": str(root), "AGENT_ID": "of-the-environment"})
    assert re.search(r"^id +of-the-flag +flag --id", shown, re.M)


@pytest.mark.parametrize("names", [
    {"AGENT_GRPC_SERVER": "server", "AGENT_ID": "id", "AGENT_GRPC_TLS": "false"},
    {"TINKERBELL_GRPC_AUTHORITY": "server", "WORKER_ID": "id", "TINKERBELL_TLS": "false"},
    {"TINKERBELL_GRPC_AUTHORITY": "server", "ID": "id", "TINKERBELL_TLS": "0", "TINKERBELL_INSECURE_TLS": "t"}])
def test_settings_from_the_environment(station, names):
    worker = station.worker(connect=False, start=False)
    values = {"server": station.server.authority, "id": worker.agent}
    worker.environment = {name: values.get(value, value) for name, value in names.items()}
    worker.environment["AGENT_REBOOT_COMMAND"] = str(worker._reboot_script())
    worker.start()
    station.succeeds(REBOOT)


@pytest.mark.parametrize("line, expected", [
    ('worker_id=a worker_id=b', "b"), ('worker_id="a b"', "a b"), ('"worker_id=a b" x', "a b"), ('xworker_id=no worker_id=yes', "yes"),
    ('worker_id=', ""), ('worker_id', ""), ('worker_id=a worker_id=', ""), ('worker_id=x=y', "x=y")])
def test_words_of_the_kernel_command_line(tmp_path, line, expected):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cmdline").write_text(f"quiet {line}\n")
    shown = run(BINARY, "config", env={"AGENT_ROOT": str(tmp_path)})
    value = re.search(r"^id(.*)$", shown, re.M)[1]
    assert re.sub(r" +(kernel command line|default).*", "", value).strip() == expected


# --- by hand


def call(*argv, **options):
    result = subprocess.run([str(BINARY), *map(str, argv)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            check=False, timeout=60, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **options})
    return result.returncode, result.stdout.decode(), result.stderr.decode()


@pytest.mark.parametrize("argv, status, words", [
    (["--help"], 0, ["run ACTION", "Exit status", "--grpc-server"]),
    (["help"], 0, ["run ACTION"]),
    (["help", "image2disk"], 0, ["IMG_URL", "DEST_DISK", "CHECKSUM_URL", "RETRY_DURATION_MINUTES"]),
    (["help", "nonsense"], 2, ["nonsense", "writefile"]),
    (["--version"], 0, ["tink-worker"]),
    (["config"], 0, ["grpc-server"]),
    (["config", "--id", "x"], 0, ["flag --id"]),
    (["config", "extra"], 2, []),
    (["docs", "actions"], 0, ["image2disk"]),
    (["docs", "nonsense"], 2, ["settings"]),
    (["nonsense"], 2, ["nonsense", "--help"]),
    (["--nonsense"], 2, ["--nonsense"]),
    (["--id"], 2, ["--id", "value"]),
    (["--grpc-tls=maybe", "config"], 2, ["grpc-tls", "maybe", "--grpc-tls"]),
    (["--backoff-max-interval=soon", "config"], 2, ["backoff-max-interval", "soon"]),
    (["--log-level=loud", "config"], 2, ["log-level", "loud"]),
    (["--transport=nats", "--id=x", "--grpc-server=y"], 2, ["transport", "nats"]),
    (["--id=x"], 2, ["--grpc-server"]),
    (["--grpc-server=127.0.0.1:1"], 2, ["--id"]),
    (["run"], 2, ["which action"]),
    (["run", "nonsense"], 2, ["nonsense", "image2disk"]),
    (["run", "image2disk"], 2, ["IMG_URL", "DEST_DISK"]),
    (["run", "image2disk", "stray"], 2, ["stray", "KEY=VALUE"]),
    (["run", "--timeout", "x", "image2disk"], 2, ["--timeout"]),
    (["run", "writefile", "DEST_DISK=/dev/null", "DEST_PATH=/x", "CONTENTS=x", "MOD=0644"], 2, ["MOD", "MODE"]),
    pytest.param(["run", "image2disk", "IMG_URL=http://127.0.0.1:1/x", "DEST_DISK=/dev/null"], 1, ["/dev/null", "not a block device"],
                 marks=pytest.mark.skipif(os.geteuid() != 0, reason="needs root: an action gets a mount namespace")),
])
def test_exit_statuses(argv, status, words, tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cmdline").write_text("quiet\n")
    code, out, err = call(*argv, AGENT_ROOT=str(tmp_path))
    assert code == status, out + err
    for word in words:
        assert word in (out if status == 0 else err)


def test_help_lists_every_parameter():
    """help ACTION and the documentation's tables come from the same descriptor."""
    tables = call("docs", "parameters")[1]
    names = re.findall(r"^\| `?([a-z0-9]+)`? *\|", call("docs", "actions")[1], re.M)
    assert {"image2disk", "writefile", "cexec", "reboot", "poweroff", "waitdaemon"} <= set(names)
    keys = set(re.findall(r"`([A-Z][A-Z0-9_]+)`", tables))
    helped = "".join(call("help", name)[1] for name in names)
    assert keys and all(key in helped for key in keys)


def test_run_by_hand(station, images):
    disk = station.disk(size_bytes=8 * MIB)
    url = station.web.add("/noise.zst", images.packed(images.noise(), "zst"))
    code, out, err = call("run", "image2disk", f"IMG_URL={url}", f"DEST_DISK={disk.path}")
    assert code == 0, err
    assert "wrote" in err and disk.path in err
    assert disk.read(0, 4 * MIB) == images.noise().read_bytes()
    note = station.folder / "note"
    script = station.folder / "reboot.sh"
    script.write_text(f'#!/bin/sh\necho "$1" >> {note}\n')
    script.chmod(0o755)
    for action in ("reboot", "poweroff"):
        assert call("--reboot-command", script, "run", action)[0] == 0
    assert note.read_text() == "reboot\npoweroff\n"
    root = station.disk(images.root())
    code, out, err = call("run", "cexec", f"BLOCK_DEVICE={root.path}", "CHROOT=y", "CMD_LINE=echo one;echo two;false")
    assert code == 1 and "one\n" in err and "two\n" in err and "exit status 1" in err
    code, out, err = call("run", "--timeout", "1", "cexec", f"BLOCK_DEVICE={root.path}", "CHROOT=y", "CMD_LINE=sleep 86418")
    assert code == 1 and "timeout" in err
    code, out, err = call("run", "cexec", "--", "--block-device", root.path, "--chroot", "y", "--cmd-line=echo flags")
    assert code == 0 and "flags" in err, err


def test_run_by_hand_is_interrupted(station, images):
    root = station.disk(images.root())
    process = subprocess.Popen([str(BINARY), "run", "cexec", f"BLOCK_DEVICE={root.path}", "CHROOT=y", "CMD_LINE=sleep 86419"],
                               stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    eventually(lambda: processes_with("sleep\00086419"), what="the command")
    process.send_signal(signal.SIGINT)
    assert process.wait(5) == 1
    assert b"interrupted" in process.stderr.read()
    process.stderr.close()
    assert processes_with("sleep\00086419") == []
