"""The tables of the benchmark, and whether its targets are met."""

import math
import re
import statistics

GEOMETRIC = {"sparse": 2.5, "large": 2.5, "dense": 1.3} # against the command line, over all forms
WORST = {"sparse": 1.05, "large": 1.05, "dense": 1.0}   # the least of any form
PEER_GEOMETRIC, GZIP, SHARE, MEMORY_KIB = 5.0, 5.0, 0.9, 64 * 1024
STAGES = ("download", "decode", "write")
NO_DECODER = ("qcow2-zlib", "qcow2-zstd") # nothing decodes these alone: no limit is known


def fastest_decoder(text):
    """(seconds, processor seconds) of the fastest line of tests/bench/decode."""
    lines = re.findall(r"^  (.+?) +[\d.]+ MB/s +([\d.]+) s +processor +([\d.]+) s", text, re.MULTILINE)
    found = [(float(seconds), float(cpu)) for name, seconds, cpu in lines if "(whole)" not in name]
    if not found:
        raise ValueError(f"no figure in: {text}")
    return min(found)


class Figures:
    """All runs of one (image, target, form)."""

    def __init__(self, key, runs):
        self.image, self.target, self.form = key
        self.runs = runs

    def values(self, who, what="seconds"):
        return [run[what] for run in self.runs if run["who"] == who]

    def median(self, who, what="seconds"):
        values = self.values(who, what)
        return statistics.median(values) if values else None

    @property
    def command(self):
        """Which of the command lines is the fastest."""
        names = {run["who"] for run in self.runs if run["who"].startswith("command")}
        # The one that went on after the first turn; it was the fastest there.
        return min(names, key=lambda name: (-len(self.values(name)), self.median(name))) if names else None

    def stage(self, stage):
        """Seconds of a stage alone; of several decoders the fastest."""
        names = {run["who"] for run in self.runs if run["who"] == stage or stage == "decode" and run["who"].startswith("decode")}
        return min((self.median(name) for name in names), default=None)

    def paired_ratio(self, other):
        """The median of the ratios of runs that followed each other."""
        pairs = list(zip(self.values(other), self.values("ours")))
        return statistics.median(theirs / ours for theirs, ours in pairs) if pairs else None

    @property
    def limit(self):
        """(seconds, name) of the slowest stage."""
        if self.form in NO_DECODER:
            return None, None
        stages = [(seconds, stage) for stage in STAGES if (seconds := self.stage(stage)) is not None]
        return max(stages, default=(None, None))

    @property
    def share(self):
        return self.limit[0] / self.median("ours") if self.limit[0] else None


def collect(documents):
    """Figures by (image, target, form), in the order of measuring."""
    found = {}
    for document in documents:
        for run in document["runs"]:
            found.setdefault((run["image"], run["target"], run["form"]), []).append(run)
    return [Figures(key, runs) for key, runs in found.items()]


def geometric_mean(values):
    return math.exp(statistics.fmean(map(math.log, values)))


def _number(value, form="{:.2f}"):
    return form.format(value) if value is not None else ""


def _spread(values):
    if not values:
        return ""
    return f"{statistics.median(values):.2f}" + (f" ({min(values):.2f}–{max(values):.2f})" if len(values) > 1 else "")


def _table(head, rows):
    print("| " + " | ".join(head) + " |")
    print("| " + " | ".join("---" for _ in head) + " |")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def _mib(value):
    return _number(value / 1024 if value is not None else None, "{:.0f}")


def times(figures):
    """The table of one image on one kind of disk: seconds and ratios."""
    _table(("form", "served, MB", "ours, s", "command line, s", "ratio", "published, s", "ratio", "slowest stage, s", "share"),
           [(f.form, f"{f.runs[0]['served_bytes'] / 1e6:.0f}", _spread(f.values("ours")), _spread(f.values(f.command)) if f.command else "",
             _number(f.paired_ratio(f.command) if f.command else None), _spread(f.values("peer")), _number(f.paired_ratio("peer")),
             f"{f.limit[1]} {f.limit[0]:.2f}" if f.limit[0] else "", _number(f.share and f.share * 100, "{:.0f} %"))
            for f in figures])


def costs(figures):
    """Processor seconds and memory."""
    _table(("form", "processor s with loop device and server: ours", "command line", "of the processes: ours", "command line", "MiB: ours", "command line"),
           [(f.form, _number(f.median("ours", "machine_cpu_s")), _number(f.median(f.command, "machine_cpu_s") if f.command else None),
             _number(f.median("ours", "cpu_s")), _number(f.median(f.command, "cpu_s") if f.command else None),
             _mib(max(f.values("ours", "memory_kib"), default=None)), _mib(f.median(f.command, "memory_kib") if f.command else None))
            for f in figures])


