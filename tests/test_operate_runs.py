"""What ``run`` left is what ``score`` reads: the same flows have the same scores."""

from __future__ import annotations

import json

import numpy as np
import polars as pl

from datasets_registry.store import FlowStore
from harness.cli import operate
from harness.cli import score as scoring


def test_a_model_of_run_gives_the_flows_of_a_capture_the_scores_that_run_stored(cli, home, tmp_path):
    """``recalibrate`` makes it ready; what it learned is untouched."""
    detectors = "knn[input=features+context]"
    done = cli("run", "--protocol", "within", "--datasets", "alpha", "--seeds", "42", "--detectors", detectors)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(path.read_text()) for path in (tmp_path / "runs" / "results").iterdir()]
    (row,) = (row for row in rows if row["spec"]["regime"] == "transfer")
    model = tmp_path / "runs" / "models" / row["fit_key"]
    captures = home / "captures"
    operate.recalibrate(model, [captures / f"segment_{number:02d}.pcap" for number in (0, 1)], tmp_path / "ready")
    scoring.score(tmp_path / "ready", [captures], form="jsonl", everything=True, output=tmp_path / "flows.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "flows.jsonl").read_text().splitlines()]
    found = {(row["src_ip"], row["src_port"], row["dst_port"], row["first"]): row["score"] for row in rows}
    assert len(found) == len(rows) == 840
    scores = pl.read_parquet(tmp_path / "runs" / "scores" / f"{row['key']}.parquet")
    flows = FlowStore.open(home / "datasets" / "alpha").flows()
    stored = scores.filter(pl.col("role") == "test").join(flows, on="flow_id")
    assert stored.height > 200
    spread = float(np.ptp(stored["score"].to_numpy()))
    for row in stored.iter_rows(named=True):
        first = np.datetime64(round(row["ts_start"] * 1e6), "us").astype(str) + "Z"
        score = found[row["src_ip"], row["src_port"], row["dst_port"], first]
        assert abs(score - row["score"]) <= 1e-6 * spread
