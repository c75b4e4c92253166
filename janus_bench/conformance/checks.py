"""The checks: what a detector promises, one small function each, and the detector under test that they share."""

from __future__ import annotations

import dataclasses
import random
import shutil
import sys
import tempfile
import unittest
import weakref
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from janus_bench.columns import FEATURE_INPUTS
from janus_bench.conformance.flows import (
    MIXED_BENIGN,
    constant_flows,
    mixed_flows,
    synthetic_benign,
    with_cic_features,
    with_context,
    with_netflow,
    with_stream,
)
from janus_bench.contract import Capabilities, FitContext, FlowBatch
from janus_bench.errors import UsageError
from janus_bench.params import fits_into_json

SEED = 7
REPEATED = 1e-6  # Relative difference allowed where the same computation is done twice.
REORDERED = 1e-4  # Relative difference allowed where rows meet other rows in a batch: float32 sums in another order.
ORIENTED = 0.7
"""AUROC of planted outliers, mean over the score columns, below which a detector is taken to point the wrong way."""


def name_of(check: Callable[[Subject], None]) -> str:
    """``check_order_invariance`` → ``order_invariance``."""
    return check.__name__.removeprefix("check_")


class Subject:
    """The detector under test: makes, fits and scores instances of it."""

    def __init__(self, target: Callable[..., Any], params: object) -> None:
        self._target, self._given = target, params
        self._scratch = Path(tempfile.mkdtemp(prefix="janus-bench-check-"))
        weakref.finalize(self, shutil.rmtree, self._scratch, ignore_errors=True)

    @cached_property
    def cls(self) -> Any:
        return self._target if isinstance(self._target, type) else type(self._target())

    @property
    def capabilities(self) -> Capabilities:
        declare = getattr(self.cls, "declare", None)
        return self.cls.capabilities if declare is None else declare(self.params)

    def benign(self, seed: int, n: int) -> FlowBatch:
        return self._asked(synthetic_benign(seed, n))

    def constant(self, seed: int, n: int) -> FlowBatch:
        return self._asked(constant_flows(seed, n))

    def mixed(self) -> FlowBatch:
        return self._asked(mixed_flows())

    def _asked(self, flows: FlowBatch) -> FlowBatch:
        """With CICFlowMeter's features and context only where they are declared: most detectors take every feature
        that is there."""
        inputs = self.capabilities.inputs
        flows = with_cic_features(flows) if "cic_features" in inputs else flows
        flows = with_netflow(flows) if "netflow_v2" in inputs else flows
        flows = with_context(flows) if "context" in inputs else flows
        return with_stream(flows) if "stream" in inputs else flows

    @cached_property
    def params(self) -> Any:
        """The parameters under test; None for a detector without, or made by a function that does not tell."""
        if self._given is not None:
            return self._given
        if not isinstance(self._target, type):
            return getattr(self._target(), "params", None)
        if getattr(self.cls, "Params", None) is None:
            return None
        profiles = getattr(self.cls, "profiles", {})
        return self.cls.Params(**profiles.get("check", profiles.get("quick", {})))

    def new(self) -> Any:
        if isinstance(self._target, type) and self.params is not None:
            return self._target(self.params)
        return self._target()

    def fit(self, detector: Any, benign: FlowBatch) -> Any:
        """Fit and, for a detector that calibrates, calibrate."""
        detector.fit(benign, self.context())
        self.calibrate(detector)
        return detector

    def calibrate(self, detector: Any, flows: FlowBatch | None = None) -> None:
        if self.capabilities.calibrates and hasattr(detector, "calibrate"):
            detector.calibrate(self.benign(3, 100) if flows is None else flows)

    def context(self) -> FitContext:
        scratch = Path(tempfile.mkdtemp(dir=self._scratch))
        hints = None
        if self.capabilities.hints != "none":
            hints = self.mixed().take(
                slice(MIXED_BENIGN - (10 if self.capabilities.hints == "transductive" else 0), MIXED_BENIGN + 10)
            )
        return FitContext(
            self.benign(2, 60), seed=SEED, rng=np.random.default_rng(SEED), device="cpu", scratch=scratch, hints=hints
        )

    @cached_property
    def fitted(self) -> Any:
        """One fitted detector for all the checks that only score."""
        return self.fit(self.new(), self.benign(0, 300))


