"""image2disk from a web server that is wrong in every way there is, with every form of image.

Each case is a list of faults (see tests/server/README.md) and what must come of it. What always must hold: the action has succeeded
and the disk has every byte of the image, or it has failed with a reason that names the matter, and the disk cannot boot.
"""

import dataclasses
import hashlib
import lzma
import random
import subprocess

import pytest

from server.tls import make_certificate
from server.web import FAULTS, WebServer
from worker import MIB, images, make_station, run, sha256, station  # noqa: F401

IMAGE2DISK = "quay.io/tinkerbell/actions/image2disk:latest"
FORMS = ("raw", "gz", "zst", "xz", "bz2", "lz4", "qcow2")
TOGETHER = 12
HEALS, FAILS, EITHER = "heals", "fails", "either"


@dataclasses.dataclass
class Case:
    name: str
    faults: list  # of (kind, values); a place is a number, or a share of the size as text: "0.5", "-1" is the last byte
    outcome: str = HEALS
    words: tuple = ()  # of which the reason must have one
    checksum: tuple = ()  # forms that need CHECKSUM: they have no check of their own against this
    forms: tuple = FORMS
    environment: dict = dataclasses.field(default_factory=dict)
    outcomes: dict = dataclasses.field(default_factory=dict)  # of certain forms
    url: str = "{good}"  # {good}, {twin} (the same file elsewhere), {other} (another one), {nothing} (nobody listens)


def once(kind, **values):
    return kind, {"times": 1, **values}


def always(kind, **values):
    return kind, values


NO_CHECK = ("raw", "qcow2")
ALL = FORMS
BY_RANGES = {"qcow2": EITHER}  # it needs them, and a server that lies about the place of a part is believed
STALL = {"STALL_SECONDS": "1"}
CUT = once("cut", at="0.5")
CHANGED = ("has changed",)

