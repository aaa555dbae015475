"""One machine with all that it needs around it: Tink server, web server, kernel and initramfs.

The machine is in QEMU's user network, where this host's loopback is 10.0.2.2; so everything runs
without privilege and leaves no trace on the host. Used by the demo and the end-to-end tests.
"""

import re
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [path for path in (str(ROOT / "tests"), str(ROOT / "tests" / "e2e")) if path not in sys.path]

from machine import HOST, Disk, Machine, MachineError, Nic  # noqa: E402
from server import ipxe  # noqa: E402
from server.tink import TinkServer  # noqa: E402
from server.web import WebServer  # noqa: E402

MAC = "52:54:00:77:00:0a"
OUT = ROOT / "out"


def require_boot_files(folder=OUT):
    """MachineError when there is nothing to boot."""
    for name in ("vmlinuz-x86_64", "initramfs-x86_64"):
        if not (folder / name).exists():
            raise MachineError(f"{folder / name} is not there: run initramfs/build")


class Lab:
    """Tink server and web server on loopback; machines that netboot from them. A context manager.

    folder      for logs and disks
    images      {name: path}: files served below /images/
    boot_files  the folder with vmlinuz-x86_64 and initramfs-x86_64
    say(text)   called with progress lines, the servers' among them
    kernel_params   further words for the kernel command line
    tink        further arguments for TinkServer
    """

    def __init__(self, folder, images=None, boot_files=OUT, say=print, kernel_params=(), **tink):
        self.folder = Path(folder)
        self.boot_files = Path(boot_files)
        self.say = say
        self.tink = TinkServer(on_line=self._server_says, **tink)
        self.web = WebServer(
            osie=boot_files,
            boot=ipxe.Boot(syslog_host=HOST, extra=list(kernel_params)),
            on_line=self._server_says,
        )
        for name, path in (images or {}).items():
            self.web.add(f"/images/{name}", Path(path))
        self.machines = []

    def __enter__(self):
        require_boot_files(self.boot_files)
        self.tink.start()
        self.web.grpc_port = self.tink.port
        self.web.start()
        return self

    def __exit__(self, *_):
        for machine in self.machines:
            machine.stop()
        self.web.stop()
        self.tink.stop()

    def _server_says(self, line):
        self.say("server: " + re.sub(r"^[0-9.]+ s  ", "", line))

    @property
    def address(self):
        """Of the web server, as the machine reaches it: host:port."""
        return f"{HOST}:{self.web.port}"

    def add_workflow(self, template, disk="/dev/vda", mac=MAC, **values):
        """Adds a workflow for the machine with this MAC; DISK and SERVER stand for what they are here."""
        return self.tink.add(template, agent=mac, values={"DISK": disk, "SERVER": self.address, **values})

    def machine(self, name, disks, firmware="uefi", nic_first=False, mac=MAC, **options):
        """A machine, not yet started, that netboots after its disks have failed it (or before them)."""
        for index, disk in enumerate(disks):
            disk.bootindex = index + 1 if nic_first else index
        nic = Nic(
            mac=mac,
            bootfile=f"http://{self.address}/ipxe/script/{mac}/auto.ipxe",
            bootindex=0 if nic_first else len(disks),
        )
        machine = Machine(self.folder / name, firmware=firmware, disks=disks, nics=[nic], say=self.say, **options)
        self.machines.append(machine)
        return machine

    def installer(self, name, disks, mac=MAC, params=(), **options):
        """A machine, not yet started, that boots the installer directly, as fast as can be: no firmware to wait for, no netboot."""
        boot = ipxe.Boot(grpc_authority=f"{HOST}:{self.tink.port}", extra=list(params))
        machine = Machine(
            self.folder / name,
            **{
                "firmware": "bios",
                "memory_mb": 384,
                "disks": disks,
                "nics": [Nic(mac=mac)],
                "say": self.say,
                "kernel": self.boot_files / "vmlinuz-x86_64",
                "initrd": self.boot_files / "initramfs-x86_64",
                "append": ipxe.command_line(boot, mac).replace("initrd=${initrd} ", ""),
                **options,
            },
        )
        self.machines.append(machine)
        return machine

    def wait_workflow(self, workflow, machine, timeout_s=300, on_change=None):
        """Waits until the workflow has come to an end; returns its state.

        on_change(action): called when an action's state changed. Says every few seconds what the
        machine showed last.
        """
        began = time.monotonic()
        states = {}
        while True:
            with self.tink.changed:
                if not workflow.finished:
                    self.tink.changed.wait(timeout=0.5)
                now_states = {action.name: action.state for action in workflow.actions}
            for action in workflow.actions:
                if on_change and states.get(action.name, "PENDING") != now_states[action.name]:
                    on_change(action)
            states = now_states
            if workflow.finished:
                return workflow.state
            now = time.monotonic()
            if not machine.is_alive():
                raise MachineError(f"the machine ended before its workflow did\n{machine.report()}")
            if now - began > timeout_s:
                raise MachineError(
                    f"workflow {workflow.name} is {workflow.state} after {timeout_s:.0f} s: {states}\n{machine.report()}"
                )
            machine.heartbeat(lambda: f"screen: {self.last_shown(machine)}")

    @staticmethod
    def last_shown(machine):
        """The last line of the console that the worker, or else the firmware or kernel, wrote to."""
        lines = [console.last_line() for console in machine.consoles]
        return next((line for line in lines if line), "(nothing yet)")[:100]
