"""What can be set on JANUS, and what follows from it: widths, score columns, the default aggregator.  No torch here: the parent process reads it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from janus_bench.columns import (
    CONTINUOUS_CHANNELS,
    DISCRETE_CHANNELS,
    FLOW_FEATURES,
    MAX_PACKETS,
)

__all__ = ["BIT_COLUMNS", "COUPLINGS", "PRECISIONS", "JanusParams", "Widths", "default_aggregator", "score_columns"]

COUPLINGS = ("sinkhorn", "exact", "none", "stratified")
PRECISIONS = ("fp32", "tf32", "bf16")


class Widths(NamedTuple):
    """What a flow is made of: F entries of its FLOW token, and of each packet C entries that are not bits, then D bits; C + D = 9."""

    flow: int
    continuous: int
    bits: int


@dataclass(frozen=True)
class JanusParams:
    """Hyper-parameters; the defaults are the locked ones of the JANUS project, at full size.

    T               packets of a flow that are read, from its first one (the FLOW features are of all stored packets whatever T);
                    0: no packet sequence, the FLOW token alone (B2; the project's ``n_packet_tokens`` = 0)
    use_flow_token  False: packets alone (B1)
    disc_as_cont    True: no discrete head, the bits (as −1 / +1) are six more continuous channels (B3)
    cont_as_disc    True: no continuous head, every continuous entry is one of ``cont_n_bins`` quantile bins of the benign training flows, and
                    follows the discrete path from a uniform source (B4)
    joint           False: two networks of the same form, one trained on the continuous loss alone, one on the discrete (B5)
    d_model         width of the Transformer, a multiple of ``n_heads``
    n_layers        Transformer blocks
    n_heads         attention heads
    sigma           std of the Gaussian around the continuous path, in standard deviations of the benign training data
    lambda_disc     weight of the discrete loss; 0 trains the continuous head alone
    coupling        how noise and data are paired in a batch: ``sinkhorn`` (entropic optimal transport), ``exact``, ``none`` (independent),
                    ``stratified`` (sinkhorn among flows of equal length, which leaves c0 ~ N(0, I) given the length)
    reference_mode  who sees whom.  ``causal_packets``: packet i sees FLOW and packets j ≤ i, FLOW sees all (so the future reaches a packet
                    through FLOW from the second block on); ``causal_strict``: FLOW sees itself only; ``full``: everyone sees everyone
    discrete_source where the discrete path starts: ``uniform`` Bernoulli(1/2), or ``mask`` (a third state)
    bits            what the network is shown of the bits along the reverse ODE: ``clamped`` (the observed ones at every t) or ``path``
                    (noised as in training, by the fixed noise bank)
    k_steps         Euler steps of the reverse ODE
    reduction       how packets make a flow's score.  ``mean``: the mean over the valid packet entries; ``max``: the worst packet decides, by its mean
                    over its own entries (the root is taken afterwards), in the ``*_packet`` scores and, channel by channel, in ``disc_nll_ch*``, of
                    which ``disc_nll_total`` stays the mean.  Scores over FLOW entries, and those over all entries (``*_norm``, ``*_total`` of the
                    path, ``arc_length``), are means either way
    epochs          at most; early stopping on benign validation flows ends sooner
    patience        epochs without a lower validation loss before training ends
    batch           flows per optimiser step; the coupling spans the whole batch
    lr, weight_decay  AdamW's
    ema             decay of the averaged weights that are validated, kept and scored with (warmed up, see ``matching.averaging``)
    precision       of matrix products: ``fp32`` anywhere; ``tf32`` or ``bf16`` (autocast) on CUDA only
    """

    T: int = MAX_PACKETS
    use_flow_token: bool = True
    disc_as_cont: bool = False
    cont_as_disc: bool = False
    cont_n_bins: int = 32
    joint: bool = True
    d_model: int = 128
    n_layers: int = 4
    n_heads: int = 4
    sigma: float = 0.1
    lambda_disc: float = 1.0
    coupling: str = "sinkhorn"
    reference_mode: str = "causal_packets"
    discrete_source: str = "uniform"
    bits: str = "clamped"
    k_steps: int = 16
    reduction: str = "mean"
    epochs: int = 40
    patience: int = 10
    batch: int = 256
    lr: float = 3e-4
    weight_decay: float = 0.01
    ema: float = 0.999
    precision: str = "fp32"

    def __post_init__(self) -> None:
        """Raises ValueError with one line: the field, its value and what is allowed."""
        for field in fields(JanusParams):
            allowed, holds = _RULES[field.name]
            if not holds(value := getattr(self, field.name)):
                raise ValueError(f"{field.name} = {value!r}: must be {allowed}")
        for name, clashes, allowed in _CLASHES:
            if clashes(self):
                raise ValueError(f"{name} = {getattr(self, name)!r}: must be {allowed.format(self)}")

    @property
    def widths(self) -> Widths:
        """The entries and bits of a flow under these parameters."""
        bits = 0 if self.disc_as_cont else len(DISCRETE_CHANNELS)
        return Widths(len(FLOW_FEATURES) if self.use_flow_token else 0, len(CONTINUOUS_CHANNELS + DISCRETE_CHANNELS) - bits, bits)

    @property
    def outputs(self) -> int:
        """Numbers that the network gives for a continuous entry: its velocity, or where it is binned the logits of its bins."""
        return self.cont_n_bins if self.cont_as_disc else 1

    @property
    def has_bit_scores(self) -> bool:
        """Whether a discrete head is trained, on bits that there are."""
        return self.T > 0 and self.widths.bits > 0 and self.lambda_disc > 0


BIT_COLUMNS = ("disc_nll_total", *(f"disc_nll_ch{channel}" for channel in range(2, 8)))
"""Channels 2 … 7 are direction, SYN, FIN, RST, PSH, ACK (``columns.DISCRETE_CHANNELS``); the names are the JANUS project's."""


def score_columns(params: JanusParams) -> tuple[str, ...]:
    """Names of the columns in the order in which they are stored, the project's ten first; what ``params`` cannot score has no column.

    The twenty of the defaults cost what the ten do: the reverse ODE computes every velocity that the others are made of.
    Where a flow is its FLOW token alone, or its packets alone, the scores over "all" entries would repeat the others and are left out.
    """
    parts = [name for name, there in (("flow", params.use_flow_token), ("packet", params.T > 0)) if there]
    terminal = [f"terminal_{part}" for part in (*parts, "norm")[: 3 if len(parts) == 2 else 1]]
    path = [f"{kind}_{part}" for kind in ("kinetic", "velocity", "curvature") for part in (("total", *parts) if len(parts) == 2 else parts)]
    continuous = not params.cont_as_disc
    bits = BIT_COLUMNS if params.has_bit_scores else ()
    return (*(terminal if continuous else ()), *bits, *((*path, "arc_length") if continuous else ()))


def default_aggregator(params: JanusParams) -> str:
    """OAS over the project's ten columns, as far as there are any (Group B of the ablation)."""
    kinds = (["terminal_*"] if not params.cont_as_disc else []) + (["disc_nll_*"] if params.has_bit_scores else [])
    return f"oas[columns={'+'.join(kinds)}]"


Rule = tuple[str, Callable[[Any], bool]]


def _integer(low: int, high: int | None = None) -> Rule:
    text = f"an integer of at least {low}" if high is None else f"an integer from {low} to {high}"
    return text, lambda value: type(value) is int and value >= low and (high is None or value <= high)


def _number(text: str, holds: Callable[[float], bool]) -> Rule:
    return text, lambda value: type(value) in (int, float) and math.isfinite(value) and holds(value)


def _choice(*names: str) -> Rule:
    return f"one of {', '.join(names)}", lambda value: isinstance(value, str) and value in names


_RULES: dict[str, Rule] = {
    "T": _integer(0, MAX_PACKETS),
    "cont_n_bins": _integer(2),
    **dict.fromkeys(("d_model", "n_layers", "n_heads", "k_steps", "epochs", "patience", "batch"), _integer(1)),
    **dict.fromkeys(("use_flow_token", "disc_as_cont", "cont_as_disc", "joint"), ("true or false", lambda value: type(value) is bool)),
    **dict.fromkeys(("sigma", "lambda_disc", "weight_decay"), _number("a number of at least 0", lambda value: value >= 0)),
    "lr": _number("a number above 0", lambda value: value > 0),
    "ema": _number("a number from 0 to below 1", lambda value: 0 <= value < 1),
    "coupling": _choice(*COUPLINGS),
    "reference_mode": _choice("causal_packets", "causal_strict", "full"),
    "discrete_source": _choice("uniform", "mask"),
    "bits": _choice("clamped", "path"),
    "reduction": _choice("mean", "max"),
    "precision": _choice(*PRECISIONS),
}

_CLASHES: tuple[tuple[str, Callable[[JanusParams], bool], str], ...] = (
    ("d_model", lambda params: params.d_model % params.n_heads > 0, "a multiple of n_heads = {0.n_heads}"),
    ("T", lambda params: params.T == 0 and not params.use_flow_token, "at least 1 without a FLOW token (use_flow_token = False)"),
    ("disc_as_cont", lambda params: params.disc_as_cont and params.cont_as_disc, "false with cont_as_disc = True: one head must remain"),
    ("cont_as_disc", lambda params: params.cont_as_disc and not params.has_bit_scores, "false without bits to score (T = 0 or lambda_disc = 0)"),
    ("discrete_source", lambda params: params.cont_as_disc and params.discrete_source == "mask", "uniform with cont_as_disc = True"),
    ("joint", lambda params: not params.joint and (params.cont_as_disc or not params.has_bit_scores), "true without two heads to train apart"),
)
