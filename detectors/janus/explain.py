"""The packet of a flow that JANUS's detectors found oddest, in words."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from detectors.janus.preprocess import CHANNELS
from janus_bench.ragged import starts_of

Floats = NDArray[np.float64]


def oddest(values: Floats, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of what is known of every packet (P,), the place of the largest in its flow, (n,); −1 for a flow without packets,
    the first of equals."""
    starts = starts_of(lengths)
    return np.array(
        [-1 if begin == end else int(values[begin:end].argmax()) for begin, end in pairwise(starts)],
        dtype=np.int64,
    )


def least_expected(nats: Floats, lengths: NDArray[np.int64]) -> list[str]:
    """For each flow its least expected packet and channel, from ``nats`` (P, channels); empty without packets."""
    channel, starts = nats.argmax(axis=1), starts_of(lengths)
    places = oddest(nats.max(axis=1), lengths)
    return [
        ""
        if place < 0
        else f"packet {place + 1} of {length}: {CHANNELS[channel[start + place]]} least expected "
        f"({nats[start + place].max():.3g} nats)"
        for place, start, length in zip(places.tolist(), starts[:-1].tolist(), lengths.tolist(), strict=True)
    ]


def furthest(distances: Floats, apart: Floats, lengths: NDArray[np.int64]) -> list[str]:
    """For each flow its packet that is furthest from every benign one, and the channel in which it differs most:
    ``distances`` (P,) to the nearest of them, ``apart`` (P, 9) from it by channel, standardised."""
    channel, starts = np.abs(apart).argmax(axis=1), starts_of(lengths)
    places = oddest(distances, lengths)
    return [
        ""
        if place < 0
        else f"packet {place + 1} of {length}: furthest from any benign packet ({distances[start + place]:.3g}, mean "
        f"of the flow {distances[start : start + length].mean():.3g}), most in {CHANNELS[channel[start + place]]}"
        for place, start, length in zip(places.tolist(), starts[:-1].tolist(), lengths.tolist(), strict=True)
    ]
