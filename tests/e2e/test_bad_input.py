"""Bad input, every kind of it: what the server is told, and what is left on disks, among processes, mounts and loop devices.

The fixture asserts after each test that nothing is left and that the protocol was kept (see worker.py).
"""

import os
import re
import signal
import time
from pathlib import Path

import pytest

from worker import (FORMATS, MIB, eventually, images, is_alive, make_station, mounts_of, plain_files_in_dev,  # noqa: F401
                    processes_with, run, sha256, station)

IMAGE2DISK = "quay.io/tinkerbell/actions/image2disk:latest"
WRITEFILE = "quay.io/tinkerbell/actions/writefile:latest"
CEXEC = "quay.io/tinkerbell/actions/cexec:latest"
WAITDAEMON = "ghcr.io/jacobweinstock/waitdaemon:latest"


# --- actions and parameters


def test_unknown_action(station):
    for image in ("quay.io/acme/nonsense:1", "alpine", "127.0.0.1/embedded/nonsense", "registry.example/ours/poweroff:3",
                  "oci.example:5000/a/b@sha256:" + 64 * "0", "image2disk2"):
        message = station.fails(image, {}, image, "image2disk", "writefile", "cexec", "reboot")
        assert message.startswith("unsupported")
        action = station.server.workflows[-1].action("it")
        assert [state for state, _ in action.message_history] == ["RUNNING", "FAILED"]


def test_image_names_that_are_none(station):
    for image in (" ", "a b", "quay.io/", "x" * 600):
        station.fails(image, {}, image[:100])


MISSING = [
    (IMAGE2DISK, {}, ["IMG_URL", "DEST_DISK", "missing"]),
    (IMAGE2DISK, {"IMG_URL": "", "DEST_DISK": "/dev/null"}, ["IMG_URL", "missing"]),
    (WRITEFILE, {"CONTENTS": "x"}, ["DEST_DISK", "DEST_PATH", "missing"]),
    (WRITEFILE, {"DEST_DISK": "/dev/null", "DEST_PATH": "/a"}, ["CONTENTS", "missing"]),
    (CEXEC, {"FS_TYPE": "ext4"}, ["BLOCK_DEVICE", "CMD_LINE", "missing"]),
    (WAITDAEMON, {}, ["IMAGE", "missing"]),
]
MALFORMED = [
    (IMAGE2DISK, {"IMG_URL": "ftp://server/x", "DEST_DISK": "/dev/null"}, ["IMG_URL", "ftp://server/x", "http://"]),
    (IMAGE2DISK, {"IMG_URL": "server/x.raw", "DEST_DISK": "sda"}, ["IMG_URL", "server/x.raw", "DEST_DISK", "sda", "absolute"]),
    (IMAGE2DISK, {"IMG_URL": "http://h/x", "DEST_DISK": "/dev/null", "COMPRESSED": "yes"}, ["COMPRESSED", "yes", "true or false"]),
    (IMAGE2DISK, {"IMG_URL": "http://h/x", "DEST_DISK": "/dev/null", "RETRY_ENABLED": "on"}, ["RETRY_ENABLED", "on"]),
    (IMAGE2DISK, {"IMG_URL": "http://h/x", "DEST_DISK": "/dev/null", "RETRY_DURATION_MINUTES": "-1"}, ["RETRY_DURATION_MINUTES", "-1"]),
    (IMAGE2DISK, {"IMG_URL": "http://h/x", "DEST_DISK": "/dev/null", "PROGRESS_INTERVAL_SECONDS": "0"},
     ["PROGRESS_INTERVAL_SECONDS", "0"]),
    (IMAGE2DISK, {"IMG_URL": "http://h/x", "DEST_DISK": "/dev/null", "CHECKSUM": "sha256:1234"}, ["CHECKSUM", "sha256", "64"]),
    (IMAGE2DISK, {"IMG_URL": "http://h/x", "DEST_DISK": "/dev/null", "CHECKSUM": "md5:" + 32 * "0"}, ["CHECKSUM", "md5", "sha256"]),
    (IMAGE2DISK, {"IMG_URL": "http://h/x", "DEST_DISK": "/dev/null", "CHECKSUM_URL": "x"}, ["CHECKSUM_URL"]),
    (IMAGE2DISK, {"IMG_URL": "http://a/x,http://b/x ftp://c/x", "DEST_DISK": "/dev/null"}, ["IMG_URL", "ftp://c/x", "must be URLs"]),
    (IMAGE2DISK, {"IMG_URL": "http://h/x", "DEST_DISK": "/dev/null", "VERIFY": "yes"}, ["VERIFY", "yes", "readback"]),
    (IMAGE2DISK, {"IMG_URL": "http://h/x", "DEST_DISK": "/dev/null", "MODE": "fast"}, ["MODE", "fast", "compare"]),
    (WRITEFILE, {"DEST_DISK": "/dev/null", "DEST_PATH": "etc/x", "CONTENTS": "x"}, ["DEST_PATH", "etc/x", "absolute"]),
    (WRITEFILE, {"DEST_DISK": "/dev/null", "DEST_PATH": "/x", "CONTENTS": "x", "MODE": "0888"}, ["MODE", "0888", "octal"]),
    (WRITEFILE, {"DEST_DISK": "/dev/null", "DEST_PATH": "/x", "CONTENTS": "x", "MODE": "010000"}, ["MODE", "7777"]),
    (WRITEFILE, {"DEST_DISK": "/dev/null", "DEST_PATH": "/x", "CONTENTS": "x", "DIRMODE": "rwx"}, ["DIRMODE", "rwx"]),
    (WRITEFILE, {"DEST_DISK": "/dev/null", "DEST_PATH": "/x", "CONTENTS": "x", "UID": "root"}, ["UID", "root", "number"]),
    (WRITEFILE, {"DEST_DISK": "/dev/null", "DEST_PATH": "/x", "CONTENTS": "x", "GID": "4294967295"}, ["GID", "4294967295"]),
    (WRITEFILE, {"DEST_DISK": "/dev/null", "DEST_PATH": "/x", "CONTENTS_BASE64": "a*b"}, ["CONTENTS_BASE64"]),
    (WRITEFILE, {"DEST_DISK": "/dev/null", "DEST_PATH": "/x", "CONTENTS": "x", "CONTENTS_BASE64": "eA=="}, ["CONTENTS_BASE64", "only one"]),
    (WRITEFILE, {"DEST_DISK": "/dev/null", "DEST_PATH": "/x", "STATIC_NETPLAN": "true"}, ["STATIC_NETPLAN", "not supported"]),
    (WRITEFILE, {"DEST_DISK": "/dev/null", "DEST_PATH": "/x", "HEGEL_URLS": "http://h"}, ["HEGEL_URLS", "not supported"]),
    (WRITEFILE, {"DEST_DISK": "/dev/null", "DEST_PATH": "/x", "BOOTCONFIG_CONTENTS": "a=b"}, ["BOOTCONFIG_CONTENTS", "not supported"]),
    (CEXEC, {"BLOCK_DEVICE": "/dev/null", "CMD_LINE": "x", "UPDATE_RESOLV_CONF": "please"}, ["UPDATE_RESOLV_CONF", "please"]),
    (WAITDAEMON, {"IMAGE": "reboot", "WAIT_SECONDS": "soon"}, ["WAIT_SECONDS", "soon"]),
    (WAITDAEMON, {"IMAGE": "quay.io/acme/nonsense"}, ["IMAGE", "quay.io/acme/nonsense"]),
    (WAITDAEMON, {"IMAGE": "ghcr.io/x/waitdaemon"}, ["IMAGE", "waitdaemon"]),
    (WAITDAEMON, {"IMAGE": "quay.io/tinkerbell/actions/writefile"}, ["writefile", "DEST_DISK", "missing"]),
]


