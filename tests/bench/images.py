"""The images that the benchmark writes, in every form, kept in the cache by the content of their recipe.

    sparse   4 GiB: Debian 12 with a kernel and compilers, about 0.9 GiB of data; GPT, ESP, ext4 that was mounted and filled
    large    the same system on 10 GiB
    dense    what is not zero in `sparse`, block behind block in one partition: the same data without holes
    scale1, scale2, scale4, scale8
             N GiB, each of them with 240 MiB of that data and a hole: what twice the size costs
    small    48 MiB of made-up data and holes, for a run that only shows that the benchmark works

A form is made from the raw image when it is first asked for. Making all of it takes about half an hour on two cores.
"""

import contextlib
import fcntl
import hashlib
import inspect
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MIB = 1 << 20
PACKAGES = "systemd,linux-image-amd64,build-essential,git,python3,openssh-server,cmake,gdb,vim"
MMDEBSTRAP = ("mmdebstrap", "--mode=root", "--variant=important", f"--include={PACKAGES}",
              "--aptopt=APT::Install-Recommends \"false\"", "--aptopt=Acquire::Languages \"none\"", "bookworm")
# As images of servers are made: without documentation, and without drivers that no server needs.
LEFT_OUT = tuple(f"--exclude=./usr/{name}/*" for name in (
    "share/doc", "share/man", "share/info", "share/locale", "lib/modules/*/kernel/drivers/gpu", "lib/modules/*/kernel/drivers/media",
    "lib/modules/*/kernel/drivers/net/wireless", "lib/modules/*/kernel/sound"))
SIZES_MIB = {"sparse": 4096, "large": 10240}
SCALES = {"scale1": 1, "scale2": 2, "scale4": 4, "scale8": 8}
IMAGES = ("sparse", "dense", "large", *SCALES, "small")

