"""The packet stream of a dataset: every record of its captures, in capture order, with keyed identities and the flow that it belongs to.

What a flow store leaves out (ARP, packets beyond a flow's first 64, the order across flows) is what detectors on packet streams read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from datasets_registry.capture.frames import KEYS, Flows, file_flows
from datasets_registry.capture.records import read_rows
from datasets_registry.labelling.labels_csv import KEY_COLUMNS
from janus_bench.errors import DataError

__all__ = ["COLUMNS", "KEY_BYTES", "Stream", "StreamWriter", "build_stream", "open_stream"]

KEY_BYTES = 16
"""Length of a dataset's key: draw it with ``secrets.token_bytes`` and keep it where no detector reads."""

COLUMNS: Mapping[str, Any] = {"time": np.float64, "size": np.uint32, **dict.fromkeys(KEYS, np.uint64), "flow": np.int64}
"""Columns of a stream and their types."""

CAPTURES_FILE = "captures.json"


@dataclass(frozen=True, eq=False)
class Stream:
    """P records in capture order; identities are SipHash-2-4 of Kitsune's key texts (``capture.frames``) under the dataset's key.

    time  (P,) float64, seconds since the epoch; size (P,) uint32, bytes on the wire
    sender, source, destination, channel, source_socket, destination_socket  (P,) uint64
    flow  (P,) int64, the ``flow_id`` of the flow that the packet belongs to, or -1
    """

    time: NDArray[np.float64]
    size: NDArray[np.uint32]
    sender: NDArray[np.uint64]
    source: NDArray[np.uint64]
    destination: NDArray[np.uint64]
    channel: NDArray[np.uint64]
    source_socket: NDArray[np.uint64]
    destination_socket: NDArray[np.uint64]
    flow: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.time)


def build_stream(path: Path, flows: pl.DataFrame, key: bytes) -> Stream:
    """The stream of one capture: pcap or pcapng, plain or packed with gzip or zstd; what follows damage is left out, as it is from the flows.

    ``flows``: the capture's flows: ``KEY_COLUMNS`` (UInt64), first and last (Int64 ns, inclusive), flow_id (Int64 ≥ 0); ``key``: ``KEY_BYTES`` bytes.
    Of two flows of one 5-tuple whose times overlap a packet gets the one that began later.  DataError if the file cannot be read or is not a capture.
    """
    if len(key) != KEY_BYTES:
        raise ValueError(f"the key of a stream has {KEY_BYTES} bytes, not {len(key)}")
    rows = read_rows(path, _filed(flows), np.frombuffer(key, "<u8").astype(np.uint64))
    keys = {name: np.ascontiguousarray(rows.keys[:, column]) for column, name in enumerate(KEYS)}
    return Stream(time=rows.time, size=rows.size, flow=rows.flow, **keys)


def _filed(flows: pl.DataFrame) -> Flows:
    ordered = flows.select(*KEY_COLUMNS, "first", "last", "flow_id").sort(*KEY_COLUMNS, "first")
    slots = 1 << (2 * ordered.height).bit_length()
    keys = np.ascontiguousarray(ordered.select(KEY_COLUMNS).to_numpy().astype(np.uint64))  # (F, 5)
    first, last, flow_id = (ordered[name].cast(pl.Int64).to_numpy().copy() for name in ("first", "last", "flow_id"))
    filed = Flows(keys, first, last, flow_id, table=np.full(slots, -1, np.int64))
    file_flows(filed)
    return filed


class StreamWriter:
    """Writes the new folder of a stream: one ``COLUMN.npy`` for all captures together and ``captures.json`` (name → [begin, end) of its packets).

    Use it as a context manager and ``add`` the captures in turn; left without an exception, the folder is complete; otherwise ``open_stream``
    refuses it.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._files: dict[str, IO[bytes]] = {}
        self._captures: dict[str, tuple[int, int]] = {}
        self._packets = 0

    def __enter__(self) -> Self:
        self._files = {name: (self._folder / f"{name}.npy").open("wb") for name in COLUMNS}
        self._write_headers()
        return self

    def add(self, capture: str, stream: Stream) -> None:
        """Append the packets of ``capture``, a name that is new."""
        if capture in self._captures:
            raise ValueError(f"capture {capture!r} is in the stream already")
        for name, file in self._files.items():
            np.ascontiguousarray(getattr(stream, name), COLUMNS[name]).tofile(file)
        self._captures[capture] = (self._packets, self._packets + len(stream))
        self._packets += len(stream)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self._write_headers()
        for file in self._files.values():
            file.close()
        if kind is None:
            (self._folder / CAPTURES_FILE).write_text(json.dumps(self._captures, indent=1))

    def _write_headers(self) -> None:
        """NumPy leaves room for a longer first axis, so that the header of the final length fits where that of none was."""
        for name, file in self._files.items():
            file.seek(0)
            description = {"descr": np.lib.format.dtype_to_descr(np.dtype(COLUMNS[name])), "fortran_order": False, "shape": (self._packets,)}
            np.lib.format.write_array_header_1_0(file, description)
            file.seek(0, 2)


def open_stream(folder: Path) -> tuple[Stream, dict[str, range]]:
    """A written stream, memory-mapped, and the packets of each capture in it; DataError if it is not there or not complete."""
    try:
        captures = {name: range(*ends) for name, ends in json.loads((folder / CAPTURES_FILE).read_text()).items()}
        mode: Any = "r" if any(captures.values()) else None  # an empty file cannot be mapped
        stream = Stream(*(np.load(folder / f"{field.name}.npy", mmap_mode=mode) for field in fields(Stream)))
    except (OSError, ValueError) as error:
        raise DataError(f"{folder}: no complete packet stream ({error}); ingest the dataset again") from None
    return stream, captures
