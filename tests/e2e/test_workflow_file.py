"""Workflow files: a worker without a server, and what `check` says of a file. The shapes are those of real Templates."""

import hashlib
import json
import signal
import subprocess

import pytest

from worker import BINARY, MIB, eventually, images, make_station, station  # noqa: F401

ID = "52:54:00:00:00:01"

# As a site has it in its repository, with its Hardware and Workflow beside it.
OBJECTS = """\
apiVersion: tinkerbell.org/v1alpha1
kind: Hardware
metadata: {name: rack-4-12}
spec:
  disks: [{device: %(disk)s}]
  interfaces: [{dhcp: {mac: "52:54:00:00:00:01", hostname: rack-4-12}}]
---
apiVersion: tinkerbell.org/v1alpha1
kind: Template
metadata: {name: two-disks}
spec:
  data: |
    version: "0.1"
    name: two-disks
    global_timeout: 600
    tasks:
      - name: os-installation
        worker: "{{.device_1}}"
        volumes: [/dev:/dev, /dev/console:/dev/console]
        environment: {FS_TYPE: ext4}
        actions:
          - name: stream-image
            image: quay.io/tinkerbell/actions/image2disk:latest
            timeout: 90
            environment:
              IMG_URL: {{ .url }}
              DEST_DISK: {{ index .Hardware.Disks 0 }}
              COMPRESSED: true
          - name: write-hostname
            image: quay.io/tinkerbell/actions/writefile:latest
            timeout: 90
            environment:
              DEST_DISK: {{ formatPartition ( index .Hardware.Disks 0 ) 2 }}
              DEST_PATH: /etc/hostname
              CONTENTS: {{ (index .Hardware.Interfaces 0).DHCP.Hostname }}
              MODE: 0640
          {{- range .files }}
          - name: write-{{ .name }}
            image: 127.0.0.1/embedded/writefile
            environment: {DEST_DISK: {{ formatPartition (index $.Hardware.Disks 0) 2 }}, DEST_PATH: {{ .path }}, CONTENTS: {{ .text | quote }}}
          {{- end }}
          - name: reboot
            image: 127.0.0.1/embedded/reboot
            pid: host
            timeout: 90
            volumes: [/worker:/worker]
"""


def write(station, text, name="workflow.yaml"):
    path = station.folder / name
    path.write_text(text)
    return path


def start(station, *flags):
    """A worker without a server."""
    worker = station.worker(*map(str, flags), connect=False, start=False)
    worker.flags += ["--reboot-command", str(worker._reboot_script()), "--status-file", str(station.folder / "status")]
    return worker.start()


def run(station, *flags):
    """The same to its end: the worker and its exit status."""
    worker = start(station, *flags)
    status = worker.process.wait(60)
    worker.assert_nothing_left()
    return worker, status


def check(*flags):
    return subprocess.run([str(BINARY), "check", *map(str, flags)], capture_output=True, text=True, check=False,
                          env={"PATH": "/usr/bin:/bin"}, timeout=30)


def rows(worker):
    """Of the table at the end: name -> (state, the rest)."""
    lines = worker.log.split("\nworkflow ", 1)[1].splitlines()[1:]
    words = [line.split(None, 3) for line in lines if line[:3].strip().isdigit() and line[3:5] == "  "]
    return {word[1]: (word[2], word[3] if len(word) > 3 else "") for word in words}


def action(name, image="127.0.0.1/embedded/writefile", extra="", **environment):
    values = ", ".join(f"{key}: {json.dumps(value)}" for key, value in environment.items())
    return f"      - {{name: {name}, image: {image}, environment: {{{values}}}{extra}}}\n"


def template(*actions, extra=""):
    return f"version: '0.1'\nname: short\n{extra}tasks:\n  - name: only\n    worker: {ID}\n    actions:\n{''.join(actions)}"


