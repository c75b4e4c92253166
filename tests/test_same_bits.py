"""Same key, same bits: whatever was run before, beside, or under another name, a detector's scores of the same flows
are the same."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from datasets_registry.registry import OpenDataset, describe
from datasets_registry.store import FlowStore
from harness.executors import Executor
from harness.executors.local import LocalExecutor
from harness.plan import DetectorChoice, Settings, make_plan
from harness.runner import Machine, run_plan
from janus_bench.extensions import ProtocolSpec, Variant
from janus_bench.plugins import load_detector
from reports.results.folder import RunStore
from tests.conftest import shared_once
from tests.test_who_is_given_what import numbered_home  # noqa: F401  a fixture

SEED = 42
ONE_OF_A_KIND = ("iforest", "ocsvm-nystroem", "kitsune", "shafir", "ae", "janus-context")
"""A detector of each library, each loop of training and each input: what could differ between two runs lies there.
That a fit repeats itself is asked of every detector by its contract (``seed_determinism``)."""


class Quiet:
    """Watches a run without a word."""

    def fit_started(self, fit: object) -> None: ...
    def fit_progress(self, fit: object, fraction: float, text: str) -> None: ...
    def fit_finished(self, fit: object, records: object) -> None: ...
    def message(self, line: str) -> None: ...


def run(
    home: Path,
    runs: Path,
    names: Sequence[str],
    cells: Sequence[tuple[str, str]],
    detectors: Sequence[str],
    executor: Executor | None = None,
) -> RunStore:
    """Fit the detectors with their smallest models and score the cells."""
    datasets = {name: OpenDataset(FlowStore.open(home / "datasets" / name)) for name in names}
    protocol = ProtocolSpec("cells", "", lambda _: cells, regimes=("transfer",), variants=(Variant(caps="quick"),))
    choices = [DetectorChoice(name, load_detector(name), {}) for name in detectors]
    plan = make_plan(protocol, describe(datasets), choices, Settings("check", "grouped", (SEED,), "cpu"))
    store = RunStore.create(runs)
    result = run_plan(plan, datasets, store, Machine(1, 1, 300, None, executor or LocalExecutor()), Quiet())
    assert [(record.status, record.reason) for record in result.records] == [("ok", "")] * len(cells) * len(detectors)
    return store


def scores_of(store: RunStore, detector: str, target: str) -> pl.DataFrame:
    (record,) = [
        record
        for record in store.records().values()
        if record.spec["detector"] == detector and record.spec["target"] == target
    ]
    return store.scores(record.key).drop("target")


@pytest.fixture(scope="module")
def renamed(numbered_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """The same two datasets, each under the name of a stranger."""

    def make(folder: Path) -> None:
        for old, new in (("north", "zebra"), ("south", "aardvark")):
            shutil.copytree(numbered_home / "datasets" / old, folder / "datasets" / new)
            manifest = folder / "datasets" / new / "manifest.json"
            manifest.write_text(manifest.read_text().replace(f'"name": "{old}"', f'"name": "{new}"'))

    return shared_once(tmp_path_factory, "renamed", make)


@pytest.mark.parametrize("detector", ONE_OF_A_KIND)
def test_a_cell_run_alone_later_and_under_other_names_has_the_same_scores(
    numbered_home: Path,  # noqa: F811
    renamed: Path,
    tmp_path: Path,
    detector: str,
) -> None:
    """The first run scores both targets with one fit; the second fits again, for the second target alone, as a resumed
    run does."""
    whole = run(
        numbered_home, tmp_path / "whole", ("north", "south"), [("north", "north"), ("north", "south")], [detector]
    )
    alone = run(renamed, tmp_path / "alone", ("aardvark", "zebra"), [("zebra", "aardvark")], [detector])
    first, second = scores_of(whole, detector, "south"), scores_of(alone, detector, "aardvark")
    assert first.equals(second)
    assert first.filter(pl.col("role") == "test").select(pl.exclude("role", "flow_id")).to_numpy().size >= 2
    assert np.isfinite(first.select(pl.exclude("role", "flow_id")).to_numpy()).all()
