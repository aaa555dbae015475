"""A web server for images, boot files and metadata that can be faulty on purpose.

HTTP/1.1 with Range, If-Range, ETag, HEAD and keep-alive; whole files go out by sendfile. Which faults
there are: see FAULTS. They are set by WebServer.fault() or in the URL: ?fault=cut&at=12345.
"""

import contextlib
import dataclasses
import fnmatch
import hashlib
import json
import os
import random
import socket
import socketserver
import ssl
import struct
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from . import ipxe

# kind: (parameters with their defaults, what it does). Sizes and offsets in bytes of the body.
FAULTS = {
    "status": ({"status": 404, "body": "", "retry_after": ""}, "answers with this status"),
    "redirect": ({"to": None, "status": 302}, "redirects to this URL; without one to itself, for ever"),
    "cut": ({"at": 0}, "right Content-Length, connection closed (FIN) after `at` bytes"),
    "reset": ({"at": 0}, "right Content-Length, connection reset (RST) after `at` bytes"),
    "cut-each": ({"bytes": 0}, "right headers, connection closed after so many `bytes` of whatever part was asked for"),
    "stall": ({"at": 0, "seconds": 3600.0}, "right Content-Length, nothing more for `seconds` after `at` bytes"),
    "stall-header": ({"seconds": 3600.0}, "accepts the request and says nothing for `seconds`"),
    "close-header": ({}, "closes in the middle of the header"),
    "close": ({}, "closes without a byte"),
    "long": ({"by": 1}, "Content-Length `by` bytes longer than the body, then closed"),
    "short": ({"by": 1}, "Content-Length `by` bytes shorter than what is sent"),
    "drop-byte": ({"at": 0}, "leaves out the byte at `at`; the headers are true to what is sent"),
    "add-byte": ({"at": 0}, "puts an additional byte before `at`; the headers are true to what is sent"),
    "flip-bit": ({"at": 0, "bit": 0}, "flips one bit of the byte at `at`"),
    "append": ({"bytes": 1024}, "appends rubbish; the headers are true to what is sent"),
    "slow": ({"rate": 65536}, "sends `rate` bytes a second"),
    "drip": ({"at": 0, "bytes": 100, "seconds": 0.002}, "sends so many `bytes` from `at` on one by one, with pauses of `seconds`"),
    "no-length": ({}, "no Content-Length, the end is the end of the connection"),
    "no-length-cut": ({"at": 0}, "the same, ended after `at` bytes"),
    "chunked": ({}, "Transfer-Encoding: chunked, correct"),
    "chunked-cut": ({"at": 0}, "chunked, closed after `at` bytes without the last chunk"),
    "no-range": ({}, "ignores Range: always the whole with 200"),
    "wrong-range": ({"by": 1}, "answers a Range with a part that starts `by` bytes later, and says so"),
    "lying-range": ({"by": 1}, "answers a Range with a part that starts `by` bytes later, and denies it"),
    "short-range": ({}, "answers a Range with the first half of the part, and says so"),
    "no-content-range": ({}, "answers a Range with the part, without a Content-Range"),
    "bad-content-range": ({"value": "bytes"}, "answers a Range with the part and this Content-Range"),
    "other-total": ({"by": 1}, "answers a Range with the part, of a whole `by` bytes longer"),
    "ignore-if-range": ({}, "answers a Range with the part, whatever If-Range says"),
    "replaced": ({"seed": 1, "by": 0, "from_": 0}, "another content from `from_` on, `by` bytes longer, with an ETag of its own"),
    "changed": ({}, "a new ETag at every request, as if the file were another each time"),
    "no-etag": ({}, "no ETag and no Last-Modified"),
    "weak-etag": ({}, "a weak ETag and no Last-Modified"),
    "only-date": ({}, "no ETag, a Last-Modified of long ago"),
    "same-etag": ({}, "the ETag is a constant, whatever the content is"),
    "empty": ({}, "200 with an empty body"),
    "html": ({}, "200 with an HTML page, as a captive portal answers"),
    "garbage": ({}, "bytes that are not HTTP"),
    "gzip-encoding": ({}, "claims Content-Encoding: gzip though the body is as it is"),
}
# Kinds that say how the server is, rather than what goes wrong: any fault can have them too, by also="no-etag,no-range".
TRAITS = ("chunked", "no-length", "no-range", "ignore-if-range", "no-etag", "weak-etag", "only-date", "same-etag", "replaced")
_EDITS = ("drop-byte", "add-byte", "flip-bit", "append")
_LONG_AGO = "Sat, 01 Jan 2000 00:00:00 GMT"
_HTML = b"<html><body><h1>Please log in</h1></body></html>\n"
_BLOCK = 1 << 20


