"""Benign web, video, mail and transfers."""

from dataclasses import dataclass
from typing import ClassVar

from datasets_registry.synthetic.network import Host
from datasets_registry.synthetic.randomness import Dice
from datasets_registry.synthetic.scene import Scene
from datasets_registry.synthetic.sessions import hang_up, resolve, tls_connection, tls_handshake, web_connection
from datasets_registry.synthetic.tcp import TcpConnection
from datasets_registry.synthetic.trace import CLIENT, SERVER_SIDE


def page_requests(scene: Scene, connection: TcpConnection, count: int, request: int, response: float) -> None:
    """``count`` requests of about ``request`` bytes and responses with a log-normal body (median ``response`` bytes),
    with pauses between them."""
    dice = scene.dice
    for number in range(count):
        pause = dice.lognormal(0.08, 1.8) if number else dice.lognormal(0.002, 0.8)
        connection.send(CLIENT, dice.size(request, 0.35, 4000), min(pause, 100.0))
        # not modified, redirect, or a body
        body = dice.integer(120, 420) if dice.chance(0.25) else dice.size(response, 1.25, 250_000)
        connection.send(SERVER_SIDE, body, dice.lognormal(0.012, 0.9))


@dataclass(frozen=True)
class Web:
    """Page visits: look up names, then several connections to a page's servers, over TLS, QUIC (``quic``) or in the
    clear (``plain``)."""

    quic: float = 0.2
    plain: float = 0.08
    connections: float = 2.5
    response: float = 2600.0
    request: int = 430
    family: ClassVar[str] = "web"

    def run(self, scene: Scene, dice: Dice, client: Host, start: float) -> None:
        for number in range(dice.count(self.connections)):
            start = resolve(scene, client, start) if number == 0 or dice.chance(0.7) else start + dice.exponential(0.3)
            server, requests = scene.server("web"), dice.count(2.2)
            if dice.chance(self.quic):
                self._quic(scene, client, server, start, requests)
                continue
            secure = not dice.chance(self.plain)
            connection = web_connection(scene, client, server, start, secure)
            page_requests(scene, connection, requests, self.request, self.response)
            hang_up(connection, dice)
            if dice.chance(0.06):  # a second connection that was opened in advance and never used
                spare = scene.connect(client, server, 443 if secure else 80, start)
                spare.finish(CLIENT, dice.lognormal(8.0, 0.8))

    def _quic(self, scene: Scene, client: Host, server: Host, start: float, requests: int) -> None:
        dice = scene.dice
        exchange = scene.udp(client, server, 443, start)
        exchange.send(CLIENT, 1250)
        exchange.stream(SERVER_SIDE, dice.size(3600, 0.25), 1e-3)
        for _ in range(requests):
            exchange.send(CLIENT, dice.size(self.request * 0.6, 0.4, 1250), dice.lognormal(0.03, 1.8))
            exchange.stream(SERVER_SIDE, dice.size(self.response, 1.25, 250_000), dice.lognormal(0.012, 0.9))


@dataclass(frozen=True)
class SiteVisit:
    """Somebody outside reads the site's own web server (role ``public``): one or a few connections with forms now and
    then."""

    tls: float = 0.7
    response: float = 3000.0
    family: ClassVar[str] = "site_visit"

    def run(self, scene: Scene, dice: Dice, client: Host, start: float) -> None:
        server = scene.server("public")
        for _ in range(dice.count(1.8)):
            secure = dice.chance(self.tls)
            connection = web_connection(scene, client, server, start, secure)
            page_requests(scene, connection, dice.count(2.0), 450, self.response)
            if dice.chance(0.12):  # a form
                connection.send(CLIENT, dice.size(750, 0.5, 20_000), min(dice.lognormal(9.0, 0.8), 100.0))
                connection.send(SERVER_SIDE, dice.size(1500, 1.0), dice.lognormal(0.08, 0.7))
            hang_up(connection, dice)
            start += dice.lognormal(0.4, 1.4)


