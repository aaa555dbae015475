"""tests/server/tink-server as a command."""

import re
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

import grpc
import pytest

from server.client import Client

COMMAND = Path(__file__).resolve().parent / "tink-server"
AGENT = "52:54:00:00:00:09"
TEMPLATE = """
name: w1
tasks:
  - name: t
    worker: "52:54:00:00:00:01"
    actions:
      - {name: stream-image, image: image2disk, environment: {DEST_DISK: DISK, IMG_URL: "http://server/x"}}
      - {name: reboot, image: reboot}
"""


class Running:
    """The command in the background, its output as it comes."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen([COMMAND, "--grpc-port", "0", "--http-port", "0", *map(str, arguments)],
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.text = ""
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.text += line

    def find(self, pattern):
        deadline_s = time.monotonic() + 10
        while not (match := re.search(pattern, self.text, re.M)):
            assert time.monotonic() < deadline_s, self.text
            time.sleep(0.02)
        return match[1]

    def wait(self):
        status = self.process.wait(10)
        self.reader.join(5)
        return status


@pytest.fixture
def run(tmp_path):
    (tmp_path / "template.yaml").write_text(TEMPLATE)
    (tmp_path / "disk.img").write_bytes(b"image")
    started = []

    def start(*arguments):
        started.append(Running("--template", tmp_path / "template.yaml", "--agent", AGENT, "--set", "DISK=/dev/vda",
                               "--set", "server=10.0.2.2", "--directory", tmp_path, *arguments))
        return started[-1]
    yield start
    for running in started:
        running.process.terminate()
        running.wait()


def test_until_success(run):
    running = run("--until-done", "--long-poll", "1", "--strict")
    url = running.find(r"http on (\S+)")
    assert urllib.request.urlopen(url + "/disk.img").read() == b"image"
    authority = running.find(r"listening on (\S+)")
    script = urllib.request.urlopen(f"{url}/ipxe/script/{AGENT}/auto.ipxe").read().decode()
    assert f"grpc_authority={authority} " in script
    with Client(authority, AGENT) as client:
        action = client.get_action()
        assert list(action.environment) == ["DEST_DISK=/dev/vda", "IMG_URL=http://10.0.2.2/x"]
        client.report(action, "RUNNING", "running action")
        client.report(action, "SUCCESS", "wrote 5 bytes")
        client.run(client.get_action())
    assert running.wait() == 0
    assert re.search(r"^\d+\.\d s  workflow w1  action 1/2 stream-image  RUNNING  running action$", running.text, re.M)
    assert re.search(r"^\d+\.\d s  workflow w1  action 1/2 stream-image  SUCCESS  1s wrote 5 bytes$", running.text, re.M)
    assert re.search(r"^\d+\.\d s  workflow w1  SUCCESS$", running.text, re.M)


def test_until_failure(run):
    running = run("--until-done")
    with Client(running.find(r"listening on (\S+)"), AGENT) as client:
        client.run(client.get_action(), "FAILED", "no such disk")
    assert running.wait() == 1


def test_strict(run):
    running = run("--until-done", "--strict")
    with Client(running.find(r"listening on (\S+)"), AGENT) as client:
        client.report(client.get_action(), "FAILED", "no RUNNING, no reason\0")
    assert running.wait() == 3
    assert "violation: " in running.text


def test_timeout(run):
    running = run("--until-done", "--timeout", "0.5")
    assert running.wait() == 1
    assert "not done after 0.5 s" in running.text


def test_tls(run, tmp_path):
    running = run("--tls", tmp_path / "tls", "--long-poll", "0.1")
    authority = running.find(r"listening on (\S+) with TLS")
    credentials = grpc.ssl_channel_credentials((tmp_path / "tls/ca.crt").read_bytes())
    with Client(authority, AGENT, credentials) as client:
        assert client.get_action().name == "stream-image"
    script = urllib.request.urlopen(running.find(r"http on (\S+)") + f"/{AGENT}/auto.ipxe").read().decode()
    assert "tinkerbell_tls=true " in script


@pytest.mark.parametrize("arguments, words", [
    (["--template", "/nonexistent"], "/nonexistent"),
    (["--set", "DISK"], "WORD=VALUE"),
    (["--until-done"], "needs a --template"),
])
def test_usage_errors(arguments, words):
    result = subprocess.run([COMMAND, "--grpc-port", "0", "--http-port", "0", *arguments], capture_output=True,
                            text=True, timeout=10, check=False)
    assert result.returncode == 2
    assert words in result.stderr


def test_help():
    result = subprocess.run([COMMAND, "--help"], capture_output=True, text=True, timeout=10, check=True)
    assert "--until-done" in result.stdout and "Exit status" in result.stdout
