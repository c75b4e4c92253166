"""How ``janus-plus`` was chosen: its candidates, compared without one attack flow of any real network
(``docs/janus-plus.md``).

    python -m benchmarks.janus_plus [--seeds 101,102] [--datasets a,b,…]

planted on real   the named added datasets, of which benign flows only are read: a target's benign test flows against
                  attacks of the synthetic suite and corruptions of its own benign test flows
synthetic suite   its own benign flows against its own attacks

Seeds are others than those that results are reported on.  Each source is fitted once, by ``janus-plus`` at Janus's
``quick`` size, and serves all candidates; each ordered pair is a cell, and each target's control divides its cal A, as
``protocols.roles`` says.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from datasets_registry.capture.features import flow_features
from datasets_registry.registry import OpenDataset, added, load_datasets, synthetic_suite
from detectors.janus import JanusPlus, JanusPlusParams
from detectors.janus.patches import PointMetric, Points, nearest_distance, packet_points
from janus_bench.columns import BIT_OF, FLOW_FEATURES, PACKET_CHANNELS
from janus_bench.contract import FitContext, FlowBatch, concatenated
from janus_bench.ragged import starts_of
from protocols.aggregators import fit_aggregator
from protocols.metrics import MIN_FAMILY, auroc, tpr_at_fpr
from protocols.splits import Draw, baseline_parts

REAL, SYNTHETIC = "planted on real", "synthetic suite"
WORLDS, REGIMES = (REAL, SYNTHETIC), ("cross", "within", "control")
PER_FAMILY = 30  # attacks of each family and dataset of the synthetic suite that are planted
CORRUPTED = 300  # benign test flows of a real target that are corrupted, at most
FEATURE_FLOOR = 0.1  # a feature's standard deviation counts as at least this, or a constant one would decide alone
EQUAL = 0.005  # AUROCs so close count as equal
ONE_IN = 100  # benign flows, a false alert
CPU = torch.device("cpu")

Scores = NDArray[np.float64]
Families = Sequence[tuple[str, FlowBatch]]


def take(dataset: OpenDataset, flow_ids: NDArray[np.int64]) -> FlowBatch:
    """Packets and features of these flows; only here are flows read.  An attack outside the synthetic suite is an
    error: none may be looked at."""
    if dataset.index.attack[flow_ids].any() and dataset.store.name not in synthetic_suite():
        raise ValueError(
            f"{dataset.store.name}: {int(dataset.index.attack[flow_ids].sum())} attack flows of a real network "
            "were asked for"
        )
    return dataset.store.take(flow_ids, np.zeros(len(flow_ids), dtype=np.uint64), frozenset({"packets", "features"}))


def places(flows: FlowBatch) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of every packet (P,) its flow, and its position in it."""
    flow_of = np.repeat(np.arange(len(flows)), flows.lengths)
    return flow_of, np.arange(len(flow_of)) - starts_of(flows.lengths)[flow_of]


def edited(flows: FlowBatch, rows: NDArray[np.int64] | None = None, **channels: NDArray[Any]) -> FlowBatch:
    """``flows`` with other ``channels`` (P,) and then with the packets ``rows`` (p,) only, flow by flow; the features
    are computed anew.

    Flows that are left without packets vanish.  What is no longer before a flow's first packet has no inter-arrival
    time.
    """
    flow_of = places(flows)[0]
    rows = np.arange(len(flow_of)) if rows is None else rows
    lengths = np.bincount(flow_of[rows], minlength=len(flows))
    offsets = starts_of(lengths[lengths > 0])
    packets = {
        name: channels.get(name, flows.packet(name))[rows].astype(flows.packet(name).dtype) for name in PACKET_CHANNELS
    }
    packets["iat"][offsets[:-1]] = 0
    bits = np.bitwise_or.reduce([packets[name] << bit for name, bit in BIT_OF.items()])
    features = flow_features(offsets, packets["size"], packets["iat"], bits)
    named = {name: np.ascontiguousarray(column) for name, column in zip(FLOW_FEATURES, features.T, strict=True)}
    return FlowBatch(np.zeros(len(offsets) - 1, dtype=np.uint64), offsets, packets, named)


