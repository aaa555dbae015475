"""A bare machine netboots, is provisioned, and boots from its own disk: by UEFI and by BIOS.

Everything is real but the Tink server: firmware, iPXE ROM, kernel, initramfs, worker, the system.
"""

import subprocess

import lab as lab_module
from machine import Disk

MACHINES = True  # tests/run: needs the initramfs, and boots machines
MAC = lab_module.MAC
SCRIPT = f"/ipxe/script/{MAC}/auto.ipxe"
GREETING = "written by tink-worker: grüße\n"


def image_actions(disk, debian):
    """The usual sequence, with the checks that a test wants of it."""
    part = disk + "-part1" if "/by-" in disk else disk + "1"
    return [
        {
            "name": "stream-image",
            "image": "quay.io/tinkerbell/actions/image2disk:latest",
            "timeout": 300,
            "environment": {
                "IMG_URL": "http://SERVER/images/debian.raw.zst",
                "DEST_DISK": disk,
                "COMPRESSED": "true",
                "CHECKSUM": debian.checksum,
            },
        },
        {
            "name": "write-file",
            "image": "quay.io/tinkerbell/actions/writefile:latest",
            "timeout": 60,
            "environment": {
                "DEST_DISK": part,
                "FS_TYPE": "ext4",
                "DEST_PATH": "/etc/netboot/deep/greeting",
                "CONTENTS": GREETING,
                "UID": "1000",
                "GID": "33",
                "MODE": "0640",
                "DIRMODE": "0750",
            },
        },
        {
            "name": "run-command",
            "image": "quay.io/tinkerbell/actions/cexec:latest",
            "timeout": 60,
            "environment": {
                "BLOCK_DEVICE": part,
                "FS_TYPE": "ext4",
                "CHROOT": "y",
                "DEFAULT_INTERPRETER": "/bin/sh -c",
                "CMD_LINE": "uname -r >/root/worker-kernel; readlink /proc/1/root >/root/proc-root; echo done-by-cexec",
            },
        },
        {
            "name": "reboot",
            "image": "ghcr.io/jacobweinstock/waitdaemon:latest",
            "timeout": 60,
            "pid": "host",
            "command": ["reboot"],
            "environment": {"IMAGE": "alpine", "WAIT_SECONDS": "1"},
        },
    ]


def esp_action(partition):
    """A file on the EFI system partition: FAT keeps no owner and mode, and the report must not claim them."""
    return {
        "name": "write-esp",
        "image": "quay.io/tinkerbell/actions/writefile:latest",
        "timeout": 60,
        "environment": {
            "DEST_DISK": partition,
            "FS_TYPE": "vfat",
            "DEST_PATH": "/EFI/site/note.txt",
            "CONTENTS": GREETING,
            "UID": "1000",
            "GID": "33",
            "MODE": "0600",
            "DIRMODE": "0700",
        },
    }


def add_workflow(lab, disk, debian, name="netboot", more=()):
    actions = image_actions(disk, debian)
    actions[1:1] = more
    actions[0]["environment"]["IMG_URL"] = f"http://{lab.address}/images/debian.raw.zst"
    task = {"name": "install", "worker": MAC, "volumes": ["/dev:/dev"], "actions": actions}
    return lab.tink.add({"version": "0.1", "name": name, "global_timeout": 900, "tasks": [task]})


def check_reports(lab, workflow):
    """Everything arrived once, in order, with times that fit together; and nothing else did."""
    assert lab.tink.violations == []
    reports = [report for report in lab.tink.reports if report.workflow_id == workflow.id]
    finals = [(report.action_name, report.state) for report in reports if report.state != "RUNNING"]
    assert finals == [(action.name, "SUCCESS") for action in workflow.actions]
    before_s = 0
    for action in workflow.actions:
        mine = [report for report in reports if report.action_id == action.id]
        assert mine[0].state == "RUNNING" and mine[-1].state == "SUCCESS", mine
        assert mine[-1].acknowledged
        assert before_s <= action.execution_start_s <= action.execution_stop_s, action
        assert action.execution_duration, action
        before_s = action.execution_stop_s


