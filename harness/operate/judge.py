"""What a score means on the network that a model was calibrated on: its threshold, its conformal p-value, and whether
the network is still that one."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from janus_bench.errors import DataError, UsageError
from janus_bench.models import SavedModel
from protocols.aggregators import Scalar, fit_aggregator
from protocols.operations import rates_by_chance

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Threshold:
    """An alert is a score above ``value``; of benign flows at most a share of ``promised``, the calibration flows say.

    asked  as it was asked for
    """

    asked: str
    value: float
    promised: float


def threshold_of(asked: str, scores: Scores, flows_per_day: float) -> Threshold:
    """``p99``: that percentile of the rising calibration ``scores`` (n,); ``fpr=0.001``; ``alerts=50/day``.

    UsageError for anything else, and for a rate that so few flows cannot tell from 0.
    """
    if match := re.fullmatch(r"p(\d{1,2}(?:\.\d+)?)", asked):
        quantile = float(match[1]) / 100
        return Threshold(asked, float(np.quantile(scores, quantile, method="higher")), 1 - quantile)
    if match := re.fullmatch(r"fpr=(\d*\.?\d+(?:e-?\d+)?)", asked):
        rate = float(match[1])
    elif match := re.fullmatch(r"alerts=(\d+(?:\.\d+)?)/day", asked):
        if flows_per_day <= 0:
            raise UsageError(
                f"--threshold {asked}: the calibration captures do not tell how many flows a day there are"
            )
        rate = float(match[1]) / flows_per_day
        if rate >= 1:
            raise UsageError(
                f"--threshold {asked}: the calibration captures had {flows_per_day:,.4g} flows a day: ask for fewer "
                "alerts"
            )
    else:
        raise UsageError(f"--threshold {asked!r}: write p99, fpr=0.001 or alerts=50/day")
    if not 0 < rate < 1:
        raise UsageError(f"--threshold {asked}: that is a share of {rate:g} of all flows; it must lie between 0 and 1")
    n, needed = len(scores), math.ceil(1 / rate) - 1
    if n < needed:
        raise UsageError(
            f"--threshold {asked}: a share of {rate:.3g} takes {needed:,} calibration flows to know, the model has "
            f"{n:,}; ask for more alerts, or recalibrate with more captures"
        )
    return Threshold(asked, float(scores[n - 1 - math.floor(rate * n + 1e-9)]), rate)


def p_values(scores: Scores, calibration: Scores) -> Scores:
    """(m,) conformal p-values of ``scores`` (m,) among the rising ``calibration`` scores (n,): (1 + number of them ≥ s)
    / (n + 1) (Vovk, Gammerman, Shafer 2005; Bates et al., Annals of Statistics 51, 2023)."""
    above = len(calibration) - np.searchsorted(calibration, scores, side="left")
    return (1 + above) / (len(calibration) + 1)


@dataclass(frozen=True)
class LeftOut:
    """A capture of the calibration, and the share of its flows that would alert if the threshold came from the
    others."""

    capture: str
    flows: int
    rate: float


class Judge:
    """A model's calibration, ready to be asked."""

    def __init__(self, model: SavedModel, asked: str) -> None:
        """DataError for a model that is not calibrated."""
        calibration = model.manifest["calibration"]
        if calibration is None:
            raise DataError(
                f"{model.folder}: is not calibrated, as models that `run` leaves are not: "
                f"janus-bench recalibrate {model.folder} CAPTURES -o MODEL makes one that is"
            )
        self.scores, self._capture = model.array("scores"), model.array("capture")
        self.columns, self.features = model.array("columns"), model.array("features")
        n, k = len(self.scores), len(model.manifest["scores"])
        if n < 1 or self.columns.shape != (n, k) or self._capture.shape != (n,) or self.features.shape[0] != n:
            raise DataError(f"{model.folder}: the model is damaged (its calibration's arrays do not fit each other)")
        self._captures, self._flows_per_day = calibration["captures"], calibration["flows_per_day"]
        self.scalar: Scalar = fit_aggregator(
            model.manifest["aggregator"], model.array("aggregate"), tuple(model.manifest["scores"])
        )
        self.threshold = threshold_of(asked, self.scores, self._flows_per_day)

    @cached_property
    def left_out(self) -> list[LeftOut]:
        """Each capture judged by the others; of a single one nothing can be said."""
        found = []
        for number, capture in enumerate(self._captures):
            own = self._capture == number
            if own.any() and not own.all():
                try:
                    others = threshold_of(self.threshold.asked, self.scores[~own], self._flows_per_day)
                except UsageError:  # the others are too few for it
                    continue
                found.append(LeftOut(capture["name"], int(own.sum()), float(np.mean(self.scores[own] > others.value))))
        return found

    def expected(self, flows: int) -> tuple[float, float]:
        """The least and the largest share of ``flows`` alerts that the calibration lets one expect.

        Of exchangeable flows the number above the threshold is beta-binomial; since flows of one capture are not
        independent, the rates of the captures left out count as possible too.
        """
        above = int(np.sum(self.scores > self.threshold.value))
        low, high = rates_by_chance(len(self.scores), above, flows)
        rates = [capture.rate for capture in self.left_out]
        return min([low, *rates]), max([high, *rates])

    def described(self) -> list[str]:
        """Lines: what the threshold is made of."""
        n, threshold = len(self.scores), self.threshold
        used = len(np.unique(self._capture))
        lines = [
            f"threshold {threshold.asked}: score above {threshold.value:.6g}, promised {threshold.promised:.3%} of "
            f"benign flows; from {n:,} calibration flows of {used} capture(s), p-values down to "
            f"{1 / (n + 1):.2g}"
        ]
        if n * threshold.promised < 1:
            lines.append(f"warning: {n} calibration flows cannot tell a rate of {threshold.promised:.3%} from 0")
        rates = self.left_out
        if rates:
            lines.append("realised rate of each calibration capture, judged by the others: " + _listed(rates))
        else:
            lines.append("one capture alone: nothing says how the threshold would do on another one")
        return lines

    def drift(self, alerts: int, flows: int) -> str:
        """A line if so many alerts among ``flows`` are not what the calibration lets one expect, or an empty string."""
        if not flows:
            return ""
        low, high = self.expected(flows)
        if low <= alerts / flows <= high:
            return ""
        return (
            f"{alerts / flows:.3%} of the flows alert, outside the {low:.3%} to {high:.3%} that the calibration lets "
            "one expect: an attack, or the network is no longer the one that was calibrated: "
            "janus-bench recalibrate MODEL CAPTURES -o MODEL2"
        )


def _listed(rates: Sequence[LeftOut]) -> str:
    shown = sorted(rates, key=lambda one: -one.flows)[:8]
    more = f", and {len(rates) - len(shown)} smaller ones" if len(rates) > len(shown) else ""
    return ", ".join(f"{one.capture} {one.rate:.2%} of {one.flows:,}" for one in shown) + more
