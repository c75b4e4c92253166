"""The packet stream around some flows of a store, as detectors that read whole captures are given it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from janus_bench.contract import PacketStream

if TYPE_CHECKING:
    from datasets_registry.store import FlowStore

__all__ = ["part_stream"]

AS_STORED = [name for name in PacketStream.__dataclass_fields__ if name not in ("time", "capture", "flow")]


def part_stream(
    store: FlowStore, flow_ids: NDArray[np.int64], attack: NDArray[np.bool_], rng: np.random.Generator, *, training: bool
) -> PacketStream:
    """The captures that the flows ``flow_ids`` (n,) are part of, ``flow`` being positions in ``flow_ids``.

    ``attack`` (flows of the store,).  At scoring a capture is there as it is.  For training only packets of these flows stay, and packets of no
    flow at all in captures without an attack.  Captures come in a drawn order and their clocks start at 0: file names and dates tell labels.
    """
    from datasets_registry.stream import open_stream

    stored, captures = open_stream(store.folder / "stream")
    row = np.full(store.n_flows + 1, -1)  # the last one for packets of no flow
    row[flow_ids] = np.arange(len(flow_ids))
    no_packets = {name: np.asarray(getattr(stored, name)[:0]) for name in ("time", "flow", *AS_STORED)}
    parts: list[dict[str, NDArray[np.generic]]] = [{**no_packets, "capture": np.zeros(0, dtype=np.int32)}]
    for name in rng.permutation(sorted(captures)):
        packets = slice(captures[name].start, captures[name].stop)
        of_store = np.asarray(stored.flow[packets])
        flow = row[of_store]
        if not (flow >= 0).any():
            continue
        kept = np.ones(len(flow), dtype=bool)
        if training:
            kept = (flow >= 0) | ((of_store < 0) & ~attack[of_store[of_store >= 0]].any())
        columns = {key: np.asarray(getattr(stored, key)[packets])[kept] for key in AS_STORED}
        time = np.asarray(stored.time[packets])
        number = np.full(int(kept.sum()), len(parts) - 1, dtype=np.int32)
        parts.append({"time": (time - time[0])[kept], **columns, "capture": number, "flow": flow[kept]})
    return PacketStream(**{name: np.concatenate([part[name] for part in parts]) for name in PacketStream.__dataclass_fields__})
