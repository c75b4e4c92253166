"""``python -m tests.faults``: a seeded campaign of faults, and what came of it as a table; exit code 1 if anything went
wrong.

Four kinds: kills of work in progress, detectors that misbehave, damaged files, mutated captures and label files.  Every
failure is printed with the command that repeats it (docs/faults.md).
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.faults import detectors, kills
from tests.faults.campaign import Tally, in_children

COUNTS = {"kills": 220, "detectors": 150, "files": 2200, "inputs": 2200}
CAMPAIGNS: dict[str, Callable[..., None]] = {
    "kills": kills.campaign,
    "detectors": detectors.campaign,
    "files": in_children,
    "inputs": in_children,
}


def say(line: str) -> None:
    print(line, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kind", default=",".join(COUNTS), help="comma-separated: " + ", ".join(COUNTS))
    parser.add_argument("--seed", type=int, default=0, help="of the first case; the following ones count on")
    parser.add_argument("--count", type=int, help="faults of each kind; default: the long form")
    parser.add_argument("--jobs", type=int, default=2, help="processes side by side")
    chosen = parser.parse_args()
    for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):  # whoever starts it in the background ignores some
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    tallies = []
    for kind in chosen.kind.split(","):
        tally, started = Tally(kind), time.monotonic()
        tallies.append(tally)
        folder = Path(tempfile.mkdtemp(prefix=f"faults-{kind}-"))
        try:
            CAMPAIGNS[kind](tally, chosen.seed, chosen.count or COUNTS[kind], chosen.jobs, folder, say)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        tally.seconds = time.monotonic() - started
    say(f"\n{'kind':10} {'faults':>6} {'failed':>6} {'minutes':>7}  what was seen")
    for tally in tallies:
        seen = ", ".join(f"{number} × {what}" for what, number in tally.cases.most_common())
        failed = sum(map(len, tally.failures.values()))
        say(f"{tally.kind:10} {tally.number:6} {failed:6} {tally.seconds / 60:7.1f}  {seen}")
    return int(any(tally.failures for tally in tallies))


if __name__ == "__main__":
    sys.exit(main())
