"""The folder that a paper begins with: every number against the stored rows and the JSON leaderboard, compiled with
pdflatex and BibTeX, whole or not there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from harness.cli import leaderboard
from harness.cli import paper as command
from harness.cli.declared import capabilities_of
from janus_bench import plugins
from janus_bench.errors import UsageError
from reports.paper.bibliography import DatasetSource, bibliography
from reports.paper.folder import PaperData, paper_files
from reports.paper.text import latin
from reports.results.facts import folder_facts
from reports.results.model import Results
from reports.tables.audits import with_audits
from tests.conftest import ROOT
from tests.test_report import planted, small_store

PDFLATEX, BIBTEX = shutil.which("pdflatex"), shutil.which("bibtex")
EVIL = r"x_{y}%&#$^~\[a=b]"
LETTERS = "größe Ťčłß ħŋ网\u0328\x1b[2J"
NETWORKS = ("enterprise_windows", EVIL, LETTERS, *(f"a_long_name_of_a_network_{number}" for number in range(4)))


@pytest.fixture(scope="module", autouse=True)
def few_resamples() -> Iterator[None]:
    """What intervals are is seen elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reports.statistics.intervals.resamples_of", lambda _: 50)
        yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder whose rows tell partitions, costs and machines."""
    folder = tmp_path_factory.mktemp("paper") / "runs"
    small_store(folder)
    for place, file in enumerate(sorted((folder / "results").glob("*.json"))):
        row = json.loads(file.read_text())
        target, seed = row["spec"]["target"], row["spec"]["seed"]
        parts = ("train", "val", "cal_a", "cal_b", "test_benign", "test_attack")
        sizes = {part: 100 * number + 10 * seed + (target == "b") for number, part in enumerate(parts, 1)}
        row["partition"] = {"kind": "grouped" if target == "a" else "time blocks", "reason": "", "sizes": sizes}
        row["cost"] = {"fit_s": 100.0 + place, "score_s": 1.0}
        row["environment"] = {"processor": "some processor", "cores": "3", "python": "3.11.7", "janus-bench": "9.8"}
        file.write_text(json.dumps(row))
    return folder


@pytest.fixture(scope="module")
def folder(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JANUS_BENCH_HOME", str(tmp_path_factory.mktemp("nothing")))
        command.paper(runs, runs.parent / "paper")
    return runs.parent / "paper"


def commands_of(folder: Path) -> dict[str, str]:
    return dict(re.findall(r"\\newcommand\{\\jb(\w+)\}\{(.*)\}", (folder / "numbers.tex").read_text()))


# -- numbers -----------------------------------------------------------------------------------------------------------


def test_every_number_is_that_of_the_plan_the_rows_and_the_json_leaderboard(
    runs: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leaderboard.leaderboard(runs, output="json")
    board = json.loads(capsys.readouterr().out)
    (plan,) = [json.loads(file.read_text()) for file in (runs / "plans").glob("*.json")]
    rows = [json.loads(file.read_text()) for file in (runs / "results").glob("*.json")]
    ok = [row for row in rows if row["status"] == "ok"]
    entries = plan["datasets"].values()
    expected = {
        "Detectors": len({row["name"] for row in plan["detectors"].values()}),
        "Rows": len(plan["detectors"]),
        "Datasets": len(plan["datasets"]),
        "Cells": len({(cell["source"], cell["target"]) for cell in plan["cells"]}),
        "Seeds": len(plan["seeds"]),
        "SeedList": "1, 2",
        "Runs": len(plan["cells"]),
        "RunsOk": len(ok),
        "ControlRuns": 0,
        "ControlRunsOk": 0,
        "Sites": 0,
        "Resamples": board["statistics"]["resamples"],
        "Confidence": 95,
        "Alpha": 5,
        **{kind.title(): sum(entry[kind] for entry in entries) for kind in ("flows", "benign", "attack")},
        **dict(
            zip(("ShareTrain", "ShareVal", "ShareCalA", "ShareCalB", "ShareTest"), (50, 5, 15, 10, 20), strict=True)
        ),
        "CapTrain": 5000,
        "CapVal": "no limit",
        "CapCalA": 2000,
        "CapCalB": 1000,
        "CapTestBenign": 2000,
        "CapTestAttack": 2000,
        "Fits": len({row["fit_key"] for row in ok}),
        "FitTime": f"{sum(row['cost']['fit_s'] for row in ok) / 60:.1f} minutes",
    }
    names = {"Train": "train", "Val": "val", "CalA": "cal_a", "CalB": "cal_b"}
    for name, part in (names | {"TestBenign": "test_benign", "TestAttack": "test_attack"}).items():
        sizes = [row["partition"]["sizes"][part] for row in rows]
        expected |= {f"{name}Fewest": min(sizes), f"{name}Most": max(sizes)}
    shown = {name: f"{value:,}" if isinstance(value, int) else value for name, value in expected.items()}
    assert commands_of(folder) == shown
    assert board["n_expected_cells"] == expected["Cells"]
    assert sum(row["status_counts"]["ok"] for row in board["rows"]) == expected["RunsOk"]


def test_the_methods_have_no_number_of_their_own_and_every_command_that_they_use_is_defined(folder: Path) -> None:
    text = (folder / "methods.tex").read_text()
    assert "some processor" in text
    assert r"3.11.7" in text
    prose = re.sub(r"\\(cite|ref|texttt)\{[^}]*\}", "", text)
    assert re.findall(r"\d", prose) == []
    used = set(re.findall(r"\\jb(\w+)", text))
    assert used <= commands_of(folder).keys()
    assert {"Detectors", "SeedList", "CapTrain", "TestAttackMost", "Resamples", "FitTime"} <= used


def test_the_table_has_the_numbers_of_the_leaderboard(
    runs: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leaderboard.leaderboard(runs, output="json")
    (row,) = [row for row in json.loads(capsys.readouterr().out)["rows"] if row["detector"] == "far"]
    (line,) = re.findall(
        r"^1 & \\texttt\{far\} & .*$", (folder / "tables" / "leaderboard.tex").read_text(), re.MULTILINE
    )
    for name in ("within_mean", "cross_mean"):
        assert f"{row['summary'][name]:.3f}".removeprefix("0") in line


# -- references --------------------------------------------------------------------------------------------------------


def entries_of(text: str) -> dict[str, dict[str, str]]:
    """Key → fields, of entries with a field a line."""
    return {
        key: dict(re.findall(r"^  (\w+) = \{(.*)\},$", body, re.MULTILINE))
        for key, body in re.findall(r"^@\w+\{([^,]+),\n(.*?)^\}", text, re.MULTILINE | re.DOTALL)
    }


def test_the_software_is_cited_as_citation_cff_says_with_the_version_that_made_the_rows(folder: Path) -> None:
    stated = dict(re.findall(r'^([\w-]+): "?(.*?)"?$', (ROOT / "CITATION.cff").read_text(), re.MULTILINE))
    (author,) = re.findall(r'^  - name: "(.*)"$', (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    entry = entries_of((folder / "references.bib").read_text())["janus-bench"]
    assert (entry["title"], entry["author"]) == (stated["title"], f"{{{author}}}")
    assert stated["license"] in entry["howpublished"]
    assert entry["note"] == "Version 9.8"


def test_what_is_not_stated_says_so_and_what_is_stated_is_there() -> None:
    sources = {"home": ("a" * 64, DatasetSource("CC BY 4.0", "Doe: Home, 2020")), "plant": ("b" * 64, DatasetSource())}
    found = bibliography(["1"], sources, {"mine": "Mine et al., 2030", "iforest": "", "alone": ""})
    entries = entries_of(found.text)
    assert "Doe: Home, 2020" in entries["dataset-home"]["howpublished"]
    assert "CC BY 4.0" in entries["dataset-home"]["note"]
    assert entries["dataset-plant"]["howpublished"] == "citation not stated"
    assert "Licence: not stated" in entries["dataset-plant"]["note"]
    assert entries["detector-mine"]["howpublished"] == "Mine et al., 2030"
    assert entries["detector-alone"]["howpublished"] == "source not stated"
    assert [entries[key]["title"] for key in found.detectors["iforest"]] == ["Isolation Forest"]


def test_no_two_names_share_a_key() -> None:
    names = ("a b", "a-b", "A_B", "---", "网")
    found = bibliography(["1"], {name: ("0", DatasetSource()) for name in names}, {})
    keys = [key.lower() for key in found.keys]
    assert len(set(keys)) == len(keys)
    assert all(re.fullmatch(r"[a-z0-9-]+", key) for key in keys)
    assert sorted(found.datasets) == sorted(names)


# -- compiled ----------------------------------------------------------------------------------------------------------


def tex(folder: Path, *words: str) -> str:
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, errors="replace", timeout=120)
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def evil_paper() -> Mapping[str, bytes]:
    """Many wide networks with names that LaTeX and BibTeX would obey or do not know, a failed row, audits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.test_report.METRICS", ("auroc", "macro_auroc"))  # the page has more, the paper has not
        report = planted((EVIL, f"{LETTERS}[sigma=0.6,coupling=sinkhorn]"), NETWORKS, seeds=(1,))
    table: Any = report.table
    truth = {"flow_id": [1, 2], "attack": [False, True], "family": ["", EVIL], "source": [EVIL, LETTERS]}
    table.results.truth = lambda _: pl.DataFrame(truth)
    finding = {"key": "caps.benign", "severity": "warning", "text": EVIL, "short": LETTERS, "action": "--no"}
    board = with_audits(report.first, {NETWORKS[0]: {"findings": [finding]}})
    return paper_files(
        PaperData(
            table,
            {**board, "made_by": [EVIL]},
            [("Macro AUROC", report.documents["macro_auroc"])],
            folder_facts(table, {}),
            {name: DatasetSource(EVIL, LETTERS) for name in NETWORKS},
            {row.declared.name: EVIL for row in table.rows},
        )
    )


