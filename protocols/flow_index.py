"""What a partition may look at: labels, times, sessions, captures and sites of a dataset's flows, as numbers.

Two captures can hold the same flows: a network recorded at two points, one file published twice under two names,
broadcasts that every recorder of a laboratory saw.  Such flows are never divided between training and test, and such
captures are one capture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from janus_bench.hashing import splitmix64

if TYPE_CHECKING:
    import polars as pl

Ids = NDArray[np.int64]
Pairs = tuple[Ids, Ids]

SAME_START = 1.0
"""Seconds: flows of one 5-tuple in two files that start within this time of each other are one flow, recorded twice."""
SHARED_FLOWS, SHARED_PART = 3, 0.05
"""Captures are one where they share at least so many flows, and this part of the flows of the smaller one.  Fewer are
chance (a host that asks for an address at the same second of two clocks that were never set), or connections that cross
the end of one file of a recording and go on in the next: of files of a minute at most one flow in sixty, and they would
chain all files of a network to one.  These few flows themselves stay together."""
HOME_FLOWS = 20
"""Benign flows (or 1 % of them, if fewer) that make a host one of the site: see ``FlowIndex.at_home``."""


@dataclass(frozen=True)
class FlowIndex:
    """What a split may look at, row-aligned by flow id.

    attack   (n,) bool
    family   (n,) numbers of the families
    capture  (n,) numbers of the units that are never divided: original captures; those that hold the same flows are one
    session  (n,) equal for flows of one 5-tuple (in either direction) inside one file, and for flows that were recorded
             twice; of one capture
    start    (n,) s
    site     (n,) place in ``sites``: who was recorded at one place; that of most of the capture's benign flows, so that
             a capture has one site
    salt     from the content hash: every draw follows from it and from what was declared, none from the dataset's name
    same     name of a capture → of the first capture that holds the same flows, where that is another
    at_home  share of the attack flows with a host that has benign flows, too; None if unknown
    """

    attack: NDArray[np.bool_]
    family: Ids
    capture: Ids
    session: Ids
    start: NDArray[np.float64]
    site: Ids
    sites: tuple[str, ...]
    salt: int
    same: Mapping[str, str] = field(default_factory=dict)
    at_home: float | None = None
    name: str = "this dataset"

    @classmethod
    def from_tables(
        cls, flows: pl.DataFrame, labels: pl.DataFrame, data_hash: str, name: str = "this dataset"
    ) -> FlowIndex:
        """Build from ``flows.parquet`` and ``labels.parquet``, both in the order of the flow ids; a session is of the
        capture of its earliest flow.

        Addresses and 5-tuples are compared by 64-bit hashes, for a flood has millions of them: that any two of 10
        million are confused has a chance of 3 in a million.
        """
        attack, start = labels["attack"].to_numpy(), flows["ts_start"].to_numpy()
        hosts = _hosts(flows)
        family, _ = _numbered(labels["family"])
        file, _ = _numbered(labels["file"])
        source, sources = _numbered(labels["source"])
        site, sites = _numbered(labels["site"])
        five_tuple = _five_tuples(flows, hosts)
        # Tables without packets may know neither addresses (then each flow is a session) nor times, each file its own.
        addressed = (flows["src_ip"] != "").to_numpy()
        twice = _recorded_twice(five_tuple, file, start, addressed)
        session = _sessions(file, five_tuple, addressed, twice) if addressed.any() else np.arange(len(start))
        group = _groups(source, twice)
        of_session = np.empty(len(start), np.int64)
        latest_first = np.argsort(start, kind="stable")[::-1]
        # of several flows that write to one place, the last one stays
        of_session[session[latest_first]] = group[source[latest_first]]
        capture = of_session[session]
        votes = np.bincount(
            capture * len(sites) + site, np.where(attack, 1.0, 1.0 + len(attack)), len(sources) * len(sites)
        )
        return cls(
            attack=attack,
            family=family,
            capture=capture,
            session=session,
            start=start,
            site=votes.reshape(-1, len(sites)).argmax(axis=1)[capture],
            sites=tuple(sites),
            salt=int(data_hash[:15], 16),
            same={sources[number]: sources[first] for number, first in enumerate(group) if first != number},
            at_home=_at_home((hosts[0][addressed], hosts[1][addressed]), attack[addressed]),
            name=name,
        )


def _numbered(texts: pl.Series) -> tuple[Ids, list[str]]:
    """Every text by its place in the sorted distinct ones, (n,), and these."""
    import polars as pl

    names = texts.unique().sort()
    return texts.cast(pl.Enum(names)).to_physical().cast(pl.Int64).to_numpy(), names.to_list()


def _hosts(flows: pl.DataFrame) -> Pairs:
    """(n,) numbers of the initiators' and of the responders' addresses, in the order of the texts with a | behind
    them."""
    import polars as pl

    texts = pl.concat([flows["src_ip"], flows["dst_ip"]])
    _, first, host = np.unique(texts.hash().to_numpy(), return_index=True, return_inverse=True)
    host = ((texts.gather(first) + "|").rank("dense").cast(pl.Int64).to_numpy() - 1)[host]
    return host[: len(flows)], host[len(flows) :]


def _five_tuples(flows: pl.DataFrame, hosts: Pairs) -> tuple[Ids, Ids, Ids]:
    """The lower and the higher socket of each flow, and its protocol, (n,) each; sockets in the order of their texts,
    as sessions always had."""
    ports = np.arange(1 << 16).astype(np.str_).argsort().argsort()
    one, other = (
        host << 16 | ports[flows[f"{side}_port"].to_numpy()] for side, host in zip(("src", "dst"), hosts, strict=True)
    )
    return np.minimum(one, other), np.maximum(one, other), flows["proto"].to_numpy().astype(np.int64)


def recorded_twice(flows: pl.DataFrame, labels: pl.DataFrame) -> Pairs:
    """Flows (m,) and, (m,), each one's next neighbour in time that is the same flow in another file; ``flows`` and
    ``labels`` (file) as in ``FlowIndex.from_tables``."""
    file, _ = _numbered(labels["file"])
    addressed = (flows["src_ip"] != "").to_numpy()
    return _recorded_twice(_five_tuples(flows, _hosts(flows)), file, flows["ts_start"].to_numpy(), addressed)


def _recorded_twice(
    five_tuple: Sequence[Ids], file: Ids, start: NDArray[np.float64], addressed: NDArray[np.bool_]
) -> Pairs:
    """Flows (m,) and, (m,), each one's next neighbour in time among those of its 5-tuple, where that is the same flow
    in another file.  Of flows without addresses, and of files without times, nobody knows."""
    key = np.zeros(len(start), np.uint64)
    for words in five_tuple:
        key = splitmix64(key ^ words.astype(np.uint64))
    timed = np.bincount(file, start != 0) > 0
    known = np.flatnonzero(addressed & timed[file])
    order = known[np.lexsort((start[known], key[known]))]
    one, other = order[:-1], order[1:]
    same = (key[one] == key[other]) & (start[other] - start[one] <= SAME_START) & (file[one] != file[other])
    return one[same], other[same]


def _sessions(file: Ids, five_tuple: Sequence[Ids], addressed: NDArray[np.bool_], twice: Pairs) -> Ids:
    """(n,) the place of each flow's file and 5-tuple among all that there are, of a flow without addresses one of its
    own; sessions that hold the same flow have the lowest of their places."""
    import polars as pl

    own = np.where(addressed, -1, np.arange(len(file)))
    table = pl.DataFrame({"file": file, **dict(zip("abc", five_tuple, strict=True)), "own": own})
    session = table.select(pl.struct(pl.all()).rank("dense").cast(pl.Int64) - 1).to_series().to_numpy()
    return _joined(len(session), session[twice[0]], session[twice[1]])[session]


def _groups(source: Ids, twice: Pairs) -> Ids:
    """(sources,) the first source of those that hold the same flows as each."""
    flows = source.size
    sizes = np.bincount(source)
    apart = source[twice[0]] != source[twice[1]]
    one, other = twice[0][apart], twice[1][apart]
    low, high = np.minimum(source[one], source[other]), np.maximum(source[one], source[other])
    pairs, pair = np.unique(low * len(sizes) + high, return_inverse=True)
    low, high = np.divmod(pairs, len(sizes))
    # Each flow counts once for a pair of captures, on its own side: a burst in one capture does not make many of a
    # single flow in the other.
    pair, flow = np.divmod(np.unique(np.concatenate([pair, pair]) * flows + np.concatenate([one, other])), flows)
    on_low = source[flow] == low[pair]
    shared = np.minimum(
        np.bincount(pair[on_low], minlength=len(pairs)), np.bincount(pair[~on_low], minlength=len(pairs))
    )
    enough = (shared >= SHARED_FLOWS) & (shared >= SHARED_PART * np.minimum(sizes[low], sizes[high]))
    return _joined(len(sizes), low[enough], high[enough])


def _joined(n: int, one: Ids, other: Ids) -> Ids:
    """(n,) of each thing the lowest of those that the pairs (one[i], other[i]) connect it with."""
    if not len(one):
        return np.arange(n)
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    _, component = connected_components(coo_array((np.ones(len(one), np.bool_), (one, other)), (n, n)), directed=False)
    return np.unique(component, return_index=True)[1][component]


def _at_home(hosts: Pairs, attack: NDArray[np.bool_]) -> float | None:
    """See ``FlowIndex``; None without attacks."""
    if not attack.any():
        return None
    both = np.concatenate(hosts)
    benign = both[np.tile(~attack, 2)]
    known = np.bincount(benign, minlength=int(both.max()) + 1) >= min(HOME_FLOWS, max(1, len(benign) // 200))
    return float(np.mean(known[hosts[0][attack]] | known[hosts[1][attack]]))
