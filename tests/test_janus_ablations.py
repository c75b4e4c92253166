"""The protocols that take JANUS apart: what they run and what they share.  Their tables: test_ablation_table.py."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import OAS
from sklearn.metrics import roc_auc_score

from detectors.janus import Janus, JanusParams
from harness.plan import DetectorChoice, Plan, Settings, make_plan
from janus_bench.extensions import BEST_FIXED, Variant
from janus_bench.plugins import LoadedDetector
from protocols.aggregators import fit_aggregator
from protocols.studies import ABLATIONS, GROUP_A, GROUP_B, SCORES, scalar_likeness
from reports.tables.details import TABLES

PROTOCOLS = {protocol.name: protocol for protocol in ABLATIONS}
DATASETS = {name: {"hash": f"hash of {name}"} for name in "ab"}


def plan(name: str, profile: str = "quick", seeds: tuple[int, ...] = (42,)) -> Plan:
    choice = DetectorChoice(
        "janus", LoadedDetector("janus", Janus, Janus.capabilities, JanusParams, Janus.profiles), {}
    )
    return make_plan(PROTOCOLS[name], DATASETS, [choice], Settings(profile, "grouped", seeds, "cpu"))


def test_all_aggregators_share_the_fits_of_the_whole_detector() -> None:
    made = plan("ablation")
    assert len(made.fits) == 2 * (1 + 6)  # per source: JANUS, and six architectures
    assert {fit.first.regime for fit in made.fits} == {"transfer"}
    keys: dict[str, set[str]] = {}
    for cell in made.record.cells:
        keys.setdefault(cell.label, set()).add(cell.run_key)
    groups = {
        group: [label for label, row in made.record.detectors.items() if row.group == group]
        for group in (GROUP_A, GROUP_B)
    }
    assert len({frozenset(keys[label]) for label in groups[GROUP_A]}) == 1
    assert len({frozenset(keys[label]) for label in groups[GROUP_B]}) == len(groups[GROUP_B]) == 6


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_row_has_an_aggregator_that_its_columns_allow_or_a_score_that_its_backbone_lacks(name: str) -> None:
    lacking = 0
    scores = np.random.default_rng(0).normal(size=(30, 20))
    made = plan(name)
    for row in made.record.detectors.values():
        columns = tuple(row.scores)
        wanted = row.aggregator.removeprefix("column:")
        if wanted.startswith("disc_nll") and wanted not in columns:
            lacking += 1
        elif wanted != BEST_FIXED:
            assert fit_aggregator(row.aggregator, scores[:, : len(columns)], columns)(
                scores[:3, : len(columns)]
            ).shape == (3,)
    # seven scores of the bits that two backbones without a discrete head do not have
    assert lacking == (14 if name == "mechanism" else 0)


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
    modes = {
        (fit.first.params["reference_mode"], fit.first.seed) for fit in plan("stability-attention", seeds=(42, 43)).fits
    }
    assert modes == {(mode, seed) for mode in ("causal_packets", "full") for seed in (42, 43)}


def test_likeness_of_a_scalar_is_the_auroc_of_benign_target_against_benign_source() -> None:
    rng = np.random.default_rng(0)
    calibration, source, target = rng.normal(size=(200, 2)), rng.normal(size=(80, 2)), rng.normal(1.0, 1.0, (90, 2))
    fitted = OAS().fit(calibration)
    expected = roc_auc_score(
        np.repeat([0, 1], [80, 90]), np.concatenate([fitted.mahalanobis(source), fitted.mahalanobis(target)])
    )
    found = scalar_likeness("oas", ("a", "b"), calibration, source, target)
    assert found is not None
    assert found.index == pytest.approx(max(expected, 1 - expected))


@pytest.mark.parametrize("name", ["ablation", "mechanism"])
def test_the_rows_that_the_tables_name_are_planned_and_the_tables_are_shown(name: str) -> None:
    variants = {variant.name: variant for variant in PROTOCOLS[name].variants}
    declared = PROTOCOLS[name]
    assert {declared.reference, declared.beside} <= set(variants)
    assert PROTOCOLS[name].table == name
    assert name in TABLES
    first, second = (runs_of(name, variants[chosen]) for chosen in (declared.beside, declared.reference))
    assert first == second  # one fit: the matrices differ in the aggregator alone


def runs_of(name: str, variant: Variant) -> set[str]:
    return {cell.run_key for cell in plan(name).record.cells if cell.label == f"janus · {variant.name}"}
