"""Images in other forms than raw, made by the programs that people make them with: qcow2, Android sparse, tar, block maps.

The disk is full of something else before, so that zeros that were not written show.
"""

import gzip
import hashlib
import os
import random
import re
import subprocess
import tarfile

import pytest

from worker import MIB, images, make_station, run, sha256, station  # noqa: F401

IMAGE2DISK = "quay.io/tinkerbell/actions/image2disk:latest"
QEMUIMG2DISK = "quay.io/tinkerbell/actions/qemuimg2disk:v1"
SIZE = 12 * MIB


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """12 MiB of noise, text and holes, no multiple of any large cluster."""
    path = tmp_path_factory.mktemp("forms") / "disk.raw"
    chance = random.Random(7)
    with open(path, "wb") as file:
        file.truncate(SIZE - 3 * 512)
        for offset in range(0, SIZE - MIB, MIB):
            file.seek(offset + 4096 * chance.randrange(64))
            file.write(chance.randbytes(100_000))
            file.write(b"all work and no play " * chance.randrange(20_000))
    return path


def convert(raw, *options, to="disk.qcow2"):
    path = raw.with_name(to)
    run("qemu-img", "convert", "-O", "qcow2", *options, raw, path)
    return path


def holds(disk, content):
    return disk.read(0, len(content)) == content


def a_disk(station, size_bytes=16 * MIB):
    return station.disk(size_bytes=size_bytes).fill()


def is_dead(disk):
    """Not touched, or without its beginning."""
    return disk.is_filled or not any(disk.read(0, 4096))


# --- qcow2


QCOW2 = {
    "plain": [], "v2": ["-o", "compat=0.10"], "zlib": ["-c"], "zstd": ["-c", "-o", "compression_type=zstd"],
    "512": ["-o", "cluster_size=512"], "2M": ["-o", "cluster_size=2M"], "4k-zlib": ["-c", "-o", "cluster_size=4k"],
    "extended": ["-o", "extended_l2=on,cluster_size=128k"], "metadata": ["-o", "preallocation=metadata"],
    "full": ["-o", "preallocation=full,lazy_refcounts=on"], "out-of-order": ["-W", "-m", "16"],
}


