"""A real Tinkerbell server in a network namespace, and the Kubernetes API as a user sees it.

The servers are not part of this project: TINKERBELL_BIN names the binary of the current generation (one program that
carries etcd and kube-apiserver). The older generation needs it too, as its Kubernetes, and TINK_SERVER_BIN,
TINK_CONTROLLER_BIN and TINK_CRDS, the folder of its custom resource definitions. A test that finds none is skipped
and says why.

The tests run the worker of the daily build (or WORKER_BIN) in the namespace, with a loop device as the disk.
"""

import base64
import calendar
import contextlib
import ctypes
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

import pytest
import yaml

from server.tls import make_certificate

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SERVER_IP = "192.168.77.1"
GRPC_PORT, HTTP_PORT, KUBE_PORT, FILES_PORT = 42113, 7080, 6443, 8080
FILES_URL = f"http://{SERVER_IP}:{FILES_PORT}"
KUBE_PATH = "/apis/tinkerbell.org/v1alpha1/namespaces/default"
IMAGE = "quay.io/tinkerbell/actions"
ROOTFS_BYTES = 24 << 20
ATTRIBUTES = "tinkerbell.org/agent-attributes"
DURATION = re.compile(r"(\d+(\.\d+)?(d|h|m|s|ms|us|µs|ns))+")
CLONE_NEWNET = 0x40000000


# ---- what the tests need ---------------------------------------------------------------------------


def missing():
    """The reason why a real server cannot be run here, or None."""
    server = os.environ.get("TINKERBELL_BIN")
    if not server:
        return "TINKERBELL_BIN does not name the binary of a Tinkerbell server (with embedded etcd and kube-apiserver)"
    if not os.access(server, os.X_OK):
        return f"TINKERBELL_BIN={server} is not a program"
    if os.geteuid() != 0:
        return "a network namespace with a bridge and a tap needs root"
    for tool in ("ip", "nsenter", "setpriv", "openssl", "mke2fs", "debugfs", "losetup", "zstd", "busybox"):
        if not find_tool(tool):
            return f"{tool} is not installed (initramfs/install-packages test)"
    if not os.path.exists("/dev/net/tun"):
        return "/dev/net/tun is missing"
    probe = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True)
    if probe.returncode != 0:
        return f"no right to make a network namespace: {probe.stderr.strip()}"
    return None


def missing_older():
    """The same of a server of the older generation."""
    for name in ("TINK_SERVER_BIN", "TINK_CONTROLLER_BIN"):
        path = os.environ.get(name)
        if not path:
            return f"{name} does not name a program of a Tink server of the older generation"
        if not os.access(path, os.X_OK):
            return f"{name}={path} is not a program"
    folder = os.environ.get("TINK_CRDS")
    if not folder:
        return "TINK_CRDS does not name the folder of the older generation's custom resource definitions"
    if not list(pathlib.Path(folder).glob("*.yaml")):
        return f"TINK_CRDS={folder} has no *.yaml"
    return missing()


def find_tool(name):
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def find_worker():
    """The worker to run by hand: WORKER_BIN, else the daily build, else the release binary."""
    named = os.environ.get("WORKER_BIN")
    if named:
        return pathlib.Path(named)
    for path in (ROOT / "build/agent/tink-worker", ROOT / "build/tink-worker", ROOT / "out/tink-worker-x86_64"):
        if path.exists():
            return path
    return None


