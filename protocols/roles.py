"""Who trains, validates, calibrates, sets thresholds and is tested, in each regime.  It is said here and nowhere else.

A dataset's flows lie in *parts* (``protocols.splits``): train, val, cal_a, cal_b, test, and for the target-only
baseline ``baseline_train``, ``baseline_val`` and ``baseline_cal_a``, into which the target's ``cal_a`` is divided as a
whole dataset is.  A *use* is a part of the source or of the target; ``Roles`` say what each use is for.  Two rules hold
in every regime: thresholds come from ``cal_b``, which nothing else ever sees, and whatever is tested served no other
purpose.

Scores are stored by role: ``source_val``, ``cal_a``, ``cal_b`` and ``test``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from protocols.flow_index import FlowIndex
    from protocols.splits import Partition

Ids = NDArray[np.int64]

BASELINE = "baseline_"
HINTS: Mapping[str, Mapping[str, int]] = {
    "hints_few_shot": {"test_attack": 20},
    "hints_transductive": {"test_benign": 100, "test_attack": 100},
}
"""Parts of hints → how many flows of which part of the test they hold (``Capabilities.hints``)."""
HINTS_DRAW = 7  # Sets the draw of hints apart from other draws of the same seed.


@dataclass(frozen=True)
class Use:
    """Some part of the source's or of the target's flows."""

    where: Literal["source", "target"]
    part: str


@dataclass(frozen=True)
class Roles:
    """What one run does with which flows.

    fit         trained on, one after the other
    validate    for early stopping
    calibrate   given to the detector's ``calibrate``; None: it is not called
    aggregate   stored role whose scores the aggregator is fitted on
    scored      stored role → the flows that are scored
    hints       whose test flows a detector that does not keep to benign flows is shown some of
    """

    fit: tuple[Use, ...]
    validate: Use
    calibrate: Use | None
    aggregate: str
    scored: Mapping[str, Use]
    hints: Literal["source", "target"]

    @property
    def uses(self) -> tuple[Use, ...]:
        """All of them, each once."""
        calibrate = () if self.calibrate is None else (self.calibrate,)
        return tuple(dict.fromkeys((*self.fit, self.validate, *calibrate, *self.scored.values())))


def roles_of(regime: str, calibration: str) -> Roles:
    """The roles in a regime (``transfer``, ``pooled``, ``control``: the target-only baseline) under a protocol's
    ``calibration``.

    ``target_benign``: the detector and the aggregator are calibrated on benign flows of the target; ``source_benign``:
    on the source's validation flows; ``none``: the detector is not calibrated, the aggregator is fitted on the source's
    validation flows.  The baseline has no source: it is calibrated on the target in any case.
    """
    if regime == "control":
        train, val, cal_a = (Use("target", f"{BASELINE}{part}") for part in ("train", "val", "cal_a"))
        return Roles((train,), val, cal_a, aggregator_role(regime, calibration), _scored(val, cal_a), "target")
    fit = {"transfer": (Use("source", "train"),), "pooled": (Use("source", "train"), Use("target", "cal_a"))}[regime]
    val, cal_a = Use("source", "val"), Use("target", "cal_a")
    calibrate = {"target_benign": cal_a, "source_benign": val, "none": None}[calibration]
    return Roles(fit, val, calibrate, aggregator_role(regime, calibration), _scored(val, cal_a), "source")


def _scored(val: Use, cal_a: Use) -> dict[str, Use]:
    return {"source_val": val, "cal_a": cal_a, "cal_b": Use("target", "cal_b"), "test": Use("target", "test")}


def aggregator_role(regime: str, calibration: str, schema_version: int = 2) -> str:
    """The stored role whose scores the aggregator is fitted on.

    Threshold calibration (``cal_b``) is reserved for thresholds: fitting on it too would make false-positive rates
    optimistic.  Runs of schema version 1 did so in the baseline, which had no ``cal_a`` of its own, and are read as
    they were made.
    """
    if regime == "control":
        return "cal_a" if schema_version >= 2 else "cal_b"
    return {"target_benign": "cal_a", "source_benign": "source_val", "none": "source_val"}[calibration]


def use_of_target(regime: str, calibration: str, calibrates: str, aggregator: str) -> tuple[str, ...]:
    """What becomes of the target's benign calibration flows: ``training``, what the detector's own ``calibrate`` does
    with them (``Capabilities.target_use``), ``aggregator``; empty: nothing.

    Thresholds, which come from ``cal_b`` for everyone, are not counted.
    """
    from protocols.aggregators import learns_from_calibration

    roles = roles_of(regime, calibration)
    own = calibrates if roles.calibrate is not None and roles.calibrate.where == "target" else ""
    fitted = learns_from_calibration(aggregator) and roles.scored[roles.aggregate].where == "target"
    trained = any(use.where == "target" for use in roles.fit)
    return tuple(filter(None, ("training" if trained else "", own, "aggregator" if fitted else "")))


@dataclass(frozen=True)
class Surroundings:
    """What a run does to the neighbours of the flows that it looks at; nothing by default.

    overlay       of what is tested: the test captures of a site lie over each other
    attacks_left  of what a detector learns from and is calibrated on: the share of the attack sessions that are left
                  among them, where no operator could have removed every one
    """

    overlay: bool = False
    attacks_left: float = 0.0

    def around(self, part: str) -> Surroundings:
        """As far as it concerns a part."""
        return Surroundings(overlay=self.overlay) if is_tested(part) else Surroundings(attacks_left=self.attacks_left)


AS_RECORDED = Surroundings()


def is_tested(part: str) -> bool:
    """Whether a part lies among all flows of its captures, and not among benign ones."""
    return part == "test" or part in HINTS


def neighbours_of_part(
    index: FlowIndex, partition: Partition, part: str, attacks_left: float = 0.0
) -> NDArray[np.bool_]:
    """Which of a dataset's flows a part's flows have around them when a detector looks at their context, (n,).

    What is tested lies among all flows.  What a detector learns from, and what calibrates it, lies among benign ones,
    among those attacks that the draw leaves in training, and among ``attacks_left`` (see ``Surroundings``): no label is
    used beyond the removal of the others.
    """
    from protocols.splits import some_attacks

    if is_tested(part):
        return np.ones(len(index.attack), np.bool_)
    there = ~index.attack
    there[partition.parts["train"]] = True
    there[some_attacks(index, attacks_left)] = True
    return there


def flows_of_part(index: FlowIndex, partition: Partition, part: str, seed: int) -> Ids:
    """Flow ids of a part, ascending but for hints and ``test`` (its benign flows first)."""
    from protocols.splits import baseline_parts

    if part == "test":
        return partition.test
    if part in HINTS:
        rng = np.random.default_rng([seed, HINTS_DRAW])
        chosen = [(partition.parts[name], n) for name, n in HINTS[part].items()]
        return np.concatenate(
            [rng.choice(flow_ids, size=min(n, len(flow_ids)), replace=False) for flow_ids, n in chosen]
        )
    if part.startswith(BASELINE):
        return baseline_parts(index, partition.parts["cal_a"], seed)[part.removeprefix(BASELINE)]
    return partition.parts[part]
