"""The 20 flow features of ``contract.FLOW_FEATURES``, from the stored packets."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from harness.contract import FLOW_FEATURES

__all__ = ["flow_features"]


@njit(cache=True, nogil=True)
def _features(offsets: Any, size: Any, iat: Any, bits: Any, out: Any) -> None:
    """Fill ``out`` (n, 20), zeros on entry, in the order of ``FLOW_FEATURES``; flag bits as in ``schema.BIT_OF``."""
    for flow in range(len(offsets) - 1):
        begin, end = offsets[flow], offsets[flow + 1]
        row = out[flow]
        row[1] = end - begin
        row[8] = row[9] = size[begin]
        if end - begin > 1:
            row[12] = row[13] = iat[begin + 1]
        for i in range(begin, end):
            backward = np.int64(bits[i] & 1)
            row[2 + backward] += 1
            row[4 + backward] += size[i]
            row[8], row[9] = min(row[8], float(size[i])), max(row[9], float(size[i]))
            for flag in range(5):
                row[14 + flag] += (bits[i] >> (1 + flag)) & 1
            if i > begin:
                row[0] += iat[i]
                row[12], row[13] = min(row[12], float(iat[i])), max(row[13], float(iat[i]))
        gaps = max(end - begin - 1, 1)
        row[6] = (row[4] + row[5]) / row[1]
        row[10] = row[0] / gaps
        for i in range(begin, end):
            row[7] += (size[i] - row[6]) ** 2
            if i > begin:
                row[11] += (iat[i] - row[10]) ** 2
        row[7], row[11] = math.sqrt(row[7] / row[1]), math.sqrt(row[11] / gaps)
        row[19] = row[3] / max(row[2], 1.0)
        for column in range(19):
            row[column] = math.log1p(row[column])


def flow_features(offsets: NDArray[np.int64], size: NDArray[np.uint16], iat: NDArray[np.float32], bits: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The features of N flows, each of at least one packet: (N, 20) float64, columns in the order of ``FLOW_FEATURES``.

    offsets (N + 1,); size (bytes), iat (µs, the first packet's is not a gap) and bits (see ``schema.BIT_OF``), each (offsets[-1],).
    ``log_duration`` is log1p of the time from the first to the last stored packet in µs.
    """
    out = np.zeros((len(offsets) - 1, len(FLOW_FEATURES)))
    _features(offsets, size, iat, bits, out)
    return out
