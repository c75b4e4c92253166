"""What labelling a group of flows comes to: which flow gets which label, and an account of the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, eq=False)
class Assignment:
    """M of a group's flows with their labels; every other flow of the group stays unlabelled, which does not make it
    benign.

    flow    (M,) int64, rising: positions in the group's table of flows
    table   M rows: attack (Boolean), label, family, source, file (String), row (Int64: position in the label file, −1
            if there is none); and, where the flows were recorded at several places, site (String)
    report  label → counts: matched, unmatched_rows (of the label file), ambiguous; a labeller may add others
    """

    flow: NDArray[np.int64]
    table: pl.DataFrame
    report: Mapping[str, Mapping[str, int]]