# form: suffix, and the command that makes it of the raw image ({raw}, {out}); None is the raw image itself.
FORMS = {
    "raw": (".raw", None),
    "gzip": (".raw.gz", "gzip -6 -n -c {raw} > {out}"),
    "zstd": (".raw.zst", "zstd -q -3 -f -o {out} {raw}"),
    "xz": (".raw.xz", "xz -6 -T2 -c {raw} > {out}"),
    "xz-single": (".single.xz", "xz -2 -T1 -c {raw} > {out}"),
    "bzip2": (".raw.bz2", "bzip2 -c {raw} > {out}"),
    "lz4": (".raw.lz4", "lz4 -q -f {raw} {out}"),
    "qcow2": (".qcow2", "qemu-img convert -O qcow2 {raw} {out}"),
    "qcow2-zlib": (".zlib.qcow2", "qemu-img convert -c -O qcow2 {raw} {out}"),
    "qcow2-zstd": (".zstd.qcow2", "qemu-img convert -c -o compression_type=zstd -O qcow2 {raw} {out}"),
    "bmap": (".raw.bmap", "bmaptool create -o {out} {raw}"),
    "android": (".simg", "img2simg {raw} {out}"),
}


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def run(*argv, **options):
    """Runs a program; a failure shows what it said."""
    result = subprocess.run([str(word) for word in argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, **options)
    if result.returncode:
        raise RuntimeError(f"{' '.join(map(str, argv))}: exit status {result.returncode}: {result.stdout.decode(errors='replace')}")
    return result.stdout.decode(errors="replace").strip()


def cache_root():
    base = os.environ.get("TINK_WORKER_CACHE")
    if not base:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tink-worker"
    return Path(base) / "bench"


# --- recipes: each makes {out} ------------------------------------------------------------------


def make_tree(out):
    """The system, as a tar."""
    mirror = os.environ.get("DEBIAN_MIRROR")
    run(*MMDEBSTRAP, "--format=tar", out, *([mirror] if mirror else []))


def make_debian(out, tree, size_mib):
    """A disk as it is made by hand: partitions, file systems, mounted, filled."""
    with open(out, "wb") as file:
        file.truncate(size_mib * MIB)
    run("sfdisk", "-q", out, input=b"label: gpt\n"
        b"start=2048, size=131072, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=esp\n"
        b"start=133120, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name=root\n")
    run("mformat", "-i", f"{out}@@1M", "-T", 131072, "-h", 64, "-s", 32, "-v", "ESP", "::")
    start, size = 133120 * 512, size_mib * MIB - 133120 * 512 - MIB
    device = run("losetup", "--find", "--show", "--offset", start, "--sizelimit", size, out)
    point = tempfile.mkdtemp(prefix="mounted-", dir=out.parent)
    try:
        run("mke2fs", "-q", "-t", "ext4", "-L", "root", device)
        run("mount", "-o", "noinit_itable", device, point)
        try:
            run("tar", "-C", point, "--numeric-owner", *LEFT_OUT, "-xpf", tree)
            kernel = next(Path(point, "boot").glob("vmlinuz-*"))
            run("mcopy", "-i", f"{out}@@1M", kernel, "::/VMLINUZ")
        finally:
            run("umount", point)
    finally:
        run("losetup", "-d", device)
        os.rmdir(point)
    run("fallocate", "--dig-holes", out)


def _new_disk(out, size_mib):
    """A raw image with one partition from 1 MiB to one MiB before the end."""
    with open(out, "wb") as file:
        file.truncate(size_mib * MIB)
    run("sfdisk", "-q", out, input=f"label: gpt\nstart=2048, size={(size_mib - 2) * 2048}\n".encode())


def make_dense(out, sparse):
    """Its non-zero blocks, one behind the other."""
    zeros = bytes(4096)
    data = out.with_suffix(".data")
    with open(sparse, "rb") as source, open(data, "wb") as sink:
        for offset, size in data_ranges(sparse):
            source.seek(offset)
            for _ in range(0, size, MIB):
                piece = source.read(min(MIB, offset + size - source.tell()))
                sink.write(b"".join(block for at in range(0, len(piece), 4096) if (block := piece[at:at + 4096]) != zeros))
    size_mib = data.stat().st_size // MIB # what is not a whole MiB at the end stays out
    _new_disk(out, size_mib + 2)
    run("dd", f"if={data}", f"of={out}", "bs=1M", f"count={size_mib}", "seek=1", "conv=notrunc")
    data.unlink()


def make_scale(out, dense, size_gib):
    _new_disk(out, size_gib * 1024)
    for number in range(size_gib):
        run("dd", f"if={dense}", f"of={out}", "bs=1M", "skip=1", "count=240", f"seek={1 + number * 1024}", "conv=notrunc")


def make_small(out):
    _new_disk(out, 48)
    noise = random.Random(7)
    with open(out, "r+b") as file:
        for start_mib, size_mib in ((1, 3), (9, 6), (30, 2)):
            file.seek(start_mib * MIB)
            for _ in range(size_mib):
                file.write(bytes(noise.choices(b"abcdefgh \n", k=MIB // 8)) * 7 + noise.randbytes(MIB // 8))


# --- the cache ----------------------------------------------------------------------------------


def data_ranges(path):
    """(offset, size) of what a sparse file holds."""
    found, end = [], 0
    with open(path, "rb") as file:
        total = os.fstat(file.fileno()).st_size
        while end < total:
            try:
                start = os.lseek(file.fileno(), end, os.SEEK_DATA)
            except OSError: # only a hole is left
                break
            end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            found.append((start, end - start))
    return found


def extents(raw):
    """What is not zero, in pieces of 64 KiB joined to runs: a list of [offset, size]. Kept beside the image."""
    kept = raw.with_suffix(".extents.json")
    if kept.exists():
        return json.loads(kept.read_text())
    piece_bytes, zeros, found = 65536, bytes(65536), []
    total = raw.stat().st_size
    with open(raw, "rb") as file:
        for offset, size in data_ranges(raw):
            at = max(offset - offset % piece_bytes, found[-1][0] + found[-1][1] if found else 0)
            while at < offset + size:
                file.seek(at)
                piece = file.read(piece_bytes)
                if piece != zeros[:len(piece)]:
                    if found and found[-1][0] + found[-1][1] == at:
                        found[-1][1] += len(piece)
                    else:
                        found.append([at, len(piece)])
                at += piece_bytes
    assert not found or found[-1][0] + found[-1][1] <= total
    kept.write_text(json.dumps(found))
    return found


def _digest(*words):
    return hashlib.sha256("\0".join(map(str, words)).encode()).hexdigest()[:12]


class Images:
    """Gives the paths of images; makes what is missing."""

    def __init__(self, folder=None):
        self.folder = Path(folder) if folder else cache_root()
        self.folder.mkdir(parents=True, exist_ok=True)

    def path(self, image, form="raw"):
        """The file of an image in a form."""
        suffix, command = FORMS[form]
        raw = self._raw(image)
        if command is None:
            return raw
        out = raw.with_name(f"{image}-{_digest(raw.name, command)}{suffix}")

        def make(new):
            subprocess.run(["bash", "-c", command.format(raw=raw, out=new)], check=True, stdout=subprocess.DEVNULL)
        return self._made(out, f"{image} as {form}", make)

    def _raw(self, image):
        key = _digest(image, self._recipe(image))
        return self._made(self.folder / f"{image}-{key}.raw", f"{image} raw", lambda out: self._make(image, out))

    def _recipe(self, image):
        """All that an image depends on, as text."""
        source = inspect.getsource
        tree = source(make_tree) + repr(MMDEBSTRAP)
        if image in SIZES_MIB:
            return tree + repr(LEFT_OUT) + source(make_debian) + str(SIZES_MIB[image])
        if image == "small":
            return source(make_small) + source(_new_disk)
        dense = self._recipe("sparse") + source(make_dense) + source(_new_disk)
        return dense if image == "dense" else dense + source(make_scale) + str(SCALES[image])

    def _make(self, image, out):
        if image in SIZES_MIB:
            tree = self._made(self.folder / f"tree-{_digest(inspect.getsource(make_tree), MMDEBSTRAP)}.tar",
                              "a Debian system (mmdebstrap)", make_tree)
            make_debian(out, tree, SIZES_MIB[image])
        elif image == "dense":
            make_dense(out, self._raw("sparse"))
        elif image == "small":
            make_small(out)
        else:
            make_scale(out, self._raw("dense"), SCALES[image])

    def _made(self, path, what, make):
        if path.exists():
            return path
        with self._lock(path):
            if path.exists():
                return path
            say(f"making {what}")
            started_s = time.monotonic()
            work = Path(tempfile.mkdtemp(prefix=".new-", dir=self.folder))
            try:
                new = work / "new"
                make(new)
                os.rename(new, path)
            finally:
                shutil.rmtree(work)
            allocated = path.stat().st_blocks * 512
            say(f"made {what}: {path.stat().st_size / MIB:.0f} MiB, {allocated / MIB:.0f} allocated, "
                f"{time.monotonic() - started_s:.0f} s")
        return path

    @contextlib.contextmanager
    def _lock(self, path):
        with open(self.folder / f".{path.name}.lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
            with contextlib.suppress(OSError):
                os.unlink(file.name)
