"""What reaches a terminal, a pipe or a spreadsheet: any encoding, no character that is obeyed instead of shown, no cell
that is a formula."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import typer
from rich.cells import cell_len

from harness.cli import audit, console, leaderboard
from harness.cli.main import app, main
from janus_bench import conformance
from reports.render.listing import listing, wrapped_text
from reports.render.text import render_csv
from reports.results.folder import RunStore
from reports.results.model import Results
from reports.statistics import compare
from tests.conftest import ROOT
from tests.faults.damage import outcome_of
from tests.faults.files import write_captures
from tests.test_compare import write_folder

EVIL = "\x1b[2J\nfake line\r\x9b31m\u202eabc"
OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``home`` with two datasets, ``runs`` of real detectors, and ``captures``."""
    folder = tmp_path_factory.mktemp("terminal")
    with tarfile.open(ROOT / "tests" / "pinned" / "pinned.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    write_captures(folder / "captures")
    return folder


@pytest.fixture
def here(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("home", "runs", "captures"):
        shutil.copytree(place / name, tmp_path / name)
    monkeypatch.setenv("JANUS_BENCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


COMMANDS: dict[str, tuple[str, ...]] = {
    "run": ("--datasets", "north,south", "--detectors", "length", "--seeds", "1", "--dry-run"),
    "leaderboard": (),
    "compare": ("runs", "--protocol", "cross", "--control"),
    "merge": ("runs", "runs2", "-o", "merged"),
    "export": ("-o", "é→.tar.gz"),
    "report": ("-o", "é→.html"),
    "paper": ("runs", "-o", "é→paper"),
    "published": ("--runs", "runs"),
    "doctor": (),
    "work": ("→",),
    "fit": ("→", "captures", "-o", "m→"),
    "score": ("→", "captures"),
    "recalibrate": ("→", "captures", "-o", "m→"),
    "runs gc": ("--dry-run",),
    "runs list": (),
    "runs log": ("→",),
    "runs verify": (),
    "runs why": ("→",),
    "detector new": ("→",),
    "data add": ("new", "captures", "--no-stream"),
    "data prepare": ("cicids→2017", "--captures", "captures"),
    "data export": ("north", "-o", "é→"),
    "data list": (),
    "data info": ("north",),
    "data audit": ("north",),
    "data verify": ("north",),
    "data remove": ("south",),
    "detector list": (),
    "detector info": ("janus",),
    "detector check": ("length",),
    "protocol list": (),
    "protocol info": ("cross",),
    "metric list": (),
    "renderer list": (),
    "figure heatmap": ("--detector", "→", "-o", "é→.svg"),
    "figure forest": ("-o", "é→.svg"),
    "figure roc": ("--detectors", "→", "--source", "north", "--target", "south", "-o", "é→.svg"),
    "figure density": ("--detector", "→", "-o", "é→.svg"),
    "figure ablation": ("--reference", "→", "-o", "é→.svg"),
    "figure incidents": ("--detectors", "→", "--source", "north", "--target", "south", "-o", "é→.svg"),
    "figure drift": ("--detectors", "→", "-o", "é→.svg"),
}


def commands(group: Any = app, prefix: str = "") -> Iterator[str]:
    found = typer.main.get_command(group)
    for name, command in found.commands.items():  # type: ignore[attr-defined]
        yield from (f"{name} {inner}" for inner in command.commands) if hasattr(command, "commands") else (name,)


def printed(encoding: str, *arguments: str) -> tuple[int, bytes, bytes]:
    """A command in this process whose standard output and standard error have this encoding: exit code and bytes."""
    buffers = io.BytesIO(), io.BytesIO()
    streams, argv = (sys.stdout, sys.stderr), sys.argv
    sys.stdout, sys.stderr = (io.TextIOWrapper(buffer, encoding=encoding, write_through=True) for buffer in buffers)
    sys.argv = ["janus-bench", *arguments]
    try:
        main()
        code: Any = 0
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        out, err = (buffer.getvalue() for buffer in buffers)
        (sys.stdout, sys.stderr), sys.argv = streams, argv
    return code, out, err


def test_every_command_prints_in_a_legacy_encoding(here: Path) -> None:
    assert set(COMMANDS) == set(commands())
    shutil.copytree(here / "runs", here / "runs2")
    for command, arguments in COMMANDS.items():
        code, out, err = printed("ascii", *command.split(), *arguments)
        refused = "→" in arguments or "cicids→2017" in arguments
        no_data = command in ("score", "recalibrate", "work", "figure drift")
        if command != "doctor":  # what it finds wrong is this machine's
            assert code == (3 if no_data else 2 if refused else 0), (command, code, err)
        assert out or err, command
        assert b"Traceback" not in err, command
    for form in ("table", "markdown", "csv", "json", "latex"):
        for encoding in ("cp1252", "ascii", "latin-1"):
            code, out, err = printed(encoding, "leaderboard", "--no-intervals", "--format", form)
            assert code == 0, err
            out.decode(encoding)


def words(text: str) -> set[str]:
    """Words and numbers, whatever stands between them."""
    return set(re.findall(r"[^\W_]+(?:[.,][^\W_]+)*", text))


def once(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
    """What takes long and does not depend on the width is computed for one width."""
    real, kept = getattr(module, name), []
    monkeypatch.setattr(module, name, lambda *given, **named: (kept or kept.append(real(*given, **named)) or kept)[0])


def test_no_command_breaks_a_word_or_a_number_at_any_width(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is printed at 2 000 columns is printed at 60, too: the same words, none in two parts, no line too
    long."""
    once(monkeypatch, audit, "document")
    once(monkeypatch, compare, "compare")
    once(monkeypatch, conformance, "check_detector")
    width = 2000
    monkeypatch.setattr(console, "width", lambda: width)
    makes = (
        "merge",
        "export",
        "report",
        "paper",
        "fit",
        "score",
        "recalibrate",
        "detector new",
        "data add",
        "data prepare",
    )
    laid_out = 0
    for command, arguments in COMMANDS.items():
        if command in makes or command.startswith("figure") or command in ("data export", "watch", "doctor"):
            continue  # these write files and messages, which nobody lays out, or how much memory is free now
        width = 2000
        whole = printed("utf-8", *command.split(), *arguments)[1].decode()
        laid_out += bool(whole)
        for width in (60, 80, 120, 200) if whole else ():
            text = printed("utf-8", *command.split(), *arguments)[1].decode()
            assert words(text) == words(whole), (command, width, words(text) ^ words(whole))
            assert max(map(cell_len, text.splitlines())) <= width, (command, width)
            assert len(text.splitlines()) <= 6 * len(whole.splitlines()) + 20, (command, width)
    assert laid_out >= 15


def test_a_listing_stacks_what_does_not_fit_and_keeps_words_whole() -> None:
    headings = ("name", "count", "summary")
    rows = [("a-b", "1", "short"), ("c", "10 000", "a text of many words that goes on and on, up to 95 % of it")]
    assert listing(headings, rows, 100)[0].split() == ["name", "count", "summary"]
    assert len(listing(headings, rows, 100)) == 4
    narrow = listing(headings, rows, 40)
    assert max(map(len, narrow)) <= 40
    assert "10 000" in "\n".join(narrow)
    assert words("\n".join(narrow)) == words("\n".join(listing(headings, rows, 500)))
    stacked = listing(("name", "first", "second"), [("x", "12345 " * 20, "67890 " * 20)], 50)
    assert stacked[2].startswith("x")
    assert any(line.startswith(("    second 67890", "    first 12345")) for line in stacked)
    assert wrapped_text("at 10 000 flows", 9) == "at 10 000\nflows"
    assert wrapped_text("at 10 000 flows", 8) == "at\n10 000\nflows"


@pytest.mark.parametrize(
    "command",
    [("detector", "list"), ("leaderboard", "--no-intervals"), ("data", "list"), ("published",), ("metric", "list")],
)
def test_json_is_the_same_document_in_any_encoding(here: Path, command: tuple[str, ...]) -> None:
    documents = {
        encoding: json.loads(printed(encoding, *command, "--format", "json")[1].decode(encoding))
        for encoding in ("utf-8", "ascii", "cp1252")
    }
    assert documents["ascii"] == documents["cp1252"] == documents["utf-8"]


def evil_results(folder: Path) -> Path:
    """Results whose labels, families, reasons and versions a stranger has chosen."""
    write_folder(folder, ("good", "poor"), controlled=("good",), failed=[("poor", "alpha", "beta", 2)])
    store = RunStore(folder)
    (plan,) = store.plans()
    (folder / "plans" / f"{plan.key}.json").unlink()
    named = {f"{label}{EVIL}": replace(row, group=EVIL, provenance=EVIL) for label, row in plan.detectors.items()}
    cells = tuple(replace(cell, label=f"{cell.label}{EVIL}") for cell in plan.cells)
    datasets = {name: replace(entry, summary=EVIL, notes=(EVIL,)) for name, entry in plan.datasets.items()}
    store.write_plan(replace(plan, detectors=named, cells=cells, datasets=datasets))
    for record in store.records().values():
        partition = {"kind": EVIL, "reason": EVIL, "sizes": {EVIL: 3}, "uncapped": {EVIL: 3}}
        store.append(
            replace(
                record,
                reason=EVIL,
                environment={"janus-bench": EVIL, "commit": EVIL},
                provenance=EVIL,
                partition=partition,
            )
        )
    for path in (folder / "truth").iterdir():
        pl.read_parquet(path).with_columns(family=pl.col("family") + EVIL).write_parquet(path)
    return folder


def is_harmless(text: str) -> bool:
    """No control character reached the terminal, and no line is one that a name made."""
    return not OBEYED.search(text) and not any(line.startswith("fake line") for line in text.splitlines())


def test_names_are_shown_and_never_obeyed_in_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    evil_results(tmp_path / "runs")
    shutil.copytree(tmp_path / "runs", tmp_path / "runs2")
    label = f"good{EVIL}"
    asked = [
        *(("leaderboard", "--format", form) for form in ("table", "markdown", "csv", "latex", "json")),
        *(
            ("leaderboard", "--table", table)
            for table in ("thresholds", "alerts", "families", "stability", "ablation", "mechanism")
        ),
        ("compare", "runs", "--control"),
        ("merge", "runs", "runs2", "-o", "merged"),
        ("published", "--runs", "runs"),
        ("figure", "density", "--detector", label, "-o", f"{label[:4]}.svg"),
        ("figure", "density", "--detector", EVIL, "-o", "x.svg"),
        ("leaderboard", "--runs", EVIL),
        ("report", "-o", f"{EVIL}.html"),
        ("export", "-o", f"{EVIL}.tar.gz"),
        ("run", "--detectors", EVIL),
    ]
    for command in asked:
        found = outcome_of(*command)
        assert found.code in (0, 2, 3), (command, found.err)
        assert is_harmless(found.out), command
        assert is_harmless(found.err), command
        if command[0] in ("leaderboard", "compare") and found.code == 0:
            assert "u001b" in found.out, command  # it is still to be seen


def test_names_are_shown_and_never_obeyed_in_datasets(here: Path) -> None:
    folder = here / f"cap{EVIL}"
    shutil.copytree(here / "captures", folder)
    rows = list(csv.reader((folder / "labels.csv").open(newline="")))
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([rows[0], *([*row[:-1], f"{row[-1]}{EVIL}"] for row in rows[1:])])
    for command in (
        ("data", "add", "evil", str(folder), "--no-stream"),
        ("data", "info", "evil"),
        ("data", "list"),
        ("data", "audit", "evil"),
        ("data", "verify", "evil"),
        ("data", "verify", EVIL),
    ):
        found = outcome_of(*command)
        assert found.code in (0, 2), found.err
        assert is_harmless(found.out + found.err), command


def test_a_terminal_with_colours_gets_colours_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "color", lambda: True)
    console.out("\x1b[1;31mred\x1b[0m \x1b[2J\x1b]0;title\x07\ttab")
    assert capsys.readouterr().out == "\x1b[1;31mred\x1b[0m \\u001b[2J\\u001b]0;title\\u0007\ttab\n"


def test_cells_that_a_spreadsheet_would_run_are_texts_and_numbers_stay_numbers(tmp_path: Path) -> None:
    board = leaderboard.document(Results.open(write_folder(tmp_path / "runs")).select(), "auroc")
    names = ("=1+1", "+1", "-1+cmd|' /C calc'!A0", "@SUM(A1)", "\t=1", "\r=1")
    rows = [
        {
            **board["rows"][0],
            "detector": name,
            "cells": [{**board["rows"][0]["cells"][0], "mean": -0.5, "reason": name}],
        }
        for name in names
    ]
    lines = list(csv.DictReader(io.StringIO("".join(render_csv({**board, "rows": rows}, 80, False)), newline="")))  # type: ignore[typeddict-item]
    harmless = ["'=1+1", "'+1", "'-1+cmd|' /C calc'!A0", "'@SUM(A1)", "'\t=1", "'\\r=1"]
    assert [line["detector"] for line in lines] == harmless
    assert [line["reason"] for line in lines] == harmless
    assert {line["mean"] for line in lines} == {"-0.5"}


def test_standard_output_that_cannot_be_written_is_one_line() -> None:
    """A real process: it is its end that printed a second complaint."""
    import subprocess

    program = "from harness.cli.main import main; main()"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program, "metric", "list"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == "janus-bench: cannot write standard output (No space left on device)\n"


def test_what_is_said_has_an_end(capsys: pytest.CaptureFixture[str]) -> None:
    console.say("begin " + "x" * 3_000_000 + " end")
    said = capsys.readouterr().err
    assert (said[:7], said[-5:], said.count("\n")) == ("begin x", " end\n", 1)
    assert len(said) < 21_000
    console.say("y" * 20_000)
    assert capsys.readouterr().err == "y" * 20_000 + "\n"


CLOSED_OUTPUT = "janus-bench: cannot write standard output (Bad file descriptor)\n"


@pytest.mark.parametrize(
    ("closed", "arguments", "code", "said"),
    [
        (">&-", "metric list", 2, CLOSED_OUTPUT),
        ("<&- >&-", "metric list", 2, CLOSED_OUTPUT),
        (">&-", "--version", 2, CLOSED_OUTPUT),
        (">&-", "--help", 1, "janus-bench: the operating system: Bad file descriptor; run it again when that is "),
        ("<&-", "metric list", 0, ""),
        ("2>&-", "metric list", 0, ""),
        ("2>&-", "leaderboard --runs nowhere", 3, ""),
    ],
)
def test_streams_that_the_caller_has_closed_are_one_line(closed: str, arguments: str, code: int, said: str) -> None:
    import subprocess

    program = f"'{sys.executable}' -c 'from harness.cli.main import main; main()' {arguments} {closed}"
    done = subprocess.run(["sh", "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr[: len(said)], done.stderr.count("\n")) == (code, said, min(len(said), 1))
    assert bool(done.stdout) == (code == 0)


def test_what_is_said_is_wrapped_on_a_terminal_and_left_alone_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """At its width and at spaces; a path that is longer than a line stays whole."""
    note = f"note: no audit of {', '.join(f'network_{place}' for place in range(9))} at {'/a-folder' * 9}, 12 of them"
    for terminal in (False, True):
        stream = io.StringIO()
        monkeypatch.setattr(stream, "isatty", lambda terminal=terminal: terminal)
        monkeypatch.setattr(sys, "stderr", stream)
        for width in ("60", "80"):
            monkeypatch.setenv("COLUMNS", width)
            stream.truncate(stream.seek(0))
            console.say(note)
            lines = stream.getvalue().splitlines()
            assert " ".join(lines) == note
            assert (len(lines) > 2) is terminal
            assert not terminal or {len(line) > int(width) for line in lines if "/a-folder" not in line} == {False}
    monkeypatch.delenv("COLUMNS")
    console.say(note)  # a terminal whose width nobody knows
    assert stream.getvalue().endswith("12 of them\n")


def test_rows_as_json_are_written_one_by_one_as_an_encoder_writes_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    for rows in ([], [("a", "b")], [("a", 'line\nand " quote'), ("\u00e9", "\\")]):
        console.table(("one", "two"), iter(rows), "json")
        expected = [dict(zip(("one", "two"), row, strict=True)) for row in rows]
        assert capsys.readouterr().out == json.dumps(expected, indent=1, ensure_ascii=False) + "\n"


def test_text_in_pieces_ends_a_line_once_on_the_screen_and_in_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for pieces, whole in (
        ((), "\n"),
        (("a", ""), "a\n"),
        (("a\n", "b\n"), "a\nb\n"),
        (("a\n", "\u2028", ""), "a\n\u2028\n"),
    ):
        console.out(iter(pieces))
        assert capsys.readouterr().out == whole.replace("\u2028", "\\u2028")
        console.save(tmp_path / "file", console.ended(iter(pieces)))
        assert (tmp_path / "file").read_text() == whole
