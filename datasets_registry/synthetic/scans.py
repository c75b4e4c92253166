"""Attacks that look for hosts and services."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from datasets_registry.synthetic.datagrams import PORT_UNREACHABLE
from datasets_registry.synthetic.network import MIRAI, NMAP, Host
from datasets_registry.synthetic.randomness import Dice
from datasets_registry.synthetic.scene import Scene
from datasets_registry.synthetic.trace import CLIENT, SERVER_SIDE


@dataclass(frozen=True)
class PortScan:
    """Half-open scan of many ports of a few hosts, as nmap -sS: raw SYNs from one port; closed ports answer RST,
    filtered ones nothing.

    pace   mean seconds between probes
    """

    target: str
    pace: float = 0.05
    filtered: float = 0.15
    opened: float = 0.05
    family: ClassVar[str] = "port_scan"

    def run(self, scene: Scene, dice: Dice, attackers: Sequence[Host], start: float, flows: int) -> None:
        raw = replace(dice.pick(attackers), stack=NMAP)
        victims = dice.sample(scene.hosts(self.target), 3)
        source_port = scene.port(raw)
        ports = dice.sample(range(1, 10_000), flows // len(victims) + 1)
        for number, at in enumerate(scene.arrivals(start, self.pace, flows)):
            victim = victims[number % len(victims)]
            connection = scene.tcp(raw, victim, ports[number // len(victims)], at, source_port)
            fate = dice.random()
            if fate < self.filtered:
                connection.unanswered((1.0, 1.0))
            elif fate < self.filtered + self.opened:
                connection.half_open(reset=True)
            else:
                connection.refused()


@dataclass(frozen=True)
class ServiceScan:
    """Full connections that read a banner or provoke an answer and leave, from the machine's own stack (nmap -sV,
    masscan --banners)."""

    target: str
    pace: float = 1.5
    ports: tuple[int, ...] = (21, 22, 25, 80, 110, 143, 443, 3306, 8080, 8443)
    family: ClassVar[str] = "service_scan"

    def run(self, scene: Scene, dice: Dice, attackers: Sequence[Host], start: float, flows: int) -> None:
        for at in scene.arrivals(start, self.pace, flows):
            connection = scene.connect(
                dice.pick(attackers), dice.pick(scene.hosts(self.target)), dice.pick(self.ports), at
            )
            if dice.chance(0.35):
                connection.send(SERVER_SIDE, dice.size(60, 0.4), dice.lognormal(0.02, 0.8))
            else:
                connection.send(CLIENT, dice.pick((18, 22, 63, 220, 517)), dice.lognormal(0.01, 0.8))
                if dice.chance(0.8):
                    connection.send(SERVER_SIDE, dice.size(700, 1.1, 20_000), dice.lognormal(0.02, 0.8))
            close = connection.finish if dice.chance(0.6) else connection.reset
            close(CLIENT, dice.lognormal(0.05, 1.5))


@dataclass(frozen=True)
class HostSweep:
    """One SYN to each of many addresses, most of which do not exist: a worm or bot that looks for the next victim
    (Mirai's SYN has no options)."""

    ports: tuple[int, ...] = (23, 23, 2323)
    pace: float = 0.08
    answered: float = 0.08
    raw: bool = True
    family: ClassVar[str] = "host_sweep"

    def run(self, scene: Scene, dice: Dice, attackers: Sequence[Host], start: float, flows: int) -> None:
        for at in scene.arrivals(start, self.pace, flows):
            host = dice.pick(attackers)
            connection = scene.tcp(
                replace(host, stack=MIRAI) if self.raw else host, scene.stranger(host.stack), dice.pick(self.ports), at
            )
            if dice.chance(self.answered):
                connection.refused()
            else:
                connection.unanswered((1.0, 2.0, 4.0)[: 1 if self.raw else dice.integer(1, 3)])


@dataclass(frozen=True)
class UdpScan:
    """Probes to UDP ports: silence, an ICMP error (rate-limited, so only now and then), rarely an answer."""

    target: str
    pace: float = 0.4
    family: ClassVar[str] = "udp_scan"

    def run(self, scene: Scene, dice: Dice, attackers: Sequence[Host], start: float, flows: int) -> None:
        attacker = dice.pick(attackers)
        victims = dice.sample(scene.hosts(self.target), 4)
        ports = dice.sample(range(1, 5_000), flows // len(victims) + 1)
        source_port = scene.port(attacker)
        for number, at in enumerate(scene.arrivals(start, self.pace, flows)):
            victim, port = victims[number % len(victims)], ports[number // len(victims)]
            exchange = scene.udp(attacker, victim, port, at, source_port)
            size = dice.pick((0, 0, 0, 8, 12, 40, 48))
            exchange.send(CLIENT, size)
            fate = dice.random()
            if fate < 0.2:
                scene.icmp(victim, attacker, exchange.clock[SERVER_SIDE]).send(
                    CLIENT, 28 + size, 1e-4, PORT_UNREACHABLE
                )
            elif fate < 0.25:
                exchange.send(SERVER_SIDE, dice.size(80, 0.6), 1e-3)
            elif fate < 0.7:
                exchange.send(CLIENT, size, 1.0)
