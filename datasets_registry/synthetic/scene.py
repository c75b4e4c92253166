"""One capture in the making: the place where applications meet hosts, ports and paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from datasets_registry.synthetic.datagrams import DatagramExchange
from datasets_registry.synthetic.network import Host, Link, Path, Stack, draw_host, path_between
from datasets_registry.synthetic.randomness import Dice
from datasets_registry.synthetic.tcp import TcpConnection, syn_options
from datasets_registry.synthetic.trace import ICMP, ICMPV6, TCP, UDP, FlowEntry, Trace

GATEWAY_MAC = b"\x02\x00\x00\x00\x00\x01"
Sides = tuple[bytes, bytes]


@dataclass(frozen=True)
class Scene:
    """One capture: seconds of ``duration``, the hosts that are seen in it by group, and the label that new flows get.

    everyone    all hosts of every group and all servers of every role, seen in this capture or not
    popularity  role → weights of its servers
    wan         how hosts outside are reached
    """

    everyone: Mapping[str, list[Host]]
    popularity: Mapping[str, list[float]]
    wan: Link
    dice: Dice
    trace: Trace
    duration: float
    present: Mapping[str, list[Host]]
    family: str = ""
    attack: bool = False
    _ports: set[tuple[bytes, int]] = field(default_factory=set)

    def labelled(self, family: str, attack: bool) -> Scene:
        """The same capture, with another label for what comes."""
        return replace(self, family=family, attack=attack)

    def hosts(self, name: str) -> list[Host]:
        """The hosts of a group that are present, or all servers of a role."""
        return self.present.get(name) or self.everyone[name]

    def server(self, role: str) -> Host:
        """A server of a role, popular ones more often."""
        return self.dice.weighted(self.everyone[role], self.popularity[role])

    def stranger(self, stack: Stack) -> Host:
        """A host outside that nobody has seen before, such as a forged sender."""
        address = bytes((198, self.dice.integer(18, 19), self.dice.integer(0, 255), self.dice.integer(1, 254)))
        return draw_host(self.dice, self.wan, stack, (address, None), GATEWAY_MAC)

    def port(self, host: Host) -> int:
        """An ephemeral port that the host has not used in this capture, so that no two connections share a 5-tuple."""
        while True:
            port = self.dice.integer(*host.stack.ports)
            if (host.v4, port) not in self._ports:
                self._ports.add((host.v4, port))
                return port

    def arrivals(self, start: float, pace: float, flows: int, sigma: float | None = None) -> Iterator[float]:
        """When each of ``flows`` flows begins: seconds apart that are exponential with mean ``pace``, or log-normal
        about it with ``sigma``."""
        for _ in range(flows):
            start += self.dice.exponential(pace) if sigma is None else pace * self.dice.lognormal(1.0, sigma)
            yield start

    def tcp(self, client: Host, server: Host, port: int, start: float, source_port: int | None = None) -> TcpConnection:
        """A connection that has yet to be opened; IPv6 is preferred where both ends have it."""
        addresses, path = self._way(client, server)
        stacks = (client.stack, server.stack)
        options = (syn_options(client.stack, path.mss), syn_options(server.stack, path.mss, client.stack))
        flow = self._add(TCP, client, server, addresses, (source_port or self.port(client), port), options)
        return TcpConnection(self.trace, self.dice, flow, stacks, path, start)

    def connect(self, client: Host, server: Host, port: int, start: float) -> TcpConnection:
        """As ``tcp``, opened."""
        connection = self.tcp(client, server, port, start)
        connection.open()
        return connection

    def udp(
        self, client: Host, server: Host, port: int, start: float, source_port: int | None = None
    ) -> DatagramExchange:
        """A UDP exchange; IPv6 is preferred where both ends have it."""
        addresses, path = self._way(client, server)
        flow = self._add(UDP, client, server, addresses, (source_port or self.port(client), port))
        return DatagramExchange(self.trace, self.dice, flow, path, start)

    def icmp(self, client: Host, server: Host, start: float) -> DatagramExchange:
        """ICMP over IPv4."""
        flow = self._add(ICMP, client, server, (client.v4, server.v4), (0, 0))
        return DatagramExchange(self.trace, self.dice, flow, path_between(client, server), start)

    def multicast(self, sender: Host, group: bytes, port: int, start: float, source_port: int) -> DatagramExchange:
        """Datagrams to an IPv4 or IPv6 group (port 0: ICMPv6), which nobody answers in the same flow."""
        source = sender.v4 if len(group) == 4 else b"\xfe\x80" + bytes(6) + b"\x00\x00\x5e\xff" + sender.v4
        everyone = group == b"\xff\xff\xff\xff"
        mac = (
            group[:4] + b"\xff\xff"
            if everyone
            else (b"\x01\x00\x5e" + group[1:] if len(group) == 4 else b"\x33\x33" + group[12:])
        )
        entry = FlowEntry(
            UDP if port else ICMPV6,
            (source, group),
            (source_port, port),
            (sender.mac, mac),
            (255, 255),
            (b"", b""),
            self.attack,
            self.family,
        )
        path = Path((sender.distance, 0.0), sender.jitter, sender.loss, (sender.rate, sender.rate), sender.mss)
        return DatagramExchange(self.trace, self.dice, self.trace.add(entry), path, start)

    def _way(self, client: Host, server: Host) -> tuple[Sides, Path]:
        path = path_between(client, server)
        if client.v6 is not None and server.v6 is not None:
            return (client.v6, server.v6), replace(path, mss=path.mss - 20)
        return (client.v4, server.v4), path

    def _add(
        self,
        proto: int,
        client: Host,
        server: Host,
        addresses: Sides,
        ports: tuple[int, int],
        options: Sides = (b"", b""),
    ) -> int:
        ttls = (client.stack.ttl - client.hops, server.stack.ttl - server.hops)
        return self.trace.add(
            FlowEntry(proto, addresses, ports, (client.mac, server.mac), ttls, options, self.attack, self.family)
        )
