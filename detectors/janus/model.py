"""The network: a Transformer over ``[FLOW, P_1 … P_L]`` conditioned on the time t, with a continuous and a discrete
head.

    x_0 = [W_f c_flow,  W_p c_i + p_i]                       tokens; p_i is the learned position of packet i
    x  ← x + g_1 ⊙ Attention(LN(x) ⊙ (1 + s_1) + b_1)        the six modulations b, s, g of each block are linear in
    a(t), x  ← x + g_2 ⊙ MLP(LN(x) ⊙ (1 + s_2) + b_2)              zero at the start: AdaLN-Zero (DiT, Peebles & Xie
    2023) v  = W_v (LN(x) ⊙ (1 + s) + b)                           velocity of continuous entries
    log p(b = 1) / p(b = 0) = W_b (LN(x) ⊙ (1 + s) + b)      posterior of bits

Shapes: B flows, P packets of all of them, N token slots (see ``packing.Layout``), D = ``d_model``, H heads; a rectangle
of attention has m flows of S slots.
"""

import math
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, scaled_dot_product_attention, silu

from detectors.janus.config import JanusParams
from detectors.janus.packing import Layout, Placement
from detectors.janus.preprocess import CHANNELS

TIME_FEATURES = 64
# t in [0, 1] spread over the periods of the sinusoidal embedding, which was made for steps 0 … 1000
TIME_SCALE = 1000.0
EXPANSION = 4


class Prediction(NamedTuple):
    """What the heads say about one micro-batch, in float32, or what they should have said.  F, C, D: ``config.Widths``.

    flow    (B, F) velocity of the FLOW features
    packet  (P, C) velocity of the continuous packet channels
    logits  (P, D) log-odds that each bit of the data is 1; as a target the bits

    Where continuous entries are binned, ``flow`` and ``packet`` hold the K logits of each entry's bins, (B, F K) and
    (P, C K); as targets the bins.
    """

    flow: Tensor
    packet: Tensor
    logits: Tensor


