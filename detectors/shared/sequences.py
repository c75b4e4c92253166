"""What the networks on packets have in common: rows of 64 packets, scored in groups of like length."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.shared.inputs import PACKET_COLUMNS, Input
from detectors.shared.tabular import NetworkDetector
from janus_bench.contract import Capabilities
from janus_bench.params import CheckedParams

AT_ONCE = 256
"""Flows that are scored together: maps of features need 60 kB a flow."""


class SequenceParams(CheckedParams):
    """Parameters of a detector that reads packets and nothing else."""

    input: ClassVar[Input] = "packets"


def packets_only(source: str, provenance: Any = "adapted", **others: Any) -> Capabilities:
    """Of a detector that reads the packets."""
    return Capabilities(inputs=frozenset({"packets"}), provenance=provenance, source=source, **others)


class SequenceDetector(NetworkDetector):
    """A network on rows (B, 640) of packets.  Flows of like length are scored together, so that short ones can be cut
    to what they have (``encoders.as_packets``)."""

    prefix = "network."

    def _losses(self, rows: Any, generator: Any) -> Any:
        """Loss of each row (b, 640), (b,), where ``_loss`` is their mean."""
        raise NotImplementedError

    def _loss(self, rows: Any, generator: Any) -> Any:
        import torch

        from detectors.shared.encoders import by_length

        return torch.cat([self._losses(some, generator) for some in by_length(rows)]).mean()

    def _applied(self, network: Callable[[Any], Any], rows: NDArray[np.float32]) -> NDArray[np.float64]:
        lengths = rows[:, len(PACKET_COLUMNS) - 1 :: len(PACKET_COLUMNS)].sum(axis=1)  # (b,)
        order = np.argsort(lengths, kind="stable")
        results = [
            super(SequenceDetector, self)._applied(network, rows[part])
            for start, stop in pairwise((*range(0, len(rows), AT_ONCE), len(rows)))
            if len(part := order[start:stop])
        ]
        return np.concatenate(results)[np.argsort(order)]