@dataclasses.dataclass
class WebFault:
    kind: str
    path: str = "*"  # shell pattern on the path
    times: int = -1  # how many requests it strikes; -1: all
    skip: int = 0
    method: str = "GET"  # or HEAD, or *
    also: str = ""  # further kinds, of TRAITS
    values: dict = dataclasses.field(default_factory=dict)
    hits: int = 0

    def __post_init__(self):
        if self.kind not in FAULTS:
            raise ValueError(f"no such fault: {self.kind} (known: {', '.join(FAULTS)})")
        self.kinds = {self.kind, *filter(None, self.also.split(","))}
        if unknown := self.kinds - {self.kind, *TRAITS}:
            raise ValueError(f"also: no such trait: {', '.join(sorted(unknown))} (known: {', '.join(TRAITS)})")
        defaults = FAULTS[self.kind][0]
        if "replaced" in self.kinds:
            defaults = {**FAULTS["replaced"][0], **defaults}
        for name, value in self.values.items():
            if name not in defaults:
                raise ValueError(f"fault {self.kind} has no {name} (it has: {', '.join(defaults) or 'nothing'})")
            if isinstance(defaults[name], (int, float)):
                self.values[name] = type(defaults[name])(value)
        self.values = {**defaults, **self.values}


@dataclasses.dataclass
class Request:
    """One request, for tests to look at."""

    time_s: float
    method: str
    path: str
    range: str = None
    status: int = None
    sent_bytes: int = 0  # of the body
    fault: str = None
    headers: dict = dataclasses.field(default_factory=dict)
    end_s: float = None
    body: bytes = b""
    query: dict = dataclasses.field(default_factory=dict)

    @property
    def digest(self):
        """Of the body that was sent here."""
        return "sha256:" + hashlib.sha256(self.body).hexdigest()


