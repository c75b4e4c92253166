"""What a detector is given beyond the flows themselves: hints, and the packet stream around its flows."""

from __future__ import annotations

import json

import polars as pl


def rows(folder):
    return [json.loads(path.read_text()) for path in sorted((folder / "runs" / "results").glob("*.json"))]


def scores(folder, row):
    return pl.read_parquet(folder / "runs" / "scores" / f"{row['key']}.parquet")


def test_hints_go_to_those_who_declare_them_and_bring_a_dagger(plugin_cli, tmp_path):
    detectors = {"t-few-shot": 20, "t-transductive": 200, "t-benign-only": 0}
    done = plugin_cli(
        "run", "--protocol", "within", "--datasets", "alpha", "--seeds", "42", "--detectors", ",".join(detectors)
    )
    assert done.returncode == 0, done.stderr
    found = rows(tmp_path)
    assert len(found) == 6  # transfer and control
    for row in found:
        name, counts = row["spec"]["detector"], row["counts"]
        asked = min(detectors[name], 20 if name == "t-few-shot" else 100) and (
            min(20, counts["n_test_attack"])
            if name == "t-few-shot"
            else min(100, counts["n_test_attack"]) + min(100, counts["n_test_benign"])
        )
        assert scores(tmp_path, row)["score"].unique().to_list() == [asked]
        assert row["uses_labels"] == (detectors[name] > 0)
    text = done.stdout
    assert "t-few-shot†" in text or "t-few-shot †" in text
    assert "t-benign-only†" not in text


def test_the_stream_is_whole_at_scoring_and_holds_training_flows_alone_at_training(plugin_cli, tmp_path):
    done = plugin_cli("run", "--protocol", "within", "--datasets", "alpha", "--seeds", "42", "--detectors", "t-replay")
    assert done.returncode == 0, done.stderr
    transfer = next(row for row in rows(tmp_path) if row["spec"]["regime"] == "transfer")
    truth = pl.read_parquet(next((tmp_path / "runs" / "truth").glob("*.parquet")))
    found = scores(tmp_path, transfer).join(truth, on="flow_id")
    # every packet of every flow, also beyond the 64th, and the flows of other parts are in the stream though nothing is
    # asked of them
    assert (found["of_flow"] == found["n_packets"]).all()
    for (role,), part in found.group_by("role"):
        assert part["of_flows"].unique().to_list() == [part["n_packets"].sum()]
        assert part["of_none"][0] >= 0
        assert 1 <= part["captures"][0] <= 12, role
    test = found.filter(pl.col("role") == "test")
    assert test["captures"][0] >= 2
    # the example network has labelled flows only: what is trained on is the training flows' packets, nothing else
    assert test["trained_of_none"].unique().to_list() == test["validated_of_none"].unique().to_list() == [0]
    counts = transfer["counts"]
    assert test["trained_of_flows"][0] >= 2 * counts["n_train"]
    assert test["trained_of_flows"][0] < truth["n_packets"].sum() * 0.75
