"""Secrets in every place where there can be one, success and failure: nothing that leaves the worker holds them, in any spelling.

What is looked through: standard error, files, syslog (UDP, TCP, TLS), reports at the server, bundles (uploaded, and by
`tink-worker bundle`), what is below /run/tink-worker, and the command lines of all processes while it runs.
"""

import base64
import contextlib
import html
import io
import json
import os
import signal
import subprocess
import tarfile
import threading
import urllib.parse
from pathlib import Path
from xml.sax.saxutils import escape as xml_escape

import pytest

from server.registry import FaultyRegistry
from server.syslog import SyslogServer
from server.tls import make_certificate
from worker import BINARY, MIB, eventually, images, make_station, sha256, station  # noqa: F401

ACTIONS = "quay.io/tinkerbell/actions/"
# name: (the secret, the user it belongs to)
SECRETS = {
    "url": ("ur1-p@ss/w0rd:geheim", "url-users"),
    "query": ("query-sig%+/9f8e7d6c", None),
    "other-query": ("tok-0123456789abcdef", None),
    "redirect": ("redirect-token-55aa", None),
    "site-registry": ('site"reg\\pass%41', "site"),
    "registry": ("action reg pass-word", "tester"),
    "http": ("http&pass=word-1", "robots"),
    "bearer": ("bearer.token-XyZ.0001", None),
    "variable": ("variable-p@ss-77", None),
    "bundle": ("bundle-pw-31337", "packer"),
    "bundle-sig": ("bundle-sig-778899aabb", None),
    "proxy": ("proxy-p@ss!", "squid"),
    "command": ("cmd-pass-4711-xy", "cmduser"),
    "command-query": ("kw-7-31", None),
    "command-header": ("hdr.tok-en_0815-abcdef", None),
    "short": ("hunter2", None),
}


def quote(text):
    return urllib.parse.quote(text, safe="")


