"""The score columns that a set of parameters gives, and the columns that make the default scalar.  No torch here."""

from __future__ import annotations

from detectors.janus.params import JanusParams

__all__ = ["BIT_COLUMNS", "default_aggregator", "score_columns"]

BIT_COLUMNS = ("disc_nll_total", *(f"disc_nll_ch{channel}" for channel in range(2, 8)))
"""Channels 2 … 7 are direction, SYN, FIN, RST, PSH, ACK (``contract.DISCRETE_CHANNELS``); the names are the JANUS project's."""


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
