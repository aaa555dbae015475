"""What happens to the machine itself, at every moment of a workflow: the worker killed, a reset, the cable out, a disk gone, no memory.

In every case the workflow ends in the right state with the right reason, and the disk is the image or does not boot. One machine plays
all cells in turn: see FAULTS.md for the table. TINK_WORKER_LONG=1 (tests/run --long) plays all of them, else those that no other test
has in another form.
"""

import itertools
import os
import random
import shutil
import time

import gpt_image
import pytest
from gpt_image import MIB
from lab import MAC
from machine import Disk
from worker import Images, eventually

MACHINES = True
LONG = bool(os.environ.get("TINK_WORKER_LONG"))
IMAGE2DISK = "quay.io/tinkerbell/actions/image2disk:latest"
CEXEC = "quay.io/tinkerbell/actions/cexec:latest"
OLD = b"the old system's sector".ljust(512, b".")
IMAGE_BYTES, DISK_BYTES = 24 * MIB, 32 * MIB
GONE = ("polling", "writing", "written", "between")


def in_long(*values):
    """A cell for the long run only."""
    return pytest.param(*values, marks=pytest.mark.skipif(not LONG, reason="only with tests/run --long (TINK_WORKER_LONG=1)"))


class Plant:
    """The machine, its disks by their serial numbers, and the servers around it."""

    def __init__(self, lab):
        self.lab, self.tink, self.web = lab, lab.tink, lab.web
        self.image = gpt_image.make(random.Random(5), IMAGE_BYTES, 16, 512)
        self.web.add("/images/it.raw", self.image.data)
        self.disks = {name: Disk(lab.folder / f"{name}.raw", DISK_BYTES, serial=name, removable=name != "stays")
                      for name in ("stays", *(f"gone-{phase}" for phase in GONE))}
        system = lab.folder / "system.raw"
        shutil.copy(Images(lab.folder).root(), system)
        self.disks["system"] = Disk(system, system.stat().st_size, serial="system")
        self.numbers = itertools.count(1)
        self.machine = lab.installer("machine", list(self.disks.values()))
        self.machine.start()
        self.shell_open = False

    def wear(self, name):
        """A used disk: an old system's beginning and end."""
        with open(self.disks[name].path, "r+b") as file:
            for at in range(0, DISK_BYTES, MIB):
                file.seek(at)
                file.write(OLD * (MIB // 512) if at in (0, DISK_BYTES - MIB) else b"\x5a" * MIB)

    def verdict(self, name):
        return gpt_image.judge(self.disks[name].path.read_bytes(), self.image, OLD * 8)

    def action(self, name, disk):
        return {"name": name, "image": IMAGE2DISK, "timeout": 400, "environment": {
            "IMG_URL": f"http://{self.lab.address}/images/it.raw", "DEST_DISK": f"serial={disk}"}}

    def command(self, text, **fields):
        return {"name": "command", "image": CEXEC, "timeout": 120, **fields, "environment": {
            "BLOCK_DEVICE": "serial=system", "FS_TYPE": "ext4", "CHROOT": "y", "DEFAULT_INTERPRETER": "/bin/sh -c", "CMD_LINE": text}}

    def add(self, *actions):
        return self.tink.add_actions(MAC, list(actions), name=f"w{next(self.numbers)}")

    def end(self, workflow, timeout_s=150):
        return self.lab.wait_workflow(workflow, self.machine, timeout_s)

    def seen(self, workflow, action, state):
        return [report for report in self.tink.reports
                if report.workflow_id == workflow.id and report.action_name == action and report.state == state]

    # --- moments

    def bring(self, phase, disk):
        """A workflow of an image and a command, at this moment of its life; go_on() lets it out of there."""
        self.wear(disk)
        if phase == "polling":
            self.tink.wait(lambda: self.tink.calls and self.tink.calls[-1].method == "GetAction" and not self.tink.calls[-1].over, 90,
                           "a worker that asks for work")
            return None
        if phase == "writing":
            self.web.fault("slow", path="/images/it.raw", rate=2 * MIB)
            already = self.machine.block_stats()
            number = list(self.disks).index(disk)
        elif phase == "written":
            self.tink.fault("status", state="SUCCESS", action="image", code="UNAVAILABLE", times=-1)
        workflow = self.add(self.action("image", disk), self.command("echo ran"))
        self.tink.wait(lambda: self.seen(workflow, "image", "RUNNING"), 90, "the action's beginning")
        if phase == "between":
            self.tink.fault("status", method="GetAction", code="UNAVAILABLE", times=-1)
            # It asks for the next one only when the acknowledgement has arrived: before that, a cut cable would lose it.
            self.tink.wait(lambda: self.seen(workflow, "image", "SUCCESS") and self.tink.calls[-1].method == "GetAction"
                           and self.tink.calls[-1].code == "UNAVAILABLE", 90, "the question for the second action")
        elif phase == "written":
            self.tink.wait(lambda: self.seen(workflow, "image", "SUCCESS"), 90, "the first report of the action's end")
        else:
            def written():
                return self.machine.block_stats()[number]["written"] - already[number]["written"]
            eventually(lambda: written() > 4 * MIB, 90, "the disk being written")
        return workflow

    def go_on(self, workflow, disk):
        """No more of what held it there; a workflow, if there was none."""
        self.tink.faults.clear()
        self.web.clear_faults()
        return workflow or self.add(self.action("image", disk), self.command("echo ran"))

    # --- hands

    def shell(self, line):
        """Types a line into the root shell of the first console."""
        console = self.machine.ttyS0
        if not self.shell_open:
            start = console.mark()
            console.write("\r")
            console.wait_for(r"tink-worker:/# $", 60, start)
            self.shell_open = True
        start = console.mark()
        console.write(f"{line}; echo typed | tr a-z A-Z\r")
        console.wait_for(r"^TYPED", 60, start)
        return console.text[start:]

    def succeeds(self, workflow, disk="stays", runs=None):
        """Ended well, the disk is the image; runs: how often the image was begun."""
        assert self.end(workflow) == "SUCCESS", [(action.name, action.state, action.message) for action in workflow.actions]
        assert self.verdict(disk) == "right"
        if runs:
            assert len([report for report in self.seen(workflow, "image", "RUNNING") if report.message.startswith("running")]) in runs


@pytest.fixture(scope="module")
def running(module_lab):
    plant = Plant(module_lab(long_poll_s=600, progress_spacing_s=0))
    yield plant
    plant.machine.stop()


@pytest.fixture
def plant(running):
    running.tink.faults.clear()
    running.web.clear_faults()
    yield running
    running.machine.set_link(True)
    running.tink.faults.clear()
    running.web.clear_faults()


# --- no memory


def test_memory_runs_out(plant):
    """An action eats all there is: it is ended, not the worker; the reason says so, and the machine goes on."""
    plant.bring("polling", "stays")
    before = plant.machine.ttyS0.text.count("tink-worker starts")
    workflow = plant.add(plant.command("echo eating; head -c 900000000 /dev/zero | tail -n 1 >/dev/null"))
    assert plant.end(workflow) == "FAILED"
    message = workflow.actions[0].message
    print(message.split("\n")[0])
    for word in ("out of memory", "the kernel has ended", "the machine has", "eating"):
        assert word in message, message
    workflow = plant.bring("polling", "stays")
    workflow = plant.go_on(workflow, "stays")
    plant.succeeds(workflow)
    assert plant.machine.ttyS0.text.count("tink-worker starts") == before


# --- the cable


@pytest.mark.parametrize("phase, seconds", [
    ("writing", 5), ("written", 5), in_long("polling", 5), in_long("between", 5),
    in_long("polling", 90), in_long("writing", 90), in_long("written", 90), in_long("between", 90)])
def test_cable_is_out(plant, phase, seconds):
    """Nothing is begun anew for it: the download goes on where it was."""
    workflow = plant.bring(phase, "stays")
    plant.machine.set_link(False)
    time.sleep(seconds)  # this is the fault
    plant.machine.set_link(True)
    workflow = plant.go_on(workflow, "stays")
    plant.succeeds(workflow, runs=(1,))


# --- a disk


@pytest.mark.parametrize("phase", [in_long("polling"), "writing", in_long("written"), "between"])
def test_disk_is_gone(plant, phase):
    """In the middle: FAILED, and the disk named. When all was written: the report stands."""
    name = f"gone-{phase}"
    workflow = plant.bring(phase, name)
    if phase == "between":  # what comes next wants it, too
        plant.tink.delete(workflow)
        workflow = None
    plant.machine.unplug(list(plant.disks).index(name))
    workflow = plant.go_on(workflow, name)
    state = plant.end(workflow)
    message = workflow.actions[0].message
    print(f"{phase}: {state}: " + message.split("\n")[0])
    if phase == "written":
        assert state == "SUCCESS" and plant.verdict(name) == "right"
        return
    assert state == "FAILED"
    assert ("/dev/vd" if phase == "writing" else name) in message.split("\n")[0]
    assert plant.verdict(name) in {"writing": ("blank",), "polling": ("old",), "between": ("right",)}[phase]


# --- the worker


@pytest.mark.parametrize("phase", [in_long("polling"), "writing", "written", in_long("between")])
def test_worker_is_killed(plant, phase):
    """The machine starts it again; what was under way is done again, what the server knows is not."""
    workflow = plant.bring(phase, "stays")
    plant.shell("kill -9 $(pidof tink-worker); sleep 0.3")
    plant.succeeds(plant.go_on(workflow, "stays"), runs=(2,) if phase in ("writing", "written") else (1,))


# --- the machine


@pytest.mark.parametrize("phase", [in_long("polling"), "writing", in_long("written"), in_long("between")])
def test_machine_is_reset(plant, phase):
    """It comes back by the network and does again what the server does not know as done; meanwhile its disk does not boot, or is right."""
    workflow = plant.bring(phase, "stays")
    plant.machine.reset()
    plant.shell_open = False
    found = plant.verdict("stays")
    assert found in {"polling": ("old",), "writing": ("blank",), "written": ("right",), "between": ("right",)}[phase]
    plant.succeeds(plant.go_on(workflow, "stays"), runs=(2,) if phase in ("writing", "written") else (1,))
