"""Pieces that several applications share: TLS, name lookups, and the ways in which connections end."""

from datasets_registry.synthetic.network import Host
from datasets_registry.synthetic.randomness import Dice
from datasets_registry.synthetic.scene import Scene
from datasets_registry.synthetic.tcp import TcpConnection
from datasets_registry.synthetic.trace import CLIENT, SERVER_SIDE


def tls_handshake(connection: TcpConnection, dice: Dice, hello: int = 560, resumed: float = 0.35) -> None:
    """Client hello, the server's flight (short when a session is resumed), the client's finish, perhaps tickets (RFC
    5246, RFC 8446)."""
    connection.send(CLIENT, dice.size(hello, 0.15, 1900), dice.uniform(1e-4, 2e-3))
    connection.send(
        SERVER_SIDE,
        dice.integer(180, 320) if dice.chance(resumed) else dice.size(3900, 0.3, 9000),
        dice.lognormal(1e-3, 0.7),
    )
    connection.send(CLIENT, dice.pick((64, 74, 80, 93, 126)), dice.lognormal(1.5e-3, 0.8))
    if dice.chance(0.6):
        connection.send(SERVER_SIDE, dice.pick((51, 258, 510, 543)), dice.lognormal(5e-4, 0.5))


def tls_connection(
    scene: Scene, client: Host, server: Host, port: int, start: float, hello: int = 560, resumed: float = 0.35
) -> TcpConnection:
    connection = scene.connect(client, server, port, start)
    tls_handshake(connection, scene.dice, hello, resumed)
    return connection


def web_connection(scene: Scene, client: Host, server: Host, start: float, secure: bool) -> TcpConnection:
    """An open connection to a web server, over TLS or in the clear."""
    return tls_connection(scene, client, server, 443, start) if secure else scene.connect(client, server, 80, start)


def hang_up(connection: TcpConnection, dice: Dice, idle: float = 4.0) -> None:
    """How connections of browsers and apps end: by either side after a while (log-normal, median ``idle`` seconds),
    with RST, or not at all; some are kept alive by a probe every 45 seconds."""
    wait = dice.lognormal(idle, 1.3)
    way = dice.random()
    if way < 0.45:
        connection.finish(CLIENT, wait)
    elif way < 0.65:
        connection.finish(SERVER_SIDE, wait)
    elif way < 0.8:
        connection.finish_with_reset(CLIENT, wait)
    elif way < 0.88:
        connection.reset(CLIENT, wait)
    elif way < 0.95:
        until = connection.clock[CLIENT] + dice.exponential(150.0)
        while connection.clock[CLIENT] < until:
            connection.keepalive(CLIENT, 45.0 + dice.exponential(0.01))


def resolve(scene: Scene, client: Host, start: float) -> float:
    """Ask the resolver for A and AAAA records; returns when the client has its answer.

    The two questions share a port or not, as the operating system does it; a lost question is asked again after a few
    seconds.
    """
    scene = scene.labelled("dns", attack=False)
    dice, resolver = scene.dice, scene.server("resolver")
    name = dice.size(36, 0.25, 120)
    together, done = client.stack.timestamps, start
    exchange = scene.udp(client, resolver, 53, start)
    for number in range(2 if dice.chance(0.6) else 1):
        if number and not together:
            exchange = scene.udp(client, resolver, 53, start + dice.uniform(1e-5, 3e-4))
        cached = dice.chance(0.55)
        think = dice.lognormal(4e-4, 0.5) if cached else scene.wan.rtt * dice.lognormal(1.2, 0.6)
        for _ in range(3):
            if exchange.send(CLIENT, name, 0.0) and not dice.chance(0.008):
                exchange.send(SERVER_SIDE, name + dice.size(60, 0.8, 450), think)
                break
            exchange.clock[CLIENT] += dice.pick((1.0, 3.0, 5.0))
        done = max(done, exchange.clock[CLIENT])
    return done
