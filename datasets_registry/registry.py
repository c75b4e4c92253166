"""Datasets opened for running: where they live, how one is found or made, and how its flows are divided."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets_registry.manifest import is_table
from janus_bench import plugins
from janus_bench.errors import DataError, UsageError, unknown
from janus_bench.records import NOT_STATED, WITHOUT_PACKETS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from datasets_registry.overlay import Overlay
    from datasets_registry.store import FlowStore
    from janus_bench.extensions import Dataset
    from janus_bench.records import RunSpec
    from protocols.splits import Draw, Partition


Report = Callable[[str, float], None]


class OpenDataset:
    """A dataset opened for running: its store, what splits may look at (``index``), what the parent joins to scores
    (``truth``), its partitions.

    truth  flow_id, attack, family, source, site, group (the first of the captures that hold the same flows as the
           source: the unit of a bootstrap), n_packets
    """

    def __init__(self, store: FlowStore) -> None:
        import polars as pl

        from janus_bench.columns import FLOW_COLUMNS, LABEL_COLUMNS
        from protocols.flow_index import FlowIndex

        flows = store.flows([column for column in FLOW_COLUMNS if column != "ts_end"])
        labels = store.labels([column for column in LABEL_COLUMNS if column != "row"])
        self.store = store
        self.index = FlowIndex.from_tables(flows, labels, store.hash, store.name)
        group = pl.col("source").replace(self.index.same)
        self.truth = labels.select("flow_id", "attack", "family", "source", "site", group=group).join(
            flows.select("flow_id", "n_packets"), on="flow_id"
        )
        self._partitions: dict[Draw, Partition] = {}
        self._parts: dict[tuple[Draw, str], NDArray[np.int64]] = {}
        self._described: dict[Draw, dict[str, object]] = {}
        self._changed: dict[Draw, float] = {}

    def partition(self, draw: Draw) -> Partition:
        """Drawn once per declaration; a second thread that asks at the same time draws the same."""
        from protocols.splits import draw_partition

        if draw not in self._partitions:
            self._partitions[draw] = draw_partition(self.index, draw)
        return self._partitions[draw]

    def describe(self, draw: Draw) -> dict[str, object]:
        """A partition for tables and rows (``janus_bench.records.StoredPartition``), counted once per draw."""
        import polars as pl

        if draw not in self._described:
            partition = self.partition(draw)
            tested = self.truth.filter(pl.col("flow_id").is_in(partition.test))
            sites = tested.group_by("site").agg(benign=(~pl.col("attack")).sum(), attack=pl.col("attack").sum())
            of_sites = {row.pop("site"): row for row in sites.sort("site").iter_rows(named=True)}
            self._described[draw] = {**partition.describe(), "sites": of_sites}
        return self._described[draw]

    def part(self, draw: Draw, name: str) -> NDArray[np.int64]:
        """Flow ids of a part (``protocols.roles.flows_of_part``), found once per draw; not to be written to."""
        from protocols.roles import flows_of_part

        if (draw, name) not in self._parts:
            self._parts[draw, name] = flows_of_part(self.index, self.partition(draw), name, draw.seed)
        return self._parts[draw, name]

    def overlay(self, draw: Draw) -> Overlay:
        """Where the captures of a draw's test flows lie when those of a site lie over each other."""
        from datasets_registry.overlay import lay_over

        return lay_over(self.store, self.index, self.part(draw, "test"), draw.seed)

    def context_changed(self, draw: Draw) -> float:
        """Share of a draw's test flows whose context an overlay changes."""
        import numpy as np

        from datasets_registry.context import part_context

        if draw not in self._changed:
            rows, world = self.part(draw, "test"), np.ones(self.store.n_flows, np.bool_)
            plain, overlaid = (part_context(self.store, rows, world, each) for each in (None, self.overlay(draw)))
            self._changed[draw] = float((plain != overlaid).any(axis=1).mean())
        return self._changed[draw]


def draw_of(run: RunSpec) -> Draw:
    """What a run declares about its partitions."""
    from protocols.splits import Draw

    return Draw(run.seed, run.split, run.caps, run.train_size, run.contamination)


def home() -> Path:
    """Where datasets live: ``JANUS_BENCH_HOME``, or the platform's data folder.  UsageError for a file, in which there
    would seem to be none."""
    if chosen := os.environ.get("JANUS_BENCH_HOME"):
        folder = Path(chosen).expanduser()
        if folder.is_file():
            raise UsageError(f"{chosen}: is a file: name the folder that datasets are kept in with JANUS_BENCH_HOME")
        return folder
    import platformdirs

    return Path(platformdirs.user_data_dir("janus-bench"))


def dataset_folder(name: str) -> Path:
    return home() / "datasets" / name


def added() -> list[str]:
    """Names of the datasets that are in the home folder."""
    names = (path.parent.name for path in (home() / "datasets").glob("*/manifest.json"))
    return sorted(name for name in names if not name.startswith("."))  # a dot marks one that is still being written


