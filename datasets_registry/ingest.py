"""Captures and their labels → a flow store.

Captures are extracted to shards, one file a job (``datasets_registry.extraction``); then each group of captures is
labelled at once; then the labelled flows are written, block by block.  Only labelled flows are stored: a flow that
nobody claims is dropped and counted, never taken for benign.
"""

import hashlib
import os
import platform
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numba
import numpy as np
import polars as pl
from numpy.typing import NDArray

from datasets_registry.block import LABEL_FIELDS, Block
from datasets_registry.capture import addresses
from datasets_registry.capture.rules import FlowRules
from datasets_registry.extraction import CaptureFile, Extracted, extract_all, say_counts
from datasets_registry.folders import HIDDEN, UNREAD, files_below, looks_like_capture, say_left, take_provenance
from datasets_registry.labelling.assignment import Assignment
from datasets_registry.labelling.benign import benign_warnings
from datasets_registry.labelling.keys import KEY_COLUMNS
from datasets_registry.labelling.labels_csv import LabelRows, read_labels
from datasets_registry.labelling.match import match_rows
from datasets_registry.store import BLOCK_FLOWS
from datasets_registry.stream import KEY_BYTES, StreamWriter
from datasets_registry.writing import StoreWriter, replacing
from janus_bench.errors import DataError
from janus_bench.held import temporary
from janus_bench.quiet import ignore
from janus_bench.records import NOT_STATED

SUFFIXES = tuple(suffix + packing for suffix in (".pcap", ".pcapng", ".cap") for packing in ("", ".gz", ".zst"))
READING, MATCHING = 0.8, 0.9  # fractions of the progress at which these end
TEXTS = ("label", "family", "source", "file", "site")

Labeller = Callable[[str, pl.DataFrame], Assignment]


