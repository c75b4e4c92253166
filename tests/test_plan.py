"""Plans: which runs a protocol asks for, which fits serve them, and what a key depends on."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import pytest

from harness.plan import DetectorChoice, Settings, make_plan
from janus_bench.contract import Capabilities
from janus_bench.errors import UsageError
from janus_bench.extensions import Variant
from janus_bench.plugins import LoadedDetector
from protocols.catalogue import PROTOCOLS

CROSS = next(spec for spec in PROTOCOLS if spec.name == "cross")
WITHIN = next(spec for spec in PROTOCOLS if spec.name == "within")
SETTINGS = Settings("quick", "grouped", (42, 43), "cpu")


@dataclass(frozen=True)
class Params:
    sigma: float = 0.1
    depth: int = 4


def detector(label: str = "d", learns: bool = True, **given: str) -> DetectorChoice:
    profiles = {"quick": {"depth": 2}, "paper": {"sigma": 0.1}, "paper/cross": {"sigma": 0.6}}
    loaded = LoadedDetector("d", object, Capabilities(inputs=frozenset({"features"}), learns=learns), Params, profiles)
    return DetectorChoice(label, loaded, given)


def datasets(*names: str) -> dict[str, dict[str, str]]:
    return {name: {"hash": f"hash of {name}"} for name in names}


def test_a_4_by_4_matrix_costs_four_fits_a_seed_and_one_control_per_target():
    four = datasets("a", "b", "c", "d")
    plan = make_plan(CROSS, four, [detector()], SETTINGS)
    for run in (run for fit in plan.fits for run in fit.runs):
        assert run.target_hash == four[run.target]["hash"]
        assert run.source_hash == (four[run.source]["hash"] if run.source else None)
    for seed in SETTINGS.seeds:
        fits = [fit for fit in plan.fits if fit.first.seed == seed]
        transfer = [fit for fit in fits if fit.first.regime == "transfer"]
        control = [fit for fit in fits if fit.first.regime == "control"]
        assert sorted(fit.first.source for fit in transfer) == ["a", "b", "c", "d"]
        assert all([run.target for run in fit.runs] == ["a", "b", "c", "d"] for fit in transfer)
        assert sorted(fit.first.target for fit in control) == ["a", "b", "c", "d"]
        assert all(len(fit.runs) == 1 and fit.first.source is None for fit in control)
    assert len([cell for cell in plan.record.cells if cell.regime == "transfer"]) == 2 * 16


def test_fits_come_seed_by_seed_in_the_order_asked_for():
    plan = make_plan(
        CROSS, datasets("a", "b"), [detector("first"), detector("second", sigma="0.3")], replace(SETTINGS, seeds=(7, 3))
    )
    order = [(fit.first.seed, fit.label) for fit in plan.fits]
    assert order == [(seed, label) for seed in (7, 3) for label in ("first", "second") for _ in range(4)]


def test_a_detector_that_learns_nothing_has_no_control():
    plan = make_plan(CROSS, datasets("a", "b"), [detector(learns=False)], SETTINGS)
    assert {fit.first.regime for fit in plan.fits} == {"transfer"}


def test_paper_profile_fits_twice_because_sigma_differs_off_the_diagonal():
    plan = make_plan(CROSS, datasets("a", "b", "c"), [detector()], replace(SETTINGS, profile="paper", seeds=(42,)))
    transfer = [fit for fit in plan.fits if fit.first.regime == "transfer"]
    assert {
        (fit.first.source, fit.first.params["sigma"], tuple(run.target for run in fit.runs)) for fit in transfer
    } == {
        *{(name, 0.1, (name,)) for name in "abc"},
        ("a", 0.6, ("b", "c")),
        ("b", 0.6, ("a", "c")),
        ("c", 0.6, ("a", "b")),
    }
    # the control beside a cell has the cell's parameters: one per target and σ
    controls = {
        (cell.source == cell.target, cell.target): cell.run_key
        for cell in plan.record.cells
        if cell.regime == "control"
    }
    assert len(set(controls.values())) == 6


def test_layers_of_parameters():
    assert detector().params("quick", diagonal=False) == Params(0.1, 2)
    assert detector().params("paper", diagonal=False) == Params(0.6, 4)
    assert detector(sigma="0.3").params("paper", diagonal=False) == Params(0.3, 4)


def test_within_and_the_diagonal_of_cross_are_the_same_runs():
    within = make_plan(WITHIN, datasets("a", "b"), [detector()], SETTINGS)
    cross = make_plan(CROSS, datasets("a", "b"), [detector()], SETTINGS)
    assert {cell.run_key for cell in within.record.cells} < {cell.run_key for cell in cross.record.cells}


def test_every_declared_field_changes_the_key_and_the_target_does_not_change_the_fit():
    run = make_plan(CROSS, datasets("a", "b"), [detector()], SETTINGS).fits[0].runs[0]
    for name, value in asdict(run).items():
        changed = {"sigma": 9.0} if name == "params" else f"other {value}" if isinstance(value, str) else 99
        assert replace(run, **{name: changed}).key != run.key, name
    assert replace(run, target="z", target_hash="z").fit_key == run.fit_key
    assert replace(run, seed=7).fit_key != run.fit_key


def test_only_keeps_the_missing_runs():
    plan = make_plan(CROSS, datasets("a", "b"), [detector()], SETTINGS)
    wanted = plan.fits[0].runs[1].key
    (fit,) = plan.only({wanted})
    assert [run.key for run in fit.runs] == [wanted]
    assert plan.only(set()) == ()


def test_refusals():
    with pytest.raises(UsageError, match="at least 2 datasets, got a"):
        make_plan(CROSS, datasets("a"), [detector()], SETTINGS)
    with pytest.raises(UsageError, match="named twice"):
        make_plan(CROSS, datasets("a", "b"), [detector(), detector()], SETTINGS)


def protocol(name: str):
    return next(spec for spec in PROTOCOLS if spec.name == name)


def test_variants_are_rows_of_their_own():
    plan = make_plan(protocol("train-size"), datasets("a", "b"), [detector()], SETTINGS)
    assert list(plan.record.detectors) == [
        "d · 250 flows",
        "d · 500 flows",
        "d · 1000 flows",
        "d · 2000 flows",
        "d · all flows",
    ]
    assert {run.train_size for fit in plan.fits for run in fit.runs} == {250, 500, 1000, 2000, None}
    within = make_plan(WITHIN, datasets("a", "b"), [detector()], SETTINGS)
    shared = {cell.run_key for cell in plan.record.cells} & {cell.run_key for cell in within.record.cells}
    assert len(shared) == 4  # all flows, two datasets, two seeds: the runs of `within`


def test_pooled_fits_once_per_pair_and_stands_in_the_place_of_transfer():
    plan = make_plan(
        protocol("pooled"),
        datasets("a", "b"),
        [detector(), detector("still", learns=False)],
        replace(SETTINGS, seeds=(1,)),
    )
    assert set(plan.record.detectors) == {"d", "d · pooled", "still"}
    pooled = [fit for fit in plan.fits if fit.first.regime == "pooled"]
    assert sorted((run.source, run.target) for fit in pooled for run in fit.runs) == [
        ("a", "a"),
        ("a", "b"),
        ("b", "a"),
        ("b", "b"),
    ]
    assert len(pooled) == 4
    cells = [cell for cell in plan.record.cells if cell.label == "d · pooled"]
    assert {cell.regime for cell in cells} == {"transfer", "control"}


def test_presets_declare_their_caps():
    for name in ("conmd", "shafir"):
        plan = make_plan(protocol(f"preset-{name}"), datasets("a", "b"), [detector()], SETTINGS)
        assert {run.caps for fit in plan.fits for run in fit.runs} == {name}


def test_what_was_asked_for_is_in_every_run():
    settings = Settings("paper", "random", (5,), "cuda")
    uncalibrated = replace(CROSS, calibration="source_benign")
    plan = make_plan(
        uncalibrated, datasets("a", "b"), [detector(sigma="0.3"), detector("still", learns=False)], settings
    )
    for fit in plan.fits:
        for run in fit.runs:
            assert (run.profile, run.caps, run.split, run.seed, run.device, run.calibration) == (
                "paper",
                "paper",
                "random",
                5,
                "cuda",
                "source_benign",
            )
            assert (run.train_size, run.contamination, run.params["sigma"]) == (
                None,
                None,
                0.3 if fit.label == "d" else run.params["sigma"],
            )
            assert run.target_hash == f"hash of {run.target}"
            assert run.source_hash == (None if run.source is None else f"hash of {run.source}")
    assert (plan.record.profile, plan.record.split, plan.record.calibration) == ("paper", "random", "source_benign")
    assert {name: row.learns for name, row in plan.record.detectors.items()} == {"d": True, "still": False}


def test_published_protocols_ask_for_what_their_papers_say():
    shares = make_plan(protocol("contamination"), datasets("a", "b"), [detector()], SETTINGS)
    assert {run.contamination for fit in shares.fits for run in fit.runs} == {0.0, 0.01, 0.02, 0.05, 0.1}
    assert protocol("time").split == "time"
    assert {name: protocol(name).variants[0].caps for name in ("preset-conmd", "preset-shafir", "preset-janus")} == {
        "preset-conmd": "conmd",
        "preset-shafir": "shafir",
        "preset-janus": "paper",
    }


def test_a_row_is_declared_with_the_parameters_that_its_runs_have():
    varied = replace(WITHIN, variants=(Variant("low", params={"sigma": 0.05}), Variant("as asked")))
    plan = make_plan(varied, datasets("a"), [detector(sigma="0.3", depth="7")], SETTINGS)
    declared = {
        name: {key: float(value) for key, value in row.params.items()} for name, row in plan.record.detectors.items()
    }
    assert declared == {"d · low": {"sigma": 0.05, "depth": 7}, "d · as asked": {"sigma": 0.3, "depth": 7}}
    assert {fit.label: fit.first.params for fit in plan.fits} == declared
