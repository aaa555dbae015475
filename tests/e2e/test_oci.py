"""oci2disk against Debian's docker-registry, and against a registry that is wrong on purpose."""

import contextlib
import gzip
import hashlib
import io
import json
import platform
import re
import tarfile
import time

import pytest

from server.proxy import Proxy
from server.registry import (DOCKER_LIST, DOCKER_MANIFEST, OCI_MANIFEST, DockerRegistry, FaultyRegistry, TokenServer, Uploader,
                             descriptor, digest_of, index_of, manifest_of)
from server.tls import make_certificate
from worker import MIB, eventually, images, make_station, station  # noqa: F401

OCI2DISK = "quay.io/tinkerbell/actions/oci2disk:latest"
HERE = {"x86_64": "linux/amd64", "aarch64": "linux/arm64/v8"}[platform.machine()]
OTHER = "linux/arm64/v8" if HERE == "linux/amd64" else "linux/amd64"
PASSWORD = "pass-word of the tests"


@pytest.fixture
def running():
    """Things with a stop() that are stopped at the end."""
    with contextlib.ExitStack() as stack:
        def run(thing):
            stack.callback(thing.stop)
            return thing
        yield run


def a_disk(station):
    return station.disk(size_bytes=8 * MIB).fill()


def holds(disk, data):
    return disk.read(0, len(data)) == data


def is_untouched_or_dead(disk):
    """Nothing is written before there is enough of the image to be judged; what is written has no beginning yet."""
    return disk.is_filled or not any(disk.read(0, MIB))


# --- docker-registry


def test_docker_registry(station, images, running):
    """By tag and by digest, raw and compressed whatever the names say, OCI and Docker types; plain HTTP because the site says so."""
    registry = running(DockerRegistry(station.folder / "registry"))
    upload, noise = Uploader(registry.authority), images.noise().read_bytes()
    worker = station.worker(f"--insecure-registries=10.0.0.0/8,{registry.authority}")
    disk = a_disk(station)
    cases = [("raw", noise, {}), ("raw.gz", images.packed(images.noise(), "gz").read_bytes(), {"title": "noise.raw.gz"}),
             ("zst", images.packed(images.noise(), "zst").read_bytes(), {"title": None}),
             ("xz", images.packed(images.noise(), "xz").read_bytes(), {"title": "d.gz", "media_type": DOCKER_MANIFEST})]
    for tag, data, more in cases:
        manifest = upload.image("team/disk", tag, data, **more)
        for version in (":" + tag, "@" + digest_of(manifest), f":{tag}@{digest_of(manifest)}"):
            reference = f"{registry.authority}/team/disk{version}"
            message = station.succeeds(OCI2DISK, {"IMG_URL": reference, "DEST_DISK": disk.path, "COMPRESSED": "true"}, disk.path,
                                       reference, digest_of(manifest), digest_of(data), "as expected", worker=worker)
            assert "plain HTTP" not in message
            assert holds(disk, noise), version
            disk.fill()
    assert "asked by plain HTTP" in worker.log
    assert "raw" in worker.log
    # What is not there.
    for reference, words in (("team/disk:none", "MANIFEST_UNKNOWN"), ("none/none:1", "404"), ("team/disk@sha256:" + "1" * 64, "404")):
        message = station.fails(OCI2DISK, {"IMG_URL": f"{registry.authority}/{reference}", "DEST_DISK": disk.path}, reference, words,
                                worker=worker)
        assert message.startswith("not found")
    assert disk.is_filled


