"""Whisper (Fu, Li, Shen, Xu, CCS 2021; IEEE ToN 31(1), 2023): the spectrum of what an address sends, compared with
centres of benign spectra."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.shared.tabular import SavedLearner
from janus_bench.contract import Capabilities, FitContext, FlowBatch, PacketStream
from janus_bench.errors import DataError
from janus_bench.params import CheckedParams, Count, Limit

WINDOW, HOP = 50, 12  # packets of a frame, and from one frame to the next
SIZE_WEIGHT, GAP_WEIGHT = 10.0, -15.68  # per byte, and per doubling of the gap in seconds
NO_GAP = 1e-5  # seconds, in place of a gap that is not positive

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WhisperParams(CheckedParams):
    """Parameters of ``whisper``; defaults are those of the public code, but for ``shortest``.

    centres   of benign spectra, by k-means
    drawn     random stretches of an address that the centres are learned from
    learned   frames of such a stretch (of all its frames where an address has fewer)
    judged    frames of a stretch that is scored
    shortest  packets below which an address is not judged: 100 in the public code; fewer than 26 are mirrored
    """

    name: ClassVar[str] = "whisper"

    centres: Count = 10
    drawn: Count = 50
    learned: Count = 50
    judged: Count = 100
    shortest: Annotated[int, Limit("≥", 2)] = 4


def encoded(time: NDArray[np.float64], size: NDArray[Any]) -> NDArray[np.float64]:
    """One number per packet of a sender, (n,): 10 · bytes − 15.68 · log₂(gap in s); the first packet has the gap of
    none."""
    gaps = np.diff(time, prepend=time[:1])
    return SIZE_WEIGHT * size + GAP_WEIGHT * np.log2(np.where(gaps > 0, gaps, NO_GAP))


def spectra(sequence: NDArray[np.float64]) -> NDArray[np.float64]:
    """Short-time spectra log₂(|·|² + 1) of a sequence (n ≥ 2), (1 + n // 12, 26); its ends are mirrored, so that frame
    f is centred on packet 12 f."""
    padded = np.pad(sequence, WINDOW // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]  # (F, 50)
    return np.log2(np.square(np.abs(np.fft.rfft(frames, axis=1))) + 1)


def senders(stream: PacketStream, shortest: int) -> Iterator[NDArray[np.int64]]:
    """Numbers of the packets that one address sends in one capture, in their order; addresses with fewer than
    ``shortest`` are left out."""
    order = np.lexsort((stream.source, stream.capture))  # stable: packets stay in their order
    changes = (np.diff(stream.source[order]) != 0) | (np.diff(stream.capture[order]) != 0)
    starts = np.concatenate([[0], np.flatnonzero(changes) + 1, [len(order)]])
    for first in np.flatnonzero(np.diff(starts) >= shortest):
        yield order[starts[first] : starts[first + 1]]


class Whisper(SavedLearner):
    """Score of a flow = largest distance, over the stretches of its initiator's packets in which the flow sends, from
    the stretch's mean spectrum to the nearest benign centre, (n,) float64 ≥ 0.

    ``fit`` learns from every packet of the training captures, ``score`` from whole captures, whichever flows are asked
    for.  Flows whose initiator sent fewer than ``shortest`` packets, or that have none in the stream, score the mean
    distance of benign stretches; how many is said in the log.  Public code: the weights of size and gap are fixed (the
    paper optimises them on benign traffic), the protocol's term is left out, since a stream does not tell it.
    """

    Params = WhisperParams
    profiles: ClassVar[dict[str, dict[str, object]]] = {"quick": {}, "paper": {"shortest": 100}, "check": {}}
    capabilities: ClassVar[Capabilities] = Capabilities(
        inputs=frozenset({"stream"}),
        provenance="adapted",
        source="Whisper: Fu, Li, Shen, Xu, CCS 2021; IEEE ToN 31(1), 2023; its public code",
        doubtful="a flow's score from those of its address is ours; the term of the protocol is left out; addresses "
        "with 4 to 99 packets, which the public code skips, are judged",
        groups=frozenset({"stream"}),
        exemptions={
            "orientation": "the outliers share their ten addresses, which are what is judged, with benign flows"
        },
    )

    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        """Centres of the mean spectra of random stretches; the validation flows are unused."""
        from sklearn.cluster import KMeans

        stream, rng = benign.packet_stream(), np.random.default_rng(ctx.seed)
        learned, judged = [], []
        for packets in senders(stream, self.params.shortest):
            frames = spectra(encoded(stream.time[packets], stream.size[packets]))  # (F, 26)
            judged.append(_stretches(frames, self.params.judged))
            starts = len(frames) - self.params.learned
            drawn = rng.integers(0, starts + 1, self.params.drawn) if starts > 0 else [0]
            learned.append(_means(frames, np.asarray(drawn), self.params.learned))
        if not learned:
            raise DataError(
                f"whisper: no address of the training captures sent {self.params.shortest} packets; "
                "lower shortest, or train on more traffic"
            )
        rows = np.concatenate(learned)  # (S, 26)
        centres = min(self.params.centres, len(np.unique(rows, axis=0)))
        means = KMeans(centres, n_init=10, random_state=ctx.seed).fit(rows).cluster_centers_.astype(np.float64)
        usual = _distances(np.concatenate(judged), means).mean()
        self._model = {"centres": means, "usual": np.array([usual])}
        ctx.progress(1.0, f"{centres} centres of {len(rows)} stretches of {len(learned)} addresses")

    def score(self, flows: FlowBatch) -> NDArray[np.float64]:
        """Distance of the farthest stretch of each flow's initiator that holds packets of the flow, (n,)."""
        model, stream = self._learned("score"), flows.packet_stream()
        initiator = np.zeros(len(flows) + 1, dtype=np.uint64)  # the last one for the packets of no flow
        initiator[stream.flow[::-1]] = stream.source[::-1]  # the first packet of a flow is written last
        scores = np.full(len(flows) + 1, -np.inf)
        for packets in senders(stream, self.params.shortest):
            flow = stream.flow[packets]
            sent = np.flatnonzero((flow >= 0) & (stream.source[packets] == initiator[flow]))
            if len(sent):
                frames = spectra(encoded(stream.time[packets], stream.size[packets]))
                distances = _distances(_stretches(frames, self.params.judged), model["centres"])
                np.maximum.at(scores, flow[sent], distances[sent // HOP // self.params.judged])
        scores = scores[:-1]
        unjudged = np.isneginf(scores)
        if unjudged.any():
            _log.warning(
                "whisper: %d of %d flows come from addresses with fewer than %d packets and score the benign mean",
                *(unjudged.sum(), len(flows), self.params.shortest),
            )
        return np.where(unjudged, model["usual"][0], scores)


def _means(frames: NDArray[np.float64], starts: NDArray[np.int64], length: int) -> NDArray[np.float64]:
    """Mean spectra of the ``length`` frames (all there are, where there are fewer) from each start on, (S, 26)."""
    sums = np.concatenate([np.zeros((1, frames.shape[1])), frames.cumsum(axis=0)])  # (F + 1, 26)
    ends = np.minimum(starts + length, len(frames))
    return (sums[ends] - sums[starts]) / (ends - starts)[:, None]


def _stretches(frames: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Mean spectra of consecutive stretches, (⌈F / length⌉, 26); the last one reaches back, so that none is shorter
    than the others."""
    starts = np.arange(0, len(frames), length)
    return _means(frames, np.minimum(starts, max(len(frames) - length, 0)), length)


def _distances(rows: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """Euclidean distance of each row (s, 26) to the nearest centre (K, 26), (s,)."""
    return np.sqrt(np.square(rows[:, None] - centres).sum(axis=2)).min(axis=1)
