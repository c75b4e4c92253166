"""Community ID, version 1 with seed 0: one name for a flow in every tool that sees it (Corelight,
github.com/corelight/community-id-spec)."""

import base64
import hashlib
import socket

ICMP, TCP, UDP, ICMPV6, SCTP = 1, 6, 17, 58, 132
WITH_PORTS = frozenset({ICMP, TCP, UDP, ICMPV6, SCTP})
"""Protocols whose flows have ports, or ICMP's type and code in their place."""
_PAIRS = {
    ICMP: ((8, 0), (13, 14), (15, 16), (10, 9), (17, 18)),
    ICMPV6: ((128, 129), (133, 134), (135, 136), (130, 131), (139, 140), (144, 145)),
}
ANSWERS = {protocol: dict(pairs) | {answer: request for request, answer in pairs} for protocol, pairs in _PAIRS.items()}
"""Protocol → type of a message → type of the message that answers it or that it answers."""


def community_id(
    source: str, destination: str, protocol: int, source_port: int, destination_port: int, icmp: int
) -> str:
    """Of a flow by the text of its addresses, its protocol and ports; ``icmp``: type << 8 | code of its first
    packet."""
    one, other = _packed(source), _packed(destination)
    ports, one_way = (source_port, destination_port), False
    if protocol in ANSWERS:
        kind, code = icmp >> 8, icmp & 0xFF
        one_way = kind not in ANSWERS[protocol]
        ports = kind, ANSWERS[protocol].get(kind, code)
    if not one_way and (one, ports[0]) > (other, ports[1]):
        one, other, ports = other, one, (ports[1], ports[0])
    data = b"\0\0" + one + other + bytes([protocol, 0])
    if protocol in WITH_PORTS:
        data += ports[0].to_bytes(2, "big") + ports[1].to_bytes(2, "big")
    return "1:" + base64.b64encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode()


def _packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
