"""Intervals and tie letters against closed forms, through the code that makes them: sharp enough to tell 95 % from 90
%, and Holm from none."""

from __future__ import annotations

from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from benchmarks import coverage
from reports.statistics.bootstrap import CellScores, Resampled, interval_of, resample
from reports.statistics.intervals import _summary
from tests.conftest import ROOT

CAPTURES, FLOWS, RESAMPLES = 40, 5, 6000


def mean_of_benign(cell: CellScores, detector: int):
    """A statistic whose bootstrap is known in closed form, unlike AUROC's: the mean score of the benign flows."""
    values = np.where(cell.attack, 0, cell.scores[detector])
    return lambda weights: values @ weights / weights[~cell.attack].sum(axis=0)


def clustered_cells(datasets: str) -> list[CellScores]:
    """The same flows in every dataset: ``CAPTURES`` captures a class of ``FLOWS`` flows each, whose scores a capture
    moves together."""
    rng = np.random.default_rng(0)
    capture = np.repeat(np.arange(2 * CAPTURES), FLOWS)
    scores = rng.normal(size=2 * CAPTURES)[capture] + rng.normal(size=len(capture))
    return [
        CellScores(name, name, 0, np.arange(len(capture)), capture.astype(str), capture >= CAPTURES, scores[None])
        for name in datasets
    ]


def bootstrap_error(cell: CellScores) -> float:
    """Standard error of a mean when captures, and flows inside each drawn one, are drawn with replacement: its two
    variances, each divided by how many are drawn."""
    by_capture = cell.scores[0, ~cell.attack].reshape(CAPTURES, FLOWS)
    return float((by_capture.mean(axis=1).var() / CAPTURES + by_capture.var(axis=1).mean() / (CAPTURES * FLOWS)) ** 0.5)


def test_an_interval_for_these_datasets_is_as_wide_as_theory_says():
    (cell,) = clustered_cells("a")
    found = interval_of(resample([cell], RESAMPLES, statistic=mean_of_benign), [("a", "a")], (1,), datasets=False)
    # 6000 draws know the width to 1.3 %; one of 90 % would be 16 % too short
    assert found.high - found.low == pytest.approx(2 * stats.norm.ppf(0.975) * bootstrap_error(cell), rel=0.05)


def test_an_interval_for_other_datasets_has_at_least_the_width_of_theory():
    """Three datasets that are alike add no spread of their own, and their mean has a third of the variance of one."""
    cells = clustered_cells("abc")
    resampled = resample(cells, RESAMPLES, statistic=mean_of_benign)
    found = interval_of(resampled, list(resampled.estimate), (1,), datasets=True)
    assert found.high - found.low == pytest.approx(
        2 * stats.norm.ppf(0.975) * bootstrap_error(cells[0]) / 3**0.5, rel=0.05
    )


def known_p_values(means: dict[str, float]) -> Resampled:
    """Detectors whose draws are normal, have standard deviation 1/√2 exactly and are uncorrelated, so that a difference
    of means is a z value; datasets differ by next to nothing, so that for other datasets the same p values hold.  There
    are so many draws that their percentiles are known to a hundredth."""
    names, pairs, draws = list(means), [(name, name) for name in "abc"], 400_000
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(draws, len(names)))
    noise = np.linalg.qr(noise - noise.mean(axis=0))[0] * ((draws - 1) / 2) ** 0.5
    numbers = np.array(list(means.values()))
    estimate = {pair: numbers * (1 + place * 1e-9) for place, pair in enumerate(pairs)}
    datasets = dict(zip("abc", rng.multinomial(3, [1 / 3] * 3, draws).T, strict=True))
    return Resampled(estimate, dict.fromkeys(pairs, numbers + noise), datasets, {}, bounded=False)


def plain_holm(p_values: dict[frozenset[str], float]) -> dict[frozenset[str], float]:
    """By the definition: the k-th smallest of m is multiplied by m − k + 1, and none is smaller than one before it."""
    ordered = sorted(p_values, key=p_values.__getitem__)
    scaled = [min(1.0, p_values[pair] * (len(ordered) - place)) for place, pair in enumerate(ordered)]
    return {pair: max(scaled[: place + 1]) for place, pair in enumerate(ordered)}


def test_letters_are_those_of_holm_at_five_percent():
    """``close`` is alike with ``best`` only thanks to Holm, and different from it at 10 %: its p is .03, and .06 after
    Holm."""
    means = {"best": 10.0, "close": 10 + stats.norm.ppf(0.03 / 2), "far": 10 + stats.norm.ppf(0.004 / 2)}
    resampled = known_p_values(means)
    summary = _summary(
        [SimpleNamespace(label=name) for name in means], [], list(resampled.estimate), resampled, higher_is_better=True
    )
    raw = {frozenset(pair): 2 * stats.norm.sf(abs(means[pair[0]] - means[pair[1]])) for pair in combinations(means, 2)}
    corrected = plain_holm(raw)
    assert sorted(corrected.values()) == pytest.approx([0.012, 0.06, 0.48], abs=0.005)  # sharp on either side of 5 %
    for p, letters, exact in (("p_holm", "group", 1e-3), ("p_these_holm", "group_these", 0.05)):
        assert {frozenset((duel["first"], duel["second"])): duel[p] for duel in summary["tests"]} == pytest.approx(
            corrected, rel=exact
        )
        of = {name: set(summary["detectors"][name][letters]) for name in means}
        assert {pair for pair in corrected if not set.intersection(*(of[name] for name in pair))} == {
            frozenset(("best", "far"))
        }


def test_the_page_has_the_rows_that_the_simulation_prints(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["coverage", "--trials", "2", "--resamples", "30"])
    coverage.main()

    def rows(text: str) -> set[tuple[str, ...]]:
        """Tables without their figures: header lines, and what each row is about."""
        lines = [
            tuple(cell.strip() for cell in line.strip("|").split("|"))
            for line in text.splitlines()
            if line.startswith("|")
        ]
        return {tuple(cell for cell in line if "%" not in cell or "interval" in cell) for line in lines}

    printed = rows(capsys.readouterr().out)
    assert len(printed) == 2 + 2 + 9 + 4
    assert printed <= rows((ROOT / "docs" / "statistics.md").read_text(encoding="utf-8"))
