"""The verdict on planted boards: who is first, whether that is a lead, whether a source adds anything, and what not to
conclude; and its numbers against those of ``compare``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.cli.leaderboard import leaderboard as command
from janus_bench.errors import UsageError
from reports.render.html.forest import forest
from reports.results.model import Results
from reports.statistics.compare import compare, rows_with_baselines, rows_within
from reports.statistics.intervals import leaderboard_statistics
from reports.tables.document import Verdict
from reports.tables.forest import forest_rows
from reports.tables.intervals import with_statistics
from reports.tables.leaderboard import build_leaderboard
from reports.tables.verdict import verdict_lines, verdict_of
from tests.test_compare import AUROC, write_folder
from tests.test_leaderboard import PAIRS, Planted
from tests.test_report import planted as report_of

Interval = tuple[float, float]


def board(means: Mapping[str, float], controls: Mapping[str, float] | None = None, **changes: Any) -> Any:
    """Two networks, two seeds; every cell of a row has its mean."""
    table = Planted()
    for label, mean in means.items():
        table.detector(label)
        for pair in PAIRS:
            for seed in (1, 2):
                table.add(label, *pair, seed, mean)
                if label in (controls or {}):
                    table.add(label, *pair, seed, (controls or {})[label], "control")
    return table.document(**changes)


def difference(
    value: float, these: Interval, p_these: float, others: Interval | None = None, p: float | None = None
) -> Any:
    low, high = others or (None, None)
    of = {"difference": value, "low": low, "high": high, "p_holm": p}
    return of | {"low_these": these[0], "high_these": these[1], "p_these_holm": p_these}


def judged(document: Any, tests: Any = (), gains: Any = None) -> Verdict:
    found = [{"first": one, "second": two, **of} for one, two, of in tests]
    summary = {"detectors": {}, "tests": found, "gains": gains or {}}
    return verdict_of(document, {"summaries": {"cross_mean": summary}})  # type: ignore[typeddict-item]


def test_a_clear_lead_is_called_one_on_these_networks_and_on_others_where_that_is_shown() -> None:
    document = board({"best": 0.9, "next": 0.8, "last": 0.6})
    of = difference(0.1, (0.05, 0.15), 0.001, (0.02, 0.18), 0.03)
    verdict = judged(document, [("best", "next", of)])
    assert (verdict["first"], verdict["next"], verdict["lead"]) == ("best", "next", "other networks")
    assert verdict["difference"] == of
    assert "best is first in the cross mean of AUROC, .900" in " ".join(verdict["sentences"])
    assert (
        "to the next, next, is +.100 [+.050, +.150]: a lead, on these networks and on others like them [+.020, +.180]"
        in " ".join(verdict["sentences"])
    )
    assert not any("better than the next" in line for line in verdict["not_to_conclude"])
    here = judged(document, [("best", "next", difference(0.1, (0.05, 0.15), 0.001, (-0.1, 0.3), 0.4))])
    assert here["lead"] == "these networks"
    assert "that the order would be the same on other networks" in here["not_to_conclude"]
    turned = judged(document, [("next", "best", difference(-0.1, (-0.15, -0.05), 0.001))])
    assert turned["difference"] == difference(0.1, (0.05, 0.15), 0.001)


def test_a_difference_within_chance_is_no_lead_and_names_everyone_that_is_not_told_apart() -> None:
    document = board({"a": 0.9, "b": 0.89, "c": 0.88, "d": 0.5})
    alike = [("a", name, difference(0.01, (-0.02, 0.04), 0.6)) for name in "bc"]
    verdict = judged(document, [*alike, ("a", "d", difference(0.4, (0.3, 0.5), 0.001))])
    assert verdict["lead"] == "none"
    assert "no lead (5 %, Holm over all pairs); b, c are not told apart from it on these networks." in " ".join(
        verdict["sentences"]
    )
    assert "that a is better than the next one" in verdict["not_to_conclude"]
    equal = judged(board({"a": 0.9, "b": 0.9}))
    assert "a, b are first together in the cross mean of AUROC, .900: no lead." in equal["sentences"]
    unknown = judged(document)  # without intervals nothing is claimed
    assert unknown["lead"] == "unknown"
    assert "whether that is a lead was not computed." in " ".join(unknown["sentences"])


def test_an_interval_that_excludes_zero_is_no_lead_where_holms_correction_says_so() -> None:
    verdict = judged(board({"a": 0.9, "b": 0.89}), [("a", "b", difference(0.01, (0.001, 0.019), 0.08))])
    assert verdict["lead"] == "none"


def test_that_nobody_beats_its_own_control_is_the_first_sentence() -> None:
    document = board({"a": 0.9, "b": 0.8, "c": 0.7}, {"a": 0.9, "b": 0.85})
    gains = {"a": difference(0.001, (-0.01, 0.012), 0.9), "b": difference(-0.05, (-0.07, -0.03), 0.001)}
    verdict = judged(document, gains=gains)
    assert verdict["sentences"][0].startswith("No row is better than its own target-only control (of 2 rows")
    assert "a's, +.001 [-.010, +.012]" in verdict["sentences"][0]
    assert "and worse on these networks is b: nothing here shows" in verdict["sentences"][0]
    assert (verdict["above_control"], verdict["below_control"], verdict["with_control"]) == ([], ["b"], 2)
    better = judged(document, gains=gains | {"a": difference(0.1, (0.05, 0.15), 0.001)})
    assert better["above_control"] == ["a"]
    assert better["sentences"][0].startswith("Better than their own target-only control on these networks: a, of 2")
    assert judged(document)["sentences"][0].startswith("No row has a better mean than its own target-only control (2")
    assert not any("control" in line for line in judged(board({"a": 0.9}))["sentences"])


def test_the_control_of_one_row_is_spoken_of_as_one() -> None:
    document = board({"a": 0.9}, {"a": 0.95})
    worse = judged(document, gains={"a": difference(-0.05, (-0.07, -0.03), 0.001)})["sentences"][0]
    assert worse == "a is worse than its own target-only control (-.050 [-.070, -.030]), on these networks."
    alike = judged(document, gains={"a": difference(-0.05, (-0.12, 0.02), 0.2)})["sentences"][0]
    assert alike.startswith("a is not better than its own target-only control (-.050 [-.120, +.020]): nothing here")
    better = judged(board({"a": 0.9}, {"a": 0.8}), gains={"a": difference(0.1, (0.05, 0.15), 0.001)})
    assert (
        better["sentences"][0]
        == "a is better than its own target-only control (+.100 [+.050, +.150]), on these networks."
    )
    assert judged(document)["sentences"][0].startswith(
        "a has no better mean than its own target-only control (-.050); whether"
    )
    assert judged(board({"a": 0.9}, {"a": 0.8}))["sentences"][0].startswith("a has a better mean than its own")


def test_where_lower_is_better_so_is_a_lower_control() -> None:
    document = board({"a": 0.2, "b": 0.3}, {"a": 0.1, "b": 0.4}, metric="fpr_at_tpr_95pct")
    assert judged(document)["sentences"][0].startswith("1 of 2 rows has a better mean than its own target-only control")


def test_what_learns_nothing_and_what_is_at_chance_detect_nothing() -> None:
    random = board({"a": 0.51, "b": 0.5})
    assert "that attacks are detected: .510 is the number of chance (≤ .57)" in judged(random)["not_to_conclude"]
    control = random | {"rows": [row | {"provenance": "control"} for row in random["rows"]]}
    assert "that a detects anything: it is a control" in judged(control)["not_to_conclude"]
    assert not any("detect" in line for line in judged(board({"a": 0.9, "b": 0.8}))["not_to_conclude"])


def test_it_rests_on_the_cells_that_have_a_number() -> None:
    table = Planted()
    for label in "ab":
        table.detector(label)
        for pair in PAIRS:
            table.add(label, *pair, 1, 0.8 if pair == ("site_a", "site_b") else ("error", "it broke"))
    verdict = judged(table.document())
    assert verdict["networks"] == 1
    assert any(line.startswith("This rests on 1 network, 1 cell, 1 seed") for line in verdict["sentences"])


def test_one_network_missing_cells_and_one_row_are_said() -> None:
    table = Planted()
    table.detector("a")
    table.add("a", "site_a", "site_a", 1, 0.9)
    verdict = judged(table.document())
    assert "it is the only ranked row" in " ".join(verdict["sentences"])
    assert "anything about another network: there is one" in verdict["not_to_conclude"]
    assert "anything about the spread over seeds: there is one" in verdict["not_to_conclude"]
    assert verdict["networks"] == 1
    table = Planted()
    for label, values in {"whole": (0.6,) * 4, "broken": (0.9, ("error", "it broke"), 0.9, 0.9)}.items():
        table.detector(label)
        for pair, value in zip(PAIRS, values, strict=True):
            table.add(label, *pair, 1, value)  # type: ignore[arg-type]
    verdict = judged(table.document())
    assert verdict["first"] == "whole"
    assert "Not ranked, since cells are missing: broken." in verdict["sentences"]
    table = Planted()
    table.detector("a")
    for pair in PAIRS:
        table.add("a", *pair, 1, ("error", "it broke"))
    verdict = judged(table.document())
    assert (verdict["first"], verdict["sentences"][0]) == (None, "Nobody is ranked: no row has every cell.")


def with_sites(document: Any, inside: float) -> Any:
    rows = [{**row, "cells": [{**cell, "site_mean": inside} for cell in row["cells"]]} for row in document["rows"]]
    return {**document, "rows": rows, "sites": {"n_sites": 4}}


def test_a_perfect_pooled_number_that_is_chance_inside_sites_is_said_beside_it() -> None:
    verdict = judged(with_sites(board({"a": 1.0}), 0.5))
    (line,) = [line for line in verdict["sentences"] if line.startswith("Inside a site")]
    assert line.startswith(
        "Inside a site a has .500, pooled over the same networks 1.000: where only the traffic differs"
    )
    assert "that attacks are detected: inside a site the number is that of chance" in verdict["not_to_conclude"]
    part = judged(with_sites(board({"a": 0.95}), 0.8))
    assert any(line.endswith("part of the pooled number is telling sites apart.") for line in part["sentences"])
    same = judged(with_sites(board({"a": 0.95}), 0.93))
    assert "Inside a site a has .930, pooled over the same networks .950." in same["sentences"]
    assert not any("detected" in line for line in same["not_to_conclude"])


def test_synthetic_data_labels_and_unequal_information_are_in_what_not_to_conclude() -> None:
    document = board({"a": 0.9, "b": 0.8}, synthetic=("site_a",))
    first, second = document["rows"]
    rows = [{**first, "uses_labels": True, "target_use": "memory"}, {**second, "target_use": "aggregator"}]
    lines = verdict_lines(judged({**document, "rows": rows}))
    assert "of synthetic data" in " ".join(lines)
    assert "anything about real networks" in lines[-1]
    assert "(memory, aggregator)" in lines[-1]
    assert "without the labels" in lines[-1]


def test_rows_of_fewer_seeds_are_named_and_their_order_is_none_of_detectors() -> None:
    table = Planted()
    for label, seeds in (("long", (1, 2, 3)), ("short", (1,)), ("last", (1, 2, 3))):
        table.detector(label)
        for pair in PAIRS:
            for seed in seeds:
                table.add(label, *pair, seed, {"long": 0.9 - 0.1 * seed, "short": 0.75, "last": 0.5}[label])
    verdict = table.document()["verdict"]
    assert verdict["first"] == "short"
    assert "Over fewer seeds than the 3, so over other draws: short (1)." in verdict["sentences"]
    assert (
        "anything from the order of the first two: they were not run with the same seeds" in verdict["not_to_conclude"]
    )
    alike = board({"best": 0.9, "next": 0.8})["verdict"]
    assert not [
        line for line in [*alike["sentences"], *alike["not_to_conclude"]] if "seeds than" in line or "order" in line
    ]


def test_a_board_without_a_number_rests_on_nothing_and_concludes_nothing() -> None:
    table = Planted()
    table.detector("alpha")
    for pair in PAIRS:
        table.expect("alpha", *pair, 1)
    verdict = table.document()["verdict"]
    assert "This rests on no networks, no cells, no seeds" in verdict["sentences"][-1]
    assert verdict["not_to_conclude"] == ["anything: no cell has a number"]
    assert (verdict["networks"], verdict["sites"]) == (0, 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(
        tmp_path_factory.mktemp("verdict") / "runs", ("good", "fair", "poor"), controlled=("good", "poor")
    )


def test_differences_and_gains_are_those_of_compare(folder: Path) -> None:
    """Good and fair differ in nothing but noise; the controls have the scores of poor."""
    table = Results.open(folder).select()
    statistics = leaderboard_statistics(table, AUROC, 200)
    verdict = build_leaderboard(table, AUROC, statistics)["verdict"]
    assert {verdict["first"], verdict["next"]} == {"good", "fair"}
    assert verdict["lead"] == "none"
    assert verdict["above_control"] == ["good"]
    (pair,) = compare(rows_within(table, [str(verdict["first"]), str(verdict["next"])]), table, AUROC, 200)["pairs"]
    mean = next(mean for mean in pair["means"] if mean["summary"] == "cross_mean")
    assert verdict["difference"] is not None
    assert verdict["difference"]["difference"] == pytest.approx(mean["difference"])
    assert (verdict["difference"]["low_these"], verdict["difference"]["high"]) == pytest.approx(
        (mean["low_these"], mean["high"])
    )
    gains = statistics["summaries"]["cross_mean"]["gains"]
    for of in compare(rows_with_baselines(table, ["good", "poor"]), table, AUROC, 200)["pairs"]:
        (mean,) = [mean for mean in of["means"] if mean["summary"] == "cross_mean"]
        gain = gains[of["first"]]
        assert (gain["difference"], gain["low_these"], gain["p_these_holm"]) == pytest.approx(
            (mean["difference"], mean["low_these"], mean["p_these_holm"])
        )


def test_a_board_of_some_datasets_detectors_and_columns_is_one_of_its_own(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its means are those of the cells that are left."""
    monkeypatch.setenv("COLUMNS", "200")
    whole = build_leaderboard(Results.open(folder).select(), AUROC)
    command(folder, datasets="alpha,beta", detectors="poor,good", intervals=False, output="json")
    board = json.loads(capsys.readouterr().out)
    assert (board["datasets"], board["n_expected_cells"]) == (["alpha", "beta"], 4)
    assert {row["detector"] for row in board["rows"]} == {"poor", "good"}
    cells = {
        (cell["source"], cell["target"]): cell["mean"]
        for row in whole["rows"]
        if row["detector"] == "good"
        for cell in row["cells"]
    }
    (good,) = [row for row in board["rows"] if row["detector"] == "good"]
    assert good["summary"]["cross_mean"] == pytest.approx((cells["alpha", "beta"] + cells["beta", "alpha"]) / 2)
    command(folder, columns="gain,cross mean", intervals=False)
    head = capsys.readouterr().out
    assert "gain" in head
    assert "within" not in head.split("good")[-1].split("AUROC, source")[0]
    for wrong in ({"datasets": "alfa"}, {"detectors": "goot"}, {"columns": "gaim"}):
        with pytest.raises(UsageError, match="Did you mean"):
            command(folder, **wrong, intervals=False)  # type: ignore[arg-type]


