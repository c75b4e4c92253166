"""Known answers: flows whose anomalies are of one kind each, so that a detector's mechanism can be told from its luck.

``sequences``: packets play two roles in a fixed order; ``dependence``: features follow four hidden factors.  Both are
synthetic, and like no network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from janus_bench.columns import PACKET_CHANNELS
from janus_bench.contract import FlowBatch
from tests.factories import on_features

SHORTEST, LONGEST = 8, 20
FACTORS, COLUMNS = 4, 20


@dataclass(frozen=True)
class Planted:
    """Benign flows in three parts, and anomalies by their kind."""

    train: FlowBatch
    validation: FlowBatch
    benign: FlowBatch
    anomalies: Mapping[str, FlowBatch]

    def aurocs(self, detector: Any) -> dict[str, float]:
        """Kind of anomaly → AUROC of a fitted detector against the benign test flows."""
        usual = detector.score(self.benign)
        return {kind: separation(usual, detector.score(flows)) for kind, flows in self.anomalies.items()}


def separation(usual: NDArray[Any], anomalous: NDArray[Any]) -> float:
    """AUROC of two groups of scores."""
    return float(roc_auc_score(np.repeat([0, 1], [len(usual), len(anomalous)]), np.concatenate([usual, anomalous])))


@cache
def sequences(train: int = 1500, test: int = 300, seed: int = 0) -> Planted:
    """Flows of 8 to 20 packets: every third is large, late, forward and pushed, the others small, early and backward.

    order  the packets' size, gap, direction and PSH in another order: whatever ignores order sees no difference
    one    one packet between the first and the last takes the other role, but for its gap
    far    all packets larger by 4 log units
    """
    rng = np.random.default_rng([seed, 1])
    anomalies = [_sequences(rng, _lengths(rng, test)) for _ in range(3)]
    for columns in anomalies[0]:
        shuffled = rng.permutation(len(columns["z"]))
        for name in ("z", "gap", "role"):
            columns[name] = columns[name][shuffled]
    for columns in anomalies[1]:
        packet = rng.integers(1, len(columns["z"]) - 1)
        columns["z"][packet] *= -1
        columns["role"][packet] = ~columns["role"][packet]
    for columns in anomalies[2]:
        columns["z"] += 4
    train_, validation, benign = (_flows(_sequences(rng, _lengths(rng, n))) for n in (train, test, test))
    named = zip(("order", "one", "far"), anomalies, strict=True)
    return Planted(train_, validation, benign, {kind: _flows(flows) for kind, flows in named})


def of_length(n: int, packets: int, seed: int = 0) -> FlowBatch:
    """``n`` benign flows as those of ``sequences``, all of ``packets`` packets."""
    return _flows(_sequences(np.random.default_rng([seed, 2]), np.full(n, packets)))


@cache
def dependence(train: int = 1500, test: int = 300, seed: int = 0) -> Planted:
    """Twenty features that mix four hidden factors, with noise .1.

    dep   each column from another flow: every column by itself is as usual
    near  one column larger by 1
    far   five times the flow
    """
    rng = np.random.default_rng([seed, 3])
    mixing = rng.normal(size=(FACTORS, COLUMNS))

    def draw(n: int) -> NDArray[np.float64]:
        return rng.normal(size=(n, FACTORS)) @ mixing + 0.1 * rng.normal(size=(n, COLUMNS))

    near = draw(test)
    near[np.arange(test), rng.integers(COLUMNS, size=test)] += 1.0
    anomalies = {"dep": rng.permuted(draw(test), axis=0), "near": near, "far": 5 * draw(test)}
    parts = [on_features(draw(n)) for n in (train, test, test)]
    return Planted(*parts, {kind: on_features(rows) for kind, rows in anomalies.items()})


def _lengths(rng: np.random.Generator, n: int) -> NDArray[np.int64]:
    return rng.integers(SHORTEST, LONGEST + 1, size=n)


def _sequences(rng: np.random.Generator, lengths: NDArray[np.int64]) -> list[dict[str, NDArray[Any]]]:
    """Flow by flow: ``z``, the log size in arbitrary units, ``gap``, the log gap, and ``role``: large and forward."""
    flows = []
    for n in lengths.tolist():
        role = np.arange(n) % 3 == 0
        z = np.where(role, 1.0, -1.0) + 0.2 * rng.normal(size=n)
        gap = np.where(role, 0.8, -0.4) + 0.3 * rng.normal(size=n)
        flows.append({"z": z, "gap": gap, "role": role})
    return flows


def _flows(sequences: list[dict[str, NDArray[Any]]]) -> FlowBatch:
    """Sizes around e⁵ bytes and gaps around e⁸ µs; SYN in the first packet, ACK in the others, one window size."""
    lengths = np.array([len(columns["z"]) for columns in sequences])
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    z, gap, role = (np.concatenate([columns[name] for columns in sequences]) for name in ("z", "gap", "role"))
    first = np.zeros(offsets[-1])
    first[offsets[:-1]] = 1
    channels = {
        "size": np.expm1(5 + z),
        "iat": np.expm1(8 + gap),
        "direction": ~role,
        "syn": first,
        "psh": role,
        "ack": 1 - first,
        "win": np.full(offsets[-1], 29200.0),
    }
    packets = {name: channels.get(name, np.zeros(offsets[-1])).astype(np.float64) for name in PACKET_CHANNELS}
    return FlowBatch(np.arange(len(lengths), dtype=np.uint64), offsets, packets, {"n_packets": lengths.astype(float)})
