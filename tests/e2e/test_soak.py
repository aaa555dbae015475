"""Many workflows in a row, many workers at once, and none to do: no memory and no descriptor is lost, and waiting costs nothing.

TINK_WORKER_LONG=1 (tests/run --long): 500 workflows and 200 workers; else a tenth. Measured is the release worker when out/ has it,
else the daily build: a sanitizer's memory says nothing. The figures are printed (pytest -s, or -rP).
"""

import os
import time
from pathlib import Path

import pytest
from worker import BINARY, MIB, ROOT, eventually, images, make_station, station  # noqa: F401

LONG = bool(os.environ.get("TINK_WORKER_LONG"))
RELEASE = ROOT / "out" / "tink-worker-x86_64"
DAILY = ROOT / "build" / "tink-worker"
PROGRAM = next((path for path in (RELEASE, DAILY) if path.exists()), BINARY)
WRITEFILE = "quay.io/tinkerbell/actions/writefile:latest"
REBOOT = "quay.io/tinkerbell/actions/reboot:latest"
# What an allocator may still take once all that happens has happened a few times: a page here and there. One lost structure of 4 KiB
# in a workflow would be seen in the short run, one of 600 bytes in the long one.
GROWTH_KIB = 256 if LONG else 160


def resident_kib(pid, key="VmRSS"):
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(key + ":"))
    return int(line.split()[1])


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def processor_s(pid):
    """Of all threads, exact: the ticks of /proc/PID/stat are too coarse for what is nearly nothing."""
    return sum(int(Path(task, "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir()) / 1e9


def waiting(station, count=1):
    """Waits until so many workers ask for work and none does anything else."""
    def asked():
        open_calls = [call for call in station.server.calls[-4 * count:] if not call.over]
        return len(open_calls) == count and all(call.method == "GetAction" for call in open_calls)
    station.server.wait(asked, 30, "all workers asking for work")


def test_workflows_in_a_row(make_station, images):
    """Files are written, actions fail, crash and are too slow, connections are lost: after the first tenth nothing grows."""
    count = 500 if LONG else 50
    station = make_station()
    worker = station.worker(program=PROGRAM)
    disk = station.disk(images.root())
    url = station.web.add("/text", "text")
    actions = [{"name": "write", "image": WRITEFILE, "timeout": 60,
                "environment": {"DEST_DISK": disk.path, "DEST_PATH": "/etc/text", "CONTENTS_URL": url}},
               {"name": "reboot", "image": REBOOT}]
    ends = {5: ({"name": "it", "image": "quay.io/acme/nonsense"}, "FAILED"),
            6: (station.cexec(disk, "echo no; kill -SEGV $$"), "FAILED"),
            7: ({**actions[0], "name": "it", "environment": {**actions[0]["environment"], "DEST_PATH": ""}}, "FAILED")}
    begin_s = time.monotonic()
    first = None
    for number in range(1, count + 1):
        last, expected = ends.get(number % 10, (actions[1], "SUCCESS"))
        if number % 10 in (1, 2, 3):  # all that can happen has happened before the first figures are taken
            station.server.fault(("reset", "close", "garbage")[number % 10 - 1])
        workflow = station.run(actions[0], last)
        assert workflow.state == expected, [(action.name, action.message) for action in workflow.actions]
        if number == count // 10 + 5:
            waiting(station)
            first = resident_kib(worker.pid), descriptors(worker.pid)
    waiting(station)
    last = resident_kib(worker.pid), descriptors(worker.pid)
    print(f"{count} workflows in {time.monotonic() - begin_s:.1f} s by {PROGRAM}: resident {first[0]} KiB, then {last[0]} KiB; "
          f"descriptors {first[1]}, then {last[1]}")
    assert last[0] - first[0] <= GROWTH_KIB
    assert last[1] <= first[1]


def test_workers_at_once(make_station):
    """All against one server: each gets its own actions, and all of them, and grows by nothing."""
    count, rounds = (200, 5) if LONG else (20, 5)
    station = make_station()
    workers = [station.worker(program=PROGRAM) for _ in range(count)]
    begin_s = time.monotonic()
    figures = []
    for number in range(rounds):
        workflows = [station.submit({"name": f"reboot-{number}", "image": REBOOT}, {"name": "again", "image": REBOOT}, worker=worker)
                     for worker in workers]
        for workflow, worker in zip(workflows, workers):
            assert station.finish(workflow, 120, worker) == "SUCCESS"
        waiting(station, count)
        figures.append([(resident_kib(worker.pid), descriptors(worker.pid)) for worker in workers])
    growth = [after[0] - before[0] for before, after in zip(figures[1], figures[-1])]
    print(f"{count} workers, {rounds} workflows each in {time.monotonic() - begin_s:.1f} s: resident {min(figures[-1])[0]} to "
          f"{max(figures[-1])[0]} KiB each, grown by at most {max(growth)} KiB; descriptors at most {max(fds for _, fds in figures[-1])}")
    for worker in workers:
        eventually(lambda worker=worker: len(worker.notes) == 2 * rounds, what="its reboots")
    assert max(growth) <= GROWTH_KIB
    assert all(after[1] <= before[1] for before, after in zip(figures[1], figures[-1]))


def test_waiting_costs_nothing(make_station):
    """While the server holds the question: under 1 % of a core and 8 MiB resident, of the release."""
    if not RELEASE.exists():
        pytest.skip("out/tink-worker-x86_64 is not there (initramfs/build-worker): of the daily build, with its shared libraries and "
                    "another libc, the figures would not be those of a machine")
    station = make_station(long_poll_s=60)
    worker = station.worker(program=RELEASE)
    station.succeeds(REBOOT)  # and after it has worked once
    waiting(station)
    begin_s, begin_cpu_s = time.monotonic(), processor_s(worker.pid)
    time.sleep(60 if LONG else 10)  # this is the measurement
    share = (processor_s(worker.pid) - begin_cpu_s) / (time.monotonic() - begin_s)
    resident, most = resident_kib(worker.pid), resident_kib(worker.pid, "VmHWM")
    print(f"waiting: {share * 100:.4f} % of a core, {resident} KiB resident (at most {most} KiB so far)")
    assert share < 0.01
    assert most * 1024 < 8 * MIB