@pytest.mark.skipif(PDFLATEX is None or BIBTEX is None, reason="no pdflatex and bibtex on this machine")
@pytest.mark.parametrize("which", ["stored", "evil"])
def test_it_compiles_every_citation_resolves_and_no_table_leaves_the_page(
    which: str, folder: Path, tmp_path: Path
) -> None:
    place = tmp_path / "paper"
    if which == "stored":
        shutil.copytree(folder, place)
    else:
        for name, content in evil_paper().items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)
    latex = (str(PDFLATEX), "-interaction=nonstopmode", "-halt-on-error", "main.tex")
    tex(place, *latex)
    said = tex(place, str(BIBTEX), "main")
    assert "Warning--" not in said
    tex(place, *latex)
    tex(place, *latex)
    log = (place / "main.log").read_text(errors="replace")
    assert re.findall(r"(?:Citation|Reference) .* undefined", log) == []
    assert "multiply defined" not in log
    assert re.findall(r"Overfull \\hbox \((\d{2,})", log) == []
    assert ".pk>" not in log, "a font is a bitmap"
    cited = set(re.findall(r"\\citation\{(.*?)\}", (place / "main.aux").read_text()))
    keys = entries_of((place / "references.bib").read_text()).keys()
    assert {key for each in cited for key in each.split(",")} == keys
    bibitems = re.findall(r"^\\bibitem\{(.*)\}", (place / "main.bbl").read_text(), re.MULTILINE)
    assert set(bibitems) == keys
    assert (place / "main.pdf").read_bytes().startswith(b"%PDF")
    for name in re.findall(r"\\includegraphics\[.*?\]\{(.*?)\}", (place / "figures.tex").read_text()):
        assert (place / name).read_bytes().startswith(b"%PDF")  # in vector form


