"""What a flow's packets are on each channel that detectors see, as a few numbers a flow; how far one of them separates
attacks from benign flows, and how far apart the benign flows of two networks lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datasets_registry.audits.view import AuditView, Ids
from janus_bench.columns import BIT_OF, FLOW_FEATURES

OF_FEATURES = {
    "sizes": ("size_mean", "size_std", "size_min", "size_max"),
    "timing": ("log_duration", "iat_mean", "iat_std", "iat_min", "iat_max"),
}
FLAGS = ("syn", "fin", "rst", "psh", "ack")
CHANNELS = (*OF_FEATURES, "flags", "window")
MOST_FLOWS = 20_000
"""Benign flows of a network that are drawn at most: two such samples of one distribution are .014 apart at P95."""


@dataclass(frozen=True, eq=False)
class Channel:
    """A channel of N flows: values (N, k), and what each of the k columns is called."""

    names: tuple[str, ...]
    values: NDArray[np.float64]


def channels(view: AuditView) -> dict[str, Channel]:
    """Channel → its numbers: features of packet sizes and gaps, the share of a flow's packets that have each TCP flag,
    and mean, smallest and largest TCP window.  Flags and windows of other protocols are 0."""
    found = {
        name: Channel(features, view.features[:, [FLOW_FEATURES.index(feature) for feature in features]])
        for name, features in OF_FEATURES.items()
    }
    begins = view.offsets[:-1]
    shares = [np.add.reduceat((view.bits >> BIT_OF[flag]) & 1, begins, dtype=np.int64) / view.stored for flag in FLAGS]
    found["flags"] = Channel(tuple(f"{flag}_share" for flag in FLAGS), np.column_stack(shares))
    window = view.packets["win"].astype(np.float64)
    mean = np.add.reduceat(window, begins) / view.stored
    ends = [np.minimum.reduceat(window, begins), np.maximum.reduceat(window, begins)]
    found["window"] = Channel(("win_mean", "win_min", "win_max"), np.column_stack([mean, *ends]))
    return found


def apart(one: Channel, other: Channel) -> tuple[float | None, str]:
    """The largest two-sample Kolmogorov–Smirnov statistic of a channel's numbers, and which number has it; None and
    nothing where one of them has no flows.

    0: the same distribution; 1: there is a threshold that every flow of one network is below and of the other above.
    """
    from scipy.stats import ks_2samp

    if not len(one.values) or not len(other.values):
        return None, ""
    found = [
        (float(ks_2samp(one.values[:, place], other.values[:, place], method="asymp").statistic), name)
        for place, name in enumerate(one.names)
    ]
    return max(found, key=lambda each: each[0])


@dataclass(frozen=True, eq=False)
class BenignFlows:
    """The benign flows of a network: channel → numbers, of all that were drawn, and of the two halves ``train`` and
    ``test_benign`` of the grouped partition, which no capture is divided by."""

    every: Mapping[str, Channel]
    halves: tuple[Mapping[str, Channel], Mapping[str, Channel]]
    n: int

    @classmethod
    def of(cls, view: AuditView, parts: Mapping[str, Ids], seed: int) -> BenignFlows:
        rng, whole, benign = np.random.default_rng([seed, 5]), channels(view), np.flatnonzero(~view.attack)

        def drawn(ids: Ids) -> dict[str, Channel]:
            chosen = rng.permutation(ids)[:MOST_FLOWS]
            return {name: Channel(each.names, each.values[chosen]) for name, each in whole.items()}

        return cls(drawn(benign), (drawn(parts["train"]), drawn(parts["test_benign"])), len(benign))


def distances(networks: Mapping[str, BenignFlows]) -> dict[str, object]:
    """Benign against benign: for every channel a symmetric matrix over the networks.

    The document has ``statistic``, ``datasets``, ``flows`` (benign ones of each), ``values`` (channel → rows of
    numbers) and ``by`` (channel → rows of names: the number of a flow that differs most).  The diagonal is a network
    against itself: training against test flows of the grouped partition, which are of different captures.
    """
    names = list(networks)
    values: dict[str, list[list[float | None]]] = {}
    by: dict[str, list[list[str]]] = {}
    for channel in CHANNELS:
        pairs: dict[tuple[str, str], tuple[float | None, str]] = {}
        for place, one in enumerate(names):
            pairs[one, one] = apart(*(half[channel] for half in networks[one].halves))
            for other in names[place + 1 :]:
                pairs[one, other] = apart(networks[one].every[channel], networks[other].every[channel])
                pairs[other, one] = pairs[one, other]
        values[channel] = [
            [None if (found := pairs[one, other][0]) is None else round(found, 6) for other in names] for one in names
        ]
        by[channel] = [[pairs[one, other][1] for other in names] for one in names]
    flows = {name: network.n for name, network in networks.items()}
    return {"statistic": STATISTIC, "datasets": names, "flows": flows, "values": values, "by": by}


STATISTIC = (
    "largest two-sample Kolmogorov–Smirnov statistic of a channel's numbers of a flow, benign flows against benign "
    "flows; a network against itself: training against test captures"
)