def _require(holds: object, message: str) -> None:
    """An assertion that ``python -O`` keeps."""
    if not holds:
        raise AssertionError(message)


def _raw(detector: Any, flows: FlowBatch) -> Mapping[Any, Any]:
    """Scores as the detector returns them, by column."""
    raw = detector.score(flows)
    return raw if isinstance(raw, Mapping) else {"score": raw}


def _scores(detector: Any, flows: FlowBatch) -> dict[str, NDArray[np.float64]]:
    """Scores as flat columns, forgiving about shape, type and names: each of those has its own check."""
    return {str(name): np.asarray(value, dtype=np.float64).ravel() for name, value in _raw(detector, flows).items()}


def _require_finite(detector: Any, flows: FlowBatch, when: str = "") -> None:
    for name, column in _scores(detector, flows).items():
        bad = int(np.count_nonzero(~np.isfinite(column)))
        _require(bad == 0, f"column {name!r} has {bad} of {column.size} values that are NaN or infinite{when}")


def _assert_same(
    expected: dict[str, NDArray[np.float64]], got: dict[str, NDArray[np.float64]], tolerance: float, what: str
) -> None:
    _require(set(expected) == set(got), f"{what}: columns {sorted(got)} instead of {sorted(expected)}")
    for name, before in expected.items():
        after = got[name]
        _require(
            before.shape == after.shape, f"{what}: column {name!r} has {after.size} scores instead of {before.size}"
        )
        finite = before[np.isfinite(before)]
        spread = float(finite.std()) if finite.size else 0.0
        different = ~np.isclose(after, before, rtol=tolerance, atol=tolerance * spread, equal_nan=True)
        if different.any():
            largest = np.abs(after - before)[different].max()
            raise AssertionError(
                f"{what}: {different.sum()} of {different.size} scores of {name!r} differ, by up to "
                f"{largest:.3g} (their spread is {spread:.3g})"
            )


def check_capabilities(subject: Subject) -> None:
    """``capabilities`` is there, and what it names exists."""
    capabilities: Any = getattr(subject.cls, "capabilities", None)
    _require(isinstance(capabilities, Capabilities), "the class has no attribute `capabilities` of type Capabilities")
    for method in ("fit", "score"):
        _require(callable(getattr(subject.cls, method, None)), f"there is no method {method}()")
    has = callable(getattr(subject.cls, "calibrate", None))
    _require(
        has == capabilities.calibrates,
        f"capabilities.calibrates is {capabilities.calibrates}, but calibrate() is {'there' if has else 'missing'}",
    )
    known = [name_of(check) for check in CHECKS]
    unknown = sorted(set(capabilities.exemptions) - set(known))
    _require(not unknown, f"exemptions from unknown checks {', '.join(unknown)}; there are {', '.join(known)}")
    unexplained = [name for name, reason in capabilities.exemptions.items() if not reason.strip()]
    _require(not unexplained, f"no reason is given for the exemption from {', '.join(unexplained)}")


def check_params(subject: Subject) -> None:
    """``Params`` is a frozen dataclass with defaults, its values fit into JSON, NaN is refused, and every profile
    builds."""
    params_type = getattr(subject.cls, "Params", None)
    profiles = getattr(subject.cls, "profiles", {})
    if params_type is None:
        _require(not profiles, "there are profiles but no Params")
        return
    frozen = dataclasses.is_dataclass(params_type) and params_type.__dataclass_params__.frozen  # type: ignore[union-attr]
    _require(frozen, "Params is not a frozen dataclass")
    defaults = dataclasses.asdict(params_type())
    for name, value in defaults.items():
        _require(fits_into_json(value), f"the default of {name}, {value!r}, does not fit into JSON")
    for profile, overrides in profiles.items():
        unknown = sorted(set(overrides) - set(defaults))
        _require(not unknown, f"profile {profile!r} sets {', '.join(unknown)}, which Params does not have")
        params_type(**overrides)
    for name in (name for name, value in defaults.items() if isinstance(value, float)):
        try:
            params_type(**{name: float("nan")})
        except (UsageError, TypeError, ValueError):
            continue
        raise AssertionError(
            f"Params accepts {name}=nan: derive it from janus_bench.params.CheckedParams, or refuse it in "
            "__post_init__ with UsageError"
        )


