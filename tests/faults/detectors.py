"""Detectors that misbehave, a dozen in a run: each costs at most its own rows, at once, and leaves nothing."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT
from tests.faults.campaign import Say, Tally
from tests.faults.places import Place, finished_rows
from tests.hostile_plugin.janus_bench_hostile.misdeeds import DECLARED, DEEDS, HOOKS, MODELS
from tests.hostile_plugin.janus_bench_hostile.returns import RETURNS

TOGETHER = 12
LIMITS = {"sleeps": ("--timeout", "20s"), "hogs": ("--max-memory", "700M")}
LONGEST_S = 500.0
"""For a dozen of them on a busy machine: nobody waits for a thread or a daemon that sleeps for ten minutes."""
LONGEST_LOG = 9 << 20


@dataclass(frozen=True)
class Misdeed:
    """One detector, and the statuses that are right for its row."""

    hook: str
    deed: str
    expected: frozenset[str]
    kind: str

    @property
    def request(self) -> str:
        return f"h-misdeed[hook={self.hook},deed={self.deed}]"


def all_misdeeds() -> list[Misdeed]:
    """In an order of their own, the same for everyone: seed n is the n-th."""
    found = []
    for hook in HOOKS:
        for name, deed in DEEDS.items():
            expected = deed.expected | ({"ok"} if (hook, deed.kind) == ("save", "raises") else frozenset())
            if name.startswith("file-for") and hook == "save":
                expected = frozenset({"error"})
            found.append(Misdeed(hook, name, expected, deed.kind))
    found += [Misdeed("return", name, expected, "returns") for name, (_, expected) in RETURNS.items()]
    found += [Misdeed("model", name, frozenset({"ok"}), "models") for name in MODELS]
    found += [Misdeed("declare", name, frozenset(), "declares") for name in DECLARED]
    random.Random(0).shuffle(found)
    return found


def campaign(tally: Tally, seed: int, count: int, jobs: int, folder: Path, say: Say, python: str = "") -> None:
    """Misdeeds ``seed``, ``seed + 1``, …, those of a kind together."""
    known = all_misdeeds()
    python = python or str(_environment(folder / "venv"))
    with tarfile.open(ROOT / "tests" / "pinned" / "pinned.tar.gz") as archive:
        archive.extractall(folder, [member for member in archive if member.name.startswith("home")], filter="data")
    chosen = {number: known[number % len(known)] for number in range(seed, seed + count)}
    place = Place(folder, python)
    (folder / "temp").mkdir()
    groups: dict[str, list[int]] = {}
    for number, misdeed in chosen.items():
        groups.setdefault(misdeed.kind if misdeed.kind in (*LIMITS, "declares") else "", []).append(number)
    for kind, numbers in groups.items():
        size = 1 if kind == "declares" else TOGETHER
        for begin in range(0, len(numbers), size):
            some = {number: chosen[number] for number in numbers[begin : begin + size]}
            if kind == "declares":
                _refused(tally, place, *some.popitem(), say)
            else:
                together(tally, place, some, kind, jobs, say)


def _environment(folder: Path) -> Path:
    """An interpreter that sees this one's packages, with the plugin of misdeeds beside them."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    ask = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    purelib = Path(subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip())
    paths = [path for path in sys.path if Path(path).name == "site-packages"]
    (purelib / "parent.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in paths))
    source = ROOT / "tests" / "hostile_plugin"
    (purelib / "hostile.pth").write_text(f"{source}\n")
    text = (source / "pyproject.toml").read_text()
    entry = re.search(r"^h-misdeed = .*$", text, re.MULTILINE)
    assert entry is not None
    about = purelib / "janus_bench_hostile-0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: janus-bench-hostile\nVersion: 0\n")
    (about / "entry_points.txt").write_text(f"[janus_bench.detectors]\n{entry[0].replace(chr(34), '')}\n")
    return python


def _refused(tally: Tally, place: Place, number: int, misdeed: Misdeed, say: Say) -> None:
    """A declaration that breaks the contract is a line before anything runs."""
    asked = ("--protocol", "thresholded", "--datasets", "north", "--seeds", "1", "--detectors", misdeed.request)
    code = place.run("run", *asked, "--runs", "refused")
    lines = [line for line in place.err.splitlines() if line.startswith("janus-bench: ")]
    wrong = "" if code == 4 and len(lines) == 1 else f"exit code {code}: {place.err[-300:]}"
    if "Traceback" in place.err:
        wrong = f"a traceback: {place.err[-300:]}"
    tally.add(number, "refused", f"{misdeed.request}: {wrong}" if wrong else "", say)


def together(tally: Tally, place: Place, some: dict[int, Misdeed], kind: str, jobs: int, say: Say) -> None:
    """One run of several, beside two honest ones."""
    runs = place.folder / f"runs-{min(some)}"
    victim = place.temp / "victim"
    victim.write_text("untouched")
    requests = {misdeed.request: number for number, misdeed in some.items()}
    jobs *= 3 if kind == "sleeps" else 1
    started = time.monotonic()
    code = place.run(
        "run", "--protocol", "thresholded", "--datasets", "north", "--seeds", "1", "--jobs", str(jobs),
        "--detectors", ",".join([*requests, "length", "mahalanobis"]), "--runs", runs,
        *(LIMITS.get(kind) or ("--timeout", "300s")), limit_s=LONGEST_S,
    )  # fmt: skip
    whole = _wrong_with_the_run(place, runs, code, victim)
    if not whole and kind != "sleeps":  # so short a time may be too short for an honest one on a busy machine
        whole = _honest_rows(runs)
    if time.monotonic() - started > LONGEST_S:
        whole = "it hangs"
    rows = {}
    for path in (runs / "results").glob("*.json"):
        row = json.loads(path.read_text())
        params = row["spec"]["params"]
        if row["spec"]["detector"] == "h-misdeed":
            rows[f"h-misdeed[hook={params['hook']},deed={params['deed']}]"] = row
    for request, number in requests.items():
        row = rows.get(request)
        status = row["status"] if row else "no row"
        wrong = whole
        if row is None or status not in some[number].expected:
            wrong = wrong or f"{status} ({row['reason'] if row else place.err[-300:]})"
        elif len(row["reason"]) > 520 or "\n" in row["reason"]:
            wrong = wrong or "an endless reason"
        tally.add(number, status, f"{request}: {wrong}" if wrong else "", say)


def _wrong_with_the_run(place: Place, runs: Path, code: int, victim: Path) -> str:
    """What is wrong for all of them; an empty string if nothing is."""
    err = place.err
    if "Traceback" in err or code not in (0, 1):
        return f"exit code {code}: {err[-500:]}"
    if (victim.read_text() if victim.is_file() else "gone") != "untouched":
        return "a file elsewhere was written to"
    for path in (runs / "models").rglob("*"):
        if path.is_symlink() or not (path.is_file() or path.is_dir()) or path.name == "secret":
            return f"{path.name} is kept with a model"
    if any(path.stat().st_size > LONGEST_LOG for path in (runs / "logs").iterdir()):
        return "an endless log"
    if wrong := place.orphans() or place.garbage():
        return wrong
    if place.run("leaderboard", "--runs", runs, "--no-intervals", "--format", "csv") != 0:
        return f"the rows cannot be read: {place.err[-300:]}"
    return ""


def _honest_rows(runs: Path) -> str:
    rows = (json.loads(text) for text, _ in finished_rows(runs).values())
    honest = {row["spec"]["detector"] for row in rows}
    return "" if {"length", "mahalanobis"} <= honest else "an honest detector lost its row"
