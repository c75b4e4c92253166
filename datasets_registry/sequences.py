"""Dense packet sequences (``packets.npz`` with ``flows.parquet``, see ``datasets_registry.export``) → a flow store.

``packets.npz`` holds one array [N, T, 9], of any type, with the channels of ``contract.PACKET_CHANNELS`` in their
units; only the first 64 packets are kept.  ``flows.parquet`` is row-aligned with it and has src_ip, src_port, dst_ip,
dst_port, proto, ts_start (s) and label; what else a store has is taken from it or from the packets (n_packets is cut to
T where T is below 64).  The 20 features are always computed from the packets.
"""

import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from datasets_registry.block import FLOW_FIELDS, LABEL_FIELDS, Block
from datasets_registry.capture.rules import FlowRules
from datasets_registry.folders import take_provenance
from datasets_registry.labelling.benign import benign_warnings
from datasets_registry.manifest import Account
from datasets_registry.store import FULL_STORE
from datasets_registry.writing import StoreWriter, replacing
from janus_bench.columns import BIT_OF, CIC_FEATURES, DISCRETE_CHANNELS, MAX_PACKETS, PACKET_CHANNELS
from janus_bench.errors import DataError
from janus_bench.quiet import ignore
from janus_bench.ragged import starts_of
from janus_bench.records import NOT_STATED
from janus_bench.stored import Unreadable, first_line, npy_header, read_json, read_table

DENSE_FLOWS = 1 << 13
MAX_SECONDS, MAX_COUNT = 9_000_000_000, 1 << 53
SKIPPED_AT_A_TIME = 1 << 20
UNREADABLE = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError, struct.error, OSError, EOFError),
    *(ValueError, TypeError, KeyError, OverflowError, RuntimeError),  # the last: it wants a password
)
"""What damaged archives raise."""
REQUIRED = ("src_ip", "src_port", "dst_ip", "dst_port", "proto", "ts_start", "label")
TYPES: dict[str, pl.DataType] = {
    **{name: pl.String() for name in ("src_ip", "dst_ip", "label", "family", "source", "file", "site")},
    **{name: pl.UInt16() for name in ("src_port", "dst_port")},
    **{name: pl.Float64() for name in ("ts_start", "ts_end")},
    **{name: pl.Int64() for name in ("n_packets", "row")},
    "proto": pl.UInt8(),
    "attack": pl.Boolean(),
}
UNKNOWN: dict[str, Any] = {
    "synthetic": False,
    "licence": NOT_STATED,
    **FlowRules().described(),
    "labels": {},
    "unmatched_flows": 0,
}
UNKNOWN |= {"packets": {"read": 0, "used": 0, "dropped": {}, "noted": {}}, "warnings": [], "files": {}, "versions": {}}
"""What ``dataset.json`` may tell of where the flows came from, and what is written where it does not."""


@dataclass(frozen=True)
class _Part:
    """Files that are row-aligned; the last may be missing."""

    packets: Path
    flows: Path
    cic: Path


def _parts(folder: Path) -> list[_Part]:
    """The parts of a dense dataset; none if there is no such thing in the folder."""
    if (folder / "packets.npz").is_file():
        suffixes, folder = [""], folder
    else:
        folder = folder / FULL_STORE if (folder / FULL_STORE).is_dir() else folder
        suffixes = sorted(
            path.name.removeprefix("packets").removesuffix(".npz") for path in folder.glob("packets-*.npz")
        )
    names = ("packets{}.npz", "flows{}.parquet", "cic_features{}.parquet")
    return [_Part(*(folder / name.format(suffix) for name in names)) for suffix in suffixes]


def holds_sequences(folder: Path) -> bool:
    """Is this a folder for ``ingest_sequences``?"""
    return bool(_parts(folder))