def corruptions(flows: FlowBatch, rng: np.random.Generator) -> Iterator[tuple[str, FlowBatch]]:
    """Benign ``flows`` made unlike themselves, one way at a time, where a flow has what the corruption changes."""
    for kept in (1, 2, 3):
        longer = flows.take(flows.lengths > kept)
        yield f"first {kept}", edited(longer, np.flatnonzero(places(longer)[1] < kept))
    answered = flows.take(np.bincount(places(flows)[0], weights=flows.packet("direction"), minlength=len(flows)) > 0)
    backward = answered.packet("direction")
    yield "requests only", edited(answered, np.flatnonzero(backward == 0))
    yield "answers only", edited(answered, np.flatnonzero(backward == 1), direction=np.zeros_like(backward))

    flows = flows.take(flows.lengths >= 4)
    flow_of, position = places(flows)
    size, iat, direction, rst, window = (flows.packet(name) for name in ("size", "iat", "direction", "rst", "win"))
    yield "faster", edited(flows, iat=iat * 0.01)
    yield "slower", edited(flows, iat=iat * 30)
    yield "shuffled", edited(flows, np.lexsort((rng.random(len(flow_of)), flow_of)))
    exchanged = size.copy()
    for way in (0, 1):
        exchanged[direction == way] = rng.permutation(size[direction == way])
    yield "sizes of other flows", edited(flows, size=exchanged)
    yield "scaled sizes", edited(flows, size=np.clip(size * rng.choice([0.6, 1.6], len(flows))[flow_of], 20, 1500))
    yield "directions exchanged", edited(flows, direction=np.where(position == 0, 0, 1 - direction))
    times = rng.integers(8, 40, len(flows))
    repeated = edited(flows, np.repeat(flows.offsets[:-1], times) if flows.offsets is not None else None)
    yield "first packet repeated", edited(repeated, iat=rng.lognormal(7, 1, len(repeated.packet("iat"))))
    half = (flows.lengths // 2)[flow_of]
    last = position == half - 1
    tcp = np.bincount(flow_of, weights=flows.packet("ack"), minlength=len(flows))[flow_of] > 0
    yield (
        "reset half-way",
        edited(
            flows, np.flatnonzero((position < half) & tcp), rst=np.where(last, 1, rst), size=np.where(last, 40, size)
        ),
    )
    others = rng.choice([512, 1024, 65_535], len(flows))[flow_of]
    yield "another window", edited(flows, np.flatnonzero(tcp), win=np.where(window > 0, others, 0))


@dataclass(frozen=True)
class TestSet:
    """Benign flows, and then flows that are to be found, of so many families; ``family`` is "" for the benign ones."""

    flows: FlowBatch
    family: NDArray[np.str_]

    @classmethod
    def of(cls, benign: FlowBatch, families: Families) -> TestSet:
        names = [("", benign), *families]
        return cls(
            concatenated([flows for _, flows in names]),
            np.repeat([name for name, _ in names], [len(flows) for _, flows in names]),
        )

    def quality(self, scores: Scores) -> Scores:
        """(2,): AUROC and TPR at 1 % FPR, means over the families of at least ``MIN_FAMILY`` flows, each against all
        benign ones."""
        names, counts = np.unique(self.family[self.family != ""], return_counts=True)
        found = []
        for name in names[counts >= MIN_FAMILY]:
            chosen = np.isin(self.family, ["", name])
            of_two = scores[chosen], self.family[chosen] == name
            found.append((auroc(*of_two), tpr_at_fpr(*of_two, ONE_IN)))
        # nan, not a number that looks like one, with fewer than ONE_IN benign flows
        return np.array(found, dtype=np.float64).mean(axis=0)


def attacks_of(name: str, dataset: OpenDataset, draw: Draw) -> Families:
    """Test attacks of a dataset of the synthetic suite, by family."""
    attacks = dataset.partition(draw).parts["test_attack"]
    family = dataset.index.family[attacks]
    return [(f"{name}: {one}", take(dataset, attacks[family == one])) for one in np.unique(family)]


def planted(dataset: OpenDataset, draw: Draw, attacks: Families) -> TestSet:
    """A real target's benign test flows against attacks from elsewhere and corruptions of themselves."""
    rng = np.random.default_rng([draw.seed, dataset.index.salt])
    benign = take(dataset, dataset.partition(draw).parts["test_benign"])

    def some(flows: FlowBatch, most: int) -> FlowBatch:
        return flows.take(np.sort(rng.choice(len(flows), min(most, len(flows)), replace=False)))

    families = [(name, some(flows, PER_FAMILY)) for name, flows in attacks]
    return TestSet.of(benign, [*families, *corruptions(some(benign, CORRUPTED), rng)])


@dataclass(frozen=True, eq=False)
class Seen:
    """Flows as a source's network sees them: ``points`` (P, E) of their packets, and Janus's score columns by name,
    each (n,)."""

    flows: FlowBatch
    points: Points
    columns: Mapping[str, Scores]

    def take(self, chosen: NDArray[np.bool_]) -> Seen:
        """The flows of a mask (n,)."""
        kept = np.repeat(chosen, self.flows.lengths)
        return Seen(
            self.flows.take(chosen), self.points[kept], {name: values[chosen] for name, values in self.columns.items()}
        )

    def mean(self, distance: Scores) -> Scores:
        """Of what is known of every packet (P,), the mean of every flow, (n,)."""
        return np.bincount(places(self.flows)[0], weights=distance, minlength=len(self.flows)) / self.flows.lengths


@dataclass(frozen=True, eq=False)
class Source:
    """A fitted ``janus-plus``, the metric that it learnt, and the packets that it remembers until it is calibrated: the
    source's, mapped."""

    plus: JanusPlus
    metric: PointMetric
    training: Points
    seed: int

    @classmethod
    def fitted(cls, training: FlowBatch, validation: FlowBatch, seed: int) -> Source:
        plus = JanusPlus(JanusPlusParams(**JanusPlus.profiles["quick"]))
        with tempfile.TemporaryDirectory() as scratch:
            plus.fit(training, FitContext(validation, seed, np.random.default_rng(seed), "cpu", Path(scratch)))
        known = plus._need_fit()
        return cls(plus, known.space.metric, known.bank, seed)

    def see(self, flows: FlowBatch) -> Seen:
        janus = self.plus._need_fit().space.janus
        return Seen(flows, packet_points(*janus.read(flows)), janus.score(flows))

    def bank(self, known: Seen) -> Points:
        """At most as many packets as ``janus-plus`` remembers."""
        size, most = len(known.points), self.plus.params.bank
        return known.points[np.sort(np.random.default_rng(self.seed).choice(size, min(size, most), replace=False))]


Candidate = Callable[[Source, Seen, Seen], Scores]
"""Source, calibration flows of the target (``known``) and test flows (``tested``, n) → (n,), higher = more
anomalous."""


def aggregated(request: str) -> Candidate:
    """One of the harness's aggregators, over Janus's score columns."""

    def scores(_source: Source, known: Seen, tested: Seen) -> Scores:
        before, after = (np.column_stack(list(seen.columns.values())) for seen in (known, tested))
        return fit_aggregator(request, before, tuple(known.columns))(after)

    return scores


def by_features(_source: Source, known: Seen, tested: Seen) -> Scores:
    """Without any network: the distance to the nearest calibration flow."""
    rows, others = (flows.flows.feature_matrix(FLOW_FEATURES) for flows in (known, tested))
    mean, scale = rows.mean(axis=0), np.maximum(rows.std(axis=0), FEATURE_FLOOR)
    bank, points = (((values - mean) / scale).astype(np.float32) for values in (rows, others))
    return nearest_distance(points, bank, CPU)


def plain(channels: int) -> Candidate:
    """As ``janus-plus``, but all directions count alike; of the nine channels beside a packet's state, the first
    ``channels``."""

    def scores(source: Source, known: Seen, tested: Seen) -> Scores:
        entries = source.metric.mean.shape[0] - len(PACKET_CHANNELS) + channels
        metric = PointMetric(
            source.metric.mean[:entries], source.metric.scale[:entries], np.eye(entries, dtype=np.float32)
        )
        return tested.mean(
            nearest_distance(metric(tested.points[:, :entries]), metric(source.bank(known)[:, :entries]), CPU)
        )

    return scores


@lru_cache(maxsize=1)  # the product asks for the same once more
def janus_plus(source: Source, known: Seen, tested: Seen) -> Scores:
    """The detector as it is shipped."""
    source.plus.calibrate(known.flows)
    return source.plus.score(tested.flows)


def two_banks(source: Source, known: Seen, tested: Seen) -> Scores:
    """The source's packets stay remembered beside the target's."""
    both = np.concatenate([source.metric(source.bank(known)), source.training])
    return tested.mean(nearest_distance(source.metric(tested.points), both, CPU))


def product(*factors: Candidate) -> Candidate:
    """Sum of log(distance + ε), for which no common unit is needed.  ε keeps distances near 0 from deciding: the lower
    quartile of those of half of the calibration flows from the other half."""

    def scores(source: Source, known: Seen, tested: Seen) -> Scores:
        half = np.random.default_rng(source.seed).permutation(len(known.flows)) % 2 == 0
        total = np.zeros(len(tested.flows))
        for factor in factors:
            distance = factor(source, known, tested)
            total += np.log(
                distance + max(float(np.quantile(factor(source, known.take(half), known.take(~half)), 0.25)), 1e-3)
            )
        return total

    return scores


SIXTEEN = aggregated("knn[columns=terminal_*+disc_nll_*+kinetic_*+velocity_*]")
JANUS_PLUS = "janus-plus"
CANDIDATES: Mapping[str, Candidate] = {
    "oas over ten": aggregated("oas[columns=terminal_*+disc_nll_*]"),
    "1-NN over sixteen log scores": SIXTEEN,
    "1-NN over flow features": by_features,
    "packets, hidden state only, plain metric": plain(0),
    "packets, hidden state and channels, plain metric": plain(len(PACKET_CHANNELS)),
    "janus-plus, bank of source and target": two_banks,
    JANUS_PLUS: janus_plus,
    "janus-plus × 1-NN over sixteen": product(janus_plus, SIXTEEN),
}


Cells = defaultdict[tuple[str, str, str], list[Scores]]
"""By candidate, world and regime."""


def evaluate(
    cells: Cells, world: str, datasets: Mapping[str, OpenDataset], tests: Mapping[str, TestSet], draw: Draw
) -> None:
    """Add every ordered pair of the datasets of ``tests``, and the control of each."""

    def add(source: Source, regime: str, target: str, calibration: NDArray[np.int64]) -> None:
        known = source.see(take(datasets[target], calibration))
        tested = source.see(tests[target].flows)
        for name, score in CANDIDATES.items():
            cells[name, world, regime].append(tests[target].quality(score(source, known, tested)))

    for name in tests:
        begun = time.monotonic()
        dataset, parts = datasets[name], datasets[name].partition(draw).parts
        source = Source.fitted(take(dataset, parts["train"]), take(dataset, parts["val"]), draw.seed)
        for target in tests:
            add(
                source, "within" if target == name else "cross", target, datasets[target].partition(draw).parts["cal_a"]
            )
        own = baseline_parts(dataset.index, parts["cal_a"], draw.seed)
        add(
            Source.fitted(take(dataset, own["train"]), take(dataset, own["val"]), draw.seed),
            "control",
            name,
            own["cal_a"],
        )
        print(
            f"seed {draw.seed}, {world}: {name} done in {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True
        )


def choice(means: Mapping[tuple[str, str, str], Scores]) -> str:
    """What the rule of ``docs/janus-plus.md`` picks, in one line: (mean AUROC / mean TPR) of those that count as equal,
    and of those left out."""
    four = {
        name: np.mean([means[name, world, regime] for world in WORLDS for regime in ("cross", "within")], axis=0)
        for name in CANDIDATES
    }
    fair = [
        name
        for name in CANDIDATES
        if all(means[name, world, "cross"][0] > means[name, world, "control"][0] for world in WORLDS)
    ]
    equal = [name for name in fair if four[name][0] >= max(four[other][0] for other in fair) - EQUAL]
    best = max(equal, key=lambda name: four[name][1], default="none of them")

    def listed(names: Sequence[str]) -> str:
        return "; ".join(f"{name} ({four[name][0]:.4f} / {four[name][1]:.4f})" for name in names) or "none"

    left_out = [name for name in CANDIDATES if name not in fair]
    return (
        f"The rule picks: {best}.  Equal: {listed(equal)}.  Left out, not above their own control on both: "
        f"{listed(left_out)}."
    )


def show(cells: Cells) -> None:
    """The table and the choice."""
    means, wide = {key: np.mean(values, axis=0) for key, values in cells.items()}, max(map(len, CANDIDATES))
    columns = [(world, regime) for world in WORLDS for regime in REGIMES]
    print("AUROC / TPR at 1 % FPR: means over families, then over (so many) cells")
    print(f"{'':{wide}}", *(f"{world:43}" for world in WORLDS), sep="  ")
    print(
        f"{'':{wide}}",
        *(f"{f'{regime} ({len(cells[JANUS_PLUS, world, regime])})':13}" for world, regime in columns),
        sep="  ",
    )
    for name in CANDIDATES:
        print(
            f"{name:{wide}}",
            *("{:.3f} / {:.3f}".format(*means[name, world, regime]) for world, regime in columns),
            sep="  ",
        )
    print(choice(means))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="101,102", help="of partitions and fits (default: %(default)s)")
    parser.add_argument(
        "--datasets", help="added datasets of real networks, two or more (default: all that were added)"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    suite = synthetic_suite()
    real = options.datasets.split(",") if options.datasets else [name for name in added() if name not in suite]
    if len(real) < 2 or set(real) & set(suite):
        parser.error("--datasets: two or more added datasets, none of the synthetic suite, which is always evaluated")
    datasets = load_datasets([*suite, *real], lambda *_: None)
    cells: Cells = defaultdict(list)
    for seed in map(int, options.seeds.split(",")):
        draw = Draw(seed, "grouped", "quick")
        attacks = {name: attacks_of(name, datasets[name], draw) for name in suite}
        everywhere = [family for families in attacks.values() for family in families]
        evaluate(cells, REAL, datasets, {name: planted(datasets[name], draw, everywhere) for name in real}, draw)
        benign = {name: take(datasets[name], datasets[name].partition(draw).parts["test_benign"]) for name in suite}
        evaluate(cells, SYNTHETIC, datasets, {name: TestSet.of(benign[name], attacks[name]) for name in suite}, draw)
    show(cells)


if __name__ == "__main__":
    main()
