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

from janus_bench.columns import CIC_FEATURES, FLOW_FEATURES
from janus_bench.contract import FlowBatch, PacketStream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datasets_registry.store import FlowStore

Ids = NDArray[np.int64]
STREAM_COLUMNS = tuple(PacketStream.__dataclass_fields__)

NEUTRAL_TOLERANCE = 0.005
NEUTRAL_DRAWS = 256
PREFIX = "janus-bench-"


@dataclass(frozen=True)
class StagedPart:
    """Flows of one store for one purpose; ``attack`` decides nothing but that the drawn order is neutral to it.

    stream  the captures around these flows, their ``flow`` being positions in ``flow_ids``; for detectors that declare it
    """

    store: FlowStore
    flow_ids: Ids
    attack: NDArray[np.bool_]
    stream: PacketStream | None = None

    def drawn(self, inputs: frozenset[str]) -> FlowBatch:
        batch = self.store.take(self.flow_ids, np.zeros(len(self.flow_ids), dtype=np.uint64), inputs - {"stream"})
        return replace(batch, stream=self.stream)


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
        write_batch(self.folder / "in" / name, replace(joined([part.drawn(self._inputs) for part in parts]).take(row_of), ids=ids))

    def flow_ids(self, name: str) -> Ids:
        """Flow ids of a staged batch, in its row order."""
        return self._order[name]

    def scores(self, target: str, role: str) -> NDArray[np.float64]:
        """What the child wrote for a target and role, (rows, columns)."""
        return np.load(self.folder / "out" / target / f"{role}.npy")

    def job(self, fields: Mapping[str, Any], targets: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """The order for the child: detector, params, seed, device, threads, timeout_s, max_memory, calibrate_on, and what is staged."""
        return {
            **fields,
            "folder": str(self.folder),
            "features": feature_names(self._inputs),
            "targets": {name: list(roles) for name, roles in targets.items()},
        }

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def feature_names(inputs: frozenset[str]) -> tuple[str, ...]:
    """The columns of a staged batch's features."""
    return (*(FLOW_FEATURES if "features" in inputs else ()), *(CIC_FEATURES if "cic_features" in inputs else ()))


def joined(batches: Sequence[FlowBatch]) -> FlowBatch:
    """Batches with the same inputs, one after the other."""
    first = batches[0]
    offsets = None
    if first.offsets is not None:
        lengths = np.concatenate([batch.lengths for batch in batches])
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    packets = {name: np.concatenate([batch.packets[name] for batch in batches]) for name in first.packets}
    features = {name: np.concatenate([batch.features[name] for batch in batches]) for name in first.features}
    streams = [batch.stream for batch in batches if batch.stream is not None]
    stream = _joined_streams(streams, [len(batch) for batch in batches]) if streams else None
    return FlowBatch(np.concatenate([batch.ids for batch in batches]), offsets, packets, features, stream)


def _joined_streams(streams: Sequence[PacketStream], rows: Sequence[int]) -> PacketStream:
    """Streams of batches with so many ``rows``: captures and flows of each are numbered on from the one before."""
    first_row = np.cumsum([0, *rows[:-1]])
    first_capture = np.cumsum([0, *(int(stream.capture[-1]) + 1 if len(stream) else 0 for stream in streams[:-1])])
    shifted = [
        replace(stream, capture=(stream.capture + capture).astype(np.int32), flow=np.where(stream.flow < 0, -1, stream.flow + row))
        for stream, capture, row in zip(streams, first_capture, first_row, strict=True)
    ]
    return PacketStream(**{name: np.concatenate([getattr(stream, name) for stream in shifted]) for name in STREAM_COLUMNS})


def write_batch(folder: Path, flows: FlowBatch) -> None:
    """A FlowBatch as one ``.npy`` a column: ids, offsets, ``packet_<channel>``, features (n, columns of ``feature_names``), ``stream_<column>``."""
    folder.mkdir()
    np.save(folder / "ids.npy", flows.ids)
    if flows.offsets is not None:
        np.save(folder / "offsets.npy", flows.offsets)
        for name, column in flows.packets.items():
            np.save(folder / f"packet_{name}.npy", column)
    if flows.features:
        np.save(folder / "features.npy", flows.feature_matrix())
    if flows.stream is not None:
        for name in STREAM_COLUMNS:
            np.save(folder / f"stream_{name}.npy", getattr(flows.stream, name))


def remove_stale() -> None:
    """Delete the stages of harness processes that were killed before they could."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        match = re.match(rf"{PREFIX}(\d+)-", folder.name)
        if match and not psutil.pid_exists(int(match[1])):
            shutil.rmtree(folder, ignore_errors=True)