def wait_for(what, condition, seconds, alive=lambda: None, explain=lambda: ""):
    """Polls `condition` until it is true and returns its value. `alive` raises when waiting has no point."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        alive()
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds} s in vain for {what}\n{explain()}")
        time.sleep(0.2)


def tail(path, lines=40):
    try:
        text = pathlib.Path(path).read_text(errors="replace")
    except FileNotFoundError:
        return f"({path}: nothing)"
    return "\n".join(text.splitlines()[-lines:])


# ---- the network namespace ----------------------------------------------------------------------------


class Namespace:
    """A network namespace with loopback, a bridge that has the server's address, and a tap for a machine."""

    def __init__(self, name):
        self.name = name
        self.processes = []
        run("ip", "netns", "add", name)

    def set_up(self):
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "link", "add", "br0", "type", "bridge")
        self.run("ip", "addr", "add", f"{SERVER_IP}/24", "dev", "br0")
        self.run("ip", "tuntap", "add", "tap0", "mode", "tap")
        self.run("ip", "link", "set", "tap0", "master", "br0")
        self.run("ip", "link", "set", "tap0", "up")
        self.run("ip", "link", "set", "br0", "up")
        # kube-apiserver takes its own address from the default route and never gets ready without one.
        self.run("ip", "route", "add", "default", "via", "192.168.77.254")

    def enter(self):
        """The command prefix that starts a program here. It dies with the test run.

        Not `ip netns exec`: that mounts another /sys, and then the cgroups are out of sight."""
        return ["setpriv", "--pdeathsig", "KILL", "nsenter", f"--net=/run/netns/{self.name}", "--"]

    def run(self, *argv):
        run(*self.enter(), *argv)

    def start(self, argv, log, **kwargs):
        with open(log, "ab") as output:
            process = subprocess.Popen(
                self.enter() + [str(part) for part in argv],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, **kwargs)
        self.processes.append(process)
        return process

    def connect(self, port, address=SERVER_IP, timeout=10):
        """A TCP connection from within the namespace. A socket belongs to the namespace of the thread that made it."""
        made = []

        def make():
            with open(f"/run/netns/{self.name}", "rb") as handle:
                if ctypes.CDLL(None, use_errno=True).setns(handle.fileno(), CLONE_NEWNET) == 0:
                    made.append(socket.socket())

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        if not made:
            raise OSError(f"cannot enter the network namespace {self.name}")
        made[0].settimeout(timeout)
        try:
            made[0].connect((address, port))
        except OSError:
            made[0].close()
            raise
        return made[0]

    def answers(self, port):
        try:
            self.connect(port, timeout=2).close()
            return True
        except OSError:
            return False

    def close(self):
        for process in self.processes:
            stop(process)
        run("ip", "netns", "del", self.name)