def test_index(station, images, running):
    """The manifest for this machine; without one, those that there are."""
    registry = running(DockerRegistry(station.folder / "registry"))
    upload, noise = Uploader(registry.authority), images.noise().read_bytes()
    worker = station.worker(f"--insecure-registries={registry.authority}")
    disk = a_disk(station)
    upload.blob("disk", b"{}")
    mine, other = manifest_of(descriptor(noise)), manifest_of(descriptor(b"x" * MIB))
    for layer in (noise, b"x" * MIB):
        upload.blob("disk", layer)
    for manifest in (mine, other):
        upload.manifest("disk", manifest)
    attestation = descriptor(other, OCI_MANIFEST, platform="unknown/unknown")
    for tag, index in (("oci", index_of(attestation, descriptor(other, OCI_MANIFEST, platform=OTHER), descriptor(mine, OCI_MANIFEST, platform=HERE))),
                       ("docker", index_of(descriptor(mine, OCI_MANIFEST, platform=HERE), descriptor(other, OCI_MANIFEST, platform=OTHER),
                                           media_type=DOCKER_LIST)),
                       ("none", index_of(descriptor(mine, OCI_MANIFEST)))):
        upload.manifest("disk", index, tag)
        station.succeeds(OCI2DISK, {"IMG_URL": f"{registry.authority}/disk:{tag}", "DEST_DISK": disk.path}, digest_of(mine), worker=worker)
        assert holds(disk, noise)
        disk.fill()
    upload.manifest("disk", index_of(attestation, descriptor(other, OCI_MANIFEST, platform=OTHER)), "other")
    message = station.fails(OCI2DISK, {"IMG_URL": f"{registry.authority}/disk:other", "DEST_DISK": disk.path},
                            "no image for " + HERE.removesuffix("/v8"), f"(it has: {OTHER})", worker=worker)
    assert message.startswith("not found")
    assert disk.is_filled


def test_layers(station, images, running):
    """The one with a title; the only one; otherwise what there is is told."""
    registry = running(FaultyRegistry())
    noise, rest = images.noise().read_bytes(), b"x" * 5000
    worker = station.worker(f"--insecure-registries={registry.authority}")
    disk = a_disk(station)
    registry.blobs = {digest_of(noise): noise, digest_of(rest): rest}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(images.noise(), "noise.raw")
    tar = packed.getvalue()
    registry.blobs[digest_of(tar)] = tar
    good = [[descriptor(noise)], [descriptor(rest), descriptor(noise, title="disk")], [descriptor(noise, "any/thing", title="disk")],
            [descriptor(tar, title="disk.tar.gz")]]
    bad = [([], "no layer"), ([descriptor(noise), descriptor(rest)], "2 layers"),
           ([descriptor(noise, title="a.raw"), descriptor(rest, title="b.raw")], '"b.raw", 5000 bytes')]
    for number, layers in enumerate(good):
        registry.add_manifest("a/b", manifest_of(*layers), str(number))
        station.succeeds(OCI2DISK, {"IMG_URL": f"{registry.authority}/a/b:{number}", "DEST_DISK": disk.path}, worker=worker)
        assert holds(disk, noise), number
        disk.fill()
    for layers, words in bad:
        registry.add_manifest("a/b", manifest_of(*layers), "bad")
        station.fails(OCI2DISK, {"IMG_URL": f"{registry.authority}/a/b:bad", "DEST_DISK": disk.path}, words, worker=worker)
    assert disk.is_filled


def test_parameters(station, images, running):
    registry = running(FaultyRegistry())
    noise, disk = images.noise().read_bytes(), a_disk(station)
    worker = station.worker(f"--insecure-registries=http://{registry.authority}")
    registry.add("disk", "latest", noise, title="noise.raw")
    reference = f"{registry.authority}/disk"
    station.web.add("/SUMS", f"{'0' * 64}  other\n{hashlib.sha512(noise).hexdigest()}  noise.raw\n")
    for more in ({}, {"CHECKSUM": "sha512:" + hashlib.sha512(noise).hexdigest()}, {"CHECKSUM_URL": station.web.url + "/SUMS"},
                 {"VERIFY": "readback"}, {"IMG_URL": "oci://" + reference}, {"CONNECTIONS": "4"}):
        station.succeeds(OCI2DISK, {"IMG_URL": reference, "DEST_DISK": disk.path, **more}, worker=worker)
        assert holds(disk, noise), more
        disk.fill()
    station.succeeds(OCI2DISK, {"IMG_URL": reference, "DEST_DISK": disk.path, "MODE": "compare"}, worker=worker)
    disk.fill()
    for more, *words in (({"IMG_URL": "http://x/y"}, "IMG_URL", "scheme"), ({"IMG_URL": "a/B:c"}, "IMG_URL", "lower-case"),
                         ({"REGISTRY_USERNAME": "x"}, "REGISTRY_PASSWORD"), ({"REGISTRY_PASSWORD": "12345"}, "REGISTRY_USERNAME"),
                         ({"SKIP_VERIFY": "maybe"}, "SKIP_VERIFY"), ({"CHECKSUM": "sha256:" + "0" * 64}, "checksum")):
        station.fails(OCI2DISK, {"IMG_URL": reference, "DEST_DISK": disk.path, **more}, *words, worker=worker)
    assert not holds(disk, noise)


