"""Writes the pinned results folder, dataset and outputs: what must stay readable, and stay the same, whatever is
rebuilt around it.

``python tests/pinned/make.py FOLDER`` made ``pinned.tar.gz`` at commit 73ba003, with stored results of schema version
1; ``data_audit.json`` and ``report.html`` were written anew when the audit came to measure more.  Two small
SYNTHETIC networks (the example plugin's generator), trivial models: the numbers mean nothing, their places do. A later
commit writes later versions of the schema: make another archive then, and keep this one.  ``python
tests/pinned/make.py anew NAME …`` makes the named outputs again (all, if none is named) where a change is intended.
"""

from __future__ import annotations

import csv
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
GENERATOR = HERE.parents[1] / "examples" / "plugin" / "janus_bench_example" / "captures.py"
SMALL_JANUS = "janus[epochs=1,d_model=8,n_layers=1,n_heads=2,k_steps=2]"

RUNS = (
    ("cross", f"{SMALL_JANUS},mahalanobis,knn,length,random", "42,43"),
    ("cross", "pca", "42,43", "--timeout", "0.05s"),
    ("ablation", SMALL_JANUS, "42"),
    ("pooled", "mahalanobis", "42"),
    ("thresholded", "mahalanobis,knn,random", "42,43"),
    ("contamination", "knn", "42"),
)
"""(protocol, detectors, seeds, options …), in this order, into one results folder; no process starts within .05 s, so
one row has no numbers."""

BOARDS = ("table", "markdown", "csv", "json", "latex")
TABLES = ("thresholds", "alerts", "families", "stability")


def commands() -> dict[str, list[str]]:
    """Name of an output → the command that prints it; ``{file}`` is where a command writes instead."""
    found = {}
    for protocol, *_ in RUNS:
        for form in BOARDS:
            found[f"{protocol}.{form}"] = ["leaderboard", "--protocol", protocol, "--format", form]
    for table in TABLES:
        for form in BOARDS:
            found[f"cross.{table}.{form}"] = ["leaderboard", "--protocol", "cross", "--table", table, "--format", form]
    cross = ["leaderboard", "--protocol", "cross"]
    found |= {
        "cross.macro.json": [*cross, "--metric", "macro_auroc", "--format", "json"],
        "cross.longer.json": [*cross, "--metric", "auroc@2+", "--format", "json"],
        "cross.p95.csv": [*cross, "--metric", "fpr_p95", "--format", "csv"],
        "cross.knn.json": [*cross, "--aggregator", "knn", "--format", "json"],
        "cross.column.json": [*cross, "--aggregator", "column:terminal_norm", "--format", "json"],
        "cross.metric-intervals.json": [*cross, "--metric", "tpr_at_fpr_5pct", "--intervals", "--format", "json"],
        "compare.txt": ["compare", "runs", "--protocol", "cross", "--detectors", "mahalanobis,knn,random"],
        "compare.json": [
            "compare",
            "runs",
            "--protocol",
            "cross",
            "--detectors",
            "mahalanobis,knn,random",
            "--format",
            "json",
        ],
        "compare.control.json": ["compare", "runs", "--protocol", "cross", "--control", "--format", "json"],
        "compare.metric.json": [
            *(
                "compare",
                "runs",
                "--protocol",
                "cross",
                "--detectors",
                "mahalanobis,knn",
                "--metric",
                "macro_auroc",
                "--format",
                "json",
            )
        ],
        "compare.ablation.json": [
            *("compare", "runs", "--protocol", "ablation", "--format", "json", "--detectors"),
            f"{SMALL_JANUS} · A1 terminal_norm,{SMALL_JANUS} · A5 OAS",
        ],
        "published.json": ["published", "--runs", "runs", "--protocol", "cross", "--format", "json"],
        "heatmap.svg": [
            *("figure", "heatmap", "--protocol", "cross", "--detector", SMALL_JANUS),
            *("--first", "column:terminal_norm", "-o", "{file}"),
        ],
        "roc.svg": [
            *(
                "figure",
                "roc",
                "--protocol",
                "cross",
                "--detectors",
                "mahalanobis,knn",
                "--source",
                "north",
                "--target",
                "south",
                "-o",
                "{file}",
            )
        ],
        "density.svg": ["figure", "density", "--protocol", "cross", "--detector", "mahalanobis", "-o", "{file}"],
        "ablation.svg": ["figure", "ablation", "--protocol", "ablation", "-o", "{file}"],
        "report.html": ["report", "--protocol", "cross", "-o", "{file}"],
        "data_info.json": ["data", "info", "north", "--format", "json"],
        "data_audit.json": ["data", "audit", "north", "--format", "json"],
        "data_verify.json": ["data", "verify", "south", "--format", "json"],
    }
    return found


