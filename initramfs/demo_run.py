#!/usr/bin/python3
"""The second half of initramfs/demo: starts server and machine, watches, and proves the result.

It proves by asking the machine itself, on its serial port, after it has booted from its disk.
"""

import argparse
import shutil
import signal
import sys
import tempfile
import textwrap
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "e2e"))

from lab import OUT, Lab  # noqa: E402
from machine import Disk, MachineError, png_size  # noqa: E402

DISK_BYTES = 4 << 30
PICTURES = ("demo-provisioning.png", "demo-screen.png")


class Demo:
    def __init__(self, options):
        self.options = options
        self.image = dict(
            line.split("=", 1) for line in (options.image / "debian.env").read_text().split("\n") if "=" in line
        )
        self.checksum = (options.image / "debian.sha256").read_text().split()[0]
        self.began = time.monotonic() - options.elapsed
        self.times = {}
        self.proofs = []

    # --- telling ---

    def elapsed(self):
        return time.monotonic() - self.began

    def say(self, text):
        print(f"[{self.elapsed():3.0f} s]     {text}", flush=True)

    def phase(self, text):
        print(f"\n[{self.elapsed():3.0f} s] {text}", flush=True)

    def prove(self, what, seen, expected):
        if seen != expected:
            raise MachineError(f"{what}: expected {expected!r}, the machine says {seen!r}")
        self.proofs.append(what)
        self.say(f"proven: {what}")

    # --- the way ---

    def run(self, folder):
        options = self.options
        with Lab(folder, images={"debian.raw.zst": options.image / "debian.raw.zst"}, say=self.say) as lab:
            workflow = lab.add_workflow(HERE / "demo.yaml", CHECKSUM_OF_IMAGE=f"sha256:{self.checksum}")
            disk = Disk(folder / "disk.raw", size_bytes=DISK_BYTES)
            machine = lab.machine(
                "machine", [disk], firmware=options.firmware, memory_mb=options.memory, cpus=2
            )
            name = {"uefi": "UEFI (OVMF)", "bios": "BIOS (SeaBIOS)"}[options.firmware]
            self.phase(
                f"4/5 provisioning: a machine with {name}, {options.memory} MB and an empty disk of"
                f" {DISK_BYTES >> 30} GiB netboots"
            )
            with machine:
                power_on = time.monotonic()
                self.provision(lab, workflow, machine, power_on)
                self.boot(machine, power_on)
                self.ask(machine)
            self.written = disk.allocated_bytes()
            self.summary(lab, workflow)

    def provision(self, lab, workflow, machine, power_on):
        def on_change(action):
            self.times.setdefault("until the first action", time.monotonic() - power_on)
            # Just before the machine goes down: its screen shows the whole story.
            if action is workflow.actions[-1]:
                machine.screen(OUT / PICTURES[0])

        state = lab.wait_workflow(workflow, machine, timeout_s=420, on_change=on_change)
        self.times["until the workflow's end"] = time.monotonic() - power_on
        if state != "SUCCESS":
            stopped = [action for action in workflow.actions if action.state not in ("SUCCESS", "PENDING")]
            reasons = [f"{action.name}: " + action.message.partition("\n")[0] for action in stopped]
            raise MachineError(f"the workflow ended as {state}: " + "; ".join(reasons) + f"\n{machine.report()}")
        if lab.tink.violations:
            raise MachineError("the worker broke the protocol: " + "; ".join(map(str, lab.tink.violations)))

    def boot(self, machine, power_on):
        self.phase("5/5 proof: the machine reboots, from its own disk, and is asked")
        start = machine.ttyS0.mark()
        # QEMU tells of the reset; what was there before it is the worker's.
        machine.ttyS0.wait_for(r"Linux version|login: *$", 120, start, what="start of the system on the disk")
        machine.ttyS0.login(timeout_s=150, start=start)
        self.times["until the login prompt"] = time.monotonic() - power_on
        if not machine.resets():
            raise MachineError("the machine never rebooted")
        machine.screen(OUT / PICTURES[1])

    def ask(self, machine):
        run = machine.ttyS0.run
        self.prove("it runs Debian 12", run(". /etc/os-release && echo $ID $VERSION_ID").strip(), "debian 12")
        self.prove("from the first partition of its disk", run("findmnt -no SOURCE /").strip(), "/dev/vda1")
        self.prove("with the image's kernel", run("uname -r").strip(), self.image["KERNEL"])
        firmware = run("test -d /sys/firmware/efi && echo uefi || echo bios").strip()
        self.prove(f"started by {self.options.firmware.upper()}", firmware, self.options.firmware)
        self.prove(
            "the file is there as written",
            run("stat -c '%u:%g %a' /etc/issue.d/tinkerbell.issue; cat /etc/issue.d/tinkerbell.issue").strip(),
            "0:0 644\nThis machine was provisioned by tink-worker.",
        )
        self.prove("the command's user exists", run("id -u tinkerbell; ls -d /home/tinkerbell").split(), ["4711", "/home/tinkerbell"])
        self.prove("the command's host name is in force", run("cat /proc/sys/kernel/hostname").strip(), "provisioned")
        # Nothing may have been left mounted: a clean ext4 needs no recovery.
        log = run("dmesg | grep -E 'EXT4-fs.*(recovery|error)' || true").strip()
        self.prove("its file system was unmounted cleanly", log, "")

    def summary(self, lab, workflow):
        total = self.elapsed()
        print("\nSummary\n")
        print(f"  {'action':<16} {'state':<9} {'duration':>9}  message")
        for action in workflow.actions:
            seconds = (action.execution_stop_s or 0) - (action.execution_start_s or 0)
            lines = textwrap.wrap((action.message or "").strip(), 80) or [""]
            print(f"  {action.name:<16} {action.state:<9} {seconds:>7.1f} s  {lines[0]}")
            for line in lines[1:4]:
                print(f"{'':<40}{line}")
        print()
        for what, seconds in self.times.items():
            print(f"  {what:<26} {seconds:>6.1f} s from power-on")
        print()
        worker = OUT / "tink-worker-x86_64"
        rows = [("kernel", (OUT / "vmlinuz-x86_64").stat().st_size), ("initramfs", (OUT / "initramfs-x86_64").stat().st_size)]
        rows += [("worker in it", worker.stat().st_size)] if worker.exists() else []
        rows += [("disk image, zstd", int(self.image["COMPRESSED_BYTES"])), ("disk image, raw", int(self.image["RAW_BYTES"]))]
        for what, size in rows:
            print(f"  {what:<18} {size / 1e6:>8.1f} MB")
        print(f"  {'machine memory':<18} {self.options.memory:>8d} MB")
        print()
        for picture in PICTURES:
            width, height = png_size(OUT / picture)
            print(f"  out/{picture} ({width}x{height})")
        print(f"\nProvisioned and proven ({len(self.proofs)} proofs) in {total:.0f} s.", flush=True)