def run(*argv, **kwargs):
    done = subprocess.run([str(part) for part in argv], capture_output=True, text=True, **kwargs)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, argv))}: status {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def stop(process, seconds=15):
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


# ---- certificates ---------------------------------------------------------------------------------------


class Certificates:
    """kube-apiserver's certificate, an administrator's, a key pair for service accounts, a kubeconfig."""

    def __init__(self, directory):
        self.server = make_certificate(directory, names=("localhost", "127.0.0.1", SERVER_IP))
        self.client = make_certificate(directory, common_name="admin", name="client")
        self.accounts = make_certificate(directory, common_name="accounts", name="accounts")
        self.kubeconfig = directory / "kubeconfig"
        self.write_kubeconfig()

    def write_kubeconfig(self):
        def data(path):
            return base64.b64encode(path.read_bytes()).decode()

        self.kubeconfig.write_text(yaml.safe_dump({
            "apiVersion": "v1", "kind": "Config", "current-context": "default",
            "clusters": [{"name": "test", "cluster": {
                "server": f"https://localhost:{KUBE_PORT}", "certificate-authority-data": data(self.server.ca)}}],
            "users": [{"name": "admin", "user": {
                "client-certificate-data": data(self.client.certificate), "client-key-data": data(self.client.key)}}],
            "contexts": [{"name": "default", "context": {"cluster": "test", "user": "admin"}}],
        }))


# ---- the server -------------------------------------------------------------------------------------------


class Server:
    """The real server: its processes, and the Kubernetes API as a user sees it."""

    services = ("--dhcp-bind-interface=br0", f"--ipxe-http-script-osie-url={FILES_URL}")

    def __init__(self, directory, namespace):
        self.directory = directory
        self.namespace = namespace
        self.log = directory / "server.log"
        self.files = directory / "files"
        self.files.mkdir()
        self.certificates = Certificates(directory / "certificates")
        self.tls = ssl.create_default_context(cafile=str(self.certificates.server.ca))
        self.tls.load_cert_chain(self.certificates.client.certificate, self.certificates.client.key)
        namespace.start([sys.executable, "-m", "http.server", "--bind", SERVER_IP, "--protocol", "HTTP/1.1",
            "--directory", self.files, FILES_PORT], directory / "files.log")
        self.process = None
        self.start()

    def start(self, *more):
        certificates = self.certificates
        started = time.monotonic()
        self.process = self.namespace.start([
            os.environ["TINKERBELL_BIN"], *self.services,
            "--etcd-servers=http://localhost:2379", f"--etcd-dir={self.directory / 'etcd'}",
            # The certificate: kube-apiserver does not take the private half of an EC key for checking, and then
            # it never gets ready, without a word.
            f"--service-account-key-file={certificates.accounts.certificate}",
            f"--service-account-signing-key-file={certificates.accounts.key}", "--service-account-issuer=api",
            f"--kube-apiserver-tls-cert-file={certificates.server.certificate}",
            f"--kube-apiserver-tls-private-key-file={certificates.server.key}",
            f"--client-ca-file={certificates.server.ca}", f"--backend-kube-config={certificates.kubeconfig}",
            f"--public-ipv4={SERVER_IP}",
            "--enable-secondstar=false", "--enable-rufio-controller=false", "--enable-ui=false",
            *more,
        ], self.log, cwd=self.directory)
        wait_for("the server to be ready", self.is_ready, 150, alive=self.check_alive, explain=lambda: tail(self.log))
        print(f"server ready after {time.monotonic() - started:.1f} s")

    def stop(self):
        stop(self.process)

    def is_ready(self):
        if not all(self.namespace.answers(port) for port in (KUBE_PORT, GRPC_PORT, HTTP_PORT)):
            return False
        try:
            self.request("GET", f"{KUBE_PATH}/workflows")
            return True
        except (OSError, KubernetesError):
            return False

    def check_alive(self):
        if self.process.poll() is not None:
            pytest.fail(f"the server ended with status {self.process.returncode}\n{tail(self.log)}")

    def request(self, method, path, body=None):
        raw = self.namespace.connect(KUBE_PORT, address="127.0.0.1")
        connection = http.client.HTTPConnection("localhost")
        with contextlib.closing(connection):
            connection.sock = self.tls.wrap_socket(raw, server_hostname="localhost")
            connection.request(method, path, body and json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
        if answer.status >= 300:
            raise KubernetesError(answer.status, f"{method} {path}: {answer.status} {text.decode(errors='replace')}")
        return json.loads(text)

    def create(self, kind, name, spec):
        self.request("POST", f"{KUBE_PATH}/{kind.lower() + ('' if kind == 'Hardware' else 's')}", {
            "apiVersion": "tinkerbell.org/v1alpha1", "kind": kind,
            "metadata": {"name": name, "namespace": "default"}, "spec": spec})

    def create_machine(self, name, mac, address, uefi=False):
        self.create("Hardware", name, {**self.machine_spec(mac), "interfaces": [{
            "dhcp": {"mac": mac, "hostname": name, "arch": "x86_64", "uefi": uefi, "lease_time": 86400,
                "name_servers": [SERVER_IP],
                "ip": {"address": address, "netmask": "255.255.255.0", "gateway": SERVER_IP}},
            "netboot": {"allowPXE": True, "allowWorkflow": True}}]})

    def machine_spec(self, mac):
        return {"agentID": mac}

    def create_template(self, name, actions):
        template = {"version": "0.1", "name": name, "global_timeout": 1800, "tasks": [
            {"name": "provision", "worker": "{{.device_1}}", "volumes": ["/dev:/dev"], "actions": actions}]}
        self.create("Template", name, {"data": yaml.safe_dump(template, sort_keys=False)})

    def create_workflow(self, name, machine, mac, actions):
        self.create_template(name, actions)
        self.create("Workflow", name, {
            "templateRef": name, "hardwareRef": machine, "hardwareMap": {"device_1": mac}})

    def delete_workflow(self, name):
        self.request("DELETE", f"{KUBE_PATH}/workflows/{name}")
        self.request("DELETE", f"{KUBE_PATH}/templates/{name}")

    def workflow(self, name):
        return self.request("GET", f"{KUBE_PATH}/workflows/{name}")

    def attributes(self, machine):
        """The inventory that the worker sent, as the server keeps it with the Hardware, or None."""
        annotations = self.request("GET", f"{KUBE_PATH}/hardware/{machine}")["metadata"].get("annotations", {})
        return json.loads(annotations.get(ATTRIBUTES, "null"))

    def state(self, name):
        return self.workflow(name).get("status", {}).get("state")

    def actions(self, name):
        """The actions of the workflow's only task, with their states, as `kubectl get workflow -o yaml` shows them."""
        tasks = self.workflow(name).get("status", {}).get("tasks", [])
        return tasks[0]["actions"] if tasks else []

    def action_state(self, action):
        return action.get("state")

    def show(self, name):
        status = yaml.safe_dump(self.workflow(name).get("status"), sort_keys=False, allow_unicode=True)
        return f"--- status of workflow {name}\n{status}"


class OlderServer(Server):
    """A Tink server of the older generation and its controller, on the Kubernetes of the current one's binary."""

    services = tuple(f"--enable-{name}=false" for name in ("smee", "tootles", "tink-server", "tink-controller", "crd-migrations"))

    def start(self, *more):
        self.tink = self.controller = None
        super().start(*more)
        for path in sorted(pathlib.Path(os.environ["TINK_CRDS"]).glob("*.yaml")):
            definition = yaml.safe_load(path.read_text())
            self.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
        wait_for("the older generation's resources", self.has_resources, 60, alive=self.check_alive)
        self.start_tink()

    def start_tink(self):
        """The two programs alone, without their Kubernetes. The controller reads the environment, whatever --kubeconfig says."""
        kubeconfig = ("--kubeconfig", self.certificates.kubeconfig)
        self.controller = self.namespace.start([os.environ["TINK_CONTROLLER_BIN"], *kubeconfig, "--namespace=default",
            "--metrics-bind-address=127.0.0.1:18080", "--health-probe-bind-address=127.0.0.1:18081"],
            self.directory / "controller.log", cwd=self.directory,
            env={**os.environ, "KUBECONFIG": str(self.certificates.kubeconfig)})
        self.tink = self.namespace.start([os.environ["TINK_SERVER_BIN"], *kubeconfig,
            "--grpc-authority", f"{SERVER_IP}:{GRPC_PORT}", "--http-authority=127.0.0.1:42114"],
            self.directory / "tink-server.log", cwd=self.directory)
        wait_for("the older server to listen", lambda: self.namespace.answers(GRPC_PORT), 60, alive=self.check_alive)

    def stop_tink(self):
        stop(self.tink)
        stop(self.controller)

    def is_ready(self):
        if not self.namespace.answers(KUBE_PORT):
            return False
        try:
            self.request("GET", "/api/v1/namespaces/default")
            return True
        except (OSError, KubernetesError):
            return False

    def has_resources(self):
        try:
            return all(self.request("GET", f"{KUBE_PATH}/{kind}") for kind in ("hardware", "templates", "workflows"))
        except KubernetesError:
            return False

    def check_alive(self):
        super().check_alive()
        for program, log in ((self.tink, "tink-server.log"), (self.controller, "controller.log")):
            if program and program.poll() is not None:
                pytest.fail(f"a program of the server ended with status {program.returncode}\n{tail(self.directory / log)}")

    def machine_spec(self, mac):
        return {}  # no agentID: the worker of the older generation is known by the template's `worker` alone

    def state(self, name):
        return (super().state(name) or "").removeprefix("STATE_")

    def action_state(self, action):
        return action.get("status", "").removeprefix("STATE_")


class KubernetesError(Exception):
    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


class Worker:
    """The worker started by hand in the server's namespace, as the agent `mac`."""

    def __init__(self, server, mac, log, *flags):
        self.server, self.mac, self.log = server, mac, log
        self.process = None
        self.start(*flags)

    def start(self, *flags):
        self.process = self.server.namespace.start(
            [find_worker(), "--grpc-server", f"{SERVER_IP}:{GRPC_PORT}", "--id", self.mac, *flags], self.log, env={"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"})

    def check_alive(self):
        if self.process.poll() is not None:
            pytest.fail(f"the worker ended with status {self.process.returncode}\n{tail(self.log)}")

    def wait_for_state(self, workflow, wanted, seconds=60):
        def seen():
            state = self.server.state(workflow)
            if state in ("SUCCESS", "FAILED", "TIMEOUT") and state != wanted:
                pytest.fail(f"workflow {workflow} is {state}, not {wanted}\n{explain()}")
            return state == wanted

        def explain():
            return f"{self.server.show(workflow)}\n--- worker\n{tail(self.log)}"

        wait_for(f"workflow {workflow} to be {wanted}", seen, seconds, alive=self.check_alive, explain=explain)
        print(self.server.show(workflow))


# ---- fixtures -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serve(Server, missing(), tmp_path_factory) as made:
        yield made


@pytest.fixture(scope="module")
def older_server(tmp_path_factory):
    with serve(OlderServer, missing_older(), tmp_path_factory) as made:
        yield made


@contextlib.contextmanager
def serve(kind, reason, tmp_path_factory):
    if reason:
        pytest.skip(reason)
    directory = tmp_path_factory.mktemp("tinkerbell")
    namespace = Namespace(f"tinkerbell-{os.getpid()}")
    try:
        namespace.set_up()
        made = kind(directory, namespace)
        make_images(directory, made.files)
        yield made
    finally:
        namespace.close()


def make_images(directory, files):
    """rootfs.raw.zst: an ext4 file system with busybox; disk.raw.zst: the same as the first partition of a disk."""
    tree = directory / "tree"
    for name in ("bin", "etc", "dev", "proc", "sys", "run", "tmp"):
        (tree / name).mkdir(parents=True)
    shutil.copy(find_tool("busybox"), tree / "bin/busybox")
    for name in ("sh", "cat", "sleep", "uname", "touch"):
        (tree / "bin" / name).symlink_to("busybox")
    (tree / "etc/hostname").write_text("imaged\n")
    rootfs, disk = directory / "rootfs.raw", directory / "disk.raw"
    run("mke2fs", "-q", "-t", "ext4", "-L", "root", "-d", tree, rootfs, f"{ROOTFS_BYTES >> 10}k", env=tool_env())
    with open(disk, "wb") as image:
        image.truncate(ROOTFS_BYTES + (2 << 20))
    run("sfdisk", "--quiet", disk, input=f"label: gpt\nstart=2048, size={ROOTFS_BYTES // 512}, type=linux\n",
        env=tool_env())
    with open(disk, "r+b") as image:
        image.seek(1 << 20)
        image.write(rootfs.read_bytes())
    for image in (rootfs, disk):
        run("zstd", "-q", "-3", image, "-o", files / (image.name + ".zst"))


def tool_env():
    return {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}


def check_image(device, server):
    """The image is on the disk byte for byte, and what lies behind it is as it was."""
    with open(device, "rb") as disk, open(server.directory / "rootfs.raw", "rb") as image:
        assert disk.read(ROOTFS_BYTES) == image.read(), f"{device} differs from the image"
        assert disk.read(1 << 20) == b"old data" * (1 << 17)


def read_file(filesystem, path):
    """The contents of a file in an ext4 file system that is not mounted."""
    return run("debugfs", "-R", f"cat {path}", filesystem, env=tool_env())


@pytest.fixture
def disk(tmp_path):
    """A used disk, every byte of it something else than zero: a loop device."""
    backing = tmp_path / "disk"
    backing.write_bytes(b"old data" * (8 << 20))
    device = run("losetup", "--find", "--show", backing, env=tool_env()).strip()
    yield device
    run("losetup", "--detach", device, env=tool_env())


class Case:
    """One test's machine, workflow and worker; the names are made from the test's own."""

    numbers = iter(range(10, 250))

    def __init__(self, server, name, tmp_path):
        number = next(self.numbers)
        self.server, self.name, self.tmp_path = server, name, tmp_path
        self.mac = f"52:54:00:77:00:{number:02x}"
        self.address = f"192.168.77.{number}"
        self.worker = None
        self.workflows = []

    def create_machine(self, **kwargs):
        self.server.create_machine(self.name, self.mac, self.address, **kwargs)

    def create_workflow(self, actions, name=None):
        name = name or self.name
        self.server.create_workflow(name, self.name, self.mac, actions)
        self.workflows.append(name)

    def start_worker(self, *flags):
        if find_worker() is None:
            pytest.skip("no worker is built (meson compile -C build)")
        self.worker = Worker(self.server, self.mac, self.tmp_path / "worker.log", *flags)
        return self.worker

    def wait_for_action(self, index, state, seconds=60):
        wait_for(f"action {index} to be {state}",
            lambda: self.states()[index:index + 1] == [state],
            seconds, alive=self.worker.check_alive,
            explain=lambda: f"{self.server.show(self.name)}\n--- worker\n{tail(self.worker.log)}")

    def inventory(self):
        """What the worker tells of this machine."""
        return json.loads(run(find_worker(), "inventory", env=tool_env()))

    def states(self):
        """The states of the actions, as the Kubernetes API shows them."""
        return [self.server.action_state(action) for action in self.server.actions(self.name)]

    def close(self):
        if self.worker:
            stop(self.worker.process)
        for name in self.workflows:
            with contextlib.suppress(KubernetesError, OSError):
                self.server.delete_workflow(name)


@pytest.fixture
def case(server, request, tmp_path):
    yield from make_case(server, request, tmp_path)


@pytest.fixture
def older_case(older_server, request, tmp_path):
    yield from make_case(older_server, request, tmp_path)


def make_case(server, request, tmp_path):
    made = Case(server, re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_")).strip("-"), tmp_path)
    yield made
    made.close()


# ---- what is asserted of an action's record --------------------------------------------------------------------


def seconds_of(stamp):
    return calendar.timegm(time.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ"))


def duration_seconds(text):
    """The seconds in a duration as people read it: 1m3s, 45s12ms."""
    assert DURATION.fullmatch(text), f"not a duration: {text!r}"
    units = {"d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)(d|h|ms|m|s|us|µs|ns)", text))


def check_times(action, since):
    start, end = seconds_of(action["executionStart"]), seconds_of(action["executionStop"])
    assert since - 2 <= start <= end <= time.time() + 2, f"{action['name']}: from {start} to {end}, the test began at {since}"
    took = duration_seconds(action["executionDuration"])
    assert abs((end - start) - took) <= 1.5, f"{action['name']}: {action['executionDuration']} from {start} to {end}"
    return took


def image_to(device, name="rootfs.raw.zst", **more):
    return {"name": "image", "image": f"{IMAGE}/image2disk:latest", "timeout": 300,
        "environment": {"IMG_URL": f"{FILES_URL}/{name}", "DEST_DISK": device, "COMPRESSED": "true", **more}}


def write_file_to(device, path="/etc/motd", contents="written by the workflow\n"):
    return {"name": "write a file", "image": f"{IMAGE}/writefile:latest", "timeout": 90,
        "environment": {"DEST_DISK": device, "FS_TYPE": "ext4", "DEST_PATH": path, "CONTENTS": contents,
            "UID": "0", "GID": "0", "MODE": "0640", "DIRMODE": "0755"}}


def command_in(device, command, timeout=90):
    return {"name": "run a command", "image": f"{IMAGE}/cexec:latest", "timeout": timeout,
        "environment": {"BLOCK_DEVICE": device, "FS_TYPE": "ext4", "CHROOT": "y",
            "DEFAULT_INTERPRETER": "/bin/sh -c", "CMD_LINE": command}}


# ---- a row that both generations play ------------------------------------------------------------------------------


def check_restarted_worker(disk, case):
    """The server hands a RUNNING action out again, and its second run succeeds."""
    case.create_machine()
    case.create_workflow([image_to(disk), command_in(disk, "sleep 4; echo again >> /etc/proof")])
    worker = case.start_worker()
    case.wait_for_action(1, "RUNNING")
    worker.process.kill()
    worker.process.wait()
    worker.start()
    worker.wait_for_state(case.name, "SUCCESS")
    assert read_file(disk, "/etc/proof") == "again\n", "the first run went on when its worker was dead"


def check_idle(case, device, seconds, wait_s):
    """A worker without a workflow is quiet and costs nothing, and takes the first one within `wait_s`."""
    case.create_machine()
    worker = case.start_worker()
    wait_for("the worker to ask", lambda: "asking for work" in worker.log.read_text(), 20, alive=worker.check_alive)
    time.sleep(2)
    before = cpu_seconds(worker.process.pid)
    time.sleep(seconds)
    worker.check_alive()
    used = cpu_seconds(worker.process.pid) - before
    lines = worker.log.read_text().splitlines()
    print(f"idle for {seconds} s: {used:.2f} s of a core, {resident_kib(worker.process.pid)} KiB resident, "
          f"{len(lines)} lines of log\n" + "\n".join(lines))
    assert used < 0.01 * seconds + 0.05, f"{used} s of a core in {seconds} s"
    assert not any(" error " in line or " warning " in line for line in lines if "certificate" not in line)
    assert len(lines) < 12, "one line for each change of state, not for each answer"
    case.create_workflow([image_to(device)])
    created = time.monotonic()
    wait_for("the worker to take its first workflow", lambda: "action received" in worker.log.read_text(), wait_s + 10,
        alive=worker.check_alive, explain=lambda: tail(worker.log))
    took = time.monotonic() - created
    print(f"taken {took:.1f} s after it was applied")
    assert took < wait_s
    worker.wait_for_state(case.name, "SUCCESS")


def cpu_seconds(pid):
    """User and system time of a process that setpriv and nsenter have become."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_kib(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1])


def process_runs(command):
    return subprocess.run(["pgrep", "-f", f"^{command}$"], capture_output=True).returncode == 0