class WebServer:
    """Serves directories, bytes and functions. Use as a context manager, or start() and stop().

    directory   its files are served at /
    osie        directory with vmlinuz-* and initramfs-*, served at / as well
    boot        an ipxe.Boot: what the iPXE script says
    grpc_port   for the script, when boot.grpc_authority is None
    tls         a tls.Certificate: serve https
    """

    def __init__(self, host="127.0.0.1", port=0, directory=None, osie=None, boot=None, grpc_port=42113, tls=None,
                 extra_ports=(), on_line=None):
        self.host = host
        self.port = port
        self.directories = [Path(path) for path in (directory, osie) if path]
        self.boot = boot or ipxe.Boot()
        self.grpc_port = grpc_port
        self.tls = tls
        self.extra_ports = extra_ports
        self.on_line = on_line
        self.requests = []
        self.faults = []
        self.metadata = {"metadata": {"instance": {"storage": {}}}}
        self.user_data = "#cloud-config\n"
        self.changed = threading.Condition()
        self._content = {}  # path: bytes or Path
        self._routes = {}  # (method, path): function
        self._servers = []
        self._sockets = set()
        self._start_s = time.monotonic()
        self.route("GET", "/metadata", lambda request: json.dumps(self.metadata))
        self.route("GET", "/2009-04-04/user-data", lambda request: self.user_data)
        self.route("GET", "/healthz", lambda request: "ok\n")

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def start(self):
        for number, port in enumerate([self.port, *self.extra_ports]):
            server = _Server((self.host, port), self)
            if number == 0:
                self.port = server.server_address[1]
            self._servers.append(server)
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True,
                             name="web").start()
        return self

    def stop(self):
        """Ends at once, connections included; start() begins again on the same port."""
        servers, self._servers = self._servers, []
        for server in servers:
            server.shutdown()
            server.server_close()
        self.drop_all()

    def drop_all(self):
        """Resets every connection."""
        with self.changed:
            sockets = list(self._sockets)
            self.changed.notify_all()
        for sock in sockets:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.shutdown(socket.SHUT_RDWR)

    @property
    def url(self):
        scheme = "https" if self.tls else "http"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}"

    def add(self, path, content):
        """Serves bytes, a str or a file (Path) at this path; returns its URL."""
        self._content[path] = content.encode() if isinstance(content, str) else content
        return self.url + urllib.parse.quote(path)

    def route(self, method, path, function):
        """Serves what function(request) returns: str or bytes as text, anything else as JSON.

        request is a Request, with .body and .query (a dict) set. Raising ValueError is a 400.
        """
        self._routes[method, path] = function

    def fault(self, kind, path="*", times=-1, skip=0, method="GET", also="", **values):
        """Adds a fault: see FAULTS for kinds and values. Returns it; .hits counts."""
        fault = WebFault(kind, path=path, times=times, skip=skip, method=method, also=also, values=values)
        with self.changed:
            self.faults.append(fault)
        return fault

    def clear_faults(self):
        with self.changed:
            self.faults = []

    def requests_for(self, path):
        with self.changed:
            return [request for request in self.requests if request.path == path]

    def wait(self, condition, timeout_s=30.0, what="a condition"):
        """Waits until condition() is true; returns its value. TimeoutError tells what was asked for."""
        deadline_s = time.monotonic() + timeout_s
        with self.changed:
            while not (value := condition()):
                if time.monotonic() > deadline_s:
                    seen = "\n".join(f"{r.time_s:.1f} s {r.method} {r.path} {r.status} {r.sent_bytes} bytes"
                                     for r in self.requests[-20:])
                    raise TimeoutError(f"{timeout_s:g} s without {what}\n{seen}")
                self.changed.wait(0.1)
            return value

    def take_fault(self, method, path, query):
        """The fault for this request, or None."""
        if "fault" in query:
            values = {name: value for name, value in query.items() if name != "fault"}
            defaults = FAULTS.get(query["fault"], ({},))[0]
            return WebFault(query["fault"], also=query.get("also", ""),
                            values={k: v for k, v in values.items() if k in defaults})
        with self.changed:
            for fault in self.faults:
                if fault.times == 0 or fault.method not in ("*", method) or not fnmatch.fnmatchcase(path, fault.path):
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                if fault.times > 0:
                    fault.times -= 1
                fault.hits += 1
                return fault
        return None

    def find(self, path):
        """What is at this path: bytes, a Path, or None. Never a file outside the directories."""
        if path in self._content:
            return self._content[path]
        for directory in self.directories:
            root = directory.resolve()
            file = (root / path.lstrip("/")).resolve()
            if file.is_file() and file.is_relative_to(root):
                return file
        return None

    def script_for(self, path, host):
        """The iPXE script if the path is one of a script's, else None. host: the request's Host."""
        parts = path.strip("/").split("/")
        if parts[-1] != "auto.ipxe" or len(parts) not in (2, 4) or (len(parts) == 4 and parts[:2] != ["ipxe", "script"]):
            return None
        mac = ipxe.mac_of(parts[-2])
        if mac is None:
            return None
        name = host.rsplit(":", 1)[0] if ":" in host else host
        boot = dataclasses.replace(
            self.boot,
            download_url=self.boot.download_url or f"http://{host}",
            grpc_authority=self.boot.grpc_authority or f"{name}:{self.grpc_port}")
        return ipxe.script(boot, mac)

    @property
    def now_s(self):
        return round(time.monotonic() - self._start_s, 3)

    def log(self, request):
        if self.on_line:
            fault = f"  fault {request.fault}" if request.fault else ""
            part = f"  {request.range}" if request.range else ""
            self.on_line(f"http  {request.method} {request.path}{part}  {request.status or 'no answer'}  "
                         f"{request.sent_bytes} bytes  {request.end_s - request.time_s:.1f} s{fault}")


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address, web):
        self.web = web
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.tls_context = None
        if web.tls:
            self.tls_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls_context.load_cert_chain(web.tls.certificate, web.tls.key)
        try:
            super().__init__(address, _Handler)
        except OSError as error:
            raise OSError(error.errno, f"listen on {address[0]}:{address[1]}: {error.strerror}") from None

    def finish_request(self, request, client_address):
        if self.tls_context:
            try:
                request = self.tls_context.wrap_socket(request, server_side=True)
            except (OSError, ssl.SSLError):
                return
        with self.web.changed:
            self.web._sockets.add(request)
        try:
            self.RequestHandlerClass(request, client_address, self)
        finally:
            with self.web.changed:
                self.web._sockets.discard(request)
            if self.tls_context:
                with contextlib.suppress(OSError):
                    request.close()

    def handle_error(self, request, client_address):
        pass  # a client that hangs up is no error here


