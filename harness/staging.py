"""What child processes see: flows without labels, in an order and under ids that tell nothing.

A *part* (some flows of a dataset for one purpose) is staged once: its form depends on the data's hash, the draw of the
partition and the part's name alone, so every detector that reads it sees the same flows in the same order, whatever
else is run, resumed or renamed.  It lies in one folder an input; a fit's own folder holds links to the inputs that its
detector declared, and to no others.
"""

import os
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from datasets_registry.registry import OpenDataset
from datasets_registry.store import FlowStore
from janus_bench.columns import FEATURE_INPUTS, PACKET_CHANNELS
from janus_bench.contract import FlowBatch, PacketStream
from janus_bench.files import remove_folder, write_array
from janus_bench.held import hold, is_dead, remove_if_dead
from janus_bench.ragged import starts_of
from janus_bench.records import key_of
from protocols.roles import AS_RECORDED, Surroundings, neighbours_of_part
from protocols.splits import Draw

Ids = NDArray[np.int64]

NEUTRAL_TOLERANCE = 0.005
NEUTRAL_DRAWS = 256
PREFIX = "janus-bench-"
BLOCK_FLOWS = 1 << 14  # Flows whose packets are in memory at a time while a part is written.
ORDER, IDS, CAPTURES = 0, 1, 2  # Each draw of a part has a generator of its own.


@dataclass(frozen=True)
class Part:
    """Flows of a dataset for one purpose; ``name`` as ``protocols.roles`` has it."""

    data_hash: str
    draw: Draw
    name: str

    @property
    def key(self) -> str:
        """Of all that decides its staged form.  The dataset's name is not part of it."""
        return key_of({"data": self.data_hash, "draw": asdict(self.draw), "part": self.name})

    def generator(self, purpose: int) -> np.random.Generator:
        """A generator that no other part and no other purpose shares."""
        return np.random.default_rng([int(self.key, 16), purpose])


@dataclass(frozen=True)
class Input:
    """One of ``columns.INPUTS``, or ``ids``, in the form in which it is staged.  A detector is told its name alone.

    own    of the stream: without the packets of other flows
    world  of the stream and of context: what was done to the neighbours
    """

    name: str
    own: bool = False
    world: Surroundings = AS_RECORDED

    @property
    def folder(self) -> str:
        """The same for equal ones only."""
        forms = {"own": self.own, **asdict(self.world)}
        return "-".join((self.name, *(f"{form}={value}" for form, value in forms.items() if value)))


@dataclass(frozen=True)
class Batch:
    """A part as a detector is given it."""

    part: Part
    inputs: tuple[Input, ...]

    @classmethod
    def of(cls, part: Part, inputs: frozenset[str], *, scored: bool, world: Surroundings = AS_RECORDED) -> Self:
        """``scored``: what a detector scores lies in whole captures; what it learns from has no packets of other flows
        around it."""
        around = world.around(part.name)
        forms = {
            "stream": Input("stream", own=not scored, world=Surroundings(overlay=around.overlay)),
            "context": Input("context", world=around),
        }
        return cls(part, (Input("ids"), *(forms.get(name, Input(name)) for name in sorted(inputs))))


