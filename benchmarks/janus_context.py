"""How ``janus-context`` was chosen: its candidates, compared without one attack flow of any real network
(``docs/janus-context.md``).

    python -m benchmarks.janus_context --suite FOLDER [--seed 101] [--datasets a,b,…] [--sources a,b,…]

content   a real target's benign test flows against corruptions of them (``benchmarks.janus_plus``), in the context of
          an ordinary flow
context   against campaigns of ordinary flows planted into its benign traffic (``benchmarks.campaigns``)
suite     the synthetic suite of another seed than the built-in one, its own attacks in their own context

FOLDER is where the suite is written and extracted, once.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.campaigns import PATTERNS, Traffic, campaigns
from benchmarks.janus_plus import EQUAL, ONE_IN, corruptions, edited, places, take
from datasets_registry.context import part_context
from datasets_registry.ingest import ingest_folder
from datasets_registry.registry import OpenDataset, added, load_datasets, synthetic_suite
from datasets_registry.synthetic.suite import write_site
from detectors.janus import JanusContext, JanusContextParams
from janus_bench.columns import CONTEXT_FEATURES
from janus_bench.contract import FitContext, FlowBatch
from protocols.metrics import MIN_FAMILY, auroc, tpr_at_fpr
from protocols.roles import neighbours_of_part
from protocols.splits import Draw

SUITE_SEED = 1000
KINDS, REGIMES = ("content", "context", "suite"), ("cross", "within", "control")
PER_FAMILY, BENIGN = 60, 500
"""Planted flows of a family, at least or at most, and benign test flows that they are compared with, at most."""

Scores = NDArray[np.float64]
Candidate = Callable[[Scores, Scores], Scores]
"""−log p by packets and −log q as a whole → (n,), higher = more anomalous."""

COMBINED: Mapping[str, Candidate] = {
    "packets alone": lambda packets, _: packets,
    "as a whole alone": lambda _, whole: whole,
    "log(1/p + 1/q)": np.logaddexp,
    "sum of −log p": np.add,
    "the larger −log p": np.maximum,
}
BANKS = ("target", "target and source")
CANDIDATES = [f"{name}, {bank}" for bank in BANKS for name in COMBINED]


@dataclass(frozen=True)
class Found:
    """Benign flows, and those of one family that are to be found among them."""

    kind: str
    family: str
    benign: FlowBatch
    anomalous: FlowBatch


def with_context(flows: FlowBatch, context: NDArray[np.float32]) -> FlowBatch:
    """``flows`` (n) with the context features (n, features)."""
    named = {name: context[:, column].astype(np.float64) for column, name in enumerate(CONTEXT_FEATURES)}
    return replace(flows, features={**flows.features, **named})


def part_of(dataset: OpenDataset, draw: Draw, part: str) -> FlowBatch:
    """A part's flows as a run would stage them, packets, features and context."""
    rows = dataset.part(draw, part)
    there = neighbours_of_part(dataset.index, dataset.partition(draw), part)
    return with_context(take(dataset, rows), part_context(dataset.store, rows, there))


def of_real(dataset: OpenDataset, draw: Draw) -> Iterator[Found]:
    """Corruptions and campaigns."""
    rng = np.random.default_rng([draw.seed, dataset.index.salt])
    tested = dataset.partition(draw).parts["test_benign"]
    tested = np.sort(rng.choice(tested, min(BENIGN, len(tested)), replace=False))
    world = np.flatnonzero(~dataset.index.attack)
    traffic = Traffic.of(dataset).take(world)
    place = np.searchsorted(world, tested)
    flows, ordinary = take(dataset, tested), traffic.context()[place]
    benign = with_context(flows, ordinary)
    for name, changed in corruptions(flows, rng):
        some = changed.take(np.sort(rng.choice(len(changed), min(len(changed), PER_FAMILY), replace=False)))
        yield Found("content", name, benign, with_context(some, ordinary[rng.integers(0, len(flows), len(some))]))
    for name, pattern in PATTERNS.items():
        planted, donors = campaigns(pattern, traffic, place, PER_FAMILY, rng)
        context = traffic.beside(planted).context()
        repeated = take(dataset, world[donors])
        kept = {"whole": repeated.lengths.max(), "three": 3, "first": 1}[pattern.content]
        content = edited(repeated, np.flatnonzero(places(repeated)[1] < kept))
        yield Found("context", name, with_context(flows, context[place]), with_context(content, context[len(world) :]))


def of_suite(dataset: OpenDataset, draw: Draw) -> Iterator[Found]:
    """The suite's own attacks."""
    parts = dataset.partition(draw).parts
    everyone = np.ones(len(dataset.index.attack), np.bool_)

    def tested(rows: NDArray[np.int64]) -> FlowBatch:
        taken = dataset.store.take(rows, np.zeros(len(rows), np.uint64), frozenset({"packets", "features"}))
        return with_context(taken, part_context(dataset.store, rows, everyone))

    benign = tested(parts["test_benign"])
    families = dataset.index.family[parts["test_attack"]]
    for family in np.unique(families):
        rows = parts["test_attack"][families == family]
        if len(rows) >= MIN_FAMILY:
            yield Found("suite", str(family), benign, tested(rows))


def fitted(training: FlowBatch, validation: FlowBatch, seed: int) -> JanusContext:
    detector = JanusContext(JanusContextParams(**JanusContext.profiles["quick"]))
    with tempfile.TemporaryDirectory() as scratch:
        detector.fit(training, FitContext(validation, seed, np.random.default_rng(seed), "cpu", Path(scratch)))
    return detector


