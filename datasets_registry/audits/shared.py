"""Flows that stand in two networks: what is trained on in one would be tested in the other."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import polars as pl

from protocols.flow_index import recorded_twice

if TYPE_CHECKING:
    from datasets_registry.store import FlowStore

FEWEST = 3
"""So many flows are no accident of clocks that were never set: captures that share as many count as one, too."""


class SharedFlows(TypedDict):
    """``flows``: of ``one`` that stand in ``other`` as well; ``share``: of the smaller of the two."""

    one: str
    other: str
    flows: int
    share: float


def shared_flows(stores: Mapping[str, FlowStore]) -> list[SharedFlows]:
    """Pairs of networks with ``FEWEST`` flows in common, that is of one 5-tuple, begun within a second.  Of flows
    without addresses or times nobody knows."""
    tables = {name: _flows(store) for name, store in stores.items()}
    found: list[SharedFlows] = []
    for one, other in combinations(stores, 2):
        both = pl.concat([tables[one], tables[other].with_columns(pl.lit("other/").add(pl.col("file")).alias("file"))])
        n = len(tables[one])
        first, second = recorded_twice(both, both)
        apart = (first < n) != (second < n)
        flows = len(np.unique(np.minimum(first, second)[apart]))
        if flows >= FEWEST:
            share = flows / min(n, len(tables[other]))
            found.append({"one": one, "other": other, "flows": flows, "share": round(share, 6)})
    return found


def _flows(store: FlowStore) -> pl.DataFrame:
    flows = store.flows(["src_ip", "src_port", "dst_ip", "dst_port", "proto", "ts_start"])
    return flows.with_columns(
        pl.col("src_ip", "dst_ip").cast(pl.String), store.labels(["file"])["file"].cast(pl.String)
    )
