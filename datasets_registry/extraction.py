"""Captures → extracted shards: the flows of one capture on disk, written as they leave the extractor and kept for as
long as nothing changes.

A shard is a folder of raw little-endian columns, flows in the order in which they ended, and ``shard.json``.  It is
written aside and renamed when it is complete, so a killed extraction loses the files that it was reading and no other.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock, Timer
from typing import Any, BinaryIO, TypedDict

import numpy as np
from numpy.typing import NDArray

from datasets_registry.capture import kernels
from datasets_registry.capture.assemble import FileFlows
from datasets_registry.capture.cicflowmeter import cic_features
from datasets_registry.capture.extract import extract_flows
from datasets_registry.capture.reader import Scan
from datasets_registry.capture.rules import FlowRules
from datasets_registry.capture.tunnels import NAMES, tunnelled
from datasets_registry.writing import replacing
from janus_bench.columns import CIC_FEATURES, PACKET_ARRAYS
from janus_bench.ragged import positions, starts_of
from janus_bench.stored import read_json, regular

EXTRACTION_VERSION = 2
"""Changes when a capture gives other flows than before, or a shard's layout changes; shards of another version are made
again."""

DESCRIPTION = "shard.json"
PATIENCE_S = 2.0
"""After so long somebody wants to know what is going on."""
AT_A_TIME = 1 << 12  # flows whose accumulators become features: 2.5 MB
MIRRORED_WARNING = 0.05  # a mirrored share that is worth a warning

FLOW_ARRAYS = {
    "keys": ("<u8", 5),
    "macs": ("<u8", 2),
    "swapped": ("|u1", 1),
    **dict.fromkeys(("first", "last", "n_packets"), ("<i8", 1)),
}
FLOW_ARRAYS |= {"stored": ("|u1", 1), "order": ("<i8", 1), "cic": ("<f4", len(CIC_FEATURES))}
"""Columns per flow: those of ``FileFlows``; ``stored``: packets that are kept; ``order``: place of the flow that began
first, second, …"""

ARRAYS = FLOW_ARRAYS | {name: (np.dtype(dtype).newbyteorder("<").str, 1) for name, dtype in PACKET_ARRAYS.items()}


@dataclass(frozen=True)
class CaptureFile:
    """A capture, and the group of captures that it is labelled with."""

    path: Path
    group: str


class _ShardWriter:
    """The sink of one capture's flows."""

    def __init__(self, folder: Path) -> None:
        self._files: dict[str, BinaryIO] = {name: (folder / name).open("wb") for name in ARRAYS}
        self._folder = folder
        self.clear()

    def clear(self) -> None:
        self.n_flows = self.n_packets = 0
        self.tunnelled = np.zeros(len(NAMES), np.int64)
        self._serials: list[NDArray[np.int64]] = []
        self._sums = dict.fromkeys(ARRAYS, 0)
        for file in self._files.values():
            file.seek(0)
            file.truncate()

    def append(self, flows: FileFlows, /) -> None:
        self._serials.append(flows.serial.copy())
        self.n_flows += len(flows)
        self.n_packets += int(flows.offsets[-1])
        self.tunnelled += tunnelled(flows.keys, flows.n_packets)
        self._write("stored", np.diff(flows.offsets))
        assert flows.whole is not None
        protocol = (flows.keys[:, 4] >> np.uint64(32)).astype(np.int64) & 0xFF
        for begin in range(0, len(flows), AT_A_TIME):
            some = slice(begin, begin + AT_A_TIME)
            self._write("cic", cic_features(flows.whole[some], protocol[some]))
        for name in ("keys", "macs", "swapped", "first", "last", "n_packets", *PACKET_ARRAYS):
            self._write(name, getattr(flows, name))

    def finish(self, description: Mapping[str, Any]) -> None:
        """Write what is left, and ``description`` beside it."""
        self._write("order", np.argsort(np.concatenate(self._serials), kind="stable"))
        self.close()
        sums = {name: f"{total:08x}" for name, total in self._sums.items()}
        text = json.dumps(
            {**description, "n_flows": self.n_flows, "n_packets": self.n_packets, "crc32": sums}, indent=1
        )
        (self._folder / DESCRIPTION).write_text(text, encoding="utf-8")

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    def _write(self, name: str, values: NDArray[Any]) -> None:
        data = np.ascontiguousarray(values, ARRAYS[name][0]).reshape(-1).data
        self._sums[name] = zlib.crc32(data, self._sums[name])
        self._files[name].write(data)