Cells = defaultdict[tuple[str, str, str], list[Scores]]
"""By candidate, kind and regime: (AUROC, TPR at 1 % FPR), means over families."""


def target_alone(detector: JanusContext) -> JanusContext:
    """The same fitted detector, which forgets the source's flows."""
    learnt, known = detector._need_fit()
    flows = replace(learnt.flows, state=learnt.flows.state[:0], tables=learnt.flows.tables[:0])
    alone = JanusContext(detector.params)
    alone._learnt, alone._known = replace(learnt, packets=learnt.packets[:0], flows=flows), known
    return alone


def evaluate(cells: Cells, detector: JanusContext, known: FlowBatch, regime: str, tests: list[Found]) -> None:
    """Add a detector's cell, with either bank."""
    for bank, each in zip(BANKS, (target_alone(detector), detector), strict=True):
        each.calibrate(known)
        add(cells, each, bank, regime, tests)


def add(cells: Cells, detector: JanusContext, bank: str, regime: str, tests: list[Found]) -> None:
    """Add one calibrated detector's cell."""
    qualities = defaultdict(list)
    seen: dict[int, tuple[Scores, Scores]] = {}
    for found in tests:
        if id(found.benign) not in seen:
            seen[id(found.benign)] = detector.surprises(found.benign)
        benign, anomalous = seen[id(found.benign)], detector.surprises(found.anomalous)
        attack = np.arange(len(found.benign) + len(found.anomalous)) >= len(found.benign)
        for name, score in COMBINED.items():
            scores = np.concatenate([score(*benign), score(*anomalous)])
            qualities[f"{name}, {bank}", found.kind].append((auroc(scores, attack), tpr_at_fpr(scores, attack, ONE_IN)))
    for (name, kind), values in qualities.items():
        cells[name, kind, regime].append(np.mean(np.array(values, dtype=np.float64), axis=0))


def choice(means: Mapping[tuple[str, str, str], Scores]) -> str:
    """What the rule of ``docs/janus-context.md`` picks."""
    six = {
        name: np.mean([means[name, kind, regime] for kind in KINDS for regime in ("cross", "within")], axis=0)
        for name in CANDIDATES
    }
    fair = [n for n in CANDIDATES if all(means[n, kind, "cross"][0] > means[n, kind, "control"][0] for kind in KINDS)]
    equal = [name for name in fair if six[name][0] >= max(six[other][0] for other in fair) - EQUAL]
    best = max(equal, key=lambda name: six[name][1], default="none of them")
    listed = "; ".join(f"{name} ({six[name][0]:.4f} / {six[name][1]:.4f})" for name in CANDIDATES)
    return f"The rule picks: {best}.  Mean of six: {listed}.  Above their control: {', '.join(fair) or 'none'}."


def suite(folder: Path, seed: int) -> list[str]:
    """Names of the suite's sites under another seed, written and added to the home ``folder`` where they are not."""
    names = []
    for site in synthetic_suite():
        name = f"{site}_{seed}"
        names.append(name)
        if name not in added():
            captures = folder / "captures" / name
            write_site(site, captures, seed)
            ingest_folder(
                captures, folder / "datasets" / name, name=name, summary=f"{site} of seed {seed}", synthetic=True
            )
    return names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", type=Path, required=True, help="where the suite of another seed is kept")
    parser.add_argument("--seed", type=int, default=101, help="of partitions and fits (default: %(default)s)")
    parser.add_argument("--datasets", help="added datasets of real networks, two or more (default: all)")
    parser.add_argument("--sources", help="those of them that are fitted (default: all)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = options.datasets.split(",") if options.datasets else [n for n in added() if n not in synthetic_suite()]
    real = load_datasets(names, lambda *_: None)
    os.environ["JANUS_BENCH_HOME"] = str(options.suite)
    of_seed = load_datasets(suite(options.suite, SUITE_SEED), lambda *_: None)
    draw = Draw(options.seed, "grouped", "quick")
    cells: Cells = defaultdict(list)
    for datasets, tests_of in ((real, of_real), (of_seed, of_suite)):
        tests = {name: list(tests_of(dataset, draw)) for name, dataset in datasets.items()}
        for name, dataset in datasets.items():
            if datasets is real and options.sources and name not in options.sources.split(","):
                continue
            begun = time.monotonic()
            detector = fitted(part_of(dataset, draw, "train"), part_of(dataset, draw, "val"), draw.seed)
            for target in datasets:
                known = part_of(datasets[target], draw, "cal_a")
                evaluate(cells, detector, known, "within" if target == name else "cross", tests[target])
            own = {part: part_of(dataset, draw, f"baseline_{part}") for part in ("train", "val", "cal_a")}
            evaluate(cells, fitted(own["train"], own["val"], draw.seed), own["cal_a"], "control", tests[name])
            print(f"{name} done in {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    means = {key: np.mean(values, axis=0) for key, values in cells.items()}
    columns = [(kind, regime) for kind in KINDS for regime in REGIMES]
    print("AUROC / TPR at 1 % FPR: means over families, then over cells")
    print(f"{'':37}", *(f"{f'{kind} {regime}':15}" for kind, regime in columns))
    for name in CANDIDATES:
        print(f"{name:37}", *(f"{'{:.3f} / {:.3f}'.format(*means[name, *column]):15}" for column in columns))
    print(choice(means))


if __name__ == "__main__":
    main()
