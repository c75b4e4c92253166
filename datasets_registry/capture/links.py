"""The bytes of a frame → where its IP packet and its transport header are: every link type and encapsulation that is
read.

``buf`` is the address of a buffer, offsets count from there.  Bounds are not checked: every read below is preceded by a
comparison with ``end``, the first byte that was not captured.  All arithmetic is int64.
"""

from typing import Any

import numpy as np

from datasets_registry.capture.memory import be16, be32, byte, le16, le32
from janus_bench.compiled import njit

# Why a packet was not used, or what about one that was is worth a count (``note_…``); the position is the code that the
# kernels count under.
REASONS = (
    *("used", "non_ip", "unsupported_link_type", "unsupported_encapsulation", "encrypted", "truncated", "bad_header"),
    *(
        "bad_timestamp",
        "no_timestamp",
        "unknown_interface",
        "corrupt_record",
        "cut_by_end_of_file",
        "corrupt_compression",
    ),
    *(
        "note_tunnel",
        "note_later_fragment",
        "note_tcp_header_cut",
        "note_length_from_record",
        "note_length_beyond_record",
    ),
    *("note_odd_original_length", "note_vn_tag", "note_cisco_metadata", "note_e_tag", "note_provider_backbone"),
    *("note_redundancy_tag", "note_bridged_ethernet", "note_nanoseconds_in_a_file_of_microseconds"),
    *("note_mirrored", "note_mirrored_without_id"),
)
USED, NON_IP, UNSUPPORTED_LINK_TYPE, UNSUPPORTED_ENCAPSULATION, ENCRYPTED, TRUNCATED, BAD_HEADER = range(7)
BAD_TIMESTAMP, NO_TIMESTAMP, UNKNOWN_INTERFACE, CORRUPT_RECORD, CUT_BY_END_OF_FILE, CORRUPT_COMPRESSION = range(7, 13)
NOTE_TUNNEL, NOTE_LATER_FRAGMENT, NOTE_TCP_HEADER_CUT, NOTE_LENGTH_FROM_RECORD, NOTE_LENGTH_BEYOND_RECORD = range(
    13, 18
)
NOTE_ODD_ORIGINAL_LENGTH, NOTE_VN_TAG, NOTE_CISCO_METADATA, NOTE_E_TAG, NOTE_PROVIDER_BACKBONE = range(18, 23)
NOTE_REDUNDANCY_TAG, NOTE_BRIDGED_ETHERNET, NOTE_NANOSECONDS = range(23, 26)
NOTE_MIRRORED, NOTE_MIRRORED_WITHOUT_ID = range(26, 28)

# Layers between a link type and IP: below 1 << 16 a link type, then the 2 ** 16 EtherTypes, then what has no EtherType.
ETHERTYPE = 1 << 16
IPV4, IPV6 = ETHERTYPE + 0x0800, ETHERTYPE + 0x86DD
ARP = 1  # in place of an IP version
LLC, PPP, MPLS, WLAN, WLAN_PADDED = range(2 * ETHERTYPE, 2 * ETHERTYPE + 5)


@njit(nogil=True, forceinline=True)
def u32(buf: Any, at: Any, big: Any) -> Any:
    return be32(buf, at) if big else le32(buf, at)


@njit(nogil=True, forceinline=True)
def u16(buf: Any, at: Any, big: Any) -> Any:
    return be16(buf, at) if big else le16(buf, at)


@njit(nogil=True)
def _by_version(buf: Any, at: Any, end: Any, otherwise: Any) -> Any:
    """IP of the version in its first bits: (reason, layer, offset); ``otherwise``: the reason where that is no version
    of IP."""
    if at >= end:
        return TRUNCATED, 0, at
    version = byte(buf, at) >> 4
    return USED if version == 4 or version == 6 else otherwise, IPV4 if version == 4 else IPV6, at


