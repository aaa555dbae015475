"""The power is cut while a disk is written: at no moment may it hold a system that boots and is not the image.

Two ways, as a killed machine loses no write that it was told is done: the machine is killed at random moments and started
again; and a log of its writes is cut between flushes, with any part of what a disk may still have held back. The seed is
printed; TINK_WORKER_SEED repeats a run. TINK_WORKER_LONG=1 (tests/run --long) cuts 20 times instead of 3.
"""

import os
import random
import subprocess
import time
import zlib

import pytest
from blklog import cut, epochs, read_log
from lab import MAC
from machine import Disk

MACHINES = True  # tests/run: needs the initramfs, and boots machines
MIB = 1 << 20
HEAD = MIB  # what the worker keeps back
TABLE = 34 * 512  # of a GPT, at both ends
LONG = bool(os.environ.get("TINK_WORKER_LONG"))
IMAGE2DISK = "quay.io/tinkerbell/actions/image2disk:latest"
OLD = b"the old system's sector".ljust(512, b".")


@pytest.fixture
def chance():
    seed = int(os.environ.get("TINK_WORKER_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"seed {seed}: TINK_WORKER_SEED={seed} repeats this")
    return random.Random(seed)


def make_image(path, size, data_bytes, chance):
    """A disk with a GPT, boot code, and data in pieces all over it."""
    path.write_bytes(b"")
    os.truncate(path, size)
    subprocess.run(["sfdisk", "-q", path], input=b"label: gpt\n" + b"start=2048, size=8M, type=U\n" + b"type=L\n", check=True)
    with open(path, "r+b") as file:
        file.write(b"\xeb\x63" + chance.randbytes(438))
        file.seek(TABLE)
        file.write(chance.randbytes(HEAD - TABLE))
        room = size - HEAD - TABLE - MIB
        for number in range(data_bytes // MIB):
            file.seek(HEAD + room * number // (data_bytes // MIB) // 4096 * 4096)
            file.write(chance.randbytes(MIB))
    return path.read_bytes()


def make_used_disk(path, size):
    with open(path, "wb") as file:
        for _ in range(HEAD // 512):
            file.write(OLD)
        file.truncate(size)


def has_sound_table(disk):
    """Whether either copy of the GPT is whole."""

    def is_whole(at):
        header = disk[at : at + 512]
        if header[:8] != b"EFI PART":
            return False
        size, crc = (int.from_bytes(header[i : i + 4], "little") for i in (12, 16))
        if zlib.crc32(header[:16] + bytes(4) + header[20:size]) != crc:
            return False
        lba, count, entry, entries_crc = (int.from_bytes(header[i : i + n], "little") for i, n in ((72, 8), (80, 4), (84, 4), (88, 4)))
        return zlib.crc32(disk[lba * 512 : lba * 512 + count * entry]) == entries_crc

    return is_whole(512) or is_whole(len(disk) - 512)


def judge(disk, image, old_allowed):
    """What a disk is after a cut: "old", "blank", or "right"; anything else fails.

    The first sector decides whether a disk boots. The copies of the partition table may be those of a larger disk already.
    """
    first = bytes(disk[:512])
    if first == bytes(512):
        return "blank"
    if first == OLD:
        assert old_allowed, "the old beginning is there although parts of the image are"
        return "old"
    assert first[:440] == image[:440], "the beginning is neither the old one nor the image's"
    end = len(image) - TABLE
    assert bytes(disk[TABLE:end]) == image[TABLE:end], "the disk has a beginning, and the rest is not the image"
    assert has_sound_table(disk), "the disk has a beginning and no sound partition table"
    return "right"


def add_imaging(lab, **parameters):
    url = f"http://{lab.address}/images/small.raw.zst"
    return lab.tink.add_actions(MAC, [{"name": "it", "image": IMAGE2DISK, "timeout": 300,
                                           "environment": {"IMG_URL": url, "DEST_DISK": "/dev/vda", **parameters}}])


def serve(lab, raw):
    packed = lab.folder / "small.raw.zst"
    subprocess.run(["zstd", "-q", "-1", "-f", raw, "-o", packed], check=True)
    lab.web.add("/images/small.raw.zst", packed)


def running_reports(lab, workflow):
    return sum(1 for report in lab.tink.reports if report.workflow_id == workflow.id and report.state == "RUNNING" and report.acknowledged)


def cut_at(lab, machine, workflow, began, written_bytes, pause_s):
    """Kills the machine when its disk has taken so many bytes since the action began; False when the workflow was over before."""
    lab.tink.wait(lambda: running_reports(lab, workflow) > began, 120, "the action to begin")
    before = machine.block_stats()[0]["written"]
    while not workflow.finished and machine.block_stats()[0]["written"] - before < written_bytes:
        time.sleep(0.002)
    time.sleep(pause_s)
    machine.stop()
    return not workflow.finished


@pytest.mark.parametrize("mode", ["write", "compare"])
def test_machine_is_killed(lab, folder, chance, mode):
    """Killed again and again at random moments of imaging; each time the disk is checked, and the machine started again."""
    cuts = (20 if LONG else 3) if mode == "write" else (5 if LONG else 1)
    data = 64 * MIB
    image = make_image(folder / "small.raw", 160 * MIB, data, chance)
    serve(lab, folder / "small.raw")
    disk = Disk(folder / "disk.raw", size_bytes=192 * MIB)
    make_used_disk(disk.path, disk.size_bytes)
    parameters = {"MODE": mode, "VERIFY": "readback" if mode == "compare" else "none"}
    workflow = add_imaging(lab, **parameters)
    old_allowed = True
    for number in range(cuts):
        # Also before the first write, and about the last ones.
        written = chance.choice([0, chance.randrange(data), chance.randrange(data), data + chance.randrange(4 * MIB)])
        began = running_reports(lab, workflow)
        machine = lab.installer(f"cut-{number}", [disk])
        machine.start()
        was_cut = cut_at(lab, machine, workflow, began, written, chance.random() * 0.05)
        found = judge(disk.path.read_bytes(), image, old_allowed)
        print(f"cut {number + 1} after {written} bytes: the disk is {found}" + ("" if was_cut else ", the workflow was over"))
        old_allowed = old_allowed and found == "old"
        if workflow.finished:
            assert found == "right" and workflow.state == "SUCCESS"
            workflow = add_imaging(lab, **parameters)
    with lab.installer("last", [disk]) as machine:
        assert lab.wait_workflow(workflow, machine) == "SUCCESS", workflow.actions[0].message
        machine.quit()
    assert judge(disk.path.read_bytes(), image, False) == "right"
    print(workflow.actions[0].message)


def test_writes_are_cut_between_flushes(lab, folder, chance):
    """Every state that a power cut may leave of the logged writes is blank, or old before the first flush, or right."""
    image = make_image(folder / "small.raw", 48 * MIB, 24 * MIB, chance)
    serve(lab, folder / "small.raw")
    disk = Disk(folder / "disk.raw", size_bytes=64 * MIB)
    make_used_disk(disk.path, disk.size_bytes)
    log = folder / "log.raw"
    log.write_bytes(b"")
    state = bytearray(disk.path.read_bytes())
    disk.nodes = [
        {"node-name": "plain", "driver": "file", "filename": str(disk.path), "discard": "unmap"},
        {"node-name": "log", "driver": "file", "filename": str(log)},
        {"node-name": "watched", "driver": "blklogwrites", "file": "plain", "log": "log", "log-sector-size": 512},
    ]
    workflow = add_imaging(lab)
    with lab.installer("logged", [disk]) as machine:
        assert lab.wait_workflow(workflow, machine) == "SUCCESS", workflow.actions[0].message
        machine.quit()
    groups = [group for group in epochs(read_log(log)) if group]
    assert len(groups) >= 4, f"{len(groups)} flushes cannot be right: the ends, the image, the beginning, its first sector"
    found = {"old": 0, "blank": 0, "right": 0}
    for number, group in enumerate(groups):
        # All states before the end of a short epoch, a sample of a long one's.
        for _ in range(60 if LONG else 12):
            left = cut(group, chance)
            saved = [(offset, bytes(state[offset : offset + len(data)])) for offset, data in left]
            for offset, data in left:
                state[offset : offset + len(data)] = data
            found[judge(state, image, number == 0)] += 1
            for offset, data in reversed(saved):
                state[offset : offset + len(data)] = data
        for write in group:
            state[write.offset : write.offset + len(write.data)] = write.data
    assert judge(state, image, False) == "right" and bytes(state) == disk.path.read_bytes(), "the log is not whole"
    print(f"{len(groups)} epochs, {sum(map(len, groups))} writes: {found}")
    assert found["blank"] and found["right"]
