"""GraphIDS's network: one hop of E-GraphSAGE makes edges' embeddings, a masked transformer reconstructs windows of
them."""

from typing import Literal

import torch
from torch import Tensor, nn

from detectors.graphids.graph import EDGE_FEATURES

Target = Literal["detached", "joint"]


class GraphAutoencoder(nn.Module):
    """Windows of edges → embeddings and their reconstructions."""

    def __init__(self, edge: int, width: int, heads: int, feed: int, dropout: float) -> None:
        super().__init__()
        self.host = nn.Linear(len(EDGE_FEATURES), edge)
        self.edge = nn.Linear(2 * edge, edge)
        self.dropout = nn.Dropout(dropout)
        self.narrow, self.widen = nn.Linear(edge, width), nn.Linear(width, edge)
        self.encoder = nn.TransformerEncoderLayer(width, heads, feed, batch_first=True)
        self.decoder = nn.TransformerDecoderLayer(width, heads, feed, batch_first=True)
        self.heads = heads

    def embedded(self, received: Tensor) -> Tensor:
        """What both hosts of each edge receive on average (…, 24) → edge embedding (…, edge).

        Hosts are ReLU(W · mean): their own features, all ones in the public code, are not used there either.
        """
        hosts = self.host(received.unflatten(-1, (2, len(EDGE_FEATURES)))).relu()  # (…, 2, edge)
        return self.dropout(self.edge(hosts.flatten(-2)))

    def forward(self, received: Tensor, present: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(N, S, 24), ``present`` (N, S) bool, pairs of edges hidden from each other (N, S, S) → embeddings and
        reconstructions (N, S, edge)."""
        codes = self.embedded(received)
        tokens, absent = self.narrow(codes), ~present
        mask = None if hidden is None else hidden.repeat_interleave(self.heads, dim=0)
        memory = self.encoder(tokens, src_mask=mask, src_key_padding_mask=absent)
        decoded = self.decoder(
            tokens, memory, tgt_mask=mask, tgt_key_padding_mask=absent, memory_key_padding_mask=absent
        )
        return codes, self.widen(decoded)


def hidden_pairs(shape: tuple[int, int], share: float, generator: torch.Generator) -> Tensor:
    """Symmetric random masks (N, S, S) that hide about ``share`` of the pairs, none from itself."""
    n, size = shape
    upper = (torch.rand((n, size, size), generator=generator) < share).triu(1)
    return upper | upper.transpose(1, 2)


def edge_errors(codes: Tensor, output: Tensor, target: Target = "joint") -> Tensor:
    """Mean squared error of each edge, (N, S).

    ``joint``, as published: the target learns too, and shrinking all embeddings lowers the error; ``detached``: it does
    not.
    """
    return (output - (codes.detach() if target == "detached" else codes)).square().mean(dim=-1)