class Stages:
    """The temporary folder of a run: parts that are there while some fit that waits needs them, and a folder for each
    fit at work.

    It is held until it is closed, by a lock that the kernel releases when the process dies: a process id tells nothing
    where several containers share the temporary folder.
    """

    def __init__(self, datasets: Iterable[OpenDataset], batches: Iterable[Batch], parent: Path | None = None) -> None:
        """``batches``: those of all fits to come, each as often as a fit asks for it; ``parent``: where its folder is
        made, in place of the temporary folder."""
        self.folder, self._held = new_stage(parent)
        self.written: Counter[tuple[Part, Input]] = Counter()
        self._datasets = {dataset.store.hash: dataset for dataset in datasets}
        self._waiting = Counter((batch.part, each) for batch in batches for each in batch.inputs)
        self._rows: dict[Part, Ids] = {}
        self._locks: dict[Part, threading.RLock] = {}
        self._lock = threading.Lock()
        self._fits = 0

    def open(self, batches: Mapping[str, Batch]) -> Path:
        """A new folder for a fit: ``in/<name>/`` for each of ``batches``, empty ``work/``, ``scratch/`` and
        ``out/``."""
        with self._lock:
            self._fits += 1
            folder = self.folder / "fits" / str(self._fits)
        for name in ("in", "work", "scratch", "out"):
            (folder / name).mkdir(parents=True)
        for name, batch in batches.items():
            for each in batch.inputs:
                self._link(batch.part, each, folder / "in" / name / each.name)
        return folder

    def flow_ids(self, part: Part) -> Ids:
        """Flow ids of a staged part, in its row order."""
        with self._lock_of(part):
            if part not in self._rows:
                self._rows[part] = _in_neutral_order(part, self._datasets[part.data_hash])
            return self._rows[part]

    def release(self, folder: Path | None, batches: Iterable[Batch]) -> None:
        """A fit has ended: its folder goes, and so does every input of a part that nobody waits for any more."""
        if folder is not None:
            remove_folder(folder)
        for part, each in ((batch.part, each) for batch in batches for each in batch.inputs):
            with self._lock:
                self._waiting[part, each] -= 1
                last = self._waiting[part, each] == 0
            if last:
                remove_folder(self._place(part, each))
            if last and each.name == "ids":
                self._rows.pop(part, None)

    def close(self) -> None:
        remove_folder(self.folder)
        if self._held is not None:
            os.close(self._held)

    def _place(self, part: Part, each: Input) -> Path:
        return self.folder / "parts" / part.key / each.folder

    def _lock_of(self, part: Part) -> threading.RLock:
        with self._lock:
            return self._locks.setdefault(part, threading.RLock())

    def _link(self, part: Part, each: Input, destination: Path) -> None:
        """The files of an input, written by whoever needs them first; the links share what is on disk and in the page
        cache."""
        place = self._place(part, each)
        with self._lock_of(part):
            rows = self.flow_ids(part)
            if not place.exists():
                beside = place.with_name(f"{each.folder}.part")
                beside.mkdir(parents=True)
                _write_input(beside, part, each, self._datasets[part.data_hash], rows)
                for file in beside.iterdir():
                    file.chmod(0o444)
                beside.rename(place)
                self.written[part, each] += 1
        destination.mkdir(parents=True)
        for file in place.iterdir():
            os.link(file, destination / file.name)


def _in_neutral_order(part: Part, dataset: OpenDataset) -> Ids:
    flow_ids = dataset.part(part.draw, part.name)
    attack, rng = dataset.index.attack[flow_ids], part.generator(ORDER)
    place = neutral_draw(lambda: rng.permutation(len(flow_ids)), attack)  # flow i goes to row place[i]
    return flow_ids[np.argsort(place)]


def neutral_draw(draw: Any, attack: NDArray[np.bool_]) -> NDArray[Any]:
    """``draw()`` until its values order attack against benign flows like a coin: |AUROC − ½| ≤ .005, or the best of 256
    draws.

    A plain shuffle of a few hundred flows favours one side by several hundredths by chance; re-randomisation (Morgan &
    Rubin, 2012) removes that, so a detector that scores by row or by id gets ½ in every cell.  Balance is all that a
    detector could learn from it.
    """
    best, best_distance = None, np.inf
    n_attack = int(attack.sum())
    pairs = n_attack * (len(attack) - n_attack)
    for _ in range(NEUTRAL_DRAWS if pairs else 1):
        values = draw()
        ranks = np.empty(len(values))
        ranks[np.argsort(values)] = np.arange(1, len(values) + 1)
        distance = abs((ranks[attack].sum() - n_attack * (n_attack + 1) / 2) / pairs - 0.5) if pairs else 0.0
        if distance < best_distance:
            best, best_distance = values, distance
        if distance <= NEUTRAL_TOLERANCE:
            break
    assert best is not None
    return best


