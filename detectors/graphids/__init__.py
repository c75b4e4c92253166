"""GraphIDS (Guerra, Chapuis, Duc, Mozharovskyi, Nguyen, NeurIPS 2025, arXiv 2509.16625) on the packet stream."""

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from detectors.graphids.graph import EDGE_FEATURES, Conversations, conversations, received, windows
from detectors.shared.inputs import ZScores
from detectors.shared.tabular import NetworkDetector
from janus_bench.contract import Capabilities, FitContext, FlowBatch
from janus_bench.errors import DataError
from janus_bench.params import CheckedParams, Count, Limit, NonNegative, Positive

LIMIT = 10.0  # of standardised edge features
_COLUMNS = 2 * len(EDGE_FEATURES) + 1  # of an edge in a window: what its hosts receive, and whether it is there
_AT_ONCE = 8  # windows


@dataclass(frozen=True)
class GraphIDSParams(CheckedParams):
    """Parameters of ``graphids``.

    window    consecutive conversations that are reconstructed together
    edge, width, heads, feed   of the embedding and of the transformer
    dropout   of the embedding
    hidden    share of the pairs in a window that do not see each other in training
    target    ``detached``: embeddings are reconstructed as they are; ``joint``, as published: they learn to be
              reconstructed, and collapse
    epochs, batch, lr   of AdamW, ``batch`` windows at a time
    host_decay, weight_decay   of the embedding, and of the transformer
    patience  epochs without a better error on the benign validation flows after which training stops
    """

    name: ClassVar[str] = "graphids"

    window: Annotated[int, Limit("≥", 2)] = 512
    edge: Count = 64
    width: Count = 32
    heads: Count = 4
    feed: Count = 2048
    dropout: Annotated[float, Limit("≥", 0), Limit("<", 1)] = 0.5
    hidden: Annotated[float, Limit("≥", 0), Limit("<", 1)] = 0.15
    target: Literal["detached", "joint"] = "detached"
    epochs: Count = 100
    batch: Count = 1
    lr: Positive = 1e-4
    host_decay: NonNegative = 0.6
    weight_decay: NonNegative = 0.01
    patience: Count = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.width % self.heads == 0, "width", f"a multiple of heads={self.heads}")


