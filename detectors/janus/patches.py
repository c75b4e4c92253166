"""Packets as points: where a trained network puts them, how far apart benign ones of different captures lie, and the
nearest known one.

Memory banks of patches are PatchCore's (Roth et al., CVPR 2022), for images; whitening by what differs within a class
is the within-class covariance normalisation of speaker recognition (Hatch et al., Interspeech 2006).  Shapes: P
packets, M packets of a bank, E = d_model + 9 entries of a point.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from detectors.janus.model import Network
from detectors.janus.packing import packed
from detectors.janus.preprocess import Sequences

STD_FLOOR = 0.1  # of the mean standard deviation: entries that hardly vary are not magnified further
# of the mean variance of displacements: the most that a direction in which they never point is stretched by is 1 / √.1
RIDGE = 0.1
SHORTEST = 1e-3  # a displacement shorter than this is rounding, not a direction
QUERIES, KNOWN = 256, 4096
"""Packets whose distances to so many of the bank are held at a time: few enough for the cache, enough for the product
to be fast."""

Points = NDArray[np.float32]


@torch.inference_mode()
def packet_points(network: Network, data: Sequences) -> Points:
    """Every packet of ``data``, in its order, as (P, d_model + 9): what the heads read of it at t = 1, from clean data,
    and its nine channels."""
    device = network.position.device
    condition = network.condition(torch.ones(1, device=device))
    states = np.empty((len(data.packets), network.position.shape[1]), dtype=np.float32)
    for layout in packed(data.lengths):
        rows = layout.packet_rows(data.starts)  # (p,)
        packets = torch.from_numpy(data.packets[rows]).to(device)  # (p, 9)
        continuous = network.widths.continuous
        shown = torch.cat([packets[:, :continuous], 2.0 * packets[:, continuous:] - 1.0], dim=1)  # (p, 9)
        placement = network.place(layout)
        with network.autocast():
            # (N, d_model)
            x = network.states(torch.from_numpy(data.flow[layout.rows]).to(device), shown, condition, placement)
        states[rows] = x.index_select(0, placement.packet_slot).float().cpu().numpy()
    return np.concatenate([states, data.packets], axis=1)


@dataclass(frozen=True)
class PointMetric:
    """A linear map of points after which Euclidean distance says how unusual a difference is.

    mean, scale  (E,) float32 of the training packets; state and channels weigh the same, however many entries they have
    directions   (E, E) float32: differences that lie between benign packets of unlike captures anyway count less
    """

    mean: Points
    scale: Points
    directions: Points

    @classmethod
    def fitted(cls, training: Points, validation: Points, channels: int) -> PointMetric:
        """From packets of benign training (n, E) and validation flows (m, E) of the source, of which the last
        ``channels`` entries are channels.

        A validation packet less its nearest training packet is a displacement d.  Its direction alone counts, S = mean
        of d dᵀ / ‖d‖²; with S = U Λ Uᵀ points are mapped by U (Λ / mean Λ + .1)^−½.  Without validation packets all
        directions are alike.
        """
        entries = training.shape[1]
        deviation: NDArray[np.float64] = training.std(axis=0, dtype=np.float64)
        parts = (slice(0, entries - channels), slice(entries - channels, entries))
        scale = np.empty(entries)
        for part in parts:
            floor = max(STD_FLOOR * deviation[part].mean(), 1e-6)
            scale[part] = np.maximum(deviation[part], floor) * np.sqrt(part.stop - part.start)
        plain = cls(training.mean(axis=0), scale.astype(np.float32), np.eye(entries, dtype=np.float32))
        if not len(validation):
            return plain
        known, unseen = plain(training), plain(validation)
        # (m, E)
        moved: NDArray[np.float64] = (unseen - known[_nearest(unseen, known, torch.device("cpu"))]).astype(np.float64)
        moved = moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), SHORTEST)
        values, vectors = np.linalg.eigh(moved.T @ moved / len(moved))
        values = np.maximum(values, 0.0)
        # no displacement at all: nothing to learn from
        relative = values / values.mean() if values.any() else np.ones(entries)
        return cls(plain.mean, plain.scale, (vectors / np.sqrt(relative + RIDGE)).astype(np.float32))

    def __call__(self, points: Points) -> Points:
        """``points`` (P, E) mapped, (P, E)."""
        return np.asarray(((points - self.mean) / self.scale) @ self.directions, dtype=np.float32)

    def before(self, differences: NDArray[np.float64]) -> NDArray[np.float64]:
        """Differences of mapped points (P, E) as they were before the map, each entry by its scale, (P, E)."""
        entries = np.linalg.solve(self.directions.astype(np.float64).T, differences.T).T
        return np.asarray(entries, np.float64)


def from_nearest(points: Points, bank: Points, device: torch.device) -> NDArray[np.float64]:
    """Each of ``points`` (P, E) less the nearest of ``bank`` (M, E), (P, E).

    From the difference itself: ‖x‖² + ‖y‖² − 2⟨x, y⟩ in float32 would make a packet that is in the bank anything up to
    .01 away from it.
    """
    difference: NDArray[np.float64] = points.astype(np.float64) - bank[_nearest(points, bank, device)]
    return difference


def nearest_distance(points: Points, bank: Points, device: torch.device) -> NDArray[np.float64]:
    """Euclidean distance of each of ``points`` (P, E) to the nearest of ``bank`` (M, E), (P,)."""
    distance: NDArray[np.float64] = np.linalg.norm(from_nearest(points, bank, device), axis=1)
    return distance


def _nearest(points: Points, bank: Points, device: torch.device) -> NDArray[np.int64]:
    """Row of ``bank`` (M, E) nearest to each of ``points`` (P, E), (P,)."""
    known = torch.from_numpy(bank).to(device)
    halves = known.square().sum(dim=1) / 2  # (M,)
    found = np.empty(len(points), dtype=np.int64)
    for start in range(0, len(points), QUERIES):
        part = torch.from_numpy(points[start : start + QUERIES]).to(device)  # (q, E)
        least = torch.full((len(part),), torch.inf, device=device)
        nearest = torch.zeros(len(part), dtype=torch.int64, device=device)
        for begin in range(0, len(known), KNOWN):
            block = slice(begin, begin + KNOWN)
            # (q, m): ‖x − y‖² / 2 − ‖x‖² / 2
            half_squares = torch.addmm(halves[block], part, known[block].T, alpha=-1.0)
            value, place = half_squares.min(dim=1)
            closer = value < least  # of equal ones the first counts
            least, nearest = torch.where(closer, value, least), torch.where(closer, place + begin, nearest)
        found[start : start + QUERIES] = nearest.cpu().numpy()
    return found
