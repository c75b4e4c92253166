"""Synthetic flows that the conformance checks fit and score on: seeded, small, and like no real network.

Every call returns a copy of its own, so that a detector that writes into its flows harms no other check.
"""

from collections.abc import Callable, Mapping
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from janus_bench.columns import CIC_FEATURES, CONTEXT_FEATURES, FLOW_FEATURES, NETFLOW_V2_FEATURES, PACKET_CHANNELS
from janus_bench.contract import FlowBatch, PacketStream, concatenated
from janus_bench.ragged import positions, starts_of

MIXED_BENIGN = 300
_STATISTICS: Mapping[str, Callable[[NDArray[np.float64]], Any]] = {
    "mean": np.mean,
    "std": np.std,
    "min": np.min,
    "max": np.max,
}
_DTYPES = {"size": np.uint16, "iat": np.float32, "win": np.uint16}  # the other channels: uint8


def synthetic_benign(seed: int, n: int) -> FlowBatch:
    """Request–response flows: 1 to 12 packets of 40 to 600 bytes, milliseconds apart, alternating in direction."""
    return _benign(seed, n).take(slice(None))


def constant_flows(seed: int, n: int) -> FlowBatch:
    """Two packets in one direction without flags or window: only sizes and inter-arrival times vary."""
    return _constant(seed, n).take(slice(None))


def mixed_flows() -> FlowBatch:
    """``MIXED_BENIGN`` benign flows, then 40 outliers that differ from them in everything."""
    return concatenated([_benign(1, MIXED_BENIGN), _outliers(1, 40)])


def with_cic_features(flows: FlowBatch) -> FlowBatch:
    """The same with columns under CICFlowMeter's names: stand-ins, each one of a flow's other features without its
    logarithm."""
    raw = np.expm1(flows.feature_matrix(FLOW_FEATURES))  # (n, 20)
    named = {name: raw[:, column % len(FLOW_FEATURES)].copy() for column, name in enumerate(CIC_FEATURES)}
    return FlowBatch(flows.ids, flows.offsets, flows.packets, {**flows.features, **named})


def with_netflow(flows: FlowBatch) -> FlowBatch:
    """The same with columns under the names of the NetFlow v2 datasets: stand-ins as those of ``with_cic_features``."""
    raw = np.expm1(flows.feature_matrix(FLOW_FEATURES))  # (n, 20)
    named = {name: raw[:, column % len(FLOW_FEATURES)].copy() for column, name in enumerate(NETFLOW_V2_FEATURES)}
    return FlowBatch(flows.ids, flows.offsets, flows.packets, {**flows.features, **named})


def with_context(flows: FlowBatch) -> FlowBatch:
    """The same with a context: stand-ins, each one of a flow's other features."""
    others = flows.feature_matrix(FLOW_FEATURES)  # (n, 20)
    named = {name: others[:, column % len(FLOW_FEATURES)].copy() for column, name in enumerate(CONTEXT_FEATURES)}
    return FlowBatch(flows.ids, flows.offsets, flows.packets, {**flows.features, **named})


def with_stream(flows: FlowBatch) -> FlowBatch:
    """The same with its packets as one capture: flows of ten hosts that begin within a minute, in the order of their
    ids."""
    assert flows.offsets is not None
    flow = np.repeat(np.arange(len(flows)), flows.lengths)  # (P,)
    begin = np.argsort(np.argsort(flows.ids)) * (60.0 / max(len(flows), 1))
    since = np.cumsum(flows.packets["iat"], dtype=np.float64) / 1e6  # s since the first packet of the batch
    time = begin[flow] + since - since[flows.offsets[:-1]][flow]
    order = np.argsort(time, kind="stable")
    flow, backward = flow[order], flows.packets["direction"][order] > 0
    client, server = (flows.ids[flow] % 10).astype(np.uint64), np.full(len(flow), 99, dtype=np.uint64)
    source, destination = np.where(backward, server, client), np.where(backward, client, server)
    stream = PacketStream(
        time=time[order],
        size=flows.packets["size"][order].astype(np.uint32) + np.uint32(14),
        sender=source,
        source=source,
        destination=destination,
        channel=source * np.uint64(1000) + destination,
        source_socket=source * np.uint64(1000) + flows.ids[flow] % np.uint64(7),
        destination_socket=destination * np.uint64(1000) + flows.ids[flow] % np.uint64(7),
        capture=np.zeros(len(flow), dtype=np.int32),
        flow=flow,
    )
    return FlowBatch(flows.ids, flows.offsets, flows.packets, flows.features, stream)