class _Body:
    """What is sent: bytes or a file, seen through the faults that change it."""

    def __init__(self, content):
        self.file = None
        if isinstance(content, Path):
            self.file = open(content, "rb")
            status = os.fstat(self.file.fileno())
            self.size = status.st_size
            self.etag = f'"{status.st_mtime_ns:x}-{status.st_size:x}"'
            self.modified = status.st_mtime
        else:
            self.data = content
            self.size = len(content)
            self.etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
            self.modified = None
        self.plain = self.file is not None  # goes out as it is
        self._pieces = None

    def edit(self, fault):
        """Applies drop-byte, add-byte, flip-bit, append, replaced: the body is another one from now on."""
        kind, values = fault.kind, fault.values
        if "replaced" in fault.kinds:
            start = min(values["from_"], self.size)
            rest = random.Random(values["seed"]).randbytes(self.size - start + values["by"])
            self.etag = f'"{hashlib.sha256(rest).hexdigest()[:16]}"'
            self._pieces = [(0, start), rest] if start else [rest]
            self._measure()
            if kind not in _EDITS:
                return
            raise ValueError(f"{kind} of a replaced content is not known here")
        at = min(values.get("at", 0), max(self.size - 1, 0))
        if kind == "append":
            self._pieces = [(0, self.size), os.urandom(values["bytes"])]
        elif kind == "drop-byte":
            self._pieces = [(0, at), (at + 1, self.size)]
        elif kind == "add-byte":
            self._pieces = [(0, at), b"!", (at, self.size)]
        else:
            flipped = bytes([self._original(at, 1)[0] ^ (1 << values["bit"])])
            self._pieces = [(0, at), flipped, (at + 1, self.size)]
        self._measure()

    def _measure(self):
        self.size = sum(len(p) if isinstance(p, bytes) else p[1] - p[0] for p in self._pieces)
        self.plain = False

    def _original(self, offset, length):
        if self.file:
            return os.pread(self.file.fileno(), length, offset)
        return self.data[offset:offset + length]

    def read(self, offset, length):
        """At least one byte, at most length."""
        if self._pieces is None:
            return self._original(offset, length)
        for piece in self._pieces:
            piece_length = len(piece) if isinstance(piece, bytes) else piece[1] - piece[0]
            if offset >= piece_length:
                offset -= piece_length
                continue
            length = min(length, piece_length - offset)
            return piece[offset:offset + length] if isinstance(piece, bytes) else self._original(piece[0] + offset, length)
        return b""

    def close(self):
        if self.file:
            self.file.close()


