"""Simple strong detectors on the 20 flow features: Mahalanobis distance, nearest neighbours, principal components, Gaussian mixture, ECOD.

All standardise on the benign training flows, and a fit is a handful of arrays, so that all of them save and load without a pickle.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from detectors.shared.checking import require, require_integer, require_positive
from detectors.shared.inputs import Standardiser, feature_columns
from detectors.shared.saving import load_arrays, save_arrays
from janus_bench.contract import Capabilities, FitContext, FlowBatch
from janus_bench.errors import PluginError

__all__ = ["ECOD", "GMM", "KNN", "PCA", "GMMParams", "KNNParams", "Mahalanobis", "NoParams", "PCAParams"]

_LIMIT = 1e6  # z-scores beyond are clipped, so that their squares stay finite
_SCORE_BLOCK = 8192

Arrays = dict[str, NDArray[np.float64]]


def _features_only(source: str, provenance: Any = "faithful") -> Capabilities:
    return Capabilities(inputs=frozenset({"features"}), provenance=provenance, source=source)


@dataclass(frozen=True)
class NoParams:
    """There is nothing to choose."""


class _OnFeatures(ABC):
    """Standardise, learn arrays, score rows by them."""

    name: ClassVar[str]
    Params: ClassVar[Any] = NoParams

    def __init__(self, params: Any = None) -> None:
        self.params = params or self.Params()
        self._standardiser: Standardiser | None = None
        self._fit: Arrays = {}

    @abstractmethod
    def _learn(self, rows: NDArray[np.float64], ctx: FitContext) -> Arrays:
        """The fit for standardised training rows (n, 20)."""

    @abstractmethod
    def _score(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scores (b,) of standardised rows (b, 20)."""

    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        """Learn from the benign training flows; the validation flows are unused."""
        columns = feature_columns(benign)
        self._standardiser = Standardiser.fitted(columns)
        self._fit = self._learn(self._standardiser(columns, _LIMIT), ctx)

    def score(self, flows: FlowBatch) -> NDArray[np.float64]:
        """Anomaly score of each flow, (n,)."""
        if self._standardiser is None:
            raise PluginError(f"{self.name}: score() before fit()")
        rows = self._standardiser(feature_columns(flows), _LIMIT)  # (n, 20)
        scores = np.empty(len(flows))
        for start in range(0, len(rows), _SCORE_BLOCK):
            scores[start : start + _SCORE_BLOCK] = self._score(rows[start : start + _SCORE_BLOCK])
        return scores

    def save(self, folder: Path) -> None:
        """Standardisation, fit and parameters in ``folder``, as ``detectors.shared.saving`` writes them."""
        if self._standardiser is None:
            raise PluginError(f"{self.name}: save() before fit()")
        save_arrays(folder, self.name, self.params, {**{f"input.{key}": value for key, value in vars(self._standardiser).items()}, **self._fit})

    @classmethod
    def load(cls, folder: Path, params: Any = None) -> Self:
        """The detector that ``save`` wrote; DataError if the folder holds another parameter set."""
        detector = cls(params)
        arrays = load_arrays(folder, cls.name, detector.params)
        detector._standardiser = Standardiser(arrays.pop("input.mean"), arrays.pop("input.std"))
        detector._fit = arrays
        return detector


