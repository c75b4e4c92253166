"""Benign background: names, clocks, announcements, monitoring, directory and file services, and connections that
fail."""

from dataclasses import dataclass
from typing import ClassVar

from datasets_registry.synthetic.datagrams import ECHO_REPLY, ECHO_REQUEST
from datasets_registry.synthetic.network import Host
from datasets_registry.synthetic.randomness import Dice
from datasets_registry.synthetic.scene import Scene
from datasets_registry.synthetic.sessions import resolve
from datasets_registry.synthetic.tcp import TcpConnection
from datasets_registry.synthetic.trace import CLIENT, SERVER_SIDE

MDNS_GROUP, SSDP_GROUP, BROADCAST = b"\xe0\x00\x00\xfb", b"\xef\xff\xff\xfa", b"\xff\xff\xff\xff"
MDNS_GROUP_V6 = b"\xff\x02" + bytes(13) + b"\xfb"
NEIGHBOUR_SOLICITATION = 135


@dataclass(frozen=True)
class Lookup:
    """Names that are asked for without a connection that follows; the longest are service discovery and mail checks
    (TXT)."""

    text_share: float = 0.06
    family: ClassVar[str] = "dns"

    def run(self, scene: Scene, dice: Dice, client: Host, start: float) -> None:
        if not dice.chance(self.text_share):
            resolve(scene, client, start)
            return
        exchange = scene.udp(client, scene.server("resolver"), 53, start)
        name = dice.size(62, 0.35, 220)
        exchange.send(CLIENT, name)
        exchange.send(SERVER_SIDE, name + dice.size(160, 0.6, 900), dice.lognormal(0.03, 0.6))


@dataclass(frozen=True)
class Ntp:
    """Clock queries, from port 123 (daemons) or not."""

    family: ClassVar[str] = "ntp"

    def run(self, scene: Scene, dice: Dice, client: Host, start: float) -> None:
        exchange = scene.udp(client, scene.server("ntp"), 123, start, 123 if dice.chance(0.5) else None)
        for _ in range(dice.pick((1, 1, 1, 2, 4))):
            if exchange.send(CLIENT, 48):
                exchange.send(SERVER_SIDE, 48, 1e-4)
            exchange.clock[CLIENT] += 2.0


@dataclass(frozen=True)
class Announcements:
    """mDNS and SSDP: datagrams to groups, answered (if at all) in other flows; with ``v6`` also neighbour
    solicitations."""

    v6: bool = False
    family: ClassVar[str] = "announcement"

    def run(self, scene: Scene, dice: Dice, client: Host, start: float) -> None:
        kind = dice.random()
        if kind < 0.5:
            group = MDNS_GROUP_V6 if self.v6 and dice.chance(0.4) else MDNS_GROUP
            exchange = scene.multicast(client, group, 5353, start, 5353)
            for number in range(dice.integer(1, 4)):
                exchange.send(CLIENT, dice.size(110, 0.7, 1200), float(2**number - 1))
        elif kind < 0.8 or not self.v6:
            port = scene.port(client)
            exchange = scene.multicast(client, SSDP_GROUP, 1900, start, port)
            for _ in range(dice.integer(2, 4)):
                exchange.send(CLIENT, dice.integer(94, 170), 1.0)
            for device in dice.sample(scene.hosts("resolver"), 1):
                answer = scene.udp(device, client, port, start + dice.uniform(0.05, 2.0), 1900)
                answer.send(CLIENT, dice.integer(260, 400))
        else:
            target = b"\xff\x02" + bytes(9) + b"\x01\xff" + bytes(dice.integer(0, 255) for _ in range(3))
            exchange = scene.multicast(client, target, 0, start, 0)
            for _ in range(dice.integer(1, 3)):
                exchange.send(CLIENT, 24, 1.0, NEIGHBOUR_SOLICITATION)


@dataclass(frozen=True)
class Lease:
    """DHCP: a renewal to the server, or a discovery to everybody."""

    family: ClassVar[str] = "dhcp"

    def run(self, scene: Scene, dice: Dice, client: Host, start: float) -> None:
        if dice.chance(0.4):
            scene.multicast(client, BROADCAST, 67, start, 68).send(CLIENT, dice.integer(292, 330))
            return
        exchange = scene.udp(client, scene.server("resolver"), 67, start, 68)
        exchange.send(CLIENT, dice.integer(292, 330))
        exchange.send(SERVER_SIDE, dice.integer(300, 340), dice.lognormal(3e-3, 0.8))


@dataclass(frozen=True)
class Ping:
    """Echo requests, to the gateway or to a server outside."""

    size: int = 56
    family: ClassVar[str] = "ping"

    def run(self, scene: Scene, dice: Dice, client: Host, start: float) -> None:
        exchange = scene.icmp(client, scene.server(dice.pick(("resolver", "web"))), start)
        for _ in range(dice.pick((1, 3, 4, 4, 10))):
            begin = exchange.clock[CLIENT]
            if exchange.send(CLIENT, self.size, 0.0, ECHO_REQUEST):
                exchange.send(SERVER_SIDE, self.size, 5e-5, ECHO_REPLY)
            exchange.clock[CLIENT] = begin + 1.0