class Network(nn.Module):
    """Velocities and bit posteriors from noised flows and their times.

    Parameters are drawn from ``generator`` alone; torch's global generator is neither read nor advanced.
    """

    def __init__(self, params: JanusParams, generator: torch.Generator) -> None:
        super().__init__()
        width = params.d_model
        self.mode, self.precision = params.reference_mode, params.precision
        self.widths = params.widths
        self.flow_in = _linear(self.widths.flow, width)
        self.packet_in = _linear(len(CHANNELS), width)
        self.position = nn.Parameter(torch.empty(params.T, width))
        self.time_in = _linear(TIME_FEATURES, width)
        self.time_out = _linear(width, width)
        self.blocks = nn.ModuleList(TransformerBlock(width, params.n_heads) for _ in range(params.n_layers))
        # of all blocks, then of the heads: one product
        self.modulation = _linear(width, (6 * params.n_layers + 2) * width)
        self.flow_head = _linear(width, self.widths.flow * params.outputs)
        self.packet_head = _linear(width, self.widths.continuous * params.outputs + self.widths.bits)
        self._initialise(generator)

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif name == "position":
                parameter.normal_(0.0, 0.02, generator=generator)
            elif "modulation" in name or "head" in name:
                parameter.zero_()  # every block starts as the identity, and the prediction at zero
            else:
                nn.init.xavier_uniform_(parameter, generator=generator)

    def condition(self, t: Tensor) -> tuple[Tensor, ...]:
        """The modulations by times ``t`` (B,) or (1,) in [0, 1]: (B, 6 D) for each block, then (B, 2 D) for the
        heads."""
        hidden = silu(self.time_out(silu(self.time_in(_time_features(t)))))  # (B, D) a(t)
        return self.modulation(hidden).split([6 * hidden.shape[1]] * len(self.blocks) + [2 * hidden.shape[1]], dim=1)

    def place(self, layout: Layout) -> Placement:
        """``layout`` on the network's device, under its attention mode."""
        shapes = zip(layout.shapes, layout.padded, strict=True)
        masks = [_mask(self.mode, size, real, flow_token=self.widths.flow > 0) for (_, size), real in shapes]
        return Placement.of(layout, masks, self.position.device)

    def autocast(self) -> torch.autocast:
        """The context of ``precision`` for whatever the network computes."""
        return torch.autocast(self.position.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def states(self, flow: Tensor, packets: Tensor, condition: tuple[Tensor, ...], placement: Placement) -> Tensor:
        """What the heads read, (N, D): arguments as in ``forward``."""
        # (B + P, D)
        tokens = torch.cat(
            [self.flow_in(flow), self.packet_in(packets) + self.position.index_select(0, placement.position)]
        )
        x = tokens.index_select(0, placement.content)  # (N, D)
        for block, modulation in zip(self.blocks, condition, strict=False):
            x = block(x, _per_slot(modulation.chunk(6, dim=1), placement), placement)  # (N, D)
        return _modulated(x, *_per_slot(condition[-1].chunk(2, dim=1), placement))  # (N, D)

    def forward(self, flow: Tensor, packets: Tensor, condition: tuple[Tensor, ...], placement: Placement) -> Prediction:
        """``flow`` (B, F), ``packets`` (P, 9) with bits as −1 / +1 (0: masked), ``condition`` of the flows' times, or
        of one for all."""
        with self.autocast():
            x = self.states(flow, packets, condition, placement)  # (N, D)
            flow_out = self.flow_head(x.index_select(0, placement.flow_slot)).float()  # (B, F)
            packet_out = self.packet_head(x.index_select(0, placement.packet_slot)).float()  # (P, C + D)
        # (P, C), (P, D)
        velocities, logits = packet_out.split([packet_out.shape[1] - self.widths.bits, self.widths.bits], dim=1)
        return Prediction(flow_out, velocities, logits)


class TransformerBlock(nn.Module):
    """Attention and MLP, each normalised, modulated by the time, and gated."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = _linear(width, 3 * width)
        self.attention_out = _linear(width, width)
        self.mlp_in = _linear(width, EXPANSION * width)
        self.mlp_out = _linear(EXPANSION * width, width)

    def forward(self, x: Tensor, modulation: tuple[Tensor, ...], placement: Placement) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation  # each (N | 1, D)
        seen = self._attend(self.qkv(_modulated(x, shift1, scale1)), placement)  # (N, D)
        x = torch.addcmul(x, gate1, self.attention_out(seen))  # (N, D)
        hidden = gelu(self.mlp_in(_modulated(x, shift2, scale2)))  # (N, 4 D)
        return torch.addcmul(x, gate2, self.mlp_out(hidden))  # (N, D)

    def _attend(self, qkv: Tensor, placement: Placement) -> Tensor:
        """``qkv`` (N, 3 D) → (N, D): each rectangle of slots by itself."""
        width = qkv.shape[1] // 3
        seen = []
        parts = qkv.split([rows * size for rows, size in placement.shapes])  # each (m S, 3 D)
        for part, (rows, size), mask in zip(parts, placement.shapes, placement.masks, strict=True):
            # each (m, H, S, D / H)
            q, k, v = part.view(rows, size, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
            out = scaled_dot_product_attention(q, k, v, attn_mask=mask)  # (m, H, S, D / H)
            seen.append(out.transpose(1, 2).reshape(rows * size, width))  # (m S, D)
        return torch.cat(seen)


_VISIBLE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "causal_packets": lambda i, j: (j <= i) | (i == 0),
    "causal_strict": lambda i, j: j <= i,
    "full": lambda i, j: (i >= 0) & (j >= 0),
}
"""Whether slot i sees slot j; slot 0 is FLOW."""


def _mask(mode: str, size: int, real: NDArray[np.int64] | None, *, flow_token: bool) -> Tensor | None:
    """Who (row) sees whom (column) in a rectangle of ``size`` slots, added to the attention logits: 0, or −∞ for
    hidden.

    (S, S), or (m, 1, S, S) with ``real`` (m,), the tokens of each row before its padding, which nobody sees (what
    padding sees is never read); None where everyone sees everyone.  Without a FLOW token nothing sees slot 0, nor does
    it see anything.
    """
    slots = torch.arange(size)
    visible = _VISIBLE[mode](slots[:, None], slots)  # (S, S)
    if not flow_token:
        visible[0, 1:] = visible[1:, 0] = False
    if real is not None:
        visible = visible & (slots < torch.from_numpy(real)[:, None])[:, None, None, :]  # (m, 1, S, S)
        visible |= torch.eye(size, dtype=torch.bool)  # what sees nothing at all would turn into NaN
    return None if visible.all() else torch.zeros(visible.shape).masked_fill(~visible, -math.inf)


def _linear(inputs: int, outputs: int) -> nn.Linear:
    with warnings.catch_warnings():
        # a variant without FLOW features or bits
        warnings.filterwarnings("ignore", "Initializing zero-element tensors")
        return nn.utils.skip_init(nn.Linear, inputs, outputs)  # nn.Linear alone would draw from the global generator


def _per_slot(modulation: tuple[Tensor, ...], placement: Placement) -> tuple[Tensor, ...]:
    """Each of ``modulation``, (B, D) → (N, D); that of one time for all flows stays (1, D)."""
    return tuple(part if len(part) == 1 else part.index_select(0, placement.slot_flow) for part in modulation)


def _modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """LN(x) ⊙ (1 + scale) + shift of ``x`` (N, D)."""
    if len(shift) == 1:  # one time for all: the affine part of a single operation
        return layer_norm(x, x.shape[-1:], scale[0] + 1, shift[0])  # (N, D)
    return torch.addcmul(shift, layer_norm(x, x.shape[-1:]), scale + 1)  # (N, D)


def _time_features(t: Tensor) -> Tensor:
    """Sinusoidal embedding (Vaswani et al. 2017) of ``t`` (B,), as (B, 64)."""
    half = TIME_FEATURES // 2
    frequencies = torch.exp(torch.arange(half, device=t.device) * (-math.log(10_000.0) / half))  # (32,)
    angles = TIME_SCALE * t[:, None] * frequencies  # (B, 32)
    return torch.cat([angles.cos(), angles.sin()], dim=1)
