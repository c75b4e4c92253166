"""``janus-bench data``: add, remove, export, list, info."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from datasets_registry.folders import DANGLING, PROVENANCE, SAME, say_left
from datasets_registry.labelling.benign import benign_words, shown_read_as
from datasets_registry.making import making, remove_made
from datasets_registry.manifest import is_table
from datasets_registry.registry import (
    OVERVIEW,
    added,
    bytes_on_disk,
    dataset_folder,
    home,
    open_dataset,
    overview,
    unreadable,
)
from datasets_registry.tables.layouts import TABLES, TableLayout, layout_of, tables_in
from harness.cli import console
from harness.cli.options import (
    ActiveTimeout,
    DatasetName,
    IdleTimeout,
    ListFormat,
    RemoveMirrored,
    Replace,
    Stream,
    TcpClose,
    shown_bytes,
)
from harness.cli.progress import PreparationProgress
from janus_bench import plugins
from janus_bench.errors import DataError, UsageError, unknown
from janus_bench.files import why
from janus_bench.records import NOT_STATED
from janus_bench.words import counted

LONGEST_NAME = 100  # It is a folder's name, with something added while that is made, and stands in tables.


def add(
    name: Annotated[str, typer.Argument(help="Name for the dataset: letters, digits, _ and -, but not - first.")],
    paths: Annotated[
        list[Path],
        typer.Argument(
            help=(
                "Folder with captures and labels.csv (file, ts_start, 5-tuple, label: `benign` or an attack; "
                "optional ts_end, family, source); or, with --layout, tables: CSV or Parquet files, or their folder."
            )
        ),
    ],
    idle_timeout: IdleTimeout = 120.0,
    active_timeout: ActiveTimeout = None,
    tcp_close: TcpClose = "idle",
    remove_mirrored: RemoveMirrored = False,
    stream: Stream = True,
    replace: Replace = False,
    benign: Annotated[
        str,
        typer.Option(
            help="Labels that mean benign besides that word itself, with commas between them, such as Normal,0."
        ),
    ] = "",
    licence: Annotated[str, typer.Option(help="Under which licence the captures are.")] = "",
    citation: Annotated[str, typer.Option(help="What whoever uses the dataset is to cite.")] = "",
    layout: Annotated[
        str,
        typer.Option(help="Of tables without packets: cicflowmeter, netflow_v2, or a file LAYOUT.toml."),
    ] = "",
    label_column: Annotated[
        str, typer.Option(help="The column of a table with its labels, where it is not the layout's.")
    ] = "",
) -> None:
    """Extract the flows of a folder of captures, match them with its labels.csv, and keep them as a dataset."""
    from datasets_registry.capture.rules import FlowRules
    from datasets_registry.ingest import ingest_folder
    from datasets_registry.labelling.labels_csv import LABELS_FILE
    from datasets_registry.sequences import holds_sequences, ingest_sequences

    rules = FlowRules(idle_timeout, active_timeout, tcp_close, remove_mirrored)
    words = benign_words(benign)
    check_new_name(name, replace)
    said = {key: text for key, text in (("licence", licence), ("citation", citation)) if text}
    if layout:
        _add_tables(name, paths, layout_of(layout, label_column), said, words, replace)
        return
    (folder,) = _one_folder(paths, label_column)
    if folder.is_file():
        there = (folder.parent / LABELS_FILE).is_file()
        instead = (
            f"its folder has one: janus-bench data add {name} {folder.parent}"
            if there
            else "put them into a folder of their own, and add that"
        )
        raise UsageError(
            f"{folder}: is a file; what is added is a folder, with captures and their {LABELS_FILE}: {instead}"
        )
    sequences = holds_sequences(folder) and not (folder / LABELS_FILE).is_file()
    if sequences and rules != FlowRules():
        raise UsageError(
            f"{folder}: holds packet sequences, whose flows are made already; leave out the options that say "
            "what a flow is"
        )
    if sequences and stream:
        raise UsageError(f"{folder}: holds packet sequences; a packet stream can only be written from captures")
    if sequences and words:
        raise UsageError(
            f"{folder}: holds packet sequences: what is benign there, a Boolean column attack of flows.parquet "
            "says; leave out --benign"
        )
    with written_as(name, replace) as (cache, progress):
        if sequences:
            summary = f"packet sequences of {folder.resolve().name}"
            manifest = ingest_sequences(
                folder, dataset_folder(name), name=name, summary=summary, about=said, progress=progress
            )
        else:
            summary = f"captures of {folder.resolve().name}"
            manifest = ingest_folder(
                folder,
                dataset_folder(name),
                name=name,
                summary=summary,
                licence=licence or NOT_STATED,
                citation=citation,
                benign_words=words,
                rules=rules,
                cache=cache,
                stream=stream,
                progress=progress,
            )
    print_dataset(manifest, dataset_folder(name))


@contextmanager
def written_as(name: str, replace: bool, how: str = "") -> Iterator[tuple[Path, PreparationProgress]]:
    """The cache of a dataset that is being made, and what shows how far it is; see ``making``, ``home_named`` and
    ``check_new_name``."""
    with home_named(), making(home() / "datasets", name) as cache, PreparationProgress() as progress:
        check_new_name(name, replace, how)  # another process may have made it just now
        yield cache, progress


@contextmanager
def home_named() -> Iterator[None]:
    """UsageError that names the home, and what sets it, where a dataset cannot be written there: the disk is full, or
    somebody else's."""
    try:
        yield
    except OSError as error:
        where, folder = Path(str(error.filename or home())).absolute(), home().absolute()
        if not (where.is_relative_to(folder) or folder.is_relative_to(where)):
            raise  # of a file that was read
        raise UsageError(
            f"{error.filename or home()}: {why(error)}; JANUS_BENCH_HOME names the folder that datasets are "
            f"written to ({home()})"
        ) from None


