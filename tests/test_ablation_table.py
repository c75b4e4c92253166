"""Tables of ablation and mechanism from a results folder written down by hand; every number is derived in the
comments."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from harness.cli import figures, leaderboard
from janus_bench.errors import UsageError
from janus_bench.extensions import BEST_FIXED
from janus_bench.records import DatasetEntry, DetectorRow, ExpectedCell, PlanRecord, RunRecord, RunSpec
from reports.render.html.collect import cell_likeness
from reports.results.folder import RunStore
from reports.results.model import Results
from reports.tables.ablation import ablation_deltas, reference_label
from tests.rendering import RENDER

SITES, SEEDS = ("plant", "home"), (1, 2)
PAIRS = [(source, target) for source in SITES for target in SITES]

# 50 benign test flows and 50 attacks: k of the attacks lie above all benign flows and the others below, so the AUROC is
# k / 50.  Of 20 calibration flows B of the target, m lie above all 20 validation flows of the source, the others below:
# a = m / 20.  (k, m) by column, source and target, a pair per seed; a single one counts for both seeds.
PLANTED: dict[str, dict[str, dict[tuple[str, str], tuple[tuple[int, int], ...]]]] = {
    "whole": {
        "good": {
            ("plant", "plant"): ((45, 10),),
            ("home", "home"): ((45, 10),),  # within .90
            ("plant", "home"): ((40, 11), (35, 13)),  # .80 .70 → .75; a = .55 .65 → .60
            ("home", "plant"): ((30, 12),),  # .60; a = .60
        },  # cross mean .675, worst .60; by seed .70 .65 and .60 .60; likeness (.60 + .60) / 2 = .600, both above ½
        "bad": {
            ("plant", "plant"): ((46, 10),),
            ("home", "home"): ((46, 10),),  # within .92
            ("plant", "home"): ((20, 20), (30, 18)),  # .40 .60 → .50; a = 1 .9 → .95
            ("home", "plant"): ((10, 2),),  # .20; a = .1 → .90, below ½
        },  # cross mean .35, worst .20; by seed .30 .40 and .20 .20; likeness (.95 + .90) / 2 = .925
    },
    # within .88, every cross cell .50: cross mean .50, worst .50; a = ½ everywhere
    "part": {"only": {pair: ((44, 10),) if pair[0] == pair[1] else ((25, 10),) for pair in PAIRS}},
}
A, B = "A: aggregator", "B: architecture"
ABLATION = {  # label → (detector, aggregator, group), in the order of the protocol
    "d · A1 terminal_norm": ("whole", "column:bad", A),
    "d · A2 disc_nll_total": ("whole", "column:absent", A),
    "d · A5 OAS": ("whole", "column:good", A),
    "d · best fixed score": ("whole", BEST_FIXED, A),  # within .92, cross as good
    "d · B2 no packet sequence": ("part", "identity", B),
}
MIXED, OTHER = "causal packets, mixed heads", "another backbone"
MECHANISM = {
    "d · OAS over ten": ("whole", "column:good", "JANUS"),
    f"d · {OTHER}: terminal_norm": ("part", "column:only", OTHER),
    f"d · {OTHER}: disc_nll_total": ("whole", "column:absent", OTHER),
    f"d · {MIXED}: terminal_norm": ("whole", "column:bad", MIXED),
    f"d · {MIXED}: disc_nll_total": ("whole", "column:good", MIXED),
}
Rows = dict[str, tuple[str, str, str]]


def spec_of(detector: str, source: str, target: str, seed: int) -> RunSpec:
    return RunSpec(
        detector=detector,
        version="1",
        params={},
        regime="transfer",
        source=source,
        source_hash=f"hash-{source}",
        target=target,
        target_hash=f"hash-{target}",
        seed=seed,
        split="grouped",
        caps="quick",
        profile="quick",
        calibration="target_benign",
        device="cpu",
    )


def scores_of(detector: str, source: str, target: str, seed: int) -> pl.DataFrame:
    """20 validation flows of the source, 20 + 20 calibration flows, 50 benign and 50 attack test flows."""
    columns = {}
    for name, cells in PLANTED[detector].items():
        k, m = cells[source, target][-1 if seed == SEEDS[-1] else 0]
        order = np.arange(50)
        val, cal_a, test = order[:20] / 100, order[:20] / 100, order / 100
        columns[name] = np.concatenate(
            [val, cal_a, np.where(order[:20] < m, 1.0, -1.0) + val, test, np.where(order < k, 1.0, -1.0) + test],
        )
    role = np.repeat(["source_val", "cal_a", "cal_b", "test"], [20, 20, 20, 100])
    return pl.DataFrame({"flow_id": np.arange(160), "target": [target] * 160, "role": role, **columns})


def write(folder: Path, protocol: str, rows: Rows, failed: tuple[str, str, str, int] | None = None) -> RunStore:
    store = RunStore.create(folder)
    attack = np.arange(160) >= 110
    truth = {
        "flow_id": np.arange(160),
        "attack": attack,
        "family": np.where(attack, "scan", ""),
        "source": ["c"] * 160,
        "n_packets": [3] * 160,
    }
    datasets = {site: DatasetEntry(f"hash-{site}", synthetic=True, flows=160, benign=110, attack=50) for site in SITES}
    for site in SITES:
        store.write_truth(f"hash-{site}", pl.DataFrame(truth))
    for detector, source, target, seed in ((d, *pair, seed) for d in PLANTED for pair in PAIRS for seed in SEEDS):
        spec = spec_of(detector, source, target, seed)
        own = "identity" if detector == "part" else "column:good"
        status = "timeout" if failed == (detector, source, target, seed) else "ok"
        reason = "exceeded 1s" if status != "ok" else ""
        store.append(RunRecord(spec.key, spec.fit_key, asdict(spec), status, reason, 0, "", "our reading", False, own))  # type: ignore[arg-type]
        if status == "ok":
            store.write_scores(spec.key, scores_of(detector, source, target, seed))
    cells = [
        ExpectedCell(label, "transfer", *pair, seed, spec_of(detector, *pair, seed).key)
        for label, (detector, _, _) in rows.items()
        for seed in SEEDS
        for pair in PAIRS
    ]
    detectors = {}
    for label, (_, aggregator, group) in rows.items():
        detector, _, variant = label.partition(" · ")
        detectors[label] = DetectorRow(
            "d", group=group, provenance="test", aggregator=aggregator, detector=detector, variant=variant
        )
    store.write_plan(
        PlanRecord(protocol, "quick", "grouped", "target_benign", SEEDS, datasets, detectors, tuple(cells))
    )
    return store


def shown(store: RunStore, **options: Any) -> dict[str, Any]:
    """What ``leaderboard`` shows: the table that the protocol names."""
    table = Results(store).select()
    board = leaderboard.document(table, "auroc", options.pop("aggregator", None))
    return dict(leaderboard.with_table(table, board, leaderboard.table_name(table, **options)))


@pytest.fixture(scope="module")
def ablation(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    return write(tmp_path_factory.mktemp("ablation") / "runs", "ablation", ABLATION)


@pytest.fixture(scope="module")
def mechanism(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    return write(tmp_path_factory.mktemp("mechanism") / "runs", "mechanism", MECHANISM)


def summaries(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """variant → summary → record"""
    found: dict[str, dict[str, Any]] = {}
    for record in document["details"]["records"]:
        if record["what"] != "cell":
            found.setdefault(record["variant"], {})[record["what"]] = record
    return found


def test_means_deltas_and_spread_are_those_derived_by_hand(ablation: RunStore) -> None:
    found = summaries(shown(ablation))
    expected = {  # within, cross mean, cross worst; differences to A5
        "A1 terminal_norm": ((0.92, 0.35, 0.20), (0.02, -0.325, -0.40)),
        "A2 disc_nll_total": ((None, None, None), (None, None, None)),
        "A5 OAS": ((0.90, 0.675, 0.60), (0.0, 0.0, 0.0)),
        "best fixed score": ((0.92, 0.675, 0.60), (0.02, 0.0, 0.0)),
        "B2 no packet sequence": ((0.88, 0.50, 0.50), (-0.02, -0.175, -0.10)),
    }
    assert list(found) == list(expected)  # the order of the protocol
    for variant, (means, deltas) in expected.items():
        records = [found[variant][name] for name in ("within_mean", "cross_mean", "cross_worst")]
        assert [record["mean"] for record in records] == [
            None if value is None else pytest.approx(value) for value in means
        ], variant
        assert [record["delta"] for record in records] == [
            None if value is None else pytest.approx(value, abs=1e-12) for value in deltas
        ], variant
    # .70 and .65 by seed: the sample standard deviation is .05 / √2
    assert found["A5 OAS"]["cross_mean"]["std"] == pytest.approx(0.05 / 2**0.5)
    assert found["A5 OAS"]["cross_worst"]["std"] == pytest.approx(0.0, abs=1e-12)
    assert [variant for variant, records in found.items() if records["within_mean"]["upper_bound"]] == [
        "best fixed score"
    ]
    assert [variant for variant, records in found.items() if records["within_mean"]["reference"]] == ["A5 OAS"]
    assert found["A2 disc_nll_total"]["cross_mean"]["reason"].startswith("unknown score column 'absent'")


def test_likeness_is_the_folded_auroc_of_benign_flows_and_the_upper_bound_has_none(ablation: RunStore) -> None:
    document = shown(ablation)
    means = {variant: records["cross_mean"] for variant, records in summaries(document).items()}
    across = {variant: (record["likeness"], record["likeness_auroc"]) for variant, record in means.items()}
    assert across == {
        "A1 terminal_norm": (pytest.approx(0.925), pytest.approx((0.95 + 0.10) / 2)),
        "A2 disc_nll_total": (None, None),
        "A5 OAS": (pytest.approx(0.60), pytest.approx(0.60)),
        "best fixed score": (None, None),
        "B2 no packet sequence": (pytest.approx(0.5), pytest.approx(0.5)),
    }
    assert summaries(document)["A1 terminal_norm"]["within_mean"]["likeness"] == pytest.approx(0.5)
    assert summaries(document)["A1 terminal_norm"]["cross_worst"]["likeness"] is None
    cell = next(
        r
        for r in document["details"]["records"]
        if (r["variant"], r["source"], r["target"]) == ("A1 terminal_norm", "plant", "home")
    )
    areas = []
    for seed in SEEDS:
        scores = ablation.scores(spec_of("whole", "plant", "home", seed).key).filter(
            pl.col("role").is_in(["source_val", "cal_b"])
        )
        areas.append(roc_auc_score(scores["role"] == "cal_b", scores["bad"]))
    assert cell["likeness"] == pytest.approx(np.mean(areas)) == pytest.approx(0.95)
    assert cell["delta"] == pytest.approx(0.50 - 0.75)


def test_a_failed_seed_leaves_neither_mean_nor_likeness_of_its_rows(tmp_path: Path) -> None:
    store = write(tmp_path / "runs", "ablation", ABLATION, failed=("whole", "plant", "home", 2))
    found = summaries(shown(store))
    for variant in ("A1 terminal_norm", "A5 OAS"):
        assert [found[variant]["cross_mean"][name] for name in ("mean", "delta", "likeness")] == [None, None, None]
        assert (found[variant]["cross_mean"]["status"], found[variant]["cross_mean"]["reason"]) == (
            "timeout",
            "seed 2: exceeded 1s",
        )
        assert (found[variant]["within_mean"]["status"], found[variant]["within_mean"]["reason"]) == ("ok", "")
    part = found["B2 no packet sequence"]
    assert (part["cross_mean"]["mean"], part["cross_mean"]["delta"]) == (pytest.approx(0.5), None)
    assert part["within_mean"]["delta"] == pytest.approx(-0.02)  # the diagonal is whole
    like = {(cell.detector, cell.source, cell.target): cell for cell in cell_likeness(Results(store).select())}
    assert like["d · A1 terminal_norm", "plant", "home"].index is None
    assert like["d · A1 terminal_norm", "home", "plant"].index == pytest.approx(0.9)


def test_a_target_whose_positives_are_no_attacks_is_in_no_mean(ablation: RunStore) -> None:
    """Without home as a target one cell is left within (.92), one across: home → plant with .20 and an index of .90
    below ½."""
    (plan,) = ablation.plans()
    changed = replace(plan, datasets=dict(plan.datasets) | {"home": replace(plan.datasets["home"], task="class shift")})
    table = Results(ablation).table([changed])
    document = dict(leaderboard.with_table(table, leaderboard.document(table, "auroc"), "ablation"))
    across = summaries(document)["A1 terminal_norm"]["cross_mean"]
    assert (across["mean"], across["likeness"], across["likeness_auroc"]) == (
        pytest.approx(0.20),
        pytest.approx(0.90),
        pytest.approx(0.10),
    )
    cells = {
        (r["source"], r["target"]): r
        for r in document["details"]["records"]
        if r["what"] == "cell" and r["variant"] == "A1 terminal_norm"
    }
    assert cells["plant", "home"]["likeness"] == pytest.approx(0.95)  # shown all the same
    assert [pair for pair, record in cells.items() if record["in_means"]] == [("plant", "plant"), ("home", "plant")]
    lines = [" ".join(line.split()) for line in RENDER["table"](document, 160, False).splitlines()]
    assert any(line.startswith("A1 terminal_norm 92.00") and line.endswith("0.900 (+0 −1)") for line in lines)


def test_the_terminal_table_has_the_projects_form(ablation: RunStore) -> None:
    lines = [" ".join(line.split()) for line in RENDER["table"](shown(ablation), 160, False).splitlines()]
    for line in (
        "What each part is worth · ablation · SYNTHETIC DATA",
        "d, A: aggregator: AUROC in % · SYNTHETIC DATA",
        "variant within cross mean cross worst Δ within Δ cross mean Δ cross worst source-likeness note",
        # A1: within .92 in both seeds; cross .30 and .40 by seed, so ± .10 / √2; worst .20 in both
        "A1 terminal_norm 92.00 ± 0.00 35.00 ± 7.07 20.00 ± 0.00 +2.00 −32.50 −40.00 0.925 (+1 −1)",
        "A2 disc_nll_total – – – – – – – no score column absent",
        "A5 OAS 90.00 ± 0.00 67.50 ± 3.54 60.00 ± 0.00 +0.00 +0.00 +0.00 0.600 (+2 −0) reference of Δ",
        "best fixed score ‡ 92.00 ± 0.00 67.50 ± 3.54 60.00 ± 0.00 +2.00 +0.00 +0.00 – upper bound of single scores,",
        "d, B: architecture: AUROC in % · SYNTHETIC DATA",
        "B2 no packet sequence 88.00 ± 0.00 50.00 ± 0.00 50.00 ± 0.00 −2.00 −17.50 −10.00 0.500 (+0 −0)",
        "d: A1 terminal_norm | A5 OAS, AUROC in % · SYNTHETIC DATA",
        "plant 92.00 | 90.00 50.00 | 75.00",
        "home 20.00 | 60.00 92.00 | 90.00",
        "d: A1 terminal_norm | A5 OAS, source-likeness · SYNTHETIC DATA",
        "plant 0.500 | 0.500 0.950 | 0.600",
        "home 0.900 | 0.600 0.500 | 0.500",
    ):
        assert line in lines, line
    text = " ".join(lines)
    assert (
        "‡ best single score of each cell, chosen with the labels of the test: an ablation upper bound, never ranked"
        in text
    )
    # four rows on the same scores, the upper bound apart; the architecture's own aggregator is the fourth
    assert "column:absent, column:bad, column:good" in text


def test_scores_by_backbones_with_likeness_and_the_reason_for_what_is_absent(mechanism: RunStore) -> None:
    document = shown(mechanism)
    lines = [" ".join(line.split()) for line in RENDER["table"](document, 160, False).splitlines()]
    for line in (
        "d, scores × backbones: cross mean of AUROC in % | source-likeness · SYNTHETIC DATA",
        "terminal_norm 50.00 | 0.500 35.00 | 0.925",
        "disc_nll_total – 67.50 | 0.600",
        f"d, {MIXED}: AUROC in % · SYNTHETIC DATA",
        "terminal_norm 92.00 ± 0.00 35.00 ± 7.07 20.00 ± 0.00 +2.00 −32.50 −40.00 0.925 (+1 −1)",
        "disc_nll_total – – – – – – – no score column absent",
        f"d: {MIXED}: terminal_norm | OAS over ten, AUROC in % · SYNTHETIC DATA",
        "plant 92.00 | 90.00 50.00 | 75.00",
    ):
        assert line in lines, line
    assert [record["variant"] for record in document["details"]["records"] if record["what"] == "within_mean"] == [
        label.removeprefix("d · ") for label in MECHANISM
    ]


@pytest.mark.parametrize("table", ["ablation", "mechanism"])
@pytest.mark.parametrize("width", [80, 160])
def test_every_format_has_the_same_records(request: pytest.FixtureRequest, table: str, width: int) -> None:
    document = shown(request.getfixturevalue(table))
    records = document["details"]["records"]
    assert (document["details"]["table"], len(records)) == (table, 5 * (3 + 4))
    text = RENDER["table"](document, width, False)
    assert max(map(len, text.splitlines())) <= width
    from_csv = list(csv.DictReader(io.StringIO(RENDER["csv"](document, width, False))))
    from_parquet = pl.read_parquet(io.BytesIO(RENDER["parquet"](document, width, False)))
    assert json.loads(RENDER["json"](document, width, False))["details"]["records"] == records
    for place, record in enumerate(records):
        assert (
            (float(from_csv[place]["delta"]) if from_csv[place]["delta"] else None)
            == record["delta"]
            == from_parquet["delta"][place]
        )
        assert (from_csv[place]["detector"], from_parquet["what"][place]) == (record["detector"], record["what"])
    markdown = RENDER["markdown"](document, width, False)
    assert "35.00 ± 7.07" in markdown
    assert "−32.50" in markdown
    latex = RENDER["latex"](document, width, False)
    assert r"$-$40.00" in latex
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") >= 4


def test_columns_that_no_row_has_a_number_for_are_left_out(tmp_path: Path) -> None:
    """Another protocol names no reference: there are no deltas; without cross cells there is no cross column, in either
    table."""
    store = write(
        tmp_path / "runs", "within", {label: row for label, row in ABLATION.items() if "absent" not in row[1]}
    )
    (plan,) = store.plans()
    diagonal = tuple(cell for cell in plan.cells if cell.source == cell.target)
    within = Results(store).table([replace(plan, cells=diagonal)])
    board = leaderboard.document(within, "auroc")
    for table in ("ablation", "leaderboard"):
        text = RENDER["table"](leaderboard.with_table(within, board, table), 160, False)
        head = text.split("Flows of each part")[0]
        assert "within" in head
        assert "cross mean" not in " ".join(head.split())
        assert "control" not in head
        assert "Δ" not in head
    assert "cross mean" in " ".join(
        RENDER["table"](leaderboard.document(Results(store).select(), "auroc"), 160, False).split()
    )


def test_spread_of_two_variants_stands_beside_each_other_with_its_ratio(tmp_path: Path) -> None:
    """Cross mean ± .05 / √2 and ± .10 / √2, as above; one cell ± .10 / √2 and ± .20 / √2; the others are equal in both
    seeds."""
    variants = {"d · causal packets": ("whole", "column:good", ""), "d · full attention": ("whole", "column:bad", "")}
    store = write(tmp_path / "runs", "stability-attention", variants)
    lines = [" ".join(line.split()) for line in RENDER["table"](shown(store), 160, False).splitlines()]
    start = lines.index("d: standard deviation of AUROC over seeds in points · SYNTHETIC DATA")
    assert lines[start + 1] == "where causal packets full attention full attention / causal packets"
    assert {"cross mean 3.54 7.07 2.00", "plant → home 7.07 14.14 2.00", "home → plant 0.00 0.00 –"} <= set(
        lines[start : start + 12]
    )


def test_another_aggregator_counts_for_likeness_too(ablation: RunStore) -> None:
    found = summaries(shown(ablation, aggregator="column:good"))
    assert found["A1 terminal_norm"]["cross_mean"]["likeness"] == pytest.approx(0.60)
    assert found["best fixed score"]["cross_mean"]["likeness"] == pytest.approx(0.60)
    assert not found["best fixed score"]["cross_mean"]["upper_bound"]


def test_the_figure_has_the_same_differences(ablation: RunStore, tmp_path: Path) -> None:
    table = Results(ablation).select()
    document, variants = leaderboard.document(table, "auroc"), {row.label: row.declared.variant for row in table.rows}
    assert reference_label(document, variants) == "d · A5 OAS"
    deltas = ablation_deltas(document, "d · A5 OAS", variants=variants)
    assert list(deltas) == [
        "A1 terminal_norm",
        "A2 disc_nll_total",
        "best fixed score ‡ upper bound",
        "B2 no packet sequence",
    ]
    assert deltas["A1 terminal_norm"] == pytest.approx({"within": 2.0, "cross mean": -32.5, "cross worst": -40.0})
    assert set(deltas["A2 disc_nll_total"].values()) == {None}
    assert list(ablation_deltas(document, "d · A5 OAS", ["d · B2 no packet sequence"], variants)) == [
        "B2 no packet sequence"
    ]
    file = tmp_path / "bars.svg"
    figures.ablation(file, runs=ablation.folder)
    drawn = file.read_text(encoding="utf-8")
    for text in ("−32.50", "−17.50", "no number", "difference to d · A5 OAS, AUROC points"):
        assert text in drawn, text


def test_a_figure_without_a_reference_says_so(tmp_path: Path) -> None:
    store = write(tmp_path / "runs", "cross", ABLATION)
    with pytest.raises(UsageError, match="give one with --reference"):
        figures.ablation(tmp_path / "bars.svg", runs=store.folder)
