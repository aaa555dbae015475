#!/usr/bin/python3
"""A machine: QEMU with firmware, disks, network cards with their iPXE ROM, serial ports, screen.

Needs no privilege: the network is QEMU's user network, which answers DHCP and hands out the boot
file's URL; services on this host's loopback are 10.0.2.2 for the machine. Knows nothing of the
server or the worker. Run as a program it boots a machine by hand: see --help.
"""

import argparse
import codecs
import ctypes
import dataclasses
import functools
import json
import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

QEMU = "qemu-system-x86_64"
OVMF_CODE = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
OVMF_VARS = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
HOST = "10.0.2.2"  # this host's loopback, as the machine sees it
PACKAGES = "run initramfs/install-packages qemu"

ESCAPES = re.compile(r"\x1b(?:\[[0-9;?=]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][0-9A-B]|[=>78cDEHMNOZ])")
ESCAPE_CUT_SHORT = re.compile(r"\x1b(?:\[[0-9;?=]*[ -/]*|\][^\x07]{0,200}|[()])?$")


class MachineError(Exception):
    """Something the machine was to do did not happen; the text says what, and what was seen."""


@dataclasses.dataclass
class Disk:
    """A disk backed by a sparse raw file, made with `size_bytes` if it does not exist.

    bus: virtio, nvme, scsi or ahci. bootindex: place in the firmware's boot order, or None.
    sector_bytes: what the disk says its logical and physical sectors are.
    nodes: QEMU block nodes (values of -blockdev, each a dict), the last of which the disk is made of
    instead of the plain file: for disks that fail, or are watched.
    removable: Machine.unplug() can take it out.
    """

    path: Path
    size_bytes: int = 4 << 30
    bus: str = "virtio"
    serial: str = ""
    bootindex: int = None
    read_only: bool = False
    sector_bytes: int = 512
    nodes: list = dataclasses.field(default_factory=list)
    removable: bool = False

    def create(self):
        if not Path(self.path).exists():
            with open(self.path, "wb") as file:
                file.truncate(self.size_bytes)

    def read(self, offset_bytes, size_bytes):
        with open(self.path, "rb") as file:
            file.seek(offset_bytes)
            return file.read(size_bytes)

    def allocated_bytes(self):
        return os.stat(self.path).st_blocks * 512


@dataclasses.dataclass
class Nic:
    """A network card on a user network of its own, or on a tap device.

    bootfile: what DHCP names as boot file; iPXE takes a URL. tftp: a folder served by TFTP.
    model: a QEMU device with an iPXE ROM (virtio-net-pci, e1000, e1000e, rtl8139 …).
    tap: name of a tap device (see Machine's `within`) instead of the user network.
    """

    mac: str = "52:54:00:77:00:0a"
    bootfile: str = ""
    tftp: Path = None
    bootindex: int = None
    model: str = "virtio-net-pci"
    link: bool = True
    tap: str = ""


