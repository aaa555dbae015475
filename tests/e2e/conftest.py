"""Fixtures of the end-to-end tests: the disk image, the lab, a folder whose logs outlive a failure."""

import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]
# A shell starts what is to run in its background with SIGINT ignored, and so would be the programs tested here.
signal.signal(signal.SIGINT, signal.default_int_handler)


class Image:
    """A built disk image: path (zstd), raw size, checksum, kernel version."""

    def __init__(self, folder):
        values = dict(line.split("=", 1) for line in (folder / "debian.env").read_text().split("\n") if "=" in line)
        self.path = folder / "debian.raw.zst"
        self.raw_bytes = int(values["RAW_BYTES"])
        self.kernel = values["KERNEL"]
        self.checksum = "sha256:" + (folder / "debian.sha256").read_text().split()[0]

    def head(self, size_bytes):
        """The raw image's first bytes."""
        with subprocess.Popen(["zstd", "-dcq", str(self.path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as zstd:
            data = zstd.stdout.read(size_bytes)
            zstd.stdout.close()
            zstd.wait()
        return data


@pytest.fixture(scope="session")
def debian():
    """The Debian disk image, built when the cache has none (a minute or two)."""
    built = subprocess.run([str(HERE / "images" / "build-debian")], stdout=subprocess.PIPE, text=True, check=False)
    if built.returncode:
        pytest.fail("images/build-debian failed; what it said stands above", pytrace=False)
    return Image(Path(built.stdout.strip()))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    setattr(item, "report_" + call.when, outcome.get_result())


@pytest.fixture
def folder(request):
    """A folder for disks and logs; after a failure it is kept without the disks, and named."""
    path = Path(tempfile.mkdtemp(prefix=f"{request.node.name}-"))
    yield path
    report = getattr(request.node, "report_call", None)
    if report is None or report.passed:
        shutil.rmtree(path, ignore_errors=True)
        return
    for disk in path.rglob("*.raw"):
        disk.unlink()
    print(f"logs kept in {path}")


@pytest.fixture(scope="module")
def module_lab(request):
    """A function that makes a Lab for all tests of the module; after a failure its logs stay, and are named."""
    import lab as lab_module

    folder = Path(tempfile.mkdtemp(prefix=f"{request.module.__name__}-"))
    before = request.session.testsfailed
    with contextlib.ExitStack() as stack:
        made = []

        def make(**options):
            made.append(stack.enter_context(lab_module.Lab(folder, say=lambda text: None, **options)))
            return made[-1]
        yield make
        for lab in made:
            assert lab.tink.violations == []
    for disk in folder.glob("*.raw"):
        disk.unlink()
    if request.session.testsfailed > before:
        print(f"logs kept in {folder}")
    else:
        shutil.rmtree(folder)


@pytest.fixture
def lab(folder, debian):
    """A Lab that serves the Debian image as /images/debian.raw.zst."""
    import lab as lab_module

    with lab_module.Lab(folder, images={"debian.raw.zst": debian.path}) as made:
        yield made
