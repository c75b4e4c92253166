"""Who trains, who calibrates, who is tested: one partition per (dataset, seed, split), the same for every detector and source.

Benign flows are divided 50 / 5 / 15 / 10 / 20 into train, val, cal A, cal B and test; attacks go to test only.  The unit that is never
divided is the session (one 5-tuple inside one capture file), and with ``split="grouped"`` the whole original capture.  With ``split="time"`` the
parts follow one another in time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from janus_bench.errors import DataError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["CAPS", "SHARES", "Caps", "Draw", "FlowIndex", "Partition", "control_parts", "draw_partition", "timeline_problem"]

SHARES = {"train": 0.50, "val": 0.05, "cal_a": 0.15, "cal_b": 0.10, "test": 0.20}
MIN_CAPTURES = 10
MIN_PART = 200
MIN_PER_FAMILY = 20
CLOCK_SET = 631_152_000.0
"""1990-01-01: a capture that begins earlier was made by a clock that was never set, most often to 1970."""
YEAR = 365.0 * 86_400
HOME_SHARE, HOME_FLOWS = 0.5, 20
"""Attacks are of the same site where at least this share of their flows involves a host with so many benign flows (or 1 % of them, if fewer)."""
CONTROL_TRAIN_SHARE = 0.8

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Caps:
    """The most flows a part may hold; None = all there are."""

    train: int | None
    cal_a: int | None
    cal_b: int | None
    test_benign: int | None
    test_attack: int | None


CAPS: Mapping[str, Caps] = {
    "quick": Caps(train=5_000, cal_a=2_000, cal_b=1_000, test_benign=2_000, test_attack=2_000),
    "paper": Caps(train=10_000, cal_a=None, cal_b=None, test_benign=None, test_attack=None),
    "conmd": Caps(train=10_000, cal_a=None, cal_b=None, test_benign=5_000, test_attack=5_000),
    "shafir": Caps(train=10_000, cal_a=None, cal_b=None, test_benign=10_000, test_attack=10_000),
}
"""By profile, and of published protocols: ConMD (10 K train, 5 K + 5 K test), Shafir (10 K train, 10 K + 10 K); JANUS's is ``paper``."""


@dataclass(frozen=True)
class Draw:
    """Everything that decides a dataset's partition.

    split          ``grouped`` (the rule of the protocols), ``random`` (for comparison only) or ``time`` (one site and one clock only)
    caps           name in ``CAPS``
    train_size     at most this many training flows; smaller sets are part of larger ones
    contamination  share of attack flows among the training flows.  Where it is not None, 0 included, half of the attack sessions of every family
                   are kept for training and never tested, so that all shares are tested on the same flows
    """

    seed: int
    split: str
    caps: str
    train_size: int | None = None
    contamination: float | None = None


@dataclass(frozen=True)
class FlowIndex:
    """What a split may look at, row-aligned by flow id: attack (n,) bool, family (n,) str, capture and session codes (n,) int64, start (n,) s.

    at_home  share of the attack flows with a host that has benign flows, too; None if unknown
    """

    attack: NDArray[np.bool_]
    family: NDArray[np.str_]
    capture: Ids
    session: Ids
    start: NDArray[np.float64]
    salt: int
    at_home: float | None = None
    name: str = "this dataset"

    @classmethod
    def from_tables(cls, flows: pl.DataFrame, labels: pl.DataFrame, data_hash: str, name: str = "this dataset") -> FlowIndex:
        """Build from ``flows.parquet`` and ``labels.parquet``; a session takes the capture of its first flow, so no session spans two captures."""
        import polars as pl

        ends = [pl.concat_str(pl.col(f"{side}_ip"), pl.col(f"{side}_port").cast(pl.String), separator="|") for side in ("src", "dst")]
        table = flows.select("flow_id", "proto", "ts_start", a=pl.min_horizontal(ends), b=pl.max_horizontal(ends)).join(labels, on="flow_id")
        table = table.sort("flow_id").with_columns(session=pl.struct("file", "a", "b", "proto").rank("dense").cast(pl.Int64) - 1)
        first = pl.col("source").sort_by("ts_start", "flow_id").first().over("session")
        table = table.with_columns(capture=first.rank("dense").cast(pl.Int64) - 1)
        return cls(
            attack=table["attack"].to_numpy(),
            family=table["family"].to_numpy().astype(np.str_),
            capture=table["capture"].to_numpy(),
            session=table["session"].to_numpy(),
            start=table["ts_start"].to_numpy(),
            salt=int(data_hash[:15], 16),
            at_home=_at_home(flows, labels),
            name=name,
        )


