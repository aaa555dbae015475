"""The status page on a machine's consoles: one machine with a screen and two serial ports, a terminal at one of them.

ttyS1 is also the kernel's console. A terminal is an emulator (pyte) that answers as a real one does; at ttyS0 nobody answers.
"""

import re
import struct
import threading
import time

import pyte
import pytest

from lab import MAC, Lab
from machine import Disk, MachineError
from worker import eventually

MACHINES = True  # tests/run: needs the initramfs, and boots machines
MIB = 1 << 20


class Terminal:
    """Somebody with a terminal program at a serial port: sees all it says from now on, and answers when asked."""

    def __init__(self, console, log_path, rows=24, columns=80, utf8=True):
        self.bytes = 0
        self.screen = pyte.Screen(columns, rows)
        self.screen.write_process_input = console.write
        self.console = console
        self._stream = pyte.ByteStream(self.screen)
        if not utf8:
            self._stream.select_other_charset("@")
        self._path, self._at = log_path, log_path.stat().st_size
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        while not self._end.wait(0.05):
            with open(self._path, "rb") as log:
                log.seek(self._at)
                data = log.read()
            self._at += len(data)
            self.bytes += len(data)
            with self._lock:
                self._stream.feed(data)

    def hang_up(self):
        self._end.set()
        self._thread.join()

    @property
    def lines(self):
        with self._lock:
            return [line.rstrip() for line in self.screen.display]

    @property
    def text(self):
        return "\n".join(self.lines)

    def wait_for(self, pattern, timeout_s=30, what=None):
        """Waits until the pattern is seen; returns the match."""
        try:
            return eventually(lambda: re.search(pattern, self.text, re.MULTILINE), timeout_s)
        except TimeoutError:
            raise MachineError(f"no {what or pattern} after {timeout_s} s; the terminal shows:\n{self.text}") from None

    def wait_for_page(self, timeout_s=30):
        self.wait_for(r"\A tink-worker \d(?:.|\n)*^ Enter: root shell.*\Z", timeout_s, "status page")