def test_objects_of_a_site(station, images):
    """Template, Hardware and values become actions in their order; the reboot comes last, after the table."""
    disk = station.disk(size_bytes=24 * MIB)
    image = images.packed(images.disk(), "gz")
    path = write(station, OBJECTS % {"disk": disk.path})
    values = write(station, json.dumps({"files": [{"name": "motd", "path": "/etc/motd", "text": 'a "b"'},
                                                  {"name": "issue", "path": "/etc/issue", "text": "c"}]}), "values.json")
    worker, status = run(station, "--file", path, "--values", values, "--id", ID, "--set", f"url={station.web.url}/{image.name}")
    assert status == 0, worker.log
    with disk.mounted(2) as root:
        assert (root / "etc/hostname").read_text() == "rack-4-12"
        assert (root / "etc/hostname").stat().st_mode & 0o777 == 0o640
        assert (root / "etc/motd").read_text() == 'a "b"'
    assert [word for _, word in worker.notes] == ["reboot"]
    table = rows(worker)
    assert list(table) == ["stream-image", "write-hostname", "write-motd", "write-issue", "reboot"]
    assert {state for state, _ in table.values()} == {"SUCCESS"}
    assert "wrote" in table["stream-image"][1]
    assert "two-disks: SUCCESS, 5 of 5 actions" in worker.log
    assert worker.log.index("5 of 5 actions in") < worker.log.index("rebooting")


def test_nothing_runs_unless_all_is_right(station):
    """The last action's misspelt parameter keeps the first one from running, and is told with its place."""
    disk = station.disk(size_bytes=4 * MIB).fill()
    path = write(station, template(action("erase", "wipe", DEST_DISK=disk.path),
                                   action("write", DEST_DISK=disk.path, DEST_PATH="/x", CONTENT="y")))
    worker, status = run(station, "--file", path, "--id", ID)
    assert status == 1
    assert disk.is_filled
    assert f"{path}:8:" in worker.log and "writefile has no parameter CONTENT, did you mean CONTENTS?" in worker.log
    assert "nothing of it was run" in worker.log
    assert "action received" not in worker.log


def test_the_first_failure_ends_it(station):
    disk = station.disk(size_bytes=4 * MIB).fill()
    path = write(station, template(
        action("wrong", DEST_DISK=disk.path, DEST_PATH="/x", CONTENTS="y"), action("never", "wipe", DEST_DISK=disk.path)))
    worker, status = run(station, "--file", path)
    assert status == 1
    assert disk.is_filled
    table = rows(worker)
    assert table["wrong"][0] == "FAILED" and disk.path in table["wrong"][1]
    assert table["never"][0] == "not"
    assert worker.notes == []


def test_on_failure(station):
    disk = station.disk(size_bytes=4 * MIB)
    path = write(station, template(action("wrong", DEST_DISK=disk.path, DEST_PATH="/x", CONTENTS="y", extra=", on-failure: [poweroff]")))
    worker, status = run(station, "--file", path)
    assert status == 1
    assert [word for _, word in worker.notes] == ["poweroff"]
    # Said before the machine goes down.
    assert worker.log.index("then  wrong (on-failure): SUCCESS, ") < worker.log.index("powering off")


@pytest.mark.parametrize("whole", [False, True], ids=["action", "workflow"])
def test_timeout(station, images, whole):
    disk = station.disk(images.root())
    slow = action("slow", "127.0.0.1/embedded/cexec", "" if whole else ", timeout: 1, on-timeout: [reboot]",
                  BLOCK_DEVICE=disk.path, CHROOT="y", CMD_LINE="/bin/sleep 60")
    path = write(station, template(slow, action("next", "poweroff"), extra="global_timeout: 1\n" if whole else ""))
    worker, status = run(station, "--file", path)
    assert status == 3
    assert rows(worker)["slow"][0] == "TIMEOUT"
    assert rows(worker)["next"][0] == "not"
    assert [word for _, word in worker.notes] == ([] if whole else ["reboot"])


def listed(disk, url, retries, timeout_s=0):
    return (f"- id: 1\n  name: fetch\n  image: quay.io/tinkerbell/actions/writefile\n  retries: {retries}\n"
            f"  timeoutSeconds: {timeout_s}\n  env:\n    - {{key: DEST_DISK, value: {disk.path}}}\n"
            f"    - {{key: DEST_PATH, value: /x}}\n    - key: CONTENTS_URL\n      value: {url}\n"
            "- {id: 2, name: off, image: alpine, cmd: poweroff}\n")


def test_list_with_retries(station, images):
    """The form of the existing agent's file transport; a try that fails is repeated as often as is asked for."""
    disk = station.disk(images.root())
    worker, status = run(station, "--transport", "file", "--workflow-path", write(station, listed(disk, station.web.url + "/none", 2)))
    assert status == 1
    assert len(station.web.requests_for("/none")) == 3
    assert "(try 3)" in rows(worker)["fetch"][1]
    url = station.web.add("/there", "content")
    worker, status = run(station, "--file", write(station, listed(disk, url, 2)))
    assert status == 0
    with disk.mounted() as root:
        assert (root / "x").read_text() == "content"
    assert [word for _, word in worker.notes] == ["poweroff"]


