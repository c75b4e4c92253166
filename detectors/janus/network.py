"""The Transformer over ``[FLOW, P_1 … P_L]``: attention modes, AdaLN-Zero blocks, heads.

Shapes: B flows, L packets of the longest flow in the micro-batch, S = L + 1 tokens, D = ``d_model``, H heads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, pad, scaled_dot_product_attention, silu

from detectors.janus.batching import Group
from detectors.janus.params import JanusParams
from detectors.janus.preprocess import CHANNELS, N_CONTINUOUS, N_FEATURES

__all__ = ["Network", "Prediction", "attention_mask"]

TIME_FEATURES = 64
TIME_SCALE = 1000.0  # t in [0, 1] spread over the periods of the sinusoidal embedding, which was made for steps 0 … 1000
EXPANSION = 4


class Prediction(NamedTuple):
    """What the heads say about one micro-batch.

    flow    (B, 20) velocity of the FLOW features
    packet  (B, L, 3) velocity of the continuous packet channels
    logits  (B, L, 6) log-odds that each bit of the data is 1
    """

    flow: Tensor
    packet: Tensor
    logits: Tensor


class Network(nn.Module):
    """Velocities and bit posteriors from a noised flow and its time: a DiT (Peebles & Xie 2023, AdaLN-Zero) with packet-causal attention.

    Parameters are drawn from ``generator`` alone; torch's global generator is neither read nor advanced.
    """

    def __init__(self, params: JanusParams, generator: torch.Generator) -> None:
        super().__init__()
        width = params.d_model
        self.heads = params.n_heads
        self.mode = params.reference_mode
        self.flow_in = _linear(N_FEATURES, width)
        self.packet_in = _linear(len(CHANNELS), width)
        self.position = nn.Parameter(torch.empty(params.T, width))
        self.time_in = _linear(TIME_FEATURES, width)
        self.time_out = _linear(width, width)
        self.modulation = _linear(width, (6 * params.n_layers + 2) * width)  # of all blocks at once, then of the heads
        self.blocks = nn.ModuleList(Block(width, params.n_heads) for _ in range(params.n_layers))
        self.flow_head = _linear(width, N_FEATURES)
        self.packet_head = _linear(width, len(CHANNELS))
        self._initialise(generator)

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif name == "position":
                parameter.normal_(0.0, 0.02, generator=generator)
            else:
                nn.init.xavier_uniform_(parameter, generator=generator)
        # AdaLN-Zero: every block starts as the identity, and the prediction at zero.
        for layer in (self.modulation, self.flow_head, self.packet_head):
            layer.weight.zero_()

    def condition(self, t: Tensor) -> Tensor:
        """The modulation of every block for times ``t`` (B,) or (1,) in [0, 1], as (6 · n_layers + 2, B, 1, D)."""
        hidden = silu(self.time_in(_time_features(t)))  # (B, D)
        hidden = self.modulation(silu(self.time_out(hidden)))  # (B, (6 n_layers + 2) D)
        return hidden.view(len(t), -1, 1, self.position.shape[1]).transpose(0, 1)

    def forward(self, flow: Tensor, packets: Tensor, condition: Tensor, mask: Tensor | None) -> Prediction:
        """``flow`` (B, 20), ``packets`` (B, L, 9) with bits as −1 / +1 (0: masked), ``condition`` of the flows' times (or of one for all),
        ``mask`` from ``attention_mask``."""
        tokens = self.packet_in(packets) + self.position[: packets.shape[1]]  # (B, L, D)
        x = torch.cat([self.flow_in(flow)[:, None], tokens], dim=1)  # (B, S, D)
        for index, block in enumerate(self.blocks):
            x = block(x, condition[6 * index : 6 * index + 6], mask)  # (B, S, D)
        x = _modulated(x, condition[-2], condition[-1])  # (B, S, D)
        packet = self.packet_head(x[:, 1:])  # (B, L, 9)
        return Prediction(self.flow_head(x[:, 0]), packet[..., :N_CONTINUOUS], packet[..., N_CONTINUOUS:])


class Block(nn.Module):
    """Attention and MLP, each normalised, modulated by the time, and gated (zero at the start)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = _linear(width, 3 * width)
        self.attention_out = _linear(width, width)
        self.mlp_in = _linear(width, EXPANSION * width)
        self.mlp_out = _linear(EXPANSION * width, width)

    def forward(self, x: Tensor, condition: Tensor, mask: Tensor | None) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = condition  # each (B | 1, 1, D)
        B, S, D = x.shape
        qkv = self.qkv(_modulated(x, shift1, scale1)).view(B, S, 3, self.heads, D // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, H, S, D / H)
        seen = scaled_dot_product_attention(q, k, v, attn_mask=mask)  # (B, H, S, D / H)
        seen = seen.transpose(1, 2).reshape(B, S, D)
        x = torch.addcmul(x, gate1, self.attention_out(seen))  # (B, S, D)
        hidden = gelu(self.mlp_in(_modulated(x, shift2, scale2)))  # (B, S, 4 D)
        return torch.addcmul(x, gate2, self.mlp_out(hidden))  # (B, S, D)


def attention_mask(mode: str, group: Group, valid: Tensor) -> Tensor | None:
    """Which token (row) may see which (column) in a micro-batch with real packets ``valid`` (B, L): boolean, (S, S) or (B, 1, S, S).

    None where everyone sees everyone.  FLOW, token 0, is seen by all.  Padding is seen by nobody; what padding sees is never read.
    """
    pattern = _PATTERNS[mode](group.width + 1)  # (S, S)
    if group.exact:
        return None if pattern.all() else pattern.to(valid.device)
    real = pad(valid, (1, 0), value=True)  # (B, S)
    return pattern.to(valid.device) & real[:, None, None, :]  # (B, 1, S, S)


def _full(size: int) -> Tensor:
    return torch.ones(size, size, dtype=torch.bool)


def _causal_strict(size: int) -> Tensor:
    return _full(size).tril()


def _causal_packets(size: int) -> Tensor:
    pattern = _causal_strict(size)
    pattern[0] = True
    return pattern


_PATTERNS: dict[str, Callable[[int], Tensor]] = {"full": _full, "causal_packets": _causal_packets, "causal_strict": _causal_strict}


def _linear(inputs: int, outputs: int) -> nn.Linear:
    return nn.utils.skip_init(nn.Linear, inputs, outputs)  # nn.Linear would draw from the global generator


def _modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return torch.addcmul(shift, layer_norm(x, x.shape[-1:]), scale + 1)  # (B, S, D)


def _time_features(t: Tensor) -> Tensor:
    """Sinusoidal embedding (Vaswani et al. 2017) of ``t`` (B,), as (B, 64)."""
    half = TIME_FEATURES // 2
    frequencies = torch.exp(torch.arange(half, device=t.device) * (-math.log(10_000.0) / half))  # (32,)
    angles = TIME_SCALE * t[:, None] * frequencies  # (B, 32)
    return torch.cat([angles.cos(), angles.sin()], dim=1)
