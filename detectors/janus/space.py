"""The space of a trained network's packets, in which distances say how unusual a packet is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from detectors.janus.config import JanusParams
from detectors.janus.detector import Janus
from detectors.janus.preprocess import CHANNELS
from janus_bench.columns import PACKET_CHANNELS
from janus_bench.contract import FitContext, FlowBatch

if TYPE_CHECKING:
    from detectors.janus.patches import PointMetric, Points

BLOCK = 4096  # Flows that are read at a time: all their packets are held as points.


@dataclass(frozen=True)
class PacketSpace:
    """A fitted ``janus``, and the metric of its packets (``patches.PointMetric``).  Shapes: P packets, M chosen ones, E
    entries of a point."""

    janus: Janus
    metric: PointMetric

    @classmethod
    def fitted(cls, benign: FlowBatch, ctx: FitContext, params: JanusParams, most: int) -> PacketSpace:
        """The network trained on ``benign``, and the metric learnt from how at most ``most`` packets of validation
        flows, which training has not seen, differ from as many of training."""
        from detectors.janus.patches import PointMetric

        janus = Janus(params)
        janus.fit(benign, ctx)
        training, validation = (_points(janus, flows, ctx.seed, most) for flows in (benign, ctx.validation))
        return cls(janus, PointMetric.fitted(training, validation, len(PACKET_CHANNELS)))

    def some(self, flows: FlowBatch, seed: int, most: int) -> Points:
        """At most ``most`` packets of ``flows``, mapped, (M, E); the same ones for the same seed and flows."""
        return self.metric(_points(self.janus, flows, seed, most))

    def each(self, flows: FlowBatch) -> Iterator[tuple[Points, NDArray[np.int64]]]:
        """All packets of ``flows``, mapped, (P, E), and how many each flow has, (b,): so many flows at a time."""
        from detectors.janus.patches import packet_points

        for start in range(0, len(flows), BLOCK):
            network, data = self.janus.read(flows.take(slice(start, start + BLOCK)))
            yield self.metric(packet_points(network, data)), data.lengths

    def nearest(self, points: Points, bank: Points) -> NDArray[np.float64]:
        """Distance of each of ``points`` (P, E) to the nearest of ``bank`` (M, E), (P,), where the network computes."""
        from detectors.janus.patches import nearest_distance

        return nearest_distance(points, bank, self.janus.network.position.device)

    def explain(self, flows: FlowBatch, bank: Points) -> list[str]:
        """For each flow, in words, its packet that is furthest from all of ``bank`` (M, E), and in which channel."""
        from detectors.janus.explain import furthest
        from detectors.janus.patches import from_nearest

        said = []
        for points, lengths in self.each(flows):
            apart = from_nearest(points, bank, self.janus.network.position.device)
            channels = self.metric.before(apart)[:, -len(CHANNELS) :]
            said += furthest(np.linalg.norm(apart, axis=1), channels, lengths)
        return said


def flow_means(values: NDArray[np.float64], lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of what is known of every packet (P,), the mean of every flow (n,); 0 for a flow without packets."""
    total = np.bincount(np.repeat(np.arange(len(lengths)), lengths), weights=values, minlength=len(lengths))
    means: NDArray[np.float64] = total / np.maximum(lengths, 1)
    return means


def _points(janus: Janus, flows: FlowBatch, seed: int, most: int) -> Points:
    """At most ``most`` packets of ``flows`` as points (M, E), not mapped; flows without one are not computed."""
    from detectors.janus.patches import packet_points

    lengths = np.minimum(flows.lengths, janus.params.T)
    ends = np.cumsum(lengths)
    total = int(lengths.sum())
    chosen = (
        np.arange(total) if total <= most else np.sort(np.random.default_rng(seed).choice(total, most, replace=False))
    )  # (M,) among all packets
    flow_of = np.searchsorted(ends, chosen, side="right")  # (M,)
    kept, place = np.unique(flow_of, return_inverse=True)
    starts = np.cumsum(lengths[kept]) - lengths[kept]
    position = chosen - (ends - lengths)[flow_of]  # (M,) of a packet in its flow
    return packet_points(*janus.read(flows.take(kept)))[starts[place] + position]
