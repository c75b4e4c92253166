"""Benign remote work: SSH (with mistyped passwords and scripts that fail), remote desktops, and Tor-like circuits."""

from dataclasses import dataclass
from typing import ClassVar

from datasets_registry.synthetic.network import Host
from datasets_registry.synthetic.randomness import Dice
from datasets_registry.synthetic.scene import Scene
from datasets_registry.synthetic.sessions import tls_connection
from datasets_registry.synthetic.tcp import TcpConnection
from datasets_registry.synthetic.trace import CLIENT, SERVER_SIDE

CELL_RECORD = 543  # A Tor cell of 514 bytes in its TLS record.


def ssh_greeting(connection: TcpConnection, dice: Dice, client_offer: float = 1300.0) -> None:
    """Banners, key exchange and the request for authentication (RFC 4253, RFC 4252); ``client_offer`` bytes of
    algorithms."""
    connection.send(CLIENT, dice.integer(20, 42), dice.lognormal(1e-3, 0.5))
    connection.send(SERVER_SIDE, dice.integer(21, 42), dice.lognormal(8e-3, 0.6))
    connection.send(CLIENT, dice.size(client_offer, 0.15, 1800), dice.lognormal(1e-3, 0.5))
    connection.send(SERVER_SIDE, dice.integer(1000, 1100), dice.lognormal(5e-4, 0.5))
    connection.send(CLIENT, dice.pick((48, 80, 1208)), dice.lognormal(2e-3, 0.5))
    connection.send(SERVER_SIDE, dice.integer(440, 700), dice.lognormal(6e-3, 0.4))
    connection.send(CLIENT, 16, dice.lognormal(2e-3, 0.5))
    connection.play(
        [
            (CLIENT, 44, 1e-3),
            (SERVER_SIDE, 44, 5e-4),
            (CLIENT, dice.integer(60, 76), 5e-4),
            (SERVER_SIDE, dice.integer(44, 60), 4e-3),
        ]
    )


def ssh_attempt(connection: TcpConnection, dice: Dice, pause: float, accepted: bool) -> None:
    """One password: the server takes about two seconds to refuse it."""
    connection.send(CLIENT, dice.integer(84, 148), pause)
    connection.send(
        SERVER_SIDE, 28 if accepted else 52, dice.lognormal(0.03, 0.5) if accepted else dice.lognormal(2.0, 0.3)
    )


@dataclass(frozen=True)
class SecureShell:
    """Logins that work: keystrokes and their echoes, or a command of a script (``batch``), or a file."""

    role: str = "shell"
    batch: float = 0.5
    family: ClassVar[str] = "ssh"

    def run(self, scene: Scene, dice: Dice, client: Host, start: float) -> None:
        connection = scene.connect(client, scene.server(self.role), 22, start)
        ssh_greeting(connection, dice)
        batch = dice.chance(self.batch)
        if not batch and dice.chance(0.2):
            ssh_attempt(connection, dice, dice.lognormal(4.0, 0.5), accepted=False)
        ssh_attempt(connection, dice, 2e-3 if batch else dice.lognormal(4.0, 0.5), accepted=True)
        connection.play(
            [
                (CLIENT, 112, 1e-3),
                (SERVER_SIDE, 500, 0.02),
                (CLIENT, dice.size(170, 0.5), 1e-3),
                (SERVER_SIDE, 108, 0.01),
            ]
        )
        if batch:
            upward = dice.chance(0.4)
            connection.send(CLIENT if upward else SERVER_SIDE, dice.size(3000, 1.6, 250_000), dice.lognormal(0.05, 1.0))
            connection.send(SERVER_SIDE if upward else CLIENT, 52, 0.01)
        else:
            self._type(connection, dice)
        connection.play([(SERVER_SIDE, 176, 0.01), (CLIENT, 36, 1e-3), (CLIENT, 60, 1e-4)])
        connection.finish(CLIENT, 1e-3)

    def _type(self, connection: TcpConnection, dice: Dice) -> None:
        for _ in range(dice.count(2.5)):
            for _ in range(dice.integer(2, 8)):
                connection.send(CLIENT, 36, dice.lognormal(0.16, 0.6))
                connection.send(SERVER_SIDE, 36, 1e-3)
            connection.send(SERVER_SIDE, dice.size(400, 1.3, 20_000), dice.lognormal(0.03, 1.2))
            connection.clock[CLIENT] += min(dice.lognormal(6.0, 1.2), 150.0)


