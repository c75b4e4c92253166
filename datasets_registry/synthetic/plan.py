"""The words in which a site is declared: applications and attacks, who runs them, and how the captures are taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from datasets_registry.synthetic.containers import Container
from datasets_registry.synthetic.network import Host, Link, Stack
from datasets_registry.synthetic.randomness import Dice

if TYPE_CHECKING:
    from datasets_registry.synthetic.scene import Scene


class Application(Protocol):
    """Benign traffic of one kind; ``family`` is what its flows are called in labels.csv."""

    @property
    def family(self) -> str: ...

    def run(self, scene: Scene, dice: Dice, client: Host, start: float) -> None:
        """One session of ``client`` that begins ``start`` seconds after the capture."""


class Attack(Protocol):
    """Attack traffic of one family; the benign family that it hides among, if it hides, is in docs/synthetic.md."""

    @property
    def family(self) -> str: ...

    def run(self, scene: Scene, dice: Dice, attackers: Sequence[Host], start: float, flows: int) -> None:
        """About ``flows`` flows from these machines, from ``start`` seconds after the capture's beginning on."""


@dataclass(frozen=True)
class Activity:
    """How often a host starts a session; ``per_hour`` None: it runs one session without end, already under way when the
    capture begins."""

    application: Application
    per_hour: float | None


@dataclass(frozen=True)
class HostGroup:
    """Hosts with the same habits; ``present`` (fewest, most) of the ``count`` are seen at once.  Those not ``inside``
    are beyond the WAN."""

    name: str
    count: int
    present: tuple[int, int]
    stacks: tuple[Stack, ...]
    activities: tuple[Activity, ...]
    inside: bool = True


@dataclass(frozen=True)
class ServerRole:
    """Servers that sessions choose from, the first ones more often (Zipf)."""

    name: str
    count: int
    stacks: tuple[Stack, ...]
    inside: bool = False


@dataclass(frozen=True)
class Campaign:
    """An attack by ``machines`` hosts of a group (so with their stacks and paths), in ``captures`` captures with about
    ``flows`` flows each."""

    attack: Attack
    attackers: str
    captures: int
    flows: int
    machines: int = 1


@dataclass(frozen=True)
class Place:
    """One network and how it is captured.

    subnet     first two bytes of its IPv4 addresses
    first_day  midnight UTC, seconds since the epoch; captures are taken on five days from then
    lan, wan   how inside and outside hosts are reached from the capture point
    v6_share   share of hosts that also have IPv6
    captures   number of captures, of which ``quiet`` carry no attack and ``bare`` carry nothing else
    minutes    shortest and longest capture
    """

    name: str
    subnet: tuple[int, int]
    first_day: int
    lan: Link
    wan: Link
    groups: tuple[HostGroup, ...]
    servers: tuple[ServerRole, ...]
    campaigns: tuple[Campaign, ...]
    container: Container
    captures: int = 42
    quiet: int = 26
    bare: int = 2
    minutes: tuple[float, float] = (15.0, 40.0)
    v6_share: float = 0.0
    vlan: int | None = None
    padded: bool = False
