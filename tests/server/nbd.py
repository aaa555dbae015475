"""A disk behind the network block device protocol that can be faulty on purpose, and at any moment.

What QEMU's own means cannot do, as they are fixed when the machine starts: a disk that loses or corrupts what was written and
says nothing, that fails from now on, that is slow. Speaks the fixed newstyle handshake and simple replies of
https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md; one connection is one thread. Which faults there are: see FAULTS.
"""

import contextlib
import dataclasses
import errno
import os
import socket
import struct
import threading
import time

FAULTS = {
    "error": "answers with an error; `code` is an errno",
    "drop": "writes nothing, and says that it has",
    "flip": "flips the lowest bit of the byte at `at`, on its way to the disk or from it",
    "shift": "writes `by` bytes further on (back, at the end)",
    "tear": "writes the first half only, and says that it was all",
    "delay": "answers after `seconds`",
    "hang": "does nothing and gives no answer, until the disk is healed",
}
KINDS = ("read", "write", "flush", "trim", "zero")
_OF_WRITES = ("drop", "shift", "tear")
ERRORS = (errno.EPERM, errno.EIO, errno.ENOMEM, errno.EINVAL, errno.ENOSPC)  # what the protocol has a number for

_INIT, _OPTION, _OPTION_REPLY = 0x4E42444D41474943, 0x49484156454F5054, 0x3E889045565A9
_REQUEST, _REPLY = 0x25609513, 0x67446698
_EXPORT_NAME, _ABORT, _INFO, _GO = 1, 2, 6, 7
_ACK, _EXPORT, _UNSUPPORTED = 1, 3, 0x80000001
_CLOSE = 2  # a request: the client goes
_TYPES = {0: "read", 1: "write", 3: "flush", 4: "trim", 6: "zero"}
_HAS_FLAGS, _READ_ONLY, _FLUSH, _FUA, _TRIM, _ZEROES = 1, 2, 4, 8, 32, 64


@dataclasses.dataclass(eq=False)
class DiskFault:
    kind: str
    on: tuple  # of KINDS
    first: int = 0  # the bytes that a request must touch
    last: int = 1 << 62
    skip: int = 0  # so many requests are spared
    times: int = -1  # so many are struck; -1: all
    code: int = errno.EIO
    at: int = None  # the byte to flip; None: the first of the request
    by: int = 4096
    seconds: float = 0.0
    struck: int = 0

    def strikes(self, name, offset, size):
        """Whether this request is struck; counts."""
        touches = name == "flush" or (offset <= self.last and offset + size > self.first)
        if self.kind == "flip" and self.at is not None:
            touches = touches and offset <= self.at < offset + size
        if name not in self.on or not touches or self.struck == self.times:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.struck += 1
        return True


