"""Numbers of the literature: nothing lost from the documents they were read in, nothing predicted, and the red lines of
their presentation."""

from __future__ import annotations

import copy
import json
import re
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from harness.cli import published as command
from harness.cli.main import app
from janus_bench.errors import DataError
from reports.published.render import published_markdown, published_text
from reports.published.table import FILE, REPORTED_ONLY, load_published, published_table, read_published
from reports.render.latex import latex_published

ROOT = Path(__file__).resolve().parents[1]
SEEDS = ROOT.parent / "shared" / "seeds"
FORBIDDEN = re.compile(r"zero[\W_]*shot", re.IGNORECASE)
needs_seeds = pytest.mark.skipif(
    not SEEDS.is_dir(), reason="the documents that the numbers were read in are not on this machine"
)

BUILT = {"janus", "shafir", "iforest", "ocsvm"}
ALL_DETECTORS = {name for method in read_published().methods for name in method.detectors}
NAMES = {"CICIDS17": "CIC-IDS2017", "CICDDoS19": "CIC-DDoS2019", "CICIoT23": "CIC-IoT2023"}
RENDERERS = {
    "text": lambda table: published_text(table, 140, False),
    "narrow text": lambda table: published_text(table, 60, False),
    "markdown": published_markdown,
    "latex": latex_published,
}


def plain(text: str) -> str:
    """What a reader sees: escapes and line breaks of any of the forms undone."""
    for latex, character in (
        (r"$\rightarrow$", "→"),
        ("''", '"'),
        (r"$\neq$", "≠"),
        (r"$\approx$", "≈"),
        (r"$\pm$", "±"),
        (r"$-$", "-"),
    ):
        text = text.replace(latex, character)
    text = re.sub(
        r"\$\^\{\\(dagger|ddagger|star)\}\$",
        lambda found: {"dagger": "†", "ddagger": "‡", "star": "★"}[found.group(1)],
        text,
    )
    return re.sub(r"\s+", " ", text.replace("\\", ""))


# -- nothing is lost ---------------------------------------------------------------------------------------------------


def seed_table(document: str, heading: str) -> list[list[str]]:
    """The cells of the markdown table below a heading of a document, without its first two lines."""
    lines = (SEEDS / document).read_text(encoding="utf-8").split(heading)[1].splitlines()
    rows: list[list[str]] = []
    for line in lines[1:]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
        elif rows:
            break
    return [rows[0], *rows[2:]]


@needs_seeds
def test_every_cell_of_the_within_table_is_there_as_printed() -> None:
    header, *rows = seed_table("janus_readme.txt", "Within-dataset comparison")
    printed_names = {method.printed.split(",")[0]: method.name for method in read_published().methods if method.printed}
    expected = {}
    for name, _venue, *cells in rows:
        for dataset, cell in zip(header[2:], cells, strict=True):
            if cell != "—":
                short = name.removesuffix(" (ours)")
                expected[printed_names.get(short, short), dataset] = cell
    found = {
        (number["name"], number["target"]): f"{number['printed']} {number['footnote']}".strip()
        for number in load_published()
        if number["kind"] == "within"
    }
    assert found == expected
    assert len(found) == 19


@needs_seeds
def test_every_cell_of_the_matrix_is_there_as_printed() -> None:
    header, *rows = seed_table("janus_readme.txt", "3×3 cross-dataset transfer matrix")
    expected = {
        (NAMES[row[0]], NAMES[target]): cell for row in rows for target, cell in zip(header[1:], row[1:], strict=True)
    }
    assert {
        (number["source"], number["target"]): number["printed"]
        for number in load_published()
        if number["kind"] == "cross"
    } == expected


@needs_seeds
def test_every_ablation_is_there_as_printed() -> None:
    _, *rows = seed_table("janus_readme.txt", "Every load-bearing JANUS design choice")
    expected = {row[1].split()[0]: [cell.replace("−", "-") for cell in row[2:]] for row in rows}
    found: dict[str, list[str]] = {}
    for number in load_published():
        if number["kind"] == "ablation":
            found.setdefault(number["variant"].split(":")[0], []).append(number["printed"])
    assert found == expected


@needs_seeds
def test_every_other_number_stands_in_the_document_it_names() -> None:
    texts = {
        "README": (SEEDS / "janus_readme.txt").read_text(),
        "survey": (SEEDS / "janus_survey_and_outline.txt").read_text(),
    }
    others = [number for number in load_published() if number["kind"] not in ("within", "cross", "ablation")]
    assert len(others) > 15
    for number in others:
        text = texts[number["document"].split()[0]]
        assert re.search(
            rf"(?<![\d.]){re.escape(number['printed'].removeprefix('≈ ').removeprefix('+'))}(?!\d)", text
        ), number


