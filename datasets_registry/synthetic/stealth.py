"""Attacks in the protocols of everyday traffic; what tells them apart is a matter of sizes and times, and sometimes
nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from datasets_registry.synthetic.industrial import modbus_read
from datasets_registry.synthetic.network import Host
from datasets_registry.synthetic.randomness import Dice
from datasets_registry.synthetic.scene import Scene
from datasets_registry.synthetic.services import smb_login
from datasets_registry.synthetic.sessions import hang_up, tls_connection, tls_handshake, web_connection
from datasets_registry.synthetic.tcp import TcpConnection
from datasets_registry.synthetic.trace import CLIENT, SERVER_SIDE
from datasets_registry.synthetic.web import page_requests


@dataclass(frozen=True)
class Beacon:
    """An implant asks its server for orders every ``period`` seconds ± ``jitter``; mostly there are none, now and then
    a task or a result.

    Sizes and times are those of common frameworks' HTTPS profiles: one short exchange per connection.
    """

    period: float = 30.0
    jitter: float = 0.3
    request: float = 380.0
    answer: float = 230.0
    family: ClassVar[str] = "beacon"

    def run(self, scene: Scene, dice: Dice, attackers: Sequence[Host], start: float, flows: int) -> None:
        server = scene.server("cloud")  # hosted where others host
        clocks = {host.v4: start + dice.uniform(0.0, self.period) for host in attackers}
        for number in range(flows):
            host = attackers[number % len(attackers)]
            connection = scene.tcp(host, server, 443, clocks[host.v4])
            clocks[host.v4] += self.period * dice.uniform(1 - self.jitter, 1 + self.jitter)
            connection.open()
            tls_handshake(connection, dice, hello=300, resumed=0.3)
            connection.send(CLIENT, dice.size(self.request, 0.15), dice.lognormal(0.01, 0.8))
            connection.send(SERVER_SIDE, dice.size(self.answer, 0.2), dice.lognormal(0.04, 0.5))
            if dice.chance(0.12):
                connection.send(CLIENT, dice.size(1500, 1.0, 30_000), dice.lognormal(0.3, 1.0))
                connection.send(SERVER_SIDE, dice.size(self.answer, 0.2), dice.lognormal(0.04, 0.5))
            connection.finish(CLIENT, dice.lognormal(0.05, 1.2))


@dataclass(frozen=True)
class WebAttack:
    """SQL injection, cross-site scripting and directory search on the public web server.

    By hand (``manual``): a visit with one odd form.  With a tool: longer requests, answers that are the same page or an
    error, hardly a pause.
    """

    manual: float = 0.35
    pace: float = 2.0
    tls: float = 0.7
    response: float = 3000.0
    family: ClassVar[str] = "web_attack"

    def run(self, scene: Scene, dice: Dice, attackers: Sequence[Host], start: float, flows: int) -> None:
        server = dice.pick(scene.hosts("public"))
        page = dice.size(self.response, 0.8, 60_000)
        for at in scene.arrivals(start, self.pace, flows):
            secure = dice.chance(self.tls)
            connection = web_connection(scene, dice.pick(attackers), server, at, secure)
            if dice.chance(self.manual):
                self._by_hand(scene, connection)
            else:
                self._by_tool(scene, connection, page)

    def _by_hand(self, scene: Scene, connection: TcpConnection) -> None:
        dice = scene.dice
        page_requests(scene, connection, dice.count(1.8), 450, self.response)
        connection.send(CLIENT, dice.size(950, 0.4), min(dice.lognormal(12.0, 0.8), 100.0))
        connection.send(SERVER_SIDE, dice.size(1300, 1.0), dice.lognormal(0.08, 0.9))
        hang_up(connection, dice)

    def _by_tool(self, scene: Scene, connection: TcpConnection, page: int) -> None:
        dice = scene.dice
        for _ in range(dice.count(2.5)):
            connection.send(CLIENT, dice.size(500, 0.3), dice.lognormal(0.02, 1.0))
            body = page + dice.integer(-40, 40) if dice.chance(0.6) else dice.size(700, 0.5)
            connection.send(SERVER_SIDE, max(150, body), dice.lognormal(0.02, 1.1))
        connection.finish(CLIENT, dice.lognormal(0.02, 1.2))


@dataclass(frozen=True)
class DnsExfiltration:
    """Data in names: each query carries an encoded piece (``piece`` bytes of name), each answer an acknowledgement or
    an order."""

    piece: float = 75.0
    pace: float = 1.2
    family: ClassVar[str] = "dns_exfiltration"

    def run(self, scene: Scene, dice: Dice, attackers: Sequence[Host], start: float, flows: int) -> None:
        resolver = scene.server("resolver")
        for at in scene.arrivals(start, self.pace, flows):
            exchange = scene.udp(dice.pick(attackers), resolver, 53, at)
            name = dice.size(self.piece, 0.3, 250)
            if exchange.send(CLIENT, name):
                exchange.send(SERVER_SIDE, name + dice.size(50, 0.6, 300), scene.wan.rtt * dice.lognormal(1.4, 0.5))


@dataclass(frozen=True)
class WebExfiltration:
    """Stolen data in pieces over TLS, each piece a connection of its own and small enough to pass for an upload (ATT&CK
    T1030)."""

    piece: float = 9000.0
    pace: float = 15.0
    family: ClassVar[str] = "web_exfiltration"

    def run(self, scene: Scene, dice: Dice, attackers: Sequence[Host], start: float, flows: int) -> None:
        server = scene.server("cloud")
        for at in scene.arrivals(start, self.pace, flows, sigma=0.5):
            connection = tls_connection(scene, dice.pick(attackers), server, 443, at)
            for _ in range(dice.count(1.5)):
                connection.send(CLIENT, dice.size(self.piece, 0.5, 150_000), dice.lognormal(0.1, 1.2))
                connection.send(SERVER_SIDE, dice.size(220, 0.4), dice.lognormal(0.06, 0.7))
            hang_up(connection, dice, idle=1.5)


@dataclass(frozen=True)
class LateralMovement:
    """From a taken workstation to its neighbours: log in over SMB (some passwords fail), copy a program, start it
    through a named pipe."""

    target: str
    program: float = 25_000.0
    pace: float = 6.0
    family: ClassVar[str] = "lateral_movement"

    def run(self, scene: Scene, dice: Dice, attackers: Sequence[Host], start: float, flows: int) -> None:
        for at in scene.arrivals(start, self.pace, flows):
            attacker = dice.pick(attackers)
            others = [host for host in scene.hosts(self.target) if host.v4 != attacker.v4]
            connection = scene.connect(attacker, dice.pick(others), 445, at)
            smb_login(scene, connection, dice.integer(0, 2))
            if dice.chance(0.45):
                connection.play(
                    [
                        (CLIENT, dice.size(240, 0.2), dice.lognormal(0.02, 1.0)),
                        (SERVER_SIDE, 156, dice.lognormal(1e-3, 0.6)),
                    ]
                )
                connection.send(CLIENT, dice.size(self.program, 0.6, 150_000), 1e-3)
                connection.send(SERVER_SIDE, 84, 3e-3)
                for _ in range(dice.integer(4, 9)):
                    connection.play(
                        [
                            (CLIENT, dice.size(260, 0.3), dice.lognormal(5e-3, 0.8)),
                            (SERVER_SIDE, dice.size(180, 0.3), 2e-3),
                        ]
                    )
            connection.finish(CLIENT, dice.lognormal(0.3, 1.5))


@dataclass(frozen=True)
class ModbusTampering:
    """A machine that is no master reads out a controller and writes set-points: more writes than a panel, and addresses
    that raise exceptions."""

    writes: float = 0.5
    errors: float = 0.2
    pace: float = 3.0
    family: ClassVar[str] = "modbus_tampering"

    def run(self, scene: Scene, dice: Dice, attackers: Sequence[Host], start: float, flows: int) -> None:
        for at in scene.arrivals(start, self.pace, flows, sigma=0.6):
            connection = scene.connect(dice.pick(attackers), dice.pick(scene.hosts("controllers")), 502, at)
            for _ in range(dice.count(2.2)):
                kind = dice.random()
                if kind < self.writes:
                    size = dice.pick((12, 12, 17, 23))
                    connection.play(
                        [(CLIENT, size, dice.lognormal(0.05, 1.2)), (SERVER_SIDE, 12, dice.uniform(2e-3, 2.5e-2))]
                    )
                elif kind < self.writes + self.errors:
                    connection.play(
                        [(CLIENT, 12, dice.lognormal(0.01, 0.8)), (SERVER_SIDE, 9, dice.uniform(2e-3, 2.5e-2))]
                    )
                else:
                    modbus_read(connection, scene, dice.pick((1, 8, 10, 16, 20, 60)), dice.lognormal(5e-3, 0.8))
            connection.finish(CLIENT, dice.lognormal(2e-3, 0.8))
