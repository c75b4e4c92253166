"""UDP and ICMP exchanges, and the burst-and-acknowledge pattern of QUIC."""

from datasets_registry.synthetic.network import Path
from datasets_registry.synthetic.randomness import Dice
from datasets_registry.synthetic.trace import NO_OPTIONS, Trace

ECHO_REPLY, ECHO_REQUEST, PORT_UNREACHABLE = 0, 8, 3
QUIC_DATAGRAM = 1252
QUIC_BURST = 10  # Bytes of a full QUIC datagram, and datagrams of an initial congestion window (RFC 9002, 7.2).


class DatagramExchange:
    """Datagrams between client (side 0) and server (side 1); ``clock[side]`` is when that side can act next, in
    seconds."""

    def __init__(self, trace: Trace, dice: Dice, flow: int, path: Path, start: float) -> None:
        self.trace, self.dice, self.flow, self.path = trace, dice, flow, path
        self.clock = [start, start]
        self.sent = [0, 0]

    def send(self, side: int, size: int, wait: float = 0.0, kind: int = 0) -> bool:
        """One datagram of ``size`` payload bytes; False if it was lost, and then only the sender's clock moves.
        ``kind`` is the ICMP type."""
        at = self.clock[side] + wait
        self.clock[side] = at + (size + 42) / self.path.rate[side]
        lost = self.dice.chance(self.path.loss)
        seen = at + self.path.distance[side] + self.dice.exponential(self.path.jitter)
        if not (lost and self.dice.chance(0.5)):
            self.trace.packets.append((seen, self.flow, side, kind, size, self.sent[side], 0, 0, NO_OPTIONS))
        self.sent[side] += 1
        if not lost:
            self.clock[1 - side] = max(self.clock[1 - side], seen + self.path.distance[1 - side])
        return not lost

    def stream(self, side: int, size: int, wait: float = 0.0) -> None:
        """``size`` bytes as QUIC datagrams in growing bursts, acknowledged by small datagrams of the other side."""
        peer, burst = 1 - side, QUIC_BURST
        round_trip = 2 * (self.path.distance[0] + self.path.distance[1])
        while size > 0:
            start = self.clock[side] + wait
            for number in range(min(burst, -(-size // QUIC_DATAGRAM))):
                self.send(side, min(QUIC_DATAGRAM, size + 30), wait if number == 0 else 0.0)
                size -= QUIC_DATAGRAM
                if number % 4 == 3:
                    self.send(peer, self.dice.integer(31, 40), 1e-4)
            if size > 0:
                self.clock[side] = max(self.clock[side], start + round_trip)
            wait, burst = 0.0, burst * 2
        self.send(peer, self.dice.integer(31, 40), 1e-3)