Kind = Literal["grouped", "time blocks", "random", "time"]


@dataclass(frozen=True)
class Partition:
    """Flow ids of every part, ascending.

    kind             how the benign flows were divided: ``grouped`` by capture, ``time blocks`` inside the captures, ``random``, or by ``time``
    reason           why it is not grouped, or what was left out, or empty
    contaminants     attack flows among the training flows
    parts            train, val, cal_a, cal_b, test_benign, test_attack → flow ids, capped
    uncapped         the same parts' sizes before the caps
    shared_captures  attack test flows whose capture also holds benign training flows
    """

    kind: Kind
    reason: str
    parts: Mapping[str, Ids]
    uncapped: Mapping[str, int]
    shared_captures: int
    contaminants: int = 0

    @property
    def test(self) -> Ids:
        return np.concatenate([self.parts["test_benign"], self.parts["test_attack"]])

    def describe(self) -> dict[str, object]:
        """For tables and rows: kind, reason, size of every part before and after the caps."""
        return {
            "kind": self.kind,
            "reason": self.reason,
            "sizes": {name: len(ids) for name, ids in self.parts.items()},
            "uncapped": dict(self.uncapped),
            "attacks_sharing_a_training_capture": self.shared_captures,
            "attacks_in_train": self.contaminants,
        }


def draw_partition(index: FlowIndex, draw: Draw, caps: Caps | None = None) -> Partition:
    """The partition of one dataset; ``caps`` by default those that the draw names.  DataError for a time split of what has no single timeline."""
    caps = caps or CAPS[draw.caps]
    benign = np.flatnonzero(~index.attack)
    rng = np.random.default_rng([draw.seed, index.salt])
    reason = ""
    kind: Kind
    attacks, pool = _reserved(index, draw.contamination is not None)
    if draw.split == "random":
        kind, divided = "random", _random_sessions(index, benign, rng)
    elif draw.split == "time":
        kind, divided = "time", _in_order(index, benign)
        late = attacks[index.start[attacks] >= index.start[divided["test"]].min(initial=np.inf)]
        crossing = len(benign) - sum(len(ids) for ids in divided.values())
        reason = f"{len(attacks) - len(late)} attack flows before the test period and {crossing} flows of sessions across a boundary are left out"
        attacks = late
    else:
        kind, divided, reason = _grouped_or_blocks(index, benign, rng)

    training_captures = np.unique(index.capture[divided["train"]])
    everything = {name: divided[name] for name in ("train", "val", "cal_a", "cal_b")} | {"test_benign": divided["test"], "test_attack": attacks}
    order = _id_hash(np.arange(len(index.attack)), index.salt)
    n_train = min([len(everything["train"]), *(size for size in (caps.train, draw.train_size) if size is not None)])
    contaminants = _lowest(pool, order, round((draw.contamination or 0.0) * n_train))
    parts = {
        "train": np.sort(np.concatenate([_lowest(everything["train"], order, n_train - len(contaminants)), contaminants])),
        "val": everything["val"],
        "cal_a": _lowest(everything["cal_a"], order, caps.cal_a),
        "cal_b": _lowest(everything["cal_b"], order, caps.cal_b),
        "test_benign": _lowest(everything["test_benign"], order, caps.test_benign),
        "test_attack": _stratified(everything["test_attack"], index.family, order, caps.test_attack),
    }
    shared = int(np.isin(index.capture[parts["test_attack"]], training_captures).sum())
    return Partition(kind, reason, parts, {name: len(ids) for name, ids in everything.items()}, shared, len(contaminants))


def baseline_parts(index: FlowIndex, cal_a: Ids, seed: int) -> dict[str, Ids]:
    """TEMPORARY, the branch on partitions brings its own."""
    rng = np.random.default_rng([seed, index.salt, 1])
    sessions, inverse, counts = np.unique(index.session[cal_a], return_inverse=True, return_counts=True)
    order = rng.permutation(len(sessions))
    before = np.concatenate([[0], np.cumsum(counts[order])[:-1]]) / max(1, len(cal_a))
    part = np.empty(len(sessions), dtype=np.int64)
    part[order] = np.searchsorted([50 / 70, 55 / 70], before, side="right")
    return {name: cal_a[part[inverse] == number] for number, name in enumerate(("train", "val", "cal_a"))}