def janus_bench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line, in a folder that holds ``home`` and ``runs``."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JANUS_BENCH_")}
    environment = kept | {"JANUS_BENCH_HOME": "home", "NO_COLOR": "1", "COLUMNS": "160"}
    command = [sys.executable, "-c", "from harness.cli.main import main; main()", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )


def output(folder: Path, name: str, arguments: list[str]) -> str:
    """What a command prints, or the text of the file that it writes; with its exit code where that is not 0."""
    file = folder / name
    result = janus_bench(folder, *[file.name if each == "{file}" else each for each in arguments])
    if result.returncode:
        return f"exit code {result.returncode}\n{result.stderr}"
    return file.read_text() if "{file}" in arguments else result.stdout


def write_networks(folder: Path) -> None:
    """``north``: nine captures of 60 benign flows and two with scans; ``south``: the last six of them."""
    spec = importlib.util.spec_from_file_location("example_captures", GENERATOR)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, first in (("north", 0), ("south", 7)):
        (folder / name).mkdir()
        module.write(folder / name)
        with (folder / name / "labels.csv").open(newline="") as file:
            header, *rows = csv.reader(file)
        kept = [row for row in rows if int(row[0][8:10]) >= first]
        for capture in {row[0] for row in rows} - {row[0] for row in kept}:
            (folder / name / capture).unlink()
        with (folder / name / "labels.csv").open("w", newline="") as file:
            csv.writer(file).writerows([header, *kept])


def write_anew(names: list[str]) -> None:
    """Outputs whose change is intended, made again of the archive's own results."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with tarfile.open(HERE / "pinned.tar.gz") as archive:
            archive.extractall(folder, filter="data")
        for name in names:
            text = output(folder, name, commands()[name])
            (folder / name).unlink(missing_ok=True)
            (folder / "expected" / name).write_text(text)
        pack(folder)


def pack(folder: Path) -> None:
    """Without what is kept to save time: it is to be computed again."""
    for kept in ("runs/statistics", "home/audits"):
        shutil.rmtree(folder / kept, ignore_errors=True)
    with tarfile.open(HERE / "pinned.tar.gz", "w:gz") as archive:
        for name in ("home", "runs", "expected"):
            archive.add(folder / name, arcname=name)


def main() -> None:
    if sys.argv[1] == "anew":
        write_anew(sys.argv[2:] or list(commands()))
        return
    folder = Path(sys.argv[1]).resolve()
    folder.mkdir(parents=True)
    (folder / "captures").mkdir()
    write_networks(folder / "captures")
    for name in ("north", "south"):
        print(janus_bench(folder, "data", "add", name, f"captures/{name}").stderr)
    for protocol, detectors, seeds, *options in RUNS:
        asked = (
            "--protocol",
            protocol,
            "--detectors",
            detectors,
            "--seeds",
            seeds,
            "--datasets",
            "north,south",
            "--device",
            "cpu",
            *options,
        )
        result = janus_bench(folder, "run", *asked)
        print(result.stderr)
    shutil.rmtree(folder / "captures")
    for name in ("models", "logs"):
        shutil.rmtree(folder / "runs" / name)
        (folder / "runs" / name).mkdir()
    (folder / "expected").mkdir()
    for name, arguments in commands().items():
        (folder / "expected" / name).write_text(output(folder, name, arguments))
        print(name)
    pack(folder)


if __name__ == "__main__":
    main()
