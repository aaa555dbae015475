"""What the benchmark runs on: a web server, disks, and programs that are watched while they run."""

import contextlib
import ctypes
import itertools
import json
import mmap
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from images import MIB, extents, run

_FALLOC_KEEP_SIZE, _FALLOC_PUNCH_HOLE = 1, 2
_TICKS = os.sysconf("SC_CLK_TCK")


class Failure(Exception):
    """A program that did not do what it is measured for."""


def others_cpu_s():
    """Processor seconds so far of the kernel's threads (they write for the loop devices) and of the web server, by process."""
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError):
            head, _, tail = Path(f"/proc/{name}/stat").read_text().rpartition(")")
            words = tail.split()
            if int(words[1]) == 2 or head.endswith("(nginx"):
                found[name] = (int(words[11]) + int(words[12])) / _TICKS
    return found


def cpu_since(before):
    """Processor seconds of these since then; a thread that is new counts whole."""
    return sum(now - before.get(name, 0.0) for name, now in others_cpu_s().items())


def measured(argv, environment=None, timeout_s=600, log=None):
    """Runs a program to its end: seconds, processor seconds (its own with its children, and with what the kernel's threads and
    the web server did meanwhile), largest memory of a single process. A shell's pipeline counts whole: the shell waits for its parts."""
    with tempfile.TemporaryFile() as output:
        before, started_s = others_cpu_s(), time.monotonic()
        process = subprocess.Popen([str(word) for word in argv], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                   env={**os.environ, **(environment or {})}, start_new_session=True)
        timer = threading.Timer(timeout_s, lambda: os.killpg(process.pid, signal.SIGKILL))
        timer.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        finally:
            timer.cancel()
        seconds = time.monotonic() - started_s
        others_s = cpu_since(before)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        said = output.read().decode(errors="replace")
    if log:
        print(f"$ {' '.join(map(str, argv))}\n{said}", file=log, flush=True)
    if process.returncode:
        raise Failure(f"{' '.join(map(str, argv))}: status {process.returncode}: {said[-2000:]}")
    own_s = usage.ru_utime + usage.ru_stime
    return {"seconds": seconds, "cpu_s": own_s, "machine_cpu_s": own_s + others_s, "memory_kib": usage.ru_maxrss}


def shell(line, **options):
    """A pipeline as people type it; it fails when a part fails."""
    return measured(["bash", "-c", f"set -o pipefail; {line}"], **options)


# --- the web server -----------------------------------------------------------------------------


class Web:
    """nginx on loopback, with sendfile, for the files of one folder; a configuration and a place of its own."""

    def __init__(self, root):
        self.folder = Path(tempfile.mkdtemp(prefix="bench-nginx-"))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
        paths = "".join(f"{kind}_temp_path {self.folder}/{kind};\n"
                        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        config = self.folder / "nginx.conf"
        config.write_text(f"daemon off; user root; worker_processes 1; pid {self.folder}/pid;\n"
                          f"error_log {self.folder}/error.log;\nevents {{ worker_connections 64; }}\n"
                          f"http {{ access_log off; sendfile on; tcp_nopush on; {paths}"
                          f"server {{ listen 127.0.0.1:{self.port}; root {root}; }} }}\n")
        self.process = subprocess.Popen(["nginx", "-p", self.folder, "-e", self.folder / "error.log", "-c", config])
        deadline_s = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            if self.process.poll() is not None or time.monotonic() > deadline_s:
                raise Failure(f"nginx does not answer: {(self.folder / 'error.log').read_text()}")
            time.sleep(0.05)

    def url(self, path):
        return f"http://127.0.0.1:{self.port}/{Path(path).name}"

    def close(self):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.folder)


# --- disks --------------------------------------------------------------------------------------


