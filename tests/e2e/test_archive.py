"""archive2disk: what is in the archive is on the disk, whole or not at all, and nowhere else."""

import bz2
import gzip
import hashlib
import io
import lzma
import os
import shutil
import stat
import struct
import subprocess
import tarfile

import pytest

from worker import MIB, eventually, images, make_station, run, station  # noqa: F401

ARCHIVE2DISK = "quay.io/tinkerbell/actions/archive2disk:latest"
STAGING = ".tink-worker-archive2disk"
NOBODY_ID = 0xFFFFFFFF


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def file_system(station, kind="ext4", size_mib=None, *options):
    """A disk with an empty file system."""
    size_mib = size_mib or {"ext4": 48, "xfs": 300, "btrfs": 120, "vfat": 40}[kind]
    disk = station.disk(size_bytes=size_mib * MIB)
    quiet = [] if kind == "vfat" else ["-q"]
    run(f"mkfs.{kind}", *quiet, *options, disk.path)
    run("blockdev", "--flushbufs", disk.path)
    return disk


def tar_of(*entries, format=tarfile.PAX_FORMAT):
    """A tar of (name, what, fields): bytes are a file, a str a symbolic link, None a directory; fields are TarInfo's."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as tar:
        for name, what, *rest in entries:
            info = tarfile.TarInfo(name)
            info.mode, info.mtime = (0o755 if what is None else 0o644), 1_000_000_000
            info.type = {bytes: tarfile.REGTYPE, str: tarfile.SYMTYPE, type(None): tarfile.DIRTYPE}[type(what)]
            if isinstance(what, str):
                info.linkname = what
            if isinstance(what, bytes):
                info.size = len(what)
            for key, value in (rest[0] if rest else {}).items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(what) if isinstance(what, bytes) else None)
    return out.getvalue()


def snapshot(root):
    """Everything about everything below a folder, and which names are the same file."""
    found, names = {}, {}
    for folder, folders, files in os.walk(root):
        for name in [".", *folders, *files]:
            path = os.path.normpath(os.path.join(folder, name))
            status = os.lstat(path)
            content = None
            if stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    content = status.st_size, hashlib.sha256(file.read()).hexdigest()
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            attributes = {key: os.getxattr(path, key, follow_symlinks=False) for key in os.listxattr(path, follow_symlinks=False)
                          if not key.startswith("trusted.SGI_ACL")}  # XFS shows access lists twice
            key = os.path.relpath(os.fsencode(path), os.fsencode(root))
            found[key] = (oct(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns, status.st_rdev, content, attributes)
            if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
                names.setdefault(status.st_ino, set()).add(key)
    return found, sorted(map(sorted, names.values()))


def assert_same(found, wanted):
    """Two snapshots; mkfs's own folder does not count."""
    found[0].pop(b"lost+found", None)
    differ = {key: (found[0].get(key), wanted[0].get(key)) for key in found[0].keys() | wanted[0].keys()
              if found[0].get(key) != wanted[0].get(key)}
    assert not differ, differ
    assert found[1] == wanted[1]


def content_of(disk, partition=None):
    """The names on a disk, without what mkfs makes."""
    with disk.mounted(partition) as root:
        return {os.path.relpath(os.path.join(folder, name), root)
                for folder, folders, files in os.walk(root) for name in [*folders, *files]} - {"lost+found"}


def access_list(*entries):
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


