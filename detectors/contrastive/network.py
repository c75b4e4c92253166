"""The network of the contrastive transformer: columns → tokens → the CLS token of a flow; and its loss."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from detectors.shared.encoders import PACKET_COLUMNS, presence

FLAGS = ("syn", "fin", "rst", "psh", "ack")
_FLAGS = [PACKET_COLUMNS.index(name) for name in FLAGS]
_DIRECTION = PACKET_COLUMNS.index("direction")


class FlowEncoder(nn.Module):
    """Packets → CLS (B, W).  A token is a projection of one embedding a column: continuous columns linearly, direction
    and the combination of five flags by a table each."""

    weights: Tensor

    def __init__(self, continuous: Sequence[str], packets: int, width: int, layers: int, heads: int) -> None:
        super().__init__()
        part = width // (len(continuous) + 2)
        self.continuous = [PACKET_COLUMNS.index(name) for name in continuous]
        self.columns = nn.ModuleList(nn.Linear(1, part) for _ in continuous)
        self.direction, self.flags = nn.Embedding(2, part), nn.Embedding(2 ** len(FLAGS), part)
        self.project = nn.Linear(part * (len(continuous) + 2), width)
        self.cls = nn.Parameter(0.02 * torch.randn(width))
        self.positions = nn.Parameter(0.02 * torch.randn(packets + 1, width))
        self.norm, self.dropout = nn.LayerNorm(width), nn.Dropout(0.1)
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.1, activation="gelu", batch_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        self.register_buffer("weights", 2 ** torch.arange(len(FLAGS)), persistent=False)

    def forward(self, packets: Tensor) -> Tensor:
        """(B, T, 10) → (B, W)."""
        flags = (packets[..., _FLAGS].long() * self.weights).sum(dim=2)  # (B, T)
        parts = [column(packets[..., [i]]) for column, i in zip(self.columns, self.continuous, strict=True)]
        parts += [self.direction(packets[..., _DIRECTION].long()), self.flags(flags)]
        tokens = self.project(torch.cat(parts, dim=2))  # (B, T, W)
        tokens = torch.cat([self.cls.expand(len(tokens), 1, -1), tokens], dim=1)
        tokens = self.dropout(self.norm(tokens + self.positions[: tokens.shape[1]]))
        absent = functional.pad(~presence(packets), (1, 0))  # CLS is there
        return self.layers(tokens, src_key_padding_mask=absent)[:, 0]


def cut_and_pasted(packets: Tensor, partners: Tensor, share: float, draws: Tensor) -> Tensor:
    """Flows (B, T, 10) in which a stretch of round(share · n) packets is replaced by the same positions of ``partners``
    (B, T, 10), of equal lengths n; ``draws`` (B,) in [0, 1) say where the stretch starts."""
    lengths = presence(packets).sum(dim=1)  # (B,)
    stretch = (share * lengths).round().long()
    start = (draws * (lengths - stretch + 1)).long()
    steps = torch.arange(packets.shape[1], device=packets.device)
    replaced = (steps >= start[:, None]) & (steps < (start + stretch)[:, None])  # (B, T)
    return torch.where(replaced[..., None], partners, packets)


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Mean over the 2 B views of −log softmax of the cosine with the other view of the same flow, among all 2 B − 1
    others (Chen et al., ICML 2020), (); views (B, W)."""
    views = functional.normalize(torch.cat([first, second]), dim=1)
    logits = views @ views.T / temperature  # (2 B, 2 B)
    logits = logits.masked_fill(torch.eye(len(views), dtype=torch.bool, device=views.device), float("-inf"))
    n = len(first)
    return functional.cross_entropy(logits, torch.arange(2 * n, device=views.device).roll(n))