@dataclass(frozen=True)
class Failure:
    """Connections that come to nothing: no answer (after retries), or refused; ``port`` and ``role`` say what was
    tried."""

    role: str = "web"
    port: int = 443
    silent: float = 0.55
    family: ClassVar[str] = "failed"

    def run(self, scene: Scene, dice: Dice, client: Host, start: float) -> None:
        connection = scene.tcp(client, scene.server(self.role), self.port, start)
        if dice.chance(self.silent):
            connection.unanswered((1.0, 2.0, 4.0, 8.0)[: dice.integer(1, 4)])
        else:
            connection.refused(0 if client.stack.timestamps else dice.integer(0, 2))


@dataclass(frozen=True)
class Directory:
    """Kerberos tickets and LDAP searches at the domain controller."""

    family: ClassVar[str] = "directory"

    def run(self, scene: Scene, dice: Dice, client: Host, start: float) -> None:
        server = scene.server("controller")
        ticket = dice.chance(0.55)
        connection = scene.connect(client, server, 88 if ticket else 389, start)
        if ticket:
            connection.play(
                [(CLIENT, dice.integer(230, 320), 2e-4), (SERVER_SIDE, dice.size(1500, 0.1), dice.lognormal(2e-3, 0.5))]
            )
        else:
            connection.play(
                [(CLIENT, dice.size(1700, 0.2), 2e-4), (SERVER_SIDE, dice.integer(180, 230), dice.lognormal(2e-3, 0.5))]
            )
            for _ in range(dice.count(2.5)):
                connection.play(
                    [
                        (CLIENT, dice.size(260, 0.3), dice.lognormal(5e-3, 1.0)),
                        (SERVER_SIDE, dice.size(700, 1.0, 20_000), 2e-3),
                    ]
                )
        connection.finish(CLIENT, dice.lognormal(2e-3, 1.0))


@dataclass(frozen=True)
class FileShare:
    """SMB: negotiate, log in, open, read or write, close; the connection then idles."""

    role: str = "files"
    family: ClassVar[str] = "file_share"

    def run(self, scene: Scene, dice: Dice, client: Host, start: float) -> None:
        connection = scene.connect(client, scene.server(self.role), 445, start)
        smb_login(scene, connection, dice.integer(0, 1))
        for _ in range(dice.count(2.5)):
            connection.play(
                [
                    (CLIENT, dice.size(230, 0.25), dice.lognormal(0.05, 1.6)),
                    (SERVER_SIDE, dice.size(220, 0.2), dice.lognormal(1e-3, 0.6)),
                ]
            )
            if dice.chance(0.35):
                connection.play([(CLIENT, 117, 5e-4), (SERVER_SIDE, dice.size(9000, 1.3, 200_000), 2e-3)])
            elif dice.chance(0.35):
                connection.play([(CLIENT, dice.size(6000, 1.3, 200_000), 1e-3), (SERVER_SIDE, 84, 2e-3)])
            connection.play([(CLIENT, 92, 5e-4), (SERVER_SIDE, 128, 5e-4)])
        if dice.chance(0.5):
            connection.finish(CLIENT, dice.lognormal(10.0, 0.7))
        else:
            connection.keepalive(CLIENT, 60.0)


def smb_login(scene: Scene, connection: TcpConnection, failures: int) -> None:
    """Negotiation and session set-up, after ``failures`` refused passwords."""
    dice = scene.dice
    connection.play([(CLIENT, dice.integer(200, 240), 2e-4), (SERVER_SIDE, dice.integer(250, 460), 1e-3)])
    for _ in range(1 + failures):
        connection.play([(CLIENT, 166, 5e-4), (SERVER_SIDE, dice.integer(300, 360), 1e-3)])
        connection.play(
            [(CLIENT, dice.size(520, 0.2), 5e-4), (SERVER_SIDE, dice.integer(76, 130), dice.lognormal(4e-3, 0.6))]
        )
    connection.play([(CLIENT, dice.integer(100, 130), 5e-4), (SERVER_SIDE, 84, 5e-4)])


@dataclass(frozen=True)
class Monitor:
    """SNMP polls of devices (group or role ``target``)."""

    target: str
    family: ClassVar[str] = "monitoring"

    def run(self, scene: Scene, dice: Dice, client: Host, start: float) -> None:
        exchange = scene.udp(client, dice.pick(scene.hosts(self.target)), 161, start)
        for _ in range(dice.count(3.0)):
            size = dice.integer(38, 90)
            if exchange.send(CLIENT, size, dice.lognormal(0.02, 0.8)):
                exchange.send(SERVER_SIDE, size + dice.size(24, 0.9, 900), dice.lognormal(4e-3, 0.8))


@dataclass(frozen=True)
class Syslog:
    """Log lines that nobody answers."""

    every: float = 25.0
    family: ClassVar[str] = "syslog"

    def run(self, scene: Scene, dice: Dice, client: Host, start: float) -> None:
        exchange = scene.udp(client, scene.server("logs"), 514, start, 514)
        while exchange.clock[CLIENT] < scene.duration:
            exchange.send(CLIENT, dice.size(130, 0.4, 1000), dice.exponential(self.every))
