"""TCP as a capture shows it: handshake, segmentation, congestion window, acknowledgements, windows, loss and closing.

The model is turn-based: an application *write* is cut into segments and sent in bursts of one congestion window, each
burst released by the acknowledgement of the previous one; the next write begins when its sender has received what came
before.  Sources: RFC 9293 (TCP), RFC 5681 (congestion control, delayed and duplicate acknowledgements), RFC 6298
(retransmission timer), RFC 6928 (initial window), RFC 7323 (options).
"""

import struct
from collections.abc import Iterable

from datasets_registry.synthetic.network import Path, Stack
from datasets_registry.synthetic.randomness import Dice
from datasets_registry.synthetic.trace import (
    ACK,
    CLIENT,
    FIN,
    NO_OPTIONS,
    PSH,
    RST,
    SERVER_SIDE,
    SYN,
    SYN_OPTIONS,
    TIMESTAMPS,
    Trace,
)

STEP = 1e-6  # Two packets of one direction are at least this far apart at the capture point, seconds.

HEADERS = 66
"""Ethernet, IP and TCP headers of a full segment, bytes: what a segment costs on the wire besides its payload."""

SYN_RETRIES = (1.0, 2.0, 4.0)
MIN_RTO = 0.2


def syn_options(stack: Stack, mss: int, peer: Stack | None = None) -> bytes:
    """The option bytes of a SYN (``peer`` None) or of a SYN-ACK, which repeats only what the peer offered."""
    if stack.mss == 0:
        return b""
    options = struct.pack("!BBH", 2, 4, min(mss, stack.mss))
    stamps = stack.timestamps and (peer is None or peer.timestamps)
    sack = stack.sack and (peer is None or peer.sack)
    scale = stack.wscale is not None and (peer is None or peer.wscale is not None)
    options += (b"\x04\x02" if sack else b"\x01\x01") if stamps else (b"\x01\x01\x04\x02" if sack else b"")
    options += b"\x08\x0a" + bytes(8) if stamps else b""
    return options + (struct.pack("!BBBB", 1, 3, 3, stack.wscale) if scale and stack.wscale is not None else b"")


