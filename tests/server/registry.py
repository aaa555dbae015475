"""Registries for tests: Debian's docker-registry as a process, a small one of our own that can be wrong on purpose, the token
server of both, and an uploader that speaks the registry's API as `oras push` does.
"""

import base64
import contextlib
import dataclasses
import hashlib
import http.client
import json
import os
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
import urllib.parse
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
TITLE = "org.opencontainers.image.title"
_EMPTY = b"{}"


def digest_of(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def descriptor(data, media_type="application/vnd.oci.image.layer.v1.tar", title=None, platform=None, **more):
    """What a manifest says of these bytes."""
    result = {"mediaType": media_type, "digest": digest_of(data), "size": len(data), **more}
    if title is not None:
        result["annotations"] = {TITLE: title}
    if platform:
        result["platform"] = dict(zip(("os", "architecture", "variant"), platform.split("/")))
    return result


def manifest_of(*layers, media_type=OCI_MANIFEST, **more):
    """The bytes of an image manifest over descriptors of layers, with the empty config."""
    config = descriptor(_EMPTY, "application/vnd.oci.empty.v1+json")
    return json.dumps({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": list(layers), **more}).encode()


def index_of(*manifests, media_type=OCI_INDEX):
    return json.dumps({"schemaVersion": 2, "mediaType": media_type, "manifests": list(manifests)}).encode()


class Uploader:
    """Pushes to a registry at host:port that asks for no log-in."""

    def __init__(self, authority):
        self.authority = authority

    def _ask(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection(self.authority, timeout=30)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            text = response.read()
            if response.status >= 300:
                raise RuntimeError(f"{method} {path}: {response.status} {text[:300]!r}")
            return response
        finally:
            connection.close()

    def blob(self, repository, data):
        """Pushes a blob; returns its digest."""
        where = urllib.parse.urlsplit(self._ask("POST", f"/v2/{repository}/blobs/uploads/").headers["Location"])
        query = "&".join(filter(None, [where.query, "digest=" + urllib.parse.quote(digest_of(data))]))
        self._ask("PUT", f"{where.path}?{query}", data, {"Content-Type": "application/octet-stream"})
        return digest_of(data)

    def manifest(self, repository, data, tag=None):
        """Pushes a manifest or index by its tag or digest; returns its digest."""
        media_type = json.loads(data)["mediaType"]
        self._ask("PUT", f"/v2/{repository}/manifests/{tag or digest_of(data)}", data, {"Content-Type": media_type})
        return digest_of(data)

    def image(self, repository, tag, data, title="disk.raw", media_type=OCI_MANIFEST, **layer):
        """Pushes bytes as `oras push` pushes a file; returns the manifest."""
        self.blob(repository, _EMPTY)
        self.blob(repository, data)
        manifest = manifest_of(descriptor(data, title=title, **layer), media_type=media_type)
        self.manifest(repository, manifest, tag)
        return manifest


# --- tokens


class TokenServer:
    """Gives out tokens signed as docker-registry checks them: RS256, with the certificate in the header.

    users       name: password; without any, everybody gets one
    requests    (path with query, Authorization) of each request
    """

    service, issuer = "registry of the tests", "token server of the tests"

    def __init__(self, folder, users=None):
        self.folder, self.users, self.requests = Path(folder), users or {}, []
        self.folder.mkdir(parents=True, exist_ok=True)
        self.key, self.certificate = self.folder / "token.key", self.folder / "token.crt"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", self.key, "-out", self.certificate,
                        "-days", "30", "-subj", "/CN=token server"], check=True, capture_output=True)
        self.field = "token"
        self._server = _serve(self._answer)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/token"

    def stop(self):
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, handler):
        self.requests.append((handler.path, handler.headers.get("Authorization")))
        user = _user_of(handler.headers.get("Authorization"))
        if self.users and (user is None or self.users.get(user[0]) != user[1]):
            handler.reply(401, json.dumps({"details": "incorrect username or password"}).encode())
            return
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(handler.path).query)
        access = []
        for scope in query.get("scope", []):
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        handler.reply(200, json.dumps({self.field: self.sign(access, user and user[0]), "expires_in": 300}).encode())

    def sign(self, access, subject):
        now = int(time.time())
        der = subprocess.run(["openssl", "x509", "-in", self.certificate, "-outform", "DER"], check=True, capture_output=True).stdout
        header = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(der).decode()]}
        claims = {"iss": self.issuer, "sub": subject or "", "aud": self.service, "exp": now + 300, "nbf": now - 10, "iat": now,
                  "jti": os.urandom(8).hex(), "access": access}
        text = ".".join(_url64(json.dumps(part).encode()) for part in (header, claims))
        signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.key], input=text.encode(), check=True,
                                   capture_output=True).stdout
        return f"{text}.{_url64(signature)}"


