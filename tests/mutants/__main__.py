"""``python -m tests.mutants``: makes one edit after the other in copies of the tree, and asks the tests of each
whether they see it.

A copy is installed into an environment of its own, which sees this one's packages: a worker is started with a
scrubbed environment, so that a tree that is merely on ``PYTHONPATH`` would be tested with the workers of another
one.  Exit code 1 if an edit survives of which its list does not say so, or if one is killed of which it does.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.edits import Edit, all_edits

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "mutants"
LEFT_OUT = (
    ".git",
    ".venv",
    "build",
    "demo",
    "board",
    "runs",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    ".hypothesis",
    "*.egg-info",
)
KEPT = ("plugins", "home", "numbered")
"""What tests share (``conftest.shared_once``) and no edit of the lists changes: an environment, and captures.  The
rest is made anew each time."""
FORKS = """
import json, os, signal, sys, time
import filelock, hypothesis, numba, numpy, polars, psutil, pytest, scipy.stats, sklearn.covariance, torch, xdist
phases = hypothesis.Phase.explicit, hypothesis.Phase.generate  # an example that fails need not be the smallest
hypothesis.settings.register_profile("any", phases=phases, derandomize=True)  # a verdict that can be repeated
hypothesis.settings.load_profile("any")
for line in sys.stdin:
    printed, longest, arguments = json.loads(line)
    child = os.fork()
    if child == 0:
        os.setsid()
        out = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number in (1, 2):
            os.dup2(out, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        code = pytest.main(arguments)
        sys.stdout.flush()
        os._exit(code)
    until = time.monotonic() + longest
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < until:
        time.sleep(0.02)
    if not ended[0]:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        open(printed, "a").write("FAILED still running\\n")
    print(os.waitstatus_to_exitcode(ended[1]) if ended[0] else 1, flush=True)
"""
LONGEST_S = 600.0
"""A test that hangs has seen the edit."""


@dataclass(frozen=True)
class Copy:
    """A copy of the tree, installed into its own environment."""

    folder: Path

    @property
    def tree(self) -> Path:
        return self.folder / "tree"

    @property
    def python(self) -> Path:
        return self.folder / "venv" / "bin" / "python"

    @classmethod
    def made(cls, folder: Path) -> Copy:
        copy = cls(folder)
        shutil.rmtree(folder, ignore_errors=True)
        # with its compiled kernels: times of files are kept
        shutil.copytree(ROOT, copy.tree, ignore=shutil.ignore_patterns(*LEFT_OUT))
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
        ask = [copy.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
        purelib = Path(subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip())
        packages = [place for place in sys.path if Path(place).name in ("site-packages", "dist-packages")]
        # what is installed there, without trees that are installed for editing
        (purelib / "packages.pth").write_text("\n".join(packages) + "\n")
        install = [
            sys.executable,
            "-m",
            "pip",
            "--python",
            copy.python,
            "install",
            "-q",
            "--no-deps",
            "--no-build-isolation",
            "-e",
            copy.tree,
        ]
        subprocess.run(install, check=True, stdout=subprocess.DEVNULL)
        where = [copy.python, "-P", "-c", "import harness.worker; print(harness.worker.__file__)"]
        found = subprocess.run(where, check=True, capture_output=True, text=True, cwd=folder).stdout.strip()
        if not Path(found).is_relative_to(copy.tree):
            raise SystemExit(f"a worker of {copy.tree} would run {found}: the copy is not installed")
        return copy

    def started(self) -> subprocess.Popen[str]:
        """A process that has imported whatever is slow and not ours, and runs pytest in a fork of itself for every
        line that it reads."""
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHONPATH"))
        }
        (self.folder / "temp").mkdir()
        return subprocess.Popen(
            [self.python, "-c", FORKS],
            cwd=self.tree,
            env={**environment, "PYTEST_XDIST_TESTRUNUID": "shared"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def test(self, server: subprocess.Popen[str], tests: list[str], longest: float = LONGEST_S) -> tuple[int, str]:
        """pytest's exit code (1 where it took too long), and what it printed."""
        temp, printed = self.folder / "temp", self.folder / "printed"
        for shared in temp.glob("shared-*"):
            if not shared.name.startswith(tuple(f"shared-{name}" for name in KEPT)):
                shutil.rmtree(shared) if shared.is_dir() else shared.unlink()
        options = ["-x", "-n", "0", "-p", "no:cacheprovider", "--tb", "no", "--basetemp", str(temp / "tests")]
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps([str(printed), longest, [*options, *(f"tests/{test}" for test in tests)]]) + "\n")
        server.stdin.flush()
        return int(server.stdout.readline()), printed.read_text(errors="replace")

    def write(self, file: str, text: str) -> None:
        """Change a file, and forget what was compiled of it; of a file of kernels also the kernels beside it, which
        may have taken them in."""
        path = self.tree / file
        path.write_text(text, encoding="utf-8")
        Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)
        for kernel in (path.parent / "__pycache__").glob("*.nb[ic]") if "njit" in text else ():
            kernel.unlink()