CASES = [
    Case("nothing", []),
    # --- connections that break, once: the action goes on
    *(Case(f"cut at {at}", [once("cut", at=at)]) for at in (0, 1, 5, 511, 4096, 65536, MIB, "0.5", "-1")),
    *(Case(f"reset at {at}", [once("reset", at=at)]) for at in (0, 1, "0.3", "-1")),
    Case("cut three times", [once("cut", at="0.2"), once("cut", at="0.4"), once("cut", at="0.4"), once("reset", at="0.9")]),
    Case("each connection ends early", [always("cut-each", bytes=1500000)]),
    Case("stall", [once("stall", at="0.5")], environment=STALL),
    Case("stall at the beginning", [once("stall", at=0)], environment=STALL),
    Case("stall before the last byte", [once("stall", at="-1")], environment=STALL),
    Case("stall in the header", [once("stall-header")], environment=STALL),
    Case("end in the header", [once("close-header")]),
    Case("no answer", [once("close")]),
    Case("no answer when it goes on", [CUT, once("close"), once("close-header")]),
    Case("garbage when it goes on", [CUT, once("garbage")], EITHER, ("HTTP",)),
    # --- answers that say: later
    *(Case(f"status {status}", [once("status", status=status)]) for status in (408, 425, 429, 500, 502, 503, 504)),
    Case("later, in a second", [once("status", status=429, retry_after="1")]),
    Case("busy when it goes on", [CUT, ("status", {"times": 2, "status": 503})]),
    # --- servers that are poor, but right
    Case("slow", [always("slow", rate=12 * MIB)]),
    Case("byte by byte", [always("drip", at="0.5", bytes=200)]),
    Case("byte by byte at the beginning", [always("drip", at=0, bytes=200)]),
    Case("chunks", [always("chunked")]),
    Case("no length", [always("no-length")], checksum=NO_CHECK),
    Case("no validators", [always("no-etag")]),
    Case("only a date", [CUT, always("only-date")], FAILS, CHANGED),
    Case("only a date, always", [once("cut", at="0.5", also="only-date"), always("only-date")]),
    Case("a weak name", [once("cut", at="0.5", also="weak-etag"), always("weak-etag")]),
    Case("no ranges", [once("cut", at="0.5", also="no-range"), always("no-range")]),
    Case("no ranges, suddenly", [CUT, always("no-range")], words=("ranges",), outcomes=BY_RANGES),
    Case("neither ranges nor validators", [once("cut", at="0.5", also="no-etag,no-range"), always("no-etag", also="no-range")]),
    Case("nor at the last byte", [once("cut", at="-1", also="no-etag,no-range"), always("no-etag", also="no-range")]),
    Case("chunks that end early", [once("chunked-cut", at="0.5")]),
    Case("chunks without the last one", [once("chunked-cut", at="-1")]),
    Case("chunks that end at once", [once("chunked-cut", at=0)]),
    Case("chunks without validators", [once("chunked-cut", at="0.5", also="no-etag"), always("chunked", also="no-etag")]),
    Case("redirect", [once("redirect", to="{twin}")]),
    Case("redirect when it goes on", [CUT, once("redirect", to="{twin}")]),
    Case("said to be compressed", [always("gzip-encoding")]),
    Case("halves", [CUT, ("short-range", {"times": 2})]),
    # --- parts that are none: what is here is never put together with them
    Case("another part", [CUT, once("wrong-range", by=1)]),
    Case("another part, a block later", [CUT, once("wrong-range", by=4096)]),
    Case("another part, denied", [CUT, once("lying-range", by=1)], outcomes=BY_RANGES),
    Case("another part, denied, a block later", [CUT, once("lying-range", by=65536)], outcomes=BY_RANGES),
    Case("always another part", [CUT, always("wrong-range", by=512)], outcomes=BY_RANGES),
    Case("a part without a place", [CUT, once("no-content-range")]),
    Case("a part with a wrong place", [CUT, once("bad-content-range", value="bytes 1-0/*")]),
    Case("If-Range unknown", [CUT, always("ignore-if-range")]),
    Case("a part of something longer", [CUT, always("other-total", by=512)], FAILS, ("long now",)),
    # --- it changes in between: nothing can be right
    Case("a new name each time", [CUT, always("changed")], FAILS, CHANGED),
    Case("replaced", [CUT, always("replaced")], FAILS, CHANGED),
    Case("replaced, without ranges", [CUT, always("replaced", also="no-range")], FAILS, CHANGED),
    Case("replaced, If-Range unknown", [CUT, always("replaced", also="ignore-if-range")], FAILS, CHANGED),
    Case("replaced by a longer one", [CUT, always("replaced", by=4096)], FAILS, ("long now", *CHANGED)),
    Case("replaced by a shorter one", [CUT, always("replaced", by=-4096)], FAILS, ("long now", *CHANGED)),
    Case("replaced under the same name", [once("cut", at="0.5", also="same-etag"), always("replaced", also="same-etag")], FAILS, (*CHANGED, "corrupt")),
    Case("replaced without a name", [once("cut", at="0.5", also="no-etag"), always("replaced", also="no-etag")], FAILS, CHANGED),
    Case("replaced in the first bytes", [once("cut", at="0.9", also="no-etag"), always("replaced", also="no-etag", from_=100)], FAILS, CHANGED),
    # --- bytes that are wrong: only a check of the content can tell
    *(Case(f"a bit at {at}", [always("flip-bit", at=at, bit=3)], FAILS, ("checksum", "digest", "sha256", "corrupt", "damaged", "crc", "is not"), checksum=ALL)
      for at in (0, 100, "0.5", "-1")),
    Case("a bit", [always("flip-bit", at="0.5", bit=3)], FAILS, checksum=NO_CHECK),
    Case("a bit, near the end", [always("flip-bit", at="0.95", bit=0)], FAILS, checksum=NO_CHECK),
    Case("a byte less", [always("drop-byte", at="0.5")], FAILS, checksum=NO_CHECK),
    Case("the first byte less", [always("drop-byte", at=0)], FAILS, checksum=ALL),
    Case("the last byte less", [always("drop-byte", at="-1")], FAILS, checksum=NO_CHECK),
    Case("a byte more", [always("add-byte", at="0.5")], FAILS, checksum=NO_CHECK),
    Case("a byte more at the end", [always("append", bytes=1)], FAILS, checksum=ALL),
    Case("rubbish at the end", [always("append", bytes=5000)], FAILS, checksum=ALL),
    Case("another thing", [always("replaced")], FAILS, checksum=ALL),
    # --- lengths that are wrong
    Case("longer than it is", [always("long", by=1)], FAILS, ("long now", "multiple of 512", "announces")),
    Case("longer than it is, once", [once("long", by=4096)], FAILS, ("long now",)),
    Case("shorter than it is", [always("short", by=1)], FAILS, checksum=NO_CHECK),
    Case("much shorter than it is", [always("short", by=MIB)], FAILS, checksum=NO_CHECK),
    Case("no length, and cut", [always("no-length-cut", at="0.5")], FAILS, checksum=NO_CHECK),
    Case("no length, and no checksum", [always("no-length-cut", at="0.5")], FAILS),
    Case("no length, cut at the last byte", [always("no-length-cut", at="-1")], FAILS, checksum=NO_CHECK),
    Case("empty", [always("empty")], FAILS),
    # --- nothing to be had
    *(Case(f"always status {status}", [always("status", status=status)], FAILS, (str(status),)) for status in (400, 401, 403, 404, 410, 416, 500, 503)),
    Case("always busy when it goes on", [CUT, always("status", status=503)], FAILS, ("503",)),
    Case("gone when it goes on", [CUT, always("status", status=404)], FAILS, ("404",)),
    Case("always cut there", [always("cut", at="0.5", also="no-range")], FAILS, ("closed", "cut", "ended", "transfer")),
    Case("always cut at the beginning", [always("cut", at=0)], FAILS, ("closed", "cut", "ended", "transfer")),
    Case("always silent there", [always("stall", at="0.5")], FAILS, ("no byte for 1 s",), environment=STALL),
    Case("always silent", [always("stall-header")], FAILS, ("no byte for 1 s",), environment=STALL),
    Case("redirected for ever", [always("redirect")], FAILS, ("redirects",)),
    Case("redirected to a file", [always("redirect", to="file:///etc/passwd")], FAILS, ("redirected",)),
    Case("a web page", [always("html")], FAILS, ("web page",)),
    Case("not HTTP", [always("garbage")], FAILS, ("HTTP",)),
    Case("nobody there", [], FAILS, ("connect",), url="{nothing}"),
    # --- mirrors
    Case("the first mirror is not there", [always("status", status=404)], url="{good} {twin}"),
    Case("the first mirror is nobody", [], url="{nothing} {good}"),
    Case("the first mirror ends", [CUT, always("status", status=503)], url="{good} {twin}"),
    Case("the first mirror ends without a name", [once("cut", at="0.5", also="no-etag"), always("close")], url="{good} {twin}"),
    Case("the second mirror has another thing", [CUT, always("status", status=404)], FAILS, ("other bytes", "ranges"), url="{good} {other}"),
    Case("the third mirror has it", [CUT, always("status", status=404)], url="{good} {other} {twin}"),
    Case("no mirror has it", [always("status", status=404)], FAILS, ("404", "connect"), url="{good} {nothing}"),
]


