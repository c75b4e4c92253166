"""What a detector may return in place of its scores, and the statuses that are right for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

NO_SCORES, GOOD = frozenset({"invalid_output"}), frozenset({"ok"})


class Odd:
    """Says that it is an array, and raises."""

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("no array")

    def __len__(self) -> int:
        return 10**12


class Lying(dict):  # type: ignore[type-arg]
    def __getitem__(self, key: Any) -> Any:
        raise RuntimeError("nothing there")


def with_value(value: Any) -> Callable[[Any], Any]:
    def spoil(scores: Any) -> Any:
        scores = scores.copy()
        scores[0] = value
        return scores

    return spoil


RETURNS: dict[str, tuple[Callable[[Any], Any], frozenset[str]]] = {
    "nothing": (lambda s: None, NO_SCORES),
    "number": (lambda s: 0.5, NO_SCORES),
    "text": (lambda s: "scores", NO_SCORES),
    "nan": (with_value(np.nan), NO_SCORES),
    "infinite": (with_value(np.inf), NO_SCORES),
    "negative-infinite": (with_value(-np.inf), NO_SCORES),
    "short": (lambda s: s[:-1], NO_SCORES),
    "long": (lambda s: np.append(s, 1), NO_SCORES),
    "column": (lambda s: s[:, None], NO_SCORES),
    "row": (lambda s: s[None], NO_SCORES),
    "empty": (lambda s: s[:0], NO_SCORES),
    "endless": (lambda s: np.broadcast_to(np.float32(0), (10**12,)), frozenset({"invalid_output", "oom"})),
    "complex": (lambda s: s + 1j, NO_SCORES),
    "complex-of-reals": (lambda s: s.astype(complex), NO_SCORES),
    "masked": (lambda s: np.ma.masked_greater(s, np.median(s)), NO_SCORES),
    "masked-nowhere": (lambda s: np.ma.masked_array(s), NO_SCORES),
    "objects": (lambda s: s.astype(object), NO_SCORES),
    "objects-of-all-kinds": (lambda s: np.array([object() for _ in s]), NO_SCORES),
    "texts": (lambda s: s.astype(str), NO_SCORES),
    "bytes": (lambda s: s.astype("S8"), NO_SCORES),
    "truths": (lambda s: s > 1, NO_SCORES),
    "dates": (lambda s: s.astype("datetime64[s]"), NO_SCORES),
    "durations": (lambda s: s.astype("timedelta64[s]"), NO_SCORES),
    "records": (lambda s: s.view([("a", "f8")]), NO_SCORES),
    "voids": (lambda s: s.view("V8"), NO_SCORES),
    "ragged": (lambda s: [[1.0], [1.0, 2.0]], NO_SCORES),
    "generator": (lambda s: (each for each in s), NO_SCORES),
    "set": (lambda s: set(s), NO_SCORES),
    "function": (lambda s: len, NO_SCORES),
    "class": (lambda s: Odd, NO_SCORES),
    "odd": (lambda s: Odd(), NO_SCORES),
    "another-column": (lambda s: {"other": s}, NO_SCORES),
    "a-column-too-many": (lambda s: {"score": s, "role": s}, NO_SCORES),
    "a-column-of-no-name": (lambda s: {None: s}, NO_SCORES),
    "no-column": (lambda s: {}, NO_SCORES),
    "column-in-column": (lambda s: {"score": {"score": s}}, NO_SCORES),
    "lying": (lambda s: Lying(score=s), frozenset({"invalid_output", "error"})),
    "one-type-too-wide": (lambda s: s.astype(np.longdouble) * np.longdouble("1e4000"), NO_SCORES),
    "list": (lambda s: s.tolist(), GOOD),
    "tuple": (lambda s: tuple(s.tolist()), GOOD),
    "mapping": (lambda s: {"score": s}, GOOD),
    "whole-numbers": (lambda s: s.astype(np.int8), GOOD),
    "big-endian": (lambda s: s.astype(">f8"), GOOD),
    "single": (lambda s: s.astype(np.float32), GOOD),
    "reversed": (lambda s: s[::-1], GOOD),
    "strided": (lambda s: np.repeat(s, 3)[::3], GOOD),
    "read-only": (lambda s: np.broadcast_to(s[0], s.shape), GOOD),
    "matrix-of-one-row": (lambda s: np.matrix(s), NO_SCORES),
    "huge": (lambda s: s * 1e300 / max(s.max(), 1), GOOD),
    "tiny": (lambda s: s * 5e-324, GOOD),
}