def ingest_folder(
    folder: Path,
    destination: Path,
    *,
    name: str,
    summary: str = "",
    synthetic: bool = False,
    licence: str = NOT_STATED,
    citation: str = "",
    benign_words: frozenset[str] = frozenset(),
    rules: FlowRules | None = None,
    cache: Path | None = None,
    stream: bool = False,
    jobs: int = 2,
    progress: Callable[[str, float], None] = ignore,
) -> dict[str, Any]:
    """Read the captures of ``folder`` and its ``labels.csv``, write a flow store to ``destination`` (replacing one
    there), return its manifest.

    ``benign_words``: labels that mean benign besides that word itself, in lower case.  ``rules``, ``FlowRules()`` if
    None, decide what a flow is.  Captures are the files that ``labels.csv`` names and any other with a capture's
    suffix; a ``PROVENANCE.md`` among them is kept.  ``cache``, ``stream``, ``jobs`` and ``progress``: see
    ``ingest_captures``.
    DataError where the folder cannot become a dataset.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    progress("reading labels", 0.0)
    labels = read_labels(folder, benign_words)
    found, warnings = _captures(folder, labels)
    captures = {name: CaptureFile(file, "") for name, file in found.items()}
    about = {"name": name, "synthetic": synthetic, "summary": summary, "licence": licence}
    about |= {"labels_read": labels.read_as, **({"citation": citation} if citation else {})}

    def label(_group: str, flows: pl.DataFrame) -> Assignment:
        return match_rows(labels, flows)

    return ingest_captures(
        captures,
        label,
        destination,
        about=about,
        rules=rules or FlowRules(),
        provenance=folder,
        cache=cache,
        stream=stream,
        jobs=jobs,
        progress=progress,
        warnings=(*labels.warnings, *warnings),
    )


def ingest_captures(
    captures: Mapping[str, CaptureFile],
    label: Labeller,
    destination: Path,
    *,
    about: Mapping[str, Any],
    rules: FlowRules,
    cache: Path | None,
    provenance: Path | None = None,
    stream: bool = False,
    jobs: int = 2,
    progress: Callable[[str, float], None] = ignore,
    warnings: Sequence[str] = (),
) -> dict[str, Any]:
    """Extract ``captures``, label them group by group, write a flow store to ``destination`` (replacing one there),
    return its manifest.

    captures  name (relative, '/'-separated) → file and group; their order, and the number of jobs, decide nothing
    label     called once per group, groups in the order of their names, with the group's flows: file (String),
              ``KEY_COLUMNS`` (UInt64), swapped (Boolean: the initiator is endpoint b), first and last (Int64, ns),
              n_packets (Int64, before the cut to 64), src_mac and dst_mac (UInt64, 0 where unknown); captures by name,
              then flows in the order of their first packets
    about     what the manifest says of the dataset: name, synthetic, summary, licence, and whatever else is worth
              keeping
    cache     folder of the extracted shards.  It stays, so that the same captures are not read again: give one where
              labelling may be repeated or the work be killed.  None: a temporary one
    provenance  folder whose ``writing.PROVENANCE`` is kept with the dataset
    stream    write the packet stream too, for detectors that read whole captures: some 70 bytes for every packet
    progress  called with (text, fraction) as the work goes on; ``jobs`` captures are read at a time
    warnings  what the manifest is to say besides

    DataError if there is no flow or no label; what ``label`` raises passes through.
    """
    if not captures:
        raise DataError("no captures: there is nothing to read flows from")
    with _shards_in(cache) as folder:
        shards = extract_all(captures, rules, folder, jobs, lambda text, fraction: progress(text, READING * fraction))
        if not any(shard.n_flows for shard in shards.values()):
            dropped = say_counts(_total(shards, "dropped"))
            raise DataError(
                f"{_where(captures)}: no flow in its {len(captures)} capture(s); dropped packets: {dropped}"
            )
        labelled, report = _label(
            captures, shards, label, lambda text, fraction: progress(text, READING + (MATCHING - READING) * fraction)
        )
        if not any(len(chosen) for chosen, _ in labelled.values()):
            raise DataError(
                f"{_where(captures)}: none of its {sum(shard.n_flows for shard in shards.values())} flows has a label"
            )
        with replacing(destination) as staged:
            writer = StoreWriter(staged)
            for number, (name, shard) in enumerate(shards.items()):
                progress(f"writing {name}", MATCHING + (1 - MATCHING) * number / len(shards) / (2 if stream else 1))
                for block in _blocks(shard, *labelled[name]):
                    writer.add(block)
            matched = {name: len(chosen) for name, (chosen, _) in labelled.items()}
            by_label = writer.counts.by_label()
            labels = {
                text: {**report.get(text, NO_ROWS), "flows": by_label.get(text, 0)}
                for text in sorted({*report, *by_label})
            }
            account = _account(shards, matched)
            account["warnings"] = [*warnings, *account["warnings"], *benign_warnings(writer.counts.by_class())]
            if stream:
                chosen = {name: positions for name, (positions, _) in labelled.items()}
                absent = _write_stream(
                    staged / "stream", captures, shards, chosen, rules, writer.hash.hexdigest(), progress
                )
                account["packets_not_in_stream"] = absent
                if absent:
                    account["warnings"].append(
                        f"{absent} packets of the flows are not in the packet stream: detectors that read it "
                        "do not see them"
                    )
            if provenance is not None:
                take_provenance(provenance, staged)
            manifest = writer.finish({**about, **rules.described(), "stream": stream, "labels": labels, **account})
    progress("done", 1.0)
    return manifest


NO_ROWS = {"matched": 0, "unmatched_rows": 0, "ambiguous": 0}


def _shards_in(cache: Path | None) -> AbstractContextManager[Path]:
    """``cache``, made if it is not there, or a temporary folder."""
    if cache is None:
        return temporary("janus-bench-extracted")
    cache.mkdir(parents=True, exist_ok=True)
    return nullcontext(cache)


def _captures(folder: Path, labels: LabelRows) -> tuple[dict[str, Path], list[str]]:
    """Name relative to the folder → file, sorted: the order of the flows must not depend on the file system.

    And lines about what was left out.
    """
    below, named = files_below(folder), set(labels.files.values())
    others = {name: file for name, file in below.files.items() if name.lower().endswith(SUFFIXES) and file not in named}
    left = dict(below.left) | {
        name: UNREAD for name, file in below.files.items() if file not in {*named, *others.values()}
    }
    unread = {
        name: why
        for name, why in left.items()
        if looks_like_capture(name) and why != HIDDEN and name not in labels.files
    }
    return dict(sorted({**others, **labels.files}.items())), say_left(unread, "a capture")


def _where(captures: Mapping[str, CaptureFile]) -> str:
    return os.path.commonpath([file.path.absolute().parent for file in captures.values()])


def _total(shards: Mapping[str, Extracted], what: str) -> dict[str, int]:
    return dict(sorted(sum((Counter(shard.report[what]) for shard in shards.values()), Counter[str]()).items()))


Chosen = tuple[NDArray[np.int64], pl.DataFrame]
"""Positions (m,) of a capture's labelled flows, and their ``LABEL_FIELDS``, m rows."""