@contextmanager
def told_on_failure(warnings: Sequence[str]) -> Iterator[None]:
    """What is kept with a dataset and shown with it is said where there will be none, for it may be the reason."""
    try:
        yield
    except BaseException:
        for line in warnings:
            console.say(f"warning: {line}")
        raise


def _one_folder(paths: Sequence[Path], label_column: str) -> Sequence[Path]:
    if label_column:
        raise UsageError("--label-column is of tables without packets: name their --layout, too")
    if all(path.suffix.lower() in TABLES for path in paths):
        raise UsageError(
            f"{paths[0]}: a table; say what its columns are with --layout cicflowmeter, netflow_v2 or a file "
            "LAYOUT.toml"
        )
    if len(paths) > 1:
        raise UsageError(f"{len(paths)} paths: captures are added as one folder; only tables (--layout) may be several")
    return paths


def _add_tables(
    name: str, paths: Sequence[Path], layout: TableLayout, said: Mapping[str, str], words: frozenset[str], replace: bool
) -> None:
    """Tables without packets: files, or folders whose tables are all taken."""
    from datasets_registry.tables.ingest import ingest_tables

    files: dict[str, Path] = {}
    again: dict[str, str] = {}
    not_taken: list[str] = []
    taken: set[tuple[int, int]] = set()
    for path in paths:
        found = tables_in(path, tell=console.say, warn=not_taken.append) if path.is_dir() else {path.name: path}
        if twice := sorted(found.keys() & files.keys()):
            raise UsageError(f"{twice[0]}: two of the files have that name, by which rows are told; rename one")
        for file, place in found.items():
            _check_file(place)
            if (same := (place.stat().st_dev, place.stat().st_ino)) in taken:
                again[file] = SAME
            else:
                files[file] = place
                taken.add(same)
    not_taken += say_left(again, "a table")
    if strange := [path for path in files.values() if path.suffix.lower() not in TABLES]:
        raise UsageError(f"{strange[0]}: tables are read from {' and '.join(TABLES)}")
    first = next(iter(files))
    provenance = paths[0] if paths[0].is_dir() else paths[0].parent
    about: dict[str, Any] = {
        "licence": NOT_STATED,
        "summary": f"table of {counted(len(files), 'file')}, {first} …",
        **said,
        "warnings": not_taken,
    }
    if len(files) == 1:
        about["summary"] = f"table {first}"
    with told_on_failure(not_taken), written_as(name, replace) as (_, progress):
        manifest = ingest_tables(
            files,
            dataset_folder(name),
            layout,
            name=name,
            about=about,
            benign_words=words,
            provenance=provenance,
            progress=progress,
        )
    print_dataset(manifest, dataset_folder(name))


def _check_file(path: Path) -> None:
    """DataError that says what ``path`` is where it is no file."""
    if path.is_file():
        return
    if not path.exists():
        raise DataError(f"{path}: {DANGLING if path.is_symlink() else 'no such file'}")
    kind = "a FIFO" if path.is_fifo() else "a socket" if path.is_socket() else "a device"
    raise DataError(f"{path}: {kind}; a table is read more than once: write it to a file, and add that")


def remove(name: DatasetName) -> None:
    """Remove a dataset; the captures that it was made of, and results, stay as they are."""
    if name not in {*added(), *unreadable()}:
        raise unknown("dataset", name, {*added(), *unreadable()}, "Nothing was removed.")
    size = shown_bytes(bytes_on_disk(dataset_folder(name)))
    remove_made(home() / "datasets", name)
    again = "; it is made again when it is used" if name in plugins.datasets() else ""
    console.say(f"{name}: removed, {size}{again}")


