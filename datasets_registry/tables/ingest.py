"""Tables of published features → a dataset without packets.  A row that cannot be used is left out and counted, never
mended; memory depends on the size of a block, not on that of a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from datasets_registry.block import FLOW_FIELDS, LABEL_FIELDS, Counts, TableHash
from datasets_registry.drivers.driver import BENIGN as BENIGN_LABEL
from datasets_registry.drivers.driver import Label, class_table
from datasets_registry.folders import take_provenance
from datasets_registry.labelling.benign import benign_warnings
from datasets_registry.store import FULL_STORE
from datasets_registry.tables.layouts import ROLES, TableLayout
from datasets_registry.tables.reading import TableAccount, read_table_rows
from datasets_registry.writing import SHARD_FLOWS, NpyFile, replacing, write_manifest
from janus_bench.columns import FLOW_COLUMNS, LABEL_COLUMNS
from janus_bench.errors import DataError, unknown
from janus_bench.quiet import ignore
from janus_bench.words import counted

GROUP_ROWS = 1000
"""Rows of a table without times that stand for a capture: neighbours in a file were most often neighbours in time."""
Block = tuple[pl.DataFrame, NDArray[np.float32]]
EPOCH = date(1970, 1, 1)
WORDS = {"true": "1", "false": "0"}  # What a flag may be written as.
MANY_LABELS = 100
"""Labels of which the manifest keeps how they were read; a column of more is most likely another one."""


def ingest_tables(
    tables: Mapping[str, Path],
    destination: Path,
    layout: TableLayout,
    *,
    name: str,
    about: Mapping[str, Any],
    benign_words: frozenset[str] = frozenset(),
    classify: Callable[[str], Label | None] | None = None,
    provenance: Path | None = None,
    progress: Callable[[str, float], None] = ignore,
) -> dict[str, Any]:
    """Write the rows of ``tables`` (name → file) as a dataset to ``destination`` (replacing one there), and return its
    manifest.

    ``about``: summary, licence and whatever else the manifest is to say, with warnings of what was not taken;
    ``benign_words``: labels that mean benign besides those of the layout, in lower case; ``classify``: what a label
    means, in place of both, None where it is not known; ``provenance``: a folder whose ``PROVENANCE.md`` is kept.
    DataError where a file is not of the layout or no row can be used, UsageError for a benign word that is no label.
    """
    total = sum(path.stat().st_size for path in tables.values()) or 1
    read = 0
    accounts: dict[str, TableAccount] = {}
    with replacing(destination) as staged:
        writer = _TableWriter(staged, layout, layout.benign | benign_words, classify, several=len(tables) > 1)
        for file, path in tables.items():
            account = accounts[file] = TableAccount()

            def advance(size: int) -> None:
                nonlocal read
                read += size

            for rows, matrix in _ahead(read_table_rows(path, layout, account, advance)):
                writer.add(file, rows, matrix, account)
                progress(f"reading {file}", 0.95 * read / total)
        lines = [line for file, account in accounts.items() for line in account.lines(file)]
        if not writer.counts.n_flows:
            nothing = f"{', '.join(tables)}: no rows behind the header"
            raise DataError(f"no row of {counted(len(tables), 'file')} can be used: {'; '.join(lines) or nothing}")
        for word in sorted(benign_words - {text.lower() for text in writer.read}):
            raise unknown("label", word, writer.read, "--benign takes labels of the table.")
        by_label = writer.counts.by_label()
        if provenance is not None:
            take_provenance(provenance, staged)
        manifest = {
            "name": name,
            "synthetic": False,
            **about,
            "feature_sets": [layout.features],
            "grouping": writer.grouping,
            "tables": {file: _described(account) for file, account in accounts.items()},
            "labels_read": writer.labels_read(),
            "labels": {
                text: {"matched": flows, "unmatched_rows": 0, "ambiguous": 0, "flows": flows}
                for text, flows in by_label.items()
            },
            "packets": {"read": 0, "used": 0, "dropped": {}, "noted": {}},
            "files": {},
            "unmatched_flows": 0,
            "stream": False,
            "warnings": [*about.get("warnings", ()), *lines, *benign_warnings(writer.counts.by_class())],
        }
        manifest = writer.finish(manifest)
    progress("done", 1.0)
    return manifest


def _ahead(blocks: Iterator[Block]) -> Iterator[Block]:
    """The same, the next one being made while one is used."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, blocks, None)
        while (block := waiting.result()) is not None:
            waiting = pool.submit(next, blocks, None)
            yield block


