"""Small disk images with a GPT, for sectors of any size, and what became of a disk that one was written to.

The table is written as the UEFI specification has it (2.10, 5.3), apart from the worker's own code.
"""

import dataclasses
import struct
import uuid
import zlib

MIB = 1 << 20
ENTRIES, ENTRY_BYTES = 128, 128
LINUX = uuid.UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")


@dataclasses.dataclass
class GptImage:
    """The bytes of a disk: boot code, a table with one partition, and data from place to place, with zeros between."""

    data: bytes
    sector_bytes: int

    @property
    def table_bytes(self):
        """Of all that a larger disk's table changes at the beginning: protective MBR, header, entries."""
        return 2 * self.sector_bytes + ENTRIES * ENTRY_BYTES

    @property
    def backup_bytes(self):
        return self.sector_bytes + ENTRIES * ENTRY_BYTES


def _header(sector_bytes, own, other, entries_lba, last_usable, guid, entries_crc):
    first_usable = 2 + ENTRIES * ENTRY_BYTES // sector_bytes
    fields = [b"EFI PART", 0x10000, 92, 0, 0, own, other, first_usable, last_usable, guid, entries_lba, ENTRIES, ENTRY_BYTES, entries_crc]
    layout = "<8sIIIIQQQQ16sQIII"
    fields[3] = zlib.crc32(struct.pack(layout, *fields))
    return struct.pack(layout, *fields).ljust(sector_bytes, b"\0")


def make(chance, size=48 * MIB, data_mib=20, sector_bytes=512):
    """chance: a random.Random. As raw as a disk; data_mib pieces of 1 MiB that nobody can compress."""
    disk = bytearray(size)
    sectors, entry_sectors = size // sector_bytes, ENTRIES * ENTRY_BYTES // sector_bytes
    last_usable = sectors - 2 - entry_sectors
    entry = LINUX.bytes_le + chance.randbytes(16) + struct.pack("<QQQ", MIB // sector_bytes, last_usable // 8 * 8 - 1, 0)
    entries = (entry + "data".encode("utf-16-le")).ljust(ENTRIES * ENTRY_BYTES, b"\0")
    guid, crc = chance.randbytes(16), zlib.crc32(entries)
    primary = _header(sector_bytes, 1, sectors - 1, 2, last_usable, guid, crc)
    backup = _header(sector_bytes, sectors - 1, 1, sectors - 1 - entry_sectors, last_usable, guid, crc)
    protective = struct.pack("<B3sB3sII", 0, b"\0\2\0", 0xEE, b"\xff\xff\xff", 1, min(sectors - 1, 0xFFFFFFFF))
    mbr = b"\xeb\x63" + chance.randbytes(438) + bytes(6) + protective.ljust(64, b"\0") + b"\x55\xaa"
    begin = mbr.ljust(sector_bytes, b"\0") + primary + entries
    disk[: len(begin)] = begin
    disk[len(begin) : MIB] = chance.randbytes(MIB - len(begin))  # where a boot loader lies
    room = size - 2 * MIB - len(entries) - sector_bytes
    for number in range(data_mib):
        at = MIB + room * number // data_mib // 4096 * 4096
        disk[at : at + MIB] = chance.randbytes(MIB)
    disk[size - len(entries) - sector_bytes :] = entries + backup
    return GptImage(bytes(disk), sector_bytes)


def has_table(disk, sector_bytes):
    """Whether the disk has both copies of a GPT, whole, each where the other says."""

    def header(lba):
        at = lba * sector_bytes
        sector = bytes(disk[at : at + sector_bytes])
        if len(sector) != sector_bytes or sector[:8] != b"EFI PART":
            return None
        size, crc = struct.unpack_from("<II", sector, 12)
        if not 92 <= size <= sector_bytes or zlib.crc32(sector[:16] + bytes(4) + sector[20:size]) != crc:
            return None
        own, other = struct.unpack_from("<QQ", sector, 24)
        entries, count, entry_bytes, entries_crc = struct.unpack_from("<QIII", sector, 72)
        table = bytes(disk[entries * sector_bytes : entries * sector_bytes + count * entry_bytes])
        return other if own == lba and zlib.crc32(table) == entries_crc else None

    last = len(disk) // sector_bytes - 1
    return header(1) == last and header(last) == 1


def judge(disk, image, old):
    """What a disk is, of which `old` was the first sector: "old", "blank", "unmoved", "right", or what is wrong with it.

    The first sector decides whether a disk boots. "unmoved" is the image and nothing else; with "right" the table's second copy is
    at the disk's end, which changes nothing but the table.
    """
    sector = image.sector_bytes
    first = bytes(disk[:sector])
    if not any(first):
        return "blank"
    if first == old[:sector]:
        return "old"
    if first[:440] != image.data[:440]:
        return "a beginning that is neither the old one nor the image's"
    end = len(image.data) - image.backup_bytes
    if bytes(disk[image.table_bytes : end]) != image.data[image.table_bytes : end]:
        place = next(i for i in range(image.table_bytes, end) if disk[i] != image.data[i])
        return f"a beginning of the image, and byte {place} is another"
    if has_table(disk, sector):
        return "right"
    if bytes(disk[: len(image.data)]) == image.data:
        return "unmoved"
    return "all but a sound partition table"
