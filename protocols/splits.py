"""Who trains, who calibrates, who is tested: one partition per (dataset, seed, split), the same for every detector and
source.

Benign flows are divided 50 / 5 / 15 / 10 / 20 into train, val, cal A, cal B and test, site by site; attacks go to test
only.  The unit that is never divided is the session (``FlowIndex.session``), and with ``split="grouped"`` the whole
original capture.  With ``split="time"`` the parts follow one another in time; with ``split="drift"`` those of the
earliest day do, and every later day is tested.  Every site, and everything else that is
drawn, has its own generator, made from the content of the dataset, the seed and what it is for: what one draws changes
nothing for the others.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from janus_bench.errors import DataError
from janus_bench.hashing import GOLDEN, splitmix64
from janus_bench.words import counted
from protocols.flow_index import FlowIndex, Ids

SHARES = {"train": 0.50, "val": 0.05, "cal_a": 0.15, "cal_b": 0.10, "test": 0.20}
FIRST_DAY = {"train": 0.50, "val": 0.05, "cal_a": 0.15, "cal_b": 0.30}
"""Of the earliest day, where only later ones are tested: as operators' models are divided."""
ONE_IN_100 = 100
MIN_CAPTURES = 10
MIN_PART = 200
MIN_PER_FAMILY, MIN_PER_SITE = 20, 200
"""Test flows that a cap leaves to a family of attacks, and to the benign flows of a site: a rate at 1 % false positives
within a site needs 200."""
CLOCK_SET = 631_152_000.0
"""1990-01-01: a capture that begins earlier was made by a clock that was never set, most often to 1970."""
DAY = 86_400.0
YEAR = 365.0 * DAY
HOME_SHARE = 0.5
"""Attacks are of the same site where at least this share of their flows involves a host of it
(``FlowIndex.at_home``)."""
BASELINE_SHARES = {"train": 50, "val": 5, "cal_a": 15}
"""Of cal A: what training, validation and aggregator calibration have of all benign flows, in the same proportions."""
FEW_FOR_THRESHOLDS, FEW_TESTED = 1000, 200
"""Calibration flows below which a threshold at 1 % false alarms rests on fewer than ten of them, and benign test flows
below which a single one is half a percent."""
FEWEST_FLOWS = 2
"""A part with fewer flows cannot train, calibrate or test anything: its cells are skipped, with the reason."""
BASELINE_DRAWS = 100
"""How often the baseline's sessions are drawn until each of its parts has so many flows."""


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
CAPS = {**CAPS, **{f"fit-{name}": replace(CAPS[name], cal_b=None, test_benign=None) for name in ("quick", "paper")}}
"""By profile, and of published protocols: ConMD (10 K train, 5 K + 5 K test), Shafir (10 K train, 10 K + 10 K); JANUS's
is ``paper``.  ``fit-…``: of captures without labels, where all other benign flows set thresholds."""


@dataclass(frozen=True)
class Draw:
    """Everything that decides a dataset's partition.

    split          ``grouped`` (the rule of the protocols), ``random`` (for comparison only), or ``time`` and ``drift``
                   (one site and one clock only)
    caps           name in ``CAPS``
    train_size     at most this many training flows; smaller sets are part of larger ones
    contamination  share of attack flows among the training flows.  Where it is not None, 0 included, half of the attack
                   sessions of every family are kept for training and never tested, so that all shares are tested on the
                   same flows
    """

    seed: int
    split: str
    caps: str
    train_size: int | None = None
    contamination: float | None = None


Kind = Literal["grouped", "time blocks", "grouped and time blocks", "random", "time", "drift"]