def check_new_name(name: str, replace: bool, how: str = "") -> None:
    """UsageError for a name that no dataset of one's own can have, or one that is taken and not to be replaced; ``how``
    to choose another."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", name):
        raise UsageError(f"dataset name {name!r}: use letters, digits, _ and -, but not - first{how}")
    if len(name) > LONGEST_NAME:
        raise UsageError(f"dataset name {name[:20]}…: has {len(name)} letters, use at most {LONGEST_NAME}{how}")
    if name in plugins.datasets():
        raise UsageError(f"dataset name {name!r} belongs to a plugin's dataset: choose another{how}")
    if not replace and dataset_folder(name).exists():
        raise UsageError(
            f"there is a dataset {name!r} already: --replace puts the new one in its place, or choose another "
            f"name{how}; nothing was changed"
        )


def export(
    name: DatasetName,
    folder: Annotated[Path, typer.Option("-o", "--output", help="A new folder.")],
    layout: Annotated[
        Literal["original", "full_store"],
        typer.Option(help="original: one packets.npz; full_store: numbered ones, for datasets larger than memory."),
    ] = "original",
) -> None:
    """Write a dataset as dense arrays and tables that others read.  These are packets.npz (flows, 64, 9),
    flows.parquet with labels and flow_features.parquet."""
    from datasets_registry.export import export_store

    try:
        with PreparationProgress() as progress:
            export_store(open_dataset(name, progress), folder, layout, progress)
    except OSError as error:
        raise UsageError(f"{error.filename or folder}: {why(error)}; -o names the folder to write") from None
    console.say(f"{name}: written to {folder}")


def show_list(output: ListFormat = "table") -> None:
    """Datasets that are there, and those that a plugin can make."""
    rows = [
        tuple(
            "–" if value is None else shown_bytes(value) if column == "bytes" and isinstance(value, int) else str(value)
            for column, value in zip(OVERVIEW, row, strict=True)
        )
        for row in overview()
    ]
    console.table(tuple("disk" if column == "bytes" else column for column in OVERVIEW), rows, output)
    console.say_broken_plugins()


def show_info(name: DatasetName, output: ListFormat = "table") -> None:
    """Counts per family, dropped packets and the label match of a dataset."""
    with PreparationProgress() as progress:
        store = open_dataset(name, progress)
    manifest = store.manifest
    if output == "json":
        console.out(json.dumps(manifest, indent=1), as_json=True)
    else:
        print_dataset(manifest, store.folder)


def print_dataset(manifest: Mapping[str, Any], folder: Path) -> None:
    """Families on standard output; where it comes from, what was dropped, not matched or odd on standard error."""
    rows = [(family, str(counts[0]), str(counts[1])) for family, counts in sorted(manifest["families"].items())]
    kind = "SYNTHETIC, " if manifest["synthetic"] else ""
    title = (
        f"{manifest['name']}: {kind}{manifest['n_flows']} flows, {manifest['benign']} benign, {manifest['attack']} "
        "attack"
    )
    console.table(("family", "flows", "with ≥ 2 packets"), rows, "table", title)
    if read := manifest.get("labels_read"):
        console.table(("label as written", "read as", "rows"), shown_read_as(read), "table")
    console.say(
        f"from: {manifest['summary'] or 'not stated'}; licence: {manifest['licence']}; content hash "
        f"{manifest['hash'][:16]}"
    )
    if "citation" in manifest:
        console.say(f"cite: {manifest['citation']}")
    for defect in manifest.get("known_defects", ()):
        console.say(f"known: {defect}")
    if (file := folder / PROVENANCE).is_file():
        console.say(f"provenance: {file}")
    sites = manifest.get("sites", {})
    for site, (benign, attack) in sites.items() if len(sites) > 1 else ():
        console.say(f"site {site or '(none named)'}: {benign} benign, {attack} attack flows")
    if is_table(manifest):
        console.say(f"no packets; features: {' and '.join(manifest['feature_sets'])}; {manifest['grouping']}")
    for file, rows in manifest.get("tables", {}).items():
        console.say(
            f"{file}: {rows['used']} of {counted(rows['rows'], 'row')} used; left out: {_counts(rows['left_out'])}"
        )
    packets = manifest["packets"]
    if not is_table(manifest):
        console.say(
            f"packets: {packets['read']} read, {packets['used']} used; dropped: {_counts(packets['dropped'])}; "
            f"noted: {_counts(packets['noted'])}"
        )
    for label, match in sorted(manifest["labels"].items()):
        matched = f"{match['matched']} rows matched, {match['unmatched_rows']} not, {match['ambiguous']} ambiguous"
        console.say(f"label {label!r}: {match['flows']} flows; {matched}")
    if manifest["unmatched_flows"]:
        console.say(
            f"{manifest['unmatched_flows']} flows have no label and were dropped (an unmatched flow is not benign)"
        )
    for name, file in manifest["files"].items():
        if file["dropped"]:
            console.say(
                f"{name}: {file['used']} of {file['packets']} packets used; dropped: {_counts(file['dropped'])}"
            )
    for warning in manifest["warnings"]:
        console.say(f"warning: {warning}")


def _counts(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {reason}" for reason, number in sorted(reasons.items())) or "none"
