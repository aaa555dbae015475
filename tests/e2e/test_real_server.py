"""The worker against a real Tinkerbell server of the current generation (see real_server.py).

Most tests run the worker by hand beside the server. The last one boots a machine in QEMU by the server's own DHCP,
TFTP and iPXE script.
"""

import json
import shutil
import subprocess
import time

import pytest

from machine import QEMU, Disk, Machine, Nic
from real_server import (ATTRIBUTES, FILES_URL, KUBE_PATH, ROOT, ROOTFS_BYTES, case, check_idle,
    check_image, check_restarted_worker, check_times, command_in, disk, find_tool, image_to, read_file, server, stop, tail,
    wait_for, write_file_to)

__all__ = ["case", "disk", "server"]  # the fixtures


def test_workflow_succeeds(disk, case):
    since = time.time()
    case.create_machine()
    case.create_workflow([
        image_to(disk),
        write_file_to(disk),
        command_in(disk, "cat /etc/hostname /etc/motd > /etc/proof && sleep 2"),
    ])
    case.start_worker().wait_for_state(case.name, "SUCCESS")
    actions = case.server.actions(case.name)
    assert [action["state"] for action in actions] == ["SUCCESS"] * 3
    took = [check_times(action, since) for action in actions]
    assert 2 <= took[2] < 10
    assert read_file(disk, "/etc/proof") == "imaged\nwritten by the workflow\n"
    print(f"inventory at the server: {json.dumps(case.server.attributes(case.name), indent=2)}")


def test_failure_names_its_reason(disk, case):
    since = time.time()
    case.create_machine()
    case.create_workflow([image_to(disk, name="no-such-image.raw.zst"), write_file_to(disk)])
    case.start_worker().wait_for_state(case.name, "FAILED")
    failed, never_run = case.server.actions(case.name)
    assert failed["state"] == "FAILED" and never_run["state"] == "PENDING"
    assert f"{FILES_URL}/no-such-image.raw.zst" in failed["message"] and "404" in failed["message"]
    check_times(failed, since)


def test_output_of_a_failed_command_is_shown(disk, case):
    case.create_machine()
    case.create_workflow([image_to(disk), command_in(disk, "echo the cat is asleep; exit 7")])
    case.start_worker().wait_for_state(case.name, "FAILED")
    failed = case.server.actions(case.name)[1]
    assert "the cat is asleep" in failed["message"] and "7" in failed["message"]


def test_timeout_is_reported(disk, case):
    since = time.time()
    case.create_machine()
    case.create_workflow([image_to(disk), command_in(disk, "sleep 61", timeout=3)])
    case.start_worker().wait_for_state(case.name, "TIMEOUT")
    late = case.server.actions(case.name)[1]
    assert late["state"] == "TIMEOUT"
    assert 3 <= check_times(late, since) < 10
    assert "3" in late["message"]
    sleeping = subprocess.run(["pgrep", "-f", "^sleep 61$"], capture_output=True, text=True)
    assert sleeping.returncode == 1, "the action's process is still there"


def test_worker_restarted_in_an_action(disk, case):
    check_restarted_worker(disk, case)


def test_server_restarted_in_an_action(disk, case):
    """The report that finds no server is sent again until one takes it."""
    case.create_machine()
    case.create_workflow([image_to(disk), command_in(disk, "sleep 3"), write_file_to(disk)])
    worker = case.start_worker()
    case.wait_for_action(1, "RUNNING")
    case.server.stop()
    time.sleep(4)  # the action ends and its report fails meanwhile
    case.server.start()
    worker.wait_for_state(case.name, "SUCCESS", 90)
    assert [action["state"] for action in case.server.actions(case.name)] == ["SUCCESS"] * 3
    assert read_file(disk, "/etc/motd") == "written by the workflow\n"


