"""Flows → the rows of a matrix, as the detectors that learn on plain matrices read them.  numpy only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Annotated, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from janus_bench.columns import (
    CONTINUOUS_CHANNELS,
    DISCRETE_CHANNELS,
    FEATURE_INPUTS,
    INPUT_SPELLINGS,
    MAX_PACKETS,
    PACKET_CHANNELS,
)
from janus_bench.contract import FlowBatch
from janus_bench.params import Spelled

RAW = ("cic_features", "netflow_v2")
"""Sets whose columns are bytes, µs and rates as they are: detectors read sign(x)·log1p(|x|) of them, as the other sets
have it."""


def canonical_sets(text: str) -> str:
    """Sets of features joined by ``+``, each once, in the order of ``FEATURE_INPUTS``; ValueError for another name."""
    names = [INPUT_SPELLINGS.get(name.strip(), name.strip()) for name in text.split("+")]
    if set(names) - set(FEATURE_INPUTS):
        raise ValueError(text)
    return "+".join(name for name in FEATURE_INPUTS if name in names)


def canonical_input(text: str) -> str:
    """``packets``, or ``canonical_sets``."""
    return text if text == "packets" else canonical_sets(text)


_SETS = f"one or more of {', '.join(FEATURE_INPUTS)} with + between them"
TableInput = Annotated[str, Spelled(canonical_sets, _SETS)]
Input = Annotated[str, Spelled(canonical_input, f"packets, or {_SETS}")]
"""What a detector's parameter ``input`` may be, or (``TableInput``) that of one that cannot read packets; each has its
``Reading`` in ``INPUTS``."""

N_CONTINUOUS = len(CONTINUOUS_CHANNELS)
PACKET_COLUMNS = (*CONTINUOUS_CHANNELS, *DISCRETE_CHANNELS, "present")
"""Columns of a packet in a row of the input ``packets``; ``present`` is 1 for a packet and 0 for padding, whose other
columns are 0 too."""

# A column that hardly varies among the benign training flows must not turn the smallest change into a huge one: below a
# tenth of a log unit (10 % of the quantity) differences are not magnified further.
STD_FLOOR = 0.1

_CONTINUOUS = [PACKET_CHANNELS.index(name) for name in CONTINUOUS_CHANNELS]
_DISCRETE = [PACKET_CHANNELS.index(name) for name in DISCRETE_CHANNELS]


@dataclass(frozen=True)
class ZScores:
    """Means and floored standard deviations of the benign training flows' columns: (D,) for tables of features, (3,)
    for ``packets``."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]

    @classmethod
    def fitted(cls, columns: NDArray[np.float64]) -> ZScores:
        """Moments of ``columns`` (n, D); standard deviations below ``STD_FLOOR`` are raised to it."""
        return cls(columns.mean(axis=0), np.maximum(columns.std(axis=0), STD_FLOOR))

    def __call__(self, columns: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
        """z-scores of ``columns`` (n, D), clipped to ±``limit``."""
        return np.clip((columns - self.mean) / self.std, -limit, limit)


@dataclass(frozen=True)
class Reading:
    """How one input becomes the rows of a matrix.

    raw      flows → rows as they are, (n, R) float64
    columns  flows → what ``ZScores`` are fitted on, (m, D) float64
    rows     flows, standardiser, limit of the z-scores, type → standardised rows (n, ``width``) of that type
    """

    raw: Callable[[FlowBatch], NDArray[np.float64]]
    columns: Callable[[FlowBatch], NDArray[np.float64]]
    rows: Callable[[FlowBatch, ZScores, float, DTypeLike], NDArray[Any]]
    width: int


def _table(*sets: str) -> Reading:
    """Of sets of features by name: rows are the features themselves, those of ``RAW`` sets as signed logarithms."""
    columns = [column for name in sets for column in FEATURE_INPUTS[name]]
    logs = np.array([name in RAW for name in sets for _ in FEATURE_INPUTS[name]])

    def raw(flows: FlowBatch) -> NDArray[np.float64]:
        matrix = flows.feature_matrix(columns)  # (n, D)
        if logs.any():
            matrix[:, logs] = np.sign(matrix[:, logs]) * np.log1p(np.abs(matrix[:, logs]))
        return matrix

    def rows(flows: FlowBatch, standardiser: ZScores, limit: float, dtype: DTypeLike) -> NDArray[Any]:
        return standardiser(raw(flows), limit).astype(dtype, copy=False)  # (n, D)

    return Reading(raw, raw, rows, len(columns))


def _padded_packets(flows: FlowBatch) -> NDArray[np.float64]:
    dense, _ = flows.padded()  # (n, 64, 9) float32
    return dense.reshape(len(flows), MAX_PACKETS * len(PACKET_CHANNELS)).astype(np.float64)  # (n, 576)


def _packet_columns(flows: FlowBatch) -> NDArray[np.float64]:
    """log1p of the continuous channels of every stored packet, (total packets, 3); a negative gap, from packets out of
    order, counts as none."""
    return np.column_stack(
        [np.log1p(np.maximum(flows.packet(name).astype(np.float64), 0)) for name in CONTINUOUS_CHANNELS]
    )


def _packet_rows(flows: FlowBatch, standardiser: ZScores, limit: float, dtype: DTypeLike) -> NDArray[Any]:
    dense, mask = flows.padded()  # (n, 64, 9), (n, 64)
    rows = np.zeros((*mask.shape, len(PACKET_COLUMNS)), dtype=dtype)  # (n, 64, 10)
    rows[mask, :N_CONTINUOUS] = standardiser(
        np.log1p(np.maximum(dense[mask][:, _CONTINUOUS].astype(np.float64), 0)), limit
    )
    rows[..., N_CONTINUOUS:-1] = dense[..., _DISCRETE] > 0
    rows[..., -1] = mask
    return rows.reshape(len(flows), MAX_PACKETS * len(PACKET_COLUMNS))  # (n, 640)


INPUTS: Mapping[str, Reading] = {
    **{
        "+".join(sets): _table(*sets)
        for number in range(1, len(FEATURE_INPUTS) + 1)
        for sets in combinations(FEATURE_INPUTS, number)
    },
    "packets": Reading(_padded_packets, _packet_columns, _packet_rows, MAX_PACKETS * len(PACKET_COLUMNS)),
}
