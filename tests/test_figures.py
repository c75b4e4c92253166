"""Figures: the same bytes for the same numbers, curves against scikit-learn, and what is drawn read back from the
SVG."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from harness.cli import figures as command
from janus_bench.errors import DataError, JanusBenchError, UsageError
from janus_bench.records import DatasetEntry, DetectorRow, ExpectedCell, PlanRecord, RunRecord, RunSpec
from reports.figures import (
    DayCurve,
    Format,
    IncidentPoint,
    Matrices,
    ScorePanel,
    ablation_bars,
    cross_heat_map,
    cross_heat_maps,
    day_curves,
    forest_plot,
    incident_plot,
    roc,
    roc_curves,
    score_densities,
)
from reports.figures.density import _edges
from reports.figures.style import number
from reports.results.folder import RunStore
from reports.results.model import Run
from reports.tables.forest import ForestRow

NAMES = ("office", "home")
FIRST = np.array([[0.95, 0.5625], [np.nan, 0.875]])
SECOND = np.array([[0.9, 0.8], [0.7, 0.89]])


def scores(seed: int, n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    attack = rng.random(n) < 0.4
    return rng.lognormal(attack * 1.0, 1.5), attack


def heat(form: Format = "svg", note: str = "") -> bytes:
    return cross_heat_maps(Matrices(FIRST, SECOND, ("terminal_norm", "oas"), NAMES, NAMES), form, note)


def curves(form: Format = "svg", note: str = "") -> bytes:
    return roc_curves({"janus": scores(1), "iforest": scores(2)}, form, note)


def densities(form: Format = "svg", note: str = "") -> bytes:
    panels = []
    for position, (source, target) in enumerate([("office", "office"), ("home", "home")]):
        score, attack = scores(position)
        panels.append(ScorePanel(source, target, {"benign": score[~attack], "attack": score[attack]}, 40.0))
    return score_densities(panels, "janus, oas", "tau at P99", form, note)


def ablations(form: Format = "svg", note: str = "") -> bytes:
    deltas = {
        "no token": {"within mean": -0.94, "cross mean": -6.7},
        "no packets": {"within mean": 0.15, "cross mean": None},
    }
    return ablation_bars(deltas, "janus", form=form, note=note)


def days(form: Format = "svg", note: str = "") -> bytes:
    curve = DayCurve([0.01, 0.2, 0.25], [0.01, 0.2, None])
    return day_curves({"office": (["2026-05-02", "2026-05-03", "2026-05-04"], {"knn": curve})}, 0.01, form, note)


def incidents(form: Format = "svg", note: str = "") -> bytes:
    points = {
        "knn": [IncidentPoint("P99", 0.5, 2.0, (0.25, 0.75), (1.0, 4.0)), IncidentPoint("P99.9", 0.25, 0.0)],
        "iforest": [IncidentPoint("P99", 1.0, 30.0)],
    }
    return incident_plot(points, form, note, "office → home, seeds 42")


FIGURES: dict[str, Callable[..., bytes]] = {
    "heatmap": heat,
    "roc": curves,
    "density": densities,
    "ablation": ablations,
    "drift": days,
    "incidents": incidents,
}


@cache
def drawn(name: str, form: Format = "svg", note: str = "") -> bytes:
    return FIGURES[name](form, note)


MAGIC = {"svg": b"<?xml", "pdf": b"%PDF-", "png": b"\x89PNG"}


def words_of(svg: bytes) -> list[str]:
    """Texts of an SVG: matplotlib draws them as paths and keeps each as a comment."""
    return [found.strip() for found in re.findall(r"<!--(.*?)-->", svg.decode(), flags=re.DOTALL)]


# -- all of them -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "form"), [*((name, form) for name in FIGURES for form in ("svg", "pdf")), ("ablation", "png")]
)
def test_equal_numbers_give_equal_bytes_whatever_the_users_settings(name: str, form: Format) -> None:
    first = drawn(name, form)
    assert first.startswith(MAGIC[form])
    with mpl.rc_context({"lines.linewidth": 9.0, "font.size": 20, "svg.hashsalt": "other"}):
        assert FIGURES[name](form) == first
        assert mpl.rcParams["lines.linewidth"] == 9.0  # and the user's settings are left alone


@pytest.mark.parametrize("name", FIGURES)
def test_no_date_and_a_valid_svg(name: str) -> None:
    svg = drawn(name)
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert b"<dc:date>" not in svg
    assert b"CreationDate" not in drawn(name, "pdf")


@pytest.mark.parametrize("name", FIGURES)
def test_a_warning_stands_on_the_figure(name: str) -> None:
    assert "SYNTHETIC DATA" in words_of(drawn(name, "svg", "SYNTHETIC DATA"))
    assert "SYNTHETIC DATA" not in words_of(drawn(name))


def test_another_format_is_refused() -> None:
    with pytest.raises(ValueError, match="svg, pdf, png, not 'jpg'"):
        heat("jpg")  # type: ignore[arg-type]


def test_no_global_figure_is_left_behind() -> None:
    script = (
        "import sys; from reports.figures import ablation_bars; ablation_bars({'a': {'b': 1.0}}, 'c'); "
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1]
    )
    assert done.stdout.strip() == "False"


def test_the_package_is_imported_without_matplotlib() -> None:
    script = "import sys, reports.figures, harness.cli.figures; print('matplotlib' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1]
    )
    assert done.stdout.strip() == "False"


# -- one by one --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [(0.5, False, ".50"), (1.0, False, "1.00"), (-0.11, True, "−.11"), (0.004, True, "+.00"), (-1.25, True, "−1.25")],
)
def test_numbers_are_written_as_on_the_leaderboard(value: float, signed: bool, text: str) -> None:
    assert number(value, signed) == text


def test_a_figure_of_incidents_names_detectors_thresholds_and_its_cell_and_bounds_how_many() -> None:
    words = words_of(drawn("incidents"))
    wanted = {"knn", "iforest", "τ = P99", "τ = P99.9", "campaigns found", "false incidents a day"}
    assert wanted <= set(words)
    assert any("office → home, seeds 42" in word for word in words)
    point = IncidentPoint("P99", 0.5, 2.0)
    for points in ({}, {key: [point] for key in "abcdefgh"}):
        with pytest.raises(ValueError, match="1 to 7 detectors"):
            incident_plot(points)


def test_a_heat_map_has_every_number_difference_and_gap() -> None:
    words = words_of(drawn("heatmap"))
    for text in (".95", ".56", ".88", ".90", ".80", ".70", ".89", "−.05", "+.24", "+.02"):
        assert text in words
    assert words.count("–") == 2  # the missing number and its difference
    assert {"terminal_", "norm", "oas", "oas −"} <= set(words)  # titles are no wider than their panels
    assert any("≤ .57 underlined" in word for word in words)


def test_a_heat_map_of_another_metric_begins_at_zero_and_underlines_nothing() -> None:
    matrices = Matrices(FIRST, SECOND, ("a", "b"), NAMES, NAMES, "TPR", area=False, heading="janus")
    for figure, said in ((cross_heat_map, "TPR"), (cross_heat_maps, "TPR, source = target framed")):
        words = words_of(figure(matrices))
        assert {"0.0", "1.0", said} <= set(words)
        assert any(word.startswith("janus") for word in words)


def test_a_matrix_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="shape \\(2, 2\\) does not fit 2 sources and 3 targets"):
        Matrices(FIRST, SECOND, ("a", "b"), NAMES, (*NAMES, "more"))


@given(
    st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=40).filter(
        lambda flows: len({attack for _, attack in flows}) == 2
    )
)
@settings(max_examples=60, deadline=None)
def test_the_curve_is_that_of_scikit_learn_ties_included(flows: list[tuple[int, bool]]) -> None:
    score, attack = (np.array(column) for column in zip(*flows, strict=True))
    false, true = roc(score, attack)
    expected_false, expected_true, _ = roc_curve(attack, score, drop_intermediate=False)
    np.testing.assert_allclose(false, expected_false)
    np.testing.assert_allclose(true, expected_true)
    assert np.trapezoid(true, false) == pytest.approx(roc_auc_score(attack, score))


@pytest.mark.parametrize("attack", [[True, True], [False, False], [True]])
def test_a_curve_needs_both_kinds_of_flows(attack: list[bool]) -> None:
    with pytest.raises(ValueError, match="both attacks and benign flows"):
        roc([0.1, 0.2], attack)


def test_the_legend_has_the_area_and_the_rate_at_one_percent_as_the_metric_counts_it() -> None:
    from protocols.metrics import tpr_at_fpr

    score, attack = scores(1, 2000)
    words = words_of(roc_curves({"janus": (score, attack)}))
    found = tpr_at_fpr(score, attack, 100)
    assert found is not None
    assert f"AUROC {number(roc_auc_score(attack, score))}   TPR at 1 % FPR {number(found)}   janus" in words


def test_more_curves_than_line_styles_are_refused() -> None:
    with pytest.raises(ValueError, match="1 to 7 curves, not 8"):
        roc_curves({str(position): scores(position) for position in range(8)})


def test_density_bins_cover_scores_and_thresholds_and_are_logarithmic_only_where_they_can_be() -> None:
    wide = np.geomspace(0.01, 100, 500)
    edges, logarithmic = _edges([ScorePanel("a", "b", {"benign": wide}, 500.0)])
    assert logarithmic
    assert edges[0] < 0.02
    assert edges[-1] > 500
    np.testing.assert_allclose(np.diff(np.log(edges)), np.log(edges[1] / edges[0]))
    edges, logarithmic = _edges([ScorePanel("a", "b", {"benign": wide - 0.01})])  # 0 has no logarithm
    assert not logarithmic
    edges, logarithmic = _edges([ScorePanel("a", "b", {"benign": np.full(5, 2.0)})])
    assert edges[0] < 2 < edges[-1]


def test_a_density_figure_names_its_groups_and_leaves_cells_without_scores_empty() -> None:
    words = words_of(drawn("density"))
    assert {"benign", "attack", "tau at P99", "source = target", "office", "home"} <= set(words)
    with pytest.raises(ValueError, match="1 to 3 groups"):
        score_densities([], "s")
    with pytest.raises(ValueError, match="1 to 3 groups"):
        score_densities([ScorePanel("a", "b", {str(group): [1.0, 2.0] for group in range(4)})], "s")


def test_ablation_bars_write_every_difference_and_a_missing_one() -> None:
    words = words_of(drawn("ablation"))
    for text in ("−0.94", "−6.70", "+0.15", "no number", "difference to janus, AUROC points"):
        assert text in words
    with pytest.raises(ValueError, match="the same 1 to 3 summaries"):
        ablation_bars({"a": {"x": 1.0}, "b": {"y": 1.0}}, "c")
    with pytest.raises(ValueError, match="the same 1 to 3 summaries"):
        ablation_bars({}, "c")


# -- from a results folder ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two detectors, two networks, one seed; ``beta`` timed out on home → office."""
    folder = tmp_path_factory.mktemp("results")
    store = RunStore.create(folder)
    cells = []
    for label in ("alpha", "beta"):
        for position, (source, target) in enumerate([(source, target) for source in NAMES for target in NAMES]):
            spec = RunSpec(
                detector=label,
                version="1",
                params={},
                regime="transfer",
                calibration="target_benign",
                seed=7,  # type: ignore[arg-type]
                source=source,
                source_hash=f"hash-{source}",
                target=target,
                target_hash=f"hash-{target}",  # type: ignore[arg-type]
                **dict.fromkeys(("split", "caps", "profile", "device"), "test"),  # type: ignore[arg-type]
            )
            key = spec.key
            cells.append(ExpectedCell(label, "transfer", source, target, 7, key))
            failed = (label, source, target) == ("beta", "home", "office")
            store.append(record(spec, "timeout" if failed else "ok"))
            if not failed:
                store.write_scores(key, stored_scores(position, target))
    for target in NAMES:
        attack = scores(0, 100)[1]
        columns = {
            "flow_id": np.arange(100),
            "attack": attack,
            "family": np.where(attack, "scan", ""),
            "n_packets": np.full(100, 3),
        }
        columns["source"] = np.full(100, "capture")
        store.write_truth(f"hash-{target}", pl.DataFrame(columns))
    datasets = {name: DatasetEntry(f"hash-{name}", synthetic=True, flows=1, benign=1, attack=1) for name in NAMES}
    detectors = {
        label: DetectorRow(label, provenance="control", scores=("a", "b"), aggregator="oas")
        for label in ("alpha", "beta")
    }
    store.write_plan(PlanRecord("cross", "quick", "grouped", "target_benign", (7,), datasets, detectors, tuple(cells)))
    return folder