def test_docker_registry_behind_bad_lines(station, images, running):
    """Connections to docker-registry end in the middle: on from there, by its ranges."""
    registry = running(DockerRegistry(station.folder / "registry"))
    noise, disk = images.noise().read_bytes(), a_disk(station)
    Uploader(registry.authority).image("team/disk", "1", noise)
    proxy = running(Proxy())
    proxy.start(("127.0.0.1", registry.port))
    proxy.delay_s = 0.03
    worker = station.worker(f"--insecure-registries=http://127.0.0.1:{proxy.port}")
    workflow = station.submit({"name": "it", "image": OCI2DISK, "timeout": 60,
                               "environment": {"IMG_URL": f"127.0.0.1:{proxy.port}/team/disk:1", "DEST_DISK": disk.path}})
    worker.wait_log("writing an image")
    for _ in range(3):
        before = proxy.connections
        eventually(lambda: proxy.open_connections, what="a connection")
        time.sleep(0.3)
        proxy.drop_all()
        eventually(lambda before=before: proxy.connections > before, what="another connection")
    proxy.delay_s = 0
    station.finish(workflow)
    assert workflow.state == "SUCCESS", workflow.action("it").message
    assert holds(disk, noise)


# --- who may


def test_users(station, images, running):
    """Basic authentication: the action's user, the site's user for its registry only, and nobody."""
    folder, noise = station.folder, images.noise().read_bytes()
    openly = running(DockerRegistry(folder / "open"))
    Uploader(openly.authority).image("team/disk", "1", noise)
    registry = running(DockerRegistry(folder / "closed", storage=openly.storage, users={"tester": PASSWORD}))
    insecure = f"--insecure-registries=http://{registry.authority}"
    nobody = station.worker(insecure)
    named = station.worker(insecure, f"--registry-name={registry.authority}", "--registry-user=tester", f"--registry-pass={PASSWORD}")
    wrong = station.worker(insecure, "--docker-registry=127.0.0.1", "--registry-username=tester", environment={"REGISTRY_PASSWORD": PASSWORD})
    disk = a_disk(station)
    given = {"REGISTRY_USERNAME": "tester", "REGISTRY_PASSWORD": PASSWORD}
    base = {"IMG_URL": f"{registry.authority}/team/disk:1", "DEST_DISK": disk.path}
    for worker, more in ((nobody, given), (named, {}), (wrong, given)):
        station.succeeds(OCI2DISK, {**base, **more}, worker=worker)
        assert holds(disk, noise)
        disk.fill()
    for worker, more, words in ((nobody, {}, "asks for a user and password"), (wrong, {}, "REGISTRY_USERNAME"),
                                (nobody, {**given, "REGISTRY_PASSWORD": "wrong one"}, "401"), (named, {**given, "REGISTRY_USERNAME": "x"}, "401")):
        message = station.fails(OCI2DISK, {**base, **more}, base["IMG_URL"], words, worker=worker)
        assert message.startswith("denied")
    assert disk.is_filled
    assert PASSWORD not in station.texts()
    assert "wrong one" not in station.texts()