@dataclass(frozen=True)
class Verdict:
    """What became of an edit: ``code`` 0 survived, 1 killed ``by`` a test, anything else: the tests could not be
    run."""

    edit: Edit
    code: int
    by: str
    seconds: float

    @property
    def as_listed(self) -> bool:
        return self.code == (0 if self.edit.survives else 1)

    def __str__(self) -> str:
        word = {0: "survived", 1: "killed"}.get(self.code, "ERROR")
        note = "" if self.as_listed else "   <-- the list says otherwise"
        return f"{word:8} {self.seconds:5.1f} s  {self.edit.title}  [{self.by or self.edit.survives}]{note}"


def judged(copy: Copy, server: subprocess.Popen[str], edit: Edit) -> Verdict:
    started, source = time.monotonic(), (copy.tree / edit.file).read_text(encoding="utf-8")
    try:
        copy.write(edit.file, edit.applied(source))
        code, printed = copy.test(server, list(edit.tests))
    finally:
        copy.write(edit.file, source)
    told = [line for line in printed.splitlines() if line.startswith(("FAILED", "ERROR"))]
    by = told[0].split(" ", 1)[1] if told else printed[-300:] if code else ""
    return Verdict(edit, code, by.split(" - ")[0].removeprefix("tests/"), time.monotonic() - started)


def work(
    number: int, waiting: queue.SimpleQueue[Edit], tests: list[str], verdicts: list[Verdict], trouble: list[str]
) -> None:
    """One copy: first all tests without an edit, then edits as long as some wait."""
    copy = Copy.made(FOLDER / str(number))
    with copy.started() as server:
        code, printed = copy.test(server, tests, 10 * LONGEST_S)
        if code:
            trouble.append(f"the untouched copy is not green (exit code {code}):\n{printed[-3000:]}")
        while not trouble:
            try:
                edit = waiting.get_nowait()
            except queue.Empty:  # another copy was faster
                break
            verdicts.append(judged(copy, server, edit))
            print(verdicts[-1], flush=True)
        server.stdin.close()  # type: ignore[union-attr]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", metavar="REGEX", help="edits whose title this is found in")
    parser.add_argument("--jobs", type=int, default=2, help="copies that are tested side by side")
    chosen = parser.parse_args()
    edits = [edit for edit in all_edits() if re.search(chosen.only, edit.title)]
    for edit in edits:
        edit.applied((ROOT / edit.file).read_text(encoding="utf-8"))
    tests = sorted({test for edit in edits for test in edit.tests})
    waiting: queue.SimpleQueue[Edit] = queue.SimpleQueue()
    for edit in edits:
        waiting.put(edit)
    verdicts: list[Verdict] = []
    trouble: list[str] = []
    started = time.monotonic()
    workers = [
        threading.Thread(target=work, args=(number, waiting, tests, verdicts, trouble)) for number in range(chosen.jobs)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    killed, minutes = sum(verdict.code == 1 for verdict in verdicts), (time.monotonic() - started) / 60
    print(
        f"\n{len(verdicts)} of {len(edits)} edits: {killed} killed ({killed / max(len(verdicts), 1):.1%}), "
        f"{minutes:.0f} minutes"
    )
    for verdict in verdicts:
        if verdict.code != 1:
            print(verdict)
    for line in trouble:
        print(line)
    return 0 if len(verdicts) == len(edits) and all(verdict.as_listed for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
