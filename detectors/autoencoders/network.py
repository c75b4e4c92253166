"""The networks: a fully connected autoencoder, with a memory between encoder and decoder or without, and the
reconstruction errors."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from detectors.shared.encoders import packet_errors
from detectors.shared.inputs import INPUTS, PACKET_COLUMNS, Input


def shrink(similarity: Tensor, threshold: float) -> Tensor:
    """Softmax of cosine similarities (B, N), weights ≤ ``threshold`` set to 0, the others scaled to sum 1 (Gong et al.,
    eq. 4, 6, 7).

    Where no weight exceeds the threshold the paper's code divides 0 by 0 (ε) and the decoder sees the zero vector; here
    the largest weight stays.
    """
    weights = similarity.softmax(dim=1)  # (B, N)
    kept = weights * ((weights > threshold) | (weights == weights.amax(dim=1, keepdim=True)))
    return kept / kept.sum(dim=1, keepdim=True)


def sparsest(similarity: Tensor, k: int) -> Tensor:
    """Softmax over the ``k`` largest similarities of each row (B, N), the other weights 0."""
    values, items = similarity.topk(k, dim=1)  # (B, k)
    return torch.zeros_like(similarity).scatter(1, items, values.softmax(dim=1))


def address_entropy(weights: Tensor) -> Tensor:
    """Mean over the rows of −Σ w log w (nats) of addresses (B, N), ()."""
    return torch.special.entr(weights.clamp_min(1e-12)).sum(dim=1).mean()  # the slope of w log w at 0 is infinite


class _Memory(nn.Module):
    """Replaces a code by a convex combination of ``items`` learned codes; the address comes from cosine similarities
    (Gong et al., eq. 3–5)."""

    def __init__(self, items: int, code: int, address: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.items = nn.Parameter(torch.empty(items, code).uniform_(-(code**-0.5), code**-0.5))
        self._address = address

    def forward(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Codes (B, C) → combined items (B, C) and addresses (B, N)."""
        similarity = functional.normalize(codes, dim=1) @ functional.normalize(self.items, dim=1).T  # (B, N)
        weights = self._address(similarity)
        return weights @ self.items, weights


class Autoencoder(nn.Module):
    """D → hidden → hidden/2 → code → hidden/2 → hidden → D′, tanh between the layers as in Gong's network for tabular
    data.

    D = D′ for features; D = 640 (``PACKET_COLUMNS``) and D′ = 576 for packets, whose presence is given and not
    reconstructed.
    """

    def __init__(
        self, kind: Input, hidden: int, code: int, memory: tuple[int, Callable[[Tensor], Tensor]] | None
    ) -> None:
        super().__init__()
        inputs = INPUTS[kind].width
        outputs = inputs // len(PACKET_COLUMNS) * (len(PACKET_COLUMNS) - 1) if kind == "packets" else inputs
        self.encoder = _layers(inputs, hidden, hidden // 2, code)
        self.memory = None if memory is None else _Memory(memory[0], code, memory[1])
        self.decoder = _layers(code, hidden // 2, hidden, outputs)

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """Rows (B, D) → reconstructions (B, D′), bits as logits, and addresses (B, N) where there is a memory."""
        codes, weights = self.encoder(rows), None  # (B, C)
        if self.memory is not None:
            codes, weights = self.memory(codes)
        return self.decoder(codes), weights


def _layers(*widths: int) -> nn.Sequential:
    layers: list[Any] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def _feature_errors(rows: Tensor, output: Tensor) -> Tensor:
    return (rows - output).square().mean(dim=1)  # (B,)


def _packet_errors(rows: Tensor, output: Tensor) -> Tensor:
    packets = rows.unflatten(1, (-1, len(PACKET_COLUMNS)))  # (B, T, 10)
    output = output.unflatten(1, (-1, len(PACKET_COLUMNS) - 1))  # (B, T, 9)
    present = packets[..., -1]  # (B, T)
    return (packet_errors(packets, output) * present).sum(dim=1) / present.sum(dim=1).clamp_min(1)  # (B,)


ERRORS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    **dict.fromkeys(INPUTS, _feature_errors),
    "packets": _packet_errors,
}
"""Input → reconstruction error per flow, rows (B, D) and reconstructions (B, D′) → (B,).

Of features: mean squared error.  ``packets``: mean over the flow's packets of the mean squared error of the continuous
channels plus the mean binary cross-entropy of the bits."""
