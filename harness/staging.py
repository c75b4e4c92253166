"""The folder that a child process sees: flows without labels, in an order and under ids that tell nothing."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from numpy.typing import NDArray

from harness.contract import FLOW_FEATURES, FlowBatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datasets_registry.store import FlowStore

Ids = NDArray[np.int64]

NEUTRAL_TOLERANCE = 0.005
NEUTRAL_DRAWS = 256
PREFIX = "janus-bench-"


@dataclass(frozen=True)
class StagedPart:
    """Flows of one store for one purpose; ``attack`` decides nothing but that the drawn order is neutral to it."""

    store: FlowStore
    flow_ids: Ids
    attack: NDArray[np.bool_]


def neutral_draw(draw: Any, attack: NDArray[np.bool_]) -> NDArray[Any]:
    """``draw()`` until its values order attack against benign flows like a coin: |AUROC − ½| ≤ .005, or the best of 256 draws.

    A plain shuffle of a few hundred flows favours one side by several hundredths by chance; re-randomisation (Morgan & Rubin, 2012) removes
    that, so a detector that scores by row or by id gets ½ in every cell.  Balance is all that a detector could learn from it.
    """
    best, best_distance = None, np.inf
    n_attack = int(attack.sum())
    pairs = n_attack * (len(attack) - n_attack)
    for _ in range(NEUTRAL_DRAWS if pairs else 1):
        values = draw()
        ranks = np.empty(len(values))
        ranks[np.argsort(values)] = np.arange(1, len(values) + 1)
        distance = abs((ranks[attack].sum() - n_attack * (n_attack + 1) / 2) / pairs - 0.5) if pairs else 0.0
        if distance < best_distance:
            best, best_distance = values, distance
        if distance <= NEUTRAL_TOLERANCE:
            break
    assert best is not None
    return best


class Stage:
    """A temporary folder with ``in/`` (staged batches), ``work/`` (empty, the child's working folder), ``scratch/`` and ``out/``."""

    def __init__(self, inputs: frozenset[str], rng: np.random.Generator) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        self._inputs, self._rng = inputs, rng
        self._order: dict[str, Ids] = {}
        for name in ("in", "work", "scratch", "out"):
            (self.folder / name).mkdir()

    def add(self, name: str, parts: Sequence[StagedPart]) -> None:
        """Write one batch of flows, of one store or of several; the flow id of each of its rows stays here."""
        attack = np.concatenate([part.attack for part in parts])
        place = neutral_draw(lambda: self._rng.permutation(len(attack)), attack)  # flow i goes to row place[i]
        row_of = np.argsort(place)
        ids = neutral_draw(lambda: self._rng.integers(1, 2**63, size=len(attack), dtype=np.uint64), attack[row_of])
        self._order[name] = np.concatenate([part.flow_ids for part in parts])[row_of]
        drawn = [part.store.take(part.flow_ids, np.zeros(len(part.flow_ids), dtype=np.uint64), self._inputs) for part in parts]
        write_batch(self.folder / "in" / name, replace(joined(drawn).take(row_of), ids=ids))

    def flow_ids(self, name: str) -> Ids:
        """Flow ids of a staged batch, in its row order."""
        return self._order[name]

    def scores(self, target: str, role: str) -> NDArray[np.float64]:
        """What the child wrote for a target and role, (rows, columns)."""
        return np.load(self.folder / "out" / target / f"{role}.npy")

    def job(self, fields: Mapping[str, Any], targets: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """The order for the child: detector, params, seed, device, threads, timeout_s, max_memory, calibrate_on, and what is staged."""
        features = FLOW_FEATURES if "features" in self._inputs else ()
        return {**fields, "folder": str(self.folder), "features": features, "targets": {name: list(roles) for name, roles in targets.items()}}

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def joined(batches: Sequence[FlowBatch]) -> FlowBatch:
    """Batches with the same inputs, one after the other."""
    first = batches[0]
    offsets = None
    if first.offsets is not None:
        lengths = np.concatenate([batch.lengths for batch in batches])
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    packets = {name: np.concatenate([batch.packets[name] for batch in batches]) for name in first.packets}
    features = {name: np.concatenate([batch.features[name] for batch in batches]) for name in first.features}
    return FlowBatch(np.concatenate([batch.ids for batch in batches]), offsets, packets, features)


def write_batch(folder: Path, flows: FlowBatch) -> None:
    """A FlowBatch as one ``.npy`` a column: ids, offsets, ``packet_<channel>``, features (n, 20)."""
    folder.mkdir()
    np.save(folder / "ids.npy", flows.ids)
    if flows.offsets is not None:
        np.save(folder / "offsets.npy", flows.offsets)
        for name, column in flows.packets.items():
            np.save(folder / f"packet_{name}.npy", column)
    if flows.features:
        np.save(folder / "features.npy", flows.feature_matrix(FLOW_FEATURES))


def remove_stale() -> None:
    """Delete the stages of harness processes that were killed before they could."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        match = re.match(rf"{PREFIX}(\d+)-", folder.name)
        if match and not psutil.pid_exists(int(match[1])):
            shutil.rmtree(folder, ignore_errors=True)