class Picture:
    """A dump of the machine's screen."""

    def __init__(self, machine, path):
        machine.qmp.execute("screendump", filename=str(path))
        data = path.read_bytes()
        kind, self.width, self.height, most, self.pixels = re.match(rb"(P6)\s+(\d+)\s+(\d+)\s+(\d+)\s(.*)", data, re.S).groups()
        assert (kind, most) == (b"P6", b"255")
        self.width, self.height = int(self.width), int(self.height)

    def blue(self, top, height):
        """How much of a strip is blue, as the bars at the edges are."""
        strip = self.pixels[top * self.width * 3:(top + height) * self.width * 3]
        pixels = struct.iter_unpack("3B", strip)
        return sum(1 for red, green, blue in pixels if blue > 100 and red + green < 50) / (self.width * height)

    @property
    def lit(self):
        """How much is not black."""
        return 1 - self.pixels.count(b"\0\0\0") / (self.width * self.height)

    @property
    def is_page(self):
        """Bars at the upper and the lower edge, something else between."""
        return self.blue(0, 16) > 0.5 and self.blue(self.height - 16, 16) > 0.5 and self.blue(self.height // 2 - 50, 100) == 0


def wait_picture(machine, path, is_page, timeout_s=20):
    def look():
        picture = Picture(machine, path)
        return picture if picture.is_page == is_page else None

    return eventually(look, timeout_s, "the page on the screen" if is_page else "the screen without the page")


def type_keys(machine, text):
    names = {"\n": "ret", " ": "spc"}
    for key in text:
        machine.qmp.execute("send-key", keys=[{"type": "qcode", "data": names.get(key, key)}])
        time.sleep(0.1)


def actions(lab):
    image2disk = "quay.io/tinkerbell/actions/image2disk:latest"
    return [
        {"name": "stream-image", "image": image2disk, "timeout": 120,
         "environment": {"IMG_URL": f"http://{lab.address}/images/slow.raw", "DEST_DISK": "/dev/vda"}},
        {"name": "hostile-\033[2J\u202ename", "image": image2disk, "timeout": 60,
         "environment": {"IMG_URL": f"http://{lab.address}/images/no-such-image-on-this-server.raw", "DEST_DISK": "/dev/vda"}},
    ]  # fmt: skip


@pytest.fixture
def slow_lab(folder):
    image = folder / "slow.raw"
    image.write_bytes(b"\x55" * (8 * MIB))
    with Lab(folder, images={"slow.raw": image}) as made:
        made.web.fault("slow", "/images/slow.raw", rate=700_000)
        yield made


def see_progress(terminal, machine, folder):
    """The page while the image is written: everything is there, it moves, and little is sent for it."""
    terminal.wait_for(r"^ RUNNING  stream-image", 90)
    terminal.wait_for_page()
    terminal.wait_for(r"^ Machine   Tinker Model 9, serial SN12345")
    terminal.wait_for(r"^ Network   eth0 +link up.* 10\.0\.2\.15/24")
    terminal.wait_for(r"^ Server    10\.0\.2\.2:\d+  answers$")
    terminal.wait_for(r"^ Workflow  \S+/screen$")
    bar = r"^ +writing  [█▌░]{20} +(\d+)%  [\d.]+ MiB  [\d.]+ [KM]iB/s"
    first = int(terminal.wait_for(bar).group(1))
    picture = wait_picture(machine, folder / "running.ppm", True)
    bytes_before, began = terminal.bytes, time.monotonic()
    later = eventually(lambda: (match := re.search(bar, terminal.text, re.M)) and int(match.group(1)) >= first + 20 and match, 20)
    assert int(later.group(1)) <= 100
    # A serial line carries 11 kB a second.
    assert (terminal.bytes - bytes_before) / (time.monotonic() - began) < 1500
    assert picture.lit > 0.1 and Picture(machine, folder / "later.ppm").pixels != picture.pixels


def see_failure(terminal, workflow):
    eventually(lambda: workflow.finished, 60, "end of the workflow")
    terminal.wait_for(r"^ FAILED: hostile-\?*name \(quay.io/tinkerbell/actions/image2disk:latest\)")
    shown = " ".join(line.strip() for line in terminal.lines)
    reason = workflow.actions[1].message.partition("\n")[0]
    assert "404" in reason and reason in shown, (reason, terminal.text)
    assert "tink-worker bundle" in shown and "/run/tink-worker/log" in shown
    assert re.search(r"^ SUCCESS  stream-image +[\d.]+ s  wrote 8.0 MiB", terminal.text, re.M), terminal.text


def use_the_shell(terminal, console):
    """Enter opens it, the page stays away from it, and comes back after it."""
    terminal.console.write("\r")
    terminal.wait_for(r"^tink-worker:/# $|^tink-worker:/#$")
    terminal.console.write("stty size; tink-worker status | head -n 3; sleep 2; echo end-of-shell | tr a-z A-Z\r")
    terminal.wait_for(r"^END-OF-SHELL$")
    assert re.search(r"^24 80$", terminal.text, re.M), terminal.text
    assert re.search(r"^ Machine   Tinker Model 9, serial SN12345", terminal.text, re.M), terminal.text
    assert "Enter: root shell" not in terminal.text
    terminal.console.write("exit\r")
    terminal.wait_for_page()
    assert "end-of-shell" not in terminal.text


def kernel_message(terminal, console):
    """A word of the kernel lands in the middle of the page: it is shown as a line, and the page is whole again."""
    start = console.mark()
    console.write("\r")
    prompt = console.wait_for(r"tink-worker:/# $", 30, start)
    console.write("echo '<2>boom from the kernel' >/dev/kmsg; exit\r")
    terminal.wait_for(r"^kernel: boom from the kernel")
    # The kernel's own line has a time before it.
    eventually(lambda: "] boom" not in terminal.text, 15, "the page without the kernel's words")
    terminal.wait_for_page()
    # Back in plain lines: the last of the log.
    console.wait_for(r"action ended workflow=\S+ action=hostile", 30, prompt.end())


def use_the_screen(machine, folder):
    page = wait_picture(machine, folder / "page.ppm", True)
    type_keys(machine, "\n")
    wait_picture(machine, folder / "shell.ppm", False)
    time.sleep(1)
    type_keys(machine, "exit\n")
    assert wait_picture(machine, folder / "back.ppm", True).width == page.width


def test_status_page(slow_lab, folder):
    lab = slow_lab
    machine = lab.installer("machine", [Disk(folder / "disk.raw", size_bytes=64 * MIB)],
                            smbios=["type=1,manufacturer=Tinker,product=Model 9,serial=SN12345"])  # fmt: skip
    workflow = lab.tink.add_actions(MAC, actions(lab), name="screen")
    with machine:
        log_path = folder / "machine" / "ttyS1.log"
        terminal = Terminal(machine.ttyS1, log_path)
        see_progress(terminal, machine, folder)
        see_failure(terminal, workflow)
        # Nobody answers here: lines, and no sequence but the one question.
        lines = machine.ttyS0.text
        assert "action received workflow=" in lines and "Machine  " not in lines
        raw = (folder / "machine" / "ttyS0.log").read_bytes()
        assert raw.count(b"\033") == raw.count(b"\0337\033[999;999H\033[6n\0338") * 4 == 4
        use_the_shell(terminal, machine.ttyS0)
        kernel_message(terminal, machine.ttyS0)
        terminal.hang_up()
        start = machine.ttyS1.mark()
        use_the_screen(machine, folder)
        machine.ttyS1.wait_for("Nobody answers on this console: plain lines follow", 60, start)
        # Another one, larger and without UTF-8: a key brings it the page.
        other = Terminal(machine.ttyS1, log_path, rows=40, columns=132, utf8=False)
        machine.ttyS1.write(" ")
        other.wait_for_page()
        assert len(other.lines[0]) > 120 and other.lines[39].startswith(" Enter: root shell")
        assert re.search(r"^- Actions -{100}", other.text, re.M) and other.text.isascii(), other.text
        other.hang_up()