class Console:
    """One serial port: everything it said, as text without escape sequences, and a way to type."""

    def __init__(self, machine, name, sock, log_path):
        self.machine = machine
        self.name = name
        self.text = ""
        self._sock = sock
        self._log = open(log_path, "wb", buffering=0)
        self._changed = threading.Condition()
        self._commands = 0
        self._closed = False
        self._thread = threading.Thread(target=self._read, name=name, daemon=True)
        self._thread.start()

    def _read(self):
        pending = ""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while True:
            data = self._receive()
            if data:
                self._log.write(data)
            pending += decoder.decode(data)
            cut = ESCAPE_CUT_SHORT.search(pending) if data else None
            ready, pending = (pending[: cut.start()], pending[cut.start() :]) if cut else (pending, "")
            with self._changed:
                self.text += ESCAPES.sub("", ready).replace("\r", "")
                self._closed = not data
                self._changed.notify_all()
            if not data:
                self._log.close()
                return

    def _receive(self):
        """What comes within a moment; empty at the end. QEMU sends single bytes, and each would wake the waiters."""
        data = b""
        until = None
        while until is None or (left := until - time.monotonic()) > 0:
            if until is not None and not select.select([self._sock], [], [], left)[0]:
                break
            try:
                more = self._sock.recv(65536)
            except OSError:
                break
            if not more:
                break
            data += more
            until = until or time.monotonic() + 0.05
        return data

    def mark(self):
        """The present end of the text: what comes after it is new."""
        with self._changed:
            return len(self.text)

    def last_line(self, start=0):
        # Not splitlines(): a form feed from firmware is no line.
        lines = [line.strip() for line in self.text[start:][-2000:].split("\n")]
        return next((line for line in reversed(lines) if line), "")

    def tail(self, lines=15):
        return "\n".join(f"    {self.name}| {line}" for line in self.text.split("\n")[-lines:])

    def write(self, text):
        self._sock.sendall(text.encode())

    def wait_for(self, pattern, timeout_s, start=0, what=None, tick=None):
        """Waits until `pattern` matches the text after `start` and returns the match.

        what: for messages, what is waited for. tick(): called about once a second, may raise.
        Says every few seconds what the console showed last.
        """
        regex = re.compile(pattern, re.MULTILINE)
        what = what or f"/{pattern}/ on {self.name}"
        began = time.monotonic()
        while True:
            with self._changed:
                match = regex.search(self.text, start)
                if match:
                    return match
                if not self._closed:
                    self._changed.wait(timeout=1)
            now = time.monotonic()
            if tick:
                tick()
            if self._closed or not self.machine.is_alive():
                match = regex.search(self.text, start)
                if match:
                    return match
                raise MachineError(f"the machine ended while waiting for {what}\n{self.machine.report()}")
            if now - began > timeout_s:
                raise MachineError(f"no {what} after {timeout_s:.0f} s\n{self.machine.report()}")
            self.machine.heartbeat(lambda: f"{self.name}: {self.last_line(start)[:90] or '(nothing yet)'}")

    def login(self, timeout_s=120, user="root", start=0):
        """Waits for the login prompt after `start`, logs in without a password, quiets the shell."""
        prompt = self.wait_for(r"login: *$", timeout_s, start, what=f"login prompt on {self.name}")
        self.write(user + "\n")
        shell = self.wait_for(r"[#$] $", 60, prompt.end(), what="shell prompt after login")
        self.write("stty -echo cols 500; dmesg -n 1 2>/dev/null; PS1=; PS2=\n")
        self.run("true", start=shell.end())

    def run(self, command, timeout_s=60, start=None, check=True):
        """Runs a line in the shell at the other end; returns its output (stdout and stderr)."""
        self._commands += 1
        tag = f"{os.getpid()}-{self._commands}"
        start = self.mark() if start is None else start
        # The markers are put together by the shell, so that an echo of the line is no answer.
        self.write(f"printf '\\n%s-%s\\n' BEGIN {tag}; {{ {command}\n}} 2>&1; printf '\\n%s-%s:%s\\n' END {tag} $?\n")
        match = self.wait_for(
            rf"^BEGIN-{tag}\n((?:.|\n)*?)\n?^END-{tag}:(\d+)$", timeout_s, start, what=f"end of `{command}`"
        )
        output, status = match.group(1), int(match.group(2))
        if check and status:
            raise MachineError(f"`{command}` ended with {status}: {output.strip()}")
        return output