@pytest.mark.parametrize("field", ["token", "access_token"])
def test_tokens(station, images, running, field):
    """docker-registry with a token server: for anybody, and for a user."""
    folder, noise = station.folder, images.noise().read_bytes()
    openly = running(DockerRegistry(folder / "open"))
    Uploader(openly.authority).image("team/disk", "1", noise)
    disk = a_disk(station)
    for number, users in enumerate(({}, {"tester": PASSWORD})):
        tokens = running(TokenServer(folder / f"tokens{number}", users))
        tokens.field = field
        registry = running(DockerRegistry(folder / f"closed{number}", storage=openly.storage, tokens=tokens))
        worker = station.worker(f"--insecure-registries={registry.authority}")
        base = {"IMG_URL": f"{registry.authority}/team/disk:1", "DEST_DISK": disk.path}
        given = {"REGISTRY_USERNAME": "tester", "REGISTRY_PASSWORD": PASSWORD} if users else {}
        station.succeeds(OCI2DISK, {**base, **given}, worker=worker)
        assert holds(disk, noise)
        disk.fill()
        path = tokens.requests[-1][0]
        assert "service=registry%20of%20the%20tests" in path and "scope=repository%3Ateam%2Fdisk%3Apull" in path
        if users:
            station.fails(OCI2DISK, base, "401", "without a user and password", worker=worker)
            station.fails(OCI2DISK, {**base, **given, "REGISTRY_PASSWORD": "wrong one"}, "does not take this user", worker=worker)
    assert disk.is_filled
    assert PASSWORD not in station.texts()
    assert not re.search(r"eyJ[\w-]{20}", station.texts()), "a token is in the log"


@pytest.mark.parametrize("connections", ["1", "4"])
def test_token_ends_in_the_middle(station, images, running, connections):
    """The connection breaks, the token is over: a new one, and on from where it was."""
    registry = running(FaultyRegistry(user=("tester", PASSWORD), bearer=True))
    noise, disk = images.noise().read_bytes(), a_disk(station)
    worker = station.worker(f"--insecure-registries=http://{registry.authority}")
    registry.add("x/y", "1", noise)
    registry.cut_at, registry.on_cut = [MIB, 2 * MIB + 77], registry.revoke
    station.succeeds(OCI2DISK, {"IMG_URL": f"{registry.authority}/x/y:1", "DEST_DISK": disk.path, "REGISTRY_USERNAME": "tester",
                                "REGISTRY_PASSWORD": PASSWORD, "CONNECTIONS": connections}, worker=worker)
    assert holds(disk, noise)
    statuses = [asked.status for asked in registry.requests_for("/blobs/")]
    assert 206 in statuses and 401 in statuses, statuses
    assert len(registry.given) >= 2
    if connections == "1":
        assert statuses.count(401) == 2 and statuses[-1] == 206 and len(registry.given) == 3, statuses
    for token in registry.given:
        assert token not in station.texts()


def test_open_manifests_and_closed_blobs(station, images, running):
    """The first 401 comes with the blob."""
    registry = running(FaultyRegistry(bearer=True))
    noise, disk = images.noise().read_bytes(), a_disk(station)
    worker = station.worker(f"--insecure-registries=http://{registry.authority}")
    manifest = registry.add("x/y", "1", noise)

    def before(handler):
        if "manifests" not in handler.path:
            return False
        handler.reply(200, manifest, [("Content-Type", OCI_MANIFEST)])
        return True
    registry.before = before
    station.succeeds(OCI2DISK, {"IMG_URL": f"{registry.authority}/x/y:1", "DEST_DISK": disk.path}, worker=worker)
    assert holds(disk, noise)


def test_redirects_get_no_secrets(station, images, running):
    """Blobs that lie elsewhere: neither password nor token goes there, and what it asks for is not answered."""
    noise, disk = images.noise().read_bytes(), a_disk(station)
    store = running(FaultyRegistry())
    store.blobs[digest_of(noise)] = noise
    for bearer in (False, True):
        registry = running(FaultyRegistry(user=("tester", PASSWORD), bearer=bearer))
        registry.add("x/y", "1", noise)
        registry.blobs_at = store.url + "/v2/x/blobs/"
        worker = station.worker(f"--insecure-registries=http://{registry.authority}")
        base = {"IMG_URL": f"{registry.authority}/x/y:1", "DEST_DISK": disk.path, "REGISTRY_USERNAME": "tester", "REGISTRY_PASSWORD": PASSWORD}
        station.succeeds(OCI2DISK, base, worker=worker)
        assert holds(disk, noise)
        disk.fill()
        # A manifest that lies elsewhere, where a log-in is wanted.
        greedy = running(FaultyRegistry(user=("tester", PASSWORD), bearer=bearer))

        def before(handler, greedy=greedy):
            if "manifests" not in handler.path or "Authorization" not in handler.headers:
                return False
            handler.reply(307, b"", [("Location", greedy.url + handler.path)])
            return True
        registry.before = before
        station.fails(OCI2DISK, base, "401", "another server", worker=worker)
        assert greedy.requests
        # A blob that lies where a log-in is wanted.
        registry.before = None
        registry.blobs_at = greedy.url + "/v2/x/blobs/"
        assert station.fails(OCI2DISK, base, worker=worker).startswith("denied")
        assert greedy.requests_for("/blobs/")
        for asked in store.requests + greedy.requests:
            assert "Authorization" not in asked.headers, asked
            assert "/token" not in asked.path
    assert disk.is_filled