class Target:
    """A loop device on a file, in memory or on the disk, which was in use before: every byte of it is something else than zero.

    kind   "tmpfs": on a tmpfs of its own; "disk": in the folder
    """

    def __init__(self, kind, size_bytes, folder):
        self.kind, self.size_bytes = kind, size_bytes
        self.folder = Path(tempfile.mkdtemp(prefix=".target-", dir=folder))
        self.file = self.folder / "disk"
        self.device = None
        try:
            if kind == "tmpfs":
                run("mount", "-t", "tmpfs", "-o", f"size={size_bytes + 16 * MIB},mode=700", "bench", self.folder)
            self.fill()
            attach = ["losetup", "--find", "--show", "--partscan"]
            try:
                self.device = run(*attach, "--direct-io=on", self.file)
            except RuntimeError:
                self.device = run(*attach, self.file)
        except BaseException:
            self.close()
            raise
        name = os.path.basename(self.device)
        self.direct = Path(f"/sys/block/{name}/loop/dio").read_text().strip() == "1"

    def fill(self):
        """Makes it a disk that is full of somebody's data."""
        piece = os.urandom(MIB)
        with open(self.file, "r+b" if self.file.exists() else "w+b", buffering=0) as file:
            for offset in range(0, self.size_bytes, MIB):
                file.write(piece[:self.size_bytes - offset])
            os.fsync(file.fileno())
        if self.device:
            # The partitions of the image before are gone from the kernel, too.
            subprocess.run(["blockdev", "--rereadpt", self.device], stderr=subprocess.DEVNULL, check=False)
            run("blockdev", "--flushbufs", self.device)

    def check(self, raw):
        """Compares the file below the device with the raw image: what is not flushed does not count."""
        done = subprocess.run(["cmp", self.file, raw], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            raise Failure(f"the disk is not the image: {done.stdout.decode(errors='replace').strip()}")

    def close(self):
        if self.device:
            run("losetup", "-d", self.device)
            self.device = None
        if self.kind == "tmpfs" and os.path.ismount(self.folder):
            run("umount", self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)


def write_alone(target, raw, clear=True):
    """The write stage alone: what is not zero of an image written past the page cache in pieces of 1 MiB by several threads,
    the rest cleared by the device in large pieces. The bytes come from a small buffer: nothing is read or looked at. A process
    of its own does it, this file as a program: its memory must not count as that of programs started later."""
    done = subprocess.run([sys.executable, "-B", __file__, target.device, str(target.size_bytes), raw, "clear" if clear else "keep"],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, text=True)
    if done.returncode:
        raise Failure(f"the write stage alone: {done.stdout}")
    return json.loads(done.stdout)


def _write(device, size_bytes, raw, clear, threads=4):
    jobs, end = [], 0
    for offset, size in extents(raw) + [[size_bytes, 0]]:
        if clear:
            jobs += [(at, min(64 * MIB, offset - at), False) for at in range(end, offset, 64 * MIB)]
        jobs += [(at, min(MIB, offset + size - at), True) for at in range(offset, offset + size, MIB)]
        end = offset + size
    work, lock, failures = iter(jobs), threading.Lock(), []
    fallocate = _fallocate()
    buffers = [mmap.mmap(-1, 16 * MIB) for _ in range(threads)]
    for buffer in buffers:
        buffer.write(os.urandom(MIB) * 16)
    fd = os.open(device, os.O_WRONLY | os.O_EXCL | os.O_DIRECT)

    def one(buffer):
        view = memoryview(buffer)
        try:
            for turn in itertools.count():
                with lock:
                    job = next(work, None)
                if job is None:
                    return
                offset, size, data = job
                if data:
                    place = turn % 16 * MIB
                    if os.pwrite(fd, view[place:place + size], offset) != size:
                        raise OSError(f"short write at {offset}")
                else:
                    fallocate(fd, offset, size)
        except OSError as error:
            failures.append(error)

    usage = resource.getrusage(resource.RUSAGE_SELF)
    before, started_s = others_cpu_s(), time.monotonic()
    workers = [threading.Thread(target=one, args=(buffer,)) for buffer in buffers]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    os.fsync(fd)
    seconds, others_s = time.monotonic() - started_s, cpu_since(before)
    after = resource.getrusage(resource.RUSAGE_SELF)
    os.close(fd)
    if failures:
        raise failures[0]
    own_s = after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime
    return {"seconds": seconds, "cpu_s": own_s, "machine_cpu_s": own_s + others_s, "memory_kib": after.ru_maxrss}


def _fallocate():
    libc = ctypes.CDLL(None, use_errno=True)
    libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)

    def punch(fd, offset, size):
        if libc.fallocate(fd, _FALLOC_KEEP_SIZE | _FALLOC_PUNCH_HOLE, offset, size):
            raise OSError(ctypes.get_errno(), "fallocate")
    return punch


def warm(path):
    """Brings a file into the page cache, as a server that serves it often has it."""
    with open(path, "rb", buffering=0) as file:
        buffer = bytearray(4 * MIB)
        while file.readinto(buffer):
            pass


def memory_available_bytes():
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return sys.maxsize


if __name__ == "__main__":
    print(json.dumps(_write(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4] == "clear")))