def test_workflow_deleted_in_an_action(disk, case):
    """The report of an action that nobody knows any more is given up, and the worker takes the next workflow.

    This takes two minutes: the server ponders for 59 s before it says "not found", and has to say it twice."""
    case.create_machine()
    case.create_workflow([image_to(disk), command_in(disk, "sleep 3")])
    worker = case.start_worker()
    case.wait_for_action(1, "RUNNING")
    case.server.delete_workflow(case.name)
    case.create_workflow([write_file_to(disk)], name=f"{case.name}-next")
    worker.wait_for_state(f"{case.name}-next", "SUCCESS", 240)
    assert read_file(disk, "/etc/motd") == "written by the workflow\n"


def test_idle(disk, case):
    """Longer than the server's minute: its first "nothing to do" comes after 59 s."""
    check_idle(case, disk, seconds=65, wait_s=15)


@pytest.fixture
def enrolling_server(server):
    server.stop()
    server.start("--tink-server-auto-enrollment-enabled=true", "--tink-server-auto-discovery-enabled=true")
    yield server
    server.stop()
    server.start()


def test_unknown_machine_enrols_by_its_inventory(enrolling_server, disk, case):
    """Nobody has applied a Hardware or a Workflow: a rule that matches what the worker tells of the machine makes both."""
    inventory = case.inventory()
    print(f"what the worker prints: {len(json.dumps(inventory))} bytes, {', '.join(sorted(inventory))}")
    rule = {"cpu": {"totalThreads": [inventory["cpu"]["totalThreads"]]},
            "memory": {"total": [inventory["memory"]["total"]]}}
    other = {"memory": {"total": ["no such amount"]}}
    case.server.create_template(case.name, [image_to(disk)])
    made = f"enrollment-{case.mac.replace(':', '-')}"
    for name, wanted in (("other", other), ("this", rule)):
        case.server.create("WorkflowRuleSet", name, {"rules": [json.dumps(wanted)], "workflow": {
            "namespace": "default", "addAttributes": True,
            "template": {"ref": case.name if name == "this" else "none", "agentValue": "device_1"}}})
    began = time.monotonic()
    worker = case.start_worker()

    def enrolled():
        found = [item["metadata"]["name"] for item in case.server.request("GET", f"{KUBE_PATH}/workflows")["items"]]
        return [name for name in found if name.startswith("enrollment-")]

    names = wait_for("a workflow of the rule's making", enrolled, 60, alive=worker.check_alive,
        explain=lambda: tail(worker.log))
    print(f"{time.monotonic() - began:.1f} s: {names}")
    assert names == [made]
    worker.wait_for_state(names[0], "SUCCESS", 90)
    print(f"{time.monotonic() - began:.1f} s: SUCCESS")
    workflow = case.server.workflow(names[0])
    assert workflow["spec"]["hardwareMap"] == {"device_1": case.mac}
    told = json.loads(workflow["metadata"]["annotations"][ATTRIBUTES])
    assert told["cpu"]["totalThreads"] == inventory["cpu"]["totalThreads"]
    assert told["memory"]["total"] == inventory["memory"]["total"]
    discovered = case.server.request("GET", f"{KUBE_PATH}/hardware")["items"]
    found = [item for item in discovered if item["spec"].get("agentID") == case.mac]
    assert found, "auto discovery made no Hardware"
    kept = json.loads(found[0]["metadata"]["annotations"][ATTRIBUTES])
    assert kept == told
    print(f"Hardware {found[0]['metadata']['name']}: {json.dumps(found[0]['spec'])}")
    print(f"inventory at the server, {len(json.dumps(kept))} bytes: {json.dumps(kept)[:3000]}")
    check_image(disk, enrolling_server)


@pytest.fixture
def tls_server(server):
    server.stop()
    certificate = server.certificates.server
    server.start(f"--tls-cert-file={certificate.certificate}", f"--tls-key-file={certificate.key}")
    yield server
    server.stop()
    server.start()