def check_disk(machine, disk, debian, size_bytes):
    """What no boot changes is byte for byte the image: boot code, GRUB (2 MiB), EFI system partition (16 MiB).

    All but the partition table, whose second copy stands at the end of the disk now.
    """
    machine.stop()
    table, image = 34 * 512, debian.head(size_bytes)
    assert disk.read(0, 440) == image[:440]
    assert disk.read(table, size_bytes - table) == image[table:]
    assert disk.read(disk.size_bytes - 512, 8) == b"EFI PART"


def check_system(machine, firmware, source):
    """The installed system, asked on its serial port."""
    run = machine.ttyS0.run
    assert run("findmnt -no SOURCE /").strip() == source
    assert run("test -d /sys/firmware/efi && echo uefi || echo bios").strip() == firmware
    assert run("cat /etc/netboot/deep/greeting") == GREETING
    assert run("stat -c '%u:%g %a' /etc/netboot/deep/greeting").strip() == "1000:33 640"
    assert run("stat -c '%u:%g %a' /etc/netboot /etc/netboot/deep").split("\n")[:2] == ["1000:33 750"] * 2
    # cexec ran under the worker's kernel, in the new root.
    assert run("cat /root/worker-kernel").strip() != run("uname -r").strip()
    assert run("dmesg | grep -cE 'EXT4-fs.*(recovery|error)' || true").strip() == "0"


def test_uefi_empty_disk_first(lab, folder, debian):
    """An empty disk first: the firmware falls through to netboot, and boots the disk once it is written.

    A workflow that fails comes before the good one: its reason arrives, and the worker goes on.
    """
    url = f"http://{lab.address}/images/missing.raw"
    broken = lab.tink.add_actions(
        MAC, [{"image": "quay.io/tinkerbell/actions/image2disk:latest", "timeout": 60,
               "environment": {"IMG_URL": url, "DEST_DISK": "/dev/vda"}}], name="broken"
    )  # fmt: skip
    disk = Disk(folder / "disk.raw")
    with lab.machine("machine", [disk], firmware="uefi", memory_mb=512) as machine:
        assert lab.wait_workflow(broken, machine) == "FAILED"
        message = broken.actions[0].message
        assert "404" in message and url in message, message
        assert disk.allocated_bytes() == 0
        workflow = add_workflow(lab, "/dev/vda", debian, more=[esp_action("/dev/vda15")])
        assert lab.wait_workflow(workflow, machine) == "SUCCESS", [(a.name, a.message) for a in workflow.actions]
        # The worker is seen on the port that the kernel's command line does not name.
        worker_text = machine.ttyS0.text
        assert "10.0.2.15" in worker_text and MAC in worker_text
        machine.ttyS0.login(timeout_s=150, start=len(worker_text))
        assert machine.resets() > 0  # one reboot may be several resets: the kernel tries more than one way
        check_reports(lab, workflow)
        assert "no owner and mode" in workflow.action("write-esp").message
        check_system(machine, "uefi", "/dev/vda1")
        check_disk(machine, disk, debian, 2 << 20)
        esp = ["mtype", "-i", f"{disk.path}@@{2 << 20}", "::/EFI/site/note.txt"]
        assert subprocess.run(esp, capture_output=True, check=True).stdout.decode() == GREETING
    assert len(lab.web.requests_for(SCRIPT)) == 1


def test_bios_nic_first(lab, folder, debian):
    """The network card first: after its workflow the machine netboots again, is told to go on, and boots its disk."""
    source = "/dev/disk/by-id/nvme-QEMU_NVMe_Ctrl_NETBOOT1"
    workflow = add_workflow(lab, source, debian)
    disk = Disk(folder / "disk.raw", bus="nvme", serial="NETBOOT1")

    def on_change(action):
        if workflow.finished:
            lab.web.add(SCRIPT, "#!ipxe\nexit\n")

    with lab.machine("machine", [disk], firmware="bios", nic_first=True, memory_mb=384) as machine:
        assert lab.wait_workflow(workflow, machine, on_change=on_change) == "SUCCESS", [
            (a.name, a.message) for a in workflow.actions
        ]
        machine.ttyS0.login(timeout_s=200, start=machine.ttyS0.mark())
        assert machine.resets() > 0  # one reboot may be several resets: the kernel tries more than one way
        check_reports(lab, workflow)
        check_system(machine, "bios", "/dev/nvme0n1p1")
        check_disk(machine, disk, debian, 16 << 20)
    assert len(lab.web.requests_for(SCRIPT)) == 2