class GraphIDS(NetworkDetector):
    """Score of a flow = mean squared error with which the embedding of its conversation is reconstructed in a window of
    512, (n,) float64 ≥ 0.

    Conversations are made of all packets of the stream, whichever flows are asked for.  An embedding depends on its two
    hosts alone: on the mean features of the conversations into each of them, in the whole capture.  Windows are
    consecutive conversations of a capture.  ``fit`` sees conversations of benign flows only, so that hosts receive
    fewer there than in the captures that are scored.
    """

    Params = GraphIDSParams
    capabilities: ClassVar[Capabilities] = Capabilities(
        inputs=frozenset({"stream"}),
        provenance="adapted",
        source="Guerra et al., NeurIPS 2025, arXiv 2509.16625; lorenzo9uerra/GraphIDS",
        doubtful="all conversations between two hosts in one direction have one embedding; transductive in a capture: "
        "later conversations change earlier scores; training as published (target=joint) collapses, and its epochs, "
        "rates and thresholds were chosen with labels",
        groups=frozenset({"stream", "graph", "reconstruction"}),
        exemptions={
            "orientation": "the outliers share hosts with benign flows, and an embedding tells the hosts, not the flow"
        },
    )
    profiles: ClassVar[dict[str, dict[str, object]]] = {
        "quick": {"epochs": 20, "lr": 1e-3, "feed": 256},
        "paper": {},
        "check": {"window": 32, "edge": 8, "width": 8, "heads": 2, "feed": 16, "epochs": 3, "lr": 1e-3},
    }

    @classmethod
    def declare(cls, params: Any) -> Capabilities:  # noqa: ARG003
        """The stream, whatever the parameters."""
        return cls.capabilities

    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        """Learn to reconstruct the conversations of the benign training captures."""
        graph = conversations(benign.packet_stream())
        if not len(graph.features):
            raise DataError("graphids: the training captures have no packet in their stream; train on more traffic")
        self._standardiser = ZScores.fitted(graph.features)
        self._model = self._learn(self._windows(graph)[0], ctx)

    def score(self, flows: FlowBatch) -> NDArray[np.float64]:
        """Error of the conversation of each flow's first packet, (n,); DataError if a flow has no packet in the
        stream."""
        self._learned("score")
        stream = flows.packet_stream()
        first = np.full(len(flows) + 1, -1)  # the last one for the packets of no flow
        first[stream.flow[::-1]] = np.arange(len(stream))[::-1]  # the first packet of a flow is written last
        first = first[:-1]
        if (first < 0).any():
            raise DataError(
                f"graphids: {(first < 0).sum()} of {len(first)} flows have no packet in the stream, and so no "
                "conversation; add the dataset again (`janus-bench data verify` counts them)"
            )
        if not len(flows):
            return np.empty(0)
        graph = conversations(stream)
        rows, numbers = self._windows(graph)
        errors = np.empty(len(graph.features))
        # of two windows that share an edge the earlier decides
        for number, error in zip(numbers[::-1], self._parts(rows, self._score)[::-1], strict=True):
            errors[number[number >= 0]] = error[number >= 0]
        return errors[graph.of_packet[first]]

    def _in_blocks(self, flows: FlowBatch, score: Any) -> NDArray[np.float64]:
        return self._parts(self._windows(conversations(flows.packet_stream()))[0], score)

    def _parts(self, rows: NDArray[np.float32], score: Any) -> NDArray[np.float64]:
        """Of windows, those with as many edges together, so that short ones are not computed as long ones."""
        order = np.argsort(rows[:, _COLUMNS - 1 :: _COLUMNS].sum(axis=1), kind="stable")
        found = np.concatenate([score(rows[order[i : i + _AT_ONCE]]) for i in range(0, len(rows), _AT_ONCE)])
        return found[np.argsort(order)]

    def _windows(self, graph: Conversations) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Rows of windows (N, size · 25) and their edges (N, size)."""
        assert self._standardiser is not None
        numbers = windows(graph.capture, self.params.window)
        given = received(graph, self._standardiser(graph.features, LIMIT))  # (E, 24)
        rows = np.zeros((*numbers.shape, _COLUMNS), dtype=np.float32)
        rows[numbers >= 0] = np.column_stack([given, np.ones(len(given))])[numbers[numbers >= 0]]
        return rows.reshape(len(rows), -1), numbers

    def _build(self) -> Any:
        from detectors.graphids.network import GraphAutoencoder

        p = self.params
        return GraphAutoencoder(p.edge, p.width, p.heads, p.feed, p.dropout)

    def _schedule(self) -> Any:
        decay = self.params.weight_decay
        return replace(super()._schedule(), optimiser="adamw", weight_decay=decay, clip=1.0)

    def _phases(self) -> Any:
        from detectors.shared.training import Phase

        hosts = [*self._model.host.parameters(), *self._model.edge.parameters()]
        others = [weight for weight in self._model.parameters() if all(weight is not host for host in hosts)]
        groups = [{"params": hosts, "weight_decay": self.params.host_decay}, {"params": others}]
        return [Phase(groups, lambda rows, _, generator: self._loss(rows, generator))]

    def _loss(self, rows: Any, generator: Any) -> Any:
        from detectors.graphids.network import edge_errors, hidden_pairs

        given, present = _edges(rows)
        hidden = hidden_pairs((len(rows), given.shape[1]), self.params.hidden, generator).to(rows.device)
        codes, output = self._model(given, present, hidden)
        return edge_errors(codes, output, self.params.target)[present].mean()

    def _judge(self, rows: Any) -> Any:
        """Error of each window as a share of the embeddings' variance, (N,): a collapse does not lower it."""
        given, present = _edges(rows)
        codes, output = self._model(given, present)
        centre = (codes * present[..., None]).sum(dim=1) / present.sum(dim=1, keepdim=True)
        spread = ((codes - centre[:, None]).square().mean(dim=2) * present).sum(dim=1)
        wrong = ((output - codes).square().mean(dim=2) * present).sum(dim=1)
        return wrong / spread.clamp_min(1e-12)

    def _evaluate(self, rows: Any) -> Any:
        from torch.nn import functional

        from detectors.graphids.network import edge_errors

        given, present = _edges(rows)
        errors = edge_errors(*self._model(given, present))
        return functional.pad(errors, (0, self.params.window - errors.shape[1]))


def _edges(rows: Any) -> tuple[Any, Any]:
    """Rows (N, size · 25) → what the hosts of each edge receive (N, S, 24), and which edges there are (N, S): S is the
    most that a window has."""
    rows = rows.unflatten(1, (-1, _COLUMNS))
    rows = rows[:, : int(rows[..., -1].sum(dim=1).max())]
    return rows[..., :-1], rows[..., -1] > 0