def of_go(text):
    """In JSON as programs in Go write it."""
    return json.dumps(text)[1:-1].replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def spellings(secret, user):
    """A secret as people and programs write it; its beginning, as texts are cut."""
    found = {secret[:11], quote(secret), quote(secret).lower() if "%" in quote(secret) else secret, json.dumps(secret)[1:-1],
             json.dumps(json.dumps(secret)[1:-1])[1:-1], urllib.parse.quote_plus(secret), repr(secret)[1:-1],
             html.escape(secret), xml_escape(secret), of_go(secret)}
    # Wherever it stands in what was encoded as a whole.
    for before, foreign in ((1, 2), (2, 3)):
        code = base64.b64encode(bytes(before) + secret.encode()).decode()
        found.add(code[foreign:(before + len(secret)) // 3 * 4])
    for plain in (secret, f"{user}:{secret}" if user else secret, f"{user}:{quote(secret)}" if user else secret):
        code = base64.b64encode(plain.encode()).decode()
        found.add(code[:len(plain) // 3 * 4])
    return {text.encode() for text in found}


NEEDLES = {needle: name for name, (secret, user) in SECRETS.items() for needle in spellings(secret, user)}


def look_through(where, data):
    """Asserts that none of the secrets is in these bytes."""
    for needle, name in NEEDLES.items():
        at = data.find(needle)
        assert at < 0, f"the secret \"{name}\" is in {where}: …{data[max(0, at - 200):at + len(needle) + 40]!r}…"


def secret(name):
    return SECRETS[name][0]


def userinfo(name):
    value, user = SECRETS[name]
    return f"{user}:{quote(value)}@"


class CommandLines:
    """Collects the command lines of all processes but those of the tests, from time to time, in a thread."""

    def __init__(self):
        self.seen = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _run(self):
        while not self._stop.wait(0.01):
            for name in os.listdir("/proc"):
                if not name.isdigit() or int(name) == os.getpid():
                    continue
                with contextlib.suppress(OSError):
                    if os.path.samefile(f"/proc/{name}/exe", BINARY):
                        line = Path(f"/proc/{name}/cmdline").read_bytes()
                        self.seen[line] = name


def unpacked(data):
    """The files of a bundle: name: bytes."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_secrets_appear_nowhere(station, images, log_format):
    certificate = make_certificate(station.folder / "tls")
    registry = FaultyRegistry(user=("tester", secret("registry")), bearer=log_format == "json")
    bundles = []
    with contextlib.ExitStack() as stack:
        stack.callback(registry.stop)
        udp, tcp, tls = (stack.enter_context(SyslogServer(kind, tls=certificate if kind == "tls" else None))
                         for kind in ("udp", "tcp", "tls"))
        station.web.route("PUT", "/bundle", lambda request: bundles.append(request) or "")
        bundle_url = (station.web.url.replace("://", f"://{userinfo('bundle')}")
                      + f"/bundle?sig={secret('bundle-sig')}&id={{id}}&action={{action}}")
        flags = ["--log-level=debug", f"--log-format={log_format}", "--log-dir", str(station.folder / "logs"),
                 "--status-file", str(station.folder / "status"), "--syslog-host", ",".join(
                     (f"127.0.0.1:{udp.port}", tcp.url, tls.url)),
                 "--tls-ca", str(certificate.ca), "--bundle-url", bundle_url, "--insecure-registries", registry.authority,
                 "--registry-name", "registry.example", "--registry-user", "site", "--registry-pass", secret("site-registry"),
                 "--https-proxy", f"http://{userinfo('proxy')}127.0.0.1:1", "--no-proxy", "127.0.0.1"]
        worker = station.worker(*flags)
        worker.wait_log("tink-worker starts")
        with CommandLines() as lines:
            everything_that_has_secrets(station, images, registry)
            crash_while_it_runs(station, images)
            station.web.wait(lambda: len(bundles) > 3, what="bundles that are uploaded")
        made = subprocess.run([BINARY, *flags, "bundle", "-o", "-"], check=True, capture_output=True, timeout=60)
        shown = subprocess.run([BINARY, *flags, "config"], check=True, capture_output=True, timeout=60)
        assert worker.stop() == 0
        for server in (udp, tcp, tls):
            server.wait("action ended")
            server.wait("stopped by a signal")
        look_through("standard error", worker.log.encode())
        for server in (udp, tcp, tls):
            look_through(f"syslog by {server.kind}", server.bytes)
            assert not server.wrong
        for report in station.server.reports:
            look_through(f"a report of {report.action_name}", report.message.encode())
        for name, data in [*unpacked(made.stdout).items(),
                           *((f"bundle {number}/{name}", data) for number, request in enumerate(bundles)
                             for name, data in unpacked(request.body).items())]:
            look_through(name, data)
        look_through("config", shown.stdout + shown.stderr + made.stderr)
        for path in [*station.folder.glob("logs/*"), *Path("/run/tink-worker").rglob("*"), station.folder / "status"]:
            if path.is_file() and path.stat().st_size < 64 * MIB:
                look_through(path, path.read_bytes())
        for line, pid in lines.seen.items():
            look_through(f"the command line of {pid}", line)
        assert any(b"--registry-pass\0" in line for line in lines.seen) and any(b"\0child" in line for line in lines.seen)
        # The secrets were used, and where something was hidden it can be seen.
        assert bundles[0].query["sig"] == secret("bundle-sig") and bundles[0].query["id"] == worker.agent
        assert bundles[0].headers["Authorization"] == "Basic " + base64.b64encode(
            f"packer:{secret('bundle')}".encode()).decode()
        assert worker.log.count("***") > 20
        assert "bundle uploaded" in worker.log


def everything_that_has_secrets(station, images, registry):
    """Downloads, uploads and commands with secrets, that succeed and that fail in all ways."""
    disk, root = station.disk(size_bytes=8 * MIB), station.disk(images.root())
    web = station.web
    web.add("/noise", images.noise())
    base = web.url.replace("://", f"://{userinfo('url')}")
    query = f"sig={quote(secret('query'))}&token={secret('other-query')}"
    url = f"{base}/noise?{query}"
    image = {"IMG_URL": url, "DEST_DISK": disk.path}
    image2disk, cexec, writefile = (ACTIONS + name for name in ("image2disk", "cexec", "writefile"))
    station.succeeds(image2disk, {**image, "CHECKSUM": sha256(images.noise())})
    assert web.requests_for("/noise")[-1].query == {"sig": secret("query"), "token": secret("other-query")}
    station.fails(image2disk, {**image, "CHECKSUM": "sha256:" + 64 * "0"}, "sha256")
    for status in (401, 403):
        web.fault("status", path="/noise", status=status, times=1, body=f"no access with {secret('query')} or {url}\n")
        station.fails(image2disk, image, str(status))
    web.fault("redirect", path="/noise", to=f"{base}/gone?X-Amz-Signature={secret('redirect')}", times=1)
    station.fails(image2disk, image, "404")
    web.fault("redirect", path="/noise", to=f"http://127.0.0.1:1/gone?X-Amz-Signature={secret('redirect')}", times=1)
    station.succeeds(image2disk, image)  # at the second try
    station.fails(image2disk, {**image, "IMG_URL": url.replace("http://", "ftp://")}, "IMG_URL")
    station.fails(image2disk, {**image, "NO_SUCH": url, "CHECKSUM": url}, "CHECKSUM")
    # Basic authentication and tokens of uploads.
    slurp = {"SOURCE_DISK": disk.path, "DEST_URL": f"{web.url}/up?{query}", "METHOD": "PUT", "IMG_NAME": "x"}
    web.route("PUT", "/up", lambda request: "")
    station.succeeds("slurp", {**slurp, "HTTP_USERNAME": "robots", "HTTP_PASSWORD": secret("http")})
    assert base64.b64encode(f"robots:{secret('http')}".encode()).decode() in web.requests_for("/up")[-1].headers["Authorization"]
    station.succeeds("slurp", {**slurp, "HTTP_TOKEN": secret("bearer")})

    def echoes(request):
        raise ValueError(f"not with {request.headers['Authorization']}")
    web.route("PUT", "/up", echoes)
    station.fails("slurp", {**slurp, "HTTP_USERNAME": "robots", "HTTP_PASSWORD": secret("http")}, "400")
    station.fails("slurp", {**slurp, "HTTP_TOKEN": secret("bearer")}, "400")
    # Servers that say again what they were sent, in their way of writing.
    for spell in (html.escape, xml_escape, of_go, lambda text: base64.b64encode(f"{{{text}}}".encode()).decode()):
        def says(request, spell=spell):
            raise ValueError(f"<no access>{spell(secret('http'))}</no access>")
        web.route("PUT", "/up", says)
        station.fails("slurp", {**slurp, "HTTP_USERNAME": "robots", "HTTP_PASSWORD": secret("http")}, "400", "no access")
    # A registry, with the right password and with a wrong one.
    registry.add("x/y", "1", images.noise().read_bytes())
    oci = {"IMG_URL": f"{registry.authority}/x/y:1", "DEST_DISK": disk.path, "REGISTRY_USERNAME": "tester"}
    station.succeeds(ACTIONS + "oci2disk", {**oci, "REGISTRY_PASSWORD": secret("registry")})
    for token in registry.given:
        NEEDLES[token.encode()] = "token of the registry"
    station.fails(ACTIONS + "oci2disk", {**oci, "REGISTRY_PASSWORD": secret("http")}, "denied")
    station.fails(ACTIONS + "oci2disk", {**oci, "IMG_URL": f"{registry.authority}/x/none:1",
                                         "REGISTRY_PASSWORD": secret("registry")})
    # Commands that say what they know, and fail with it in their words.
    echo = {"BLOCK_DEVICE": root.path, "FS_TYPE": "ext4", "CHROOT": "y", "DEFAULT_INTERPRETER": "/bin/sh -c",
            "DB_PASSWORD": secret("variable"), "EXTRA_URL": url}
    code = "; ".join(["echo it is $DB_PASSWORD, really", "echo cut; yes $DB_PASSWORD | head -n 300 | tr '\\n' ' '", "echo",
                      "seq 1 715 | tr -d '\\n'; echo $DB_PASSWORD", "false"])
    station.fails(cexec, {**echo, "CMD_LINE": code}, "exit status 1", "it is ***")
    station.fails(cexec, {**echo, "CMD_LINE": f"/bin/no-such-program '{secret('variable')}'"})
    # Commands are logged, and shown in the report, but for what is secret in them.
    command = (f"echo wget -q --header='Authorization: Bearer {secret('command-header')}' "
               f"'https://{userinfo('command')}host.example/x?id=1&auth={secret('command-query')}' $ROOT_PASSWORD")
    station.succeeds(cexec, {**echo, "CMD_LINE": command, "ROOT_PASSWORD": secret("short")}, "host.example/x?***")
    station.succeeds(writefile, {"DEST_DISK": root.path, "DEST_PATH": "/etc/secret", "CONTENTS_URL": url, "FS_TYPE": "ext4"})


def crash_while_it_runs(station, images):
    """The process of an action crashes, and is interrupted."""
    disk = station.disk(size_bytes=8 * MIB)
    url = station.web.url.replace("://", f"://{userinfo('url')}") + f"/noise?sig={quote(secret('query'))}"
    stall = station.web.fault("stall", path="/noise", at=MIB, times=1)
    workflow = station.submit(station.image2disk(url, disk))
    station.web.wait(lambda: stall.hits, what="the request")
    os.kill(station.first.action_pid(), signal.SIGSEGV)
    station.finish(workflow)
    assert workflow.action("it").state == "FAILED"


def test_secrets_of_the_kernel_command_line(station):
    """What stands on the kernel's command line is in no bundle and in no list of settings."""
    (station.folder / "root/proc").mkdir(parents=True)
    (station.folder / "root/proc/cmdline").write_text(
        f"console=ttyS0 worker_id=52:54:00:00:00:01 registry_username=site registry_password={secret('query')} "
        f"docker_registry=registry.example HTTP_PROXY=http://{userinfo('proxy')}proxy:3128 "
        f"syslog_host= bundle_url=https://{userinfo('bundle')}host/put?sig={secret('bundle-sig')} "
        f"ds=nocloud;s=http://{userinfo('url')}seed/?token={secret('other-query')}\n")
    flags = ["--root", str(station.folder / "root"), "--log-dir", str(station.folder / "logs")]
    (station.folder / "logs").mkdir()
    bundle = station.folder / "bundle.tar.zst"
    subprocess.run([BINARY, *flags, "bundle", "-o", bundle], check=True, capture_output=True)
    assert bundle.stat().st_mode & 0o777 == 0o600
    data = subprocess.run(["zstd", "-dcq", bundle], check=True, capture_output=True).stdout
    files = unpacked(data)
    for name, content in files.items():
        look_through(name, content)
    assert b"registry_password=*** docker_registry=registry.example" in files["system/cmdline.txt"]
    assert {"about.txt", "config.txt", "dmesg.txt", "inventory.json", "disks/disks.txt", "network/interfaces.txt"} <= set(files)
    shown = subprocess.run([BINARY, *flags, "config"], check=True, capture_output=True).stdout
    look_through("config", shown)


def test_odd_secrets_of_the_kernel_command_line(station):
    """Short ones, a proxy without a scheme, what is a secret by its name alone, a token in a user's place."""
    (station.folder / "root/proc").mkdir(parents=True)
    (station.folder / "root/proc/cmdline").write_text(
        "registry_password=k9 HTTP_PROXY=squid:no-scheme-pw@proxy:3128 BMC_PASSWORD=calvin1 ipa.api-token=tok-ipa-1 "
        "values=https://a:b@host/?c=d workflow_file=https://ghp_0123456789abcdef0123:x-oauth-basic@host/wf.yaml end=1\n")
    flags = ["--root", str(station.folder / "root"), "--log-dir=none"]
    data = subprocess.run([BINARY, *flags, "bundle", "-o", "-"], check=True, capture_output=True).stdout
    shown = subprocess.run([BINARY, *flags, "config"], check=True, capture_output=True).stdout
    files = {**unpacked(data), "config": shown}
    for name, content in files.items():
        for needle in (b"registry_password=k9", b"no-scheme-pw", b"calvin1", b"tok-ipa-1", b"a:b@", b"c=d", b"ghp_0123456789"):
            assert needle not in content, f"{needle} is in {name}"
    line = files["system/cmdline.txt"]
    assert b"@proxy:3128 BMC_PASSWORD=*** ipa.api-token=*** values=https://***@host/?***" in line and b"end=1" in line
    wrong = subprocess.run([BINARY, "--registry-pasword=hunter2"], capture_output=True, check=False)
    assert wrong.returncode == 2 and b"unknown flag --registry-pasword " in wrong.stderr and b"hunter2" not in wrong.stderr


def test_run_by_hand(station):
    """Values on the command line of `run` are hidden there as soon as they are read."""
    stall = station.web.fault("stall-header", path="/noise", times=1)
    disk = station.disk(size_bytes=8 * MIB)
    process = subprocess.Popen(
        [BINARY, "run", "slurp", f"SOURCE_DISK={disk.path}", f"DEST_URL={station.web.url}/noise?sig={secret('query')}", "IMG_NAME=x",
         "METHOD=PUT", f"HTTP_TOKEN={secret('bearer')}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        def line():
            return Path(f"/proc/{process.pid}/cmdline").read_bytes()
        eventually(lambda: b"HTTP_TOKEN=***" in line(), what="a hidden token")
        look_through("the command line", line())
    finally:
        process.kill()
        process.wait()
    assert stall.kind == "stall-header"
