"""What tests build a detector's input from: flows from a matrix of features or from packets, streams, and the context
of a fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from janus_bench.conformance import CheckResult, detector_checks, run_check
from janus_bench.contract import FitContext, FlowBatch, PacketStream

FEATURE_NAMES = (
    *("log_duration", "n_packets", "n_fwd", "n_bwd", "bytes_fwd", "bytes_bwd"),
    *("size_mean", "size_std", "size_min", "size_max", "iat_mean", "iat_std", "iat_min", "iat_max"),
    *("count_syn", "count_fin", "count_rst", "count_psh", "count_ack", "down_up_ratio"),
)
CHANNEL_NAMES = ("size", "iat", "direction", "syn", "fin", "rst", "psh", "ack", "win")


OF_PARAMETERS = frozenset(
    (
        *("capabilities", "params", "score_columns", "score_shape", "score_dtype", "score_finite", "no_mutation"),
        *("batch_invariance", "single_flow", "constant_columns", "declared_inputs", "save_load"),
    )
)
"""Checks of the contract that other parameters of a detector may break which keeps all of them by itself: the others
fit it twice and more."""


def broken_by_parameters(detector: Any, params: Any) -> list[CheckResult]:
    """Those of them that do not hold."""
    checks = dict(detector_checks(detector, params))
    results = [run_check(name, checks[name]) for name in sorted(OF_PARAMETERS)]
    assert sum(result.status == "passed" for result in results) >= 9
    return [result for result in results if result.status == "failed"]


def nothing(n: int) -> FlowBatch:
    """``n`` flows of which nothing is known."""
    return FlowBatch(np.arange(n, dtype=np.uint64))


def on_features(matrix: NDArray[Any], names: Sequence[str] = FEATURE_NAMES) -> FlowBatch:
    """Flows whose features are the columns of ``matrix`` (n, len(names))."""
    assert matrix.shape[1] == len(names)
    return FlowBatch(
        np.arange(len(matrix), dtype=np.uint64), features={name: matrix[:, i].copy() for i, name in enumerate(names)}
    )


def on_packets(lengths: Sequence[int], draw: Callable[[str, int], NDArray[Any]]) -> FlowBatch:
    """Flows of so many packets; ``draw(channel, total packets)`` gives each channel.  Their only feature is their
    number of packets."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    packets = {name: draw(name, int(offsets[-1])) for name in CHANNEL_NAMES}
    return FlowBatch(
        np.arange(len(lengths), dtype=np.uint64), offsets, packets, {"n_packets": np.asarray(lengths, dtype=np.float64)}
    )


def only(flows: FlowBatch, kind: str) -> FlowBatch:
    """The same flows with one input alone: ``features`` or ``packets``."""
    return {
        "features": FlowBatch(flows.ids, features=flows.features),
        "packets": FlowBatch(flows.ids, flows.offsets, flows.packets),
    }[kind]


def stream_of(captures: Sequence[tuple[NDArray[Any], NDArray[Any], Any]], flow: NDArray[Any]) -> PacketStream:
    """Captures (time, size, named tuple of keys) one after the other; ``flow`` (P,): the flow of each packet, −1 for
    none."""
    keys = {name: np.concatenate([getattr(each, name) for _, _, each in captures]) for name in captures[0][2]._fields}
    capture = np.repeat(np.arange(len(captures)), [len(time) for time, _, _ in captures]).astype(np.int32)
    time, size = (np.concatenate([each[i] for each in captures]) for i in (0, 1))
    return PacketStream(
        time=time, size=size.astype(np.uint32), capture=capture, flow=np.asarray(flow, np.int64), **keys
    )


def context(
    validation: FlowBatch | None = None, seed: int = 42, scratch: Path = Path("/nowhere"), **others: Any
) -> FitContext:
    """A fit on the CPU; without validation flows unless some are given, and without a folder to write into."""
    return FitContext(
        nothing(0) if validation is None else validation, seed, np.random.default_rng(seed), "cpu", scratch, **others
    )


def fitted(detector: Any, train: FlowBatch, seed: int = 42) -> Any:
    """The detector, fitted on ``train`` without validation flows."""
    detector.fit(train, context(train.take(slice(0, 0)), seed))
    return detector