def pack(image, form):
    """The image in this form, made once; each with the checks that the form can have."""
    path = image.with_name(f"{image.name}.{form}") if form != "raw" else image
    if path.exists():
        return path
    if form == "qcow2":
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", image, path)
    elif form == "xz":
        path.write_bytes(lzma.compress(image.read_bytes(), preset=0))
    else:
        argv = {"gz": ["gzip", "-1nc"], "zst": ["zstd", "-qc1"], "bz2": ["bzip2", "-1c"], "lz4": ["lz4", "-qc"]}[form]
        path.write_bytes(subprocess.run([*argv, str(image)], stdout=subprocess.PIPE, check=True).stdout)
    return path


@pytest.fixture(scope="module")
def disk_image(tmp_path_factory):
    """6 MiB that look like a disk without a partition table: noise, zeros, text."""
    rng = random.Random(7)
    path = tmp_path_factory.mktemp("faults") / "disk.raw"
    text = b"".join(b"line %d of many\n" % rng.randrange(10**6) for _ in range(70000))[:MIB]
    path.write_bytes(b"\x11\x22" + rng.randbytes(3 * MIB - 2) + bytes(MIB) + text + rng.randbytes(MIB))
    return path


def place(value, size):
    if isinstance(value, str):
        return size - 1 if value == "-1" else int(float(value) * size)
    return value


