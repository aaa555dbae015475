"""slurp: the content of a disk arrives at a web server, whole, or the action fails."""

import gzip
import hashlib
import os
import subprocess

import pytest

from worker import MIB, images, make_station, run, station  # noqa: F401

SLURP = "quay.io/tinkerbell/actions/slurp:latest"


def unpack(name, data):
    if name.endswith(".gz"):
        return gzip.decompress(data)
    if name.endswith(".zst"):
        return subprocess.run(["zstd", "-qdc"], input=data, stdout=subprocess.PIPE, check=True).stdout
    return data


def form_file(request):
    """(field, file name, content) of the one part of a multipart form."""
    boundary = request.headers["Content-Type"].partition("boundary=")[2].strip('"').encode()
    assert request.headers["Content-Type"].startswith("multipart/form-data")
    first, part, last = request.body.split(b"--" + boundary)
    assert first.strip() == b"" and last.strip() == b"--"
    head, _, content = part.partition(b"\r\n\r\n")
    disposition = next(line for line in head.decode().split("\r\n") if line.lower().startswith("content-disposition:"))
    values = dict(word.strip().split("=", 1) for word in disposition.split(";")[1:])
    assert content.endswith(b"\r\n")
    return values["name"].strip('"'), values["filename"].strip('"'), content[:-2]


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


