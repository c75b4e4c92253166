"""What ``benchmarks/costs.py`` makes of speeds that are planted: the fits and scores of a plan, counted by hand."""

from __future__ import annotations

import re

import pytest

from benchmarks import costs
from benchmarks.costs import Speed, computed, fits_of, gpu_speeds
from janus_bench.plugins import load_detector


@pytest.fixture
def two_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "PUBLISHED", {"small": 4_000, "large": 1_000_000})
    monkeypatch.setattr(costs, "bytes_a_score", lambda columns: 10.0)


def test_every_fit_and_score_of_a_plan_is_counted(two_networks: None) -> None:
    """Of each seed two fits on a source, half of which is for training, and a baseline on 15 % of each target."""
    quick, paper = (list(fits_of(load_detector("iforest"), profile)) for profile in ("quick", "paper"))
    assert len(quick) == len(paper) == 3 * 4
    assert sorted(learned for learned, _ in quick) == [600] * 3 + [2_000] * 3 + [2_000] * 3 + [5_000] * 3
    assert sorted(learned for learned, _ in paper) == [600] * 3 + [2_000] * 3 + [10_000] * 3 + [150_000] * 3
    # capped: 2 000 and 1 000 for calibration, 2 000 benign and 2 000 attack flows for the test
    assert sum(sum(scored) for _, scored in quick) == 3 * (2 * (4_000 + 7_000) + 4_000 + 7_000)
    assert sum(sum(scored) for _, scored in paper) == 3 * (2 * 1_004_000 + 1_004_000)


def test_hours_are_fits_and_scores_at_the_speed_that_was_measured(
    two_networks: None, capsys: pytest.CaptureFixture[str]
) -> None:
    computed("paper", {"iforest": Speed(1, 3600.0, 0.36, 0.036)}, {"iforest": load_detector("iforest")})
    said = capsys.readouterr().out
    flows, scores = 3 * (600 + 2_000 + 10_000 + 150_000), 9 * 1_004_000
    hours = 12 + flows * 0.36 / 3600 + scores * 0.036 / 3600
    assert re.search(rf"1 detectors, 12 fits, {hours:,.1f} core hours", said)
    assert f"scores: {10 * scores / 1e9:.1f} GB" in said
    assert "the largest table 1,000,000 flows, 0.0 GB in memory" in said


def test_a_stored_score_is_eight_bytes_and_its_flow_little_more() -> None:
    one, eleven = costs.bytes_a_score(1, 20_000), costs.bytes_a_score(11, 20_000)
    assert 75 < eleven - one < 100  # what is random does not become smaller
    assert 8 < one < 8 + 10


def test_what_a_gpu_printed_is_read() -> None:
    printed = (
        "quick fp32: scoring 9 flows/s (1.0% of the peak), training 2 flows/s\n"
        "paper fp32: scoring 12,345 flows/s (3.0% of the peak), training 678 flows/s (2.0%), 9 MiB\n"
        "paper bf16: scoring 99,000 flows/s (1.0% of the peak)\n"
    )
    assert gpu_speeds(printed) == {"fp32": 12345.0, "bf16": 99000.0}