@needs_seeds
def test_the_footnotes_are_those_of_the_document() -> None:
    text = re.sub(r"\s+", " ", (SEEDS / "janus_readme.txt").read_text())
    footnotes = read_published().footnotes
    assert footnotes["†"] in text
    assert footnotes["‡"] in text
    assert "(3-seed mean ± std, 2-NF ensemble, CSV pipeline" in footnotes["★"]
    assert "Youden's-J threshold tuned on attack labels (a non-comparable thresholded protocol)" in footnotes["★"]


@needs_seeds
def test_every_method_of_the_survey_table_has_a_row() -> None:
    """Table A.1 of the outline: all but the generative models that detect nothing (the row of discrete flow
    matching)."""
    text = (SEEDS / "janus_survey_and_outline.txt").read_text()
    named = [
        "KitNET",
        "MemAE",
        "SparseMemAE",
        "NF-NIDS",
        "PrivFlow-NIDS",
        "DMAD",
        "UnDiff",
        "RDUAE",
        "DEGAN",
        "GraphIDS",
        "SSGMHAN",
        "Traffic-MoE",
    ]
    named += ["ETC-IMC", "Language-of-Network GBC", "Spatial-Temporal KD", "TCCM", "rFM", "TIPSO-GAN", "ConMD"]
    have = " ".join(method.name for method in read_published().methods)
    for name in named:
        assert name in text
        assert name in have


def test_values_are_fractions_and_keep_their_print() -> None:
    numbers = {
        (number["kind"], number["method"], number["variant"], number["target"]): number for number in load_published()
    }
    janus = numbers["within", "janus", "", "CIC-IDS2017"]
    assert (janus["value"], janus["std"], janus["printed"], janus["seeds"]) == (0.9826, 0.0035, "98.26 ± 0.35", 3)
    assert numbers["within", "shafir", "", "CIC-DDoS2019"]["printed"] == "93.00"
    assert numbers["ablation", "janus", "B2: no packet sequence", "cross worst"]["value"] == -0.3627
    ganomaly = numbers["within", "ganomaly", "", "CIC-IDS2017"]
    assert (ganomaly["name"], ganomaly["seeds"], ganomaly["footnote"]) == ("GANomaly", 5, "†")
    assert [number["target"] for number in numbers.values() if number["provenance"] == "reproduced"] == ["CIC-IoT2023"]


# -- what the file must keep to ----------------------------------------------------------------------------------------

UNITS = {"percent": (0, 100), "fraction": (0, 1), "points": (-100, 100), "difference": (-1, 1)}
"""Unit of a printed number → its lowest and highest possible value."""
KEYS: dict[str, tuple[set[str], set[str]]] = {
    "dataset": ({"aliases"}, {"note"}),
    "protocol": ({"summary"}, {"seeds", "footnote"}),
    "method": ({"name", "venue", "detectors"}, {"printed", "note"}),
    "table": ({"kind", "title", "source", "unit", "numbers"}, {"metric"}),
    "number": (
        {"method", "target", "value", "protocol", "provenance"},
        {"variant", "from", "metric", "std", "approximate", "footnote", "note"},
    ),
}
"""What an entry must have, and what it may have."""
KINDS = {"within", "cross", "ablation", "thresholded", "outline", "difference", "spread"}
NOTES: list[tuple[dict[str, str], str]] = [
    ({"protocol": "predecessor"}, "a predecessor with the single score terminal_norm, not JANUS + OAS"),
    (
        {"method": "janus", "from": "CIC-DDoS2019", "target": "CIC-IDS2017", "variant": "", "metric": "auroc"},
        "matches Shafir's .93",
    ),
    ({"variant": "best-fixed"}, "an ablation upper bound"),
]
"""(fields of a number, words that its note must then have)."""


