"""A TCP proxy that stands before a server and can treat its connections badly.

Modes, for connections to come and, for "stall", also for those that exist:

    pass      everything is forwarded
    refuse    the port is closed: connecting is refused
    reset     accepted, then reset (RST)
    close     accepted, then closed (FIN) without a byte
    stall     accepted, and then nothing is forwarded in either direction until the mode changes
    html      answered with an HTTP/1.1 page, as a wrong port or a web proxy does
    junk      answered with random bytes
    h2-502    answered over HTTP/2 with status 502 and an HTML page, as a reverse proxy does
    h2-cut    answered over HTTP/2 with the beginning of a gRPC answer, then closed
    h2-no-status  answered over HTTP/2 with a complete message and no grpc-status
    h2-goaway     answered over HTTP/2 with GOAWAY: no call was taken
"""

import os
import select
import socket
import struct
import threading

MODES = ("pass", "refuse", "reset", "close", "stall", "html", "junk", "h2-502", "h2-cut", "h2-no-status", "h2-goaway")

_HTML = b"<html><head><title>It works</title></head><body>This is not a Tink server.</body></html>\n"


class Proxy:
    """Forwards TCP connections from (host, port) to target. Port 0: any free one, see .port."""

    def __init__(self, host="127.0.0.1", port=0):
        self.host = host
        self.port = port
        self.target = None  # (host, port)
        self.mode = "pass"
        self.delay_s = 0.0  # added to every chunk in each direction
        self.connections = 0  # accepted so far
        self.disruptions = 0  # how often this proxy may have swallowed something
        self._times = None
        self._lock = threading.Condition()
        self._listener = None
        self._pairs = set()
        self._closing = False

    def start(self, target):
        self.target = target
        self._closing = False
        self._listen()

    def stop(self):
        with self._lock:
            self._closing = True
            self._lock.notify_all()
        self._unlisten()
        self.drop_all()

    def set(self, mode, times=None, existing=None):
        """Sets the mode; after `times` connections it is "pass" again.

        existing: "reset", "close" or "keep" what is connected; without it, "refuse" resets and
        the other modes that are not "pass" or "stall" reset too.
        """
        if mode not in MODES:
            raise ValueError(f"no such mode: {mode} (known: {', '.join(MODES)})")
        if existing is None:
            existing = "keep" if mode in ("pass", "stall") else "reset"
        with self._lock:
            if mode != "pass" or self.mode != "pass":
                self.disruptions += 1
            self.mode = mode
            self._times = times
            self._lock.notify_all()
        if mode == "refuse":
            self._unlisten()
        elif self._listener is None and not self._closing:
            self._listen()
        if existing != "keep":
            self.drop_all(reset=existing == "reset")

    def drop_all(self, reset=True):
        """Ends every connection: by RST, or by FIN."""
        with self._lock:
            pairs, self._pairs = self._pairs, set()
            if pairs:
                self.disruptions += 1
        for pair in pairs:
            pair.end(reset)

    @property
    def undisturbed(self):
        return self.mode == "pass"

    @property
    def open_connections(self):
        with self._lock:
            return len(self._pairs)

    def _listen(self):
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        try:
            listener.bind((self.host, self.port))
        except OSError as error:
            listener.close()
            raise OSError(error.errno, f"listen on {self.host}:{self.port}: {error.strerror}") from None
        listener.listen(64)
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True, name="proxy-accept").start()

    def _unlisten(self):
        listener, self._listener = self._listener, None
        if listener:
            try:
                listener.shutdown(socket.SHUT_RDWR)  # wakes accept(); close() alone would not
            except OSError:
                pass
            listener.close()

    def _accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                mode = self.mode
                if mode not in ("pass", "stall"):
                    self.disruptions += 1
                if self._times is not None and mode != "pass":
                    self._times -= 1
                    if self._times <= 0:
                        self.mode, self._times = "pass", None
            threading.Thread(target=self._serve, args=(client, mode), daemon=True, name="proxy").start()

    def _serve(self, client, mode):
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if mode in ("reset", "close", "refuse"):  # refuse: accepted at the last moment
            _end(client, reset=mode != "close")
        elif mode in ("pass", "stall"):
            self._forward(client)
        else:
            try:
                client.settimeout(5)
                _ANSWERS[mode](client)
            except OSError:
                pass
            _end(client, reset=False)

    def _forward(self, client):
        self._wait_while_stalled()
        if _was_reset(client):
            client.close()
            return
        try:
            server = socket.create_connection(self.target, timeout=5)
        except OSError:
            _end(client, reset=True)
            return
        server.settimeout(None)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pair = _Pair(client, server)
        with self._lock:
            if self._closing:
                pair.end(reset=True)
                return
            self._pairs.add(pair)
        back = threading.Thread(target=self._pump, args=(pair, server, client), daemon=True, name="proxy-back")
        back.start()
        self._pump(pair, client, server)
        back.join()
        with self._lock:
            self._pairs.discard(pair)
        pair.close()

    def _pump(self, pair, source, sink):
        try:
            while data := source.recv(65536):
                self._wait_while_stalled(pair)
                if self.delay_s:
                    threading.Event().wait(self.delay_s)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pair.end(reset=True)

    def _wait_while_stalled(self, pair=None):
        with self._lock:
            while self.mode == "stall" and not self._closing and not (pair and pair.ended):
                self._lock.wait(1)


