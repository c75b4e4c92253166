"""What a run says before it starts and while it goes on."""

from __future__ import annotations

import tarfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

from datasets_registry.registry import OpenDataset, describe
from datasets_registry.store import FlowStore
from harness.cli import progress
from harness.cli.estimate import duration, estimate
from harness.executors.local import LocalExecutor
from harness.plan import DetectorChoice, Fit, Settings, make_plan
from harness.runner import Machine, run_plan
from janus_bench import plugins
from janus_bench.contract import Capabilities
from janus_bench.plugins import LoadedDetector
from janus_bench.records import RunRecord
from reports.results.folder import RunStore
from tests.conftest import ROOT
from tests.test_compare import run_spec


def fit(label: str, targets: tuple[str, ...], seed: int = 1) -> Fit:
    loaded = LoadedDetector(label, object, Capabilities(inputs=frozenset({"features"})), None, {})
    runs = tuple(run_spec(label, "alpha", target, seed) for target in targets)
    return Fit(runs[0].fit_key, label, loaded, runs)


def ended(label: str, target: str, fit_s: float, score_s: float, status: str = "ok", seed: int = 1) -> RunRecord:
    spec = run_spec(label, "alpha", target, seed)
    cost = {"fit_s": fit_s, "calibrate_s": None, "score_s": score_s, "peak_rss_mb": 1500.0}
    row = RunRecord(
        spec.key, spec.fit_key, spec.__dict__, "ok", "", 1, "2026-01-01", "control", False, "identity", cost=cost
    )
    return replace(row, status=status)  # type: ignore[arg-type]


def test_a_run_is_estimated_by_the_costs_of_earlier_fits() -> None:
    earlier = [
        *(ended("good", target, 100.0, 10.0) for target in ("alpha", "beta")),
        ended("good", "alpha", 300.0, 30.0, seed=2),
        ended("fair", "alpha", 9e9, 9e9, status="timeout"),
    ]
    # a fit of good: the median of 100 and 300, and of 10, 10 and 30 for each target
    fits = [
        fit("good", ("alpha", "beta", "gamma")),
        fit("good", ("alpha", "beta", "gamma"), seed=2),
        fit("fair", ("beta",)),
    ]
    first, second = estimate(fits, earlier, 2, Path("runs"))
    assert first == "3 fits, 7 runs (2 detectors, 3 datasets, 2 seeds), 2 at a time"
    assert second == (
        "about 4 min and up to 3.0 GB of memory for 2 of them, by the costs of earlier ones in runs; nothing "
        "is known of fair"
    )
    assert estimate(fits[:2], earlier, 1, Path("runs"))[1].startswith(
        "about 8 min and up to 1.5 GB of memory, by the costs"
    )
    assert estimate([fit("fair", ("beta",))], earlier, 2, Path("runs")) == [
        "1 fit, 1 run (1 detector, 2 datasets, 1 seed), 2 at a time",
        "how long they take is not known before some have ended: runs holds no costs of earlier ones",
    ]
    assert estimate([], earlier, 2, Path("runs")) == []


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "1 s"), (89, "89 s"), (90, "2 min"), (3600, "60 min"), (7500, "2 h 5 min"), (200_000, "2 days 7 h")],
)
def test_durations_as_people_say_them(seconds: float, said: str) -> None:
    assert duration(seconds) == said


class Watching:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str | None, float, str]] = []

    def fit_started(self, fit: object) -> None: ...
    def fit_finished(self, fit: object, records: object) -> None: ...
    def message(self, line: str) -> None: ...
    def fit_progress(self, fit: Fit, fraction: float, text: str) -> None:
        self.told.append((fit.first.source, fraction, text))


def test_scoring_tells_what_it_is_at_and_never_stands_at_100_percent(tmp_path: Path) -> None:
    with tarfile.open(ROOT / "tests" / "pinned" / "pinned.tar.gz") as archive:
        archive.extractall(tmp_path, [member for member in archive if member.name.startswith("home")], filter="data")
    datasets = {name: OpenDataset(FlowStore.open(tmp_path / "home" / "datasets" / name)) for name in ("north", "south")}
    choice = DetectorChoice("length", plugins.load_detector("length"), {})
    plan = make_plan(
        plugins.protocols()["cross"], describe(datasets), [choice], Settings("quick", "grouped", (1,), "cpu")
    )
    watching, store = Watching(), RunStore.create(tmp_path / "runs")
    result = run_plan(plan, datasets, store, Machine(1, 1, 300, None, LocalExecutor()), watching)
    assert {record.status for record in result.records} == {"ok"}
    scoring = [
        (fraction, text) for source, fraction, text in watching.told if text.startswith("scoring") and source == "north"
    ]
    assert {text for _, text in scoring} >= {
        f"scoring target {n} of 2, {role}" for n in (1, 2) for role in ("cal_a", "cal_b", "test")
    }
    assert all(fraction < 1 for fraction, _ in scoring)
    halves = [fraction for fraction, text in scoring if "target 2 of 2" in text]
    assert halves == sorted(halves)
    assert min(halves) > 0.2


def test_a_fit_that_is_silent_is_a_line_and_what_is_left_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.01)
    monkeypatch.setattr(progress, "SILENT_S", 0.05)
    one, two = fit("good", ("alpha",)), fit("poor", ("alpha",))
    with progress.RunProgress(2) as watch:
        watch.fit_started(one)
        time.sleep(0.4)
        watch.fit_progress(one, 0.25, "epoch 5\x1b[2J")
        time.sleep(0.4)
        watch.fit_finished(one, [])
        watch.fit_started(two)
        watch.fit_finished(two, [])
        capsys.readouterr()
        time.sleep(0.2)
        assert capsys.readouterr().err == ""  # nothing is said of fits that have ended


def test_lines_of_a_silent_fit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.01)
    monkeypatch.setattr(progress, "SILENT_S", 0.05)
    one = fit("good", ("alpha",))
    with progress.RunProgress(2) as watch:
        watch.fit_started(one)
        end = time.monotonic() + 20
        while "at work, for" not in (said := capsys.readouterr().err) and time.monotonic() < end:
            time.sleep(0.05)
        assert "good from alpha, seed 1: at work, for 1 s" in said
        watch.fit_progress(one, 0.25, "epoch 5\x1b[2J")
        while "25%" not in (said := capsys.readouterr().err) and time.monotonic() < end:
            time.sleep(0.05)
        assert "good from alpha, seed 1: 25% epoch 5\\u001b[2J, for" in said
        watch.fit_finished(one, [])
        assert "[1/2] good from alpha, seed 1: 0 ok in" in (said := capsys.readouterr().err)
        assert " left" in said
