"""The protocols that take JANUS apart: what they run, what they share, and the table of what each piece is worth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.covariance import OAS
from sklearn.metrics import roc_auc_score

from detectors.janus import Janus, JanusParams
from harness.extensions import BEST_FIXED
from harness.plan import DetectorChoice, Plan, Settings, make_plan
from harness.plugins import LoadedDetector
from protocols.ablations import ABLATIONS, GROUP_A, GROUP_B, SCORES, scalar_likeness
from protocols.aggregators import fit_aggregator
from reports.ablation_table import ablation_blocks, ablation_deltas, ablation_rows, matrices_beside

PROTOCOLS = {protocol.name: protocol for protocol in ABLATIONS}
DATASETS = {name: {"hash": f"hash of {name}"} for name in "ab"}


def plan(name: str, profile: str = "quick", seeds: tuple[int, ...] = (42,)) -> Plan:
    choice = DetectorChoice("janus", LoadedDetector("janus", Janus, Janus.capabilities, JanusParams, Janus.profiles), {})
    return make_plan(PROTOCOLS[name], DATASETS, [choice], Settings(profile, "grouped", seeds, "cpu"))


def test_all_aggregators_share_the_fits_of_the_whole_detector() -> None:
    made = plan("ablation")
    assert len(made.fits) == 2 * (1 + 6)  # per source: JANUS, and six architectures
    assert {fit.first.regime for fit in made.fits} == {"transfer"}
    keys: dict[str, set[str]] = {}
    for cell in made.record.cells:
        keys.setdefault(cell.label, set()).add(cell.run_key)
    groups = {group: [label for label, row in made.record.detectors.items() if row["group"] == group] for group in (GROUP_A, GROUP_B)}
    assert len({frozenset(keys[label]) for label in groups[GROUP_A]}) == 1
    assert len({frozenset(keys[label]) for label in groups[GROUP_B]}) == len(groups[GROUP_B]) == 6


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_row_has_an_aggregator_that_its_columns_allow_or_a_score_that_its_backbone_lacks(name: str) -> None:
    lacking = 0
    scores = np.random.default_rng(0).normal(size=(30, 20))
    made = plan(name)
    for row in made.record.detectors.values():
        columns = tuple(row["scores"])
        wanted = row["aggregator"].removeprefix("column:")
        if wanted.startswith("disc_nll") and wanted not in columns:
            lacking += 1
        elif wanted != BEST_FIXED:
            assert fit_aggregator(row["aggregator"], scores[:, : len(columns)], columns)(scores[:3, : len(columns)]).shape == (3,)
    assert lacking == (14 if name == "mechanism" else 0)  # seven scores of the bits that two backbones without a discrete head do not have


def test_the_mechanism_study_has_three_backbones_and_sixteen_scores_and_shares_two_fits_with_the_ablation() -> None:
    mechanism, ablation = plan("mechanism"), plan("ablation")
    assert len(SCORES) == len(set(SCORES)) == 16
    assert set(SCORES) <= set(Janus.capabilities.scores)
    assert len(mechanism.record.detectors) == 1 + 3 * 16
    assert len(mechanism.fits) == 2 * 3
    assert len({fit.key for fit in mechanism.fits} & {fit.key for fit in ablation.fits}) == 2 * 2


def test_sweeps_and_stability_change_what_they_say_also_where_the_profile_has_its_own_off_the_diagonal() -> None:
    sigma = plan("sweep-sigma", "paper")
    assert sorted({fit.first.params["sigma"] for fit in sigma.fits}) == [0.05, 0.1, 0.3, 0.6]
    assert len(sigma.fits) == 2 * 4  # the diagonal and the rest have one σ: one fit per source
    assert sorted({fit.first.params["lambda_disc"] for fit in plan("sweep-lambda").fits}) == [0.0, 0.5, 1.0, 2.0]
    modes = {(fit.first.params["reference_mode"], fit.first.seed) for fit in plan("stability-attention", seeds=(42, 43)).fits}
    assert modes == {(mode, seed) for mode in ("causal_packets", "full") for seed in (42, 43)}


def test_likeness_of_a_scalar_is_the_auroc_of_benign_target_against_benign_source() -> None:
    rng = np.random.default_rng(0)
    calibration, source, target = rng.normal(size=(200, 2)), rng.normal(size=(80, 2)), rng.normal(1.0, 1.0, (90, 2))
    fitted = OAS().fit(calibration)
    expected = roc_auc_score(np.repeat([0, 1], [80, 90]), np.concatenate([fitted.mahalanobis(source), fitted.mahalanobis(target)]))
    found = scalar_likeness("oas", ("a", "b"), calibration, source, target)
    assert found is not None
    assert found.index == pytest.approx(max(expected, 1 - expected))


def row(name: str, group: str, within: float | None, cross: float | None, worst: float | None, aggregator: str = "oas") -> dict[str, Any]:
    numbers = {"within_mean": within, "cross_mean": cross, "cross_worst": worst}
    lacks = {"status": "ok", "reason": "unknown score column 'x'"} if within is None else {"status": "ok", "reason": ""}
    cells = [{"source": s, "target": t, "mean": within if s == t else cross, "aggregator": aggregator, **lacks} for s in "ab" for t in "ab"]
    std = {name: None if value is None else 0.01 for name, value in numbers.items()}
    return {"detector": f"janus · {name}", "group": group, "summary": numbers, "summary_std": std, "cells": cells}


DOCUMENT = {
    "protocol": "ablation",
    "metric": "auroc",
    "datasets": ["a", "b"],
    "rows": [
        row("B2 no packet sequence", GROUP_B, 0.9, 0.5, 0.25),
        row("best fixed score", GROUP_A, 0.99, 0.98, 0.97, BEST_FIXED),
        row("A5 OAS", GROUP_A, 0.875, 0.75, 0.625),
        row("A1 terminal_norm", GROUP_A, 0.89, 0.5, 0.375),
        row("A2 disc_nll_total", GROUP_A, None, None, None),
    ],
}


def test_deltas_are_points_against_the_reference_row() -> None:
    rows = ablation_rows(DOCUMENT, {"janus · A1 terminal_norm": 0.87})
    assert [row.name for row in rows] == ["A1 terminal_norm", "A2 disc_nll_total", "A5 OAS", "best fixed score", "B2 no packet sequence"]
    first = rows[0]
    assert first.delta == pytest.approx({"within_mean": 0.015, "cross_mean": -0.25, "cross_worst": -0.25})
    assert (first.likeness, rows[2].likeness) == (0.87, None)
    assert [row.upper_bound for row in rows] == [False, False, False, True, False]
    assert rows[1].reason == "unknown score column 'x'"
    assert rows[1].delta == dict.fromkeys(first.delta)
    deltas = ablation_deltas(rows)
    assert set(deltas) == {"A1 terminal_norm", "best fixed score", "B2 no packet sequence"}
    assert deltas["B2 no packet sequence"] == pytest.approx({"within": 2.5, "cross mean": -25.0, "cross worst": -37.5})


def test_the_table_has_the_projects_form_by_group() -> None:
    first, second = ablation_blocks(DOCUMENT, {"janus · A1 terminal_norm": 0.87})
    assert first.title == "janus, A: aggregator (auroc %, differences in points)"
    assert first.header[1:7] == ("within", "cross mean", "cross worst", "Δ within", "Δ cross mean", "Δ cross worst")
    assert first.rows[0] == ("A1 terminal_norm", "89.00 ± 1.00", "50.00 ± 1.00", "37.50 ± 1.00", "+1.50", "−25.00", "−25.00", "0.870", "")
    assert first.rows[1][1:] == ("–", "–", "–", "–", "–", "–", "–", "unknown score column 'x'")
    assert first.rows[3][-1] == "upper bound: chosen with the labels of the test"
    assert [cells[0] for cells in second.rows] == ["B2 no packet sequence"]
    assert all(len(cells) == len(first.header) for cells in (*first.rows, *second.rows))


def test_two_matrices_stand_beside_each_other() -> None:
    block = matrices_beside(DOCUMENT, "janus · A1 terminal_norm", "janus · A5 OAS")
    assert block.rows == (("a", "89.00 | 87.50", "50.00 | 75.00"), ("b", "50.00 | 75.00", "89.00 | 87.50"))
    with pytest.raises(ValueError, match="no row 'janus'"):
        matrices_beside(DOCUMENT, "janus", "janus · A5 OAS")