class _Report(TypedDict):
    """Of a capture, as ``_report`` makes it."""

    format: str
    link_types: Sequence[int]
    packets: int
    used: int
    dropped: Mapping[str, int]
    noted: Mapping[str, int]
    mirrored_share: float
    flows: int
    warnings: Sequence[str]


class _Description(TypedDict):
    made_from: Mapping[str, Any]
    report: _Report
    n_flows: int
    n_packets: int
    crc32: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Flows:
    """n flows read back: columns (n,) or (n, width) as in ``FLOW_ARRAYS``, offsets (n + 1,) into packets as in
    ``columns.PACKET_ARRAYS``."""

    columns: Mapping[str, NDArray[Any]]
    offsets: NDArray[np.int64]
    packets: Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Extracted:
    """The flows of one capture, in the order of their first packets; arrays are mapped for one use.

    report: what became of its packets, as a manifest records it.
    """

    name: str
    folder: Path
    n_flows: int
    n_packets: int
    report: Mapping[str, Any]

    @classmethod
    def open(cls, name: str, folder: Path, made_from: Mapping[str, Any]) -> Extracted | None:
        """A finished shard; None if there is none, if it is damaged, or if it was made from something else than
        ``made_from``."""
        try:
            found: _Description = read_json(folder / DESCRIPTION, _Description)
            if found["made_from"] != made_from or any(
                _crc32(folder / column) != total for column, total in found["crc32"].items()
            ):
                return None
            if found["crc32"].keys() != ARRAYS.keys():
                return None
            shard = cls(name, folder, found["n_flows"], found["n_packets"], found["report"])
            for column in ARRAYS:
                shard._mapped(column)
            return shard
        except (OSError, ValueError):
            return None

    def column(self, name: str, word: int | None = None) -> NDArray[Any]:
        """A column of all flows, or one of those that it consists of, (n_flows,)."""
        values = self._mapped(name)
        return np.asarray((values if word is None else values[:, word])[self._mapped("order")])

    def reader(self) -> Callable[[NDArray[np.int64]], Flows]:
        """``take(chosen)``: the flows at these positions, in that order.  It holds 16 bytes for each flow of the
        capture."""
        order = np.array(self._mapped("order"))
        starts = starts_of(self._mapped("stored"))
        names = [name for name in FLOW_ARRAYS if name not in ("stored", "order")]

        def take(chosen: NDArray[np.int64]) -> Flows:
            places = order[chosen]
            begins = starts[places]
            lengths = starts[places + 1] - begins
            source = positions(begins, lengths)
            packets = {name: np.asarray(self._mapped(name)[source]) for name in PACKET_ARRAYS}
            return Flows({name: np.asarray(self._mapped(name)[places]) for name in names}, starts_of(lengths), packets)

        return take

    def _mapped(self, name: str) -> NDArray[Any]:
        dtype, width = ARRAYS[name]
        rows = self.n_packets if name in PACKET_ARRAYS else self.n_flows
        shape = (rows, width) if width > 1 else (rows,)
        if (self.folder / name).stat().st_size != rows * width * np.dtype(dtype).itemsize:
            raise ValueError(f"{name} is not of {rows} rows")
        return np.memmap(self.folder / name, dtype, "r", shape=shape) if rows else np.empty(shape, dtype)


def _crc32(path: Path) -> str:
    total = 0
    regular(path)
    with path.open("rb") as file:
        while data := file.read(1 << 20):
            total = zlib.crc32(data, total)
    return f"{total:08x}"


def extract_all(
    captures: Mapping[str, CaptureFile], rules: FlowRules, cache: Path, jobs: int, tell: Callable[[str, float], None]
) -> dict[str, Extracted]:
    """The shards of the captures in the folder ``cache``, in the order of their names; only those that are not there
    yet are extracted.

    ``jobs`` captures are read at a time.  ``tell(text, fraction)`` is called as bytes of them have been read.
    """
    sizes = {name: file.path.stat().st_size for name, file in captures.items()}
    total, done, lock = max(sum(sizes.values()), 1), 0, Lock()
    given_up = Event()  # The others are not read to their ends where one has failed, or somebody has interrupted.

    def one(name: str) -> Extracted:
        def advance(n_bytes: int) -> None:
            nonlocal done
            if given_up.is_set():
                raise CancelledError
            with lock:
                done += n_bytes
                tell(f"reading {name}", min(done / total, 1.0))

        stat = captures[name].path.stat()
        made_from = {
            "version": EXTRACTION_VERSION,
            "name": name,
            "size": stat.st_size,
            "mtime_ns": stat.st_mtime_ns,
            **rules.described(),
        }
        folder = cache / hashlib.sha256(name.encode()).hexdigest()[:24]
        shard = Extracted.open(name, folder, made_from)
        if shard is None:
            return _extract(name, captures[name].path, rules, folder, made_from, advance)
        advance(sizes[name])
        return shard

    def explain() -> None:
        if not kernels.scan.signatures:  # neither compiled by this process nor read from numba's cache
            tell("loading the packet decoder, which is compiled for this computer once after an installation", 0.0)

    patience = Timer(PATIENCE_S, explain)
    patience.daemon = True
    patience.start()
    # In threads: decoding and assembly release the interpreter lock, and nothing has to be copied between processes.
    with ThreadPoolExecutor(max(jobs, 1)) as pool:
        # Largest first, so that no long file is left to a single worker at the end.
        order = sorted(captures, key=lambda name: (-sizes[name], name))
        futures = [pool.submit(one, name) for name in order]
        try:
            shards = [future.result() for future in as_completed(futures)]
        except BaseException:
            given_up.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        finally:
            patience.cancel()
    return {shard.name: shard for shard in sorted(shards, key=lambda shard: shard.name)}


