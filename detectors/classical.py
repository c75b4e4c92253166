"""scikit-learn's one-class detectors, on the 20 flow features or on the flattened packets."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.shared.inputs import Input
from detectors.shared.tabular import Arrays, SavedLearner, Tabular, features_only
from janus_bench.contract import FitContext
from janus_bench.params import CheckedParams, Count, Limit, Share
from janus_bench.ragged import starts_of


@dataclass(frozen=True)
class IsolationForestParams(CheckedParams):
    """Parameters of ``iforest``; defaults are scikit-learn's.

    input         ``features`` of the flow, ``context`` (its neighbours) or ``features+context``; ``packets``: the
                  padded packets, flattened to 64 × 9 = 576 columns
    n_estimators  trees
    max_samples   flows that each tree sees; all of them where there are fewer
    """

    name: ClassVar[str] = "iforest"

    input: Input = "features"
    n_estimators: Count = 100
    max_samples: Annotated[int, Limit("≥", 2)] = 256


class IsolationForest(Tabular, SavedLearner):
    """Score = −``sklearn.ensemble.IsolationForest.score_samples``, in (0, 1], (n,) float64 (Liu, Ting, Zhou, ICDM 2008,
    equation 2), to the last bit.

    scikit-learn grows the trees; what is kept of them are arrays, for its own form can only be stored as a pickle,
    which runs code when it is opened.
    """

    Params = IsolationForestParams
    capabilities = features_only("scikit-learn's IsolationForest (Liu, Ting, Zhou, ICDM 2008)", groups={"classical"})
    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {"iforest-packets": {"input": "packets"}}
    block = 8192

    def _learn(self, rows: NDArray[np.float64], ctx: FitContext) -> Arrays:
        """Nodes of all trees, one tree after the other: ``feature``, ``threshold``, ``left`` and ``right`` (−1: a
        leaf), ``depth``: of a leaf, with what the flows in it would add; ``root`` (T,); ``scale`` (): T times c(ψ)."""
        from sklearn.ensemble import IsolationForest as Forest

        samples = min(self.params.max_samples, len(rows))
        forest = Forest(n_estimators=self.params.n_estimators, max_samples=samples, random_state=ctx.seed).fit(rows)
        trees = [member.tree_ for member in forest.estimators_]
        root = starts_of(np.array([tree.node_count for tree in trees]))[:-1]
        children = {
            side: np.concatenate(
                [
                    np.where(getattr(tree, f"children_{side}") < 0, -1, getattr(tree, f"children_{side}") + begin)
                    for tree, begin in zip(trees, root, strict=True)
                ]
            )
            for side in ("left", "right")
        }
        depth = [tree.compute_node_depths() + _average_path(tree.n_node_samples) - 1.0 for tree in trees]
        return children | {
            "root": root,
            "feature": np.concatenate([tree.feature for tree in trees]),
            "threshold": np.concatenate([tree.threshold for tree in trees]),
            "depth": np.concatenate(depth),
            "scale": len(trees) * _average_path(np.array([samples])),
        }

    def _score(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        from detectors.forest_kernel import isolation_depths

        learned, depths = self._model, np.zeros(len(rows))
        names = ("root", "feature", "threshold", "left", "right", "depth")
        isolation_depths(rows.astype(np.float32), *(learned[name] for name in names), depths)  # type: ignore[call-arg]
        scale = learned["scale"]
        return 2 ** -np.divide(depths, scale, out=np.ones_like(depths), where=scale != 0)


def _average_path(flows: NDArray[np.int64]) -> NDArray[np.float64]:
    """c(n) of Liu et al., equation 1: the mean depth of a search that ends among so many flows."""
    more = np.maximum(flows, 3)
    average = 2.0 * (np.log(more - 1.0) + np.euler_gamma) - 2.0 * (more - 1.0) / more
    return np.where(flows <= 1, 0.0, np.where(flows == 2, 1.0, average))


@dataclass(frozen=True)
class OneClassSVMParams(CheckedParams):
    """Parameters of ``ocsvm``; defaults are scikit-learn's.

    input  ``features`` of the flow, ``context`` (its neighbours) or ``features+context``; ``packets``: the padded
           packets, flattened to 64 × 9 = 576 columns
    nu     bound on the share of training flows outside, and on the share of support vectors from below; in (0, 1]
    """

    name: ClassVar[str] = "ocsvm"

    input: Input = "features"
    nu: Share = 0.5


def _gamma(rows: NDArray[np.float64]) -> float:
    """scikit-learn's ``gamma="scale"`` for rows (n, D), which it does not expose."""
    variance = float(rows.var())
    return 1.0 / (rows.shape[1] * variance) if variance > 0 else 1.0


