"""Disks that fail, lie, vanish, or are not what the image needs: never a success that is none, never a wrong disk that boots.

All disks are in one machine, whatever they are attached by. What goes wrong with most of them is decided while it runs: they are
files of a disk server of our own (server/nbd.py). Each case prints what became of the action and of the disk.
"""

import random
import re
import time

import gpt_image
import pytest
from gpt_image import MIB
from lab import MAC
from machine import Disk
from server.nbd import NbdDisk

MACHINES = True
IMAGE2DISK = "quay.io/tinkerbell/actions/image2disk:latest"
OLD = b"the old system's sector".ljust(512, b".")
IMAGE_BYTES, DISK_BYTES = 24 * MIB, 32 * MIB
BODY = {"first": 4 * MIB, "last": 5 * MIB}  # bytes of the image's data
NODE = r"/dev/(vd|sd|nvme)[a-z0-9]+"
BLANK_CLAIM = "does not boot"


class Bench:
    """The machine, its disks by their names (which are their serial numbers), and the images on the web server."""

    def __init__(self, lab):
        self.lab = lab
        self.chance = random.Random(4)
        self.disks, self.servers, self.images = {}, {}, {}
        for name, sector_bytes in (("512", 512), ("4096", 4096)):
            self.images[name] = gpt_image.make(self.chance, IMAGE_BYTES, 12, sector_bytes)
            lab.web.add(f"/images/{name}.raw", self.images[name].data)
        self.machine = None

    def add(self, name, bus, size_bytes=DISK_BYTES, **options):
        self.disks[name] = Disk(self.lab.folder / f"{name}.raw", size_bytes, bus, serial=name, **options)
        self.wear(name)
        return self.disks[name]

    def add_served(self, name, bus):
        """A disk whose faults can be changed at any time."""
        disk = self.add(name, bus)
        server = self.servers[name] = NbdDisk(disk.path).start()
        address = {"type": "inet", "host": "127.0.0.1", "port": str(server.port)}
        disk.nodes = [{"node-name": name, "driver": "nbd", "server": address, "discard": "unmap"}]

    def add_failing(self, name, bus, error):
        """A disk that QEMU has fail."""
        disk = self.add(name, bus)
        file = {"driver": "file", "filename": str(disk.path)}
        rules = {"driver": "blkdebug", "image": file, "inject-error": [{"errno": 5, **error}]}
        # Flushes are events of the node above.
        disk.nodes = [{"node-name": name, "driver": "raw", "file": rules}]

    def wear(self, name):
        """Makes it a used disk: an old system's beginning and end, and no zeros between."""
        disk = self.disks[name]
        with open(disk.path, "r+b" if disk.path.exists() else "w+b") as file:
            for offset in range(0, disk.size_bytes, MIB):
                edge = offset == 0 or offset + MIB == disk.size_bytes
                file.write(OLD * (MIB // 512) if edge else b"\x5a" * MIB)

    def start(self):
        self.machine = self.lab.installer("machine", list(self.disks.values()))
        self.machine.start()

    def stop(self):
        self.machine.stop()
        for server in self.servers.values():
            server.stop()

    # --- one case

    def begin(self, name, image="512", timeout_s=60, **parameters):
        environment = {"IMG_URL": f"http://{self.lab.address}/images/{image}.raw", "DEST_DISK": f"serial={name}", **parameters}
        return self.lab.tink.add_actions(MAC, [{"name": "it", "image": IMAGE2DISK, "timeout": timeout_s, "environment": environment}])

    def end(self, workflow, name, image="512"):
        """(state, message, what the disk is), printed; and checked for what must hold in any case."""
        state = self.lab.wait_workflow(workflow, self.machine, 180)
        message = workflow.actions[0].message
        verdict = gpt_image.judge(self.disks[name].path.read_bytes(), self.images[image], OLD * 8)
        print(f"{name}: {state}, the disk is {verdict}: " + message.split("\n")[0])
        assert verdict in ("old", "blank", "unmoved", "right"), verdict
        if state == "SUCCESS":
            assert verdict == "right"
        elif state == "FAILED":
            reason = message.split("\n")[0]  # and then what the action said last
            assert re.search(NODE, reason), f"the disk is not named: {reason}"
            assert BLANK_CLAIM not in reason or verdict == "blank", f"the disk is {verdict}: {reason}"
        return state, message, verdict

    def run(self, name, image="512", timeout_s=60, **parameters):
        return self.end(self.begin(name, image, timeout_s, **parameters), name, image)

    def fails(self, name, words, verdicts=("blank",), **options):
        """A run that must fail with a message that holds these words, and leave the disk like this."""
        state, message, verdict = self.run(name, **options)
        assert state == "FAILED", message
        reason = message.split("\n")[0]
        for word in words:
            assert word in reason, f'no "{word}" in: {reason}'
        assert verdict in verdicts

    def works(self, name, **options):
        state, message, _ = self.run(name, **options)
        assert state == "SUCCESS", message
        return message


@pytest.fixture(scope="module")
def running(module_lab):
    bench = Bench(module_lab())
    for bus in ("ahci", "virtio", "nvme", "scsi"):
        bench.add_served(f"served-{bus}", bus)
    for bus in ("virtio", "nvme"):
        bench.add_failing(f"write-{bus}", bus, {"event": "pwritev", "sector": BODY["first"] // 512})
    for bus in ("virtio", "scsi"):
        bench.add_failing(f"flush-{bus}", bus, {"event": "flush_to_disk"})
    bench.add("small", "virtio", size_bytes=16 * MIB)
    for bus in ("virtio", "nvme", "scsi"):
        bench.add(f"large-sectors-{bus}", bus, sector_bytes=4096)
        bench.add(f"gone-{bus}", bus, removable=True)
    for bus in ("virtio", "scsi"):
        bench.add(f"locked-{bus}", bus, read_only=True)
    bench.start()
    yield bench
    bench.stop()


@pytest.fixture
def bench(running):
    """The bench with all disks well and used."""
    for server in running.servers.values():
        server.heal()
    running.lab.web.faults.clear()
    yield running
    for server in running.servers.values():
        server.heal()


# --- disks that fail


@pytest.mark.parametrize("bus", ["virtio", "nvme", "scsi", "ahci"])
def test_a_place_cannot_be_written(bench, bus):
    name = f"served-{bus}"
    bench.wear(name)
    fault = bench.servers[name].fault("error", on=("write", "zero", "trim"), **BODY)
    bench.fails(name, ["write /dev/", "at byte"])
    assert fault.struck
    bench.servers[name].heal()
    bench.works(name)  # and no harm stays


@pytest.mark.parametrize("bus", ["virtio", "nvme"])
def test_a_write_fails_once(bench, bus):
    """The kernel tries again on some buses: then all is well; else the action fails."""
    name = f"served-{bus}"
    bench.wear(name)
    fault = bench.servers[name].fault("error", times=1, **BODY)
    state, message, verdict = bench.run(name)
    assert fault.struck == 1
    assert (state, verdict) in (("SUCCESS", "right"), ("FAILED", "blank")), message


@pytest.mark.parametrize("name, word", [("write-virtio", "write"), ("write-nvme", "write"), ("flush-virtio", "flush"), ("flush-scsi", "flush")])
def test_failures_by_qemu(bench, name, word):
    bench.fails(name, [f"{word} /dev/"])


def fail_one_after_the_other(bench, on, limit, **place):
    """Runs with the first request failing, then with the second, and so on until there is none; the disk's states."""
    server, found = bench.servers["served-virtio"], []
    for number in range(limit):
        bench.wear("served-virtio")
        server.heal()
        fault = server.fault("error", on=on, skip=number, times=1, **place)
        state, message, verdict = bench.run("served-virtio")
        if not fault.struck:
            assert state == "SUCCESS", message
            return found
        assert state == "FAILED", message
        found.append(verdict)
    raise AssertionError(f"more than {limit} requests of {on}")


def test_any_flush_fails(bench):
    found = fail_one_after_the_other(bench, "flush", 12)
    # Of the ends, of the image, of the beginning, of its first sector.
    assert len(found) >= 4 and found[:3] == ["blank"] * 3, found


def test_any_write_to_the_beginning_fails(bench):
    found = fail_one_after_the_other(bench, ("write", "zero", "trim"), 24, last=MIB - 1)
    assert len(found) >= 3 and set(found[:-1]) <= {"old", "blank"}, found


def test_the_end_cannot_be_written(bench):
    bench.wear("served-virtio")
    bench.servers["served-virtio"].fault("error", on=("write", "zero", "trim"), first=DISK_BYTES - MIB)
    bench.fails("served-virtio", ["write /dev/"])


def test_the_disk_fails_for_good_while_it_is_written(bench):
    bench.wear("served-nvme")
    bench.servers["served-nvme"].fault("error", on="any", skip=20)
    bench.fails("served-nvme", ["/dev/nvme"], verdicts=("blank", "old"))


def test_a_full_disk(bench):
    """Thin storage behind a disk may be full."""
    bench.wear("served-virtio")
    bench.servers["served-virtio"].fault("error", code=28, **BODY)
    bench.fails("served-virtio", ["write /dev/", "at byte"])


def test_reading_back_fails(bench):
    bench.wear("served-scsi")
    bench.servers["served-scsi"].fault("error", on="read", **BODY)
    bench.fails("served-scsi", ["read /dev/", "at byte"], VERIFY="readback")


# --- disks that lie


@pytest.mark.parametrize(
    "kind, on, place",
    [
        pytest.param("drop", "write", BODY, id="writes-lost"),
        pytest.param("drop", "write", {**BODY, "times": 1}, id="one-write-lost"),
        pytest.param("flip", "write", {"at": 10 * MIB + 77}, id="bit-flipped-when-written"),
        pytest.param("flip", "read", {"at": 10 * MIB + 77}, id="bit-flipped-when-read"),
        pytest.param("shift", "write", BODY, id="written-elsewhere"),
        pytest.param("tear", "write", BODY, id="half-written"),
        pytest.param("drop", ("trim", "zero"), {}, id="zeros-not-cleared"),
        pytest.param("flip", "write", {"at": 512 * 1024, "skip": 1}, id="bit-flipped-in-the-beginning"),
        pytest.param("flip", "write", {"at": 100, "skip": 1, "times": 1}, id="bit-flipped-in-the-first-sector"),
    ],
)
def test_lies_are_found_by_reading_back(bench, kind, on, place):
    name = "served-virtio"
    bench.wear(name)
    fault = bench.servers[name].fault(kind, on=on, **place)
    bench.fails(name, ["does not hold what was written", "bytes", "failing"], VERIFY="readback")
    assert fault.struck


def test_lies_about_the_end_of_the_disk(bench):
    """Where the partition table's second copy goes on a disk that is larger than the image."""
    name = "served-virtio"
    bench.wear(name)
    fault = bench.servers[name].fault("drop", first=DISK_BYTES - 512, skip=1)
    state, message, _ = bench.run(name, VERIFY="readback")
    assert state == "FAILED" and fault.struck, message


def test_a_sound_disk_is_read_back(bench):
    for name in ("served-virtio", "served-nvme", "served-scsi", "served-ahci"):
        bench.wear(name)
        before = bench.servers[name].count("read")
        assert "read back" in bench.works(name, VERIFY="readback")
        assert bench.servers[name].count("read") > before


def test_without_reading_back_a_lie_is_believed(bench):
    """What VERIFY=readback is for: a disk that says it has written is believed."""
    name = "served-virtio"
    bench.wear(name)
    bench.servers[name].fault("drop", **BODY)
    workflow = bench.begin(name)
    assert bench.lab.wait_workflow(workflow, bench.machine, 120) == "SUCCESS"
    message = workflow.actions[0].message
    print(f"{name}: SUCCESS, though the disk lost writes: {message}")
    assert "read back" not in message


# --- disks that are slow


def test_a_slow_flush(bench):
    bench.wear("served-scsi")
    fault = bench.servers["served-scsi"].fault("delay", on="flush", seconds=2)
    bench.works("served-scsi")
    assert fault.struck >= 4


def test_a_disk_that_answers_no_more(bench):
    """The action's time is over though nothing can end the write; and the disk is usable once it answers again."""
    name = "served-virtio"
    bench.wear(name)
    fault = bench.servers[name].fault("hang", **BODY)
    began = time.monotonic()
    state, message, verdict = bench.run(name, timeout_s=6)
    assert (state, verdict) == ("TIMEOUT", "blank") and fault.struck, message
    assert time.monotonic() - began < 40
    bench.servers[name].heal()
    bench.works(name)


# --- disks that are not what the image needs


def test_too_small(bench):
    bench.fails("small", [str(IMAGE_BYTES), str(16 * MIB)], verdicts=("old",))


@pytest.mark.parametrize("bus", ["virtio", "nvme", "scsi"])
def test_4096_bytes_per_sector(bench, bus):
    """An image made for 512 would have its partitions elsewhere; one made for 4096 is right."""
    name = f"large-sectors-{bus}"
    bench.fails(name, ["512", "4096", "sectors"], verdicts=("old",))
    assert "1 partition" in bench.works(name, image="4096", VERIFY="readback")


def test_512_bytes_per_sector_for_an_image_of_4096(bench):
    bench.wear("served-nvme")
    bench.fails("served-nvme", ["512", "4096", "sectors"], verdicts=("old",), image="4096")


@pytest.mark.parametrize("bus", ["virtio", "scsi"])
def test_read_only(bench, bus):
    bench.fails(f"locked-{bus}", ["read-only"], verdicts=("old",))


# --- disks that vanish


@pytest.mark.parametrize("bus", ["virtio", "nvme", "scsi"])
def test_the_disk_is_taken_out(bench, bus):
    name = f"gone-{bus}"
    number = list(bench.disks).index(name)
    bench.lab.web.fault("slow", path="/images/512.raw", rate=3 * MIB)
    workflow = bench.begin(name)
    before = bench.machine.block_stats()[number]["written"]
    until = time.monotonic() + 180
    while bench.machine.block_stats()[number]["written"] - before < 4 * MIB:
        assert time.monotonic() < until and not workflow.finished, workflow.actions[0].message
        time.sleep(0.02)
    bench.machine.unplug(number)
    state, message, verdict = bench.end(workflow, name)
    assert (state, verdict) == ("FAILED", "blank"), message
    assert "gone" in message


# --- machines and servers that are poor


def wait_written(bench, name, workflow, size):
    """Until the disk has taken so many bytes since now."""
    server = bench.servers[name]
    start = len(server.requests)
    until = time.monotonic() + 180
    while sum(request[2] for request in server.requests[start:] if request[0] == "write") < size:
        assert time.monotonic() < until and not workflow.finished, workflow.actions[0].message
        time.sleep(0.02)


def test_the_web_server_is_gone_for_good(bench):
    name = "served-virtio"
    bench.wear(name)
    bench.lab.web.fault("slow", path="/images/512.raw", rate=3 * MIB)
    workflow = bench.begin(name)
    wait_written(bench, name, workflow, 4 * MIB)
    bench.lab.web.stop()
    try:
        state, message, verdict = bench.end(workflow, name)
    finally:
        bench.lab.web.start()
    assert (state, verdict) == ("FAILED", "blank") and "/images/512.raw" in message, message
    bench.lab.web.faults.clear()
    bench.works(name)


def test_little_memory_and_a_web_server_that_comes_back(bench):
    """An image larger than the machine's memory; the server is slow, and away for a moment in the middle."""
    image = gpt_image.make(bench.chance, 288 * MIB, 264)
    bench.lab.web.add("/images/large.raw", image.data)
    name, mac = "poor", "52:54:00:77:00:0b"
    disk = Disk(bench.lab.folder / f"{name}.raw", 304 * MIB)
    disk.create()
    environment = {"IMG_URL": f"http://{bench.lab.address}/images/large.raw", "DEST_DISK": "/dev/vda", "RETRY_ENABLED": "true"}
    workflow = bench.lab.tink.add_actions(mac, [{"name": "it", "image": IMAGE2DISK, "timeout": 300, "environment": environment}])
    with bench.lab.installer(name, [disk], mac=mac, memory_mb=256) as machine:
        until = time.monotonic() + 180
        while machine.block_stats()[0]["written"] < 100 * MIB:
            assert time.monotonic() < until and not workflow.finished, machine.report()
            time.sleep(0.05)
        bench.lab.web.stop()
        time.sleep(2)
        bench.lab.web.start()
        assert bench.lab.wait_workflow(workflow, machine, 300) == "SUCCESS", workflow.actions[0].message
    verdict = gpt_image.judge(disk.path.read_bytes(), image, OLD)
    print(f"{name}: SUCCESS with 256 MB, the disk is {verdict}: " + workflow.actions[0].message.split("\n")[0])
    assert verdict == "right"