def test_token_servers_in_trouble(station, images, running):
    registry = running(FaultyRegistry(bearer=True))
    noise, disk = images.noise().read_bytes(), a_disk(station)
    worker = station.worker(f"--insecure-registries=http://{registry.authority}")
    registry.add("x/y", "1", noise)
    base = {"IMG_URL": f"{registry.authority}/x/y:1", "DEST_DISK": disk.path}
    answers = []

    def before(handler):
        if not handler.path.startswith("/token") or not answers:
            return False
        handler.reply(*answers.pop(0))
        return True
    registry.before = before
    answers[:] = [(503, b""), (429, b"{}", [("Retry-After", "0")])]
    station.succeeds(OCI2DISK, base, worker=worker)
    assert holds(disk, noise) and not answers
    disk.fill()
    for answer, kind, words in (((403, b'{"errors": [{"code": "DENIED"}]}'), "denied", "DENIED"), ((404, b""), "not found", "404"),
                                ((500, b""), "network", "500"), ((200, b"<html>"), "protocol", "no JSON"),
                                ((200, b'{"token": "a\\r\\nX-Evil: 1"}'), "protocol", "no token"), ((200, b" " * 300000), "input", "larger"),
                                ((302, b"", [("Location", "ftp://127.0.0.1/")]), "", "Unsupported")):
        answers[:] = [answer] * 3
        assert station.fails(OCI2DISK, base, words, worker=worker).startswith(kind)
    for realm, kind in (("http://127.0.0.1:1/token", "network"), ("nowhere", "protocol"), ("file:///etc/passwd", "protocol")):
        registry.realm = realm
        assert station.fails(OCI2DISK, base, realm, worker=worker).startswith(kind)
    assert disk.is_filled


def test_passwords_need_tls(station, images, running):
    """A registry with TLS that sends to a token server without."""
    certificate = make_certificate(station.folder / "tls")
    registry = running(FaultyRegistry(user=("tester", PASSWORD), bearer=True, tls=certificate))
    listener = running(FaultyRegistry())
    registry.realm = listener.url + "/token"
    registry.add("x/y", "1", images.noise().read_bytes())
    disk = a_disk(station)
    worker = station.worker(f"--tls-ca={certificate.ca}")
    station.fails(OCI2DISK, {"IMG_URL": f"{registry.authority}/x/y:1", "DEST_DISK": disk.path, "REGISTRY_USERNAME": "tester",
                             "REGISTRY_PASSWORD": PASSWORD}, "token server without TLS", worker=worker)
    assert not listener.requests
    assert disk.is_filled


