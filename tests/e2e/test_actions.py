"""What each action does with good input: every parameter, every spelling, whole templates. Bytes on disks are what counts."""

import base64
import gzip
import hashlib
import os
import re
import subprocess
import time

import pytest

from server.tls import make_certificate
from server.web import WebServer
from worker import FORMATS, MIB, eventually, images, make_station, mounts_of, run, sha256, station, uptime_s  # noqa: F401

IMAGE2DISK = "quay.io/tinkerbell/actions/image2disk:latest"
WRITEFILE = "quay.io/tinkerbell/actions/writefile:latest"
CEXEC = "quay.io/tinkerbell/actions/cexec:latest"
WAITDAEMON = "ghcr.io/jacobweinstock/waitdaemon:0.2.0"


# --- image2disk


@pytest.mark.parametrize("kind", FORMATS)
def test_image2disk(station, images, kind):
    """A whole disk: every byte, the old content gone where the image has zeros, the partitions' nodes there."""
    image = images.disk()
    disk = station.disk(size_bytes=24 * MIB).fill()
    url = station.web.add(f"/disk.raw.{kind}", images.packed(image, kind))
    message = station.succeeds(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": disk.path}, disk.path, "16.0 MiB", "3 partitions",
                               {"gz": "gzip", "zst": "zstd", "bz2": "bzip2"}.get(kind, kind))
    # Of what is not compressed no digest is computed unless one is asked for: it would cost more than all the rest.
    assert (sha256(images.packed(image, kind)) in message) == (kind != "raw")
    # All but the two copies of the partition table: the second one now stands at the end of the disk, and the first one says so.
    table, content = 34 * 512, image.read_bytes()
    assert "backup GPT moved" in message
    assert disk.read(table, 16 * MIB - 2 * table) == content[table:16 * MIB - table]
    assert disk.read(0, 440) == content[:440]
    assert disk.read(24 * MIB - 512, 8) == b"EFI PART"
    assert not any(disk.read(23 * MIB, MIB - table)), "a stale backup of the old partition table may be here"
    run("sfdisk", "--verify", disk.path)
    assert disk.partitions() == [disk.partition(1), disk.partition(2), disk.partition(3)]
    assert all(os.path.exists(node) for node in disk.partitions())
    with disk.mounted(2) as root:
        assert (root / "bin/busybox").exists()
    # And once more: a second run is safe.
    before = disk.read()
    station.succeeds(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": disk.path})
    assert disk.read() == before


def halves(first, second):
    """Two commands, each for a part of the file, one behind the other."""
    return ["sh", "-c", f'head -c 9000000 "$0" | {first}; tail -c +9000001 "$0" | {second}']


COMPRESSORS = {
    "gzip": ["gzip", "-1c"], "gzip members": halves("gzip -c", "gzip -9c"), "gzip pigz": ["pigz", "-p3", "-c"], "gzip stored": ["pigz", "-0", "-c"],
    "gzip bgzip": ["bgzip", "-c"], "zstd": ["zstd", "-qc"], "zstd long": ["zstd", "-qc", "--long=27"], "zstd pzstd": ["pzstd", "-q", "-p3", "-c"],
    "zstd frames": halves("zstd -qc", "zstd -qc --no-check"), "xz": ["xz", "-0c"], "xz blocks": ["xz", "-0", "-T2", "--block-size=1MiB", "-c"],
    "xz streams": halves("xz -0c", "xz -0c --check=sha256"), "bzip2": ["bzip2", "-c"], "bzip2 small blocks": ["bzip2", "-1c"],
    "bzip2 streams": halves("bzip2 -c", "bzip2 -2c"), "lz4": ["lz4", "-qc"], "lz4 linked blocks": ["lz4", "-qc", "-BD", "-B4", "-BX"],
    "lz4 frames": halves("lz4 -qc", "lz4 -qc --no-frame-crc")}


@pytest.mark.parametrize("name", COMPRESSORS)
def test_image2disk_of_every_compressor(station, images, name):
    """What the usual programs write, with several members, frames, streams and blocks: byte for byte."""
    raw = station.folder / "x.raw"
    content = images.disk().read_bytes()[20480:15 << 20] + os.urandom(3 << 20) + bytes(2 << 20)
    content = content[:len(content) // 512 * 512]
    raw.write_bytes(content)
    packed = subprocess.run([*COMPRESSORS[name], raw], stdout=subprocess.PIPE, check=True).stdout
    disk = station.disk(size_bytes=24 * MIB).fill()
    url = station.web.add("/image", packed)
    station.succeeds(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": disk.path, "CHECKSUM": "sha256:" + hashlib.sha256(packed).hexdigest()},
                     name.split()[0])
    assert disk.read(0, len(content)) == content


def test_image2disk_replaces_an_old_table(station, images):
    """Partitions that the kernel still knows from before, more of them and elsewhere."""
    disk = station.disk(size_bytes=20 * MIB)
    run("sfdisk", "-q", "--no-reread", "--no-tell-kernel", disk.path, input=b"label: dos\n" + b",2M\n" * 3 + b",8M,E\n" + b",2M\n" * 2)
    run("partx", "-a", disk.path)
    assert len(disk.partitions()) >= 5
    station.succeeds(IMAGE2DISK, {"IMG_URL": station.web.add("/x", images.disk()), "DEST_DISK": disk.path})
    assert disk.partitions() == [disk.partition(number) for number in (1, 2, 3)]
    assert run("blockdev", "--getsize64", disk.partition(2)).strip() == str(8 * MIB)
    # An MBR with an extended partition.
    mbr = station.folder / "mbr.img"
    mbr.write_bytes(bytes(20 * MIB))
    run("sfdisk", "-q", mbr, input=b"label: dos\n1: size=2M\n2: size=4M, type=5\n5: size=1M\n")
    station.succeeds(IMAGE2DISK, {"IMG_URL": station.web.add("/mbr", mbr), "DEST_DISK": disk.path}, "3 partitions")
    assert [path.rpartition("p")[2] for path in disk.partitions()] == ["1", "2", "5"]
    # And one without any table.
    station.succeeds(IMAGE2DISK, {"IMG_URL": station.web.add("/noise", images.noise()), "DEST_DISK": disk.path}, "0 partitions")
    assert disk.partitions() == []


def test_image2disk_onto_a_partition(station, images):
    """Its neighbours are not touched."""
    disk = station.disk(images.disk())
    run("partx", "-a", disk.path)
    before = disk.read()
    small = station.folder / "small.raw"
    small.write_bytes(b"\x42" * (3 * MIB))
    with disk.mounted(2):
        station.succeeds(IMAGE2DISK, {"IMG_URL": station.web.add("/small", small), "DEST_DISK": disk.partition(3)}, disk.partition(3))
    after = disk.read()
    assert after[:10 * MIB] == before[:10 * MIB]
    assert after[10 * MIB:13 * MIB] == small.read_bytes()
    assert after[14 * MIB:] == before[14 * MIB:]
    station.fails(IMAGE2DISK, {"IMG_URL": station.web.add("/noise", images.disk()), "DEST_DISK": disk.partition(3)}, disk.partition(3), str(4 * MIB))
    assert disk.read() == after


@pytest.mark.parametrize("size", [512, 512 * 7, MIB - 512, MIB, MIB + 512, 2 * MIB, 4 * MIB + 512 * 3, 6 * MIB])
def test_image2disk_sizes(station, size):
    """Smaller than the part that is written last, not a multiple of it, exactly as large as the disk."""
    data = (hashlib.sha512(str(size).encode()).digest() * (size // 64 + 1))[:size]
    disk = station.disk(size_bytes=6 * MIB).fill()
    for name, content in (("raw", data), ("gz", gzip.compress(data, 1))):
        station.succeeds(IMAGE2DISK, {"IMG_URL": station.web.add(f"/x.{name}", content), "DEST_DISK": disk.path})
        assert disk.read(0, size) == data


def test_image2disk_parameters(station, images):
    noise, disk = images.noise(), station.disk(size_bytes=8 * MIB)
    content = noise.read_bytes()
    zst = images.packed(noise, "zst")
    sha512 = "SHA512:" + hashlib.sha512(zst.read_bytes()).hexdigest().upper()
    url = station.web.add("/noise.raw.zst", zst)
    link = station.folder / "by-id"
    link.symlink_to(disk.path)
    station.web.add("/SHA256SUMS", f"# of today\n{'0' * 64}  other\n{sha256(zst)[7:]} *./noise.raw.zst\n")
    station.web.add("/noise.sha256", sha256(zst)[7:] + "\n")
    station.web.add("/noise.bsd", f"SHA512 (noise.raw.zst) = {sha512[7:].lower()}\n")
    sums = station.web.url
    cases = [
        {"COMPRESSED": value} for value in ("true", "false", "1", "0", "t", "F", "True", "FALSE", "")
    ] + [
        {"CHECKSUM": sha256(zst)}, {"CHECKSUM": sha512}, {"CHECKSUM_URL": sums + "/SHA256SUMS"}, {"CHECKSUM_URL": sums + "/noise.sha256"},
        {"CHECKSUM_URL": sums + "/noise.bsd"}, {"CHECKSUM_URL": sums + "/SHA256SUMS", "CHECKSUM": sha512}, {"TEXT_LOGGING": "true"},
        {"RETRY_ENABLED": "true", "RETRY_DURATION_MINUTES": "0"}, {"PROGRESS_INTERVAL_SECONDS": "3600"},
        {"DEST_DISK": str(link)}, {"IMG_URL": url + "?token=abcdefgh#fragment", "CHECKSUM_URL": sums + "/SHA256SUMS"},
        {"IMG_URL": f"file://{zst}"}, {"IMG_URL": station.web.add("/lie.gz", zst)}, {"IMG_URL": station.web.add("/none", zst)},
        {"IMG_URL": station.web.add("/ä ö.raw", noise)}, {"IMG_URL": station.web.url.replace("http:", "HTTP:") + "/noise.raw.zst"}]
    for case in cases:
        station.succeeds(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": disk.path, **case}, *["as expected"] * ("CHECKSUM" in str(case)))
        assert disk.read(0, 4 * MIB) == content, case
        disk.fill()
    for fault, values in (("redirect", {"to": station.web.url + "/none"}), ("chunked", {}), ("no-length", {}), ("no-etag", {}), ("no-range", {}),
                          ("gzip-encoding", {})):
        station.web.clear_faults()
        station.web.fault(fault, path="/noise.raw.zst", **values)
        station.succeeds(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": disk.path, "PROGRESS_INTERVAL_SECONDS": "1"})
        assert disk.read(0, 4 * MIB) == content, fault
        disk.fill()
    station.web.fault("slow", path="/noise.raw", rate=1 << 20)
    station.succeeds(IMAGE2DISK, {"IMG_URL": station.web.add("/noise.raw", noise), "DEST_DISK": disk.path, "PROGRESS_INTERVAL_SECONDS": "1"})
    assert disk.read(0, 4 * MIB) == content
    lines = [line for line in station.first.log.splitlines() if re.search(r"writing: .* received, .* done .*/s, left", line)]
    assert lines, "no line of progress although it took more than a second"


def test_image2disk_over_tls(station, images):
    certificate = make_certificate(station.folder / "tls")
    disk = station.disk(size_bytes=8 * MIB)
    with WebServer(directory=images.folder, tls=certificate) as web:
        url = web.url + "/noise.raw"
        images.noise()
        station.fails(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": disk.path}, url, "certificate")
        worker = station.worker(f"--tls-ca={certificate.ca}")
        station.succeeds(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": disk.path}, worker=worker)
    assert disk.read(0, 4 * MIB) == images.noise().read_bytes()


# --- writefile


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_writefile(station, images, kind):
    """Owners and exact modes whatever the umask; the directories that are made; the file system named and found."""
    disk = station.disk(images.empty(kind))
    worker = station.worker(umask="0777")
    cases = [("/plain", {}, 0o644, 0, 0), ("/etc/cloud/cloud.cfg.d/99.cfg", {"MODE": "0600", "DIRMODE": "0700"}, 0o600, 0, 0),
             ("/a/b/c/file", {"MODE": "4755", "DIRMODE": "2775", "UID": "1000", "GID": "4294967294"}, 0o4755, 1000, 4294967294),
             ("/none", {"MODE": "0000"}, 0, 0, 0), ("/all", {"MODE": "7777", "UID": "4294967294", "GID": "12"}, 0o7777, 4294967294, 12)]
    for path, more, mode, uid, gid in cases:
        station.succeeds(WRITEFILE, {"DEST_DISK": disk.path, "DEST_PATH": path, "CONTENTS": f"of {path}\n", **({"FS_TYPE": kind} if more else {}), **more},
                         path, disk.path, worker=worker)
    with disk.mounted() as root:
        for path, more, mode, uid, gid in cases:
            status = (root / path[1:]).stat()
            assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (mode, uid, gid), path
            assert (root / path[1:]).read_text() == f"of {path}\n"
        for name in ("a", "a/b", "a/b/c"):
            status = (root / name).stat()
            assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o2775, 1000, 4294967294), name
        assert (root / "etc/cloud").stat().st_mode & 0o7777 == 0o700
        assert not [name for _, _, names in os.walk(root) for name in names if "tink" in name]


def test_writefile_contents(station, images):
    disk = station.disk(images.root())
    binary = bytes(range(256)) * 5000
    encoded = base64.b64encode(binary[:3000]).decode()
    texts = {"/empty": "", "/text": "two\nlines\n", "/end": "no end of line", "/quotes": "'\"$(id) `id` %s \\n ü = = \t", "/long": "x" * 200000}
    for path, text in texts.items():
        station.succeeds(WRITEFILE, {"DEST_DISK": disk.path, "DEST_PATH": path, "CONTENTS": text})
    station.succeeds(WRITEFILE, {"DEST_DISK": disk.path, "DEST_PATH": "/base64", "CONTENTS_BASE64": encoded})
    station.succeeds(WRITEFILE, {"DEST_DISK": disk.path, "DEST_PATH": "/wrapped", "CONTENTS_BASE64": "\n".join(encoded[i:i + 76] for i in range(0, len(encoded), 76))})
    station.succeeds(WRITEFILE, {"DEST_DISK": disk.path, "DEST_PATH": "/url", "CONTENTS_URL": station.web.add("/binary", binary)})
    with disk.mounted() as root:
        for path, text in texts.items():
            assert (root / path[1:]).read_text() == text, path
        assert (root / "base64").read_bytes() == (root / "wrapped").read_bytes() == binary[:3000]
        assert (root / "url").read_bytes() == binary


def test_writefile_replaces(station, images):
    """The old file goes as a whole: its mode and owner too; another name of it keeps the old content."""
    disk = station.disk(images.root())
    with disk.mounted(read_only=False) as root:
        (root / "etc/old").write_text("old content, longer than the new one\n")
        (root / "etc/old").chmod(0o4777)
        os.chown(root / "etc/old", 7, 8)
        os.link(root / "etc/old", root / "etc/other")
        (root / "etc/.tink-worker-writefile.tmp").write_text("left by a run that was killed")
        (root / "etc").chmod(0o711)
        (root / "etc/directory").mkdir()
    station.succeeds(WRITEFILE, {"DEST_DISK": disk.path, "DEST_PATH": "/etc/old", "CONTENTS": "new\n", "DIRMODE": "0777", "UID": "1"})
    for path in ("/etc/directory", "/etc/", "/", "/etc/.."):
        station.fails(WRITEFILE, {"DEST_DISK": disk.path, "DEST_PATH": path, "CONTENTS": "new\n"}, path)
    station.fails(WRITEFILE, {"DEST_DISK": disk.path, "DEST_PATH": "/etc/old/file", "CONTENTS": "new\n"}, "/etc/old/file")
    station.fails(WRITEFILE, {"DEST_DISK": disk.path, "DEST_PATH": "/" + "n" * 300, "CONTENTS": "new\n"}, "255")
    with disk.mounted() as root:
        status = (root / "etc/old").stat()
        assert (root / "etc/old").read_text() == "new\n"
        assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o644, 1, 0)
        assert (root / "etc/other").read_text().startswith("old content")
        assert (root / "etc").stat().st_mode & 0o7777 == 0o711
        assert sorted(path.name for path in (root / "etc").iterdir()) == ["directory", "old", "other", "passwd", "resolv.conf"]
    run("e2fsck", "-fn", disk.path)


def test_writefile_stays_inside(station, images):
    """Links that lead outside lead to the same path inside; dangling ones are followed; loops are named."""
    outside = f"tink-outside-{os.getpid()}"
    disk = station.disk(images.root())
    with disk.mounted(read_only=False) as root:
        links = {"etc/absolute": f"/tmp/{outside}-1", "etc/above": f"../../../../../../tmp/{outside}-2", "etc/made": f"/srv/new/{outside}-3",
                 "etc/self": "self", "etc/one": "two", "etc/two": "one", "etc/folder": "/tmp", "etc/up": "../../../../..", "etc/link": "passwd",
                 "etc/proc": f"/proc/self/root/tmp/{outside}-4", "etc/localtime": "/usr/share/zoneinfo"}
        for name, target in links.items():
            (root / name).symlink_to(target)
    written = {"/etc/absolute": f"tmp/{outside}-1", "/etc/above": f"tmp/{outside}-2", "/etc/made": f"srv/new/{outside}-3",
               f"/etc/folder/{outside}-5": f"tmp/{outside}-5", f"/etc/up/tmp/{outside}-6": f"tmp/{outside}-6", "/etc/link": "etc/passwd",
               f"/../../../tmp/{outside}-7": f"tmp/{outside}-7", f"//tmp//./{outside}-8": f"tmp/{outside}-8", "/etc/proc": f"proc/self/root/tmp/{outside}-4",
               "/etc/localtime/UTC": "usr/share/zoneinfo/UTC"}
    for path, place in written.items():
        station.succeeds(WRITEFILE, {"DEST_DISK": disk.path, "DEST_PATH": path, "CONTENTS": place})
    deep = "/d" * 300 + "/file"
    station.succeeds(WRITEFILE, {"DEST_DISK": disk.path, "DEST_PATH": deep, "CONTENTS": "x"})
    for path in ("/etc/self", "/etc/one", "/etc/self/x"):
        station.fails(WRITEFILE, {"DEST_DISK": disk.path, "DEST_PATH": path, "CONTENTS": "x"}, path)
    with disk.mounted() as root:
        for path, place in written.items():
            assert (root / place).read_text() == place, path
        for name, target in links.items():
            assert os.readlink(root / name) == target
    assert not [name for name in os.listdir("/tmp") if name.startswith(outside)]
    assert not os.path.exists("/srv/new")


# --- cexec


def output_of(station):
    return [line.partition(" it: ")[2] for line in station.first.log.splitlines() if " it: " in line]


def test_cexec_in_a_chroot(station, images):
    """The new system as root, with what programs expect of one; all of it is gone afterwards."""
    disk = station.disk(images.root())
    command = ("pwd; ls -d /bin/busybox; test -c /dev/null && echo dev; test -d /proc/1 && echo proc; test -d /sys/class && echo sys; "
               "grep ' /run tmpfs ' /proc/mounts >/dev/null && echo run; test -d /run/lock && echo lock; touch /run/x /proof; id -u; "
               "mount -t tmpfs none /tmp; mkdir '/a b' && mount -t tmpfs none '/a b' && touch '/a b/x'; exit 0")
    station.run(station.cexec(disk, command))
    assert station.server.workflows[-1].state == "SUCCESS", station.server.workflows[-1].action("it").message
    said = output_of(station)
    for word in ("/", "/bin/busybox", "dev", "proc", "sys", "run", "lock", "0"):
        assert word in said, (word, said)
    assert not mounts_of(disk.path)
    with disk.mounted() as root:
        assert (root / "proof").exists()
        for name in ("dev", "proc", "sys", "run", "tmp", "a b"):
            assert not list((root / name).iterdir()), name
    run("e2fsck", "-fn", disk.path)


def test_cexec_without_a_chroot(station, images):
    """The file system is at /mountAction then, and that directory is gone afterwards."""
    disk = station.disk(images.root())
    existed = os.path.exists("/mountAction")
    environment = {"BLOCK_DEVICE": disk.path, "FS_TYPE": "ext4", "DEFAULT_INTERPRETER": "/bin/sh -c", "CMD_LINE": "echo here > /mountAction/proof"}
    for chroot in ({}, {"CHROOT": ""}):
        station.succeeds(CEXEC, {**environment, **chroot}, "echo here")
    with disk.mounted() as root:
        assert (root / "proof").read_text() == "here\n"
    assert os.path.exists("/mountAction") == existed


def test_cexec_interpreters(station, images):
    disk = station.disk(images.root())

    def cexec(command, **more):
        return {"BLOCK_DEVICE": disk.path, "FS_TYPE": "ext4", "CHROOT": "y", "CMD_LINE": command, **more}
    # Without one: commands at semicolons, words at blanks, no shell; the first that fails is the last.
    station.succeeds(CEXEC, cexec("/bin/touch /one  /two;touch /$HOME ; ;touch /three"))
    station.fails(CEXEC, cexec("touch /four;false /x;touch /never"), "false /x", "exit status 1")
    station.fails(CEXEC, cexec("/bin/nonsense --flag"), "/bin/nonsense")
    # With one: the whole line is its last argument.
    station.succeeds(CEXEC, cexec("echo $((1 + 1)); echo \"a;b\" > /five && test -s /five", DEFAULT_INTERPRETER="/bin/sh -c"))
    station.succeeds(CEXEC, cexec("touch /six", DEFAULT_INTERPRETER="/bin/busybox sh -ec"))
    station.fails(CEXEC, cexec("true", DEFAULT_INTERPRETER="/usr/bin/python3 -c"), "/usr/bin/python3")
    station.fails(CEXEC, cexec("echo one >&2; echo two; exit 42", DEFAULT_INTERPRETER="/bin/sh -c"), "exit status 42", "one\ntwo", disk.path)
    with disk.mounted() as root:
        for name in ("one", "two", "$HOME", "three", "four", "five", "six"):
            assert (root / name).exists(), name
        assert not (root / "never").exists()
        assert (root / "five").read_text() == "a;b\n"
    assert "2" in output_of(station)


def test_cexec_flags_of_the_original(station, images):
    """The same parameters as words of `command`; they win over the environment."""
    disk = station.disk(images.root())
    for number, command in enumerate([
            ["--block-device", disk.path, "--fs-type", "ext4", "--chroot", "y", "--cmd-line", "touch /flags-0"],
            [f"--block-device={disk.path}", "--fs-type=ext4", "--chroot=y", "--cmd-line=echo 1 > /flags-1", "--default-interpreter=/bin/sh -c"],
            ["-block-device", disk.path, "-chroot", "y", "-cmd-line", "touch /flags-2", "--update-resolv-conf=false", "--json-outout"]]):
        station.succeeds(CEXEC, {"CMD_LINE": "touch /wrong", "BLOCK_DEVICE": "/dev/null"}, f"/flags-{number}", command=command)
    with disk.mounted() as root:
        assert sorted(path.name for path in root.glob("flags*")) == ["flags-0", "flags-1", "flags-2"]
        assert not (root / "wrong").exists()


def test_cexec_environment(station, images):
    """Everything that is not cexec's own goes to the command, the rest of the worker's own environment does not."""
    disk = station.disk(images.root())
    worker = station.worker(environment={"AGENT_SECRET": "of the agent", "LD_PRELOADED": "x"})
    station.run(station.cexec(disk, "env > /environment", environment={"GREETING": "guten Tag = \"ü\"", "EMPTY": "", "MIRROR_HOST": "192.0.2.1", "HOME": "/home"}))
    station.run(station.cexec(disk, "env > /defaults"))
    with disk.mounted() as root:
        seen = dict(line.split("=", 1) for line in (root / "environment").read_text().splitlines())
        assert seen["GREETING"] == 'guten Tag = "ü"' and seen["EMPTY"] == "" and seen["MIRROR_HOST"] == "192.0.2.1" and seen["HOME"] == "/home"
        assert not {"BLOCK_DEVICE", "CMD_LINE", "CHROOT", "FS_TYPE", "DEFAULT_INTERPRETER", "AGENT_SECRET", "LD_PRELOADED", "ASAN_OPTIONS"} & set(seen)
        seen = dict(line.split("=", 1) for line in (root / "defaults").read_text().splitlines())
        assert seen["HOME"] == "/root" and "/usr/sbin" in seen["PATH"].split(":")
    assert "unknown parameter" not in worker.log


@pytest.mark.parametrize("own", ["file", "link", "absolute-link", "none"])
def test_cexec_resolv_conf(station, images, own):
    """The command resolves names as this machine does; the system's own file stays as it was."""
    (station.folder / "resolv.conf").write_text("nameserver 192.0.2.77\n")
    worker = station.worker(before=f"mount --bind {station.folder}/resolv.conf $(readlink -f /etc/resolv.conf)")
    disk = station.disk(images.root())
    with disk.mounted(read_only=False) as root:
        if own != "file":
            (root / "etc/resolv.conf").unlink()
        if own == "link":
            (root / "etc/resolv.conf").symlink_to("../run/systemd/resolve/stub-resolv.conf")
        if own == "absolute-link":
            (root / "etc/resolv.conf").symlink_to("/run/resolvconf/resolv.conf")
    for value in ("true", "false"):
        workflow = station.run(station.cexec(disk, f"cat /etc/resolv.conf > /seen-{value}; exit 0", environment={"UPDATE_RESOLV_CONF": value}), worker=worker)
        assert workflow.state == "SUCCESS", workflow.action("it").message
    with disk.mounted() as root:
        assert (root / "seen-true").read_text() == "nameserver 192.0.2.77\n"
        assert "192.0.2.77" not in (root / "seen-false").read_text()
        file = root / "etc/resolv.conf"
        if own == "file":
            assert file.read_text() == "nameserver 192.0.2.1\n"
        elif own == "none":
            assert not file.exists() or file.read_bytes() == b""
        else:
            assert file.is_symlink() and not list((root / "run").iterdir())
    assert (station.folder / "resolv.conf").read_text() == "nameserver 192.0.2.77\n"


@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_cexec_on_other_file_systems(station, images, kind):
    disk = station.disk(images.empty(kind))
    for fs_type in ({"FS_TYPE": kind}, {}):
        station.succeeds(CEXEC, {"BLOCK_DEVICE": disk.path, "CMD_LINE": "/bin/touch /mountAction/proof", **fs_type})
    with disk.mounted() as root:
        assert (root / "proof").exists()


# --- reboot, poweroff, waitdaemon


SYSRQ = "echo 1 > /proc/sys/kernel/sysrq && echo %s > /proc/sysrq-trigger"
MEANS = [
    ("reboot", None, "reboot"), ("127.0.0.1/embedded/reboot", None, "reboot"), ("quay.io/tinkerbell/actions/reboot:latest", None, "reboot"),
    ("public.ecr.aws/eks-anywhere/tinkerbell/hub/reboot-action:6c0f0d437bde2c836d90b000312c8b25fa1b65e1", None, "reboot"),
    ("registry:5000/a/b/reboot@sha256:" + 64 * "a", None, "reboot"), ("poweroff", None, "poweroff"), ("127.0.0.1/embedded/poweroff", None, "poweroff"),
    ("alpine", ["reboot"], "reboot"), ("alpine:3.18", ["/sbin/reboot", "-f"], "reboot"), ("docker.io/library/busybox", ["poweroff", "-f"], "poweroff"),
    ("alpine", ["sh", "-c", SYSRQ % "b"], "reboot"), ("alpine", ["/bin/sh", "-c", SYSRQ % "o"], "poweroff"),
    ("ubuntu", ["bash", "-c", "sync; echo s > /proc/sysrq-trigger; echo b > /proc/sysrq-trigger"], "reboot"),
    ("ubuntu", ["shutdown", "-r", "now"], "reboot"), ("ubuntu", ["shutdown", "-h", "now"], "poweroff"), ("alpine", ["halt", "-p"], "poweroff"),
]
MEANS_NOT = [["sh", "-c", "echo rebooting"], ["echo", "reboot"], ["sh", "-c", "reboot || poweroff $x"], ["sh", "-c", "test -f /x && reboot"],
             ["shutdown", "-c"], ["sh", "-c", "echo b > /tmp/sysrq-trigger"], ["reboot", "argument"], ["sh", "-c"], []]


def test_reboot_and_poweroff(station):
    for image, command, word in MEANS:
        already = len(station.first.notes)
        workflow = station.run({"name": "it", "image": image, "command": command or []})
        assert workflow.state == "SUCCESS", (image, command, workflow.action("it").message)
        eventually(lambda: len(station.first.notes) > already, 5, f"{word} by {image} {command}")
        assert station.first.notes[-1][1] == word, (image, command)
    assert len(station.first.notes) == len(MEANS)
    for command in MEANS_NOT:
        assert station.run({"name": "it", "image": "alpine", "command": command}).state == "FAILED", command
    assert len(station.first.notes) == len(MEANS)


def test_reboot_command_that_fails(station):
    """Said, and the worker goes on: a machine that does not go down is a machine that can be asked again."""
    worker = station.worker(start=False)
    worker.start()
    worker.note_path.with_suffix(".sh").write_text("#!/bin/sh\nexit 3\n")
    station.succeeds("reboot")
    worker.wait_log("has failed")
    assert "exit status 3" in worker.log
    assert station.run({"name": "it", "image": "quay.io/acme/nonsense"}).state == "FAILED"


def acknowledged_s(station, workflow):
    """When the SUCCESS of a workflow's last action was answered, in seconds of uptime."""
    shift_s = uptime_s() - time.monotonic() + station.server._start_s
    return [call.end_s for call in station.server.calls if call.report and call.report.workflow_id == workflow.id][-1] + shift_s


def test_waitdaemon(station, images):
    """Success first, then the pause, then what was meant: native, or a plain image that means it."""
    disk = station.disk(images.root())
    url = station.web.add("/motd", "later\n")
    cases = [({"IMAGE": "quay.io/tinkerbell/actions/reboot:latest"}, [], "reboot"), ({"IMAGE": "alpine"}, ["reboot"], "reboot"),
             ({"IMAGE": "alpine:latest"}, ["sh", "-c", SYSRQ % "b"], "reboot"), ({"IMAGE": "alpine"}, ["poweroff"], "poweroff"),
             ({"IMAGE": "127.0.0.1/embedded/poweroff"}, [], "poweroff"),
             ({"IMAGE": WRITEFILE, "DEST_DISK": disk.path, "DEST_PATH": "/etc/motd", "CONTENTS_URL": url}, [], None)]
    workers = [station.worker() for _ in cases]
    workflows = [station.submit({"name": "it", "image": WAITDAEMON, "pid": "host", "timeout": 90, "command": command,
                                 "environment": {"WAIT_SECONDS": "1", **environment}, "volumes": ["/var/run/docker.sock:/var/run/docker.sock"]},
                                worker=worker) for (environment, command, _), worker in zip(cases, workers)]
    for workflow in workflows:
        assert station.server.wait_acknowledged(workflow) == "SUCCESS", workflow.action("it").message
    for (environment, command, word), worker, workflow in zip(cases, workers, workflows):
        if word is None:
            continue
        noted_s, said = worker.wait_note()
        assert said == word, (environment, command)
        assert 0.95 <= noted_s - acknowledged_s(station, workflow) < 4, (environment, command)
    # The last one wrote a file, after its success.
    request = station.web.wait(lambda: station.web.requests_for("/motd"), what="the request of the action that came later")[0]
    assert request.time_s + station.web._start_s + uptime_s() - time.monotonic() - acknowledged_s(station, workflows[-1]) >= 0.95
    workers[-1].wait_log("wrote /etc/motd")
    with disk.mounted() as root:
        assert (root / "etc/motd").read_text() == "later\n"
    # Meanwhile and afterwards there is work.
    assert station.run({"name": "it", "image": "quay.io/acme/nonsense"}, worker=workers[0]).state == "FAILED"


def test_waitdaemon_whose_action_fails_later(station):
    """The workflow has succeeded; the reason is in the log, and the worker lives."""
    station.succeeds(WAITDAEMON, {"IMAGE": WRITEFILE, "WAIT_SECONDS": "0", "DEST_DISK": "/dev/null", "DEST_PATH": "/x", "CONTENTS": "x"})
    station.first.wait_log("has failed")
    assert "/dev/null is not a block device" in station.first.log


# --- names of images


@pytest.mark.parametrize("name, word", [("image2disk", "IMG_URL"), ("writefile", "DEST_PATH"), ("cexec", "BLOCK_DEVICE"), ("waitdaemon", "IMAGE is missing")])
def test_spellings(station, name, word):
    for image in (name, f"{name}:v1.0.0", f"quay.io/tinkerbell/actions/{name}:latest", f"quay.io/tinkerbell-actions/{name}:v1.0.0",
                  f"public.ecr.aws/l0g8r8j6/tinkerbell/hub/{name}:404dab73a8a7f33e973c6e71782f07e82b125da9", f"ghcr.io/tinkerbell/actions/{name}",
                  f"127.0.0.1/embedded/{name}", f"127.0.0.1/embedded/{name}:latest", f"localhost:5000/{name}", f"registry.example:5000/mirror/of/all/{name}:1.2@sha256:{64 * '0'}",
                  f"{name}@sha256:{64 * 'f'}"):
        station.fails(image, {}, word, "missing")


def test_native_actions_can_be_restricted(station):
    none, some = station.worker("--native-actions=none"), station.worker("--native-actions=quay.io,registry.example:5000")
    for worker, image, known in [
            (none, IMAGE2DISK, False), (none, "127.0.0.1/embedded/image2disk", True), (none, "image2disk", True), (none, "ghcr.io/x/image2disk", False),
            (some, IMAGE2DISK, True), (some, "registry.example:5000/a/image2disk", True), (some, "registry.example/a/image2disk", False),
            (some, "QUAY.io/x/image2disk", True), (some, "ghcr.io/x/image2disk", False), (some, "127.0.0.1/embedded/image2disk", True)]:
        station.fails(image, {}, *(["IMG_URL", "missing"] if known else [image, "known"]), worker=worker)


# --- secrets


def test_secrets_stay_out(station, images):
    """Of URLs neither userinfo nor query appear, in logs, reports or command lines; of files not their contents."""
    worker = station.worker("--log-level=debug")
    disk, root = station.disk(size_bytes=8 * MIB), station.disk(images.root())
    secrets = ["benutzer", "geheimwort", "zeichen123", "signatur456"]
    base = station.web.url.replace("://", "://benutzer:geheimwort@")
    station.web.add("/noise", images.noise())
    station.web.add("/sums", sha256(images.noise())[7:] + "  noise\n")
    station.web.add("/motd", "hello")
    image = base + "/noise?token=zeichen123&sig=signatur456"
    sums = base + "/sums?token=zeichen123"
    good = {"IMG_URL": image, "DEST_DISK": disk.path, "CHECKSUM_URL": sums}
    station.succeeds(IMAGE2DISK, good)
    assert station.web.requests_for("/noise")[0].headers, "the requests are kept"
    assert station.web.requests_for("/noise")[0].query == {"token": "zeichen123", "sig": "signatur456"}
    station.fails(IMAGE2DISK, {"IMG_URL": base + "/none?sig=signatur456", "DEST_DISK": disk.path}, "404")
    station.fails(IMAGE2DISK, {**good, "CHECKSUM_URL": base + "/none?sig=signatur456"}, "404")
    station.fails(IMAGE2DISK, {**good, "IMG_URL": image.replace("http", "ftp")}, "IMG_URL")
    station.fails(IMAGE2DISK, {**good, "IMG_URL": image.replace(str(station.web.port), "1")}, "network")
    station.fails(IMAGE2DISK, {**good, "IMG_URL": f"{image},{image.replace('http', 'ftp')}"}, "IMG_URL")
    station.fails(IMAGE2DISK, {**good, "CHECKSUM_URL": f"{base}/motd?sig=signatur456"}, "noise")
    station.web.fault("cut", path="/noise", at=3 * MIB, times=1)
    station.succeeds(IMAGE2DISK, {**good, "RETRY_ENABLED": "true"})
    station.web.fault("redirect", path="/noise", to=base + "/gone?sig=signatur456", times=1)
    station.fails(IMAGE2DISK, good, "404")
    station.succeeds(WRITEFILE, {"DEST_DISK": root.path, "DEST_PATH": "/motd", "CONTENTS_URL": base + "/motd?sig=signatur456"})
    station.fails(WRITEFILE, {"DEST_DISK": root.path, "DEST_PATH": "/motd", "CONTENTS_URL": base + "/none?sig=signatur456"}, "404")
    station.succeeds(WRITEFILE, {"DEST_DISK": root.path, "DEST_PATH": "/motd", "CONTENTS": "inhalt789"})
    station.succeeds(WAITDAEMON, {**good, "IMAGE": IMAGE2DISK, "WAIT_SECONDS": "0"})
    worker.wait_log("SUCCESS summary=")
    stall = station.web.fault("stall", path="/noise", at=MIB, times=1)
    workflow = station.submit(station.image2disk(image, disk))
    station.web.wait(lambda: stall.hits, what="the request")
    child = worker.action_pid()
    shown = open(f"/proc/{child}/cmdline", "rb").read() + open(f"/proc/{child}/environ", "rb").read()
    station.web.stop()
    station.web.start()
    station.finish(workflow)
    assert b"geheimwort" not in shown and b"signatur456" not in shown
    texts = station.texts()
    for secret in [*secrets, "inhalt789"]:
        assert secret not in texts, [line for line in texts.splitlines() if secret in line]


def test_json_log(station, images):
    """Every line is one JSON object, whatever an action says."""
    import json
    disk = station.disk(images.root())
    station.worker("--log-format=json")
    station.run(station.cexec(disk, r"printf 'quote \" backslash \\ tab \t \377\n'"), {"name": "zwei \"ü\"", "image": "quay.io/acme/nonsense"})
    lines = [json.loads(line) for line in station.first.log.splitlines()]
    assert [line for line in lines if "backslash \\ tab \t" in line.get("line", "")]


# --- whole templates, as sites write them


EKS = """\
version: "0.1"
name: eks-ubuntu
global_timeout: 6000
tasks:
  - name: eks-ubuntu
    worker: "52:54:00:00:00:01"
    volumes: [/dev:/dev, /dev/console:/dev/console, "/lib/firmware:/lib/firmware:ro"]
    actions:
      - name: stream-image
        image: 127.0.0.1/embedded/image2disk
        timeout: 600
        environment: {DEST_DISK: DISK, IMG_URL: "http://server/disk.raw.gz", COMPRESSED: "true"}
      - name: disable-cloud-init-network-capabilities
        image: 127.0.0.1/embedded/writefile
        timeout: 90
        environment: {CONTENTS: "network: {config: disabled}", DEST_DISK: DISK2, DEST_PATH: /etc/cloud/cloud.cfg.d/99-disable-network-config.cfg, FS_TYPE: ext4, UID: "0", GID: "0", MODE: "0600", DIRMODE: "0700"}
      - name: reboot-image
        image: 127.0.0.1/embedded/reboot
        pid: host
        timeout: 90
        volumes: [/worker:/worker]
"""
KUBERMATIC = """\
version: "0.1"
name: kubermatic
global_timeout: 1800
tasks:
  - name: os-installation
    worker: "52:54:00:00:00:01"
    volumes: [/dev:/dev, /dev/console:/dev/console, /lib/firmware:/lib/firmware:ro]
    environment: {MIRROR_HOST: server}
    actions:
      - name: stream-image
        image: quay.io/tinkerbell-actions/image2disk:v1.0.0
        timeout: 1200
        environment: {DEST_DISK: DISK, IMG_URL: "http://server/disk.raw.gz", COMPRESSED: "true"}
      - name: grow-partition
        image: quay.io/tinkerbell/actions/cexec:6f0c6f2cb1f5cbf5fa4b9d4ec1ed7c2d1b9f1a35
        timeout: 180
        environment: {BLOCK_DEVICE: DISK2, FS_TYPE: ext4, CHROOT: "y", DEFAULT_INTERPRETER: "/bin/sh -c", CMD_LINE: "echo grow > /grown"}
      - name: reboot
        image: ghcr.io/jacobweinstock/waitdaemon:0.1.1
        timeout: 90
        pid: host
        command: ["reboot"]
        environment: {IMAGE: alpine, WAIT_SECONDS: "1"}
        volumes: [/var/run/docker.sock:/var/run/docker.sock]
"""
FLATCAR = """\
version: "0.1"
name: flatcar
global_timeout: 9800
tasks:
  - name: flatcar-install
    worker: "52:54:00:00:00:01"
    volumes: [/dev:/dev]
    actions:
      - name: dump-flatcar-to-disk
        image: quay.io/tinkerbell/actions/image2disk:latest
        timeout: 600
        environment: {IMG_URL: "http://server/flatcar_production_image.bin.gz", COMPRESSED: "true", DEST_DISK: DISK}
      - name: write-ignition-config
        image: quay.io/tinkerbell/actions/writefile:latest
        timeout: 90
        environment: {DEST_DISK: DISK6, FS_TYPE: btrfs, DEST_PATH: /config.ign, CONTENTS: '{"ignition":{"version":"3.3.0"}}', UID: "0", GID: "0", MODE: "0644", DIRMODE: "0755"}
      - name: reboot
        image: ghcr.io/jacobweinstock/waitdaemon:latest
        timeout: 90
        pid: host
        command: ["reboot"]
        environment: {IMAGE: alpine, WAIT_SECONDS: "1"}
        volumes: [/var/run/docker.sock:/var/run/docker.sock]
"""


def run_template(station, text, disk):
    """Runs a template with the test's disk and web server; returns the workflow. DISKn must become the n-th partition."""
    path = station.folder / "template.yaml"
    path.write_text(re.sub(r"\bDISK(\d*)\b", lambda m: disk.partition(m[1]) if m[1] else disk.path, text).replace("http://server", station.web.url))
    workflow = station.server.add(path, agent=station.first.agent)
    assert station.finish(workflow) == "SUCCESS", [(action.name, action.state, action.message) for action in workflow.actions]
    station.first.wait_note()
    assert [word for _, word in station.first.notes] == ["reboot"]
    assert station.first.notes[0][0] >= acknowledged_s(station, workflow) - 0.03
    return workflow


def test_template_of_eks_anywhere(station, images):
    station.web.add("/disk.raw.gz", images.packed(images.disk(), "gz"))
    disk = station.disk(size_bytes=32 * MIB).fill()
    run_template(station, EKS, disk)
    with disk.mounted(2) as root:
        file = root / "etc/cloud/cloud.cfg.d/99-disable-network-config.cfg"
        assert file.read_text() == "network: {config: disabled}" and file.stat().st_mode & 0o7777 == 0o600
        assert file.parent.stat().st_mode & 0o7777 == 0o700


def test_template_of_kubermatic(station, images):
    station.web.add("/disk.raw.gz", images.packed(images.disk(), "gz"))
    disk = station.disk(size_bytes=32 * MIB).fill()
    run_template(station, KUBERMATIC, disk)
    with disk.mounted(2) as root:
        assert (root / "grown").read_text() == "grow\n"


def test_template_of_flatcar(station, images):
    image = station.folder / "flatcar.raw"
    with open(image, "wb") as file:
        file.truncate(128 * MIB)
    run("sfdisk", "-q", image, input=b"label: gpt\n" + b",1M\n" * 5 + b",\n")
    offset = int(run("sh", "-c", f"partx -g -b -o START -n 6 {image}")) * 512
    run("dd", f"if={images.empty('btrfs')}", f"of={image}", "bs=1M", f"seek={offset // MIB}", "conv=notrunc,sparse", "status=none")
    run("gzip", "-1", "-k", image)
    station.web.add("/flatcar_production_image.bin.gz", image.with_suffix(".raw.gz"))
    disk = station.disk(size_bytes=160 * MIB)
    run_template(station, FLATCAR, disk)
    assert len(disk.partitions()) == 6
    with disk.mounted(6) as root:
        assert (root / "config.ign").read_text() == '{"ignition":{"version":"3.3.0"}}'
