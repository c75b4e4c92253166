"""Benign machines: telemetry of things to their cloud, and the polling of controllers."""

from dataclasses import dataclass
from typing import ClassVar

from datasets_registry.synthetic.network import Host
from datasets_registry.synthetic.randomness import Dice
from datasets_registry.synthetic.scene import Scene
from datasets_registry.synthetic.sessions import resolve, tls_connection
from datasets_registry.synthetic.tcp import TcpConnection
from datasets_registry.synthetic.trace import CLIENT, SERVER_SIDE


@dataclass(frozen=True)
class Telemetry:
    """A device reports over a TLS connection of its own: same server, similar sizes, at nearly regular times (the
    site's rate says how often)."""

    report: float = 420.0
    answer: float = 240.0
    family: ClassVar[str] = "telemetry"

    def run(self, scene: Scene, dice: Dice, client: Host, start: float) -> None:
        cloud = scene.hosts("cloud")
        server = cloud[client.v4[3] % len(cloud)]  # a device has one vendor
        connection = tls_connection(
            scene,
            client,
            server,
            443,
            start if dice.chance(0.6) else resolve(scene, client, start),
            hello=260,
            resumed=0.5,
        )
        for _ in range(dice.count(1.4)):
            connection.send(CLIENT, dice.size(self.report, 0.45, 20_000), dice.lognormal(0.01, 0.8))
            connection.send(SERVER_SIDE, dice.size(self.answer, 0.5, 20_000), dice.lognormal(0.03, 0.7))
        if dice.chance(0.8):
            connection.finish(CLIENT, dice.lognormal(0.05, 1.5))
        else:
            connection.reset(CLIENT, dice.lognormal(1.0, 1.0))


@dataclass(frozen=True)
class PersistentTelemetry:
    """MQTT over TLS: one connection for days, a ping every ``ping`` seconds, and reports."""

    ping: float = 55.0
    report: float = 180.0
    family: ClassVar[str] = "telemetry"

    def run(self, scene: Scene, dice: Dice, client: Host, start: float) -> None:
        cloud = scene.hosts("cloud")
        connection = tls_connection(scene, client, cloud[client.v4[3] % len(cloud)], 8883, start, hello=260)
        connection.play([(CLIENT, 90, 1e-3), (SERVER_SIDE, 33, 0.03)])
        while connection.clock[CLIENT] < scene.duration:
            if dice.chance(0.5):
                connection.send(CLIENT, dice.size(self.report, 0.35), dice.exponential(self.ping))
                connection.send(SERVER_SIDE, 33, dice.lognormal(0.02, 0.4))
            else:
                connection.play(
                    [(CLIENT, 31, self.ping + dice.exponential(0.05)), (SERVER_SIDE, 31, dice.lognormal(0.02, 0.4))]
                )
            if dice.chance(0.01):
                connection.reset(SERVER_SIDE, 1.0)
                return


@dataclass(frozen=True)
class Heartbeat:
    """A datagram to the cloud now and then, from one port; most are answered."""

    every: float = 30.0
    family: ClassVar[str] = "heartbeat"

    def run(self, scene: Scene, dice: Dice, client: Host, start: float) -> None:
        cloud = scene.hosts("cloud")
        exchange = scene.udp(client, cloud[client.v4[3] % len(cloud)], 5683, start)
        size = dice.integer(40, 120)
        for _ in range(dice.count(6.0)):
            if exchange.send(CLIENT, size, self.every * dice.uniform(0.9, 1.1)):
                exchange.send(SERVER_SIDE, dice.integer(12, 60), dice.lognormal(5e-3, 0.5))


def modbus_read(connection: TcpConnection, scene: Scene, registers: int, pause: float) -> None:
    """One read: 12 bytes out, 9 + 2 per register back, after the controller's scan cycle."""
    connection.send(CLIENT, 12, pause)
    connection.send(SERVER_SIDE, 9 + 2 * registers, scene.dice.uniform(2e-3, 2.5e-2))


@dataclass(frozen=True)
class ModbusPolling:
    """A master's permanent connection to one controller: the same reads every ``period`` seconds."""

    period: float = 4.0
    family: ClassVar[str] = "modbus"

    def run(self, scene: Scene, dice: Dice, client: Host, start: float) -> None:
        connection = scene.connect(client, dice.pick(scene.hosts("controllers")), 502, start)
        blocks = [dice.integer(1, 60) for _ in range(dice.integer(1, 3))]
        period = self.period * dice.lognormal(1.0, 0.5)
        rounds = dice.count(12.0)
        while connection.clock[CLIENT] < scene.duration and rounds > 0:
            for number, registers in enumerate(blocks):
                modbus_read(connection, scene, registers, 1e-3 if number else period + dice.exponential(2e-3))
            rounds -= 1
        connection.finish(CLIENT, 1e-3)


@dataclass(frozen=True)
class ModbusVisit:
    """A panel that connects for a few reads, and writes a set-point now and then (a write is echoed)."""

    writes: float = 0.15
    family: ClassVar[str] = "modbus"

    def run(self, scene: Scene, dice: Dice, client: Host, start: float) -> None:
        connection = scene.connect(client, dice.pick(scene.hosts("controllers")), 502, start)
        for _ in range(dice.count(1.8)):
            if dice.chance(self.writes):
                connection.play([(CLIENT, 12, dice.lognormal(0.3, 0.8)), (SERVER_SIDE, 12, dice.uniform(2e-3, 2.5e-2))])
            else:
                modbus_read(connection, scene, dice.pick((1, 2, 8, 10, 20, 50)), dice.lognormal(4e-3, 0.8))
        connection.finish(CLIENT, dice.lognormal(2e-3, 0.7))