def check_score_columns(subject: Subject) -> None:
    """``score`` returns the declared columns; a bare array only where there is one."""
    raw, declared = subject.fitted.score(subject.mixed()), subject.capabilities.scores
    if not isinstance(raw, Mapping):
        _require(
            len(declared) == 1,
            f"score() returned a bare {type(raw).__name__}; declared are the columns {', '.join(declared)}",
        )
        return
    _require(
        set(raw) == set(declared),
        f"score() returned columns {', '.join(map(str, raw))}; declared are {', '.join(declared)}",
    )


def check_score_shape(subject: Subject) -> None:
    """One score per flow: each column has shape (n,)."""
    flows = subject.mixed()
    for name, column in _raw(subject.fitted, flows).items():
        _require(
            np.shape(column) == (len(flows),), f"column {name!r} has shape {np.shape(column)} for {len(flows)} flows"
        )


def check_score_dtype(subject: Subject) -> None:
    """Columns are NumPy arrays of a floating type."""
    for name, column in _raw(subject.fitted, subject.mixed()).items():
        kind = str(column.dtype) if isinstance(column, np.ndarray) else type(column).__name__
        _require(kind in ("float64", "float32", "float16"), f"column {name!r} is {kind}; return a float64 array")
        _require(
            not isinstance(column, np.ma.MaskedArray), f"column {name!r} is a masked array; every flow needs a score"
        )


def check_score_finite(subject: Subject) -> None:
    """No NaN and no infinity, outliers included."""
    _require_finite(subject.fitted, subject.mixed())


def check_orientation(subject: Subject) -> None:
    """Higher means more anomalous: planted outliers rank above benign flows, on average over the columns that the
    default aggregator reads."""
    from janus_bench.params import columns_of

    scores = _scores(subject.fitted, subject.mixed())
    judged = columns_of(subject.capabilities.aggregator or "identity", tuple(scores))
    pairs = ((scores[name][MIXED_BENIGN:, None], scores[name][:MIXED_BENIGN]) for name in judged)
    aurocs = [float(np.mean((outlier > benign) + 0.5 * (outlier == benign))) for outlier, benign in pairs]
    mean = float(np.mean(aurocs))
    _require(
        mean >= ORIENTED,
        (
            "planted outliers (bursts of 30 to 64 large packets, microseconds apart, FIN and RST set) have AUROC "
            f"{mean:.2f} (mean of {len(aurocs)}), expected ≥ {ORIENTED}: below .5 the sign may be wrong, near .5 "
            "nothing is learnt from 300 flows"
        ),
    )


def check_order_invariance(subject: Subject) -> None:
    """Shuffling the flows shuffles the scores."""
    flows = subject.mixed()
    order = np.random.default_rng(SEED).permutation(len(flows))
    expected = {name: column[order] for name, column in _scores(subject.fitted, flows).items()}
    _assert_same(expected, _scores(subject.fitted, flows.take(order)), REORDERED, "scores of shuffled flows")


def check_batch_invariance(subject: Subject) -> None:
    """Scoring in parts gives what scoring at once gives."""
    flows = subject.mixed()
    parts = [_scores(subject.fitted, flows.take(part)) for part in (slice(0, 100), slice(100, 106), slice(106, None))]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    _assert_same(_scores(subject.fitted, flows), joined, REORDERED, "scores of the same flows in three parts")


def check_opaque_ids(subject: Subject) -> None:
    """Other ids, same scores."""
    flows = subject.mixed()
    renumbered = dataclasses.replace(flows, ids=np.random.default_rng(99).permutation(len(flows)).astype(np.uint64))
    _assert_same(
        _scores(subject.fitted, flows),
        _scores(subject.fitted, renumbered),
        REPEATED,
        "scores of the same flows under other ids",
    )