def _label(
    captures: Mapping[str, CaptureFile],
    shards: Mapping[str, Extracted],
    label: Labeller,
    tell: Callable[[str, float], None],
) -> tuple[dict[str, Chosen], dict[str, dict[str, int]]]:
    """Capture → its labelled flows; and the reports of all groups, summed."""
    labelled: dict[str, Chosen] = {}
    report: dict[str, Counter[str]] = {}
    groups: dict[str, list[str]] = {}
    for name in shards:
        groups.setdefault(captures[name].group, []).append(name)
    for number, (group, names) in enumerate(sorted(groups.items())):
        tell(f"matching labels{f' of {group}' if group else ''}", number / len(groups))
        assignment = _checked(
            group,
            label(group, _flow_table([shards[name] for name in names])),
            sum(shards[name].n_flows for name in names),
        )
        # Names of labels and files, millions of times: numbers until they are written.
        table = assignment.table.select(LABEL_FIELDS).with_columns(pl.col(TEXTS).cast(pl.Categorical))
        begin = 0
        for name in names:
            end = begin + shards[name].n_flows
            first, last = np.searchsorted(assignment.flow, [begin, end])
            labelled[name] = (assignment.flow[first:last] - begin, table[int(first) : int(last)])
            begin = end
        for text, counts in assignment.report.items():
            report.setdefault(text, Counter()).update(counts)
    return labelled, {text: dict(counts) for text, counts in report.items()}


def _checked(group: str, assignment: Assignment, n_flows: int) -> Assignment:
    """A labeller may come from another package; one that names no sites has a single one."""
    if "site" not in assignment.table.columns:
        assignment = replace(assignment, table=assignment.table.with_columns(site=pl.lit("")))
    flow = assignment.flow
    in_range = not len(flow) or (flow[0] >= 0 and flow[-1] < n_flows and bool((np.diff(flow) > 0).all()))
    if not in_range or assignment.table.height != len(flow) or not set(LABEL_FIELDS) <= set(assignment.table.columns):
        raise ValueError(
            f"the labeller of group {group!r} breaks what Assignment promises: {len(flow)} flows of {n_flows}, "
            f"{assignment.table.schema}"
        )
    return assignment


def _flow_table(shards: Sequence[Extracted]) -> pl.DataFrame:
    """All flows of these captures, as a labeller sees them."""
    tables = []
    for shard in shards:
        columns = {name: pl.Series(name, shard.column("keys", word)) for word, name in enumerate(KEY_COLUMNS)}
        columns["swapped"] = pl.Series("swapped", shard.column("swapped").astype(np.bool_))
        columns |= {name: pl.Series(name, shard.column(name)) for name in ("first", "last", "n_packets")}
        columns |= {
            name: pl.Series(name, shard.column("macs", word)) for word, name in enumerate(("src_mac", "dst_mac"))
        }
        tables.append(
            pl.DataFrame(
                [pl.repeat(shard.name, shard.n_flows, dtype=pl.String, eager=True).alias("file"), *columns.values()]
            )
        )
    return pl.concat(tables)


def _blocks(shard: Extracted, chosen: NDArray[np.int64], table: pl.DataFrame) -> Iterator[Block]:
    """The labelled flows of a capture, in the order of their first packets."""
    take = shard.reader() if len(chosen) else None
    for begin in range(0, len(chosen), BLOCK_FLOWS):
        assert take is not None
        flows = take(chosen[begin : begin + BLOCK_FLOWS])
        labels = table[begin : begin + BLOCK_FLOWS].with_columns(pl.col(TEXTS).cast(pl.String))
        yield Block(
            flows.offsets, flows.packets, pl.DataFrame(flow_columns(flows.columns)), labels, flows.columns["cic"]
        )


