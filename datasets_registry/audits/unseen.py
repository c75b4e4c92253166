"""Capture or attack?  The audit's forest, trained with labels on everything but the attacks of one capture, meets them.

An attack that resembles no other can hardly be recognised by a forest that was trained on others.  Where it is all the
same, what the forest knows is not attacks but where attacks were recorded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from datasets_registry.audits.captures import MIN_BENIGN, MIN_BENIGN_SHARE
from datasets_registry.audits.forest import CLASS_CAP, TREES
from datasets_registry.audits.view import Answer, AuditView, Ids, Measured, judged
from protocols.metrics import auroc

MIN_ATTACKS = 20  # Attack flows of a capture that is held out, and of those that stay.
LARGEST = 5  # Captures that are held out, one after the other.
MOST = 0.5  # Share of the attack flows that come from captures without benign traffic.
NOTE, WARNING = 0.95, 0.99  # AUROC on attacks of a kind that was not trained on, from which it is a note, a warning.


def unseen(view: AuditView, parts: Mapping[str, Ids], seed: int) -> Answer:
    """AUROC of attacks that the forest has seen nothing of: neither their capture nor their family in another one.

    Benign flows are those of the grouped partition, ``train`` to learn from and ``test_benign`` to be told from; at
    most 2 000 flows of a kind are drawn.  The measure is the highest of the captures'.  Only captures without benign
    traffic are held out: where that is there, recognising an attack is nothing to be suspicious of; and there is a
    finding only where most attacks come from such captures.
    """
    key, what = "separability.unseen", "random forest on attacks of a capture and family that it was not trained on"
    found = {}
    apart, held_out = _apart(view)
    for capture in held_out:
        away = view.attack & (view.capture == capture)
        others = view.attack & ~away & ~np.isin(view.family, np.unique(view.family[away]))
        if others.sum() >= MIN_ATTACKS and len(parts["train"]) and len(parts["test_benign"]):
            value = _recognised(view, parts, others, away, seed)
            if value is not None:
                found[" and ".join(np.unique(view.family[away])[:2])] = value
    if not found:
        reason = f"no two kinds of attacks in captures without benign traffic, with {MIN_ATTACKS} flows or more"
        return Answer([Measured(key, what, "auroc", None, {"reason": reason})])
    kind = max(found, key=lambda name: found[name])
    value = found[kind]
    measure = Measured(key, what, "auroc", value, {name: f"{each:.3f}" for name, each in found.items()})
    text = (
        f"a forest that was trained on other attacks tells {kind} from benign flows with an AUROC of {value:.3f}, "
        "although it has seen neither its capture nor its kind: what it has learned may be where attacks were recorded"
    )
    if float(np.isin(view.capture[view.attack], apart).mean()) < MOST:
        return Answer([replace(measure, judged=False)])
    return Answer([measure], judged(key, value, text, "unseen attacks are recognised", note=NOTE, warning=WARNING))


def _apart(view: AuditView) -> tuple[Ids, Ids]:
    """Numbers of the captures that have attacks and no benign traffic; and the largest of them that have enough
    attacks."""
    attacks, benign = (
        np.bincount(view.capture[view.attack == kind], minlength=view.n_captures) for kind in (True, False)
    )
    enough = max(1, min(MIN_BENIGN, math.ceil(MIN_BENIGN_SHARE * int((~view.attack).sum()))))
    flows = np.where(benign < enough, attacks, 0)
    largest = np.argsort(-flows, kind="stable")[:LARGEST]
    return np.flatnonzero(flows), largest[flows[largest] >= MIN_ATTACKS]


def _recognised(
    view: AuditView, parts: Mapping[str, Ids], others: NDArray[np.bool_], away: NDArray[np.bool_], seed: int
) -> float | None:
    from sklearn.ensemble import RandomForestClassifier

    rng = np.random.default_rng([seed, 3])
    benign, attacks, tested, held = (
        rng.permutation(ids)[:CLASS_CAP]
        for ids in (parts["train"], np.flatnonzero(others), parts["test_benign"], np.flatnonzero(away))
    )
    forest = RandomForestClassifier(TREES, min_samples_leaf=5, class_weight="balanced", random_state=seed, n_jobs=1)
    rows = view.features.astype(np.float32)
    forest.fit(rows[np.concatenate([benign, attacks])], np.arange(len(benign) + len(attacks)) >= len(benign))
    met = np.concatenate([tested, held])
    return auroc(forest.predict_proba(rows[met])[:, 1], np.arange(len(met)) >= len(tested))