def check_single_flow(subject: Subject) -> None:
    """A batch of one flow can be scored."""
    for name, column in _scores(subject.fitted, subject.benign(1, 1)).items():
        _require(column.size == 1, f"column {name!r} has {column.size} scores for one flow")
        _require(np.isfinite(column).all(), f"column {name!r} is {column[0]} for a batch of one flow")


def check_constant_columns(subject: Subject) -> None:
    """Training flows in which channels and features do not vary give finite scores, for flows in which they do as
    well."""
    constant = subject.constant(0, 200)
    detector = subject.fit(subject.new(), constant)
    for flows in (constant, subject.benign(1, 300)):
        _require_finite(detector, flows, " after training on constant columns")


def check_refit_independence(subject: Subject) -> None:
    """A second fit forgets the first."""
    _needs_determinism(subject)
    again, fresh = subject.fit(subject.new(), subject.benign(0, 300)), subject.new()
    subject.fit(again, subject.benign(5, 200))
    subject.fit(fresh, subject.benign(5, 200))
    flows = subject.mixed()
    _assert_same(_scores(fresh, flows), _scores(again, flows), REPEATED, "scores after a second fit")


def check_seed_determinism(subject: Subject) -> None:
    """The same seed and flows give the same scores."""
    _needs_determinism(subject)
    flows = subject.mixed()
    first, second = (_scores(subject.fit(subject.new(), subject.benign(0, 300)), flows) for _ in range(2))
    _assert_same(first, second, REPEATED, "scores of two fits with one seed")


def check_no_mutation(subject: Subject) -> None:
    """``fit``, ``calibrate`` and ``score`` leave their flows as they were."""
    detector = subject.new()
    train, calibration, test = subject.benign(0, 300), subject.benign(3, 100), subject.mixed()
    context = subject.context()
    batches = {"training": train, "validation": context.validation, "calibration": calibration, "scored": test}
    if context.hints is not None:
        batches["hinted"] = context.hints
    before = {name: _snapshot(batch) for name, batch in batches.items()}
    detector.fit(train, context)
    subject.calibrate(detector, calibration)
    detector.score(test)
    for name, batch in batches.items():
        changed = [
            column
            for column, value in _snapshot(batch).items()
            if not np.array_equal(value, before[name][column], equal_nan=True)
        ]
        _require(not changed, f"the {name} flows were changed in {', '.join(changed)}: work on a copy")


def check_global_random_state(subject: Subject) -> None:
    """``fit`` and ``score`` neither seed nor use the global generators of Python, NumPy and torch."""
    subject.fitted.score(subject.mixed())  # whatever it imports is imported now
    _advance_global_generators()
    before = _global_states()
    subject.fit(subject.new(), subject.benign(0, 300)).score(subject.mixed())
    changed = [name for name, state in _global_states().items() if state != before[name]]
    _require(
        not changed,
        (
            f"the global generator of {', '.join(changed)} was used: draw from ctx.rng, or from a generator seeded "
            "with ctx.seed"
        ),
    )


def check_declared_inputs(subject: Subject) -> None:
    """Batches that hold nothing but the declared inputs are enough."""
    inputs = subject.capabilities.inputs
    detector = subject.new()
    context = subject.context()
    detector.fit(
        _restricted(subject.benign(0, 300), inputs),
        dataclasses.replace(context, validation=_restricted(context.validation, inputs)),
    )
    subject.calibrate(detector, _restricted(subject.benign(3, 100), inputs))
    detector.score(_restricted(subject.mixed(), inputs))


def check_calibration_replaces(subject: Subject) -> None:
    """A second calibration replaces the first."""
    if not subject.capabilities.calibrates:
        raise unittest.SkipTest("it does not calibrate")
    detector = subject.fit(subject.new(), subject.benign(0, 300))
    flows = subject.mixed()
    expected = _scores(detector, flows)
    detector.calibrate(subject.constant(3, 100))
    subject.calibrate(detector)
    _assert_same(expected, _scores(detector, flows), REPEATED, "scores after another calibration and back")


