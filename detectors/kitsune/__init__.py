"""Kitsune and KitNET (Mirsky, Doitshman, Elovici, Shabtai, NDSS 2018): ``kitsune`` on packet streams, ``kitnet-flow`` on flow features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from detectors.shared.checking import (
    require,
    require_choice,
    require_integer,
    require_positive,
)
from detectors.shared.inputs import feature_columns
from detectors.shared.saving import load_arrays, save_arrays
from janus_bench.contract import (
    Capabilities,
    FitContext,
    FlowBatch,
    PacketStream,
)
from janus_bench.errors import DataError, PluginError

__all__ = ["KitNETFlow", "KitNETParams", "Kitsune", "KitsuneParams"]

_BLOCK = 1 << 15  # packets whose 100 features are in memory at once


@dataclass(frozen=True)
class KitNETParams:
    """Parameters of ``kitnet-flow``, and those that both share; the defaults are those of the public code and its example.

    largest   m, the most features of one autoencoder
    rate      step size of the gradient descent
    hidden    hidden units of an autoencoder per visible unit, in (0, 1], rounded up
    fm_grace  first training rows, from which (and, as in the public code, one more) the feature mapper learns the groups; the autoencoders learn from
              all the others
    fm_share  upper limit of ``fm_grace`` as a share of the training rows: 5 000 would be all of a small training set
    """

    name: ClassVar[str] = "kitnet-flow"

    largest: int = 10
    rate: float = 0.1
    hidden: float = 0.75
    fm_grace: int = 5000
    fm_share: float = 0.1

    def __post_init__(self) -> None:
        require_integer(self.name, "largest", self.largest)
        require_integer(self.name, "fm_grace", self.fm_grace)
        require_positive(self.name, "rate", self.rate)
        for field in ("hidden", "fm_share"):
            value = getattr(self, field)
            require(isinstance(value, int | float) and 0 < value <= 1, self.name, field, "a number above 0, at most 1", value)
        require(self.fm_share < 1, self.name, "fm_share", "below 1, for the autoencoders need rows too", self.fm_share)

    def mapped(self, rows: int) -> int:
        """Of so many training rows, how many the feature mapper takes; DataError where nothing is left for the autoencoders."""
        taken = min(self.fm_grace, int(self.fm_share * rows)) + 1
        if taken >= rows:
            raise DataError(f"{self.name}: {rows} training rows; at least two are needed, one for the feature mapper and one for the autoencoders")
        return taken


@dataclass(frozen=True)
class KitsuneParams(KitNETParams):
    """Parameters of ``kitsune``: those of ``kitnet-flow``, a row being a packet, and

    reduction  ``max`` or ``mean``: a flow's score from those of its packets
    """

    name: ClassVar[str] = "kitsune"

    reduction: str = "max"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice(self.name, "reduction", self.reduction, ("max", "mean"))


class _Ensemble:
    """What both detectors do with KitNET."""

    Params: ClassVar[Any] = KitNETParams

    def __init__(self, params: Any = None) -> None:
        self.params: Any = params or self.Params()
        self._kitnet: Any = None

    def _new(self) -> Any:
        from detectors.kitsune.kitnet import KitNET

        return KitNET(self.params.largest, self.params.rate, self.params.hidden)

    def _fitted(self, what: str) -> Any:
        if self._kitnet is None:
            raise PluginError(f"{self.params.name}: {what}() before fit()")
        return self._kitnet

    def save(self, folder: Path) -> None:
        """Groups, ranges, weights and parameters in ``folder``, as ``detectors.shared.saving`` writes them."""
        save_arrays(folder, self.params.name, self.params, self._fitted("save").arrays())

    @classmethod
    def load(cls, folder: Path, params: Any = None) -> Self:
        """The detector that ``save`` wrote; DataError if the folder holds another parameter set."""
        detector = cls(params)
        arrays = load_arrays(folder, detector.params.name, detector.params)
        detector._kitnet = detector._new()
        detector._kitnet.from_arrays(arrays)
        return detector


class KitNETFlow(_Ensemble):
    """Score = RMSE of KitNET's output autoencoder on the 20 flow features, (n,) float64 ≥ 0.

    It learns from the training flows once, in the order of the batch.  ``adapted``: flow features instead of AfterImage's packet statistics.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        inputs=frozenset({"features"}), provenance="adapted", source="KitNET (Mirsky et al., NDSS 2018; KitNET-py) on flow features"
    )

    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        """Map the features on the first flows, train on the others; the validation flows are unused."""
        rows = feature_columns(benign)
        mapped = self.params.mapped(len(rows))
        kitnet = self._new()
        kitnet.learn_groups(rows[:mapped])
        kitnet.train(rows[mapped:])
        self._kitnet = kitnet

    def score(self, flows: FlowBatch) -> NDArray[np.float64]:
        """RMSE of each flow, (n,)."""
        return np.asarray(self._fitted("score").score(feature_columns(flows)))


