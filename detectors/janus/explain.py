"""The packet of a flow that JANUS's detectors found oddest, in words."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from detectors.janus.config import JanusParams
from detectors.janus.model import Network
from detectors.janus.packing import packed
from detectors.janus.preprocess import CHANNELS, Sequences
from detectors.janus.scoring import NLL_TIMES, MicroBatch, NoiseBank, bit_nlls, conditions_of
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


@torch.inference_mode()
def packet_surprise(
    network: Network, data: Sequences, bank: NoiseBank, params: JanusParams, bit_network: Network | None = None
) -> NDArray[np.float64]:
    """How little each channel of each packet was expected, in nats, in the order of ``data`` and of its channels,
    (total packets, C + D), or (total packets, C) without bit scores.

    Of a bit the mean over t of −log p, as in ``disc_nll``; of a continuous entry ½ (v_0 − c1)², its part of
    ``velocity`` as the nats of a unit Gaussian.  Not for binned continuous channels, which have no velocity.
    """
    bank = bank.to(network.position.device)
    bit_network = bit_network or network
    conditions, bit_conditions = conditions_of(network, params), conditions_of(bit_network, params)
    judged = params.widths.continuous + (params.widths.bits if params.has_bit_scores else 0)
    found = np.empty((len(data.packets), judged))
    for layout in packed(data.lengths):
        flows = MicroBatch.of(layout, data, network, params)
        state = torch.cat([flows.packets, flows.shown_in_step(0, bank, params)], dim=1)  # (P, C + D)
        _, velocity, _ = network(flows.flow, state, conditions[len(NLL_TIMES)], flows.placement)
        parts = [(velocity - flows.packets).square() / 2]
        if params.has_bit_scores:
            parts.append(bit_nlls(bit_network, bit_conditions, flows, bank, params) / len(NLL_TIMES))
        found[layout.packet_rows(data.starts)] = torch.cat(parts, dim=1).cpu().numpy()
    return found


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