class _Abort(Exception):
    """The connection is to end now. reset: by RST."""

    def __init__(self, reset=False):
        super().__init__()
        self.reset = reset


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "stand-in"
    sys_version = ""
    wbufsize = 0
    disable_nagle_algorithm = True
    timeout = None  # a socket with a timeout does not block, and sendfile would end with EAGAIN

    def do_GET(self):
        self._serve()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def log_message(self, format, *args):
        pass

    def _serve(self):
        web = self.server.web
        url = urllib.parse.urlsplit(self.path)
        path = urllib.parse.unquote(url.path)
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        self.entry = Request(web.now_s, self.command, path, range=self.headers.get("Range"), headers=dict(self.headers))
        self.entry.query = query
        with web.changed:
            web.requests.append(self.entry)
        try:
            try:
                self.entry.body = self._request_body()
                self._answer(web, path, query)
            except _Done:
                pass
            except ValueError as error:
                self._send_small(400, f"{error}\n".encode())
        except _Abort as abort:
            self.close_connection = True
            self._end_connection(abort.reset)
        except OSError:
            self.close_connection = True
        finally:
            with web.changed:
                self.entry.end_s = web.now_s
                web.changed.notify_all()
            if (self.command, path) not in web._routes:
                web.log(self.entry)

    def _request_body(self):
        length = int(self.headers.get("Content-Length") or 0)
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return b"".join(self._request_chunks())
        return self.rfile.read(length) if length else b""

    def _request_chunks(self):
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass

    def _answer(self, web, path, query):
        route = web._routes.get((self.command, path))
        if route is None and self.command == "HEAD":
            route = web._routes.get(("GET", path))
        fault = None
        if route is None or not getattr(route, "no_faults", False):
            fault = web.take_fault(self.command, path, query)
        if fault:
            self.entry.fault = fault.kind
            self._strike_early(fault)
        if route:
            result = route(self.entry)
            kind = "text/plain; charset=utf-8"
            if not isinstance(result, (str, bytes)):
                result, kind = json.dumps(result, indent=1) + "\n", "application/json"
            content = result.encode() if isinstance(result, str) else result
        elif self.command not in ("GET", "HEAD"):
            self._send_small(405, b"only GET and HEAD here\n")
            return
        else:
            kind = "application/octet-stream"
            content = web.find(path)
            if content is None:
                script = web.script_for(path, self.headers.get("Host", f"{web.host}:{web.port}"))
                if script is None:
                    self._send_small(404, f"{path} is not here\n".encode())
                    return
                content, kind = script.encode(), "text/plain"
        if fault and fault.kind == "empty":
            content = b""
        body = _Body(content)
        try:
            if fault and (fault.kind in _EDITS or "replaced" in fault.kinds) and body.size:
                body.edit(fault)
            self._send_body(body, kind, fault)
        finally:
            body.close()

    def _strike_early(self, fault):
        """The faults for which it does not matter what is at the path."""
        kind, values = fault.kind, fault.values
        if kind == "status":
            self._send_small(values["status"], (values["body"] or f"status {values['status']} on request\n").encode(),
                             [("Retry-After", values["retry_after"])] if values["retry_after"] else [])
            raise _Done
        if kind == "redirect":
            self._send_small(values["status"], b"", [("Location", values["to"] or self.path)])
            raise _Done
        if kind == "html":
            self._send_small(200, _HTML, [("Content-Type", "text/html")])
            raise _Done
        if kind == "stall-header":
            self._pause(values["seconds"])
            raise _Abort
        if kind == "close-header":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Le")
            raise _Abort
        if kind == "close":
            raise _Abort
        if kind == "garbage":
            self.wfile.write(os.urandom(512))
            raise _Abort

    def _send_small(self, status, body, headers=()):
        self.entry.status = status
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
            self.entry.sent_bytes += len(body)

    def _send_body(self, body, content_type, fault):
        kind = fault.kind if fault else None
        kinds = fault.kinds if fault else set()
        values = fault.values if fault else {}
        etag = f'"{os.urandom(8).hex()}"' if kind == "changed" else '"constant-tag"' if "same-etag" in kinds else body.etag
        if kinds & {"no-etag", "only-date"}:
            etag = None
        elif "weak-etag" in kinds:
            etag = f"W/{etag}"
        modified = _LONG_AGO if "only-date" in kinds else self.date_time_string(body.modified) if body.modified else None
        if kinds & {"no-etag", "weak-etag"}:
            modified = None
        start, end, status = 0, body.size, 200
        if not kinds & {"no-range", "no-length", "no-length-cut"} and kind not in ("chunked", "chunked-cut"):
            wanted = self._range(body.size, None if "ignore-if-range" in kinds else [etag, modified])
            if wanted == "bad":
                self._send_small(416, b"", [("Content-Range", f"bytes */{body.size}")])
                return
            if wanted:
                (start, end), status = wanted, 206
        content_range = None
        if status == 206:
            start, end, content_range = self._bend_range(body, start, end, kind, values)
        length = end - start
        self.entry.status = status
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        if etag:
            self.send_header("ETag", etag)
        if modified:
            self.send_header("Last-Modified", modified)
        if kind == "gzip-encoding":
            self.send_header("Content-Encoding", "gzip")
        if "no-range" not in kinds:
            self.send_header("Accept-Ranges", "bytes")
        if content_range:
            self.send_header("Content-Range", content_range)
        chunked = bool(kinds & {"chunked", "chunked-cut"})
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif kinds & {"no-length", "no-length-cut"}:
            self.send_header("Connection", "close")
        else:
            by = {"long": values.get("by", 0), "short": -values.get("by", 0)}.get(kind, 0)
            self.send_header("Content-Length", str(max(length + by, 0)))
        self.end_headers()
        if self.command == "HEAD":
            return
        self._send_content(body, start, end, kind, kinds, values, chunked)

    @staticmethod
    def _bend_range(body, start, end, kind, values):
        """What is sent for a part, and the Content-Range that goes with it."""
        shown_start, total = start, body.size
        if kind in ("wrong-range", "lying-range"):
            start = min(start + values["by"], end)
            if kind == "wrong-range":
                shown_start = start
            else:
                end = min(end + values["by"], body.size)
        elif kind == "short-range":
            end = start + max((end - start) // 2, 1)
        elif kind == "other-total":
            total += values["by"]
        elif kind == "no-content-range":
            return start, end, None
        elif kind == "bad-content-range":
            return start, end, values["value"]
        return start, end, f"bytes {shown_start}-{shown_start + end - start - 1}/{total}"

    def _range(self, size, versions):
        """(start, end) of the one range that is asked for, None for the whole, "bad" for 416. versions: what If-Range may say."""
        text = self.headers.get("Range")
        if not text or not text.startswith("bytes=") or "," in text:
            return None
        wanted = self.headers.get("If-Range")
        if wanted and versions is not None and (wanted not in versions or wanted.startswith("W/")):
            return None
        first, _, last = text[len("bytes="):].strip().partition("-")
        try:
            if not first:
                start, end = max(size - int(last), 0), size
            else:
                start, end = int(first), min(int(last) + 1, size) if last else size
        except ValueError:
            return None
        return (start, end) if start < end else "bad"

    def _send_content(self, body, start, end, kind, kinds, values, chunked):
        stop = end
        if kind in ("cut", "reset", "stall", "no-length-cut", "chunked-cut"):
            stop = min(max(values["at"], start), end)  # `at` counts in the whole, not in the part
        elif kind == "cut-each":
            stop = min(start + values["bytes"], end)
        if chunked:
            for data in self._blocks(body, start, stop):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                self.entry.sent_bytes += len(data)
            if stop == end and kind in ("chunked", *TRAITS):
                self.wfile.write(b"0\r\n\r\n")
                return
        elif kind == "slow":
            self._send_slowly(body, start, stop, values["rate"])
        elif kind == "drip":
            self._send_dripping(body, start, stop, values)
        elif body.plain and not self.server.tls_context:
            self._sendfile(body, start, stop)
        else:
            for data in self._blocks(body, start, stop):
                self.wfile.write(data)
                self.entry.sent_bytes += len(data)
        if kind == "stall":
            self._pause(values["seconds"])
        if kind in ("cut", "cut-each", "reset", "stall", "long", "short", "chunked-cut") or kinds & {"no-length", "no-length-cut"}:
            raise _Abort(reset=kind == "reset")

    def _send_dripping(self, body, start, end, values):
        while start < end:
            alone = values["at"] <= start < values["at"] + values["bytes"]
            until = end if start >= values["at"] + values["bytes"] else min(end, values["at"])
            data = body.read(start, 1 if alone else min(_BLOCK, until - start))
            if not data:
                raise _Abort
            self.wfile.write(data)
            self.entry.sent_bytes += len(data)
            start += len(data)
            if alone:
                time.sleep(values["seconds"])

    def _blocks(self, body, start, end):
        while start < end:
            data = body.read(start, min(_BLOCK, end - start))
            if not data:
                raise _Abort  # the file has become shorter
            yield data
            start += len(data)

    def _sendfile(self, body, start, end):
        while start < end:
            sent = os.sendfile(self.connection.fileno(), body.file.fileno(), start, min(end - start, 1 << 30))
            if sent == 0:
                raise _Abort
            start += sent
            self.entry.sent_bytes += sent

    def _send_slowly(self, body, start, end, rate):
        step = max(rate // 10, 1)
        while start < end:
            data = body.read(start, min(step, end - start))
            if not data:
                raise _Abort
            self.wfile.write(data)
            self.entry.sent_bytes += len(data)
            start += len(data)
            self._pause(len(data) / rate)

    def _pause(self, seconds):
        """Waits; ends early with _Abort when the other side hangs up or the server stops."""
        deadline_s = time.monotonic() + seconds
        while (left_s := deadline_s - time.monotonic()) > 0:
            with self.server.web.changed:
                if not self.server.web._servers:
                    raise _Abort
            if left_s < 0.2:
                time.sleep(left_s)
                return
            time.sleep(0.1)
            try:
                if self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b"":
                    raise _Abort
            except (BlockingIOError, ValueError):
                pass

    def _end_connection(self, reset):
        with contextlib.suppress(OSError):
            if reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
            else:
                self.connection.shutdown(socket.SHUT_WR)


class _Done(Exception):
    """The answer is out; the connection may go on."""
