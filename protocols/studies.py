"""What JANUS is made of, taken away piece by piece: ablation, mechanism, stability by attention, and the two sweeps of
the outline.

Rows whose parameters are equal share their runs, so all aggregators of a fit cost one fit, and the protocols share what
they have in common. The differences to a study's reference row are made by ``reports.tables.ablation``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from janus_bench.extensions import BEST_FIXED, ProtocolSpec, Variant
from protocols.aggregators import Matrix, fit_aggregator
from protocols.catalogue import all_pairs
from protocols.operations import SourceLikeness, source_likeness

GROUP_A, GROUP_B = "A: aggregator", "B: architecture"

TEN = "terminal_*+disc_nll_*"
SIXTEEN = f"{TEN}+kinetic_*+velocity_*"
PARTS = ("total", "flow", "packet")
SCORES = (
    *("terminal_flow", "terminal_packet", "terminal_norm"),
    *(f"kinetic_{part}" for part in PARTS),
    *(f"velocity_{part}" for part in PARTS),
    *("disc_nll_total", *(f"disc_nll_ch{channel}" for channel in range(2, 8))),
)
"""The sixteen of the mechanism study."""

AGGREGATORS = (
    ("A1 terminal_norm", "column:terminal_norm"),
    ("A2 disc_nll_total", "column:disc_nll_total"),
    ("A3 max-z", f"max_z[columns={TEN}]"),
    ("A4 Mahalanobis", f"mahalanobis[columns={TEN}]"),
    ("A5 OAS", f"oas[columns={TEN}]"),
    ("A6 Ledoit-Wolf", f"ledoit_wolf[columns={TEN}]"),
    ("A7 OAS, continuous", "oas[columns=terminal_*]"),
    ("A7 OAS, discrete", "oas[columns=disc_nll_*]"),
    ("A8 k-NN", f"knn[columns={TEN}]"),
    ("A5 OAS, sixteen", f"oas[columns={SIXTEEN}]"),
    ("A8 k-NN, sixteen", f"knn[columns={SIXTEEN}]"),
    ("best fixed score", BEST_FIXED),
)

ARCHITECTURES: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("B1 no FLOW token", {"use_flow_token": False}),
    ("B2 no packet sequence", {"T": 0}),
    ("B3 no discrete head", {"disc_as_cont": True}),
    ("B4 no continuous head", {"cont_as_disc": True}),
    ("B5 no joint training", {"joint": False}),
    ("B5 λ_disc = 0", {"lambda_disc": 0.0}),
)

BACKBONES: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("full attention, 9 continuous", {"disc_as_cont": True, "reference_mode": "full"}),
    ("causal packets, 9 continuous", {"disc_as_cont": True, "reference_mode": "causal_packets"}),
    ("causal packets, mixed heads", {"reference_mode": "causal_packets"}),
)


def _protocol(
    name: str, summary: str, variants: Sequence[Variant], table: str = "", reference: str = "", beside: str = ""
) -> ProtocolSpec:
    """Every ordered pair, the diagonal included, without target-only baselines."""
    shown = ProtocolSpec(
        name, summary, all_pairs, ("transfer",), minimum=2, variants=tuple(variants), detectors=("janus",)
    )
    return replace(shown, table=table, reference=reference, beside=beside)


ABLATIONS = (
    _protocol(
        "ablation",
        (
            "JANUS's aggregators (Group A, one fit) and its parts left out one by one (Group B), within and across "
            "networks."
        ),
        (
            *(Variant(name, aggregator=aggregator, group=GROUP_A) for name, aggregator in AGGREGATORS),
            *(Variant(name, params=params, group=GROUP_B) for name, params in ARCHITECTURES),
        ),
        table="ablation",
        reference="A5 OAS",
        beside="A1 terminal_norm",
    ),
    _protocol(
        "mechanism",
        (
            "Three backbones of JANUS × sixteen single scores, beside JANUS itself; a score that a backbone lacks "
            "has no number."
        ),
        (
            Variant("OAS over ten", params=BACKBONES[-1][1], group="JANUS"),
            *(
                Variant(f"{backbone}: {score}", params=params, aggregator=f"column:{score}", group=backbone)
                for backbone, params in BACKBONES
                for score in SCORES
            ),
        ),
        table="mechanism",
        reference="OAS over ten",
        beside="causal packets, mixed heads: terminal_norm",
    ),
    _protocol(
        "stability-attention",
        "JANUS with and without packet-causal attention: the spread over seeds.",
        (
            Variant("causal packets", params={"reference_mode": "causal_packets"}),
            Variant("full attention", params={"reference_mode": "full"}),
        ),
        table="stability",
    ),
    _protocol(
        "sweep-lambda",
        "JANUS with weights 0, 0.5, 1 and 2 of the discrete loss; the reverse cell is one of the matrix.",
        [Variant(f"λ_disc = {weight:g}", params={"lambda_disc": weight}) for weight in (0.0, 0.5, 1.0, 2.0)],
    ),
    _protocol(
        "sweep-sigma",
        "JANUS with noise of 0.05, 0.1, 0.3 and 0.6 around the continuous path, within and across networks.",
        [Variant(f"σ = {sigma:g}", params={"sigma": sigma}) for sigma in (0.05, 0.1, 0.3, 0.6)],
    ),
)


def scalar_likeness(
    aggregator: str, columns: tuple[str, ...], calibration: Matrix, source_val: Matrix, cal_b: Matrix
) -> SourceLikeness | None:
    """``source_likeness`` of the scalar that ``aggregator`` makes of score ``columns``, fitted on the scores
    ``calibration`` (n, k).

    source_val, cal_b: scores of benign flows of the source and of the target that the aggregator was not fitted on.
    """
    scalar = fit_aggregator(aggregator, calibration, columns)
    return source_likeness(scalar(source_val), scalar(cal_b))