class NbdDisk:
    """A file as a disk on a TCP port of loopback. Use as a context manager, or start() and stop().

    path        the raw file; its size is the disk's
    can_clear   whether it takes the requests to trim and to zero, for the lack of which clients write zeros
    requests    what came: (name, offset, size), in order
    """

    def __init__(self, path, read_only=False, can_clear=True):
        self.path = path
        self.size_bytes = os.stat(path).st_size
        self.read_only, self.can_clear = read_only, can_clear
        self.requests = []
        self.port = None
        self._faults = []
        self._lock = threading.Lock()
        self._healed = threading.Condition(self._lock)
        self._sockets = set()
        self._ending = threading.Event()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def start(self):
        self._file = os.open(self.path, os.O_RDWR)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, name="nbd", daemon=True).start()
        return self

    def stop(self):
        self._ending.set()
        self._listener.close()
        with self._healed:
            self._healed.notify_all()
            sockets = list(self._sockets)
        for sock in sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def fault(self, kind, on="write", **values):
        """From now on; on: one of KINDS, several in a tuple, or "any". See DiskFault. Returns the fault, which counts."""
        on = KINDS if on == "any" else (on,) if isinstance(on, str) else tuple(on)
        fault = DiskFault(kind, on, **values)
        sound = kind in FAULTS and set(on) <= set(KINDS) and fault.code in ERRORS
        if not sound or (kind in _OF_WRITES and "read" in on):
            raise ValueError(f"no such fault: {fault}")
        with self._lock:
            self._faults.append(fault)
        return fault

    def heal(self):
        """Takes all faults away; what hangs is done now."""
        with self._healed:
            self._faults.clear()
            self._healed.notify_all()

    def count(self, name):
        with self._lock:
            return sum(1 for request in self.requests if request[0] == name)

    # --- the protocol

    def _accept(self):
        while not self._ending.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._sockets.add(sock)
            threading.Thread(target=self._serve, args=(sock,), name="nbd-connection", daemon=True).start()

    def _serve(self, sock):
        with sock, contextlib.suppress(ConnectionError, OSError, EOFError), sock.makefile("rb") as stream:
            if self._shake_hands(sock, stream):
                while self._answer(sock, stream):
                    pass
        with self._lock:
            self._sockets.discard(sock)

    @staticmethod
    def _take(stream, size):
        data = stream.read(size)
        if len(data) != size:
            raise EOFError
        return data

    def _flags(self):
        flags = _HAS_FLAGS | _FLUSH | _FUA | (_READ_ONLY if self.read_only else 0)
        return flags | (_TRIM | _ZEROES if self.can_clear else 0)

    def _shake_hands(self, sock, stream):
        """True when the client is to be served."""
        sock.sendall(struct.pack(">QQH", _INIT, _OPTION, 3))  # fixed newstyle, no zeroes
        no_zeroes = struct.unpack(">I", self._take(stream, 4))[0] & 2
        while True:
            _, option, size = struct.unpack(">QII", self._take(stream, 16))
            self._take(stream, size)

            def reply(kind, data=b"", option=option):
                sock.sendall(struct.pack(">QIII", _OPTION_REPLY, option, kind, len(data)) + data)

            if option == _EXPORT_NAME:
                sock.sendall(struct.pack(">QH", self.size_bytes, self._flags()) + (b"" if no_zeroes else bytes(124)))
                return True
            if option in (_INFO, _GO):
                reply(_EXPORT, struct.pack(">HQH", 0, self.size_bytes, self._flags()))
                reply(_ACK)
                if option == _GO:
                    return True
            elif option == _ABORT:
                reply(_ACK)
                return False
            else:
                reply(_UNSUPPORTED)

    def _answer(self, sock, stream):
        """One request; False at the last."""
        magic, _, kind, handle, offset, size = struct.unpack(">IHHQQI", self._take(stream, 28))
        if magic != _REQUEST or kind == _CLOSE:
            return False
        data = self._take(stream, size) if _TYPES.get(kind) == "write" else b""
        code, answer = self._do(_TYPES.get(kind), offset, size, data)
        sock.sendall(struct.pack(">IIQ", _REPLY, code, handle) + answer)
        return True

    def _do(self, name, offset, size, data):
        """(errno, data) of a request."""
        if name is None or (name != "flush" and offset + size > self.size_bytes):
            return errno.EINVAL, b""
        with self._lock:
            self.requests.append((name, offset, size))
            fault = next((fault for fault in self._faults if fault.strikes(name, offset, size)), None)
        if name in ("trim", "zero"):
            data = bytes(size)  # what is trimmed here reads as zeros
        if name == "read":
            data = os.pread(self._file, size, offset)
        if fault:
            if fault.kind == "error":
                return fault.code, b""
            if fault.kind == "hang":
                with self._healed:
                    self._healed.wait_for(lambda: fault not in self._faults or self._ending.is_set())
            if fault.kind == "delay":
                self._ending.wait(fault.seconds)
            data, offset = self._spoil(fault, offset, data)
        if name == "read":
            return 0, data
        if name != "flush":
            os.pwrite(self._file, data, offset)
        return 0, b""

    def _spoil(self, fault, offset, data):
        """What becomes of the data, and where it goes."""
        if fault.kind == "flip" and data:
            place = 0 if fault.at is None else fault.at - offset
            data = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        elif fault.kind == "drop":
            data = b""
        elif fault.kind == "tear":
            data = data[: len(data) // 2]
        elif fault.kind == "shift":
            fits = offset + fault.by + len(data) <= self.size_bytes
            offset += fault.by if fits else -fault.by
        return data, offset

