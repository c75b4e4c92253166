"""How much of what the input context tells is how captures were made: the tables of ``docs/context.md``, as markdown.

    python -m benchmarks.context_artefact RUNS [--datasets a,b,…] [--seeds 42] [--detectors 'knn[input=context],…']

Networks are those that were added (``janus-bench data add``), results go to the folder RUNS and stay there.  Printed
are, per network: the audit's measures of context; AUROC with and without ``run --overlay``; the false-positive rate of
benign test flows with and without an attack among their neighbours; and AUROC with attacks left among the neighbours of
benign flows.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from datasets_registry.audits.context import context
from datasets_registry.audits.view import AuditView
from datasets_registry.context import part_context
from datasets_registry.registry import OpenDataset, added, load_datasets, synthetic_suite
from janus_bench.params import split_requests
from janus_bench.quiet import ignore
from protocols.splits import Caps, Draw, draw_partition
from reports.results.measures import measure_of
from reports.results.model import Pair, Results, ResultTable, Row

DETECTORS = "knn[input=context],knn[input=features+context],iforest[input=features+context]"
PERCENTILE = 0.95  # Of calibration flows B, where thresholds are set.


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--datasets", default="", help="comma-separated; default: all that were added")
    parser.add_argument("--seeds", default="42")
    parser.add_argument("--detectors", default=DETECTORS)
    asked = parser.parse_args()
    names = split_requests(asked.datasets) or [name for name in added() if name not in synthetic_suite()]
    seeds = [int(seed) for seed in split_requests(asked.seeds)]
    labels = split_requests(asked.detectors)
    for protocol, *more in (("cross",), ("cross", "--overlay"), ("context-contamination",)):
        _run(asked, names, protocol, more)
    results, datasets = Results.open(asked.runs), load_datasets(names, ignore)
    plain, overlaid = results.select("cross"), results.select("cross+overlay")
    _print_audits(datasets.values(), overlaid, seeds)
    _print_overlay(plain, overlaid, labels, names)
    _print_alarms(plain, labels, datasets, seeds)
    _print_left(results.select("context-contamination"), labels, names)
    return 0


def _run(asked: argparse.Namespace, names: Sequence[str], protocol: str, more: Sequence[str]) -> None:
    given = {"--datasets": ",".join(names), "--seeds": asked.seeds, "--detectors": asked.detectors}
    options = [word for option, value in (given | {"--runs": str(asked.runs)}).items() for word in (option, value)]
    command = [sys.executable, "-c", "from harness.cli.main import main; main()", "run", "--protocol", protocol]
    done = subprocess.run([*command, *options, *more], stdout=subprocess.DEVNULL, check=False)
    if done.returncode not in (0, 1):  # 1: a cell was skipped or failed, and is a dash below
        raise SystemExit(f"run --protocol {protocol} ended with {done.returncode}")


def _table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    print(f"\n{title}\n\n| {' | '.join(head)} |\n| :-- {'| --: ' * (len(head) - 1)}|")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


def _three(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}".replace("0.", ".", 1)


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _mean(values: Iterable[float | None]) -> float | None:
    """Of those that exist; None of none."""
    found = [value for value in values if value is not None]
    return fmean(found) if found else None


def _print_audits(datasets: Iterable[OpenDataset], overlaid: ResultTable, seeds: Sequence[int]) -> None:
    def row(dataset: OpenDataset) -> list[str]:
        store = dataset.store
        uncapped = Caps(train=store.n_flows, cal_a=None, cal_b=None, test_benign=None, test_attack=None)
        parts = draw_partition(dataset.index, Draw(seeds[0], "grouped", "paper"), uncapped).parts
        answer = context(AuditView.from_store(store), store, parts, seeds[0])
        found = {measure.key.removeprefix("context."): measure.value for measure in answer.measures}
        lost = int(store.manifest["unmatched_flows"])
        changed = [
            run.ok.partition["context_changed"]
            for run in overlaid.runs
            if run.pair[1] == store.name and run.ok is not None and "context_changed" in run.ok.partition
        ]
        return [
            store.name,
            *(_three(found[name]) for name in ("alone", "thinned", "captures")),
            _share(found["capped"]),
            _share(lost / (store.n_flows + lost)),
            _share(_mean(changed)),
        ]

    head = ("network", "context alone", "a quarter left", "benign captures", "capped", "no label", "changed by overlay")
    _table("Context by itself (AUROC; shares of flows)", head, map(row, datasets))


def _auroc(row: Row, wanted: Callable[[Pair], bool]) -> float | None:
    measure = measure_of("auroc")
    return _mean(run.number(measure) for run in row.runs if wanted(run.pair))


def _print_overlay(plain: ResultTable, overlaid: ResultTable, labels: Sequence[str], names: Sequence[str]) -> None:
    def numbers(table: ResultTable, label: str, target: str) -> str:
        row = table.row(label)
        within, cross = (
            _auroc(row, wanted)
            for wanted in (lambda pair: pair == (target, target), lambda pair: pair[1] == target != pair[0])
        )
        return f"{_three(within)} / {_three(cross)}"

    rows = [
        [label, how, *(numbers(table, label, name) for name in names)]
        for label in labels
        for how, table in (("as recorded", plain), ("overlay", overlaid))
    ]
    _table("AUROC within / from the other networks", ("detector", "captures", *names), rows)


def _touched(dataset: OpenDataset, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of the benign flows ``rows`` have an attack in their look-back: one that changes their context."""
    world = np.ones(dataset.store.n_flows, np.bool_)
    with_all, without = (part_context(dataset.store, rows, each) for each in (world, ~dataset.index.attack))
    return (with_all != without).any(axis=1)


def _print_alarms(
    plain: ResultTable, labels: Sequence[str], datasets: dict[str, OpenDataset], seeds: Sequence[int]
) -> None:
    """Within each network: the false-positive rates at P95, and how many flows stand behind them."""

    def numbers(label: str, name: str) -> str:
        rates: tuple[list[float | None], list[float | None]] = ([], [])
        counts: list[int] = []
        for seed in seeds:
            run = plain.row(label).run((name, name), seed)
            if run is None or run.ok is None:
                continue
            scored = run.scored()
            benign, cal_b = ~scored.evidence.attack, scored.evidence.cal_b
            alarm = scored.evidence.score[benign] > np.quantile(cal_b, PERCENTILE, method="higher")
            touched = _touched(datasets[name], scored.flow[benign])
            counts.append(int(touched.sum()))
            for place, chosen in enumerate((~touched, touched)):
                rates[place].append(float(alarm[chosen].mean()) if chosen.any() else None)
        return f"{_share(_mean(rates[0]))} / {_share(_mean(rates[1]))} ({fmean(counts) if counts else 0:.0f})"

    _table(
        "False-positive rate at P95 of benign test flows without / with an attack in their look-back (flows with one)",
        ("detector", *datasets),
        ([label, *(numbers(label, name) for name in datasets)] for label in labels),
    )


def _tests_on(name: str, pair: Pair) -> bool:
    return pair[1] == name


def _print_left(table: ResultTable, labels: Sequence[str], names: Sequence[str]) -> None:
    rows = [
        [row.label, *(_three(_auroc(row, partial(_tests_on, name))) for name in names)]
        for row in table.rows
        if row.declared.detector in labels
    ]
    _table(f"AUROC within, protocol {table.plan.protocol}", ("detector", *names), rows)


if __name__ == "__main__":
    sys.exit(main())