def ingest_sequences(
    folder: Path,
    destination: Path,
    *,
    name: str,
    summary: str = "",
    about: Mapping[str, str] | None = None,
    progress: Callable[[str, float], None] = ignore,
) -> dict[str, Any]:
    """Write the sequences of ``folder`` as a flow store to ``destination`` (replacing one there), and return its
    manifest.

    ``about``: licence and citation, where they are not to be those that came with the sequences.

    DataError says which file or value is wrong.  Memory: 8192 padded flows, and the ``flows.parquet`` of one part.
    """
    parts = _parts(folder)
    if not parts:
        raise DataError(f"{folder}: no packets.npz and no {FULL_STORE}/packets-*.npz")
    account = _account(folder) | dict(about or {})
    with replacing(destination) as staged:
        writer = StoreWriter(staged)
        for number, part in enumerate(parts):
            for block in _blocks(part, with_cic=parts[0].cic.is_file()):
                writer.add(block)
                progress(f"reading {part.packets.name}", number / len(parts))
        if not writer.counts.n_flows:
            raise DataError(f"{folder}: no flows")
        counts = writer.counts.by_label()
        rows = {
            label: account["labels"].get(label, {"matched": flows, "unmatched_rows": 0, "ambiguous": 0})
            for label, flows in counts.items()
        }
        labels = {label: {**row, "flows": counts.get(label, 0)} for label, row in (account["labels"] | rows).items()}
        warnings = [*account["warnings"], *benign_warnings(writer.counts.by_class(), option=False)]
        # those that came with an exported dataset are there already
        account["warnings"] = list(dict.fromkeys(warnings))
        take_provenance(folder, staged)
        manifest = writer.finish({**account, "name": name, "summary": summary, "stream": False, "labels": labels})
    progress("done", 1.0)
    return manifest


def _account(folder: Path) -> dict[str, Any]:
    path = folder / "dataset.json"
    if not path.is_file():
        return dict(UNKNOWN)
    try:
        told = read_json(path, Account)
    except Unreadable as error:
        raise DataError(f"{path}: not the description of a dataset ({error})") from None
    account = {key: told.get(key, default) for key, default in UNKNOWN.items()}
    if "citation" in told:
        account["citation"] = told["citation"]
    return account | {"packets": UNKNOWN["packets"] | account["packets"]}


def _blocks(part: _Part, *, with_cic: bool) -> Iterator[Block]:
    flows = _flows(part.flows)
    cic = _cic(part.cic, flows.height) if with_cic else None
    begin = 0
    for dense in _dense(part.packets, flows.height):
        end = begin + len(dense)
        yield _block(part, begin, dense, flows[begin:end], None if cic is None else cic[begin:end])
        begin = end


def _flows(path: Path) -> pl.DataFrame:
    """``flows.parquet`` with the types of a store; optional columns that it has not are null, except what follows from
    others."""
    frame = _read(path)
    missing = [name for name in REQUIRED if name not in frame.columns]
    if missing:
        raise DataError(f"{path}: missing column {', '.join(missing)}; required are {', '.join(REQUIRED)}")
    number = frame["flow_id"] if "flow_id" in frame.columns else pl.Series([], dtype=pl.Int64)
    if len(number) and not number.dtype.is_numeric():
        raise DataError(f"{path}: flow_id holds {number.dtype}, expected a number")
    if len(number) and not (
        number.dtype.is_integer()
        and not number.null_count()
        and (np.diff(number.to_numpy().astype(np.float64)) == 1).all()
    ):
        raise DataError(f"{path}: flow_id does not rise by 1: its rows are not those of the packets")
    columns = []
    for name, dtype in TYPES.items():
        if name not in frame.columns:
            columns.append(pl.lit(None, dtype).alias(name))
            continue
        found = frame[name]
        if found.null_count() or (dtype.is_numeric() and not found.dtype.is_numeric()):
            raise DataError(
                f"{path}: column {name} has {found.null_count()} missing values and holds {found.dtype}, "
                f"expected {dtype}"
            )
        try:
            columns.append(pl.lit(found.cast(dtype)).alias(name))
        except pl.exceptions.PolarsError as error:
            raise DataError(f"{path}: column {name}: {str(error).splitlines()[0]}") from None
    _check_flows(path, frame)
    file = pl.coalesce("file", pl.lit(path.name))
    return frame.select(columns).with_columns(
        pl.coalesce("attack", pl.col("label").str.to_lowercase() != "benign").alias("attack"),
        pl.coalesce("family", "label").alias("family"),
        file.alias("file"),
        pl.coalesce("source", file).alias("source"),
        pl.coalesce("row", pl.int_range(pl.len(), dtype=pl.Int64)).alias("row"),
        pl.col("site").fill_null(""),
    )