class _Pair:
    """The two sockets of a forwarded connection."""

    def __init__(self, client, server):
        self.client, self.server, self.ended = client, server, False

    def end(self, reset):
        """Makes both ends stop at once; the pumps see it and leave."""
        self.ended = True
        for sock in (self.client, self.server):
            try:
                if reset:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    # A socket that another thread waits on is not freed by close(): connecting
                    # it to nothing sends the RST now.
                    _disconnect(sock)
                else:
                    sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        for sock in (self.client, self.server):
            sock.close()


def _disconnect(sock):
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    address = struct.pack("H14x", socket.AF_UNSPEC)
    if libc.connect(sock.fileno(), address, len(address)) < 0:
        sock.shutdown(socket.SHUT_RDWR)


def _was_reset(sock):
    """Whether the other side has reset the connection meanwhile: what it had sent is not to be passed on."""
    poll = select.poll()
    poll.register(sock, 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))


def _end(sock, reset):
    try:
        if reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            sock.shutdown(socket.SHUT_WR)
            sock.settimeout(1)
            while sock.recv(65536):  # unread bytes would turn the FIN into an RST
                pass
    except OSError:
        pass
    sock.close()


def _answer_html(client):
    client.recv(65536)
    client.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\nConnection: close\r\n"
                   b"Content-Length: %d\r\n\r\n%s" % (len(_HTML), _HTML))


def _answer_junk(client):
    client.recv(65536)
    client.sendall(os.urandom(4096))


def _h2_frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _h2_headers(*fields):
    """A header block: literals, never indexed, no Huffman code."""
    block = b""
    for name, value in fields:
        block += b"\x10" + bytes([len(name)]) + name + bytes([len(value)]) + value
    return block


def _h2_first_stream(client):
    """Reads until a request's HEADERS frame; returns its stream."""
    data = b""
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    client.sendall(_h2_frame(4, 0, 0, b"") + _h2_frame(4, 1, 0, b""))
    offset = len(preface)
    while True:
        while len(data) >= offset + 9:
            length = int.from_bytes(data[offset:offset + 3], "big")
            kind, stream = data[offset + 3], int.from_bytes(data[offset + 5:offset + 9], "big")
            if kind == 1:
                return stream
            offset += 9 + length
        chunk = client.recv(65536)
        if not chunk:
            raise OSError("the client hung up")
        data += chunk


def _answer_h2_502(client):
    stream = _h2_first_stream(client)
    client.sendall(_h2_frame(1, 4, stream, _h2_headers((b":status", b"502"), (b"content-type", b"text/html")))
                   + _h2_frame(0, 1, stream, _HTML))


def _grpc_headers(stream):
    return _h2_frame(1, 4, stream, _h2_headers((b":status", b"200"), (b"content-type", b"application/grpc")))


def _answer_h2_cut(client):
    stream = _h2_first_stream(client)
    client.sendall(_grpc_headers(stream) + _h2_frame(0, 0, stream, struct.pack(">BI", 0, 1000) + b"x" * 100))


def _answer_h2_no_status(client):
    stream = _h2_first_stream(client)
    client.sendall(_grpc_headers(stream) + _h2_frame(0, 1, stream, struct.pack(">BI", 0, 0)))


def _answer_h2_goaway(client):
    _h2_first_stream(client)
    client.sendall(_h2_frame(7, 0, 0, struct.pack(">II", 0, 0)))


_ANSWERS = {
    "html": _answer_html,
    "junk": _answer_junk,
    "h2-502": _answer_h2_502,
    "h2-cut": _answer_h2_cut,
    "h2-no-status": _answer_h2_no_status,
    "h2-goaway": _answer_h2_goaway,
}