def test_interrupted(station, images):
    disk = station.disk(images.root())
    path = write(station, template(
        action("slow", "127.0.0.1/embedded/cexec", BLOCK_DEVICE=disk.path, CHROOT="y", CMD_LINE="/bin/sleep 60"),
        action("next", "poweroff")))
    worker = start(station, "--file", path)
    worker.action_pid()
    assert worker.stop(signal.SIGTERM) == 4
    worker.assert_nothing_left()
    assert rows(worker)["slow"][0] == "interrupted"
    assert rows(worker)["next"][0] == "not"
    assert worker.notes == []


def test_from_the_kernel_command_line(station):
    """A machine without any server: the file comes from a web server, and only if it is the right one."""
    text = template(action("off", "quay.io/tinkerbell/actions/reboot:v1", "", CHROOT="{{ .word }}"))
    url = station.web.add("/workflow.yaml", text)
    values = station.web.add("/values.yaml", "word: x\n")
    root = station.folder / "root"
    (root / "proc").mkdir(parents=True)

    def boot(digest):
        (root / "proc/cmdline").write_text(f"console=ttyS0 hw_addr={ID} workflow_values={values} workflow_file={url}#sha256={digest}\n")
        return run(station, "--root", root)
    worker, status = boot(hashlib.sha256(text.encode()).hexdigest())
    assert status == 0, worker.log
    assert [word for _, word in worker.notes] == ["reboot"]
    worker, status = boot("00" * 32)
    assert status == 1
    assert "its checksum is sha256:" in worker.log and worker.notes == []


def test_whose_workflow_it_is(station):
    path = write(station, template(action("off", "poweroff")))
    worker, status = run(station, "--file", path, "--id", "52:54:00:00:00:99")
    assert status == 1
    assert f"no task is for this machine, 52:54:00:00:00:99 (there are tasks for {ID})" in worker.log
    assert worker.notes == []


def test_json_log(station):
    path = write(station, template(action("off", "poweroff")))
    worker, status = run(station, "--file", path, "--log-format", "json")
    assert status == 0
    lines = [json.loads(line) for line in worker.log.splitlines()]
    ended, = [line for line in lines if line["message"] == "workflow ended"]
    assert (ended["state"], ended["actions"]) == ("SUCCESS", "1 of 1")


def test_check(station):
    disk = station.disk(size_bytes=4 * MIB).fill()
    path = write(station, OBJECTS % {"disk": disk.path})
    done = check(path)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f"{path}:18:20: error: .device_1 has no value: give it by --set device_1=VALUE or in the file of --values",
        f"{path}:26:27: error: .url has no value: give it by --set url=VALUE or in the file of --values",
        f"{path}:37:21: error: .files has no value: give it by --set files=VALUE or in the file of --values",
        f"{path}: 3 errors, 0 warnings: it cannot be run"]
    done = check(path, "--set", "device_1=x", "--set", "url=ftp://x", "--set", "files[0].name=a", "--set", "files[0].path=b",
                 "--set", "files[0].text=c")
    assert done.returncode == 1
    assert f"{path}:26:24: error: image2disk: IMG_URL=ftp://x:" in done.stdout
    assert f"{path}:40:" in done.stdout and "DEST_PATH=b: must be an absolute path" in done.stdout
    done = check("--set", "url=http://x/y.gz", "--id", ID, "--values", write(station, "files: []\n", "values.yaml"), path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{path}: 3 actions can be run, 0 warnings\n"
    assert disk.is_filled


@pytest.mark.parametrize("flags, words", [
    (["/nonexistent.yaml"], "open /nonexistent.yaml"), ([], "takes a workflow file"), (["a", "b"], "takes a workflow file"),
    (["{path}", "--set", "a"], "not NAME=VALUE"), (["{path}", "--values", "{bad}"], "bad.yaml:2:1: not YAML"),
    (["{path}", "--nonsense"], "unknown flag --nonsense")], ids=["absent", "none", "two", "set", "values", "flag"])
def test_check_that_cannot_be_made(station, flags, words):
    path, bad = write(station, template(action("off", "poweroff"))), write(station, "a: [1\n", "bad.yaml")
    done = check(*[flag.format(path=path, bad=bad) for flag in flags])
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stdout == ""
