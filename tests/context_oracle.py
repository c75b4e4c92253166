"""The context of flows by its definition (``docs/context.md``): for every flow a look at all earlier ones of its
capture, in plain Python."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Flow:
    """``answered``: when the responder's first packet came, or None."""

    src: str
    dst: str
    dport: int
    proto: int
    start: float
    answered: float | None


KEYS: dict[str, Callable[[Flow], Any]] = {
    "src": lambda flow: flow.src,
    "dst": lambda flow: flow.dst,
    "pair": lambda flow: (flow.src, flow.dst),
    "src_service": lambda flow: (flow.src, flow.dport, flow.proto),
    "dst_service": lambda flow: (flow.dst, flow.dport, flow.proto),
}
VALUES: dict[str, tuple[str, Callable[[Flow], Any]]] = {
    "src_dsts": ("src", lambda flow: flow.dst),
    "src_services": ("src", lambda flow: (flow.dport, flow.proto)),
    "dst_srcs": ("dst", lambda flow: flow.src),
    "pair_services": ("pair", lambda flow: (flow.dport, flow.proto)),
}
HOUR = math.log1p(3_600_000)
FORGOTTEN = 3 * 3600


def since_silence(same: Sequence[Flow], now: float) -> list[Flow]:
    """Of one key's earlier flows those since it was last silent for more than three hours."""
    kept: list[Flow] = []
    for other in reversed(same):
        if now - other.start > FORGOTTEN:
            break
        kept, now = [other, *kept], other.start
    return kept


def context(flows: Sequence[Flow]) -> list[dict[str, float]]:
    """A dictionary of features a flow; ``flows`` of one capture, by start, equal times in the order of the file."""
    found = []
    for i, flow in enumerate(flows):
        row: dict[str, float] = {}
        for name, key in KEYS.items():
            same = since_silence([other for other in flows[:i] if key(other) == key(flow)], flow.start)
            for life in (1, 10, 100, 1000):
                row[f"{name}_count_{life}s"] = math.log1p(
                    1 + sum(2 ** (-(flow.start - other.start) / life) for other in same)
                )
            row[f"{name}_gap"] = math.log1p(1000 * min(flow.start - same[-1].start, 3600)) if same else HOUR
            for life in (10, 100) if name in ("src", "dst", "pair") else ():
                weights = [(2 ** (-(flow.start - other.start) / life), other) for other in same]
                waiting = sum(
                    weight for weight, other in weights if other.answered is None or other.answered > flow.start
                )
                row[f"{name}_unanswered_{life}s"] = waiting / (1 + sum(weight for weight, _ in weights))
        for name, (key_name, value) in VALUES.items():
            key = KEYS[key_name]
            same = [other for other in flows[:i] if key(other) == key(flow)][-256:]
            for window in (10, 300):
                near = {value(other) for other in same if flow.start - other.start <= window} | {value(flow)}
                row[f"{name}_{window}s"] = math.log1p(len(near))
        both = [
            other
            for other in flows[: i + 1]
            if (KEYS["pair"](other), KEYS["dst_service"](other)) == (KEYS["pair"](flow), KEYS["dst_service"](flow))
        ]
        both = [*since_silence(both[:-1], flow.start), flow]
        gaps = [
            math.log1p(1000 * min(later.start - earlier.start, 3600)) for earlier, later in itertools.pairwise(both)
        ]
        mean, deviation = (gaps[0] if gaps else HOUR), HOUR
        for gap in gaps[1:]:
            deviation += 0.2 * (abs(gap - mean) - deviation)
            mean += 0.2 * (gap - mean)
        row["regular_gap"], row["regular_deviation"] = mean, deviation
        found.append(row)
    return found
