"""How long a command takes to begin: processor seconds of a fresh process, and as a ratio to importing typer and rich,
by which machines can be compared.

    python -m benchmarks.start_up [--times 5]

Every command runs in turn, ``times`` times; the median counts.  The board is small and made here.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

GOALS = {"--help": 0.15, "detector list": 0.5, "leaderboard": 0.6, "completion": 0.3}
"""Seconds that a command may take, with which this was begun."""
MAIN = "import sys; sys.argv[0] = 'janus-bench'; from harness.cli.main import main; main()"
COMMANDS = {
    "typer and rich": ("-c", "import typer, rich.console, rich.table"),
    "--help": ("-c", MAIN, "--help"),
    "detector list": ("-c", MAIN, "detector", "list"),
    "leaderboard": ("-c", MAIN, "leaderboard", "--no-intervals"),
    "completion": ("-c", MAIN),
}
UNFINISHED = {
    "COMP_WORDS": "janus-bench run --detectors janus,if",
    "COMP_CWORD": "3",
    "_JANUS_BENCH_COMPLETE": "complete_bash",
}


def processor_seconds(arguments: tuple[str, ...], folder: Path, environment: dict[str, str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL, timeout=120
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def measured(folder: Path, times: int) -> dict[str, float]:
    """Command → median processor seconds; ``folder`` holds a home and results."""
    environment = {**os.environ, "JANUS_BENCH_HOME": str(folder / "home")}
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(times + 1):
        for name, arguments in COMMANDS.items():
            more = UNFINISHED if name == "completion" else {}
            seconds[name].append(processor_seconds(arguments, folder, environment | more))
    return {name: median(each[1:]) for name, each in seconds.items()}  # the first read everything from the disk


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    times = parser.parse_args().times
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        import janus_bench

        os.environ["JANUS_BENCH_HOME"] = str(folder / "home")
        janus_bench.run("length,random", protocol="within", seeds=[42], runs=folder / "runs")
        found = measured(folder, times)
    unit = found["typer and rich"]
    print(f"{'command':<16}{'seconds':>9}{'ratio':>8}{'goal':>7}")
    for name, seconds in found.items():
        print(f"{name:<16}{seconds:9.2f}{seconds / unit:8.1f}{GOALS.get(name, ''):>7}")


if __name__ == "__main__":
    main()
