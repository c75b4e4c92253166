"""ConMD's student: every channel of every packet is a token; attention inside a packet, and from the whole flow into
each packet, take turns."""

import torch
from torch import Tensor, nn

from detectors.shared.encoders import (
    CHANNELS,
    Maps,
    ResidualCNN,
    as_packets,
    presence,
    sines,
    smallest,
    stretched,
)
from janus_bench.columns import MAX_PACKETS

ORDERS = 4
"""How many stored orders of the packets decide which are masked when a flow is scored."""
MULTIPLE = 4
"""The teacher halves its positions twice."""


class _Attention(nn.Module):
    """Tokens (B, P, 9, D) → tokens, with residual and a feed-forward layer.

    ``local``: among the nine tokens of a packet.  Otherwise nine global tokens, for each channel the largest over the
    flow's packets of a convolution of three packets, ask the nine tokens of each packet: one packet reaches another
    through these queries alone.
    """

    def __init__(self, width: int, heads: int, local: bool) -> None:
        super().__init__()
        self.summary = None if local else nn.Conv1d(width, width, 3, padding=1)
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, tokens: Tensor, valid: Tensor) -> Tensor:
        """``valid`` (B, P): where there is a packet."""
        batch, positions, channels = tokens.shape[:3]
        inner = self.before(tokens)  # (B, P, 9, D)
        asked = query = inner.flatten(0, 1)  # (B P, 9, D)
        if self.summary is not None:
            present = inner * valid[:, :, None, None]
            along = self.summary(present.permute(0, 2, 3, 1).flatten(0, 1))  # (9 B, D, P)
            along = along.unflatten(0, (batch, channels)).masked_fill(~valid[:, None, None], -torch.inf)
            query = along.amax(dim=3)[:, None].expand(-1, positions, -1, -1).flatten(0, 1)  # (B P, 9, D)
        tokens = tokens + self.attention(query, asked, asked, need_weights=False)[0].view_as(tokens)
        return tokens + self.feed(self.after(tokens))


class TokenStudent(nn.Module):
    """Packets (B, P, 10) → what the teacher has of each packet, (B, P, 7 W)."""

    positions: Tensor

    def __init__(self, outputs: int, width: int, layers: int, heads: int = 4) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(CHANNELS, width).normal_(std=0.5))
        self.bias = nn.Parameter(torch.empty(CHANNELS, width).normal_(std=0.5))
        self.mask_token = nn.Parameter(torch.empty(width).normal_(std=0.02))
        self.register_buffer("positions", sines(MAX_PACKETS, width), persistent=False)
        self.layers = nn.ModuleList(_Attention(width, heads, local=i % 2 == 0) for i in range(layers))
        self.out = nn.Linear(CHANNELS * width, outputs)

    def forward(self, packets: Tensor, masked: Tensor) -> Tensor:
        """The nine tokens of packets in ``masked`` (B, P) are the mask token."""
        valid = presence(packets)
        tokens = packets[..., :CHANNELS, None] * self.weight + self.bias  # (B, P, 9, D)
        tokens = torch.where(masked[..., None, None], self.mask_token, tokens)
        tokens = tokens + self.positions[: packets.shape[1], None]
        for layer in self.layers:
            tokens = layer(tokens, valid)
        return self.out(tokens.flatten(2))


class Masking(nn.Module):
    """Teacher, student, and which packets are masked.

    weak    (): how many packets are masked at most
    orders  (ORDERS, P): stored random numbers; a flow's valid packets with the smallest ones are masked
    """

    weak: Tensor
    orders: Tensor

    def __init__(self, width: int, packets: int, tokens: int, layers: int) -> None:
        super().__init__()
        self.teacher = ResidualCNN(width)
        self.student = TokenStudent(sum(self.teacher.widths), tokens, layers)
        self.packets = packets
        self.register_buffer("weak", torch.zeros((), dtype=torch.int64))
        self.register_buffer("orders", torch.rand(ORDERS, packets))

    def first(self, rows: Tensor) -> Tensor:
        """Rows (B, 640) → their first packets (B, P, 10)."""
        return as_packets(rows)[:, : self.packets]

    def taught(self, packets: Tensor) -> Tensor:
        """The teacher's three maps of (B, P, 10) at each packet, (B, P, 7 W), 0 in padding."""
        length = packets.shape[1]
        padded = nn.functional.pad(packets, (0, 0, 0, -length % MULTIPLE))
        maps: Maps = self.teacher(padded)
        joined = torch.cat([stretched(each, padded.shape[1]) for each in maps.features], dim=1)  # (B, 7 W, P′)
        return joined.transpose(1, 2)[:, :length] * presence(packets)[..., None]

    def mask(self, packets: Tensor, draws: Tensor) -> Tensor:
        """Which packets are masked under these draws (B, P): ``weak``, but never all of a flow's, (B, P) bool."""
        valid = presence(packets)
        return smallest(draws, valid, (valid.sum(dim=1) - 1).clamp(min=0).minimum(self.weak))

    def learned(self, packets: Tensor, masked: Tensor) -> Tensor:
        """The student's answer, (B, P, 7 W), 0 in padding."""
        return self.student(packets, masked) * presence(packets)[..., None]

    def stored(self, packets: Tensor) -> list[Tensor]:
        """The masks (B, P) of the stored orders."""
        return [self.mask(packets, order[: packets.shape[1]].expand(packets.shape[:2])) for order in self.orders]


def loss(taught: Tensor, masked: Tensor) -> Tensor:
    """1 − cos + 0.1 · distance of two flattened answers, (B,) (ConMD, the loss)."""
    return angle(taught, masked) + 0.1 * (taught - masked).flatten(1).norm(dim=1)


def angle(taught: Tensor, learned: Tensor) -> Tensor:
    """1 − cos of the whole flow's (B, P, 7 W), (B,)."""
    return 1 - nn.functional.cosine_similarity(taught.flatten(1), learned.flatten(1), dim=1)


def blended(taught: Tensor, masked: Tensor, unmasked: Tensor, beta: float) -> Tensor:
    """1 − cos(z_t, β z_masked + (1 − β) z_unmasked), (B,)."""
    return angle(taught, beta * masked + (1 - beta) * unmasked)