def test_letters_that_the_fonts_have_stay_and_others_are_question_marks() -> None:
    assert latin("größe Ťčł Æß\n") == "größe Ťčł Æß\n"
    assert latin("§网ħŋąﬀ\u0328→\x1b\t") == 10 * "?"


# -- whole or not there ------------------------------------------------------------------------------------------------


def test_what_is_there_already_is_not_touched(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper" / "main.tex").write_text("mine")
    with pytest.raises(UsageError, match="not an empty folder: choose another with -o"):
        command.paper(runs, tmp_path / "paper")
    with pytest.raises(UsageError, match="not an empty folder"):
        command.paper(runs, tmp_path / "paper" / "main.tex")
    assert [(file.name, file.read_text()) for file in (tmp_path / "paper").iterdir()] == [("main.tex", "mine")]


def test_a_full_disk_leaves_nothing(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    real = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if ".part" in str(self):
            written.append(self.name)
            if len(written) == 3:
                raise OSError(28, "No space left on device", str(self))
        return real(self, data)

    monkeypatch.setattr("reports.paper.folder.paper_files", lambda _: {f"{name}/x.tex": b"x" for name in "abcd"})
    monkeypatch.setattr(Path, "write_bytes", full)
    monkeypatch.setenv("JANUS_BENCH_HOME", str(tmp_path / "home"))
    with pytest.raises(UsageError, match="No space left on device"):
        command.paper(runs, tmp_path / "paper")
    assert len(written) == 3
    assert list(tmp_path.iterdir()) == []


def test_licence_and_citation_are_those_of_the_plan_else_of_the_dataset_as_long_as_it_is_the_same(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(home / "datasets" / "alpha", tmp_path / "datasets" / "alpha")
    file = tmp_path / "datasets" / "alpha" / "manifest.json"
    manifest = json.loads(file.read_text())
    file.write_text(json.dumps({**manifest, "licence": "CC0", "citation": "Doe, 2020"}))
    monkeypatch.setenv("JANUS_BENCH_HOME", str(tmp_path))
    table: Any = planted(sites=("alpha", "beta")).table
    same = replace(table.plan, datasets={"alpha": replace(table.plan.datasets["alpha"], hash=manifest["hash"])})
    assert command._source(replace(table, plans=(same,)), "alpha") == DatasetSource("CC0", "Doe, 2020")
    assert command._source(table, "alpha") == DatasetSource()
    stated = replace(table.plan.datasets["alpha"], licence="MIT", citation="Roe, 2021")
    kept = replace(table, plans=(replace(table.plan, datasets={"alpha": stated}),))
    assert command._source(kept, "alpha") == DatasetSource("MIT", "Roe, 2021")
    assert command._source(table, "beta") == DatasetSource()


def test_what_detectors_say_is_read_of_those_that_are_installed(runs: Path) -> None:
    assert capabilities_of(Results.open(runs).select()) == {}  # ``far`` and ``near`` are registered nowhere


def test_every_detector_that_is_shipped_is_cited_by_a_work_not_by_what_it_says() -> None:
    found = bibliography(["1"], {}, dict.fromkeys(plugins.detector_entries(), "said"))
    assert [key for key in found.keys if key.startswith("detector-")] == []