@dataclass(frozen=True)
class SecureShellFailure:
    """Logins that fail innocently: a forgotten password, or a scheduled script with an old one that tries for ever."""

    role: str = "shell"
    scripted: float = 0.5
    family: ClassVar[str] = "ssh_failed"

    def run(self, scene: Scene, dice: Dice, client: Host, start: float) -> None:
        scripted, server = dice.chance(self.scripted), scene.server(self.role)
        offer = dice.pick((720.0, 950.0, 1300.0)) if scripted else 1300.0
        for _ in range(dice.count(3.0) if scripted else 1):
            connection = scene.connect(client, server, 22, start)
            ssh_greeting(connection, dice, offer)
            for _ in range(1 if scripted else dice.integer(1, 3)):
                ssh_attempt(
                    connection,
                    dice,
                    dice.lognormal(0.02, 0.8) if scripted else dice.lognormal(4.0, 0.6),
                    accepted=False,
                )
            connection.finish(CLIENT if scripted or dice.chance(0.5) else SERVER_SIDE, dice.lognormal(0.05, 1.5))
            start += dice.lognormal(45.0, 0.5)


def desktop_login(connection: TcpConnection, dice: Dice, accepted: bool) -> None:
    """RDP with network-level authentication: connection request, TLS, and the challenge and response of CredSSP
    (MS-RDPBCGR, MS-CSSP)."""
    connection.play([(CLIENT, dice.integer(37, 47), 1e-3), (SERVER_SIDE, 19, dice.lognormal(3e-3, 0.6))])
    connection.play(
        [
            (CLIENT, dice.integer(180, 320), 1e-3),
            (SERVER_SIDE, dice.integer(1150, 1350), 3e-3),
            (CLIENT, dice.integer(126, 160), 1e-3),
        ]
    )
    connection.play(
        [(SERVER_SIDE, 51, 2e-3), (CLIENT, dice.integer(86, 110), 1e-3), (SERVER_SIDE, dice.integer(250, 330), 2e-3)]
    )
    connection.send(CLIENT, dice.integer(600, 780), dice.lognormal(2e-3, 0.5))
    connection.send(
        SERVER_SIDE, dice.integer(110, 140) if accepted else dice.integer(60, 95), dice.lognormal(0.02, 0.7)
    )


@dataclass(frozen=True)
class Desktop:
    """Remote desktops: a login (``failed`` of them refused), then screen updates and input."""

    role: str = "desktops"
    failed: float = 0.25
    family: ClassVar[str] = "desktop"

    def run(self, scene: Scene, dice: Dice, client: Host, start: float) -> None:
        connection = scene.connect(client, scene.server(self.role), 3389, start)
        accepted = not dice.chance(self.failed)
        desktop_login(connection, dice, accepted)
        if accepted:
            connection.play([(CLIENT, 460, 5e-3), (SERVER_SIDE, 360, 0.02)])
            for _ in range(dice.count(10.0)):
                connection.send(CLIENT, dice.integer(40, 110), dice.lognormal(0.3, 1.2))
                connection.send(SERVER_SIDE, dice.size(900, 1.4, 60_000), dice.lognormal(0.03, 0.6))
        connection.reset(CLIENT, dice.lognormal(0.05, 1.5))


@dataclass(frozen=True)
class OnionCircuit:
    """A connection to a Tor-like relay: everything in whole cells, padding now and then, open for long."""

    family: ClassVar[str] = "onion"

    def run(self, scene: Scene, dice: Dice, client: Host, start: float) -> None:
        connection = tls_connection(
            scene, client, scene.server("relay"), dice.pick((443, 9001)), start, hello=280, resumed=0.0
        )
        for _ in range(3):  # extending the circuit
            connection.play(
                [
                    (CLIENT, CELL_RECORD, dice.lognormal(5e-3, 0.6)),
                    (SERVER_SIDE, CELL_RECORD, dice.lognormal(0.15, 0.4)),
                ]
            )
        for _ in range(dice.count(4.0)):
            connection.send(CLIENT, CELL_RECORD * dice.count(1.4), dice.lognormal(2.0, 1.2))
            connection.send(SERVER_SIDE, CELL_RECORD * min(200, int(dice.pareto(1.0, 0.9))), dice.lognormal(0.25, 0.5))
        while connection.clock[CLIENT] < scene.duration and dice.chance(0.7):  # connection padding
            connection.send(dice.pick((CLIENT, SERVER_SIDE)), CELL_RECORD, dice.uniform(5.0, 60.0))
        if dice.chance(0.5):
            connection.finish(CLIENT, 1.0)