class Mahalanobis(_OnFeatures):
    """Score = (x − µ)ᵀ Σ⁻¹ (x − µ), (n,) float64 ≥ 0; Σ: the training covariance with oracle-approximating shrinkage (Chen et al., 2010)."""

    name = "mahalanobis"
    capabilities: ClassVar[Capabilities] = _features_only("scikit-learn's OAS (Chen, Wiesel, Eldar, Hero, IEEE TSP 58, 2010)")

    def _learn(self, rows: NDArray[np.float64], ctx: FitContext) -> Arrays:
        from sklearn.covariance import OAS

        estimate = OAS().fit(rows)
        return {"location": estimate.location_, "precision": estimate.precision_}

    def _score(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        centred = rows - self._fit["location"]  # (b, 20)
        return np.maximum(np.einsum("bi,ij,bj->b", centred, self._fit["precision"], centred, optimize=True), 0)


@dataclass(frozen=True)
class KNNParams:
    """Parameters of ``knn``.

    k  which neighbour; the farthest training flow where there are fewer
    """

    k: int = 5

    def __post_init__(self) -> None:
        require_integer("knn", "k", self.k)


class KNN(_OnFeatures):
    """Score = Euclidean distance to the k-th nearest training flow, (n,) float64 ≥ 0 (Ramaswamy, Rastogi, Shim, SIGMOD 2000)."""

    name = "knn"
    Params = KNNParams
    capabilities: ClassVar[Capabilities] = _features_only("k-th neighbour distance (Ramaswamy, Rastogi, Shim, SIGMOD 2000)")

    def __init__(self, params: KNNParams | None = None) -> None:
        super().__init__(params)
        self._tree: Any = None

    def _learn(self, rows: NDArray[np.float64], ctx: FitContext) -> Arrays:
        self._tree = None
        return {"rows": rows}

    def _score(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        from scipy.spatial import KDTree

        if self._tree is None:  # made here, for a loaded detector has none
            self._tree = KDTree(self._fit["rows"])
        distances, _ = self._tree.query(rows, k=[min(self.params.k, self._tree.n)])  # (b, 1)
        return distances[:, 0]


@dataclass(frozen=True)
class PCAParams:
    """Parameters of ``pca``.

    variance  share of the training variance that the kept components explain at least, in (0, 1)
    """

    variance: float = 0.9

    def __post_init__(self) -> None:
        require(isinstance(self.variance, int | float) and 0 < self.variance < 1, "pca", "variance", "a number between 0 and 1", self.variance)


class PCA(_OnFeatures):
    """Score = squared distance to the subspace of the leading principal components, (n,) float64 ≥ 0 (Jackson, Mudholkar, 1979: the Q statistic)."""

    name = "pca"
    Params = PCAParams
    capabilities: ClassVar[Capabilities] = _features_only("PCA reconstruction error (Jackson, Mudholkar, Technometrics 21, 1979)")

    def _learn(self, rows: NDArray[np.float64], ctx: FitContext) -> Arrays:
        location = rows.mean(axis=0)
        variances, axes = np.linalg.eigh(np.cov(rows, rowvar=False, ddof=0))  # (20,) ascending, (20, 20)
        unexplained = variances.cumsum()  # by all components but the leading ones
        left_out = int(np.searchsorted(unexplained, (1 - self.params.variance) * variances.sum(), side="right"))
        return {"location": location, "residual": axes[:, :left_out]}  # (20, r)

    def _score(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.square((rows - self._fit["location"]) @ self._fit["residual"]).sum(axis=1)


@dataclass(frozen=True)
class GMMParams:
    """Parameters of ``gmm``.

    components      Gaussians; as many as training flows where there are fewer
    regularisation  added to the diagonal of every covariance, in squared standardised units
    """

    components: int = 10
    regularisation: float = 1e-3

    def __post_init__(self) -> None:
        require_integer("gmm", "components", self.components)
        require_positive("gmm", "regularisation", self.regularisation)


class GMM(_OnFeatures):
    """Score = −log density in nats of a Gaussian mixture with full covariances on the standardised features, (n,) float64."""

    name = "gmm"
    Params = GMMParams
    capabilities: ClassVar[Capabilities] = _features_only("scikit-learn's GaussianMixture, full covariances")
    profiles: ClassVar[Mapping[str, Mapping[str, object]]] = {"check": {"components": 3}}

    def _learn(self, rows: NDArray[np.float64], ctx: FitContext) -> Arrays:
        from sklearn.mixture import GaussianMixture

        components = min(self.params.components, len(rows))
        mixture = GaussianMixture(components, reg_covar=self.params.regularisation, max_iter=200, random_state=ctx.seed).fit(rows)
        return {"weights": mixture.weights_, "means": mixture.means_, "whitening": mixture.precisions_cholesky_}  # (C,), (C, 20), (C, 20, 20)

    def _score(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        from scipy.special import logsumexp

        joint = np.empty((len(rows), len(self._fit["weights"])))  # (b, C) log weight + log density
        for c, (weight, mean, whitening) in enumerate(zip(self._fit["weights"], self._fit["means"], self._fit["whitening"], strict=True)):
            white = (rows - mean) @ whitening  # (b, 20)
            log_volume = np.log(np.diag(whitening)).sum() - 0.5 * len(mean) * math.log(2 * math.pi)
            joint[:, c] = np.log(weight) + log_volume - 0.5 * np.square(white).sum(axis=1)
        return -logsumexp(joint, axis=1)


class ECOD(_OnFeatures):
    """Score = Σ over features of the largest of three −log tail probabilities, (n,) float64 ≥ 0 (ECOD, Li et al., TKDE 2022).

    The tails of a flow are those among the training flows and itself.  PyOD computes them, and the skewness that chooses between the tails, over
    the training flows and *all* the flows that are scored together, so that a score depends on its company; for one flow at a time, and with the
    skewness of the training flows, the two are equal.
    """

    name = "ecod"
    capabilities: ClassVar[Capabilities] = _features_only("ECOD (Li et al., IEEE TKDE 2022), scoring each flow by itself", "adapted")

    def _learn(self, rows: NDArray[np.float64], ctx: FitContext) -> Arrays:
        centred = rows - rows.mean(axis=0)
        return {"sorted": np.sort(rows, axis=0), "skew": np.sign((centred**3).mean(axis=0))}  # (n, 20), (20,): the sign is that of the moment

    def _score(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        total = np.zeros(len(rows))
        for column, ordered, skew in zip(rows.T, self._fit["sorted"].T, self._fit["skew"], strict=True):
            n = len(ordered)
            left = -np.log((np.searchsorted(ordered, column, side="right") + 1) / (n + 1))  # (b,) P(X ≤ x)
            right = -np.log((n - np.searchsorted(ordered, column, side="left") + 1) / (n + 1))  # (b,) P(X ≥ x)
            by_skew = left * -np.sign(skew - 1) + right * np.sign(skew + 1)  # the tail on the longer side; both where there is none
            total += np.maximum(np.maximum(left, right), by_skew)
        return total
