"""Interned 5-tuples: the sessions that packets belong to."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from datasets_registry.capture.memory import address, be64, put, word
from janus_bench.compiled import njit

# A session is one row of 8 words, a cache line: its key, its newest flow (times of first and last packet, row in the
# table of flows or -1, and packets << 2 | closed << 1 | initiator is the second endpoint), its last packet in the file
# (time; offset << 20 | captured IP bytes, -1: nothing equals it).
KEY_A, KEY_B, FIRST, LAST, FLOW, META, RECENT_TS, RECENT_AT = range(8)
CLOSED = 2
SESSION = 0  # column of the table of flows, see ``kernels``
N_SESSIONS = 1  # word of the scan's ``state``

KEY_WORDS = 5
# Copies of CIC-DDoS2019's mirror port: 88 % within 10 µs, all but three of the others within 100 µs; a retransmission
# takes longer.  Whether they are copies or a sender that repeats itself shows in the identification of IPv4, which
# differs from packet to packet unless it is 0: docs/audits.md.
MIRROR_WINDOW = 100_000

_MIX_A, _MIX_B = -7046029254386353131, -4417276706812531889  # odd, of random bits
_LOW_32 = (1 << 32) - 1


class Sessions(NamedTuple):
    """Interned 5-tuples: ``rows`` (capacity, 8) int64, and an open-addressing ``table`` (power of two) int64 into them:
    hash bits << 32 | row + 1.

    A key is the lower endpoint's address (two words), the upper one's, and IP version << 40 | protocol << 32 | lower
    port << 16 | upper port. That of IPv4 fits into two words of the row: lower address << 24 | port << 8 | protocol,
    and upper address << 16 | port; ``keys`` (capacity, 5) uint64 has the others, whose words in the row are hashes, the
    first of them negative.
    """

    rows: NDArray[np.int64]
    keys: NDArray[np.uint64]
    table: NDArray[np.int64]


def new_sessions(capacity: int) -> Sessions:
    """Room for ``capacity`` sessions, a power of two, with twice as many slots: a search in the table always ends at a
    free one."""
    spare = np.empty(capacity * 8 + 8, np.int64)
    begin_at = -spare.ctypes.data % 64 // 8  # rows that are cache lines
    rows = spare[begin_at : begin_at + capacity * 8].reshape(capacity, 8)
    return Sessions(rows, np.empty((capacity, KEY_WORDS), np.uint64), np.zeros(2 * capacity, np.int64))


@njit(nogil=True, forceinline=True)
def _hash(a: Any, b: Any) -> Any:
    hashed = (b * _MIX_B + a) * _MIX_A
    return hashed ^ (hashed >> 32)


@njit(nogil=True)
def _same_key(keys: Any, row: Any, key: Any) -> Any:
    same = True
    for i in range(KEY_WORDS):
        same &= word(keys, KEY_WORDS * row + i) == word(key, i)
    return same


@njit(nogil=True, forceinline=True)
def find_session(rows: Any, keys: Any, table: Any, mask: Any, state: Any, a: Any, b: Any, key: Any) -> Any:
    """The session of a key, interned if it is new; ``key`` (5,) is read if ``a`` is negative.  All but numbers are
    addresses."""
    hashed = _hash(a, b)
    slot = hashed & mask
    while True:
        entry = word(table, slot)
        if entry == 0:
            break
        if (entry ^ hashed) >> 32 == 0:
            row = (entry & _LOW_32) - 1
            if (
                word(rows, 8 * row + KEY_A) == a
                and word(rows, 8 * row + KEY_B) == b
                and (a >= 0 or _same_key(keys, row, key))
            ):
                return row
        slot = (slot + 1) & mask
    row = word(state, N_SESSIONS)
    put(state, N_SESSIONS, row + 1)
    put(table, slot, (hashed & ~_LOW_32) | (row + 1))
    put(rows, 8 * row + KEY_A, a)
    put(rows, 8 * row + KEY_B, b)
    put(rows, 8 * row + FLOW, -1)
    put(rows, 8 * row + RECENT_AT, -1)
    if a < 0:
        for i in range(KEY_WORDS):
            put(keys, KEY_WORDS * row + i, word(key, i))
    return row


@njit(nogil=True)
def forget(now: Any, pending: Any, flows: Any, old: Any, n_sessions: Any, new: Any) -> Any:
    """Copy the sessions that have a flow in the table, a packet in ``pending`` (their sessions) or a recent one; the
    number of them.

    They are numbered anew, also in ``pending`` and ``flows`` (the table's rows); ``new`` may be ``old``.
    """
    new.table[:] = 0
    place = np.zeros(n_sessions, np.int32)
    for i in range(len(pending)):
        place[pending[i]] = 1
    kept = 0
    mask = len(new.table) - 1
    for session in range(n_sessions):
        flow = old.rows[session, FLOW]
        if flow < 0 and place[session] == 0 and now - old.rows[session, RECENT_TS] > MIRROR_WINDOW:
            continue
        place[session] = kept
        for i in range(8):
            new.rows[kept, i] = old.rows[session, i]
        if new.rows[kept, KEY_A] < 0:
            for i in range(KEY_WORDS):
                new.keys[kept, i] = old.keys[session, i]
        if flow >= 0:
            flows[flow, SESSION] = kept
        hashed = _hash(new.rows[kept, KEY_A], new.rows[kept, KEY_B])
        slot = hashed & mask
        while new.table[slot] != 0:
            slot = (slot + 1) & mask
        new.table[slot] = (hashed & ~_LOW_32) | (kept + 1)
        kept += 1
    for i in range(len(pending)):
        pending[i] = place[pending[i]]
    return kept


@njit(nogil=True, forceinline=True)
def spell_key(rows: Any, keys: Any, session: Any, out: Any) -> None:
    """The five words of a session's key, see ``Sessions``; all but ``session`` are addresses."""
    a, b = word(rows, 8 * session + KEY_A), word(rows, 8 * session + KEY_B)
    if a < 0:
        for i in range(KEY_WORDS):
            put(out, i, word(keys, KEY_WORDS * session + i))
    else:
        put(out, 0, 0)
        put(out, 1, a >> 24)
        put(out, 2, 0)
        put(out, 3, b >> 16)
        put(out, 4, 4 << 40 | (a & 0xFF) << 32 | (a >> 8 & 0xFFFF) << 16 | b & 0xFFFF)


@njit(nogil=True)
def spell_keys(sessions: Any, out: Any) -> None:
    """The keys of the first sessions, as many as ``out`` (n, 5) has room for."""
    for session in range(len(out)):
        spell_key(address(sessions.rows), address(sessions.keys), session, address(out) + 8 * KEY_WORDS * session)


@njit(nogil=True)
def long_key(buf: Any, ip: Any, protocol: Any, ports: Any, key: Any) -> Any:
    """Fill ``key`` for the IPv6 packet at ``ip``: (two hashes of it, the first negative; sender is the second
    endpoint)."""
    src = np.uint64(be64(buf, ip + 8)), np.uint64(be64(buf, ip + 16)), np.uint64(ports >> 16)
    dst = np.uint64(be64(buf, ip + 24)), np.uint64(be64(buf, ip + 32)), np.uint64(ports & 0xFFFF)
    second = dst < src
    if second:
        src, dst = dst, src
    a = b = np.int64(0)
    last = np.uint64(6 << 40 | protocol << 32) | src[2] << np.uint64(16) | dst[2]
    for i, part in enumerate((src[0], src[1], dst[0], dst[1], last)):
        put(key, i, np.int64(part))
        a, b = _hash(a, np.int64(part)), _hash(b + i, np.int64(part))
    return a | np.int64(-1 << 63), b, second


@njit(nogil=True, forceinline=True)
def short_key(addresses: Any, protocol: Any, ports: Any) -> Any:
    """As ``long_key`` for IPv4: addresses << 32 and ports << 16 of sender | receiver."""
    src = (addresses >> 32 & _LOW_32) << 16 | ports >> 16
    dst = (addresses & _LOW_32) << 16 | (ports & 0xFFFF)
    return min(src, dst) << 8 | protocol, max(src, dst), dst < src