@dataclass(frozen=True)
class Video:
    """Adaptive streaming: a segment every few seconds, each a request and a long response."""

    segment: float = 60_000.0
    segments: float = 4.0
    family: ClassVar[str] = "video"

    def run(self, scene: Scene, dice: Dice, client: Host, start: float) -> None:
        connection = tls_connection(scene, client, scene.server("video"), 443, resolve(scene, client, start))
        rung = dice.lognormal(self.segment, 0.5)
        for number in range(dice.count(self.segments)):
            connection.send(CLIENT, dice.size(620, 0.15), dice.uniform(2.0, 6.0) if number > 1 else 0.02)
            connection.send(SERVER_SIDE, dice.size(rung, 0.3, 400_000), dice.lognormal(0.015, 0.5))
        hang_up(connection, dice, idle=8.0)


@dataclass(frozen=True)
class Imap:
    """Reading mail: a few commands, some messages, then waiting for news (IDLE), often longer than a capture."""

    messages: float = 1.6
    family: ClassVar[str] = "mail"

    def run(self, scene: Scene, dice: Dice, client: Host, start: float) -> None:
        connection = tls_connection(scene, client, scene.server("mail"), 993, resolve(scene, client, start))
        for _ in range(dice.integer(3, 6)):
            connection.send(SERVER_SIDE, dice.size(120, 0.6), dice.lognormal(0.02, 0.6))
            connection.send(CLIENT, dice.size(58, 0.25), dice.lognormal(0.003, 0.6))
        for _ in range(dice.count(self.messages) - 1):
            connection.send(CLIENT, dice.size(64, 0.2), dice.lognormal(0.4, 1.0))
            connection.send(SERVER_SIDE, dice.size(6000, 1.2, 200_000), dice.lognormal(0.03, 0.6))
        if dice.chance(0.4):
            for _ in range(dice.integer(1, 4)):
                connection.send(SERVER_SIDE, dice.integer(40, 70), dice.uniform(30.0, 110.0))
        hang_up(connection, dice)


@dataclass(frozen=True)
class Submission:
    """Sending mail: a dialogue of short lines, then the message."""

    message: float = 5000.0
    family: ClassVar[str] = "mail"

    def run(self, scene: Scene, dice: Dice, client: Host, start: float) -> None:
        connection = scene.connect(client, scene.server("mail"), 587, resolve(scene, client, start))
        connection.play(
            [
                (SERVER_SIDE, dice.size(70, 0.3), 0.02),
                (CLIENT, dice.size(24, 0.2), 1e-3),
                (SERVER_SIDE, dice.size(160, 0.2), 5e-3),
            ]
        )
        connection.play([(CLIENT, 10, 1e-3), (SERVER_SIDE, 30, 2e-3)])
        tls_handshake(connection, dice)
        for _ in range(5):
            connection.send(CLIENT, dice.size(62, 0.25), 1e-3)
            connection.send(SERVER_SIDE, dice.size(60, 0.3), dice.lognormal(0.02, 0.7))
        connection.send(CLIENT, dice.size(self.message, 1.4, 300_000), 2e-3)
        connection.send(SERVER_SIDE, dice.integer(50, 90), dice.lognormal(0.15, 0.7))
        connection.finish(CLIENT, 2e-3)


@dataclass(frozen=True)
class Transfer:
    """Files to or from a service over TLS: backups, cloud folders, updates; in pieces of which each is a request of its
    own."""

    family: str
    role: str
    up: float = 300.0
    down: float = 300.0
    pieces: float = 2.0
    pause: float = 0.6
    port: int = 443

    def run(self, scene: Scene, dice: Dice, client: Host, start: float) -> None:
        connection = tls_connection(scene, client, scene.server(self.role), self.port, resolve(scene, client, start))
        for _ in range(dice.count(self.pieces)):
            connection.send(CLIENT, dice.size(self.up, 1.1, 250_000), dice.lognormal(self.pause, 1.2))
            connection.send(SERVER_SIDE, dice.size(self.down, 1.1, 250_000), dice.lognormal(0.06, 0.8))
        hang_up(connection, dice)
