"""A captured frame → what is known of its packet: where its addresses and ports are, its lengths, its flags, and the
key of its session.

Flows and the packet stream are both made of these fields.  See ``links`` on offsets and bounds.
"""

from typing import Any

import numpy as np

from datasets_registry.capture import links as net
from datasets_registry.capture.memory import be16, be32, be64, byte, put, word
from datasets_registry.capture.sessions import long_key, short_key
from janus_bench.compiled import njit

# ``fields`` of any frame: what its addresses are of (4 and 6: IP; ``links.ARP``; 0: they are not known) and where that
# begins; protocol behind IP, and where the ports of TCP or UDP are (0: nowhere).  The others are those of a packet that
# is used; of ICMP type << 8 | code.
KIND, IP, PROTOCOL, PORTS, LENGTH, WIN, FLAGS, A, B, SECOND, PAYLOAD, HEADER, ICMP = range(13)
N_FIELDS = 13


@njit(nogil=True, forceinline=True)
def count(numbers: Any, which: Any, more: Any) -> None:
    put(numbers, which, word(numbers, which) + more)


@njit(nogil=True)
def decode(buf: Any, at: Any, end: Any, wire: Any, link: Any, big: Any, fields: Any, key: Any, counts: Any) -> Any:
    """Decode any captured frame into ``fields`` and ``key``; the reason is ``USED`` or why it was not."""
    start = at
    reason, kind, at, note = net.network_layer(buf, at, end, link, big)
    for i, value in enumerate((kind, at, 0, 0)):
        put(fields, i, value)
    if reason != net.USED:
        return reason
    wire -= at - start
    if kind == 4:
        reason, protocol, transport, length, later, from_record = net.ipv4(buf, at, end, wire)
    else:
        reason, protocol, transport, length, later, from_record = net.ipv6(buf, at, end, wire)
    put(fields, PROTOCOL, protocol)
    if (protocol == 6 or protocol == 17) and not later and transport + 4 <= end:
        put(fields, PORTS, transport)
    if reason != net.USED:
        return reason

    ports = win = flags = header = icmp = np.int64(0)
    if (protocol == 1 or protocol == 58) and not later and transport + 2 <= min(end, at + length):
        icmp = be16(buf, transport)
    # TCP, UDP, DCCP, SCTP, UDP-Lite
    if (protocol == 6 or protocol == 17 or protocol == 33 or protocol == 132 or protocol == 136) and not later:
        if transport + 4 > at + length:
            return net.BAD_HEADER
        if transport + 4 > end:
            return net.TRUNCATED
        ports = be32(buf, transport)
        if protocol == 17:
            header = np.int64(8)
        elif protocol == 6:
            header = np.int64(20)
            if transport + 16 > min(end, at + length):
                count(counts, net.NOTE_TCP_HEADER_CUT, 1)
            else:
                header = byte(buf, transport + 12) >> 4 << 2
                flags = byte(buf, transport + 13)
                win = be16(buf, transport + 14)
    if kind == 4:
        a, b, second = short_key(be64(buf, at + 12), protocol, ports)
    else:
        a, b, second = long_key(buf, at, protocol, ports, key)
    # IP in IP, IPv6 in IP, GRE, EtherIP, L2TPv3, MPLS in IP
    if protocol == 4 or protocol == 41 or protocol == 47 or protocol == 97 or protocol == 115 or protocol == 137:
        count(counts, net.NOTE_TUNNEL, 1)
    if note:
        count(counts, note, 1)
    count(counts, net.NOTE_LENGTH_BEYOND_RECORD, length > wire)
    count(counts, net.NOTE_LATER_FRAGMENT, later)
    count(counts, net.NOTE_LENGTH_FROM_RECORD, from_record)
    left = max(min(length, 65535) - (transport - at), 0)
    header = min(header, left)
    for i, value in enumerate((length, win, flags, a, b, np.int64(second), left - header, header, icmp)):
        put(fields, LENGTH + i, value)
    return net.USED
