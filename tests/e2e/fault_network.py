"""The network cable is pulled at every moment of a workflow's life: worker and server each live in a network namespace, and the
wire between them is taken down. Nobody is told: what is sent gets lost, and so does the word that a connection has ended.
"""

import contextlib
import ctypes
import functools
import itertools
import os
import subprocess
import threading
import time

from fault_matrix import PHASES, Cell
from worker import run

from server.web import WebServer

LONG = os.environ.get("TINK_WORKER_LONG") == "1"
# As long as the longest of a connection's timers, and more; a minute and a half takes the same way.
LONG_OUTAGE_S = 90 if LONG else 30
# After the cable is back: a probe of a silent connection, a pause between two tries, what TCP waits before it sends again.
BACK_S = 15
_CLONE_NEWNET = 0x40000000
_NEAR, _FAR = "10.99.0.1", "10.99.0.2"
_NEAR_MAC, _FAR_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
_numbers = itertools.count(1)


@functools.cache
def why_not():
    """Why there are no namespaces here; None if there are."""
    name = f"tink-{os.getpid()}-try"
    made = subprocess.run(["ip", "netns", "add", name], stderr=subprocess.PIPE, text=True, check=False)
    if made.returncode:
        return f"no network namespace can be made: {made.stderr.strip()}"
    run("ip", "netns", "del", name)
    return None


def inside(namespace, function):
    """Runs a function in a thread of the namespace; sockets made there, and threads started there, stay in it."""
    outcome = {}

    def body():
        libc = ctypes.CDLL(None, use_errno=True)
        try:
            with open(f"/run/netns/{namespace}", "rb") as file:
                if libc.setns(file.fileno(), _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), f"setns {namespace}")
            outcome["value"] = function()
        except Exception as error:  # pylint: disable=broad-except
            outcome["error"] = error
    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if "error" in outcome:
        raise outcome["error"]
    return outcome["value"]


class CableCell(Cell):
    """A Cell whose server is at the other end of a wire. The web server is at the worker's."""

    def __init__(self, bench, name, phase):
        base = f"tink-{os.getpid()}-{next(_numbers)}"
        self.near, self.far = f"{base}-near", f"{base}-far"
        super().__init__(bench, name, phase, wrap=["nsenter", f"--net=/run/netns/{self.near}"], host=_FAR, call_timeout=False)

    def __enter__(self):
        for namespace in (self.near, self.far):
            run("ip", "netns", "add", namespace)
            run("ip", "-n", namespace, "link", "set", "lo", "up")
        run("ip", "-n", self.near, "link", "add", "wire", "address", _NEAR_MAC, "type", "veth", "peer", "name", "wire", "address", _FAR_MAC,
            "netns", self.far)
        for namespace, address in ((self.near, _NEAR), (self.far, _FAR)):
            run("ip", "-n", namespace, "address", "add", f"{address}/24", "dev", "wire")
        self.plug(True)
        self.web = WebServer()
        inside(self.near, self.web.start)
        return inside(self.far, super().__enter__)

    def __exit__(self, *exception):
        with contextlib.ExitStack() as stack:
            for namespace in (self.near, self.far):
                stack.callback(run, "ip", "netns", "del", namespace)
            stack.callback(self.web.stop)
            stack.callback(super().__exit__, *exception)

    def plug(self, is_in):
        for namespace in (self.near, self.far) if is_in else (self.far,):
            run("ip", "-n", namespace, "link", "set", "wire", "up" if is_in else "down")
        # Each knows where the other is, as if a router stood between them: else the kernel itself would find out.
        for namespace, address, mac in ((self.near, _FAR, _FAR_MAC), (self.far, _NEAR, _NEAR_MAC)) if is_in else ():
            run("ip", "-n", namespace, "neighbour", "replace", address, "lladdr", mac, "dev", "wire", "nud", "permanent")


def _cable_out(seconds, stored, forgotten):
    """stored: what was sent at that moment has arrived, only its answer is lost. forgotten: the other end ends its connections
    meanwhile, and nobody hears of it."""
    def cell_function(cell):
        cell.reach(answered_after_s=1.0, stored=stored)
        cell.plug(False)
        cell.server.proxy.disruptions += 1  # what it has answered may not have arrived
        begin_s = time.monotonic()
        if cell.phase == "start":
            cell.worker.start()
        if cell.phase == "polling":
            cell.submit()
        time.sleep(seconds / 2)
        if forgotten:
            cell.server.proxy.drop_all()
        time.sleep(seconds / 2)
        cell.plug(True)
        cell.outage_s = time.monotonic() - begin_s
        b=time.monotonic(); cell.finish(timeout_s=BACK_S*4); open("/tmp/nf-back","a").write(f"{cell.name} {cell.phase} {time.monotonic()-b:.1f}\n")
        if LONG:
            time.sleep(30)  # for what TCP may still send of old connections
        cell.check()
    return cell_function


_ROWS = [
    ("cable-5s", "is away for 5 s", _cable_out(5, stored=True, forgotten=False)),
    ("cable-5s-lost", "is away for 5 s, and what was sent is lost", _cable_out(5, stored=False, forgotten=True)),
    ("cable-90s", "is away for 90 s (in a short run 30 s)", _cable_out(LONG_OUTAGE_S, stored=True, forgotten=True)),
]
CABLE = {f"{name}-{phase}": (function, {"kind": CableCell}) for name, _, function in reversed(_ROWS) for phase in PHASES}
CABLE_ROWS = [(name, title, {phase: "SUCCESS, done once" for phase in PHASES}) for name, title, _ in _ROWS]
