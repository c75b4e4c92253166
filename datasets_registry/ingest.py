"""A folder of captures with a ``labels.csv`` → a flow store.

Captures are read in parallel, one file a job; then all flows are matched to the labels at once.  Only matched flows are stored: a flow that no row
claims is dropped and counted, never taken for benign.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

import numba
import numpy as np
import polars as pl
from numpy.typing import NDArray

from datasets_registry.capture import addresses
from datasets_registry.capture.reader import Scan
from datasets_registry.flows.assemble import FileFlows
from datasets_registry.flows.extract import read_flows
from datasets_registry.flows.features import flow_features
from datasets_registry.flows.rules import FlowRules
from datasets_registry.labelling.labels_csv import KEY_COLUMNS, LabelRows, read_labels
from datasets_registry.labelling.match import Match, match_rows
from datasets_registry.store import StoreContents, content_hash, write_store
from harness.contract import DataError
from harness.schema import PACKET_ARRAYS, SCHEMA_VERSION

__all__ = ["ingest_folder"]

SUFFIXES = tuple(suffix + packing for suffix in (".pcap", ".pcapng", ".cap") for packing in ("", ".gz", ".zst"))
MIRRORED_WARNING = 0.05  # a mirrored share that is worth a warning
READING, MATCHING = 0.8, 0.9  # fractions of the progress at which these end


@dataclass(frozen=True, eq=False)
class _File:
    """What was read from one capture."""

    name: str
    flows: FileFlows
    report: dict[str, Any]


def ingest_folder(
    folder: Path,
    destination: Path,
    *,
    name: str,
    summary: str = "",
    synthetic: bool = False,
    licence: str = "not stated",
    rules: FlowRules | None = None,
    jobs: int = 2,
    progress: Callable[[str, float], None] | None = None,
) -> dict[str, Any]:
    """Read the captures of ``folder`` and its ``labels.csv``, write a flow store to ``destination`` (replacing one there), return its manifest.

    ``rules``, ``FlowRules()`` if None, decide what a flow is.
    Captures are the files that ``labels.csv`` names and any other with a capture's suffix.  ``jobs`` captures are read at a time;
    ``progress(text, fraction)`` is called as the work goes on.  DataError where the folder cannot become a dataset.
    """
    tell, rules = progress or _say_nothing, rules or FlowRules()
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    tell("reading labels", 0.0)
    labels = read_labels(folder)
    paths = _captures(folder, labels)
    files = _read_all(folder, paths, rules, jobs, tell)
    if not any(len(file.flows) for file in files):
        raise DataError(f"{folder}: no flow in its {len(files)} capture(s); dropped packets: {_say(_total(files, 'dropped'))}")
    tell("matching labels", READING)
    match = match_rows(labels, _match_table(files))
    tell("writing", MATCHING)
    contents = _contents(files, labels, match)
    about = {"name": name, "synthetic": synthetic, "summary": summary, "licence": licence, **rules.described()}
    manifest = _manifest(about, files, match, contents)
    write_store(destination, contents, manifest)
    tell("done", 1.0)
    return manifest


def _say_nothing(_text: str, _fraction: float) -> None:
    """Progress that nobody asked to see."""


def _captures(folder: Path, labels: LabelRows) -> list[str]:
    """Names relative to the folder, sorted: the order of the flows must not depend on the file system."""
    named = set(labels.rows["file"].unique())
    found = (path for path in folder.rglob("*") if path.name.lower().endswith(SUFFIXES) and not path.name.startswith("."))
    return sorted(named | {path.relative_to(folder).as_posix() for path in found if path.is_file()})


def _read_all(folder: Path, names: list[str], rules: FlowRules, jobs: int, tell: Callable[[str, float], None]) -> list[_File]:
    """In threads: decoding and assembly release the interpreter lock, and nothing has to be copied between processes."""
    sizes = {name: (folder / name).stat().st_size for name in names}
    total, done, lock = max(sum(sizes.values()), 1), 0, Lock()

    def read(name: str) -> _File:
        def advance(n_bytes: int) -> None:
            nonlocal done
            with lock:
                done += n_bytes
                tell(f"reading {name}", READING * min(done / total, 1.0))

        return _read_one(folder, name, rules, advance)

    with ThreadPoolExecutor(max(jobs, 1)) as pool:
        # Largest first, so that no long file is left to a single worker at the end.
        order = sorted(names, key=lambda name: -sizes[name])
        futures = [pool.submit(read, name) for name in order]
        try:
            files = [future.result() for future in as_completed(futures)]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return sorted(files, key=lambda file: file.name)


def _read_one(folder: Path, name: str, rules: FlowRules, advance: Callable[[int], None]) -> _File:
    scan, flows = read_flows(folder / name, rules, advance)
    noted = dict(scan.noted)
    if scan.out_of_order:
        noted["out_of_order"] = scan.out_of_order
    report = {
        "format": scan.format,
        "link_types": list(scan.link_types),
        "packets": scan.records,
        "used": scan.used,
        "dropped": scan.dropped,
        "noted": noted,
        "mirrored_share": _mirrored_share(scan),
        "flows": len(flows),
        "warnings": _warnings(name, scan, rules),
    }
    return _File(name, flows, report)


def _mirrored_share(scan: Scan) -> float:
    """Second copies per IP packet of the file: a half if every packet is there twice."""
    return round(scan.mirrored / max(scan.used + scan.dropped.get("mirrored", 0), 1), 4)


def _warnings(name: str, scan: Scan, rules: FlowRules) -> list[str]:
    said = []
    if not scan.records:
        said.append(f"{name}: no packets")
    elif not scan.used:
        said.append(f"{name}: none of its {scan.records} packets can be used ({_say(scan.dropped)})")
    if _mirrored_share(scan) >= MIRRORED_WARNING and not rules.remove_mirrored:
        said.append(f"{name}: {_mirrored_share(scan):.0%} of its packets are second copies of the one before (a mirrored port?); they were kept")
    for reason, what in (
        ("cut_by_end_of_file", "ends inside a packet record"),
        ("corrupt_record", "holds a corrupt record; what follows it was not read"),
        ("corrupt_compression", "is damaged in its compression; what follows was not read"),
    ):
        if reason in scan.dropped:
            said.append(f"{name}: {what}")
    return said


def _say(counts: dict[str, int]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in counts.items()) or "none"


def _total(files: list[_File], what: str) -> dict[str, int]:
    counter: Counter[str] = Counter()
    for file in files:
        counter.update(file.report[what])
    return dict(sorted(counter.items()))


def _match_table(files: list[_File]) -> pl.DataFrame:
    """All flows of all files, in the order in which they are numbered before matching."""
    tables = []
    for file in files:
        keys = {column: file.flows.keys[:, word] for word, column in enumerate(KEY_COLUMNS)}
        tables.append(
            pl.DataFrame(
                {
                    "file": pl.repeat(file.name, len(file.flows), dtype=pl.String, eager=True),
                    **keys,
                    "first": file.flows.first,
                    "last": file.flows.last,
                }
            )
        )
    return pl.concat(tables)


def _contents(files: list[_File], labels: LabelRows, match: Match) -> StoreContents:
    """The matched flows of all files, file by file and in the order of their first packets."""
    first_of_file = np.concatenate([[0], np.cumsum([len(file.flows) for file in files])])
    kept = []
    for file, begin, end in zip(files, first_of_file[:-1], first_of_file[1:], strict=True):
        mine = match.flow[(match.flow >= begin) & (match.flow < end)] - begin
        file.report["matched"] = len(mine)
        kept.append(file.flows.take(mine))
    lengths = np.concatenate([np.diff(flows.offsets) for flows in kept])
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    packets = {name: np.concatenate([getattr(flows, name) for flows in kept]) for name in PACKET_ARRAYS}
    matched = labels.rows[match.row]
    flow_id = pl.int_range(matched.height, dtype=pl.Int64, eager=True).alias("flow_id")
    return StoreContents(
        offsets,
        packets,
        pl.DataFrame({"flow_id": flow_id, **_flow_columns(kept)}),
        matched.with_columns(flow_id),
        flow_features(offsets, packets["size"], packets["iat"], packets["bits"]),
    )


def _flow_columns(kept: list[FileFlows]) -> dict[str, Any]:
    """Columns of ``schema.FLOW_COLUMNS`` after ``flow_id``."""
    keys = np.concatenate([flows.keys for flows in kept])
    swapped = np.concatenate([flows.swapped for flows in kept])
    rest = keys[:, 4].astype(np.int64)
    version, ports = rest >> 40, (rest >> 16 & 0xFFFF, rest & 0xFFFF)
    lower, upper = keys[:, :2], keys[:, 2:4]

    def seconds(times: list[NDArray[np.int64]]) -> NDArray[np.float64]:
        return np.concatenate(times) / 1e9

    return {
        "src_ip": addresses.texts(version, np.where(swapped[:, None], upper, lower)),
        "src_port": np.where(swapped, ports[1], ports[0]).astype(np.uint16),
        "dst_ip": addresses.texts(version, np.where(swapped[:, None], lower, upper)),
        "dst_port": np.where(swapped, ports[0], ports[1]).astype(np.uint16),
        "proto": (rest >> 32 & 0xFF).astype(np.uint8),
        "ts_start": seconds([flows.first for flows in kept]),
        "ts_end": seconds([flows.last for flows in kept]),
        "n_packets": np.concatenate([flows.n_packets for flows in kept]),
    }


def _manifest(about: dict[str, Any], files: list[_File], match: Match, contents: StoreContents) -> dict[str, Any]:
    labels, n_packets = contents.labels, contents.flows["n_packets"]
    attacks = int(labels["attack"].sum())
    kind = pl.when("attack").then(pl.lit("attack/")).otherwise(pl.lit("benign/"))
    families = (
        labels.select(family=kind + pl.col("family"), longer=n_packets >= 2)
        .group_by("family")
        .agg(flows=pl.len(), longer=pl.col("longer").sum())
        .sort("family")
    )
    return {
        "schema_version": SCHEMA_VERSION,
        **about,
        "hash": content_hash(contents),
        "n_flows": labels.height,
        "n_flows_2_packets": int((n_packets >= 2).sum()),
        "n_packets": int(contents.offsets[-1]),
        "benign": labels.height - attacks,
        "attack": attacks,
        "families": {family: [flows, longer] for family, flows, longer in families.iter_rows()},
        "labels": match.report,
        "unmatched_flows": sum(len(file.flows) for file in files) - labels.height,
        "packets": {
            "read": sum(file.report["packets"] for file in files),
            "used": sum(file.report["used"] for file in files),
            "dropped": _total(files, "dropped"),
            "noted": _total(files, "noted"),
        },
        "warnings": [warning for file in files for warning in file.report["warnings"]],
        "files": {file.name: {key: value for key, value in file.report.items() if key != "warnings"} for file in files},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "numba": numba.__version__, "polars": pl.__version__},
    }