@pytest.mark.parametrize("kind", QCOW2)
def test_qcow2(station, raw, kind):
    """By ranges, and (compressed as a whole) in order."""
    image, disk = convert(raw, *QCOW2[kind]), a_disk(station)
    station.succeeds(QEMUIMG2DISK, {"IMG_URL": station.web.add("/i.qcow2", image), "DEST_DISK": disk.path}, "qcow2")
    assert holds(disk, raw.read_bytes())
    if kind == "out-of-order":
        return
    disk.fill()
    url = station.web.add("/i.qcow2.gz", gzip.compress(image.read_bytes(), 1))
    station.succeeds(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": disk.path}, "qcow2", "gzip")
    assert holds(disk, raw.read_bytes())


def test_qcow2_after_use(station, raw):
    """Written to by a machine, with a snapshot inside, made larger: what counts is what a machine would see now."""
    image, disk = convert(raw), a_disk(station, 24 * MIB)
    run("qemu-img", "snapshot", "-c", "before", image)
    run("qemu-io", "-c", "write -P 3 70000 300000", "-c", "discard 4M 1M", "-c", "write -z 9M 200k", "-c", "write -P 9 11M 4096", image)
    run("qemu-img", "resize", image, "20M")
    run("qemu-io", "-c", "write -P 77 19M 1M", image)
    run("qemu-img", "convert", "-O", "raw", image, raw.with_name("now.raw"))
    now = raw.with_name("now.raw").read_bytes()
    url = station.web.add("/i.qcow2", image)
    station.succeeds(QEMUIMG2DISK, {"IMG_URL": url, "DEST_DISK": disk.path, "VERIFY": "readback"})
    assert len(now) == 20 * MIB and holds(disk, now)


def test_qcow2_with_a_checksum(station, raw):
    """Then all of it is read in order; a checksum that is wrong is noticed."""
    image, disk = convert(raw, "-c"), a_disk(station)
    url = station.web.add("/i.qcow2", image)
    station.succeeds(QEMUIMG2DISK, {"IMG_URL": url, "DEST_DISK": disk.path, "CHECKSUM": sha256(image)}, "as expected")
    assert holds(disk, raw.read_bytes())
    disk.fill()
    station.fails(QEMUIMG2DISK, {"IMG_URL": url, "DEST_DISK": disk.path, "CHECKSUM": "sha256:" + "5" * 64}, "wrong checksum")
    assert is_dead(disk)


def test_qcow2_without_ranges(station, raw):
    image, disk = convert(raw, "-c"), a_disk(station)
    url = station.web.add("/i.qcow2", image)
    station.web.fault("no-range")
    station.succeeds(QEMUIMG2DISK, {"IMG_URL": url, "DEST_DISK": disk.path})
    assert holds(disk, raw.read_bytes())


def test_qcow2_with_its_tables_at_the_end(station, raw):
    """In order it cannot be read, and it is said why and what to do; by ranges it can."""
    image, disk = raw.with_name("late.qcow2"), a_disk(station, 48 * MIB)
    run("qemu-img", "create", "-q", "-f", "qcow2", image, "40M")
    run("qemu-io", "-c", "write -P 1 0 40M", image)
    # A snapshot keeps the first table; the one that holds now is written behind all data.
    run("qemu-img", "snapshot", "-c", "one", image)
    run("qemu-io", "-c", "write -P 2 1M 64k", image)
    url = station.web.add("/i.qcow2", image)
    station.fails(QEMUIMG2DISK, {"IMG_URL": url, "DEST_DISK": disk.path, "CHECKSUM": sha256(image)}, "stand behind their data",
                  "a server with ranges", "qemu-img convert")
    assert is_dead(disk)
    station.succeeds(QEMUIMG2DISK, {"IMG_URL": url, "DEST_DISK": disk.path})
    assert holds(disk, b"\1" * MIB + b"\2" * 65536 + b"\1" * (39 * MIB - 65536))


def test_only_what_is_used_is_downloaded(station, raw):
    image, disk = raw.with_name("holes.qcow2"), a_disk(station, 48 * MIB)
    run("qemu-img", "create", "-q", "-f", "qcow2", image, "40M")
    run("qemu-io", "-c", "write -P 1 0 40M", "-c", "write -P 2 30M 1M", "-c", "write -z -u 1M 29M", "-c", "write -z -u 31M 9M", image)
    url = station.web.add("/i.qcow2", image)
    station.succeeds(QEMUIMG2DISK, {"IMG_URL": url, "DEST_DISK": disk.path})
    assert holds(disk, b"\1" * MIB + bytes(29 * MIB) + b"\2" * MIB + bytes(9 * MIB))
    assert image.stat().st_size > 40 * MIB
    assert sum(request.sent_bytes for request in station.web.requests_for("/i.qcow2")) < 12 * MIB


@pytest.mark.parametrize("by", ["ranges", "order"])
def test_cut_qcow2(station, raw, by):
    """A file that was cut before it came to the server: its length is as good as any, its tables tell."""
    for kind in ([], ["-c"]):
        image, disk = convert(raw, *kind), a_disk(station)
        for size in (image.stat().st_size - 2 * 65536, 300_000, 70_000, 40):
            os.truncate(image, size)
            content = image.read_bytes() if by == "ranges" else gzip.compress(image.read_bytes(), 1)
            station.fails(QEMUIMG2DISK, {"IMG_URL": station.web.add("/i", content), "DEST_DISK": disk.path}, "qcow2")
            assert is_dead(disk)
            disk.fill()


def test_qcow2_that_is_not_read(station, raw):
    disk = a_disk(station)
    base = convert(raw)

    def made(*argv):
        path = raw.with_name("other")
        path.unlink(missing_ok=True)
        run("qemu-img", *argv[:-1], *([path] if argv[-1] is None else [path, argv[-1]]))
        return path.read_bytes()

    cases = [
        (made("create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, None), "backing file"),
        (made("create", "-q", "-f", "qcow2", "--object", "secret,id=s,data=abc", "-o", "encrypt.format=luks,encrypt.key-secret=s",
              "1M"), "encrypted"),
        (made("create", "-q", "-f", "qcow2", "-o", f"data_file={raw.with_name('data')}", "1M"), "another file"),
        (made("create", "-q", "-f", "vmdk", "1M"), "vmdk"),
        (made("create", "-q", "-f", "vhdx", "4M"), "vhdx"),
    ]
    for content, words in cases:
        station.fails(QEMUIMG2DISK, {"IMG_URL": station.web.add("/i", content), "DEST_DISK": disk.path}, words, "convert")
        assert disk.is_filled


def test_a_qcow2_disk_too_large(station, raw):
    """The disk's size counts, not the file's."""
    image, disk = raw.with_name("large.qcow2"), a_disk(station)
    run("qemu-img", "create", "-q", "-f", "qcow2", image, "100G")
    station.fails(QEMUIMG2DISK, {"IMG_URL": station.web.add("/i", image), "DEST_DISK": disk.path}, "107374182400")
    assert disk.is_filled


def test_qemuimg2disk_parameters(station, raw):
    """Real templates give these; other forms than qcow2 are taken, too."""
    disk = a_disk(station)
    url = station.web.add("/i.raw.gz", gzip.compress(raw.read_bytes(), 1))
    good = [{"FORMAT": "host_device"}, {"FORMAT": "raw", "EXTRA_ARGS": "-p -W -m 16 -t none -T none -f qcow2 -S4k"},
            {"EXTRA_ARGS": " --target-is-zero  -n "}]
    for environment in good:
        station.succeeds(QEMUIMG2DISK, {"IMG_URL": url, "DEST_DISK": disk.path, **environment})
        assert holds(disk, raw.read_bytes())
        disk.fill()
    bad = [({"FORMAT": "qcow2"}, "FORMAT", "host_device"), ({"EXTRA_ARGS": "-p -r 1M"}, "EXTRA_ARGS", "\"-r\""),
           ({"EXTRA_ARGS": "-l snap"}, "\"-l\""), ({"EXTRA_ARGS": "-m"}, "\"-m\" needs a value"),
           ({"EXTRA_ARGS": "-f vmdk"}, "vmdk"), ({"EXTRA_ARGS": "-pq"}, "\"-pq\"")]
    for environment, *words in bad:
        station.fails(QEMUIMG2DISK, {"IMG_URL": url, "DEST_DISK": disk.path, **environment}, *words)
        assert disk.is_filled


# --- Android sparse


def test_android_sparse(station, raw):
    image, disk = raw.with_name("disk.simg"), a_disk(station)
    padded = raw.with_name("padded.raw")
    padded.write_bytes(raw.read_bytes().ljust(SIZE, b"\0"))
    run("img2simg", padded, image, "4096")
    assert image.read_bytes()[:4] == b"\x3a\xff\x26\xed"
    station.succeeds(IMAGE2DISK, {"IMG_URL": station.web.add("/i.simg", image), "DEST_DISK": disk.path}, "Android sparse")
    assert holds(disk, padded.read_bytes())
    disk.fill()
    url = station.web.add("/i.simg.gz", gzip.compress(image.read_bytes(), 1))
    station.succeeds(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": disk.path, "VERIFY": "readback"}, "gzip")
    assert holds(disk, padded.read_bytes())
    disk.fill()
    os.truncate(image, image.stat().st_size - 5000)
    station.fails(IMAGE2DISK, {"IMG_URL": station.web.add("/cut", image), "DEST_DISK": disk.path}, "is cut")
    assert is_dead(disk)


# --- tar


@pytest.mark.parametrize("options", ["--format=v7", "--format=ustar", "--format=posix", "--format=gnu -S", "--format=posix -S"])
def test_tar(station, raw, options):
    """As clouds have them: compressed, the file in it sparse."""
    archive, disk = raw.with_name("disk.tar"), a_disk(station)
    run("tar", *options.split(), "-C", raw.parent, "-cf", archive, raw.name)
    station.succeeds(IMAGE2DISK, {"IMG_URL": station.web.add("/i.tar", archive), "DEST_DISK": disk.path}, "tar")
    assert holds(disk, raw.read_bytes())
    disk.fill()
    url = station.web.add("/i.tar.gz", gzip.compress(archive.read_bytes(), 1))
    station.succeeds(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": disk.path}, "gzip")
    assert holds(disk, raw.read_bytes())


def test_wrong_tar(station, raw):
    """Two files, none, and an archive without its end."""
    archive, disk = raw.with_name("disk.tar"), a_disk(station)
    small = raw.with_name("README")
    small.write_text("hello\n" * 100)
    for names, words in (((small.name, raw.name), (small.name, raw.name)), ((raw.name, small.name), (small.name, raw.name))):
        run("tar", "-C", raw.parent, "-cf", archive, *names)
        station.fails(IMAGE2DISK, {"IMG_URL": station.web.add("/i.tar", archive), "DEST_DISK": disk.path}, "several files", *words)
        assert is_dead(disk)
        # A small file before the image is no reason to begin.
        assert disk.is_filled == (names[0] == small.name)
        disk.fill()
    with tarfile.open(archive, "w") as tar:
        tar.add(raw.parent, "folder", recursive=False)
    station.fails(IMAGE2DISK, {"IMG_URL": station.web.add("/none", archive), "DEST_DISK": disk.path}, "no disk image")
    run("tar", "-b", "1", "-C", raw.parent, "-cf", archive, raw.name)
    os.truncate(archive, archive.stat().st_size - 1024)
    station.fails(IMAGE2DISK, {"IMG_URL": station.web.add("/cut", archive), "DEST_DISK": disk.path}, "end mark")
    assert is_dead(disk)


# --- compressed, in unusual ways


def packed(form, *contents):
    """Each content a part of its own."""
    argv = {"gz": ["gzip", "-1nc"], "zst": ["zstd", "-qc1"], "xz": ["xz", "-0c"], "bz2": ["bzip2", "-1c"], "lz4": ["lz4", "-qc"]}[form]
    return b"".join(subprocess.run(argv, input=content, stdout=subprocess.PIPE, check=True).stdout for content in contents)


@pytest.mark.parametrize("inner, outer", [("gz", "zst"), ("xz", "gz"), ("zst", "gz"), ("lz4", "bz2"), ("bz2", "xz")])
def test_compressed_twice(station, raw, inner, outer):
    """The disk would get what is still compressed."""
    disk = a_disk(station)
    url = station.web.add(f"/i.raw.{inner}.{outer}", packed(outer, packed(inner, raw.read_bytes())))
    station.fails(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": disk.path}, "compressed twice")
    assert disk.is_filled


@pytest.mark.parametrize("form", ["gz", "zst", "xz", "bz2", "lz4"])
def test_parts_without_an_end(station, raw, form):
    """A server that just hangs up when it has sent everything, or not everything: between two parts nobody could tell."""
    disk, content = a_disk(station), raw.read_bytes()
    parts = packed(form, content[:4 * MIB]), packed(form, content[4 * MIB:8 * MIB]), packed(form, content[8 * MIB:])
    environment = {"IMG_URL": station.web.add("/i", b"".join(parts)), "DEST_DISK": disk.path}
    station.web.fault("no-length-cut", path="/i", at=len(parts[0]) + len(parts[1]))
    station.fails(IMAGE2DISK, environment, "several parts", "checksum")
    assert is_dead(disk)
    station.web.clear_faults()
    station.web.fault("no-length", path="/i")
    disk.fill()
    station.succeeds(IMAGE2DISK, {**environment, "CHECKSUM": "sha256:" + hashlib.sha256(b"".join(parts)).hexdigest()})
    assert holds(disk, content)


# --- checksums


def test_checksum_files(station, raw):
    """Names as people have them; a server that is busy once; and two checksums of different kinds, which both count."""
    disk, content = a_disk(station), raw.read_bytes()
    url = station.web.add("/disk image+1.raw", content)
    sha512 = "sha512:" + hashlib.sha512(content).hexdigest()
    right, wrong = sha256(raw)[7:], "ab" * 32
    environment = {"IMG_URL": url, "DEST_DISK": disk.path, "CHECKSUM_URL": station.web.url + "/SUMS"}
    for text in (f"{wrong}  other\n{right}  disk image+1.raw\n", f"{right}  -\n", f"SHA2-256(disk image+1.raw)= {right.upper()}\r\n"):
        station.web.add("/SUMS", text)
        station.web.fault("status", path="/SUMS", status=503, times=1)
        station.succeeds(IMAGE2DISK, {**environment, "CHECKSUM": sha512}, "as expected")
    assert holds(disk, content)
    station.web.add("/SUMS", f"{wrong}  disk image+1.raw\n")
    station.fails(IMAGE2DISK, {**environment, "CHECKSUM": sha512}, "wrong checksum", wrong)
    assert is_dead(disk)


# --- block maps


def test_block_map(station, raw):
    """Only what is mapped is fetched where that saves something; what is not mapped is zeros, whatever was there."""
    image, disk = raw.with_name("sparse.raw"), a_disk(station, 80 * MIB)
    with open(image, "wb") as file:
        file.truncate(64 * MIB)
        for offset in (0, 15 * MIB, 63 * MIB):
            file.seek(offset)
            file.write(random.Random(offset).randbytes(300_000))
    bmap = raw.with_name("sparse.bmap")
    run("bmaptool", "create", "-o", bmap, image)
    url = station.web.add("/i.raw", image)
    map_url = station.web.add("/i.raw.bmap", bmap)
    environment = {"IMG_URL": url, "DEST_DISK": disk.path, "BMAP_URL": map_url}
    station.succeeds(IMAGE2DISK, environment, "block map")
    assert holds(disk, image.read_bytes())
    # The first request, for the whole, is given up: what sockets had taken of it by then, up to some MiB, was sent.
    assert sum(request.sent_bytes for request in station.web.requests_for("/i.raw")) < 36 * MIB
    disk.fill()
    packed = station.web.add("/j.raw.gz", gzip.compress(image.read_bytes(), 1))
    station.succeeds(IMAGE2DISK, {**environment, "IMG_URL": packed}, "block map", "gzip")
    assert holds(disk, image.read_bytes())


def test_wrong_block_maps(station, raw):
    image, disk = raw.with_name("mapped.raw"), a_disk(station)
    bmap = raw.with_name("mapped.bmap")
    image.write_bytes(raw.read_bytes())
    run("bmaptool", "create", "-o", bmap, image)
    text = bmap.read_text()
    environment = {"IMG_URL": station.web.add("/i.raw", image), "DEST_DISK": disk.path,
                   "BMAP_URL": station.web.add("/m.bmap", text)}
    # The image is another one.
    with open(image, "r+b") as file:
        file.seek(5 * MIB + 1000)
        file.write(b"!")
    station.fails(IMAGE2DISK, environment, "checksum", "block map")
    assert is_dead(disk)
    disk.fill()
    # The map is damaged, is none, is missing, is of an image of another size.
    maps = [(re.sub("<BlocksCount> .", "<BlocksCount> 9", text), "block map is corrupt"), ("<html></html>", "no block map"),
            (re.sub("<ImageSize> .", "<ImageSize> 8", text), "block map"), (text[:-20], "block map is corrupt")]
    for content, words in maps:
        station.fails(IMAGE2DISK, {**environment, "BMAP_URL": station.web.add("/n.bmap", content)}, words)
        assert disk.is_filled
    station.fails(IMAGE2DISK, {**environment, "BMAP_URL": station.web.url + "/missing.bmap"}, "404")
    assert disk.is_filled
