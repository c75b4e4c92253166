"""Attacks that guess passwords."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from datasets_registry.synthetic.network import Host
from datasets_registry.synthetic.randomness import Dice
from datasets_registry.synthetic.remote import desktop_login, ssh_attempt, ssh_greeting
from datasets_registry.synthetic.scene import Scene
from datasets_registry.synthetic.trace import CLIENT, SERVER_SIDE


@dataclass(frozen=True)
class SshGuessing:
    """Dictionary attack over SSH (hydra, ncrack, patator): several connections at once, as many passwords on each as
    the server allows."""

    target: str = "shell"
    attempts: tuple[int, int] = (2, 6)
    pace: float = 0.8
    offer: float = 760.0
    family: ClassVar[str] = "ssh_bruteforce"

    def run(self, scene: Scene, dice: Dice, attackers: Sequence[Host], start: float, flows: int) -> None:
        server = dice.pick(scene.hosts(self.target))
        for at in scene.arrivals(start, self.pace, flows):
            connection = scene.connect(dice.pick(attackers), server, 22, at)
            ssh_greeting(connection, dice, self.offer)
            for _ in range(dice.integer(*self.attempts)):
                ssh_attempt(connection, dice, dice.lognormal(2e-3, 0.5), accepted=False)
            connection.finish(CLIENT if dice.chance(0.5) else SERVER_SIDE, dice.lognormal(3e-3, 0.8))


@dataclass(frozen=True)
class SshSlowGuessing:
    """The same below every threshold: many machines, one or two passwords each, ``pace`` seconds apart.  A flow is a
    failed login, no more."""

    target: str = "shell"
    pace: float = 12.0
    family: ClassVar[str] = "ssh_slow"

    def run(self, scene: Scene, dice: Dice, attackers: Sequence[Host], start: float, flows: int) -> None:
        for at in scene.arrivals(start, self.pace, flows, sigma=0.4):
            connection = scene.connect(dice.pick(attackers), dice.pick(scene.hosts(self.target)), 22, at)
            ssh_greeting(connection, dice, dice.pick((720.0, 950.0, 1300.0)))
            for _ in range(dice.integer(1, 2)):
                ssh_attempt(connection, dice, dice.lognormal(0.03, 1.2), accepted=False)
            connection.finish(CLIENT if dice.chance(0.7) else SERVER_SIDE, dice.lognormal(0.03, 1.2))


@dataclass(frozen=True)
class TelnetGuessing:
    """A bot tries factory passwords over telnet: negotiation, prompts, and names and passwords of a few bytes
    (Mirai)."""

    target: str
    pace: float = 1.5
    family: ClassVar[str] = "telnet_bruteforce"

    def run(self, scene: Scene, dice: Dice, attackers: Sequence[Host], start: float, flows: int) -> None:
        for at in scene.arrivals(start, self.pace, flows):
            connection = scene.tcp(dice.pick(attackers), dice.pick(scene.hosts(self.target)), 23, at)
            if dice.chance(0.15):
                connection.refused()
                continue
            connection.open()
            connection.play(
                [(SERVER_SIDE, dice.integer(12, 24), dice.lognormal(0.01, 0.6)), (CLIENT, dice.integer(9, 21), 2e-3)]
            )
            connection.send(SERVER_SIDE, dice.integer(7, 40), dice.lognormal(0.02, 0.6))
            for _ in range(dice.integer(1, 4)):
                connection.play(
                    [(CLIENT, dice.integer(6, 9), dice.lognormal(0.05, 0.8)), (SERVER_SIDE, dice.integer(10, 18), 5e-3)]
                )
                connection.play(
                    [
                        (CLIENT, dice.integer(4, 12), dice.lognormal(0.05, 0.8)),
                        (SERVER_SIDE, dice.integer(18, 30), dice.lognormal(1.5, 0.4)),
                    ]
                )
            if dice.chance(0.6):
                connection.finish(SERVER_SIDE, 0.01)
            else:
                connection.reset(CLIENT, 0.01)


@dataclass(frozen=True)
class DesktopGuessing:
    """Passwords over RDP: a login up to its refusal, again and again."""

    target: str = "desktops"
    pace: float = 1.2
    family: ClassVar[str] = "rdp_bruteforce"

    def run(self, scene: Scene, dice: Dice, attackers: Sequence[Host], start: float, flows: int) -> None:
        server = dice.pick(scene.hosts(self.target))
        for at in scene.arrivals(start, self.pace, flows):
            connection = scene.connect(dice.pick(attackers), server, 3389, at)
            desktop_login(connection, dice, accepted=False)
            connection.reset(CLIENT, dice.lognormal(5e-3, 0.8))