def test_missing_parameters(station):
    for image, environment, words in MISSING:
        station.fails(image, environment, *words)


def test_malformed_parameters(station):
    for image, environment, words in MALFORMED:
        message = station.fails(image, environment, *words)
        assert "missing" in message or "input" in message or "unsupported" in message, message
    assert station.web.requests == []


def test_unknown_parameters_are_logged_and_not_fatal(station, images):
    disk = station.disk(images.root())
    station.succeeds(WRITEFILE, {"DEST_DISK": disk.path, "FS_TYPE": "ext4", "DEST_PATH": "/etc/x", "CONTENTS": "x", "MOD": "0600",
                                 "MIRROR_HOST": "10.0.0.1", "dest_path": "/elsewhere"})
    log = station.first.log
    assert re.search(r"unknown parameter.*MOD\b.*MODE", log), log
    assert len(re.findall(r"MIRROR_HOST", log)) == 1
    assert "10.0.0.1" not in log
    with disk.mounted() as root:
        assert (root / "etc/x").stat().st_mode & 0o7777 == 0o644
        assert not (root / "elsewhere").exists()


# --- output


def test_output_that_is_no_text(station, images):
    """Invalid UTF-8, terminal sequences and control characters, also those of ISO 6429, in an action's output."""
    disk = station.disk(images.root())
    command = (r"printf 'caf\303\251 \377\376 \303( \355\240\200 \360\202\202\254 \033[31mred\033[0m \033]0;title\007 a\001b "
               r"nul\000nul \302\233c1 \177del\rreturn\n'; exit 3")
    action = station.run(station.cexec(disk, command)).action("it")
    assert action.state == "FAILED"
    message = action.message
    message.encode()
    assert "café" in message and "red" in message and "exit status 3" in message and "return" in message
    # The command line itself, which is quoted as text, holds backslashes only: what is left of control
    # characters would come from the output. The server's rules look for them too.
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", message)
    log = station.first.log_path.read_bytes()
    assert "café" in log.decode("utf-8")
    assert not re.search(rb"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]", log), re.search(rb".*[\x00-\x08\x0b-\x1f\x7f].*", log)


@pytest.mark.parametrize("command", [
    "seq 1 200000", "yes | head -c 3000000 | tr -d '\\n'", "yes é | head -c 300001 | tr -d '\\n'",
    "for i in $(seq 1 300); do printf 'line %s\\r' $i; done", "head -c 200000 /dev/zero", "head -c 300000 /dev/urandom"],
    ids=["lines", "one-line", "two-bytes", "returns", "zeros", "noise"])
