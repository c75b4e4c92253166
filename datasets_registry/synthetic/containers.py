"""Capture files: classic pcap with microseconds or nanoseconds, and pcapng.

Formats: draft-ietf-opsawg-pcap (pcap) and draft-ietf-opsawg-pcapng (pcapng).
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets_registry.synthetic.frames import SNAPLEN, Frames

ETHERNET = 1
MICRO, NANO = 10**6, 10**9


@dataclass(frozen=True)
class Container:
    """A file format: ``write(file, frames, ticks)`` with times in ticks since the epoch, ``ticks`` of them a second."""

    suffix: str
    ticks: int
    write: Callable[[Path, Frames, NDArray[np.int64]], None]


def _write_pcap(magic: int, ticks: int) -> Callable[[Path, Frames, NDArray[np.int64]], None]:
    def write(file: Path, frames: Frames, times: NDArray[np.int64]) -> None:
        header = struct.pack("<IHHiIII", magic, 2, 4, 0, 0, SNAPLEN, ETHERNET)
        # (P, 4)
        records = np.stack([times // ticks, times % ticks, frames.captured, frames.length], axis=1).astype("<u4")
        rows = np.concatenate([records.view(np.uint8), frames.data], axis=1)  # (P, 16 + SNAPLEN)
        kept = np.arange(rows.shape[1]) < (16 + frames.captured)[:, None]
        file.write_bytes(header + rows[kept].tobytes())

    return write


def _write_pcapng(file: Path, frames: Frames, times: NDArray[np.int64]) -> None:
    section = struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
    options = struct.pack("<HHBxxxHH", 9, 1, 6, 0, 0)  # if_tsresol: 10^-6, then the end of the options
    interface = (
        struct.pack("<IIHHI", 1, 20 + len(options), ETHERNET, 0, SNAPLEN)
        + options
        + struct.pack("<I", 20 + len(options))
    )
    padded = (frames.captured + 3) // 4 * 4
    length = 32 + padded
    zero = np.zeros_like(times)
    # (P, 7)
    head = np.stack(
        [zero + 6, length, zero, times >> 32, times & 0xFFFFFFFF, frames.captured, frames.length], axis=1
    ).astype("<u4")
    # (P, 28 + SNAPLEN + 4)
    rows = np.concatenate([head.view(np.uint8), frames.data, np.zeros((len(times), 4), dtype=np.uint8)], axis=1)
    inside = np.arange(SNAPLEN) < frames.captured[:, None]
    rows[:, 28 : 28 + SNAPLEN] *= inside
    trailer = length.astype("<u4")[:, None].view(np.uint8)  # (P, 4)
    np.put_along_axis(rows, (28 + padded)[:, None] + np.arange(4), trailer, axis=1)
    kept = np.arange(rows.shape[1]) < length[:, None]
    file.write_bytes(section + interface + rows[kept].tobytes())


PCAP = Container(".pcap", MICRO, _write_pcap(0xA1B2C3D4, MICRO))
PCAP_NANOSECOND = Container(".pcap", NANO, _write_pcap(0xA1B23C4D, NANO))
PCAPNG = Container(".pcapng", MICRO, _write_pcapng)
