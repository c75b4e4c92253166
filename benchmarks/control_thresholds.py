"""The false-positive rate that a target-only control realises at P95 of calibration flows B, for every detector of a
results folder, and what chance allows (``tests/chance.py``: the lowest and highest rate of redrawn captures).

    janus-bench run --protocol within --detectors all --seeds 42,43 --runs RUNS
    python -m benchmarks.control_thresholds RUNS [--protocol within]

The mean over seeds, per network.  Exit code 1 if a rate is outside of what chance allows (marked !): of a hundred, one
or two are.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import polars as pl

from reports.results.model import Results, Row, Run
from tests.chance import Rate, realised


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--protocol", default="")
    asked = parser.parse_args()
    table = Results.open(asked.runs, lambda line: print(line, file=sys.stderr)).select(asked.protocol)
    names = list(table.datasets)
    print(f"| detector | {' | '.join(names)} |\n| :-- {'| --: ' * len(names)}|")
    outside = 0
    for row in table.comparable:
        if row.baseline is not None:
            found = [rate_of(row.baseline, name) for name in names]
            outside += sum(rate is not None and not rate.allowed for rate in found)
            print(f"| `{row.label}` | {' | '.join(map(_shown, found))} |", flush=True)
    return int(outside > 0)


def rate_of(control: Row, target: str) -> Rate | None:
    """None where no seed has scores."""
    runs = {run.key: run for run in control.runs if run.pair[1] == target and run.ok is not None}
    return realised([_benign(run) for run in runs.values()]) if runs else None


def _benign(run: Run) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Its scalar, as a table of scores with one column, and the truth."""
    scored, record = run.scored(), run.done()
    cal_b = run.results.scores(run.key).filter(pl.col("role") == "cal_b")["flow_id"]
    flows = (
        pl.DataFrame({"flow_id": ids, "role": [role] * len(ids), "target": run.pair[1], "score": score})
        for role, ids, score in (("cal_b", cal_b, scored.evidence.cal_b), ("test", scored.flow, scored.evidence.score))
    )
    return pl.concat(flows), run.results.truth(record.spec["target_hash"])


def _shown(rate: Rate | None) -> str:
    if rate is None:
        return "–"
    return f"{rate.found:.1%} ({rate.low:.1%}–{rate.high:.1%}){'' if rate.allowed else ' !'}"


if __name__ == "__main__":
    sys.exit(main())