@pytest.fixture
def disk(station):
    """Noise, zeros, something that compresses, and a size that is no multiple of a MiB."""
    path = station.folder / "content"
    path.write_bytes(os.urandom(3 * MIB) + bytes(9 * MIB) + b"the same again " * 200_000 + os.urandom(1536))
    os.truncate(path, (path.stat().st_size + 4095) // 4096 * 4096)
    return station.disk(path)


CASES = [
    ({}, "img"), ({"COMPRESSED": "false"}, "img"), ({"COMPRESSED": "true"}, "img.gz"), ({"COMPRESSION": "zstd"}, "img.zst"),
    ({"COMPRESSION": "gzip"}, "img.gz"), ({"COMPRESSED": "true", "COMPRESSION": "none"}, "img"),
]


@pytest.mark.parametrize("environment, suffix", CASES)
def test_post_and_put(station, disk, environment, suffix):
    data = disk.read()
    station.web.route("POST", "/upload", lambda request: "thanks")
    base = {"SOURCE_DISK": disk.path, "DEST_URL": station.web.url + "/upload", "IMG_NAME": "golden", **environment}
    message = station.succeeds(SLURP, base, digest(data), station.web.url)
    field, name, body = form_file(station.web.requests_for("/upload")[-1])
    assert (field, name) == ("BootyImage", "golden." + suffix)
    assert unpack(name, body) == data
    assert digest(body) in message
    for url, path in (("/put/", f"/put/golden.{suffix}"), ("/put/as-it-is", "/put/as-it-is")):
        station.web.route("PUT", path, lambda request: "")
        message = station.succeeds(SLURP, {**base, "METHOD": "PUT", "DEST_URL": station.web.url + url}, digest(data))
        body = station.web.requests_for(path)[-1].body
        assert unpack("golden." + suffix, body) == data
        assert digest(body) in message
    if suffix != "img":
        assert len(body) < 4 * MIB


def test_refused(station, disk):
    """The original takes these for success."""
    base = {"SOURCE_DISK": disk.path, "IMG_NAME": "x"}
    station.web.route("POST", "/up", lambda request: "")
    url = station.web.url + "/up"
    for status in (400, 401, 403, 404, 413, 500, 507):
        station.web.clear_faults()
        station.web.fault("status", path="/up", method="POST", status=status, body="no room here")
        station.fails(SLURP, {**base, "DEST_URL": url}, str(status), "no room here")
    station.web.clear_faults()
    station.fails(SLURP, {**base, "DEST_URL": station.web.url + "/nowhere"}, "405")
    station.fails(SLURP, {**base, "DEST_URL": "http://127.0.0.1:9/up"}, "127.0.0.1:9")
    for kind in ("close", "close-header", "garbage"):
        station.web.clear_faults()
        station.web.fault(kind, path="/up", method="POST")
        station.fails(SLURP, {**base, "DEST_URL": url})
    station.web.clear_faults()
    station.web.fault("stall-header", path="/up", method="POST", seconds=20)
    station.fails(SLURP, {**base, "DEST_URL": url, "STALL_SECONDS": "1"})


def test_retry(station, disk):
    station.web.route("POST", "/up", lambda request: "")
    station.web.fault("status", path="/up", method="POST", status=503, times=1, body="busy")
    base = {"SOURCE_DISK": disk.path, "IMG_NAME": "x", "DEST_URL": station.web.url + "/up"}
    station.succeeds(SLURP, {**base, "RETRY_ENABLED": "true"}, digest(disk.read()))
    assert form_file(station.web.requests_for("/up")[-1])[2] == disk.read()
    station.web.fault("status", path="/up", method="POST", status=503, body="busy")
    station.fails(SLURP, {**base, "RETRY_ENABLED": "true", "RETRY_DURATION_MINUTES": "0"}, "503")


def test_parameters(station, disk):
    url = station.web.url + "/up"
    station.fails(SLURP, {"SOURCE_DISK": disk.path, "DEST_URL": url}, "IMG_NAME is missing")
    station.fails(SLURP, {"SOURCE_DISK": disk.path, "DEST_URL": url + "/", "METHOD": "PUT"}, "IMG_NAME is missing")
    station.fails(SLURP, {"SOURCE_DISK": disk.path, "DEST_URL": url, "IMG_NAME": '../"x'}, "IMG_NAME")
    station.fails(SLURP, {"SOURCE_DISK": disk.path, "DEST_URL": url, "IMG_NAME": "x", "METHOD": "PATCH"}, "PATCH")
    station.fails(SLURP, {"SOURCE_DISK": disk.path, "DEST_URL": url, "IMG_NAME": "x", "COMPRESSION": "rar"}, "rar")
    station.fails(SLURP, {"SOURCE_DISK": "/dev/nothing-here", "DEST_URL": url, "IMG_NAME": "x"}, "/dev/nothing-here", timeout_s=40)
    assert not station.web.requests_for("/up")


def test_credentials(station, disk):
    station.web.route("PUT", "/up", lambda request: "")
    base = {"SOURCE_DISK": disk.path, "DEST_URL": station.web.url + "/up", "METHOD": "PUT"}
    station.succeeds(SLURP, {**base, "HTTP_TOKEN": "secret-token-1"})
    assert station.web.requests_for("/up")[-1].headers["Authorization"] == "Bearer secret-token-1"
    assert "secret-token-1" not in station.texts()


def test_read_only_and_in_use(station, images):
    """A disk that cannot be written is read; one that is mounted too, and that is said."""
    station.web.route("PUT", "/up", lambda request: "")
    disk = station.disk(images.root(), read_only=True)
    environment = {"SOURCE_DISK": disk.path, "DEST_URL": station.web.url + "/up", "METHOD": "PUT"}
    station.succeeds(SLURP, environment, digest(disk.read()))
    with disk.mounted():
        station.succeeds(SLURP, environment, "in use")
    assert station.web.requests_for("/up")[-1].body == disk.read()


def test_there_and_back(station, images):
    """What slurp has sent, image2disk writes."""
    disk, target = station.disk(images.disk()), station.disk(size_bytes=16 * MIB)
    station.web.route("PUT", "/image.zst", lambda request: "")
    station.succeeds(SLURP, {"SOURCE_DISK": disk.path, "DEST_URL": station.web.url + "/image.zst", "METHOD": "PUT", "COMPRESSION": "zstd"})
    body = station.web.requests_for("/image.zst")[-1].body
    station.succeeds("image2disk", {"IMG_URL": station.web.add("/back", body), "DEST_DISK": target.path, "CHECKSUM": digest(body)})
    assert target.read() == disk.read()
