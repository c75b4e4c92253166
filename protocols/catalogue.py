"""The built-in protocols: small declarative objects."""

from __future__ import annotations

from collections.abc import Sequence

from harness.extensions import ProtocolSpec

__all__ = ["PROTOCOLS"]


def _diagonal(datasets: Sequence[str]) -> list[tuple[str, str]]:
    return [(name, name) for name in datasets]


def _all_pairs(datasets: Sequence[str]) -> list[tuple[str, str]]:
    return [(source, target) for source in datasets for target in datasets]


PROTOCOLS = (
    ProtocolSpec(
        name="within",
        summary="Train and test on the same network: source = target for every dataset.",
        cells=_diagonal,
    ),
    ProtocolSpec(
        name="cross",
        summary="Calibrated cross-domain transfer: every ordered pair of datasets, the diagonal included (N × N cells).",
        cells=_all_pairs,
        minimum=2,
    ),
)