def test_tls(station, images, running):
    """A certificate that is known, one that is not, and what the site or the action allows then."""
    noise, disk = images.noise().read_bytes(), a_disk(station)
    certificate = make_certificate(station.folder / "tls")
    openly = running(DockerRegistry(station.folder / "open"))
    Uploader(openly.authority).image("disk", "1", noise)
    registry = running(DockerRegistry(station.folder / "tls-registry", storage=openly.storage, tls=certificate))
    strict, knows = station.worker(), station.worker(f"--tls-ca={certificate.ca}")
    loose = station.worker(f"--insecure-registries={registry.authority}")
    base = {"IMG_URL": f"{registry.authority}/disk:1", "DEST_DISK": disk.path}
    message = station.fails(OCI2DISK, base, "certificate", worker=strict)
    assert "REGISTRY_USERNAME" not in message
    assert disk.is_filled
    for worker, more, warns in ((knows, {}, False), (strict, {"SKIP_VERIFY": "true"}, True), (loose, {}, True)):
        station.succeeds(OCI2DISK, {**base, **more}, worker=worker)
        assert holds(disk, noise)
        disk.fill()
        assert ("certificate is not checked" in worker.log) == warns
    # Plain HTTP is for those only that the site names.
    plain = {"IMG_URL": f"{openly.authority}/disk:1", "DEST_DISK": disk.path}
    for worker, more in ((strict, {}), (strict, {"SKIP_VERIFY": "true"}), (loose, {})):
        station.fails(OCI2DISK, {**plain, **more}, openly.authority, worker=worker)
    assert "insecure-registries" in station.fails(OCI2DISK, plain, worker=strict)
    message = station.fails(OCI2DISK, {**plain, "IMG_URL": "127.0.0.1:1/disk"}, "with TLS", "without TLS", worker=station.worker("--insecure-registries=127.0.0.0/8"))
    assert message.startswith("network")
    assert disk.is_filled


# --- what goes wrong


def test_wrong_manifests(station, images, running):
    """None of these touches the disk."""
    registry = running(FaultyRegistry())
    noise, disk = images.noise().read_bytes(), a_disk(station)
    worker = station.worker(f"--insecure-registries=http://{registry.authority}")
    good = registry.add("x/y", "good", noise)

    def fails(version, *words, kind):
        message = station.fails(OCI2DISK, {"IMG_URL": f"{registry.authority}/x/y{version}", "DEST_DISK": disk.path}, *words, worker=worker)
        assert message.startswith(kind), message
    # Another document than the one of that digest; one that is a byte longer; a tag's that is not what the registry calls it.
    asked = digest_of(b"another")
    registry.manifests[f"x/y@{asked}"] = good
    fails("@" + asked, "checksum", asked, digest_of(good), kind="corrupt")
    longer = descriptor(good, OCI_MANIFEST, platform=HERE)
    longer["size"] += 1
    registry.add_manifest("x/y", index_of(longer), "longer")
    fails(":longer", f"{len(good)} bytes", kind="corrupt")
    child = descriptor(good + b" ", OCI_MANIFEST, platform=HERE)
    registry.manifests[f"x/y@{child['digest']}"] = good + b"\n"
    registry.add_manifest("x/y", index_of(child), "child")
    fails(":child", "checksum", kind="corrupt")
    registry.digest_header = asked
    fails(":good", "checksum", asked, kind="corrupt")
    registry.digest_header = None
    # No manifests.
    cases = {"html": (b"<html>", "no JSON"), "old": (b'{"schemaVersion": 1, "fsLayers": []}', "schema 1"),
             "both": (json.dumps({**json.loads(good), "manifests": []}).encode(), "no image and no index"),
             "large": (json.dumps({**json.loads(good), "annotations": {"x": "y" * (5 << 20)}}).encode(), "larger than"),
             "many": (b'{"schemaVersion": 2, "layers": [' + b"1," * (1 << 19) + b"1]}", "more than 262144 values"),
             "empty": (b"", "no JSON"), "cut": (good[:-10], "no JSON"), "deep": (b'{"a":' * 5000, "no JSON")}
    for tag, (data, words) in cases.items():
        registry.add_manifest("x/y", data, tag)
        fails(":" + tag, words, kind="")
    # An index that leads to itself cannot be made; a long way is not gone.
    deep = good
    for _ in range(5):
        registry.add_manifest("x/y", deep)
        deep = index_of(descriptor(deep, platform=HERE))
    registry.add_manifest("x/y", deep, "indexes")
    fails(":indexes", "indexes in indexes", kind="protocol")
    assert disk.is_filled