class Qmp:
    """The machine's own control channel (QEMU Machine Protocol)."""

    def __init__(self, sock):
        self.events = []
        self._sock = sock
        self._answers = {}
        self._next_id = 0
        self._closed = False
        self._changed = threading.Condition()
        threading.Thread(target=self._read, name="qmp", daemon=True).start()
        self.execute("qmp_capabilities")

    def _read(self):
        try:
            with self._sock.makefile("r", encoding="utf-8") as lines:
                for line in lines:
                    message = json.loads(line)
                    with self._changed:
                        if "event" in message:
                            self.events.append(message)
                        elif "id" in message:
                            self._answers[message["id"]] = message
                        self._changed.notify_all()
        except (OSError, ValueError):
            pass
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def execute(self, command, timeout_s=30, **arguments):
        with self._changed:
            self._next_id += 1
            ident = self._next_id
        message = {"execute": command, "arguments": arguments, "id": ident}
        try:
            self._sock.sendall(json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise MachineError(f"QMP {command}: the machine is gone ({error})") from error
        with self._changed:
            if not self._changed.wait_for(lambda: ident in self._answers or self._closed, timeout_s):
                raise MachineError(f"QMP {command}: no answer within {timeout_s} s")
            answer = self._answers.pop(ident, None)
        if answer is None:
            raise MachineError(f"QMP {command}: the machine is gone")
        if "error" in answer:
            raise MachineError(f"QMP {command}: {answer['error']['desc']}")
        return answer["return"]

    def count(self, event):
        with self._changed:
            return sum(1 for e in self.events if e["event"] == event)

    def wait_event(self, event, timeout_s, seen=0):
        """Waits until `event` was seen more than `seen` times."""
        with self._changed:
            if not self._changed.wait_for(
                lambda: self._closed or sum(1 for e in self.events if e["event"] == event) > seen, timeout_s
            ):
                raise MachineError(f"no {event} after {timeout_s:.0f} s")

    def close(self):
        self._sock.close()


@functools.lru_cache(maxsize=None)
def accelerator():
    """"kvm" where /dev/kvm really runs a processor, else "tcg"; TINK_WORKER_ACCEL decides instead."""
    forced = os.environ.get("TINK_WORKER_ACCEL")
    if forced in ("kvm", "tcg"):
        return forced
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    # A kvm device can be there and not work: let the firmware say something under it.
    probe = [QEMU, "-accel", "kvm", "-cpu", "host", "-nodefaults", "-display", "none", "-m", "64", "-debugcon", "stdio"]
    try:
        with subprocess.Popen(probe, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as qemu:
            killer = threading.Timer(3, qemu.kill)
            killer.start()
            said = qemu.stdout.read(64)
            killer.cancel()
            qemu.kill()
    except OSError:
        return "tcg"
    return "kvm" if said else "tcg"


def _die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class Machine:
    """One machine; a context manager: leaving it ends the machine, whatever happened.

    folder        where logs (ttyS0.log, ttyS1.log, qemu.log) and firmware variables go; is made
    firmware      "uefi" or "bios"
    disks, nics   lists of Disk and Nic; their bootindex is the boot order
    kernel, initrd, append   boot these directly instead of by firmware
    smbios        list of QEMU's -smbios values; rtc: value of -rtc; extra: further arguments
    on_reboot     "reset", or "shutdown" to let the machine end instead
    within        a command that runs QEMU elsewhere, in a network namespace say (["nsenter", …])
    say(text)     called with progress lines
    """

    say_every_s = 6

    def __init__(
        self,
        folder,
        firmware="uefi",
        memory_mb=1024,
        cpus=2,
        disks=(),
        nics=(),
        serial_ports=2,
        kernel=None,
        initrd=None,
        append="",
        smbios=(),
        rtc="base=utc",
        on_reboot="reset",
        extra=(),
        within=(),
        say=None,
    ):
        self.folder = Path(folder)
        self.firmware = firmware
        self.memory_mb = memory_mb
        self.cpus = cpus
        self.disks = list(disks)
        self.nics = list(nics)
        self.serial_ports = serial_ports
        self.kernel, self.initrd, self.append = kernel, initrd, append
        self.smbios = smbios
        self.rtc = rtc
        self.on_reboot = on_reboot
        self.extra = list(extra)
        self.within = list(within)
        self.say = say or (lambda text: print(text, file=sys.stderr, flush=True))
        self.spoke = time.monotonic()
        self.consoles = []
        self.qmp = None
        self.process = None

    # --- what QEMU is told ---

    def arguments(self):
        kvm = accelerator() == "kvm"
        args = [*self.within, QEMU, "-name", "tink-worker-test", "-machine", "q35", "-accel", accelerator()]
        args += ["-cpu", "host"] if kvm else []
        args += ["-m", str(self.memory_mb), "-smp", str(self.cpus), "-nodefaults", "-no-user-config"]
        args += ["-display", "none", "-vga", "std", "-rtc", self.rtc]
        args += ["-action", f"reboot={self.on_reboot}"]
        if self.firmware == "uefi":
            args += ["-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={OVMF_CODE}"]
            args += ["-drive", f"if=pflash,format=raw,unit=1,file={self.folder / 'vars.fd'}"]
        for number, disk in enumerate(self.disks):
            args += self._disk_arguments(number, disk)
        for number, nic in enumerate(self.nics):
            args += self._nic_arguments(number, nic)
        for value in self.smbios:
            args += ["-smbios", value]
        if self.kernel:
            args += ["-kernel", str(self.kernel), "-append", self.append]
            args += ["-initrd", str(self.initrd)] if self.initrd else []
        return args + self.extra

    @staticmethod
    def _disk_arguments(number, disk):
        # The host's page cache outlives QEMU; holes stay holes.
        drive = f"id=drive{number},if=none,format=raw,file={str(disk.path).replace(',', ',,')}"
        drive += ",cache=unsafe,discard=unmap"
        drive += ",readonly=on" if disk.read_only else ",detect-zeroes=unmap"
        device = {"virtio": "virtio-blk-pci", "nvme": "nvme", "scsi": "scsi-hd", "ahci": "ide-hd"}[disk.bus]
        serial = disk.serial or (f"disk{number}" if disk.bus == "nvme" else "")
        device += f",id=disk{number},drive=drive{number}"
        device += f",serial={serial}" if serial else ""
        device += f",bootindex={disk.bootindex}" if disk.bootindex is not None else ""
        args = ["-drive", drive]
        if disk.nodes:
            args = [word for node in disk.nodes for word in ("-blockdev", json.dumps(node))]
            device = device.replace(f"drive=drive{number}", f"drive={disk.nodes[-1]['node-name']}")
            device += "" if disk.bus == "nvme" else ",werror=report,rerror=report"  # a full disk would stop the machine
        if disk.sector_bytes != 512:
            device += f",logical_block_size={disk.sector_bytes},physical_block_size={disk.sector_bytes}"
        if disk.bus == "scsi":
            args += ["-device", f"virtio-scsi-pci,id=hba{number}"]
            device += f",bus=hba{number}.0"
        elif disk.bus == "ahci":
            device += f",bus=ide.{number}"
        elif disk.removable:  # what sits in the chipset's own slots stays there
            args += ["-device", f"pcie-root-port,id=port{number},chassis={number + 1}"]
            device += f",bus=port{number}"
        return args + ["-device", device]

    @staticmethod
    def _nic_arguments(number, nic):
        net = f"user,id=net{number}"
        if nic.tap:
            net = f"tap,id=net{number},ifname={nic.tap},script=no,downscript=no"
        net += f",bootfile={nic.bootfile}" if nic.bootfile else ""
        net += f",tftp={nic.tftp}" if nic.tftp else ""
        device = f"{nic.model},id=nic{number},netdev=net{number},mac={nic.mac}"
        device += f",bootindex={nic.bootindex}" if nic.bootindex is not None else ""
        return ["-netdev", net, "-device", device]

    # --- life ---

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        if not shutil.which(QEMU):
            raise MachineError(f"{QEMU} is not there: {PACKAGES}")
        if any(nic.bootindex is not None for nic in self.nics) and not Path("/usr/lib/ipxe/qemu").exists():
            raise MachineError(f"the network cards' iPXE ROMs are not there: {PACKAGES}")
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.firmware == "uefi":
            if not OVMF_CODE.exists():
                raise MachineError(f"{OVMF_CODE} is not there: {PACKAGES}")
            shutil.copyfile(OVMF_VARS, self.folder / "vars.fd")
        for disk in self.disks:
            disk.create()

        # Connected pairs instead of socket files: no names, no races, nothing the ports said is lost.
        names = [f"ttyS{n}" for n in range(self.serial_ports)] + ["qmp"]
        pairs = {name: socket.socketpair() for name in names}
        args = self.arguments()
        for name, (_, theirs) in pairs.items():
            args += ["-chardev", f"socket,id={name},fd={theirs.fileno()}"]
            args += ["-mon", "chardev=qmp,mode=control"] if name == "qmp" else ["-serial", f"chardev:{name}"]
        with open(self.folder / "qemu.log", "wb") as log:
            log.write((" ".join(args) + "\n").encode())
            log.flush()
            self.process = subprocess.Popen(
                args,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[theirs.fileno() for _, theirs in pairs.values()],
                preexec_fn=_die_with_parent,
                start_new_session=True,  # a Ctrl-C reaches only us, and we end it in order
            )
        for _, theirs in pairs.values():
            theirs.close()
        try:
            for name in names[:-1]:
                self.consoles.append(Console(self, name, pairs[name][0], self.folder / f"{name}.log"))
            self.qmp = Qmp(pairs["qmp"][0])
        except BaseException as error:
            self.stop()
            if isinstance(error, MachineError):
                raise MachineError(f"QEMU did not start: {self._qemu_log()}") from error
            raise

    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def stop(self):
        """Ends the machine at once, as if the power were cut."""
        if self.is_alive():
            self.process.kill()
        if self.process:
            self.process.wait()
        for console in self.consoles:
            console._thread.join(timeout=5)
        if self.qmp:
            self.qmp.close()

    def quit(self):
        """Ends QEMU in order: what its block nodes hold back is written."""
        try:
            self.qmp.execute("quit")
        except MachineError:
            pass  # it may be gone before it has answered
        self.wait_end(30)
        self.stop()

    def wait_end(self, timeout_s):
        """Waits until the machine has ended by itself (power off, or reboot with on_reboot=shutdown)."""
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise MachineError(f"the machine is still on after {timeout_s} s\n{self.report()}") from error

    def _qemu_log(self):
        text = (self.folder / "qemu.log").read_text(errors="replace")
        return "\n".join(text.split("\n")[1:]).strip() or "(it said nothing)"

    def report(self):
        """The consoles' last lines, for an error message."""
        parts, told = [], []
        for console in self.consoles:
            lines = console.text.strip().split("\n")[-5:]
            if lines != [""] and lines not in told:  # the worker says the same on every port
                parts.append(console.tail())
                told.append(lines)
        if not self.is_alive():
            parts.append(f"    QEMU ended with {self.process.returncode}: {self._qemu_log()}")
        return "\n".join(parts + [f"    logs: {self.folder}"])

    def heartbeat(self, text):
        """Says text(), if it was silent for a while: whoever waits calls this about once a second."""
        now = time.monotonic()
        if now - self.spoke >= self.say_every_s:
            self.spoke = now
            self.say(text())

    # --- what one does with a machine ---

    @property
    def ttyS0(self):
        return self.consoles[0]

    @property
    def ttyS1(self):
        return self.consoles[1]

    def resets(self):
        """How often the machine was reset so far."""
        return self.qmp.count("RESET")

    def screen(self, path):
        """Writes a picture of the screen as PNG."""
        path = Path(path).absolute()
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        self.qmp.execute("screendump", filename=str(partial))
        partial.write_bytes(png_of_ppm(partial.read_bytes()))
        os.replace(partial, path)
        return path

    def reset(self):
        self.qmp.execute("system_reset")

    def power_button(self):
        self.qmp.execute("system_powerdown")

    def pause(self):
        self.qmp.execute("stop")

    def resume(self):
        self.qmp.execute("cont")

    def set_link(self, up, nic=0):
        self.qmp.execute("set_link", name=f"nic{nic}", up=up)

    def unplug(self, number, timeout_s=30):
        """Takes a disk out (see Disk.removable) and waits until it is gone."""
        seen = self.qmp.count("DEVICE_DELETED")
        self.qmp.execute("device_del", id=f"disk{number}")
        self.qmp.wait_event("DEVICE_DELETED", timeout_s, seen)

    def block_stats(self):
        """Bytes read and written per disk, by its number."""
        found = {}
        for entry in self.qmp.execute("query-blockstats"):
            number = entry.get("device", "").removeprefix("drive")
            if number.isdigit():
                found[int(number)] = {"read": entry["stats"]["rd_bytes"], "written": entry["stats"]["wr_bytes"]}
        return found


def png_of_ppm(ppm):
    """A PNG of a PPM: with a palette where there are few colours, as on a text screen, so that it is small."""
    width, height, pixels = re.match(rb"P6\s+(\d+)\s+(\d+)\s+255\s(.*)", ppm, re.S).groups()
    width, height = int(width), int(height)
    cells = [pixels[at : at + 3] for at in range(0, width * height * 3, 3)]
    palette = {colour: index for index, colour in enumerate(sorted(set(cells)))}
    chunks = []
    if len(palette) > 16 or width % 2:
        depth, kind = 8, 2
        rows = [pixels[at : at + width * 3] for at in range(0, width * height * 3, width * 3)]
    else:
        depth, kind = 4, 3
        chunks.append((b"PLTE", b"".join(palette)))
        nibbles = [palette[cell] for cell in cells]
        packed = bytes(high << 4 | low for high, low in zip(nibbles[::2], nibbles[1::2]))
        rows = [packed[at : at + width // 2] for at in range(0, len(packed), width // 2)]
    chunks.insert(0, (b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)))
    chunks.append((b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows), 9)))
    chunks.append((b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def png_size(path):
    """Width and height of a PNG file, to tell that a picture is one."""
    with open(path, "rb") as file:
        head = file.read(24)
    if head[:8] != b"\x89PNG\r\n\x1a\n":
        raise MachineError(f"{path} is no PNG")
    return struct.unpack(">II", head[16:24])


def main():
    parser = argparse.ArgumentParser(
        description="Boots a machine by hand, its first serial port on this terminal (end: Ctrl-a x)."
    )
    parser.add_argument("--bios", action="store_true", help="SeaBIOS instead of UEFI")
    parser.add_argument("--memory", type=int, default=1024, metavar="MB")
    parser.add_argument("--disk", action="append", default=[], metavar="FILE", help="raw disk, made with 4 GiB if missing")
    parser.add_argument("--bus", default="virtio", choices=["virtio", "nvme", "scsi", "ahci"])
    parser.add_argument("--kernel", metavar="FILE", help="boot this kernel directly")
    parser.add_argument("--initrd", metavar="FILE")
    parser.add_argument("--append", default="console=ttyS0,115200", metavar="LINE", help="its command line")
    parser.add_argument("--bootfile", default="", metavar="URL", help="netboot this by the card's iPXE ROM")
    options = parser.parse_args()

    import tempfile

    with tempfile.TemporaryDirectory(prefix="machine-") as folder:
        machine = Machine(
            folder,
            firmware="bios" if options.bios else "uefi",
            memory_mb=options.memory,
            disks=[Disk(path, bus=options.bus, bootindex=n) for n, path in enumerate(options.disk)],
            nics=[Nic(bootfile=options.bootfile, bootindex=len(options.disk) if options.bootfile else None)],
            kernel=options.kernel,
            initrd=options.initrd,
            append=options.append,
        )
        if machine.firmware == "uefi":
            shutil.copyfile(OVMF_VARS, machine.folder / "vars.fd")
        for disk in machine.disks:
            disk.create()
        return subprocess.call(machine.arguments() + ["-serial", "mon:stdio"])


if __name__ == "__main__":
    sys.exit(main())
