"""The packet stream of a dataset: every frame of its captures, in capture order, with keyed identities and the flow
that it belongs to.

What a flow store leaves out (ARP, packets beyond a flow's first 64, the order across flows) is what detectors on packet
streams read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from datasets_registry.overlay import Overlay, Shift
from janus_bench.contract import PacketStream
from janus_bench.errors import DataError
from janus_bench.stored import Unreadable, read_array, read_json

if TYPE_CHECKING:
    from datasets_registry.capture.names import Rows
    from datasets_registry.capture.rules import FlowRules
    from datasets_registry.store import FlowStore

KEY_BYTES = 16  # Length of a dataset's key: draw it with ``secrets.token_bytes`` and keep it where no detector reads.

KEYS = ("sender", "source", "destination", "channel", "source_socket", "destination_socket")
COLUMNS: Mapping[str, Any] = {"time": np.float64, "size": np.uint32, **dict.fromkeys(KEYS, np.uint64), "flow": np.int64}
"""Columns of a stream, (P,) each for P frames in capture order, and their types; what they mean is in
``contract.PacketStream``, but ``time`` is in seconds since the epoch and ``flow`` the ``flow_id`` in the store.
Identities are SipHash-2-4 of Kitsune's names (``capture.names``) under the dataset's key."""

Stream = Mapping[str, NDArray[Any]]

CAPTURES_FILE = "captures.json"


class StreamWriter:
    """Writes the new folder of a stream: one ``COLUMN.npy`` for all captures together and ``captures.json`` (name →
    [begin, end) of its packets).

    ``key``: ``KEY_BYTES`` bytes.  Use it as a context manager and ``add`` the captures in turn; left without an
    exception, the folder is complete; otherwise ``open_stream`` refuses it.  Rows go to the disk as they are decoded:
    the length of a capture does not decide about memory.
    """

    def __init__(self, folder: Path, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"the key of a stream has {KEY_BYTES} bytes, not {len(key)}")
        folder.mkdir(parents=True)
        self._folder, self._key = folder, np.frombuffer(key, "<u8").astype(np.uint64)
        self._files: dict[str, IO[bytes]] = {}
        self._captures: dict[str, tuple[int, int]] = {}
        self._packets = 0

    def __enter__(self) -> Self:
        self._files = {name: (self._folder / f"{name}.npy").open("w+b") for name in COLUMNS}
        self._write_headers()
        return self

    def add(self, capture: str, path: Path, rules: FlowRules, flow_of: NDArray[np.int64]) -> int:
        """Append the packets of the capture at ``path`` (pcap or pcapng, plain or packed), ``capture`` being a new
        name; how many belong to a flow.

        ``rules``: those that its flows were made by.  ``flow_of`` (F,): the ``flow_id`` of each of its flows in the
        order of their first packets, -1 for one that is not stored.  DataError if the file cannot be read, is not a
        capture, or is another than that with the F flows.
        """
        from datasets_registry.capture.extract import stream_rows

        if capture in self._captures:
            raise ValueError(f"capture {capture!r} is in the stream already")
        rows = _CaptureRows(self._key, self._files, flow_of)
        if stream_rows(path, rules, rows) != len(flow_of):
            raise DataError(f"{path}: its flows are not those that were read before; has it changed?")
        self._captures[capture] = (self._packets, self._packets + rows.n_rows)
        self._packets += rows.n_rows
        return rows.attached

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._write_headers()
        for file in self._files.values():
            file.close()
        if kind is None:
            (self._folder / CAPTURES_FILE).write_text(json.dumps(self._captures, indent=1))

    def _write_headers(self) -> None:
        """NumPy leaves room for a longer first axis, so that the header of the final length fits where that of none
        was."""
        for name, file in self._files.items():
            file.seek(0)
            description = {
                "descr": np.lib.format.dtype_to_descr(np.dtype(COLUMNS[name])),
                "fortran_order": False,
                "shape": (self._packets,),
            }
            np.lib.format.write_array_header_1_0(file, description)
            file.seek(0, 2)


class _CaptureRows:
    """Takes the rows of one capture and appends them to the files of a stream."""

    def __init__(self, secret: NDArray[np.uint64], files: Mapping[str, IO[bytes]], flow_of: NDArray[np.int64]) -> None:
        self.secret = secret
        self._files, self._begins = files, {name: file.tell() for name, file in files.items()}
        self._flow_of = np.append(flow_of, -1)  # the last one for packets of no flow
        self.n_rows = self.attached = 0

    def append(self, rows: Rows, /) -> None:
        columns = {"time": rows.time, "size": rows.size, "flow": self._flows(rows.flow)}
        for name, values in (columns | dict(zip(KEYS, rows.keys.T, strict=True))).items():
            self._files[name].write(np.ascontiguousarray(values, COLUMNS[name]).data)
        self.n_rows += len(rows.time)

    def attach(self, rows: NDArray[np.int64], serials: NDArray[np.int64], /) -> None:
        if not self.n_rows:
            return
        file = self._files["flow"]
        file.flush()
        flow = np.memmap(file, COLUMNS["flow"], "r+", self._begins["flow"], (self.n_rows,))
        flow[rows] = self._flows(serials)

    def clear(self) -> None:
        for name, file in self._files.items():
            file.seek(self._begins[name])
            file.truncate()
        self.n_rows = self.attached = 0

    def _flows(self, serials: NDArray[np.int64]) -> NDArray[np.int64]:
        """Their ids; a serial number beyond the flows that there should be is noticed when the capture has been
        read."""
        ids = self._flow_of[np.minimum(serials, len(self._flow_of) - 1)]
        self.attached += int(np.count_nonzero(ids >= 0))
        return ids


def open_stream(folder: Path) -> tuple[Stream, dict[str, range]]:
    """The ``COLUMNS`` of a written stream, memory-mapped, and the packets of each capture in it; DataError if it is not
    there or not complete."""
    try:
        captures = {
            name: range(*ends)
            for name, ends in read_json(folder / CAPTURES_FILE, Mapping[str, tuple[int, int]]).items()
        }
        stream = {name: read_array(folder / f"{name}.npy") for name in COLUMNS}
        if any(column.dtype != COLUMNS[name] or column.ndim != 1 for name, column in stream.items()):
            raise Unreadable("its columns have other types")
        if any(not 0 <= one.start <= one.stop <= min(map(len, stream.values())) for one in captures.values()):
            raise Unreadable("its columns are not as long as its captures")
    except Unreadable as error:
        raise DataError(f"{folder}: no complete packet stream ({error}); ingest the dataset again") from None
    return stream, captures


def part_stream(
    store: FlowStore,
    flow_ids: NDArray[np.int64],
    attack: NDArray[np.bool_],
    rng: np.random.Generator,
    *,
    training: bool,
    overlay: Overlay | None = None,
) -> PacketStream:
    """The captures that the flows ``flow_ids`` (n,) are part of, ``flow`` being positions in ``flow_ids``.

    attack (flows of the store,); ``overlay``: captures that lie over others, those of a site being one.  At scoring a
    capture is there as it is.  For training only packets of these flows stay, and packets of no flow at all in captures
    without an attack.  Captures come in a drawn order and their clocks start at 0: file names and dates tell labels.
    """
    stored, captures = open_stream(store.folder / "stream")
    row = np.full(store.n_flows + 1, -1)  # the last one for packets of no flow
    row[flow_ids] = np.arange(len(flow_ids))
    no_packets = {name: np.asarray(column[:0]) for name, column in stored.items()}
    parts: list[dict[str, NDArray[Any]]] = [{**no_packets, "capture": np.zeros(0, dtype=np.int32)}]
    for names in _drawn(captures, overlay or {}, rng):
        part = _together(
            [{key: np.asarray(column[_slice(captures[name])]) for key, column in stored.items()} for name in names],
            [overlay[name] for name in names] if overlay and names[0] in overlay else None,
        )
        of_store = part["flow"]
        flow = row[of_store]
        if not (flow >= 0).any():
            continue
        kept = np.ones(len(flow), dtype=bool)
        if training:
            kept = (flow >= 0) | ((of_store < 0) & ~attack[of_store[of_store >= 0]].any())
        number = np.full(len(flow), len(parts) - 1, dtype=np.int32)
        part |= {"time": part["time"] - part["time"][0], "capture": number, "flow": flow}
        parts.append({name: column[kept] for name, column in part.items()})
    return PacketStream(**{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def _drawn(captures: Iterable[str], overlay: Overlay, rng: np.random.Generator) -> list[list[str]]:
    """The captures in a drawn order, those that lie over each other together."""
    together: dict[object, list[str]] = {}
    for name in rng.permutation(sorted(captures)).tolist():
        together.setdefault(overlay[name].site if name in overlay else name, []).append(name)
    return list(together.values())


def _slice(packets: range) -> slice:
    return slice(packets.start, packets.stop)


def _together(parts: Sequence[Mapping[str, NDArray[Any]]], places: Sequence[Shift] | None) -> dict[str, NDArray[Any]]:
    """Captures as one, on the clock of their site; each keeps its own order, which need not be that of its times."""
    if places is None:
        return dict(parts[0])
    times = [(part["time"] - place.first) + place.offset for part, place in zip(parts, places, strict=True)]
    order = np.argsort(np.concatenate([np.maximum.accumulate(time) for time in times]), kind="stable")
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return {name: column[order] for name, column in (whole | {"time": np.concatenate(times)}).items()}
