"""The faulty disk: what a good one does, and every kind of fault."""

import errno
import socket
import struct
import threading

import pytest

from server.nbd import FAULTS, NbdDisk

SIZE = 1 << 20
CONTENT = bytes(range(256)) * (SIZE // 256)


class Client:
    """A connection: the handshake, and requests one after the other."""

    def __init__(self, disk):
        self.sock = socket.create_connection(("127.0.0.1", disk.port), timeout=5)
        magic, option, self.handshake = struct.unpack(">8s8sH", self.take(18))
        assert (magic, option) == (b"NBDMAGIC", b"IHAVEOPT")
        self.sock.sendall(struct.pack(">I", 3))
        assert self.option(8, b"") == [(0x80000001, b"")]  # structured replies: unknown here
        (kind, export), (last, _) = self.option(7, struct.pack(">IH", 0, 0))
        assert (kind, last) == (3, 1)
        _, self.size, self.flags = struct.unpack(">HQH", export)

    def take(self, size):
        data = b""
        while len(data) < size:
            more = self.sock.recv(size - len(data))
            assert more, "the connection ended"
            data += more
        return data

    def option(self, number, data):
        self.sock.sendall(struct.pack(">8sII", b"IHAVEOPT", number, len(data)) + data)
        replies = []
        while not replies or replies[-1][0] == 3:
            magic, option, kind, size = struct.unpack(">QIII", self.take(20))
            assert (magic, option) == (0x3E889045565A9, number)
            replies.append((kind, self.take(size)))
        return replies

    def do(self, kind, offset=0, size=0, data=b""):
        """(errno, data)"""
        self.sock.sendall(struct.pack(">IHHQQI", 0x25609513, 0, kind, 7, offset, size or len(data)) + data)
        magic, code, handle = struct.unpack(">IIQ", self.take(16))
        assert (magic, handle) == (0x67446698, 7)
        return code, self.take(size) if kind == 0 and code == 0 else b""

    def read(self, offset, size):
        return self.do(0, offset, size)

    def write(self, offset, data):
        return self.do(1, offset, data=data)[0]


@pytest.fixture
def disk(tmp_path):
    (tmp_path / "disk.raw").write_bytes(CONTENT)
    with NbdDisk(tmp_path / "disk.raw") as made:
        yield made


@pytest.fixture
def client(disk):
    made = Client(disk)
    yield made
    made.sock.close()


def test_a_good_disk(disk, client):
    assert (client.size, client.flags) == (SIZE, 0b1101101)
    assert client.read(512, 1024) == (0, CONTENT[512:1536])
    assert client.write(4096, b"x" * 512) == 0
    assert client.do(3) == (0, b"")
    assert client.do(4, 8192, 512) == (0, b"") and client.do(6, 9000, 10) == (0, b"")
    expected = bytearray(CONTENT)
    expected[4096:4608], expected[8192:8704], expected[9000:9010] = b"x" * 512, bytes(512), bytes(10)
    assert disk.path.read_bytes() == expected
    assert client.read(SIZE, 1) == (errno.EINVAL, b"")
    assert disk.requests == [("read", 512, 1024), ("write", 4096, 512), ("flush", 0, 0), ("trim", 8192, 512), ("zero", 9000, 10)]
    assert disk.count("write") == 1


def test_what_a_disk_says_of_itself(disk):
    with NbdDisk(disk.path, read_only=True, can_clear=False) as other:
        assert Client(other).flags == 0b1111


def after(disk, client, offset=4096, size=1024):
    """The file after a write of `x`, as (offset, bytes) of what is different."""
    assert client.write(offset, b"x" * size) == 0
    content = disk.path.read_bytes()
    changed = [i for i in range(SIZE) if content[i] != CONTENT[i]]
    return content, changed


def test_faults_of_writing(disk, client):
    disk.fault("drop")
    assert after(disk, client)[1] == []
    disk.heal()
    disk.fault("flip", at=4100)
    content, _ = after(disk, client)
    assert content[4096:5120] == b"xxxx" + b"y" + b"x" * 1019
    client.write(4096, CONTENT[4096:5120])
    disk.heal()
    disk.fault("tear")
    assert set(after(disk, client)[1]) <= set(range(4096, 4608)) and disk.path.read_bytes()[4607] == ord("x")
    disk.heal()
    client.write(4096, CONTENT[4096:5120])
    disk.fault("shift", by=2048)
    assert set(after(disk, client)[1]) <= set(range(6144, 7168))
    disk.fault("error", on="flush", code=errno.ENOSPC)
    assert client.do(3)[0] == errno.ENOSPC


def test_which_requests_are_struck(disk, client):
    fault = disk.fault("error", on=("read", "write"), first=8192, last=8703, skip=1, times=2)
    assert client.read(8000, 100)[0] == 0  # elsewhere
    assert client.read(8000, 193)[0] == 0  # spared
    assert client.read(8703, 1)[0] == errno.EIO
    assert client.write(8192, b"x") == errno.EIO
    assert client.read(8192, 1) == (0, CONTENT[8192:8193])  # no more
    assert fault.struck == 2
    disk.fault("flip", on="read")
    assert client.read(0, 2) == (0, b"\1\1")


def test_an_answer_that_waits(disk, client):
    disk.fault("hang", on="flush")
    waiting = threading.Timer(0.2, disk.heal)
    waiting.start()
    assert client.do(3) == (0, b"")
    assert not waiting.is_alive() or waiting.finished.is_set()
    disk.fault("delay", on="any", seconds=0.1)
    assert client.read(0, 1) == (0, CONTENT[:1])


def test_unknown_faults(disk):
    assert set(FAULTS) == {"error", "drop", "flip", "shift", "tear", "delay", "hang"}
    for kind, values in (("flop", {}), ("drop", {"on": "read"}), ("error", {"on": "sleep"}), ("error", {"code": errno.EACCES})):
        with pytest.raises(ValueError):
            disk.fault(kind, **values)
