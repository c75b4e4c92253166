"""Simple strong detectors on the 20 flow features, their context, or both: Mahalanobis distance, nearest neighbours,
principal components, Gaussian mixture, ECOD.

All standardise on the benign training flows, and a fit is a handful of arrays, so that all of them save and load
without a pickle.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.shared.inputs import TableInput, ZScores
from detectors.shared.tabular import Arrays, SavedLearner, Standardised, features_only
from janus_bench.contract import FitContext
from janus_bench.params import CheckedParams, Count, Limit, Positive


class _Simple(Standardised, SavedLearner):
    """Standardise, learn arrays, score rows by them; the validation flows are unused."""

    limit = 1e6  # z-scores beyond are clipped, so that their squares stay finite
    dtype = np.float64
    block = 8192

    def _arrays(self) -> Arrays:
        return {**{f"input.{key}": value for key, value in vars(self._standardiser).items()}, **self._model}

    def _restore(self, arrays: Arrays) -> None:
        self._standardiser = ZScores(arrays.pop("input.mean"), arrays.pop("input.std"))
        self._model = arrays


@dataclass(frozen=True)
class MahalanobisParams(CheckedParams):
    """Parameters of ``mahalanobis``.

    input  what a row is: ``features`` of the flow, ``context`` (its neighbours), or both
    """

    name: ClassVar[str] = "mahalanobis"

    input: TableInput = "features"


class Mahalanobis(_Simple):
    """Score = (x − µ)ᵀ Σ⁻¹ (x − µ), (n,) float64 ≥ 0; Σ: the training covariance with oracle-approximating shrinkage
    (Chen et al., 2010)."""

    Params = MahalanobisParams
    capabilities = features_only(
        "scikit-learn's OAS (Chen, Wiesel, Eldar, Hero, IEEE TSP 58, 2010)", groups={"classical"}
    )

    def _learn(self, rows: NDArray[np.float64], ctx: FitContext) -> Arrays:
        from sklearn.covariance import OAS

        estimate = OAS().fit(rows)
        return {"location": estimate.location_, "precision": estimate.precision_}

    def _score(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        centred = rows - self._model["location"]  # (b, D)
        return np.maximum(np.einsum("bi,ij,bj->b", centred, self._model["precision"], centred, optimize=True), 0)


@dataclass(frozen=True)
class KNNParams(CheckedParams):
    """Parameters of ``knn``.

    input  what a row is: ``features`` of the flow, ``context`` (its neighbours), or both
    k      which neighbour; the farthest training flow where there are fewer
    """

    name: ClassVar[str] = "knn"

    input: TableInput = "features"
    k: Count = 5


class KNN(_Simple):
    """Score = Euclidean distance to the k-th nearest training flow, (n,) float64 ≥ 0 (Ramaswamy, Rastogi, Shim, SIGMOD
    2000)."""

    Params = KNNParams
    capabilities = features_only(
        "k-th neighbour distance (Ramaswamy, Rastogi, Shim, SIGMOD 2000)", groups={"classical", "neighbours"}
    )

    def __init__(self, params: KNNParams | None = None) -> None:
        super().__init__(params)
        self._tree: Any = None  # made by the first score, for a loaded detector has none

    def _learn(self, rows: NDArray[np.float64], ctx: FitContext) -> Arrays:
        self._tree = None
        return {"rows": rows}

    def _score(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        from scipy.spatial import KDTree

        if self._tree is None:
            self._tree = KDTree(self._model["rows"])
        distances, _ = self._tree.query(rows, k=[min(self.params.k, self._tree.n)])  # (b, 1)
        return distances[:, 0]


@dataclass(frozen=True)
class PCAParams(CheckedParams):
    """Parameters of ``pca``.

    input     what a row is: ``features`` of the flow, ``context`` (its neighbours), or both
    variance  share of the training variance that the kept components explain at least, in (0, 1)
    """

    name: ClassVar[str] = "pca"

    input: TableInput = "features"
    variance: Annotated[float, Limit(">", 0), Limit("<", 1)] = 0.9


class PCA(_Simple):
    """Score = squared distance to the subspace of the leading principal components, (n,) float64 ≥ 0 (Jackson,
    Mudholkar, 1979: the Q statistic)."""

    Params = PCAParams
    capabilities = features_only(
        "PCA reconstruction error (Jackson, Mudholkar, Technometrics 21, 1979)", groups={"classical"}
    )

    def _learn(self, rows: NDArray[np.float64], ctx: FitContext) -> Arrays:
        location = rows.mean(axis=0)
        variances, axes = np.linalg.eigh(np.cov(rows, rowvar=False, ddof=0))  # (D,) ascending, (D, D)
        unexplained = variances.cumsum()  # by all components but the leading ones
        left_out = int(np.searchsorted(unexplained, (1 - self.params.variance) * variances.sum(), side="right"))
        return {"location": location, "residual": axes[:, :left_out]}  # (D, r)

    def _score(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.square((rows - self._model["location"]) @ self._model["residual"]).sum(axis=1)


@dataclass(frozen=True)
class GMMParams(CheckedParams):
    """Parameters of ``gmm``.

    input           what a row is: ``features`` of the flow, ``context`` (its neighbours), or both
    components      Gaussians; as many as training flows where there are fewer
    regularisation  added to the diagonal of every covariance, in squared standardised units
    """

    name: ClassVar[str] = "gmm"

    input: TableInput = "features"
    components: Count = 10
    regularisation: Positive = 1e-3


class GMM(_Simple):
    """Score = −log density in nats of a Gaussian mixture with full covariances on the standardised features, (n,)
    float64."""

    Params = GMMParams
    capabilities = features_only("scikit-learn's GaussianMixture, full covariances", groups={"classical", "density"})
    profiles: ClassVar[Mapping[str, Mapping[str, object]]] = {"check": {"components": 3}}

    def _learn(self, rows: NDArray[np.float64], ctx: FitContext) -> Arrays:
        from sklearn.mixture import GaussianMixture

        components = min(self.params.components, len(rows))
        mixture = GaussianMixture(
            components, reg_covar=self.params.regularisation, max_iter=200, random_state=ctx.seed
        ).fit(rows)
        # (C,), (C, D), (C, D, D)
        return {"weights": mixture.weights_, "means": mixture.means_, "whitening": mixture.precisions_cholesky_}

    def _score(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        from scipy.special import logsumexp

        joint = np.empty((len(rows), len(self._model["weights"])))  # (b, C) log weight + log density
        for c, (weight, mean, whitening) in enumerate(
            zip(self._model["weights"], self._model["means"], self._model["whitening"], strict=True)
        ):
            white = (rows - mean) @ whitening  # (b, D)
            log_volume = np.log(np.diag(whitening)).sum() - 0.5 * len(mean) * math.log(2 * math.pi)
            joint[:, c] = np.log(weight) + log_volume - 0.5 * np.square(white).sum(axis=1)
        return -logsumexp(joint, axis=1)


@dataclass(frozen=True)
class ECODParams(CheckedParams):
    """Parameters of ``ecod``.

    input  what a row is: ``features`` of the flow, ``context`` (its neighbours), or both
    """

    name: ClassVar[str] = "ecod"

    input: TableInput = "features"


class ECOD(_Simple):
    """Score = Σ over features of the largest of three −log tail probabilities, (n,) float64 ≥ 0 (ECOD, Li et al., TKDE
    2022).

    The tails of a flow are those among the training flows and itself.  PyOD computes them, and the skewness that
    chooses between the tails, over the training flows and *all* the flows that are scored together, so that a score
    depends on its company; for one flow at a time, and with the skewness of the training flows, the two are equal.
    """

    Params = ECODParams
    capabilities = features_only(
        "ECOD (Li et al., IEEE TKDE 2022), scoring each flow by itself", "adapted", groups={"classical"}
    )

    def _learn(self, rows: NDArray[np.float64], ctx: FitContext) -> Arrays:
        centred = rows - rows.mean(axis=0)
        # (n, D), (D,): the sign is that of the moment
        return {"sorted": np.sort(rows, axis=0), "skew": np.sign((centred**3).mean(axis=0))}

    def _score(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        total = np.zeros(len(rows))
        for column, ordered, skew in zip(rows.T, self._model["sorted"].T, self._model["skew"], strict=True):
            n = len(ordered)
            left = -np.log((np.searchsorted(ordered, column, side="right") + 1) / (n + 1))  # (b,) P(X ≤ x)
            right = -np.log((n - np.searchsorted(ordered, column, side="left") + 1) / (n + 1))  # (b,) P(X ≥ x)
            # the tail on the longer side; both where there is none
            by_skew = left * -np.sign(skew - 1) + right * np.sign(skew + 1)
            total += np.maximum(np.maximum(left, right), by_skew)
        return total