def _described(account: TableAccount) -> dict[str, Any]:
    counts = {
        name: {what: rows for what, rows in getattr(account, name).items() if rows} for name in ("left_out", "noted")
    }
    return {"rows": account.rows, "used": account.used, **counts}


def _named(numbers: pl.Series, name_of: Callable[[int], str]) -> pl.Series:
    """The name of each of many whole numbers of which few are different."""
    different = numbers.unique().sort()
    return pl.Series([name_of(number) for number in different], dtype=pl.String)[different.search_sorted(numbers)]


class _TableWriter:
    """Takes blocks of usable rows and writes them as shards into ``folder``, an empty one.

    several  there are several files, each of which is a capture where rows have times
    """

    def __init__(
        self,
        folder: Path,
        layout: TableLayout,
        benign: frozenset[str],
        classify: Callable[[str], Label | None] | None,
        *,
        several: bool,
    ) -> None:
        self.folder, self.layout, self.several = folder, layout, several
        self._class_of = classify or (lambda text: BENIGN_LABEL if text.lower() in benign else Label(text, text))
        self.hash, self.counts = TableHash((layout.features,)), Counts()
        self.read: Counter[str] = Counter()
        self._classes: dict[str, Label | None] = {}
        self._shards: list[int] = []
        self._waiting: list[tuple[pl.DataFrame, pl.DataFrame]] = []
        self._matrix: NpyFile | None = None
        self._timed: dict[str, bool] = {}

    @property
    def grouping(self) -> str:
        """What stands for captures, in words."""
        timed = "each file stands for a capture" if self.several else "each day stands for a capture"
        without = [file for file, known in self._timed.items() if not known]
        if not without:
            return timed
        blocks = f"contiguous blocks of {GROUP_ROWS:,} rows stand for captures"
        if len(without) == len(self._timed):
            return f"without times, so that {blocks}"
        return f"{timed}; in {counted(len(without), 'file')} without times, such as {without[0]}, {blocks}"

    def add(self, file: str, rows: pl.DataFrame, matrix: NDArray[np.float32], account: TableAccount) -> None:
        """Rows and features as ``read_table_rows`` gives them."""
        self._classify(rows["label"])
        unknown_labels = [text for text, kind in self._classes.items() if kind is None]
        if unknown_labels and (strange := rows["label"].is_in(unknown_labels)).any():
            account.left_out["unknown_labels"] += int(strange.sum())
            example = f"{rows['label'][int(strange.arg_max() or 0)]!r}"
            account.fault(self.layout.label, "of an unknown label", int(strange.sum()), example)
            rows, matrix = rows.filter(~strange), matrix[~strange.to_numpy()]
        if not rows.height:
            return
        self._timed[file] = "time" in rows.columns
        flows, labels = self._flows(rows), self._labels(file, rows, account)
        self.hash.update({self.layout.features: matrix}, flows, labels)
        self.counts.count(flows, labels)
        begin = 0
        while begin < rows.height:
            there = sum(part.height for part, _ in self._waiting)
            end = min(rows.height, begin + SHARD_FLOWS - there)
            self._keep(flows[begin:end], labels[begin:end], matrix[begin:end])
            begin = end
            if there + end - begin == SHARD_FLOWS or sum(part.height for part, _ in self._waiting) == SHARD_FLOWS:
                self._close_shard()

    def _classify(self, labels: pl.Series) -> None:
        for text, number in labels.value_counts(name="rows").iter_rows():
            self._classes.setdefault(text, self._class_of(text))
            self.read[text] += number

    def labels_read(self) -> dict[str, dict[str, Any]]:
        """See ``manifest.LabelRead``; the most frequent ones."""
        found = ((text, self._classes[text], rows) for text, rows in self.read.most_common(MANY_LABELS))
        return {text: {"label": kind.label, "attack": kind.attack, "rows": rows} for text, kind, rows in found if kind}

    def finish(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Close the last shard; the manifest as written."""
        self._close_shard()
        described = {**self.counts.described(), "shards": self._shards}
        described["cic_features"] = self.layout.features == "cic_features"
        return write_manifest(self.folder, manifest, self.hash.hexdigest(), described)

    def _flows(self, rows: pl.DataFrame) -> pl.DataFrame:
        """``FLOW_FIELDS``; what the table does not tell is empty or 0."""
        absent = {"src_ip": "", "dst_ip": "", "src_port": 0, "dst_port": 0, "proto": 0, "time": 0.0}
        types = {"src_port": pl.UInt16, "dst_port": pl.UInt16, "proto": pl.UInt8}
        given = rows.with_columns(
            pl.lit(absent[role], types.get(role)).alias(role) for role in ROLES if role not in rows.columns
        )
        timed = "time" in rows.columns
        return given.select(
            "src_ip", "src_port", "dst_ip", "dst_port", "proto",
            ts_start="time",
            ts_end=pl.col("time") + (pl.col("duration").clip(0, 1e9) if timed else 0.0),
            n_packets=pl.col("packets").clip(1, 2.0**53).cast(pl.Int64),
        ).select(FLOW_FIELDS)  # fmt: skip

    def _labels(self, file: str, rows: pl.DataFrame, account: TableAccount) -> pl.DataFrame:
        """``LABEL_FIELDS``."""
        text = rows["label"]
        known = {name: kind for name, kind in self._classes.items() if kind}
        written = text.to_frame("text").join(
            class_table("text", pl.String(), known), on="text", how="left", maintain_order="left"
        )
        attack = written["attack"]
        if "flag" in rows.columns:
            flag = rows["flag"].str.strip_chars().str.to_lowercase().replace(WORDS).cast(pl.Float64, strict=False)
            against = ((flag != 0) != attack).fill_null(True)
            if against.any():
                first = int(against.arg_max() or 0)
                example = f"{rows['flag'][first]!r} beside {text[first]!r} (row {rows['position'][first] + 1})"
                account.noted["flags_against_labels"] += int(against.sum())
                account.fault(self.layout.flag, f"against {self.layout.label}", int(against.sum()), example)
        return rows.select(
            attack=attack,
            label=written["label"],
            family=written["family"],
            source=self._sources(file, rows),
            file=pl.lit(file),
            row="position",
            site=pl.lit(""),
        ).select(LABEL_FIELDS)

    def _sources(self, file: str, rows: pl.DataFrame) -> pl.Expr | pl.Series:
        """What stands for the captures of rows, see ``grouping``."""
        if "time" in rows.columns:
            days = (rows["time"] / 86_400).floor().cast(pl.Int64)
            return pl.lit(file) if self.several else _named(days, lambda day: f"{file} {EPOCH + timedelta(day)}")
        blocks = rows["position"] // GROUP_ROWS * GROUP_ROWS
        return _named(blocks, lambda begin: f"{file} rows {begin + 1}–{begin + GROUP_ROWS}")

    def _keep(self, flows: pl.DataFrame, labels: pl.DataFrame, matrix: NDArray[np.float32]) -> None:
        if self._matrix is None:
            folder = self.folder / FULL_STORE / f"{len(self._shards):05}"
            folder.mkdir(parents=True)
            self._matrix = NpyFile(folder / f"{self.layout.features}.npy", "float32")
        self._matrix.append(matrix)
        self._waiting.append((flows, labels))

    def _close_shard(self) -> None:
        if self._matrix is None:
            return
        self._matrix.close()
        self._matrix = None
        folder = self.folder / FULL_STORE / f"{len(self._shards):05}"
        begin, number = sum(self._shards), sum(flows.height for flows, _ in self._waiting)
        flow_id = pl.int_range(begin, begin + number, dtype=pl.Int64, eager=True).alias("flow_id")
        for place, (name, columns) in enumerate((("flows", FLOW_COLUMNS), ("labels", LABEL_COLUMNS))):
            table = pl.concat([parts[place] for parts in self._waiting]).with_columns(flow_id).select(columns)
            table.rechunk().write_parquet(folder / f"{name}.parquet")
        self._waiting.clear()
        self._shards.append(number)