def record(spec: RunSpec, status: str) -> RunRecord:
    return RunRecord(
        key=spec.key,
        fit_key=spec.detector,
        spec=asdict(spec),
        status=status,  # type: ignore[arg-type]
        reason="exceeded 1s" if status != "ok" else "",
        attempt=1,
        finished="",
        provenance="control",
        uses_labels=False,
        aggregator="oas",
    )


def stored_scores(seed: int, target: str) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    attack = scores(0, 100)[1]
    parts = [
        (role, rng.normal(size=(100, 2)) + (2.0 * attack[:, None] if role == "test" else 0.0))
        for role in ("cal_a", "cal_b", "test")
    ]
    frames = [
        pl.DataFrame({"flow_id": np.arange(100), "target": target, "role": role, "a": both[:, 0], "b": both[:, 1]})
        for role, both in parts
    ]
    return pl.concat(frames)


def test_every_figure_is_made_from_stored_scores(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command.heatmap(tmp_path / "heat.svg", "alpha", "column:a", runs=runs)
    command.roc(tmp_path / "roc.pdf", "alpha,beta", "office", "home", runs=runs)
    command.density(tmp_path / "density.svg", "alpha", "column:a", 7, runs=runs)
    command.ablation(tmp_path / "ablation.svg", "alpha", runs=runs)
    command.ablation(tmp_path / "published.svg", "published", runs=tmp_path / "none")
    assert (tmp_path / "roc.pdf").read_bytes().startswith(MAGIC["pdf"])
    words = {
        name: words_of((tmp_path / f"{name}.svg").read_bytes()) for name in ("heat", "density", "ablation", "published")
    }
    assert {"alpha", "a", "oas", "oas − a", "SYNTHETIC DATA"} <= set(words["heat"])
    shown = {"alpha, a (outermost bins: all beyond)", "seed 7", "τ = P99 of calibration flows B", "SYNTHETIC DATA"}
    assert shown <= set(words["density"])
    command.roc(tmp_path / "roc.svg", "alpha,beta", "office", "home", runs=runs)
    assert "office → home, seed 7" in words_of((tmp_path / "roc.svg").read_bytes())
    assert "no number" in words["ablation"]  # beta has no complete cross mean
    assert "−36.27" in words["published"]
    assert "SYNTHETIC DATA" not in words["published"]
    said = capsys.readouterr()
    assert said.out == ""
    assert "seed 7" in said.err


def test_a_matrix_alone_and_a_score_that_is_not_there(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --first one matrix; a detector of one score has no second one under another title."""
    command.heatmap(tmp_path / "one.svg", "alpha", runs=runs)
    words = words_of((tmp_path / "one.svg").read_bytes())
    assert "alpha" in words
    assert "difference" not in words
    command.heatmap(tmp_path / "one.svg", "alpha", second="column:b", metric="auprc", runs=runs)
    words = words_of((tmp_path / "one.svg").read_bytes())
    assert {"alpha, b", "AUPRC", "0.0"} <= set(words)
    with pytest.raises(UsageError, match="--first and --second are both column:b"):
        command.heatmap(tmp_path / "two.svg", "alpha", "column:b", "column:b", runs=runs)
    with pytest.raises(UsageError, match="oas is how alpha is scored anyway"):
        command.heatmap(tmp_path / "two.svg", "alpha", "oas", runs=runs)
    with pytest.raises(UsageError, match=r"alpha: .*'c'"):
        command.heatmap(tmp_path / "two.svg", "alpha", "column:c", runs=runs)
    monkeypatch.setattr(Run, "single_score", True)
    with pytest.raises(UsageError, match="alpha has one score, of which column:b makes nothing else"):
        command.heatmap(tmp_path / "two.svg", "alpha", "column:b", runs=runs)
    assert not (tmp_path / "two.svg").exists()


def test_a_detector_without_a_number_has_no_matrix(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = command.document

    def failed(*asked: Any) -> Any:
        found = board(*asked)
        for cell in (cell for row in found["rows"] for cell in row["cells"]):
            cell |= {"mean": None, "status": "error", "reason": "ValueError: nothing"}
        return found

    monkeypatch.setattr(command, "document", failed)
    with pytest.raises(UsageError, match=r"^alpha has no number of auroc \(error: ValueError: nothing\): there is no"):
        command.heatmap(tmp_path / "heat.svg", "alpha", runs=runs)
    assert not (tmp_path / "heat.svg").exists()


def test_a_forest_has_every_row_with_its_gain() -> None:
    rows = [
        ForestRow("first", 0.9, (0.85, 0.95), (0.7, 1.0), 0.12),
        ForestRow("second", 0.8, (0.75, 0.85), None, -0.034),
        ForestRow("third", 0.5, None, None, None),
        ForestRow("fourth", 0.4, None, None, None, without="control incomplete"),
    ]
    words = words_of(forest_plot(rows, "cross mean of AUROC", note="SYNTHETIC DATA"))
    assert {"first", "second", "third", "+.120", "−.034", "SYNTHETIC DATA"} <= set(words)
    assert {"no control", "control incomplete"} <= {word.strip() for word in words}
    assert "95 %: these networks (thick), others like them (thin)" in words
    assert "95 %: these networks (thick)" in words_of(forest_plot(rows[1:], "cross mean"))
    assert not any("95 %" in word for word in words_of(forest_plot(rows[2:], "cross mean")))
    without = words_of(forest_plot([replace(row, gain=None) for row in rows], "cross mean"))
    assert not any("target-only" in word for word in without)
    with pytest.raises(ValueError, match="no row"):
        forest_plot([], "cross mean")


@pytest.mark.parametrize(
    ("make", "error", "complaint"),
    [
        (
            lambda folder, file: command.density(file.with_suffix(".jpg"), "alpha", runs=folder),
            UsageError,
            ".svg, .pdf, .png",
        ),
        (lambda folder, file: command.density(file, "alfa", runs=folder), UsageError, "Did you mean 'alpha'"),
        (
            lambda folder, file: command.density(file, "alpha", aggregator="column:foo", runs=folder),
            UsageError,
            "alpha has no score 'foo'; it has ",
        ),
        (
            lambda folder, file: command.roc(file, "alpha", "office", "home", aggregator="bogus", runs=folder),
            UsageError,
            "unknown aggregator 'bogus'",
        ),
        (lambda folder, file: command.density(file, "alpha", seed=8, runs=folder), UsageError, "unknown seed '8'"),
        (lambda folder, file: command.density(file, "beta", runs=folder), DataError, "is timeout: exceeded 1s"),
        (
            lambda folder, file: command.roc(file, "alpha", "office", "hone", runs=folder),
            UsageError,
            "unknown dataset 'hone'",
        ),
        (lambda folder, file: command.heatmap(file, "gamma", "", runs=folder), UsageError, "unknown detector 'gamma'"),
        (
            lambda folder, file: command.heatmap(file, "alpha", "", metric="fpr_p95", runs=folder),
            UsageError,
            "fpr_p95 is not one",
        ),
        (lambda folder, file: command.ablation(file, "gamma", runs=folder), UsageError, "unknown detector 'gamma'"),
        (
            lambda folder, file: command.ablation(file.parent / "no" / "a.svg", "alpha", runs=folder),
            UsageError,
            "cannot write",
        ),
        (lambda folder, file: command.density(file, "alpha", runs=folder / "no"), DataError, "no results"),
        (
            lambda folder, file: command.drift(file, ",".join(["alpha"] * 8), protocol="cross", runs=folder),
            UsageError,
            "shows 1 to 7 detectors, not 8",
        ),
        (
            lambda folder, file: command.drift(file, "alpha", protocol="cross", runs=folder),
            DataError,
            "when its flows were there was not stored",
        ),
    ],
)
def test_mistakes_are_one_clear_line(
    runs: Path, tmp_path: Path, make: Callable[[Path, Path], None], error: type[JanusBenchError], complaint: str
) -> None:
    with pytest.raises(error) as caught:
        make(runs, tmp_path / "figure.svg")
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)
