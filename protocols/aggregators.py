"""From several score columns to one scalar, fitted on benign calibration scores only; attacks are never seen here.

An aggregator is an entry of ``AGGREGATORS``; adding one is adding an entry.  Names take options in brackets, as
detectors do: ``oas[standardize=zscore]``, ``oas[columns=terminal_*+disc_nll_total]``, ``knn[k=5,log=false]``;
``column:NAME`` is one column alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from janus_bench.errors import UsageError, unknown
from janus_bench.extensions import BEST_FIXED
from janus_bench.params import build_params, parse_request, places_of

COLUMN = "column:"  # Begins the name of an aggregator that is one column alone.
Matrix = NDArray[np.float64]
Scalar = Callable[[Matrix], NDArray[np.float64]]
"""A fitted aggregator: scores (m, k) → scalar (m,), higher = more anomalous."""


@dataclass(frozen=True)
class AggregatorOptions:
    """What is done to the columns before they are combined, with statistics of the calibration scores.

    columns      names or patterns (``terminal_*``) joined by +; all of them if empty
    log          sign(s) · log(1 + |s| / m), m the column's median |s|: tames heavy tails without knowing the scale
    standardize  ``zscore`` (mean, standard deviation), ``robust`` (median, interquartile range / 1.349) or ``none``;
                 OAS and Ledoit-Wolf are not scale-invariant: their ridge is in proportion to the trace, and can mute
                 the small columns
    """

    columns: str = ""
    log: bool = False
    standardize: Literal["none", "zscore", "robust"] = "none"


@dataclass(frozen=True)
class KnnOptions(AggregatorOptions):
    """``k``: which nearest calibration flow the distance is taken to."""

    log: bool = True
    standardize: Literal["none", "zscore", "robust"] = "zscore"
    k: int = 1

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k={self.k} must be at least 1")


@dataclass(frozen=True)
class Aggregator:
    """One way to make a scalar of ``k`` prepared columns.

    fit      (benign scores (n, k), options) → the fitted scalar
    options  dataclass of what may stand in brackets
    learns   whether the calibration scores decide anything
    """

    summary: str
    fit: Callable[[Matrix, Any], Scalar]
    options: type[AggregatorOptions] = AggregatorOptions
    learns: bool = True


def learns_from_calibration(name: str) -> bool:
    """Whether the aggregator ``name`` is fitted on calibration scores: a single column is taken as it is, and
    ``BEST_FIXED`` is chosen with labels."""
    kind, _ = parse_request(name)
    return not (name.startswith(COLUMN) or name == BEST_FIXED) and (kind not in AGGREGATORS or AGGREGATORS[kind].learns)


def fit_aggregator(name: str, scores: Matrix, columns: tuple[str, ...]) -> Scalar:
    """Fit the aggregator ``name`` on the benign calibration scores of the target.

    scores (n, k) float64, finite; columns: their k names.  UsageError for an unknown aggregator, option or column, or
    one that cannot be used here.
    """
    if scores.ndim != 2 or scores.shape[1] != len(columns):
        raise ValueError(f"scores of shape {scores.shape} do not fit {len(columns)} columns")
    if name.startswith(COLUMN):
        return _one_column(name.removeprefix(COLUMN), columns)
    entry, options = _entry(name)
    if len(scores) == 0:
        raise UsageError(f"aggregator {name!r} needs benign calibration scores, there are none")
    prepare = _preparation(scores, columns, options)
    scalar = entry.fit(prepare(scores), options)
    return lambda values: scalar(prepare(values))


def check_aggregator(name: str) -> None:
    """UsageError for one that there is not, whatever the score columns are."""
    if not name.startswith(COLUMN):
        _entry(name)


def _entry(name: str) -> tuple[Aggregator, Any]:
    kind, given = parse_request(name)
    if kind not in AGGREGATORS:
        raise unknown("aggregator", kind, {*AGGREGATORS, f"{COLUMN}NAME"})
    entry = AGGREGATORS[kind]
    return entry, build_params(kind, entry.options, given, kind="aggregator")


def _one_column(name: str, columns: tuple[str, ...]) -> Scalar:
    if name not in columns:
        raise unknown("score column", name, columns)
    place = columns.index(name)
    return lambda values: values[:, place]


def _preparation(scores: Matrix, columns: tuple[str, ...], options: AggregatorOptions) -> Callable[[Matrix], Matrix]:
    """The options as a function of scores (m, k) → (m, k'), with its statistics taken from the calibration scores."""
    places = places_of(options.columns, columns) if options.columns else list(range(len(columns)))
    magnitude = np.median(np.abs(scores[:, places]), axis=0)
    magnitude = np.where(magnitude > 0, magnitude, 1.0)

    def logged(values: Matrix) -> Matrix:
        chosen = values[:, places]
        return np.sign(chosen) * np.log1p(np.abs(chosen) / magnitude) if options.log else chosen

    centre, spread = _STATISTICS[options.standardize](logged(scores))
    return lambda values: (logged(values) - centre) / np.where(spread > 0, spread, 1.0)


def _moments(scores: Matrix) -> tuple[Matrix, Matrix]:
    return scores.mean(axis=0), scores.std(axis=0)


def _quartiles(scores: Matrix) -> tuple[Matrix, Matrix]:
    low, middle, high = np.quantile(scores, [0.25, 0.5, 0.75], axis=0)
    return middle, (high - low) / 1.349


_STATISTICS: dict[str, Callable[[Matrix], tuple[Matrix, Matrix]]] = {
    "none": lambda scores: (np.zeros(scores.shape[1]), np.ones(scores.shape[1])),
    "zscore": _moments,
    "robust": _quartiles,
}


def _fit_identity(scores: Matrix, _options: AggregatorOptions) -> Scalar:
    if scores.shape[1] != 1:
        raise UsageError(
            f"aggregator 'identity' needs a single score column, there are {scores.shape[1]}: use oas or column:NAME"
        )
    return lambda values: values[:, 0]


def _fit_max_z(scores: Matrix, _options: AggregatorOptions) -> Scalar:
    """The largest z-score of any column; a column without spread counts from its constant, unscaled."""
    centre, spread = _moments(scores)
    return lambda values: ((values - centre) / np.where(spread > 0, spread, 1.0)).max(axis=1)


def _fit_mahalanobis(scores: Matrix, _options: AggregatorOptions) -> Scalar:
    """Squared Mahalanobis distance with the empirical covariance, inside the subspace where the calibration scores
    vary.

    Rank-aware: columns are brought to unit variance (which leaves the distance unchanged) and directions whose
    eigenvalue is below the rounding of the largest are left out, as a pseudo-inverse does.
    """
    centre, spread = _moments(scores)
    scale = np.where(spread > 0, spread, 1.0)
    standardised = (scores - centre) / scale
    eigenvalues, directions = np.linalg.eigh(standardised.T @ standardised / len(scores))
    kept = eigenvalues > max(eigenvalues.max(), 0.0) * len(eigenvalues) * 1e-10
    whiten = directions[:, kept] / np.sqrt(eigenvalues[kept])  # (k, rank)
    return lambda values: np.square(((values - centre) / scale) @ whiten).sum(axis=1)


def _fit_knn(scores: Matrix, options: KnnOptions) -> Scalar:
    """Euclidean distance to the k-th nearest calibration flow: a non-parametric density in score space."""
    from sklearn.neighbors import NearestNeighbors

    neighbours = NearestNeighbors(n_neighbors=min(options.k, len(scores))).fit(scores)
    return lambda values: neighbours.kneighbors(values)[0][:, -1]


def _fit_min_quantile(scores: Matrix, _options: AggregatorOptions) -> Scalar:
    """The smallest calibrated column: high only where every column is.

    A column's calibrated value is the share of calibration flows below it, interpolated between them; beyond the
    largest (smallest) of them it goes on linearly, one unit per calibration standard deviation, so that no two scores
    tie that did not before.
    """
    ordered, spread = np.sort(scores, axis=0), np.maximum(scores.std(axis=0), 1e-12)

    def calibrated(values: NDArray[np.float64], column: int) -> NDArray[np.float64]:
        known, first = np.unique(ordered[:, column], return_index=True)
        last = np.append(first[1:], len(ordered))  # ties: the middle of their ranks
        inside = np.interp(values, known, (first + last) / 2 / len(ordered))
        return inside + (np.maximum(values - known[-1], 0) - np.maximum(known[0] - values, 0)) / spread[column]

    return lambda values: np.min([calibrated(values[:, column], column) for column in range(values.shape[1])], axis=0)


def _fit_shrunk(estimator: Literal["OAS", "LedoitWolf"], scores: Matrix, _options: AggregatorOptions) -> Scalar:
    """Squared Mahalanobis distance (s − µ)ᵀ Σ⁻¹ (s − µ) with scikit-learn's shrinkage estimate Σ: ``OAS``, the oracle
    approximating one (Chen et al., IEEE TSP 2010), or ``LedoitWolf`` (J. Multivariate Analysis 88, 2004).

    Shrinkage keeps Σ invertible when a column is a combination of others.  Where there is no spread to estimate (one
    calibration flow, or all alike) Σ is the identity: the squared Euclidean distance from that point.  The result is
    finite for finite scores.
    """
    # a common factor changes nothing in the distance, but keeps squares of very large or very small scores
    # representable
    mean = scores.mean(axis=0)
    constant = not np.ptp(scores, axis=0).any()
    scale = 1.0 if constant else float(np.abs(scores - mean).max())
    whiten = np.eye(scores.shape[1]) if constant else _whitening((scores - mean) / scale, estimator)

    def distance(values: Matrix) -> NDArray[np.float64]:
        with np.errstate(over="ignore"):  # an overflow is clipped in the same line
            deviation = np.clip((values - mean) / scale, -1e100, 1e100)  # (m, k)
        whitened = deviation @ whiten.T  # (m, k)
        return np.einsum("mk,mk->m", whitened, whitened)

    return distance


def _whitening(centred: Matrix, estimator: str) -> Matrix:
    """L⁻¹ (k, k) with Σ = L Lᵀ, so that ‖L⁻¹ x‖² = xᵀ Σ⁻¹ x and no rounding makes it negative."""
    from scipy.linalg import solve_triangular
    from sklearn import covariance as estimators

    covariance = getattr(estimators, estimator)(assume_centered=True, store_precision=False).fit(centred).covariance_
    inverse: Matrix = solve_triangular(np.linalg.cholesky(covariance), np.eye(len(covariance)), lower=True)
    return inverse


AGGREGATORS: dict[str, Aggregator] = {
    "identity": Aggregator("The score itself, of a detector with a single column.", _fit_identity, learns=False),
    "max_z": Aggregator("The largest z-score (A3).", _fit_max_z),
    "min_quantile": Aggregator(
        "The smallest of the columns' ranks among the calibration flows: high only where all are.", _fit_min_quantile
    ),
    "mahalanobis": Aggregator(
        "Squared Mahalanobis distance with the empirical covariance, rank-aware (A4).", _fit_mahalanobis
    ),
    "oas": Aggregator(
        "Squared Mahalanobis distance with OAS shrinkage, columns as they are (A5).", partial(_fit_shrunk, "OAS")
    ),
    "ledoit_wolf": Aggregator(
        "Squared Mahalanobis distance with Ledoit-Wolf shrinkage (A6).", partial(_fit_shrunk, "LedoitWolf")
    ),
    "knn": Aggregator(
        "Distance to the nearest calibration flow among standardised log scores (A8).", _fit_knn, KnnOptions
    ),
}
