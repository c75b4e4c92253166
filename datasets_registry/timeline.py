"""When a dataset's flows were there and who took part, as numbers: what incidents are counted from.  For the harness
only, never for a detector."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from janus_bench.columns import MAX_PACKETS

if TYPE_CHECKING:
    import polars as pl

    from datasets_registry.store import FlowStore, Shard


def timeline(store: FlowStore) -> pl.DataFrame:
    """flow_id, host and peer (a number for each address, those of the initiator and of the responder), start, end and
    judged (s since the epoch; judged: the end, or the 64th packet of a flow that goes on).

    Addresses are left out: what is counted needs to know that two are the same, and a results folder is passed on.
    """
    import polars as pl

    flows = store.flows(["flow_id", "src_ip", "dst_ip", "ts_start", "ts_end", "n_packets"])
    hosts = pl.concat([flows["src_ip"], flows["dst_ip"]]).rank("dense").cast(pl.Int64) - 1
    kept = np.concatenate([_kept_seconds(shard) for shard in store.shards])
    start, end = flows["ts_start"].to_numpy(), flows["ts_end"].to_numpy()
    goes_on = flows["n_packets"].to_numpy() > MAX_PACKETS
    n = len(flows)
    columns = {
        "flow_id": flows["flow_id"],
        "host": hosts[:n],
        "peer": hosts[n:],
        "start": start,
        "end": end,
        "judged": np.where(goes_on, np.minimum(start + kept, end), end),
    }
    return pl.DataFrame(columns)


def _kept_seconds(shard: Shard) -> NDArray[np.float64]:
    """(flows,) from the first to the last stored packet of each flow of a shard."""
    offsets, packets = shard.arrays()
    total = np.zeros(int(offsets[-1]) + 1)
    np.cumsum(packets["iat"], dtype=np.float64, out=total[1:])
    # the gap of a flow's first packet is none of its own
    return 1e-6 * (total[offsets[1:]] - total[np.minimum(offsets[:-1] + 1, offsets[1:])])