def _check_flows(path: Path, frame: pl.DataFrame) -> None:
    """DataError for a time, a count or a label that cannot be: none of them may become a feature, or a class."""
    time = pl.col("ts_start").cast(pl.Float64)
    checks = {
        "ts_start": (
            ~(time.is_finite() & time.is_between(0, MAX_SECONDS)),
            f"seconds since the epoch, up to {MAX_SECONDS}",
        )
    }
    if "ts_end" in frame.columns:
        end = pl.col("ts_end").cast(pl.Float64)
        checks["ts_end"] = (
            ~(end.is_finite() & (end >= time) & (end <= MAX_SECONDS)),
            "seconds since the epoch, not before ts_start",
        )
    if "n_packets" in frame.columns:
        checks["n_packets"] = ~pl.col("n_packets").is_between(1, MAX_COUNT), f"a count from 1 to {MAX_COUNT}"
    checks["label"] = pl.col("label").cast(pl.String).str.strip_chars() == "", "a text"
    for name, (wrong, expected) in checks.items():
        rows = frame.select(wrong.fill_null(False)).to_series().arg_true()
        if len(rows):
            raise DataError(f"{path}: row {rows[0]}: {name} is {frame[name][rows[0]]!r}; expected {expected}")


def _read(path: Path) -> pl.DataFrame:
    try:
        return read_table(path)
    except Unreadable as error:
        raise DataError(f"{path}: cannot be read ({error})") from None


def _cic(path: Path, n_flows: int) -> NDArray[np.float32]:
    frame = _read(path)
    missing = [name for name in CIC_FEATURES if name not in frame.columns]
    if missing or frame.height != n_flows:
        raise DataError(
            f"{path}: {frame.height} rows for {n_flows} flows; missing columns: {', '.join(missing) or 'none'}"
        )
    if texts := [name for name in CIC_FEATURES if not frame[name].dtype.is_numeric()]:
        raise DataError(f"{path}: column {texts[0]} holds {frame[texts[0]].dtype}, expected numbers")
    values = frame.select(CIC_FEATURES).to_numpy().astype(np.float32)
    if not (finite := np.isfinite(values)).all():
        row, column = np.argwhere(~finite)[0]
        raise DataError(f"{path}: row {row}: {CIC_FEATURES[column]} is {values[row, column]}; expected a finite number")
    return values


def _dense(path: Path, n_flows: int) -> Iterator[NDArray[Any]]:
    """The one array [N, T, 9] of a ``.npz``, some flows at a time: numpy itself would read all of it."""
    try:
        with zipfile.ZipFile(path) as archive:
            found = []
            for name in archive.namelist():
                found.append((name, *_header(archive, name)))
            fitting = [
                (name, shape, dtype)
                for name, shape, dtype in found
                if len(shape) == 3 and shape[2] == len(PACKET_CHANNELS)
            ]
            if len(fitting) != 1 or fitting[0][1][0] != n_flows:
                shapes = ", ".join(f"{name.removesuffix('.npy')} {shape}" for name, shape, _ in found)
                raise DataError(
                    f"{path}: expected one array [{n_flows}, T, {len(PACKET_CHANNELS)}], one row a flow of "
                    f"flows.parquet; found {shapes}"
                )
            ((name, shape, dtype),) = fitting
            if dtype.kind not in "iuf" or not shape[1]:
                raise DataError(
                    f"{path}: {name.removesuffix('.npy')} holds {dtype} {shape}, expected numbers of one "
                    "packet a flow or more"
                )
            width = min(shape[1], MAX_PACKETS)
            kept, beyond = (packets * shape[2] * dtype.itemsize for packets in (width, shape[1] - width))
            with archive.open(name) as member:
                npy_header(member)
                for begin in range(0, n_flows, DENSE_FLOWS):
                    rows = min(DENSE_FLOWS, n_flows - begin)
                    read = _read_rows(member, rows, kept, beyond)
                    dense = np.frombuffer(read, dtype).reshape(rows, width, shape[2])
                    # 65 535 is beyond half
                    yield dense.astype(np.float32) if dtype.itemsize == 2 and dtype.kind == "f" else dense
    except UNREADABLE as error:
        raise DataError(f"{path}: not a readable .npz ({first_line(error)})") from None