def bytes_on_disk(folder: Path) -> int:
    """What the files below a folder hold together."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def unreadable() -> dict[str, str]:
    """Folders among the datasets that hold none that can be opened, and why: they must not vanish from a list in
    silence."""
    from datasets_registry.store import FlowStore

    found = {}
    place = home() / "datasets"
    for path in sorted(place.iterdir()) if place.is_dir() else ():
        if not path.name.startswith(".") and path.is_dir():
            try:
                FlowStore.open(path)
            except (DataError, OSError) as error:
                found[path.name] = str(error)
    return found


Overview = tuple[str, str, int | None, int | None, int | None, int | None, int | None, str | None, str]
OVERVIEW = ("dataset", "kind", "flows", "benign", "attack", "families", "bytes", "licence", "summary")


def overview() -> list[Overview]:
    """What ``OVERVIEW`` names, of datasets that are there, of what is there and cannot be read, and of those that a
    plugin can make; ``bytes`` on the disk."""
    from datasets_registry.store import FlowStore

    rows: list[Overview] = []
    names, damaged = added(), unreadable()
    for name in names:
        if name in damaged:
            continue
        folder = dataset_folder(name)
        manifest = FlowStore.open(folder).manifest
        kind = "synthetic" if manifest["synthetic"] else "table" if is_table(manifest) else "captures"
        numbers = (manifest["n_flows"], manifest["benign"], manifest["attack"], len(manifest["families"]))
        licence = manifest.get("licence", NOT_STATED)
        rows.append((name, kind, *numbers, bytes_on_disk(folder), licence, manifest["summary"]))
    nothing = (None, None, None, None)
    provided = plugins.datasets()
    rows += [
        (name, "unreadable", *nothing, bytes_on_disk(dataset_folder(name)), None, why)
        for name, why in damaged.items()
        if name not in provided
    ]
    for name, dataset in provided.items():
        if name not in names or name in damaged:
            kind = "synthetic" if dataset.synthetic else "captures"
            rows.append((name, kind, *nothing, None, dataset.licence, f"{dataset.summary} (made when first used)"))
    return rows


def synthetic_suite() -> list[str]:
    """The built-in datasets that ``run`` falls back on when none has been added."""
    from datasets_registry.plugin import janus_bench_datasets

    return [dataset.name for dataset in janus_bench_datasets()]


def open_dataset(name: str, report: Report) -> FlowStore:
    """An added dataset, or one that a plugin can write, made now if its current version is not there yet.  UsageError
    for any other name."""
    from datasets_registry.store import FlowStore

    provided = plugins.datasets().get(name)
    if provided is not None:
        return _made(provided) or make_dataset(provided, report)
    if name not in added():
        raise unknown(
            "dataset", name, {*added(), *plugins.datasets()}, f"Add one with: janus-bench data add {name} FOLDER"
        )
    return FlowStore.open(dataset_folder(name))


def make_dataset(dataset: Dataset, report: Report) -> FlowStore:
    """Let a plugin write its captures and labels into a temporary folder, and extract them like anyone else's.

    A process that makes the same one is waited for; what it has made counts.
    """
    from datasets_registry.ingest import ingest_folder
    from datasets_registry.making import making
    from datasets_registry.store import FlowStore

    destination = dataset_folder(dataset.name)
    report(f"{dataset.name}: writing captures", 0.0)
    with making(home() / "datasets", dataset.name, wait=True) as folder:
        if (made := _made(dataset)) is not None:
            return made
        captures = folder / "captures"
        shutil.rmtree(captures, ignore_errors=True)
        captures.mkdir()
        dataset.write(captures)
        ingest_folder(
            captures,
            destination,
            name=dataset.name,
            summary=_summary(dataset),
            synthetic=dataset.synthetic,
            licence=dataset.licence,
            cache=folder / "shards",
            stream=True,
            progress=lambda text, fraction: report(f"{dataset.name}: {text}", fraction),
        )
    return FlowStore.open(destination)


def _made(dataset: Dataset) -> FlowStore | None:
    """The dataset of a plugin in its current version, if it is there."""
    from datasets_registry.store import FlowStore, is_current

    folder = dataset_folder(dataset.name)
    if dataset.name in added() and is_current(folder):
        store = FlowStore.open(folder)
        return store if store.manifest["summary"] == _summary(dataset) else None
    return None


def _summary(dataset: Dataset) -> str:
    return f"{dataset.summary} (version {dataset.version})"


def load_datasets(names: Sequence[str], report: Report) -> dict[str, OpenDataset]:
    return {name: OpenDataset(open_dataset(name, report)) for name in names}


def sets_of(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """The sets of features that a dataset has, the one to be read first coming first."""
    if is_table(manifest):
        return tuple(manifest["feature_sets"])
    return ("features", "cic_features", "context") if manifest["cic_features"] else ("features", "context")


def shared_input(datasets: Mapping[str, OpenDataset]) -> str:
    """What detectors that read tables of features read where nothing else is asked for: the first set that all of the
    datasets have; ``features`` where they share none."""
    first, *others = (sets_of(dataset.store.manifest) for dataset in datasets.values())
    shared = [name for name in first if name != "context" and all(name in sets for sets in others)]
    return shared[0] if shared else "features"


def describe(datasets: Mapping[str, OpenDataset]) -> dict[str, dict[str, Any]]:
    """Datasets as a plan records them: hash, synthetic, summary, counts, licence and citation."""
    described, shared = {}, shared_input(datasets) if datasets else ""
    for name, dataset in datasets.items():
        manifest = dataset.store.manifest
        notes = list(manifest.get("known_defects", ()))
        if sets := manifest.get("feature_sets"):
            notes.append(
                f"{WITHOUT_PACKETS}, with {' and '.join(sets)}; {manifest['grouping']}; detectors on tables read "
                f"{shared} where nothing else is asked for"
            )
        if "cic_features" in (sets or ()) and not all(is_table(each.store.manifest) for each in datasets.values()):
            notes.append(
                "its cic_features are those of the tool that wrote the table; those of captures are computed anew and "
                "differ (docs/features.md)"
            )
        counts = {"flows": manifest["n_flows"], "benign": manifest["benign"], "attack": manifest["attack"]}
        about = {key: manifest[key] for key in ("hash", "synthetic", "summary")}
        described[name] = {
            **about,
            **counts,
            "notes": notes,
            "task": manifest.get("task", "attacks"),
            "licence": "" if manifest["licence"] == NOT_STATED else manifest["licence"],
            "citation": manifest.get("citation", ""),
        }
    return described
