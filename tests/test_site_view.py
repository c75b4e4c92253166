"""The view ``@site``: a metric inside each site, then the mean over sites.  Results are planted; the expected numbers
are computed here, by definition and in plain Python."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import polars as pl
import pytest

from harness.cli import leaderboard
from harness.cli.compare import compare as compare_command
from janus_bench.errors import DataError
from janus_bench.records import DatasetEntry, DetectorRow, ExpectedCell, PlanRecord, RunRecord, RunSpec
from reports.render.html.collect import collect
from reports.render.html.page import render_page
from reports.results.folder import RunStore
from reports.results.measures import measure_of
from reports.results.model import Results, ResultTable
from reports.statistics import joining
from reports.statistics.intervals import leaderboard_statistics
from reports.statistics.joining import joined_cells, resample_cells
from reports.tables.leaderboard import build_leaderboard
from tests.conftest import Cli, write_example_captures
from tests.rendering import RENDER

CALIBRATION = 40  # Flows 0 … 29 of every network calibrate, ten of each role; ten more are of none.


@dataclass(frozen=True)
class Flow:
    """A test flow: where it was recorded, its family (empty: benign), its capture, and seeds that do not test it."""

    site: str
    family: str
    capture: str
    absent: tuple[int, ...] = ()


def flows(site: str, family: str, n: int, captures: int = 4, absent: tuple[int, ...] = ()) -> list[Flow]:
    return [Flow(site, family, f"{site}-{family}-{number % captures}", absent) for number in range(n)]


SEEDS = (1, 2, 3)
NETWORKS: dict[str, list[Flow]] = {
    "alpha": [
        *flows("lab", "", 80),
        *(flow for family in "pqrs" for flow in flows("lab", family, 10)),  # no family of 20: no macro AUROC
        *flows("plant", "", 260),
        *flows("plant", "scan", 40),
        *flows("plant", "flood", 25),
        *flows("plant", "rare", 5),
        *flows("edge", "", 49),  # and one more, but not under every seed
        *flows("edge", "", 1, absent=(2,)),
        *flows("edge", "scan", 60),
        *flows("remote", "bot", 30),  # attacks without benign flows
        *flows("", "", 100),  # nobody says where
        *flows("", "scan", 50),
    ],
    "beta": [*flows("home", "", 200), *flows("jail", "scan", 100)],  # no site has both
}
DETECTORS = ("one", "two")
PAIRS = [(source, target) for source in NETWORKS for target in NETWORKS]


def scores_of(detector: str, source: str, target: str, seed: int) -> list[float]:
    """Of the test flows, in their order: noise, a shift of each site, and what the detector sees of attacks."""
    rng = np.random.default_rng([DETECTORS.index(detector), PAIRS.index((source, target)), seed])
    skill = {"one": 1.5, "two": 0.3}[detector]
    return [
        round(float(rng.normal()), 2)
        + {"plant": 1.0, "remote": 3.0, "jail": 5.0}.get(flow.site, 0.0)
        + skill * bool(flow.family)
        for flow in NETWORKS[target]
    ]


def spec_of(detector: str, source: str | None, target: str, seed: int, regime: str = "transfer") -> RunSpec:
    hash_of = f"hash-{source}" if source else None
    where = (source, hash_of, target, f"hash-{target}", seed)
    return RunSpec(detector, "1", {}, regime, *where, "grouped", "quick", "quick", "target_benign", "cpu")  # type: ignore[arg-type]


def truth_of(tested: Sequence[Flow], named: bool = True) -> pl.DataFrame:
    n = CALIBRATION + len(tested)
    every = [Flow("", "", "calibration")] * CALIBRATION + list(tested)
    truth = {
        "flow_id": np.arange(n),
        "attack": [bool(flow.family) for flow in every],
        "family": [flow.family for flow in every],
        "source": [flow.capture for flow in every],
        "n_packets": np.full(n, 3),
    }
    return pl.DataFrame(truth | ({"site": [flow.site for flow in every]} if named else {}))


def score_table(values: Sequence[float], tested: Sequence[Flow], target: str, seed: int) -> pl.DataFrame:
    kept = [place for place, flow in enumerate(tested) if seed not in flow.absent]
    ids = [*range(CALIBRATION - 10), *(CALIBRATION + place for place in kept)]
    role = [*np.repeat(["source_val", "cal_a", "cal_b"], 10), *["test"] * len(kept)]
    calibration = [place / 100 for place in range(CALIBRATION - 10)]
    score = [*calibration, *(values[place] for place in kept)]
    return pl.DataFrame({"flow_id": ids, "target": [target] * len(ids), "role": role, "score": score})


Networks = Mapping[str, Sequence[Flow]]
Scorer = Callable[[str, str, str, int], Sequence[float]]


def write(
    folder: Path,
    networks: Networks = NETWORKS,
    score: Scorer = scores_of,
    *,
    pairs: Sequence[tuple[str, str]] = PAIRS,
    named: bool = True,
    version: int = 2,
    seeds: Sequence[int] = SEEDS,
) -> Path:
    store = RunStore.create(folder)
    cells = []
    for target, tested in networks.items():
        store.write_truth(f"hash-{target}", truth_of(tested, named))
    for detector in DETECTORS:
        for source, target in pairs:
            for seed in seeds:
                spec = replace(spec_of(detector, source, target, seed), schema_version=version)
                write_run(store, spec, score(detector, source, target, seed), networks[target])
                cells.append(ExpectedCell(detector, "transfer", source, target, seed, spec.key))
    datasets = {name: DatasetEntry(f"hash-{name}") for name in networks}
    rows = {detector: DetectorRow(detector, provenance="our reading") for detector in DETECTORS}
    plan = PlanRecord("cross", "quick", "grouped", "target_benign", tuple(seeds), datasets, rows, tuple(cells), version)
    store.write_plan(plan)
    return folder


def write_run(store: RunStore, spec: RunSpec, values: Sequence[float], tested: Sequence[Flow]) -> None:
    done = ("ok", "", 0, "2026-01-01", "our reading", False, "identity")
    store.append(RunRecord(spec.key, spec.fit_key, asdict(spec), *done, schema_version=spec.schema_version))  # type: ignore[arg-type]
    store.write_scores(spec.key, score_table(values, tested, spec.target, spec.seed))


# -- the definition, in plain Python -----------------------------------------------------------------------------------


def area(benign: Sequence[float], attack: Sequence[float]) -> float:
    return sum((a > b) + 0.5 * (a == b) for a in attack for b in benign) / (len(benign) * len(attack))


def macro(benign: Sequence[float], by_family: Mapping[str, Sequence[float]]) -> float | None:
    large = [own for own in by_family.values() if len(own) >= 20]
    return fmean(area(benign, own) for own in large) if large else None


def found_at_one_percent(benign: Sequence[float], attack: Sequence[float]) -> float:
    return max(
        sum(a > limit for a in attack) / len(attack)
        for limit in benign
        if sum(b > limit for b in benign) / len(benign) <= 0.01
    )


def by_definition(metric: str, detector: str, source: str, target: str) -> float | None:
    """Mean over sites of the mean over seeds; a site counts if it has enough flows under every seed."""
    per_site: dict[str, list[float | None]] = {}
    for site in {flow.site for flow in NETWORKS[target]} - {""}:
        for seed in SEEDS:
            values = scores_of(detector, source, target, seed)
            own = [
                (flow, value)
                for flow, value in zip(NETWORKS[target], values, strict=True)
                if flow.site == site and seed not in flow.absent
            ]
            benign = [value for flow, value in own if not flow.family]
            by_family: dict[str, list[float]] = {}
            for flow, value in own:
                if flow.family:
                    by_family.setdefault(flow.family, []).append(value)
            attack = [value for values in by_family.values() for value in values]
            wanted = 200 if metric == "tpr_at_fpr_1pct" else 50
            number: float | None = None
            if len(benign) >= wanted and len(attack) >= 20:
                number = {
                    "auroc": lambda b=benign, a=attack: area(b, a),
                    "macro_auroc": lambda b=benign, f=by_family: macro(b, f),
                    "tpr_at_fpr_1pct": lambda b=benign, a=attack: found_at_one_percent(b, a),
                }[metric]()
            per_site.setdefault(site, []).append(number)
    means = [fmean(numbers) for numbers in per_site.values() if None not in numbers]  # type: ignore[arg-type]
    return fmean(means) if means else None


COUNTED = {"auroc": ("lab", "plant"), "macro_auroc": ("plant",), "tpr_at_fpr_1pct": ("plant",)}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> ResultTable:
    return Results.open(write(tmp_path_factory.mktemp("sites") / "runs")).select()


@pytest.mark.parametrize("metric", COUNTED)
def test_every_cell_is_the_mean_over_sites_of_the_mean_over_seeds(table: ResultTable, metric: str) -> None:
    measure = measure_of(f"{metric}@site")
    assert table.sites.counted(measure.metric, "alpha") == COUNTED[metric]
    assert table.sites.counted(measure.metric, "beta") == ()
    board, pooled = build_leaderboard(table, measure), build_leaderboard(table, measure_of(metric))
    beside = {row["detector"]: row for row in pooled["rows"]}
    for row in board["rows"]:
        detector, own = row["detector"], beside[row["detector"]]
        for cell, other in zip(row["cells"], own["cells"], strict=True):
            expected = by_definition(metric, detector, cell["source"], cell["target"])
            assert (expected is None) == (cell["target"] == "beta")
            assert cell["mean"] == (None if expected is None else pytest.approx(expected, abs=1e-12))
            assert other["site_mean"] == cell["mean"]
        within, cross = (by_definition(metric, detector, source, "alpha") for source in ("alpha", "beta"))
        assert row["summary"]["within_mean"] == pytest.approx(within, abs=1e-12)  # beta is outside the view
        assert row["summary"]["cross_mean"] == pytest.approx(cross, abs=1e-12)
        assert own["site_summary"] == row["summary"]
        assert own["summary"]["cross_mean"] not in (None, row["summary"]["cross_mean"])


def test_few_sites_are_said_and_rank_nobody(table: ResultTable) -> None:
    """Two sites: the numbers are there, in order, without a rank, and every table says how many they rest on."""
    board = build_leaderboard(table, measure_of("auroc@site"))
    assert [(row["detector"], row["rank"]) for row in board["rows"]] == [("one", None), ("two", None)]
    assert board["sites"]["n_sites"] == 2
    text = RENDER["table"](board, 100, False)
    assert text.splitlines()[0] == "Leaderboard · cross · AUROC, within a site · 2 sites"
    pooled = RENDER["table"](build_leaderboard(table, measure_of("auroc")), 100, False)
    assert "2 sites" in pooled.split("Not ok")[0].split("source (rows)")[0]  # the heading of a column
    one = build_leaderboard(table, measure_of("tpr_at_fpr_1pct@site"))
    assert RENDER["markdown"](one, 100, False).splitlines()[0].endswith("· 1 site")
    statistics = leaderboard_statistics(table, measure_of("auroc@site"), 50)
    for summary in statistics["summaries"].values():
        assert summary["tests"] == []
        assert {of["group"] + of["group_these"] for of in summary["detectors"].values()} == {""}


def test_notes_name_the_sites_and_what_lies_outside(table: ResultTable) -> None:
    notes = "\n".join(build_leaderboard(table, measure_of("auroc"))["notes"])
    for said in (
        "then the mean over sites (alpha: lab, plant), 2 sites, too few for a lead",
        # edge 60, remote 30, and 50 of no named site
        "outside @site (of a site with too few flows, or of none): 140 attack test flows of alpha",
        "benign and attack flows of beta never share a site: the pooled number may be capture artefact",
    ):
        assert said in notes, said
    # lab has 80 benign flows: enough for an AUROC, too few for a rate of 1 %
    rates = "\n".join(build_leaderboard(table, measure_of("tpr_at_fpr_1pct"))["notes"])
    assert "(alpha: plant), 1 site, too few" in rates
    assert "180 attack test flows of alpha" in rates


def test_what_was_stored_when_a_run_ended_and_what_is_derived_are_the_same(table: ResultTable, tmp_path: Path) -> None:
    """Numbers of sites that a run stored are read without its scores."""
    derived = build_leaderboard(table, measure_of("auroc"))
    store = RunStore.open(write(tmp_path / "runs"))
    planted = Results(store)
    for key, record in planted.records.items():
        metrics = {}
        for metric in ("auroc", "macro_auroc"):
            for view in ("", "@site=lab", "@site=plant", "@site=jail"):
                found = planted.number(record, measure_of(metric).metric, (view,), "identity").value
                metrics[f"{metric}{view}"] = found
        sizes = planted.sizes(record)
        assert sizes is not None
        store.append(replace(record, metrics=metrics, partition={"kind": "grouped", "sites": sizes}))
        (store.folder / "scores" / f"{key}.parquet").unlink()
    for path in (store.folder / "truth").iterdir():
        path.unlink()
    stored = build_leaderboard(Results.open(store.folder).select(), measure_of("auroc"))
    assert [row["cells"] for row in stored["rows"]] == [row["cells"] for row in derived["rows"]]
    assert stored["sites"] == derived["sites"]


def test_scores_that_are_not_at_hand_leave_a_dash_and_a_line(tmp_path: Path) -> None:
    """An older folder that kept numbers and no scores shows them as before; what is asked for by name is refused."""
    store = RunStore.open(write(tmp_path / "runs", seeds=(1,)))
    for key, record in Results(store).records.items():
        store.append(replace(record, metrics={"auroc": 0.75}))
        (store.folder / "scores" / f"{key}.parquet").unlink()
    table = Results.open(store.folder).select()
    board = build_leaderboard(table, measure_of("auroc"))
    assert {cell["mean"] for row in board["rows"] for cell in row["cells"]} == {0.75}
    assert {cell["site_mean"] for row in board["rows"] for cell in row["cells"]} == {None}
    assert any(note.startswith("@site: ") and "is missing" in note for note in board["notes"])
    header, _, first, *_ = [line for line in RENDER["markdown"](board, 80, False).splitlines() if line.startswith("|")]
    assert first.split("|")[header.split("|").index(" within 0 sites ")].strip() == "–"
    with pytest.raises(DataError, match="is missing"):
        build_leaderboard(table, measure_of("auroc@site"))


def test_results_of_version_1_know_nothing_of_sites(tmp_path: Path) -> None:
    board = build_leaderboard(
        Results.open(write(tmp_path / "runs", named=False, version=1, seeds=(1,))).select(), measure_of("auroc")
    )
    assert "sites" not in board
    assert "site_summary" not in board["rows"][0]
    assert "site" not in RENDER["csv"](board, 80, False)


def test_a_network_that_names_no_site_is_said_to_name_none(tmp_path: Path) -> None:
    board = build_leaderboard(
        Results.open(write(tmp_path / "runs", named=False, seeds=(1,))).select(), measure_of("auroc")
    )
    assert "no site is named in alpha, beta: what holds inside a site is not known" in board["notes"]
    assert "@site" not in RENDER["table"](board, 100, False)


# -- a detector that tells sites apart ---------------------------------------------------------------------------------

APART = {
    "apart": [
        *flows("office", "", 1000),
        *flows("lab", "", 50),
        *flows("lab", "scan", 20),
        *flows("botnet", "bot", 1000),
    ]
}


def by_place(_detector: str, _source: str, target: str, _seed: int) -> list[float]:
    """The office is low, the botnet high, and inside the lab all are alike: 500 of 1 050 · 1 020 pairs are not won."""
    place = {"office": 0.0, "lab": 1.0, "botnet": 2.0}
    return [place[flow.site] for flow in APART[target]]


def test_a_pooled_auroc_of_1_beside_one_of_half_inside_a_site_in_every_format(tmp_path: Path) -> None:
    folder = write(tmp_path / "runs", APART, by_place, pairs=[("apart", "apart")], seeds=(1,))
    table = Results.open(folder).select()
    board = build_leaderboard(table, measure_of("auroc"))
    (cell,) = board["rows"][0]["cells"]
    assert (round(cell["mean"], 3), cell["site_mean"]) == (1.0, 0.5)
    assert cell["mean"] == 1 - 500 / (1050 * 1020)
    meaning = "a pooled number above it may be no more than telling sites apart"
    said = f"then the mean over sites (apart: lab), 1 site, too few for a lead; {meaning}"
    texts = {name: RENDER[name](board, 80, False) for name in ("table", "markdown", "latex")}
    for name, text in texts.items():
        lines = [line for line in text.splitlines() if "one" in line and "1.000" in line]
        assert any(".500" in line and ("ok" in line or name == "latex") for line in lines), name
        assert meaning in " ".join(text.replace("\\", "").split()), name
    document = json.loads(RENDER["json"](board, 80, False))
    assert document["rows"][0]["site_summary"]["within_mean"] == 0.5
    assert round(document["rows"][0]["summary"]["within_mean"], 3) == 1.0
    assert said in " ".join(document["notes"])
    (first, _) = csv.DictReader(io.StringIO(RENDER["csv"](board, 80, False)))
    assert (round(float(first["mean"]), 3), first["site_mean"]) == (1.0, "0.5")
    assert (round(float(first["within_mean"]), 3), first["site_within_mean"]) == (1.0, "0.5")
    parquet = pl.read_parquet(io.BytesIO(RENDER["parquet"](board, 80, False)))
    assert parquet["site_mean"].to_list() == [0.5, 0.5]
    page = render_page(collect(table))
    line = next(line for line in page.splitlines() if '<th scope="row" class="d">one' in line)
    assert ">1.000<" in line
    assert ">.500<" in line
    assert meaning in page
    assert '<option value="auroc@site">AUROC, within a site</option>' in page


# -- intervals and comparisons -----------------------------------------------------------------------------------------


def test_a_comparison_inside_sites_is_of_the_numbers_by_definition(
    table: ResultTable, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "RESAMPLES", 100)
    compare_command(table.results.folder, detectors="one,two", metric="auroc@site", output="json")
    document = json.loads(capsys.readouterr().out)
    (pair,) = document["pairs"]
    cells = {(cell["source"], cell["target"]): cell for cell in pair["cells"]}
    for source, target in PAIRS:
        cell = cells[source, target]
        if target == "beta":
            assert (cell["difference"], cell["reason"][:25]) == (None, "no site has enough flows ")
            continue
        first, second = (by_definition("auroc", detector, source, target) for detector in DETECTORS)
        assert (cell["first"], cell["second"]) == pytest.approx((first, second))
        assert cell["low"] < cell["difference"] < cell["high"]
        assert cell["delong_p"] is None
        assert (cell["n_benign"], cell["n_attack"]) == (80 + 260, 40 + 70)
    (cross, within) = pair["means"]
    assert cross["difference"] == pytest.approx(cells["beta", "alpha"]["difference"])
    assert within["difference"] == pytest.approx(cells["alpha", "alpha"]["difference"])
    assert any("no DeLong test: it is not for a mean over sites" in note for note in document["notes"])
    assert any("2 sites, too few for a lead" in note for note in document["notes"])


def test_captures_are_drawn_inside_each_site(table: ResultTable) -> None:
    """A site of the mean never vanishes from a resample, however few captures it has: its own are drawn, as many as
    there are.  The spread is that of drawing them one by one."""
    measure = measure_of("auroc@site")
    rows = [table.row("one")]
    cells = joined_cells(rows, [("alpha", "alpha")], [1], measure)
    drawn = resample_cells(cells, measure, 1000).draws["alpha", "alpha"][:, 0]
    assert np.isfinite(drawn).all()
    values = scores_of("one", "alpha", "alpha", 1)
    rng = np.random.default_rng(5)
    slow = []
    captures: dict[tuple[str, bool], dict[str, list[float]]] = {}
    for flow, value in zip(NETWORKS["alpha"], values, strict=True):
        captures.setdefault((flow.site, bool(flow.family)), {}).setdefault(flow.capture, []).append(value)

    def drawn_again(site: str, attack: bool) -> np.ndarray:
        own = list(captures[site, attack].values())
        chosen = [own[place] for place in rng.integers(len(own), size=len(own))]
        return np.concatenate([rng.choice(values, size=len(values)) for values in chosen])

    for _ in range(1000):
        areas = [fast_area(drawn_again(site, False), drawn_again(site, True)) for site in ("lab", "plant")]
        slow.append(fmean(areas))
    assert drawn.std() == pytest.approx(np.std(slow), rel=0.1)
    assert drawn.mean() == pytest.approx(np.mean(slow), abs=0.003)


def fast_area(benign: np.ndarray, attack: np.ndarray) -> float:
    order = np.sort(benign)
    return float(
        (np.searchsorted(order, attack, "left") + np.searchsorted(order, attack, "right")).sum()
        / (2 * len(benign) * len(attack))
    )


def test_a_metric_of_repeated_flows_is_a_mean_over_sites_too(table: ResultTable) -> None:
    measure = measure_of("macro_auroc@site")
    cells = joined_cells([table.row("one")], [("alpha", "alpha")], list(SEEDS), measure)
    found = resample_cells(cells, measure, 5).estimate["alpha", "alpha"][0]
    assert found == pytest.approx(by_definition("macro_auroc", "one", "alpha", "alpha"))


def test_a_site_of_one_capture_has_no_interval(tmp_path: Path) -> None:
    single = {"apart": [replace(flow, capture="only") if flow.site == "lab" else flow for flow in APART["apart"]]}
    folder = write(tmp_path / "runs", single, by_place, pairs=[("apart", "apart")], seeds=(1,))
    statistics = leaderboard_statistics(Results.open(folder).select(), measure_of("auroc@site"), 50)
    found = statistics["summaries"]["within_mean"]["detectors"]["one"]
    assert (found["mean"], found["low_these"]) == (0.5, None)
    assert found["reason_these"] == "the benign test flows of a site of apart come from one capture"


def test_the_command_takes_the_view_wherever_a_metric_is_chosen(
    table: ResultTable, capsys: Any, tmp_path: Path
) -> None:
    from harness.cli.figures import heatmap

    leaderboard.leaderboard(table.results.folder, metric="auroc@site", output="csv", intervals=False)
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {line["metric"] for line in lines} == {"auroc@site"}
    heatmap(tmp_path / "heat.svg", "one", metric="auroc@site", runs=table.results.folder)
    assert (tmp_path / "heat.svg").stat().st_size > 1000


# -- from captures to a table ------------------------------------------------------------------------------------------


def test_a_run_stores_what_the_view_needs_and_an_older_folder_gives_the_same(cli: Cli, tmp_path: Path) -> None:
    """A dataset of two sites is run: numbers of each site are in its rows.  Without them the scores give the same."""
    captures = write_example_captures(tmp_path / "captures")
    header, *lines = (captures / "labels.csv").read_text().splitlines()
    named = [f"{line},{'north' if int(line[8:10]) % 2 else 'south'}" for line in lines]
    (captures / "labels.csv").write_text("\n".join([f"{header},site", *named]) + "\n")
    home = {"JANUS_BENCH_HOME": str(tmp_path / "home")}
    assert cli("data", "add", "lan", captures, **home).returncode == 0
    asked = ("--protocol", "within", "--detectors", "length", "--datasets", "lan", "--seeds", "1", "--device", "cpu")
    assert cli("run", *asked, **home).returncode == 0
    store = RunStore.open(tmp_path / "runs")
    ((key, record),) = store.records().items()
    tested = (
        store.scores(key).filter(pl.col("role") == "test").join(store.truth(record.spec["target_hash"]), on="flow_id")
    )
    sizes = {
        site: {
            "benign": tested.filter(~pl.col("attack"), site=site).height,
            "attack": tested.filter("attack", site=site).height,
        }
        for site in ("north", "south")
    }
    assert record.partition["sites"] == sizes
    areas = []
    for site in ("north", "south"):
        own = tested.filter(pl.col("site") == site)
        parts = [own.filter(pl.col("attack") == attack)["score"].to_numpy() for attack in (False, True)]
        areas.append(fast_area(*parts))
        assert record.metrics[f"auroc@site={site}"] == pytest.approx(areas[-1])
    new = build_leaderboard(Results.open(store.folder).select(), measure_of("auroc"))
    assert new["rows"][0]["site_summary"]["within_mean"] == pytest.approx(fmean(areas))
    metrics = {name: value for name, value in record.metrics.items() if "@site" not in name}
    partition = {name: value for name, value in record.partition.items() if name != "sites"}
    store.append(replace(record, metrics=metrics, partition=partition))
    old = build_leaderboard(Results.open(store.folder).select(), measure_of("auroc"))
    assert old["rows"][0]["site_summary"] == new["rows"][0]["site_summary"]
    assert old["sites"] == new["sites"]
