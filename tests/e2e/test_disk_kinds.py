"""Disks of the kinds that a loop device is not: NVMe, SATA, SAS with two paths, virtio; chosen and wiped in a machine."""

import re

import lab as lab_module
import pytest
from machine import Machine
from worker import MIB, run

MACHINES = True  # tests/run: needs the initramfs, and boots machines
E2E = lab_module.ROOT / "tests" / "e2e"


class Zoo:
    """A machine with disks of all kinds, full of 0xA5, and a shell in it."""

    def __init__(self, folder):
        self.folder = folder
        self.arguments = []
        self.files = {}
        self.machine = None

    def file(self, name, size_mib):
        path = self.folder / f"{name}.raw"
        path.write_bytes(b"\xa5" * (size_mib * MIB))
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
    lab_module.require_boot_files()
    made = Zoo(folder)
    yield made
    if made.machine:
        made.machine.stop()
        (folder / "initrd").unlink()


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
    assert not done and "which is read-only" in text, text
    done, text = zoo.wipe("serial=NONE")
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