@cache
def _benign(seed: int, n: int) -> FlowBatch:
    rng = np.random.default_rng([seed, 0])
    lengths = rng.integers(1, 13, size=n)
    total, position = int(lengths.sum()), _positions(lengths)
    direction = (position + (rng.random(total) < 0.1)) % 2
    return _batch(
        rng,
        lengths,
        size=rng.integers(40, 600, size=total),
        iat=rng.lognormal(8.0, 1.0, size=total),
        direction=direction,
        syn=position == 0,
        fin=rng.random(total) < 0.05,
        rst=rng.random(total) < 0.02,
        psh=rng.random(total) < 0.4,
        ack=(position > 0) & (rng.random(total) < 0.95),
        win=rng.choice([8192, 29200, 64240], size=total),
    )


@cache
def _outliers(seed: int, n: int) -> FlowBatch:
    """One-way bursts: 30 to 64 packets of 1200 to 1500 bytes, microseconds apart, FIN and RST set, no window."""
    rng = np.random.default_rng([seed, 1])
    lengths = rng.integers(30, 65, size=n)
    total = int(lengths.sum())
    return _batch(
        rng,
        lengths,
        size=rng.integers(1200, 1500, size=total),
        iat=rng.uniform(1.0, 20.0, size=total),
        syn=rng.random(total) < 0.5,
        fin=np.ones(total),
        rst=rng.random(total) < 0.9,
    )


@cache
def _constant(seed: int, n: int) -> FlowBatch:
    rng = np.random.default_rng([seed, 2])
    return _batch(rng, np.full(n, 2), size=rng.integers(60, 120, size=2 * n), iat=rng.lognormal(8.0, 1.0, size=2 * n))


def _positions(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, … within each flow, (packets,)."""
    return positions(np.zeros_like(lengths), lengths)


def _batch(rng: np.random.Generator, lengths: NDArray[np.int64], **channels: NDArray[np.generic]) -> FlowBatch:
    """Flows of these packets; a channel that is not given is 0."""
    channels["iat"] = np.where(_positions(lengths) == 0, 0.0, channels["iat"])
    offsets = starts_of(lengths)
    nothing = np.zeros(offsets[-1])
    packets = {name: channels.get(name, nothing).astype(_DTYPES.get(name, np.uint8)) for name in PACKET_CHANNELS}
    flows = pairwise(offsets.tolist())
    rows = [
        _flow_features({name: column[start:stop].astype(np.float64) for name, column in packets.items()})
        for start, stop in flows
    ]
    features = {name: np.array([row[name] for row in rows]) for name in FLOW_FEATURES}
    ids = rng.choice(2**63, size=len(lengths), replace=True).astype(np.uint64)
    return FlowBatch(ids, offsets, packets, features)


def _flow_features(flow: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
    """The features of one flow, as ``FLOW_FEATURES`` defines them."""
    size, forward = flow["size"], flow["direction"] == 0
    gaps = flow["iat"][1:] if len(size) > 1 else np.zeros(1)
    n_fwd, n_bwd = int(forward.sum()), int((~forward).sum())
    raw = {
        "log_duration": gaps.sum(),
        "n_packets": len(size),
        "n_fwd": n_fwd,
        "n_bwd": n_bwd,
        "bytes_fwd": size[forward].sum(),
        "bytes_bwd": size[~forward].sum(),
        **{f"size_{name}": statistic(size) for name, statistic in _STATISTICS.items()},
        **{f"iat_{name}": statistic(gaps) for name, statistic in _STATISTICS.items()},
        **{f"count_{flag}": flow[flag].sum() for flag in ("syn", "fin", "rst", "psh", "ack")},
    }
    return {name: float(np.log1p(value)) for name, value in raw.items()} | {"down_up_ratio": n_bwd / max(n_fwd, 1)}