@pytest.fixture(scope="session")
def tree(tmp_path_factory):
    """A tree with one of everything."""
    root = tmp_path_factory.mktemp("tree") / "root"
    for name in ("etc", "usr/bin", "var/log", "dev", "home/user", "opt/ä ö"):
        (root / name).mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nalice:x:54321:54321::/home/user:/bin/sh\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
    os.link(root / "etc/hosts", root / "etc/hosts.too")
    (root / "usr/bin/su").write_bytes(os.urandom(300_000))
    os.chown(root / "usr/bin/su", 1234, 70000)
    os.chmod(root / "usr/bin/su", 0o6755)
    (root / "usr/bin/ping").write_bytes(b"\x7fELF")
    os.setxattr(root / "usr/bin/ping", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
    os.setxattr(root / "etc/hosts", "user.note", b"binary\0\xff")
    os.setxattr(root / "etc/hosts", "security.selinux", b"system_u:object_r:net_conf_t:s0\0")
    os.setxattr(root / "etc/passwd", "system.posix_acl_access",
                access_list((1, 6, NOBODY_ID), (2, 6, 54321), (4, 4, NOBODY_ID), (16, 6, NOBODY_ID), (32, 4, NOBODY_ID)))
    os.setxattr(root / "home/user", "system.posix_acl_default",
                access_list((1, 7, NOBODY_ID), (2, 7, 54321), (4, 5, NOBODY_ID), (8, 1, 54322), (16, 7, NOBODY_ID), (32, 0, NOBODY_ID)))
    os.symlink("usr/bin", root / "bin")
    os.symlink("/etc/nothing", root / "etc/dangling")
    os.lchown(root / "bin", 7, 8)
    os.mknod(root / "dev/sda", 0o660 | stat.S_IFBLK, os.makedev(8, 300))
    os.mknod(root / "dev/null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.mkfifo(root / "dev/pipe", 0o622)
    with open(root / "var/log/lastlog", "wb") as file:
        file.seek(9 * MIB + 123)
        file.write(b"in the middle")
        file.truncate(20 * MIB)
    (root / "var/empty").touch()
    (root / os.fsdecode(b"opt/latin-\xe4")).write_text("a name that is no UTF-8")
    deep = root / "/".join(["home/user", *["d" * 90] * 12])
    deep.mkdir(parents=True)
    (deep / ("n" * 200)).write_text("deep")
    for folder, folders, files in os.walk(root, topdown=False):
        for name in [*files, *folders]:
            os.utime(os.path.join(folder, name), ns=(1_111_111_111_000_000_000, 1_222_222_222_123_456_789), follow_symlinks=False)
    os.chmod(root / "var/log", 0o2750)
    os.chmod(root / "var", 0o555)
    os.chmod(root, 0o751)
    os.utime(root, ns=(5, 987_654_321_000_000_001))
    return root


def packed(root, *options):
    return subprocess.run(["tar", "-C", str(root), "-c", "--xattrs", "--xattrs-include=*", "--acls", "--selinux", "--sparse",
                           "--format=posix", "--pax-option=delete=atime,delete=ctime", *options, "."], stdout=subprocess.PIPE, check=True).stdout


def lz4(data):
    return subprocess.run(["lz4", "-zc"], input=data, stdout=subprocess.PIPE, check=True).stdout


def zstd(data):
    return subprocess.run(["zstd", "-qc"], input=data, stdout=subprocess.PIPE, check=True).stdout


PACK = {"tar": lambda data: data, "gz": lambda data: gzip.compress(data, 1), "zst": zstd, "xz": lambda data: lzma.compress(data, preset=0),
        "bz2": bz2.compress, "lz4": lz4}


def serve(station, data, name="/root.tar"):
    return station.web.add(name, data)


# --- what is kept


@pytest.mark.parametrize("kind", PACK)
def test_everything_is_kept(station, tree, kind):
    """Owners, modes, times, attributes, lists, links, devices, holes: whatever ARCHIVE_TYPE says about the compression."""
    if kind == "lz4" and not shutil.which("lz4"):
        pytest.skip("the lz4 program is not there")
    tar = packed(tree)
    data = PACK[kind](tar)
    disk = file_system(station)
    message = station.succeeds(ARCHIVE2DISK, {"ARCHIVE_URL": serve(station, data), "ARCHIVE_TYPE": "targz" if kind == "tar" else "TAR",
                                              "DEST_DISK": disk.path, "FS_TYPE": "ext4", "DEST_PATH": "/", "TARFILE_CHECKSUM": digest(tar)},
                               digest(tar), "as expected", *["zstd"] * (kind == "zst"))
    assert "not kept" not in message
    with disk.mounted() as root:
        assert_same(snapshot(root), snapshot(tree))
        assert os.stat(root / "var/log/lastlog").st_blocks * 512 < MIB


@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_other_file_systems(station, tree, kind):
    tar = packed(tree)
    disk = file_system(station, kind)
    station.succeeds(ARCHIVE2DISK, {"ARCHIVE_URL": serve(station, zstd(tar)), "DEST_DISK": disk.path, "TARFILE_CHECKSUM": digest(tar)})
    with disk.mounted() as root:
        assert_same(snapshot(root), snapshot(tree))


@pytest.mark.parametrize("format", ["v7", "oldgnu", "gnu", "ustar", "posix"])
def test_flavours(station, tmp_path, format):
    source = tmp_path / "source"
    (source / "a/b").mkdir(parents=True)
    (source / "a/b/file").write_bytes(os.urandom(100_001))
    os.chown(source / "a/b/file", 12, 34)
    (source / "a/link").symlink_to("b/file")
    os.link(source / "a/b/file", source / "a/hard")
    if format in ("gnu", "posix"):
        (source / ("x" * 150)).mkdir()
        (source / ("x" * 150) / ("y" * 200)).write_text("long")
    for folder, folders, files in os.walk(source, topdown=False):
        for name in [*files, *folders, "."]:
            os.utime(os.path.join(folder, name), (10 ** 9, 10 ** 9), follow_symlinks=False)
    tar = run_tar("-C", source, f"--format={format}", "-c", ".")
    disk = file_system(station)
    station.succeeds(ARCHIVE2DISK, {"ARCHIVE_URL": serve(station, tar), "DEST_DISK": disk.path, "ARCHIVE_CHECKSUM": digest(tar)})
    with disk.mounted() as root:
        assert_same(snapshot(root), snapshot(source))


def run_tar(*words):
    return subprocess.run(["tar", *map(str, words)], stdout=subprocess.PIPE, check=True).stdout


@pytest.mark.parametrize("version", ["0.0", "0.1", "1.0", "gnu"])
def test_sparse_forms(station, tmp_path, version):
    path = tmp_path / "sparse"
    with open(path, "wb") as file:
        for place in (0, 3 * MIB + 17, 8 * MIB):
            file.seek(place)
            file.write(b"data %d" % place)
        file.truncate(12 * MIB)
    form = ["--format=gnu"] if version == "gnu" else ["--format=posix", f"--sparse-version={version}"]
    tar = run_tar("-C", tmp_path, "-c", "--sparse", *form, "sparse")
    assert len(tar) < MIB
    disk = file_system(station)
    station.succeeds(ARCHIVE2DISK, {"ARCHIVE_URL": serve(station, tar), "DEST_DISK": disk.path, "TARFILE_CHECKSUM": digest(tar)})
    with disk.mounted() as root:
        assert (root / "sparse").read_bytes() == path.read_bytes()
        assert os.stat(root / "sparse").st_blocks * 512 < MIB


def test_lists_that_name_users(station):
    """GNU tar writes names, not numbers: they are those of the tree's own users."""
    text = "user::rw-,user:alice:r--,user:stranger:rwx,group::r--,mask::r--,other::---"
    fields = {"pax_headers": {"SCHILY.acl.access": text}}
    tar = tar_of(("file", b"x", fields), ("etc", None), ("etc/passwd", b"alice:x:4711:4711::/:/bin/sh\n"))
    disk = file_system(station)
    station.succeeds(ARCHIVE2DISK, {"ARCHIVE_URL": serve(station, tar), "DEST_DISK": disk.path, "TARFILE_CHECKSUM": digest(tar)},
                     "not kept whole: access control lists of 1")
    assert "stranger" in station.first.log
    with disk.mounted() as root:
        assert os.getxattr(root / "file", "system.posix_acl_access") == access_list(
            (1, 6, NOBODY_ID), (2, 4, 4711), (4, 4, NOBODY_ID), (16, 4, NOBODY_ID), (32, 0, NOBODY_ID))


def test_vfat(station):
    """No owners, modes, attributes: said. No links: an error."""
    if "\tvfat\n" not in open("/proc/filesystems", encoding="ascii").read():
        pytest.skip("this kernel does not know vfat")
    disk = file_system(station, "vfat")
    tar = tar_of(("EFI", None), ("EFI/BOOT", None), ("EFI/BOOT/BOOTX64.EFI", b"MZ" * 5000, {"pax_headers": {"SCHILY.xattr.user.a": "b"}}))
    url = serve(station, tar)
    station.succeeds(ARCHIVE2DISK, {"ARCHIVE_URL": url, "DEST_DISK": disk.path, "TARFILE_CHECKSUM": digest(tar)},
                     "not kept whole: owners and modes of 3 entries, extended attributes of 1")
    with disk.mounted() as root:
        assert (root / "EFI/BOOT/BOOTX64.EFI").read_bytes() == b"MZ" * 5000
    for entry in (("link", "EFI"), ("hard", b"", {"type": tarfile.LNKTYPE, "linkname": "new"})):
        tar = tar_of(("new", b"x"), entry)
        station.fails(ARCHIVE2DISK, {"ARCHIVE_URL": serve(station, tar), "DEST_DISK": disk.path, "TARFILE_CHECKSUM": digest(tar)},
                      entry[0], "this file system cannot hold a", "left as it was")
    assert content_of(disk) == {"EFI", "EFI/BOOT", "EFI/BOOT/BOOTX64.EFI"}


# --- whole or not at all


def test_checksums(station, tree):
    tar = tar_of(("a", b"hello"))
    data = gzip.compress(tar)
    disk = file_system(station)
    base = {"ARCHIVE_URL": serve(station, data), "DEST_DISK": disk.path}
    sha512 = "SHA512:" + hashlib.sha512(tar).hexdigest().upper()
    station.fails(ARCHIVE2DISK, base, "TARFILE_CHECKSUM is missing")
    station.fails(ARCHIVE2DISK, {**base, "INSECURE_NO_TARFILE_CHECKSUM_VERIFICATION": "false"}, "TARFILE_CHECKSUM is missing")
    station.fails(ARCHIVE2DISK, {**base, "TARFILE_CHECKSUM": digest(data)}, "left as it was", digest(data), digest(tar))
    station.fails(ARCHIVE2DISK, {**base, "ARCHIVE_CHECKSUM": digest(tar)}, "left as it was", digest(data), digest(tar))
    station.fails(ARCHIVE2DISK, {**base, "ARCHIVE_CHECKSUM": digest(data), "TARFILE_CHECKSUM": digest(data)}, "left as it was")
    assert content_of(disk) == set()
    for good in ({"TARFILE_CHECKSUM": digest(tar)}, {"TARFILE_CHECKSUM": sha512}, {"ARCHIVE_CHECKSUM": digest(data)},
                 {"ARCHIVE_CHECKSUM": digest(data), "TARFILE_CHECKSUM": digest(tar)}, {"INSECURE_NO_TARFILE_CHECKSUM_VERIFICATION": "T"}):
        station.succeeds(ARCHIVE2DISK, {**base, **good}, "not verified" if "INSECURE" in str(good) else "as expected")
        assert content_of(disk) == {"a"}


@pytest.mark.parametrize("kind", ["tar", "gz", "zst", "xz"])
def test_cut_and_damaged(station, kind):
    """Wherever the connection breaks for good, and whichever bit is wrong: the disk is as it was."""
    tar = tar_of(*((f"file{number}", os.urandom(20_000)) for number in range(20)))
    data = PACK[kind](tar)
    disk = file_system(station)
    path = "/cut.tar"
    good = {"ARCHIVE_URL": serve(station, data, path), "DEST_DISK": disk.path, "TARFILE_CHECKSUM": digest(tar)}
    unverified = {**good, "INSECURE_NO_TARFILE_CHECKSUM_VERIFICATION": "true"}
    del unverified["TARFILE_CHECKSUM"]
    for at in (0, 1, 511, 512, len(data) // 2, len(data) - 1):
        station.web.clear_faults()
        station.web.fault("cut", path=path, at=at)
        station.fails(ARCHIVE2DISK, unverified)
        assert content_of(disk) == set(), at
    for at in (len(data) // 3, len(data) - 2000):
        station.web.clear_faults()
        station.web.fault("flip-bit", path=path, at=at, bit=3)
        station.fails(ARCHIVE2DISK, good, "left as it was")
        assert content_of(disk) == set(), at
    # A file that was cut off on the server already: its length is right.
    station.web.clear_faults()
    for size in (len(data) - 1, len(data) // 2):
        station.web.add(path, data[:size])
        station.fails(ARCHIVE2DISK, unverified)
        assert content_of(disk) == set(), size
    # A connection that breaks and comes back is no failure.
    station.web.add(path, data)
    station.web.fault("cut", path=path, at=len(data) // 2, times=1)
    station.succeeds(ARCHIVE2DISK, good)
    assert len(content_of(disk)) == 20


def test_cut_between_entries(station):
    """Neither length nor checksum, and the cut is where an entry ends: only the end mark can tell."""
    tar = tar_of(("a", b"1" * 512), ("b", b"2" * 512))
    disk = file_system(station)
    environment = {"DEST_DISK": disk.path, "INSECURE_NO_TARFILE_CHECKSUM_VERIFICATION": "true"}
    station.web.fault("no-length", path="/cut.tar")
    station.fails(ARCHIVE2DISK, {"ARCHIVE_URL": serve(station, tar[:1024], "/cut.tar"), **environment}, "no end mark")
    assert content_of(disk) == set()
    station.succeeds(ARCHIVE2DISK, {"ARCHIVE_URL": serve(station, tar, "/cut.tar"), **environment})
    assert content_of(disk) == {"a", "b"}


def test_what_is_no_archive(station, images):
    disk = file_system(station)
    environment = {"DEST_DISK": disk.path, "INSECURE_NO_TARFILE_CHECKSUM_VERIFICATION": "1"}
    tar = tar_of(("a", b"x"))
    for data in (b"", b"<html>not found</html>" * 100, bytes(10240), os.urandom(5000), gzip.compress(b""), gzip.compress(b"text"),
                 tar[:700], tar + b"garbage", tar + os.urandom(512)):
        station.fails(ARCHIVE2DISK, {"ARCHIVE_URL": serve(station, data), **environment})
        assert content_of(disk) == set()
    station.web.fault("status", path="/none.tar", status=404, body="")
    station.fails(ARCHIVE2DISK, {"ARCHIVE_URL": station.web.url + "/none.tar", **environment}, "404")
    two = tar_of(("a", b"1"), ("b", b"2")) + tar_of(("b", b"3"), ("c", b"4"))
    station.succeeds(ARCHIVE2DISK, {"ARCHIVE_URL": serve(station, two), **environment})
    with disk.mounted() as root:
        assert [(root / name).read_bytes() for name in "abc"] == [b"1", b"3", b"4"]


def test_killed_in_the_middle(station):
    """What a killed run leaves is not the tree, and the next run removes it."""
    tar = tar_of(*((f"dir/file{number}", os.urandom(100_000)) for number in range(60)))
    disk = file_system(station)
    url = serve(station, tar)
    station.web.fault("slow", path="/root.tar", rate=1_000_000)
    environment = {"ARCHIVE_URL": url, "DEST_DISK": disk.path, "TARFILE_CHECKSUM": digest(tar)}
    action = station.one(ARCHIVE2DISK, environment, timeout=2)
    assert action.state == "TIMEOUT", action.message
    left = content_of(disk)
    assert all(name == STAGING or name.startswith(STAGING + "/") for name in left), left
    station.web.clear_faults()
    station.succeeds(ARCHIVE2DISK, environment)
    assert content_of(disk) == {"dir"} | {f"dir/file{number}" for number in range(60)}


def test_time_limit(station):
    tar = tar_of(("a", os.urandom(300_000)))
    disk = file_system(station)
    station.fails(ARCHIVE2DISK, {"ARCHIVE_URL": serve(station, tar), "DEST_DISK": disk.path, "TARFILE_CHECKSUM": digest(tar),
                                 "HTTP_CLIENT_TIMEOUT_MINUTES": "never"}, "HTTP_CLIENT_TIMEOUT_MINUTES", "never")
    station.succeeds(ARCHIVE2DISK, {"ARCHIVE_URL": serve(station, tar), "DEST_DISK": disk.path, "TARFILE_CHECKSUM": digest(tar),
                                    "HTTP_CLIENT_TIMEOUT_MINUTES": "5"})


# --- over what is there


def test_over_an_existing_tree(station):
    """What the archive does not name stays; links to directories are kept and go on leading inside."""
    disk = file_system(station)
    first = tar_of((".", None, {"mode": 0o711}), ("usr", None), ("usr/lib", None, {"mode": 0o700, "uid": 5}), ("usr/lib/old", b"old"),
                   ("lib", "usr/lib"), ("abs", "/usr/lib"), ("etc", None, {"mode": 0o710, "mtime": 77}), ("etc/keep", b"keep"), ("etc/change", b"1"),
                   ("dir", None), ("dir/inside", b"x"), ("empty", None), ("file", b"f"), ("gone", "nowhere"))
    second = tar_of(("lib", None, {"mode": 0o755}), ("lib/new", b"new"), ("abs/too", b"too"), ("etc/change", b"22"), ("etc/change2", b"22"),
                    ("empty", b"now a file"), ("file", None), ("file/inside", b"y"), ("gone", None), ("gone/inside", b"z"), ("fresh/made/here", b"!"))
    for tar in (first, second, second, first):
        if tar is first:
            disk = file_system(station)
        station.succeeds(ARCHIVE2DISK, {"ARCHIVE_URL": serve(station, tar), "DEST_DISK": disk.path, "TARFILE_CHECKSUM": digest(tar)})
        if tar is first:
            continue
        with disk.mounted() as root:
            assert os.readlink(root / "lib") == "usr/lib" and os.readlink(root / "abs") == "/usr/lib"
            assert sorted(os.listdir(root / "usr/lib")) == ["new", "old", "too"]
            assert (root / "etc/keep").read_bytes() == b"keep" and (root / "etc/change").read_bytes() == b"22"
            assert (root / "empty").read_bytes() == b"now a file" and (root / "file/inside").read_bytes() == b"y"
            assert (root / "gone/inside").read_bytes() == b"z" and (root / "fresh/made/here").read_bytes() == b"!"
            status = os.stat(root / "etc")
            assert stat.S_IMODE(status.st_mode) == 0o710, "a directory that the archive does not name has changed"
            assert stat.S_IMODE(os.stat(root).st_mode) == 0o711
    # A directory with content is not thrown away for a file: all stays as it was.
    before = content_of(disk)
    tar = tar_of(("aaa", b"1"), ("dir", b"a file"))
    station.fails(ARCHIVE2DISK, {"ARCHIVE_URL": serve(station, tar), "DEST_DISK": disk.path, "TARFILE_CHECKSUM": digest(tar)},
                  "/dir", "a directory with content", "left as it was")
    assert content_of(disk) == before


def test_second_run(station, tree):
    tar = packed(tree)
    disk = file_system(station)
    for _ in range(2):
        station.succeeds(ARCHIVE2DISK, {"ARCHIVE_URL": serve(station, zstd(tar)), "DEST_DISK": disk.path, "TARFILE_CHECKSUM": digest(tar)})
        with disk.mounted() as root:
            assert_same(snapshot(root), snapshot(tree))


def test_destination_path(station):
    """A directory inside the file system, made when it is missing; links on the way stay inside."""
    disk = file_system(station)
    tar = tar_of(("a", b"1"))
    with disk.mounted(read_only=False) as root:
        (root / "real").mkdir()
        (root / "link").symlink_to("/real/../../../real")
    for path, place in (("/srv/new/root", "srv/new/root"), ("/link/x", "real/x"), ("/../..//up/", "up")):
        station.succeeds(ARCHIVE2DISK, {"ARCHIVE_URL": serve(station, tar), "DEST_DISK": disk.path, "DEST_PATH": path,
                                        "TARFILE_CHECKSUM": digest(tar)}, path)
        with disk.mounted() as root:
            assert (root / place / "a").read_bytes() == b"1"


# --- nothing leaves the target

HARD = {"type": tarfile.LNKTYPE}
OUTSIDE = "/tmp/tink-worker-test-outside"
HOSTILE = {
    # name: (entries, whether it must be refused)
    "dots": ([("../escaped", b"!")], True),
    "dots inside": ([("a/../../../escaped", b"!")], True),
    "dots at the end": ([("a", None), ("a/..", "x")], True),
    "many dots": ([("../" * 40 + OUTSIDE[1:] + "/escaped", b"!")], True),
    "hard link with dots": ([("h", b"", {**HARD, "linkname": "../victim"})], True),
    "hard link to the machine": ([("h", b"", {**HARD, "linkname": OUTSIDE + "/victim"})], True),
    "absolute": ([(OUTSIDE + "/escaped", b"!")], False),
    "link to the machine": ([("l", OUTSIDE), ("l/escaped", b"!")], True),
    "link to the machine, made": ([(OUTSIDE[1:], None), ("l", OUTSIDE), ("l/escaped", b"!")], False),
    "link up": ([("l", "../../../../.."), ("l/escaped", b"!")], False),
    "link to the parent": ([("l", ".."), ("l/victim", b"!"), ("l/escaped/x", b"!")], False),
    "link chain": ([("a", "b"), ("b", "c"), ("c", "../.."), ("a/escaped", b"!")], False),
    "link loop": ([("a", "b"), ("b", "a"), ("a/escaped", b"!")], True),
    "directory becomes link": ([("d", None), ("d/x", b"1"), ("e", None), ("e", ".."), ("e/escaped", b"!")], False),
    "link replaced by directory": ([("d", ".."), ("d", None), ("d/escaped", b"!")], False),
    "hard link through a link": ([("l", ".."), ("h", b"", {**HARD, "linkname": "l/victim"})], True),
    "hard link to a link": ([("l", OUTSIDE + "/victim"), ("h", b"", {**HARD, "linkname": "l"}), ("h", b"overwritten")], False),
    "hard link with content": ([("l", OUTSIDE + "/victim"), ("h", b"overwritten", {**HARD, "linkname": "l", "size": 11})], True),
    "write through a link": ([("l", OUTSIDE + "/victim"), ("l", b"overwritten")], False),
    "times and modes of a link": ([("l", OUTSIDE + "/victim", {"mode": 0o4777, "uid": 9})], False),
    "directory over a link": ([("l", OUTSIDE), ("l", None, {"mode": 0o777, "uid": 9})], False),
    "directory meta through a link": ([("d", None, {"mode": 0o777, "uid": 9, "mtime": 5}), ("e/d", None), ("d/x", b"")], False),
    "device to write to": ([("dev", b"", {"type": tarfile.BLKTYPE, "devmajor": 7, "devminor": 0}), ("dev", b"overwritten")], False),
    "proc": ([("p", "/proc/self/root"), ("p/" + OUTSIDE[1:] + "/escaped", b"!")], True),
    "magic": ([("p", "/proc/self/cwd"), ("p/escaped", b"!")], True),
    "its own place": ([(STAGING, None), (STAGING + "/x", b"!")], True),
    "its own place as a link": ([(STAGING, "..")], True),
    "no name": ([("", b"x")], True),
    "only dots": ([("./././", b"x")], True),
    "the root as a link": ([(".", "..")], True),
    "hard link to itself": ([("a", b"", {**HARD, "linkname": "a"})], True),
    "acl through a link": ([("l", OUTSIDE + "/victim", {"pax_headers": {"SCHILY.acl.access": "user::rwx,user:9:rwx,group::rwx,mask::rwx,other::rwx"}})], False),
    "very deep": ([("/".join(["d" * 9] * 300) + "/x", b"deep")], False),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_leaves_the_target(station, name):
    """Neither to the machine, nor to the rest of the file system that DEST_PATH is in."""
    entries, refused = HOSTILE[name]
    shutil.rmtree(OUTSIDE, ignore_errors=True)
    os.mkdir(OUTSIDE, 0o700)
    try:
        with open(OUTSIDE + "/victim", "w", encoding="ascii") as file:
            file.write("untouched")
        os.utime(OUTSIDE, (1, 1))
        disk = file_system(station)
        with disk.mounted(read_only=False) as root:
            (root / "victim").write_text("untouched")
            (root / "target").mkdir()
            (root / "other").mkdir()
        with disk.mounted() as root:
            before = {key: value for key, value in snapshot(root)[0].items() if key != b"." and not key.startswith(b"target")}
        outside = snapshot(OUTSIDE)
        above = set(os.listdir("/"))
        tar = tar_of(*entries)
        environment = {"ARCHIVE_URL": serve(station, tar), "DEST_DISK": disk.path, "DEST_PATH": "/target", "TARFILE_CHECKSUM": digest(tar)}
        if refused:
            station.fails(ARCHIVE2DISK, environment, "left as it was")
        else:
            station.succeeds(ARCHIVE2DISK, environment)
        assert snapshot(OUTSIDE) == outside
        assert set(os.listdir("/")) == above
        with disk.mounted() as root:
            after = {key: value for key, value in snapshot(root)[0].items() if key != b"." and not key.startswith(b"target")}
            assert after == before
            assert not refused or os.listdir(root / "target") == []
    finally:
        shutil.rmtree(OUTSIDE, ignore_errors=True)


def test_links_that_were_there(station):
    """A link on the disk that leads outside of DEST_PATH leads inside for the archive."""
    disk = file_system(station)
    with disk.mounted(read_only=False) as root:
        (root / "target/etc").mkdir(parents=True)
        (root / "etc").mkdir()
        (root / "target/a").symlink_to("/etc")
        (root / "target/b").symlink_to("../etc")
        (root / "target/c").symlink_to("../../../../nothing")
    tar = tar_of(("a", None), ("a/x", b"1"), ("b", None), ("b/y", b"2"), ("c", None), ("c/z", b"3"))
    station.succeeds(ARCHIVE2DISK, {"ARCHIVE_URL": serve(station, tar), "DEST_DISK": disk.path, "DEST_PATH": "/target", "TARFILE_CHECKSUM": digest(tar)})
    with disk.mounted() as root:
        assert os.listdir(root / "etc") == []
        assert sorted(os.listdir(root / "target/etc")) == ["x", "y"]
        assert os.listdir(root / "target/c") == ["z"]


def test_deep_trees_are_removed(station):
    """More levels than there are descriptors, and paths longer than the kernel takes: left by a failure, and removed."""
    deep = "/".join(["d"] * 1500)
    entries = [(deep + "/x", b"1")] + [("l", deep)] + [("l/" + deep + "/y", b"2")]
    tar = tar_of(*entries)
    disk = file_system(station, "ext4", 48, "-b", "4096")
    environment = {"ARCHIVE_URL": serve(station, tar), "DEST_DISK": disk.path}
    station.fails(ARCHIVE2DISK, {**environment, "TARFILE_CHECKSUM": digest(b"")}, "left as it was")
    with disk.mounted() as root:
        assert os.listdir(root) == ["lost+found"]
    station.succeeds(ARCHIVE2DISK, {**environment, "TARFILE_CHECKSUM": digest(tar)})
    run("e2fsck", "-fn", disk.path)


# --- file systems in trouble


def test_no_space(station):
    disk = file_system(station, "ext4", 8, "-O", "^has_journal")
    tar = tar_of(("small", b"1"), ("large", bytes(range(256)) * 65536))
    environment = {"ARCHIVE_URL": serve(station, tar), "DEST_DISK": disk.path, "TARFILE_CHECKSUM": digest(tar)}
    station.fails(ARCHIVE2DISK, environment, "large", "No space left", "left on the file system", "left as it was")
    assert content_of(disk) == set()
    disk = file_system(station, "ext4", 8, "-N", "32", "-O", "^has_journal")
    tar = tar_of(*((f"f{number}", b"") for number in range(50)))
    station.fails(ARCHIVE2DISK, {"ARCHIVE_URL": serve(station, tar), "DEST_DISK": disk.path, "TARFILE_CHECKSUM": digest(tar)},
                  "no inode left", "left as it was")
    assert content_of(disk) == set()


def test_disks_in_trouble(station, images):
    tar = tar_of(("a", b"1"))
    environment = {"ARCHIVE_URL": serve(station, tar), "TARFILE_CHECKSUM": digest(tar)}
    empty = station.disk(size_bytes=8 * MIB)
    station.fails(ARCHIVE2DISK, {**environment, "DEST_DISK": empty.path}, empty.path)
    read_only = station.disk(images.empty("ext4"), read_only=True)
    station.fails(ARCHIVE2DISK, {**environment, "DEST_DISK": read_only.path}, read_only.path, "read-only")
    disk = file_system(station)
    station.fails(ARCHIVE2DISK, {**environment, "DEST_DISK": disk.path, "FS_TYPE": "xfs"}, "xfs")
    station.fails(ARCHIVE2DISK, {**environment, "DEST_DISK": disk.path, "DEST_PATH": "relative"}, "DEST_PATH")