def control_parts(index: FlowIndex, cal_a: Ids, seed: int) -> tuple[Ids, Ids]:
    """The target-only control's training and validation flows: 80 % and 20 % of cal A, whole sessions."""
    rng = np.random.default_rng([seed, index.salt, 1])
    sessions, inverse, counts = np.unique(index.session[cal_a], return_inverse=True, return_counts=True)
    order = rng.permutation(len(sessions))
    before = np.concatenate([[0], np.cumsum(counts[order])[:-1]])
    in_train = np.empty(len(sessions), dtype=bool)
    in_train[order] = before < CONTROL_TRAIN_SHARE * len(cal_a)
    return cal_a[in_train[inverse]], cal_a[~in_train[inverse]]


def _reserved(index: FlowIndex, reserve: bool) -> tuple[Ids, Ids]:
    """Attack flows to test, and those kept for contaminating the training flows: every other session of a family, in hash order."""
    attacks = np.flatnonzero(index.attack)
    if not reserve:
        return attacks, attacks[:0]
    sessions, first = np.unique(index.session[attacks], return_index=True)
    order = np.lexsort((_id_hash(sessions, index.salt), index.family[attacks[first]]))  # a session counts for the family of its first flow
    kept = np.isin(index.session[attacks], sessions[order][1::2])
    return attacks[~kept], attacks[kept]


def _grouped_or_blocks(index: FlowIndex, benign: Ids, rng: np.random.Generator) -> tuple[Kind, dict[str, Ids], str]:
    captures, counts = np.unique(index.capture[benign], return_counts=True)
    if len(captures) < MIN_CAPTURES:
        return "time blocks", _time_blocks(index, benign, rng), f"{len(captures)} benign captures, fewer than {MIN_CAPTURES}"
    grouped = _by_capture(index, benign, captures, counts, rng)
    smallest = min(grouped, key=lambda name: len(grouped[name]))
    if len(grouped[smallest]) < MIN_PART:
        reason = f"grouped by capture, {smallest} would hold {len(grouped[smallest])} flows, fewer than {MIN_PART}"
        return "time blocks", _time_blocks(index, benign, rng), reason
    return "grouped", grouped, ""


def _by_capture(index: FlowIndex, benign: Ids, captures: Ids, counts: Ids, rng: np.random.Generator) -> dict[str, Ids]:
    """Largest capture first, each into a part that still has room for it, drawn in proportion to that room; into the emptiest part if none has."""
    names = list(SHARES)
    room = np.array([SHARES[name] * len(benign) for name in names])
    part_of = {}
    for position in np.lexsort((rng.random(len(captures)), -counts)):
        fits = np.where(room >= counts[position], room, 0.0)
        part = int(rng.choice(len(names), p=fits / fits.sum())) if fits.any() else int(np.argmax(room))
        part_of[int(captures[position])] = part
        room[part] -= counts[position]
    parts = np.array([part_of[int(capture)] for capture in index.capture[benign]])
    return {name: benign[parts == number] for number, name in enumerate(names)}


def _time_blocks(index: FlowIndex, benign: Ids, rng: np.random.Generator) -> dict[str, Ids]:
    """Inside every capture, contiguous blocks of time in a drawn order: whole sessions, in the order in which they begin."""
    names = list(SHARES)
    chosen: dict[str, list[Ids]] = {name: [] for name in names}
    for capture in np.unique(index.capture[benign]):
        flows = benign[index.capture[benign] == capture]
        flows = flows[np.lexsort((flows, index.start[flows]))]
        order = rng.permutation(len(names))
        shares = np.array([SHARES[names[number]] for number in order])
        # the random offset rounds each boundary up or down in proportion, so that many small captures still add up to the shares
        edges = np.floor(np.cumsum(shares) * len(flows) + rng.random())
        _, first, inverse, counts = np.unique(index.session[flows], return_index=True, return_inverse=True, return_counts=True)
        by_start = np.argsort(first)
        middle = np.empty(len(first))
        middle[by_start] = np.cumsum(counts[by_start]) - counts[by_start] / 2
        block = np.minimum(np.searchsorted(edges, middle, side="right"), len(names) - 1)[inverse]
        for position, number in enumerate(order):
            chosen[names[number]].append(flows[block == position])
    return {name: np.sort(np.concatenate(flows)) if flows else np.empty(0, dtype=np.int64) for name, flows in chosen.items()}