class OneClassSVM(Tabular, SavedLearner):
    """Score = −Σ_s α_s k(x, v_s), (n,) float64: −``sklearn.svm.OneClassSVM.score_samples``, RBF kernel (Schölkopf et
    al., 2001).

    Inputs are standardised on the training flows; γ = 1 / (D · variance), scikit-learn's ``scale``.  A flow far from
    every support vector scores 0, the maximum, so very distant flows tie.  Time of the exact libsvm fit grows with the
    square of the flows.
    """

    Params: ClassVar[Any] = OneClassSVMParams
    capabilities = features_only(
        "scikit-learn's OneClassSVM (Schölkopf et al., Neural Computation 13, 2001)", groups={"classical"}
    )
    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {"ocsvm-packets": {"input": "packets"}}
    block = 2048  # a block of the kernel: 2048 × 5000 support vectors are 80 MB

    def _learn(self, rows: NDArray[np.float64], ctx: FitContext) -> Arrays:
        """Standardisation ``mean``, ``scale`` (D,), S support ``vectors`` (S, D) in standardised units, ``duals`` (S,)
        and ``gamma`` ()."""
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler()
        vectors, duals, gamma = self._machine(scaler.fit_transform(rows), ctx.seed)
        return {
            "mean": scaler.mean_,
            "scale": scaler.scale_,
            "vectors": vectors,
            "duals": duals,
            "gamma": np.array(gamma),
        }

    def _machine(self, rows: NDArray[np.float64], seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
        """Support vectors, duals and γ for standardised rows (n, D)."""
        from sklearn.svm import OneClassSVM as Machine

        machine = Machine(kernel="rbf", gamma="scale", nu=self.params.nu)
        # else scikit-learn draws from the global generator for libsvm, which has no use for it here
        machine.random_state = seed
        machine.fit(rows)
        return machine.support_vectors_, machine.dual_coef_[0], _gamma(rows)

    def _score(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """−Σ_s α_s exp(−γ‖x − v_s‖²) for raw rows x (b, D), (b,): one matrix product instead of libsvm's loop over
        pairs."""
        learned = self._model
        rows = (rows - learned["mean"]) / learned["scale"]
        kernel = rows @ learned["vectors"].T  # (b, S)
        kernel *= 2
        kernel -= np.einsum("bd,bd->b", rows, rows)[:, None]
        kernel -= np.einsum("sd,sd->s", learned["vectors"], learned["vectors"])  # −‖x − v‖²
        np.minimum(kernel, 0, out=kernel)  # rounding
        kernel *= learned["gamma"]
        np.exp(kernel, out=kernel)
        return -(kernel @ learned["duals"])


@dataclass(frozen=True)
class NystroemSVMParams(OneClassSVMParams):
    """Parameters of ``ocsvm-nystroem``: those of ``ocsvm`` and

    components  training flows that the kernel is approximated with; all of them where there are fewer
    """

    name: ClassVar[str] = "ocsvm-nystroem"

    components: Count = 300


class NystroemSVM(OneClassSVM):
    """Score = −w·φ(x), (n,) float64: a linear one-class SVM by stochastic gradient descent on Nyström features of the
    RBF kernel.

    φ(x) = K(x, landmarks) K(landmarks, landmarks)^(−½) (Williams, Seeger, NeurIPS 2001): scikit-learn's ``Nystroem``
    and ``SGDOneClassSVM``, after the same standardisation and with the same γ as ``ocsvm``.  Fitting is linear in the
    flows and scoring does not grow with them.
    """

    Params: ClassVar[Any] = NystroemSVMParams
    capabilities = features_only(
        "scikit-learn's Nystroem (Williams, Seeger, NeurIPS 2001) and SGDOneClassSVM, in place of OneClassSVM",
        "adapted",
        groups={"classical"},
    )
    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {"ocsvm-nystroem-packets": {"input": "packets"}}

    def _machine(self, rows: NDArray[np.float64], seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
        """The landmarks with what w·φ(x) = Σ_l α_l k(x, l) gives each, α = K(l, l)^(−½) w: the exact machine's form
        with other vectors."""
        from sklearn.kernel_approximation import Nystroem
        from sklearn.linear_model import SGDOneClassSVM

        gamma = _gamma(rows)
        kernel = Nystroem(gamma=gamma, n_components=min(self.params.components, len(rows)), random_state=seed)
        mapped = kernel.fit_transform(rows)  # (n, components)
        before = np.random.get_state()  # noqa: NPY002  fit() draws a number from the global generator and has no use for it
        machine = SGDOneClassSVM(nu=self.params.nu, random_state=seed).fit(mapped)
        np.random.set_state(before)  # noqa: NPY002
        return kernel.components_, kernel.normalization_.T @ machine.coef_, gamma