def _url64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _user_of(authorization):
    """(name, password) of basic authentication, or None."""
    scheme, _, value = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    with contextlib.suppress(ValueError):
        name, _, password = base64.b64decode(value).decode().partition(":")
        return name, password
    return None


# --- Debian's docker-registry


class DockerRegistry:
    """docker-registry on loopback, with its storage in a folder; several may share one.

    users   name: password, for basic authentication (htpasswd)
    tokens  a TokenServer, for bearer tokens
    tls     a tls.Certificate
    """

    def __init__(self, folder, storage=None, users=None, tokens=None, tls=None):
        program = shutil.which("docker-registry")
        if not program:
            raise RuntimeError("docker-registry is missing: run initramfs/install-packages test")
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.storage = Path(storage or folder / "storage")
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.authority = f"127.0.0.1:{self.port}"
        config = {"version": "0.1", "log": {"level": "warn", "accesslog": {"disabled": True}},
                  "storage": {"filesystem": {"rootdirectory": str(self.storage)}},
                  "http": {"addr": self.authority, "secret": "of the tests"}}
        if tls:
            config["http"]["tls"] = {"certificate": str(tls.certificate), "key": str(tls.key)}
        if users:
            config["auth"] = {"htpasswd": {"realm": "tests", "path": str(_htpasswd(folder / "htpasswd", users))}}
        if tokens:
            config["auth"] = {"token": {"realm": tokens.url, "service": tokens.service, "issuer": tokens.issuer,
                                        "rootcertbundle": str(tokens.certificate)}}
        path = folder / "config.yml"
        path.write_text(json.dumps(config))  # JSON is YAML
        self.log_path = folder / "log"
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([program, "serve", path], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._wait(folder)

    def _wait(self, folder):
        deadline_s = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            if self.process.poll() is not None or time.monotonic() > deadline_s:
                self.stop()
                raise RuntimeError(f"docker-registry in {folder} does not serve: {self.log_path.read_text()[-2000:]}")
            time.sleep(0.02)

    def stop(self):
        self.process.kill()
        self.process.wait(10)


def _htpasswd(path, users):
    """docker-registry takes bcrypt only; libcrypt has it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it is there in the Python that the tests run with
        import crypt  # pylint: disable=import-outside-toplevel,deprecated-module
    path.write_text("".join(f"{name}:{crypt.crypt(password, crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16))}\n"
                            for name, password in users.items()))
    return path


# --- a registry of our own


@dataclasses.dataclass
class Asked:
    """One request."""

    method: str
    path: str
    headers: dict
    status: int = None


class FaultyRegistry:
    """A registry that answers what it is told to.

    user        (name, password): asks for them
    bearer      gives out tokens (to user only, if there is one) and takes only those; revoke() ends all of them
    tls         a tls.Certificate
    blobs, manifests  what it has: {digest: bytes}, {"repository:tag" or "repository@digest": bytes}
    before      function(handler): called first; returns True when it has answered
    cut_at      the next blobs break off after so many bytes of the whole: a list, one for each request
    on_cut      called when one did
    blobs_at    blobs are redirected to this URL, the digest appended
    digest_header  what it calls manifests by a tag, if not by their digest
    """

    def __init__(self, user=None, bearer=False, tls=None):
        self.user, self.bearer, self.tls = user, bearer, tls
        self.blobs, self.manifests, self.requests = {}, {}, []
        self.before = self.on_cut = self.blobs_at = self.digest_header = None
        self.cut_at, self.tokens, self.given = [], set(), []
        self.realm = None
        self._server = _serve(self._answer, tls)
        self.port = self._server.server_address[1]
        self.authority = f"127.0.0.1:{self.port}"
        self.url = f"http{'s' if tls else ''}://{self.authority}"

    def stop(self):
        self._server.shutdown()
        self._server.server_close()

    def revoke(self):
        self.tokens.clear()

    def add(self, repository, tag, data, title="disk.raw", **layer):
        """An image of one layer; returns its manifest."""
        self.blobs[digest_of(data)] = data
        manifest = manifest_of(descriptor(data, title=title, **layer))
        self.add_manifest(repository, manifest, tag)
        return manifest

    def add_manifest(self, repository, data, tag=None):
        self.manifests[f"{repository}@{digest_of(data)}"] = data
        if tag:
            self.manifests[f"{repository}:{tag}"] = data
        return digest_of(data)

    def requests_for(self, part):
        return [asked for asked in self.requests if part in asked.path]

    def _answer(self, handler):
        handler.asked = Asked(handler.command, handler.path, dict(handler.headers))
        self.requests.append(handler.asked)
        if self.before and self.before(handler):
            return
        if handler.path.startswith("/token"):
            self._give_token(handler)
            return
        if not self._lets_in(handler):
            return
        parts = handler.path.split("/")
        if handler.path == "/v2/":
            handler.reply(200, b"{}")
        elif "manifests" in parts:
            at = parts.index("manifests")
            self._give_manifest(handler, "/".join(parts[2:at]), parts[at + 1])
        elif "blobs" in parts:
            self._give_blob(handler, parts[-1])
        else:
            handler.reply(404, b"404 page not found\n")

    def _lets_in(self, handler):
        given = handler.headers.get("Authorization", "")
        if self.bearer:
            if given.startswith("Bearer ") and given[7:] in self.tokens:
                return True
            realm = self.realm or self.url + "/token"
            challenge = f'Bearer realm="{realm}",service="tests",scope="repository:x/y:pull"'
        else:
            if not self.user or _user_of(given) == self.user:
                return True
            challenge = 'Basic realm="tests"'
        body = {"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}
        handler.reply(401, json.dumps(body).encode(), [("WWW-Authenticate", challenge)])
        return False

    def _give_token(self, handler):
        if self.user and _user_of(handler.headers.get("Authorization")) != self.user:
            handler.reply(401, b"{}")
            return
        token = os.urandom(24).hex()
        self.tokens.add(token)
        self.given.append(token)
        handler.reply(200, json.dumps({"token": token}).encode())

    def _give_manifest(self, handler, repository, version):
        data = self.manifests.get(f"{repository}{'@' if ':' in version else ':'}{version}")
        if data is None:
            body = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
            handler.reply(404, json.dumps(body).encode())
            return
        media_type = OCI_MANIFEST
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
            media_type = json.loads(data)["mediaType"]
        handler.reply(200, data, [("Content-Type", media_type), ("Docker-Content-Digest", self.digest_header or digest_of(data))])

    def _give_blob(self, handler, digest):
        data = self.blobs.get(digest)
        if self.blobs_at:
            handler.reply(307, b"", [("Location", self.blobs_at + digest)])
        elif data is None:
            handler.reply(404, json.dumps({"errors": [{"code": "BLOB_UNKNOWN", "message": "blob unknown"}]}).encode())
        else:
            self._send_blob(handler, digest, data)

    def _send_blob(self, handler, digest, data):
        start = 0
        wanted = handler.headers.get("Range", "")
        if wanted.startswith("bytes="):
            first, _, last = wanted[6:].partition("-")
            start = int(first)
            stop = min(int(last) + 1, len(data)) if last else len(data)
        else:
            stop = len(data)
        handler.asked.status = 206 if wanted else 200
        handler.send_response(handler.asked.status)
        handler.send_header("Content-Length", str(stop - start))
        handler.send_header("ETag", f'"{digest}"')
        handler.send_header("Accept-Ranges", "bytes")
        if wanted:
            handler.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
        handler.end_headers()
        cut = self.cut_at.pop(0) if self.cut_at else None
        if cut is None:
            handler.wfile.write(data[start:stop])
            return
        handler.wfile.write(data[start:max(start, min(cut, stop))])
        if self.on_cut:
            self.on_cut()
        handler.break_off()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked = None

    def do_GET(self):
        self.server.answer(self)

    do_HEAD = do_GET

    def reply(self, status, body, headers=()):
        if self.asked:
            self.asked.status = status
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def break_off(self):
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def log_message(self, *_):
        pass


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request, client_address):
        """Clients that hang up are no event."""


def _serve(answer, tls=None):
    server = _QuietServer(("127.0.0.1", 0), _Handler)
    server.answer = answer
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls.certificate, tls.key)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True, name="registry").start()
    return server
