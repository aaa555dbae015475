"""Choosing disks, guarding them, and wiping: on loop devices, and in a machine with the kinds of disks that a loop device is not."""

import os
import re
import subprocess

import lab as lab_module
import pytest
from machine import Machine
from worker import MIB, Images, images, make_station, mounts_of, run, station  # noqa: F401

IMAGE2DISK = "quay.io/tinkerbell/actions/image2disk:latest"
WRITEFILE = "quay.io/tinkerbell/actions/writefile:latest"
CEXEC = "quay.io/tinkerbell/actions/cexec:latest"
E2E = lab_module.ROOT / "tests" / "e2e"


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
    for word, words in ((f"type=loop size={size} name!=loop*", ["no disk fits", first.path]),
                        (f"name={first.name} partition=1", ["no disk fits"]),
                        ("serial=DOES-NOT-EXIST", ["no disk fits", "this machine has"]),
                        ("seriel=1", ["seriel", "is no selector", "serial, wwn, model"]),
                        ("sda", ["neither an absolute path"]),
                        (f"name={first.name} size>=1T", ["no disk fits"])):
        station.fails(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": word}, *words)
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


# --- in a machine


class Zoo:
    """A machine with disks of all kinds, and a shell in it. The disks' files are full of 0xA5 where `filled` says so."""

    def __init__(self, folder):
        self.folder = folder
        self.arguments = []
        self.files = {}
        self.machine = None

    def file(self, name, size_mib=32, filled=True):
        path = self.folder / f"{name}.raw"
        with open(path, "wb") as file:
            if filled:
                for _ in range(size_mib):
                    file.write(b"\xa5" * MIB)
            file.truncate(size_mib * MIB)
        self.files[name] = path
        return path

    def add(self, name, device, size_mib=32, drive="", shared=None, **options):
        """A disk with a file of its own, or with that of another."""
        path = self.files[shared] if shared else self.file(name, size_mib)
        self.arguments += ["-drive", f"id={name},if=none,format=raw,file={path},cache=unsafe,discard=unmap,file.locking=off{drive}"]
        self.arguments += ["-device", ",".join([device, f"drive={name}", *(f"{key}={value}" for key, value in options.items())])]

    def boot(self):
        initrd = self.folder / "initrd"
        tree = self.folder / "overlay"
        files = {"disk-init": E2E / "images" / "disk-init"}
        if (lab_module.OUT / "tink-worker-x86_64").exists():
            files["usr/bin/tink-worker"] = lab_module.OUT / "tink-worker-x86_64"
        for name, source in files.items():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_bytes(source.read_bytes())
            (tree / name).chmod(0o755)
        overlay = self.folder / "overlay.cpio"
        run(lab_module.ROOT / "initramfs" / "pack-cpio", "--time", "0", "--output", overlay, tree)
        first = (lab_module.OUT / "initramfs-x86_64").read_bytes()
        initrd.write_bytes(first + bytes(-len(first) % 4) + overlay.read_bytes())
        self.machine = Machine(self.folder / "machine", firmware="bios", memory_mb=768, serial_ports=1, extra=self.arguments,
                               kernel=lab_module.OUT / "vmlinuz-x86_64", initrd=initrd,
                               append="console=ttyS0,115200 quiet rdinit=/disk-init")
        self.machine.start()
        self.machine.ttyS0.wait_for("disks are ready", 240)

    def run(self, command, **options):
        return self.machine.ttyS0.run(command, timeout_s=120, **options)

    def worker(self, *words):
        """An action by hand; returns whether it succeeded, and what was said."""
        quoted = " ".join("'" + word + "'" for word in words)
        text = self.run(f"tink-worker run {quoted}; echo status=$?")
        status = re.search(r"status=(\d+)\s*$", text)
        assert status, text
        return status.group(1) == "0", text

    def wipe(self, disk, *words):
        return self.worker("wipe", f"DEST_DISK={disk}", *words)

    def content(self, name):
        return self.files[name].read_bytes()


@pytest.fixture
def zoo(folder):
    for name in ("vmlinuz-x86_64", "initramfs-x86_64"):
        if not (lab_module.OUT / name).exists():
            pytest.fail(f"out/{name} is not there: run initramfs/build", pytrace=False)
    made = Zoo(folder)
    yield made
    if made.machine:
        made.machine.stop()


def test_zoo(zoo):
    """Every kind of disk: chosen by what it is, wiped by what it offers, refused when it must be."""
    zoo.add("plain", "nvme", serial="NVME-PLAIN")
    zoo.arguments += ["-device", "nvme,id=two,serial=NVME-TWO"]
    zoo.add("one", "nvme-ns", bus="two", nsid=1)
    zoo.add("two", "nvme-ns", bus="two", nsid=2)
    zoo.add("large", "nvme", serial="NVME-4K", logical_block_size=4096, physical_block_size=4096)
    zoo.add("sata", "ide-hd", bus="ide.0", serial="SATA-1", model="ACME-DISK-WITH-A-LONG-NAME", wwn="0x5000c500a1b2c3d4")
    zoo.arguments += ["-device", "mptsas1068,id=sas0", "-device", "mptsas1068,id=sas1"]
    zoo.add("path0", "scsi-hd", bus="sas0.0", vendor="ACME", product="SHARED", serial="SAS-1", wwn="0x5000c500b1c2d3e4")
    zoo.add("path1", "scsi-hd", bus="sas1.0", vendor="ACME", product="SHARED", serial="SAS-1", wwn="0x5000c500b1c2d3e4", shared="path0")
    zoo.add("virtio", "virtio-blk-pci", serial="VIRTIO-1", size_mib=96)
    zoo.add("locked", "virtio-blk-pci", serial="LOCKED", drive=",readonly=on")
    zoo.boot()

    # NVMe: a format, which the disk does itself.
    done, text = zoo.wipe("serial=NVME-PLAIN", "EXPECT_SERIAL=nvme-plain", "EXPECT_SIZE=32M")
    assert done and "by NVMe format with user data erase" in text, text
    assert "NVMe sanitize (block erase): the disk does not offer it" in text
    assert not any(zoo.content("plain"))
    # Of two namespaces one; the kernel numbers its names as they come, not as the disk does.
    assert not zoo.wipe("serial=NVME-TWO")[0]
    done, text = zoo.wipe("by-id=nvme-QEMU_NVMe_Ctrl_NVME-TWO_1", "MODE=format", "VERIFY=full")
    assert done and "everything read as zeros" in text, text
    assert not any(zoo.content("one")) and zoo.content("two") == b"\xa5" * (32 * MIB)
    # The size of its sectors stays.
    done, text = zoo.wipe("type=nvme serial=NVME-4K")
    assert done and "by NVMe format" in text, text
    assert not any(zoo.content("large"))
    assert zoo.run("cat /sys/block/nvme*/queue/logical_block_size").split().count("4096") == 1
    # SATA, without Security: the next way is taken.
    done, text = zoo.wipe("model=ACME-DISK-WITH-A-LONG-NAME")
    assert done and "ATA enhanced secure erase: the disk does not offer it" in text, text
    assert not any(zoo.content("sata"))
    done, text = zoo.wipe("wwn=0x5000c500a1b2c3d4", "MODE=secure-erase")
    assert not done and "does not offer it" in text
    # Two paths to one disk.
    done, text = zoo.wipe("serial=SAS-1")
    assert not done and "several paths" in text, text
    assert zoo.content("path0") == b"\xa5" * (32 * MIB)
    # Virtual disks have discard; read-only ones are let be.
    done, text = zoo.wipe("type=virtio size=96M", "VERIFY=full")
    assert done and "by discard" in text, text
    assert not any(zoo.content("virtio"))
    done, text = zoo.wipe("name=vdb", "EXPECT_SERIAL=LOCKED")
    assert not done and "read-only" in text, text
    done, text = zoo.wipe("serial=LOCKED")
    assert not done and "no disk fits" in text and "/dev/nvme0n1 (" in text, text

    # Without udev the links are computed.
    links = zoo.run("ls /dev/disk/by-id").split()
    zoo.run("udevadm control --exit; rm -rf /dev/disk /run/udev")
    assert {"nvme-QEMU_NVMe_Ctrl_NVME-4K", "ata-ACME-DISK-WITH-A-LONG-NAME_SATA-1", "virtio-VIRTIO-1"} <= set(links)
    for link in sorted(links):
        done, text = zoo.wipe(f"/dev/disk/by-id/{link}", "MODE=signatures")
        if link.endswith("NVME-TWO"):  # udev gives it to the namespace that came last
            assert not done and "fits 2 devices" in text, text
        elif "5000c500b1c2d3e4" in link:
            assert not done and "several paths" in text, text
        else:
            assert done or "read-only" in text, f"{link}: {text}"