def main():
    parser = argparse.ArgumentParser(description="The second half of initramfs/demo; start that one.")
    parser.add_argument("--firmware", choices=["uefi", "bios"], default="uefi")
    parser.add_argument("--memory", type=int, default=512)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--image", type=Path, required=True, help="folder that images/build-debian printed")
    parser.add_argument("--elapsed", type=float, default=0.0, help="seconds gone before")
    options = parser.parse_args()

    # Ended from outside, the machine and the folder go too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.stdout.reconfigure(errors="replace")
    OUT.mkdir(exist_ok=True)
    for picture in PICTURES:
        (OUT / picture).unlink(missing_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="tink-worker-demo-"))
    demo = Demo(options)
    try:
        demo.run(folder)
        return 0
    except MachineError as error:
        # The reason comes last, where it is looked for; what was seen stands above it.
        reason, _, seen = str(error).partition("\n    ")
        hint = "" if options.keep else " (--keep keeps the machine's disk and logs)"
        print(f"\n    {seen}\n\ndemo: FAILED: {reason}{hint}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: interrupted", file=sys.stderr)
        return 130
    finally:
        if options.keep:
            print(f"\nkept: {folder} (logs in machine/; boot the disk again: tests/e2e/machine.py"
                  f"{' --bios' if options.firmware == 'bios' else ''} --disk {folder}/disk.raw)", flush=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