class Run:
    """One case with one form: its own paths, its own disk."""

    def __init__(self, station, case, form, packed, disk, image):
        self.case, self.form, self.disk, self.image = case, form, disk, image
        web, name = station.web, f"/{case.name}.{form}".replace(" ", "-").replace(",", "")
        size = packed.stat().st_size
        other = packed.with_name(f"other.{form}")
        if not other.exists():
            other.write_bytes(packed.read_bytes()[:100] + random.Random(9).randbytes(size - 100))
        urls = {"good": web.add(name, packed), "twin": web.add("/twin" + name, packed), "other": web.add("/other" + name, other),
                "nothing": "http://127.0.0.1:1" + name}
        for kind, values in case.faults:
            values = {key: place(value, size) if key == "at" else value for key, value in values.items()}
            if "to" in values:
                values["to"] = values["to"].format(**urls)
            web.fault(kind, path=name, **values)
        environment = {"IMG_URL": case.url.format(**urls), "DEST_DISK": disk.path, **case.environment}
        if form in case.checksum:
            environment["CHECKSUM"] = sha256(packed)
        self.action = {"image": IMAGE2DISK, "environment": environment}

    def judge(self, done):
        """What is wrong with how it went, None when nothing is."""
        case = self.case
        outcome = case.outcomes.get(self.form, case.outcome)
        if done.state == "SUCCESS":
            if self.disk.read(0, len(self.image)) != self.image:
                return f"FALSE SUCCESS: {done.message}"
            return "succeeded, though nothing can be right" if outcome == FAILS else None
        if outcome == HEALS:
            return f"{done.state}: {done.message}"
        if any(self.disk.read(0, MIB)) and not self.disk.is_filled:
            return f"the disk has a beginning after a failure: {done.message}"
        words = case.words
        if words and not any(word.lower() in done.message.lower() for word in words):
            return f"the reason does not name the matter ({', '.join(words)}): {done.message}"
        return None


@pytest.mark.parametrize("form", FORMS)
def test_faults(station, disk_image, form):  # noqa: F811
    packed, image = pack(disk_image, form), disk_image.read_bytes()
    disks = [station.disk(size_bytes=8 * MIB) for _ in range(TOGETHER)]
    cases = [case for case in CASES if form in case.forms]
    wrong = []
    for first in range(0, len(cases), TOGETHER):
        runs = [Run(station, case, form, packed, disk.fill(), image) for case, disk in zip(cases[first:], disks)]
        for one, done in zip(runs, station.many([one.action for one in runs])):
            if reason := one.judge(done):
                wrong.append(f"{one.case.name}: {reason}")
        station.web.clear_faults()
    assert not wrong, f"{len(wrong)} of {len(cases)} cases:\n" + "\n".join(wrong)


