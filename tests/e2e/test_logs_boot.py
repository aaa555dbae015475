"""Syslog and bundle of a machine that boots: everything that is said there, from the kernel's first line to "rebooting"."""

import io
import tarfile

from lab import HOST, MAC, Lab
from server.syslog import SyslogServer

MACHINES = True  # tests/run: needs the initramfs, and boots a machine

SECRET = "secret-of-the-site-1234"


def test_a_machine_tells_everything(folder):
    bundles = []
    with SyslogServer("udp") as udp, SyslogServer("tcp") as tcp, Lab(folder) as lab:
        lab.web.route("PUT", "/bundle", lambda request: bundles.append(request) or "")
        machine = lab.installer("logs", [], on_reboot="shutdown", params=[
            f"syslog_host={HOST}:{udp.port},tcp://{HOST}:{tcp.port}", "docker_registry=registry.example", "registry_username=site",
            f"registry_password={SECRET}", f"bundle_url=http://{lab.address}/bundle?sig={SECRET}&id={{id}}"])
        fails = lab.tink.add_actions(MAC, [{"name": "does not work", "image": "nobody/knows/this", "timeout": 60}])
        with machine:
            for receiver in (udp, tcp):
                receiver.wait("action ended", severity=3, timeout_s=240)
                # Of before there was a network, or a worker.
                assert receiver.find("Linux version", app="kernel", facility=0)
                assert receiver.find("tink-worker's initramfs", app="init", facility=3)
                assert receiver.find("address 10.0.2.15", app="network") and receiver.find("ready; disks", app="devices")
                assert receiver.find(app="systemd-udevd") and receiver.find("tink-worker starts", app="tink-worker")
                assert receiver.find("registry_password=***", app="kernel"), "the kernel tells its command line"
            assert tcp.find("Linux version")[0].host == MAC and tcp.find("Linux version")[0].data == {"id": MAC}
            lab.web.wait(lambda: bundles, 60, "the bundle of the failed action")
            lab.tink.add_actions(MAC, [{"name": "reboot", "image": "quay.io/tinkerbell/actions/reboot", "timeout": 60}])
            machine.wait_end(120)
        assert fails.finished
        for receiver in (udp, tcp):
            receiver.wait("rebooting", timeout_s=1)
            assert SECRET.encode() not in receiver.bytes and not receiver.wrong
        assert bundles[0].query == {"sig": SECRET, "id": MAC}
        with tarfile.open(fileobj=io.BytesIO(bundles[0].body)) as tar:
            files = {member.name: tar.extractfile(member).read().decode(errors="replace") for member in tar}
        assert "does not work" in files["log/worker.log"] and "initramfs" in files["log/console.log"]
        assert "Linux version" in files["dmesg.txt"] and "10.0.2.15/24" in files["network/interfaces.txt"]
        assert "does not work" in files["status.txt"] and f"worker_id={MAC}" in files["system/cmdline.txt"]
        assert "missing: disks/mdstat" in files["about.txt"] or "disks/mdstat.txt" in files
        assert not [name for name, text in files.items() if SECRET in text]
