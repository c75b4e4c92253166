"""A site's hosts, and one capture in the making: the place where applications meet hosts, ports and paths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from .datagrams import DatagramExchange
from .network import Host, Path, Stack, draw_host, path_between
from .plan import Site
from .randomness import Dice, zipf_weights
from .tcp import TcpConnection, syn_options
from .trace import ICMP, ICMPV6, TCP, UDP, FlowEntry, Trace

__all__ = ["Scene", "World"]

GATEWAY_MAC = b"\x02\x00\x00\x00\x00\x01"


class World:
    """The hosts of a site by group or role name, with the popularity of servers; the same for all its captures."""

    def __init__(self, site: Site, dice: Dice) -> None:
        self.site = site
        self._used: set[bytes] = set()
        self.hosts: dict[str, list[Host]] = {}
        self.popularity: dict[str, list[float]] = {}
        for group in site.groups:
            self.hosts[group.name] = [self.host(dice, dice.pick(group.stacks), group.inside) for _ in range(group.count)]
        for role in site.servers:
            self.hosts[role.name] = [self.host(dice, dice.pick(role.stacks), role.inside) for _ in range(role.count)]
            self.popularity[role.name] = zipf_weights(role.count)

    def host(self, dice: Dice, stack: Stack, inside: bool) -> Host:
        """A new host with an address of its own: inside the site's subnet, or in 198.18.0.0/15, the benchmarking range (RFC 2544)."""
        while True:
            if inside:
                v4 = bytes((*self.site.subnet, dice.integer(0, 3), dice.integer(10, 250)))
            else:
                v4 = bytes((198, dice.integer(18, 19), dice.integer(0, 255), dice.integer(1, 254)))
            if v4 not in self._used:
                break
        self._used.add(v4)
        v6 = None
        if dice.chance(self.site.v6_share):
            prefix = b"\xfd\x00" + bytes(self.site.subnet) if inside else b"\x20\x01\x0d\xb8"
            v6 = prefix + bytes(8) + v4
        mac = b"\x02\x00" + v4 if inside else GATEWAY_MAC
        return draw_host(dice, self.site.lan if inside else self.site.wan, stack, (v4, v6), mac)


@dataclass(frozen=True)
class Scene:
    """One capture: seconds of ``duration``, the hosts that are seen in it by group, and the label that new flows get."""

    world: World
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
        return self.present.get(name) or self.world.hosts[name]

    def server(self, role: str) -> Host:
        """A server of a role, popular ones more often."""
        return self.dice.weighted(self.world.hosts[role], self.world.popularity[role])

    def stranger(self, stack: Stack) -> Host:
        """A host outside that nobody has seen before, such as a forged sender."""
        address = bytes((198, self.dice.integer(18, 19), self.dice.integer(0, 255), self.dice.integer(1, 254)))
        return draw_host(self.dice, self.world.site.wan, stack, (address, None), GATEWAY_MAC)

    def port(self, host: Host) -> int:
        """An ephemeral port that the host has not used in this capture, so that no two connections share a 5-tuple."""
        while True:
            port = self.dice.integer(*host.stack.ports)
            if (host.v4, port) not in self._ports:
                self._ports.add((host.v4, port))
                return port

    def tcp(self, client: Host, server: Host, port: int, start: float, source_port: int | None = None) -> TcpConnection:
        """A connection that has yet to be opened; IPv6 is preferred where both ends have it."""
        addresses, path = self._way(client, server)
        stacks = (client.stack, server.stack)
        options = (syn_options(client.stack, path.mss), syn_options(server.stack, path.mss, client.stack))
        flow = self._add(TCP, client, server, addresses, (source_port or self.port(client), port), options)
        return TcpConnection(self.trace, self.dice, flow, stacks, path, start)

    def udp(self, client: Host, server: Host, port: int, start: float, source_port: int | None = None) -> DatagramExchange:
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
        mac = group[:4] + b"\xff\xff" if everyone else (b"\x01\x00\x5e" + group[1:] if len(group) == 4 else b"\x33\x33" + group[12:])
        entry = FlowEntry(
            UDP if port else ICMPV6, (source, group), (source_port, port), (sender.mac, mac), (255, 255), (b"", b""), self.attack, self.family
        )
        path = Path((sender.distance, 0.0), sender.jitter, sender.loss, (sender.rate, sender.rate), sender.mss)
        return DatagramExchange(self.trace, self.dice, self.trace.add(entry), path, start)

    def _way(self, client: Host, server: Host) -> tuple[tuple[bytes, bytes], Path]:
        path = path_between(client, server)
        if client.v6 is not None and server.v6 is not None:
            return (client.v6, server.v6), replace(path, mss=path.mss - 20)
        return (client.v4, server.v4), path

    def _add(
        self,
        proto: int,
        client: Host,
        server: Host,
        addresses: tuple[bytes, bytes],
        ports: tuple[int, int],
        options: tuple[bytes, bytes] = (b"", b""),
    ) -> int:
        ttls = (client.stack.ttl - client.hops, server.stack.ttl - server.hops)
        return self.trace.add(FlowEntry(proto, addresses, ports, (client.mac, server.mac), ttls, options, self.attack, self.family))