def _write_stream(
    folder: Path,
    captures: Mapping[str, CaptureFile],
    shards: Mapping[str, Extracted],
    labelled: Mapping[str, NDArray[np.int64]],
    rules: FlowRules,
    content_hash: str,
    tell: Callable[[str, float], None],
) -> int:
    """Write the stream of all captures; how many packets of stored flows are not in it.

    The key of its identities follows from the content, so that the same captures give the same files; no detector is
    told what it follows from.
    """
    key = hashlib.blake2b(content_hash.encode(), digest_size=KEY_BYTES, person=b"packet stream").digest()
    begin = absent = 0
    with StreamWriter(folder, key) as writer:
        for number, (name, shard) in enumerate(shards.items()):
            tell(f"packet stream of {name}", (1 + number / len(shards)) / 2 * (1 - MATCHING) + MATCHING)
            chosen = labelled[name]
            flow_of = np.full(shard.n_flows, -1, np.int64)
            flow_of[chosen] = np.arange(begin, begin + len(chosen))
            absent += int(shard.column("n_packets")[chosen].sum()) - writer.add(
                name, captures[name].path, rules, flow_of
            )
            begin += len(chosen)
    return absent


def flow_columns(flows: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Columns of ``columns.FLOW_COLUMNS`` after ``flow_id``, of flows as they were extracted."""
    keys, swapped = flows["keys"], flows["swapped"].astype(np.bool_)
    rest = keys[:, 4].astype(np.int64)
    version, ports = rest >> 40, (rest >> 16 & 0xFFFF, rest & 0xFFFF)
    lower, upper = keys[:, :2], keys[:, 2:4]
    return {
        "src_ip": address_column(version, np.where(swapped[:, None], upper, lower)),
        "src_port": np.where(swapped, ports[1], ports[0]).astype(np.uint16),
        "dst_ip": address_column(version, np.where(swapped[:, None], lower, upper)),
        "dst_port": np.where(swapped, ports[0], ports[1]).astype(np.uint16),
        "proto": (rest >> 32 & 0xFF).astype(np.uint8),
        "ts_start": flows["first"] / 1e9,
        "ts_end": flows["last"] / 1e9,
        "n_packets": flows["n_packets"],
    }


def address_column(version: NDArray[np.int64], words: NDArray[np.uint64]) -> pl.Series:
    """``addresses.texts`` as a column: of a flood with millions of drawn IPv4 addresses too."""
    low = pl.Series(words[:, 1])
    octets = pl.DataFrame([(low // (1 << shift) % 256).cast(pl.String).alias(str(shift)) for shift in (24, 16, 8, 0)])
    result = octets.select(pl.concat_str(pl.all(), separator=".")).to_series()
    is_v6 = version == 6
    if not is_v6.any():
        return result
    distinct, place = np.unique(words[is_v6], axis=0, return_inverse=True)
    texts = pl.Series(addresses.texts(np.full(len(distinct), 6), distinct))
    return result.scatter(np.flatnonzero(is_v6), texts[place.reshape(-1)])


def _account(shards: Mapping[str, Extracted], matched: Mapping[str, int]) -> dict[str, Any]:
    """What became of captures, packets and flows."""
    reports = {name: shard.report for name, shard in shards.items()}
    files = {
        name: {key: value for key, value in report.items() if key != "warnings"} | {"matched": matched[name]}
        for name, report in reports.items()
    }
    return {
        "unmatched_flows": sum(shard.n_flows for shard in shards.values()) - sum(matched.values()),
        "packets": {
            "read": sum(report["packets"] for report in reports.values()),
            "used": sum(report["used"] for report in reports.values()),
            "dropped": _total(shards, "dropped"),
            "noted": _total(shards, "noted"),
        },
        "warnings": [warning for report in reports.values() for warning in report["warnings"]],
        "files": files,
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "numba": numba.__version__,
            "polars": pl.__version__,
        },
    }
