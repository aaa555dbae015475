"""Choosing disks, guarding them, and wiping, on loop devices. For other kinds of disks see test_disk_kinds.py."""

import os
import signal
import subprocess

import pytest
from worker import MIB, eventually, images, make_station, run, station  # noqa: F401

IMAGE2DISK = "quay.io/tinkerbell/actions/image2disk:latest"
WRITEFILE = "quay.io/tinkerbell/actions/writefile:latest"
CEXEC = "quay.io/tinkerbell/actions/cexec:latest"


def odd_size(mib):
    """A size that no other loop device of this machine has."""
    return mib * MIB + 4096 * (1 + os.getpid() % 200)


# --- selectors


def test_selectors(station, images):
    """The disk by its size and name, partitions of it by number, label and UUID; each action the same way."""
    size = odd_size(32)
    disk, other = station.disk(size_bytes=size), station.disk(size_bytes=odd_size(48)).fill()
    chosen = f"type=loop, size={size}"
    url = station.web.add("/disk.raw", images.disk())
    message = station.succeeds(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": chosen}, disk.path, "3 partitions")
    assert "backup GPT moved" in message
    uuid = run("blkid", "-s", "UUID", "-o", "value", disk.partition(2)).strip()
    partuuid = run("blkid", "-s", "PARTUUID", "-o", "value", disk.partition(2)).strip()
    for number, word in enumerate((f"name={disk.name} partition=2", f"{chosen} partition=2", f"type=loop uuid={uuid} size={size}",
                                   f"type=LOOP,by-partuuid={partuuid.upper()},name={disk.name}")):
        station.succeeds(WRITEFILE, {"DEST_DISK": word, "DEST_PATH": f"/found-{number}", "CONTENTS": word}, f"/found-{number}")
    station.succeeds(CEXEC, {"BLOCK_DEVICE": f"name={disk.name} partition=2", "CHROOT": "y", "CMD_LINE": "/bin/busybox test -e /found-3"})
    with disk.mounted(2) as root:
        assert len(list(root.glob("found-*"))) == 4
    assert other.is_filled or other.read(0, 47 * MIB) == b"\xa5" * (47 * MIB)


def test_selectors_that_do_not_fit(station, images):
    """None or several: the candidates are listed, and nothing is touched."""
    size = odd_size(24)
    first, second = station.disk(size_bytes=size), station.disk(size_bytes=size)
    url = station.web.add("/noise", images.noise())
    message = station.fails(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": f"type=loop size={size}"}, "fits 2 devices", first.path, second.path)
    assert "24." in message
    cases = {f"type=loop size={size} name!=loop*": ["no disk fits", first.path],
             f"name={first.name} partition=1": ["no disk fits"],
             "serial=DOES-NOT-EXIST": ["no disk fits", "this machine has"],
             "seriel=1": ["seriel", "is no selector", "serial, wwn, model"],
             "sda": ["neither an absolute path"],
             f"name={first.name} size>=1T": ["no disk fits"]}
    done = station.many([{"image": IMAGE2DISK, "environment": {"IMG_URL": url, "DEST_DISK": word}} for word in cases])
    for action, words in zip(done, cases.values()):
        assert action.state == "FAILED" and all(word in action.message for word in words), action.message
    assert not any(first.read()) and not any(second.read())


def test_guards(station, images):
    """EXPECT_SIZE and EXPECT_SERIAL: what they refuse is not touched."""
    disk = station.disk(size_bytes=16 * MIB)
    url = station.web.add("/noise", images.noise())
    for guard, words in (({"EXPECT_SIZE": ">=1G"}, ["EXPECT_SIZE is >=1G", "16777216 bytes"]),
                         ({"EXPECT_SIZE": "15MiB"}, ["EXPECT_SIZE is 15MiB"]),
                         ({"EXPECT_SERIAL": "S45N"}, ["EXPECT_SERIAL is S45N", "it has none"]),
                         ({"EXPECT_SIZE": "big"}, ["EXPECT_SIZE", "is no size"])):
        station.fails(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": disk.path, **guard}, *words)
        station.fails("wipe", {"DEST_DISK": disk.path, **guard}, *words)
        assert not any(disk.read())
    station.succeeds(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": disk.path, "EXPECT_SIZE": "<=16M"})


def test_sector_sizes(station, images):
    """An image whose table is made for other sectors than the disk has is refused before anything is written."""
    disk = station.disk(size_bytes=24 * MIB)
    run("losetup", "--sector-size", "4096", disk.path)
    assert run("blockdev", "--getss", disk.path).strip() == "4096"
    url = station.web.add("/disk", images.disk())
    station.fails(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": disk.path}, "(GPT) is made for sectors of 512 bytes", "have 4096")
    assert not any(disk.read())
    # Forms that tell of their holes first.
    disk.fill()
    for options in ([], ["-c"]):
        qcow2 = station.folder / "disk.qcow2"
        run("qemu-img", "convert", "-O", "qcow2", *options, images.disk(), qcow2)
        url = station.web.add("/qcow2", qcow2)
        station.fails(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": disk.path}, "(GPT) is made for sectors of 512 bytes", "have 4096")
        assert disk.is_filled
    # One made for it is taken, its second table moved, its partition there.
    large = station.disk(size_bytes=16 * MIB)
    run("losetup", "--sector-size", "4096", large.path)
    run("sfdisk", "-q", "--no-reread", "--no-tell-kernel", large.path, input=b"label: gpt\n1: start=256, size=1024, name=root\n")
    run("blockdev", "--flushbufs", large.path)
    image = station.web.add("/4k", large.file)
    station.succeeds(IMAGE2DISK, {"IMG_URL": image, "DEST_DISK": disk.path}, "1 partition", "backup GPT moved")
    run("sfdisk", "--verify", disk.path)
    assert disk.partitions() == [disk.partition(1)]
    assert run("blockdev", "--getsize64", disk.partition(1)).strip() == str(4 * MIB)
    plain = station.disk(size_bytes=24 * MIB)
    station.fails(IMAGE2DISK, {"IMG_URL": image, "DEST_DISK": plain.path}, "made for sectors of 4096 bytes", "have 512")
    assert not any(plain.read())


def test_disks_in_use(station, images):
    """By whom, in words; also when it is seen from another mount namespace only."""
    disk = station.disk(images.disk(), size_bytes=24 * MIB)
    run("partx", "-a", disk.path)
    url = station.web.add("/noise", images.noise())
    with disk.mounted(2) as root:
        station.fails(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": disk.path}, "in use", disk.partition(2), str(root))
        station.fails("wipe", {"DEST_DISK": disk.path, "MODE": "zero"}, "in use", disk.partition(2), str(root))
    point = station.folder / "elsewhere"
    point.mkdir()
    hidden = subprocess.Popen(["unshare", "--mount", "sh", "-ec", 'mount "$1" "$2"; echo mounted; exec sleep 60', "sh",
                               disk.partition(2), point], stdout=subprocess.PIPE)
    try:
        assert hidden.stdout.readline() == b"mounted\n"
        station.fails("wipe", {"DEST_DISK": disk.path}, "mounted at", point, "mount namespace of sleep", str(hidden.pid))
    finally:
        hidden.kill()
        hidden.wait()
        hidden.stdout.close()
    swap = station.disk(size_bytes=4 * MIB)
    run("mkswap", swap.path)
    run("swapon", swap.path)
    try:
        station.fails("wipe", {"DEST_DISK": swap.path}, "used as swap")
    finally:
        run("swapoff", swap.path)


# --- wipe on loop devices


@pytest.mark.parametrize("mode, used", [("auto", "discard"), ("discard", "discard"), ("zero", "zeros written")])
def test_wipe(station, images, mode, used):
    """Everything is zeros, the partitions are gone, and what was done is told."""
    disk = station.disk(images.disk(), size_bytes=80 * MIB)
    run("partx", "-a", disk.path)
    with open(disk.file, "r+b") as file:
        file.seek(20 * MIB)
        file.write(os.urandom(60 * MIB))
    run("blockdev", "--flushbufs", disk.path)
    for verify, words in (("samples", "64 samples of 1 MiB read as zeros"), ("full", "everything read as zeros")):
        message = station.succeeds("wipe", {"DEST_DISK": disk.path, "MODE": mode, "VERIFY": verify}, disk.path, f"by {used}", words)
        assert ("it is no NVMe disk" in message) == (mode == "auto")
        assert not any(disk.read())
        assert disk.partitions() == []


def test_wipe_signatures(station, images):
    """Nothing is recognised any more, on the disk or where its partitions were; the rest stays."""
    disk = station.disk(images.disk(), size_bytes=24 * MIB)
    run("partx", "-a", disk.path)
    before = disk.read()
    station.succeeds("127.0.0.1/embedded/wipe", {"DEST_DISK": disk.path, "MODE": "signatures"}, "of its partitions")
    assert disk.partitions() == []
    after = disk.read()
    assert not any(after[:MIB]) and not any(after[-MIB:])
    kept = sum(after[at:at + MIB] == before[at:at + MIB] != bytes(MIB) for at in range(0, 24 * MIB, MIB))
    assert kept > 0
    assert subprocess.run(["blkid", "-p", disk.path], stdout=subprocess.PIPE, check=False).stdout == b""
    run("sfdisk", "-q", "--no-reread", "--no-tell-kernel", disk.path, input=run("sfdisk", "--dump", images.disk()).encode())
    run("partx", "-a", disk.path)
    for node in disk.partitions():
        found = subprocess.run(["blkid", "-p", "-s", "TYPE", node], stdout=subprocess.PIPE, text=True, check=False).stdout
        assert " TYPE=" not in found, found


def test_wipe_a_partition(station, images):
    """Its neighbours stay."""
    disk = station.disk(images.disk())
    run("partx", "-a", disk.path)
    before = disk.read()
    station.succeeds("wipe", {"DEST_DISK": f"name={disk.name} partition=2"}, "it is a partition", "by discard")
    after = disk.read()
    start = int(run("cat", f"/sys/class/block/{disk.name}p2/start")) * 512
    size = int(run("blockdev", "--getsize64", disk.partition(2)))
    assert any(before[start:start + size]) and not any(after[start:start + size])
    assert after[:start] == before[:start] and after[start + size:] == before[start + size:]


def test_wipe_killed(station):
    """In the middle of it: the action fails, and the next run ends what was begun."""
    disk = station.disk(size_bytes=512 * MIB).fill()
    wipe = {"name": "it", "image": "wipe", "timeout": 120, "environment": {"DEST_DISK": disk.path, "MODE": "zero", "VERIFY": "full"}}
    station.first  # noqa: B018 - starts the worker
    workflow = station.submit(wipe)
    pid = station.begun(workflow)
    eventually(lambda: not any(disk.read(4 * MIB, 4096)), 20, "zeros on the disk")
    os.kill(pid, signal.SIGKILL)
    station.finish(workflow)
    action = workflow.action("it")
    if action.state == "FAILED":  # it may have been faster than we are
        assert "killed" in action.message and any(disk.read())
    assert station.run(wipe, timeout_s=120).action("it").state == "SUCCESS"
    assert not any(disk.read())


def test_wipe_refuses(station, images):
    disk = station.disk(size_bytes=8 * MIB)
    for case, words in (({"MODE": "sanitize"}, ["not wiped", "it is no NVMe disk"]), ({"MODE": "format"}, ["it is no NVMe disk"]),
                        ({"MODE": "secure-erase"}, ["it is no ATA disk"]), ({"MODE": "quick"}, ["must be one of"]),
                        ({"DEST_DISK": "/dev/nonexistent"}, ["does not exist"]), ({"VERIFY": "none"}, ["samples|full"])):
        station.fails("wipe", {"DEST_DISK": disk.path, **case}, *words)
    read_only = station.disk(images.disk(), read_only=True)
    station.fails("wipe", {"DEST_DISK": read_only.path}, "read-only")
    # A site's own image of that name is not our eraser.
    station.fails("registry.example/tools/wipe:3", {"DEST_DISK": disk.path}, "registry.example/tools/wipe:3")
