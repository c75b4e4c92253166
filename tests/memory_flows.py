"""All flows of a capture in memory, in the order of their first packets, for tests that look at them."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets_registry.capture.assemble import FileFlows
from datasets_registry.capture.extract import extract_flows
from datasets_registry.capture.reader import Scan
from datasets_registry.capture.rules import FlowRules
from janus_bench.ragged import positions, starts_of

PACKET_COLUMNS = ("size", "iat", "win", "bits")


def read_flows(path: Path, rules: FlowRules, *, whole: bool = False) -> tuple[Scan, FileFlows]:
    segments: list[FileFlows] = []
    scan = extract_flows(path, rules, segments, whole=whole)
    names = [field.name for field in fields(FileFlows) if getattr(segments[0], field.name) is not None]
    columns = {
        name: np.concatenate([getattr(segment, name) for segment in segments]) for name in names if name != "offsets"
    }
    flows = FileFlows(offsets=starts_of(np.concatenate([np.diff(segment.offsets) for segment in segments])), **columns)
    return scan, taken(flows, np.argsort(flows.serial))


def taken(flows: FileFlows, index: NDArray[np.int64]) -> FileFlows:
    """The flows at ``index``, in that order."""
    lengths = np.diff(flows.offsets)[index]
    packets = positions(flows.offsets[:-1][index], lengths)
    columns = {
        field.name: getattr(flows, field.name)
        for field in fields(FileFlows)
        if field.name not in ("offsets", *PACKET_COLUMNS)
    }
    own = {name: None if column is None else column[index] for name, column in columns.items()}
    return FileFlows(
        offsets=starts_of(lengths), **own, **{name: getattr(flows, name)[packets] for name in PACKET_COLUMNS}
    )