def _write_input(folder: Path, part: Part, each: Input, dataset: OpenDataset, rows: Ids) -> None:
    """``ids.npy``; ``offsets.npy`` and ``<channel>.npy``; ``<features>.npy`` (n, columns); or ``<column>.npy`` of the
    stream."""
    store, attack, name = dataset.store, dataset.index.attack, each.name
    overlay = dataset.overlay(part.draw) if each.world.overlay else None
    if name == "ids":
        rng = part.generator(IDS)
        drawn = neutral_draw(lambda: rng.integers(1, 2**63, size=len(rows), dtype=np.uint64), attack[rows])
        write_array(folder / "ids.npy", drawn)
    elif name == "packets":
        _write_packets(folder, store, rows)
    elif name == "context":
        from datasets_registry.context import part_context

        there = neighbours_of_part(dataset.index, dataset.partition(part.draw), part.name, each.world.attacks_left)
        write_array(folder / "context.npy", part_context(store, rows, there, overlay).astype(np.float64))
    elif name in FEATURE_INPUTS:
        _write_features(folder / f"{name}.npy", store, rows, name, FEATURE_INPUTS[name])
    else:
        from datasets_registry.stream import part_stream

        rng = part.generator(CAPTURES)
        stream = part_stream(store, rows, attack, rng, training=each.own, overlay=overlay)
        for column in PacketStream.__dataclass_fields__:
            write_array(folder / f"{column}.npy", getattr(stream, column))


def stage_flows(folder: Path, flows: FlowBatch) -> None:
    """The new ``folder`` as a staged batch of flows that are in memory, with all inputs that they have."""
    (folder / "ids").mkdir(parents=True)
    write_array(folder / "ids" / "ids.npy", flows.ids)
    if flows.offsets is not None:
        (folder / "packets").mkdir()
        for name, column in {"offsets": flows.offsets, **flows.packets}.items():
            write_array(folder / "packets" / f"{name}.npy", column)
    for name, columns in FEATURE_INPUTS.items():
        if columns[0] in flows.features:
            (folder / name).mkdir()
            write_array(folder / name / f"{name}.npy", flows.feature_matrix(columns))


def _write_packets(folder: Path, store: FlowStore, rows: Ids) -> None:
    """Block by block, so that memory depends on the size of a block alone."""
    offsets = starts_of(store.packet_counts()[rows])
    write_array(folder / "offsets.npy", offsets)
    with ExitStack() as stack:
        files = {name: stack.enter_context((folder / f"{name}.npy").open("wb")) for name in PACKET_CHANNELS}
        for number, block in enumerate(store.blocks(rows, frozenset({"packets"}), BLOCK_FLOWS)):
            for name, file in files.items():
                column = np.ascontiguousarray(block.packets[name])
                if number == 0:
                    header = {
                        "descr": np.lib.format.dtype_to_descr(column.dtype),
                        "fortran_order": False,
                        "shape": (int(offsets[-1]),),
                    }
                    np.lib.format.write_array_header_1_0(file, header)
                file.write(column.data)


def _write_features(path: Path, store: FlowStore, rows: Ids, name: str, columns: Sequence[str]) -> None:
    """A shard of the store at a time: its table has to be decoded as a whole."""
    # all of it: a full disk is an error here, and where a map is written to it kills the process
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<f8", "fortran_order": False, "shape": (len(rows), len(columns))}
        )
        start = file.tell()
        for begin in range(0, len(rows), BLOCK_FLOWS):
            file.write(bytes(8 * len(columns) * min(BLOCK_FLOWS, len(rows) - begin)))
    if not len(rows):
        return
    matrix = np.memmap(path, np.float64, "r+", start, (len(rows), len(columns)))
    shard = np.searchsorted(store.begins, rows, side="right")
    for number in np.unique(shard):
        place = np.flatnonzero(shard == number)
        matrix[place] = store.take(
            rows[place], np.zeros(len(place), dtype=np.uint64), frozenset({name})
        ).feature_matrix()
    matrix.flush()


def new_stage(parent: Path | None = None) -> tuple[Path, int | None]:
    """A new folder (in ``parent``, or the temporary folder) that is held until what is returned with it is closed (None
    where a file system has no locks)."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=parent))
        with suppress(FileNotFoundError, BlockingIOError):  # it was seen before it was held, and taken for stale
            return folder, hold(folder)


def stale_stages(parent: Path | None = None) -> tuple[Path, ...]:
    """The stages (in ``parent``, or the temporary folder) of harness processes that were killed before they could
    delete them: those that nobody holds."""
    folders = sorted((parent or Path(tempfile.gettempdir())).glob(f"{PREFIX}[0-9]*-*"))
    return tuple(folder for folder in folders if is_dead(folder))


def remove_stale(parent: Path | None = None) -> None:
    """Delete them."""
    for folder in stale_stages(parent):
        remove_if_dead(folder)
