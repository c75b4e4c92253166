"""``manifest.json`` of a dataset: what has to be in it, and of which type; what it means is in ``store``, ``ingest``
and ``sequences``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from janus_bench.stored import Unreadable, read_json

Counts = Mapping[str, int]


class ManifestPackets(TypedDict):
    """What became of all packets."""

    read: int
    used: int
    dropped: Counts
    noted: Counts


class ManifestFile(TypedDict):
    """What became of one capture's."""

    packets: int
    used: int
    dropped: Counts


class ManifestLabel(TypedDict):
    """What became of the rows of a label, and the flows that it has; labellers add counts of their own."""

    matched: int
    unmatched_rows: int
    ambiguous: int
    flows: int


class LabelRead(TypedDict):
    """What a label, as it is written, was read as, and in how many rows."""

    label: str
    attack: bool
    rows: int


class ManifestTable(TypedDict):
    """What became of the rows of a table without packets; ``left_out``, ``noted``: reason → rows."""

    rows: int
    used: int
    left_out: Counts
    noted: Counts


def is_table(manifest: Mapping[str, Any]) -> bool:
    """Whether it is of a dataset of named sets of features, made of a table without packets."""
    return "feature_sets" in manifest


class _MayBeThere(TypedDict, total=False):
    known_defects: Sequence[str]
    feature_sets: Sequence[str]
    grouping: str
    tables: Mapping[str, ManifestTable]
    labels_read: Mapping[str, LabelRead]
    sites: Mapping[str, tuple[int, int]]
    stream: bool
    packets_not_in_stream: int
    remove_mirrored: bool
    task: str
    citation: str


class Manifest(_MayBeThere):
    """The entries that anything here relies on; there may be others."""

    schema_version: int
    store_version: int
    name: str
    hash: str
    summary: str
    synthetic: bool
    licence: str
    n_flows: int
    benign: int
    attack: int
    shards: Sequence[int]
    cic_features: bool
    families: Mapping[str, tuple[int, int]]
    labels: Mapping[str, ManifestLabel]
    packets: ManifestPackets
    files: Mapping[str, ManifestFile]
    unmatched_flows: int
    warnings: Sequence[str]


class Account(TypedDict, total=False):
    """What a dense dataset may tell of where its flows came from (``sequences``)."""

    synthetic: bool
    licence: str
    citation: str
    labels: Mapping[str, ManifestLabel]
    packets: ManifestPackets
    files: Mapping[str, ManifestFile]
    unmatched_flows: int
    warnings: Sequence[str]
    remove_mirrored: bool
    idle_timeout_s: float
    active_timeout_s: float | None
    tcp_close: str
    versions: Mapping[str, str]


def read_manifest(path: Path, readable: Sequence[int]) -> Manifest | int:
    """The manifest, or the version of the store where it is not one of ``readable``; Unreadable says what is wrong with
    it."""
    found = read_json(path, Mapping[str, object])
    version = found.get("store_version", 1)
    if not isinstance(version, int):
        raise Unreadable(f"store_version is {version!r}")
    if version not in readable:
        return version
    manifest: Manifest = read_json(path, Manifest)
    if not manifest["shards"] or min(manifest["shards"]) < 1 or sum(manifest["shards"]) != manifest["n_flows"]:
        raise Unreadable("entries are missing, or n_flows and shards disagree")
    return manifest
