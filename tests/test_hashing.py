"""The generator's published sequence, and that a value's hash depends on the value alone."""

from __future__ import annotations

import numpy as np

from janus_bench.hashing import GOLDEN, splitmix64

FROM_1234567 = [
    6457827717110365317,
    3203168211198807973,
    9817491932198370423,
    4593380528125082431,
    16408922859458223821,
]
"""The first numbers of splitmix64 with the seed 1234567, as published with the reference implementation in C."""


def test_the_published_sequence() -> None:
    counter = np.arange(5, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    assert splitmix64(counter + np.uint64(1234567)).tolist() == FROM_1234567
    assert splitmix64(counter, 1234567 + GOLDEN).tolist() == FROM_1234567


def test_the_order_and_the_type_of_the_values_do_not_matter() -> None:
    values = np.arange(1000, dtype=np.int64)
    hashed = splitmix64(values, 7)
    assert len(set(hashed.tolist())) == 1000
    assert np.array_equal(splitmix64(values[::-1].astype(np.uint16), 7)[::-1], hashed)