def test_output_without_end(station, images, command):
    """However much it says, and however: at most 4 KiB are reported, and the reason stands first."""
    disk = station.disk(images.root())
    action = station.run(station.cexec(disk, f"{command}; echo; echo the last words; exit 7")).action("it")
    assert action.state == "FAILED"
    assert len(action.message.encode()) <= 4096
    assert "exit status 7" in action.message.split("\n")[0]
    assert action.message.rstrip().endswith("the last words")


# --- the workflow is gone


def test_workflow_deleted_in_the_middle(station, images):
    """The worker ends with the action, is refused, and goes on with the next workflow."""
    disk = station.disk(images.root())
    workflow = station.submit(station.cexec(disk, "sleep 0.7"), {"name": "next", "image": "reboot"})
    station.begun(workflow)
    station.server.delete(workflow)
    station.succeeds("reboot")
    assert "refuses the report" in station.first.log
    about = [report.state for report in station.server.reports if report.workflow_id == workflow.id]
    assert about[0] == "RUNNING" and 2 <= about.count("SUCCESS") <= 3
    assert not [report for report in station.server.reports if report.action_name == "next"]


def test_workflow_deleted_before_running_is_stored(station, images):
    """No action starts whose RUNNING was not taken: the disk stays as it is."""
    disk = station.disk(size_bytes=8 * MIB).fill()
    station.server.fault("delete", state="RUNNING")
    url = station.web.add("/noise", images.noise())
    station.submit(station.image2disk(url, disk))
    station.first.wait_log("refuses the report")
    station.succeeds("reboot")
    assert disk.is_filled
    assert station.web.requests_for("/noise") == []


@pytest.mark.parametrize("code", ["NOT_FOUND", "INVALID_ARGUMENT", "FAILED_PRECONDITION"])
def test_final_report_refused_for_good(station, code):
    """Reported once, not again, and the machine is not rebooted: nobody knows of the success."""
    station.server.fault("status", code=code, state="SUCCESS", message="no")
    station.server.fault("hang", method="GetAction", skip=1)  # else it would be handed out again
    station.submit({"image": "reboot", "name": "first"})
    station.first.wait_log("refuses the report for good")
    assert station.first.notes == []
    assert [report.state for report in station.server.reports] == ["RUNNING", "SUCCESS"]


# --- URLs