def broken_rules(text: str) -> list[str]:
    """Every rule that a file of published numbers breaks."""
    content = tomllib.loads(text)
    found = [] if content["schema_version"] == 1 else ["schema_version must be 1"]
    if forbidden := FORBIDDEN.search(text):
        found.append(f"{forbidden.group()!r}: write 'calibrated cross-domain transfer'")
    if content["datasets"]["CIC-IoT2023"].get("note") != "additional benchmark; metric mismatch (F1 against our AUROC)":
        found.append("dataset CIC-IoT2023 must carry its note")
    entries = [(kind, entry) for kind in ("dataset", "protocol", "method") for entry in content[f"{kind}s"].values()]
    numbers = [(table, number) for table in content["tables"] for number in table["numbers"]]
    entries += [("table", table) for table in content["tables"]] + [("number", number) for _, number in numbers]
    for kind, entry in entries:
        required, optional = KEYS[kind]
        found += [f"{kind}: {name} missing" for name in required - set(entry)] + [
            f"{kind}: unknown key {name}" for name in set(entry) - required - optional
        ]
    found += [f"method {key} needs a detector" for key, method in content["methods"].items() if not method["detectors"]]
    found += [f"unknown kind {table['kind']!r}" for table in content["tables"] if table["kind"] not in KINDS]
    seen = set()
    for table, number in numbers:
        metric = number.get("metric", table.get("metric"))
        found += broken_by(number, table, metric, content)
        what = (table["kind"], number["method"], number.get("variant"), number.get("from"), number["target"], metric)
        found += ["a number is there twice"] if what in seen else []
        seen.add(what)
    return found


def broken_by(number: dict[str, Any], table: dict[str, Any], metric: str, content: dict[str, Any]) -> list[str]:
    """Rules that one number breaks."""
    protocol, mark = content["protocols"].get(number["protocol"], {}), number.get("footnote", "")
    known: list[tuple[str, object, Collection[str]]] = [
        ("provenance", number["provenance"], ("reported", "reproduced")),
        ("method", number["method"], content["methods"]),
        ("protocol", number["protocol"], content["protocols"]),
        ("metric", metric, ("auroc", "f1", "precision", "auroc_std")),
        ("dataset", number.get("from", next(iter(content["datasets"]))), content["datasets"]),
        ("footnote mark", mark, ["", *content["footnotes"]]),
    ]
    known += [("dataset", number["target"], content["datasets"])] if table["kind"] in ("within", "cross") else []
    found = [f"unknown {what} {name!r}" for what, name, names in known if name not in names]
    found += (
        []
        if mark == protocol.get("footnote", "")
        else [f"protocol {number['protocol']} has {protocol.get('footnote', '')!r}"]
    )
    low, high = UNITS[table["unit"]]
    # no number has a larger standard deviation than half its range
    for name, least, most in (("value", low, high), ("std", 0, high / 2)):
        value = number.get(name, least)
        if isinstance(value, bool) or not isinstance(value, int | float):
            found.append(f"{name} must be a number")
        elif not least <= value <= most:
            found.append(f"{name} {value} is not possible in {table['unit']}")
    found += (
        ["a std needs a protocol with at least two seeds"] if "std" in number and protocol.get("seeds", 0) < 2 else []
    )
    fields = {"variant": "", "from": "", **number, "metric": metric}
    found += [
        f"its note must say {words!r}"
        for own, words in NOTES
        if own.items() <= fields.items() and words not in number.get("note", "")
    ]
    return found


def test_the_shipped_file_breaks_no_rule() -> None:
    assert broken_rules(FILE.read_text(encoding="utf-8")) == []


