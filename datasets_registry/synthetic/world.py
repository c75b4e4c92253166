"""A site's hosts: who is there, at which addresses, the same in all its captures."""

from datasets_registry.synthetic.network import Host, Stack, draw_host
from datasets_registry.synthetic.plan import Place
from datasets_registry.synthetic.randomness import Dice, zipf_weights
from datasets_registry.synthetic.scene import GATEWAY_MAC


class World:
    """The hosts of a site by group or role name, with the popularity of servers; the same for all its captures."""

    def __init__(self, site: Place, dice: Dice) -> None:
        self.site = site
        self._used: set[bytes] = set()
        self.hosts: dict[str, list[Host]] = {}
        self.popularity: dict[str, list[float]] = {}
        for group in site.groups:
            self.hosts[group.name] = [
                self.host(dice, dice.pick(group.stacks), group.inside) for _ in range(group.count)
            ]
        for role in site.servers:
            self.hosts[role.name] = [self.host(dice, dice.pick(role.stacks), role.inside) for _ in range(role.count)]
            self.popularity[role.name] = zipf_weights(role.count)

    def host(self, dice: Dice, stack: Stack, inside: bool) -> Host:
        """A new host with an address of its own: inside the site's subnet, or in 198.18.0.0/15, the benchmarking range
        (RFC 2544)."""
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
