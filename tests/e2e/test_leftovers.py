"""What an action leaves behind: nothing, however it ends; and what cannot be ended is told. With cgroups, and without."""

import contextlib
import fcntl
import os
import signal
import time
from pathlib import Path

import pytest
from worker import MIB, cgroup2, eventually, images, is_alive, make_station, mounts_of, processes_with, run, station  # noqa: F401

IMAGE2DISK = "quay.io/tinkerbell/actions/image2disk:latest"
NO_CGROUP = "umount $(sed -n 's/^[^ ]* [^ ]* [^ ]* [^ ]* \\([^ ]*\\) .* - cgroup2 .*/\\1/p' /proc/self/mountinfo)"
FIFREEZE, FITHAW = 0xC0045877, 0xC0045878
BOTH = pytest.mark.parametrize("before", [None, NO_CGROUP], ids=["cgroup", "no-cgroup"])


def machine():
    """What an action could leave on this machine: mounts, attached loop devices, mapped devices, files."""
    mounts = {tuple(line.split()[2:5]) for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    loops = {name for name in os.listdir("/sys/block") if name.startswith("loop") and Path("/sys/block", name, "loop").exists()}
    mapped = {name for name in os.listdir("/sys/block") if name.startswith("dm-")}
    files = {str(path) for folder in ("/run", "/run/tink-worker", "/var/tmp") if Path(folder).is_dir() for path in Path(folder).iterdir()}
    return {"mounts": mounts, "loops": loops, "mapped": mapped, "files": files}


def left_since(before, disk):
    """Differences that are of our actions: other tests may run on this machine."""
    now = machine()
    backing = {name: Path("/sys/block", name, "loop/backing_file").read_text().strip() for name in now["loops"] - before["loops"]
               if Path("/sys/block", name, "loop/backing_file").exists()}
    return {
        "mounts": [mount for mount in now["mounts"] - before["mounts"] if "left" in mount[2] or "tink" in mount[2]],
        "disk": mounts_of(disk.path),
        "loops": [name for name, file in backing.items() if "/inner" in file],
        "mapped": sorted(now["mapped"] - before["mapped"]),
        "files": sorted(path for path in now["files"] - before["files"] if "tink" in path or "left" in path),
        "processes": processes_with("86430"),
    }


# Daemons, a session of its own, one that ignores what it can, a loop device with a file system, a tmpfs, files.
MESS = ("(setsid sleep 86430 >/dev/null 2>&1 &) ; setsid sh -c 'trap \"\" TERM INT HUP; sleep 86430; sleep 86430' & "
        "mount -o loop /inner /tmp; losetup -f /inner; mkdir -p /run/left; mount -t tmpfs left /run/left; echo x >/run/left/x; "
        "echo x >/run/left-file; echo begun; ")
ENDS = {"SUCCESS": "true", "FAILED": "exit 3", "TIMEOUT": "sleep 86430"}


@BOTH
def test_nothing_is_left(station, images, before):
    """Of an action that succeeds, fails, is too slow, is interrupted, and whose worker is killed."""
    disk = station.disk(images.root())
    with disk.mounted(read_only=False) as root:
        run("mke2fs", "-q", "-t", "ext2", root / "inner", "512")
    worker = station.worker(before=before)
    clean = machine()
    for state, end in ENDS.items():
        action = station.run(station.cexec(disk, MESS + end, timeout=2 if state == "TIMEOUT" else 30)).action("it")
        assert action.state == state and (state == "SUCCESS" or "begun" in action.message), action.message
        eventually(lambda: not any(left_since(clean, disk).values()), 2, f"nothing being left after {state}: {left_since(clean, disk)}")
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        # The first time it hangs, the second it ends.
        command = f"echo run >>/runs{signal_number}; test $(cat /runs{signal_number} | grep -c run) = 2 || {{ {MESS} sleep 86430; }}"
        workflow = station.submit(station.cexec(disk, command))
        eventually(lambda: len(processes_with("sleep\00086430")) >= 3, what="the command")
        worker.stop(signal_number)
        if signal_number == signal.SIGTERM:
            eventually(lambda: not any(left_since(clean, disk).values()), 2, f"nothing being left: {left_since(clean, disk)}")
        worker.start()
        assert station.finish(workflow) == "SUCCESS"
        eventually(lambda: not any(left_since(clean, disk).values()), 2, f"nothing being left: {left_since(clean, disk)}")
    station.succeeds(IMAGE2DISK, {"IMG_URL": station.web.add("/noise", images.noise()), "DEST_DISK": disk.path})


def test_process_that_leaves_its_cgroup(station, images):
    """As root it may; it is found by whose child it becomes."""
    if not cgroup2():
        pytest.skip("there is no cgroup v2 on this machine")
    disk = station.disk(images.root())
    command = ("mount -t cgroup2 none /tmp && setsid sh -c 'echo $$ >/tmp/cgroup.procs; cat /proc/self/cgroup; sleep 86431; sleep 86431' & "
               "sleep 0.5; ")
    for end, state in (("true", "SUCCESS"), ("exit 1", "FAILED"), ("sleep 86431", "TIMEOUT")):
        action = station.run(station.cexec(disk, command + end, timeout=2 if state == "TIMEOUT" else 30)).action("it")
        assert action.state == state, action.message
        assert state == "SUCCESS" or "0::/" in action.message.split("\n"), action.message  # it had left
        assert processes_with("86431") == []


@pytest.fixture
def frozen(images, station):
    """A function that lets an action write to a file system that then answers no more; returns what thaws it."""
    with contextlib.ExitStack() as stack:
        def freeze(disk, worker):
            def find():
                shells = [pid for pid in processes_with("/frozen") if Path(f"/proc/{pid}/comm").read_text().strip() == "sh"]
                return [pid for pid in shells if os.stat(f"/proc/{pid}/root").st_dev == os.stat(disk.path).st_rdev]
            pid = eventually(find, what="the command")[0]
            fd = os.open(f"/proc/{pid}/root", os.O_RDONLY | os.O_DIRECTORY)
            fcntl.ioctl(fd, FIFREEZE, 0)

            def thaw():
                fcntl.ioctl(fd, FITHAW, 0)
                os.close(fd)
            return stack.enter_context(contextlib.ExitStack()).callback(thaw), pid
        yield freeze, stack


def test_process_that_cannot_be_ended(station, images, frozen):
    """Its disk does not answer: bounded, and said, with the time of the timeout; the next action waits for it, and works."""
    freeze, stack = frozen
    disks = [station.disk(images.root()) for _ in range(2)]
    workers = [station.worker(), station.worker(before=NO_CGROUP)]
    workflows = [station.submit(station.cexec(disk, "while :; do echo x >/frozen; done", timeout=3), worker=worker)
                 for disk, worker in zip(disks, workers)]
    pids = [freeze(disk, worker)[1] for disk, worker in zip(disks, workers)]
    begin_s = time.monotonic()
    with contextlib.suppress(AssertionError):  # what cannot be ended is left
        for workflow, worker in zip(workflows, workers):
            station.server.wait(lambda workflow=workflow: workflow.finished, 25, "an end")
    assert 8 < time.monotonic() - begin_s < 18
    for workflow, pid, worker in zip(workflows, pids, workers):
        action = workflow.action("it")
        assert action.state == "TIMEOUT", action.message
        for word in ("3 s of its timeout", "does not end", f"process {pid} (sh)", "waits in the kernel"):
            assert word in action.message, action.message
        assert worker.log.count("a process of the action does not end") == 1, worker.log
        assert is_alive(pid)
    stack.close()
    for disk, worker, pid in zip(disks, workers, pids):
        assert station.run(station.cexec(disk, "echo again >/again"), worker=worker).state == "SUCCESS"
        assert not is_alive(pid) and not mounts_of(disk.path)


def test_memory_is_taken_from_the_action_first(station, images):
    """What the kernel ends when memory runs out: the action, not the worker."""
    disk = station.disk(images.root())
    workflow = station.submit(station.cexec(disk, "echo $(cat /proc/self/oom_score_adj) seen; sleep 1; exit 1"))
    child = station.begun(workflow)

    def score(pid):
        return int(Path(f"/proc/{pid}/oom_score_adj").read_text())
    assert score(child) == 500
    # Where root may not (a container without CAP_SYS_RESOURCE, bit 24), it stays as it was.
    capabilities = next(line for line in Path(f"/proc/{station.first.pid}/status").read_text().splitlines() if line.startswith("CapEff"))
    may = int(capabilities.split()[1], 16) >> 24 & 1
    assert score(station.first.pid) == (-900 if may else score("self"))
    station.finish(workflow)
    assert "500 seen" in workflow.action("it").message


def test_disk_is_free_for_the_next(station, images):
    """After a killed worker whose action had mounted, and attached a loop device: the next action is an image for the same disk."""
    disk = station.disk(images.root())
    with disk.mounted(read_only=False) as root:
        run("mke2fs", "-q", "-t", "ext2", root / "inner", "512")
    workflow = station.submit(station.cexec(disk, "losetup -f /inner; sleep 86430"))
    eventually(lambda: processes_with("sleep\00086430"), what="the command")
    station.first.kill()
    station.server.delete(workflow)
    station.first.start()
    station.succeeds(IMAGE2DISK, {"IMG_URL": station.web.add("/noise", images.noise()), "DEST_DISK": disk.path})
    assert disk.read(0, 4 * MIB) == images.noise().read_bytes()