GOOD = (
    '{ method = "mmr", target = "CIC-IDS2017", value = 89.26, std = 1.2, protocol = "conmd", footnote = "†", '
    'provenance = "reported" }'
)
PREDECESSOR = 'note = "a predecessor with the single score terminal_norm, not JANUS + OAS" }'


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (GOOD, GOOD.replace("reported", "predicted"), "unknown provenance 'predicted'"),
        (GOOD, GOOD.replace("reported", "guessed"), "unknown provenance 'guessed'"),
        (GOOD, GOOD.replace("†", "§"), "unknown footnote mark '§'"),
        (GOOD, GOOD.replace("†", "‡"), "protocol conmd has '†'"),
        (GOOD, GOOD.replace('footnote = "†", ', ""), "protocol conmd has '†'"),
        (GOOD, GOOD.replace("89.26", "100.01"), "value 100.01 is not possible in percent"),
        (GOOD, GOOD.replace("89.26", "-0.5"), "value -0.5 is not possible in percent"),
        (GOOD, GOOD.replace("89.26", "nan"), "not possible in percent"),
        (GOOD, GOOD.replace("89.26", "true"), "value must be a number"),
        (GOOD, GOOD.replace("1.2", "51"), "std 51 is not possible"),
        (GOOD, GOOD.replace("1.2", "-1"), "std -1 is not possible"),
        (GOOD, GOOD.replace("CIC-IDS2017", "CIC-IDS2018"), "unknown dataset 'CIC-IDS2018'"),
        (GOOD, GOOD.replace("mmr", "mnr"), "unknown method 'mnr'"),
        (GOOD, GOOD.replace("std", "sd"), "unknown key sd"),
        (GOOD, f"{GOOD},\n  {GOOD}", "is there twice"),
        ('protocol = "janus", provenance', 'protocol = "outline", provenance', "at least two seeds"),
        (PREDECESSOR, 'note = "" }', "its note must say 'a predecessor"),
        ("matches Shafir's .93", "beats Shafir's .93", 'its note must say "matches Shafir\'s .93"'),
        ("metric mismatch (F1 against our AUROC)", "best", "dataset CIC-IoT2023 must carry its note"),
        ("schema_version = 1", "schema_version = 2", "schema_version must be 1"),
        ("calibrated cross-domain transfer", "zero" + "-shot transfer", "write 'calibrated cross-domain transfer'"),
    ],
)
def test_every_rule_is_seen_where_it_is_broken(old: str, new: str, complaint: str) -> None:
    text = FILE.read_text(encoding="utf-8")
    assert old in text
    assert any(complaint in rule for rule in broken_rules(text.replace(old, new, 1)))


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("[footnotes]", "[footnotes", "cannot be read"),
        (GOOD, GOOD.replace("reported", "predicted"), "a predicted number is never shown"),
        (GOOD, GOOD.replace("mmr", "mnr"), "damaged (KeyError('mnr'))"),
        (GOOD, GOOD.replace("target", "goal"), "damaged (KeyError('target'))"),
        (GOOD, GOOD.replace("89.26", '"many"'), "damaged"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    changed = tmp_path / "published.toml"
    changed.write_text(FILE.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_published(changed)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing\.toml cannot be read"):
        read_published(tmp_path / "nothing.toml")


# -- the table beside measured rows ------------------------------------------------------------------------------------


@given(st.sets(st.sampled_from(sorted(ALL_DETECTORS | {"length", "other"}))))
@settings(max_examples=25, deadline=None)
def test_a_method_is_reported_only_exactly_while_it_is_not_registered(registered: set[str]) -> None:
    table = published_table(None, registered)
    methods = {method.key: method for method in read_published().methods}
    assert [row["method"] for row in table["methods"]] == list(methods)
    for row in table["methods"]:
        built = bool(set(methods[row["method"]].detectors) & registered)
        assert (row["status"] == REPORTED_ONLY) is not built
        assert row["rank"] is None
    missing = [row["name"] for row in table["methods"] if row["status"] == REPORTED_ONLY]
    listed = [note for note in table["notes"] if note.startswith(REPORTED_ONLY)]
    assert listed == ([f"{REPORTED_ONLY} (no such detector is registered): {', '.join(missing)}"] if missing else [])


def measured_document(metric: str = "auroc") -> dict[str, Any]:
    """Two detectors on networks of which two are published ones under other spellings."""

    def cell(source: str | None, target: str, mean: float | None) -> dict[str, Any]:
        std = None if mean is None else 0.0125
        return {
            "source": source,
            "target": target,
            "metric": metric,
            "mean": mean,
            "std": std,
            "n_seeds": 3,
            "status": "ok" if mean else "timeout",
        }

    def row(label: str, rank: int, *cells: dict[str, Any]) -> dict[str, Any]:
        return {"detector": label, "rank": rank, "cells": list(cells)}

    return {
        "metric": metric,
        "rows": [
            row(
                "janus[sigma=0.6]",
                1,
                cell("cicids2017", "cicids2017", 0.8125),
                cell("cicids2017", "cic_ddos2019", 0.75),
                cell("home", "home", 0.9),
            ),
            row("length", 2, cell("cicids2017", "cicids2017", 0.5)),
            row("iforest", 3, cell("cicids2017", "cicids2017", None)),
        ],
    }


def test_measured_cells_stand_beside_published_ones_and_ranks_are_untouched() -> None:
    document = measured_document()
    before = copy.deepcopy(document)
    table = published_table(document, BUILT)
    assert document == before
    methods = {row["method"]: row for row in table["methods"]}
    (beside,) = methods["janus"]["measured"]
    assert beside["detector"] == "janus[sigma=0.6]"
    assert [(cell["source"], cell["target"], cell["mean"]) for cell in beside["cells"]] == [
        ("CIC-IDS2017", "CIC-IDS2017", 0.8125),
        ("CIC-IDS2017", "CIC-DDoS2019", 0.75),
    ]
    assert methods["conmd"]["measured"] == []
    assert all(row["rank"] is None for row in table["methods"])
    assert "rank" not in beside
    for name, render in RENDERERS.items():
        text = plain(render(table))
        assert "81.25 ± 1.25" in text, name
        assert "0.7500 ± 0.0125" in text, name
        assert "timeout" in text, name
        assert "measured here" in text, name


def test_measured_networks_that_nobody_published_are_said_to_stand_alone() -> None:
    document = measured_document()
    for row in document["rows"]:
        row["cells"] = [cell | {"source": "home", "target": "home"} for cell in row["cells"][:1]]
    table = published_table(document, BUILT)
    assert any("none of the measured datasets is a published one" in note for note in table["notes"])
    assert "| measured here" not in published_markdown(table)


def test_a_number_of_another_metric_is_marked() -> None:
    table = published_table(None, BUILT)
    (shafir,) = [row for row in table["methods"] if row["method"] == "shafir"]
    auroc, f1 = shafir["numbers"]["CIC-IoT2023"]
    assert not auroc["mixed_metric"]
    assert f1["mixed_metric"]
    for name, render in RENDERERS.items():
        assert "≠ F1 99.51" in plain(render(table)), name
        assert "≠ F1 0.99" in plain(render(table)), name
        assert "≠ 0.993" in plain(render(table)), name
    other = published_table(measured_document("auprc"), BUILT)
    assert all(number["mixed_metric"] for number in other["cross"])
    assert "≠ AUROC 0.9826 ± 0.0035" in plain(published_markdown(other))


# -- red lines ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", RENDERERS)
def test_every_form_keeps_the_red_lines(form: str) -> None:
    text = plain(RENDERERS[form](published_table(None, BUILT)))
    for words in (
        "CIC-IoT2023: additional benchmark; metric mismatch (F1 against our AUROC)",
        "CIC-DDoS2019 → CIC-IDS2017: JANUS matches Shafir's .93",
        "calibrated cross-domain transfer",
        "not JANUS + OAS",
        "ablation upper bound",
        "5 benign-only aggregators evaluated",
        "† Numbers from ConMD",
        "‡ Numbers from Shafir",
        "★ Reproduced by the authors of JANUS",
        "never ranked",
        "printed BMVC'18; it appeared at ACCV 2018",
    ):
        # a narrow terminal breaks cells over lines that then interleave with other columns; notes stay whole
        if form != "narrow text" or words not in ("not JANUS + OAS", "ablation upper bound"):
            assert words in text
    assert not FORBIDDEN.search(text)
    assert not re.search(r"\b(beats|outperforms|SOTA|state of the art)\b", text, re.IGNORECASE)
    for number in load_published():
        assert number["printed"].replace("−", "-") in text


def test_the_forbidden_word_stands_nowhere() -> None:
    files = [
        FILE,
        ROOT / "README.md",
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "reports").rglob("*.*"),
        *(ROOT / "harness").rglob("*.py"),
    ]
    files = [file for file in files if file.suffix in {".py", ".md", ".toml", ".html", ".j2", ".js", ".css"}]
    assert len(files) > 20
    for file in files:
        assert not FORBIDDEN.search(file.read_text(encoding="utf-8")), file


def test_the_documentation_explains_every_mark_and_provenance() -> None:
    text = (ROOT / "docs" / "published.md").read_text(encoding="utf-8")
    for words in ("†", "‡", "★", "≠", "reported only", "reported", "reproduced", "predicted", "published_table"):
        assert words in text


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["table", "markdown", "latex", "json"])
def test_the_command_prints_every_form_from_the_installed_detectors(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command.published(output=form)
    said = capsys.readouterr()
    assert said.err == ""
    assert "98.26" in said.out
    assert "ConMD" in said.out
    if form == "json":
        table = json.loads(said.out)
        built = {row["method"] for row in table["methods"] if row["status"] != REPORTED_ONLY}
        assert {"janus", "iforest"} <= built
        assert {row["rank"] for row in table["methods"]} == {None}


def test_an_unknown_form_is_refused_with_those_that_there_are() -> None:
    done = CliRunner().invoke(app, ["published", "--format", "html"])
    assert done.exit_code == 2
    assert "'html' is not one of 'table', 'markdown', 'latex', 'json'" in done.output