def _read_rows(member: IO[bytes], rows: int, kept: int, beyond: int) -> bytes:
    """The first ``kept`` bytes of each row; the other ``beyond`` may be any number, in a file that packs a million
    zeros into a kilobyte."""
    if not beyond:
        return member.read(rows * kept)
    found = []
    for _ in range(rows):
        found.append(member.read(kept))
        left = beyond
        while left and (read := len(member.read(min(left, SKIPPED_AT_A_TIME)))):
            left -= read
    return b"".join(found)


def _header(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    with archive.open(name) as member:
        shape, fortran_order, dtype = npy_header(member)
    if len(shape) == 3 and (fortran_order or dtype.hasobject):
        raise ValueError("an array in Fortran order or of objects")
    return shape, dtype


def _block(part: _Part, begin: int, dense: NDArray[Any], flows: pl.DataFrame, cic: NDArray[np.float32] | None) -> Block:
    """Flows ``begin`` … of a part; dense (n, T, 9), T at most 64."""
    width = dense.shape[1]
    filled = (dense != 0).any(axis=2)  # (n, T)
    lengths = np.maximum(width - np.argmax(filled[:, ::-1], axis=1), 1)
    lengths[~filled.any(axis=1)] = 1
    n_packets = lengths
    if not flows["n_packets"].is_null().all():
        n_packets = np.maximum(flows["n_packets"].to_numpy(), 1)
        lengths = np.minimum(n_packets, width)
    valid = np.arange(width) < lengths[:, None]  # (n, T)
    if (filled & ~valid).any():
        row = begin + int(np.argmax((filled & ~valid).any(axis=1)))
        raise DataError(f"{part.packets}: flow {row} has packets beyond the n_packets of {part.flows.name}")
    channels = {name: dense[:, :, place][valid] for place, name in enumerate(PACKET_CHANNELS)}  # (packets,) each
    offsets = starts_of(lengths)
    _check_channels(part, begin, channels, offsets)
    bits = np.zeros(offsets[-1], np.uint8)
    for name in DISCRETE_CHANNELS:
        bits |= channels[name].astype(np.uint8) << np.uint8(BIT_OF[name])
    iat = channels["iat"].astype(np.float32)
    iat[offsets[:-1]] = 0  # before its first packet a flow has no gap
    packets = {
        "size": channels["size"].astype(np.uint16),
        "iat": iat,
        "win": channels["win"].astype(np.uint16),
        "bits": bits,
    }
    duration = pl.Series(np.add.reduceat(iat.astype(np.float64), offsets[:-1]) / 1e6)
    end = pl.coalesce("ts_end", pl.col("ts_start") + duration)
    flows = flows.with_columns(
        end.alias("ts_end"), pl.Series("n_packets", n_packets if width == MAX_PACKETS else lengths, pl.Int64)
    )
    return Block(offsets, packets, flows.select(FLOW_FIELDS), flows.select(LABEL_FIELDS), cic)


def _check_channels(part: _Part, begin: int, channels: dict[str, NDArray[Any]], offsets: NDArray[np.int64]) -> None:
    whole = {"size": 65535, "win": 65535, **dict.fromkeys(DISCRETE_CHANNELS, 1)}
    for name, values in channels.items():
        wrong = ~np.isfinite(values) | (values < 0)
        if name == "iat":
            wrong |= values > np.finfo(np.float32).max
        if name in whole:
            wrong |= (values > whole[name]) | (values != np.floor(values))
        if wrong.any():
            place = int(np.argmax(wrong))
            flow = begin + int(np.searchsorted(offsets, place, side="right")) - 1
            expected = f"a whole number from 0 to {whole[name]}" if name in whole else "a number of µs from 0"
            raise DataError(f"{part.packets}: flow {flow} has {name} {values[place]:g}; expected {expected}")