def test_urls_that_give_nothing(station, images):
    disk = station.disk(size_bytes=8 * MIB).fill()
    noise = images.noise()
    web = station.web
    for kind, values, words in [
            ("status", {"status": 404}, ["404"]),
            ("status", {"status": 500}, ["500"]),
            ("status", {"status": 403}, ["403"]),
            ("status", {"status": 204}, ["204"]),
            ("redirect", {}, ["redirect"]),
            ("redirect", {"to": "ftp://example.invalid/x"}, ["redirect"]),
            ("close", {}, []),
            ("close-header", {}, []),
            ("garbage", {}, []),
            ("empty", {}, ["empty"]),
            ("html", {}, ["web page"]),
    ]:
        web.clear_faults()
        url = web.add("/x.raw", noise)
        web.fault(kind, path="/x.raw", **values)
        station.fails(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": disk.path}, url, *words)
        assert disk.is_filled, kind
    web.clear_faults()
    station.fails(IMAGE2DISK, {"IMG_URL": "http://127.0.0.1:1/x.raw", "DEST_DISK": disk.path}, "http://127.0.0.1:1/x.raw", "network")
    station.fails(IMAGE2DISK, {"IMG_URL": f"file://{station.folder}/none.raw", "DEST_DISK": disk.path}, f"{station.folder}/none.raw")
    station.fails(IMAGE2DISK, {"IMG_URL": f"file://{station.folder}", "DEST_DISK": disk.path}, str(station.folder))
    assert disk.is_filled


def test_url_of_a_host_without_address(station):
    """By a resolver that nobody listens at, so that the test needs no network and never waits for one."""
    (station.folder / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    disk = station.disk(size_bytes=8 * MIB).fill()
    worker = station.worker(before=f"mount --bind {station.folder}/resolv.conf $(readlink -f /etc/resolv.conf)")
    station.fails(IMAGE2DISK, {"IMG_URL": "http://images.example.invalid/x.raw", "DEST_DISK": disk.path},
                  "images.example.invalid", "network", worker=worker)
    assert disk.is_filled


def test_contents_url_that_gives_nothing(station, images):
    disk = station.disk(images.root())
    station.web.fault("status", path="/motd", status=404)
    url = station.web.url + "/motd"
    station.fails(WRITEFILE, {"DEST_DISK": disk.path, "DEST_PATH": "/etc/motd", "CONTENTS_URL": url}, url, "404", "CONTENTS_URL")
    station.web.clear_faults()
    url = station.web.add("/motd", b"x" * 100000)
    for kind in ("cut", "reset", "chunked-cut"):
        station.web.fault(kind, path="/motd", times=1, at=50000)
        station.fails(WRITEFILE, {"DEST_DISK": disk.path, "DEST_PATH": "/etc/motd", "CONTENTS_URL": url}, url)
    url = station.web.add("/big", bytes((16 << 20) + 1))
    station.fails(WRITEFILE, {"DEST_DISK": disk.path, "DEST_PATH": "/etc/motd", "CONTENTS_URL": url}, url)
    with disk.mounted() as root:
        assert not (root / "etc/motd").exists()
        assert sorted(path.name for path in (root / "etc").iterdir()) == ["passwd", "resolv.conf"]


def test_retries_start_over(station, images):
    """RETRY_ENABLED: after two cuts and a 503 the image is there; without it the first cut is the end."""
    disk = station.disk(size_bytes=8 * MIB)
    url = station.web.add("/x.raw", images.noise())
    station.web.fault("cut", path="/x.raw", times=1, at=3 * MIB)
    station.web.fault("status", path="/x.raw", times=1, status=503)
    station.succeeds(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": disk.path, "RETRY_ENABLED": "true", "RETRY_DURATION_MINUTES": "1"})
    assert len(station.web.requests_for("/x.raw")) == 3
    assert disk.read(0, 4 * MIB) == images.noise().read_bytes()
    # What another try cannot mend is not tried again.
    station.web.fault("status", path="/x.raw", times=1, status=404)
    station.fails(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": disk.path, "RETRY_ENABLED": "true"}, "404")
    assert len(station.web.requests_for("/x.raw")) == 4


# --- the image


@pytest.mark.parametrize("kind", FORMATS)
def test_body_cut_short(station, images, kind):
    """At the header, the first byte, the middle, the last byte; by length, reset, chunks and without a length."""
    packed = images.packed(images.noise(), kind)
    size = packed.stat().st_size
    cases = [(fault, at) for fault in ("cut", "reset", "chunked-cut", "no-length-cut") for at in (0, 1, 3, size // 2, size - 1)
             if not (fault in ("reset", "chunked-cut") and at in (0, 3))]
    disks = [station.disk(size_bytes=8 * MIB).fill() for _ in cases]
    urls = [station.web.add(f"/{fault}-{at}.{kind}", packed) for fault, at in cases]
    for fault, at in cases:
        station.web.fault(fault, path=f"/{fault}-{at}.{kind}", at=at)
    done = station.many([{"image": IMAGE2DISK, "environment": {"IMG_URL": url, "DEST_DISK": disk.path}} for url, disk in zip(urls, disks)])
    for (fault, at), disk, url, action in zip(cases, disks, urls, done):
        assert action.state == "FAILED" and url in action.message, (fault, at, action.message)
        assert disk.is_filled or disk.ends_are_zero, (fault, at, action.message)
        # Writing begins with the first MiB of the image; a small zstd frame is decoded as one.
        assert disk.is_filled or "boot" in action.message, (fault, at, action.message)
        if at <= 3:
            assert disk.is_filled, (fault, at, action.message)


def test_length_that_is_wrong(station, images):
    disk = station.disk(size_bytes=8 * MIB)
    for kind in FORMATS:
        packed = images.packed(images.noise(), kind)
        url = station.web.add(f"/x.{kind}", packed)
        for fault in ("long", "short"):
            station.web.clear_faults()
            station.web.fault(fault, path=f"/x.{kind}", by=512)
            if (kind, fault) == ("raw", "short"):
                continue  # to a client this is a whole, shorter file
            station.fails(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": disk.path}, url)
            assert disk.ends_are_zero


def test_raw_image_without_a_length(station, images):
    """Nothing would tell a cut from the end: refused, unless a checksum tells."""
    disk = station.disk(size_bytes=8 * MIB).fill()
    noise = images.noise()
    url = station.web.add("/x.raw", noise)
    station.web.fault("no-length", path="/x.raw")
    station.fails(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": disk.path}, url, "CHECKSUM")
    assert disk.is_filled
    station.succeeds(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": disk.path, "CHECKSUM": sha256(noise)})
    assert disk.read(0, 4 * MIB) == noise.read_bytes()
    station.web.clear_faults()
    station.web.fault("no-length-cut", path="/x.raw", at=2 * MIB)
    station.fails(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": disk.path, "CHECKSUM": sha256(noise)}, url, "sha256")
    assert disk.ends_are_zero


def test_wrong_checksum(station, images):
    noise = images.noise()
    disk = station.disk(size_bytes=8 * MIB)
    right, wrong = sha256(noise), "sha256:" + 32 * "ab"
    for kind in ("raw", "zst"):
        packed = images.packed(noise, kind)
        url = station.web.add(f"/noise.{kind}", packed)
        disk.fill()
        # Over what is downloaded, not over what is in it.
        message = station.fails(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": disk.path, "CHECKSUM": wrong}, url, wrong[:20], sha256(packed))
        # A small zstd frame is decoded as one, and the disk is not touched before that.
        assert ("boot" in message and disk.ends_are_zero) or (kind == "zst" and disk.is_filled)
    station.fails(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": disk.path, "CHECKSUM": right}, url, right)
    disk.fill()
    url = station.web.add("/noise.raw", noise)
    for text, words in [
            (f"{32 * 'ab'}  noise.raw\n", ["ab" * 32]),
            (f"{right[7:]}  other.raw\n{32 * 'ab'} *noise.raw\n", ["ab" * 32]),
            (f"SHA256 (noise.raw) = {32 * 'ab'}\n", ["ab" * 32]),
            (f"{right[7:]}  other.raw\n", ["noise.raw"]),
            ("<html>nothing</html>\n", ["noise.raw"]),
            ("", ["noise.raw"])]:
        sums = station.web.add("/SHA256SUMS", text)
        station.fails(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": disk.path, "CHECKSUM_URL": sums}, *words)
    assert disk.ends_are_zero
    disk.fill()
    station.fails(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": disk.path, "CHECKSUM_URL": station.web.url + "/none"}, "CHECKSUM_URL", "404", "/none")
    sums = station.web.add("/SHA256SUMS", f"{right[7:]}  noise.raw\n")
    station.fails(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": disk.path, "CHECKSUM_URL": sums, "CHECKSUM": wrong}, "CHECKSUM_URL", "CHECKSUM ")
    assert disk.is_filled


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind != "raw"])
def test_corrupt_compressed_data(station, images, kind):
    """A bit flipped, a byte dropped, a byte added: in the beginning, the middle and the end."""
    packed = images.packed(images.noise(), kind)
    size = packed.stat().st_size
    url = station.web.add(f"/x.{kind}", packed)
    disk = station.disk(size_bytes=8 * MIB)
    for fault in ("flip-bit", "drop-byte", "add-byte"):
        for at in (0, 20, size // 2, size - 3):
            disk.fill()
            station.web.clear_faults()
            station.web.fault(fault, path=f"/x.{kind}", at=at)
            action = station.one(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": disk.path})
            if at == 0 and action.state == "SUCCESS":
                # Without its magic it is what any file is: a raw image. Only a checksum would tell.
                assert "(raw)" in action.message
                continue
            assert action.state == "FAILED", (fault, at, action.message)
            assert url in action.message
            assert disk.is_filled or disk.ends_are_zero, (fault, at)
            if at >= size // 2:
                assert "corrupt" in action.message or "garbage" in action.message, action.message


@pytest.mark.parametrize("kind", FORMATS)
def test_trailing_garbage(station, images, kind):
    packed = images.packed(images.noise(), kind)
    data = packed.read_bytes()
    disk = station.disk(size_bytes=8 * MIB)
    for garbage in (b"\x01", b"garbage" * 100, bytes(700) + b"x", os.urandom(700001)):
        url = station.web.add(f"/x.{kind}", data + garbage)
        station.fails(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": disk.path}, url)
        assert disk.ends_are_zero
    # Padding with zeros is what tape drives and some tools make; a second stream is no garbage.
    if kind != "raw":
        url = station.web.add(f"/x.{kind}", data + bytes(1024))
        station.succeeds(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": disk.path})
        url = station.web.add(f"/x.{kind}", data + data)
        station.succeeds(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": disk.path})
        assert disk.read() == 2 * images.noise().read_bytes()


def test_data_that_is_no_image(station):
    disk = station.disk(size_bytes=8 * MIB).fill()
    for name, data, word in [
            ("x.qcow2", b"QFI\xfb\x00\x00\x00\x03" + bytes(2 * MIB), "qcow2"),
            ("x.vmdk", b"KDMV" + bytes(4096), "VMDK"),
            ("x.vhdx", b"vhdxfile" + bytes(4096), "VHDX"),
            ("x.tar", bytes(257) + b"ustar" + bytes(10240 - 262), "tar archive"),
            ("x.zip", b"PK\x03\x04" + bytes(4096), "zip"),
            ("x.7z", b"7z\xbc\xaf\x27\x1c" + bytes(4096), "7z"),
            ("x.html", b"\n <!DOCTYPE html><html>" + b" " * 4096, "web page")]:
        url = station.web.add(f"/{name}", data)
        station.fails(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": disk.path}, url, word)
        assert disk.is_filled


# --- devices


def test_device_missing(station, images):
    """Named with what there is instead; and no file of that name appears in /dev."""
    before = plain_files_in_dev()
    station.disk(images.root())
    url = station.web.add("/noise", images.noise())
    cases = [{"image": IMAGE2DISK, "environment": {"IMG_URL": url, "DEST_DISK": "/dev/tink-none"}},
             {"image": WRITEFILE, "environment": {"DEST_DISK": "/dev/tink-none1", "DEST_PATH": "/x", "CONTENTS": "x"}},
             {"image": CEXEC, "environment": {"BLOCK_DEVICE": "/dev/disk/by-id/tink-none", "CMD_LINE": "true"}}]
    for case, action in zip(cases, station.many(cases)):
        assert action.state == "FAILED"
        device = case["environment"].get("DEST_DISK") or case["environment"]["BLOCK_DEVICE"]
        assert device in action.message and "does not exist" in action.message, action.message
        assert "this machine has" in action.message, action.message
        assert not os.path.lexists(device)
    assert plain_files_in_dev() == before
    assert station.web.requests == []


def test_device_that_is_none(station):
    plain = station.folder / "plain"
    plain.write_bytes(bytes(MIB))
    for path in (str(plain), "/dev/null", "/", "/dev"):
        station.fails(IMAGE2DISK, {"IMG_URL": "http://127.0.0.1:1/x", "DEST_DISK": path}, path, "not a block device")
        station.fails(WRITEFILE, {"DEST_DISK": path, "DEST_PATH": "/x", "CONTENTS": "x"}, path, "not a block device")
        station.fails(CEXEC, {"BLOCK_DEVICE": path, "CMD_LINE": "true"}, path, "not a block device")
    assert plain.read_bytes() == bytes(MIB)


def test_device_in_use(station, images):
    """Mounted, a partition mounted, swapped to: named with where, and nothing is touched."""
    url = station.web.add("/noise", images.noise())
    disk = station.disk(images.root())
    before = disk.read()
    with disk.mounted() as point:
        station.fails(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": disk.path}, disk.path, "in use", "mounted", point.name)
    assert disk.read() == before
    whole = station.disk(images.disk())
    run("partx", "-a", whole.path)
    before = whole.read()
    with whole.mounted(2) as point:
        station.fails(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": whole.path}, whole.path, "in use", whole.partition(2), point.name)
    assert whole.read() == before
    swap = station.disk(size_bytes=8 * MIB)
    run("mkswap", swap.path)
    before = swap.read()
    run("swapon", swap.path)
    try:
        station.fails(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": swap.path}, swap.path, "in use", "swap")
    finally:
        run("swapoff", swap.path)
    assert swap.read() == before
    btrfs = station.disk(images.empty("btrfs"))
    with btrfs.mounted() as point:
        station.fails(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": btrfs.path}, btrfs.path, "in use", point.name)
    assert station.web.requests_for("/noise") == []


def test_device_too_small(station, images):
    """Before the first write when the size is known; else the ends are left empty."""
    disk = station.disk(size_bytes=3 * MIB)
    noise = images.noise()
    for kind in ("raw", "zst"):
        disk.fill()
        url = station.web.add(f"/x.{kind}", images.packed(noise, kind))
        station.fails(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": disk.path}, disk.path, str(4 * MIB), str(3 * MIB))
        assert disk.is_filled
    for kind in ("gz", "xz", "bz2"):
        disk.fill()
        url = station.web.add(f"/x.{kind}", images.packed(noise, kind))
        station.fails(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": disk.path}, disk.path, str(3 * MIB))
        assert disk.is_filled or disk.ends_are_zero
    station.web.fault("chunked", path="/y.raw")
    disk.fill()
    url = station.web.add("/y.raw", noise)
    station.fails(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": disk.path}, disk.path, str(3 * MIB))
    assert disk.ends_are_zero


def test_device_read_only(station, images):
    url = station.web.add("/noise", images.noise())
    disk = station.disk(images.root(), read_only=True)
    before = disk.read()
    station.fails(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": disk.path}, disk.path, "read-only")
    station.fails(WRITEFILE, {"DEST_DISK": disk.path, "DEST_PATH": "/x", "CONTENTS": "x"}, disk.path, "read-only")
    station.fails(CEXEC, {"BLOCK_DEVICE": disk.path, "CMD_LINE": "true", "CHROOT": "y"}, disk.path, "read-only")
    assert disk.read() == before


def test_file_system_that_is_none(station, images):
    disk = station.disk(size_bytes=4 * MIB)
    ext4 = station.disk(images.root())
    for image, key, more in ((WRITEFILE, "DEST_DISK", {"DEST_PATH": "/x", "CONTENTS": "x"}), (CEXEC, "BLOCK_DEVICE", {"CMD_LINE": "true"})):
        station.fails(image, {key: disk.path, **more}, disk.path, "file system")
        station.fails(image, {key: disk.path, "FS_TYPE": "ext4", **more}, disk.path, "ext4")
        station.fails(image, {key: ext4.path, "FS_TYPE": "xfs", **more}, ext4.path, "xfs", "ext4")
        station.fails(image, {key: ext4.path, "FS_TYPE": "nonsensefs", **more}, ext4.path, "nonsensefs")


# --- time is up


TREE = "setsid sleep 86413 & (sleep 86413 & sleep 86413) & sh -c 'trap \"\" TERM INT HUP; sleep 86413; sleep 86413' & echo begun; sleep 86413"


@pytest.mark.parametrize("before", [None, "umount $(sed -n 's/^[^ ]* [^ ]* [^ ]* [^ ]* \\([^ ]*\\) .* - cgroup2 .*/\\1/p' /proc/self/mountinfo)"],
                         ids=["cgroup", "no-cgroup"])
def test_timeout_ends_every_process(station, images, before):
    """With cgroups, and on machines without; also processes that have made themselves a session of their own."""
    disk = station.disk(images.root())
    worker = station.worker(before=before)
    action = station.run(station.cexec(disk, TREE, timeout=2)).action("it")
    assert action.state == "TIMEOUT"
    for word in ("timeout", "2 s", "while running", "begun"):
        assert word in action.message, action.message
    assert 1.9 < action.execution_stop_s - action.execution_start_s < 40
    assert processes_with("86413") == []
    assert not mounts_of(disk.path)
    run("e2fsck", "-fn", disk.path)
    assert worker.notes == []
    with disk.mounted(read_only=False):
        pass
    station.succeeds("reboot")


@pytest.mark.parametrize("how", ["mount -o loop /inner /tmp", "losetup -f /inner", "losetup -f /inner; mount -t ext2 $(losetup -a | grep inner | head -n 1 | cut -d: -f1) /tmp"],
                         ids=["mount", "losetup", "both"])
def test_timeout_leaves_no_loop_device(station, images, how):
    """Of a command that has attached one: it would hold the disk, and nobody could say why."""
    disk = station.disk(images.root())
    with disk.mounted(read_only=False) as root:
        run("mke2fs", "-q", "-t", "ext2", root / "inner", "512")
    before = run("losetup", "-a").count("/inner")
    command = f"{how}; losetup -a | grep -q inner && echo attached; sleep 86420"
    action = station.run(station.cexec(disk, command, timeout=2)).action("it")
    assert action.state == "TIMEOUT" and action.message.rstrip().endswith("attached"), action.message
    eventually(lambda: run("losetup", "-a").count("/inner") <= before, what="the loop device being gone")
    url = station.web.add("/noise", images.noise())
    station.succeeds(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": disk.path})


def test_timeout_while_writing_an_image(station, images):
    disk = station.disk(size_bytes=8 * MIB).fill()
    url = station.web.add("/x.raw", images.noise())
    station.web.fault("stall", path="/x.raw", at=3 * MIB)
    station.fails(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": disk.path}, "timeout", "2 s", "while writing", "MiB received", timeout=2, state="TIMEOUT")
    assert disk.ends_are_zero
    station.web.clear_faults()
    station.web.fault("stall-header", path="/x.raw")
    disk.fill()
    station.fails(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": disk.path}, "timeout", timeout=1, state="TIMEOUT")
    assert disk.is_filled
    station.web.clear_faults()
    station.web.fault("status", path="/x.raw", status=503)
    station.fails(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": disk.path, "RETRY_ENABLED": "true"}, "timeout", timeout=3, state="TIMEOUT")


def test_timeout_of_zero_is_none(station, images):
    disk = station.disk(images.root())
    assert station.run(station.cexec(disk, "sleep 1", timeout=0)).state == "SUCCESS"


def test_success_leaves_no_process(station, images):
    """What a command has put into the background ends with it, and the file system can be unmounted."""
    disk = station.disk(images.root())
    action = station.run(station.cexec(disk, "setsid sleep 86414 >/dev/null 2>&1 & sleep 86414 & echo done > /proof")).action("it")
    assert action.state == "SUCCESS", action.message
    assert processes_with("86414") == []
    with disk.mounted() as root:
        assert (root / "proof").read_text() == "done\n"


# --- the child crashes


@pytest.mark.parametrize("signal_number, words", [(signal.SIGSEGV, ["signal 11"]), (signal.SIGKILL, ["signal 9", "out of memory"]),
                                                  (signal.SIGABRT, ["signal 6"])])
def test_child_is_killed(station, images, signal_number, words):
    """By a bug or by a lack of memory, in the middle of an image and of a command: the agent lives on."""
    disk, root = station.disk(size_bytes=8 * MIB).fill(), station.disk(images.root())
    url = station.web.add("/x.raw", images.noise())
    station.web.fault("stall", path="/x.raw", at=3 * MIB)
    workflow = station.submit(station.image2disk(url, disk))
    eventually(lambda: not any(disk.read(0, MIB)), what="the first write")
    os.kill(station.first.action_pid(), signal_number)
    assert station.finish(workflow) == "FAILED"
    message = workflow.action("it").message
    for word in ["crashed", *words]:
        assert word in message, message
    assert disk.ends_are_zero
    workflow = station.submit(station.cexec(root, "setsid sleep 86415 & sleep 86415"))
    eventually(lambda: len(processes_with("86415")) >= 2, what="the command")
    os.kill(station.first.action_pid(), signal_number)
    assert station.finish(workflow) == "FAILED"
    assert processes_with("86415") == []
    assert not mounts_of(root.path)
    station.succeeds("reboot")


def test_command_is_killed(station, images):
    disk = station.disk(images.root())
    message = station.run(station.cexec(disk, "echo before; kill -SEGV $$")).action("it").message
    assert "signal 11" in message and "before" in message


def test_nul_in_a_text(station, images):
    """What the server hands out with a NUL in it is not done in half; the log says why."""
    disk = station.disk(images.root())
    worker = station.first
    station.submit(station.cexec(disk, "echo run > /runs; echo a\0b"))
    worker.wait_log("a NUL byte stands in")
    assert not [report for report in station.server.reports if report.state == "SUCCESS"]
    with disk.mounted() as root:
        assert not (root / "runs").exists()


# --- a worker that is stopped, or killed


def test_stopped_in_the_middle(station, images):
    """SIGTERM: the last word is RUNNING, interrupted; the next worker runs the action again to its success."""
    disk = station.disk(images.root())
    worker = station.first
    workflow = station.submit(station.cexec(disk, "echo run >> /runs; test $(cat /runs | grep -c run) = 2 || sleep 86416"))
    pid = eventually(lambda: processes_with("sleep\00086416"), what="the command")[0]
    assert worker.stop() == 0
    assert not is_alive(pid) and not mounts_of(disk.path)
    worker.assert_nothing_left()
    assert workflow.state == "RUNNING"
    assert "interrupted" in workflow.action("it").message
    assert station.server.reports[-1].state == "RUNNING"
    worker.start()
    assert station.finish(workflow) == "SUCCESS"
    with disk.mounted() as root:
        assert (root / "runs").read_text() == "run\nrun\n"


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_without_work(station, signal_number):
    worker = station.first
    station.server.wait(lambda: [call for call in station.server.calls if call.method == "GetAction"], what="GetAction")
    begin_s = time.monotonic()
    assert worker.stop(signal_number) == 0
    assert time.monotonic() - begin_s < 10


def test_stopped_without_a_server(station):
    station.server.proxy.set("refuse")
    worker = station.first
    worker.wait_log("cannot be asked")
    begin_s = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - begin_s < 10


def test_killed_in_the_middle(station, images):
    """SIGKILL to the worker: the action's process ends with it; the next worker ends the rest, and runs it again."""
    disk, image = station.disk(images.root()), station.disk(size_bytes=8 * MIB)
    worker = station.first
    workflow = station.submit(station.cexec(disk, "echo run >> /runs; test $(cat /runs | grep -c run) = 2 || { setsid sleep 86417 & sleep 86417; }"))
    left = eventually(lambda: len(pids := processes_with("sleep\00086417")) == 2 and pids, what="the command")
    child = worker.action_pid()
    worker.kill()
    eventually(lambda: not is_alive(child), what="the action's process ending with the worker")
    worker.start()
    assert station.finish(workflow) == "SUCCESS"
    assert not any(map(is_alive, left))
    assert not mounts_of(disk.path)
    with disk.mounted() as root:
        assert (root / "runs").read_text() == "run\nrun\n"
    # The same with an image.
    url = station.web.add("/x.raw", images.noise())
    station.web.fault("stall", path="/x.raw", at=3 * MIB, times=1)
    workflow = station.submit(station.image2disk(url, image))
    station.web.wait(lambda: station.web.requests_for("/x.raw") or station.web.faults[0].hits, what="a request")
    worker.wait_log("writing an image")
    child = worker.action_pid()
    worker.kill()
    eventually(lambda: not is_alive(child), what="the action's process ending with the worker")
    worker.start()
    assert station.finish(workflow) == "SUCCESS"
    assert image.read(0, 4 * MIB) == images.noise().read_bytes()


def test_worker_is_not_held_up_by_what_it_cannot_write(station, images):
    """A disk whose file system is full: the reason arrives."""
    disk = station.disk(images.root())
    message = station.fails(WRITEFILE, {"DEST_DISK": disk.path, "DEST_PATH": "/big", "CONTENTS_URL": station.web.add("/big", bytes(12 * MIB))}, "/big")
    assert "No space left" in message
    with disk.mounted() as root:
        assert sorted(Path(root).glob("*big*")) == [] and sorted(Path(root).glob(".tink*")) == []


def test_names_with_anything_in_them(station, images):
    """Names come back as they were; what is logged and reported of them forges no line and moves no cursor."""
    disk = station.disk(images.root())
    names = ["z" * 199, "zwei \"ü\" 'x' \\", "a\nFORGED error line=1", "\x1b[2Jred\x1b[0m", "%s%n%d", "é" * 150, "-rf", "../../etc", "\x9b31m"]
    for name in names:
        workflow = station.run(station.cexec(disk, "echo hello", name=name))
        assert workflow.state == "SUCCESS"
        reported = {report.action_name for report in station.server.reports if report.workflow_id == workflow.id}
        assert reported == {name}
    log = station.first.log
    assert "\x1b" not in log and "\x9b" not in log
    assert not re.search(r"^FORGED", log, re.M)


def test_environment_that_is_too_large(station, images):
    """More than the kernel takes for one program: the reason arrives, the agent lives."""
    disk = station.disk(images.root())
    workflow = station.run(station.cexec(disk, "echo hello", environment={"BIG": "x" * 300000}))
    assert workflow.state == "FAILED"
    assert "too long" in workflow.action("it").message.lower()
    workflow = station.run(station.cexec(disk, "test \"$KEY_999\" = 999", environment={f"KEY_{number}": str(number) for number in range(1000)}))
    assert workflow.state == "SUCCESS", workflow.action("it").message


def test_timeouts_beyond_reason(station, images):
    disk = station.disk(images.root())
    for timeout in (2 ** 63 - 1, 2 ** 62, 2 ** 32, 2 ** 31):
        assert station.run(station.cexec(disk, "true", timeout=timeout)).state == "SUCCESS", timeout
