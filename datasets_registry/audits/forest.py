"""A small classifier on the 20 features, cross-validated: how far labels, or captures, can be told apart at all."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.metrics import auroc

CLASS_CAP = 2000  # Flows of a class that are drawn at most: enough for two digits, and a second of work.

FOLDS = 3
TREES = 50


def class_aurocs(features: NDArray[np.float64], classes: NDArray[Any], seed: int, cap: int) -> list[float] | None:
    """One-vs-rest AUROC of each class (in sorted order), out of fold; None with fewer than two classes, or one of fewer
    flows than folds.

    features (n, 20); classes (n,); at most ``cap`` flows of a class are drawn.  Folds are random and stratified.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    rng = np.random.default_rng([seed, 2])
    names, counts = np.unique(classes, return_counts=True)
    if len(names) < 2 or counts.min() < FOLDS:
        return None
    drawn = np.concatenate([rng.permutation(np.flatnonzero(classes == name))[:cap] for name in names])
    forest = RandomForestClassifier(TREES, min_samples_leaf=5, class_weight="balanced", random_state=seed, n_jobs=1)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    chances = cross_val_predict(
        forest, features[drawn].astype(np.float32), classes[drawn], cv=folds, method="predict_proba", n_jobs=1
    )
    values = [auroc(chances[:, column], classes[drawn] == name) for column, name in enumerate(names)]
    return [value for value in values if value is not None]


def attack_auroc(features: NDArray[np.float64], attack: NDArray[np.bool_], seed: int) -> float | None:
    """AUROC of telling attacks from benign flows with labels; None where ``class_aurocs`` is."""
    values = class_aurocs(features, attack, seed, CLASS_CAP)
    return None if values is None else values[1]
