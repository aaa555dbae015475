"""The worker as a process against the stand-in server, with loop devices as disks: what the tests of agent and actions share.

A Station is a server, a web server, disks and workers; when it is closed it asserts what must hold after every test:
no breach of the protocol, no process, mount, cgroup or attached disk left. There is no QEMU here: see machine.py.
"""

import bz2
import contextlib
import gzip
import hashlib
import itertools
import lzma
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
if str(HERE.parent) not in sys.path:
    sys.path.insert(0, str(HERE.parent))

from server.tink import TinkServer  # noqa: E402
from server.web import WebServer  # noqa: E402

BINARY = Path(os.environ.get("TINK_WORKER") or ROOT / "build" / "tink-worker")
MIB = 1 << 20
FORMATS = ("raw", "gz", "zst", "xz", "bz2")
_SANITIZER = re.compile(r"ERROR: (Address|Leak|UndefinedBehavior)Sanitizer|runtime error:")
_numbers = itertools.count(1)


def run(*argv, **options):
    """Runs a program of the host; a failure shows what it said."""
    result = subprocess.run([str(word) for word in argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                            **options)
    if result.returncode:
        raise RuntimeError(f"{argv[0]}: exit status {result.returncode}: {result.stdout.decode(errors='replace')}")
    return result.stdout.decode(errors="replace")


def eventually(condition, timeout_s=10.0, what="a condition"):
    """Waits until condition() is true; returns its value."""
    deadline_s = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{timeout_s:g} s without {what}")
        time.sleep(0.01)
    return value


def uptime_s():
    """The clock of /proc/uptime: shell scripts can read it too."""
    return float(Path("/proc/uptime").read_text().split()[0])


# --- what the machine says about processes, mounts and devices


def _stat_fields(pid):
    """State and parent of a process; None when it is gone."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except (OSError, ValueError):
        return None
    return state, int(parent)


def root_is_a_mount():
    """False in a chroot, where unshare(1) cannot make mounts private."""
    return any(line.split()[4] == "/" for line in Path("/proc/self/mountinfo").read_text().splitlines())


def is_alive(pid):
    fields = _stat_fields(pid)
    return fields is not None and fields[0] not in "ZX"


def _is_of_an_action(pid):
    """Not one that is just ending (it has no words any more), nor a worker's process for what waitdaemon has put off."""
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return words != [b""] and b"later" not in words
    return False


def children_of(pid):
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and (_stat_fields(name) or ("", 0))[1] == pid]


def processes_with(text):
    """Processes (zombies not counted) whose command line holds this text, other than ourselves."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if text.encode() in Path(f"/proc/{name}/cmdline").read_bytes():
                found.append(int(name))
    return found


def mounts_of(device):
    """Where a device (or one of its partitions) is mounted, in any process's mount namespace: a set of (pid, line)."""
    wanted = re.compile(rf" - \S+ {re.escape(device)}(p\d+)? ")
    found, seen = set(), set()
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            namespace = os.readlink(f"/proc/{name}/ns/mnt")
            if namespace in seen:
                continue
            seen.add(namespace)
            for line in Path(f"/proc/{name}/mountinfo").read_text().splitlines():
                if wanted.search(line):
                    found.add((int(name), line))
    return found


def open_by_workers(device):
    """Processes of our binary that hold a device open."""
    found = []
    for pid in processes_with(BINARY.name):
        with contextlib.suppress(OSError):
            for fd in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    if os.readlink(f"/proc/{pid}/fd/{fd}") == device:
                        found.append(pid)
    return found


def plain_files_in_dev():
    return {path for path in os.listdir("/dev") if Path("/dev", path).is_file() and not Path("/dev", path).is_symlink()}