def test_every_kind_of_fault_is_here():
    used = {kind for case in CASES for kind, _ in case.faults}
    traits = {trait for case in CASES for _, values in case.faults for trait in values.get("also", "").split(",")}
    assert set(FAULTS) - used - traits == set()


@pytest.mark.parametrize("fault", [None, ("cut-each", {"bytes": 3000000}), ("no-range", {"skip": 1}), ("status", {"skip": 4, "times": 2, "status": 503}),
                                   ("wrong-range", {"skip": 3, "times": 1}), ("changed", {"skip": 3}), ("replaced", {"skip": 3}),
                                   ("stall", {"at": 9 * MIB, "times": 1})], ids=lambda fault: fault[0] if fault else "nothing")
def test_several_connections(station, tmp_path, fault):  # noqa: F811
    """Segments fetched at the same time: the same promises."""
    path = tmp_path / "large.raw"
    data = random.Random(11).randbytes(30 * MIB)
    path.write_bytes(data)
    disk = station.disk(size_bytes=32 * MIB).fill()
    url = station.web.add("/large", path)
    if fault:
        station.web.fault(fault[0], path="/large", **fault[1])
    environment = {"IMG_URL": url, "DEST_DISK": disk.path, "CONNECTIONS": "4", "STALL_SECONDS": "1"}
    if fault and fault[0] in ("changed", "replaced"):
        station.fails(IMAGE2DISK, environment, "has changed")
        assert not any(disk.read(0, MIB))
        return
    station.succeeds(IMAGE2DISK, environment)
    assert disk.read(0, len(data)) == data
    if fault is None:
        ranges = [request.headers.get("Range") for request in station.web.requests_for("/large")]
        assert len(set(ranges)) == len(ranges) == 14 and not any(text.endswith("-") for text in ranges), ranges


def test_credentials(station, disk_image):  # noqa: F811
    """A login and a token go to the server that was named, and to no other."""
    packed = pack(disk_image, "zst")
    disk = station.disk(size_bytes=8 * MIB)
    with WebServer() as elsewhere:
        twin = elsewhere.add("/twin", packed)
        url = station.web.add("/image", packed)
        for given, expected in (({"HTTP_TOKEN": "tokentokentoken"}, "Bearer tokentokentoken"),
                                ({"HTTP_USERNAME": "user", "HTTP_PASSWORD": "passwordpass"}, "Basic dXNlcjpwYXNzd29yZHBhc3M=")):
            station.web.fault("redirect", path="/image", times=1, to=twin)
            station.succeeds(IMAGE2DISK, {"IMG_URL": url, "DEST_DISK": disk.path, **given})
            assert station.web.requests_for("/image")[-1].headers["Authorization"] == expected
            assert "Authorization" not in elsewhere.requests_for("/twin")[-1].headers
            assert "tokentokentoken" not in station.texts() and "passwordpass" not in station.texts()
    assert hashlib.sha256(disk.read(0, 6 * MIB)).hexdigest() == hashlib.sha256(disk_image.read_bytes()).hexdigest()


def test_both_kinds_of_roots(station, disk_image):  # noqa: F811
    """Of the machine and of --tls-ca: downloads trust either, and nobody else."""
    packed = pack(disk_image, "zst")
    disk = station.disk(size_bytes=8 * MIB)
    of_machine, given, foreign = (make_certificate(station.folder / name) for name in ("machine", "given", "foreign"))
    worker = station.worker(f"--tls-ca={given.ca}", before=f"mount --bind {of_machine.ca} /etc/ssl/certs/ca-certificates.crt")
    for certificate in (of_machine, given):
        with WebServer(tls=certificate) as web:
            station.succeeds(IMAGE2DISK, {"IMG_URL": web.add("/image", packed), "DEST_DISK": disk.path}, worker=worker)
    with WebServer(tls=foreign) as web:
        station.fails(IMAGE2DISK, {"IMG_URL": web.add("/image", packed), "DEST_DISK": disk.path}, "certificate", worker=worker)