def stages(figures):
    """Each stage alone."""
    _table(("form", "download", "decode", "write and clear", "write", "write by dd conv=sparse"),
           [(f.form, _number(f.stage("download")), _number(f.stage("decode")), _number(f.median("write")), _number(f.median("write-data")),
             _number(f.median("write-dd"))) for f in figures])


def verdicts(figures):
    """Every target: (text, whether it is met)."""
    found = []

    def target(text, value, wanted, met, form="{:.2f}"):
        found.append((f"{text}: {form.format(value)}, wanted {wanted}", met))
    for image, kind in dict.fromkeys((f.image, f.target) for f in figures if f.image in GEOMETRIC):
        these = [f for f in figures if (f.image, f.target) == (image, kind) and f.values("ours")]
        ratios = {f.form: f.paired_ratio(f.command) for f in these if f.command}
        place = f"{image} on {kind}"
        if ratios:
            mean, worst = geometric_mean(ratios.values()), min(ratios, key=ratios.get)
            target(f"{place}: geometric mean of the ratios to the command line", mean, GEOMETRIC[image], mean >= GEOMETRIC[image])
            target(f"{place}: least ratio to the command line ({worst})", ratios[worst], WORST[image], ratios[worst] >= WORST[image])
            if image != "dense" and "gzip" in ratios:
                target(f"{place}: gzip to the command line", ratios["gzip"], GZIP, ratios["gzip"] >= GZIP)
        peers = [ratio for f in these if (ratio := f.paired_ratio("peer"))]
        if peers and image != "dense":
            mean = geometric_mean(peers)
            target(f"{place}: geometric mean of the ratios to the published image2disk", mean, PEER_GEOMETRIC, mean >= PEER_GEOMETRIC)
        for f in these:
            if f.share:
                target(f"{place}, {f.form}: share of the slowest stage ({f.limit[1]})", f.share * 100, "90 %", f.share >= SHARE, "{:.0f} %")
            if f.command:
                ours, theirs = f.median("ours", "machine_cpu_s"), f.median(f.command, "machine_cpu_s")
                target(f"{place}, {f.form}: processor seconds", ours, f"at most {theirs:.2f}", ours <= theirs)
            memory = max(f.values("ours", "memory_kib"))
            target(f"{place}, {f.form}: resident memory", memory / 1024, "at most 64 MiB" + (" (xz: what its blocks demand)"
                   if f.form.startswith("xz") else ""), memory <= MEMORY_KIB or f.form.startswith("xz"), "{:.0f} MiB")
    return found


def scaling(figures):
    """Seconds for 1, 2, 4, 8 GiB."""
    these = sorted((f for f in figures if f.image.startswith("scale") and f.values("ours")),
                   key=lambda f: (f.target, f.form, f.runs[0]["image_bytes"]))
    if not these:
        return
    print("Twice the size:\n")
    rows = []
    for f in these:
        gib = f.runs[0]["image_bytes"] / (1 << 30)
        rows.append((f.target, f.form, f"{gib:.0f}", _spread(f.values("ours")), f"{f.median('ours') / gib:.3f}",
                     _number(f.median("ours", "machine_cpu_s")), _mib(max(f.values("ours", "memory_kib")))))
    _table(("disk", "form", "GiB", "ours, s", "s per GiB", "processor s", "MiB"), rows)


def show(documents, judge=False, quick=False):
    """Prints everything; 1 when judge and a target is missed."""
    figures = collect(documents)
    for document in documents:
        machine = document["machine"]
        print(f"{machine['date']}, {machine['cpus']} processors ({machine['model']}), Linux {machine['kernel']}, load before "
              f"{machine['load']:.1f}, worker of {machine['worker_bytes'] / 1e6:.2f} MB\n")
    for image, kind in dict.fromkeys((f.image, f.target) for f in figures if not f.image.startswith("scale")):
        these = [f for f in figures if (f.image, f.target) == (image, kind) and f.values("ours")]
        if not these:
            continue
        print(f"### {image} on {kind}\n")
        times(these)
        costs(these)
        if any(f.stage("write") for f in these):
            print("Seconds of each stage alone:\n")
            stages(these)
    scaling(figures)
    if quick:
        print(f"{sum(1 for f in figures if f.values('ours'))} forms written and compared; one run of a small image measures nothing")
        return 0
    found = verdicts(figures)
    for text, met in found:
        print(f"{'met   ' if met else 'MISSED'}  {text}")
    missed = sum(not met for _, met in found)
    print(f"\n{len(found) - missed} of {len(found)} targets met")
    return 1 if judge and missed else 0
