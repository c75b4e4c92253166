"""The 20 flow features of ``columns.FLOW_FEATURES``, from the stored packets."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets_registry.capture.memory import bits_of, float_of
from janus_bench.columns import FLOW_FEATURES
from janus_bench.compiled import njit

# Of each byte of flags, its bits as counts of 8 bits each: at most 64 packets are added up.
SPREAD = np.array([sum((flags >> bit & 1) << 8 * bit for bit in range(6)) for flags in range(64)], np.int64)
BLOCK = 64  # flows, so that their features are in the cache for the logarithm
LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
HALF_SQRT2 = 0x3FE6A09E667F3BCD  # bits of sqrt(1/2)


@njit(nogil=True, forceinline=True, error_model="numpy")
def _log1p(x: Any) -> Any:
    """log(1 + x) of x >= 0 without a branch, so that eight are computed at once: FreeBSD's e_log.c, and the rounding of
    1 + x put right."""
    u = 1.0 + x
    bits = bits_of(u)
    exponent = (bits - HALF_SQRT2) >> 52
    f = float_of(bits - (exponent << 52)) - 1.0
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    odd = w * (3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01))
    even = z * (
        6.666666666666735130e-01
        + w * (2.857142874366239149e-01 + w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01))
    )
    half = 0.5 * f * f
    lost = (x - (u - 1.0)) / u
    return exponent * LN2_HIGH - ((half - (s * (half + odd + even) + (exponent * LN2_LOW + lost))) - f)


@njit(nogil=True, error_model="numpy")
def _log1p_all(values: Any) -> None:
    for i in range(len(values)):
        values[i] = _log1p(values[i])


@njit(nogil=True, error_model="numpy")
def _features(offsets: Any, size: Any, iat: Any, bits: Any, out: Any) -> None:
    """Fill ``out`` (n, 20) in the order of ``FLOW_FEATURES``; flag bits as in ``columns.BIT_OF``."""
    flat, ratios = out.reshape(-1), np.empty(BLOCK)
    n_flows = len(offsets) - 1
    for start in range(0, n_flows, BLOCK):
        stop = min(start + BLOCK, n_flows)
        for flow in range(start, stop):
            begin, end = offsets[flow], offsets[flow + 1]
            n = end - begin
            total = squares = backward = counts = np.int64(0)
            smallest = largest = np.int64(size[begin])
            for i in range(begin, end):
                length, flags = np.int64(size[i]), np.int64(bits[i] & 63)
                total += length
                squares += length * length
                backward += length * (flags & 1)
                counts += SPREAD[flags]
                smallest, largest = min(smallest, length), max(largest, length)
            duration, shortest, longest, deviation = 0.0, 0.0, 0.0, 0.0
            gaps = max(n - 1, 1)
            if n > 1:
                shortest = longest = np.float64(iat[begin + 1])
                for i in range(begin + 1, end):
                    gap = np.float64(iat[i])
                    duration += gap
                    shortest, longest = min(shortest, gap), max(longest, gap)
                mean = duration / gaps
                for i in range(begin + 1, end):
                    deviation += (iat[i] - mean) ** 2
            n_backward = counts & 0xFF
            out[flow, 0], out[flow, 1], out[flow, 2], out[flow, 3] = duration, n, n - n_backward, n_backward
            # The sizes are whole numbers: their variance from sums is exact.
            out[flow, 4], out[flow, 5], out[flow, 6] = total - backward, backward, total / n
            out[flow, 7], out[flow, 8], out[flow, 9] = (
                np.sqrt(float(n * squares - total * total)) / n,
                smallest,
                largest,
            )
            out[flow, 10], out[flow, 11], out[flow, 12], out[flow, 13] = (
                duration / gaps,
                np.sqrt(deviation / gaps),
                shortest,
                longest,
            )
            for flag in range(5):
                out[flow, 14 + flag] = counts >> 8 * (1 + flag) & 0xFF
            out[flow, 19] = 0.0
            ratios[flow - start] = n_backward / max(n - n_backward, 1)
        _log1p_all(flat[start * 20 : stop * 20])
        for flow in range(start, stop):
            out[flow, 19] = ratios[flow - start]


def flow_features(
    offsets: NDArray[np.int64], size: NDArray[np.uint16], iat: NDArray[np.float32], bits: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """The features of N flows, each of at least one packet: (N, 20) float64, columns in the order of ``FLOW_FEATURES``.

    offsets (N + 1,); size (bytes), iat (µs, the first packet's is not a gap) and bits (see ``columns.BIT_OF``), each
    (offsets[-1],). ``log_duration`` is log1p of the time from the first to the last stored packet in µs.
    """
    out = np.empty((len(offsets) - 1, len(FLOW_FEATURES)))
    _features(offsets, size, iat, bits, out)
    return out
