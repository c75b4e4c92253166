"""Labels cannot reach a detector: what a peeking detector finds, and what order and ids are worth."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import polars as pl
import pytest

from harness.staging import neutral_draw
from reports.results.folder import RunStore


@pytest.fixture
def spied(plugin_cli, home):
    done = plugin_cli("run", "--protocol", "cross", "--detectors", "h-spy", "--datasets", "alpha,beta", "--seeds", "42")
    assert done.returncode == 0, done.stderr
    logs = [path.read_text(errors="replace") for path in (plugin_cli.folder / "runs" / "logs").iterdir()]
    assert len(logs) == 4
    assert all("SEEN IN FIT" in log and "SEEN IN SCORE" in log for log in logs)
    return plugin_cli, logs


def test_a_peeking_detector_sees_no_label_name_or_path(spied, home):
    cli, logs = spied
    labels = pl.read_parquet(home / "datasets" / "alpha" / "labels.parquet")
    words = {"attack", "benign", "label", "family", "alpha", "beta", str(home), str(cli.folder)}
    words |= set(labels["family"]) - {"dns", "web"} | set(labels["file"]) | set(labels["source"])
    for log in logs:
        seen = "\n".join(line for line in log.splitlines() if not line.startswith("IDS")).lower()
        found = {word for word in words if word.lower() in seen}
        assert not found, f"the detector could see {found}"


def test_ids_and_order_are_not_the_stores(spied):
    cli, logs = spied
    store = RunStore.open(cli.folder / "runs")
    flow_ids = set(pl.concat([store.scores(key).select("flow_id") for key in store.records()])["flow_id"])
    shown = [list(map(int, line.split()[1:])) for log in logs for line in log.splitlines() if line.startswith("IDS")]
    assert sum(map(len, shown)) > 1000
    for ids in shown:
        assert not flow_ids & set(ids)
        assert len(set(ids)) == len(ids)
        assert len(ids) < 20 or abs(np.corrcoef(np.arange(len(ids)), np.array(ids, dtype=np.float64))[0, 1]) < 0.5


@pytest.mark.parametrize("detector", ["h-by-row", "h-by-id"])
def test_scoring_by_row_or_by_id_is_worth_nothing(plugin_cli, detector):
    done = plugin_cli(
        "run", "--protocol", "cross", "--detectors", detector, "--datasets", "alpha,beta", "--seeds", "42,43,44"
    )
    assert done.returncode == 0, done.stderr
    records = RunStore.open(plugin_cli.folder / "runs").records().values()
    values = [record.metrics["auroc"] for record in records]
    assert len(values) == 12
    assert max(abs(value - 0.5) for value in values) <= 0.02
    document = json.loads(plugin_cli("leaderboard", "--format", "json").stdout)
    assert all(abs(cell["mean"] - 0.5) <= 0.02 for cell in document["rows"][0]["cells"])


def test_the_neutral_draw_is_neutral_and_still_a_permutation():
    rng = np.random.default_rng(0)
    for n_benign, n_attack in [(400, 50), (20, 20), (5, 3), (7, 0)]:
        attack = np.arange(n_benign + n_attack) >= n_benign
        place = neutral_draw(partial(rng.permutation, len(attack)), attack)
        assert sorted(place) == list(range(len(attack)))
        if n_attack:
            auroc = (place[attack][:, None] > place[~attack][None, :]).mean()
            assert abs(auroc - 0.5) <= (0.005 if n_benign * n_attack > 1000 else 0.1)