def test_wrong_blobs(station, images, running):
    """Not one of these is a success, and the disk does not boot afterwards."""
    registry = running(FaultyRegistry())
    noise, disk = images.noise().read_bytes(), a_disk(station)
    worker = station.worker(f"--insecure-registries=http://{registry.authority}")
    registry.add("x/y", "1", noise)
    base = {"IMG_URL": f"{registry.authority}/x/y:1", "DEST_DISK": disk.path}
    digest = digest_of(noise)
    # Of another size: seen before the disk is touched.
    for wrong in (noise[:-512], noise + b"\0" * 512, b""):
        registry.blobs[digest] = wrong
        assert station.fails(OCI2DISK, base, f"{len(noise)}", worker=worker).startswith("corrupt")
        assert disk.is_filled
    # Of the same size: at its end. The disk has no beginning then.
    for place in (0, MIB, len(noise) - 1):
        wrong = bytearray(noise)
        wrong[place] ^= 1
        registry.blobs[digest] = bytes(wrong)
        message = station.fails(OCI2DISK, base, digest, digest_of(bytes(wrong)), "does not boot", worker=worker)
        assert message.startswith("corrupt")
        assert not any(disk.read(0, MIB))
        disk.fill()
    # Compressed: decoded well, and yet not what was named.
    packed = gzip.compress(noise, 1, mtime=0)
    registry.add("x/y", "1", packed)
    registry.blobs[digest_of(packed)] = packed[:4] + b"\1\2\3\4" + packed[8:]
    station.fails(OCI2DISK, base, digest_of(packed), worker=worker)
    assert is_untouched_or_dead(disk)
    disk.fill()
    del registry.blobs[digest_of(packed)]
    message = station.fails(OCI2DISK, base, "404", worker=worker)
    assert message.startswith("not found")
    assert disk.is_filled
    # It breaks every time.
    registry.add("x/y", "1", noise)
    registry.cut_at = [MIB] * 50
    assert station.fails(OCI2DISK, base, registry.authority, worker=worker).startswith("network")
    assert is_untouched_or_dead(disk)


def test_statuses(station, images, running):
    """Those that pass are asked again, the others told with the registry's reason."""
    registry = running(FaultyRegistry())
    noise, disk = images.noise().read_bytes(), a_disk(station)
    worker = station.worker(f"--insecure-registries=http://{registry.authority}")
    registry.add("x/y", "1", noise)
    base = {"IMG_URL": f"{registry.authority}/x/y:1", "DEST_DISK": disk.path}
    faults = []

    def before(handler):
        if not faults or faults[0][0] not in handler.path:
            return False
        _, status, headers = faults.pop(0)
        handler.reply(status, b'{"errors": [{"code": "REASON", "message": "as the test wants it"}]}', headers)
        return True
    registry.before = before
    for part in ("manifests", "blobs"):
        for status, headers in ((500, []), (502, []), (503, [("Retry-After", "0")]), (429, [("Retry-After", "1")])):
            faults[:] = [(part, status, headers)] * (2 if status == 503 else 1)
            station.succeeds(OCI2DISK, base, worker=worker)
            assert holds(disk, noise) and not faults
            disk.fill()
    for status, kind in ((403, "denied"), (401, ""), (400, "protocol"), (500, "network"), (429, "network")):
        faults[:] = [("manifests", status, [])] * 3
        message = station.fails(OCI2DISK, base, "" if status == 401 else "REASON: as the test wants it", base["IMG_URL"], worker=worker)
        assert message.startswith(kind)
    faults[:] = [("blobs", 403, [])] * 9
    assert station.fails(OCI2DISK, base, "403", worker=worker).startswith("denied")
    assert disk.is_filled
    # It hears and says nothing, the first time or ever.
    quiet = [1]

    def says_nothing(handler):
        if quiet:
            quiet[0] -= 1
            if quiet[0] >= 0:
                time.sleep(1.5)
        return False
    for part in ("manifests", "blobs"):
        registry.before = lambda handler, part=part: part in handler.path and says_nothing(handler)
        quiet[:] = [1]
        station.succeeds(OCI2DISK, {**base, "STALL_SECONDS": "1"}, worker=worker)
        assert holds(disk, noise)
        disk.fill()
        quiet[:] = [99]
        assert station.fails(OCI2DISK, {**base, "STALL_SECONDS": "1"}, base["IMG_URL"], worker=worker).startswith("time")
        quiet[:] = []
    assert disk.is_filled
    # Nobody there.
    registry.stop()
    assert station.fails(OCI2DISK, base, registry.authority, worker=worker).startswith("network")
    assert disk.is_filled