class Kitsune(_Ensemble):
    """Score of a flow = largest (or mean) RMSE of KitNET over its packets, each seen in the stream of its capture, (n,) float64 ≥ 0.

    The statistics start anew with every capture.  ``fit`` learns from every packet of the training captures that it is given, whether it belongs to
    a training flow or to none; ``score`` replays whole captures and keeps the packets of the flows that are asked for.  Features are scaled by their
    range in training, unclipped, so that scores can be very large.  A flow without packets in the stream scores 0, as a perfect reconstruction does.
    """

    Params: ClassVar[Any] = KitsuneParams
    capabilities: ClassVar[Capabilities] = Capabilities(
        inputs=frozenset({"stream"}), provenance="faithful", source="Mirsky et al., NDSS 2018; Kitsune-py (100 features, per-unit biases)"
    )

    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        """Map the features on the first packets, train on the others; the validation flows are unused."""
        stream = benign.packet_stream()
        mapped, kitnet = self.params.mapped(len(stream)), self._new()
        first: list[NDArray[np.float64]] = []
        for start, rows in _vectors(stream):
            missing = mapped - start
            if missing > 0:
                first.append(rows[:missing])
                if missing <= len(rows):
                    kitnet.learn_groups(np.concatenate(first))
            if missing < len(rows):
                kitnet.train(rows[max(missing, 0) :])
            ctx.progress((start + len(rows)) / len(stream), f"{start + len(rows)} of {len(stream)} packets")
        self._kitnet = kitnet

    def score(self, flows: FlowBatch) -> NDArray[np.float64]:
        """RMSE of each flow's packets, reduced to one, (n,)."""
        kitnet, stream = self._fitted("score"), flows.packet_stream()
        scores, packets = np.zeros(len(flows)), np.zeros(len(flows), np.int64)
        for start, rows in _vectors(stream):
            flow = stream.flow[start : start + len(rows)]
            errors, flow = kitnet.score(rows[flow >= 0]), flow[flow >= 0]
            if self.params.reduction == "max":
                np.maximum.at(scores, flow, errors)
            else:
                np.add.at(scores, flow, errors)
                np.add.at(packets, flow, 1)
        return scores / np.maximum(packets, 1)


def _vectors(stream: PacketStream) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Blocks of packets: (number of the first, their features (B, 100)); the statistics start anew with every capture."""
    from detectors.kitsune.afterimage import AfterImage, PacketKeys

    ends = np.flatnonzero(np.diff(stream.capture, append=-1)) + 1
    start = 0
    for end in ends.tolist():
        capture = slice(start, end)
        keys = PacketKeys(*(getattr(stream, name)[capture] for name in PacketKeys._fields))
        image = AfterImage(stream.time[capture], stream.size[capture], keys)
        while start < end:
            rows = image.next(_BLOCK)
            yield start, rows
            start += len(rows)
