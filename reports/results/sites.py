"""The view ``@site``: a metric inside each site, then the mean over sites.

A site (column ``site`` of ``labels.csv``) is where benign and attack flows were recorded by one sensor, so that nothing
about the recording tells them apart.  Which sites count is the same for every row of a table.  Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SITE = "@site"
ATTACKS_IN_SITE = 20
"""A site counts if it has so many attack test flows in every seed, and as many benign ones as the metric asks for
(``Metric.benign_in_site``)."""

FEW_SITES = 3
"""With fewer sites a number is printed as that of so many sites, and ranks nobody."""

Sizes = Mapping[str, Mapping[str, int]]
"""Of one partition's test flows: site → how many are ``benign`` and ``attack``; the empty name is no site."""


def view_of(site: str) -> str:
    """The view of one site's flows, which a number under ``SITE`` is a mean over."""
    return f"{SITE}={site}"


@dataclass(frozen=True)
class TargetSites:
    """A target's test flows by site, under every seed of a table: name → the fewest.

    known   whether anything is known of its sites: not of results of schema version 1
    attack, attack_most  … of the attack flows, the fewest and the most
    """

    benign: Mapping[str, int]
    attack: Mapping[str, int]
    attack_most: Mapping[str, int]
    known: bool = True

    @classmethod
    def of(cls, partitions: Sequence[Sizes]) -> TargetSites:
        names = dict.fromkeys(name for sizes in partitions for name in sizes)
        found = {
            kind: {name: [sizes.get(name, {}).get(kind, 0) for sizes in partitions] for name in names}
            for kind in ("benign", "attack")
        }
        fewest = {kind: {name: min(own) for name, own in of.items()} for kind, of in found.items()}
        return cls(
            fewest["benign"],
            fewest["attack"],
            {name: max(own) for name, own in found["attack"].items()},
            bool(partitions),
        )

    @property
    def named(self) -> list[str]:
        return [name for name in self.benign if name]

    def enough(self, benign: int) -> list[str]:
        """Sites with so many benign flows, and with ``ATTACKS_IN_SITE``, under every seed."""
        return [name for name in self.named if self.benign[name] >= benign and self.attack[name] >= ATTACKS_IN_SITE]

    @property
    def shared(self) -> bool:
        """Whether some site has both benign and attack test flows."""
        return any(self.benign[name] and self.attack[name] for name in self.named)
