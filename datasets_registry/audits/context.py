"""What a flow's neighbours tell by themselves (the input ``context``), and how much of it is how captures were made."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets_registry.audits.captures import CAPTURE_CAP, SEPARABLE_NOTE, SEPARABLE_WARNING, largest_captures
from datasets_registry.audits.forest import class_aurocs
from datasets_registry.audits.view import Answer, AuditView, Finding, Ids, Measured, judged, percent
from datasets_registry.context import part_context
from datasets_registry.store import FlowStore
from protocols.metrics import auroc

SAMPLE = 2_000  # Flows of each kind whose context is compared at most: enough for two digits.
FEWEST = 20  # Flows of each kind below which there is no number.
LEAST_SPREAD = 0.1  # Of a feature: one that hardly varies among training flows must not turn a trifle into a distance.
KEPT = 0.25
"""Share of the flows of either class that is left when both are thinned alike."""
ALONE = 0.80  # max(AUROC, 1 − AUROC) of context alone from which a note is made.
DENSITY = 0.05  # Difference that thinning makes to it from which a warning is given.
LEAST_CAP, CAPPED_GROUPS, NEAR, CAPPED = 50, 3, 0.10, 0.05
"""A number of flows is a cap where it is at least ``LEAST_CAP``, that of ``CAPPED_GROUPS`` families of a capture, and
that of most within ``NEAR`` of it; a note is made where at least ``CAPPED`` of the flows are of such."""


def context(view: AuditView, store: FlowStore, parts: Mapping[str, Ids], seed: int) -> Answer:
    """Context alone, as given and with both classes thinned alike; benign captures against each other; and caps on
    flows."""
    whole = np.ones(len(view), np.bool_)
    thinned = np.random.default_rng([seed, 3]).random(len(view)) < KEPT
    alone, thin = (_nearest(store, view.attack, parts, kept, seed) for kept in (whole, thinned))
    what = "context alone: distance to the nearest training flow"
    few = {"reason": f"fewer than {FEWEST} flows to train on, or to test"}
    measures = [
        Measured("context.alone", what, "auroc", alone, few if alone is None else {}),
        Measured(
            "context.thinned",
            f"the same with {KEPT:.0%} of either class left",
            "auroc",
            thin,
            few if thin is None else {},
        ),
    ]
    answers = [benign_captures(view, store, seed), capped(view)]
    findings = [*_judge_alone(alone), *_judge_density(alone, thin)]
    return Answer(
        [*measures, *(measure for answer in answers for measure in answer.measures)],
        [*findings, *(finding for answer in answers for finding in answer.findings)],
    )


def _nearest(
    store: FlowStore, attack: NDArray[np.bool_], parts: Mapping[str, Ids], kept: NDArray[np.bool_], seed: int
) -> float | None:
    """AUROC, among the flows ``kept`` (N,), of the distance to the nearest context of a training flow, each feature in
    units of its deviation there; training contexts without attacks around them, tested ones with all."""
    from sklearn.neighbors import NearestNeighbors

    rng = np.random.default_rng([seed, 4])
    train, benign, attacks = (
        np.sort(rng.permutation(parts[name][kept[parts[name]]])[:SAMPLE])
        for name in ("train", "test_benign", "test_attack")
    )
    if min(map(len, (train, benign, attacks))) < FEWEST:
        return None
    tested = np.concatenate([benign, attacks])
    learned, seen = part_context(store, train, kept & ~attack), part_context(store, tested, kept)
    spread = np.maximum(learned.std(axis=0), LEAST_SPREAD)
    distance, _ = NearestNeighbors(n_neighbors=1).fit(learned / spread).kneighbors(seen / spread)
    return auroc(distance[:, 0], attack[tested])


def _judge_alone(value: float | None) -> list[Finding]:
    extreme = None if value is None else max(value, 1 - value)
    text = (
        f"context alone tells attacks from benign flows with an AUROC of {_three(value)}: see whether that holds for "
        "thinned classes (context.thinned), within a site, and in rows with --overlay before it is believed"
    )
    return judged("context.alone", extreme, text, f"context alone: AUROC {_three(value)}", note=ALONE)


def _judge_density(alone: float | None, thin: float | None) -> list[Finding]:
    change = None if alone is None or thin is None else abs(alone - thin)
    text = (
        f"with {KEPT:.0%} of either class left the AUROC of context alone goes from {_three(alone)} to {_three(thin)}: "
        "part of it is how densely flows were recorded; where one class was sampled or capped, leave out detectors "
        "that read context, or add the captures whole"
    )
    return judged("context.thinned", change, text, "context measures density", warning=DENSITY)


def _three(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def benign_captures(view: AuditView, store: FlowStore, seed: int) -> Answer:
    """How well context tells the largest benign captures apart: what separates them cannot be an attack."""
    key, what = "context.captures", "benign against benign: telling the largest captures apart by context"
    chosen = largest_captures(view)
    rows = np.flatnonzero(np.isin(view.capture, chosen) & ~view.attack)
    values = None
    if len(chosen) > 1:
        values = class_aurocs(
            part_context(store, rows, ~view.attack).astype(np.float64), view.capture[rows], seed, CAPTURE_CAP
        )
    mean = None if values is None else float(np.mean(values))
    text = (
        f"context tells benign captures apart with a mean AUROC of {_three(mean)}: a detector that reads it may raise "
        "alarms for the mere change of capture; read its false-positive rate beside its AUROC"
    )
    few = {"reason": "fewer than two benign captures of enough flows"}
    return Answer(
        [Measured(key, what, "auroc", mean, few if mean is None else {"captures": len(chosen)})],
        judged(key, mean, text, "benign captures differ in context", note=SEPARABLE_NOTE, warning=SEPARABLE_WARNING),
    )


def capped(view: AuditView) -> Answer:
    """Whether flows were capped by label: several families of a capture with exactly as many flows."""
    _, group, counts = np.unique(
        np.column_stack([view.capture, np.unique(view.family, return_inverse=True)[1]]),
        axis=0,
        return_inverse=True,
        return_counts=True,
    )
    sizes, groups = np.unique(counts, return_counts=True)
    near = [int(groups[np.abs(sizes - size) <= NEAR * size].sum()) for size in sizes]
    caps = sizes[(sizes >= LEAST_CAP) & (groups >= CAPPED_GROUPS) & (2 * groups > near)]
    inside = np.isin(counts, caps)[group.ravel()]
    detail: dict[str, Any] = {
        f"{size} flows": f"{int(many)} times" for size, many in zip(sizes, groups, strict=True) if size in caps
    }
    value = float(inside.mean()) if len(view) else None
    text = (
        f"{percent(value)} of the flows are of a family of exactly {' or '.join(map(str, caps))} flows in several "
        "captures: they were capped; if what was kept is spread over time and no contiguous block, context counts "
        "the cap: compare it only among captures that were treated alike, or add them whole"
    )
    return Answer(
        [Measured("context.capped", "flows of a family whose number in a capture is a cap", "share", value, detail)],
        judged("context.capped", value, text, "flows were capped by label", note=CAPPED),
    )
