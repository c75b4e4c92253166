"""Kitsune and KitNET (Mirsky, Doitshman, Elovici, Shabtai, NDSS 2018): ``kitsune`` on packet streams, ``kitnet-flow``
on flow features."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from detectors.shared.inputs import TableInput
from detectors.shared.tabular import Arrays, SavedLearner, Tabular, features_only
from janus_bench.contract import Capabilities, FitContext, FlowBatch, PacketStream
from janus_bench.errors import DataError
from janus_bench.params import CheckedParams, Count, Limit, Positive, Share

_BLOCK = 1 << 15  # packets whose 100 features are in memory at once


@dataclass(frozen=True)
class _SharedParams(CheckedParams):
    """Parameters of a KitNET; the defaults are those of the public code and its example.

    largest   m, the most features of one autoencoder
    rate      step size of the gradient descent
    hidden    hidden units of an autoencoder per visible unit, in (0, 1], rounded up
    fm_grace  first training rows, from which (and, as in the public code, one more) the feature mapper learns the
              groups; the autoencoders learn from all the others
    fm_share  upper limit of ``fm_grace`` as a share of the training rows: 5 000 would be all of a small training set
    """

    largest: Count = 10
    rate: Positive = 0.1
    hidden: Share = 0.75
    fm_grace: Count = 5000
    fm_share: Annotated[float, Limit(">", 0), Limit("<", 1)] = 0.1

    def mapped(self, rows: int) -> int:
        """Of so many training rows, how many the feature mapper takes; DataError where nothing is left for the
        autoencoders."""
        taken = min(self.fm_grace, int(self.fm_share * rows)) + 1
        if taken >= rows:
            raise DataError(
                f"{self.name}: {rows} training rows; at least two are needed, one for the feature mapper and "
                "one for the autoencoders"
            )
        return taken


@dataclass(frozen=True)
class KitNETParams(_SharedParams):
    """Parameters of ``kitnet-flow``: those of a KitNET whose rows are flows, and

    input  ``features``: the 20 flow features; ``context``: those of its neighbours; ``features+context``: both
    """

    name: ClassVar[str] = "kitnet-flow"

    input: TableInput = "features"


@dataclass(frozen=True)
class KitsuneParams(_SharedParams):
    """Parameters of ``kitsune``: those of a KitNET whose rows are packets, and

    reduction  ``max`` or ``mean``: a flow's score from those of its packets
    """

    name: ClassVar[str] = "kitsune"

    reduction: Literal["max", "mean"] = "max"


class _Ensemble(SavedLearner):
    """What is learned is a KitNET."""

    def _new(self) -> Any:
        from detectors.kitsune.kitnet import KitNET

        return KitNET(self.params.largest, self.params.rate, self.params.hidden)

    def _arrays(self) -> Arrays:
        return self._model.arrays()

    def _restore(self, arrays: Arrays) -> None:
        self._model = self._new()
        self._model.from_arrays(arrays)


class KitNETFlow(_Ensemble, Tabular):
    """Score = RMSE of KitNET's output autoencoder on the 20 flow features, (n,) float64 ≥ 0.

    It learns from the training flows once, in the order of the batch: the groups of features from the first, the
    autoencoders from the others. ``adapted``: flow features instead of AfterImage's packet statistics.
    """

    Params = KitNETParams
    capabilities = features_only(
        "KitNET (Mirsky et al., NDSS 2018; KitNET-py) on flow features", "adapted", groups={"reconstruction"}
    )
    block = 0  # KitNET works in blocks of its own

    def _learn(self, rows: NDArray[np.float64], ctx: FitContext) -> Any:
        mapped, kitnet = self.params.mapped(len(rows)), self._new()
        kitnet.learn_groups(rows[:mapped])
        kitnet.train(rows[mapped:])
        return kitnet

    def _score(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._model.score(rows)


class Kitsune(_Ensemble):
    """Score of a flow = largest (or mean) RMSE of KitNET over its packets, each seen in the stream of its capture, (n,)
    float64 ≥ 0.

    The statistics start anew with every capture.  ``fit`` learns from every packet of the training captures that it is
    given, whether it belongs to a training flow or to none; ``score`` replays whole captures and keeps the packets of
    the flows that are asked for.  Features are scaled by their range in training, unclipped, so that scores can be very
    large.  A flow without packets in the stream scores 0, as a perfect reconstruction does.
    """

    Params = KitsuneParams
    capabilities: ClassVar[Capabilities] = Capabilities(
        inputs=frozenset({"stream"}),
        provenance="faithful",
        source="Mirsky et al., NDSS 2018; Kitsune-py (100 features, per-unit biases)",
        groups=frozenset({"stream", "reconstruction"}),
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
        self._model = kitnet

    def score(self, flows: FlowBatch) -> NDArray[np.float64]:
        """RMSE of each flow's packets, reduced to one, (n,)."""
        kitnet, stream = self._learned("score"), flows.packet_stream()
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
    """Blocks of packets: (number of the first, their features (B, 100)); the statistics start anew with every
    capture."""
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
