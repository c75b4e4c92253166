"""Hosts, their TCP stacks, and the network path between two of them."""

from dataclasses import dataclass, replace

from datasets_registry.synthetic.randomness import Dice


@dataclass(frozen=True)
class Stack:
    """What an operating system's TCP shows on the wire.

    syn_window   window field of the SYN, bytes
    window       receive buffer once connected, bytes; grows by twice what was received, to ``window_max``
    wscale       window-scale shift that it offers; None: no such option
    mss          MSS that it offers, bytes
    timestamps   offers RFC 7323 timestamps: 12 bytes more in every header
    sack         offers selective acknowledgements (only the option in the SYN is simulated)
    ttl          initial TTL
    delayed_ack  timer of a delayed acknowledgement, seconds
    quick_ack    share of single segments that are acknowledged at once
    ack_every    segments per acknowledgement in a burst (more than 2: receive offload)
    late_reader  how much of a burst may still be unread in the buffer, 0 to 1
    first_burst  initial congestion window, segments
    ports        range of ephemeral ports
    """

    name: str
    syn_window: int
    window: int
    window_max: int
    wscale: int | None
    mss: int = 1460
    timestamps: bool = True
    sack: bool = True
    ttl: int = 64
    delayed_ack: float = 0.04
    quick_ack: float = 0.5
    ack_every: int = 2
    late_reader: float = 0.1
    first_burst: int = 10
    ports: tuple[int, int] = (32768, 60999)


_HIGH_PORTS = (49152, 65535)
LINUX = Stack("linux", 64240, 64240, 3_145_728, 7, quick_ack=0.7)
SERVER = Stack("linux server", 65160, 65152, 3_145_728, 7, quick_ack=0.8, ack_every=3)
CDN = Stack("content network", 65535, 67_584, 4_194_304, 10, quick_ack=0.8, ack_every=4, first_burst=20)
OLD_LINUX = Stack("old linux", 29200, 29_312, 1_048_576, 7, quick_ack=0.7)
FREEBSD = Stack("freebsd", 65535, 65_728, 1_048_576, 6, delayed_ack=0.1, quick_ack=0.2)
WINDOWS = Stack(
    "windows",
    64240,
    262_656,
    1_048_576,
    8,
    timestamps=False,
    ttl=128,
    delayed_ack=0.05,
    quick_ack=0.1,
    ports=_HIGH_PORTS,
)
WINDOWS_SERVER = replace(WINDOWS, name="windows server", syn_window=65535, window=2_097_920, window_max=2_097_920)
OLD_WINDOWS = replace(
    WINDOWS,
    name="windows xp",
    syn_window=65535,
    window=65535,
    window_max=65535,
    wscale=None,
    delayed_ack=0.2,
    first_burst=2,
    ports=(1025, 5000),
)
APPLE = Stack("apple", 65535, 131_712, 1_048_576, 6, delayed_ack=0.1, quick_ack=0.3, ack_every=3, ports=_HIGH_PORTS)
ANDROID = Stack("android", 65535, 87_808, 2_097_152, 8, quick_ack=0.6, ports=(32768, 61000))
# Little memory and few options: lwIP, and a controller.
_SMALL = Stack("lwip", 5840, 5840, 5840, None, timestamps=False, sack=False, first_burst=2)
EMBEDDED = replace(_SMALL, ttl=255, delayed_ack=0.25, quick_ack=0.2, late_reader=0.6, ports=_HIGH_PORTS)
_SMALLER = replace(_SMALL, name="controller", syn_window=4096, window=4096, window_max=4096)
PLC = replace(_SMALLER, ttl=60, delayed_ack=0.2, quick_ack=0.1, late_reader=0.4, ports=(1024, 5000))
# The scanner's raw packets (nmap -sS: window 1024, only an MSS) and the bot's (Mirai: no options at all).
NMAP = Stack("nmap", 1024, 1024, 1024, None, timestamps=False, sack=False, ttl=55, ports=(33000, 65000))
MIRAI = Stack("mirai", 14600, 14600, 14600, None, mss=0, timestamps=False, sack=False, ttl=64)


@dataclass(frozen=True)
class Link:
    """How a class of hosts is reached from the capture point.

    rtt     median round-trip time to it, seconds; ``spread`` is the log-normal sigma over hosts
    jitter  mean of the exponential queueing delay, seconds
    loss    probability that a packet is lost on this side of the capture point
    rate    median rate at which its packets pass the capture point, bytes per second (sigma .4 over hosts)
    mss     largest TCP segment that the link lets through, bytes
    hops    routers on the way (they show in the TTL)
    """

    rtt: float
    spread: float
    jitter: float
    loss: float
    rate: float
    mss: int = 1460
    hops: int = 0


@dataclass(frozen=True)
class Host:
    """An endpoint.  ``distance`` is the one-way delay to the capture point in seconds, ``rate`` in bytes per second;
    ``v6`` is None without IPv6."""

    v4: bytes
    v6: bytes | None
    mac: bytes
    stack: Stack
    distance: float
    jitter: float
    loss: float
    rate: float
    mss: int
    hops: int


@dataclass(frozen=True)
class Path:
    """Between initiator (index 0) and responder (index 1), seen from the capture point; seconds, probabilities, bytes
    per second, bytes."""

    distance: tuple[float, float]
    jitter: float
    loss: float
    rate: tuple[float, float]
    mss: int


def path_between(initiator: Host, responder: Host) -> Path:
    """The path is the two hosts' ways to the capture point, put together."""
    return Path(
        (initiator.distance, responder.distance),
        initiator.jitter + responder.jitter,
        initiator.loss + responder.loss,
        (initiator.rate, responder.rate),
        min(initiator.mss, responder.mss),
    )


def draw_host(dice: Dice, link: Link, stack: Stack, addresses: tuple[bytes, bytes | None], mac: bytes) -> Host:
    """A host behind a link, with its own delay and its own share of the rate."""
    distance = dice.lognormal(link.rtt / 2, link.spread)
    jitter, rate = link.jitter * dice.lognormal(1, 0.3), dice.lognormal(link.rate, 0.4)
    hops = dice.integer(link.hops - link.hops // 3, link.hops + link.hops // 3)
    return Host(addresses[0], addresses[1], mac, stack, distance, jitter, link.loss, rate, link.mss, hops)
