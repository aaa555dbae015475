"""A machine that no Tink server knows is provisioned by a workflow file from a web server."""

import hashlib
import random

import lab as lab_module
from machine import Disk
from server import ipxe

MACHINES = True  # tests/run: needs the initramfs, and boots a machine
MIB = 1 << 20
MAC = lab_module.MAC

TEMPLATE = """\
version: "0.1"
name: no-server
tasks:
  - name: os-installation
    worker: "{{.device_1}}"
    volumes: [/dev:/dev]
    actions:
      - name: stream-image
        image: quay.io/tinkerbell/actions/image2disk:latest
        timeout: 120
        environment:
          IMG_URL: http://{{ .server }}/images/noise.raw
          DEST_DISK: {{ index .Hardware.Disks 0 }}
      - name: write-file
        image: quay.io/tinkerbell/actions/writefile:latest
        timeout: 30
        environment: {DEST_DISK: {{ formatPartition (index .Hardware.Disks 0) 7 }}, DEST_PATH: /x, CONTENTS: y}
      - name: reboot
        image: quay.io/tinkerbell/actions/reboot:latest
"""


def test_a_workflow_from_the_web(folder):
    """It runs once: what it could do is on the disk, why it ended is on the console, and the worker is not started again."""
    noise = folder / "noise.raw"
    noise.write_bytes(random.Random(5).randbytes(4 * MIB))
    disk = Disk(folder / "disk.raw", size_bytes=16 * MIB)
    with lab_module.Lab(folder, images={"noise.raw": noise}) as lab:
        url = lab.web.add("/workflow.yaml", TEMPLATE).replace("127.0.0.1", lab_module.HOST)
        values = lab.web.add("/values.json", f'{{"server": "{lab.address}", "Hardware": {{"Disks": ["/dev/vda"]}}}}')
        digest = hashlib.sha256(TEMPLATE.encode()).hexdigest()
        boot = ipxe.Boot(grpc_authority="", worker_id=MAC, extra=[
            f"workflow_file={url}#sha256={digest}", f"workflow_values={values.replace('127.0.0.1', lab_module.HOST)}"])
        words = ipxe.command_line(boot, MAC).replace("initrd=${initrd} ", "")
        with lab.installer("machine", [disk], append=words) as machine:
            console = machine.ttyS1
            console.wait_for("the workflow is in a file: http://", 200)
            console.wait_for("the workflow has ended with exit status 1", 200)
            assert "1 of 3 actions" in console.text
            assert "write-file" in console.text and "/dev/vda7" in console.text
            start = console.mark()
            console.write("\n")
            console.wait_for(r"# ", 30, start)
            # Longer than the pause after which the worker would be started again.
            assert console.run("sleep 3; grep -c 'tink-worker starts' /run/tink-worker/log").strip() == "1"
    assert disk.path.read_bytes()[:4 * MIB] == noise.read_bytes()