def _in_order(index: FlowIndex, benign: Ids) -> dict[str, Ids]:
    """Parts one after the other in time; a flow whose session began in an earlier part is left out, so that neither time nor sessions overlap."""
    if reason := timeline_problem(index):
        raise DataError(f"{index.name} cannot be divided by time, which needs one site and one clock: {reason}; choose other --datasets")
    names = list(SHARES)
    flows = benign[np.lexsort((benign, index.start[benign]))]
    edges = np.round(np.cumsum(list(SHARES.values())) * len(flows))
    part = np.minimum(np.searchsorted(edges, np.arange(len(flows)), side="right"), len(names) - 1)
    _, first, session = np.unique(index.session[flows], return_index=True, return_inverse=True)
    whole = part == part[first][session]  # ``first``: the session's earliest flow, as flows are in order
    return {name: np.sort(flows[whole & (part == number)]) for number, name in enumerate(names)}


def timeline_problem(index: FlowIndex) -> str:
    """Why a dataset is not of one site and one clock, as far as its flows tell; empty if nothing speaks against it."""
    unset = int(np.count_nonzero(index.start < CLOCK_SET))
    if unset:
        return f"{unset} flows begin before 1990, by a clock that was not set"
    pauses = int(np.count_nonzero(np.diff(np.sort(index.start)) > YEAR))
    if pauses:
        return f"its flows lie in {pauses + 1} periods more than a year apart"
    if index.at_home is not None and index.at_home < HOME_SHARE:
        return f"only {index.at_home:.0%} of its attack flows involve a host that also has benign traffic"
    return ""


def _at_home(flows: pl.DataFrame, labels: pl.DataFrame) -> float | None:
    """See ``FlowIndex``; None without attacks."""
    import polars as pl

    table = flows.select("flow_id", "src_ip", "dst_ip").join(labels.select("flow_id", "attack"), on="flow_id")
    benign, attacks = table.filter(~pl.col("attack")), table.filter("attack")
    if attacks.is_empty():
        return None
    hosts = pl.concat([benign["src_ip"], benign["dst_ip"]]).value_counts(name="flows")
    enough = min(HOME_FLOWS, max(1, len(benign) // 100))
    known = hosts.filter(pl.col("flows") >= enough).to_series(0)
    return float(attacks.select((pl.col("src_ip").is_in(known.implode()) | pl.col("dst_ip").is_in(known.implode())).mean()).item())


def _random_sessions(index: FlowIndex, benign: Ids, rng: np.random.Generator) -> dict[str, Ids]:
    names = list(SHARES)
    sessions, inverse, counts = np.unique(index.session[benign], return_inverse=True, return_counts=True)
    order = rng.permutation(len(sessions))
    before = np.concatenate([[0], np.cumsum(counts[order])[:-1]])
    part = np.empty(len(sessions), dtype=np.int64)
    part[order] = np.minimum(np.searchsorted(np.cumsum(list(SHARES.values())) * len(benign), before, side="right"), len(names) - 1)
    return {name: benign[part[inverse] == number] for number, name in enumerate(names)}


def _id_hash(ids: Ids, salt: int) -> NDArray[np.uint64]:
    """A fixed pseudo-random order of flow ids (splitmix64), so that a cap picks the same flows on every machine."""
    with np.errstate(over="ignore"):
        mixed = ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(salt)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _lowest(ids: Ids, order: NDArray[np.uint64], cap: int | None) -> Ids:
    if cap is None or len(ids) <= cap:
        return np.sort(ids)
    return np.sort(ids[np.argsort(order[ids], kind="stable")[:cap]])


def _stratified(ids: Ids, family: NDArray[np.str_], order: NDArray[np.uint64], cap: int | None) -> Ids:
    """At most ``cap`` flows, families in proportion but none below ``MIN_PER_FAMILY`` while it has as many."""
    if cap is None or len(ids) <= cap:
        return np.sort(ids)
    names, counts = np.unique(family[ids], return_counts=True)
    floor = np.minimum(counts, min(MIN_PER_FAMILY, cap // len(names)))
    spare = counts - floor
    exact = floor + spare * ((cap - floor.sum()) / spare.sum())
    quota = np.floor(exact).astype(np.int64)
    quota[np.argsort(quota - exact, kind="stable")[: cap - quota.sum()]] += 1
    chosen = [_lowest(ids[family[ids] == name], order, int(number)) for name, number in zip(names, quota, strict=True)]
    return np.sort(np.concatenate(chosen))
