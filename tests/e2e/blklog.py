"""A log of a disk's writes, as QEMU's blklogwrites makes it, and the disks that a power cut can leave of it.

The format is that of the kernel's dm-log-writes (Documentation/admin-guide/device-mapper/log-writes.rst): a
superblock, then for each request a header in a block of its own and, for writes, the data. A device may keep
what came since its last flush in any order, in part, and cut within a request between two sectors.
"""

import dataclasses
import struct

MAGIC = 0x6A736677736872
FLUSH, FUA, DISCARD = 1, 2, 4


@dataclasses.dataclass
class Request:
    """One request. data is None for a flush; zeros for what was discarded."""

    flags: int
    offset: int
    data: bytes

    @property
    def flushes(self):
        return bool(self.flags & FLUSH)


def read_log(path):
    """The requests in their order."""
    with open(path, "rb") as log:
        magic, version, count, block = struct.unpack("<QQQI", log.read(28))
        if magic != MAGIC or version != 1:
            raise ValueError(f"{path} is no log of writes")
        at, requests = block, []
        for _ in range(count):
            log.seek(at)
            sector, sectors, flags, _ = struct.unpack("<QQQQ", log.read(32))
            at += block
            size = sectors * block
            if flags & DISCARD:
                data = bytes(size)
            elif size:
                log.seek(at)
                data = log.read(size)
                at += size
                if len(data) != size:
                    raise ValueError(f"{path} ends in a request")
            else:
                data = None
            requests.append(Request(flags, sector * block, data))
    return requests


def epochs(requests):
    """The requests from one flush to the next: lists of writes. What is in a list is on the medium once the next one begins."""
    found = [[]]
    for request in requests:
        if request.data is not None:
            found[-1].append(request)
        if request.flushes and found[-1]:
            found.append([])
    return found


def cut(writes, random, sector=512):
    """What a power cut may leave of an epoch: some of its writes, in any order, the last one perhaps in part."""
    kept = [write for write in writes if write.flags & FUA or random.random() < 0.5]
    if random.random() < 0.3:
        random.shuffle(kept)
    left = [(write.offset, write.data) for write in kept]
    if left and random.random() < 0.5:
        offset, data = left[-1]
        left[-1] = (offset, data[: sector * random.randrange(len(data) // sector + 1)])
    return left
