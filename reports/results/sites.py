"""The view ``@site``: a metric inside each site, then the mean over sites.

A site (column ``site`` of ``labels.csv``) is where benign and attack flows were recorded by one sensor, so that nothing
about the recording tells them apart.  Which sites count is the same for every row of a table.  Standard library only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from janus_bench.extensions import Metric
    from janus_bench.records import Recorded

SITE = "@site"
ATTACKS_IN_SITE = 20
"""A site counts if it has so many attack test flows in every seed, and as many benign ones as the metric asks for
(``Metric.benign_in_site``)."""

FEW_SITES = 3
"""With fewer sites a number is printed as that of so many sites, and ranks nobody."""

Sizes = Mapping[str, Mapping[str, int]]
"""Of one partition's test flows: site → how many are ``benign`` and ``attack``; the empty name is no site."""


DRAWN = ("seed", "caps", "train_size", "contamination")
"""What partitions of a target differ in, inside a table."""


def view_of(site: str) -> str:
    """The view of one site's flows, which a number under ``SITE`` is a mean over."""
    return f"{SITE}={site}"


@dataclass(frozen=True)
class TargetSites:
    """A target's test flows by site, in every partition of a table: one per seed; none where nothing is known of its
    sites."""

    partitions: Sequence[Sizes]

    @property
    def all(self) -> list[str]:
        """With the empty name, where some flows have it."""
        return sorted({name for sizes in self.partitions for name in sizes})

    @property
    def named(self) -> list[str]:
        return [name for name in self.all if name]

    def sizes(self, name: str, kind: str) -> list[int]:
        """Of every partition, ``benign`` or ``attack`` flows of the site."""
        return [sizes.get(name, {}).get(kind, 0) for sizes in self.partitions]

    def fewest(self, name: str) -> dict[str, int]:
        return {kind: min(self.sizes(name, kind)) for kind in ("benign", "attack")}

    def enough(self, benign: int) -> list[str]:
        """Sites with so many benign flows, and with ``ATTACKS_IN_SITE``, in every partition."""
        found = {name: self.fewest(name) for name in self.named}
        return [name for name, of in found.items() if of["benign"] >= benign and of["attack"] >= ATTACKS_IN_SITE]

    def attacks_outside(self, counted: Collection[str]) -> int:
        """Attack flows of no site that counts, the most of any partition."""
        return max(
            (
                sum(of.get("attack", 0) for name, of in sizes.items() if name not in counted)
                for sizes in self.partitions
            ),
            default=0,
        )

    @property
    def shared(self) -> bool:
        """Whether some site has both benign and attack flows, in any partition."""
        both = (zip(self.sizes(name, "benign"), self.sizes(name, "attack"), strict=True) for name in self.named)
        return any(benign and attack for of_site in both for benign, attack in of_site)


class TableSites:
    """The sites of a table's targets, and which of them count: the same for every row."""

    def __init__(
        self,
        records: Sequence[Recorded],
        sizes: Callable[[Recorded], Sizes | None],
        number: Callable[[Recorded, Metric, str], float | None],
    ) -> None:
        """``records``: every attempted run; ``sizes``: its test flows by site, if they are known; ``number``: a metric
        of its view."""
        self._sizes, self._number = sizes, number
        self._partitions: dict[str, dict[tuple[object, ...], Recorded]] = {}
        for record in sorted(records, key=lambda record: record.status == "ok"):  # of a partition, an ok one stays
            drawn = tuple(record.spec.get(name) for name in DRAWN)
            self._partitions.setdefault(record.spec["target"], {})[drawn] = record
        self._of: dict[str, TargetSites] = {}
        self._counted: dict[tuple[str, str], tuple[str, ...]] = {}

    def of(self, target: str) -> TargetSites:
        if target not in self._of:
            sizes = [self._sizes(record) for record in self._partitions.get(target, {}).values()]
            self._of[target] = TargetSites([each for each in sizes if each is not None])
        return self._of[target]

    def counted(self, metric: Metric, target: str) -> tuple[str, ...]:
        """Sites with enough flows under every seed, where the metric exists."""
        where = metric.name, target
        if where not in self._counted:
            ok = [record for record in self._partitions.get(target, {}).values() if record.status == "ok"]
            self._counted[where] = tuple(
                name
                for name in self.of(target).enough(metric.benign_in_site)
                if all(self._number(record, metric, view_of(name)) is not None for record in ok)
            )
        return self._counted[where]
