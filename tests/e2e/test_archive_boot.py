"""archive2disk unpacks the root file system of a Debian, and it boots: kernel and initrd are those that it has unpacked."""

import hashlib

from machine import Disk, Machine
from worker import MIB, images, make_station, run, station  # noqa: F401

MACHINES = True  # tests/run: boots a machine

ROOT_UUID = "5c1e0a5e-7a3d-4c6f-9a01-f11e5757e001"  # its fstab has it
ROOT_START = 16 * MIB


def tar_of_root(debian, folder):
    """The image's root partition as root.tar.zst; returns it and the tar's checksum."""
    raw, point, tar = folder / "debian.raw", folder / "root", folder / "root.tar"
    run("zstd", "-dq", debian.path, "-o", raw)
    point.mkdir()
    run("mount", "-o", f"ro,loop,offset={ROOT_START}", raw, point)
    try:
        run("tar", "-C", point, "--numeric-owner", "--xattrs", "--xattrs-include=*", "--acls", "--sparse", "--format=posix",
            "--exclude=./lost+found", "-cf", tar, ".")
    finally:
        run("umount", point)
    raw.unlink()
    with open(tar, "rb") as file:
        checksum = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
    run("zstd", "-q", "-3", "-T0", "--rm", tar, "-o", folder / "root.tar.zst")
    return folder / "root.tar.zst", checksum


def test_a_debian_root_boots(station, debian):
    """Unpacked twice (a second run is safe); owners, set-id programs and links are right in the running system."""
    folder = station.folder
    archive, checksum = tar_of_root(debian, folder)
    disk = station.disk(size_bytes=1024 * MIB)
    run("mkfs.ext4", "-q", "-U", ROOT_UUID, disk.path)
    environment = {"ARCHIVE_URL": station.web.add("/root.tar.zst", archive), "ARCHIVE_TYPE": "targz", "DEST_DISK": disk.path,
                   "FS_TYPE": "ext4", "DEST_PATH": "/", "TARFILE_CHECKSUM": checksum}
    for _ in range(2):
        station.succeeds("quay.io/tinkerbell/actions/archive2disk:v1.0.0", environment, checksum, timeout_s=200)
    run("e2fsck", "-fn", disk.path)
    with disk.mounted() as root:
        for name in ("vmlinuz", "initrd.img"):
            (folder / name).write_bytes((root / name).read_bytes())
    machine = Machine(folder / "machine", firmware="bios", disks=[Disk(disk.file)], kernel=folder / "vmlinuz", initrd=folder / "initrd.img",
                      append=f"root=UUID={ROOT_UUID} ro console=ttyS0 quiet fsck.mode=skip")
    with machine:
        console = machine.consoles[0]
        console.login(timeout_s=400)
        assert console.run("uname -r").strip() == debian.kernel
        assert console.run("stat -c '%a %u:%g' /usr/bin/su /usr/bin/passwd /etc/shadow /var/mail").strip().split("\n") == [
            "4755 0:0", "4755 0:0", "640 0:42", "2775 0:8"]
        assert console.run("readlink /bin /lib64").split() == ["usr/bin", "usr/lib64"]
        assert console.run("systemctl --failed --no-legend --plain | wc -l").strip() == "0"
        # The image's own build has taken documentation and apt's lists away.
        gone = "/usr/share/(doc|man|locale|info|lintian)/|/var/lib/apt/lists| c /"
        assert console.run(f"dpkg --verify 2>&1 | grep -vE '{gone}' || true", timeout_s=300).strip() == ""
        console.run("sync")