class TcpConnection:
    """One connection between ``stacks[0]`` (client) and ``stacks[1]`` (server); times in seconds after the capture's
    start.

    ``clock[side]`` is when that side's application can act next: it has sent what it wrote and received what it was
    sent.
    """

    def __init__(
        self, trace: Trace, dice: Dice, flow: int, stacks: tuple[Stack, Stack], path: Path, start: float
    ) -> None:
        self.trace, self.dice, self.flow, self.stacks, self.path = trace, dice, flow, stacks, path
        self.clock = [start, start]
        stamps = stacks[0].timestamps and stacks[1].timestamps
        scaled = stacks[0].wscale is not None and stacks[1].wscale is not None
        self.options = TIMESTAMPS if stamps else NO_OPTIONS
        self.scale = [(stack.wscale or 0) if scaled else 0 for stack in stacks]
        offered = min(stack.mss or 536 for stack in stacks)
        self.mss = min(path.mss, offered) - (12 if stamps else 0)
        self.next_seq = [dice.integer(1, 2**32 - 1), dice.integer(1, 2**32 - 1)]
        self.cwnd = [stack.first_burst for stack in stacks]
        self.threshold = [64, 64]
        self.received = [0, 0]
        self.unread = [0, 0]
        self.unacked = [0, 0]  # segments that each side has yet to acknowledge
        self.ack_due: list[float | None] = [None, None]
        self.ack_value = [0, 0]  # what each side has received in order
        self.last_seen = [-1e9, -1e9]
        self.last_sent = [start, start]
        self.queue = [0.0, 0.0]

    # --- opening ------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """SYN, SYN-ACK, ACK; a SYN that is lost beyond the capture point is sent again after one, two and four
        seconds."""
        at = self.clock[CLIENT]
        self._draw_queues()
        for retry in SYN_RETRIES:
            arrival = self._syn(CLIENT, at, SYN)
            if not self.dice.chance(self.path.loss):
                break
            at += retry
        answer = arrival + self.dice.uniform(2e-5, 3e-4)
        self.ack_value[SERVER_SIDE] = self.next_seq[CLIENT] + 1
        arrival = self._syn(SERVER_SIDE, answer, SYN | ACK)
        self.next_seq[CLIENT] += 1
        self.next_seq[SERVER_SIDE] += 1
        self.ack_value = [self.next_seq[SERVER_SIDE], self.next_seq[CLIENT]]
        at = arrival + self.dice.uniform(2e-5, 1e-4)
        reached = self._pure_ack(CLIENT, at)
        self.clock = [at, reached]
        self.last_sent = [at, answer]

    def unanswered(self, retries: Iterable[float]) -> None:
        """SYNs that nobody answers, each followed by that many seconds of waiting."""
        at = self.clock[CLIENT]
        for wait in retries:
            self._syn(CLIENT, at, SYN)
            at += wait

    def refused(self, retries: int = 0, pause: float = 0.5) -> None:
        """A SYN answered by RST; some clients try again."""
        at = self.clock[CLIENT]
        for _ in range(1 + retries):
            arrival = self._syn(CLIENT, at, SYN)
            self.ack_value[SERVER_SIDE] = self.next_seq[CLIENT] + 1
            back = self._transmit(SERVER_SIDE, arrival + self.dice.uniform(2e-5, 2e-4), RST | ACK, 0, 0, 0, NO_OPTIONS)
            at = back + pause

    def half_open(self, reset: bool, retries: Iterable[float] = ()) -> None:
        """SYN and SYN-ACK, which the server repeats after each of ``retries``; with ``reset`` the client's kernel
        answers RST."""
        arrival = self._syn(CLIENT, self.clock[CLIENT], SYN)
        self.ack_value[SERVER_SIDE] = self.next_seq[CLIENT] + 1
        at = arrival + self.dice.uniform(2e-5, 3e-4)
        back = self._syn(SERVER_SIDE, at, SYN | ACK)
        for wait in retries:
            at += wait
            back = self._syn(SERVER_SIDE, at, SYN | ACK)
        if reset:
            self._transmit(
                CLIENT, back + self.dice.uniform(2e-5, 2e-4), RST, 0, self.next_seq[CLIENT] + 1, 0, NO_OPTIONS
            )

    # --- data ---------------------------------------------------------------------------------------------------------

    def send(self, side: int, size: int, wait: float = 0.0) -> None:
        """``side`` writes ``size`` bytes, ``wait`` seconds after it could; both clocks move on."""
        peer = 1 - side
        start = self.clock[side] + wait
        self._settle(side, start)
        self._settle(peer, start + self.path.distance[0] + self.path.distance[1], piggyback=False)
        if start - self.last_sent[side] > 1.0:  # RFC 5681, 4.1: an idle connection starts again
            self.cwnd[side] = min(self.cwnd[side], self.stacks[side].first_burst)
        remaining, arrival = size, start
        while remaining > 0:
            remaining, start, arrival = self._round(side, remaining, start)
        if self.unacked[peer]:
            at_once = self.dice.chance(self.stacks[peer].quick_ack)
            self.ack_due[peer] = arrival + (3e-5 if at_once else self.stacks[peer].delayed_ack)
        self.clock[side] = max(self.clock[side], self.last_sent[side])
        self.clock[peer] = max(self.clock[peer], arrival)

    def play(self, script: Iterable[tuple[int, int, float]]) -> None:
        """Several writes: (side, bytes, wait)."""
        for side, size, wait in script:
            self.send(side, size, wait)

    def keepalive(self, side: int, wait: float) -> None:
        """An empty probe of the byte before the next one, and its acknowledgement."""
        at = self.clock[side] + wait
        self._settle_both(at)
        arrival = self._transmit(side, at, ACK, 0, self.next_seq[side] - 1, self._window(side), self.options)
        self._pure_ack(1 - side, arrival + 5e-5)
        self.clock = [max(self.clock[0], at), max(self.clock[1], at)]
        self.last_sent[side] = at

    def _round(self, side: int, remaining: int, start: float) -> tuple[int, float, float]:
        """One congestion window of segments and its acknowledgements; returns what is left, when the next may start,
        and the last arrival."""
        peer, dice, loss, mss = 1 - side, self.dice, self.path.loss, self.mss
        room = max(1, (self._buffer(peer) - self.unread[peer]) // mss)
        count = min(self.cwnd[side], room, -(-remaining // mss))
        self._draw_queues()
        self.unread[peer] = int(self.stacks[peer].late_reader * dice.random() * min(remaining, count * mss))
        window, per_byte = self._window(side), 1.0 / self.path.rate[side]
        at, released, holes, duplicates = start, None, [], []
        for _ in range(count):
            payload = min(mss, remaining)
            remaining -= payload
            flags = ACK if remaining else PSH | ACK
            seq = self.next_seq[side]
            self.next_seq[side] = seq + payload
            lost = loss > 0.0 and dice.random() < loss
            before_tap = lost and dice.chance(0.5)
            arrival = self._transmit(side, at, flags, payload, seq, window, self.options, visible=not before_tap)
            if lost:
                holes.append((seq, payload, flags, at))
            elif holes:
                duplicates.append(self._pure_ack(peer, arrival + 1e-5))
            else:
                acked = self._receive(side, seq + payload, payload, arrival)
                released = released or acked
            self.last_sent[side] = at
            at += (payload + HEADERS) * per_byte
        if holes:
            return remaining, *self._repair(side, holes, duplicates)
        self.cwnd[side] += count if self.cwnd[side] < self.threshold[side] else 1
        if remaining and released is None:  # nothing would release the next burst before the delayed acknowledgement
            released = self._acknowledge(peer, arrival + self.stacks[peer].delayed_ack)
        return remaining, max(at, released or at), arrival

    def _receive(self, side: int, acknowledged: int, payload: int, arrival: float) -> float | None:
        """A segment of ``side`` arrives in order; returns when its acknowledgement is back, if one is due now."""
        peer = 1 - side
        self.received[peer] += payload
        self.ack_value[peer] = acknowledged
        self.unacked[peer] += 1
        if self.unacked[peer] < self.stacks[peer].ack_every:
            return None
        return self._acknowledge(peer, arrival + 3e-5)

    def _repair(
        self, side: int, holes: list[tuple[int, int, int, float]], duplicates: list[float]
    ) -> tuple[float, float]:
        """Retransmit lost segments: on the third duplicate acknowledgement, else after the timer; returns (next start,
        last arrival)."""
        peer = 1 - side
        round_trip = 2 * (self.path.distance[0] + self.path.distance[1])
        at = duplicates[2] if len(duplicates) >= 3 else holes[0][3] + max(MIN_RTO, 2 * round_trip)
        arrival = at
        filled_to = [seq for seq, *_ in holes[1:]] + [self.next_seq[side]]
        for (seq, payload, flags, _), acknowledged in zip(holes, filled_to, strict=True):
            arrival = self._transmit(side, at, flags, payload, seq, self._window(side), self.options)
            self.ack_value[peer] = acknowledged
            self.last_sent[side] = at
            at = self._acknowledge(peer, arrival + 3e-5)
        self.received[peer] += sum(payload for _, payload, *_ in holes)
        self.threshold[side] = max(2, self.cwnd[side] // 2)
        self.cwnd[side] = self.threshold[side]
        return at, arrival

    # --- closing ------------------------------------------------------------------------------------------------------

    def finish(self, first: int, wait: float = 0.0) -> None:
        """``first`` closes with a FIN; the other acknowledges with its own FIN, or before it."""
        other = 1 - first
        at = max(self.clock[first], self.last_sent[first]) + wait
        self._settle_both(at)
        self._draw_queues()
        arrival = self._close_one(first, at)
        answer = arrival + self.dice.uniform(5e-5, 2e-3)
        if self.dice.chance(0.3):
            self._pure_ack(other, arrival + 3e-5)
            answer += self.dice.exponential(0.02)
        back = self._close_one(other, answer)
        self._pure_ack(first, back + 3e-5)
        self.clock = [max(at, back)] * 2

    def reset(self, side: int, wait: float = 0.0) -> None:
        """``side`` aborts with RST."""
        at = max(self.clock[side], self.last_sent[side]) + wait
        self._settle_both(at)
        self._transmit(side, at, RST | ACK, 0, self.next_seq[side], 0, NO_OPTIONS)

    def finish_with_reset(self, first: int, wait: float = 0.0) -> None:
        """``first`` closes; the other still writes (a TLS alert) and is answered with RST."""
        other = 1 - first
        at = max(self.clock[first], self.last_sent[first]) + wait
        self._settle_both(at)
        arrival = self._close_one(first, at)
        back = self._transmit(
            other, arrival + 2e-4, PSH | ACK, 24, self.next_seq[other], self._window(other), self.options
        )
        self.next_seq[other] += 24
        self._transmit(first, back + 3e-5, RST, 0, self.next_seq[first], 0, NO_OPTIONS)

    def _close_one(self, side: int, at: float) -> float:
        arrival = self._transmit(side, at, FIN | ACK, 0, self.next_seq[side], self._window(side), self.options)
        self.next_seq[side] += 1
        self.ack_value[1 - side] = self.next_seq[side]
        self.last_sent[side] = at
        return arrival

    # --- packets ------------------------------------------------------------------------------------------------------

    def _settle(self, side: int, now: float, piggyback: bool = True) -> None:
        """A delayed acknowledgement leaves when its timer ends before ``now``; otherwise the data of ``side`` carry
        it."""
        due = self.ack_due[side]
        if due is not None and due < now:
            self._acknowledge(side, due)
        elif due is not None and piggyback:
            self.unacked[side], self.ack_due[side] = 0, None

    def _settle_both(self, now: float) -> None:
        self._settle(CLIENT, now)
        self._settle(SERVER_SIDE, now)

    def _acknowledge(self, side: int, at: float) -> float:
        self.unacked[side], self.ack_due[side] = 0, None
        return self._pure_ack(side, at)

    def _pure_ack(self, side: int, at: float) -> float:
        return self._transmit(side, at, ACK, 0, self.next_seq[side], self._window(side), self.options)

    def _syn(self, side: int, at: float, flags: int) -> float:
        return self._transmit(side, at, flags, 0, self.next_seq[side], self.stacks[side].syn_window, SYN_OPTIONS)

    def _buffer(self, side: int) -> int:
        stack = self.stacks[side]
        return min(stack.window_max, stack.window + 2 * self.received[side])

    def _window(self, side: int) -> int:
        return min(65535, max(0, self._buffer(side) - self.unread[side]) >> self.scale[side])

    def _draw_queues(self) -> None:
        """Queueing delay changes from burst to burst, not from packet to packet."""
        self.queue = [self.dice.exponential(self.path.jitter), self.dice.exponential(self.path.jitter)]

    def _transmit(
        self, side: int, at: float, flags: int, payload: int, seq: int, window: int, options: int, visible: bool = True
    ) -> float:
        """One packet leaves ``side`` at ``at`` and passes the capture point in order; returns when it arrives at the
        other end."""
        seen = max(at + self.path.distance[side] + self.queue[side], self.last_seen[side] + STEP)
        self.last_seen[side] = seen
        if visible:
            acknowledged = self.ack_value[side] if flags & ACK else 0
            self.trace.packets.append((seen, self.flow, side, flags, payload, seq, acknowledged, window, options))
        return seen + self.path.distance[1 - side]
