"""Receivers of syslog for tests: UDP, TCP (octet counting or lines, told apart as rsyslog does) and TLS."""

import contextlib
import re
import socket
import ssl
import threading
import time

_RFC5424 = re.compile(
    rb"<(\d+)>1 (\S+) (\S+) (\S+) (\S+) (\S+) (-|(?:\[[^ \]]+(?: [^= ]+=\"(?:[^\"\\\]]|\\.)*\")*\])+)(?: (.*))?", re.DOTALL)
_RFC3164 = re.compile(rb"<(\d+)>([A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) (?:([^\s\[:]+) )?([\w./-]+)(?:\[(\d+)\])?: (.*)", re.DOTALL)
_PARAM = re.compile(rb'(\w+)="((?:[^"\\\]]|\\.)*)"')


class Message:
    """One message: raw bytes, and what they say."""

    def __init__(self, raw):
        self.raw = raw
        self.time_s = time.monotonic()
        self.data = {}
        if match := _RFC5424.fullmatch(raw):
            self.format = "rfc5424"
            priority, self.stamp, host, app, process, kind, data, text = match.groups()
            self.host, self.app, self.process, self.kind = (field.decode() for field in (host, app, process, kind))
            self.data = {name.decode(): re.sub(rb"\\(.)", rb"\1", value).decode() for name, value in _PARAM.findall(data)}
        elif match := _RFC3164.fullmatch(raw):
            self.format, self.kind = "rfc3164", ""
            priority, self.stamp, host, app, process, text = match.groups()
            self.host, self.app, self.process = ((field or b"").decode() for field in (host, app, process))
        else:
            raise ValueError(f"no syslog message: {raw!r}")
        self.facility, self.severity = divmod(int(priority), 8)
        self.text = (text or b"").decode()  # must be UTF-8

    def __repr__(self):
        return f"<{self.facility}.{self.severity} {self.app}: {self.text[:120]}>"


class SyslogServer:
    """Receives on one port. Use as a context manager, or start() and stop(); start() again takes the same port.

    kind   udp, tcp or tls (with a tls.Certificate)
    """

    def __init__(self, kind="udp", host="127.0.0.1", port=0, tls=None):
        self.kind, self.host, self.port, self.tls = kind, host, port, tls
        self.messages, self.wrong = [], []
        self.connections = 0
        self.changed = threading.Condition()
        self._socket = None
        self._open = []

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    @property
    def url(self):
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.kind}://{host}:{self.port}"

    def start(self):
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM if self.kind == "udp" else socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self.kind == "udp":
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self._socket.bind((self.host, self.port))
        self.port = self._socket.getsockname()[1]
        if self.kind != "udp":
            self._socket.listen(8)
        threading.Thread(target=self._receive if self.kind == "udp" else self._accept, args=(self._socket,), daemon=True).start()
        return self

    def stop(self):
        """Ends the port and every connection."""
        for sock in [self._socket, *self._open]:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        self._open = []

    def drop_connections(self):
        """As a server does that is restarted, or a firewall that forgets."""
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        self._open = []

    @property
    def bytes(self):
        with self.changed:
            return b"\n".join(message.raw for message in self.messages)

    def find(self, text="", **fields):
        """The messages whose text holds this and whose fields are these."""
        with self.changed:
            return [message for message in self.messages
                    if text in message.text and all(getattr(message, name) == value for name, value in fields.items())]

    def wait(self, text="", timeout_s=10.0, **fields):
        """Waits for such a message; returns the first."""
        deadline_s = time.monotonic() + timeout_s
        while not (found := self.find(text, **fields)):
            with self.changed:
                if not self.changed.wait(max(0.0, min(0.5, deadline_s - time.monotonic()))) and time.monotonic() >= deadline_s:
                    raise TimeoutError(f"{self.kind}: no message {text!r} {fields} within {timeout_s:g} s: {self.messages[-20:]}")
        return found[0]

    def _add(self, raw):
        with self.changed:
            try:
                self.messages.append(Message(raw))
            except ValueError as error:
                self.wrong.append(str(error))
            self.changed.notify_all()

    def _receive(self, sock):
        with contextlib.suppress(OSError):
            while data := sock.recv(70000):
                self._add(data)

    def _accept(self, sock):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = sock.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        try:
            if self.tls:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(self.tls.certificate, self.tls.key)
                connection = context.wrap_socket(connection, server_side=True)
            self.connections += 1
            self._open.append(connection)
            rest = b""
            while data := connection.recv(65536):
                rest = self._frames(rest + data)
            if rest:
                self.wrong.append(f"cut off: {rest!r}")
        except (OSError, ssl.SSLError):
            pass
        finally:
            connection.close()

    def _frames(self, data):
        """RFC 6587: a digit begins a counted message, anything else a line. Returns what is not complete."""
        while data:
            if data[:1].isdigit():
                count, blank, rest = data.partition(b" ")
                if not blank or len(rest) < int(count):
                    return data
                self._add(rest[:int(count)])
                data = rest[int(count):]
            else:
                line, end, rest = data.partition(b"\n")
                if not end:
                    return data
                self._add(line)
                data = rest
        return b""