@njit(nogil=True)
def _link_header(buf: Any, at: Any, end: Any, link: Any, big: Any) -> Any:
    """Past the header of a link type other than Ethernet: (reason, layer, offset).  A new link type is one more branch
    here."""
    if link == 113 or link == 276:  # Linux cooked v1, v2
        size = 16 if link == 113 else 20
        if at + size > end:
            return TRUNCATED, 0, at
        kind = be16(buf, at + 14 if link == 113 else at)
        return USED, LLC if kind == 4 else ETHERTYPE + kind, at + size
    if link == 101 or link == 12 or link == 14:  # raw IP: LINKTYPE_RAW, and DLT_RAW of two systems
        return _by_version(buf, at, end, BAD_HEADER)
    if link == 228:
        return USED, IPV4, at
    if link == 229:
        return USED, IPV6, at
    if link == 0 or link == 108:  # BSD loopback: the address family in the capturing host's byte order, or big-endian
        if at + 4 > end:
            return TRUNCATED, 0, at
        family = min(be32(buf, at), le32(buf, at))
        # AF_INET6 of Linux, Windows, NetBSD and OpenBSD, FreeBSD, Darwin
        if family == 10 or family == 23 or family == 24 or family == 28 or family == 30:
            return USED, IPV6, at + 4
        return USED if family == 2 else NON_IP, IPV4, at + 4
    # PPP, with or without RFC 1662's address and control; 204: after a byte for the direction
    if link == 9 or link == 50 or link == 204:
        at += link == 204
        if at + 2 > end:
            return TRUNCATED, 0, at
        head = be16(buf, at)
        if link == 50 and (head == 0x0F00 or head == 0x8F00):
            return USED, 104, at
        return USED, PPP, at + 2 if head == 0xFF03 else at
    if link == 51:  # PPPoE
        return USED, ETHERTYPE + 0x8864, at
    if link == 104:  # Cisco HDLC
        if at + 4 > end:
            return TRUNCATED, 0, at
        return USED, ETHERTYPE + be16(buf, at + 2), at + 4
    if link == 107:
        return _frame_relay(buf, at, end)
    if link == 105:
        return USED, WLAN, at
    if link == 127:
        return _radiotap(buf, at, end)
    if link == 192:  # per-packet information: little-endian, names the link type of what follows
        if at + 8 > end:
            return TRUNCATED, 0, at
        size, inner = le16(buf, at + 2), le32(buf, at + 4)
        if byte(buf, at) != 0 or size < 8:
            return BAD_HEADER, 0, at
        return (USED if inner < ETHERTYPE else UNSUPPORTED_LINK_TYPE), inner, at + size
    if link == 239:
        return _nflog(buf, at, end, big)
    return UNSUPPORTED_LINK_TYPE, 0, at


@njit(nogil=True)
def _frame_relay(buf: Any, at: Any, end: Any) -> Any:
    """An address of up to 4 bytes, then RFC 2427 or Cisco's EtherType."""
    for size in range(1, 5):
        if at + size > end:
            return TRUNCATED, 0, at
        if byte(buf, at + size - 1) & 1:
            break
        if size == 4:
            return BAD_HEADER, 0, at
    at += size
    if at + 2 > end:
        return TRUNCATED, 0, at
    if byte(buf, at) != 3:
        return USED, ETHERTYPE + be16(buf, at), at + 2
    at += 1 + (byte(buf, at + 1) == 0)  # padding
    if at >= end:
        return TRUNCATED, 0, at
    kind = byte(buf, at)
    if kind == 0xCC:
        return USED, IPV4, at + 1
    if kind == 0x8E:
        return USED, IPV6, at + 1
    if kind == 0xCF:  # RFC 1973
        return USED, PPP, at + 1
    return _snap(buf, at + 1, end) if kind == 0x80 else (NON_IP, 0, at)


@njit(nogil=True)
def _snap(buf: Any, at: Any, end: Any) -> Any:
    """An organisation, and what the two bytes after it mean to it: (reason, layer, offset)."""
    if at + 5 > end:
        return TRUNCATED, 0, at
    organisation = be16(buf, at) << 8 | byte(buf, at + 2)
    if organisation == 0 or organisation == 0xF8:  # RFC 1042, 802.1H
        return USED, ETHERTYPE + be16(buf, at + 3), at + 5
    return UNSUPPORTED_ENCAPSULATION if organisation == 0x80C2 else NON_IP, 0, at  # 802.1: bridged frames