def cgroup2():
    """Where cgroup v2 is mounted, or None."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if " - cgroup2 " in line:
            return Path(line.split()[4])
    return None


# --- disks


class Disk:
    """A file as a disk behind a loop device."""

    def __init__(self, path, size_bytes, read_only=False):
        self.file = Path(path)
        self.size_bytes = size_bytes
        if not self.file.exists():
            with open(self.file, "wb") as file:
                file.truncate(size_bytes)
        self.path = run("losetup", "-P", "--find", "--show", *(["-r"] if read_only else []), self.file).strip()
        self.name = self.path.rpartition("/")[2]

    def partition(self, number):
        return f"{self.path}p{number}"

    def partitions(self):
        """Nodes of the partitions that the kernel knows."""
        return sorted(f"/dev/{name}" for name in os.listdir(f"/sys/block/{self.name}") if name.startswith(self.name))

    def read(self, offset=0, size=None):
        with open(self.file, "rb") as file:
            file.seek(offset)
            return file.read(size)

    def fill(self, byte=0xA5):
        """Content that no test writes, so that what was touched can be seen."""
        with open(self.file, "r+b") as file:
            for _ in range(self.size_bytes // MIB):
                file.write(bytes([byte]) * MIB)
        run("blockdev", "--flushbufs", self.path)
        return self

    @property
    def is_filled(self):
        return self.read() == b"\xa5" * self.size_bytes

    @property
    def ends_are_zero(self):
        """Not bootable: neither a table, nor its backup, nor anything else in the first and the last MiB."""
        return not any(self.read(0, MIB)) and not any(self.read(self.size_bytes - MIB, MIB))

    @contextlib.contextmanager
    def mounted(self, partition=None, read_only=True):
        """The file system on a partition (None: the whole disk), mounted for the test."""
        point = Path(tempfile.mkdtemp(prefix="mounted-", dir=self.file.parent))
        run("mount", "-o", "ro" if read_only else "rw", self.partition(partition) if partition else self.path, point)
        try:
            yield point
        finally:
            run("umount", point)
            point.rmdir()

    def close(self):
        run("losetup", "-d", self.path)


# --- images, made once


class Images:
    """Small images in a folder of their own."""

    def __init__(self, folder):
        self.folder = folder
        self._made = {}

    def noise(self):
        """4 MiB that look like nothing in particular: noise, then a MiB of zeros, then noise to the end."""
        path = self.folder / "noise.raw"
        if not path.exists():
            data = random.Random(3).randbytes(3 * MIB)
            path.write_bytes(b"\x11\x22" + data[2:2 * MIB] + bytes(MIB) + data[2 * MIB:])
        return path

    def root(self):
        """8 MiB of ext4 with a root file system around a static busybox."""
        path = self.folder / "root.ext4"
        if not path.exists():
            tree = self.folder / "tree"
            for name in ("bin", "dev", "etc", "proc", "sys", "run", "tmp", "root", "var", "usr/share"):
                (tree / name).mkdir(parents=True)
            busybox = shutil.which("busybox")
            if not busybox or not _is_static(busybox):
                pytest.fail("a static busybox is missing: run initramfs/install-packages test", pytrace=False)
            shutil.copy(busybox, tree / "bin/busybox")
            for applet in ("sh", "cat", "sleep", "echo", "printf", "setsid", "env", "mount", "ls", "id", "mkdir", "touch",
                           "kill", "losetup", "cut", "true", "false", "head", "tr", "readlink", "stat", "yes", "seq", "pwd", "grep"):
                (tree / "bin" / applet).symlink_to("busybox")
            (tree / "etc/resolv.conf").write_text("nameserver 192.0.2.1\n")
            (tree / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
            self._ext4(path, 8 * MIB, tree)
        return path

    def disk(self):
        """16 MiB with a GPT: a 1 MiB partition, the root file system of root(), an empty ext4 of 4 MiB."""
        path = self.folder / "disk.raw"
        if not path.exists():
            empty = self.folder / "empty.ext4"
            self._ext4(empty, 4 * MIB)
            with open(path, "wb") as file:
                file.truncate(16 * MIB)
            run("sfdisk", "-q", path, input=b"label: gpt\nlabel-id: 11111111-2222-3333-4444-555555555555\n"
                b"start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649\n"
                b"start=4096, size=16384, name=root\nstart=20480, size=8192, name=data\n")
            with open(path, "r+b") as file:
                file.seek(2 * MIB)
                file.write(self.root().read_bytes())
                file.seek(10 * MIB)
                file.write(empty.read_bytes())
        return path

    def empty(self, kind):
        """An empty file system: ext4, xfs or btrfs."""
        path = self.folder / f"empty-{kind}.raw"
        if not path.exists():
            temporary = path.with_suffix(".new")
            with open(temporary, "wb") as file:
                file.truncate({"ext4": 8, "xfs": 300, "btrfs": 120}[kind] * MIB)
            run({"ext4": "mke2fs", "xfs": "mkfs.xfs", "btrfs": "mkfs.btrfs"}[kind], "-q",
                *(["-t", "ext4"] if kind == "ext4" else []), temporary)
            temporary.rename(path)
        return path

    def packed(self, path, kind):
        """The file, compressed; kind "raw" is itself."""
        if kind == "raw":
            return path
        packed = path.with_name(f"{path.name}.{kind}")
        if not packed.exists():
            data = path.read_bytes()
            if kind == "zst":
                run("zstd", "-q", "-3", "-o", packed, path)
            else:
                packed.write_bytes({"gz": lambda: gzip.compress(data, 6, mtime=0), "bz2": lambda: bz2.compress(data),
                                    "xz": lambda: lzma.compress(data, preset=1)}[kind]())
        return packed

    @staticmethod
    def _ext4(path, size_bytes, tree=None):
        run("mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-E", "root_owner=0:0", *(["-d", tree] if tree else []), path,
            size_bytes // 1024)


def _is_static(program):
    """Whether an ELF program needs no interpreter (no PT_INTERP among its program headers)."""
    data = Path(program).read_bytes()
    offset, = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    return all(struct.unpack_from("<I", data, offset + number * size)[0] != 3 for number in range(count))


def sha256(path):
    return "sha256:" + hashlib.sha256(Path(path).read_bytes()).hexdigest()


# --- workers


class Worker:
    """tink-worker as a process in a cgroup of its own.

    flags, environment   what it is started with, besides server and id; environment replaces the usual one's entries
    before               shell commands that run before it in a mount namespace of their own ("umount /sys/fs/cgroup")
    wrap                 the words of a program that starts it ("nsenter", "--net=...")
    program              another binary than TINK_WORKER
    """

    def __init__(self, station, agent, flags=(), environment=None, umask="022", before=None, connect=True, wrap=(), program=None):
        self.station, self.agent, self.number = station, agent, next(_numbers)
        self.flags, self.environment, self.umask, self.before = list(flags), environment or {}, umask, before
        self.connect, self.wrap, self.program = connect, list(wrap), program or BINARY
        self.log_path = station.folder / f"worker-{self.number}.log"
        self.note_path = station.folder / f"reboot-{self.number}"
        self.cgroup = None
        self.process = None

    def start(self):
        if self.before and not root_is_a_mount():
            pytest.skip("in a chroot: what this test mounts for its worker could not be kept from the machine")
        if self.cgroup is None and (base := cgroup2()):
            self.cgroup = base / f"tink-test-{os.getpid()}-{self.number}"
            self.cgroup.mkdir()
        argv = [*self.wrap, str(self.program)]
        if self.connect:
            argv += ["--grpc-server", self.station.server.authority, "--grpc-tls=false", "--id", self.agent,
                     "--grpc-retry-interval", "200ms", "--backoff-max-interval", "100ms",
                     "--reboot-command", str(self._reboot_script()),
                     "--status-file", str(self.station.folder / f"status-{self.number}")]
        script = f"umask {self.umask}; ulimit -c 0\n"
        if self.cgroup:
            script += f"echo $$ > {self.cgroup}/cgroup.procs\n"
        script += f"{self.before or ''}\n" + 'exec "$@"\n'
        environment = {"PATH": os.environ["PATH"], "ASAN_OPTIONS": "handle_segv=0:detect_leaks=0", **self.environment}
        shell = [*(["unshare", "--mount"] if self.before else []), "sh", "-ec", script, "sh"]
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(shell + argv + self.flags, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=subprocess.STDOUT, env=environment, cwd=self.station.folder)
        return self

    @property
    def pid(self):
        return self.process.pid

    @property
    def log(self):
        return self.log_path.read_bytes().decode(errors="surrogateescape")

    def wait_log(self, text, timeout_s=10.0):
        eventually(lambda: text in self.log, timeout_s, f"\"{text}\" in the worker's log")

    def action_pid(self, timeout_s=10.0):
        """The process that runs the action."""
        def find():
            for pid in children_of(self.pid):
                with contextlib.suppress(OSError):
                    if b"\0child\0" in Path(f"/proc/{pid}/cmdline").read_bytes() and is_alive(pid):
                        return pid
            return None
        return eventually(find, timeout_s, "a process that runs an action")

    def others(self):
        """Living processes in the worker's cgroup, and below it, that are not the worker or waiting to reboot the machine."""
        if self.cgroup is None or not self.cgroup.exists():
            return []
        pids = [int(pid) for path in self.cgroup.rglob("cgroup.procs") for pid in path.read_text().split()]
        return [pid for pid in pids if is_alive(pid) and (self.process is None or pid != self.pid) and _is_of_an_action(pid)]

    def inner_cgroups(self):
        return [path for path in self.cgroup.rglob("*") if path.is_dir()] if self.cgroup and self.cgroup.exists() else []

    def assert_nothing_left(self):
        """Of the action that has just ended: no process, no cgroup."""
        left = self.others()
        # What the worker starts after the acknowledged end (a reboot, an action for later) shows its name only when it has been executed.
        deadline_s = time.monotonic() + 2
        while left and time.monotonic() < deadline_s:
            time.sleep(0.02)
            left = [pid for pid in left if is_alive(pid) and _is_of_an_action(pid)]
        shown = subprocess.run(["ps", "-o", "pid,stat,args", "-p", ",".join(map(str, left))], capture_output=True, text=True,
                               check=False).stdout if left else ""
        assert not left, f"processes are left: {left}\n{shown}"
        eventually(lambda: not self.inner_cgroups(), 2, "the action's cgroup being removed")

    def stop(self, signal_number=signal.SIGTERM, timeout_s=15.0):
        """Asks it to end; returns the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        return self.process.wait(timeout_s)

    def kill(self):
        """The worker alone, as a bug or a lack of memory does."""
        self.process.kill()
        return self.process.wait(10)

    def _reboot_script(self):
        """A program that notes when it was called, and for what, instead of doing it."""
        path = self.note_path.with_suffix(".sh")
        path.write_text(f'#!/bin/sh\nread up rest </proc/uptime\necho "$up $*" >> {self.note_path}\n')
        path.chmod(0o755)
        return path

    @property
    def notes(self):
        """What the machine was told to do: a list of (uptime in seconds, word)."""
        if not self.note_path.exists():
            return []
        return [(float(up), word) for up, word in (line.split(None, 1) for line in self.note_path.read_text().splitlines())]

    def wait_note(self, timeout_s=10.0):
        return eventually(lambda: self.notes, timeout_s, "a call of the reboot command")[0]

    def close(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        for _ in range(250):
            if not self.cgroup or not self.cgroup.exists():
                break
            with contextlib.suppress(OSError):
                (self.cgroup / "cgroup.kill").write_text("1")  # what lies below it too
                for path in sorted(self.inner_cgroups(), reverse=True):
                    path.rmdir()
                self.cgroup.rmdir()
            time.sleep(0.02)


class Station:
    """Server, web server, disks and workers of one test."""

    def __init__(self, folder, images, **server_options):
        self.folder, self.images = folder, images
        self.server = TinkServer(**{"long_poll_s": 20, "report_retry_s": 0.2, **server_options}).start()
        self.web = WebServer(directory=images.folder).start()
        self.disks, self.workers = [], []
        self.keeps_mounts = False

    def disk(self, content=None, size_bytes=None, read_only=False):
        """A disk with a copy of this file, or empty with size_bytes."""
        path = self.folder / f"disk-{next(_numbers)}.raw"
        if content:
            run("cp", "--sparse=always", content, path)
            if size_bytes:
                os.truncate(path, size_bytes)
        disk = Disk(path, size_bytes or path.stat().st_size, read_only)
        self.disks.append(disk)
        return disk

    def worker(self, *flags, agent=None, start=True, **options):
        """A new worker; the first one is the one that run() needs."""
        worker = Worker(self, agent or f"52:54:00:00:{len(self.workers) >> 8:02x}:{len(self.workers) + 1 & 255:02x}", flags, **options)
        self.workers.append(worker)
        return worker.start() if start else worker

    @property
    def first(self):
        return self.workers[0] if self.workers else self.worker()

    def submit(self, *actions, worker=None, **task):
        """A workflow of these actions for the (first) worker."""
        return self.server.add_actions((worker or self.first).agent, list(actions), **task)

    def run(self, *actions, worker=None, timeout_s=30.0, **task):
        """The same, to its end; returns the workflow. Nothing of its actions may be left then."""
        worker = worker or self.first
        workflow = self.submit(*actions, worker=worker, **task)
        self.finish(workflow, timeout_s, worker)
        return workflow

    def finish(self, workflow, timeout_s=30.0, worker=None):
        worker, server = worker or self.first, self.server

        def is_over():
            server.expire()
            if worker.process.poll() is not None:
                raise TimeoutError(f"the worker has ended with status {worker.process.returncode}")
            about = [report for report in server.reports if report.workflow_id == workflow.id]
            return workflow.finished and about and about[-1].code == "OK"
        try:
            server.wait(is_over, timeout_s, f"an end of workflow {workflow.name}")
        except TimeoutError as error:
            logs = "\n".join(f"--- {w.log_path.name}\n{w.log[-3000:]}" for w in self.workers)
            raise AssertionError(f"{error}\n{logs}") from None
        state = workflow.state
        worker.assert_nothing_left()
        return state

    def begun(self, workflow):
        """Waits until the (first) worker has RUNNING of the workflow's first action acknowledged, and runs it."""
        self.server.wait(lambda: [report for report in self.server.reports if report.workflow_id == workflow.id and report.code == "OK"],
                         what=f"RUNNING of workflow {workflow.name}")
        return self.first.action_pid()

    def asks_again(self, worker=None):
        """Waits until the worker has the answer to its last report, and asks for work: the way to the server may change now."""
        agent = (worker or self.first).agent

        def is_asking():
            calls = [call for call in self.server.calls if call.agent_id == agent]
            return calls and calls[-1].report is None
        self.server.wait(is_asking, what="the worker asking for work")

    def one(self, image, environment=None, worker=None, timeout_s=30.0, **fields):
        """One action to its end; returns the workflow's action (state, message)."""
        action = {"name": "it", "image": image, "timeout": 60, "environment": environment or {}, **fields}
        return self.run(action, worker=worker, timeout_s=timeout_s).action("it")

    def fails(self, image, environment, *words, state="FAILED", **fields):
        """One action that must fail with a message that holds all these words; returns the message."""
        action = self.one(image, environment, **fields)
        assert action.state == state, f"{action.state}: {action.message}"
        for word in words:
            assert str(word).lower() in action.message.lower(), f"no \"{word}\" in: {action.message}"
        return action.message

    def succeeds(self, image, environment=None, *words, **fields):
        """One action that must succeed; returns the message."""
        action = self.one(image, environment, **fields)
        assert action.state == "SUCCESS", action.message
        for word in words:
            assert str(word).lower() in action.message.lower(), f"no \"{word}\" in: {action.message}"
        return action.message

    def many(self, cases, timeout_s=60.0):
        """Actions at the same time, each with a worker of its own: a list of dicts; returns the workflows' actions."""
        while len(self.workers) < len(cases):
            self.worker()
        workflows = [self.submit({"name": "it", "timeout": 60, **case}, worker=worker)
                     for case, worker in zip(cases, self.workers)]
        for workflow, worker in zip(workflows, self.workers):
            self.finish(workflow, timeout_s, worker)
        return [workflow.action("it") for workflow in workflows]

    def cexec(self, disk, command, shell=True, **fields):
        """An action that runs a command in the root file system on a disk that is a copy of images.root()."""
        environment = {"BLOCK_DEVICE": disk.path, "FS_TYPE": "ext4", "CHROOT": "y", "CMD_LINE": command}
        if shell:
            environment["DEFAULT_INTERPRETER"] = "/bin/sh -c"
        environment.update(fields.pop("environment", {}))
        return {"name": "it", "image": "quay.io/tinkerbell/actions/cexec:latest", "timeout": 60, "environment": environment,
                **fields}

    def image2disk(self, url, disk, **environment):
        return {"name": "it", "image": "quay.io/tinkerbell/actions/image2disk:latest", "timeout": 60,
                "environment": {"IMG_URL": url, "DEST_DISK": disk.path, **environment}}

    def texts(self):
        """All that has left the workers: their logs and every message that was reported."""
        return "\n".join([worker.log for worker in self.workers] + [report.message for report in self.server.reports])

    def check(self):
        """What must hold after every test."""
        statuses = [(worker, worker.stop()) for worker in self.workers if worker.process and worker.process.poll() is None]
        assert not self.server.violations, "\n".join(["the protocol was not kept:", *self.server.violations, *self.server.lines[-40:]])
        for worker, status in statuses:
            assert status == 0, f"worker {worker.number} ended with status {status}:\n{worker.log[-2000:]}"
        for worker in self.workers:
            assert not _SANITIZER.search(worker.log), worker.log
            assert not re.search(r"kind=bug|\bbug: ", worker.log), worker.log
            worker.assert_nothing_left()
        if not self.keeps_mounts:
            for disk in self.disks:
                assert not mounts_of(disk.path), f"{disk.path} is still mounted: {mounts_of(disk.path)}"
                assert not open_by_workers(disk.path), f"{disk.path} is still open in {open_by_workers(disk.path)}"

    def close(self):
        with contextlib.ExitStack() as stack:
            for disk in self.disks:
                stack.callback(disk.close)
            stack.callback(self.web.stop)
            stack.callback(self.server.stop)
            for worker in self.workers:
                stack.callback(worker.close)


# --- fixtures: import them where they are used


def _why_not():
    if os.geteuid() != 0:
        return "needs root: it mounts, and attaches loop devices"
    if not os.path.exists("/dev/loop-control"):
        return "needs loop devices: /dev/loop-control is not there (modprobe loop)"
    return None


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    return Images(tmp_path_factory.mktemp("images"))


@pytest.fixture
def make_station(folder, images, request):
    """A function that makes a Station with options of the server; all are checked and closed at the end."""
    if why := _why_not():
        pytest.skip(why)
    if not BINARY.exists():
        pytest.fail(f"{BINARY} is not there: build it (see CONTRIBUTING.md), or set TINK_WORKER", pytrace=False)
    made = []

    def make(**options):
        made.append(Station(folder, images, **options))
        return made[-1]
    yield make
    try:
        report = getattr(request.node, "report_call", None)
        if report is not None and report.passed:
            for station in made:
                station.check()
        elif report is not None and report.failed:
            for station in made:
                print("\n".join(station.server.lines[-60:]))
                for worker in station.workers:
                    print(f"--- {worker.log_path.name}\n{worker.log[-4000:]}")
    finally:
        for station in made:
            station.close()


@pytest.fixture
def station(make_station):
    return make_station()