@dataclass(frozen=True)
class Partition:
    """Flow ids of every part, ascending.

    kind             how the benign flows were divided: ``grouped`` by capture, ``time blocks`` inside the captures,
                     some sites the one way and some the other (``grouped and time blocks``), ``random``, by ``time``,
                     or by days (``drift``)
    reason           why it is not grouped, and in which of several sites; or what was left out; or empty
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


def small_parts(parts: Mapping[str, Ids]) -> dict[str, str]:
    """The parts that are too small for the numbers that are made of them → why, in a phrase."""
    thresholds, tested = len(parts["cal_b"]), len(parts["test_benign"])
    found = {}
    if thresholds < FEW_FOR_THRESHOLDS:
        rests = f"a threshold at 1% false alarms rests on the {thresholds // 100} highest of them"
        none = "there is no threshold at 1% false alarms, which needs 100"
        found["cal_b"] = f"{thresholds} calibration flows for thresholds: {rests if thresholds >= 100 else none}"
    if tested < FEW_TESTED:
        found["test_benign"] = f"{tested} benign test flows: with so few, even an AUROC of 1.000 would mean little"
    return found


def draw_partition(index: FlowIndex, draw: Draw, caps: Caps | None = None) -> Partition:
    """The partition of one dataset; ``caps`` by default those that the draw names.  DataError for a time split of what
    has no single timeline."""
    caps = caps or CAPS[draw.caps]
    benign = np.flatnonzero(~index.attack)
    reason = ""
    kind: Kind
    attacks, pool = _reserved(index, draw.contamination is not None)
    # A session that holds attack flows, too, cannot train a detector that is tested on them.
    attacked = np.zeros(len(index.attack), np.bool_)
    attacked[index.session[index.attack]] = True
    apart = benign[~attacked[index.session[benign]]]
    if draw.split in ("time", "drift"):
        _check_timeline(index)
        kind, divided = (
            ("time", _in_order(index, apart, SHARES)) if draw.split == "time" else ("drift", _by_day(index, apart))
        )
        tested_from = index.start[divided["test"]].min(initial=np.inf)
        if draw.split == "drift":
            tested_from = np.floor(tested_from / DAY) * DAY
        late = attacks[index.start[attacks] >= tested_from]
        crossing = len(benign) - sum(len(ids) for ids in divided.values())
        learned = divided["train"]
        reason = (
            f"{len(attacks) - len(late)} attack flows before the test period and {crossing} flows of sessions "
            "across a boundary are left out"
        )
        if (
            draw.split == "drift"
            and (more := int((tested_from - np.floor(index.start[learned].min() / DAY) * DAY) // DAY)) > 1
        ):
            reason += f"; {more} days train and calibrate, since the first has too few flows for a threshold at P99"
        attacks = late
    else:
        if draw.split == "random":
            kind, divided = "random", _by_session(index, apart, SHARES, _generator(index, draw.seed))
        else:
            kind, divided, reason = _by_site(index, apart, draw.seed)
        divided["test"] = np.concatenate([divided["test"], np.setdiff1d(benign, apart, assume_unique=True)])

    training_captures = np.unique(index.capture[divided["train"]])
    everything = {name: divided[name] for name in ("train", "val", "cal_a", "cal_b")} | {
        "test_benign": divided["test"],
        "test_attack": attacks,
    }
    order = _id_hash(np.arange(len(index.attack)), index.salt)
    n_train = min([len(everything["train"]), *(size for size in (caps.train, draw.train_size) if size is not None)])
    contaminants = _lowest(pool, order, round((draw.contamination or 0.0) * n_train))
    parts = {
        "train": np.sort(
            np.concatenate([_lowest(everything["train"], order, n_train - len(contaminants)), contaminants])
        ),
        "val": everything["val"],
        "cal_a": _lowest(everything["cal_a"], order, caps.cal_a),
        "cal_b": _lowest(everything["cal_b"], order, caps.cal_b),
        "test_benign": _stratified(everything["test_benign"], index.site, MIN_PER_SITE, order, caps.test_benign),
        "test_attack": _stratified(everything["test_attack"], index.family, MIN_PER_FAMILY, order, caps.test_attack),
    }
    shared = int(np.isin(index.capture[parts["test_attack"]], training_captures).sum())
    return Partition(
        kind, reason, parts, {name: len(ids) for name, ids in everything.items()}, shared, len(contaminants)
    )


def baseline_parts(index: FlowIndex, cal_a: Ids, seed: int) -> dict[str, Ids]:
    """What the target-only baseline trains on, stops on and calibrates its aggregator on: train, val and cal_a, whole
    sessions of the target's cal A.

    In the proportions of ``BASELINE_SHARES``; of three sessions or more none is empty.  Sessions are drawn again where
    a large one has left a part with less than ``FEWEST_FLOWS`` flows, with which no detector can be validated.
    """
    rng = _generator(index, seed, "target-only baseline")
    draws = (_by_session(index, cal_a, BASELINE_SHARES, rng) for _ in range(BASELINE_DRAWS))
    first = next(draws)
    return next((parts for parts in chain([first], draws) if min(map(len, parts.values())) >= FEWEST_FLOWS), first)


def some_attacks(index: FlowIndex, share: float) -> Ids:
    """Attack flows of so large a share of the attack sessions, rounded up: the same under every seed, and part of those
    of a larger share."""
    attacks = np.flatnonzero(index.attack)
    sessions = np.unique(index.session[attacks])
    order = np.argsort(_id_hash(sessions, index.salt), kind="stable")
    return attacks[np.isin(index.session[attacks], sessions[order[: math.ceil(share * len(sessions))]])]


def _generator(index: FlowIndex, seed: int, role: str = "") -> np.random.Generator:
    """``role``: what is drawn, of benign flows the name of their site; without a name it is the generator that divided
    a dataset before sites."""
    return np.random.default_rng([seed, index.salt, crc32(role.encode())])


def _reserved(index: FlowIndex, reserve: bool) -> tuple[Ids, Ids]:
    """Attack flows to test, and those kept for contaminating the training flows: every other session of a family, in
    hash order.

    Sessions with benign flows stay in test, as these do.
    """
    attacks = np.flatnonzero(index.attack)
    if not reserve:
        return attacks, attacks[:0]
    pure = attacks[~np.isin(index.session[attacks], index.session[~index.attack])]
    sessions, first = np.unique(index.session[pure], return_index=True)
    # a session counts for the family of its first flow
    order = np.lexsort((_id_hash(sessions, index.salt), index.family[pure[first]]))
    kept = np.isin(index.session[attacks], sessions[order][1::2])
    return attacks[~kept], attacks[kept]


def _by_site(index: FlowIndex, benign: Ids, seed: int) -> tuple[Kind, dict[str, Ids], str]:
    """Every site gives its shares to the parts: by capture where it has enough of them, else by blocks of time."""
    divided: list[dict[str, Ids]] = []
    blocks: dict[str, str] = {}
    sites = _separated(benign, index.site)
    for number, flows in sites.items():
        name = index.sites[number]
        rng = _generator(index, seed, name)
        captures, counts = np.unique(index.capture[flows], return_counts=True)
        grouped = _by_capture(index, flows, captures, counts, rng) if len(captures) >= MIN_CAPTURES else {}
        if why := _too_few(grouped, len(captures), len(flows) / len(benign), several=len(sites) > 1):
            blocks[name] = why
            grouped = _time_blocks(index, flows, rng)
        divided.append(grouped)
    parts = {name: np.sort(np.concatenate([site[name] for site in divided] or [benign])) for name in SHARES}
    if not blocks:
        return "grouped", parts, ""
    reason = (
        "; ".join(f"{name or 'no site'}: {why}" for name, why in blocks.items())
        if len(sites) > 1
        else next(iter(blocks.values()))
    )
    return "time blocks" if len(blocks) == len(sites) else "grouped and time blocks", parts, reason


def _too_few(grouped: Mapping[str, Ids], n_captures: int, weight: float, *, several: bool) -> str:
    """Why a site's captures cannot be its parts, or empty.

    weight  share of the dataset's benign flows that the site has: it answers for that share of ``MIN_PART``; and of
            several sites each has to give every part at least half of what is its due, or else a few large captures
            would keep a site out of a part
    """
    if n_captures < MIN_CAPTURES:
        return f"{counted(n_captures, 'benign capture')}, fewer than {MIN_CAPTURES}"
    flows = sum(map(len, grouped.values()))
    least = {
        name: math.ceil(max(MIN_PART * weight, share * flows / 2 if several else 0)) for name, share in SHARES.items()
    }
    worst = min(SHARES, key=lambda name: len(grouped[name]) / least[name])
    if len(grouped[worst]) >= least[worst]:
        return ""
    return f"grouped by capture, {worst} would hold {len(grouped[worst])} flows, fewer than {least[worst]}"


def _separated(ids: Ids, number: Ids) -> dict[int, Ids]:
    """Number → those of ``ids`` that have it, in their order."""
    ordered = ids[np.argsort(number[ids], kind="stable")]
    numbers, first = np.unique(number[ordered], return_index=True)
    return dict(zip(numbers.tolist(), np.split(ordered, first[1:]), strict=True)) if len(ids) else {}


def _by_capture(index: FlowIndex, benign: Ids, captures: Ids, counts: Ids, rng: np.random.Generator) -> dict[str, Ids]:
    """Largest capture first, each into a part that still has room for it, drawn in proportion to that room; into the
    emptiest part if none has."""
    names = list(SHARES)
    room = np.array([SHARES[name] * len(benign) for name in names])
    part_of = np.empty(len(captures), np.int64)
    for position in np.lexsort((rng.random(len(captures)), -counts)):
        fits = np.where(room >= counts[position], room, 0.0)
        part = int(rng.choice(len(names), p=fits / fits.sum())) if fits.any() else int(np.argmax(room))
        part_of[position] = part
        room[part] -= counts[position]
    parts = part_of[np.searchsorted(captures, index.capture[benign])]
    return {name: benign[parts == number] for number, name in enumerate(names)}


def _time_blocks(index: FlowIndex, benign: Ids, rng: np.random.Generator) -> dict[str, Ids]:
    """Inside every capture, contiguous blocks of time in a drawn order: whole sessions, in the order in which they
    begin."""
    names = list(SHARES)
    chosen: dict[str, list[Ids]] = {name: [] for name in names}
    in_time = benign[np.argsort(index.start[benign], kind="stable")]
    for flows in _separated(in_time, index.capture).values():
        order = rng.permutation(len(names))
        shares = np.array([SHARES[names[number]] for number in order])
        # the random offset rounds each boundary up or down in proportion, so that many small captures still add up to
        # the shares
        edges = np.floor(np.cumsum(shares) * len(flows) + rng.random())
        _, first, inverse, counts = np.unique(
            index.session[flows], return_index=True, return_inverse=True, return_counts=True
        )
        by_start = np.argsort(first)
        middle = np.empty(len(first))
        middle[by_start] = np.cumsum(counts[by_start]) - counts[by_start] / 2
        block = np.minimum(np.searchsorted(edges, middle, side="right"), len(names) - 1)[inverse]
        for position, number in enumerate(order):
            chosen[names[number]].append(flows[block == position])
    return {name: np.concatenate(flows) for name, flows in chosen.items()}


def _check_timeline(index: FlowIndex) -> None:
    """DataError for a dataset that is not of one site and one clock."""
    if reason := timeline_problem(index):
        raise DataError(
            f"{index.name} cannot be divided by time, which needs one site and one clock: {reason}; choose "
            "other --datasets"
        )


def _by_day(index: FlowIndex, benign: Ids) -> dict[str, Ids]:
    """The earliest day (UTC) trains and calibrates, its parts one after the other in time; all later days are tested,
    but for flows whose session began before.  As many days as a threshold at P99 takes (``ONE_IN_100`` flows of cal_b)
    count as the earliest, where that leaves later ones.

    DataError for several sites, whose days are not one another's, and where there is no later day.
    """
    if len(index.sites) > 1:
        raise DataError(
            f"{index.name} cannot be divided by days: it is of {len(index.sites)} sites; add each as a dataset"
        )
    day = np.floor(index.start[benign] / DAY)
    days = np.unique(day)
    if len(days) < 2:
        raise DataError(f"{index.name} cannot be divided by days: it has benign flows of one day alone")
    divided = [_up_to(index, benign, day <= last) for last in days[:-1]]
    tested = [parts for parts in divided if len(parts["test"])]
    if not tested:
        raise DataError(f"{index.name} cannot be divided by days: all its later flows belong to sessions of the first")
    return next((parts for parts in tested if len(parts["cal_b"]) >= ONE_IN_100), tested[0])


def _up_to(index: FlowIndex, benign: Ids, early: NDArray[np.bool_]) -> dict[str, Ids]:
    """Flows of the ``early`` days (n,) divided, the others tested."""
    begun = np.isin(index.session[benign], index.session[benign[early]])
    return _in_order(index, benign[early], FIRST_DAY) | {"test": benign[~begun]}


def _in_order(index: FlowIndex, benign: Ids, shares: Mapping[str, float]) -> dict[str, Ids]:
    """Parts one after the other in time; a flow whose session began in an earlier part is left out, so that neither
    time nor sessions overlap."""
    names = list(shares)
    flows = benign[np.lexsort((benign, index.start[benign]))]
    edges = np.round(np.cumsum(list(shares.values())) * len(flows))
    part = np.minimum(np.searchsorted(edges, np.arange(len(flows)), side="right"), len(names) - 1)
    _, first, session = np.unique(index.session[flows], return_index=True, return_inverse=True)
    whole = part == part[first][session]  # ``first``: the session's earliest flow, as flows are in order
    return {name: np.sort(flows[whole & (part == number)]) for number, name in enumerate(names)}


def timeline_problem(index: FlowIndex) -> str:
    """Why a dataset is not of one site and one clock, as far as its flows tell; empty if nothing speaks against it."""
    if not index.start.any():  # a table that knows none
        return "its flows have no times"
    unset = int(np.count_nonzero(index.start < CLOCK_SET))
    if unset:
        return f"{unset} flows begin before 1990, by a clock that was not set"
    pauses = int(np.count_nonzero(np.diff(np.sort(index.start)) > YEAR))
    if pauses:
        return f"its flows lie in {pauses + 1} periods more than a year apart"
    if index.at_home is not None and index.at_home < HOME_SHARE:
        return f"only {index.at_home:.0%} of its attack flows involve a host that also has benign traffic"
    return ""


def _by_session(index: FlowIndex, ids: Ids, shares: Mapping[str, float], rng: np.random.Generator) -> dict[str, Ids]:
    """Whole sessions in a drawn order, as many flows to each part as its share; where there are as many sessions as
    parts, none is empty."""
    sessions, inverse, counts = np.unique(index.session[ids], return_inverse=True, return_counts=True)
    order = rng.permutation(len(sessions))
    before = np.cumsum(counts[order]) - counts[order]
    edges = np.cumsum(list(shares.values())) / sum(shares.values()) * len(ids)
    # places, in the drawn order, of the first session of the second part, the third, …
    cuts = np.searchsorted(before, edges[:-1])
    if len(sessions) >= len(shares):
        number = np.arange(len(cuts))
        cuts = number + np.minimum(np.maximum.accumulate(np.maximum(cuts - number, 1)), len(sessions) - len(cuts))
    part = np.empty(len(sessions), np.int64)
    part[order] = np.searchsorted(cuts, np.arange(len(sessions)), side="right")
    return {name: ids[part[inverse] == number] for number, name in enumerate(shares)}


def _id_hash(ids: Ids, salt: int) -> NDArray[np.uint64]:
    """A fixed pseudo-random order of flow ids, so that a cap picks the same flows on every machine."""
    return splitmix64(ids.astype(np.uint64) * np.uint64(GOLDEN), salt)


def _lowest(ids: Ids, order: NDArray[np.uint64], cap: int | None) -> Ids:
    if cap is None or len(ids) <= cap:
        return np.sort(ids)
    return np.sort(ids[np.argsort(order[ids], kind="stable")[:cap]])


def _stratified(ids: Ids, stratum: Ids, least: int, order: NDArray[np.uint64], cap: int | None) -> Ids:
    """At most ``cap`` flows, of every stratum (a family, a site) in proportion, but not fewer than ``least`` while it
    has as many."""
    if cap is None or len(ids) <= cap:
        return np.sort(ids)
    numbers, counts = np.unique(stratum[ids], return_counts=True)
    floor = np.minimum(counts, min(least, cap // len(numbers)))
    spare = counts - floor
    exact = floor + spare * ((cap - floor.sum()) / spare.sum())
    quota = np.floor(exact).astype(np.int64)
    quota[np.argsort(quota - exact, kind="stable")[: cap - quota.sum()]] += 1
    members = _separated(ids, stratum)
    return np.sort(
        np.concatenate(
            [
                _lowest(members[number], order, size)
                for number, size in zip(numbers.tolist(), quota.tolist(), strict=True)
            ]
        )
    )
