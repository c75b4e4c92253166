"""UDP ports of tunnels: what is inside one is seen as one flow.  Packets are counted, nothing is unpacked."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

UDP = 17
UDP_TUNNELS = {
    "vxlan": (4789, 8472),  # the second is Linux's from before there was an assigned one
    "vxlan_gpe": (4790,),
    "geneve": (6081,),
    "gtp_u": (2152,),
    "teredo": (3544,),
    "l2tp": (1701,),
    "mpls_in_udp": (6635,),
    "gue": (6080,),
    "lisp": (4341,),
    "capwap": (5247,),
    "amt": (2268,),
    "tzsp": (37008,),
    "ipsec": (4500,),
}
"""Name → ports, by the registry of IANA but where it says otherwise."""

NAMES = ("", *UDP_TUNNELS)
_TUNNEL_OF = np.zeros(1 << 16, np.uint8)
for _number, _ports in enumerate(UDP_TUNNELS.values(), 1):
    _TUNNEL_OF[list(_ports)] = _number


def tunnelled(keys: NDArray[np.uint64], n_packets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Packets of flows with such a port at either end, (len(NAMES),).

    keys (F, 5) as in ``sessions.Sessions``, n_packets (F,).
    """
    rest = keys[:, 4].astype(np.int64)
    tunnel = np.maximum(_TUNNEL_OF[rest >> 16 & 0xFFFF], _TUNNEL_OF[rest & 0xFFFF]) * (rest >> 32 & 0xFF == UDP)
    return np.bincount(tunnel, n_packets, len(NAMES)).astype(np.int64)
