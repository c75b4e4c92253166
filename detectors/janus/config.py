"""What can be set on JANUS, and what follows from it: widths, score columns, the default aggregator.  No torch here:
the parent process reads it."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, NamedTuple, get_args

from janus_bench.columns import CONTINUOUS_CHANNELS, DISCRETE_CHANNELS, FLOW_FEATURES, MAX_PACKETS
from janus_bench.params import CheckedParams, Count, Limit, NonNegative, Positive

Coupling = Literal["sinkhorn", "exact", "none", "stratified"]
Precision = Literal["fp32", "tf32", "bf16"]
COUPLINGS, PRECISIONS = get_args(Coupling), get_args(Precision)


class Widths(NamedTuple):
    """What a flow is made of: F entries of its FLOW token, and of each packet C entries that are not bits, then D bits;
    C + D = 9."""

    flow: int
    continuous: int
    bits: int


@dataclass(frozen=True)
class JanusParams(CheckedParams):
    """Hyper-parameters; the defaults are the locked ones of the JANUS project, at full size.

    T               packets of a flow that are read, from its first one (the FLOW features are of all stored packets
    whatever T);
                    0: no packet sequence, the FLOW token alone (B2; the project's ``n_packet_tokens`` = 0)
    use_flow_token  False: packets alone (B1)
    disc_as_cont    True: no discrete head, the bits (as −1 / +1) are six more continuous channels (B3)
    cont_as_disc    True: no continuous head, every continuous entry is one of ``cont_n_bins`` quantile bins of the
                    benign training flows, and follows the discrete path from a uniform source (B4)
    joint           False: two networks of the same form, one trained on the continuous loss alone, one on the discrete
                    (B5)
    d_model         width of the Transformer, a multiple of ``n_heads``
    n_layers        Transformer blocks
    n_heads         attention heads
    sigma           std of the Gaussian around the continuous path, in standard deviations of the benign training data
    lambda_disc     weight of the discrete loss; 0 trains the continuous head alone
    coupling        how noise and data are paired in a batch: ``sinkhorn`` (entropic optimal transport), ``exact``,
                    ``none`` (independent), ``stratified`` (sinkhorn among flows of equal length, which leaves c0 ~ N(0,
                    I) given the length)
    reference_mode  who sees whom.  ``causal_packets``: packet i sees FLOW and packets j ≤ i, FLOW sees all (so the
                    future reaches a packet through FLOW from the second block on); ``causal_strict``: FLOW sees itself
                    only; ``full``: everyone sees everyone
    discrete_source where the discrete path starts: ``uniform`` Bernoulli(1/2), or ``mask`` (a third state)
    bits            what the network is shown of the bits along the reverse ODE: ``clamped`` (the observed ones at every
                    t) or ``path`` (noised as in training, by the fixed noise bank)
    k_steps         Euler steps of the reverse ODE
    reduction       how packets make a flow's score.  ``mean``: the mean over the valid packet entries; ``max``: the
                    worst packet decides, by its mean over its own entries (the root is taken afterwards), in the
                    ``*_packet`` scores and, channel by channel, in ``disc_nll_ch*``, of which ``disc_nll_total`` stays
                    the mean.  Scores over FLOW entries, and those over all entries (``*_norm``, ``*_total`` of the
                    path, ``arc_length``), are means either way
    epochs          at most; early stopping on benign validation flows ends sooner
    patience        epochs without a lower validation loss before training ends
    batch           flows per optimiser step; the coupling spans the whole batch
    lr, weight_decay  AdamW's
    ema             decay of the averaged weights that are validated, kept and scored with (warmed up, see
                    ``matching.averaging``)
    precision       of matrix products: ``fp32`` anywhere; ``tf32`` or ``bf16`` (autocast) on CUDA only
    """

    name: ClassVar[str] = "janus"
    flow_columns: ClassVar[tuple[str, ...]] = FLOW_FEATURES
    """What the FLOW token is made of."""

    T: Annotated[int, Limit("≥", 0), Limit("≤", MAX_PACKETS)] = MAX_PACKETS
    use_flow_token: bool = True
    disc_as_cont: bool = False
    cont_as_disc: bool = False
    cont_n_bins: Annotated[int, Limit("≥", 2)] = 32
    joint: bool = True
    d_model: Count = 128
    n_layers: Count = 4
    n_heads: Count = 4
    sigma: NonNegative = 0.1
    lambda_disc: NonNegative = 1.0
    coupling: Coupling = "sinkhorn"
    reference_mode: Literal["causal_packets", "causal_strict", "full"] = "causal_packets"
    discrete_source: Literal["uniform", "mask"] = "uniform"
    bits: Literal["clamped", "path"] = "clamped"
    k_steps: Count = 16
    reduction: Literal["mean", "max"] = "mean"
    epochs: Count = 40
    patience: Count = 10
    batch: Count = 256
    lr: Positive = 3e-4
    weight_decay: NonNegative = 0.01
    ema: Annotated[float, Limit("≥", 0), Limit("<", 1)] = 0.999
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        """Raises UsageError with one line: the field, what is allowed, and its value."""
        super().__post_init__()
        self.require(self.d_model % self.n_heads == 0, "d_model", f"a multiple of n_heads = {self.n_heads}")
        self.require(self.T > 0 or self.use_flow_token, "T", "at least 1 without a FLOW token (use_flow_token = False)")
        self.require(
            not (self.disc_as_cont and self.cont_as_disc),
            "disc_as_cont",
            "false with cont_as_disc = True: one head must remain",
        )
        self.require(
            not self.cont_as_disc or self.has_bit_scores,
            "cont_as_disc",
            "false without bits to score (T = 0 or lambda_disc = 0)",
        )
        self.require(
            not self.cont_as_disc or self.discrete_source == "uniform",
            "discrete_source",
            "uniform with cont_as_disc = True",
        )
        apart = self.has_bit_scores and not self.cont_as_disc
        self.require(self.joint or apart, "joint", "true without two heads to train apart")

    @property
    def widths(self) -> Widths:
        """The entries and bits of a flow under these parameters."""
        bits = 0 if self.disc_as_cont else len(DISCRETE_CHANNELS)
        return Widths(
            len(self.flow_columns) if self.use_flow_token else 0,
            len(CONTINUOUS_CHANNELS + DISCRETE_CHANNELS) - bits,
            bits,
        )

    @property
    def outputs(self) -> int:
        """Numbers that the network gives for a continuous entry: its velocity, or where it is binned the logits of its
        bins."""
        return self.cont_n_bins if self.cont_as_disc else 1

    @property
    def has_bit_scores(self) -> bool:
        """Whether a discrete head is trained, on bits that there are."""
        return self.T > 0 and self.widths.bits > 0 and self.lambda_disc > 0


BIT_COLUMNS = ("disc_nll_total", *(f"disc_nll_ch{channel}" for channel in range(2, 8)))
"""Channels 2 … 7 are direction, SYN, FIN, RST, PSH, ACK (``columns.DISCRETE_CHANNELS``); the names are the JANUS
project's."""


def score_columns(params: JanusParams) -> tuple[str, ...]:
    """Names of the columns in the order in which they are stored, the project's ten first; what ``params`` cannot score
    has no column.

    The twenty of the defaults cost what the ten do: the reverse ODE computes every velocity that the others are made
    of. Where a flow is its FLOW token alone, or its packets alone, the scores over "all" entries would repeat the
    others and are left out.
    """
    parts = [name for name, there in (("flow", params.use_flow_token), ("packet", params.T > 0)) if there]
    terminal = [f"terminal_{part}" for part in (*parts, "norm")[: 3 if len(parts) == 2 else 1]]
    path = [
        f"{kind}_{part}"
        for kind in ("kinetic", "velocity", "curvature")
        for part in (("total", *parts) if len(parts) == 2 else parts)
    ]
    continuous = not params.cont_as_disc
    bits = BIT_COLUMNS if params.has_bit_scores else ()
    return (*(terminal if continuous else ()), *bits, *((*path, "arc_length") if continuous else ()))


def default_aggregator(params: JanusParams) -> str:
    """OAS over the project's ten columns, as far as there are any (Group B of the ablation)."""
    kinds = (["terminal_*"] if not params.cont_as_disc else []) + (["disc_nll_*"] if params.has_bit_scores else [])
    return f"oas[columns={'+'.join(kinds)}]"