def test_a_gain_is_drawn_with_its_interval_on_the_scale_of_its_bar() -> None:
    """The bar from zero to the gain, the line between the ends of the interval; nothing in results of version 1."""
    data = report_of(("alpha", "beta", "timed out"), seeds=(1,))
    (row,) = [row for row in data.first["rows"] if row["detector"] == "alpha"]
    gain = row["summary"]["cross_mean"] - row["control_summary"]["cross_mean"]  # type: ignore[operator]
    tested = {"difference": gain, "low_these": gain - 0.2, "high_these": gain + 0.1, "p_these_holm": 0.01}
    gains = {"alpha": {**tested, "low": None, "high": None, "p_holm": None}}
    statistics: Any = {"metric": "auroc", "resamples": 9, "warning": None, "absent": {}}
    statistics["summaries"] = {"cross_mean": {"detectors": {}, "tests": [], "gains": gains}}
    board = with_statistics(data.first, statistics)
    (drawn,) = [line for line in forest_rows(board) if line.label == "alpha"]
    assert drawn.gain_these == (gain - 0.2, gain + 0.1)
    plot = forest(replace(data, documents={"auroc": board}))
    assert plot is not None
    line, other = sorted(plot.lines, key=lambda line: line.label)
    assert plot.zero is not None
    assert line.gain is not None
    assert line.gain_these is not None
    end = line.gain[0] if gain < 0 else line.gain[0] + line.gain[1]
    scale = (end - plot.zero) / gain
    assert (line.gain_these[1] - line.gain_these[0]) / scale == pytest.approx(0.3, abs=0.01)
    assert (line.gain_these[0] - plot.zero) / scale == pytest.approx(gain - 0.2, abs=0.01)
    assert other.gain_these is None
    old = with_statistics({**data.first, "schema_version": 1}, statistics)
    assert all("gain" not in row for row in old["rows"])