@njit(nogil=True)
def _radiotap(buf: Any, at: Any, end: Any) -> Any:
    """The header's length, and from its flags whether the frame's header is padded to 4 bytes."""
    if at + 8 > end:
        return TRUNCATED, 0, at
    after, present = at + le16(buf, at + 2), le32(buf, at + 4)
    if byte(buf, at) != 0 or after < at + 8:
        return BAD_HEADER, 0, at
    if after > end:
        return TRUNCATED, 0, at
    field, word = at + 8, present
    while word >> 31:  # more words of presence bits
        if field + 4 > after:
            return BAD_HEADER, 0, at
        word = le32(buf, field)
        field += 4
    if present & 1:  # the timestamp, aligned to its size
        field = at + ((field - at + 7) // 8 + 1) * 8
    if not present & 2:
        return USED, WLAN, after
    if field >= after:
        return BAD_HEADER, 0, at
    return USED, WLAN_PADDED if byte(buf, field) & 0x20 else WLAN, after


@njit(nogil=True)
def _wlan(buf: Any, at: Any, end: Any, padded: Any) -> Any:
    """A data frame of 802.11 that can be read by itself: not encrypted, no aggregate, no later fragment."""
    if at + 2 > end:
        return TRUNCATED, 0, at
    kind, flags = byte(buf, at), byte(buf, at + 1)
    if kind & 3:
        return BAD_HEADER, 0, at
    if kind & 0x4C != 8:  # not data, or data without a body
        return NON_IP, 0, at
    if flags & 0x40:
        return ENCRYPTED, 0, at
    size = 30 if flags & 3 == 3 else 24
    quality = at + size
    if kind & 0x80:
        size += 6 if flags & 0x80 else 2
    if at + size > end:
        return TRUNCATED, 0, at
    if byte(buf, at + 22) & 15 or (kind & 0x80 and byte(buf, quality) & 0x80):
        return UNSUPPORTED_ENCAPSULATION, 0, at
    return USED, LLC, at + ((size + 3) // 4 * 4 if padded else size)


@njit(nogil=True)
def _nflog(buf: Any, at: Any, end: Any, big: Any) -> Any:
    """Linux netfilter log: an address family, then attributes in the capturing host's byte order; one of them is the
    packet."""
    if at + 4 > end:
        return TRUNCATED, 0, at
    family = byte(buf, at)
    if byte(buf, at + 1) != 0:
        return BAD_HEADER, 0, at
    at += 4
    while at + 4 <= end:
        size, kind = u16(buf, at, big), u16(buf, at + 2, big)
        if size < 4:
            return BAD_HEADER, 0, at
        if kind & 0x7FFF == 9:
            return USED if family == 2 or family == 10 else NON_IP, IPV4 if family == 2 else IPV6, at + 4
        at += (size + 3) // 4 * 4
    return NON_IP if at == end else TRUNCATED, 0, at


@njit(nogil=True)
def _inner_layer(buf: Any, at: Any, end: Any, layer: Any) -> Any:
    """Past one header that is neither a link type's nor behind an EtherType: (reason, layer, offset)."""
    if layer == LLC:
        if at + 3 > end:
            return TRUNCATED, 0, at
        head = be16(buf, at) << 8 | byte(buf, at + 2)
        if head == 0x060603:  # RFC 948
            return USED, IPV4, at + 3
        return _snap(buf, at + 3, end) if head == 0xAAAA03 else (NON_IP, 0, at)
    if layer >= WLAN:
        return _wlan(buf, at, end, layer == WLAN_PADDED)
    if layer == MPLS:
        bottom = False
        while not bottom:
            if at + 4 > end:
                return TRUNCATED, 0, at
            bottom = byte(buf, at + 2) & 1 != 0
            at += 4
        # else a pseudowire: which one only the routers know
        return _by_version(buf, at, end, UNSUPPORTED_ENCAPSULATION)
    size = 1 if at < end and byte(buf, at) & 1 else 2  # PPP, its protocol possibly compressed
    if at + size > end:
        return TRUNCATED, 0, at
    kind = byte(buf, at) if size == 1 else be16(buf, at)
    at += size
    if kind == 0x21:
        return USED, IPV4, at
    if kind == 0x57:
        return USED, IPV6, at
    if kind == 0x281 or kind == 0x283:
        return USED, MPLS, at
    if kind == 0x53:
        return ENCRYPTED, 0, at
    # bridged frames, compressed TCP headers, multilink, compressed datagrams
    unread = kind == 0x31 or kind == 0x2D or kind == 0x2F or kind == 0x3D or kind == 0xFD
    return UNSUPPORTED_ENCAPSULATION if unread else NON_IP, 0, at


@njit(nogil=True)
def _without_ip(buf: Any, at: Any, end: Any, kind: Any) -> Any:
    """Why no packet is read behind an EtherType: what it carries may be IP all the same."""
    if kind == 0x88E5:  # MACsec: without its bits for encryption and for changed text it only signs what it carries
        return ENCRYPTED if at >= end or byte(buf, at) & 0x0C else UNSUPPORTED_ENCAPSULATION
    # NSH, TRILL, FabricPath, ROHC, 6LoWPAN, compressed TCP/IP, PPP, batman-adv, 802.1's EtherType for organisations,
    # GeoNetworking, Marvell's tags
    carries = kind == 0x894F or kind == 0x22F3 or kind == 0x8903 or kind == 0x22F1 or kind == 0xA0ED or kind == 0x876B
    carries |= kind == 0x880B or kind == 0x4305 or kind == 0x88B7 or kind == 0x8947 or kind == 0xDADA
    return UNSUPPORTED_ENCAPSULATION if carries else NON_IP


@njit(nogil=True)
def network_layer(buf: Any, at: Any, end: Any, link: Any, big: Any) -> Any:
    """Where the IP header of a frame starts: (reason, IP version, offset, note); of an ARP message (NON_IP, ARP,
    offset, …).

    note  what the innermost tag that is not a VLAN's is counted as; 0: there is none
    """
    layer: Any = np.int64(link)
    reason, note = USED if link < ETHERTYPE else UNSUPPORTED_LINK_TYPE, 0
    while reason == USED:
        tag = 0  # bytes of a tag in front of an Ethernet type or length field
        if layer == 1:
            tag = 14
        elif layer == IPV4:
            return USED, 4, at, note
        elif layer == IPV6:
            return USED, 6, at, note
        elif layer < ETHERTYPE:
            reason, layer, at = _link_header(buf, at, end, layer, big)
        elif layer >= 2 * ETHERTYPE:
            reason, layer, at = _inner_layer(buf, at, end, layer)
        else:
            kind = layer - ETHERTYPE
            # 802.1Q, 802.1ad, the older QinQ values
            if kind == 0x8100 or kind == 0x88A8 or kind == 0x9100 or kind == 0x9200:
                tag = 4
            elif kind == 0x8926:
                tag, note = 6, NOTE_VN_TAG
            elif kind == 0x8909:
                tag, note = 8, NOTE_CISCO_METADATA
            elif kind == 0x893F:  # 802.1BR
                tag, note = 8, NOTE_E_TAG
            elif kind == 0x88E7:  # 802.1ah: a service tag, then a frame of Ethernet
                tag, note = 18, NOTE_PROVIDER_BACKBONE
            elif kind == 0x892F or kind == 0xF1C1:  # IEC 62439-3 HSR, 802.1CB
                tag, note = 6, NOTE_REDUNDANCY_TAG
            elif kind == 0x6558:
                tag, note = 14, NOTE_BRIDGED_ETHERNET
            elif kind == 0x8847 or kind == 0x8848:
                layer = MPLS
            elif kind == 0x8864:  # PPPoE session
                if at + 6 > end:
                    reason = TRUNCATED
                elif byte(buf, at + 1) != 0:
                    reason = NON_IP
                layer, at = PPP, at + 6
            else:
                return _without_ip(buf, at, end, kind), ARP if kind == 0x0806 else 0, at, note
        if tag:
            if at + tag > end:
                reason = TRUNCATED
            else:
                at += tag
                kind = be16(buf, at - 2)
                layer = LLC if kind <= 1500 else ETHERTYPE + kind  # 802.3: the length of the frame
    return reason, 0, at, note


@njit(nogil=True)
def ipv4(buf: Any, at: Any, end: Any, wire: Any) -> Any:
    """(reason, protocol, transport offset, IP length, is a later fragment, length came from the record); ``wire``:
    bytes from ``at`` on the wire.

    Protocol and offset are what the header says also where the reason is that it cannot be right.
    """
    if at + 20 > end:
        return TRUNCATED, 0, at, 0, False, False
    header = (byte(buf, at) & 15) * 4
    protocol, transport, later = byte(buf, at + 9), at + header, be16(buf, at + 6) & 0x1FFF != 0
    if byte(buf, at) >> 4 != 4 or header < 20:
        return BAD_HEADER, protocol, transport, 0, later, False
    if transport > end:
        return TRUNCATED, protocol, transport, 0, later, False
    length = be16(buf, at + 2)
    from_record = length < header  # 0 under segmentation offload
    if from_record:
        length = wire
        if length < header:
            return BAD_HEADER, protocol, transport, 0, later, False
    return USED, protocol, transport, length, later, from_record


@njit(nogil=True)
def ipv6(buf: Any, at: Any, end: Any, wire: Any) -> Any:
    """As ``ipv4``; the protocol is the one after the extension headers (RFC 8200)."""
    if at + 40 > end:
        return TRUNCATED, 0, at, 0, False, False
    if byte(buf, at) >> 4 != 6:
        return BAD_HEADER, 0, at, 0, False, False
    length = be16(buf, at + 4) + 40
    from_record = length == 40 and byte(buf, at + 6) != 59  # jumbogram or segmentation offload, not "no next header"
    if from_record:
        length = wire
    protocol = byte(buf, at + 6)
    limit = at + length
    at += 40
    # hop-by-hop, routing, fragment, authentication, destination options, mobility, HIP, shim6
    while (
        protocol == 0
        or protocol == 43
        or protocol == 44
        or protocol == 51
        or protocol == 60
        or protocol == 135
        or protocol == 139
        or protocol == 140
    ):
        if at + 8 > limit:
            return BAD_HEADER, protocol, at, 0, False, False
        if at + 8 > end:
            return TRUNCATED, protocol, at, 0, False, False
        following = byte(buf, at)
        if protocol == 44:
            if be16(buf, at + 2) & 0xFFF8 != 0:
                return USED, following, at + 8, length, True, from_record
            at += 8
        elif protocol == 51:
            at += (byte(buf, at + 1) + 2) * 4
        else:
            at += (byte(buf, at + 1) + 1) * 8
        protocol = following
    if at > limit:
        return BAD_HEADER, protocol, at, 0, False, False
    return USED, protocol, at, length, False, from_record
