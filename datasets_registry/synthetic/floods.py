"""Attacks that exhaust: floods of packets, of connections, of requests, and connections held open."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from datasets_registry.synthetic.network import Host
from datasets_registry.synthetic.randomness import Dice
from datasets_registry.synthetic.scene import Scene
from datasets_registry.synthetic.sessions import web_connection
from datasets_registry.synthetic.trace import CLIENT, SERVER_SIDE
from datasets_registry.synthetic.web import page_requests


@dataclass(frozen=True)
class SynFlood:
    """SYNs to one port of one host, each with another source port, from forged senders (``forged``: nobody answers the
    SYN-ACK, which is repeated) or from the machines themselves (whose kernel answers RST).  ``window`` None: the
    stack's own, else the flooding program's."""

    target: str
    port: int = 80
    pace: float = 0.01
    forged: bool = True
    window: int | None = 512
    family: ClassVar[str] = "syn_flood"

    def run(self, scene: Scene, dice: Dice, attackers: Sequence[Host], start: float, flows: int) -> None:
        victim = dice.pick(scene.hosts(self.target))
        for number, at in enumerate(scene.arrivals(start, self.pace, flows)):
            sender = dice.pick(attackers)
            stack = sender.stack
            if self.window is not None:
                stack = replace(
                    stack, syn_window=self.window, wscale=None, mss=0, timestamps=False, sack=False, ports=(1024, 65000)
                )
            sender = scene.stranger(stack) if self.forged else replace(sender, stack=stack)
            connection = scene.tcp(sender, victim, self.port, at)
            if dice.chance(number / flows):  # the backlog fills
                connection.unanswered((1.0, 1.0) if self.window is None and dice.chance(0.3) else (1.0,))
            elif self.forged:
                connection.half_open(reset=False, retries=(1.0, 2.0, 4.0)[: dice.integer(0, 3)])
            else:
                connection.half_open(reset=True)


@dataclass(frozen=True)
class UdpFlood:
    """Datagrams of a few sizes to changing ports of one host outside (``target`` empty) or inside; a flow is the burst
    that one port gets."""

    target: str = ""
    sizes: tuple[int, ...] = (512,)
    pace: float = 0.02
    burst: float = 2.0
    family: ClassVar[str] = "udp_flood"

    def run(self, scene: Scene, dice: Dice, attackers: Sequence[Host], start: float, flows: int) -> None:
        victim = dice.pick(scene.hosts(self.target)) if self.target else scene.stranger(attackers[0].stack)
        for port in dice.sample(range(1024, 65_000), flows):
            start += dice.exponential(self.pace)
            exchange = scene.udp(dice.pick(attackers), victim, port, start)
            size = dice.pick(self.sizes)
            for _ in range(dice.count(self.burst)):
                exchange.send(CLIENT, size, dice.exponential(1e-3))


@dataclass(frozen=True)
class Amplification:
    """Answers that nobody asked for: reflectors outside send large datagrams from a service port to one host inside."""

    target: str
    services: tuple[tuple[int, int], ...] = ((53, 1200), (123, 440), (1900, 310), (389, 1400))
    pace: float = 0.05
    family: ClassVar[str] = "amplification"

    def run(self, scene: Scene, dice: Dice, attackers: Sequence[Host], start: float, flows: int) -> None:
        victim = dice.pick(scene.hosts(self.target))
        port, typical = dice.pick(self.services)
        for at in scene.arrivals(start, self.pace, flows):
            reflector = scene.stranger(dice.pick(attackers).stack)
            exchange = scene.udp(reflector, victim, dice.integer(1024, 65_000), at, port)
            for _ in range(dice.count(2.5)):
                exchange.send(CLIENT, dice.size(typical, 0.1, 1450), dice.exponential(2e-3))


@dataclass(frozen=True)
class HttpFlood:
    """Requests for real pages of the site's web server, as fast as it answers, each on a connection of its own."""

    response: float = 3000.0
    pace: float = 0.2
    tls: float = 0.5
    family: ClassVar[str] = "http_flood"

    def run(self, scene: Scene, dice: Dice, attackers: Sequence[Host], start: float, flows: int) -> None:
        for at in scene.arrivals(start, self.pace, flows):
            secure = dice.chance(self.tls)
            connection = web_connection(scene, dice.pick(attackers), scene.hosts("public")[0], at, secure)
            page_requests(scene, connection, 1, 330, self.response)
            close = connection.finish if dice.chance(0.7) else connection.reset
            close(CLIENT, dice.lognormal(0.01, 1.0))


@dataclass(frozen=True)
class SlowHttp:
    """Requests that never end, so that the server's connections run out: a header line (slowloris) or a piece of body
    (slow POST) every ``every`` seconds, until the server gives up."""

    target: str = "public"
    port: int = 80
    every: float = 12.0
    pieces: tuple[int, int] = (8, 32)
    patience: float = 90.0
    family: ClassVar[str] = "slow_http"

    def run(self, scene: Scene, dice: Dice, attackers: Sequence[Host], start: float, flows: int) -> None:
        victim = dice.pick(scene.hosts(self.target))
        for at in scene.arrivals(start, 2.0, flows):
            connection = scene.connect(dice.pick(attackers), victim, self.port, at)
            connection.send(CLIENT, dice.size(230, 0.2), dice.lognormal(5e-3, 0.8))
            deadline = at + self.patience * dice.lognormal(1.0, 0.3)
            while connection.clock[CLIENT] < deadline:
                connection.send(CLIENT, dice.integer(*self.pieces), self.every * dice.uniform(0.8, 1.2))
            if dice.chance(0.5):
                connection.send(SERVER_SIDE, dice.integer(180, 520), 0.01)
                connection.finish(SERVER_SIDE, 1e-3)
            else:
                connection.reset(SERVER_SIDE, 0.01)