def _extract(
    name: str, path: Path, rules: FlowRules, folder: Path, made_from: Mapping[str, Any], advance: Callable[[int], None]
) -> Extracted:
    with replacing(folder) as staged:
        writer = _ShardWriter(staged)
        try:
            scan = extract_flows(path, rules, writer, advance, whole=True)
            report = _report(name, scan, rules, writer)
            writer.finish({"made_from": made_from, "report": report})
        finally:
            writer.close()
    return Extracted(name, folder, writer.n_flows, writer.n_packets, report)


def _report(name: str, scan: Scan, rules: FlowRules, writer: _ShardWriter) -> dict[str, Any]:
    tunnels = zip(NAMES[1:], writer.tunnelled[1:].tolist(), strict=True)
    noted = scan.noted | {f"tunnel_{tunnel}": count for tunnel, count in tunnels if count}
    if scan.out_of_order:
        noted["out_of_order"] = scan.out_of_order
    return {
        "format": scan.format,
        "link_types": list(scan.link_types),
        "packets": scan.records,
        "used": scan.used,
        "dropped": scan.dropped,
        "noted": noted,
        "mirrored_share": round(scan.mirrored / _ip_packets(scan), 4),  # a half if every packet is there twice
        "flows": writer.n_flows,
        "warnings": _warnings(name, scan, rules),
    }


def _ip_packets(scan: Scan) -> int:
    """Of the file, second copies included; at least 1."""
    return max(scan.used + scan.dropped.get("mirrored", 0), 1)


def _warnings(name: str, scan: Scan, rules: FlowRules) -> list[str]:
    said = []
    if scan.format == "nothing":
        said.append(f"{name}: empty, or cut off before its first packet")
    elif not scan.records:
        said.append(f"{name}: no packets")
    elif not scan.used:
        said.append(f"{name}: none of its {scan.records} packets can be used ({say_counts(scan.dropped)})")
    # Copies without an IP identification may be a sender's repeats (docs/audits.md): they are counted, and warn of
    # nothing.
    share = scan.identified / _ip_packets(scan)
    if share >= MIRRORED_WARNING and not rules.remove_mirrored:
        said.append(
            f"{name}: {share:.0%} of its packets are second copies of the one before (captured twice?); they were kept"
        )
    if "nanoseconds_in_a_file_of_microseconds" in scan.noted:
        said.append(
            f"{name}: fractions of a second of 1 000 000 and more under the magic number of microseconds: read "
            "as nanoseconds"
        )
    for number, what in (
        (scan.dropped.get("bad_timestamp", 0), "have a time that cannot be, and were left out"),
        (
            scan.noted.get("length_beyond_record", 0),
            "are longer by their IP header than by their record; the header was believed",
        ),
        (
            scan.noted.get("odd_original_length", 0),
            "have a length on the wire that cannot be; what was captured was taken for it",
        ),
    ):
        if number:
            said.append(f"{name}: {number} of its {scan.records} packets {what}")
    for reason, what in (
        ("cut_by_end_of_file", "ends inside a packet record"),
        ("corrupt_record", "holds a corrupt record; what follows it was not read"),
        ("corrupt_compression", "is damaged in its compression; what follows was not read"),
    ):
        if reason in scan.dropped:
            said.append(f"{name}: {what}")
    return said


def say_counts(counts: Mapping[str, int]) -> str:
    """Counts by reason as one phrase."""
    return ", ".join(f"{reason} {count}" for reason, count in counts.items()) or "none"