def check_save_load(subject: Subject) -> None:
    """``load(folder, params)`` of what ``save(folder)`` wrote after ``fit`` scores alike; calibration is not part of a
    saved fit."""
    members = [callable(getattr(subject.cls, name, None)) for name in ("save", "load")]
    if not any(members):
        raise unittest.SkipTest("it has neither save() nor load()")
    _require(all(members), f"it has {'save() but no load()' if members[0] else 'load() but no save()'}")
    detector = subject.new()
    detector.fit(subject.benign(0, 300), subject.context())
    with tempfile.TemporaryDirectory() as folder:
        detector.save(Path(folder))
        loaded = subject.cls.load(Path(folder), subject.params)
        _require(
            isinstance(loaded, subject.cls),
            f"load() returned {type(loaded).__name__}: make it a class method that returns a fitted detector",
        )
    subject.calibrate(detector)
    subject.calibrate(loaded)
    flows = subject.mixed()
    _assert_same(_scores(detector, flows), _scores(loaded, flows), REPEATED, "scores after save and load")


def check_explain(subject: Subject) -> None:
    """``explain`` returns one text for each flow, and changes no score."""
    if not callable(getattr(subject.cls, "explain", None)):
        raise unittest.SkipTest("it has no explain()")
    detector = subject.fit(subject.new(), subject.benign(0, 300))
    flows = subject.mixed()
    before = _scores(detector, flows)
    said = list(detector.explain(flows))
    _require(
        len(said) == len(flows) and all(isinstance(text, str) for text in said),
        f"explain() returned {len(said)} values for {len(flows)} flows, or some that are no text",
    )
    _assert_same(before, _scores(detector, flows), REPEATED, "scores after explain")


STAGES: tuple[tuple[Callable[[Subject], None], ...], ...] = (
    (check_capabilities, check_params),
    (check_score_columns, check_score_shape, check_score_dtype, check_score_finite),
    (check_no_mutation, check_global_random_state, check_seed_determinism),
    (
        *(check_orientation, check_order_invariance, check_batch_invariance, check_opaque_ids, check_single_flow),
        *(check_constant_columns, check_refit_independence),
        *(check_declared_inputs, check_calibration_replaces, check_save_load, check_explain),
    ),
)
"""In the order in which they are made; what fails in one would fail again, as something else, in those after it."""
CHECKS = tuple(check for stage in STAGES for check in stage)


def _needs_determinism(subject: Subject) -> None:
    if not subject.capabilities.deterministic:
        raise unittest.SkipTest("it declares deterministic=False")


def _snapshot(batch: FlowBatch) -> dict[str, NDArray[Any]]:
    columns = {"ids": batch.ids, **batch.packets, **batch.features}
    if batch.offsets is not None:
        columns["offsets"] = batch.offsets
    if batch.stream is not None:
        columns |= {f"stream.{name}": column for name, column in vars(batch.stream).items()}
    return {name: column.copy() for name, column in columns.items()}


def _restricted(batch: FlowBatch, inputs: frozenset[str]) -> FlowBatch:
    offsets, packets = (batch.offsets, batch.packets) if "packets" in inputs else (None, {})
    names = [name for kind, columns in FEATURE_INPUTS.items() if kind in inputs for name in columns]
    return FlowBatch(
        batch.ids,
        offsets,
        packets,
        {name: batch.features[name] for name in names},
        batch.stream if "stream" in inputs else None,
    )


def _advance_global_generators() -> None:
    """Away from the states that seeding left: seeding with the same seed again would go unseen."""
    random.random()
    np.random.random()  # noqa: NPY002
    if "torch" in sys.modules:
        sys.modules["torch"].rand(1)


def _global_states() -> dict[str, Any]:
    numpy_state: Any = np.random.get_state()  # noqa: NPY002 - to see whether a detector touches it
    states: dict[str, Any] = {"random": random.getstate(), "numpy.random": (numpy_state[1].tobytes(), *numpy_state[2:])}
    if "torch" in sys.modules:
        states["torch"] = sys.modules["torch"].get_rng_state().numpy().tobytes()
    return states