def test_tls(tls_server, disk, case):
    """A certificate that nobody vouches for is taken when its authority is named, or when that was asked for."""
    case.create_machine()
    case.create_workflow([image_to(disk)])
    wait_for("the workflow to be PENDING", lambda: case.server.state(case.name) == "PENDING", 30)
    worker = case.start_worker("--grpc-tls=true")
    wait_for("the worker to refuse the certificate", lambda: "certificate" in worker.log.read_text(), 30,
        alive=worker.check_alive, explain=lambda: tail(worker.log))
    assert case.server.state(case.name) == "PENDING"
    stop(worker.process)
    worker.start("--grpc-tls=true", f"--tls-ca={tls_server.certificates.server.ca}")
    worker.wait_for_state(case.name, "SUCCESS")
    check_image(disk, tls_server)
    case.create_workflow([write_file_to(disk)], name=f"{case.name}-insecure")
    stop(worker.process)
    worker.start("--grpc-tls=true", "--grpc-insecure-tls=true")
    worker.wait_for_state(f"{case.name}-insecure", "SUCCESS")


@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_machine_netboots(case, tmp_path, firmware):
    """A machine with an empty disk comes to us by the server's DHCP, TFTP and iPXE script. Its first workflow
    fails; the user deletes it and applies a better one, which the worker takes without another boot."""
    if not find_tool(QEMU):
        pytest.skip(f"{QEMU} is not installed (initramfs/install-packages qemu)")
    for name in ("vmlinuz-x86_64", "initramfs-x86_64"):
        if not (ROOT / "out" / name).exists():
            pytest.skip(f"out/{name} is not built (initramfs/build)")
        shutil.copy(ROOT / "out" / name, case.server.files / name)
    server, since = case.server, time.time()
    case.create_machine(uefi=firmware == "uefi")
    case.create_workflow([image_to("/dev/vda", name="no-such-image.raw.zst")], name=f"{case.name}-bad")
    disk = Disk(tmp_path / "disk.raw", size_bytes=64 << 20, bootindex=0)
    machine = Machine(tmp_path / "machine", firmware=firmware, memory_mb=512, disks=[disk],
        nics=[Nic(mac=case.mac, tap="tap0", bootindex=1)], on_reboot="shutdown", within=server.namespace.enter())

    def wait_for_state(name, wanted, seconds):
        def explain():
            return f"{server.show(name)}\n{machine.report()}"

        def alive():
            if not machine.is_alive():
                pytest.fail(f"the machine ended\n{explain()}")

        wait_for(f"workflow {name} to be {wanted}", lambda: server.state(name) == wanted, seconds,
            alive=alive, explain=explain)
        print(f"{time.time() - since:.1f} s: workflow {name} is {wanted}\n{server.show(name)}")

    with machine:
        wait_for_state(f"{case.name}-bad", "FAILED", 600)
        message = server.actions(f"{case.name}-bad")[0]["message"]
        assert f"{FILES_URL}/no-such-image.raw.zst" in message and "404" in message
        server.delete_workflow(f"{case.name}-bad")

        again = time.time()
        case.create_workflow([
            image_to("/dev/vda", name="disk.raw.zst"),
            write_file_to("/dev/vda1"),
            command_in("/dev/vda1", "cat /etc/hostname /etc/motd > /etc/proof"),
            {"name": "reboot", "image": "ghcr.io/jacobweinstock/waitdaemon:latest", "timeout": 90, "pid": "host",
                "command": ["reboot"], "environment": {"IMAGE": "alpine", "WAIT_SECONDS": "1"},
                "volumes": ["/var/run/docker.sock:/var/run/docker.sock"]},
        ])
        wait_for_state(case.name, "SUCCESS", 180)
        actions = server.actions(case.name)
        assert [action["state"] for action in actions] == ["SUCCESS"] * 4
        for action in actions:
            check_times(action, again)
        machine.wait_end(120)
        print(f"{time.time() - since:.1f} s: the machine has rebooted")
    partition = tmp_path / "partition"
    partition.write_bytes(disk.read(1 << 20, ROOTFS_BYTES))
    assert read_file(partition, "/etc/proof") == "imaged\nwritten by the workflow\n"
